/*
 * What one connection may make us do beside its requests: a bucket of points,
 * refilled over time. Each oddity costs (glitch.def of routing); whose bucket
 * is empty gets GOAWAY with ENHANCE_YOUR_CALM and is closed, its requests
 * cancelled. Resets that a client provokes cost more than those that it makes
 * itself, for both free a stream while its request may still be at work.
 */
#include "admin/log.h"
#include "proxy/h2.h"

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

void
h2_glitch_frame(struct h2 *h2, const nghttp2_frame_hd *hd)
{
	switch (hd->type) {
	case NGHTTP2_DATA:
		if (hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM))
			h2_glitch(h2, GLITCH_EMPTY);
		break;
	case NGHTTP2_HEADERS:
		if (hd->length == 0)
			h2_glitch(h2, GLITCH_EMPTY);
		break;
	case NGHTTP2_CONTINUATION:
		h2_glitch(h2, GLITCH_CONTINUATION);
		break;
	case NGHTTP2_SETTINGS:
		if (!(hd->flags & NGHTTP2_FLAG_ACK))
			h2_glitch(h2, GLITCH_SETTINGS);
		break;
	case NGHTTP2_PING:
		if (!(hd->flags & NGHTTP2_FLAG_ACK))
			h2_glitch(h2, GLITCH_PING);
		break;
	case NGHTTP2_PRIORITY:
		h2_glitch(h2, GLITCH_PRIORITY);
		break;
	case NGHTTP2_WINDOW_UPDATE:
		/* What was sent may be acknowledged, twice: by its stream and
		 * by the connection. */
		if (h2->sent_data > 0)
			h2->sent_data--;
		else
			h2_glitch(h2, GLITCH_WINDOW);
		break;
	default:
		break; /* of unknown types nghttp2 tells nothing, nor do they
		          make us do anything */
	}
}
