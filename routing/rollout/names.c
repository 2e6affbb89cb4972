/* The words of rollout.def, and what may follow what. */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "routing/rollout/parts.h"

#define TO(state) (1u << ROLLOUT_##state)
#define CAN(verb) (1u << VERB_##verb)

static const struct {
	const char *word;
	bool is_live;
	unsigned to, verbs;
} states[] = {
#define STATE(name, word, is_live, to, verbs) {#word, is_live, to, verbs},
#include "routing/rollout/rollout.def"
#undef STATE
};

static const char *const verbs[] = {
#define VERB(name, word) #word,
#include "routing/rollout/rollout.def"
#undef VERB
};

static const struct {
	const char *word;
	unsigned notify;
} events[] = {
#define EVENT(name, word, notify) {#word, notify},
#include "routing/rollout/rollout.def"
#undef EVENT
};

const char *
rollout_state_name(enum rollout_state state)
{
	return states[state].word;
}

bool
rollout_state_of(const char *word, enum rollout_state *out)
{
	for (unsigned i = 0; i < ROLLOUT_STATE_COUNT; i++)
		if (strcmp(word, states[i].word) == 0) {
			*out = (enum rollout_state)i;
			return true;
		}
	return false;
}

bool
rollout_state_is_live(enum rollout_state state)
{
	return states[state].is_live;
}

const char *
rollout_verb_name(enum rollout_verb verb)
{
	return verbs[verb];
}

const char *
rollout_event_name(enum rollout_event_kind kind)
{
	return events[kind].word;
}

unsigned
rollout_event_notify(enum rollout_event_kind kind)
{
	return events[kind].notify;
}

const char *
rollout_cause_name(enum rollout_cause cause)
{
	static const char *const words[] = {[CAUSE_NONE] = "",
	    [CAUSE_GUARD] = "guard",
	    [CAUSE_TIMEOUT] = "timeout",
	    [CAUSE_GROUP] = "group",
	    [CAUSE_ABORT] = "abort",
	    [CAUSE_UNDO] = "undo",
	    [CAUSE_REJECTED] = "rejected",
	    [CAUSE_CONFIG] = "config",
	    [CAUSE_UNHEALTHY] = "unhealthy"};

	return words[cause];
}

void
rollout_enter(struct rollout *r, enum rollout_state state, time_t wall)
{
	if (state == r->state)
		return;
	assert(states[r->state].to & (1u << state));
	r->state = state;
	r->state_at = wall;
	if (state != ROLLOUT_HELD)
		r->held = HOLD_NONE;
}

bool
rollout_may(const struct rollout *r, enum rollout_verb verb)
{
	if (!(states[r->state].verbs & (1u << verb)))
		return false;
	switch (verb) {
	case VERB_PAUSE:
		return !r->is_paused;
	case VERB_RESUME:
		return r->is_paused;
	case VERB_APPROVE:
	case VERB_REJECT:
		return rollout_has_approvals(r);
	default:
		return true;
	}
}

bool
rollout_offers(const struct rollout *r, enum rollout_verb verb, time_t wall)
{
	if (!rollout_may(r, verb))
		return false;
	switch (verb) {
	case VERB_UNDO:
		return r->state == ROLLOUT_PROMOTED;
	case VERB_APPROVE:
	case VERB_REJECT:
		return rollout_wants_approvals(r, wall);
	default:
		return true;
	}
}

char *
rollout_verbs_print(const struct rollout *r, time_t wall, char *buf, size_t cap)
{
	size_t len = 0;

	snprintf(buf, cap, "none");
	for (unsigned i = 0; i < VERB_COUNT && len < cap; i++)
		if (rollout_offers(r, (enum rollout_verb)i, wall))
			len += (size_t)snprintf(buf + len, cap - len, "%s%s",
			    len ? ", " : "", verbs[i]);
	return buf;
}
