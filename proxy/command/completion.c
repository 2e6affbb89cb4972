/*
 * weir completion: scripts for bash, zsh and fish, written from the table of
 * commands. zsh takes the one of bash. weirctl's words come from weirctl
 * itself, so that names of splits and pools are those that run now.
 */
#include <string.h>

#include "config/config.h"
#include "proxy/command/command.h"

static void
bash_flags(const struct command *command)
{
	printf("\t%s) words=\"--help", command->name);
	for (const struct flag *f = command->flags; f && f->name; f++)
		if (f->doc)
			printf(" --%s", f->name);
	if (strcmp(command->name, "completion") == 0)
		printf(" bash zsh fish");
	printf("\" ;;\n");
}

/*
 * Splits, pools and endpoints are asked of the running weir; when there is
 * none, nothing is offered.
 */
/* clang-format off */
static const char weirctl_bash[] =
    "_weirctl() {\n"
    "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
    "\tlocal ctl=${COMP_WORDS[0]} verb=${COMP_WORDS[1]-} name=${COMP_WORDS[2]-}\n"
    "\tCOMPREPLY=()\n"
    "\tcase $prev in\n"
    "\t-o|--output) COMPREPLY=($(compgen -W \"table json\" -- \"$cur\")); return ;;\n"
    "\t--cacert|--cert|--key|check|verify) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
    "\t--pool) COMPREPLY=($(compgen -W \"$(\"$ctl\" pool --timeout 1s 2>/dev/null | sed '1d;s/ .*//' | sort -u)\" -- \"$cur\")); return ;;\n"
    "\t--for) COMPREPLY=($(compgen -W \"terminal paused approval phase= weight=\" -- \"$cur\")); return ;;\n"
    "\t--to) COMPREPLY=($(compgen -W \"$(\"$ctl\" pool --timeout 1s 2>/dev/null | sed '1d;s/ .*//' | sort -u)\" -- \"$cur\")); return ;;\n"
    "\t--admin|--reason|--if-match|--timeout|--limit|--plan|--release|--gate|--count|--id) return ;;\n"
    "\tesac\n"
    "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
    "\t\twords=$(\"$ctl\" --help 2>/dev/null | sed -n 's/^  \\([a-z][a-z]*\\)  .*/\\1/p')\n"
    "\telif [ \"${cur#-}\" != \"$cur\" ]; then\n"
    "\t\t[ \"$verb\" = rollout ] && [ -n \"$name\" ] && [ \"$COMP_CWORD\" -gt 2 ] && verb=\"rollout $name\"\n"
    "\t\twords=$(\"$ctl\" $verb --help 2>/dev/null | grep -o -e '--[a-z-]*' | sort -u)\n"
    "\telif [ \"$verb\" = endpoint ]; then\n"
    "\t\twords=$(\"$ctl\" pool --timeout 1s 2>/dev/null | sed '1d' | awk '{print $2}' | sort -u)\n"
    "\t\t[ \"$COMP_CWORD\" -eq 2 ] || words=\"$words active drain maint\"\n"
    "\t\tdeclare -F __ltrim_colon_completions >/dev/null && [ \"${COMP_WORDBREAKS/:}\" != \"$COMP_WORDBREAKS\" ] && _get_comp_words_by_ref -n : cur 2>/dev/null\n"
    "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
    "\t\tdeclare -F __ltrim_colon_completions >/dev/null && __ltrim_colon_completions \"$cur\"\n"
    "\t\treturn 0\n"
    "\telif [ \"$COMP_CWORD\" -eq 2 ]; then\n"
    "\t\tcase $verb in\n"
    "\t\trollout) words=$(\"$ctl\" rollout --help 2>/dev/null | sed -n 's/^  \\([a-z][a-z]*\\)  .*/\\1/p') ;;\n"
    "\t\tfreeze) words=\"on off\" ;;\n"
    "\t\tweights|split|undo|signal) words=$(\"$ctl\" split --timeout 1s 2>/dev/null | sed -n 's/: version .*//p') ;;\n"
    "\t\tpool) words=$(\"$ctl\" pool --timeout 1s 2>/dev/null | sed '1d;s/ .*//' | sort -u) ;;\n"
    "\t\tconfig) words=\"diff reload render check\" ;;\n"
    "\t\taudit) words=verify ;;\n"
    "\t\thelp) words=$(\"$ctl\" --help 2>/dev/null | sed -n 's/^  \\([a-z][a-z]*\\)  .*/\\1/p') ;;\n"
    "\t\tesac\n"
    "\telif [ \"$verb\" = rollout ] && [ \"$COMP_CWORD\" -eq 3 ]; then\n"
    "\t\twords=$(\"$ctl\" split --timeout 1s 2>/dev/null | sed -n 's/: version .*//p')\n"
    "\telif [ \"$verb\" = weights ]; then\n"
    "\t\twords=$(\"$ctl\" split \"$name\" --timeout 1s 2>/dev/null | sed '1,2d;s/ .*/=/')\n"
    "\t\tcompopt -o nospace 2>/dev/null || true\n"
    "\tfi\n"
    "\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
    "}\n"
    "complete -F _weirctl weirctl\n";
/* clang-format on */

static void
print_bash(void)
{
	printf("# source <(weir completion bash)\n"
	       "_weir() {\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} "
	       "prev=${COMP_WORDS[COMP_CWORD-1]} words=\n"
	       "\tCOMPREPLY=()\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	       "\t\tCOMPREPLY=($(compgen -W \"--help --version");
	for (const struct command *c = commands; c->name; c++)
		printf(" %s", c->name);
	printf(
	    "\" -- \"$cur\"))\n"
	    "\t\treturn\n"
	    "\tfi\n"
	    "\tcase $prev in\n"
	    "\t-c|--config) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n"
	    "\t--format) COMPREPLY=($(compgen -W \"text json\" -- \"$cur\")); "
	    "return ;;\n"
	    "\texplain) COMPREPLY=($(compgen -W \"$(\"${COMP_WORDS[0]}\" "
	    "explain --list 2>/dev/null)\" -- \"$cur\")); return ;;\n"
	    "\t--tls) COMPREPLY=($(compgen -W \"self-signed\" -- \"$cur\")); "
	    "return ;;\n"
	    "\tesac\n"
	    "\tcase ${COMP_WORDS[1]} in\n");
	for (const struct command *c = commands; c->name; c++)
		bash_flags(c);
	printf("\tesac\n"
	       "\tif [ \"${COMP_WORDS[1]}\" = check ] && [ \"${cur#-}\" = "
	       "\"$cur\" "
	       "]; then\n"
	       "\t\tCOMPREPLY=($(compgen -f -- \"$cur\"))\n"
	       "\telse\n"
	       "\t\tCOMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
	       "\tfi\n"
	       "}\n"
	       "complete -F _weir weir\n");
	fputs(weirctl_bash, stdout);
}

/* Quotes of the shell are kept out of the tables' texts by a test. */
static void
print_fish(void)
{
	printf("# weir completion fish | source\n"
	       "complete -c weir -f\n");
	for (const struct command *c = commands; c->name; c++)
		printf("complete -c weir -n __fish_use_subcommand -a %s -d "
		       "\"%s\"\n",
		    c->name, c->summary);
	for (const struct command *c = commands; c->name; c++)
		for (const struct flag *f = c->flags; f && f->name; f++) {
			if (!f->doc)
				continue;
			printf("complete -c weir -n "
			       "\"__fish_seen_subcommand_from %s\" -l %s",
			    c->name, f->name);
			if (f->key < FLAG_LONG)
				printf(" -s %c", f->key);
			if (f->value)
				printf(" -r%s",
				    strcmp(f->value, "FILE") == 0 ? " -F" : "");
			putchar('\n');
		}
	printf(
	    "complete -c weir -n \"__fish_seen_subcommand_from completion\" "
	    "-a \"bash zsh fish\"\n"
	    "complete -c weir -n \"__fish_seen_subcommand_from check\" -F\n");
}

int
cmd_completion(struct args *args)
{
	static const char *const shells[] = {"bash", "zsh", "fish"};
	int key = args_next(args);
	const char *near;

	if (key == ARG_WRONG)
		return EXIT_USAGE;
	if (key == ARG_END)
		return args_refuse(args, "which shell? bash, zsh or fish");
	if (strcmp(args->value, "zsh") == 0)
		printf("autoload -U +X bashcompinit && bashcompinit\n");
	if (strcmp(args->value, "bash") == 0 ||
	    strcmp(args->value, "zsh") == 0) {
		print_bash();
	} else if (strcmp(args->value, "fish") == 0) {
		print_fish();
	} else {
		near = suggest(span_of(args->value), shells, 3);
		return args_refuse(args, "no completion for \"%s\"%s%s%s",
		    args->value,
		    near ? "; did you mean " : ": bash, zsh and fish have one",
		    near ? near : "", near ? "?" : "");
	}
	return fflush(stdout) == 0 ? EXIT_OK : EXIT_INTERNAL;
}
