/*
 * The control plane's life: start, what a reload changes, the once-a-second
 * tick, the end. Everything here runs on the control thread's event_base.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/answers.h"
#include "admin/api/api.h"
#include "admin/door.h"
#include "admin/endpoint_sets.h"
#include "admin/events.h"
#include "admin/fleet/fleet.h"
#include "admin/log.h"
#include "admin/notify/notify.h"
#include "admin/rollout/rollouts.h"
#include "admin/sampler.h"
#include "admin/state/state.h"
#include "tls/tls.h"

enum {
	TICK_COST_DIVISOR = 50
}; /* reading counters takes at most 2 % of the thread */

/* ---- the tick ---- */

static void
tick_arm(struct admin *admin, nsec_t cost)
{
	nsec_t pause = cost * TICK_COST_DIVISOR;
	struct timeval in;

	if (pause < NSEC_PER_SEC)
		pause = NSEC_PER_SEC;
	in.tv_sec = pause / NSEC_PER_SEC;
	in.tv_usec = pause % NSEC_PER_SEC / NSEC_PER_USEC;
	evtimer_add(admin->tick, &in);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct admin *admin = arg;
	nsec_t before = now_mono();
	struct door *door;

	(void)fd;
	(void)what;
	TAILQ_FOREACH (door, &admin->doors, link)
		door_tick(door, before);
	sampler_read(admin->sampler, before);
	audit_sync(&admin->audit);
	tick_arm(admin, now_mono() - before);
}

/* ---- listeners ---- */

static struct door *
door_at(const struct admin *admin, const char *text, bool is_metrics)
{
	struct door *door;

	TAILQ_FOREACH (door, &admin->doors, link)
		if (door->bound && door->is_metrics == is_metrics &&
		    strcmp(door->text, text) == 0)
			return door;
	return NULL;
}

static bool
is_wanted(const struct admin_cfg *cfg, const struct door *door)
{
	if (door->is_metrics)
		return cfg->metrics_listen &&
		       strcmp(cfg->metrics_listen->text, door->text) == 0;
	for (size_t i = 0; i < cfg->n_listen; i++)
		if (strcmp(cfg->listen[i].text, door->text) == 0)
			return true;
	return false;
}

/*
 * "127.0.0.1:9901" became "0.0.0.0:9901": both at once cannot listen. The old
 * one keeps its socket until it is sure that the new one takes its place.
 */
static void
yield_port(struct admin *admin, const struct admin_cfg *cfg,
    const struct address *address)
{
	struct door *door;

	TAILQ_FOREACH (door, &admin->doors, link)
		if (address->kind == ADDRESS_IP && door->host &&
		    door->port == address->port && !is_wanted(cfg, door))
			door_pause(door);
}

static bool
open_door(struct admin *admin, const struct admin_cfg *cfg,
    const struct address *address, bool is_metrics, struct err *err)
{
	if (door_at(admin, address->text, is_metrics))
		return true;
	yield_port(admin, cfg, address);
	return door_open(admin, address, is_metrics, cfg->has_tls, err) != NULL;
}

static bool
open_doors(struct admin *admin, const struct admin_cfg *cfg, struct err *err)
{
	for (size_t i = 0; i < cfg->n_listen; i++)
		if (!open_door(admin, cfg, &cfg->listen[i], false, err))
			return false;
	return !cfg->metrics_listen ||
	       open_door(admin, cfg, cfg->metrics_listen, true, err);
}

static void
settle_doors(struct admin *admin, const struct admin_cfg *cfg)
{
	struct door *door, *next;

	for (door = TAILQ_FIRST(&admin->doors); door; door = next) {
		next = TAILQ_NEXT(door, link);
		door->is_new = false;
		if (!is_wanted(cfg, door))
			door_retire(door);
	}
}

/* As they were before open_doors. */
static void
cancel_doors(struct admin *admin)
{
	struct door *door, *next;

	for (door = TAILQ_FIRST(&admin->doors); door; door = next) {
		next = TAILQ_NEXT(door, link);
		if (door->is_new)
			door_free(door);
	}
	TAILQ_FOREACH (door, &admin->doors, link)
		door_resume(door);
}

/* ---- start ---- */

/* What a config brings that can fail, made before anything is changed. */
struct admin_parts {
	struct auth *auth;     /* owned */
	struct tls_gate *gate; /* owned; NULL without admin.tls */
};

static void
parts_free(struct admin_parts **parts)
{
	if (!*parts)
		return;
	auth_free(&(*parts)->auth);
	tls_gate_free(&(*parts)->gate);
	free(*parts);
	*parts = NULL;
}

static struct tls_gate *
make_gate(const struct admin_cfg *cfg, struct err *err)
{
	char *warnings = NULL;
	struct tls_gate *gate =
	    tls_gate_new(&cfg->tls, cfg->tls_client_ca, &warnings, err);

	if (!gate)
		err_wrap(err, "admin.tls");
	if (warnings)
		log_event(LOG_WARN, "certificate", "listener", "admin",
		    "warning", warnings, NULL);
	free(warnings);
	return gate;
}

static struct admin_parts *
parts_new(const struct admin_cfg *cfg, struct err *err)
{
	struct admin_parts *parts = calloc(1, sizeof(*parts));

	if (!parts) {
		err_set(err, "out of memory");
		return NULL;
	}
	parts->auth = auth_new(cfg, geteuid(), err);
	if (parts->auth && cfg->has_tls)
		parts->gate = make_gate(cfg, err);
	if (!parts->auth || (cfg->has_tls && !parts->gate))
		parts_free(&parts);
	return parts;
}

/* From here on for who asks, and for who comes. */
static void
take_prepared(struct admin *admin, const struct admin_cfg *cfg)
{
	struct door *door;

	assert(admin->parts);
	auth_free(&admin->auth);
	tls_gate_free(&admin->gate);
	admin->auth = admin->parts->auth;
	admin->gate = admin->parts->gate;
	free(admin->parts);
	admin->parts = NULL;
	settle_doors(admin, cfg);
	TAILQ_FOREACH (door, &admin->doors, link)
		door_gate(door, admin->gate);
}

/* The chain itself says so from now on as well. Always true. */
static bool
check_anchor(struct admin *admin)
{
	uint64_t lost = 0;
	char number[24];
	void *bytes;
	size_t len;
	json_t *after;

	if (!state_read_file(admin->state, AUDIT_ANCHOR, &bytes, &len))
		return true;
	lost = audit_take_anchor(&admin->audit, bytes, len);
	free(bytes);
	if (lost == 0)
		return true;
	snprintf(number, sizeof(number), "%llu", (unsigned long long)lost);
	log_event(LOG_ERROR,
	    "the end of the audit log is missing: entries were written that "
	    "are not there any more",
	    "file", admin->audit.path, "entries", number, NULL);
	after = json_pack("{s:I}", "entries", (json_int_t)lost);
	admin_audit(admin, &(struct audit_entry){.actor = "weir",
	                       .action = "audit_end_missing",
	                       .result = "failed",
	                       .after = after});
	json_decref(after);
	return true;
}

static bool
open_audit(struct admin *admin, const struct config *config, struct err *err)
{
	char *path = NULL;
	bool ok;

	if (config->logs.audit_path)
		return audit_open(
		           &admin->audit, config->logs.audit_path, err) &&
		       check_anchor(admin);
	if (asprintf(&path, "%s/audit.jsonl", config->state_dir) < 0)
		return err_set(err, "out of memory");
	ok = audit_open(&admin->audit, path, err);
	free(path);
	return ok && check_anchor(admin);
}

static bool
make_parts(struct admin *admin, const struct config *config, struct err *err)
{
	if (!open_audit(admin, config, err))
		return false;
	admin->events = events_new(admin->base);
	admin->answers = answers_new();
	admin->sampler = sampler_new(admin->registry);
	admin->notify = notify_new(admin->base, err);
	if (!admin->notify)
		return false;
	admin->tick = evtimer_new(admin->base, on_tick, admin);
	if (!admin->events || !admin->answers || !admin->sampler ||
	    !admin->tick)
		return err_set(err, "out of memory");
	admin->rollouts = rollouts_new(admin, err);
	if (!admin->rollouts)
		return false;
	admin->fleet = fleet_new(admin, err);
	return admin->fleet != NULL;
}

static void
record_splits(struct admin *admin)
{
	struct err err;

	if (!state_sync(admin->state, admin->registry, &err))
		log_event(LOG_ERROR,
		    "the weights in effect cannot be recorded; changes by the "
		    "API will be refused",
		    "error", err.text, NULL);
}

struct admin *
admin_start(struct event_base *base, const struct config *config,
    struct registry *registry, struct state *state,
    const struct admin_hooks *hooks, struct err *err)
{
	struct admin *admin = calloc(1, sizeof(*admin));

	if (!admin) {
		err_set(err, "out of memory");
		return NULL;
	}
	admin->base = base;
	admin->registry = registry;
	admin->state = state;
	admin->hooks = *hooks;
	admin->audit.fd = -1;
	TAILQ_INIT(&admin->doors);
	if (!make_parts(admin, config, err) ||
	    !admin_prepare(admin, config, err)) {
		admin_stop(&admin);
		return NULL;
	}
	take_prepared(admin, &config->admin);
	sets_settle(admin, "weir");
	state_restore_endpoints(state, registry);
	sampler_read(admin->sampler, now_mono());
	rollouts_restore(admin->rollouts);
	record_splits(admin);
	tick_arm(admin, 0);
	return admin;
}

/* ---- reload ---- */

static const char *
merge_word(enum merge merge)
{
	switch (merge) {
	case MERGE_FILE_WINS:
		return "file-wins";
	case MERGE_POOLS_CHANGED:
		return "pools-changed";
	case MERGE_KEEP_RUNTIME:
		break;
	}
	return "keep-runtime";
}

static json_t *
note_weights(const struct merge_note *note, const bp_t *bp)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < note->n; i++)
		json_array_append_new(list, json_percent(bp[i]));
	return list;
}

static void
tell_note(struct admin *admin, const struct merge_note *note, const char *by)
{
	json_t *before = note_weights(note, note->before);
	const struct split *split =
	    registry_split(admin->registry, note->split);
	json_t *after = split ? weights_to_json(split, split_weights(split)->bp)
	                      : note_weights(note, note->after);
	struct audit_entry entry = {.actor = by,
	    .action = "reload",
	    .target = note->split,
	    .result = merge_word(note->merge),
	    .reason = note->merge == MERGE_FILE_WINS
	                  ? "the file's weights changed"
	                  : "the split's pools changed",
	    .before = before,
	    .after = after};
	char *text = json_dumps(after, JSON_COMPACT | JSON_REAL_PRECISION(12));

	admin_audit(admin, &entry);
	log_event(LOG_INFO, "the reload changed weights", "split", note->split,
	    "merge", merge_word(note->merge), "weights", text ? text : "", "by",
	    by, NULL);
	free(text);
	json_decref(before);
	json_decref(after);
}

static void
tell_reload(struct admin *admin, const char *by, const struct merge_note *notes,
    size_t n_notes)
{
	json_t *event = json_pack("{s:s, s:I}", "by", by, "generation",
	    (json_int_t)snapshot_generation(
	        publication_current(registry_publication(admin->registry))));
	struct audit_entry entry = {.actor = by,
	    .action = "reload",
	    .target = "config",
	    .result = "ok",
	    .after = event};
	char *text = json_dumps(event, JSON_COMPACT | JSON_REAL_PRECISION(12));

	if (admin->reloading) {
		entry.address = admin->reloading->address;
		entry.reason = admin->reloading->reason;
	}
	admin_audit(admin, &entry);
	if (text)
		events_publish(admin->events, "reload", text);
	free(text);
	json_decref(event);
	for (size_t i = 0; i < n_notes; i++)
		if (notes[i].merge != MERGE_KEEP_RUNTIME)
			tell_note(admin, &notes[i], by);
}

bool
admin_prepare(struct admin *admin, const struct config *config, struct err *err)
{
	assert(!admin->parts);
	admin->parts = parts_new(&config->admin, err);
	if (admin->parts && open_doors(admin, &config->admin, err))
		return true;
	admin_cancel(admin);
	return false;
}

void
admin_cancel(struct admin *admin)
{
	parts_free(&admin->parts);
	cancel_doors(admin);
}

void
admin_apply(struct admin *admin, const struct config *config, const char *by,
    const struct merge_note *notes, size_t n_notes)
{
	tell_reload(admin, by, notes, n_notes);
	rollouts_adopt(admin->rollouts);
	record_splits(admin);
	fleet_adopt_config(admin->fleet);
	sets_settle(admin, by);
	state_restore_endpoints(admin->state, admin->registry);
	sampler_read(admin->sampler, now_mono());
	take_prepared(admin, &config->admin);
}

void
admin_follow(struct admin *admin)
{
	state_restore_endpoints(admin->state, admin->registry);
}

bool
admin_allows(struct admin *admin, const struct config *config, struct err *err)
{
	bool allows = rollouts_allow(admin->rollouts, config, err);

	admin->is_reload_refused = !allows;
	return allows;
}

struct tls_cert_info *
admin_certificates(const struct admin *admin, size_t *n_out)
{
	const struct admin_hooks *hooks = &admin->hooks;
	struct tls_cert_info first, *infos;
	size_t n = hooks->certificates(hooks->ctx, &first, 1);

	*n_out = 0;
	infos = calloc(n + 1, sizeof(*infos));
	if (!infos)
		return NULL;
	*n_out = hooks->certificates(hooks->ctx, infos, n + 1);
	if (admin->gate)
		infos[(*n_out)++] = *tls_gate_cert(admin->gate);
	return infos;
}

void
admin_announce(struct admin *admin, const char *kind, const char *json)
{
	json_t *after = json_loads(json, 0, NULL);
	struct audit_entry entry = {
	    .actor = "weir", .action = kind, .result = "ok", .after = after};

	admin_audit(admin, &entry);
	events_publish(admin->events, kind, json);
	json_decref(after);
}

void
admin_announce_failure(
    struct admin *admin, const char *kind, const char *by, const char *error)
{
	json_t *after = json_pack("{s:s, s:s}", "by", by, "error", error);
	struct audit_entry entry = {.actor = by,
	    .action = kind,
	    .target = "config",
	    .result = "failed",
	    .after = after};
	char *text = after ? json_dumps(after, JSON_COMPACT) : NULL;

	admin_audit(admin, &entry);
	if (text)
		events_publish(admin->events, kind, text);
	free(text);
	json_decref(after);
}

bool
admin_reopen_logs(struct admin *admin, struct err *err)
{
	return audit_reopen(&admin->audit, err);
}

/* ---- the end ---- */

void
admin_stop(struct admin **admin)
{
	struct admin *a = *admin;
	struct door *door;

	if (!a)
		return;
	fleet_free(&a->fleet);
	rollouts_free(&a->rollouts);
	events_free(&a->events);
	while ((door = TAILQ_FIRST(&a->doors)) != NULL)
		door_free(door);
	if (a->tick)
		event_free(a->tick);
	notify_free(&a->notify);
	sampler_free(&a->sampler);
	answers_free(&a->answers);
	auth_free(&a->auth);
	tls_gate_free(&a->gate);
	parts_free(&a->parts);
	audit_release(&a->audit);
	free(a);
	*admin = NULL;
}
