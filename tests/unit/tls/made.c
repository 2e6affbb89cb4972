#include "made.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[64];

static void
folder_drop(void)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)) != NULL)
		unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	rmdir(folder);
}

const char *
made_folder(void)
{
	if (folder[0] == '\0') {
		strcpy(folder, "/tmp/weir-tls-XXXXXX");
		assert(mkdtemp(folder) != NULL);
		atexit(folder_drop);
	}
	return folder;
}

static FILE *
file_new(
    char *path, size_t cap, const char *name, const char *suffix, unsigned mode)
{
	int fd, n;
	FILE *file;

	n = snprintf(path, cap, "%s/%s%s", made_folder(), name, suffix);
	assert(n > 0 && (size_t)n < cap);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	assert(fd >= 0 && fchmod(fd, mode) == 0);
	file = fdopen(fd, "w");
	assert(file != NULL);
	return file;
}

const char *
made_file(const char *name, const char *text)
{
	static char path[128];
	FILE *file = file_new(path, sizeof(path), name, "", 0600);

	fputs(text, file);
	fclose(file);
	return path;
}

const char *
made_pipe(const char *name)
{
	const char *path = made_file(name, "");

	unlink(path);
	assert(mkfifo(path, 0600) == 0);
	return path;
}

static void
extension_add(X509 *cert, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, issuer, cert, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert(extension && X509_add_ext(cert, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

static X509 *
cert_make(
    const char *name, EVP_PKEY *key, const struct made_spec *spec, X509 *issuer)
{
	bool is_plain = spec->from_days == 0 && spec->to_days == 0;
	X509 *cert = X509_new();
	static long serial = 1000;

	assert(cert != NULL);
	X509_set_version(cert, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(cert), serial++);
	X509_time_adj_ex(X509_getm_notBefore(cert),
	    (int)(is_plain ? -1 : spec->from_days), 0, NULL);
	X509_time_adj_ex(X509_getm_notAfter(cert),
	    (int)(is_plain ? 90 : spec->to_days), 60, NULL);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "CN",
	    MBSTRING_ASC, (const unsigned char *)name, -1, -1, 0);
	if (spec->unit.len > 0)
		X509_NAME_add_entry_by_txt(X509_get_subject_name(cert), "OU",
		    MBSTRING_ASC, (const unsigned char *)spec->unit.ptr,
		    (int)spec->unit.len, -1, 0);
	X509_set_issuer_name(
	    cert, X509_get_subject_name(issuer ? issuer : cert));
	X509_set_pubkey(cert, key);
	extension_add(cert, issuer ? issuer : cert, NID_basic_constraints,
	    spec->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (spec->names)
		extension_add(cert, issuer ? issuer : cert,
		    NID_subject_alt_name, spec->names);
	return cert;
}

static void
issuer_read(const struct made *issuer, X509 **cert_out, EVP_PKEY **key_out)
{
	FILE *file = fopen(issuer->cert, "r");

	assert(file != NULL);
	*cert_out = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	file = fopen(issuer->key, "r");
	assert(file != NULL);
	*key_out = PEM_read_PrivateKey(file, NULL, NULL, NULL);
	fclose(file);
	assert(*cert_out && *key_out);
}

struct made
made_write(const char *name, struct made_spec spec)
{
	EVP_PKEY *key =
	    spec.kind == MADE_EC ? EVP_EC_gen("P-256") : EVP_RSA_gen(2048);
	X509 *issuer = NULL, *cert;
	EVP_PKEY *issuer_key = NULL;
	struct made made;
	FILE *file;

	if (spec.issuer)
		issuer_read(spec.issuer, &issuer, &issuer_key);
	cert = cert_make(name, key, &spec, issuer);
	assert(
	    X509_sign(cert, issuer_key ? issuer_key : key, EVP_sha256()) > 0);
	file = file_new(made.cert, sizeof(made.cert), name, ".crt", 0644);
	PEM_write_X509(file, cert);
	fclose(file);
	file = file_new(made.key, sizeof(made.key), name, ".key",
	    spec.mode ? spec.mode : 0600);
	PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
	fclose(file);
	X509_free(cert);
	X509_free(issuer);
	EVP_PKEY_free(key);
	EVP_PKEY_free(issuer_key);
	return made;
}

struct tls_cfg
made_cfg(const struct made *made, size_t n)
{
	struct tls_cfg cfg = {
	    .min_version = 12,
	    .certificates = calloc(n, sizeof(struct key_pair)),
	    .n_certificates = n,
	    .ticket_rotation = 12 * 3600 * NSEC_PER_SEC,
	};

	assert(cfg.certificates != NULL);
	for (size_t i = 0; i < n; i++)
		cfg.certificates[i] = (struct key_pair){
		    .cert = (char *)made[i].cert,
		    .key = {SECRET_FILE, (char *)made[i].key},
		};
	return cfg;
}

void
made_cfg_release(struct tls_cfg *cfg)
{
	free(cfg->certificates);
	memset(cfg, 0, sizeof(*cfg));
}
