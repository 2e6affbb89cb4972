/*
 * A small blocking HTTP/1.1 client for commands: `weir health` asks the admin
 * address, `weir demo` plays the users. Never part of the data path.
 *
 * One connection, kept open between calls and opened anew when the other side
 * has closed it. Not for use by two threads at once.
 */
#ifndef WEIR_PROXY_FETCH_H
#define WEIR_PROXY_FETCH_H

#include "config/config.h"
#include "tls/tls.h"

enum { FETCH_REPLY_MAX = 8 << 20 }; /* bytes of one reply, head included */

struct fetch;
/*
 * `to` and `tls` (NULL: clear) are borrowed; `worker` is this thread's number
 * for tls. `timeout` bounds each call as a whole.
 */
struct fetch *fetch_new(const struct address *to, struct tls_client *tls,
    unsigned worker, nsec_t timeout);
void fetch_free(struct fetch **fetch);

struct fetch_ask {
	const char *method, *path;
	const char *headers; /* whole lines with CRLF, "" for none */
	struct span body;
};
struct fetch_reply {
	unsigned status;
	struct span head, body; /* borrowed: valid until the next call */
	unsigned tls_version;   /* 12, 13; 0 when clear */
};
bool fetch_call(struct fetch *fetch, const struct fetch_ask *ask,
    struct fetch_reply *out, struct err *err);
/* The last call failed because nobody listens there. */
bool fetch_was_refused(const struct fetch *fetch);
/* Value of the first field of that name; empty when there is none. */
struct span fetch_header(const struct fetch_reply *reply, const char *name);
bool fetch_holds(
    struct span text, const char *words); /* does it contain them? */

#endif
