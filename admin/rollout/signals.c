#include "admin/rollout/signals.h"

#include <stdlib.h>
#include <string.h>

#include "tls/tls.h"

uint64_t
signal_digest(const char *kind, const char *id)
{
	char text[256];
	uint8_t digest[32];
	uint64_t value;

	if (!id)
		return 0;
	snprintf(text, sizeof(text), "%.100s\n%.128s", kind, id);
	tls_sha256(text, strlen(text), digest);
	memcpy(&value, digest, sizeof(value));
	return value ? value : 1;
}

uint16_t
signal_guards(const struct plan_cfg *plan, const char *kind)
{
	uint16_t guards = 0;

	for (size_t g = 0; g < plan->n_guards; g++)
		if (plan->guards[g].metric == GUARD_SIGNAL &&
		    strcmp(plan->guards[g].signal, kind) == 0)
			guards |= (uint16_t)(1u << g);
	return guards;
}

static bool
is_known(const struct signals *signals, uint64_t id)
{
	for (size_t i = 0; id != 0 && i < signals->n; i++)
		if (signals->at[i].id == id)
			return true;
	return false;
}

/* Counts stay: what is a little younger than it was leaves its window later. */
static void
merge_oldest(struct signals *signals)
{
	struct signal_entry *oldest = &signals->at[0];
	size_t i = 1;

	while (i < signals->n && signals->at[i].guards != oldest->guards)
		i++;
	if (i < signals->n) {
		uint64_t sum = (uint64_t)signals->at[i].count + oldest->count;

		signals->at[i].count =
		    sum > UINT32_MAX ? UINT32_MAX : (uint32_t)sum;
	}
	memmove(signals->at, signals->at + 1,
	    (signals->n - 1) * sizeof(*signals->at));
	signals->n--;
}

bool
signals_add(struct signals *signals, const struct signal_entry *entry)
{
	if (is_known(signals, entry->id))
		return false;
	if (!signals->at)
		signals->at = calloc(SIGNALS_MAX, sizeof(*signals->at));
	if (!signals->at)
		return false;
	if (signals->n == SIGNALS_MAX)
		merge_oldest(signals);
	signals->at[signals->n++] = *entry;
	return true;
}

void
signals_count(const struct signals *signals, const struct plan_cfg *plan,
    nsec_t now, uint64_t out[PLAN_GUARDS_MAX])
{
	memset(out, 0, PLAN_GUARDS_MAX * sizeof(*out));
	for (size_t i = 0; i < signals->n; i++) {
		const struct signal_entry *entry = &signals->at[i];

		for (size_t g = 0; g < plan->n_guards; g++) {
			nsec_t window = plan->guards[g].window;

			if ((entry->guards & (1u << g)) &&
			    (window == 0 || now - entry->at < window))
				out[g] += entry->count;
		}
	}
}

void
signals_release(struct signals *signals)
{
	free(signals->at);
	*signals = (struct signals){0};
}
