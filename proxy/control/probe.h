/*
 * Who of the endpoints is well; see probe.c. Control thread only.
 */
#ifndef WEIR_PROXY_PROBE_H
#define WEIR_PROXY_PROBE_H

struct admin;
struct event_base;
struct registry;
struct prober;

/* `admin` (borrowed, may be NULL) hears of endpoints that go and come. */
struct prober *prober_new(struct event_base *base, struct registry *registry, struct admin *admin);
void prober_free(struct prober **prober);
/*
 * A snapshot was published: new endpoints are checked, unchanged ones keep
 * what is known of them, and nothing is held of those that left. To be called
 * before the old snapshot may be freed.
 */
void prober_follow(struct prober *prober);

#endif
