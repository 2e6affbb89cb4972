/*
 * Writing families of metrics in either text format. One family at a time:
 * begin, samples, next family. Label values are escaped; labels are given as
 * pairs and never come from request data.
 */
#ifndef WEIR_ADMIN_EXPOSITION_H
#define WEIR_ADMIN_EXPOSITION_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "routing/routing.h"

enum family { FAMILY_COUNTER, FAMILY_GAUGE, FAMILY_HISTOGRAM };

struct exposition {
	FILE *out;        /* borrowed */
	bool is_open;     /* OpenMetrics */
	const char *name; /* of the current family, without _total */
	enum family type;
};

struct label {
	const char *key, *value; /* key NULL ends a list */
};

/* `name` of a counter is without its _total. */
void family_begin(
    struct exposition *x, enum family type, const char *name, const char *help);
void family_count(
    struct exposition *x, const struct label *labels, uint64_t value);
void family_value(
    struct exposition *x, const struct label *labels, double value);
void family_histogram(struct exposition *x, const struct label *labels,
    const struct histogram_sum *sum);
void exposition_end(struct exposition *x);

#endif
