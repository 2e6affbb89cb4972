/*
 * Names of fields: the hash finds each of proxy/h1/field.def and nothing else.
 */
/* cmocka wants the others before it */
/* clang-format off */
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "proxy/h1/field_table.h"

static void
test_field__every_name_is_found_in_any_case(void **state)
{
	(void)state;
	for (unsigned id = FIELD_NONE + 1; id < FIELD_COUNT; id++) {
		struct span name = field_name(id);
		char upper[FIELD_TEXT_MAX];

		assert_true(
		    name.len >= FIELD_TEXT_MIN && name.len < FIELD_TEXT_MAX);
		for (size_t i = 0; i < name.len; i++)
			upper[i] = (char)toupper((unsigned char)name.ptr[i]);
		assert_int_equal(field_of(name), id);
		assert_int_equal(field_of((struct span){upper, name.len}), id);
	}
}

/* Every row has a slot of its own: none is shadowed by another. */
static void
test_field__the_hash_has_no_collisions(void **state)
{
	unsigned used = 0;

	(void)state;
	for (unsigned slot = 0; slot < FIELD_SLOTS; slot++)
		used += field_slots[slot] != FIELD_NONE;
	assert_int_equal(used, FIELD_COUNT - 1);
	for (unsigned id = FIELD_NONE + 1; id < FIELD_COUNT; id++)
		assert_int_equal(
		    field_candidate(field_rows[id].text, field_rows[id].len),
		    id);
}

static void
test_field__near_misses_are_opaque(void **state)
{
	(void)state;
	for (unsigned id = FIELD_NONE + 1; id < FIELD_COUNT; id++) {
		struct span name = field_name(id);
		char other[FIELD_TEXT_MAX + 1];

		assert_int_equal(
		    field_of((struct span){name.ptr, name.len - 1}),
		    FIELD_NONE);
		memcpy(other, name.ptr, name.len);
		other[name.len] = 's';
		assert_int_equal(
		    field_of((struct span){other, name.len + 1}), FIELD_NONE);
		for (size_t i = 0; i < name.len; i++) {
			other[i] ^= 0x40; /* 'a' to '!', '-' to 'm' */
			assert_int_equal(
			    field_of((struct span){other, name.len}),
			    FIELD_NONE);
			other[i] ^= 0x40;
		}
	}
	assert_int_equal(field_of(SPAN("")), FIELD_NONE);
	assert_int_equal(field_of(SPAN("t")), FIELD_NONE);
	assert_int_equal(field_of((struct span){NULL, 0}), FIELD_NONE);
	assert_int_equal(
	    field_of(SPAN("x-a-name-of-more-than-thirty-two-characters")),
	    FIELD_NONE);
}

static void
test_field__underscores_alias_identity_and_framing_alone(void **state)
{
	(void)state;
	for (unsigned id = FIELD_NONE + 1; id < FIELD_COUNT; id++) {
		struct span name = field_name(id);
		enum field_class class = field_class(id);
		bool takes = class == FIELD_CLASS_FRAMING ||
		             class == FIELD_CLASS_IDENTITY,
		     is_alias;
		char other[FIELD_TEXT_MAX];

		for (size_t i = 0; i < name.len; i++)
			other[i] = name.ptr[i] == '-' ? '_' : name.ptr[i];
		if (memchr(other, '_', name.len) == NULL)
			continue;
		assert_int_equal(field_of((struct span){other, name.len}),
		    takes ? id : FIELD_NONE);
		field_find((struct span){other, name.len}, &is_alias);
		assert_true(is_alias || !takes);
		field_find(name, &is_alias);
		assert_false(is_alias);
	}
	assert_int_equal(
	    field_of(SPAN("X_Forwarded-For")), FIELD_X_FORWARDED_FOR);
	assert_int_equal(
	    field_of(SPAN("CONTENT_LENGTH")), FIELD_CONTENT_LENGTH);
}

static void
test_field__classes_are_those_of_the_table(void **state)
{
	(void)state;
	assert_int_equal(field_class(FIELD_NONE), FIELD_CLASS_PLAIN);
	assert_int_equal(field_class(FIELD_HOST), FIELD_CLASS_FRAMING);
	assert_int_equal(field_class(FIELD_TE), FIELD_CLASS_HOP);
	assert_int_equal(field_class(FIELD_FORWARDED), FIELD_CLASS_IDENTITY);
	assert_int_equal(field_class(FIELD_COOKIE), FIELD_CLASS_PLAIN);
	assert_int_equal(field_name(FIELD_NONE).len, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_field__every_name_is_found_in_any_case),
	    cmocka_unit_test(test_field__the_hash_has_no_collisions),
	    cmocka_unit_test(test_field__near_misses_are_opaque),
	    cmocka_unit_test(
	        test_field__underscores_alias_identity_and_framing_alone),
	    cmocka_unit_test(test_field__classes_are_those_of_the_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
