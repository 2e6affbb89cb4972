/*
 * Heads, written anew. Framing fields, Host, Connection and all that weir
 * sets are never copied; every other field's line is copied as it stands, in
 * runs, because the parser admits nothing but its canonical form.
 */
#include <ctype.h>
#include <stdio.h>

#include "proxy/h2/h2.h"
#include "proxy/head_writer.h"
#include "proxy/identity.h"
#include "proxy/upgrade.h"

enum {
	CERTIFICATE_TEXT_MAX = 1024,
	WORD_MAX = 64, /* of a name or an address in a template */
};

/* ---- what routing asks ---- */

bool
headers_query_field(const void *ctx, struct span name, struct span *value_out)
{
	const struct h1_head *head = ctx;
	bool found = false;

	for (uint32_t i = 0; i < head->n_fields; i++) {
		struct span field = {head->bytes + head->fields[i].name,
		    head->fields[i].name_len};

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
			struct span pair = {rest.ptr,
			    end ? (size_t)(end - rest.ptr) : rest.len};

			rest =
			    (struct span){rest.ptr + pair.len + (end != NULL),
			        rest.len - pair.len - (end != NULL)};
			while (pair.len > 0 &&
			       (*pair.ptr == ' ' || *pair.ptr == '\t')) {
				pair.ptr++;
				pair.len--;
			}
			if (pair.len > name.len && pair.ptr[name.len] == '=' &&
			    memcmp(pair.ptr, name.ptr, name.len) == 0) {
				*value_out =
				    (struct span){pair.ptr + name.len + 1,
				        pair.len - name.len - 1};
				return true;
			}
		}
	}
	return false;
}

/* ---- templates ---- */

/* Nothing when the client has shown none. */
static void
put_certificate(struct writer *out, struct conn *client, bool is_subject)
{
	const struct tls_stream *tls = client->tls;
	char text[CERTIFICATE_TEXT_MAX];

	if (client->is_stream)
		tls = stream_of(client)->h2 ? stream_of(client)->h2->conn->tls
		                            : NULL;
	if (tls)
		put(out, text,
		    is_subject
		        ? tls_stream_client_subject(tls, text, sizeof(text))
		        : tls_stream_client_sha256(tls, text));
}

/* As it went upstream: what the worker has parsed last may be the answer. */
static struct span
path_of(const struct request *request)
{
	const char *target = request->head + request->target.at;
	const char *query = memchr(target, '?', request->target.len);

	return (struct span){
	    target, query ? (size_t)(query - target) : request->target.len};
}

static void
put_template_word(
    struct writer *out, const struct request *request, struct span word)
{
	const struct decision *decision = &request->decision;
	char address[INET6_ADDRSTRLEN];

	if (span_eq(word, SPAN("request.id")))
		put(out, request->id, request->id_len);
	else if (span_eq(word, SPAN("client.address")))
		put(out, address, peer_print(&request->peer, address));
	else if (span_starts(word, SPAN("client.certificate.")))
		put_certificate(out, request->client,
		    span_eq(word, SPAN("client.certificate.subject")));
	else if (span_eq(word, SPAN("request.host")))
		put(out, request->head + request->host.at, request->host.len);
	else if (span_eq(word, SPAN("request.path")))
		put_span(out, path_of(request));
	else if (span_eq(word, SPAN("request.method")))
		put_span(out,
		    span_of(method_name((enum http_method)request->method)));
	else if (span_eq(word, SPAN("pool")) && decision->pool)
		put_span(out, span_of(decision->pool->pool->name));
	else if (span_eq(word, SPAN("split")) && decision->route &&
	         decision->route->split_cfg)
		put_span(out, span_of(decision->route->split_cfg->name));
	else if (span_eq(word, SPAN("route")) && decision->route)
		put_span(out, span_of(decision->route->cfg->name));
}

/* At most, of a request's head. */
static size_t
template_room(const char *text, const struct h1_head *head)
{
	size_t room = strlen(text);

	while ((text = strstr(text, "${"))) {
		struct span word = span_of(text += 2);

		if (span_starts(word, SPAN("request.path}")))
			room += head->path.len;
		else if (span_starts(word, SPAN("request.host}")))
			room += head->host.len;
		else if (span_starts(word, SPAN("client.certificate.")))
			room += CERTIFICATE_TEXT_MAX;
		else
			room += WORD_MAX;
	}
	return room;
}

static void
put_template(
    struct writer *out, const struct request *request, const char *text)
{
	const char *open;

	while ((open = strstr(text, "${"))) {
		const char *close = strchr(open, '}');

		if (!close)
			break;
		put(out, text, (size_t)(open - text));
		put_template_word(out, request,
		    (struct span){open + 2, (size_t)(close - open) - 2});
		text = close + 1;
	}
	put_span(out, span_of(text));
}

/*
 * The same name to a server that makes variables of fields (CGI, WSGI, PHP):
 * there X_Client_DN and X-Client-DN are one, HTTP_X_CLIENT_DN.
 */
static bool
is_same_variable(struct span name, struct span edit)
{
	if (name.len != edit.len)
		return false;
	for (size_t i = 0; i < name.len; i++) {
		unsigned char a = (unsigned char)name.ptr[i];
		unsigned char b = (unsigned char)edit.ptr[i];

		if (a != b && tolower(a) != tolower(b) &&
		    !(a == '_' && b == '-') && !(a == '-' && b == '_'))
			return false;
	}
	return true;
}

/* A client's field must not pass for one that the route sets or removes. */
static bool
is_edited(const struct header_edits *edits, struct span name, bool folds)
{
	bool (*is_same)(struct span, struct span) =
	    folds ? is_same_variable : span_ieq;

	for (size_t i = 0; i < edits->n_set; i++)
		if (is_same(name, span_of(edits->set[i].name)))
			return true;
	for (size_t i = 0; i < edits->remove.n; i++)
		if (is_same(name, span_of(edits->remove.at[i])))
			return true;
	return false;
}

static void
put_edits(struct writer *out, const struct request *request,
    const struct header_edits *edits)
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
    [FIELD_HOST] = true,
    [FIELD_CONTENT_LENGTH] = true,
    [FIELD_TRANSFER_ENCODING] = true,
    [FIELD_FORWARDED] = true,
    [FIELD_X_FORWARDED_FOR] = true,
    [FIELD_X_FORWARDED_HOST] = true,
    [FIELD_X_FORWARDED_PROTO] = true,
    [FIELD_X_FORWARDED_PORT] = true,
    [FIELD_X_REAL_IP] = true,
    [FIELD_X_REQUEST_ID] = true,
    [FIELD_TRACEPARENT] = true,
};
static const bool response_drops[FIELD_COUNT] = {
    [FIELD_CONTENT_LENGTH] = true,
    [FIELD_TRANSFER_ENCODING] = true,
};

static void
put_fields(struct writer *out, const struct h1_head *head,
    const bool drops[FIELD_COUNT], const struct header_edits *edits)
{
	bool has_edits = edits->n_set + edits->remove.n > 0;
	bool is_request = drops == request_drops;
	uint32_t run = 0, run_end = 0;

	for (uint32_t i = 0; i < head->n_fields; i++) {
		const struct h1_field *field = &head->fields[i];
		struct span name = {head->bytes + field->name, field->name_len};

		if (field->is_hop || drops[field->id] ||
		    (has_edits && is_edited(edits, name, is_request)))
			continue;
		if (field->name != run_end) {
			put(out, head->bytes + run, run_end - run);
			run = field->name;
		}
		run_end = field->line_end;
	}
	put(out, head->bytes + run, run_end - run);
}

/* ---- the request's head ---- */

static void
put_request_line(
    struct writer *out, struct request *request, const struct h1_head *head)
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

/* Of the client's protocols those that the route allows. */
static void
put_offers(struct writer *out, const struct request *request,
    const struct h1_head *head)
{
	unsigned allowed = request->decision.route->cfg->upgrade, n = 0;

	PUT(out, "connection: upgrade\r\nupgrade: ");
	for (uint32_t i = 0; i < head->n_fields; i++) {
		struct span list = h1_value(head, i), protocol;

		if (head->fields[i].id != FIELD_UPGRADE)
			continue;
		while (h1_list_next(&list, &protocol)) {
			if (!upgrade_may_ask(head, allowed, protocol))
				continue;
			if (n++ > 0)
				PUT(out, ", ");
			put_span(out, protocol);
		}
	}
	PUT(out, "\r\n");
}

static void
put_request_framing(struct writer *out, const struct request *request,
    const struct h1_head *head)
{
	if (head->framing == H1_CHUNKED || head->framing == H1_FRAMES) {
		PUT(out, "transfer-encoding: chunked\r\n");
	} else if (head->framing == H1_LENGTH || head->has_length) {
		PUT(out, "content-length: ");
		put_number(out, head->length);
		PUT(out, "\r\n");
	}
	if (request->asks_upgrade) {
		put_offers(out, request, head);
	} else if (request->te_trailers) {
		PUT(out, "connection: te\r\nte: trailers\r\n");
	}
	if (head->expects_continue)
		PUT(out, "expect: 100-continue\r\n");
}

static bool
make_room(struct request *request, const struct h1_head *head,
    const struct header_edits *edits, struct writer *out)
{
	size_t need = head->len + head->host.len + 512;

	if (head->framing == H1_LENGTH && head->length <= 4096)
		need += head->length;
	for (size_t i = 0; i < edits->n_set; i++)
		need += strlen(edits->set[i].name) +
		        template_room(edits->set[i].value, head) + 4;
	if (need <= sizeof(request->arena)) {
		*out = (struct writer){request->arena, request->arena,
		    request->arena + sizeof(request->arena), false};
	} else {
		if (need > BUF_LARGEST || !(request->head_buf = buf_take(
		                                &request->worker->bufs, need)))
			return false;
		*out = (struct writer){request->head_buf->data,
		    request->head_buf->data,
		    request->head_buf->data + request->head_buf->cap, false};
	}
	request->head = out->start;
	return true;
}

static void
note_user_agent(struct request *request, const struct h1_head *head,
    const struct writer *out)
{
	struct span agent;
	const char *found;

	if (!request->worker->log || head->first[FIELD_USER_AGENT] == 0)
		return;
	agent = h1_value(head, head->first[FIELD_USER_AGENT] - 1u);
	found = memmem(
	    out->start, (size_t)(out->at - out->start), agent.ptr, agent.len);
	if (found)
		request->user_agent = (struct piece){
		    (uint32_t)(found - out->start), (uint32_t)agent.len};
}

/* Where no head goes upstream: as much of it as there is room for. */
static void
note_agent_cut(
    struct request *request, const struct h1_head *head, struct writer *out)
{
	size_t room = (size_t)(out->end - out->at);
	struct span agent;
	char *begin = out->at;

	if (head->first[FIELD_USER_AGENT] == 0)
		return;
	agent = h1_value(head, head->first[FIELD_USER_AGENT] - 1u);
	put(out, agent.ptr, agent.len < room ? agent.len : room);
	request->user_agent = piece_from(out, begin);
}

static bool
is_trusted(const struct request *request)
{
	return identity_is_trusted(
	    snapshot_listener(request->snapshot, request->listener),
	    &request->client->client.peer);
}

bool
headers_write_request(struct request *request, const struct h1_head *head)
{
	const struct header_edits *edits =
	    &request->decision.route->cfg->request;
	bool trusted = is_trusted(request);
	struct writer out;

	if (!make_room(request, head, edits, &out))
		return false;
	put_request_line(&out, request, head);
	put_fields(&out, head, request_drops, edits);
	note_user_agent(request, head, &out);
	identity_put(&out, request->client, head, trusted);
	identity_put_correlation(
	    &out, request, head, trusted, !sets(edits, "x-request-id"));
	put_request_framing(&out, request, head);
	put_edits(&out, request, edits);
	PUT(&out, "\r\n");
	request->head_len = (uint32_t)(out.at - out.start);
	return !out.is_full;
}

void
headers_note_request(struct request *request, const struct h1_head *head)
{
	struct writer out = {request->arena, request->arena,
	    request->arena + sizeof(request->arena), false};
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
	identity_put_correlation(
	    &out, request, head, is_trusted(request), false);
	note_agent_cut(request, head, &out);
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
	const struct key_cfg *affinity =
	    &request->decision.route->split_cfg->affinity;

	PUT(out, "set-cookie: ");
	put_span(out, span_of(affinity->name));
	PUT(out, "=");
	put_span(out, span_of(request->decision.cookie_value));
	PUT(out, "; Path=/; HttpOnly; SameSite=Lax");
	if (affinity->ttl > 0) {
		PUT(out, "; Max-Age=");
		put_number(out, (uint64_t)(affinity->ttl / NSEC_PER_SEC));
	}
	if (request->client->is_secure)
		PUT(out, "; Secure");
	PUT(out, "\r\n");
}

static void
put_response_framing(
    struct writer *out, struct request *request, const struct h1_head *head)
{
	const struct body *body = &request->response_body;

	if (head->framing == H1_TUNNEL) {
		PUT(out, "connection: upgrade\r\n");
		put_given(out, head, FIELD_UPGRADE);
		return;
	}
	if (body->out == H1_CHUNKED) {
		PUT(out, "transfer-encoding: chunked\r\n");
	} else if (head->has_length && head->status != 204 &&
	           body->out != H1_TO_CLOSE) {
		PUT(out, "content-length: ");
		put_number(out, head->length);
		PUT(out, "\r\n");
	}
	if (request->client->is_stream)
		return; /* the connection is the session's affair */
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
	const struct header_edits *edits =
	    &request->decision.route->cfg->response;
	struct worker *worker = request->worker;
	struct writer out = {
	    worker->head, worker->head, worker->head + HEAD_SIZE, false};

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
	struct writer out = {
	    worker->head, worker->head, worker->head + HEAD_SIZE, false};

	put_status_line(&out, head);
	put_fields(&out, head, response_drops, &none);
	PUT(&out, "\r\n");
	return out.is_full ? 0 : (size_t)(out.at - out.start);
}
