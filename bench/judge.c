/*
 * The figures of the judge, by the code that decides in production: how soon
 * it sees what, how seldom it sees what is not there, and what a tick costs.
 * Everything but the cost is simulated with a seed, so it is the same on every
 * machine.
 *
 *	judge [--short] [--markdown] [--runs N]
 *
 * N healthy rollouts of two hours each, shared out over four kinds of
 * weather; 10000 without, 80 with --short. Exit 1 when a figure misses its
 * limit.
 */
#include "routing/judge.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "routing/rollout.h"
#include "routing/simulate.h"

/* ---- the plan that the documentation calls standard ---- */

#define MINUTE (60 * NSEC_PER_SEC)
#define PP(x)                                                                  \
	{                                                                      \
		INCREASE_ABSOLUTE, (x) / 100.0                                 \
	}
#define PERCENT(x)                                                             \
	{                                                                      \
		INCREASE_RELATIVE, (x) / 100.0                                 \
	}

enum { ERRORS, LATENCY, SLO, SHAPE, FUSE, COMPLAINTS, GUARDS };

static char words[][12] = {"errors", "latency", "slo", "shape", "fuse",
    "complaints", "complaint", "preview", "canary", "quarter", "half", "bake",
    "standard"};

/* clang-format off */
static struct guard_cfg guards[GUARDS] = {
	[ERRORS] = {.name = words[0], .metric = GUARD_ERRORS, .max_increase = PP(2), .tolerance = PP(0.5), .action = ACTION_ROLLBACK},
	[LATENCY] = {.name = words[1], .metric = GUARD_LATENCY, .max_increase = PERCENT(20), .tolerance = PERCENT(5), .action = ACTION_ROLLBACK},
	[SLO] = {.name = words[2], .metric = GUARD_ERRORS, .max_rate = 0.01, .window = 5 * MINUTE, .action = ACTION_HOLD},
	[SHAPE] = {.name = words[3], .metric = GUARD_SHAPE, .action = ACTION_OBSERVE},
	[FUSE] = {.name = words[4], .metric = GUARD_EXCESS_FAILURES, .max = 500, .action = ACTION_ROLLBACK},
	[COMPLAINTS] = {.name = words[5], .metric = GUARD_SIGNAL, .signal = words[6], .max = 3, .window = 30 * MINUTE, .action = ACTION_ROLLBACK},
};
static struct phase_cfg phases[] = {
	{.name = words[7]},
	{.name = words[8], .weight = 500, .hold = 30 * MINUTE, .min_requests = 2000, .until = UNTIL_PROVEN, .timeout = 240 * MINUTE},
	{.name = words[9], .weight = 2500, .ramp = 2 * MINUTE, .hold = 15 * MINUTE},
	{.name = words[10], .weight = 5000, .ramp = 2 * MINUTE, .hold = 15 * MINUTE},
	{.name = words[11], .weight = 9900, .ramp = 5 * MINUTE, .hold = 60 * MINUTE},
};
/* clang-format on */

static struct plan_cfg plan = {
    .name = words[12],
    .phases = phases,
    .n_phases = sizeof(phases) / sizeof(phases[0]),
    .guards = guards,
    .n_guards = GUARDS,
    .false_rollback = 0.001,
    .false_pass = 0.05,
};

/* ---- the table ---- */

static bool is_markdown, all_fine = true;

static void
print_head(void)
{
	if (is_markdown)
		printf("| what | measured | at most | |\n|---|---|---|---|\n");
	else
		printf("%-44s  %-42s  %s\n", "what", "measured", "at most");
}

static void
print_row(const char *what, const char *measured, const char *limit, bool fine)
{
	const char *word = *limit == '\0' ? "" : fine ? "ok" : "MISSED";

	all_fine &= fine;
	printf(
	    is_markdown ? "| %s | %s | %s | %s |\n" : "%-44s  %-42s  %s  %s\n",
	    what, measured, limit, word);
	fflush(stdout);
}

/* ---- simulated figures ---- */

static struct simulation
healthy(void)
{
	return (struct simulation){.plan = &plan,
	    .rate = 1000,
	    .errors = 0.005,
	    .median = 20 * NSEC_PER_MSEC,
	    .sigma = 0.5,
	    .seed = 20260822};
}

enum { RUNS_MAX = 100000 };
static struct simulated runs[RUNS_MAX];

static void
run_all(const struct simulation *simulation, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		simulate_run(simulation, i, &runs[i]);
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread {
	double mean, p50, p95, max;
	bool is_all; /* every run went back, by the guard that was meant */
};

static struct spread
spread_of(unsigned n, int guard, bool of_candidates)
{
	double *at = calloc(n, sizeof(*at));
	struct spread spread = {.is_all = true};

	for (unsigned i = 0; i < n; i++) {
		at[i] = (double)(of_candidates ? runs[i].candidates
		                               : runs[i].requests);
		spread.mean += at[i] / n;
		spread.is_all &= runs[i].end == SIMULATED_ROLLED_BACK &&
		                 (guard < 0 || runs[i].guard == guard);
	}
	qsort(at, n, sizeof(*at), by_size);
	spread.p50 = at[(n - 1) / 2];
	spread.p95 = at[(unsigned)ceil(0.95 * n) - 1];
	spread.max = at[n - 1];
	free(at);
	return spread;
}

/* Requests until the rollback; limits of 0 are none. */
static void
detect(const char *what, const char *effect_words, double sigma,
    double mean_limit, double p95_limit, unsigned n)
{
	struct simulation simulation = healthy();
	struct effect effect;
	struct spread spread;
	struct err err;
	char measured[96], limit[64] = "";

	if (!effect_parse((struct span){effect_words, strlen(effect_words)},
	        &effect, &err))
		abort();
	simulation.sigma = sigma;
	simulation.effects = &effect;
	simulation.n_effects = 1;
	run_all(&simulation, n);
	spread = spread_of(n, -1, false);
	snprintf(measured, sizeof(measured), "mean %.0f, p50 %.0f, p95 %.0f",
	    spread.mean, spread.p50, spread.p95);
	if (mean_limit > 0 && p95_limit > 0)
		snprintf(limit, sizeof(limit), "%.0f, p95 %.0f", mean_limit,
		    p95_limit);
	else if (mean_limit > 0)
		snprintf(limit, sizeof(limit), "%.0f", mean_limit);
	print_row(what, measured, limit,
	    spread.is_all && (mean_limit == 0 || spread.mean <= mean_limit) &&
	        (p95_limit == 0 || spread.p95 <= p95_limit));
}

static void
detect_dead(unsigned n)
{
	struct simulation simulation = healthy();
	struct effect effect = {.kind = EFFECT_ERRORS, .by = 1, .share = 1};
	struct spread spread;
	char measured[96];

	simulation.effects = &effect;
	simulation.n_effects = 1;
	run_all(&simulation, n);
	spread = spread_of(n, -1, true);
	snprintf(measured, sizeof(measured),
	    "canary requests: mean %.1f, p95 %.0f, max %.0f", spread.mean,
	    spread.p95, spread.max);
	print_row("dead canary, 5 %, 1000/s", measured, "12",
	    spread.is_all && spread.max <= 12);
}

/* A candidate exactly at the limit: how often is it called proven? */
static void
pass_at_limit(const char *what, const char *effect_words, int guard, unsigned n)
{
	struct simulation simulation = healthy();
	struct effect effect;
	struct err err;
	char measured[96];
	unsigned passed = 0;

	if (!effect_parse((struct span){effect_words, strlen(effect_words)},
	        &effect, &err))
		abort();
	simulation.effects = &effect;
	simulation.n_effects = 1;
	run_all(&simulation, n);
	for (unsigned i = 0; i < n; i++)
		passed += runs[i].passed >> guard & 1;
	snprintf(measured, sizeof(measured), "%u of %u: %.2f %%", passed, n,
	    100.0 * passed / n);
	print_row(what, measured, "5 %", passed <= 0.05 * n);
}

static void
false_rollbacks(unsigned n)
{
	unsigned sum = 0, all = 0;
	char what[64], measured[96];

	for (int i = 0; i < WEATHER_COUNT; i++) {
		struct simulation simulation = healthy();
		unsigned bad = 0, promoted = 0, each = n / WEATHER_COUNT;

		simulation.weather = (enum weather)i;
		/* what that weather makes of more would be held by the slo */
		if (simulation.weather == WEATHER_PERIODIC)
			simulation.errors = 0.001;
		run_all(&simulation, each);
		for (unsigned r = 0; r < each; r++) {
			bad += runs[r].end == SIMULATED_ROLLED_BACK;
			promoted += runs[r].end == SIMULATED_PROMOTED;
		}
		sum += bad;
		all += each;
		snprintf(what, sizeof(what), "  healthy, %s",
		    weather_name(simulation.weather));
		snprintf(measured, sizeof(measured),
		    "%u of %u rolled back, %u promoted", bad, each, promoted);
		print_row(what, measured, "", true);
	}
	snprintf(measured, sizeof(measured),
	    "%u of %u: %.3f %%, 95 %% bound %.3f %%", sum, all,
	    100.0 * sum / all, 100 * rate_high(sum, all));
	/* a short run has too few to bound a thousandth: it only must have none
	 */
	print_row("false rollbacks, healthy rollouts of two hours", measured,
	    "0.1 %", all < 3000 ? sum == 0 : rate_high(sum, all) <= 0.001);
}

/* Wald's approximation against what is simulated. */
static void
forecast(unsigned n)
{
	struct judge_phase phase = {
	    .candidate = 500, .baseline = 9500, .length = 30 * MINUTE};
	struct judge_forecast seen;
	struct simulation simulation = healthy();
	struct effect effect = {.kind = EFFECT_ERRORS, .by = 0.02, .share = 1};
	struct spread spread;
	char measured[96];

	judge_foresee(&plan, ERRORS, &phase, 1000, 0.005, 0.5, &seen);
	simulation.effects = &effect;
	simulation.n_effects = 1;
	run_all(&simulation, n);
	spread = spread_of(n, -1, false);
	snprintf(measured, sizeof(measured), "%.0f predicted, %.0f simulated",
	    seen.requests, spread.mean);
	print_row("forecast of +2pp", measured, "15 % off",
	    fabs(seen.requests / spread.mean - 1) <= 0.15);
}

/* ---- cost ---- */

enum { LIVE = 50, TICKS = 2000 };

static nsec_t
clock_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

/* Fifty requests, some of which the candidate had. */
static void
fill(struct evidence_sum *delta, unsigned tick)
{
	*delta = (struct evidence_sum){0};
	for (unsigned i = 0; i < 50; i++) {
		struct arm_sum *sum = &delta->arm[i % 20 != 7];

		sum->n++;
		sum->n_latency++;
		sum->latency[150 + (i * 7 + tick) % 60]++;
		sum->shape[SHAPE_STATUS + 2]++;
		sum->shape[SHAPE_SIZE + 4 + i % 3]++;
		sum->shape[SHAPE_TYPE + SHAPE_TYPE_JSON]++;
	}
}

static double
tick_cost(struct rollout *live, bool is_quiet)
{
	static struct evidence_sum delta;
	static const struct evidence_sum nothing;
	nsec_t spent = 0;

	for (unsigned tick = 0; tick < TICKS; tick++) {
		struct rollout_input input = {
		    .is_healthy = true, .is_group_ready = true};

		if (!is_quiet)
			fill(&delta, tick);
		input.delta = is_quiet ? &nothing : &delta;
		spent -= clock_now();
		for (int i = 0; i < LIVE; i++) {
			struct rollout_output out;

			input.now = live[i].stepped_at + 50 * NSEC_PER_MSEC;
			rollout_step(&live[i], &input, &out);
			rollout_commit(&live[i], &out, input.now);
		}
		spent += clock_now();
	}
	return (double)spent / TICKS / 1000;
}

static void
cost(void)
{
	struct rollout *live = calloc(LIVE, sizeof(*live));
	char measured[96];
	double quiet, busy;

	for (int i = 0; i < LIVE; i++) {
		live[i] = (struct rollout){.share = BP_ALL, .plan = &plan};
		rollout_start(&live[i]);
		live[i].stepped_at = NSEC_PER_SEC;
	}
	tick_cost(live, false); /* into the phase, warm */
	busy = tick_cost(live, false);
	quiet = tick_cost(live, true);
	snprintf(measured, sizeof(measured),
	    "%.0f us with news, %.1f us without", busy, quiet);
	print_row("a tick of 50 live rollouts, 6 guards each", measured,
	    "200 us", busy <= 200);
	for (int i = 0; i < LIVE; i++)
		rollout_release(&live[i]);
	free(live);
}

int
main(int argc, char **argv)
{
	bool is_short = false;
	long healthy_runs = 0;
	unsigned n;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--short") == 0) {
			is_short = true;
		} else if (strcmp(argv[i], "--markdown") == 0) {
			is_markdown = true;
		} else if (strcmp(argv[i], "--runs") == 0 && i + 1 < argc) {
			healthy_runs = atol(argv[++i]);
		} else {
			fprintf(stderr,
			    "usage: judge [--short] [--markdown] [--runs N]\n");
			return 2;
		}
	}
	if (healthy_runs <= 0)
		healthy_runs = is_short ? 80 : 10000;
	if (healthy_runs > RUNS_MAX)
		healthy_runs = RUNS_MAX;
	n = is_short ? 200 : 1000;
	print_head();
	cost();
	detect_dead(n);
	detect(
	    "+2pp on 0.5 % errors, 5 %", "errors:+2pp", 0.5, 32000, 65000, n);
	detect("+20 % latency, sigma 0.5", "latency:+20%", 0.5, 8000, 0, n);
	detect("  +20 % latency, sigma 1", "latency:+20%", 1, 0, 0, n / 2);
	detect("  3 % of answers ten times slower", "latency:+900%,share=3%",
	    0.5, 0, 0, n / 2);
	detect("  hung canary", "hang:100%", 0.5, 0, 0, n / 2);
	detect("  +2pp after 20 minutes", "errors:+2pp,after=20m", 0.5, 0, 0,
	    n / 10);
	forecast(n);
	pass_at_limit("false passes at +2pp", "errors:+2pp", ERRORS, n);
	pass_at_limit(
	    "false passes at +20 % latency", "latency:+20%", LATENCY, n);
	false_rollbacks((unsigned)healthy_runs);
	return all_fine ? 0 : 1;
}
