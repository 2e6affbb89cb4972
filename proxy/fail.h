/* The failure table: see fail.def. */
#ifndef WEIR_PROXY_FAIL_H
#define WEIR_PROXY_FAIL_H

#include "routing/decide.h"

enum fail {
	FAIL_NONE,
#define FAIL(id, status, blame, retry, error, word, text) FAIL_##id,
#include "proxy/fail.def"
#undef FAIL
	FAIL_COUNT
};

enum blame { BLAME_NONE, BLAME_CLIENT, BLAME_POOL, BLAME_SELF };
enum fail_retry { RETRY_NEVER, RETRY_SAFE, RETRY_IDEMPOTENT };

struct fail_row {
	unsigned status;
	enum blame blame;
	enum fail_retry retry;
	enum upstream_error error; /* UPSTREAM_ERROR_COUNT: none */
	const char *word, *text;
};

const struct fail_row *fail_row(enum fail fail);
/* What a refused decision is told as. */
enum fail fail_of_refusal(enum refusal refusal);
const char *blame_name(enum blame blame); /* "client", "pool", "weir"; NULL for none */

#endif
