/* Who comes through the gate of the admin API, and as whom. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
/* clang-format on */

#include "made.h"

#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>

#include "tls/tls.h"

static struct made ca, stranger, server;

static int
group_setup(void **state)
{
	(void)state;
	ca = made_write("ca", (struct made_spec){.is_ca = true});
	stranger = made_write("stranger", (struct made_spec){.is_ca = true});
	server = made_write("server",
	    (struct made_spec){.issuer = &ca, .names = "IP:127.0.0.1"});
	return 0;
}

static struct tls_gate *
gate_of(const struct made *made, const char *client_ca)
{
	struct key_pair pair = {
	    (char *)made->cert, {SECRET_FILE, (char *)made->key}};
	struct err err;
	struct tls_gate *gate = tls_gate_new(&pair, client_ca, NULL, &err);

	if (!gate)
		fail_msg("%s", err.text);
	return gate;
}

/* A client in memory at the other end of `ssl`; both are driven to the end. */
static bool
shake(SSL *ssl, const struct made *mine, const char *alpn, SSL **client_out)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
	BIO *here, *there;
	SSL *client;
	int left = 0, right = 0;

	if (mine) {
		assert_int_equal(SSL_CTX_use_certificate_file(
		                     ctx, mine->cert, SSL_FILETYPE_PEM),
		    1);
		assert_int_equal(SSL_CTX_use_PrivateKey_file(
		                     ctx, mine->key, SSL_FILETYPE_PEM),
		    1);
	}
	if (alpn)
		SSL_CTX_set_alpn_protos(
		    ctx, (const unsigned char *)alpn, (unsigned)strlen(alpn));
	client = SSL_new(ctx);
	SSL_CTX_free(ctx);
	BIO_new_bio_pair(&here, 1 << 16, &there, 1 << 16);
	SSL_set_bio(client, here, here);
	SSL_set_bio(ssl, there, there);
	for (int i = 0; i < 20; i++) {
		left = SSL_connect(client);
		right = SSL_accept(ssl);
	}
	*client_out = client;
	return left == 1 && right == 1;
}

static bool
passes(struct tls_gate *gate, const struct made *mine, struct tls_peer *peer,
    bool *has_peer_out)
{
	SSL *ssl = tls_gate_accept(gate), *client;
	bool ok;

	assert_false(tls_gate_is_open(ssl));
	ok = shake(ssl, mine, NULL, &client);
	assert_int_equal(tls_gate_is_open(ssl), ok);
	*has_peer_out = tls_gate_peer(ssl, peer);
	SSL_free(client);
	tls_gate_refuse(ssl);
	return ok;
}

static void
test_gate__a_verified_certificate_is_read_and_none_is_nobody(void **state)
{
	struct made lead = made_write("alice",
	    (struct made_spec){.issuer = &ca, .unit = SPAN("release-leads")});
	struct tls_gate *gate = gate_of(&server, ca.cert);
	struct tls_peer peer;
	bool has_peer;

	(void)state;
	assert_true(passes(gate, &lead, &peer, &has_peer));
	assert_true(has_peer);
	assert_int_equal(peer.n, 2);
	assert_string_equal(peer.part[0].field, "CN");
	assert_string_equal(peer.part[0].value, "alice");
	assert_string_equal(peer.part[1].field, "OU");
	assert_string_equal(peer.part[1].value, "release-leads");
	assert_true(passes(gate, NULL, &peer, &has_peer));
	assert_false(has_peer);
	assert_int_equal(peer.n, 0);
	tls_gate_free(&gate);
}

static void
test_gate__another_authority_and_an_old_certificate_do_not_pass(void **state)
{
	struct made rogue =
	    made_write("rogue", (struct made_spec){.issuer = &stranger});
	struct made old = made_write("old",
	    (struct made_spec){.issuer = &ca, .from_days = -9, .to_days = -1});
	struct tls_gate *gate = gate_of(&server, ca.cert);
	struct tls_peer peer;
	bool has_peer;

	(void)state;
	assert_false(passes(gate, &rogue, &peer, &has_peer));
	assert_false(has_peer);
	assert_false(passes(gate, &old, &peer, &has_peer));
	assert_false(has_peer);
	tls_gate_free(&gate);
}

static void
test_gate__without_an_authority_no_certificate_counts(void **state)
{
	struct made lead = made_write("alice",
	    (struct made_spec){.issuer = &ca, .unit = SPAN("release-leads")});
	struct tls_gate *gate = gate_of(&server, NULL);
	struct tls_peer peer;
	bool has_peer;

	(void)state;
	assert_true(passes(gate, &lead, &peer, &has_peer));
	assert_false(has_peer);
	tls_gate_free(&gate);
}

static void
test_gate__half_a_name_is_left_out(void **state)
{
	struct made odd =
	    made_write("odd", (struct made_spec){.issuer = &ca,
	                          .unit = SPAN("release-leads\0.evil")});
	struct tls_gate *gate = gate_of(&server, ca.cert);
	struct tls_peer peer;
	bool has_peer;

	(void)state;
	assert_true(passes(gate, &odd, &peer, &has_peer));
	assert_true(has_peer);
	assert_int_equal(peer.n, 1);
	assert_string_equal(peer.part[0].field, "CN");
	tls_gate_free(&gate);
}

static void
test_gate__a_connection_outlives_its_gate(void **state)
{
	struct tls_gate *gate = gate_of(&server, ca.cert);
	SSL *ssl = tls_gate_accept(gate), *client;
	char text[8] = "";

	(void)state;
	tls_gate_free(&gate);
	assert_null(gate);
	assert_true(shake(ssl, NULL, NULL, &client));
	assert_int_equal(SSL_write(client, "hello", 6), 6);
	assert_int_equal(SSL_read(ssl, text, sizeof(text)), 6);
	assert_string_equal(text, "hello");
	SSL_free(client);
	tls_gate_refuse(ssl);
}

static void
test_gate__only_http_1_1_is_agreed_on(void **state)
{
	struct tls_gate *gate = gate_of(&server, NULL);
	SSL *ssl = tls_gate_accept(gate), *client;
	const unsigned char *chosen;
	unsigned len;

	(void)state;
	assert_true(shake(ssl, NULL, "\x02h2\x08http/1.1", &client));
	SSL_get0_alpn_selected(client, &chosen, &len);
	assert_int_equal(len, 8);
	assert_memory_equal(chosen, "http/1.1", 8);
	SSL_free(client);
	tls_gate_refuse(ssl);
	ssl = tls_gate_accept(gate);
	assert_false(shake(ssl, NULL, "\x02h2", &client));
	SSL_free(client);
	tls_gate_refuse(ssl);
	tls_gate_free(&gate);
}

static void
test_gate__bad_files_are_named(void **state)
{
	const char *empty = made_file("empty.pem", "nothing\n");
	struct key_pair pair = {
	    (char *)server.cert, {SECRET_FILE, (char *)ca.key}};
	struct err err;

	(void)state;
	assert_null(tls_gate_new(&pair, NULL, NULL, &err));
	assert_non_null(strstr(err.text, "do not belong together"));
	pair.key.where = server.key;
	assert_null(tls_gate_new(&pair, empty, NULL, &err));
	assert_non_null(strstr(err.text, empty));
	assert_null(tls_gate_new(&pair, "/nonexistent/ca.pem", NULL, &err));
	assert_non_null(strstr(err.text, "/nonexistent/ca.pem"));
	assert_null(tls_gate_new(&pair, made_pipe("pipe"), NULL, &err));
	assert_non_null(strstr(err.text, "pipe': not a regular file"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(
	        test_gate__a_verified_certificate_is_read_and_none_is_nobody),
	    cmocka_unit_test(
	        test_gate__another_authority_and_an_old_certificate_do_not_pass),
	    cmocka_unit_test(
	        test_gate__without_an_authority_no_certificate_counts),
	    cmocka_unit_test(test_gate__half_a_name_is_left_out),
	    cmocka_unit_test(test_gate__a_connection_outlives_its_gate),
	    cmocka_unit_test(test_gate__only_http_1_1_is_agreed_on),
	    cmocka_unit_test(test_gate__bad_files_are_named),
	};

	return cmocka_run_group_tests(tests, group_setup, NULL);
}
