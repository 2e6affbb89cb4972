/*
 * Where the admin API of a running weir is, for commands of its own machine:
 * --admin, else what -c's file says, else $WEIR_ADMIN, else
 * unix:/run/weir/admin.sock.
 */
#ifndef WEIR_PROXY_ADMIN_ADDRESS_H
#define WEIR_PROXY_ADMIN_ADDRESS_H

#include "config/config.h"
#include "proxy/command/command.h"

struct admin_wish {
	const char *admin, *file; /* of the flags; NULL: not given */
};

/*
 * False: told, and *code_out is the exit code. The address is the caller's.
 */
bool admin_address(const struct args *args, const struct admin_wish *wish, struct address *out, bool *is_tls_out, int *code_out);

#endif
