/*
 * Nanoseconds of one question: an address in 100,000 ranges, its place in a
 * database (named on the command line), a key of a rate limit among a million.
 * Then a flood of ten million keys: the memory of the table, and the longest
 * that a thousand of them took.
 */
#include "tests/unit/routing/edge.h"

#include <sys/resource.h>
#include <time.h>

#include "routing/limit/limit.h"
#include "routing/policy/cidr_set.h"
#include "routing/policy/geo.h"

enum {
	ASKED = 2000000,
	RANGES = 100000,
	KEYS = 1000000,
	FLOOD = 10000000,
	PIECE = 1000
};

static double
seconds(void)
{
	struct timespec now;

	/* of the CPU: a busy machine makes nothing dearer */
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static struct sockaddr_in
anyone(struct rng *rng)
{
	return (struct sockaddr_in){
	    .sin_family = AF_INET, .sin_addr.s_addr = (uint32_t)rng_next(rng)};
}

static void
say(const char *what, double began, uint64_t found)
{
	printf("%-40s %6.0f ns  (%.1f %% found)\n", what,
	    (seconds() - began) / ASKED * 1e9, 100.0 * (double)found / ASKED);
}

static void
bench_ranges(struct rng *rng)
{
	struct cidrs cidrs = {calloc(RANGES, sizeof(struct cidr)), RANGES};
	struct cidr_set *set;
	uint64_t found = 0;
	double began;

	for (size_t i = 0; i < RANGES; i++) {
		uint32_t base = (uint32_t)rng_next(rng) & htonl(0xffffff00);

		cidrs.at[i] = (struct cidr){
		    .bytes = {[10] = 0xff, [11] = 0xff}, .bits = 120};
		memcpy(cidrs.at[i].bytes + 12, &base, 4);
	}
	set = cidr_set_new(&cidrs);
	began = seconds();
	for (int i = 0; i < ASKED; i++) {
		struct sockaddr_in sa = anyone(rng);

		found += cidr_set_holds(set, (struct sockaddr *)&sa);
	}
	say("an address in 100,000 ranges", began, found);
	cidr_set_free(&set);
	free(cidrs.at);
}

static void
bench_geo(struct rng *rng, char *path)
{
	struct strings paths = {&path, 1};
	struct err err;
	struct geo *geo = geo_open(&paths, 1, &err);
	uint64_t found = 0;
	double began;

	if (geo == NULL) {
		printf("%s\n", err.text);
		return;
	}
	began = seconds();
	for (int i = 0; i < ASKED; i++) {
		struct sockaddr_in sa = anyone(rng);
		struct geo_place place;

		geo_find(geo, 0, (struct sockaddr *)&sa, &place);
		found += place.country != COUNTRY_NONE;
	}
	say("the place of an address", began, found);
	geo_free(&geo);
}

static void
bench_limit(struct rng *rng)
{
	struct limit_cfg cfg = {.rate = {1000, NSEC_PER_SEC}, .burst = 5};
	struct limit_rule rule = limit_rule_of(&cfg);
	struct limit_table *table = limit_table_new();
	struct limit_answer answer;
	uint64_t found = 0;
	double began;

	for (uint64_t i = 0; i < KEYS; i++)
		limit_table_take(
		    table, hash_keyed(edge_secret, &i, 8), &rule, 0, &answer);
	began = seconds();
	for (int i = 0; i < ASKED; i++) {
		uint64_t key = rng_below(rng, KEYS);

		found +=
		    limit_table_take(table, hash_keyed(edge_secret, &key, 8),
		        &rule, limit_ticks(i), &answer) != LIMIT_REFUSED;
	}
	say("a key among a million", began, found);
	limit_table_free(&table);
}

static void
bench_flood(void)
{
	struct limit_cfg cfg = {.rate = {1, NSEC_PER_SEC}, .burst = 100};
	struct limit_rule rule = limit_rule_of(&cfg);
	struct limit_table *table = limit_table_new();
	double began = seconds(), longest = 0, at = began;
	struct limit_answer answer;
	struct rusage usage;

	for (uint64_t i = 0; i < FLOOD; i++) {
		limit_table_take(table, hash_keyed(edge_secret, &i, 8), &rule,
		    limit_ticks((nsec_t)i * 100), &answer);
		if (i % PIECE == PIECE - 1) {
			double now = seconds();

			longest = now - at > longest ? now - at : longest;
			at = now;
		}
	}
	getrusage(RUSAGE_SELF, &usage);
	printf("%-40s %6.0f ns\n", "a key of a flood of ten million",
	    (at - began) / FLOOD * 1e9);
	printf(
	    "%-40s %6.1f ms\n", "the longest thousand of them", longest * 1e3);
	printf("%-40s %6ld MiB\n", "resident at most, after ten million keys",
	    usage.ru_maxrss / 1024);
	limit_table_free(&table);
}

int
main(int argc, char **argv)
{
	struct edge edge;

	edge_seed(&edge, 1);
	bench_ranges(&edge.rng);
	bench_limit(&edge.rng);
	bench_flood();
	if (argc > 1)
		bench_geo(&edge.rng, argv[1]);
	return 0;
}
