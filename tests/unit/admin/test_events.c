/*
 * Streams of events: what a reader sees, after an absence, and when it does
 * not read at all. One thread: the test turns the loop itself.
 */
#include "check.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "admin/events.h"

struct fixture {
	struct event_base *base;
	struct evhttp *http;
	struct events *events;
	uint16_t port;
};

static void
on_request(struct evhttp_request *http, void *arg)
{
	struct fixture *f = arg;
	const char *last = evhttp_find_header(
	    evhttp_request_get_input_headers(http), "Last-Event-ID");

	if (!events_stream(f->events, http, last))
		evhttp_send_error(http, 503, "full");
}

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct evhttp_bound_socket *bound;
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);

	f->base = event_base_new();
	f->http = evhttp_new(f->base);
	f->events = events_new(f->base);
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

	events_free(&f->events);
	evhttp_free(f->http);
	event_base_free(f->base);
	free(f);
	return 0;
}

static void
turn(struct fixture *f)
{
	for (int i = 0; i < 20; i++)
		event_base_loop(f->base, EVLOOP_NONBLOCK);
}

static int
dial(struct fixture *f, const char *last_id)
{
	struct sockaddr_in sin = {
	    .sin_family = AF_INET, .sin_port = htons(f->port)};
	int fd = socket(AF_INET, SOCK_STREAM, 0), small = 4096;
	char head[256];

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: x\r\n%s%s%s\r\n",
	    last_id ? "Last-Event-ID: " : "", last_id ? last_id : "",
	    last_id ? "\r\n" : "");
	assert_int_equal(write(fd, head, strlen(head)), strlen(head));
	turn(f);
	return fd;
}

/* All that is there now; the caller frees. */
static char *
drain(struct fixture *f, int fd, bool *is_end_out)
{
	size_t len = 0, cap = 8 << 20;
	char *text = malloc(cap);

	*is_end_out = false;
	for (int quiet = 0; quiet < 50;) {
		ssize_t n = recv(fd, text + len, cap - len - 1, MSG_DONTWAIT);

		event_base_loop(f->base, EVLOOP_NONBLOCK);
		if (n == 0) {
			*is_end_out = true;
			break;
		}
		if (n > 0) {
			len += (size_t)n;
			quiet = 0;
		} else {
			assert_int_equal(errno, EAGAIN);
			quiet++;
			usleep(1000);
		}
	}
	text[len] = '\0';
	return text;
}

static void
test_events__a_reader_sees_what_happens(void **state)
{
	struct fixture *f = *state;
	bool is_end;
	char *text;
	int fd;

	events_publish(f->events, "weights", "{\"before\":1}");
	fd = dial(f, NULL);
	events_publish(f->events, "weights", "{\"n\":1}");
	events_publish(f->events, "reload", "{\"n\":2}");
	text = drain(f, fd, &is_end);
	assert_non_null(strstr(text, "text/event-stream"));
	assert_non_null(strstr(text, "event: weights\ndata: {\"n\":1}\n\n"));
	assert_non_null(strstr(text, "event: reload\ndata: {\"n\":2}\n\n"));
	assert_null(strstr(text, "before"));
	assert_false(is_end);
	free(text);
	close(fd);
	turn(f);
}

static void
id_of(const char *text, const char *data, char *id, size_t cap)
{
	const char *at = strstr(text, data), *start = NULL;

	for (const char *p = text; p < at; p++)
		if (strncmp(p, "id: ", 4) == 0)
			start = p + 4;
	assert_non_null(start);
	snprintf(id, cap, "%.*s", (int)strcspn(start, "\n"), start);
}

static void
test_events__two_starts_in_one_second_have_no_id_in_common(void **state)
{
	struct fixture *f = *state;
	struct events *next;
	json_t *before, *after;

	next = events_new(f->base);
	events_publish(f->events, "a", "{}");
	events_publish(next, "a", "{}");
	before = events_json(f->events);
	after = events_json(next);
	assert_string_not_equal(
	    json_string_value(json_object_get(json_array_get(before, 0), "id")),
	    json_string_value(json_object_get(json_array_get(after, 0), "id")));
	json_decref(before);
	json_decref(after);
	events_free(&next);
}

static void
test_events__after_an_absence_nothing_is_missing_or_double(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f, NULL);
	bool is_end;
	char *text, id[64];

	events_publish(f->events, "a", "{\"n\":1}");
	events_publish(f->events, "a", "{\"n\":2}");
	text = drain(f, fd, &is_end);
	id_of(text, "{\"n\":1}", id, sizeof(id));
	free(text);
	close(fd);
	turn(f);
	events_publish(f->events, "a", "{\"n\":3}");
	fd = dial(f, id);
	text = drain(f, fd, &is_end);
	assert_null(strstr(text, "{\"n\":1}"));
	assert_non_null(strstr(text, "{\"n\":2}"));
	assert_non_null(strstr(text, "{\"n\":3}"));
	assert_null(strstr(text, "event: gap"));
	free(text);
	close(fd);
	turn(f);
}

static void
test_events__a_gap_is_told(void **state)
{
	static const char *const ids[] = {
	    "1-1", "junk", "", "99999999999999999999"};
	struct fixture *f = *state;
	bool is_end;

	events_publish(f->events, "a", "{\"n\":1}");
	for (size_t i = 0; i < 4; i++) {
		int fd = dial(f, ids[i]);
		char *text = drain(f, fd, &is_end);

		assert_non_null(strstr(text, "event: gap"));
		assert_non_null(strstr(text, "{\"n\":1}"));
		free(text);
		close(fd);
		turn(f);
	}
}

static void
test_events__the_ring_is_bounded(void **state)
{
	struct fixture *f = *state;
	json_t *list;

	for (int i = 0; i < 3 * EVENTS_KEPT; i++)
		events_publish(f->events, "a", "{}");
	list = events_json(f->events);
	assert_int_equal(json_array_size(list), EVENTS_KEPT);
	json_decref(list);
}

static void
test_events__a_reader_that_does_not_read_is_cut_off_and_told(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f, NULL);
	char big[2000], *text;
	bool is_end;

	snprintf(big, sizeof(big), "{\"x\":\"%01900d\"}", 0);
	for (int i = 0; i < 4000; i++) {
		events_publish(f->events, "a", big);
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	text = drain(f, fd, &is_end);
	assert_non_null(strstr(text, "event: slow"));
	free(text);
	close(fd);
	turn(f);
}

static size_t
open_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	size_t n = 0;

	assert_non_null(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void
test_events__one_that_is_cut_off_and_reads_nothing_does_not_stay(void **state)
{
	struct fixture *f = *state;
	int fd = dial(f, NULL);
	char big[2000];
	size_t before = open_descriptors();
	time_t end = time(NULL) + 60;

	snprintf(big, sizeof(big), "{\"x\":\"%01900d\"}", 0);
	for (int i = 0; i < 4000; i++) {
		events_publish(f->events, "a", big);
		event_base_loop(f->base, EVLOOP_NONBLOCK);
	}
	while (open_descriptors() == before && time(NULL) < end)
		event_base_loop(f->base, EVLOOP_ONCE);
	assert_int_equal(open_descriptors(), before - 1);
	close(fd);
}

static void
test_events__there_are_at_most_so_many_streams(void **state)
{
	struct fixture *f = *state;
	int fds[EVENTS_STREAMS_MAX + 1];
	bool is_end;
	char *text;

	for (int i = 0; i <= EVENTS_STREAMS_MAX; i++)
		fds[i] = dial(f, NULL);
	text = drain(f, fds[EVENTS_STREAMS_MAX], &is_end);
	assert_non_null(strstr(text, " 503 "));
	free(text);
	/* one that leaves makes room */
	close(fds[0]);
	turn(f);
	fds[0] = dial(f, NULL);
	text = drain(f, fds[0], &is_end);
	assert_non_null(strstr(text, " 200 "));
	free(text);
	for (int i = 0; i <= EVENTS_STREAMS_MAX; i++)
		close(fds[i]);
	turn(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_events__a_reader_sees_what_happens),
	    TEST(test_events__two_starts_in_one_second_have_no_id_in_common),
	    TEST(test_events__after_an_absence_nothing_is_missing_or_double),
	    TEST(test_events__a_gap_is_told),
	    TEST(test_events__the_ring_is_bounded),
	    TEST(test_events__a_reader_that_does_not_read_is_cut_off_and_told),
	    TEST(
	        test_events__one_that_is_cut_off_and_reads_nothing_does_not_stay),
	    TEST(test_events__there_are_at_most_so_many_streams),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
