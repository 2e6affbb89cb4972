/*
 * One finished request as one line of JSON. The keys are the semantic
 * conventions of OpenTelemetry where they exist and weir's own otherwise; keys
 * without a value are left away. All spans are bytes of a client or an
 * upstream: every one is escaped, and long ones are cut with a marker, so a
 * line is at most ACCESS_LINE_MAX bytes and always one line.
 */
#include <assert.h>
#include <stdio.h>
#include <time.h>

#include "admin/admin.h"
#include "admin/escape.h"

enum {
	ACCESS_LINE_MAX = 8192,
	/*
	 * Bytes of input per field. An input byte becomes six at worst, so
	 * PATH + QUERY + AGENT + HOST + the small ones stay below the line's
	 * end only for ordinary text; the line's own bound does the rest.
	 */
	PATH_MAX_SHOWN = 2048,
	QUERY_MAX_SHOWN = 1024,
	AGENT_MAX_SHOWN = 512,
	WORD_MAX_SHOWN = 256,
	ACCESS_TAIL = 24, /* room for the marker and the end */
};

static void
field_begin(struct line *line, const char *key)
{
	line_text(line, ",\"");
	line_text(line, key);
	line_text(line, "\":");
}

/* A pair is there whole or not at all. */
static void
field_span(struct line *line, const char *key, struct span value, size_t max)
{
	size_t mark = line->len;

	if (value.len == 0 || line->is_full)
		return;
	field_begin(line, key);
	line_quoted(line, value, max);
	if (line->is_full)
		line->len = mark;
}

static void
field_word(struct line *line, const char *key, const char *value)
{
	field_span(line, key, span_of(value), WORD_MAX_SHOWN);
}

static void
field_count(struct line *line, const char *key, uint64_t value)
{
	size_t mark = line->len;

	field_begin(line, key);
	line_number(line, value);
	if (line->is_full)
		line->len = mark;
}

static void
field_ms(struct line *line, const char *key, int64_t us)
{
	char text[32];
	size_t mark = line->len;

	if (us < 0)
		return;
	snprintf(text, sizeof(text), "%lld.%03d", (long long)(us / 1000),
	    (int)(us % 1000));
	field_begin(line, key);
	line_text(line, text);
	if (line->is_full)
		line->len = mark;
}

static void
line_begin(struct line *line, uint64_t wall_ns)
{
	time_t seconds = (time_t)(wall_ns / 1000000000u);
	struct tm tm;
	char day[32], text[64];

	gmtime_r(&seconds, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(text, sizeof(text), "{\"time\":\"%s.%06uZ\"", day,
	    (unsigned)(wall_ns % 1000000000u / 1000));
	line_text(line, text);
}

static const char *
version_text(const struct access_record *record)
{
	return record->http_minor >= 20  ? "2"
	       : record->http_minor == 0 ? "1.0"
	                                 : "1.1";
}

/* User-Agent is the one field with a header's name that is logged. */
static struct span
shown_agent(const struct access_record *record, const struct strings *redact)
{
	for (size_t i = 0; redact && i < redact->n; i++)
		if (span_eq(SPAN("user-agent"), span_of(redact->at[i])))
			return record->user_agent.len ? SPAN("***")
			                              : record->user_agent;
	return record->user_agent;
}

static struct span
shown_host(const struct access_record *record, const struct strings *redact)
{
	for (size_t i = 0; redact && i < redact->n; i++)
		if (span_eq(SPAN("host"), span_of(redact->at[i])))
			return record->host.len ? SPAN("***") : record->host;
	return record->host;
}

/*
 * Everything of bounded length comes first: when a hostile path fills the
 * line, what is left away is the path's tail and not the status.
 */
static void
line_facts(struct line *line, const struct access_record *record)
{
	bool is_named = record->method != METHOD_OTHER;

	field_word(line, "http.request.method",
	    is_named ? method_name(record->method) : "_OTHER");
	if (!is_named)
		field_span(line, "http.request.method_original",
		    record->method_text, 32);
	field_count(line, "http.response.status_code", record->status);
	if (record->grpc_told > 0)
		field_count(
		    line, "rpc.grpc.status_code", record->grpc_told - 1);
	field_word(line, "network.protocol.version", version_text(record));
	field_word(line, "url.scheme", record->tls ? "https" : "http");
	field_span(line, "client.address", record->client, WORD_MAX_SHOWN);
	field_span(line, "network.peer.address", record->peer, WORD_MAX_SHOWN);
	field_word(line, "geo.country.iso_code", record->country);
	field_span(line, "weir.listener", record->listener, WORD_MAX_SHOWN);
	field_span(line, "http.route", record->route, WORD_MAX_SHOWN);
	field_span(line, "weir.split", record->split, WORD_MAX_SHOWN);
	field_span(line, "weir.pool", record->pool, WORD_MAX_SHOWN);
	field_span(line, "weir.shielded", record->shielded, WORD_MAX_SHOWN);
	field_span(
	    line, "weir.upstream.address", record->upstream, WORD_MAX_SHOWN);
	field_word(line, "weir.decision", record->decision);
	field_word(line, "weir.rate_limit", record->rate_limit);
	field_word(line, "error.type", record->error);
	field_word(line, "weir.ended_by", record->ended_by);
	field_count(line, "weir.attempts", record->attempts);
	field_ms(line, "weir.ms.queue", record->queue_us);
	field_ms(line, "weir.ms.connect", record->connect_us);
	field_ms(line, "weir.ms.first_byte", record->first_byte_us);
	field_ms(line, "weir.ms.total", record->total_us);
	field_count(line, "weir.bytes_in", record->bytes_in);
	field_count(line, "weir.bytes_out", record->bytes_out);
	field_span(line, "weir.request_id", record->request_id, 128);
	field_span(line, "trace_id", record->trace_id, 32);
	field_span(line, "span_id", record->span_id, 16);
}

/* The longest prefix of an oversized field that still fits is shown. */
static void
field_long(struct line *line, const char *key, struct span value, size_t max)
{
	if (line->is_full)
		return;
	for (;;) {
		field_span(line, key, value, max);
		if (!line->is_full || max < 16)
			return;
		line->is_full = false;
		max /= 2;
	}
}

size_t
access_format(const struct access_record *record, const struct strings *redact,
    char *buf, size_t cap)
{
	struct line line = {.buf = buf, .cap = ACCESS_LINE_MAX - ACCESS_TAIL};

	assert(cap >= ACCESS_LINE_MAX);
	line_begin(&line, record->wall_ns);
	line_facts(&line, record);
	field_long(&line, "server.address", shown_host(record, redact),
	    WORD_MAX_SHOWN);
	field_long(&line, "url.path", record->path, PATH_MAX_SHOWN);
	field_long(&line, "url.query", record->query, QUERY_MAX_SHOWN);
	field_long(&line, "user_agent.original", shown_agent(record, redact),
	    AGENT_MAX_SHOWN);
	line.cap += ACCESS_TAIL;
	if (line.is_full) {
		line.is_full = false;
		line_text(&line, ",\"truncated\":true");
	}
	line_text(&line, "}\n");
	return line.len;
}
