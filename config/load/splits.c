/*
 * splits: weights that add up, a stable pool among them, pins.
 */
#include <stdio.h>

#include "config/load/load.h"
#include "config/mem.h"

/* ---- weights ---- */

static void
refuse_sum(struct load *load, const struct node *weights, unsigned sum)
{
	char where[WHERE_MAX], text[32];

	snprintf(text, sizeof(text), "%u.%02u", sum / 100, sum % 100);
	if (sum % 100 == 0)
		snprintf(text, sizeof(text), "%u", sum / 100);
	report_add(load->report, DIAG_WEIGHT_SUM, weights->key_at, NULL,
	    "%s: the weights add up to %s, not 100", node_where(weights, where),
	    text);
}

static void
refuse_unstable(struct load *load, const struct node *weights,
    const struct node *stable, unsigned sum)
{
	char where[WHERE_MAX], hint[160], rest[16];

	units_print_percent(
	    (bp_t)(sum <= BP_ALL ? BP_ALL - sum : 0), rest, sizeof(rest));
	snprintf(hint, sizeof(hint), "add %.*s: %s", (int)stable->text.len,
	    stable->text.ptr, rest);
	report_add(load->report, DIAG_STABLE, weights->key_at, hint,
	    "%s: the stable pool \"%.*s\" has no weight",
	    node_where(weights, where), (int)stable->text.len,
	    stable->text.ptr);
}

static void
load_weights(struct load *load, const struct node *map, struct split_cfg *cfg)
{
	struct entries all = field_entries(map, ROW_WEIGHTS);
	const struct node *weights = field(map, ROW_WEIGHTS);
	const struct node *stable = field(map, ROW_STABLE);
	bool is_whole = true;
	unsigned sum = 0;
	char where[WHERE_MAX];

	if (weights == NULL) {
		cfg->weights[0] = (struct weight_cfg){cfg->stable, BP_ALL};
		cfg->n_weights = 1;
		return;
	}
	if (all.n > CONFIG_SPLIT_POOLS_MAX) {
		report_add(load->report, DIAG_TOO_MANY, weights->key_at, NULL,
		    "%s: a split has at most %d pools",
		    node_where(weights, where), CONFIG_SPLIT_POOLS_MAX);
		return;
	}
	for (size_t i = 0; i < all.n; i++) {
		const struct node *one = all.at[i];
		long pool = load->pools ? node_find(load->pools, one->key) : 0;

		is_whole &= !one->is_bad && pool >= 0;
		sum += (unsigned)one->number;
		cfg->weights[cfg->n_weights++] = (struct weight_cfg){
		    (uint32_t)(pool < 0 ? 0 : pool), (bp_t)one->number};
	}
	if (!is_whole)
		return; /* told already; the sum would only confuse */
	if (stable && node_find(weights, stable->text) < 0)
		refuse_unstable(load, weights, stable, sum);
	else if (sum != BP_ALL)
		refuse_sum(load, weights, sum);
}

/* ---- pins ---- */

/* {name: value} with exactly one entry. */
static bool
load_pair(struct load *load, const struct node *map, enum row_id id,
    struct header_pair *out)
{
	const struct node *node = field(map, id);
	struct entries all = field_entries(map, id);
	char where[WHERE_MAX];

	if (node == NULL)
		return false;
	if (all.n != 1) {
		report_add(load->report, DIAG_TOO_MANY, node->key_at,
		    "write {name: value}", "%s: exactly one is expected",
		    node_where(node, where));
		return false;
	}
	if (all.at[0]->is_bad)
		return false;
	out->name = id == ROW_PIN_HEADER ? text_lower(all.at[0]->key)
	                                 : mem_text(all.at[0]->key);
	out->value = mem_text(all.at[0]->text);
	return true;
}

static void
load_pin(struct load *load, const struct node *map, struct pin_cfg *cfg)
{
	struct header_pair header = {0}, cookie = {0};
	char where[WHERE_MAX];

	load_pair(load, map, ROW_PIN_HEADER, &header);
	load_pair(load, map, ROW_PIN_COOKIE, &cookie);
	cfg->header = header.name;
	cfg->header_value = header.value;
	cfg->cookie = cookie.name;
	cfg->cookie_value = cookie.value;
	cfg->from = field_cidrs(map, ROW_PIN_FROM);
	cfg->pool = load_index(load->pools, field(map, ROW_PIN_POOL));
	if (!node_get(map, SPAN("header")) && !node_get(map, SPAN("cookie")) &&
	    !node_get(map, SPAN("from")))
		report_add(load->report, DIAG_MISSING_KEY, map->at,
		    "give header, cookie or from",
		    "%s: the pin would take every request",
		    node_where(map, where));
}

/* ---- one split ---- */

static void
load_affinity(struct load *load, const struct node *map, struct split_cfg *cfg)
{
	const struct node *affinity = field(map, ROW_AFFINITY);
	const struct node *ttl = field(affinity, ROW_AFFINITY_TTL);
	char where[WHERE_MAX];

	cfg->affinity.by = (unsigned)field_word(affinity, ROW_AFFINITY_BY);
	cfg->affinity.ttl = field_duration(affinity, ROW_AFFINITY_TTL);
	load_key(
	    load, affinity, ROW_AFFINITY_BY, ROW_AFFINITY_NAME, &cfg->affinity);
	if (ttl && cfg->affinity.by != KEY_COOKIE)
		report_add(load->report, DIAG_CONFLICT, ttl->key_at, NULL,
		    "%s: only a cookie has a ttl", node_where(affinity, where));
}

static void
load_mirror(struct load *load, const struct node *map, struct mirror_cfg *cfg)
{
	struct strings methods;

	if (map == NULL)
		return;
	methods = field_strings(map, ROW_MIRROR_METHODS);
	cfg->is_on = true;
	cfg->to = load_index(load->pools, field(map, ROW_MIRROR_TO));
	cfg->percent = field_percent(map, ROW_MIRROR_PERCENT);
	cfg->max_body = (uint64_t)field_number(map, ROW_MIRROR_BODY);
	for (size_t i = 0; i < methods.n; i++) {
		cfg->methods |= 1u << method_of(span_of(methods.at[i]));
		free(methods.at[i]);
	}
	free(methods.at);
}

static void
load_split(struct load *load, const struct node *map, struct split_cfg *cfg)
{
	struct entries pins = field_entries(map, ROW_PINS);

	cfg->name = mem_text(map->key);
	cfg->stable = load_index(load->pools, field(map, ROW_STABLE));
	load_weights(load, map, cfg);
	load_affinity(load, map, cfg);
	load_mirror(load, field(map, ROW_MIRROR), &cfg->mirror);
	cfg->shield = field_bool(map, ROW_SHIELD);
	if (pins.n > 0)
		cfg->pins = mem_new(pins.n, sizeof(*cfg->pins));
	for (; cfg->n_pins < pins.n; cfg->n_pins++)
		load_pin(load, pins.at[cfg->n_pins], &cfg->pins[cfg->n_pins]);
}

void
load_splits(struct load *load)
{
	struct config *config = load->config;
	struct entries all = field_entries(load->root, ROW_SPLITS);

	if (load->splits == NULL)
		return;
	config->splits = mem_new(all.n, sizeof(*config->splits));
	for (; config->n_splits < all.n; config->n_splits++)
		load_split(load, all.at[config->n_splits],
		    &config->splits[config->n_splits]);
}
