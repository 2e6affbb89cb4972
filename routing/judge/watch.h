/*
 * Inside the judge: what it keeps, and what a way of watching is. Seen by the
 * files of this folder only; the public side is judge.h.
 *
 * A guard that tests by betting is a `watch` with a `method`: how its counts
 * are gathered from the news, what odds they are bet at, how the wealths are
 * averaged. A guard that counts (fuse, signal) has no method.
 */
#ifndef WEIR_ROUTING_JUDGE_WATCH_H
#define WEIR_ROUTING_JUDGE_WATCH_H

#include "routing/judge.h"
#include "routing/judge/betting.h"

enum {
	/* Latency is judged by class: the baseline's eighths, the last one cut at p95 and p99. */
	CLASSES = 10, CLASS_P95 = 8, CLASS_P99 = 9,
	COUNTS_MAX = ARM_COUNT * SHAPE_COUNT,
	WEALTHS_MAX = SHAPE_COUNT,
	WINDOW_SLOTS = 32,
};
/* Counters beyond this stand still: doubles hold them exactly below. */
#define COUNT_MAX (UINT64_C(1) << 53)

/* Fail: against "within the tolerance". Pass: against "beyond the maximum". */
enum side { SIDE_FAIL, SIDE_PASS, SIDE_COUNT };

struct tables {
	struct odds odds;
	double body[ARM_COUNT][CLASSES][BETS]; /* latency alone */
};

struct watch;
struct method {
	const char *test;
	size_t counts;              /* of a trail's row */
	size_t wealths[SIDE_COUNT]; /* 0: that side is not tested */
	bool is_comparing;          /* needs both arms, begins anew with a phase */
	unsigned stride;            /* every how many checkpoints wealth enters */
	/* The odds at `setting`: the candidate's probability, or the limit. */
	void (*prepare)(struct tables *tables, const struct guard_cfg *guard, enum side side, double setting);
	double (*prior)(const struct guard_cfg *guard, size_t wealth);
	void (*bet)(const struct tables *tables, enum side side, const double *counts, struct wealth *wealth);
	/* The units of a look; false: none that may be judged. */
	bool (*gather)(const struct judge *judge, const struct watch *watch, const struct evidence_sum *delta, double *fail, double *pass);
};
extern const struct method method_errors, method_latency, method_shape, method_rate;
/* NULL: it counts. */
const struct method *guard_method(const struct guard_cfg *guard);
/* Of the trails' tests by name; NULL: none. */
const struct method *test_method(const char *test);

/* A window of time in slots, for both arms. */
struct window_slot {
	uint64_t n[ARM_COUNT], bad[ARM_COUNT];
};
struct window {
	nsec_t length;  /* 0: all of the rollout */
	nsec_t turn;    /* when the present slot ends */
	unsigned at;
	struct window_slot slot[WINDOW_SLOTS], sum;
};

/* How wide the chance of the baseline makes a fuse's count, see count.c. */
struct fuse {
	double failures;  /* of the candidate */
	double explained; /* by the baseline's rate */
	double variance;  /* of that by chance */
	double widest;    /* the greatest w_c / w_b so far */
};

struct watch {
	const struct guard_cfg *guard; /* borrowed from the plan */
	const struct method *method;   /* NULL: it counts */
	bool has_failed;
	enum verdict verdict;          /* as of the last look */
	/* betting */
	double setting;                /* of the tables; < 0: none made */
	struct tables tables[SIDE_COUNT];
	struct wealth *wealth[SIDE_COUNT]; /* owned: [method->wealths[side]] */
	double mass;                   /* waits for the stride */
	struct trail trail;
	unsigned shift[SIDE_COUNT];    /* latency: buckets that the candidate may be behind */
	double limit;                  /* rate: what is allowed */
	struct window *window;         /* owned: rate guards, else NULL */
	/* counting */
	struct fuse fuse;
	uint64_t events;
};

/* The buckets of a look that hold anything: most are empty. */
struct filled {
	unsigned n;
	uint16_t at[HISTOGRAM_BUCKETS];
};

struct calibration {
	uint64_t n, bucket[HISTOGRAM_BUCKETS];
	uint64_t settled; /* n when the edges were set last; 0: never */
	unsigned edge[CLASSES - 1]; /* a bucket is of class i when i edges lie below it */
	uint8_t class_of[HISTOGRAM_BUCKETS];
};

struct judge {
	const struct plan_cfg *plan; /* borrowed: outlives us by contract */
	double alpha, log_needed, log_pass_needed;
	/* the phase */
	bp_t weight[ARM_COUNT];
	double w; /* the candidate's probability within the arms; meaningless unless is_comparing */
	bool is_comparing;
	nsec_t length, begun, now;
	unsigned checkpoint;
	nsec_t next_checkpoint; /* absolute; INT64_MAX: none left */
	struct evidence_sum sum; /* of the phase */
	struct filled filled[ARM_COUNT]; /* of the present look's latencies */
	double expected, expected_latency; /* units that the weights promised the candidate */
	nsec_t reweighed;
	uint64_t n_reweighed; /* the candidate's units then */
	/* the rollout */
	nsec_t first; /* of the candidate's units; INT64_MAX: none yet */
	uint64_t rollout_n[ARM_COUNT], rollout_bad[ARM_COUNT];
	uint64_t before_n, before_bad;
	uint64_t min_requests; /* of the phase */
	struct calibration calibration;
	bool has_latency;
	struct watch *watches; /* owned: [plan->n_guards] */
};

/* The phase has a share of alpha for each guard that may roll back by chance. */
double judge_alpha(const struct plan_cfg *plan);

/* The next checkpoint, from `begun`, `length` and `checkpoint`. */
void judge_schedule(struct judge *judge);

/* ---- a watch ---- */
void watch_init(struct watch *watch, const struct guard_cfg *guard);
void watch_release(struct watch *watch);
void watch_begin(struct watch *watch); /* its bets start anew */
void watch_set(struct watch *watch, double setting);
void watch_enter(struct watch *watch, double mass, unsigned checkpoint);
void watch_look(struct judge *judge, struct watch *watch, const struct evidence_sum *delta);
bool watch_exceeds(const struct watch *watch, double log_needed);
bool watch_is_proven(const struct watch *watch, double log_needed);
double watch_log_e(const struct watch *watch);
double watch_log_pass(const struct watch *watch); /* of the part that is proven least */
size_t watch_least_proven(const struct watch *watch);
double wealths_log(const struct method *method, const struct guard_cfg *guard, const struct wealth *wealth);

bool watch_has_answers(const struct judge *judge, const struct watch *watch);
enum verdict watch_verdict(const struct judge *judge, const struct watch *watch);

/* ratio and difference that a guard allows on a side */
void guard_margin(const struct guard_cfg *guard, enum side side, double *ratio_out, double *difference_out);
bool guard_can_be_proven(const struct guard_cfg *guard);

/* ---- latency.c ---- */
unsigned latency_shift(const struct guard_cfg *guard, enum side side);
void calibration_begin(struct calibration *calibration, const struct histogram_sum *seen);
void calibration_learn(struct calibration *calibration, const uint64_t *bucket);
bool calibration_is_usable(const struct calibration *calibration);
/* The classes from the edges; false: these are none. */
bool calibration_restore(struct calibration *calibration);
double class_score(unsigned class); /* -1/2 .. 1/2 */
double latency_odd(double stake, double w, enum side side, enum arm arm, unsigned class);

/* ---- rate.c ---- */
void window_turn(struct window *window, nsec_t now);
void window_add(struct window *window, const struct evidence_sum *delta);
void rate_limit_set(struct watch *watch, uint64_t before_n, uint64_t before_bad);
void rate_decide(const struct judge *judge, struct watch *watch);
bool rate_counts_all(const struct guard_cfg *guard);

/* ---- count.c ---- */
void fuse_add(const struct judge *judge, struct watch *watch, const struct evidence_sum *delta);
double fuse_excess(const struct fuse *fuse);
double count_of(const struct watch *watch);
bool count_recompute(const struct guard_cfg *guard, const double *trail, size_t rows, size_t columns, double *log_e_out);
#define COUNT_TEST "count/1"
enum { FUSE_COUNTS = 3 };

#endif
