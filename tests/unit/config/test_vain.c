/*
 * Settings that do nothing where they stand are warned about, at their place;
 * with what makes them work they are not.
 */
#include "cmock.h"

#define HTTP "listeners: {http: {bind: \"127.0.0.1:8080\"}}\n"
#define TWO                                                                    \
	"pools: {a: {endpoints: [\"127.0.0.1:1\"]}, b: {endpoints: "           \
	"[\"127.0.0.1:2\"]}}\n"
#define SPLIT "routes: [{split: s}]\n"

static void
expect_none(const char *text)
{
	char *told = told_about(text);

	if (strstr(told, "W012"))
		fail_msg("unexpected:\n%s", told);
	free(told);
}

static void
test_vain__a_slow_start_with_hash(void **state)
{
	(void)state;
	expect_part(HTTP TAIL
	    "pools: {app: {endpoints: \"127.0.0.1:1\", slow_start: 5s, "
	    "balance: hash, hash_on: {by: client_ip}}}\n",
	    "warning[W012]: slow_start of pool \"app\": with balance: hash");
	expect_none(HTTP TAIL
	    "pools: {app: {endpoints: \"127.0.0.1:1\", slow_start: 5s}}\n");
}

static void
test_vain__an_endpoint_twice(void **state)
{
	(void)state;
	expect_part(HTTP TAIL
	    "pools:\n  app:\n    endpoints:\n    - \"127.0.0.1:1\"\n    - "
	    "\"127.0.0.1:2\"\n    - {address: \"127.0.0.1:1\"}\n",
	    "t.yaml:8:7: warning[W012]: ");
	expect_none(HTTP TAIL
	    "pools: {app: {endpoints: [\"127.0.0.1:1\", \"127.0.0.1:2\"]}}\n");
}

static void
test_vain__a_try_that_lasts_longer_than_the_request(void **state)
{
	(void)state;
	expect_part(HTTP TAIL
	    "pools: {app: {endpoints: \"127.0.0.1:1\", timeouts: {first_byte: "
	    "5s}, retry: {per_try: 1m}}}\n",
	    "timeouts.first_byte is over before");
	expect_none(HTTP TAIL
	    "pools: {app: {endpoints: \"127.0.0.1:1\", timeouts: {first_byte: "
	    "5s}, retry: {per_try: 1s}}}\n");
}

static void
test_vain__retries_of_nothing(void **state)
{
	(void)state;
	expect_part(HTTP TAIL
	    "pools: {app: {endpoints: \"127.0.0.1:1\", retry: {max: 0, "
	    "budget: 5%}}}\n",
	    "nothing is tried again");
	expect_none(HTTP TAIL
	    "pools: {app: {endpoints: \"127.0.0.1:1\", retry: {max: 0}}}\n");
}

static void
test_vain__outliers_of_a_pool_too_small(void **state)
{
	(void)state;
	expect_part(HTTP TAIL
	    "pools: {app: {endpoints: \"127.0.0.1:1\", outliers: {}}}\n",
	    "nobody is ever ejected");
	expect_none(HTTP TAIL
	    "pools: {app: {endpoints: \"name.test:1\", outliers: {}}}\n");
	expect_none(HTTP TAIL "pools: {app: {endpoints: [\"127.0.0.1:1\", "
	                      "\"127.0.0.1:2\"], outliers: {}}}\n");
}

static void
test_vain__a_mirror_of_the_only_pool_or_of_nothing(void **state)
{
	(void)state;
	expect_part(HTTP TWO SPLIT
	    "splits: {s: {stable: a, mirror: {to: a, percent: 5}}}\n",
	    "all requests go there anyway");
	expect_part(HTTP TWO SPLIT
	    "splits: {s: {stable: a, mirror: {to: b, percent: 0}}}\n",
	    "nothing is copied");
	expect_none(HTTP TWO SPLIT
	    "splits: {s: {stable: a, mirror: {to: b, percent: 5}}}\n");
}

static void
test_vain__a_shield_of_one_pool(void **state)
{
	(void)state;
	expect_part(HTTP TWO SPLIT "splits: {s: {stable: a, shield: true}}\n",
	    "nobody to shield it");
	expect_none(HTTP TWO SPLIT "splits: {s: {stable: a, shield: true, "
	                           "weights: {a: 100, b: 0}}}\n");
}

static void
test_vain__a_certificate_that_nobody_asks_for(void **state)
{
	(void)state;
	expect_part(HTTP POOL "routes: [{pool: app, headers: {set: {x-dn: "
	                      "\"${client.certificate.subject}\"}}}]\n",
	    "no listener asks clients for a certificate");
	expect_part(HTTP POOL
	    "routes: [{pool: app, headers: {response: {set: {x-dn: "
	    "\"${client.certificate.sha256}\"}}}}]\n",
	    "no listener asks clients for a certificate");
	expect_none(HTTP POOL "routes: [{pool: app, headers: {set: {x-id: "
	                      "\"${request.id}\"}}}]\n");
}

static void
test_vain__heads_and_upgrades_of_a_route_that_answers_itself(void **state)
{
	(void)state;
	expect_part(HTTP "routes: [{respond: {body: ok}, headers: {response: "
	                 "{set: {x-a: b}}}}]\n",
	    "changes no head");
	expect_part(HTTP "routes: [{redirect: {to: /new}, upgrade: [other]}]\n",
	    "changes no protocol");
	expect_none(HTTP "routes: [{respond: {body: ok}}]\n");
}

static void
test_vain__words_that_nobody_is_trusted_with(void **state)
{
	(void)state;
	expect_part("listeners: {http: {bind: \"127.0.0.1:1\", client_ip: "
	            "{header: x-real-ip}}}\n" POOL TAIL,
	    "nobody is trusted");
	expect_part("listeners: {http: {bind: \"127.0.0.1:1\", protocols: "
	            "[http/1.1], limits: {max_streams: 10}}}\n" POOL TAIL,
	    "only HTTP/2 has streams");
	expect_none(HTTP POOL TAIL);
}

static void
test_vain__a_log_that_is_off(void **state)
{
	(void)state;
	expect_part(HTTP POOL TAIL "logs: {access: {sample: {ok: 1%}}}\n",
	    "the access log is off");
	expect_none(HTTP POOL TAIL
	    "logs: {access: {path: stdout, sample: {ok: 1%}}}\n");
}

static void
test_vain__databases_that_no_route_asks(void **state)
{
	char text[400];

	(void)state;
	snprintf(text, sizeof(text), "%sgeo: {database: /etc/passwd}\n",
	    HTTP POOL TAIL);
	expect_part(text, "no route asks where clients are");
	snprintf(text, sizeof(text), "%sgeo: {database: /etc/passwd}\n",
	    HTTP POOL "routes: [{match: {geo: {country: DE}}, pool: app}]\n");
	expect_none(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_vain__a_slow_start_with_hash),
	    cmocka_unit_test(test_vain__an_endpoint_twice),
	    cmocka_unit_test(
	        test_vain__a_try_that_lasts_longer_than_the_request),
	    cmocka_unit_test(test_vain__retries_of_nothing),
	    cmocka_unit_test(test_vain__outliers_of_a_pool_too_small),
	    cmocka_unit_test(
	        test_vain__a_mirror_of_the_only_pool_or_of_nothing),
	    cmocka_unit_test(test_vain__a_shield_of_one_pool),
	    cmocka_unit_test(test_vain__a_certificate_that_nobody_asks_for),
	    cmocka_unit_test(
	        test_vain__heads_and_upgrades_of_a_route_that_answers_itself),
	    cmocka_unit_test(test_vain__words_that_nobody_is_trusted_with),
	    cmocka_unit_test(test_vain__a_log_that_is_off),
	    cmocka_unit_test(test_vain__databases_that_no_route_asks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
