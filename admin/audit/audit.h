/*
 * The audit log: who did what, from where, why, what it was before and after,
 * and how it ended; refused attempts too. Append-only JSONL; each line holds
 * the hash of the one before, so that a changed, removed or inserted line is
 * found by `weirctl audit verify`.
 */
#ifndef WEIR_ADMIN_AUDIT_H
#define WEIR_ADMIN_AUDIT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "config/err.h"

enum {
	AUDIT_HASH_LEN = 64, /* hex digits */
	AUDIT_LINE_MAX = 256 << 10,
	AUDIT_ANCHOR_MAX = 4300,
};

struct audit {
	int fd;
	char *path; /* owned */
	uint64_t sequence;
	char head[AUDIT_HASH_LEN + 1]; /* hash of the last line */
	uint64_t empty_at; /* sequence when the file was opened empty, else
	                      UINT64_MAX */
	bool needs_sync;
	uint64_t failures;
};

/* All texts borrowed; NULL where there is none. before and after are borrowed
 * too. */
struct audit_entry {
	const char *actor, *address, *action, *target, *reason;
	const char *result; /* "ok", "refused:forbidden" */
	const json_t *before, *after;
};

/* Opens or creates (0600), finds the last hash, cuts a half-written line. */
bool audit_open(struct audit *audit, const char *path, struct err *err);
/*
 * The head as it was kept elsewhere, "<sequence> <hash> <path>\n": a chain cannot show
 * that its end is missing. How many lines are; an empty file goes on after it,
 * as after a rotation, and another file is none of its business.
 */
uint64_t audit_take_anchor(struct audit *audit, const char *text, size_t len);
/* What to keep. */
size_t audit_anchor(const struct audit *audit, char *buf, size_t cap);
/* After a rotation: the chain goes on in the new file. */
bool audit_reopen(struct audit *audit, struct err *err);
/* One write; the caller logs a failure, which is counted. */
bool audit_append(
    struct audit *audit, const struct audit_entry *entry, struct err *err);
/* fdatasync when something was written since; called on a timer. */
void audit_sync(struct audit *audit);
/* The last lines that have that target (NULL: any), oldest first; a new
 * reference. */
json_t *audit_tail(const struct audit *audit, size_t limit, const char *target);
void audit_release(struct audit *audit);

struct audit_verdict {
	uint64_t lines;
	uint64_t verdicts; /* of rollouts, computed again from their counters */
	uint64_t sequence; /* of the last line */
	bool is_continued; /* the first line follows a rotated file */
	char head[AUDIT_HASH_LEN + 1];
};
/* False with err naming the first line that does not hold. */
bool audit_verify(
    FILE *file, const char *name, struct audit_verdict *out, struct err *err);

#endif
