/*
 * OpenSSL's process-wide state, once per worker: an OSSL_LIB_CTX has its own
 * algorithm tables, locks and random generators, so two workers never meet in
 * them. They are made on first use and never freed: a reload builds new
 * contexts inside the same libraries, so a hundred reloads cost no memory.
 *
 * The table is the one global of this folder. It has to be one: a server and a
 * client of the same worker are built apart and must find the same library.
 */
#include <assert.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdlib.h>

#include "tls/inside.h"

static _Atomic(struct library *) libraries[WORKERS_MAX];

static void
library_free(struct library *library)
{
	EVP_CIPHER_free(library->ticket_cipher);
	BIO_meth_free(library->window_method);
	OSSL_LIB_CTX_free(library->ctx);
	free(library);
}

static struct library *
library_new(void)
{
	struct library *library = calloc(1, sizeof(*library));

	if (library == NULL)
		return NULL;
	library->ctx = OSSL_LIB_CTX_new();
	library->window_method = window_method_new();
	if (library->ctx)
		library->ticket_cipher =
		    EVP_CIPHER_fetch(library->ctx, "AES-256-CBC", NULL);
	if (library->window_method && library->ticket_cipher)
		return library;
	library_free(library);
	return NULL;
}

const struct library *
library_at(unsigned worker)
{
	struct library *mine, *theirs = NULL;

	assert(worker < WORKERS_MAX);
	mine = atomic_load_explicit(&libraries[worker], memory_order_acquire);
	if (mine)
		return mine;
	mine = library_new();
	if (mine == NULL ||
	    atomic_compare_exchange_strong(&libraries[worker], &theirs, mine))
		return mine;
	library_free(mine);
	return theirs;
}

void
errors_clear(void)
{
	if (ERR_peek_error() != 0)
		ERR_clear_error();
}

const char *
errors_text(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);

	ERR_clear_error();
	return reason ? reason : "unknown error";
}
