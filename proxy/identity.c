/*
 * The client's address and the names of a request, see identity.h. Fields of
 * untrusted clients (and their underscore aliases) are dropped by headers.c
 * before these are written.
 */
#include "proxy/identity.h"

#include <arpa/inet.h>

#include "proxy/head_writer.h"

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
		text =
		    (struct span){text.ptr + 1, (size_t)(close - text.ptr) - 1};
	} else {
		const char *colon = memchr(text.ptr, ':', text.len);

		if (colon && !memchr(colon + 1, ':',
		                 text.len - (size_t)(colon + 1 - text.ptr)))
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
		struct sockaddr_in6 sa = {
		    .sin6_family = AF_INET6, .sin6_addr = v6};

		peer_from(out, (struct sockaddr *)&sa);
		return true;
	}
	return false;
}

bool
identity_is_trusted(
    const struct listener_cfg *listener, const struct peer *peer)
{
	struct sockaddr_storage sa;

	if (!listener || listener->trusted_proxies.n == 0 ||
	    peer->family == AF_UNIX)
		return false;
	peer_sockaddr(peer, &sa);
	return cidrs_hold(&listener->trusted_proxies, (struct sockaddr *)&sa);
}

/* The list's elements from the right: the nearest hop stands last. */
static bool
last_element(struct span *list, struct span *element_out)
{
	size_t end = list->len, begin;

	while (end > 0 &&
	       (list->ptr[end - 1] == ' ' || list->ptr[end - 1] == '\t' ||
	           list->ptr[end - 1] == ','))
		end--;
	if (end == 0)
		return false;
	begin = end;
	while (begin > 0 && list->ptr[begin - 1] != ',')
		begin--;
	list->len = begin;
	while (begin < end &&
	       (list->ptr[begin] == ' ' || list->ptr[begin] == '\t'))
		begin++;
	*element_out = (struct span){list->ptr + begin, end - begin};
	return true;
}

void
identity_client_address(const struct conn *client,
    const struct listener_cfg *listener, const struct h1_head *head,
    struct peer *out, bool *trusted_out)
{
	struct span name;

	*out = client->client.peer;
	*trusted_out = identity_is_trusted(listener, out);
	if (!*trusted_out)
		return;
	name = span_of(listener->client_ip_header);
	/* Lines from the last to the first, elements likewise, until one that
	 * we do not trust. */
	for (uint32_t i = head->n_fields; i-- > 0;) {
		struct span list = h1_value(head, i), element;
		struct span field = {head->bytes + head->fields[i].name,
		    head->fields[i].name_len};

		if (!span_ieq(field, name))
			continue;
		while (last_element(&list, &element)) {
			struct peer hop;

			if (!parse_address(element, &hop))
				return;
			*out = hop;
			if (!identity_is_trusted(listener, &hop))
				return;
		}
	}
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

static void
put_forwarded_for(struct writer *out, const struct conn *client,
    const struct h1_head *head, bool trusted)
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
put_forwarded(
    struct writer *out, const struct conn *client, const struct h1_head *head)
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
	if (client->is_secure)
		PUT(out, "https\r\n");
	else
		PUT(out, "http\r\n");
}

void
identity_put(struct writer *out, const struct conn *client,
    const struct h1_head *head, bool trusted)
{
	put_forwarded_for(out, client, head, trusted);
	if (!trusted || !put_given(out, head, FIELD_X_FORWARDED_PROTO)) {
		if (client->is_secure)
			PUT(out, "x-forwarded-proto: https\r\n");
		else
			PUT(out, "x-forwarded-proto: http\r\n");
	}
	if ((!trusted || !put_given(out, head, FIELD_X_FORWARDED_HOST)) &&
	    head->host.len > 0) {
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
		if (!strchr("0123456789abcdef", text.ptr[i]) ||
		    text.ptr[i] == '\0')
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
trace_of(
    const struct h1_head *head, struct span *trace_out, struct span *flags_out)
{
	struct span text, parent;

	if (head->count[FIELD_TRACEPARENT] != 1)
		return false;
	text = h1_value(head, head->first[FIELD_TRACEPARENT] - 1u);
	if (text.len != 55 || memcmp(text.ptr, "00-", 3) != 0 ||
	    text.ptr[35] != '-' || text.ptr[52] != '-')
		return false;
	*trace_out = (struct span){text.ptr + 3, 32};
	parent = (struct span){text.ptr + 36, 16};
	*flags_out = (struct span){text.ptr + 53, 2};
	return is_hex(*trace_out) && is_hex(parent) && is_hex(*flags_out) &&
	       !is_zero(*trace_out) && !is_zero(parent);
}

bool
identity_has_trace(const struct h1_head *head)
{
	struct span trace, flags;

	return trace_of(head, &trace, &flags);
}

static bool
is_request_id(struct span text)
{
	if (text.len == 0 || text.len > 64)
		return false;
	for (size_t i = 0; i < text.len; i++) {
		char c = text.ptr[i];

		if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
		        (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
		        c == '-'))
			return false;
	}
	return true;
}

/* One random number names request and trace when neither came with the request.
 */
void
identity_put_correlation(struct writer *out, struct request *request,
    const struct h1_head *head, bool trusted, bool own_id)
{
	struct rng *rng = &request->worker->rng;
	uint64_t high = rng_next(rng), low = rng_next(rng) | 1;
	struct span trace, flags, id = SPAN("");
	struct writer name = {
	    request->id, request->id, request->id + sizeof(request->id), false};
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
