/*
 * The families of weir itself, its splits and its control plane; traffic and
 * process are files beside this one. The text is made on the control thread
 * while workers count on: a sample is as fresh as the scrape, not a cache.
 */
#include "admin/metrics/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "admin/notify/notify.h"
#include "admin/sampler.h"

static void
put_gauge(
    struct exposition *x, const char *name, const char *help, double value)
{
	family_begin(x, FAMILY_GAUGE, name, help);
	family_value(x, NULL, value);
}

static void
put_counter(
    struct exposition *x, const char *name, const char *help, uint64_t value)
{
	family_begin(x, FAMILY_COUNTER, name, help);
	family_count(x, NULL, value);
}

static void
about_weir(struct exposition *x, const struct process_facts *facts)
{
	char worker[12];

	family_begin(x, FAMILY_GAUGE, "weir_build_info",
	    "A constant 1 with the version as label.");
	family_count(x, (struct label[]){{"version", WEIR_VERSION}, {0}}, 1);
	put_gauge(x, "weir_config_last_reload_successful",
	    "1 when the last reload was put to work.", facts->last_reload_ok);
	put_gauge(x, "weir_config_last_reload_success_timestamp_seconds",
	    "When a config was last put to work, since the epoch.",
	    (double)facts->last_reload_at);
	family_begin(x, FAMILY_GAUGE, "weir_event_loop_lag_seconds",
	    "Longest turn of a worker's loop within the last second.");
	for (unsigned i = 0; i < facts->workers && i < 64; i++) {
		snprintf(worker, sizeof(worker), "%u", i);
		family_value(x, (struct label[]){{"worker", worker}, {0}},
		    (double)facts->loop_lag[i] / NSEC_PER_SEC);
	}
	put_counter(x, "weir_access_log_lines",
	    "Lines of the access log written.", facts->access_log_lines);
	put_counter(x, "weir_access_log_dropped",
	    "Lines of the access log given up because its file was too slow.",
	    facts->access_log_dropped);
}

static void
put_desired(struct exposition *x, const struct split *split)
{
	for (uint32_t i = 0; i < split->n_pools; i++)
		family_value(x,
		    (struct label[]){{"split", split->name},
		        {"pool", split->pools[i]}, {"kind", "desired"}, {0}},
		    split_weights(split)->bp[i] / (double)BP_ALL);
}

static void
put_actual(
    struct exposition *x, const struct admin *admin, const struct split *split)
{
	if (sampler_split_total(admin->sampler, split->name) == 0)
		return;
	for (uint32_t i = 0; i < split->n_pools; i++)
		family_value(x,
		    (struct label[]){{"split", split->name},
		        {"pool", split->pools[i]}, {"kind", "actual"}, {0}},
		    sampler_actual(admin->sampler, split->name, i));
}

static void
about_splits(struct exposition *x, const struct admin *admin)
{
	family_begin(x, FAMILY_GAUGE, "weir_split_weight_ratio",
	    "Weight of a pool in a split: desired, and actual since the last "
	    "change.");
	for (size_t i = 0; i < registry_n_splits(admin->registry); i++) {
		const struct split *split =
		    registry_split_at(admin->registry, i);

		put_desired(x, split);
		put_actual(x, admin, split);
	}
}

static void
about_certificates(struct exposition *x, const struct admin *admin)
{
	size_t n;
	struct tls_cert_info *infos = admin_certificates(admin, &n);

	family_begin(x, FAMILY_GAUGE,
	    "weir_tls_certificate_not_after_timestamp_seconds",
	    "End of a certificate in use, since the epoch.");
	for (size_t i = 0; i < n; i++) {
		char number[24];

		snprintf(number, sizeof(number), "%zu", i);
		family_value(x,
		    (struct label[]){{"certificate", number},
		        {"path", infos[i].path}, {"names", infos[i].names},
		        {0}},
		    (double)infos[i].not_after);
	}
	free(infos);
}

static void
about_admin(struct exposition *x, const struct admin *admin)
{
	static const char *const classes[] = {
	    "0xx", "1xx", "2xx", "3xx", "4xx", "5xx"};

	family_begin(x, FAMILY_COUNTER, "weir_admin_requests",
	    "Requests to the admin API, by class of status.");
	for (int i = 2; i < 6; i++)
		if (i != 3)
			family_count(x,
			    (struct label[]){{"code", classes[i]}, {0}},
			    admin->counts.by_class[i]);
	put_counter(x, "weir_admin_limited",
	    "Requests to the admin API turned away after too many wrong "
	    "tokens.",
	    admin->counts.limited);
	put_counter(x, "weir_admin_connections_refused",
	    "Connections to the admin and metrics addresses closed over a "
	    "bound, or for the sake of a newer one.",
	    admin->counts.refused);
	put_counter(x, "weir_state_write_errors",
	    "Failed writes of runtime state; the changes were refused.",
	    state_write_errors(admin->state));
	put_counter(x, "weir_audit_write_errors",
	    "Entries of the audit log that could not be written.",
	    admin->audit.failures);
}

char *
metrics_text(struct admin *admin, bool is_open, size_t *len_out)
{
	struct process_facts facts = {0};
	struct exposition x = {.is_open = is_open};
	char *text = NULL;

	x.out = open_memstream(&text, len_out);
	if (!x.out)
		return NULL;
	admin->hooks.process(admin->hooks.ctx, &facts);
	sampler_read(admin->sampler, now_mono());
	about_weir(&x, &facts);
	metrics_traffic(&x, admin);
	metrics_limits(&x, admin);
	metrics_mirror(&x, admin);
	metrics_policy(&x, admin, &facts);
	about_splits(&x, admin);
	about_certificates(&x, admin);
	about_admin(&x, admin);
	metrics_rollouts(&x, admin->rollouts);
	metrics_fleet(&x, admin->fleet);
	notify_metrics(admin->notify, &x);
	metrics_process(&x, &facts);
	exposition_end(&x);
	if (fclose(x.out) == 0)
		return text;
	free(text);
	return NULL;
}
