/*
 * The command line of weirctl: the table of commands, the flags that all of
 * them share, help, and repeating for --watch. A typing mistake gets a
 * suggestion and exit code 2.
 */
#include "admin/ctl/ctl.h"

#include <curl/curl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "admin/admin.h"

enum { WATCH_SECONDS = 2 };

/* clang-format off */
static const struct ctl_command commands[] = {
	{"status", "", "Is it running, what does it serve, is anything wrong",
	    NULL, "weirctl status\nweirctl status -o json | jq .ready\n", ctl_status},
	{"top", "", "A table that refreshes: pools, rates, latencies",
	    "One shot when standard output is not a terminal.\n", "weirctl top\n", ctl_top},
	{"weights", "SPLIT [NAME=PERCENT ...]", "Show or set the weights of a split",
	    "Pools that are not named get 0; the sum must be 100. In effect for the next\n"
	    "request when the command returns, and kept over restarts.\n",
	    "weirctl weights shop\nweirctl weights shop blue=95 canary=5 --reason \"try 1.2\"\n"
	    "weirctl weights shop blue=50% canary=50% --if-match 7 --dry-run\n", ctl_weights},
	{"undo", "SPLIT", "Back to the weights before the last change",
	    NULL, "weirctl undo shop --reason \"errors on canary\"\n", ctl_undo},
	{"rollout", "VERB ...", "Rollouts: start, watch, explain, approve, roll back",
	    NULL, "weirctl rollout start shop --to green --plan standard --wait\nweirctl rollout status shop\n"
	    "weirctl rollout explain shop\n", ctl_run_verb, ctl_rollout_verbs},
	{"signal", "SPLIT KIND", "Count something against the candidate: a complaint, a refund, an alert",
	    "The split's live rollout counts it in the guards that have the metric\n"
	    "signal:KIND. With --id it is counted once however often it is sent.\n",
	    "weirctl signal shop complaint --id ZD-4711\nweirctl signal shop refund --count 3\n", ctl_signal},
	{"freeze", "[on | off]", "No weight grows and nothing is promoted until it ends",
	    "Rolling back is always possible. Without a word it says whether there is one.\n",
	    "weirctl freeze on --reason \"black friday\"\nweirctl freeze off\n", ctl_freeze},
	{"split", "[list | show NAME | NAME]", "Splits: desired and actual weights, rates, latencies",
	    NULL, "weirctl split\nweirctl split shop\n", ctl_split},
	{"pool", "[list | show NAME | NAME]", "Pools and their endpoints",
	    NULL, "weirctl pool\nweirctl pool blue\n", ctl_pool},
	{"endpoint", "ADDRESS ... active|drain|maint [--pool POOL]", "Take endpoints out of service, or back in",
	    "drain: what it has is finished, nothing new is sent. Kept over restarts.\n",
	    "weirctl endpoint 10.0.0.1:8080 drain --reason \"kernel update\"\n", ctl_endpoint},
	{"config", "diff | reload | render | check FILE", "The config: file against runtime, reload, what runs",
	    NULL, "weirctl config diff\nweirctl config reload --dry-run\nweirctl config check new.yaml\n", ctl_config},
	{"events", "[--follow]", "What has happened lately",
	    "With --follow they are shown as they come; -o json prints one object a line then.\n",
	    "weirctl events --follow\n", ctl_events},
	{"audit", "[verify [FILE]] [--limit N]", "Who changed what, from where and why",
	    "verify recomputes the chain of hashes of the file itself, and the verdicts of\n"
	    "rollouts from the counters that stand beside them.\n",
	    "weirctl audit\nweirctl audit verify\nweirctl audit verify /var/log/weir/audit.jsonl\n", ctl_audit},
	{"cert", "", "Certificates in use and when they end",
	    NULL, "weirctl cert\n", ctl_cert},
};

static const char flags_text[] =
    "flags:\n"
    "  -o, --output table|json  a table (default) or one JSON document\n"
    "      --admin ADDR         unix:/path, host:port or https://host:port; WEIR_ADMIN, else unix:/run/weir/admin.sock\n"
    "      --cacert FILE        trust this authority for https; WEIR_CACERT, else the system's\n"
    "      --cert FILE          client certificate for https, with --key FILE; WEIR_CERT, WEIR_KEY\n"
    "      --reason TEXT        goes into the audit log\n"
    "      --if-match VERSION   change only what is still at this version\n"
    "      --dry-run            check everything, change nothing\n"
    "      --timeout DURATION   give up after (10s)\n"
    "      --watch              repeat every 2 seconds\n"
    "A token for TCP is read from the file that WEIR_TOKEN_FILE names.\n"
    "\n"
    "exit codes: 0 ok, 1 internal error, 2 usage or invalid input, 3 not found,\n"
    "4 not allowed, 5 weir cannot be reached, 6 conflict; of rollouts: 10 rolled back,\n"
    "11 aborted, 12 the wait timed out, 13 held or undecided, 14 waits for approval\n";

/* clang-format on */

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

/* ---- help ---- */

static void
print_lines(FILE *out, const char *text)
{
	while (*text) {
		const char *end = strchrnul(text, '\n');

		fprintf(out, "  %.*s\n", (int)(end - text), text);
		text = *end ? end + 1 : end;
	}
}

static void
print_overview(FILE *out)
{
	fputs("weirctl " WEIR_VERSION
	      ": the client of a running weir\n\nusage: weirctl COMMAND ...    "
	      "    weirctl COMMAND --help says more\n\n",
	    out);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(
		    out, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fputs("\nexample:\n  weirctl weights shop blue=95 canary=5\n\n", out);
	fputs(flags_text, out);
}

static void
print_verbs(const struct ctl_command *verbs, FILE *out)
{
	fputs("\n", out);
	for (; verbs->name; verbs++)
		fprintf(out, "  %-8s %s\n", verbs->name, verbs->summary);
}

/* `of` is the command that a verb belongs to; NULL: none. */
static void
print_help(
    const struct ctl_command *of, const struct ctl_command *command, FILE *out)
{
	fprintf(out, "usage: weirctl %s%s%s%s%s [flags]\n\n%s.\n",
	    of ? of->name : "", of ? " " : "", command->name,
	    *command->usage ? " " : "", command->usage, command->summary);
	if (command->more)
		fprintf(out, "%s", command->more);
	if (command->verbs)
		print_verbs(command->verbs, out);
	fputs("\nexample:\n", out);
	print_lines(out, command->example);
	fputs("\n", out);
	fputs(flags_text, out);
}

/* ---- flags ---- */

enum flag_key {
	FLAG_OUTPUT,
	FLAG_ADMIN,
	FLAG_CACERT,
	FLAG_CERT,
	FLAG_KEY,
	FLAG_REASON,
	FLAG_IF_MATCH,
	FLAG_TIMEOUT,
	FLAG_POOL,
	FLAG_LIMIT,
	FLAG_TO,
	FLAG_PLAN,
	FLAG_RELEASE,
	FLAG_FOR,
	FLAG_GATE,
	FLAG_COUNT_OF,
	FLAG_ID,
	FLAG_WAIT,
	FLAG_FULL,
	FLAG_DRY_RUN,
	FLAG_WATCH,
	FLAG_FOLLOW,
	FLAG_HELP,
	FLAG_VERSION,
	FLAG_COUNT
};

static const struct {
	const char *name;
	bool has_value;
} flags[FLAG_COUNT] = {
    [FLAG_OUTPUT] = {"output", true},
    [FLAG_ADMIN] = {"admin", true},
    [FLAG_CACERT] = {"cacert", true},
    [FLAG_CERT] = {"cert", true},
    [FLAG_KEY] = {"key", true},
    [FLAG_REASON] = {"reason", true},
    [FLAG_IF_MATCH] = {"if-match", true},
    [FLAG_TIMEOUT] = {"timeout", true},
    [FLAG_POOL] = {"pool", true},
    [FLAG_LIMIT] = {"limit", true},
    [FLAG_TO] = {"to", true},
    [FLAG_PLAN] = {"plan", true},
    [FLAG_RELEASE] = {"release", true},
    [FLAG_FOR] = {"for", true},
    [FLAG_GATE] = {"gate", true},
    [FLAG_COUNT_OF] = {"count", true},
    [FLAG_ID] = {"id", true},
    [FLAG_WAIT] = {"wait", false},
    [FLAG_FULL] = {"full", false},
    [FLAG_DRY_RUN] = {"dry-run", false},
    [FLAG_WATCH] = {"watch", false},
    [FLAG_FOLLOW] = {"follow", false},
    [FLAG_HELP] = {"help", false},
    [FLAG_VERSION] = {"version", false},
};

static int
refuse(const char *what, const char *word, const char *near)
{
	fprintf(stderr, "weirctl: %s \"%s\"", what, word);
	if (near)
		fprintf(stderr, "; did you mean \"%s\"?", near);
	fputs("\nTry: weirctl --help\n", stderr);
	return CTL_USAGE;
}

static int
set_output(struct ctl *ctl, const char *value)
{
	static const char *const forms[] = {"table", "json"};

	if (strcmp(value, "json") != 0 && strcmp(value, "table") != 0)
		return refuse("-o is table or json, not", value,
		    suggest(span_of(value), forms, 2));
	ctl->is_json = strcmp(value, "json") == 0;
	return CTL_OK;
}

static int
set_timeout(struct ctl *ctl, const char *value)
{
	nsec_t timeout;

	if (!units_duration(span_of(value), &timeout) ||
	    timeout < NSEC_PER_MSEC)
		return refuse(
		    "--timeout wants a duration like 10s, not", value, NULL);
	ctl->timeout_ms = (long)(timeout / NSEC_PER_MSEC);
	ctl->has_timeout = true;
	return CTL_OK;
}

static int
set_flag(struct ctl *ctl, enum flag_key key, const char *value)
{
	switch (key) {
	case FLAG_OUTPUT:
		return set_output(ctl, value);
	case FLAG_TIMEOUT:
		return set_timeout(ctl, value);
	case FLAG_ADMIN:
		ctl->admin = value;
		break;
	case FLAG_CACERT:
		ctl->cacert = value;
		break;
	case FLAG_CERT:
		ctl->cert = value;
		break;
	case FLAG_KEY:
		ctl->key = value;
		break;
	case FLAG_REASON:
		ctl->reason = value;
		break;
	case FLAG_IF_MATCH:
		ctl->if_match = value;
		break;
	case FLAG_POOL:
		ctl->pool = value;
		break;
	case FLAG_LIMIT:
		ctl->limit = value;
		break;
	case FLAG_TO:
		ctl->to = value;
		break;
	case FLAG_PLAN:
		ctl->plan = value;
		break;
	case FLAG_RELEASE:
		ctl->release = value;
		break;
	case FLAG_FOR:
		ctl->wait_for = value;
		break;
	case FLAG_GATE:
		ctl->gate = value;
		break;
	case FLAG_COUNT_OF:
		ctl->count = value;
		break;
	case FLAG_ID:
		ctl->id = value;
		break;
	case FLAG_WAIT:
		ctl->is_waiting = true;
		break;
	case FLAG_FULL:
		ctl->is_full = true;
		break;
	case FLAG_DRY_RUN:
		ctl->is_dry_run = true;
		break;
	case FLAG_WATCH:
		ctl->is_watch = true;
		break;
	case FLAG_FOLLOW:
		ctl->is_follow = true;
		break;
	case FLAG_HELP:
	case FLAG_VERSION:
	case FLAG_COUNT:
		break; /* seen to before */
	}
	return CTL_OK;
}

static int
find_flag(struct span name)
{
	for (int i = 0; i < FLAG_COUNT; i++)
		if (span_eq(name, span_of(flags[i].name)))
			return i;
	return FLAG_COUNT;
}

static int
unknown_flag(const char *arg, struct span name)
{
	const char *names[FLAG_COUNT], *near;
	char shown[40];

	for (int i = 0; i < FLAG_COUNT; i++)
		names[i] = flags[i].name;
	near = suggest(name, names, FLAG_COUNT);
	if (near)
		snprintf(shown, sizeof(shown), "--%s", near);
	return refuse("unknown flag", arg, near ? shown : NULL);
}

/* `*i` moves on when the value is an argument of its own. */
static int
take_flag(struct ctl *ctl, char **argv, int argc, int *i)
{
	const char *arg = argv[*i], *equals = strchr(arg, '='), *value = NULL;
	struct span name;
	int key;

	if (arg[1] == 'o') {
		key = FLAG_OUTPUT;
		value = arg[2] == '\0'  ? NULL
		        : arg[2] == '=' ? arg + 3
		                        : arg + 2;
	} else if (arg[1] != '-') {
		return refuse("unknown flag", arg, NULL);
	} else {
		name = (struct span){arg + 2,
		    equals ? (size_t)(equals - arg) - 2 : strlen(arg) - 2};
		key = find_flag(name);
		value = equals ? equals + 1 : NULL;
		if (key == FLAG_COUNT)
			return unknown_flag(arg, name);
	}
	if (!flags[key].has_value)
		return value ? refuse("takes no value:", arg, NULL)
		             : set_flag(ctl, (enum flag_key)key, NULL);
	if (!value && *i + 1 < argc)
		value = argv[++*i];
	return value ? set_flag(ctl, (enum flag_key)key, value)
	             : refuse("a value is missing after", arg, NULL);
}

static int
take_words(struct ctl *ctl, char **argv, int argc)
{
	bool only_words = false;

	for (int i = 0; i < argc; i++) {
		int code = CTL_OK;

		if (!only_words && strcmp(argv[i], "--") == 0)
			only_words = true;
		else if (!only_words && argv[i][0] == '-' && argv[i][1])
			code = take_flag(ctl, argv, argc, &i);
		else if (ctl->n_words == CTL_WORDS_MAX)
			code = refuse("too many words at", argv[i], NULL);
		else
			ctl->words[ctl->n_words++] = argv[i];
		if (code != CTL_OK)
			return code;
	}
	return CTL_OK;
}

/* ---- running ---- */

static const struct ctl_command *
find_command(const char *word)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, word) == 0)
			return &commands[i];
	return NULL;
}

static const struct ctl_command *
find_verb(const struct ctl_command *command, const char *word)
{
	const struct ctl_command *verb = command->verbs;

	while (verb && verb->name && strcmp(verb->name, word) != 0)
		verb++;
	return verb && verb->name ? verb : NULL;
}

static int
unknown_verb(const struct ctl *ctl, const char *word)
{
	const char *names[32], *near;
	size_t n = 0;

	for (const struct ctl_command *v = ctl->command->verbs; v->name; v++)
		names[n++] = v->name;
	near = suggest(span_of(word), names, n);
	return ctl_usage(ctl, "there is no verb \"%s\"%s%s%s", word,
	    near ? "; did you mean \"" : "", near ? near : "",
	    near ? "\"?" : "");
}

int
ctl_run_verb(struct ctl *ctl)
{
	const struct ctl_command *verb;
	struct ctl mine = *ctl;
	int code;

	if (ctl->n_words == 0)
		return ctl_usage(ctl, "which verb?");
	verb = find_verb(ctl->command, ctl->words[0]);
	if (!verb)
		return unknown_verb(ctl, ctl->words[0]);
	mine.n_words--;
	memmove(mine.words, ctl->words + 1, mine.n_words * sizeof(*mine.words));
	code = verb->run(&mine);
	ctl->is_watch = mine.is_watch;
	return code;
}

static int
unknown_command(const char *word)
{
	const char *names[N_COMMANDS];

	for (size_t i = 0; i < N_COMMANDS; i++)
		names[i] = commands[i].name;
	return refuse(
	    "unknown command", word, suggest(span_of(word), names, N_COMMANDS));
}

static bool
has_word(char **argv, int argc, const char *a, const char *b)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], a) == 0 || strcmp(argv[i], b) == 0)
			return true;
	return false;
}

static int
run(struct ctl *ctl)
{
	const struct timespec pause = {.tv_sec = WATCH_SECONDS};
	int code;

	for (;;) {
		if (ctl->is_watch && isatty(STDOUT_FILENO) &&
		    !ctl_clear_screen())
			return CTL_INTERNAL;
		code = ctl->command->run(ctl);
		if (fflush(stdout) != 0)
			return CTL_INTERNAL;
		if (!ctl->is_watch ||
		    (code != CTL_OK && code != CTL_UNREACHABLE))
			return code;
		nanosleep(&pause, NULL);
	}
}

/* "weirctl --admin X status": flags may stand before the command too. */
static int
find_first_word(char **argv, int argc)
{
	for (int i = 1; i < argc; i++) {
		int key;

		if (argv[i][0] != '-')
			return i;
		if (strcmp(argv[i], "-o") == 0) {
			i++;
			continue;
		}
		key = argv[i][1] == '-' ? find_flag(span_of(argv[i] + 2))
		                        : FLAG_COUNT;
		if (key < FLAG_COUNT && flags[key].has_value)
			i++;
	}
	return argc;
}

/* "weirctl rollout --help start" is about start, too. */
static int
help_of(const struct ctl_command *command, int argc, char **argv)
{
	for (int i = 0; command->verbs && i < argc; i++) {
		const struct ctl_command *verb = find_verb(command, argv[i]);

		if (!verb)
			continue;
		print_help(command, verb, stdout);
		return CTL_OK;
	}
	print_help(NULL, command, stdout);
	return CTL_OK;
}

static int
run_words(struct ctl *ctl, int argc, char **argv)
{
	int at = find_first_word(argv, argc), code;

	if (at == argc) {
		bool is_asked = has_word(argv + 1, argc - 1, "--help", "-h");

		print_overview(is_asked ? stdout : stderr);
		return is_asked ? CTL_OK : CTL_USAGE;
	}
	if (strcmp(argv[at], "help") == 0) {
		const struct ctl_command *about =
		    at + 1 < argc ? find_command(argv[at + 1]) : NULL;

		if (about)
			return help_of(about, argc - at - 2, argv + at + 2);
		print_overview(stdout);
		return CTL_OK;
	}
	ctl->command = find_command(argv[at]);
	if (!ctl->command)
		return unknown_command(argv[at]);
	if (has_word(argv + 1, argc - 1, "--help", "-h"))
		return help_of(ctl->command, argc - at - 1, argv + at + 1);
	code = take_words(ctl, argv + 1, at - 1);
	if (code == CTL_OK)
		code = take_words(ctl, argv + at + 1, argc - at - 1);
	return code == CTL_OK ? run(ctl) : code;
}

/* NULL when it is empty, too. */
static const char *
setting(const char *name)
{
	const char *value = getenv(name);

	return value && *value ? value : NULL;
}

int
ctl_main(int argc, char **argv)
{
	struct ctl ctl = {.timeout_ms = 10000};
	const char *no_colour = getenv("NO_COLOR");
	int code;

	ctl.admin = setting("WEIR_ADMIN");
	if (!ctl.admin)
		ctl.admin = "unix:/run/weir/admin.sock";
	ctl.cacert = setting("WEIR_CACERT");
	ctl.cert = setting("WEIR_CERT");
	ctl.key = setting("WEIR_KEY");
	ctl.has_colour = isatty(STDOUT_FILENO) && (!no_colour || !*no_colour);
	if (!ctl_guard_terminal())
		return CTL_INTERNAL;
	if (argc > 1 && has_word(argv + 1, 1, "--version", "version")) {
		puts("weirctl " WEIR_VERSION);
		return CTL_OK;
	}
	if (curl_global_init(CURL_GLOBAL_DEFAULT) != 0)
		return CTL_INTERNAL;
	code = run_words(&ctl, argc, argv);
	curl_global_cleanup();
	return code;
}
