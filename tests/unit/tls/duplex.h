/*
 * Two ends in memory: what one says the other hears. An end is a stream of
 * ours or a bare SSL object of OpenSSL, for what ours would never say. `chunk`
 * is how many bytes arrive at a time and `out_cap` how large a window is, so a
 * test can starve either side.
 */
#ifndef WEIR_TESTS_TLS_DUPLEX_H
#define WEIR_TESTS_TLS_DUPLEX_H

#include <openssl/ssl.h>

#include "tls/tls.h"

enum { WINDOW_CAP = 64 * 1024 };

struct wire {
	uint8_t *bytes; /* owned: in flight */
	size_t begin, end, cap;
};

struct end {
	struct tls_stream *stream; /* owned; NULL when bare */
	struct tls_window window;
	SSL *bare; /* owned; NULL when a stream */
	struct wire *from, *to;
	uint8_t *out; /* owned */
	size_t chunk; /* bytes that arrive at a time */
	size_t moved; /* bytes heard and said so far */
};

struct duplex {
	struct wire up, down;
	struct end client, server;
};

/* Sets up wires and windows; the caller then sets client.stream or .bare, and server.stream. */
void duplex_init(struct duplex *duplex);
void duplex_release(struct duplex *duplex);

enum tls_result end_handshake(struct end *end);
enum tls_result end_read(struct end *end, void *plain, size_t cap, size_t *n_out);
enum tls_result end_write(struct end *end, const void *plain, size_t len, size_t *n_out);
void end_flush(struct end *end);
/* Reads and drops until it wants more; the last result. */
enum tls_result end_drain(struct end *end);

/* Until both are done (true), one failed or nothing moves (false). */
bool duplex_handshake(struct duplex *duplex);
/* Carries `len` bytes from one end to the other; true when the same came out. */
bool duplex_carry(struct end *from, struct end *to, const uint8_t *bytes, size_t len);

/* A bare client; `alpn` in wire form or NULL, `sni` or NULL, `session` or NULL. */
SSL *bare_client(SSL_CTX *ctx, const char *sni, const char *alpn, SSL_SESSION *session);

#endif
