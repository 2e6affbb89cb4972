/*
 * One check, see probe_run.h. A socket without blocking and a small state
 * machine; what it says ends up before people, so that every way to fail has
 * its words.
 *
 *   CONNECT -> HANDSHAKE -> ASK -> ANSWER -> done
 *
 * The answer is read only as far as it matters: to the end of its first final
 * status line, or, when a text is looked for, to its end or PROBE_KEPT_MAX
 * bytes.
 */
#include "proxy/probe_run.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/probe_h1.h"
#include "proxy/probe_h2.h"
#include "proxy/proxy_header.h"
#include "proxy/worker.h"

enum { CIPHER = 17 << 10 };

struct probe_run {
	struct event_base *base; /* borrowed */
	struct probe_ask ask;
	probe_done_fn *done;
	void *ctx;
	enum { RUN_CONNECT, RUN_HANDSHAKE, RUN_ASK, RUN_ANSWER } state;
	struct event *event;       /* owned: of the descriptor */
	struct event *timer;       /* owned: the timeout, or the news */
	struct tls_stream *stream; /* owned; NULL in clear */
	struct probe_h2 *h2;       /* owned; NULL for HTTP/1 */
	struct tls_window window;
	uint8_t *cipher; /* owned: what came, what goes */
	char *request;   /* owned */
	size_t to_send, sent;
	char *answer; /* owned: PROBE_KEPT_MAX + 1 */
	size_t n;
	int fd;
	nsec_t began;
	bool is_good; /* when it is over: */
	char text[PROBE_TEXT_MAX];
};

static void on_ready(int fd, short what, void *arg);

/* ---- the end ---- */

static void
tell(struct probe_run *run)
{
	probe_done_fn *done = run->done;
	void *ctx = run->ctx;
	bool is_good = run->is_good;
	char text[PROBE_TEXT_MAX];

	memcpy(text, run->text, sizeof(text));
	probe_run_free(&run);
	done(ctx, is_good, text);
}

static void
end(struct probe_run *run, bool is_good, const char *text)
{
	run->is_good = is_good;
	snprintf(run->text, sizeof(run->text), "%s", text);
	tell(run);
}

static const char *
words_of(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return "connect refused";
	case ECONNRESET:
	case EPIPE:
		return "connection reset";
	case EHOSTUNREACH:
		return "host unreachable";
	case ENETUNREACH:
		return "network unreachable";
	case ETIMEDOUT:
		return "connect timed out";
	case EAGAIN: /* a unix socket's backlog */
		return "connect queue is full";
	case ENOENT:
		return "no such socket";
	case EACCES:
		return "permission denied";
	case EMFILE:
	case ENFILE:
		return "weir is out of descriptors";
	default:
		return strerror(error);
	}
}

static void
end_took(struct probe_run *run, const char *what)
{
	char text[PROBE_TEXT_MAX];

	snprintf(text, sizeof(text), "%s in %.0fms", what,
	    (double)(clock_now() - run->began) / NSEC_PER_MSEC);
	end(run, true, text);
}

static void
end_tls(struct probe_run *run)
{
	char text[PROBE_TEXT_MAX];

	snprintf(
	    text, sizeof(text), "TLS: %s", tls_stream_failure(run->stream));
	end(run, false, text);
}

/* The timeout; or an end that was known before the run could return. */
static void
on_timer(int fd, short what, void *arg)
{
	static const char *const places[] = {
	    [RUN_CONNECT] = " to connect",
	    [RUN_HANDSHAKE] = " in the TLS handshake",
	    [RUN_ASK] = " to send",
	    [RUN_ANSWER] = "",
	};
	struct probe_run *run = arg;
	char after[64], text[PROBE_TEXT_MAX];

	(void)fd;
	(void)what;
	if (run->text[0]) {
		tell(run);
		return;
	}
	units_print_duration(run->ask.cfg->timeout, after, sizeof(after));
	snprintf(text, sizeof(text), "timeout after %s%s", after,
	    places[run->state]);
	end(run, false, text);
}

/* ---- the descriptor ---- */

/* False: out of memory. */
static bool
await(struct probe_run *run, short what)
{
	if (run->event)
		event_free(run->event);
	run->event = event_new(run->base, run->fd, what, on_ready, run);
	return run->event && event_add(run->event, NULL) == 0;
}

static void
wait_or_end(struct probe_run *run, short what)
{
	if (!await(run, what))
		end(run, false, "weir is out of memory");
}

/* 1: all has left, 0: wait, -1: broken (errno). */
static int
send_some(struct probe_run *run, const void *bytes, size_t len, size_t *sent)
{
	while (*sent < len) {
		ssize_t n = send(run->fd, (const char *)bytes + *sent,
		    len - *sent, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		*sent += (size_t)n;
	}
	return 1;
}

/* Ciphertext that waits in the window. */
static int
flush_cipher(struct probe_run *run)
{
	size_t sent = 0;
	int result =
	    send_some(run, run->window.out, run->window.out_len, &sent);

	memmove(run->window.out, run->window.out + sent,
	    run->window.out_len - sent);
	run->window.out_len -= sent;
	return result;
}

/* 1: there is some, 0: wait, -1: the end or broken (errno 0 or not). */
static int
fill_cipher(struct probe_run *run)
{
	ssize_t n = recv(run->fd, run->cipher, CIPHER, 0);

	if (n > 0) {
		run->window.in = run->cipher;
		run->window.in_len = (size_t)n;
		return 1;
	}
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n == 0)
		errno = 0;
	return -1;
}

/* ---- the steps ---- */

static bool
judged(struct probe_run *run, enum probe_verdict verdict, const char *text)
{
	if (verdict == PROBE_GOOD)
		end_took(run, text);
	else if (verdict == PROBE_BAD)
		end(run, false, text);
	return verdict != PROBE_MORE;
}

/*
 * `n` more bytes stand behind the answer, or none will come. True when the run
 * is over. Frames are taken out of the answer and leave their text in place.
 */
static bool
received(struct probe_run *run, size_t n, bool is_all)
{
	char *bytes = run->answer + run->n, text[PROBE_TEXT_MAX];
	bool is_over = false;
	enum probe_verdict verdict;

	if (run->h2) {
		if (!probe_h2_receive(run->h2, bytes, n)) {
			end(run, false, "the answer is not HTTP/2");
			return true;
		}
		if (run->ask.cfg->grpc)
			return judged(run,
			    probe_h2_judge_grpc(run->h2, is_all, text), text);
		n = probe_h2_text(
		    run->h2, bytes, PROBE_KEPT_MAX - run->n, &is_over);
	}
	run->n += n;
	is_over |=
	    is_all || probe_h1_is_enough(run->ask.cfg, run->answer, run->n);
	verdict =
	    probe_h1_judge(run->ask.cfg, run->answer, &run->n, is_over, text);
	return judged(run, verdict, text);
}

static void
read_clear(struct probe_run *run)
{
	for (;;) {
		ssize_t n = recv(
		    run->fd, run->answer + run->n, PROBE_KEPT_MAX - run->n, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			wait_or_end(run, EV_READ);
			return;
		}
		if (n < 0 && run->n == 0) {
			end(run, false, words_of(errno));
			return;
		}
		if (received(run, n > 0 ? (size_t)n : 0, n <= 0))
			return;
	}
}

static void
read_secret(struct probe_run *run)
{
	for (;;) {
		size_t n = 0;
		enum tls_result result = tls_read(run->stream,
		    run->answer + run->n, PROBE_KEPT_MAX - run->n, &n);
		int more;

		if (result == TLS_DONE) {
			if (received(run, n, false))
				return;
			continue;
		}
		if (result == TLS_FAILED && run->n == 0) {
			end_tls(run);
			return;
		}
		if (result == TLS_CLOSED || result == TLS_FAILED) {
			received(run, 0, true);
			return;
		}
		if (flush_cipher(run) < 0 || (more = fill_cipher(run)) < 0) {
			received(run, 0, true);
			return;
		}
		if (more == 0) {
			wait_or_end(run, EV_READ);
			return;
		}
	}
}

static void
ask_clear(struct probe_run *run)
{
	int result = send_some(run, run->request, run->to_send, &run->sent);

	if (result < 0) {
		end(run, false, words_of(errno));
	} else if (result == 0) {
		wait_or_end(run, EV_WRITE);
	} else {
		run->state = RUN_ANSWER;
		read_clear(run);
	}
}

static void
ask_secret(struct probe_run *run)
{
	while (run->sent < run->to_send || run->window.out_len > 0) {
		size_t n = 0;
		int result;

		if (run->sent < run->to_send) {
			enum tls_result tls =
			    tls_write(run->stream, run->request + run->sent,
			        run->to_send - run->sent, &n);

			run->sent += n;
			if (tls != TLS_DONE && tls != TLS_WANT_WRITE) {
				end_tls(run);
				return;
			}
		}
		result = flush_cipher(run);
		if (result < 0) {
			end(run, false, words_of(errno));
			return;
		}
		if (result == 0) {
			wait_or_end(run, EV_WRITE);
			return;
		}
	}
	run->state = RUN_ANSWER;
	read_secret(run);
}

/* What the endpoint is called unless a header says otherwise. */
static void
print_host(const struct address *address, char *out, size_t cap)
{
	if (address->kind == ADDRESS_UNIX)
		snprintf(out, cap, "localhost");
	else if (address->kind == ADDRESS_NAME)
		snprintf(out, cap, "%s:%u", address->host, address->port);
	else
		snprintf(out, cap, "%s", address->text);
}

/* All that is ever sent: the peer's settings need no word of ours before the
   answer, and its windows are wider than what is read of it. */
static bool
write_frames(struct probe_run *run, const char *host)
{
	struct span frames;
	size_t len = 0;
	FILE *out;

	run->h2 = probe_h2_new(run->ask.cfg, host, run->stream != NULL);
	out = run->h2 ? open_memstream(&run->request, &len) : NULL;
	if (out == NULL)
		return false;
	while ((frames = probe_h2_send(run->h2)).len > 0)
		fwrite(frames.ptr, 1, frames.len, out);
	if (fclose(out) != 0)
		return false;
	run->to_send = len;
	return true;
}

static bool
write_request(struct probe_run *run)
{
	char host[300];

	print_host(run->ask.address, host, sizeof(host));
	if (run->ask.is_h2)
		return write_frames(run, host);
	run->request = probe_h1_request(run->ask.cfg, host, &run->to_send);
	return run->request != NULL;
}

/* Over TLS it speaks what was agreed. */
static bool
speaks_h2(const struct probe_run *run)
{
	struct tls_facts facts;

	if (run->stream == NULL)
		return run->ask.is_h2;
	tls_stream_facts(run->stream, &facts);
	return span_eq(facts.alpn, SPAN("h2"));
}

static void
begin_asking(struct probe_run *run)
{
	if (run->ask.cfg->path == NULL) {
		end_took(run, "connected");
		return;
	}
	if (run->ask.is_h2 && !speaks_h2(run)) {
		end(run, false, "TLS: HTTP/2 was not agreed");
		return;
	}
	if (!write_request(run)) {
		end(run, false, "weir is out of memory");
		return;
	}
	run->state = RUN_ASK;
	if (run->stream)
		ask_secret(run);
	else
		ask_clear(run);
}

static void
shake_hands(struct probe_run *run)
{
	for (;;) {
		enum tls_result result = tls_handshake(run->stream);
		int sent = flush_cipher(run), more;

		if (result == TLS_FAILED || result == TLS_CLOSED) {
			end_tls(run);
			return;
		}
		if (sent < 0) {
			end(run, false, words_of(errno));
			return;
		}
		if (sent == 0) {
			wait_or_end(run, EV_WRITE);
			return;
		}
		if (result == TLS_DONE) {
			begin_asking(run);
			return;
		}
		if (result == TLS_WANT_WRITE)
			continue;
		more = fill_cipher(run);
		if (more < 0) {
			end(run, false,
			    errno ? words_of(errno)
			          : "closed in the TLS handshake");
			return;
		}
		if (more == 0) {
			wait_or_end(run, EV_READ);
			return;
		}
	}
}

/* A new connection takes so few bytes at once, or it is broken. */
static bool
say_who_asks(struct probe_run *run)
{
	char header[PROXY_HEADER_OWN];
	size_t len;

	if (run->ask.send_proxy == 0)
		return true;
	len = proxy_header_write(run->ask.send_proxy, NULL, NULL, true, header);
	return send(run->fd, header, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void
connected(struct probe_run *run)
{
	int on = 1;

	if (run->ask.address->kind != ADDRESS_UNIX)
		setsockopt(run->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!say_who_asks(run)) {
		end(run, false, words_of(errno));
		return;
	}
	if (run->ask.tls == NULL) {
		begin_asking(run);
		return;
	}
	run->state = RUN_HANDSHAKE;
	run->window =
	    (struct tls_window){.out = run->cipher + CIPHER, .out_cap = CIPHER};
	run->stream = tls_stream_connect(run->ask.tls, run->ask.worker,
	    run->ask.address->host, &run->window);
	if (run->stream)
		shake_hands(run);
	else
		end(run, false, "weir is out of memory");
}

static void
on_ready(int fd, short what, void *arg)
{
	struct probe_run *run = arg;
	int error = 0;
	socklen_t len = sizeof(error);

	(void)what;
	switch (run->state) {
	case RUN_CONNECT:
		if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
			error = errno;
		if (error != 0)
			end(run, false, words_of(error));
		else
			connected(run);
		break;
	case RUN_HANDSHAKE:
		shake_hands(run);
		break;
	case RUN_ASK:
		if (run->stream)
			ask_secret(run);
		else
			ask_clear(run);
		break;
	case RUN_ANSWER:
		if (run->stream)
			read_secret(run);
		else
			read_clear(run);
		break;
	}
}

/* ---- life ---- */

static struct sockaddr_storage
address_with_port(const struct probe_run *run)
{
	struct sockaddr_storage sa = run->ask.address->sa;
	uint16_t port = htons(run->ask.cfg->port);

	if (port != 0 && sa.ss_family == AF_INET)
		((struct sockaddr_in *)&sa)->sin_port = port;
	else if (port != 0 && sa.ss_family == AF_INET6)
		((struct sockaddr_in6 *)&sa)->sin6_port = port;
	return sa;
}

/* What is known at once is told by the timer, in a later turn. */
static void
fail_later(struct probe_run *run, const char *text)
{
	struct timeval now = {0, 0};

	snprintf(run->text, sizeof(run->text), "%s", text);
	evtimer_add(run->timer, &now);
}

static void
dial(struct probe_run *run)
{
	struct sockaddr_storage sa = address_with_port(run);

	run->fd =
	    socket(sa.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (run->fd < 0) {
		fail_later(run, words_of(errno));
		return;
	}
	if (connect(run->fd, (struct sockaddr *)&sa,
	        run->ask.address->sa_len) != 0 &&
	    errno != EINPROGRESS) {
		fail_later(run, words_of(errno));
		return;
	}
	if (!await(run, EV_WRITE))
		fail_later(run, "weir is out of memory");
}

void
probe_run_free(struct probe_run **run_in)
{
	struct probe_run *run = *run_in;

	*run_in = NULL;
	if (run == NULL)
		return;
	if (run->event)
		event_free(run->event);
	if (run->timer)
		event_free(run->timer);
	if (run->stream)
		tls_stream_free(&run->stream);
	probe_h2_free(&run->h2);
	if (run->fd >= 0)
		close(run->fd);
	free(run->cipher);
	free(run->request);
	free(run->answer);
	free(run);
}

struct probe_run *
probe_run_new(struct event_base *base, const struct probe_ask *ask,
    probe_done_fn *done, void *ctx)
{
	struct probe_run *run = calloc(1, sizeof(*run));
	nsec_t timeout = ask->cfg->timeout;
	struct timeval limit = {
	    timeout / NSEC_PER_SEC, timeout % NSEC_PER_SEC / NSEC_PER_USEC};
	bool is_fine;

	if (run == NULL)
		return NULL;
	run->base = base;
	run->ask = *ask;
	run->done = done;
	run->ctx = ctx;
	run->fd = -1;
	run->began = clock_now();
	run->timer = evtimer_new(base, on_timer, run);
	is_fine = run->timer && evtimer_add(run->timer, &limit) == 0;
	if (is_fine && ask->tls)
		is_fine = (run->cipher = malloc(2 * CIPHER)) != NULL;
	if (is_fine && ask->cfg->path)
		is_fine = (run->answer = malloc(PROBE_KEPT_MAX + 1)) != NULL;
	if (is_fine)
		dial(run);
	else
		probe_run_free(&run);
	return run;
}
