/*
 * What this instance let pass (and, at a cost of nothing, what it refused by
 * what it knew) goes to Redis, and comes back as what all
 * instances together owe (routing/limit/shared.h says how that makes a limit).
 *
 * Fifty times a second the workers' news are taken, added up by key and sent,
 * up to 128 keys in one script, which tells the others of them in the same
 * moment (quota_ear.h), of so many as quota_tell.h says. Twice a
 * second the instance says that it lives, in the same answer it hears how many
 * do. The server's clock counts, so instances need not agree on the time. A key
 * lives as long as something is owed.
 */
#include "proxy/control/quota.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/log.h"
#include "proxy/control/quota_ear.h"
#include "proxy/control/quota_tell.h"
#include "proxy/control/redis.h"
#include "proxy/worker.h"

enum {
	TICK_MS = 20,
	BEAT_MS = 500,    /* "I live" */
	LIVES_MS = 2000,  /* ... for so long */
	TAKEN_MAX = 4096, /* news in one turn */
	BATCH_MAX = 128,  /* keys in one script */
	BATCHES_MAX = 32, /* scripts without an answer */
	KEY_MAX = 192,    /* bytes of a key's name */
	NUMBER_MAX = 32,
	INSTANCES_MAX = 1024,
};

/* More than any burst takes to come back (config: 3 days), in us. */
#define DEBT_MAX_US (INT64_C(4) * 86400 * 1000000)

/*
 * Adds the cost of each key to its debt; answers with the debts, in us. What is
 * no debt, or one that no burst can make (DEBT_MAX_US), is none: anybody may
 * have written it. ARGV: the costs; a text of "1" and "0": is the key told; the
 * channel; who tells.
 */
static const char spend_script[] =
    "local t=redis.call('TIME') local now=t[1]*1000000+t[2] local out={} "
    "local told={ARGV[#KEYS+3]} "
    "for i=1,#KEYS do local due=redis.pcall('GET',KEYS[i]) "
    "due=type(due)=='string' and tonumber(due) or now "
    "if not (due>=now and due<=now+345600000000) then due=now end "
    "local cost=tonumber(ARGV[i]) "
    "if cost>0 then due=due+cost "
    "redis.call('SET',KEYS[i],string.format('%.0f',due),'PX',"
    "string.format('%.0f',math.ceil((due-now)/1000)+1)) end "
    "out[i]=string.format('%.0f',due-now) "
    "if string.byte(ARGV[#KEYS+1],i)==49 then "
    "told[#told+1]=string.sub(KEYS[i],-16)..':'..out[i] end end "
    "if #told>1 then "
    "redis.pcall('PUBLISH',ARGV[#KEYS+2],table.concat(told,' ')) end "
    "return out";

/* The instances that were here within the time; this one among them. */
static const char beat_script[] =
    "local t=redis.call('TIME') local now=t[1]*1000+math.floor(t[2]/1000) "
    "local is=redis.call('TYPE',KEYS[1]).ok "
    "if is~='zset' and is~='none' then redis.call('DEL',KEYS[1]) end "
    "redis.call('ZADD',KEYS[1],string.format('%.0f',now),ARGV[1]) "
    "redis.call('ZREMRANGEBYSCORE',KEYS[1],"
    "string.format('%.0f',now+60000),'+inf') "
    "redis.call('ZREMRANGEBYSCORE',KEYS[1],'-inf',"
    "string.format('%.0f',now-tonumber(ARGV[2]))) "
    "redis.call('PEXPIRE',KEYS[1],60000) return redis.call('ZCARD',KEYS[1])";

struct quota {
	struct event_base *base;   /* borrowed */
	struct registry *registry; /* borrowed */
	quota_resolve_fn *resolve;
	void *resolve_ctx;
	struct event *tick;    /* owned */
	struct redis *redis;   /* owned; NULL: not configured */
	struct quota_ear *ear; /* owned: the same server, for the channel */
	TAILQ_HEAD(batches, batch) batches; /* without an answer */
	char prefix[132];
	char channel[QUOTA_CHANNEL_MAX];
	char name[33]; /* of this instance */
	nsec_t beat_at;
	bool is_beating; /* a beat has no answer yet */
	uint32_t instances;
	unsigned n_batches;
	uint64_t failures; /* of connections that are gone */
	uint64_t synced;   /* keys */
};

/* Keys that were sent together, in the order of their hashes. */
struct batch {
	TAILQ_ENTRY(batch) link;
	struct quota *quota; /* borrowed: redis_free answers all of them */
	nsec_t at;
	size_t n;
	struct batch_key {
		uint64_t hash;
		nsec_t seen; /* owed here when it was sent; FORGIVEN */
	} keys[BATCH_MAX];
};

#define FORGIVEN (-1) /* the answer says what it was before */

/* ---- the server's state ---- */

static void
share(struct quota *quota, uint32_t instances)
{
	char number[12];

	snprintf(number, sizeof(number), "%u", instances);
	if (instances != quota->instances && instances > 0)
		log_event(LOG_INFO, "rate limits are shared", "instances",
		    number, NULL);
	quota->instances = instances;
	registry_share_limits(quota->registry, instances);
}

static void
on_up(void *ctx)
{
	struct quota *quota = ctx;

	log_event(LOG_INFO, "redis is up", NULL);
	quota->beat_at = 0; /* at once: limits are shared with its answer */
}

static void
on_down(void *ctx, const char *why)
{
	struct quota *quota = ctx;

	log_event(LOG_WARN, "redis is away", "why", why, "instead",
	    "shared rate limits do as on_failure says", NULL);
	share(quota, 0);
}

static size_t
resolve(void *ctx, const struct address *address, struct sockaddr_storage *out,
    size_t cap)
{
	struct quota *quota = ctx;

	return quota->resolve(quota->resolve_ctx, address, out, cap);
}

/* ---- who is there ---- */

/* Anybody may say that he is there. */
static uint32_t
bounded(long long instances)
{
	if (instances < 1)
		return 1;
	return instances > INSTANCES_MAX ? INSTANCES_MAX : (uint32_t)instances;
}

static void
on_beat(void *ctx, const redisReply *answer)
{
	struct quota *quota = ctx;

	quota->is_beating = false;
	if (redis_accepts(quota->redis, answer,
	        answer && answer->type == REDIS_REPLY_INTEGER))
		share(quota, bounded(answer->integer));
}

static void
beat(struct quota *quota, nsec_t now)
{
	char key[KEY_MAX], lives[NUMBER_MAX];
	int n = snprintf(key, sizeof(key), "%s:instances", quota->prefix);
	const char *words[] = {
	    "EVAL", beat_script, "1", key, quota->name, lives};
	size_t lens[] = {4, sizeof(beat_script) - 1, 1, (size_t)n,
	    strlen(quota->name),
	    (size_t)snprintf(lives, sizeof(lives), "%d", LIVES_MS)};

	if (quota->is_beating || now < quota->beat_at)
		return;
	quota->beat_at = now + BEAT_MS * NSEC_PER_MSEC;
	quota->is_beating = true;
	quota_ear_ping(quota->ear);
	if (!redis_send(quota->redis, 6, words, lens, on_beat, quota))
		quota->is_beating = false;
}

/* ---- what was spent ---- */

static void
on_spent(void *ctx, const redisReply *answer)
{
	struct batch *batch = ctx;
	struct quota *quota = batch->quota;
	nsec_t now = clock_now();

	quota->n_batches--;
	TAILQ_REMOVE(&quota->batches, batch, link);
	if (redis_accepts(quota->redis, answer,
	        answer && answer->type == REDIS_REPLY_ARRAY)) {
		for (size_t i = 0; i < batch->n && i < answer->elements; i++) {
			const redisReply *one = answer->element[i];
			nsec_t aged = batch->keys[i].seen - (now - batch->at);
			int64_t debt = 0;

			if (batch->keys[i].seen == FORGIVEN)
				continue;
			if (one->type == REDIS_REPLY_STRING)
				units_integer(
				    (struct span){one->str, one->len}, &debt);
			if (debt < 0 || debt > DEBT_MAX_US)
				debt = 0;
			registry_settle(quota->registry, batch->keys[i].hash,
			    now, aged > 0 ? aged : 0, debt * NSEC_PER_USEC);
		}
		quota->synced += batch->n;
	}
	free(batch);
}

/* ---- what is told ---- */

static double
part_of(const struct quota *quota, const struct limit_spent *spent)
{
	return spent->n * registry_limit_part(quota->registry, spent->limit);
}

static struct telling
choose(const struct quota *quota, const struct limit_spent *spent, size_t n)
{
	double parts[TAKEN_MAX];

	for (size_t i = 0; i < n; i++)
		parts[i] = part_of(quota, &spent[i]);
	return telling_of(parts, n, quota->instances);
}

/* ---- what is heard ---- */

static int
by_hash(const void *key, const void *entry)
{
	uint64_t hash = *(const uint64_t *)key, other;

	memcpy(&other, entry, sizeof(other)); /* its first member */
	return hash < other ? -1 : hash > other;
}

/*
 * What was taken over while an answer was on its way is in the answer already,
 * so it counts as owed when that was asked; what was forgiven is not in it.
 */
static void
amend_batches(struct quota *quota, uint64_t hash, nsec_t raise, nsec_t now)
{
	struct batch *batch;

	TAILQ_FOREACH (batch, &quota->batches, link) {
		struct batch_key *key = bsearch(&hash, batch->keys, batch->n,
		    sizeof(*batch->keys), by_hash);
		nsec_t age = now - batch->at;

		if (!key || key->seen == FORGIVEN)
			continue;
		if (raise == FORGIVEN)
			key->seen = FORGIVEN;
		else
			key->seen = (key->seen > age ? key->seen : age) + raise;
	}
}

static void
on_owed(void *ctx, uint64_t hash, nsec_t debt)
{
	struct quota *quota = ctx;
	nsec_t now = clock_now();
	nsec_t raise = registry_hear(quota->registry, hash, now, debt);

	if (raise > 0)
		amend_batches(quota, hash, raise, now);
}

static void
on_forgiven(void *ctx, uint64_t hash)
{
	struct quota *quota = ctx;
	nsec_t now = clock_now();

	registry_forgive(quota->registry, hash, now);
	amend_batches(quota, hash, FORGIVEN, now);
}

/* ---- what is sent ---- */

static int
key_name(const struct quota *quota, const struct limit_spent *spent,
    char out[KEY_MAX])
{
	return snprintf(out, KEY_MAX, "%s:limit:%016llx", quota->prefix,
	    (unsigned long long)spent->hash);
}

static void
send_batch(struct quota *quota, const struct limit_spent *spent, size_t n,
    struct telling *telling, nsec_t now)
{
	static const char *const eval = "EVAL";
	struct batch *batch = calloc(1, sizeof(*batch));
	char names[BATCH_MAX][KEY_MAX], costs[BATCH_MAX][NUMBER_MAX];
	const char *words[6 + 2 * BATCH_MAX] = {eval, spend_script};
	size_t lens[6 + 2 * BATCH_MAX] = {4, sizeof(spend_script) - 1};
	char count[NUMBER_MAX], told[BATCH_MAX];

	if (!batch)
		return;
	batch->quota = quota;
	batch->at = now;
	batch->n = n;
	words[2] = count;
	lens[2] = (size_t)snprintf(count, sizeof(count), "%zu", n);
	for (size_t i = 0; i < n; i++) {
		double cost = spent[i].n * registry_limit_interval_usec(
		                               quota->registry, spent[i].limit);

		batch->keys[i].hash = spent[i].hash;
		batch->keys[i].seen =
		    registry_limit_debt(quota->registry, spent[i].hash, now);
		words[3 + i] = names[i];
		lens[3 + i] = (size_t)key_name(quota, &spent[i], names[i]);
		words[3 + n + i] = costs[i];
		lens[3 + n + i] =
		    (size_t)snprintf(costs[i], NUMBER_MAX, "%.4f", cost);
		told[i] = telling_takes(telling, part_of(quota, &spent[i]))
		              ? '1'
		              : '0';
	}
	words[3 + 2 * n] = told;
	lens[3 + 2 * n] = n;
	words[4 + 2 * n] = quota->channel;
	lens[4 + 2 * n] = strlen(quota->channel);
	words[5 + 2 * n] = quota->name;
	lens[5 + 2 * n] = strlen(quota->name);
	quota->n_batches++;
	TAILQ_INSERT_TAIL(&quota->batches, batch, link);
	if (redis_send(
	        quota->redis, (int)(6 + 2 * n), words, lens, on_spent, batch))
		return;
	quota->n_batches--;
	TAILQ_REMOVE(&quota->batches, batch, link);
	free(batch);
}

static void
forgive(struct quota *quota, const struct limit_spent *spent, nsec_t now)
{
	char key[KEY_MAX], told[KEY_MAX];
	const char *gone[] = {"DEL", key};
	size_t gone_lens[] = {3, (size_t)key_name(quota, spent, key)};
	const char *tell[] = {"PUBLISH", quota->channel, told};
	size_t tell_lens[] = {7, strlen(quota->channel),
	    (size_t)snprintf(told, sizeof(told), "%s %016llx:-", quota->name,
	        (unsigned long long)spent->hash)};

	redis_send(quota->redis, 2, gone, gone_lens, NULL, NULL);
	redis_send(quota->redis, 3, tell, tell_lens, NULL, NULL);
	amend_batches(quota, spent->hash, FORGIVEN, now);
}

static int
by_key(const void *a, const void *b)
{
	const struct limit_spent *x = a, *y = b;

	if (x->hash != y->hash)
		return x->hash < y->hash ? -1 : 1;
	return (x->n != LIMIT_FORGIVEN) - (y->n != LIMIT_FORGIVEN);
}

/* One entry a key; what is forgiven is sent at once, and with it what was
   spent in the same turn. */
static size_t
add_up(struct quota *quota, struct limit_spent *spent, size_t n, nsec_t now)
{
	size_t kept = 0;
	uint64_t forgiven = 0;

	qsort(spent, n, sizeof(*spent), by_key);
	for (size_t i = 0; i < n; i++) {
		if (spent[i].n == LIMIT_FORGIVEN) {
			forgive(quota, &spent[i], now);
			forgiven = spent[i].hash;
		} else if (spent[i].hash == forgiven) {
			continue;
		} else if (kept > 0 && spent[kept - 1].hash == spent[i].hash) {
			spent[kept - 1].n += spent[i].n;
		} else {
			spent[kept++] = spent[i];
		}
	}
	return kept;
}

static void
on_tick(int fd, short what, void *arg)
{
	struct quota *quota = arg;
	struct limit_spent spent[TAKEN_MAX];
	struct telling telling;
	nsec_t now = clock_now();
	size_t n;

	(void)fd;
	(void)what;
	if (!quota->redis || !redis_is_up(quota->redis)) {
		/* What was let pass alone is nobody else's debt. */
		registry_take_spent(quota->registry, spent, TAKEN_MAX);
		return;
	}
	beat(quota, now);
	if (quota->n_batches >= BATCHES_MAX)
		return; /* the rings keep the rest */
	n = add_up(quota, spent,
	    registry_take_spent(quota->registry, spent, TAKEN_MAX), now);
	telling = choose(quota, spent, n);
	for (size_t i = 0; i < n; i += BATCH_MAX)
		send_batch(quota, spent + i,
		    n - i < BATCH_MAX ? n - i : BATCH_MAX, &telling, now);
}

/* ---- with the config ---- */

static void
let_go(struct quota *quota)
{
	if (quota->redis)
		quota->failures += redis_failures(quota->redis);
	redis_free(&quota->redis);
	quota_ear_free(&quota->ear);
	quota->is_beating = false;
	share(quota, 0);
}

bool
quota_apply(struct quota *quota, const struct config *config, struct err *err)
{
	struct redis_hooks hooks = {
	    .ctx = quota, .up = on_up, .down = on_down, .resolve = resolve};
	struct quota_ear_hooks ear_hooks = {.ctx = quota,
	    .owed = on_owed,
	    .forgiven = on_forgiven,
	    .resolve = resolve};
	struct timeval every = {0, TICK_MS * 1000};
	struct quota_ear *ear;
	struct redis *redis;

	if (!config->redis.is_on) {
		let_go(quota);
		event_del(quota->tick);
		return true;
	}
	if (quota->redis && redis_may_stay(quota->redis, &config->redis) &&
	    quota_ear_may_stay(quota->ear, &config->redis))
		return true;
	redis = redis_new(quota->base, &config->redis, &hooks, err);
	ear = redis ? quota_ear_new(quota->base, &config->redis, quota->name,
	                  &ear_hooks, err)
	            : NULL;
	if (!ear) {
		redis_free(&redis);
		return false;
	}
	let_go(quota);
	event_add(quota->tick, &every);
	quota->redis = redis;
	quota->ear = ear;
	quota_ear_channel(config->redis.prefix, quota->channel);
	snprintf(
	    quota->prefix, sizeof(quota->prefix), "%s", config->redis.prefix);
	return true;
}

void
quota_facts(const struct quota *quota, struct process_facts *out)
{
	out->has_redis = quota->redis != NULL;
	out->redis_is_up = quota->redis && redis_is_up(quota->redis);
	out->redis_failures =
	    quota->failures + (quota->redis ? redis_failures(quota->redis) : 0);
	out->limit_instances = quota->instances;
	out->limits_synced = quota->synced;
	out->limits_lost = registry_spent_lost(quota->registry);
}

/* ---- life ---- */

struct quota *
quota_new(struct event_base *base, struct registry *registry,
    quota_resolve_fn *resolve_fn, void *ctx)
{
	struct quota *quota = calloc(1, sizeof(*quota));
	uint64_t random[2];

	if (!quota)
		return NULL;
	TAILQ_INIT(&quota->batches);
	quota->base = base;
	quota->registry = registry;
	quota->resolve = resolve_fn;
	quota->resolve_ctx = ctx;
	quota->tick = event_new(base, -1, EV_PERSIST, on_tick, quota);
	if (!quota->tick || !tls_random(random, sizeof(random))) {
		quota_free(&quota);
		return NULL;
	}
	snprintf(quota->name, sizeof(quota->name), "%016llx%016llx",
	    (unsigned long long)random[0], (unsigned long long)random[1]);
	return quota;
}

void
quota_free(struct quota **quota)
{
	struct quota *dead = *quota;

	*quota = NULL;
	if (!dead)
		return;
	redis_free(&dead->redis);
	quota_ear_free(&dead->ear);
	if (dead->tick)
		event_free(dead->tick);
	free(dead);
}
