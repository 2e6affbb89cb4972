/*
 * A line is an object that ends in "prev" and "hash":
 *
 *	{"seq":7,...,"prev":"<hash of line 6>","hash":"<sha256>"}
 *
 * The hash covers the line's own bytes up to the comma before "hash", so that
 * checking needs no JSON canonical form. The first line of all has 64 zeros
 * as "prev". What a chain cannot show is that its end is missing: the head is
 * kept in `state_dir` too, and a running weir tells it to whoever verifies.
 */
#include "admin/audit/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "admin/audit/audit_line.h"
#include "admin/log.h"

enum { AUDIT_TAIL_BYTES = 1 << 20 }; /* of the file that audit_tail looks at */

/* ---- opening ---- */

/* The bytes of the file's end, NUL-ended; the caller frees. */
static char *
read_end(int fd, size_t want, size_t *len_out, off_t *start_out)
{
	struct stat st;
	char *bytes;
	ssize_t n;

	if (fstat(fd, &st) != 0)
		return NULL;
	*start_out = st.st_size > (off_t)want ? st.st_size - (off_t)want : 0;
	bytes = malloc(want + 1);
	if (!bytes)
		return NULL;
	n = pread(fd, bytes, want, *start_out);
	if (n < 0) {
		free(bytes);
		return NULL;
	}
	bytes[n] = '\0';
	*len_out = (size_t)n;
	return bytes;
}

/* A line without its newline was never acknowledged. */
static void
cut_torn(struct audit *audit, off_t start, const char *bytes, size_t *len)
{
	const char *newline = memrchr(bytes, '\n', *len);
	size_t keep = newline ? (size_t)(newline - bytes) + 1 : 0;

	if (keep == *len)
		return;
	if (ftruncate(audit->fd, start + (off_t)keep) == 0)
		log_event(LOG_WARN, "the audit log ended in half a line: cut",
		    "file", audit->path, NULL);
	*len = keep;
}

static void
take_head(struct audit *audit, const char *bytes, size_t len)
{
	const char *end = bytes + len - 1; /* the last newline */
	const char *begin = memrchr(bytes, '\n', len - 1);
	struct span line;
	struct audit_line parsed;

	begin = begin ? begin + 1 : bytes;
	line = (struct span){begin, (size_t)(end - begin)};
	if (audit_line_parse(line, &parsed)) {
		memcpy(audit->head, parsed.hash, sizeof(audit->head));
		audit->sequence = parsed.sequence;
		return;
	}
	/* The next line still commits to what stands there. */
	audit_line_hash(line, audit->head);
	log_event(LOG_ERROR,
	    "the audit log's last line was changed: verification will fail "
	    "there",
	    "file", audit->path, NULL);
}

static bool
open_file(struct audit *audit, struct err *err)
{
	struct stat st;
	int fd =
	    open(audit->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0)
		return err_set(err,
		    "audit log %s: %s; set logs.audit.path to a file that weir "
		    "may write",
		    audit->path, strerror(errno));
	if (audit->fd >= 0)
		close(audit->fd);
	audit->fd = fd;
	audit->empty_at = fstat(fd, &st) == 0 && st.st_size == 0
	                      ? audit->sequence
	                      : UINT64_MAX;
	return true;
}

static bool
resume(struct audit *audit, struct err *err)
{
	off_t start;
	size_t len;
	char *bytes = read_end(audit->fd, AUDIT_LINE_MAX, &len, &start);

	if (!bytes)
		return err_set(
		    err, "audit log %s: %s", audit->path, strerror(errno));
	cut_torn(audit, start, bytes, &len);
	if (len > 0)
		take_head(audit, bytes, len);
	free(bytes);
	return true;
}

bool
audit_open(struct audit *audit, const char *path, struct err *err)
{
	*audit = (struct audit){.fd = -1, .path = strdup(path)};
	memset(audit->head, '0', AUDIT_HASH_LEN);
	if (!audit->path)
		return err_set(err, "out of memory");
	if (open_file(audit, err) && resume(audit, err))
		return true;
	audit_release(audit);
	return false;
}

size_t
audit_anchor(const struct audit *audit, char *buf, size_t cap)
{
	/* of one length for one path: it is written over itself */
	int n = snprintf(buf, cap, "%020llu %s %s\n",
	    (unsigned long long)audit->sequence, audit->head, audit->path);

	return (size_t)n < cap ? (size_t)n : cap - 1;
}

uint64_t
audit_take_anchor(struct audit *audit, const char *text, size_t len)
{
	unsigned long long sequence;
	char copy[AUDIT_ANCHOR_MAX], head[AUDIT_HASH_LEN + 1];
	int path = 0;

	snprintf(copy, sizeof(copy), "%.*s",
	    (int)(len < sizeof(copy) ? len : sizeof(copy) - 1), text);
	copy[strcspn(copy, "\n")] = '\0';
	if (sscanf(copy, "%20llu %64[0-9a-f] %n", &sequence, head, &path) !=
	        2 ||
	    strlen(head) != AUDIT_HASH_LEN || path == 0 ||
	    strcmp(copy + path, audit->path) != 0 ||
	    sequence <= audit->sequence)
		return 0;
	if (audit->sequence > 0 || audit->empty_at != 0)
		return sequence - audit->sequence;
	audit->sequence = audit->empty_at = sequence;
	memcpy(audit->head, head, sizeof(audit->head));
	return 0;
}

bool
audit_reopen(struct audit *audit, struct err *err)
{
	audit_sync(audit);
	return open_file(audit, err);
}

/* ---- writing ---- */

static void
set_text(json_t *line, const char *key, const char *value)
{
	if (value)
		json_object_set_new(line, key, json_string(value));
}

static json_t *
entry_json(const struct audit *audit, const struct audit_entry *entry)
{
	json_t *line = json_object();
	struct timeval now;
	struct tm tm;
	char day[32], stamp[48];

	gettimeofday(&now, NULL);
	gmtime_r(&now.tv_sec, &tm);
	strftime(day, sizeof(day), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(
	    stamp, sizeof(stamp), "%s.%03dZ", day, (int)(now.tv_usec / 1000));
	json_object_set_new(
	    line, "seq", json_integer((json_int_t)audit->sequence + 1));
	set_text(line, "time", stamp);
	set_text(line, "actor", entry->actor);
	set_text(line, "address", entry->address);
	set_text(line, "action", entry->action);
	set_text(line, "target", entry->target);
	if (entry->before)
		json_object_set(
		    line, "before", (json_t *)(uintptr_t)entry->before);
	if (entry->after)
		json_object_set(
		    line, "after", (json_t *)(uintptr_t)entry->after);
	set_text(line, "reason", entry->reason);
	set_text(line, "result", entry->result);
	set_text(line, "prev", audit->head);
	return line;
}

static bool
write_line(struct audit *audit, const char *line, size_t len, struct err *err)
{
	off_t before = lseek(audit->fd, 0, SEEK_END);
	ssize_t n = write(audit->fd, line, len);

	if (n == (ssize_t)len)
		return true;
	err_set(err, "audit log %s: %s", audit->path,
	    n < 0 ? strerror(errno) : "disk full");
	if (n > 0 && before >= 0 && ftruncate(audit->fd, before) != 0)
		err_wrap(err, "half a line remains");
	return false;
}

bool
audit_append(
    struct audit *audit, const struct audit_entry *entry, struct err *err)
{
	json_t *object = entry_json(audit, entry);
	char *body = json_dumps(
	    object, JSON_COMPACT | JSON_ENSURE_ASCII | JSON_REAL_PRECISION(12));
	char hash[AUDIT_HASH_LEN + 1], *line = NULL;
	size_t len = 0;
	bool ok = false;

	json_decref(object);
	if (body)
		line = audit_line_seal(body, hash, &len);
	if (!line)
		err_set(err, "out of memory");
	else if (len > AUDIT_LINE_MAX)
		err_set(
		    err, "the audit entry is above %d bytes", AUDIT_LINE_MAX);
	else
		ok = write_line(audit, line, len, err);
	if (ok) {
		memcpy(audit->head, hash, sizeof(audit->head));
		audit->sequence++;
		audit->needs_sync = true;
	} else {
		audit->failures++;
	}
	free(line);
	free(body);
	return ok;
}

void
audit_sync(struct audit *audit)
{
	if (!audit->needs_sync)
		return;
	if (fdatasync(audit->fd) == 0)
		audit->needs_sync = false;
	else
		audit->failures++;
}

/* ---- reading back ---- */

static json_t *
tail_lines(const char *bytes, size_t len, size_t limit, const char *target)
{
	json_t *lines = json_array();
	const char *end = memrchr(bytes, '\n', len);

	/* from the end, so that the limit keeps the newest */
	while (end && json_array_size(lines) < limit) {
		const char *before =
		    memrchr(bytes, '\n', (size_t)(end - bytes));
		const char *begin = before ? before + 1 : bytes;
		json_t *line =
		    json_loadb(begin, (size_t)(end - begin), 0, NULL);
		const char *of =
		    json_string_value(json_object_get(line, "target"));

		if (line && (!target || (of && strcmp(of, target) == 0)))
			json_array_insert(lines, 0, line);
		json_decref(line);
		end = before;
	}
	return lines;
}

json_t *
audit_tail(const struct audit *audit, size_t limit, const char *target)
{
	off_t start;
	size_t len;
	char *bytes = read_end(audit->fd, AUDIT_TAIL_BYTES, &len, &start);
	json_t *lines;

	if (!bytes)
		return json_array();
	lines = tail_lines(bytes, len, limit, target);
	free(bytes);
	return lines;
}

void
audit_release(struct audit *audit)
{
	if (audit->fd >= 0) {
		audit_sync(audit);
		close(audit->fd);
	}
	free(audit->path);
	*audit = (struct audit){.fd = -1};
}
