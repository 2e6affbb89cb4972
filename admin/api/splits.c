/*
 * Splits over the API: reading them, and the one thing the whole program is
 * for, moving their weights. The order of a change is fixed: checks, journal
 * (fsync), publish, audit, answer. What the journal refuses does not happen;
 * what was answered with 200 is in effect and survives the process.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/api/api.h"
#include "admin/events.h"
#include "admin/log.h"
#include "admin/rollout/rollouts.h"
#include "admin/sampler.h"

/* ---- showing ---- */

json_t *
weights_to_json(const struct split *split, const bp_t *bp)
{
	json_t *weights = json_object();

	for (uint32_t i = 0; i < split->n_pools; i++)
		json_object_set_new(
		    weights, split->pools[i], json_percent(bp[i]));
	return weights;
}

static json_t *
actual_json(const struct admin *admin, const struct split *split)
{
	json_t *actual;

	if (sampler_split_total(admin->sampler, split->name) == 0)
		return json_null();
	actual = json_object();
	for (uint32_t i = 0; i < split->n_pools; i++)
		json_object_set_new(actual, split->pools[i],
		    json_real(
		        round(sampler_actual(admin->sampler, split->name, i) *
		              10000) /
		        100));
	return actual;
}

static void
set_quantile(
    json_t *object, const char *key, const struct meter *meter, double q)
{
	nsec_t value;

	if (meter && meter_quantile(meter, q, &value))
		json_object_set_new(
		    object, key, json_real(round((double)value / 1e4) / 100));
	else
		json_object_set_new(object, key, json_null());
}

void
meter_to_json(json_t *object, const struct meter *meter)
{
	json_object_set_new(object, "requests",
	    json_integer(meter ? (json_int_t)meter_requests(meter) : 0));
	json_object_set_new(object, "failures",
	    json_integer(meter ? (json_int_t)meter_failures(meter) : 0));
	json_object_set_new(object, "rate",
	    json_real(meter ? round(meter_rate(meter) * 100) / 100 : 0));
	json_object_set_new(object, "error_rate",
	    json_real(
	        meter ? round(meter_failure_share(meter) * 1e6) / 1e6 : 0));
	set_quantile(object, "p50_ms", meter, 0.50);
	set_quantile(object, "p95_ms", meter, 0.95);
	set_quantile(object, "p99_ms", meter, 0.99);
}

static json_t *
slot_json(const struct admin *admin, const struct split *split, uint32_t slot)
{
	const struct pool_view *view = admin_pool(admin, split->pools[slot]);
	const struct share *share =
	    sampler_share(admin->sampler, split->name, slot);
	json_t *object = json_object();

	json_object_set_new(object, "name", json_string(split->pools[slot]));
	json_object_set_new(
	    object, "weight", json_percent(split_weights(split)->bp[slot]));
	json_object_set_new(object, "endpoints",
	    json_integer(view ? (json_int_t)view->n_endpoints : 0));
	json_object_set_new(object, "usable",
	    json_integer(view ? (json_int_t)pool_n_usable(view) : 0));
	meter_to_json(object, share ? &share->meter : NULL);
	return object;
}

static json_t *
text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *
rollout_of(const struct admin *admin, const struct split *split)
{
	const struct run *run =
	    admin->rollouts ? rollouts_live(admin->rollouts, split->name)
	                    : NULL;

	return run ? run_brief(run) : json_null();
}

json_t *
split_to_json(const struct admin *admin, const struct split *split)
{
	const struct weights *weights = split_weights(split);
	json_t *pools = json_array();
	json_t *object = json_pack("{s:s, s:s, s:I}", "schema", "weir.split/v1",
	    "name", split->name, "version", (json_int_t)weights->version);

	for (uint32_t i = 0; i < split->n_pools; i++)
		json_array_append_new(pools, slot_json(admin, split, i));
	json_object_set_new(object, "stable", text_or_null(split->stable));
	json_object_set_new(
	    object, "weights", weights_to_json(split, weights->bp));
	json_object_set_new(object, "actual", actual_json(admin, split));
	json_object_set_new(
	    object, "file", weights_to_json(split, split->file));
	json_object_set_new(object, "previous",
	    split->has_previous ? weights_to_json(split, split->previous)
	                        : json_null());
	json_object_set_new(object, "changed_at", json_time(split->changed_at));
	json_object_set_new(
	    object, "changed_by", text_or_null(split->changed_by));
	json_object_set_new(object, "reason", text_or_null(split->reason));
	json_object_set_new(object, "rollout", rollout_of(admin, split));
	json_object_set_new(object, "pools", pools);
	return object;
}

void
split_etag(const struct split *split, char *buf, size_t cap)
{
	snprintf(buf, cap, "\"%llu\"",
	    (unsigned long long)split_weights(split)->version);
}

static void
unknown_split(struct call *call)
{
	struct registry *registry = call->admin->registry;
	const char *names[256];
	size_t n = 0;

	for (size_t i = 0; i < registry_n_splits(registry) && n < 256; i++)
		names[n++] = registry_split_at(registry, i)->name;
	call_unknown(call, "split", call->args[0], names, n);
}

/* NULL: answered 404. */
static struct split *
split_of(struct call *call)
{
	struct split *split =
	    registry_split(call->admin->registry, call->args[0]);

	if (!split)
		unknown_split(call);
	return split;
}

void
api_splits(struct call *call)
{
	struct registry *registry = call->admin->registry;
	json_t *list = json_array();

	sampler_read(call->admin->sampler, now_mono());
	for (size_t i = 0; i < registry_n_splits(registry); i++)
		json_array_append_new(list,
		    split_to_json(call->admin, registry_split_at(registry, i)));
	call_json(call, 200,
	    json_pack("{s:s, s:o}", "schema", "weir.splits/v1", "splits", list),
	    NULL);
}

void
call_answer_split(struct call *call, const struct split *split)
{
	char etag[32];

	split_etag(split, etag, sizeof(etag));
	call_json(call, 200, split_to_json(call->admin, split), etag);
}

void
api_split(struct call *call)
{
	const struct split *split = split_of(call);

	if (!split)
		return;
	sampler_read(call->admin->sampler, now_mono());
	call_answer_split(call, split);
}

/* ---- reading what is asked ---- */

static bool
bad_weight(struct call *call, const char *pool, const char *what)
{
	char field[96];

	snprintf(field, sizeof(field), "weights.%s", pool);
	call_problem(call,
	    &(struct problem){422, "bad-weight",
	        "a weight is a percentage from 0 to 100 with at most two "
	        "decimals",
	        field, NULL},
	    "pool '%.64s': %s", pool, what);
	return false;
}

static bool
read_weight(struct call *call, const char *pool, const json_t *value, bp_t *out)
{
	double percent, scaled;

	if (!json_is_number(value))
		return bad_weight(call, pool, "the weight is not a number");
	percent = json_number_value(value);
	if (percent < 0)
		return bad_weight(call, pool, "the weight is negative");
	if (!(percent <= 100))
		return bad_weight(call, pool, "the weight is above 100");
	scaled = percent * 100;
	if (fabs(scaled - round(scaled)) > 1e-6)
		return bad_weight(
		    call, pool, "the weight has more than two decimals");
	*out = (bp_t)lround(scaled);
	return true;
}

static bool
unknown_pool(struct call *call, const struct split *split, const char *pool)
{
	const char *near = suggest(
	    span_of(pool), (const char *const *)split->pools, split->n_pools);
	char field[96], hint[160];

	snprintf(field, sizeof(field), "weights.%.80s", pool);
	if (near)
		snprintf(hint, sizeof(hint), "did you mean \"%s\"?", near);
	else
		snprintf(hint, sizeof(hint),
		    "GET /v1/splits/%s lists its pools", split->name);
	call_problem(call,
	    &(struct problem){404, "unknown-pool", hint, field, NULL},
	    "split '%s' has no pool \"%.64s\"", split->name, pool);
	return false;
}

static bool
check_sum(struct call *call, const struct split *split, const bp_t *bp)
{
	unsigned sum = 0;
	char text[24], hint[400];
	size_t len = 0;

	for (uint32_t i = 0; i < split->n_pools; i++)
		sum += bp[i];
	if (sum == BP_ALL)
		return true;
	snprintf(text, sizeof(text), "%.10g", sum / 100.0);
	len += (size_t)snprintf(
	    hint, sizeof(hint), "pools that are not named get 0; pools:");
	for (uint32_t i = 0; i < split->n_pools && len < sizeof(hint) - 70; i++)
		len += (size_t)snprintf(
		    hint + len, sizeof(hint) - len, " %s", split->pools[i]);
	call_problem(call,
	    &(struct problem){422, "bad-sum", hint, "weights", NULL},
	    "the weights sum to %s, not to 100", text);
	return false;
}

static bool
read_weights(struct call *call, const struct split *split, bp_t *bp)
{
	static const char *const known[] = {"weights", "reason", NULL};
	json_t *weights = json_object_get(call->body, "weights"), *value;
	const char *pool;

	memset(bp, 0, sizeof(*bp) * CONFIG_SPLIT_POOLS_MAX);
	if (!call_body_knows(call, known))
		return false;
	if (!json_is_object(weights)) {
		call_problem(call,
		    &(struct problem){400, "bad-json",
		        "{\"weights\": {\"blue\": 95, \"canary\": 5}, "
		        "\"reason\": \"...\"}",
		        "weights", NULL},
		    "\"weights\" must be an object of pools and percentages");
		return false;
	}
	json_object_foreach (weights, pool, value) {
		int slot = split_slot(split, pool);

		if (slot < 0)
			return unknown_pool(call, split, pool);
		if (!read_weight(call, pool, value, &bp[slot]))
			return false;
	}
	return check_sum(call, split, bp);
}

/* ---- changing ---- */

/*
 * Weight must not grow on a pool that nobody can answer for. Lowering it is
 * always allowed: that is how one gets out of trouble.
 */
static bool
check_healthy(struct call *call, const struct split *split, const bp_t *bp)
{
	const struct weights *now = split_weights(split);

	for (uint32_t i = 0; i < split->n_pools; i++) {
		const struct pool_view *view =
		    admin_pool(call->admin, split->pools[i]);

		if (bp[i] <= now->bp[i] || (view && pool_n_usable(view) > 0))
			continue;
		call_problem(call,
		    &(struct problem){409, "pool-unhealthy",
		        "weirctl pool shows its endpoints and why they are out",
		        "weights", NULL},
		    "pool '%s' has no usable endpoint and cannot be given "
		    "weight",
		    split->pools[i]);
		return false;
	}
	return true;
}

/* A rollout moves these weights; a freeze lets none but the stable one's grow.
 */
static bool
check_unguarded(struct call *call, const struct split *split, const bp_t *bp)
{
	struct rollouts *rollouts = call->admin->rollouts;
	const struct run *live = rollouts_live(rollouts, split->name);
	const struct weights *now = split_weights(split);

	if (live) {
		call_rollout_active(call, live);
		return false;
	}
	for (uint32_t i = 0; rollouts->freeze.is_on && i < split->n_pools;
	     i++) {
		if (bp[i] <= now->bp[i] || i == now->stable)
			continue;
		call_problem(call,
		    &(struct problem){409, "frozen",
		        "weirctl freeze off ends it; weights may shrink and "
		        "go back to the stable pool meanwhile",
		        "weights", NULL},
		    "there is a freeze by %s: the weight of pool '%s' cannot "
		    "grow",
		    rollouts->freeze.by, split->pools[i]);
		return false;
	}
	return true;
}

static char *
copy_or_null(const char *text)
{
	return text ? strdup(text) : NULL;
}

static bool
record(
    struct call *call, const struct split *split, const bp_t *bp, time_t wall)
{
	struct split_state state;
	struct err err;
	bool ok;

	split_save(split, &state);
	memcpy(state.previous, state.bp, sizeof(state.previous));
	memcpy(state.bp, bp, sizeof(*bp) * state.n);
	state.has_previous = true;
	state.version++;
	state.changed_at = wall;
	free(state.changed_by);
	free(state.reason);
	state.changed_by = copy_or_null(call->actor.name);
	state.reason = copy_or_null(call->reason);
	ok = state_put_split(call->admin->state, split->name, &state, &err);
	split_state_release(&state);
	if (ok)
		return true;
	log_event(LOG_ERROR,
	    "a change of weights was refused: it cannot be recorded", "split",
	    split->name, "error", err.text, NULL);
	call_problem(call,
	    &(struct problem){507, "state-unwritable",
	        "free space in state_dir; traffic goes on with the weights as "
	        "they are",
	        NULL, NULL},
	    "%s", err.text);
	return false;
}

static void
announce(struct call *call, const struct split *split, const json_t *before)
{
	json_t *event = json_pack("{s:s, s:I, s:O, s:o, s:s, s:o}", "split",
	    split->name, "version", (json_int_t)split_weights(split)->version,
	    "before", before, "after",
	    weights_to_json(split, split_weights(split)->bp), "by",
	    call->actor.name, "reason", text_or_null(call->reason));
	char *text = json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(12));

	if (text)
		events_publish(call->admin->events, "weights", text);
	free(text);
	json_decref(event);
}

static void
change(struct call *call, struct split *split, const bp_t *bp)
{
	json_t *before = weights_to_json(split, split_weights(split)->bp);
	json_t *after = weights_to_json(split, bp);
	char *told = json_dumps(after, JSON_COMPACT | JSON_REAL_PRECISION(12));
	time_t wall = time(NULL);

	if (record(call, split, bp, wall)) {
		split_publish(split, bp, wall, call->actor.name, call->reason);
		sampler_read(call->admin->sampler, now_mono());
		call_audit(call, split->name, before, after, "ok");
		announce(call, split, before);
		log_event(LOG_INFO, "weights changed", "split", split->name,
		    "weights", told ? told : "", "by", call->actor.name,
		    "reason", call->reason ? call->reason : "", NULL);
		call_answer_split(call, split);
	}
	free(told);
	json_decref(before);
	json_decref(after);
}

static void
rehearse(struct call *call, const struct split *split, const bp_t *bp)
{
	json_t *body = split_to_json(call->admin, split);
	char etag[32];

	split_etag(split, etag, sizeof(etag));
	json_object_set_new(body, "dry_run", json_true());
	json_object_set_new(body, "would_be", weights_to_json(split, bp));
	call_json(call, 200, body, etag);
}

static void
decide(struct call *call, struct split *split, const bp_t *bp)
{
	if (!check_unguarded(call, split, bp) ||
	    !check_healthy(call, split, bp))
		return;
	if (call->is_dry_run)
		rehearse(call, split, bp);
	else
		change(call, split, bp);
}

void
api_weights(struct call *call)
{
	struct split *split = split_of(call);
	bp_t bp[CONFIG_SPLIT_POOLS_MAX];

	if (split &&
	    call_matches(
	        call, split_weights(split)->version, split->changed_by) &&
	    read_weights(call, split, bp))
		decide(call, split, bp);
}

/* What the split's last rollout has to say. True: answered. */
static bool
undo_rollout(struct call *call, const struct split *split)
{
	struct run *run = rollouts_newest(call->admin->rollouts, split->name);
	bool is_done;
	char by[ROLLOUT_ID_MAX + 16];

	if (!run)
		return false;
	if (run_is_live(run)) {
		call->answers_split = true;
		call_verb(call, run, VERB_UNDO, false);
		return true;
	}
	snprintf(by, sizeof(by), "rollout %s", run->rollout.id);
	if (!split->changed_by || strcmp(split->changed_by, by) != 0)
		return false; /* somebody has moved the weights since */
	is_done = run->rollout.state == ROLLOUT_DONE;
	call_problem(call,
	    &(struct problem){is_done ? 410 : 409,
	        is_done ? "no-longer-warm" : "nothing-to-undo",
	        is_done ? "start a rollout to the other pool, or set the "
	                  "weights"
	                : "weirctl rollout retry starts it anew",
	        NULL, NULL},
	    is_done ? "rollout %s is done: its old pool is not kept warm any "
	              "more"
	            : "rollout %s went back already",
	    run->rollout.id);
	return true;
}

void
api_undo(struct call *call)
{
	static const char *const known[] = {"reason", NULL};
	struct split *split = split_of(call);
	bp_t bp[CONFIG_SPLIT_POOLS_MAX];

	if (!split ||
	    !call_matches(
	        call, split_weights(split)->version, split->changed_by) ||
	    !call_body_knows(call, known) || undo_rollout(call, split))
		return;
	if (!split->has_previous) {
		call_problem(call,
		    &(struct problem){409, "nothing-to-undo", NULL, NULL, NULL},
		    "the weights of split '%s' were never changed",
		    split->name);
		return;
	}
	memcpy(bp, split->previous, sizeof(bp));
	decide(call, split, bp);
}
