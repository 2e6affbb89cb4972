/* Known answers (FIPS 180-4, RFC 4231). */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <stdio.h>
#include <string.h>

#include "tls/tls.h"

static void
assert_hex(const uint8_t *bytes, const char *expected)
{
	char hex[65];

	for (int i = 0; i < 32; i++)
		snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
	assert_string_equal(hex, expected);
}

static void
test_digest__sha256_known_answers(void **state)
{
	uint8_t out[32];

	(void)state;
	tls_sha256("abc", 3, out);
	assert_hex(out,
	    "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
	tls_sha256("", 0, out);
	assert_hex(out,
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
	tls_sha256(NULL, 0, out);
	assert_hex(out,
	    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

static void
test_digest__hmac_known_answers(void **state)
{
	char key[131];
	uint8_t out[32];

	(void)state;
	tls_hmac_sha256(
	    SPAN("Jefe"), SPAN("what do ya want for nothing?"), out);
	assert_hex(out,
	    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	tls_hmac_sha256((struct span){key, sizeof(key)},
	    SPAN("Test Using Larger Than Block-Size Key - Hash Key First"),
	    out);
	assert_hex(out,
	    "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
	tls_hmac_sha256(SPAN(""), (struct span){NULL, 0}, out);
	assert_hex(out,
	    "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

static void
test_digest__equal_compares_all_bytes(void **state)
{
	(void)state;
	assert_true(tls_equal("secret", "secret", 6));
	assert_false(tls_equal("secret", "secreT", 6));
	assert_false(tls_equal("Secret", "secret", 6));
	assert_true(tls_equal("a", "b", 0));
}

static void
test_digest__random_differs(void **state)
{
	uint8_t a[32] = {0}, b[32] = {0};

	(void)state;
	assert_true(tls_random(a, sizeof(a)));
	assert_true(tls_random(b, sizeof(b)));
	assert_memory_not_equal(a, b, sizeof(a));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_digest__sha256_known_answers),
	    cmocka_unit_test(test_digest__hmac_known_answers),
	    cmocka_unit_test(test_digest__equal_compares_all_bytes),
	    cmocka_unit_test(test_digest__random_differs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
