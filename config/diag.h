/*
 * Collecting what is wrong with a file. The list is bounded; the counters go
 * on. Errors take the place of warnings when the list is full.
 */
#ifndef WEIR_CONFIG_DIAG_H
#define WEIR_CONFIG_DIAG_H

#include "config/config.h"

/* The rows of codes.def. */
enum diag_code {
#define CODE(name, code, title, more) DIAG_##name,
#include "config/codes.def"
#undef CODE
	DIAG_CODES
};

/* Where something stands: from 1, counted in characters. */
struct place {
	unsigned line, column, width;
};

/* A piece of a line that is never shown: a secret that was written down. */
struct hidden {
	struct place at;
};

enum { HIDDEN_MAX = CONFIG_DIAGS_MAX };

/* What is filled while a file is read. */
struct report {
	struct diags *diags; /* borrowed */
	struct hidden hidden[HIDDEN_MAX];
	size_t n_hidden;
};

void diags_init(struct diags *diags, const char *file);

/* `hint` may be NULL. Control characters in both are shown as '?'. */
void report_add(struct report *report, enum diag_code code, struct place at,
    const char *hint, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

/* True when another error would only be counted: skip costly suggestions. */
bool report_is_full(const struct report *report);

/* The text at `at` is a secret: no line that is shown holds it. */
void report_hide(struct report *report, struct place at);

/* Sorts by place and fetches the lines out of the file. */
void report_finish(struct report *report, struct span text);

#endif
