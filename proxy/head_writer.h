/*
 * A head being written: bytes appended to a bounded room. Running over sets
 * `is_full`, which sticks and is asked once at the end. Shared by headers.c
 * and identity.c; inline, because a head is some twenty appends.
 */
#ifndef WEIR_PROXY_HEAD_WRITER_H
#define WEIR_PROXY_HEAD_WRITER_H

#ifdef __SSE2__
#include <emmintrin.h>
#endif

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

/* The sixteen digits of 64 bits, all at once: nibbles to bytes, bytes to letters. */
#ifdef __SSE2__

static inline void
hex_digits(uint64_t value, char *out)
{
	__m128i bytes = _mm_cvtsi64_si128((int64_t)__builtin_bswap64(value));
	__m128i low = _mm_set1_epi8(0xf);
	__m128i nibbles =
	    _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(bytes, 4), low), _mm_and_si128(bytes, low));
	__m128i letters = _mm_cmpgt_epi8(nibbles, _mm_set1_epi8(9));

	nibbles = _mm_add_epi8(nibbles, _mm_set1_epi8('0'));
	nibbles = _mm_add_epi8(nibbles, _mm_and_si128(letters, _mm_set1_epi8('a' - '0' - 10)));
	_mm_storeu_si128((__m128i *)(void *)out, nibbles);
}

#else

static inline void
hex_digits(uint64_t value, char *out)
{
	for (int i = 0; i < 16; i++)
		out[i] = "0123456789abcdef"[value >> (60 - 4 * i) & 0xf];
}

#endif

static inline void
put_hex(struct writer *out, uint64_t value)
{
	char digits[16];

	hex_digits(value, digits);
	put(out, digits, sizeof(digits));
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
