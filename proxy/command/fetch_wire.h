/*
 * Private to fetch: its bytes on the wire (fetch_wire.c) below its messages
 * (fetch.c).
 */
#ifndef WEIR_PROXY_FETCH_WIRE_H
#define WEIR_PROXY_FETCH_WIRE_H

#include <sys/types.h>

#include "proxy/command/fetch.h"

enum { CIPHER_BYTES = 20 << 10 };

struct fetch {
	const struct address *to;  /* borrowed */
	struct tls_client *tls;    /* borrowed; NULL: clear */
	struct tls_stream *stream; /* owned; NULL when clear or closed */
	struct tls_window window;
	unsigned worker;
	nsec_t timeout, deadline;
	int fd;      /* -1: closed */
	int refusal; /* errno of the last connect; 0: it was made */
	char *bytes; /* owned: the reply */
	size_t n, cap;
	uint8_t cipher_in[CIPHER_BYTES], cipher_out[CIPHER_BYTES];
};

/* Connects, with TLS if there shall be. */
bool fetch_dial(struct fetch *fetch, struct err *err);
void fetch_hang_up(struct fetch *fetch);
bool fetch_send(
    struct fetch *fetch, const char *bytes, size_t len, struct err *err);
/* At least one byte unless the peer has closed (0). -1: see err. */
ssize_t fetch_receive(
    struct fetch *fetch, char *buf, size_t cap, struct err *err);

#endif
