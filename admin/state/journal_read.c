/*
 * Reading snapshot and journal back. What a crash can leave is one line
 * without its end at the end of the journal (or with holes, when the file
 * grew before its bytes arrived), and some file systems leave worse there:
 * what follows the last line that checks is cut, and kept in a file of its own
 * when it is more than a half-written line. A whole line behind one that does
 * not check is damage, and weir does not guess: it refuses to start.
 */
#include "admin/state/journal_read.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	FILE_MAX = 64 << 20
}; /* far above JOURNAL_COMPACT_BYTES and a full snapshot */

/* CRC-32C (Castagnoli), bit by bit: a few hundred bytes per change of weights.
 */
static uint32_t
crc32c(const char *bytes, size_t len)
{
	uint32_t crc = 0xffffffff;

	for (size_t i = 0; i < len; i++) {
		crc ^= (unsigned char)bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

char *
journal_line(
    uint64_t sequence, const char *key, const char *text, size_t *len_out)
{
	char *line, sum[10];
	int n = asprintf(
	    &line, "00000000 %" PRIu64 " %s %s\n", sequence, key, text);

	if (n < 0)
		return NULL;
	snprintf(
	    sum, sizeof(sum), "%08" PRIx32, crc32c(line + 9, (size_t)n - 10));
	memcpy(line, sum, 8);
	*len_out = (size_t)n;
	return line;
}

static bool
parse_sum(struct span line, uint32_t *out)
{
	uint32_t sum = 0;

	for (size_t i = 0; i < 8; i++) {
		char c = line.ptr[i];

		if (c >= '0' && c <= '9')
			sum = sum << 4 | (uint32_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			sum = sum << 4 | (uint32_t)(c - 'a' + 10);
		else
			return false;
	}
	*out = sum;
	return true;
}

bool
journal_parse(struct span line, struct journal_record *out)
{
	uint32_t sum;
	size_t i = 9, start;

	if (line.len < 13 || !parse_sum(line, &sum) || line.ptr[8] != ' ' ||
	    crc32c(line.ptr + 9, line.len - 9) != sum)
		return false;
	out->sequence = 0;
	for (; i < line.len && line.ptr[i] >= '0' && line.ptr[i] <= '9'; i++)
		out->sequence =
		    out->sequence * 10 + (uint64_t)(line.ptr[i] - '0');
	if (i == 9 || i == line.len || line.ptr[i] != ' ')
		return false;
	start = ++i;
	while (i < line.len && line.ptr[i] != ' ')
		i++;
	if (i == start || i == line.len || i - start >= sizeof(out->key))
		return false;
	memcpy(out->key, line.ptr + start, i - start);
	out->key[i - start] = '\0';
	out->text = (struct span){line.ptr + i + 1, line.len - i - 1};
	return true;
}

/* One file while it is read. */
struct reading {
	struct journal *journal;
	const char *name;
	char *bytes; /* owned */
	size_t len;
	unsigned line;
	uint64_t sequence; /* journal: of the line before, 0 at the beginning */
	bool has_end;      /* snapshot: its last line was seen */
	bool is_garbage;   /* journal: its tail is no mere half-written line */
	struct err *err;
};

static bool
damaged(struct reading *r, const char *what)
{
	return err_set(r->err,
	    "%s/%s:%u: %s; restore the directory from a backup, or move %s "
	    "away to start with the weights of the file",
	    r->journal->dir, r->name, r->line, what, r->journal->dir);
}

static bool
take_snapshot_line(struct reading *r, const struct journal_record *record)
{
	char count[32];

	if (r->has_end)
		return damaged(r, "lines after the end");
	if (strcmp(record->key, "end") != 0)
		return journal_keep(r->journal, record) ||
		       damaged(r, "too many keys");
	snprintf(count, sizeof(count), "%zu", r->journal->n_items);
	if (!span_eq(record->text, span_of(count)))
		return damaged(r, "lines are missing");
	r->has_end = true;
	r->journal->sequence = record->sequence;
	return true;
}

static bool
take_journal_line(struct reading *r, const struct journal_record *record)
{
	struct journal *journal = r->journal;

	if (r->sequence != 0 && record->sequence != r->sequence + 1)
		return damaged(r, "a line is missing before this one");
	if (r->sequence == 0 && record->sequence > journal->sequence + 1)
		return damaged(r, "it does not follow the snapshot");
	r->sequence = record->sequence;
	if (record->sequence <= journal->sequence)
		return true; /* the snapshot has it */
	if (!journal_keep(journal, record))
		return damaged(r, "too many keys");
	journal->sequence = record->sequence;
	return true;
}

/* A newline was the last byte to be written; holes read as NUL. */
static bool
is_torn(const struct reading *r, struct span line, bool has_newline)
{
	bool is_last = line.ptr + line.len + has_newline == r->bytes + r->len;

	return is_last && (!has_newline || memchr(line.ptr, 0, line.len));
}

/* Is there anything to be lost behind a line that does not check? */
static bool
has_record_after(const struct reading *r, const char *p)
{
	const char *end = r->bytes + r->len;
	struct journal_record record;

	while (p && p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));

		if (newline &&
		    journal_parse(
		        (struct span){p, (size_t)(newline - p)}, &record))
			return true;
		p = newline ? newline + 1 : NULL;
	}
	return false;
}

/* What is cut may have been a change: nobody shall miss it for good. */
static void
keep_garbage(const struct reading *r, size_t good)
{
	int fd = openat(r->journal->dir_fd, "journal.cut",
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0)
		return;
	if (write(fd, r->bytes + good, r->len - good) < 0)
		unlinkat(r->journal->dir_fd, "journal.cut", 0);
	close(fd);
}

/* `good_out`: the bytes up to a torn tail. */
static bool
read_lines(struct reading *r, bool is_snapshot, size_t *good_out)
{
	const char *p = r->bytes, *end = p + r->len;

	while (p < end) {
		const char *newline = memchr(p, '\n', (size_t)(end - p));
		struct span line = {p, (size_t)((newline ? newline : end) - p)};
		struct journal_record record;

		r->line++;
		if (!newline || !journal_parse(line, &record)) {
			bool is_mere = is_torn(r, line, newline != NULL);

			if (is_snapshot ||
			    (!is_mere && has_record_after(r, newline + 1)))
				return damaged(
				    r, "the checksum does not match");
			r->is_garbage = !is_mere;
			break;
		}
		if (is_snapshot ? !take_snapshot_line(r, &record)
		                : !take_journal_line(r, &record))
			return false;
		p = newline + 1;
	}
	*good_out = (size_t)(p - r->bytes);
	return true;
}

static bool
slurp(struct reading *r, int fd)
{
	struct stat st;
	size_t got = 0;

	if (fstat(fd, &st) != 0 || st.st_size > FILE_MAX)
		return err_set(r->err,
		    "%s/%s: cannot be read, or is above 64 MiB",
		    r->journal->dir, r->name);
	r->bytes = malloc((size_t)st.st_size + 1);
	if (!r->bytes)
		return err_set(r->err, "out of memory");
	while (got < (size_t)st.st_size) {
		ssize_t n = pread(
		    fd, r->bytes + got, (size_t)st.st_size - got, (off_t)got);

		if (n <= 0)
			return err_set(r->err, "%s/%s: %s", r->journal->dir,
			    r->name, n < 0 ? strerror(errno) : "it shrinks");
		got += (size_t)n;
	}
	r->len = got;
	return true;
}

static bool
read_snapshot(struct journal *journal, struct err *err)
{
	struct reading r = {.journal = journal, .name = "snapshot", .err = err};
	int fd = openat(journal->dir_fd, "snapshot", O_RDONLY | O_CLOEXEC);
	size_t good;
	bool ok;

	if (fd < 0)
		return errno == ENOENT || err_set(err, "%s/snapshot: %s",
		                              journal->dir, strerror(errno));
	ok = slurp(&r, fd) && read_lines(&r, true, &good) &&
	     (r.has_end || damaged(&r, "its end is missing"));
	close(fd);
	free(r.bytes);
	return ok;
}

bool
journal_read(struct journal *journal, uint64_t *cut_out, struct err *err)
{
	struct reading r = {.journal = journal, .name = "journal", .err = err};
	size_t good = 0;
	bool ok;

	if (!read_snapshot(journal, err))
		return false;
	ok = slurp(&r, journal->fd) && read_lines(&r, false, &good);
	*cut_out = r.len - good;
	journal->is_garbled = ok && r.is_garbage;
	if (journal->is_garbled)
		keep_garbage(&r, good);
	free(r.bytes);
	if (!ok)
		return false;
	journal->good = good;
	if (*cut_out > 0 && (ftruncate(journal->fd, (off_t)good) != 0 ||
	                        fdatasync(journal->fd) != 0))
		return err_set(
		    err, "%s/journal: %s", journal->dir, strerror(errno));
	return true;
}
