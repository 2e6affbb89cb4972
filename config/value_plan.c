/*
 * Kinds of values that plans are written in: increases, fine percentages,
 * signals, addresses of hooks, days, hours and zones.
 */
#include <stdio.h>

#include "config/mem.h"
#include "config/value.h"

enum { QUOTE_MAX = 60, URL_MAX = 2048 };

static int
quote_len(struct span text)
{
	return (int)(text.len < QUOTE_MAX ? text.len : QUOTE_MAX);
}

#define QUOTED(text) quote_len(text), (text).ptr

static bool
increase_parse(
    struct span text, struct span shown, struct value *out, struct fault *fault)
{
	bool is_relative = false;
	char hint[160];
	int64_t nano;

	if (units_increase(text, &is_relative, &out->number)) {
		out->word = is_relative;
		return true;
	}
	if (units_fraction(text, &nano))
		snprintf(hint, sizeof(hint),
		    "\"%.*spp\" is a difference of rates, \"%.*s%%\" a ratio",
		    QUOTED(shown), QUOTED(shown));
	else
		snprintf(hint, sizeof(hint),
		    "write it like \"2pp\" (a difference of rates) or \"20%%\" "
		    "(a ratio)");
	return fault_set(fault, DIAG_INCREASE, hint,
	    units_fraction(text, &nano) ? "\"%.*s\" has no unit"
	                                : "\"%.*s\" is not an increase",
	    QUOTED(shown));
}

static bool
fraction_parse(const struct schema_row *row, struct span text,
    struct span shown, struct value *out, struct fault *fault)
{
	struct span lo, hi;
	int64_t edge;

	if (!units_fraction(text, &out->number))
		return fault_set(fault, DIAG_PERCENTAGE,
		    "0 to 100, at most seven decimals",
		    "\"%.*s\" is not a percentage", QUOTED(shown));
	if (!schema_range(row, &lo, &hi))
		return true;
	if (units_fraction(lo, &edge) && out->number < edge)
		return fault_set(fault, DIAG_PERCENTAGE, NULL,
		    "%.*s is below %.*s", QUOTED(shown), QUOTED(lo));
	if (units_fraction(hi, &edge) && out->number > edge)
		return fault_set(fault, DIAG_PERCENTAGE, NULL,
		    "%.*s is above %.*s", QUOTED(shown), QUOTED(hi));
	return true;
}

/* Words come first in the row, so what is here is meant as a signal. */
static bool
signal_parse(struct span text, struct span shown, struct fault *fault)
{
	struct span kind = {text.ptr + 7, text.len - 7};

	if (name_is_fine(kind))
		return true;
	return fault_set(fault, DIAG_NAME,
	    "1 to 63 of a-z, 0-9 and '-', not beginning with '-'",
	    "\"%.*s\" names no kind of signal", QUOTED(shown));
}

/* ---- URLs ---- */

static bool
host_is_fine(struct span host)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
	                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                              "0123456789-._";
	bool is_bracketed =
	    host.len > 4 && host.ptr[0] == '[' && host.ptr[host.len - 1] == ']';

	if (is_bracketed)
		host = (struct span){host.ptr + 1, host.len - 2};
	for (size_t i = 0; i < host.len; i++)
		if (!strchr(is_bracketed ? "0123456789abcdefABCDEF:." : letters,
		        host.ptr[i]))
			return false;
	return host.len > 0 && host.len <= 253;
}

/* "host", "host:80", "[::1]:80". */
static bool
authority_is_fine(struct span text)
{
	const char *colon = text.len ? memrchr(text.ptr, ':', text.len) : NULL;
	struct span port;
	int64_t number;

	if (colon == NULL || text.ptr[text.len - 1] == ']')
		return host_is_fine(text);
	port =
	    (struct span){colon + 1, (size_t)(text.ptr + text.len - colon - 1)};
	text.len = (size_t)(colon - text.ptr);
	return host_is_fine(text) && units_integer(port, &number) &&
	       number > 0 && number <= 65535;
}

static const char *
url_fault(struct span text)
{
	struct span rest = text;
	size_t len = 0;

	if (span_starts(rest, SPAN("http://")))
		rest = (struct span){text.ptr + 7, text.len - 7};
	else if (span_starts(rest, SPAN("https://")))
		rest = (struct span){text.ptr + 8, text.len - 8};
	else
		return "it begins with neither http:// nor https://";
	for (size_t i = 0; i < text.len; i++) {
		unsigned char c = (unsigned char)text.ptr[i];

		if (c <= ' ' || c >= 0x7f || strchr("\"<>\\^`{|}#", c))
			return "it holds a character that a URL has not";
	}
	while (len < rest.len && !strchr("/?", rest.ptr[len]))
		len++;
	rest.len = len;
	if (memchr(rest.ptr, '@', rest.len))
		return "a password does not stand in the file; sign with hmac";
	if (!authority_is_fine(rest))
		return "the host or port is none";
	return text.len > URL_MAX ? "it has more than 2048 bytes" : NULL;
}

static bool
url_parse(struct span text, struct fault *fault)
{
	const char *what = url_fault(text);

	return what == NULL ||
	       fault_set(fault, DIAG_URL, "write it like \"https://host/path\"",
	           "this URL cannot be used: %s", what);
}

/* ---- times ---- */

static bool
zone_parse(struct span text, struct span shown, struct fault *fault)
{
	return units_zone(text) ||
	       fault_set(fault, DIAG_CALENDAR,
	           "names are those of the tz database: \"UTC\", "
	           "\"Europe/Paris\"",
	           "there is no time zone \"%.*s\"", QUOTED(shown));
}

static bool
days_parse(
    struct span text, struct span shown, struct value *out, struct fault *fault)
{
	unsigned days;

	if (!units_days(text, &days))
		return fault_set(fault, DIAG_CALENDAR,
		    "write \"mon-thu\", \"mon,wed\" or \"mon-fri,sun\"",
		    "\"%.*s\" are no days of the week", QUOTED(shown));
	out->number = days;
	return true;
}

static bool
hours_parse(struct span text, struct span shown, struct fault *fault)
{
	unsigned from, to;

	return units_hours(text, &from, &to) ||
	       fault_set(fault, DIAG_CALENDAR,
	           "write \"09:00-16:00\"; the whole day is \"00:00-24:00\"",
	           "\"%.*s\" is no time of the day", QUOTED(shown));
}

bool
value_parse_of_plan(const struct schema_row *row, unsigned type,
    struct span text, struct span shown, struct value *out, struct fault *fault)
{
	switch (type) {
	case V_INCREASE:
		return increase_parse(text, shown, out, fault);
	case V_FRACTION:
		return fraction_parse(row, text, shown, out, fault);
	case V_SIGNAL:
		return signal_parse(text, shown, fault);
	case V_URL:
		return url_parse(text, fault);
	case V_DAYS:
		return days_parse(text, shown, out, fault);
	case V_HOURS:
		return hours_parse(text, shown, fault);
	default:
		assert(type == V_ZONE);
		return zone_parse(text, shown, fault);
	}
}
