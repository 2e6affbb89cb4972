/* What changed, and whether a reload is enough; rendering. */
#include "cmock.h"

#include <unistd.h>

static void
expect_diff(const char *before, const char *after, const char *want)
{
	struct config *old = load_fine(before), *new = load_fine(after);
	char *told = config_diff(old, new);

	assert_string_equal(told, want);
	free(told);
	config_free(&old);
	config_free(&new);
}

static void
test_diff__equal_files_have_none(void **state)
{
	(void)state;
	expect_diff(HEAD POOL TAIL, HEAD POOL "# a comment\n" TAIL, "");
}

static void
test_diff__a_changed_value_shows_both(void **state)
{
	(void)state;
	expect_diff(HEAD POOL TAIL,
	    HEAD TAIL "pools: {app: {endpoints: \"127.0.0.1:9000\", balance: "
	              "random, timeouts: {connect: 2s}}}\n",
	    "~ pools.app.balance: \"p2c\" -> \"random\"\n"
	    "~ pools.app.timeouts.connect: \"1s\" -> \"2s\"\n");
}

static void
test_diff__things_come_and_go(void **state)
{
	(void)state;
	expect_diff(HEAD POOL TAIL,
	    HEAD "pools: {app: {endpoints: [\"127.0.0.1:9001\"]}, b: {like: "
	         "app}}\nroutes: [{name: b, match: {path: /b}, pool: b}, "
	         "{name: route-1, pool: app}]\n",
	    "- pools.app.endpoints: \"127.0.0.1:9000\"\n"
	    "+ pools.app.endpoints: \"127.0.0.1:9001\"\n"
	    "+ pools.b\n"
	    "+ routes.b\n");
}

static void
test_diff__the_order_of_routes_matters(void **state)
{
	(void)state;
	expect_diff(HEAD POOL "routes: [{name: a, match: {path: /a}, pool: "
	                      "app}, {name: b, pool: app}]\n",
	    HEAD POOL "routes: [{name: b, pool: app}, {name: a, match: {path: "
	              "/a}, pool: app}]\n",
	    "~ route_order: [\"a\",\"b\"] -> [\"b\",\"a\"]\n");
}

/* The next content of a file that is named once and for all. */
static void
put_ranges(const char *path, const char *ranges)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	fputs(ranges, file);
	fclose(file);
}

static void
test_diff__other_ranges_in_a_file_are_seen(void **state)
{
	char path[] = "/tmp/weir-diff-XXXXXX", text[512], *told;
	struct config *old, *same, *new;

	(void)state;
	close(mkstemp(path));
	snprintf(text, sizeof(text),
	    HEAD POOL "routes: [{name: a, access: {deny: [{file: %s}]}, pool: "
	              "app}]\n",
	    path);
	put_ranges(path, "10.0.0.0/8\n10.1.0.1\n");
	old = load_fine(text);
	put_ranges(path, "10.0.0.0/8 # all of it\n\n10.1.0.1\n");
	same = load_fine(text);
	put_ranges(path, "10.0.0.0/8\n10.1.0.2\n");
	new = load_fine(text);
	unlink(path);
	told = config_diff(old, same);
	assert_string_equal(told, "");
	free(told);
	told = config_diff(old, new);
	assert_non_null(strstr(told, "~ routes.a.access.deny_ranges: \"2 ("));
	assert_null(strstr(told, "allow_ranges"));
	free(told);
	config_free(&old);
	config_free(&same);
	config_free(&new);
}

#define TOKEN(name)                                                            \
	"admin: {access: [{who: \"token:a\", role: admin, secret: {env: " name \
	"}}]}\n"

static void
test_diff__another_secret_is_seen_and_not_shown(void **state)
{
	(void)state;
	setenv("WEIR_A", "hunter2", 1);
	setenv("WEIR_B", "hunter3", 1);
	expect_diff(TOKEN("WEIR_A") HEAD POOL TAIL,
	    TOKEN("WEIR_B") HEAD POOL TAIL,
	    "- admin.access: {\"who\":\"token:a\",\"secret\":\"*** (env "
	    "WEIR_A)\",\"role\":\"admin\"}\n"
	    "+ admin.access: {\"who\":\"token:a\",\"secret\":\"*** (env "
	    "WEIR_B)\",\"role\":\"admin\"}\n");
}

static void
test_diff__a_restart_is_asked_for_by_name(void **state)
{
	struct config *old = load_fine(HEAD POOL TAIL),
	              *new = load_fine(
	                  "workers: 3\nstate_dir: /x\nuser: bob\n" HEAD POOL
	                      TAIL),
	              *other = load_fine(HEAD TAIL
	                  "pools: {app: {endpoints: \"127.0.0.1:9001\"}}\n");
	struct err err;

	(void)state;
	assert_true(config_needs_restart(old, new, &err));
	assert_string_equal(
	    err.text, "workers, user, state_dir: a change needs a restart");
	assert_false(config_needs_restart(old, other, &err));
	config_free(&old);
	config_free(&new);
	config_free(&other);
}

static void
test_render__secrets_are_stars(void **state)
{
	struct config *config;
	char *json;

	(void)state;
	setenv("WEIR_A", "hunter2", 1);
	config = load_fine(TOKEN("WEIR_A") HEAD POOL TAIL);
	json = config_render_json(config);
	assert_non_null(strstr(json, "\"secret\": \"***\""));
	assert_null(strstr(json, "hunter2"));
	assert_null(strstr(json, "WEIR_A"));
	free(json);
	config_free(&config);
}

/* Without secrets a rendered config is a config, and the same one. */
static void
test_render__what_is_rendered_loads_again(void **state)
{
	struct config *config = load_fine(
	    "workers: 2\nuser: nobody\n"
	    "logs: {access: {path: stdout, sample: {ok: 0.25%}}}\n"
	    "listeners:\n"
	    "  plain: {bind: [\"0.0.0.0:80\", \"[::]:80\"], redirect_to: s}\n"
	    "  s: {bind: \"0.0.0.0:443\", client_ip: {trusted_proxies: "
	    "[10.0.0.0/8, \"2001:db8::/32\"], header: X-Real}, limits: "
	    "{max_body: 3MB}, tls: {min_version: 1.3, self_signed: true}}\n"
	    "pools:\n"
	    "  a: {endpoints: [\"10.0.0.1:80\", {address: \"unix:/x\", weight: "
	    "3}, {dns: b.c, port: 8}], tls: {verify: system, server_name: x}, "
	    "balance: hash, hash_on: {by: header, name: X-U}, retry: {on: "
	    "[connect, 502], budget: 12.5%}, meta: {release: \"1\"}}\n"
	    "  b: {like: a, balance: hash, tls: off}\n"
	    "splits:\n"
	    "  s: {stable: a, weights: {a: 66.67, b: 33.33}, affinity: {by: "
	    "cookie, name: u, ttl: 1h}, pins: [{cookie: {c: v}, pool: b}]}\n"
	    "routes:\n"
	    "  - {name: x, match: {host: \"*.a.b\", path_prefix: /p, method: "
	    "[GET], header: {h: \"*\"}, client: 10.1.1.1}, headers: {set: {a: "
	    "\"${pool}\"}, remove: [b], response: {set: {c: d}}}, upgrade: "
	    "[websocket, other], split: s}\n"
	    "  - {name: y, match: {path: /r}, redirect: {to: /n, status: "
	    "302}}\n"
	    "  - {name: z, respond: {status: 503, body: \"no\\n\"}}\n"
	    "  - {name: v, match: {geo: {country: [NO, FR], not_country: XX, "
	    "continent: [EU, AF], subdivision: US-CA, asn: [64500]}}, access: "
	    "{allow: [10.0.0.0/8], deny: [], geo: {continent: AS}}, "
	    "rate_limit: {key: {by: header, name: X-K, v6_prefix: 56}, rate: "
	    "5/10s, burst: 7, dry_run: true, scope: global, on_failure: open}, "
	    "pool: a}\n"
	    "  - {name: w, match: {path: /w}, rate_limit: {rate: 50/s}, pool: "
	    "a}\n"
	    "geo: {database: [/proc/self/exe]}\n"
	    "redis: {url: \"rediss://r.test/3\", user: u, prefix: p, "
	    "on_failure: closed, tls: {server_name: x.test}, timeouts: "
	    "{answer: 300ms}}\n");
	struct config *again = load_rendered(config);

	(void)state;
	assert_int_equal(again->splits[0].weights[0].weight, 6667);
	assert_true(country_set_has(
	    &again->routes[3].match.geo.countries, country_of(SPAN("NO"))));
	assert_true(again->routes[3].access.deny.is_given);
	assert_int_equal(again->routes[3].limit.burst, 7);
	assert_int_equal(again->routes[3].limit.v6_prefix, 56);
	assert_int_equal(again->routes[4].limit.burst, 50);
	assert_int_equal(again->routes[4].limit.key.by, KEY_CLIENT_IP);
	assert_int_equal(again->redis.address.port, 6379);
	assert_int_equal(again->redis.database, 3);
	config_free(&config);
	config_free(&again);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_diff__equal_files_have_none),
	    cmocka_unit_test(test_diff__a_changed_value_shows_both),
	    cmocka_unit_test(test_diff__things_come_and_go),
	    cmocka_unit_test(test_diff__the_order_of_routes_matters),
	    cmocka_unit_test(test_diff__other_ranges_in_a_file_are_seen),
	    cmocka_unit_test(test_diff__another_secret_is_seen_and_not_shown),
	    cmocka_unit_test(test_diff__a_restart_is_asked_for_by_name),
	    cmocka_unit_test(test_render__secrets_are_stars),
	    cmocka_unit_test(test_render__what_is_rendered_loads_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
