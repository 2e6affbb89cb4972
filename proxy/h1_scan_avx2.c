/*
 * The parser's AVX2 engine: 32 bytes a step. A block gives masks of control
 * bytes, CR and LF; in a sound head every LF stands behind a CR and there is no
 * other control, so one XOR checks a block, and the bits of the CR mask are the
 * line ends. Near the end of the buffer the last 32 bytes are loaded instead
 * and the mask shifted, so that nothing behind `len` is read.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#include "proxy/h1_scan.h"

#define AVX2   __attribute__((target("avx2,bmi")))
#define INLINE static inline __attribute__((always_inline)) AVX2

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

INLINE __m256i
where(__m256i v, char byte)
{
	return _mm256_cmpeq_epi8(v, _mm256_set1_epi8(byte));
}

/* ---- lines ---- */

/* Bits of bytes below 0x20 (TAB too) and of DEL. */
INLINE uint32_t
controls(__m256i v)
{
	__m256i low =
	    _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1f)), v);

	return mask_of(_mm256_or_si256(low, where(v, 0x7f)));
}

struct walk {
	struct h1_lines *out;
	const char *bytes;
	uint32_t len;
	uint32_t start; /* of the current line */
	uint32_t carry; /* the block before ended with CR */
};

/* One block whose bits from `limit` on are not there. True: the walk is over.
 */
INLINE bool
walk_block(struct walk *walk, uint32_t at, __m256i v, unsigned shift)
{
	uint32_t ctl = controls(v) >> shift, cr, lf, bad;

	if (__builtin_expect((ctl | walk->carry) == 0, 1))
		return false;
	cr = mask_of(where(v, '\r')) >> shift;
	lf = mask_of(where(v, '\n')) >> shift;
	bad = (lf ^ (cr << 1 | walk->carry)) |
	      (ctl ^ cr ^ lf ^ (mask_of(where(v, '\t')) >> shift));
	if (shift != 0) /* the LF of a CR at the very end is yet to come */
		bad &= UINT32_MAX >> shift;
	walk->carry = cr >> (BLOCK - 1 - shift);
	if (bad != 0)
		cr &= (bad & -bad) - 1;
	while (cr != 0) {
		uint32_t end = at + (uint32_t)__builtin_ctz(cr);

		cr &= cr - 1;
		if (end + 1 == walk->len)
			return true;
		if (end == walk->start) {
			if (walk->bytes[end + 1] == '\n')
				walk->out->end = end + 2;
			else
				walk->out->fault = H1_FAULT_BARE_CR;
			return true;
		}
		walk->out->at[walk->out->n < H1_LINES_CAP ? walk->out->n
		                                          : H1_LINES_CAP] = end;
		walk->out->n++;
		walk->start = end + 2;
	}
	if (bad == 0)
		return false;
	walk->out->fault =
	    h1_byte_fault(walk->bytes, at + (uint32_t)__builtin_ctz(bad));
	if (walk->out->fault == H1_FAULT_BARE_CR)
		walk->out->n--; /* that CR was no line's end */
	return true;
}

AVX2 static void
avx2_lines(const char *bytes, uint32_t len, uint32_t from, struct h1_lines *out)
{
	struct walk walk = {out, bytes, len, UINT32_MAX, 0};
	uint32_t at = from;

	if (len < BLOCK) {
		h1_scalar.lines(bytes, len, from, out);
		return;
	}
	out->n = 0;
	out->end = 0;
	out->fault = H1_FAULT_NONE;
	if (from == 0 || bytes[from - 1] == '\n')
		walk.start = from;
	for (; at + BLOCK <= len; at += BLOCK)
		if (walk_block(&walk, at, block_at(bytes + at), 0))
			return;
	if (at < len)
		walk_block(&walk, at, block_at(bytes + len - BLOCK),
		    BLOCK - (len - at));
}

/* ---- fields ---- */

/* Bits of bytes that are no token characters: bit (high nibble) of set[low
 * nibble]. */
INLINE uint32_t
non_tokens(__m256i v)
{
	const __m256i set = _mm256_broadcastsi128_si256(_mm_setr_epi8(
	    (char)0xe8, (char)0xfc, (char)0xf8, (char)0xfc, (char)0xfc,
	    (char)0xfc, (char)0xfc, (char)0xfc, (char)0xf8, (char)0xf8,
	    (char)0xf4, 0x54, (char)0xd0, 0x54, (char)0xf4, 0x70));
	const __m256i bit = _mm256_broadcastsi128_si256(_mm_setr_epi8(
	    1, 2, 4, 8, 16, 32, 64, (char)128, 0, 0, 0, 0, 0, 0, 0, 0));
	__m256i high =
	    _mm256_and_si256(_mm256_srli_epi16(v, 4), _mm256_set1_epi8(0x0f));
	/* a byte >= 0x80 as an index gives 0 */
	__m256i hit = _mm256_and_si256(
	    _mm256_shuffle_epi8(set, v), _mm256_shuffle_epi8(bit, high));

	return mask_of(_mm256_cmpeq_epi8(hit, _mm256_setzero_si256()));
}

/* Names of 32 bytes and more, and heads that are shorter than a block. */
static uint32_t
token_run(const char *bytes, uint32_t from)
{
	uint32_t n = 0;

	while (h1_is(bytes[from + n], H1_TOKEN))
		n++;
	return n;
}

INLINE unsigned
known_name(const char *name, uint32_t len, __m256i v)
{
	unsigned id;
	__m256i same;
	const struct field_row *row;

	if (len < FIELD_TEXT_MIN)
		return FIELD_NONE;
	id = field_candidate(name, len);
	row = &field_rows[id];
	if (row->len != len)
		return FIELD_NONE;
	/*
	 * Setting 0x20 folds letters and makes no other token character equal
	 * to a byte of a name.
	 */
	same = _mm256_cmpeq_epi8(_mm256_or_si256(v, _mm256_set1_epi8(0x20)),
	    _mm256_load_si256((const __m256i *)(const void *)row->text));
	return (~mask_of(same) << (BLOCK - len)) == 0 ? id : FIELD_COUNT;
}

AVX2 static enum h1_fault
avx2_fields(const char *bytes, uint32_t len, const struct h1_lines *lines,
    struct h1_head *out)
{
	uint32_t from = lines->at[0] + 2;

	for (uint32_t i = 1; i < lines->n; i++) {
		uint32_t to = lines->at[i], n = BLOCK;
		unsigned id = FIELD_COUNT;
		bool is_alias = false;

		if (__builtin_expect(from + BLOCK <= len, 1)) {
			__m256i v = block_at(bytes + from);
			uint32_t stop = non_tokens(v);

			if (__builtin_expect(stop != 0, 1)) {
				n = (uint32_t)__builtin_ctz(stop);
				id = known_name(bytes + from, n, v);
			}
		} else if (len >= BLOCK) {
			/* the line's CR is in this block: something stops */
			n = (uint32_t)__builtin_ctz(
			    non_tokens(block_at(bytes + len - BLOCK)) >>
			    (BLOCK - (len - from)));
		}
		if (__builtin_expect(n >= BLOCK || len < BLOCK, 0))
			n = token_run(bytes, from);
		if (__builtin_expect(
		        n == 0 || n > H1_NAME_MAX || bytes[from + n] != ':', 0))
			return h1_name_fault(bytes, from, to, n, i == 1);
		if (id == FIELD_COUNT) {
			id = field_find(
			    (struct span){bytes + from, n}, &is_alias);
			if (is_alias &&
			    field_rows[id].class == FIELD_CLASS_FRAMING)
				return H1_FAULT_FRAMING_ALIAS;
		}
		h1_field_put(out, i - 1, from, n, to, id, is_alias);
		from = to + 2;
	}
	return H1_FAULT_NONE;
}

/* ---- target ---- */

AVX2 static void
avx2_target(const char *bytes, uint32_t len, uint32_t from, uint32_t to,
    struct h1_target *out)
{
	uint32_t odd = 0, illegal = 0, carry = 0;

	if (len < BLOCK) {
		h1_scalar.target(bytes, len, from, to, out);
		return;
	}
	out->query = to;
	for (uint32_t at = from; at < to; at += BLOCK) {
		unsigned shift = at + BLOCK <= len ? 0 : BLOCK - (len - at);
		__m256i v =
		    block_at(shift == 0 ? bytes + at : bytes + len - BLOCK);
		uint32_t there = to - at >= BLOCK ? UINT32_MAX
		                                  : (1u << (to - at)) - 1,
		         ask, slash;

		/* signed: 0x80 and above are below 0x21 */
		illegal |= (mask_of(_mm256_or_si256(
		                _mm256_cmpgt_epi8(_mm256_set1_epi8(0x21), v),
		                where(v, '#'))) >>
		               shift) &
		           there;
		if (out->query < to)
			continue;
		ask = (mask_of(where(v, '?')) >> shift) & there;
		if (ask != 0) {
			out->query = at + (uint32_t)__builtin_ctz(ask);
			there = (ask & -ask) - 1;
		}
		slash = mask_of(where(v, '/')) >> shift;
		odd |=
		    (mask_of(_mm256_or_si256(where(v, '%'), where(v, '\\'))) >>
		        shift) &
		    there;
		odd |= (slash << 1 | carry) &
		       (slash | (mask_of(where(v, '.')) >> shift)) & there;
		carry = slash >> (BLOCK - 1);
	}
	out->is_illegal = illegal != 0;
	out->is_odd = odd != 0;
}

const struct h1_engine h1_avx2 = {"avx2", avx2_lines, avx2_fields, avx2_target};
#else
/* An empty file is no C. */
extern int h1_avx2_needs_x86;
#endif
