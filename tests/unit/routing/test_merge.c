/*
 * The three-way merge of weights, over reloads and over restarts.
 */
#include "tests/unit/routing/edge.h"

/* An edge whose split "shop" has these pools and weights. */
static const char *
file(const char *stable, const char *weights)
{
	static char text[2048];

	snprintf(text, sizeof(text),
	    "version: 1\n"
	    "listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
	    "pools:\n"
	    "  blue: {endpoints: [\"127.0.0.1:9000\"]}\n"
	    "  green: {endpoints: [\"127.0.0.1:9001\"]}\n"
	    "  red: {endpoints: [\"127.0.0.1:9002\"]}\n"
	    "splits: {shop: {stable: %s, weights: {%s}}}\n"
	    "routes: [{name: all, split: shop}]\n",
	    stable, weights);
	return text;
}

static struct split *
shop(struct edge *edge)
{
	return registry_split(edge->registry, "shop");
}

static void
expect(struct edge *edge, const char *pool, bp_t bp)
{
	int slot = split_slot(shop(edge), pool);

	assert_true(slot >= 0);
	assert_int_equal(split_weights(shop(edge))->bp[slot], bp);
}

static void
publish_two(struct edge *edge, bp_t blue)
{
	bp_t bp[CONFIG_SPLIT_POOLS_MAX] = {blue, BP_ALL - blue};

	split_publish(shop(edge), bp, 100, "uid:0", "by hand");
}

static void
test_merge__an_unchanged_file_keeps_runtime_weights(void **state)
{
	struct edge edge;
	struct split *before;

	(void)state;
	edge_open(&edge, file("blue", "blue: 100, green: 0"));
	publish_two(&edge, 7500);
	before = shop(&edge);
	assert_int_equal(
	    edge_reload(&edge, file("blue", "blue: 100, green: 0")),
	    MERGE_KEEP_RUNTIME);
	expect(&edge, "blue", 7500);
	assert_ptr_equal(shop(&edge), before);
	assert_int_equal(split_weights(before)->version, 2);
	assert_string_equal(before->changed_by, "uid:0");
	edge_close(&edge);
}

static void
test_merge__a_changed_file_wins(void **state)
{
	struct edge edge;
	struct merge_note *notes;

	(void)state;
	edge_open(&edge, file("blue", "blue: 100, green: 0"));
	publish_two(&edge, 7500);
	assert_int_equal(edge_reload_with(&edge,
	                     file("blue", "blue: 90, green: 10"), NULL, &notes),
	    1);
	assert_int_equal(notes[0].merge, MERGE_FILE_WINS);
	assert_string_equal(notes[0].split, "shop");
	assert_int_equal(notes[0].n, 2);
	assert_int_equal(notes[0].before[0], 7500);
	assert_int_equal(notes[0].after[0], 9000);
	free(notes);
	expect(&edge, "blue", 9000);
	assert_int_equal(split_weights(shop(&edge))->version, 3);
	assert_int_equal(shop(&edge)->previous[0], 7500);
	assert_string_equal(shop(&edge)->changed_by, "file");
	/* and from then on that is what the file has always said */
	publish_two(&edge, 8000);
	assert_int_equal(
	    edge_reload(&edge, file("blue", "blue: 90, green: 10")),
	    MERGE_KEEP_RUNTIME);
	expect(&edge, "blue", 8000);
	edge_close(&edge);
}

static void
test_merge__a_file_that_says_what_runs_changes_nothing(void **state)
{
	struct edge edge;

	(void)state;
	edge_open(&edge, file("blue", "blue: 100, green: 0"));
	publish_two(&edge, 7500);
	assert_int_equal(
	    edge_reload(&edge, file("blue", "blue: 75, green: 25")),
	    MERGE_KEEP_RUNTIME);
	assert_int_equal(split_weights(shop(&edge))->version, 2);
	assert_int_equal(shop(&edge)->file[0], 7500);
	edge_close(&edge);
}

static void
test_merge__a_new_pool_without_weight_leaves_runtime_alone(void **state)
{
	struct edge edge;

	(void)state;
	edge_open(&edge, file("blue", "blue: 100, green: 0"));
	publish_two(&edge, 7500);
	assert_int_equal(
	    edge_reload(&edge, file("blue", "red: 0, blue: 100, green: 0")),
	    MERGE_POOLS_CHANGED);
	expect(&edge, "red", 0);
	expect(&edge, "blue", 7500);
	expect(&edge, "green", 2500);
	assert_int_equal(split_weights(shop(&edge))->version, 3);
	assert_int_equal(
	    shop(&edge)->previous[split_slot(shop(&edge), "blue")], BP_ALL);
	edge_close(&edge);
}

static void
test_merge__the_share_of_a_pool_that_leaves_goes_to_stable(void **state)
{
	struct edge edge;
	bp_t bp[] = {5000, 1000, 4000};

	(void)state;
	edge_open(&edge, file("blue", "blue: 90, green: 10, red: 0"));
	split_publish(shop(&edge), bp, 0, "uid:0", NULL);
	assert_int_equal(edge_reload(&edge, file("blue", "blue: 100, red: 0")),
	    MERGE_POOLS_CHANGED);
	expect(&edge, "blue", 6000);
	expect(&edge, "red", 4000);
	edge_close(&edge);
}

static void
test_merge__pools_in_another_order_are_the_same_pools(void **state)
{
	struct edge edge;

	(void)state;
	edge_open(&edge, file("blue", "blue: 100, green: 0"));
	publish_two(&edge, 7500);
	assert_int_equal(
	    edge_reload(&edge, file("blue", "green: 0, blue: 100")),
	    MERGE_KEEP_RUNTIME);
	assert_int_equal(split_slot(shop(&edge), "green"), 0);
	expect(&edge, "blue", 7500);
	assert_int_equal(split_weights(shop(&edge))->version, 2);
	edge_close(&edge);
}

static void
test_merge__an_old_snapshot_keeps_its_own_slots(void **state)
{
	struct edge edge;
	struct snapshot *old;
	struct route_query query = edge_query("a.test", "/", NULL);

	(void)state;
	edge_open(&edge, file("blue", "blue: 100, green: 0"));
	old = edge.snapshot;
	snapshot_hold(old, 0);
	edge_reload(&edge, file("red", "green: 0, red: 100"));
	for (int i = 0; i < 100; i++) {
		struct decision decision;

		routing_decide(old, 0, &edge.rng, &query, &decision);
		assert_string_equal(decision.pool->pool->name, "blue");
		assert_string_equal(edge_pool(&edge, NULL), "red");
	}
	assert_int_equal(
	    publication_reap(registry_publication(edge.registry)), 1);
	snapshot_drop(old, 0);
	assert_int_equal(
	    publication_reap(registry_publication(edge.registry)), 0);
	edge_close(&edge);
}

static void
test_merge__a_new_stable_pool_moves_to_the_top(void **state)
{
	struct edge edge;

	(void)state;
	edge_open(&edge, file("blue", "blue: 60, green: 40"));
	assert_int_equal(split_weights(shop(&edge))->stable, 0);
	assert_int_equal(
	    edge_reload(&edge, file("green", "blue: 60, green: 40")),
	    MERGE_KEEP_RUNTIME);
	assert_int_equal(split_weights(shop(&edge))->stable, 1);
	assert_int_equal(split_weights(shop(&edge))->version, 2);
	assert_string_equal(shop(&edge)->stable, "green");
	edge_close(&edge);
}

/* ---- restarts ---- */

static struct split_state
saved_at(bp_t blue, const char *text)
{
	struct split_state saved;
	struct edge edge;

	edge_open(&edge, text);
	publish_two(&edge, 9999);
	publish_two(&edge, blue);
	split_save(shop(&edge), &saved);
	edge_close(&edge);
	return saved;
}

static void
build(struct edge *edge, const char *text)
{
	edge_init(edge, 1);
	assert_non_null(snapshot_build(
	    edge->registry, edge_config(text), NULL, &edge->err));
}

static void
publish(struct edge *edge)
{
	snapshot_publish(
	    registry_publication(edge->registry), edge->registry->built, NULL);
	edge_turn(edge, 0);
}

static void
expect_resumed(struct edge *edge, const struct split_state *saved)
{
	const struct split *split = shop(edge);

	expect(edge, "blue", 7500);
	assert_int_equal(split_weights(split)->version, 3);
	assert_true(split_weights(split)->salt == saved->salt);
	assert_true(split->has_previous);
	assert_int_equal(split->previous[0], 9999);
	assert_int_equal(split->changed_at, 100);
	assert_string_equal(split->changed_by, "uid:0");
	assert_string_equal(split->reason, "by hand");
	assert_int_equal(split->file[0], BP_ALL);
	assert_int_equal(split->fate, MERGE_KEEP_RUNTIME);
}

static void
test_restore__resumes_before_the_first_publish(void **state)
{
	const char *text = file("blue", "blue: 100, green: 0");
	struct split_state saved = saved_at(7500, text);
	struct edge edge;

	(void)state;
	build(&edge, text);
	assert_int_equal(registry_n_splits(edge.registry), 1);
	assert_true(split_restore(registry_split_at(edge.registry, 0), &saved));
	publish(&edge);
	expect_resumed(&edge, &saved);
	split_state_release(&saved);
	edge_close(&edge);
}

static void
test_restore__resumes_before_the_first_build(void **state)
{
	const char *text = file("blue", "blue: 100, green: 0");
	struct split_state saved = saved_at(7500, text);
	struct edge edge;

	(void)state;
	edge_init(&edge, 1);
	assert_true(registry_restore_split(edge.registry, "shop", &saved));
	assert_true(registry_restore_split(edge.registry, "gone", &saved));
	assert_int_equal(edge_reload(&edge, text), MERGE_KEEP_RUNTIME);
	expect_resumed(&edge, &saved);
	split_state_release(&saved);
	edge_close(&edge);
}

static void
test_restore__resumes_after_the_first_publish(void **state)
{
	const char *text = file("blue", "blue: 100, green: 0");
	struct split_state saved = saved_at(7500, text);
	struct edge edge;

	(void)state;
	edge_open(&edge, text);
	/* blocks of version 1 have been dealt already */
	assert_string_equal(edge_pool(&edge, NULL), "blue");
	assert_true(registry_restore_split(edge.registry, "shop", &saved));
	expect_resumed(&edge, &saved);
	split_state_release(&saved);
	edge_close(&edge);
}

static void
test_restore__a_file_that_was_edited_meanwhile_wins(void **state)
{
	struct split_state saved =
	    saved_at(7500, file("blue", "blue: 100, green: 0"));
	struct merge_note *notes;
	struct edge edge;

	(void)state;
	build(&edge, file("green", "blue: 10, green: 90"));
	assert_true(split_restore(shop(&edge), &saved));
	assert_int_equal(snapshot_publish(registry_publication(edge.registry),
	                     edge.registry->built, &notes),
	    1);
	assert_int_equal(notes[0].merge, MERGE_FILE_WINS);
	assert_int_equal(notes[0].before[0], 7500);
	assert_int_equal(notes[0].after[0], 1000);
	free(notes);
	assert_int_equal(split_weights(shop(&edge))->version, 4);
	assert_string_equal(shop(&edge)->stable, "green");
	split_state_release(&saved);
	edge_close(&edge);
}

static void
test_restore__refuses_other_pools_and_broken_sums(void **state)
{
	struct split_state saved =
	    saved_at(7500, file("blue", "blue: 100, green: 0"));
	struct edge edge;

	(void)state;
	build(&edge, file("blue", "blue: 100, red: 0"));
	assert_false(split_restore(shop(&edge), &saved));
	publish(&edge);
	expect(&edge, "blue", BP_ALL);
	assert_int_equal(split_weights(shop(&edge))->version, 1);
	edge_close(&edge);
	build(&edge, file("blue", "blue: 100, green: 0"));
	saved.bp[0]--;
	assert_false(split_restore(shop(&edge), &saved));
	assert_false(registry_restore_split(edge.registry, "other", &saved));
	split_state_release(&saved);
	edge_close(&edge);
}

static void
test_restore__by_name_follows_changed_pools(void **state)
{
	struct split_state saved =
	    saved_at(7500, file("blue", "blue: 100, green: 0"));
	struct edge edge;

	(void)state;
	edge_init(&edge, 1);
	assert_true(registry_restore_split(edge.registry, "shop", &saved));
	assert_int_equal(
	    edge_reload(&edge, file("blue", "red: 0, blue: 100, green: 0")),
	    MERGE_POOLS_CHANGED);
	expect(&edge, "blue", 7500);
	expect(&edge, "green", 2500);
	split_state_release(&saved);
	edge_close(&edge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_merge__an_unchanged_file_keeps_runtime_weights),
	    cmocka_unit_test(test_merge__a_changed_file_wins),
	    cmocka_unit_test(
	        test_merge__a_file_that_says_what_runs_changes_nothing),
	    cmocka_unit_test(
	        test_merge__a_new_pool_without_weight_leaves_runtime_alone),
	    cmocka_unit_test(
	        test_merge__the_share_of_a_pool_that_leaves_goes_to_stable),
	    cmocka_unit_test(
	        test_merge__pools_in_another_order_are_the_same_pools),
	    cmocka_unit_test(test_merge__an_old_snapshot_keeps_its_own_slots),
	    cmocka_unit_test(test_merge__a_new_stable_pool_moves_to_the_top),
	    cmocka_unit_test(test_restore__resumes_before_the_first_publish),
	    cmocka_unit_test(test_restore__resumes_before_the_first_build),
	    cmocka_unit_test(test_restore__resumes_after_the_first_publish),
	    cmocka_unit_test(
	        test_restore__a_file_that_was_edited_meanwhile_wins),
	    cmocka_unit_test(test_restore__refuses_other_pools_and_broken_sums),
	    cmocka_unit_test(test_restore__by_name_follows_changed_pools),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
