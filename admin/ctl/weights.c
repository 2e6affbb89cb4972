/* weirctl weights, split, undo. */
#include <string.h>

#include "admin/ctl/ctl.h"

static void
print_origin(const json_t *split)
{
	const char *at = ctl_text(split, "changed_at");
	char age[24];

	if (strcmp(at, "-") == 0) {
		printf("version %d, as in the file\n",
		    (int)ctl_number(split, "version"));
		return;
	}
	ctl_print_age(age, sizeof(age), at);
	printf("version %d, changed %s ago by %s",
	    (int)ctl_number(split, "version"), age,
	    ctl_text(split, "changed_by"));
	if (json_is_string(json_object_get(split, "reason")))
		printf(": %s", ctl_text(split, "reason"));
	putchar('\n');
}

static void
add_pool(struct ctl_table *table, const json_t *split, const json_t *pool)
{
	const char *name = ctl_text(pool, "name");
	json_t *would = json_object_get(split, "would_be");
	char weight[24], actual[24], p50[24], p99[24], next[24] = "";

	ctl_print_percent(
	    weight, sizeof(weight), json_object_get(pool, "weight"));
	ctl_print_percent(actual, sizeof(actual),
	    json_object_get(json_object_get(split, "actual"), name));
	ctl_print_ms(p50, sizeof(p50), json_object_get(pool, "p50_ms"));
	ctl_print_ms(p99, sizeof(p99), json_object_get(pool, "p99_ms"));
	if (would)
		ctl_print_percent(
		    next, sizeof(next), json_object_get(would, name));
	ctl_table_cell(table, "%s%s", name,
	    strcmp(name, ctl_text(split, "stable")) == 0 ? " (stable)" : "");
	ctl_table_cell(table, "%s%s%s", weight, would ? " -> " : "", next);
	ctl_table_cell(table, "%s", actual);
	ctl_table_cell(table, "%d/%d", (int)ctl_number(pool, "usable"),
	    (int)ctl_number(pool, "endpoints"));
	ctl_table_cell(table, "%.1f", ctl_number(pool, "rate"));
	ctl_table_cell(table, "%.2f%%", ctl_number(pool, "error_rate") * 100);
	ctl_table_cell(table, "%s", p50);
	ctl_table_cell(table, "%s", p99);
}

void
ctl_print_split(const json_t *split)
{
	static const char *const heads[] = {
	    "POOL", "WEIGHT", "ACTUAL", "UP", "REQ/S", "ERRORS", "P50", "P99"};
	struct ctl_table *table = ctl_table_new(heads, 8);
	json_t *pool;
	size_t i;

	printf("%s: ", ctl_text(split, "name"));
	print_origin(split);
	json_array_foreach (json_object_get(split, "pools"), i, pool)
		add_pool(table, split, pool);
	ctl_table_print(&table, stdout);
	if (json_is_true(json_object_get(split, "dry_run")))
		puts("dry run: nothing was changed");
}

static int
show_split(struct ctl *ctl, const char *name)
{
	return ctl_show_path(
	    ctl, ctl_path("/v1/splits/", name, ""), ctl_print_split);
}

/* ---- weights ---- */

static int
bad_pair(const struct ctl *ctl, const char *word)
{
	return ctl_usage(ctl,
	    "\"%s\" is not NAME=PERCENT with a percentage from 0 to 100 and at "
	    "most two decimals, like canary=5",
	    word);
}

/* "canary=5" into the object. */
static int
take_pair(const struct ctl *ctl, const char *word, json_t *weights)
{
	const char *equals = strchr(word, '=');
	char name[CONFIG_NAME_MAX + 1];
	size_t len = equals ? (size_t)(equals - word) : 0;
	bp_t bp;

	if (len == 0 || len >= sizeof(name) ||
	    !units_percent(span_of(equals + 1), &bp))
		return bad_pair(ctl, word);
	memcpy(name, word, len);
	name[len] = '\0';
	if (json_object_get(weights, name))
		return ctl_usage(ctl, "pool \"%s\" is named twice", name);
	if (json_object_set_new(weights, name,
	        bp % 100 ? json_real(bp / 100.0) : json_integer(bp / 100)) != 0)
		return ctl_usage(ctl, "\"%s\" is not a name", name);
	return CTL_OK;
}

/* Of the split that the first word names. Takes the reference to `body`. */
static int
change(struct ctl *ctl, const char *method, const char *after, json_t *body)
{
	struct ctl_answer answer;
	int code = ctl_change(ctl, method,
	    ctl_path("/v1/splits/", ctl->words[0], after), body, &answer);

	return code == CTL_OK ? ctl_show(ctl, &answer, ctl_print_split) : code;
}

int
ctl_weights(struct ctl *ctl)
{
	json_t *weights;
	int code = CTL_OK;

	if (ctl->n_words == 0)
		return ctl_usage(ctl, "which split? weirctl split lists them");
	if (ctl->n_words == 1)
		return show_split(ctl, ctl->words[0]);
	weights = json_object();
	for (size_t i = 1; i < ctl->n_words && code == CTL_OK; i++)
		code = take_pair(ctl, ctl->words[i], weights);
	if (code == CTL_OK)
		return change(ctl, "PUT", "/weights",
		    json_pack("{s:o}", "weights", weights));
	json_decref(weights);
	return code;
}

int
ctl_undo(struct ctl *ctl)
{
	if (ctl->n_words != 1)
		return ctl_usage(ctl, "which split? weirctl split lists them");
	return change(ctl, "POST", "/undo", json_object());
}

/* ---- split ---- */

static void
print_splits(const json_t *answer)
{
	json_t *list = json_object_get(answer, "splits"), *split;
	size_t i;

	json_array_foreach (list, i, split) {
		if (i > 0)
			putchar('\n');
		ctl_print_split(split);
	}
	if (json_array_size(list) == 0)
		puts("the config has no splits");
}

int
ctl_split(struct ctl *ctl)
{
	if (ctl->n_words == 0 ||
	    (ctl->n_words == 1 && strcmp(ctl->words[0], "list") == 0))
		return ctl_show_path(ctl, strdup("/v1/splits"), print_splits);
	if (ctl->n_words == 1)
		return show_split(ctl, ctl->words[0]);
	if (ctl->n_words == 2 && strcmp(ctl->words[0], "show") == 0)
		return show_split(ctl, ctl->words[1]);
	return ctl_usage(
	    ctl, "unexpected \"%s\"", ctl->words[ctl->n_words - 1]);
}
