/*
 * The command line: what a subcommand is, and the list of all of them. Help,
 * completion and "did you mean" are read off the table in main.c, so a command
 * or flag that works is one that is documented.
 */
#ifndef WEIR_PROXY_COMMAND_H
#define WEIR_PROXY_COMMAND_H

#include <stdbool.h>
#include <stdio.h>

/* Stable: scripts and pipelines depend on them (contract, section 2). */
enum exit_code {
	EXIT_OK = 0,
	EXIT_INTERNAL = 1,
	EXIT_USAGE = 2, /* wrong words, invalid input, invalid config */
	EXIT_NOT_FOUND = 3,
	EXIT_NOT_ALLOWED = 4,
	EXIT_UNREACHABLE = 5,
	EXIT_TIMED_OUT = 12, /* what was waited for goes on */
};

struct flag {
	int key;           /* its letter; from FLAG_LONG on when it has none */
	const char *name;  /* without the dashes; NULL ends a list */
	const char *value; /* what help calls its value; NULL: it takes none */
	const char *doc;   /* NULL: kept out of help */
};
enum { FLAG_LONG = 256 };

struct args;
struct command {
	const char *name;
	const char *usage;             /* what follows "weir NAME" */
	const char *summary;           /* one line */
	const char *more;              /* paragraphs for --help, NULL without */
	const char *example;           /* whole lines, as one would type them */
	const struct flag *flags;      /* NULL without */
	int (*run)(struct args *args); /* returns the exit code */
};

/* Ended by a row without a name (main.c). */
extern const struct command commands[];
const struct command *command_find(const char *name); /* NULL: none */
void command_print_help(const struct command *command, FILE *out);

/* ---- reading arguments (args.c) ---- */

struct args {
	const struct command *command;
	char **argv;         /* what follows the command's name, NULL-ended */
	const char *value;   /* of the flag or word that args_next returned */
	const char *letters; /* rest of "-tq" */
	bool only_words;     /* "--" was seen */
};

enum { ARG_END = -1, ARG_WORD = -2, ARG_WRONG = -3 };
/*
 * The next argument: a flag's key, ARG_WORD, or ARG_END. ARG_WRONG: unknown
 * flag or missing value, told on standard error; the caller returns EXIT_USAGE.
 */
int args_next(struct args *args);
/* Tells what is wrong with the arguments and where help is; returns EXIT_USAGE.
 */
int args_refuse(const struct args *args, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* ---- the commands, by file ---- */

extern const struct flag run_flags[], check_flags[], proxy_flags[],
    demo_flags[], upstream_flags[], health_flags[], explain_flags[],
    simulate_flags[], drain_flags[];
int cmd_run(struct args *args);
int cmd_check(struct args *args);
int cmd_proxy(struct args *args);
int cmd_demo(struct args *args);
int cmd_upstream(struct args *args);
int cmd_simulate(struct args *args);
int cmd_schema(struct args *args);
int cmd_explain(struct args *args);
int cmd_health(struct args *args);
int cmd_drain(struct args *args);
int cmd_completion(struct args *args);
int cmd_version(struct args *args);

#endif
