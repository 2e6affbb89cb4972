/* What a rollout waits for, told to people. */
#include <stdarg.h>
#include <stdio.h>
#include <sys/param.h>

#include "routing/rollout/parts.h"

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

/* What the candidate's requests of a phase are short of, all guards together.
 */
struct shortage {
	uint64_t more;   /* requests, about */
	nsec_t to_go;    /* 0: cannot be said */
	bool is_unknown; /* a guard cannot say yet how many it needs */
};

static void
add_shortage(
    const struct rollout *r, const struct shortage *shortage, struct text *text)
{
	unsigned long long so_far = r->phase_requests;
	char a[32];

	if (shortage->more > 0)
		add(text, ", %llu of %llu requests", so_far,
		    so_far + shortage->more);
	else if (shortage->is_unknown)
		add(text, ", %llu requests", so_far);
	if (shortage->more > 0 && shortage->to_go > 0)
		add(text, ", about %s at the current rate",
		    duration(shortage->to_go, a));
}

/*
 * The phase and its guards wait for the same requests: one number is told, the
 * greatest, and of each guard only what is peculiar to it.
 */
static void
add_evidence(const struct rollout *r, nsec_t now, struct text *text)
{
	const struct phase_cfg *phase = &r->plan->phases[r->phase];
	bool is_open = phase->until == UNTIL_PROVEN && phase->weight > 0 &&
	               judge_verdict(r->judge) != VERDICT_PASS;
	struct shortage shortage = {0};
	struct finding finding;
	char words[256] = "";
	struct text guards = {words, sizeof(words), 0};

	if (r->phase_requests < phase->min_requests)
		shortage.more = phase->min_requests - r->phase_requests;
	for (size_t g = 0; g < r->plan->n_guards; g++) {
		const struct guard_cfg *guard = &r->plan->guards[g];

		if (guard->action != ACTION_ROLLBACK ||
		    judge_guard(r->judge, g) != VERDICT_UNDECIDED)
			continue;
		judge_finding(r->judge, g, now, &finding);
		shortage.to_go = MAX(shortage.to_go, finding.to_go);
		if (!is_open)
			continue;
		shortage.is_unknown |= finding.of_about == 0;
		if (finding.of_about > finding.so_far)
			shortage.more = MAX(
			    shortage.more, finding.of_about - finding.so_far);
		add(&guards, ", guard %s undecided%s%s", guard->name,
		    *finding.why ? ": " : "", finding.why);
	}
	add_shortage(r, &shortage, text);
	add(text, "%s", words);
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
		add_evidence(r, now, text);
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
