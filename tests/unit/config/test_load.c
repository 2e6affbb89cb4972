/*
 * What weir says about files that are not fine: code, line, column, caret and
 * hint, to the letter for the important ones.
 */
#include "cmock.h"

#include <sys/stat.h>
#include <unistd.h>

#define END(errors, warnings) errors ", " warnings ". Nothing was changed.\n"

static void
expect(const char *text, const char *want)
{
	char *told = told_about(text);

	assert_string_equal(told, want);
	free(told);
}

/* ---- keys ---- */

static void
test_load__an_unknown_key_has_place_caret_and_suggestion(void **state)
{
	(void)state;
	expect(HEAD TAIL "pools:\n  app:\n    endpoints: \"10.0.0.1:80\"\n"
	                 "    timeuots: {connect: 1s}\n",
	    "t.yaml:6:5: error[E012]: unknown key \"timeuots\" in pool "
	    "\"app\"\n"
	    "    6 |     timeuots: {connect: 1s}\n"
	    "      |     ^~~~~~~~ did you mean \"timeouts\"?\n" END(
	        "1 error", "0 warnings"));
}

static void
test_load__a_key_near_nothing_lists_the_known(void **state)
{
	(void)state;
	expect_part(HEAD POOL TAIL "logs: {zzzzzz: 1}\n",
	    "^~~~~~ known here: access, audit\n");
}

static void
test_load__all_mistakes_are_told_in_file_order(void **state)
{
	(void)state;
	expect("listeners: {http: {bind: \"127.0.0.1:1\", limit: 1}}\n"
	       "pools: {app: {endpoints: \"127.0.0.1:9000\", balance: p2d}}\n"
	       "routes: [{pool: ap}]\n",
	    "t.yaml:1:41: error[E012]: unknown key \"limit\" in listener "
	    "\"http\"\n"
	    "    1 | listeners: {http: {bind: \"127.0.0.1:1\", limit: 1}}\n"
	    "      |                                         ^~~~~ did you "
	    "mean \"limits\"?\n"
	    "t.yaml:2:53: error[E016]: balance of pool \"app\": \"p2d\" is "
	    "not one of p2c, round_robin, random, hash, ewma\n"
	    "    2 | pools: {app: {endpoints: \"127.0.0.1:9000\", balance: "
	    "p2d}}\n"
	    "      |                                                     "
	    "^~~ did you mean \"p2c\"?\n"
	    "t.yaml:3:17: error[E028]: pool of route 1: there is no pool "
	    "\"ap\"\n"
	    "    3 | routes: [{pool: ap}]\n"
	    "      |                 ^~ did you mean \"app\"?\n" END(
	        "3 errors", "0 warnings"));
}

static void
test_load__a_key_twice_names_the_first(void **state)
{
	(void)state;
	expect(HEAD POOL TAIL "workers: 1\nworkers: 2\n",
	    "t.yaml:5:1: error[E008]: the key \"workers\" stands here twice\n"
	    "    5 | workers: 2\n"
	    "      | ^~~~~~~ first on line 4\n" END("1 error", "0 warnings"));
}

static void
test_load__a_key_twice_is_seen_in_a_large_map(void **state)
{
	char text[4096] = HEAD POOL TAIL "workers: 1\npools: {}\n";

	(void)state;
	for (int i = 0; i < 20; i++)
		sprintf(text + strlen(text), "k%d: 1\n", i);
	strcat(text, "k3: 1\n");
	expect_part(text, "E008]: the key \"k3\" stands here twice");
	expect_part(text, "E008]: the key \"pools\" stands here twice");
}

static void
test_load__settings_of_later_versions_say_so(void **state)
{
	(void)state;
	expect_part(HEAD POOL TAIL "tracing: {}\n",
	    "is known, but not available in this version");
	expect_part(HEAD POOL TAIL "tracing: {}\n",
	    "^~~~~~~ take it out, or use a version that has it");
	expect_part(
	    HEAD POOL TAIL "tracing: {}\n", "[E013]: \"tracing\" in the file");
}

static void
test_load__what_this_version_does_may_be_written_down(void **state)
{
	struct config *config = load_fine(
	    "listeners: {h: {bind: \"127.0.0.1:1\", protocols: [h2, http/1.1], "
	    "proxy_protocol: off}}\n" TAIL
	    "pools: {app: {endpoints: \"a:1\", protocol: http/1.1}}\n");

	(void)state;
	config_free(&config);
}

static void
test_load__a_missing_section_is_told(void **state)
{
	(void)state;
	expect(POOL TAIL,
	    "t.yaml:1:1: error[E014]: \"listeners\" is missing in the file\n"
	    "    1 | pools: {app: {endpoints: \"127.0.0.1:9000\"}}\n"
	    "      | ^ Where requests come in\n" END("1 error", "0 warnings"));
	expect_part(HEAD TAIL "pools: {app: {meta: {a: b}}}\n",
	    "[E014]: \"endpoints\" is missing in pool \"app\"");
}

/* ---- values ---- */

static void
test_load__a_bare_number_is_no_duration(void **state)
{
	(void)state;
	expect("listeners:\n  http:\n    bind: \"127.0.0.1:1\"\n"
	       "    limits: {idle_timeout: 30}\n" POOL TAIL,
	    "t.yaml:4:28: error[E018]: limits.idle_timeout of listener "
	    "\"http\": 30 has no unit\n"
	    "    4 |     limits: {idle_timeout: 30}\n"
	    "      |                            ^~ write \"30s\", \"30ms\" or "
	    "\"30m\"\n" END("1 error", "0 warnings"));
}

static void
test_load__ranges_are_kept(void **state)
{
	(void)state;
	expect_part("workers: 1025\n" HEAD POOL TAIL,
	    "[E017]: workers: 1025 is above 1024");
	expect_part(
	    "workers: 0\n" HEAD POOL TAIL, "[E017]: workers: 0 is below 1");
	expect_part("version: 2\n" HEAD POOL TAIL, "2 is above 1");
	expect_part("listeners: {h: {bind: \"127.0.0.1:1\", limits: "
	            "{max_header: 2MiB}}}\n" POOL TAIL,
	    "[E019]: limits.max_header of listener \"h\": 2MiB is above 128KiB");
	expect_part(HEAD TAIL "pools: {app: {endpoints: \"a:1\", retry: "
	                      "{budget: 101}}}\n",
	    "[E020]");
}

static void
test_load__shapes_are_checked(void **state)
{
	(void)state;
	expect_part(HEAD TAIL "pools: [app]\n",
	    "[E015]: pools: a map is expected, not a list");
	expect_part("workers: {a: 1}\n" HEAD POOL TAIL,
	    "[E015]: workers: a single value is expected, not a map");
	expect_part("user:\n" HEAD POOL TAIL,
	    "[E015]: user: a single value is expected, not nothing");
	expect_part("- a\n", "[E015]: the file is a map");
	expect_part("just text\n", "[E015]: the file is a map");
}

static void
test_load__names_are_checked(void **state)
{
	(void)state;
	expect_part("listeners: {HTTP: {bind: \"127.0.0.1:1\"}}\n" POOL TAIL,
	    "[E021]: listeners: \"HTTP\" is not a name");
	expect_part(HEAD POOL "routes: [{name: a_b, pool: app}]\n",
	    "[E021]: name of route \"a_b\": \"a_b\" is not a name");
	expect_part(HEAD POOL "routes: [{name: a, pool: app, match: {path: "
	                      "/x}},\n {name: a, pool: app}]\n",
	    "[E008]: two routes are named \"a\"");
}

static void
test_load__listening_needs_an_address(void **state)
{
	(void)state;
	expect_part("listeners: {h: {bind: \":8080\"}}\n" POOL TAIL,
	    "\"0.0.0.0:8080\" and \"[::]:8080\" are everywhere");
	expect_part("listeners: {h: {bind: 8080}}\n" POOL TAIL,
	    "\"0.0.0.0:8080\" and \"[::]:8080\" are everywhere");
	expect_part("listeners: {h: {bind: \"localhost:80\"}}\n" POOL TAIL,
	    "write \"127.0.0.1:80\"");
	expect_part(HEAD TAIL "pools: {app: {endpoints: \"a:0\"}}\n",
	    "[E022]: endpoints of pool \"app\": nobody can be reached on port "
	    "0");
}

static void
test_load__a_split_named_as_a_pool_is_pointed_at(void **state)
{
	(void)state;
	expect_part(HEAD POOL "splits: {shop: {stable: app}}\n"
	                      "routes: [{pool: shop}]\n",
	    "^~~~ \"shop\" is a split\n");
	expect_part(HEAD POOL "splits: {shop: {stable: apq}}\n"
	                      "routes: [{split: shop}]\n",
	    "^~~ did you mean \"app\"?\n");
}

static void
test_load__a_header_is_one_in_any_case(void **state)
{
	(void)state;
	expect_part(HEAD POOL "routes: [{pool: app, headers: {set: {X-A: b, "
	                      "x-a: c}}}]\n",
	    "[E008]: the header \"x-a\" stands here twice");
}

static void
test_load__an_entry_without_shape_is_told(void **state)
{
	(void)state;
	expect_part(HEAD POOL "routes: [x, {pool: app}]\n",
	    "[E015]: route 1: a map is expected, not a single value");
	expect_part("listeners: {h: x}\n" POOL TAIL, "[E015]");
	expect_part(HEAD TAIL "pools: {app: x}\n", "[E015]");
	expect_part(HEAD POOL TAIL "splits: {s: [a]}\n", "[E015]");
	expect_part(HEAD POOL TAIL "admin: {access: [x]}\n", "[E015]");
}

/* What is written and left empty was meant to be something. */
static void
test_load__an_empty_guard_is_not_taken_for_none(void **state)
{
	(void)state;
	expect_part(
	    "listeners: {h: {bind: \"127.0.0.1:1\", tls: }}\n" POOL TAIL,
	    "[E015]: tls of listener \"h\": a map is expected, not nothing");
	expect_part("listeners: {h: {bind: \"127.0.0.1:1\", tls: "
	            "{certificates: []}}}\n" POOL TAIL,
	    "[E014]: tls.certificates of listener \"h\": the list is empty");
	expect_part("listeners: {h: {bind: []}}\n" POOL TAIL,
	    "[E014]: bind of listener \"h\": the list is empty");
	expect_part(HEAD POOL "routes: [{pool: app, match: {client: []}}]\n",
	    "[E014]: match.client of route 1: the list is empty");
	expect_part(HEAD POOL "routes: [{pool: app, match: {host: }}]\n",
	    "[E015]: match.host of route 1");
	expect_part(HEAD POOL "routes: [{pool: app, match: }]\n", "[E015]");
	expect_part(HEAD POOL "routes: [{redirect: }]\n", "[E015]: redirect");
	expect_part(HEAD POOL "splits: {s: {stable: app, pins: [{from: [], "
	                      "pool: app}]}}\nroutes: [{split: s}]\n",
	    "[E014]: pins.from of split \"s\": the list is empty");
	expect_part(HEAD POOL TAIL "admin: {access: [{who: \"uid:0\", role: "
	                           "admin, splits: []}]}\n",
	    "[E014]: admin.access.splits: the list is empty");
	expect(HEAD POOL TAIL "splits:\n", "");
}

static void
test_load__headers_that_weir_owns_are_refused(void **state)
{
	static const char *const owned[] = {"Host", "content-length",
	    "Transfer-Encoding", "connection", "keep-alive", "te", "trailer",
	    "upgrade", "proxy-connection"};
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++) {
		snprintf(text, sizeof(text),
		    HEAD POOL "routes: [{pool: app, "
		              "headers: {set: {%s: x}, remove: [%s]}}]\n",
		    owned[i], owned[i]);
		expect_part(text, "belongs to weir and cannot be set");
		expect_part(text, "belongs to weir and cannot be changed");
	}
	expect_part(HEAD POOL "routes: [{pool: app, headers: {set: {x-a: "
	                      "\"b\\r\\nc: d\"}}}]\n",
	    "[E025]: headers.set.x-a");
	expect_part(HEAD POOL "routes: [{pool: app, headers: {set: "
	                      "{\"x a\": b}}}]\n",
	    "\"x a\" is not a header's name");
}

static void
test_load__templates_are_known_words(void **state)
{
	(void)state;
	expect(HEAD POOL "routes:\n  - pool: app\n"
	                 "    headers: {set: {x-id: \"${request.di}\"}}\n",
	    "t.yaml:5:27: error[E027]: headers.set.x-id of route 1: nothing is "
	    "known as ${request.di}\n"
	    "    5 |     headers: {set: {x-id: \"${request.di}\"}}\n"
	    "      |                           ^~~~~~~~~~~~~~~ did you mean "
	    "\"request.id\"?\n" END("1 error", "0 warnings"));
	expect_part("user: \"${request.id}\"\n" HEAD POOL TAIL,
	    "[E027]: user: templates stand in header values only");
}

/* ---- variables ---- */

static void
test_load__a_missing_variable_is_named(void **state)
{
	(void)state;
	unsetenv("WEIR_TEST_NONE");
	expect("user: ${WEIR_TEST_NONE}\n" HEAD POOL TAIL,
	    "t.yaml:1:7: error[E011]: environment variable WEIR_TEST_NONE is "
	    "not set\n"
	    "    1 | user: ${WEIR_TEST_NONE}\n"
	    "      |       ^~~~~~~~~~~~~~~~~ set it, or give a default: "
	    "${WEIR_TEST_NONE:-text}\n" END("1 error", "0 warnings"));
	expect_part("user: ${WEIR_TEST_NONE:?who runs it}\n" HEAD POOL TAIL,
	    "who runs it");
	expect_part("user: ${WEIR_TEST_NONE\n" HEAD POOL TAIL,
	    "the brace of ${ is not closed");
	expect_part("user: ${WEIR_TEST_NONE-x}\n" HEAD POOL TAIL,
	    "[E011]: not a variable");
}

static void
test_load__what_a_variable_holds_is_never_shown(void **state)
{
	char *told;

	(void)state;
	setenv("WEIR_TEST_SECRET", "hunter2", 1);
	told = told_about("workers: ${WEIR_TEST_SECRET}\n" HEAD POOL TAIL);
	assert_null(strstr(told, "hunter2"));
	assert_non_null(strstr(told, "\"${WEIR_TEST_SECRET}\" is not auto"));
	free(told);
}

/* ---- secrets ---- */

static void
test_load__a_secret_that_is_written_down_is_not_shown(void **state)
{
	char *told = told_about(
	    "admin:\n  access:\n"
	    "    - {who: \"token:x\", roel: admin, secret: hunter2}\n"
	    "    - {who: \"token:y\", role: admin, secret: {vlaue: "
	    "hunter2}}\n" HEAD POOL TAIL);

	(void)state;
	assert_null(strstr(told, "hunter2"));
	assert_non_null(strstr(told, "did you mean \"role\"?"));
	assert_non_null(strstr(told, "[E024]: admin.access.secret: a secret is "
	                             "named, never written"));
	free(told);
}

static void
test_load__files_that_are_named_must_be_there(void **state)
{
	(void)state;
	expect_part("listeners: {h: {bind: \"127.0.0.1:1\", tls: "
	            "{certificates: [{cert: /nonexistent/a.crt, key: {file: "
	            "/nonexistent/a.key}}]}}}\n" POOL TAIL,
	    "[E034]: tls.certificates.cert of listener \"h\": "
	    "/nonexistent/a.crt: No such file or directory");
}

static void
test_load__what_others_write_for_it_has_a_hint(void **state)
{
	(void)state;
	expect_part(HEAD POOL "geo: {database: /etc/passwd}\nroutes: [{match: "
	                      "{geo: {country: [Deu]}}, pool: app}]\n",
	    "did you mean \"DE\"?");
	expect_part(HEAD POOL "geo: {database: /etc/passwd}\nroutes: [{match: "
	                      "{geo: {country: [Germany]}}, pool: app}]\n",
	    "two letters of ISO 3166-1");
	expect_part(HEAD TAIL "pools: {app: {endpoints: \"127.0.0.1:1\", "
	                      "retry: {on: [\"5xx\"]}}}\n",
	    "name each status: 500, 502, 503, 504");
}

/* Wherever one is named: the place, and what to do. */
static void
test_load__a_missing_file_is_told_in_one_way_for_all(void **state)
{
	static const char *const rests[] = {
	    "pools: {app: {endpoints: \"127.0.0.1:1\", tls: {ca: "
	    "/nope/x}}}\n" TAIL,
	    POOL TAIL "geo: {database: /nope/x}\n",
	    POOL "routes: [{access: {deny: [{file: /nope/x}]}, pool: app}]\n",
	    POOL TAIL "redis: {url: \"rediss://h\", tls: {ca: /nope/x}}\n",
	    POOL TAIL "redis: {url: \"redis://h\", password: {file: "
	              "/nope/x}}\n",
	    POOL TAIL "admin: {tls: {cert: /nope/x, key: {file: /nope/x}, "
	              "client_ca: /nope/x}}\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rests) / sizeof(*rests); i++) {
		char text[600], *told;

		snprintf(text, sizeof(text), "%s%s", HEAD, rests[i]);
		told = told_about(text);
		if (strncmp(told, "t.yaml:", 7) != 0 ||
		    !strstr(told, "error[E034]: ") ||
		    !strstr(told, ": /nope/x: No such file or directory\n") ||
		    !strstr(told, " put it there, or mend the path: there is "
		                  "no folder /nope\n"))
			fail_msg("%s", told);
		free(told);
	}
	expect_part(HEAD TAIL "pools: {app: {endpoints: \"127.0.0.1:1\", tls: "
	                      "{ca: /tmp}}}\n",
	    "/tmp is a directory");
	expect_part(HEAD TAIL "pools: {app: {endpoints: \"127.0.0.1:1\", tls: "
	                      "{ca: /etc/passwd}}}\n",
	    "/etc/passwd holds no certificate");
}

static void
test_load__a_key_that_others_can_read_is_warned_of(void **state)
{
	char path[] = "/tmp/weir-key-XXXXXX", text[512], want[200];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	snprintf(text, sizeof(text),
	    "listeners: {h: {bind: \"127.0.0.1:1\", "
	    "tls: {certificates: [{cert: %s, key: {file: %s}}]}}}\n" POOL TAIL,
	    path, path);
	snprintf(want, sizeof(want),
	    "warning[W003]: tls.certificates.key of listener \"h\": others can "
	    "read %s",
	    path);
	fchmod(fd, 0600);
	expect(text, "");
	fchmod(fd, 0640);
	expect_part(text, want);
	close(fd);
	unlink(path);
}

/* ---- what belongs together ---- */

static void
test_load__weights_add_up(void **state)
{
#define SPLIT(weights)                                                         \
	HEAD "pools: {a: {endpoints: \"x:1\"}, b: {like: a}}\n"                \
	     "splits: {s: {stable: a, weights: " weights "}}\n"                \
	     "routes: [{split: s}]\n"
	(void)state;
	expect_part(SPLIT("{a: 90, b: 5}"),
	    "[E029]: weights of split \"s\": the weights add up to 95, not "
	    "100");
	expect_part(SPLIT("{a: 66.66, b: 33.33}"), "add up to 99.99, not 100");
	expect_part(SPLIT("{a: 100, b: 5}"), "add up to 105, not 100");
	expect_part(SPLIT("{b: 5}"), "^~~~~~~ add a: 95");
	expect_part(SPLIT("{a: 100, c: 0}"),
	    "[E028]: weights of split \"s\": there is no pool \"c\"");
	expect_part(SPLIT("{a: 33.333, b: 66.667}"), "[E020]");
#undef SPLIT
}

static void
test_load__a_split_has_at_most_eight_pools(void **state)
{
	char text[1024] = HEAD "routes: [{split: s}]\npools:\n"
	                       "  p0: {endpoints: \"x:1\"}\n";

	(void)state;
	for (int i = 1; i < 9; i++)
		sprintf(text + strlen(text), "  p%d: {like: p0}\n", i);
	strcat(text, "splits: {s: {stable: p0, weights: {p0: 100");
	for (int i = 1; i < 9; i++)
		sprintf(text + strlen(text), ", p%d: 0", i);
	strcat(text, "}}}\n");
	expect_part(text, "[E031]: weights of split \"s\": a split has at most "
	                  "8 pools");
}

static void
test_load__like_must_not_come_back(void **state)
{
	(void)state;
	expect_part(HEAD "pools: {app: {like: b}, b: {like: app}}\n" TAIL,
	    "[E032]: like of pool \"app\": comes back to the pool itself");
	expect_part(HEAD "pools: {app: {like: app}}\n" TAIL,
	    "comes back to the pool itself");
	expect_part(HEAD "pools: {app: {like: b}, b: {like: c}, c: {like: "
	                 "b}}\n" TAIL,
	    "[E032]: like of pool \"app\": the chain of likes");
}

static void
test_load__one_address_is_bound_once(void **state)
{
	(void)state;
	expect_part("listeners:\n  a: {bind: \"127.0.0.1:1\"}\n"
	            "  b: {bind: [\"127.0.0.1:1\"]}\n" POOL TAIL,
	    "t.yaml:3:14: error[E033]: bind of listener \"b\": 127.0.0.1:1 is "
	    "bound twice\n"
	    "    3 |   b: {bind: [\"127.0.0.1:1\"]}\n"
	    "      |              ^~~~~~~~~~~~~ also bind of listener \"a\", "
	    "line 2\n");
	expect_part("admin: {listen: \"127.0.0.1:1\"}\nlisteners:\n"
	            "  a: {bind: \"127.0.0.1:1\"}\n" POOL TAIL,
	    "bound twice");
	/* the kernel picks another port each time */
	expect(
	    "listeners: {a: {bind: [\"127.0.0.1:0\", \"127.0.0.1:0\"]}}\n" POOL
	        TAIL,
	    "");
}

static void
test_load__an_open_admin_needs_tls(void **state)
{
	(void)state;
	expect_part(
	    "admin: {listen: [\"unix:/a\", \"0.0.0.0:9901\"]}\n" HEAD POOL TAIL,
	    "[E035]: admin.listen: 0.0.0.0:9901 would be open to others");
	expect_part("admin: {listen: \"[::1]:9901\"}\n" HEAD POOL TAIL,
	    "warning[W004]: admin.listen: nobody can use the TCP address");
	expect_part(
	    "admin: {access: [{who: \"bob\", role: admin}]}\n" HEAD POOL TAIL,
	    "[E039]: admin.access.who");
	expect_part(
	    "admin: {access: [{who: \"token:a\", role: admin}]}\n" HEAD POOL
	        TAIL,
	    "\"secret\" is missing for token:a");
	expect_part(
	    "admin: {access: [{who: \"uid:x\", role: amdin}]}\n" HEAD POOL TAIL,
	    "did you mean \"admin\"?");
}

static void
test_load__a_route_does_exactly_one_thing(void **state)
{
	(void)state;
	expect_part(HEAD POOL "routes: [{match: {path: /a}}]\n",
	    "[E036]: route 1 does nothing");
	expect_part(HEAD POOL "routes: [{pool: app, respond: {}}]\n",
	    "[E036]: route 1 has two actions: pool and respond");
	expect_part(HEAD POOL "routes: [{pool: app, match: {path: /a, "
	                      "path_prefix: /b}}]\n",
	    "[E037]");
	expect_part(HEAD POOL "routes: [{pool: app, match: {path: /a//b}}]\n",
	    "never matches: slashes are merged");
	expect_part(HEAD POOL
	    "routes: [{pool: app, match: {path_prefix: /a;x}}]\n",
	    "never matches: slashes are merged");
	expect_part(HEAD POOL "routes: [{redirect: {to: new}}]\n", "[E026]");
}

static void
test_load__other_conflicts_are_told(void **state)
{
	(void)state;
	expect_part(
	    "listeners: {a: {bind: \"127.0.0.1:1\", redirect_to: a}}\n" POOL
	        TAIL,
	    "[E037]: redirect_to of listener \"a\"");
	expect_part(HEAD TAIL "pools: {app: {endpoints: \"a:1\", balance: "
	                      "hash}}\n",
	    "\"hash_on\" is missing in pool \"app\"");
	expect_part(HEAD TAIL "pools: {app: {endpoints: \"a:1\", hash_on: "
	                      "{by: client_ip}}}\n",
	    "hash_on is used with balance: hash only");
	expect_part(HEAD TAIL "pools: {app: {endpoints: \"a:1\", balance: "
	                      "hash, hash_on: {by: header}}}\n",
	    "which header?");
	expect_part(HEAD TAIL "pools: {app: {endpoints: \"a:1\", tls: {ca: "
	                      "/x, verify: system}}}\n",
	    "ca is used with verify: file only");
	expect_part(HEAD TAIL "pools: {app: {endpoints: {dns: a}}}\n",
	    "dns needs a port");
	expect_part(HEAD TAIL "pools: {app: {endpoints: {srv: _h._t.a, port: "
	                      "80}}}\n",
	    "srv and port do not go together");
	expect_part(HEAD TAIL "pools: {app: {endpoints: {srv: _h._t}}}\n",
	    "SRV records have a name like _http._tcp.shop.internal");
	expect_part(
	    "listeners: {a: {bind: \"127.0.0.1:1\", tls: {}}}\n" POOL TAIL,
	    "\"certificates\" is missing in tls of listener \"a\"");
}

/* ---- warnings ---- */

static void
test_load__what_nothing_uses_is_warned_of(void **state)
{
	(void)state;
	expect(HEAD "pools:\n  app: {endpoints: \"a:1\"}\n"
	            "  spare: {like: app}\n" TAIL,
	    "t.yaml:4:3: warning[W001]: nothing uses pool \"spare\"\n"
	    "    4 |   spare: {like: app}\n"
	    "      |   ^~~~~\n"
	    "0 errors, 1 warning.\n");
}

/* Messages go to whoever asks for a check, and the API lets any viewer ask. */
static void
test_load__no_message_says_what_a_variable_holds(void **state)
{
#define V "${WEIR_TEST_SECRET}"
	static const char *const files[] = {
	    HEAD POOL "routes: [{name: \"" V "\", pool: app}, {name: \"" V
	              "\", pool: app}]\n",
	    HEAD POOL "routes: [{name: \"" V "\", pool: app}, {pool: app}]\n",
	    HEAD POOL "routes: [{pool: \"" V "\"}]\n",
	    HEAD "pools: {app: {endpoints: [\"" V ":80\", {address: \"" V
	         ":80\", weight: 2}]}}\n" TAIL,
	    HEAD POOL TAIL "geo: {database: \"/nope/" V "\"}\n",
	    HEAD POOL TAIL "geo: {database: \"" V "/nope\"}\n",
	    HEAD POOL TAIL "redis: {url: \"redis://h\", password: {env: \"" V
	                   "\"}}\n",
	    HEAD POOL TAIL "redis: {url: \"redis://h\", password: {credential: "
	                   "\"" V "\"}}\n",
	    HEAD POOL TAIL "plans: {p: {phases: [{name: \"" V
	                   "\", weight: 5}, {name: \"" V "\", weight: 1}]}}\n",
	    HEAD POOL TAIL
	    "plans: {p: {phases: [{name: a, weight: 5, gate: \"" V "\"}]}}\n",
	    HEAD POOL TAIL "plans: {p: {phases: [{name: a, weight: 100}], "
	                   "guards: [{name: \"" V "\", metric: errors}]}}\n",
	    HEAD POOL TAIL "admin: {access: [{who: \"token:" V
	                   "\", role: viewer}]}\n",
	    HEAD POOL "routes: [{match: {geo: {country: \"" V
	              "\", subdivision: \"" V "\"}}, pool: app}]\n",
	};

	(void)state;
	setenv("WEIR_TEST_SECRET", "hunter2", 1);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		char *told = told_about(files[i]);

		assert_non_null(strstr(told, V)); /* something is told */
		if (strstr(told, "hunter2"))
			fail_msg("%s", told);
		free(told);
	}
#undef V
}

static void
test_load__no_message_quotes_a_file_of_ranges(void **state)
{
	char path[] = "/tmp/weir-ranges-XXXXXX", text[512], *told;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "# x\nhunter2\n", 12), 12);
	close(fd);
	snprintf(text, sizeof(text),
	    HEAD POOL "routes: [{access: {deny: [{file: %s}]}, pool: app}]\n",
	    path);
	told = told_about(text);
	assert_non_null(strstr(told, ":2: this is not a range of addresses"));
	assert_null(strstr(told, "hunter2"));
	free(told);
	unlink(path);
}

/* Somebody may have it checked by a process that has other things to do. */
static void
test_load__what_never_ends_is_not_waited_for(void **state)
{
	char path[] = "/tmp/weir-pipe-XXXXXX", text[512];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	unlink(path);
	assert_int_equal(mkfifo(path, 0600), 0);
	snprintf(text, sizeof(text),
	    HEAD POOL "routes: [{access: {deny: [{file: %s}]}, pool: app}]\n",
	    path);
	expect_part(text, "is not a regular file");
	unlink(path);
	expect_part("listeners: {http: {bind: \"127.0.0.1:1\", tls: "
	            "{self_signed: true, client_ca: /dev/zero}}}\n" POOL TAIL,
	    "/dev/zero is not a regular file");
}

/* `n` times `each` with its number in it. */
static void
put_many(FILE *out, unsigned n, const char *before, const char *each)
{
	for (unsigned i = 0; i < n; i++)
		fprintf(out, "%s%s%u%s", i ? ", " : "", before, i, each);
}

/* A file with a list as long as that is told of at once, with `what`. */
static void
expect_long_list_told(const char *begin, unsigned n, const char *before,
    const char *each, const char *end, const char *what)
{
	char *text;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	fputs(begin, out);
	put_many(out, n, before, each);
	fputs(end, out);
	fclose(out);
	expect_part(text, what);
	free(text);
}

static void
test_load__large_files_are_judged_in_time(void **state)
{
	char *text;
	size_t len;
	FILE *out;

	(void)state;
	expect_long_list_told(HEAD POOL TAIL "plans: {p: {phases: [", 40000,
	    "{name: a", ", weight: 1}", "]}}\n", "at most 16 are possible");
	expect_long_list_told(HEAD POOL TAIL "admin: {listen: [", 60000,
	    "\"10.0.0.1:", "\"", "]}\n", "10.0.0.1:0 would be open to others");

	out = open_memstream(&text, &len);
	fprintf(out, HEAD TAIL "pools: {app: {endpoints: [");
	put_many(out, 5000, "\"a", ":1\"");
	fprintf(out, "]}, ");
	put_many(out, 5000, "p", ": {like: app}");
	fprintf(out, "}\n");
	fclose(out);
	expect_part(text, "there are more than 250000 values");
	free(text);
}

static void
test_load__routes_behind_one_that_takes_all_are_warned_of(void **state)
{
#define ROUTES(first, second)                                                  \
	HEAD POOL "routes: [{match: " first ", pool: app}, {match: " second    \
	          ", pool: app}]\n"
#define W002 "warning[W002]: route 2 is never reached: route \"route-1\""
	(void)state;
	expect_part(ROUTES("{}", "{host: a}"), W002);
	expect_part(ROUTES("{path_prefix: /}", "{path: /a}"), W002);
	expect_part(ROUTES("{path_prefix: /a}", "{path_prefix: /a/b}"), W002);
	expect_part(ROUTES("{host: \"*.a.b\"}", "{host: x.a.b}"), W002);
	expect_part(ROUTES("{method: [GET, POST]}", "{method: GET}"), W002);
	expect_part(ROUTES("{header: {a: \"*\"}}", "{header: {a: x}}"), W002);
	expect(ROUTES("{path_prefix: /a}", "{path_prefix: /ab}"), "");
	expect(ROUTES("{host: \"*.a.b\"}", "{host: a.b}"), "");
	expect(ROUTES("{host: a}", "{}"), "");
	expect(ROUTES("{method: GET}", "{path: /a}"), "");
	expect(ROUTES("{client: 10.0.0.0/8}", "{path: /a}"), "");
	expect(ROUTES("{path: /a}", "{path_prefix: /a}"), "");
	expect_part(ROUTES("{path_prefix: /a/}", "{path: /a/b}"), W002);
	expect(ROUTES("{path_prefix: /a/}", "{path: /a}"), "");
	expect(ROUTES("{path_prefix: /a/}", "{path_prefix: /a}"), "");
#undef ROUTES
#undef W002
}

/* ---- the text itself ---- */

static void
test_load__yaml_beyond_ours_is_refused(void **state)
{
	(void)state;
	expect_part("user: &a x\n" HEAD POOL TAIL, "t.yaml:1:7: error[E006]");
	expect_part("user: *a\n" HEAD POOL TAIL, "t.yaml:1:7: error[E006]");
	expect_part("user: !!str x\n" HEAD POOL TAIL, "[E006]: tags are not");
	expect_part(HEAD "---\n" POOL, "[E006]: a file holds one document");
	expect_part("? [a]\n: b\n", "[E004]: a key is a single word");
}

static void
test_load__tabs_are_refused(void **state)
{
	(void)state;
	expect(HEAD "pools:\n\tapp: 1\n",
	    "t.yaml:3:1: error[E005]: a line is indented with a tab\n"
	    "    3 |  app: 1\n"
	    "      | ^ use spaces\n" END("1 error", "0 warnings"));
	expect_part("user:\tx\n" HEAD POOL TAIL,
	    "t.yaml:1:6: error[E005]: a tab stands before the value");
}

static void
test_load__broken_yaml_is_told_where(void **state)
{
	(void)state;
	expect("a: \"x\nb: 1\n",
	    "t.yaml:1:4: error[E004]: this is not YAML: found unexpected end "
	    "of stream\n"
	    "    1 | a: \"x\n"
	    "      |    ^ while scanning a quoted scalar that begins on line "
	    "1\n" END("1 error", "0 warnings"));
	expect_part("a: {b: ${X}}\n",
	    "a variable between { } or [ ] needs quotes: \"${NAME}\"");
	expect_part("user: \xff\n", "t.yaml:1:7: error[E002]");
	expect_part("user: a\x01\n", "[E002]: the file is not UTF-8 text");
}

static void
test_load__depth_is_bounded(void **state)
{
	char text[256] = "a: ";

	(void)state;
	memset(text + 3, '[', 31);
	expect_part(text, "[E004]");
	memset(text + 3, '[', 32);
	expect_part(text, "t.yaml:1:35: error[E007]: nested more than 32 deep");
}

static void
test_load__empty_and_odd_texts_are_one_error(void **state)
{
	struct diags diags;

	(void)state;
	expect_part("", "t.yaml: error[E009]: the file is empty\n");
	expect_part(" \n\n", "[E009]");
	expect_part("# only this\n", "[E009]");
	expect_part("---\n...\n", "error[E");
	assert_null(
	    config_load_text("t.yaml", (struct span){"a\0b", 3}, &diags));
	assert_string_equal(diags.at[0].code, "E002");
	diags_release(&diags);
	assert_null(config_load_text("t.yaml", (struct span){NULL, 0}, &diags));
	assert_int_equal(diags.errors, 1);
	diags_release(&diags);
}

static void
test_load__fifty_are_shown_and_all_are_counted(void **state)
{
	char text[4096] = HEAD POOL TAIL, *told;
	size_t shown = 0;

	(void)state;
	for (int i = 0; i < 60; i++)
		sprintf(text + strlen(text), "unknown-%d: 1\n", i);
	told = told_about(text);
	for (const char *p = told; (p = strstr(p, "error[")); p++)
		shown++;
	assert_int_equal(shown, CONFIG_DIAGS_MAX);
	assert_non_null(strstr(told, "... and 10 more.\n60 errors, 0 "
	                             "warnings. Nothing was changed.\n"));
	free(told);
}

static void
test_load__errors_push_out_warnings(void **state)
{
	char text[8192] = HEAD "routes: [{pool: app}]\n"
	                       "admin: {listen: \"127.0.0.1:5\"}\n"
	                       "pools:\n  app: {endpoints: \"a:1\"}\n";
	struct diags diags;

	(void)state;
	for (int i = 0; i < 60; i++)
		sprintf(text + strlen(text),
		    "  p%d: {endpoints: \"a:1\", tls: {verify: off}, hash_on: "
		    "{by: client_ip}}\n",
		    i);
	assert_null(config_load_text("t", span_of(text), &diags));
	assert_int_equal(diags.errors, 60);
	assert_true(diags.warnings >= 60);
	for (size_t i = 0; i < diags.n; i++)
		assert_false(diags.at[i].is_warning);
	diags_release(&diags);
}

static void
test_load__terminals_are_not_steered(void **state)
{
	char *told = told_about(HEAD POOL TAIL "\"a\\e[2Jb\": 1\n");

	(void)state;
	assert_null(strchr(told, 27));
	assert_non_null(strstr(told, "unknown key \"a?[2Jb\""));
	free(told);
}

static void
test_load__a_long_line_is_cut_around_the_caret(void **state)
{
	char text[5000] = "{\"user\": \"x\", \"pad\": \"", *told;

	(void)state;
	memset(text + strlen(text), 'y', 3000);
	strcat(text, "\", \"listenres\": {}, \"pools\": {}}");
	told = told_about(text);
	assert_true(strlen(told) < 1500);
	assert_non_null(strstr(told, "\"listenres\""));
	free(told);
}

/* ---- files ---- */

static char *
file_code(const char *path)
{
	static char code[8];
	struct diags diags;
	struct config *config = config_load(path, &diags);

	strcpy(code, diags.errors ? diags.at[0].code : "");
	assert_int_equal(config == NULL, diags.errors > 0);
	if (diags.errors > 0)
		assert_int_equal(diags.errors, 1);
	config_free(&config);
	diags_release(&diags);
	return code;
}

static void
test_load__odd_files_are_one_clear_error(void **state)
{
	char path[] = "/tmp/weir-file-XXXXXX", pipe_path[64];
	int fd = mkstemp(path);
	const char *text = HEAD POOL TAIL;

	(void)state;
	assert_string_equal(file_code("/nonexistent/weir.yaml"), "E001");
	assert_string_equal(file_code("/tmp"), "E001");
	assert_string_equal(file_code("/dev/zero"), "E003");
	snprintf(pipe_path, sizeof(pipe_path), "%s.pipe", path);
	assert_int_equal(mkfifo(pipe_path, 0600), 0);
	assert_string_equal(file_code(pipe_path), "E009");
	unlink(pipe_path);
	assert_string_equal(file_code(path), "E009");
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_string_equal(file_code(path), "");
	fchmod(fd, 0666);
	assert_string_equal(file_code(path), "E010");
	fchmod(fd, 0644);
	assert_int_equal(ftruncate(fd, 100 << 20), 0);
	assert_string_equal(file_code(path), "E003");
	close(fd);
	unlink(path);
}

static void
test_load__the_report_is_json_too(void **state)
{
	struct diags diags;
	char *json;

	(void)state;
	assert_null(config_load_text(
	    "t.yaml", SPAN(HEAD POOL TAIL "wrokers: 1\n"), &diags));
	json = diags_json(&diags);
	assert_string_equal(json,
	    "{\"schema\":\"weir.check/v1\",\"errors\":[{\"file\":\"t.yaml\","
	    "\"line\":4,\"column\":1,\"code\":\"E012\",\"message\":\"unknown "
	    "key \\\"wrokers\\\" in the file\",\"hint\":\"did you mean "
	    "\\\"workers\\\"?\"}],\"warnings\":[]}");
	free(json);
	diags_release(&diags);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_load__an_unknown_key_has_place_caret_and_suggestion),
	    cmocka_unit_test(test_load__a_key_near_nothing_lists_the_known),
	    cmocka_unit_test(test_load__all_mistakes_are_told_in_file_order),
	    cmocka_unit_test(test_load__a_key_twice_names_the_first),
	    cmocka_unit_test(test_load__a_key_twice_is_seen_in_a_large_map),
	    cmocka_unit_test(test_load__settings_of_later_versions_say_so),
	    cmocka_unit_test(
	        test_load__what_this_version_does_may_be_written_down),
	    cmocka_unit_test(test_load__a_missing_section_is_told),
	    cmocka_unit_test(test_load__a_bare_number_is_no_duration),
	    cmocka_unit_test(test_load__ranges_are_kept),
	    cmocka_unit_test(test_load__shapes_are_checked),
	    cmocka_unit_test(test_load__names_are_checked),
	    cmocka_unit_test(test_load__listening_needs_an_address),
	    cmocka_unit_test(test_load__a_split_named_as_a_pool_is_pointed_at),
	    cmocka_unit_test(test_load__a_header_is_one_in_any_case),
	    cmocka_unit_test(test_load__an_entry_without_shape_is_told),
	    cmocka_unit_test(test_load__an_empty_guard_is_not_taken_for_none),
	    cmocka_unit_test(test_load__headers_that_weir_owns_are_refused),
	    cmocka_unit_test(test_load__templates_are_known_words),
	    cmocka_unit_test(test_load__a_missing_variable_is_named),
	    cmocka_unit_test(test_load__what_a_variable_holds_is_never_shown),
	    cmocka_unit_test(
	        test_load__a_secret_that_is_written_down_is_not_shown),
	    cmocka_unit_test(test_load__files_that_are_named_must_be_there),
	    cmocka_unit_test(test_load__what_others_write_for_it_has_a_hint),
	    cmocka_unit_test(
	        test_load__a_missing_file_is_told_in_one_way_for_all),
	    cmocka_unit_test(
	        test_load__a_key_that_others_can_read_is_warned_of),
	    cmocka_unit_test(test_load__weights_add_up),
	    cmocka_unit_test(test_load__a_split_has_at_most_eight_pools),
	    cmocka_unit_test(test_load__like_must_not_come_back),
	    cmocka_unit_test(test_load__one_address_is_bound_once),
	    cmocka_unit_test(test_load__an_open_admin_needs_tls),
	    cmocka_unit_test(test_load__a_route_does_exactly_one_thing),
	    cmocka_unit_test(test_load__other_conflicts_are_told),
	    cmocka_unit_test(test_load__what_nothing_uses_is_warned_of),
	    cmocka_unit_test(
	        test_load__routes_behind_one_that_takes_all_are_warned_of),
	    cmocka_unit_test(test_load__no_message_says_what_a_variable_holds),
	    cmocka_unit_test(test_load__no_message_quotes_a_file_of_ranges),
	    cmocka_unit_test(test_load__what_never_ends_is_not_waited_for),
	    cmocka_unit_test(test_load__large_files_are_judged_in_time),
	    cmocka_unit_test(test_load__yaml_beyond_ours_is_refused),
	    cmocka_unit_test(test_load__tabs_are_refused),
	    cmocka_unit_test(test_load__broken_yaml_is_told_where),
	    cmocka_unit_test(test_load__depth_is_bounded),
	    cmocka_unit_test(test_load__empty_and_odd_texts_are_one_error),
	    cmocka_unit_test(test_load__fifty_are_shown_and_all_are_counted),
	    cmocka_unit_test(test_load__errors_push_out_warnings),
	    cmocka_unit_test(test_load__terminals_are_not_steered),
	    cmocka_unit_test(test_load__a_long_line_is_cut_around_the_caret),
	    cmocka_unit_test(test_load__odd_files_are_one_clear_error),
	    cmocka_unit_test(test_load__the_report_is_json_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
