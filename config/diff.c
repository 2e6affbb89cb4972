/*
 * What changed between two configs: both are rendered, then compared key by
 * key. Lists are compared as sets; a changed order is told as such. So a
 * setting that is rendered is compared, and none is forgotten.
 */
#include <stdlib.h>

#include "config/mem.h"
#include "config/render/render.h"
#include "config/schema.h"

enum { PATH_MAX_BYTES = 512 };

struct diff {
	FILE *out;
};

static void diff_value(struct diff *diff, const char *path,
    const json_t *before, const json_t *after);

static char *
words_of(const json_t *value)
{
	char *text = json_dumps(
	    value, JSON_ENCODE_ANY | JSON_COMPACT | JSON_REAL_PRECISION(6));

	assert(text != NULL);
	return text;
}

static void
tell(struct diff *diff, char sign, const char *path, const json_t *value)
{
	char *text = words_of(value);

	/* A noun that comes or goes as a whole: its name says enough. */
	if (json_is_object(value))
		fprintf(diff->out, "%c %s\n", sign, path);
	else
		fprintf(diff->out, "%c %s: %s\n", sign, path, text);
	free(text);
}

static void
tell_change(struct diff *diff, const char *path, const json_t *before,
    const json_t *after)
{
	char *old = words_of(before), *new = words_of(after);

	fprintf(diff->out, "~ %s: %s -> %s\n", path, old, new);
	free(old);
	free(new);
}

static void
path_below(char *buf, size_t cap, const char *path, const char *key)
{
	snprintf(buf, cap, "%s%s%s", path, path[0] ? "." : "", key);
}

/* iter functions of jansson take what they do not change without const */
static void
diff_maps(struct diff *diff, const char *path, const json_t *before,
    const json_t *after)
{
	char below[PATH_MAX_BYTES];
	const char *key;
	json_t *value;

	json_object_foreach ((json_t *)before, key, value) {
		const json_t *other = json_object_get(after, key);

		path_below(below, sizeof(below), path, key);
		if (other)
			diff_value(diff, below, value, other);
		else
			tell(diff, '-', below, value);
	}
	json_object_foreach ((json_t *)after, key, value) {
		path_below(below, sizeof(below), path, key);
		if (json_object_get(before, key) == NULL)
			tell(diff, '+', below, value);
	}
}

/* How often each entry stands in the list, by its text. */
static json_t *
counts_of(const json_t *list)
{
	json_t *counts = json_object();

	for (size_t i = 0; i < json_array_size(list); i++) {
		char *text = words_of(json_array_get(list, i));
		json_int_t n =
		    json_integer_value(json_object_get(counts, text));

		json_object_set_new(counts, text, json_integer(n + 1));
		free(text);
	}
	return counts;
}

static size_t
tell_surplus(struct diff *diff, char sign, const char *path,
    const json_t *counts, const json_t *other)
{
	const char *key;
	json_t *value;
	size_t told = 0;

	json_object_foreach ((json_t *)counts, key, value) {
		if (json_integer_value(value) <=
		    json_integer_value(json_object_get(other, key)))
			continue;
		fprintf(diff->out, "%c %s: %s\n", sign, path, key);
		told++;
	}
	return told;
}

static void
diff_lists(struct diff *diff, const char *path, const json_t *before,
    const json_t *after)
{
	json_t *old = counts_of(before), *new = counts_of(after);
	bool is_names = strcmp(path, "route_order") == 0;
	size_t told = 0;

	/* Routes that come or go are told below "routes" already. */
	if (!is_names) {
		told += tell_surplus(diff, '-', path, old, new);
		told += tell_surplus(diff, '+', path, new, old);
	}
	if (told == 0 && !(is_names && !json_equal(old, new)))
		tell_change(diff, path, before, after);
	json_decref(old);
	json_decref(new);
}

static void
diff_value(struct diff *diff, const char *path, const json_t *before,
    const json_t *after)
{
	if (json_equal(before, after))
		return;
	if (json_is_object(before) && json_is_object(after))
		diff_maps(diff, path, before, after);
	else if (json_is_array(before) && json_is_array(after))
		diff_lists(diff, path, before, after);
	else
		tell_change(diff, path, before, after);
}

char *
config_diff(const struct config *before, const struct config *after)
{
	json_t *old = config_tree(before, true),
	       *new = config_tree(after, true);
	struct diff diff;
	char *text = NULL;
	size_t len = 0;

	diff.out = open_memstream(&text, &len);
	assert(diff.out != NULL);
	diff_value(&diff, "", old, new);
	fclose(diff.out);
	json_decref(old);
	json_decref(new);
	return text;
}

/* Settings that need a restart are all at the top of the file. */
bool
config_needs_restart(
    const struct config *before, const struct config *after, struct err *err)
{
	json_t *old = config_tree(before, true),
	       *new = config_tree(after, true);
	char names[128] = "";
	size_t n = 0;

	for (int i = 0; i < ROW_COUNT; i++) {
		const struct schema_row *row = schema_row((enum row_id)i);
		json_t *x = json_object_get(old, row->path);
		json_t *y = json_object_get(new, row->path);

		if (row->reload != RESTART || (!x && !y) ||
		    (x && y && json_equal(x, y)))
			continue;
		n += (size_t)snprintf(names + n, sizeof(names) - n, "%s%s",
		    n ? ", " : "", row->path);
	}
	json_decref(old);
	json_decref(new);
	if (n > 0)
		err_set(err, "%s: a change needs a restart", names);
	return n > 0;
}
