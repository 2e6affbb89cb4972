/*
 * The listening sockets of the whole process: one per worker and address,
 * opened by the control thread before a config is put to work, kept over
 * reloads while any listener binds the same address. Control thread only.
 */
#ifndef WEIR_PROXY_BINDING_H
#define WEIR_PROXY_BINDING_H

#include "config/config.h"
#include "proxy/worker.h"

struct bindings;
struct registry;

struct bindings *bindings_new(unsigned n_workers);
/* Opens what `config` wants and is not open. False with err: nothing has changed. */
bool bindings_open(struct bindings *bindings, const struct config *config, struct err *err);
/* Forgets what bindings_open opened since (the config was refused after all). */
void bindings_cancel(struct bindings *bindings);
/* Hands new sockets to the workers, takes back those that `config` has no more, tells of those that it has under another listener. */
void bindings_commit(struct bindings *bindings, const struct config *config, struct registry *registry,
    struct shared *shared);
void bindings_free(struct bindings **bindings); /* sockets belong to the workers by then */

#endif
