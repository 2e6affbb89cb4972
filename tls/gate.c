/*
 * TLS where somebody else's event loop drives OpenSSL: the admin API, which
 * libevent's evhttp serves. A gate is one certificate, and the authorities
 * that client certificates are verified with. Each connection takes an SSL
 * from it and owns that; the gate may be freed and replaced at a reload while
 * connections go on.
 *
 * A client may come without a certificate (it shows a token then); one that
 * does not verify ends the handshake. So whoever has a certificate here has a
 * verified one. No tickets and no session cache: the clients are few, and a
 * certificate that was taken out of the authorities is refused at once.
 */
#include <openssl/objects.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tls/inside.h"

/* The last library: workers count from 0 and never get there. */
enum { GATE_LIBRARY = WORKERS_MAX - 1 };

struct tls_gate {
	SSL_CTX *ctx; /* owned; each connection holds a reference */
	struct tls_cert_info info;
};

static bool
trust(SSL_CTX *ctx, const char *path, OSSL_LIB_CTX *library, struct err *err)
{
	if (!authorities_load(ctx, path, true, library, err))
		return err_wrap(err, "client_ca '%s'", path);
	SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
	return true;
}

static bool
gate_build(struct tls_gate *gate, const struct key_pair *pair,
    const char *client_ca, struct warnings *warnings, struct err *err)
{
	static const struct face face = {{0, -1, -1}};
	static const struct policy policy = {.min_version = 12};
	const struct library *library = library_at(GATE_LIBRARY);
	struct cert cert = {0};
	struct pem pem = {0};
	bool ok = library || err_set(err, "out of memory");

	ok = ok && pem_read(&pem, pair, warnings, err) &&
	     cert_parse(&cert, &pem, library->ctx, err);
	pem_wipe(&pem);
	if (ok) {
		gate->info = cert.info;
		cert_warn(&cert.info, time(NULL), warnings);
		gate->ctx = face_context(&face, &cert, &policy, library, err);
	}
	cert_release(&cert);
	return ok && gate->ctx &&
	       (!client_ca || trust(gate->ctx, client_ca, library->ctx, err));
}

struct tls_gate *
tls_gate_new(const struct key_pair *pair, const char *client_ca,
    char **warnings_out, struct err *err)
{
	struct tls_gate *gate = calloc(1, sizeof(*gate));
	struct warnings warnings = {0};

	if (!gate)
		err_set(err, "out of memory");
	else if (!gate_build(gate, pair, client_ca, &warnings, err))
		tls_gate_free(&gate);
	errors_clear();
	if (!gate || !warnings_out) {
		free(warnings.text);
		warnings.text = NULL;
	}
	if (warnings_out)
		*warnings_out = warnings.text;
	return gate;
}

void
tls_gate_free(struct tls_gate **gate)
{
	if (!*gate)
		return;
	SSL_CTX_free((*gate)->ctx);
	free(*gate);
	*gate = NULL;
}

const struct tls_cert_info *
tls_gate_cert(const struct tls_gate *gate)
{
	return &gate->info;
}

struct ssl_st *
tls_gate_accept(const struct tls_gate *gate)
{
	return SSL_new(gate->ctx);
}

void
tls_gate_refuse(struct ssl_st *ssl)
{
	SSL_free(ssl);
}

bool
tls_gate_is_open(const struct ssl_st *ssl)
{
	return SSL_is_init_finished(ssl) == 1;
}

/* ---- who is it ---- */

/* What does not fit whole or holds a NUL is left out: half a name is another
 * one's. */
static void
part_add(struct tls_peer *peer, const X509_NAME_ENTRY *entry)
{
	const char *field =
	    OBJ_nid2sn(OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)));
	unsigned char *value = NULL;
	int len = ASN1_STRING_to_UTF8(&value, X509_NAME_ENTRY_get_data(entry));
	struct tls_peer_part *part = &peer->part[peer->n];

	if (len > 0 && len < TLS_PEER_VALUE_CAP &&
	    !memchr(value, '\0', (size_t)len) && peer->n < TLS_PEER_PARTS &&
	    strlen(field) < sizeof(part->field)) {
		strcpy(part->field, field);
		memcpy(part->value, value, (size_t)len);
		part->value[len] = '\0';
		peer->n++;
	}
	OPENSSL_free(value);
}

bool
tls_gate_peer(const struct ssl_st *ssl, struct tls_peer *out)
{
	const X509 *cert = SSL_get0_peer_certificate(ssl);
	const X509_NAME *subject;

	out->n = 0;
	if (!cert || SSL_get_verify_result(ssl) != X509_V_OK)
		return false;
	subject = X509_get_subject_name(cert);
	for (int i = 0; i < X509_NAME_entry_count(subject); i++)
		part_add(out, X509_NAME_get_entry(subject, i));
	errors_clear();
	return true;
}
