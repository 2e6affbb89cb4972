/* What the process asks of the kernel before it serves: CPUs, descriptors, privileges, signals. */
#ifndef WEIR_PROXY_PROCESS_H
#define WEIR_PROXY_PROCESS_H

#include <stdbool.h>

#include "config/config.h"

enum { PROCESS_WORKERS_MAX = 64 };

/* `workers` of the config; auto: one per CPU that we may run on. */
unsigned process_workers(const struct config *config);
/* To the hard limit; warns when that is low, and refuses what cannot even start. */
bool process_raise_descriptors(const struct config *config, struct err *err);
/*
 * How many descriptors the workers may take. The rest is kept for what control
 * needs when clients have taken all others: the admin API, the journal, a
 * reload with its sockets and files, names, checks of health.
 */
int process_descriptors(const struct config *config);
/* Becomes `user` when started as root; never gains a privilege again. */
bool process_drop_privileges(const struct config *config, struct err *err);
/* Threads made while signals are blocked leave them to the control thread. */
void process_block_signals(bool block);

#endif
