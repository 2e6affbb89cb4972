/*
 * A check of an endpoint that speaks HTTP/2: one request on a connection of
 * its own. The answer is handed on as text of HTTP/1, so that there is one
 * judge of answers (probe_h1.h).
 */
#ifndef WEIR_PROXY_PROBE_H2_H
#define WEIR_PROXY_PROBE_H2_H

#include "config/config.h"
#include "proxy/control/probe_h1.h"

struct probe_h2;

/* `secure` makes the scheme https. NULL: out of memory. */
struct probe_h2 *probe_h2_new(
    const struct health_cfg *cfg, const char *authority, bool secure);
void probe_h2_free(struct probe_h2 **h2);
/* All that is ever sent, the caller frees: the peer's settings need no word of
   ours before the answer, and its windows are wider than what is read of it.
   NULL: out of memory. */
char *probe_h2_request(struct probe_h2 *h2, size_t *len_out);
/* False: this is no HTTP/2. */
bool probe_h2_receive(struct probe_h2 *h2, const char *bytes, size_t len);
/* Text for at most `cap` bytes; `is_all_out`: the stream has ended. */
size_t probe_h2_text(
    struct probe_h2 *h2, char *out, size_t cap, bool *is_all_out);
/* Of a check by gRPC (cfg->grpc), which has no text: as probe_h1_judge. */
enum probe_verdict probe_h2_judge_grpc(
    const struct probe_h2 *h2, bool is_all, char text[PROBE_TEXT_MAX]);

#endif
