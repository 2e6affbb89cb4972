/* What a fine file becomes: defaults, inheritance, every form of a value. */
#include "cmock.h"

#include <unistd.h>

static void
test_model__the_smallest_file_has_every_default(void **state)
{
	struct config *config = load_fine(HEAD POOL TAIL);
	const struct listener_cfg *listener = &config->listeners[0];
	const struct pool_cfg *pool = &config->pools[0];

	(void)state;
	assert_int_equal(config->workers, 0);
	assert_null(config->user);
	assert_string_equal(config->state_dir, "/var/lib/weir");
	assert_int_equal(config->admin.n_listen, 1);
	assert_string_equal(
	    config->admin.listen[0].text, "unix:/run/weir/admin.sock");
	assert_string_equal(config->logs.access_path, "off");
	assert_int_equal(config->logs.sample_ok, BP_ALL);
	assert_int_equal(config->logs.sample_error, BP_ALL);
	assert_string_equal(
	    config->logs.audit_path, "/var/lib/weir/audit.jsonl");
	assert_string_equal(listener->name, "http");
	assert_int_equal(listener->limits.connections, 200000);
	assert_int_equal(listener->limits.per_client, 0);
	assert_int_equal(listener->limits.header_timeout, 10 * NSEC_PER_SEC);
	assert_int_equal(listener->limits.idle_timeout, 60 * NSEC_PER_SEC);
	assert_int_equal(listener->limits.max_header, 32768);
	assert_int_equal(listener->limits.max_body, 0);
	assert_string_equal(listener->client_ip_header, "x-forwarded-for");
	assert_false(listener->has_tls);
	assert_int_equal(pool->connect_timeout, NSEC_PER_SEC);
	assert_int_equal(pool->first_byte_timeout, 15 * NSEC_PER_SEC);
	assert_int_equal(pool->idle_timeout, 60 * NSEC_PER_SEC);
	assert_int_equal(pool->balance, BALANCE_P2C);
	assert_true(pool->retry.on_connect);
	assert_int_equal(pool->retry.n_statuses, 0);
	assert_int_equal(pool->retry.max, 1);
	assert_int_equal(pool->retry.budget, 2000);
	assert_int_equal(pool->endpoints[0].weight, 1);
	assert_string_equal(config->routes[0].name, "route-1");
	assert_int_equal(config->routes[0].action, ROUTE_POOL);
	assert_int_equal(config->routes[0].upgrade, UPGRADE_WEBSOCKET);
	config_free(&config);
	assert_null(config);
}

static void
test_model__tls_has_its_defaults(void **state)
{
	struct config *config =
	    load_fine("listeners: {s: {bind: \"127.0.0.1:1\", tls: "
	              "{self_signed: true}}}\n" POOL TAIL);

	(void)state;
	assert_true(config->listeners[0].has_tls);
	assert_true(config->listeners[0].tls.self_signed);
	assert_int_equal(config->listeners[0].tls.min_version, 12);
	assert_int_equal(
	    config->listeners[0].tls.ticket_rotation, 12 * 3600 * NSEC_PER_SEC);
	config_free(&config);
}

static void
test_model__json_is_read_as_well(void **state)
{
	struct config *config = load_fine(
	    "{\n\t\"listeners\": {\"http\": "
	    "{\"bind\": [\"127.0.0.1:80\"]}},\n\t\"pools\": {\"app\": "
	    "{\"endpoints\": [\"127.0.0.1:9000\"]}},\n\t\"routes\": "
	    "[{\"pool\": \"app\"}]\n}\n");

	(void)state;
	assert_int_equal(config->n_pools, 1);
	config_free(&config);
}

static void
test_model__endpoints_have_five_forms(void **state)
{
	struct config *config = load_fine(
	    HEAD TAIL "pools:\n  app:\n    endpoints:\n"
	              "      - \"10.1.0.11:8080\"\n"
	              "      - {address: \"10.1.0.12:8080\", weight: 2}\n"
	              "      - {dns: blue.shop.internal, port: 8080}\n"
	              "      - \"unix:/run/app.sock\"\n"
	              "      - {srv: _http._tcp.shop.internal}\n");
	const struct pool_cfg *pool = &config->pools[0];

	(void)state;
	assert_int_equal(pool->n_endpoints, 5);
	assert_int_equal(pool->endpoints[1].weight, 2);
	assert_int_equal(pool->endpoints[2].address.kind, ADDRESS_NAME);
	assert_string_equal(
	    pool->endpoints[2].address.text, "blue.shop.internal:8080");
	assert_int_equal(pool->endpoints[3].address.kind, ADDRESS_UNIX);
	assert_string_equal(
	    pool->endpoints[4].address.service, "_http._tcp.shop.internal");
	assert_string_equal(pool->endpoints[4].address.host, "shop.internal");
	config_free(&config);
}

static void
test_model__like_takes_what_is_not_given_in_any_order(void **state)
{
	struct config *config = load_fine(
	    HEAD "pools:\n"
	         "  third: {like: green}\n"
	         "  green: {like: app, endpoints: \"10.0.0.2:80\","
	         " timeouts: {connect: 2s}, meta: {b: \"2\"}}\n"
	         "  app: {endpoints: \"10.0.0.1:80\", balance: random,"
	         " timeouts: {first_byte: 3s}, meta: {a: \"1\"}}\n" TAIL);
	const struct pool_cfg *third = &config->pools[0],
	                      *green = &config->pools[1];

	(void)state;
	assert_string_equal(third->name, "third");
	assert_string_equal(third->endpoints[0].address.text, "10.0.0.2:80");
	assert_int_equal(green->n_endpoints, 1);
	assert_int_equal(green->balance, BALANCE_RANDOM);
	assert_int_equal(third->balance, BALANCE_RANDOM);
	assert_int_equal(green->connect_timeout, 2 * NSEC_PER_SEC);
	assert_int_equal(green->first_byte_timeout, 3 * NSEC_PER_SEC);
	assert_int_equal(green->n_meta, 1);
	assert_string_equal(green->meta[0].name, "b");
	config_free(&config);
}

/* Each pool is like `a`, and says otherwise in one thing. */
static void
test_model__like_takes_nothing_that_contradicts(void **state)
{
	static const char form[] =
	    HEAD "pools:\n"
	         "  a: {endpoints: \"10.0.0.1:80\", protocol: h2, balance: hash,"
	         " hash_on: {by: header, name: x}, health: {path: /ready,"
	         " method: HEAD, expect: 200, port: 81}, tls: {ca: %s,"
	         " server_name: up.test}, limits: {in_flight: 9, queue: 5,"
	         " queue_timeout: 1s}}\n"
	         "  b: {like: a, hash_on: {by: client_ip}}\n"
	         "  c: {like: a, health: {grpc: shop}}\n"
	         "  d: {like: c, health: {path: /d}}\n"
	         "  e: {like: a, balance: random}\n"
	         "  f: {like: a, tls: {verify: system}}\n"
	         "  g: {like: a, limits: {in_flight: 9, queue: 0}}\n"
	         "  h: {like: a, balance: hash, hash_on: {by: header}, tls:"
	         " {verify: file}, limits: {in_flight: 9, queue: 6}}\n"
	         "routes: [{pool: a}]\n";
	char path[] = "/tmp/weir-model-XXXXXX", text[sizeof(form) + 40];
	const struct pool_cfg *pool;
	struct config *config;
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(write(fd, "-----BEGIN CERTIFICATE-----\n", 28), 28);
	close(fd);
	snprintf(text, sizeof(text), form, path);
	config = load_fine(text);
	unlink(path);
	pool = config->pools;
	assert_int_equal(pool[1].hash_on.by, KEY_CLIENT_IP);
	assert_null(pool[1].hash_on.name);
	assert_string_equal(pool[2].health.grpc, "shop");
	assert_false(pool[2].health.is_head);
	assert_int_equal(pool[2].health.port, 81);
	assert_null(pool[3].health.grpc);
	assert_string_equal(pool[3].health.path, "/d");
	assert_int_equal(pool[4].balance, BALANCE_RANDOM);
	assert_int_equal(pool[5].tls.verify, VERIFY_SYSTEM);
	assert_null(pool[5].tls.ca_file);
	assert_string_equal(pool[5].tls.server_name, "up.test");
	assert_int_equal(pool[6].limits.queue, 0);
	assert_string_equal(pool[7].hash_on.name, "x");
	assert_non_null(pool[7].tls.ca_file);
	assert_int_equal(pool[7].limits.queue_timeout, NSEC_PER_SEC);
	config_free(&config);
}

static void
test_model__a_split_is_read(void **state)
{
	struct config *config = load_fine(HEAD
	    "pools: {a: {endpoints: \"10.0.0.1:80\"},"
	    " b: {like: a}, c: {like: a}}\n"
	    "splits:\n"
	    "  plain: {stable: b}\n"
	    "  shop:\n    stable: c\n"
	    "    weights: {a: 33.33, b: \"33.33%\", c: 33.34}\n"
	    "    affinity: {by: cookie, name: weir_uid}\n"
	    "    pins: [{header: {X-Canary: always}, from: 10.0.0.0/8,"
	    " pool: b}]\n"
	    "routes: [{match: {path: /x}, split: shop}, {split: plain}]\n");
	const struct split_cfg *plain = &config->splits[0],
	                       *shop = &config->splits[1];

	(void)state;
	assert_int_equal(plain->stable, 1);
	assert_int_equal(plain->n_weights, 1);
	assert_int_equal(plain->weights[0].pool, 1);
	assert_int_equal(plain->weights[0].weight, BP_ALL);
	assert_int_equal(plain->affinity.by, KEY_REQUEST);
	assert_int_equal(shop->stable, 2);
	assert_int_equal(shop->n_weights, 3);
	assert_int_equal(shop->weights[1].weight, 3333);
	assert_int_equal(shop->affinity.by, KEY_COOKIE);
	assert_int_equal(shop->affinity.ttl, 30 * 86400 * NSEC_PER_SEC);
	assert_string_equal(shop->affinity.name, "weir_uid");
	assert_string_equal(shop->pins[0].header, "x-canary");
	assert_string_equal(shop->pins[0].header_value, "always");
	assert_int_equal(shop->pins[0].from.n, 1);
	assert_int_equal(shop->pins[0].pool, 1);
	assert_int_equal(config->routes[0].target, 1);
	config_free(&config);
}

static void
test_model__a_route_is_read(void **state)
{
	struct config *config = load_fine(HEAD POOL
	    "routes:\n"
	    "  - match: {host: [Shop.Example.com, \"*.b.com\"], path_prefix: "
	    "/api, method: [GET, POST], header: {X-Api: \"2\"}}\n"
	    "    headers: {set: {X-Id: \"${request.id}\"}, remove: X-Debug, "
	    "response: {remove: [server]}}\n"
	    "    upgrade: []\n"
	    "    pool: app\n"
	    "  - {name: old, match: {path: /old}, redirect: {to: /new}}\n"
	    "  - {name: up, match: {path: /up}, respond: {body: \"ok\\n\"}}\n");
	const struct route_cfg *route = &config->routes[0];

	(void)state;
	assert_string_equal(route->match.hosts.at[0], "shop.example.com");
	assert_int_equal(
	    route->match.methods, 1u << METHOD_GET | 1u << METHOD_POST);
	assert_string_equal(route->match.headers[0].name, "x-api");
	assert_string_equal(route->request.set[0].name, "x-id");
	assert_string_equal(route->request.set[0].value, "${request.id}");
	assert_string_equal(route->request.remove.at[0], "x-debug");
	assert_string_equal(route->response.remove.at[0], "server");
	assert_int_equal(route->upgrade, 0);
	assert_int_equal(config->routes[1].redirect.status, 308);
	assert_string_equal(config->routes[1].redirect.to, "/new");
	assert_int_equal(config->routes[2].respond.status, 200);
	assert_string_equal(config->routes[2].respond.body, "ok\n");
	config_free(&config);
}

static void
test_model__admin_rules_are_read(void **state)
{
	struct config *config;

	(void)state;
	setenv("WEIR_TEST_TOKEN", "abc", 1);
	config = load_fine(
	    "admin:\n  listen: [\"unix:/a.sock\", \"127.0.0.1:9901\"]\n"
	    "  access:\n"
	    "    - {who: \"uid:7\", role: admin}\n"
	    "    - {who: \"token:ci\", secret: {env: WEIR_TEST_TOKEN}, "
	    "role: operator, splits: [s]}\n"
	    "  metrics: {listen: \"127.0.0.1:9902\"}\n"
	    "splits: {s: {stable: app}}\n" HEAD POOL "routes: [{split: s}]\n");
	assert_int_equal(config->admin.n_access, 2);
	assert_int_equal(config->admin.access[0].uid, 7);
	assert_int_equal(config->admin.access[0].role, ROLE_ADMIN);
	assert_int_equal(config->admin.access[1].kind, WHO_TOKEN);
	assert_int_equal(config->admin.access[1].role, ROLE_OPERATOR);
	assert_string_equal(config->admin.access[1].splits.at[0], "s");
	assert_int_equal(config->admin.access[1].secret.from, SECRET_ENV);
	assert_string_equal(
	    config->admin.metrics_listen->text, "127.0.0.1:9902");
	config_free(&config);
}

static void
test_model__variables_are_filled_in_as_text(void **state)
{
	struct config *config;

	(void)state;
	setenv("WEIR_TEST_PORT", "9000", 1);
	setenv("WEIR_TEST_EVIL", "a: {b: 1}\nuser: root", 1);
	unsetenv("WEIR_TEST_NONE");
	config = load_fine(HEAD TAIL
	    "workers: ${WEIR_TEST_NONE:-3}\n"
	    "pools: {app: {endpoints: \"127.0.0.1:${WEIR_TEST_PORT}\"}}\n");
	assert_int_equal(config->workers, 3);
	assert_string_equal(
	    config->pools[0].endpoints[0].address.text, "127.0.0.1:9000");
	config_free(&config);
	config = load_fine(
	    HEAD POOL "routes: [{respond: {body: \"${WEIR_TEST_EVIL}\"}}]\n");
	assert_null(config->user);
	assert_string_equal(
	    config->routes[0].respond.body, "a: {b: 1}\nuser: root");
	config_free(&config);
}

/* Whoever may replace endpoints may not ask for the environment that way. */
static void
test_model__variables_in_endpoints_alone_are_text(void **state)
{
	struct endpoint_cfg *at;
	struct diags diags;
	size_t n;

	(void)state;
	setenv("WEIR_TEST_SECRET", "hunter2", 1);
	at = endpoints_load(
	    "app", SPAN("[\"${WEIR_TEST_SECRET}:80\"]"), &n, &diags);
	assert_null(at);
	assert_int_equal(n, 0);
	assert_int_equal(diags.errors, 1);
	assert_non_null(strstr(diags.at[0].message, "${WEIR_TEST_SECRET}:80"));
	assert_null(strstr(diags.at[0].message, "hunter2"));
	diags_release(&diags);
}

static void
test_model__relative_paths_begin_at_the_file(void **state)
{
	struct diags diags;
	struct config *config = config_load_text("/etc/weir/weir.yaml",
	    SPAN("logs: {access: {path: logs/a.log}}\n" HEAD POOL TAIL),
	    &diags);

	(void)state;
	assert_non_null(config);
	assert_string_equal(config->logs.access_path, "/etc/weir/logs/a.log");
	diags_release(&diags);
	config_free(&config);
}

static void
test_model__equal_files_have_equal_hashes(void **state)
{
	struct config *a = load_fine(HEAD POOL TAIL),
	              *b = load_fine(HEAD POOL TAIL),
	              *c = load_fine(HEAD POOL TAIL "\n");

	(void)state;
	assert_true(a->hash == b->hash);
	assert_true(a->hash != c->hash);
	config_free(&a);
	config_free(&b);
	config_free(&c);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_model__the_smallest_file_has_every_default),
	    cmocka_unit_test(test_model__tls_has_its_defaults),
	    cmocka_unit_test(test_model__json_is_read_as_well),
	    cmocka_unit_test(test_model__endpoints_have_five_forms),
	    cmocka_unit_test(
	        test_model__like_takes_what_is_not_given_in_any_order),
	    cmocka_unit_test(test_model__like_takes_nothing_that_contradicts),
	    cmocka_unit_test(test_model__a_split_is_read),
	    cmocka_unit_test(test_model__a_route_is_read),
	    cmocka_unit_test(test_model__admin_rules_are_read),
	    cmocka_unit_test(test_model__variables_are_filled_in_as_text),
	    cmocka_unit_test(test_model__variables_in_endpoints_alone_are_text),
	    cmocka_unit_test(test_model__relative_paths_begin_at_the_file),
	    cmocka_unit_test(test_model__equal_files_have_equal_hashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
