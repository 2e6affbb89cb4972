/*
 * A rollout in virtual time: a plan by hand, a judge that is told what to
 * find, and a driver that records everything at once.
 */
#ifndef WEIR_TESTS_ROUTING_COURSE_H
#define WEIR_TESTS_ROUTING_COURSE_H

/* cmocka wants these before it */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

#include "tests/unit/routing/judge_told.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "routing/rollout.h"

#define WORD(text) ((char *)(uintptr_t)(text))
#define SECONDS(n) ((n)*NSEC_PER_SEC)
#define MINUTES(n) ((n)*60 * NSEC_PER_SEC)

enum { COURSE_TICK = 50, COURSE_WALL = 1800000000 };

struct course {
	struct plan_cfg plan;
	struct phase_cfg phases[4];
	struct guard_cfg guards[4];
	struct gate_cfg gates[4];
	struct rollout rollout;
	struct rollout_input input;
	struct rollout_output output;
	struct evidence_sum evidence;
	unsigned rate; /* requests of the candidate in a tick */
	unsigned publishes, seen[EVENT_COUNT];
	uint32_t asked;
	char last[EVENT_COUNT][ROLLOUT_WORDS_MAX];
	bool fails_to_record;
};

/* Three guards: errors rolls back, latency rolls back, slo holds. */
static inline void
course_plan(struct course *c)
{
	memset(c, 0, sizeof(*c));
	c->plan = (struct plan_cfg){.name = WORD("standard"),
	    .phases = c->phases,
	    .n_phases = 3,
	    .guards = c->guards,
	    .n_guards = 3,
	    .gates = c->gates,
	    .keep_warm = MINUTES(30),
	    .rollback = {ROLLBACK_AUTO, SESSIONS_RECALL, SECONDS(30)}};
	c->phases[0] = (struct phase_cfg){
	    .name = WORD("canary"), .weight = 500, .hold = MINUTES(10)};
	c->phases[1] = (struct phase_cfg){.name = WORD("half"),
	    .weight = 5000,
	    .ramp = MINUTES(2),
	    .hold = MINUTES(5)};
	c->phases[2] = (struct phase_cfg){
	    .name = WORD("bake"), .weight = 9900, .hold = MINUTES(5)};
	c->guards[0] = (struct guard_cfg){.name = WORD("errors"),
	    .metric = GUARD_ERRORS,
	    .action = ACTION_ROLLBACK};
	c->guards[1] = (struct guard_cfg){.name = WORD("latency"),
	    .metric = GUARD_LATENCY,
	    .action = ACTION_ROLLBACK};
	c->guards[2] = (struct guard_cfg){
	    .name = WORD("slo"), .metric = GUARD_ERRORS, .action = ACTION_HOLD};
	c->gates[0] =
	    (struct gate_cfg){.name = WORD("smoke"), .kind = GATE_WEBHOOK};
	c->gates[1] = (struct gate_cfg){.name = WORD("leads"),
	    .kind = GATE_APPROVAL,
	    .approval = {ROLE_APPROVER, 2, true, MINUTES(60)}};
	c->gates[2] = (struct gate_cfg){.name = WORD("hours"),
	    .kind = GATE_WINDOW,
	    .window = {0x1f, 540, 960, NULL}};
	c->plan.n_gates = 3;
	c->rate = 1;
}

static inline void
course_start(struct course *c)
{
	struct rollout *r = &c->rollout;

	*r = (struct rollout){.id = "r-20260822-1",
	    .split = "shop",
	    .from = "blue",
	    .to = "green",
	    .requester = "token:ci",
	    .started_at = COURSE_WALL,
	    .salt = 7,
	    .share = BP_ALL,
	    .plan = &c->plan};
	c->input = (struct rollout_input){.now = SECONDS(1000),
	    .wall = COURSE_WALL,
	    .delta = &c->evidence,
	    .is_healthy = true,
	    .is_group_ready = true};
	rollout_start(r);
}

static inline void
course_take(struct course *c)
{
	for (size_t i = 0; i < c->output.n_events; i++) {
		const struct rollout_event *event = &c->output.events[i];

		c->seen[event->kind]++;
		snprintf(c->last[event->kind], ROLLOUT_WORDS_MAX, "%s",
		    event->words);
	}
	c->publishes += c->output.publishes;
	c->asked |= c->output.asks;
	rollout_commit(&c->rollout, &c->output, c->input.now);
}

static inline void
course_step(struct course *c, nsec_t passed)
{
	static struct rollout before;

	c->input.now += passed;
	c->input.wall =
	    COURSE_WALL + (c->input.now - SECONDS(1000)) / NSEC_PER_SEC;
	memset(&c->evidence, 0, sizeof(c->evidence));
	if (c->rollout.weight > 0)
		c->evidence.arm[ARM_CANDIDATE].n = c->rate;
	before = c->rollout;
	rollout_step(&c->rollout, &c->input, &c->output);
	if (c->output.is_dirty && c->fails_to_record && !c->output.is_rollback)
		rollout_revert(&c->rollout, &before);
	else
		course_take(c);
}

static inline void
course_run(struct course *c, nsec_t length)
{
	for (nsec_t t = 0; t < length; t += COURSE_TICK * NSEC_PER_MSEC)
		course_step(c, COURSE_TICK * NSEC_PER_MSEC);
}

static inline enum rollout_refusal
course_ask(struct course *c, enum rollout_verb verb, bool is_full)
{
	struct rollout_request request = {.verb = verb,
	    .who = "token:ops",
	    .is_full = is_full,
	    .is_frozen = c->input.is_frozen,
	    .is_healthy = c->input.is_healthy,
	    .wall = c->input.wall};
	struct err err;
	enum rollout_refusal refusal =
	    rollout_verb(&c->rollout, &request, &c->output, &err);

	if (refusal == REFUSED_NONE)
		course_take(c);
	return refusal;
}

static inline enum rollout_refusal
course_vote(struct course *c, const char *who, const char *gate, bool is_reject)
{
	struct rollout_vote vote = {gate, who, is_reject, c->input.wall};
	struct err err;
	enum rollout_refusal refusal =
	    rollout_approve(&c->rollout, &vote, &c->output, &err);

	if (refusal == REFUSED_NONE)
		course_take(c);
	return refusal;
}

static inline void
course_expect(
    struct course *c, enum rollout_state state, const char *reason, bp_t weight)
{
	char buf[96];

	assert_string_equal(
	    rollout_state_name(c->rollout.state), rollout_state_name(state));
	assert_string_equal(
	    rollout_held_reason(&c->rollout, buf, sizeof(buf)), reason);
	assert_int_equal(c->rollout.weight, weight);
}

static inline void
course_end(struct course *c)
{
	rollout_release(&c->rollout);
}

#endif
