/*
 * Walking over lines; see lines.h. Only the few lines that are shown are ever
 * looked for, so a walk from the start is fast enough.
 */
#include "config/lines.h"

/* Bytes of the break at `p`, 0 when there is none. */
static size_t
break_len(const char *p, const char *end)
{
	size_t left = (size_t)(end - p);

	if (*p == '\n')
		return 1;
	if (*p == '\r')
		return left > 1 && p[1] == '\n' ? 2 : 1;
	if (left > 1 && memcmp(p, "\xc2\x85", 2) == 0)
		return 2;
	if (left > 2 && (memcmp(p, "\xe2\x80\xa8", 3) == 0 ||
	                    memcmp(p, "\xe2\x80\xa9", 3) == 0))
		return 3;
	return 0;
}

bool
lines_next(struct span *rest, struct span *line_out)
{
	const char *end = rest->ptr + rest->len, *p = rest->ptr;
	size_t brk = 0;

	if (rest->len == 0)
		return false;
	while (p < end && (brk = break_len(p, end)) == 0)
		p++;
	*line_out = (struct span){rest->ptr, (size_t)(p - rest->ptr)};
	*rest = (struct span){p + brk, (size_t)(end - p) - brk};
	return true;
}

struct span
lines_get(struct span text, unsigned number)
{
	struct span line = {"", 0};

	for (unsigned i = 0; i < number; i++) {
		if (!lines_next(&text, &line))
			return (struct span){"", 0};
	}
	return line;
}
