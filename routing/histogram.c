/*
 * Log-linear buckets without a logarithm: the value is shifted until its
 * leading bit stands at the top, the five bits behind it say how many of the
 * sixteen edges of its octave lie surely below, and one comparison settles
 * the rest. Edges are floors of 2^(k + j/16): for whole nanoseconds that is
 * the same as the real number.
 */
#include "routing/histogram.h"

#include <assert.h>
#include <math.h>

/* floor(2^(63 + j/16)); the last one is above everything. */
static const uint64_t edge_bits[HISTOGRAM_SUBS + 1] = {
    UINT64_C(0x8000000000000000), UINT64_C(0x85aac367cc487b14),
    UINT64_C(0x8b95c1e3ea8bd6e6), UINT64_C(0x91c3d373ab11c336),
    UINT64_C(0x9837f0518db8a96f), UINT64_C(0x9ef5326091a111ad),
    UINT64_C(0xa5fed6a9b15138ea), UINT64_C(0xad583eea42a14ac6),
    UINT64_C(0xb504f333f9de6484), UINT64_C(0xbd08a39f580c36be),
    UINT64_C(0xc5672a115506dadd), UINT64_C(0xce248c151f8480e3),
    UINT64_C(0xd744fccad69d6af4), UINT64_C(0xe0ccdeec2a94e111),
    UINT64_C(0xeac0c6e7dd24392e), UINT64_C(0xf5257d152486cc2c), UINT64_MAX};

/* By the five bits behind the leading one: edges below all such values. A
   32nd of an octave never holds two edges (the narrowest gap is 4.4 %). */
static const uint8_t edges_below[32] = {0, 1, 2, 3, 3, 4, 4, 5, 6, 6, 7, 7, 8,
    8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13, 13, 14, 14, 15, 15, 15, 16, 16};

unsigned
histogram_bucket(nsec_t value)
{
	unsigned octave, sub;
	uint64_t bits;

	if (value <= INT64_C(1) << HISTOGRAM_FIRST)
		return 0;
	if (value > INT64_C(1) << HISTOGRAM_LAST)
		return HISTOGRAM_BUCKETS - 1;
	octave = 63 - (unsigned)__builtin_clzll((uint64_t)value);
	bits = (uint64_t)value << (63 - octave);
	sub = edges_below[bits >> 58 & 31];
	sub += edge_bits[sub] < bits;
	return (octave - HISTOGRAM_FIRST) * HISTOGRAM_SUBS + sub;
}

nsec_t
histogram_edge(unsigned bucket)
{
	unsigned octave = HISTOGRAM_FIRST + bucket / HISTOGRAM_SUBS;

	assert(bucket < HISTOGRAM_BUCKETS);
	if (bucket == HISTOGRAM_BUCKETS - 1)
		return INT64_MAX;
	return (nsec_t)(edge_bits[bucket % HISTOGRAM_SUBS] >> (63 - octave));
}

void
histogram_record(struct histogram *histogram, nsec_t value)
{
	histogram_count(histogram, histogram_bucket(value), value);
}

void
histogram_add(struct histogram_sum *sum, const struct histogram *histogram)
{
	struct histogram *from = (struct histogram *)(uintptr_t)histogram;

	sum->sum += atomic_load_explicit(&from->sum, memory_order_relaxed);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = atomic_load_explicit(
		    &from->bucket[i], memory_order_relaxed);

		sum->bucket[i] += n;
		sum->count += n;
	}
}

void
histogram_sum_add(struct histogram_sum *to, const struct histogram_sum *from)
{
	to->count += from->count;
	to->sum += from->sum;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++)
		to->bucket[i] += from->bucket[i];
}

/* The geometric middle of the bucket that holds the ceil(q * count)-th value;
   of the last one, which has no upper end, its lower edge. */
nsec_t
histogram_quantile(const struct histogram_sum *sum, double q)
{
	uint64_t rank, seen = 0;
	unsigned i;

	if (sum->count == 0)
		return 0;
	rank = (uint64_t)ceil(q * (double)sum->count);
	if (rank < 1)
		rank = 1;
	if (rank > sum->count)
		rank = sum->count;
	for (i = 0; i < HISTOGRAM_BUCKETS - 1; i++) {
		seen += sum->bucket[i];
		if (seen >= rank)
			break;
	}
	if (i == HISTOGRAM_BUCKETS - 1)
		return INT64_C(1) << HISTOGRAM_LAST;
	return (nsec_t)exp2(
	    HISTOGRAM_FIRST + ((double)i - 0.5) / HISTOGRAM_SUBS);
}
