/*
 * Splits: exact and unforeseeable blocks, affinity that only grows, weights
 * that are in force from the next decision on.
 */
#include "tests/unit/routing/edge.h"

#include <malloc.h>

#define EIGHT                                                                  \
	"version: 1\n"                                                         \
	"listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"                    \
	"pools:\n"                                                             \
	"  p0: {endpoints: [\"127.0.0.1:9000\"]}\n"                            \
	"  p1: {endpoints: [\"127.0.0.1:9001\"]}\n"                            \
	"  p2: {endpoints: [\"127.0.0.1:9002\"]}\n"                            \
	"  p3: {endpoints: [\"127.0.0.1:9003\"]}\n"                            \
	"  p4: {endpoints: [\"127.0.0.1:9004\"]}\n"                            \
	"  p5: {endpoints: [\"127.0.0.1:9005\"]}\n"                            \
	"  p6: {endpoints: [\"127.0.0.1:9006\"]}\n"                            \
	"  p7: {endpoints: [\"127.0.0.1:9007\"]}\n"                            \
	"splits:\n"                                                            \
	"  shop: {stable: p2, affinity: {by: %s}, weights: {p0: 0, p1: 0, "    \
	"p2: 100, p3: 0, p4: 0, p5: 0, p6: 0, p7: 0}}\n"                       \
	"routes: [{name: all, split: shop}]\n"

static struct split *
open_eight(struct edge *edge, const char *affinity)
{
	char text[2048];

	snprintf(text, sizeof(text), EIGHT, affinity);
	edge_open(edge, text);
	return registry_split(edge->registry, "shop");
}

/* Random weights: coarse and fine ones, with zeros among them. */
static void
random_weights(struct rng *rng, bp_t bp[8])
{
	static const uint16_t units[] = {
	    1, 5, 10, 25, 50, 100, 500, 1250, 2500};
	uint32_t unit = units[rng_below(rng, 9)], left = BP_ALL / unit;

	for (int i = 0; i < 7; i++) {
		uint32_t take =
		    rng_below(rng, 3) == 0 ? 0 : rng_below(rng, left + 1);

		bp[i] = (bp_t)(take * unit);
		left -= take;
	}
	bp[7] = (bp_t)(left * unit);
}

static uint32_t
decide_slot(struct edge *edge)
{
	struct decision decision = edge_decide(edge, "a.test", "/", NULL);

	assert_non_null(decision.pool);
	return decision.slot;
}

static void
test_split__every_block_is_exact(void **state)
{
	struct edge edge;
	struct split *split = open_eight(&edge, "request");

	(void)state;
	for (int set = 0; set < 300; set++) {
		uint32_t count[8] = {0};
		const struct weights *weights;
		bp_t bp[8];

		random_weights(&edge.rng, bp);
		split_publish(split, bp, 0, "test", NULL);
		weights = split_weights(split);
		assert_in_range(weights->block, 20, BP_ALL);
		assert_int_equal(BP_ALL % weights->block, 0);
		for (int block = 1; block <= 2; block++) {
			for (int i = 0; i < weights->block; i++)
				count[decide_slot(&edge)]++;
			for (int i = 0; i < 8; i++)
				assert_int_equal(count[i] * BP_ALL,
				    (uint32_t)block * bp[i] * weights->block);
		}
	}
	edge_close(&edge);
}

static void
test_split__a_block_is_the_smallest_that_divides(void **state)
{
	static const struct {
		bp_t first;
		uint16_t block;
	} cases[] = {
	    {5000, 20},
	    {500, 20},
	    {0, 20},
	    {10000, 20},
	    {2500, 20},
	    {100, 100},
	    {1, 10000},
	    {3333, 10000},
	    {400, 25},
	    {1250, 40},
	    {625, 80},
	};
	struct edge edge;
	struct split *split = open_eight(&edge, "request");

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		bp_t bp[8] = {cases[i].first, 0, BP_ALL - cases[i].first};

		split_publish(split, bp, 0, "test", NULL);
		assert_int_equal(split_weights(split)->block, cases[i].block);
	}
	edge_close(&edge);
}

static void
test_split__each_worker_deals_its_own_blocks(void **state)
{
	struct edge edge;
	struct split *split = open_eight(&edge, "request");
	bp_t bp[8] = {500, 0, 9500};
	uint32_t count[2] = {0};

	(void)state;
	split_publish(split, bp, 0, "test", NULL);
	for (int i = 0; i < 20; i++)
		for (unsigned worker = 0; worker < 2; worker++)
			count[worker] += split_draw(split, split_weights(split),
			                     worker, &edge.rng) == 0;
	assert_int_equal(count[0], 1);
	assert_int_equal(count[1], 1);
	edge_close(&edge);
}

static void
test_split__no_place_in_a_block_is_likelier_than_another(void **state)
{
	struct edge edge;
	struct split *split = open_eight(&edge, "request");
	bp_t bp[8] = {500, 0, 9500};
	uint32_t at[20] = {0}, gap[20] = {0}, last = 0;
	double chi = 0, chi_gap = 0;

	(void)state;
	split_publish(split, bp, 0, "test", NULL);
	for (uint32_t block = 0; block < 20000; block++) {
		uint32_t place = 0;

		for (uint32_t i = 0; i < 20; i++)
			if (decide_slot(&edge) == 0)
				place = i;
		at[place]++;
		if (block > 0)
			gap[(place + 20 - last) % 20]++;
		last = place;
	}
	for (int i = 0; i < 20; i++) {
		chi += (at[i] - 1000.0) * (at[i] - 1000.0) / 1000;
		chi_gap += (gap[i] - 1000.0) * (gap[i] - 1000.0) / 1000;
	}
	/* 19 degrees of freedom: above 43.8 with probability 0.001 */
	assert_true(chi < 43.8);
	assert_true(chi_gap < 43.8);
	edge_close(&edge);
}

static void
test_split__zero_weight_gets_nothing_from_the_next_decision(void **state)
{
	struct edge edge;
	struct split *split = open_eight(&edge, "request");
	bp_t half[8] = {5000, 0, 5000}, none[8] = {0, 0, BP_ALL};

	(void)state;
	for (int round = 0; round < 200; round++) {
		split_publish(split, half, 0, "test", NULL);
		for (uint32_t i = rng_below(&edge.rng, 30); i > 0; i--)
			decide_slot(&edge);
		split_publish(split, none, 0, "test", NULL);
		for (int i = 0; i < 40; i++)
			assert_int_equal(decide_slot(&edge), 2);
	}
	edge_close(&edge);
}

/* ---- affinity ---- */

static uint32_t
slot_of_user(struct split *split, uint32_t user)
{
	char key[24];
	int len = snprintf(key, sizeof(key), "user-%u", user);

	return weights_slot(split_weights(split),
	    weights_hash(split_weights(split), key, (size_t)len));
}

static void
test_split__growing_weight_moves_no_user_back(void **state)
{
	enum { USERS = 4000 };
	static bool is_on_canary[USERS];
	struct edge edge;
	struct split *split = open_eight(&edge, "request");

	(void)state;
	for (uint32_t weight = 0; weight <= BP_ALL; weight += 125) {
		bp_t bp[8] = {(bp_t)weight, 0, (bp_t)(BP_ALL - weight)};

		split_publish(split, bp, 0, "test", NULL);
		for (uint32_t user = 0; user < USERS; user++) {
			bool now = slot_of_user(split, user) == 0;

			assert_true(now || !is_on_canary[user]);
			is_on_canary[user] = now;
		}
	}
	for (uint32_t user = 0; user < USERS; user++)
		assert_true(is_on_canary[user]);
	edge_close(&edge);
}

static void
test_split__users_are_shared_out_by_weight(void **state)
{
	struct edge edge;
	struct split *split = open_eight(&edge, "request");
	bp_t bp[8] = {500, 1000, 6000, 0, 2500};
	uint32_t count[8] = {0};

	(void)state;
	split_publish(split, bp, 0, "test", NULL);
	for (uint32_t user = 0; user < 100000; user++)
		count[slot_of_user(split, user)]++;
	for (int i = 0; i < 8; i++)
		assert_true(abs((int)count[i] - bp[i] * 10) <= 600);
	assert_int_equal(count[3], 0);
	edge_close(&edge);
}

static void
test_split__the_stable_pool_has_the_top_of_the_range(void **state)
{
	struct edge edge;
	struct split *split = open_eight(&edge, "request");
	const struct weights *weights;
	bp_t bp[8] = {500, 1000, 6000, 0, 2500};

	(void)state;
	split_publish(split, bp, 0, "test", NULL);
	weights = split_weights(split);
	assert_int_equal(weights->stable, 2);
	for (uint32_t user = 0; user < 20000; user++) {
		char key[24];
		int len = snprintf(key, sizeof(key), "user-%u", user);
		uint32_t bucket =
		    (uint32_t)(hash_keyed(weights->key, key, (size_t)len) %
		               BP_ALL);
		uint32_t want = bucket < 500    ? 0
		                : bucket < 1500 ? 1
		                : bucket < 4000 ? 4
		                                : 2;

		assert_int_equal(slot_of_user(split, user), want);
	}
	edge_close(&edge);
}

static void
test_split__the_salt_alone_decides_who_is_where(void **state)
{
	struct edge a, b;
	struct split *left = open_eight(&a, "request"), *right;
	struct split_state saved;
	bp_t bp[8] = {3000, 0, 7000};
	uint8_t other[16] = "another secret";
	char text[2048];
	int moved = 0;

	(void)state;
	split_publish(left, bp, 0, "test", NULL);
	b = (struct edge){.registry = registry_new(1, other)};
	snprintf(text, sizeof(text), EIGHT, "request");
	edge_reload(&b, text);
	right = registry_split(b.registry, "shop");
	split_publish(right, bp, 0, "test", NULL);
	for (uint32_t user = 0; user < 1000; user++)
		moved += slot_of_user(left, user) != slot_of_user(right, user);
	assert_true(moved > 300);
	split_save(left, &saved);
	assert_true(split_restore(right, &saved));
	split_state_release(&saved);
	for (uint32_t user = 0; user < 1000; user++)
		assert_int_equal(
		    slot_of_user(left, user), slot_of_user(right, user));
	edge_close(&a);
	edge_close(&b);
}

/* ---- trials ---- */

static void
test_split__another_stable_pool_outlives_reload_and_restart(void **state)
{
	struct edge edge, after;
	struct split *split = open_eight(&edge, "request"), *restarted;
	struct split_state saved;
	char text[2048];
	bp_t bp[8] = {9900, 0, 100};

	(void)state;
	snprintf(text, sizeof(text), EIGHT, "request");
	split_set_stable(split, 0);
	assert_int_equal(split_weights(split)->stable, 2);
	split_publish(split, bp, 0, "test", NULL);
	assert_int_equal(split_weights(split)->stable, 0);
	edge_reload(&edge, text);
	assert_ptr_equal(split, registry_split(edge.registry, "shop"));
	assert_int_equal(split_weights(split)->stable, 0);
	assert_string_equal(split->stable, "p0");
	split_save(split, &saved);
	edge_open(&after, text);
	restarted = registry_split(after.registry, "shop");
	assert_true(split_restore(restarted, &saved));
	split_state_release(&saved);
	assert_int_equal(split_weights(restarted)->stable, 0);
	for (uint32_t user = 0; user < 1000; user++)
		assert_int_equal(
		    slot_of_user(split, user), slot_of_user(restarted, user));
	edge_close(&edge);
	edge_close(&after);
}

static void
test_split__a_trial_has_its_own_salt_if_it_says_so(void **state)
{
	struct split_trial trial = {.candidate = 0, .baseline = 2, .salt = 77};
	struct edge edge;
	struct split *split = open_eight(&edge, "request");
	bp_t bp[8] = {500, 0, 9500};

	(void)state;
	split_publish_trial(split, bp, &trial, 5, "plan", "a phase");
	assert_int_equal(split_weights(split)->salt, 77);
	assert_int_equal(split_weights(split)->version, 2);
	assert_int_equal(split->previous[2], BP_ALL);
	assert_string_equal(split->changed_by, "plan");
	trial.salt = 0;
	split_publish_trial(split, bp, &trial, 5, "plan", NULL);
	assert_int_equal(split_weights(split)->salt, 77);
	assert_non_null(split_weights(split)->evidence);
	edge_close(&edge);
}

/* What a client does that keeps its cookies. */
static struct decision
visit(struct edge *edge, const char *cookie)
{
	struct edge_request request = {.cookies = {{"u", cookie}}};

	return edge_decide(edge, "a.test", "/", *cookie ? &request : NULL);
}

enum { VISITORS = 2000 };
struct visitors {
	char cookie[VISITORS][33];
	uint32_t slot[VISITORS];
};

/* Everyone comes for the first time, and is where they were when they come
   again. */
static uint32_t
visitors_come(struct edge *edge, struct visitors *all, uint32_t slot)
{
	uint32_t n = 0;

	for (int i = 0; i < VISITORS; i++) {
		struct decision first = visit(edge, "");

		assert_true(first.sets_cookie);
		assert_int_equal(
		    visit(edge, first.cookie_value).slot, first.slot);
		memcpy(all->cookie[i], first.cookie_value, 33);
		all->slot[i] = first.slot;
		n += first.slot == slot;
	}
	return n;
}

static uint32_t
visitors_moved(struct edge *edge, const struct visitors *all)
{
	uint32_t n = 0;

	for (int i = 0; i < VISITORS; i++)
		n += visit(edge, all->cookie[i]).slot != all->slot[i];
	return n;
}

static void
publish_keeping(struct split *split, bp_t candidate)
{
	struct split_trial trial = {
	    .candidate = 0, .baseline = 2, .keeps_sessions = true};
	bp_t bp[8] = {candidate, 0, (bp_t)(BP_ALL - candidate)};

	split_publish_trial(split, bp, &trial, 0, "test", NULL);
}

static void
test_split__a_drained_candidate_keeps_its_sessions(void **state)
{
	static struct visitors old, between, new;
	struct edge edge;
	struct split *split = open_eight(&edge, "cookie, name: u");
	uint32_t n;

	(void)state;
	publish_keeping(split, 2500);
	n = visitors_come(&edge, &old, 0);
	assert_in_range(n, 400, 600);
	assert_false(weights_keep(split_weights(split)));
	/* a ramp down: a twentieth of the new ones still go there, and stay */
	publish_keeping(split, 500);
	assert_int_equal(visitors_moved(&edge, &old), 0);
	n = visitors_come(&edge, &between, 0);
	assert_in_range(n, 50, 150);
	publish_keeping(split, 0);
	assert_int_equal(visitors_moved(&edge, &old), 0);
	assert_int_equal(visitors_moved(&edge, &between), 0);
	assert_int_equal(visitors_come(&edge, &new, 0), 0);
	/* growing again takes nobody away either */
	publish_keeping(split, 3000);
	assert_false(weights_keep(split_weights(split)));
	for (int i = 0; i < VISITORS; i++)
		assert_true(
		    old.slot[i] != 0 || visit(&edge, old.cookie[i]).slot == 0);
	/* and what is no trial recalls everyone */
	split_publish(split, (bp_t[8]){0, 0, BP_ALL}, 0, "test", NULL);
	for (int i = 0; i < VISITORS; i++)
		assert_int_equal(visit(&edge, old.cookie[i]).slot, 2);
	edge_close(&edge);
}

static void
test_split__a_candidate_that_had_all_keeps_all_but_a_percent(void **state)
{
	static struct visitors old, new;
	struct edge edge;
	struct split *split = open_eight(&edge, "cookie, name: u");

	(void)state;
	publish_keeping(split, BP_ALL);
	assert_int_equal(visitors_come(&edge, &old, 0), VISITORS);
	publish_keeping(split, 0);
	assert_in_range(visitors_moved(&edge, &old), 1, VISITORS / 40);
	assert_int_equal(visitors_come(&edge, &new, 2), VISITORS);
	edge_close(&edge);
}

static void
test_split__kept_sessions_are_no_evidence(void **state)
{
	static struct visitors old;
	struct edge edge;
	struct split *split = open_eight(&edge, "cookie, name: u");
	struct decision again;
	int i = 0;

	(void)state;
	publish_keeping(split, 5000);
	visitors_come(&edge, &old, 0);
	while (old.slot[i] != 0)
		i++;
	again = visit(&edge, old.cookie[i]);
	assert_int_equal(again.serial, split_weights(split)->serial);
	publish_keeping(split, 500);
	again = visit(&edge, old.cookie[i]);
	assert_int_equal(again.slot, 0);
	assert_int_equal(again.serial, 0);
	assert_true(again.is_candidate);
	assert_int_equal(again.baseline, 2);
	edge_close(&edge);
}

/* Another salt puts other clients into the same buckets. */
static void
test_split__sessions_of_another_salt_are_not_kept(void **state)
{
	struct split_trial trial = {
	    .candidate = 0, .baseline = 2, .salt = 99, .keeps_sessions = true};
	struct edge edge;
	struct split *split = open_eight(&edge, "cookie, name: u");

	(void)state;
	publish_keeping(split, 5000);
	split_publish_trial(
	    split, (bp_t[8]){0, 0, BP_ALL}, &trial, 0, "test", NULL);
	assert_false(weights_keep(split_weights(split)));
	edge_close(&edge);
}

/* ---- publishing ---- */

static void
test_split__publishing_remembers_what_was_before(void **state)
{
	struct edge edge;
	struct split *split = open_eight(&edge, "request");
	bp_t bp[8] = {500, 0, 9500};

	(void)state;
	assert_int_equal(split_weights(split)->version, 1);
	assert_false(split->has_previous);
	split_publish(split, bp, 1000, "uid:0", "try it");
	assert_int_equal(split_weights(split)->version, 2);
	assert_true(split->has_previous);
	assert_int_equal(split->previous[2], BP_ALL);
	assert_int_equal(split->changed_at, 1000);
	assert_string_equal(split->changed_by, "uid:0");
	assert_string_equal(split->reason, "try it");
	/* the same once more is no step to undo */
	split_publish(split, bp, 1001, "uid:0", NULL);
	assert_int_equal(split_weights(split)->version, 3);
	assert_int_equal(split->previous[2], BP_ALL);
	assert_null(split->reason);
	/* undo, and undo of that */
	split_publish(split, split->previous, 1002, split->changed_by, "undo");
	assert_int_equal(split_weights(split)->bp[2], BP_ALL);
	assert_int_equal(split->previous[0], 500);
	assert_string_equal(split->changed_by, "uid:0");
	edge_close(&edge);
}

static void
test_split__a_thousand_publishes_grow_nothing(void **state)
{
	struct edge edge;
	struct split *split = open_eight(&edge, "request");
	bp_t bp[8] = {500, 0, 9500};
	size_t before = 0;

	(void)state;
	for (int i = 0; i < 2000; i++) {
		if (i == 1000)
			before = mallinfo2().uordblks;
		bp[0] = (bp_t)(i % 100 * 100);
		bp[2] = BP_ALL - bp[0];
		split_publish(split, bp, i, "test", "again");
		edge_turn(&edge, 0);
	}
	publication_reap(registry_publication(edge.registry));
	assert_true(mallinfo2().uordblks <= before + 256);
	edge_close(&edge);
}

static void
test_split__a_worker_in_its_turn_holds_back_what_it_may_read(void **state)
{
	struct edge edge;
	struct split *split = open_eight(&edge, "request");
	bp_t bp[8] = {500, 0, 9500};

	(void)state;
	split_publish(split, bp, 0, "test", NULL);
	split_publish(split, bp, 0, "test", NULL);
	assert_non_null(split->retired);
	split_reap(split);
	assert_non_null(split->retired);
	edge_turn(&edge, 0);
	publication_reap(registry_publication(edge.registry));
	assert_null(split->retired);
	/* one that has left holds back nothing */
	publication_leave(registry_publication(edge.registry), 0);
	split_publish(split, bp, 0, "test", NULL);
	assert_null(split->retired);
	edge_close(&edge);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_split__every_block_is_exact),
	    cmocka_unit_test(test_split__a_block_is_the_smallest_that_divides),
	    cmocka_unit_test(test_split__each_worker_deals_its_own_blocks),
	    cmocka_unit_test(
	        test_split__no_place_in_a_block_is_likelier_than_another),
	    cmocka_unit_test(
	        test_split__zero_weight_gets_nothing_from_the_next_decision),
	    cmocka_unit_test(test_split__growing_weight_moves_no_user_back),
	    cmocka_unit_test(test_split__users_are_shared_out_by_weight),
	    cmocka_unit_test(
	        test_split__the_stable_pool_has_the_top_of_the_range),
	    cmocka_unit_test(test_split__the_salt_alone_decides_who_is_where),
	    cmocka_unit_test(
	        test_split__another_stable_pool_outlives_reload_and_restart),
	    cmocka_unit_test(
	        test_split__a_trial_has_its_own_salt_if_it_says_so),
	    cmocka_unit_test(
	        test_split__a_drained_candidate_keeps_its_sessions),
	    cmocka_unit_test(
	        test_split__a_candidate_that_had_all_keeps_all_but_a_percent),
	    cmocka_unit_test(test_split__kept_sessions_are_no_evidence),
	    cmocka_unit_test(test_split__sessions_of_another_salt_are_not_kept),
	    cmocka_unit_test(test_split__publishing_remembers_what_was_before),
	    cmocka_unit_test(test_split__a_thousand_publishes_grow_nothing),
	    cmocka_unit_test(
	        test_split__a_worker_in_its_turn_holds_back_what_it_may_read),
	};

	(void)argc;
	edge_without_caches(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
