/*
 * weir check: everything that `weir run` would find wrong with a file, without
 * running it: first what config finds, then whether the certificates and keys
 * can be put to work. Text goes to standard error, JSON to standard output.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/command/command.h"
#include "tls/tls.h"

enum { FLAG_FORMAT = FLAG_LONG, FLAG_STRICT, FLAG_EXPLAIN };

const struct flag check_flags[] = {
    {'c', "config", "FILE", "the config"},
    {FLAG_FORMAT, "format", "text|json", "how to tell, text without"},
    {FLAG_STRICT, "strict", NULL, "warnings are errors"},
    {'q', "quiet", NULL, "say nothing when the file can be used"},
    {FLAG_EXPLAIN, "explain", "CODE", "what an error code means, as in E029"},
    {'t', "test", NULL, NULL}, /* weir -t -c FILE */
    {0},
};

struct check_wish {
	const char *path, *explain;
	bool json, is_strict, is_quiet;
};

/* ---- certificates and keys ---- */

static void
add_diag(
    struct diags *diags, bool is_warning, const char *code, const char *message)
{
	struct diag *at =
	    realloc(diags->at, CONFIG_DIAGS_MAX * sizeof(*diags->at));

	if (at)
		diags->at = at;
	if (is_warning)
		diags->warnings++;
	else
		diags->errors++;
	if (!at || diags->n == CONFIG_DIAGS_MAX)
		return;
	at += diags->n++;
	*at =
	    (struct diag){.is_warning = is_warning, .message = strdup(message)};
	snprintf(at->code, sizeof(at->code), "%s", code);
}

/* That others can read a key is config's W003 already. */
static void
add_warnings(struct diags *diags, const char *listener, char *warnings)
{
	char *rest = warnings, *line;
	struct err err;

	while ((line = strsep(&rest, "\n")) != NULL) {
		if (*line == '\0' || strstr(line, "be read by others"))
			continue;
		err_set(&err, "listener \"%s\": %s", listener, line);
		add_diag(diags, true, "W007", err.text);
	}
}

static void
check_listener(const struct listener_cfg *cfg, struct tls_tickets *tickets,
    struct diags *diags)
{
	char *warnings = NULL;
	struct err err;
	struct tls_server *server =
	    tls_server_new(&cfg->tls, tickets, 1, &warnings, &err);

	if (!server) {
		err_wrap(&err, "listener \"%s\"", cfg->name);
		add_diag(diags, false, "E034", err.text);
	}
	if (warnings)
		add_warnings(diags, cfg->name, warnings);
	free(warnings);
	if (server)
		tls_server_free(&server);
}

static void
check_pool(const struct pool_cfg *cfg, struct diags *diags)
{
	struct err err;
	struct tls_client *client = tls_client_new(&cfg->tls, 1, &err);

	if (!client) {
		err_wrap(&err, "pool \"%s\"", cfg->name);
		add_diag(diags, false, "E034", err.text);
	}
	if (client)
		tls_client_free(&client);
}

static void
check_admin(const struct admin_cfg *cfg, struct diags *diags)
{
	char *warnings = NULL;
	struct err err;
	struct tls_gate *gate =
	    tls_gate_new(&cfg->tls, cfg->tls_client_ca, &warnings, &err);

	if (!gate) {
		err_wrap(&err, "admin.tls");
		add_diag(diags, false, "E034", err.text);
	}
	if (warnings)
		add_warnings(diags, "admin", warnings);
	free(warnings);
	tls_gate_free(&gate);
}

static void
check_tls(const struct config *config, struct diags *diags)
{
	struct tls_tickets *tickets = tls_tickets_new();

	for (size_t i = 0; tickets && i < config->n_listeners; i++)
		if (config->listeners[i].has_tls)
			check_listener(&config->listeners[i], tickets, diags);
	for (size_t i = 0; i < config->n_pools; i++)
		if (config->pools[i].tls.on)
			check_pool(&config->pools[i], diags);
	if (config->admin.has_tls)
		check_admin(&config->admin, diags);
	if (tickets)
		tls_tickets_free(&tickets);
}

/* ---- where it stands ---- */

/*
 * The model does not know the lines that it came from. What a message names, a
 * file or the listener or pool that has it, stands in the text under the same
 * name: that line is shown.
 */
static bool
place_by(struct diag *diag, const char *text, struct span word)
{
	const char *at = word.len > 0
	                     ? memmem(text, strlen(text), word.ptr, word.len)
	                     : NULL;
	const char *begin = at;

	if (!at)
		return false;
	while (begin > text && begin[-1] != '\n')
		begin--;
	diag->line = 1;
	for (const char *p = text; p < begin; p++)
		diag->line += *p == '\n';
	diag->column = (unsigned)(at - begin) + 1;
	diag->width = (unsigned)word.len;
	diag->source = strndup(begin, strcspn(begin, "\n"));
	diag->source_column = 1;
	return true;
}

/* The last part of a path: the file may name it relative to itself. */
static bool
place_by_file(struct diag *diag, const char *text)
{
	static const char ends[] = " :,;\"'()";
	const char *p = diag->message;

	while (*p) {
		size_t len = strcspn(p, ends);
		const char *slash = memrchr(p, '/', len);
		const char *name = slash ? slash + 1 : p;

		if ((slash || memchr(p, '.', len)) &&
		    place_by(diag, text,
		        (struct span){name, (size_t)(p + len - name)}))
			return true;
		p += len + strspn(p + len, ends);
	}
	return false;
}

static bool
place_by_name(struct diag *diag, const char *text)
{
	const char *from = strchr(diag->message, '"');
	const char *to = from ? strchr(from + 1, '"') : NULL;

	return to && place_by(diag, text,
	                 (struct span){from + 1, (size_t)(to - from - 1)});
}

static void
place_all(const char *path, struct diags *diags)
{
	FILE *file = strcmp(path, "-") != 0 ? fopen(path, "re") : NULL;
	char *text = file ? calloc(1, CONFIG_SIZE_MAX + 1) : NULL;

	if (text && fread(text, 1, CONFIG_SIZE_MAX, file) > 0)
		for (size_t i = 0; i < diags->n; i++)
			if (diags->at[i].line == 0 && diags->at[i].message &&
			    !place_by_file(&diags->at[i], text))
				place_by_name(&diags->at[i], text);
	free(text);
	if (file)
		fclose(file);
}

/* ---- telling ---- */

static bool
tell_json(const struct diags *diags)
{
	char *text = diags_json(diags);

	if (!text)
		return false;
	puts(text);
	free(text);
	return fflush(stdout) == 0;
}

static void
tell_text(const struct check_wish *wish, const struct config *config,
    const struct diags *diags, bool is_fine)
{
	bool colour = isatty(STDERR_FILENO) && !getenv("NO_COLOR");

	if (diags->n > 0 && !(is_fine && wish->is_quiet))
		diags_print(diags, stderr, colour);
	if (is_fine && !wish->is_quiet)
		printf("%s: fine: listeners %zu, routes %zu, splits %zu, pools "
		       "%zu\n",
		    wish->path, config->n_listeners, config->n_routes,
		    config->n_splits, config->n_pools);
}

static int
check_file(const struct check_wish *wish)
{
	struct diags diags = {0};
	struct config *config = config_load(wish->path, &diags);
	bool is_fine, is_told = true;

	if (config)
		check_tls(config, &diags);
	if (config && diags.n > 0)
		place_all(wish->path, &diags);
	is_fine = config && diags.errors == 0 &&
	          !(wish->is_strict && diags.warnings > 0);
	if (wish->json)
		is_told = tell_json(&diags);
	else
		tell_text(wish, config, &diags, is_fine);
	diags_release(&diags);
	config_free(&config);
	if (!is_told)
		return EXIT_INTERNAL;
	return is_fine ? EXIT_OK : EXIT_USAGE;
}

/* ---- the command ---- */

static int
take_format(struct args *args, struct check_wish *wish)
{
	static const char *const formats[] = {"text", "json"};
	const char *near = suggest(span_of(args->value), formats, 2);

	wish->json = strcmp(args->value, "json") == 0;
	if (wish->json || strcmp(args->value, "text") == 0)
		return EXIT_OK;
	return args_refuse(args, "--format is text or json, not \"%s\"%s%s%s",
	    args->value, near ? "; did you mean " : "", near ? near : "",
	    near ? "?" : "");
}

static int
take(struct args *args, int key, struct check_wish *wish)
{
	switch (key) {
	case ARG_WRONG:
		return EXIT_USAGE;
	case FLAG_FORMAT:
		return take_format(args, wish);
	case FLAG_EXPLAIN:
		wish->explain = args->value;
		return EXIT_OK;
	case FLAG_STRICT:
		wish->is_strict = true;
		return EXIT_OK;
	case 'q':
		wish->is_quiet = true;
		return EXIT_OK;
	case 't':
		return EXIT_OK;
	}
	if (wish->path)
		return args_refuse(args,
		    "one file at a time: \"%s\" is too many", args->value);
	wish->path = args->value;
	return EXIT_OK;
}

int
cmd_check(struct args *args)
{
	struct check_wish wish = {0};
	struct err err;
	int code;

	for (int key; (key = args_next(args)) != ARG_END;) {
		code = take(args, key, &wish);
		if (code != EXIT_OK)
			return code;
	}
	if (wish.explain)
		return config_explain_code(wish.explain, stdout, &err)
		           ? EXIT_OK
		           : args_refuse(args, "%s", err.text);
	if (!wish.path)
		return args_refuse(args, "which file? Say -c FILE");
	return check_file(&wish);
}
