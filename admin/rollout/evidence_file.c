/*
 * What the judge of a live rollout knows, once a second into one of two files
 * of its own by turns: one of them is whole at any moment, and writing over
 * blocks that are there costs a tenth of a new file and a rename. After a crash
 * at most that second is lost; what is lost makes no verdict wrong, only later.
 *
 *	"weirev1\n" checksum, head, signals..., numbers...
 *
 * in the order and size of this machine: it does not travel.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#include "admin/log.h"
#include "admin/rollout/rollouts.h"

enum { NUMBERS_MAX = 1 << 17 };

#define SAVE_EVERY NSEC_PER_SEC

static const char magic[8] = "weirev1\n";

struct head {
	char magic[8];
	uint64_t checksum; /* of all behind it */
	char id[ROLLOUT_ID_MAX];
	uint32_t phase;
	uint16_t weight, unused;
	int64_t phase_at, state; /* another run of the phase has another time */
	int64_t wall;            /* when it was saved */
	int64_t ramp_ran, hold_ran, phase_ran;
	uint64_t phase_requests, n[ARM_COUNT], bad[ARM_COUNT], shielded;
	int64_t now;     /* monotonic, when it was saved */
	uint64_t number; /* the greater one is the newer one */
	uint64_t n_signals, n_numbers;
};

static void
file_name(const struct run *run, uint64_t number, char *buf, size_t cap)
{
	snprintf(buf, cap, "evidence-%s.%c", run->rollout.id,
	    number % 2 ? 'a' : 'b');
}

/* Against a torn write, not against a person. */
static uint64_t
checksum(const unsigned char *bytes, size_t len)
{
	return span_hash((struct span){(const char *)bytes, len});
}

#define SUMMED offsetof(struct head, id)

/* ---- saving ---- */

static void
fill_head(struct head *head, const struct run *run, nsec_t now)
{
	const struct rollout *r = &run->rollout;

	memset(head, 0, sizeof(*head));
	memcpy(head->magic, magic, sizeof(magic));
	snprintf(head->id, sizeof(head->id), "%s", r->id);
	head->phase = r->phase;
	head->weight = r->weight;
	head->phase_at = r->phase_at;
	head->state = r->state == ROLLOUT_PROMOTED;
	head->wall = time(NULL);
	head->now = now;
	head->number = run->saves;
	head->ramp_ran = r->ramp_ran;
	head->hold_ran = r->hold_ran;
	head->phase_ran = r->phase_ran;
	head->phase_requests = r->phase_requests;
	memcpy(head->n, r->n, sizeof(head->n));
	memcpy(head->bad, r->bad, sizeof(head->bad));
	head->shielded = r->shielded;
	head->n_signals = run->signals.n;
}

static void
complain(struct rollouts *rollouts, const struct run *run, nsec_t now,
    const struct err *err)
{
	if (now - rollouts->complained_at < 10 * NSEC_PER_SEC)
		return;
	rollouts->complained_at = now;
	log_event(LOG_ERROR,
	    "the evidence of a rollout cannot be saved; it would be lost with "
	    "the process",
	    "rollout", run->rollout.id, "error", err->text, NULL);
}

void
evidence_save(struct rollouts *rollouts, struct run *run, nsec_t now)
{
	size_t numbers = judge_save(run->rollout.judge, NULL, 0);
	size_t signals = run->signals.n * sizeof(*run->signals.at);
	size_t len = sizeof(struct head) + signals + numbers * sizeof(double);
	struct head head;
	struct err err;
	char name[64], *bytes = malloc(len);

	run->save_at = now + SAVE_EVERY;
	run->has_news = false;
	if (!bytes)
		return;
	run->saves++;
	fill_head(&head, run, now);
	head.n_numbers = numbers;
	if (signals > 0)
		memcpy(bytes + sizeof(head), run->signals.at, signals);
	judge_save(run->rollout.judge,
	    (double *)(void *)(bytes + sizeof(head) + signals), numbers);
	memcpy(bytes, &head, sizeof(head));
	head.checksum = checksum((unsigned char *)bytes + SUMMED, len - SUMMED);
	memcpy(bytes, &head, sizeof(head));
	file_name(run, run->saves, name, sizeof(name));
	if (!state_write_file(rollouts->admin->state, name, bytes, len, &err))
		complain(rollouts, run, now, &err);
	free(bytes);
}

void
evidence_forget(struct rollouts *rollouts, const struct run *run)
{
	char name[64];

	for (uint64_t number = 0; number < 2; number++) {
		file_name(run, number, name, sizeof(name));
		state_remove_file(rollouts->admin->state, name);
	}
}

/* ---- coming back ---- */

/* What a longer one left behind it does not count. */
static size_t
length_of(const struct head *head)
{
	return sizeof(*head) + head->n_signals * sizeof(struct signal_entry) +
	       head->n_numbers * sizeof(double);
}

static bool
is_whole(const struct head *head, const unsigned char *bytes, size_t len)
{
	return memcmp(head->magic, magic, sizeof(magic)) == 0 &&
	       head->n_signals <= SIGNALS_MAX &&
	       head->n_numbers <= NUMBERS_MAX && length_of(head) <= len &&
	       head->checksum ==
	           checksum(bytes + SUMMED, length_of(head) - SUMMED);
}

static bool
is_of(const struct head *head, const struct rollout *r)
{
	return strcmp(head->id, r->id) == 0 && head->phase == r->phase &&
	       head->phase_at == r->phase_at &&
	       head->state == (r->state == ROLLOUT_PROMOTED);
}

/* Signals keep their age: the monotonic clock began anew with the machine. */
static void
take_signals(struct run *run, const struct head *head,
    const unsigned char *bytes, nsec_t now, nsec_t gap)
{
	size_t size = head->n_signals * sizeof(struct signal_entry);

	if (head->n_signals == 0)
		return;
	run->signals.at = calloc(SIGNALS_MAX, sizeof(*run->signals.at));
	if (!run->signals.at)
		return;
	memcpy(run->signals.at, bytes + sizeof(*head), size);
	run->signals.n = head->n_signals;
	for (size_t i = 0; i < run->signals.n; i++)
		run->signals.at[i].at += now - gap - head->now;
}

static void
take_clocks(struct rollout *r, const struct head *head)
{
	r->ramp_ran = head->ramp_ran;
	r->hold_ran = head->hold_ran;
	r->phase_ran = head->phase_ran;
	r->phase_requests = head->phase_requests;
	memcpy(r->n, head->n, sizeof(r->n));
	memcpy(r->bad, head->bad, sizeof(r->bad));
	r->shielded = head->shielded;
}

/*
 * The wealth was won under the weight that was in force when it was saved; the
 * ramp may have gone a step further since.
 */
static bool
take_judge(struct run *run, const struct head *head, const unsigned char *bytes,
    nsec_t gap, nsec_t now)
{
	struct rollout *r = &run->rollout;
	size_t at =
	    sizeof(*head) + head->n_signals * sizeof(struct signal_entry);
	bp_t weight = r->weight, candidate, baseline;
	double *numbers = malloc(head->n_numbers * sizeof(double) + 1);
	bool ok;

	r->weight = head->weight;
	rollout_resume(r, gap, now);
	r->weight = weight;
	if (!numbers)
		return false;
	memcpy(numbers, bytes + at, head->n_numbers * sizeof(double));
	ok = r->state == ROLLOUT_PENDING ||
	     judge_restore(r->judge, numbers, head->n_numbers, now);
	free(numbers);
	if (ok && weight != head->weight && r->state != ROLLOUT_PENDING) {
		rollout_arms(r, &candidate, &baseline);
		judge_reweigh(r->judge, candidate, baseline);
	}
	return ok;
}

static void
resume_bare(struct run *run, nsec_t now, const char *why)
{
	log_event(LOG_WARN,
	    "the evidence of a rollout begins anew: its phase is judged from "
	    "now on",
	    "rollout", run->rollout.id, "why", why, NULL);
	if (!run->rollout.judge)
		rollout_resume(&run->rollout, 0, now);
}

static nsec_t
bounded_gap(int64_t wall)
{
	int64_t gap = (int64_t)time(NULL) - wall;

	if (gap < 0)
		gap = 0;
	if (gap > ROLLOUT_GAP_MAX / NSEC_PER_SEC)
		gap = ROLLOUT_GAP_MAX / NSEC_PER_SEC;
	return gap * NSEC_PER_SEC;
}

/* Why a file was not taken; the worst of both is told. */
enum saved { SAVED_TAKEN, SAVED_ABSENT, SAVED_OF_OTHER_PHASE, SAVED_DAMAGED };

static const char *const saved_words[] = {[SAVED_TAKEN] = "",
    [SAVED_ABSENT] = "nothing was saved",
    [SAVED_OF_OTHER_PHASE] = "what was saved is of another phase",
    [SAVED_DAMAGED] = "what was saved is damaged"};

/* One of the two files, if it is whole and of this phase; the caller frees. */
static unsigned char *
read_saved(struct rollouts *rollouts, const struct run *run, uint64_t number,
    struct head *head, enum saved *why)
{
	void *bytes;
	size_t len;
	char name[64];
	enum saved found = SAVED_DAMAGED;

	file_name(run, number, name, sizeof(name));
	if (!state_read_file(rollouts->admin->state, name, &bytes, &len)) {
		found = state_has_file(rollouts->admin->state, name)
		            ? SAVED_DAMAGED
		            : SAVED_ABSENT;
		*why = MAX(*why, found);
		return NULL;
	}
	if (len >= sizeof(*head)) {
		memcpy(head, bytes, sizeof(*head));
		if (is_whole(head, bytes, len))
			found = is_of(head, &run->rollout)
			            ? SAVED_TAKEN
			            : SAVED_OF_OTHER_PHASE;
	}
	*why = MAX(*why, found);
	if (found == SAVED_TAKEN)
		return bytes;
	free(bytes);
	return NULL;
}

static void
take_saved(struct run *run, const struct head *head, const unsigned char *bytes,
    nsec_t now)
{
	nsec_t gap = bounded_gap(head->wall);

	run->saves = head->number;
	take_signals(run, head, bytes, now, gap);
	take_clocks(&run->rollout, head);
	if (!take_judge(run, head, bytes, gap, now))
		resume_bare(run, now, "what was saved does not fit the plan");
}

void
evidence_resume(struct rollouts *rollouts, struct run *run, nsec_t now)
{
	struct head heads[2];
	unsigned char *bytes[2];
	enum saved why = SAVED_TAKEN;
	int newer;

	for (int i = 0; i < 2; i++)
		bytes[i] =
		    read_saved(rollouts, run, (uint64_t)i, &heads[i], &why);
	newer = bytes[1] && (!bytes[0] || heads[1].number > heads[0].number);
	if (bytes[newer])
		take_saved(run, &heads[newer], bytes[newer], now);
	else
		resume_bare(run, now, saved_words[why]);
	free(bytes[0]);
	free(bytes[1]);
}
