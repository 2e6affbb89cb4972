/*
 * Session tickets: the server's memory of a client, sealed and given to the
 * client to keep. One ring of three keys for the process, so that a ticket
 * given by any worker before a reload opens on any worker after it.
 *
 *	next -> current (seals) -> previous -> gone
 *
 * All three open. `next` exists so that instances which share a ring may
 * rotate a moment apart. A ring is never written again: rotation makes a new
 * one, swaps the pointer, waits until the readers that began before have left
 * (they stay for microseconds), and wipes the old one. Readers count
 * themselves in one of a few counters, each on its own cache line.
 */
#include <assert.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inside.h"

enum {
	STRIPES = 32,
	NAME_LEN = 16, /* OpenSSL's size of a ticket key's name */
	AES_LEN = 32,
	MAC_LEN = 32,
	IV_LEN = 16,
};

enum { NEXT, CURRENT, PREVIOUS, RING };

struct ticket_key {
	unsigned char name[NAME_LEN];
	unsigned char aes[AES_LEN];
	unsigned char mac[MAC_LEN];
};

struct ring {
	struct ticket_key keys[RING];
};

struct stripe {
	_Alignas(64) atomic_uint readers;
};

struct tls_tickets {
	_Atomic(struct ring *) ring; /* owned */
	struct stripe stripes[STRIPES];
};

static bool
key_make(struct ticket_key *key)
{
	return tls_random(key, sizeof(*key));
}

static void
ring_free(struct ring *ring)
{
	OPENSSL_cleanse(ring, sizeof(*ring));
	free(ring);
}

struct tls_tickets *
tls_tickets_new(void)
{
	struct tls_tickets *tickets =
	    aligned_alloc(64, sizeof(struct tls_tickets));
	struct ring *ring = calloc(1, sizeof(*ring));
	bool is_made = tickets && ring;

	for (int i = 0; is_made && i < RING; i++)
		is_made = key_make(&ring->keys[i]);
	if (!is_made) {
		free(ring);
		free(tickets);
		return NULL;
	}
	memset(tickets, 0, sizeof(*tickets));
	atomic_init(&tickets->ring, ring);
	return tickets;
}

/* Nobody who comes from now on can see the old ring; those inside leave soon.
 */
static void
readers_await(struct tls_tickets *tickets)
{
	for (int i = 0; i < STRIPES; i++)
		while (atomic_load(&tickets->stripes[i].readers) != 0)
			sched_yield();
}

void
tls_tickets_rotate(struct tls_tickets *tickets)
{
	struct ring *old = atomic_load(&tickets->ring);
	struct ring *ring = calloc(1, sizeof(*ring));

	/* Without memory or randomness the old keys serve a while longer. */
	if (ring == NULL || !key_make(&ring->keys[NEXT])) {
		free(ring);
		return;
	}
	ring->keys[CURRENT] = old->keys[NEXT];
	ring->keys[PREVIOUS] = old->keys[CURRENT];
	atomic_store(&tickets->ring, ring);
	readers_await(tickets);
	ring_free(old);
}

void
tls_tickets_free(struct tls_tickets **tickets)
{
	if (*tickets == NULL)
		return;
	ring_free(atomic_load(&(*tickets)->ring));
	free(*tickets);
	*tickets = NULL;
}

static bool
mac_init(EVP_MAC_CTX *mac, const struct ticket_key *key)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[2];

	params[0] =
	    OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0);
	params[1] = OSSL_PARAM_construct_end();
	return EVP_MAC_init(mac, key->mac, MAC_LEN, params) == 1;
}

/* Which key of the ring sealed a ticket with this name; -1: none. */
static int
key_find(const struct ring *ring, const unsigned char *name)
{
	for (int i = 0; i < RING; i++)
		if (memcmp(name, ring->keys[i].name, NAME_LEN) == 0)
			return i;
	return -1;
}

static int
ticket_seal(const struct ring *ring, const struct library *library,
    unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac)
{
	const struct ticket_key *key = &ring->keys[CURRENT];

	memcpy(name, key->name, NAME_LEN);
	if (RAND_bytes_ex(library->ctx, iv, IV_LEN, 0) != 1 ||
	    EVP_EncryptInit_ex2(
	        cipher, library->ticket_cipher, key->aes, iv, NULL) != 1 ||
	    !mac_init(mac, key))
		return -1;
	return 1;
}

/* 0: not ours, shake hands in full; 1: opened; 2: opened, and it is due for a
 * new one. */
static int
ticket_open(const struct ring *ring, const struct library *library,
    const unsigned char *name, const unsigned char *iv, EVP_CIPHER_CTX *cipher,
    EVP_MAC_CTX *mac)
{
	int at = key_find(ring, name);

	if (at < 0)
		return 0;
	if (!mac_init(mac, &ring->keys[at]) ||
	    EVP_DecryptInit_ex2(cipher, library->ticket_cipher,
	        ring->keys[at].aes, iv, NULL) != 1)
		return -1;
	return at == CURRENT ? 1 : 2;
}

static int
ticket_key_cb(SSL *ssl, unsigned char *name, unsigned char *iv,
    EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int is_sealing)
{
	const struct side *side = stream_of(ssl)->side;
	struct tls_tickets *tickets =
	    SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	struct stripe *stripe = &tickets->stripes[side->worker % STRIPES];
	const struct ring *ring;
	int rc;

	atomic_fetch_add(&stripe->readers, 1);
	ring = atomic_load(&tickets->ring);
	rc = is_sealing
	         ? ticket_seal(ring, side->library, name, iv, cipher, mac)
	         : ticket_open(ring, side->library, name, iv, cipher, mac);
	atomic_fetch_sub(&stripe->readers, 1);
	/* A TLS 1.3 client uses a ticket once (RFC 8446, C.4): give another. */
	if (rc == 1 && !is_sealing && SSL_version(ssl) == TLS1_3_VERSION)
		return 2;
	return rc;
}

bool
tickets_use(struct tls_tickets *tickets, SSL_CTX *ctx)
{
	return SSL_CTX_set_app_data(ctx, tickets) == 1 &&
	       SSL_CTX_set_tlsext_ticket_key_evp_cb(ctx, ticket_key_cb) == 1;
}
