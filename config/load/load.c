/*
 * A file becomes a config: read (never more than 4 MiB), grow the tree, judge
 * it by the table, build the model, check what belongs together. Every step
 * adds to the report; a config comes out only when there was no error.
 */
#include "config/load/load.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config/mem.h"

enum { AUTHORITIES_MAX = 4 << 20 };

/* ---- parts that several nouns have ---- */

static char *
path_join(const char *folder, struct span path)
{
	struct span head = span_of(folder);
	char *joined;

	if (head.len == 0 || (path.len > 0 && path.ptr[0] == '/'))
		return mem_text(path);
	joined = mem_new(head.len + path.len + 2, 1);
	memcpy(joined, head.ptr, head.len);
	joined[head.len] = '/';
	memcpy(joined + head.len + 1, path.ptr, path.len);
	return joined;
}

char *
load_path(const struct load *load, const struct node *map, enum row_id id)
{
	char *text = field_text(map, id), *path;

	if (text == NULL)
		return NULL;
	path = path_join(load->folder, span_of(text));
	free(text);
	return path;
}

static bool
holds_variable(const struct node *node)
{
	return node->kind == NODE_SCALAR && !span_eq(node->written, node->text);
}

struct span
load_shown(const struct node *node, const char *text)
{
	for (size_t i = 0; i < node->n; i++)
		if (holds_variable(node->child[i]))
			return node->child[i]->written;
	return holds_variable(node) ? node->written : span_of(text);
}

/* What to do about a file that cannot be read. */
static void
hint_unreadable(
    const struct load *load, const char *path, int why, char *hint, size_t cap)
{
	const char *slash = strrchr(path, '/');
	int folder_len = slash && slash > path ? (int)(slash - path) : 1;
	char folder[512];
	struct stat st;

	snprintf(folder, sizeof(folder), "%.*s", folder_len, path);
	if (why == EACCES)
		snprintf(hint, cap,
		    "uid %u may not read it: look at the rights of the file "
		    "and of the folders above",
		    (unsigned)geteuid());
	else if (why != ENOENT && why != ENOTDIR)
		snprintf(hint, cap, "name a file that can be read");
	else if (slash && stat(folder, &st) != 0)
		snprintf(hint, cap,
		    "put it there, or mend the path: there is no folder %.200s",
		    folder);
	else
		snprintf(hint, cap,
		    "put it there, or mend the path; relative ones begin in "
		    "%.200s",
		    load->folder[0] ? load->folder
		                    : "the folder that weir was started in");
}

bool
load_can_read(
    const struct load *load, const struct node *node, const char *path)
{
	struct span shown = load_shown(node, path);
	char where[WHERE_MAX], hint[320];
	struct stat st;

	if (load->is_trusted)
		return true;
	if (stat(path, &st) != 0 || access(path, R_OK) != 0) {
		int why = errno;

		hint_unreadable(load, path, why, hint, sizeof(hint));
		report_add(load->report, DIAG_FILE_NAMED, node_place(node),
		    shown.ptr == path ? hint
		                      : "look at what the variable holds",
		    "%s: %.*s: %s", node_where(node, where), (int)shown.len,
		    shown.ptr, strerror(why));
		return false;
	}
	if (S_ISREG(st.st_mode))
		return true;
	report_add(load->report, DIAG_FILE_NAMED, node_place(node),
	    S_ISDIR(st.st_mode) ? "name a file in it" : "name a file",
	    "%s: %.*s is %s", node_where(node, where), (int)shown.len,
	    shown.ptr,
	    S_ISDIR(st.st_mode) ? "a directory" : "not a regular file");
	return false;
}

/* Does a line of it begin a certificate? What stands in that, TLS finds out;
   so it does with what is told elsewhere, or is no file. */
static bool
holds_certificate(const char *path)
{
	static const char begin[] = "-----BEGIN ", end[] = "CERTIFICATE-----";
	char *bytes;
	size_t len;
	struct err err;
	bool is_found = false;

	if (!file_read(path, AUTHORITIES_MAX, &bytes, &len, &err))
		return true;
	for (char *line = bytes; *line && !is_found;
	     line += len + (line[len] == '\n')) {
		len = strcspn(line, "\n");
		is_found = strncmp(line, begin, sizeof(begin) - 1) == 0 &&
		           memmem(line, len, end, sizeof(end) - 1);
	}
	free(bytes);
	return is_found;
}

char *
load_authorities(
    const struct load *load, const struct node *map, enum row_id id)
{
	const struct node *node = field(map, id);
	char *path = load_path(load, map, id), where[WHERE_MAX];

	if (path && load_can_read(load, node, path) && !load->is_trusted &&
	    !holds_certificate(path)) {
		struct span shown = load_shown(node, path);

		report_add(load->report, DIAG_FILE_NAMED, node_place(node),
		    "a PEM file begins with -----BEGIN CERTIFICATE-----",
		    "%s: %.*s holds no certificate", node_where(node, where),
		    (int)shown.len, shown.ptr);
	}
	return path;
}

struct strings
load_paths(const struct load *load, const struct node *map, enum row_id id)
{
	struct entries entries = field_entries(map, id);
	struct strings out = {NULL, 0};

	out.at = mem_new(entries.n, sizeof(*out.at));
	for (size_t i = 0; i < entries.n; i++) {
		if (entries.at[i]->is_bad)
			continue;
		out.at[out.n] = path_join(load->folder, entries.at[i]->text);
		load_can_read(load, entries.at[i], out.at[out.n++]);
	}
	return out;
}

static void
check_key_mode(
    const struct load *load, const struct node *node, const char *path)
{
	struct span shown = load_shown(node, path);
	char where[WHERE_MAX], hint[320];
	struct stat st;

	if (stat(path, &st) != 0 || !(st.st_mode & 077))
		return;
	snprintf(hint, sizeof(hint), "chmod 600 %.*s",
	    (int)(shown.len < 300 ? shown.len : 300), shown.ptr);
	report_add(load->report, DIAG_KEY_READABLE, node_place(node), hint,
	    "%s: others can read %.*s", node_where(node, where), (int)shown.len,
	    shown.ptr);
}

static void
check_secret(const struct load *load, const struct node *node,
    const struct secret *secret)
{
	struct span shown = load_shown(node, secret->where);
	const char *folder;
	char where[WHERE_MAX], *path;

	if (load->is_trusted)
		return;
	switch (secret->from) {
	case SECRET_FILE:
		if (load_can_read(load, node, secret->where))
			check_key_mode(load, node, secret->where);
		break;
	case SECRET_ENV:
		if (getenv(secret->where) == NULL)
			report_add(load->report, DIAG_FILE_NAMED,
			    node_place(node),
			    "set it where weir is started (systemd: "
			    "Environment=), or name a {file: PATH}",
			    "%s: environment variable %.*s is not set",
			    node_where(node, where), (int)shown.len, shown.ptr);
		break;
	case SECRET_CREDENTIAL:
		folder = getenv("CREDENTIALS_DIRECTORY");
		if (folder == NULL || strchr(secret->where, '/')) {
			report_add(load->report, DIAG_FILE_NAMED,
			    node_place(node),
			    "systemd's LoadCredential= provides credentials",
			    "%s: there is no credential %.*s",
			    node_where(node, where), (int)shown.len, shown.ptr);
			break;
		}
		path = path_join(folder, span_of(secret->where));
		load_can_read(load, node, path);
		free(path);
		break;
	case SECRET_NONE:
		break;
	}
}

struct secret
load_secret(const struct load *load, const struct node *map, enum row_id id)
{
	const struct node *node = field(map, id);
	struct secret secret = {SECRET_NONE, NULL};

	if (node == NULL)
		return secret;
	secret.from = SECRET_FILE + (unsigned)node->word;
	secret.where = secret.from == SECRET_FILE
	                   ? path_join(load->folder, node->child[0]->text)
	                   : mem_text(node->child[0]->text);
	check_secret(load, node, &secret);
	return secret;
}

struct key_pair
load_key_pair(const struct load *load, const struct node *map, enum row_id cert,
    enum row_id key)
{
	struct key_pair pair = {0};

	pair.cert = load_path(load, map, cert);
	if (pair.cert)
		load_can_read(load, field(map, cert), pair.cert);
	pair.key = load_secret(load, map, key);
	return pair;
}

struct address *
load_addresses(const struct node *map, enum row_id id, size_t *n_out)
{
	struct strings texts = field_strings(map, id);
	struct address *at = mem_new(texts.n, sizeof(*at));
	struct err err;

	for (size_t i = 0; i < texts.n; i++) {
		bool is_fine =
		    address_parse(span_of(texts.at[i]), &at[i], &err);

		assert(is_fine);
		free(texts.at[i]);
	}
	free(texts.at);
	*n_out = texts.n;
	return at;
}

void
load_key(struct load *load, const struct node *map, enum row_id by,
    enum row_id name, struct key_cfg *key)
{
	const struct node *given = field(map, name);
	bool wants_name = key->by == KEY_COOKIE || key->by == KEY_HEADER;
	char where[WHERE_MAX];

	if (map == NULL)
		return;
	key->name = key->by == KEY_HEADER ? field_lower(map, name)
	                                  : field_text(map, name);
	if (wants_name && node_get(map, SPAN("name")) == NULL)
		report_add(load->report, DIAG_MISSING_KEY, node_place(map),
		    NULL, "\"name\" is missing in %s: which %s?",
		    node_where(map, where),
		    key->by == KEY_COOKIE ? "cookie" : "header");
	else if (!wants_name && given && field(map, by))
		report_add(load->report, DIAG_CONFLICT, given->key_at, NULL,
		    "%s: only a cookie or a header has a name",
		    node_where(map, where));
}

uint32_t
load_index(const struct node *section, const struct node *name)
{
	long i = section && name ? node_find(section, name->text) : -1;

	return i < 0 ? 0 : (uint32_t)i;
}

/* ---- the whole ---- */

static void
load_top(struct load *load)
{
	struct config *config = load->config;
	const struct node *drain = field(load->root, ROW_DRAIN);

	config->workers = field_word(load->root, ROW_WORKERS) == 0
	                      ? 0
	                      : (unsigned)field_number(load->root, ROW_WORKERS);
	config->user = field_text(load->root, ROW_USER);
	config->state_dir = load_path(load, load->root, ROW_STATE_DIR);
	config->drain = (struct drain_cfg){
	    .delay = field_duration(drain, ROW_DRAIN_DELAY),
	    .limit = field_duration(drain, ROW_DRAIN_LIMIT),
	};
}

static const struct node *
section(const struct load *load, enum row_id id)
{
	const struct node *node = field(load->root, id);

	return node && node->kind == NODE_MAP ? node : NULL;
}

static void
load_model(struct load *load)
{
	load->listeners = section(load, ROW_LISTENERS);
	load->pools = section(load, ROW_POOLS);
	load->splits = section(load, ROW_SPLITS);
	load->plans = section(load, ROW_PLANS);
	load->routes = field_entries(load->root, ROW_ROUTES);
	load_top(load);
	load_admin(load);
	load_logs(load);
	load_dns(load);
	load_geo(load);
	load_redis(load);
	load_listeners(load);
	load_pools(load);
	load_splits(load);
	load_routes(load);
	load_plans(load);
	check_whole(load);
}

static char *
folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (slash == path)
		return mem_text(SPAN("/"));
	return mem_text(
	    (struct span){path, slash ? (size_t)(slash - path) : 0});
}

static struct config *
config_build(
    struct tree *tree, const char *name, bool is_trusted, struct report *report)
{
	char *folder = folder_of(name);
	struct config *config = mem_new(1, sizeof(*config));
	struct load load = {
	    .tree = tree,
	    .report = report,
	    .config = config,
	    .folder = folder,
	    .root = tree->root,
	    .is_trusted = is_trusted,
	};

	config->path = mem_text(span_of(name));
	tree_walk(tree->root, report);
	if (!tree->root->is_bad)
		load_model(&load);
	free(folder);
	return config;
}

static bool
is_blank(struct span text)
{
	size_t i = 0;

	while (i < text.len && strchr(" \t\r\n", text.ptr[i]))
		i++;
	return i == text.len;
}

/* A byte order mark is taken off, so that columns are right. */
static struct span
without_mark(struct span text)
{
	if (span_starts(text, SPAN("\xef\xbb\xbf")))
		return (struct span){text.ptr + 3, text.len - 3};
	return text;
}

static bool
text_is_taken(struct span text, struct report *report)
{
	struct place nowhere = {0, 0, 0};

	if (text.len > CONFIG_SIZE_MAX)
		report_add(report, DIAG_TOO_LARGE, nowhere, NULL,
		    "the file is larger than 4 MiB");
	else if (text.len > 0 && memchr(text.ptr, 0, text.len))
		report_add(report, DIAG_NOT_TEXT, nowhere,
		    "a configuration is UTF-8 text",
		    "the file is not text: it holds NUL bytes");
	else if (is_blank(text))
		report_add(report, DIAG_EMPTY_FILE, nowhere,
		    "it needs a listener, a pool and a route",
		    "the file is empty");
	else
		return true;
	return false;
}

static struct config *
load_into(
    const char *name, struct span text, bool is_trusted, struct report *report)
{
	struct config *config = NULL;
	struct tree tree = {0};

	text = without_mark(text);
	if (!text_is_taken(text, report))
		return NULL;
	if (tree_parse(&tree, text, is_trusted, report)) {
		if (tree.root == NULL)
			report_add(report, DIAG_EMPTY_FILE,
			    (struct place){0, 0, 0},
			    "it needs a listener, a pool and a route",
			    "the file holds nothing but comments");
		else
			config = config_build(&tree, name, is_trusted, report);
	}
	report_finish(report, text);
	tree_release(&tree);
	if (config)
		config->hash = span_hash(text);
	if (report->diags->errors > 0)
		config_free(&config);
	return config;
}

static struct config *
load_text(const char *name, struct span text, bool is_trusted,
    struct diags *diags_out)
{
	struct report *report = mem_new(1, sizeof(*report));
	struct config *config;

	diags_init(diags_out, name);
	report->diags = diags_out;
	config = load_into(name, text, is_trusted, report);
	free(report);
	return config;
}

struct config *
config_load_text(const char *name, struct span text, struct diags *diags_out)
{
	return load_text(name, text, false, diags_out);
}

struct config *
config_load_trusted(const char *name, struct span text, struct diags *diags_out)
{
	return load_text(name, text, true, diags_out);
}

/* ---- the file ---- */

/* One byte more than is taken, so that "too large" is seen; -1 with errno. */
static ssize_t
read_bounded(int fd, char *bytes)
{
	size_t len = 0;

	while (len <= CONFIG_SIZE_MAX) {
		ssize_t n = read(fd, bytes + len, CONFIG_SIZE_MAX + 1 - len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		len += (size_t)n;
	}
	return (ssize_t)len;
}

static struct config *
load_open_file(int fd, const char *path, struct report *report)
{
	struct place nowhere = {0, 0, 0};
	struct config *config = NULL;
	struct stat st;
	char *bytes, hint[320];
	ssize_t len;

	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode)) {
		snprintf(hint, sizeof(hint), "chmod o-w %.300s", path);
		if (st.st_mode & S_IWOTH)
			report_add(report, DIAG_FILE_WRITABLE, nowhere, hint,
			    "everybody may write to the file");
		if (st.st_size > CONFIG_SIZE_MAX) {
			report_add(report, DIAG_TOO_LARGE, nowhere, NULL,
			    "the file is larger than 4 MiB");
			return NULL;
		}
	}
	bytes = mem_new(CONFIG_SIZE_MAX + 1, 1);
	len = read_bounded(fd, bytes);
	if (len < 0)
		report_add(report, DIAG_FILE_UNREADABLE, nowhere, NULL, "%s",
		    errno == EISDIR ? "this is a directory, not a file"
		                    : strerror(errno));
	else
		config = load_into(
		    path, (struct span){bytes, (size_t)len}, false, report);
	free(bytes);
	return config;
}

/*
 * A pipe that nobody writes to reads as empty instead of waiting forever; on
 * standard input ("-") somebody is awaited.
 */
static int
file_open(const char *path)
{
	int fd = strcmp(path, "-") == 0
	             ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
	             : -1;

	if (fd >= 0)
		return fd;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);

	if (fd >= 0)
		fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

struct config *
config_load(const char *path, struct diags *diags_out)
{
	struct report *report = mem_new(1, sizeof(*report));
	struct config *config = NULL;
	int fd = file_open(path);

	diags_init(diags_out, path);
	report->diags = diags_out;
	if (fd < 0) {
		report_add(report, DIAG_FILE_UNREADABLE,
		    (struct place){0, 0, 0}, NULL, "%s", strerror(errno));
	} else {
		config = load_open_file(fd, path, report);
		close(fd);
	}
	free(report);
	return config;
}
