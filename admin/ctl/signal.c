/* weirctl signal and freeze. */
#include <string.h>

#include "admin/ctl/ctl.h"

/* ---- signal ---- */

static void
print_not_counted(const struct ctl *ctl, const json_t *answer)
{
	const json_t *kinds = json_object_get(answer, "kinds");
	bool has_hint = json_is_string(json_object_get(answer, "hint"));
	json_t *kind;
	size_t i;

	if (!json_is_string(json_object_get(answer, "rollout"))) {
		ctl_say(
		    "not counted: split %s has no live rollout", ctl->words[0]);
		return;
	}
	ctl_say("not counted: rollout %s has no guard on signal:%s%s%s",
	    ctl_text(answer, "rollout"), ctl->words[1], has_hint ? "; " : "",
	    has_hint ? ctl_text(answer, "hint") : "");
	json_array_foreach (kinds, i, kind)
		ctl_say("  it counts %s", json_string_value(kind));
}

static void
print_signal(const struct ctl *ctl, const json_t *answer)
{
	const char *result = ctl_text(answer, "result");
	const char *rollout = ctl_text(answer, "rollout");

	if (ctl->is_dry_run)
		ctl_say("dry run: rollout %s would get it", rollout);
	else if (strcmp(result, "counted") == 0)
		ctl_say("counted against rollout %s", rollout);
	else if (strcmp(result, "duplicate") == 0)
		ctl_say("rollout %s has counted this id already", rollout);
	else
		print_not_counted(ctl, answer);
}

int
ctl_signal(struct ctl *ctl)
{
	struct ctl_answer answer;
	int64_t count = 1;
	json_t *body;
	int code;

	if (ctl->n_words != 2)
		return ctl_usage(ctl, ctl->n_words < 2
		                          ? "a SPLIT and a KIND are needed"
		                          : "too many words");
	if (ctl->count && !units_integer(span_of(ctl->count), &count))
		return ctl_usage(
		    ctl, "--count is a number, not \"%s\"", ctl->count);
	body = json_pack("{s:s, s:s, s:I}", "split", ctl->words[0], "kind",
	    ctl->words[1], "count", (json_int_t)count);
	if (!body)
		return ctl_usage(ctl, "the words are not UTF-8");
	if (ctl->id)
		json_object_set_new(body, "id", json_string(ctl->id));
	code = ctl_change(ctl, "POST", strdup("/v1/signals"), body, &answer);
	if (code != CTL_OK)
		return code;
	if (ctl->is_json)
		code = ctl_print_json(answer.json);
	else
		print_signal(ctl, answer.json);
	ctl_answer_release(&answer);
	return code;
}

/* ---- freeze ---- */

static void
print_freeze(const json_t *freeze)
{
	bool has_reason = json_is_string(json_object_get(freeze, "reason"));
	char age[24];

	ctl_print_age(age, sizeof(age), ctl_text(freeze, "since"));
	if (json_is_true(json_object_get(freeze, "frozen")))
		ctl_say("frozen since %s by %s%s%s; rolling back is possible",
		    age, ctl_text(freeze, "by"), has_reason ? ": " : "",
		    has_reason ? ctl_text(freeze, "reason") : "");
	else
		puts("not frozen");
}

int
ctl_freeze(struct ctl *ctl)
{
	static const char *const words[] = {"on", "off"};
	const char *word = ctl->n_words ? ctl->words[0] : NULL, *near;
	struct ctl_answer answer;
	bool is_on;
	int code;

	if (ctl->n_words > 1)
		return ctl_usage(ctl, "unexpected \"%s\"", ctl->words[1]);
	if (!word)
		return ctl_show_path(ctl, strdup("/v1/freeze"), print_freeze);
	is_on = strcmp(word, "on") == 0;
	if (!is_on && strcmp(word, "off") != 0) {
		near = suggest(span_of(word), words, 2);
		return ctl_usage(ctl, "on or off, not \"%s\"%s%s%s", word,
		    near ? "; did you mean \"" : "", near ? near : "",
		    near ? "\"?" : "");
	}
	code = ctl_change(ctl, is_on ? "PUT" : "DELETE", strdup("/v1/freeze"),
	    json_object(), &answer);
	return code == CTL_OK ? ctl_show(ctl, &answer, print_freeze) : code;
}
