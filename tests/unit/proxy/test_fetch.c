/*
 * fetch against a server that says exactly what the test wants: one canned
 * answer per connection and request, then what follows.
 */
/* cmocka wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/command/fetch.h"
#include "proxy/scratch.h"

enum { TALKS_MAX = 4 };

/* What the server does with its connections, one after the other. */
struct server {
	struct scratch scratch;
	struct address address;
	int fd;
	pthread_t thread;
	/* Answers of one connection, in turn; then it is closed. NULL ends
	 * them. */
	const char *talks[TALKS_MAX][TALKS_MAX];
	char asked[4096]; /* the last request */
};

static void
read_request(struct server *s, int fd)
{
	size_t n = 0;
	ssize_t got;

	while (n < sizeof(s->asked) - 1 &&
	       (got = read(fd, s->asked + n, sizeof(s->asked) - 1 - n)) > 0) {
		n += (size_t)got;
		s->asked[n] = '\0';
		if (strstr(s->asked, "\r\n\r\n"))
			return;
	}
}

static void *
serve(void *ctx)
{
	struct server *s = ctx;

	for (int i = 0; i < TALKS_MAX && s->talks[i][0]; i++) {
		int fd = accept(s->fd, NULL, NULL);

		for (int j = 0; j < TALKS_MAX && s->talks[i][j]; j++) {
			read_request(s, fd);
			if (send(fd, s->talks[i][j], strlen(s->talks[i][j]),
			        MSG_NOSIGNAL) < 0)
				break;
		}
		close(fd);
	}
	return NULL;
}

static void
start(struct server *s)
{
	char path[SCRATCH_FILE_MAX], text[SCRATCH_FILE_MAX + 8];
	struct err err;

	assert_true(scratch_init(&s->scratch, "test", &err));
	snprintf(text, sizeof(text), "unix:%s",
	    scratch_path(&s->scratch, "s", path));
	assert_true(address_parse(span_of(text), &s->address, &err));
	s->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(
	    bind(s->fd, (struct sockaddr *)&s->address.sa, s->address.sa_len),
	    0);
	assert_int_equal(listen(s->fd, 8), 0);
	assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void
stop(struct server *s)
{
	shutdown(
	    s->fd, SHUT_RDWR); /* wakes an accept that nobody will answer */
	pthread_join(s->thread, NULL);
	close(s->fd);
	address_release(&s->address);
	scratch_release(&s->scratch);
}

static bool
get(struct fetch *fetch, struct fetch_reply *reply, struct err *err)
{
	static const struct fetch_ask ask = {"GET", "/", "", {"", 0}};

	return fetch_call(fetch, &ask, reply, err);
}

/* One answer on a connection of its own: its body, or NULL when it is refused.
 */
static char *
body_of(const char *answer)
{
	struct server s = {.talks = {{answer}}};
	struct fetch_reply reply;
	struct fetch *fetch;
	struct err err;
	char *body = NULL;

	start(&s);
	fetch = fetch_new(&s.address, NULL, 0, 5 * NSEC_PER_SEC);
	if (get(fetch, &reply, &err))
		body = strndup(reply.body.ptr, reply.body.len);
	fetch_free(&fetch);
	stop(&s);
	return body;
}

static void
expect_body(const char *answer, const char *expected)
{
	char *body = body_of(answer);

	if (!expected) {
		assert_null(body);
		return;
	}
	assert_non_null(body);
	assert_string_equal(body, expected);
	free(body);
}

static void
test_fetch__a_body_ends_by_length_by_chunks_or_by_the_end(void **state)
{
	(void)state;
	expect_body("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", "abc");
	expect_body("HTTP/1.1 200 OK\r\nTransfer-Encoding: "
	            "chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
	    "abc");
	expect_body("HTTP/1.1 200 OK\r\n\r\nabc", "abc");
	expect_body("HTTP/1.1 204 No Content\r\n\r\n", "");
	expect_body("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 "
	            "OK\r\ncontent-length: 1\r\n\r\nx",
	    "x");
}

static void
test_fetch__an_answer_that_is_cut_is_refused(void **state)
{
	(void)state;
	expect_body("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nabc", NULL);
	expect_body(
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\na",
	    NULL);
	expect_body(
	    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	    NULL);
	expect_body("HTTP/1.1 200", NULL);
	expect_body("SSH-2.0-OpenSSH_9.2\r\n\r\n", NULL);
}

static void
test_fetch__headers_are_found_whatever_their_case(void **state)
{
	struct server s = {
	    .talks = {{"HTTP/1.1 503 No\r\nX-Pool:  blue\r\nx-poolside: "
	               "no\r\nContent-Length: 0\r\n\r\n"}}};
	struct fetch_reply reply;
	struct fetch *fetch;
	struct err err;

	(void)state;
	start(&s);
	fetch = fetch_new(&s.address, NULL, 0, 5 * NSEC_PER_SEC);
	assert_true(get(fetch, &reply, &err));
	assert_int_equal(reply.status, 503);
	assert_true(span_eq(fetch_header(&reply, "x-pool"), SPAN("blue")));
	assert_int_equal(fetch_header(&reply, "x-poo").len, 0);
	assert_int_equal(fetch_header(&reply, "absent").len, 0);
	fetch_free(&fetch);
	stop(&s);
}

static void
test_fetch__keeps_its_connection_and_replaces_a_dead_one(void **state)
{
	static const char one[] =
	    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n1";
	static const char two[] =
	    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n2";
	static const char three[] = "HTTP/1.1 200 OK\r\ncontent-length: "
	                            "1\r\nconnection: close\r\n\r\n3";
	static const char four[] =
	    "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n4";
	struct server s = {.talks = {{one, two}, {three}, {four}}};
	struct fetch_reply reply;
	struct fetch *fetch;
	struct err err;

	(void)state;
	start(&s);
	fetch = fetch_new(&s.address, NULL, 0, 5 * NSEC_PER_SEC);
	for (char expected = '1'; expected <= '4'; expected++) {
		assert_true(get(fetch, &reply, &err));
		assert_int_equal(reply.body.len, 1);
		assert_int_equal(reply.body.ptr[0], expected);
	}
	fetch_free(&fetch);
	stop(&s);
}

static void
test_fetch__nobody_there_is_told_with_the_address(void **state)
{
	struct address address;
	struct fetch_reply reply;
	struct fetch *fetch;
	struct err err;

	(void)state;
	assert_true(
	    address_parse(SPAN("unix:/nowhere/at/all"), &address, &err));
	fetch = fetch_new(&address, NULL, 0, 5 * NSEC_PER_SEC);
	assert_false(get(fetch, &reply, &err));
	assert_non_null(strstr(err.text, "unix:/nowhere/at/all"));
	fetch_free(&fetch);
	address_release(&address);
}

static void
test_fetch__silence_ends_at_the_deadline(void **state)
{
	struct server s = {.talks = {{NULL}}}; /* never accepts */
	struct fetch_reply reply;
	struct fetch *fetch;
	struct err err;

	(void)state;
	start(&s);
	fetch = fetch_new(&s.address, NULL, 0, 20 * NSEC_PER_MSEC);
	assert_false(get(fetch, &reply, &err));
	assert_non_null(strstr(err.text, "in time"));
	fetch_free(&fetch);
	stop(&s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_fetch__a_body_ends_by_length_by_chunks_or_by_the_end),
	    cmocka_unit_test(test_fetch__an_answer_that_is_cut_is_refused),
	    cmocka_unit_test(test_fetch__headers_are_found_whatever_their_case),
	    cmocka_unit_test(
	        test_fetch__keeps_its_connection_and_replaces_a_dead_one),
	    cmocka_unit_test(test_fetch__nobody_there_is_told_with_the_address),
	    cmocka_unit_test(test_fetch__silence_ends_at_the_deadline),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
