/*
 * What both origins are outside of their protocols: ports with names, from the
 * command line, counters that a driver reads, paths that ask for a size.
 *
 *   [-c COUNTERS] [-a ADDRESS] PORT=NAME ...
 *
 * COUNTERS is a file shared by mmap, one struct counter a port, which a driver
 * reads (and zeroes) without a request: exact counts between two instants.
 *
 * Paths: /128 /64k /1m, /bytes/N for any N up to 64 MiB; anything else is
 * answered as /128, so that routes of any shape can be tried.
 */
#ifndef WEIR_BENCH_ORIGIN_PORTS_H
#define WEIR_BENCH_ORIGIN_PORTS_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

enum { PORTS_MAX = 16 };

/* Read by the driver: keep in step with proxies.py. */
struct counter {
	uint64_t requests;
	uint64_t
	    first_ns; /* CLOCK_MONOTONIC of the first since it was zeroed */
	uint64_t last_ns;
};

struct port {
	int fd; /* listens, without blocking */
	const char *name;
	struct counter *counter;
};

/* Says what by errno, and exits. */
_Noreturn void fail(const char *what);
/* Listens as the command line says, or exits; returns how many. */
size_t ports_open(int argc, char **argv, struct port ports[PORTS_MAX]);
/* The size of the body that a path asks for. */
size_t path_body(const char *path, size_t n);

static inline void
count(struct counter *counter)
{
	struct timespec t;
	uint64_t now;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
	if (__atomic_load_n(&counter->first_ns, __ATOMIC_RELAXED) == 0)
		__atomic_store_n(&counter->first_ns, now, __ATOMIC_RELAXED);
	__atomic_store_n(&counter->last_ns, now, __ATOMIC_RELAXED);
	__atomic_store_n(
	    &counter->requests, counter->requests + 1, __ATOMIC_RELAXED);
}

#endif
