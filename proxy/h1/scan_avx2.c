/*
 * The parser's AVX2 engine: 32 bytes a step. A block gives masks of control
 * bytes, CR and LF; in a sound head every LF stands behind a CR and there is no
 * other control but TAB, so two XORs check a block, and the bits of the LF mask
 * are the line ends. What is not usual goes to the plain engine. Near the end
 * of the buffer a copy is loaded instead: nothing behind `len` is read.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdalign.h>

#include "proxy/h1/scan.h"

#define AVX2   __attribute__((target("avx2,bmi,bmi2")))
#define INLINE static inline __attribute__((always_inline)) AVX2

#define LIKELY(x) __builtin_expect(x, 1)

enum { BLOCK = 32 };

INLINE __m256i
block_at(const char *bytes)
{
	return _mm256_loadu_si256((const __m256i *)(const void *)bytes);
}

INLINE uint32_t
mask_of(__m256i v)
{
	return (uint32_t)_mm256_movemask_epi8(v);
}

/*
 * Bytes in all places of a register. The compiler would rather make them anew,
 * three instructions each: the empty asm keeps it from knowing what is here.
 */
struct bytes {
	__m256i x0f, x1f, x20, x21, del, cr, lf, tab;
	__m256i hash, ask, percent, back, slash, dot;
	__m256i token_rows, host_rows; /* bit (high nibble) at (low nibble) */
	__m256i bits;
};

/* clang-format off */
#define EIGHT(a, b, c, d, e, f, g, h) \
	(long long)((uint64_t)(a) | (uint64_t)(b) << 8 | (uint64_t)(c) << 16 | (uint64_t)(d) << 24 | \
	    (uint64_t)(e) << 32 | (uint64_t)(f) << 40 | (uint64_t)(g) << 48 | (uint64_t)(h) << 56)
#define ALL(b) {EIGHT(b, b, b, b, b, b, b, b), EIGHT(b, b, b, b, b, b, b, b), \
	EIGHT(b, b, b, b, b, b, b, b), EIGHT(b, b, b, b, b, b, b, b)}
#define TWICE(low, high) {low, high, low, high}

static const struct bytes all_bytes = {
	.x0f = ALL(0x0f), .x1f = ALL(0x1f), .x20 = ALL(0x20), .x21 = ALL(0x21), .del = ALL(0x7f),
	.cr = ALL('\r'), .lf = ALL('\n'), .tab = ALL('\t'),
	.hash = ALL('#'), .ask = ALL('?'), .percent = ALL('%'), .back = ALL('\\'), .slash = ALL('/'), .dot = ALL('.'),
	.token_rows = TWICE(EIGHT(0xe8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc),
	    EIGHT(0xf8, 0xf8, 0xf4, 0x54, 0xd0, 0x54, 0xf4, 0x70)),
	.host_rows = TWICE(EIGHT(0xa8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8),
	    EIGHT(0xf8, 0xf8, 0xf0, 0x50, 0x50, 0x54, 0xd4, 0x70)),
	.bits = TWICE(EIGHT(1, 2, 4, 8, 16, 32, 64, 128), 0),
};
/* clang-format on */

INLINE const struct bytes *
bytes_ready(void)
{
	const struct bytes *ready = &all_bytes;

	__asm__("" : "+r"(ready));
	return ready;
}

INLINE uint32_t
where(__m256i v, __m256i byte)
{
	return mask_of(_mm256_cmpeq_epi8(v, byte));
}

/*
 * Less than a block of `len` bytes is left from `at` on: those and spaces, so
 * that nothing behind the end is read. Wants len >= BLOCK.
 */
INLINE __m256i
last_block(const struct bytes *b, const char *bytes, size_t len, size_t at)
{
	alignas(32) char room[2 * BLOCK];

	_mm256_store_si256(
	    (__m256i *)(void *)room, block_at(bytes + len - BLOCK));
	_mm256_store_si256((__m256i *)(void *)(room + BLOCK), b->x20);
	return block_at(room + (at + BLOCK - len));
}

/* ---- lines ---- */

/*
 * One loop and no calls: every byte of every head comes through here. `empty`
 * is where an LF would end an empty line, `carry` 1 when the block before ended
 * with CR.
 */
AVX2 static void
avx2_lines(const char *bytes, uint32_t len, uint32_t from, struct h1_lines *out)
{
	const struct bytes *b = bytes_ready();
	uint32_t *next = out->at, carry = 0;
	size_t empty = SIZE_MAX, end = 0, bad = SIZE_MAX, stop = len;

	if (len < BLOCK) {
		h1_scalar.lines(bytes, len, from, out);
		return;
	}
	if (from == 0 || bytes[from - 1] == '\n')
		empty = (size_t)from + 1;
	for (size_t at = from; at < stop; at += BLOCK) {
		__m256i v = LIKELY(at + BLOCK <= len)
		                ? block_at(bytes + at)
		                : last_block(b, bytes, len, at);
		__m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(v, b->x1f), v);
		__m256i del = _mm256_cmpeq_epi8(v, b->del);
		uint32_t ctl = mask_of(_mm256_or_si256(low, del)), cr, lf;
		uint32_t order;

		if ((ctl | carry) == 0)
			continue;
		cr = where(v, b->cr);
		lf = where(v, b->lf);
		order = lf ^ (cr + cr + carry); /* an LF is behind each CR */
		carry = cr >> (BLOCK - 1);
		if (!LIKELY((order | (ctl ^ cr ^ lf)) == 0)) {
			/* TAB may be there, and an LF be yet to come */
			order |= ctl ^ cr ^ lf ^ where(v, b->tab);
			if (stop - at < BLOCK)
				order = _bzhi_u32(order, (unsigned)(stop - at));
			if (order != 0) {
				bad = at + _tzcnt_u32(order);
				lf = _bzhi_u32(lf, _tzcnt_u32(order));
				stop = 0;
			}
		}
		if (!LIKELY(next < out->at + H1_LINES_CAP))
			next = out->at + H1_LINES_CAP;
		for (; lf != 0; lf = _blsr_u32(lf)) {
			size_t here = at + _tzcnt_u32(lf);

			if (here == empty) {
				end = here + 1;
				goto seen;
			}
			*next++ = (uint32_t)here - 1;
			empty = here + 2;
		}
	}
seen:
	out->n = (uint32_t)(next - out->at);
	out->end = (uint32_t)end;
	out->fault = H1_FAULT_NONE;
	if (end == 0 && bad != SIZE_MAX)
		out->fault = h1_byte_fault(bytes, (uint32_t)bad);
}

/* ---- fields ---- */

/* Bits of bytes that are not in the set of `rows`. */
INLINE uint32_t
outside(const struct bytes *b, __m256i rows, __m256i bits, __m256i v)
{
	__m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), b->x0f);
	/* a byte >= 0x80 as an index gives 0 */
	__m256i hit = _mm256_and_si256(
	    _mm256_shuffle_epi8(rows, v), _mm256_shuffle_epi8(bits, high));

	return where(hit, _mm256_setzero_si256());
}

/*
 * Equal but for the case of letters: setting 0x20 folds those and makes no
 * other token character equal to a byte of a name.
 */
INLINE uint32_t
differences(const struct bytes *b, __m256i v, const char *known)
{
	return ~where(_mm256_or_si256(v, b->x20), block_at(known));
}

/*
 * The usual field line [from, to), "name: value"; `v` begins with it. False
 * when it is not usual.
 */
INLINE bool
field_usual(const struct bytes *b, __m256i rows, __m256i bits, __m256i v,
    struct h1_head *out, const char *bytes, size_t idx, size_t from, size_t to)
{
	const char *name = bytes + from;
	size_t n = _tzcnt_u32(outside(b, rows, bits, v)), id;
	const struct field_row *row;

	if (!LIKELY(n - FIELD_TEXT_MIN < BLOCK - FIELD_TEXT_MIN &&
	            memcmp(name + n, ": ", 2) == 0))
		return false;
	id = field_candidate(name, n);
	row = &field_rows[id];
	if (row->len != n)
		row = &field_rows[id = FIELD_NONE];
	else if (!LIKELY(
	             _bzhi_u32(differences(b, v, row->text), (unsigned)n) == 0))
		return false; /* perhaps an alias */
	h1_field_put(out, bytes, idx, from, n, from + n + 2, to, id, row);
	return true;
}

AVX2 static enum h1_fault
avx2_fields(const char *bytes, uint32_t len, const struct h1_lines *lines,
    struct h1_head *out)
{
	const struct bytes *b = bytes_ready();
	const __m256i rows = b->token_rows, bits = b->bits;
	size_t from = lines->at[0] + 2;

	if (len < BLOCK)
		return h1_scalar.fields(bytes, len, lines, out);
	for (size_t i = 1, n = lines->n; i < n; i++) {
		size_t to = lines->at[i];
		__m256i v = LIKELY(from + BLOCK <= len)
		                ? block_at(bytes + from)
		                : last_block(b, bytes, len, from);
		enum h1_fault fault = H1_FAULT_NONE;

		if (!LIKELY(field_usual(
		        b, rows, bits, v, out, bytes, i - 1, from, to)))
			fault = h1_field_read(out, bytes, i - 1, from, to);
		if (!LIKELY(fault == H1_FAULT_NONE))
			return fault;
		from = to + 2;
	}
	return H1_FAULT_NONE;
}

/* ---- host and target ---- */

AVX2 static size_t
avx2_host(const char *bytes, uint32_t len, uint32_t from)
{
	const struct bytes *b = bytes_ready();
	uint32_t stop;

	if (!LIKELY((size_t)from + BLOCK <= len))
		return h1_scalar.host(bytes, len, from);
	stop = outside(b, b->host_rows, b->bits, block_at(bytes + from));
	if (!LIKELY(stop != 0))
		return h1_scalar.host(bytes, len, from);
	return _tzcnt_u32(stop);
}

AVX2 static void
avx2_target(const char *bytes, uint32_t len, uint32_t from, uint32_t to,
    struct h1_target *out)
{
	const struct bytes *b = bytes_ready();
	uint32_t query = to, illegal = 0, odd = 0, carry = 0;

	if (len < BLOCK) {
		h1_scalar.target(bytes, len, from, to, out);
		return;
	}
	for (size_t at = from; at < to; at += BLOCK) {
		__m256i v = LIKELY(at + BLOCK <= len)
		                ? block_at(bytes + at)
		                : last_block(b, bytes, len, at);
		uint32_t there = UINT32_MAX, ask, slash;
		__m256i escape =
		    _mm256_or_si256(_mm256_cmpeq_epi8(v, b->percent),
		        _mm256_cmpeq_epi8(v, b->back));

		if (to - at < BLOCK)
			there = _bzhi_u32(there, (unsigned)(to - at));
		/* signed: 0x80 and above are below 0x21 */
		illegal |= mask_of(_mm256_or_si256(_mm256_cmpgt_epi8(b->x21, v),
		               _mm256_cmpeq_epi8(v, b->hash))) &
		           there;
		if (query != to)
			continue; /* behind the path */
		ask = where(v, b->ask) & there;
		if (ask != 0) {
			query = (uint32_t)at + _tzcnt_u32(ask);
			there = _bzhi_u32(there, _tzcnt_u32(ask));
		}
		slash = where(v, b->slash);
		odd |= (mask_of(escape) | ((slash + slash + carry) &
		                              (slash | where(v, b->dot)))) &
		       there;
		carry = slash >> (BLOCK - 1);
	}
	*out = (struct h1_target){query, illegal != 0, odd != 0};
}

const struct h1_engine h1_avx2 = {
    avx2_lines, avx2_fields, avx2_host, avx2_target};
#else
/* An empty file is no C. */
extern int h1_avx2_needs_x86;
#endif
