/*
 * A request's target in its forms (RFC 9112 section 3.2). Private to
 * parse.c; what others may use of target.c stands in parse.h.
 */
#ifndef WEIR_PROXY_H1_TARGET_H
#define WEIR_PROXY_H1_TARGET_H

#include "proxy/h1/scan.h"

enum { H1_HOST_MAX = 255 }; /* bytes of a host name */

/*
 * Reads the target in [from, to): sets target, path, query, path_is_plain, and
 * host and hostname of an absolute-form; wants the method.
 */
enum h1_fault h1_target_read(const struct h1_engine *engine, const char *bytes,
    uint32_t len, uint32_t from, uint32_t to, struct h1_head *out);

/* h1_authority() of a text that begins with `run` bytes of a name. */
bool h1_authority_run(struct span text, size_t run, struct span *hostname_out,
    uint16_t *port_out);

#endif
