/* See accord.h. */
#include "admin/fleet/accord.h"

#include <stdio.h>
#include <string.h>

#include "config/span.h"

#define TEXT_FORMAT "%016llx%x%04x%016llx%08x%08x%016llx"

static int
by_number(uint64_t a, uint64_t b)
{
	return (a > b) - (a < b);
}

int
accord_compare(const struct accord *a, const struct accord *b)
{
	int order = by_number(a->epoch, b->epoch);

	if (order == 0)
		order = by_number(a->turns, b->turns);
	if (order == 0)
		order = by_number(a->safety, b->safety);
	if (order == 0)
		order = by_number(a->line, b->line);
	if (order == 0)
		order = by_number(a->deeds, b->deeds);
	if (order == 0)
		order = by_number(a->term, b->term);
	return order == 0 ? by_number(a->content, b->content) : order;
}

char *
accord_print(const struct accord *a, char buf[ACCORD_TEXT])
{
	snprintf(buf, ACCORD_TEXT, TEXT_FORMAT, (unsigned long long)a->epoch,
	    a->turns & 15u, (unsigned)a->safety, (unsigned long long)a->line,
	    a->deeds, a->term, (unsigned long long)a->content);
	return buf;
}

/* False: there are others than hexadecimal digits, in small letters. */
static bool
take(const char **text, int digits, uint64_t *out)
{
	*out = 0;
	for (int i = 0; i < digits; i++) {
		char c = *(*text)++;

		if (c >= '0' && c <= '9')
			*out = *out << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			*out = *out << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	return true;
}

bool
accord_parse(const char *text, struct accord *out)
{
	uint64_t turns, safety, deeds, term;

	if (strlen(text) != ACCORD_TEXT - 1 || !take(&text, 16, &out->epoch) ||
	    !take(&text, 1, &turns) || !take(&text, 4, &safety) ||
	    !take(&text, 16, &out->line) || !take(&text, 8, &deeds) ||
	    !take(&text, 8, &term) || !take(&text, 16, &out->content) ||
	    safety > ACCORD_SAFEST)
		return false;
	out->turns = (uint8_t)turns;
	out->safety = (uint16_t)safety;
	out->deeds = (uint32_t)deeds;
	out->term = (uint32_t)term;
	return true;
}

/* Within the epoch: what is not confirmed yet is what this one follows. */
static unsigned
turns_after(const struct accord *now, uint64_t agreed,
    const struct accord_change *change)
{
	unsigned turns = now->epoch > agreed ? now->turns : 0;
	bool follows_back = turns % 2 == 1 && change->line != now->line;

	turns += follows_back;
	return turns + ((turns % 2 == 1) != change->is_back);
}

struct accord
accord_next(const struct accord *now, uint64_t agreed,
    const struct accord_change *change)
{
	struct accord next = {
	    .epoch = now->epoch > agreed ? now->epoch : agreed + 1,
	    .safety = change->safety,
	    .line = change->line,
	    .content = change->content};
	unsigned turns = turns_after(now, agreed, change);

	if (change->line != now->line ||
	    change->is_back != accord_is_back(now)) {
		if (turns > ACCORD_TURNS_MAX) {
			next.epoch = now->epoch + 1;
			turns = change->is_back;
		}
		next.turns = (uint8_t)turns;
		return next;
	}
	/* A further step of what is numbered already. */
	next.epoch = now->epoch;
	next.turns = now->turns;
	next.deeds = now->deeds + !change->is_holder;
	next.term = now->term + change->is_holder;
	if (next.deeds <= ACCORD_DEEDS_MAX && next.term <= ACCORD_TERM_MAX)
		return next;
	/* Somebody has used them up: it goes on above him. */
	next.epoch = (agreed > now->epoch ? agreed : now->epoch) + 1;
	next.deeds = next.term = 0;
	return next;
}

bool
accord_epoch_is_possible(uint64_t epoch, uint64_t wall_ms)
{
	return epoch <=
	       (wall_ms > ACCORD_EPOCH_FLOOR ? wall_ms : ACCORD_EPOCH_FLOOR);
}

bool
accord_is_possible(const struct accord *a, uint64_t wall_ms)
{
	return accord_epoch_is_possible(a->epoch, wall_ms) &&
	       a->deeds <= ACCORD_DEEDS_MAX && a->term <= ACCORD_TERM_MAX;
}

/* Mixed once more: the high bits alone would be weak. */
uint64_t
accord_hash(const char *text)
{
	uint64_t hash = span_hash(span_of(text));

	hash ^= hash >> 32;
	hash *= UINT64_C(0xd6e8feb86659fd93);
	return hash ^ hash >> 32;
}
