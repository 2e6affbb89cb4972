/*
 * PROXY protocol headers: what is believed, what is refused, what weir says.
 */
/* cmocka wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include <string.h>

#include "config/config.h"
#include "proxy/proxy_header.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2(bytes) SIGNATURE bytes, sizeof(SIGNATURE bytes) - 1
#define V1(text)  "PROXY " text "\r\n", sizeof("PROXY " text "\r\n") - 1

enum { ANY = PROXY_V1 | PROXY_V2 };

static struct proxy_header
parsed(const char *bytes, size_t len)
{
	struct proxy_header header;

	assert_int_equal(
	    proxy_header_parse(bytes, len, ANY, &header), PROXY_HEADER_DONE);
	assert_int_equal(header.len, len);
	return header;
}

static void
expect_client(const struct proxy_header *header, const char *text,
    uint16_t port, const char *to)
{
	char client[INET6_ADDRSTRLEN], target[INET6_ADDRSTRLEN];

	assert_true(header->has_addresses);
	peer_print(&header->source, client);
	peer_print(&header->destination, target);
	assert_string_equal(client, text);
	assert_string_equal(target, to);
	assert_int_equal(header->source.port, port);
}

static void
test_proxy_header__both_versions_name_the_client(void **state)
{
	struct proxy_header header;

	(void)state;
	header = parsed(V1("TCP4 203.0.113.7 192.0.2.1 65535 443"));
	expect_client(&header, "203.0.113.7", 65535, "192.0.2.1");
	header = parsed(V1("TCP6 2001:db8::7 2001:db8::1 1 443"));
	expect_client(&header, "2001:db8::7", 1, "2001:db8::1");
	header = parsed(V2("\x21\x11\x00\x0c\xcb\x00\x71\x07\xc0\x00\x02\x01"
	                   "\x10\xe1\x01\xbb"));
	expect_client(&header, "203.0.113.7", 4321, "192.0.2.1");
	assert_int_equal(header.destination.port, 443);
}

static void
test_proxy_header__nothing_is_read_behind_it(void **state)
{
	static const char line[] = "PROXY UNKNOWN\r\nGET / HTTP/1.1\r\n";
	struct proxy_header header;

	(void)state;
	assert_int_equal(
	    proxy_header_parse(line, sizeof(line) - 1, ANY, &header),
	    PROXY_HEADER_DONE);
	assert_int_equal(header.len, strlen("PROXY UNKNOWN\r\n"));
	assert_false(header.has_addresses);
}

static void
test_proxy_header__a_checksum_must_fit(void **state)
{
	/* the field holds zeros while it is summed */
	char bytes[] = SIGNATURE
	    "\x21\x11\x00\x13\x7f\x00\x00\x01\x7f\x00\x00\x02\x30\x39\x00\x50"
	    "\x03\x00\x04\x00\x00\x00\x00";
	size_t len = sizeof(bytes) - 1;
	uint32_t crc = UINT32_MAX;
	struct proxy_header header;

	(void)state;
	for (size_t i = 0; i < len; i++) {
		crc ^= (uint8_t)bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (0x82f63b78u & -(crc & 1));
	}
	assert_int_equal(
	    proxy_header_parse(bytes, len, ANY, &header), PROXY_HEADER_BAD);
	assert_string_equal(header.fault, "the checksum is wrong");
	for (int i = 0; i < 4; i++)
		bytes[len - 4 + (size_t)i] = (char)(~crc >> (24 - 8 * i));
	header = parsed(bytes, len);
	expect_client(&header, "127.0.0.1", 12345, "127.0.0.2");
	bytes[20] ^= 1;
	assert_int_equal(
	    proxy_header_parse(bytes, len, ANY, &header), PROXY_HEADER_BAD);
}

static void
test_proxy_header__what_is_cut_waits_for_more(void **state)
{
	static const char text[] = "PROXY TCP4 203.0.113.7 192.0.2.1 1 2\r\n";
	struct proxy_header header;

	(void)state;
	for (size_t len = 0; len < sizeof(text) - 1; len++)
		assert_int_equal(proxy_header_parse(text, len, ANY, &header),
		    PROXY_HEADER_MORE);
}

/* The longest line there can be is taken, one byte more is not waited for. */
static void
test_proxy_header__a_line_is_at_most_107_bytes(void **state)
{
	char line[120] = "PROXY UNKNOWN ";
	struct proxy_header header;

	(void)state;
	memset(line + 14, 'x', sizeof(line) - 14);
	assert_int_equal(
	    proxy_header_parse(line, 106, ANY, &header), PROXY_HEADER_MORE);
	assert_int_equal(
	    proxy_header_parse(line, 107, ANY, &header), PROXY_HEADER_BAD);
	memcpy(line + 105, "\r\n", 2);
	assert_int_equal(
	    proxy_header_parse(line, 107, ANY, &header), PROXY_HEADER_DONE);
}

static void
test_proxy_header__only_spoken_versions_are_taken(void **state)
{
	static const char line[] = "PROXY UNKNOWN\r\n";
	struct proxy_header header;

	(void)state;
	assert_int_equal(
	    proxy_header_parse(line, 1, PROXY_V2, &header), PROXY_HEADER_BAD);
	assert_int_equal(proxy_header_parse(SIGNATURE, 12, PROXY_V1, &header),
	    PROXY_HEADER_BAD);
	assert_int_equal(
	    proxy_header_parse("GET / HTTP/1.1\r\n", 16, ANY, &header),
	    PROXY_HEADER_BAD);
}

static void
test_proxy_header__what_is_written_is_read(void **state)
{
	static const struct {
		const char *line;
		const char *again; /* version 1 */
	} rows[] = {
	    {"PROXY TCP4 203.0.113.7 192.0.2.1 1 65535\r\n", NULL},
	    {"PROXY TCP6 2001:db8::7 2001:db8::1 1 2\r\n", NULL},
	    {"PROXY TCP6 2001:db8::7 ::ffff:192.0.2.1 1 2\r\n", NULL},
	    {"PROXY TCP6 ::ffff:1.2.3.4 ::ffff:192.0.2.1 1 2\r\n",
	        "PROXY TCP4 1.2.3.4 192.0.2.1 1 2\r\n"},
	    {"PROXY UNKNOWN\r\n", NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *wanted =
		    rows[i].again ? rows[i].again : rows[i].line;
		struct proxy_header header =
		    parsed(rows[i].line, strlen(rows[i].line));
		char out[PROXY_HEADER_OWN];
		size_t len = proxy_header_write(
		    1, &header.source, &header.destination, false, out);

		assert_int_equal(len, strlen(wanted));
		assert_memory_equal(out, wanted, len);
		len = proxy_header_write(
		    2, &header.source, &header.destination, false, out);
		assert_int_equal(
		    parsed(out, len).has_addresses, header.has_addresses);
	}
}

static void
test_proxy_header__a_check_speaks_for_itself(void **state)
{
	char out[PROXY_HEADER_OWN];
	size_t len = proxy_header_write(2, NULL, NULL, true, out);

	(void)state;
	assert_int_equal(len, 16);
	assert_memory_equal(out, SIGNATURE "\x20\0\0\0", 16);
	assert_false(parsed(out, len).has_addresses);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_proxy_header__both_versions_name_the_client),
	    cmocka_unit_test(test_proxy_header__nothing_is_read_behind_it),
	    cmocka_unit_test(test_proxy_header__a_checksum_must_fit),
	    cmocka_unit_test(test_proxy_header__what_is_cut_waits_for_more),
	    cmocka_unit_test(test_proxy_header__a_line_is_at_most_107_bytes),
	    cmocka_unit_test(test_proxy_header__only_spoken_versions_are_taken),
	    cmocka_unit_test(test_proxy_header__what_is_written_is_read),
	    cmocka_unit_test(test_proxy_header__a_check_speaks_for_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
