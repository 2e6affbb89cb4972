/*
 * Matching by segments, decoded one by one after the cut at '/', so that an
 * encoded slash in a name ("unix:%2Frun%2Fapp.sock") stays in it.
 */
#include "admin/row.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define ENDPOINT(method, path, role, scope, flags, fn, doc) \
	{method, path, #fn, doc, role, scope, flags, fn},
const struct api_row api_rows[] = {
#include "admin/endpoints.def"
};
#undef ENDPOINT
/* clang-format on */
const size_t api_n_rows = sizeof(api_rows) / sizeof(api_rows[0]);

/* NULL: out of memory, or a NUL is hidden in it. */
static char *
decode(const char *from, size_t len)
{
	char *encoded = strndup(from, len), *decoded;
	size_t got = 0;

	if (!encoded)
		return NULL;
	decoded = evhttp_uridecode(encoded, 0, &got);
	free(encoded);
	if (decoded && (got == 0 || strlen(decoded) != got)) {
		free(decoded);
		return NULL;
	}
	return decoded;
}

static void
drop_args(char *args[API_ARGS_MAX])
{
	for (size_t i = 0; i < API_ARGS_MAX; i++) {
		free(args[i]);
		args[i] = NULL;
	}
}

static bool
match(const char *pattern, const char *path, char *args[API_ARGS_MAX])
{
	size_t n = 0;

	while (*pattern && *path) {
		size_t want = strcspn(pattern + 1, "/") + 1;
		size_t have = strcspn(path + 1, "/") + 1;

		if (pattern[1] == '{') {
			args[n] = decode(path + 1, have - 1);
			if (!args[n++])
				return false;
		} else if (want != have || memcmp(pattern, path, want) != 0) {
			return false;
		}
		pattern += want;
		path += have;
	}
	return *pattern == *path;
}

static void
add_allow(char *allow, size_t cap, const char *method)
{
	size_t len = strlen(allow);

	snprintf(allow + len, cap - len, "%s%s%s", len ? ", " : "", method,
	    strcmp(method, "GET") == 0 ? ", HEAD" : "");
}

const struct api_row *
row_find(const char *method, const char *path, unsigned flags,
    char *args[API_ARGS_MAX], char *allow_out, size_t cap)
{
	allow_out[0] = '\0';
	for (size_t i = 0; i < api_n_rows; i++) {
		const struct api_row *row = &api_rows[i];

		if (*path == '/' && (row->flags & flags) == flags &&
		    match(row->path, path, args)) {
			if (strcmp(row->method, method) == 0)
				return row;
			add_allow(allow_out, cap, row->method);
		}
		drop_args(args);
	}
	return NULL;
}
