/*
 * Where a service is: what its SRV records and the addresses of their targets
 * make together (RFC 2782). Pure.
 *
 *   priority  its rank is the tier: the lowest has the requests while any of
 *             it is usable
 *   weight    of a target, shared among its addresses; 0 counts as 1, which is
 *             what the RFC's way to draw makes of it. Beyond an endpoint's 1000
 *             all of a tier shrink alike.
 */
#ifndef WEIR_PROXY_PLACES_H
#define WEIR_PROXY_PLACES_H

#include "proxy/control/dns_read.h"
#include "routing/control.h"

/* The addresses of a target; NULL: it has none. */
typedef const struct dns_addresses *places_address_fn(void *ctx, const char *host);
/* At most SERVICE_PLACES_MAX, by address and port. */
size_t places_make(const struct dns_service *service, places_address_fn *fn, void *ctx, struct service_place out[]);

#endif
