/*
 * Who is asking, and what may they do. Decides from credentials and time
 * alone; server.c brings them, dispatch.c acts on the answer.
 */
#ifndef WEIR_ADMIN_AUTH_H
#define WEIR_ADMIN_AUTH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "config/config.h"

enum {
	AUTH_TOKENS_MAX = 64,
	AUTH_GRANTS_MAX = 8,    /* rules that one caller may match */
	AUTH_CALLERS_MAX = 256, /* addresses whose failures are remembered */
	AUTH_FAILURES_PER_SECOND = 5,
	AUTH_STRONG_BYTES = 16, /* tokens that nobody guesses at any rate */
};

struct tls_peer;
struct auth;
/* Reads the tokens' secrets and keeps only their hashes. `own` is the uid that
 * runs weir. */
struct auth *auth_new(const struct admin_cfg *cfg, uid_t own, struct err *err);
void auth_free(struct auth **auth);

struct credentials {
	bool is_unix;
	uid_t uid;           /* is_unix */
	const struct tls_peer *subject; /* of a verified certificate; NULL */
	const char *address; /* of the peer: failures are limited by it */
	struct span token;   /* after "Bearer "; len 0: none given */
};

struct grant {
	enum role role;
	struct strings splits; /* owned copy; empty: all */
};

/* Good until the auth that it came from is freed. */
struct actor {
	char name[128]; /* "uid:0", "token:ci", "cert:CN=alice" */
	const struct grant *grants[AUTH_GRANTS_MAX];
	size_t n_grants;
};

enum auth_result {
	AUTH_KNOWN,
	AUTH_MISSING, /* nothing was shown that could be judged */
	AUTH_WRONG,
	AUTH_LIMITED, /* too many wrong ones from there, and this is no strong right one */
};
enum auth_result auth_identify(struct auth *auth,
    const struct credentials *credentials, nsec_t now, struct actor *out);
/* Counts against the address, for refusals that cost us something. False: it is
 * over its limit. */
bool auth_charge(struct auth *auth, const char *address, nsec_t now);

/* May the actor do what asks for `role`? `split` NULL: something that is not
 * one split's, which a scoped grant does not cover (reading excepted). */
bool actor_may(const struct actor *actor, enum role role, const char *split);

#endif
