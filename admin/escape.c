/*
 * Escaping into a bounded buffer. A character is written whole or not at all,
 * so a full buffer can always be closed with a quote and a brace that the
 * caller kept room for.
 */
#include "admin/escape.h"

#include <stdio.h>

#define REPLACEMENT "\xef\xbf\xbd"

static void
line_bytes(struct line *line, const char *bytes, size_t len)
{
	if (line->is_full || line->cap - line->len < len) {
		line->is_full = true;
		return;
	}
	memcpy(line->buf + line->len, bytes, len);
	line->len += len;
}

void
line_text(struct line *line, const char *text)
{
	line_bytes(line, text, strlen(text));
}

void
line_span(struct line *line, struct span text)
{
	line_bytes(line, text.ptr, text.len);
}

void
line_number(struct line *line, uint64_t value)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%llu", (unsigned long long)value);

	line_bytes(line, text, (size_t)n);
}

/* Bytes of the well-formed UTF-8 character at p (Unicode table 3-7), 0 when it
 * is none. */
static size_t
utf8_length(const unsigned char *p, size_t left)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (p[0] < 0x80)
		return 1;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (left < n)
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return n;
}

/* C1 controls (U+0080..U+009F) move a terminal's cursor too, in UTF-8 as
 * c2 80..9f. */
static bool
is_c1(const unsigned char *p, size_t n)
{
	return n == 2 && p[0] == 0xc2 && p[1] < 0xa0;
}

bool
text_is_printable(const char *text)
{
	const unsigned char *p = (const unsigned char *)text;
	size_t left = strlen(text), n;

	for (; left > 0; p += n, left -= n) {
		n = utf8_length(p, left);
		if (n == 0 || *p < 0x20 || *p == 0x7f || is_c1(p, n))
			return false;
	}
	return true;
}

size_t
text_fitting(const char *text, size_t max)
{
	size_t len = strnlen(text, max + 1);

	if (len <= max)
		return len;
	for (len = max; len > 0 && (text[len] & 0xc0) == 0x80;)
		len--;
	return len;
}

static void
line_character(struct line *line, const unsigned char *p, size_t n)
{
	char text[8];

	/* \u0000 is JSON too, but many readers stumble over it */
	if (n == 0 || *p == '\0') {
		line_text(line, REPLACEMENT);
	} else if (*p == '"' || *p == '\\') {
		text[0] = '\\';
		text[1] = (char)*p;
		line_bytes(line, text, 2);
	} else if (*p == '\n') {
		line_text(line, "\\n");
	} else if (*p == '\t') {
		line_text(line, "\\t");
	} else if (*p == '\r') {
		line_text(line, "\\r");
	} else if (*p < 0x20 || *p == 0x7f || is_c1(p, n)) {
		snprintf(text, sizeof(text), "\\u%04x", n == 2 ? p[1] : *p);
		line_bytes(line, text, 6);
	} else {
		line_bytes(line, (const char *)p, n);
	}
}

void
line_escaped(struct line *line, struct span text, size_t max)
{
	const unsigned char *p = (const unsigned char *)text.ptr;
	size_t left = text.len;
	char marker[32];

	while (left > 0 && text.len - left < max && !line->is_full) {
		size_t n = utf8_length(p, left);

		line_character(line, p, n);
		p += n ? n : 1;
		left -= n ? n : 1;
	}
	if (left > 0) {
		snprintf(marker, sizeof(marker), "...[+%zu]", left);
		line_text(line, marker);
	}
}

void
line_quoted(struct line *line, struct span text, size_t max)
{
	line_text(line, "\"");
	line_escaped(line, text, max);
	line_text(line, "\"");
}
