/*
 * Words of rendering: a value of the model becomes a key of a JSON map. What
 * has no value leaves its key out.
 */
#ifndef WEIR_CONFIG_RENDER_WORDS_H
#define WEIR_CONFIG_RENDER_WORDS_H

#include "config/render.h"

/* How a secret is shown: what it holds never is. */
enum secrets { SECRETS_NONE, SECRETS_HIDDEN, SECRETS_COMPARED, SECRETS_NAMED };

struct renderer {
	enum secrets secrets;
};

/* A tree that is compared shows what is hidden, and routes by name. */
static inline bool
is_compared(const struct renderer *r)
{
	return r->secrets == SECRETS_COMPARED;
}

/* One plan, in the shape of the file, without its name: render_plan.c. */
json_t *plan_tree(const struct plan_cfg *plan, const struct renderer *r);

/* Bytes that are not UTF-8 (paths may hold any) become "?". */
static inline json_t *
text(const char *value)
{
	json_t *json = value ? json_string(value) : NULL;

	return json ? json : json_string("?");
}

/* Leaves the key out when there is no value. */
static inline void
put_text(json_t *map, const char *key, const char *value)
{
	if (value)
		json_object_set_new(map, key, text(value));
}

static inline void
put_number(json_t *map, const char *key, uint64_t value)
{
	json_object_set_new(map, key, json_integer((json_int_t)value));
}

static inline void
put_duration(json_t *map, const char *key, nsec_t value)
{
	char buf[64];

	put_text(map, key, units_print_duration(value, buf, sizeof(buf)));
}

static inline void
put_size(json_t *map, const char *key, uint64_t value)
{
	char buf[32];

	put_text(map, key, units_print_size(value, buf, sizeof(buf)));
}

static inline json_t *
percent(bp_t value)
{
	return value % 100 ? json_real(value / 100.0)
	                   : json_integer(value / 100);
}

static inline json_t *
strings(const struct strings *list)
{
	json_t *json = json_array();

	for (size_t i = 0; i < list->n; i++)
		json_array_append_new(json, text(list->at[i]));
	return json;
}

static inline void
put_strings(json_t *map, const char *key, const struct strings *list)
{
	if (list->n > 0)
		json_object_set_new(map, key, strings(list));
}

static inline void
put_pairs(
    json_t *map, const char *key, const struct header_pair *pairs, size_t n)
{
	json_t *json;

	if (n == 0)
		return;
	json = json_object();
	for (size_t i = 0; i < n; i++)
		json_object_set_new(json, pairs[i].name, text(pairs[i].value));
	json_object_set_new(map, key, json);
}

static inline void
put_secret(const struct renderer *r, json_t *map, const char *key,
    const struct secret *secret)
{
	static const char *const ways[] = {
	    [SECRET_FILE] = "file",
	    [SECRET_ENV] = "env",
	    [SECRET_CREDENTIAL] = "credential",
	};

	switch (secret->from == SECRET_NONE ? SECRETS_NONE : r->secrets) {
	case SECRETS_NONE:
		break;
	case SECRETS_HIDDEN:
		json_object_set_new(map, key, json_string("***"));
		break;
	case SECRETS_COMPARED:
		json_object_set_new(map, key,
		    json_sprintf(
		        "*** (%s %s)", ways[secret->from], secret->where));
		break;
	case SECRETS_NAMED:
		json_object_set_new(map, key,
		    json_pack(
		        "{s:o}", ways[secret->from], text(secret->where)));
		break;
	}
}

/* Takes `value`; an empty map is left out. */
static inline void
put_map(json_t *map, const char *name, json_t *value)
{
	if (json_object_size(value) > 0)
		json_object_set(map, name, value);
	json_decref(value);
}

#endif
