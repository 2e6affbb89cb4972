/* A judge that finds what it is told to, so that the machine is tested alone.
 */
#ifndef WEIR_TESTS_JUDGE_TOLD_H
#define WEIR_TESTS_JUDGE_TOLD_H

#include "routing/judge.h"

struct judge {
	const struct plan_cfg *plan;
	enum verdict verdicts[PLAN_GUARDS_MAX];
	uint64_t of_about[PLAN_GUARDS_MAX]; /* as a finding says */
	enum verdict all;
	unsigned begun, reweighed, looks, blind;
	struct judge_phase phase;
	uint64_t n;
};

#endif
