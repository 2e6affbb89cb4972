/*
 * Runtime state on disk.
 *
 *	put:      append one line to `journal`, fdatasync, then the caller acts
 *	compact:  write `snapshot.new`, fsync, rename to `snapshot`, fsync the
 *	          directory, then empty `journal`
 *	put back: the same, but into `reserve` when the journal cannot grow
 *	open:     lock, read `snapshot`, apply the lines of `journal`, then of
 *	          `reserve`, with a higher sequence
 *
 * A crash between rename and emptying leaves lines that the snapshot has
 * already; their sequence says so. After a failed write or fsync nobody knows
 * what the disk holds: the journal is cut back to its last good byte, and the
 * next put starts from a whole new snapshot.
 */
#include "admin/state/journal.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/state/journal_read.h"
#include "admin/state/journal_reserve.h"
#include "admin/write_all.h"

/* mkdir -p: only the last directory's mode is ours to choose. */
static bool
make_directory(const char *dir, struct err *err)
{
	char *path = strdup(dir);
	bool ok;

	if (!path)
		return err_set(err, "out of memory");
	for (char *slash = strchr(path + 1, '/'); slash;
	     slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) != 0 && errno != EEXIST)
			break; /* the last mkdir tells why */
		*slash = '/';
	}
	ok = mkdir(dir, 0700) == 0 || errno == EEXIST;
	if (!ok)
		err_set(err,
		    "state_dir %s: %s; create it for the user of weir or set "
		    "state_dir",
		    dir, strerror(errno));
	free(path);
	return ok;
}

static bool
open_files(struct journal *journal, struct err *err)
{
	const char *dir = journal->dir;

	journal->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (journal->dir_fd < 0)
		return err_set(err,
		    "state_dir %s: %s; give it to the user of weir or set "
		    "state_dir",
		    dir, strerror(errno));
	journal->lock_fd =
	    openat(journal->dir_fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (journal->lock_fd < 0)
		return err_set(err,
		    "state_dir %s: cannot write there: %s; give it to the user "
		    "of weir or set state_dir",
		    dir, strerror(errno));
	if (flock(journal->lock_fd, LOCK_EX | LOCK_NB) != 0)
		return err_set(err,
		    "state_dir %s: another weir uses it; stop that one or set "
		    "another state_dir",
		    dir);
	journal->fd = openat(journal->dir_fd, "journal",
	    O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (journal->fd < 0)
		return err_set(err, "%s/journal: %s", dir, strerror(errno));
	return true;
}

static struct journal_item *
item_at(struct journal *journal, const char *key)
{
	for (size_t i = 0; i < journal->n_items; i++)
		if (strcmp(journal->items[i].key, key) == 0)
			return &journal->items[i];
	return NULL;
}

const struct journal_item *
journal_find(const struct journal *journal, const char *key)
{
	return item_at((struct journal *)(uintptr_t)journal, key);
}

/* Memory comes first, so that a put that reached the disk cannot fail. */
static struct journal_item *
item_reserve(struct journal *journal, const char *key)
{
	struct journal_item *item = item_at(journal, key), *items;

	if (item || journal->n_items == JOURNAL_KEYS_MAX)
		return item;
	items = realloc(
	    journal->items, (journal->n_items + 1) * sizeof(*journal->items));
	if (!items)
		return NULL;
	journal->items = items;
	item = &items[journal->n_items];
	*item = (struct journal_item){.key = strdup(key)};
	if (!item->key)
		return NULL;
	journal->n_items++;
	return item;
}

/* Takes back a reservation that was never filled. */
static void
item_unreserve(struct journal *journal, struct journal_item *item)
{
	if (item->text)
		return;
	free(item->key);
	*item = journal->items[--journal->n_items];
}

static void
item_remove(struct journal *journal, const char *key)
{
	struct journal_item *item = item_at(journal, key);

	if (!item)
		return;
	free(item->key);
	free(item->text);
	*item = journal->items[--journal->n_items];
}

static bool
is_dropped(struct span text)
{
	return span_eq(text, SPAN("null"));
}

bool
journal_keep(struct journal *journal, const struct journal_record *record)
{
	struct journal_item *item;
	char *text;

	if (is_dropped(record->text)) {
		item_remove(journal, record->key);
		return true;
	}
	text = strndup(record->text.ptr, record->text.len);
	item = text ? item_reserve(journal, record->key) : NULL;
	if (!item) {
		free(text);
		return false;
	}
	free(item->text);
	item->text = text;
	item->sequence = record->sequence;
	return true;
}

static bool
write_items(const struct journal *journal, int fd, size_t *n_out)
{
	*n_out = 0;
	for (size_t i = 0; i < journal->n_items; i++) {
		const struct journal_item *item = &journal->items[i];
		size_t len;
		char *line;
		bool ok;

		if (!item->text)
			continue;
		line =
		    journal_line(item->sequence, item->key, item->text, &len);
		ok = line && write_all(fd, line, len);
		free(line);
		if (!ok)
			return false;
		++*n_out;
	}
	return true;
}

/* The last line says how many there were: a snapshot that lost its end is seen.
 */
static bool
write_end(const struct journal *journal, int fd, size_t n_written)
{
	char text[32];
	size_t len;
	char *line;
	bool ok;

	snprintf(text, sizeof(text), "%zu", n_written);
	line = journal_line(journal->sequence, "end", text, &len);
	ok = line && write_all(fd, line, len);
	free(line);
	return ok;
}

static bool
write_snapshot(struct journal *journal)
{
	int fd = openat(journal->dir_fd, "snapshot.new",
	    O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	size_t n;
	bool ok;

	if (fd < 0)
		return false;
	ok = write_items(journal, fd, &n) && write_end(journal, fd, n) &&
	     fsync(fd) == 0;
	if (close(fd) != 0)
		ok = false;
	return ok &&
	       renameat(journal->dir_fd, "snapshot.new", journal->dir_fd,
	           "snapshot") == 0 &&
	       fsync(journal->dir_fd) == 0;
}

bool
journal_compact(struct journal *journal, struct err *err)
{
	struct err ignored;

	if (!write_snapshot(journal) || ftruncate(journal->fd, 0) != 0 ||
	    fdatasync(journal->fd) != 0) {
		err_set(err, "state_dir %s: %s", journal->dir, strerror(errno));
		unlinkat(journal->dir_fd, "snapshot.new", 0);
		journal->is_suspect = true;
		journal->failures++;
		return false;
	}
	journal->good = 0;
	journal->is_suspect = false;
	journal->reserve_used = 0;
	if (journal->reserve_fd < 0)
		reserve_renew(journal, &ignored);
	return true;
}

static bool
append(struct journal *journal, const char *line, size_t len, struct err *err)
{
	if (write_all(journal->fd, line, len) && fdatasync(journal->fd) == 0) {
		journal->good += len;
		return true;
	}
	err_set(err, "%s/journal: %s", journal->dir, strerror(errno));
	journal->failures++;
	journal->is_suspect = true;
	if (ftruncate(journal->fd, (off_t)journal->good) == 0)
		fdatasync(journal->fd);
	return false;
}

static bool
put_line(struct journal *journal, const char *line, size_t len, struct err *err)
{
	if (len > JOURNAL_LINE_MAX)
		return err_set(err, "state of %zu bytes is above %d", len,
		    JOURNAL_LINE_MAX);
	if ((journal->is_suspect || journal->good > JOURNAL_COMPACT_BYTES) &&
	    !journal_compact(journal, err))
		return false;
	return append(journal, line, len, err);
}

/* One number is left out: a line that was given up may yet be in the journal,
 * and this one is the last word. */
static bool
put_reserved(struct journal *journal, const char *key, const char *text)
{
	size_t len = 0;
	char *line = journal_line(journal->sequence + 2, key, text, &len);
	bool ok = line && len <= JOURNAL_LINE_MAX &&
	          reserve_write(journal, line, len);

	free(line);
	if (ok) {
		journal->sequence++;
		journal->is_suspect = true;
	}
	return ok;
}

static bool
put(struct journal *journal, const char *key, const char *text,
    bool may_use_reserve, struct err *err)
{
	char *copy = strdup(text), *line;
	size_t len = 0;
	struct journal_item *item;
	bool ok;

	assert(!strpbrk(key, " \n") && !strchr(text, '\n'));
	line = journal_line(journal->sequence + 1, key, text, &len);
	item = copy && line ? item_reserve(journal, key) : NULL;
	ok = item ? put_line(journal, line, len, err) ||
	                (may_use_reserve && put_reserved(journal, key, text))
	          : err_set(err, "no room for more state (%zu keys)",
	                journal->n_items);
	free(line);
	if (!ok) {
		if (item)
			item_unreserve(journal, item);
		free(copy);
		return false;
	}
	assert(item);
	free(item->text);
	item->text = copy;
	item->sequence = ++journal->sequence;
	return true;
}

bool
journal_put(
    struct journal *journal, const char *key, const char *text, struct err *err)
{
	return put(journal, key, text, false, err);
}

bool
journal_put_back(
    struct journal *journal, const char *key, const char *text, struct err *err)
{
	return put(journal, key, text, true, err);
}

bool
journal_drop(struct journal *journal, const char *key, struct err *err)
{
	if (!item_at(journal, key))
		return true;
	if (!journal_put(journal, key, "null", err))
		return false;
	item_remove(journal, key);
	return true;
}

bool
journal_open(struct journal *journal, const char *dir, uint64_t *cut_out,
    struct err *err)
{
	*journal = (struct journal){
	    .dir_fd = -1, .fd = -1, .lock_fd = -1, .reserve_fd = -1};
	*cut_out = 0;
	journal->dir = strdup(dir);
	if (!journal->dir)
		return err_set(err, "out of memory");
	if (make_directory(dir, err) && open_files(journal, err) &&
	    journal_read(journal, cut_out, err)) {
		reserve_open(journal, err);
		return true;
	}
	journal_release(journal);
	return false;
}

void
journal_release(struct journal *journal)
{
	for (size_t i = 0; i < journal->n_items; i++) {
		free(journal->items[i].key);
		free(journal->items[i].text);
	}
	free(journal->items);
	free(journal->dir);
	if (journal->fd >= 0)
		close(journal->fd);
	reserve_release(journal);
	if (journal->lock_fd >= 0)
		close(journal->lock_fd);
	if (journal->dir_fd >= 0)
		close(journal->dir_fd);
	*journal = (struct journal){
	    .dir_fd = -1, .fd = -1, .lock_fd = -1, .reserve_fd = -1};
}
