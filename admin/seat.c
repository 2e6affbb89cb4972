/*
 * evhttp accepts whoever comes, bounds nothing, and tells nobody when a
 * connection ends. A seat holds a reference of its own on a connection's
 * bufferevent: when evhttp has let go (no event callback is left), the seat
 * drops the last one, which closes the descriptor and frees the SSL.
 *
 * Who is over the bound of its address is closed. At the bound of the
 * listener, whoever has been idle for the longest makes room; somebody whose
 * request is being answered never does.
 */
#include "admin/seat.h"

#include <assert.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "admin/api/api.h"
#include "tls/tls.h"

struct seat {
	LIST_ENTRY(seat) link;
	struct seats *seats;     /* borrowed: frees us */
	struct bufferevent *bev; /* counted: evhttp has the other reference */
	uint8_t address[16];     /* v4 mapped; IPv6 without its lower half */
	nsec_t since;            /* accepted, or the last answer */
	unsigned serving;        /* requests that are being answered */
	bool has_asked, is_new, is_shut;
};

struct seats {
	LIST_HEAD(, seat) list;
	size_t n, max;
	bool is_shared;
	const struct tls_gate *gate; /* borrowed */
	struct event *arrivals;      /* the descriptors of new ones are known */
	uint64_t *refused;           /* borrowed */
};

/* ---- the end of a seat ---- */

static bool
is_gone(const struct seat *seat)
{
	bufferevent_event_cb on_event;

	bufferevent_getcb(seat->bev, NULL, NULL, &on_event, NULL);
	return on_event == NULL;
}

static void
seat_free(struct seat *seat)
{
	LIST_REMOVE(seat, link);
	seat->seats->n--;
	bufferevent_decref(seat->bev);
	free(seat);
}

/* evhttp sees the end of the stream and lets go of it. */
static void
seat_shut(struct seat *seat)
{
	evutil_socket_t fd = bufferevent_getfd(seat->bev);

	static const struct timeval soon = {.tv_usec = 10000};

	if (fd >= 0)
		shutdown(fd, SHUT_RDWR);
	seat->is_shut = true;
	event_add(seat->seats->arrivals, &soon); /* it can be freed by then */
}

static bool
is_late(const struct seat *seat, nsec_t now)
{
	int limit = seat->has_asked ? SEAT_NEXT_SECONDS : SEAT_FIRST_SECONDS;

	return seat->serving == 0 && now - seat->since > limit * NSEC_PER_SEC;
}

void
seats_sweep(struct seats *seats, nsec_t now)
{
	struct seat *seat, *next;

	for (seat = LIST_FIRST(&seats->list); seat; seat = next) {
		next = LIST_NEXT(seat, link);
		if (is_gone(seat))
			seat_free(seat);
		else if (!seat->is_shut && is_late(seat, now))
			seat_shut(seat);
	}
}

/* ---- who may sit ---- */

static void
seat_address(struct seat *seat)
{
	struct sockaddr_storage peer = {0};
	socklen_t len = sizeof(peer);

	if (getpeername(bufferevent_getfd(seat->bev), (struct sockaddr *)&peer,
	        &len) != 0)
		return;
	if (peer.ss_family == AF_INET6) {
		const struct in6_addr *six =
		    &((const struct sockaddr_in6 *)&peer)->sin6_addr;

		memcpy(seat->address, six, IN6_IS_ADDR_V4MAPPED(six) ? 16 : 8);
	} else if (peer.ss_family == AF_INET) {
		seat->address[10] = seat->address[11] = 0xff;
		memcpy(seat->address + 12,
		    &((const struct sockaddr_in *)&peer)->sin_addr, 4);
	}
}

static size_t
neighbours(const struct seats *seats, const struct seat *of)
{
	const struct seat *seat;
	size_t n = 0;

	LIST_FOREACH(seat, &seats->list, link)
	n += seat != of && !seat->is_shut &&
	     memcmp(seat->address, of->address, sizeof(of->address)) == 0;
	return n;
}

/* NULL: all of them are being answered. */
static struct seat *
longest_idle(struct seats *seats, const struct seat *but)
{
	struct seat *seat, *best = NULL;

	LIST_FOREACH(seat, &seats->list, link)
	if (seat != but && !seat->is_shut && !seat->is_new &&
	    seat->serving == 0 && (!best || seat->since < best->since))
		best = seat;
	return best;
}

static size_t
seated(const struct seats *seats)
{
	const struct seat *seat;
	size_t n = 0;

	LIST_FOREACH(seat, &seats->list, link)
	n += !seat->is_shut;
	return n;
}

static void
seat_admit(struct seats *seats, struct seat *seat)
{
	struct seat *leaver = NULL;

	seat->is_new = false;
	seat_address(seat);
	if (!seats->is_shared && neighbours(seats, seat) >= SEATS_BY_ADDRESS)
		leaver = seat;
	else if (seated(seats) > seats->max) {
		leaver = longest_idle(seats, seat);
		if (!leaver)
			leaver = seat;
	}
	if (!leaver)
		return;
	(*seats->refused)++;
	seat_shut(leaver);
}

static void
on_arrivals(evutil_socket_t fd, short what, void *arg)
{
	struct seats *seats = arg;
	struct seat *seat;

	(void)fd;
	(void)what;
	seats_sweep(seats, now_mono());
	LIST_FOREACH(seat, &seats->list, link)
	if (seat->is_new)
		seat_admit(seats, seat);
}

/* ---- coming ---- */

static struct bufferevent *
bufferevent_make(struct event_base *base, const struct tls_gate *gate)
{
	struct bufferevent *bev;
	struct ssl_st *ssl;

	if (!gate)
		return bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	ssl = tls_gate_accept(gate);
	if (!ssl)
		return NULL;
	bev = bufferevent_openssl_socket_new(
	    base, -1, ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
	if (!bev)
		tls_gate_refuse(ssl);
	return bev;
}

/*
 * The descriptor is not known yet: evhttp sets it when we return. NULL makes
 * evhttp go on in the clear; where there is to be TLS, guard_secrecy turns it
 * away.
 */
struct bufferevent *
seats_take(struct event_base *base, void *arg)
{
	struct seats *seats = arg;
	struct seat *seat = calloc(1, sizeof(*seat));

	if (!seat)
		return NULL;
	seat->bev = bufferevent_make(base, seats->gate);
	if (!seat->bev) {
		free(seat);
		return NULL;
	}
	bufferevent_incref(seat->bev);
	seat->seats = seats;
	seat->since = now_mono();
	seat->is_new = true;
	LIST_INSERT_HEAD(&seats->list, seat, link);
	seats->n++;
	event_active(seats->arrivals, EV_TIMEOUT, 0);
	return seat->bev;
}

static void
on_answered(struct evhttp_request *http, void *arg)
{
	struct seat *seat = arg;

	(void)http;
	assert(seat->serving > 0);
	seat->serving--;
	seat->since = now_mono();
}

bool
seats_serve(struct seats *seats, struct evhttp_request *http)
{
	struct bufferevent *bev = evhttp_connection_get_bufferevent(
	    evhttp_request_get_connection(http));
	struct seat *seat;

	LIST_FOREACH(seat, &seats->list, link)
	if (seat->bev == bev)
		break;
	if (!seat)
		return false;
	seat->has_asked = true;
	seat->serving++;
	evhttp_request_set_on_complete_cb(http, on_answered, seat);
	return true;
}

/* ---- the whole ---- */

/* An eighth of the descriptors at most, so that the proxy has the rest. */
static size_t
seats_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 ||
	    limit.rlim_cur / 8 >= SEATS_MAX)
		return SEATS_MAX;
	return limit.rlim_cur / 8 > 4 ? (size_t)limit.rlim_cur / 8 : 4;
}

struct seats *
seats_new(struct event_base *base, bool is_shared, uint64_t *refused)
{
	struct seats *seats = calloc(1, sizeof(*seats));

	if (!seats)
		return NULL;
	LIST_INIT(&seats->list);
	seats->is_shared = is_shared;
	seats->refused = refused;
	seats->max = seats_limit();
	seats->arrivals = event_new(base, -1, 0, on_arrivals, seats);
	if (seats->arrivals)
		return seats;
	free(seats);
	return NULL;
}

void
seats_gate(struct seats *seats, const struct tls_gate *gate)
{
	seats->gate = gate;
}

void
seats_free(struct seats **seats)
{
	struct seat *seat;

	if (!*seats)
		return;
	while ((seat = LIST_FIRST(&(*seats)->list)) != NULL)
		seat_free(seat);
	event_free((*seats)->arrivals);
	free(*seats);
	*seats = NULL;
}
