/*
 * Durations, sizes, percentages and integers, both ways. A parser takes the
 * whole span or refuses, and what a printer writes the parser reads back to
 * the same value.
 */
#include "config/units.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct unit {
	const char *word;
	uint64_t factor;
};

/* Largest first: "1h30m" is written in this order, and each at most once. */
static const struct unit duration_units[] = {
    {"d", 86400 * UINT64_C(1000000000)},
    {"h", 3600 * UINT64_C(1000000000)},
    {"m", 60 * UINT64_C(1000000000)},
    {"s", UINT64_C(1000000000)},
    {"ms", 1000000},
    {"us", 1000},
    {"ns", 1},
};

/* Largest first; the binary ones are those that the printer uses. */
static const struct unit size_units[] = {
    {"TiB", UINT64_C(1) << 40},
    {"GiB", 1 << 30},
    {"MiB", 1 << 20},
    {"KiB", 1 << 10},
    {"TB", UINT64_C(1000000000000)},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"KB", 1000},
    {"kB", 1000},
    {"B", 1},
};

enum {
	N_DURATION_UNITS = sizeof(duration_units) / sizeof(duration_units[0]),
	N_SIZE_UNITS = sizeof(size_units) / sizeof(size_units[0]),
	N_SIZE_PRINTED = 4,
};

static bool
is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static void
skip(struct span *text, size_t n)
{
	text->ptr += n;
	text->len -= n;
}

/* Digits from the front of `text`; false when there are none or too many. */
static bool
take_digits(struct span *text, uint64_t *out)
{
	uint64_t value = 0;
	size_t n = 0;

	for (; n < text->len && is_digit(text->ptr[n]); n++) {
		unsigned digit = (unsigned)(text->ptr[n] - '0');

		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			return false;
	}
	skip(text, n);
	*out = value;
	return n > 0;
}

/*
 * ".25" from the front of `text`, as a number of 1/scale_out. Nothing there
 * is 0/1; more than `max` digits are refused.
 */
static bool
take_fraction(struct span *text, size_t max, uint64_t *out, uint64_t *scale_out)
{
	size_t digits;

	*out = 0;
	*scale_out = 1;
	if (text->len == 0 || text->ptr[0] != '.')
		return true;
	skip(text, 1);
	digits = text->len;
	if (!take_digits(text, out))
		return false;
	digits -= text->len;
	if (digits > max)
		return false;
	while (digits-- > 0)
		*scale_out *= 10;
	return true;
}

/* The letters in front, looked up from `from` on; n when there is none. */
static size_t
take_unit(struct span *text, const struct unit *units, size_t from, size_t n)
{
	struct span word = {text->ptr, 0};

	while (word.len < text->len && !is_digit(text->ptr[word.len]))
		word.len++;
	for (size_t i = from; i < n; i++) {
		if (span_eq(word, span_of(units[i].word))) {
			skip(text, word.len);
			return i;
		}
	}
	return n;
}

bool
units_duration(struct span text, nsec_t *out)
{
	uint64_t total = 0, whole, part, scale, amount;
	size_t from = 0;

	if (text.len == 0)
		return false;
	while (text.len > 0) {
		size_t unit;

		if (!take_digits(&text, &whole) ||
		    !take_fraction(&text, 9, &part, &scale))
			return false;
		unit = take_unit(&text, duration_units, from, N_DURATION_UNITS);
		if (unit == N_DURATION_UNITS)
			return false;
		from = unit + 1;
		amount = duration_units[unit].factor;
		if (part != 0 && amount % scale != 0 && part * amount % scale)
			return false; /* finer than a nanosecond */
		part = amount % scale ? part * amount / scale
		                      : part * (amount / scale);
		if (__builtin_mul_overflow(whole, amount, &amount) ||
		    __builtin_add_overflow(total, amount, &total) ||
		    __builtin_add_overflow(total, part, &total))
			return false;
	}
	if (total > INT64_MAX)
		return false;
	*out = (nsec_t)total;
	return true;
}

/* A period is a duration, or the unit of one: "50/s" is "50/1s". */
bool
units_rate(struct span text, struct rate *out)
{
	struct span unit;
	size_t i;

	if (!take_digits(&text, &out->count) || out->count == 0 ||
	    text.len < 2 || text.ptr[0] != '/')
		return false;
	skip(&text, 1);
	unit = text;
	i = take_unit(&unit, duration_units, 0, N_DURATION_UNITS);
	if (i < N_DURATION_UNITS && unit.len == 0) {
		out->per = (nsec_t)duration_units[i].factor;
		return true;
	}
	return units_duration(text, &out->per) && out->per > 0;
}

bool
units_increase(struct span text, bool *is_relative_out, double *by_out)
{
	uint64_t whole, part, scale;

	if (!take_digits(&text, &whole) ||
	    !take_fraction(&text, 6, &part, &scale) || whole > 10000 ||
	    (whole == 0 && part == 0))
		return false;
	*is_relative_out = span_eq(text, SPAN("%"));
	*by_out = ((double)whole + (double)part / (double)scale) / 100;
	return *is_relative_out || span_eq(text, SPAN("pp"));
}

bool
units_size(struct span text, uint64_t *out)
{
	uint64_t value;
	size_t unit;

	if (!take_digits(&text, &value))
		return false;
	if (text.len > 0) {
		unit = take_unit(&text, size_units, 0, N_SIZE_UNITS);
		if (unit == N_SIZE_UNITS || text.len > 0 ||
		    __builtin_mul_overflow(
		        value, size_units[unit].factor, &value))
			return false;
	}
	*out = value;
	return true;
}

bool
units_percent(struct span text, bp_t *out)
{
	uint64_t whole, part, scale;

	if (!take_digits(&text, &whole) ||
	    !take_fraction(&text, 2, &part, &scale) || whole > 100)
		return false;
	if (text.len > 0 && text.ptr[0] == '%')
		skip(&text, 1);
	whole = whole * 100 + part * (100 / scale);
	if (text.len > 0 || whole > BP_ALL)
		return false;
	*out = (bp_t)whole;
	return true;
}

/* No leading zeros: in YAML 1.1 "010" was eight. */
bool
units_integer(struct span text, int64_t *out)
{
	bool is_negative = text.len > 0 && text.ptr[0] == '-';
	uint64_t value, limit = (uint64_t)INT64_MAX + is_negative;

	if (is_negative)
		skip(&text, 1);
	if (text.len > 1 && text.ptr[0] == '0')
		return false;
	if (!take_digits(&text, &value) || text.len > 0 || value > limit)
		return false;
	*out = is_negative ? (int64_t)(0 - value) : (int64_t)value;
	return true;
}

char *
units_print_duration(nsec_t value, char *buf, size_t cap)
{
	bool is_negative = value < 0;
	uint64_t rest = is_negative ? 0 - (uint64_t)value : (uint64_t)value;
	char text[64];
	size_t n = 0;

	if (rest == 0) {
		snprintf(buf, cap, "0s");
		return buf;
	}
	if (is_negative)
		text[n++] = '-';
	for (size_t i = 0; i < N_DURATION_UNITS; i++) {
		uint64_t count = rest / duration_units[i].factor;

		if (count == 0)
			continue;
		rest -= count * duration_units[i].factor;
		n += (size_t)snprintf(text + n, sizeof(text) - n,
		    "%" PRIu64 "%s", count, duration_units[i].word);
	}
	snprintf(buf, cap, "%.*s", (int)n, text);
	return buf;
}

char *
units_print_rate(struct rate value, char *buf, size_t cap)
{
	char period[64];
	const char *unit = period;

	units_print_duration(value.per, period, sizeof(period));
	if (period[0] == '1' && !is_digit(period[1]) &&
	    strpbrk(period + 1, "0123456789") == NULL)
		unit++;
	snprintf(buf, cap, "%" PRIu64 "/%s", value.count, unit);
	return buf;
}

char *
units_print_size(uint64_t value, char *buf, size_t cap)
{
	for (size_t i = 0; i < N_SIZE_PRINTED && value > 0; i++) {
		if (value % size_units[i].factor == 0) {
			snprintf(buf, cap, "%" PRIu64 "%s",
			    value / size_units[i].factor, size_units[i].word);
			return buf;
		}
	}
	snprintf(buf, cap, "%" PRIu64, value);
	return buf;
}

char *
units_print_percent(bp_t value, char *buf, size_t cap)
{
	if (value % 100 == 0)
		snprintf(buf, cap, "%u", value / 100);
	else if (value % 10 == 0)
		snprintf(buf, cap, "%u.%u", value / 100, value % 100 / 10);
	else
		snprintf(buf, cap, "%u.%02u", value / 100, value % 100);
	return buf;
}

char *
units_print_increase(bool is_relative, double by, char *buf, size_t cap)
{
	char digits[32];
	size_t n;

	n = (size_t)snprintf(digits, sizeof(digits), "%.6f", by * 100);
	while (n > 0 && digits[n - 1] == '0')
		n--;
	if (n > 0 && digits[n - 1] == '.')
		n--;
	snprintf(buf, cap, "%.*s%s", (int)n, digits, is_relative ? "%" : "pp");
	return buf;
}
