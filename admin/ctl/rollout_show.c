/* A rollout as people read it. */
#include <string.h>

#include "admin/ctl/rollout.h"

static bool
has_text(const json_t *object, const char *key)
{
	return json_is_string(json_object_get(object, key));
}

const char *
ctl_print_seconds(char *buf, size_t cap, const json_t *seconds)
{
	double s = json_number_value(seconds);
	nsec_t step = s < 10    ? 100 * NSEC_PER_MSEC
	              : s < 600 ? NSEC_PER_SEC
	                        : 60 * NSEC_PER_SEC;

	if (!json_is_number(seconds) || s < 0 || s > 1e9)
		snprintf(buf, cap, "-");
	else
		units_print_duration(
		    ((nsec_t)(s * NSEC_PER_SEC) + step / 2) / step * step, buf,
		    cap);
	return buf;
}

bool
ctl_rollout_needs_approval(const json_t *rollout)
{
	const char *why = ctl_text(rollout, "held_reason");
	json_t *gate;
	size_t i;

	if (strncmp(why, "gate:", 5) != 0)
		return false;
	json_array_foreach (json_object_get(rollout, "gates"), i, gate)
		if (strcmp(ctl_text(gate, "name"), why + 5) == 0)
			return strcmp(ctl_text(gate, "kind"), "approval") == 0;
	return false;
}

/* ---- lists ---- */

void
ctl_print_rollouts(const json_t *list)
{
	static const char *const heads[] = {"ID", "SPLIT", "TO", "PLAN",
	    "STATE", "PHASE", "WEIGHT", "AGE", "BY"};
	struct ctl_table *table;
	json_t *rollout;
	size_t i;

	if (json_array_size(list) == 0) {
		puts("there was no rollout yet");
		return;
	}
	table = ctl_table_new(heads, 9);
	json_array_foreach (list, i, rollout) {
		char weight[24], age[24];

		ctl_print_percent(
		    weight, sizeof(weight), json_object_get(rollout, "weight"));
		ctl_print_age(
		    age, sizeof(age), ctl_text(rollout, "started_at"));
		ctl_table_cell(table, "%s", ctl_text(rollout, "id"));
		ctl_table_cell(table, "%s", ctl_text(rollout, "split"));
		ctl_table_cell(table, "%s", ctl_text(rollout, "to"));
		ctl_table_cell(table, "%s", ctl_text(rollout, "plan"));
		ctl_table_cell(table, "%s%s%s", ctl_text(rollout, "state"),
		    has_text(rollout, "held_reason") ? " " : "",
		    has_text(rollout, "held_reason")
		        ? ctl_text(rollout, "held_reason")
		        : "");
		ctl_table_cell(table, "%s", ctl_text(rollout, "phase"));
		ctl_table_cell(table, "%s", weight);
		ctl_table_cell(table, "%s", age);
		ctl_table_cell(table, "%s", ctl_text(rollout, "started_by"));
	}
	ctl_table_print(&table, stdout);
}

/* ---- one ---- */

static void
print_head(const json_t *r)
{
	bool has_release = has_text(r, "release");

	ctl_say("%s: split %s from %s to %s%s%s%s by plan %s",
	    ctl_text(r, "id"), ctl_text(r, "split"), ctl_text(r, "from"),
	    ctl_text(r, "to"), has_release ? " (" : "",
	    has_release ? ctl_text(r, "release") : "", has_release ? ")" : "",
	    ctl_text(r, "plan"));
}

static void
print_state(const json_t *r)
{
	bool is_held = has_text(r, "held_reason");
	char age[24];

	ctl_print_age(age, sizeof(age), ctl_text(r, "state_since"));
	ctl_say("  state     %s%s%s%s, since %s", ctl_text(r, "state"),
	    is_held ? " (" : "", is_held ? ctl_text(r, "held_reason") : "",
	    is_held ? ")" : "", age);
}

/* preview 0% > [canary 5%] > half 50% */
static void
print_phases(const json_t *r)
{
	size_t at = (size_t)ctl_number(r, "phase_number"), len = 0, i;
	char line[512] = "", weight[24], now[24];
	json_t *phase;

	json_array_foreach (json_object_get(r, "phases"), i, phase) {
		ctl_print_percent(
		    weight, sizeof(weight), json_object_get(phase, "weight"));
		if (len + 80 < sizeof(line))
			len += (size_t)snprintf(line + len, sizeof(line) - len,
			    i + 1 == at ? "%s[%.40s %s]" : "%s%.40s %s",
			    i ? " > " : "", ctl_text(phase, "name"), weight);
	}
	ctl_print_percent(now, sizeof(now), json_object_get(r, "weight"));
	ctl_say("  weight    %s now", now);
	if (len > 0)
		ctl_say("  phases    %s", line);
}

static void
print_verdicts(const json_t *r)
{
	char line[512] = "";
	const char *guard;
	json_t *verdict;
	size_t len = 0;

	json_object_foreach (json_object_get(r, "verdicts"), guard, verdict) {
		const char *word = json_string_value(verdict);

		if (word && len + 100 < sizeof(line))
			len += (size_t)snprintf(line + len, sizeof(line) - len,
			    "%s%.63s %.20s", len ? ", " : "", guard, word);
	}
	if (len > 0)
		ctl_say("  verdicts  %s", line);
}

static void
print_requests(const json_t *r)
{
	const json_t *n = json_object_get(r, "requests");
	const json_t *bad = json_object_get(r, "failures");

	if (n)
		ctl_say("  requests  canary %.0f with %.0f failures, baseline "
		        "%.0f with %.0f",
		    ctl_number(n, "canary"), ctl_number(bad, "canary"),
		    ctl_number(n, "baseline"), ctl_number(bad, "baseline"));
}

static void
print_gates(const json_t *r)
{
	json_t *gate;
	size_t i;

	json_array_foreach (json_object_get(r, "gates"), i, gate) {
		bool is_approval =
		    strcmp(ctl_text(gate, "kind"), "approval") == 0;
		char votes[64] = "";

		if (is_approval)
			snprintf(votes, sizeof(votes),
			    ", %.0f of %.0f by %.20s",
			    ctl_number(gate, "valid"),
			    ctl_number(gate, "needed"), ctl_text(gate, "role"));
		ctl_say("  gate      %s (%s): %s%s%s%s", ctl_text(gate, "name"),
		    ctl_text(gate, "kind"), ctl_text(gate, "state"), votes,
		    has_text(gate, "said") ? ": " : "",
		    has_text(gate, "said") ? ctl_text(gate, "said") : "");
	}
}

static void
print_origin(const json_t *r)
{
	bool has_reason = has_text(r, "reason");
	char age[24];

	ctl_print_age(age, sizeof(age), ctl_text(r, "started_at"));
	ctl_say("  started   %s ago by %s%s%s", age, ctl_text(r, "started_by"),
	    has_reason ? ": " : "", has_reason ? ctl_text(r, "reason") : "");
}

static void
print_verbs(const json_t *r)
{
	char line[128] = "";
	json_t *verb;
	size_t i, len = 0;

	json_array_foreach (json_object_get(r, "verbs"), i, verb)
		if (json_is_string(verb) && len + 24 < sizeof(line))
			len += (size_t)snprintf(line + len, sizeof(line) - len,
			    "%s%.16s", len ? ", " : "",
			    json_string_value(verb));
	if (len > 0)
		ctl_say("  possible  %s", line);
}

void
ctl_print_rollout(const json_t *r)
{
	const json_t *cause = json_object_get(r, "cause");

	print_head(r);
	print_state(r);
	if (json_is_object(cause))
		ctl_say("  cause     %s", ctl_text(cause, "text"));
	print_phases(r);
	if (has_text(r, "next") && ctl_rollout_end(r) < CTL_ROLLED_BACK)
		ctl_say("  next      %s", ctl_text(r, "next"));
	print_verdicts(r);
	print_requests(r);
	print_gates(r);
	print_origin(r);
	print_verbs(r);
	if (json_is_false(json_object_get(r, "recorded")))
		puts("  WARNING   this is in effect but not recorded: free "
		     "space "
		     "in state_dir before a restart");
	if (json_is_true(json_object_get(r, "dry_run")))
		puts("dry run: nothing was changed");
}
