/*
 * Where one may listen or connect, and ranges of addresses. Nothing here asks
 * the network: a name stays a name until proxy/control/resolve.c takes it.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/un.h>

#include "config/config.h"
#include "config/mem.h"

enum { HOST_MAX = 253, LABEL_MAX = 63 };

/* ---- addresses ---- */

static bool
is_label_byte(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
	       (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Labels of a DNS name; one final dot is allowed. */
static bool
is_dns_name(struct span host)
{
	size_t label = 0;
	bool has_letter = false;

	if (host.len == 0 || host.len > HOST_MAX)
		return false;
	for (size_t i = 0; i < host.len; i++) {
		if (host.ptr[i] == '.') {
			if (label == 0)
				return false;
			label = 0;
			has_letter = has_letter && i + 1 == host.len;
			continue;
		}
		if (!is_label_byte(host.ptr[i]) || ++label > LABEL_MAX)
			return false;
		has_letter |= host.ptr[i] < '0' || host.ptr[i] > '9';
	}
	return has_letter; /* a last label of digits is a broken IPv4 address */
}

static bool
unix_parse(struct span path, struct address *out, struct err *err)
{
	struct sockaddr_un *sun = (struct sockaddr_un *)&out->sa;

	if (path.len == 0)
		return err_set(err, "\"unix:\" needs a path");
	if (path.len >= sizeof(sun->sun_path))
		return err_set(err,
		    "the path of a unix socket has at most %zu bytes",
		    sizeof(sun->sun_path) - 1);
	if (memchr(path.ptr, 0, path.len))
		return err_set(err, "a path has no NUL byte");
	out->kind = ADDRESS_UNIX;
	sun->sun_family = AF_UNIX;
	memcpy(sun->sun_path, path.ptr, path.len);
	out->sa_len = sizeof(*sun);
	out->host = mem_text(path);
	return true;
}

/* "[::1]:80" → "::1" and "80"; "10.0.0.1:80" → "10.0.0.1" and "80". */
static bool
host_and_port(struct span text, struct span *host, struct span *port,
    bool *is_v6, struct err *err)
{
	const char *end = text.ptr + text.len, *colon;

	*is_v6 = text.len > 0 && text.ptr[0] == '[';
	if (*is_v6) {
		const char *close = memchr(text.ptr, ']', text.len);

		if (close == NULL)
			return err_set(err, "the bracket is not closed");
		*host =
		    (struct span){text.ptr + 1, (size_t)(close - text.ptr - 1)};
		colon = close + 1;
		if (colon == end || *colon != ':')
			return err_set(err, "no port is given");
	} else {
		colon = memchr(text.ptr, ':', text.len);
		if (colon == NULL)
			return err_set(err, "no port is given");
		if (end - colon > 2 && memcmp(colon, "://", 3) == 0)
			return err_set(err, "it is written without \"%.*s://\"",
			    (int)(colon - text.ptr < 16 ? colon - text.ptr
			                                : 16),
			    text.ptr);
		if (memchr(colon + 1, ':', (size_t)(end - colon - 1)))
			return err_set(err,
			    "an IPv6 address stands in brackets: \"[::1]:80\"");
		*host = (struct span){text.ptr, (size_t)(colon - text.ptr)};
	}
	*port = (struct span){colon + 1, (size_t)(end - colon - 1)};
	return true;
}

static bool
ip_fill(const char *host, bool is_v6, uint16_t port, struct address *out)
{
	struct sockaddr_in6 *six = (struct sockaddr_in6 *)&out->sa;
	struct sockaddr_in *four = (struct sockaddr_in *)&out->sa;

	out->kind = ADDRESS_IP;
	if (is_v6 && inet_pton(AF_INET6, host, &six->sin6_addr) == 1) {
		six->sin6_family = AF_INET6;
		six->sin6_port = htons(port);
		out->sa_len = sizeof(*six);
		return true;
	}
	if (!is_v6 && inet_pton(AF_INET, host, &four->sin_addr) == 1) {
		four->sin_family = AF_INET;
		four->sin_port = htons(port);
		out->sa_len = sizeof(*four);
		return true;
	}
	return false;
}

static bool
inet_parse(struct span text, struct address *out, struct err *err)
{
	struct span host = {"", 0}, port = {"", 0};
	bool is_v6;
	int64_t number;

	if (!host_and_port(text, &host, &port, &is_v6, err))
		return false;
	if (host.len == 0)
		return err_set(err, "no host is given");
	if (!units_integer(port, &number) || number < 0 || number > 65535)
		return err_set(err, "the port is not a number from 0 to 65535");
	if (memchr(host.ptr, 0, host.len) || host.len > HOST_MAX)
		return err_set(err, "the host is not a name or an address");
	out->port = (uint16_t)number;
	out->host = mem_text(host);
	if (ip_fill(out->host, is_v6, out->port, out))
		return true;
	if (is_v6)
		return err_set(err, "no IPv6 address stands in the brackets");
	if (!is_dns_name(host))
		return err_set(err, "the host is not a name or an address");
	out->kind = ADDRESS_NAME;
	return true;
}

bool
address_parse(struct span text, struct address *out, struct err *err)
{
	struct span scheme = SPAN("unix:");
	bool is_fine;

	memset(out, 0, sizeof(*out));
	if (span_starts(text, scheme))
		is_fine = unix_parse(
		    (struct span){text.ptr + scheme.len, text.len - scheme.len},
		    out, err);
	else
		is_fine = inet_parse(text, out, err);
	if (is_fine)
		out->text = mem_text(text);
	else
		address_release(out);
	return is_fine;
}

bool
address_parse_dns(struct span text, struct address *out, struct err *err)
{
	bool is_bracketed =
	    text.len > 2 && text.ptr[0] == '[' && text.ptr[text.len - 1] == ']';
	struct span host =
	    is_bracketed ? (struct span){text.ptr + 1, text.len - 2} : text;
	char with_port[INET6_ADDRSTRLEN + 8];
	struct cidr cidr;
	bool is_v6 = host.len > 0 && memchr(host.ptr, ':', host.len);

	if (host.len >= INET6_ADDRSTRLEN || (is_bracketed && !is_v6) ||
	    (host.len > 0 && memchr(host.ptr, '/', host.len)) ||
	    !cidr_parse(host, &cidr))
		return address_parse(text, out, err);
	snprintf(with_port, sizeof(with_port), is_v6 ? "[%.*s]:53" : "%.*s:53",
	    (int)host.len, host.ptr);
	return address_parse(span_of(with_port), out, err);
}

/* Whose service it is: what TLS is to prove. Consul's names have no labels
   with an underscore. */
static struct span
domain_of(struct span service)
{
	while (service.len > 0 && service.ptr[0] == '_') {
		const char *dot = memchr(service.ptr, '.', service.len);
		size_t label =
		    dot ? (size_t)(dot - service.ptr) + 1 : service.len;

		service.ptr += label;
		service.len -= label;
	}
	return service;
}

bool
address_of_service(struct span name, struct address *out, struct err *err)
{
	struct span domain = domain_of(name);

	memset(out, 0, sizeof(*out));
	if (!is_dns_name(name) || domain.len == 0)
		return err_set(err, "SRV records have a name like "
		                    "_http._tcp.shop.internal");
	out->kind = ADDRESS_NAME;
	out->text = mem_text(name);
	out->service = mem_text(name);
	out->host = mem_text(domain);
	return true;
}

void
address_release(struct address *address)
{
	free(address->service);
	free(address->text);
	free(address->host);
	memset(address, 0, sizeof(*address));
}

/* ---- ranges ---- */

static void
map_v4(uint8_t *bytes, const void *four)
{
	memset(bytes, 0, 10);
	bytes[10] = bytes[11] = 0xff;
	memcpy(bytes + 12, four, 4);
}

static bool
bits_equal(const uint8_t *a, const uint8_t *b, unsigned bits)
{
	unsigned whole = bits / 8, rest = bits % 8;

	if (memcmp(a, b, whole) != 0)
		return false;
	return rest == 0 || ((a[whole] ^ b[whole]) >> (8 - rest)) == 0;
}

/* "10.1.2.3/8" names one host and a network at once: refused. */
static bool
is_network(const struct cidr *cidr)
{
	uint8_t masked[16] = {0};
	unsigned whole = cidr->bits / 8, rest = cidr->bits % 8;

	memcpy(masked, cidr->bytes, whole);
	if (rest)
		masked[whole] =
		    (uint8_t)(cidr->bytes[whole] & (0xff << (8 - rest)));
	return memcmp(masked, cidr->bytes, sizeof(masked)) == 0;
}

bool
cidr_parse(struct span text, struct cidr *out)
{
	const char *slash =
	    text.len > 0 ? memchr(text.ptr, '/', text.len) : NULL;
	size_t len = slash ? (size_t)(slash - text.ptr) : text.len;
	char host[INET6_ADDRSTRLEN] = {0};
	struct in_addr four;
	int64_t bits, most;

	if (len == 0 || len >= sizeof(host) || memchr(text.ptr, 0, len))
		return false;
	memcpy(host, text.ptr, len);
	if (inet_pton(AF_INET, host, &four) == 1) {
		map_v4(out->bytes, &four);
		most = 32;
	} else if (inet_pton(AF_INET6, host, out->bytes) == 1) {
		most = 128;
	} else {
		return false;
	}
	bits = most;
	if (slash &&
	    (!units_integer(
	         (struct span){slash + 1, text.len - len - 1}, &bits) ||
	        bits < 0 || bits > most))
		return false;
	out->bits = (uint8_t)(bits + 128 - most);
	return is_network(out);
}

bool
cidrs_hold(const struct cidrs *cidrs, const struct sockaddr *sa)
{
	uint8_t bytes[16];

	if (sa->sa_family == AF_INET)
		map_v4(bytes, &((const struct sockaddr_in *)sa)->sin_addr);
	else if (sa->sa_family == AF_INET6)
		memcpy(
		    bytes, &((const struct sockaddr_in6 *)sa)->sin6_addr, 16);
	else
		return false;
	for (size_t i = 0; i < cidrs->n; i++) {
		if (bits_equal(bytes, cidrs->at[i].bytes, cidrs->at[i].bits))
			return true;
	}
	return false;
}
