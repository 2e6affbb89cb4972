/*
 * Notifications and questions against a receiver with moods: well, failing
 * twice, hanging, gone, redirecting, talkative. One thread: the test turns the
 * loop that the product's calls and the receiver share.
 */
#include "check.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/notify/notify.h"
#include "tls/tls.h"

enum { SEEN_MAX = 64 };

struct seen {
	char path[64], id[80], signature[160], event[64];
	char body[512];
};

struct fixture {
	struct event_base *base;
	struct evhttp *http;
	struct notify *notify;
	uint16_t port;
	struct seen seen[SEEN_MAX];
	size_t n_seen;
	unsigned fail; /* so many tries get a 500 first */
	int status;    /* then this */
	const char *say;
	size_t bulk; /* bytes of an answer's body */
	struct evhttp_request *hanging;
	char url[96];
	/* answers to questions */
	struct hook_answer answers[8];
	size_t tags[8];
	size_t n_answers;
};

static void
copy_header(
    struct evhttp_request *http, const char *name, char *out, size_t cap)
{
	const char *value =
	    evhttp_find_header(evhttp_request_get_input_headers(http), name);

	snprintf(out, cap, "%s", value ? value : "");
}

static void
note(struct fixture *f, struct evhttp_request *http)
{
	struct seen *seen = &f->seen[f->n_seen++];
	struct evbuffer *body = evhttp_request_get_input_buffer(http);
	ssize_t n;

	assert_true(f->n_seen < SEEN_MAX);
	snprintf(
	    seen->path, sizeof(seen->path), "%s", evhttp_request_get_uri(http));
	copy_header(http, "weir-delivery", seen->id, sizeof(seen->id));
	copy_header(http, "weir-event", seen->event, sizeof(seen->event));
	copy_header(
	    http, "weir-signature", seen->signature, sizeof(seen->signature));
	n = evbuffer_copyout(body, seen->body, sizeof(seen->body) - 1);
	seen->body[n > 0 ? n : 0] = '\0';
}

static void
on_request(struct evhttp_request *http, void *arg)
{
	struct fixture *f = arg;
	struct evbuffer *body = evbuffer_new();
	int status = f->status;

	note(f, http);
	if (strcmp(evhttp_request_get_uri(http), "/hang") == 0) {
		f->hanging = http;
		evbuffer_free(body);
		return;
	}
	if (f->fail > 0) {
		f->fail--;
		status = 500;
	}
	if (status == 302)
		evhttp_add_header(evhttp_request_get_output_headers(http),
		    "Location", "/elsewhere");
	for (size_t i = 0; i < f->bulk; i++)
		evbuffer_add(body, "x", 1);
	if (f->say)
		evbuffer_add(body, f->say, strlen(f->say));
	evhttp_send_reply(http, status, "so", body);
	evbuffer_free(body);
}

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct evhttp_bound_socket *bound;
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	struct err err;

	setenv("WEIR_TEST_HOOK_KEY", "a key", 1);
	f->base = event_base_new();
	f->http = evhttp_new(f->base);
	f->notify = notify_new(f->base, &err);
	f->status = 200;
	bound = evhttp_bind_socket_with_handle(f->http, "127.0.0.1", 0);
	getsockname(
	    evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&sin, &len);
	f->port = ntohs(sin.sin_port);
	evhttp_set_gencb(f->http, on_request, f);
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	notify_free(&f->notify);
	evhttp_free(f->http);
	event_base_free(f->base);
	free(f);
	return 0;
}

static struct hook_cfg
hook(struct fixture *f, const char *path, unsigned retries)
{
	snprintf(
	    f->url, sizeof(f->url), "http://127.0.0.1:%u%s", f->port, path);
	return (struct hook_cfg){
	    .url = f->url, .timeout = 400 * NSEC_PER_MSEC, .retries = retries};
}

static bool
send_text(struct fixture *f, const struct hook_cfg *cfg, const char *text)
{
	return hook_send(
	    f->notify, &(struct hook_call){.hook = cfg,
	                   .event = "rollout.phase",
	                   .body = json_pack("{s:s}", "text", text)});
}

static void
on_answer(void *ctx, size_t tag, const struct hook_answer *answer)
{
	struct fixture *f = ctx;

	f->answers[f->n_answers] = *answer;
	f->tags[f->n_answers++] = tag;
}

static void
ask(struct fixture *f, const struct hook_cfg *cfg, size_t tag)
{
	hook_ask(f->notify,
	    &(struct hook_call){.hook = cfg,
	        .event = "gate",
	        .id = "r-1/canary/smoke",
	        .body = json_pack("{s:s}", "gate", "smoke")},
	    on_answer, f, tag);
}

static struct receiver_view
receiver(struct fixture *f, size_t i)
{
	struct receiver_view view;

	notify_receiver(f->notify, i, &view);
	return view;
}

/* Turns the loop until `done` or for ten seconds. */
static void
turn_until(struct fixture *f, bool (*done)(struct fixture *f))
{
	struct timeval step = {0, 20000};

	for (int i = 0; i < 500 && !done(f); i++) {
		event_base_loopexit(f->base, &step);
		event_base_dispatch(f->base);
	}
	assert_true(done(f));
}

static bool
is_quiet(struct fixture *f)
{
	for (size_t i = 0; i < notify_receivers(f->notify); i++)
		if (receiver(f, i).waiting > 0)
			return false;
	return true;
}

static bool
has_answer(struct fixture *f)
{
	return f->n_answers > 0;
}

/* ---- events ---- */

static void
test_notify__an_event_arrives_with_its_envelope(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/hook", 0);
	json_t *body;

	assert_true(send_text(f, &cfg, "hello"));
	assert_int_equal(f->n_seen, 0); /* never from within the call */
	turn_until(f, is_quiet);
	assert_int_equal(f->n_seen, 1);
	assert_string_equal(f->seen[0].event, "rollout.phase");
	assert_string_equal(f->seen[0].signature, "");
	body = json_loads(f->seen[0].body, 0, NULL);
	assert_string_equal(json_string_value(json_object_get(body, "schema")),
	    "weir.event/v1");
	assert_string_equal(
	    json_string_value(json_object_get(body, "id")), f->seen[0].id);
	assert_string_equal(
	    json_string_value(json_object_get(body, "text")), "hello");
	json_decref(body);
	assert_int_equal(receiver(f, 0).delivered, 1);
	assert_int_equal(receiver(f, 0).failing, 0);
}

static void
test_notify__a_signature_proves_time_and_body(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/hook", 0);
	char *t, *v1, text[700], hex[65];
	uint8_t mac[32];

	cfg.hmac = (struct secret){SECRET_ENV, (char *)"WEIR_TEST_HOOK_KEY"};
	assert_true(send_text(f, &cfg, "signed"));
	turn_until(f, is_quiet);
	t = f->seen[0].signature;
	assert_memory_equal(t, "t=", 2);
	v1 = strstr(t, ",v1=");
	assert_non_null(v1);
	*v1 = '\0';
	snprintf(text, sizeof(text), "%s.%s", t + 2, f->seen[0].body);
	tls_hmac_sha256(span_of("a key"), span_of(text), mac);
	for (size_t i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", mac[i]);
	assert_string_equal(v1 + 4, hex);
	assert_true(labs(atol(t + 2) - (long)time(NULL)) < 60);
}

static void
test_notify__two_failures_then_success_is_one_delivery(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/hook", 3);

	f->fail = 2;
	assert_true(send_text(f, &cfg, "again"));
	turn_until(f, is_quiet);
	assert_int_equal(f->n_seen, 3);
	assert_string_equal(f->seen[0].id, f->seen[1].id);
	assert_string_equal(f->seen[0].id, f->seen[2].id);
	assert_string_equal(f->seen[0].body, f->seen[2].body);
	assert_int_equal(receiver(f, 0).delivered, 1);
	assert_int_equal(receiver(f, 0).tries, 3);
	assert_int_equal(receiver(f, 0).failed, 0);
}

static void
test_notify__events_arrive_in_order_even_when_the_first_fails(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/hook", 1);

	f->fail = 1;
	assert_true(send_text(f, &cfg, "one"));
	assert_true(send_text(f, &cfg, "two"));
	assert_true(send_text(f, &cfg, "three"));
	turn_until(f, is_quiet);
	assert_int_equal(f->n_seen, 4);
	assert_non_null(strstr(f->seen[0].body, "one"));
	assert_non_null(strstr(f->seen[1].body, "one"));
	assert_non_null(strstr(f->seen[2].body, "two"));
	assert_non_null(strstr(f->seen[3].body, "three"));
	assert_string_not_equal(f->seen[2].id, f->seen[3].id);
}

static void
test_notify__a_refusal_is_not_tried_again(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/hook", 5);

	f->status = 404;
	assert_true(send_text(f, &cfg, "who?"));
	turn_until(f, is_quiet);
	assert_int_equal(f->n_seen, 1);
	assert_int_equal(receiver(f, 0).failed, 1);
	assert_int_equal(receiver(f, 0).failing, 1);
	assert_string_equal(receiver(f, 0).error, "status 404");
}

static void
test_notify__a_redirect_is_not_followed(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/hook", 2);

	f->status = 302;
	assert_true(send_text(f, &cfg, "go"));
	turn_until(f, is_quiet);
	assert_int_equal(f->n_seen, 1);
	assert_string_equal(receiver(f, 0).error, "status 302");
}

static void
test_notify__other_schemes_are_never_spoken(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = {.url = (char *)"file:///etc/passwd",
	    .timeout = NSEC_PER_SEC,
	    .retries = 0};

	ask(f, &cfg, 1);
	turn_until(f, has_answer);
	assert_false(f->answers[0].is_answered);
	assert_false(f->answers[0].is_ok);
}

static void
test_notify__a_hanging_receiver_holds_no_other_up(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg dead = hook(f, "/hang", 0), well;
	char dead_url[96];

	memcpy(dead_url, f->url, sizeof(dead_url));
	dead.url = dead_url;
	well = hook(f, "/hook", 0);
	assert_true(send_text(f, &dead, "lost"));
	assert_true(send_text(f, &well, "found"));
	turn_until(f, is_quiet);
	assert_int_equal(receiver(f, 0).failed, 1);
	assert_string_equal(receiver(f, 0).error, "no answer in time");
	assert_int_equal(receiver(f, 1).delivered, 1);
}

static void
test_notify__a_closed_port_is_seen_and_forgiven(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/hook", 1);
	struct sockaddr_in sin = {
	    .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	/* bound and not listening: nobody else takes it, nobody answers */
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	getsockname(fd, (struct sockaddr *)&sin, &len);
	snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u/hook",
	    ntohs(sin.sin_port));
	assert_true(send_text(f, &cfg, "anybody?"));
	turn_until(f, is_quiet);
	assert_int_equal(receiver(f, 0).failing, 1);
	assert_int_equal(receiver(f, 0).tries, 2);
	assert_true(receiver(f, 0).error[0] != '\0');
	close(fd);
}

static void
test_notify__a_queue_has_an_end(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/hang", 0);

	for (int i = 0; i < NOTIFY_QUEUE_MAX; i++)
		assert_true(send_text(f, &cfg, "more"));
	assert_false(send_text(f, &cfg, "too much"));
	assert_int_equal(receiver(f, 0).dropped, 1);
	assert_int_equal(receiver(f, 0).waiting, NOTIFY_QUEUE_MAX);
}

static void
test_notify__a_name_shows_no_secret_of_the_url(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = {
	    .url = (char *)"https://me:pw@hooks.example.com:1/T0/B1?key=2",
	    .timeout = NSEC_PER_SEC};

	assert_true(send_text(f, &cfg, "x"));
	assert_string_equal(receiver(f, 0).name, "https://hooks.example.com:1");
}

static void
test_notify__receivers_of_the_past_make_room(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < NOTIFY_RECEIVERS_MAX + 20; i++) {
		struct hook_cfg cfg;
		char path[32];

		snprintf(path, sizeof(path), "/%d", i);
		cfg = hook(f, path, 0);
		ask(f, &cfg, 0);
		hook_forget(f->notify, f);
	}
	assert_int_equal(notify_receivers(f->notify), NOTIFY_RECEIVERS_MAX);
}

/* ---- questions ---- */

static void
test_notify__a_question_gets_its_answer(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/smoke", 0);

	f->say = "all 12 tests passed\nmore lines";
	ask(f, &cfg, 7);
	turn_until(f, has_answer);
	assert_true(f->answers[0].is_ok);
	assert_int_equal(f->tags[0], 7);
	assert_string_equal(f->answers[0].text, "all 12 tests passed");
	assert_string_equal(f->seen[0].id, "r-1/canary/smoke");
}

static void
test_notify__no_is_an_answer_too(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/smoke", 3);

	f->status = 403;
	f->say = "{\"message\": \"login is \\u001b[31mbroken\"}";
	ask(f, &cfg, 0);
	turn_until(f, has_answer);
	assert_int_equal(f->n_seen, 1);
	assert_true(f->answers[0].is_answered);
	assert_false(f->answers[0].is_ok);
	assert_int_equal(f->answers[0].status, 403);
	assert_string_equal(f->answers[0].text, "login is ?[31mbroken");
	assert_int_equal(receiver(f, 0).failing, 0);
}

static void
test_notify__a_question_that_nobody_answers_says_why(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/hang", 1);

	ask(f, &cfg, 0);
	turn_until(f, has_answer);
	assert_int_equal(f->n_seen, 2);
	assert_false(f->answers[0].is_answered);
	assert_string_equal(f->answers[0].text, "no answer in time");
	assert_int_equal(f->n_answers, 1);
}

static void
test_notify__a_forgotten_question_is_never_answered(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/smoke", 0), other;
	char url[96];

	memcpy(url, f->url, sizeof(url));
	cfg.url = url;
	ask(f, &cfg, 1);
	hook_forget(f->notify, f);
	other = hook(f, "/other", 0);
	assert_true(send_text(f, &other, "after"));
	turn_until(f, is_quiet);
	assert_int_equal(f->n_answers, 0);
	assert_int_equal(f->n_seen, 1);
}

static void
test_notify__a_missing_key_sends_nothing(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/hook", 2);

	cfg.hmac = (struct secret){SECRET_ENV, (char *)"WEIR_TEST_NO_SUCH_KEY"};
	assert_false(send_text(f, &cfg, "unsigned"));
	ask(f, &cfg, 0);
	assert_int_equal(f->n_answers, 0);
	turn_until(f, has_answer);
	assert_int_equal(f->n_seen, 0);
	assert_false(f->answers[0].is_answered);
	assert_non_null(strstr(f->answers[0].text, "key"));
	assert_int_equal(receiver(f, 0).failed, 2);
}

static void
test_notify__an_answer_without_end_opens_nothing(void **state)
{
	struct fixture *f = *state;
	struct hook_cfg cfg = hook(f, "/smoke", 0);

	f->bulk = 4 << 20;
	ask(f, &cfg, 0);
	turn_until(f, has_answer);
	assert_true(f->answers[0].is_answered);
	assert_false(f->answers[0].is_ok);
	assert_string_equal(f->answers[0].text,
	    "status 200, but its answer is longer than 16 KiB");
}

int
main(void)
{
#define T(name)                                                                \
	cmocka_unit_test_setup_teardown(test_notify__##name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    T(an_event_arrives_with_its_envelope),
	    T(a_signature_proves_time_and_body),
	    T(two_failures_then_success_is_one_delivery),
	    T(events_arrive_in_order_even_when_the_first_fails),
	    T(a_refusal_is_not_tried_again),
	    T(a_redirect_is_not_followed),
	    T(other_schemes_are_never_spoken),
	    T(a_hanging_receiver_holds_no_other_up),
	    T(a_closed_port_is_seen_and_forgiven),
	    T(a_queue_has_an_end),
	    T(a_name_shows_no_secret_of_the_url),
	    T(receivers_of_the_past_make_room),
	    T(a_question_gets_its_answer),
	    T(no_is_an_answer_too),
	    T(a_question_that_nobody_answers_says_why),
	    T(a_forgotten_question_is_never_answered),
	    T(a_missing_key_sends_nothing),
	    T(an_answer_without_end_opens_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
