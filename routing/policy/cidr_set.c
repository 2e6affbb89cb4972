/* Sets of addresses as sorted ranges, see cidr_set.h. */
#include "routing/policy/cidr_set.h"

#include <netinet/in.h>

#include "routing/memory.h"

enum { INDEX_FROM = 64, INDEX_SIZE = 65536 };

struct wide {
	uint64_t high, low;
};

struct range6 {
	struct wide first, last;
};

struct cidr_set {
	uint32_t *first4, *last4; /* owned: ascending, disjoint */
	uint32_t *index4; /* owned: [INDEX_SIZE + 1], the first range that ends
	                     in these 16 bits or behind; NULL: few ranges */
	struct range6 *ranges6; /* owned: ascending, disjoint */
	size_t n4, n6;
};

/* Where IPv4 stands among IPv6: ::ffff:0:0/96. */
static const struct wide MAPPED = {0, UINT64_C(0xffff00000000)};
static const struct wide MAPPED_LAST = {0, UINT64_C(0xffffffffffff)};

static inline int
wide_compare(struct wide a, struct wide b)
{
	if (a.high != b.high)
		return a.high < b.high ? -1 : 1;
	return a.low < b.low ? -1 : a.low > b.low;
}

static inline struct wide
wide_of(const uint8_t bytes[16])
{
	struct wide out;

	memcpy(&out, bytes, 16);
	return (struct wide){
	    __builtin_bswap64(out.high), __builtin_bswap64(out.low)};
}

/* ---- making ---- */

static struct range6
range_of(const struct cidr *cidr)
{
	struct range6 range = {wide_of(cidr->bytes), wide_of(cidr->bytes)};

	if (cidr->bits < 64)
		range.last.high |= UINT64_MAX >> cidr->bits;
	if (cidr->bits <= 64)
		range.last.low = UINT64_MAX;
	else if (cidr->bits < 128)
		range.last.low |= UINT64_MAX >> (cidr->bits - 64);
	return range;
}

static int
range_compare(const void *a, const void *b)
{
	const struct range6 *x = a, *y = b;

	return wide_compare(x->first, y->first);
}

/* Does `next` begin inside the range, or right behind it? */
static bool
range_touches(const struct range6 *range, const struct range6 *next)
{
	struct wide behind = {
	    range->last.high + (range->last.low == UINT64_MAX),
	    range->last.low + 1};

	return wide_compare(next->first, range->last) <= 0 ||
	       wide_compare(next->first, behind) == 0;
}

static size_t
ranges_merge(struct range6 *ranges, size_t n)
{
	size_t kept = 0;

	qsort(ranges, n, sizeof(*ranges), range_compare);
	for (size_t i = 0; i < n; i++) {
		struct range6 *last = kept > 0 ? &ranges[kept - 1] : NULL;

		if (last == NULL || !range_touches(last, &ranges[i]))
			ranges[kept++] = ranges[i];
		else if (wide_compare(ranges[i].last, last->last) > 0)
			last->last = ranges[i].last;
	}
	return kept;
}

/* The part of the ranges that is IPv4. */
static void
take_v4(struct cidr_set *set)
{
	set->first4 = memory_take(set->n6, sizeof(*set->first4));
	set->last4 = memory_take(set->n6, sizeof(*set->last4));
	for (size_t i = 0; i < set->n6; i++) {
		struct wide first = set->ranges6[i].first;
		struct wide last = set->ranges6[i].last;

		if (wide_compare(last, MAPPED) < 0 ||
		    wide_compare(first, MAPPED_LAST) > 0)
			continue;
		set->first4[set->n4] =
		    wide_compare(first, MAPPED) < 0 ? 0 : (uint32_t)first.low;
		set->last4[set->n4++] = wide_compare(last, MAPPED_LAST) > 0
		                            ? UINT32_MAX
		                            : (uint32_t)last.low;
	}
}

static void
index_v4(struct cidr_set *set)
{
	size_t at = 0;

	if (set->n4 <= INDEX_FROM)
		return;
	set->index4 = memory_take(INDEX_SIZE + 1, sizeof(*set->index4));
	for (uint32_t i = 0; i < INDEX_SIZE; i++) {
		while (at < set->n4 && set->last4[at] < i << 16)
			at++;
		set->index4[i] = (uint32_t)at;
	}
	set->index4[INDEX_SIZE] = (uint32_t)set->n4;
}

struct cidr_set *
cidr_set_new(const struct cidrs *cidrs)
{
	struct cidr_set *set = memory_take(1, sizeof(*set));

	set->ranges6 = memory_take(cidrs->n, sizeof(*set->ranges6));
	for (size_t i = 0; i < cidrs->n; i++)
		set->ranges6[i] = range_of(&cidrs->at[i]);
	set->n6 = ranges_merge(set->ranges6, cidrs->n);
	take_v4(set);
	index_v4(set);
	return set;
}

void
cidr_set_free(struct cidr_set **set)
{
	struct cidr_set *dead = *set;

	*set = NULL;
	if (dead == NULL)
		return;
	free(dead->ranges6);
	free(dead->first4);
	free(dead->last4);
	free(dead->index4);
	free(dead);
}

/* ---- asking ---- */

static bool
holds_v4(const struct cidr_set *set, uint32_t address)
{
	size_t low = 0, high = set->n4;

	if (set->index4 != NULL) {
		low = set->index4[address >> 16];
		/* The one that ends behind these 16 bits may begin in them. */
		high = set->index4[(address >> 16) + 1] + 1u;
		high = high < set->n4 ? high : set->n4;
	}
	/* The first that ends at the address or behind it. */
	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (set->last4[middle] < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low < set->n4 && set->first4[low] <= address &&
	       address <= set->last4[low];
}

static bool
holds_v6(const struct cidr_set *set, struct wide address)
{
	size_t low = 0, high = set->n6;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (wide_compare(set->ranges6[middle].last, address) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low < set->n6 &&
	       wide_compare(set->ranges6[low].first, address) <= 0;
}

bool
cidr_set_holds(const struct cidr_set *set, const struct sockaddr *sa)
{
	if (sa == NULL)
		return false;
	if (sa->sa_family == AF_INET)
		return holds_v4(set,
		    ntohl(((const struct sockaddr_in *)sa)->sin_addr.s_addr));
	return sa->sa_family == AF_INET6 &&
	       holds_v6(set,
	           wide_of(
	               ((const struct sockaddr_in6 *)sa)->sin6_addr.s6_addr));
}

size_t
cidr_set_size(const struct cidr_set *set)
{
	return set->n6;
}
