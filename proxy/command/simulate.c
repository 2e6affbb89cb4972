/*
 * weir simulate: what a plan would do, before it is trusted with users. Runs
 * the machine and the judge that decide in production, many times, over
 * traffic that is made up or was recorded, and says how often and how soon
 * the candidate goes back.
 */
#include "routing/simulate.h"

#include <math.h>
#include <stdlib.h>
#include <sys/param.h>

#include "admin/admin.h"
#include "config/config.h"
#include "proxy/command/command.h"

enum {
	FLAG_SPLIT = FLAG_LONG,
	FLAG_PLAN,
	FLAG_RPS,
	FLAG_ERRORS,
	FLAG_LATENCY,
	FLAG_EFFECT,
	FLAG_WEATHER,
	FLAG_LOG,
	FLAG_RUNS,
	FLAG_SEED,
	EFFECTS_MAX = 8,
	RUNS_MAX = 100000,
};

const struct flag simulate_flags[] = {
    {'c', "config", "FILE", "the config that has the plan"},
    {FLAG_SPLIT, "split", "S", "the split; the only one without"},
    {FLAG_PLAN, "plan", "P", "the plan; the only one without"},
    {FLAG_RPS, "rps", "N", "requests a second, 1000 without"},
    {FLAG_ERRORS, "errors", "P", "share that fails anyway, as in 0.5%"},
    {FLAG_LATENCY, "latency", "D[,S]",
        "median and sigma of its logarithm, 20ms,0.5 without"},
    {FLAG_EFFECT, "effect", "E",
        "what is wrong with the candidate; again for more"},
    {FLAG_WEATHER, "weather", "W",
        "what happens to both: steady drift periodic outage"},
    {FLAG_LOG, "log", "FILE", "replay an access log instead"},
    {FLAG_RUNS, "runs", "N", "how often, 100 without"},
    {FLAG_SEED, "seed", "N", "the same seed gives the same runs; 1 without"},
    {'o', "output", "table|json", "how to tell"},
    {0},
};

struct simulate_wish {
	const char *path, *split, *plan, *log;
	struct simulation simulation;
	struct effect effects[EFFECTS_MAX];
	const char *words[EFFECTS_MAX]; /* of the effects */
	bool json, is_synthetic;        /* traffic was described */
};

/* ---- arguments ---- */

static bool
take_number(const char *text, double low, double high, double *out)
{
	char *end;

	if (text[strspn(text, "0123456789.")] != '\0')
		return false;
	*out = strtod(text, &end);
	return end > text && *end == '\0' && *out >= low && *out <= high;
}

static bool
take_seed(const char *text, uint64_t *out)
{
	size_t digits = strspn(text, "0123456789");

	if (digits == 0 || digits > 19 || text[digits] != '\0')
		return false;
	*out = strtoull(text, NULL, 10);
	return true;
}

static int
take_rps(struct args *args, struct simulate_wish *wish)
{
	wish->is_synthetic = true;
	if (take_number(args->value, 0.01, 1e6, &wish->simulation.rate))
		return EXIT_OK;
	return args_refuse(
	    args, "--rps %s: say a number from 0.01 to 1000000", args->value);
}

static int
take_errors(struct args *args, struct simulate_wish *wish)
{
	bp_t errors;

	wish->is_synthetic = true;
	if (!units_percent(span_of(args->value), &errors))
		return args_refuse(args,
		    "--errors %s: say a percentage, as in 0.5%%", args->value);
	wish->simulation.errors = (double)errors / BP_ALL;
	return EXIT_OK;
}

/* "20ms" or "20ms,0.5" */
static int
take_latency(struct args *args, struct simulate_wish *wish)
{
	size_t len = strcspn(args->value, ",");
	struct simulation *simulation = &wish->simulation;

	wish->is_synthetic = true;
	if (units_duration(
	        (struct span){args->value, len}, &simulation->median) &&
	    simulation->median > 0 &&
	    (args->value[len] == '\0' ||
	        take_number(args->value + len + 1, 0, 3, &simulation->sigma)))
		return EXIT_OK;
	return args_refuse(args,
	    "--latency %s: say 20ms, or 20ms,0.5 for a sigma of 0 to 3",
	    args->value);
}

static int
take_effect(struct args *args, struct simulate_wish *wish)
{
	struct err err;
	size_t n = wish->simulation.n_effects;

	if (n == EFFECTS_MAX)
		return args_refuse(args, "at most %d effects", EFFECTS_MAX);
	if (!effect_parse(span_of(args->value), &wish->effects[n], &err))
		return args_refuse(
		    args, "--effect %s: %s", args->value, err.text);
	wish->words[n] = args->value;
	wish->simulation.n_effects++;
	return EXIT_OK;
}

static int
take_weather(struct args *args, struct simulate_wish *wish)
{
	wish->is_synthetic = true;
	if (weather_of(args->value, &wish->simulation.weather))
		return EXIT_OK;
	return args_refuse(args,
	    "--weather %s: say steady, drift, periodic or outage", args->value);
}

static int
take_runs(struct args *args, struct simulate_wish *wish)
{
	double runs;

	if (!take_number(args->value, 1, RUNS_MAX, &runs) ||
	    runs != floor(runs))
		return args_refuse(args, "--runs %s: say a number from 1 to %d",
		    args->value, RUNS_MAX);
	wish->simulation.runs = (unsigned)runs;
	return EXIT_OK;
}

static int
take_output(struct args *args, struct simulate_wish *wish)
{
	wish->json = strcmp(args->value, "json") == 0;
	if (wish->json || strcmp(args->value, "table") == 0)
		return EXIT_OK;
	return args_refuse(
	    args, "-o is table or json, not \"%s\"", args->value);
}

static int
take(struct args *args, int key, struct simulate_wish *wish)
{
	switch (key) {
	case 'c':
		wish->path = args->value;
		return EXIT_OK;
	case FLAG_SPLIT:
		wish->split = args->value;
		return EXIT_OK;
	case FLAG_PLAN:
		wish->plan = args->value;
		return EXIT_OK;
	case FLAG_LOG:
		wish->log = args->value;
		return EXIT_OK;
	case FLAG_RPS:
		return take_rps(args, wish);
	case FLAG_ERRORS:
		return take_errors(args, wish);
	case FLAG_LATENCY:
		return take_latency(args, wish);
	case FLAG_EFFECT:
		return take_effect(args, wish);
	case FLAG_WEATHER:
		return take_weather(args, wish);
	case FLAG_RUNS:
		return take_runs(args, wish);
	case 'o':
		return take_output(args, wish);
	case FLAG_SEED:
		if (take_seed(args->value, &wish->simulation.seed))
			return EXIT_OK;
		return args_refuse(
		    args, "--seed %s: say a whole number", args->value);
	case ARG_WORD:
		return args_refuse(args, "takes no \"%s\"", args->value);
	}
	return EXIT_USAGE;
}

/* ---- the plan and the split ---- */

enum { NAMES_MAX = 256 };

/* The index of `name`; the only one when none is named; -1: refused. */
static int
find_name(struct args *args, const char *what, const char *name,
    const char *const *names, size_t n)
{
	const char *near;

	if (name == NULL && n == 1)
		return 0;
	if (name == NULL) {
		args_refuse(args,
		    n == 0 ? "the config has no %s" : "which %s? Say --%s NAME",
		    what, what);
		return -1;
	}
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return (int)i;
	near = suggest(span_of(name), names, n);
	args_refuse(args, "no %s \"%s\"%s%s%s", what, name,
	    near ? "; did you mean \"" : "", near ? near : "",
	    near ? "\"?" : "");
	return -1;
}

static bool
find_plan(
    struct args *args, struct simulate_wish *wish, const struct config *config)
{
	const char *names[NAMES_MAX];
	size_t n = MIN(config->n_plans, NAMES_MAX);
	int at;

	for (size_t i = 0; i < n; i++)
		names[i] = config->plans[i].name;
	at = find_name(args, "plan", wish->plan, names, n);
	if (at < 0)
		return false;
	wish->simulation.plan = &config->plans[at];
	n = MIN(config->n_splits, NAMES_MAX);
	for (size_t i = 0; i < n; i++)
		names[i] = config->splits[i].name;
	at = find_name(args, "split", wish->split, names, n);
	if (at >= 0)
		wish->split = config->splits[at].name;
	return at >= 0;
}

/* ---- telling ---- */

static void
tell_json(const struct simulation_result *result)
{
	printf("{\"schema\": \"weir.simulation/v1\", \"runs\": %u, "
	       "\"rollback_rate\": %.6g, \"rollback_rate_high\": %.6g, "
	       "\"pass_rate\": %.6g, \"requests_to_rollback\": ",
	    result->runs, result->rollback_rate, result->rollback_rate_high,
	    result->pass_rate);
	if (result->rolled_back > 0)
		printf("{\"mean\": %.1f, \"p50\": %.0f, \"p95\": %.0f}}\n",
		    result->mean, result->p50, result->p95);
	else
		printf("{\"mean\": null, \"p50\": null, \"p95\": null}}\n");
}

static void
tell_traffic(const struct simulate_wish *wish)
{
	const struct simulation *simulation = &wish->simulation;
	char median[32];

	printf("plan %s on split %s: %u runs, seed %llu\n",
	    simulation->plan->name, wish->split, simulation->runs,
	    (unsigned long long)simulation->seed);
	if (simulation->recording)
		printf("traffic    %zu requests of %s, %.3g%% errors\n",
		    simulation->recording->n, wish->log,
		    simulation->errors * 100);
	else
		printf("traffic    %g/s, %.3g%% errors, %s (sigma %g), %s\n",
		    simulation->rate, simulation->errors * 100,
		    units_print_duration(
		        simulation->median, median, sizeof(median)),
		    simulation->sigma, weather_name(simulation->weather));
	printf("candidate ");
	for (size_t i = 0; i < simulation->n_effects; i++)
		printf(" %s", wish->words[i]);
	printf("%s\n", simulation->n_effects == 0 ? " like the baseline" : "");
}

static void
tell_guards(const struct plan_cfg *plan, const struct simulation_result *result)
{
	for (size_t i = 0; i < plan->n_guards; i++)
		if (result->by_guard[i] > 0)
			printf("  by guard %s  %u\n", plan->guards[i].name,
			    result->by_guard[i]);
	for (size_t i = 0; i < plan->n_guards; i++)
		if (result->seen_by[i] > 0 &&
		    plan->guards[i].action != ACTION_ROLLBACK)
			printf("  guard %s failed, which is to %s  %u\n",
			    plan->guards[i].name,
			    guard_action_name(plan->guards[i].action),
			    result->seen_by[i]);
}

static void
tell_table(
    const struct simulate_wish *wish, const struct simulation_result *result)
{
	char time[32];
	nsec_t seconds = (nsec_t)(result->mean_seconds + 0.5);

	tell_traffic(wish);
	printf("rolled back  %u of %u: %.3g%%, 95%% bound %.3g%%\n",
	    result->rolled_back, result->runs, result->rollback_rate * 100,
	    result->rollback_rate_high * 100);
	printf("promoted     %u\nheld         %u\n", result->promoted,
	    result->held);
	tell_guards(wish->simulation.plan, result);
	if (result->rolled_back == 0)
		return;
	printf("requests until rollback  mean %.0f, p50 %.0f, p95 %.0f\n",
	    result->mean, result->p50, result->p95);
	printf("  on average %.0f of the candidate, %s\n",
	    result->mean_candidates,
	    units_print_duration(
	        MAX(seconds, 1) * NSEC_PER_SEC, time, sizeof(time)));
}

/* ---- the command ---- */

static bool
read_log(
    struct args *args, struct simulate_wish *wish, struct recording *recording)
{
	struct err err;
	size_t bad = 0;

	if (wish->log == NULL)
		return true;
	if (!replay_read(wish->log, wish->split, recording, &err)) {
		args_refuse(args, "%s", err.text);
		return false;
	}
	for (size_t i = 0; i < recording->n; i++)
		bad += recording->at[i].is_bad;
	wish->simulation.recording = recording;
	wish->simulation.errors = (double)bad / (double)recording->n;
	return true;
}

static int
run(struct args *args, struct simulate_wish *wish)
{
	struct diags diags = {0};
	struct config *config = config_load(wish->path, &diags);
	struct recording recording = {0};
	struct simulation_result result;
	int code = EXIT_USAGE;

	if (!config)
		diags_print(&diags, stderr, false);
	else if (find_plan(args, wish, config) &&
	         read_log(args, wish, &recording)) {
		simulate(&wish->simulation, &result);
		if (wish->json)
			tell_json(&result);
		else
			tell_table(wish, &result);
		code = fflush(stdout) == 0 ? EXIT_OK : EXIT_INTERNAL;
	}
	free(recording.at);
	diags_release(&diags);
	config_free(&config);
	return code;
}

int
cmd_simulate(struct args *args)
{
	struct simulate_wish wish = {.simulation = {.rate = 1000,
	                                 .errors = 0.005,
	                                 .median = 20 * NSEC_PER_MSEC,
	                                 .sigma = 0.5,
	                                 .runs = 100,
	                                 .seed = 1}};

	wish.simulation.effects = wish.effects;
	for (int key; (key = args_next(args)) != ARG_END;) {
		int code = take(args, key, &wish);

		if (code != EXIT_OK)
			return code;
	}
	if (!wish.path)
		return args_refuse(args, "which file? Say -c FILE");
	if (wish.log && wish.is_synthetic)
		return args_refuse(args,
		    "--log brings its own traffic: no --rps, --errors, "
		    "--latency or --weather");
	return run(args, &wish);
}
