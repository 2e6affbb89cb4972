/*
 * The audit chain: any byte that changes and any line that goes is found.
 */
#include "check.h"
#include "room.h"

#include "admin/audit/audit.h"

struct fixture {
	struct room room;
	char path[128];
};

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	room_init(&f->room);
	room_path(&f->room, "audit.jsonl", f->path, sizeof(f->path));
	*state = f;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	room_release(&f->room);
	free(f);
	return 0;
}

static void
write_entries(const struct fixture *f, int n)
{
	struct audit audit;
	struct err err;

	assert_true(audit_open(&audit, f->path, &err));
	for (int i = 0; i < n; i++) {
		json_t *after = json_pack("{s:i}", "canary", i);
		struct audit_entry entry = {.actor = "uid:0",
		    .address = "unix:uid=0,pid=1",
		    .action = "weights",
		    .target = "shop",
		    .reason = "it said \"go\"\n",
		    .result = "ok",
		    .after = after};

		assert_true(audit_append(&audit, &entry, &err));
		json_decref(after);
	}
	audit_release(&audit);
}

static bool
verify(const struct fixture *f, struct audit_verdict *verdict, struct err *err)
{
	FILE *file = fopen(f->path, "re");
	bool holds = audit_verify(file, "audit.jsonl", verdict, err);

	fclose(file);
	return holds;
}

static void
test_audit__a_chain_over_two_lives_holds(void **state)
{
	struct fixture *f = *state;
	struct audit_verdict verdict;
	struct err err;

	write_entries(f, 3);
	write_entries(f, 2);
	assert_true(verify(f, &verdict, &err));
	assert_int_equal(verdict.lines, 5);
	assert_false(verdict.is_continued);
}

static void
test_audit__one_changed_byte_anywhere_is_found(void **state)
{
	struct fixture *f = *state;
	struct audit_verdict verdict;
	struct err err;
	size_t len;
	char *text;

	write_entries(f, 3);
	text = room_read(f->path, &len);
	for (size_t at = 0; at < len; at++) {
		text[at] ^= 4;
		room_write(f->path, text, len);
		assert_false(verify(f, &verdict, &err));
		text[at] ^= 4;
	}
	free(text);
}

/* A line whose hash is right, since the log wrote it: the chain was rebuilt. */
static void
write_verdict(const struct fixture *f, int count, const char *verdict)
{
	struct audit audit;
	struct err err;
	json_t *after = json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:i, "
	                          "s:{s:i}, s:{s:i, s:[i]}}}",
	    "evidence", "schema", "weir.evidence/v1", "phase", "canary",
	    "guard", "complaints", "metric", "signal:complaint", "action",
	    "rollback", "test", "count/1", "verdict", verdict, "count", count,
	    "limit", "max", 3, "trail", "columns", 1, "numbers", 5);
	struct audit_entry entry = {.actor = "weir",
	    .action = "rollout_rolling_back",
	    .target = "shop",
	    .result = "ok",
	    .after = after};

	assert_non_null(after);
	assert_true(audit_open(&audit, f->path, &err));
	assert_true(audit_append(&audit, &entry, &err));
	json_decref(after);
	audit_release(&audit);
}

static void
test_audit__a_verdict_is_computed_again(void **state)
{
	struct fixture *f = *state;
	struct audit_verdict verdict;
	struct err err;

	write_entries(f, 1);
	write_verdict(f, 5, "fail");
	assert_true(verify(f, &verdict, &err));
	assert_int_equal(verdict.verdicts, 1);
	assert_int_equal(verdict.lines, 2);
}

static void
test_audit__a_changed_number_is_found_under_a_rebuilt_chain(void **state)
{
	struct fixture *f = *state;
	struct audit_verdict verdict;
	struct err err;

	write_entries(f, 2);
	write_verdict(f, 4, "fail");
	assert_false(verify(f, &verdict, &err));
	assert_non_null(strstr(err.text, ":3:"));
	assert_non_null(strstr(err.text, "guard 'complaints'"));
	assert_non_null(strstr(err.text, "count says 4"));
}

static void
test_audit__a_changed_verdict_is_found_under_a_rebuilt_chain(void **state)
{
	struct fixture *f = *state;
	struct audit_verdict verdict;
	struct err err;

	write_verdict(f, 5, "undecided");
	assert_false(verify(f, &verdict, &err));
	assert_non_null(strstr(err.text, "the verdict says undecided"));
}

static void
test_audit__a_removed_line_is_found(void **state)
{
	struct fixture *f = *state;
	struct audit_verdict verdict;
	struct err err;
	size_t len;
	char *text, *second;

	write_entries(f, 3);
	text = room_read(f->path, &len);
	second = strchr(text, '\n') + 1;
	memmove(second, strchr(second, '\n') + 1,
	    strlen(strchr(second, '\n') + 1) + 1);
	room_write(f->path, text, strlen(text));
	assert_false(verify(f, &verdict, &err));
	assert_non_null(strstr(err.text, ":2:"));
	free(text);
}

static void
test_audit__half_a_line_is_cut_and_the_chain_goes_on(void **state)
{
	struct fixture *f = *state;
	struct audit_verdict verdict;
	struct err err;
	size_t len;
	char *text;

	write_entries(f, 2);
	text = room_read(f->path, &len);
	room_write(f->path, text, len - 20);
	write_entries(f, 1);
	assert_true(verify(f, &verdict, &err));
	assert_int_equal(verdict.lines, 2);
	free(text);
}

static void
test_audit__after_a_rotation_the_new_file_continues_the_chain(void **state)
{
	struct fixture *f = *state;
	struct audit audit;
	struct audit_entry entry = {
	    .actor = "uid:0", .action = "undo", .result = "ok"};
	struct audit_verdict verdict;
	struct err err;
	char old[160], head[AUDIT_HASH_LEN + 1];

	assert_true(audit_open(&audit, f->path, &err));
	assert_true(audit_append(&audit, &entry, &err));
	memcpy(head, audit.head, sizeof(head));
	snprintf(old, sizeof(old), "%s.1", f->path);
	assert_int_equal(rename(f->path, old), 0);
	assert_true(audit_reopen(&audit, &err));
	assert_true(audit_append(&audit, &entry, &err));
	audit_release(&audit);
	assert_true(verify(f, &verdict, &err));
	assert_true(verdict.is_continued);
	assert_int_equal(verdict.lines, 1);
}

static void
test_audit__the_tail_is_the_newest_of_a_target(void **state)
{
	struct fixture *f = *state;
	struct audit audit;
	struct audit_entry entry = {.action = "weights", .result = "ok"};
	struct err err;
	json_t *tail;

	assert_true(audit_open(&audit, f->path, &err));
	for (int i = 0; i < 10; i++) {
		entry.target = i % 2 ? "odd" : "even";
		assert_true(audit_append(&audit, &entry, &err));
	}
	tail = audit_tail(&audit, 3, "odd");
	assert_int_equal(json_array_size(tail), 3);
	assert_int_equal(
	    json_integer_value(json_object_get(json_array_get(tail, 2), "seq")),
	    10);
	assert_int_equal(
	    json_integer_value(json_object_get(json_array_get(tail, 0), "seq")),
	    6);
	json_decref(tail);
	audit_release(&audit);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_audit__a_chain_over_two_lives_holds),
	    TEST(test_audit__one_changed_byte_anywhere_is_found),
	    TEST(test_audit__a_removed_line_is_found),
	    TEST(test_audit__a_verdict_is_computed_again),
	    TEST(test_audit__a_changed_number_is_found_under_a_rebuilt_chain),
	    TEST(test_audit__a_changed_verdict_is_found_under_a_rebuilt_chain),
	    TEST(test_audit__half_a_line_is_cut_and_the_chain_goes_on),
	    TEST(test_audit__after_a_rotation_the_new_file_continues_the_chain),
	    TEST(test_audit__the_tail_is_the_newest_of_a_target),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
