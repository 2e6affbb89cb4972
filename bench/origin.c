/*
 * The origin behind the proxies: one thread, edge-triggered epoll, HTTP/1.1
 * with keep-alive and pipelining, whole answers prepared once per name and
 * size. It must cost so little that the load side never hides a difference
 * between two proxies.
 *
 *   origin [-c COUNTERS] [-a ADDRESS] PORT=NAME ...
 *
 * Paths: /128 /64k /1m, /bytes/N for any N up to 64 MiB; anything else is
 * answered as /128, so that routes of any shape can be tried. The answer
 * tells its name in X-Origin. Several ports in one process stand for several
 * origins: one process disturbs the load CPU less than two would.
 *
 * COUNTERS is a file shared by mmap, one struct counter a port, which a driver
 * reads (and zeroes) without a request: exact counts between two instants.
 *
 * Requests have no body (those of the bench are GETs). A head above 8 KiB ends
 * the connection.
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
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	PORTS_MAX = 16,
	ANSWERS_MAX = 64,
	HEAD_MAX = 8 << 10,
	BODY_MAX = 64 << 20,
	EVENTS = 256,
};

/* Read by the driver: keep in step with origin.py. */
struct counter {
	uint64_t requests;
	uint64_t
	    first_ns; /* CLOCK_MONOTONIC of the first since it was zeroed */
	uint64_t last_ns;
};

struct answer {
	size_t body;
	char *bytes;
	size_t n;
};

struct port {
	int fd;
	const char *name;
	struct counter *counter;
	struct answer answers[ANSWERS_MAX];
	size_t n_answers;
};

struct conn {
	struct port *port;
	const char *out; /* borrowed: answers are never freed */
	size_t n_out;
	size_t n_in;
	bool last; /* close when the answer is out */
	char in[HEAD_MAX];
};

struct origin {
	int epoll;
	struct port ports[PORTS_MAX];
	size_t n_ports;
	struct conn **conns; /* by descriptor */
	size_t n_conns;
};

static void
fail(const char *what)
{
	fprintf(stderr, "origin: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static size_t
path_body(const char *path, size_t n)
{
	if (n >= 4 && memcmp(path, "/64k", 4) == 0)
		return 64 << 10;
	if (n >= 3 && memcmp(path, "/1m", 3) == 0)
		return 1 << 20;
	if (n > 7 && memcmp(path, "/bytes/", 7) == 0) {
		unsigned long body = strtoul(path + 7, NULL, 10);

		return body < BODY_MAX ? body : BODY_MAX;
	}
	return 128;
}

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
answer_of(struct port *port, size_t body)
{
	for (size_t i = 0; i < port->n_answers; i++)
		if (port->answers[i].body == body)
			return &port->answers[i];
	if (port->n_answers == ANSWERS_MAX)
		return NULL;
	answer_make(&port->answers[port->n_answers], port->name, body);
	return &port->answers[port->n_answers++];
}

static void
conn_end(struct origin *o, int fd)
{
	close(fd);
	o->conns[fd]->port = NULL;
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

static void
count(struct counter *counter)
{
	uint64_t now = now_ns();

	if (__atomic_load_n(&counter->first_ns, __ATOMIC_RELAXED) == 0)
		__atomic_store_n(&counter->first_ns, now, __ATOMIC_RELAXED);
	__atomic_store_n(&counter->last_ns, now, __ATOMIC_RELAXED);
	__atomic_store_n(
	    &counter->requests, counter->requests + 1, __ATOMIC_RELAXED);
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
	             : answer_of(c->port,
	                   path_body(path + 1, (size_t)(end - path - 1)));
	if (answer == NULL) {
		c->last = true;
		return true;
	}
	count(c->port->counter);
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
port_accept(struct origin *o, struct port *port)
{
	int fd;

	while ((fd = accept4(port->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
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
		o->conns[fd]->port = port;
		o->conns[fd]->n_in = o->conns[fd]->n_out = 0;
		o->conns[fd]->last = false;
		epoll_ctl(o->epoll, EPOLL_CTL_ADD, fd, &ev);
	}
}

static void
port_listen(
    struct origin *o, struct port *port, const char *address, int number)
{
	int one = 1;
	struct sockaddr_in sa = {
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)number)};
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET,
	    .data.u64 = 1 + (uint64_t)(port - o->ports)};

	if (inet_pton(AF_INET, address, &sa.sin_addr) != 1)
		fail(address);
	port->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(port->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(port->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(port->fd, (struct sockaddr *)&sa, sizeof sa) < 0 ||
	    listen(port->fd, 4096) < 0)
		fail(port->name);
	epoll_ctl(o->epoll, EPOLL_CTL_ADD, port->fd, &ev);
}

static struct counter *
counters_map(const char *path)
{
	size_t size = PORTS_MAX * sizeof(struct counter);
	void *at;
	int fd = -1;

	if (path != NULL) {
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
			fail(path);
	}
	at = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		fail("mmap");
	return at;
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
				port_accept(o, &o->ports[(what & 0xff) - 1]);
			else if (o->conns[fd]->port != NULL)
				conn_turn(o, fd);
		}
	}
}

int
main(int argc, char **argv)
{
	static struct origin o;
	const char *counters = NULL, *address = "127.0.0.1";
	struct counter *counter;
	int opt;

	while ((opt = getopt(argc, argv, "a:c:")) != -1) {
		if (opt == 'c')
			counters = optarg;
		else if (opt == 'a')
			address = optarg;
		else
			return 2;
	}
	conns_make(&o);
	o.epoll = epoll_create1(0);
	counter = counters_map(counters);
	for (; optind < argc && o.n_ports < PORTS_MAX; optind++) {
		struct port *port = &o.ports[o.n_ports];
		char *name = strchr(argv[optind], '=');

		if (name == NULL) {
			fprintf(stderr, "origin: PORT=NAME, not \"%s\"\n",
			    argv[optind]);
			return 2;
		}
		port->name = name + 1;
		port->counter = &counter[o.n_ports++];
		port_listen(&o, port, address, atoi(argv[optind]));
	}
	if (o.n_ports == 0) {
		fprintf(stderr, "usage: origin [-c COUNTERS] [-a ADDRESS] "
		                "PORT=NAME ...\n");
		return 2;
	}
	origin_run(&o);
}
