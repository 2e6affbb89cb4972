/*
 * Evidence: what the two arms of a split showed, as counters of the workers
 * and as their sum. The arms are the candidate's pool and the baseline's;
 * units are first attempts that weir's own randomness assigned (weight,
 * affinity): pins, mirrors, probes and retries are none.
 *
 * Evidence belongs to one weights object: a request counts only while the
 * weights that drew it are still published, so counters of different weights
 * never mix and nothing that a request holds can outlive them.
 *
 * With affinity the unit is the client's key: counted at its first request,
 * bad at its first failure. Two keys may share a bit; evidence gets lost then
 * and never added, but an arm's `bad` may be above its `n` by as many.
 */
#ifndef WEIR_ROUTING_EVIDENCE_H
#define WEIR_ROUTING_EVIDENCE_H

#include "config/span.h"
#include "routing/stats.h"

enum arm { ARM_CANDIDATE, ARM_BASELINE, ARM_COUNT };
const char *arm_name(enum arm arm); /* "canary", "baseline": the words of the evidence object */

/*
 * What an answer looked like, as three independent marginals in one array:
 * status class, size of the body, content type. "None" is an entry of each.
 */
enum {
	SHAPE_STATUS = 0, SHAPE_STATUS_N = 6, /* status / 100; 0: no answer */
	SHAPE_SIZE = SHAPE_STATUS + SHAPE_STATUS_N, SHAPE_SIZE_N = 12, /* 0: empty; i: body bytes in [4^(i+1), 4^(i+2)), first and last open */
	SHAPE_TYPE = SHAPE_SIZE + SHAPE_SIZE_N, SHAPE_TYPE_N = 8, /* enum shape_type */
	SHAPE_COUNT = SHAPE_TYPE + SHAPE_TYPE_N,
};
enum shape_type {
	SHAPE_TYPE_NONE, SHAPE_TYPE_JSON, SHAPE_TYPE_HTML, SHAPE_TYPE_TEXT, SHAPE_TYPE_SCRIPT,
	SHAPE_TYPE_IMAGE, SHAPE_TYPE_GRPC, SHAPE_TYPE_OTHER,
};
unsigned shape_size(uint64_t bytes);           /* SHAPE_SIZE .. */
unsigned shape_type(struct span content_type); /* SHAPE_TYPE .. */
const char *shape_name(unsigned shape);        /* "status 2xx", "size 1 to 4 KiB", "type json" */

/* ---- the workers' side ---- */

/* One worker's share of one arm. */
struct arm_cell {
	alignas(CACHE_LINE) counter_t n; /* units whose fate is known */
	counter_t bad;                   /* failures blamed on the pool */
	counter_t slow;                  /* counted by their age while still in flight; are in the histogram too */
	counter_t shielded;              /* failures that a retry on stable kept from the client */
	counter_t shape[SHAPE_COUNT];
	struct histogram latency;        /* dispatch of the first attempt to the answer's first byte */
};

struct evidence {
	uint32_t candidate, baseline; /* the split's slots */
	_Atomic nsec_t cut;           /* a request in flight for longer counts as slow at once; 0: none (yet) */
	_Atomic uint32_t alarms;      /* the candidate's failures since control looked */
	unsigned workers;
	struct arm_cell *cells;       /* owned: [workers * ARM_COUNT] */
	struct evidence_keys *keys;   /* counted: shared by the steps of a phase; NULL without affinity */
};

/* One bit per hashed key, set by whoever counts it first. */
enum { EVIDENCE_KEY_BITS = 1 << 20, EVIDENCE_KEY_WORDS = EVIDENCE_KEY_BITS / 64 };
struct evidence_keys {
	uint32_t refs; /* control thread: evidence that has it */
	_Atomic uint64_t seen[EVIDENCE_KEY_WORDS], failed[EVIDENCE_KEY_WORDS];
};

enum { EVIDENCE_ALARM = 3 }; /* failures of the candidate that are worth a look at once */

/* ---- the control thread's side ---- */

struct arm_sum {
	uint64_t n, bad, slow, shielded;
	uint64_t shape[SHAPE_COUNT];
	uint64_t latency[HISTOGRAM_BUCKETS];
	uint64_t n_latency;
};
struct evidence_sum {
	struct arm_sum arm[ARM_COUNT];
};

/* `now - before` and `into + delta`, member by member: evidence adds up over workers, weights and instances. */
void evidence_subtract(const struct evidence_sum *now, const struct evidence_sum *before, struct evidence_sum *out);
void evidence_add(struct evidence_sum *into, const struct evidence_sum *delta);

struct split;
/* Sums the workers' cells of the published weights; false when these are not judged (nothing is written). */
bool split_evidence_read(const struct split *split, struct evidence_sum *out);
/* Is there more than was `seen`? A look that costs a few words instead of all. */
bool split_evidence_moved(const struct split *split, const struct evidence_sum *seen);
/* Where the age cut stands from now on. */
void split_evidence_cut(struct split *split, nsec_t cut);

#endif
