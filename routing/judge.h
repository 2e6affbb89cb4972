/*
 * The judge: is the candidate worse than the baseline that serves at the same
 * moment? Tests by betting, valid at every look: under the guard's null
 * hypothesis the probability that it ever says "fail" is at most its alpha,
 * however often one looks (Ville's inequality; Shin, Ramdas and Rinaldo 2024
 * for the mixture over change times). Pure: time and counters are arguments.
 *
 * One judge serves one rollout. Alpha is split evenly over the plan's
 * comparing and absolute guards that roll back, and over its phases with a
 * weight above 0; guards that hold or observe have the same share and take
 * nothing from the others.
 * All functions: one thread at a time.
 */
#ifndef WEIR_ROUTING_JUDGE_H
#define WEIR_ROUTING_JUDGE_H

#include "config/config.h"
#include "routing/evidence.h"

enum verdict { VERDICT_FAIL = -1, VERDICT_UNDECIDED = 0, VERDICT_PASS = 1 };
const char *verdict_name(enum verdict verdict); /* "fail" "undecided" "pass" */

struct judge; /* judge.c */
/* The plan is borrowed and must outlive the judge. */
struct judge *judge_new(const struct plan_cfg *plan);
void judge_free(struct judge **judge);

/* What holds for one phase. */
struct judge_phase {
	bp_t candidate, baseline; /* the arms' weights now; either may be 0: nothing can be compared then */
	nsec_t length;            /* expected: the checkpoints of late regressions stand at 60ths of it */
	/*
	 * First-byte latencies of the baseline before the phase, for the scores of
	 * the latency guard. With fewer than JUDGE_CALIBRATION of them the judge
	 * keeps what it learned in the phases before, or learns from the baseline's
	 * first ones of this phase: roughly at once, better as they become more.
	 */
	const struct histogram_sum *calibration; /* borrowed for the call; may be NULL */
	/*
	 * The split's requests and failures before the rollout, 0 when unknown: an
	 * absolute guard does not ask for less than what was there already.
	 */
	uint64_t before_n, before_bad;
	uint64_t min_requests; /* that the phase asks of the candidate anyway: no guard tells of fewer to come */
};
enum { JUDGE_CALIBRATION = 2000 };
/* A phase begins: comparing guards start anew; fuse, absolute rates and signals go on. */
void judge_begin(struct judge *judge, const struct judge_phase *phase, nsec_t now);
/* A step of a ramp within the phase: tables for the new weights, the wealth so far is kept. */
void judge_reweigh(struct judge *judge, bp_t candidate, bp_t baseline);

struct judge_news {
	nsec_t now;
	const struct evidence_sum *delta; /* since the last look, all under the present weights */
	const uint64_t *signals;          /* by guard: events within its window; NULL: none */
	bool is_blind;                    /* the process stood still or the clock jumped: count, but bet, add to no fuse and decide nothing from this look */
};
void judge_look(struct judge *judge, const struct judge_news *news);

/* The age from which a request in flight is slow (evidence.cut); 0: not known yet. */
nsec_t judge_cut(const struct judge *judge);

/* ---- what it found ---- */

/* All numbers that the evidence object shows. */
struct finding {
	const struct guard_cfg *guard; /* borrowed from the plan */
	enum verdict verdict;          /* of this phase; for absolute guards: fail while above */
	const char *test;              /* "ipw-betting/1", "ipw-latency/1", "ipw-shape/1", "one-sample-betting/1", "count/1" */
	double alpha;                  /* its share; 0 for counts */
	double weight[ARM_COUNT];      /* probabilities, summing to 1 */
	uint64_t n[ARM_COUNT], bad[ARM_COUNT]; /* of the phase; count guards: of their window */
	double rate[ARM_COUNT];        /* bad / n; latency: see below */
	bool has_increase;             /* the three below mean something */
	bool is_relative;              /* of the baseline's rate or latency, else a difference of rates */
	double estimate, low, high;    /* 95 %, for people; never what decides */
	nsec_t p50[ARM_COUNT], p95[ARM_COUNT], p99[ARM_COUNT]; /* latency guards */
	double log_e, log_needed;      /* fails at log_e >= log_needed; natural logarithms. Counts: log(1 + count), fails above */
	double log_pass, log_pass_needed;
	double excess;                 /* excess_failures: failures above what the baseline's rate explains; signal: events */
	const char *shape;             /* shape guards: the category that moved most; else NULL */
	/* undecided: candidate requests so far, of about how many, and when */
	uint64_t so_far, of_about;     /* of_about 0: cannot be said yet */
	nsec_t to_go;                  /* at the present rate; 0: cannot be said */
	const char *why;               /* undecided, in a word: "no traffic", "warming up", "calibrating", "no baseline", "answers are missing", "" */
};
size_t judge_n(const struct judge *judge); /* guards of the plan */
void judge_finding(const struct judge *judge, size_t guard, nsec_t now, struct finding *out);
/* finding.verdict without the rest: what every step of a rollout asks. */
enum verdict judge_guard(const struct judge *judge, size_t guard);
/* Of all guards with ACTION_ROLLBACK that can be proven at these weights: VERDICT_PASS when each passed. */
enum verdict judge_verdict(const struct judge *judge);
/* "37 of 200 requests, about 4m10s at the current rate"; "fail: 2.8% against 0.5%, ..." */
char *finding_print(const struct finding *finding, char *buf, size_t cap);

/* ---- durability and proof ---- */

/*
 * All that the judge knows of the phase as numbers (counters below 2^53), in
 * an order that only judge_restore knows. Returns how many; writes at most cap.
 */
size_t judge_save(const struct judge *judge, double *out, size_t cap);
/* After judge_begin with the same plan and phase. False: not of this shape; nothing is restored. */
bool judge_restore(struct judge *judge, const double *in, size_t n, nsec_t now);

/*
 * The trail of a guard: the counters at each checkpoint of the phase, from
 * which anybody can recompute the e-value: rows of `columns` numbers. What
 * finding says must follow from it: judge_recompute does, and `weirctl audit
 * verify` compares. Returns how many numbers there are, writes at most cap; 0:
 * there is no trail (none yet, or more rows than are kept).
 */
size_t judge_trail(const struct judge *judge, size_t guard, double *out, size_t cap, size_t *columns_out);
/* The fail side's log e-value again, from a trail of n numbers and the finding's guard and test alone. False: the trail is not one. */
bool judge_recompute(const struct guard_cfg *guard, const char *test, const double *trail, size_t n, size_t columns, double *log_e_out);
/*
 * Units and failures by arm that the trail holds. False: of this test's
 * findings they are shown by other counts (latency, shape, windows).
 */
bool judge_recount(const char *test, const double *trail, size_t n, size_t columns,
    uint64_t n_out[ARM_COUNT], uint64_t bad_out[ARM_COUNT]);

/* ---- planning: what a phase can see (Wald's approximation) ---- */

struct judge_forecast {
	double candidate_requests, requests; /* until detection of max_increase, on average; HUGE_VAL: never */
	double smallest;        /* the smallest increase that the phase's requests detect on average; HUGE_VAL: none. Absolute, or relative for latency */
	double requests_to_pass; /* all traffic, canary equal to baseline */
	bool can_fire;          /* within `requests` of the phase, and there is a baseline */
};
/* `rate` requests a second over both arms, `base` the baseline's failure rate (latency: `sigma` of the logarithm). */
void judge_foresee(const struct plan_cfg *plan, size_t guard, const struct judge_phase *phase,
    double rate, double base, double sigma, struct judge_forecast *out);

#endif
