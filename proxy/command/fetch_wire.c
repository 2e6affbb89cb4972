/*
 * fetch's wire: a non-blocking socket, clear or with TLS, and one deadline for
 * everything that waits.
 */
#include "proxy/command/fetch_wire.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "proxy/clock.h"

void
fetch_hang_up(struct fetch *f)
{
	if (f->stream)
		tls_stream_free(&f->stream);
	if (f->fd >= 0)
		close(f->fd);
	f->fd = -1;
}

static bool
wait_for(struct fetch *f, short events, struct err *err)
{
	nsec_t left = f->deadline - clock_now();
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

bool
fetch_send(struct fetch *f, const char *bytes, size_t len, struct err *err)
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

ssize_t
fetch_receive(struct fetch *f, char *buf, size_t cap, struct err *err)
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
	f->refusal = broken;
	if (broken == 0)
		return true;
	err_set(err, "cannot connect to %s: %s", f->to->text, strerror(broken));
	fetch_hang_up(f);
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

bool
fetch_dial(struct fetch *f, struct err *err)
{
	bool is_open = f->to->kind == ADDRESS_NAME
	                   ? open_by_name(f, err)
	                   : open_socket(f, (const struct sockaddr *)&f->to->sa,
	                         f->to->sa_len, err);

	return is_open && (!f->tls || shake_hands(f, err));
}
