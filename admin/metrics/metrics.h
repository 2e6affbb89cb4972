/* /metrics: Prometheus text format 0.0.4, or OpenMetrics 1.0. */
#ifndef WEIR_ADMIN_METRICS_H
#define WEIR_ADMIN_METRICS_H

#include "admin/api/api.h"
#include "admin/metrics/exposition.h"

/* The caller frees; NULL: out of memory. */
char *metrics_text(struct admin *admin, bool is_open, size_t *len_out);

/* The parts of it. */
void metrics_traffic(
    struct exposition *x, const struct admin *admin); /* traffic.c */
void metrics_limits(
    struct exposition *x, const struct admin *admin); /* limits.c */
void metrics_mirror(
    struct exposition *x, const struct admin *admin); /* mirror.c */
void metrics_policy(struct exposition *x, const struct admin *admin,
    const struct process_facts *facts); /* policy.c */
struct rollouts;
void metrics_rollouts(
    struct exposition *x, const struct rollouts *rollouts); /* rollout.c */
struct fleet;
void metrics_fleet(
    struct exposition *x, const struct fleet *fleet); /* fleet/show.c */
void metrics_process(
    struct exposition *x, const struct process_facts *facts); /* process.c */

#endif
