/*
 * A span is a piece of somebody else's memory: pointer and length, not ended
 * by a NUL, never owned. Passed by value.
 */
#ifndef WEIR_CONFIG_SPAN_H
#define WEIR_CONFIG_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct span {
	const char *ptr; /* borrowed; may be NULL when len is 0 */
	size_t len;
};

#define SPAN(literal) ((struct span){("" literal), sizeof(literal) - 1})

static inline struct span
span_of(const char *text)
{
	return (struct span){text, text ? strlen(text) : 0};
}

static inline bool
span_eq(struct span a, struct span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Equal but for the case of ASCII letters. */
static inline bool
span_ieq(struct span a, struct span b)
{
	return a.len == b.len &&
	    (a.len == 0 || strncasecmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool
span_starts(struct span text, struct span prefix)
{
	return text.len >= prefix.len &&
	    (prefix.len == 0 || memcmp(text.ptr, prefix.ptr, prefix.len) == 0);
}

#endif
