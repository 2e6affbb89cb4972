/*
 * A control plane without a data plane: a registry built from config text, the
 * admin server on a thread of its own, and a small client by libcurl.
 */
#ifndef TESTS_ADMIN_PLANT_H
#define TESTS_ADMIN_PLANT_H

#include "room.h"

#include <jansson.h>
#include <pthread.h>

#include "admin/admin.h"

enum { PLANT_PORT = 21040, PLANT_METRICS_PORT = 21041 };

struct plant {
	struct room room;
	struct registry *registry;
	struct state *state;
	struct event_base *base;
	struct admin *admin;
	pthread_t thread;
	char socket[128], file[128];
	_Atomic bool is_ready;
	_Atomic size_t n_certificates;
};

/* `more` is appended to the config. Starts (or starts again) on what is in the
 * room. */
void plant_init(struct plant *plant);
void plant_write(struct plant *plant, const char *weights, const char *more);
void plant_start(struct plant *plant);
void plant_stop(struct plant *plant);
void plant_release(struct plant *plant);

struct answer_seen {
	long status;
	char *text; /* owned */
	size_t len;
	json_t *json; /* owned; NULL when it is none */
	char headers[4096];
	double seconds;
};

struct ask {
	bool by_tcp;
	unsigned port; /* by_tcp; 0: PLANT_PORT */
	const char *method, *path, *body;
	const char *headers[6]; /* "Name: value"; NULL-ended */
};

void plant_ask(
    struct plant *plant, const struct ask *ask, struct answer_seen *out);
void answer_free(struct answer_seen *answer);
/* "code" of a problem, "" without. */
const char *answer_code(const struct answer_seen *answer);

#endif
