/* Whom a client believes, and how it comes back. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "duplex.h"
#include "made.h"

#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct made ca, stranger;
static struct tls_tickets *tickets;

static int
group_setup(void **state)
{
	(void)state;
	ca = made_write("ca", (struct made_spec){.is_ca = true});
	stranger = made_write("stranger", (struct made_spec){.is_ca = true});
	tickets = tls_tickets_new();
	return tickets == NULL;
}

static int
group_teardown(void **state)
{
	(void)state;
	tls_tickets_free(&tickets);
	return 0;
}

static struct tls_server *
server_of(struct made_spec spec)
{
	struct made made = made_write("endpoint", spec);
	struct tls_cfg cfg = made_cfg(&made, 1);
	struct err err;
	struct tls_server *server =
	    tls_server_new(&cfg, tickets, 1, NULL, &err);

	made_cfg_release(&cfg);
	if (server == NULL)
		fail_msg("%s", err.text);
	return server;
}

static struct tls_client *
client_of(const char *ca_file, const char *server_name)
{
	struct pool_tls_cfg cfg = {
	    .on = true,
	    .verify = ca_file ? VERIFY_FILE : VERIFY_OFF,
	    .ca_file = (char *)ca_file,
	    .server_name = (char *)server_name,
	};
	struct err err;
	struct tls_client *client = tls_client_new(&cfg, 1, &err);

	if (client == NULL)
		fail_msg("%s", err.text);
	return client;
}

/* Connects as a pool does; the client's failure, and the server's facts. */
static const char *
visit(struct tls_client *client, struct tls_server *server, const char *host,
    char *sni_out, bool *resumed_out)
{
	struct tls_facts facts, mine;
	struct duplex duplex;
	const char *failure;

	duplex_init(&duplex);
	duplex.client.stream =
	    tls_stream_connect(client, 0, host, &duplex.client.window);
	duplex.server.stream =
	    tls_stream_accept(server, 0, &duplex.server.window);
	if (duplex_handshake(&duplex)) {
		assert_true(duplex_carry(
		    &duplex.client, &duplex.server, (const uint8_t *)"hi", 2));
		assert_true(duplex_carry(
		    &duplex.server, &duplex.client, (const uint8_t *)"hi", 2));
	}
	tls_stream_facts(duplex.server.stream, &facts);
	tls_stream_facts(duplex.client.stream, &mine);
	assert_true(span_eq(facts.sni, mine.sni));
	assert_int_equal(facts.resumed, mine.resumed);
	if (sni_out)
		snprintf(
		    sni_out, 64, "%.*s", (int)facts.sni.len, facts.sni.ptr);
	if (resumed_out)
		*resumed_out = facts.resumed;
	failure = tls_stream_failure(duplex.client.stream);
	duplex_release(&duplex);
	return failure;
}

static void
assert_verdict(struct made_spec spec, const char *ca_file, const char *host,
    const char *expected)
{
	struct tls_server *server = server_of(spec);
	struct tls_client *client = client_of(ca_file, NULL);

	assert_string_equal(visit(client, server, host, NULL, NULL), expected);
	tls_client_free(&client);
	tls_server_free(&server);
}

static const char *
empty_file(const char *name)
{
	return made_file(name, "");
}

static void
test_client__a_bad_authority_is_named(void **state)
{
	static const struct {
		const char *(*make)(const char *name);
		const char *says;
	} rows[] = {{empty_file, "bad.pem': holds no PEM certificate"},
	    {made_pipe, "bad.pem': not a regular file"}};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct pool_tls_cfg cfg = {.on = true,
		    .verify = VERIFY_FILE,
		    .ca_file = (char *)rows[i].make("bad.pem")};
		struct err err;

		assert_null(tls_client_new(&cfg, 1, &err));
		if (!strstr(err.text, rows[i].says))
			fail_msg("%s", err.text);
	}
}

static void
test_client__believes_names_and_addresses(void **state)
{
	struct made_spec spec = {.issuer = &ca,
	    .names = "DNS:up.test,DNS:*.wild.test,IP:127.0.0.1,IP:::1"};

	(void)state;
	assert_verdict(spec, ca.cert, "up.test", "none");
	assert_verdict(spec, ca.cert, "UP.test.", "none");
	assert_verdict(spec, ca.cert, "a.wild.test", "none");
	assert_verdict(spec, ca.cert, "127.0.0.1", "none");
	assert_verdict(spec, ca.cert, "::1", "none");
	assert_verdict(spec, ca.cert, "down.test", "wrong_host");
	assert_verdict(spec, ca.cert, "127.0.0.2", "wrong_host");
	assert_verdict(spec, ca.cert, "/run/app.sock", "wrong_host");
	assert_verdict(spec, stranger.cert, "up.test", "unknown_ca");
}

static void
test_client__does_not_believe_the_expired(void **state)
{
	(void)state;
	assert_verdict((struct made_spec){.issuer = &ca,
	                   .names = "DNS:up.test",
	                   .from_days = -9,
	                   .to_days = -1},
	    ca.cert, "up.test", "certificate_expired");
	assert_verdict((struct made_spec){.issuer = &ca,
	                   .names = "DNS:up.test",
	                   .from_days = 1,
	                   .to_days = 9},
	    ca.cert, "up.test", "certificate_not_yet_valid");
	assert_verdict((struct made_spec){.names = "DNS:up.test"}, ca.cert,
	    "up.test", "unknown_ca");
}

static void
test_client__verification_off_believes_all(void **state)
{
	(void)state;
	assert_verdict(
	    (struct made_spec){
	        .names = "DNS:x.test", .from_days = -9, .to_days = -1},
	    NULL, "up.test", "none");
}

/* The zeroed verify mode, without a word from the operator. */
static void
test_client__verifies_by_default(void **state)
{
	struct pool_tls_cfg cfg = {.on = true};
	struct tls_server *server =
	    server_of((struct made_spec){.names = "DNS:up.test"});
	struct err err;
	struct tls_client *client = tls_client_new(&cfg, 1, &err);

	(void)state;
	assert_non_null(client);
	assert_string_equal(
	    visit(client, server, "up.test", NULL, NULL), "unknown_ca");
	tls_client_free(&client);
	tls_server_free(&server);
}

/* What SSL_CERT_FILE and SSL_CERT_DIR name is the system's store. */
static void
test_client__believes_the_system(void **state)
{
	struct pool_tls_cfg cfg = {.on = true};
	struct tls_server *server = server_of(
	    (struct made_spec){.issuer = &ca, .names = "DNS:up.test"});
	char hashed[160];
	X509 *cert;
	FILE *file = fopen(ca.cert, "r");

	(void)state;
	cert = PEM_read_X509(file, NULL, NULL, NULL);
	fclose(file);
	snprintf(hashed, sizeof(hashed), "%s/%08lx.0", made_folder(),
	    X509_subject_name_hash(cert));
	X509_free(cert);
	for (int by_dir = 0; by_dir < 2; by_dir++) {
		struct tls_client *client;
		struct err err;

		if (by_dir) {
			assert_int_equal(symlink(ca.cert, hashed), 0);
			setenv("SSL_CERT_DIR", made_folder(), 1);
		} else
			setenv("SSL_CERT_FILE", ca.cert, 1);
		client = tls_client_new(&cfg, 1, &err);
		assert_string_equal(
		    visit(client, server, "up.test", NULL, NULL), "none");
		tls_client_free(&client);
		unsetenv("SSL_CERT_FILE");
		unsetenv("SSL_CERT_DIR");
	}
	tls_server_free(&server);
}

static void
test_client__shows_names_and_hides_addresses(void **state)
{
	struct tls_server *server = server_of(
	    (struct made_spec){.issuer = &ca, .names = "DNS:up.test"});
	struct tls_client *client = client_of(ca.cert, NULL);
	char sni[64];

	(void)state;
	visit(client, server, "Up.test.", sni, NULL);
	assert_string_equal(sni, "up.test");
	visit(client, server, "127.0.0.1", sni, NULL);
	assert_string_equal(sni, "");
	visit(client, server, "/run/app.sock", sni, NULL);
	assert_string_equal(sni, "");
	tls_client_free(&client);

	client = client_of(ca.cert, "up.test");
	assert_string_equal(
	    visit(client, server, "127.0.0.1", sni, NULL), "none");
	assert_string_equal(sni, "up.test");
	tls_client_free(&client);
	tls_server_free(&server);
}

static void
test_client__comes_back_with_its_session(void **state)
{
	struct tls_server *server = server_of((struct made_spec){
	    .issuer = &ca, .names = "DNS:up.test,DNS:two.test"});
	struct tls_client *client = client_of(ca.cert, NULL);
	bool is_resumed;

	(void)state;
	visit(client, server, "up.test", NULL, &is_resumed);
	assert_false(is_resumed);
	visit(client, server, "up.test", NULL, &is_resumed);
	assert_true(is_resumed);
	visit(client, server, "up.test", NULL, &is_resumed);
	assert_true(is_resumed);
	visit(client, server, "two.test", NULL, &is_resumed);
	assert_false(is_resumed);
	tls_client_free(&client);
	client = client_of(ca.cert, NULL);
	visit(client, server, "up.test", NULL, &is_resumed);
	assert_false(is_resumed);
	tls_client_free(&client);
	tls_server_free(&server);
}

/* A session of the right endpoint opens no door for a wrong name. */
static void
test_client__resumption_is_no_way_around_the_name(void **state)
{
	struct tls_server *server = server_of(
	    (struct made_spec){.issuer = &ca, .names = "DNS:up.test"});
	struct tls_client *client = client_of(ca.cert, NULL);

	(void)state;
	assert_string_equal(
	    visit(client, server, "up.test", NULL, NULL), "none");
	assert_string_equal(
	    visit(client, server, "down.test", NULL, NULL), "wrong_host");
	assert_string_equal(
	    visit(client, server, "down.test", NULL, NULL), "wrong_host");
	tls_client_free(&client);
	tls_server_free(&server);
}

static void
test_client__many_names_do_not_grow_it(void **state)
{
	struct tls_server *server = server_of(
	    (struct made_spec){.issuer = &ca, .names = "DNS:*.up.test"});
	struct tls_client *client = client_of(ca.cert, NULL);
	bool is_resumed;

	(void)state;
	for (int i = 0; i < 40; i++) {
		char host[32];

		snprintf(host, sizeof(host), "n%d.up.test", i);
		assert_string_equal(
		    visit(client, server, host, NULL, &is_resumed), "none");
		assert_false(is_resumed);
	}
	visit(client, server, "n39.up.test", NULL, &is_resumed);
	assert_true(is_resumed);
	visit(client, server, "n0.up.test", NULL, &is_resumed);
	assert_false(is_resumed);
	tls_client_free(&client);
	tls_server_free(&server);
}

static void
test_client__a_clear_answer_is_not_read(void **state)
{
	struct tls_client *client = client_of(NULL, NULL);
	static const char answer[] = "HTTP/1.1 200 OK\r\n\r\nevil";
	uint8_t out[4096];
	struct tls_window window = {.out = out, .out_cap = sizeof(out)};
	struct tls_stream *stream =
	    tls_stream_connect(client, 0, "up.test", &window);

	(void)state;
	assert_int_equal(tls_handshake(stream), TLS_WANT_READ);
	assert_true(window.out_len > 0);
	window.in = (const uint8_t *)answer;
	window.in_len = sizeof(answer) - 1;
	assert_int_equal(tls_handshake(stream), TLS_FAILED);
	assert_string_equal(tls_stream_failure(stream), "plaintext");
	tls_stream_free(&stream);
	tls_client_free(&client);
}

static void
test_client__a_missing_ca_file_is_named(void **state)
{
	struct pool_tls_cfg cfg = {.on = true,
	    .verify = VERIFY_FILE,
	    .ca_file = (char *)"/nowhere/ca.pem"};
	struct err err;

	(void)state;
	assert_null(tls_client_new(&cfg, 2, &err));
	assert_non_null(strstr(err.text, "'/nowhere/ca.pem'"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_client__a_bad_authority_is_named),
	    cmocka_unit_test(test_client__believes_names_and_addresses),
	    cmocka_unit_test(test_client__does_not_believe_the_expired),
	    cmocka_unit_test(test_client__verification_off_believes_all),
	    cmocka_unit_test(test_client__verifies_by_default),
	    cmocka_unit_test(test_client__believes_the_system),
	    cmocka_unit_test(test_client__shows_names_and_hides_addresses),
	    cmocka_unit_test(test_client__comes_back_with_its_session),
	    cmocka_unit_test(test_client__resumption_is_no_way_around_the_name),
	    cmocka_unit_test(test_client__many_names_do_not_grow_it),
	    cmocka_unit_test(test_client__a_clear_answer_is_not_read),
	    cmocka_unit_test(test_client__a_missing_ca_file_is_named),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
