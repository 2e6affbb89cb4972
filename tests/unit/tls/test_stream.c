/* Bytes through windows of any size, in any portions, both ways. */
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

static struct tls_server *server;
static struct tls_tickets *tickets;
static struct tls_client *client;
static SSL_CTX *bare12, *bare13;
static uint8_t *bulk;

enum { BULK = 1 << 20 };

static int
group_setup(void **state)
{
	struct tls_cfg cfg = {.min_version = 12, .self_signed = true};
	struct pool_tls_cfg pool = {.on = true, .verify = VERIFY_OFF};
	struct err err;

	(void)state;
	tickets = tls_tickets_new();
	server = tls_server_new(&cfg, tickets, 1, NULL, &err);
	client = tls_client_new(&pool, 1, &err);
	bare12 = SSL_CTX_new(TLS_client_method());
	bare13 = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(bare12, TLS1_2_VERSION);
	bulk = malloc(BULK);
	for (size_t i = 0; i < BULK; i++)
		bulk[i] = (uint8_t)(i * 2654435761U >> 13);
	return !server || !client || !tickets;
}

static int
group_teardown(void **state)
{
	(void)state;
	tls_server_free(&server);
	tls_client_free(&client);
	tls_tickets_free(&tickets);
	SSL_CTX_free(bare12);
	SSL_CTX_free(bare13);
	free(bulk);
	return 0;
}

/* Both ends ours when `ctx` is NULL. */
static void
meet(struct duplex *duplex, SSL_CTX *ctx)
{
	duplex_init(duplex);
	if (ctx)
		duplex->client.bare = bare_client(ctx, NULL, NULL, NULL);
	else
		duplex->client.stream = tls_stream_connect(
		    client, 0, "localhost", &duplex->client.window);
	duplex->server.stream =
	    tls_stream_accept(server, 0, &duplex->server.window);
}

static void
test_stream__carries_a_mebibyte_both_ways(void **state)
{
	SSL_CTX *ends[] = {NULL, bare12, bare13};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct duplex duplex;

		meet(&duplex, ends[i]);
		assert_true(duplex_handshake(&duplex));
		assert_true(
		    duplex_carry(&duplex.client, &duplex.server, bulk, BULK));
		assert_true(
		    duplex_carry(&duplex.server, &duplex.client, bulk, BULK));
		duplex_release(&duplex);
	}
}

static void
test_stream__lives_on_one_byte_at_a_time(void **state)
{
	SSL_CTX *ends[] = {NULL, bare12, bare13};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct duplex duplex;

		meet(&duplex, ends[i]);
		duplex.client.chunk = duplex.server.chunk = 1;
		assert_true(duplex_handshake(&duplex));
		assert_true(
		    duplex_carry(&duplex.client, &duplex.server, bulk, 20000));
		assert_true(
		    duplex_carry(&duplex.server, &duplex.client, bulk, 20000));
		duplex_release(&duplex);
	}
}

static void
test_stream__lives_on_a_tiny_window(void **state)
{
	size_t caps[] = {1, 7, 33, 64, 1500};

	(void)state;
	for (size_t i = 0; i < sizeof(caps) / sizeof(*caps); i++) {
		struct duplex duplex;

		meet(&duplex, NULL);
		duplex.client.window.out_cap = caps[i];
		duplex.server.window.out_cap = caps[i];
		assert_true(duplex_handshake(&duplex));
		assert_true(
		    duplex_carry(&duplex.client, &duplex.server, bulk, 5000));
		assert_true(
		    duplex_carry(&duplex.server, &duplex.client, bulk, 5000));
		duplex_release(&duplex);
	}
}

static void
test_stream__a_full_window_takes_nothing(void **state)
{
	struct duplex duplex;
	size_t n;

	(void)state;
	meet(&duplex, bare13);
	assert_true(duplex_handshake(&duplex));
	duplex.server.window.out_len = duplex.server.window.out_cap;
	assert_int_equal(
	    tls_write(duplex.server.stream, bulk, 100, &n), TLS_WANT_WRITE);
	assert_int_equal(n, 0);
	duplex.server.window.out_len = 0;
	assert_int_equal(
	    tls_write(duplex.server.stream, bulk, 100, &n), TLS_DONE);
	assert_int_equal(n, 100);
	duplex_release(&duplex);
}

/* Bulk goes in records as large as they may be: fewer tags, fewer calls. */
static void
test_stream__fills_the_window_with_large_records(void **state)
{
	struct duplex duplex;
	size_t n;

	(void)state;
	meet(&duplex, bare13);
	assert_true(duplex_handshake(&duplex));
	assert_int_equal(
	    tls_write(duplex.server.stream, bulk, BULK, &n), TLS_DONE);
	assert_in_range(n, WINDOW_CAP - 4 * 32 - 2048, WINDOW_CAP);
	assert_int_equal(
	    duplex.server.out[3] << 8 | duplex.server.out[4], 16384 + 1 + 16);
	duplex_release(&duplex);
}

static void
test_stream__a_request_is_one_read_and_one_record(void **state)
{
	struct duplex duplex;
	uint8_t plain[512];
	size_t n;

	(void)state;
	meet(&duplex, bare13);
	assert_true(duplex_handshake(&duplex));
	end_write(&duplex.client, bulk, 100, &n);
	assert_int_equal(
	    end_read(&duplex.server, plain, sizeof(plain), &n), TLS_DONE);
	assert_int_equal(n, 100);
	assert_int_equal(
	    end_read(&duplex.server, plain, sizeof(plain), &n), TLS_WANT_READ);
	assert_int_equal(
	    tls_write(duplex.server.stream, bulk, 300, &n), TLS_DONE);
	assert_int_equal(duplex.server.window.out_len, 300 + 5 + 1 + 16);
	duplex_release(&duplex);
}

/* A record larger than the caller's buffer comes in pieces without new input.
 */
static void
test_stream__a_small_buffer_gets_the_rest_later(void **state)
{
	struct duplex duplex;
	uint8_t plain[3000];
	size_t n, total = 0;

	(void)state;
	meet(&duplex, bare13);
	assert_true(duplex_handshake(&duplex));
	end_write(&duplex.client, bulk, 10000, &n);
	while (end_read(&duplex.server, plain, sizeof(plain), &n) == TLS_DONE) {
		assert_memory_equal(plain, bulk + total, n);
		total += n;
	}
	assert_int_equal(total, 10000);
	duplex_release(&duplex);
}

static void
test_stream__says_goodbye_and_hears_it(void **state)
{
	SSL_CTX *ends[] = {NULL, bare12, bare13};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct duplex duplex;
		uint8_t plain[64];
		size_t n;

		meet(&duplex, ends[i]);
		tls_close(duplex.server.stream); /* too early: says nothing */
		assert_int_equal(duplex.server.window.out_len, 0);
		assert_true(duplex_handshake(&duplex));
		end_write(&duplex.server, "bye", 3, &n);
		tls_close(duplex.server.stream);
		assert_true(duplex.server.window.out_len > 0);
		end_flush(&duplex.server);
		assert_int_equal(
		    end_read(&duplex.client, plain, sizeof(plain), &n),
		    TLS_DONE);
		assert_int_equal(
		    end_read(&duplex.client, plain, sizeof(plain), &n),
		    TLS_CLOSED);
		assert_int_equal(
		    end_read(&duplex.client, plain, sizeof(plain), &n),
		    TLS_CLOSED);
		assert_int_equal(n, 0);
		duplex_release(&duplex);
	}
}

static void
test_stream__a_changed_byte_is_a_failure_for_good(void **state)
{
	struct duplex duplex;
	uint8_t plain[64];
	size_t n;

	(void)state;
	meet(&duplex, bare13);
	assert_true(duplex_handshake(&duplex));
	end_write(&duplex.client, "hello", 5, &n);
	duplex.up.bytes[duplex.up.end - 1] ^= 1;
	assert_int_equal(
	    end_read(&duplex.server, plain, sizeof(plain), &n), TLS_FAILED);
	assert_string_equal(
	    tls_stream_failure(duplex.server.stream), "bad_record_mac");
	assert_int_equal(
	    end_read(&duplex.server, plain, sizeof(plain), &n), TLS_FAILED);
	assert_int_equal(end_write(&duplex.server, "x", 1, &n), TLS_FAILED);
	tls_close(duplex.server.stream);
	duplex_release(&duplex);
}

static void
test_stream__one_failure_does_not_touch_its_neighbour(void **state)
{
	struct duplex good, bad;
	uint8_t plain[64];
	size_t n;

	(void)state;
	meet(&good, bare13);
	meet(&bad, bare13);
	assert_true(duplex_handshake(&good));
	assert_true(duplex_handshake(&bad));
	end_write(&bad.client, "hello", 5, &n);
	bad.up.bytes[bad.up.end - 1] ^= 1;
	end_read(&bad.server, plain, sizeof(plain), &n);
	assert_true(duplex_carry(&good.client, &good.server, bulk, 100));
	assert_true(duplex_carry(&good.server, &good.client, bulk, 100));
	duplex_release(&good);
	duplex_release(&bad);
}

static void
test_stream__key_updates_are_obeyed_within_reason(void **state)
{
	struct duplex duplex;
	uint8_t plain[64];
	size_t n;

	(void)state;
	meet(&duplex, bare13);
	assert_true(duplex_handshake(&duplex));
	end_drain(&duplex.client);
	for (int i = 0; i < 100; i++) {
		SSL_key_update(duplex.client.bare, SSL_KEY_UPDATE_REQUESTED);
		end_write(&duplex.client, "hello", 5, &n);
		assert_int_equal(
		    end_read(&duplex.server, plain, sizeof(plain), &n),
		    TLS_DONE);
		assert_true(
		    duplex_carry(&duplex.server, &duplex.client, bulk, 50));
	}
	for (int i = 0; i < 100; i++) {
		SSL_key_update(duplex.client.bare, SSL_KEY_UPDATE_REQUESTED);
		SSL_do_handshake(duplex.client.bare);
		end_flush(&duplex.client);
	}
	assert_int_equal(
	    end_read(&duplex.server, plain, sizeof(plain), &n), TLS_FAILED);
	assert_string_equal(
	    tls_stream_failure(duplex.server.stream), "too_many_key_updates");
	duplex_release(&duplex);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_stream__carries_a_mebibyte_both_ways),
	    cmocka_unit_test(test_stream__lives_on_one_byte_at_a_time),
	    cmocka_unit_test(test_stream__lives_on_a_tiny_window),
	    cmocka_unit_test(test_stream__a_full_window_takes_nothing),
	    cmocka_unit_test(test_stream__fills_the_window_with_large_records),
	    cmocka_unit_test(test_stream__a_request_is_one_read_and_one_record),
	    cmocka_unit_test(test_stream__a_small_buffer_gets_the_rest_later),
	    cmocka_unit_test(test_stream__says_goodbye_and_hears_it),
	    cmocka_unit_test(test_stream__a_changed_byte_is_a_failure_for_good),
	    cmocka_unit_test(
	        test_stream__one_failure_does_not_touch_its_neighbour),
	    cmocka_unit_test(test_stream__key_updates_are_obeyed_within_reason),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
