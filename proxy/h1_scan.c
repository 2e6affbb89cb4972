/*
 * The parser's plain engine, the table of byte kinds, and the words for what
 * is wrong with a byte or a line. This is the reference: where the AVX2 engine
 * differs, that one is wrong.
 */
#include "proxy/h1_scan.h"

#define T H1_TOKEN
#define C H1_CONTROL
#define H H1_HOST
#define U H1_UNRESERVED
#define X H1_HEX
#define N (T | H | U)     /* what names are made of */
#define A (T | H | U | X) /* the same, and a hex digit */

const uint8_t h1_bytes[256] = {
    /* clang-format off */
	/* TAB is no control here, CR and LF are: `lines` knows where they may be */
	[0x00] = C, C, C, C, C, C, C, C, C, 0, C, C, C, C, C, C,
	[0x10] = C, C, C, C, C, C, C, C, C, C, C, C, C, C, C, C,
	['!'] = T, ['#'] = T, ['$'] = T, ['%'] = T, ['&'] = T, ['\''] = T,
	['*'] = T, ['+'] = T, ['^'] = T, ['`'] = T, ['|'] = T,
	['-'] = N, ['.'] = N, ['_'] = N, ['~'] = N,
	['0'] = A, A, A, A, A, A, A, A, A, A,
	['A'] = A, A, A, A, A, A, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
	['a'] = A, A, A, A, A, A, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N, N,
	[0x7f] = C,
    /* clang-format on */
};

enum h1_fault
h1_byte_fault(const char *bytes, uint32_t at)
{
	bool after_cr = at > 0 && bytes[at - 1] == '\r';

	if (bytes[at] == '\n' && !after_cr)
		return H1_FAULT_BARE_LF;
	return after_cr ? H1_FAULT_BARE_CR : H1_FAULT_CONTROL;
}

enum h1_fault
h1_name_fault(const char *bytes, uint32_t from, uint32_t to, uint32_t name_len,
    bool is_first)
{
	uint32_t at = from + name_len;

	if (h1_is_blank(bytes[from]))
		return is_first ? H1_FAULT_LEADING_SPACE : H1_FAULT_OBS_FOLD;
	if (memchr(bytes + from, ':', to - from) == NULL)
		return H1_FAULT_NO_COLON;
	if (name_len > H1_NAME_MAX)
		return H1_FAULT_NAME_LONG;
	while (name_len > 0 && h1_is_blank(bytes[at]))
		at++;
	return at > from + name_len && bytes[at] == ':'
	           ? H1_FAULT_SPACE_BEFORE_COLON
	           : H1_FAULT_NAME;
}

static void
scalar_lines(
    const char *bytes, uint32_t len, uint32_t from, struct h1_lines *out)
{
	uint32_t start =
	    from == 0 || bytes[from - 1] == '\n' ? from : UINT32_MAX;

	*out = (struct h1_lines){0};
	for (uint32_t at = from; at < len; at++) {
		if (!h1_is(bytes[at], H1_CONTROL))
			continue;
		if (bytes[at] != '\r') {
			out->fault = h1_byte_fault(bytes, at);
			return;
		}
		if (at + 1 == len)
			return;
		if (bytes[at + 1] != '\n') {
			out->fault = H1_FAULT_BARE_CR;
			return;
		}
		if (at == start) {
			out->end = at + 2;
			return;
		}
		out->at[out->n < H1_LINES_CAP ? out->n : H1_LINES_CAP] = at;
		out->n++;
		start = ++at + 1;
	}
}

static enum h1_fault
scalar_fields(const char *bytes, uint32_t len, const struct h1_lines *lines,
    struct h1_head *out)
{
	uint32_t from = lines->at[0] + 2;

	(void)len;
	for (uint32_t i = 1; i < lines->n; i++) {
		uint32_t to = lines->at[i], n = 0;
		bool is_alias;
		enum field_id id;

		while (h1_is(bytes[from + n], H1_TOKEN))
			n++;
		if (n == 0 || n > H1_NAME_MAX || bytes[from + n] != ':')
			return h1_name_fault(bytes, from, to, n, i == 1);
		id = field_find((struct span){bytes + from, n}, &is_alias);
		if (is_alias && field_rows[id].class == FIELD_CLASS_FRAMING)
			return H1_FAULT_FRAMING_ALIAS;
		h1_field_put(out, i - 1, from, n, to, id, is_alias);
		from = to + 2;
	}
	return H1_FAULT_NONE;
}

static void
scalar_target(const char *bytes, uint32_t len, uint32_t from, uint32_t to,
    struct h1_target *out)
{
	(void)len;
	*out = (struct h1_target){.query = to};
	for (uint32_t at = from; at < to; at++) {
		unsigned char byte = (unsigned char)bytes[at];

		if (byte <= ' ' || byte >= 0x7f || byte == '#')
			out->is_illegal = true;
		if (out->query < to)
			continue;
		if (byte == '?')
			out->query = at;
		else if (byte == '%' || byte == '\\')
			out->is_odd = true;
		else if (at > from && bytes[at - 1] == '/' &&
		         (byte == '/' || byte == '.'))
			out->is_odd = true;
	}
}

const struct h1_engine h1_scalar = {
    "scalar", scalar_lines, scalar_fields, scalar_target};

const struct h1_engine *
h1_engine(void)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi"))
		return &h1_avx2;
#endif
	return &h1_scalar;
}
