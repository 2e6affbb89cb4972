/*
 * Secrets are named in the file and read where they are needed, when they are
 * needed. An empty one is refused: an empty token would open a door.
 */
#include <stdio.h>
#include <stdlib.h>

#include "config/config.h"
#include "config/mem.h"

enum { SECRET_MAX = 1 << 20 };

static bool
credential_path(const char *name, char *path, size_t cap, struct err *err)
{
	const char *folder = getenv("CREDENTIALS_DIRECTORY");
	int n;

	if (folder == NULL)
		return err_set(err,
		    "credential '%s': CREDENTIALS_DIRECTORY is not set", name);
	if (strchr(name, '/'))
		return err_set(
		    err, "credential '%s': a name has no slash", name);
	n = snprintf(path, cap, "%s/%s", folder, name);
	if (n < 0 || (size_t)n >= cap)
		return err_set(
		    err, "credential '%s': the path is too long", name);
	return true;
}

bool
secret_read(const struct secret *secret, char **bytes_out, size_t *len_out,
    struct err *err)
{
	char path[4096];
	const char *value;

	*bytes_out = NULL;
	*len_out = 0;
	switch (secret->from) {
	case SECRET_FILE:
		if (!file_read(
		        secret->where, SECRET_MAX, bytes_out, len_out, err))
			return err_wrap(err, "%s", secret->where);
		break;
	case SECRET_CREDENTIAL:
		if (!credential_path(secret->where, path, sizeof(path), err))
			return false;
		if (!file_read(path, SECRET_MAX, bytes_out, len_out, err))
			return err_wrap(err, "%s", path);
		break;
	case SECRET_ENV:
		value = getenv(secret->where);
		if (value == NULL)
			return err_set(err,
			    "environment variable %s is not set",
			    secret->where);
		*bytes_out = mem_text(span_of(value));
		*len_out = strlen(value);
		break;
	case SECRET_NONE:
		return err_set(err, "no secret is named");
	}
	if (*len_out > 0 && (*bytes_out)[*len_out - 1] == '\n')
		(*bytes_out)[--*len_out] = '\0';
	if (*len_out == 0) {
		free(*bytes_out);
		*bytes_out = NULL;
		return err_set(
		    err, "the secret from %s is empty", secret->where);
	}
	return true;
}
