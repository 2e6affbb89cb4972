/* What a rollout waits for, told to people. */
#include <stdarg.h>
#include <stdio.h>

#include "routing/rollout_parts.h"

char *
rollout_held_reason(const struct rollout *r, char *buf, size_t cap)
{
	static const char *const words[] = {[HOLD_NONE] = "",
	    [HOLD_PAUSED] = "paused",
	    [HOLD_UNHEALTHY] = "unhealthy",
	    [HOLD_FREEZE] = "freeze",
	    [HOLD_UNDECIDED] = "undecided"};

	if (r->held == HOLD_GUARD)
		snprintf(
		    buf, cap, "guard:%s", r->plan->guards[r->held_by].name);
	else if (r->held == HOLD_GATE)
		snprintf(buf, cap, "gate:%s", r->plan->gates[r->held_by].name);
	else
		snprintf(buf, cap, "%s", words[r->held]);
	return buf;
}

struct text {
	char *at;
	size_t cap, len;
};

static void __attribute__((format(printf, 2, 3)))
add(struct text *text, const char *format, ...)
{
	va_list ap;
	int n;

	if (text->len >= text->cap)
		return;
	va_start(ap, format);
	n = vsnprintf(text->at + text->len, text->cap - text->len, format, ap);
	va_end(ap);
	if (n > 0)
		text->len += (size_t)n;
}

/* Whole seconds: nobody waits by the millisecond. */
static char *
duration(nsec_t value, char buf[32])
{
	return units_print_duration(
	    value / NSEC_PER_SEC * NSEC_PER_SEC, buf, 32);
}

static void
add_part(struct text *text, const char *what, nsec_t ran, nsec_t of)
{
	char a[32], b[32];

	if (of > 0 && ran < of)
		add(text, ", %s %s of %s", what, duration(ran, a),
		    duration(of, b));
}

static void
add_guards(const struct rollout *r, nsec_t now, struct text *text)
{
	struct finding finding;
	char words[160];

	for (size_t g = 0; g < r->plan->n_guards; g++) {
		const struct guard_cfg *guard = &r->plan->guards[g];

		if (guard->action != ACTION_ROLLBACK ||
		    judge_guard(r->judge, g) != VERDICT_UNDECIDED)
			continue;
		judge_finding(r->judge, g, now, &finding);
		add(text, ", guard %s undecided: %s", guard->name,
		    finding_print(&finding, words, sizeof(words)));
	}
}

static void
add_gates(const struct rollout *r, time_t wall, struct text *text)
{
	uint32_t needed = rollout_gates_needed(r);

	for (size_t g = 0; g < r->plan->n_gates; g++) {
		const struct gate_cfg *gate = &r->plan->gates[g];

		if (!(needed & (1u << g)))
			continue;
		if (gate->kind == GATE_APPROVAL)
			add(text, ", gate %s: %u of %u approvals", gate->name,
			    rollout_approvals(r, g, wall),
			    gate->approval.count);
		else if (gate->kind == GATE_WEBHOOK &&
		         r->gates[g].answer != GATE_OPEN)
			add(text, ", gate %s: %s", gate->name,
			    r->gates[g].words[0] ? r->gates[g].words
			                         : "to be asked");
		else if (gate->kind == GATE_WINDOW)
			add(text, ", within the hours of %s", gate->name);
	}
}

static void
add_phase(const struct rollout *r, nsec_t now, time_t wall, struct text *text)
{
	const struct phase_cfg *phase = &r->plan->phases[r->phase];
	char weight[16];

	add(text, "%s at %s%%", phase->name,
	    units_print_percent(r->weight, weight, sizeof(weight)));
	if (!r->is_skipping) {
		add_part(text, "ramp", r->ramp_ran, phase->ramp);
		add_part(text, "hold", r->hold_ran, phase->hold);
		if (r->phase_requests < phase->min_requests)
			add(text, ", %llu of %llu requests",
			    (unsigned long long)r->phase_requests,
			    (unsigned long long)phase->min_requests);
		if (phase->until == UNTIL_PROVEN && phase->weight > 0 &&
		    judge_verdict(r->judge) != VERDICT_PASS)
			add_guards(r, now, text);
	}
	add_gates(r, wall, text);
	if (r->is_ready)
		add(text, ", the others of its group");
}

char *
rollout_next(
    const struct rollout *r, nsec_t now, time_t wall, char *buf, size_t cap)
{
	struct text text = {buf, cap, 0};
	char a[32];

	buf[0] = '\0';
	switch (r->state) {
	case ROLLOUT_PENDING:
		add(&text, "%s",
		    r->is_paused
		        ? "begins when it is resumed"
		        : "begins when no freeze is on and the pool is "
		          "healthy");
		break;
	case ROLLOUT_RUNNING:
	case ROLLOUT_HELD:
		add_phase(r, now, wall, &text);
		break;
	case ROLLOUT_PROMOTED:
		add(&text, "undo is possible for %s",
		    duration(r->plan->keep_warm > r->hold_ran
		                 ? r->plan->keep_warm - r->hold_ran
		                 : 0,
		        a));
		break;
	case ROLLOUT_ROLLING_BACK:
		add(&text, "going back: %s", r->cause_words);
		break;
	case ROLLOUT_ROLLED_BACK:
	case ROLLOUT_ABORTED:
		add(&text, "%s; retry starts it anew", r->cause_words);
		break;
	default:
		break;
	}
	return buf;
}
