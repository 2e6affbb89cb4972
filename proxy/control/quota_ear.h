/*
 * What the other instances tell of the keys of shared limits: a channel of
 * Redis, PREFIX:limits, on a connection of its own, since who listens cannot
 * ask. A message is "INSTANCE KEY:DEBT KEY:DEBT ...": the key's hash in 16
 * hexadecimal digits, and what all instances together owed for it in us, or
 * "-" when it was forgiven. What cannot be read is skipped.
 *
 * A user without the right to channels works without it: a key is then known
 * here from its first request on.
 */
#ifndef WEIR_PROXY_QUOTA_EAR_H
#define WEIR_PROXY_QUOTA_EAR_H

#include "proxy/control/redis.h"

enum { QUOTA_CHANNEL_MAX = 144 };

struct quota_ear;
struct quota_ear_hooks {
	void *ctx;
	void (*owed)(void *ctx, uint64_t hash, nsec_t debt);
	void (*forgiven)(void *ctx, uint64_t hash);
	size_t (*resolve)(void *ctx, const struct address *address, struct sockaddr_storage *out, size_t cap);
};

/* `own` is the name of this instance: what it told itself is skipped. */
struct quota_ear *quota_ear_new(struct event_base *base, const struct redis_cfg *cfg, const char *own, const struct quota_ear_hooks *hooks, struct err *err);
void quota_ear_free(struct quota_ear **ear);
bool quota_ear_may_stay(struct quota_ear *ear, const struct redis_cfg *cfg); /* as redis_may_stay */
/* Now and then: a connection that nothing comes from may have ended. */
void quota_ear_ping(struct quota_ear *ear);
void quota_ear_channel(const char *prefix, char out[QUOTA_CHANNEL_MAX]);
/* One message; in the header for its test. */
void quota_ear_read(const char *text, const char *own, const struct quota_ear_hooks *hooks);

#endif
