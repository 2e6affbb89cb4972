/*
 * A ring of samples for rates and two older histograms for latencies. When a
 * counter goes back (its series left the registry) everything begins anew.
 */
#include "admin/meter.h"

static const nsec_t sample_every = 900 * NSEC_PER_MSEC;
static const nsec_t rotate_every = 10 * NSEC_PER_SEC;

static unsigned
newest(const struct meter *meter)
{
	return (meter->n - 1) % METER_SAMPLES;
}

static unsigned
oldest(const struct meter *meter)
{
	return meter->n <= METER_SAMPLES ? 0 : meter->n % METER_SAMPLES;
}

void
meter_feed(struct meter *meter, nsec_t at, uint64_t requests, uint64_t failures,
    const struct histogram_sum *latency)
{
	unsigned i;

	if (meter->n > 0 && requests < meter_requests(meter))
		*meter = (struct meter){0};
	if (meter->n == 0) {
		meter->old = meter->older = *latency;
		meter->rotated = at;
	}
	if (at - meter->rotated >= rotate_every) {
		meter->older = meter->old;
		meter->old = meter->now;
		meter->rotated = at;
	}
	meter->now = *latency;
	/* the newest sample is replaced until it is old enough to stand */
	if (meter->n < 2 ||
	    meter->ring[newest(meter)].at -
	            meter->ring[(meter->n - 2) % METER_SAMPLES].at >=
	        sample_every)
		meter->n++;
	i = newest(meter);
	meter->ring[i].at = at;
	meter->ring[i].requests = requests;
	meter->ring[i].failures = failures;
}

uint64_t
meter_requests(const struct meter *meter)
{
	return meter->n ? meter->ring[newest(meter)].requests : 0;
}

uint64_t
meter_failures(const struct meter *meter)
{
	return meter->n ? meter->ring[newest(meter)].failures : 0;
}

double
meter_rate(const struct meter *meter)
{
	unsigned from = oldest(meter), to;
	nsec_t span;

	if (meter->n < 2)
		return 0;
	to = newest(meter);
	span = meter->ring[to].at - meter->ring[from].at;
	if (span <= 0)
		return 0;
	return (double)(meter->ring[to].requests - meter->ring[from].requests) *
	       NSEC_PER_SEC / (double)span;
}

double
meter_failure_share(const struct meter *meter)
{
	unsigned from = oldest(meter), to;
	uint64_t requests, failures;

	if (meter->n < 2)
		return 0;
	to = newest(meter);
	requests = meter->ring[to].requests - meter->ring[from].requests;
	if (meter->ring[to].failures < meter->ring[from].failures)
		return 0;
	failures = meter->ring[to].failures - meter->ring[from].failures;
	return requests ? (double)failures / (double)requests : 0;
}

bool
meter_quantile(const struct meter *meter, double q, nsec_t *out)
{
	struct histogram_sum window = {0};

	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		/* cells are read one by one while workers write: never below */
		if (meter->now.bucket[i] > meter->older.bucket[i])
			window.bucket[i] =
			    meter->now.bucket[i] - meter->older.bucket[i];
		window.count += window.bucket[i];
	}
	if (window.count == 0)
		return false;
	*out = histogram_quantile(&window, q);
	return true;
}
