#include "admin/rollout/freeze.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/api/api.h"

#define FREEZE_KEY "freeze"

static char *
freeze_text(const struct freeze *freeze)
{
	json_t *object = json_pack("{s:b, s:I, s:s, s:s, s:I}", "on",
	    freeze->is_on, "since", (json_int_t)freeze->since, "by", freeze->by,
	    "reason", freeze->reason, "version", (json_int_t)freeze->version);
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	json_decref(object);
	return text;
}

static void
copy_text(char *to, size_t cap, const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	snprintf(to, cap, "%s", text ? text : "");
}

void
freeze_restore(struct freeze *freeze, const struct state *state)
{
	const char *text = state_get(state, FREEZE_KEY);
	json_t *object = text ? json_loads(text, 0, NULL) : NULL;

	*freeze = (struct freeze){.version = 1};
	if (!object)
		return;
	freeze->is_on = json_is_true(json_object_get(object, "on"));
	freeze->since =
	    (time_t)json_integer_value(json_object_get(object, "since"));
	freeze->version =
	    (uint64_t)json_integer_value(json_object_get(object, "version"));
	copy_text(freeze->by, sizeof(freeze->by), object, "by");
	copy_text(freeze->reason, sizeof(freeze->reason), object, "reason");
	json_decref(object);
}

bool
freeze_put(struct freeze *freeze, struct state *state,
    const struct freeze *wanted, struct err *err)
{
	char *text = freeze_text(wanted);
	bool ok = text ? state_put(state, FREEZE_KEY, text, err)
	               : err_set(err, "out of memory");

	free(text);
	if (ok)
		*freeze = *wanted;
	return ok;
}

bool
freeze_set(struct freeze *freeze, struct state *state, const char *by,
    const char *reason, time_t wall, struct err *err)
{
	struct freeze wanted = {
	    .is_on = true, .since = wall, .version = freeze->version + 1};

	snprintf(wanted.by, sizeof(wanted.by), "%s", by);
	snprintf(
	    wanted.reason, sizeof(wanted.reason), "%s", reason ? reason : "");
	return freeze_put(freeze, state, &wanted, err);
}

bool
freeze_end(struct freeze *freeze, struct state *state, struct err *err)
{
	struct freeze wanted = {.version = freeze->version + 1};

	return freeze_put(freeze, state, &wanted, err);
}

json_t *
freeze_json(const struct freeze *freeze)
{
	return json_pack("{s:s, s:b, s:o, s:o, s:o}", "schema",
	    "weir.freeze/v1", "frozen", freeze->is_on, "since",
	    json_time(freeze->is_on ? freeze->since : 0), "by",
	    freeze->is_on ? json_string(freeze->by) : json_null(), "reason",
	    freeze->reason[0] ? json_string(freeze->reason) : json_null());
}
