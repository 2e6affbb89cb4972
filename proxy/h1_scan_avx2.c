/*
 * The parser's AVX2 engine: 32 bytes a step. A block gives masks of control
 * bytes, CR and LF; in a sound head every LF stands behind a CR and there is no
 * other control, so one XOR checks a block, and the bits of the CR mask are the
 * line ends. Near the end of the buffer the last 32 bytes are loaded instead
 * and the mask shifted, so that nothing behind `len` is read.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <stdalign.h>

#include "proxy/h1_scan.h"

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
 * A byte in all places of a register. The compiler would rather make it anew
 * in every turn of a loop: the empty asm keeps it from knowing the value.
 */
INLINE __m256i
all(char byte)
{
	__m256i v = _mm256_set1_epi8(byte);

	__asm__("" : "+x"(v));
	return v;
}

INLINE uint32_t
where(__m256i v, __m256i byte)
{
	return mask_of(_mm256_cmpeq_epi8(v, byte));
}

/* ---- lines ---- */

struct walk {
	uint32_t *ends;
	size_t n;
	size_t empty;   /* where an LF would end an empty line */
	uint32_t carry; /* the block before ended with CR */
	__m256i x1f, del, cr, lf;
};

/*
 * One block, of which the first `shift` bytes were seen before. True when the
 * walk is over: `end` is behind the empty line, or 0 and `bad` the place of a
 * byte that may not be there.
 */
INLINE bool
walk_block(struct walk *walk, size_t at, __m256i v, unsigned shift, size_t *end,
    size_t *bad)
{
	__m256i low = _mm256_cmpeq_epi8(_mm256_min_epu8(v, walk->x1f), v);
	__m256i del = _mm256_cmpeq_epi8(v, walk->del);
	uint32_t ctl = mask_of(_mm256_or_si256(low, del)) >> shift;
	uint32_t cr, lf, want, wrong;

	if ((ctl | walk->carry) == 0)
		return false;
	cr = where(v, walk->cr) >> shift;
	lf = where(v, walk->lf) >> shift;
	want = cr + cr + walk->carry;
	wrong = (lf ^ want) | (ctl ^ cr ^ lf);
	walk->carry = cr >> (BLOCK - 1);
	if (!LIKELY(wrong == 0)) {
		/* TAB may be there, and an LF may be yet to come */
		uint32_t tab = where(v, _mm256_set1_epi8('\t')) >> shift;

		wrong = (lf ^ want) | (ctl ^ cr ^ lf ^ tab);
		wrong &= UINT32_MAX >> shift;
		if (wrong != 0)
			lf &= (wrong & -wrong) - 1;
	}
	if (!LIKELY(walk->n < H1_LINES_CAP))
		walk->n = H1_LINES_CAP;
	while (lf != 0) {
		size_t here = at + (size_t)__builtin_ctz(lf);

		if (here == walk->empty) {
			*end = here + 1;
			return true;
		}
		walk->ends[walk->n++] = (uint32_t)here - 1;
		walk->empty = here + 2;
		lf &= lf - 1;
	}
	if (LIKELY(wrong == 0))
		return false;
	*bad = at + (size_t)__builtin_ctz(wrong);
	return true;
}

AVX2 static void
avx2_lines(const char *bytes, uint32_t len, uint32_t from, struct h1_lines *out)
{
	struct walk walk = {out->at, 0, SIZE_MAX, 0, all(0x1f), all(0x7f),
	    all('\r'), all('\n')};
	size_t at = from, n = len, end = 0, bad = 0;
	bool is_over = false;

	if (n < BLOCK) {
		h1_scalar.lines(bytes, len, from, out);
		return;
	}
	if (from == 0 || bytes[from - 1] == '\n')
		walk.empty = at + 1;
	for (; !is_over && at + BLOCK <= n; at += BLOCK)
		is_over =
		    walk_block(&walk, at, block_at(bytes + at), 0, &end, &bad);
	if (!is_over && at < n)
		is_over = walk_block(&walk, at, block_at(bytes + n - BLOCK),
		    (unsigned)(at + BLOCK - n), &end, &bad);
	out->n = (uint32_t)walk.n;
	out->end = (uint32_t)end;
	out->fault = H1_FAULT_NONE;
	if (is_over && end == 0)
		out->fault = h1_byte_fault(bytes, (uint32_t)bad);
}

/* ---- fields ---- */

/* Token characters: bit (high nibble) of the byte at (low nibble). */
alignas(32) static const uint8_t token_rows[BLOCK] = {
    /* clang-format off */
	0xe8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xf8, 0xf8, 0xf4, 0x54, 0xd0, 0x54, 0xf4, 0x70,
	0xe8, 0xfc, 0xf8, 0xfc, 0xfc, 0xfc, 0xfc, 0xfc, 0xf8, 0xf8, 0xf4, 0x54, 0xd0, 0x54, 0xf4, 0x70,
    /* clang-format on */
};
alignas(32) static const uint8_t token_bits[BLOCK] = {
    /* clang-format off */
	1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0,
	1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0,
    /* clang-format on */
};

/* What a loop over names keeps in registers. */
struct names {
	__m256i rows, bits, x0f, x20, zero;
};

/* Bits of bytes that are no token characters. */
INLINE uint32_t
non_tokens(const struct names *names, __m256i v)
{
	__m256i high = _mm256_and_si256(_mm256_srli_epi16(v, 4), names->x0f);
	/* a byte >= 0x80 as an index gives 0 */
	__m256i hit = _mm256_and_si256(_mm256_shuffle_epi8(names->rows, v),
	    _mm256_shuffle_epi8(names->bits, high));

	return where(hit, names->zero);
}

/*
 * Equal but for the case of letters: setting 0x20 folds those and makes no
 * other token character equal to a byte of a name.
 */
INLINE uint32_t
differences(const struct names *names, __m256i v, const char *known)
{
	return ~where(_mm256_or_si256(v, names->x20), block_at(known));
}

/*
 * The usual field line at `from`, of which 32 bytes are in the buffer. False
 * when it is not usual.
 */
INLINE bool
field_fast(const struct names *names, struct h1_head *out, const char *bytes,
    size_t idx, size_t from, size_t to)
{
	const char *name = bytes + from;
	__m256i v = block_at(name);
	unsigned n = _tzcnt_u32(non_tokens(names, v)), id;
	const struct field_row *row;

	if (!LIKELY(
	        n - FIELD_TEXT_MIN < BLOCK - FIELD_TEXT_MIN && name[n] == ':'))
		return false;
	id = field_candidate(name, n);
	row = &field_rows[id];
	if (row->len != n)
		row = &field_rows[id = FIELD_NONE];
	else if (!LIKELY(_bzhi_u32(differences(names, v, row->text), n) == 0))
		return false; /* perhaps an alias */
	h1_field_put(out, bytes, idx, from, n, to, id, row);
	return true;
}

/*
 * The same within the last block of the buffer: the block that ends with the
 * name is compared. What stands before a name in the table is another row; the
 * first is FIELD_NONE.
 */
INLINE bool
field_late(const struct names *names, struct h1_head *out, const char *bytes,
    size_t len, size_t idx, size_t from, size_t to)
{
	const char *name = bytes + from, *last = bytes + len - BLOCK;
	/* the line's CR is in this block: something stops */
	uint32_t stop = non_tokens(names, block_at(last)) >> (name - last);
	unsigned n = _tzcnt_u32(stop), id;
	const struct field_row *row;

	if (n < FIELD_TEXT_MIN || name[n] != ':')
		return false;
	id = field_candidate(name, n);
	row = &field_rows[id];
	if (row->len != n)
		row = &field_rows[id = FIELD_NONE];
	else if (differences(names, block_at(name + n - BLOCK),
	             row->text + n - BLOCK) >>
	             (BLOCK - n) !=
	         0)
		return false;
	h1_field_put(out, bytes, idx, from, n, to, id, row);
	return true;
}

AVX2 static enum h1_fault
avx2_fields(const char *bytes, uint32_t len, const struct h1_lines *lines,
    struct h1_head *out)
{
	const struct names names = {block_at((const char *)token_rows),
	    block_at((const char *)token_bits), all(0x0f), all(0x20), all(0)};
	size_t from = lines->at[0] + 2, n = lines->n, i = 1;
	enum h1_fault fault = H1_FAULT_NONE;

	if (len < 2 * BLOCK)
		return h1_scalar.fields(bytes, len, lines, out);
	for (; i < n && from + BLOCK <= len; i++) {
		size_t to = lines->at[i];

		if (!LIKELY(field_fast(&names, out, bytes, i - 1, from, to)))
			fault = h1_field_read(out, bytes, i - 1, from, to);
		if (!LIKELY(fault == H1_FAULT_NONE))
			return fault;
		from = to + 2;
	}
	for (; i < n; i++) {
		size_t to = lines->at[i];

		if (!field_late(&names, out, bytes, len, i - 1, from, to))
			fault = h1_field_read(out, bytes, i - 1, from, to);
		if (fault != H1_FAULT_NONE)
			return fault;
		from = to + 2;
	}
	return H1_FAULT_NONE;
}

/* ---- target ---- */

AVX2 static void
avx2_target(const char *bytes, uint32_t len, uint32_t from, uint32_t to,
    struct h1_target *out)
{
	const __m256i x21 = all(0x21), hash = all('#'), ask = all('?');
	const __m256i percent = all('%'), back = all('\\');
	const __m256i slash = all('/'), dot = all('.');
	uint32_t odd = 0, illegal = 0, carry = 0;

	if (len < BLOCK) {
		h1_scalar.target(bytes, len, from, to, out);
		return;
	}
	out->query = to;
	for (size_t at = from; at < to; at += BLOCK) {
		unsigned shift =
		    at + BLOCK <= len ? 0 : (unsigned)(at + BLOCK - len);
		__m256i v = block_at(bytes + at - shift);
		uint32_t there = _bzhi_u32(
		    UINT32_MAX, to - at < BLOCK ? (unsigned)(to - at) : BLOCK);
		uint32_t asks, slashes;

		/* signed: 0x80 and above are below 0x21 */
		illegal |= (mask_of(_mm256_or_si256(_mm256_cmpgt_epi8(x21, v),
		                _mm256_cmpeq_epi8(v, hash))) >>
		               shift) &
		           there;
		if (out->query < to)
			continue;
		asks = (where(v, ask) >> shift) & there;
		if (asks != 0) {
			out->query = (uint32_t)at + _tzcnt_u32(asks);
			there = (asks & -asks) - 1;
		}
		slashes = where(v, slash) >> shift;
		odd |= (mask_of(_mm256_or_si256(_mm256_cmpeq_epi8(v, percent),
		            _mm256_cmpeq_epi8(v, back))) >>
		           shift) &
		       there;
		odd |= (slashes << 1 | carry) &
		       (slashes | (where(v, dot) >> shift)) & there;
		carry = slashes >> (BLOCK - 1);
	}
	out->is_illegal = illegal != 0;
	out->is_odd = odd != 0;
}

const struct h1_engine h1_avx2 = {"avx2", avx2_lines, avx2_fields, avx2_target};
#else
/* An empty file is no C. */
extern int h1_avx2_needs_x86;
#endif
