/* The databases of geo: opened with the config, and anew when a file is
 * replaced. */
#ifndef WEIR_PROXY_GEO_WATCH_H
#define WEIR_PROXY_GEO_WATCH_H

#include <event2/event.h>

#include "routing/control.h"

struct geo_watch;
struct geo_watch *geo_watch_new(
    struct event_base *base, struct registry *registry);
/*
 * Opens what the config names and publishes it; call before the snapshot that
 * asks. False with err: nothing was published, as with a database that is new
 * and broken. One that was fine before stays in use, with a word in the log.
 */
bool geo_watch_apply(
    struct geo_watch *watch, const struct config *config, struct err *err);
void geo_watch_free(struct geo_watch **watch);

#endif
