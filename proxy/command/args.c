/*
 * Reads the arguments of one command against its table of flags. Words and
 * flags may stand in any order, "--" ends the flags, values follow as
 * "--name VALUE", "--name=VALUE", "-c VALUE" or "-cVALUE", letters without
 * values may be joined ("-tq").
 */
#include <stdarg.h>
#include <string.h>

#include "config/config.h"
#include "proxy/command/command.h"

enum { FLAGS_MAX = 16 }; /* of one command; more than the longest table */

static const struct flag no_flags[] = {{0}};

static const struct flag *
flags_of(const struct args *args)
{
	return args->command->flags ? args->command->flags : no_flags;
}

int
args_refuse(const struct args *args, const char *format, ...)
{
	va_list ap;

	fprintf(stderr, "weir %s: ", args->command->name);
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fprintf(stderr, "\nTry: weir %s --help\n", args->command->name);
	return EXIT_USAGE;
}

static int
refuse_flag(const struct args *args, struct span name)
{
	const char *names[FLAGS_MAX];
	const char *near;
	size_t n = 0;

	for (const struct flag *f = flags_of(args); f->name && n < FLAGS_MAX;
	     f++)
		if (f->doc)
			names[n++] = f->name;
	near = suggest(name, names, n);
	if (near)
		args_refuse(args, "unknown flag --%.*s; did you mean --%s?",
		    (int)name.len, name.ptr, near);
	else
		args_refuse(
		    args, "unknown flag --%.*s", (int)name.len, name.ptr);
	return ARG_WRONG;
}

/* `given` is what was joined to the flag ("=x", "-cx"), NULL when nothing was.
 */
static int
take_value(struct args *args, const struct flag *flag, const char *given)
{
	args->value = given;
	if (!flag->value) {
		if (!given)
			return flag->key;
		args_refuse(args, "--%s takes no value", flag->name);
		return ARG_WRONG;
	}
	if (!given)
		args->value = *args->argv ? *args->argv++ : NULL;
	if (args->value)
		return flag->key;
	args_refuse(args, "--%s needs a value: %s", flag->name, flag->value);
	return ARG_WRONG;
}

static int
next_letter(struct args *args)
{
	int letter = (unsigned char)*args->letters++;
	const char *rest = *args->letters ? args->letters : NULL;

	for (const struct flag *f = flags_of(args); f->name; f++) {
		if (f->key != letter)
			continue;
		if (f->value || !rest)
			args->letters = NULL;
		return take_value(args, f, f->value ? rest : NULL);
	}
	args_refuse(args, "unknown flag -%c", letter);
	return ARG_WRONG;
}

static int
next_name(struct args *args, const char *text)
{
	const char *equals = strchr(text, '=');
	struct span name = {
	    text, equals ? (size_t)(equals - text) : strlen(text)};

	for (const struct flag *f = flags_of(args); f->name; f++)
		if (span_eq(name, span_of(f->name)))
			return take_value(args, f, equals ? equals + 1 : NULL);
	return refuse_flag(args, name);
}

int
args_next(struct args *args)
{
	const char *text;

	if (args->letters)
		return next_letter(args);
	text = *args->argv;
	if (!text)
		return ARG_END;
	args->argv++;
	if (!args->only_words && strcmp(text, "--") == 0) {
		args->only_words = true;
		return args_next(args);
	}
	if (args->only_words || text[0] != '-' || text[1] == '\0') {
		args->value = text;
		return ARG_WORD;
	}
	if (text[1] == '-')
		return next_name(args, text + 2);
	args->letters = text + 1;
	return next_letter(args);
}
