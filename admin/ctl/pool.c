/* weirctl pool, endpoint, cert. */
#include <stdlib.h>
#include <string.h>

#include "admin/ctl/ctl.h"

/* ---- pool ---- */

static void
add_endpoint(struct ctl_table *table, const json_t *pool, const json_t *row)
{
	const json_t *down = json_object_get(row, "down");
	const json_t *health = json_object_get(row, "health");
	const char *state = ctl_text(health, "state");
	bool is_up = json_is_true(json_object_get(row, "up"));

	ctl_table_cell(table, "%s", ctl_text(pool, "name"));
	ctl_table_cell(table, "%s", ctl_text(row, "address"));
	ctl_table_cell(table, "%s",
	    json_is_true(json_object_get(row, "standby")) &&
	            strcmp(ctl_text(row, "state"), "active") == 0
	        ? "standby"
	        : ctl_text(row, "state"));
	ctl_table_cell(table, "%s", state);
	ctl_table_cell(table, "%.0f", ctl_number(row, "in_flight"));
	ctl_table_cell(table, "%.0f", ctl_number(row, "requests"));
	ctl_table_cell(table, "%s", ctl_text(row, "from"));
	if (!is_up)
		ctl_table_cell(table, "%s", ctl_text(down, "reason"));
	else if (strcmp(state, "ejected") == 0)
		ctl_table_cell(table, "%s", ctl_text(health, "text"));
	else
		ctl_table_cell(table, "%s",
		    json_object_get(health, "check") ? ctl_text(health, "check")
		                                     : "");
}

static struct ctl_table *
endpoint_table(void)
{
	static const char *const heads[] = {"POOL", "ENDPOINT", "STATE",
	    "HEALTH", "IN FLIGHT", "REQUESTS", "FROM", "REASON"};

	return ctl_table_new(heads, 8);
}

static void
add_pool(struct ctl_table *table, const json_t *pool)
{
	json_t *endpoints = json_object_get(pool, "endpoints"), *row;
	size_t i;

	json_array_foreach (endpoints, i, row)
		add_endpoint(table, pool, row);
	if (json_array_size(endpoints) > 0)
		return;
	ctl_table_cell(table, "%s", ctl_text(pool, "name"));
	for (i = 0; i < 5; i++)
		ctl_table_cell(table, "-");
	ctl_table_cell(table, "%s", ctl_text(pool, "trouble"));
}

/* "limit: 37 of 512 (steady), 36 in use, 4 waiting; answers take 12ms, usually
 * 9ms" */
static void
print_limits(const json_t *limits)
{
	const json_t *adaptive = json_object_get(limits, "adaptive");
	bool is_adaptive = json_is_object(adaptive);
	char latest[24], usual[24];

	if (!limits)
		return;
	ctl_print_ms(
	    latest, sizeof(latest), json_object_get(adaptive, "latest_ms"));
	ctl_print_ms(
	    usual, sizeof(usual), json_object_get(adaptive, "usual_ms"));
	if (is_adaptive)
		printf("limit: %.0f of %.0f (%s)",
		    ctl_number(adaptive, "limit"),
		    ctl_number(limits, "in_flight"),
		    ctl_text(adaptive, "state"));
	else
		printf("limit: %.0f", ctl_number(limits, "in_flight"));
	printf(", %.0f in use, %.0f waiting", ctl_number(limits, "taken"),
	    ctl_number(limits, "waiting"));
	if (is_adaptive)
		printf("; answers take %s, usually %s", latest, usual);
	putchar('\n');
}

static void
print_pool(const json_t *pool)
{
	struct ctl_table *table = endpoint_table();
	char p50[24], p95[24], p99[24];

	ctl_print_ms(p50, sizeof(p50), json_object_get(pool, "p50_ms"));
	ctl_print_ms(p95, sizeof(p95), json_object_get(pool, "p95_ms"));
	ctl_print_ms(p99, sizeof(p99), json_object_get(pool, "p99_ms"));
	printf("%s: %.1f requests/s, %.2f%% failures, p50 %s, p95 %s, p99 %s\n",
	    ctl_text(pool, "name"), ctl_number(pool, "rate"),
	    ctl_number(pool, "error_rate") * 100, p50, p95, p99);
	print_limits(json_object_get(pool, "limits"));
	add_pool(table, pool);
	ctl_table_print(&table, stdout);
	if (json_is_true(json_object_get(pool, "panic")))
		puts("all endpoints are out: they get requests all the same");
}

static void
print_pools(const json_t *answer)
{
	struct ctl_table *table = endpoint_table();
	json_t *pool;
	size_t i;

	json_array_foreach (json_object_get(answer, "pools"), i, pool)
		add_pool(table, pool);
	ctl_table_print(&table, stdout);
}

static int
show_pool(struct ctl *ctl, const char *name)
{
	return ctl_show_path(ctl, ctl_path("/v1/pools/", name, ""), print_pool);
}

int
ctl_pool(struct ctl *ctl)
{
	if (ctl->n_words == 0 ||
	    (ctl->n_words == 1 && strcmp(ctl->words[0], "list") == 0))
		return ctl_show_path(ctl, strdup("/v1/pools"), print_pools);
	if (ctl->n_words == 1)
		return show_pool(ctl, ctl->words[0]);
	if (ctl->n_words == 2 && strcmp(ctl->words[0], "show") == 0)
		return show_pool(ctl, ctl->words[1]);
	return ctl_usage(
	    ctl, "unexpected \"%s\"", ctl->words[ctl->n_words - 1]);
}

/* ---- endpoint ---- */

static bool
pool_has(const json_t *pool, const char *address)
{
	json_t *row;
	size_t i;

	json_array_foreach (json_object_get(pool, "endpoints"), i, row)
		if (strcmp(ctl_text(row, "address"), address) == 0 ||
		    strcmp(ctl_text(row, "from"), address) == 0)
			return true;
	return false;
}

static int
unknown_address(const json_t *pools, const char *address)
{
	const char *words[128];
	size_t n = 0, i, j;
	json_t *pool, *row;

	json_array_foreach (pools, i, pool)
		json_array_foreach (json_object_get(pool, "endpoints"), j, row)
			if (n < 128)
				words[n++] = ctl_text(row, "address");
	return ctl_unknown("endpoint", address, words, n);
}

/* All of them by name, or the first few. */
static int
refuse_many(struct ctl *ctl, const json_t *pools, const char *address)
{
	char names[400] = "";
	size_t n = 0, len = 0, i;
	json_t *pool;

	json_array_foreach (pools, i, pool) {
		if (!pool_has(pool, address))
			continue;
		n++;
		if (len + CONFIG_NAME_MAX + 8 < sizeof(names))
			len += (size_t)snprintf(names + len,
			    sizeof(names) - len, "%s%s", n > 1 ? ", " : "",
			    ctl_text(pool, "name"));
		else if (names[len - 1] != '.')
			len += (size_t)snprintf(
			    names + len, sizeof(names) - len, ", ...");
	}
	return ctl_usage(ctl, "%s is in %zu pools (%s): say which with --pool",
	    address, n, names);
}

/* The pool that has the address, when exactly one has. */
static int
find_pool(
    struct ctl *ctl, const json_t *pools, const char *address, const char **out)
{
	const char *found = NULL;
	json_t *pool;
	size_t i;

	json_array_foreach (pools, i, pool) {
		const char *name = ctl_text(pool, "name");

		if (!pool_has(pool, address) ||
		    (ctl->pool && strcmp(ctl->pool, name) != 0))
			continue;
		if (found)
			return refuse_many(ctl, pools, address);
		found = name;
	}
	*out = found;
	return found ? CTL_OK : unknown_address(pools, address);
}

static int
put_state(struct ctl *ctl, const char *pool, const char *address,
    const char *state, struct ctl_answer *answer)
{
	char *head = ctl_path("/v1/pools/", pool, "/endpoints/");
	char *path = head ? ctl_path(head, address, "/state") : NULL;

	free(head);
	return ctl_change(
	    ctl, "PUT", path, json_pack("{s:s}", "state", state), answer);
}

static int
set_states(struct ctl *ctl, const json_t *pools, const char *state)
{
	struct ctl_answer answer = {0};
	const char *pool = "";
	int code = CTL_OK;

	for (size_t i = 0; i + 1 < ctl->n_words && code == CTL_OK; i++) {
		ctl_answer_release(&answer);
		code = find_pool(ctl, pools, ctl->words[i], &pool);
		if (code == CTL_OK)
			code =
			    put_state(ctl, pool, ctl->words[i], state, &answer);
	}
	if (code == CTL_OK)
		return ctl_show(ctl, &answer, print_pool);
	ctl_answer_release(&answer);
	return code;
}

int
ctl_endpoint(struct ctl *ctl)
{
	static const char *const states[] = {"active", "drain", "maint"};
	const char *state, *near;
	struct ctl_answer answer;
	int code;

	if (ctl->n_words < 2)
		return ctl_usage(ctl, "an address and active, drain or maint");
	state = ctl->words[ctl->n_words - 1];
	for (size_t i = 0; i < 3; i++) {
		if (strcmp(state, states[i]) != 0)
			continue;
		code = ctl_get(ctl, "/v1/pools", &answer);
		if (code == CTL_OK) {
			code = set_states(
			    ctl, json_object_get(answer.json, "pools"), state);
			ctl_answer_release(&answer);
		}
		return code;
	}
	near = suggest(span_of(state), states, 3);
	return ctl_usage(ctl,
	    "the state is active, drain or maint, not \"%s\"%s%s", state,
	    near ? "; did you mean " : "", near ? near : "");
}

/* ---- cert ---- */

static void
print_certificates(const json_t *answer)
{
	static const char *const heads[] = {
	    "NAMES", "ENDS", "DAYS LEFT", "KEY", "FILE"};
	struct ctl_table *table = ctl_table_new(heads, 5);
	json_t *list = json_object_get(answer, "certificates"), *row;
	size_t i;

	json_array_foreach (list, i, row) {
		const char *path = ctl_text(row, "path");

		ctl_table_cell(table, "%s", ctl_text(row, "names"));
		ctl_table_cell(table, "%s", ctl_text(row, "not_after"));
		ctl_table_cell(table, "%.0f", ctl_number(row, "days_left"));
		ctl_table_cell(table, "%s", ctl_text(row, "key"));
		ctl_table_cell(table, "%s", *path ? path : "(in memory)");
	}
	ctl_table_print(&table, stdout);
	if (json_array_size(list) == 0)
		puts("no listener has TLS");
}

int
ctl_cert(struct ctl *ctl)
{
	if (ctl->n_words > 0)
		return ctl_usage(ctl, "unexpected \"%s\"", ctl->words[0]);
	return ctl_show_path(
	    ctl, strdup("/v1/certificates"), print_certificates);
}
