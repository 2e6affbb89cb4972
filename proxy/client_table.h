/*
 * How many connections each client address has, over all workers. Asked only
 * at accept and close, and only where `limits.per_client` is set, so a lock
 * per shard is no matter. IPv6 clients count by /64.
 */
#ifndef WEIR_PROXY_CLIENT_TABLE_H
#define WEIR_PROXY_CLIENT_TABLE_H

#include <stdbool.h>
#include <stdint.h>

struct peer;
struct client_table;

struct client_table *client_table_new(const uint8_t key[16]);
void client_table_free(struct client_table **table);
/* False: this client has `max` already, or there is no memory to count it. */
bool client_table_take(struct client_table *table, uint32_t listener, const struct peer *peer, uint32_t max);
void client_table_give(struct client_table *table, uint32_t listener, const struct peer *peer);

#endif
