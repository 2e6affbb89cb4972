/* What a check says over HTTP/1, and what the answer means; see probe_h1.h. */
#include "proxy/control/probe_h1.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what goes ---- */

void
probe_h1_host(const struct address *address, char *out, size_t cap)
{
	if (address->kind == ADDRESS_UNIX)
		snprintf(out, cap, "localhost");
	else if (address->kind == ADDRESS_NAME)
		snprintf(out, cap, "%s:%u", address->host, address->port);
	else
		snprintf(out, cap, "%s", address->text);
}

char *
probe_h1_request(
    const struct health_cfg *cfg, const char *host, size_t *len_out)
{
	bool has_host = false;
	char *request = NULL;
	FILE *out = open_memstream(&request, len_out);

	if (out == NULL)
		return NULL;
	fprintf(out, "%s %s HTTP/1.1\r\n", cfg->is_head ? "HEAD" : "GET",
	    cfg->path);
	for (size_t i = 0; i < cfg->n_headers; i++) {
		has_host |= strcmp(cfg->headers[i].name, "host") == 0;
		fprintf(out, "%s: %s\r\n", cfg->headers[i].name,
		    cfg->headers[i].value);
	}
	if (!has_host)
		fprintf(out, "host: %s\r\n", host);
	fputs("user-agent: weir-health\r\naccept: */*\r\n"
	      "connection: close\r\n\r\n",
	    out);
	if (fclose(out) == 0)
		return request;
	free(request);
	return NULL;
}

/* ---- what came ---- */

static enum probe_verdict
bad(char text[PROBE_TEXT_MAX], const char *what)
{
	snprintf(text, PROBE_TEXT_MAX, "%s", what);
	return PROBE_BAD;
}

static bool
status_is_good(const struct health_cfg *cfg, unsigned status)
{
	for (size_t i = 0; i < cfg->n_expect; i++)
		if (status >= cfg->expect[i].from &&
		    status <= cfg->expect[i].to)
			return true;
	return false;
}

/* Chunks' bytes without their frames, in place; what is no chunk ends it. */
static size_t
unchunk(char *bytes, size_t len)
{
	size_t in = 0, out = 0;

	while (in < len) {
		char *line_end = memchr(bytes + in, '\n', len - in);
		size_t size = strtoul(bytes + in, NULL, 16);
		size_t at = line_end ? (size_t)(line_end - bytes) + 1 : len;

		if (size == 0 || at >= len)
			break;
		if (size > len - at)
			size = len - at;
		memmove(bytes + out, bytes + at, size);
		out += size;
		in = at + size + 2;
	}
	return out;
}

/* The value of a field in the head, or NULL. */
static const char *
head_field(const char *head, size_t len, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i + n + 2 < len; i++)
		if (head[i] == '\n' && head[i + 1 + n] == ':' &&
		    strncasecmp(head + i + 1, name, n) == 0)
			return head + i + 2 + n;
	return NULL;
}

/* The head's length with its empty line; 0: not all there. */
static size_t
head_length(const char *bytes, size_t len)
{
	const char *at = memmem(bytes, len, "\r\n\r\n", 4);

	return at ? (size_t)(at - bytes) + 4 : 0;
}

static enum probe_verdict
judge_body(const struct health_cfg *cfg, char *bytes, size_t n, size_t head,
    char text[PROBE_TEXT_MAX])
{
	char *body = bytes + head;
	size_t len = n - head;

	if (head_field(bytes, head, "transfer-encoding"))
		len = unchunk(body, len);
	if (memmem(body, len, cfg->body, strlen(cfg->body)))
		return PROBE_GOOD;
	return bad(text, "the answer does not contain the text");
}

/* Of "HTTP/1.1 200 OK"; 0: it is none. */
static unsigned
status_of(const char *line, size_t len)
{
	unsigned status = 0;

	if (len < 13 || memcmp(line, "HTTP/1.", 7) != 0 ||
	    (line[7] != '0' && line[7] != '1') || line[8] != ' ' ||
	    (line[12] != ' ' && line[12] != '\r'))
		return 0;
	for (int i = 9; i < 12; i++) {
		if (line[i] < '0' || line[i] > '9')
			return 0;
		status = status * 10 + (unsigned)(line[i] - '0');
	}
	return status >= 100 ? status : 0;
}

/* Interim answers go. False: there are too many of them. */
static bool
drop_interim(struct probe_answer *answer)
{
	size_t at = 0, head;

	while ((head = head_length(answer->bytes + at, answer->n - at)) > 0) {
		unsigned status = status_of(answer->bytes + at, answer->n - at);

		if (status == 0 || status >= 200)
			break;
		if (++answer->n_interim > PROBE_INTERIM_MAX)
			return false;
		at += head;
	}
	answer->n -= at;
	memmove(answer->bytes, answer->bytes + at, answer->n);
	return true;
}

enum probe_verdict
probe_h1_judge(const struct health_cfg *cfg, struct probe_answer *answer,
    bool is_all, char text[PROBE_TEXT_MAX])
{
	bool is_bearable = drop_interim(answer);
	size_t n = answer->n, head = head_length(answer->bytes, n);
	unsigned status;

	if (!is_bearable)
		return bad(text, "interim answers without end");
	answer->bytes[n] = '\0';
	if (n >= 13 || head > 0 || is_all) {
		status = status_of(answer->bytes, n);
		if (status == 0)
			return bad(text, n ? "the answer is not HTTP"
			                   : "closed without an answer");
		snprintf(text, PROBE_TEXT_MAX, "status %u", status);
		if (status >= 200 && !status_is_good(cfg, status))
			return PROBE_BAD;
		if (status >= 200 && cfg->body == NULL)
			return PROBE_GOOD;
		if (status >= 200 && head > 0 &&
		    (is_all || n == PROBE_KEPT_MAX))
			return judge_body(cfg, answer->bytes, n, head, text);
		if (is_all)
			return bad(text, "closed within its answer");
	}
	if (n < PROBE_KEPT_MAX)
		return PROBE_MORE;
	return bad(text, "the answer's head is too long");
}

bool
probe_h1_is_enough(const struct health_cfg *cfg, const char *bytes, size_t n)
{
	const char *want = cfg->body, *length;
	size_t head = want ? head_length(bytes, n) : 0;
	const char *body = bytes + head;
	size_t len = n - head;

	if (head == 0)
		return false;
	if (memmem(body, len, want, strlen(want)))
		return true;
	if (head_field(bytes, head, "transfer-encoding"))
		return len >= 5 && memcmp(body + len - 5, "0\r\n\r\n", 5) == 0;
	length = head_field(bytes, head, "content-length");
	return length && len >= strtoul(length, NULL, 10);
}
