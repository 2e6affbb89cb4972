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
 *
 * Who is asked may send as fast as it can and never come to an end, and all
 * else on this thread waits meanwhile. So every byte is received in one place
 * (receive), which knows the bounds: of a turn of the loop, of the whole check,
 * and the clock.
 */
#include "proxy/control/probe_run.h"

#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy/control/probe_h1.h"
#include "proxy/control/probe_h2.h"
#include "proxy/proxy_header.h"
#include "proxy/worker.h"

enum {
	CIPHER = 17 << 10,
	TURN_READS = 8,                 /* then others have their turn */
	HEARD_MAX = 4 * PROBE_KEPT_MAX, /* with frames, records, certificates */
};

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
	struct probe_answer answer; /* owned */
	size_t heard;               /* bytes received in all */
	unsigned n_reads;           /* in this turn */
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

static void
end_late(struct probe_run *run)
{
	static const char *const places[] = {
	    [RUN_CONNECT] = " to connect",
	    [RUN_HANDSHAKE] = " in the TLS handshake",
	    [RUN_ASK] = " to send",
	    [RUN_ANSWER] = "",
	};
	char after[64], text[PROBE_TEXT_MAX];

	units_print_duration(run->ask.cfg->timeout, after, sizeof(after));
	snprintf(text, sizeof(text), "timeout after %s%s", after,
	    places[run->state]);
	end(run, false, text);
}

/* The timeout; or an end that was known before the run could return. */
static void
on_timer(int fd, short what, void *arg)
{
	struct probe_run *run = arg;

	(void)fd;
	(void)what;
	if (run->text[0])
		tell(run);
	else
		end_late(run);
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

enum heard {
	HEARD_SOME,
	HEARD_LATER, /* the event is set: nothing there, or not this turn */
	HEARD_LAST,  /* the end or broken (errno 0 or not) */
	HEARD_OVER,  /* the run has ended, and is gone */
};

/*
 * The one way in. What is not read now stands in the kernel, so the descriptor
 * stays readable; nothing may wait in the TLS window meanwhile.
 */
static enum heard
receive(struct probe_run *run, void *to, size_t cap, size_t *n_out)
{
	ssize_t n = -1;

	if (clock_now() - run->began > run->ask.cfg->timeout) {
		end_late(run);
		return HEARD_OVER;
	}
	errno = EAGAIN;
	if (run->n_reads++ < TURN_READS)
		n = recv(run->fd, to, cap, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		if (await(run, EV_READ))
			return HEARD_LATER;
		end(run, false, "weir is out of memory");
		return HEARD_OVER;
	}
	if (n <= 0) {
		errno = n == 0 ? 0 : errno;
		return HEARD_LAST;
	}
	run->heard += (size_t)n;
	if (run->heard > HEARD_MAX) {
		end(run, false, "an answer without end");
		return HEARD_OVER;
	}
	*n_out = (size_t)n;
	return HEARD_SOME;
}

static enum heard
fill_cipher(struct probe_run *run)
{
	enum heard heard =
	    receive(run, run->cipher, CIPHER, &run->window.in_len);

	if (heard == HEARD_SOME)
		run->window.in = run->cipher;
	return heard;
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
	struct probe_answer *answer = &run->answer;
	char *bytes = answer->bytes + answer->n, text[PROBE_TEXT_MAX];
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
		    run->h2, bytes, PROBE_KEPT_MAX - answer->n, &is_over);
		if (n == 0 && !is_over && !is_all)
			return false; /* frames that say nothing */
	}
	answer->n += n;
	is_over |= is_all ||
	           probe_h1_is_enough(run->ask.cfg, answer->bytes, answer->n);
	verdict = probe_h1_judge(run->ask.cfg, answer, is_over, text);
	return judged(run, verdict, text);
}

static void
read_clear(struct probe_run *run)
{
	for (;;) {
		size_t n = 0;
		enum heard heard =
		    receive(run, run->answer.bytes + run->answer.n,
		        PROBE_KEPT_MAX - run->answer.n, &n);

		if (heard == HEARD_LATER || heard == HEARD_OVER)
			return;
		if (heard == HEARD_LAST && errno != 0 && run->answer.n == 0) {
			end(run, false, words_of(errno));
			return;
		}
		if (received(run, n, heard == HEARD_LAST))
			return;
	}
}

/* True: there is more to read; else the run waits, or is over. */
static bool
refill(struct probe_run *run)
{
	enum heard heard =
	    flush_cipher(run) < 0 ? HEARD_LAST : fill_cipher(run);

	if (heard == HEARD_LAST)
		received(run, 0, true);
	return heard == HEARD_SOME;
}

/*
 * Turns end where the window is empty: its bytes wake nobody. All that it holds
 * is looked at together, since records may be as small as a byte.
 */
static void
read_secret(struct probe_run *run)
{
	for (size_t got = 0;;) {
		size_t at = run->answer.n + got, n = 0;
		enum tls_result result = tls_read(run->stream,
		    run->answer.bytes + at, PROBE_KEPT_MAX - at, &n);
		bool is_last = result == TLS_CLOSED || result == TLS_FAILED;

		got += n;
		at += n;
		if (result == TLS_DONE && at < PROBE_KEPT_MAX)
			continue;
		if (result == TLS_FAILED && at == 0) {
			end_tls(run);
			return;
		}
		if ((got > 0 || is_last) && received(run, got, is_last))
			return;
		got = 0;
		if (result != TLS_DONE && !refill(run))
			return;
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

static bool
write_request(struct probe_run *run)
{
	char host[300];

	probe_h1_host(run->ask.address, host, sizeof(host));
	if (run->ask.is_h2) {
		run->h2 = probe_h2_new(run->ask.cfg, host, run->stream != NULL);
		run->request =
		    run->h2 ? probe_h2_request(run->h2, &run->to_send) : NULL;
		return run->request != NULL;
	}
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
		int sent = flush_cipher(run);
		enum heard heard;

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
		heard = fill_cipher(run);
		if (heard == HEARD_LAST)
			end(run, false,
			    errno ? words_of(errno)
			          : "closed in the TLS handshake");
		if (heard != HEARD_SOME)
			return;
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
	run->n_reads = 0;
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
	free(run->answer.bytes);
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
		is_fine =
		    (run->answer.bytes = malloc(PROBE_KEPT_MAX + 1)) != NULL;
	if (is_fine)
		dial(run);
	else
		probe_run_free(&run);
	return run;
}
