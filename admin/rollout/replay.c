/*
 * weir's own access log as traffic for a simulation: one JSON object a line,
 * as access_log.c writes them. What counts is what would have been evidence:
 * requests of the split that its weights assigned, first failures blamed on
 * the pool. Lines come nearly in the order of time (each worker's own), so
 * they are sorted.
 */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/admin.h"

enum {
	REPLAY_UNITS_MAX = 5000000, /* 32 bytes each */
	REPLAY_LINE_MAX = 64 << 10,
};

struct replay {
	const char *split;
	struct recorded *at; /* owned until it is handed out */
	size_t n, cap;
	char other[CONFIG_NAME_MAX + 1]; /* a split that was not asked for */
};

static const char *
text_at(const json_t *line, const char *key)
{
	const char *text = json_string_value(json_object_get(line, key));

	return text ? text : "";
}

/* "2026-08-22T10:00:00.123456Z" */
static bool
time_parse(const char *text, nsec_t *out)
{
	struct tm tm = {0};
	const char *rest = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);
	double part = 0;
	char *end;

	if (rest == NULL)
		return false;
	if (*rest == '.') {
		part = strtod(rest, &end);
		rest = end;
	}
	if (strcmp(rest, "Z") != 0 || part < 0 || part >= 1)
		return false;
	*out =
	    (nsec_t)timegm(&tm) * NSEC_PER_SEC + (nsec_t)(part * NSEC_PER_SEC);
	return true;
}

/* Weights and affinity draw units; pins and rules of the route do not, and
 * what weir refused or shed says nothing about a pool. */
static bool
is_evidence(const json_t *line)
{
	const char *decision = text_at(line, "weir.decision");

	return (strcmp(decision, "weight") == 0 ||
	           strcmp(decision, "affinity") == 0) &&
	       strcmp(text_at(line, "weir.ended_by"), "weir") != 0 &&
	       *text_at(line, "weir.rate_limit") == '\0';
}

static bool
is_bad(const json_t *line, unsigned status)
{
	const char *ended_by = text_at(line, "weir.ended_by");

	return strcmp(ended_by, "pool") == 0 ||
	       (*ended_by == '\0' && status >= 500);
}

static bool
replay_add(struct replay *replay, const json_t *line, nsec_t at)
{
	const json_t *ms = json_object_get(line, "weir.ms.first_byte");
	json_int_t status = json_integer_value(
	    json_object_get(line, "http.response.status_code"));
	json_int_t bytes =
	    json_integer_value(json_object_get(line, "weir.bytes_out"));
	double first_byte = json_is_number(ms) ? json_number_value(ms) : -1;

	if (status < 0 || status > 999 || bytes < 0 || first_byte > 1e9)
		return false;
	if (replay->n == replay->cap) {
		size_t cap = replay->cap > 0 ? replay->cap * 2 : 1024;
		struct recorded *more =
		    realloc(replay->at, cap * sizeof(*more));

		if (more == NULL)
			return false;
		replay->at = more;
		replay->cap = cap;
	}
	replay->at[replay->n++] = (struct recorded){.at = at,
	    .first_byte =
	        first_byte < 0 ? -1 : (nsec_t)(first_byte * NSEC_PER_MSEC),
	    .bytes = (uint64_t)bytes,
	    .status = (uint16_t)status,
	    .is_bad = is_bad(line, (unsigned)status)};
	return true;
}

static bool
take_object(struct replay *replay, const json_t *line, struct err *err)
{
	const char *split = text_at(line, "weir.split");
	nsec_t at;

	if (!json_is_object(line) || !time_parse(text_at(line, "time"), &at))
		return err_set(err, "this is no line of weir's access log");
	if (strcmp(split, replay->split) != 0) {
		if (*split)
			snprintf(
			    replay->other, sizeof(replay->other), "%s", split);
		return true;
	}
	if (!is_evidence(line))
		return true;
	if (replay->n == REPLAY_UNITS_MAX)
		return err_set(err,
		    "more than %d requests; give a part of the log",
		    REPLAY_UNITS_MAX);
	if (!replay_add(replay, line, at))
		return err_set(err, "a status, size or time is out of range");
	return true;
}

static bool
take_line(struct replay *replay, const char *text, size_t len, struct err *err)
{
	json_error_t error;
	json_t *line = json_loadb(text, len, 0, &error);
	bool ok;

	if (line == NULL)
		return err_set(err, "not JSON: %s", error.text);
	ok = take_object(replay, line, err);
	json_decref(line);
	return ok;
}

static bool
take_lines(struct replay *replay, FILE *file, struct err *err)
{
	char *text = malloc(REPLAY_LINE_MAX);
	unsigned number = 0;
	bool ok = text != NULL;

	while (ok && fgets(text, REPLAY_LINE_MAX, file) != NULL) {
		size_t len = strcspn(text, "\n");

		number++;
		if (len == 0)
			continue;
		if (text[len] != '\n' && !feof(file))
			ok = err_set(err, "line %u is too long", number);
		else if (!take_line(replay, text, len, err))
			ok = err_wrap(err, "line %u", number);
	}
	free(text);
	return ok && (!ferror(file) || err_set(err, "%s", strerror(errno)));
}

static int
by_time(const void *a, const void *b)
{
	const struct recorded *x = a, *y = b;

	return (x->at > y->at) - (x->at < y->at);
}

/* Times from the first on; a last gap like the others before it begins again.
 */
static void
replay_finish(struct replay *replay, struct recording *out)
{
	nsec_t first, last;

	qsort(replay->at, replay->n, sizeof(replay->at[0]), by_time);
	first = replay->at[0].at;
	for (size_t i = 0; i < replay->n; i++)
		replay->at[i].at -= first;
	last = replay->at[replay->n - 1].at;
	*out = (struct recording){.at = replay->at,
	    .n = replay->n,
	    .length = last + last / (nsec_t)replay->n + 1};
}

bool
replay_read(
    const char *path, const char *split, struct recording *out, struct err *err)
{
	struct replay replay = {.split = split};
	FILE *file = fopen(path, "re");
	bool ok;

	if (file == NULL)
		return err_set(err, "%s: %s", path, strerror(errno));
	ok = take_lines(&replay, file, err);
	fclose(file);
	if (ok && replay.n < REPLAY_UNITS_MIN)
		ok = err_set(err,
		    "%zu requests that the weights of split %s assigned%s%s: "
		    "too few to replay",
		    replay.n, split, *replay.other ? ", others of " : "",
		    replay.other);
	if (!ok) {
		free(replay.at);
		return err_wrap(err, "%s", path);
	}
	replay_finish(&replay, out);
	return true;
}
