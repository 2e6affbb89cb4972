/* weirctl events and audit. */
#include "admin/audit/audit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "admin/ctl/ctl.h"

static char *
compact(const json_t *json)
{
	return json ? json_dumps(json, JSON_COMPACT | JSON_ENSURE_ASCII |
	                                   JSON_REAL_PRECISION(12) |
	                                   JSON_ENCODE_ANY)
	            : NULL;
}

/* ---- events ---- */

/* A stream of events as lines; only whole lines are looked at. */
struct reading {
	bool is_json;
	char *text; /* owned */
	size_t len, cap;
	char id[64], kind[64];
};

static void
print_event(struct reading *reading, const char *data)
{
	if (reading->is_json)
		printf("{\"schema\":\"weir.event/"
		       "v1\",\"id\":\"%s\",\"event\":\"%s\",\"data\":%s}\n",
		    reading->id, reading->kind, data);
	else
		printf("%-10s %s\n", reading->kind, data);
	fflush(stdout);
}

static void
take_line(struct reading *reading, const char *line)
{
	if (strncmp(line, "id: ", 4) == 0)
		snprintf(reading->id, sizeof(reading->id), "%s", line + 4);
	else if (strncmp(line, "event: ", 7) == 0)
		snprintf(reading->kind, sizeof(reading->kind), "%s", line + 7);
	else if (strncmp(line, "data: ", 6) == 0)
		print_event(reading, line + 6);
}

static void
on_bytes(void *ctx, const char *bytes, size_t len)
{
	struct reading *reading = ctx;
	char *newline;

	if (reading->len + len + 1 > reading->cap) {
		size_t cap = 2 * (reading->len + len + 1);
		char *bigger = realloc(reading->text, cap);

		if (!bigger)
			return;
		reading->text = bigger;
		reading->cap = cap;
	}
	memcpy(reading->text + reading->len, bytes, len);
	reading->len += len;
	while ((newline = memchr(reading->text, '\n', reading->len)) != NULL) {
		size_t used = (size_t)(newline - reading->text) + 1;

		*newline = '\0';
		take_line(reading, reading->text);
		reading->len -= used;
		memmove(reading->text, reading->text + used, reading->len);
	}
}

static void
print_events(const json_t *answer)
{
	json_t *row;
	size_t i;

	json_array_foreach (json_object_get(answer, "events"), i, row) {
		char *data = compact(json_object_get(row, "data"));

		printf("%s %-10s %s\n", ctl_text(row, "time"),
		    ctl_text(row, "event"), data ? data : "");
		free(data);
	}
}

int
ctl_events(struct ctl *ctl)
{
	struct reading reading = {.is_json = ctl->is_json};
	int code;

	if (ctl->n_words > 0)
		return ctl_usage(ctl, "unexpected \"%s\"", ctl->words[0]);
	if (!ctl->is_follow)
		return ctl_show_path(
		    ctl, strdup("/v1/events?follow=0"), print_events);
	code = ctl_stream(ctl, "/v1/events", on_bytes, &reading);
	free(reading.text);
	return code;
}

/* ---- audit ---- */

static void
print_audit(const json_t *answer)
{
	static const char *const heads[] = {
	    "TIME", "ACTOR", "ACTION", "TARGET", "AFTER", "RESULT", "REASON"};
	struct ctl_table *table = ctl_table_new(heads, 7);
	json_t *row;
	size_t i;

	json_array_foreach (json_object_get(answer, "entries"), i, row) {
		char *after = compact(json_object_get(row, "after"));

		ctl_table_cell(table, "%s", ctl_text(row, "time"));
		ctl_table_cell(table, "%s", ctl_text(row, "actor"));
		ctl_table_cell(table, "%s", ctl_text(row, "action"));
		ctl_table_cell(table, "%s", ctl_text(row, "target"));
		ctl_table_cell(table, "%.60s", after ? after : "-");
		ctl_table_cell(table, "%s", ctl_text(row, "result"));
		ctl_table_cell(table, "%s", ctl_text(row, "reason"));
		free(after);
	}
	ctl_table_print(&table, stdout);
}

static int
list_audit(struct ctl *ctl)
{
	int64_t limit = 20;
	char *path;

	if (ctl->limit && (!units_integer(span_of(ctl->limit), &limit) ||
	                      limit < 0 || limit > 1000))
		return ctl_usage(ctl, "--limit is a number from 0 to 1000");
	if (asprintf(&path, "/v1/audit?limit=%d", (int)limit) < 0)
		return CTL_INTERNAL;
	return ctl_show_path(ctl, path, print_audit);
}

/*
 * A chain does not show that its end is missing. What weir has written last it
 * has told us before the file was read: the file cannot be behind that.
 */
static bool
reaches(const json_t *told, const char *path,
    const struct audit_verdict *verdict, struct err *err)
{
	uint64_t wanted = (uint64_t)ctl_number(told, "sequence");
	bool is_empty = json_is_true(json_object_get(told, "file_empty"));

	if (!told || (is_empty && verdict->lines == 0) ||
	    verdict->sequence > wanted)
		return true;
	if (verdict->sequence < wanted || verdict->lines == 0)
		return err_set(err,
		    "%s: its end is missing: the last entry is number %llu, "
		    "weir has written %llu",
		    path, (unsigned long long)verdict->sequence,
		    (unsigned long long)wanted);
	return strcmp(verdict->head, ctl_text(told, "head")) == 0 ||
	       err_set(err,
	           "%s: entry %llu is not the one that weir has written", path,
	           (unsigned long long)wanted);
}

static void
print_verdict(
    const char *path, const struct audit_verdict *verdict, bool is_anchored)
{
	printf("%s: %llu entries, the chain holds%s\n", path,
	    (unsigned long long)verdict->lines,
	    verdict->is_continued ? " (it continues an earlier file)" : "");
	if (verdict->verdicts > 0)
		printf("%llu verdicts of rollouts follow from their counters\n",
		    (unsigned long long)verdict->verdicts);
	printf("head %s\n", verdict->head);
	if (!is_anchored)
		puts("that no entry is missing behind it only a running weir "
		     "can say: verify without a file's name");
}

static void
print_verdict_json(const char *path, const struct audit_verdict *verdict,
    bool holds, const char *error)
{
	json_t *json = json_pack("{s:s, s:s, s:b, s:I, s:I, s:b, s:s, s:s?}",
	    "schema", "weir.audit_verdict/v1", "file", path, "holds", holds,
	    "entries", (json_int_t)verdict->lines, "verdicts",
	    (json_int_t)verdict->verdicts, "continued", verdict->is_continued,
	    "head", verdict->head, "error", error);

	ctl_print_json(json);
	json_decref(json);
}

/* `told` is what the running weir says of the file; NULL: it was not asked. */
static int
verify_file(struct ctl *ctl, const char *path, const json_t *told)
{
	struct audit_verdict verdict;
	struct err err;
	FILE *file = fopen(path, "re");
	bool holds;

	if (!file) {
		fprintf(stderr, "weirctl: %s: %s\n", path, strerror(errno));
		return errno == ENOENT ? CTL_NOT_FOUND : CTL_NOT_ALLOWED;
	}
	holds = audit_verify(file, path, &verdict, &err) &&
	        reaches(told, path, &verdict, &err);
	fclose(file);
	if (ctl->is_json)
		print_verdict_json(
		    path, &verdict, holds, holds ? NULL : err.text);
	else if (holds)
		print_verdict(path, &verdict, told != NULL);
	if (!holds)
		fprintf(stderr, "weirctl: %s\n", err.text);
	return holds ? CTL_OK : CTL_INTERNAL;
}

/* Without a file's name the server tells where its file is; we read it
 * ourselves. */
static int
verify(struct ctl *ctl)
{
	struct ctl_answer answer;
	int code;

	if (ctl->n_words == 2)
		return verify_file(ctl, ctl->words[1], NULL);
	code = ctl_get(ctl, "/v1/audit?limit=0", &answer);
	if (code != CTL_OK)
		return code;
	code = verify_file(ctl, ctl_text(answer.json, "path"), answer.json);
	ctl_answer_release(&answer);
	return code;
}

int
ctl_audit(struct ctl *ctl)
{
	if (ctl->n_words == 0 ||
	    (ctl->n_words == 1 && strcmp(ctl->words[0], "list") == 0))
		return list_audit(ctl);
	if (strcmp(ctl->words[0], "verify") == 0 && ctl->n_words <= 2)
		return verify(ctl);
	return ctl_usage(
	    ctl, "unexpected \"%s\"", ctl->words[ctl->n_words - 1]);
}
