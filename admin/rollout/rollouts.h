/*
 * The rollouts that this process drives: the live ones and the recent ones.
 * All on the control thread. The order of every change is fixed: journal
 * (fsync), publish, tell. What the journal refuses does not happen, but a way
 * back, which takes effect all the same and is recorded as soon as that can be
 * done.
 */
#ifndef WEIR_ADMIN_ROLLOUTS_H
#define WEIR_ADMIN_ROLLOUTS_H

#include <sys/queue.h>

#include "admin/api/api.h"
#include "admin/rollout/freeze.h"
#include "admin/rollout/signals.h"
#include "routing/rollout.h"

enum {
	ROLLOUTS_KEPT =
	    100, /* ended ones beyond make room, but a split's last */
	ROLLOUTS_GROUP_MAX = 16,
	TICK_MS = 50,
};

/* A rollout and what only its driver needs. */
struct run {
	TAILQ_ENTRY(run) link;
	struct rollouts *rollouts; /* borrowed: owns us */
	struct rollout rollout;    /* owns its plan through us */
	struct signals signals;
	uint64_t version;       /* the ETag; grows with every record */
	uint64_t split_version; /* of the split, once what is recorded has taken
	                           effect */
	enum rollout_state recorded_state; /* of the last record */
	bool is_unrecorded; /* the journal is behind what is in effect */
	nsec_t retry_at;    /* before then the disk is left alone */
	/* evidence */
	struct evidence_sum seen; /* as read last */
	uint64_t serial; /* the weights that it is of; 0: none of ours */
	nsec_t save_at, cut;
	uint64_t saves;
	bool has_news;   /* since it was saved */
	bool is_resumed; /* its judge was restored by this process */
	uint32_t
	    judged; /* the phase that the judge is in, from 1; 0: none yet */
	/* gates */
	uint32_t windows;
	uint32_t shut; /* whose zone cannot be read: told once */
	nsec_t windows_at;
	unsigned asks; /* questions sent by this process */
	/* the decision that ended it */
	json_t *evidence; /* owned: all findings then; NULL: none was made */
	int64_t decided_ns, effective_ns; /* wall; 0: not yet */
};

struct waiter;
struct rollouts {
	struct admin *admin;        /* borrowed: owns us */
	TAILQ_HEAD(runs, run) runs; /* newest first */
	size_t n;
	struct freeze freeze;
	struct event *timer;
	TAILQ_HEAD(waiters, waiter) waiters;
	size_t n_waiters;
	nsec_t looked_at;
	nsec_t complained_at; /* of a journal that cannot be written */
	/* scratch of a step; too large for a stack that others share */
	struct rollout before;
	struct rollout_output out;
	struct evidence_sum sum, delta;
	json_t *proof; /* owned: of the decision that is being told; NULL */
	/* metrics/rollout.c */
	struct rollback_count *counts; /* owned: one a split that went back */
	size_t n_counts;
	struct histogram_sum reaction;
};

struct rollouts *rollouts_new(struct admin *admin, struct err *err);
void rollouts_free(struct rollouts **rollouts);
/* At start: all that the journal has, live ones go on where they stood. */
void rollouts_restore(struct rollouts *rollouts);
/* After a reload. */
void rollouts_adopt(struct rollouts *rollouts);
/* May this config take the place of the running one? */
bool rollouts_allow(const struct rollouts *rollouts, const struct config *next,
    struct err *err);

/* ---- finding ---- */

struct run *rollouts_find(const struct rollouts *rollouts, const char *id);
struct run *rollouts_live(const struct rollouts *rollouts, const char *split);
/* The last one that began on the split, live or not; NULL: none is known. */
struct run *rollouts_newest(const struct rollouts *rollouts, const char *split);
bool run_is_live(const struct run *run);
/* NULL: it left the file. */
struct split *run_split(const struct rollouts *rollouts, const struct run *run);
bool run_is_healthy(const struct rollouts *rollouts, const struct run *run);

/* ---- changing ---- */

struct start {
	const struct split *split;
	const char *to;
	const struct plan_cfg *plan;
	const char *release, *reason, *who, *retry_of; /* may be NULL but who */
};
/* The baseline of a new rollout on the split. */
const char *start_from(const struct split *split);
/*
 * Begins `n` rollouts as one group (alone: n is 1). All checks have been made.
 * False: nothing has begun.
 */
bool rollouts_start(struct rollouts *rollouts, const struct start *starts,
    size_t n, struct run **first_out, struct err *err);
/* Lets the oldest go, after one was added; pointers to ended ones may be gone.
 */
void rollouts_prune(struct rollouts *rollouts);
/*
 * After the machine has changed run->rollout by `rollouts->out`: records,
 * publishes, tells. `who` NULL: nobody, the machine itself. False with err:
 * the rollout is as `rollouts->before` again.
 */
bool rollouts_settle(struct rollouts *rollouts, struct run *run,
    const char *who, struct err *err);
/* A restart or a reload has replaced the split's weights: ours again, evidence
 * from zero. */
void rollouts_publish_again(struct rollouts *rollouts, struct run *run);
/* What took effect without a record. */
void rollouts_record_again(struct rollouts *rollouts, struct run *run);

/* ---- metrics/rollout.c ---- */

enum { ROLLOUT_CAUSES = CAUSE_UNHEALTHY + 1 };
/* It has begun to go back. */
void rollouts_count_back(struct rollouts *rollouts, const struct run *run);

/* ---- ticker.c ---- */

void ticker_arm(struct rollouts *rollouts);
/* One look at all live ones, now. */
void ticker_look(struct rollouts *rollouts);
void ticker_step(struct rollouts *rollouts, struct run *run);

/* ---- evidence_file.c ---- */

void evidence_save(struct rollouts *rollouts, struct run *run, nsec_t now);
/* Resumes the rollout with what was saved of it, or without. */
void evidence_resume(struct rollouts *rollouts, struct run *run, nsec_t now);
void evidence_forget(struct rollouts *rollouts, const struct run *run);

/* ---- json.c: the record in the journal ---- */

char *run_to_text(const struct run *run); /* caller frees; NULL: no memory */
/* NULL with err: it is none. */
struct run *run_from_text(const char *text, struct err *err);
void run_free(struct run **run);

/* ---- show.c: for the API ---- */

json_t *run_cause(const struct run *run); /* of going back; null */

json_t *run_to_json(const struct rollouts *rollouts, const struct run *run);
json_t *wall_json(int64_t ns); /* with milliseconds; null for 0 */
int64_t wall_now(void);
/* Brief: of the group, of problems. */
json_t *run_brief(const struct run *run);

/* ---- evidence.c ---- */

/* One evidence object a guard, as it is now. */
json_t *run_findings(const struct run *run);
/* Does an event tell of a decision that evidence speaks of? */
bool event_is_decision(enum rollout_event_kind kind);
/* The guard that an event is about; -1: none. */
int event_guard(const struct run *run, const struct rollout_event *event);
/*
 * When `out` tells of a decision: all findings with their trails, as they were
 * when it was made. So before rollout_commit. NULL: none was made.
 */
json_t *run_proof(const struct run *run, const struct rollout_output *out);
/* When it was decided and took effect; wall, 0: not yet. */
void evidence_stamp(json_t *list, int64_t decided_ns, int64_t effective_ns);
/* A copy without its trail. */
json_t *evidence_brief(const json_t *evidence);
/* As at the decision when there was one. */
json_t *run_evidence_json(const struct run *run);

/* ---- tell.c ---- */

void rollouts_tell(
    struct rollouts *rollouts, const struct run *run, const char *who);
void rollouts_ask(struct rollouts *rollouts, struct run *run, uint32_t gates);

/* ---- waiters.c: long polls ---- */

/* Takes the request over until the rollout changes, `seconds` pass or it ends.
 * False: there are too many; nothing was sent. */
bool waiters_add(
    struct rollouts *rollouts, struct call *call, struct run *run, int seconds);
void waiters_wake(struct rollouts *rollouts, const struct run *run);
void waiters_release(struct rollouts *rollouts);

/* ---- what the api_rollout*.c share ---- */

struct run *call_run(struct call *call); /* of the path; NULL: answered 404 */
void call_answer_run(struct call *call, const struct run *run, int status);
/* api/splits.c */
void call_answer_split(struct call *call, const struct split *split);
/* False: answered 403. The path does not say which split it is about. */
bool call_may(struct call *call, enum role role, const char *split);
void call_unknown_split(struct call *call, const char *name);
void call_rollout_active(struct call *call, const struct run *run);
/* False: answered 409. */
bool call_may_start(struct call *call, const struct start *start);
void call_start(struct call *call, const struct start *starts, size_t n);
void call_unrecorded(struct call *call, const struct err *err); /* 507 */
void call_verb(
    struct call *call, struct run *run, enum rollout_verb verb, bool is_full);

/* ---- forecast.c ---- */

/* What the plan will see on this split, per phase and guard. */
json_t *forecast_json(const struct admin *admin, const struct start *start);

#endif
