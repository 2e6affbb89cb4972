/* What the service manager wants to hear (sd_notify(3)); nothing when there is none. */
#ifndef WEIR_PROXY_SD_NOTIFY_H
#define WEIR_PROXY_SD_NOTIFY_H

#include "config/units.h"

void sd_notify_send(const char *state); /* "READY=1", "RELOADING=1\nMONOTONIC_USEC=...", "STOPPING=1", "WATCHDOG=1" */
nsec_t sd_notify_watchdog(void);        /* how often it wants a sign of life; 0: never */

#endif
