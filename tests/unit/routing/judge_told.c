#include "tests/unit/routing/judge_told.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct judge *
judge_new(const struct plan_cfg *plan)
{
	struct judge *judge = calloc(1, sizeof(*judge));

	judge->plan = plan;
	return judge;
}

void
judge_free(struct judge **judge)
{
	free(*judge);
	*judge = NULL;
}

void
judge_begin(struct judge *judge, const struct judge_phase *phase, nsec_t now)
{
	(void)now;
	judge->begun++;
	judge->phase = *phase;
	judge->phase.calibration = NULL;
}

void
judge_reweigh(struct judge *judge, bp_t candidate, bp_t baseline)
{
	judge->reweighed++;
	judge->phase.candidate = candidate;
	judge->phase.baseline = baseline;
}

void
judge_look(struct judge *judge, const struct judge_news *news)
{
	judge->looks++;
	judge->blind += news->is_blind;
	judge->n += news->delta->arm[ARM_CANDIDATE].n;
}

nsec_t
judge_cut(const struct judge *judge)
{
	(void)judge;
	return 0;
}

size_t
judge_n(const struct judge *judge)
{
	return judge->plan->n_guards;
}

void
judge_finding(
    const struct judge *judge, size_t guard, nsec_t now, struct finding *out)
{
	(void)now;
	memset(out, 0, sizeof(*out));
	out->guard = &judge->plan->guards[guard];
	out->verdict = judge->verdicts[guard];
	out->of_about = judge->of_about[guard];
	out->why = "";
}

enum verdict
judge_guard(const struct judge *judge, size_t guard)
{
	return judge->verdicts[guard];
}

enum verdict
judge_verdict(const struct judge *judge)
{
	return judge->all;
}

char *
finding_print(const struct finding *finding, char *buf, size_t cap)
{
	snprintf(buf, cap, "as told, %s", verdict_name(finding->verdict));
	return buf;
}

const char *
verdict_name(enum verdict verdict)
{
	return verdict == VERDICT_FAIL   ? "fail"
	       : verdict == VERDICT_PASS ? "pass"
	                                 : "undecided";
}

size_t
judge_save(const struct judge *judge, double *out, size_t cap)
{
	if (cap > 0)
		out[0] = (double)judge->n;
	return 1;
}

bool
judge_restore(struct judge *judge, const double *in, size_t n, nsec_t now)
{
	(void)now;
	if (n == 1)
		judge->n = (uint64_t)in[0];
	return n == 1;
}
