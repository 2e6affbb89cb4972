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
};

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

/* At most eight digits and a unit: H, M, S, m, u, n. 0: none, or malformed. */
static nsec_t
timeout_of(struct span text)
{
	nsec_t value = 0;

	if (text.len < 2 || text.len > TIMEOUT_DIGITS_MAX + 1)
		return 0;
	for (size_t i = 0; i + 1 < text.len; i++) {
		if (text.ptr[i] < '0' || text.ptr[i] > '9')
			return 0;
		value = value * 10 + (text.ptr[i] - '0');
	}
	switch (text.ptr[text.len - 1]) {
	case 'H':
		return value * 3600 * NSEC_PER_SEC;
	case 'M':
		return value * 60 * NSEC_PER_SEC;
	case 'S':
		return value * NSEC_PER_SEC;
	case 'm':
		return value * NSEC_PER_MSEC;
	case 'u':
		return value * NSEC_PER_USEC;
	case 'n':
		return value;
	default:
		return 0;
	}
}

void
grpc_begin(struct request *request, const struct h1_head *head)
{
	nsec_t timeout;

	if (request->method != METHOD_POST ||
	    !span_starts(
	        field(head, SPAN("content-type")), SPAN("application/grpc")))
		return;
	request->is_grpc = true;
	timeout = timeout_of(field(head, SPAN("grpc-timeout")));
	if (timeout > 0)
		request->deadline = request->start + timeout;
}

/* Which statuses are the pool's failure: as for HTTP's 5xx. */
static bool
is_failure(unsigned status)
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

static void
note(struct request *request, struct span text)
{
	unsigned status = 0;

	if (text.len == 0 || text.len > 3)
		return;
	for (size_t i = 0; i < text.len; i++)
		status = status * 10 + (unsigned)(text.ptr[i] - '0');
	if (!is_failure(status))
		return;
	counter_add(&request->endpoint->local[request->worker->id]
	                 .errors[UPSTREAM_STATUS],
	    1);
	if (request->attempts <= 1)
		request->is_first_failed = true;
}

void
grpc_note_head(struct request *request, const struct h1_head *head)
{
	note(request, field(head, SPAN("grpc-status")));
}

void
grpc_note_trailers(struct request *request, struct span lines)
{
	static const char name[] = "grpc-status: ";
	const char *at = memmem(lines.ptr, lines.len, name, sizeof(name) - 1);
	const char *end;

	if (!at || (at != lines.ptr && at[-1] != '\n'))
		return;
	at += sizeof(name) - 1;
	end = memchr(at, '\r', lines.len - (size_t)(at - lines.ptr));
	if (end)
		note(request, (struct span){at, (size_t)(end - at)});
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
