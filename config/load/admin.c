/*
 * admin and logs. The rule that matters: the API that steers traffic is never
 * in the clear on an address that others can reach.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "config/load/load.h"
#include "config/mem.h"

static bool
is_loopback(const struct address *address)
{
	const struct sockaddr *sa = (const struct sockaddr *)&address->sa;
	struct cidrs loopback;
	struct cidr ranges[2];

	if (address->kind == ADDRESS_UNIX)
		return true;
	cidr_parse(SPAN("127.0.0.0/8"), &ranges[0]);
	cidr_parse(SPAN("::1"), &ranges[1]);
	loopback = (struct cidrs){ranges, 2};
	return cidrs_hold(&loopback, sa);
}

static void
check_open(struct load *load, const struct node *admin)
{
	struct entries entries = field_entries(admin, ROW_ADMIN_LISTEN);
	const struct admin_cfg *cfg = &load->config->admin;

	for (size_t i = 0; i < cfg->n_listen; i++) {
		const struct node *node = NULL;

		if (cfg->has_tls || is_loopback(&cfg->listen[i]))
			continue;
		if (report_is_full(load->report))
			return; /* the address is looked for among all */
		for (size_t j = 0; j < entries.n; j++) {
			if (span_eq(entries.at[j]->text,
			        span_of(cfg->listen[i].text)))
				node = entries.at[j];
		}
		assert(node != NULL); /* the default is a unix socket */
		report_add(load->report, DIAG_ADMIN_OPEN, node->at,
		    "listen on 127.0.0.1 or a unix socket, or give admin.tls",
		    "admin.listen: %s would be open to others",
		    cfg->listen[i].text);
	}
}

static void
check_rules(struct load *load, const struct node *admin)
{
	const struct admin_cfg *cfg = &load->config->admin;
	const struct node *listen = field(admin, ROW_ADMIN_LISTEN);
	bool has_tcp = false, has_rule = false;

	for (size_t i = 0; i < cfg->n_listen; i++)
		has_tcp |= cfg->listen[i].kind == ADDRESS_IP;
	for (size_t i = 0; i < cfg->n_access; i++)
		has_rule |= cfg->access[i].kind != WHO_UID;
	if (has_tcp && !has_rule && listen)
		report_add(load->report, DIAG_ADMIN_NO_RULE, node_place(listen),
		    "add to admin.access: {who: \"token:ops\", secret: {file: "
		    "PATH}, role: admin}",
		    "admin.listen: nobody can use the TCP address without a "
		    "token or certificate rule");
}

static void
refuse_who(struct load *load, const struct node *who, const char *what)
{
	char where[WHERE_MAX];

	report_add(load->report, DIAG_TEXT, who->at,
	    "write uid:NUMBER, token:NAME or cert:FIELD=VALUE", "%s: %s",
	    node_where(who, where), what);
}

static void
read_who(struct load *load, const struct node *map, struct access_rule *rule)
{
	const struct node *who = field(map, ROW_ACCESS_WHO);
	const struct node *secret = node_get(map, SPAN("secret"));
	struct span text = who ? who->text : SPAN("");
	int64_t uid = -1;

	if (who == NULL)
		return;
	if (span_starts(text, SPAN("uid:"))) {
		rule->kind = WHO_UID;
		if (!units_integer(
		        (struct span){text.ptr + 4, text.len - 4}, &uid) ||
		    uid < 0 || uid >= UINT32_MAX)
			refuse_who(load, who, "the uid is not a number");
		rule->uid = (uint32_t)uid;
	} else if (span_starts(text, SPAN("token:")) && text.len > 6) {
		rule->kind = WHO_TOKEN;
		if (secret == NULL)
			report_add(load->report, DIAG_MISSING_KEY,
			    node_place(who), "add secret: {file: PATH}",
			    "\"secret\" is missing for %.*s",
			    (int)who->written.len, who->written.ptr);
	} else if (span_starts(text, SPAN("cert:")) &&
	           memchr(text.ptr, '=', text.len)) {
		rule->kind = WHO_CERT;
		if (load->config->admin.tls_client_ca == NULL)
			report_add(load->report, DIAG_CONFLICT, who->at,
			    "give admin.tls.client_ca",
			    "%.*s needs client certificates, but nobody "
			    "verifies them",
			    (int)who->written.len, who->written.ptr);
	} else {
		refuse_who(load, who, "this is nobody that weir can tell");
	}
	if (secret && rule->kind != WHO_TOKEN)
		report_add(load->report, DIAG_CONFLICT, secret->key_at, NULL,
		    "only token:NAME has a secret");
}

static void
load_rule(struct load *load, const struct node *map, struct access_rule *rule)
{
	rule->who = field_text(map, ROW_ACCESS_WHO);
	rule->secret = load_secret(load, map, ROW_ACCESS_SECRET);
	rule->role = ROLE_VIEWER + (unsigned)field_word(map, ROW_ACCESS_ROLE);
	rule->splits = field_strings(map, ROW_ACCESS_SPLITS);
	read_who(load, map, rule);
}

void
load_admin(struct load *load)
{
	struct admin_cfg *cfg = &load->config->admin;
	const struct node *admin = field(load->root, ROW_ADMIN);
	const struct node *tls = field(admin, ROW_ADMIN_TLS);
	struct entries rules = field_entries(admin, ROW_ACCESS);
	const struct node *metrics =
	    field(field(admin, ROW_METRICS), ROW_METRICS_LISTEN);
	struct err err;

	cfg->listen = load_addresses(admin, ROW_ADMIN_LISTEN, &cfg->n_listen);
	if (tls) {
		cfg->has_tls = true;
		cfg->tls =
		    load_key_pair(load, tls, ROW_ADMIN_CERT, ROW_ADMIN_KEY);
		cfg->tls_client_ca =
		    load_authorities(load, tls, ROW_ADMIN_CLIENT_CA);
	}
	if (rules.n > 0)
		cfg->access = mem_new(rules.n, sizeof(*cfg->access));
	for (; cfg->n_access < rules.n; cfg->n_access++)
		load_rule(
		    load, rules.at[cfg->n_access], &cfg->access[cfg->n_access]);
	if (metrics) {
		bool is_fine;

		cfg->metrics_listen = mem_new(1, sizeof(struct address));
		is_fine =
		    address_parse(metrics->text, cfg->metrics_listen, &err);
		assert(is_fine);
	}
	check_open(load, admin);
	check_rules(load, admin);
}

void
load_logs(struct load *load)
{
	struct logs_cfg *cfg = &load->config->logs;
	const struct node *logs = field(load->root, ROW_LOGS);
	const struct node *access = field(logs, ROW_LOG_ACCESS);
	const struct node *sample = field(access, ROW_LOG_SAMPLE);
	const struct node *audit = field(logs, ROW_LOG_AUDIT);
	const char *state = load->config->state_dir;

	cfg->access_path = field_word(access, ROW_LOG_ACCESS_PATH) >= 0
	                       ? field_text(access, ROW_LOG_ACCESS_PATH)
	                       : load_path(load, access, ROW_LOG_ACCESS_PATH);
	cfg->sample_ok = field_percent(sample, ROW_LOG_SAMPLE_OK);
	cfg->sample_error = field_percent(sample, ROW_LOG_SAMPLE_ERROR);
	cfg->redact = field_strings_lower(access, ROW_LOG_REDACT);
	cfg->audit_path = load_path(load, audit, ROW_LOG_AUDIT_PATH);
	if (cfg->audit_path == NULL) {
		size_t len = strlen(state) + sizeof("/audit.jsonl");

		cfg->audit_path = mem_new(len, 1);
		snprintf(cfg->audit_path, len, "%s/audit.jsonl", state);
	}
}
