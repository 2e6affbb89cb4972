/*
 * proxy: the data plane and the composition root. What main.c's commands may
 * ask of it.
 */
#ifndef WEIR_PROXY_PROXY_H
#define WEIR_PROXY_PROXY_H

#include <stdbool.h>

#include "config/config.h"

struct run_options {
	/*
	 * Called once on the control thread when all listeners accept: `weir run`
	 * prints, `weir demo` starts its clients. May be NULL.
	 */
	void (*on_ready)(void *ctx);
	void *ctx;
	/*
	 * When not NULL, polled about ten times a second on the control thread:
	 * true begins the same drain as SIGTERM (weir demo --once when it is through).
	 */
	bool (*wants_stop)(void *ctx);
	bool is_quiet; /* no "ready" lines on standard error */
};

/*
 * Runs the proxy in the calling thread until it is told to stop (SIGTERM and
 * SIGQUIT drain, SIGINT stops now, SIGHUP reloads, SIGUSR1 reopens logs).
 * Takes the config over. Returns the exit code: 0 after a drain, 1 internal,
 * 2 when the config cannot be put to work (a busy port, a missing certificate).
 */
int weir_run(struct config *config, const struct run_options *options);

#endif
