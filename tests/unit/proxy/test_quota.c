/* What instances tell one another of the keys of shared limits. */
/* cmocka.h wants the others before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

#include "proxy/control/quota_ear.h"
#include "proxy/control/quota_tell.h"

struct heard {
	unsigned n_owed, n_forgiven;
	uint64_t hash;
	nsec_t debt;
};

static void
owed(void *ctx, uint64_t hash, nsec_t debt)
{
	struct heard *heard = ctx;

	heard->n_owed++;
	heard->hash = hash;
	heard->debt = debt;
}

static void
forgiven(void *ctx, uint64_t hash)
{
	struct heard *heard = ctx;

	heard->n_forgiven++;
	heard->hash = hash;
}

static struct heard
hear(const char *text)
{
	struct heard heard = {0};
	struct quota_ear_hooks hooks = {
	    .ctx = &heard, .owed = owed, .forgiven = forgiven};

	quota_ear_read(text, "me", &hooks);
	return heard;
}

static void
test_quota__what_others_tell_is_heard(void **state)
{
	struct heard heard =
	    hear("you 0123456789abcdef:1000 00000000000000ff:2500");

	(void)state;
	assert_int_equal(heard.n_owed, 2);
	assert_int_equal(heard.hash, 255);
	assert_int_equal(heard.debt, 2500 * NSEC_PER_USEC);
	heard = hear("mean 0123456789abcdef:-");
	assert_int_equal(heard.n_forgiven, 1);
	assert_true(heard.hash == UINT64_C(0x0123456789abcdef));
}

static void
test_quota__what_we_told_and_what_cannot_be_read_is_skipped(void **state)
{
	static const char *const texts[] = {"", " ", "you", "you ",
	    "me 0123456789abcdef:1000",
	    "you 0123456789abcdef:", "you 0123456789abcdef",
	    "you 0123456789abcdeF:10", "you 0123456789abcdef:0",
	    "you 0123456789abcdef:-5",
	    "you 0123456789abcdef:9223372036854775807",
	    "you 0123456789abcdef:345600000001",
	    "you 0123456789abcdef:99999999999999999999999",
	    "you 0123456789abcdef 1000", "you :1000", "you 12:1000"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		struct heard heard = hear(texts[i]);

		assert_int_equal(heard.n_owed + heard.n_forgiven, 0);
	}
	/* and what comes behind it is read */
	assert_int_equal(hear("you x 0123456789abcdef:7").n_owed, 1);
}

enum { MANY = 4096 };

static size_t
count_told(uint32_t instances, size_t n, double great)
{
	double parts[MANY], sorted[MANY];
	size_t told = 0, told_great = 0, n_great = 0;
	struct telling telling;

	for (size_t i = 0; i < n; i++)
		parts[i] = i % 100 == 7 ? great : 0.01;
	memcpy(sorted, parts, sizeof(sorted));
	telling = telling_of(sorted, n, instances);
	for (size_t i = 0; i < n; i++) {
		bool takes = telling_takes(&telling, parts[i]);

		told += takes;
		n_great += i % 100 == 7;
		told_great += takes && i % 100 == 7;
	}
	if (instances > 1 && n_great <= TOLD_MIN)
		assert_int_equal(told_great, n_great);
	return told;
}

static void
test_quota__few_keys_are_told_all_and_many_only_the_greatest(void **state)
{
	struct telling one = {.least = 0.01, .n_least = 1};

	(void)state;
	assert_int_equal(count_told(1, 10, 0.5), 0);
	assert_int_equal(count_told(3, 10, 0.5), 10);
	assert_int_equal(count_told(3, 341, 0.5), 341);
	assert_int_equal(count_told(3, 3000, 0.5), TOLD_MAX / 3);
	/* all alike: still no more than that */
	assert_int_equal(count_told(2, MANY, 0.01), TOLD_MAX / 2);
	assert_int_equal(count_told(1000, 3000, 0.5), TOLD_MIN);
	/* a question is not told */
	assert_false(telling_takes(&one, 0));
	assert_true(telling_takes(&one, 0.01));
	assert_false(telling_takes(&one, 0.01));
	assert_true(telling_takes(&one, 0.5));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_quota__what_others_tell_is_heard),
	    cmocka_unit_test(
	        test_quota__what_we_told_and_what_cannot_be_read_is_skipped),
	    cmocka_unit_test(
	        test_quota__few_keys_are_told_all_and_many_only_the_greatest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
