/*
 * tls: the only folder that sees a private key or an OpenSSL type. No event
 * loop, no socket: a stream turns ciphertext in memory into plaintext in
 * memory and back. The caller moves the bytes.
 *
 * Threads: contexts (tls_server, tls_client, tls_tickets) are built by the
 * control thread and immutable; streams belong to one worker and are made with
 * that worker's number, since every worker has its own OSSL_LIB_CTX and
 * SSL_CTX (no shared lock or reference count in a handshake).
 */
#ifndef WEIR_TLS_TLS_H
#define WEIR_TLS_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "config/config.h"
#include "config/err.h"
#include "config/span.h"

enum tls_result {
	TLS_DONE,       /* the step is complete; *n_out bytes moved */
	TLS_WANT_READ,  /* all given ciphertext is used up: bring more */
	TLS_WANT_WRITE, /* the out buffer is full: send it, then call again */
	TLS_CLOSED,     /* the peer said close_notify */
	TLS_FAILED,     /* see tls_stream_failure; flush what is in out (an alert), then close */
};

/*
 * A worker's window for ciphertext, shared by all its streams: filled in
 * before each call. The stream advances `in` and appends to `out`. A stream
 * that returned TLS_WANT_READ has consumed all of `in` (OpenSSL keeps partial
 * records itself).
 */
struct tls_window {
	const uint8_t *in; /* received ciphertext */
	size_t in_len;
	uint8_t *out;      /* room for ciphertext to send */
	size_t out_len, out_cap;
};

/* ---- tickets: one ring of keys for the process, shared by all listeners ---- */

/* Three keys: next, current, previous; AES-256-CBC + HMAC-SHA256. */
struct tls_tickets;
struct tls_tickets *tls_tickets_new(void);
void tls_tickets_rotate(struct tls_tickets *tickets); /* control thread; safe beside workers */
void tls_tickets_free(struct tls_tickets **tickets);  /* wipes the keys */

/* ---- server side ---- */

struct tls_server; /* a listener's certificates and policy, for all workers */
/*
 * Loads and checks certificates (key matches, chain parses). Certificates
 * within 14 days of their end or with keys that others can read are told in
 * *warnings_out (newline-separated, caller frees, NULL when none; the pointer may be NULL).
 */
struct tls_server *tls_server_new(const struct tls_cfg *cfg, struct tls_tickets *tickets,
    unsigned workers, char **warnings_out, struct err *err);
void tls_server_free(struct tls_server **server); /* live streams keep what they need */

struct tls_cert_info {
	char names[512];   /* "shop.example.com *.shop.example.com" */
	char subject[256];
	char path[256];    /* "" for self-signed in memory */
	time_t not_before, not_after;
	bool is_ecdsa;
};
size_t tls_server_certs(const struct tls_server *server, struct tls_cert_info *out, size_t cap); /* returns how many there are */

/* ---- client side ---- */

struct tls_client; /* a pool's way to its endpoints, for all workers */
struct tls_client *tls_client_new(const struct pool_tls_cfg *cfg, unsigned workers, struct err *err);
void tls_client_free(struct tls_client **client);

/* ---- streams ---- */

struct tls_stream;
struct tls_stream *tls_stream_accept(struct tls_server *server, unsigned worker, struct tls_window *window); /* NULL: out of memory */
/* `host` is the endpoint's host, used for SNI and verification unless cfg.server_name says otherwise. */
struct tls_stream *tls_stream_connect(struct tls_client *client, unsigned worker, const char *host, struct tls_window *window);
void tls_stream_free(struct tls_stream **stream);

enum tls_result tls_handshake(struct tls_stream *stream);
/* Reads at most cap plaintext bytes; TLS_DONE with *n_out > 0, else another result with *n_out == 0. Call until not TLS_DONE. */
enum tls_result tls_read(struct tls_stream *stream, void *plain, size_t cap, size_t *n_out);
/* Encrypts; may take fewer bytes than given (TLS_DONE with *n_out < len means the window is nearly full; TLS_WANT_WRITE means nothing was taken). */
enum tls_result tls_write(struct tls_stream *stream, const void *plain, size_t len, size_t *n_out);
/* Appends a close_notify if the handshake is done; best effort. */
void tls_close(struct tls_stream *stream);

/* ---- what was agreed ---- */

struct tls_facts {
	unsigned version;   /* 12, 13; 0 before the end of the handshake */
	bool resumed;
	struct span alpn;   /* "" when none; valid as long as the stream */
	struct span sni;    /* "" when none; lower case */
	const char *cipher;
};
void tls_stream_facts(const struct tls_stream *stream, struct tls_facts *out);
/* Of a client's verified certificate: its subject (RFC 2253), the digest in hex; 0: it has shown none, or it does not fit. */
size_t tls_stream_client_subject(const struct tls_stream *stream, char *buf, size_t cap);
size_t tls_stream_client_sha256(const struct tls_stream *stream, char out[64]);
/* The subject of a client's certificate that was refused, as text; NULL: none was shown, or none refused. */
const char *tls_stream_refused_subject(const struct tls_stream *stream);
/* A word for log and metric: "no_shared_cipher", "certificate_expired", "unknown_ca", "plaintext", "timeout", ... never NULL. */
const char *tls_stream_failure(const struct tls_stream *stream);

/* ---- a gate: where a library drives OpenSSL itself (the admin API); control thread only ---- */

struct ssl_st; /* OpenSSL's SSL, handed through */
struct tls_gate;
/*
 * `client_ca` (may be NULL): authorities of client certificates; one that is
 * shown must verify, none need be shown. Warnings as of tls_server_new.
 */
struct tls_gate *tls_gate_new(const struct key_pair *pair, const char *client_ca, char **warnings_out, struct err *err);
void tls_gate_free(struct tls_gate **gate); /* live connections keep what they need */
const struct tls_cert_info *tls_gate_cert(const struct tls_gate *gate);
/* For one connection, which owns it; NULL: out of memory. */
struct ssl_st *tls_gate_accept(const struct tls_gate *gate);
void tls_gate_refuse(struct ssl_st *ssl); /* nobody took it over */
bool tls_gate_is_open(const struct ssl_st *ssl); /* the handshake is done */

enum { TLS_PEER_PARTS = 16, TLS_PEER_VALUE_CAP = 128 };
struct tls_peer {
	struct tls_peer_part {
		char field[24]; /* "CN", "OU", "O", "emailAddress" */
		char value[TLS_PEER_VALUE_CAP];
	} part[TLS_PEER_PARTS];
	size_t n;
};
/* The subject of the verified client certificate; false: none was shown. */
bool tls_gate_peer(const struct ssl_st *ssl, struct tls_peer *out);

/* ---- odds that need OpenSSL ---- */

void tls_sha1(const void *bytes, size_t len, uint8_t out[20]); /* for RFC 6455, which knows no other */
void tls_sha256(const void *bytes, size_t len, uint8_t out[32]);
void tls_hmac_sha256(struct span key, struct span text, uint8_t out[32]);
bool tls_equal(const void *a, const void *b, size_t len); /* constant time */
bool tls_random(void *out, size_t len);

#endif
