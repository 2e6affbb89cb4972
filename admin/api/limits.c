/*
 * Rate limits over the API: what a key may still do, and forgiving it. Keys
 * may be secrets (tokens, header values): the audit log names addresses only.
 */
#include <stdio.h>
#include <string.h>

#include "admin/api/api.h"

static json_t *
decisions_json(const struct limit_report *report)
{
	json_t *map = json_object();

	for (int i = 0; i < LIMIT_DECISION_COUNT; i++)
		json_object_set_new(map,
		    limit_decision_name((enum limit_decision)i),
		    json_integer((json_int_t)report->decisions[i]));
	return map;
}

static json_t *
report_json(
    const char *route, const char *key, const struct limit_report *report)
{
	const struct limit_answer *answer = &report->answer;
	char rate[96];
	json_t *body = json_pack("{s:s, s:s, s:s, s:I, s:b, s:o}", "schema",
	    "weir.rate_limit/v1", "route", route, "rate",
	    units_print_rate(report->cfg->rate, rate, sizeof(rate)), "limit",
	    (json_int_t)report->cfg->burst, "dry_run_mode",
	    report->cfg->is_dry_run, "decisions", decisions_json(report));

	if (answer->limit == 0)
		return body; /* no key was given */
	json_object_set_new(body, "key", json_string(key));
	json_object_set_new(body, "remaining", json_integer(answer->left));
	json_object_set_new(body, "limited", json_boolean(answer->left == 0));
	json_object_set_new(body, "retry_after_ms",
	    json_integer(answer->free_in / NSEC_PER_MSEC));
	json_object_set_new(body, "reset_ms",
	    json_integer(answer->restored_in / NSEC_PER_MSEC));
	return body;
}

static void
refuse(struct call *call, bool is_route, const struct err *err)
{
	bool has_limit = is_route && strstr(err->text, "has no") == NULL;

	call_problem(call,
	    &(struct problem){has_limit ? 422 : 404,
	        has_limit  ? "bad-key"
	        : is_route ? "no-rate-limit"
	                   : "unknown-route",
	        NULL, has_limit ? "key" : NULL, NULL},
	    "%s", err->text);
}

void
api_rate_limit(struct call *call)
{
	const char *key = call_query(call, "key");
	struct limit_report report;
	bool is_route;
	struct err err;

	if (!limit_report(call->admin->registry, call->args[0], key ? key : "",
	        now_mono(), &report, &is_route, &err))
		refuse(call, is_route, &err);
	else
		call_json(call, 200,
		    report_json(call->args[0], key ? key : "", &report), NULL);
}

static void
audit(struct call *call, const char *key, const struct limit_report *before)
{
	bool is_secret = before->cfg->key.by != KEY_CLIENT_IP &&
	                 before->cfg->key.by != KEY_COUNTRY;
	json_t *was = json_pack("{s:s, s:i}", "key", is_secret ? "***" : key,
	    "remaining", (int)before->answer.left);
	json_t *is = json_pack("{s:s, s:i}", "key", is_secret ? "***" : key,
	    "remaining", (int)before->cfg->burst);

	call_audit(call, call->args[0], was, is, "ok");
	json_decref(was);
	json_decref(is);
}

/* Where the key is forgiven: what Redis holds is as it was while it is away. */
static void
say_where(const struct registry *registry, const struct limit_report *report,
    json_t *body)
{
	bool is_global = report->cfg->is_global;
	bool is_told = is_global && registry_limit_instances(registry) > 0;

	json_object_set_new(
	    body, "forgiven", json_string(is_told ? "everywhere" : "here"));
	if (is_global && !is_told)
		json_object_set_new(body, "why",
		    json_string("Redis is away: the other instances have not "
		                "heard of it, and what they know comes back "
		                "with Redis; ask again then"));
}

void
api_rate_limit_forget(struct call *call)
{
	struct registry *registry = call->admin->registry;
	const char *key = call_query(call, "key");
	struct limit_report report;
	bool is_route, ok;
	json_t *body;
	struct err err;

	key = key ? key : "";
	ok = limit_report(
	    registry, call->args[0], key, now_mono(), &report, &is_route, &err);
	if (ok && report.answer.limit == 0)
		ok = err_set(&err, "say which key: ?key=");
	if (!ok) {
		refuse(call, is_route, &err);
		return;
	}
	if (!call->is_dry_run) {
		limit_forget(registry, call->args[0], key, now_mono(), &report,
		    &is_route, &err);
		audit(call, key, &report);
		limit_report(registry, call->args[0], key, now_mono(), &report,
		    &is_route, &err);
	}
	body = report_json(call->args[0], key, &report);
	if (!call->is_dry_run)
		say_where(registry, &report, body);
	call_json(call, 200, body, NULL);
}
