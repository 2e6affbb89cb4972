/*
 * The end of the process, asked for over the API. It is the same way out that
 * SIGTERM begins; asking again changes nothing, so that a hook which asks
 * before the service manager sends its signal cuts nobody short.
 */
#include <stdlib.h>
#include <unistd.h>

#include "admin/api/api.h"
#include "admin/events.h"

static const char *
state_of(const struct drain_facts *facts)
{
	return !facts->is_on       ? "serving"
	       : facts->is_closing ? "closing"
	                           : "delay";
}

static json_t *
drain_json(const struct drain_facts *facts)
{
	json_t *object = json_pack("{s:s, s:b, s:s, s:i, s:f, s:f}", "schema",
	    "weir.drain/v1", "draining", facts->is_on, "state", state_of(facts),
	    "pid", (int)getpid(), "delay_seconds",
	    (double)facts->delay / NSEC_PER_SEC, "limit_seconds",
	    (double)facts->limit / NSEC_PER_SEC);

	if (!facts->is_on)
		return object;
	json_object_set_new(object, "by", json_string(facts->by));
	json_object_set_new(object, "began_at", json_time(facts->began_at));
	json_object_set_new(object, "closes_in_seconds",
	    json_real((double)facts->closes_in / NSEC_PER_SEC));
	json_object_set_new(object, "cut_in_seconds",
	    json_real((double)facts->cut_in / NSEC_PER_SEC));
	return object;
}

static struct drain_facts
ask(const struct call *call)
{
	const struct admin_hooks *hooks = &call->admin->hooks;
	struct drain_facts facts = {0};

	hooks->drain_facts(hooks->ctx, &facts);
	return facts;
}

void
api_drain_get(struct call *call)
{
	struct drain_facts facts = ask(call);

	call_json(call, 200, drain_json(&facts), NULL);
}

static void
tell(struct call *call, const struct drain_facts *before,
    const struct drain_facts *after)
{
	json_t *was = drain_json(before), *is = drain_json(after);
	char *text = json_dumps(is, JSON_COMPACT | JSON_REAL_PRECISION(12));

	call_audit(call, "process", was, is, "ok");
	if (text && !before->is_on)
		events_publish(call->admin->events, "drain", text);
	free(text);
	json_decref(was);
	json_decref(is);
}

void
api_drain(struct call *call)
{
	static const char *const known[] = {"reason", NULL};
	const struct admin_hooks *hooks = &call->admin->hooks;
	struct drain_facts before = ask(call), after;

	if (!call_body_knows(call, known))
		return;
	if (!call->is_dry_run)
		hooks->drain(hooks->ctx, call->actor.name,
		    call->reason ? call->reason : "");
	after = ask(call);
	if (!call->is_dry_run)
		tell(call, &before, &after);
	call_json(call, 200, drain_json(&after), NULL);
}
