/*
 * The private directory of `weir proxy` and `weir demo`. Nothing outside of
 * it is touched: the walk that removes it does not follow links.
 */
#include "proxy/scratch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SCRATCH_BASE_MAX = 56 }; /* leaves room for "/weir-<purpose>.XXXXXX" */

static const char *
base_dir(void)
{
	static const char *const variables[] = {"XDG_RUNTIME_DIR", "TMPDIR"};

	for (size_t i = 0; i < sizeof(variables) / sizeof(variables[0]); i++) {
		const char *dir = getenv(variables[i]);

		if (dir && dir[0] == '/' && strlen(dir) <= SCRATCH_BASE_MAX &&
		    strpbrk(dir, "\"\\$\n") == NULL &&
		    access(dir, W_OK | X_OK) == 0)
			return dir;
	}
	return "/tmp";
}

bool
scratch_init(struct scratch *scratch, const char *purpose, struct err *err)
{
	int n = snprintf(scratch->dir, sizeof(scratch->dir),
	    "%s/weir-%s.XXXXXX", base_dir(), purpose);

	assert(n > 0 && (size_t)n < sizeof(scratch->dir));
	if (mkdtemp(scratch->dir))
		return true;
	err_set(err,
	    "cannot make a private directory in %s: %s (set TMPDIR to one that "
	    "can be written)",
	    base_dir(), strerror(errno));
	scratch->dir[0] = '\0';
	return false;
}

static int
remove_one(const char *path, const struct stat *sb, int type, struct FTW *ftw)
{
	(void)sb;
	(void)type;
	(void)ftw;
	remove(path); /* what cannot go stays; the rest shall go nevertheless */
	return 0;
}

void
scratch_release(struct scratch *scratch)
{
	if (scratch->dir[0] != '\0')
		nftw(scratch->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	scratch->dir[0] = '\0';
}

char *
scratch_path(
    const struct scratch *scratch, const char *name, char out[SCRATCH_FILE_MAX])
{
	int n = snprintf(out, SCRATCH_FILE_MAX, "%s/%s", scratch->dir, name);

	assert(n > 0 && n < SCRATCH_FILE_MAX);
	return out;
}

bool
scratch_write(const struct scratch *scratch, const char *name, struct span text,
    struct err *err)
{
	char path[SCRATCH_FILE_MAX];
	int fd = open(scratch_path(scratch, name, path),
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	bool is_whole;

	if (fd < 0)
		return err_set(err, "%s: %s", path, strerror(errno));
	is_whole = write(fd, text.ptr, text.len) == (ssize_t)text.len;
	if (close(fd) != 0 || !is_whole)
		return err_set(
		    err, "%s: cannot be written: %s", path, strerror(errno));
	return true;
}
