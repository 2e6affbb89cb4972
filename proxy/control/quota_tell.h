/*
 * Which keys of one turn the other instances are told of. All of them while
 * that are few; else those that have used the greatest part of their burst, so
 * that what an instance hears in one turn is bounded however many keys there
 * are and however many instances.
 */
#ifndef WEIR_PROXY_QUOTA_TELL_H
#define WEIR_PROXY_QUOTA_TELL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	TOLD_MAX = 1024, /* what an instance hears in one turn */
	TOLD_MIN = 32,   /* ... and tells, among however many */
};

struct telling {
	double least;
	size_t n_least; /* of those that have used just so much */
};

/* `parts`: what each key has used of its burst; in another order afterwards. */
struct telling telling_of(double *parts, size_t n, uint32_t instances);
/* Asked once for each of them. */
bool telling_takes(struct telling *telling, double part);

#endif
