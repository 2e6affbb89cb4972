/*
 * A listener's certificates and policy. For each worker a side, in it an
 * SSL_CTX for each face (certificates that are shown together). Streams begin
 * on face 0; the ClientHello callback moves them to the face of the name that
 * the client asks for.
 *
 * It must be the ClientHello callback: it runs before OpenSSL looks at tickets.
 * A session is bound to the face by the session id context, so a ticket earned
 * with one certificate's name opens nothing under another's.
 */
#include <assert.h>
#include <ctype.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inside.h"

enum { TICKET_LIFE_MAX = 24 * 3600 };

struct tls_server {
	atomic_uint alive; /* the owner and the sides; the last frees */
	unsigned workers;
	struct side **sides;         /* owned until tls_server_free */
	struct sni *names;         /* owned */
	struct tls_cert_info *infos; /* owned */
	size_t n_infos;
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
	if (at > 0 &&
	    SSL_set_SSL_CTX(ssl, stream->side->contexts[at]) == NULL) {
		*alert = SSL_AD_INTERNAL_ERROR;
		return SSL_CLIENT_HELLO_ERROR;
	}
	return SSL_CLIENT_HELLO_SUCCESS;
}

/* RFC 7301: an offer without overlap ends the handshake, or other protocols
 * could be played against ours. */
static int
alpn_cb(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *in, unsigned in_len, void *arg)
{
	(void)ssl, (void)arg;
	if (SSL_select_next_proto((unsigned char **)out, out_len, alpn_list,
	        (unsigned)alpn_list_len, in, in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	return SSL_TLSEXT_ERR_OK;
}

/* ---- building ---- */

/* What server_build needs by the way; nothing of it stays. */
struct build {
	const struct tls_cfg *cfg;
	struct tls_tickets *tickets;
	struct pem *pems;   /* one per certificate */
	struct cert *certs; /* the same, parsed for one worker */
	size_t n;
	struct warnings warnings;
	struct err *err;
};

static bool
face_bind(SSL_CTX *ctx, const struct cert *const *certs, size_t n)
{
	uint8_t digests[KEY_KINDS * 32], context[32];
	unsigned len = 32;

	for (size_t i = 0; i < n; i++)
		if (X509_digest(certs[i]->leaf, EVP_sha256(), digests + i * 32,
		        &len) != 1)
			return false;
	tls_sha256(digests, n * 32, context);
	return SSL_CTX_set_session_id_context(ctx, context, 32) == 1;
}

static bool
face_load(struct build *build, SSL_CTX *ctx, const struct face *face)
{
	const struct cert *shown[KEY_KINDS];
	size_t n = 0;

	for (int kind = 0; kind < KEY_KINDS; kind++) {
		int at = face->cert[kind];
		const struct cert *cert = at < 0 ? NULL : &build->certs[at];

		if (cert == NULL)
			continue;
		shown[n++] = cert;
		if (SSL_CTX_use_cert_and_key(
		        ctx, cert->leaf, cert->key, cert->others, 1) != 1)
			return err_set(build->err, "certificate '%s': %s",
			    build->pems[at].cert_path, errors_text());
	}
	if (!face_bind(ctx, shown, n))
		return err_set(
		    build->err, "no session id context: %s", errors_text());
	return true;
}

static bool
policy_set(struct build *build, SSL_CTX *ctx)
{
	nsec_t life = build->cfg->ticket_rotation / NSEC_PER_SEC;

	if (life <= 0 || life > TICKET_LIFE_MAX)
		life = TICKET_LIFE_MAX;
	if (build->cfg->min_version >= 13 &&
	    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1)
		return err_set(build->err, "TLS 1.3: %s", errors_text());
	if (SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1)
		return err_set(build->err, "TLS groups: %s", errors_text());
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, (long)life);
	SSL_CTX_set_alpn_select_cb(ctx, alpn_cb, NULL);
	if (build->tickets == NULL) {
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
		return SSL_CTX_set_num_tickets(ctx, 0) == 1;
	}
	if (SSL_CTX_set_num_tickets(ctx, 1) != 1 ||
	    !tickets_use(build->tickets, ctx))
		return err_set(build->err, "TLS tickets: %s", errors_text());
	return true;
}

static SSL_CTX *
face_context(
    struct build *build, const struct library *library, const struct face *face)
{
	SSL_CTX *ctx = context_new(library, TLS_server_method(), build->err);

	if (ctx && policy_set(build, ctx) && face_load(build, ctx, face))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

static void
certs_drop(struct build *build)
{
	for (size_t i = 0; i < build->n; i++)
		cert_release(&build->certs[i]);
}

static bool
certs_parse(struct build *build, const struct library *library)
{
	for (size_t i = 0; i < build->n; i++)
		if (!cert_parse(&build->certs[i], &build->pems[i], library->ctx,
		        build->err)) {
			certs_drop(build);
			return false;
		}
	return true;
}

static struct side *
side_new(struct tls_server *server, unsigned worker,
    const struct library *library, size_t n)
{
	struct side *side = aligned_alloc(64, (sizeof(*side) + 63) / 64 * 64);
	SSL_CTX **contexts = calloc(n, sizeof(*contexts));

	if (side == NULL || contexts == NULL) {
		free(side);
		free(contexts);
		return NULL;
	}
	*side = (struct side){
	    .worker = worker,
	    .library = library,
	    .contexts = contexts,
	    .server = server,
	};
	atomic_init(&side->refs, 1);
	atomic_fetch_add(&server->alive, 1);
	return side;
}

static bool
side_build(struct tls_server *server, struct build *build, unsigned worker)
{
	const struct library *library = library_at(worker);
	size_t n = sni_faces(server->names);
	struct side *side =
	    library ? side_new(server, worker, library, n) : NULL;

	if (side == NULL)
		return err_set(build->err, "out of memory");
	server->sides[worker] = side;
	for (size_t i = 0; i < n; i++) {
		SSL_CTX *ctx =
		    face_context(build, library, sni_face(server->names, i));

		if (ctx == NULL)
			return false;
		if (i == 0)
			SSL_CTX_set_client_hello_cb(ctx, client_hello_cb, NULL);
		side->contexts[side->n_contexts++] = ctx;
	}
	return true;
}

/* The facts that are the same for all workers, read from the first one's copy.
 */
static bool
facts_gather(struct tls_server *server, struct build *build)
{
	time_t now = time(NULL);

	server->names = sni_new(build->certs, build->n);
	server->infos = calloc(build->n, sizeof(*server->infos));
	if (server->names == NULL || server->infos == NULL)
		return err_set(build->err, "out of memory");
	for (size_t i = 0; i < build->n; i++) {
		cert_describe(
		    &build->certs[i], &build->pems[i], &server->infos[i]);
		cert_warn(&server->infos[i], now, &build->warnings);
	}
	server->n_infos = build->n;
	return true;
}

static bool
sides_build(struct tls_server *server, struct build *build)
{
	for (unsigned worker = 0; worker < server->workers; worker++) {
		const struct library *library = library_at(worker);
		bool is_built;

		if (library == NULL)
			return err_set(build->err, "out of memory");
		if (!certs_parse(build, library))
			return false;
		is_built = (worker > 0 || facts_gather(server, build)) &&
		           side_build(server, build, worker);
		certs_drop(build);
		if (!is_built)
			return false;
	}
	return true;
}

static bool
pems_load(struct build *build)
{
	const struct tls_cfg *cfg = build->cfg;

	if (cfg->self_signed)
		return selfsigned_make(&build->pems[0], build->err);
	for (size_t i = 0; i < build->n; i++)
		if (!pem_read(&build->pems[i], &cfg->certificates[i],
		        &build->warnings, build->err))
			return false;
	return true;
}

static struct tls_server *
server_build(struct build *build, unsigned workers)
{
	struct tls_server *server = calloc(1, sizeof(*server));
	bool is_built = false;

	if (server) {
		atomic_init(&server->alive, 1);
		server->workers = workers;
		server->sides = calloc(workers, sizeof(struct side *));
	}
	build->pems = calloc(build->n, sizeof(*build->pems));
	build->certs = calloc(build->n, sizeof(*build->certs));
	if (server && server->sides && build->pems && build->certs)
		is_built = pems_load(build) && sides_build(server, build);
	else
		err_set(build->err, "out of memory");
	for (size_t i = 0; build->pems && i < build->n; i++)
		pem_wipe(&build->pems[i]);
	free(build->pems);
	free(build->certs);
	if (!is_built)
		tls_server_free(&server);
	return server;
}

struct tls_server *
tls_server_new(const struct tls_cfg *cfg, struct tls_tickets *tickets,
    unsigned workers, char **warnings_out, struct err *err)
{
	struct build build = {
	    .cfg = cfg,
	    .tickets = tickets,
	    .n = cfg->self_signed ? 1 : cfg->n_certificates,
	    .err = err,
	};
	struct tls_server *server = NULL;

	assert(workers > 0 && workers <= WORKERS_MAX);
	if (build.n == 0)
		err_set(err, "no certificate is named");
	else
		server = server_build(&build, workers);
	errors_clear();
	if (warnings_out && server)
		*warnings_out = build.warnings.text;
	else
		free(build.warnings.text);
	if (warnings_out && server == NULL)
		*warnings_out = NULL;
	return server;
}

void
server_side_gone(struct tls_server *server)
{
	if (atomic_fetch_sub_explicit(&server->alive, 1, memory_order_acq_rel) >
	    1)
		return;
	sni_free(&server->names);
	free(server->infos);
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
	for (size_t i = 0; i < server->n_infos && i < cap; i++)
		out[i] = server->infos[i];
	return server->n_infos;
}

struct side *
server_side(struct tls_server *server, unsigned worker)
{
	assert(worker < server->workers);
	return server->sides[worker];
}
