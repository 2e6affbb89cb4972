/*
 * An operator's mistake, told in one sentence that names the place: lower
 * case, no full stop ("pool 'green': weight: 130 is above 100").
 * The network's moods are rows of proxy/fail.def; our own mistakes are asserts.
 */
#ifndef WEIR_CONFIG_ERR_H
#define WEIR_CONFIG_ERR_H

#include <stdbool.h>

enum { ERR_TEXT_MAX = 512 };

struct err {
	char text[ERR_TEXT_MAX]; /* always NUL-ended; cut with "..." when longer */
};

/* Writes the sentence; always returns false, so `return err_set(...)`. */
bool err_set(struct err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Puts "<prefix>: " before the sentence; always returns false. */
bool err_wrap(struct err *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
