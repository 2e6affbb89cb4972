/*
 * Days of the week, times of the day and time zones, as plans write them. What
 * a printer writes the parser reads back to the same value.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "config/units.h"

enum { DAYS = 7, MINUTES_A_DAY = 24 * 60, ZONE_MAX = 64 };

static const char day_words[DAYS][4] = {
    "mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* A day in front of `text`, or -1. */
static int
take_day(struct span *text)
{
	for (int i = 0; i < DAYS; i++) {
		if (span_starts(*text, (struct span){day_words[i], 3})) {
			text->ptr += 3;
			text->len -= 3;
			return i;
		}
	}
	return -1;
}

static bool
take_byte(struct span *text, char byte)
{
	if (text->len == 0 || text->ptr[0] != byte)
		return false;
	text->ptr++;
	text->len--;
	return true;
}

bool
units_days(struct span text, unsigned *out)
{
	unsigned days = 0;

	do {
		int from = take_day(&text), to = from;

		if (from >= 0 && take_byte(&text, '-'))
			to = take_day(&text);
		if (from < 0 || to < 0)
			return false;
		for (int day = from;; day = (day + 1) % DAYS) {
			days |= 1u << day;
			if (day == to)
				break;
		}
	} while (take_byte(&text, ','));
	*out = days;
	return text.len == 0;
}

/* "09:30"; 24:00 is the end of a day. */
static bool
take_time(struct span *text, unsigned *minutes)
{
	unsigned digits[5];

	if (text->len < 5 || text->ptr[2] != ':')
		return false;
	for (int i = 0; i < 5; i++) {
		digits[i] = (unsigned)text->ptr[i] - '0';
		if (i != 2 && digits[i] > 9)
			return false;
	}
	*minutes =
	    (digits[0] * 10 + digits[1]) * 60 + digits[3] * 10 + digits[4];
	text->ptr += 5;
	text->len -= 5;
	return digits[3] < 6 && *minutes <= MINUTES_A_DAY;
}

/* Equal times could mean all day or never, so they are refused. */
bool
units_hours(struct span text, unsigned *from, unsigned *to)
{
	if (!take_time(&text, from) || !take_byte(&text, '-') ||
	    !take_time(&text, to))
		return false;
	return text.len == 0 && *from < MINUTES_A_DAY && *from != *to;
}

static bool
zone_has_form(struct span text)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
	                              "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                              "0123456789_+-/";

	if (text.len == 0 || text.len > ZONE_MAX || text.ptr[0] == '/' ||
	    text.ptr[text.len - 1] == '/')
		return false;
	for (size_t i = 0; i < text.len; i++)
		if (text.ptr[i] == '\0' || !strchr(letters, text.ptr[i]))
			return false;
	return true;
}

/* The letters leave no dot, so a name never leads out of the folder. */
bool
units_zone(struct span text)
{
	const char *folder = getenv("TZDIR");
	char path[512];
	struct stat st;

	if (folder == NULL || folder[0] == '\0')
		folder = "/usr/share/zoneinfo";
	if (!zone_has_form(text))
		return false;
	if (span_eq(text, SPAN("UTC")) || stat(folder, &st) != 0)
		return true;
	snprintf(
	    path, sizeof(path), "%s/%.*s", folder, (int)text.len, text.ptr);
	return stat(path, &st) == 0 && S_ISREG(st.st_mode);
}

char *
units_print_days(unsigned days, char *buf, size_t cap)
{
	size_t n = 0;

	buf[0] = '\0';
	for (int from = 0; from < DAYS && n < cap; from++) {
		int to = from;

		if (!(days >> from & 1))
			continue;
		while (to + 1 < DAYS && days >> (to + 1) & 1)
			to++;
		n += (size_t)snprintf(buf + n, cap - n, "%s%s%s%s",
		    n ? "," : "", day_words[from], to > from ? "-" : "",
		    to > from ? day_words[to] : "");
		from = to;
	}
	return buf;
}

char *
units_print_hours(unsigned from, unsigned to, char *buf, size_t cap)
{
	snprintf(buf, cap, "%02u:%02u-%02u:%02u", from / 60, from % 60, to / 60,
	    to % 60);
	return buf;
}
