/*
 * fetch: connect, send one request, read one reply, on a non-blocking socket
 * with one deadline for all of it. A kept connection that turns out dead
 * before the first byte of the reply is replaced once.
 */
#include "proxy/fetch.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { CIPHER_BYTES = 20 << 10, READ_BYTES = 16 << 10 };

struct fetch {
	const struct address *to;  /* borrowed */
	struct tls_client *tls;    /* borrowed; NULL: clear */
	struct tls_stream *stream; /* owned; NULL when clear or closed */
	struct tls_window window;
	unsigned worker;
	nsec_t timeout, deadline;
	int fd;      /* -1: closed */
	char *bytes; /* owned: the reply */
	size_t n, cap;
	uint8_t cipher_in[CIPHER_BYTES], cipher_out[CIPHER_BYTES];
};

static nsec_t
now_monotonic(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

struct fetch *
fetch_new(const struct address *to, struct tls_client *tls, unsigned worker,
    nsec_t timeout)
{
	struct fetch *f = calloc(1, sizeof(*f));

	if (!f)
		return NULL;
	f->to = to;
	f->tls = tls;
	f->worker = worker;
	f->timeout = timeout;
	f->fd = -1;
	return f;
}

static void
hang_up(struct fetch *f)
{
	if (f->stream)
		tls_stream_free(&f->stream);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

void
fetch_free(struct fetch **fetch)
{
	if (!*fetch)
		return;
	hang_up(*fetch);
	free((*fetch)->bytes);
	free(*fetch);
	*fetch = NULL;
}

/* ---- bytes ---- */

static bool
wait_for(struct fetch *f, short events, struct err *err)
{
	nsec_t left = f->deadline - now_monotonic();
	struct pollfd p = {.fd = f->fd, .events = events};

	if (left > 0 && poll(&p, 1, (int)(left / NSEC_PER_MSEC) + 1) > 0)
		return true;
	return err_set(err, "no answer from %s in time", f->to->text);
}

static bool
send_raw(struct fetch *f, const void *bytes, size_t len, struct err *err)
{
	const char *at = bytes;

	while (len > 0) {
		ssize_t n = send(f->fd, at, len, MSG_NOSIGNAL);

		if (n >= 0) {
			at += n;
			len -= (size_t)n;
		} else if (errno == EAGAIN) {
			if (!wait_for(f, POLLOUT, err))
				return false;
		} else if (errno != EINTR) {
			return err_set(
			    err, "%s: %s", f->to->text, strerror(errno));
		}
	}
	return true;
}

/* At least one byte unless the peer has closed (0). -1: see err. */
static ssize_t
recv_raw(struct fetch *f, void *buf, size_t cap, struct err *err)
{
	for (;;) {
		ssize_t n = recv(f->fd, buf, cap, 0);

		if (n >= 0)
			return n;
		if (errno == EAGAIN) {
			if (!wait_for(f, POLLIN, err))
				return -1;
		} else if (errno != EINTR) {
			err_set(err, "%s: %s", f->to->text, strerror(errno));
			return -1;
		}
	}
}

static bool
flush_cipher(struct fetch *f, struct err *err)
{
	size_t len = f->window.out_len;

	f->window.out_len = 0;
	return send_raw(f, f->cipher_out, len, err);
}

/* After TLS_WANT_READ. False at the end or on failure. */
static bool
fill_cipher(struct fetch *f, struct err *err)
{
	ssize_t n;

	if (!flush_cipher(f, err))
		return false;
	n = recv_raw(f, f->cipher_in, sizeof(f->cipher_in), err);
	if (n == 0)
		err_set(err, "%s closed the connection", f->to->text);
	if (n <= 0)
		return false;
	f->window.in = f->cipher_in;
	f->window.in_len = (size_t)n;
	return true;
}

static bool
shake_hands(struct fetch *f, struct err *err)
{
	f->window = (struct tls_window){
	    .out = f->cipher_out, .out_cap = sizeof(f->cipher_out)};
	f->stream =
	    tls_stream_connect(f->tls, f->worker, f->to->host, &f->window);
	if (!f->stream)
		return err_set(err, "out of memory");
	for (;;) {
		enum tls_result result = tls_handshake(f->stream);

		if (result == TLS_DONE)
			return flush_cipher(f, err);
		if (result == TLS_WANT_WRITE && flush_cipher(f, err))
			continue;
		if (result == TLS_WANT_READ && fill_cipher(f, err))
			continue;
		if (result == TLS_CLOSED || result == TLS_FAILED)
			err_set(err, "%s: TLS handshake failed: %s",
			    f->to->text, tls_stream_failure(f->stream));
		return false;
	}
}

static bool
send_all(struct fetch *f, const char *bytes, size_t len, struct err *err)
{
	if (!f->stream)
		return send_raw(f, bytes, len, err);
	while (len > 0) {
		size_t n = 0;
		enum tls_result result = tls_write(f->stream, bytes, len, &n);

		bytes += n;
		len -= n;
		if (result != TLS_DONE && result != TLS_WANT_WRITE)
			return err_set(err, "%s: TLS: %s", f->to->text,
			    tls_stream_failure(f->stream));
		if (!flush_cipher(f, err))
			return false;
	}
	return true;
}

static ssize_t
recv_some(struct fetch *f, char *buf, size_t cap, struct err *err)
{
	if (!f->stream)
		return recv_raw(f, buf, cap, err);
	for (;;) {
		size_t n = 0;
		enum tls_result result = tls_read(f->stream, buf, cap, &n);

		if (result == TLS_DONE)
			return (ssize_t)n;
		if (result == TLS_CLOSED)
			return 0;
		if (result == TLS_WANT_WRITE && flush_cipher(f, err))
			continue;
		if (result == TLS_WANT_READ && fill_cipher(f, err))
			continue;
		if (result == TLS_FAILED)
			err_set(err, "%s: TLS: %s", f->to->text,
			    tls_stream_failure(f->stream));
		return -1;
	}
}

/* ---- connect ---- */

static bool
open_socket(
    struct fetch *f, const struct sockaddr *sa, socklen_t len, struct err *err)
{
	int broken = 0;
	socklen_t size = sizeof(broken);

	f->fd = socket(
	    sa->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (f->fd < 0)
		return err_set(err, "socket: %s", strerror(errno));
	if (connect(f->fd, sa, len) != 0) {
		broken = errno;
		if (broken == EINPROGRESS && wait_for(f, POLLOUT, err))
			getsockopt(f->fd, SOL_SOCKET, SO_ERROR, &broken, &size);
		else if (broken == EINPROGRESS)
			broken = ETIMEDOUT;
	}
	if (broken == 0)
		return true;
	err_set(err, "cannot connect to %s: %s", f->to->text, strerror(broken));
	hang_up(f);
	return false;
}

static bool
open_by_name(struct fetch *f, struct err *err)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
	struct addrinfo *found;
	char port[8];
	bool is_open = false;
	int failure;

	snprintf(port, sizeof(port), "%u", f->to->port);
	failure = getaddrinfo(f->to->host, port, &hints, &found);
	if (failure != 0)
		return err_set(
		    err, "%s: %s", f->to->host, gai_strerror(failure));
	for (struct addrinfo *a = found; a && !is_open; a = a->ai_next)
		is_open = open_socket(f, a->ai_addr, a->ai_addrlen, err);
	freeaddrinfo(found);
	return is_open;
}

static bool
dial(struct fetch *f, struct err *err)
{
	bool is_open = f->to->kind == ADDRESS_NAME
	                   ? open_by_name(f, err)
	                   : open_socket(f, (const struct sockaddr *)&f->to->sa,
	                         f->to->sa_len, err);

	return is_open && (!f->tls || shake_hands(f, err));
}

/* ---- the reply ---- */

/* Reads more of it. 0: the peer has closed; -1: see err. */
static ssize_t
pull(struct fetch *f, struct err *err)
{
	ssize_t n;

	if (f->cap - f->n < READ_BYTES) {
		size_t cap = f->cap ? 2 * f->cap : 2 * READ_BYTES;
		char *grown =
		    cap <= FETCH_REPLY_MAX ? realloc(f->bytes, cap) : NULL;

		if (!grown) {
			err_set(
			    err, "the reply of %s is too large", f->to->text);
			return -1;
		}
		f->bytes = grown;
		f->cap = cap;
	}
	n = recv_some(f, f->bytes + f->n, f->cap - f->n, err);
	if (n > 0)
		f->n += (size_t)n;
	return n;
}

static bool
pull_or_fail(struct fetch *f, struct err *err)
{
	ssize_t n = pull(f, err);

	if (n == 0)
		err_set(err, "%s closed the connection within its reply",
		    f->to->text);
	return n > 0;
}

/* Length of the head with its empty line, beginning at `from`; 0 while
 * incomplete. */
static size_t
head_length(const struct fetch *f, size_t from)
{
	const char *end = f->n - from < 4 ? NULL
	                                  : memmem(f->bytes + from, f->n - from,
	                                        "\r\n\r\n", 4);

	return end ? (size_t)(end - f->bytes) - from + 4 : 0;
}

struct span
fetch_header(const struct fetch_reply *reply, const char *name)
{
	size_t len = strlen(name);
	const char *end = reply->head.ptr + reply->head.len;
	const char *line = memchr(reply->head.ptr, '\n', reply->head.len);

	for (; line && line + 1 < end;
	     line = memchr(line, '\n', (size_t)(end - line))) {
		line++;
		if ((size_t)(end - line) <= len || line[len] != ':' ||
		    strncasecmp(line, name, len) != 0)
			continue;
		line += len + 1;
		while (line < end && *line == ' ')
			line++;
		return (struct span){line, strcspn(line, "\r\n")};
	}
	return SPAN("");
}

bool
fetch_holds(struct span text, const char *words)
{
	return text.len > 0 &&
	       memmem(text.ptr, text.len, words, strlen(words)) != NULL;
}

/* Takes the chunks' frames out in place; the body ends up at `from`. */
static bool
pull_chunks(struct fetch *f, size_t from, size_t *len_out, struct err *err)
{
	size_t at = from, body = from;

	for (;;) {
		char *end;
		size_t size;

		while (!memmem(f->bytes + at, f->n - at, "\r\n", 2))
			if (!pull_or_fail(f, err))
				return false;
		size = strtoul(f->bytes + at, &end, 16);
		if (end == f->bytes + at || size > FETCH_REPLY_MAX)
			return err_set(
			    err, "%s sent a chunk without a size", f->to->text);
		at = (size_t)((char *)memmem(
		                  f->bytes + at, f->n - at, "\r\n", 2) -
		              f->bytes) +
		     2;
		while (f->n - at < size + 2)
			if (!pull_or_fail(f, err))
				return false;
		memmove(f->bytes + body, f->bytes + at, size);
		body += size;
		at += size + 2;
		if (size == 0)
			break;
	}
	*len_out = body - from;
	return true;
}

/* The body's length; false on failure. Trailers are not expected. */
static bool
pull_body(struct fetch *f, const struct fetch_ask *ask,
    const struct fetch_reply *reply, size_t head, size_t *len_out,
    struct err *err)
{
	struct span length = fetch_header(reply, "content-length");
	ssize_t n = 1;

	*len_out = 0;
	if (strcmp(ask->method, "HEAD") == 0 || reply->status == 204 ||
	    reply->status == 304)
		return true;
	if (fetch_holds(fetch_header(reply, "transfer-encoding"), "chunked"))
		return pull_chunks(f, head, len_out, err);
	if (length.len > 0) {
		*len_out = strtoul(length.ptr, NULL, 10);
		while (f->n - head < *len_out)
			if (!pull_or_fail(f, err))
				return false;
		return true;
	}
	while (n > 0)
		n = pull(f, err);
	*len_out = f->n - head;
	return n == 0;
}

static bool
read_status(struct fetch *f, size_t from, unsigned *status_out, struct err *err)
{
	const char *line = f->bytes + from;

	if (f->n - from < 13 || memcmp(line, "HTTP/1.", 7) != 0)
		return err_set(err, "%s does not speak HTTP/1.1", f->to->text);
	*status_out = (unsigned)strtoul(line + 9, NULL, 10);
	return true;
}

static bool
read_reply(struct fetch *f, const struct fetch_ask *ask,
    struct fetch_reply *out, struct err *err)
{
	size_t from = 0, head, len;

	do { /* once more for each 1xx */
		while ((head = head_length(f, from)) == 0)
			if (!pull_or_fail(f, err))
				return false;
		if (!read_status(f, from, &out->status, err))
			return false;
		from += head;
	} while (out->status / 100 == 1);
	out->head = (struct span){f->bytes + from - head, head};
	if (!pull_body(f, ask, out, from, &len, err))
		return false;
	out->head.ptr = f->bytes + from - head; /* pulling may have moved it */
	out->body = (struct span){f->bytes + from, len};
	return true;
}

/* ---- a call ---- */

static bool
send_ask(struct fetch *f, const struct fetch_ask *ask, struct err *err)
{
	char *text = NULL;
	const char *host =
	    f->to->kind == ADDRESS_UNIX ? "localhost" : f->to->text;
	char length[48] = "";
	int n;
	bool is_sent;

	if (ask->body.len > 0 || strcmp(ask->method, "GET") != 0)
		snprintf(length, sizeof(length), "content-length: %zu\r\n",
		    ask->body.len);
	n = asprintf(&text, "%s %s HTTP/1.1\r\nhost: %s\r\n%s%s\r\n%.*s",
	    ask->method, ask->path, host, ask->headers, length,
	    (int)ask->body.len, ask->body.ptr ? ask->body.ptr : "");
	if (n < 0)
		return err_set(err, "out of memory");
	is_sent = send_all(f, text, (size_t)n, err);
	free(text);
	return is_sent;
}

static bool
attempt(struct fetch *f, const struct fetch_ask *ask, struct fetch_reply *out,
    struct err *err)
{
	if (f->fd < 0 && !dial(f, err))
		return false;
	return send_ask(f, ask, err) && read_reply(f, ask, out, err);
}

bool
fetch_call(struct fetch *f, const struct fetch_ask *ask,
    struct fetch_reply *out, struct err *err)
{
	bool was_kept = f->fd >= 0;
	struct tls_facts facts;
	bool ok;

	*out = (struct fetch_reply){0};
	f->n = 0;
	f->deadline = now_monotonic() + f->timeout;
	ok = attempt(f, ask, out, err);
	if (!ok && was_kept && f->n == 0 && now_monotonic() < f->deadline) {
		hang_up(f);
		ok = attempt(f, ask, out, err);
	}
	if (!ok) {
		hang_up(f);
		return false;
	}
	if (f->stream) {
		tls_stream_facts(f->stream, &facts);
		out->tls_version = facts.version;
	}
	if (fetch_holds(fetch_header(out, "connection"), "close") ||
	    memcmp(out->head.ptr, "HTTP/1.0", 8) == 0)
		hang_up(f); /* the bytes of the reply stay */
	return true;
}
