/*
 * JSON text written piece by piece into a buffer of fixed size, for lines
 * that are made often and from hostile bytes (log, access log). Whatever the
 * input, the output is one line of valid JSON in valid UTF-8.
 */
#ifndef WEIR_ADMIN_ESCAPE_H
#define WEIR_ADMIN_ESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/span.h"

/*
 * A line being written. Once something did not fit, `is_full` stays set and
 * nothing is written any more; what stands there is never half an escape.
 */
struct line {
	char *buf; /* borrowed */
	size_t len, cap;
	bool is_full;
};

void line_text(struct line *line, const char *text);
void line_span(struct line *line, struct span text);
void line_number(struct line *line, uint64_t value);

/*
 * A quoted string. Control bytes, quotes and backslashes are escaped, bytes
 * that are not UTF-8 become U+FFFD. At most `max` bytes of input are looked
 * at; a longer one ends with the marker "...[+123]" (bytes left away).
 */
void line_quoted(struct line *line, struct span text, size_t max);

/* The same escapes without the quotes; used by the readable log. */
void line_escaped(struct line *line, struct span text, size_t max);

/* Bytes of the text, at most `max`, that end where a character ends: half a one
 * is no UTF-8 and gets into no JSON. */
size_t text_fitting(const char *text, size_t max);

/* Well-formed UTF-8 without a control character, which no terminal obeys. */
bool text_is_printable(const char *text);

#endif
