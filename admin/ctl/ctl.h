/*
 * weirctl: the client of the admin API. A command gets its words and flags,
 * asks over HTTP, prints a table or one JSON document, and returns an exit
 * code that scripts may rely on.
 */
#ifndef WEIR_ADMIN_CTL_H
#define WEIR_ADMIN_CTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "config/config.h"

/* The contract's exit codes. */
enum {
	CTL_OK = 0,
	CTL_INTERNAL = 1,
	CTL_USAGE = 2,
	CTL_NOT_FOUND = 3,
	CTL_NOT_ALLOWED = 4,
	CTL_UNREACHABLE = 5,
	CTL_CONFLICT = 6,
	/* how a rollout ended, or where one that is waited for stands */
	CTL_ROLLED_BACK = 10,
	CTL_ABORTED = 11,
	CTL_TIMED_OUT = 12,
	CTL_HELD = 13,
	CTL_APPROVAL = 14,
};

enum { CTL_WORDS_MAX = 64 };

struct ctl {
	const struct ctl_command *command;
	const char *words[CTL_WORDS_MAX]; /* after the command */
	size_t n_words;
	bool is_json, is_watch, is_dry_run, is_follow;
	bool is_waiting, is_full;
	bool has_colour, has_timeout;
	const char *admin; /* "unix:/path", "host:port", "https://host:port" */
	const char *cacert, *cert, *key; /* of an https address; NULL: not given */
	const char *reason, *if_match, *pool, *limit; /* NULL: not given */
	const char *to, *plan, *release, *wait_for, *gate, *count, *id;
	long timeout_ms;
	char error[256]; /* what the HTTP client says of the last failure */
};

/* Of a command, or of a verb of one. */
struct ctl_command {
	const char *name, *usage, *summary, *more, *example;
	int (*run)(struct ctl *ctl);
	const struct ctl_command *verbs; /* up to a name NULL; the first word is one */
};
/* Runs the verb that the first word names, with the words after it. */
int ctl_run_verb(struct ctl *ctl);

/* ---- the terminal (terminal.c) ---- */

/* From now on no control character but line breaks and tabs gets through
   stdout and stderr, whoever prints. False: no memory. */
bool ctl_guard_terminal(void);
/* Past it. False: it cannot be written to. */
bool ctl_clear_screen(void);

/* ---- asking (http.c) ---- */

struct ctl_request {
	const char *method;
	const char *path; /* below the root, escaped */
	json_t *body;     /* borrowed; NULL without */
	struct span text; /* instead of body, with type */
	const char *type;
	const char *etag; /* wait for another one ... */
	int wait_seconds; /* ... for so long; 0: no waiting */
	bool is_probe;    /* 404 and an unreachable weir are not told */
};

struct ctl_answer {
	long status;
	char *text; /* owned, NUL-ended */
	size_t len;
	json_t *json; /* owned; NULL when it is none */
	char etag[48]; /* "" without */
};

/* CTL_OK with an answer that the caller releases, or an exit code after telling
 * why. */
int ctl_ask(
    struct ctl *ctl, const struct ctl_request *request, struct ctl_answer *out);
int ctl_get(struct ctl *ctl, const char *path, struct ctl_answer *out);
void ctl_answer_release(struct ctl_answer *answer);
/* Calls fn for every chunk of a stream until it ends; no time limit. */
int ctl_stream(struct ctl *ctl, const char *path,
    void (*fn)(void *ctx, const char *bytes, size_t len), void *ctx);
/* "/v1/splits/<escaped>/undo"; the caller frees. */
char *ctl_path(const char *before, const char *name, const char *after);

/* ---- asking and printing (show.c) ---- */

typedef void ctl_print_fn(const json_t *answer);
/* As JSON where that is wanted, or nothing else can be had (NULL); releases. */
int ctl_show(const struct ctl *ctl, struct ctl_answer *answer, ctl_print_fn *print);
/* What stands at `path`, which is taken over (NULL: no memory). */
int ctl_show_path(struct ctl *ctl, char *path, ctl_print_fn *print);
/* A change by `body`, with the reason in it, or its dry run. Takes `path` (NULL: no memory) and
 * the reference to `body`. CTL_OK with an answer to release. */
int ctl_change(struct ctl *ctl, const char *method, char *path, json_t *body,
    struct ctl_answer *out);

/* ---- printing (print.c) ---- */

/* A cell's text is copied; columns are as wide as their widest cell. */
struct ctl_table;
struct ctl_table *ctl_table_new(const char *const *heads, size_t n);
void ctl_table_cell(struct ctl_table *table, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void ctl_table_print(struct ctl_table **table, FILE *out); /* and frees */

int ctl_print_json(const json_t *json);
/* A line of text that came over the wire: control characters as '?'. */
void ctl_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
int ctl_usage(const struct ctl *ctl, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
const char *ctl_text(
    const json_t *object, const char *key); /* "-" when null or absent */
double ctl_number(const json_t *object, const char *key);
void ctl_print_percent(
    char *buf, size_t cap, const json_t *value); /* "5%", "33.33%", "-" */
void ctl_print_ms(char *buf, size_t cap, const json_t *value);
void ctl_print_age(
    char *buf, size_t cap, const char *time); /* "3m" since an RFC 3339 time */
/* 404s of the client's own making: suggests among words; returns CTL_NOT_FOUND.
 */
int ctl_unknown(
    const char *kind, const char *word, const char *const *words, size_t n);

/* ---- the commands ---- */

int ctl_status(struct ctl *ctl); /* status.c */
int ctl_top(struct ctl *ctl);
int ctl_pool(struct ctl *ctl); /* pool.c */
int ctl_endpoint(struct ctl *ctl);
int ctl_cert(struct ctl *ctl);
int ctl_weights(struct ctl *ctl); /* weights.c */
int ctl_split(struct ctl *ctl);
int ctl_undo(struct ctl *ctl);
int ctl_config(struct ctl *ctl); /* config.c */
int ctl_events(struct ctl *ctl); /* audit.c */
int ctl_audit(struct ctl *ctl);
extern const struct ctl_command ctl_rollout_verbs[]; /* rollout.c */
int ctl_signal(struct ctl *ctl);                     /* signal.c */
int ctl_freeze(struct ctl *ctl);
/* Prints one split as a table; shared by weights, undo and split. */
void ctl_print_split(const json_t *split);

#endif
