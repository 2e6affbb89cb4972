/*
 * What the server's and the client's contexts have in common, and how long a
 * worker's half of either lives: as long as its owner or one of its streams.
 * The count is touched by one worker, and by the control thread at the end.
 */
#include <openssl/ssl.h>
#include <stdlib.h>

#include "tls/inside.h"

/* With AEAD and forward secrecy only; AES-128 first: it is the cheapest with
 * AES-NI. */
static const char ciphers_12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:"
                                 "ECDHE-RSA-AES128-GCM-SHA256:"
                                 "ECDHE-ECDSA-AES256-GCM-SHA384:"
                                 "ECDHE-RSA-AES256-GCM-SHA384:"
                                 "ECDHE-ECDSA-CHACHA20-POLY1305:"
                                 "ECDHE-RSA-CHACHA20-POLY1305";
static const char ciphers_13[] = "TLS_AES_128_GCM_SHA256:"
                                 "TLS_AES_256_GCM_SHA384:"
                                 "TLS_CHACHA20_POLY1305_SHA256";

/* Only what the proxy speaks, what it would rather speak in front. */
struct span
alpn_of(unsigned protocols)
{
	switch (protocols) {
	case PROTOCOL_H2:
		return SPAN("\x02h2");
	case PROTOCOL_H2 | PROTOCOL_H1:
		return SPAN("\x02h2\x08http/1.1");
	default:
		return SPAN("\x08http/1.1");
	}
}

SSL_CTX *
context_new(
    const struct library *library, const SSL_METHOD *method, struct err *err)
{
	SSL_CTX *ctx = SSL_CTX_new_ex(library->ctx, NULL, method);

	if (ctx == NULL ||
	    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
	    SSL_CTX_set_cipher_list(ctx, ciphers_12) != 1 ||
	    SSL_CTX_set_ciphersuites(ctx, ciphers_13) != 1) {
		SSL_CTX_free(ctx);
		err_set(err, "no TLS context: %s", errors_text());
		return NULL;
	}
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION |
	                             SSL_OP_NO_COMPRESSION |
	                             SSL_OP_CIPHER_SERVER_PREFERENCE);
	/*
	 * NO_AUTO_CHAIN: without it OpenSSL looks for issuers of a lone leaf
	 * in its trust store at every handshake.
	 */
	SSL_CTX_set_mode(ctx,
	    SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
	        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_read_ahead(ctx, 0);
	return ctx;
}

void
side_unref(struct side *side)
{
	if (atomic_fetch_sub_explicit(&side->refs, 1, memory_order_acq_rel) > 1)
		return;
	for (size_t i = 0; i < side->n_contexts; i++)
		SSL_CTX_free(side->contexts[i]);
	free(side->contexts);
	kept_free(&side->kept);
	if (side->server)
		server_side_gone(side->server);
	if (side->client)
		client_side_gone(side->client);
	free(side);
}
