/*
 * The origin behind the proxies: one thread, edge-triggered epoll, HTTP/1.1
 * with keep-alive and pipelining, whole answers prepared once per name and
 * size. It must cost so little that the load side never hides a difference
 * between two proxies.
 *
 *   origin [-c COUNTERS] [-a ADDRESS] PORT=NAME ...
 *
 * Ports, paths and counters: origin_ports.h. The answer tells its name in
 * X-Origin. Several ports in one process stand for several origins: one process
 * disturbs the load CPU less than two would.
 *
 * Requests have no body (those of the bench are GETs). A head above 8 KiB ends
 * the connection.
 */
#include "origin_ports.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	ANSWERS_MAX = 64,
	HEAD_MAX = 8 << 10,
	EVENTS = 256,
};

struct answer {
	size_t body;
	char *bytes;
	size_t n;
};

struct site {
	const struct port *port;
	struct answer answers[ANSWERS_MAX];
	size_t n_answers;
};

struct conn {
	struct site *site; /* NULL: not open */
	const char *out;   /* borrowed: answers are never freed */
	size_t n_out;
	size_t n_in;
	bool last; /* close when the answer is out */
	char in[HEAD_MAX];
};

struct origin {
	int epoll;
	struct site sites[PORTS_MAX];
	struct conn **conns; /* by descriptor */
	size_t n_conns;
};

static void
answer_make(struct answer *answer, const char *name, size_t body)
{
	char head[512];
	int n = snprintf(head, sizeof head,
	    "HTTP/1.1 200 OK\r\n"
	    "Server: origin\r\n"
	    "Date: Sat, 22 Aug 2026 12:00:00 GMT\r\n"
	    "Content-Type: application/octet-stream\r\n"
	    "Content-Length: %zu\r\n"
	    "Cache-Control: no-store, max-age=0\r\n"
	    "ETag: \"5f3c9a-80-62d1b7a4c2e00\"\r\n"
	    "X-Origin: %s\r\n"
	    "\r\n",
	    body, name);

	answer->body = body;
	answer->n = (size_t)n + body;
	answer->bytes = malloc(answer->n);
	if (answer->bytes == NULL)
		fail("memory");
	memcpy(answer->bytes, head, (size_t)n);
	memset(answer->bytes + n, 'x', body);
}

/* NULL when a client asks for more sizes than we are willing to keep. */
static const struct answer *
answer_of(struct site *site, size_t body)
{
	for (size_t i = 0; i < site->n_answers; i++)
		if (site->answers[i].body == body)
			return &site->answers[i];
	if (site->n_answers == ANSWERS_MAX)
		return NULL;
	answer_make(&site->answers[site->n_answers], site->port->name, body);
	return &site->answers[site->n_answers++];
}

static void
conn_end(struct origin *o, int fd)
{
	close(fd);
	o->conns[fd]->site = NULL;
}

/* True when all is out; false to wait for room, or when the peer is gone. */
static bool
conn_send(struct conn *c, int fd)
{
	while (c->n_out > 0) {
		ssize_t n = send(fd, c->out, c->n_out, MSG_NOSIGNAL);

		if (n < 0) {
			if (errno != EAGAIN)
				c->last = true, c->n_out = 0;
			return c->n_out == 0;
		}
		c->out += n;
		c->n_out -= (size_t)n;
	}
	return true;
}

/* One request at the front of `in`; false when it is not whole yet. */
static bool
conn_answer(struct conn *c)
{
	char *end = memmem(c->in, c->n_in, "\r\n\r\n", 4);
	char *path = memchr(c->in, ' ', c->n_in);
	const struct answer *answer;
	size_t head;

	if (end == NULL)
		return false;
	head = (size_t)(end + 4 - c->in);
	*end = '\0'; /* for strcasestr; the head has been read by then */
	c->last = strcasestr(c->in, "\r\nconnection: close") != NULL;
	answer = path == NULL || path > end
	             ? NULL
	             : answer_of(c->site,
	                   path_body(path + 1, (size_t)(end - path - 1)));
	if (answer == NULL) {
		c->last = true;
		return true;
	}
	count(c->site->port->counter);
	c->out = answer->bytes;
	c->n_out = answer->n;
	c->n_in -= head;
	memmove(c->in, c->in + head, c->n_in);
	return true;
}

/*
 * Reads until a short read: after it the kernel tells us of anything new. The
 * order (send what is left, answer what is whole, read) keeps at most one
 * answer in hand.
 */
static void
conn_turn(struct origin *o, int fd)
{
	struct conn *c = o->conns[fd];
	bool drained = false;

	for (;;) {
		ssize_t n;
		size_t room;

		if (!conn_send(c, fd))
			return;
		if (c->last) {
			conn_end(o, fd);
			return;
		}
		if (c->n_in > 0 && conn_answer(c))
			continue;
		if (drained)
			return;
		room = sizeof c->in - c->n_in;
		n = room == 0 ? 0 : recv(fd, c->in + c->n_in, room, 0);
		if (n < 0 && errno == EAGAIN)
			return;
		if (n <= 0) {
			conn_end(o, fd);
			return;
		}
		c->n_in += (size_t)n;
		drained = (size_t)n < room;
	}
}

static void
site_accept(struct origin *o, struct site *site)
{
	int fd;

	while ((fd = accept4(site->port->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct epoll_event ev = {
		    .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
		    .data.u64 = (uint64_t)fd << 8,
		};

		if ((size_t)fd >= o->n_conns) {
			close(fd);
			continue;
		}
		if (o->conns[fd] == NULL)
			o->conns[fd] = malloc(sizeof(struct conn));
		if (o->conns[fd] == NULL)
			fail("memory");
		o->conns[fd]->site = site;
		o->conns[fd]->n_in = o->conns[fd]->n_out = 0;
		o->conns[fd]->last = false;
		epoll_ctl(o->epoll, EPOLL_CTL_ADD, fd, &ev);
	}
}

static void
conns_make(struct origin *o)
{
	struct rlimit files;

	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	o->n_conns = files.rlim_cur < 1 << 20 ? files.rlim_cur : 1 << 20;
	o->conns = calloc(o->n_conns, sizeof *o->conns);
	if (o->conns == NULL)
		fail("memory");
}

static void
origin_run(struct origin *o)
{
	struct epoll_event events[EVENTS];

	for (;;) {
		int n = epoll_wait(o->epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			uint64_t what = events[i].data.u64;
			int fd = (int)(what >> 8);

			if (what & 0xff)
				site_accept(o, &o->sites[(what & 0xff) - 1]);
			else if (o->conns[fd]->site != NULL)
				conn_turn(o, fd);
		}
	}
}

int
main(int argc, char **argv)
{
	static struct origin o;
	static struct port ports[PORTS_MAX];
	size_t n = ports_open(argc, argv, ports);

	conns_make(&o);
	o.epoll = epoll_create1(0);
	for (size_t i = 0; i < n; i++) {
		struct epoll_event ev = {
		    .events = EPOLLIN | EPOLLET, .data.u64 = 1 + i};

		o.sites[i].port = &ports[i];
		epoll_ctl(o.epoll, EPOLL_CTL_ADD, ports[i].fd, &ev);
	}
	origin_run(&o);
}
