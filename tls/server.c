/*
 * A listener's certificates and policy. For each worker a side, in it an
 * SSL_CTX for each face (certificates that are shown together). Streams begin
 * on face 0; the ClientHello callback moves them to the face of the name that
 * the client asks for. All faces are built once while there is somebody to
 * tell about a mistake; a worker builds its own, but for face 0, when the
 * first client asks for it: thousands of names times many workers would cost
 * hundreds of megabytes.
 *
 * It must be the ClientHello callback: it runs before OpenSSL looks at tickets.
 * A session is bound to the face by the session id context, so a ticket earned
 * with one certificate's name opens nothing under another's.
 */
#include <assert.h>
#include <ctype.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inside.h"

enum { TICKET_LIFE_MAX = 24 * 3600 };

struct tls_server {
	atomic_uint alive; /* the owner and the sides; the last frees */
	unsigned workers;
	struct side **sides; /* owned until tls_server_free */
	struct policy policy;
	struct authorities authorities;
	struct sni *names;  /* owned */
	struct cert *certs; /* owned: parsed once, copied by workers */
	size_t n_certs;
};

/* ---- inside a handshake ---- */

/* The name in a server_name extension (RFC 6066), or "" when it is odd: OpenSSL
 * will judge it. */
static struct span
sni_parse(const unsigned char *p, size_t len)
{
	size_t name_len;

	if (len < 5 || (size_t)(p[0] << 8 | p[1]) + 2 != len || p[2] != 0)
		return SPAN("");
	name_len = (size_t)(p[3] << 8 | p[4]);
	if (name_len + 5 != len || name_len >= SERVER_NAME_CAP)
		return SPAN("");
	for (size_t i = 0; i < name_len; i++) {
		unsigned char c = p[5 + i];

		if (!isalnum(c) && c != '.' && c != '-' && c != '_')
			return SPAN("");
	}
	return (struct span){(const char *)p + 5, name_len};
}

static char *
lower_copy(struct span text)
{
	char *copy = malloc(text.len + 1);

	if (copy == NULL)
		return NULL;
	for (size_t i = 0; i < text.len; i++)
		copy[i] = (char)tolower((unsigned char)text.ptr[i]);
	copy[text.len] = '\0';
	return copy;
}

/* Shows this face from now on; builds it when it is the first time here. */
static bool
face_turn(struct side *side, SSL *ssl, size_t at)
{
	const struct tls_server *server = side->server;
	struct err err;

	if (side->contexts[at] == NULL)
		side->contexts[at] = face_context(sni_face(server->names, at),
		    server->certs, &server->policy, side->library, &err);
	return side->contexts[at] &&
	       SSL_set_SSL_CTX(ssl, side->contexts[at]) != NULL;
}

static int
client_hello_cb(SSL *ssl, int *alert, void *arg)
{
	struct tls_stream *stream = stream_of(ssl);
	const unsigned char *bytes;
	size_t len, at;
	struct span name;

	(void)arg;
	if (SSL_client_hello_get0_ext(
	        ssl, TLSEXT_TYPE_server_name, &bytes, &len) != 1)
		return SSL_CLIENT_HELLO_SUCCESS;
	name = sni_parse(bytes, len);
	if (name.len == 0 || stream->name)
		return SSL_CLIENT_HELLO_SUCCESS;
	stream->name = lower_copy(name);
	if (stream->name == NULL) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_CLIENT_HELLO_ERROR;
	}
	stream->shows_name = true;
	at = sni_find(stream->side->server->names, span_of(stream->name));
	if (at > 0 && !face_turn(stream->side, ssl, at)) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_CLIENT_HELLO_ERROR;
	}
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* ---- building ---- */

static bool
side_build(struct tls_server *server, unsigned worker, struct err *err)
{
	const struct library *library = library_at(worker);
	size_t n = sni_faces(server->names);
	struct side *side = aligned_alloc(64, (sizeof(*side) + 63) / 64 * 64);

	if (library == NULL || side == NULL) {
		free(side);
		return err_set(err, "out of memory");
	}
	*side = (struct side){
	    .worker = worker,
	    .library = library,
	    .contexts = calloc(n, sizeof(SSL_CTX *)),
	    .n_contexts = n,
	    .server = server,
	};
	atomic_init(&side->refs, 1);
	atomic_fetch_add(&server->alive, 1);
	server->sides[worker] = side;
	if (side->contexts == NULL) {
		side->n_contexts = 0;
		return err_set(err, "out of memory");
	}
	side->contexts[0] = face_context(sni_face(server->names, 0),
	    server->certs, &server->policy, library, err);
	if (side->contexts[0] == NULL)
		return false;
	SSL_CTX_set_client_hello_cb(side->contexts[0], client_hello_cb, NULL);
	return true;
}

/* The other faces, built to see that they can be. */
static bool
faces_try(const struct tls_server *server, struct err *err)
{
	for (size_t i = 1; i < sni_faces(server->names); i++) {
		SSL_CTX *ctx = face_context(sni_face(server->names, i),
		    server->certs, &server->policy, library_at(0), err);

		if (ctx == NULL)
			return false;
		SSL_CTX_free(ctx);
	}
	return true;
}

static bool
cert_load(struct cert *cert, const struct tls_cfg *cfg, size_t at,
    struct warnings *warnings, struct err *err)
{
	const struct library *library = library_at(0);
	struct pem pem = {0};
	bool is_loaded;

	if (library == NULL)
		return err_set(err, "out of memory");
	is_loaded = (cfg->self_signed ? selfsigned_make(&pem, err)
	                              : pem_read(&pem, &cfg->certificates[at],
	                                    warnings, err)) &&
	            cert_parse(cert, &pem, library->ctx, err);
	pem_wipe(&pem);
	if (is_loaded)
		cert_warn(&cert->info, time(NULL), warnings);
	return is_loaded;
}

static bool
server_build(struct tls_server *server, const struct tls_cfg *cfg,
    struct warnings *warnings, struct err *err)
{
	if (server->sides == NULL || server->certs == NULL)
		return err_set(err, "out of memory");
	if (cfg->client_ca) {
		if (!authorities_read(&server->authorities, cfg->client_ca,
		        cfg->requires_client, err))
			return false;
		server->policy.authorities = &server->authorities;
	}
	for (size_t i = 0; i < server->n_certs; i++)
		if (!cert_load(&server->certs[i], cfg, i, warnings, err))
			return false;
	server->names = sni_new(server->certs, server->n_certs);
	if (server->names == NULL)
		return err_set(err, "out of memory");
	for (unsigned worker = 0; worker < server->workers; worker++)
		if (!side_build(server, worker, err))
			return false;
	return faces_try(server, err);
}

static struct policy
policy_of(const struct tls_cfg *cfg, struct tls_tickets *tickets)
{
	nsec_t life = cfg->ticket_rotation / NSEC_PER_SEC;

	if (life <= 0 || life > TICKET_LIFE_MAX)
		life = TICKET_LIFE_MAX;
	return (struct policy){
	    .min_version = cfg->min_version,
	    .protocols = cfg->protocols,
	    .ticket_life = (long)life,
	    .tickets = tickets,
	};
}

struct tls_server *
tls_server_new(const struct tls_cfg *cfg, struct tls_tickets *tickets,
    unsigned workers, char **warnings_out, struct err *err)
{
	size_t n = cfg->self_signed ? 1 : cfg->n_certificates;
	struct tls_server *server = calloc(1, sizeof(*server));
	struct warnings warnings = {0};

	assert(workers > 0 && workers <= WORKERS_MAX && n > 0);
	if (server == NULL)
		err_set(err, "out of memory");
	else {
		atomic_init(&server->alive, 1);
		server->workers = workers;
		server->sides = calloc(workers, sizeof(struct side *));
		server->policy = policy_of(cfg, tickets);
		server->certs = calloc(n, sizeof(*server->certs));
		server->n_certs = n;
		if (!server_build(server, cfg, &warnings, err))
			tls_server_free(&server);
	}
	errors_clear();
	if (server == NULL || warnings_out == NULL) {
		free(warnings.text);
		warnings.text = NULL;
	}
	if (warnings_out)
		*warnings_out = warnings.text;
	return server;
}

void
server_side_gone(struct tls_server *server)
{
	if (atomic_fetch_sub_explicit(&server->alive, 1, memory_order_acq_rel) >
	    1)
		return;
	for (size_t i = 0; server->certs && i < server->n_certs; i++)
		cert_release(&server->certs[i]);
	free(server->certs);
	authorities_release(&server->authorities);
	sni_free(&server->names);
	free(server);
}

void
tls_server_free(struct tls_server **server)
{
	struct tls_server *gone = *server;

	*server = NULL;
	if (gone == NULL)
		return;
	for (unsigned i = 0; gone->sides && i < gone->workers; i++)
		if (gone->sides[i])
			side_unref(gone->sides[i]);
	free(gone->sides);
	server_side_gone(gone);
}

size_t
tls_server_certs(
    const struct tls_server *server, struct tls_cert_info *out, size_t cap)
{
	for (size_t i = 0; i < server->n_certs && i < cap; i++)
		out[i] = server->certs[i].info;
	return server->n_certs;
}

struct side *
server_side(struct tls_server *server, unsigned worker)
{
	assert(worker < server->workers);
	return server->sides[worker];
}
