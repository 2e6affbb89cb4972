/* A finding as a sentence, as short as it can be and still be checked. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "routing/judge/watch.h"

struct line {
	char *at;
	size_t cap, len;
};

static __attribute__((format(printf, 2, 3))) void
line_add(struct line *line, const char *format, ...)
{
	va_list args;
	int n;

	if (line->len + 1 >= line->cap)
		return;
	va_start(args, format);
	n = vsnprintf(
	    line->at + line->len, line->cap - line->len, format, args);
	va_end(args);
	if (n > 0)
		line->len += (size_t)n < line->cap - line->len
		                 ? (size_t)n
		                 : line->cap - line->len - 1;
}

/* Whole seconds from ten on: more would pretend to know. */
static void
line_add_time(struct line *line, nsec_t time)
{
	nsec_t step = time < 10 * NSEC_PER_USEC   ? 1
	              : time < 10 * NSEC_PER_MSEC ? 10 * NSEC_PER_USEC
	              : time < 10 * NSEC_PER_SEC  ? NSEC_PER_MSEC
	                                          : NSEC_PER_SEC;
	char text[64];

	line_add(line, "%s",
	    units_print_duration(
	        (time + step / 2) / step * step, text, sizeof(text)));
}

/* Three digits, and no exponent where people read. */
static const char *
percents(double part, char *buf, size_t cap)
{
	double value = part * 100, size = fabs(value);

	if (size > 0 && size < 1e-4)
		snprintf(
		    buf, cap, "%.*f", (int)(2 - floor(log10(size))), value);
	else
		snprintf(buf, cap, size < 1000 ? "%.3g" : "%.0f", value);
	return buf;
}

static void
line_add_increase(struct line *line, const struct finding *finding)
{
	const char *unit = finding->is_relative ? "%" : "pp";

	char estimate[32], low[32], high[32];

	if (finding->has_increase)
		line_add(line, ", %s%s%s (%s to %s)",
		    finding->estimate < 0 ? "" : "+",
		    percents(finding->estimate, estimate, sizeof(estimate)),
		    unit, percents(finding->low, low, sizeof(low)),
		    percents(finding->high, high, sizeof(high)));
}

static void
line_add_latency(struct line *line, const struct finding *finding)
{
	const nsec_t *const at[] = {finding->p50, finding->p95, finding->p99};
	static const char *const names[] = {"p50", "p95", "p99"};

	for (size_t i = 0; i < 3; i++) {
		line_add(line, "%s%s ", i ? ", " : "", names[i]);
		line_add_time(line, at[i][ARM_CANDIDATE]);
		line_add(line, " against ");
		line_add_time(line, at[i][ARM_BASELINE]);
	}
	line_add_increase(line, finding);
}

static void
line_add_rate(struct line *line, const struct finding *finding)
{
	double n = (double)finding->n[ARM_CANDIDATE] +
	           (double)finding->n[ARM_BASELINE];
	double bad = (double)finding->bad[ARM_CANDIDATE] +
	             (double)finding->bad[ARM_BASELINE];
	char canary[32], all[32], most[32];

	line_add(line, "canary %s%%, all %s%%, at most %s%% allowed",
	    percents(finding->rate[ARM_CANDIDATE], canary, sizeof(canary)),
	    percents(n > 0 ? bad / n : 0, all, sizeof(all)),
	    percents(finding->guard->max_rate, most, sizeof(most)));
}

static void
line_add_numbers(struct line *line, const struct finding *finding)
{
	char canary[32], baseline[32];

	switch (finding->guard->metric) {
	case GUARD_SIGNAL:
		line_add(line, "%.0f events, at most %llu allowed",
		    finding->excess, (unsigned long long)finding->guard->max);
		return;
	case GUARD_EXCESS_FAILURES:
		line_add(line,
		    "%.0f failures more than the baseline explains, at most "
		    "%llu allowed",
		    fmax(finding->excess, 0),
		    (unsigned long long)finding->guard->max);
		return;
	case GUARD_LATENCY:
		line_add_latency(line, finding);
		return;
	case GUARD_ERRORS:
	case GUARD_SHAPE:
		break;
	}
	if (finding->guard->metric == GUARD_ERRORS &&
	    finding->guard->max_rate > 0) {
		line_add_rate(line, finding);
		return;
	}
	if (finding->shape)
		line_add(line, "%s ", finding->shape);
	line_add(line, "%s%% against %s%%",
	    percents(finding->rate[ARM_CANDIDATE], canary, sizeof(canary)),
	    percents(finding->rate[ARM_BASELINE], baseline, sizeof(baseline)));
	line_add_increase(line, finding);
}

static void
line_add_progress(struct line *line, const struct finding *finding)
{
	if (*finding->why)
		line_add(line, "%s", finding->why);
	if (*finding->why && finding->of_about == 0 &&
	    (finding->so_far == 0 || strcmp(finding->why, "no baseline") == 0))
		return;
	if (*finding->why)
		line_add(line, ": ");
	line_add(line, "%llu", (unsigned long long)finding->so_far);
	if (finding->of_about > 0)
		line_add(
		    line, " of %llu", (unsigned long long)finding->of_about);
	line_add(line, " requests");
	if (finding->to_go > 0) {
		line_add(line, ", about ");
		line_add_time(line, finding->to_go);
		line_add(line, " at the current rate");
	}
}

char *
finding_print(const struct finding *finding, char *buf, size_t cap)
{
	struct line line = {.at = buf, .cap = cap};
	const struct method *method = guard_method(finding->guard);

	if (cap > 0)
		*buf = '\0';
	if (finding->verdict == VERDICT_UNDECIDED && method &&
	    method->is_comparing) {
		line_add_progress(&line, finding);
		return buf;
	}
	if (finding->verdict != VERDICT_UNDECIDED)
		line_add(&line, "%s: ", verdict_name(finding->verdict));
	line_add_numbers(&line, finding);
	return buf;
}
