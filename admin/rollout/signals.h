/*
 * Events that somebody else counts: complaints, pages, anything that a guard
 * on "signal:KIND" holds against a rollout. Kept by rollout, deduplicated by
 * id, bounded: the oldest makes room by adding its count to the next one, so
 * that a flood may lose its ids but never its sum.
 */
#ifndef WEIR_ADMIN_SIGNALS_H
#define WEIR_ADMIN_SIGNALS_H

#include "config/config.h"

enum { SIGNALS_MAX = 1024 };

struct signal_entry {
	nsec_t at;   /* monotonic, of this process */
	uint64_t id; /* digest; 0: none was given */
	uint32_t count;
	uint16_t guards; /* bits: the plan's guards that it counts for */
	uint16_t unused;
};

struct signals {
	struct signal_entry *at; /* owned; oldest first */
	size_t n;
};

uint64_t signal_digest(const char *kind, const char *id);
/* Which of the plan's guards count this kind. */
uint16_t signal_guards(const struct plan_cfg *plan, const char *kind);
/* False: this id was counted already. */
bool signals_add(struct signals *signals, const struct signal_entry *entry);
/* By guard: events in the guard's window now. */
void signals_count(const struct signals *signals, const struct plan_cfg *plan,
    nsec_t now, uint64_t out[PLAN_GUARDS_MAX]);
void signals_release(struct signals *signals);

#endif
