/*
 * weirctl rollout plan: what the phases of a plan could see at the traffic of
 * the moment, before anybody waits for them.
 */
#include <string.h>

#include "admin/ctl/rollout.h"

/* "9480", "31.7k", "1.2M"; "-" for null. */
static const char *
count_text(char *buf, size_t cap, const json_t *count)
{
	double n = json_number_value(count);

	if (!json_is_number(count))
		snprintf(buf, cap, "-");
	else if (n < 10000)
		snprintf(buf, cap, "%.0f", n);
	else if (n < 1e6)
		snprintf(buf, cap, "%.3gk", n / 1e3);
	else
		snprintf(buf, cap, "%.3gM", n / 1e6);
	return buf;
}

static void
say_head(const json_t *f)
{
	double rate = ctl_number(f, "rate");

	ctl_say("plan %s on split %s: %s -> %s", ctl_text(f, "plan"),
	    ctl_text(f, "split"), ctl_text(f, "from"), ctl_text(f, "to"));
	if (rate > 0)
		ctl_say(
		    "at the present %.4g requests a second, of which %.3g%% "
		    "fail",
		    rate, ctl_number(f, "error_rate") * 100);
	else
		puts("without traffic at present: what guards need is said in "
		     "requests, not in time");
}

static void
say_phase(const json_t *phase)
{
	const char *name = ctl_text(phase, "phase");
	char weight[24], length[32], all[24], canary[24];

	ctl_print_percent(
	    weight, sizeof(weight), json_object_get(phase, "weight"));
	ctl_print_seconds(
	    length, sizeof(length), json_object_get(phase, "seconds"));
	count_text(all, sizeof(all), json_object_get(phase, "requests"));
	count_text(
	    canary, sizeof(canary), json_object_get(phase, "canary_requests"));
	putchar('\n');
	if (ctl_number(phase, "weight") <= 0)
		ctl_say("phase %s: no traffic yet", name);
	else if (ctl_number(phase, "seconds") <= 0)
		ctl_say("phase %s: %s, for as long as its guards need", name,
		    weight);
	else if (ctl_number(phase, "requests") <= 0)
		ctl_say("phase %s: %s for %s", name, weight, length);
	else
		ctl_say("phase %s: %s for %s, about %s requests, %s of them to "
		        "the candidate",
		    name, weight, length, all, canary);
}

static void
add_guard(struct ctl_table *table, const json_t *guard)
{
	char requests[24], canary[24], time[32], pass[24];
	const json_t *after = json_object_get(guard, "seconds_to_detect");

	count_text(requests, sizeof(requests),
	    json_object_get(guard, "requests_to_detect"));
	count_text(canary, sizeof(canary),
	    json_object_get(guard, "canary_requests_to_detect"));
	count_text(
	    pass, sizeof(pass), json_object_get(guard, "requests_to_pass"));
	ctl_print_seconds(time, sizeof(time), after);
	ctl_table_cell(table, "  %s", ctl_text(guard, "guard"));
	ctl_table_cell(table, "%s", ctl_text(guard, "limit"));
	ctl_table_cell(table, "%s", requests);
	ctl_table_cell(table, "%s", canary);
	ctl_table_cell(table, "%s", time);
	ctl_table_cell(table, "%s", ctl_text(guard, "smallest"));
	ctl_table_cell(table, "%s", pass);
	ctl_table_cell(table, "%s",
	    json_is_true(json_object_get(guard, "can_fire")) ? "yes" : "NO");
}

static bool
is_comparing(const json_t *guard)
{
	return json_is_string(json_object_get(guard, "limit"));
}

static void
print_guards(const json_t *phase)
{
	static const char *const heads[] = {"  GUARD", "LIMIT", "SEEN AFTER",
	    "OF THE CANARY", "TIME", "SMALLEST SEEN", "PROVEN WELL AFTER",
	    "CAN FIRE"};
	struct ctl_table *table = NULL;
	json_t *guard;
	size_t i;

	json_array_foreach (json_object_get(phase, "guards"), i, guard) {
		if (!is_comparing(guard) || ctl_number(phase, "weight") <= 0)
			continue;
		if (!table)
			table = ctl_table_new(heads, 8);
		add_guard(table, guard);
	}
	ctl_table_print(&table, stdout);
}

static void
print_one(const json_t *forecast)
{
	json_t *phase, *warning;
	size_t i;

	say_head(forecast);
	json_array_foreach (json_object_get(forecast, "phases"), i, phase) {
		say_phase(phase);
		print_guards(phase);
	}
	if (json_array_size(json_object_get(forecast, "warnings")) > 0)
		putchar('\n');
	json_array_foreach (json_object_get(forecast, "warnings"), i, warning)
		if (json_is_string(warning))
			ctl_say("warning: %s", json_string_value(warning));
}

void
ctl_print_forecast(const json_t *forecast)
{
	json_t *other;
	size_t i;

	print_one(forecast);
	json_array_foreach (json_object_get(forecast, "group"), i, other) {
		putchar('\n');
		print_one(other);
	}
	puts("\nnothing was begun");
}
