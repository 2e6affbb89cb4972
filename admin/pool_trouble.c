/*
 * Why no request may go to a pool, in one sentence for people, and which of
 * its names have no address. Both are seen anew at each look: nothing of it is
 * kept.
 */
#include <stdio.h>
#include <string.h>

#include "admin/api/api.h"

/* A name stands for what it resolved to; everything else for itself. */
static bool
is_there(const struct pool_view *view, const struct address *address)
{
	if (address->kind != ADDRESS_NAME)
		return true;
	for (size_t i = 0; i < view->n_endpoints; i++) {
		const struct address *one = &view->endpoints[i]->address;

		if (address->service || one->service) {
			if (address->service && one->service &&
			    strcmp(one->service, address->service) == 0)
				return true;
			continue;
		}
		if (one->kind == ADDRESS_NAME && one->port == address->port &&
		    strcmp(one->host, address->host) == 0)
			return true;
	}
	return false;
}

json_t *
pool_unresolved(const struct admin *admin, const struct pool_view *view)
{
	json_t *names = json_array();
	size_t n;
	const struct endpoint_cfg *at =
	    registry_endpoints(admin->registry, view->cfg, &n);

	for (size_t i = 0; i < n; i++)
		if (!is_there(view, &at[i].address))
			json_array_append_new(
			    names, json_string(at[i].address.text));
	return names;
}

/* What all endpoints of the pool have in common, or how many are out for what.
 */
static json_t *
trouble_of_endpoints(const struct pool_view *view)
{
	size_t by_hand = 0, down = 0, ejected = 0;
	char text[200], health[160] = "";

	for (size_t i = 0; i < view->n_endpoints; i++) {
		struct endpoint *endpoint = view->endpoints[i];

		if (atomic_load_explicit(&endpoint->admin,
		        memory_order_relaxed) != ENDPOINT_ACTIVE) {
			by_hand++;
		} else if (atomic_load_explicit(
		               &endpoint->is_down, memory_order_relaxed)) {
			if (down++ == 0)
				endpoint_health(endpoint, now_mono(), health,
				    sizeof(health));
		} else {
			ejected++;
		}
	}
	health[strcspn(health, ",")] = '\0';
	if (by_hand == view->n_endpoints)
		snprintf(text, sizeof(text), "all in drain or maint: 503");
	else if (down == view->n_endpoints)
		snprintf(text, sizeof(text),
		    "all down (%s): tried all the same", health);
	else
		snprintf(text, sizeof(text),
		    "%zu down, %zu ejected, %zu in drain or maint: tried all "
		    "the same but for the last",
		    down, ejected, by_hand);
	return json_string(text);
}

json_t *
pool_trouble(const struct admin *admin, const struct pool_view *view)
{
	json_t *names, *trouble;

	if (pool_n_usable(view) > 0)
		return json_null();
	if (view->n_endpoints > 0)
		return trouble_of_endpoints(view);
	names = pool_unresolved(admin, view);
	if (json_array_size(names) == 0)
		trouble = json_string("it has no endpoint at all: 503");
	else if (json_array_size(names) == 1)
		trouble = json_sprintf("%s does not resolve: 503",
		    json_string_value(json_array_get(names, 0)));
	else
		trouble = json_sprintf("%s and %zu more do not resolve: 503",
		    json_string_value(json_array_get(names, 0)),
		    json_array_size(names) - 1);
	json_decref(names);
	return trouble;
}
