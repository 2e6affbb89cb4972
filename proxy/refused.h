/*
 * What a flood repeats: the same client, the same head, refused by the same
 * rate limit. Such a head is known by its bytes and is neither parsed nor
 * routed again; its limit is asked each time, and the answer is the one that
 * was composed before while its seconds are the same. A small table of each
 * worker; what is not in it goes the usual way, with the same outcome.
 */
#ifndef WEIR_PROXY_REFUSED_H
#define WEIR_PROXY_REFUSED_H

#include "proxy/request.h"

/* A refusal is about to be sent: worker->head holds it, worker->parsed what it answers. */
void refused_remember(const struct request *request, size_t len, size_t body_len);
/*
 * Bytes of a client between two requests. Answers those at their beginning
 * that are known, as one send, and returns how many bytes they were; 0: none.
 */
size_t refused_again(struct conn *client, const char *bytes, size_t len);
void refused_free(struct refusals **refusals);

#endif
