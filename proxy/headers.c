/*
 * Heads, written anew. Framing fields, Host, Connection and all that weir
 * sets are never copied; every other field's line is copied as it stands, in
 * runs, because the parser admits nothing but its canonical form. What a
 * client says about its own identity is believed only from trusted peers.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>

#include "proxy/request.h"

/* A head being written; `is_full` sticks and is asked once at the end. */
struct writer {
	char *start, *at, *end;
	bool is_full;
};

static inline void
put(struct writer *out, const char *bytes, size_t len)
{
	if ((size_t)(out->end - out->at) < len) {
		out->is_full = true;
		return;
	}
	if (len > 0) /* an absent span has no address */
		memcpy(out->at, bytes, len);
	out->at += len;
}

static void
put_span(struct writer *out, struct span span)
{
	put(out, span.ptr, span.len);
}

#define PUT(out, literal) put((out), ("" literal), sizeof(literal) - 1)

static struct piece
piece_from(const struct writer *out, const char *begin)
{
	return (struct piece){(uint32_t)(begin - out->start), (uint32_t)(out->at - begin)};
}

static void
put_number(struct writer *out, uint64_t value)
{
	char digits[20];
	size_t n = 0;

	do {
		digits[sizeof(digits) - ++n] = (char)('0' + value % 10);
		value /= 10;
	} while (value > 0);
	put(out, digits + sizeof(digits) - n, n);
}

/* Eight hex digits of 32 bits, all at once: spread the nibbles to bytes, then to letters. */
static uint64_t
hex_digits(uint32_t value)
{
	uint64_t x = value;
	uint64_t letters;

	x = (x & 0xffff) << 32 | x >> 16;
	x = (x & 0x0000ff000000ff00) >> 8 | (x & 0x000000ff000000ff) << 16;
	x = (x & 0x00f000f000f000f0) >> 4 | (x & 0x000f000f000f000f) << 8;
	letters = (x + 0x0606060606060606) >> 4 & 0x0101010101010101; /* 1 for a..f */
	return x + 0x3030303030303030 + letters * ('a' - '0' - 10);
}

static void
put_hex(struct writer *out, uint64_t value)
{
	uint64_t digits[2] = {hex_digits((uint32_t)(value >> 32)), hex_digits((uint32_t)value)};

	put(out, (const char *)digits, 16);
}

/* ---- who the client is ---- */

/* "10.0.0.1", "10.0.0.1:80", "[2001:db8::1]:80", "2001:db8::1" */
static bool
parse_address(struct span text, struct peer *out)
{
	char buf[INET6_ADDRSTRLEN];
	struct in_addr v4;
	struct in6_addr v6;

	if (text.len > 0 && text.ptr[0] == '[') {
		const char *close = memchr(text.ptr, ']', text.len);

		if (!close)
			return false;
		text = (struct span){text.ptr + 1, (size_t)(close - text.ptr) - 1};
	} else {
		const char *colon = memchr(text.ptr, ':', text.len);

		if (colon && !memchr(colon + 1, ':', text.len - (size_t)(colon + 1 - text.ptr)))
			text.len = (size_t)(colon - text.ptr);
	}
	if (text.len == 0 || text.len >= sizeof(buf))
		return false;
	memcpy(buf, text.ptr, text.len);
	buf[text.len] = '\0';
	*out = (struct peer){.family = AF_INET};
	if (inet_pton(AF_INET, buf, &v4) == 1) {
		out->bytes[10] = out->bytes[11] = 0xff;
		memcpy(out->bytes + 12, &v4, 4);
		return true;
	}
	if (inet_pton(AF_INET6, buf, &v6) == 1) {
		struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_addr = v6};

		peer_from(out, (struct sockaddr *)&sa);
		return true;
	}
	return false;
}

static bool
is_trusted(const struct listener_cfg *listener, const struct peer *peer)
{
	struct sockaddr_storage sa;

	if (!listener || listener->trusted_proxies.n == 0 || peer->family == AF_UNIX)
		return false;
	peer_sockaddr(peer, &sa);
	return cidrs_hold(&listener->trusted_proxies, (struct sockaddr *)&sa);
}

/* The list's elements from the right: the nearest hop stands last. */
static bool
last_element(struct span *list, struct span *element_out)
{
	size_t end = list->len, begin;

	while (end > 0 && (list->ptr[end - 1] == ' ' || list->ptr[end - 1] == '\t' || list->ptr[end - 1] == ','))
		end--;
	if (end == 0)
		return false;
	begin = end;
	while (begin > 0 && list->ptr[begin - 1] != ',')
		begin--;
	list->len = begin;
	while (begin < end && (list->ptr[begin] == ' ' || list->ptr[begin] == '\t'))
		begin++;
	*element_out = (struct span){list->ptr + begin, end - begin};
	return true;
}

void
headers_client_address(const struct conn *client, const struct listener_cfg *listener, const struct h1_head *head,
    struct peer *out, bool *trusted_out)
{
	struct span name;

	*out = client->client.peer;
	*trusted_out = is_trusted(listener, out);
	if (!*trusted_out)
		return;
	name = span_of(listener->client_ip_header);
	/* Lines from the last to the first, elements likewise, until one that we do not trust. */
	for (uint32_t i = head->n_fields; i-- > 0;) {
		struct span list = h1_value(head, i), element;
		struct span field = {head->bytes + head->fields[i].name, head->fields[i].name_len};

		if (!span_ieq(field, name))
			continue;
		while (last_element(&list, &element)) {
			struct peer hop;

			if (!parse_address(element, &hop))
				return;
			*out = hop;
			if (!is_trusted(listener, &hop))
				return;
		}
	}
}

/* ---- what routing asks ---- */

bool
headers_query_field(const void *ctx, struct span name, struct span *value_out)
{
	const struct h1_head *head = ctx;
	bool found = false;

	for (uint32_t i = 0; i < head->n_fields; i++) {
		struct span field = {head->bytes + head->fields[i].name, head->fields[i].name_len};

		if (!span_ieq(field, name))
			continue;
		if (found)
			return false; /* twice: ambiguous, so absent */
		found = true;
		*value_out = h1_value(head, i);
	}
	return found;
}

bool
headers_query_cookie(const void *ctx, struct span name, struct span *value_out)
{
	const struct h1_head *head = ctx;

	for (uint32_t i = 0; i < head->n_fields; i++) {
		struct span rest;

		if (head->fields[i].id != FIELD_COOKIE)
			continue;
		rest = h1_value(head, i);
		while (rest.len > 0) {
			const char *end = memchr(rest.ptr, ';', rest.len);
			struct span pair = {rest.ptr, end ? (size_t)(end - rest.ptr) : rest.len};

			rest = (struct span){rest.ptr + pair.len + (end != NULL), rest.len - pair.len - (end != NULL)};
			while (pair.len > 0 && (*pair.ptr == ' ' || *pair.ptr == '\t')) {
				pair.ptr++;
				pair.len--;
			}
			if (pair.len > name.len && pair.ptr[name.len] == '=' && memcmp(pair.ptr, name.ptr, name.len) == 0) {
				*value_out = (struct span){pair.ptr + name.len + 1, pair.len - name.len - 1};
				return true;
			}
		}
	}
	return false;
}

/* ---- templates ---- */

static void
put_template_word(struct writer *out, const struct request *request, struct span word)
{
	const struct decision *decision = &request->decision;
	char address[INET6_ADDRSTRLEN];

	if (span_eq(word, SPAN("request.id")))
		put(out, request->id, request->id_len);
	else if (span_eq(word, SPAN("client.address")))
		put(out, address, peer_print(&request->peer, address));
	else if (span_eq(word, SPAN("request.host")))
		put(out, request->head + request->host.at, request->host.len);
	else if (span_eq(word, SPAN("request.path")))
		put_span(out, request->worker->parsed.path);
	else if (span_eq(word, SPAN("request.method")))
		put_span(out, span_of(method_name((enum http_method)request->method)));
	else if (span_eq(word, SPAN("pool")) && decision->pool)
		put_span(out, span_of(decision->pool->pool->name));
	else if (span_eq(word, SPAN("split")) && decision->route && decision->route->split_cfg)
		put_span(out, span_of(decision->route->split_cfg->name));
	else if (span_eq(word, SPAN("route")) && decision->route)
		put_span(out, span_of(decision->route->cfg->name));
}

static void
put_template(struct writer *out, const struct request *request, const char *text)
{
	const char *open;

	while ((open = strstr(text, "${"))) {
		const char *close = strchr(open, '}');

		if (!close)
			break;
		put(out, text, (size_t)(open - text));
		put_template_word(out, request, (struct span){open + 2, (size_t)(close - open) - 2});
		text = close + 1;
	}
	put_span(out, span_of(text));
}

static bool
is_edited(const struct header_edits *edits, struct span name)
{
	for (size_t i = 0; i < edits->n_set; i++)
		if (span_ieq(name, span_of(edits->set[i].name)))
			return true;
	for (size_t i = 0; i < edits->remove.n; i++)
		if (span_ieq(name, span_of(edits->remove.at[i])))
			return true;
	return false;
}

static void
put_edits(struct writer *out, const struct request *request, const struct header_edits *edits)
{
	for (size_t i = 0; i < edits->n_set; i++) {
		put_span(out, span_of(edits->set[i].name));
		PUT(out, ": ");
		put_template(out, request, edits->set[i].value);
		PUT(out, "\r\n");
	}
}

static bool
sets(const struct header_edits *edits, const char *name)
{
	for (size_t i = 0; i < edits->n_set; i++)
		if (strcmp(edits->set[i].name, name) == 0)
			return true;
	return false;
}

/* ---- fields in runs ---- */

static const bool request_drops[FIELD_COUNT] = {
    [FIELD_HOST] = true, [FIELD_CONTENT_LENGTH] = true, [FIELD_TRANSFER_ENCODING] = true,
    [FIELD_FORWARDED] = true, [FIELD_X_FORWARDED_FOR] = true, [FIELD_X_FORWARDED_HOST] = true,
    [FIELD_X_FORWARDED_PROTO] = true, [FIELD_X_FORWARDED_PORT] = true, [FIELD_X_REAL_IP] = true,
    [FIELD_X_REQUEST_ID] = true, [FIELD_TRACEPARENT] = true,
};
static const bool response_drops[FIELD_COUNT] = {
    [FIELD_CONTENT_LENGTH] = true, [FIELD_TRANSFER_ENCODING] = true,
};

static void
put_fields(struct writer *out, const struct h1_head *head, const bool drops[FIELD_COUNT],
    const struct header_edits *edits)
{
	bool has_edits = edits->n_set + edits->remove.n > 0;
	uint32_t run = 0, run_end = 0;

	for (uint32_t i = 0; i < head->n_fields; i++) {
		const struct h1_field *field = &head->fields[i];
		struct span name = {head->bytes + field->name, field->name_len};

		if (field->is_hop || drops[field->id] || (has_edits && is_edited(edits, name)))
			continue;
		if (field->name != run_end) {
			put(out, head->bytes + run, run_end - run);
			run = field->name;
		}
		run_end = field->line_end;
	}
	put(out, head->bytes + run, run_end - run);
}

/* ---- identity fields ---- */

static void
put_all_of(struct writer *out, const struct h1_head *head, enum field_id id)
{
	for (uint32_t i = 0; i < head->n_fields; i++) {
		if (head->fields[i].id != id)
			continue;
		put_span(out, h1_value(head, i));
		PUT(out, ", ");
	}
}

/* Copies the first field of that id as it stands; false when there is none. */
static bool
put_given(struct writer *out, const struct h1_head *head, enum field_id id)
{
	if (head->first[id] == 0)
		return false;
	put_span(out, field_name(id));
	PUT(out, ": ");
	put_span(out, h1_value(head, head->first[id] - 1u));
	PUT(out, "\r\n");
	return true;
}

static void
put_forwarded_for(struct writer *out, const struct conn *client, const struct h1_head *head, bool trusted)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = peer_print(&client->client.peer, address);
	bool is_unix = client->client.peer.family == AF_UNIX;

	if (is_unix && !(trusted && head->first[FIELD_X_FORWARDED_FOR]))
		return;
	PUT(out, "x-forwarded-for: ");
	if (trusted)
		put_all_of(out, head, FIELD_X_FORWARDED_FOR);
	put(out, address, len);
	PUT(out, "\r\n");
}

static void
put_forwarded(struct writer *out, const struct conn *client, const struct h1_head *head)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = peer_print(&client->client.peer, address);

	if (head->first[FIELD_FORWARDED] == 0)
		return;
	PUT(out, "forwarded: ");
	put_all_of(out, head, FIELD_FORWARDED);
	if (client->client.peer.family == AF_INET6) {
		PUT(out, "for=\"[");
		put(out, address, len);
		PUT(out, "]\"");
	} else {
		PUT(out, "for=");
		put(out, address, len);
	}
	PUT(out, ";proto=");
	if (client->tls)
		PUT(out, "https\r\n");
	else
		PUT(out, "http\r\n");
}

static void
put_identity(struct writer *out, const struct conn *client, const struct h1_head *head, bool trusted)
{
	put_forwarded_for(out, client, head, trusted);
	if (!trusted || !put_given(out, head, FIELD_X_FORWARDED_PROTO)) {
		if (client->tls)
			PUT(out, "x-forwarded-proto: https\r\n");
		else
			PUT(out, "x-forwarded-proto: http\r\n");
	}
	if ((!trusted || !put_given(out, head, FIELD_X_FORWARDED_HOST)) && head->host.len > 0) {
		PUT(out, "x-forwarded-host: ");
		put_span(out, head->host);
		PUT(out, "\r\n");
	}
	if (trusted) {
		put_given(out, head, FIELD_X_FORWARDED_PORT);
		put_given(out, head, FIELD_X_REAL_IP);
		put_forwarded(out, client, head);
	}
}

/* ---- correlation ---- */

static bool
is_hex(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (!strchr("0123456789abcdef", text.ptr[i]) || text.ptr[i] == '\0')
			return false;
	return true;
}

static bool
is_zero(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] != '0')
			return false;
	return true;
}

/* W3C Trace Context, version 00: "00-<32 hex>-<16 hex>-<2 hex>". */
static bool
trace_of(const struct h1_head *head, struct span *trace_out, struct span *flags_out)
{
	struct span text, parent;

	if (head->count[FIELD_TRACEPARENT] != 1)
		return false;
	text = h1_value(head, head->first[FIELD_TRACEPARENT] - 1u);
	if (text.len != 55 || memcmp(text.ptr, "00-", 3) != 0 || text.ptr[35] != '-' || text.ptr[52] != '-')
		return false;
	*trace_out = (struct span){text.ptr + 3, 32};
	parent = (struct span){text.ptr + 36, 16};
	*flags_out = (struct span){text.ptr + 53, 2};
	return is_hex(*trace_out) && is_hex(parent) && is_hex(*flags_out) && !is_zero(*trace_out) && !is_zero(parent);
}

static bool
is_request_id(struct span text)
{
	if (text.len == 0 || text.len > 64)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' || c == '-'))
			return false;
	}
	return true;
}

/* One random number names request and trace when neither came with the request. */
static void
put_correlation(struct writer *out, struct request *request, const struct h1_head *head, bool trusted, bool own_id)
{
	struct rng *rng = &request->worker->rng;
	uint64_t high = rng_next(rng), low = rng_next(rng) | 1;
	struct span trace, flags, id = SPAN("");
	struct writer name = {request->id, request->id, request->id + sizeof(request->id), false};
	char *begin;

	if (trusted && head->count[FIELD_X_REQUEST_ID] == 1)
		id = h1_value(head, head->first[FIELD_X_REQUEST_ID] - 1u);
	if (is_request_id(id)) {
		put_span(&name, id);
	} else {
		put_hex(&name, high);
		put_hex(&name, low);
	}
	request->id_len = (uint8_t)(name.at - name.start);
	PUT(out, "traceparent: 00-");
	begin = out->at;
	if (trace_of(head, &trace, &flags)) {
		put_span(out, trace);
	} else {
		flags = SPAN("00");
		put_hex(out, high);
		put_hex(out, low);
	}
	request->trace_id = piece_from(out, begin);
	PUT(out, "-");
	begin = out->at;
	put_hex(out, rng_next(rng) | 1);
	request->span_id = piece_from(out, begin);
	PUT(out, "-");
	put_span(out, flags);
	PUT(out, "\r\n");
	if (own_id) {
		PUT(out, "x-request-id: ");
		put(out, request->id, request->id_len);
		PUT(out, "\r\n");
	}
}

/* ---- the request's head ---- */

static void
put_request_line(struct writer *out, struct request *request, const struct h1_head *head)
{
	char *begin;

	put_span(out, head->method_text);
	PUT(out, " ");
	begin = out->at;
	put_span(out, head->path);
	if (head->query.ptr) {
		PUT(out, "?");
		put_span(out, head->query);
	}
	request->target = piece_from(out, begin);
	PUT(out, " HTTP/1.1\r\nhost: ");
	begin = out->at;
	put_span(out, head->host);
	request->host = piece_from(out, begin);
	PUT(out, "\r\n");
}

static void
put_request_framing(struct writer *out, const struct request *request, const struct h1_head *head)
{
	if (head->framing == H1_CHUNKED) {
		PUT(out, "transfer-encoding: chunked\r\n");
	} else if (head->framing == H1_LENGTH || head->has_length) {
		PUT(out, "content-length: ");
		put_number(out, head->length);
		PUT(out, "\r\n");
	}
	if (request->asks_upgrade) {
		PUT(out, "connection: upgrade\r\nupgrade: ");
		put_span(out, h1_value(head, head->first[FIELD_UPGRADE] - 1u));
		PUT(out, "\r\n");
	} else if (request->te_trailers) {
		PUT(out, "connection: te\r\nte: trailers\r\n");
	}
	if (head->expects_continue)
		PUT(out, "expect: 100-continue\r\n");
}

static bool
make_room(struct request *request, const struct h1_head *head, const struct header_edits *edits, struct writer *out)
{
	size_t need = head->len + head->host.len + 512;

	if (head->framing == H1_LENGTH && head->length <= 4096)
		need += head->length;
	for (size_t i = 0; i < edits->n_set; i++)
		need += strlen(edits->set[i].name) + strlen(edits->set[i].value) + 512;
	if (need <= sizeof(request->arena)) {
		*out = (struct writer){request->arena, request->arena, request->arena + sizeof(request->arena), false};
	} else {
		if (need > BUF_LARGEST || !(request->head_buf = buf_take(&request->worker->bufs, need)))
			return false;
		*out = (struct writer){request->head_buf->data, request->head_buf->data,
		    request->head_buf->data + request->head_buf->cap, false};
	}
	request->head = out->start;
	return true;
}

static void
note_user_agent(struct request *request, const struct h1_head *head, const struct writer *out)
{
	struct span agent;
	const char *found;

	if (!request->worker->log || head->first[FIELD_USER_AGENT] == 0)
		return;
	agent = h1_value(head, head->first[FIELD_USER_AGENT] - 1u);
	found = memmem(out->start, (size_t)(out->at - out->start), agent.ptr, agent.len);
	if (found)
		request->user_agent = (struct piece){(uint32_t)(found - out->start), (uint32_t)agent.len};
}

bool
headers_write_request(struct request *request, const struct h1_head *head)
{
	const struct header_edits *edits = &request->decision.route->cfg->request;
	const struct listener_cfg *listener = snapshot_listener(request->snapshot, request->listener);
	bool trusted = is_trusted(listener, &request->client->client.peer);
	struct writer out;

	if (!make_room(request, head, edits, &out))
		return false;
	put_request_line(&out, request, head);
	put_fields(&out, head, request_drops, edits);
	note_user_agent(request, head, &out);
	put_identity(&out, request->client, head, trusted);
	put_correlation(&out, request, head, trusted, !sets(edits, "x-request-id"));
	put_request_framing(&out, request, head);
	put_edits(&out, request, edits);
	PUT(&out, "\r\n");
	request->head_len = (uint32_t)(out.at - out.start);
	return !out.is_full;
}

void
headers_note_request(struct request *request, const struct h1_head *head)
{
	struct writer out = {request->arena, request->arena, request->arena + sizeof(request->arena), false};
	struct span target = head->target;

	if (!request->worker->log || request->head)
		return;
	if (target.len > sizeof(request->arena) / 2)
		target.len = sizeof(request->arena) / 2;
	request->head = request->arena;
	put_span(&out, target);
	request->target = piece_from(&out, out.start);
	if (head->host.len <= 256) {
		char *begin = out.at;

		put_span(&out, head->host);
		request->host = piece_from(&out, begin);
	}
}

/* ---- the response's head ---- */

static void
put_status_line(struct writer *out, const struct h1_head *head)
{
	PUT(out, "HTTP/1.1 ");
	put_number(out, head->status);
	PUT(out, " ");
	put_span(out, head->reason);
	PUT(out, "\r\n");
}

static void
put_affinity_cookie(struct writer *out, const struct request *request)
{
	const struct key_cfg *affinity = &request->decision.route->split_cfg->affinity;

	PUT(out, "set-cookie: ");
	put_span(out, span_of(affinity->name));
	PUT(out, "=");
	put_span(out, span_of(request->decision.cookie_value));
	PUT(out, "; Path=/; HttpOnly; SameSite=Lax");
	if (affinity->ttl > 0) {
		PUT(out, "; Max-Age=");
		put_number(out, (uint64_t)(affinity->ttl / NSEC_PER_SEC));
	}
	if (request->client->tls)
		PUT(out, "; Secure");
	PUT(out, "\r\n");
}

static void
put_response_framing(struct writer *out, struct request *request, const struct h1_head *head)
{
	const struct body *body = &request->response_body;

	if (head->framing == H1_TUNNEL) {
		PUT(out, "connection: upgrade\r\n");
		put_given(out, head, FIELD_UPGRADE);
		return;
	}
	if (body->out == H1_CHUNKED) {
		PUT(out, "transfer-encoding: chunked\r\n");
	} else if (head->has_length && head->status != 204 && body->out != H1_TO_CLOSE) {
		PUT(out, "content-length: ");
		put_number(out, head->length);
		PUT(out, "\r\n");
	}
	if (!client_may_keep_alive(request->client) || request->asked_close)
		request->keep_alive = false;
	if (!request->keep_alive) {
		request->asked_close = true;
		PUT(out, "connection: close\r\n");
	} else if (request->minor == 0) {
		PUT(out, "connection: keep-alive\r\n");
	}
}

size_t
headers_write_response(struct request *request, const struct h1_head *head)
{
	const struct header_edits *edits = &request->decision.route->cfg->response;
	struct worker *worker = request->worker;
	struct writer out = {worker->head, worker->head, worker->head + HEAD_SIZE, false};

	put_status_line(&out, head);
	put_fields(&out, head, response_drops, edits);
	if (head->first[FIELD_DATE] == 0 && head->status >= 200) {
		PUT(&out, "date: ");
		put(&out, worker_date(worker), 29);
		PUT(&out, "\r\n");
	}
	if (request->decision.sets_cookie)
		put_affinity_cookie(&out, request);
	put_edits(&out, request, edits);
	put_response_framing(&out, request, head);
	PUT(&out, "\r\n");
	return out.is_full ? 0 : (size_t)(out.at - out.start);
}

size_t
headers_write_interim(struct request *request, const struct h1_head *head)
{
	static const struct header_edits none;
	struct worker *worker = request->worker;
	struct writer out = {worker->head, worker->head, worker->head + HEAD_SIZE, false};

	put_status_line(&out, head);
	put_fields(&out, head, response_drops, &none);
	PUT(&out, "\r\n");
	return out.is_full ? 0 : (size_t)(out.at - out.start);
}
