/*
 * The access log's way out of a worker: one ring of bytes per worker, one
 * writer, one reader (the log thread), no lock. A full ring drops the line
 * and counts it: a log never slows a request.
 */
#ifndef WEIR_PROXY_LOG_RING_H
#define WEIR_PROXY_LOG_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "config/config.h"

struct shared;
struct conn;
struct log_ring;

/* A head that was no request and got an answer all the same; `word` is a
 * literal. The worker of the connection. */
void access_log_refused(struct conn *client, unsigned status, const char *word, uint64_t bytes_out);

/* The log thread: reads all workers' rings, formats, writes. */
struct access_log;
struct access_log *access_log_open(const struct logs_cfg *cfg, unsigned n_workers, struct err *err);
struct log_ring *access_log_ring(struct access_log *log, unsigned worker);
bool access_log_start(struct access_log *log, struct err *err);
void access_log_reopen(struct access_log *log); /* SIGUSR1; any thread */
uint64_t access_log_dropped(const struct access_log *log);
uint64_t access_log_lines(const struct access_log *log);
void access_log_close(struct access_log **log); /* writes what is left */

#endif
