/* Rate limits that instances share, reconciled through Redis in the background. */
#ifndef WEIR_PROXY_QUOTA_H
#define WEIR_PROXY_QUOTA_H

#include <event2/event.h>

#include "admin/admin.h"
#include "routing/control.h"

struct quota;
typedef size_t quota_resolve_fn(void *ctx, const struct address *address, struct sockaddr_storage *out, size_t cap);
/* NULL: out of memory, or no random numbers. */
struct quota *quota_new(struct event_base *base, struct registry *registry, quota_resolve_fn *resolve, void *ctx);
/*
 * With a config that is at work. Never waits for the server: that it cannot be
 * reached is said in the log. False: a password or certificate cannot be read
 * (what ran before goes on).
 */
bool quota_apply(struct quota *quota, const struct config *config, struct err *err);
void quota_facts(const struct quota *quota, struct process_facts *out);
void quota_free(struct quota **quota);

#endif
