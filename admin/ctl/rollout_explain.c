/*
 * weirctl rollout explain: why a rollout is where it is, in sentences: what
 * triggered it, both values, the threshold, how many requests, how sure, and
 * what comes next.
 */
#include <math.h>
#include <string.h>

#include "admin/ctl/rollout.h"

static bool
is_text(const json_t *object, const char *key, const char *text)
{
	return strcmp(ctl_text(object, key), text) == 0;
}

/* ---- one guard's numbers ---- */

static void
say_arm(const json_t *e, const char *arm)
{
	double n = ctl_number(json_object_get(e, "n"), arm);
	double bad = ctl_number(json_object_get(e, "bad"), arm);
	double rate = ctl_number(json_object_get(e, "rate"), arm);
	const char *what =
	    json_object_get(e, "shape") ? ctl_text(e, "shape") : "failed";

	ctl_say("  %-9s  %.4g%% %s: %.0f of %.0f requests", arm, rate * 100,
	    what, bad, n);
}

static void
say_latency(const json_t *e, const char *arm)
{
	static const char *const keys[] = {"p50_ms", "p95_ms", "p99_ms"};
	char ms[3][24];

	for (int i = 0; i < 3; i++)
		ctl_print_ms(ms[i], sizeof(ms[i]),
		    json_object_get(json_object_get(e, keys[i]), arm));
	ctl_say("  %-9s  p50 %s, p95 %s, p99 %s over %.0f requests", arm, ms[0],
	    ms[1], ms[2], ctl_number(json_object_get(e, "n"), arm));
}

static void
say_increase(const json_t *e)
{
	const json_t *increase = json_object_get(e, "increase");

	if (json_is_object(increase))
		ctl_say("  increase   %s, most likely between %s and %s",
		    ctl_text(increase, "estimate"), ctl_text(increase, "low"),
		    ctl_text(increase, "high"));
}

static void
say_limit(const json_t *e)
{
	const json_t *limit = json_object_get(e, "limit");
	bool has_window = json_is_string(json_object_get(limit, "window"));

	if (json_object_get(limit, "max_increase"))
		ctl_say(
		    "  threshold  an increase of %s is too much; up to %s is "
		    "tolerated",
		    ctl_text(limit, "max_increase"),
		    ctl_text(limit, "tolerance"));
	if (json_object_get(limit, "max_rate"))
		ctl_say("  threshold  at most %s may fail%s%s",
		    ctl_text(limit, "max_rate"), has_window ? ", within " : "",
		    has_window ? ctl_text(limit, "window") : "");
	if (json_object_get(limit, "max"))
		ctl_say("  threshold  at most %.0f%s%s",
		    ctl_number(limit, "max"), has_window ? " within " : "",
		    has_window ? ctl_text(limit, "window") : "");
}

static void
say_proof(const json_t *e)
{
	double value = ctl_number(e, "e_value");
	double needed = ctl_number(e, "needed");

	if (json_object_get(e, "count"))
		ctl_say("  counted    %.6g", ctl_number(e, "count"));
	if (!json_is_number(json_object_get(e, "e_value")))
		return;
	if (value >= 1e300)
		ctl_say(
		    "  evidence   e-value above 1e300, %.6g needed", needed);
	else if (is_text(e, "verdict", "fail"))
		ctl_say("  evidence   e-value %.6g, %.6g needed: chance alone "
		        "gets that far in at most one of %.6g",
		    value, needed, needed);
	else
		ctl_say("  evidence   e-value %.6g, %.6g needed to fail", value,
		    needed);
}

static void
say_guard(const json_t *e)
{
	static const char *const arms[] = {"canary", "baseline"};

	for (int i = 0; i < 2; i++) {
		if (is_text(e, "metric", "latency"))
			say_latency(e, arms[i]);
		else if (json_object_get(e, "n"))
			say_arm(e, arms[i]);
	}
	say_increase(e);
	say_limit(e);
	say_proof(e);
}

/* ---- the trigger ---- */

static const json_t *
guard_named(const json_t *evidence, const char *name)
{
	json_t *e;
	size_t i;

	json_array_foreach (json_object_get(evidence, "guards"), i, e)
		if (is_text(e, "guard", name))
			return e;
	return NULL;
}

/* Why it went back, or the guard that holds it. */
static const json_t *
trigger(const json_t *rollout, const json_t *evidence)
{
	const char *why = ctl_text(rollout, "held_reason");

	if (strncmp(why, "guard:", 6) == 0)
		return guard_named(evidence, why + 6);
	return guard_named(
	    evidence, ctl_text(json_object_get(rollout, "cause"), "guard"));
}

static void
say_trigger(const json_t *e)
{
	double weight = ctl_number(json_object_get(e, "weight"), "canary");

	ctl_say("Guard \"%s\" %s in phase %s, at %.4g%% of the traffic:",
	    ctl_text(e, "guard"),
	    is_text(e, "verdict", "fail") ? "fired" : "did not fire",
	    ctl_text(e, "phase"), weight * 100);
	say_guard(e);
}

static void
say_times(const json_t *rollout)
{
	const json_t *cause = json_object_get(rollout, "cause");

	if (json_is_string(json_object_get(cause, "decided_at")))
		ctl_say("Decided at %s, in effect at %s.",
		    ctl_text(cause, "decided_at"),
		    ctl_text(cause, "effective_at"));
}

static void
say_harm(const json_t *rollout)
{
	double bad = ctl_number(json_object_get(rollout, "failures"), "canary");
	double shielded = ctl_number(rollout, "shielded");

	if (shielded > 0)
		ctl_say("%.0f requests failed on the candidate; %.0f of them "
		        "were answered by the baseline instead.",
		    bad, shielded);
	else
		ctl_say("%.0f requests failed on the candidate.", bad);
}

/* ---- where it stands ---- */

static const char *
state_words(const json_t *rollout)
{
	static const struct {
		const char *state, *words;
	} known[] = {{"pending", "has not begun"}, {"running", "is running"},
	    {"held", "is held"}, {"promoted", "is promoted"},
	    {"done", "is promoted and done"},
	    {"rolling_back", "is rolling back"},
	    {"rolled_back", "was rolled back"}, {"aborted", "was aborted"}};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (is_text(rollout, "state", known[i].state))
			return known[i].words;
	return ctl_text(rollout, "state");
}

static const char *
hold_words(const char *why)
{
	static const struct {
		const char *reason, *words;
	} known[] = {{"paused", "somebody paused it"},
	    {"undecided", "its time is up and the guards are still undecided"},
	    {"freeze", "there is a freeze"},
	    {"unhealthy", "the candidate's pool has no healthy endpoint"}};

	for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (strcmp(why, known[i].reason) == 0)
			return known[i].words;
	return strncmp(why, "gate:", 5) == 0 ? "a gate is not open"
	                                     : "a guard objects";
}

static void
say_state(const json_t *rollout)
{
	const char *why = ctl_text(rollout, "held_reason");
	const json_t *cause = json_object_get(rollout, "cause");

	ctl_say("Rollout %s of split %s from %s to %s by plan %s %s.",
	    ctl_text(rollout, "id"), ctl_text(rollout, "split"),
	    ctl_text(rollout, "from"), ctl_text(rollout, "to"),
	    ctl_text(rollout, "plan"), state_words(rollout));
	if (json_is_object(cause))
		ctl_say("The reason: %s.", ctl_text(cause, "text"));
	if (strcmp(why, "-") != 0)
		ctl_say("The reason: %s (%s).", hold_words(why), why);
}

static void
say_others(const json_t *evidence, const json_t *but)
{
	json_t *e;
	size_t i;
	bool is_first = true;

	json_array_foreach (json_object_get(evidence, "guards"), i, e) {
		const char *verdict = ctl_text(e, "verdict");
		const char *text = ctl_text(e, "text");
		size_t len = strlen(verdict);

		if (e == but)
			continue;
		/* "fail: ..." says it by itself */
		if (strncmp(text, verdict, len) == 0 && text[len] == ':')
			text += len + 1 + (text[len + 1] == ' ');
		if (is_first)
			puts(but ? "The other guards:" : "The guards:");
		is_first = false;
		ctl_say("  %-10s %s: %s", ctl_text(e, "guard"), verdict, text);
	}
}

/* ---- what comes next ---- */

static bool
has_verb(const json_t *rollout, const char *verb)
{
	json_t *one;
	size_t i;

	json_array_foreach (json_object_get(rollout, "verbs"), i, one)
		if (json_is_string(one) &&
		    strcmp(json_string_value(one), verb) == 0)
			return true;
	return false;
}

static void
say_commands(const json_t *rollout)
{
	const char *id = ctl_text(rollout, "id");

	if (ctl_rollout_needs_approval(rollout))
		ctl_say("  weirctl rollout approve %s --gate %s", id,
		    ctl_text(rollout, "held_reason") + 5);
	if (is_text(rollout, "held_reason", "paused"))
		ctl_say("  weirctl rollout resume %s", id);
	if (has_verb(rollout, "abort"))
		ctl_say("  weirctl rollout abort %s    goes back now", id);
	if (has_verb(rollout, "retry"))
		ctl_say("  weirctl rollout retry %s    begins again", id);
}

static void
say_next(const json_t *rollout)
{
	const char *next = ctl_text(rollout, "next");
	char weight[24];

	ctl_print_percent(
	    weight, sizeof(weight), json_object_get(rollout, "weight"));
	if (is_text(rollout, "state", "rolled_back") ||
	    is_text(rollout, "state", "aborted"))
		ctl_say("Next: nothing by itself. %s has all the traffic that "
		        "the two share.",
		    ctl_text(rollout, "from"));
	else if (is_text(rollout, "state", "done"))
		ctl_say("Next: nothing. %s is the stable pool.",
		    ctl_text(rollout, "to"));
	else if (strcmp(next, "-") != 0)
		ctl_say("Next: %s.", next);
	else
		ctl_say("Now: %s has %s of the traffic.",
		    ctl_text(rollout, "to"), weight);
	say_commands(rollout);
}

void
ctl_print_evidence(const json_t *rollout, const json_t *evidence)
{
	const json_t *e = trigger(rollout, evidence);

	say_state(rollout);
	if (e) {
		putchar('\n');
		say_trigger(e);
	}
	if (json_is_object(json_object_get(rollout, "cause"))) {
		say_times(rollout);
		say_harm(rollout);
	}
	putchar('\n');
	say_others(evidence, e);
	say_next(rollout);
}
