/*
 * Random walks: whatever comes in whatever order, certain things never happen.
 */
#include "tests/unit/routing/course.h"

enum { WALKS = 400, STEPS = 600 };

static uint64_t
next(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return *seed;
}

static bool
chance(uint64_t *seed, unsigned percent)
{
	return next(seed) % 100 < percent;
}

static void
make_plan(struct course *c, uint64_t *seed)
{
	course_plan(c);
	c->plan.rollback.mode = (enum rollback_mode)(next(seed) % 3);
	c->plan.on_timeout = (enum plan_timeout)(next(seed) % 3);
	c->plan.holdback = chance(seed, 30) ? 100 : 0;
	c->plan.n_phases = 1 + next(seed) % 3;
	for (size_t p = 0; p < 3; p++) {
		struct phase_cfg *phase = &c->phases[p];

		phase->weight = (bp_t)(next(seed) % (BP_ALL + 1));
		phase->ramp = chance(seed, 50) ? SECONDS(next(seed) % 30) : 0;
		phase->hold = SECONDS(next(seed) % 20);
		phase->timeout =
		    chance(seed, 50) ? SECONDS(1 + next(seed) % 60) : 0;
		phase->until = chance(seed, 30) ? UNTIL_PROVEN : UNTIL_HELD;
		phase->min_requests = next(seed) % 30;
		phase->n_gates = chance(seed, 30);
		phase->gates[0] = (uint8_t)(next(seed) % 3);
	}
}

static void
disturb(struct course *c, uint64_t *seed)
{
	struct judge *judge = c->rollout.judge;

	if (chance(seed, 3))
		c->input.is_frozen = !c->input.is_frozen;
	if (chance(seed, 3))
		c->input.is_healthy = !c->input.is_healthy;
	if (chance(seed, 3))
		c->input.is_group_ready = !c->input.is_group_ready;
	if (chance(seed, 10))
		c->input.windows ^= 1u << 2;
	if (chance(seed, 5))
		c->fails_to_record = !c->fails_to_record;
	if (chance(seed, 5))
		judge->all = (enum verdict)((int)(next(seed) % 3) - 1);
	if (chance(seed, 1) && chance(seed, 30))
		c->input.is_group_failed = true;
	if (chance(seed, 2))
		judge->verdicts[next(seed) % 3] =
		    (enum verdict)((int)(next(seed) % 3) - 1);
}

/* What a person did, and that a refusal left everything as it was. */
static void
act(struct course *c, uint64_t *seed)
{
	static struct rollout before;
	enum rollout_verb verb = (enum rollout_verb)(next(seed) % VERB_COUNT);
	enum rollout_refusal refusal;
	bool may = rollout_may(&c->rollout, verb);
	char who[8];

	before = c->rollout;
	snprintf(who, sizeof(who), "p%u", (unsigned)(next(seed) % 4));
	if (verb == VERB_RETRY)
		return;
	if (verb == VERB_ABORT || verb == VERB_UNDO || verb == VERB_REJECT)
		if (!chance(seed, 5))
			return;
	if (verb == VERB_APPROVE || verb == VERB_REJECT)
		refusal = course_vote(c, who, NULL, verb == VERB_REJECT);
	else
		refusal = course_ask(c, verb, chance(seed, 20));
	assert_true(may || refusal == REFUSED_VERB);
	if (refusal != REFUSED_NONE)
		assert_memory_equal(&before, &c->rollout, sizeof(before));
}

static void
answer(struct course *c, uint64_t *seed)
{
	for (size_t g = 0; g < 3; g++)
		if ((c->asked & (1u << g)) && chance(seed, 20)) {
			rollout_answer(&c->rollout, g,
			    (enum gate_answer)(GATE_OPEN + next(seed) % 3), "",
			    c->input.wall, &c->output);
			c->asked &= ~(1u << g);
		}
}

static bp_t
most(const struct course *c)
{
	const struct rollout *r = &c->rollout;

	if (r->state == ROLLOUT_RUNNING || r->state == ROLLOUT_HELD) {
		bp_t weight = c->phases[r->phase].weight;

		return weight > r->ramp_from ? weight : r->ramp_from;
	}
	return BP_ALL;
}

static bool
is_going_back(const struct rollout *r)
{
	return r->state == ROLLOUT_ROLLING_BACK ||
	       r->state == ROLLOUT_ROLLED_BACK || r->state == ROLLOUT_ABORTED;
}

static void
check(const struct course *c, const struct rollout *before, bool was_frozen)
{
	const struct rollout *r = &c->rollout;
	bool was_over = !rollout_state_is_live(before->state);

	assert_true(r->weight <= most(c));
	assert_int_equal(r->held != HOLD_NONE, r->state == ROLLOUT_HELD);
	if (was_over)
		assert_int_equal(r->state, before->state);
	if (is_going_back(before)) {
		assert_true(is_going_back(r));
		assert_true(r->weight <= before->weight);
	}
	if (r->state == ROLLOUT_ROLLED_BACK || r->state == ROLLOUT_ABORTED)
		assert_int_equal(r->weight, 0);
	if (was_frozen) {
		assert_true(r->weight <= before->weight);
		assert_true(r->state != ROLLOUT_PROMOTED ||
		            before->state == ROLLOUT_PROMOTED);
	}
	if (r->state == before->state && r->phase == before->phase &&
	    r->phase_at == before->phase_at && r->state == ROLLOUT_RUNNING) {
		bool is_up = c->phases[r->phase].weight >= r->ramp_from;

		assert_true(is_up ? r->weight >= before->weight
		                  : r->weight <= before->weight);
	}
	if (r->is_promoted)
		assert_true(
		    r->state == ROLLOUT_PROMOTED || r->state == ROLLOUT_DONE);
}

static void
walk(uint64_t seed, unsigned *seen)
{
	static struct course c;
	static struct rollout before;

	make_plan(&c, &seed);
	course_start(&c);
	for (int i = 0; i < STEPS; i++) {
		disturb(&c, &seed);
		before = c.rollout;
		if (chance(&seed, 10))
			act(&c, &seed);
		check(&c, &before, false);
		answer(&c, &seed);
		before = c.rollout;
		course_step(&c, (nsec_t)(next(&seed) % 2000) * NSEC_PER_MSEC);
		check(&c, &before, c.input.is_frozen);
		seen[c.rollout.state]++;
	}
	course_end(&c);
}

static void
test_rollout__no_walk_leads_where_it_must_not(void **state)
{
	unsigned seen[ROLLOUT_STATE_COUNT] = {0};

	(void)state;
	for (uint64_t i = 1; i <= WALKS; i++)
		walk(i * UINT64_C(0x9e3779b97f4a7c15), seen);
	/* the walks are worth something: they have been everywhere */
	for (int i = 0; i < ROLLOUT_STATE_COUNT; i++)
		assert_true(seen[i] > 500);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rollout__no_walk_leads_where_it_must_not),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
