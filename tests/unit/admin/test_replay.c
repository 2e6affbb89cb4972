/* An access log that weir wrote, read back as traffic. */
#include "check.h"

#include <stdlib.h>
#include <unistd.h>

#include "admin/admin.h"

struct log {
	char path[32];
	FILE *file;
	uint64_t at; /* microseconds */
};

static void
log_begin(struct log *log)
{
	snprintf(log->path, sizeof(log->path), "/tmp/replay-XXXXXX");
	log->file = fdopen(mkstemp(log->path), "w");
	assert_non_null(log->file);
	log->at = 0;
}

static struct access_record
plain(void)
{
	return (struct access_record){.path = SPAN("/"),
	    .split = SPAN("shop"),
	    .pool = SPAN("blue"),
	    .status = 200,
	    .decision = "weight",
	    .queue_us = -1,
	    .connect_us = 250,
	    .first_byte_us = 12345,
	    .total_us = 20000,
	    .bytes_out = 5000};
}

static void
log_add(struct log *log, struct access_record record, unsigned times)
{
	char line[8192];

	while (times-- > 0) {
		log->at += 1000;
		record.wall_ns = 1760000000000000000 + log->at * 1000;
		fwrite(line, 1,
		    access_format(&record, NULL, line, sizeof(line)),
		    log->file);
	}
}

static bool
log_read(struct log *log, struct recording *out, struct err *err)
{
	bool ok;

	fclose(log->file);
	ok = replay_read(log->path, "shop", out, err);
	unlink(log->path);
	return ok;
}

static void
test_replay__what_weir_wrote_is_what_is_read(void **state)
{
	struct recording recording;
	struct access_record record = plain();
	struct log log;
	struct err err;

	(void)state;
	log_begin(&log);
	log_add(&log, record, 150);
	record.status = 503;
	record.ended_by = "pool";
	record.error = "upstream_status";
	log_add(&log, record, 1);
	assert_true(log_read(&log, &recording, &err));
	assert_int_equal(recording.n, 151);
	assert_int_equal(recording.at[0].at, 0);
	assert_int_equal(recording.at[0].first_byte, 12345000);
	assert_int_equal(recording.at[0].bytes, 5000);
	assert_int_equal(recording.at[0].status, 200);
	assert_false(recording.at[149].is_bad);
	assert_true(recording.at[150].is_bad);
	assert_in_range(
	    recording.at[150].at, 149 * NSEC_PER_MSEC, 151 * NSEC_PER_MSEC);
	assert_true(recording.length > recording.at[150].at);
	free(recording.at);
}

/* Pins, other splits, what weir refused, what the client ended. */
static void
test_replay__only_what_would_be_evidence_counts(void **state)
{
	struct recording recording;
	struct access_record record = plain();
	struct log log;
	struct err err;

	(void)state;
	log_begin(&log);
	log_add(&log, record, 100);
	record.decision = "pin";
	log_add(&log, record, 10);
	record = plain();
	record.split = SPAN("other");
	log_add(&log, record, 10);
	record = plain();
	record.status = 503;
	record.ended_by = "weir";
	log_add(&log, record, 10);
	record = plain();
	record.status = 499;
	record.ended_by = "client";
	record.first_byte_us = -1;
	log_add(&log, record, 1);
	assert_true(log_read(&log, &recording, &err));
	assert_int_equal(recording.n, 101);
	assert_false(recording.at[100].is_bad);
	assert_true(recording.at[100].first_byte < 0);
	free(recording.at);
}

static void
test_replay__lines_out_of_order_are_sorted(void **state)
{
	struct recording recording;
	struct log log;
	struct err err;

	(void)state;
	log_begin(&log);
	log_add(&log, plain(), 100);
	log.at = 50500;
	log_add(&log, plain(), 1);
	assert_true(log_read(&log, &recording, &err));
	for (size_t i = 1; i < recording.n; i++)
		assert_true(recording.at[i].at >= recording.at[i - 1].at);
	free(recording.at);
}

static void
assert_refused(const char *line, const char *word)
{
	struct recording recording;
	struct log log;
	struct err err;

	log_begin(&log);
	log_add(&log, plain(), 100);
	fputs(line, log.file);
	assert_false(log_read(&log, &recording, &err));
	if (!strstr(err.text, word))
		fail_msg("\"%s\" does not say \"%s\"", err.text, word);
}

static void
test_replay__what_is_no_log_is_refused_with_its_line(void **state)
{
	(void)state;
	assert_refused("127.0.0.1 - - \"GET /\"\n", "line 101");
	assert_refused("{\"time\":\"yesterday\"}\n", "line 101");
	assert_refused("[]\n", "line 101");
	assert_refused("{\"time\":\"2026-08-22T10:00:00.0Z\",\"weir.split\":"
	               "\"shop\",\"weir.decision\":\"weight\","
	               "\"http.response.status_code\":-1}\n",
	    "out of range");
}

static void
test_replay__a_log_of_another_split_names_it(void **state)
{
	struct recording recording;
	struct access_record record = plain();
	struct log log;
	struct err err;

	(void)state;
	record.split = SPAN("other");
	log_begin(&log);
	log_add(&log, record, 200);
	assert_false(log_read(&log, &recording, &err));
	assert_non_null(strstr(err.text, "others of other"));
	assert_false(replay_read("/nonexistent", "shop", &recording, &err));
	assert_non_null(strstr(err.text, "/nonexistent"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_replay__what_weir_wrote_is_what_is_read),
	    cmocka_unit_test(test_replay__only_what_would_be_evidence_counts),
	    cmocka_unit_test(test_replay__lines_out_of_order_are_sorted),
	    cmocka_unit_test(
	        test_replay__what_is_no_log_is_refused_with_its_line),
	    cmocka_unit_test(test_replay__a_log_of_another_split_names_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
