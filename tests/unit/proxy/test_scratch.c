/* The private directory: who may look in, and that nothing else goes with it.
 */
/* cmocka wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proxy/scratch.h"

static struct scratch
make(void)
{
	struct scratch scratch;
	struct err err;

	assert_true(scratch_init(&scratch, "test", &err));
	return scratch;
}

static void
test_scratch__only_its_owner_may_look_in(void **state)
{
	struct scratch scratch = make();
	char path[SCRATCH_FILE_MAX];
	struct err err;
	struct stat sb;

	(void)state;
	assert_int_equal(stat(scratch.dir, &sb), 0);
	assert_int_equal(sb.st_mode & 0777, 0700);
	assert_true(scratch_write(&scratch, "token", SPAN("secret"), &err));
	assert_int_equal(stat(scratch_path(&scratch, "token", path), &sb), 0);
	assert_int_equal(sb.st_mode & 0777, 0600);
	assert_int_equal(sb.st_size, 6);
	scratch_release(&scratch);
}

static void
test_scratch__goes_with_all_that_is_in_it(void **state)
{
	struct scratch scratch = make();
	struct scratch was = scratch;
	char path[SCRATCH_FILE_MAX];
	struct err err;

	(void)state;
	assert_int_equal(mkdir(scratch_path(&scratch, "state", path), 0700), 0);
	assert_true(scratch_write(&scratch, "state/journal", SPAN("x"), &err));
	scratch_release(&scratch);
	assert_int_equal(access(was.dir, F_OK), -1);
	scratch_release(&scratch); /* twice is harmless */
}

static void
test_scratch__follows_no_link_out_of_it(void **state)
{
	struct scratch scratch = make(), other = make();
	char link[SCRATCH_FILE_MAX], kept[SCRATCH_FILE_MAX];
	struct err err;

	(void)state;
	assert_true(scratch_write(&other, "kept", SPAN("x"), &err));
	assert_int_equal(
	    symlink(other.dir, scratch_path(&scratch, "link", link)), 0);
	scratch_release(&scratch);
	assert_int_equal(access(scratch_path(&other, "kept", kept), F_OK), 0);
	scratch_release(&other);
}

static void
test_scratch__a_socket_below_it_has_room(void **state)
{
	char longest[57] = "/", path[SCRATCH_FILE_MAX];
	struct scratch scratch;
	struct err err;

	(void)state;
	for (size_t i = 1; i < sizeof(longest) - 1; i++)
		longest[i] = 'd';
	setenv("XDG_RUNTIME_DIR", longest, 1); /* does not exist: passed over */
	assert_true(scratch_init(&scratch, "demo", &err));
	assert_true(strlen(scratch_path(&scratch, "admin.sock", path)) < 108);
	scratch_release(&scratch);
	unsetenv("XDG_RUNTIME_DIR");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_scratch__only_its_owner_may_look_in),
	    cmocka_unit_test(test_scratch__goes_with_all_that_is_in_it),
	    cmocka_unit_test(test_scratch__follows_no_link_out_of_it),
	    cmocka_unit_test(test_scratch__a_socket_below_it_has_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
