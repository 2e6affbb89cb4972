/*
 * geo: the databases, and conditions on where a client is.
 */
#include <stdio.h>

#include "config/load/load.h"
#include "config/mem.h"

void
load_geo(struct load *load)
{
	const struct node *map = field(load->root, ROW_GEO);

	if (map)
		load->config->geo = load_paths(load, map, ROW_GEO_DATABASE);
}

/* What is often written for it. */
static const char *
country_hint(struct span code)
{
	static const char *const pairs[][2] = {{"UK", "GB"}, {"EL", "GR"},
	    {"EN", "GB"}, {"EU", "continent: EU"}, {"USA", "US"}, {"GBR", "GB"},
	    {"DEU", "DE"}, {"GER", "DE"}, {"FRA", "FR"}, {"ESP", "ES"},
	    {"ITA", "IT"}, {"NLD", "NL"}, {"POL", "PL"}, {"AUT", "AT"},
	    {"CHE", "CH"}, {"SWE", "SE"}, {"DNK", "DK"}, {"UKR", "UA"},
	    {"RUS", "RU"}, {"CHN", "CN"}, {"JPN", "JP"}, {"KOR", "KR"},
	    {"IND", "IN"}, {"BRA", "BR"}, {"MEX", "MX"}, {"CAN", "CA"},
	    {"AUS", "AU"}};

	for (size_t i = 0; i < sizeof(pairs) / sizeof(*pairs); i++)
		if (span_ieq(code, span_of(pairs[i][0])))
			return pairs[i][1];
	return NULL;
}

static void
load_countries(struct load *load, const struct node *map, enum row_id id,
    struct country_set *set)
{
	struct entries all = field_entries(map, id);

	for (size_t i = 0; i < all.n; i++) {
		unsigned country = country_of(all.at[i]->text);
		const char *other = country_hint(all.at[i]->text);
		char where[WHERE_MAX], hint[64];

		if (all.at[i]->is_bad)
			continue;
		if (country_is_iso(country) ||
		    (country != COUNTRY_NONE && country_is_free(country))) {
			set->bits[country / 64] |= UINT64_C(1) << country % 64;
			continue;
		}
		snprintf(hint, sizeof(hint), "did you mean \"%s\"?",
		    other ? other : "");
		report_add(load->report, DIAG_COUNTRY, all.at[i]->at,
		    other ? hint : "two letters of ISO 3166-1: DE, FR, US",
		    "%s: there is no country \"%.*s\"",
		    node_where(all.at[i], where), (int)all.at[i]->written.len,
		    all.at[i]->written.ptr);
	}
}

/* "US-CA": a country, and one to three letters or digits. */
static bool
is_subdivision(const char *text)
{
	if (strlen(text) < 4 || text[2] != '-' ||
	    !country_is_iso(country_of((struct span){text, 2})))
		return false;
	for (const char *c = text + 3; *c; c++)
		if (!((*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9')))
			return false;
	return true;
}

static void
load_subdivisions(struct load *load, const struct node *map, enum row_id id,
    struct strings *out)
{
	struct entries all = field_entries(map, id);
	char where[WHERE_MAX];

	*out = field_strings(map, id);
	for (size_t i = 0; i < all.n; i++)
		if (!all.at[i]->is_bad && !is_subdivision(all.at[i]->text.ptr))
			report_add(load->report, DIAG_COUNTRY, all.at[i]->at,
			    "write it like \"US-CA\"",
			    "%s: \"%.*s\" is no part of a country",
			    node_where(all.at[i], where),
			    (int)all.at[i]->written.len,
			    all.at[i]->written.ptr);
}

static void
load_continents(
    const struct node *map, enum row_id id, struct geo_cfg_match *cfg)
{
	struct strings words = field_strings(map, id);

	for (size_t i = 0; i < words.n; i++) {
		cfg->continents |=
		    (uint8_t)(1u << continent_of(span_of(words.at[i])));
		free(words.at[i]);
	}
	free(words.at);
}

void
load_geo_match(struct load *load, const struct node *map, enum row_id first,
    struct geo_cfg_match *cfg)
{
	const enum row_id country = first + 1, not_country = first + 3,
	                  continent = first + 5, subdivision = first + 7,
	                  asn = first + 9;
	struct entries asns = field_entries(map, asn);
	char where[WHERE_MAX];

	if (map == NULL)
		return;
	cfg->is_on = true;
	cfg->has_countries = field(map, country) != NULL;
	load_countries(load, map, country, &cfg->countries);
	load_countries(load, map, not_country, &cfg->not_countries);
	load_continents(map, continent, cfg);
	load_subdivisions(load, map, subdivision, &cfg->subdivisions);
	cfg->asns = mem_new(asns.n, sizeof(*cfg->asns));
	for (size_t i = 0; i < asns.n; i++)
		if (!asns.at[i]->is_bad)
			cfg->asns[cfg->n_asns++] = (uint32_t)asns.at[i]->number;
	if (map->n == 0)
		report_add(load->report, DIAG_MISSING_KEY, node_place(map),
		    "give country, not_country, continent, subdivision or asn",
		    "%s: the condition says nothing", node_where(map, where));
	load_need_geo(load, map);
}

void
load_need_geo(struct load *load, const struct node *map)
{
	char where[WHERE_MAX];

	if (field(load->root, ROW_GEO) == NULL &&
	    node_get(load->root, SPAN("geo")) == NULL)
		report_add(load->report, DIAG_NO_GEO, node_place(map),
		    "add geo: {database: PATH}",
		    "%s: no database says where clients are",
		    node_where(map, where));
}
