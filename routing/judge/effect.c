/* Effects and weathers by their words. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "routing/simulate.h"

static const char *const kinds[] = {"errors", "latency", "hang", "size"};
static const char *const weathers[WEATHER_COUNT] = {
    "steady", "drift", "periodic", "outage"};

const char *
weather_name(enum weather weather)
{
	return weathers[weather];
}

bool
weather_of(const char *word, enum weather *out)
{
	for (int i = 0; i < WEATHER_COUNT; i++)
		if (strcmp(weathers[i], word) == 0) {
			*out = (enum weather)i;
			return true;
		}
	return false;
}

/* "+2pp" "+20%" "5%" as 0.02, 0.2, 0.05 and the unit. */
static bool
amount_parse(struct span text, double *out, bool *is_points)
{
	char copy[32], *end;
	double number;

	if (text.len == 0 || text.len >= sizeof(copy))
		return false;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = '\0';
	if (strspn(copy, "+0123456789.%p") != text.len)
		return false;
	number = strtod(copy, &end);
	if (end == copy || number < 0 || number > 1e6)
		return false;
	*is_points = strcmp(end, "pp") == 0;
	*out = number / 100;
	return *is_points || strcmp(end, "%") == 0;
}

static struct span
cut_at(struct span *rest, char at)
{
	const char *end = memchr(rest->ptr, at, rest->len);
	struct span first = *rest;

	if (end == NULL) {
		rest->ptr += rest->len;
		rest->len = 0;
		return first;
	}
	first.len = (size_t)(end - rest->ptr);
	rest->ptr += first.len + 1;
	rest->len -= first.len + 1;
	return first;
}

static bool
option_parse(struct span text, struct effect *out, struct err *err)
{
	struct span value = text, key = cut_at(&value, '=');
	bool is_points;

	if (span_eq(key, SPAN("share")) &&
	    amount_parse(value, &out->share, &is_points) && !is_points &&
	    out->share <= 1)
		return true;
	if (span_eq(key, SPAN("after")) && units_duration(value, &out->after))
		return true;
	return err_set(err, "\"%.*s\" is neither share=3%% nor after=10m",
	    (int)text.len, text.ptr);
}

static bool
kind_parse(
    struct span kind, struct span amount, struct effect *out, struct err *err)
{
	bool is_points;
	size_t i = 0;

	while (i < 4 && !span_eq(kind, span_of(kinds[i])))
		i++;
	if (i == 4)
		return err_set(err,
		    "\"%.*s\" is none of errors, latency, hang, size",
		    (int)kind.len, kind.ptr);
	*out = (struct effect){.kind = (enum effect_kind)i, .share = 1};
	if (!amount_parse(amount, &out->by, &is_points))
		return err_set(err,
		    "say how much, as in errors:+2pp, latency:+20%%, hang:5%%");
	out->is_relative = !is_points;
	if (out->kind == EFFECT_LATENCY && is_points)
		return err_set(err, "latency grows by percent, as in +20%%");
	if (out->kind == EFFECT_HANG || out->kind == EFFECT_SIZE) {
		out->share = out->by;
		if (is_points || out->by > 1)
			return err_set(
			    err, "a share is 0%% to 100%%, as in hang:5%%");
	}
	return true;
}

bool
effect_parse(struct span text, struct effect *out, struct err *err)
{
	struct span rest = text, first = cut_at(&rest, ','), amount = first;
	struct span kind = cut_at(&amount, ':');

	if (!kind_parse(kind, amount, out, err))
		return false;
	while (rest.len > 0)
		if (!option_parse(cut_at(&rest, ','), out, err))
			return false;
	return true;
}
