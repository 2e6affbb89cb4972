/*
 * A worker: one thread, one event loop, and all that a request needs, its
 * own: connections, pools of kept upstream connections, memory, deadlines,
 * randomness, statistics cells. Workers share nothing on the way of a request
 * but immutable snapshots and single-writer counters.
 */
#ifndef WEIR_PROXY_WORKER_H
#define WEIR_PROXY_WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "proxy/buf.h"
#include "proxy/clock.h"
#include "proxy/h1/parse.h"
#include "proxy/reactor.h"
#include "proxy/slab.h"
#include "proxy/wheel.h"
#include "routing/decide.h"
#include "tls/tls.h"

struct conn;
struct request;
struct log_ring;
struct client_table;
TAILQ_HEAD(conn_queue, conn);
TAILQ_HEAD(request_queue, request);
struct h2_kit;
TAILQ_HEAD(h2_queue, h2);
TAILQ_HEAD(mirror_queue, mirror);
LIST_HEAD(line_list, line);

enum {
	WORKER_TICK_MS = 50,     /* of what a worker does by time; deadlines are up to so late */
	RX_HEADROOM = 4096,      /* before the bytes received: room for a longer head, a chunk line */
	RX_SIZE = 262144,        /* at most this much is read at once */
	RX_TAILROOM = 32768,     /* behind: a chunk's end, the rest of a TLS record */
	RX_USUAL = 65536,        /* ... and this much when nothing says that more will come */
	TX_SIZE = 278528,        /* ciphertext of RX_SIZE with its record overhead */
	HEAD_SIZE = 69632,       /* a head being written, or an answer of our own: a body of 64 KiB and its head */
	OUT_HIGH = 65536,        /* unsent bytes at which the source is paused */
	FRAMES_SIZE = 65536,     /* frames gathered for one send */
	FRAME_PAYLOAD = 16375,   /* with its head it fills a TLS record */
};

/* A loop that comes so late has stood still: times measured over it say nothing of the upstream. */
static const nsec_t TRIAL_STALL = 250 * NSEC_PER_MSEC;

/* What all workers and the control thread see of one another. */
struct shared {
	struct publication *publication; /* borrowed: the registry's */
	unsigned n_workers;
	struct worker *workers;          /* owned: [n_workers] */
	struct client_table *clients;    /* owned: connections per client address */
	_Atomic bool is_draining;        /* no keep-alive any more, listeners closed */
	_Atomic uint32_t leaves;         /* grows when an endpoint begins to leave or is cut, see leave.c */
	_Atomic bool is_stopping;        /* end everything now */
	_Atomic uint32_t n_active;       /* workers whose connections have not all ended while draining */
	bool logs_access;                /* the rings are read by the log thread */
	_Atomic int descriptors; /* the workers' share: numbers below this; the
	                            rest is control's, see control/process.h */
	_Atomic uint32_t n_shed;         /* connections refused for want of descriptors, since shed_told */
	_Atomic int64_t shed_told;
	int nudge_fd;                    /* eventfd of the control thread: look at the trials now; -1: nobody does */
};

/* The content type that an answer had last, see trial.c. */
struct type_memo {
	uint32_t place;  /* among the head's fields */
	uint8_t len, type;
	char text[58];
};

/* A listening socket of this worker. */
struct accepting {
	LIST_ENTRY(accepting) link;
	struct watch watch;
	struct worker *worker;
	int fd;             /* owned */
	uint32_t listener;  /* id */
	bool is_unix, is_watched;
};
LIST_HEAD(accepting_list, accepting);

struct worker {
	/* hot */
	struct reactor reactor;
	struct shared *shared;      /* borrowed */
	struct snapshot *snapshot;  /* held: the current one */
	const struct config *config; /* of the snapshot */
	nsec_t now;                 /* read at the start of each callback */
	unsigned id;
	uint32_t turn;              /* of the loop: tells what is older than a request */
	struct rng rng;
	char *rx;                   /* RX_HEADROOM + RX_SIZE + RX_TAILROOM: plaintext received */
	char *cipher;               /* RX_USUAL: ciphertext received */
	char *tx;                   /* TX_SIZE: ciphertext to send */
	char *head;                 /* HEAD_SIZE: the head being written */
	char *frames;               /* FRAMES_SIZE: what a session sends at once */
	struct tls_window window;
	struct conn *corked;        /* borrowed: whose ciphertext waits in tx, see conn_cork */
	struct h1_head parsed;      /* the head being read */
	struct slab conns, requests, streams;
	struct h2_queue unflushed;  /* sessions with something to say */
	struct h2_kit *h2;          /* owned: what all sessions are made with */
	struct buf_pool bufs;
	struct wheel wheel;
	nsec_t began;               /* the wheel's zero */
	struct conn_queue ready;    /* have more to do without an event */
	struct conn_queue ended;    /* died in this turn, freed at its end */
	time_t date_at;             /* second of `date` */
	char date[32];              /* "Sun, 06 Nov 1994 08:49:37 GMT" */

	/* cold */
	struct conn_queue clients;  /* all client connections */
	uint32_t n_clients;
	nsec_t warned_at;           /* of a client that was sent away: at most one line a second */
	nsec_t certificate_told_at; /* a refused client certificate was last told */
	struct accepting_list accepting;
	bool accepts_paused;        /* out of descriptors: until the next tick */
	int spare_fd;               /* given up for a moment to shed a connection politely */
	struct log_ring *log;       /* owned, NULL when the access log is off */
	pthread_t thread;
	struct watch tick, fine, mailbox;
	int mailbox_fd;             /* eventfd: control has news */
	nsec_t tick_due;
	nsec_t fine_until;          /* the wheel turns by `fine`, too; 0: it does not */
	nsec_t stood_still;         /* when the loop last came back from longer than TRIAL_STALL; 0: never */
	struct request_queue judged; /* in flight, oldest first */
	struct mirror_queue mirrors, mirrors_ready; /* mirror.c: all, and those to be sent in this turn */
	uint32_t hedge_ticks;       /* of the tick, for hedge_tick */
	struct request_queue resting; /* retry.c: before a further attempt */
	struct line_list lines;     /* queue.c: who waits for a place in a pool */
	uint32_t looks;             /* at all lines */
	bool has_free_places;       /* given in this turn, and its own lines are next */
	struct type_memo type_memo;
	struct refusals *refusals;  /* owned: refused.c; NULL before the first */
	_Atomic int64_t lag;        /* worst lateness of the tick since it was read, ns */
	_Atomic int64_t turned_at;  /* for the watchdog */
	_Atomic uint64_t generation; /* of the adopted snapshot */
	pthread_mutex_t inbox_lock;
	struct inbox_entry *inbox;  /* owned, under inbox_lock: listening sockets to take over */
	uint32_t leaves;            /* of shared, seen */
	nsec_t drained_since;       /* 0: not draining */
	bool is_drained;
};

/* What control asks of a worker about a listening socket. The number is the worker's until INBOX_CLOSE. */
struct inbox_entry {
	struct inbox_entry *next;
	enum { INBOX_LISTEN, INBOX_MOVE /* to another listener */, INBOX_CLOSE } what;
	int fd;
	uint32_t listener;
	bool is_unix;
};

bool worker_init(struct worker *worker, struct shared *shared, unsigned id, struct err *err);
bool worker_start(struct worker *worker, struct err *err);
void worker_release(struct worker *worker);
/* From the control thread: takes the entry over. */
void worker_tell(struct worker *worker, struct inbox_entry *entry);
/* From any thread: look at the mailbox and the shared words now. */
void worker_wake(struct worker *worker);
/* From the worker: control should look at the trials now. */
void worker_nudge(struct worker *worker);

/* Until `after` from now deadlines fire within WHEEL_TICK_MS. */
void worker_be_exact(struct worker *worker, nsec_t after);

static inline wheel_ms_t
worker_ms(const struct worker *worker)
{
	return (wheel_ms_t)((worker->now - worker->began) / NSEC_PER_MSEC);
}
/* IMF-fixdate of the current second, 29 bytes. */
const char *worker_date(struct worker *worker);

/* leave.c: lets go of endpoints that leave, when there is news of them. */
void worker_leave_endpoints(struct worker *worker);

/* listener.c */
void listener_take(struct worker *worker, const struct inbox_entry *entry);
void listener_move(struct worker *worker, const struct inbox_entry *entry);
void listener_close(struct worker *worker, int fd);
void listener_close_all(struct worker *worker);
void listener_resume(struct worker *worker);

#endif
