/* What notify.c and show.c share. */
#ifndef WEIR_ADMIN_NOTIFY_PARTS_H
#define WEIR_ADMIN_NOTIFY_PARTS_H

#include <sys/queue.h>

#include "admin/notify/notify.h"
#include "admin/notify/wire.h"

enum { NOTIFY_ERROR_MAX = 200 };

/* One call, from hook_send or hook_ask to its end. */
struct job {
	TAILQ_ENTRY(job) link;
	struct receiver *receiver; /* borrowed: lives as long as it has jobs */
	char id[NOTIFY_ID_MAX], event[48];
	char *body; /* owned, as sent */
	char *key;  /* owned, wiped at the end; NULL: unsigned */
	size_t key_len;
	nsec_t timeout;
	unsigned retries, tries;
	nsec_t due;                /* not before */
	struct exchange *exchange; /* owned; NULL: waiting */
	hook_answer_fn *fn;        /* NULL: an event */
	void *ctx;
	size_t tag;
	char error[NOTIFY_ERROR_MAX]; /* of the last try */
};

struct receiver {
	TAILQ_ENTRY(receiver) link;
	struct notify *notify; /* borrowed */
	char *url, *name;      /* owned */
	TAILQ_HEAD(, job) jobs; /* in the order of the calls */
	size_t n_events;        /* of them, those that nobody waits for */
	unsigned running;
	uint64_t delivered, failed, dropped, tries;
	unsigned failing;
	bool is_overflowing; /* told */
	time_t success_at, failure_at;
	nsec_t used_at;
	char error[NOTIFY_ERROR_MAX];
};

struct notify {
	struct wire *wire;
	struct event *timer;
	TAILQ_HEAD(, receiver) receivers;
	size_t n_receivers;
	unsigned running;
};

#endif
