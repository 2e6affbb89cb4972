/*
 * Tables for people: columns as wide as their widest cell, no colours, no
 * lines, so that cut and awk work on them. Everything that is printed came
 * over the wire from a weir; control characters are shown as '?' so that a
 * name cannot move the cursor.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/ctl/ctl.h"

enum { COLUMNS_MAX = 12, CELL_MAX = 160 };

struct ctl_table {
	size_t columns, cells, cap;
	char (*text)[CELL_MAX]; /* owned; the heads come first */
};

struct ctl_table *
ctl_table_new(const char *const *heads, size_t n)
{
	struct ctl_table *table = calloc(1, sizeof(*table));

	if (!table)
		return NULL;
	table->columns = n;
	for (size_t i = 0; i < n; i++)
		ctl_table_cell(table, "%s", heads[i]);
	return table;
}

void
ctl_table_cell(struct ctl_table *table, const char *format, ...)
{
	char(*bigger)[CELL_MAX], *cell;
	va_list ap;

	if (!table)
		return;
	if (table->cells == table->cap) {
		table->cap = table->cap ? 2 * table->cap : 64;
		bigger = realloc(table->text, table->cap * sizeof(*bigger));
		if (!bigger) {
			table->cap = table->cells;
			return;
		}
		table->text = bigger;
	}
	cell = table->text[table->cells++];
	va_start(ap, format);
	vsnprintf(cell, CELL_MAX, format, ap);
	va_end(ap);
	for (; *cell; cell++)
		if ((unsigned char)*cell < 0x20 || *cell == 0x7f)
			*cell = '?';
}

void
ctl_table_print(struct ctl_table **table, FILE *out)
{
	struct ctl_table *t = *table;
	size_t widths[COLUMNS_MAX] = {0};

	if (!t)
		return;
	for (size_t i = 0; i < t->cells; i++) {
		size_t len = strlen(t->text[i]);

		if (len > widths[i % t->columns])
			widths[i % t->columns] = len;
	}
	for (size_t i = 0; i < t->cells; i++) {
		size_t column = i % t->columns;

		if (column + 1 == t->columns)
			fprintf(out, "%s\n", t->text[i]);
		else
			fprintf(out, "%-*s  ", (int)widths[column], t->text[i]);
	}
	free(t->text);
	free(t);
	*table = NULL;
}

int
ctl_print_json(const json_t *json)
{
	if (json_dumpf(json, stdout,
	        JSON_INDENT(2) | JSON_PRESERVE_ORDER |
	            JSON_REAL_PRECISION(12)) != 0)
		return CTL_INTERNAL;
	putchar('\n');
	return CTL_OK;
}

void
ctl_say(const char *format, ...)
{
	char *text;
	va_list ap;
	int n;

	va_start(ap, format);
	n = vasprintf(&text, format, ap);
	va_end(ap);
	if (n < 0)
		return;
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
	puts(text);
	free(text);
}

int
ctl_usage(const struct ctl *ctl, const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "weirctl %s: ", ctl->command->name);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\nTry: weirctl %s --help\n", ctl->command->name);
	return CTL_USAGE;
}

int
ctl_unknown(
    const char *kind, const char *word, const char *const *words, size_t n)
{
	const char *near = suggest(span_of(word), words, n);

	fprintf(stderr, "weirctl: there is no %s \"%s\"", kind, word);
	if (near)
		fprintf(stderr, "; did you mean \"%s\"?", near);
	fputc('\n', stderr);
	return CTL_NOT_FOUND;
}

const char *
ctl_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "-";
}

double
ctl_number(const json_t *object, const char *key)
{
	return json_number_value(json_object_get(object, key));
}

void
ctl_print_percent(char *buf, size_t cap, const json_t *value)
{
	if (json_is_number(value))
		snprintf(buf, cap, "%.6g%%", json_number_value(value));
	else
		snprintf(buf, cap, "-");
}

void
ctl_print_ms(char *buf, size_t cap, const json_t *value)
{
	if (json_is_number(value))
		snprintf(buf, cap, "%.4gms", json_number_value(value));
	else
		snprintf(buf, cap, "-");
}

void
ctl_print_age(char *buf, size_t cap, const char *text)
{
	struct tm tm = {0};
	long long age;

	if (!strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm)) {
		snprintf(buf, cap, "-");
		return;
	}
	age = (long long)time(NULL) - timegm(&tm);
	if (age < 120)
		snprintf(buf, cap, "%llds", age < 0 ? 0 : age);
	else if (age < 7200)
		snprintf(buf, cap, "%lldm", age / 60);
	else if (age < 172800)
		snprintf(buf, cap, "%lldh", age / 3600);
	else
		snprintf(buf, cap, "%lldd", age / 86400);
}
