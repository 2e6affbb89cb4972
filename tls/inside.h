/*
 * What the files of this folder share: OpenSSL's types stop here. Everything
 * that a worker touches in a handshake exists once per worker (struct side),
 * so no lock and no counted reference is shared by two workers.
 *
 * A side is held by its owner (tls_server, tls_client) and by each of its
 * streams; the last one to leave frees it. So an owner may be freed by the
 * control thread while handshakes are under way.
 */
#ifndef WEIR_TLS_INSIDE_H
#define WEIR_TLS_INSIDE_H

#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdatomic.h>

#include "tls/tls.h"

enum {
	WORKERS_MAX = 1024,
	KEY_KINDS = 3,    /* ECDSA, RSA, others: one of each may share a name */
	SERVER_NAME_CAP = 256, /* a DNS name with its NUL */
	PEM_SIZE_MAX = 4 << 20,
};

/* ---- library.c: OpenSSL's own state, one for each worker ---- */

struct library {
	OSSL_LIB_CTX *ctx;
	BIO_METHOD *window_method; /* set by stream.c's table */
	EVP_CIPHER *ticket_cipher;
};
/* The same object for the same number, for the life of the process; NULL: out of memory. Any thread. */
const struct library *library_at(unsigned worker);

void errors_clear(void);     /* cheap when there are none */
const char *errors_text(void); /* the last error in words; clears; valid until the next OpenSSL call */

/* ---- ticket.c ---- */

/* Lets `ctx` seal and open its tickets with the ring; `worker` picks the counter that rotation waits for. */
bool tickets_use(struct tls_tickets *tickets, SSL_CTX *ctx);

/* ---- certs.c: certificates as they come from files ---- */

struct pem {
	char *chain, *key;  /* owned; the key is wiped by pems_free */
	size_t chain_len, key_len;
	const char *cert_path; /* borrowed from the config; "" when made in memory */
	char key_place[288];   /* "/etc/weir/shop.key", "environment variable KEY" */
};

/* A parsed pair. */
struct cert {
	struct tls_cert_info info;
	X509 *leaf;             /* owned */
	STACK_OF(X509) *others; /* owned; sent after the leaf */
	EVP_PKEY *key;          /* owned */
};

struct warnings {
	char *text; /* owned, NULL while there is none */
};

bool pem_read(struct pem *pem, const struct key_pair *pair, struct warnings *warnings, struct err *err);
void pem_wipe(struct pem *pem);
/* The next block; NULL: the end, or a bad one. The caller frees. */
X509 *x509_next(BIO *bio, OSSL_LIB_CTX *ctx);
/* True when x509_next stopped because the text has no further block. */
bool is_end_of_pem(void);
bool cert_parse(struct cert *cert, const struct pem *pem, OSSL_LIB_CTX *ctx, struct err *err);
void cert_release(struct cert *cert);
void cert_warn(const struct tls_cert_info *info, time_t now, struct warnings *warnings);
void warn(struct warnings *warnings, const char *format, ...) __attribute__((format(printf, 2, 3)));
unsigned cert_kind(const struct cert *cert); /* 0..KEY_KINDS-1 */

/* ---- sni.c: which certificates answer to a name ---- */

/* Certificates that are shown together, at most one of a kind: indexes, -1 for none. */
struct face {
	int cert[KEY_KINDS];
};

struct sni;
/* Reads the DNS names of all certificates. Face 0 is the one for unknown names. NULL: out of memory. */
struct sni *sni_new(const struct cert *certs, size_t n);
void sni_free(struct sni **names);
size_t sni_faces(const struct sni *names);
const struct face *sni_face(const struct sni *names, size_t at);
/* `name` in lower case: exact, then wildcard, then 0. */
size_t sni_find(const struct sni *names, struct span name);

/* ---- authorities.c: who may sign ---- */

/* The certificates of a PEM file are believed; is_told: clients hear of them, so that theirs can choose. The error does not name it. */
bool authorities_load(SSL_CTX *ctx, const char *path, bool is_told, OSSL_LIB_CTX *library, struct err *err);

struct authorities {
	const char *path;   /* borrowed: for errors while it is built */
	char *pem;          /* owned; NULL: nobody is asked for a certificate */
	size_t len;
	uint8_t digest[32];
	bool is_required;
};
bool authorities_read(struct authorities *authorities, const char *path, bool is_required, struct err *err);
void authorities_release(struct authorities *authorities);
/* Clients of `ctx` are asked for certificates. Any thread, with that thread's library. */
bool authorities_use(const struct authorities *authorities, SSL_CTX *ctx, OSSL_LIB_CTX *library, struct err *err);

/* ---- face.c ---- */

struct policy {
	unsigned min_version;
	unsigned protocols;           /* PROTOCOL_ bits */
	long ticket_life;             /* seconds */
	struct tls_tickets *tickets; /* borrowed; NULL: no tickets */
	const struct authorities *authorities; /* borrowed; NULL: clients show no certificates */
};
/* NULL and err on failure. Any thread, with that thread's library. */
SSL_CTX *face_context(const struct face *face, const struct cert *certs, const struct policy *policy, const struct library *library, struct err *err);

/* ---- selfsigned.c ---- */

bool selfsigned_make(struct pem *pem, struct err *err);

/* ---- a worker's half of a server or a client ---- */

struct kept; /* client.c: sessions to come back with */

struct side {
	atomic_uint refs;
	unsigned worker;
	const struct library *library; /* borrowed: lives as long as the process */
	SSL_CTX **contexts; /* owned: one per face, NULL until it is asked for; a client has one */
	size_t n_contexts;
	struct tls_server *server; /* borrowed: freed after its last side; NULL on the client */
	struct tls_client *client; /* the same; NULL on the server */
	struct kept *kept;         /* owned; NULL on the server */
};

void side_unref(struct side *side);
struct side *server_side(struct tls_server *server, unsigned worker);
struct side *client_side(struct tls_client *client, unsigned worker);
void server_side_gone(struct tls_server *server);
void client_side_gone(struct tls_client *client);

/* What both kinds of context have in common. NULL and err on failure. */
SSL_CTX *context_new(const struct library *library, const SSL_METHOD *method, struct err *err);
/* The list of ALPN for PROTOCOL_ bits, as it stands on the wire, best first. */
struct span alpn_of(unsigned protocols);

/* client.c: session reuse and identity of the peer */
struct client_policy {
	const char *server_name; /* NULL: the endpoint's host */
	bool is_verified;
};
const struct client_policy *client_policy(const struct tls_client *client);
void kept_offer(struct side *side, SSL *ssl, const char *name);
void kept_renew(struct side *side, SSL *ssl, const char *name); /* after a resumed TLS 1.2 handshake */
void kept_forget(struct side *side, const char *name);
void kept_free(struct kept **kept);

/* ---- stream.c ---- */

struct tls_stream {
	SSL *ssl;                  /* owned */
	struct tls_window *window; /* borrowed: the worker's */
	struct side *side;         /* counted */
	const char *failure;       /* a literal; NULL while all is well */
	char *refused;             /* owned: the subject of a client's certificate that does not verify; NULL: there is none */
	char *name;                /* owned: SNI as seen or sent, lower case; NULL without */
	size_t owed;               /* bytes that OpenSSL wants offered again after a full window */
	bool is_server, is_begun, is_done, is_closed;
	bool shows_name;           /* `name` went over the wire as SNI */
	unsigned reads;            /* of OpenSSL in this step */
};

BIO_METHOD *window_method_new(void);
struct tls_stream *stream_of(SSL *ssl); /* inside callbacks */

/* ---- failure.c ---- */

/* A stable word for what is in OpenSSL's queue; empties the queue. */
const char *failure_word(const SSL *ssl);

#endif
