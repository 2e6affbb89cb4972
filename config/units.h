/*
 * Units with a word for each, parsed and printed both ways. Parsers take the
 * whole span or refuse; they never read past it and never allocate.
 */
#ifndef WEIR_CONFIG_UNITS_H
#define WEIR_CONFIG_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/span.h"

typedef int64_t nsec_t; /* nanoseconds, CLOCK_MONOTONIC unless a name says wall */

#define NSEC_PER_USEC INT64_C(1000)
#define NSEC_PER_MSEC INT64_C(1000000)
#define NSEC_PER_SEC  INT64_C(1000000000)

/* Basis points: hundredths of a percent. 10000 is everything. */
typedef uint16_t bp_t;
enum { BP_ALL = 10000 };

/* How often: `count` times in `per`. */
struct rate {
	uint64_t count;
	nsec_t per;
};

bool units_rate(struct span text, struct rate *out);  /* "50/s" "100/m" "5/10s"; more than 0 */
bool units_duration(struct span text, nsec_t *out);   /* "250ms" "30s" "1h30m" "30d"; a bare number is refused */
bool units_size(struct span text, uint64_t *out);     /* "64KiB" "10MB" "4096" bytes */
bool units_percent(struct span text, bp_t *out);      /* 5 "5%" "0.25%" "33.33"; 0..100, two decimals */
bool units_integer(struct span text, int64_t *out);
/* "2pp": *is_relative_out false, 0.02; "20%": true, 0.2. The unit is mandatory; at most six decimals, 0 < value <= 10000. */
bool units_increase(struct span text, bool *is_relative_out, double *by_out);

/* Printers write at most `cap` bytes with the NUL and return `buf`. */
char *units_print_duration(nsec_t value, char *buf, size_t cap); /* "1h30m", "250ms" */
char *units_print_rate(struct rate value, char *buf, size_t cap);    /* "50/s", "5/10s" */
char *units_print_size(uint64_t value, char *buf, size_t cap);   /* "64KiB" */
char *units_print_percent(bp_t value, char *buf, size_t cap);    /* "5", "33.33" */
char *units_print_increase(bool is_relative, double by, char *buf, size_t cap); /* "2pp", "20%" */

#endif
