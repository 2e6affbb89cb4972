/*
 * weir demo-upstream: the demo's upstream alone, to put behind a weir of one's
 * own and make it slow or broken.
 */
#include "proxy/demo/upstream.h"

#include <stdlib.h>

#include "config/config.h"
#include "proxy/command/command.h"

const struct flag upstream_flags[] = {
    {FLAG_LONG, "listen", "ADDR",
        "where: HOST:PORT or unix:/path; port 0 picks a free one"},
    {FLAG_LONG + 1, "name", "N", "the name it answers with, \"demo\" without"},
    {FLAG_LONG + 2, "fail", "P",
        "share of requests answered with 500, as in 2%"},
    {FLAG_LONG + 3, "latency", "D[,S]",
        "median delay, as in 20ms; S spreads it (sigma of its logarithm)"},
    {FLAG_LONG + 4, "padding", "SIZE", "bytes added to each body, as in 4KiB"},
    {0},
};

enum { PADDING_MAX = 64 << 20 };

struct upstream_wish {
	struct demo_upstream_cfg cfg;
	struct address listen;
	bool has_listen;
};

/* "20ms" or "20ms,0.5" */
static bool
parse_latency(struct args *args, struct demo_upstream_cfg *cfg)
{
	size_t len = strcspn(args->value, ",");
	char *end = NULL;

	if (args->value[len] == ',')
		cfg->spread = strtod(args->value + len + 1, &end);
	if (units_duration((struct span){args->value, len}, &cfg->latency) &&
	    cfg->spread >= 0 && cfg->spread <= 3 &&
	    (!end || (*end == '\0' && end > args->value + len + 1)))
		return true;
	args_refuse(args,
	    "--latency %s: say 20ms, or 20ms,0.5 for a spread of 0 to 3",
	    args->value);
	return false;
}

static bool
parse_padding(struct args *args, struct demo_upstream_cfg *cfg)
{
	uint64_t size;

	if (units_size(span_of(args->value), &size) && size <= PADDING_MAX) {
		cfg->padding = size;
		return true;
	}
	args_refuse(args, "--padding %s: say a size up to 64MiB, as in 4KiB",
	    args->value);
	return false;
}

static bool
parse_listen(struct args *args, struct upstream_wish *wish)
{
	struct err err;

	if (wish->has_listen)
		address_release(&wish->listen);
	wish->has_listen =
	    address_parse(span_of(args->value), &wish->listen, &err);
	if (!wish->has_listen)
		args_refuse(args, "--listen: %s", err.text);
	else if (wish->listen.kind == ADDRESS_NAME)
		args_refuse(args,
		    "--listen %s: one listens on literal addresses, as in "
		    "127.0.0.1:9001",
		    args->value);
	return wish->has_listen && wish->listen.kind != ADDRESS_NAME;
}

static bool
is_plain_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= CONFIG_NAME_MAX && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static bool
parse_wish(struct args *args, struct upstream_wish *wish)
{
	bool ok = true;

	for (int key; ok && (key = args_next(args)) != ARG_END;) {
		switch (key) {
		case FLAG_LONG:
			ok = parse_listen(args, wish);
			break;
		case FLAG_LONG + 1:
			wish->cfg.name = args->value;
			ok = is_plain_name(args->value);
			if (!ok)
				args_refuse(args,
				    "--name %s: a name is a-z, 0-9 and '-', at "
				    "most 63",
				    args->value);
			break;
		case FLAG_LONG + 2:
			ok = units_percent(
			    span_of(args->value), &wish->cfg.fail);
			if (!ok)
				args_refuse(args,
				    "--fail %s: say a percentage, as in 2%%",
				    args->value);
			break;
		case FLAG_LONG + 3:
			ok = parse_latency(args, &wish->cfg);
			break;
		case FLAG_LONG + 4:
			ok = parse_padding(args, &wish->cfg);
			break;
		case ARG_WORD:
			args_refuse(args, "takes no \"%s\"", args->value);
			/* fallthrough */
		default:
			ok = false;
		}
	}
	if (ok && !wish->has_listen) {
		args_refuse(args, "where? Say --listen 127.0.0.1:9001");
		ok = false;
	}
	return ok;
}

int
cmd_upstream(struct args *args)
{
	struct upstream_wish wish = {.cfg.name = "demo"};
	struct demo_upstream *upstream = NULL;
	struct err err;
	int code = EXIT_USAGE;

	if (parse_wish(args, &wish)) {
		upstream = demo_upstream_new(&wish.cfg, &wish.listen, &err);
		if (!upstream)
			fprintf(stderr, "weir demo-upstream: %s\n", err.text);
	}
	if (upstream) {
		fprintf(stderr, "demo-upstream %s ready on %s\n", wish.cfg.name,
		    demo_upstream_address(upstream));
		demo_upstream_serve(upstream);
		demo_upstream_free(&upstream);
		code = EXIT_OK;
	}
	if (wish.has_listen)
		address_release(&wish.listen);
	return code;
}
