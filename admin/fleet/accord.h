/*
 * What several weirs agree on, and how: the order of the states that one thing
 * (a split with its rollout, the freeze) can be in. Pure: no clock, no I/O.
 *
 * Every instance holds one state of the thing and its accord, a number that
 * orders all states that can ever meet. Merging is taking the greater one, so
 * it does not matter who hears of what when, how often or from whom: all end
 * with the same. From the most significant part on:
 *
 *	epoch    which decision of a person (or rollback of the machine) it is.
 *	         A new one is one above the last that Redis has confirmed, never
 *	         more: whoever decides alone, even ten times, decides at the
 *	         same epoch as those who decide meanwhile elsewhere.
 *	turns    odd: a rollback. It beats every decision of its epoch that did
 *	         not know of it, and so whatever its rollout has become
 *	         elsewhere since. What its own instance decides next, before
 *	         Redis has confirmed it, is one turn further: a rollout that is
 *	         over never beats the one that was begun after it.
 *	safety   of two decisions at one epoch the one that puts less weight on
 *	         anything but the stable pool. A rollout has none: it may come
 *	         to have all weight.
 *	line     which rollout, or which change by hand: the steps of one are
 *	         compared by the two below, and chance decides between two.
 *	deeds    what people did to the rollout at instances that do not hold
 *	         its lease (pause, approve, promote).
 *	term     steps of the holder of the lease. Redis takes them only while
 *	         the lease is his (the fence): no two number the same one.
 *	content  the state itself, hashed: equal accords are equal states.
 */
#ifndef WEIR_ADMIN_ACCORD_H
#define WEIR_ADMIN_ACCORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	ACCORD_TEXT = 70,     /* with its end */
	ACCORD_DECISION = 45, /* of it: all but the holder's steps */
	ACCORD_SAFEST = 10000,
	ACCORD_TURNS_MAX = 15, /* then it takes an epoch */
};

/*
 * What honest instances can never come to; beyond it is an error or an attack,
 * and adopting it would leave no number for what is decided next.
 *
 * Epochs count decisions, and there have been fewer of them than milliseconds
 * since 1970: a change is in the journal of its instance first, which takes
 * longer. So an epoch is at most the time of day. No bound relative to one's
 * own would do: who was away for years, or is new, must believe the others.
 * And this one passes: whoever writes the greatest that is allowed is overtaken
 * by the next decision, a millisecond later. A clock that says that weir was
 * not written yet is not believed.
 */
#define ACCORD_EPOCH_FLOOR UINT64_C(1767225600000) /* January 2026 */
enum {
	ACCORD_DEEDS_MAX = 1 << 20, /* of people, on one rollout */
	ACCORD_TERM_MAX = 1 << 30,  /* steps: fifty a second for 248 days */
};

struct accord {
	uint64_t epoch;
	uint8_t turns;
	uint16_t safety; /* at most ACCORD_SAFEST */
	uint64_t line;
	uint32_t deeds, term;
	uint64_t content;
};

static inline bool
accord_is_back(const struct accord *accord)
{
	return accord->turns % 2 == 1;
}

/* Below, equal or above 0, as memcmp of the two texts would say. */
int accord_compare(const struct accord *a, const struct accord *b);
/* Texts of one length, ordered as the accords are: Redis compares them. */
char *accord_print(const struct accord *accord, char buf[ACCORD_TEXT]);
bool accord_parse(const char *text, struct accord *out);

/* `wall_ms`: the time of day. */
bool accord_is_possible(const struct accord *accord, uint64_t wall_ms);
bool accord_epoch_is_possible(uint64_t epoch, uint64_t wall_ms);

/* A state that is another than `now` was; what has made it. */
struct accord_change {
	uint64_t line, content;
	uint16_t safety;
	bool is_back;
	bool is_holder; /* of the lease: a step of the machine */
};
/* `agreed` is the greatest epoch that Redis has confirmed. */
struct accord accord_next(const struct accord *now, uint64_t agreed,
    const struct accord_change *change);

/* For lines and contents: spread well, the same on all machines. */
uint64_t accord_hash(const char *text);

#endif
