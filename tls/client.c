/*
 * A pool's way to its endpoints: certificates are verified unless the operator
 * says otherwise, by name or by address. Each worker keeps a few sessions, one
 * per name, so that a new connection need not pay for a signature check again.
 *
 * A session is only ever offered under the name it was verified for.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <dirent.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inside.h"

enum { KEPT = 32 };

struct kept {
	struct {
		char *name;           /* owned */
		SSL_SESSION *session; /* owned */
	} at[KEPT];
	unsigned next; /* the one to lose when all are taken */
};

struct tls_client {
	atomic_uint alive; /* the owner and the sides; the last frees */
	unsigned workers;
	struct side **sides; /* owned until tls_client_free */
	struct client_policy policy;
	char *server_name; /* owned; NULL: the endpoint's host */
};

/* ---- sessions ---- */

static int
kept_find(const struct kept *kept, const char *name)
{
	for (int i = 0; i < KEPT; i++)
		if (kept->at[i].name && strcmp(kept->at[i].name, name) == 0)
			return i;
	return -1;
}

/*
 * A copy is offered: OpenSSL calls a TLS 1.3 session used up once it was
 * taken, and several connections may begin before a new ticket comes.
 */
void
kept_offer(struct side *side, SSL *ssl, const char *name)
{
	int at = kept_find(side->kept, name);
	SSL_SESSION *copy = NULL;

	if (at >= 0 && side->kept->at[at].session)
		copy = SSL_SESSION_dup(side->kept->at[at].session);
	if (copy)
		SSL_set_session(ssl, copy);
	SSL_SESSION_free(copy);
}

/* Keeps a counted session under a name; false when it was not taken. */
static bool
kept_put(struct kept *kept, const char *name, SSL_SESSION *session)
{
	int at = kept_find(kept, name);

	if (at < 0) {
		char *copy = strdup(name);

		if (copy == NULL)
			return false;
		at = (int)(kept->next++ % KEPT);
		free(kept->at[at].name);
		kept->at[at].name = copy;
	}
	SSL_SESSION_free(kept->at[at].session);
	kept->at[at].session = session;
	return true;
}

/* OpenSSL tells of new sessions, but not when TLS 1.2 renews an old one's
 * ticket. */
void
kept_renew(struct side *side, SSL *ssl, const char *name)
{
	SSL_SESSION *session = SSL_get1_session(ssl);

	if (session && !kept_put(side->kept, name, session))
		SSL_SESSION_free(session);
}

void
kept_forget(struct side *side, const char *name)
{
	int at = kept_find(side->kept, name);

	if (at < 0)
		return;
	SSL_SESSION_free(side->kept->at[at].session);
	side->kept->at[at].session = NULL;
}

void
kept_free(struct kept **kept)
{
	if (*kept == NULL)
		return;
	for (int i = 0; i < KEPT; i++) {
		free((*kept)->at[i].name);
		SSL_SESSION_free((*kept)->at[i].session);
	}
	free(*kept);
	*kept = NULL;
}

/* Called by OpenSSL with a counted session; 1 takes it over. */
static int
session_cb(SSL *ssl, SSL_SESSION *session)
{
	const struct tls_stream *stream = stream_of(ssl);

	return kept_put(stream->side->kept, stream->name, session);
}

/* ---- whom to trust ---- */

static bool
holds_hashed(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	bool is_found = false;

	while (dir && !is_found && (entry = readdir(dir)) != NULL) {
		const char *dot = strrchr(entry->d_name, '.');

		is_found = dot && strcmp(dot, ".0") == 0;
	}
	if (dir)
		closedir(dir);
	return is_found;
}

/*
 * The machine's trust store. A hashed directory is read an issuer at a time
 * when one is met; the bundle would cost each worker of each pool a megabyte,
 * so it is only taken where there is no such directory or it was asked for.
 */
static bool
trust_system(SSL_CTX *ctx)
{
	const char *dir = getenv(X509_get_default_cert_dir_env());

	if (dir == NULL)
		dir = X509_get_default_cert_dir();
	if (SSL_CTX_set_default_verify_dir(ctx) != 1)
		return false;
	if (getenv(X509_get_default_cert_file_env()) || !holds_hashed(dir))
		return SSL_CTX_set_default_verify_file(ctx) == 1;
	return true;
}

static bool
trust_set(SSL_CTX *ctx, const struct pool_tls_cfg *cfg, OSSL_LIB_CTX *library,
    struct err *err)
{
	switch (cfg->verify) {
	case VERIFY_SYSTEM:
		if (!trust_system(ctx))
			return err_set(err,
			    "the system's trust store cannot be read: %s",
			    errors_text());
		break;
	case VERIFY_FILE:
		if (!authorities_load(ctx, cfg->ca_file, false, library, err))
			return err_wrap(err, "ca file '%s'", cfg->ca_file);
		break;
	case VERIFY_OFF:
		return true;
	}
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return true;
}

/* ---- building ---- */

static SSL_CTX *
client_context(const struct library *library, const struct pool_tls_cfg *cfg,
    struct err *err)
{
	SSL_CTX *ctx = context_new(library, TLS_client_method(), err);
	struct span alpn = alpn_of(cfg->protocols);

	if (ctx == NULL)
		return NULL;
	if (SSL_CTX_set1_groups_list(ctx, "X25519:P-256:P-384") != 1 ||
	    SSL_CTX_set_alpn_protos(
	        ctx, (const unsigned char *)alpn.ptr, (unsigned)alpn.len)) {
		err_set(err, "no TLS context: %s", errors_text());
		SSL_CTX_free(ctx);
		return NULL;
	}
	SSL_CTX_set_session_cache_mode(
	    ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, session_cb);
	if (trust_set(ctx, cfg, library->ctx, err))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

static bool
side_build(struct tls_client *client, unsigned worker,
    const struct pool_tls_cfg *cfg, struct err *err)
{
	const struct library *library = library_at(worker);
	struct side *side = aligned_alloc(64, (sizeof(*side) + 63) / 64 * 64);

	if (library == NULL || side == NULL) {
		free(side);
		return err_set(err, "out of memory");
	}
	*side = (struct side){
	    .worker = worker,
	    .library = library,
	    .contexts = calloc(1, sizeof(SSL_CTX *)),
	    .client = client,
	    .kept = calloc(1, sizeof(struct kept)),
	};
	atomic_init(&side->refs, 1);
	atomic_fetch_add(&client->alive, 1);
	client->sides[worker] = side;
	if (side->contexts == NULL || side->kept == NULL)
		return err_set(err, "out of memory");
	side->contexts[0] = client_context(library, cfg, err);
	side->n_contexts = side->contexts[0] ? 1 : 0;
	return side->n_contexts == 1;
}

struct tls_client *
tls_client_new(
    const struct pool_tls_cfg *cfg, unsigned workers, struct err *err)
{
	struct tls_client *client = calloc(1, sizeof(*client));
	bool is_built;

	assert(workers > 0 && workers <= WORKERS_MAX);
	if (client == NULL) {
		err_set(err, "out of memory");
		return NULL;
	}
	atomic_init(&client->alive, 1);
	client->workers = workers;
	client->sides = calloc(workers, sizeof(struct side *));
	client->server_name =
	    cfg->server_name ? strdup(cfg->server_name) : NULL;
	client->policy.server_name = client->server_name;
	client->policy.is_verified = cfg->verify != VERIFY_OFF;
	is_built = client->sides && (client->server_name || !cfg->server_name);
	if (!is_built)
		err_set(err, "out of memory");
	for (unsigned i = 0; is_built && i < workers; i++)
		is_built = side_build(client, i, cfg, err);
	errors_clear();
	if (!is_built)
		tls_client_free(&client);
	return client;
}

void
client_side_gone(struct tls_client *client)
{
	if (atomic_fetch_sub_explicit(&client->alive, 1, memory_order_acq_rel) >
	    1)
		return;
	free(client->server_name);
	free(client);
}

void
tls_client_free(struct tls_client **client)
{
	struct tls_client *gone = *client;

	*client = NULL;
	if (gone == NULL)
		return;
	for (unsigned i = 0; gone->sides && i < gone->workers; i++)
		if (gone->sides[i])
			side_unref(gone->sides[i]);
	free(gone->sides);
	client_side_gone(gone);
}

struct side *
client_side(struct tls_client *client, unsigned worker)
{
	assert(worker < client->workers);
	return client->sides[worker];
}

const struct client_policy *
client_policy(const struct tls_client *client)
{
	return &client->policy;
}
