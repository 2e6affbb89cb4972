/*
 * weir run: loads the file, says what is wrong with it, and hands it to the
 * data plane.
 */
#include <stdlib.h>
#include <unistd.h>

#include "admin/admin.h"
#include "config/config.h"
#include "proxy/command/command.h"
#include "proxy/proxy.h"

const struct flag run_flags[] = {
    {'c', "config", "FILE", "the config"},
    {0},
};

int
cmd_run(struct args *args)
{
	const char *path = NULL;
	struct diags diags = {0};
	struct config *config;

	for (int key; (key = args_next(args)) != ARG_END;) {
		if (key == ARG_WRONG)
			return EXIT_USAGE;
		if (key == ARG_WORD && path)
			return args_refuse(args,
			    "one file at a time: \"%s\" is too many",
			    args->value);
		path = args->value;
	}
	if (!path)
		return args_refuse(args, "which file? Say -c FILE");
	config = config_load(path, &diags);
	if (config)
		diags_log(&diags);
	else if (diags.n > 0) /* the end: for who looks why */
		diags_print(&diags, stderr,
		    isatty(STDERR_FILENO) && !getenv("NO_COLOR"));
	diags_release(&diags);
	if (!config)
		return EXIT_USAGE;
	return weir_run(config, &(struct run_options){0});
}
