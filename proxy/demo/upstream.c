/*
 * The demo's upstream: one thread, one event_base, a listener and its guests
 * (guest.c).
 */
#include "proxy/demo/upstream.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <unistd.h>

#include "proxy/clock.h"
#include "proxy/demo/guest.h"

enum { ACCEPTS_PER_TURN = 64 };

static void
on_accept(evutil_socket_t fd, short events, void *ctx)
{
	struct demo_upstream *up = ctx;
	static const struct timeval rest = {.tv_usec = 100000};

	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		int guest =
		    accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (guest >= 0) {
			guest_new(up, guest);
			continue;
		}
		/* Out of descriptors: the listener would stay readable and
		 * spin. */
		if (errno == EMFILE || errno == ENFILE) {
			event_del(&up->listening);
			event_add(&up->resting, &rest);
		}
		return;
	}
}

static void
on_rested(evutil_socket_t fd, short events, void *ctx)
{
	struct demo_upstream *up = ctx;

	(void)fd;
	(void)events;
	event_add(&up->listening, NULL);
}

static void
on_stop(evutil_socket_t fd, short events, void *ctx)
{
	(void)fd;
	(void)events;
	event_base_loopbreak(ctx);
}

/* ---- moods ---- */

static const char *const mood_names[MOOD_COUNT] = {
    "well", "errors", "latency", "crash", "hang"};

bool
demo_mood_of(struct span word, enum demo_mood *out)
{
	for (int i = 0; i < MOOD_COUNT; i++)
		if (span_eq(word, span_of(mood_names[i]))) {
			*out = (enum demo_mood)i;
			return true;
		}
	return false;
}

const char *
demo_mood_name(enum demo_mood mood)
{
	return mood_names[mood];
}

/* What the kernel does to a process that dies: resets, and nobody listens. */
static void
crash(struct demo_upstream *up)
{
	event_del(&up->listening);
	event_del(&up->resting);
	if (up->fd >= 0)
		close(up->fd);
	up->fd = -1;
	while (!LIST_EMPTY(&up->guests))
		guest_reset(LIST_FIRST(&up->guests));
}

void
mood_set(struct demo_upstream *up, enum demo_mood mood, bp_t share)
{
	up->mood = mood;
	up->share = share;
	up->mood_at = clock_now();
	up->first_bad = up->last_request = 0;
	up->bad = up->requests = 0;
	if (mood == MOOD_CRASH)
		crash(up);
}

static void
on_mood(evutil_socket_t fd, short events, void *ctx)
{
	struct demo_upstream *up = ctx;
	uint64_t count;
	uint32_t wanted = atomic_load(&up->wanted);

	(void)events;
	if (read(fd, &count, sizeof(count)) == sizeof(count))
		mood_set(up, (enum demo_mood)(wanted >> 16),
		    (bp_t)(wanted & 0xffff));
}

void
demo_upstream_break(struct demo_upstream *up, enum demo_mood mood, bp_t share)
{
	uint64_t one = 1;

	atomic_store(&up->wanted, (uint32_t)mood << 16 | share);
	(void)!write(up->mood_fd, &one, sizeof(one));
}

static bool
bind_listener(
    struct demo_upstream *up, const struct address *listen_at, struct err *err)
{
	struct sockaddr_storage sa;
	socklen_t len = sizeof(sa);
	char host[INET6_ADDRSTRLEN] = "";
	int on = 1;

	up->fd = socket(listen_at->sa.ss_family,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (up->fd < 0)
		return err_set(err, "socket: %s", strerror(errno));
	setsockopt(up->fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(up->fd, (const struct sockaddr *)&listen_at->sa,
	        listen_at->sa_len) != 0 ||
	    listen(up->fd, SOMAXCONN) != 0 ||
	    getsockname(up->fd, (struct sockaddr *)&sa, &len) != 0)
		return err_set(err, "cannot listen on %s: %s", listen_at->text,
		    strerror(errno));
	if (sa.ss_family == AF_INET) {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&sa;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(up->address, sizeof(up->address), "%s:%u", host,
		    ntohs(in->sin_port));
	} else if (sa.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 =
		    (const struct sockaddr_in6 *)&sa;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(up->address, sizeof(up->address), "[%s]:%u", host,
		    ntohs(in6->sin6_port));
	} else {
		snprintf(
		    up->address, sizeof(up->address), "%s", listen_at->text);
		up->unlink_path = strdup(listen_at->host);
	}
	return true;
}

/*
 * Delays to the microsecond: else they are rounded up to the next wake-up,
 * and a version with less traffic is slower only because it sleeps more.
 */
static struct event_base *
precise_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base = NULL;

	if (config &&
	    event_config_set_flag(config, EVENT_BASE_FLAG_PRECISE_TIMER) == 0)
		base = event_base_new_with_config(config);
	if (config)
		event_config_free(config);
	return base;
}

static bool
make_events(struct demo_upstream *up, struct err *err)
{
	up->base = precise_base();
	up->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	up->mood_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!up->base || up->stop_fd < 0 || up->mood_fd < 0)
		return err_set(
		    err, "cannot make an event loop: %s", strerror(errno));
	event_assign(&up->listening, up->base, up->fd, EV_READ | EV_PERSIST,
	    on_accept, up);
	event_assign(&up->resting, up->base, -1, 0, on_rested, up);
	event_assign(
	    &up->stopping, up->base, up->stop_fd, EV_READ, on_stop, up->base);
	event_assign(&up->moody, up->base, up->mood_fd, EV_READ | EV_PERSIST,
	    on_mood, up);
	event_add(&up->listening, NULL);
	event_add(&up->stopping, NULL);
	event_add(&up->moody, NULL);
	return true;
}

struct demo_upstream *
demo_upstream_new(const struct demo_upstream_cfg *cfg,
    const struct address *listen_at, struct err *err)
{
	struct demo_upstream *up = calloc(1, sizeof(*up));
	uint8_t seed[32];

	if (!up) {
		err_set(err, "out of memory");
		return NULL;
	}
	up->cfg = *cfg;
	snprintf(up->name, sizeof(up->name), "%s", cfg->name);
	up->fd = up->stop_fd = up->mood_fd = -1;
	up->mood_at = clock_now();
	LIST_INIT(&up->guests);
	if (getrandom(seed, sizeof(seed), 0) == (ssize_t)sizeof(seed))
		rng_seed(&up->rng, seed);
	if (bind_listener(up, listen_at, err) && make_events(up, err))
		return up;
	demo_upstream_free(&up);
	return NULL;
}

const char *
demo_upstream_address(const struct demo_upstream *up)
{
	return up->address;
}

void
demo_upstream_serve(struct demo_upstream *up)
{
	struct event *interrupt =
	    evsignal_new(up->base, SIGINT, on_stop, up->base);
	struct event *terminate =
	    evsignal_new(up->base, SIGTERM, on_stop, up->base);

	if (interrupt && terminate && evsignal_add(interrupt, NULL) == 0 &&
	    evsignal_add(terminate, NULL) == 0)
		event_base_dispatch(up->base);
	if (interrupt)
		event_free(interrupt);
	if (terminate)
		event_free(terminate);
}

static void *
serve_thread(void *ctx)
{
	struct demo_upstream *up = ctx;

	event_base_dispatch(up->base);
	return NULL;
}

/* Signals are for the thread that runs the proxy. */
bool
demo_upstream_start(struct demo_upstream *up, struct err *err)
{
	sigset_t all, before;
	int failure;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	failure = pthread_create(&up->thread, NULL, serve_thread, up);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	up->has_thread = failure == 0;
	return up->has_thread ||
	       err_set(err, "cannot start a thread: %s", strerror(failure));
}

static void
end_thread(struct demo_upstream *up)
{
	uint64_t one = 1;

	if (up->has_thread &&
	    write(up->stop_fd, &one, sizeof(one)) == sizeof(one))
		pthread_join(up->thread, NULL);
	up->has_thread = false;
}

void
demo_upstream_free(struct demo_upstream **upstream)
{
	struct demo_upstream *up = *upstream;

	if (!up)
		return;
	end_thread(up);
	while (!LIST_EMPTY(&up->guests))
		guest_free(LIST_FIRST(&up->guests));
	if (up->base) {
		event_del(&up->listening);
		event_del(&up->resting);
		event_del(&up->stopping);
		event_del(&up->moody);
		event_base_free(up->base);
	}
	if (up->fd >= 0)
		close(up->fd);
	if (up->stop_fd >= 0)
		close(up->stop_fd);
	if (up->mood_fd >= 0)
		close(up->mood_fd);
	if (up->unlink_path)
		unlink(up->unlink_path);
	free(up->unlink_path);
	free(up);
	*upstream = NULL;
}
