/* What the files of the rollout machine share. */
#ifndef WEIR_ROUTING_ROLLOUT_PARTS_H
#define WEIR_ROUTING_ROLLOUT_PARTS_H

#include "routing/rollout.h"

/* names.c: the only place where a state changes. */
void rollout_enter(
    struct rollout *rollout, enum rollout_state state, time_t wall);

/* What gives reason to hold; indices of unwell_at. */
enum { UNWELL_POOL, UNWELL_GUARD };

/* life.c: counts and lets the judge look; the time since the last step, at most
   ROLLOUT_GAP_MAX. */
nsec_t rollout_look(struct rollout *rollout, const struct rollout_input *input);
bool rollout_is_ramping(
    const struct rollout *rollout, const struct phase_cfg *phase);

static inline const char *
percent(bp_t weight, char buf[16])
{
	return units_print_percent(weight, buf, 16);
}

/* back.c */
bp_t rollout_phase_weight(const struct rollout *rollout, uint32_t phase);
void rollout_set_weight(
    struct rollout *rollout, bp_t weight, struct rollout_output *out);
void rollout_tell(const struct rollout *rollout, struct rollout_output *out,
    enum rollout_event_kind kind, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

struct way_back {
	enum rollout_cause cause;
	int guard;      /* -1: none */
	bool is_broken; /* proven to fail people: no time for a ramp */
	bool is_by_person;
	time_t wall;
};
void rollout_go_back(struct rollout *rollout, const struct way_back *why,
    struct rollout_output *out, const char *words);
/* Weight 0, at once; the state must be ROLLING_BACK. */
void rollout_end_back(
    struct rollout *rollout, time_t wall, struct rollout_output *out);

/* gates.c */
bool rollout_has_approvals(
    const struct rollout *rollout); /* that a vote could still be for */
bool rollout_wants_approvals(
    const struct rollout *rollout, time_t wall); /* one of them is missing */
/* The first gate of this phase that is not open, -1: none. */
int rollout_gate_closed(
    const struct rollout *rollout, time_t wall, uint32_t windows);
uint32_t rollout_gates_needed(
    const struct rollout *rollout); /* bit per gate: at the end of this phase */
/* The first one that is not open, -1 when all are; webhooks that must be asked
 * are asked. */
int rollout_gates_try(struct rollout *rollout, nsec_t now, time_t wall,
    uint32_t windows, struct rollout_output *out);

#endif
