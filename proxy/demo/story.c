/*
 * weir demo --once: the story that a person would try by hand, told and
 * checked step by step over real sockets. The users' connection is the only
 * one that sends to the split, so shares are exact, not "about".
 */
#include <stdarg.h>
#include <stdio.h>

#include "proxy/command/fetch.h"
#include "proxy/demo/demo.h"

struct story {
	const struct demo_site *site;
	struct demo_score *score;
	struct fetch *users, *admin; /* owned */
};

void
demo_step(struct demo_score *score, bool ok, const char *what,
    const char *detail, ...)
{
	va_list ap;

	printf("  %-6s  %s: ", ok ? "ok" : "FAILED", what);
	va_start(ap, detail);
	vprintf(detail, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	score->passed += ok;
	score->failed += !ok;
}

/* ---- asking ---- */

/* Always fills `out`; status 0 when there was no answer, told as a body. */
static void
ask(struct fetch *fetch, const char *method, const char *path,
    const char *headers, const char *body, struct fetch_reply *out)
{
	static _Thread_local struct err err;
	struct fetch_ask question = {method, path, headers, span_of(body)};

	if (!fetch || fetch_call(fetch, &question, out, &err))
		return;
	*out = (struct fetch_reply){.body = span_of(err.text)};
}

static void
ask_admin(struct story *s, const char *method, const char *path,
    const char *body, struct fetch_reply *out)
{
	ask(s->admin, method, path,
	    *body ? "content-type: application/json\r\n" : "", body, out);
}

/* First line of a body, short enough for one line of output. */
static struct span
brief(struct span body)
{
	struct span line = {body.ptr, 0};

	while (line.len < body.len && line.len < 120 &&
	       (unsigned char)body.ptr[line.len] >= ' ')
		line.len++;
	return line;
}

/* ---- steps ---- */

/* Sends so many requests and compares where they went. */
static void
expect_shares(
    struct story *s, const char *what, const unsigned expected[DEMO_POOLS])
{
	unsigned seen[DEMO_POOLS] = {0}, other = 0, all = 0;
	struct fetch_reply reply;

	for (int i = 0; i < DEMO_POOLS; i++)
		all += expected[i];
	for (unsigned i = 0; i < all; i++) {
		int pool = -1;

		ask(s->users, "GET", "/", "", "", &reply);
		if (reply.status == 200)
			pool = demo_pool_index(fetch_header(&reply, "x-pool"));
		if (pool >= 0)
			seen[pool]++;
		else
			other++;
	}
	demo_step(s->score,
	    memcmp(seen, expected, sizeof(seen)) == 0 && other == 0, what,
	    "%u requests: blue %u, canary %u, green %u, failed %u", all,
	    seen[DEMO_BLUE], seen[DEMO_CANARY], seen[DEMO_GREEN], other);
}

static void
expect_status(struct story *s, const char *what,
    const struct fetch_reply *reply, unsigned status)
{
	struct span line = brief(reply->body);

	if (reply->status == status)
		demo_step(s->score, true, what, "%u", status);
	else
		demo_step(s->score, false, what, "%u instead of %u: %.*s",
		    reply->status, status, (int)line.len, line.ptr);
}

static void
check_tls(struct story *s)
{
	struct fetch *fetch =
	    fetch_new(&s->site->tls, s->site->tls_client, 0, 5 * NSEC_PER_SEC);
	struct fetch_reply reply;

	ask(fetch, "GET", "/healthz", "", "", &reply);
	demo_step(s->score, reply.status == 200 && reply.tls_version >= 12,
	    "TLS", "%u over TLS 1.%u", reply.status,
	    reply.tls_version >= 12 ? reply.tls_version - 10 : 0);
	fetch_free(&fetch);
}

static void
check_roles(struct story *s)
{
	static const char even[] = "{\"weights\": {\"blue\": 50, \"canary\": "
	                           "50}, \"reason\": \"not allowed\"}";
	struct fetch *tcp =
	    fetch_new(&s->site->admin_tcp, NULL, 0, 5 * NSEC_PER_SEC);
	struct fetch_reply reply;
	char viewer[160];

	snprintf(viewer, sizeof(viewer),
	    "authorization: Bearer %s\r\ncontent-type: application/json\r\n",
	    s->site->viewer);
	ask(tcp, "GET", "/v1/splits", "", "", &reply);
	expect_status(
	    s, "admin over TCP without a token is refused", &reply, 401);
	ask(tcp, "GET", "/v1/splits", viewer, "", &reply);
	expect_status(s, "a viewer may look", &reply, 200);
	ask(tcp, "PUT", "/v1/splits/shop/weights", viewer, even, &reply);
	expect_status(s, "a viewer may not change weights", &reply, 403);
	fetch_free(&tcp);
}

static void
check_metrics(struct story *s)
{
	static const char *const families[] = {"weir_build_info",
	    "weir_http_requests_total{",
	    "weir_http_request_duration_seconds_bucket{",
	    "weir_split_weight_ratio{", "weir_endpoint_up{"};
	enum { FAMILIES = sizeof(families) / sizeof(families[0]) };
	const char *missing = NULL;
	struct fetch_reply reply;

	ask_admin(s, "GET", "/metrics", "", &reply);
	for (int i = 0; i < FAMILIES && !missing; i++)
		if (!fetch_holds(reply.body, families[i]))
			missing = families[i];
	demo_step(s->score, reply.status == 200 && !missing, "metrics",
	    "%zu bytes%s%s", reply.body.len, missing ? ", without " : "",
	    missing ? missing : "");
}

/* Weights move, stay over a reload, and go back. */
static void
tell_shift(struct story *s)
{
	static const char shift[] = "{\"weights\": {\"blue\": 75, \"canary\": "
	                            "25, \"green\": 0}, \"reason\": \"demo\"}";
	static const char wrong[] = "{\"weights\": {\"blue\": 75, \"canary\": "
	                            "26, \"green\": 0}, \"reason\": \"demo\"}";
	static const unsigned at_first[] = {900, 100, 0},
	                      shifted[] = {300, 100, 0};
	struct fetch_reply reply;

	expect_shares(s, "the weights of the file hold", at_first);
	ask_admin(s, "PUT", "/v1/splits/shop/weights", shift, &reply);
	expect_status(s, "75 % to blue, 25 % to canary", &reply, 200);
	expect_shares(s, "the very next requests follow", shifted);
	ask_admin(s, "PUT", "/v1/splits/shop/weights", wrong, &reply);
	expect_status(s, "weights that make 101 are refused", &reply, 422);
	expect_shares(s, "and nothing has changed", shifted);
	ask_admin(s, "POST", "/v1/config/reload", "", &reply);
	expect_status(s, "reload", &reply, 200);
	expect_shares(s, "the weights survive it", shifted);
	ask_admin(s, "POST", "/v1/splits/shop/undo", "{\"reason\": \"demo\"}",
	    &reply);
	expect_status(s, "undo", &reply, 200);
	expect_shares(s, "the weights before are back", at_first);
}

/* All that is left of it afterwards is that nobody goes to a broken canary. */
static void
tell_rollout(struct story *s)
{
	static const unsigned all_canary[] = {0, 100, 0},
	                      all_blue[] = {100, 0, 0};
	bool is_well = s->site->mood == MOOD_WELL;
	struct fetch_reply reply;

	demo_rollout(s->site, s->score);
	expect_shares(s,
	    is_well ? "everyone is with the canary"
	            : "nobody is with the canary",
	    is_well ? all_canary : all_blue);
	if (!is_well)
		return;
	ask_admin(s, "POST", "/v1/splits/shop/undo", "{\"reason\": \"demo\"}",
	    &reply);
	expect_status(s, "undo, while the old version is warm", &reply, 200);
	expect_shares(s, "and everyone is back", all_blue);
}

void
demo_story(const struct demo_site *site, struct demo_score *score)
{
	struct story s = {.site = site, .score = score};
	struct fetch_reply reply;

	s.users = fetch_new(&site->clear, NULL, 0, 5 * NSEC_PER_SEC);
	s.admin = fetch_new(&site->admin_unix, NULL, 0, 5 * NSEC_PER_SEC);
	/* how long is the machine's affair: told, not judged */
	demo_step(score, site->ready_after > 0, "ready", "after %lld ms",
	    (long long)(site->ready_after / NSEC_PER_MSEC));
	ask_admin(&s, "GET", "/healthz", "", &reply);
	expect_status(&s, "healthz", &reply, 200);
	ask_admin(&s, "GET", "/readyz", "", &reply);
	expect_status(&s, "readyz", &reply, 200);
	check_tls(&s);
	tell_shift(&s);
	check_roles(&s);
	check_metrics(&s);
	tell_rollout(&s);
	fetch_free(&s.users);
	fetch_free(&s.admin);
}
