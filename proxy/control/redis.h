/*
 * A connection to a Redis server, on the control thread's event loop. Nothing
 * here waits: commands are queued and their answers come to callbacks, in
 * order; a connection that fails, or does not answer in time, is made anew
 * after a pause that grows to two seconds.
 *
 * hiredis writes commands and reads answers; the bytes are moved here, since
 * its own connections look names up while everything stands still and know
 * no TLS but one that needs a second home for OpenSSL.
 */
#ifndef WEIR_PROXY_REDIS_H
#define WEIR_PROXY_REDIS_H

#include <event2/event.h>
#include <hiredis/hiredis.h>

#include "config/config.h"

struct redis;

struct redis_hooks {
	void *ctx;
	void (*up)(void *ctx);                   /* logged in: commands are taken */
	void (*down)(void *ctx, const char *why); /* once when it was up, and for each other reason that it does not come up */
	void (*heard)(void *ctx, const char *text); /* on a channel; NULL: nobody subscribes */
	size_t (*resolve)(void *ctx, const struct address *address, struct sockaddr_storage *out, size_t cap);
};

/* `answer` is NULL when the connection failed before it came; valid during the call. */
typedef void redis_answer_fn(void *ctx, const redisReply *answer);

/* Copies what it needs of the config, reads the password now. Connects at once in the background. */
struct redis *redis_new(struct event_base *base, const struct redis_cfg *cfg, const struct redis_hooks *hooks, struct err *err);
/* After a reload: it is as the config says, and up; its next connection takes the password as it is now. One that is down is made anew. */
bool redis_may_stay(struct redis *redis, const struct redis_cfg *cfg);
void redis_free(struct redis **redis); /* callbacks that wait are called with NULL */
bool redis_is_up(const struct redis *redis);
/* False: it is down, or too much is queued; `fn` is not called then. */
bool redis_send(struct redis *redis, int n, const char *const words[], const size_t lens[], redis_answer_fn *fn, void *ctx);
/* An answer as it must be: `is_right` is what the asker says of it. Else told to redis_fail, and false; also for NULL. */
bool redis_accepts(struct redis *redis, const redisReply *answer, bool is_right);
/* The server answers, but not as it must (read-only, out of memory): as if it were gone. */
void redis_fail(struct redis *redis, const char *why);
uint64_t redis_failures(const struct redis *redis);

#endif
