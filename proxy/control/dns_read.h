/*
 * What name servers answer, read with care: nothing of it is trusted, all of it
 * is bounded. Pure but for the kernel being asked for a route.
 */
#ifndef WEIR_PROXY_DNS_READ_H
#define WEIR_PROXY_DNS_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "config/units.h"

enum {
	DNS_ADDRESSES_MAX = 64, /* of one name */
	DNS_TARGETS_MAX = 128,  /* of one service */
	DNS_NAME_MAX = 254,     /* with its end */
};

/* Sorted: one order whatever the server's; the port is 0. */
struct dns_addresses {
	struct sockaddr_storage at[DNS_ADDRESSES_MAX];
	size_t n;
};

struct dns_target {
	uint16_t priority, weight, port;
	char host[DNS_NAME_MAX];
};

/* The records of one service, by priority, then by host and port. */
struct dns_service {
	struct dns_target *at; /* owned */
	size_t n, n_told;      /* n_told: as many records there were */
	bool is_denied;        /* "decidedly not available", RFC 2782: no records then */
	nsec_t ttl;
};

struct ares_addrinfo;

/* A status of c-ares, as all here. */
int dns_read_addresses(const struct ares_addrinfo *info, struct dns_addresses *out);
nsec_t dns_read_ttl(const struct ares_addrinfo *info);
/* A whole message. The records of `name`, or of what it is an alias for. */
int dns_read_service(const uint8_t *bytes, size_t len, const char *name, struct dns_service *out);
void dns_service_release(struct dns_service *service);

#endif
