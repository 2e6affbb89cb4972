/*
 * One log-linear histogram for statistics, judge, CLI and metrics: base-2
 * exponential, schema 4 of OpenTelemetry and Prometheus native histograms:
 * bucket i holds (edge(i-1), edge(i)], edge(i) = 2^(i/16) * 16.384 us (2^14 ns), so a
 * value read back as the bucket's geometric middle is at most 2.2 % off.
 * Single writer per histogram, relaxed stores; any thread may read.
 */
#ifndef WEIR_ROUTING_HISTOGRAM_H
#define WEIR_ROUTING_HISTOGRAM_H

#include <stdatomic.h>
#include <stdint.h>

#include "config/units.h"

enum {
	HISTOGRAM_SUBS = 16,   /* buckets per octave */
	HISTOGRAM_FIRST = 14,  /* 2^14 ns = 16.4 us: bucket 0 holds all below */
	HISTOGRAM_LAST = 36,   /* 2^36 ns = 68.7 s: the last bucket holds all above */
	HISTOGRAM_BUCKETS = (HISTOGRAM_LAST - HISTOGRAM_FIRST) * HISTOGRAM_SUBS + 2,
};

struct histogram {
	_Atomic uint64_t sum; /* ns */
	_Atomic uint64_t bucket[HISTOGRAM_BUCKETS];
};

struct histogram_sum {
	uint64_t count, sum; /* sum in ns */
	uint64_t bucket[HISTOGRAM_BUCKETS];
};

unsigned histogram_bucket(nsec_t value);
nsec_t histogram_edge(unsigned bucket); /* upper bound, ns */
void histogram_record(struct histogram *histogram, nsec_t value);
/* The same for a value that goes into several histograms. */
static inline void
histogram_count(struct histogram *histogram, unsigned bucket, nsec_t value)
{
	_Atomic uint64_t *n = &histogram->bucket[bucket], *sum = &histogram->sum;

	atomic_store_explicit(n,
	    atomic_load_explicit(n, memory_order_relaxed) + 1,
	    memory_order_relaxed);
	atomic_store_explicit(sum,
	    atomic_load_explicit(sum, memory_order_relaxed) +
		(value > 0 ? (uint64_t)value : 0),
	    memory_order_relaxed);
}
void histogram_add(struct histogram_sum *sum, const struct histogram *histogram);
void histogram_sum_add(struct histogram_sum *to, const struct histogram_sum *from);
/* 0 < q < 1; 0 when empty. */
nsec_t histogram_quantile(const struct histogram_sum *sum, double q);

#endif
