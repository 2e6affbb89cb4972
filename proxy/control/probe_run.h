/*
 * One check of one endpoint, on the control thread: connect, TLS where the
 * pool has it, a request, a look at the answer; one timeout for all of it.
 * Ends by one call of `done` with what was found in words.
 */
#ifndef WEIR_PROXY_PROBE_RUN_H
#define WEIR_PROXY_PROBE_RUN_H

#include "config/config.h"
#include "tls/tls.h"

struct event_base;
struct probe_run;

struct probe_ask {
	const struct address *address;
	const struct health_cfg *cfg; /* path NULL: a connection is enough */
	struct tls_client *tls;       /* NULL: clear */
	unsigned worker;              /* this thread's number for tls */
	bool is_h2;                   /* by prior knowledge, or as TLS has agreed */
	unsigned send_proxy;          /* version of the PROXY header to begin with; 0: none */
};

/* The run is gone when it is called. */
typedef void probe_done_fn(void *ctx, bool is_good, const char *text);

/*
 * All that `ask` names is borrowed until the end. `done` is never called from
 * within. NULL: out of memory.
 */
struct probe_run *probe_run_new(struct event_base *base,
    const struct probe_ask *ask, probe_done_fn *done, void *ctx);
/* It never happened; safe for NULL. */
void probe_run_free(struct probe_run **run);

#endif
