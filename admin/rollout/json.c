/*
 * A rollout as a record of the journal: all that the machine keeps, the plan
 * that it began with, and what its driver must know after a restart. A table
 * says which members and how; the record is read back only when every member
 * of it is there and within its bounds.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/rollout/rollouts.h"

enum kind { TEXT, BOOL, U8, U16, U32, SIZE, U64, TIME, NSEC };

struct member {
	const char *name;
	enum kind kind;
	size_t at, size;
	uint64_t max; /* of numbers */
};

/* Beyond what weir can have counted or a calendar can show; below what sums of
   it would run over. A record may come from another instance. */
#define COUNT_MAX (UINT64_C(1) << 53)
#define TIME_MAX  UINT64_C(253402300799) /* the end of the year 9999 */
#define CLOCK_MAX (UINT64_C(3652) * 86400 * NSEC_PER_SEC)

#define M(name, kind, max)                                                     \
	{                                                                      \
#name, kind, offsetof(struct rollout, name),                   \
		    sizeof(((struct rollout *)NULL)->name), max                \
	}

static const struct member members[] = {
    M(id, TEXT, 0),
    M(split, TEXT, 0),
    M(from, TEXT, 0),
    M(to, TEXT, 0),
    M(release, TEXT, 0),
    M(requester, TEXT, 0),
    M(reason, TEXT, 0),
    M(retry_of, TEXT, 0),
    M(group, TEXT, 0),
    M(group_size, U32, ROLLOUTS_GROUP_MAX),
    M(started_at, TIME, TIME_MAX),
    M(salt, U64, UINT64_MAX),
    M(share, U16, BP_ALL),
    M(before_n, U64, COUNT_MAX),
    M(before_bad, U64, COUNT_MAX),
    M(held, U32, HOLD_UNDECIDED),
    M(held_by, U8, PLAN_GUARDS_MAX - 1),
    M(phase, U32, PLAN_PHASES_MAX - 1),
    M(weight, U16, BP_ALL),
    M(ramp_from, U16, BP_ALL),
    M(is_paused, BOOL, 1),
    M(is_skipping, BOOL, 1),
    M(is_full, BOOL, 1),
    M(is_promoted, BOOL, 1),
    M(is_timed_out, BOOL, 1),
    M(is_instant, BOOL, 1),
    M(is_by_person, BOOL, 1),
    M(cause, U32, CAUSE_UNHEALTHY),
    M(cause_guard, U8, PLAN_GUARDS_MAX - 1),
    M(cause_words, TEXT, 0),
    M(by, TEXT, 0),
    M(state_at, TIME, TIME_MAX),
    M(phase_at, TIME, TIME_MAX),
    M(ramp_ran, NSEC, CLOCK_MAX),
    M(hold_ran, NSEC, CLOCK_MAX),
    M(phase_ran, NSEC, CLOCK_MAX),
    M(phase_requests, U64, COUNT_MAX),
    M(shielded, U64, COUNT_MAX),
};
#undef M

static const size_t n_members = sizeof(members) / sizeof(*members);

/* ---- writing ---- */

/* 64 bits do not fit a JSON integer of everybody. */
static json_t *
number_text(uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return json_string(text);
}

static json_t *
member_json(const struct rollout *r, const struct member *m)
{
	const void *at = (const char *)r + m->at;

	switch (m->kind) {
	case TEXT:
		return json_string(at);
	case BOOL:
		return json_boolean(*(const bool *)at);
	case U8:
		return json_integer(*(const uint8_t *)at);
	case U16:
		return json_integer(*(const uint16_t *)at);
	case U32:
		return json_integer(*(const uint32_t *)at);
	case SIZE:
		return json_integer((json_int_t) * (const size_t *)at);
	case U64:
		return number_text(*(const uint64_t *)at);
	case TIME:
		return json_integer(*(const time_t *)at);
	case NSEC:
		return json_integer(*(const nsec_t *)at);
	}
	return NULL;
}

static json_t *
arms_json(const uint64_t by_arm[ARM_COUNT])
{
	return json_pack(
	    "[I, I]", (json_int_t)by_arm[0], (json_int_t)by_arm[1]);
}

static json_t *
approvals_json(const struct rollout *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->n_approvals; i++)
		json_array_append_new(
		    list, json_pack("{s:i, s:i, s:s, s:I}", "gate",
		              r->approvals[i].gate, "phase",
		              r->approvals[i].phase, "who", r->approvals[i].who,
		              "at", (json_int_t)r->approvals[i].at));
	return list;
}

static json_t *
gates_json(const struct rollout *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->plan->n_gates; i++)
		json_array_append_new(
		    list, json_pack("{s:i, s:s}", "answer", r->gates[i].answer,
		              "words", r->gates[i].words));
	return list;
}

static json_t *
plan_json(const struct plan_cfg *plan)
{
	char *text = plan_render_json(plan);
	json_t *json = text ? json_string(text) : NULL;

	free(text);
	return json;
}

char *
run_to_text(const struct run *run)
{
	const struct rollout *r = &run->rollout;
	json_t *object = json_object();
	char *text;

	json_object_set_new(
	    object, "state", json_string(rollout_state_name(r->state)));
	for (size_t i = 0; i < n_members; i++)
		json_object_set_new(
		    object, members[i].name, member_json(r, &members[i]));
	json_object_set_new(object, "n", arms_json(r->n));
	json_object_set_new(object, "bad", arms_json(r->bad));
	json_object_set_new(object, "approvals", approvals_json(r));
	json_object_set_new(object, "gates", gates_json(r));
	json_object_set_new(object, "plan", plan_json(r->plan));
	json_object_set_new(
	    object, "version", json_integer((json_int_t)run->version));
	json_object_set_new(object, "split_version",
	    json_integer((json_int_t)run->split_version));
	json_object_set_new(
	    object, "decided_ns", json_integer(run->decided_ns));
	json_object_set_new(
	    object, "effective_ns", json_integer(run->effective_ns));
	if (run->evidence)
		json_object_set(object, "evidence", run->evidence);
	text = json_object_size(object) >= n_members + 10
	           ? json_dumps(object, JSON_COMPACT)
	           : NULL;
	json_decref(object);
	return text;
}

/* ---- reading ---- */

static bool
take_text(const struct member *m, const json_t *value, void *at)
{
	const char *text = json_string_value(value);

	if (!text || strlen(text) >= m->size)
		return false;
	memcpy(at, text, strlen(text) + 1);
	return true;
}

static bool
take_number(const struct member *m, const json_t *value, uint64_t *out)
{
	const char *text = json_string_value(value);
	char *end = NULL;

	if (m->kind == U64) {
		if (!text || *text < '0' || *text > '9')
			return false;
		*out = strtoull(text, &end, 10);
		return *end == '\0' && *out <= m->max;
	}
	if (!json_is_integer(value) || json_integer_value(value) < 0)
		return false;
	*out = (uint64_t)json_integer_value(value);
	return *out <= m->max;
}

static bool
take_member(const struct member *m, const json_t *value, struct rollout *r)
{
	void *at = (char *)r + m->at;
	uint64_t n = 0;

	if (m->kind == TEXT)
		return take_text(m, value, at);
	if (m->kind == BOOL) {
		*(bool *)at = json_is_true(value);
		return json_is_boolean(value);
	}
	if (!take_number(m, value, &n))
		return false;
	switch (m->kind) {
	case U8:
		*(uint8_t *)at = (uint8_t)n;
		break;
	case U16:
		*(uint16_t *)at = (uint16_t)n;
		break;
	case U32:
		*(uint32_t *)at = (uint32_t)n;
		break;
	case SIZE:
		*(size_t *)at = n;
		break;
	case U64:
		*(uint64_t *)at = n;
		break;
	case TIME:
		*(time_t *)at = (time_t)n;
		break;
	default:
		*(nsec_t *)at = (nsec_t)n;
	}
	return true;
}

static bool
take_count(const json_t *value, uint64_t *out)
{
	json_int_t n = json_integer_value(value);

	*out = (uint64_t)n;
	return n >= 0 && *out <= COUNT_MAX;
}

static bool
take_arms(const json_t *list, uint64_t by_arm[ARM_COUNT])
{
	bool ok = true;

	for (size_t i = 0; i < ARM_COUNT; i++)
		ok &= take_count(json_array_get(list, i), &by_arm[i]);
	return ok;
}

/* Times of a monotonic clock and versions: only compared and shown. */
static bool
take_driver(const json_t *object, struct run *run)
{
	run->decided_ns =
	    json_integer_value(json_object_get(object, "decided_ns"));
	run->effective_ns =
	    json_integer_value(json_object_get(object, "effective_ns"));
	return take_count(json_object_get(object, "version"), &run->version) &&
	       take_count(json_object_get(object, "split_version"),
	           &run->split_version);
}

static bool
take_approvals(const json_t *list, struct rollout *r)
{
	size_t i;
	json_t *value;

	if (!json_is_array(list) ||
	    json_array_size(list) > ROLLOUT_APPROVALS_MAX)
		return false;
	json_array_foreach (list, i, value) {
		struct rollout_approval *a = &r->approvals[i];
		const char *who =
		    json_string_value(json_object_get(value, "who"));
		json_int_t gate =
		    json_integer_value(json_object_get(value, "gate"));
		json_int_t phase =
		    json_integer_value(json_object_get(value, "phase"));

		if (!who || strlen(who) >= sizeof(a->who) || gate < 0 ||
		    (size_t)gate >= r->plan->n_gates || phase < 0 ||
		    (size_t)phase >= r->plan->n_phases)
			return false;
		a->gate = (uint8_t)gate;
		a->phase = (uint8_t)phase;
		snprintf(a->who, sizeof(a->who), "%s", who);
		a->at =
		    (time_t)json_integer_value(json_object_get(value, "at"));
		r->n_approvals++;
	}
	return true;
}

static bool
take_gates(const json_t *list, struct rollout *r)
{
	size_t i;
	json_t *value;

	if (json_array_size(list) != r->plan->n_gates)
		return false;
	json_array_foreach (list, i, value) {
		json_int_t answer =
		    json_integer_value(json_object_get(value, "answer"));
		const char *words =
		    json_string_value(json_object_get(value, "words"));

		if (answer < GATE_UNASKED || answer > GATE_FAILED || !words)
			return false;
		r->gates[i].answer = (enum gate_answer)answer;
		snprintf(
		    r->gates[i].words, sizeof(r->gates[i].words), "%s", words);
	}
	return true;
}

static bool
take_plan(const json_t *value, struct rollout *r, struct err *err)
{
	const char *text = json_string_value(value);

	if (!text)
		return err_set(err, "it has no plan");
	r->plan = plan_parse(span_of(text), err);
	return r->plan != NULL;
}

/* What is within its own bounds must fit the plan too. */
static bool
fits_plan(const struct rollout *r)
{
	const struct plan_cfg *plan = r->plan;

	return r->phase < plan->n_phases &&
	       (r->held != HOLD_GUARD || r->held_by < plan->n_guards) &&
	       (r->held != HOLD_GATE || r->held_by < plan->n_gates) &&
	       (r->cause != CAUSE_GUARD || r->cause_guard < plan->n_guards) &&
	       (r->held != HOLD_NONE) == (r->state == ROLLOUT_HELD);
}

/* It is only shown; what cannot be is left out. */
static void
take_evidence(json_t *list, struct run *run)
{
	static const char *const shown[] = {"guard", "verdict", "action"};
	size_t i;
	json_t *value;

	if (!json_is_array(list))
		return;
	json_array_foreach (list, i, value)
		for (size_t j = 0; j < 3; j++)
			if (!json_is_string(json_object_get(value, shown[j])))
				return;
	run->evidence = json_incref(list);
}

static bool
take_all(const json_t *object, struct run *run, struct err *err)
{
	struct rollout *r = &run->rollout;
	const char *state = json_string_value(json_object_get(object, "state"));

	if (!state || !rollout_state_of(state, &r->state))
		return err_set(err, "its state is unknown");
	for (size_t i = 0; i < n_members; i++)
		if (!take_member(&members[i],
		        json_object_get(object, members[i].name), r))
			return err_set(
			    err, "its \"%s\" is wrong", members[i].name);
	if (!take_plan(json_object_get(object, "plan"), r, err))
		return false;
	if (!take_arms(json_object_get(object, "n"), r->n) ||
	    !take_arms(json_object_get(object, "bad"), r->bad) ||
	    !take_driver(object, run))
		return err_set(err, "its counts are wrong");
	if (!take_approvals(json_object_get(object, "approvals"), r) ||
	    !take_gates(json_object_get(object, "gates"), r) || !fits_plan(r))
		return err_set(err, "it does not fit its plan");
	take_evidence(json_object_get(object, "evidence"), run);
	return true;
}

struct run *
run_from_text(const char *text, struct err *err)
{
	json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	struct run *run = calloc(1, sizeof(*run));

	if (!run)
		err_set(err, "out of memory");
	else if (!json_is_object(object))
		err_set(err, "it is no JSON object");
	else if (take_all(object, run, err)) {
		run->recorded_state = run->rollout.state;
		json_decref(object);
		return run;
	}
	json_decref(object);
	if (run)
		run_free(&run);
	return NULL;
}

void
run_free(struct run **run)
{
	struct run *r = *run;

	if (!r)
		return;
	rollout_release(&r->rollout);
	plan_free(&r->rollout.plan);
	signals_release(&r->signals);
	json_decref(r->evidence);
	free(r);
	*run = NULL;
}
