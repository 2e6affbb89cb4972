/*
 * See dns_read.h. Addresses come from c-ares as a list. It has a reader for SRV
 * records too, but that one forgets their TTL, so the message is read here;
 * names in it by ares_expand_name(), which knows about pointers that go in
 * circles.
 */
#include "proxy/control/dns_read.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

enum {
	HEADER_LEN = 12,
	RECORDS_MAX = 4096, /* more than 64 KiB can hold of any use */
	ALIASES_MAX = 8,
};

/* ---- addresses ---- */

static int
by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sockaddr_storage));
}

/*
 * An IPv6 address is of no use on a host without a route to it, and would be
 * tried for every second connection. The kernel tells without sending.
 */
static bool
is_reachable(const struct ares_addrinfo_node *node)
{
	bool is_open;
	int fd;

	if (node->ai_family != AF_INET6)
		return true;
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno != EAFNOSUPPORT;
	is_open = connect(fd, node->ai_addr, node->ai_addrlen) == 0;
	close(fd);
	return is_open;
}

/* All of them in one order before the bound: a server that turns them round
 * must not change who is within it. */
static size_t
take_addresses(const struct ares_addrinfo_node *all, bool only_reachable,
    struct dns_addresses *out)
{
	const struct ares_addrinfo_node *node;
	struct sockaddr_storage *at;
	size_t n = 0;

	for (node = all; node; node = node->ai_next)
		n++;
	at = calloc(n ? n : 1, sizeof(*at));
	if (!at)
		return 0;
	n = 0;
	for (node = all; node; node = node->ai_next) {
		if ((node->ai_family != AF_INET &&
		        node->ai_family != AF_INET6) ||
		    node->ai_addrlen > sizeof(struct sockaddr_in6) ||
		    (only_reachable && !is_reachable(node)))
			continue;
		memcpy(&at[n++], node->ai_addr, node->ai_addrlen);
	}
	qsort(at, n, sizeof(*at), by_bytes);
	out->n = 0;
	for (size_t i = 0; i < n && out->n < DNS_ADDRESSES_MAX; i++)
		if (out->n == 0 || by_bytes(&out->at[out->n - 1], &at[i]) != 0)
			out->at[out->n++] = at[i]; /* a hosts file may say it
			                              twice */
	free(at);
	return out->n;
}

int
dns_read_addresses(const struct ares_addrinfo *info, struct dns_addresses *out)
{
	/* A host that has no network yet still learns the addresses. */
	return take_addresses(info->nodes, true, out) > 0 ||
	               take_addresses(info->nodes, false, out) > 0
	           ? ARES_SUCCESS
	           : ARES_ENODATA;
}

nsec_t
dns_read_ttl(const struct ares_addrinfo *info)
{
	int ttl = INT_MAX;

	for (const struct ares_addrinfo_node *node = info->nodes; node;
	     node = node->ai_next)
		if (node->ai_ttl < ttl)
			ttl = node->ai_ttl;
	for (const struct ares_addrinfo_cname *cname = info->cnames; cname;
	     cname = cname->next)
		if (cname->ttl < ttl)
			ttl = cname->ttl;
	return (nsec_t)ttl * NSEC_PER_SEC;
}

/* ---- records of a message ---- */

struct message {
	const uint8_t *bytes;
	size_t len, first; /* where the answers begin */
	unsigned n;
};

struct record {
	char owner[DNS_NAME_MAX];
	unsigned type, class, data_len;
	uint32_t ttl;
	size_t data; /* where */
};

static unsigned
two_at(const struct message *message, size_t at)
{
	return (unsigned)message->bytes[at] << 8 | message->bytes[at + 1];
}

/* Behind it; 0: it is broken, or too long to be a name. "" is the root. */
static size_t
read_name(const struct message *message, size_t at, char out[DNS_NAME_MAX])
{
	char *name = NULL;
	long used = 0;
	bool fits;

	if (at >= message->len ||
	    ares_expand_name(message->bytes + at, message->bytes,
	        (int)message->len, &name, &used) != ARES_SUCCESS)
		return 0;
	fits = strlen(name) < DNS_NAME_MAX;
	if (fits)
		memcpy(out, name, strlen(name) + 1);
	ares_free_string(name);
	return fits ? at + (size_t)used : 0;
}

/* Behind it; 0: the message ends before it does. */
static size_t
read_record(const struct message *message, size_t at, struct record *out)
{
	at = read_name(message, at, out->owner);
	if (at == 0 || message->len - at < 10)
		return 0;
	out->type = two_at(message, at);
	out->class = two_at(message, at + 2);
	out->ttl =
	    (uint32_t)two_at(message, at + 4) << 16 | two_at(message, at + 6);
	out->data_len = two_at(message, at + 8);
	out->data = at + 10;
	return message->len - out->data < out->data_len
	           ? 0
	           : out->data + out->data_len;
}

static bool
message_open(const uint8_t *bytes, size_t len, struct message *out)
{
	char name[DNS_NAME_MAX];
	size_t at;

	*out = (struct message){.bytes = bytes, .len = len};
	if (len < HEADER_LEN || len > 65535)
		return false;
	at = HEADER_LEN;
	for (unsigned i = two_at(out, 4); i > 0; i--) {
		at = read_name(out, at, name);
		if (at == 0 || len - at < 4)
			return false;
		at += 4;
	}
	out->first = at;
	out->n = two_at(out, 6);
	return out->n <= RECORDS_MAX;
}

/* ---- services ---- */

/* Says what `owner` is another name for, if it is one. False: it is broken. */
static bool
follow_alias(const struct message *message, char owner[DNS_NAME_MAX],
    uint32_t *ttl, bool *is_alias_out)
{
	struct record record;
	size_t at = message->first;

	*is_alias_out = false;
	for (unsigned i = 0; i < message->n; i++) {
		at = read_record(message, at, &record);
		if (at == 0)
			return false;
		if (record.type != ns_t_cname || record.class != ns_c_in ||
		    strcasecmp(record.owner, owner) != 0)
			continue;
		*is_alias_out = true;
		if (record.ttl < *ttl)
			*ttl = record.ttl;
		return read_name(message, record.data, owner) != 0;
	}
	return true;
}

/* What a host may be called; anything else is asked of nobody. */
static bool
is_host(const char *name)
{
	for (const char *c = name; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
			return false;
	return *name != '\0';
}

static void
take_record(const struct message *message, const struct record *record,
    struct dns_service *out)
{
	struct dns_target *target = &out->at[out->n];

	if (record->data_len < 7)
		return;
	*target = (struct dns_target){
	    .priority = two_at(message, record->data) & 0xffff,
	    .weight = two_at(message, record->data + 2) & 0xffff,
	    .port = two_at(message, record->data + 4) & 0xffff};
	if (read_name(message, record->data + 6, target->host) !=
	    record->data + record->data_len)
		return;
	out->is_denied |= target->host[0] == '\0';
	if (target->port == 0 || !is_host(target->host))
		return;
	for (char *c = target->host; *c; c++)
		*c = (char)tolower((unsigned char)*c);
	out->n++;
}

static int
by_use(const void *a, const void *b)
{
	const struct dns_target *x = a, *y = b;
	int order = strcmp(x->host, y->host);

	if (x->priority != y->priority)
		return x->priority < y->priority ? -1 : 1;
	if (order != 0)
		return order;
	if (x->port != y->port)
		return x->port < y->port ? -1 : 1;
	return (x->weight > y->weight) - (x->weight < y->weight);
}

/* Records that say the same are one; of too many the first priorities stay. */
static void
put_in_order(struct dns_service *service)
{
	size_t n = service->n;

	qsort(service->at, n, sizeof(*service->at), by_use);
	service->n = 0;
	for (size_t i = 0; i < n; i++)
		if (service->n == 0 ||
		    by_use(&service->at[service->n - 1], &service->at[i]) != 0)
			service->at[service->n++] = service->at[i];
	service->n_told = service->n;
	if (service->n > DNS_TARGETS_MAX)
		service->n = DNS_TARGETS_MAX;
}

static bool
take_records(const struct message *message, const char *owner, uint32_t *ttl,
    struct dns_service *out)
{
	struct record record;
	size_t at = message->first;

	for (unsigned i = 0; i < message->n; i++) {
		at = read_record(message, at, &record);
		if (at == 0)
			return false;
		if (record.type != ns_t_srv || record.class != ns_c_in ||
		    strcasecmp(record.owner, owner) != 0)
			continue;
		if (record.ttl < *ttl)
			*ttl = record.ttl;
		take_record(message, &record, out);
	}
	return true;
}

static size_t
without_dot(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && name[len - 1] == '.' ? len - 1 : len;
}

int
dns_read_service(
    const uint8_t *bytes, size_t len, const char *name, struct dns_service *out)
{
	struct message message;
	char owner[DNS_NAME_MAX] = "";
	uint32_t ttl = INT_MAX; /* greater ones are none, RFC 2181 */
	bool is_alias = true;

	*out = (struct dns_service){0};
	if (!message_open(bytes, len, &message) ||
	    without_dot(name) >= sizeof(owner))
		return ARES_EBADRESP;
	memcpy(owner, name, without_dot(name));
	for (int i = 0; is_alias; i++)
		if (i > ALIASES_MAX ||
		    !follow_alias(&message, owner, &ttl, &is_alias))
			return ARES_EBADRESP;
	out->at = calloc(message.n + 1, sizeof(*out->at));
	if (!out->at)
		return ARES_ENOMEM;
	if (!take_records(&message, owner, &ttl, out)) {
		dns_service_release(out);
		return ARES_EBADRESP;
	}
	put_in_order(out);
	out->ttl = (nsec_t)ttl * NSEC_PER_SEC;
	out->is_denied = out->is_denied && out->n == 0;
	return out->n > 0 || out->is_denied ? ARES_SUCCESS : ARES_ENODATA;
}

void
dns_service_release(struct dns_service *service)
{
	free(service->at);
	*service = (struct dns_service){0};
}
