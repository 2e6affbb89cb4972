/*
 * weir proxy: from the words of a command line to a config's text and from
 * there the common way. The text is what a file would say: `--print-config`
 * shows it, for the day when the command line gets too long.
 */
#include "proxy/proxy.h"

#include <stdlib.h>
#include <unistd.h>

#include "config/config.h"
#include "proxy/command/command.h"
#include "proxy/scratch.h"

enum { FLAG_TLS = FLAG_LONG, FLAG_POOL_HEADER, FLAG_PRINT };

const struct flag proxy_flags[] = {
    {FLAG_TLS, "tls", "self-signed",
        "speak TLS, with a certificate made in memory"},
    {FLAG_POOL_HEADER, "pool-header", "NAME",
        "response header that names the pool; none without"},
    {FLAG_PRINT, "print-config", NULL,
        "print the config instead of running it"},
    {0},
};

enum { WISH_ENDPOINTS_MAX = 64 };

/* NAME=HOST:PORT[,HOST:PORT...][@PERCENT]; spans point into argv. */
struct pool_wish {
	struct span name;
	struct span endpoints[WISH_ENDPOINTS_MAX];
	size_t n_endpoints;
	bool has_percent;
	bp_t percent;
};

struct proxy_wish {
	const char *listen, *pool_header;
	bool has_tls, only_print;
	struct pool_wish pools[CONFIG_SPLIT_POOLS_MAX];
	size_t n_pools;
};

/* ---- the words ---- */

/* Into a quoted scalar, so nothing that could end it or begin a variable. */
static bool
is_quotable(struct span text)
{
	for (size_t i = 0; i < text.len; i++)
		if ((unsigned char)text.ptr[i] < ' ' ||
		    strchr("\"\\$\177", text.ptr[i]))
			return false;
	return text.len > 0;
}

static bool
is_address(struct args *args, struct span text, bool may_be_name)
{
	struct address address;
	struct err err;
	bool is_fine;

	if (!is_quotable(text) || !address_parse(text, &address, &err)) {
		args_refuse(args,
		    "\"%.*s\" is no address; say 127.0.0.1:9001, [::1]:9001, "
		    "name:9001 or unix:/path",
		    (int)text.len, text.ptr);
		return false;
	}
	is_fine = may_be_name || address.kind != ADDRESS_NAME;
	if (!is_fine)
		args_refuse(args,
		    "\"%.*s\": one listens on literal addresses, as in "
		    "0.0.0.0:8080",
		    (int)text.len, text.ptr);
	address_release(&address);
	return is_fine;
}

static bool
is_name(struct span text)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

	for (size_t i = 0; i < text.len; i++)
		if (!memchr(letters, text.ptr[i], sizeof(letters) - 1))
			return false;
	return text.len > 0 && text.len <= CONFIG_NAME_MAX &&
	       text.ptr[0] != '-';
}

/* "a:1," names an empty second endpoint, which is no address. */
static bool
take_endpoints(struct args *args, struct span list, struct pool_wish *pool)
{
	const char *end = list.ptr + list.len;

	for (const char *at = list.ptr; at <= end;) {
		const char *comma = memchr(at, ',', (size_t)(end - at));
		const char *stop = comma ? comma : end;
		struct span one = {at, (size_t)(stop - at)};

		if (pool->n_endpoints == WISH_ENDPOINTS_MAX) {
			args_refuse(args,
			    "more than %d endpoints in one pool want a config "
			    "file",
			    WISH_ENDPOINTS_MAX);
			return false;
		}
		if (!is_address(args, one, true))
			return false;
		pool->endpoints[pool->n_endpoints++] = one;
		at = stop + 1;
	}
	return true;
}

static bool
take_percent(struct args *args, struct span *list, struct pool_wish *pool)
{
	const char *at = memrchr(list->ptr, '@', list->len);
	struct span text;

	if (!at)
		return true;
	text = (struct span){at + 1, list->len - (size_t)(at + 1 - list->ptr)};
	list->len = (size_t)(at - list->ptr);
	pool->has_percent = units_percent(text, &pool->percent);
	if (!pool->has_percent)
		args_refuse(args,
		    "\"@%.*s\" is no percentage; say @5 or @0.25%%",
		    (int)text.len, text.ptr);
	return pool->has_percent;
}

static bool
take_pool(struct args *args, struct proxy_wish *wish)
{
	struct span word = span_of(args->value), list;
	const char *equals = strchr(word.ptr, '=');
	struct pool_wish *pool;

	if (!equals) {
		args_refuse(args,
		    "\"%s\" is no pool; say NAME=HOST:PORT, as in "
		    "blue=127.0.0.1:9001@90",
		    word.ptr);
		return false;
	}
	if (wish->n_pools == CONFIG_SPLIT_POOLS_MAX) {
		args_refuse(args, "a split has at most %d pools",
		    CONFIG_SPLIT_POOLS_MAX);
		return false;
	}
	pool = &wish->pools[wish->n_pools];
	pool->name = (struct span){word.ptr, (size_t)(equals - word.ptr)};
	if (!is_name(pool->name)) {
		args_refuse(args,
		    "\"%.*s\" is no name: a-z, 0-9 and '-', at most 63",
		    (int)pool->name.len, pool->name.ptr);
		return false;
	}
	for (size_t i = 0; i < wish->n_pools; i++)
		if (span_eq(wish->pools[i].name, pool->name)) {
			args_refuse(args,
			    "two pools are named \"%.*s\"; endpoints of one "
			    "pool are joined by commas",
			    (int)pool->name.len, pool->name.ptr);
			return false;
		}
	list = (struct span){equals + 1, word.len - pool->name.len - 1};
	wish->n_pools++;
	return take_percent(args, &list, pool) &&
	       take_endpoints(args, list, pool);
}

/* One pool without a percentage takes what the others leave. */
static bool
share_out(struct args *args, struct proxy_wish *wish)
{
	struct pool_wish *rest = NULL;
	unsigned sum = 0;
	char text[16];

	for (size_t i = 0; i < wish->n_pools; i++) {
		struct pool_wish *pool = &wish->pools[i];

		sum += pool->has_percent ? pool->percent : 0;
		if (pool->has_percent)
			continue;
		if (rest) {
			args_refuse(args,
			    "both \"%.*s\" and \"%.*s\" are without a "
			    "percentage; one may be, and takes the rest",
			    (int)rest->name.len, rest->name.ptr,
			    (int)pool->name.len, pool->name.ptr);
			return false;
		}
		rest = pool;
	}
	if (rest && sum <= BP_ALL)
		rest->percent = (bp_t)(BP_ALL - sum);
	else if (sum != BP_ALL) {
		snprintf(text, sizeof(text), "%u.%02u", sum / 100, sum % 100);
		args_refuse(
		    args, "the percentages make %s together, not 100", text);
		return false;
	}
	return true;
}

static bool
take_pool_header(struct args *args, struct proxy_wish *wish)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-";

	wish->pool_header = args->value;
	if (*args->value != '\0' && strlen(args->value) <= 64 &&
	    strspn(args->value, letters) == strlen(args->value))
		return true;
	args_refuse(args,
	    "--pool-header %s: say a header's name in lower case, as in x-pool",
	    args->value);
	return false;
}

static bool
take(struct args *args, int key, struct proxy_wish *wish)
{
	switch (key) {
	case FLAG_TLS:
		wish->has_tls = strcmp(args->value, "self-signed") == 0;
		if (!wish->has_tls)
			args_refuse(args,
			    "--tls %s: only self-signed is made here; "
			    "certificates of your own want a config file",
			    args->value);
		return wish->has_tls;
	case FLAG_POOL_HEADER:
		return take_pool_header(args, wish);
	case FLAG_PRINT:
		wish->only_print = true;
		return true;
	case ARG_WORD:
		if (wish->listen)
			return take_pool(args, wish);
		wish->listen = args->value;
		return is_address(args, span_of(args->value), false);
	}
	return false;
}

static bool
take_all(struct args *args, struct proxy_wish *wish)
{
	for (int key; (key = args_next(args)) != ARG_END;)
		if (!take(args, key, wish))
			return false;
	if (!wish->listen) {
		args_refuse(args, "where shall it listen? As in: weir proxy "
		                  "127.0.0.1:8080 blue=127.0.0.1:9001");
		return false;
	}
	if (wish->n_pools == 0) {
		args_refuse(args, "where shall requests go? Say "
		                  "NAME=HOST:PORT, as in blue=127.0.0.1:9001");
		return false;
	}
	return share_out(args, wish);
}

/* ---- the text ---- */

static void
print_pool(const struct pool_wish *pool, FILE *out)
{
	fprintf(out, "  %.*s:\n    endpoints: [", (int)pool->name.len,
	    pool->name.ptr);
	for (size_t i = 0; i < pool->n_endpoints; i++)
		fprintf(out, "%s\"%.*s\"", i ? ", " : "",
		    (int)pool->endpoints[i].len, pool->endpoints[i].ptr);
	fputs("]\n", out);
}

static void
print_split(const struct proxy_wish *wish, FILE *out)
{
	char percent[16];

	fprintf(out, "splits:\n  main:\n    stable: \"%.*s\"\n    weights: {",
	    (int)wish->pools[0].name.len, wish->pools[0].name.ptr);
	for (size_t i = 0; i < wish->n_pools; i++)
		fprintf(out, "%s\"%.*s\": %s", i ? ", " : "",
		    (int)wish->pools[i].name.len, wish->pools[i].name.ptr,
		    units_print_percent(
		        wish->pools[i].percent, percent, sizeof(percent)));
	fputs("}\n", out);
}

static void
print_text(
    const struct proxy_wish *wish, const struct scratch *scratch, FILE *out)
{
	fprintf(out, "version: 1\n");
	if (scratch)
		fprintf(out,
		    "state_dir: \"%s/state\"\nadmin:\n  listen: "
		    "[\"unix:%s/admin.sock\"]\n",
		    scratch->dir, scratch->dir);
	fprintf(out, "listeners:\n  main:\n    bind: [\"%s\"]\n", wish->listen);
	if (wish->has_tls)
		fputs("    tls: {self_signed: true}\n", out);
	fputs("pools:\n", out);
	for (size_t i = 0; i < wish->n_pools; i++)
		print_pool(&wish->pools[i], out);
	print_split(wish, out);
	fputs("routes:\n  - name: main\n    split: main\n", out);
	if (wish->pool_header)
		fprintf(out,
		    "    headers: {response: {set: {%s: \"${pool}\"}}}\n",
		    wish->pool_header);
}

static struct config *
make_config(const struct proxy_wish *wish, const struct scratch *scratch)
{
	struct diags diags = {0};
	struct config *config = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return NULL;
	print_text(wish, scratch, out);
	if (fclose(out) == 0)
		config =
		    config_load_text("-", (struct span){text, len}, &diags);
	if (!config)
		diags_print(&diags, stderr, false);
	diags_release(&diags);
	free(text);
	return config;
}

static int
run(const struct proxy_wish *wish)
{
	struct scratch scratch;
	struct config *config;
	struct err err;
	int code = EXIT_USAGE;

	if (!scratch_init(&scratch, "proxy", &err)) {
		fprintf(stderr, "weir proxy: %s\n", err.text);
		return EXIT_USAGE;
	}
	config = make_config(wish, &scratch);
	if (config) {
		fprintf(stderr,
		    "weights: weirctl --admin unix:%s/admin.sock weights main "
		    "NAME=PERCENT ...\n",
		    scratch.dir);
		code = weir_run(config, &(struct run_options){0});
	}
	scratch_release(&scratch);
	return code;
}

int
cmd_proxy(struct args *args)
{
	struct proxy_wish *wish = calloc(1, sizeof(*wish));
	int code = EXIT_USAGE;

	if (!wish)
		return EXIT_INTERNAL;
	if (take_all(args, wish)) {
		if (wish->only_print)
			print_text(wish, NULL, stdout);
		code = wish->only_print ? EXIT_OK : run(wish);
	}
	free(wish);
	return code;
}
