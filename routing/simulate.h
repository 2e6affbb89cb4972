/*
 * Rollouts in virtual time: the machine and the judge that decide in
 * production, over synthetic traffic or a recorded one, as often as one
 * likes. Gates are open, nobody intervenes. The same seed gives the same runs.
 */
#ifndef WEIR_ROUTING_SIMULATE_H
#define WEIR_ROUTING_SIMULATE_H

#include "config/config.h"
#include "routing/evidence.h"

/* What is wrong with the candidate. */
enum effect_kind {
	EFFECT_ERRORS,  /* more failures: by points, or relative */
	EFFECT_LATENCY, /* slower: relative */
	EFFECT_HANG,    /* answers that never come */
	EFFECT_SIZE,    /* answers of another size */
};
struct effect {
	enum effect_kind kind;
	bool is_relative;
	double by;
	double share; /* of the candidate's requests, 0..1 */
	nsec_t after; /* since it first had traffic */
};
/*
 * "errors:+2pp" "errors:+50%" "latency:+20%" "hang:5%" "size:10%", then
 * optionally ",share=3%" (latency, errors) and ",after=10m".
 */
bool effect_parse(struct span text, struct effect *out, struct err *err);

/* What happens to both arms alike. */
enum weather {
	WEATHER_STEADY,
	WEATHER_DRIFT,    /* rate, errors and latency by +-50 %, in 20 minutes once around */
	WEATHER_PERIODIC, /* a second of every ten: five times the traffic, ten times the errors, 40 % slower */
	WEATHER_OUTAGE,   /* a shared dependency: 3 % more errors for 10 minutes of each hour */
	WEATHER_COUNT
};
bool weather_of(const char *word, enum weather *out); /* "steady" "drift" "periodic" "outage" */
const char *weather_name(enum weather weather);

/* One request of a recorded access log. */
struct recorded {
	nsec_t at;         /* since the first; ascending */
	nsec_t first_byte; /* < 0: not known */
	uint64_t bytes;
	uint16_t status;
	bool is_bad;
};
struct recording {
	struct recorded *at; /* owned by whoever reads it */
	size_t n;
	nsec_t length;       /* then it begins again */
};

struct simulation {
	const struct plan_cfg *plan; /* borrowed */
	double rate, errors;         /* requests a second over both arms; a share */
	nsec_t median;               /* of the latency, with the sigma of its logarithm */
	double sigma;
	enum weather weather;
	const struct recording *recording; /* borrowed; NULL: synthetic */
	const struct effect *effects;
	size_t n_effects;
	unsigned runs;
	uint64_t seed;
};

enum simulated_end { SIMULATED_PROMOTED, SIMULATED_ROLLED_BACK, SIMULATED_HELD };
/* How one run went. */
struct simulated {
	enum simulated_end end;
	int guard;                     /* what rolled it back; -1: none */
	uint32_t phase;
	uint64_t requests, candidates; /* since the candidate first had traffic; all, and its own */
	nsec_t time;
	uint32_t passed, failed;       /* bit per guard: at some step it said so */
};
void simulate_run(
    const struct simulation *simulation, uint64_t run, struct simulated *out);

struct simulation_result {
	unsigned runs, rolled_back, promoted, held;
	double rollback_rate, rollback_rate_high; /* one-sided 95 % (Clopper and Pearson) */
	double pass_rate;
	/* of those rolled back; 0 without any */
	double mean, p50, p95;
	double mean_candidates, mean_seconds;
	unsigned by_guard[PLAN_GUARDS_MAX]; /* rolled back by it */
	unsigned seen_by[PLAN_GUARDS_MAX];  /* runs in which it failed, whatever its action */
};
void simulate(
    const struct simulation *simulation, struct simulation_result *out);

/* The greatest p for which `k` or less of `n` still happens with 5 %. */
double rate_high(unsigned k, unsigned n);

#endif
