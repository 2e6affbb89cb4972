/*
 * See fleet_wire.h. Keys, all below PREFIX:fleet:
 *
 *	state:THING     hash: a (accord), doc, by; for a month after a write
 *	lease:SPLIT     the holder's id; for as long as he asked
 *	evidence:ERA    hash: a cell by instance; for ten minutes
 *	back:ROLLOUT    why it went back; for a month
 *	news            grows with every write of a state; the channel of the
 *	                same name tells "number id"
 *	about, seen     what instances tell of themselves, and when
 *
 * Each question is one script, so that it is answered as a whole or not at all.
 * The channel has a connection of its own, the ear: who listens cannot ask. A
 * user without the right to channels (&PREFIX:*) works without it, and later.
 */
#include "proxy/control/fleet_wire.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/log.h"
#include "proxy/control/redis.h"

enum {
	KEY_MAX = 384,
	NAME_MAX_LEN = 180, /* of a key without the prefix */
	CELLS_MAX = 256,
	ABOUT_MAX = 256,
	FORGET_MS = 60000, /* who was not seen for so long is not shown */
};

/*
 * Anybody who may write there may write anything; what is of another type or
 * too large is as good as nothing, and goes. A lease without an end is none.
 *
 * KEYS: state, news, lease, evidence, back. ARGV: id, accord, doc, is fenced,
 * ms of the lease, cell, the decision that it was made on, why, an accord that
 * counts as none. An empty text is none.
 * Answers {accord, doc, was fenced off, holder, why, by, id, cell, ...}. A
 * lease is given back last: the step that it was held for comes with it.
 */
static const char sync_script[] =
    "local call=redis.call local ms=tonumber(ARGV[5]) local holder='' "
    "for i,t in ipairs({'hash','string','string','hash','string'}) do "
    "if KEYS[i]~='' then local is=call('TYPE',KEYS[i]).ok "
    "if is~=t and is~='none' then call('DEL',KEYS[i]) end end end "
    "local function tell() local n=redis.pcall('INCR',KEYS[2]) "
    "if type(n)=='table' then call('DEL',KEYS[2]) n=call('INCR',KEYS[2]) end "
    "redis.pcall('PUBLISH',KEYS[2],string.format('%.0f',n)..' '..ARGV[1]) end "
    "if KEYS[3]~='' then holder=call('GET',KEYS[3]) or '' "
    "if holder~='' then local left=call('PTTL',KEYS[3]) "
    "if left<0 or left>15000 or #holder>80 then call('DEL',KEYS[3]) "
    "holder='' end end "
    "if ms>0 and (holder=='' or holder==ARGV[1]) then "
    "call('SET',KEYS[3],ARGV[1],'PX',ms) holder=ARGV[1] "
    "end end "
    "if call('HSTRLEN',KEYS[1],'doc')>1048576 then call('DEL',KEYS[1]) end "
    "local a=call('HGET',KEYS[1],'a') or '' local doc='' local off='' "
    "local by='' a=string.gsub(string.sub(a,1,70),'[^0-9a-f]','?') "
    "if a==ARGV[9] then a='' end "
    "if a<ARGV[2] and ARGV[3]~='' then "
    "if a~='' and (ARGV[4]~='' and holder~=ARGV[1] or ARGV[7]~='' and "
    "string.sub(a,1,#ARGV[7])>ARGV[7]) then off='1' "
    "doc=call('HGET',KEYS[1],'doc') or '' "
    "else call('HSET',KEYS[1],'a',ARGV[2],'doc',ARGV[3],'by',ARGV[1]) "
    "call('PEXPIRE',KEYS[1],2592000000) tell() a=ARGV[2] end "
    "elseif a>ARGV[2] then doc=call('HGET',KEYS[1],'doc') or '' "
    "by=string.sub(call('HGET',KEYS[1],'by') or '',1,80) end "
    "local why='' if KEYS[5]~='' then "
    "if ARGV[8]~='' then call('SET',KEYS[5],ARGV[8],'PX',2592000000) "
    "tell() end why=string.sub(call('GET',KEYS[5]) or '',1,512) end "
    "if ms<0 and holder==ARGV[1] then call('DEL',KEYS[3]) holder='' end "
    "local out={a,doc,off,holder,why,by} "
    "if KEYS[4]~='' then if ARGV[6]~='' then "
    "call('HSET',KEYS[4],ARGV[1],ARGV[6]) call('PEXPIRE',KEYS[4],600000) end "
    "local all=call('HGETALL',KEYS[4]) local size=0 "
    "for i=1,#all,2 do local n=#all[i+1] "
    "if #all[i]<=80 and n<=65536 and size+n<=2097152 and #out<518 then "
    "size=size+n out[#out+1]=all[i] out[#out+1]=all[i+1] end end end "
    "return out";

/*
 * Who says that he was seen tomorrow goes, and of too many the oldest are left
 * out.
 *
 * KEYS: seen, about. ARGV: id, about, ms. Answers {now, id, seen, about, ...}
 */
static const char beat_script[] =
    "local call=redis.call local t=call('TIME') "
    "local now=t[1]*1000+math.floor(t[2]/1000) "
    "for i,t in ipairs({'zset','hash'}) do local is=call('TYPE',KEYS[i]).ok "
    "if is~=t and is~='none' then call('DEL',KEYS[i]) end end "
    "local function n(x) return string.format('%.0f',x) end "
    "call('ZADD',KEYS[1],n(now),ARGV[1]) call('HSET',KEYS[2],ARGV[1],ARGV[2]) "
    "call('ZREMRANGEBYSCORE',KEYS[1],n(now+60000),'+inf') "
    "for _,id in ipairs(call('ZRANGEBYSCORE',KEYS[1],'-inf',"
    "n(now-tonumber(ARGV[3])),'LIMIT',0,1000)) do call('ZREM',KEYS[1],id) "
    "call('HDEL',KEYS[2],id) end "
    "call('PEXPIRE',KEYS[1],600000) call('PEXPIRE',KEYS[2],600000) "
    "local out={n(now)} local size=0 "
    "local all=call('ZRANGE',KEYS[1],-256,-1,'WITHSCORES') "
    "for i=1,#all,2 do local about='' local len=call('HSTRLEN',KEYS[2],all[i]) "
    "if #all[i]<=80 and size+len<=2097152 then size=size+len "
    "about=call('HGET',KEYS[2],all[i]) or '' "
    "out[#out+1]=all[i] out[#out+1]=all[i+1] out[#out+1]=about end end "
    "return out";

struct fleet_wire {
	struct event_base *base; /* borrowed */
	struct fleet *fleet;     /* borrowed */
	fleet_resolve_fn *resolve;
	void *resolve_ctx;
	struct redis *redis; /* owned; NULL: not configured */
	struct redis *ear;   /* owned: the same server, for the channel */
	bool hears;          /* it is subscribed */
	char prefix[160];
};

/* ---- answers ---- */

struct waiting {
	struct fleet_wire *wire; /* borrowed: redis_free answers all of them */
	union {
		fleet_told_fn *told;
		fleet_news_fn *news;
		fleet_about_fn *about;
	};
	void *ctx;
};

static struct waiting *
waiting_new(struct fleet_wire *wire, void *ctx)
{
	struct waiting *waiting = calloc(1, sizeof(*waiting));

	if (waiting) {
		waiting->wire = wire;
		waiting->ctx = ctx;
	}
	return waiting;
}

static bool
is_texts(const redisReply *answer, size_t least)
{
	if (!answer || answer->type != REDIS_REPLY_ARRAY ||
	    answer->elements < least)
		return false;
	for (size_t i = 0; i < answer->elements; i++)
		if (answer->element[i]->type != REDIS_REPLY_STRING)
			return false;
	return true;
}

static const char *
text_at(const redisReply *answer, size_t i)
{
	return answer->element[i]->str;
}

static void
on_synced(void *ctx, const redisReply *answer)
{
	struct waiting *waiting = ctx;
	struct fleet_cell cells[CELLS_MAX];
	struct fleet_told told = {.cells = cells};

	if (!redis_accepts(waiting->wire->redis, answer, is_texts(answer, 6))) {
		waiting->told(waiting->ctx, NULL);
		free(waiting);
		return;
	}
	told.accord = text_at(answer, 0);
	told.doc = answer->element[1]->len > 0 ? text_at(answer, 1) : NULL;
	told.is_fenced_off = answer->element[2]->len > 0;
	told.holder = text_at(answer, 3);
	told.why = text_at(answer, 4);
	told.by = text_at(answer, 5);
	for (size_t i = 6; i + 1 < answer->elements && told.n_cells < CELLS_MAX;
	     i += 2)
		cells[told.n_cells++] = (struct fleet_cell){
		    text_at(answer, i), text_at(answer, i + 1)};
	waiting->told(waiting->ctx, &told);
	free(waiting);
}

static void
on_number(void *ctx, const redisReply *answer)
{
	struct waiting *waiting = ctx;
	bool ok = redis_accepts(waiting->wire->redis, answer,
	    answer && (answer->type == REDIS_REPLY_STRING ||
	                  answer->type == REDIS_REPLY_NIL));
	int64_t number = 0;

	if (ok && answer->type == REDIS_REPLY_STRING)
		units_integer((struct span){answer->str, answer->len}, &number);
	waiting->news(waiting->ctx, ok, number);
	free(waiting);
}

static int64_t
number_at(const redisReply *answer, size_t i)
{
	int64_t number = 0;

	units_integer(
	    (struct span){answer->element[i]->str, answer->element[i]->len},
	    &number);
	return number;
}

static void
on_beaten(void *ctx, const redisReply *answer)
{
	struct waiting *waiting = ctx;
	struct fleet_about list[ABOUT_MAX];
	size_t n = 0;
	int64_t now;

	if (!redis_accepts(waiting->wire->redis, answer, is_texts(answer, 1))) {
		waiting->about(waiting->ctx, NULL, 0);
		free(waiting);
		return;
	}
	now = number_at(answer, 0);
	for (size_t i = 1; i + 2 < answer->elements && n < ABOUT_MAX; i += 3)
		list[n++] = (struct fleet_about){.id = text_at(answer, i),
		    .about = text_at(answer, i + 2),
		    .ms = now - number_at(answer, i + 1)};
	waiting->about(waiting->ctx, list, n);
	free(waiting);
}

/* ---- keys ---- */

/* "" without a name. */
static const char *
key(const struct fleet_wire *wire, const char *kind, const char *name,
    char buf[KEY_MAX])
{
	buf[0] = '\0';
	if (name)
		snprintf(buf, KEY_MAX, "%s:fleet:%s%.*s", wire->prefix, kind,
		    NAME_MAX_LEN, name);
	return buf;
}

/* ---- the ear ---- */

static bool
is_up(void *ctx)
{
	const struct fleet_wire *wire = ctx;

	return wire->redis && redis_is_up(wire->redis);
}

static void
on_subscribed(void *ctx, const redisReply *answer)
{
	struct fleet_wire *wire = ctx;

	if (!answer)
		return; /* it says so itself */
	wire->hears = answer->type == REDIS_REPLY_ARRAY;
	if (!wire->hears)
		log_event(LOG_WARN,
		    "the fleet's channel cannot be heard: changes of others "
		    "are found by looking",
		    "why",
		    answer->type == REDIS_REPLY_ERROR ? answer->str : "no list",
		    NULL);
}

static void
on_ear_up(void *ctx)
{
	struct fleet_wire *wire = ctx;
	char news[KEY_MAX];
	const char *words[] = {"SUBSCRIBE", key(wire, "", "news", news)};
	size_t lens[] = {strlen(words[0]), strlen(words[1])};

	redis_send(wire->ear, 2, words, lens, on_subscribed, wire);
}

/* The other connection tells what has happened to the server. */
static void
on_ear_down(void *ctx, const char *why)
{
	struct fleet_wire *wire = ctx;

	wire->hears = false;
	if (is_up(wire))
		log_event(
		    LOG_WARN, "the fleet's channel is away", "why", why, NULL);
}

/* "number id" */
static void
on_heard(void *ctx, const char *text)
{
	struct fleet_wire *wire = ctx;
	const char *space = strchr(text, ' ');
	int64_t number;

	if (space &&
	    units_integer((struct span){text, (size_t)(space - text)}, &number))
		fleet_heard(wire->fleet, number, space + 1);
}

/* A connection that nothing comes from may have ended long ago. */
static void
ear_ping(struct fleet_wire *wire)
{
	const char *words[] = {"PING"};
	size_t lens[] = {4};

	if (wire->hears)
		redis_send(wire->ear, 1, words, lens, NULL, NULL);
}

/* ---- questions ---- */

static bool
ask_redis(struct fleet_wire *wire, int n, const char *const words[],
    redis_answer_fn *fn, struct waiting *waiting)
{
	size_t lens[17]; /* of all words of the longest question */

	assert(n <= 17);
	for (int i = 0; i < n; i++)
		lens[i] = strlen(words[i]);
	if (redis_send(wire->redis, n, words, lens, fn, waiting))
		return true;
	free(waiting);
	return false;
}

static const char *
text_or_none(const char *text)
{
	return text ? text : "";
}

static bool
sync_thing(
    void *ctx, const struct fleet_ask *ask, fleet_told_fn *fn, void *fn_ctx)
{
	struct fleet_wire *wire = ctx;
	struct waiting *waiting = waiting_new(wire, fn_ctx);
	char state[KEY_MAX], news[KEY_MAX], lease[KEY_MAX], cells[KEY_MAX],
	    back[KEY_MAX], ms[16];
	const char *words[] = {"EVAL", sync_script, "5",
	    key(wire, "state:", ask->thing, state), key(wire, "", "news", news),
	    key(wire, "", ask->lease, lease), key(wire, "", ask->cells, cells),
	    key(wire, "", ask->back, back), ask->id, ask->accord,
	    text_or_none(ask->doc), ask->is_fenced ? "1" : "", ms,
	    text_or_none(ask->cell), text_or_none(ask->expected),
	    text_or_none(ask->why), text_or_none(ask->refused)};

	snprintf(ms, sizeof(ms), "%d", ask->lease_ms);
	if (!waiting)
		return false;
	waiting->told = fn;
	return ask_redis(wire, 17, words, on_synced, waiting);
}

static bool
look(void *ctx, fleet_news_fn *fn, void *fn_ctx)
{
	struct fleet_wire *wire = ctx;
	struct waiting *waiting = waiting_new(wire, fn_ctx);
	char news[KEY_MAX];
	const char *words[] = {"GET", key(wire, "", "news", news)};

	if (!waiting)
		return false;
	waiting->news = fn;
	return ask_redis(wire, 2, words, on_number, waiting);
}

static bool
hears(void *ctx)
{
	const struct fleet_wire *wire = ctx;

	return wire->hears;
}

static bool
beat(void *ctx, const char *id, const char *about, fleet_about_fn *fn,
    void *fn_ctx)
{
	struct fleet_wire *wire = ctx;
	struct waiting *waiting = waiting_new(wire, fn_ctx);
	char seen[KEY_MAX], told[KEY_MAX], ms[16];
	const char *words[] = {"EVAL", beat_script, "2",
	    key(wire, "", "seen", seen), key(wire, "", "about", told), id,
	    about, ms};

	snprintf(ms, sizeof(ms), "%d", FORGET_MS);
	ear_ping(wire);
	if (!waiting)
		return false;
	waiting->about = fn;
	return ask_redis(wire, 8, words, on_beaten, waiting);
}

/* Sent when the connection is about to end; nobody waits for answers. */
static void
leave(void *ctx, const char *id)
{
	struct fleet_wire *wire = ctx;
	char seen[KEY_MAX], told[KEY_MAX];
	const char *gone[] = {"ZREM", key(wire, "", "seen", seen), id};
	const char *forgotten[] = {"HDEL", key(wire, "", "about", told), id};

	if (!is_up(wire))
		return;
	ask_redis(wire, 3, gone, NULL, NULL);
	ask_redis(wire, 3, forgotten, NULL, NULL);
}

/* ---- the server's state ---- */

static void
on_up(void *ctx)
{
	struct fleet_wire *wire = ctx;

	fleet_reached(wire->fleet);
}

static void
on_down(void *ctx, const char *why)
{
	struct fleet_wire *wire = ctx;

	fleet_lost(wire->fleet, why);
}

static size_t
resolve(void *ctx, const struct address *address, struct sockaddr_storage *out,
    size_t cap)
{
	struct fleet_wire *wire = ctx;

	return wire->resolve(wire->resolve_ctx, address, out, cap);
}

/* ---- with the config ---- */

static void
let_go(struct fleet_wire *wire)
{
	if (wire->redis)
		fleet_join(wire->fleet, NULL);
	redis_free(&wire->redis);
	redis_free(&wire->ear);
	wire->hears = false;
}

static void
join(struct fleet_wire *wire)
{
	struct fleet_link link = {.ctx = wire,
	    .is_up = is_up,
	    .sync = sync_thing,
	    .look = look,
	    .hears = hears,
	    .beat = beat,
	    .leave = leave};

	fleet_join(wire->fleet, &link);
}

bool
fleet_wire_apply(
    struct fleet_wire *wire, const struct config *config, struct err *err)
{
	struct redis_hooks hooks = {
	    .ctx = wire, .up = on_up, .down = on_down, .resolve = resolve};
	struct redis_hooks ear_hooks = {.ctx = wire,
	    .up = on_ear_up,
	    .down = on_ear_down,
	    .heard = on_heard,
	    .resolve = resolve};
	struct redis *redis, *ear;

	if (!config->redis.is_on) {
		let_go(wire);
		return true;
	}
	if (wire->redis && redis_may_stay(wire->redis, &config->redis) &&
	    redis_may_stay(wire->ear, &config->redis))
		return true;
	redis = redis_new(wire->base, &config->redis, &hooks, err);
	ear = redis ? redis_new(wire->base, &config->redis, &ear_hooks, err)
	            : NULL;
	if (!ear) {
		redis_free(&redis);
		return false;
	}
	let_go(wire);
	wire->redis = redis;
	wire->ear = ear;
	snprintf(
	    wire->prefix, sizeof(wire->prefix), "%s", config->redis.prefix);
	join(wire);
	return true;
}

/* ---- life ---- */

struct fleet_wire *
fleet_wire_new(struct event_base *base, struct fleet *fleet,
    fleet_resolve_fn *resolve_fn, void *ctx)
{
	struct fleet_wire *wire = calloc(1, sizeof(*wire));

	if (!wire)
		return NULL;
	wire->base = base;
	wire->fleet = fleet;
	wire->resolve = resolve_fn;
	wire->resolve_ctx = ctx;
	return wire;
}

void
fleet_wire_free(struct fleet_wire **wire)
{
	struct fleet_wire *dead = *wire;

	*wire = NULL;
	if (!dead)
		return;
	let_go(dead);
	free(dead);
}
