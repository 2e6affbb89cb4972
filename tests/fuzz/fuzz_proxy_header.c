/*
 * PROXY protocol headers: every beginning of a header asks for more until it
 * is whole, nothing is read behind it, and what was believed is what weir
 * would say itself.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "proxy/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In memory that ends with its last byte. */
static enum proxy_header_result
parse(const uint8_t *data, size_t len, unsigned versions,
    struct proxy_header *out)
{
	char *copy = malloc(len > 0 ? len : 1);
	enum proxy_header_result result;

	assert(copy != NULL);
	if (len > 0)
		memcpy(copy, data, len);
	result = proxy_header_parse(copy, len, versions, out);
	free(copy);
	return result;
}

static bool
is_same(const struct peer *a, const struct peer *b)
{
	return a->family == b->family && a->port == b->port &&
	       memcmp(a->bytes, b->bytes, sizeof(a->bytes)) == 0;
}

static void
check_said_again(const struct proxy_header *said)
{
	bool is_known = said->has_addresses && said->source.family != AF_UNIX;

	for (unsigned version = 1; version <= 2; version++) {
		struct proxy_header again;
		char header[PROXY_HEADER_OWN];
		size_t len = proxy_header_write(
		    version, &said->source, &said->destination, false, header);

		assert(len <= sizeof(header));
		assert(parse((uint8_t *)header, len, PROXY_V1 | PROXY_V2,
		           &again) == PROXY_HEADER_DONE);
		assert(again.len == len && again.version == version);
		assert(again.has_addresses == is_known);
		if (!is_known)
			continue;
		assert(is_same(&again.source, &said->source));
		assert(is_same(&again.destination, &said->destination));
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_header whole, part, alone;
	enum proxy_header_result result =
	    parse(data, size, PROXY_V1 | PROXY_V2, &whole);

	for (size_t len = 0; len <= size; len++) {
		enum proxy_header_result early =
		    parse(data, len, PROXY_V1 | PROXY_V2, &part);

		/* Once it is known what it is, more bytes change nothing. */
		if (early == PROXY_HEADER_MORE)
			assert(len < size || result == PROXY_HEADER_MORE);
		else
			assert(early == result && part.len == whole.len);
		assert(early != PROXY_HEADER_DONE || len >= part.len);
		if (len > 300) /* all has been tried but the length */
			len += 100;
	}
	if (result == PROXY_HEADER_BAD)
		assert(whole.fault != NULL);
	if (result != PROXY_HEADER_DONE)
		return 0;
	assert(whole.len <= size && whole.len <= PROXY_HEADER_MAX);
	assert(parse(data, size, whole.version == 1 ? PROXY_V1 : PROXY_V2,
	           &alone) == PROXY_HEADER_DONE);
	assert(parse(data, size, whole.version == 1 ? PROXY_V2 : PROXY_V1,
	           &alone) == PROXY_HEADER_BAD);
	check_said_again(&whole);
	return 0;
}
