/* Addresses and ranges of addresses; methods. */
#include "cmock.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

static void
test_address__each_kind_is_read(void **state)
{
	struct address address;
	struct err err;

	(void)state;
	assert_true(address_parse(SPAN("10.0.0.1:80"), &address, &err));
	assert_int_equal(address.kind, ADDRESS_IP);
	assert_int_equal(address.port, 80);
	assert_string_equal(address.host, "10.0.0.1");
	assert_string_equal(address.text, "10.0.0.1:80");
	assert_int_equal(address.sa.ss_family, AF_INET);
	assert_int_equal(address.sa_len, sizeof(struct sockaddr_in));
	address_release(&address);

	assert_true(address_parse(SPAN("[::1]:8080"), &address, &err));
	assert_int_equal(address.kind, ADDRESS_IP);
	assert_string_equal(address.host, "::1");
	assert_int_equal(address.sa.ss_family, AF_INET6);
	assert_int_equal(
	    ntohs(((struct sockaddr_in6 *)&address.sa)->sin6_port), 8080);
	address_release(&address);

	assert_true(address_parse(SPAN("unix:/run/a.sock"), &address, &err));
	assert_int_equal(address.kind, ADDRESS_UNIX);
	assert_int_equal(address.port, 0);
	assert_string_equal(
	    ((struct sockaddr_un *)&address.sa)->sun_path, "/run/a.sock");
	address_release(&address);

	assert_true(address_parse(SPAN("app_1.internal:80"), &address, &err));
	assert_int_equal(address.kind, ADDRESS_NAME);
	assert_int_equal(address.sa_len, 0);
	address_release(&address);
	assert_null(address.text);
}

static void
test_address__what_is_none_is_refused(void **state)
{
	static const char *const rows[] = {"", ":80", "10.0.0.1",
	    "10.0.0.1:", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1:8x",
	    "10.0.0.256:80", "::1:80", "[::1]", "[::1]80", "[::1",
	    "[10.0.0.1]:80", "[]:80", "unix:", "a..b:80", "a b:80", "-:080",
	    "http://a:80", "1:80"};
	struct address address;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (address_parse(span_of(rows[i]), &address, &err))
			fail_msg("\"%s\" was taken", rows[i]);
		assert_null(address.text);
		assert_null(address.host);
	}
	assert_false(
	    address_parse((struct span){"unix:/a\0b", 9}, &address, &err));
	assert_false(address_parse(SPAN("::1:80"), &address, &err));
	assert_string_equal(
	    err.text, "an IPv6 address stands in brackets: \"[::1]:80\"");
}

static void
test_address__a_unix_path_fits_or_is_refused(void **state)
{
	char text[5 + 108 + 1] = "unix:";
	struct address address;
	struct err err;

	(void)state;
	memset(text + 5, 'a', 107);
	assert_true(address_parse(span_of(text), &address, &err));
	address_release(&address);
	memset(text + 5, 'a', 108);
	assert_false(address_parse(span_of(text), &address, &err));
}

static bool
holds(const char *range, const char *host)
{
	struct sockaddr_storage sa = {0};
	struct cidr cidr;
	struct cidrs cidrs = {&cidr, 1};

	assert_true(cidr_parse(span_of(range), &cidr));
	if (strchr(host, ':')) {
		sa.ss_family = AF_INET6;
		inet_pton(
		    AF_INET6, host, &((struct sockaddr_in6 *)&sa)->sin6_addr);
	} else {
		sa.ss_family = AF_INET;
		inet_pton(
		    AF_INET, host, &((struct sockaddr_in *)&sa)->sin_addr);
	}
	return cidrs_hold(&cidrs, (struct sockaddr *)&sa);
}

static void
test_cidr__a_range_holds_what_is_in_it(void **state)
{
	(void)state;
	assert_true(holds("10.0.0.0/8", "10.255.255.255"));
	assert_false(holds("10.0.0.0/8", "11.0.0.0"));
	assert_true(holds("10.0.0.0/9", "10.127.0.1"));
	assert_false(holds("10.0.0.0/9", "10.128.0.1"));
	assert_true(holds("10.0.0.1", "10.0.0.1"));
	assert_false(holds("10.0.0.1", "10.0.0.2"));
	assert_true(holds("0.0.0.0/0", "1.2.3.4"));
	assert_false(holds("0.0.0.0/0", "2001:db8::1"));
	assert_true(holds("::/0", "2001:db8::1"));
	assert_true(holds("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(holds("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(holds("10.0.0.0/8", "::ffff:10.1.2.3"));
}

static void
test_cidr__a_unix_peer_is_in_no_range(void **state)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	struct cidr cidr;
	struct cidrs cidrs = {&cidr, 1};

	(void)state;
	assert_true(cidr_parse(SPAN("::/0"), &cidr));
	assert_false(cidrs_hold(&cidrs, (struct sockaddr *)&sun));
}

static void
test_cidr__what_is_none_is_refused(void **state)
{
	static const char *const rows[] = {"", "/8", "10.0.0.0/", "10.0.0.0/33",
	    "10.0.0.0/-1", "10.0.0.0/08", "10.1.2.3/8", "10.0.0.0/8/8",
	    "::/129", "2001:db8::1/32", "10.0.0", "localhost", "10.0.0.0 /8"};
	struct cidr cidr;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (cidr_parse(span_of(rows[i]), &cidr))
			fail_msg("\"%s\" was taken", rows[i]);
	}
}

static void
test_address__a_name_server_has_port_53(void **state)
{
	static const char *const pairs[][2] = {{"10.0.0.2", "10.0.0.2:53"},
	    {"::1", "[::1]:53"}, {"[2001:db8::1]", "[2001:db8::1]:53"},
	    {"10.0.0.2:5353", "10.0.0.2:5353"}, {"[::1]:54", "[::1]:54"}};
	static const char *const none[] = {
	    "", "[10.0.0.2]", "10.0.0.0/8", "::/0", "10.0.0", "name"};
	struct address address;
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++) {
		assert_true(
		    address_parse_dns(span_of(pairs[i][0]), &address, &err));
		assert_string_equal(address.text, pairs[i][1]);
		assert_int_equal(address.kind, ADDRESS_IP);
		address_release(&address);
	}
	for (size_t i = 0; i < sizeof(none) / sizeof(*none); i++)
		assert_false(
		    address_parse_dns(span_of(none[i]), &address, &err));
}

static void
test_method__names_go_both_ways(void **state)
{
	(void)state;
	for (int i = 0; i < METHOD_OTHER; i++) {
		enum http_method method = (enum http_method)i;

		assert_int_equal(
		    method_of(span_of(method_name(method))), method);
	}
	assert_int_equal(method_of(SPAN("get")), METHOD_OTHER);
	assert_int_equal(method_of(SPAN("PROPFIND")), METHOD_OTHER);
	assert_int_equal(method_of(SPAN("OTHER")), METHOD_OTHER);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_address__each_kind_is_read),
	    cmocka_unit_test(test_address__what_is_none_is_refused),
	    cmocka_unit_test(test_address__a_unix_path_fits_or_is_refused),
	    cmocka_unit_test(test_cidr__a_range_holds_what_is_in_it),
	    cmocka_unit_test(test_cidr__a_unix_peer_is_in_no_range),
	    cmocka_unit_test(test_cidr__what_is_none_is_refused),
	    cmocka_unit_test(test_address__a_name_server_has_port_53),
	    cmocka_unit_test(test_method__names_go_both_ways),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
