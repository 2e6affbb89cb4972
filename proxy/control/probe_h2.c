/*
 * One request over HTTP/2, see probe_h2.h. nghttp2 keeps the session; what is
 * left to do is to write down the final status and the body's bytes.
 */
#include "proxy/control/probe_h2.h"

#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/control/probe_grpc.h"

enum { TEXT_MAX = 66000, FIELDS_MAX = 64 };

struct probe_h2 {
	nghttp2_session *session; /* owned */
	int32_t stream;
	char status[4]; /* of the head that is coming in */
	bool is_over;
	bool is_grpc;
	struct probe_grpc grpc;           /* what has come, of gRPC */
	uint8_t asks[PROBE_GRPC_ASK_MAX]; /* ... and what goes */
	size_t to_ask, asked;
	size_t n, taken;
	char text[TEXT_MAX];
};

static void
put(struct probe_h2 *h2, const char *bytes, size_t len)
{
	if (len > TEXT_MAX - h2->n)
		len = TEXT_MAX - h2->n;
	memcpy(h2->text + h2->n, bytes, len);
	h2->n += len;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *ctx)
{
	struct probe_h2 *h2 = ctx;

	(void)session;
	(void)flags;
	if (frame->hd.stream_id != h2->stream)
		return 0;
	if (name_len == 7 && memcmp(name, ":status", 7) == 0 && value_len == 3)
		memcpy(h2->status, value, 3);
	else if (h2->is_grpc)
		probe_grpc_field(&h2->grpc,
		    (struct span){(const char *)name, name_len},
		    (struct span){(const char *)value, value_len});
	return 0;
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
	struct probe_h2 *h2 = ctx;
	char head[64];

	(void)session;
	if (frame->hd.stream_id != h2->stream)
		return 0;
	if (frame->hd.type == NGHTTP2_HEADERS && h2->status[0]) {
		if (!h2->is_grpc)
			put(h2, head,
			    (size_t)snprintf(head, sizeof(head),
			        "HTTP/1.1 %.3s \r\n\r\n", h2->status));
		else if (h2->status[0] < '2') /* interim heads say nothing */
			h2->grpc = (struct probe_grpc){0};
		else
			h2->grpc.http_status =
			    (unsigned)strtoul(h2->status, NULL, 10);
		memset(h2->status, 0, sizeof(h2->status));
	}
	if (frame->hd.flags & NGHTTP2_FLAG_END_STREAM &&
	    (frame->hd.type == NGHTTP2_HEADERS ||
	        frame->hd.type == NGHTTP2_DATA))
		h2->is_over = true;
	return 0;
}

static int
on_data(nghttp2_session *session, uint8_t flags, int32_t stream,
    const uint8_t *data, size_t len, void *ctx)
{
	struct probe_h2 *h2 = ctx;

	(void)session;
	(void)flags;
	if (stream != h2->stream)
		return 0;
	if (h2->is_grpc)
		probe_grpc_data(&h2->grpc, data, len);
	else
		put(h2, (const char *)data, len);
	return 0;
}

static int
on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *ctx)
{
	struct probe_h2 *h2 = ctx;

	(void)session;
	(void)code;
	h2->is_over |= stream == h2->stream;
	return 0;
}

static bool
session_begin(struct probe_h2 *h2)
{
	const nghttp2_settings_entry no_push = {
	    NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
	nghttp2_session_callbacks *callbacks;
	int error;

	if (nghttp2_session_callbacks_new(&callbacks) != 0)
		return false;
	nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(
	    callbacks, on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(
	    callbacks, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(
	    callbacks, on_close);
	error = nghttp2_session_client_new(&h2->session, callbacks, h2);
	nghttp2_session_callbacks_del(callbacks);
	return error == 0 && nghttp2_submit_settings(h2->session,
	                         NGHTTP2_FLAG_NONE, &no_push, 1) == 0;
}

static nghttp2_nv
field(const char *name, const char *value)
{
	return (nghttp2_nv){
	    .name = (uint8_t *)(uintptr_t)name,
	    .namelen = strlen(name),
	    .value = (uint8_t *)(uintptr_t)value,
	    .valuelen = strlen(value),
	};
}

/* The question's message. */
static ssize_t
on_ask(nghttp2_session *session, int32_t stream, uint8_t *out, size_t cap,
    uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
	struct probe_h2 *h2 = ctx;
	size_t n = h2->to_ask - h2->asked;

	(void)session;
	(void)stream;
	(void)source;
	if (n > cap)
		n = cap;
	memcpy(out, h2->asks + h2->asked, n);
	h2->asked += n;
	if (h2->asked == h2->to_ask)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static bool
submit(struct probe_h2 *h2, const struct health_cfg *cfg, const char *authority,
    bool secure)
{
	const nghttp2_data_provider ask = {.read_callback = on_ask};
	nghttp2_nv fields[FIELDS_MAX];
	size_t n = 0;

	fields[n++] = field(":method", cfg->grpc      ? "POST"
	                               : cfg->is_head ? "HEAD"
	                                              : "GET");
	fields[n++] = field(":scheme", secure ? "https" : "http");
	fields[n++] = field(":path", cfg->path);
	for (size_t i = 0; i < cfg->n_headers; i++)
		if (strcmp(cfg->headers[i].name, "host") == 0)
			authority = cfg->headers[i].value;
	fields[n++] = field(":authority", authority);
	fields[n++] = field("user-agent", "weir-health");
	if (cfg->grpc) {
		fields[n++] = field("content-type", "application/grpc");
		fields[n++] = field("te", "trailers");
	} else {
		fields[n++] = field("accept", "*/*");
	}
	for (size_t i = 0; i < cfg->n_headers && n < FIELDS_MAX; i++)
		if (strcmp(cfg->headers[i].name, "host") != 0)
			fields[n++] =
			    field(cfg->headers[i].name, cfg->headers[i].value);
	h2->stream = nghttp2_submit_request(
	    h2->session, NULL, fields, n, cfg->grpc ? &ask : NULL, NULL);
	return h2->stream > 0;
}

struct probe_h2 *
probe_h2_new(const struct health_cfg *cfg, const char *authority, bool secure)
{
	struct probe_h2 *h2 = calloc(1, sizeof(*h2));

	if (h2 && cfg->grpc) {
		h2->is_grpc = true;
		h2->to_ask = probe_grpc_ask(cfg->grpc, h2->asks);
	}
	if (h2 && !(session_begin(h2) && submit(h2, cfg, authority, secure)))
		probe_h2_free(&h2);
	return h2;
}

void
probe_h2_free(struct probe_h2 **h2)
{
	if (*h2)
		nghttp2_session_del((*h2)->session);
	free(*h2);
	*h2 = NULL;
}

char *
probe_h2_request(struct probe_h2 *h2, size_t *len_out)
{
	char *request = NULL;
	const uint8_t *bytes;
	FILE *out = open_memstream(&request, len_out);
	ssize_t len;

	if (out == NULL)
		return NULL;
	while ((len = nghttp2_session_mem_send(h2->session, &bytes)) > 0)
		fwrite(bytes, 1, (size_t)len, out);
	if (fclose(out) == 0)
		return request;
	free(request);
	return NULL;
}

bool
probe_h2_receive(struct probe_h2 *h2, const char *bytes, size_t len)
{
	return nghttp2_session_mem_recv(
	           h2->session, (const uint8_t *)bytes, len) == (ssize_t)len;
}

enum probe_verdict
probe_h2_judge_grpc(
    const struct probe_h2 *h2, bool is_all, char text[PROBE_TEXT_MAX])
{
	return probe_grpc_judge(&h2->grpc, is_all || h2->is_over, text);
}

size_t
probe_h2_text(struct probe_h2 *h2, char *out, size_t cap, bool *is_all_out)
{
	size_t n = h2->n - h2->taken;

	if (n > cap)
		n = cap;
	memcpy(out, h2->text + h2->taken, n);
	h2->taken += n;
	*is_all_out = h2->is_over && h2->taken == h2->n;
	return n;
}
