/*
 * weirctl rollout: the verbs. Each finds its rollout by id or by split, asks,
 * and prints what the server answered.
 */
#include "admin/ctl/rollout.h"

#include <stdlib.h>
#include <string.h>

/* ---- finding ---- */

static bool
is_live(const json_t *rollout)
{
	static const char *const states[] = {
	    "pending", "running", "held", "promoted", "rolling_back"};
	const char *state = ctl_text(rollout, "state");

	for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++)
		if (strcmp(state, states[i]) == 0)
			return true;
	return false;
}

int
ctl_rollout_end(const json_t *rollout)
{
	const char *state = ctl_text(rollout, "state");

	if (strcmp(state, "promoted") == 0 || strcmp(state, "done") == 0)
		return CTL_OK;
	if (strcmp(state, "rolled_back") == 0)
		return CTL_ROLLED_BACK;
	return strcmp(state, "aborted") == 0 ? CTL_ABORTED : -1;
}

/* One of a list takes the place of the list. */
static void
pick(struct ctl_answer *answer, json_t *one)
{
	json_incref(one);
	json_decref(answer->json);
	answer->json = one;
	answer->etag[0] = '\0';
}

static int
tell_many(const json_t *list)
{
	json_t *rollout;
	size_t i;

	fputs("weirctl: several rollouts are live; which one?\n", stderr);
	json_array_foreach (list, i, rollout)
		if (is_live(rollout))
			fprintf(stderr, "  %s  %s  %s\n",
			    ctl_text(rollout, "id"), ctl_text(rollout, "split"),
			    ctl_text(rollout, "state"));
	return CTL_USAGE;
}

static void
say_alone(const json_t *list)
{
	if (json_is_false(json_object_get(list, "others_asked")))
		fputs("weirctl: Redis is away: another instance may have begun "
		      "a newer rollout\n",
		    stderr);
}

static int
find_any(struct ctl *ctl, struct ctl_answer *out)
{
	int code = ctl_get(ctl, "/v1/rollouts", out);
	json_t *list, *rollout, *found = NULL;
	size_t i, live = 0;

	if (code != CTL_OK)
		return code;
	say_alone(out->json);
	list = json_object_get(out->json, "rollouts");
	json_array_foreach (list, i, rollout)
		if (is_live(rollout) && live++ == 0)
			found = rollout;
	if (!found)
		found = json_array_get(list, 0);
	if (live > 1)
		code = tell_many(list);
	if (found && live <= 1) {
		pick(out, found);
		return CTL_OK;
	}
	if (!found)
		fputs("weirctl: there was no rollout yet; weirctl rollout "
		      "start begins one\n",
		    stderr);
	ctl_answer_release(out);
	return found ? code : CTL_NOT_FOUND;
}

static size_t
add_names(const json_t *list, const char *key, const char **names, size_t n,
    size_t cap)
{
	json_t *row;
	size_t i;

	json_array_foreach (list, i, row)
		if (n < cap)
			names[n++] = ctl_text(row, key);
	return n;
}

static int
find_nothing(struct ctl *ctl, const char *word)
{
	struct ctl_answer splits, rollouts;
	const char *names[512];
	size_t n;
	int code = ctl_get(ctl, "/v1/splits", &splits);

	if (code != CTL_OK)
		return code;
	code = ctl_get(ctl, "/v1/rollouts", &rollouts);
	if (code == CTL_OK) {
		n = add_names(json_object_get(splits.json, "splits"), "name",
		    names, 0, 512);
		for (size_t i = 0; i < n && code == CTL_OK; i++)
			if (strcmp(names[i], word) == 0) {
				fprintf(stderr,
				    "weirctl: split \"%s\" has had no rollout "
				    "yet\n",
				    word);
				code = CTL_NOT_FOUND;
			}
		n = add_names(json_object_get(rollouts.json, "rollouts"), "id",
		    names, n, 512);
		if (code == CTL_OK)
			code = ctl_unknown("rollout or split", word, names, n);
		ctl_answer_release(&rollouts);
	}
	ctl_answer_release(&splits);
	return code;
}

/* The newest comes first. */
static int
find_of_split(struct ctl *ctl, const char *split, struct ctl_answer *out)
{
	char *path = ctl_path("/v1/rollouts?split=", split, "");
	int code = path ? ctl_get(ctl, path, out) : CTL_INTERNAL;
	json_t *newest;

	free(path);
	if (code != CTL_OK)
		return code;
	say_alone(out->json);
	newest = json_array_get(json_object_get(out->json, "rollouts"), 0);
	if (newest) {
		pick(out, newest);
		return CTL_OK;
	}
	ctl_answer_release(out);
	return find_nothing(ctl, split);
}

int
ctl_rollout_find(struct ctl *ctl, const char *word, struct ctl_answer *out)
{
	char *path;
	int code;

	if (!word)
		return find_any(ctl, out);
	path = ctl_path("/v1/rollouts/", word, "");
	code = path ? ctl_ask(ctl,
	                  &(struct ctl_request){
	                      .method = "GET", .path = path, .is_probe = true},
	                  out)
	            : CTL_INTERNAL;
	if (code == CTL_UNREACHABLE)
		code = ctl_get(ctl, path, out); /* which tells why */
	free(path);
	return code == CTL_NOT_FOUND ? find_of_split(ctl, word, out) : code;
}

/* ---- the common ways ---- */

static int
too_many(const struct ctl *ctl)
{
	return ctl_usage(
	    ctl, "unexpected \"%s\"", ctl->words[ctl->n_words - 1]);
}

/* False: told. */
static bool
set_text(json_t *body, const char *key, const char *text)
{
	if (!text || json_object_set_new(body, key, json_string(text)) == 0)
		return true;
	fprintf(stderr, "weirctl: the %s is not UTF-8\n", key);
	return false;
}

/* Of the rollout that the words mean; the answer is to be released. */
static int
find(struct ctl *ctl, struct ctl_answer *out)
{
	if (ctl->n_words > 1)
		return too_many(ctl);
	return ctl_rollout_find(
	    ctl, ctl->n_words > 0 ? ctl->words[0] : NULL, out);
}

/* The reference to `body` is taken. */
static int
use_verb(struct ctl *ctl, const char *verb, json_t *body)
{
	struct ctl_answer found, answer;
	char after[32];
	int code = find(ctl, &found);

	if (code != CTL_OK) {
		json_decref(body);
		return code;
	}
	snprintf(after, sizeof(after), "/%s", verb);
	code = ctl_change(ctl, "POST",
	    ctl_path("/v1/rollouts/", ctl_text(found.json, "id"), after), body,
	    &answer);
	ctl_answer_release(&found);
	return code == CTL_OK ? ctl_show(ctl, &answer, ctl_print_rollout)
	                      : code;
}

/* ---- verbs: beginning ---- */

/* "api=api-green": a further split that moves together with the first. */
static int
add_member(const struct ctl *ctl, const char *word, json_t *group)
{
	const char *equals = strchr(word, '=');

	if (!equals || equals == word || !equals[1])
		return ctl_usage(ctl,
		    "\"%s\" is not SPLIT=POOL, a further split that moves "
		    "together with the first",
		    word);
	if (json_array_append_new(
	        group, json_pack("{s:s%, s:s}", "split", word,
	                   (size_t)(equals - word), "to", equals + 1)) == 0)
		return CTL_OK;
	return ctl_usage(ctl, "\"%s\" is not UTF-8", word);
}

static int
start_body(struct ctl *ctl, json_t *body)
{
	json_t *group = json_array();
	int code = CTL_OK;

	if (ctl->n_words == 0)
		code = ctl_usage(ctl, "which split? weirctl split lists them");
	else if (!ctl->to)
		code = ctl_usage(ctl, "--to POOL is missing: the pool that "
		                      "shall take the traffic over");
	for (size_t i = 1; i < ctl->n_words && code == CTL_OK; i++)
		code = add_member(ctl, ctl->words[i], group);
	if (code == CTL_OK && !(set_text(body, "split", ctl->words[0]) &&
	                          set_text(body, "to", ctl->to) &&
	                          set_text(body, "plan", ctl->plan) &&
	                          set_text(body, "release", ctl->release)))
		code = CTL_USAGE;
	if (json_array_size(group) > 0)
		json_object_set(body, "group", group);
	json_decref(group);
	return code;
}

static int
begin(struct ctl *ctl, struct ctl_answer *out)
{
	json_t *body = json_object();
	int code = start_body(ctl, body);

	if (code == CTL_OK)
		return ctl_change(
		    ctl, "POST", strdup("/v1/rollouts"), body, out);
	json_decref(body);
	return code;
}

static int
verb_plan(struct ctl *ctl)
{
	struct ctl_answer answer;
	int code;

	ctl->is_dry_run = true;
	code = begin(ctl, &answer);
	return code == CTL_OK ? ctl_show(ctl, &answer, ctl_print_forecast)
	                      : code;
}

static int
verb_start(struct ctl *ctl)
{
	struct ctl_answer answer;
	int code;

	if (ctl->is_waiting && !ctl_rollout_may_wait(ctl))
		return CTL_USAGE;
	code = begin(ctl, &answer);
	if (code != CTL_OK)
		return code;
	if (ctl->is_dry_run)
		return ctl_show(ctl, &answer, ctl_print_forecast);
	if (!ctl->is_waiting)
		return ctl_show(ctl, &answer, ctl_print_rollout);
	return ctl_rollout_wait(ctl, &answer);
}

static int
verb_retry(struct ctl *ctl)
{
	return use_verb(ctl, "retry", json_object());
}

/* ---- verbs: looking ---- */

static void
print_list(const json_t *answer)
{
	ctl_print_rollouts(json_object_get(answer, "rollouts"));
}

static int
verb_list(struct ctl *ctl)
{
	if (ctl->n_words > 1)
		return too_many(ctl);
	return ctl_show_path(ctl,
	    ctl->n_words ? ctl_path("/v1/rollouts?split=", ctl->words[0], "")
	                 : strdup("/v1/rollouts"),
	    print_list);
}

static int
verb_status(struct ctl *ctl)
{
	struct ctl_answer answer;
	int code = find(ctl, &answer);

	return code == CTL_OK ? ctl_show(ctl, &answer, ctl_print_rollout)
	                      : code;
}

static int
verb_wait(struct ctl *ctl)
{
	struct ctl_answer answer;
	int code;

	if (!ctl_rollout_may_wait(ctl))
		return CTL_USAGE;
	code = find(ctl, &answer);
	return code == CTL_OK ? ctl_rollout_wait(ctl, &answer) : code;
}

static int
explain(struct ctl *ctl, const json_t *rollout)
{
	char *path =
	    ctl_path("/v1/rollouts/", ctl_text(rollout, "id"), "/evidence");
	struct ctl_answer evidence;
	int code = path ? ctl_get(ctl, path, &evidence) : CTL_INTERNAL;

	free(path);
	if (code != CTL_OK)
		return code;
	if (ctl->is_json)
		code = ctl_print_json(evidence.json);
	else
		ctl_print_evidence(rollout, evidence.json);
	ctl_answer_release(&evidence);
	return code;
}

static int
verb_explain(struct ctl *ctl)
{
	struct ctl_answer rollout;
	int code = find(ctl, &rollout);

	if (code != CTL_OK)
		return code;
	code = explain(ctl, rollout.json);
	ctl_answer_release(&rollout);
	return code;
}

/* ---- verbs: changing ---- */

static int
verb_pause(struct ctl *ctl)
{
	return use_verb(ctl, "pause", json_object());
}

static int
verb_resume(struct ctl *ctl)
{
	return use_verb(ctl, "resume", json_object());
}

static int
verb_promote(struct ctl *ctl)
{
	return use_verb(ctl, "promote",
	    json_pack("{s:s}", "scope", ctl->is_full ? "full" : "phase"));
}

static int
verb_abort(struct ctl *ctl)
{
	return use_verb(ctl, "abort", json_object());
}

static int
vote(struct ctl *ctl, const char *decision)
{
	json_t *body = json_pack("{s:s}", "decision", decision);

	if (set_text(body, "gate", ctl->gate))
		return use_verb(ctl, "approvals", body);
	json_decref(body);
	return CTL_USAGE;
}

static int
verb_approve(struct ctl *ctl)
{
	return vote(ctl, "approve");
}

static int
verb_reject(struct ctl *ctl)
{
	return vote(ctl, "reject");
}

/* ---- the table ---- */

/* clang-format off */
const struct ctl_command ctl_rollout_verbs[] = {
	{"start", "SPLIT --to POOL [--plan PLAN] [--release ID] [SPLIT=POOL ...] [--wait]", "Begin: the plan moves the split's traffic to the pool",
	    "Further SPLIT=POOL move together with the first: a phase ends when it has ended for\n"
	    "all, and one that goes back takes all back. With --wait it waits like rollout wait.\n"
	    "With --dry-run it says what rollout plan says.\n",
	    "weirctl rollout start shop --to shop-green --plan standard --release 2026.08.2\n"
	    "weirctl rollout start shop --to shop-green --wait --timeout 2h --reason \"CHG-12\"\n", verb_start},
	{"plan", "SPLIT --to POOL [--plan PLAN]", "What each phase could see at the traffic of the moment; nothing is begun",
	    NULL, "weirctl rollout plan shop --to shop-green --plan standard\n", verb_plan},
	{"list", "[SPLIT]", "Live and recent rollouts, newest first",
	    NULL, "weirctl rollout list\nweirctl rollout list shop -o json\n", verb_list},
	{"status", "[ID | SPLIT]", "Where one stands and what it waits for",
	    "A split means its newest rollout; nothing means the only live one.\n",
	    "weirctl rollout status shop\nweirctl rollout status r-20260822-3 --watch\n", verb_status},
	{"wait", "[ID | SPLIT] [--for WHAT] [--timeout D]", "Wait until it has ended, and say how by the exit code",
	    "0 promoted, 10 rolled back, 11 aborted; 12 when --timeout has passed (the rollout\n"
	    "goes on). Without --for it also returns when only a person can help: 14 when it\n"
	    "waits for approval, 13 when it is held because a phase has timed out undecided.\n"
	    "--for terminal waits for the end alone; --for paused (held, for whatever reason),\n"
	    "approval, phase=NAME, weight=25 return 0 when that has come.\n",
	    "weirctl rollout wait shop --timeout 1h\nweirctl rollout wait shop --for phase=half\n", verb_wait},
	{"explain", "[ID | SPLIT]", "Why: the guard that decided, its numbers, and what happens next",
	    NULL, "weirctl rollout explain shop\nweirctl rollout explain r-20260822-3 -o json\n", verb_explain},
	{"pause", "[ID | SPLIT]", "Hold the weight where it is; guards go on",
	    NULL, "weirctl rollout pause shop --reason \"looking at logs\"\n", verb_pause},
	{"resume", "[ID | SPLIT]", "End a pause",
	    NULL, "weirctl rollout resume shop\n", verb_resume},
	{"promote", "[ID | SPLIT] [--full]", "Skip what this phase waits for; --full: all phases. Opens no gate",
	    "Guards go on. Once promoted it ends the time for which the old pool is kept warm.\n",
	    "weirctl rollout promote shop\nweirctl rollout promote shop --full\n", verb_promote},
	{"abort", "[ID | SPLIT]", "Back to the old pool; a second abort cuts a ramp short",
	    NULL, "weirctl rollout abort shop --reason \"wrong build\"\n", verb_abort},
	{"retry", "[ID | SPLIT]", "A fresh run of one that went back, by the plan as it is now",
	    NULL, "weirctl rollout retry shop\n", verb_retry},
	{"approve", "[ID | SPLIT] [--gate NAME]", "Say yes at a gate that asks for approval",
	    NULL, "weirctl rollout approve shop --gate release-approval --reason \"CAB 7\"\n", verb_approve},
	{"reject", "[ID | SPLIT] [--gate NAME]", "Say no: the rollout goes back",
	    NULL, "weirctl rollout reject shop --reason \"not this week\"\n", verb_reject},
	{NULL},
};
/* clang-format on */
