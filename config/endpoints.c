/*
 * The endpoints of one pool on their own: how the API and the journal have
 * them. They are read by the way of the whole file, so that there is one
 * syntax and one set of complaints.
 */
#include <stdlib.h>

#include "config/load/load.h"
#include "config/mem.h"
#include "config/render/render.h"

char *
endpoints_text(const struct endpoint_cfg *at, size_t n)
{
	json_t *list = json_array();
	char *text;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, endpoint_tree(&at[i]));
	text = json_dumps(list, JSON_COMPACT);
	assert(text != NULL);
	json_decref(list);
	return text;
}

/* The smallest file that has such a pool. */
static char *
file_around(const char *pool, struct span list)
{
	static const char form[] =
	    "{\"version\":1,\"listeners\":{\"a\":{\"bind\":\"127.0.0.1:1\"}},"
	    "\"routes\":[{\"name\":\"a\",\"pool\":\"%s\"}],"
	    "\"pools\":{\"%s\":{\"endpoints\":%.*s}}}\n";
	size_t cap = sizeof(form) + 2 * strlen(pool) + list.len;
	char *text = mem_new(cap, 1);

	snprintf(text, cap, form, pool, pool, (int)list.len, list.ptr);
	return text;
}

struct endpoint_cfg *
endpoints_load(
    const char *pool, struct span list, size_t *n_out, struct diags *diags_out)
{
	char *text = file_around(pool, list);
	struct config *config =
	    config_load_trusted("endpoints", span_of(text), diags_out);
	struct endpoint_cfg *at = NULL;

	free(text);
	*n_out = 0;
	if (config) {
		assert(config->n_pools == 1);
		at = config->pools[0].endpoints;
		*n_out = config->pools[0].n_endpoints;
		config->pools[0].endpoints = NULL;
		config->pools[0].n_endpoints = 0;
	}
	config_free(&config);
	return at;
}

void
endpoints_free(struct endpoint_cfg **at, size_t n)
{
	for (size_t i = 0; *at && i < n; i++)
		address_release(&(*at)[i].address);
	free(*at);
	*at = NULL;
}
