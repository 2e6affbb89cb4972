/* Time zones by name, for the hours of a gate: TZif files (RFC 9636), without
 * touching the process's own TZ. */
#ifndef WEIR_ADMIN_ZONE_H
#define WEIR_ADMIN_ZONE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "config/err.h"

/* Seconds east of UTC at `wall`. False with err: there is no such zone here;
 * "UTC" always is. */
bool zone_offset(
    const char *name, int64_t wall, int64_t *offset_out, struct err *err);

/* ---- for tests ---- */

/* The footer's rule, "CET-1CEST,M3.5.0,M10.5.0/3", at `wall`. False: not one.
 */
bool zone_rule_offset(const char *rule, int64_t wall, int64_t *offset_out);
/* The bytes of a TZif file. */
bool zone_bytes_offset(
    const uint8_t *bytes, size_t len, int64_t wall, int64_t *offset_out);

#endif
