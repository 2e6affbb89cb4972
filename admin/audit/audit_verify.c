/*
 * The chain of the audit log: how a line is sealed and how a file is checked,
 * the verdicts of rollouts included.
 * The client uses this on the file itself, so a server that lies about its
 * own log does not get to say that all is well.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "admin/audit/audit_line.h"
#include "admin/rollout/evidence_json.h"
#include "tls/tls.h"

/* ,"hash":"<64>"} */
enum { SEAL_LEN = 9 + AUDIT_HASH_LEN + 2 };

void
audit_line_hash(struct span bytes, char out[AUDIT_HASH_LEN + 1])
{
	static const char hex[] = "0123456789abcdef";
	uint8_t digest[32];

	tls_sha256(bytes.ptr, bytes.len, digest);
	for (size_t i = 0; i < sizeof(digest); i++) {
		out[2 * i] = hex[digest[i] >> 4];
		out[2 * i + 1] = hex[digest[i] & 15];
	}
	out[AUDIT_HASH_LEN] = '\0';
}

char *
audit_line_seal(
    const char *body, char hash_out[AUDIT_HASH_LEN + 1], size_t *len_out)
{
	size_t len = strlen(body);
	char *line;
	int n;

	assert(len > 2 && body[len - 1] == '}');
	audit_line_hash((struct span){body, len - 1}, hash_out);
	n = asprintf(
	    &line, "%.*s,\"hash\":\"%s\"}\n", (int)len - 1, body, hash_out);
	if (n < 0)
		return NULL;
	*len_out = (size_t)n;
	return line;
}

static bool
take_hash(const char *at, char out[AUDIT_HASH_LEN + 1])
{
	for (size_t i = 0; i < AUDIT_HASH_LEN; i++)
		if (!strchr("0123456789abcdef", at[i]) || at[i] == '\0')
			return false;
	memcpy(out, at, AUDIT_HASH_LEN);
	out[AUDIT_HASH_LEN] = '\0';
	return true;
}

bool
audit_line_parse(struct span line, struct audit_line *out)
{
	static const char head[] = "{\"seq\":", prev[] = ",\"prev\":\"";
	const size_t tail = sizeof(prev) - 1 + AUDIT_HASH_LEN + 1 + SEAL_LEN;
	char hash[AUDIT_HASH_LEN + 1];
	const char *seal, *before;

	if (line.len < sizeof(head) + tail ||
	    memcmp(line.ptr, head, sizeof(head) - 1) != 0)
		return false;
	seal = line.ptr + line.len - SEAL_LEN;
	before = line.ptr + line.len - tail;
	if (memcmp(seal, ",\"hash\":\"", 9) != 0 ||
	    memcmp(seal + 9 + AUDIT_HASH_LEN, "\"}", 2) != 0 ||
	    memcmp(before, prev, sizeof(prev) - 1) != 0 || seal[-1] != '"' ||
	    !take_hash(seal + 9, out->hash) ||
	    !take_hash(before + sizeof(prev) - 1, out->prev))
		return false;
	out->sequence = strtoull(line.ptr + sizeof(head) - 1, NULL, 10);
	audit_line_hash(
	    (struct span){line.ptr, (size_t)(seal - line.ptr)}, hash);
	return memcmp(hash, out->hash, AUDIT_HASH_LEN) == 0;
}

static bool
follows(const struct audit_line *line, struct audit_verdict *verdict,
    uint64_t *sequence, const char *name, struct err *err)
{
	if (verdict->lines == 0) {
		verdict->is_continued =
		    strspn(line->prev, "0") != AUDIT_HASH_LEN;
		if (!verdict->is_continued && line->sequence != 1)
			return err_set(err,
			    "%s:1: the first line has number %llu", name,
			    (unsigned long long)line->sequence);
	} else if (strcmp(line->prev, verdict->head) != 0 ||
	           line->sequence != *sequence + 1) {
		return err_set(err,
		    "%s:%llu: it does not follow the line before: lines were "
		    "removed, inserted or moved here",
		    name, (unsigned long long)verdict->lines + 1);
	}
	*sequence = verdict->sequence = line->sequence;
	memcpy(verdict->head, line->hash, sizeof(verdict->head));
	verdict->lines++;
	return true;
}

/* Hashes can be made anew by whoever writes the file; verdicts cannot. */
static bool
proves(struct span line, const char *name, struct audit_verdict *verdict,
    struct err *err)
{
	json_t *json;
	bool ok;

	if (!memmem(line.ptr, line.len, "\"trail\"", 7))
		return true;
	json = json_loadb(line.ptr, line.len, 0, NULL);
	ok = json ? evidence_verify_all(json, &verdict->verdicts, err)
	          : err_set(err, "the line is not JSON");
	json_decref(json);
	return ok || err_wrap(err, "%s:%llu", name,
	                 (unsigned long long)verdict->lines);
}

bool
audit_verify(
    FILE *file, const char *name, struct audit_verdict *out, struct err *err)
{
	char *text = NULL;
	size_t cap = 0;
	ssize_t n;
	uint64_t sequence = 0;
	struct audit_line line;
	bool ok = true;

	*out = (struct audit_verdict){0};
	memset(out->head, '0', AUDIT_HASH_LEN);
	while (ok && (n = getline(&text, &cap, file)) > 0) {
		if (text[n - 1] != '\n')
			ok = err_set(err, "%s:%llu: the line has no end", name,
			    (unsigned long long)out->lines + 1);
		else if (!audit_line_parse(
		             (struct span){text, (size_t)n - 1}, &line))
			ok = err_set(err,
			    "%s:%llu: the line was changed: its hash does not "
			    "match",
			    name, (unsigned long long)out->lines + 1);
		else
			ok = follows(&line, out, &sequence, name, err) &&
			     proves((struct span){text, (size_t)n - 1}, name,
			         out, err);
	}
	free(text);
	return ok;
}
