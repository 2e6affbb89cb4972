/*
 * See dns_ask.h.
 *
 *   asked --> c-ares waits for its sockets and for time --> the answer is read
 *     |           ^                        |                       |
 *     |           +--- once more: why? ----+                       |
 *     +-- given up, or no memory ----------------------------------+--> told
 *
 * What c-ares calls back from is still alive when it returns: the question is
 * freed after it, by whoever called c-ares.
 */
#include "proxy/control/dns_ask.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
	SOCKETS_MAX = 16, /* several servers, UDP and TCP */
	TURN_READS = 32,
};

struct dns_question {
	dns_replied_fn *fn;
	void *ctx;
	const char *name;                    /* borrowed: of the owner */
	const struct dns_settings *settings; /* borrowed: the resolver's */
	enum dns_kind kind;
	struct event_base *base; /* borrowed */
	ares_channel channel;    /* owned */
	struct event *timer;     /* owned */
	struct {
		ares_socket_t fd;
		struct event *event; /* owned; NULL: free */
	} sockets[SOCKETS_MAX];
	unsigned n_reads; /* in this turn of the loop */
	bool is_over;
	bool wants_reason, is_second; /* see ask_why() */
};

/* ---- answers ---- */

static void
tell(struct dns_question *question, struct dns_reply *reply)
{
	question->is_over = true;
	/* Our own impatience is told as what it is. */
	if (reply->status == ARES_ECONNREFUSED && !question->is_second) {
		question->is_over = false;
		question->wants_reason = true;
		return;
	}
	reply->is_answered = reply->status != ARES_EDESTRUCTION;
	question->fn(question->ctx, reply);
}

static void
on_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct dns_question *question = arg;
	struct dns_addresses addresses;
	struct dns_reply reply = {.status = status};

	(void)timeouts;
	if (status == ARES_SUCCESS && info) {
		reply.ttl = dns_read_ttl(info);
		reply.status = dns_read_addresses(info, &addresses);
		reply.addresses = &addresses;
	}
	if (info)
		ares_freeaddrinfo(info);
	tell(question, &reply);
}

static void
on_service(void *arg, int status, int timeouts, unsigned char *bytes, int len)
{
	struct dns_question *question = arg;
	struct dns_service service = {0};
	struct dns_reply reply = {.status = status};

	(void)timeouts;
	if (status == ARES_SUCCESS && len > 0) {
		reply.status = dns_read_service(
		    bytes, (size_t)len, question->name, &service);
		reply.ttl = service.ttl;
		reply.service = &service;
	}
	tell(question, &reply);
	dns_service_release(&service);
}

/* ---- the sockets ---- */

/*
 * c-ares reads a socket until it is empty, and who fills it as fast keeps this
 * thread: so it looks empty after TURN_READS, until the loop's next turn.
 */
static ares_ssize_t
receive(ares_socket_t fd, void *buf, size_t cap, int flags,
    struct sockaddr *from, ares_socklen_t *from_len, void *arg)
{
	struct dns_question *question = arg;

	if (question->n_reads++ < TURN_READS)
		return recvfrom(fd, buf, cap, flags, from, from_len);
	errno = EAGAIN;
	return -1;
}

static ares_socket_t
open_socket(int family, int type, int protocol, void *arg)
{
	(void)arg;
	return socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol);
}

static int
close_socket(ares_socket_t fd, void *arg)
{
	(void)arg;
	return close(fd);
}

static int
connect_socket(ares_socket_t fd, const struct sockaddr *to,
    ares_socklen_t to_len, void *arg)
{
	(void)arg;
	return connect(fd, to, to_len);
}

static ares_ssize_t
send_some(ares_socket_t fd, const struct iovec *parts, int n, void *arg)
{
	(void)arg;
	return writev(fd, parts, n);
}

/* All of them: with one, c-ares makes none of its own. */
static const struct ares_socket_functions sockets = {
    .asocket = open_socket,
    .aclose = close_socket,
    .aconnect = connect_socket,
    .arecvfrom = receive,
    .asendv = send_some,
};

/* ---- asking ---- */

static void watch_socket(
    void *arg, ares_socket_t fd, int readable, int writable);

static int
open_channel(struct dns_question *question)
{
	const struct dns_settings *settings = question->settings;
	int relays = question->is_second ? ARES_FLAG_NOCHECKRESP : 0;
	struct ares_options options = {.flags = ARES_FLAG_EDNS | relays,
	    .timeout = (int)(settings->timeout / NSEC_PER_MSEC),
	    .tries = 2,
	    .sock_state_cb = watch_socket,
	    .sock_state_cb_data = question};
	int status = ares_init_options(&question->channel, &options,
	    ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
	        ARES_OPT_SOCK_STATE_CB);

	if (status != ARES_SUCCESS)
		question->channel = NULL;
	else
		ares_set_socket_functions(
		    question->channel, &sockets, question);
	if (status == ARES_SUCCESS && settings->servers[0])
		status = ares_set_servers_ports_csv(
		    question->channel, settings->servers);
	return status;
}

static void
send_question(struct dns_question *question)
{
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
	    .ai_socktype = SOCK_STREAM,
	    .ai_flags = ARES_AI_NOSORT | ARES_AI_ENVHOSTS};

	if (question->kind == DNS_SERVICE)
		ares_query(question->channel, question->name, ns_c_in, ns_t_srv,
		    on_service, question);
	else
		ares_getaddrinfo(question->channel, question->name, NULL,
		    &hints, on_addresses, question);
}

/*
 * To c-ares a server that says REFUSED or SERVFAIL is as good as none: it asks
 * the next one, and at the end says that it could contact nobody. So before
 * that is believed it is asked once more to relay what the first server says.
 */
static void
ask_why(struct dns_question *question)
{
	struct dns_reply failure = {0};

	question->wants_reason = false;
	question->is_second = true;
	ares_destroy(question->channel);
	failure.status = open_channel(question);
	if (failure.status != ARES_SUCCESS)
		tell(question, &failure);
	else
		send_question(question);
}

/* ---- c-ares in our loop ---- */

static void
question_free(struct dns_question *question)
{
	if (question->channel)
		ares_destroy(question->channel); /* closes its sockets */
	if (question->timer)
		event_free(question->timer);
	free(question);
}

/* After c-ares has had its say: the end, or when it wants to be called. */
static void
go_on(struct dns_question *question)
{
	struct timeval left;

	if (question->wants_reason)
		ask_why(question);
	if (question->is_over)
		question_free(question);
	else if (ares_timeout(question->channel, NULL, &left))
		evtimer_add(question->timer, &left);
}

static void
on_socket(int fd, short what, void *arg)
{
	struct dns_question *question = arg;

	question->n_reads = 0;
	ares_process_fd(question->channel,
	    what & EV_READ ? fd : ARES_SOCKET_BAD,
	    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
	go_on(question);
}

static void
on_time(int fd, short what, void *arg)
{
	struct dns_question *question = arg;

	(void)fd;
	(void)what;
	question->n_reads = 0;
	ares_process_fd(question->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	go_on(question);
}

/* One beyond SOCKETS_MAX is not watched: its server counts as silent. */
static void
watch_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct dns_question *question = arg;
	short what = (short)((readable ? EV_READ : 0) |
	                     (writable ? EV_WRITE : 0) | EV_PERSIST);
	int free_one = -1, at = -1;

	for (int i = 0; i < SOCKETS_MAX; i++) {
		if (!question->sockets[i].event)
			free_one = i;
		else if (question->sockets[i].fd == fd)
			at = i;
	}
	if (at >= 0) {
		event_free(question->sockets[at].event);
		question->sockets[at].event = NULL;
	} else {
		at = free_one;
	}
	if (at < 0 || (!readable && !writable))
		return;
	question->sockets[at].fd = fd;
	question->sockets[at].event =
	    event_new(question->base, fd, what, on_socket, question);
	if (question->sockets[at].event)
		event_add(question->sockets[at].event, NULL);
}

struct dns_question *
dns_ask(struct event_base *base, const struct dns_settings *settings,
    enum dns_kind kind, const char *name, dns_replied_fn *fn, void *ctx)
{
	struct dns_question *question = calloc(1, sizeof(*question));
	struct dns_reply failure = {.status = ARES_ENOMEM, .is_answered = true};

	if (!question) {
		fn(ctx, &failure);
		return NULL;
	}
	question->fn = fn;
	question->ctx = ctx;
	question->name = name;
	question->base = base;
	question->settings = settings;
	question->kind = kind;
	question->timer = evtimer_new(base, on_time, question);
	if (question->timer)
		failure.status = open_channel(question);
	if (failure.status != ARES_SUCCESS)
		tell(question, &failure);
	else
		send_question(question);
	if (question->wants_reason)
		ask_why(question);
	if (question->is_over) { /* a hosts file knew it */
		question_free(question);
		return NULL;
	}
	go_on(question);
	return question;
}

void
dns_give_up(struct dns_question **question)
{
	struct dns_question *dead = *question;

	*question = NULL;
	ares_destroy(dead->channel); /* tells */
	dead->channel = NULL;
	question_free(dead);
}
