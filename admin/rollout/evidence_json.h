/*
 * The evidence object: what a guard found, as JSON, the same in the API, the
 * log, the audit log, webhooks and `weirctl rollout explain`.
 *
 *	{"schema":"weir.evidence/v1","rollout":...,"phase":...,"guard":"errors",
 *	 "verdict":"fail","test":"ipw-betting/1","alpha":0.000125,
 *	 "weight":{"canary":0.05,"baseline":0.95},"n":{...},"bad":{...},"rate":{...},
 *	 "increase":{"estimate":"2.26pp","low":"1.1pp","high":"3.4pp"},
 *	 "limit":{"max_increase":"2pp","tolerance":"0.5pp"},
 *	 "e_value":13270,"needed":8000,"text":"..."}
 *
 * An undecided one has so_far, of_about, seconds_to_go and why; counting
 * guards have count in place of e_value and needed. In the audit log the
 * deciding ones carry their trail, from which evidence_verify computes all of
 * it again.
 */
#ifndef WEIR_ADMIN_EVIDENCE_JSON_H
#define WEIR_ADMIN_EVIDENCE_JSON_H

#include <jansson.h>

#include "routing/judge.h"

/* More of a trail than this is left out: a line of the audit log has an end. */
enum { EVIDENCE_TRAIL_MAX = 12000 /* numbers */ };

/* New references. `rollout` is its id, `phase` the name. */
json_t *finding_to_json(const struct finding *finding, const char *rollout, const char *phase);
/* The finding of a guard now, and with `has_trail` the proof of it. */
json_t *verdict_record(const struct judge *judge, size_t guard, nsec_t now, const char *rollout,
    const char *phase, bool has_trail);

/* A proof that is one. True for evidence without a trail: nothing can be said of it. */
bool evidence_verify(const json_t *evidence, struct err *err);
/* All evidence with trails anywhere within `json`; counts them up. False: err names the first that does not hold. */
bool evidence_verify_all(const json_t *json, uint64_t *n, struct err *err);

#endif
