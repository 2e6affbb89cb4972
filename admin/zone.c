/*
 * A zone's offset from its TZif file: the last transition at or before the
 * moment, and after the last one the rule of the footer. The C library has one
 * zone for the whole process, and changing TZ under running threads is not
 * allowed; hence our own reading of a simple format.
 */
#include "admin/zone.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ZONE_FILE_MAX = 64 << 10, HEADER = 44, RULE_MAX = 80, DAY = 86400 };

/* ---- the calendar ---- */

/* Days since 1970 of a year's first of January (proleptic Gregorian). */
static int64_t
year_start(int64_t year)
{
	int64_t y = year - 1;

	return y * 365 + y / 4 - y / 100 + y / 400 - 719162;
}

static bool
is_leap(int64_t year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

static int64_t
year_of(int64_t seconds)
{
	int64_t year = 1970 + seconds / (365 * DAY + DAY / 4);

	while (year_start(year) * DAY > seconds)
		year--;
	while (year_start(year + 1) * DAY <= seconds)
		year++;
	return year;
}

/* ---- the rule of the footer (POSIX TZ) ---- */

struct reader {
	const char *at;
	bool ok;
};

static int64_t
read_number(struct reader *r)
{
	int64_t n = 0;
	int digits = 0;

	while (isdigit((unsigned char)*r->at) && digits++ < 4)
		n = n * 10 + (*r->at++ - '0');
	r->ok = r->ok && digits > 0;
	return n;
}

static bool
skip(struct reader *r, char c)
{
	if (*r->at != c)
		return false;
	r->at++;
	return true;
}

static void
read_name(struct reader *r)
{
	const char *start = r->at;

	if (skip(r, '<')) {
		while (*r->at && *r->at != '>')
			r->at++;
		r->ok = r->ok && skip(r, '>');
		return;
	}
	while (isalpha((unsigned char)*r->at))
		r->at++;
	r->ok = r->ok && r->at - start >= 3;
}

/* [+-]hh[:mm[:ss]] in seconds */
static int64_t
read_time(struct reader *r)
{
	int64_t sign = skip(r, '-') ? -1 : (skip(r, '+'), 1);
	int64_t seconds = read_number(r) * 3600;

	if (skip(r, ':'))
		seconds += read_number(r) * 60;
	if (skip(r, ':'))
		seconds += read_number(r);
	return sign * seconds;
}

/* "M3.5.0": the last Sunday of March, as a day of the year from 0 */
static int64_t
month_day(struct reader *r, int64_t year)
{
	static const int lengths[] = {
	    31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
	int64_t month = read_number(r), week, weekday, first, length, day = 0;

	r->ok = r->ok && skip(r, '.');
	week = read_number(r);
	r->ok = r->ok && skip(r, '.');
	weekday = read_number(r);
	if (!r->ok || month < 1 || month > 12 || week < 1 || week > 5 ||
	    weekday > 6) {
		r->ok = false;
		return 0;
	}
	for (int64_t m = 1; m < month; m++)
		day += lengths[m - 1] + (m == 2 && is_leap(year));
	length = lengths[month - 1] + (month == 2 && is_leap(year));
	first = ((year_start(year) + day + 4) % 7 + 7) % 7; /* its weekday */
	first = (weekday - first + 7) % 7 + (week - 1) * 7;
	return day + (first >= length ? first - 7 : first);
}

/* Seconds from the year's start, by the wall clock of the place. */
static int64_t
read_date(struct reader *r, int64_t year)
{
	int64_t day;

	if (skip(r, 'M'))
		day = month_day(r, year);
	else if (skip(r, 'J')) { /* 1..365, never 29 February */
		day = read_number(r) - 1;
		day += day >= 59 && is_leap(year);
	} else
		day = read_number(r);
	return day * DAY + (skip(r, '/') ? read_time(r) : 2 * 3600);
}

bool
zone_rule_offset(const char *rule, int64_t wall, int64_t *offset_out)
{
	struct reader r = {rule, true};
	int64_t winter, summer, year, start, from, to, now;
	bool is_summer;

	read_name(&r);
	winter = -read_time(&r);
	*offset_out = winter;
	if (!r.ok || *r.at == '\0')
		return r.ok;
	read_name(&r);
	summer = *r.at == ',' ? winter + 3600 : -read_time(&r);
	year = year_of(wall + winter);
	start = year_start(year) * DAY;
	r.ok = r.ok && skip(&r, ',');
	from = start + read_date(&r, year) - winter;
	r.ok = r.ok && skip(&r, ',');
	to = start + read_date(&r, year) - summer;
	if (!r.ok || *r.at != '\0')
		return false;
	now = wall;
	is_summer =
	    from < to ? now >= from && now < to : now >= from || now < to;
	*offset_out = is_summer ? summer : winter;
	return true;
}

/* ---- the file ---- */

static int64_t
big_endian(const uint8_t *at, size_t n)
{
	uint64_t value = 0;

	for (size_t i = 0; i < n; i++)
		value = value << 8 | at[i];
	return n == 4 ? (int32_t)(uint32_t)value : (int64_t)value;
}

struct block {
	const uint8_t *times, *types, *kinds, *end; /* end: behind the block */
	size_t n_times, n_kinds, width;
};

/* False: not whole. */
static bool
read_block(const uint8_t *at, size_t len, size_t width, struct block *out)
{
	size_t n[6], size;

	if (len < HEADER || memcmp(at, "TZif", 4) != 0)
		return false;
	for (size_t i = 0; i < 6; i++) {
		n[i] = (size_t)(uint32_t)big_endian(at + 20 + 4 * i, 4);
		if (n[i] > ZONE_FILE_MAX)
			return false;
	}
	/* isut, isstd, leap, times, kinds, characters */
	size = HEADER + n[3] * (width + 1) + n[4] * 6 + n[5] +
	       n[2] * (width + 4) + n[1] + n[0];
	if (size > len || n[4] == 0)
		return false;
	*out = (struct block){.times = at + HEADER,
	    .types = at + HEADER + n[3] * width,
	    .kinds = at + HEADER + n[3] * (width + 1),
	    .end = at + size,
	    .n_times = n[3],
	    .n_kinds = n[4],
	    .width = width};
	return true;
}

static int64_t
block_offset(const struct block *block, int64_t wall)
{
	size_t kind = 0;

	for (size_t i = 0; i < block->n_times; i++) {
		if (big_endian(block->times + i * block->width, block->width) >
		    wall)
			break;
		kind = block->types[i];
	}
	if (kind >= block->n_kinds)
		kind = 0;
	return big_endian(block->kinds + kind * 6, 4);
}

static bool
footer_rule(const struct block *block, const uint8_t *end, char rule[RULE_MAX])
{
	const uint8_t *at = block->end, *newline;

	if (at >= end || *at != '\n')
		return false;
	at++;
	newline = memchr(at, '\n', (size_t)(end - at));
	if (!newline || newline == at || newline - at >= RULE_MAX)
		return false;
	memcpy(rule, at, (size_t)(newline - at));
	rule[newline - at] = '\0';
	return true;
}

bool
zone_bytes_offset(
    const uint8_t *bytes, size_t len, int64_t wall, int64_t *offset_out)
{
	const uint8_t *end = bytes + len;
	struct block block;
	char rule[RULE_MAX];

	if (!read_block(bytes, len, 4, &block))
		return false;
	if (bytes[4] >= '2' &&
	    !read_block(block.end, (size_t)(end - block.end), 8, &block))
		return false;
	*offset_out = block_offset(&block, wall);
	if (bytes[4] < '2' ||
	    (block.n_times > 0 &&
	        wall <
	            big_endian(block.times + (block.n_times - 1) * block.width,
	                block.width)))
		return true;
	return !footer_rule(&block, end, rule) ||
	       zone_rule_offset(rule, wall, offset_out);
}

static bool
is_name(const char *name)
{
	return name[0] != '/' && !strstr(name, "..") && strlen(name) < 64 &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwx"
	                    "yz0123456789_+-/") == strlen(name);
}

static size_t
read_zone(const char *name, uint8_t *bytes)
{
	static const char *const places[] = {"/usr/share/zoneinfo",
	    "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"};
	char path[160];

	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		ssize_t n;
		int fd;

		snprintf(path, sizeof(path), "%s/%s", places[i], name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			continue;
		n = read(fd, bytes, ZONE_FILE_MAX);
		close(fd);
		if (n > 0)
			return (size_t)n;
	}
	return 0;
}

bool
zone_offset(
    const char *name, int64_t wall, int64_t *offset_out, struct err *err)
{
	uint8_t *bytes;
	size_t len;
	bool ok;

	*offset_out = 0;
	if (strcmp(name, "UTC") == 0 || strcmp(name, "Etc/UTC") == 0)
		return true;
	if (!is_name(name))
		return err_set(err, "\"%.64s\" is no time zone's name", name);
	bytes = malloc(ZONE_FILE_MAX);
	len = bytes ? read_zone(name, bytes) : 0;
	ok = len > 0 && zone_bytes_offset(bytes, len, wall, offset_out);
	free(bytes);
	return ok || err_set(err,
	                 "time zone \"%.64s\" cannot be read; install tzdata "
	                 "or use UTC",
	                 name);
}
