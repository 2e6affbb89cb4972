/*
 * Evidence adds up over instances. A cell is what one instance's own arms have
 * shown in the present era, as counts that only grow:
 *
 *	<boot> <ramp_ran> <hold_ran> <phase_ran> <phase_requests>
 *	<n> <signals of guard 0> ... <word>:<count> ...
 *
 * Who hears it gives his judge what has grown since he heard it last. An era
 * is one weight in one phase of one rollout, as the judge bets on counts under
 * known weights: what comes from before is dropped, half a second's worth at a
 * step of a ramp. A boot is one life of a process: its counts begin at zero.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/fleet/fleet.h"

enum {
	WORDS = sizeof(struct evidence_sum) / sizeof(uint64_t),
	CELL_MAX = 64 << 10,
	SILENT_MS = 1000, /* clocks go on without news */
};

/* What no instance can have seen in one era: nine years of a million requests
   a second, or ten years by the clock. Sums of them do not run over. */
#define COUNT_MAX (UINT64_C(1) << 48)
#define CLOCK_MAX (UINT64_C(3652) * 86400 * NSEC_PER_SEC)

/* ---- eras ---- */

static uint64_t
era_of(const struct rollout *r)
{
	char text[ROLLOUT_ID_MAX + 96];

	if (r->state == ROLLOUT_PENDING)
		return 0;
	snprintf(text, sizeof(text), "%s %u %lld %u %d %d", r->id, r->phase,
	    (long long)r->phase_at, r->weight, r->is_promoted, WORDS);
	return accord_hash(text);
}

static void
follow_era(struct fleet_evidence *e, const struct run *run)
{
	uint64_t era = era_of(&run->rollout);

	if (era == e->era)
		return;
	/* The first one that this process sees of a rollout whose judge it
	   has restored: what the others had shown is in there. */
	e->resumed = e->era == 0 && run->is_resumed ? era : 0;
	e->era = era;
	memset(&e->own, 0, sizeof(e->own));
	memset(&e->incoming, 0, sizeof(e->incoming));
	e->has_incoming = false;
	e->is_moved = true;
	e->n_peers = 0;
}

static struct fleet_evidence *
evidence_of(const struct rollouts *rollouts, const struct run *run)
{
	const struct fleet *fleet = rollouts->admin->fleet;
	struct fleet_item *item = NULL;

	if (fleet && fleet->has_link)
		item = fleet_item_find(fleet, run->rollout.split);
	return item ? item->evidence : NULL;
}

/* What is seen now says nothing: the machine will not bet on it either. */
static bool
is_blind(const struct rollout *r, nsec_t now)
{
	return r->stepped_at == 0 || now - r->stepped_at > ROLLOUT_STALL ||
	       now < r->blind_until;
}

bool
fleet_evidence_merge(
    struct rollouts *rollouts, struct run *run, bool has_delta, nsec_t now)
{
	struct fleet_evidence *e = evidence_of(rollouts, run);

	if (!e)
		return has_delta;
	follow_era(e, run);
	if (is_blind(&run->rollout, now))
		return has_delta;
	if (has_delta) {
		evidence_add(&e->own, &rollouts->delta);
		e->is_moved = true;
	}
	if (!e->has_incoming)
		return has_delta;
	if (has_delta)
		evidence_add(&rollouts->delta, &e->incoming);
	else
		rollouts->delta = e->incoming;
	memset(&e->incoming, 0, sizeof(e->incoming));
	e->has_incoming = false;
	run->has_news = true;
	return true;
}

bool
fleet_has_signals(const struct rollouts *rollouts, const struct run *run)
{
	const struct fleet_evidence *e = evidence_of(rollouts, run);

	return e && e->n_peers > 0;
}

void
fleet_evidence_signals(
    const struct rollouts *rollouts, const struct run *run, uint64_t *signals)
{
	const struct fleet_evidence *e = evidence_of(rollouts, run);

	for (size_t i = 0; e && i < e->n_peers; i++)
		for (size_t g = 0; g < run->rollout.plan->n_guards; g++)
			signals[g] += e->peers[i].signals[g];
}

bool
fleet_evidence_key(const struct fleet_item *item, char *buf, size_t cap)
{
	if (!item->evidence || item->evidence->era == 0)
		return false;
	snprintf(buf, cap, "evidence:%016" PRIx64, item->evidence->era);
	return true;
}

/* ---- ours ---- */

static size_t
print_clocks(const struct fleet *fleet, const struct run *run, nsec_t now,
    char *text, size_t cap)
{
	const struct rollout *r = &run->rollout;
	uint64_t signals[PLAN_GUARDS_MAX] = {0};
	size_t len;

	signals_count(&run->signals, r->plan, now, signals);
	len = (size_t)snprintf(text, cap,
	    "%016" PRIx64 " %lld %lld %lld %" PRIu64 " %zu", fleet->boot,
	    (long long)r->ramp_ran, (long long)r->hold_ran,
	    (long long)r->phase_ran, r->phase_requests, r->plan->n_guards);
	for (size_t g = 0; g < r->plan->n_guards; g++)
		len += (size_t)snprintf(
		    text + len, cap - len, " %" PRIu64, signals[g]);
	return len;
}

char *
fleet_evidence_cell(struct fleet *fleet, struct fleet_item *item,
    const struct run *run, nsec_t now)
{
	struct fleet_evidence *e = item->evidence;
	uint64_t words[WORDS];
	char *text;
	size_t len;

	if (!e->is_moved && now - e->told_at < SILENT_MS * NSEC_PER_MSEC)
		return NULL;
	text = malloc(CELL_MAX);
	if (!text)
		return NULL;
	e->is_moved = false;
	e->told_at = now;
	memcpy(words, &e->own, sizeof(words));
	len = print_clocks(fleet, run, now, text, CELL_MAX);
	for (size_t i = 0; i < WORDS; i++)
		if (words[i] > 0)
			len += (size_t)snprintf(text + len, CELL_MAX - len,
			    " %zu:%" PRIu64, i, words[i]);
	return text;
}

/* ---- theirs ---- */

struct cell {
	uint64_t boot;
	nsec_t ramp_ran, hold_ran, phase_ran;
	uint64_t phase_requests;
	uint64_t signals[PLAN_GUARDS_MAX];
	struct evidence_sum sum;
};

/* A number and what ends it; false: there is none. */
static bool
take_number(const char **at, int base, char end, uint64_t *out)
{
	char *behind;

	if (!strchr("0123456789abcdef", **at) || **at == '\0')
		return false;
	*out = strtoull(*at, &behind, base);
	if (*behind != end && *behind != '\0')
		return false;
	*at = behind + (*behind == end && end != '\0');
	return true;
}

static bool
take_count(const char **at, char end, uint64_t *out)
{
	return take_number(at, 10, end, out) && *out <= COUNT_MAX;
}

static bool
read_counts(const char *at, struct cell *out)
{
	uint64_t words[WORDS] = {0}, i, n;

	while (*at) {
		if (!take_number(&at, 10, ':', &i) || i >= WORDS ||
		    !take_count(&at, ' ', &n))
			return false;
		words[i] = n;
	}
	memcpy(&out->sum, words, sizeof(words));
	return true;
}

static bool
take_clock(const char **at, nsec_t *out)
{
	uint64_t n;

	if (!take_number(at, 10, ' ', &n) || n > CLOCK_MAX)
		return false;
	*out = (nsec_t)n;
	return true;
}

static bool
read_cell(const char *text, const struct plan_cfg *plan, struct cell *out)
{
	uint64_t guards;

	memset(out, 0, sizeof(*out));
	if (strlen(text) >= CELL_MAX ||
	    !take_number(&text, 16, ' ', &out->boot) ||
	    !take_clock(&text, &out->ramp_ran) ||
	    !take_clock(&text, &out->hold_ran) ||
	    !take_clock(&text, &out->phase_ran) ||
	    !take_count(&text, ' ', &out->phase_requests) ||
	    !take_number(&text, 10, ' ', &guards) || guards != plan->n_guards)
		return false;
	for (size_t g = 0; g < guards; g++)
		if (!take_count(&text, ' ', &out->signals[g]))
			return false;
	return read_counts(text, out);
}

static struct fleet_peer *
peer_of(struct fleet_evidence *e, const char *id, bool *is_new)
{
	*is_new = false;
	for (size_t i = 0; i < e->n_peers; i++)
		if (strcmp(e->peers[i].id, id) == 0)
			return &e->peers[i];
	if (!e->peers)
		e->peers = calloc(FLEET_PEERS_MAX, sizeof(*e->peers));
	if (!e->peers || e->n_peers == FLEET_PEERS_MAX ||
	    strlen(id) >= FLEET_ID_MAX)
		return NULL;
	*is_new = true;
	memset(&e->peers[e->n_peers], 0, sizeof(*e->peers));
	memcpy(e->peers[e->n_peers].id, id, strlen(id) + 1);
	return &e->peers[e->n_peers++];
}

static bool
has_grown(const struct evidence_sum *now, const struct evidence_sum *seen)
{
	uint64_t a[WORDS], b[WORDS];

	memcpy(a, now, sizeof(a));
	memcpy(b, seen, sizeof(b));
	for (size_t i = 0; i < WORDS; i++)
		if (a[i] < b[i])
			return false;
	return memcmp(a, b, sizeof(a)) != 0;
}

static void
take_cell(struct fleet_evidence *e, const char *id, const struct cell *cell)
{
	struct evidence_sum delta;
	bool is_new;
	struct fleet_peer *peer = peer_of(e, id, &is_new);

	if (!peer)
		return;
	memcpy(peer->signals, cell->signals, sizeof(peer->signals));
	if (is_new && e->resumed == e->era)
		peer->seen = cell->sum;
	else if (is_new || peer->boot != cell->boot)
		memset(&peer->seen, 0, sizeof(peer->seen));
	peer->boot = cell->boot;
	if (!has_grown(&cell->sum, &peer->seen))
		return;
	evidence_subtract(&cell->sum, &peer->seen, &delta);
	evidence_add(&e->incoming, &delta);
	e->has_incoming = true;
	peer->seen = cell->sum;
}

static void
raise_clock(nsec_t *clock, nsec_t to)
{
	if (*clock < to)
		*clock = to;
}

/*
 * Whoever takes the lease over goes on where the one before him stood. What is
 * incoming will be counted yet.
 */
static void
follow_clocks(
    struct rollout *r, const struct fleet_evidence *e, const struct cell *cell)
{
	uint64_t coming = e->incoming.arm[ARM_CANDIDATE].n;

	if (cell->phase_requests > coming &&
	    r->phase_requests < cell->phase_requests - coming)
		r->phase_requests = cell->phase_requests - coming;
	raise_clock(&r->ramp_ran, cell->ramp_ran);
	raise_clock(&r->hold_ran, cell->hold_ran);
	raise_clock(&r->phase_ran, cell->phase_ran);
}

void
fleet_evidence_hear(struct fleet *fleet, struct fleet_item *item,
    struct run *run, const struct fleet_told *told)
{
	struct fleet_evidence *e = item->evidence;
	struct cell cell, holders = {0};

	/* The answer is about the era that was asked about. */
	if (e->era == 0 || e->era != era_of(&run->rollout))
		return;
	for (size_t i = 0; i < told->n_cells; i++) {
		if (strcmp(told->cells[i].id, fleet->id) == 0)
			continue;
		if (!read_cell(told->cells[i].text, run->rollout.plan, &cell)) {
			fleet_distrust(fleet, item, told->cells[i].id,
			    "its evidence is none that an instance can have "
			    "seen");
			continue;
		}
		take_cell(e, told->cells[i].id, &cell);
		if (strcmp(told->cells[i].id, item->holder) == 0)
			holders = cell;
	}
	follow_clocks(&run->rollout, e, &holders);
}
