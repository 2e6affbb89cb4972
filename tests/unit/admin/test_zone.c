/* Offsets of time zones: rules of footers, and files made by hand. Expected
 * values are those of Python's zoneinfo. */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#include "admin/zone.h"

#define PARIS  "CET-1CEST,M3.5.0,M10.5.0/3"
#define SYDNEY "AEST-10AEDT,M10.1.0,M4.1.0/3"

static void
expect(const char *rule, int64_t wall, int64_t offset)
{
	int64_t got;

	assert_true(zone_rule_offset(rule, wall, &got));
	assert_int_equal(got, offset);
}

static void
test_zone__rules_change_at_the_right_second(void **state)
{
	(void)state;
	expect(PARIS, 1774745999, 3600);
	expect(PARIS, 1774746000, 7200);
	expect(PARIS, 1792889999, 7200);
	expect(PARIS, 1792890000, 3600);
	expect(PARIS, 2855865600, 7200);
}

static void
test_zone__summer_may_be_in_january(void **state)
{
	(void)state;
	expect(SYDNEY, 2840140800, 39600);
	expect(SYDNEY, 2855865600, 36000);
	expect("<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 2840140800, 39600);
	expect("NST3:30NDT,M3.2.0,M11.1.0", 2887401600, -9000);
	expect(
	    "<+1245>-12:45<+1345>,M9.5.0/2:45,M4.1.0/3:45", 2466590400, 49500);
}

static void
test_zone__rules_without_summer(void **state)
{
	(void)state;
	expect("IST-5:30", 2840140800, 19800);
	expect("<-03>3", 0, -10800);
	expect("XXX-1YYY,J60/0,J61/0", 1709247599, 3600); /* 2024-02-29 */
	expect("XXX-1YYY,J60/0,J61/0", 1709247600, 7200); /* 2024-03-01 */
}

static void
test_zone__what_is_no_rule_is_refused(void **state)
{
	static const char *const bad[] = {"", "C", "CET", "CET-1CEST",
	    "CET-1CEST,M3.5.0", "CET-1CEST,M13.5.0,M10.5.0",
	    "CET-1CEST,M3.6.0,M10.5.0", "CET-1CEST,M3.5.0,M10.5.0/3 ", "<CET",
	    "CET-1CEST,M3.5,M10.5.0"};
	int64_t got;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_false(zone_rule_offset(bad[i], 1774745999, &got));
}

/* A version 2 file with one transition, at 1000: from +1 h to +2 h. */
static size_t
make_file(uint8_t *at, const char *footer)
{
	static const uint8_t counts[24] = {
	    [15] = 1, [19] = 2, [23] = 4}; /* times, kinds, characters */
	static const uint8_t kinds[12] = {0, 0, 0x0e, 0x10, 0, 0, /* 3600 */
	    0, 0, 0x1c, 0x20, 1, 0};                              /* 7200 */
	uint8_t *p = at;

	for (int width = 4; width <= 8; width += 4) {
		memset(p, 0, 44);
		memcpy(p, "TZif2", 5);
		memcpy(p + 20, counts, 24);
		p += 44;
		memset(p, 0, (size_t)width);
		p[width - 2] = 0x03;
		p[width - 1] = 0xe8;
		p += width;
		*p++ = 1;
		memcpy(p, kinds, 12);
		p += 12;
		memcpy(p, "A\0B", 4);
		p += 4;
	}
	*p++ = '\n';
	memcpy(p, footer, strlen(footer));
	p += strlen(footer);
	*p++ = '\n';
	return (size_t)(p - at);
}

static void
test_zone__files_hold_transitions_and_then_the_rule(void **state)
{
	uint8_t bytes[256];
	int64_t got;
	size_t len = make_file(bytes, "IST-5:30");

	(void)state;
	assert_true(zone_bytes_offset(bytes, len, 999, &got));
	assert_int_equal(got, 3600);
	assert_true(zone_bytes_offset(bytes, len, 1000, &got));
	assert_int_equal(got, 19800);
	len = make_file(bytes, "");
	assert_true(zone_bytes_offset(bytes, len, 1000, &got));
	assert_int_equal(got, 7200);
}

static void
test_zone__a_cut_file_is_refused_and_never_read_past(void **state)
{
	uint8_t bytes[256];
	int64_t got;
	size_t len = make_file(bytes, "IST-5:30");
	uint8_t *exact;

	(void)state;
	for (size_t cut = 0; cut + 11 < len; cut++) {
		exact = malloc(cut + 1); /* the sanitizer sees a byte too far */
		memcpy(exact, bytes, cut);
		assert_false(zone_bytes_offset(exact, cut, 999, &got));
		free(exact);
	}
}

static void
test_zone__names(void **state)
{
	struct err err;
	int64_t got = 7;

	(void)state;
	assert_true(zone_offset("UTC", 0, &got, &err));
	assert_int_equal(got, 0);
	assert_false(zone_offset("../../etc/passwd", 0, &got, &err));
	assert_false(zone_offset("/etc/localtime", 0, &got, &err));
	assert_false(zone_offset("Europe/Atlantis", 0, &got, &err));
	assert_non_null(strstr(err.text, "tzdata"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_zone__rules_change_at_the_right_second),
	    cmocka_unit_test(test_zone__summer_may_be_in_january),
	    cmocka_unit_test(test_zone__rules_without_summer),
	    cmocka_unit_test(test_zone__what_is_no_rule_is_refused),
	    cmocka_unit_test(
	        test_zone__files_hold_transitions_and_then_the_rule),
	    cmocka_unit_test(
	        test_zone__a_cut_file_is_refused_and_never_read_past),
	    cmocka_unit_test(test_zone__names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
