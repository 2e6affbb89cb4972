/*
 * See redis.h.
 *
 *   DOWN --pause is over--> CONNECTING --> HANDSHAKE (TLS) --> LOGIN --> UP
 *     ^                          |              |                |      |
 *     +------- any failure, or no answer in time ----------------+------+
 */
#include "proxy/control/redis.h"

#include <assert.h>
#include <errno.h>
#include <event2/buffer.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "proxy/control/redis_bound.h"
#include "proxy/worker.h"
#include "tls/tls.h"

enum {
	TICK_MS = 50, /* how late a timeout may be seen */
	PAUSE_MIN_MS = 50,
	PAUSE_MAX_MS = 2000,
	PROVEN_MS = 5000, /* up for so long: the next pause is short again */
	READ_SIZE = 16384,
	WINDOW_SIZE = 32768,
	QUEUE_MAX = 4 << 20, /* unsent bytes */
	ADDRESSES_MAX = 8,
};

enum redis_state {
	REDIS_DOWN,
	REDIS_CONNECTING,
	REDIS_HANDSHAKE,
	REDIS_LOGIN,
	REDIS_UP
};

struct waiting {
	TAILQ_ENTRY(waiting) link;
	redis_answer_fn *fn;
	void *ctx;
	nsec_t since;
};
TAILQ_HEAD(waiting_queue, waiting);

struct redis {
	struct event_base *base; /* borrowed */
	struct redis_hooks hooks;
	struct address address; /* owned */
	char *user, *password;  /* owned; NULL without */
	size_t password_len;
	uint32_t database;
	nsec_t connect_timeout, answer_timeout;
	char *settings;         /* owned: of all that it was made from */
	struct tls_client *tls; /* owned; NULL: clear */

	enum redis_state state;
	bool was_told;      /* that it is down, since it was up */
	char told[128];     /* why */
	int fd;             /* owned */
	struct event *tick; /* owned, as all below */
	struct event *readable, *writable;
	redisReader *reader;
	struct redis_bound bound;    /* of what it makes */
	struct evbuffer *out, *wire; /* to encrypt; to send */
	struct tls_stream *stream;
	struct tls_window window;
	uint8_t *window_out;
	struct waiting_queue waiting;
	nsec_t since, retry_at, up_at;
	unsigned pause_ms;
	unsigned attempt; /* which of several addresses */
	uint64_t failures;
};

bool
redis_is_up(const struct redis *redis)
{
	return redis->state == REDIS_UP;
}

uint64_t
redis_failures(const struct redis *redis)
{
	return redis->failures;
}

/* ---- going down ---- */

static void
forget_waiting(struct redis *redis)
{
	struct waiting_queue gone = TAILQ_HEAD_INITIALIZER(gone);
	struct waiting *waiting;

	TAILQ_CONCAT(&gone, &redis->waiting, link);
	while ((waiting = TAILQ_FIRST(&gone))) {
		TAILQ_REMOVE(&gone, waiting, link);
		if (waiting->fn)
			waiting->fn(waiting->ctx, NULL);
		free(waiting);
	}
}

static void
disconnect(struct redis *redis)
{
	redis->state = REDIS_DOWN;
	if (redis->readable)
		event_free(redis->readable);
	if (redis->writable)
		event_free(redis->writable);
	redis->readable = redis->writable = NULL;
	if (redis->stream)
		tls_stream_free(&redis->stream);
	if (redis->fd >= 0)
		close(redis->fd);
	redis->fd = -1;
	if (redis->reader)
		redisReaderFree(redis->reader);
	redis->reader = NULL;
	evbuffer_drain(redis->out, evbuffer_get_length(redis->out));
	evbuffer_drain(redis->wire, evbuffer_get_length(redis->wire));
	forget_waiting(redis);
}

void
redis_fail(struct redis *redis, const char *why)
{
	char text[sizeof(redis->told)];

	if (redis->state == REDIS_DOWN)
		return;
	/* Who lets everybody in and then cannot answer is not asked at once. */
	if (redis->state == REDIS_UP &&
	    clock_now() - redis->up_at > PROVEN_MS * NSEC_PER_MSEC)
		redis->pause_ms = PAUSE_MIN_MS;
	snprintf(text, sizeof(text), "%s", why);
	redis->failures++;
	disconnect(redis);
	redis->retry_at = clock_now() + redis->pause_ms * NSEC_PER_MSEC;
	redis->pause_ms *= 2;
	if (redis->pause_ms > PAUSE_MAX_MS)
		redis->pause_ms = PAUSE_MAX_MS;
	/* Said once for each reason, not with every try. */
	if (redis->was_told && strcmp(redis->told, text) == 0)
		return;
	redis->was_told = true;
	memcpy(redis->told, text, sizeof(text));
	redis->hooks.down(redis->hooks.ctx, redis->told);
}

/* Not as it must be: the server lives and cannot do what it must. */
bool
redis_accepts(struct redis *redis, const redisReply *answer, bool is_right)
{
	char why[128];

	if (!answer)
		return false; /* the connection has failed, and said so */
	if (is_right)
		return true;
	snprintf(why, sizeof(why), "%.*s",
	    answer->type == REDIS_REPLY_ERROR ? (int)answer->len : 25,
	    answer->type == REDIS_REPLY_ERROR ? answer->str
	                                      : "an answer of another kind");
	redis_fail(redis, why);
	return false;
}

/* ---- moving bytes ---- */

/* False: it failed. */
static bool
send_wire(struct redis *redis)
{
	while (evbuffer_get_length(redis->wire) > 0) {
		int n = evbuffer_write(redis->wire, redis->fd);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return event_add(redis->writable, NULL) == 0;
		if (n <= 0) {
			redis_fail(redis, strerror(errno));
			return false;
		}
	}
	return true;
}

static void
take_window(struct redis *redis)
{
	evbuffer_add(redis->wire, redis->window.out, redis->window.out_len);
	redis->window.out_len = 0;
}

static bool
encrypt(struct redis *redis)
{
	while (evbuffer_get_length(redis->out) > 0) {
		size_t len = evbuffer_get_contiguous_space(redis->out), n;
		enum tls_result result = tls_write(redis->stream,
		    evbuffer_pullup(redis->out, (ev_ssize_t)len), len, &n);

		take_window(redis);
		if (result == TLS_WANT_WRITE)
			continue;
		if (result != TLS_DONE) {
			redis_fail(redis, tls_stream_failure(redis->stream));
			return false;
		}
		evbuffer_drain(redis->out, n);
	}
	return true;
}

static bool
flush(struct redis *redis)
{
	if (redis->state < REDIS_LOGIN)
		return true; /* the connection comes first */
	if (redis->stream && !encrypt(redis))
		return false;
	if (!redis->stream)
		evbuffer_add_buffer(redis->wire, redis->out);
	return send_wire(redis);
}

/* ---- answers ---- */

/* ["message", channel, text] comes between answers, by itself. */
static bool
is_message(const redisReply *answer)
{
	if (answer->type != REDIS_REPLY_ARRAY || answer->elements != 3)
		return false;
	for (size_t i = 0; i < 3; i++)
		if (answer->element[i]->type != REDIS_REPLY_STRING)
			return false;
	return strcmp(answer->element[0]->str, "message") == 0;
}

static void
deliver(struct redis *redis, redisReply *answer)
{
	struct waiting *waiting = TAILQ_FIRST(&redis->waiting);

	if (redis->hooks.heard && is_message(answer)) {
		redis->hooks.heard(redis->hooks.ctx, answer->element[2]->str);
	} else if (waiting) {
		TAILQ_REMOVE(&redis->waiting, waiting, link);
		if (waiting->fn)
			waiting->fn(waiting->ctx, answer);
		free(waiting);
	} else {
		redis_fail(redis, "an answer that nobody asked for");
	}
	freeReplyObject(answer);
}

static void
feed(struct redis *redis, const char *bytes, size_t len)
{
	redisReader *reader = redis->reader;

	if (redisReaderFeed(reader, bytes, len) != REDIS_OK) {
		redis_fail(redis, "not the protocol of Redis");
		return;
	}
	/* A callback may end the connection, and the reader with it. */
	while (redis->reader == reader) {
		void *answer = NULL;

		if (redisReaderGetReply(reader, &answer) != REDIS_OK) {
			redis_fail(redis, redis->bound.is_over
			                      ? "an answer that is too large"
			                      : "not the protocol of Redis");
			return;
		}
		if (!answer) {
			if (redis_bound_is_reached(&redis->bound, reader))
				redis_fail(redis, "an answer without end");
			return;
		}
		redis_bound_reset(&redis->bound);
		deliver(redis, answer);
	}
}

static void login(struct redis *redis);

static void
handshake(struct redis *redis)
{
	enum tls_result result;

	do {
		result = tls_handshake(redis->stream);
		take_window(redis);
	} while (result == TLS_WANT_WRITE);
	if (result == TLS_FAILED || result == TLS_CLOSED) {
		send_wire(redis); /* the alert */
		redis_fail(redis, tls_stream_failure(redis->stream));
	} else if (send_wire(redis) && result == TLS_DONE) {
		login(redis);
	}
}

static void
decrypt(struct redis *redis, const char *bytes, size_t len)
{
	struct tls_stream *stream = redis->stream;
	char plain[READ_SIZE];

	redis->window.in = (const uint8_t *)bytes;
	redis->window.in_len = len;
	if (redis->state == REDIS_HANDSHAKE)
		handshake(redis);
	while (redis->stream == stream && redis->state > REDIS_HANDSHAKE) {
		size_t n = 0;
		enum tls_result result =
		    tls_read(stream, plain, sizeof(plain), &n);

		take_window(redis);
		if (result == TLS_DONE)
			feed(redis, plain, n);
		else if (result == TLS_WANT_READ)
			break;
		else if (result != TLS_WANT_WRITE)
			redis_fail(redis, result == TLS_CLOSED
			                      ? "closed"
			                      : tls_stream_failure(stream));
	}
	if (redis->stream == stream && stream)
		send_wire(redis);
}

static void
on_readable(int fd, short what, void *arg)
{
	struct redis *redis = arg;
	char bytes[READ_SIZE];
	ssize_t n = read(fd, bytes, sizeof(bytes));

	(void)what;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		redis_fail(redis, n == 0 ? "closed" : strerror(errno));
	else if (redis->stream)
		decrypt(redis, bytes, (size_t)n);
	else
		feed(redis, bytes, (size_t)n);
}

/* ---- commands ---- */

static bool
queue(struct redis *redis, int n, const char *const words[],
    const size_t lens[], redis_answer_fn *fn, void *ctx)
{
	struct waiting *waiting = calloc(1, sizeof(*waiting));
	char *text = NULL;
	int len = redisFormatCommandArgv(
	    &text, n, (const char **)(uintptr_t)words, lens);

	if (!waiting || len < 0 ||
	    evbuffer_add(redis->out, text, (size_t)len) != 0) {
		redisFreeCommand(text);
		free(waiting);
		return false;
	}
	redisFreeCommand(text);
	*waiting = (struct waiting){.fn = fn, .ctx = ctx, .since = clock_now()};
	TAILQ_INSERT_TAIL(&redis->waiting, waiting, link);
	return true;
}

bool
redis_send(struct redis *redis, int n, const char *const words[],
    const size_t lens[], redis_answer_fn *fn, void *ctx)
{
	if (redis->state != REDIS_UP ||
	    evbuffer_get_length(redis->wire) > QUEUE_MAX ||
	    !queue(redis, n, words, lens, fn, ctx))
		return false;
	flush(redis); /* a failure calls fn with NULL */
	return true;
}

/* ---- login ---- */

static void
on_login(void *ctx, const redisReply *answer)
{
	struct redis *redis = ctx;
	char why[128];

	if (!answer || answer->type != REDIS_REPLY_ERROR)
		return;
	snprintf(
	    why, sizeof(why), "login: %.*s", (int)answer->len, answer->str);
	redis_fail(redis, why);
}

static void
on_ping(void *ctx, const redisReply *answer)
{
	struct redis *redis = ctx;

	on_login(ctx, answer);
	if (!answer || answer->type == REDIS_REPLY_ERROR)
		return;
	redis->state = REDIS_UP;
	redis->up_at = clock_now();
	redis->was_told = false;
	redis->hooks.up(redis->hooks.ctx);
}

static bool
say(struct redis *redis, redis_answer_fn *fn, int n, const char *a,
    const char *b, const char *c, size_t c_len)
{
	const char *words[] = {a, b, c};
	size_t lens[] = {strlen(a), b ? strlen(b) : 0, c_len};

	if (n == 2 && !b) { /* AUTH with a password alone */
		words[1] = c;
		lens[1] = c_len;
	}
	return queue(redis, n, words, lens, fn, redis);
}

static void
login(struct redis *redis)
{
	char database[16];
	bool ok = true;

	redis->state = REDIS_LOGIN;
	snprintf(database, sizeof(database), "%u", redis->database);
	if (redis->password)
		ok = say(redis, on_login, redis->user ? 3 : 2, "AUTH",
		    redis->user, redis->password, redis->password_len);
	if (redis->database > 0)
		ok &= say(redis, on_login, 2, "SELECT", database, NULL, 0);
	ok &= say(redis, on_ping, 1, "PING", NULL, NULL, 0);
	if (ok)
		flush(redis);
	else
		redis_fail(redis, "out of memory");
}

/* ---- connecting ---- */

static void
on_writable(int fd, short what, void *arg)
{
	struct redis *redis = arg;
	socklen_t len = sizeof(int);
	int error = 0;

	(void)what;
	if (redis->state != REDIS_CONNECTING) {
		send_wire(redis);
		return;
	}
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error != 0) {
		redis_fail(redis, strerror(error));
		return;
	}
	if (!redis->tls) {
		login(redis);
		return;
	}
	redis->window = (struct tls_window){
	    .out = redis->window_out, .out_cap = WINDOW_SIZE};
	redis->stream = tls_stream_connect(
	    redis->tls, 0, redis->address.host, &redis->window);
	redis->state = REDIS_HANDSHAKE;
	if (redis->stream)
		handshake(redis);
	else
		redis_fail(redis, "out of memory");
}

/* One of its addresses, another one with each try. */
static bool
choose(struct redis *redis, struct sockaddr_storage *out, socklen_t *len_out)
{
	struct sockaddr_storage all[ADDRESSES_MAX];
	size_t n;

	*out = redis->address.sa;
	*len_out = redis->address.sa_len;
	if (redis->address.kind != ADDRESS_NAME)
		return true;
	n = redis->hooks.resolve(
	    redis->hooks.ctx, &redis->address, all, ADDRESSES_MAX);
	if (n == 0)
		return false;
	*out = all[redis->attempt++ % n];
	*len_out = out->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
	                                      : sizeof(struct sockaddr_in);
	return true;
}

static bool
open_socket(struct redis *redis, const struct sockaddr_storage *sa)
{
	redis->fd = socket(
	    sa->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (redis->fd < 0)
		return false;
	if (sa->ss_family != AF_UNIX)
		setsockopt(redis->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1},
		    sizeof(int));
	redis->reader = redis_bound_reader(&redis->bound);
	redis->readable = event_new(
	    redis->base, redis->fd, EV_READ | EV_PERSIST, on_readable, redis);
	redis->writable =
	    event_new(redis->base, redis->fd, EV_WRITE, on_writable, redis);
	return redis->reader && redis->readable && redis->writable &&
	       event_add(redis->readable, NULL) == 0 &&
	       event_add(redis->writable, NULL) == 0;
}

static void
begin(struct redis *redis)
{
	struct sockaddr_storage sa;
	socklen_t len;

	redis->state = REDIS_CONNECTING;
	redis->since = clock_now();
	if (!choose(redis, &sa, &len))
		redis_fail(redis, "the name is not known");
	else if (!open_socket(redis, &sa))
		redis_fail(redis, "no socket");
	else if (connect(redis->fd, (struct sockaddr *)&sa, len) < 0 &&
	         errno != EINPROGRESS)
		redis_fail(redis, strerror(errno));
}

static void
on_tick(int fd, short what, void *arg)
{
	struct redis *redis = arg;
	struct waiting *oldest = TAILQ_FIRST(&redis->waiting);
	nsec_t now = clock_now();

	(void)fd;
	(void)what;
	if (redis->state == REDIS_DOWN && now >= redis->retry_at)
		begin(redis);
	else if (redis->state == REDIS_UP && oldest &&
	         now - oldest->since > redis->answer_timeout)
		redis_fail(redis, "no answer in time");
	else if (redis->state != REDIS_DOWN && redis->state != REDIS_UP &&
	         now - redis->since > redis->connect_timeout)
		redis_fail(redis, "no connection in time");
}

/* ---- life ---- */

/* All that a connection depends on; the caller frees. NULL: no memory. */
static char *
print_settings(const struct redis_cfg *cfg)
{
	char *text = NULL;
	int n = asprintf(&text, "%s %u %s %s %d %s %d %d %s %s %lld %lld",
	    cfg->address.text, cfg->database, cfg->user ? cfg->user : "",
	    cfg->prefix, (int)cfg->password.from,
	    cfg->password.where ? cfg->password.where : "", cfg->tls.on,
	    (int)cfg->tls.verify, cfg->tls.ca_file ? cfg->tls.ca_file : "",
	    cfg->tls.server_name ? cfg->tls.server_name : "",
	    (long long)cfg->connect_timeout, (long long)cfg->answer_timeout);

	return n < 0 ? NULL : text;
}

static void
forget_password(char *password, size_t len)
{
	if (password)
		explicit_bzero(password, len);
	free(password);
}

/* The next connection logs in as the secret is now. Who has dropped privileges
 * may not be able to read it again, and keeps the one that was right. */
static void
renew_password(struct redis *redis, const struct redis_cfg *cfg)
{
	char *password;
	size_t len;
	struct err err;

	if (cfg->password.from == SECRET_NONE ||
	    !secret_read(&cfg->password, &password, &len, &err))
		return;
	forget_password(redis->password, redis->password_len);
	redis->password = password;
	redis->password_len = len;
}

/* The next connection trusts whom the files name now. Those that cannot be read
 * change nothing. */
static void
renew_trust(struct redis *redis, const struct redis_cfg *cfg)
{
	struct tls_client *tls;
	struct err err;

	if (!cfg->tls.on || !(tls = tls_client_new(&cfg->tls, 1, &err)))
		return;
	tls_client_free(&redis->tls); /* what is connected goes on */
	redis->tls = tls;
}

bool
redis_may_stay(struct redis *redis, const struct redis_cfg *cfg)
{
	char *settings = redis_is_up(redis) ? print_settings(cfg) : NULL;
	bool is_same = settings && strcmp(settings, redis->settings) == 0;

	free(settings);
	if (is_same) {
		renew_password(redis, cfg);
		renew_trust(redis, cfg);
	}
	return is_same;
}

static bool
copy_settings(struct redis *redis, const struct redis_cfg *cfg, struct err *err)
{
	redis->database = cfg->database;
	redis->connect_timeout = cfg->connect_timeout;
	redis->answer_timeout = cfg->answer_timeout;
	if (!(redis->settings = print_settings(cfg)))
		return err_set(err, "out of memory");
	if (!address_parse(span_of(cfg->address.text), &redis->address, err))
		return false;
	if (cfg->user && !(redis->user = strdup(cfg->user)))
		return err_set(err, "out of memory");
	if (cfg->password.from != SECRET_NONE &&
	    !secret_read(
	        &cfg->password, &redis->password, &redis->password_len, err))
		return err_wrap(err, "redis.password");
	if (cfg->tls.on && !(redis->tls = tls_client_new(&cfg->tls, 1, err)))
		return err_wrap(err, "redis.tls");
	return true;
}

struct redis *
redis_new(struct event_base *base, const struct redis_cfg *cfg,
    const struct redis_hooks *hooks, struct err *err)
{
	struct redis *redis = calloc(1, sizeof(*redis));
	struct timeval every = {0, TICK_MS * 1000};

	if (!redis) {
		err_set(err, "out of memory");
		return NULL;
	}
	redis->base = base;
	redis->hooks = *hooks;
	redis->fd = -1;
	redis->pause_ms = PAUSE_MIN_MS;
	TAILQ_INIT(&redis->waiting);
	redis->out = evbuffer_new();
	redis->wire = evbuffer_new();
	redis->window_out = malloc(WINDOW_SIZE);
	redis->tick = event_new(base, -1, EV_PERSIST, on_tick, redis);
	if (!redis->out || !redis->wire || !redis->window_out || !redis->tick ||
	    event_add(redis->tick, &every) < 0)
		err_set(err, "out of memory");
	else if (copy_settings(redis, cfg, err))
		return redis;
	redis_free(&redis);
	return NULL;
}

void
redis_free(struct redis **redis)
{
	struct redis *dead = *redis;

	*redis = NULL;
	if (!dead)
		return;
	if (dead->out && dead->wire)
		disconnect(dead);
	if (dead->tick)
		event_free(dead->tick);
	if (dead->out)
		evbuffer_free(dead->out);
	if (dead->wire)
		evbuffer_free(dead->wire);
	tls_client_free(&dead->tls);
	if (dead->address.text)
		address_release(&dead->address);
	forget_password(dead->password, dead->password_len);
	free(dead->user);
	free(dead->settings);
	free(dead->window_out);
	free(dead);
}
