/*
 * What one connection may make us do beside its requests: a bucket of points,
 * refilled over time. Each oddity costs (glitch.def of routing); whose bucket
 * is empty gets GOAWAY with ENHANCE_YOUR_CALM and is closed, its requests
 * cancelled. Resets that a client provokes cost more than those that it makes
 * itself, for both free a stream while its request may still be at work.
 */
#include "admin/log.h"
#include "proxy/h2/h2.h"

enum {
	BUCKET = 1000,
	REFILL_PER_S = 100,
};

static void
refill(struct h2 *h2)
{
	nsec_t now = h2->conn->worker->now;
	nsec_t passed = now - h2->refilled;
	int64_t back = passed * REFILL_PER_S / NSEC_PER_SEC;

	if (back <= 0)
		return;
	h2->refilled = now;
	h2->points = back >= h2->points ? 0 : h2->points - (int32_t)back;
}

static void
send_away(struct h2 *h2, enum glitch what)
{
	char address[INET6_ADDRSTRLEN + 1];
	struct worker *worker = h2->conn->worker;

	address[peer_print(&h2->conn->client.peer, address)] = '\0';
	if (worker->now - worker->warned_at >= NSEC_PER_SEC) {
		worker->warned_at = worker->now;
		log_event(LOG_WARN, "an HTTP/2 client was sent away",
		    "client.address", address, "reason", glitch_row(what)->word,
		    "detail", glitch_row(what)->text, NULL);
	}
	h2_terminate(h2, NGHTTP2_ENHANCE_YOUR_CALM);
	h2->is_failed = true;
}

void
h2_glitch(struct h2 *h2, enum glitch what)
{
	struct listener_cell *cell;

	if (h2->is_upstream || h2->is_failed || h2->is_ending)
		return;
	cell = snapshot_listener_cell(h2->conn->worker->snapshot,
	    h2->conn->client.listener, h2->conn->worker->id);
	if (cell)
		counter_add(&cell->glitches[what], 1);
	if (h2->points > 0)
		refill(h2);
	else
		h2->refilled = h2->conn->worker->now;
	h2->points += glitch_row(what)->cost;
	if (h2->points > BUCKET)
		send_away(h2, what);
}

/* ---- frames ---- */

enum {
	PRIORITY_UPDATE = 0x10, /* RFC 9218 */
	PIECE = 2048,           /* less is hardly ever read at a time */
	UPDATES_MAX = 1 << 20,  /* kept for what is under way */
	PINGS_MAX = 100,
	CUT_LEAST = 8192, /* bytes of a CONTINUATION that is not the last */
};

static bool
is_empty_data(const struct h2_frame *frame)
{
	return !(frame->flags & NGHTTP2_FLAG_END_STREAM) &&
	       (frame->len == 0 || (h2_frame_is_padded_data(frame) &&
	                               frame->padding + 1u >= frame->len));
}

/*
 * What was sent is acknowledged, by its stream and by the connection, with each
 * frame or as it is read in small pieces; and clients of gRPC measure by it how
 * long the way is, with one PING at a time.
 */
void
h2_glitch_allow(struct h2 *h2, size_t len)
{
	if (h2->updates < UPDATES_MAX)
		h2->updates += 2 + 2 * (uint32_t)(len / PIECE);
	if (h2->pings < PINGS_MAX)
		h2->pings++;
}

static void
judge_allowed(struct h2 *h2, uint32_t *allowed, enum glitch what)
{
	if (*allowed > 0)
		--*allowed;
	else
		h2_glitch(h2, what);
}

/* One acknowledgement is owed to us. */
static void
judge_settings(struct h2 *h2, const struct h2_frame *frame)
{
	if ((frame->flags & NGHTTP2_FLAG_ACK) && !h2->is_acked)
		h2->is_acked = true;
	else
		h2_glitch(h2, GLITCH_SETTINGS);
}

/* A block too long for a frame is cut where that is full: only its last frame
 * is a short one. */
static bool
is_needless(const struct h2_frame *frame)
{
	return frame->len == 0 ||
	       (frame->len < CUT_LEAST &&
	           !(frame->flags & NGHTTP2_FLAG_END_HEADERS));
}

void
h2_glitch_frame(struct h2 *h2, const struct h2_frame *frame)
{
	switch (frame->type) {
	case NGHTTP2_DATA:
		if (is_empty_data(frame))
			h2_glitch(h2, GLITCH_EMPTY);
		break;
	case NGHTTP2_HEADERS:
		if (frame->len == 0)
			h2_glitch(h2, GLITCH_EMPTY);
		break;
	case NGHTTP2_CONTINUATION:
		if (is_needless(frame))
			h2_glitch(h2, GLITCH_CONTINUATION);
		break;
	case NGHTTP2_SETTINGS:
		judge_settings(h2, frame);
		break;
	case NGHTTP2_PING:
		/* We send none: nothing is to be acknowledged. */
		if (frame->flags & NGHTTP2_FLAG_ACK)
			h2_glitch(h2, GLITCH_PING);
		else
			judge_allowed(h2, &h2->pings, GLITCH_PING);
		break;
	case NGHTTP2_PRIORITY:
	case PRIORITY_UPDATE:
		h2_glitch(h2, GLITCH_PRIORITY);
		break;
	case NGHTTP2_WINDOW_UPDATE:
		judge_allowed(h2, &h2->updates, GLITCH_WINDOW);
		break;
	case NGHTTP2_RST_STREAM: /* counted by what it ends */
	case NGHTTP2_GOAWAY:
	case NGHTTP2_PUSH_PROMISE: /* a protocol error, which ends it all */
		break;
	default:
		h2_glitch(h2, GLITCH_UNKNOWN);
		break;
	}
}
