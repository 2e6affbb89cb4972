/* Receivers as the operator sees them: status and metrics. */
#include <assert.h>
#include <string.h>

#include "admin/api/api.h"
#include "admin/metrics/exposition.h"
#include "admin/notify/parts.h"

size_t
notify_receivers(const struct notify *notify)
{
	return notify->n_receivers;
}

static size_t
count_jobs(const struct receiver *receiver)
{
	const struct job *job;
	size_t n = 0;

	TAILQ_FOREACH (job, &receiver->jobs, link)
		n++;
	return n;
}

static void
view(const struct receiver *receiver, struct receiver_view *out)
{
	*out = (struct receiver_view){.name = receiver->name,
	    .delivered = receiver->delivered,
	    .failed = receiver->failed,
	    .dropped = receiver->dropped,
	    .tries = receiver->tries,
	    .waiting = count_jobs(receiver),
	    .failing = receiver->failing,
	    .success_at = receiver->success_at,
	    .failure_at = receiver->failure_at,
	    .error = receiver->error};
}

void
notify_receiver(
    const struct notify *notify, size_t i, struct receiver_view *out)
{
	const struct receiver *receiver = TAILQ_FIRST(&notify->receivers);

	assert(i < notify->n_receivers);
	while (i-- > 0)
		receiver = TAILQ_NEXT(receiver, link);
	view(receiver, out);
}

static json_t *
receiver_json(const struct receiver_view *v)
{
	return json_pack(
	    "{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:i, s:o, s:o, s:o}",
	    "receiver", v->name, "well", v->failing == 0, "delivered",
	    (json_int_t)v->delivered, "failed", (json_int_t)v->failed,
	    "dropped", (json_int_t)v->dropped, "tries", (json_int_t)v->tries,
	    "waiting", (json_int_t)v->waiting, "failing", (int)v->failing,
	    "success_at", json_time(v->success_at), "failure_at",
	    json_time(v->failure_at), "error",
	    v->error[0] ? json_string(v->error) : json_null());
}

json_t *
notify_json(const struct notify *notify)
{
	json_t *list = json_array();
	struct receiver_view v;

	for (size_t i = 0; i < notify->n_receivers; i++) {
		notify_receiver(notify, i, &v);
		json_array_append_new(list, receiver_json(&v));
	}
	return json_pack(
	    "{s:s, s:o}", "schema", "weir.notify/v1", "receivers", list);
}

/* ---- metrics ---- */

/* Urls of one host are one receiver there: the sum at its first, else false. */
static bool
sum_at(const struct notify *notify, size_t i, struct receiver_view *out)
{
	struct receiver_view v;

	notify_receiver(notify, i, out);
	for (size_t j = 0; j < notify->n_receivers; j++) {
		notify_receiver(notify, j, &v);
		if (j == i || strcmp(v.name, out->name) != 0)
			continue;
		if (j < i)
			return false;
		out->delivered += v.delivered;
		out->failed += v.failed;
		out->dropped += v.dropped;
		out->tries += v.tries;
		out->waiting += v.waiting;
		out->failing += v.failing;
	}
	return true;
}

static void
put_deliveries(struct exposition *x, const struct notify *notify)
{
	struct receiver_view v;

	family_begin(x, FAMILY_COUNTER, "weir_notify_deliveries",
	    "Calls to receivers of notifications and gates, by how they "
	    "ended.");
	for (size_t i = 0; i < notify->n_receivers; i++) {
		if (!sum_at(notify, i, &v))
			continue;
		family_count(x,
		    (struct label[]){
		        {"receiver", v.name}, {"result", "delivered"}, {0}},
		    v.delivered);
		family_count(x,
		    (struct label[]){
		        {"receiver", v.name}, {"result", "failed"}, {0}},
		    v.failed);
		family_count(x,
		    (struct label[]){
		        {"receiver", v.name}, {"result", "dropped"}, {0}},
		    v.dropped);
	}
}

void
notify_metrics(const struct notify *notify, struct exposition *x)
{
	struct receiver_view v;

	put_deliveries(x, notify);
	family_begin(x, FAMILY_COUNTER, "weir_notify_tries",
	    "Exchanges with receivers, tries that failed included.");
	for (size_t i = 0; i < notify->n_receivers; i++)
		if (sum_at(notify, i, &v))
			family_count(x,
			    (struct label[]){{"receiver", v.name}, {0}},
			    v.tries);
	family_begin(x, FAMILY_GAUGE, "weir_notify_waiting",
	    "Calls that a receiver has not taken yet.");
	for (size_t i = 0; i < notify->n_receivers; i++)
		if (sum_at(notify, i, &v))
			family_count(x,
			    (struct label[]){{"receiver", v.name}, {0}},
			    v.waiting);
	family_begin(x, FAMILY_GAUGE, "weir_notify_receiver_up",
	    "1 when the last call to a receiver succeeded.");
	for (size_t i = 0; i < notify->n_receivers; i++)
		if (sum_at(notify, i, &v))
			family_count(x,
			    (struct label[]){{"receiver", v.name}, {0}},
			    v.failing == 0);
}

/* ---- the API ---- */

void
api_receivers(struct call *call)
{
	call_json(call, 200, notify_json(call->admin->notify), NULL);
}
