/*
 * Bodies: from one side's framing to the other's, in place. Length-delimited
 * bytes pass as they are; chunked bodies are decoded and framed anew, one
 * chunk for what came at once, without extensions; bodies that end with the
 * connection become chunked for clients that can read it.
 *
 * In place means: all bytes stand in the worker's scratch, which has headroom
 * for a chunk line or a head before them and tailroom behind them.
 */
#include <assert.h>

#include "proxy/message.h"

enum { CHUNK_LINE_OUT = 18 }; /* 64 bits in hex, CRLF */

static const char last_chunk[] = "0\r\n\r\n";

/* "1f40\r\n" written so that it ends at `end`; returns its length. */
static size_t
write_chunk_line(char *end, uint64_t len)
{
	char *at = end;

	*--at = '\n';
	*--at = '\r';
	do {
		*--at = "0123456789abcdef"[len & 15];
		len >>= 4;
	} while (len > 0);
	return (size_t)(end - at);
}

/* `before` (a head, perhaps empty) and the payload; contiguous where there is
 * room in front of it. */
static bool
send_behind(struct conn *to, const char *before, size_t before_len, char *bytes,
    size_t len, size_t room)
{
	if (before_len > 0 && before_len <= room && len > 0) {
		memcpy(bytes - before_len, before, before_len);
		return conn_send(to, bytes - before_len, before_len + len);
	}
	if (before_len == 0)
		return len == 0 || conn_send(to, bytes, len);
	return conn_send2(to, before, before_len, bytes, len);
}

/*
 * `spare` bytes behind the payload may be written over: consumed input, or the
 * tailroom when nothing follows. (A chunked body's last byte may be followed
 * by the next request.)
 */
static bool
send_framed(struct body *body, struct conn *to, char *payload, size_t len,
    size_t spare, char *before, size_t before_len, size_t room)
{
	bool has_trailers = body->trailers && buf_len(body->trailers) > 0;
	const char *end = !body->is_done ? "\r\n"
	                  : has_trailers ? "\r\n0\r\n"
	                                 : "\r\n0\r\n\r\n";
	size_t end_len, line;

	if (to->is_stream)
		return stream_send_body(
		    to, before, before_len, payload, len, body);
	if (body->out != H1_CHUNKED)
		return send_behind(to, before, before_len, payload, len, room);
	if (len == 0 && !body->is_done)
		return before_len == 0 || conn_send(to, before, before_len);
	if (len == 0)
		end += 2;
	end_len = strlen(end);
	if (len > 0) {
		line = write_chunk_line(payload, len);
		payload -= line;
		len += line;
		room -= line;
	}
	if (end_len <= spare) {
		memcpy(payload + len, end, end_len);
		if (!send_behind(
		        to, before, before_len, payload, len + end_len, room))
			return false;
	} else if (!send_behind(to, before, before_len, payload, len, room) ||
	           !conn_send(to, end, end_len)) {
		return false;
	}
	return !body->is_done || !has_trailers ||
	       conn_send2(to, body->trailers->data, buf_len(body->trailers),
	           "\r\n", 2);
}

/* How much may be written right before `bytes`: all of the scratch that was
 * consumed, and its headroom. */
static size_t
headroom(const struct worker *worker, const char *bytes)
{
	assert(bytes >= worker->rx + RX_HEADROOM &&
	       bytes <= worker->rx + RX_HEADROOM + RX_SIZE);
	return (size_t)(bytes - worker->rx);
}

struct forwarded
forward_body(struct body *body, struct conn *to, char *bytes, size_t len,
    char *before, size_t before_len, uint64_t limit)
{
	struct forwarded done = {0};
	size_t room = headroom(to->worker, bytes);
	size_t payload = len, spare;

	switch (body->in) {
	case H1_NO_BODY:
		payload = 0;
		break;
	case H1_LENGTH:
		if (payload > body->left)
			payload = body->left;
		body->left -= payload;
		body->is_done = body->left == 0;
		done.used = payload;
		break;
	case H1_CHUNKED: {
		size_t trailers = body->trailers ? buf_len(body->trailers) : 0;
		enum h1_result result = h1_dechunk(&body->chunks, bytes, len,
		    &done.used, &payload,
		    body->trailers ? body->trailers->data : NULL, &trailers);

		if (body->trailers)
			body->trailers->end = (uint32_t)trailers;
		if (result == H1_BAD) {
			done.is_bad = true;
			return done;
		}
		body->is_done = result == H1_DONE;
		break;
	}
	default: /* H1_TO_CLOSE, H1_FRAMES */
		done.used = payload;
		break;
	}
	body->bytes += payload;
	if (limit > 0 && body->bytes > limit) {
		done.is_bad = true;
		return done;
	}
	to->is_final = body->is_done && body->is_last;
	spare = done.used == len ? RX_TAILROOM : done.used - payload;
	done.is_unsent = !send_framed(
	    body, to, bytes, payload, spare, before, before_len, room);
	return done;
}

/* Of a chunked body. */
static bool
send_end(struct body *body, struct conn *to)
{
	if (!body->trailers || buf_len(body->trailers) == 0)
		return conn_send(to, last_chunk, 5);
	return conn_send2(to, last_chunk, 3, body->trailers->data,
	           buf_len(body->trailers)) &&
	       conn_send(to, last_chunk + 3, 2);
}

bool
forward_end(struct body *body, struct conn *to)
{
	assert(!body->is_done);
	body->is_done = true;
	to->is_final = body->is_last && body->out == H1_CHUNKED;
	if (to->is_stream)
		return stream_send_body(to, NULL, 0, NULL, 0, body);
	return body->out != H1_CHUNKED || send_end(body, to);
}

bool
forward_again(struct body *body, struct conn *to, const char *bytes, size_t len)
{
	char line[CHUNK_LINE_OUT];
	size_t n;

	if (to->is_stream)
		return stream_send_body(to, NULL, 0, bytes, len, body);
	if (body->out != H1_CHUNKED)
		return len == 0 || conn_send(to, bytes, len);
	if (len > 0) {
		n = write_chunk_line(line + sizeof(line), len);
		if (!conn_send2(to, line + sizeof(line) - n, n, bytes, len) ||
		    !conn_send(to, "\r\n", 2))
			return false;
	}
	return !body->is_done || send_end(body, to);
}
