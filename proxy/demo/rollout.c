/*
 * The demo's rollout: the canary gets weight by a plan while the users go on,
 * is promoted when it is well, and breaks when the command line says so; then
 * it is the engine that takes its weight away, not the story. What the engine
 * found is printed in its own words.
 */
#include <stdio.h>
#include <time.h>

#include "proxy/clock.h"
#include "proxy/command/fetch.h"
#include "proxy/demo/demo.h"
#include "proxy/demo/upstream.h"

enum {
	RATE = 1500,     /* requests a second of the users */
	WARM = 3000,     /* requests before it breaks: what the latency
	                    guard needs to know the baseline */
	PATIENCE_S = 25, /* for either end */
	BACK_MS = 3000,  /* from the break to weight 0 */
	SHARE = 4000,    /* of the answers that fail with `errors`, in
	                    basis points */
};

struct tale {
	const struct demo_site *site;
	struct demo_score *score;
	struct fetch *admin;     /* owned */
	struct demo_load *users; /* owned; NULL before and after */
	char id[64], state[32], phase[64];
	char cause[32], guard[64], why[512]; /* "" while it goes on */
};

static void
rest(void)
{
	nanosleep(&(struct timespec){0, 5 * NSEC_PER_MSEC}, NULL);
}

/* ---- asking ---- */

static void
ask(struct tale *tale, const char *method, const char *path, const char *body,
    struct fetch_reply *out)
{
	static _Thread_local struct err err;
	struct fetch_ask question = {method, path,
	    *body ? "content-type: application/json\r\n" : "", span_of(body)};

	if (!tale->admin || !fetch_call(tale->admin, &question, out, &err))
		*out = (struct fetch_reply){.body = span_of(err.text)};
}

/* A text member of the document's first level, as it stands; "" without. */
static void
member(struct span json, const char *key, char *out, size_t cap)
{
	char quoted[64];
	int len = snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	const char *at = json.len > 0
	                     ? memmem(json.ptr, json.len, quoted, (size_t)len)
	                     : NULL;
	const char *end;

	*out = '\0';
	if (!at)
		return;
	at += len;
	at += *at == ' ';
	end = *at == '"'
	          ? memchr(at + 1, '"', json.len - (size_t)(at + 1 - json.ptr))
	          : NULL;
	if (end)
		snprintf(out, cap, "%.*s", (int)(end - at - 1), at + 1);
}

static void
look_at_cause(struct tale *tale, struct span json)
{
	static const char key[] = "\"cause\":";
	const char *at = json.len > 0
	                     ? memmem(json.ptr, json.len, key, sizeof(key) - 1)
	                     : NULL;
	struct span cause = {at, at ? (size_t)(json.ptr + json.len - at) : 0};

	/* an object, or null: then nothing before the next one is of it */
	if (cause.len < sizeof(key) + 1 ||
	    !memchr(at + sizeof(key) - 1, '{', 2))
		cause.len = 0;
	member(cause, "kind", tale->cause, sizeof(tale->cause));
	member(cause, "guard", tale->guard, sizeof(tale->guard));
	member(cause, "text", tale->why, sizeof(tale->why));
}

static void
look(struct tale *tale)
{
	struct fetch_reply reply;
	char path[128];

	snprintf(path, sizeof(path), "/v1/rollouts/%s", tale->id);
	ask(tale, "GET", path, "", &reply);
	member(reply.body, "state", tale->state, sizeof(tale->state));
	member(reply.body, "phase", tale->phase, sizeof(tale->phase));
	look_at_cause(tale, reply.body);
}

static bool
is_in(const struct tale *tale, const char *a, const char *b)
{
	return strcmp(tale->state, a) == 0 || strcmp(tale->state, b) == 0;
}

static struct demo_counts
counts(const struct tale *tale)
{
	struct demo_counts counts;

	demo_load_read(tale->users, &counts);
	return counts;
}

/* ---- the tale ---- */

static bool
begin(struct tale *tale, const char *plan)
{
	struct fetch_reply reply;
	struct err err;
	char body[256];

	tale->users = demo_load_start(tale->site, RATE, &err);
	demo_step(tale->score, tale->users != NULL, "users come",
	    "%d requests a second", RATE);
	if (!tale->users)
		return false;
	snprintf(body, sizeof(body),
	    "{\"split\": \"shop\", \"to\": \"canary\", \"plan\": \"%s\", "
	    "\"release\": \"demo\", \"reason\": \"demo\"}",
	    plan);
	ask(tale, "POST", "/v1/rollouts", body, &reply);
	member(reply.body, "id", tale->id, sizeof(tale->id));
	demo_step(tale->score, reply.status == 201 && tale->id[0],
	    "a rollout begins", "%u: %s to canary by plan %s", reply.status,
	    tale->id, plan);
	return tale->id[0] != '\0';
}

static void
end_users(struct tale *tale)
{
	struct demo_counts seen = counts(tale);
	uint64_t all = seen.failed;

	for (int i = 0; i < DEMO_POOLS; i++)
		all += seen.pools[i];
	demo_load_stop(&tale->users);
	/* the shield answers for most; what breaks within an answer shows */
	demo_step(tale->score, seen.failed * 100 <= all, "the users",
	    "%llu requests, %llu of them failed", (unsigned long long)all,
	    (unsigned long long)seen.failed);
}

/* Tells each phase as it begins. */
static void
until_promoted(struct tale *tale)
{
	nsec_t began = clock_now();
	char phase[64] = "";

	do {
		rest();
		look(tale);
		if (tale->phase[0] && strcmp(phase, tale->phase) != 0) {
			snprintf(phase, sizeof(phase), "%s", tale->phase);
			printf("          phase %s, after %.1f s\n", phase,
			    (double)(clock_now() - began) / NSEC_PER_SEC);
			fflush(stdout);
		}
	} while (!is_in(tale, "promoted", "done") &&
	         !is_in(tale, "rolled_back", "aborted") &&
	         clock_now() - began < PATIENCE_S * NSEC_PER_SEC);
	demo_step(tale->score, is_in(tale, "promoted", "done"),
	    "a healthy canary is promoted", "%s after %.1f s", tale->state,
	    (double)(clock_now() - began) / NSEC_PER_SEC);
}

static void
until_warm(struct tale *tale)
{
	nsec_t began = clock_now();
	struct demo_counts seen;

	do {
		rest();
		seen = counts(tale);
	} while ((seen.pools[DEMO_BLUE] < WARM ||
	             seen.pools[DEMO_CANARY] < WARM / 20) &&
	         clock_now() - began < PATIENCE_S * NSEC_PER_SEC);
	look(tale);
	demo_step(tale->score, is_in(tale, "running", "held"),
	    "the canary is well at first",
	    "%s, phase %s: blue %llu, canary "
	    "%llu requests",
	    tale->state, tale->phase, (unsigned long long)seen.pools[DEMO_BLUE],
	    (unsigned long long)seen.pools[DEMO_CANARY]);
}

/* Is that why it went back? Chance, or a machine that is too busy, may have
 * been quicker. */
static bool
is_what_broke(const struct tale *tale, enum demo_mood mood)
{
	bool is_latency = strcmp(tale->guard, "latency") == 0;

	if (strcmp(tale->cause, "unhealthy") == 0)
		return mood == MOOD_CRASH || mood == MOOD_HANG;
	if (strcmp(tale->cause, "guard") != 0)
		return false;
	return mood == MOOD_LATENCY ? is_latency
	                            : !is_latency || mood == MOOD_HANG;
}

static void
until_rolled_back(struct tale *tale)
{
	enum demo_mood mood = tale->site->mood;
	nsec_t broke = clock_now();
	char what[64];

	look(tale);
	if (!is_in(tale, "running", "held")) {
		demo_step(tale->score, false, "it breaks",
		    "it had gone back before: %s", tale->why);
		return;
	}

	demo_upstream_break(
	    tale->site->canary, mood, mood == MOOD_ERRORS ? SHARE : BP_ALL);
	do {
		rest();
		look(tale);
	} while (!is_in(tale, "rolling_back", "rolled_back") &&
	         clock_now() - broke < PATIENCE_S * NSEC_PER_SEC);
	broke = clock_now() - broke;
	snprintf(what, sizeof(what), "it breaks (%s) and is rolled back",
	    demo_mood_name(mood));
	demo_step(tale->score,
	    is_in(tale, "rolling_back", "rolled_back") &&
	        broke <= BACK_MS * NSEC_PER_MSEC && is_what_broke(tale, mood),
	    what, "%s after %lld ms by %s %s", tale->state,
	    (long long)(broke / NSEC_PER_MSEC), tale->cause, tale->guard);
}

/* A number member, as it stands. */
static struct span
number(struct span json, const char *key)
{
	char quoted[64];
	int len = snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	const char *at = memmem(json.ptr, json.len, quoted, (size_t)len);
	struct span out = {NULL, 0};

	if (!at)
		return out;
	out.ptr = at + len + (at[len] == ' ');
	while (out.ptr + out.len < json.ptr + json.len &&
	       strchr("0123456789.+-e", out.ptr[out.len]))
		out.len++;
	return out;
}

/* One guard of the evidence document; true when it is the one that failed. */
static bool
tell_guard(struct span object)
{
	char guard[64], text[512], verdict[16];
	struct span e = number(object, "e_value"),
	            needed = number(object, "needed");

	member(object, "guard", guard, sizeof(guard));
	member(object, "text", text, sizeof(text));
	member(object, "verdict", verdict, sizeof(verdict));
	printf("          %s: %s", guard, text);
	if (e.len > 0)
		printf("; e-value %.*s, needed %.*s", (int)e.len, e.ptr,
		    (int)needed.len, needed.ptr);
	putchar('\n');
	return strcmp(verdict, "fail") == 0 && text[0];
}

/* What the engine found, guard by guard, as the API tells it. */
static void
explain(struct tale *tale)
{
	static const char mark[] = "weir.evidence/v1";
	struct fetch_reply reply;
	const char *at, *next, *end;
	char path[128];
	bool has_trigger = false;

	snprintf(path, sizeof(path), "/v1/rollouts/%s/evidence", tale->id);
	ask(tale, "GET", path, "", &reply);
	end = reply.body.ptr + reply.body.len;
	/* the list of all; what stands before it is the one that decided */
	at = reply.status == 200
	         ? memmem(reply.body.ptr, reply.body.len, "\"guards\":", 9)
	         : NULL;
	if (at)
		at = memmem(at, (size_t)(end - at), mark, sizeof(mark) - 1);
	for (; at; at = next) {
		next = memmem(at + sizeof(mark),
		    (size_t)(end - at) - sizeof(mark), mark, sizeof(mark) - 1);
		has_trigger |= tell_guard(
		    (struct span){at, (size_t)((next ? next : end) - at)});
	}
	demo_step(tale->score, has_trigger, "why", "evidence of %s", tale->id);
}

bool
demo_rollout(const struct demo_site *site, struct demo_score *score)
{
	struct tale tale = {.site = site, .score = score};
	unsigned failed = score->failed;

	tale.admin = fetch_new(&site->admin_unix, NULL, 0, 5 * NSEC_PER_SEC);
	if (begin(&tale, site->mood == MOOD_WELL ? "demo" : "watch")) {
		if (site->mood == MOOD_WELL) {
			until_promoted(&tale);
		} else {
			until_warm(&tale);
			until_rolled_back(&tale);
			explain(&tale);
		}
	}
	if (tale.users)
		end_users(&tale);
	fetch_free(&tale.admin);
	return score->failed == failed;
}
