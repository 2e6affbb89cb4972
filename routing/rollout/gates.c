/*
 * Gates stand at the end of a phase: a webhook that says yes, people who
 * approve, hours in which somebody is there. They are asked for when the phase
 * has earned all else, so that whoever decides has the evidence before them;
 * approvals may come earlier.
 *
 * Nothing that a person can do opens a gate but an approval: promote skips
 * waiting, not consent.
 */
#include <stdio.h>
#include <string.h>

#include "routing/rollout/parts.h"

static bool
has_gate(const struct phase_cfg *phase, size_t gate)
{
	for (size_t i = 0; i < phase->n_gates; i++)
		if (phase->gates[i] == gate)
			return true;
	return false;
}

uint32_t
rollout_gates_needed(const struct rollout *r)
{
	uint32_t needed = 0;
	size_t last = r->is_full ? r->plan->n_phases - 1 : r->phase;

	for (size_t p = r->phase; p <= last; p++)
		for (size_t i = 0; i < r->plan->phases[p].n_gates; i++)
			needed |= 1u << r->plan->phases[p].gates[i];
	return needed;
}

/* ---- approvals ---- */

/* The first phase from now on that has the gate; -1: none. */
static int
phase_of_gate(const struct rollout *r, size_t gate)
{
	for (size_t p = r->phase; p < r->plan->n_phases; p++)
		if (has_gate(&r->plan->phases[p], gate))
			return (int)p;
	return -1;
}

static bool
is_open_to_votes(const struct rollout *r)
{
	return r->state == ROLLOUT_PENDING || r->state == ROLLOUT_RUNNING ||
	       r->state == ROLLOUT_HELD;
}

bool
rollout_has_approvals(const struct rollout *r)
{
	for (size_t g = 0; g < r->plan->n_gates; g++)
		if (r->plan->gates[g].kind == GATE_APPROVAL &&
		    phase_of_gate(r, g) >= 0)
			return true;
	return false;
}

bool
rollout_wants_approvals(const struct rollout *r, time_t wall)
{
	for (size_t g = 0; g < r->plan->n_gates; g++)
		if (r->plan->gates[g].kind == GATE_APPROVAL &&
		    phase_of_gate(r, g) >= 0 &&
		    rollout_approvals(r, g, wall) <
		        r->plan->gates[g].approval.count)
			return true;
	return false;
}

static bool
is_good(const struct rollout *r, const struct rollout_approval *approval,
    time_t wall)
{
	nsec_t ttl = r->plan->gates[approval->gate].approval.ttl;
	time_t age = wall - approval->at;

	return ttl == 0 || age <= ttl / NSEC_PER_SEC;
}

static unsigned
approvals_in(const struct rollout *r, size_t gate, int phase, time_t wall)
{
	unsigned n = 0;

	for (size_t i = 0; i < r->n_approvals; i++) {
		const struct rollout_approval *a = &r->approvals[i];

		n +=
		    a->gate == gate && a->phase == phase && is_good(r, a, wall);
	}
	return n;
}

/*
 * The phase that the next approval is about. Promoted in full, a gate that
 * stands at several phases is asked for each of them: who approved the first
 * one has not been asked about the last.
 */
static int
phase_to_approve(const struct rollout *r, size_t gate, time_t wall)
{
	unsigned count = r->plan->gates[gate].approval.count;
	int phase = phase_of_gate(r, gate);

	for (size_t p = r->phase; r->is_full && p < r->plan->n_phases; p++) {
		if (!has_gate(&r->plan->phases[p], gate))
			continue;
		phase = (int)p;
		if (approvals_in(r, gate, phase, wall) < count)
			break;
	}
	return phase;
}

unsigned
rollout_approvals(const struct rollout *r, size_t gate, time_t wall)
{
	return approvals_in(r, gate, phase_to_approve(r, gate, wall), wall);
}

/* ---- are they open ---- */

bool
rollout_gate_is_open(
    const struct rollout *r, size_t gate, time_t wall, uint32_t windows)
{
	const struct gate_cfg *cfg = &r->plan->gates[gate];

	switch (cfg->kind) {
	case GATE_WEBHOOK:
		return r->gates[gate].answer == GATE_OPEN;
	case GATE_APPROVAL:
		return rollout_approvals(r, gate, wall) >= cfg->approval.count;
	case GATE_WINDOW:
		return windows & (1u << gate);
	}
	return false;
}

int
rollout_gate_closed(const struct rollout *r, time_t wall, uint32_t windows)
{
	uint32_t needed = rollout_gates_needed(r);

	for (size_t g = 0; g < r->plan->n_gates; g++)
		if ((needed & (1u << g)) &&
		    !rollout_gate_is_open(r, g, wall, windows))
			return (int)g;
	return -1;
}

static void
ask_webhook(
    struct rollout *r, size_t gate, nsec_t now, struct rollout_output *out)
{
	struct rollout_gate *state = &r->gates[gate];
	bool is_due = state->answer == GATE_UNASKED ||
	              (state->answer != GATE_ASKED &&
	                  now - state->asked_at >= ROLLOUT_ASK_AGAIN);

	if (!is_due)
		return;
	state->answer = GATE_ASKED;
	state->asked_at = now;
	out->asks |= 1u << gate;
	out->is_dirty = true;
}

static void
ask_people(
    struct rollout *r, size_t gate, time_t wall, struct rollout_output *out)
{
	const struct gate_cfg *cfg = &r->plan->gates[gate];

	if (r->told_approvals & (1u << gate))
		return;
	r->told_approvals |= 1u << gate;
	rollout_tell(r, out, EVENT_APPROVAL,
	    "gate %s waits for %u of %u approvals by role %s", cfg->name,
	    cfg->approval.count - rollout_approvals(r, gate, wall),
	    cfg->approval.count, role_name(cfg->approval.role));
	if (out->n_events > 0)
		out->events[out->n_events - 1].gate = (int)gate;
}

int
rollout_gates_try(struct rollout *r, nsec_t now, time_t wall, uint32_t windows,
    struct rollout_output *out)
{
	uint32_t needed = rollout_gates_needed(r);
	int closed = -1;

	for (size_t g = 0; g < r->plan->n_gates; g++) {
		if (!(needed & (1u << g)) ||
		    rollout_gate_is_open(r, g, wall, windows))
			continue;
		if (r->plan->gates[g].kind == GATE_WEBHOOK)
			ask_webhook(r, g, now, out);
		if (r->plan->gates[g].kind == GATE_APPROVAL)
			ask_people(r, g, wall, out);
		if (closed < 0)
			closed = (int)g;
	}
	return closed;
}

bool
rollout_answer(struct rollout *r, size_t gate, enum gate_answer answer,
    const char *words, time_t wall, struct rollout_output *out)
{
	struct rollout_gate *state = &r->gates[gate];

	(void)wall;
	*out = (struct rollout_output){0};
	if (!is_open_to_votes(r) || state->answer != GATE_ASKED)
		return false;
	state->answer = answer;
	snprintf(state->words, sizeof(state->words), "%s", words ? words : "");
	out->is_dirty = true;
	rollout_tell(r, out, EVENT_GATE, "gate %s %s%s%s",
	    r->plan->gates[gate].name,
	    answer == GATE_OPEN     ? "is open"
	    : answer == GATE_CLOSED ? "says no"
	                            : "did not answer",
	    state->words[0] ? ": " : "", state->words);
	out->events[out->n_events - 1].gate = (int)gate;
	return true;
}

/* ---- votes ---- */

static bool
is_votable(const struct rollout *r, size_t gate)
{
	return r->plan->gates[gate].kind == GATE_APPROVAL &&
	       phase_of_gate(r, gate) >= 0;
}

/* The only gate that a vote without a name can mean: of this phase, else of
 * all to come. */
static int
only_gate(const struct rollout *r)
{
	int here = -1, n_here = 0, any = -1, n_any = 0;

	for (size_t g = 0; g < r->plan->n_gates; g++) {
		if (!is_votable(r, g))
			continue;
		any = (int)g;
		n_any++;
		if (phase_of_gate(r, g) == (int)r->phase) {
			here = (int)g;
			n_here++;
		}
	}
	if (n_here == 1)
		return here;
	return n_any == 1 ? any : -1;
}

static void
list_gates(const struct rollout *r, char *buf, size_t cap)
{
	size_t len = 0;

	snprintf(buf, cap, "none");
	for (size_t g = 0; g < r->plan->n_gates && len < cap; g++)
		if (is_votable(r, g))
			len += (size_t)snprintf(buf + len, cap - len, "%s%s",
			    len ? ", " : "", r->plan->gates[g].name);
}

static int
find_gate(const struct rollout *r, const char *name, struct err *err)
{
	char names[256];

	if (!name) {
		int gate = only_gate(r);

		list_gates(r, names, sizeof(names));
		if (gate < 0)
			err_set(err,
			    "say which gate is meant; approvals are open "
			    "for: %s",
			    names);
		return gate;
	}
	for (size_t g = 0; g < r->plan->n_gates; g++)
		if (strcmp(r->plan->gates[g].name, name) == 0 &&
		    is_votable(r, g))
			return (int)g;
	list_gates(r, names, sizeof(names));
	err_set(err,
	    "rollout %s has no gate \"%.64s\" that waits for an approval; "
	    "approvals are open for: %s",
	    r->id, name, names);
	return -1;
}

const struct gate_cfg *
rollout_vote_gate(const struct rollout *r, const char *gate, struct err *err)
{
	int g = find_gate(r, gate, err);

	return g < 0 ? NULL : &r->plan->gates[g];
}

/* Room for one more: an approval that has expired makes it. */
static struct rollout_approval *
approval_room(struct rollout *r, time_t wall)
{
	if (r->n_approvals < ROLLOUT_APPROVALS_MAX)
		return &r->approvals[r->n_approvals++];
	for (size_t i = 0; i < r->n_approvals; i++)
		if (r->approvals[i].phase < r->phase ||
		    !is_good(r, &r->approvals[i], wall))
			return &r->approvals[i];
	return NULL;
}

static struct rollout_approval *
approval_by(struct rollout *r, unsigned gate, unsigned phase, const char *who)
{
	for (size_t i = 0; i < r->n_approvals; i++) {
		struct rollout_approval *a = &r->approvals[i];

		if (a->gate == gate && a->phase == phase &&
		    strcmp(a->who, who) == 0)
			return a;
	}
	return NULL;
}

static enum rollout_refusal
approve(struct rollout *r, unsigned gate, const struct rollout_vote *vote,
    struct rollout_output *out, struct err *err)
{
	const struct gate_cfg *cfg = &r->plan->gates[gate];
	unsigned phase = (unsigned)phase_to_approve(r, gate, vote->wall);
	struct rollout_approval *a = approval_by(r, gate, phase, vote->who);

	if (cfg->approval.not_requester &&
	    strcmp(vote->who, r->requester) == 0) {
		err_set(err,
		    "gate '%s' wants somebody else than %s, who asked for the "
		    "rollout",
		    cfg->name, r->requester);
		return REFUSED_REQUESTER;
	}
	if (a && is_good(r, a, vote->wall)) {
		err_set(err, "%s has approved gate '%s' already", vote->who,
		    cfg->name);
		return REFUSED_TWICE;
	}
	if (!a)
		a = approval_room(r, vote->wall);
	if (!a) {
		err_set(err, "rollout %s holds %d approvals already", r->id,
		    ROLLOUT_APPROVALS_MAX);
		return REFUSED_FULL;
	}
	a->gate = (uint8_t)gate;
	a->phase = (uint8_t)phase;
	snprintf(a->who, sizeof(a->who), "%s", vote->who);
	a->at = vote->wall;
	out->is_dirty = true;
	rollout_tell(r, out, EVENT_APPROVED, "%s approved gate %s: %u of %u",
	    vote->who, cfg->name, rollout_approvals(r, gate, vote->wall),
	    cfg->approval.count);
	out->events[out->n_events - 1].gate = (int)gate;
	return REFUSED_NONE;
}

static enum rollout_refusal
reject(struct rollout *r, unsigned gate, const struct rollout_vote *vote,
    struct rollout_output *out)
{
	struct way_back why = {.cause = CAUSE_REJECTED,
	    .guard = -1,
	    .is_by_person = true,
	    .wall = vote->wall};
	char words[ROLLOUT_WORDS_MAX];

	snprintf(words, sizeof(words), "%s rejected it at gate %s", vote->who,
	    r->plan->gates[gate].name);
	snprintf(r->by, sizeof(r->by), "%s", vote->who);
	rollout_go_back(r, &why, out, words);
	return REFUSED_NONE;
}

enum rollout_refusal
rollout_approve(struct rollout *r, const struct rollout_vote *vote,
    struct rollout_output *out, struct err *err)
{
	enum rollout_verb verb = vote->is_reject ? VERB_REJECT : VERB_APPROVE;
	char verbs[128];
	int gate;

	*out = (struct rollout_output){0};
	if (!rollout_may(r, verb)) {
		err_set(err, "rollout %s is %s: %s is not possible now (%s)",
		    r->id, rollout_state_name(r->state),
		    rollout_verb_name(verb),
		    rollout_verbs_print(r, vote->wall, verbs, sizeof(verbs)));
		return REFUSED_VERB;
	}
	gate = find_gate(r, vote->gate, err);
	if (gate < 0)
		return REFUSED_GATE;
	return vote->is_reject ? reject(r, (unsigned)gate, vote, out)
	                       : approve(r, (unsigned)gate, vote, out, err);
}
