/* The clock of deadlines and of how long things took: it never goes back. */
#ifndef WEIR_PROXY_CLOCK_H
#define WEIR_PROXY_CLOCK_H

#include <time.h>

#include "config/config.h"

static inline nsec_t
clock_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

#endif
