/*
 * A check in the words of HTTP/1: the request, and what an answer means. Over
 * HTTP/2 answers are looked at in the same words (probe_h2_text).
 */
#ifndef WEIR_PROXY_PROBE_H1_H
#define WEIR_PROXY_PROBE_H1_H

#include "config/config.h"

enum {
	PROBE_KEPT_MAX = 65536, /* bytes of an answer that are looked at */
	PROBE_TEXT_MAX = 96,    /* of what was found, in words */
	PROBE_INTERIM_MAX = 16, /* answers 1xx before the one that counts */
};

enum probe_verdict { PROBE_MORE, PROBE_GOOD, PROBE_BAD };

/* What an endpoint is called unless a header says otherwise. */
void probe_h1_host(const struct address *address, char *out, size_t cap);
/* The caller frees; NULL: no memory. */
char *probe_h1_request(
    const struct health_cfg *cfg, const char *host, size_t *len_out);
/* What has come. */
struct probe_answer {
	char *bytes; /* PROBE_KEPT_MAX + 1 */
	size_t n;
	unsigned n_interim; /* taken out */
};

/*
 * What the answer says; unless it must grow first (PROBE_MORE), `text` is told
 * why. Interim answers are taken out of it, and too many are a bad sign.
 * `is_all`: nothing more will come.
 */
enum probe_verdict probe_h1_judge(const struct health_cfg *cfg,
    struct probe_answer *answer, bool is_all, char text[PROBE_TEXT_MAX]);
/*
 * Need not wait for the end of the connection: the text that is looked for is
 * there, or the answer is whole. Servers that keep the connection open
 * although they were asked not to are common.
 */
bool probe_h1_is_enough(
    const struct health_cfg *cfg, const char *bytes, size_t n);

#endif
