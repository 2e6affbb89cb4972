/*
 * What the rest of the folder asks of the runtime state beyond admin.h.
 */
#ifndef WEIR_ADMIN_STATE_H
#define WEIR_ADMIN_STATE_H

#include "admin/admin.h"

/* Records every split that differs from what is on disk (after a start or a
 * reload). */
bool state_sync(
    struct state *state, struct registry *registry, struct err *err);
/* A split as its record has it; the caller frees. NULL: no memory. */
char *split_state_print(const struct split_state *split);
/* The caller releases `out` either way. */
bool split_state_parse(const char *text, struct split_state *out);
/* An endpoint's administrative state; ENDPOINT_ACTIVE is recorded too. */
struct endpoint_change {
	enum endpoint_admin admin;
	time_t at;
	const char *by, *reason; /* borrowed; NULL: not known */
};
bool state_put_endpoint(struct state *state, const char *pool,
    const char *address, const struct endpoint_change *change, struct err *err);
/* What was said of endpoints, read once for many questions. NULL: out of
 * memory, and nothing is known. */
struct state_words;
struct state_words *state_words_read(const struct state *state);
void state_words_free(struct state_words **words);
/* The last change of it, or of the name that it comes from, as an object with
 * "at", "by" and "reason", borrowed. NULL: none is known. */
const struct json_t *state_words_last(struct state_words *words,
    const char *pool, const struct endpoint *endpoint);
/* Gives endpoints that appeared (a start, a reload) their recorded state. */
void state_restore_endpoints(struct state *state, struct registry *registry);

/* What others keep there: an object's whole JSON text under a key of their own.
 */
bool state_put(
    struct state *state, const char *key, const char *text, struct err *err);
/* For what leads back: even when the disk is full. */
bool state_put_back(
    struct state *state, const char *key, const char *text, struct err *err);
/* The last write failed, and nothing but a way back has been recorded since. */
bool state_is_behind(const struct state *state);
bool state_drop(struct state *state, const char *key, struct err *err);
/* NULL: nothing there. */
const char *state_get(const struct state *state, const char *key);
/* All whose key begins with `prefix`; `fn` must not put or drop. */
typedef void state_fn(void *ctx, const char *key, const char *text);
void state_each(
    const struct state *state, const char *prefix, state_fn *fn, void *ctx);

/*
 * Files beside the journal for what may be a second old, written over what was
 * there and not synced: a process that dies may leave one half-written, so
 * whoever writes keeps two and knows a whole one when he sees it. They survive
 * the process, not always the machine.
 */
bool state_write_file(struct state *state, const char *name, const void *bytes,
    size_t len, struct err *err);
/* The caller frees; false: there is none that can be read. */
bool state_read_file(const struct state *state, const char *name,
    void **bytes_out, size_t *len_out);
bool state_has_file(const struct state *state, const char *name);
void state_remove_file(struct state *state, const char *name);
int state_directory(const struct state *state); /* for state_file.c */

const char *endpoint_admin_name(enum endpoint_admin admin);
bool endpoint_admin_of(const char *word, enum endpoint_admin *out);

#endif
