/*
 * Private to the demo's upstream: what its listener (demo_upstream.c) and its
 * connections (demo_guest.c) know of each other. All of it belongs to the one
 * thread that serves.
 */
#ifndef WEIR_PROXY_DEMO_GUEST_H
#define WEIR_PROXY_DEMO_GUEST_H

#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <sys/queue.h>

#include "proxy/demo_upstream.h"
#include "routing/decide.h"

enum { GUESTS_MAX = 20000, ADDRESS_TEXT_MAX = 128 };

struct guest;
struct demo_upstream {
	struct demo_upstream_cfg cfg;
	char name[CONFIG_NAME_MAX + 1];
	char address[ADDRESS_TEXT_MAX];
	char *unlink_path; /* owned; NULL for TCP */
	int fd, stop_fd;
	struct event_base *base; /* owned */
	struct event listening, resting, stopping;
	pthread_t thread;
	bool has_thread;
	struct rng rng;
	uint64_t answered;
	unsigned n_guests;
	LIST_HEAD(, guest) guests;
};

/* Takes an accepted connection over; closes it when there are too many. */
void guest_new(struct demo_upstream *upstream, int fd);
void guest_free(struct guest *guest);

#endif
