/* Buffers: sizes, growth, the budget. */
/* clang-format off: cmocka.h wants these before it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "proxy/buf.h"
#include "proxy/slab.h"

static void
test_buf__append_keeps_every_byte_while_it_grows(void **state)
{
	struct buf_pool pool;
	struct buf *buf = NULL;
	char piece[1000];

	(void)state;
	buf_pool_init(&pool, 1 << 20);
	for (int i = 0; i < 200; i++) {
		memset(piece, 'a' + i % 26, sizeof(piece));
		assert_true(
		    buf_append(&pool, &buf, piece, sizeof(piece), BUF_LARGEST));
	}
	assert_int_equal(buf_len(buf), 200000);
	for (int i = 0; i < 200; i++)
		assert_int_equal(buf->data[buf->start + (size_t)i * 1000 + 999],
		    'a' + i % 26);
	buf_give(&pool, &buf);
	assert_null(buf);
	assert_int_equal(pool.used, 0);
	buf_pool_release(&pool);
}

static void
test_buf__append_beyond_its_bound_changes_nothing(void **state)
{
	struct buf_pool pool;
	struct buf *buf = NULL;
	static char bytes[BUF_LARGEST];

	(void)state;
	buf_pool_init(&pool, 1 << 20);
	assert_true(buf_append(&pool, &buf, bytes, 5000, 8000));
	assert_false(buf_append(&pool, &buf, bytes, 3001, 8000));
	assert_int_equal(buf_len(buf), 5000);
	assert_true(buf_append(&pool, &buf, bytes, 3000, 8000));
	assert_false(buf_append(&pool, &buf, bytes, BUF_LARGEST, SIZE_MAX));
	buf_give(&pool, &buf);
	buf_pool_release(&pool);
}

static void
test_buf__consumed_room_is_used_again_before_a_larger_one(void **state)
{
	struct buf_pool pool;
	struct buf *buf = NULL;
	char bytes[4096] = {0};

	(void)state;
	buf_pool_init(&pool, 1 << 20);
	assert_true(buf_append(&pool, &buf, bytes, 4000, 8000));
	buf->start += 3500;
	assert_true(buf_append(&pool, &buf, bytes, 3000, 8000));
	assert_int_equal(buf->cap, BUF_SMALLEST);
	assert_int_equal(buf_len(buf), 3500);
	buf_give(&pool, &buf);
	buf_pool_release(&pool);
}

static void
test_buf__the_budget_is_a_wall(void **state)
{
	struct buf_pool pool;
	struct buf *bufs[4] = {NULL};

	(void)state;
	buf_pool_init(&pool, 3 * BUF_SMALLEST);
	for (int i = 0; i < 3; i++)
		assert_non_null(bufs[i] = buf_take(&pool, 1));
	assert_null(buf_take(&pool, 1));
	buf_give(&pool, &bufs[1]);
	assert_non_null(bufs[1] = buf_take(&pool, BUF_SMALLEST));
	for (int i = 0; i < 3; i++)
		buf_give(&pool, &bufs[i]);
	buf_pool_release(&pool);
}

static void
test_slab__objects_are_apart_aligned_and_come_back(void **state)
{
	struct slab slab;
	void *objects[100];

	(void)state;
	slab_init(&slab, 200, 16);
	for (int i = 0; i < 100; i++) {
		objects[i] = slab_take(&slab);
		assert_non_null(objects[i]);
		assert_int_equal((uintptr_t)objects[i] % 64, 0);
		memset(objects[i], i, 200);
	}
	for (int i = 0; i < 100; i++)
		assert_int_equal(((unsigned char *)objects[i])[199], i);
	assert_int_equal(slab.live, 100);
	for (int i = 0; i < 100; i++)
		slab_give(&slab, objects[i]);
	assert_ptr_equal(
	    slab_take(&slab), objects[99]); /* last in, first out */
	slab_give(&slab, objects[99]);
	slab_release(&slab);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_buf__append_keeps_every_byte_while_it_grows),
	    cmocka_unit_test(test_buf__append_beyond_its_bound_changes_nothing),
	    cmocka_unit_test(
	        test_buf__consumed_room_is_used_again_before_a_larger_one),
	    cmocka_unit_test(test_buf__the_budget_is_a_wall),
	    cmocka_unit_test(
	        test_slab__objects_are_apart_aligned_and_come_back),
	};

	return cmocka_run_group_tests_name("buf", tests, NULL, NULL);
}
