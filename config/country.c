/*
 * Countries and continents as numbers: any two letters are a country's code
 * here (databases use some that ISO leaves to them, as XK), and country.def
 * knows which of them ISO has given away.
 */
#include <string.h>

#include "config/config.h"

static const uint8_t continents[COUNTRIES] = {
#define COUNTRY(a, b, continent)                                               \
	[((a) - 'A') * 26 + ((b) - 'A')] = CONTINENT_##continent,
#include "config/country.def"
#undef COUNTRY
};

static const char words[CONTINENTS][3] = {
    "", "AF", "AN", "AS", "EU", "NA", "OC", "SA"};

static int
letter(char c)
{
	if (c >= 'a' && c <= 'z')
		return c - 'a';
	return c >= 'A' && c <= 'Z' ? c - 'A' : -1;
}

unsigned
country_of(struct span code)
{
	int a = code.len == 2 ? letter(code.ptr[0]) : -1;
	int b = code.len == 2 ? letter(code.ptr[1]) : -1;

	return a < 0 || b < 0 ? COUNTRY_NONE : (unsigned)(a * 26 + b);
}

void
country_print(unsigned country, char out[3])
{
	out[0] = (char)('A' + country / 26);
	out[1] = (char)('A' + country % 26);
	out[2] = '\0';
	if (country >= COUNTRIES)
		out[0] = '\0';
}

bool
country_is_iso(unsigned country)
{
	return country < COUNTRIES && continents[country] != CONTINENT_NONE;
}

/* AA, QM to QZ, XA to XZ and ZZ: never given to a country. */
bool
country_is_free(unsigned country)
{
	unsigned a = country / 26 + 'A', b = country % 26 + 'A';

	return (a == 'A' && b == 'A') || (a == 'Q' && b >= 'M') || a == 'X' ||
	       (a == 'Z' && b == 'Z');
}

enum continent
country_continent(unsigned country)
{
	return country < COUNTRIES ? (enum continent)continents[country]
	                           : CONTINENT_NONE;
}

enum continent
continent_of(struct span code)
{
	for (int i = 1; i < CONTINENTS; i++)
		if (span_eq(code, span_of(words[i])))
			return (enum continent)i;
	return CONTINENT_NONE;
}

const char *
continent_name(enum continent continent)
{
	return words[continent];
}
