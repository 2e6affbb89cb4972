/*
 * A span is a piece of somebody else's memory: pointer and length, not ended
 * by a NUL, never owned. Passed by value.
 */
#ifndef WEIR_CONFIG_SPAN_H
#define WEIR_CONFIG_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
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

/* Texts that may be missing: both are, or they are equal. */
static inline bool
text_eq(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

/* FNV-1a: to find things and to tell them apart; holds against nobody. */
static inline uint64_t
span_hash(struct span text)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);

	for (size_t i = 0; i < text.len; i++)
		hash = (hash ^ (unsigned char)text.ptr[i]) *
		    UINT64_C(0x100000001b3);
	return hash;
}

#endif
