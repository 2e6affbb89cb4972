/*
 * What one connection may make us do beside its requests: a bucket of points,
 * refilled over time. Each oddity costs (h2_glitch.def); whose bucket is empty
 * gets GOAWAY with ENHANCE_YOUR_CALM and is closed, its requests cancelled.
 * Resets that a client provokes cost more than those that it makes itself, for
 * both free a stream while its request may still be at work.
 */
#include "admin/log.h"
#include "proxy/h2.h"

enum {
	BUCKET = 1000,
	REFILL_PER_S = 100,
};

struct glitch_row {
	int32_t cost;
	const char *word, *text;
};

static const struct glitch_row rows[H2_GLITCH_COUNT] = {
#define GLITCH(id, cost, word, text) [H2_GLITCH_##id] = {cost, word, text},
#include "proxy/h2_glitch.def"
#undef GLITCH
};

const char *
h2_glitch_word(enum h2_glitch what)
{
	return rows[what].word;
}

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
send_away(struct h2 *h2, enum h2_glitch what)
{
	char address[INET6_ADDRSTRLEN + 1];
	struct worker *worker = h2->conn->worker;

	address[peer_print(&h2->conn->client.peer, address)] = '\0';
	if (worker->now - worker->warned_at >= NSEC_PER_SEC) {
		worker->warned_at = worker->now;
		log_event(LOG_WARN, "an HTTP/2 client was sent away",
		    "client.address", address, "reason", rows[what].word,
		    "detail", rows[what].text, NULL);
	}
	h2_terminate(h2, NGHTTP2_ENHANCE_YOUR_CALM);
	h2->is_failed = true;
}

void
h2_glitch(struct h2 *h2, enum h2_glitch what)
{
	struct listener_cell *cell;

	if (h2->is_upstream || h2->is_failed || h2->is_ending)
		return;
	cell = snapshot_listener_cell(h2->conn->worker->snapshot,
	    h2->conn->client.listener, h2->conn->worker->id);
	if (cell)
		counter_add(&cell->h2_glitches[what], 1);
	if (h2->points > 0)
		refill(h2);
	else
		h2->refilled = h2->conn->worker->now;
	h2->points += rows[what].cost;
	if (h2->points > BUCKET)
		send_away(h2, what);
}

void
h2_glitch_frame(struct h2 *h2, const nghttp2_frame_hd *hd)
{
	switch (hd->type) {
	case NGHTTP2_DATA:
		if (hd->length == 0 && !(hd->flags & NGHTTP2_FLAG_END_STREAM))
			h2_glitch(h2, H2_GLITCH_EMPTY);
		break;
	case NGHTTP2_HEADERS:
		if (hd->length == 0)
			h2_glitch(h2, H2_GLITCH_EMPTY);
		break;
	case NGHTTP2_CONTINUATION:
		h2_glitch(h2, H2_GLITCH_CONTINUATION);
		break;
	case NGHTTP2_SETTINGS:
		if (!(hd->flags & NGHTTP2_FLAG_ACK))
			h2_glitch(h2, H2_GLITCH_SETTINGS);
		break;
	case NGHTTP2_PING:
		if (!(hd->flags & NGHTTP2_FLAG_ACK))
			h2_glitch(h2, H2_GLITCH_PING);
		break;
	case NGHTTP2_PRIORITY:
		h2_glitch(h2, H2_GLITCH_PRIORITY);
		break;
	case NGHTTP2_WINDOW_UPDATE:
		/* What was sent may be acknowledged, twice: by its stream and
		 * by the connection. */
		if (h2->sent_data > 0)
			h2->sent_data--;
		else
			h2_glitch(h2, H2_GLITCH_WINDOW);
		break;
	case NGHTTP2_RST_STREAM:
	case NGHTTP2_GOAWAY:
		break;
	default:
		h2_glitch(h2, H2_GLITCH_UNKNOWN);
		break;
	}
}
