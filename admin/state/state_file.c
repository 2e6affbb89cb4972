/*
 * Files of the state directory that are not the journal. No fsync and no
 * rename: what is in them may be a second old, and the control thread must not
 * wait for a disk once a second.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/state/state.h"
#include "admin/write_all.h"

enum { STATE_FILE_MAX = 8 << 20 };

bool
state_write_file(struct state *state, const char *name, const void *bytes,
    size_t len, struct err *err)
{
	int fd = openat(
	    state_directory(state), name, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	bool ok;

	if (fd < 0)
		return err_set(err, "%s: %s", name, strerror(errno));
	ok = write_all(fd, bytes, len);
	if (!ok)
		err_set(err, "%s: %s", name, strerror(errno));
	close(fd);
	return ok;
}

static bool
read_bytes(int fd, char *bytes, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = read(fd, bytes + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		got += (size_t)n;
	}
	return true;
}

bool
state_read_file(const struct state *state, const char *name, void **bytes_out,
    size_t *len_out)
{
	int fd = openat(state_directory(state), name, O_RDONLY | O_CLOEXEC);
	struct stat st;
	bool ok = false;

	*bytes_out = NULL;
	*len_out = 0;
	if (fd < 0)
		return false;
	if (fstat(fd, &st) == 0 && st.st_size > 0 &&
	    st.st_size <= STATE_FILE_MAX)
		*bytes_out = malloc((size_t)st.st_size);
	if (*bytes_out)
		ok = read_bytes(fd, *bytes_out, (size_t)st.st_size);
	close(fd);
	if (ok)
		*len_out = (size_t)st.st_size;
	else {
		free(*bytes_out);
		*bytes_out = NULL;
	}
	return ok;
}

bool
state_has_file(const struct state *state, const char *name)
{
	return faccessat(state_directory(state), name, F_OK, 0) == 0;
}

void
state_remove_file(struct state *state, const char *name)
{
	unlinkat(state_directory(state), name, 0);
}
