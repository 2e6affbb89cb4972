/*
 * What all sessions of a worker are made with: nghttp2's options, the callbacks
 * of h2.c, and their memory.
 */
#include <stdlib.h>

#include "proxy/h2/h2.h"

enum {
	RESETS_BURST = 1000, /* nghttp2's own bound; ours is lower */
	RESETS_PER_S = 100,
	ACKS_MAX = 100, /* answers to PING and SETTINGS that wait */
	BLOCK_MAX = 2 * BUF_LARGEST, /* as nghttp2 reckons any head of ours */
};

/*
 * What RFC 9113 section 8 asks of messages is judged by us: names and values by
 * text.c, the order of blocks and the sum of DATA by the stream. To have
 * nghttp2 judge it too would cost a tenth of a request.
 */
static nghttp2_option *
option_new(void)
{
	nghttp2_option *option;

	if (nghttp2_option_new(&option) != 0)
		return NULL;
	nghttp2_option_set_no_auto_window_update(option, 1);
	nghttp2_option_set_no_closed_streams(option, 1);
	nghttp2_option_set_no_http_messaging(option, 1);
	nghttp2_option_set_max_outbound_ack(option, ACKS_MAX);
	/* Whatever head a listener lets pass: a longer one would be left out
	 * in silence. */
	nghttp2_option_set_max_send_header_block_length(option, BLOCK_MAX);
	nghttp2_option_set_stream_reset_rate_limit(
	    option, RESETS_BURST, RESETS_PER_S);
	return option;
}

struct h2_kit *
h2_kit_new(void)
{
	struct h2_kit *kit = calloc(1, sizeof(*kit));

	if (!kit)
		return NULL;
	h2_memory_init(&kit->memory);
	kit->callbacks = h2_callbacks_new();
	kit->server = option_new();
	kit->client = option_new();
	if (!kit->callbacks || !kit->server || !kit->client)
		h2_kit_free(&kit);
	return kit;
}

void
h2_kit_free(struct h2_kit **kit_in)
{
	struct h2_kit *kit = *kit_in;

	*kit_in = NULL;
	if (!kit)
		return;
	nghttp2_session_callbacks_del(kit->callbacks);
	nghttp2_option_del(kit->server);
	nghttp2_option_del(kit->client);
	h2_memory_release(&kit->memory);
	free(kit);
}
