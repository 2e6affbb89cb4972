/*
 * Load of the dearest kind: each request comes on a connection of its own,
 * in clear or after a full TLS 1.3 handshake (no ticket is ever offered).
 * wrk can close connections too, but resumes nothing and checks nothing; here
 * it is certain that each handshake was full, TLS 1.3, with the same group and
 * cipher for every proxy, and that each answer was a whole 200.
 *
 *   newconn [-t] [-c CONNECTIONS] [-s SECONDS] PORT PATH
 *
 * Prints one JSON object. Latency is from connect() to the end of the answer.
 * The server closes (Connection: close), so that no port of ours waits.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNS_MAX = 1024, SAMPLES_MAX = 4 << 20, EVENTS = 256 };

enum phase { CONNECTING, SHAKING, WRITING, READING };

struct conn {
	int fd;
	SSL *ssl; /* owned; NULL in clear */
	enum phase phase;
	uint64_t begun;
	size_t n_in; /* bytes of the answer */
	char in[64]; /* its beginning, for the status */
};

struct load {
	int epoll, port;
	SSL_CTX *tls; /* NULL in clear */
	char request[1024];
	size_t n_request;
	uint64_t until;
	uint64_t requests, errors, resumed;
	uint32_t *latency; /* microseconds */
	struct conn conns[CONNS_MAX];
};

static uint64_t
now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void
conn_open(struct load *l, struct conn *c)
{
	int one = 1;
	struct sockaddr_in sa = {.sin_family = AF_INET,
	    .sin_port = htons((uint16_t)l->port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct epoll_event ev = {
	    .events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	c->phase = CONNECTING;
	c->n_in = 0;
	c->begun = now_ns();
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (connect(c->fd, (struct sockaddr *)&sa, sizeof sa) < 0 &&
	    errno != EINPROGRESS) {
		fprintf(stderr, "newconn: connect: %s\n", strerror(errno));
		exit(1);
	}
	if (l->tls != NULL) {
		c->ssl = SSL_new(l->tls);
		SSL_set_fd(c->ssl, c->fd);
		SSL_set_tlsext_host_name(c->ssl, "shop.example.com");
		SSL_set_connect_state(c->ssl);
	}
	epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev);
}

static void
conn_end(struct load *l, struct conn *c, bool ok)
{
	uint64_t now = now_ns();

	ok = ok && c->n_in > 12 && memcmp(c->in, "HTTP/1.1 200", 12) == 0;
	if (c->ssl != NULL) {
		ok = ok && SSL_version(c->ssl) == TLS1_3_VERSION;
		l->resumed += (uint64_t)SSL_session_reused(c->ssl);
		if (ok)
			SSL_shutdown(c->ssl);
		SSL_free(c->ssl);
		c->ssl = NULL;
		ERR_clear_error();
	}
	close(c->fd);
	c->fd = -1;
	if (ok && l->requests < SAMPLES_MAX)
		l->latency[l->requests] = (uint32_t)((now - c->begun) / 1000);
	l->requests += ok;
	l->errors += !ok;
	if (now < l->until)
		conn_open(l, c);
}

/* Bytes; 0 at the end; -1 to wait; -2 when it broke. */
static int
conn_io(struct conn *c, void *bytes, size_t n, bool writing)
{
	int got, why;

	if (c->ssl == NULL) {
		got = (int)(writing ? send(c->fd, bytes, n, MSG_NOSIGNAL)
		                    : recv(c->fd, bytes, n, 0));
		if (got >= 0)
			return got;
		return errno == EAGAIN ? -1 : -2;
	}
	got = writing ? SSL_write(c->ssl, bytes, (int)n)
	              : SSL_read(c->ssl, bytes, (int)n);
	if (got > 0)
		return got;
	why = SSL_get_error(c->ssl, got);
	if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE)
		return -1;
	return why == SSL_ERROR_ZERO_RETURN ? 0 : -2;
}

/* True when the next phase may be tried at once. */
static bool
conn_shake(struct load *l, struct conn *c)
{
	int done = c->ssl == NULL ? 1 : SSL_do_handshake(c->ssl), why;

	if (done == 1) {
		c->phase = WRITING;
		return true;
	}
	why = SSL_get_error(c->ssl, done);
	if (why != SSL_ERROR_WANT_READ && why != SSL_ERROR_WANT_WRITE)
		conn_end(l, c, false);
	return false;
}

static void
conn_read(struct load *l, struct conn *c)
{
	char sink[64 << 10];
	int n;

	while ((n = conn_io(c, sink, sizeof sink, false)) > 0) {
		for (int i = 0; i < n && c->n_in + (size_t)i < sizeof c->in;
		     i++)
			c->in[c->n_in + (size_t)i] = sink[i];
		c->n_in += (size_t)n;
	}
	if (n != -1)
		conn_end(l, c, n == 0);
}

static void
conn_turn(struct load *l, struct conn *c, uint32_t events)
{
	int n;

	if (c->phase == CONNECTING) {
		if (!(events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
			return;
		c->phase = SHAKING;
	}
	if (c->phase == SHAKING && !conn_shake(l, c))
		return;
	if (c->phase == WRITING) {
		n = conn_io(c, l->request, l->n_request, true);
		if (n == -1)
			return;
		if (n != (int)l->n_request) {
			conn_end(l, c, false);
			return;
		}
		c->phase = READING;
	}
	/* In clear the answer cannot be there yet right after the request. */
	if (c->ssl != NULL || (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		conn_read(l, c);
}

static SSL_CTX *
tls_make(void)
{
	SSL_CTX *tls = SSL_CTX_new(TLS_client_method());

	if (tls == NULL ||
	    !SSL_CTX_set_min_proto_version(tls, TLS1_3_VERSION) ||
	    !SSL_CTX_set_ciphersuites(tls, "TLS_AES_128_GCM_SHA256") ||
	    !SSL_CTX_set1_groups_list(tls, "X25519")) {
		fprintf(stderr, "newconn: OpenSSL cannot do TLS 1.3\n");
		exit(1);
	}
	SSL_CTX_set_session_cache_mode(tls, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_verify(tls, SSL_VERIFY_NONE, NULL);
	return tls;
}

static void
request_make(struct load *l, const char *path)
{
	l->n_request = (size_t)snprintf(l->request, sizeof l->request,
	    "GET %s HTTP/1.1\r\n"
	    "Host: shop.example.com\r\n"
	    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) "
	    "Gecko/20100101 Firefox/128.0\r\n"
	    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,"
	    "*/*;q=0.8\r\n"
	    "Accept-Language: en-GB,en;q=0.5\r\n"
	    "Accept-Encoding: gzip, deflate, br\r\n"
	    "Connection: close\r\n"
	    "\r\n",
	    path);
}

static int
by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static void
load_report(struct load *l, double seconds)
{
	uint64_t n = l->requests < SAMPLES_MAX ? l->requests : SAMPLES_MAX;

	qsort(l->latency, n, sizeof *l->latency, by_size);
	printf("{\"requests\": %llu, \"errors\": %llu, \"resumed\": %llu, "
	       "\"seconds\": %.3f, \"rps\": %.1f, \"p50_us\": %u, "
	       "\"p99_us\": %u}\n",
	    (unsigned long long)l->requests, (unsigned long long)l->errors,
	    (unsigned long long)l->resumed, seconds,
	    (double)l->requests / seconds, n ? l->latency[n / 2] : 0,
	    n ? l->latency[n * 99 / 100] : 0);
}

static void
load_run(struct load *l)
{
	struct epoll_event events[EVENTS];

	while (now_ns() < l->until) {
		int n = epoll_wait(l->epoll, events, EVENTS, 100);

		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;

			if (c->fd >= 0)
				conn_turn(l, c, events[i].events);
		}
	}
}

int
main(int argc, char **argv)
{
	static struct load l;
	double seconds = 2;
	int opt, conns = 64;
	uint64_t begun;

	while ((opt = getopt(argc, argv, "tc:s:")) != -1) {
		if (opt == 't')
			l.tls = tls_make();
		else if (opt == 'c')
			conns = atoi(optarg);
		else if (opt == 's')
			seconds = atof(optarg);
		else
			return 2;
	}
	if (argc - optind != 2 || conns < 1 || conns > CONNS_MAX) {
		fprintf(stderr, "usage: newconn [-t] [-c CONNECTIONS] "
		                "[-s SECONDS] PORT PATH\n");
		return 2;
	}
	l.port = atoi(argv[optind]);
	request_make(&l, argv[optind + 1]);
	l.latency = malloc(SAMPLES_MAX * sizeof *l.latency);
	l.epoll = epoll_create1(0);
	begun = now_ns();
	l.until = begun + (uint64_t)(seconds * 1e9);
	for (int i = 0; i < conns; i++)
		conn_open(&l, &l.conns[i]);
	load_run(&l);
	load_report(&l, (double)(now_ns() - begun) / 1e9);
	return l.requests > 0 && l.errors == 0 && l.resumed == 0 ? 0 : 1;
}
