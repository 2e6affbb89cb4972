/*
 * Is a verdict what its own counters say? The audit log keeps, with every
 * verdict, the counters between the moments of its phase: the e-value follows
 * from them and from the guard's limits, and all that is shown must follow
 * from that. So a number that was changed is found even when all hashes were
 * made anew.
 *
 * What comes in was read from a file that somebody may have edited: nothing
 * of it is believed.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/rollout/evidence_json.h"

enum { DEPTH_MAX = 16 };

/* ---- reading ---- */

static bool
lacks(const char *key, struct err *err)
{
	return err_set(err, "%s is missing or is not what it should be", key);
}

static bool
read_text(
    const json_t *object, const char *key, const char **out, struct err *err)
{
	*out = json_string_value(json_object_get(object, key));
	return *out || lacks(key, err);
}

/* Null is what JSON has for "no wealth at all". */
static bool
read_number(const json_t *object, const char *key, double *out, struct err *err)
{
	const json_t *value = json_object_get(object, key);

	if (json_is_null(value)) {
		*out = -HUGE_VAL;
		return true;
	}
	*out = json_number_value(value);
	return json_is_number(value) || lacks(key, err);
}

static bool
read_arms(const json_t *object, const char *key, double out[ARM_COUNT],
    struct err *err)
{
	const json_t *arms = json_object_get(object, key);

	for (int arm = 0; arm < ARM_COUNT; arm++) {
		const json_t *value =
		    json_object_get(arms, arm_name((enum arm)arm));

		if (!json_is_number(value))
			return lacks(key, err);
		out[arm] = json_number_value(value);
	}
	return true;
}

/* ---- the guard, from what the evidence says of it ---- */

static bool
read_metric(const json_t *object, struct guard_cfg *guard, struct err *err)
{
	const char *word;

	if (!read_text(object, "metric", &word, err))
		return false;
	if (strncmp(word, "signal:", 7) == 0) {
		guard->metric = GUARD_SIGNAL;
		return true;
	}
	for (int m = 0; m < GUARD_SIGNAL; m++)
		if (strcmp(guard_metric_name((enum guard_metric)m), word) ==
		    0) {
			guard->metric = (enum guard_metric)m;
			return true;
		}
	return lacks("metric", err);
}

static bool
read_action(const json_t *object, struct guard_cfg *guard, struct err *err)
{
	const char *word;

	if (!read_text(object, "action", &word, err))
		return false;
	for (int a = ACTION_OBSERVE; a <= ACTION_ROLLBACK; a++)
		if (strcmp(guard_action_name((enum guard_action)a), word) ==
		    0) {
			guard->action = (enum guard_action)a;
			return true;
		}
	return lacks("action", err);
}

/* "2pp", "20%"; absent is none. */
static bool
read_increase(
    const json_t *limit, const char *key, struct increase *out, struct err *err)
{
	const json_t *value = json_object_get(limit, key);
	const char *text = json_string_value(value);
	char *unit;

	if (!value)
		return true;
	if (!text)
		return lacks(key, err);
	out->by = strtod(text, &unit) / 100;
	out->kind =
	    strcmp(unit, "pp") == 0 ? INCREASE_ABSOLUTE : INCREASE_RELATIVE;
	if (unit == text || !isfinite(out->by) || out->by < 0 ||
	    (strcmp(unit, "pp") != 0 && strcmp(unit, "%") != 0))
		return lacks(key, err);
	return true;
}

static bool
read_limit(const json_t *object, struct guard_cfg *guard, struct err *err)
{
	const json_t *limit = json_object_get(object, "limit");
	const json_t *max = json_object_get(limit, "max");
	struct increase rate = {0};

	if (!json_is_object(limit) ||
	    (max && (!json_is_integer(max) || json_integer_value(max) < 0)))
		return lacks("limit", err);
	guard->max = (uint64_t)json_integer_value(max);
	if (!read_increase(limit, "max_increase", &guard->max_increase, err) ||
	    !read_increase(limit, "tolerance", &guard->tolerance, err) ||
	    !read_increase(limit, "max_rate", &rate, err))
		return false;
	guard->max_rate = rate.by;
	return true;
}

/* ---- the record ---- */

struct record {
	struct guard_cfg guard;
	const char *test, *verdict;
	double *trail; /* owned */
	size_t n, columns;
	double log_e; /* computed again */
};

static bool
read_trail(const json_t *object, struct record *r, struct err *err)
{
	const json_t *trail = json_object_get(object, "trail");
	const json_t *columns = json_object_get(trail, "columns");
	const json_t *numbers = json_object_get(trail, "numbers"), *value;
	size_t i;

	if (!json_is_integer(columns) || json_integer_value(columns) < 1 ||
	    !json_is_array(numbers) || json_array_size(numbers) == 0 ||
	    json_array_size(numbers) > EVIDENCE_TRAIL_MAX)
		return lacks("trail", err);
	r->columns = (size_t)json_integer_value(columns);
	r->n = json_array_size(numbers);
	r->trail = calloc(r->n, sizeof(*r->trail));
	if (!r->trail)
		return err_set(err, "out of memory");
	json_array_foreach (numbers, i, value) {
		if (!json_is_number(value))
			return lacks("trail", err);
		r->trail[i] = json_number_value(value);
	}
	return true;
}

static bool
is_count(const struct record *r)
{
	return r->guard.metric >= GUARD_EXCESS_FAILURES;
}

/* ---- what must hold ---- */

static bool
is_near(double a, double b, double by)
{
	return a == b || fabs(a - b) <= by * fmax(1, fmax(fabs(a), fabs(b)));
}

static bool
differs(const char *key, double says, double is, struct err *err)
{
	return err_set(
	    err, "%s says %.10g, its counters give %.10g", key, says, is);
}

static bool
check_number(const json_t *object, const char *key, double is, double by,
    struct err *err)
{
	double says;

	return read_number(object, key, &says, err) &&
	       (is_near(says, is, by) || differs(key, says, is, err));
}

/* As set_test rounds: six digits. */
static bool
check_bets(const json_t *object, const struct record *r, struct err *err)
{
	double alpha, log_needed;
	bool has_failed = strcmp(r->verdict, "fail") == 0;

	if (!check_number(object, "log_e", r->log_e, 1e-7, err) ||
	    !check_number(
	        object, "e_value", fmin(exp(r->log_e), 1e300), 1e-5, err) ||
	    !read_number(object, "alpha", &alpha, err) ||
	    !read_number(object, "log_needed", &log_needed, err))
		return false;
	if (alpha > 0 && !is_near(log_needed, -log(alpha), 1e-7))
		return differs("log_needed", log_needed, -log(alpha), err);
	if (!check_number(object, "needed", exp(log_needed), 1e-5, err))
		return false;
	if (has_failed && r->log_e < log_needed - 1e-7)
		return err_set(err,
		    "the verdict says fail, but the e-value %.6g is below the "
		    "%.6g that are needed",
		    exp(r->log_e), exp(log_needed));
	if (!has_failed && r->guard.max_rate == 0 &&
	    r->log_e > log_needed + 1e-7)
		return err_set(err,
		    "the verdict says %s, but the e-value %.6g is above the "
		    "%.6g that mean fail",
		    r->verdict, exp(r->log_e), exp(log_needed));
	return true;
}

/* log_e of a guard that counts is log(1 + count). */
static bool
check_count(const json_t *object, const struct record *r, struct err *err)
{
	double says, is = expm1(r->log_e);
	bool has_failed = strcmp(r->verdict, "fail") == 0;

	if (!read_number(object, "count", &says, err))
		return false;
	if (!is_near(fmax(says, 0), is, 1e-5))
		return differs("count", says, is, err);
	if (has_failed != (is > (double)r->guard.max + 1e-9))
		return err_set(err,
		    "the verdict says %s, but the count is %.6g of at most "
		    "%llu",
		    r->verdict, is, (unsigned long long)r->guard.max);
	return true;
}

/* What the trail knows of n and bad, with what was not judged. */
static bool
check_counters(const json_t *object, const struct record *r, struct err *err)
{
	const json_t *unjudged = json_object_get(object, "unjudged");
	uint64_t n[ARM_COUNT], bad[ARM_COUNT];
	double says_n[ARM_COUNT], says_bad[ARM_COUNT],
	    more[ARM_COUNT] = {0}, more_bad[ARM_COUNT] = {0};

	if (!judge_recount(r->test, r->trail, r->n, r->columns, n, bad))
		return true;
	if (!read_arms(object, "n", says_n, err) ||
	    !read_arms(object, "bad", says_bad, err))
		return false;
	if (unjudged && (!read_arms(unjudged, "n", more, err) ||
	                    !read_arms(unjudged, "bad", more_bad, err)))
		return false;
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		if (says_n[arm] != (double)n[arm] + more[arm])
			return differs("n", says_n[arm], (double)n[arm], err);
		if (says_bad[arm] != (double)bad[arm] + more_bad[arm])
			return differs(
			    "bad", says_bad[arm], (double)bad[arm], err);
	}
	return true;
}

static bool
check_rates(const json_t *object, struct err *err)
{
	double n[ARM_COUNT], bad[ARM_COUNT], rate[ARM_COUNT];

	if (!read_arms(object, "n", n, err) ||
	    !read_arms(object, "bad", bad, err) ||
	    !read_arms(object, "rate", rate, err))
		return false;
	for (int arm = 0; arm < ARM_COUNT; arm++) {
		double is = n[arm] > 0 ? fmin(bad[arm], n[arm]) / n[arm] : 0;

		if (!is_near(rate[arm], is, 1e-6))
			return differs("rate", rate[arm], is, err);
	}
	return true;
}

static bool
check_record(const json_t *object, struct record *r, struct err *err)
{
	if (!read_text(object, "test", &r->test, err) ||
	    !read_text(object, "verdict", &r->verdict, err) ||
	    !read_metric(object, &r->guard, err) ||
	    !read_action(object, &r->guard, err) ||
	    !read_limit(object, &r->guard, err) || !read_trail(object, r, err))
		return false;
	if (!judge_recompute(
	        &r->guard, r->test, r->trail, r->n, r->columns, &r->log_e))
		return err_set(err,
		    "its trail is not one of the test %s for this guard",
		    r->test);
	if (!(is_count(r) ? check_count(object, r, err)
	                  : check_bets(object, r, err)))
		return false;
	return r->guard.metric == GUARD_SIGNAL ||
	       (check_counters(object, r, err) && check_rates(object, err));
}

bool
evidence_verify(const json_t *object, struct err *err)
{
	struct record record = {0};
	const char *guard = json_string_value(json_object_get(object, "guard"));
	const char *phase = json_string_value(json_object_get(object, "phase"));
	bool ok;

	if (!json_object_get(object, "trail"))
		return true;
	ok = check_record(object, &record, err);
	free(record.trail);
	return ok || err_wrap(err, "evidence of guard '%.63s' in phase '%.63s'",
	                 guard ? guard : "?", phase ? phase : "?");
}

static bool
is_evidence(const json_t *json)
{
	const char *schema = json_string_value(json_object_get(json, "schema"));

	return schema && strcmp(schema, "weir.evidence/v1") == 0 &&
	       json_object_get(json, "trail");
}

static bool
verify_within(const json_t *json, unsigned depth, uint64_t *n, struct err *err)
{
	const char *key;
	json_t *value;
	size_t i;

	if (depth == DEPTH_MAX)
		return true;
	if (is_evidence(json)) {
		(*n)++;
		return evidence_verify(json, err);
	}
	json_object_foreach ((json_t *)(uintptr_t)json, key, value)
		if (!verify_within(value, depth + 1, n, err))
			return false;
	json_array_foreach (json, i, value)
		if (!verify_within(value, depth + 1, n, err))
			return false;
	return true;
}

bool
evidence_verify_all(const json_t *json, uint64_t *n, struct err *err)
{
	return verify_within(json, 0, n, err);
}
