/*
 * Who is known, what each role may do, and what guessing costs.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>

#include "admin/auth.h"
#include "admin/escape.h"
#include "tls/tls.h"

static char ci_word[] = "token:ci", board_word[] = "token:board";
static char ops_word[] = "uid:1000", leads_word[] = "token:leads";
static char ci_env[] = "WEIR_TEST_CI", board_env[] = "WEIR_TEST_BOARD";
static char leads_env[] = "WEIR_TEST_LEADS", short_env[] = "WEIR_TEST_SHORT";
static char short_word[] = "token:short", ou_word[] = "cert:OU=release-leads";
static char cn_word[] = "cert:CN=deploy";
static char shop[] = "shop";
static char *shop_only[] = {shop};

static struct access_rule rules[] = {
    {.kind = WHO_TOKEN,
        .who = ci_word,
        .secret = {SECRET_ENV, ci_env},
        .role = ROLE_OPERATOR,
        .splits = {shop_only, 1}},
    {.kind = WHO_TOKEN,
        .who = board_word,
        .secret = {SECRET_ENV, board_env},
        .role = ROLE_VIEWER},
    {.kind = WHO_TOKEN,
        .who = leads_word,
        .secret = {SECRET_ENV, leads_env},
        .role = ROLE_APPROVER},
    {.kind = WHO_UID, .who = ops_word, .uid = 1000, .role = ROLE_ADMIN},
    {.kind = WHO_TOKEN,
        .who = short_word,
        .secret = {SECRET_ENV, short_env},
        .role = ROLE_VIEWER},
    {.kind = WHO_CERT, .who = ou_word, .role = ROLE_APPROVER},
    {.kind = WHO_CERT, .who = cn_word, .role = ROLE_OPERATOR},
};

static int
set_up(void **state)
{
	struct admin_cfg cfg = {.access = rules, .n_access = 7};
	struct err err = {0};
	struct auth *auth;

	setenv("WEIR_TEST_CI", "0123456789abcdef-ci", 1);
	setenv("WEIR_TEST_BOARD", "0123456789abcdef-board", 1);
	setenv("WEIR_TEST_LEADS", "0123456789abcdef-leads", 1);
	setenv("WEIR_TEST_SHORT", "hunter2", 1);
	auth = auth_new(&cfg, 33, &err);
	if (!auth)
		print_error("%s\n", err.text);
	*state = auth;
	return auth ? 0 : -1;
}

static int
tear_down(void **state)
{
	auth_free((struct auth **)state);
	return 0;
}

static enum auth_result
by_token(struct auth *auth, const char *address, const char *token, nsec_t now,
    struct actor *actor)
{
	struct credentials credentials = {
	    .address = address, .token = span_of(token)};

	return auth_identify(auth, &credentials, now, actor);
}

static void
test_auth__a_token_gives_its_rule(void **state)
{
	struct actor actor;

	assert_int_equal(
	    by_token(*state, "192.0.2.1", "0123456789abcdef-ci", 0, &actor),
	    AUTH_KNOWN);
	assert_string_equal(actor.name, "token:ci");
	assert_true(actor_may(&actor, ROLE_VIEWER, NULL));
	assert_true(actor_may(&actor, ROLE_OPERATOR, "shop"));
	assert_false(actor_may(&actor, ROLE_OPERATOR, "other"));
	assert_false(actor_may(&actor, ROLE_OPERATOR, NULL));
	assert_false(actor_may(&actor, ROLE_ADMIN, "shop"));
}

static void
test_auth__roles_are_ordered_and_the_approver_stands_beside(void **state)
{
	struct actor viewer, approver;

	by_token(*state, "::1", "0123456789abcdef-board", 0, &viewer);
	by_token(*state, "::1", "0123456789abcdef-leads", 0, &approver);
	assert_true(actor_may(&viewer, ROLE_VIEWER, "shop"));
	assert_false(actor_may(&viewer, ROLE_OPERATOR, "shop"));
	assert_false(actor_may(&viewer, ROLE_APPROVER, "shop"));
	assert_true(actor_may(&approver, ROLE_APPROVER, "shop"));
	assert_true(actor_may(&approver, ROLE_VIEWER, NULL));
	assert_false(actor_may(&approver, ROLE_OPERATOR, "shop"));
}

static void
test_auth__every_near_miss_is_wrong(void **state)
{
	static const char good[] = "0123456789abcdef-ci";
	struct actor actor;
	nsec_t now = 0;

	for (size_t i = 0; i < sizeof(good) - 1; i++) {
		char token[sizeof(good)];

		snprintf(token, sizeof(token), "%s", good);
		token[i] ^= 1;
		now += NSEC_PER_SEC;
		assert_int_equal(
		    by_token(*state, "192.0.2.1", token, now, &actor),
		    AUTH_WRONG);
		token[i] = '\0'; /* a prefix */
		now += NSEC_PER_SEC;
		assert_int_not_equal(
		    by_token(*state, "192.0.2.1", token, now, &actor),
		    AUTH_KNOWN);
	}
	assert_false(actor_may(&actor, ROLE_VIEWER, NULL));
}

static void
test_auth__above_the_limit_only_what_cannot_be_guessed_opens(void **state)
{
	struct actor actor;

	for (int i = 0; i < 5; i++)
		assert_int_equal(
		    by_token(*state, "192.0.2.1", "wrong", 1, &actor),
		    AUTH_WRONG);
	assert_int_equal(
	    by_token(*state, "192.0.2.1", "wrong", 1, &actor), AUTH_LIMITED);
	/* not even the right one, or the limit would be a way to test guesses
	 */
	assert_int_equal(
	    by_token(*state, "192.0.2.1", "hunter2", 1, &actor), AUTH_LIMITED);
	/* but who has a long one is not locked out by a neighbour's guesses */
	assert_int_equal(
	    by_token(*state, "192.0.2.1", "0123456789abcdef-ci", 1, &actor),
	    AUTH_KNOWN);
	assert_int_equal(
	    by_token(*state, "192.0.2.2", "hunter2", 1, &actor), AUTH_KNOWN);
	assert_int_equal(
	    by_token(*state, "192.0.2.1", "hunter2", 2 * NSEC_PER_SEC, &actor),
	    AUTH_KNOWN);
}

static void
test_auth__an_ipv6_caller_is_its_64(void **state)
{
	struct actor actor;
	char address[64];

	for (int i = 0; i < 5; i++) {
		snprintf(address, sizeof(address), "2001:db8::%x", i);
		assert_int_equal(
		    by_token(*state, address, "wrong", 1, &actor), AUTH_WRONG);
	}
	assert_int_equal(by_token(*state, "2001:db8::ffff", "wrong", 1, &actor),
	    AUTH_LIMITED);
	assert_int_equal(
	    by_token(*state, "2001:db8:0:1::1", "wrong", 1, &actor),
	    AUTH_WRONG);
}

static void
test_auth__many_callers_do_not_free_a_limited_one(void **state)
{
	struct actor actor;
	char address[64];

	for (int i = 0; i < 5; i++)
		by_token(*state, "192.0.2.1", "wrong", 1, &actor);
	for (int i = 0; i < 5000; i++) {
		snprintf(
		    address, sizeof(address), "10.0.%d.%d", i / 250, i % 250);
		by_token(*state, address, "wrong", 1, &actor);
	}
	assert_int_equal(
	    by_token(*state, "192.0.2.1", "wrong", 1, &actor), AUTH_LIMITED);
}

static enum auth_result
by_subject(
    struct auth *auth, const struct tls_peer *subject, struct actor *actor)
{
	struct credentials credentials = {
	    .address = "192.0.2.1", .subject = subject};

	return auth_identify(auth, &credentials, 0, actor);
}

static void
test_auth__a_subject_gives_its_rules_and_its_own_name(void **state)
{
	struct tls_peer alice = {
	    .part = {{"O", "shop"}, {"OU", "release-leads"}, {"CN", "alice"}},
	    .n = 3};
	struct tls_peer deploy = {
	    .part = {{"OU", "ops"}, {"OU", "release-leads"}, {"CN", "deploy"}},
	    .n = 3};
	struct tls_peer nameless = {.part = {{"OU", "release-leads"}}, .n = 1};
	struct actor actor;

	assert_int_equal(by_subject(*state, &alice, &actor), AUTH_KNOWN);
	assert_string_equal(actor.name, "cert:CN=alice");
	assert_true(actor_may(&actor, ROLE_APPROVER, "shop"));
	assert_false(actor_may(&actor, ROLE_OPERATOR, "shop"));
	assert_int_equal(by_subject(*state, &deploy, &actor), AUTH_KNOWN);
	assert_true(actor_may(&actor, ROLE_APPROVER, "shop"));
	assert_true(actor_may(&actor, ROLE_OPERATOR, "shop"));
	assert_int_equal(by_subject(*state, &nameless, &actor), AUTH_KNOWN);
	assert_string_equal(actor.name, "cert:OU=release-leads");
}

/* 60 letters of two bytes: an actor gets into every record of what he does. */
static void
test_auth__a_long_name_is_cut_at_a_character(void **state)
{
	struct tls_peer subject = {
	    .part = {{"OU", "release-leads"}, {"CN", ""}}, .n = 2};
	struct actor actor;

	for (size_t i = 0; i < 60; i++)
		strcat(subject.part[1].value, "\xd0\xb6");
	assert_int_equal(by_subject(*state, &subject, &actor), AUTH_KNOWN);
	assert_int_equal(strlen(actor.name), strlen("cert:CN=") + 118);
	assert_true(text_is_printable(actor.name));
}

static void
test_auth__a_subject_matches_whole_and_in_its_own_field(void **state)
{
	static const struct tls_peer_part near[] = {{"CN", "release-leads"},
	    {"OU", "release-lead"}, {"OU", "release-leads "},
	    {"OU", "Release-Leads"}, {"O", "deploy"}, {"CN", "deploy2"},
	    {"CN", ""}};
	struct actor actor;

	for (size_t i = 0; i < sizeof(near) / sizeof(*near); i++) {
		struct tls_peer subject = {.part = {near[i]}, .n = 1};

		assert_int_equal(
		    by_subject(*state, &subject, &actor), AUTH_MISSING);
		assert_false(actor_may(&actor, ROLE_VIEWER, NULL));
	}
	assert_int_equal(by_subject(*state, &(struct tls_peer){.n = 0}, &actor),
	    AUTH_MISSING);
}

static void
test_auth__half_a_rule_for_certificates_is_refused(void **state)
{
	static char words[][16] = {"cert:=x", "cert:OU=", "cert:OU"};
	struct err err;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct access_rule rule = {
		    .kind = WHO_CERT, .who = words[i], .role = ROLE_VIEWER};
		struct admin_cfg cfg = {.access = &rule, .n_access = 1};

		assert_null(auth_new(&cfg, 0, &err));
		assert_non_null(strstr(err.text, words[i]));
	}
}

static void
test_auth__a_uid_rule_replaces_the_default(void **state)
{
	struct credentials root = {
	    .is_unix = true, .uid = 0, .address = "uid=0"};
	struct credentials ops = {
	    .is_unix = true, .uid = 1000, .address = "uid=1000"};
	struct actor actor;

	assert_int_equal(auth_identify(*state, &root, 0, &actor), AUTH_MISSING);
	assert_int_equal(auth_identify(*state, &ops, 0, &actor), AUTH_KNOWN);
	assert_true(actor_may(&actor, ROLE_ADMIN, NULL));
}

static void
test_auth__without_rules_root_and_weir_are_admin_on_unix_only(void **state)
{
	struct admin_cfg cfg = {0};
	struct err err;
	struct auth *auth = auth_new(&cfg, 33, &err);
	struct credentials credentials = {.address = "uid=0", .is_unix = true};
	struct actor actor;

	(void)state;
	for (uid_t uid = 0; uid < 100; uid++) {
		credentials.uid = uid;
		assert_int_equal(auth_identify(auth, &credentials, 0, &actor),
		    uid == 0 || uid == 33 ? AUTH_KNOWN : AUTH_MISSING);
	}
	credentials.is_unix = false;
	credentials.uid = 0;
	assert_int_equal(
	    auth_identify(auth, &credentials, 0, &actor), AUTH_MISSING);
	auth_free(&auth);
}

static void
test_auth__an_unreadable_secret_names_its_rule(void **state)
{
	static char missing[] = "WEIR_TEST_NOT_SET";
	struct access_rule rule = rules[0];
	struct admin_cfg cfg = {.access = &rule, .n_access = 1};
	struct err err;

	(void)state;
	rule.secret.where = missing;
	assert_null(auth_new(&cfg, 0, &err));
	assert_non_null(strstr(err.text, "token:ci"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_auth__a_token_gives_its_rule),
	    TEST(test_auth__roles_are_ordered_and_the_approver_stands_beside),
	    TEST(test_auth__every_near_miss_is_wrong),
	    TEST(test_auth__above_the_limit_only_what_cannot_be_guessed_opens),
	    TEST(test_auth__an_ipv6_caller_is_its_64),
	    TEST(test_auth__many_callers_do_not_free_a_limited_one),
	    TEST(test_auth__a_subject_gives_its_rules_and_its_own_name),
	    TEST(test_auth__a_long_name_is_cut_at_a_character),
	    TEST(test_auth__a_subject_matches_whole_and_in_its_own_field),
	    TEST(test_auth__half_a_rule_for_certificates_is_refused),
	    TEST(test_auth__a_uid_rule_replaces_the_default),
	    TEST(test_auth__without_rules_root_and_weir_are_admin_on_unix_only),
	    TEST(test_auth__an_unreadable_secret_names_its_rule),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
