/*
 * The sentence for an operator's mistake. Invariant: text is always NUL-ended
 * and a text that did not fit ends in "...", so that nobody takes a cut path
 * for the whole one.
 */
#include "config/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void
mark_cut(struct err *err, int wanted)
{
	if (wanted >= ERR_TEXT_MAX)
		memcpy(err->text + ERR_TEXT_MAX - 4, "...", 4);
}

bool
err_set(struct err *err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	mark_cut(err, vsnprintf(err->text, sizeof(err->text), format, args));
	va_end(args);
	return false;
}

bool
err_wrap(struct err *err, const char *format, ...)
{
	struct err inner = *err;
	va_list args;
	int prefix, rest;

	va_start(args, format);
	prefix = vsnprintf(err->text, sizeof(err->text), format, args);
	va_end(args);
	if (prefix >= ERR_TEXT_MAX) {
		mark_cut(err, prefix);
		return false;
	}
	rest = snprintf(err->text + prefix, sizeof(err->text) - (size_t)prefix,
	    ": %s", inner.text);
	mark_cut(err, prefix + rest);
	return false;
}
