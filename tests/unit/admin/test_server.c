/*
 * The admin API over its sockets: what each request is answered with, and
 * what is left of it in state, audit log and events.
 */
#include "check.h"
#include "plant.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "admin/audit/audit.h"
#include "admin/state/journal.h"
#include "admin/state/state.h"

#define CI      "Authorization: Bearer 0123456789abcdef-ci"
#define BOARD   "Authorization: Bearer 0123456789abcdef-board"
#define WEIGHTS "/v1/splits/shop/weights"

static int
set_up(void **state)
{
	struct plant *plant = calloc(1, sizeof(*plant));

	plant_init(plant);
	plant_start(plant);
	*state = plant;
	return 0;
}

static int
tear_down(void **state)
{
	plant_release(*state);
	free(*state);
	return 0;
}

/* Asks and checks status and code; the caller frees. */
static void
expect_at(struct plant *plant, const struct ask *ask, long status,
    const char *code, struct answer_seen *answer, int line)
{
	plant_ask(plant, ask, answer);
	if (answer->status != status || strcmp(answer_code(answer), code) != 0)
		fail_msg("line %d: %s %s: %ld %s instead of %ld %s: %s", line,
		    ask->method ? ask->method : "GET", ask->path,
		    answer->status, answer_code(answer), status, code,
		    answer->text ? answer->text : "(nothing)");
}

#define EXPECT(plant, status, code, ...)                                       \
	do {                                                                   \
		struct answer_seen seen_;                                      \
		expect_at(plant, &(struct ask){__VA_ARGS__}, status, code,     \
		    &seen_, __LINE__);                                         \
		answer_free(&seen_);                                           \
	} while (0)

static double
weight(struct plant *plant, const char *pool)
{
	struct answer_seen answer;
	double value;

	expect_at(plant, &(struct ask){.path = "/v1/splits/shop"}, 200, "",
	    &answer, __LINE__);
	value = json_number_value(
	    json_object_get(json_object_get(answer.json, "weights"), pool));
	answer_free(&answer);
	return value;
}

static void
put_weights(struct plant *plant, const char *body)
{
	EXPECT(plant, 200, "", .method = "PUT", .path = WEIGHTS, .body = body);
}

/* ---- weights ---- */

static void
test_server__weights_are_set_and_shown(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	expect_at(plant,
	    &(struct ask){.method = "PUT",
	        .path = WEIGHTS,
	        .body = "{\"weights\": {\"blue\": 66.67, \"canary\": 33.33}, "
	                "\"reason\": \"try\"}"},
	    200, "", &answer, __LINE__);
	assert_string_equal(
	    json_string_value(json_object_get(answer.json, "reason")), "try");
	assert_string_equal(
	    json_string_value(json_object_get(answer.json, "changed_by")),
	    "uid:0");
	assert_non_null(strstr(answer.headers, "ETag: \""));
	answer_free(&answer);
	assert_true(weight(plant, "canary") == 33.33);
}

static void
test_server__weights_survive_a_new_start(void **state)
{
	struct plant *plant = *state;

	put_weights(plant, "{\"weights\": {\"blue\": 40, \"canary\": 60}}");
	plant_stop(plant);
	plant_start(plant);
	assert_true(weight(plant, "canary") == 60);
	EXPECT(
	    plant, 200, "", .method = "POST", .path = "/v1/splits/shop/undo");
	assert_true(weight(plant, "canary") == 10);
}

static void
test_server__a_changed_file_wins_at_a_new_start(void **state)
{
	struct plant *plant = *state;

	put_weights(plant, "{\"weights\": {\"blue\": 40, \"canary\": 60}}");
	plant_stop(plant);
	plant_write(plant, "{blue: 80, canary: 20}", "");
	plant_start(plant);
	assert_true(weight(plant, "canary") == 20);
	/* and the next start does not see the file change again */
	put_weights(plant, "{\"weights\": {\"blue\": 40, \"canary\": 60}}");
	plant_stop(plant);
	plant_start(plant);
	assert_true(weight(plant, "canary") == 60);
}

static void
test_server__wrong_weights_change_nothing(void **state)
{
	static const struct {
		const char *body;
		long status;
		const char *code;
	} cases[] = {
	    {"{\"weights\": {\"blue\": 75, \"canary\": 26}}", 422, "bad-sum"},
	    {"{\"weights\": {\"blue\": 75}}", 422, "bad-sum"},
	    {"{\"weights\": {}}", 422, "bad-sum"},
	    {"{\"weights\": {\"blue\": -1, \"canary\": 101}}", 422,
	        "bad-weight"},
	    {"{\"weights\": {\"blue\": 99.999, \"canary\": 0.001}}", 422,
	        "bad-weight"},
	    {"{\"weights\": {\"blue\": 1e300}}", 422, "bad-weight"},
	    {"{\"weights\": {\"blue\": \"100\"}}", 422, "bad-weight"},
	    {"{\"weights\": {\"blue\": true}}", 422, "bad-weight"},
	    {"{\"weights\": {\"blue\": NaN}}", 400, "bad-json"},
	    {"{\"weights\": {\"blue\": 95, \"cannary\": 5}}", 404,
	        "unknown-pool"},
	    {"{\"weights\": {\"blue\": 50, \"blue\": 100}}", 400, "bad-json"},
	    {"{\"weight\": {\"blue\": 100}}", 400, "unknown-field"},
	    {"{\"weights\": [100]}", 400, "bad-json"},
	    {"{\"weights\": {\"blue\": 100}, \"reason\": 5}", 400,
	        "bad-reason"},
	    {"[1]", 400, "bad-json"},
	    {"{", 400, "bad-json"},
	    {"", 400, "bad-json"},
	    {"{\"weights\": [[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]}", 400,
	        "bad-json"},
	};
	struct plant *plant = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		EXPECT(plant, cases[i].status, cases[i].code, .method = "PUT",
		    .path = WEIGHTS, .body = cases[i].body);
	EXPECT(plant, 404, "unknown-split", .method = "PUT",
	    .path = "/v1/splits/shopp/weights",
	    .body = "{\"weights\": {\"blue\": 100}}");
	assert_true(weight(plant, "canary") == 10);
}

static void
test_server__unknown_names_get_a_suggestion(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	expect_at(plant, &(struct ask){.path = "/v1/splits/shopp"}, 404,
	    "unknown-split", &answer, __LINE__);
	assert_string_equal(
	    json_string_value(json_object_get(answer.json, "hint")),
	    "did you mean \"shop\"?");
	answer_free(&answer);
	expect_at(plant, &(struct ask){.path = "/v1/pools/cannary"}, 404,
	    "unknown-pool", &answer, __LINE__);
	assert_string_equal(
	    json_string_value(json_object_get(answer.json, "hint")),
	    "did you mean \"canary\"?");
	answer_free(&answer);
}

static void
test_server__of_two_with_the_same_version_one_wins(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;
	char header[64];
	long version;

	plant_ask(plant, &(struct ask){.path = "/v1/splits/shop"}, &answer);
	version =
	    (long)json_integer_value(json_object_get(answer.json, "version"));
	answer_free(&answer);
	snprintf(header, sizeof(header), "If-Match: \"%ld\"", version);
	EXPECT(plant, 200, "", .method = "PUT", .path = WEIGHTS,
	    .body = "{\"weights\": {\"blue\": 100}}", .headers = {header});
	expect_at(plant,
	    &(struct ask){.method = "PUT",
	        .path = WEIGHTS,
	        .body = "{\"weights\": {\"canary\": 100}}",
	        .headers = {header}},
	    412, "stale-version", &answer, __LINE__);
	assert_non_null(
	    strstr(json_string_value(json_object_get(answer.json, "detail")),
	        "uid:0"));
	answer_free(&answer);
	assert_true(weight(plant, "blue") == 100);
	EXPECT(plant, 200, "", .method = "PUT", .path = WEIGHTS,
	    .body = "{\"weights\": {\"canary\": 100}}",
	    .headers = {"If-Match: *"});
}

static void
test_server__a_dry_run_changes_nothing(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	expect_at(plant,
	    &(struct ask){.method = "PUT",
	        .path = WEIGHTS "?dry_run=1",
	        .body = "{\"weights\": {\"canary\": 100}}"},
	    200, "", &answer, __LINE__);
	assert_true(json_is_true(json_object_get(answer.json, "dry_run")));
	answer_free(&answer);
	EXPECT(plant, 422, "bad-sum", .method = "PUT",
	    .path = WEIGHTS "?dry_run=1",
	    .body = "{\"weights\": {\"canary\": 99}}");
	EXPECT(plant, 400, "unknown-parameter", .method = "PUT",
	    .path = WEIGHTS "?dryrun=1",
	    .body = "{\"weights\": {\"canary\": 100}}");
	assert_true(weight(plant, "canary") == 10);
}

static void
test_server__undo_goes_back_and_forth(void **state)
{
	struct plant *plant = *state;

	EXPECT(plant, 409, "nothing-to-undo", .method = "POST",
	    .path = "/v1/splits/shop/undo");
	put_weights(plant, "{\"weights\": {\"canary\": 100}}");
	EXPECT(plant, 200, "", .method = "POST", .path = "/v1/splits/shop/undo",
	    .body = "{\"reason\": \"errors\"}");
	assert_true(weight(plant, "canary") == 10);
	EXPECT(
	    plant, 200, "", .method = "POST", .path = "/v1/splits/shop/undo");
	assert_true(weight(plant, "canary") == 100);
}

static void
test_server__no_weight_for_a_pool_without_endpoints(void **state)
{
	struct plant *plant = *state;

	EXPECT(plant, 200, "", .method = "PUT",
	    .path = "/v1/pools/canary/endpoints/127.0.0.1:21052/state",
	    .body = "{\"state\": \"maint\"}");
	EXPECT(plant, 409, "pool-unhealthy", .method = "PUT", .path = WEIGHTS,
	    .body = "{\"weights\": {\"blue\": 50, \"canary\": 50}}");
	/* less of it is always allowed */
	put_weights(plant, "{\"weights\": {\"blue\": 95, \"canary\": 5}}");
	EXPECT(plant, 200, "", .method = "PUT",
	    .path = "/v1/pools/canary/endpoints/127.0.0.1:21052/state",
	    .body = "{\"state\": \"active\"}");
	put_weights(plant, "{\"weights\": {\"blue\": 50, \"canary\": 50}}");
}

static void
test_server__a_repeated_post_is_answered_once(void **state)
{
	struct plant *plant = *state;
	struct answer_seen first, second;
	struct ask undo = {.method = "POST",
	    .path = "/v1/splits/shop/undo",
	    .body = "{\"reason\": \"a\"}",
	    .headers = {"Idempotency-Key: 4711"}};

	put_weights(plant, "{\"weights\": {\"canary\": 100}}");
	expect_at(plant, &undo, 200, "", &first, __LINE__);
	expect_at(plant, &undo, 200, "", &second, __LINE__);
	assert_string_equal(first.text, second.text);
	assert_non_null(strstr(second.headers, "Idempotency-Replayed: true"));
	assert_true(weight(plant, "canary") == 10);
	answer_free(&first);
	answer_free(&second);
	undo.body = "{\"reason\": \"b\"}";
	EXPECT(plant, 422, "idempotency-key-reused", .method = undo.method,
	    .path = undo.path, .body = undo.body, .headers = {undo.headers[0]});
	EXPECT(plant, 422, "idempotency-key-reused", .method = undo.method,
	    .path = "/v1/splits/shop/undo?reason=b",
	    .body = "{\"reason\": \"a\"}", .headers = {undo.headers[0]});
	EXPECT(plant, 200, "", .method = undo.method,
	    .path = "/v1/splits/shop/undo?dry_run=1",
	    .headers = {undo.headers[0]});
	assert_true(weight(plant, "canary") == 10);
	undo.headers[0] = "Idempotency-Key: 4712";
	expect_at(plant, &undo, 200, "", &first, __LINE__);
	answer_free(&first);
	assert_true(weight(plant, "canary") == 100);
}

static void
test_server__oversized_bodies_and_reasons_are_refused(void **state)
{
	struct plant *plant = *state;
	char *big = malloc(70000), body[900], reason[600];

	memset(reason, 'r', sizeof(reason));
	reason[599] = '\0';
	snprintf(body, sizeof(body),
	    "{\"weights\": {\"canary\": 100}, \"reason\": \"%s\"}", reason);
	EXPECT(plant, 400, "bad-reason", .method = "PUT", .path = WEIGHTS,
	    .body = body);
	memset(big, ' ', 70000);
	big[69999] = '\0';
	EXPECT(plant, 413, "body-too-large", .method = "PUT", .path = WEIGHTS,
	    .body = big);
	free(big);
	assert_true(weight(plant, "canary") == 10);
}

static void
limit_files(rlim_t bytes)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void
test_server__a_full_disk_refuses_the_change_and_heals(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;
	const char *body = "{\"weights\": {\"canary\": 100}}";

	signal(SIGXFSZ, SIG_IGN);
	limit_files(16);
	EXPECT(plant, 507, "state-unwritable", .method = "PUT", .path = WEIGHTS,
	    .body = body);
	EXPECT(plant, 507, "state-unwritable", .method = "PUT",
	    .path = "/v1/pools/canary/endpoints/127.0.0.1:21052/state",
	    .body = "{\"state\": \"maint\"}");
	limit_files(RLIM_INFINITY);
	assert_true(weight(plant, "canary") == 10);
	plant_ask(plant, &(struct ask){.path = "/metrics"}, &answer);
	assert_null(strstr(answer.text, "weir_state_write_errors_total 0\n"));
	assert_non_null(strstr(answer.text, "weir_state_write_errors_total "));
	answer_free(&answer);
	EXPECT(plant, 200, "", .method = "PUT", .path = WEIGHTS, .body = body);
	assert_true(weight(plant, "canary") == 100);
	plant_stop(plant);
	plant_start(plant);
	assert_true(weight(plant, "canary") == 100);
}

/* ---- doors ---- */

static void
test_server__tcp_wants_a_token(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	EXPECT(plant, 200, "", .by_tcp = true, .path = "/healthz");
	EXPECT(plant, 200, "", .by_tcp = true, .path = "/readyz");
	expect_at(plant, &(struct ask){.by_tcp = true, .path = "/v1/splits"},
	    401, "unauthorized", &answer, __LINE__);
	assert_non_null(strstr(answer.headers, "WWW-Authenticate: Bearer"));
	assert_non_null(json_object_get(answer.json, "hint"));
	answer_free(&answer);
	EXPECT(plant, 401, "unauthorized", .by_tcp = true, .path = "/metrics");
	EXPECT(plant, 401, "unauthorized", .by_tcp = true, .path = "/v1/splits",
	    .headers = {"Authorization: Bearer wrong"});
	EXPECT(plant, 200, "", .by_tcp = true, .path = "/v1/splits",
	    .headers = {BOARD});
}

static void
test_server__roles_and_scopes_hold(void **state)
{
	struct plant *plant = *state;
	const char *body = "{\"weights\": {\"canary\": 100}}";

	EXPECT(plant, 403, "forbidden", .by_tcp = true, .method = "PUT",
	    .path = WEIGHTS, .body = body, .headers = {BOARD});
	EXPECT(plant, 200, "", .by_tcp = true, .method = "PUT", .path = WEIGHTS,
	    .body = body, .headers = {CI});
	EXPECT(plant, 403, "forbidden", .by_tcp = true, .method = "PUT",
	    .path = "/v1/splits/other/weights",
	    .body = "{\"weights\": {\"blue\": 100}}", .headers = {CI});
	EXPECT(plant, 403, "forbidden", .by_tcp = true, .method = "POST",
	    .path = "/v1/config/reload", .headers = {CI});
	EXPECT(plant, 200, "", .by_tcp = true, .method = "PUT",
	    .path = "/v1/pools/canary/endpoints/127.0.0.1:21052/state",
	    .body = "{\"state\": \"active\"}", .headers = {CI});
	EXPECT(plant, 403, "forbidden", .by_tcp = true, .method = "PUT",
	    .path = "/v1/pools/canary/endpoints/127.0.0.1:21052/state",
	    .body = "{\"state\": \"active\"}", .headers = {BOARD});
}

static void
test_server__guessing_is_limited(void **state)
{
	struct plant *plant = *state;
	int limited = 0;

	for (int i = 0; i < 12; i++) {
		struct answer_seen answer;

		plant_ask(plant,
		    &(struct ask){.by_tcp = true,
		        .path = "/v1/splits",
		        .headers = {"Authorization: Bearer wrong"}},
		    &answer);
		limited += answer.status == 429;
		answer_free(&answer);
	}
	assert_in_range(limited, 1, 7);
}

static void
test_server__a_rebound_name_is_turned_away(void **state)
{
	static const char *const hosts[] = {"Host: evil.example.com",
	    "Host: evil.example.com:21040", "Host: localhost",
	    "Host: 127.0.0.1:1", "Host: localhost:21040.evil.example",
	    "Host: "};
	struct plant *plant = *state;

	for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++)
		EXPECT(plant, 421, "unknown-host", .by_tcp = true,
		    .path = "/healthz", .headers = {hosts[i]});
	EXPECT(plant, 200, "", .by_tcp = true, .path = "/healthz",
	    .headers = {"Host: localhost:21040"});
	/* the absolute form wins over Host */
	EXPECT(plant, 421, "unknown-host", .by_tcp = true,
	    .path = "http://evil.example.com/healthz",
	    .headers = {"Host: localhost:21040"});
	EXPECT(plant, 421, "unknown-host", .by_tcp = true,
	    .path = "http://me@localhost:21040/healthz",
	    .headers = {"Host: localhost:21040"});
	EXPECT(plant, 200, "", .by_tcp = true,
	    .path = "http://localhost:21040/healthz",
	    .headers = {"Host: evil.example.com"});
	EXPECT(plant, 421, "unknown-host", .by_tcp = true,
	    .port = PLANT_METRICS_PORT, .path = "/metrics",
	    .headers = {"Host: evil.example.com"});
}

static void
test_server__other_sites_are_refused(void **state)
{
	struct plant *plant = *state;
	const char *body = "{\"weights\": {\"canary\": 100}}";

	EXPECT(plant, 403, "cross-site", .by_tcp = true, .method = "PUT",
	    .path = WEIGHTS, .body = body,
	    .headers = {CI, "Origin: http://evil.example.com"});
	EXPECT(plant, 403, "cross-site", .by_tcp = true, .method = "PUT",
	    .path = WEIGHTS, .body = body, .headers = {CI, "Origin: null"});
	EXPECT(plant, 403, "cross-site", .by_tcp = true, .method = "PUT",
	    .path = WEIGHTS, .body = body,
	    .headers = {CI, "Sec-Fetch-Site: cross-site"});
	EXPECT(plant, 403, "cross-site", .by_tcp = true, .path = "/v1/splits",
	    .headers = {CI, "Sec-Fetch-Site: same-site"});
	EXPECT(plant, 200, "", .by_tcp = true, .method = "PUT", .path = WEIGHTS,
	    .body = body,
	    .headers = {CI, "Origin: http://127.0.0.1:21040",
	        "Sec-Fetch-Site: same-origin"});
}

static void
test_server__methods_types_and_paths(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	expect_at(plant, &(struct ask){.path = WEIGHTS}, 405,
	    "method-not-allowed", &answer, __LINE__);
	assert_non_null(strstr(answer.headers, "Allow: PUT"));
	answer_free(&answer);
	expect_at(plant,
	    &(struct ask){.method = "DELETE", .path = "/v1/splits"}, 405,
	    "method-not-allowed", &answer, __LINE__);
	assert_non_null(strstr(answer.headers, "Allow: GET, HEAD"));
	answer_free(&answer);
	EXPECT(plant, 405, "method-not-allowed", .method = "PATCH",
	    .path = "/v1/splits");
	EXPECT(plant, 415, "unsupported-media-type", .method = "PUT",
	    .path = WEIGHTS, .body = "{\"weights\": {\"canary\": 100}}",
	    .headers = {"Content-Type: text/plain"});
	EXPECT(plant, 404, "unknown-path", .path = "/");
	EXPECT(plant, 404, "unknown-path", .path = "/v1/splits/");
	EXPECT(plant, 404, "unknown-path", .path = "/v1/splits/a%00b");
	EXPECT(plant, 404, "unknown-path", .path = "/v1/splits/shop/weights/x");
	EXPECT(plant, 404, "unknown-split", .path = "/v1/splits/%2e%2e");
	EXPECT(plant, 404, "unknown-split", .path = "/v1/splits/%ff%fe");
	plant_ask(plant, &(struct ask){.method = "HEAD", .path = "/v1/splits"},
	    &answer);
	assert_int_equal(answer.status, 200);
	assert_int_equal(answer.len, 0);
	answer_free(&answer);
}

static void
test_server__the_metrics_listener_has_three_paths(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	EXPECT(plant, 200, "", .by_tcp = true, .port = PLANT_METRICS_PORT,
	    .path = "/metrics");
	EXPECT(plant, 200, "", .by_tcp = true, .port = PLANT_METRICS_PORT,
	    .path = "/healthz");
	EXPECT(plant, 404, "unknown-path", .by_tcp = true,
	    .port = PLANT_METRICS_PORT, .path = "/v1/splits", .headers = {CI});
	EXPECT(plant, 404, "unknown-path", .by_tcp = true,
	    .port = PLANT_METRICS_PORT, .method = "PUT", .path = WEIGHTS,
	    .body = "{}", .headers = {CI});
	EXPECT(plant, 404, "unknown-path", .by_tcp = true,
	    .port = PLANT_METRICS_PORT, .method = "PUT", .path = "/v1/splits",
	    .body = "{}", .headers = {CI});
	EXPECT(plant, 405, "method-not-allowed", .by_tcp = true,
	    .port = PLANT_METRICS_PORT, .method = "PUT", .path = "/metrics",
	    .body = "{}");
	plant->is_ready = false;
	plant_ask(plant,
	    &(struct ask){
	        .by_tcp = true, .port = PLANT_METRICS_PORT, .path = "/readyz"},
	    &answer);
	assert_int_equal(answer.status, 503);
	answer_free(&answer);
}

static void
test_server__the_socket_is_private_and_replaced_when_stale(void **state)
{
	struct plant *plant = *state;
	struct stat st;

	assert_int_equal(stat(plant->socket, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	plant_stop(plant);
	assert_int_not_equal(stat(plant->socket, &st), 0);
	/* a socket that nobody answers at */
	room_write(plant->socket, "", 0);
	unlink(plant->socket);
	plant_start(plant);
	assert_int_equal(stat(plant->socket, &st), 0);
}

/* ---- endpoints ---- */

static void
test_server__an_endpoint_with_odd_characters_is_reached(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	expect_at(plant,
	    &(struct ask){.method = "PUT",
	        .path = "/v1/pools/blue/endpoints/"
	                "unix:%2Ftmp%2Fweir%20test%2Fapp.sock/state",
	        .body = "{\"state\": \"drain\", \"reason\": \"update\"}"},
	    200, "", &answer, __LINE__);
	assert_int_equal(
	    json_integer_value(json_object_get(answer.json, "usable")), 1);
	answer_free(&answer);
	/* it survives a new start */
	plant_stop(plant);
	plant_start(plant);
	plant_ask(plant, &(struct ask){.path = "/v1/pools/blue"}, &answer);
	assert_int_equal(
	    json_integer_value(json_object_get(answer.json, "usable")), 1);
	answer_free(&answer);
	EXPECT(plant, 422, "bad-state", .method = "PUT",
	    .path = "/v1/pools/blue/endpoints/127.0.0.1:21051/state",
	    .body = "{\"state\": \"off\"}");
	EXPECT(plant, 404, "unknown-endpoint", .method = "PUT",
	    .path = "/v1/pools/blue/endpoints/127.0.0.1:1/state",
	    .body = "{\"state\": \"drain\"}");
}

static size_t
count_words(const struct journal *journal)
{
	size_t n = 0;

	for (size_t i = 0; i < journal->n_items; i++)
		n += strncmp(journal->items[i].key, "endpoint/", 9) == 0;
	return n;
}

/* What an endpoint that is there was told stays, however old it is. */
static void
test_server__words_on_endpoints_that_are_gone_make_room(void **state)
{
	static const char drain[] = "{\"state\": \"drain\"}";
	struct plant *plant = *state;
	const struct endpoint_change change = {.admin = ENDPOINT_DRAIN};
	char dir[160], address[32];
	struct journal journal;
	struct state *kept;
	uint64_t cut;
	struct err err;

	EXPECT(plant, 200, "", .method = "PUT",
	    .path = "/v1/pools/blue/endpoints/127.0.0.1:21051/state",
	    .body = drain);
	plant_stop(plant);
	room_path(&plant->room, "state", dir, sizeof(dir));
	kept = state_open(dir, &err);
	assert_non_null(kept);
	for (int i = 0; i < 1030; i++) {
		snprintf(address, sizeof(address), "10.0.%d.%d:80", i / 250,
		    i % 250);
		assert_true(
		    state_put_endpoint(kept, "blue", address, &change, &err));
	}
	state_close(&kept);
	plant_start(plant);
	plant_stop(plant);
	assert_true(journal_open(&journal, dir, &cut, &err));
	assert_int_equal(count_words(&journal), 1024);
	journal_release(&journal);
	plant_start(plant);
	EXPECT(plant, 200, "", .method = "PUT",
	    .path = "/v1/pools/blue/endpoints/127.0.0.1:21051/state",
	    .body = "{\"state\": \"active\"}");
}

/* ---- certificates ---- */

static void
test_server__all_certificates_are_told(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;
	size_t n = 0;

	plant->n_certificates = 200;
	plant_ask(plant, &(struct ask){.path = "/v1/certificates"}, &answer);
	assert_int_equal(
	    json_array_size(json_object_get(answer.json, "certificates")), 200);
	answer_free(&answer);
	plant_ask(plant, &(struct ask){.path = "/metrics"}, &answer);
	for (const char *at = answer.text;
	     (at = strstr(at, "not_after_timestamp_seconds{")); at++)
		n++;
	assert_int_equal(n, 200);
	answer_free(&answer);
}

/* ---- config ---- */

static void
test_server__a_reload_takes_the_file(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	put_weights(plant, "{\"weights\": {\"canary\": 100}}");
	EXPECT(plant, 200, "", .method = "POST", .path = "/v1/config/reload");
	assert_true(weight(plant, "canary") == 100);
	plant_write(plant, "{blue: 30, canary: 70}", "");
	EXPECT(plant, 200, "", .method = "POST",
	    .path = "/v1/config/reload?dry_run=1");
	assert_true(weight(plant, "canary") == 100);
	EXPECT(plant, 200, "", .method = "POST", .path = "/v1/config/reload",
	    .body = "{\"reason\": \"new weights\"}");
	assert_true(weight(plant, "canary") == 70);
	plant_ask(
	    plant, &(struct ask){.path = "/v1/audit?target=shop"}, &answer);
	assert_non_null(strstr(answer.text, "file-wins"));
	answer_free(&answer);
}

static void
test_server__a_bad_file_changes_nothing_and_says_where(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	plant_write(plant, "{blue: 30, canary: 70}", "wieght: 5\n");
	expect_at(plant,
	    &(struct ask){.method = "POST", .path = "/v1/config/reload"}, 422,
	    "bad-config", &answer, __LINE__);
	assert_true(
	    json_array_size(json_object_get(answer.json, "errors")) > 0);
	assert_true(
	    json_integer_value(json_object_get(
	        json_array_get(json_object_get(answer.json, "errors"), 0),
	        "line")) > 0);
	answer_free(&answer);
	assert_true(weight(plant, "canary") == 10);
}

static void
test_server__listeners_come_and_go_with_a_reload(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;
	size_t len;
	char *text = room_read(plant->file, &len), *at;

	at = strstr(text, "21040");
	memcpy(at, "21043", 5);
	room_write(plant->file, text, len);
	free(text);
	EXPECT(plant, 200, "", .by_tcp = true, .path = "/healthz");
	EXPECT(plant, 200, "", .method = "POST", .path = "/v1/config/reload");
	EXPECT(
	    plant, 200, "", .by_tcp = true, .port = 21043, .path = "/healthz");
	plant_ask(
	    plant, &(struct ask){.by_tcp = true, .path = "/healthz"}, &answer);
	assert_int_equal(answer.status, 0);
	answer_free(&answer);
}

static void
test_server__config_check_and_diff(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	EXPECT(plant, 422, "bad-config", .method = "POST",
	    .path = "/v1/config/check", .body = "version: 1\nlisteners: 5\n",
	    .headers = {"Content-Type: application/yaml"});
	put_weights(
	    plant, "{\"weights\": {\"canary\": 100}, \"reason\": \"because\"}");
	plant_ask(plant, &(struct ask){.path = "/v1/config/diff"}, &answer);
	assert_int_equal(answer.status, 200);
	assert_non_null(strstr(answer.text, "because"));
	assert_non_null(strstr(answer.text, "uid:0"));
	answer_free(&answer);
	plant_ask(plant, &(struct ask){.path = "/v1/config"}, &answer);
	assert_int_equal(answer.status, 200);
	assert_null(strstr(answer.text, "0123456789abcdef"));
	answer_free(&answer);
}

/* ---- what is left of it ---- */

static void
test_server__refusals_are_audited_too(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;
	struct audit_verdict verdict;
	struct err err;
	FILE *file;

	EXPECT(plant, 403, "forbidden", .by_tcp = true, .method = "PUT",
	    .path = WEIGHTS, .body = "{}", .headers = {BOARD});
	EXPECT(plant, 401, "unauthorized", .by_tcp = true, .method = "PUT",
	    .path = WEIGHTS, .body = "{}");
	put_weights(
	    plant, "{\"weights\": {\"canary\": 100}, \"reason\": \"x\"}");
	plant_ask(plant, &(struct ask){.path = "/v1/audit"}, &answer);
	assert_non_null(strstr(answer.text, "refused:forbidden"));
	assert_non_null(strstr(answer.text, "refused:unauthorized"));
	assert_non_null(strstr(answer.text, "token:board"));
	file =
	    fopen(json_string_value(json_object_get(answer.json, "path")), "r");
	assert_non_null(file);
	assert_true(audit_verify(file, "audit", &verdict, &err));
	assert_int_equal(verdict.lines, 3);
	assert_string_equal(verdict.head,
	    json_string_value(json_object_get(answer.json, "head")));
	fclose(file);
	answer_free(&answer);
}

static void
test_server__openapi_has_every_row(void **state)
{
	struct answer_seen answer;
	json_t *paths;

	plant_ask(*state, &(struct ask){.path = "/v1/openapi.json"}, &answer);
	assert_int_equal(answer.status, 200);
	paths = json_object_get(answer.json, "paths");
	assert_non_null(json_object_get(
	    json_object_get(paths, "/v1/splits/{split}/weights"), "put"));
	assert_non_null(
	    json_object_get(json_object_get(paths, "/v1/events"), "get"));
	answer_free(&answer);
}

static void
test_server__metrics_satisfy_promtool(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;
	FILE *promtool;

	plant_ask(plant, &(struct ask){.path = "/metrics"}, &answer);
	assert_int_equal(answer.status, 200);
	assert_non_null(
	    strstr(answer.text, "weir_split_weight_ratio{split=\"shop\",pool="
	                        "\"canary\",kind=\"desired\"} 0.1\n"));
	if (system("command -v promtool >/dev/null 2>&1") == 0) {
		promtool = popen("promtool check metrics 2>&1", "w");
		assert_non_null(promtool);
		fwrite(answer.text, 1, answer.len, promtool);
		assert_int_equal(pclose(promtool), 0);
	}
	answer_free(&answer);
	plant_ask(plant,
	    &(struct ask){.path = "/metrics",
	        .headers = {"Accept: application/openmetrics-text"}},
	    &answer);
	assert_string_equal(answer.text + answer.len - 6, "# EOF\n");
	assert_non_null(
	    strstr(answer.text, "# TYPE weir_http_requests counter\n"));
	answer_free(&answer);
}

static void
test_server__events_can_be_read_at_once(void **state)
{
	struct plant *plant = *state;
	struct answer_seen answer;

	put_weights(plant, "{\"weights\": {\"canary\": 100}}");
	plant_ask(plant, &(struct ask){.path = "/v1/events?follow=0"}, &answer);
	assert_int_equal(
	    json_array_size(json_object_get(answer.json, "events")), 1);
	answer_free(&answer);
}

static void
test_server__a_change_takes_less_than_10_ms(void **state)
{
	struct plant *plant = *state;
	double best = 1;

	for (int i = 0; i < 20; i++) {
		struct answer_seen answer;
		char body[64];

		snprintf(body, sizeof(body),
		    "{\"weights\": {\"blue\": %d, \"canary\": %d}}", i,
		    100 - i);
		expect_at(plant,
		    &(struct ask){
		        .method = "PUT", .path = WEIGHTS, .body = body},
		    200, "", &answer, __LINE__);
		if (answer.seconds < best)
			best = answer.seconds;
		answer_free(&answer);
	}
	print_message(
	    "PUT weights, journal included: %.2f ms at best\n", best * 1e3);
	assert_true(best < 0.010);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_server__weights_are_set_and_shown),
	    TEST(test_server__weights_survive_a_new_start),
	    TEST(test_server__a_changed_file_wins_at_a_new_start),
	    TEST(test_server__wrong_weights_change_nothing),
	    TEST(test_server__unknown_names_get_a_suggestion),
	    TEST(test_server__of_two_with_the_same_version_one_wins),
	    TEST(test_server__a_dry_run_changes_nothing),
	    TEST(test_server__undo_goes_back_and_forth),
	    TEST(test_server__no_weight_for_a_pool_without_endpoints),
	    TEST(test_server__a_repeated_post_is_answered_once),
	    TEST(test_server__oversized_bodies_and_reasons_are_refused),
	    TEST(test_server__a_full_disk_refuses_the_change_and_heals),
	    TEST(test_server__tcp_wants_a_token),
	    TEST(test_server__roles_and_scopes_hold),
	    TEST(test_server__guessing_is_limited),
	    TEST(test_server__a_rebound_name_is_turned_away),
	    TEST(test_server__other_sites_are_refused),
	    TEST(test_server__methods_types_and_paths),
	    TEST(test_server__the_metrics_listener_has_three_paths),
	    TEST(test_server__the_socket_is_private_and_replaced_when_stale),
	    TEST(test_server__an_endpoint_with_odd_characters_is_reached),
	    TEST(test_server__all_certificates_are_told),
	    TEST(test_server__words_on_endpoints_that_are_gone_make_room),
	    TEST(test_server__a_reload_takes_the_file),
	    TEST(test_server__a_bad_file_changes_nothing_and_says_where),
	    TEST(test_server__listeners_come_and_go_with_a_reload),
	    TEST(test_server__config_check_and_diff),
	    TEST(test_server__refusals_are_audited_too),
	    TEST(test_server__openapi_has_every_row),
	    TEST(test_server__metrics_satisfy_promtool),
	    TEST(test_server__events_can_be_read_at_once),
	    TEST(test_server__a_change_takes_less_than_10_ms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
