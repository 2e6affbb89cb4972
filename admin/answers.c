/*
 * A ring: the newest answer takes the place of the oldest. A thousand slots
 * are searched one by one, since a person or a pipeline is waiting on fsync
 * anyway.
 */
#include "admin/answers.h"

#include <stdlib.h>

struct answers {
	struct answer ring[ANSWERS_KEPT];
	size_t next;
};

static void
answer_release(struct answer *answer)
{
	free(answer->body);
	free(answer->type);
	free(answer->etag);
	*answer = (struct answer){0};
}

struct answers *
answers_new(void)
{
	return calloc(1, sizeof(struct answers));
}

void
answers_free(struct answers **answers)
{
	if (!*answers)
		return;
	for (size_t i = 0; i < ANSWERS_KEPT; i++)
		answer_release(&(*answers)->ring[i]);
	free(*answers);
	*answers = NULL;
}

const struct answer *
answers_find(const struct answers *answers, const uint8_t key[32], time_t now)
{
	for (size_t i = 0; i < ANSWERS_KEPT; i++) {
		const struct answer *answer = &answers->ring[i];

		if (answer->at && now - answer->at < ANSWERS_SECONDS &&
		    memcmp(answer->key, key, 32) == 0)
			return answer;
	}
	return NULL;
}

void
answers_keep(struct answers *answers, const struct answer *answer, time_t now)
{
	const struct answer *known = answers_find(answers, answer->key, now);
	size_t at = known ? (size_t)(known - answers->ring) : answers->next;
	struct answer *slot = &answers->ring[at];
	struct answer copy = *answer;

	if (answer->len > ANSWER_BODY_MAX)
		return;
	copy.at = now;
	copy.body = malloc(answer->len + 1);
	copy.type = strdup(answer->type);
	copy.etag = answer->etag ? strdup(answer->etag) : NULL;
	if (!copy.body || !copy.type) {
		answer_release(&copy);
		return;
	}
	memcpy(copy.body, answer->body, answer->len);
	answer_release(slot);
	*slot = copy;
	if (!known)
		answers->next = (answers->next + 1) % ANSWERS_KEPT;
}
