/*
 * weir's own answers: routes that respond or redirect, failures, refused
 * heads. Small, whole, with a JSON body for machines when a failure is told;
 * nothing internal is named.
 */
#include <assert.h>
#include <stdio.h>

#include "proxy/grpc.h"
#include "proxy/head_writer.h"
#include "proxy/log_ring.h"
#include "proxy/message.h"
#include "proxy/refused.h"

enum {
	REPLY_MAX = 65536 /* as routes.*.respond.body */,
	LIMIT_LINES_MAX = 256
};

const char *
status_text(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 201:
		return "Created";
	case 202:
		return "Accepted";
	case 204:
		return "No Content";
	case 301:
		return "Moved Permanently";
	case 302:
		return "Found";
	case 303:
		return "See Other";
	case 304:
		return "Not Modified";
	case 307:
		return "Temporary Redirect";
	case 308:
		return "Permanent Redirect";
	case 400:
		return "Bad Request";
	case 401:
		return "Unauthorized";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 408:
		return "Request Timeout";
	case 410:
		return "Gone";
	case 413:
		return "Content Too Large";
	case 414:
		return "URI Too Long";
	case 417:
		return "Expectation Failed";
	case 418:
		return "I'm a teapot";
	case 421:
		return "Misdirected Request";
	case 429:
		return "Too Many Requests";
	case 431:
		return "Request Header Fields Too Large";
	case 451:
		return "Unavailable For Legal Reasons";
	case 500:
		return "Internal Server Error";
	case 501:
		return "Not Implemented";
	case 502:
		return "Bad Gateway";
	case 503:
		return "Service Unavailable";
	case 504:
		return "Gateway Timeout";
	case 505:
		return "HTTP Version Not Supported";
	default:
		return "Status";
	}
}

/* The whole answer; 0 when it does not fit. No printf: a flood of refusals must
 * be cheaper than what it asks for. */
static size_t
compose(struct worker *worker, char *to, size_t cap, unsigned status,
    const char *type, struct span body, struct span extra, bool close,
    bool is_old, bool is_head, size_t *head_len_out)
{
	bool has_body = status != 204 && status != 304;
	struct writer out = {to, to, to + cap, false};

	assert(body.len <= REPLY_MAX);
	PUT(&out, "HTTP/1.1 ");
	put_number(&out, status);
	PUT(&out, " ");
	put_span(&out, span_of(status_text(status)));
	PUT(&out, "\r\ndate: ");
	put(&out, worker_date(worker), 29);
	PUT(&out, "\r\nserver: weir\r\n");
	if (has_body) {
		PUT(&out, "content-type: ");
		put_span(&out, span_of(type));
		PUT(&out, "\r\ncontent-length: ");
		put_number(&out, body.len);
		PUT(&out, "\r\n");
	}
	put_span(&out, extra);
	if (close)
		PUT(&out, "connection: close\r\n");
	else if (is_old)
		PUT(&out, "connection: keep-alive\r\n");
	PUT(&out, "\r\n");
	*head_len_out = (size_t)(out.at - out.start);
	if (has_body && !is_head)
		put_span(&out, body);
	return out.is_full ? 0 : (size_t)(out.at - out.start);
}

static void
send_reply(struct request *request, unsigned status, unsigned counted_as,
    const char *content_type, struct span body, struct span extra)
{
	struct worker *worker = request->worker;
	size_t len, head_len;

	if (!request->request_body.is_done ||
	    !client_may_keep_alive(request->client))
		request->keep_alive = false;
	len = compose(worker, worker->head, HEAD_SIZE, status, content_type,
	    body, extra, !request->keep_alive, request->minor == 0,
	    request->method == METHOD_HEAD, &head_len);
	if (counted_as == 429 && len > 0)
		refused_remember(request, len, len - head_len);
	request->status = (uint16_t)counted_as;
	request->has_response = true;
	request->response_body.bytes = len > 0 ? len - head_len : 0;
	request->client->is_final = !request->keep_alive;
	if (len == 0 || !message_send(request->client, worker->head, head_len,
	                    len - head_len, true))
		request->client->is_broken = true;
	request_done(request);
}

void
reply_send(struct request *request, unsigned status, const char *content_type,
    struct span body, struct span extra)
{
	send_reply(request, status, status, content_type, body, extra);
}

/* Whole seconds, rounded up: earlier would be too early. */
static uint64_t
seconds(nsec_t time)
{
	return (uint64_t)((time + NSEC_PER_SEC - 1) / NSEC_PER_SEC);
}

/* What RateLimit header fields for HTTP call the quota policy and its state. */
static struct span
limit_lines(const struct decision *decision, char lines[LIMIT_LINES_MAX])
{
	const struct limit_answer *limit = &decision->limit;
	const struct limit_cfg *cfg = &decision->route->cfg->limit;
	double interval = (double)cfg->rate.per / (double)cfg->rate.count;
	struct writer out = {lines, lines, lines + LIMIT_LINES_MAX, false};

	PUT(&out, "retry-after: ");
	put_number(&out, seconds(limit->free_in));
	PUT(&out, "\r\nratelimit-limit: ");
	put_number(&out, limit->limit);
	PUT(&out, "\r\nratelimit-remaining: ");
	put_number(&out, limit->left);
	PUT(&out, "\r\nratelimit-reset: ");
	put_number(&out, seconds(limit->restored_in));
	PUT(&out, "\r\nratelimit-policy: ");
	put_number(&out, limit->limit);
	PUT(&out, ";w=");
	put_number(&out, seconds((nsec_t)(cfg->burst * interval)));
	PUT(&out, "\r\ncache-control: no-store\r\n");
	assert(!out.is_full);
	return (struct span){lines, (size_t)(out.at - lines)};
}

static struct span
problem(const struct fail_row *row, char *buf, size_t cap)
{
	struct writer out = {buf, buf, buf + cap, false};

	PUT(&out, "{\"status\":");
	put_number(&out, row->status);
	PUT(&out, ",\"error\":\"");
	put_span(&out, span_of(row->word));
	PUT(&out, "\",\"detail\":\"");
	put_span(&out, span_of(row->text));
	PUT(&out, "\"}\n");
	assert(!out.is_full);
	return (struct span){buf, (size_t)(out.at - out.start)};
}

/* A client of gRPC reads its own status; what is counted is the table's. */
static void
reply_grpc(struct request *request, enum fail fail, const struct fail_row *row)
{
	char lines[160];
	int n = snprintf(lines, sizeof(lines),
	    "grpc-status: %u\r\ngrpc-message: %s\r\n", grpc_status_of(fail),
	    row->text);

	request->grpc_told = (uint16_t)(grpc_status_of(fail) + 1);
	send_reply(request, 200, row->status, "application/grpc", SPAN(""),
	    (struct span){lines, (size_t)n});
}

void
reply_fail(struct request *request, enum fail fail)
{
	const struct fail_row *row = fail_row(fail);
	char body[256], lines[LIMIT_LINES_MAX];
	struct span text = problem(row, body, sizeof(body));

	if (request->is_grpc) {
		reply_grpc(request, fail, row);
		return;
	}
	/* A bad head or body leaves the connection in an unknown place. */
	if (row->blame == BLAME_CLIENT && fail != FAIL_NO_ROUTE &&
	    fail != FAIL_RATE_LIMITED && fail != FAIL_FORBIDDEN)
		request->keep_alive = false;
	reply_send(request, row->status, "application/json", text,
	    fail == FAIL_RATE_LIMITED ? limit_lines(&request->decision, lines)
	    : row->status == 503
	        ? SPAN("retry-after: 1\r\ncache-control: no-store\r\n")
	        : SPAN("cache-control: no-store\r\n"));
}

size_t
reply_limited(struct worker *worker, const struct decision *decision, char *to,
    size_t cap, size_t *body_len_out)
{
	char body[256], lines[LIMIT_LINES_MAX];
	struct span text =
	    problem(fail_row(FAIL_RATE_LIMITED), body, sizeof(body));
	size_t head_len;

	*body_len_out = text.len;
	return compose(worker, to, cap, fail_row(FAIL_RATE_LIMITED)->status,
	    "application/json", text, limit_lines(decision, lines), false,
	    false, false, &head_len);
}

void
reply_refuse(
    struct conn *client, unsigned status, const char *word, const char *text)
{
	struct worker *worker = client->worker;
	char body[256];
	int n = snprintf(body, sizeof(body),
	    "{\"status\":%u,\"error\":\"%s\",\"detail\":\"%s\"}\n", status,
	    word, text);
	struct decision none = {0};
	struct outcome outcome = {
	    .method = METHOD_OTHER, .status = status, .bytes_out = (uint64_t)n};
	size_t head_len;
	size_t len = compose(worker, worker->head, HEAD_SIZE, status,
	    "application/json", (struct span){body, (size_t)n},
	    SPAN("cache-control: no-store\r\n"), true, false, false, &head_len);

	routing_record(worker->snapshot, worker->id, client->client.listener,
	    &none, &outcome);
	access_log_refused(client, status, word, (uint64_t)n);
	if (!message_send(client, worker->head, head_len, len - head_len, true))
		client->is_broken = true;
	client_next(client, false);
}

/* ---- routes that answer themselves ---- */

/* "/new" or "https://host/new", with the query kept. */
static struct span
location(
    struct request *request, const struct h1_head *head, char *buf, size_t cap)
{
	const char *to = request->decision.route->cfg->redirect.to;
	bool has_query = strchr(to, '?') != NULL;
	int n = snprintf(buf, cap,
	    "location: %s%s%.*s\r\ncache-control: no-store\r\n", to,
	    head->query.ptr ? (has_query ? "&" : "?") : "",
	    (int)head->query.len, head->query.ptr ? head->query.ptr : "");

	return (struct span){buf, (size_t)n < cap ? (size_t)n : 0};
}

void
reply_route(struct request *request, const struct h1_head *head)
{
	const struct route_cfg *route = request->decision.route->cfg;
	char lines[40000];

	request->state = REQUEST_REPLY;
	if (route->action == ROUTE_REDIRECT) {
		struct span extra =
		    location(request, head, lines, sizeof(lines));

		if (extra.len == 0)
			request_fail(request, FAIL_BAD_PATH);
		else
			reply_send(request, route->redirect.status,
			    "text/plain", SPAN(""), extra);
		return;
	}
	assert(route->action == ROUTE_RESPOND);
	reply_send(request, route->respond.status,
	    route->respond.content_type ? route->respond.content_type
	                                : "text/plain; charset=utf-8",
	    span_of(route->respond.body), SPAN(""));
}

/* "https://host:port/target": the other listener's scheme, its port unless it
 * is the scheme's own. */
void
reply_other_listener(struct request *request, const struct h1_head *head,
    const struct listener_cfg *to)
{
	uint16_t port = to->n_bind > 0 ? to->bind[0].port : 0;
	const char *scheme = to->has_tls ? "https" : "http";
	char lines[40000], suffix[8] = "";
	int n;

	request->state = REQUEST_REPLY;
	if (port != 0 && port != (to->has_tls ? 443 : 80))
		snprintf(suffix, sizeof(suffix), ":%u", port);
	n = snprintf(lines, sizeof(lines),
	    "location: %s://%.*s%s%.*s%s%.*s\r\n", scheme,
	    (int)head->hostname.len, head->hostname.ptr, suffix,
	    (int)head->path.len, head->path.ptr, head->query.ptr ? "?" : "",
	    (int)head->query.len, head->query.ptr ? head->query.ptr : "");
	if (head->hostname.len == 0 || (size_t)n >= sizeof(lines))
		request_fail(request, FAIL_BAD_REQUEST);
	else
		reply_send(request, 308, "text/plain", SPAN(""),
		    (struct span){lines, (size_t)n});
}
