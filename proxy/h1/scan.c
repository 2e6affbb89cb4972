/*
 * The parser's plain engine, the table of byte kinds, and the words for what
 * is wrong with a byte or a line. This is the reference: where the AVX2 engine
 * differs, that one is wrong.
 */
#include "proxy/h1/scan.h"

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

/*
 * Why the line [from, to) of which `name_len` bytes are token characters is no
 * field line.
 */
static enum h1_fault
name_fault(
    const char *bytes, size_t from, size_t to, size_t name_len, bool is_first)
{
	size_t at = from + name_len;

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
		out->at[out->n] = at;
		out->n += out->n < H1_LINES_CAP;
		start = ++at + 1;
	}
}

void
h1_field_trim(struct h1_field *field, const char *bytes)
{
	uint32_t from = field->value, to = from + field->value_len;

	while (from < to && h1_is_blank(bytes[from]))
		from++;
	while (to > from && h1_is_blank(bytes[to - 1]))
		to--;
	field->value = from;
	field->value_len = to - from;
}

enum h1_fault
h1_field_read(
    struct h1_head *out, const char *bytes, size_t idx, size_t from, size_t to)
{
	struct span name = {bytes + from, 0};
	bool is_alias;
	enum field_id id, counted;

	while (h1_is(name.ptr[name.len], H1_TOKEN))
		name.len++;
	if (name.len == 0 || name.len > H1_NAME_MAX ||
	    name.ptr[name.len] != ':')
		return name_fault(bytes, from, to, name.len, idx == 0);
	id = field_find(name, &is_alias);
	if (is_alias && field_rows[id].class == FIELD_CLASS_FRAMING)
		return H1_FAULT_FRAMING_ALIAS;
	/* an alias is dropped, and counts as the opaque field that it is */
	counted = is_alias ? FIELD_NONE : id;
	h1_field_put(out, bytes, idx, from, name.len, from + name.len + 1, to,
	    counted, &field_rows[counted]);
	if (is_alias) {
		out->fields[idx].id = (uint8_t)id;
		out->fields[idx].is_hop = true;
	}
	return H1_FAULT_NONE;
}

static enum h1_fault
scalar_fields(const char *bytes, uint32_t len, const struct h1_lines *lines,
    struct h1_head *out)
{
	size_t from = lines->at[0] + 2;

	(void)len;
	for (size_t i = 1; i < lines->n; i++) {
		size_t to = lines->at[i];
		enum h1_fault fault =
		    h1_field_read(out, bytes, i - 1, from, to);

		if (fault != H1_FAULT_NONE)
			return fault;
		from = to + 2;
	}
	return H1_FAULT_NONE;
}

static size_t
scalar_host(const char *bytes, uint32_t len, uint32_t from)
{
	size_t n = 0;

	(void)len;
	while (h1_is(bytes[from + n], H1_HOST))
		n++;
	return n;
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
    scalar_lines, scalar_fields, scalar_host, scalar_target};

const struct h1_engine *
h1_engine(void)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") &&
	    __builtin_cpu_supports("bmi2"))
		return &h1_avx2;
#endif
	return &h1_scalar;
}
