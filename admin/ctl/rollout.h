/* What the files of `weirctl rollout` share. */
#ifndef WEIR_ADMIN_CTL_ROLLOUT_H
#define WEIR_ADMIN_CTL_ROLLOUT_H

#include "admin/ctl/ctl.h"

/*
 * The rollout that `word` means: an id, or a split's newest one; NULL: the only
 * live one, else the newest of all. CTL_OK with an answer to release.
 */
int ctl_rollout_find(struct ctl *ctl, const char *word, struct ctl_answer *out);
/* CTL_OK, CTL_ROLLED_BACK, CTL_ABORTED; -1: it goes on. */
int ctl_rollout_end(const json_t *rollout);
bool ctl_rollout_needs_approval(const json_t *rollout);

/* ---- rollout_show.c ---- */

void ctl_print_rollout(const json_t *rollout);
void ctl_print_rollouts(const json_t *list);
/* "4m10s", whole from ten seconds on; "-" for null. */
const char *ctl_print_seconds(char *buf, size_t cap, const json_t *seconds);

/* ---- rollout_wait.c ---- */

/* False: --for makes no sense; told. */
bool ctl_rollout_may_wait(const struct ctl *ctl);
/* Takes the answer over; prints and returns the exit code. */
int ctl_rollout_wait(struct ctl *ctl, struct ctl_answer *rollout);

/* ---- rollout_explain.c, rollout_plan.c ---- */

void ctl_print_evidence(const json_t *rollout, const json_t *evidence);
void ctl_print_forecast(const json_t *forecast);

#endif
