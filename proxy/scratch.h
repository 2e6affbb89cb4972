/*
 * A private directory (0700) for commands that need no file of the user's:
 * state, admin socket, tokens and the config that they made up. Removed with
 * all that is in it.
 */
#ifndef WEIR_PROXY_SCRATCH_H
#define WEIR_PROXY_SCRATCH_H

#include <stdbool.h>

#include "config/err.h"
#include "config/span.h"

/* Short enough that a socket's path below it fits sockaddr_un. */
enum { SCRATCH_PATH_MAX = 80, SCRATCH_FILE_MAX = 104 };

struct scratch {
	char dir[SCRATCH_PATH_MAX];
};

/* In $XDG_RUNTIME_DIR when there is one, else $TMPDIR, else /tmp. */
bool scratch_init(
    struct scratch *scratch, const char *purpose, struct err *err);
void scratch_release(struct scratch *scratch);
/* Path of a file in it, into `out`; returns `out`. */
char *scratch_path(const struct scratch *scratch, const char *name,
    char out[SCRATCH_FILE_MAX]);
/* Makes a file (0600) with that text. */
bool scratch_write(const struct scratch *scratch, const char *name,
    struct span text, struct err *err);

#endif
