/*
 * A client that keeps its pace whatever the server does: RATE requests a
 * second for SECONDS, each when it is due, on any connection that is free (a
 * further one is opened when none is). An answer that does not come is so
 * seen as what it is, and not as a pause of the client.
 *
 *   steady [-c CONNECTIONS] [-t PATIENCE_MS] PORT PATH RATE SECONDS
 *
 * Prints one JSON object: what was sent, what came back by kind (`broken`: the
 * connection ended in place of an answer; `late`: none within the patience),
 * and latencies from when a request was due. Exit 0 when the pace was kept.
 * After SIGINT nothing more is sent, and what was is waited for.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNS_MAX = 4096, HEAD_MAX = 8 << 10, BUCKETS = 64 * 16 };

struct conn {
	TAILQ_ENTRY(conn) link; /* free, or in flight by due time */
	int fd;                 /* -1: closed */
	bool is_busy;
	int64_t due;
	unsigned status;
	size_t have, left; /* of the head; of the body, once status is known */
	char head[HEAD_MAX];
};
TAILQ_HEAD(conns, conn);

struct run {
	int epoll, port;
	char request[1024];
	size_t request_len;
	int64_t patience; /* ns */
	struct conns free, busy;
	unsigned n_conns, conns_max;
	uint64_t sent, ok, client_error, server_error, broken, late, stalled;
	uint64_t latency[BUCKETS]; /* by 1/16 octaves of ns */
	int64_t worst;
};

static int64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

/* ---- latencies ---- */

static unsigned
bucket_of(int64_t value)
{
	uint64_t v = value > 16 ? (uint64_t)value : 16;
	unsigned octave = 63 - (unsigned)__builtin_clzll(v);

	return octave * 16 + (unsigned)(v >> (octave - 4) & 15);
}

static double
quantile_ms(const struct run *run, double q)
{
	uint64_t all = 0, seen = 0;

	for (unsigned i = 0; i < BUCKETS; i++)
		all += run->latency[i];
	for (unsigned i = 0; i < BUCKETS; i++) {
		seen += run->latency[i];
		if (all > 0 && (double)seen >= q * (double)all)
			return (double)((UINT64_C(16) | (i & 15))
			                << (i / 16 - 4)) /
			       1e6;
	}
	return 0;
}

/* ---- connections ---- */

static bool
conn_open(struct run *run, struct conn *conn)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
	    .sin_port = htons((unsigned short)run->port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
	int one = 1;

	conn->fd = socket(AF_INET, SOCK_STREAM, 0);
	if (conn->fd < 0 ||
	    connect(conn->fd, (struct sockaddr *)&sa, sizeof sa) < 0)
		return false;
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	fcntl(conn->fd, F_SETFL, O_NONBLOCK);
	return epoll_ctl(run->epoll, EPOLL_CTL_ADD, conn->fd, &event) == 0;
}

static void
conn_close(struct conn *conn)
{
	if (conn->fd >= 0)
		close(conn->fd);
	conn->fd = -1;
}

static void
conn_done(struct run *run, struct conn *conn, bool keeps)
{
	TAILQ_REMOVE(&run->busy, conn, link);
	conn->is_busy = false;
	if (!keeps)
		conn_close(conn);
	TAILQ_INSERT_HEAD(&run->free, conn, link);
}

static struct conn *
conn_free(struct run *run)
{
	struct conn *conn = TAILQ_FIRST(&run->free);

	if (conn != NULL) {
		TAILQ_REMOVE(&run->free, conn, link);
		return conn;
	}
	if (run->n_conns == run->conns_max)
		return NULL;
	conn = calloc(1, sizeof *conn);
	if (conn == NULL)
		return NULL;
	conn->fd = -1;
	run->n_conns++;
	return conn;
}

/* ---- a request and its answer ---- */

static void
request_send(struct run *run, int64_t due)
{
	struct conn *conn = conn_free(run);

	if (conn == NULL) {
		run->stalled++;
		return;
	}
	run->sent++;
	conn->is_busy = true;
	conn->due = due;
	conn->status = 0;
	conn->have = conn->left = 0;
	TAILQ_INSERT_TAIL(&run->busy, conn, link);
	if ((conn->fd < 0 && !conn_open(run, conn)) ||
	    send(conn->fd, run->request, run->request_len, MSG_NOSIGNAL) !=
	        (ssize_t)run->request_len) {
		run->broken++;
		conn_done(run, conn, false);
	}
}

static void
answer_done(struct run *run, struct conn *conn)
{
	int64_t took = now_ns() - conn->due;

	if (conn->status >= 500)
		run->server_error++;
	else if (conn->status >= 400)
		run->client_error++;
	else
		run->ok++;
	run->latency[bucket_of(took)]++;
	if (took > run->worst)
		run->worst = took;
	conn_done(
	    run, conn, strcasestr(conn->head, "\r\nconnection: close") == NULL);
}

/* False: the answer is none. */
static bool
head_parse(struct conn *conn)
{
	char *end = strstr(conn->head, "\r\n\r\n"), *length;
	size_t body;

	if (end == NULL)
		return conn->have < HEAD_MAX - 1;
	body = conn->have - (size_t)(end + 4 - conn->head);
	end[2] = '\0';
	length = strcasestr(conn->head, "\r\ncontent-length:");
	if (sscanf(conn->head, "HTTP/1.1 %3u", &conn->status) != 1 ||
	    length == NULL)
		return false;
	conn->left = strtoul(length + 17, NULL, 10);
	if (body > conn->left)
		return false;
	conn->left -= body;
	return true;
}

static void
conn_read(struct run *run, struct conn *conn)
{
	char sink[64 << 10];
	bool in_head = conn->status == 0;
	ssize_t n = in_head ? recv(conn->fd, conn->head + conn->have,
	                          HEAD_MAX - 1 - conn->have, 0)
	                    : recv(conn->fd, sink, sizeof sink, 0);

	if (n < 0 && errno == EAGAIN)
		return;
	if (!conn->is_busy) { /* closed while it was idle */
		conn_close(conn);
		return;
	}
	if (n > 0 && in_head) {
		conn->have += (size_t)n;
		conn->head[conn->have] = '\0';
	} else if (n > 0 && (size_t)n <= conn->left) {
		conn->left -= (size_t)n;
	}
	if (n <= 0 || (in_head && !head_parse(conn))) {
		run->broken++;
		conn_done(run, conn, false);
	} else if (conn->status != 0 && conn->left == 0) {
		answer_done(run, conn);
	}
}

static void
give_up(struct run *run, int64_t now)
{
	struct conn *conn;

	while ((conn = TAILQ_FIRST(&run->busy)) != NULL &&
	       now - conn->due > run->patience) {
		run->late++;
		conn_done(run, conn, false);
	}
}

/* ---- the whole ---- */

static void
turn(struct run *run, int timeout_ms)
{
	struct epoll_event events[256];
	int n = epoll_wait(run->epoll, events, 256, timeout_ms);

	for (int i = 0; i < n; i++) {
		struct conn *conn = events[i].data.ptr;

		if (conn->fd >= 0)
			conn_read(run, conn);
	}
}

static volatile sig_atomic_t was_interrupted;

static void
on_interrupt(int number)
{
	(void)number;
	was_interrupted = 1;
}

static void
drive(struct run *run, double rate, double seconds)
{
	int64_t start = now_ns(), now = start;
	uint64_t all = (uint64_t)(rate * seconds), i = 0;

	while (i < all || !TAILQ_EMPTY(&run->busy)) {
		int64_t due = start + (int64_t)((double)i * 1e9 / rate);

		if (was_interrupted)
			all = i;
		now = now_ns();
		give_up(run, now);
		if (i < all && due <= now) {
			request_send(run, due);
			i++;
			if (i % 16 == 0)
				turn(run, 0);
		} else {
			turn(run, i < all && due - now < 1000000 ? 0 : 1);
		}
	}
}

/* All of them are free by now. */
static void
conns_free(struct run *run)
{
	struct conn *conn;

	while ((conn = TAILQ_FIRST(&run->free)) != NULL) {
		TAILQ_REMOVE(&run->free, conn, link);
		conn_close(conn);
		free(conn);
	}
	close(run->epoll);
}

static int
usage(void)
{
	fprintf(stderr, "usage: steady [-c CONNECTIONS] [-t PATIENCE_MS] PORT "
	                "PATH RATE SECONDS\n");
	return 2;
}

int
main(int argc, char **argv)
{
	struct run run = {
	    .epoll = epoll_create1(0), .conns_max = 512, .patience = 5000};
	double rate, seconds;
	int opt;

	while ((opt = getopt(argc, argv, "c:t:")) != -1) {
		if (opt == 'c')
			run.conns_max = (unsigned)atoi(optarg);
		else if (opt == 't')
			run.patience = atoi(optarg);
		else
			return usage();
	}
	if (argc - optind != 4 || run.conns_max < 1 ||
	    run.conns_max > CONNS_MAX)
		return usage();
	run.patience *= 1000000;
	run.port = atoi(argv[optind]);
	rate = atof(argv[optind + 2]);
	seconds = atof(argv[optind + 3]);
	run.request_len = (size_t)snprintf(run.request, sizeof run.request,
	    "GET %s HTTP/1.1\r\nHost: shop.example.com\r\nAccept: "
	    "application/json\r\n\r\n",
	    argv[optind + 1]);
	if (rate <= 0 || seconds <= 0 || run.request_len >= sizeof run.request)
		return usage();
	TAILQ_INIT(&run.free);
	TAILQ_INIT(&run.busy);
	signal(SIGINT, on_interrupt);
	drive(&run, rate, seconds);
	printf("{\"sent\": %llu, \"ok\": %llu, \"client_error\": %llu, "
	       "\"server_error\": %llu, \"broken\": %llu, \"late\": %llu, "
	       "\"stalled\": %llu, \"p50_ms\": %.3f, \"p99_ms\": %.3f, "
	       "\"worst_ms\": %.3f, \"connections\": %u}\n",
	    (unsigned long long)run.sent, (unsigned long long)run.ok,
	    (unsigned long long)run.client_error,
	    (unsigned long long)run.server_error,
	    (unsigned long long)run.broken, (unsigned long long)run.late,
	    (unsigned long long)run.stalled, quantile_ms(&run, 0.5),
	    quantile_ms(&run, 0.99), (double)run.worst / 1e6, run.n_conns);
	conns_free(&run);
	return run.stalled == 0 ? 0 : 1;
}
