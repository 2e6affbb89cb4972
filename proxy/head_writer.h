/*
 * A head being written: bytes appended to a bounded room. Running over sets
 * `is_full`, which sticks and is asked once at the end. Shared by headers.c
 * and identity.c; inline, because a head is some twenty appends.
 */
#ifndef WEIR_PROXY_HEAD_WRITER_H
#define WEIR_PROXY_HEAD_WRITER_H

#include "proxy/request.h"

struct writer {
	char *start, *at, *end;
	bool is_full;
};

static inline void
put(struct writer *out, const char *bytes, size_t len)
{
	if ((size_t)(out->end - out->at) < len) {
		out->is_full = true;
		return;
	}
	if (len > 0) /* an absent span has no address */
		memcpy(out->at, bytes, len);
	out->at += len;
}

static inline void
put_span(struct writer *out, struct span span)
{
	put(out, span.ptr, span.len);
}

#define PUT(out, literal) put((out), ("" literal), sizeof(literal) - 1)

static inline struct piece
piece_from(const struct writer *out, const char *begin)
{
	return (struct piece){(uint32_t)(begin - out->start), (uint32_t)(out->at - begin)};
}

static inline void
put_number(struct writer *out, uint64_t value)
{
	char digits[20];
	size_t n = 0;

	do {
		digits[sizeof(digits) - ++n] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	put(out, digits + sizeof(digits) - n, n);
}

/* Eight hex digits of 32 bits, all at once: spread the nibbles to bytes, then to letters. */
static inline uint64_t
hex_digits(uint32_t value)
{
	uint64_t x = value;
	uint64_t letters;

	x = (x & 0xffff) << 32 | x >> 16;
	x = (x & 0x0000ff000000ff00) >> 8 | (x & 0x000000ff000000ff) << 16;
	x = (x & 0x00f000f000f000f0) >> 4 | (x & 0x000f000f000f000f) << 8;
	letters = (x + 0x0606060606060606) >> 4 & 0x0101010101010101; /* 1 for a..f */
	return x + 0x3030303030303030 + letters * ('a' - '0' - 10);
}

static inline void
put_hex(struct writer *out, uint64_t value)
{
	uint64_t digits[2] = {hex_digits((uint32_t)(value >> 32)), hex_digits((uint32_t)value)};

	put(out, (const char *)digits, 16);
}

/* Copies the first field of that id as it stands; false when there is none. */
static inline bool
put_given(struct writer *out, const struct h1_head *head, enum field_id id)
{
	if (head->first[id] == 0)
		return false;
	put_span(out, field_name(id));
	PUT(out, ": ");
	put_span(out, h1_value(head, head->first[id] - 1u));
	PUT(out, "\r\n");
	return true;
}

#endif
