/*
 * Who may sign: certificates of endpoints, of the API's callers, and of a
 * listener's clients. Of the latter the file is read once, while there is
 * somebody to tell about a mistake and before root is given up; each worker
 * parses the text into its own library.
 *
 * A session that began under other authorities, or under none, opens nothing
 * here: their digest is part of what binds sessions to a face.
 */
#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inside.h"

enum { SUBJECT_TOLD = 256 }; /* bytes of a refused one that the log gets */

bool
authorities_read(struct authorities *authorities, const char *path,
    bool is_required, struct err *err)
{
	if (!file_read(
	        path, PEM_SIZE_MAX, &authorities->pem, &authorities->len, err))
		return err_wrap(err, "client_ca '%s'", path);
	authorities->path = path;
	authorities->is_required = is_required;
	tls_sha256(authorities->pem, authorities->len, authorities->digest);
	/* Whoever came without a certificate may not come back where one has to
	 * be shown. */
	authorities->digest[0] ^= is_required;
	return true;
}

void
authorities_release(struct authorities *authorities)
{
	free(authorities->pem);
	*authorities = (struct authorities){0};
}

static bool
believe(SSL_CTX *ctx, const char *pem, size_t len, bool is_told,
    OSSL_LIB_CTX *library, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(ctx);
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	bool is_fine = bio != NULL;
	X509 *cert;
	size_t n = 0;

	while (is_fine && (cert = x509_next(bio, library)) != NULL) {
		is_fine = X509_STORE_add_cert(store, cert) == 1 &&
		          (!is_told || SSL_CTX_add_client_CA(ctx, cert) == 1);
		X509_free(cert);
		n++;
	}
	BIO_free(bio);
	if (!is_fine || !is_end_of_pem())
		return err_set(err, "%s", errors_text());
	errors_clear();
	return n > 0 || err_set(err, "holds no PEM certificate");
}

bool
authorities_load(SSL_CTX *ctx, const char *path, bool is_told,
    OSSL_LIB_CTX *library, struct err *err)
{
	char *pem;
	size_t len;
	bool is_fine;

	if (!file_read(path, PEM_SIZE_MAX, &pem, &len, err))
		return false;
	is_fine = believe(ctx, pem, len, is_told, library, err);
	free(pem);
	return is_fine;
}

/* RFC 2253 escapes what could end a field's value or begin another. */
static BIO *
subject_print(const X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());

	if (bio && X509_NAME_print_ex(bio, X509_get_subject_name(cert), 0,
	               XN_FLAG_RFC2253) < 0) {
		BIO_free(bio);
		bio = NULL;
	}
	return bio;
}

/* OpenSSL forgets a certificate that it refuses: who it was is told here. */
static int
on_verified(int is_good, X509_STORE_CTX *store)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(
	    store, SSL_get_ex_data_X509_STORE_CTX_idx());
	const X509 *cert = X509_STORE_CTX_get0_cert(store);
	struct tls_stream *stream = ssl ? stream_of(ssl) : NULL;
	BIO *bio;
	char *text;
	long len;

	if (is_good || !stream || !cert || stream->refused)
		return is_good;
	bio = subject_print(cert);
	len = bio ? BIO_get_mem_data(bio, &text) : 0;
	if (len > 0)
		stream->refused = strndup(
		    text, len < SUBJECT_TOLD ? (size_t)len : SUBJECT_TOLD);
	BIO_free(bio);
	return is_good;
}

bool
authorities_use(const struct authorities *authorities, SSL_CTX *ctx,
    OSSL_LIB_CTX *library, struct err *err)
{
	if (!believe(
	        ctx, authorities->pem, authorities->len, true, library, err))
		return err_wrap(err, "client_ca '%s'", authorities->path);
	SSL_CTX_set_verify(ctx,
	    SSL_VERIFY_PEER |
	        (authorities->is_required ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT
	                                  : 0),
	    on_verified);
	return true;
}

/* ---- who is it ---- */

/* One that does not verify has ended the handshake: whoever has one here has a
 * verified one. */
static X509 *
client_cert(const struct tls_stream *stream)
{
	if (!stream->is_server || !stream->is_done ||
	    SSL_get_verify_result(stream->ssl) != X509_V_OK)
		return NULL;
	return SSL_get0_peer_certificate(stream->ssl);
}

size_t
tls_stream_client_subject(
    const struct tls_stream *stream, char *buf, size_t cap)
{
	const X509 *cert = client_cert(stream);
	BIO *bio = cert ? subject_print(cert) : NULL;
	char *text;
	long len = bio ? BIO_get_mem_data(bio, &text) : 0;

	if (len < 0 || (size_t)len > cap)
		len = 0; /* half a name is another one's */
	if (len > 0)
		memcpy(buf, text, (size_t)len);
	BIO_free(bio);
	errors_clear();
	return (size_t)len;
}

const char *
tls_stream_refused_subject(const struct tls_stream *stream)
{
	return stream->refused;
}

size_t
tls_stream_client_sha256(const struct tls_stream *stream, char out[64])
{
	const X509 *cert = client_cert(stream);
	uint8_t digest[32];
	unsigned len = 0;

	if (!cert || X509_digest(cert, EVP_sha256(), digest, &len) != 1)
		return 0;
	for (unsigned i = 0; i < len; i++) {
		out[2 * i] = "0123456789abcdef"[digest[i] >> 4];
		out[2 * i + 1] = "0123456789abcdef"[digest[i] & 15];
	}
	return 64;
}
