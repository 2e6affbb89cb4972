/* WebSocket's handshake: the digest of RFC 6455 and keys that are keys. */
/* cmocka.h wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "proxy/websocket.h"

static bool
is_base64(const char *text, size_t len, size_t padding)
{
	for (size_t i = 0; i < len - padding; i++)
		if (!strchr(
		        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
		        "0123456789+/",
		        text[i]))
			return false;
	for (size_t i = len - padding; i < len; i++)
		if (text[i] != '=')
			return false;
	return true;
}

static void
test_websocket__accept_is_that_of_RFC_6455(void **state)
{
	char out[WEBSOCKET_ACCEPT];

	(void)state;
	websocket_accept(SPAN("dGhlIHNhbXBsZSBub25jZQ=="), out);
	assert_memory_equal(
	    out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", WEBSOCKET_ACCEPT);
	websocket_accept(SPAN(""), out);
	assert_memory_equal(
	    out, "Kfh9QIsMVZcl6xEPYxPHzW8SZ8w=", WEBSOCKET_ACCEPT);
}

static void
test_websocket__accept_of_a_key_of_any_length_stays_within_its_bounds(
    void **state)
{
	char key[300], out[WEBSOCKET_ACCEPT + 1];

	(void)state;
	memset(key, 'k', sizeof(key));
	for (size_t len = 0; len <= sizeof(key); len++) {
		out[WEBSOCKET_ACCEPT] = '!';
		websocket_accept((struct span){key, len}, out);
		assert_true(is_base64(out, WEBSOCKET_ACCEPT, 1));
		assert_int_equal(out[WEBSOCKET_ACCEPT], '!');
	}
}

static void
test_websocket__keys_are_16_bytes_in_base64_and_differ(void **state)
{
	static const uint8_t seed[32] = {42};
	struct rng rng;
	char keys[50][WEBSOCKET_KEY];

	(void)state;
	rng_seed(&rng, seed);
	for (size_t i = 0; i < 50; i++) {
		websocket_key(&rng, keys[i]);
		assert_true(is_base64(keys[i], WEBSOCKET_KEY, 2));
		for (size_t j = 0; j < i; j++)
			assert_memory_not_equal(
			    keys[i], keys[j], WEBSOCKET_KEY);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_websocket__accept_is_that_of_RFC_6455),
	    cmocka_unit_test(
	        test_websocket__accept_of_a_key_of_any_length_stays_within_its_bounds),
	    cmocka_unit_test(
	        test_websocket__keys_are_16_bytes_in_base64_and_differ),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
