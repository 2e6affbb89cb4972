/*
 * The list of what is wrong. Lines of the file are fetched only for the few
 * that are shown, cut to a window around the caret (a file may be one line of
 * 4 MiB), with everything that could steer a terminal replaced.
 */
#include "config/diag.h"

#include <stdarg.h>
#include <stdlib.h>

#include "config/lines.h"
#include "config/mem.h"

enum { SOURCE_MAX = 160, SOURCE_LEAD = 60, MESSAGE_MAX = 512 };

static const char *const code_words[DIAG_CODES] = {
#define CODE(name, code, title, more) code,
#include "config/codes.def"
#undef CODE
};

void
diags_init(struct diags *diags, const char *file)
{
	memset(diags, 0, sizeof(*diags));
	diags->file = mem_text(span_of(file));
}

static void
diag_release(struct diag *diag)
{
	free(diag->message);
	free(diag->hint);
	free(diag->source);
}

void
diags_release(struct diags *diags)
{
	for (size_t i = 0; i < diags->n; i++)
		diag_release(&diags->at[i]);
	free(diags->at);
	free(diags->file);
	memset(diags, 0, sizeof(*diags));
}

static bool
is_steering(char c)
{
	return (unsigned char)c < 0x20 || c == 0x7f;
}

/* Messages quote the file, and the file may hold anything. */
static char *
plain_text(const char *text)
{
	char *copy = mem_text(span_of(text));

	for (char *p = copy; *p; p++) {
		if (is_steering(*p))
			*p = '?';
	}
	return copy;
}

bool
report_is_full(const struct report *report)
{
	return report->diags->n == CONFIG_DIAGS_MAX &&
	       report->diags->errors >= CONFIG_DIAGS_MAX;
}

/* A slot at the end; NULL when the list is full of what matters more. */
static struct diag *
diag_slot(struct diags *diags, bool is_warning)
{
	if (diags->at == NULL)
		diags->at = mem_new(CONFIG_DIAGS_MAX, sizeof(*diags->at));
	if (diags->n < CONFIG_DIAGS_MAX)
		return &diags->at[diags->n++];
	for (size_t i = diags->n; !is_warning && i-- > 0;) {
		if (!diags->at[i].is_warning)
			continue;
		diag_release(&diags->at[i]);
		memmove(&diags->at[i], &diags->at[i + 1],
		    (diags->n - i - 1) * sizeof(*diags->at));
		return &diags->at[diags->n - 1];
	}
	return NULL;
}

/* What is inherited is looked at once for each heir, and told once. */
static bool
is_told(const struct diags *diags, enum diag_code code, struct place at)
{
	for (size_t i = 0; i < diags->n; i++)
		if (at.line > 0 && diags->at[i].line == at.line &&
		    diags->at[i].column == at.column &&
		    strcmp(diags->at[i].code, code_words[code]) == 0)
			return true;
	return false;
}

void
report_add(struct report *report, enum diag_code code, struct place at,
    const char *hint, const char *format, ...)
{
	struct diags *diags = report->diags;
	bool is_warning = code_words[code][0] == 'W';
	char message[MESSAGE_MAX];
	struct diag *diag;
	va_list args;

	if (is_told(diags, code, at))
		return;
	if (is_warning)
		diags->warnings++;
	else
		diags->errors++;
	diag = diag_slot(diags, is_warning);
	if (diag == NULL)
		return;
	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	*diag = (struct diag){
	    .is_warning = is_warning,
	    .line = at.line,
	    .column = at.column,
	    .width = at.width,
	    .message = plain_text(message),
	    .hint = hint ? plain_text(hint) : NULL,
	};
	strcpy(diag->code, code_words[code]);
}

void
report_hide(struct report *report, struct place at)
{
	if (report->n_hidden < HIDDEN_MAX)
		report->hidden[report->n_hidden++].at = at;
}

/* ---- the lines ---- */

/* Bytes of the first `chars` characters of a line. */
static size_t
bytes_of(struct span line, size_t chars)
{
	size_t i = 0;

	while (i < line.len && chars > 0) {
		i++;
		while (i < line.len && (line.ptr[i] & 0xc0) == 0x80)
			i++;
		chars--;
	}
	return i;
}

static void
hide_secrets(const struct report *report, const struct diag *diag, char *line,
    size_t len)
{
	for (size_t i = 0; i < report->n_hidden; i++) {
		struct place at = report->hidden[i].at;
		struct span whole = {line, len};
		size_t from, to;

		if (at.line != diag->line)
			continue;
		from = bytes_of(whole, at.column - 1);
		to = at.width ? bytes_of(whole, at.column - 1 + at.width) : len;
		memset(line + from, '*', to - from);
	}
}

static void
source_fetch(const struct report *report, struct diag *diag, struct span text)
{
	struct span line = lines_get(text, diag->line);
	bool is_utf8 = strcmp(diag->code, code_words[DIAG_NOT_TEXT]) != 0;
	char *copy = mem_text(line);
	size_t from = 0, len;

	hide_secrets(report, diag, copy, line.len);
	diag->source_column = 1;
	if (diag->column > SOURCE_LEAD && line.len > SOURCE_MAX) {
		from = bytes_of(line, diag->column - SOURCE_LEAD);
		diag->source_column = diag->column - SOURCE_LEAD + 1;
	}
	len = bytes_of(
	    (struct span){line.ptr + from, line.len - from}, SOURCE_MAX);
	for (size_t i = from; i < from + len; i++) {
		if (copy[i] == '\t')
			copy[i] = ' ';
		else if (is_steering(copy[i]) || (!is_utf8 && (copy[i] & 0x80)))
			copy[i] = '?';
	}
	diag->source = mem_text((struct span){copy + from, len});
	free(copy);
}

/* Insertion keeps the order of what stands at one place; at most 50. */
static void
sort_by_place(struct diags *diags)
{
	for (size_t i = 1; i < diags->n; i++) {
		struct diag moved = diags->at[i];
		size_t j = i;

		for (; j > 0; j--) {
			const struct diag *before = &diags->at[j - 1];

			if (before->line < moved.line ||
			    (before->line == moved.line &&
			        before->column <= moved.column))
				break;
			diags->at[j] = *before;
		}
		diags->at[j] = moved;
	}
}

void
report_finish(struct report *report, struct span text)
{
	struct diags *diags = report->diags;

	sort_by_place(diags);
	for (size_t i = 0; i < diags->n; i++) {
		if (diags->at[i].line > 0)
			source_fetch(report, &diags->at[i], text);
	}
}
