/*
 * Bodies that came after their head, kept for another attempt. What has left
 * of such a body has been forgotten by everybody else: the client has got its
 * window back, or was read on. So a copy of it stays here for as long as
 * somebody may ask for it, and no longer:
 *
 *   begin   the first bytes leave: could there be another attempt at all?
 *   keep    what has left, up to retry.replay
 *   send    to the next upstream: the head, what was kept, then on with it
 *   drop    outgrown; nobody can ask any more; the answer's head has left
 *
 * A body that is not kept, or not any more, is "lost" (request->body_lost): its
 * request has the attempt that it is in, and no other. That is counted where
 * it is for want of room; a request that could not have been repeated anyway
 * costs nothing.
 *
 * Any method may be repeated as long as nobody has looked at the request.
 * Over HTTP/1 that cannot be known once bytes have left; in HTTP/2 peers say
 * so (REFUSED_STREAM, GOAWAY). Hence POSTs are kept for pools of HTTP/2 alone.
 *
 * What requests without a body pass is cold and stays out of line.
 *
 * Memory: one buffer for each request, as large as what has come; from half of
 * the worker's budget on none is begun and none grows, so that keeping never
 * takes what sending needs.
 */
#include <assert.h>

#include "proxy/message.h"

static struct pool_cell *
cell_of(const struct request *request)
{
	return &request->decision.pool->pool->cells[request->worker->id];
}

/* Is there a misfortune after which it would be sent again? */
static bool
may_come_back(const struct request *request)
{
	if (request->has_response || !request->upstream)
		return false;
	if (request->decision.pool->cfg->protocol == PROTOCOL_H2)
		return true;
	return request->is_idempotent &&
	       (request->upstream->is_reused || retry_is_open(request) ||
	           trial_may_shield(request));
}

__attribute__((cold, noinline)) void
replay_drop(struct request *request)
{
	request->body_lost = true;
	buf_give(&request->worker->bufs, &request->replay);
}

static void
lose(struct request *request, enum replay_loss why)
{
	counter_add(&cell_of(request)->unkept[why], 1);
	replay_drop(request);
}

void
replay_begin(struct request *request)
{
	const struct body *body = &request->request_body;
	uint32_t bound = request->decision.pool->cfg->retry.replay;

	assert(!request->body_left && !request->replay);
	request->body_left = true;
	if (!may_come_back(request))
		request->body_lost = true;
	else if (body->in == H1_LENGTH && body->left > bound)
		lose(request, REPLAY_TOO_LONG);
}

void
replay_keep(struct request *request, const char *bytes, size_t len)
{
	struct buf_pool *bufs = &request->worker->bufs;
	size_t have = request->replay ? buf_len(request->replay) : 0;

	if (request->body_lost || len == 0)
		return;
	if (have + len > request->decision.pool->cfg->retry.replay)
		lose(request, REPLAY_TOO_LONG);
	else if (bufs->used > bufs->limit / 2 ||
	         !buf_append(bufs, &request->replay, bytes, len, BUF_LARGEST))
		lose(request, REPLAY_NO_MEMORY);
}

__attribute__((cold, noinline)) bool
replay_send(struct request *request)
{
	const struct buf *kept = request->replay;
	struct conn *to = request->upstream;
	bool is_sent;

	assert(request->body_left && !request->body_lost);
	counter_add(&cell_of(request)->replays, 1);
	is_sent = message_send_head(to, request->head, request->head_len) &&
	          forward_again(&request->request_body, to,
	              kept ? kept->data + kept->start : NULL,
	              kept ? buf_len(kept) : 0);
	if (is_sent && !may_come_back(request))
		replay_drop(request);
	return is_sent;
}

/* A stream takes a body's trailers over. */
__attribute__((cold, noinline)) void
replay_leave(struct request *request)
{
	struct conn *upstream = request->upstream;

	if (upstream && upstream->is_stream && request->body_left) {
		struct stream *stream = stream_of(upstream);

		if (stream->trailers && !request->request_body.trailers) {
			request->request_body.trailers = stream->trailers;
			stream->trailers = NULL;
		}
	}
	upstream_put(request, false);
}
