/* weirctl config diff, reload, render, check. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "admin/ctl/ctl.h"

/* ---- diff ---- */

static void
print_weights(const char *head, const json_t *weights)
{
	const char *name;
	json_t *value;
	char percent[24];

	fputs(head, stdout);
	json_object_foreach ((json_t *)(uintptr_t)weights, name, value) {
		ctl_print_percent(percent, sizeof(percent), value);
		printf(" %s=%s", name, percent);
	}
	putchar('\n');
}

/* ", changed 3m ago by uid:0: why"; nothing when nobody did it by hand. */
static void
print_change(const json_t *row)
{
	char age[24];

	if (!json_is_string(json_object_get(row, "changed_at"))) {
		putchar('\n');
		return;
	}
	ctl_print_age(age, sizeof(age), ctl_text(row, "changed_at"));
	printf(", changed %s ago by %s", age, ctl_text(row, "changed_by"));
	if (json_is_string(json_object_get(row, "reason")))
		printf(": %s", ctl_text(row, "reason"));
	putchar('\n');
}

static void
print_endpoints(const char *head, const json_t *list)
{
	json_t *one;
	size_t i;

	fputs(head, stdout);
	json_array_foreach (list, i, one) {
		if (json_is_string(one))
			printf(" %s", json_string_value(one));
		else if (json_object_get(one, "srv"))
			printf(" %s", ctl_text(one, "srv"));
		else
			printf(" %s (weight %.0f)", ctl_text(one, "address"),
			    ctl_number(one, "weight"));
	}
	putchar('\n');
}

static void
print_set_diff(const json_t *row)
{
	printf("endpoints of pool %s", ctl_text(row, "pool"));
	print_change(row);
	print_endpoints("  - loaded file", json_object_get(row, "file"));
	print_endpoints("  + runtime    ", json_object_get(row, "runtime"));
}

static void
print_split_diff(const json_t *row)
{
	printf("split %s", ctl_text(row, "split"));
	print_change(row);
	print_weights("  - loaded file", json_object_get(row, "file"));
	print_weights("  + runtime    ", json_object_get(row, "runtime"));
}

static void
print_diff(const json_t *diff)
{
	json_t *splits = json_object_get(diff, "splits"), *row;
	json_t *endpoints = json_object_get(diff, "endpoints");
	json_t *sets = json_object_get(diff, "pools");
	const char *pending =
	    json_string_value(json_object_get(diff, "pending"));
	size_t i;

	json_array_foreach (splits, i, row)
		print_split_diff(row);
	json_array_foreach (sets, i, row)
		print_set_diff(row);
	json_array_foreach (endpoints, i, row) {
		printf("endpoint %s of pool %s: %s", ctl_text(row, "endpoint"),
		    ctl_text(row, "pool"), ctl_text(row, "state"));
		print_change(row);
	}
	if (json_array_size(splits) + json_array_size(sets) +
	        json_array_size(endpoints) ==
	    0)
		puts("runtime is as the loaded file says");
	if (!pending)
		printf("%s on disk has errors: a reload would be refused (weir "
		       "check -c %s)\n",
		    ctl_text(diff, "file"), ctl_text(diff, "file"));
	else if (*pending)
		printf("%s on disk is not what is loaded; a reload would "
		       "change:\n%s",
		    ctl_text(diff, "file"), pending);
	else
		printf(
		    "%s on disk is what is loaded\n", ctl_text(diff, "file"));
}

/* ---- reload ---- */

static void
print_warnings(const json_t *answer)
{
	json_t *row;
	size_t i;

	json_array_foreach (json_object_get(answer, "warnings"), i, row)
		printf("%s:%d: warning: %s\n", ctl_text(row, "file"),
		    (int)ctl_number(row, "line"), ctl_text(row, "message"));
}

static void
print_reload(const json_t *answer)
{
	print_warnings(answer);
	if (json_is_true(json_object_get(answer, "dry_run")))
		printf("a reload would change:\n%s",
		    *ctl_text(answer, "changes") ? ctl_text(answer, "changes")
		                                 : "nothing\n");
	else
		printf("reloaded, generation %d\n",
		    (int)ctl_number(answer, "generation"));
}

static int
reload(struct ctl *ctl)
{
	struct ctl_answer answer;
	int code = ctl_change(
	    ctl, "POST", strdup("/v1/config/reload"), json_object(), &answer);

	return code == CTL_OK ? ctl_show(ctl, &answer, print_reload) : code;
}

/* ---- check ---- */

static char *
read_file(struct ctl *ctl, const char *path, size_t *len_out)
{
	FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	char *text = file ? malloc(CONFIG_SIZE_MAX + 1) : NULL;

	if (!text) {
		ctl_usage(ctl, "%s: %s", path, strerror(errno));
		if (file && file != stdin)
			fclose(file);
		return NULL;
	}
	*len_out = fread(text, 1, CONFIG_SIZE_MAX, file);
	if (ferror(file)) {
		ctl_usage(ctl, "%s: %s", path, strerror(errno));
		free(text);
		text = NULL;
	}
	if (file != stdin)
		fclose(file);
	return text;
}

static int
check(struct ctl *ctl, const char *path)
{
	size_t len = 0;
	char *text = read_file(ctl, path, &len);
	char *below = ctl_path("/v1/config/check?file=", path, "");
	struct ctl_request request = {.method = "POST",
	    .path = below,
	    .text = {text, len},
	    .type = "application/yaml"};
	struct ctl_answer answer;
	int code = text ? ctl_ask(ctl, &request, &answer) : CTL_USAGE;

	free(text);
	free(below);
	if (code != CTL_OK)
		return code;
	if (ctl->is_json) {
		code = ctl_print_json(answer.json);
	} else {
		print_warnings(answer.json);
		printf("%s: this weir would take it\n", path);
	}
	ctl_answer_release(&answer);
	return code;
}

int
ctl_config(struct ctl *ctl)
{
	static const char *const verbs[] = {
	    "diff", "reload", "render", "check"};
	const char *verb = ctl->n_words > 0 ? ctl->words[0] : "";
	const char *near;
	size_t want = strcmp(verb, "check") == 0 ? 2 : 1;

	if (ctl->n_words > want)
		return ctl_usage(ctl, "unexpected \"%s\"", ctl->words[want]);
	if (strcmp(verb, "diff") == 0)
		return ctl_show_path(
		    ctl, strdup("/v1/config/diff"), print_diff);
	if (strcmp(verb, "render") == 0)
		return ctl_show_path(ctl, strdup("/v1/config"), NULL);
	if (strcmp(verb, "reload") == 0)
		return reload(ctl);
	if (strcmp(verb, "check") == 0 && ctl->n_words == 2)
		return check(ctl, ctl->words[1]);
	if (strcmp(verb, "check") == 0)
		return ctl_usage(ctl, "which file?");
	near = suggest(span_of(verb), verbs, 4);
	return ctl_usage(ctl, "say diff, reload, render or check%s%s%s",
	    near ? "; did you mean \"" : "", near ? near : "",
	    near ? "\"?" : "");
}
