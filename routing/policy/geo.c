/*
 * Opening databases and asking them; see geo.h.
 */
#include "routing/policy/geo.h"

#include <errno.h>
#include <fcntl.h>
#include <maxminddb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include "routing/memory.h"
#include "routing/registry.h"

enum {
	REMEMBERED = 512, /* records by worker and database, a power of two */
	TRIED = 4096,     /* addresses, before a database is believed */
};
#define SIZE_MAX_BYTES (INT64_C(1) << 30)

struct remembered {
	uint32_t record; /* offset + 1; 0: free */
	struct geo_place place;
};

struct database {
	MMDB_s mmdb;
	bool is_open;
	struct remembered *remembered; /* owned: [workers * REMEMBERED] */
};

/* ---- one record ---- */

static bool
text_at(MMDB_entry_s *record, const char *const path[], struct span *out)
{
	MMDB_entry_data_s data;

	if (MMDB_aget_value(record, &data, path) != MMDB_SUCCESS ||
	    !data.has_data || data.type != MMDB_DATA_TYPE_UTF8_STRING)
		return false;
	*out = (struct span){data.utf8_string, data.data_size};
	return true;
}

static unsigned
country_in(MMDB_entry_s *record)
{
	static const char *const paths[][3] = {{"country", "iso_code"},
	    {"country_code"}, {"country"}, {"registered_country", "iso_code"}};
	struct span code;

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		if (text_at(record, paths[i], &code) &&
		    country_of(code) != COUNTRY_NONE)
			return country_of(code);
	return COUNTRY_NONE;
}

static enum continent
continent_in(MMDB_entry_s *record)
{
	static const char *const paths[][3] = {
	    {"continent", "code"}, {"continent_code"}, {"continent"}};
	struct span code;

	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++)
		if (text_at(record, paths[i], &code) &&
		    continent_of(code) != CONTINENT_NONE)
			return continent_of(code);
	return CONTINENT_NONE;
}

/* "CA" or "US-CA" in the record, always "US-CA" here. */
static void
subdivision_in(MMDB_entry_s *record, unsigned country, char out[7])
{
	static const char *const paths[][4] = {
	    {"subdivisions", "0", "iso_code"}, {"subdivision_code"},
	    {"region_code"}};
	char prefix[3];
	struct span code;

	country_print(country, prefix);
	for (size_t i = 0; i < sizeof(paths) / sizeof(*paths); i++) {
		if (!text_at(record, paths[i], &code))
			continue;
		if (code.len > 3 && code.ptr[2] == '-') {
			code.ptr += 3;
			code.len -= 3;
		}
		if (code.len > 0 && code.len <= 3 && prefix[0] != '\0')
			snprintf(
			    out, 7, "%s-%.*s", prefix, (int)code.len, code.ptr);
		return;
	}
}

static uint32_t
asn_in(MMDB_entry_s *record)
{
	static const char *const number[] = {"autonomous_system_number", NULL};
	static const char *const flat[] = {"asn", NULL};
	MMDB_entry_data_s data;
	struct span text;
	int64_t value;

	if (MMDB_aget_value(record, &data, number) != MMDB_SUCCESS ||
	    !data.has_data)
		MMDB_aget_value(record, &data, flat);
	if (data.has_data && data.type == MMDB_DATA_TYPE_UINT32)
		return data.uint32;
	if (!text_at(record, flat, &text) && !text_at(record, number, &text))
		return 0;
	if (span_starts(text, SPAN("AS"))) {
		text.ptr += 2;
		text.len -= 2;
	}
	return units_integer(text, &value) && value > 0 && value <= UINT32_MAX
	           ? (uint32_t)value
	           : 0;
}

static void
place_read(MMDB_entry_s *record, struct geo_place *out)
{
	*out = (struct geo_place){.country = (uint16_t)country_in(record)};
	out->continent = (uint8_t)continent_in(record);
	if (out->continent == CONTINENT_NONE)
		out->continent = (uint8_t)country_continent(out->country);
	subdivision_in(record, out->country, out->subdivision);
	out->asn = asn_in(record);
}

/* ---- asking ---- */

static bool
database_find(struct database *database, unsigned worker,
    const struct sockaddr *client, struct geo_place *out)
{
	int error;
	MMDB_lookup_result_s found =
	    MMDB_lookup_sockaddr(&database->mmdb, client, &error);
	uint32_t record = found.entry.offset;
	struct remembered *at;

	if (error != MMDB_SUCCESS || !found.found_entry)
		return false;
	at = &database->remembered[worker * REMEMBERED +
	                           (record * 2654435761u >> 16) % REMEMBERED];
	if (at->record != record + 1) {
		place_read(&found.entry, &at->place);
		at->record = record + 1;
	}
	*out = at->place;
	return true;
}

static void
place_add(struct geo_place *place, const struct geo_place *more)
{
	if (place->country == COUNTRY_NONE)
		place->country = more->country;
	if (place->continent == CONTINENT_NONE)
		place->continent = more->continent;
	if (place->subdivision[0] == '\0')
		memcpy(place->subdivision, more->subdivision,
		    sizeof(place->subdivision));
	if (place->asn == 0)
		place->asn = more->asn;
}

void
geo_find(struct geo *geo, unsigned worker, const struct sockaddr *client,
    struct geo_place *out)
{
	*out = (struct geo_place){.country = COUNTRY_NONE};
	for (size_t i = 0; client != NULL && i < geo->n; i++) {
		struct geo_place found;

		if (database_find(&geo->databases[i], worker, client, &found))
			place_add(out, &found);
	}
}

const struct geo_place *
geo_lookup(struct geo_lookup *lookup, const struct sockaddr *client)
{
	if (!lookup->is_done && lookup->geo != NULL)
		geo_find(lookup->geo, lookup->worker, client, &lookup->place);
	else if (!lookup->is_done)
		lookup->place = (struct geo_place){.country = COUNTRY_NONE};
	lookup->is_done = true;
	return &lookup->place;
}

bool
geo_matches(const struct geo_cfg_match *cfg, const struct geo_place *place)
{
	size_t i = 0;

	if ((cfg->has_countries &&
	        !country_set_has(&cfg->countries, place->country)) ||
	    country_set_has(&cfg->not_countries, place->country))
		return false;
	if (cfg->continents != 0 &&
	    (cfg->continents >> place->continent & 1) == 0)
		return false;
	while (i < cfg->subdivisions.n &&
	       strcmp(cfg->subdivisions.at[i], place->subdivision) != 0)
		i++;
	if (cfg->subdivisions.n > 0 && i == cfg->subdivisions.n)
		return false;
	for (i = 0; i < cfg->n_asns && cfg->asns[i] != place->asn;)
		i++;
	return cfg->n_asns == 0 || i < cfg->n_asns;
}

/* ---- opening ---- */

/* The bytes of a file in memory that nobody else can change; -1 with err. */
static int
file_copy(const char *path, struct err *err)
{
	int from = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), to = -1;
	struct stat st;
	off_t left;

	if (from < 0 || fstat(from, &st) != 0) {
		err_set(err, "%s", strerror(errno));
	} else if (!S_ISREG(st.st_mode) || st.st_size > SIZE_MAX_BYTES) {
		err_set(err, "not a file, or larger than 1 GiB");
	} else if ((to = memfd_create("weir geo", MFD_CLOEXEC)) < 0) {
		err_set(err, "no memory: %s", strerror(errno));
	} else {
		ssize_t n = 1;

		for (left = st.st_size; left > 0 && n > 0; left -= n)
			n = sendfile(to, from, NULL, (size_t)left);
		if (left > 0) {
			err_set(err, "it cannot be read: %s",
			    n == 0 ? "it is being written" : strerror(errno));
			close(to);
			to = -1;
		}
	}
	if (from >= 0)
		close(from);
	return to;
}

/* Addresses all over the place: a damaged tree or record shows itself. */
static bool
database_try(struct database *database, struct err *err)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};

	for (uint32_t i = 0; i < TRIED; i++) {
		MMDB_lookup_result_s found;
		MMDB_entry_data_list_s *all = NULL;
		int error;

		sa.sin_addr.s_addr = htonl(i * (UINT32_MAX / TRIED) + i);
		found = MMDB_lookup_sockaddr(
		    &database->mmdb, (struct sockaddr *)&sa, &error);
		if (error == MMDB_SUCCESS && found.found_entry)
			error = MMDB_get_entry_data_list(&found.entry, &all);
		MMDB_free_entry_data_list(all);
		if (error != MMDB_SUCCESS)
			return err_set(
			    err, "it is damaged: %s", MMDB_strerror(error));
	}
	return true;
}

static bool
database_open(struct database *database, const char *path, unsigned workers,
    struct err *err)
{
	int fd = file_copy(path, err), error;
	char name[32];

	if (fd < 0)
		return false;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	error = MMDB_open(name, MMDB_MODE_MMAP, &database->mmdb);
	close(fd);
	if (error != MMDB_SUCCESS)
		return err_set(err, "not a database in MaxMind's format: %s",
		    MMDB_strerror(error));
	database->is_open = true;
	database->remembered =
	    memory_take(workers * REMEMBERED, sizeof(*database->remembered));
	return database_try(database, err);
}

struct geo *
geo_open(const struct strings *paths, unsigned workers, struct err *err)
{
	struct geo *geo = memory_take(1, sizeof(*geo));

	geo->databases = memory_take(paths->n, sizeof(*geo->databases));
	for (; geo->n < paths->n; geo->n++) {
		if (database_open(&geo->databases[geo->n], paths->at[geo->n],
		        workers, err))
			continue;
		err_wrap(err, "geo.database: %s", paths->at[geo->n]);
		geo->n++;
		geo_free(&geo);
		return NULL;
	}
	return geo;
}

void
geo_free(struct geo **geo)
{
	struct geo *dead = *geo;

	*geo = NULL;
	if (dead == NULL)
		return;
	for (size_t i = 0; i < dead->n; i++) {
		if (dead->databases[i].is_open)
			MMDB_close(&dead->databases[i].mmdb);
		free(dead->databases[i].remembered);
	}
	free(dead->databases);
	free(dead);
}

/* ---- the one in use ---- */

void
registry_geo_publish(struct registry *registry, struct geo *geo)
{
	struct geo *old =
	    atomic_exchange_explicit(&registry->geo, geo, memory_order_acq_rel);

	if (old == NULL)
		return;
	old->epoch = publication_advance(&registry->publication);
	old->next = registry->retired_geo;
	registry->retired_geo = old;
}

void
geo_reap(struct registry *registry)
{
	struct geo **link = &registry->retired_geo;

	while (*link != NULL) {
		struct geo *dead = *link;

		if (!publication_has_passed(
		        &registry->publication, dead->epoch)) {
			link = &dead->next;
			continue;
		}
		*link = dead->next;
		geo_free(&dead);
	}
}
