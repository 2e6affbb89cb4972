/*
 * How a pool keeps standing when its endpoints misbehave: health checks,
 * ejection, limits, slow start.
 */
#include <stdio.h>

#include "config/load/load.h"
#include "config/mem.h"
#include "config/value.h"

/* ---- health checks ---- */

enum { EXPECT_MAX = 16 };

static void
refuse(struct load *load, const struct node *node, enum diag_code code,
    const char *hint, const char *what)
{
	char where[WHERE_MAX];

	report_add(load->report, code, node_place(node), hint, "%s: %s",
	    node_where(node, where), what);
}

/* "200" or "200-299". */
static bool
statuses_parse(struct span text, uint16_t *from, uint16_t *to)
{
	struct span end = text;
	int64_t lo, hi;

	if (text.len == 7 && text.ptr[3] == '-') {
		end = (struct span){text.ptr + 4, 3};
		text.len = 3;
	}
	if (!units_integer(text, &lo) || !units_integer(end, &hi) || lo < 100 ||
	    hi > 599 || lo > hi)
		return false;
	*from = (uint16_t)lo;
	*to = (uint16_t)hi;
	return true;
}

static void
load_expect(struct load *load, const struct node *map, struct health_cfg *cfg)
{
	struct entries written = field_entries(map, ROW_HEALTH_EXPECT);
	struct strings all = field_strings(map, ROW_HEALTH_EXPECT);

	if (written.n > EXPECT_MAX)
		refuse(load, written.at[EXPECT_MAX], DIAG_TOO_MANY, NULL,
		    "at most 16 are possible");
	for (size_t i = 0; i < all.n; i++) {
		if (cfg->n_expect == EXPECT_MAX) {
			free(all.at[i]);
			continue;
		}
		if (statuses_parse(span_of(all.at[i]),
		        &cfg->expect[cfg->n_expect].from,
		        &cfg->expect[cfg->n_expect].to))
			cfg->n_expect++;
		else if (i < written.n)
			refuse(load, written.at[i], DIAG_NUMBER,
			    "write 200 or 200-299",
			    "this is no status, nor a range of them");
		free(all.at[i]);
	}
	free(all.at);
}

static void
load_health_path(
    struct load *load, const struct node *map, struct health_cfg *cfg)
{
	static const enum row_id needs[] = {ROW_HEALTH_METHOD,
	    ROW_HEALTH_EXPECT, ROW_HEALTH_BODY, ROW_HEALTH_HEADERS};
	const struct node *path = field(map, ROW_HEALTH_PATH);

	if (cfg->grpc)
		return;
	cfg->path = field_text(map, ROW_HEALTH_PATH);
	for (const char *p = cfg->path; p && *p; p++) {
		if (cfg->path[0] == '/' && *p > ' ' && *p < 0x7f && *p != '#')
			continue;
		refuse(load, path, DIAG_PATTERN, "write \"/ready\"",
		    "the path begins with '/' and holds no space");
		return;
	}
	for (size_t i = 0; i < sizeof(needs) / sizeof(needs[0]); i++)
		if (field(map, needs[i]) && node_get(map, SPAN("path")) == NULL)
			refuse(load, field(map, needs[i]), DIAG_CONFLICT,
			    "add path: /ready",
			    "without a path only a connection is made");
}

/*
 * gRPC's own check: its path and what is good are the protocol's. "true" is
 * what people write who expect a switch; no service has that name.
 */
static void
load_health_grpc(struct load *load, const struct node *map, bool is_h2,
    struct health_cfg *cfg)
{
	static const enum row_id others[] = {ROW_HEALTH_PATH, ROW_HEALTH_METHOD,
	    ROW_HEALTH_EXPECT, ROW_HEALTH_BODY};
	const struct node *grpc = field(map, ROW_HEALTH_GRPC);

	cfg->grpc = field_text(map, ROW_HEALTH_GRPC);
	if (cfg->grpc == NULL)
		return;
	cfg->path = mem_text(SPAN("/grpc.health.v1.Health/Check"));
	if (span_eq(grpc->text, SPAN("true")) ||
	    span_eq(grpc->text, SPAN("false")))
		refuse(load, grpc, DIAG_TEXT,
		    "write grpc: \"\" for the server as a whole",
		    "this is the name of a service, not a switch");
	if (!is_h2)
		refuse(load, grpc, DIAG_CONFLICT,
		    "add protocol: h2 to the pool",
		    "gRPC is spoken over HTTP/2 only");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (field(map, others[i]))
			refuse(load, field(map, others[i]), DIAG_CONFLICT,
			    "take one of both away",
			    "with grpc the path, the method and what is good "
			    "are gRPC's");
}

static void
load_health_headers(
    struct load *load, const struct node *map, struct health_cfg *cfg)
{
	struct entries all = field_entries(map, ROW_HEALTH_HEADERS);

	cfg->headers = field_pairs(map, ROW_HEALTH_HEADERS, &cfg->n_headers);
	for (size_t i = 0; i < all.n; i++)
		if ((!header_is_settable(all.at[i]->key) &&
		        !span_ieq(all.at[i]->key, SPAN("host"))) ||
		    (cfg->grpc &&
		        span_ieq(all.at[i]->key, SPAN("content-type"))))
			refuse(load, all.at[i], DIAG_HEADER, NULL,
			    "this header belongs to weir");
}

static void
load_health(struct load *load, const struct node *map, bool is_h2,
    struct health_cfg *cfg)
{
	const struct node *body = field(map, ROW_HEALTH_BODY);

	if (map == NULL)
		return;
	cfg->is_on = true;
	load_health_grpc(load, map, is_h2, cfg);
	load_health_path(load, map, cfg);
	cfg->is_head = field_word(map, ROW_HEALTH_METHOD) == 1;
	cfg->interval = field_duration(map, ROW_HEALTH_INTERVAL);
	cfg->timeout = field_duration(map, ROW_HEALTH_TIMEOUT);
	cfg->rise = (unsigned)field_number(map, ROW_HEALTH_RISE);
	cfg->fall = (unsigned)field_number(map, ROW_HEALTH_FALL);
	load_expect(load, map, cfg);
	cfg->body = field_text(map, ROW_HEALTH_BODY);
	if (cfg->body && cfg->is_head)
		refuse(load, body, DIAG_CONFLICT, "write method: GET",
		    "an answer to HEAD has no body");
	load_health_headers(load, map, cfg);
	cfg->port = (uint16_t)field_number(map, ROW_HEALTH_PORT);
}

/* ---- ejection ---- */

static void
load_outliers(const struct node *map, struct outliers_cfg *cfg)
{
	cfg->is_on = map != NULL;
	cfg->consecutive = (unsigned)field_number(map, ROW_OUTLIER_ROW);
	cfg->eject = field_duration(map, ROW_OUTLIER_EJECT);
	cfg->max_ejected = field_percent(map, ROW_OUTLIER_MAX);
}

/* ---- limits ---- */

static void
load_adaptive(
    struct load *load, const struct node *limits, struct pool_limits_cfg *cfg)
{
	const struct node *node = field(limits, ROW_ADAPTIVE);
	const struct node *map = node && node->kind == NODE_MAP ? node : NULL;
	const struct node *min = field(map, ROW_ADAPTIVE_MIN);

	cfg->adaptive.is_on = map || field_number(limits, ROW_ADAPTIVE) != 0;
	if (!cfg->adaptive.is_on)
		return;
	cfg->adaptive.min = (uint32_t)field_number(map, ROW_ADAPTIVE_MIN);
	cfg->adaptive.tolerance = field_percent(map, ROW_ADAPTIVE_TOLERANCE);
	if (min && cfg->adaptive.min > cfg->in_flight)
		refuse(
		    load, min, DIAG_CONFLICT, NULL, "this is above in_flight");
	else if (cfg->adaptive.min > cfg->in_flight)
		cfg->adaptive.min = cfg->in_flight;
}

static void
load_limits(
    struct load *load, const struct node *map, struct pool_limits_cfg *cfg)
{
	const struct node *timeout = field(map, ROW_POOL_QUEUE_TIMEOUT);

	if (map == NULL)
		return;
	cfg->in_flight = (uint32_t)field_number(map, ROW_POOL_IN_FLIGHT);
	cfg->queue = (uint32_t)field_number(map, ROW_POOL_QUEUE);
	cfg->queue_timeout = field_duration(map, ROW_POOL_QUEUE_TIMEOUT);
	if (timeout && cfg->queue == 0)
		refuse(load, timeout, DIAG_CONFLICT, "add queue: 256",
		    "without a queue nobody waits");
	load_adaptive(load, map, cfg);
}

void
load_resilience(struct load *load, const struct node *map, struct pool_cfg *cfg)
{
	load_health(load, field(map, ROW_HEALTH), cfg->protocol == PROTOCOL_H2,
	    &cfg->health);
	load_outliers(field(map, ROW_OUTLIERS), &cfg->outliers);
	load_limits(load, field(map, ROW_POOL_LIMITS), &cfg->limits);
	cfg->is_timed =
	    cfg->balance == BALANCE_EWMA || cfg->limits.adaptive.is_on;
	cfg->slow_start = field_duration(map, ROW_SLOW_START);
	cfg->drain = field_word(map, ROW_POOL_DRAIN) != NODE_ABSENT
	                 ? CONFIG_NEVER
	                 : field_duration(map, ROW_POOL_DRAIN);
}
