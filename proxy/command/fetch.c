/*
 * fetch: sends one request and reads one reply. A kept connection that turns
 * out dead before the first byte of the reply is replaced once.
 */
#include "proxy/command/fetch.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "proxy/clock.h"
#include "proxy/command/fetch_wire.h"

enum { READ_BYTES = 16 << 10 };

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

void
fetch_free(struct fetch **fetch)
{
	if (!*fetch)
		return;
	fetch_hang_up(*fetch);
	free((*fetch)->bytes);
	free(*fetch);
	*fetch = NULL;
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
	n = fetch_receive(f, f->bytes + f->n, f->cap - f->n, err);
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
	is_sent = fetch_send(f, text, (size_t)n, err);
	free(text);
	return is_sent;
}

static bool
attempt(struct fetch *f, const struct fetch_ask *ask, struct fetch_reply *out,
    struct err *err)
{
	if (f->fd < 0 && !fetch_dial(f, err))
		return false;
	return send_ask(f, ask, err) && read_reply(f, ask, out, err);
}

bool
fetch_was_refused(const struct fetch *f)
{
	return f->fd < 0 &&
	       (f->refusal == ECONNREFUSED || f->refusal == ENOENT);
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
	f->deadline = clock_now() + f->timeout;
	ok = attempt(f, ask, out, err);
	if (!ok && was_kept && f->n == 0 && clock_now() < f->deadline) {
		fetch_hang_up(f);
		ok = attempt(f, ask, out, err);
	}
	if (!ok) {
		fetch_hang_up(f);
		return false;
	}
	if (f->stream) {
		tls_stream_facts(f->stream, &facts);
		out->tls_version = facts.version;
	}
	if (fetch_holds(fetch_header(out, "connection"), "close") ||
	    memcmp(out->head.ptr, "HTTP/1.0", 8) == 0)
		fetch_hang_up(f); /* the bytes of the reply stay */
	return true;
}
