/* GCRA and the table of its keys. */
#include "tests/unit/routing/edge.h"

#include <pthread.h>
#include <sys/resource.h>
#include <time.h>

#include "routing/limit/limit.h"

/* The thread sanitizer keeps four words beside each, which count as ours. */
#ifdef __SANITIZE_THREAD__
enum { SHADOW = 5 };
#else
enum { SHADOW = 1 };
#endif

static struct limit_rule
rule_of(uint64_t count, nsec_t per, uint32_t burst)
{
	struct limit_cfg cfg = {.rate = {count, per}, .burst = burst};

	return limit_rule_of(&cfg);
}

static uint64_t
hash_of(uint64_t number)
{
	return hash_keyed(edge_secret, &number, sizeof(number));
}

/* ---- the arithmetic ---- */

static void
test_limit__an_hour_at_any_load_passes_burst_and_rate(void **state)
{
	static const struct {
		uint64_t count;
		nsec_t per;
		uint32_t burst;
	} rows[] = {
	    {50, NSEC_PER_SEC, 100},
	    {1, NSEC_PER_SEC, 1},
	    {7, 60 * NSEC_PER_SEC, 3},
	    {999, NSEC_PER_SEC, 10},
	    {100000, NSEC_PER_SEC, 1000},
	};
	struct edge edge;

	(void)state;
	edge_seed(&edge, 1);
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct limit_rule rule =
		    rule_of(rows[i].count, rows[i].per, rows[i].burst);
		tick_t now = 1, due = 0;
		struct limit_answer answer;
		double interval = (double)rows[i].per / (double)rows[i].count *
		                  TICKS_PER_USEC / 1000;
		uint64_t passed = 0;
		double most;

		/* Twice as many as may pass, at random times. */
		for (int j = 0; j < 20000; j++) {
			tick_t debt = now < due ? due - now : 0;

			if (limit_take(&rule, debt, &debt, &answer)) {
				passed++;
				due = now + debt;
			}
			now += rng_below(&edge.rng, (uint32_t)interval);
		}
		most = rows[i].burst + (double)now / interval;
		assert_true((double)passed <= most * 1.004 + 1);
		/* A place that comes free waits for the next request. */
		assert_true((double)passed >=
		            most * (rows[i].burst >= 10 ? 0.98 : 0.6));
	}
}

static void
test_limit__an_answer_tells_when_the_next_may_pass(void **state)
{
	struct limit_rule rule = rule_of(10, NSEC_PER_SEC, 4);
	struct limit_answer answer;
	tick_t debt = 0;

	(void)state;
	for (uint32_t left = 4; left-- > 0;) {
		assert_true(limit_take(&rule, debt, &debt, &answer));
		assert_int_equal(answer.left, left);
		assert_int_equal(answer.restored_in,
		    (4 - (nsec_t)left) * 100 * NSEC_PER_MSEC);
	}
	assert_false(limit_take(&rule, debt, &debt, &answer));
	assert_int_equal(answer.free_in, 100 * NSEC_PER_MSEC);
	debt -= limit_ticks(answer.free_in) - 1;
	assert_false(limit_take(&rule, debt, &debt, &answer));
	debt -= 1;
	assert_true(limit_take(&rule, debt, &debt, &answer));
}

static void
test_limit__a_shared_one_charges_for_all_who_share(void **state)
{
	struct limit_rule rule = rule_of(10, NSEC_PER_SEC, 9);
	struct limit_answer answer;
	tick_t debt = 0;
	int passed = 0;

	(void)state;
	rule.share = 3;
	while (limit_take(&rule, debt, &debt, &answer))
		passed++;
	assert_int_equal(passed, 3);
	/* Fewer than the instances are: each may have one. */
	rule = rule_of(10, NSEC_PER_SEC, 1);
	rule.share = 3;
	assert_true(limit_take(&rule, 0, &debt, &answer));
	assert_false(limit_take(&rule, debt, &debt, &answer));
}

/* ---- the table ---- */

static void
test_table__keys_are_counted_apart_and_in_time(void **state)
{
	struct limit_table *table = limit_table_new();
	struct limit_rule rule = rule_of(1, NSEC_PER_SEC, 2);
	struct limit_answer answer;

	(void)state;
	/* Across the moment at which times wrap around. */
	for (nsec_t now =
	         (nsec_t)(UINT64_C(1) << 44) / 16 * 1000 - 30 * NSEC_PER_SEC;
	     now < (nsec_t)(UINT64_C(1) << 44) / 16 * 1000 + 30 * NSEC_PER_SEC;
	     now += 10 * NSEC_PER_SEC) {
		for (uint64_t key = 0; key < 1000; key++)
			for (int i = 0; i < 3; i++)
				assert_int_equal(
				    limit_table_take(table, hash_of(key), &rule,
				        limit_ticks(now), &answer),
				    i < 2 ? LIMIT_PASSED : LIMIT_REFUSED);
	}
	limit_table_free(&table);
	assert_null(table);
}

static void
test_table__a_key_is_forgiven(void **state)
{
	struct limit_table *table = limit_table_new();
	struct limit_rule rule = rule_of(1, NSEC_PER_SEC, 1);
	struct limit_answer answer;
	tick_t now = limit_ticks(NSEC_PER_SEC);

	(void)state;
	assert_false(limit_table_set(table, 7, now, 0));
	limit_table_take(table, 7, &rule, now, &answer);
	assert_int_equal(limit_table_debt(table, 7, now), rule.interval);
	assert_true(limit_table_set(table, 7, now, 0));
	assert_int_equal(limit_table_debt(table, 7, now), 0);
	assert_int_equal(
	    limit_table_take(table, 7, &rule, now, &answer), LIMIT_PASSED);
	limit_table_free(&table);
}

static size_t
resident(void)
{
	unsigned long all, mine = 0;
	FILE *in = fopen("/proc/self/statm", "r");

	assert_non_null(in);
	assert_int_equal(fscanf(in, "%lu %lu", &all, &mine), 2);
	fclose(in);
	return mine * (size_t)sysconf(_SC_PAGESIZE);
}

static nsec_t
clock_read(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

/* A flood of ten million keys: memory, the longest pause, and who remembers. */
static void
test_table__ten_million_keys_stay_within_256_mib(void **state)
{
	enum { KEYS = 10000000, KNOWN = 1000 };
	size_t before = resident();
	struct limit_table *table = limit_table_new();
	struct limit_rule rule = rule_of(1, NSEC_PER_SEC, 10);
	struct limit_answer answer;
	tick_t now = limit_ticks(NSEC_PER_SEC);
	nsec_t longest = 0, last = clock_read();
	int refused = 0;

	(void)state;
	/* Who has spent all of it must not be forgotten for newcomers. */
	for (uint64_t key = 0; key < KNOWN; key++)
		for (int i = 0; i < 10; i++)
			limit_table_take(
			    table, hash_of(key), &rule, now, &answer);
	for (uint64_t key = KNOWN; key < KNOWN + KEYS; key++) {
		refused += limit_table_take(table, hash_of(key), &rule, now,
		               &answer) == LIMIT_REFUSED;
		if (key % 64 == 0) {
			nsec_t at = clock_read();

			longest = at - last > longest ? at - last : longest;
			last = at;
		}
	}
	print_message("%zu MiB, longest pause of 64 requests %lld us\n",
	    (resident() - before) >> 20, (long long)longest / 1000);
	assert_true(resident() - before < ((size_t)256 << 20) * SHADOW);
	/* Newcomers who share a word with one who has spent it all: next to
	 * none. */
	assert_true(refused < 10);
	for (uint64_t key = 0; key < KNOWN; key++)
		assert_int_equal(
		    limit_table_take(table, hash_of(key), &rule, now, &answer),
		    LIMIT_REFUSED);
	limit_table_free(&table);
}

static void
test_table__what_is_paid_is_swept(void **state)
{
	struct limit_table *table = limit_table_new();
	struct limit_rule rule = rule_of(1, NSEC_PER_SEC, 1);
	struct limit_answer answer;

	(void)state;
	for (uint64_t key = 0; key < 1000; key++)
		limit_table_take(table, hash_of(key), &rule, 0, &answer);
	/* Ten of these are a second: all is seen within a minute. */
	for (int i = 0; i < 600; i++)
		limit_table_sweep(table, 0);
	assert_int_equal(limit_table_keys(table), 1000);
	for (int i = 0; i < 1200; i++)
		limit_table_sweep(table, limit_ticks(2 * NSEC_PER_SEC));
	assert_int_equal(limit_table_keys(table), 0);
	/* Freed, not only old: half the way around later it owes nothing. */
	for (uint64_t key = 0; key < 1000; key++)
		assert_int_equal(
		    limit_table_debt(table, hash_of(key), UINT64_C(1) << 43),
		    0);
	limit_table_free(&table);
}

struct racer {
	pthread_t thread;
	struct limit_table *table;
	struct limit_rule rule;
	int passed;
};

static void *
race(void *arg)
{
	struct racer *racer = arg;
	struct limit_answer answer;

	for (int i = 0; i < 100000; i++)
		racer->passed +=
		    limit_table_take(racer->table, hash_of(i % 4), &racer->rule,
		        limit_ticks(NSEC_PER_SEC), &answer) != LIMIT_REFUSED;
	return NULL;
}

static void
test_table__threads_lose_no_count(void **state)
{
	struct racer racers[4];
	struct limit_table *table = limit_table_new();
	int passed = 0;

	(void)state;
	for (int i = 0; i < 4; i++) {
		racers[i] = (struct racer){
		    .table = table, .rule = rule_of(1, NSEC_PER_SEC, 5000)};
		pthread_create(&racers[i].thread, NULL, race, &racers[i]);
	}
	for (int i = 0; i < 4; i++) {
		pthread_join(racers[i].thread, NULL);
		passed += racers[i].passed;
	}
	assert_int_equal(passed, 4 * 5000);
	limit_table_free(&table);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_limit__an_hour_at_any_load_passes_burst_and_rate),
	    cmocka_unit_test(
	        test_limit__an_answer_tells_when_the_next_may_pass),
	    cmocka_unit_test(
	        test_limit__a_shared_one_charges_for_all_who_share),
	    cmocka_unit_test(test_table__keys_are_counted_apart_and_in_time),
	    cmocka_unit_test(test_table__a_key_is_forgiven),
	    cmocka_unit_test(test_table__ten_million_keys_stay_within_256_mib),
	    cmocka_unit_test(test_table__what_is_paid_is_swept),
	    cmocka_unit_test(test_table__threads_lose_no_count),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
