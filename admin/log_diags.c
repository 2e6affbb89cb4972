/*
 * What is wrong with a file, told by a weir that runs. A person at a terminal
 * gets the lines and carets; where standard error is collected, each finding
 * is an event like all others, so that the log stays one JSON object a line.
 */
#include <stdio.h>
#include <stdlib.h>

#include "admin/admin.h"
#include "admin/log.h"

static void
log_diag(const char *file, const struct diag *diag)
{
	char line[16], column[16];

	snprintf(line, sizeof(line), "%u", diag->line);
	snprintf(column, sizeof(column), "%u", diag->column);
	log_event(diag->is_warning ? LOG_WARN : LOG_ERROR, diag->message,
	    "code", diag->code, "file", file, "line", line, "column", column,
	    diag->hint ? "hint" : NULL, diag->hint, NULL);
}

void
diags_log(const struct diags *diags)
{
	if (diags->n == 0)
		return;
	if (!log_is_json()) {
		diags_print(diags, stderr, !getenv("NO_COLOR"));
		return;
	}
	for (size_t i = 0; i < diags->n; i++)
		log_diag(diags->file, &diags->at[i]);
}
