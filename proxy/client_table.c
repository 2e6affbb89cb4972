/* Connections per client address, see client_table.h. */
#include "proxy/client_table.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proxy/conn.h"
#include "routing/decide.h"

enum { SHARDS = 64, SLOTS = 1024 };

struct entry {
	struct entry *next;
	uint8_t address[16];
	uint32_t listener, count;
};

struct shard {
	pthread_mutex_t lock;
	struct entry *slots[SLOTS]; /* owned chains */
};

struct client_table {
	uint8_t key[16];
	struct shard shards[SHARDS];
};

struct client_table *
client_table_new(const uint8_t key[16])
{
	struct client_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	memcpy(table->key, key, 16);
	for (int i = 0; i < SHARDS; i++)
		pthread_mutex_init(&table->shards[i].lock, NULL);
	return table;
}

void
client_table_free(struct client_table **table_in)
{
	struct client_table *table = *table_in;

	*table_in = NULL;
	if (!table)
		return;
	for (int i = 0; i < SHARDS; i++) {
		for (int j = 0; j < SLOTS; j++) {
			while (table->shards[i].slots[j]) {
				struct entry *entry = table->shards[i].slots[j];

				table->shards[i].slots[j] = entry->next;
				free(entry);
			}
		}
		pthread_mutex_destroy(&table->shards[i].lock);
	}
	free(table);
}

static void
address_of(const struct peer *peer, uint8_t out[16])
{
	memcpy(out, peer->bytes, 16);
	if (peer->family == AF_INET6)
		memset(out + 8, 0, 8);
}

/* Locks the shard; the caller unlocks it. The link that points at the entry, or
 * at the chain's end. */
static struct entry **
find(struct client_table *table, uint32_t listener, const uint8_t address[16],
    struct shard **shard_out)
{
	uint64_t hash = hash_keyed(table->key, address, 16);
	struct shard *shard = &table->shards[hash % SHARDS];
	struct entry **link = &shard->slots[hash / SHARDS % SLOTS];

	pthread_mutex_lock(&shard->lock);
	while (*link && ((*link)->listener != listener ||
	                    memcmp((*link)->address, address, 16) != 0))
		link = &(*link)->next;
	*shard_out = shard;
	return link;
}

bool
client_table_take(struct client_table *table, uint32_t listener,
    const struct peer *peer, uint32_t max)
{
	uint8_t address[16];
	struct shard *shard;
	struct entry **link;
	bool ok = false;

	address_of(peer, address);
	link = find(table, listener, address, &shard);
	if (!*link) {
		*link = calloc(1, sizeof(**link));
		if (*link) {
			memcpy((*link)->address, address, 16);
			(*link)->listener = listener;
		}
	}
	if (*link && (*link)->count < max) {
		(*link)->count++;
		ok = true;
	}
	pthread_mutex_unlock(&shard->lock);
	return ok;
}

void
client_table_give(
    struct client_table *table, uint32_t listener, const struct peer *peer)
{
	uint8_t address[16];
	struct shard *shard;
	struct entry **link, *entry;

	address_of(peer, address);
	link = find(table, listener, address, &shard);
	entry = *link;
	assert(entry && entry->count > 0);
	if (--entry->count == 0) {
		*link = entry->next;
		free(entry);
	}
	pthread_mutex_unlock(&shard->lock);
}
