/* Where the admin API of a running weir is, see admin_address.h. */
#include "proxy/command/admin_address.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file's; a unix socket first: there root needs no token. The caller frees
 * the text. */
static char *
of_file(const char *path)
{
	struct diags diags = {0};
	struct config *config = config_load(path, &diags);
	const char *found = NULL;
	char *text;

	if (!config)
		diags_print(&diags, stderr,
		    isatty(STDERR_FILENO) && !getenv("NO_COLOR"));
	diags_release(&diags);
	if (!config)
		return NULL;
	for (size_t i = 0; i < config->admin.n_listen; i++)
		if (!found || config->admin.listen[i].kind == ADDRESS_UNIX) {
			found = config->admin.listen[i].text;
			if (config->admin.listen[i].kind == ADDRESS_UNIX)
				break;
		}
	text = strdup(found ? found : "");
	config_free(&config);
	return text;
}

static const char *
without_scheme(const char *where, bool *is_tls_out)
{
	*is_tls_out = strncasecmp(where, "https://", 8) == 0;
	if (*is_tls_out)
		return where + 8;
	return where + (strncasecmp(where, "http://", 7) == 0 ? 7 : 0);
}

bool
admin_address(const struct args *args, const struct admin_wish *wish,
    struct address *out, bool *is_tls_out, int *code_out)
{
	const char *where = wish->admin ? wish->admin : getenv("WEIR_ADMIN");
	char *owned = NULL;
	struct err err;
	bool ok;

	*code_out = EXIT_USAGE;
	if (wish->file && !wish->admin) {
		where = owned = of_file(wish->file);
		if (!owned)
			return false;
	}
	if (!where || *where == '\0')
		where = "unix:/run/weir/admin.sock";
	ok = address_parse(
	    span_of(without_scheme(where, is_tls_out)), out, &err);
	if (!ok)
		args_refuse(
		    args, "%s: %s", owned ? wish->file : "--admin", err.text);
	free(owned);
	return ok;
}
