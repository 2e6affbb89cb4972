/*
 * Tokens are kept as SHA-256 and compared over all rules without an early
 * exit, so that the time of an answer tells nothing about how near a guess
 * was. Wrong tokens are limited per address (IPv6 by /64). All callers on
 * loopback have one address, and so do those behind one NAT: above the limit a
 * token that is long enough not to be guessed at any rate still opens, or one
 * of them could lock out the others. A short one waits.
 */
#include "admin/auth.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/escape.h"
#include "tls/tls.h"

struct rule {
	char name[128];
	enum { BY_UID, BY_TOKEN, BY_CERT } by;
	bool is_strong; /* a token that may be shown above the limit */
	uid_t uid;
	char field[24], value[128]; /* of a certificate's subject */
	uint8_t digest[32];
	struct grant grant;
};

struct caller {
	uint8_t key[16];
	nsec_t due; /* GCRA: when the debt is paid off; 0: free */
};

struct auth {
	struct rule *rules; /* owned */
	size_t n_rules;
	bool has_uid_rules;
	uid_t own;
	struct caller callers[AUTH_CALLERS_MAX];
};

/* Root can do anything to the process anyway, and weir's own uid is weir. */
static const struct grant everything = {.role = ROLE_ADMIN};

static bool
copy_splits(const struct strings *from, struct strings *out)
{
	if (from->n == 0)
		return true;
	out->at = calloc(from->n, sizeof(*out->at));
	if (!out->at)
		return false;
	for (; out->n < from->n; out->n++) {
		out->at[out->n] = strdup(from->at[out->n]);
		if (!out->at[out->n])
			return false;
	}
	return true;
}

static bool
read_token(const struct access_rule *cfg, struct rule *rule, struct err *err)
{
	char *bytes;
	size_t len;

	if (!secret_read(&cfg->secret, &bytes, &len, err))
		return err_wrap(err, "admin.access: %s", cfg->who);
	if (len == 0) {
		free(bytes);
		return err_set(err,
		    "admin.access: %s: the token is empty (openssl rand -hex "
		    "32 makes a good one)",
		    cfg->who);
	}
	tls_sha256(bytes, len, rule->digest);
	rule->is_strong = len >= AUTH_STRONG_BYTES;
	explicit_bzero(bytes, len);
	free(bytes);
	return true;
}

/* "cert:OU=release-leads" */
static bool
read_subject(const struct access_rule *cfg, struct rule *rule, struct err *err)
{
	const char *field = cfg->who + strlen("cert:");
	const char *equals = strchr(field, '=');
	size_t len = equals ? (size_t)(equals - field) : 0;

	if (len == 0 || len >= sizeof(rule->field) || equals[1] == '\0' ||
	    strlen(equals + 1) >= sizeof(rule->value))
		return err_set(err,
		    "admin.access: %s: write cert:FIELD=VALUE, as in "
		    "cert:OU=ops",
		    cfg->who);
	memcpy(rule->field, field, len);
	strcpy(rule->value, equals + 1);
	return true;
}

static bool
add_rule(struct auth *auth, const struct access_rule *cfg, struct err *err)
{
	struct rule *rule = &auth->rules[auth->n_rules];

	snprintf(rule->name, sizeof(rule->name), "%s", cfg->who);
	rule->by = cfg->kind == WHO_CERT    ? BY_CERT
	           : cfg->kind == WHO_TOKEN ? BY_TOKEN
	                                    : BY_UID;
	if (rule->by == BY_CERT && !read_subject(cfg, rule, err))
		return false;
	rule->uid = cfg->uid;
	rule->grant.role = cfg->role;
	auth->n_rules++;
	if (!copy_splits(&cfg->splits, &rule->grant.splits))
		return err_set(err, "out of memory");
	if (rule->by == BY_UID)
		auth->has_uid_rules = true;
	return rule->by != BY_TOKEN || read_token(cfg, rule, err);
}

struct auth *
auth_new(const struct admin_cfg *cfg, uid_t own, struct err *err)
{
	struct auth *auth = calloc(1, sizeof(*auth));

	if (auth)
		auth->rules = calloc(cfg->n_access + 1, sizeof(*auth->rules));
	if (!auth || !auth->rules) {
		free(auth);
		err_set(err, "out of memory");
		return NULL;
	}
	auth->own = own;
	for (size_t i = 0; i < cfg->n_access; i++)
		if (!add_rule(auth, &cfg->access[i], err)) {
			auth_free(&auth);
			return NULL;
		}
	return auth;
}

void
auth_free(struct auth **auth)
{
	if (!*auth)
		return;
	for (size_t i = 0; i < (*auth)->n_rules; i++) {
		struct strings *splits = &(*auth)->rules[i].grant.splits;

		for (size_t j = 0; j < splits->n; j++)
			free(splits->at[j]);
		free(splits->at);
	}
	free((*auth)->rules);
	free(*auth);
	*auth = NULL;
}

/* ---- limiting guesses ---- */

static void
caller_key(const char *address, uint8_t key[16])
{
	memset(key, 0, 16);
	if (inet_pton(AF_INET6, address, key) == 1) {
		memset(key + 8, 0, 8);
		return;
	}
	if (inet_pton(AF_INET, address, key + 12) == 1) {
		key[10] = key[11] = 0xff;
		return;
	}
	/* unix peers, by what identifies them */
	key[0] = 0xfe;
	memcpy(key + 1, address, strnlen(address, 15));
}

static struct caller *
caller_find(struct auth *auth, const uint8_t key[16])
{
	for (size_t i = 0; i < AUTH_CALLERS_MAX; i++)
		if (auth->callers[i].due &&
		    memcmp(auth->callers[i].key, key, 16) == 0)
			return &auth->callers[i];
	return NULL;
}

/* The slot whose debt is paid soonest: forgetting that one forgives least. */
static struct caller *
caller_take(struct auth *auth, const uint8_t key[16])
{
	struct caller *best = &auth->callers[0];

	for (size_t i = 1; i < AUTH_CALLERS_MAX; i++)
		if (auth->callers[i].due < best->due)
			best = &auth->callers[i];
	memcpy(best->key, key, 16);
	best->due = 0;
	return best;
}

static bool
caller_is_over(const struct caller *caller, nsec_t now)
{
	const nsec_t cost = NSEC_PER_SEC / AUTH_FAILURES_PER_SECOND;

	return caller->due + cost > now + NSEC_PER_SEC && caller->due > now;
}

static bool
is_limited(struct auth *auth, const char *address, nsec_t now)
{
	uint8_t key[16];
	struct caller *caller;

	caller_key(address, key);
	caller = caller_find(auth, key);
	return caller && caller_is_over(caller, now);
}

bool
auth_charge(struct auth *auth, const char *address, nsec_t now)
{
	uint8_t key[16];
	struct caller *caller;

	caller_key(address, key);
	caller = caller_find(auth, key);
	if (caller && caller_is_over(caller, now))
		return false;
	if (!caller)
		caller = caller_take(auth, key);
	if (caller->due < now)
		caller->due = now;
	caller->due += NSEC_PER_SEC / AUTH_FAILURES_PER_SECOND;
	return true;
}

/* ---- who is it ---- */

static void
actor_grant(struct actor *actor, const char *name, const struct grant *grant)
{
	if (actor->n_grants == AUTH_GRANTS_MAX)
		return;
	if (actor->n_grants == 0)
		snprintf(actor->name, sizeof(actor->name), "%s", name);
	actor->grants[actor->n_grants++] = grant;
}

static void
match_token(const struct auth *auth, struct span token, bool strong_only,
    struct actor *actor)
{
	uint8_t digest[32];

	tls_sha256(token.ptr, token.len, digest);
	for (size_t i = 0; i < auth->n_rules; i++) {
		const struct rule *rule = &auth->rules[i];

		if (tls_equal(digest, rule->digest, sizeof(digest)) &&
		    rule->by == BY_TOKEN && (rule->is_strong || !strong_only))
			actor_grant(actor, rule->name, &rule->grant);
	}
}

static void
match_uid(const struct auth *auth, uid_t uid, struct actor *actor)
{
	char name[32];

	for (size_t i = 0; i < auth->n_rules; i++) {
		const struct rule *rule = &auth->rules[i];

		if (rule->by == BY_UID && rule->uid == uid)
			actor_grant(actor, rule->name, &rule->grant);
	}
	if (!auth->has_uid_rules && (uid == 0 || uid == auth->own)) {
		snprintf(name, sizeof(name), "uid:%u", (unsigned)uid);
		actor_grant(actor, name, &everything);
	}
}

static bool
subject_has(const struct tls_peer *subject, const struct rule *rule)
{
	for (size_t i = 0; i < subject->n; i++)
		if (strcasecmp(subject->part[i].field, rule->field) == 0 &&
		    strcmp(subject->part[i].value, rule->value) == 0)
			return true;
	return false;
}

/*
 * Whoever holds the certificate is the actor, not the rule that lets them in:
 * two of one OU are two persons in the audit log and in approvals.
 */
static void
match_subject(const struct auth *auth, const struct tls_peer *subject,
    struct actor *actor)
{
	char name[sizeof(actor->name)] = "";

	for (size_t i = 0; i < subject->n && !name[0]; i++)
		if (strcmp(subject->part[i].field, "CN") == 0)
			snprintf(name, sizeof(name), "cert:CN=%.*s",
			    (int)text_fitting(subject->part[i].value, 119),
			    subject->part[i].value);
	for (size_t i = 0; i < auth->n_rules; i++) {
		const struct rule *rule = &auth->rules[i];

		if (rule->by == BY_CERT && subject_has(subject, rule))
			actor_grant(
			    actor, name[0] ? name : rule->name, &rule->grant);
	}
	if (actor->n_grants == 0)
		snprintf(actor->name, sizeof(actor->name), "%s",
		    name[0] ? name : "this certificate");
}

enum auth_result
auth_identify(struct auth *auth, const struct credentials *credentials,
    nsec_t now, struct actor *out)
{
	*out = (struct actor){0};
	if (credentials->token.len > 0) {
		bool limited = is_limited(auth, credentials->address, now);

		match_token(auth, credentials->token, limited, out);
		if (out->n_grants > 0)
			return AUTH_KNOWN;
		if (limited)
			return AUTH_LIMITED;
		auth_charge(auth, credentials->address, now);
		return AUTH_WRONG;
	}
	if (credentials->subject) {
		match_subject(auth, credentials->subject, out);
		return out->n_grants > 0 ? AUTH_KNOWN : AUTH_MISSING;
	}
	if (!credentials->is_unix)
		return AUTH_MISSING;
	match_uid(auth, credentials->uid, out);
	if (out->n_grants > 0)
		return AUTH_KNOWN;
	snprintf(
	    out->name, sizeof(out->name), "uid:%u", (unsigned)credentials->uid);
	return AUTH_MISSING;
}

/* ---- what may they ---- */

/* viewer < operator < admin; an approver reads and approves, no more. */
static bool
role_covers(enum role have, enum role need)
{
	switch (need) {
	case ROLE_NONE:
		return true;
	case ROLE_VIEWER:
		return have != ROLE_NONE;
	case ROLE_OPERATOR:
		return have == ROLE_OPERATOR || have == ROLE_ADMIN;
	case ROLE_APPROVER:
		return have == ROLE_APPROVER || have == ROLE_ADMIN;
	case ROLE_ADMIN:
		return have == ROLE_ADMIN;
	}
	return false;
}

static bool
grant_covers(const struct grant *grant, enum role role, const char *split)
{
	if (!role_covers(grant->role, role))
		return false;
	if (grant->splits.n == 0 || role <= ROLE_VIEWER)
		return true;
	for (size_t i = 0; split && i < grant->splits.n; i++)
		if (strcmp(grant->splits.at[i], split) == 0)
			return true;
	return false;
}

bool
actor_may(const struct actor *actor, enum role role, const char *split)
{
	for (size_t i = 0; i < actor->n_grants; i++)
		if (grant_covers(actor->grants[i], role, split))
			return true;
	return false;
}
