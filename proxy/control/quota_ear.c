/* See quota_ear.h. */
#include "proxy/control/quota_ear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/log.h"

enum { HASH_DIGITS = 16 };
/* More than any burst takes to come back (config: 3 days): anybody may have
   written it. */
#define USEC_MAX (INT64_C(4) * 86400 * 1000000)

struct quota_ear {
	struct redis *redis; /* owned */
	struct quota_ear_hooks hooks;
	bool hears; /* it is subscribed */
	char own[40], channel[QUOTA_CHANNEL_MAX];
};

void
quota_ear_channel(const char *prefix, char out[QUOTA_CHANNEL_MAX])
{
	snprintf(out, QUOTA_CHANNEL_MAX, "%s:limits", prefix);
}

/* ---- reading ---- */

static bool
read_hash(const char *text, uint64_t *out)
{
	*out = 0;
	for (int i = 0; i < HASH_DIGITS; i++) {
		char c = text[i];

		if (c >= '0' && c <= '9')
			*out = *out << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*out = *out << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	return true;
}

static void
read_one(struct span word, const struct quota_ear_hooks *hooks)
{
	struct span number = {
	    word.ptr + HASH_DIGITS + 1, word.len - HASH_DIGITS - 1};
	uint64_t hash;
	int64_t usec;

	if (!read_hash(word.ptr, &hash) || word.ptr[HASH_DIGITS] != ':')
		return;
	if (number.len == 1 && number.ptr[0] == '-')
		hooks->forgiven(hooks->ctx, hash);
	else if (units_integer(number, &usec) && usec > 0 && usec <= USEC_MAX)
		hooks->owed(hooks->ctx, hash, usec * NSEC_PER_USEC);
}

void
quota_ear_read(
    const char *text, const char *own, const struct quota_ear_hooks *hooks)
{
	size_t len = strcspn(text, " ");

	if (len == strlen(own) && memcmp(text, own, len) == 0)
		return;
	for (text += len; *text == ' '; text += len) {
		text++;
		len = strcspn(text, " ");
		if (len > HASH_DIGITS + 1)
			read_one((struct span){text, len}, hooks);
	}
}

static void
on_heard(void *ctx, const char *text)
{
	struct quota_ear *ear = ctx;

	quota_ear_read(text, ear->own, &ear->hooks);
}

/* ---- the connection ---- */

static void
on_subscribed(void *ctx, const redisReply *answer)
{
	struct quota_ear *ear = ctx;

	if (!answer)
		return; /* it says so itself */
	ear->hears = answer->type == REDIS_REPLY_ARRAY;
	if (!ear->hears)
		log_event(LOG_WARN,
		    "the channel of shared rate limits cannot be heard: a key "
		    "is known here from its first request on",
		    "why",
		    answer->type == REDIS_REPLY_ERROR ? answer->str : "no list",
		    NULL);
}

static void
on_up(void *ctx)
{
	struct quota_ear *ear = ctx;
	const char *words[] = {"SUBSCRIBE", ear->channel};
	size_t lens[] = {strlen(words[0]), strlen(words[1])};

	redis_send(ear->redis, 2, words, lens, on_subscribed, ear);
}

/* The other connection tells what has happened to the server. */
static void
on_down(void *ctx, const char *why)
{
	struct quota_ear *ear = ctx;

	(void)why;
	ear->hears = false;
}

static size_t
resolve(void *ctx, const struct address *address, struct sockaddr_storage *out,
    size_t cap)
{
	struct quota_ear *ear = ctx;

	return ear->hooks.resolve(ear->hooks.ctx, address, out, cap);
}

void
quota_ear_ping(struct quota_ear *ear)
{
	const char *words[] = {"PING"};
	size_t lens[] = {4};

	if (ear->hears)
		redis_send(ear->redis, 1, words, lens, NULL, NULL);
}

bool
quota_ear_may_stay(struct quota_ear *ear, const struct redis_cfg *cfg)
{
	return redis_may_stay(ear->redis, cfg);
}

struct quota_ear *
quota_ear_new(struct event_base *base, const struct redis_cfg *cfg,
    const char *own, const struct quota_ear_hooks *hooks, struct err *err)
{
	struct quota_ear *ear = calloc(1, sizeof(*ear));
	struct redis_hooks redis_hooks = {.ctx = ear,
	    .up = on_up,
	    .down = on_down,
	    .heard = on_heard,
	    .resolve = resolve};

	if (!ear) {
		err_set(err, "out of memory");
		return NULL;
	}
	ear->hooks = *hooks;
	snprintf(ear->own, sizeof(ear->own), "%s", own);
	quota_ear_channel(cfg->prefix, ear->channel);
	ear->redis = redis_new(base, cfg, &redis_hooks, err);
	if (!ear->redis)
		quota_ear_free(&ear);
	return ear;
}

void
quota_ear_free(struct quota_ear **ear)
{
	struct quota_ear *dead = *ear;

	*ear = NULL;
	if (!dead)
		return;
	redis_free(&dead->redis);
	free(dead);
}
