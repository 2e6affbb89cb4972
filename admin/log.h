/*
 * The log of events for the operator: one line each on standard error, JSON
 * when standard error is not a terminal, else text. Requests go to the access
 * log instead (proxy/log_ring.c -> access_log.h of this folder).
 *
 * Any thread may call; a line is one write(2) of at most 8 KiB, values are escaped.
 * Nothing below admin logs.
 */
#ifndef WEIR_ADMIN_LOG_H
#define WEIR_ADMIN_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

/* Key and value pairs, ended by NULL: log_event(LOG_INFO, "reloaded", "file", path, "routes", "12", NULL). */
void log_event(enum log_level level, const char *message, ...) __attribute__((sentinel));
void log_set_level(enum log_level level);
void log_set_format(bool json);
bool log_is_json(void); /* what has several lines as text is told otherwise then */

#endif
