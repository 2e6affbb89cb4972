/*
 * Lists of address ranges: written in the file, or in files of their own with
 * a range on each line, '#' to the line's end being a comment. Blocklists come
 * with a hundred thousand lines, so such a file is read in one go and only its
 * first mistake is told.
 */
#include <stdlib.h>

#include "config/load/load.h"
#include "config/mem.h"

enum { FILE_BYTES_MAX = 64 << 20, RANGES_MAX = 2000000 };

struct growing {
	struct cidrs *cidrs;
	size_t cap;
};

static bool
add(struct growing *list, const struct cidr *cidr)
{
	if (list->cidrs->n == RANGES_MAX)
		return false;
	if (list->cidrs->n == list->cap) {
		list->cap = list->cap ? 2 * list->cap : 16;
		list->cidrs->at = mem_grow(
		    list->cidrs->at, list->cap, sizeof(*list->cidrs->at));
	}
	list->cidrs->at[list->cidrs->n++] = *cidr;
	return true;
}

/* ---- a file ---- */

static struct span
trimmed(struct span line)
{
	const char *comment = memchr(line.ptr, '#', line.len);

	if (comment)
		line.len = (size_t)(comment - line.ptr);
	while (line.len > 0 && strchr(" \t\r", line.ptr[line.len - 1]))
		line.len--;
	while (line.len > 0 && strchr(" \t", *line.ptr)) {
		line.ptr++;
		line.len--;
	}
	return line;
}

/*
 * Lines are not quoted: the path may be that of any file that weir can read,
 * and whoever has a config checked need not be one who can.
 */
static void
take_lines(struct load *load, const struct node *node, const char *path,
    struct span text, struct growing *list)
{
	struct span shown = load_shown(node, path);
	unsigned number = 0;
	char where[WHERE_MAX];

	while (text.len > 0) {
		const char *end = memchr(text.ptr, '\n', text.len);
		size_t len = end ? (size_t)(end - text.ptr) : text.len;
		struct span line = trimmed((struct span){text.ptr, len});
		struct cidr cidr;

		number++;
		text.ptr += len + (end != NULL);
		text.len -= len + (end != NULL);
		if (line.len == 0 ||
		    (cidr_parse(line, &cidr) && add(list, &cidr)))
			continue;
		report_add(load->report, DIAG_RANGE, node_place(node),
		    list->cidrs->n == RANGES_MAX
		        ? "a list has at most 2000000 ranges"
		        : "write \"10.0.0.0/8\", \"2001:db8::/32\" or one "
		          "address; bits behind the length are zero",
		    "%s: %.*s:%u: this is not a range of addresses",
		    node_where(node, where), (int)shown.len, shown.ptr, number);
		return;
	}
}

static void
take_file(struct load *load, const struct node *node, const char *path,
    struct growing *list)
{
	struct span shown = load_shown(node, path);
	char where[WHERE_MAX], *bytes;
	struct err err;
	size_t len;

	if (!load_can_read(load, node, path))
		return;
	if (!file_read(path, FILE_BYTES_MAX, &bytes, &len, &err)) {
		report_add(load->report, DIAG_FILE_NAMED, node_place(node),
		    "write one range on each line, at most 64 MiB",
		    "%s: %.*s: %s", node_where(node, where), (int)shown.len,
		    shown.ptr, err.text);
		return;
	}
	take_lines(load, node, path, (struct span){bytes, len}, list);
	free(bytes);
}

/* ---- a list ---- */

void
load_ranges(struct load *load, const struct node *map, enum row_id list,
    enum row_id file, struct range_list *out)
{
	struct entries entries = field_entries(map, list);
	struct growing growing = {&out->all, 0};

	out->files.at = mem_new(entries.n, sizeof(*out->files.at));
	for (size_t i = 0; i < entries.n; i++) {
		struct cidr cidr;

		if (entries.at[i]->kind == NODE_SCALAR &&
		    !entries.at[i]->is_bad &&
		    cidr_parse(entries.at[i]->text, &cidr))
			add(&growing, &cidr);
	}
	out->n_written = out->all.n;
	for (size_t i = 0; i < entries.n; i++) {
		char *path = entries.at[i]->kind == NODE_MAP
		                 ? load_path(load, entries.at[i], file)
		                 : NULL;

		if (path == NULL)
			continue;
		out->files.at[out->files.n++] = path;
		take_file(load, field(entries.at[i], file), path, &growing);
	}
	out->is_given = field(map, list) != NULL;
}
