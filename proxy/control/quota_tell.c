/* See quota_tell.h. */
#include "proxy/control/quota_tell.h"

#include <math.h>
#include <stdlib.h>

static int
greater_first(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x < y) - (x > y);
}

struct telling
telling_of(double *parts, size_t n, uint32_t instances)
{
	struct telling telling = {.least = INFINITY};
	size_t most = instances > 0 ? TOLD_MAX / instances : 0, greater = 0;

	if (instances < 2)
		return telling; /* nobody listens */
	if (most < TOLD_MIN)
		most = TOLD_MIN;
	telling.least = 0;
	if (n <= most)
		return telling;
	qsort(parts, n, sizeof(*parts), greater_first);
	telling.least = parts[most - 1];
	while (parts[greater] > telling.least)
		greater++;
	telling.n_least = most - greater;
	return telling;
}

/* A part of 0 is a question: nothing was used. */
bool
telling_takes(struct telling *telling, double part)
{
	if (part <= 0 || part < telling->least)
		return false;
	if (part > telling->least)
		return true;
	if (telling->n_least == 0)
		return false;
	telling->n_least--;
	return true;
}
