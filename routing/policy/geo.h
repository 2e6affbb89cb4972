/*
 * Where an address is, by databases in MaxMind's format.
 *
 * A database is read into memory of its own when it is opened (a memfd that
 * libmaxminddb maps): whoever overwrites the file in place cannot make a
 * worker stumble over a page that is gone. It is tried with some thousand
 * addresses before it is believed, so that a damaged one is refused as a
 * whole instead of answering here and there.
 *
 * Both usual shapes are read: MaxMind's ({country: {iso_code}}, {continent:
 * {code}}, {subdivisions: [{iso_code}]}, {autonomous_system_number}) and flat
 * ones ({country_code}, {continent_code}, {asn}). What a database does not
 * say of the continent follows from the country.
 *
 * Most addresses lead to few records, so each worker remembers what it made
 * of the last ones: a lookup is the walk down the tree and one look.
 */
#ifndef WEIR_ROUTING_GEO_H
#define WEIR_ROUTING_GEO_H

#include "routing/decide.h"

struct geo_place {
	uint16_t country;    /* COUNTRY_NONE: unknown */
	uint8_t continent;   /* enum continent */
	char subdivision[7]; /* "US-CA", "" unknown */
	uint32_t asn;        /* 0: unknown */
};

/* One request's question, asked at most once and only if a route needs it. */
struct geo_lookup {
	struct geo *geo; /* borrowed: published, outlives the turn; NULL: no
	                    database */
	unsigned worker;
	bool is_done;
	struct geo_place place;
};
const struct geo_place *geo_lookup(
    struct geo_lookup *lookup, const struct sockaddr *client);

void geo_find(struct geo *geo, unsigned worker, const struct sockaddr *client,
    struct geo_place *out);
bool geo_matches(
    const struct geo_cfg_match *cfg, const struct geo_place *place);

#endif
