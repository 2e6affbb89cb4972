/*
 * Splits and endpoint states as journal records. A record is the whole of one
 * object, so the last one wins and replaying is idempotent. Weights are told
 * by pool name and not by slot: the file may be reordered between two starts.
 */
#include "admin/state/state.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "admin/endpoint_sets.h"
#include "admin/log.h"
#include "admin/state/journal.h"

struct state {
	struct journal journal;
};

enum {
	STATE_KEY_MAX = 128,
	WORDS_KEPT = 1024,  /* on endpoints; far below JOURNAL_KEYS_MAX */
	WORDS_AT_ONCE = 16, /* dropped by one look: each is an fsync */
};

static const char *const admin_names[] = {"active", "drain", "maint"};

const char *
endpoint_admin_name(enum endpoint_admin admin)
{
	return admin_names[admin];
}

bool
endpoint_admin_of(const char *word, enum endpoint_admin *out)
{
	for (int i = ENDPOINT_ACTIVE; i <= ENDPOINT_MAINT; i++)
		if (strcmp(word, admin_names[i]) == 0) {
			*out = (enum endpoint_admin)i;
			return true;
		}
	return false;
}

/* ---- a split as JSON ---- */

static json_t *
weights_json(const struct split_state *split, const bp_t *bp)
{
	json_t *object = json_object();

	for (uint32_t i = 0; i < split->n; i++)
		json_object_set_new(
		    object, split->pools[i], json_integer(bp[i]));
	return object;
}

/* 64-bit numbers go as text: the salt does not fit a signed integer. */
static json_t *
number_json(uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return json_string(text);
}

char *
split_state_print(const struct split_state *split)
{
	json_t *object = json_object();
	char *text;

	json_object_set_new(object, "version", number_json(split->version));
	json_object_set_new(object, "salt", number_json(split->salt));
	json_object_set_new(object, "weights", weights_json(split, split->bp));
	json_object_set_new(object, "file", weights_json(split, split->file));
	if (split->has_previous)
		json_object_set_new(
		    object, "previous", weights_json(split, split->previous));
	json_object_set_new(
	    object, "changed_at", json_integer(split->changed_at));
	if (split->stable)
		json_object_set_new(
		    object, "stable", json_string(split->stable));
	if (split->changed_by)
		json_object_set_new(
		    object, "changed_by", json_string(split->changed_by));
	if (split->reason)
		json_object_set_new(
		    object, "reason", json_string(split->reason));
	text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

static bool
read_number(const json_t *object, const char *key, uint64_t *out)
{
	const char *text = json_string_value(json_object_get(object, key));
	char *end;

	if (!text || *text < '0' || *text > '9')
		return false;
	*out = strtoull(text, &end, 10);
	return *end == '\0';
}

static char *
read_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? strdup(text) : NULL;
}

/* What no calendar can show is no time. */
static time_t
read_time(const json_t *object, const char *key)
{
	json_int_t n = json_integer_value(json_object_get(object, key));

	return n < 0 || n > 253402300799 ? 0 : (time_t)n;
}

/* Fills bp[] in the order of split->pools. */
static bool
read_weights(
    const json_t *object, const char *key, struct split_state *split, bp_t *bp)
{
	json_t *weights = json_object_get(object, key);
	unsigned sum = 0;

	if (json_object_size(weights) != split->n)
		return false;
	for (uint32_t i = 0; i < split->n; i++) {
		json_t *value = json_object_get(weights, split->pools[i]);
		json_int_t n = json_integer_value(value);

		if (!json_is_integer(value) || n < 0 || n > BP_ALL)
			return false;
		bp[i] = (bp_t)n;
		sum += bp[i];
	}
	return sum == BP_ALL;
}

static bool
read_pools(const json_t *object, struct split_state *split)
{
	json_t *weights = json_object_get(object, "weights"), *value;
	const char *name;
	size_t n = json_object_size(weights);

	if (n == 0 || n > CONFIG_SPLIT_POOLS_MAX)
		return false;
	json_object_foreach (weights, name, value) {
		split->pools[split->n] = strdup(name);
		if (!split->pools[split->n])
			return false;
		split->n++;
	}
	return true;
}

bool
split_state_parse(const char *text, struct split_state *out)
{
	json_t *object = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
	bool ok;

	*out = (struct split_state){0};
	ok = json_is_object(object) &&
	     read_number(object, "version", &out->version) &&
	     read_number(object, "salt", &out->salt) &&
	     read_pools(object, out) &&
	     read_weights(object, "weights", out, out->bp) &&
	     read_weights(object, "file", out, out->file);
	if (ok) {
		out->has_previous =
		    read_weights(object, "previous", out, out->previous);
		out->changed_at = read_time(object, "changed_at");
		out->stable = read_text(object, "stable");
		out->changed_by = read_text(object, "changed_by");
		out->reason = read_text(object, "reason");
	}
	json_decref(object);
	return ok;
}

/* ---- opening and restoring ---- */

struct state *
state_open(const char *dir, struct err *err)
{
	struct state *state = calloc(1, sizeof(*state));
	char bytes[24];
	uint64_t cut;

	if (!state) {
		err_set(err, "out of memory");
		return NULL;
	}
	if (!journal_open(&state->journal, dir, &cut, err)) {
		free(state);
		return NULL;
	}
	if (cut > 0) {
		snprintf(bytes, sizeof(bytes), "%llu", (unsigned long long)cut);
		log_event(LOG_WARN,
		    state->journal.is_garbled
		        ? "the end of the journal cannot be read: cut, and "
		          "kept in journal.cut; all before it is in force"
		        : "the journal ended in a half-written change: cut; "
		          "it was never acknowledged",
		    "state_dir", dir, "bytes", bytes, NULL);
	}
	if (state->journal.reserve_fd < 0)
		log_event(LOG_WARN,
		    "no room was set aside in state_dir: a rollback on a full "
		    "disk would be lost with the process",
		    "error", err->text, NULL);
	return state;
}

static void
log_resumed(const char *name, const struct split_state *split, bool is_restored)
{
	char weights[512], version[24], percent[16];
	size_t len = 0;

	weights[0] = '\0';
	for (uint32_t i = 0; i < split->n && len < sizeof(weights) - 96; i++)
		len += (size_t)snprintf(weights + len, sizeof(weights) - len,
		    "%s%s=%s", i ? " " : "", split->pools[i],
		    units_print_percent(
		        split->bp[i], percent, sizeof(percent)));
	snprintf(version, sizeof(version), "%llu",
	    (unsigned long long)split->version);
	if (is_restored)
		log_event(LOG_INFO, "resumed split", "split", name, "weights",
		    weights, "version", version, "changed_by",
		    split->changed_by ? split->changed_by : "-", NULL);
	else
		log_event(LOG_WARN,
		    "the split's pools are others now: the weights of the file "
		    "hold",
		    "split", name, "recorded", weights, NULL);
}

static void
restore_split(const char *name, const char *text, struct registry *registry)
{
	struct split_state split;

	if (split_state_parse(text, &split))
		log_resumed(name, &split,
		    registry_restore_split(registry, name, &split));
	else
		log_event(LOG_ERROR,
		    "the recorded state of a split cannot be read: the weights "
		    "of the file hold",
		    "split", name, NULL);
	split_state_release(&split);
}

void
state_restore(struct state *state, struct registry *registry)
{
	for (size_t i = 0; i < state->journal.n_items; i++) {
		const struct journal_item *item = &state->journal.items[i];

		if (strncmp(item->key, "split/", 6) == 0)
			restore_split(item->key + 6, item->text, registry);
	}
	sets_restore(state, registry);
	state_restore_endpoints(state, registry);
}

/* ---- recording ---- */

bool
state_put_split(struct state *state, const char *name,
    const struct split_state *split, struct err *err)
{
	char key[STATE_KEY_MAX], *text = split_state_print(split);
	bool ok;

	snprintf(key, sizeof(key), "split/%s", name);
	ok = text ? journal_put(&state->journal, key, text, err)
	          : err_set(err, "out of memory");
	free(text);
	return ok || err_wrap(err, "split '%s' was not recorded", name);
}

static bool
sync_split(struct state *state, const struct split *split, struct err *err)
{
	struct split_state saved;
	const struct journal_item *item;
	char key[STATE_KEY_MAX], *text;
	bool ok = true;

	split_save(split, &saved);
	snprintf(key, sizeof(key), "split/%s", split->name);
	item = journal_find(&state->journal, key);
	text = split_state_print(&saved);
	if (!text || !item || strcmp(item->text, text) != 0)
		ok = state_put_split(state, split->name, &saved, err);
	free(text);
	split_state_release(&saved);
	return ok;
}

bool
state_sync(struct state *state, struct registry *registry, struct err *err)
{
	for (size_t i = 0; i < registry_n_splits(registry); i++)
		if (!sync_split(state, registry_split_at(registry, i), err))
			return false;
	return true;
}

/* An address may hold anything (unix:/a path), a key no space: a digest stands
 * for it. */
static void
endpoint_key(const char *pool, const char *address, char *key, size_t cap)
{
	uint8_t digest[32];
	size_t len = (size_t)snprintf(key, cap, "endpoint/%s/", pool);

	tls_sha256(address, strlen(address), digest);
	for (size_t i = 0; i < 12; i++)
		len +=
		    (size_t)snprintf(key + len, cap - len, "%02x", digest[i]);
}

bool
state_put_endpoint(struct state *state, const char *pool, const char *address,
    const struct endpoint_change *change, struct err *err)
{
	char key[STATE_KEY_MAX], *text;
	json_t *object = json_pack("{s:s, s:s, s:s, s:I, s:s*, s:s*}", "pool",
	    pool, "address", address, "state",
	    endpoint_admin_name(change->admin), "at", (json_int_t)change->at,
	    "by", change->by, "reason", change->reason);
	bool ok;

	endpoint_key(pool, address, key, sizeof(key));
	text = object ? json_dumps(object, JSON_COMPACT) : NULL;
	ok = text ? journal_put(&state->journal, key, text, err)
	          : err_set(err, "out of memory");
	free(text);
	json_decref(object);
	return ok || err_wrap(err, "endpoint '%s' was not recorded", address);
}

/* What an operator said of an endpoint, or of a name that several come from. */
struct word {
	json_t *object; /* owned; the texts are its */
	const char *pool, *address;
	enum endpoint_admin admin;
	uint64_t sequence;
	bool is_meant; /* it is about something that is there */
};

/* False: it is none. */
static bool
word_take(const struct journal_item *item, struct word *out)
{
	const char *state;

	if (strncmp(item->key, "endpoint/", 9) != 0)
		return false;
	*out = (struct word){
	    .object = json_loads(item->text, JSON_REJECT_DUPLICATES, NULL),
	    .sequence = item->sequence};
	state = json_string_value(json_object_get(out->object, "state"));
	out->pool = json_string_value(json_object_get(out->object, "pool"));
	out->address =
	    json_string_value(json_object_get(out->object, "address"));
	if (out->pool && out->address && state &&
	    endpoint_admin_of(state, &out->admin))
		return true;
	json_decref(out->object);
	return false;
}

static bool
is_about(
    const struct word *word, const char *pool, const struct endpoint *endpoint)
{
	return strcmp(word->pool, pool) == 0 &&
	       endpoint_is_named(endpoint, word->address);
}

struct state_words {
	size_t n;
	struct word at[];
};

struct state_words *
state_words_read(const struct state *state)
{
	const struct journal *journal = &state->journal;
	struct state_words *words = calloc(
	    1, sizeof(*words) + (journal->n_items + 1) * sizeof(words->at[0]));

	for (size_t i = 0; words && i < journal->n_items; i++)
		words->n += word_take(&journal->items[i], &words->at[words->n]);
	return words;
}

void
state_words_free(struct state_words **words)
{
	for (size_t i = 0; *words && i < (*words)->n; i++)
		json_decref((*words)->at[i].object);
	free(*words);
	*words = NULL;
}

/* The last word holds: an address's, or that of the name that it comes from. */
static const struct word *
last_word(struct word *words, size_t n, const char *pool,
    const struct endpoint *endpoint)
{
	struct word *last = NULL;

	for (size_t i = 0; i < n; i++) {
		if (!is_about(&words[i], pool, endpoint))
			continue;
		words[i].is_meant = true;
		if (!last || words[i].sequence > last->sequence)
			last = &words[i];
	}
	return last;
}

const json_t *
state_words_last(struct state_words *words, const char *pool,
    const struct endpoint *endpoint)
{
	const struct word *last =
	    words ? last_word(words->at, words->n, pool, endpoint) : NULL;

	return last ? last->object : NULL;
}

/* At a reload most endpoints have their state already: nothing to tell then. */
static void
obey(struct registry *registry, const struct word *word,
    struct endpoint *endpoint)
{
	const char *address = endpoint->address.text;
	struct err err;

	if (atomic_load_explicit(&endpoint->admin, memory_order_relaxed) !=
	        word->admin &&
	    endpoint_set_admin(
	        registry, word->pool, address, word->admin, &err))
		log_event(LOG_INFO, "resumed endpoint state", "pool",
		    word->pool, "endpoint", address, "state",
		    endpoint_admin_name(word->admin), NULL);
}

/* A name may have no address at the moment. */
static void
spare_names(const struct registry *registry, const struct pool_view *view,
    struct word *words, size_t n)
{
	size_t n_listed;
	const struct endpoint_cfg *listed =
	    registry_endpoints(registry, view->cfg, &n_listed);

	for (size_t i = 0; i < n; i++)
		for (size_t j = 0; j < n_listed && !words[i].is_meant; j++)
			words[i].is_meant =
			    strcmp(words[i].pool, view->pool->name) == 0 &&
			    strcmp(words[i].address, listed[j].address.text) ==
			        0;
}

static void
obey_all(struct registry *registry, struct word *words, size_t n)
{
	struct snapshot *snapshot =
	    publication_current(registry_publication(registry));

	for (size_t i = 0; snapshot && i < snapshot_n_pools(snapshot); i++) {
		const struct pool_view *view = snapshot_pool(snapshot, i);

		for (size_t j = 0; j < view->n_endpoints; j++) {
			const struct word *word = last_word(
			    words, n, view->pool->name, view->endpoints[j]);

			if (word)
				obey(registry, word, view->endpoints[j]);
		}
		spare_names(registry, view, words, n);
	}
}

/*
 * Each address that was ever drained leaves a word behind, and addresses come
 * and go for ever. Of those that are about nothing any more the oldest make
 * room, or the journal would take no new key some day.
 */
static void
forget_oldest(struct state *state, struct word *words, size_t n)
{
	char key[STATE_KEY_MAX];
	struct err err;

	for (size_t i = 0; i < WORDS_AT_ONCE && n - i > WORDS_KEPT; i++) {
		struct word *oldest = NULL;

		for (size_t j = 0; j < n; j++)
			if (!words[j].is_meant &&
			    (!oldest || words[j].sequence < oldest->sequence))
				oldest = &words[j];
		if (!oldest)
			return;
		oldest->is_meant = true; /* looked at */
		endpoint_key(oldest->pool, oldest->address, key, sizeof(key));
		if (!journal_drop(&state->journal, key, &err))
			return; /* another time */
	}
}

void
state_restore_endpoints(struct state *state, struct registry *registry)
{
	struct state_words *words = state_words_read(state);

	if (words && words->n > 0) {
		obey_all(registry, words->at, words->n);
		forget_oldest(state, words->at, words->n);
	}
	state_words_free(&words);
}

/* ---- what others keep ---- */

bool
state_put(
    struct state *state, const char *key, const char *text, struct err *err)
{
	return journal_put(&state->journal, key, text, err);
}

bool
state_put_back(
    struct state *state, const char *key, const char *text, struct err *err)
{
	return journal_put_back(&state->journal, key, text, err);
}

bool
state_is_behind(const struct state *state)
{
	return state->journal.is_suspect;
}

bool
state_drop(struct state *state, const char *key, struct err *err)
{
	return journal_drop(&state->journal, key, err);
}

const char *
state_get(const struct state *state, const char *key)
{
	const struct journal_item *item = journal_find(&state->journal, key);

	return item ? item->text : NULL;
}

void
state_each(
    const struct state *state, const char *prefix, state_fn *fn, void *ctx)
{
	size_t len = strlen(prefix);

	for (size_t i = 0; i < state->journal.n_items; i++) {
		const struct journal_item *item = &state->journal.items[i];

		if (strncmp(item->key, prefix, len) == 0)
			fn(ctx, item->key, item->text);
	}
}

int
state_directory(const struct state *state)
{
	return state->journal.dir_fd;
}

uint64_t
state_write_errors(const struct state *state)
{
	return state->journal.failures;
}

void
state_close(struct state **state)
{
	if (!*state)
		return;
	journal_release(&(*state)->journal);
	free(*state);
	*state = NULL;
}
