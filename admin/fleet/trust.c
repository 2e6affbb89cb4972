/*
 * What is not taken over from another instance, whoever has written it: Redis
 * may be open to more than the fleet, and an instance may be ill. What is
 * refused is said once for each that wrote it, and counted.
 *
 * An accord that nobody can have come to honestly is as good as none: it is
 * passed to the script with the next sync and loses against ours there.
 * Otherwise it would stand above all that is ever decided.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/escape.h"
#include "admin/fleet/fleet.h"
#include "admin/log.h"

uint64_t
fleet_wall_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* False: it is in the list already, or the list is full. */
static bool
remember(struct fleet *fleet, uint64_t hash)
{
	for (size_t i = 0; i < fleet->n_distrusted; i++)
		if (fleet->distrusted[i] == hash)
			return false;
	if (fleet->n_distrusted == FLEET_PEERS_MAX)
		return false;
	fleet->distrusted[fleet->n_distrusted++] = hash;
	return true;
}

void
fleet_distrust(struct fleet *fleet, const struct fleet_item *item,
    const char *by, const char *why)
{
	char text[FLEET_ID_MAX + FLEET_THING_MAX + ERR_TEXT_MAX];

	fleet->refused++;
	snprintf(text, sizeof(text), "%s %.*s %s", item->thing, FLEET_ID_MAX,
	    by, why);
	if (remember(fleet, accord_hash(text)))
		log_event(LOG_ERROR, "what another instance says is refused",
		    "thing", item->thing, "by", by, "why", why, NULL);
}

/* ---- texts ---- */

bool
fleet_text_is_clean(const char *text, size_t max)
{
	return strlen(text) <= max && text_is_printable(text);
}

bool
fleet_json_is_clean(const json_t *json, size_t max)
{
	const char *name;
	json_t *value;
	size_t i;

	if (json_is_string(json))
		return strlen(json_string_value(json)) ==
		           json_string_length(json) &&
		       fleet_text_is_clean(json_string_value(json), max);
	json_array_foreach ((json_t *)(uintptr_t)json, i, value)
		if (!fleet_json_is_clean(value, max))
			return false;
	json_object_foreach ((json_t *)(uintptr_t)json, name, value)
		if (!fleet_text_is_clean(name, max) ||
		    !fleet_json_is_clean(value, max))
			return false;
	return true;
}

/* A JSON text within a document: a state is one, and a plan within a state. */
bool
fleet_texts_are_clean(const char *text, size_t max)
{
	json_t *json = json_loads(text, JSON_REJECT_DUPLICATES, NULL), *value;
	const char *name;
	bool ok = json != NULL;

	json_object_foreach (json, name, value)
		if (strcmp(name, "plan") == 0 && json_is_string(value))
			ok &= fleet_texts_are_clean(
			    json_string_value(value), max);
		else
			ok &= fleet_text_is_clean(name, max) &&
			      fleet_json_is_clean(value, max);
	json_decref(json);
	return ok;
}

/* As rollouts_start and make_id make them: they are keys, names of files, and
 * what people are shown. */
bool
fleet_id_is_clean(const char *id)
{
	return *id != '\0' && *id != '.' &&
	       strspn(id,
	           "abcdefghijklmnopqrstuvwxyz"
	           "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == strlen(id);
}
