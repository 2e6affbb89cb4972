/*
 * Replaced endpoint sets as journal records, one a pool: the whole set, the
 * file's list that it stands in for, who and why. At a start and after each
 * reload those whose file list is another one now are dropped: the file wins.
 */
#include "admin/endpoint_sets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/log.h"
#include "admin/state/state.h"

static void
set_key(const char *pool, char key[static 80])
{
	snprintf(key, 80, "endpoints/%s", pool);
}

bool
sets_record(struct state *state, const char *pool,
    const struct endpoint_set *set, struct err *err)
{
	char key[80], *list, *text;
	json_t *object;
	bool ok;

	set_key(pool, key);
	if (!set)
		return state_get(state, key) == NULL ||
		       state_drop(state, key, err);
	list = endpoints_text(set->at, set->n);
	object = json_pack("{s:s, s:s, s:s, s:I, s:s?, s:s?}", "pool", pool,
	    "endpoints", list, "file", set->file, "changed_at",
	    (json_int_t)set->changed_at, "changed_by", set->changed_by,
	    "reason", set->reason);
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	ok = text ? state_put(state, key, text, err)
	          : err_set(err, "out of memory");
	free(text);
	free(list);
	json_decref(object);
	return ok;
}

static char *
copy_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? strdup(text) : NULL;
}

static void
restore_one(void *ctx, const char *key, const char *text)
{
	json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	struct endpoint_set *set = calloc(1, sizeof(*set));
	struct diags diags = {0};
	char *list = copy_of(object, "endpoints");

	(void)key;
	if (set && list && (set->pool = copy_of(object, "pool")) &&
	    (set->file = copy_of(object, "file")))
		set->at =
		    endpoints_load(set->pool, span_of(list), &set->n, &diags);
	if (set && set->at) {
		set->changed_at = (time_t)json_integer_value(
		    json_object_get(object, "changed_at"));
		set->changed_by = copy_of(object, "changed_by");
		set->reason = copy_of(object, "reason");
		log_event(LOG_INFO, "resumed endpoints", "pool", set->pool,
		    "endpoints", list, "changed_by",
		    set->changed_by ? set->changed_by : "-", NULL);
		registry_put_set(ctx, set);
		set = NULL;
	} else {
		log_event(LOG_ERROR,
		    "recorded endpoints cannot be read: those of the file hold",
		    "key", key, NULL);
	}
	diags_release(&diags);
	endpoint_set_free(&set);
	free(list);
	json_decref(object);
}

void
sets_restore(struct state *state, struct registry *registry)
{
	state_each(state, "endpoints/", restore_one, registry);
}

static const struct pool_cfg *
pool_cfg_of(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->n_pools; i++)
		if (strcmp(config->pools[i].name, name) == 0)
			return &config->pools[i];
	return NULL;
}

static void
drop(struct admin *admin, const struct endpoint_set *overtaken, const char *by)
{
	struct endpoint_set *set =
	    registry_take_set(admin->registry, overtaken->pool);
	char *list = endpoints_text(set->at, set->n);
	json_t *before = json_loads(list, 0, NULL);
	struct audit_entry entry = {.actor = by,
	    .action = "reload",
	    .target = set->pool,
	    .result = "file-wins",
	    .reason = "the file's endpoints changed",
	    .before = before};
	struct err err;

	if (!sets_record(admin->state, set->pool, NULL, &err))
		log_event(LOG_ERROR,
		    "the end of replaced endpoints is not recorded", "pool",
		    set->pool, "error", err.text, NULL);
	admin_audit(admin, &entry);
	log_event(LOG_INFO, "replaced endpoints ended: the file's hold", "pool",
	    set->pool, "replaced", list, NULL);
	free(list);
	json_decref(before);
	endpoint_set_free(&set);
}

void
sets_settle(struct admin *admin, const char *by)
{
	const struct config *config = admin_config(admin);
	const struct endpoint_set *set;
	size_t i = 0;

	while ((set = registry_set_at(admin->registry, i)) != NULL) {
		const struct pool_cfg *cfg = pool_cfg_of(config, set->pool);

		if (cfg && endpoint_set_holds(set, cfg))
			i++;
		else
			drop(admin, set, by);
	}
}
