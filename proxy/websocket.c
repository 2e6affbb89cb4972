/* WebSocket's handshake, see websocket.h. */
#include "proxy/websocket.h"

#include <string.h>

#include "tls/tls.h"

static void
base64(const uint8_t *bytes, size_t len, char *out)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                              "abcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < len; i += 3) {
		uint32_t three = (uint32_t)bytes[i] << 16;

		if (i + 1 < len)
			three |= (uint32_t)bytes[i + 1] << 8;
		if (i + 2 < len)
			three |= bytes[i + 2];
		*out++ = letters[three >> 18];
		*out++ = letters[three >> 12 & 63];
		*out++ = i + 1 < len ? letters[three >> 6 & 63] : '=';
		*out++ = i + 2 < len ? letters[three & 63] : '=';
	}
}

void
websocket_key(struct rng *rng, char out[WEBSOCKET_KEY])
{
	uint64_t nonce[2] = {rng_next(rng), rng_next(rng)};

	base64((const uint8_t *)nonce, sizeof(nonce), out);
}

void
websocket_accept(struct span key, char out[WEBSOCKET_ACCEPT])
{
	static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char text[64 + sizeof(magic)];
	uint8_t digest[20];

	if (key.len > 64)
		key.len = 64;
	memcpy(text, key.ptr, key.len);
	memcpy(text + key.len, magic, sizeof(magic) - 1);
	tls_sha1(text, key.len + sizeof(magic) - 1, digest);
	base64(digest, sizeof(digest), out);
}
