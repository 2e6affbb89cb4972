/*
 * Certificates as they come from files: read as PEM (struct pem), parsed once
 * (struct cert) and checked while there is somebody to tell. The PEM of a key
 * is wiped as soon as it is parsed; workers copy the parsed one (face.c).
 */
#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tls/inside.h"

enum { WARN_DAYS = 14, DAY_SECONDS = 86400 };

void
warn(struct warnings *warnings, const char *format, ...)
{
	char line[ERR_TEXT_MAX];
	char *text;
	va_list args;

	va_start(args, format);
	vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	if (asprintf(&text, "%s%s%s", warnings->text ? warnings->text : "",
	        warnings->text ? "\n" : "", line) < 0)
		return;
	free(warnings->text);
	warnings->text = text;
}

/* ---- reading ---- */

static void
key_place(const struct secret *secret, char *out, size_t cap)
{
	static const char *const kinds[] = {
	    [SECRET_NONE] = "",
	    [SECRET_FILE] = "",
	    [SECRET_ENV] = "environment variable ",
	    [SECRET_CREDENTIAL] = "credential ",
	};

	snprintf(out, cap, "%s%s", kinds[secret->from],
	    secret->where ? secret->where : "(none)");
}

static void
warn_of_readers(const struct secret *secret, struct warnings *warnings)
{
	struct stat st;

	if (secret->from != SECRET_FILE || stat(secret->where, &st) != 0 ||
	    (st.st_mode & (S_IRGRP | S_IROTH)) == 0)
		return;
	warn(warnings,
	    "key '%s' can be read by others (mode %04o): chmod 600 it",
	    secret->where, (unsigned)(st.st_mode & 07777));
}

bool
pem_read(struct pem *pem, const struct key_pair *pair,
    struct warnings *warnings, struct err *err)
{
	memset(pem, 0, sizeof(*pem));
	pem->cert_path = pair->cert;
	key_place(&pair->key, pem->key_place, sizeof(pem->key_place));
	if (!file_read(
	        pair->cert, PEM_SIZE_MAX, &pem->chain, &pem->chain_len, err))
		return err_wrap(err, "certificate '%s'", pair->cert);
	if (!secret_read(&pair->key, &pem->key, &pem->key_len, err))
		return err_wrap(err, "key of certificate '%s'", pair->cert);
	warn_of_readers(&pair->key, warnings);
	return true;
}

void
pem_wipe(struct pem *pem)
{
	if (pem->key)
		OPENSSL_cleanse(pem->key, pem->key_len);
	free(pem->key);
	free(pem->chain);
	memset(pem, 0, sizeof(*pem));
}

/* ---- parsing ---- */

X509 *
x509_next(BIO *bio, OSSL_LIB_CTX *ctx)
{
	X509 *cert = X509_new_ex(ctx, NULL);

	if (cert && PEM_read_bio_X509_AUX(bio, &cert, NULL, NULL))
		return cert;
	X509_free(cert);
	return NULL;
}

bool
is_end_of_pem(void)
{
	unsigned long code = ERR_peek_last_error();

	return ERR_GET_LIB(code) == ERR_LIB_PEM &&
	       ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

/* The leaf, then its issuers; a root is left out, nobody needs it sent. */
static bool
chain_parse(struct cert *cert, BIO *bio, OSSL_LIB_CTX *ctx)
{
	X509 *next;

	cert->leaf = x509_next(bio, ctx);
	cert->others = sk_X509_new_null();
	if (cert->leaf == NULL || cert->others == NULL)
		return false;
	while ((next = x509_next(bio, ctx)) != NULL) {
		if (X509_self_signed(next, 0) == 1)
			X509_free(next);
		else if (sk_X509_push(cert->others, next) == 0) {
			X509_free(next);
			return false;
		}
	}
	return is_end_of_pem();
}

static int
no_passphrase(char *buf, int size, int is_writing, void *arg)
{
	(void)buf, (void)size, (void)is_writing;
	*(bool *)arg = true;
	return -1;
}

static bool
key_parse(struct cert *cert, const struct pem *pem, OSSL_LIB_CTX *ctx,
    struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem->key, (int)pem->key_len);
	bool is_locked = false;

	if (bio)
		cert->key = PEM_read_bio_PrivateKey_ex(
		    bio, NULL, no_passphrase, &is_locked, ctx, NULL);
	BIO_free(bio);
	if (cert->key)
		return true;
	if (is_locked)
		err_set(err,
		    "key '%s': has a passphrase; weir needs one without",
		    pem->key_place);
	else if (strstr(pem->key, "PRIVATE KEY-----") == NULL)
		err_set(
		    err, "key '%s': holds no PEM private key", pem->key_place);
	else
		err_set(err, "key '%s': %s", pem->key_place, errors_text());
	ERR_clear_error();
	return false;
}

unsigned
cert_kind(const struct cert *cert)
{
	switch (EVP_PKEY_get_base_id(cert->key)) {
	case EVP_PKEY_EC:
		return 0;
	case EVP_PKEY_RSA:
		return 1;
	default:
		return 2;
	}
}

/* ---- describing ---- */

static time_t
time_of(const ASN1_TIME *asn1)
{
	struct tm tm = {0};

	return ASN1_TIME_to_tm(asn1, &tm) == 1 ? timegm(&tm) : 0;
}

/* Appends " word" while it fits whole. */
static void
word_add(char *text, size_t cap, const char *word, size_t len)
{
	size_t used = strlen(text);

	if (memchr(word, '\0', len) || used + len + 2 > cap)
		return;
	if (used > 0)
		text[used++] = ' ';
	memcpy(text + used, word, len);
	text[used + len] = '\0';
}

static void
ip_add(char *text, size_t cap, const ASN1_OCTET_STRING *ip)
{
	int len = ASN1_STRING_length(ip);
	char word[INET6_ADDRSTRLEN];

	if ((len == 4 || len == 16) &&
	    inet_ntop(len == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(ip),
	        word, sizeof(word)))
		word_add(text, cap, word, strlen(word));
}

static void
names_write(X509 *leaf, char *text, size_t cap)
{
	GENERAL_NAMES *names =
	    X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	char cn[SERVER_NAME_CAP];

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS)
			word_add(text, cap,
			    (const char *)ASN1_STRING_get0_data(
			        name->d.dNSName),
			    (size_t)ASN1_STRING_length(name->d.dNSName));
		else if (name->type == GEN_IPADD)
			ip_add(text, cap, name->d.iPAddress);
	}
	GENERAL_NAMES_free(names);
	if (text[0] == '\0' &&
	    X509_NAME_get_text_by_NID(X509_get_subject_name(leaf),
	        NID_commonName, cn, sizeof(cn)) > 0)
		word_add(text, cap, cn, strlen(cn));
}

static void
describe(struct cert *cert, const struct pem *pem)
{
	struct tls_cert_info *out = &cert->info;
	X509_NAME *subject = X509_get_subject_name(cert->leaf);
	BIO *bio = BIO_new(BIO_s_mem());
	int len = -1;

	names_write(cert->leaf, out->names, sizeof(out->names));
	if (bio && X509_NAME_print_ex(bio, subject, 0, XN_FLAG_RFC2253) >= 0)
		len = BIO_read(bio, out->subject, sizeof(out->subject) - 1);
	out->subject[len > 0 ? len : 0] = '\0';
	BIO_free(bio);
	snprintf(out->path, sizeof(out->path), "%s", pem->cert_path);
	out->not_before = time_of(X509_get0_notBefore(cert->leaf));
	out->not_after = time_of(X509_get0_notAfter(cert->leaf));
	out->is_ecdsa = cert_kind(cert) == 0;
	ERR_clear_error();
}

/* ---- both together ---- */

bool
cert_parse(struct cert *cert, const struct pem *pem, OSSL_LIB_CTX *ctx,
    struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem->chain, (int)pem->chain_len);
	bool is_parsed;

	memset(cert, 0, sizeof(*cert));
	ERR_clear_error();
	is_parsed = bio && chain_parse(cert, bio, ctx);
	BIO_free(bio);
	if (!is_parsed) {
		bool is_empty = cert->leaf == NULL && is_end_of_pem();

		return err_set(err, "certificate '%s': %s", pem->cert_path,
		    is_empty ? "holds no PEM certificate" : errors_text());
	}
	ERR_clear_error();
	if (!key_parse(cert, pem, ctx, err))
		return false;
	if (X509_check_private_key(cert->leaf, cert->key) != 1) {
		ERR_clear_error();
		return err_set(err,
		    "certificate '%s' and key '%s' do not belong together",
		    pem->cert_path, pem->key_place);
	}
	describe(cert, pem);
	return true;
}

void
cert_release(struct cert *cert)
{
	X509_free(cert->leaf);
	sk_X509_pop_free(cert->others, X509_free);
	EVP_PKEY_free(cert->key);
	memset(cert, 0, sizeof(*cert));
}

void
cert_warn(
    const struct tls_cert_info *info, time_t now, struct warnings *warnings)
{
	const char *path = info->path[0] ? info->path : "(self-signed)";
	long days = (long)(info->not_after - now) / DAY_SECONDS;

	if (now >= info->not_after)
		warn(warnings, "certificate '%s' (%s) has expired %ld days ago",
		    path, info->names, -days);
	else if (days < WARN_DAYS)
		warn(warnings, "certificate '%s' (%s) ends in %ld days", path,
		    info->names, days);
	if (now < info->not_before)
		warn(warnings, "certificate '%s' (%s) is not valid yet", path,
		    info->names);
}
