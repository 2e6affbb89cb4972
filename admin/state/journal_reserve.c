/*
 * The journal's reserve: a file whose blocks are allocated at the start, and
 * written from its beginning. A line that does not check ends it; a line that
 * the journal or the snapshot has already is passed over, so that nothing need
 * be wiped when it was used.
 */
#include "admin/state/journal_reserve.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/state/journal_read.h"

/* A record of a rollout has some KiB, its two steps back have two. */
enum { RESERVE_BYTES = 256 << 10 };

static bool
take_line(struct journal *journal, struct span line)
{
	struct journal_record record;

	if (!journal_parse(line, &record))
		return false;
	if (record.sequence <= journal->sequence)
		return true;
	if (!journal_keep(journal, &record))
		return false;
	journal->sequence = record.sequence;
	/* the journal is behind: the next put begins with a snapshot */
	journal->is_suspect = true;
	return true;
}

static void
take_lines(struct journal *journal, const char *bytes, size_t len)
{
	const char *p = bytes, *newline;

	while ((newline = memchr(p, '\n', (size_t)(bytes + len - p)))) {
		if (!take_line(
		        journal, (struct span){p, (size_t)(newline - p)}))
			return;
		p = newline + 1;
		if (journal->is_suspect)
			journal->reserve_used = (size_t)(p - bytes);
	}
}

static bool
read_reserve(struct journal *journal)
{
	char *bytes = malloc(RESERVE_BYTES);
	size_t got = 0;
	ssize_t n = 1;

	if (!bytes)
		return false;
	while (got < RESERVE_BYTES && n > 0) {
		n = pread(journal->reserve_fd, bytes + got, RESERVE_BYTES - got,
		    (off_t)got);
		got += n > 0 ? (size_t)n : 0;
	}
	take_lines(journal, bytes, got);
	free(bytes);
	return n >= 0;
}

static int
allocate(int fd)
{
	struct stat st;

	if (fstat(fd, &st) != 0)
		return errno;
	if (st.st_size >= RESERVE_BYTES &&
	    (uint64_t)st.st_blocks * 512 >= RESERVE_BYTES)
		return 0;
	return posix_fallocate(fd, 0, RESERVE_BYTES);
}

static bool
open_file(struct journal *journal, struct err *err)
{
	journal->reserve_used = 0;
	journal->reserve_fd = openat(
	    journal->dir_fd, "reserve", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return journal->reserve_fd >= 0 ||
	       err_set(err, "%s/reserve: %s", journal->dir, strerror(errno));
}

static bool
take_room(struct journal *journal, struct err *err)
{
	int error = allocate(journal->reserve_fd);

	if (error == 0)
		return true;
	err_set(err, "%s/reserve: %s", journal->dir, strerror(error));
	reserve_release(journal);
	return false;
}

bool
reserve_open(struct journal *journal, struct err *err)
{
	if (!open_file(journal, err))
		return false;
	if (read_reserve(journal))
		return take_room(journal, err);
	err_set(err, "%s/reserve: cannot be read", journal->dir);
	reserve_release(journal);
	return false;
}

bool
reserve_renew(struct journal *journal, struct err *err)
{
	if (!open_file(journal, err))
		return false;
	if (pwrite(journal->reserve_fd, "", 1, 0) == 1 &&
	    fdatasync(journal->reserve_fd) == 0)
		return take_room(journal, err);
	err_set(err, "%s/reserve: %s", journal->dir, strerror(errno));
	reserve_release(journal);
	return false;
}

bool
reserve_write(struct journal *journal, const char *line, size_t len)
{
	size_t at = journal->reserve_used;
	char *bytes;
	bool ok;

	if (journal->reserve_fd < 0 || len + 1 > RESERVE_BYTES - at)
		return false;
	/* what an earlier use left behind must not be read as going on */
	bytes = malloc(len + 1);
	if (!bytes)
		return false;
	memcpy(bytes, line, len);
	bytes[len] = '\0';
	ok = pwrite(journal->reserve_fd, bytes, len + 1, (off_t)at) ==
	         (ssize_t)len + 1 &&
	     fdatasync(journal->reserve_fd) == 0;
	free(bytes);
	if (ok)
		journal->reserve_used = at + len;
	return ok;
}

void
reserve_release(struct journal *journal)
{
	if (journal->reserve_fd >= 0)
		close(journal->reserve_fd);
	journal->reserve_fd = -1;
}
