/* weirctl status and top: the whole at a glance. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/ctl/rollout.h"

struct glance {
	struct ctl_answer version, splits, pools, rollouts, receivers, freeze,
	    fleet;
};

static void
glance_release(struct glance *glance)
{
	ctl_answer_release(&glance->version);
	ctl_answer_release(&glance->splits);
	ctl_answer_release(&glance->pools);
	ctl_answer_release(&glance->rollouts);
	ctl_answer_release(&glance->receivers);
	ctl_answer_release(&glance->freeze);
	ctl_answer_release(&glance->fleet);
}

static int
glance_take(struct ctl *ctl, struct glance *glance)
{
	int code;

	*glance = (struct glance){0};
	code = ctl_get(ctl, "/v1/version", &glance->version);
	if (code == CTL_OK)
		code = ctl_get(ctl, "/v1/splits", &glance->splits);
	if (code == CTL_OK)
		code = ctl_get(ctl, "/v1/pools", &glance->pools);
	if (code == CTL_OK)
		code = ctl_get(ctl, "/v1/rollouts", &glance->rollouts);
	if (code == CTL_OK)
		code = ctl_get(ctl, "/v1/receivers", &glance->receivers);
	if (code == CTL_OK)
		code = ctl_get(ctl, "/v1/freeze", &glance->freeze);
	if (code == CTL_OK)
		code = ctl_get(ctl, "/v1/fleet", &glance->fleet);
	if (code != CTL_OK)
		glance_release(glance);
	return code;
}

static void
print_process(const json_t *version)
{
	char uptime[32];
	const char *error = ctl_text(version, "last_reload_error");

	units_print_duration(
	    (nsec_t)ctl_number(version, "uptime_seconds") * NSEC_PER_SEC,
	    uptime, sizeof(uptime));
	printf("weir %s, %s, up %s, %d workers, config %s\n",
	    ctl_text(version, "version"),
	    json_is_true(json_object_get(version, "ready")) ? "ready"
	                                                    : "NOT READY",
	    uptime, (int)ctl_number(version, "workers"),
	    ctl_text(version, "config_file"));
	if (json_is_false(json_object_get(version, "last_reload_ok")))
		printf("THE LAST RELOAD FAILED: %s\n", error);
	if (ctl_number(version, "state_write_errors") > 0)
		printf(
		    "STATE COULD NOT BE WRITTEN %.0f times since the start\n",
		    ctl_number(version, "state_write_errors"));
}

static void
print_down(const json_t *pools)
{
	json_t *pool, *row;
	size_t i, j;

	json_array_foreach (pools, i, pool)
		if (json_is_string(json_object_get(pool, "trouble")))
			printf("NO ENDPOINT: pool %s: %s\n",
			    ctl_text(pool, "name"), ctl_text(pool, "trouble"));
	json_array_foreach (pools, i, pool)
		json_array_foreach (json_object_get(pool, "endpoints"), j, row)
			if (!json_is_true(json_object_get(row, "usable")))
				printf("OUT: %s %s: %s%s%s\n",
				    ctl_text(pool, "name"),
				    ctl_text(row, "address"),
				    ctl_text(row, "state"),
				    json_is_true(json_object_get(row, "up"))
				        ? ""
				        : ", down: ",
				    json_is_true(json_object_get(row, "up"))
				        ? ""
				        : ctl_text(json_object_get(row, "down"),
				              "reason"));
}

/* Those that have not ended. */
static void
print_rollouts(const json_t *rollouts)
{
	json_t *live = json_array(), *rollout;
	size_t i;

	json_array_foreach (rollouts, i, rollout)
		if (ctl_rollout_end(rollout) == -1 ||
		    strcmp(ctl_text(rollout, "state"), "promoted") == 0)
			json_array_append(live, rollout);
	if (json_array_size(live) > 0) {
		putchar('\n');
		ctl_print_rollouts(live);
	}
	json_decref(live);
}

static void
print_trouble(const struct glance *glance)
{
	json_t *row;
	size_t i;

	if (json_is_true(json_object_get(glance->freeze.json, "frozen")))
		ctl_say("FROZEN by %s: no weight grows, nothing is promoted",
		    ctl_text(glance->freeze.json, "by"));
	json_array_foreach (
	    json_object_get(glance->receivers.json, "receivers"), i, row)
		if (json_is_false(json_object_get(row, "well")))
			ctl_say("DEAD: receiver %s: %s; %.0f calls lost",
			    ctl_text(row, "receiver"), ctl_text(row, "error"),
			    ctl_number(row, "failed") +
			        ctl_number(row, "dropped"));
}

static void
print_problems(const json_t *instance)
{
	json_t *row;
	size_t i;

	json_array_foreach (json_object_get(instance, "problems"), i, row)
		printf("    %s: %s\n", ctl_text(row, "split"),
		    ctl_text(row, "why"));
}

/* Nothing of an instance that shares nothing. */
static void
print_fleet(const json_t *fleet)
{
	json_t *row;
	size_t i;

	if (!json_is_true(json_object_get(fleet, "shared")))
		return;
	printf("\ninstances%s\n",
	    json_is_true(json_object_get(fleet, "up"))
	        ? ""
	        : ": THE OTHERS CANNOT BE REACHED, nothing is promoted");
	json_array_foreach (json_object_get(fleet, "instances"), i, row) {
		printf("  %s  %s%s", ctl_text(row, "id"),
		    ctl_text(row, "state"),
		    json_is_true(json_object_get(row, "self")) ? ", this one"
		                                               : "");
		if (strcmp(ctl_text(row, "state"), "away") == 0)
			printf(", last seen %.0f s ago",
			    ctl_number(row, "seen_ms_ago") / 1000);
		putchar('\n');
		print_problems(row);
	}
	json_array_foreach (json_object_get(fleet, "splits"), i, row)
		if (json_object_get(row, "trouble"))
			printf("  NOT ADOPTED: %s: %s\n",
			    ctl_text(row, "split"), ctl_text(row, "trouble"));
}

static void
print_glance(const struct glance *glance)
{
	json_t *split;
	size_t i;

	print_process(glance->version.json);
	json_array_foreach (
	    json_object_get(glance->splits.json, "splits"), i, split) {
		putchar('\n');
		ctl_print_split(split);
	}
	print_rollouts(json_object_get(glance->rollouts.json, "rollouts"));
	print_down(json_object_get(glance->pools.json, "pools"));
	print_fleet(glance->fleet.json);
	print_trouble(glance);
}

/* The version's members and the two lists, as one document. */
static int
print_glance_json(const struct glance *glance)
{
	json_t *whole = json_object();
	int code;

	json_object_update(whole, glance->version.json);
	json_object_set_new(whole, "schema", json_string("weir.status/v1"));
	json_object_set(
	    whole, "splits", json_object_get(glance->splits.json, "splits"));
	json_object_set(
	    whole, "pools", json_object_get(glance->pools.json, "pools"));
	json_object_set(whole, "rollouts",
	    json_object_get(glance->rollouts.json, "rollouts"));
	json_object_set(whole, "receivers",
	    json_object_get(glance->receivers.json, "receivers"));
	json_object_set(whole, "fleet", glance->fleet.json);
	json_object_set(
	    whole, "frozen", json_object_get(glance->freeze.json, "frozen"));
	code = ctl_print_json(whole);
	json_decref(whole);
	return code;
}

static void
print_load(const json_t *pools)
{
	static const char *const heads[] = {
	    "POOL", "REQ/S", "ERRORS", "IN FLIGHT", "P50", "P95", "P99", "UP"};
	struct ctl_table *table = ctl_table_new(heads, 8);
	json_t *pool;
	size_t i;

	json_array_foreach (pools, i, pool) {
		static const char *const keys[] = {
		    "p50_ms", "p95_ms", "p99_ms"};
		char ms[24];

		ctl_table_cell(table, "%s", ctl_text(pool, "name"));
		ctl_table_cell(table, "%.1f", ctl_number(pool, "rate"));
		ctl_table_cell(
		    table, "%.2f%%", ctl_number(pool, "error_rate") * 100);
		ctl_table_cell(table, "%.0f", ctl_number(pool, "in_flight"));
		for (size_t k = 0; k < 3; k++) {
			ctl_print_ms(
			    ms, sizeof(ms), json_object_get(pool, keys[k]));
			ctl_table_cell(table, "%s", ms);
		}
		ctl_table_cell(table, "%.0f/%zu", ctl_number(pool, "usable"),
		    json_array_size(json_object_get(pool, "endpoints")));
	}
	ctl_table_print(&table, stdout);
}

static int
show_glance(struct ctl *ctl, bool has_load)
{
	struct glance glance;
	int code;

	if (ctl->n_words > 0)
		return ctl_usage(ctl, "unexpected \"%s\"", ctl->words[0]);
	code = glance_take(ctl, &glance);
	if (code != CTL_OK)
		return code;
	if (ctl->is_json) {
		code = print_glance_json(&glance);
	} else {
		print_glance(&glance);
		if (has_load) {
			putchar('\n');
			print_load(json_object_get(glance.pools.json, "pools"));
		}
	}
	glance_release(&glance);
	return code;
}

int
ctl_status(struct ctl *ctl)
{
	return show_glance(ctl, false);
}

int
ctl_top(struct ctl *ctl)
{
	int code = show_glance(ctl, true);

	if (code == CTL_OK && !ctl->is_json)
		ctl->is_watch = ctl->is_watch || isatty(STDOUT_FILENO);
	return code;
}
