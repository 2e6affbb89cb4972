/*
 * Private to the demo's upstream: what its listener (upstream.c) and its
 * connections (guest.c) know of each other. All of it belongs to the one
 * thread that serves.
 */
#ifndef WEIR_PROXY_DEMO_GUEST_H
#define WEIR_PROXY_DEMO_GUEST_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <sys/queue.h>

#include "proxy/demo/upstream.h"
#include "routing/decide.h"

enum { GUESTS_MAX = 20000, ADDRESS_TEXT_MAX = 128 };

struct guest;
struct demo_upstream {
	struct demo_upstream_cfg cfg;
	char name[CONFIG_NAME_MAX + 1];
	char address[ADDRESS_TEXT_MAX];
	char *unlink_path; /* owned; NULL for TCP */
	int fd, stop_fd, mood_fd;
	struct event_base *base; /* owned */
	struct event listening, resting, stopping, moody;
	_Atomic uint32_t wanted;  /* mood << 16 | share */
	enum demo_mood mood;
	bp_t share;               /* of the requests that feel it */
	nsec_t mood_at, first_bad, last_request; /* monotonic; 0: none since */
	uint64_t bad, requests;   /* since mood_at */
	pthread_t thread;
	bool has_thread;
	struct rng rng;
	uint64_t answered;
	unsigned n_guests;
	LIST_HEAD(, guest) guests;
};

enum { MOOD_DELAY_MS = 60 };
/* In the serving thread. */
void mood_set(struct demo_upstream *upstream, enum demo_mood mood, bp_t share);

/* Takes an accepted connection over; closes it when there are too many. */
void guest_new(struct demo_upstream *upstream, int fd);
void guest_free(struct guest *guest);
void guest_reset(struct guest *guest); /* the same, with a reset */

#endif
