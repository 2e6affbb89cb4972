/*
 * Endpoints of a pool that were replaced while it runs. The file goes on to own
 * the pool; the set stands in for its list for as long as that list is the one
 * it was meant to replace (the merge of a reload: what the file said, what it
 * says, what runs).
 */
#include <string.h>

#include "routing/memory.h"
#include "routing/registry.h"

void
endpoint_set_free(struct endpoint_set **set)
{
	struct endpoint_set *dead = *set;

	*set = NULL;
	if (dead == NULL)
		return;
	endpoints_free(&dead->at, dead->n);
	free(dead->pool);
	free(dead->file);
	free(dead->changed_by);
	free(dead->reason);
	free(dead);
}

struct endpoint_set *
registry_take_set(struct registry *registry, const char *pool)
{
	struct endpoint_set **link = &registry->sets, *found;

	while (*link != NULL && strcmp((*link)->pool, pool) != 0)
		link = &(*link)->next;
	found = *link;
	if (found != NULL) {
		*link = found->next;
		found->next = NULL;
	}
	return found;
}

void
registry_put_set(struct registry *registry, struct endpoint_set *set)
{
	struct endpoint_set *before = registry_take_set(registry, set->pool);

	endpoint_set_free(&before);
	set->next = registry->sets;
	registry->sets = set;
}

const struct endpoint_set *
registry_set(const struct registry *registry, const char *pool)
{
	const struct endpoint_set *set = registry->sets;

	while (set != NULL && strcmp(set->pool, pool) != 0)
		set = set->next;
	return set;
}

const struct endpoint_set *
registry_set_at(const struct registry *registry, size_t i)
{
	const struct endpoint_set *set = registry->sets;

	while (set != NULL && i-- > 0)
		set = set->next;
	return set;
}

bool
endpoint_set_holds(const struct endpoint_set *set, const struct pool_cfg *cfg)
{
	char *file = endpoints_text(cfg->endpoints, cfg->n_endpoints);
	bool is_same = strcmp(file, set->file) == 0;

	free(file);
	return is_same;
}

const struct endpoint_cfg *
registry_endpoints(
    const struct registry *registry, const struct pool_cfg *cfg, size_t *n_out)
{
	const struct endpoint_set *set = registry_set(registry, cfg->name);
	bool is_replaced = set != NULL && endpoint_set_holds(set, cfg);

	*n_out = is_replaced ? set->n : cfg->n_endpoints;
	return is_replaced ? set->at : cfg->endpoints;
}
