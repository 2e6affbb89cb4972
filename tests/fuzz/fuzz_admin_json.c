/*
 * What the control plane reads from others: JSON bodies, paths of the API,
 * lines of the journal and of the audit log. The first byte chooses.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "admin/audit/audit_line.h"
#include "admin/body.h"
#include "admin/row.h"
#include "admin/state/journal_read.h"

/* Whatever was taken is an object that says the same when it is written and
 * read again. */
static void
try_body(struct span text)
{
	struct err err;
	json_t *body = body_parse(text, &err), *again;
	char *printed;

	if (!body) {
		assert(err.text[0] != '\0');
		return;
	}
	assert(json_is_object(body));
	printed = json_dumps(body, JSON_COMPACT);
	assert(printed);
	again = body_parse(span_of(printed), &err);
	assert(again && json_equal(body, again));
	free(printed);
	json_decref(body);
	json_decref(again);
}

static void
try_path(struct span text)
{
	static const char *const methods[] = {"GET", "PUT", "POST", "OTHER"};
	char *path = strndup(text.ptr, text.len), *args[API_ARGS_MAX] = {NULL};
	char allow[64];

	for (size_t i = 0; i < 4; i++) {
		const struct api_row *row =
		    row_find(methods[i], path, 0, args, allow, sizeof(allow));

		for (size_t j = 0; j < API_ARGS_MAX; j++) {
			assert(row || !args[j]);
			assert(!args[j] || args[j][0] != '\0');
			free(args[j]);
			args[j] = NULL;
		}
	}
	free(path);
}

static void
try_journal(struct span text)
{
	struct journal_record record;
	char *line;
	size_t len;

	if (!journal_parse(text, &record))
		return;
	assert(strlen(record.key) > 0);
	line = strndup(record.text.ptr, record.text.len);
	free(line);
	/* and a line that we write is one that we read */
	line = journal_line(record.sequence, record.key, "{}", &len);
	assert(journal_parse((struct span){line, len - 1}, &record));
	free(line);
}

static void
try_audit(struct span text)
{
	struct audit_line line;

	if (audit_line_parse(text, &line))
		assert(strlen(line.hash) == AUDIT_HASH_LEN &&
		       strlen(line.prev) == AUDIT_HASH_LEN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text;

	if (size == 0)
		return 0;
	text = (struct span){(const char *)data + 1, size - 1};
	switch (data[0]) {
	case 'b':
		try_body(text);
		break;
	case 'p':
		try_path(text);
		break;
	case 'j':
		try_journal(text);
		break;
	case 'a':
		try_audit(text);
		break;
	}
	return 0;
}
