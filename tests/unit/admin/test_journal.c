/*
 * The journal against crashes at any byte, damage, full disks and a second
 * process.
 */
#include "check.h"
#include "room.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "admin/state/journal.h"

struct fixture {
	struct room room;
	char journal[128], snapshot[128];
};

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	room_init(&f->room);
	room_path(&f->room, "journal", f->journal, sizeof(f->journal));
	room_path(&f->room, "snapshot", f->snapshot, sizeof(f->snapshot));
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
must_open(struct journal *journal, const struct fixture *f, uint64_t *cut)
{
	struct err err = {0};

	if (!journal_open(journal, f->room.dir, cut, &err))
		fail_msg("%s", err.text);
}

static void
must_put(struct journal *journal, const char *key, const char *text)
{
	struct err err = {0};

	if (!journal_put(journal, key, text, &err))
		fail_msg("%s", err.text);
}

static void
assert_holds(const struct journal *journal, const char *key, const char *text)
{
	const struct journal_item *item = journal_find(journal, key);

	assert_non_null(item);
	assert_string_equal(item->text, text);
}

static void
test_journal__what_was_put_is_there_after_reopening(void **state)
{
	struct journal journal;
	uint64_t cut;

	must_open(&journal, *state, &cut);
	must_put(&journal, "split/shop", "{\"a\":1}");
	must_put(&journal, "split/shop", "{\"a\":2}");
	must_put(&journal, "split/other", "{\"b\":1}");
	journal_release(&journal);
	must_open(&journal, *state, &cut);
	assert_int_equal(cut, 0);
	assert_int_equal(journal.sequence, 3);
	assert_holds(&journal, "split/shop", "{\"a\":2}");
	assert_holds(&journal, "split/other", "{\"b\":1}");
	journal_release(&journal);
}

static void
test_journal__what_was_dropped_is_gone_for_good(void **state)
{
	struct journal journal;
	struct err err;
	uint64_t cut;

	must_open(&journal, *state, &cut);
	must_put(&journal, "rollout/1", "{\"a\":1}");
	must_put(&journal, "rollout/2", "{\"a\":2}");
	assert_true(journal_drop(&journal, "rollout/1", &err));
	assert_true(journal_drop(&journal, "rollout/1", &err));
	assert_null(journal_find(&journal, "rollout/1"));
	assert_int_equal(journal.n_items, 1);
	journal_release(&journal);
	must_open(&journal, *state, &cut);
	assert_null(journal_find(&journal, "rollout/1"));
	assert_holds(&journal, "rollout/2", "{\"a\":2}");
	/* and out of a snapshot, and put again */
	assert_true(journal_compact(&journal, &err));
	assert_true(journal_drop(&journal, "rollout/2", &err));
	must_put(&journal, "rollout/1", "{\"a\":3}");
	journal_release(&journal);
	must_open(&journal, *state, &cut);
	assert_null(journal_find(&journal, "rollout/2"));
	assert_holds(&journal, "rollout/1", "{\"a\":3}");
	assert_true(journal_compact(&journal, &err));
	journal_release(&journal);
	must_open(&journal, *state, &cut);
	assert_int_equal(journal.n_items, 1);
	journal_release(&journal);
}

static void
test_journal__torn_at_any_byte_it_keeps_the_whole_lines(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	uint64_t cut;
	size_t len, first, two;
	char *text;

	must_open(&journal, f, &cut);
	must_put(&journal, "split/shop", "{\"a\":1}");
	first = journal.good;
	must_put(&journal, "split/shop", "{\"a\":2}");
	two = journal.good;
	must_put(&journal, "split/shop", "{\"a\":3}");
	journal_release(&journal);
	text = room_read(f->journal, &len);
	for (size_t at = 0; at <= len; at++) {
		uint64_t whole = at == len ? 3 : at >= two ? 2 : at >= first;
		char expected[16];

		room_write(f->journal, text, at);
		must_open(&journal, f, &cut);
		assert_int_equal(journal.sequence, whole);
		assert_int_equal(cut, at - (whole == 3      ? len
		                               : whole == 2 ? two
		                               : whole      ? first
		                                            : 0));
		snprintf(expected, sizeof(expected), "{\"a\":%d}", (int)whole);
		if (whole > 0)
			assert_holds(&journal, "split/shop", expected);
		/* and it goes on from there */
		must_put(&journal, "split/next", "{}");
		journal_release(&journal);
		must_open(&journal, f, &cut);
		assert_int_equal(cut, 0);
		assert_int_equal(journal.sequence, whole + 1);
		journal_release(&journal);
		unlink(f->snapshot);
	}
	free(text);
}

static void
test_journal__a_tail_of_holes_is_cut(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	uint64_t cut;
	size_t len;
	char *text;

	must_open(&journal, f, &cut);
	must_put(&journal, "split/shop", "{\"a\":1}");
	must_put(&journal, "split/shop", "{\"a\":2}");
	journal_release(&journal);
	text = room_read(f->journal, &len);
	memset(
	    text + len - 8, 0, 7); /* the newline arrived, the rest did not */
	room_write(f->journal, text, len);
	must_open(&journal, f, &cut);
	assert_int_not_equal(cut, 0);
	assert_holds(&journal, "split/shop", "{\"a\":1}");
	journal_release(&journal);
	free(text);
}

static void
test_journal__any_changed_byte_before_a_whole_line_stops_the_start(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	struct err err;
	uint64_t cut;
	size_t len;
	char *text;

	must_open(&journal, f, &cut);
	must_put(&journal, "split/shop", "{\"a\":1}");
	must_put(&journal, "split/shop", "{\"a\":2}");
	journal_release(&journal);
	text = room_read(f->journal, &len);
	for (size_t at = 0; text[at] != '\n'; at++) {
		text[at] ^= 1;
		room_write(f->journal, text, len);
		assert_false(journal_open(&journal, f->room.dir, &cut, &err));
		assert_non_null(strstr(err.text, "journal:"));
		assert_non_null(strstr(err.text, "restore the directory"));
		text[at] ^= 1;
	}
	free(text);
}

static void
test_journal__garbage_at_the_end_is_cut_and_kept(void **state)
{
	static const char garbage[] = "\0\xff junk\nmore\n\n00000000 1 a b\nx";
	struct fixture *f = *state;
	struct journal journal;
	char path[sizeof(f->journal) + 8], *text;
	uint64_t cut;
	size_t len;
	FILE *file;

	must_open(&journal, f, &cut);
	must_put(&journal, "split/shop", "{\"a\":1}");
	journal_release(&journal);
	file = fopen(f->journal, "a");
	fwrite(garbage, 1, sizeof(garbage), file);
	fclose(file);
	must_open(&journal, f, &cut);
	assert_int_equal(cut, sizeof(garbage));
	assert_true(journal.is_garbled);
	assert_holds(&journal, "split/shop", "{\"a\":1}");
	must_put(&journal, "split/shop", "{\"a\":2}");
	journal_release(&journal);
	snprintf(path, sizeof(path), "%s.cut", f->journal);
	text = room_read(path, &len);
	assert_int_equal(len, sizeof(garbage));
	assert_memory_equal(text, garbage, len);
	free(text);
	unlink(path);
	must_open(&journal, f, &cut);
	assert_int_equal(cut, 0);
	assert_false(journal.is_garbled);
	assert_holds(&journal, "split/shop", "{\"a\":2}");
	journal_release(&journal);
}

static void
test_journal__a_removed_line_stops_the_start(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	struct err err;
	uint64_t cut;
	size_t len, first;
	char *text;

	must_open(&journal, f, &cut);
	must_put(&journal, "a", "1");
	must_put(&journal, "b", "2");
	first = journal.good;
	must_put(&journal, "c", "3");
	must_put(&journal, "d", "4");
	journal_release(&journal);
	text = room_read(f->journal, &len);
	/* without the first line; and without b's */
	room_write(f->journal, text + (strchr(text, '\n') - text) + 1,
	    len - (size_t)(strchr(text, '\n') - text) - 1);
	assert_false(journal_open(&journal, f->room.dir, &cut, &err));
	assert_non_null(strstr(err.text, "does not follow"));
	memmove(strchr(text, '\n') + 1, text + first, len - first);
	room_write(f->journal, text,
	    (size_t)(strchr(text, '\n') - text) + 1 + len - first);
	assert_false(journal_open(&journal, f->room.dir, &cut, &err));
	assert_non_null(strstr(err.text, "missing"));
	free(text);
}

static void
test_journal__compaction_keeps_everything(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	struct err err;
	uint64_t cut;
	struct stat st;

	must_open(&journal, f, &cut);
	must_put(&journal, "split/a", "{\"v\":1}");
	must_put(&journal, "split/b", "{\"v\":1}");
	must_put(&journal, "split/a", "{\"v\":2}");
	assert_true(journal_compact(&journal, &err));
	assert_int_equal(stat(f->journal, &st), 0);
	assert_int_equal(st.st_size, 0);
	must_put(&journal, "split/b", "{\"v\":9}");
	journal_release(&journal);
	must_open(&journal, f, &cut);
	assert_int_equal(journal.sequence, 4);
	assert_holds(&journal, "split/a", "{\"v\":2}");
	assert_holds(&journal, "split/b", "{\"v\":9}");
	journal_release(&journal);
}

static void
test_journal__a_crash_between_rename_and_emptying_is_harmless(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	struct err err;
	uint64_t cut;
	size_t len;
	char *text;

	must_open(&journal, f, &cut);
	must_put(&journal, "split/a", "{\"v\":1}");
	must_put(&journal, "split/a", "{\"v\":2}");
	text = room_read(f->journal, &len);
	assert_true(journal_compact(&journal, &err));
	journal_release(&journal);
	room_write(f->journal, text, len); /* as if it had not been emptied */
	must_open(&journal, f, &cut);
	assert_int_equal(journal.sequence, 2);
	assert_holds(&journal, "split/a", "{\"v\":2}");
	must_put(&journal, "split/a", "{\"v\":3}");
	journal_release(&journal);
	must_open(&journal, f, &cut);
	assert_holds(&journal, "split/a", "{\"v\":3}");
	journal_release(&journal);
	free(text);
}

static void
test_journal__a_cut_snapshot_stops_the_start(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	struct err err;
	uint64_t cut;
	size_t len;
	char *text;

	must_open(&journal, f, &cut);
	must_put(&journal, "split/a", "{\"v\":1}");
	must_put(&journal, "split/b", "{\"v\":1}");
	assert_true(journal_compact(&journal, &err));
	journal_release(&journal);
	text = room_read(f->snapshot, &len);
	for (size_t at = 0; at < len; at++) {
		room_write(f->snapshot, text, at);
		assert_false(journal_open(&journal, f->room.dir, &cut, &err));
		assert_non_null(strstr(err.text, "snapshot:"));
	}
	free(text);
}

static void
test_journal__a_long_journal_is_folded_by_itself(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	uint64_t cut;
	struct stat st;
	char text[8000];

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	must_open(&journal, f, &cut);
	for (int i = 0; i < 300; i++)
		must_put(&journal, "split/a", text);
	assert_int_equal(stat(f->journal, &st), 0);
	assert_in_range(st.st_size, 1, JOURNAL_COMPACT_BYTES + 9000);
	journal_release(&journal);
	must_open(&journal, f, &cut);
	assert_int_equal(journal.sequence, 300);
	journal_release(&journal);
}

/* RLIMIT_FSIZE stands for the full disk: the write comes back short, then
 * fails. */
static void
limit_files(rlim_t bytes)
{
	struct rlimit limit;

	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

/* The limit lets the reserve's first bytes through as a full disk lets all of
 * them. */
static void
test_journal__the_way_back_is_recorded_on_a_full_disk(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	struct err err;
	char path[sizeof(f->snapshot) + 8];
	uint64_t cut;

	signal(SIGXFSZ, SIG_IGN);
	must_open(&journal, f, &cut);
	for (int i = 0; i < 20; i++)
		must_put(&journal, "rollout/r", "{\"state\":\"running\"}");
	snprintf(path, sizeof(path), "%s.new", f->snapshot);
	assert_int_equal(mkdir(path, 0700), 0);
	limit_files(journal.good);
	assert_false(journal_put(&journal, "rollout/r", "{\"v\":2}", &err));
	assert_true(journal_put_back(&journal, "rollout/r", "{\"v\":3}", &err));
	assert_true(journal_put_back(&journal, "rollout/s", "{\"v\":4}", &err));
	assert_false(journal_put(&journal, "rollout/r", "{\"v\":5}", &err));
	/* killed and started again, with a full disk still */
	for (int i = 0; i < 2; i++) {
		journal_release(&journal);
		must_open(&journal, f, &cut);
		assert_holds(&journal, "rollout/r", "{\"v\":3}");
		assert_holds(&journal, "rollout/s", "{\"v\":4}");
		assert_false(
		    journal_put(&journal, "rollout/r", "{\"v\":5}", &err));
	}
	assert_true(journal_put_back(&journal, "rollout/r", "{\"v\":6}", &err));
	journal_release(&journal);
	/* there is room again */
	limit_files(RLIM_INFINITY);
	assert_int_equal(rmdir(path), 0);
	must_open(&journal, f, &cut);
	assert_holds(&journal, "rollout/r", "{\"v\":6}");
	must_put(&journal, "rollout/r", "{\"v\":7}");
	assert_int_equal(journal.reserve_used, 0);
	journal_release(&journal);
	must_open(&journal, f, &cut);
	assert_holds(&journal, "rollout/r", "{\"v\":7}");
	assert_holds(&journal, "rollout/s", "{\"v\":4}");
	/* what the reserve held is old, and a new use is no longer than it */
	for (int i = 0; i < 9; i++)
		must_put(&journal, "rollout/r", "{\"v\":7}");
	limit_files(journal.good);
	journal.is_suspect = false;
	assert_true(journal_put_back(&journal, "rollout/s", "{\"v\":8}", &err));
	journal_release(&journal);
	limit_files(RLIM_INFINITY);
	must_open(&journal, f, &cut);
	assert_holds(&journal, "rollout/r", "{\"v\":7}");
	assert_holds(&journal, "rollout/s", "{\"v\":8}");
	journal_release(&journal);
}

/* What it holds is as old as the start by then. */
static void
test_journal__a_reserve_that_comes_back_late_brings_nothing(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	struct err err;
	char path[sizeof(f->journal)], aside[sizeof(f->journal) + 8];
	char busy[sizeof(f->snapshot) + 8], key[16];
	uint64_t cut;

	signal(SIGXFSZ, SIG_IGN);
	room_path(&f->room, "reserve", path, sizeof(path));
	snprintf(aside, sizeof(aside), "%s.aside", path);
	snprintf(busy, sizeof(busy), "%s.new", f->snapshot);
	must_open(&journal, f, &cut);
	for (int i = 0; i < 20; i++)
		must_put(&journal, "rollout/r", "{\"v\":1}");
	assert_int_equal(mkdir(busy, 0700), 0);
	limit_files(journal.good);
	for (int i = 0; i < 4; i++) {
		snprintf(key, sizeof(key), "rollout/%d", i);
		assert_true(
		    journal_put_back(&journal, key, "{\"old\":1}", &err));
	}
	limit_files(RLIM_INFINITY);
	assert_int_equal(rmdir(busy), 0);
	journal_release(&journal);
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	must_open(&journal, f, &cut);
	assert_int_equal(journal.reserve_fd, -1);
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(rename(aside, path), 0);
	journal.is_suspect = true; /* a snapshot comes first */
	must_put(&journal, "rollout/new", "{\"v\":2}");
	assert_true(journal.reserve_fd >= 0);
	for (int i = 0; i < 2; i++) {
		assert_holds(&journal, "rollout/r", "{\"v\":1}");
		assert_holds(&journal, "rollout/new", "{\"v\":2}");
		assert_null(journal_find(&journal, "rollout/0"));
		journal_release(&journal);
		must_open(&journal, f, &cut);
	}
	journal_release(&journal);
}

static void
test_journal__a_full_disk_refuses_and_heals(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	struct err err;
	uint64_t cut;
	size_t whole;

	signal(SIGXFSZ, SIG_IGN);
	must_open(&journal, f, &cut);
	must_put(&journal, "split/a", "{\"v\":1}");
	whole = journal.good;
	for (rlim_t room = 0; room < 20; room++) {
		limit_files(whole + room);
		assert_false(
		    journal_put(&journal, "split/a", "{\"v\":2}", &err));
		assert_holds(&journal, "split/a", "{\"v\":1}");
		limit_files(RLIM_INFINITY);
		journal_release(&journal);
		must_open(&journal, f, &cut);
		assert_int_equal(cut, 0); /* it was cut back at once */
		assert_holds(&journal, "split/a", "{\"v\":1}");
	}
	limit_files(whole + 3);
	assert_false(journal_put(&journal, "split/new", "{\"v\":2}", &err));
	assert_null(journal_find(&journal, "split/new"));
	assert_int_equal(journal.failures, 1);
	limit_files(RLIM_INFINITY);
	must_put(&journal, "split/a", "{\"v\":3}");
	journal_release(&journal);
	must_open(&journal, f, &cut);
	assert_holds(&journal, "split/a", "{\"v\":3}");
	journal_release(&journal);
}

static void
test_journal__two_processes_cannot_share_it(void **state)
{
	struct fixture *f = *state;
	struct journal journal, other;
	struct err err;
	uint64_t cut;

	must_open(&journal, f, &cut);
	/* flock is by open file: a second open is as good as a second process
	 */
	assert_false(journal_open(&other, f->room.dir, &cut, &err));
	assert_non_null(strstr(err.text, "another weir"));
	journal_release(&journal);
	must_open(&journal, f, &cut);
	journal_release(&journal);
}

static void
test_journal__an_unusable_directory_is_named(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	struct err err;
	uint64_t cut;
	char dir[160];

	room_path(&f->room, "file", dir, sizeof(dir));
	room_write(dir, "x", 1);
	strcat(dir, "/below");
	assert_false(journal_open(&journal, dir, &cut, &err));
	assert_non_null(strstr(err.text, dir));
}

/* Killed at any moment, an acknowledged put is never lost. */
static void
test_journal__kill_9_loses_nothing_that_was_acknowledged(void **state)
{
	struct fixture *f = *state;
	struct journal journal;
	uint64_t cut;

	for (int round = 0; round < 20; round++) {
		int pipes[2];
		uint64_t told = 0, n = 0;
		pid_t pid;

		assert_int_equal(pipe(pipes), 0);
		pid = fork();
		if (pid == 0) {
			struct err err;

			if (!journal_open(&journal, f->room.dir, &cut, &err))
				_exit(1);
			for (;;) {
				if (!journal_put(&journal, "n", "{}", &err))
					_exit(1);
				n = journal.sequence;
				if (write(pipes[1], &n, sizeof(n)) != sizeof(n))
					_exit(1);
			}
		}
		close(pipes[1]);
		for (int i = 0; i < 5 + round; i++)
			assert_int_equal(
			    read(pipes[0], &told, sizeof(told)), sizeof(told));
		kill(pid, SIGKILL);
		while (read(pipes[0], &n, sizeof(n)) == sizeof(n))
			told = n;
		waitpid(pid, NULL, 0);
		close(pipes[0]);
		must_open(&journal, f, &cut);
		assert_true(journal.sequence >= told);
		assert_true(journal.sequence <= told + 1);
		journal_release(&journal);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_journal__what_was_put_is_there_after_reopening),
	    TEST(test_journal__what_was_dropped_is_gone_for_good),
	    TEST(test_journal__torn_at_any_byte_it_keeps_the_whole_lines),
	    TEST(test_journal__a_tail_of_holes_is_cut),
	    TEST(
	        test_journal__any_changed_byte_before_a_whole_line_stops_the_start),
	    TEST(test_journal__garbage_at_the_end_is_cut_and_kept),
	    TEST(test_journal__a_removed_line_stops_the_start),
	    TEST(test_journal__compaction_keeps_everything),
	    TEST(test_journal__a_crash_between_rename_and_emptying_is_harmless),
	    TEST(test_journal__a_cut_snapshot_stops_the_start),
	    TEST(test_journal__a_long_journal_is_folded_by_itself),
	    TEST(test_journal__the_way_back_is_recorded_on_a_full_disk),
	    TEST(test_journal__a_reserve_that_comes_back_late_brings_nothing),
	    TEST(test_journal__a_full_disk_refuses_and_heals),
	    TEST(test_journal__two_processes_cannot_share_it),
	    TEST(test_journal__an_unusable_directory_is_named),
	    TEST(test_journal__kill_9_loses_nothing_that_was_acknowledged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
