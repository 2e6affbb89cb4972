/*
 * Telling what is wrong: as text with the line and a caret for people, as JSON
 * for programs and the admin API; and what a code means.
 */
#include <jansson.h>
#include <stdlib.h>

#include "config/diag.h"

struct code_row {
	const char *code, *title, *more;
};

static const struct code_row code_rows[DIAG_CODES] = {
#define CODE(name, code, title, more) {code, title, more},
#include "config/codes.def"
#undef CODE
};

struct colours {
	const char *bold, *error, *warning, *caret, *off;
};

static const struct colours plain = {"", "", "", "", ""};
static const struct colours bright = {
    "\033[1m", "\033[1;31m", "\033[1;33m", "\033[1;32m", "\033[0m"};

static void
repeat(FILE *out, char c, unsigned n)
{
	while (n-- > 0)
		fputc(c, out);
}

static void
print_place(const char *file, const struct diag *diag, FILE *out)
{
	fprintf(out, "%s:", file);
	if (diag->line > 0)
		fprintf(out, "%u:%u:", diag->line, diag->column);
	fputc(' ', out);
}

/* Characters of a line, not bytes. */
static unsigned
width_of(const char *source)
{
	unsigned n = 0;

	for (; *source; source++)
		n += (*source & 0xc0) != 0x80;
	return n;
}

static void
print_source(const struct diag *diag, const struct colours *c, FILE *out)
{
	unsigned lead = diag->column - diag->source_column, width, room;

	fprintf(out, "%5u | %s\n", diag->line, diag->source);
	if (diag->width == 0)
		return;
	room = width_of(diag->source);
	room = room > lead ? room - lead : 1;
	width = diag->width < room ? diag->width : room;
	fprintf(out, "      | ");
	repeat(out, ' ', lead);
	fprintf(out, "%s^", c->caret);
	repeat(out, '~', width - 1);
	fprintf(out, "%s", c->off);
	if (diag->hint)
		fprintf(out, " %s", diag->hint);
	fputc('\n', out);
}

static void
print_one(const char *file, const struct diag *diag, const struct colours *c,
    FILE *out)
{
	fputs(c->bold, out);
	print_place(file, diag, out);
	fprintf(out, "%s%s[%s]:%s %s%s%s\n",
	    diag->is_warning ? c->warning : c->error,
	    diag->is_warning ? "warning" : "error", diag->code, c->off, c->bold,
	    diag->message, c->off);
	if (diag->source)
		print_source(diag, c, out);
	if (diag->hint && (diag->source == NULL || diag->width == 0))
		fprintf(out, "      = %s\n", diag->hint);
}

static const char *
plural(size_t n)
{
	return n == 1 ? "" : "s";
}

void
diags_print(const struct diags *diags, FILE *out, bool colour)
{
	const struct colours *c = colour ? &bright : &plain;
	size_t all = diags->errors + diags->warnings;

	for (size_t i = 0; i < diags->n; i++)
		print_one(diags->file, &diags->at[i], c, out);
	if (all > diags->n)
		fprintf(out, "... and %zu more.\n", all - diags->n);
	if (all > 0)
		fprintf(out, "%zu error%s, %zu warning%s.%s\n", diags->errors,
		    plural(diags->errors), diags->warnings,
		    plural(diags->warnings),
		    diags->errors ? " Nothing was changed." : "");
}

/* Bytes that are not UTF-8 (in a file's name) become '?'. */
static json_t *
json_text(const char *text)
{
	json_t *value = text ? json_string(text) : json_null();

	return value ? value : json_string("?");
}

static json_t *
diag_json(const char *file, const struct diag *diag)
{
	json_t *one = json_object();

	json_object_set_new(one, "file", json_text(file));
	json_object_set_new(one, "line", json_integer(diag->line));
	json_object_set_new(one, "column", json_integer(diag->column));
	json_object_set_new(one, "code", json_text(diag->code));
	json_object_set_new(one, "message", json_text(diag->message));
	json_object_set_new(one, "hint", json_text(diag->hint));
	return one;
}

char *
diags_json(const struct diags *diags)
{
	json_t *root = json_object(), *errors = json_array(),
	       *warnings = json_array();
	char *text;

	json_object_set_new(root, "schema", json_string("weir.check/v1"));
	for (size_t i = 0; i < diags->n; i++)
		json_array_append_new(
		    diags->at[i].is_warning ? warnings : errors,
		    diag_json(diags->file, &diags->at[i]));
	json_object_set_new(root, "errors", errors);
	json_object_set_new(root, "warnings", warnings);
	text = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	return text;
}

bool
config_explain_code(const char *code, FILE *out, struct err *err)
{
	for (size_t i = 0; i < DIAG_CODES; i++) {
		const struct code_row *row = &code_rows[i];

		if (!span_ieq(span_of(code), span_of(row->code)))
			continue;
		fprintf(
		    out, "%s: %s\n\n%s\n", row->code, row->title, row->more);
		return true;
	}
	return err_set(err, "no error has the code '%s': they go from %s to %s",
	    code, code_rows[0].code, code_rows[DIAG_CODES - 1].code);
}
