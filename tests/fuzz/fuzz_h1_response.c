/*
 * Response heads, to GET and HEAD, asked to switch and not. Beside the
 * agreement of fuzz_h1.h: what a proxy would write is accepted again.
 */
#include "fuzz_h1.h"

static void
check_rewritten(struct fuzz_way way, const struct h1_head *head)
{
	struct fuzz_text text = {.len = 0};
	struct h1_head again;
	uint32_t scanned = 0;
	char line[64];
	unsigned n;

	snprintf(
	    line, sizeof(line), "HTTP/1.%u %u ", head->minor, head->status);
	fuzz_put(&text, span_of(line));
	fuzz_put(&text, head->reason);
	fuzz_put(&text, SPAN("\r\n"));
	n = fuzz_put_fields(&text, head);
	assert(
	    h1_parse_response(text.bytes, text.len, sizeof(text.bytes),
	        &scanned, way.request, way.asked_upgrade, &again) == H1_DONE);
	assert(again.n_fields == n && again.status == head->status);
	assert(again.framing == head->framing);
	assert(again.length == (head->has_length ? head->length : 0));
	assert(again.has_length == head->has_length);
	for (unsigned i = 0; i < n; i++)
		assert(!again.fields[i].is_hop);
}

static void
check_framing(struct fuzz_way way, const struct h1_head *head)
{
	bool is_bodyless = head->status < 200 || head->status == 204 ||
	                   head->status == 304 || way.request == METHOD_HEAD;

	assert((head->framing == H1_TUNNEL) == (head->status == 101));
	assert(head->status != 101 || way.asked_upgrade);
	assert(!is_bodyless || head->framing == H1_NO_BODY ||
	       head->framing == H1_TUNNEL);
	assert(head->framing != H1_TO_CLOSE || !head->keep_alive);
	assert(head->framing != H1_CHUNKED || head->minor == 1);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t dice = fuzz_dice(data, size);

	for (int i = 0; i < 4; i++) {
		struct fuzz_way way = {.is_response = true,
		    .request = i & 1 ? METHOD_HEAD : METHOD_GET,
		    .asked_upgrade = (i & 2) != 0};
		struct h1_head head;

		if (fuzz_all_ways(way, (const char *)data, size,
		        dice % (size + 1), &head) != H1_DONE)
			continue;
		check_framing(way, &head);
		check_rewritten(way, &head);
	}
	return 0;
}
