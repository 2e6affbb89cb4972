/* gRPC, see grpc.h. Numbers of statuses are gRPC's own. */
#include "proxy/grpc.h"

enum {
	GRPC_UNKNOWN = 2,
	GRPC_INVALID_ARGUMENT = 3,
	GRPC_DEADLINE_EXCEEDED = 4,
	GRPC_PERMISSION_DENIED = 7,
	GRPC_RESOURCE_EXHAUSTED = 8,
	GRPC_UNIMPLEMENTED = 12,
	GRPC_INTERNAL = 13,
	GRPC_UNAVAILABLE = 14,
	GRPC_DATA_LOSS = 15,
	TIMEOUT_DIGITS_MAX = 8,
	STATUS_DIGITS_MAX = 3,
};

static const nsec_t GRACE = 50 * NSEC_PER_MSEC;

static struct span
field(const struct h1_head *head, struct span name)
{
	for (uint32_t i = 0; i < head->n_fields; i++)
		if (span_ieq((struct span){head->bytes + head->fields[i].name,
		                 head->fields[i].name_len},
		        name))
			return h1_value(head, i);
	return (struct span){NULL, 0};
}

nsec_t
grpc_timeout(struct span text)
{
	static const struct {
		char letter;
		nsec_t unit;
	} units[] = {
	    {'H', 3600 * NSEC_PER_SEC},
	    {'M', 60 * NSEC_PER_SEC},
	    {'S', NSEC_PER_SEC},
	    {'m', NSEC_PER_MSEC},
	    {'u', NSEC_PER_USEC},
	    {'n', 1},
	};
	nsec_t value = 0;

	if (text.len < 2 || text.len > TIMEOUT_DIGITS_MAX + 1)
		return 0;
	for (size_t i = 0; i + 1 < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return 0;
		value = value * 10 + (text.ptr[i] - '0');
	}
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (units[i].letter == text.ptr[text.len - 1])
			return value < GRPC_TIMEOUT_MAX / units[i].unit
			           ? value * units[i].unit
			           : GRPC_TIMEOUT_MAX;
	return 0;
}

bool
grpc_is_content_type(struct span text)
{
	static const char name[] = "application/grpc";
	size_t len = sizeof(name) - 1;

	if (text.len < len ||
	    !span_ieq((struct span){text.ptr, len}, (struct span){name, len}))
		return false;
	return text.len == len || text.ptr[len] == '+' ||
	       text.ptr[len] == ';' || text.ptr[len] == ' ';
}

void
grpc_begin(struct request *request, const struct h1_head *head)
{
	nsec_t timeout;

	if (request->method != METHOD_POST ||
	    !grpc_is_content_type(field(head, SPAN("content-type"))))
		return;
	request->is_grpc = true;
	timeout = grpc_timeout(field(head, SPAN("grpc-timeout")));
	/* The client counts too, and knows best: ours is for who does not. */
	if (timeout > 0)
		request->deadline = request->start + timeout + GRACE;
}

bool
grpc_is_failure(unsigned status)
{
	switch (status) {
	case GRPC_UNKNOWN:
	case GRPC_DEADLINE_EXCEEDED:
	case GRPC_INTERNAL:
	case GRPC_UNAVAILABLE:
	case GRPC_DATA_LOSS:
		return true;
	default:
		return false;
	}
}

unsigned
grpc_status(struct span text)
{
	unsigned status = 0;

	if (text.len == 0 || text.len > STATUS_DIGITS_MAX)
		return GRPC_UNKNOWN;
	for (size_t i = 0; i < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return GRPC_UNKNOWN;
		status = status * 10 + (unsigned)(text.ptr[i] - '0');
	}
	return status;
}

bool
grpc_status_line(struct span lines, struct span *out)
{
	static const char name[] = "grpc-status:";
	size_t len = sizeof(name) - 1;

	while (lines.len > 0) {
		const char *end = memchr(lines.ptr, '\r', lines.len);
		size_t line = end ? (size_t)(end - lines.ptr) : lines.len;
		size_t next = line + 2 < lines.len ? line + 2 : lines.len;

		if (line >= len && memcmp(lines.ptr, name, len) == 0) {
			while (len < line && lines.ptr[len] == ' ')
				len++;
			*out = (struct span){lines.ptr + len, line - len};
			return true;
		}
		lines.ptr += next;
		lines.len -= next;
	}
	return false;
}

/* None and several are UNKNOWN to any client. */
static unsigned
by_lines(struct span lines)
{
	struct span text, again, rest;

	if (!grpc_status_line(lines, &text))
		return GRPC_UNKNOWN;
	rest.ptr = text.ptr + text.len;
	rest.len = lines.len - (size_t)(rest.ptr - lines.ptr);
	return grpc_status_line(rest, &again) ? GRPC_UNKNOWN
	                                      : grpc_status(text);
}

static unsigned
by_trailers(const struct buf *trailers)
{
	if (!trailers)
		return GRPC_UNKNOWN;
	return by_lines(
	    (struct span){trailers->data + trailers->start, buf_len(trailers)});
}

/* False: it is not the head that says how the call went. */
static bool
by_head(const struct h1_head *head, unsigned *out)
{
	struct span name = SPAN("grpc-status"), text = {NULL, 0};
	unsigned n = 0;

	/* Something follows: then it is the trailers that say it. */
	if (head->framing != H1_NO_BODY || head->status < 200)
		return false;
	for (uint32_t i = 0; i < head->n_fields; i++) {
		if (!span_ieq((struct span){head->bytes + head->fields[i].name,
		                  head->fields[i].name_len},
		        name))
			continue;
		text = h1_value(head, i);
		n++;
	}
	*out = n == 1 ? grpc_status(text) : GRPC_UNKNOWN;
	return n > 0 || head->status == 200;
}

bool
grpc_lines_fail(struct span lines)
{
	return grpc_is_failure(by_lines(lines));
}

bool
grpc_head_fails(const struct h1_head *head)
{
	unsigned status;

	return by_head(head, &status) && grpc_is_failure(status);
}

bool
grpc_trailers_fail(const struct buf *trailers)
{
	return grpc_is_failure(by_trailers(trailers));
}

static bool
note(struct request *request, unsigned status)
{
	request->grpc_told = (uint16_t)(status + 1);
	return grpc_is_failure(status);
}

bool
grpc_note_head(struct request *request, const struct h1_head *head)
{
	unsigned status;

	return by_head(head, &status) && note(request, status);
}

bool
grpc_note_trailers(struct request *request)
{
	return note(request, by_trailers(request->response_body.trailers));
}

unsigned
grpc_status_of(enum fail fail)
{
	switch (fail_row(fail)->status) {
	case 400:
		return GRPC_INVALID_ARGUMENT;
	case 403:
		return GRPC_PERMISSION_DENIED;
	case 404:
		return GRPC_UNIMPLEMENTED;
	case 413:
	case 429:
		return GRPC_RESOURCE_EXHAUSTED;
	case 408:
	case 504:
		return GRPC_DEADLINE_EXCEEDED;
	case 500:
		return GRPC_INTERNAL;
	default:
		return GRPC_UNAVAILABLE;
	}
}
