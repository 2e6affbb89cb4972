/*
 * The operator's log: one event, one line, one write(2) on standard error.
 * The two settings are the only mutable globals of the folder: a log that had
 * to be passed around could not be used by the code that fails first.
 */
#include "admin/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "admin/escape.h"

enum {
	LOG_LINE_MAX = 8192,
	LOG_VALUE_MAX = 2048, /* bytes of one value */
	LOG_TAIL = 32,        /* kept free to close a line that was cut */
};

enum log_format { FORMAT_AUTO, FORMAT_TEXT, FORMAT_JSON };

static _Atomic int log_level = LOG_INFO;
static _Atomic int log_format = FORMAT_AUTO;

static const char *const level_names[] = {"debug", "info", "warn", "error"};

void
log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_level, level, memory_order_relaxed);
}

void
log_set_format(bool json)
{
	atomic_store_explicit(&log_format, json ? FORMAT_JSON : FORMAT_TEXT,
	    memory_order_relaxed);
}

bool
log_is_json(void)
{
	int format = atomic_load_explicit(&log_format, memory_order_relaxed);

	if (format == FORMAT_AUTO) {
		format = isatty(STDERR_FILENO) ? FORMAT_TEXT : FORMAT_JSON;
		atomic_store_explicit(
		    &log_format, format, memory_order_relaxed);
	}
	return format == FORMAT_JSON;
}

static void
write_line(const char *bytes, size_t len)
{
	ssize_t n = write(STDERR_FILENO, bytes, len);

	(void)n; /* a log that cannot be written has nobody left to tell */
}

/* RFC 3339 in UTC for machines; the local clock for a person at a terminal. */
static void
line_time(struct line *line, bool json)
{
	struct timespec now;
	struct tm tm;
	char text[40], whole[64];

	clock_gettime(CLOCK_REALTIME, &now);
	if (json) {
		gmtime_r(&now.tv_sec, &tm);
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &tm);
		snprintf(whole, sizeof(whole), "%s.%03ldZ", text,
		    now.tv_nsec / 1000000);
	} else {
		localtime_r(&now.tv_sec, &tm);
		strftime(text, sizeof(text), "%H:%M:%S", &tm);
		snprintf(whole, sizeof(whole), "%s.%03ld", text,
		    now.tv_nsec / 1000000);
	}
	line_text(line, whole);
}

static void
log_json(
    struct line *line, enum log_level level, const char *message, va_list ap)
{
	const char *key, *value;
	size_t mark;

	line_text(line, "{\"time\":\"");
	line_time(line, true);
	line_text(line, "\",\"level\":\"");
	line_text(line, level_names[level]);
	line_text(line, "\",\"message\":");
	line_quoted(line, span_of(message), LOG_VALUE_MAX);
	while ((key = va_arg(ap, const char *)) != NULL) {
		value = va_arg(ap, const char *);
		mark = line->len;
		line_text(line, ",");
		line_quoted(line, span_of(key), LOG_VALUE_MAX);
		line_text(line, ":");
		line_quoted(line, span_of(value ? value : ""), LOG_VALUE_MAX);
		if (line->is_full) {
			line->len = mark; /* no half pair */
			break;
		}
	}
	line->cap += LOG_TAIL;
	if (line->is_full) {
		line->is_full = false;
		line_text(line, ",\"truncated\":\"yes\"");
	}
	line_text(line, "}\n");
}

/* Quotes only what would read as several words. */
static void
line_value(struct line *line, const char *value)
{
	struct span text = span_of(value ? value : "");

	if (text.len == 0 || strpbrk(value, " \"=\n\t"))
		line_quoted(line, text, LOG_VALUE_MAX);
	else
		line_escaped(line, text, LOG_VALUE_MAX);
}

static void
log_text(
    struct line *line, enum log_level level, const char *message, va_list ap)
{
	const char *key;

	line_time(line, false);
	line_text(line, level == LOG_ERROR   ? "  error  "
	                : level == LOG_WARN  ? "  warn   "
	                : level == LOG_DEBUG ? "  debug  "
	                                     : "  ");
	line_escaped(line, span_of(message), LOG_VALUE_MAX);
	while ((key = va_arg(ap, const char *)) != NULL) {
		line_text(line, "  ");
		line_escaped(line, span_of(key), LOG_VALUE_MAX);
		line_text(line, "=");
		line_value(line, va_arg(ap, const char *));
	}
	line->cap += LOG_TAIL;
	if (line->is_full) {
		line->is_full = false;
		line_text(line, " ...");
	}
	line_text(line, "\n");
}

void
log_event(enum log_level level, const char *message, ...)
{
	char buf[LOG_LINE_MAX];
	struct line line = {.buf = buf, .cap = sizeof(buf) - LOG_TAIL};
	va_list ap;

	assert(level >= LOG_DEBUG && level <= LOG_ERROR);
	if ((int)level < atomic_load_explicit(&log_level, memory_order_relaxed))
		return;
	va_start(ap, message);
	if (log_is_json())
		log_json(&line, level, message, ap);
	else
		log_text(&line, level, message, ap);
	va_end(ap);
	write_line(line.buf, line.len);
}
