/*
 * Several weirs as one: what is changed on one of them holds on all.
 *
 * There are things to agree on, each with one state and an accord (accord.h)
 * that orders all its states: every split, with the rollout that moves it, and
 * the freeze. A local change is noticed by comparing, not by hooks: within
 * FLEET_TICK_MS, after it is in effect and in the journal here. Redis keeps the
 * greatest state of each thing; every instance
 *
 *	writes  its own state when that is greater than the one there,
 *	adopts  the one there when that is greater than its own,
 *
 * both in one script (sync), at once after a change of its own, at once after
 * a number that every write increments has moved (told by the script on a
 * channel; looked at FLEET_CALM_MS apart, or FLEET_LOOK_MS by who hears no
 * channel), and every second in any case. So all end with the greatest, however
 * often Redis was away or lost its data.
 *
 * A change that a person makes while Redis is there is made by compare-and-set:
 * the script takes it only if no decision came after the one that it was made
 * on, and the answer to the person waits for the script's (hold.c). So of
 * two at the same moment the one that comes first holds, and the other is told.
 * A way back is never held off, nor is a freeze or all weight to the stable
 * pool. Without Redis, changes are ordered afterwards.
 *
 * Who moves a rollout forward: the holder of the split's lease, while Redis has
 * confirmed it to him within FLEET_SURE_MS; his writes are fenced by the lease
 * in the same script. All others, and everybody without Redis, let the machine
 * look on, count, and go back, but undo whatever else it would do
 * (rollout/ticker.c).
 *
 * Evidence adds up: each instance publishes what its own arms showed in this
 * era (rollout, phase, weight) and gives its judge the others' growth as if it
 * were its own. Each decides on the sum; so alpha holds for each of them.
 *
 * Instances whose split has other pools keep apart under another name and are
 * shown as different; only that a rollout went back reaches them too.
 */
#ifndef WEIR_ADMIN_FLEET_H
#define WEIR_ADMIN_FLEET_H

#include "admin/fleet/accord.h"
#include "admin/rollout/rollouts.h"

enum {
	FLEET_TICK_MS = 20,
	FLEET_LOOK_MS = 50,
	FLEET_CALM_MS = 250,
	FLEET_BEAT_MS = 500,
	FLEET_AWAY_MS = 2000, /* without a beat for longer */
	FLEET_LIVE_MS = 250,  /* between syncs of a split with a live rollout */
	FLEET_IDLE_MS = 1000, /* and of all others */
	FLEET_LEASE_MS = 1500, /* at most so long nobody moves a rollout */
	FLEET_SURE_MS = 750,
	FLEET_HOLD_MS = 250, /* an answer waits no longer for Redis's */
	FLEET_HOLDS_MAX = 256,
	FLEET_READ_MS = 200, /* a reader waits no longer for it */
	FLEET_READS_MAX = 256,
	FLEET_PEERS_MAX = 64,
	FLEET_DOC_MAX = 1 << 20, /* bytes of a state; the script knows it too */
	FLEET_TEXT_MAX = 4096,   /* of one text in a rollout's state */
	FLEET_ID_MAX = 80,
	FLEET_THING_MAX = CONFIG_NAME_MAX + 32,
};

/* What a change is noticed by. */
struct fleet_facts {
	uint64_t version;         /* of the split, the freeze */
	char run[ROLLOUT_ID_MAX]; /* the rollout that made the weights; "" */
	uint64_t run_version;
	enum rollout_state state;
	bp_t weight;
};

struct fleet_peer {
	char id[FLEET_ID_MAX];
	uint64_t boot;
	struct evidence_sum seen;
	uint64_t signals[PLAN_GUARDS_MAX];
};

/* Of one era of one rollout. */
struct fleet_evidence {
	uint64_t era;     /* 0: none */
	uint64_t resumed; /* the era that a saved judge knows the start of */
	struct evidence_sum own, incoming;
	bool has_incoming, is_moved;
	nsec_t told_at;
	struct fleet_peer *peers; /* owned */
	size_t n_peers;
};

struct fleet_item {
	TAILQ_ENTRY(fleet_item) link;
	char name[CONFIG_NAME_MAX + 1]; /* of the split; "": the freeze */
	char thing[FLEET_THING_MAX];
	struct accord accord;
	uint64_t agreed; /* epoch */
	struct fleet_facts facts;
	char *doc; /* owned; NULL: made anew when it is needed */
	bool is_unsent, is_fenced;
	bool is_by_hand; /* what will be noticed next is a person's */
	char
	    expected[ACCORD_TEXT]; /* decision that ours was made on; "": any */
	bool is_settled;           /* this process has heard from the others */
	bool is_same;              /* as it was there at the last answer */
	bool is_asked;
	nsec_t asked_at, sync_at;
	nsec_t heard_at; /* when the last answered question was asked */
	char holder[FLEET_ID_MAX];       /* of the lease */
	nsec_t held_at;                  /* confirmed as ours; 0: it is not */
	char went_back[ROLLOUT_ID_MAX];  /* noted there already */
	char trouble[ERR_TEXT_MAX];      /* "": none */
	char refused[ACCORD_TEXT + 1];   /* stands there and is not believed; "" nothing */
	struct fleet_evidence *evidence; /* owned; NULL for the freeze */
};

/* Another instance, or this one, by what it told last. */
struct fleet_member {
	char id[FLEET_ID_MAX];
	int64_t ms;      /* since it told */
	nsec_t heard_at; /* here */
	json_t *about;   /* owned */
};

struct fleet {
	struct admin *admin; /* borrowed: owns us */
	struct fleet_link link;
	bool has_link, is_up, is_leaving;
	char id[FLEET_ID_MAX];
	uint64_t boot;
	struct event *timer; /* owned */
	TAILQ_HEAD(fleet_items, fleet_item) items;
	bool is_looking, is_beating;
	nsec_t look_at, beat_at;
	int64_t number; /* of writes, as looked at last */
	TAILQ_HEAD(fleet_holds, fleet_hold) holds;
	size_t n_holds;
	TAILQ_HEAD(fleet_reads, fleet_read) reads;
	size_t n_reads;
	struct fleet_member members[FLEET_PEERS_MAX];
	size_t n_members;
	uint64_t adopted, lost, refused;
	uint64_t distrusted[FLEET_PEERS_MAX]; /* hashes: who was said to be */
	size_t n_distrusted;
};

/* fleet.c */
struct fleet *fleet_new(struct admin *admin, struct err *err);
void fleet_free(struct fleet **fleet);
/* After a reload: other splits, other pools. */
void fleet_adopt_config(struct fleet *fleet);
/*
 * May what the machine has just decided take effect here? Always without a
 * fleet, and always when it goes back.
 */
bool fleet_lets(const struct fleet *fleet, const struct run *run,
    const struct rollout_output *out);
/* Why no rollout moves forward here, in words; NULL: they do. */
const char *fleet_standstill(const struct fleet *fleet);
/* What makes ids of rollouts differ between instances; "" without a fleet. */
const char *fleet_tag(const struct fleet *fleet);
void fleet_members_release(struct fleet *fleet);
/* Numbers and sends what has changed here, now. */
void fleet_send_changes(struct fleet *fleet);

/* hold.c: answers to people that wait for the others' word */
enum fleet_word { FLEET_TAKEN, FLEET_LOST };
/* The thing is on its way to Redis as it is now. */
void fleet_hold_sent(struct fleet *fleet, const struct fleet_item *item);
/* ... and was taken. */
void fleet_hold_taken(struct fleet *fleet, const struct fleet_item *item);
/* The word has come. */
void fleet_hold_end(
    struct fleet *fleet, const struct fleet_item *item, enum fleet_word word);
/* None will. */
void fleet_hold_end_all(struct fleet *fleet);

/* read.c: readers that wait for what the others know */
void fleet_read_check(struct fleet *fleet); /* an answer has come */
void fleet_read_end(struct fleet *fleet);   /* none will */

/* item.c: what is to be agreed on, noticing, numbering, recording */
struct fleet_item *fleet_item_find(
    const struct fleet *fleet, const char *name); /* "": the freeze */
void fleet_items_refresh(struct fleet *fleet);
void fleet_item_free(struct fleet_item *item);
struct split *fleet_item_split(
    const struct fleet *fleet, const struct fleet_item *item);
/* The rollout that the state is about; NULL: weights by hand. */
struct run *fleet_item_run(
    const struct fleet *fleet, const struct fleet_item *item);
/* It differs from what is numbered. */
bool fleet_item_has_changed(
    const struct fleet *fleet, const struct fleet_item *item);
/* Numbers what has changed here. True: there was something. */
bool fleet_item_notice(struct fleet *fleet, struct fleet_item *item);
/* The facts as they are; what they are from is known to all. */
void fleet_item_settle(struct fleet *fleet, struct fleet_item *item);
void fleet_item_record(struct fleet *fleet, struct fleet_item *item);
bool fleet_item_is_ours(const struct fleet_item *item, nsec_t now);
const char *fleet_item_doc(struct fleet *fleet, struct fleet_item *item);

/* adopt.c. False: item->trouble says why not. */
bool fleet_adopt(struct fleet *fleet, struct fleet_item *item,
    const struct accord *accord, const char *doc);
/* It went back where the split has other pools. */
void fleet_follow_back(struct fleet *fleet, struct run *run, const char *why);

/* trust.c: what is not believed */
uint64_t fleet_wall_ms(void);
/* Counts it, and says it once for each `by` and `why`. */
void fleet_distrust(struct fleet *fleet, const struct fleet_item *item,
    const char *by, const char *why);
/* Printable, of at most `max` bytes; the same for all texts in it. */
bool fleet_text_is_clean(const char *text, size_t max);
bool fleet_json_is_clean(const json_t *json, size_t max);
bool fleet_texts_are_clean(const char *text, size_t max); /* of a JSON text */
bool fleet_id_is_clean(const char *id); /* of a rollout, of an instance */

/* evidence.c */

/*
 * Takes what the workers showed (rollouts->delta, when has_delta) and adds what
 * the others have shown since. True: there is something in rollouts->delta.
 */
bool fleet_evidence_merge(
    struct rollouts *rollouts, struct run *run, bool has_delta, nsec_t now);
bool fleet_has_signals(const struct rollouts *rollouts, const struct run *run);
void fleet_evidence_signals(
    const struct rollouts *rollouts, const struct run *run, uint64_t *signals);
/* Where cells of this era are; false: there is none. */
bool fleet_evidence_key(const struct fleet_item *item, char *buf, size_t cap);
/* Ours, when it has news or it is time; the caller frees. NULL: neither. */
char *fleet_evidence_cell(struct fleet *fleet, struct fleet_item *item,
    const struct run *run, nsec_t now);
void fleet_evidence_hear(struct fleet *fleet, struct fleet_item *item,
    struct run *run, const struct fleet_told *told);

/* show.c */
json_t *fleet_json(const struct fleet *fleet);
char *fleet_about_text(const struct fleet *fleet); /* the caller frees */

#endif
