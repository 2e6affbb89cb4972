/* As many workers as there are CPUs, by a kernel of our own. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "proxy/control/process.h"

static unsigned possible, allowed;

/* As Linux does it: the last of those that may be are ours. */
int
sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	(void)pid;
	if (size * 8 < possible) {
		errno = EINVAL;
		return -1;
	}
	memset(set, 0, size);
	for (unsigned i = possible - allowed; i < possible; i++)
		CPU_SET_S(i, size, set);
	return 0;
}

static unsigned
workers_of(unsigned n_possible, unsigned n_allowed, unsigned configured)
{
	struct config config = {.workers = configured};

	possible = n_possible;
	allowed = n_allowed;
	return process_workers(&config);
}

static void
test_process__has_a_worker_for_each_cpu(void **state)
{
	(void)state;
	assert_int_equal(workers_of(8, 3, 0), 3);
	assert_int_equal(workers_of(1024, 7, 0), 7);
	assert_int_equal(workers_of(1025, 7, 0), 7);
	assert_int_equal(workers_of(8192, 40, 0), 40);
	assert_int_equal(workers_of(8192, 8192, 0), PROCESS_WORKERS_MAX);
}

static void
test_process__does_as_it_is_told(void **state)
{
	(void)state;
	assert_int_equal(workers_of(8, 8, 2), 2);
	assert_int_equal(workers_of(1 << 20, 8, 0), 1); /* it cannot tell */
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_process__has_a_worker_for_each_cpu),
	    cmocka_unit_test(test_process__does_as_it_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
