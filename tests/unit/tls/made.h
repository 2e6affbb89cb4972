/*
 * Certificates for tests, made on the spot in a folder of their own that goes
 * away at exit.
 */
#ifndef WEIR_TESTS_TLS_MADE_H
#define WEIR_TESTS_TLS_MADE_H

#include "config/config.h"

enum made_kind { MADE_EC, MADE_RSA };

struct made {
	char cert[128], key[128]; /* paths */
};

struct made_spec {
	enum made_kind kind;
	const char *names;       /* "DNS:a.example,DNS:*.b.example,IP:127.0.0.1" */
	long from_days, to_days; /* from now; both 0: -1 and 90 */
	unsigned mode;           /* of the key's file; 0: 0600 */
	const struct made *issuer; /* NULL: signs itself */
	bool is_ca;
	struct span unit; /* OU of the subject, any bytes; empty: none */
};

/* The folder of this process, ending without a slash. */
const char *made_folder(void);
struct made made_write(const char *name, struct made_spec spec);
/* Writes `text` as `name` into the folder; the path. */
const char *made_file(const char *name, const char *text);
/* A pipe that nobody writes to. */
const char *made_pipe(const char *name);

/* A tls_cfg over the given pairs; holds pointers into `made`. Freed by made_cfg_release. */
struct tls_cfg made_cfg(const struct made *made, size_t n);
void made_cfg_release(struct tls_cfg *cfg);

#endif
