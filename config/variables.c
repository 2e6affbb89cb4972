/*
 * ${NAME}, ${NAME:-default} and ${NAME:?message} in a scalar, filled in from
 * the environment. The result is text, never YAML again: a variable cannot
 * add keys. ${lower.case} is left for the templates of headers.
 *
 * Messages never quote what a variable held.
 */
#include <stdlib.h>

#include "config/mem.h"
#include "config/tree.h"

enum { NAME_MAX_BYTES = 256 };

struct filling {
	struct tree *tree;
	struct node *node;
	struct report *report;
	char *out; /* owned */
	size_t n, cap;
};

static bool
put(struct filling *f, struct span text)
{
	if (f->tree->n_bytes + text.len > CONFIG_SIZE_MAX) {
		report_add(f->report, DIAG_TOO_LARGE, f->node->at, NULL,
		    "variables make the file larger than 4 MiB");
		return false;
	}
	if (f->cap - f->n < text.len) {
		f->cap = (f->n + text.len) * 2;
		f->out = mem_grow(f->out, f->cap, 1);
	}
	if (text.len > 0)
		memcpy(f->out + f->n, text.ptr, text.len);
	f->n += text.len;
	f->tree->n_bytes += text.len;
	return true;
}

static bool
is_name_byte(char c, bool is_first)
{
	return (c >= 'A' && c <= 'Z') || c == '_' ||
	       (!is_first && c >= '0' && c <= '9');
}

static bool
refuse(struct filling *f, struct span name, const char *hint, const char *what)
{
	report_add(f->report, DIAG_VARIABLE, f->node->at, hint, "%s%.*s%s",
	    name.len ? "environment variable " : "", (int)name.len,
	    name.len ? name.ptr : "", what);
	return false;
}

/* `rest` is what stands behind the name: nothing, ":-text" or ":?text". */
static bool
put_variable(struct filling *f, struct span name, struct span rest)
{
	char word[NAME_MAX_BYTES + 1] = {0}, hint[400];
	const char *value;

	if (name.len > NAME_MAX_BYTES)
		return refuse(f, (struct span){0}, NULL,
		    "the name of a variable is too long");
	memcpy(word, name.ptr, name.len);
	value = getenv(word);
	if (rest.len == 0) {
		snprintf(hint, sizeof(hint),
		    "set it, or give a default: ${%s:-text}", word);
		return value ? put(f, span_of(value))
		             : refuse(f, name, hint, " is not set");
	}
	rest.ptr += 2;
	rest.len -= 2;
	if (value && *value)
		return put(f, span_of(value));
	if (rest.ptr[-1] == '-')
		return put(f, rest);
	snprintf(hint, sizeof(hint), "%.*s",
	    (int)(rest.len < 300 ? rest.len : 300), rest.ptr);
	return refuse(f, name, rest.len ? hint : NULL, " is not set");
}

/* `inner` is what stands between the braces. */
static bool
put_expression(struct filling *f, struct span whole, struct span inner)
{
	struct span name = {inner.ptr, 0}, rest;

	while (name.len < inner.len &&
	       is_name_byte(inner.ptr[name.len], name.len == 0))
		name.len++;
	rest = (struct span){name.ptr + name.len, inner.len - name.len};
	if (name.len == 0) {
		f->node->has_template = true;
		return put(f, whole);
	}
	if (rest.len == 0 || span_starts(rest, SPAN(":-")) ||
	    span_starts(rest, SPAN(":?")))
		return put_variable(f, name, rest);
	return refuse(f, (struct span){0},
	    "write ${NAME}, ${NAME:-default} or ${NAME:?message}",
	    "not a variable");
}

static bool
fill(struct filling *f, struct span text)
{
	while (text.len > 0) {
		const char *end = text.ptr + text.len;
		const char *open = memmem(text.ptr, text.len, "${", 2);
		const char *close;

		if (open == NULL)
			return put(f, text);
		if (!put(f, (struct span){text.ptr, (size_t)(open - text.ptr)}))
			return false;
		close = memchr(open, '}', (size_t)(end - open));
		if (close == NULL)
			return refuse(f, (struct span){0}, NULL,
			    "the brace of ${ is not closed");
		if (!put_expression(f,
		        (struct span){open, (size_t)(close + 1 - open)},
		        (struct span){open + 2, (size_t)(close - open - 2)}))
			return false;
		text = (struct span){close + 1, (size_t)(end - close - 1)};
	}
	return true;
}

bool
variables_fill(struct tree *tree, struct node *node, struct report *report)
{
	struct filling f = {.tree = tree, .node = node, .report = report};
	bool is_fine;

	if (memmem(node->text.ptr, node->text.len, "${", 2) == NULL)
		return true;
	is_fine = fill(&f, node->text);
	if (is_fine) {
		char *copy = tree_alloc(tree, f.n + 1, 1);

		if (f.n > 0)
			memcpy(copy, f.out, f.n);
		node->text = (struct span){copy, f.n};
	}
	free(f.out);
	return is_fine;
}
