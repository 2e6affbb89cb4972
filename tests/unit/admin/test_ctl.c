/*
 * weirctl against a server: exit codes, what it prints, and that a mistake
 * changes nothing.
 */
#include "check.h"
#include "plant.h"

#include <fcntl.h>

static int
set_up(void **state)
{
	struct plant *plant = calloc(1, sizeof(*plant));
	char address[160];

	plant_init(plant);
	plant_start(plant);
	snprintf(address, sizeof(address), "unix:%s", plant->socket);
	setenv("WEIR_ADMIN", address, 1);
	unsetenv("WEIR_TOKEN_FILE");
	*state = plant;
	return 0;
}

static int
tear_down(void **state)
{
	plant_release(*state);
	free(*state);
	return 0;
}

/* Runs it with standard output in a file; `out` gets what it printed. */
static int
ctl(struct plant *plant, char *out, size_t cap, const char *line)
{
	char name[] = "weirctl";
	char words[512], *argv[32] = {name}, path[160], *save;
	int argc = 1, kept = dup(STDOUT_FILENO), fd, code;
	size_t len;
	char *text;

	snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok_r(words, " ", &save); w;
	     w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	room_path(&plant->room, "out", path, sizeof(path));
	fflush(stdout);
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	dup2(fd, STDOUT_FILENO);
	code = ctl_main(argc, argv);
	fflush(stdout);
	dup2(kept, STDOUT_FILENO);
	close(fd);
	close(kept);
	text = room_read(path, &len);
	snprintf(out, cap, "%s", text);
	free(text);
	return code;
}

static void
expect(struct plant *plant, int code, const char *line, const char *printed,
    int at)
{
	char out[16384];
	int got = ctl(plant, out, sizeof(out), line);

	if (got != code || (printed && !strstr(out, printed)))
		fail_msg("line %d: weirctl %s: %d instead of %d, printed: %s",
		    at, line, got, code, out);
}

#define EXPECT(code, line, printed)                                            \
	expect(*state, code, line, printed, __LINE__)

static void
test_ctl__weights_are_shown_and_set(void **state)
{
	EXPECT(0, "weights shop", "blue (stable)");
	EXPECT(
	    0, "weights shop blue=95 canary=5 --reason try", "by uid:0: try");
	EXPECT(0, "weights shop blue=66.67% canary=33.33%", "33.33%");
	EXPECT(0, "weights shop canary=100 --dry-run", "nothing was changed");
	EXPECT(0, "weights shop", "33.33%");
	EXPECT(0, "undo shop", "95%");
}

static void
test_ctl__mistakes_have_their_exit_codes(void **state)
{
	EXPECT(2, "weights shop blue=75 canary=26", NULL);
	EXPECT(3, "weights shop blue=95 cannary=5", NULL);
	EXPECT(3, "weights shopp", NULL);
	EXPECT(2, "weights shop blue=-5 canary=105", NULL);
	EXPECT(2, "weights shop blue=NaN canary=5", NULL);
	EXPECT(2, "weights shop blue=50 blue=50", NULL);
	EXPECT(2, "weights shop blue", NULL);
	EXPECT(2, "weights", NULL);
	EXPECT(2, "weihgts shop", NULL);
	EXPECT(2, "weights shop --dryrun", NULL);
	EXPECT(2, "weights shop --timeout", NULL);
	EXPECT(2, "weights shop --timeout 5", NULL);
	EXPECT(2, "weights shop -o yaml", NULL);
	EXPECT(2, "split show shop more", NULL);
	EXPECT(2, "config rlaod", NULL);
	EXPECT(2, "", NULL);
	EXPECT(6, "undo shop", NULL);
	EXPECT(0, "weights shop", "as in the file");
}

static void
test_ctl__of_two_writers_one_gets_a_conflict(void **state)
{
	EXPECT(0, "weights shop canary=100 --if-match 1", NULL);
	EXPECT(6, "weights shop blue=100 --if-match 1", NULL);
	EXPECT(0, "weights shop blue=100 --if-match \"2\"", NULL);
}

static void
test_ctl__an_unreachable_weir_is_5_and_a_missing_token_4(void **state)
{
	EXPECT(5, "status --admin unix:/nowhere/admin.sock", NULL);
	EXPECT(5, "status --admin 127.0.0.1:21049", NULL);
	EXPECT(4, "status --admin 127.0.0.1:21040", NULL);
}

static void
test_ctl__a_token_file_opens_tcp(void **state)
{
	struct plant *plant = *state;
	char path[160];

	room_path(&plant->room, "token", path, sizeof(path));
	room_write(path, "0123456789abcdef-board\n", 23);
	setenv("WEIR_TOKEN_FILE", path, 1);
	EXPECT(0, "status --admin 127.0.0.1:21040", "weir ");
	EXPECT(4, "weights shop canary=100 --admin 127.0.0.1:21040", NULL);
	setenv("WEIR_TOKEN_FILE", "/nowhere/token", 1);
	EXPECT(2, "status --admin 127.0.0.1:21040", NULL);
}

static void
test_ctl__json_is_one_document_with_a_schema(void **state)
{
	static const char *const lines[] = {"status", "top", "weights shop",
	    "split", "split shop", "pool", "pool blue", "config diff",
	    "config render", "config reload", "events", "audit", "audit verify",
	    "cert"};
	char out[1 << 16], line[128];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		json_error_t error;
		json_t *json;

		snprintf(line, sizeof(line), "-o json %s", lines[i]);
		assert_int_equal(ctl(*state, out, sizeof(out), line), 0);
		json = json_loads(out, JSON_REJECT_DUPLICATES, &error);
		if (!json)
			fail_msg("%s: %s: %s", lines[i], error.text, out);
		assert_memory_equal(
		    json_string_value(json_object_get(json, "schema")), "weir.",
		    5);
		json_decref(json);
	}
}

static void
test_ctl__tables_are_for_people(void **state)
{
	struct plant *plant = *state;

	EXPECT(0, "status", "ready");
	EXPECT(0, "top", "REQ/S");
	EXPECT(0, "split", "canary");
	EXPECT(0, "split list", "other");
	EXPECT(0, "split show shop", "canary");
	EXPECT(0, "pool", "127.0.0.1:21052");
	EXPECT(0, "pool blue", "requests/s");
	EXPECT(0, "cert", "shop.example.com");
	EXPECT(0, "endpoint 127.0.0.1:21052 drain", "drain");
	EXPECT(3, "endpoint 127.0.0.1:21059 drain", NULL);
	EXPECT(2, "endpoint 127.0.0.1:21052 drian", NULL);
	EXPECT(0, "status", "OUT: canary 127.0.0.1:21052: drain");
	EXPECT(0, "endpoint 127.0.0.1:21052 active", "active");
	EXPECT(0, "config diff", "as the loaded file says");
	EXPECT(0, "weights shop canary=100 --reason because", NULL);
	EXPECT(0, "config diff", "because");
	EXPECT(0, "audit", "because");
	EXPECT(0, "audit verify", "the chain holds");
	EXPECT(0, "events", "canary");
	plant_write(plant, "{blue: 30, canary: 70}", "");
	EXPECT(0, "config diff", "a reload would");
	EXPECT(0, "config reload", "reloaded");
	EXPECT(0, "weights shop", "70%");
	plant_write(plant, "{blue: 30, canary: 71}", "");
	EXPECT(2, "config reload", NULL);
}

static void
test_ctl__a_checked_file_is_warned_of(void **state)
{
	static const char text[] =
	    "version: 1\nlisteners: {h: {bind: \"127.0.0.1:1\"}}\n";
	struct plant *plant = *state;
	char path[160], line[200];

	room_path(&plant->room, "small.yaml", path, sizeof(path));
	room_write(path, text, sizeof(text) - 1);
	snprintf(line, sizeof(line), "config check %s", path);
	EXPECT(0, line, "warning: the file has no routes");
	EXPECT(0, line, "this weir would take it");
	EXPECT(2, "config check /nowhere/weir.yaml", NULL);
}

static void
test_ctl__every_command_has_help_with_an_example(void **state)
{
	static const char *const names[] = {"status", "top", "weights", "undo",
	    "split", "pool", "endpoint", "config", "events", "audit", "cert"};
	char line[64];

	EXPECT(0, "--help", "example:");
	EXPECT(0, "help weights", "example:");
	EXPECT(0, "--version", "weirctl");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(line, sizeof(line), "%s --help", names[i]);
		EXPECT(0, line, "example:\n  weirctl ");
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_ctl__weights_are_shown_and_set),
	    TEST(test_ctl__a_checked_file_is_warned_of),
	    TEST(test_ctl__mistakes_have_their_exit_codes),
	    TEST(test_ctl__of_two_writers_one_gets_a_conflict),
	    TEST(test_ctl__an_unreachable_weir_is_5_and_a_missing_token_4),
	    TEST(test_ctl__a_token_file_opens_tcp),
	    TEST(test_ctl__json_is_one_document_with_a_schema),
	    TEST(test_ctl__tables_are_for_people),
	    TEST(test_ctl__every_command_has_help_with_an_example),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
