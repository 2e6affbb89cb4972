/*
 * Request heads. Beside the agreement of fuzz_h1.h: what a proxy would write
 * from an accepted head is accepted again, with the same framing and nothing
 * that belonged to the first connection.
 */
#include "fuzz_h1.h"

static const struct fuzz_way way = {.is_response = false};

static void
check_path(const struct h1_head *head)
{
	char *out = malloc(head->path.len);
	size_t len;
	bool is_same;

	assert(out != NULL && head->path.len > 0);
	is_same = h1_normalise(head->path, out, &len) &&
	          span_eq(head->path, (struct span){out, len}) &&
	          memmem(out, len, "//", 2) == NULL;
	assert(head->path_is_plain == is_same);
	free(out);
}

static void
check_authority(const struct h1_head *head)
{
	struct span hostname;
	uint16_t port;

	if (head->host.len == 0) {
		assert(head->minor == 0 && head->host.ptr != NULL);
		return;
	}
	assert(h1_authority(head->host, &hostname, &port));
	assert(span_eq(hostname, head->hostname));
}

static void
check_rewritten(const struct h1_head *head)
{
	struct fuzz_text text = {.len = 0};
	struct h1_head again;
	uint32_t scanned = 0;
	unsigned n;

	fuzz_put(&text, head->method_text);
	fuzz_put(&text, SPAN(" "));
	fuzz_put(&text, head->path);
	if (head->query.ptr != NULL) {
		fuzz_put(&text, SPAN("?"));
		fuzz_put(&text, head->query);
	}
	fuzz_put(&text,
	    head->minor == 1 ? SPAN(" HTTP/1.1\r\n") : SPAN(" HTTP/1.0\r\n"));
	if (head->host.len > 0) {
		fuzz_put(&text, SPAN("Host: "));
		fuzz_put(&text, head->host);
		fuzz_put(&text, SPAN("\r\n"));
	}
	n = fuzz_put_fields(&text, head) + (head->host.len > 0);
	if (n > H1_FIELDS_MAX)
		return; /* an absolute-form's host was one more */
	assert(h1_parse_request(text.bytes, text.len, sizeof(text.bytes),
	           &scanned, &again) == H1_DONE);
	assert(again.len == text.len && again.n_fields == n);
	assert(again.method == head->method);
	assert(span_eq(again.path, head->path));
	assert(span_eq(again.query, head->query));
	assert(span_eq(again.host, head->host));
	assert(again.framing == head->framing);
	assert(again.length == head->length);
	assert(!again.wants_upgrade && !again.expects_continue);
	assert(again.keep_alive == (again.minor == 1));
	for (unsigned i = 0; i < n; i++)
		assert(!again.fields[i].is_hop);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct h1_head head;
	size_t cut = fuzz_dice(data, size) % (size + 1);

	if (fuzz_all_ways(way, (const char *)data, size, cut, &head) != H1_DONE)
		return 0;
	assert(head.framing == H1_NO_BODY || head.framing == H1_LENGTH ||
	       head.framing == H1_CHUNKED);
	assert(!head.wants_upgrade || head.framing == H1_NO_BODY);
	check_path(&head);
	check_authority(&head);
	check_rewritten(&head);
	return 0;
}
