/* The text form of a journal's lines, and the reading of both files at start.
 */
#ifndef WEIR_ADMIN_JOURNAL_READ_H
#define WEIR_ADMIN_JOURNAL_READ_H

#include "admin/state/journal.h"
#include "config/span.h"

struct journal_record {
	uint64_t sequence;
	char key[160];
	struct span text;
};

/* A whole line with its newline; the caller frees. NULL: out of memory. */
char *journal_line(
    uint64_t sequence, const char *key, const char *text, size_t *len_out);
/* `line` is without its newline. */
bool journal_parse(struct span line, struct journal_record *out);
bool journal_read(struct journal *journal, uint64_t *cut_out, struct err *err);
/* journal.c: takes a record into memory. */
bool journal_keep(struct journal *journal, const struct journal_record *record);

#endif
