/* The order that several weirs agree by: its laws, and who wins when. */
#include "tests/unit/admin/check.h"

#include <stdlib.h>
#include <string.h>

#include "admin/fleet/accord.h"

enum { STATES = 300 };

/* A small world, so that all parts are equal often. */
static struct accord
any(unsigned *seed)
{
	return (struct accord){.epoch = (uint64_t)(rand_r(seed) % 3),
	    .turns = (uint8_t)(rand_r(seed) % 3),
	    .safety = (uint16_t)(rand_r(seed) % 2 * ACCORD_SAFEST),
	    .line = (uint64_t)(rand_r(seed) % 2) << 63,
	    .deeds = (uint32_t)(rand_r(seed) % 2),
	    .term = (uint32_t)(rand_r(seed) % 3),
	    .content = (uint64_t)(rand_r(seed) % 2)};
}

static struct accord
merged(struct accord a, struct accord b)
{
	return accord_compare(&a, &b) >= 0 ? a : b;
}

static bool
same(struct accord a, struct accord b)
{
	char x[ACCORD_TEXT], y[ACCORD_TEXT];

	return strcmp(accord_print(&a, x), accord_print(&b, y)) == 0;
}

static void
test_accord__merging_is_commutative_associative_and_idempotent(void **state)
{
	unsigned seed = 7;

	(void)state;
	for (int i = 0; i < STATES * 100; i++) {
		struct accord a = any(&seed), b = any(&seed), c = any(&seed);

		assert_true(same(merged(a, a), a));
		assert_true(same(merged(a, b), merged(b, a)));
		assert_true(
		    same(merged(a, merged(b, c)), merged(merged(a, b), c)));
	}
}

static void
test_accord__texts_are_ordered_as_the_accords_are(void **state)
{
	unsigned seed = 11;
	char x[ACCORD_TEXT], y[ACCORD_TEXT];

	(void)state;
	for (int i = 0; i < STATES * 100; i++) {
		struct accord a = any(&seed), b = any(&seed);
		int order = strcmp(accord_print(&a, x), accord_print(&b, y));

		assert_int_equal(
		    (order > 0) - (order < 0), accord_compare(&a, &b));
	}
}

static void
test_accord__a_text_gives_back_the_accord_and_nothing_else_does(void **state)
{
	struct accord a = {.epoch = UINT64_C(0xfedcba9876543210),
	    .turns = ACCORD_TURNS_MAX,
	    .safety = 9999,
	    .line = 1,
	    .deeds = UINT32_MAX,
	    .term = 3,
	    .content = UINT64_MAX};
	struct accord b;
	char text[ACCORD_TEXT];

	(void)state;
	assert_true(accord_parse(accord_print(&a, text), &b));
	assert_int_equal(accord_compare(&a, &b), 0);
	assert_false(accord_parse("", &b));
	text[0] = 'F';
	assert_false(accord_parse(text, &b));
	text[0] = 'f';
	text[16] = 'F';
	assert_false(accord_parse(text, &b));
	text[16] = '1';
	memcpy(text + 17, "2711", 4);
	assert_false(accord_parse(text, &b));
	text[ACCORD_TEXT - 2] = '\0';
	assert_false(accord_parse(text, &b));
}

/* A rollout that began at epoch 5, confirmed. */
static const struct accord begun = {.epoch = 5, .line = 70, .content = 1};

static struct accord
step(struct accord from, uint64_t content)
{
	return accord_next(&from, from.epoch,
	    &(struct accord_change){
	        .line = from.line, .content = content, .is_holder = true});
}

static struct accord
back(struct accord from, uint64_t agreed, uint16_t safety)
{
	return accord_next(&from, agreed,
	    &(struct accord_change){.line = from.line,
	        .content = 99,
	        .safety = safety,
	        .is_back = true});
}

static struct accord
by_hand(struct accord from, uint64_t agreed, uint16_t safety)
{
	return accord_next(&from, agreed,
	    &(struct accord_change){
	        .line = 1000u + safety, .content = safety, .safety = safety});
}

static void
test_accord__a_rollback_beats_whatever_its_rollout_becomes(void **state)
{
	struct accord gone = back(begun, 5, 0), there = begun;

	(void)state;
	for (uint64_t i = 2; i < 100; i++) {
		there = step(there, i);
		assert_true(accord_compare(&gone, &there) > 0);
	}
	/* and a decision made meanwhile by somebody who had not heard of it */
	there = by_hand(there, 5, ACCORD_SAFEST);
	assert_true(accord_compare(&gone, &there) > 0);
	/* but not one that was made in knowledge of it */
	there = by_hand(gone, 6, 100);
	assert_true(accord_compare(&gone, &there) < 0);
}

static struct accord
start(struct accord from, uint64_t agreed, uint64_t line)
{
	return accord_next(&from, agreed,
	    &(struct accord_change){.line = line, .content = line});
}

/* Redis may have taken the way back, its answer was lost. */
static void
test_accord__what_is_begun_after_a_way_back_beats_it_unconfirmed(void **state)
{
	struct accord gone = back(begun, 5, ACCORD_SAFEST), next, elsewhere;

	(void)state;
	next = start(gone, 5, 71);
	assert_int_equal(next.epoch, 6);
	assert_false(accord_is_back(&next));
	assert_true(accord_compare(&next, &gone) > 0);
	/* also where the rollout went back by itself, a little later */
	elsewhere = back(step(begun, 2), 5, 5000);
	assert_true(accord_compare(&next, &elsewhere) > 0);
	/* its own way back beats it, and what comes then beats that */
	gone = back(next, 5, 0);
	assert_true(accord_is_back(&gone));
	assert_true(accord_compare(&gone, &next) > 0);
	assert_true(accord_compare(&gone, &elsewhere) > 0);
	assert_true(accord_compare(&(struct accord){.epoch = 7}, &gone) > 0);
}

static void
test_accord__turns_without_end_never_lose_to_ones_own_past(void **state)
{
	struct accord now = begun;

	(void)state;
	for (uint64_t i = 0; i < 100; i++) {
		struct accord then = now;

		now = i % 2 == 0 ? back(now, 5, ACCORD_SAFEST)
		                 : start(now, 5, 100 + i);
		assert_int_equal(accord_is_back(&now), i % 2 == 0);
		assert_true(accord_compare(&now, &then) > 0);
	}
	/* and it takes few epochs from the others */
	assert_true(now.epoch <= 6 + 100 / ACCORD_TURNS_MAX);
	/* one that began and went back between two looks */
	now = back(begun, 5, ACCORD_SAFEST);
	assert_true(accord_compare(&now, &(struct accord){.epoch = 6}) > 0);
	assert_true(
	    accord_compare(&(struct accord){.epoch = 6, .turns = 2}, &now) > 0);
}

static void
test_accord__who_decides_alone_ten_times_does_not_outrun_a_rollback(
    void **state)
{
	struct accord alone = begun, gone = back(begun, 5, ACCORD_SAFEST);

	(void)state;
	for (uint16_t i = 1; i < 10; i++)
		alone = by_hand(alone, 5, i);
	assert_int_equal(alone.epoch, 6);
	assert_true(accord_compare(&gone, &alone) > 0);
}

static void
test_accord__of_two_decisions_apart_the_safer_wins(void **state)
{
	struct accord little = by_hand(begun, 5, 9000);
	struct accord much = by_hand(begun, 5, 5000);
	struct accord rollout = accord_next(&begun, 5,
	    &(struct accord_change){.line = UINT64_MAX, .content = 3});

	(void)state;
	assert_true(accord_compare(&little, &much) > 0);
	assert_true(accord_compare(&much, &rollout) > 0);
}

static void
test_accord__the_further_way_back_wins(void **state)
{
	struct accord high = back(begun, 5, 2000), low = back(high, 5, 9000);
	struct accord other = back(step(begun, 2), 5, 4000);

	(void)state;
	assert_int_equal(high.epoch, 6);
	assert_int_equal(low.epoch, 6);
	assert_true(accord_compare(&low, &other) > 0);
	assert_true(accord_compare(&other, &high) > 0);
}

static void
test_accord__what_people_do_beats_a_step_at_the_same_moment(void **state)
{
	struct accord paused = accord_next(&begun, 5,
	    &(struct accord_change){.line = begun.line, .content = 4});
	struct accord stepped = step(begun, 5);

	(void)state;
	assert_true(accord_compare(&paused, &stepped) > 0);
	/* the holder goes on from there */
	stepped = step(paused, 6);
	assert_true(accord_compare(&stepped, &paused) > 0);
}

static void
test_accord__what_nobody_can_have_come_to_is_not_possible(void **state)
{
	const uint64_t wall = UINT64_C(1798761600000); /* 2027 */
	struct accord a = begun;

	(void)state;
	assert_true(accord_is_possible(&a, wall));
	a.epoch = wall;
	assert_true(accord_is_possible(&a, wall));
	a.epoch = wall + 1;
	assert_false(accord_is_possible(&a, wall));
	a.epoch = UINT64_MAX;
	assert_false(accord_is_possible(&a, wall));
	/* a machine whose clock begins in 1970 believes the others */
	a.epoch = ACCORD_EPOCH_FLOOR;
	assert_true(accord_is_possible(&a, 10000));
	a = begun;
	a.deeds = ACCORD_DEEDS_MAX + 1;
	assert_false(accord_is_possible(&a, wall));
	a = begun;
	a.term = UINT32_MAX;
	assert_false(accord_is_possible(&a, wall));
}

static void
test_accord__what_is_used_up_goes_on_above(void **state)
{
	const uint64_t wall = UINT64_C(1798761600000);
	struct accord all = begun, next;

	(void)state;
	all.deeds = ACCORD_DEEDS_MAX;
	all.term = ACCORD_TERM_MAX;
	for (int holder = 0; holder < 2; holder++) {
		next = accord_next(&all, 5,
		    &(struct accord_change){
		        .line = 70, .content = 9, .is_holder = holder});
		assert_true(accord_compare(&next, &all) > 0);
		assert_true(accord_is_possible(&next, wall));
		assert_int_equal(next.epoch, 6);
	}
	/* and before Redis has confirmed it */
	next = accord_next(&all, 4, &(struct accord_change){.line = 70});
	assert_true(accord_compare(&next, &all) > 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_accord__merging_is_commutative_associative_and_idempotent),
	    cmocka_unit_test(test_accord__texts_are_ordered_as_the_accords_are),
	    cmocka_unit_test(
	        test_accord__a_text_gives_back_the_accord_and_nothing_else_does),
	    cmocka_unit_test(
	        test_accord__a_rollback_beats_whatever_its_rollout_becomes),
	    cmocka_unit_test(
	        test_accord__what_is_begun_after_a_way_back_beats_it_unconfirmed),
	    cmocka_unit_test(
	        test_accord__turns_without_end_never_lose_to_ones_own_past),
	    cmocka_unit_test(
	        test_accord__who_decides_alone_ten_times_does_not_outrun_a_rollback),
	    cmocka_unit_test(
	        test_accord__of_two_decisions_apart_the_safer_wins),
	    cmocka_unit_test(test_accord__the_further_way_back_wins),
	    cmocka_unit_test(
	        test_accord__what_people_do_beats_a_step_at_the_same_moment),
	    cmocka_unit_test(
	        test_accord__what_nobody_can_have_come_to_is_not_possible),
	    cmocka_unit_test(test_accord__what_is_used_up_goes_on_above),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
