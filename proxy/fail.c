/* The failure table, see fail.def. */
#include "proxy/fail.h"

#include <assert.h>
#include <stddef.h>

static const struct fail_row rows[FAIL_COUNT] = {
    [FAIL_NONE] = {0, BLAME_NONE, RETRY_NEVER, UPSTREAM_ERROR_COUNT, NULL,
        NULL},
#define FAIL(id, status, blame, retry, error, word, text)                      \
	[FAIL_##id] = {status, BLAME_##blame, RETRY_##retry, error, word, text},
#include "proxy/fail.def"
#undef FAIL
};

const struct fail_row *
fail_row(enum fail fail)
{
	assert(fail < FAIL_COUNT);
	return &rows[fail];
}

enum fail
fail_of_refusal(enum refusal refusal)
{
	static const enum fail fails[] = {
	    [REFUSED_NOT] = FAIL_NONE,
	    [REFUSED_ACCESS] = FAIL_FORBIDDEN,
	    [REFUSED_RATE] = FAIL_RATE_LIMITED,
	    [REFUSED_UNKNOWN] = FAIL_LIMIT_UNKNOWN,
	};

	assert(refusal < sizeof(fails) / sizeof(*fails));
	return fails[refusal];
}

const char *
blame_name(enum blame blame)
{
	switch (blame) {
	case BLAME_CLIENT:
		return "client";
	case BLAME_POOL:
		return "pool";
	case BLAME_SELF:
		return "weir";
	case BLAME_NONE:
		break;
	}
	return NULL;
}
