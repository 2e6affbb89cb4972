/*
 * Leaving HTTP for another protocol (RFC 9110 section 7.8): what may be asked
 * for, and whether a 101 answers just that. A 101 that does not is no answer:
 * behind it both ends would take the same bytes for different things. Pure.
 */
#ifndef WEIR_PROXY_UPGRADE_H
#define WEIR_PROXY_UPGRADE_H

#include "proxy/h1/parse.h"

/* May this protocol of the request's Upgrade be asked for, where `allowed`
 * (UPGRADE_...) is? h2c never is. */
bool upgrade_may_ask(
    const struct h1_head *head, unsigned allowed, struct span protocol);
/* Is there any that may? */
bool upgrade_is_asked(const struct h1_head *head, unsigned allowed);
/* The value of a field in a head as weir has written it; "" when it is not
 * there. */
struct span upgrade_field(struct span asked, struct span name);
/*
 * Is this 101 the answer to the head that was sent? Its protocols are among
 * those offered; for a WebSocket it proves by its digest that the key was read,
 * and names a subprotocol that was offered, or none (RFC 6455 section 4.1).
 */
bool upgrade_is_answer(struct span asked, const struct h1_head *answer);

#endif
