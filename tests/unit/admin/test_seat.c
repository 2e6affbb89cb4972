/*
 * A listener's connections, with a clock of the test's own: only the sweep
 * sees the time, so a minute passes between two calls.
 */
#include "check.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/api/api.h"
#include "admin/seat.h"

enum { CLIENTS_MAX = 400 };

struct hall {
	struct event_base *base;
	struct evhttp *http;
	struct seats *seats;
	struct evhttp_request *held; /* not answered yet */
	uint64_t refused;
	uint16_t port;
	int client[CLIENTS_MAX];
	int n;
};

static void
on_request(struct evhttp_request *http, void *arg)
{
	struct hall *hall = arg;

	assert_true(seats_serve(hall->seats, http));
	if (strcmp(evhttp_request_get_uri(http), "/held") == 0)
		hall->held = http;
	else
		evhttp_send_reply(http, 200, "OK", NULL);
}

static void
hall_open(struct hall *hall, bool is_shared)
{
	struct evhttp_bound_socket *bound;
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);

	memset(hall, 0, sizeof(*hall));
	hall->base = event_base_new();
	hall->http = evhttp_new(hall->base);
	hall->seats = seats_new(hall->base, is_shared, &hall->refused);
	evhttp_set_bevcb(hall->http, seats_take, hall->seats);
	evhttp_set_gencb(hall->http, on_request, hall);
	bound = evhttp_bind_socket_with_handle(hall->http, "127.0.0.1", 0);
	assert_non_null(bound);
	getsockname(
	    evhttp_bound_socket_get_fd(bound), (struct sockaddr *)&sin, &len);
	hall->port = ntohs(sin.sin_port);
}

static void
hall_close(struct hall *hall)
{
	for (int i = 0; i < hall->n; i++)
		close(hall->client[i]);
	evhttp_free(hall->http);
	seats_free(&hall->seats);
	event_base_free(hall->base);
}

static void
turn(struct hall *hall)
{
	for (int i = 0; i < 10; i++)
		event_base_loop(hall->base, EVLOOP_NONBLOCK);
}

static int
come(struct hall *hall)
{
	struct sockaddr_in sin = {.sin_family = AF_INET,
	    .sin_port = htons(hall->port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	hall->client[hall->n++] = fd;
	turn(hall);
	return fd;
}

/* Whether the connection still is; what was answered is read away. */
static bool
is_open(int fd)
{
	char bytes[512];
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
		continue;
	return n < 0 && errno == EAGAIN;
}

static void
say(struct hall *hall, int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), 0), strlen(text));
	turn(hall);
}

static int
open_ends(const struct hall *hall)
{
	int n = 0;

	for (int i = 0; i < hall->n; i++)
		n += is_open(hall->client[i]);
	return n;
}

static void
pass(struct hall *hall, int seconds)
{
	seats_sweep(hall->seats, now_mono() + seconds * NSEC_PER_SEC);
	turn(hall);
}

static void
test_seat__who_does_not_ask_in_time_is_closed(void **state)
{
	struct hall hall;
	int silent, slow, quick;

	(void)state;
	hall_open(&hall, true);
	silent = come(&hall);
	slow = come(&hall);
	quick = come(&hall);
	say(&hall, slow, "GET / HTTP/1.1\r\nHost: x\r\n");
	say(&hall, quick, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
	pass(&hall, SEAT_FIRST_SECONDS - 1);
	assert_true(is_open(silent) && is_open(slow) && is_open(quick));
	say(&hall, slow, "X-Slow: x\r\n");
	pass(&hall, SEAT_FIRST_SECONDS + 1);
	assert_false(is_open(silent));
	assert_false(is_open(slow));
	assert_true(is_open(quick));
	say(&hall, quick, "GET / HT");
	pass(&hall, SEAT_NEXT_SECONDS + 1);
	assert_false(is_open(quick));
	hall_close(&hall);
}

static void
test_seat__a_request_that_is_answered_takes_its_time(void **state)
{
	struct hall hall;
	int fd;

	(void)state;
	hall_open(&hall, true);
	fd = come(&hall);
	say(&hall, fd, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
	assert_non_null(hall.held);
	pass(&hall, 24 * 3600);
	assert_true(is_open(fd));
	evhttp_send_reply(hall.held, 200, "OK", NULL);
	turn(&hall);
	pass(&hall, SEAT_NEXT_SECONDS - 1);
	assert_true(is_open(fd));
	pass(&hall, SEAT_NEXT_SECONDS + 1);
	assert_false(is_open(fd));
	hall_close(&hall);
}

static void
test_seat__the_longest_idle_makes_room_and_who_is_served_stays(void **state)
{
	struct hall hall;
	int served, oldest, newest = -1;

	(void)state;
	hall_open(&hall, true);
	served = come(&hall);
	say(&hall, served, "GET /held HTTP/1.1\r\nHost: x\r\n\r\n");
	oldest = come(&hall);
	for (int i = 2; i < SEATS_MAX; i++)
		come(&hall);
	assert_int_equal(open_ends(&hall), SEATS_MAX);
	assert_int_equal(hall.refused, 0);
	for (int i = 0; i < 20; i++)
		newest = come(&hall);
	assert_int_equal(open_ends(&hall), SEATS_MAX);
	assert_int_equal(hall.refused, 20);
	assert_true(is_open(served));
	assert_true(is_open(newest));
	assert_false(is_open(oldest));
	evhttp_send_reply(hall.held, 200, "OK", NULL);
	turn(&hall);
	hall_close(&hall);
}

static void
test_seat__an_address_has_its_share(void **state)
{
	struct hall hall;
	int first;

	(void)state;
	hall_open(&hall, false);
	first = come(&hall);
	for (int i = 1; i < 100; i++)
		come(&hall);
	assert_int_equal(open_ends(&hall), SEATS_BY_ADDRESS);
	assert_int_equal(hall.refused, 100 - SEATS_BY_ADDRESS);
	assert_true(is_open(first));
	close(hall.client[--hall.n]); /* one that was refused */
	close(first);
	hall.client[0] = hall.client[--hall.n];
	turn(&hall);
	assert_true(is_open(come(&hall)));
	hall_close(&hall);
}

/* Descriptors are given back, whoever ends the connection. */
static void
test_seat__what_is_gone_is_closed(void **state)
{
	struct hall hall;
	int probe, before;

	(void)state;
	hall_open(&hall, true);
	before = dup(0);
	close(before);
	for (int i = 0; i < 50; i++) {
		int fd = come(&hall);

		say(&hall, fd,
		    i % 2 ? "GET / HTTP/1.1\r\nHost: x\r\nConnection: "
		            "close\r\n\r\n"
		          : "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
		close(fd);
		hall.n--;
		turn(&hall);
	}
	pass(&hall, 0);
	probe = dup(0);
	close(probe);
	assert_int_equal(probe, before);
	hall_close(&hall);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_seat__who_does_not_ask_in_time_is_closed),
	    cmocka_unit_test(
	        test_seat__a_request_that_is_answered_takes_its_time),
	    cmocka_unit_test(
	        test_seat__the_longest_idle_makes_room_and_who_is_served_stays),
	    cmocka_unit_test(test_seat__an_address_has_its_share),
	    cmocka_unit_test(test_seat__what_is_gone_is_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
