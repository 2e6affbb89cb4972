/*
 * One connection to the demo's upstream.
 *
 *   HEAD -> BODY | CHUNKS -> WAIT (latency) -> WRITE -> HEAD ...
 *
 * A guest reads only in the first three states, so that what it pipelines
 * waits in the kernel. Freeing a guest takes its events with it: a timer never
 * outlives its connection. Functions that may free their guest return false
 * when they did.
 */
#include "proxy/demo/guest.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/clock.h"

enum {
	GUEST_IN_MAX =
	    40 << 10, /* bytes of a request's head; weir sends at most 32 KiB */
	GUEST_IDLE_SEC = 300,
};

struct guest {
	LIST_ENTRY(guest) link;
	struct demo_upstream *upstream; /* borrowed: outlives its guests */
	enum {
		GUEST_HEAD,
		GUEST_BODY,
		GUEST_CHUNKS,
		GUEST_WAIT,
		GUEST_WRITE
	} state;
	int fd;
	struct event io, timer;
	bool wants_json, is_head, is_health, keeps;
	bool is_hung;       /* GUEST_WAIT, and no answer will come */
	bool is_about;      /* a question or a command about the mood */
	bool is_bad;        /* this request feels the mood */
	uint64_t body_left; /* GUEST_BODY; in GUEST_CHUNKS: of this chunk */
	enum { CHUNK_SIZE, CHUNK_DATA, CHUNK_TRAILER } chunk;
	char *out; /* owned: the answer; NULL unless GUEST_WRITE */
	size_t out_len, out_at;
	size_t n_in;
	char in[GUEST_IN_MAX];
};

void
guest_free(struct guest *g)
{
	event_del(&g->io);
	event_del(&g->timer);
	close(g->fd);
	LIST_REMOVE(g, link);
	g->upstream->n_guests--;
	free(g->out);
	free(g);
}

void
guest_reset(struct guest *g)
{
	setsockopt(g->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0},
	    sizeof(struct linger));
	guest_free(g);
}

static void
guest_wants(struct guest *g, short events)
{
	static const struct timeval idle = {.tv_sec = GUEST_IDLE_SEC};

	event_del(&g->io);
	event_assign(&g->io, g->upstream->base, g->fd, events | EV_PERSIST,
	    event_get_callback(&g->io), g);
	event_add(&g->io, &idle);
}

static void
guest_consume(struct guest *g, size_t n)
{
	g->n_in -= n;
	memmove(g->in, g->in + n, g->n_in);
}

/* ---- the answer ---- */

static char *
page_text(struct demo_upstream *up, const struct guest *g, bool fails,
    size_t *len_out)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len_out);

	if (!out)
		return NULL;
	up->answered++;
	if (g->wants_json)
		fprintf(out,
		    "{\"pool\": \"%s\", \"answer\": %llu, \"ok\": %s}\n",
		    up->name, (unsigned long long)up->answered,
		    fails ? "false" : "true");
	else
		fprintf(out,
		    "<!doctype html>\n<html lang=\"en\"><meta "
		    "charset=\"utf-8\"><title>shop %s</title>\n"
		    "<body style=\"font: 1.2rem sans-serif; margin: 3rem; "
		    "border-left: 2rem solid %s; padding-left: 2rem\">\n"
		    "<h1>%s</h1>\n<p>%s Answer number %llu of this "
		    "upstream.</p>\n",
		    up->name,
		    strcmp(up->name, "canary") == 0 ? "gold" : up->name,
		    up->name,
		    fails ? "This one failed, as it was asked to."
		          : "All is well.",
		    (unsigned long long)up->answered);
	fprintf(out, "%*s", (int)up->cfg.padding, "");
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* ---- moods ---- */

static double
ms_since_mood(const struct demo_upstream *up, nsec_t at)
{
	return at == 0 ? -1 : (double)(at - up->mood_at) / NSEC_PER_MSEC;
}

static char *
mood_text(const struct demo_upstream *up, size_t *len_out)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len_out);

	if (!out)
		return NULL;
	fprintf(out,
	    "{\"mood\": \"%s\", \"bad\": %llu, \"first_bad_ms\": %.3f, "
	    "\"last_request_ms\": %.3f, \"requests\": %llu}\n",
	    demo_mood_name(up->mood), (unsigned long long)up->bad,
	    ms_since_mood(up, up->first_bad),
	    ms_since_mood(up, up->last_request),
	    (unsigned long long)up->requests);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

/* "/mood/errors/30%": the command in a target. False: only a question. */
static bool
mood_command(struct span target, enum demo_mood *mood, bp_t *share)
{
	struct span word = {
	    target.ptr + 6, target.len > 6 ? target.len - 6 : 0};
	const char *slash = memchr(word.ptr, '/', word.len);

	*share = BP_ALL;
	if (slash) {
		struct span percent = {
		    slash + 1, word.len - (size_t)(slash + 1 - word.ptr)};

		word.len = (size_t)(slash - word.ptr);
		if (!units_percent(percent, share))
			return false;
	}
	return demo_mood_of(word, mood);
}

/* Who asks about the mood is no user. */
static void
mood_touch(struct guest *g)
{
	struct demo_upstream *up = g->upstream;
	nsec_t now = clock_now();

	up->requests++;
	up->last_request = now;
	g->is_bad =
	    up->mood != MOOD_WELL &&
	    (up->share >= BP_ALL || rng_below(&up->rng, BP_ALL) < up->share);
	if (!g->is_bad)
		return;
	if (up->bad++ == 0)
		up->first_bad = now;
}

static bool
guest_compose(struct guest *g)
{
	struct demo_upstream *up = g->upstream;
	bool fails = !g->is_health && up->cfg.fail > 0 &&
	             rng_below(&up->rng, BP_ALL) < up->cfg.fail;
	size_t len = 0;
	char *page;
	FILE *out = open_memstream(&g->out, &g->out_len);

	fails =
	    !g->is_about && (fails || (g->is_bad && up->mood == MOOD_ERRORS));
	page =
	    g->is_about ? mood_text(up, &len) : page_text(up, g, fails, &len);
	if (!page || !out) {
		free(page);
		if (out)
			fclose(out);
		return false;
	}
	fprintf(out,
	    "HTTP/1.1 %s\r\ncontent-type: %s; charset=utf-8\r\ncontent-length: "
	    "%zu\r\n"
	    "cache-control: no-store\r\n%s\r\n",
	    fails ? "500 Internal Server Error" : "200 OK",
	    g->wants_json || g->is_about ? "application/json" : "text/html",
	    len, g->keeps ? "" : "connection: close\r\n");
	if (!g->is_head)
		fwrite(page, 1, len, out);
	free(page);
	g->out_at = 0;
	return fclose(out) == 0;
}

/* False when the guest is gone. */
static bool
guest_write(struct guest *g)
{
	while (g->out_at < g->out_len) {
		ssize_t n = send(g->fd, g->out + g->out_at,
		    g->out_len - g->out_at, MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN) {
			guest_wants(g, EV_WRITE);
			return true;
		}
		if (n < 0 && errno != EINTR) {
			guest_free(g);
			return false;
		}
		if (n > 0)
			g->out_at += (size_t)n;
	}
	free(g->out);
	g->out = NULL;
	if (!g->keeps) {
		shutdown(g->fd, SHUT_WR);
		guest_free(g);
		return false;
	}
	g->state = GUEST_HEAD;
	guest_wants(g, EV_READ);
	return true;
}

static bool
guest_answer(struct guest *g)
{
	g->state = GUEST_WRITE;
	if (guest_compose(g))
		return guest_write(g);
	guest_free(g);
	return false;
}

static bool guest_advance(struct guest *g);

static void
on_timer(evutil_socket_t fd, short events, void *ctx)
{
	struct guest *g = ctx;

	(void)fd;
	(void)events;
	assert(g->state == GUEST_WAIT);
	if (g->is_hung)
		guest_free(g);
	else if (guest_answer(g) && g->state == GUEST_HEAD)
		guest_advance(g);
}

/* Log-normal around the median, by Box and Muller. */
static nsec_t
next_latency(struct demo_upstream *up)
{
	double u, v, normal;

	if (up->cfg.spread == 0)
		return up->cfg.latency;
	u = ((double)(rng_next(&up->rng) >> 11) + 1) / 9007199254740993.0;
	v = (double)(rng_next(&up->rng) >> 11) / 9007199254740992.0;
	normal = sqrt(-2 * log(u)) * cos(2 * M_PI * v);
	return (nsec_t)((double)up->cfg.latency *
	                exp(up->cfg.spread * fmin(normal, 4)));
}

/* The request is complete. */
static bool
guest_served(struct guest *g)
{
	struct demo_upstream *up = g->upstream;
	bool is_user = !g->is_health && !g->is_about;
	nsec_t wait = is_user && up->cfg.latency > 0 ? next_latency(up) : 0;
	struct timeval tv;

	g->is_bad = false;
	if (is_user)
		mood_touch(g);
	if (g->is_bad && up->mood == MOOD_LATENCY)
		wait += MOOD_DELAY_MS * NSEC_PER_MSEC;
	g->is_hung = g->is_bad && up->mood == MOOD_HANG;
	if (g->is_hung)
		wait = GUEST_IDLE_SEC * NSEC_PER_SEC;
	if (wait == 0)
		return guest_answer(g);
	tv = (struct timeval){.tv_sec = wait / NSEC_PER_SEC,
	    .tv_usec = wait % NSEC_PER_SEC / NSEC_PER_USEC};
	g->state = GUEST_WAIT;
	event_del(&g->io);
	event_add(&g->timer, &tv);
	return true;
}

/* ---- the request ---- */

static struct span
find_field(struct span head, const char *name)
{
	size_t len = strlen(name);
	const char *end = head.ptr + head.len;
	const char *line = memchr(head.ptr, '\n', head.len);

	for (; line && line + 1 < end;
	     line = memchr(line, '\n', (size_t)(end - line))) {
		line++;
		if ((size_t)(end - line) <= len || line[len] != ':' ||
		    strncasecmp(line, name, len) != 0)
			continue;
		line += len + 1 + strspn(line + len + 1, " \t");
		return (struct span){line, strcspn(line, "\r\n")};
	}
	return SPAN("");
}

/* Spans of a head end before a line break, so strtoull stops there. */
static uint64_t
number_of(struct span text, int base)
{
	return text.len > 0 ? strtoull(text.ptr, NULL, base) : 0;
}

static bool
field_holds(struct span head, const char *name, const char *word)
{
	struct span value = find_field(head, name);
	size_t len = strlen(word);

	for (; value.len >= len; value.ptr++, value.len--)
		if (strncasecmp(value.ptr, word, len) == 0)
			return true;
	return false;
}

static struct span
target_of(struct span head)
{
	const char *at = memchr(head.ptr, ' ', head.len);

	return at ? (struct span){at + 1, strcspn(at + 1, " \r")} : SPAN("");
}

/* False when the guest is gone. */
static bool
guest_head(struct guest *g)
{
	char *end = memmem(g->in, g->n_in, "\r\n\r\n", 4);
	struct span head = {g->in, end ? (size_t)(end - g->in) + 4 : 0};
	struct span target;
	const char *eol;
	enum demo_mood mood;
	bp_t share;

	if (!end && g->n_in < sizeof(g->in))
		return true;
	eol = end ? memmem(g->in, head.len, "\r\n", 2) : NULL;
	if (!eol || eol - g->in < 14 || memcmp(eol - 9, " HTTP/1.", 8) != 0) {
		guest_free(g);
		return false;
	}
	g->keeps = eol[-1] == '1' && !field_holds(head, "connection", "close");
	g->is_head = span_starts(head, SPAN("HEAD "));
	target = target_of(head);
	g->is_health = span_starts(target, SPAN("/healthz"));
	g->is_about = span_starts(target, SPAN("/mood"));
	g->wants_json = span_starts(target, SPAN("/api")) ||
	                field_holds(head, "accept", "application/json");
	g->body_left = number_of(find_field(head, "content-length"), 10);
	g->state = GUEST_BODY;
	if (field_holds(head, "transfer-encoding", "chunked")) {
		g->state = GUEST_CHUNKS;
		g->chunk = CHUNK_SIZE;
	}
	if (g->is_about && mood_command(target, &mood, &share)) {
		mood_set(g->upstream, mood, share);
		if (mood == MOOD_CRASH) /* and this guest with all others */
			return false;
	}
	guest_consume(g, head.len);
	return true;
}

/* Skips one line or run of a chunked body; true when it got on. */
static bool
guest_skip_chunk(struct guest *g, bool *is_over)
{
	char *eol;

	if (g->chunk == CHUNK_DATA) {
		size_t n = g->n_in < g->body_left ? g->n_in : g->body_left;

		guest_consume(g, n);
		g->body_left -= n;
		if (g->body_left == 0)
			g->chunk = CHUNK_SIZE;
		return n > 0;
	}
	eol = memmem(g->in, g->n_in, "\r\n", 2);
	if (!eol)
		return false;
	if (g->chunk == CHUNK_SIZE) {
		g->body_left = strtoull(g->in, NULL, 16);
		if (g->body_left > 0 && g->body_left < UINT32_MAX)
			g->body_left += 2; /* and its line end */
		g->chunk = g->body_left > 0 ? CHUNK_DATA : CHUNK_TRAILER;
	} else if (eol == g->in) {
		*is_over = true;
	}
	guest_consume(g, (size_t)(eol - g->in) + 2);
	return true;
}

/* One turn through the states; false when the guest is gone. */
static bool
guest_advance(struct guest *g)
{
	bool is_over = false;
	size_t n;

	for (;;) {
		switch (g->state) {
		case GUEST_HEAD:
			if (!guest_head(g))
				return false;
			if (g->state == GUEST_HEAD)
				return true;
			break;
		case GUEST_BODY:
			n = g->n_in < g->body_left ? g->n_in : g->body_left;
			guest_consume(g, n);
			g->body_left -= n;
			if (g->body_left > 0)
				return true;
			if (!guest_served(g))
				return false;
			break;
		case GUEST_CHUNKS:
			while (!is_over && guest_skip_chunk(g, &is_over))
				;
			if (!is_over)
				return g->n_in < sizeof(g->in) ||
				       (guest_free(g), false);
			is_over = false;
			if (!guest_served(g))
				return false;
			break;
		case GUEST_WAIT:
		case GUEST_WRITE:
			return true;
		}
	}
}

static void
on_guest(evutil_socket_t fd, short events, void *ctx)
{
	struct guest *g = ctx;
	ssize_t n;

	if (events & EV_TIMEOUT) {
		guest_free(g);
		return;
	}
	if (g->state == GUEST_WRITE) {
		if (guest_write(g) && g->state == GUEST_HEAD)
			guest_advance(g);
		return;
	}
	n = recv(fd, g->in + g->n_in, sizeof(g->in) - g->n_in, 0);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		guest_free(g);
		return;
	}
	g->n_in += (size_t)n;
	guest_advance(g);
}

void
guest_new(struct demo_upstream *up, int fd)
{
	struct guest *g =
	    up->n_guests < GUESTS_MAX ? calloc(1, sizeof(*g)) : NULL;
	int on = 1;

	if (!g) {
		close(fd);
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	g->upstream = up;
	g->fd = fd;
	event_assign(&g->io, up->base, fd, EV_READ | EV_PERSIST, on_guest, g);
	event_assign(&g->timer, up->base, -1, 0, on_timer, g);
	LIST_INSERT_HEAD(&up->guests, g, link);
	up->n_guests++;
	guest_wants(g, EV_READ);
}
