/* SRV records out of messages that may say anything. */
/* cmocka.h wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include <ares.h>
#include <stdlib.h>

#include "proxy/control/dns_read.h"

enum { SRV = 33, CNAME = 5, A = 1 };

struct text {
	uint8_t bytes[65535];
	size_t len;
};

static void
put(struct text *text, uint64_t value, int bytes)
{
	assert_true(text->len + (size_t)bytes <= sizeof(text->bytes));
	while (bytes-- > 0)
		text->bytes[text->len++] = (uint8_t)(value >> 8 * bytes);
}

static void
put_name(struct text *text, const char *name)
{
	while (*name) {
		size_t label = strcspn(name, ".");

		put(text, (unsigned)label, 1);
		memcpy(text->bytes + text->len, name, label);
		text->len += label;
		name += label + (name[label] == '.');
	}
	put(text, 0, 1);
}

/* As the question for _h._t.s was sent back. */
static struct text *
message(void)
{
	struct text *text = calloc(1, sizeof(*text));

	assert_non_null(text);
	put(text, 0x00078180, 4);
	put(text, 1, 2);
	put(text, 0, 2);
	put(text, 0, 4);
	put_name(text, "_h._t.s");
	put(text, SRV << 16 | 1, 4);
	return text;
}

static void
put_head(struct text *text, const char *owner, unsigned type, unsigned ttl)
{
	unsigned n = (unsigned)text->bytes[6] << 8 | text->bytes[7];

	text->bytes[6] = (uint8_t)((n + 1) >> 8);
	text->bytes[7] = (uint8_t)(n + 1);
	put_name(text, owner);
	put(text, type << 16 | 1, 4);
	put(text, ttl, 4);
	put(text, 0, 2);
}

static void
close_record(struct text *text, size_t data)
{
	size_t len = text->len - data;

	text->bytes[data - 2] = (uint8_t)(len >> 8);
	text->bytes[data - 1] = (uint8_t)len;
}

static void
put_srv(struct text *text, const char *owner, unsigned ttl, unsigned priority,
    unsigned weight, unsigned port, const char *target)
{
	size_t data;

	put_head(text, owner, SRV, ttl);
	data = text->len;
	put(text, priority, 2);
	put(text, weight, 2);
	put(text, port, 2);
	put_name(text, target);
	close_record(text, data);
}

static void
put_alias(
    struct text *text, const char *owner, unsigned ttl, const char *target)
{
	size_t data;

	put_head(text, owner, CNAME, ttl);
	data = text->len;
	put_name(text, target);
	close_record(text, data);
}

/* In memory that ends with its last byte. */
static int
read_it(struct text **text, struct dns_service *out)
{
	uint8_t *copy = malloc((*text)->len);
	int status;

	assert_non_null(copy);
	memcpy(copy, (*text)->bytes, (*text)->len);
	status = dns_read_service(copy, (*text)->len, "_h._t.S.", out);
	free(copy);
	free(*text);
	*text = NULL;
	return status;
}

static void
test_dns_read__records_come_by_priority_with_the_least_ttl(void **state)
{
	struct text *text = message();
	struct dns_service service;

	(void)state;
	put_srv(text, "_H._t.s", 60, 20, 0, 81, "b.s");
	put_srv(text, "_h._t.s", 30, 10, 7, 80, "B.s");
	put_srv(text, "_h._t.s", 90, 10, 7, 80, "a.s");
	put_srv(text, "_h._t.s", 90, 10, 7, 80, "a.s");
	put_srv(text, "other.s", 1, 1, 1, 1, "c.s");
	assert_int_equal(read_it(&text, &service), ARES_SUCCESS);
	assert_int_equal(service.n, 3);
	assert_int_equal(service.ttl, 30 * NSEC_PER_SEC);
	assert_string_equal(service.at[0].host, "a.s");
	assert_string_equal(service.at[1].host, "b.s");
	assert_int_equal(service.at[1].weight, 7);
	assert_int_equal(service.at[2].priority, 20);
	assert_int_equal(service.at[2].port, 81);
	assert_false(service.is_denied);
	dns_service_release(&service);
}

static void
test_dns_read__an_alias_is_followed_and_its_ttl_counts(void **state)
{
	struct text *text = message();
	struct dns_service service;

	(void)state;
	put_srv(text, "two.s", 60, 0, 0, 80, "a.s");
	put_alias(text, "one.s", 5, "two.s");
	put_alias(text, "_h._t.s", 50, "one.s");
	assert_int_equal(read_it(&text, &service), ARES_SUCCESS);
	assert_int_equal(service.n, 1);
	assert_int_equal(service.ttl, 5 * NSEC_PER_SEC);
	dns_service_release(&service);
}

static void
test_dns_read__aliases_in_a_circle_are_an_error(void **state)
{
	struct text *text = message();
	struct dns_service service;

	(void)state;
	put_alias(text, "_h._t.s", 5, "two.s");
	put_alias(text, "two.s", 5, "_h._t.s");
	put_srv(text, "_h._t.s", 60, 0, 0, 80, "a.s");
	assert_int_equal(read_it(&text, &service), ARES_EBADRESP);
	assert_null(service.at);
}

static void
test_dns_read__the_root_alone_denies_the_service(void **state)
{
	struct text *text = message();
	struct dns_service service;

	(void)state;
	put_srv(text, "_h._t.s", 60, 0, 0, 0, "");
	assert_int_equal(read_it(&text, &service), ARES_SUCCESS);
	assert_true(service.is_denied);
	assert_int_equal(service.n, 0);
	dns_service_release(&service);
	/* Beside others it says nothing. */
	text = message();
	put_srv(text, "_h._t.s", 60, 0, 0, 0, "");
	put_srv(text, "_h._t.s", 60, 0, 0, 80, "a.s");
	assert_int_equal(read_it(&text, &service), ARES_SUCCESS);
	assert_false(service.is_denied);
	assert_int_equal(service.n, 1);
	dns_service_release(&service);
}

static void
test_dns_read__targets_that_nobody_can_reach_are_left_out(void **state)
{
	struct text *text = message();
	struct dns_service service;

	(void)state;
	put_srv(text, "_h._t.s", 60, 0, 0, 0, "a.s");
	put_srv(text, "_h._t.s", 60, 0, 0, 80, "a b.s");
	put_srv(text, "_h._t.s", 60, 0, 0, 80, "a\n.s");
	assert_int_equal(read_it(&text, &service), ARES_ENODATA);
	assert_false(service.is_denied);
	dns_service_release(&service);
}

static void
test_dns_read__of_a_thousand_records_the_first_priorities_stay(void **state)
{
	struct text *text = message();
	struct dns_service service;

	(void)state;
	for (unsigned i = 1000; i > 0; i--)
		put_srv(text, "_h._t.s", 60, i, 0, i, "a.s");
	assert_int_equal(read_it(&text, &service), ARES_SUCCESS);
	assert_int_equal(service.n, DNS_TARGETS_MAX);
	assert_int_equal(service.n_told, 1000);
	for (unsigned i = 0; i < service.n; i++)
		assert_int_equal(service.at[i].priority, i + 1);
	dns_service_release(&service);
}

static void
test_dns_read__every_beginning_of_a_message_is_an_error(void **state)
{
	struct text *text = message();
	struct dns_service service;
	size_t len;

	(void)state;
	put_alias(text, "_h._t.s", 50, "one.s");
	put_srv(text, "one.s", 60, 0, 0, 80, "a.s");
	len = text->len;
	free(text);
	for (size_t cut = 1; cut <= len; cut++) {
		text = message();
		put_alias(text, "_h._t.s", 50, "one.s");
		put_srv(text, "one.s", 60, 0, 0, 80, "a.s");
		text->len = len - cut;
		if (text->len == 0)
			text->len = 1;
		assert_int_equal(read_it(&text, &service), ARES_EBADRESP);
		assert_null(service.at);
	}
}

static void
test_dns_read__a_name_that_points_at_itself_is_an_error(void **state)
{
	struct text *text = message();
	struct dns_service service;

	(void)state;
	put_head(text, "_h._t.s", SRV, 60);
	put(text, 0, 6);
	put(text, 0xc000 | (unsigned)text->len, 2);
	close_record(text, text->len - 8);
	assert_int_equal(read_it(&text, &service), ARES_ENODATA);
	dns_service_release(&service);
	text = message();
	put(text, 0xc000 | (unsigned)text->len, 2);
	put(text, SRV << 16 | 1, 4);
	text->bytes[7] = 1;
	assert_int_equal(read_it(&text, &service), ARES_EBADRESP);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_dns_read__records_come_by_priority_with_the_least_ttl),
	    cmocka_unit_test(
	        test_dns_read__an_alias_is_followed_and_its_ttl_counts),
	    cmocka_unit_test(test_dns_read__aliases_in_a_circle_are_an_error),
	    cmocka_unit_test(test_dns_read__the_root_alone_denies_the_service),
	    cmocka_unit_test(
	        test_dns_read__targets_that_nobody_can_reach_are_left_out),
	    cmocka_unit_test(
	        test_dns_read__of_a_thousand_records_the_first_priorities_stay),
	    cmocka_unit_test(
	        test_dns_read__every_beginning_of_a_message_is_an_error),
	    cmocka_unit_test(
	        test_dns_read__a_name_that_points_at_itself_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
