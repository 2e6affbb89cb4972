/*
 * Digests, comparison and randomness for those above who may not include
 * OpenSSL. All of it works in any thread. A failure here means that the
 * library itself is broken, so digests assert; randomness can truly fail.
 */
#include <assert.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "tls/tls.h"

void
tls_sha1(const void *bytes, size_t len, uint8_t out[20])
{
	int ok = EVP_Digest(bytes, len, out, NULL, EVP_sha1(), NULL);

	assert(ok == 1);
}

void
tls_sha256(const void *bytes, size_t len, uint8_t out[32])
{
	int ok = EVP_Digest(bytes, len, out, NULL, EVP_sha256(), NULL);

	assert(ok == 1);
}

void
tls_hmac_sha256(struct span key, struct span text, uint8_t out[32])
{
	unsigned len = 32;
	const unsigned char *mac;

	assert(key.len <= INT_MAX);
	mac = HMAC(EVP_sha256(), key.len ? key.ptr : "", (int)key.len,
	    (const unsigned char *)text.ptr, text.len, out, &len);
	assert(mac == out && len == 32);
}

bool
tls_equal(const void *a, const void *b, size_t len)
{
	return CRYPTO_memcmp(a, b, len) == 0;
}

bool
tls_random(void *out, size_t len)
{
	return len <= INT_MAX && RAND_bytes(out, (int)len) == 1;
}
