/*
 * A face's SSL_CTX: certificates that are shown together, under the server's
 * policy, in one worker's library. They are copied into that library, so that
 * no two workers count references on one object.
 */
#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <string.h>

#include "tls/inside.h"

/* RFC 7301: an offer without overlap ends the handshake, or other protocols
 * could be played against ours. */
static int
alpn_cb(SSL *ssl, const unsigned char **out, unsigned char *out_len,
    const unsigned char *in, unsigned in_len, void *arg)
{
	struct span list = alpn_of((unsigned)(uintptr_t)arg);

	(void)ssl;
	if (SSL_select_next_proto((unsigned char **)out, out_len,
	        (const unsigned char *)list.ptr, (unsigned)list.len, in,
	        in_len) != OPENSSL_NPN_NEGOTIATED)
		return SSL_TLSEXT_ERR_ALERT_FATAL;
	return SSL_TLSEXT_ERR_OK;
}

static bool
policy_set(SSL_CTX *ctx, const struct policy *policy, struct err *err)
{
	if (policy->min_version >= 13 &&
	    SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) != 1)
		return err_set(err, "TLS 1.3: %s", errors_text());
	/* No larger groups: a client could make us pay a millisecond for each.
	 */
	if (SSL_CTX_set1_groups_list(ctx, "X25519:P-256") != 1)
		return err_set(err, "TLS groups: %s", errors_text());
	SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_timeout(ctx, policy->ticket_life);
	SSL_CTX_set_alpn_select_cb(
	    ctx, alpn_cb, (void *)(uintptr_t)policy->protocols);
	if (policy->tickets == NULL) {
		SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
		return SSL_CTX_set_num_tickets(ctx, 0) == 1;
	}
	if (SSL_CTX_set_num_tickets(ctx, 1) != 1 ||
	    !tickets_use(policy->tickets, ctx))
		return err_set(err, "TLS tickets: %s", errors_text());
	return true;
}

static X509 *
x509_copy(X509 *from, OSSL_LIB_CTX *ctx)
{
	unsigned char *der = NULL;
	int len = i2d_X509(from, &der);
	const unsigned char *at = der;
	X509 *copy = len > 0 ? X509_new_ex(ctx, NULL) : NULL;

	if (copy)
		d2i_X509(
		    &copy, &at, len); /* frees and nulls it when it fails */
	OPENSSL_free(der);
	return copy;
}

static EVP_PKEY *
key_copy(const EVP_PKEY *from, OSSL_LIB_CTX *ctx)
{
	unsigned char *der = NULL;
	int len = i2d_PrivateKey(from, &der);
	const unsigned char *at = der;
	EVP_PKEY *copy = NULL;

	if (len > 0) {
		copy = d2i_AutoPrivateKey_ex(NULL, &at, len, ctx, NULL);
		OPENSSL_clear_free(der, (size_t)len);
	}
	return copy;
}

static bool
cert_copy(struct cert *out, const struct cert *from, OSSL_LIB_CTX *ctx)
{
	out->leaf = x509_copy(from->leaf, ctx);
	out->key = key_copy(from->key, ctx);
	out->others = sk_X509_new_null();
	if (!out->leaf || !out->key || !out->others)
		return false;
	for (int i = 0; i < sk_X509_num(from->others); i++) {
		X509 *copy = x509_copy(sk_X509_value(from->others, i), ctx);

		if (copy == NULL || sk_X509_push(out->others, copy) == 0) {
			X509_free(copy);
			return false;
		}
	}
	return true;
}

static bool
cert_show(SSL_CTX *ctx, const struct cert *cert, OSSL_LIB_CTX *library,
    struct err *err)
{
	struct cert copy = {0};
	bool is_shown = cert_copy(&copy, cert, library) &&
	                SSL_CTX_use_cert_and_key(
	                    ctx, copy.leaf, copy.key, copy.others, 1) == 1;

	if (!is_shown)
		err_set(err, "certificate '%s': %s", cert->info.path,
		    errors_text());
	cert_release(&copy);
	return is_shown;
}

/* Sessions of this face are of no use under another, nor after a new
 * certificate, nor where clients are signed by others. */
static bool
sessions_bind(SSL_CTX *ctx, const uint8_t *digests, size_t len, struct err *err)
{
	uint8_t context[32];

	tls_sha256(digests, len, context);
	if (SSL_CTX_set_session_id_context(ctx, context, 32) == 1)
		return true;
	return err_set(err, "no session id context: %s", errors_text());
}

static bool
face_load(SSL_CTX *ctx, const struct face *face, const struct cert *certs,
    const struct authorities *authorities, OSSL_LIB_CTX *library,
    struct err *err)
{
	uint8_t digests[(KEY_KINDS + 1) * 32];
	unsigned len = 0, one;

	for (int kind = 0; kind < KEY_KINDS; kind++) {
		const struct cert *cert;

		if (face->cert[kind] < 0)
			continue;
		cert = &certs[face->cert[kind]];
		if (!cert_show(ctx, cert, library, err))
			return false;
		if (X509_digest(
		        cert->leaf, EVP_sha256(), digests + len, &one) != 1)
			return err_set(err, "certificate '%s': %s",
			    cert->info.path, errors_text());
		len += 32;
	}
	assert(len > 0);
	if (authorities) {
		memcpy(digests + len, authorities->digest, 32);
		len += 32;
	}
	return sessions_bind(ctx, digests, len, err);
}

SSL_CTX *
face_context(const struct face *face, const struct cert *certs,
    const struct policy *policy, const struct library *library, struct err *err)
{
	SSL_CTX *ctx = context_new(library, TLS_server_method(), err);

	if (ctx && policy_set(ctx, policy, err) &&
	    face_load(
	        ctx, face, certs, policy->authorities, library->ctx, err) &&
	    (!policy->authorities ||
	        authorities_use(policy->authorities, ctx, library->ctx, err)))
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}
