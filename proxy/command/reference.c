/*
 * weir schema, explain and version: what the tables say, without a file and
 * without a running weir.
 */
#include "config/config.h"
#include "proxy/command/command.h"

/* For commands that take nothing. */
static bool
takes_nothing(struct args *args)
{
	int key = args_next(args);

	if (key == ARG_WORD)
		args_refuse(args, "takes no \"%s\"", args->value);
	return key == ARG_END;
}

int
cmd_schema(struct args *args)
{
	if (!takes_nothing(args))
		return EXIT_USAGE;
	config_print_schema(stdout);
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_INTERNAL;
}

enum { FLAG_ALL = FLAG_LONG, FLAG_LIST };

const struct flag explain_flags[] = {
    {FLAG_ALL, "all", NULL, "all settings, as a page of reference (Markdown)"},
    {FLAG_LIST, "list", NULL, "the names of all settings, one a line"},
    {0},
};

int
cmd_explain(struct args *args)
{
	struct err err;
	const char *word;
	int key = args_next(args);

	if (key == ARG_WRONG)
		return EXIT_USAGE;
	if (key == FLAG_ALL || key == FLAG_LIST) {
		(key == FLAG_ALL ? config_print_reference : config_print_keys)(
		    stdout);
		return fflush(stdout) == 0 ? EXIT_OK : EXIT_INTERNAL;
	}
	if (key == ARG_END)
		return args_refuse(
		    args, "which setting? For example \"pools.balance\"");
	word = args->value;
	if (args_next(args) != ARG_END)
		return args_refuse(args, "one setting at a time");
	if (config_explain(word, stdout, &err))
		return EXIT_OK;
	return args_refuse(args, "%s", err.text);
}

int
cmd_version(struct args *args)
{
	if (!takes_nothing(args))
		return EXIT_USAGE;
	puts("weir " WEIR_VERSION);
	return EXIT_OK;
}
