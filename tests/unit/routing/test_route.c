/*
 * Matching, and the index against a naive walk through the file, written
 * anew here.
 */
#include "tests/unit/routing/edge.h"

enum { SETS = 60, QUERIES = 300, ROUTES_MAX = 60 };

/* ---- single conditions, by the linear and by the indexed way ---- */

/* Nine routes that match nothing make the index take over. */
static const char *
file(const char *match, bool is_long)
{
	static char text[8192];
	size_t len = (size_t)snprintf(text, sizeof(text),
	    "version: 1\n"
	    "listeners: {http: {bind: [\"127.0.0.1:8080\"]}}\n"
	    "routes:\n");

	for (int i = 0; is_long && i < 9; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
		    "  - {name: filler-%d, match: {host: no%d.test}, "
		    "respond: {status: 204}}\n",
		    i, i);
	snprintf(text + len, sizeof(text) - len,
	    "  - {name: it, match: {%s}, respond: {status: 200, body: x}}\n",
	    match);
	return text;
}

static void
expect_match(const char *match, struct route_query query, bool wanted)
{
	for (int is_long = 0; is_long < 2; is_long++) {
		struct decision decision;
		struct edge edge;

		edge_open(&edge, file(match, is_long));
		routing_decide(edge.snapshot, 0, &edge.rng, &query, &decision);
		if ((decision.route != NULL) != wanted)
			print_error("%s with %.*s%.*s\n", match,
			    (int)query.host.len, query.host.ptr,
			    (int)query.path.len, query.path.ptr);
		assert_int_equal(decision.route != NULL, wanted);
		assert_null(decision.pool);
		edge_close(&edge);
	}
}

static void
test_route__hosts(void **state)
{
	static const struct {
		const char *pattern, *host;
		bool matches;
	} cases[] = {
	    {"host: a.test", "a.test", true},
	    {"host: a.test", "b.test", false},
	    {"host: a.test", "x.a.test", false},
	    {"host: [a.test, b.test]", "b.test", true},
	    {"host: \"*.a.test\"", "x.a.test", true},
	    {"host: \"*.a.test\"", "y.x.a.test", true},
	    {"host: \"*.a.test\"", "a.test", false},
	    {"host: \"*.a.test\"", ".a.test", false},
	    {"host: \"*.a.test\"", "xa.test", false},
	    {"host: \"*.a.test\"", "", false},
	    {"path: /", "anything", true},
	    {"path: /", "", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		expect_match(cases[i].pattern,
		    edge_query(cases[i].host, "/", NULL), cases[i].matches);
}

static void
test_route__paths(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool matches;
	} cases[] = {
	    {"path: /api", "/api", true},
	    {"path: /api", "/api/", false},
	    {"path_prefix: /api", "/api", true},
	    {"path_prefix: /api", "/api/", true},
	    {"path_prefix: /api", "/api/x/y", true},
	    {"path_prefix: /api", "/apix", false},
	    {"path_prefix: /api", "/ap", false},
	    {"path_prefix: /api", "/x/api", false},
	    {"path_prefix: /api/", "/api/x", true},
	    {"path_prefix: /api/", "/api/", true},
	    {"path_prefix: /api/", "/api", false},
	    {"path_prefix: /a/b", "/a/b/c", true},
	    {"path_prefix: /a/b", "/a", false},
	    {"path_prefix: /", "/", true},
	    {"path_prefix: /", "/x/y", true},
	    {"path_prefix: /", "*", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		expect_match(cases[i].pattern,
		    edge_query("a.test", cases[i].path, NULL),
		    cases[i].matches);
}

static void
test_route__methods(void **state)
{
	struct route_query query = edge_query("a.test", "/", NULL);

	(void)state;
	query.method = METHOD_POST;
	expect_match("method: [GET, POST]", query, true);
	query.method = METHOD_DELETE;
	expect_match("method: [GET, POST]", query, false);
	query.method = METHOD_OTHER;
	expect_match("path: /", query, true);
}

static void
test_route__header_fields_must_all_match(void **state)
{
	struct edge_request both = {
	    .headers = {{"x-api", "2"}, {"x-any", "whatever"}}};
	struct edge_request other = {
	    .headers = {{"x-api", "1"}, {"x-any", "whatever"}}};
	struct edge_request one = {.headers = {{"x-api", "2"}}};
	const char *match = "header: {x-api: \"2\", x-any: \"*\"}";

	(void)state;
	expect_match(match, edge_query("a.test", "/", &both), true);
	expect_match(match, edge_query("a.test", "/", &other), false);
	expect_match(match, edge_query("a.test", "/", &one), false);
	expect_match(match, edge_query("a.test", "/", NULL), false);
}

static void
test_route__clients_by_address(void **state)
{
	struct sockaddr_in client = {.sin_family = AF_INET};
	struct route_query query = edge_query("a.test", "/", NULL);
	const char *match = "client: [\"10.0.0.0/8\"]";

	(void)state;
	expect_match(match, query, false); /* unknown client */
	query.client = (const struct sockaddr *)&client;
	client.sin_addr.s_addr = htonl(0x0a010203);
	expect_match(match, query, true);
	client.sin_addr.s_addr = htonl(0x0b010203);
	expect_match(match, query, false);
}

/* ---- the index against the walk ---- */

static const char *const labels[] = {"a", "b", "shop", "x-y"};
static const char *const segments[] = {"api", "v1", "a", "apix", ""};

static void
random_host(struct rng *rng, char out[64], bool is_pattern)
{
	size_t len = 0;

	out[0] = '\0';
	if (is_pattern && rng_below(rng, 3) == 0)
		len = (size_t)sprintf(out, "*.");
	for (uint32_t n = 1 + rng_below(rng, 3); n > 0; n--)
		len += (size_t)sprintf(
		    out + len, "%s.", labels[rng_below(rng, 4)]);
	sprintf(out + len, "test");
}

static void
random_path(struct rng *rng, char out[64], bool may_end_in_slash)
{
	size_t len = 0;

	for (uint32_t n = rng_below(rng, 5); n > 0; n--)
		len += (size_t)sprintf(out + len, "/%s",
		    segments[rng_below(rng, 4 + may_end_in_slash)]);
	if (len == 0 || (may_end_in_slash && rng_below(rng, 4) == 0))
		len += (size_t)sprintf(out + len, "/");
	out[len] = '\0';
}

struct plan {
	struct route_cfg cfgs[ROUTES_MAX];
	struct route_view views[ROUTES_MAX];
	char hosts[ROUTES_MAX][3][64], paths[ROUTES_MAX][2][64];
	char *host_at[ROUTES_MAX][3];
	struct header_pair headers[ROUTES_MAX];
	size_t n;
};

static void
plan_make(struct plan *plan, struct rng *rng)
{
	plan->n = 1 + rng_below(rng, ROUTES_MAX);
	for (size_t i = 0; i < plan->n; i++) {
		struct match_cfg *match = &plan->cfgs[i].match;

		*match = (struct match_cfg){0};
		plan->views[i] = (struct route_view){.cfg = &plan->cfgs[i]};
		match->hosts.n = rng_below(rng, 4);
		match->hosts.at = plan->host_at[i];
		for (size_t j = 0; j < match->hosts.n; j++) {
			random_host(rng, plan->hosts[i][j], true);
			plan->host_at[i][j] = plan->hosts[i][j];
		}
		random_path(rng, plan->paths[i][0], false);
		random_path(rng, plan->paths[i][1], true);
		if (rng_below(rng, 3) == 0)
			match->path = plan->paths[i][0];
		else if (rng_below(rng, 4) != 0)
			match->path_prefix = plan->paths[i][1];
		if (rng_below(rng, 4) == 0)
			match->methods = 1u << rng_below(rng, 3);
		if (rng_below(rng, 5) == 0) {
			plan->headers[i] =
			    (struct header_pair){(char *)"x-a", (char *)"1"};
			match->headers = &plan->headers[i];
			match->n_headers = 1;
		}
	}
}

static bool
naive_host(const char *pattern, const char *host)
{
	size_t tail;

	if (pattern[0] != '*')
		return strcmp(pattern, host) == 0;
	tail = strlen(pattern) - 1;
	return strlen(host) > tail &&
	       strcmp(host + strlen(host) - tail, pattern + 1) == 0;
}

static bool
naive_prefix(const char *prefix, const char *path)
{
	size_t len = strlen(prefix);

	if (strcmp(prefix, "/") == 0)
		return true;
	if (strncmp(path, prefix, len) != 0)
		return false;
	return prefix[len - 1] == '/' || path[len] == '\0' || path[len] == '/';
}

static bool
naive_match(const struct match_cfg *match, const char *host, const char *path,
    enum http_method method, bool has_header)
{
	bool ok = match->hosts.n == 0;

	for (size_t i = 0; i < match->hosts.n; i++)
		ok = ok || naive_host(match->hosts.at[i], host);
	if (match->path != NULL)
		ok = ok && strcmp(match->path, path) == 0;
	if (match->path_prefix != NULL)
		ok = ok && naive_prefix(match->path_prefix, path);
	if (match->methods != 0)
		ok = ok && (match->methods & (1u << method)) != 0;
	return ok && (match->n_headers == 0 || has_header);
}

static size_t
naive_find(const struct plan *plan, const char *host, const char *path,
    enum http_method method, bool has_header)
{
	size_t i = 0;

	while (i < plan->n && !naive_match(&plan->cfgs[i].match, host, path,
	                          method, has_header))
		i++;
	return i;
}

static void
check_query(const struct plan *plan, const struct route_index *index,
    struct rng *rng, size_t *hits)
{
	static const struct edge_request with = {.headers = {{"x-a", "1"}}};
	bool has_header = rng_below(rng, 2) == 0;
	char host[64], path[64];
	struct route_query query;
	const struct route_view *found;
	size_t want;

	random_host(rng, host, false);
	random_path(rng, path, true);
	query = edge_query(host, path, has_header ? &with : NULL);
	query.method = rng_below(rng, 3);
	want = naive_find(plan, host, path, query.method, has_header);
	found = route_find(index, &query);
	if (found != (want < plan->n ? &plan->views[want] : NULL))
		print_error("%s%s: naive %zu, index %zd\n", host, path, want,
		    found ? found - plan->views : -1);
	assert_ptr_equal(found, want < plan->n ? &plan->views[want] : NULL);
	*hits += found != NULL;
}

static void
test_route__the_index_finds_what_the_walk_finds(void **state)
{
	struct plan *plan = calloc(1, sizeof(*plan));
	struct edge edge = {0};
	size_t hits = 0;

	(void)state;
	edge_seed(&edge, 11);
	for (int set = 0; set < SETS; set++) {
		struct route_index *index;

		plan_make(plan, &edge.rng);
		index = route_index_new(plan->views, plan->n);
		for (int i = 0; i < QUERIES; i++)
			check_query(plan, index, &edge.rng, &hits);
		route_index_free(&index);
		assert_null(index);
	}
	/* else the queries would say nothing */
	assert_in_range(hits, SETS * QUERIES / 4, SETS * QUERIES - 100);
	free(plan);
}

static void
test_route__hostile_names_are_only_long(void **state)
{
	enum { LONG = 60000 };
	struct edge edge;
	char *dots = malloc(LONG), *slashes = malloc(LONG);
	struct route_query query = edge_query("", "", NULL);

	(void)state;
	edge_open(&edge, file("host: \"*.a.test\", path_prefix: /x", true));
	memset(dots, '.', LONG);
	memset(slashes, '/', LONG);
	query.host = (struct span){dots, LONG};
	query.path = (struct span){slashes, LONG};
	assert_null(route_find(edge.snapshot->index, &query));
	memcpy(dots + LONG - 7, ".a.test", 7);
	memcpy(slashes, "/x", 2);
	assert_non_null(route_find(edge.snapshot->index, &query));
	free(dots);
	free(slashes);
	edge_close(&edge);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_route__hosts),
	    cmocka_unit_test(test_route__paths),
	    cmocka_unit_test(test_route__methods),
	    cmocka_unit_test(test_route__header_fields_must_all_match),
	    cmocka_unit_test(test_route__clients_by_address),
	    cmocka_unit_test(test_route__the_index_finds_what_the_walk_finds),
	    cmocka_unit_test(test_route__hostile_names_are_only_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
