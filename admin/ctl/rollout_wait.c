/*
 * weirctl rollout wait: asks the server to answer when the rollout has
 * changed, says what has changed, and returns by the contract's exit codes. A
 * weir that is gone for some seconds (an upgrade, a restart) is waited for.
 */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/ctl/rollout.h"

enum {
	ASK_SECONDS = 30,   /* of one long poll */
	REQUEST_MS = 10000, /* of an exchange beyond that */
	PATIENCE_MS = 5000, /* with a weir that cannot be reached */
	PAUSE_MS = 100,
	SAY_MS = 2000, /* between two steps of a ramp that are told */
};

enum goal_kind {
	GOAL_NONE, /* the end, or where only a person can help */
	GOAL_TERMINAL,
	GOAL_PAUSED,
	GOAL_APPROVAL,
	GOAL_PHASE,
	GOAL_WEIGHT,
};

struct goal {
	enum goal_kind kind;
	const char *phase; /* borrowed from the command line */
	double weight;
};

/* ---- the goal ---- */

static bool
goal_weight(const struct ctl *ctl, const char *text, struct goal *goal)
{
	bp_t bp;

	if (!units_percent(span_of(text), &bp)) {
		ctl_usage(ctl, "--for weight=\"%s\" is not a percentage", text);
		return false;
	}
	goal->weight = bp / 100.0;
	return true;
}

/* False: told. */
static bool
goal_parse(const struct ctl *ctl, struct goal *goal)
{
	static const char *const words[] = {
	    "terminal", "paused", "approval", "phase=", "weight="};
	const char *word = ctl->wait_for, *near;

	*goal = (struct goal){.kind = GOAL_NONE};
	if (!word)
		return true;
	for (int i = 0; i < 5; i++) {
		size_t len = strlen(words[i]);
		bool takes_more = words[i][len - 1] == '=';

		if (takes_more ? strncmp(word, words[i], len) != 0
		               : strcmp(word, words[i]) != 0)
			continue;
		goal->kind = (enum goal_kind)(GOAL_TERMINAL + i);
		goal->phase = word + len;
		return goal->kind != GOAL_WEIGHT ||
		       goal_weight(ctl, word + len, goal);
	}
	near = suggest(span_of(word), words, 5);
	ctl_usage(ctl,
	    "--for \"%s\": terminal, paused, approval, phase=NAME or "
	    "weight=25%s%s%s",
	    word, near ? "; did you mean \"" : "", near ? near : "",
	    near ? "\"?" : "");
	return false;
}

bool
ctl_rollout_may_wait(const struct ctl *ctl)
{
	struct goal goal;

	return goal_parse(ctl, &goal);
}

/* From 1; 0: the plan has no such phase. */
static size_t
phase_number(const json_t *rollout, const char *name)
{
	json_t *phase;
	size_t i;

	json_array_foreach (json_object_get(rollout, "phases"), i, phase)
		if (strcmp(ctl_text(phase, "name"), name) == 0)
			return i + 1;
	return 0;
}

static int
unknown_phase(const json_t *rollout, const char *name)
{
	const json_t *phases = json_object_get(rollout, "phases");
	const char *names[PLAN_PHASES_MAX];
	size_t n = 0, i;
	json_t *phase;

	json_array_foreach (phases, i, phase)
		if (n < PLAN_PHASES_MAX)
			names[n++] = ctl_text(phase, "name");
	return ctl_unknown("phase", name, names, n);
}

static bool
is_going_up(const json_t *rollout)
{
	static const char *const states[] = {
	    "running", "held", "promoted", "done"};
	const char *state = ctl_text(rollout, "state");

	for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++)
		if (strcmp(state, states[i]) == 0)
			return true;
	return false;
}

static bool
is_reached(const struct goal *goal, const json_t *rollout)
{
	switch (goal->kind) {
	case GOAL_PAUSED:
		return strcmp(ctl_text(rollout, "state"), "held") == 0;
	case GOAL_APPROVAL:
		return ctl_rollout_needs_approval(rollout);
	case GOAL_PHASE:
		return is_going_up(rollout) &&
		       ctl_number(rollout, "phase_number") >=
		           (double)phase_number(rollout, goal->phase);
	case GOAL_WEIGHT:
		return is_going_up(rollout) &&
		       ctl_number(rollout, "weight") >= goal->weight;
	case GOAL_NONE:
	case GOAL_TERMINAL:
		break;
	}
	return false;
}

/*
 * -1: wait on. A guard's hold is waited for: it ends by itself, or another
 * guard takes the rollout back. So is evidence, until the phase's time is up.
 */
static int
code_of(const struct goal *goal, const json_t *rollout)
{
	if (is_reached(goal, rollout))
		return CTL_OK;
	if (goal->kind == GOAL_NONE && ctl_rollout_needs_approval(rollout))
		return CTL_APPROVAL;
	if (goal->kind == GOAL_NONE &&
	    strcmp(ctl_text(rollout, "held_reason"), "undecided") == 0 &&
	    json_is_true(json_object_get(rollout, "timed_out")))
		return CTL_HELD;
	return ctl_rollout_end(rollout);
}

/* ---- saying how it goes ---- */

static void
say_progress(const json_t *r)
{
	const json_t *cause = json_object_get(r, "cause");
	bool is_held = json_is_string(json_object_get(r, "held_reason"));
	const char *next = ctl_text(r, "next");
	time_t now = time(NULL);
	char clock[16], weight[24];
	struct tm tm;

	localtime_r(&now, &tm);
	strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	ctl_print_percent(weight, sizeof(weight), json_object_get(r, "weight"));
	if (json_is_object(cause))
		next = ctl_text(cause, "text");
	ctl_say("%s  %s  %s %s  %s%s%s", clock, ctl_text(r, "state"),
	    ctl_text(r, "phase"), weight,
	    is_held ? ctl_text(r, "held_reason") : "", is_held ? "  " : "",
	    next);
	fflush(stdout);
}

static bool
is_same(const json_t *a, const json_t *b)
{
	static const char *const keys[] = {"state", "held_reason", "phase"};

	for (size_t i = 0; i < 3; i++)
		if (!json_equal(json_object_get(a, keys[i]),
		        json_object_get(b, keys[i])))
			return false;
	return true;
}

static void
say_hint(const json_t *r, int code)
{
	const char *id = ctl_text(r, "id");

	if (code == CTL_ROLLED_BACK || code == CTL_HELD)
		ctl_say("weirctl rollout explain %s says why", id);
	else if (code == CTL_APPROVAL)
		ctl_say("weirctl rollout approve %s, or reject", id);
}

/* ---- waiting ---- */

static long
now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void
rest(long ms)
{
	struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

	nanosleep(&pause, NULL);
}

struct wait {
	struct ctl *ctl;
	struct goal goal;
	struct ctl_answer last; /* owned */
	char *path;             /* owned */
	long until;             /* of now_ms; 0: no end */
	long gone_since;        /* 0: weir answers */
	long said_at;
};

/* Every change but those of the weight alone, of which a ramp has dozens. */
static void
say_news(struct wait *wait, const json_t *rollout)
{
	const json_t *last = wait->last.json;
	bool is_step = !json_equal(json_object_get(rollout, "weight"),
	    json_object_get(last, "weight"));

	if (wait->ctl->is_json ||
	    (is_same(rollout, last) &&
	        !(is_step && now_ms() - wait->said_at >= SAY_MS)))
		return;
	say_progress(rollout);
	wait->said_at = now_ms();
}

/* Of the time that is left; a last part of a second is slept through. */
static int
seconds_to_ask(const struct wait *wait)
{
	long left = wait->until ? wait->until - now_ms() : ASK_SECONDS * 1000;

	return left >= ASK_SECONDS * 1000 ? ASK_SECONDS : (int)(left / 1000);
}

static bool
is_late(const struct wait *wait)
{
	return wait->until && now_ms() >= wait->until;
}

/* CTL_OK with wait->last renewed, or why there is none. */
static int
ask(struct wait *wait, bool is_probe)
{
	struct ctl_request request = {.method = "GET",
	    .path = wait->path,
	    .etag = wait->last.etag,
	    .wait_seconds = seconds_to_ask(wait),
	    .is_probe = is_probe};
	struct ctl_answer answer;
	long began = now_ms();
	int code = ctl_ask(wait->ctl, &request, &answer);
	bool is_news;

	if (code != CTL_OK)
		return code;
	is_news = strcmp(answer.etag, wait->last.etag) != 0;
	if (answer.json)
		say_news(wait, answer.json);
	ctl_answer_release(&wait->last);
	wait->last = answer;
	if (!is_news && now_ms() - began < PAUSE_MS)
		rest(PAUSE_MS);
	return answer.json ? CTL_OK : CTL_INTERNAL;
}

static int
ask_patiently(struct wait *wait)
{
	int code = ask(wait, true);

	if (code != CTL_UNREACHABLE) {
		wait->gone_since = 0;
		return code == CTL_NOT_FOUND ? ask(wait, false) : code;
	}
	if (wait->gone_since == 0)
		wait->gone_since = now_ms();
	if (now_ms() - wait->gone_since >= PATIENCE_MS)
		return ask(wait, false);
	rest(PAUSE_MS);
	return CTL_OK;
}

/* -1: it is to be waited on. */
static int
step(struct wait *wait)
{
	int code = code_of(&wait->goal, wait->last.json);

	if (code != -1)
		return code;
	if (is_late(wait))
		return CTL_TIMED_OUT;
	code = ask_patiently(wait);
	return code == CTL_OK ? -1 : code;
}

static int
conclude(struct wait *wait, int code)
{
	const struct ctl *ctl = wait->ctl;
	const json_t *r = wait->last.json;

	if (code == CTL_TIMED_OUT)
		fprintf(stderr,
		    "weirctl: rollout %s is %s after the time to wait; it goes "
		    "on\n",
		    ctl_text(r, "id"), ctl_text(r, "state"));
	if (ctl->is_json && r && code != CTL_UNREACHABLE)
		ctl_print_json(r);
	else if (!ctl->is_json)
		say_hint(r, code);
	return code;
}

int
ctl_rollout_wait(struct ctl *ctl, struct ctl_answer *rollout)
{
	struct wait wait = {.ctl = ctl, .last = *rollout};
	int code = -1;

	if (ctl->has_timeout)
		wait.until = now_ms() + ctl->timeout_ms;
	ctl->timeout_ms = REQUEST_MS;
	wait.path =
	    ctl_path("/v1/rollouts/", ctl_text(wait.last.json, "id"), "");
	if (!wait.path || !goal_parse(ctl, &wait.goal))
		code = CTL_USAGE;
	else if (wait.goal.kind == GOAL_PHASE &&
	         phase_number(wait.last.json, wait.goal.phase) == 0)
		code = unknown_phase(wait.last.json, wait.goal.phase);
	else if (!ctl->is_json)
		say_progress(wait.last.json);
	while (code == -1)
		code = step(&wait);
	code = conclude(&wait, code);
	ctl_answer_release(&wait.last);
	free(wait.path);
	return code;
}
