/* Probes endpoints that were taken out; see probe.c. Control thread only. */
#ifndef WEIR_PROXY_PROBE_H
#define WEIR_PROXY_PROBE_H

struct event_base;
struct registry;
struct prober;

struct prober *prober_new(struct event_base *base, struct registry *registry);
void prober_free(struct prober **prober);

#endif
