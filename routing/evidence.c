/*
 * Counting what the arms of a trial show. The workers' side costs a request
 * of a judged split a handful of stores into its worker's own cell; control
 * sums the cells when it looks. A unit counts only while the weights that
 * drew it are published: a worker within its turn may read them without a
 * lock (publication.c), and what comes too late is dropped.
 */
#include "routing/evidence.h"

#include "routing/memory.h"
#include "routing/registry.h"

const char *
arm_name(enum arm arm)
{
	static const char *const names[ARM_COUNT] = {
	    [ARM_CANDIDATE] = "canary", [ARM_BASELINE] = "baseline"};

	assert(arm < ARM_COUNT);
	return names[arm];
}

/* ---- shapes ---- */

unsigned
shape_size(uint64_t bytes)
{
	unsigned step;

	if (bytes == 0)
		return SHAPE_SIZE;
	step = (63 - (unsigned)__builtin_clzll(bytes)) / 2; /* of 4 */
	if (step < 2)
		step = 2;
	if (step > SHAPE_SIZE_N)
		step = SHAPE_SIZE_N;
	return SHAPE_SIZE + step - 1;
}

/*
 * Four bytes, letters as small ones; '/', '+' and '-' have that bit anyway.
 * Every judged answer is asked: no call of the library but for parameters.
 */
static inline uint32_t
fold(const char *four)
{
	uint32_t word;

	memcpy(&word, four, sizeof(word));
	return word | UINT32_C(0x20202020);
}

/* "application/json" of "application/json; charset=utf-8" */
static struct span
essence(struct span type)
{
	const char *end = type.len > 0 ? memchr(type.ptr, ';', type.len) : NULL;

	if (end != NULL)
		type.len = (size_t)(end - type.ptr);
	while (type.len > 0 && (type.ptr[type.len - 1] == ' ' ||
	                           type.ptr[type.len - 1] == '\t'))
		type.len--;
	return type;
}

/* `last` are the last four bytes. */
static enum shape_type
type_of_application(struct span type, uint32_t last)
{
	if (type.len >= 16 && fold(type.ptr + 12) == fold("grpc"))
		return SHAPE_TYPE_GRPC;
	if (last == fold("json"))
		return SHAPE_TYPE_JSON;
	if (last == fold("ript")) /* javascript, ecmascript */
		return SHAPE_TYPE_SCRIPT;
	if (last == fold("+xml") &&
	    fold(type.ptr + type.len - 8) == fold("html"))
		return SHAPE_TYPE_HTML;
	return last == fold("/xml") || last == fold("+xml") ? SHAPE_TYPE_TEXT
	                                                    : SHAPE_TYPE_OTHER;
}

static enum shape_type
type_of(struct span content_type)
{
	struct span type = essence(content_type);
	uint32_t first, last;

	if (type.len < 6) /* "text/x" */
		return type.len > 0 ? SHAPE_TYPE_OTHER : SHAPE_TYPE_NONE;
	first = fold(type.ptr);
	last = fold(type.ptr + type.len - 4);
	if (type.len > 12 && first == fold("appl") &&
	    fold(type.ptr + 4) == fold("icat") &&
	    fold(type.ptr + 8) == fold("ion/"))
		return type_of_application(type, last);
	if (first == fold("imag") && type.ptr[5] == '/')
		return SHAPE_TYPE_IMAGE;
	if (first != fold("text") || type.ptr[4] != '/')
		return SHAPE_TYPE_OTHER;
	if (last == fold("ript"))
		return SHAPE_TYPE_SCRIPT;
	return last == fold("html") ? SHAPE_TYPE_HTML : SHAPE_TYPE_TEXT;
}

/* What most answers are, alone or before parameters, by their first bytes. */
unsigned
shape_type(struct span type)
{
	const char *at = type.ptr;

	if (type.len >= 9 && fold(at + 1) == fold("ext/") &&
	    fold(at + 5) == fold("html") && (type.len == 9 || at[9] == ';'))
		return SHAPE_TYPE + SHAPE_TYPE_HTML;
	if (type.len >= 16 && fold(at + 8) == fold("ion/") &&
	    fold(at + 12) == fold("json") && (type.len == 16 || at[16] == ';'))
		return SHAPE_TYPE + SHAPE_TYPE_JSON;
	return SHAPE_TYPE + type_of(type);
}

const char *
shape_name(unsigned shape)
{
	static const char *const names[SHAPE_COUNT] = {"status none",
	    "status 1xx", "status 2xx", "status 3xx", "status 4xx",
	    "status 5xx", "size empty", "size below 64 B", "size 64 to 256 B",
	    "size 256 B to 1 KiB", "size 1 to 4 KiB", "size 4 to 16 KiB",
	    "size 16 to 64 KiB", "size 64 to 256 KiB", "size 256 KiB to 1 MiB",
	    "size 1 to 4 MiB", "size 4 to 16 MiB", "size from 16 MiB",
	    "type none", "type json", "type html", "type text", "type script",
	    "type image", "type grpc", "type other"};

	assert(shape < SHAPE_COUNT);
	return names[shape];
}

/* ---- the workers' side ---- */

/* Whoever sets the bit counts the key. */
static bool
claim(_Atomic uint64_t *bits, uint32_t key)
{
	_Atomic uint64_t *word = &bits[key / 64];
	uint64_t bit = UINT64_C(1) << (key % 64);

	return !(atomic_load_explicit(word, memory_order_relaxed) & bit) &&
	       !(atomic_fetch_or_explicit(word, bit, memory_order_relaxed) &
	           bit);
}

/*
 * Is this the unit's first word of this kind? A request that no key has
 * assigned is its own unit; a key that was made for the request cannot have
 * been seen, whoever else has its bit.
 */
static bool
is_first(const struct decision *decision, _Atomic uint64_t *bits)
{
	return decision->why != WHY_AFFINITY || claim(bits, decision->unit) ||
	       decision->sets_cookie;
}

/* The evidence that the decision's unit belongs to; NULL: none any more. */
static struct evidence *
evidence_of(const struct decision *decision)
{
	const struct weights *weights = split_weights(decision->route->split);

	return weights->serial == decision->serial ? weights->evidence : NULL;
}

static struct arm_cell *
cell_of(
    struct evidence *evidence, unsigned worker, const struct decision *decision)
{
	enum arm arm = decision->slot == evidence->candidate ? ARM_CANDIDATE
	                                                     : ARM_BASELINE;

	return &evidence->cells[worker * ARM_COUNT + arm];
}

static void
count_unit(
    struct arm_cell *cell, const struct outcome *outcome, unsigned bucket)
{
	unsigned class = outcome->first.status / 100;

	counter_add(&cell->n, 1);
	counter_add(
	    &cell->shape[SHAPE_STATUS + (class < SHAPE_STATUS_N ? class : 0)],
	    1);
	counter_add(&cell->shape[shape_size(outcome->first.bytes)], 1);
	counter_add(&cell->shape[SHAPE_TYPE + outcome->first.type], 1);
	if (outcome->first.has_latency && !outcome->first.was_slow)
		histogram_count(&cell->latency, bucket, outcome->first_byte);
}

/* Released after its unit was counted: who reads `bad` first never finds more
 * of them than units. */
static bool
count_bad(struct evidence *evidence, struct arm_cell *cell,
    const struct decision *decision)
{
	atomic_store_explicit(
	    &cell->bad, counter_read(&cell->bad) + 1, memory_order_release);
	return decision->slot == evidence->candidate &&
	       atomic_fetch_add_explicit(&evidence->alarms, 1,
	           memory_order_relaxed) == EVIDENCE_ALARM - 1;
}

bool
evidence_record(unsigned worker, const struct decision *decision,
    const struct outcome *outcome, unsigned bucket)
{
	struct evidence *evidence = evidence_of(decision);
	struct arm_cell *cell;

	if (evidence == NULL || !outcome->first.is_known)
		return false;
	cell = cell_of(evidence, worker, decision);
	if (outcome->was_shielded)
		counter_add(&cell->shielded, 1);
	/* A slow one claimed its key when its age was counted. */
	if (evidence->keys == NULL || outcome->first.was_slow ||
	    is_first(decision, evidence->keys->seen))
		count_unit(cell, outcome, bucket);
	if (!outcome->pool_failed ||
	    (evidence->keys != NULL &&
	        !is_first(decision, evidence->keys->failed)))
		return false;
	return count_bad(evidence, cell, decision);
}

nsec_t
routing_age_cut(const struct snapshot *snapshot)
{
	nsec_t least = 0;

	for (size_t i = 0; i < snapshot->config->n_splits; i++) {
		struct evidence *evidence =
		    split_weights(snapshot->splits[i])->evidence;
		nsec_t cut = evidence == NULL
		                 ? 0
		                 : atomic_load_explicit(
		                       &evidence->cut, memory_order_relaxed);

		if (cut > 0 && (least == 0 || cut < least))
			least = cut;
	}
	return least;
}

enum age
routing_record_age(unsigned worker, const struct decision *decision, nsec_t age)
{
	struct evidence *evidence = evidence_of(decision);
	struct arm_cell *cell;
	nsec_t cut;

	if (evidence == NULL)
		return AGE_NO_UNIT;
	cut = atomic_load_explicit(&evidence->cut, memory_order_relaxed);
	if (cut <= 0 || age <= cut)
		return AGE_YOUNG;
	if (evidence->keys != NULL && !is_first(decision, evidence->keys->seen))
		return AGE_NO_UNIT;
	cell = cell_of(evidence, worker, decision);
	counter_add(&cell->slow, 1);
	histogram_record(&cell->latency, age);
	return AGE_SLOW;
}

/* ---- the control thread's side ---- */

struct evidence_keys *
evidence_keys_new(void)
{
	return memory_take(1, sizeof(struct evidence_keys));
}

struct evidence *
evidence_new(unsigned workers, const struct split_trial *trial,
    struct evidence_keys *keys)
{
	struct evidence *evidence = memory_take(1, sizeof(*evidence));

	evidence->candidate = trial->candidate;
	evidence->baseline = trial->baseline;
	evidence->workers = workers;
	evidence->cells = memory_take_lines(
	    (size_t)workers * ARM_COUNT, sizeof(struct arm_cell));
	evidence->keys = keys;
	if (keys != NULL)
		keys->refs++;
	return evidence;
}

void
evidence_free(struct evidence *evidence)
{
	if (evidence->keys != NULL && --evidence->keys->refs == 0)
		free(evidence->keys);
	free(evidence->cells);
	free(evidence);
}

static void
arm_add(struct arm_sum *sum, struct arm_cell *cell)
{
	sum->bad += atomic_load_explicit(&cell->bad, memory_order_acquire);
	sum->n += counter_read(&cell->n);
	sum->slow += counter_read(&cell->slow);
	sum->shielded += counter_read(&cell->shielded);
	for (unsigned i = 0; i < SHAPE_COUNT; i++)
		sum->shape[i] += counter_read(&cell->shape[i]);
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		uint64_t n = counter_read(&cell->latency.bucket[i]);

		sum->latency[i] += n;
		sum->n_latency += n;
	}
}

bool
split_evidence_read(const struct split *split, struct evidence_sum *out)
{
	struct evidence *evidence = split_weights(split)->evidence;

	if (evidence == NULL)
		return false;
	atomic_store_explicit(&evidence->alarms, 0, memory_order_relaxed);
	*out = (struct evidence_sum){0};
	for (unsigned worker = 0; worker < evidence->workers; worker++)
		for (unsigned arm = 0; arm < ARM_COUNT; arm++)
			arm_add(&out->arm[arm],
			    &evidence->cells[worker * ARM_COUNT + arm]);
	return true;
}

/* Shapes and latencies come with a unit or with its age. */
static bool
arm_moved(
    const struct evidence *evidence, unsigned arm, const struct arm_sum *seen)
{
	uint64_t n = 0, bad = 0, slow = 0, shielded = 0;

	for (unsigned worker = 0; worker < evidence->workers; worker++) {
		const struct arm_cell *cell =
		    &evidence->cells[worker * ARM_COUNT + arm];

		n += counter_read(&cell->n);
		bad += counter_read(&cell->bad);
		slow += counter_read(&cell->slow);
		shielded += counter_read(&cell->shielded);
	}
	return n != seen->n || bad != seen->bad || slow != seen->slow ||
	       shielded != seen->shielded;
}

bool
split_evidence_moved(const struct split *split, const struct evidence_sum *seen)
{
	const struct evidence *evidence = split_weights(split)->evidence;

	if (evidence == NULL)
		return false;
	for (unsigned arm = 0; arm < ARM_COUNT; arm++)
		if (arm_moved(evidence, arm, &seen->arm[arm]))
			return true;
	return false;
}

void
split_evidence_cut(struct split *split, nsec_t cut)
{
	struct evidence *evidence = split_weights(split)->evidence;

	if (evidence != NULL)
		atomic_store_explicit(
		    &evidence->cut, cut, memory_order_relaxed);
}

/* A sum is nothing but counts: adding up is adding up its words. */
enum { SUM_WORDS = sizeof(struct evidence_sum) / sizeof(uint64_t) };
_Static_assert(SUM_WORDS * sizeof(uint64_t) == sizeof(struct evidence_sum) &&
                   sizeof(struct arm_sum) ==
                       (5 + SHAPE_COUNT + HISTOGRAM_BUCKETS) * sizeof(uint64_t),
    "evidence_sum holds more than counts");

void
evidence_subtract(const struct evidence_sum *now,
    const struct evidence_sum *before, struct evidence_sum *out)
{
	uint64_t a[SUM_WORDS], b[SUM_WORDS];

	memcpy(a, now, sizeof(a));
	memcpy(b, before, sizeof(b));
	for (unsigned i = 0; i < SUM_WORDS; i++)
		a[i] -= b[i];
	memcpy(out, a, sizeof(a));
}

void
evidence_add(struct evidence_sum *into, const struct evidence_sum *delta)
{
	uint64_t a[SUM_WORDS], b[SUM_WORDS];

	memcpy(a, into, sizeof(a));
	memcpy(b, delta, sizeof(b));
	for (unsigned i = 0; i < SUM_WORDS; i++)
		a[i] += b[i];
	memcpy(into, a, sizeof(a));
}
