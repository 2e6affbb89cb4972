/*
 * Chance and hashes: xoshiro256** (Blackman and Vigna, 2018) for what clients
 * must not foresee but need not be secret, SipHash-2-4 (Aumasson and
 * Bernstein, 2012) for keys that a client chooses. Pure functions of their
 * arguments; the owner of a generator seeds it from the kernel.
 */
#include <string.h>

#include "routing/chance.h"

void
rng_seed(struct rng *rng, const uint8_t seed[32])
{
	memcpy(rng->s, seed, sizeof(rng->s));
	/* The all-zero state is the one that never moves. */
	if ((rng->s[0] | rng->s[1] | rng->s[2] | rng->s[3]) == 0)
		rng->s[0] = 1;
}

uint64_t
rng_next(struct rng *rng)
{
	return chance_next(rng);
}

uint32_t
rng_below(struct rng *rng, uint32_t bound)
{
	return chance_below(rng, bound);
}

static inline uint64_t
load_le64(const uint8_t *bytes)
{
	uint64_t word;

	memcpy(&word, bytes, sizeof(word));
	return __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ ? __builtin_bswap64(word)
	                                              : word;
}

static inline void
sip_round(uint64_t v[4])
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = rotate(v[1], 13) ^ v[0];
	v[3] = rotate(v[3], 16) ^ v[2];
	v[0] = rotate(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = rotate(v[1], 17) ^ v[2];
	v[3] = rotate(v[3], 21) ^ v[0];
	v[2] = rotate(v[2], 32);
}

static inline void
sip_word(uint64_t v[4], uint64_t word)
{
	v[3] ^= word;
	sip_round(v);
	sip_round(v);
	v[0] ^= word;
}

uint64_t
hash_keyed(const uint8_t key[16], const void *bytes, size_t len)
{
	const uint8_t *at = bytes, *end = at + (len & ~(size_t)7);
	uint64_t k0 = load_le64(key), k1 = load_le64(key + 8);
	uint64_t v[4] = {k0 ^ UINT64_C(0x736f6d6570736575),
	    k1 ^ UINT64_C(0x646f72616e646f6d),
	    k0 ^ UINT64_C(0x6c7967656e657261),
	    k1 ^ UINT64_C(0x7465646279746573)};
	uint64_t tail = (uint64_t)len << 56;

	for (; len >= 8 && at < end; at += 8)
		sip_word(v, load_le64(at));
	for (size_t i = 0; i < (len & 7); i++)
		tail |= (uint64_t)at[i] << (8 * i);
	sip_word(v, tail);
	v[2] ^= 0xff;
	for (int i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}
