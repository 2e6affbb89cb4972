/*
 * The rollout machine: one run of a plan on one split. It says which weight
 * the candidate has now, when a phase ends, and when all goes back. Pure: time,
 * evidence and the answers of gates are arguments; what shall happen comes
 * back as an output for its driver (admin/rollout/ticker.c, weir simulate).
 *
 *	pending -> running <-> held -> promoted -> done
 *	running | held | promoted -> rolling_back -> rolled_back
 *	                                          -> aborted (by a person)
 *
 * What holds always:
 * - after ROLLING_BACK the weight never grows, and ends at 0;
 * - within a phase the weight stays between the one before and the phase's;
 * - a verb that is refused changes nothing;
 * - guards are looked at in every live state, gates and pauses included.
 *
 * A step, as a driver does it:
 *
 *	before = *rollout;
 *	rollout_step(rollout, &input, &output);
 *	if (output.is_dirty && !record(rollout) && !output.is_rollback)
 *		rollout_revert(rollout, &before);    it did not happen
 *	else
 *		publish if output.publishes, tell output.events,
 *		rollout_commit(rollout, &output, now);
 *
 * The same holds for rollout_verb, rollout_approve and rollout_answer.
 */
#ifndef WEIR_ROUTING_ROLLOUT_H
#define WEIR_ROUTING_ROLLOUT_H

#include <time.h>

#include "config/config.h"
#include "routing/evidence.h"
#include "routing/judge.h"

enum rollout_state {
#define STATE(name, word, is_live, to, verbs) ROLLOUT_##name,
#include "routing/rollout/rollout.def"
#undef STATE
	ROLLOUT_STATE_COUNT
};

enum rollout_verb {
#define VERB(name, word) VERB_##name,
#include "routing/rollout/rollout.def"
#undef VERB
	VERB_COUNT
};

enum rollout_event_kind {
#define EVENT(name, word, notify) EVENT_##name,
#include "routing/rollout/rollout.def"
#undef EVENT
	EVENT_COUNT
};

const char *rollout_state_name(enum rollout_state state);
bool rollout_state_of(const char *word, enum rollout_state *out);
bool rollout_state_is_live(enum rollout_state state); /* one such a split; guards run */
const char *rollout_verb_name(enum rollout_verb verb);
const char *rollout_event_name(enum rollout_event_kind kind);
unsigned rollout_event_notify(enum rollout_event_kind kind); /* NOTIFY_ bits */

/* Why a rollout is held; the first that applies. */
enum rollout_hold {
	HOLD_NONE, HOLD_PAUSED, HOLD_UNHEALTHY, HOLD_GUARD, HOLD_FREEZE, HOLD_GATE, HOLD_UNDECIDED
};

/* Why it went back. */
enum rollout_cause { CAUSE_NONE, CAUSE_GUARD, CAUSE_TIMEOUT, CAUSE_GROUP, CAUSE_ABORT, CAUSE_UNDO, CAUSE_REJECTED, CAUSE_CONFIG, CAUSE_UNHEALTHY };
const char *rollout_cause_name(enum rollout_cause cause); /* "guard", ...; "" for none */

enum gate_answer {
	GATE_UNASKED,
	GATE_ASKED,   /* the driver has been told to ask */
	GATE_OPEN,
	GATE_CLOSED,  /* it said no; asked again after ROLLOUT_ASK_AGAIN */
	GATE_FAILED,  /* nobody answered; the same */
};

enum {
	ROLLOUT_APPROVALS_MAX = 32,
	ROLLOUT_EVENTS_MAX = 8,
	ROLLOUT_WORDS_MAX = 480,
	ROLLOUT_ID_MAX = 32,    /* "r-20260822-3" */
	ROLLOUT_WHO_MAX = 128,
	ROLLOUT_RAMP_STEPS = 32,
};
#define ROLLOUT_ASK_AGAIN   (30 * NSEC_PER_SEC)
#define ROLLOUT_UNDECIDED_AFTER (1 * NSEC_PER_SEC) /* a phase whose time is up waits for evidence so long before it is held as undecided */
#define ROLLOUT_CLEAR_AFTER (5 * NSEC_PER_SEC)   /* a guard or a pool must be well for so long before a hold by it ends */
#define ROLLOUT_STALL       (1 * NSEC_PER_SEC)   /* a longer pause between two steps makes the look a blind one, and those after it for as long again */
#define ROLLOUT_BLIND_MAX (10 * NSEC_PER_SEC) /* but no longer than this */
#define ROLLOUT_GAP_MAX     (5 * NSEC_PER_SEC)   /* of the time between two processes, or of a standstill of this one, at most so much counts for ramps, holds and timeouts: nobody watched meanwhile */
#define ROLLOUT_DOWN_MAX    (1 * NSEC_PER_SEC)   /* a candidate with weight and without a usable endpoint for longer goes back */

struct rollout_approval {
	uint8_t gate, phase;        /* indices into the plan's */
	char who[ROLLOUT_WHO_MAX];
	time_t at;                  /* wall */
};

struct rollout_gate {
	enum gate_answer answer;    /* of a webhook, in this phase */
	nsec_t asked_at;            /* now of the asking step */
	char words[160];            /* what it said */
};

struct rollout {
	/* ---- from the start on as they are ---- */
	char id[ROLLOUT_ID_MAX];
	char split[CONFIG_NAME_MAX + 1], from[CONFIG_NAME_MAX + 1], to[CONFIG_NAME_MAX + 1];
	char release[128], requester[ROLLOUT_WHO_MAX], reason[513];
	char retry_of[ROLLOUT_ID_MAX];     /* "": a first run */
	char group[ROLLOUT_ID_MAX];        /* "": alone; else the id of its first member */
	unsigned group_size;
	time_t started_at;                 /* wall */
	uint64_t salt;                     /* of the affinity hash */
	uint64_t before_n, before_bad;     /* the baseline's requests and failures before; 0: unknown */
	bp_t share;                        /* what both arms have together: BP_ALL less the split's other pools */
	struct plan_cfg *plan;             /* owned by the driver; as it was at the start */
	struct judge *judge;               /* owned: rollout_start, rollout_release */

	/* ---- where it stands: all that the journal keeps ---- */
	enum rollout_state state;
	enum rollout_hold held;            /* not HOLD_NONE exactly when ROLLOUT_HELD */
	uint8_t held_by;                   /* guard or gate */
	uint32_t phase;                    /* index into the plan's */
	bp_t weight;                       /* the candidate's, as wanted; see rollout_arms */
	bp_t ramp_from;                    /* where this phase's ramp, or the ramp down, began */
	bool is_paused;
	bool is_skipping;                  /* promote: hold, proof and requests of this phase are not waited for */
	bool is_full;                      /* promote --full: all phases at once, once their gates are open */
	bool is_promoted;                  /* the candidate is the split's stable pool */
	bool is_timed_out;                 /* this phase, and nothing but a hold came of it */
	bool is_instant;                   /* the way back in one step */
	bool is_by_person;                 /* ends as aborted */
	enum rollout_cause cause;
	uint8_t cause_guard;
	char cause_words[ROLLOUT_WORDS_MAX];
	char by[ROLLOUT_WHO_MAX];          /* who used the last verb; "" nobody */
	time_t state_at, phase_at;         /* wall: since when; ended: state_at */
	struct rollout_approval approvals[ROLLOUT_APPROVALS_MAX];
	size_t n_approvals;
	struct rollout_gate gates[PLAN_GATES_MAX];

	/* ---- clocks and sums that grow with every step: kept once a second, with the evidence ---- */
	nsec_t ramp_ran, hold_ran, phase_ran; /* of this phase; hold_ran of keep_warm once promoted */
	uint64_t phase_requests;           /* of the candidate, in this phase */
	uint64_t n[ARM_COUNT], bad[ARM_COUNT], shielded; /* of the whole rollout */

	/* ---- of this process only ---- */
	nsec_t stepped_at;                 /* 0: not yet */
	nsec_t down_since;                 /* the candidate has no usable endpoint since; 0: it has */
	nsec_t blind_until;                /* nothing is bet before: the process stood still */
	nsec_t unwell_at[2];               /* pool, guards: when they last gave reason to hold; 0: never */
	uint8_t unwell_guard;              /* which one */
	bool is_ready;                     /* the phase is over but for the others of the group */
	int8_t verdicts[PLAN_GUARDS_MAX];  /* as told last */
	uint32_t told_approvals;           /* gates whose approval was asked for in this phase */
	uint64_t baseline[HISTOGRAM_BUCKETS]; /* latencies in this phase: calibrates the next one */
};

/* What a step is given. */
struct rollout_input {
	nsec_t now;                        /* monotonic */
	time_t wall;
	const struct evidence_sum *delta;  /* under the weights as published since the last commit; NULL: nothing was read */
	const uint64_t *signals;           /* by guard: events in its window; NULL: none */
	uint32_t windows;                  /* bit per gate: the time window is open now */
	bool is_frozen;                    /* no weight grows, nothing is promoted */
	bool is_healthy;                   /* the candidate's pool has a usable endpoint */
	bool is_group_ready;               /* no other member is behind; true without a group */
	bool is_group_failed;              /* another member goes or went back */
};

struct rollout_event {
	enum rollout_event_kind kind;
	uint32_t phase;
	int guard, gate;                   /* -1: none */
	char words[ROLLOUT_WORDS_MAX];
};

struct rollout_output {
	bool is_dirty;                     /* what the journal keeps has changed: record it before anything else */
	bool is_rollback;                  /* it takes effect even when it cannot be recorded */
	bool publishes;                    /* rollout_arms, the stable pool or the sessions have changed */
	enum { JUDGE_GOES_ON, JUDGE_REWEIGHS, JUDGE_BEGINS } judge; /* for rollout_commit */
	uint32_t asks;                     /* bit per gate: send its webhook, then rollout_answer */
	struct rollout_event events[ROLLOUT_EVENTS_MAX];
	size_t n_events;
};

/*
 * `rollout` has its first block filled (judge NULL), `weight` is what the
 * candidate has now, all else zeros: makes the judge and stands at PENDING. The first step begins the first phase.
 */
void rollout_start(struct rollout *rollout);
/*
 * After a restart: `rollout` has all three kept blocks. Makes the judge anew
 * for the phase; the caller then gives judge_restore what was saved. `gap` is
 * the wall time since the last save: holds go on by it, within 0 and
 * ROLLOUT_GAP_MAX; nothing is decided by the first look.
 */
void rollout_resume(struct rollout *rollout, nsec_t gap, nsec_t now);
/* Frees the judge. */
void rollout_release(struct rollout *rollout);

void rollout_step(struct rollout *rollout, const struct rollout_input *input, struct rollout_output *out);
/* The step did not happen: clocks and evidence go on, all else is as before. */
void rollout_revert(struct rollout *rollout, const struct rollout *before);
void rollout_commit(struct rollout *rollout, const struct rollout_output *out, nsec_t now);

/* ---- what people may do ---- */

struct rollout_request {
	enum rollout_verb verb;            /* neither RETRY (a new rollout) nor APPROVE, REJECT */
	const char *who;
	bool is_full;                      /* PROMOTE */
	bool is_frozen, is_healthy;        /* as in the input */
	uint32_t windows;
	time_t wall;
};
enum rollout_refusal { REFUSED_NONE, REFUSED_VERB, REFUSED_FROZEN, REFUSED_UNHEALTHY, REFUSED_GATE, REFUSED_REQUESTER, REFUSED_TWICE, REFUSED_FULL };

bool rollout_may(const struct rollout *rollout, enum rollout_verb verb);
/*
 * What there is a reason to use now: less than what is legal. A rollout that
 * is not promoted is aborted, not undone, and nobody is asked to approve what
 * is approved.
 */
bool rollout_offers(const struct rollout *rollout, enum rollout_verb verb, time_t wall);
/* "pause, promote, abort"; "none" when it is over for good. */
char *rollout_verbs_print(const struct rollout *rollout, time_t wall, char *buf, size_t cap);
/* Not REFUSED_NONE: err says why, nothing has changed. */
enum rollout_refusal rollout_verb(struct rollout *rollout, const struct rollout_request *request,
    struct rollout_output *out, struct err *err);

struct rollout_vote {
	const char *gate;                  /* NULL: the only one that can be meant */
	const char *who;
	bool is_reject;                    /* the rollout goes back */
	time_t wall;
};
/* Whether `who` has the gate's role is the caller's to check: see rollout_vote_gate. */
enum rollout_refusal rollout_approve(struct rollout *rollout, const struct rollout_vote *vote,
    struct rollout_output *out, struct err *err);
/* The gate that a vote is about; NULL with err: there is no such one (left). */
const struct gate_cfg *rollout_vote_gate(const struct rollout *rollout, const char *gate, struct err *err);

/* The webhook of a gate has answered. Ignored (false) when nobody waits for it any more. */
bool rollout_answer(struct rollout *rollout, size_t gate, enum gate_answer answer, const char *words, time_t wall,
    struct rollout_output *out);
/* A new rollout takes the place of one in keep_warm: PROMOTED -> DONE. */
void rollout_supersede(struct rollout *rollout, const char *by, time_t wall, struct rollout_output *out);
/* Its pools or its split are gone from the file: ends as aborted. */
void rollout_orphan(struct rollout *rollout, const char *why, time_t wall, struct rollout_output *out);

/* ---- asking ---- */

/* Basis points of all the split's traffic; together they are rollout->share. */
void rollout_arms(const struct rollout *rollout, bp_t *candidate_out, bp_t *baseline_out);
/* What the last phase leads to: the share less the plan's holdback. */
bp_t rollout_full_weight(const struct rollout *rollout);
bool rollout_keeps_sessions(const struct rollout *rollout);
/* NULL when it has no more phases: going back, promoted, ended. */
const struct phase_cfg *rollout_phase(const struct rollout *rollout);
/* "gate:release-approval"; "" when it is not held. */
char *rollout_held_reason(const struct rollout *rollout, char *buf, size_t cap);
/* What it waits for, in words: "canary at 5%: 12m of 30m, 812 of 2000 requests, guard errors undecided". */
char *rollout_next(const struct rollout *rollout, nsec_t now, time_t wall, char *buf, size_t cap);
/* Approvals of a gate that count now. */
unsigned rollout_approvals(const struct rollout *rollout, size_t gate, time_t wall);
bool rollout_gate_is_open(const struct rollout *rollout, size_t gate, time_t wall, uint32_t windows);

/* ---- the parts it is made of ---- */

/* A ramp's weight after `ran` of `length`: at most ROLLOUT_RAMP_STEPS steps,
 * monotone, `from` at 0 and `to` at the end (rollout/ramp.c). */
bp_t ramp_weight(bp_t from, bp_t to, nsec_t ran, nsec_t length);
/* `local` is the wall time shifted into the window's zone: seconds as if there
 * were no zones (rollout/window.c). */
bool window_is_open(const struct gate_cfg *gate, int64_t local);
/* Seconds until it opens next; 0: is open; -1: never. */
int64_t window_opens_in(const struct gate_cfg *gate, int64_t local);

#endif
