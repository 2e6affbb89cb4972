/* Health checks, ejection: words, defaults, inheritance, what is refused. */
#include "cmock.h"

#define POOL_WITH(text)                                                        \
	HEAD TAIL "pools:\n  app:\n    endpoints: \"127.0.0.1:9000\"\n" text

#define GRPC "    protocol: h2\n    health: {grpc: "

static void
test_resilience__without_a_word_there_are_no_checks(void **state)
{
	struct config *config = load_fine(HEAD POOL TAIL);

	(void)state;
	assert_false(config->pools[0].health.is_on);
	config_free(&config);
}

static void
test_resilience__an_empty_check_is_a_connection(void **state)
{
	struct config *config = load_fine(POOL_WITH("    health: {}\n"));
	const struct health_cfg *health = &config->pools[0].health;

	(void)state;
	assert_true(health->is_on);
	assert_null(health->path);
	assert_int_equal(health->interval, 2 * NSEC_PER_SEC);
	assert_int_equal(health->timeout, NSEC_PER_SEC);
	assert_int_equal(health->rise, 2);
	assert_int_equal(health->fall, 3);
	config_free(&config);
}

static void
test_resilience__a_check_is_read(void **state)
{
	struct config *config = load_fine(POOL_WITH(
	    "    health: {path: \"/h?x=1\", interval: 500ms, timeout: 100ms, "
	    "rise: 1, fall: 5, expect: [200, 500-504], body: ok, headers: "
	    "{Host: "
	    "a.test}, port: 81}\n  like: {like: app, endpoints: "
	    "\"127.0.0.1:1\", health: {fall: 9}}\n"));
	const struct health_cfg *health = &config->pools[0].health;
	const struct health_cfg *heir = &config->pools[1].health;

	(void)state;
	assert_string_equal(health->path, "/h?x=1");
	assert_int_equal(health->interval, 500 * NSEC_PER_MSEC);
	assert_int_equal(health->timeout, 100 * NSEC_PER_MSEC);
	assert_int_equal(health->n_expect, 2);
	assert_int_equal(health->expect[0].from, 200);
	assert_int_equal(health->expect[0].to, 200);
	assert_int_equal(health->expect[1].to, 504);
	assert_string_equal(health->body, "ok");
	assert_string_equal(health->headers[0].name, "host");
	assert_int_equal(health->port, 81);
	assert_int_equal(heir->fall, 9);
	assert_int_equal(heir->rise, 1);
	assert_string_equal(heir->path, "/h?x=1");
	config_free(&config);
}

static void
test_resilience__a_check_by_grpc_is_read(void **state)
{
	struct config *config = load_fine(POOL_WITH(
	    GRPC "\"\", fall: 1}\n"
	         "  other: {like: app, health: {grpc: cart.Cart}}\n"));
	struct config *again = load_rendered(config);

	(void)state;
	assert_string_equal(config->pools[0].health.grpc, "");
	assert_string_equal(
	    config->pools[0].health.path, "/grpc.health.v1.Health/Check");
	assert_string_equal(again->pools[0].health.grpc, "");
	assert_string_equal(again->pools[1].health.grpc, "cart.Cart");
	assert_int_equal(again->pools[1].health.fall, 1);
	config_free(&config);
	config_free(&again);
}

static void
test_resilience__bodies_are_kept_and_nothing_is_hedged(void **state)
{
	struct config *config = load_fine(HEAD POOL TAIL);
	const struct retry_cfg *retry = &config->pools[0].retry;

	(void)state;
	assert_int_equal(retry->replay, 65536);
	assert_int_equal(retry->hedge_quantile, 0);
	assert_int_equal(retry->hedge_after, 0);
	config_free(&config);
}

static void
test_resilience__further_attempts_are_read(void **state)
{
	struct config *config = load_fine(
	    POOL_WITH("    retry: {hedge: p95, replay: 8KiB}\n"
	              "  like: {like: app, endpoints: \"127.0.0.1:1\", retry: "
	              "{hedge: 250ms}}\n"));
	const struct retry_cfg *retry = &config->pools[0].retry;
	const struct retry_cfg *heir = &config->pools[1].retry;

	(void)state;
	assert_int_equal(retry->replay, 8192);
	assert_int_equal(retry->hedge_quantile, 9500);
	assert_int_equal(retry->hedge_after, 0);
	assert_int_equal(heir->replay, 8192);
	assert_int_equal(heir->hedge_quantile, 0);
	assert_int_equal(heir->hedge_after, 250 * NSEC_PER_MSEC);
	config_free(&config);
	expect_part(POOL_WITH("    retry: {hedge: p50}\n"),
	    "\"p50\" is not one of off, p90, p95, p99, or a duration like "
	    "\"250ms\"");
	expect_part(POOL_WITH("    retry: {replay: 1MiB}\n"), "256KiB");
}

static void
test_resilience__ejection_has_defaults(void **state)
{
	struct config *config = load_fine(POOL_WITH("    outliers: {}\n"));
	const struct outliers_cfg *outliers = &config->pools[0].outliers;

	(void)state;
	assert_true(outliers->is_on);
	assert_int_equal(outliers->consecutive, 5);
	assert_int_equal(outliers->eject, 10 * NSEC_PER_SEC);
	assert_int_equal(outliers->max_ejected, 5000);
	config_free(&config);
}

static void
test_resilience__an_adaptive_limit_is_asked_for(void **state)
{
	struct config *config =
	    load_fine(POOL_WITH("    limits: {in_flight: 3}\n"
	                        "  on: {like: app, limits: {in_flight: 3, adaptive: true}}\n"
	                        "  off: {like: on, limits: {in_flight: 3, adaptive: false}}\n"
	                        "  fine: {like: app, limits: {in_flight: 90, "
	                        "adaptive: {min: 8}}}\n"
	                        "  ewma: {endpoints: \"127.0.0.1:2\", balance: "
	                        "ewma}\n"));
	const struct pool_cfg *pools = config->pools;

	(void)state;
	assert_int_equal(config->n_pools, 5);
	assert_false(pools[0].limits.adaptive.is_on);
	assert_false(pools[0].is_timed);
	assert_true(pools[1].limits.adaptive.is_on);
	assert_true(pools[1].is_timed);
	assert_int_equal(pools[1].limits.adaptive.min, 3); /* in_flight */
	assert_int_equal(pools[1].limits.adaptive.tolerance, 5000);
	assert_false(pools[2].limits.adaptive.is_on);
	assert_int_equal(pools[2].limits.in_flight, 3);
	assert_true(pools[3].limits.adaptive.is_on);
	assert_int_equal(pools[3].limits.adaptive.min, 8);
	assert_true(pools[4].is_timed);
	config_free(&config);
}

static void
test_resilience__what_makes_no_sense_is_refused(void **state)
{
	static const struct {
		const char *pool, *want;
	} rows[] = {
	    {"    health: {path: ready}\n", "[E026]: health.path of pool"},
	    {"    health: {path: \"/a b\"}\n", "[E026]"},
	    {"    health: {expect: [200]}\n",
	        "[E037]: health.expect of pool \"app\": without a path"},
	    {"    health: {path: /, expect: [99]}\n", "[E039]"},
	    {"    health: {path: /, expect: [700]}\n",
	        "[E017]: health.expect of pool \"app\": this is no status"},
	    {"    health: {path: /, expect: [300-200]}\n", "[E017]"},
	    {"    health: {path: /, method: HEAD, body: x}\n", "[E037]"},
	    {"    health: {path: /, headers: {Connection: close}}\n", "[E025]"},
	    {"    health: {path: /, intervall: 1s}\n",
	        "did you mean \"interval\"?"},
	    {"    health: {grpc: \"\"}\n",
	        "[E037]: health.grpc of pool \"app\": gRPC is spoken over "
	        "HTTP/2 only"},
	    {GRPC "true}\n", "[E039]: health.grpc of pool \"app\": this is the "
	                     "name of a service, not a switch"},
	    {GRPC "\"\", path: /x}\n",
	        "[E037]: health.path of pool \"app\": with grpc"},
	    {GRPC "a, expect: [200]}\n",
	        "[E037]: health.expect of pool \"app\": with grpc"},
	    {GRPC "a, body: ok}\n", "[E037]: health.body of pool"},
	    {GRPC "a, method: GET}\n", "[E037]: health.method of pool"},
	    {GRPC "a, headers: {content-type: x}}\n", "[E025]"},
	    {"    health: {rise: 0}\n", "0 is below 1"},
	    {"    limits: {queue: 5}\n", "\"in_flight\" is missing"},
	    {"    limits: {in_flight: 5, adaptive: {min: 6}}\n",
	        "[E037]: limits.adaptive.min of pool \"app\": this is above"},
	    {"    limits: {in_flight: 5, adaptive: {tolerance: 2%}}\n",
	        "2% is below 5%"},
	    {"    limits: {in_flight: 5, adaptive: maybe}\n", "[E0"},
	    {"    limits: {in_flight: 5, queue_timeout: 1s}\n",
	        "[E037]: limits.queue_timeout of pool \"app\": without a "
	        "queue"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[1024];

		snprintf(
		    text, sizeof(text), "%s%s", POOL_WITH(""), rows[i].pool);
		expect_part(text, rows[i].want);
	}
}

static void
test_resilience__what_is_rendered_loads_again(void **state)
{
	struct config *config = load_fine(POOL_WITH(
	    "    health: {path: /h, expect: [200-299, 404], body: ok, headers: "
	    "{x-a: b}, port: 81}\n  tcp: {like: app, health: {interval: 5s}, "
	    "outliers: {eject: 1m}, "
	    "limits: {in_flight: 9, queue: 3, adaptive: {tolerance: 20%}}}\n"
	    "  plain: {endpoints: \"127.0.0.1:2\", health: {}}\n"));
	struct config *again = load_rendered(config);

	(void)state;
	config_free(&config);
	config_free(&again);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_resilience__without_a_word_there_are_no_checks),
	    cmocka_unit_test(test_resilience__an_empty_check_is_a_connection),
	    cmocka_unit_test(test_resilience__a_check_is_read),
	    cmocka_unit_test(test_resilience__a_check_by_grpc_is_read),
	    cmocka_unit_test(
	        test_resilience__bodies_are_kept_and_nothing_is_hedged),
	    cmocka_unit_test(test_resilience__further_attempts_are_read),
	    cmocka_unit_test(test_resilience__ejection_has_defaults),
	    cmocka_unit_test(test_resilience__an_adaptive_limit_is_asked_for),
	    cmocka_unit_test(test_resilience__what_makes_no_sense_is_refused),
	    cmocka_unit_test(test_resilience__what_is_rendered_loads_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
