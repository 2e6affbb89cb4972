/*
 * The limit of the comparison: a forwarder that looks at nothing. Each client
 * connection is paired with one upstream connection; per request it does
 * recv, send, recv, send and its share of an epoll_wait, edge-triggered, with
 * one registration per socket. What it costs is the kernel's price that every
 * proxy pays; only the rest is the proxy's own.
 *
 *   floor LISTEN-PORT ORIGIN-PORT
 *
 * When one side is slower, the rest is kept (once) and reading from the other
 * side stops until it is out.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	SCRATCH = 256 << 10,
	EVENTS = 256,
	FDS = 65536,
};

struct half {
	int peer; /* 0: not ours */
	char
	    *kept; /* owned: what the peer sent and this side had no room for */
	size_t n_kept;
};

struct floor {
	int epoll, listener;
	struct sockaddr_in origin;
	struct half halves[FDS]; /* by descriptor */
	char scratch[SCRATCH];
};

static void
fail(const char *what)
{
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void
pair_end(struct floor *f, int fd)
{
	int both[2] = {fd, f->halves[fd].peer};

	for (int i = 0; i < 2; i++) {
		free(f->halves[both[i]].kept);
		memset(&f->halves[both[i]], 0, sizeof f->halves[0]);
		close(both[i]);
	}
}

static void
half_watch(struct floor *f, int fd, int peer)
{
	struct epoll_event ev = {
	    .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};

	f->halves[fd].peer = peer;
	if (epoll_ctl(f->epoll, EPOLL_CTL_ADD, fd, &ev) < 0)
		fail("epoll_ctl");
}

/* A blocking connect: connections are made before the measurement. */
static void
pair_accept(struct floor *f)
{
	int client, up, one = 1;

	while (
	    (client = accept4(f->listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		up = socket(AF_INET, SOCK_STREAM, 0);
		if (client >= FDS || up < 0 || up >= FDS ||
		    connect(up, (struct sockaddr *)&f->origin,
		        sizeof f->origin) < 0)
			fail("connect");
		fcntl(up, F_SETFL, O_NONBLOCK);
		setsockopt(up, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
		half_watch(f, client, up);
		half_watch(f, up, client);
	}
}

/* Bytes sent, or -1 when the connection is gone. */
static ssize_t
half_send(int fd, const char *bytes, size_t n)
{
	ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

	return sent < 0 && errno == EAGAIN ? 0 : sent;
}

static bool
half_keep(struct half *half, const char *bytes, size_t n)
{
	half->kept = malloc(n);
	if (half->kept == NULL)
		return false;
	memcpy(half->kept, bytes, n);
	half->n_kept = n;
	return true;
}

/* Moves bytes from fd to its peer; false when the pair is over. */
static bool
half_pull(struct floor *f, int fd)
{
	struct half *to = &f->halves[f->halves[fd].peer];

	while (to->n_kept == 0) {
		ssize_t n = recv(fd, f->scratch, SCRATCH, 0), sent;

		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0)
			return false;
		sent = half_send(f->halves[fd].peer, f->scratch, (size_t)n);
		if (sent < 0)
			return false;
		if (sent < n &&
		    !half_keep(to, f->scratch + sent, (size_t)(n - sent)))
			return false;
		if (n < SCRATCH)
			return true;
	}
	return true;
}

static bool
half_drain(struct floor *f, int fd)
{
	struct half *half = &f->halves[fd];
	ssize_t sent = half_send(fd, half->kept, half->n_kept);

	if (sent < 0)
		return false;
	half->n_kept -= (size_t)sent;
	memmove(half->kept, half->kept + sent, half->n_kept);
	if (half->n_kept > 0)
		return true;
	free(half->kept);
	half->kept = NULL;
	return half_pull(f, half->peer);
}

static void
half_event(struct floor *f, const struct epoll_event *ev)
{
	int fd = ev->data.fd;

	if (f->halves[fd].peer == 0)
		return;
	if ((ev->events & EPOLLOUT) && f->halves[fd].n_kept > 0 &&
	    !half_drain(f, fd)) {
		pair_end(f, fd);
		return;
	}
	if ((ev->events & ~(uint32_t)EPOLLOUT) && !half_pull(f, fd))
		pair_end(f, fd);
}

static int
listen_on(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
	struct sockaddr_in sa = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0 ||
	    listen(fd, 4096) < 0)
		fail("listen");
	return fd;
}

int
main(int argc, char **argv)
{
	static struct floor f;
	struct epoll_event events[EVENTS], ev = {.events = EPOLLIN};

	if (argc != 3) {
		fprintf(stderr, "usage: floor LISTEN-PORT ORIGIN-PORT\n");
		return 2;
	}
	f.origin = (struct sockaddr_in){.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)atoi(argv[2])),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	f.epoll = epoll_create1(0);
	ev.data.fd = f.listener = listen_on(atoi(argv[1]));
	epoll_ctl(f.epoll, EPOLL_CTL_ADD, f.listener, &ev);
	for (;;) {
		int n = epoll_wait(f.epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == f.listener)
				pair_accept(&f);
			else
				half_event(&f, &events[i]);
		}
	}
}
