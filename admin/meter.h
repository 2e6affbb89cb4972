/*
 * From counters that only grow to "how is it now": a rate over the last ten
 * seconds and latencies over the last ten to twenty.
 */
#ifndef WEIR_ADMIN_METER_H
#define WEIR_ADMIN_METER_H

#include <stdbool.h>

#include "routing/routing.h"

enum { METER_SAMPLES = 12 };

struct meter {
	struct {
		nsec_t at;
		uint64_t requests, failures;
	} ring[METER_SAMPLES];
	unsigned n; /* samples ever taken */
	struct histogram_sum now, old,
	    older; /* as counted: older <= old <= now */
	nsec_t rotated;
};

/* At most one sample every 900 ms is kept, so that readers may refresh as they
 * like. */
void meter_feed(struct meter *meter, nsec_t at, uint64_t requests,
    uint64_t failures, const struct histogram_sum *latency);
uint64_t meter_requests(const struct meter *meter); /* as last fed */
uint64_t meter_failures(const struct meter *meter);
double meter_rate(
    const struct meter *meter); /* per second; 0 without two samples */
double meter_failure_share(
    const struct meter *meter); /* of those requests, 0..1 */
/* False: nothing was measured in the window. */
bool meter_quantile(const struct meter *meter, double q, nsec_t *out);

#endif
