/*
 * What the fields of a head mean: framing, persistence, upgrade, expectation,
 * and which fields belong to this connection alone. Private to parse.c.
 */
#ifndef WEIR_PROXY_H1_RULES_H
#define WEIR_PROXY_H1_RULES_H

#include "proxy/h1/parse.h"

/* Options that Connection may name, as bits. */
enum { OPTION_CLOSE = 1, OPTION_KEEP_ALIVE = 2, OPTION_UPGRADE = 4 };

/*
 * Each is called only when a field that it reads is there.
 */

/* Content-Length, Transfer-Encoding: set framing, length, has_length. */
enum h1_fault h1_rule_framing(struct h1_head *head);

/* Connection: sets is_hop of the fields that it names, and keep_alive. */
enum h1_fault h1_rule_connection(struct h1_head *head, unsigned *options_out);

/* Upgrade: sets wants_upgrade and is_websocket; wants the framing. */
void h1_rule_upgrade(struct h1_head *head, unsigned options);

/* Expect: sets expects_continue; wants the framing. */
enum h1_fault h1_rule_expect(struct h1_head *head);

/* Is `word` an element of the list in any field `id`? */
bool h1_rule_lists(
    const struct h1_head *head, enum field_id id, struct span word);

#endif
