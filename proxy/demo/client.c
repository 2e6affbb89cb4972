/*
 * The demo's users: threads that send at a steady pace, each over a connection
 * of its own, half of them with TLS. Counters have one writer each and may be
 * read at any time.
 */
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

#include "proxy/clock.h"
#include "proxy/command/fetch.h"
#include "proxy/demo/demo.h"

struct demo_user {
	const struct demo_load *load; /* borrowed: outlives its threads */
	pthread_t thread;
	bool is_started;
	struct fetch *fetch; /* owned */
	counter_t pools[DEMO_POOLS], failed;
	struct histogram latency;
};

struct demo_load {
	nsec_t interval; /* of one user */
	atomic_bool is_stopping;
	struct demo_user users[DEMO_USERS];
};

const char *const demo_pools[DEMO_POOLS] = {"blue", "canary", "green"};

int
demo_pool_index(struct span name)
{
	for (int i = 0; i < DEMO_POOLS; i++)
		if (span_eq(name, span_of(demo_pools[i])))
			return i;
	return -1;
}

static void
sleep_until(nsec_t when)
{
	struct timespec t = {when / NSEC_PER_SEC, when % NSEC_PER_SEC};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void
ask_once(struct demo_user *user)
{
	static const struct fetch_ask ask = {
	    .method = "GET", .path = "/", .headers = "accept: text/html\r\n"};
	nsec_t began = clock_now();
	struct fetch_reply reply;
	struct err err;
	int pool = -1;

	if (fetch_call(user->fetch, &ask, &reply, &err) && reply.status < 500)
		pool = demo_pool_index(fetch_header(&reply, "x-pool"));
	if (pool < 0) {
		counter_add(&user->failed, 1);
		return;
	}
	counter_add(&user->pools[pool], 1);
	histogram_record(&user->latency, clock_now() - began);
}

/* What is late is not made up for: a stall shows as missing requests. */
static void *
user_thread(void *ctx)
{
	struct demo_user *user = ctx;
	nsec_t next = clock_now();

	while (!atomic_load(&user->load->is_stopping)) {
		ask_once(user);
		next += user->load->interval;
		if (next < clock_now())
			next = clock_now();
		sleep_until(next);
	}
	return NULL;
}

static bool
start_user(struct demo_load *load, int i, const struct demo_site *site)
{
	struct demo_user *user = &load->users[i];
	bool is_tls = i % 2 == 0;

	user->load = load;
	user->fetch = fetch_new(is_tls ? &site->tls : &site->clear,
	    is_tls ? site->tls_client : NULL, (unsigned)i, 5 * NSEC_PER_SEC);
	user->is_started = user->fetch && pthread_create(&user->thread, NULL,
	                                      user_thread, user) == 0;
	return user->is_started;
}

struct demo_load *
demo_load_start(const struct demo_site *site, unsigned rate, struct err *err)
{
	struct demo_load *load = calloc(1, sizeof(*load));
	sigset_t all, before;
	bool ok = load != NULL;

	if (load)
		load->interval = NSEC_PER_SEC * DEMO_USERS / rate;
	sigfillset(&all); /* signals are for the thread that runs the proxy */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	for (int i = 0; ok && i < DEMO_USERS; i++)
		ok = start_user(load, i, site);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (ok)
		return load;
	err_set(err, "cannot start the demo's users: out of memory or threads");
	if (load)
		demo_load_stop(&load);
	return NULL;
}

void
demo_load_read(const struct demo_load *load, struct demo_counts *out)
{
	memset(out, 0, sizeof(*out));
	for (int i = 0; i < DEMO_USERS; i++) {
		const struct demo_user *user = &load->users[i];

		for (int p = 0; p < DEMO_POOLS; p++)
			out->pools[p] += counter_read(&user->pools[p]);
		out->failed += counter_read(&user->failed);
		histogram_add(&out->latency, &user->latency);
	}
}

void
demo_load_stop(struct demo_load **load)
{
	atomic_store(&(*load)->is_stopping, true);
	for (int i = 0; i < DEMO_USERS; i++) {
		struct demo_user *user = &(*load)->users[i];

		if (user->is_started)
			pthread_join(user->thread, NULL);
		fetch_free(&user->fetch);
	}
	free(*load);
	*load = NULL;
}
