/*
 * What the functions of the API share: preconditions, audit entries, and the
 * small forms of times and percentages.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "admin/api/api.h"
#include "admin/log.h"
#include "admin/state/state.h"

nsec_t
now_mono(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (nsec_t)now.tv_sec * NSEC_PER_SEC + now.tv_nsec;
}

void
call_forbid(struct call *call, enum role role, const char *about)
{
	call_problem(call,
	    &(struct problem){403, "forbidden",
	        "the roles are viewer < operator < admin, and approver; a rule "
	        "of admin.access may be bound to splits",
	        NULL, NULL},
	    "%s may not do this: it needs the role %s%s%s", call->actor.name,
	    role_name(role), about ? " for " : "", about ? about : "");
}

json_t *
json_time(time_t wall)
{
	char text[32];
	struct tm tm;

	if (wall == 0 || !gmtime_r(&wall, &tm))
		return json_null(); /* none, or none that a calendar has */
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

/* 5 and not 5.0; 33.33 as the nearest double prints. */
json_t *
json_percent(bp_t bp)
{
	return bp % 100 == 0 ? json_integer(bp / 100) : json_real(bp / 100.0);
}

const struct config *
admin_config(const struct admin *admin)
{
	return snapshot_config(
	    publication_current(registry_publication(admin->registry)));
}

const struct pool_view *
admin_pool(const struct admin *admin, const char *name)
{
	struct snapshot *snapshot =
	    publication_current(registry_publication(admin->registry));

	for (size_t i = 0; i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *view = snapshot_pool(snapshot, i);

		if (strcmp(view->pool->name, name) == 0)
			return view;
	}
	return NULL;
}

/* ---- preconditions ---- */

/* One of a list of entity tags, weak ones too: a version is a version. */
static bool
lists_version(const char *list, uint64_t version)
{
	while (*list) {
		char *end;
		unsigned long long given;

		list += strspn(list, " \t,");
		if (*list == '*')
			return true;
		if (strncmp(list, "W/", 2) == 0)
			list += 2;
		list += *list == '"';
		if (*list < '0' || *list > '9')
			return false;
		errno = 0;
		given = strtoull(list, &end, 10);
		if (errno == 0 && given == version)
			return true;
		list = end + (*end == '"');
	}
	return false;
}

bool
call_matches(struct call *call, uint64_t version, const char *winner)
{
	const char *list = call_header(call, "If-Match");
	char etag[32];

	if (!list || lists_version(list, version))
		return true;
	snprintf(etag, sizeof(etag), "\"%llu\"", (unsigned long long)version);
	evhttp_add_header(
	    evhttp_request_get_output_headers(call->http), "ETag", etag);
	call_problem(call,
	    &(struct problem){412, "stale-version",
	        "read it again and decide on what is there now", "If-Match",
	        json_pack("{s:I, s:s?}", "version", (json_int_t)version,
	            "changed_by", winner)},
	    "the version is %llu now%s%s", (unsigned long long)version,
	    winner ? ", changed by " : "", winner ? winner : "");
	return false;
}

/* ---- audit ---- */

void
admin_audit(struct admin *admin, const struct audit_entry *entry)
{
	struct err err;

	char anchor[AUDIT_ANCHOR_MAX];
	size_t len;

	if (audit_append(&admin->audit, entry, &err)) {
		len = audit_anchor(&admin->audit, anchor, sizeof(anchor));
		state_write_file(admin->state, AUDIT_ANCHOR, anchor, len, &err);
	} else
		log_event(LOG_ERROR, "an audit entry was not written", "action",
		    entry->action, "error", err.text, NULL);
}

void
call_audit(struct call *call, const char *target, const json_t *before,
    const json_t *after, const char *result)
{
	struct audit_entry entry = {
	    .actor = call->actor.name[0] ? call->actor.name : "unknown",
	    .address = call->address,
	    .action = call->row ? call->row->name + 4 : "unknown",
	    .target = target,
	    .reason = call->reason,
	    .result = result,
	    .before = before,
	    .after = after,
	};

	admin_audit(call->admin, &entry);
}
