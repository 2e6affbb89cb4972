/*
 * A durable map from keys to JSON texts: an append-only journal of puts over a
 * snapshot of the whole. Knows nothing of what the texts mean; state.c does.
 *
 * A line is "<crc32c, 8 hex digits> <sequence> <key> <text>\n", the checksum
 * over all that follows its space. Sequence numbers are consecutive over both
 * files, so a line that is missing is noticed as well as one that changed.
 */
#ifndef WEIR_ADMIN_JOURNAL_H
#define WEIR_ADMIN_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"

enum {
	JOURNAL_LINE_MAX = 1 << 20, /* a set of endpoints beside the file's */
	JOURNAL_KEYS_MAX = 8192,
	JOURNAL_COMPACT_BYTES =
	    1 << 20, /* a journal above this is folded into the snapshot */
};

struct journal_item {
	char *key, *text; /* owned */
	uint64_t sequence;
};

struct journal {
	int dir_fd, fd, lock_fd, reserve_fd; /* reserve_fd -1: there is none */
	char *dir;                           /* owned */
	uint64_t sequence;                   /* of the last durable put */
	uint64_t good; /* bytes of the journal that are known to be whole */
	size_t reserve_used; /* bytes of the reserve that the journal lacks */
	bool is_suspect;     /* a write failed: the next put rewrites everything
	                        first */
	struct journal_item *items; /* owned */
	size_t n_items;
	uint64_t failures;
	bool is_garbled; /* what was cut at the opening was more than a
	                    half-written line; it is in `journal.cut` */
};

/*
 * Locks the directory and reads the files. False: somebody else has it, or
 * what is there is damaged; err says which file, where, and what to do.
 * Without a reserve it works too (reserve_fd -1, err says why).
 * `cut_out` gets the bytes of a torn tail that was dropped, 0 when none.
 */
bool journal_open(struct journal *journal, const char *dir, uint64_t *cut_out,
    struct err *err);
/* Returns after fsync. False: nothing has changed on disk as far as can be.
 * `key` has no space. */
bool journal_put(struct journal *journal, const char *key, const char *text,
    struct err *err);
/*
 * The same for what leads back to a safe state: when the disk is full it goes
 * to a reserve that was taken from it at the start.
 */
bool journal_put_back(struct journal *journal, const char *key,
    const char *text, struct err *err);
/* The key is gone, as durably as a put; its line is a text "null". */
bool journal_drop(struct journal *journal, const char *key, struct err *err);
const struct journal_item *journal_find(
    const struct journal *journal, const char *key);
/* Writes the snapshot anew and empties the journal. */
bool journal_compact(struct journal *journal, struct err *err);
void journal_release(struct journal *journal);

#endif
