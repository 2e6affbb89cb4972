/*
 * Evidence: which requests are units, that they add up over workers, and that
 * nothing of other weights ever gets in.
 */
#include "tests/unit/routing/edge.h"

#include "routing/evidence.h"

#define SHOP(affinity)                                                         \
	"version: 1\n"                                                         \
	"listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"                    \
	"pools:\n"                                                             \
	"  blue: {endpoints: [\"127.0.0.1:9000\"]}\n"                          \
	"  green: {endpoints: [\"127.0.0.1:9001\"]}\n"                         \
	"  red: {endpoints: [\"127.0.0.1:9002\"]}\n"                           \
	"splits:\n"                                                            \
	"  shop: {stable: blue, affinity: " affinity                           \
	", pins: [{header: {x-pin: g}, pool: green}], "                        \
	"weights: {blue: 100, green: 0, red: 0}}\n"                            \
	"routes: [{name: all, split: shop}]\n"

enum { BLUE, GREEN, RED };

static const struct split_trial trial = {.candidate = GREEN, .baseline = BLUE};

static struct split *
open_shop(struct edge *edge, const char *text, bp_t green, bp_t red)
{
	bp_t bp[3] = {(bp_t)(BP_ALL - green - red), green, red};
	struct split *split;

	edge_open(edge, text);
	split = registry_split(edge->registry, "shop");
	split_publish_trial(split, bp, &trial, 0, "test", NULL);
	return split;
}

static void
publish_green(struct split *split, bp_t green)
{
	bp_t bp[3] = {(bp_t)(BP_ALL - green), green, 0};

	split_publish_trial(split, bp, &trial, 0, "test", NULL);
}

static struct evidence_sum
evidence_now(const struct split *split)
{
	struct evidence_sum sum;

	assert_true(split_evidence_read(split, &sum));
	return sum;
}

static struct outcome
answered(unsigned status, nsec_t latency)
{
	return (struct outcome){.status = status,
	    .pool_failed = status >= 500,
	    .has_first_byte = true,
	    .first_byte = latency,
	    .total = latency,
	    .first = {.is_known = true,
	        .has_latency = true,
	        .type = SHAPE_TYPE_JSON,
	        .status = status,
	        .bytes = 2000}};
}

/* Decides until the pool by that slot is drawn. */
static struct decision
draw(struct edge *edge, uint32_t slot)
{
	struct decision decision;

	do
		decision = edge_decide(edge, "a.test", "/", NULL);
	while (decision.slot != slot);
	return decision;
}

static bool
record(struct edge *edge, unsigned worker, const struct decision *decision,
    const struct outcome *outcome)
{
	return routing_record(edge->snapshot, worker, 0, decision, outcome);
}

/* ---- what counts ---- */

static void
test_evidence__a_unit_counts_once_in_its_arm(void **state)
{
	struct edge edge;
	struct split *split =
	    open_shop(&edge, SHOP("{by: request}"), 5000, 1000);
	struct outcome good = answered(200, 3 * NSEC_PER_MSEC),
	               bad = answered(503, NSEC_PER_MSEC);
	struct decision green = draw(&edge, GREEN), blue = draw(&edge, BLUE);
	struct evidence_sum sum;

	(void)state;
	record(&edge, 0, &green, &good);
	record(&edge, 0, &green, &bad);
	record(&edge, 1, &blue, &good);
	sum = evidence_now(split);
	assert_int_equal(sum.arm[ARM_CANDIDATE].n, 2);
	assert_int_equal(sum.arm[ARM_CANDIDATE].bad, 1);
	assert_int_equal(sum.arm[ARM_CANDIDATE].n_latency, 2);
	assert_int_equal(
	    sum.arm[ARM_CANDIDATE].latency[histogram_bucket(3 * NSEC_PER_MSEC)],
	    1);
	assert_int_equal(sum.arm[ARM_CANDIDATE].shape[SHAPE_STATUS + 2], 1);
	assert_int_equal(sum.arm[ARM_CANDIDATE].shape[SHAPE_STATUS + 5], 1);
	assert_int_equal(sum.arm[ARM_CANDIDATE].shape[shape_size(2000)], 2);
	assert_int_equal(
	    sum.arm[ARM_CANDIDATE].shape[SHAPE_TYPE + SHAPE_TYPE_JSON], 2);
	assert_int_equal(sum.arm[ARM_BASELINE].n, 1);
	assert_int_equal(sum.arm[ARM_BASELINE].bad, 0);
	edge_close(&edge);
}

static void
test_evidence__what_chance_did_not_assign_is_none(void **state)
{
	struct edge edge;
	struct split *split =
	    open_shop(&edge, SHOP("{by: request}"), 5000, 1000);
	struct edge_request pinned = {.headers = {{"x-pin", "g"}}};
	struct decision red = draw(&edge, RED),
	                pin = edge_decide(&edge, "a.test", "/", &pinned);
	struct outcome good = answered(200, 1), bad = answered(500, 1);
	struct evidence_sum sum;

	(void)state;
	assert_int_equal(pin.slot, GREEN);
	assert_int_equal(pin.serial, 0);
	assert_false(pin.is_candidate);
	assert_int_equal(red.serial, 0);
	assert_false(red.is_candidate);
	record(&edge, 0, &red, &bad);
	record(&edge, 0, &pin, &bad);
	record(&edge, 0, &pin, &good);
	sum = evidence_now(split);
	assert_int_equal(sum.arm[ARM_CANDIDATE].n + sum.arm[ARM_BASELINE].n, 0);
	edge_close(&edge);
}

static void
test_evidence__unknown_fates_are_none(void **state)
{
	struct edge edge;
	struct split *split = open_shop(&edge, SHOP("{by: request}"), 5000, 0);
	struct decision green = draw(&edge, GREEN);
	struct outcome gone = {.status = 499}, retried = answered(200, 9);
	struct evidence_sum sum;

	(void)state;
	record(&edge, 0, &green, &gone);
	assert_int_equal(evidence_now(split).arm[ARM_CANDIDATE].n, 0);
	/* the second attempt's answer says nothing of the first one's time */
	retried.pool_failed = true;
	retried.first.has_latency = false;
	retried.first.status = 0;
	record(&edge, 0, &green, &retried);
	sum = evidence_now(split);
	assert_int_equal(sum.arm[ARM_CANDIDATE].n, 1);
	assert_int_equal(sum.arm[ARM_CANDIDATE].bad, 1);
	assert_int_equal(sum.arm[ARM_CANDIDATE].n_latency, 0);
	assert_int_equal(sum.arm[ARM_CANDIDATE].shape[SHAPE_STATUS], 1);
	edge_close(&edge);
}

static void
test_evidence__only_a_trial_is_judged(void **state)
{
	static const char *const text = SHOP("{by: request}");
	bp_t bp[3] = {5000, 5000, 0};
	struct evidence_sum sum;
	struct decision green;
	struct edge edge;
	struct snapshot *began; /* what a request holds on to */
	struct split *split;

	(void)state;
	edge_open(&edge, text);
	split = registry_split(edge.registry, "shop");
	assert_false(split_evidence_read(split, &sum));
	split_publish(split, bp, 0, "test", NULL);
	green = draw(&edge, GREEN);
	assert_int_equal(green.serial, 0);
	assert_false(green.is_candidate);
	assert_false(split_evidence_read(split, &sum));
	split_publish_trial(split, bp, &trial, 0, "test", NULL);
	assert_true(split_evidence_read(split, &sum));
	/* an unchanged reload goes on with it, and with what it has counted */
	green = draw(&edge, GREEN);
	record(&edge, 0, &green, &(struct outcome){.first.is_known = true});
	began = edge.snapshot;
	snapshot_hold(began, 0);
	edge_reload(&edge, text);
	routing_record(
	    began, 0, 0, &green, &(struct outcome){.first.is_known = true});
	snapshot_drop(began, 0);
	assert_int_equal(evidence_now(split).arm[ARM_CANDIDATE].n, 2);
	split_publish(split, bp, 0, "test", NULL);
	assert_false(split_evidence_read(split, &sum));
	edge_close(&edge);
}

static void
test_evidence__other_weights_never_mix(void **state)
{
	struct edge edge;
	struct split *split = open_shop(&edge, SHOP("{by: request}"), 500, 0);
	struct decision early = draw(&edge, GREEN);
	struct outcome bad = answered(500, 1);

	(void)state;
	publish_green(split, 5000);
	assert_int_equal(evidence_now(split).arm[ARM_CANDIDATE].n, 0);
	for (int i = 0; i < 10; i++)
		assert_false(record(&edge, 0, &early, &bad));
	assert_int_equal(evidence_now(split).arm[ARM_CANDIDATE].n, 0);
	/* not even when the same weights come back */
	publish_green(split, 500);
	record(&edge, 0, &early, &bad);
	assert_int_equal(evidence_now(split).arm[ARM_CANDIDATE].n, 0);
	assert_int_equal(
	    routing_record_age(0, &early, NSEC_PER_SEC), AGE_NO_UNIT);
	edge_close(&edge);
}

static void
random_sum(struct rng *rng, struct evidence_sum *sum)
{
	for (int i = 0; i < ARM_COUNT; i++) {
		struct arm_sum *arm = &sum->arm[i];

		*arm = (struct arm_sum){rng_below(rng, 1000),
		    rng_below(rng, 1000), rng_below(rng, 9), rng_below(rng, 9),
		    .n_latency = rng_below(rng, 1000)};
		for (int j = 0; j < SHAPE_COUNT; j++)
			arm->shape[j] = rng_below(rng, 1000);
		for (int j = 0; j < HISTOGRAM_BUCKETS; j++)
			arm->latency[j] = rng_below(rng, 1000);
	}
}

static void
test_evidence__adding_a_difference_gives_it_back(void **state)
{
	struct evidence_sum before, delta, now, out;
	struct edge edge = {0};

	(void)state;
	edge_seed(&edge, 3);
	random_sum(&edge.rng, &before);
	random_sum(&edge.rng, &delta);
	now = before;
	evidence_add(&now, &delta);
	assert_int_equal(now.arm[1].latency[HISTOGRAM_BUCKETS - 1],
	    before.arm[1].latency[HISTOGRAM_BUCKETS - 1] +
	        delta.arm[1].latency[HISTOGRAM_BUCKETS - 1]);
	assert_int_equal(now.arm[0].n, before.arm[0].n + delta.arm[0].n);
	evidence_subtract(&now, &before, &out);
	assert_memory_equal(&out, &delta, sizeof(out));
	evidence_subtract(&now, &now, &now);
	memset(&out, 0, sizeof(out));
	assert_memory_equal(&now, &out, sizeof(out));
}

/* The same outcomes, counted by one worker or by four: the same sum. */
static void
test_evidence__workers_add_up(void **state)
{
	static const char *const affinities[] = {
	    SHOP("{by: request}"), SHOP("{by: header, name: x-user}")};
	struct evidence_sum sums[2];

	(void)state;
	for (int way = 0; way < 2; way++) {
		for (unsigned workers = 1; workers <= 4; workers += 3) {
			struct edge edge;
			struct split *split;

			edge_init(&edge, workers);
			edge_reload(&edge, affinities[way]);
			split = registry_split(edge.registry, "shop");
			publish_green(split, 3000);
			for (unsigned i = 0; i < 2000; i++) {
				char user[16];
				struct edge_request request = {
				    .headers = {{"x-user", user}}};
				struct outcome outcome = answered(
				    i % 37 == 0 ? 502 : 200, i * 10000);
				struct decision decision;

				snprintf(user, sizeof(user), "u%u", i % 300);
				decision =
				    edge_decide(&edge, "a.test", "/", &request);
				record(&edge, i % workers, &decision, &outcome);
			}
			sums[workers == 4] = evidence_now(split);
			edge_close(&edge);
		}
		assert_true(sums[0].arm[ARM_CANDIDATE].bad > 0);
		assert_memory_equal(&sums[0], &sums[1], sizeof(sums[0]));
	}
}

/* ---- affinity ---- */

static struct decision
decide_user(struct edge *edge, const char *user)
{
	struct edge_request request = {.headers = {{"x-user", user}}};

	return edge_decide(edge, "a.test", "/", &request);
}

static void
test_evidence__a_key_counts_once_and_fails_once(void **state)
{
	struct edge edge;
	struct split *split =
	    open_shop(&edge, SHOP("{by: header, name: x-user}"), 5000, 0);
	struct outcome good = answered(200, 5), bad = answered(500, 7);
	struct decision user = decide_user(&edge, "someone");
	enum arm arm = user.slot == GREEN ? ARM_CANDIDATE : ARM_BASELINE;
	struct evidence_sum sum;

	(void)state;
	assert_int_equal(user.why, WHY_AFFINITY);
	for (int i = 0; i < 5; i++)
		record(&edge, 0, &user, &good);
	for (int i = 0; i < 5; i++)
		record(&edge, 1, &user, &bad);
	sum = evidence_now(split);
	assert_int_equal(sum.arm[arm].n, 1);
	assert_int_equal(sum.arm[arm].bad, 1);
	assert_int_equal(sum.arm[arm].n_latency, 1);
	assert_int_equal(sum.arm[arm].shape[SHAPE_STATUS + 2], 1);
	assert_int_equal(sum.arm[arm].shape[SHAPE_STATUS + 5], 0);
	edge_close(&edge);
}

static void
test_evidence__a_request_without_its_key_is_its_own_unit(void **state)
{
	struct edge edge;
	struct split *split =
	    open_shop(&edge, SHOP("{by: header, name: x-user}"), 5000, 0);
	struct outcome good = answered(200, 5);
	struct decision green = draw(&edge, GREEN);

	(void)state;
	assert_int_equal(green.why, WHY_WEIGHT);
	for (int i = 0; i < 5; i++)
		record(&edge, 0, &green, &good);
	assert_int_equal(evidence_now(split).arm[ARM_CANDIDATE].n, 5);
	edge_close(&edge);
}

/* However full the map of keys is, a client without a cookie is a new one. */
static void
test_evidence__a_fresh_cookie_is_always_new(void **state)
{
	struct edge edge;
	struct split *split =
	    open_shop(&edge, SHOP("{by: cookie, name: u}"), 5000, 0);
	struct outcome bad = answered(500, 5);
	struct decision fresh = edge_decide(&edge, "a.test", "/", NULL), back;
	struct edge_request request = {.cookies = {{"u", fresh.cookie_value}}};
	enum arm arm = fresh.slot == GREEN ? ARM_CANDIDATE : ARM_BASELINE;

	(void)state;
	assert_true(fresh.sets_cookie);
	record(&edge, 0, &fresh, &bad);
	back = edge_decide(&edge, "a.test", "/", &request);
	assert_int_equal(back.slot, fresh.slot);
	assert_int_equal(back.unit, fresh.unit);
	record(&edge, 0, &back, &bad);
	assert_int_equal(evidence_now(split).arm[arm].n, 1);
	assert_int_equal(evidence_now(split).arm[arm].bad, 1);
	memset(split_weights(split)->evidence->keys->seen, 0xff,
	    sizeof(split_weights(split)->evidence->keys->seen));
	record(&edge, 0, &back, &bad);
	assert_int_equal(evidence_now(split).arm[arm].n, 1);
	record(&edge, 0, &fresh, &bad);
	assert_int_equal(evidence_now(split).arm[arm].n, 2);
	edge_close(&edge);
}

static void
test_evidence__a_phase_begins_anew_and_its_steps_do_not(void **state)
{
	struct split_trial step = {
	    .candidate = GREEN, .baseline = BLUE, .continues = true};
	bp_t bp[3] = {5000, 5000, 0};
	struct edge edge;
	struct split *split =
	    open_shop(&edge, SHOP("{by: header, name: x-user}"), 5000, 0);
	struct outcome bad = answered(500, 7);
	struct decision user = decide_user(&edge, "someone");
	enum arm arm = user.slot == GREEN ? ARM_CANDIDATE : ARM_BASELINE;

	(void)state;
	record(&edge, 0, &user, &bad);
	split_publish_trial(split, bp, &step, 0, "test", NULL);
	user = decide_user(&edge, "someone");
	record(&edge, 0, &user, &bad);
	assert_int_equal(evidence_now(split).arm[arm].n, 0);
	assert_int_equal(evidence_now(split).arm[arm].bad, 0);
	split_publish_trial(split, bp, &trial, 0, "test", NULL);
	user = decide_user(&edge, "someone");
	record(&edge, 0, &user, &bad);
	assert_int_equal(evidence_now(split).arm[arm].n, 1);
	assert_int_equal(evidence_now(split).arm[arm].bad, 1);
	/* keys outlive the weights that they were made with */
	edge_turn(&edge, 0);
	publication_reap(registry_publication(edge.registry));
	split_publish_trial(split, bp, &step, 0, "test", NULL);
	edge_turn(&edge, 0);
	publication_reap(registry_publication(edge.registry));
	user = decide_user(&edge, "someone");
	record(&edge, 0, &user, &bad);
	assert_int_equal(evidence_now(split).arm[arm].n, 0);
	edge_close(&edge);
}

/* A key's requests are no independent units: without a map they are none. */
static void
test_evidence__affinity_that_came_with_a_reload_is_not_counted(void **state)
{
	struct edge edge;
	struct split *split = open_shop(&edge, SHOP("{by: request}"), 5000, 0);

	(void)state;
	edge_reload(&edge, SHOP("{by: header, name: x-user}"));
	assert_ptr_equal(split, registry_split(edge.registry, "shop"));
	assert_int_equal(decide_user(&edge, "someone").serial, 0);
	publish_green(split, 5000);
	assert_true(decide_user(&edge, "someone").serial != 0);
	edge_close(&edge);
}

/* ---- by age ---- */

static void
test_evidence__an_age_counts_once_and_only_above_the_cut(void **state)
{
	struct edge edge;
	struct split *split = open_shop(&edge, SHOP("{by: request}"), 5000, 0);
	struct decision green = draw(&edge, GREEN);
	struct outcome late = answered(200, 900 * NSEC_PER_MSEC);
	struct evidence_sum sum;

	(void)state;
	assert_int_equal(routing_age_cut(edge.snapshot), 0);
	assert_int_equal(
	    routing_record_age(0, &green, NSEC_PER_SEC), AGE_YOUNG);
	split_evidence_cut(split, 400 * NSEC_PER_MSEC);
	assert_int_equal(routing_age_cut(edge.snapshot), 400 * NSEC_PER_MSEC);
	assert_int_equal(
	    routing_record_age(0, &green, 400 * NSEC_PER_MSEC), AGE_YOUNG);
	assert_int_equal(
	    routing_record_age(0, &green, 450 * NSEC_PER_MSEC), AGE_SLOW);
	sum = evidence_now(split);
	assert_int_equal(sum.arm[ARM_CANDIDATE].slow, 1);
	assert_int_equal(sum.arm[ARM_CANDIDATE].n, 0);
	assert_int_equal(sum.arm[ARM_CANDIDATE]
	                     .latency[histogram_bucket(450 * NSEC_PER_MSEC)],
	    1);
	/* its fate is known at last: a unit, but no second latency */
	late.first.was_slow = true;
	record(&edge, 0, &green, &late);
	sum = evidence_now(split);
	assert_int_equal(sum.arm[ARM_CANDIDATE].n, 1);
	assert_int_equal(sum.arm[ARM_CANDIDATE].n_latency, 1);
	edge_close(&edge);
}

static void
test_evidence__a_key_is_slow_at_its_first_request_only(void **state)
{
	struct edge edge;
	struct split *split =
	    open_shop(&edge, SHOP("{by: header, name: x-user}"), 5000, 0);
	struct decision user = decide_user(&edge, "someone");
	enum arm arm = user.slot == GREEN ? ARM_CANDIDATE : ARM_BASELINE;
	struct outcome late = answered(504, NSEC_PER_SEC);

	(void)state;
	split_evidence_cut(split, NSEC_PER_MSEC);
	assert_int_equal(routing_record_age(0, &user, NSEC_PER_SEC), AGE_SLOW);
	assert_int_equal(
	    routing_record_age(1, &user, NSEC_PER_SEC), AGE_NO_UNIT);
	late.first.was_slow = true;
	record(&edge, 0, &user, &late);
	late.first.was_slow = false;
	record(&edge, 1, &user, &late);
	assert_int_equal(evidence_now(split).arm[arm].slow, 1);
	assert_int_equal(evidence_now(split).arm[arm].n, 1);
	assert_int_equal(evidence_now(split).arm[arm].bad, 1);
	assert_int_equal(evidence_now(split).arm[arm].n_latency, 1);
	edge_close(&edge);
}

/* ---- the alarm ---- */

static void
test_evidence__the_third_failure_raises_the_alarm_once(void **state)
{
	struct edge edge;
	struct split *split = open_shop(&edge, SHOP("{by: request}"), 5000, 0);
	struct decision green = draw(&edge, GREEN), blue = draw(&edge, BLUE);
	struct outcome bad = answered(500, 1);

	(void)state;
	for (int look = 0; look < 3; look++) {
		for (int i = 0; i < 5; i++)
			assert_false(record(&edge, 0, &blue, &bad));
		assert_false(record(&edge, 0, &green, &bad));
		assert_false(record(&edge, 1, &green, &bad));
		assert_true(record(&edge, 0, &green, &bad));
		assert_false(record(&edge, 1, &green, &bad));
		evidence_now(split);
	}
	edge_close(&edge);
}

/* ---- shapes ---- */

static void
test_evidence__sizes_are_powers_of_four(void **state)
{
	(void)state;
	assert_int_equal(shape_size(0), SHAPE_SIZE);
	assert_string_equal(shape_name(shape_size(0)), "size empty");
	assert_string_equal(shape_name(shape_size(1)), "size below 64 B");
	for (unsigned i = 2; i < SHAPE_SIZE_N; i++) {
		uint64_t low = UINT64_C(1) << (2 * (i + 1));

		assert_int_equal(shape_size(low), SHAPE_SIZE + i);
		assert_int_equal(shape_size(low - 1), SHAPE_SIZE + i - 1);
	}
	assert_string_equal(shape_name(shape_size(1024)), "size 1 to 4 KiB");
	assert_string_equal(shape_name(shape_size(4095)), "size 1 to 4 KiB");
	assert_string_equal(
	    shape_name(shape_size(UINT64_MAX)), "size from 16 MiB");
	assert_string_equal(
	    shape_name(shape_size(16 << 20)), "size from 16 MiB");
}

static void
test_evidence__types_are_told_by_their_essence(void **state)
{
	static const struct {
		const char *text, *name;
	} cases[] = {
	    {"application/json", "type json"},
	    {"Application/JSON; charset=utf-8", "type json"},
	    {"application/problem+json", "type json"},
	    {"text/html;charset=utf-8", "type html"},
	    {"text/html \t; x", "type html"},
	    {"application/xhtml+xml", "type html"},
	    {"text/plain", "type text"},
	    {"text/css", "type text"},
	    {"application/xml", "type text"},
	    {"text/javascript", "type script"},
	    {"application/javascript", "type script"},
	    {"image/svg+xml", "type image"},
	    {"application/grpc", "type grpc"},
	    {"application/grpc+json", "type grpc"},
	    {"application/octet-stream", "type other"},
	    {"video/mp4", "type other"},
	    {"application/atom+xml", "type text"},
	    {"application/ecmascript", "type script"},
	    {"application/x", "type other"},
	    {"TEXT/HTML", "type html"},
	    {"text/x", "type text"},
	    {"textile/html", "type other"},
	    {"image/png", "type image"},
	    {"imagery", "type other"},
	    {"text", "type other"},
	    {"", "type none"},
	    {" ;", "type none"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_string_equal(
		    shape_name(shape_type(span_of(cases[i].text))),
		    cases[i].name);
	assert_string_equal(
	    shape_name(shape_type((struct span){0})), "type none");
	assert_string_equal(arm_name(ARM_CANDIDATE), "canary");
	assert_string_equal(arm_name(ARM_BASELINE), "baseline");
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_evidence__a_unit_counts_once_in_its_arm),
	    cmocka_unit_test(test_evidence__what_chance_did_not_assign_is_none),
	    cmocka_unit_test(test_evidence__unknown_fates_are_none),
	    cmocka_unit_test(test_evidence__only_a_trial_is_judged),
	    cmocka_unit_test(test_evidence__other_weights_never_mix),
	    cmocka_unit_test(test_evidence__adding_a_difference_gives_it_back),
	    cmocka_unit_test(test_evidence__workers_add_up),
	    cmocka_unit_test(test_evidence__a_key_counts_once_and_fails_once),
	    cmocka_unit_test(
	        test_evidence__a_request_without_its_key_is_its_own_unit),
	    cmocka_unit_test(test_evidence__a_fresh_cookie_is_always_new),
	    cmocka_unit_test(
	        test_evidence__a_phase_begins_anew_and_its_steps_do_not),
	    cmocka_unit_test(
	        test_evidence__affinity_that_came_with_a_reload_is_not_counted),
	    cmocka_unit_test(
	        test_evidence__an_age_counts_once_and_only_above_the_cut),
	    cmocka_unit_test(
	        test_evidence__a_key_is_slow_at_its_first_request_only),
	    cmocka_unit_test(
	        test_evidence__the_third_failure_raises_the_alarm_once),
	    cmocka_unit_test(test_evidence__sizes_are_powers_of_four),
	    cmocka_unit_test(test_evidence__types_are_told_by_their_essence),
	};

	(void)argc;
	edge_without_caches(argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
