/*
 * Answers to POSTs with an Idempotency-Key, kept so that a pipeline that lost
 * the answer can ask again without doing it twice.
 */
#ifndef WEIR_ADMIN_ANSWERS_H
#define WEIR_ADMIN_ANSWERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "config/span.h"

enum {
	ANSWERS_KEPT = 1000,
	ANSWERS_SECONDS = 24 * 3600,
	ANSWER_BODY_MAX = 32 << 10, /* a longer answer is not kept */
	ANSWER_KEY_MAX = 128,
};

struct answer {
	uint8_t key[32];     /* of actor, path and Idempotency-Key */
	uint8_t request[32]; /* of the query and the body: another one under the
	                        same key is an error */
	time_t at;           /* 0: free */
	int status;
	char *body, *type, *etag; /* owned; etag may be NULL */
	size_t len;
};

struct answers;
struct answers *answers_new(void);
void answers_free(struct answers **answers);
const struct answer *answers_find(
    const struct answers *answers, const uint8_t key[32], time_t now);
/* Copies, in the place of what is kept under that key, or of the oldest. */
void answers_keep(
    struct answers *answers, const struct answer *answer, time_t now);

#endif
