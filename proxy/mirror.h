/*
 * Copies of requests to another pool; see mirror.c.
 */
#ifndef WEIR_PROXY_MIRROR_H
#define WEIR_PROXY_MIRROR_H

#include "proxy/request.h"

/*
 * The request is about to go upstream: draws whether it is copied. Its head
 * is written; of its body there is what a retry would send again.
 */
void mirror_begin(struct request *request);
/* Has its split a mirror? */
static inline bool
mirror_is_on(const struct request *request)
{
	const struct split_cfg *split = request->decision.route->split_cfg;

	return split && split->mirror.is_on;
}
/* More of its body has been forwarded; perhaps that was the last of it. */
void mirror_body(struct request *request, const char *bytes, size_t len);
/* The request (either one of the two) is done. */
void mirror_done(struct request *request);
/* Copies that are ready leave: at the end of a turn. */
void mirror_run(struct worker *worker);
/* The worker ends: no copy is left behind. */
void mirror_release(struct worker *worker);

#endif
