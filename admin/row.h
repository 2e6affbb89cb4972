/* Finding the row of endpoints.def that a method and a path ask for. */
#ifndef WEIR_ADMIN_ROW_H
#define WEIR_ADMIN_ROW_H

#include "admin/api/api.h"

/*
 * `path` is percent-encoded; the {names} come back decoded in `args`, which the
 * caller frees. Rows without all of `flags` are as good as not there. NULL:
 * `allow_out` has the methods that the path understands, ""
 * when there is no such path.
 */
const struct api_row *row_find(const char *method, const char *path,
    unsigned flags, char *args[API_ARGS_MAX], char *allow_out, size_t cap);

#endif
