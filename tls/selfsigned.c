/*
 * A certificate for this machine alone, made in memory for trying things out:
 * P-256, for localhost, 127.0.0.1 and ::1. It goes through the same PEM door
 * as one from a file, so there is a single way in.
 */
#include <openssl/bio.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inside.h"

enum { LIFE_DAYS = 90, BACKDATED_SECONDS = 3600 };

static const struct {
	int nid;
	const char *value;
} extensions[] = {
    {NID_basic_constraints, "critical,CA:FALSE"},
    {NID_key_usage, "critical,digitalSignature"},
    {NID_ext_key_usage, "serverAuth"},
    {NID_subject_alt_name, "DNS:localhost,IP:127.0.0.1,IP:::1"},
};

static bool
extensions_add(X509 *cert)
{
	X509V3_CTX context;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, cert, cert, NULL, NULL, 0);
	for (size_t i = 0; i < sizeof(extensions) / sizeof(*extensions); i++) {
		X509_EXTENSION *extension = X509V3_EXT_conf_nid(
		    NULL, &context, extensions[i].nid, extensions[i].value);
		bool is_added =
		    extension && X509_add_ext(cert, extension, -1) == 1;

		X509_EXTENSION_free(extension);
		if (!is_added)
			return false;
	}
	return true;
}

static bool
identity_set(X509 *cert, EVP_PKEY *key)
{
	const unsigned char name[] = "localhost";
	X509_NAME *subject = X509_get_subject_name(cert);
	uint64_t serial;

	if (!tls_random(&serial, sizeof(serial)))
		return false;
	serial >>= 1;
	return X509_set_version(cert, X509_VERSION_3) == 1 &&
	       ASN1_INTEGER_set_uint64(X509_get_serialNumber(cert), serial) ==
	           1 &&
	       X509_gmtime_adj(X509_getm_notBefore(cert), -BACKDATED_SECONDS) &&
	       X509_time_adj_ex(X509_getm_notAfter(cert), LIFE_DAYS, 0, NULL) &&
	       X509_NAME_add_entry_by_txt(
	           subject, "CN", MBSTRING_ASC, name, -1, -1, 0) == 1 &&
	       X509_set_issuer_name(cert, subject) == 1 &&
	       X509_set_pubkey(cert, key) == 1;
}

/* Copies a memory BIO into an owned, NUL-ended string. */
static char *
text_of(BIO *bio, size_t *len_out)
{
	char *bytes;
	long len = BIO_get_mem_data(bio, &bytes);
	char *copy = len > 0 ? malloc((size_t)len + 1) : NULL;

	if (copy == NULL)
		return NULL;
	memcpy(copy, bytes, (size_t)len);
	copy[len] = '\0';
	*len_out = (size_t)len;
	return copy;
}

static bool
pem_write(struct pem *pem, X509 *cert, EVP_PKEY *key)
{
	BIO *chain = BIO_new(BIO_s_mem());
	BIO *secret = BIO_new(BIO_s_secmem());

	memset(pem, 0, sizeof(*pem));
	pem->cert_path = "";
	strcpy(pem->key_place, "memory");
	if (chain && PEM_write_bio_X509(chain, cert) == 1)
		pem->chain = text_of(chain, &pem->chain_len);
	if (secret && PEM_write_bio_PrivateKey(
	                  secret, key, NULL, NULL, 0, NULL, NULL) == 1)
		pem->key = text_of(secret, &pem->key_len);
	BIO_free(chain);
	BIO_free(secret);
	return pem->chain && pem->key;
}

bool
selfsigned_make(struct pem *pem, struct err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	bool is_made =
	    key && cert && identity_set(cert, key) && extensions_add(cert) &&
	    X509_sign(cert, key, EVP_sha256()) > 0 && pem_write(pem, cert, key);

	X509_free(cert);
	EVP_PKEY_free(key);
	if (!is_made)
		return err_set(err,
		    "the self-signed certificate cannot be made: %s",
		    errors_text());
	return true;
}
