/*
 * Several workers shake hands while the control thread rotates keys and puts
 * a new server in place. What it finds best is found with -Db_sanitize=thread.
 */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "duplex.h"
#include "made.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

enum { WORKERS = 2, VISITS = 60 };

struct shared {
	pthread_mutex_t lock; /* stands for the proxy's way to publish */
	struct tls_server *server;
	struct tls_client *client;
	atomic_uint running;
};

struct worker {
	struct shared *shared;
	unsigned number, done;
	pthread_t thread;
};

static void
visit(struct worker *worker, int i)
{
	static const char *const hosts[] = {"a.test", "b.test"};
	struct shared *shared = worker->shared;
	struct duplex duplex;

	duplex_init(&duplex);
	duplex.client.stream = tls_stream_connect(shared->client,
	    worker->number, hosts[i & 1], &duplex.client.window);
	pthread_mutex_lock(&shared->lock);
	duplex.server.stream = tls_stream_accept(
	    shared->server, worker->number, &duplex.server.window);
	pthread_mutex_unlock(&shared->lock);
	if (duplex_handshake(&duplex) &&
	    duplex_carry(
	        &duplex.client, &duplex.server, (const uint8_t *)"hello", 5) &&
	    duplex_carry(
	        &duplex.server, &duplex.client, (const uint8_t *)"hello", 5))
		worker->done++;
	duplex_release(&duplex);
}

static void *
work(void *arg)
{
	struct worker *worker = arg;

	for (int i = 0; i < VISITS; i++)
		visit(worker, i);
	atomic_fetch_sub(&worker->shared->running, 1);
	return NULL;
}

static struct tls_server *
server_of(struct tls_tickets *tickets, const struct made *made)
{
	struct tls_cfg cfg = made_cfg(made, 2);
	struct err err;
	struct tls_server *server =
	    tls_server_new(&cfg, tickets, WORKERS, NULL, &err);

	made_cfg_release(&cfg);
	return server;
}

static void
test_workers__are_not_disturbed_by_reloads_and_rotations(void **state)
{
	struct made made[] = {
	    made_write("a", (struct made_spec){.names = "DNS:a.test"}),
	    made_write("b", (struct made_spec){.names = "DNS:b.test"}),
	};
	struct tls_tickets *tickets = tls_tickets_new();
	struct pool_tls_cfg pool = {.on = true, .verify = VERIFY_OFF};
	struct worker workers[WORKERS];
	struct shared shared = {.lock = PTHREAD_MUTEX_INITIALIZER};
	struct err err;

	(void)state;
	shared.server = server_of(tickets, made);
	shared.client = tls_client_new(&pool, WORKERS, &err);
	assert_non_null(shared.server);
	assert_non_null(shared.client);
	atomic_init(&shared.running, WORKERS);
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){.shared = &shared, .number = i};
		assert_int_equal(
		    pthread_create(&workers[i].thread, NULL, work, &workers[i]),
		    0);
	}
	while (atomic_load(&shared.running) > 0) {
		struct tls_server *next = server_of(tickets, made), *old;

		assert_non_null(next);
		pthread_mutex_lock(&shared.lock);
		old = shared.server;
		shared.server = next;
		pthread_mutex_unlock(&shared.lock);
		tls_server_free(&old);
		tls_tickets_rotate(tickets);
	}
	for (unsigned i = 0; i < WORKERS; i++) {
		pthread_join(workers[i].thread, NULL);
		assert_int_equal(workers[i].done, VISITS);
	}
	tls_server_free(&shared.server);
	tls_client_free(&shared.client);
	tls_tickets_free(&tickets);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_workers__are_not_disturbed_by_reloads_and_rotations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
