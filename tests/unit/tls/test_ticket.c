/* Sessions that come back: across reloads and rotations, never across names. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "duplex.h"
#include "made.h"

#include <stdlib.h>
#include <string.h>

static struct made made[2];
static SSL_SESSION *last;

static int
keep(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(last);
	last = session;
	return 1;
}

static SSL_CTX *
client_of(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set_session_cache_mode(
	    ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep);
	return ctx;
}

static struct tls_server *
server_of(struct tls_tickets *tickets, unsigned workers)
{
	struct tls_cfg cfg = made_cfg(made, 2);
	struct err err;
	struct tls_server *server =
	    tls_server_new(&cfg, tickets, workers, NULL, &err);

	made_cfg_release(&cfg);
	assert_non_null(server);
	return server;
}

/* Connects, keeps the ticket; tells whether the session was an old one. */
static bool
visit(struct tls_server *server, unsigned worker, SSL_CTX *ctx, const char *sni,
    SSL_SESSION *session)
{
	struct tls_facts facts;
	struct duplex duplex;

	duplex_init(&duplex);
	duplex.client.bare = bare_client(ctx, sni, NULL, session);
	duplex.server.stream =
	    tls_stream_accept(server, worker, &duplex.server.window);
	assert_true(duplex_handshake(&duplex));
	assert_true(duplex_carry(
	    &duplex.server, &duplex.client, (const uint8_t *)"hello", 5));
	tls_stream_facts(duplex.server.stream, &facts);
	assert_int_equal(facts.resumed, SSL_session_reused(duplex.client.bare));
	if (SSL_version(duplex.client.bare) == TLS1_2_VERSION) {
		/* OpenSSL does not tell of a renewed ticket by itself. */
		SSL_SESSION_free(last);
		last = SSL_get1_session(duplex.client.bare);
	}
	SSL_set_shutdown(
	    duplex.client.bare, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	duplex_release(&duplex);
	return facts.resumed;
}

static int
group_setup(void **state)
{
	(void)state;
	made[0] = made_write("a", (struct made_spec){.names = "DNS:a.test"});
	made[1] = made_write(
	    "b", (struct made_spec){.names = "DNS:b.test,DNS:c.test"});
	return 0;
}

static int
setup(void **state)
{
	*state = tls_tickets_new();
	return *state == NULL;
}

static int
teardown(void **state)
{
	struct tls_tickets *tickets = *state;

	SSL_SESSION_free(last);
	last = NULL;
	tls_tickets_free(&tickets);
	return tickets != NULL;
}

static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

static void
test_ticket__resumes_on_any_worker_and_after_a_reload(void **state)
{
	for (int i = 0; i < 2; i++) {
		SSL_CTX *ctx = client_of(versions[i]);
		struct tls_server *server = server_of(*state, 2);

		assert_false(visit(server, 0, ctx, "a.test", NULL));
		assert_non_null(last);
		assert_true(visit(server, 0, ctx, "a.test", last));
		assert_true(visit(server, 1, ctx, "a.test", last));
		tls_server_free(&server);
		server = server_of(*state, 2);
		assert_true(visit(server, 1, ctx, "a.test", last));
		tls_server_free(&server);
		SSL_CTX_free(ctx);
	}
}

static void
test_ticket__survives_one_rotation_and_not_two(void **state)
{
	for (int i = 0; i < 2; i++) {
		SSL_CTX *ctx = client_of(versions[i]);
		struct tls_server *server = server_of(*state, 1);
		SSL_SESSION *first;

		assert_false(visit(server, 0, ctx, "a.test", NULL));
		first = last;
		SSL_SESSION_up_ref(first);
		tls_tickets_rotate(*state);
		assert_true(visit(server, 0, ctx, "a.test", first));
		tls_tickets_rotate(*state);
		assert_false(visit(server, 0, ctx, "a.test", first));
		SSL_SESSION_free(first);
		tls_server_free(&server);
		SSL_CTX_free(ctx);
	}
}

static void
test_ticket__is_renewed_by_the_key_of_the_day(void **state)
{
	SSL_CTX *ctx = client_of(TLS1_2_VERSION);
	struct tls_server *server = server_of(*state, 1);

	visit(server, 0, ctx, "a.test", NULL);
	for (int i = 0; i < 5; i++) {
		tls_tickets_rotate(*state);
		assert_true(visit(server, 0, ctx, "a.test", last));
	}
	tls_server_free(&server);
	SSL_CTX_free(ctx);
}

static void
test_ticket__of_another_ring_is_a_full_handshake(void **state)
{
	struct tls_tickets *foreign = tls_tickets_new();
	SSL_CTX *ctx = client_of(TLS1_3_VERSION);
	struct tls_server *server = server_of(*state, 1);
	struct tls_server *elsewhere = server_of(foreign, 1);

	visit(server, 0, ctx, "a.test", NULL);
	assert_false(visit(elsewhere, 0, ctx, "a.test", last));
	tls_server_free(&server);
	tls_server_free(&elsewhere);
	tls_tickets_free(&foreign);
	SSL_CTX_free(ctx);
}

static void
test_ticket__opens_nothing_under_another_certificate(void **state)
{
	for (int i = 0; i < 2; i++) {
		SSL_CTX *ctx = client_of(versions[i]);
		struct tls_server *server = server_of(*state, 1);

		visit(server, 0, ctx, "a.test", NULL);
		assert_false(visit(server, 0, ctx, "b.test", last));
		assert_false(visit(server, 0, ctx, "a.test", last));
		/* The default certificate is a's, with or without the name. */
		assert_true(visit(server, 0, ctx, "unknown.test", last));
		tls_server_free(&server);
		SSL_CTX_free(ctx);
	}
}

static void
test_ticket__none_without_a_ring(void **state)
{
	struct tls_server *server = server_of(NULL, 1);

	(void)state;
	for (int i = 0; i < 2; i++) {
		SSL_CTX *ctx = client_of(versions[i]);
		SSL_SESSION *kept;

		visit(server, 0, ctx, "a.test", NULL);
		kept = last;
		if (kept)
			SSL_SESSION_up_ref(kept);
		assert_false(visit(server, 0, ctx, "a.test", kept));
		SSL_SESSION_free(kept);
		SSL_CTX_free(ctx);
	}
	tls_server_free(&server);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TICKET_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	    TICKET_TEST(test_ticket__resumes_on_any_worker_and_after_a_reload),
	    TICKET_TEST(test_ticket__survives_one_rotation_and_not_two),
	    TICKET_TEST(test_ticket__is_renewed_by_the_key_of_the_day),
	    TICKET_TEST(test_ticket__of_another_ring_is_a_full_handshake),
	    TICKET_TEST(test_ticket__opens_nothing_under_another_certificate),
	    TICKET_TEST(test_ticket__none_without_a_ring),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
