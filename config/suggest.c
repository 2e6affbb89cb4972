/*
 * "Did you mean": optimal string alignment distance, so that two letters that
 * changed places count once. Upper and lower case, '-' and '_' count as equal:
 * "Round-Robin" is nearest to "round_robin".
 */
#include <stdint.h>

#include "config/config.h"

enum { WORD_MAX = 64 }; /* longer words get no suggestion */

static unsigned char
fold(char c)
{
	if (c >= 'A' && c <= 'Z')
		return (unsigned char)(c + 32);
	return c == '_' ? '-' : (unsigned char)c;
}

static unsigned
least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* Three rows of the table are enough: a swap looks back two. */
static unsigned
distance(struct span a, struct span b)
{
	uint8_t rows[3][WORD_MAX + 1];

	for (size_t j = 0; j <= b.len; j++)
		rows[0][j] = (uint8_t)j;
	for (size_t i = 1; i <= a.len; i++) {
		uint8_t *row = rows[i % 3], *above = rows[(i - 1) % 3];
		const uint8_t *before = rows[(i + 1) % 3];

		row[0] = (uint8_t)i;
		for (size_t j = 1; j <= b.len; j++) {
			unsigned char x = fold(a.ptr[i - 1]),
			              y = fold(b.ptr[j - 1]);
			unsigned cost = above[j - 1] + (x != y);

			cost = least(cost, above[j] + 1u);
			cost = least(cost, row[j - 1] + 1u);
			if (i > 1 && j > 1 && x == fold(b.ptr[j - 2]) &&
			    fold(a.ptr[i - 2]) == y)
				cost = least(cost, before[j - 2] + 1u);
			row[j] = (uint8_t)cost;
		}
	}
	return rows[a.len % 3][b.len];
}

/* How wrong a word may be and still be guessed. */
static unsigned
patience(size_t len)
{
	return len <= 1 ? 0 : len <= 4 ? 1 : len <= 8 ? 2 : 3;
}

const char *
suggest(struct span word, const char *const *words, size_t n)
{
	const char *best = NULL;
	unsigned best_distance = patience(word.len) + 1;

	if (word.len == 0 || word.len > WORD_MAX)
		return NULL;
	for (size_t i = 0; i < n && best_distance > 0; i++) {
		struct span candidate = span_of(words[i]);
		size_t gap = candidate.len > word.len
		                 ? candidate.len - word.len
		                 : word.len - candidate.len;
		unsigned d;

		if (candidate.len > WORD_MAX || gap >= best_distance)
			continue;
		d = distance(word, candidate);
		if (d < best_distance) {
			best_distance = d;
			best = words[i];
		}
	}
	return best;
}
