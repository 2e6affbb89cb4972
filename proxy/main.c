/*
 * weir: the table of commands, and the way from a command line to one of them.
 * By the name weirctl the same binary is the client of the admin API.
 */
#include <string.h>

#include "admin/admin.h"
#include "config/config.h"
#include "proxy/command/command.h"

/* clang-format off */
const struct command commands[] = {
	{"run", "-c FILE", "Run the proxy",
	    "Prints its listeners and `ready` on standard error when it accepts connections.\n"
	    "Signals: SIGHUP reloads the file, SIGTERM and SIGQUIT finish what is in flight and\n"
	    "exit (a second one stops now), SIGINT stops now, SIGUSR1 opens the logs anew.\n"
	    "`weir -c FILE` is the same.\n",
	    "weir run -c /etc/weir/weir.yaml\n", run_flags, cmd_run},
	{"check", "-c FILE [--format json] [--strict]", "Check a config, changing nothing",
	    "All errors at once, each with its place and, where one is near, the word that was\n"
	    "meant. Exit code 0 when the file can be used, 2 when not. Certificates and keys are\n"
	    "opened too. `weir check FILE` and `weir -t -c FILE` are the same; `-` is standard\n"
	    "input.\n",
	    "weir check -c weir.yaml\nweir check --explain E029\n", check_flags, cmd_check},
	{"proxy", "LISTEN NAME=HOST:PORT[,HOST:PORT...][@PERCENT] ...", "Split traffic without a file",
	    "The percentages make 100 together; one pool may leave its own away and takes the\n"
	    "rest. The first pool is the stable one. Weights are changed with weirctl; they are\n"
	    "forgotten at the end.\n",
	    "weir proxy 127.0.0.1:8080 blue=127.0.0.1:9001@95 green=127.0.0.1:9002@5\n",
	    proxy_flags, cmd_proxy},
	{"demo", "[--once] [--listen ADDR]", "Try it: upstreams, clients and the real proxy in one process",
	    "Serves three embedded versions of a shop (blue 90 %, canary 10 %, green 0 %) on\n"
	    "127.0.0.1:8443 with TLS and on 127.0.0.1:8080, with about 200 requests a second of\n"
	    "its own, and prints what to try. Leaves nothing behind.\n",
	    "weir demo\nweir demo --once\n", demo_flags, cmd_demo},
	{"demo-upstream", "--listen ADDR [--name N] [--fail 2%] [--latency 20ms]", "The demo's upstream alone",
	    "Answers every request with a small page that names it; JSON below /api or when\n"
	    "asked for by Accept.\n",
	    "weir demo-upstream --listen 127.0.0.1:9001 --name blue --latency 5ms\n",
	    upstream_flags, cmd_upstream},
	{"simulate", "-c FILE --split S --plan P [--effect E] [--log FILE] ...", "What a plan would do, in virtual time",
	    "Runs a plan with its guards many times over synthetic traffic or a recorded access\n"
	    "log and prints how often and after how many requests the candidate goes back. Gates\n"
	    "are open, nobody intervenes, a run ends at the promotion. The same seed gives the\n"
	    "same bytes.\n"
	    "An effect is errors:+2pp, errors:+50%, latency:+20%, hang:5% or size:10%, optionally\n"
	    "with ,share=3% (of the candidate's requests) and ,after=10m (since it has traffic).\n"
	    "Weather is shared by both pools: drift (rate, errors and latency by 50 % up and\n"
	    "down), periodic (a bad second of every ten), outage (3 % more errors, ten minutes\n"
	    "of each hour).\n",
	    "weir simulate -c weir.yaml --split shop --plan standard --rps 1000 --errors 0.5% --effect errors:+2pp\n",
	    simulate_flags, cmd_simulate},
	{"explain", "KEY | --all | --list", "What a setting means, its type, range and default", NULL,
	    "weir explain pools.balance\nweir explain --all\n", explain_flags, cmd_explain},
	{"schema", "", "The config's JSON Schema, for editors", NULL,
	    "weir schema > weir.schema.json\n", NULL, cmd_schema},
	{"health", "[--admin ADDR] [--timeout 2s]", "Ask a running weir whether it is alive",
	    "GET /healthz at the admin address. Exit code 0 when it is, 1 when not.\n",
	    "weir health --admin unix:/run/weir/admin.sock\n", health_flags, cmd_health},
	{"drain", "[--wait D] [--admin ADDR | -c FILE]", "End a running weir in order",
	    "As SIGTERM does: not ready from now on; after drain.delay no listener and no kept\n"
	    "connection any more; what is in flight has drain.limit to finish. Asked again it\n"
	    "goes on as it is. Exit code 0 when it has begun (with --wait: when the process has\n"
	    "ended), 4 not allowed, 5 no weir can be reached there, 12 not ended in time: it goes\n"
	    "on. Over TCP it takes a token from the file that WEIR_TOKEN_FILE names.\n",
	    "weir drain --wait 60s --reason \"kernel update\"\n", drain_flags, cmd_drain},
	{"completion", "bash|zsh|fish", "Completion for a shell", NULL,
	    "source <(weir completion bash)\n", NULL, cmd_completion},
	{"version", "", "Print the version", NULL, "weir version\n", NULL, cmd_version},
	{NULL, NULL, NULL, NULL, NULL, NULL, NULL},
};
/* clang-format on */

enum { COMMANDS = sizeof(commands) / sizeof(commands[0]) - 1 };

const struct command *
command_find(const char *name)
{
	for (const struct command *c = commands; c->name; c++)
		if (strcmp(c->name, name) == 0)
			return c;
	return NULL;
}

static void
print_overview(FILE *out)
{
	fputs(
	    "weir " WEIR_VERSION
	    ": an edge load balancer that shifts traffic between versions\n\n"
	    "usage: weir COMMAND ...        weir COMMAND --help says more\n\n",
	    out);
	for (const struct command *c = commands; c->name; c++)
		fprintf(out, "  %-14s %s\n", c->name, c->summary);
	fputs("\nexample: weir demo\n"
	      "The client of a running weir is weirctl; see weirctl --help.\n",
	    out);
}

static void
print_flag(const struct flag *flag, FILE *out)
{
	char left[64];

	snprintf(left, sizeof(left), "--%s%s%s", flag->name,
	    flag->value ? " " : "", flag->value ? flag->value : "");
	if (flag->key < FLAG_LONG)
		fprintf(out, "  -%c, %-22s %s\n", flag->key, left, flag->doc);
	else
		fprintf(out, "      %-22s %s\n", left, flag->doc);
}

void
command_print_help(const struct command *command, FILE *out)
{
	fprintf(out, "usage: weir %s%s%s\n\n%s.\n", command->name,
	    *command->usage ? " " : "", command->usage, command->summary);
	if (command->more)
		fprintf(out, "\n%s", command->more);
	if (command->flags)
		fputs("\nflags:\n", out);
	for (const struct flag *f = command->flags; f && f->name; f++)
		if (f->doc)
			print_flag(f, out);
	fputs("\nexample:\n", out);
	for (const char *line = command->example; *line;
	     line = strchr(line, '\n') + 1)
		fprintf(out, "  %.*s\n", (int)strcspn(line, "\n"), line);
}

static bool
asks_for_help(char **argv)
{
	for (; *argv && strcmp(*argv, "--") != 0; argv++)
		if (strcmp(*argv, "--help") == 0 || strcmp(*argv, "-h") == 0)
			return true;
	return false;
}

static int
run_command(const char *name, char **argv)
{
	struct args args = {.command = command_find(name), .argv = argv};

	if (asks_for_help(argv)) {
		command_print_help(args.command, stdout);
		return EXIT_OK;
	}
	return args.command->run(&args);
}

/* "rn", "ck": the letters of a command in order, some left out; too short for
 * suggest(). */
static bool
is_abbreviation(const char *word, const char *name)
{
	if (*word != *name)
		return false;
	for (; *name && *word; name++)
		word += *word == *name;
	return *word == '\0';
}

static int
refuse_command(const char *word)
{
	const char *names[COMMANDS];
	const char *near;

	for (size_t i = 0; i < COMMANDS; i++)
		names[i] = commands[i].name;
	near = suggest(span_of(word), names, COMMANDS);
	for (size_t i = 0; i < COMMANDS && !near; i++)
		if (is_abbreviation(word, names[i]))
			near = names[i];
	fprintf(stderr, "weir: unknown command \"%s\"", word);
	if (near)
		fprintf(stderr, "; did you mean \"%s\"?", near);
	fputs("\nTry: weir --help\n", stderr);
	return EXIT_USAGE;
}

/* Without a command: `weir -t -c FILE` checks, `weir -c FILE` runs. */
static int
run_flags_only(char **argv)
{
	if (strcmp(argv[0], "--version") == 0 || strcmp(argv[0], "-v") == 0 ||
	    strcmp(argv[0], "-V") == 0)
		return run_command("version", argv + 1);
	if (strcmp(argv[0], "-s") == 0) { /* the habit of an nginx hand */
		fputs("weir: there is no -s: `weirctl config reload` or "
		      "SIGHUP reloads, SIGTERM drains and ends, SIGUSR1 opens "
		      "the logs anew\n",
		    stderr);
		return EXIT_USAGE;
	}
	for (char **a = argv; *a; a++)
		if (strncmp(*a, "-t", 2) == 0)
			return run_command("check", argv);
	return run_command("run", argv);
}

int
main(int argc, char **argv)
{
	const char *slash = argc > 0 ? strrchr(argv[0], '/') : NULL;
	const char *name = argc > 0 ? (slash ? slash + 1 : argv[0]) : "weir";

	if (strcmp(name, "weirctl") == 0)
		return ctl_main(argc, argv);
	if (argc < 2) {
		print_overview(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "help") == 0 && argc > 2 && command_find(argv[2])) {
		command_print_help(command_find(argv[2]), stdout);
		return EXIT_OK;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		print_overview(stdout);
		return EXIT_OK;
	}
	if (argv[1][0] == '-')
		return run_flags_only(argv + 1);
	if (!command_find(argv[1]))
		return refuse_command(argv[1]);
	return run_command(argv[1], argv + 2);
}
