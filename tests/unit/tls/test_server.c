/* Certificates, names, protocols and refusals of the server's side. */
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
#include <sys/stat.h>

static struct made shop, wild, other, rsa_shop;
static SSL_CTX *bare12, *bare13;

static int
group_setup(void **state)
{
	(void)state;
	shop = made_write(
	    "shop", (struct made_spec){.names = "DNS:shop.example.com"});
	wild = made_write(
	    "wild", (struct made_spec){.names = "DNS:*.example.com"});
	other = made_write("other",
	    (struct made_spec){.names = "DNS:other.test,IP:127.0.0.1"});
	rsa_shop = made_write("rsa-shop", (struct made_spec){.kind = MADE_RSA,
	                                      .names = "DNS:shop.example.com"});
	bare12 = SSL_CTX_new(TLS_client_method());
	bare13 = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(bare12, TLS1_2_VERSION);
	SSL_CTX_set_min_proto_version(bare13, TLS1_3_VERSION);
	return 0;
}

static int
group_teardown(void **state)
{
	(void)state;
	SSL_CTX_free(bare12);
	SSL_CTX_free(bare13);
	return 0;
}

static struct tls_server *
server_of(const struct made *made, size_t n)
{
	struct tls_cfg cfg = made_cfg(made, n);
	struct err err;
	struct tls_server *server = tls_server_new(&cfg, NULL, 1, NULL, &err);

	made_cfg_release(&cfg);
	if (server == NULL)
		fail_msg("%s", err.text);
	return server;
}

/* A duplex with a bare client against a server. */
static void
meet(struct duplex *duplex, struct tls_server *server, SSL_CTX *ctx,
    const char *sni, const char *alpn)
{
	duplex_init(duplex);
	duplex->client.bare = bare_client(ctx, sni, alpn, NULL);
	duplex->server.stream =
	    tls_stream_accept(server, 0, &duplex->server.window);
	assert_non_null(duplex->server.stream);
}

/* The CN of the certificate that the server showed. */
static void
assert_shown(struct tls_server *server, SSL_CTX *ctx, const char *sni,
    const char *expected)
{
	struct duplex duplex;
	char cn[64] = "";
	X509 *shown;

	meet(&duplex, server, ctx, sni, NULL);
	assert_true(duplex_handshake(&duplex));
	shown = SSL_get1_peer_certificate(duplex.client.bare);
	X509_NAME_get_text_by_NID(
	    X509_get_subject_name(shown), NID_commonName, cn, sizeof(cn));
	assert_string_equal(cn, expected);
	X509_free(shown);
	duplex_release(&duplex);
}

static void
test_server__speaks_both_versions(void **state)
{
	struct tls_server *server = server_of(&shop, 1);
	SSL_CTX *contexts[] = {bare12, bare13};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct tls_facts facts;
		struct duplex duplex;

		meet(&duplex, server, contexts[i], "Shop.Example.com",
		    "\x08http/1.1");
		tls_stream_facts(duplex.server.stream, &facts);
		assert_int_equal(facts.version, 0);
		assert_true(duplex_handshake(&duplex));
		tls_stream_facts(duplex.server.stream, &facts);
		assert_int_equal(facts.version, 12 + i);
		assert_false(facts.resumed);
		assert_true(span_eq(facts.alpn, SPAN("http/1.1")));
		assert_true(span_eq(facts.sni, SPAN("shop.example.com")));
		assert_string_equal(
		    facts.cipher, i ? "TLS_AES_128_GCM_SHA256"
		                    : "ECDHE-ECDSA-AES128-GCM-SHA256");
		assert_string_equal(
		    tls_stream_failure(duplex.server.stream), "none");
		duplex_release(&duplex);
	}
	tls_server_free(&server);
}

static void
test_server__shows_exact_then_wildcard_then_first(void **state)
{
	struct made all[] = {other, wild, shop};
	struct tls_server *server = server_of(all, 3);

	(void)state;
	assert_shown(server, bare13, "shop.example.com", "shop");
	assert_shown(server, bare12, "SHOP.example.com", "shop");
	assert_shown(server, bare13, "cart.example.com", "wild");
	assert_shown(server, bare13, "a.b.example.com", "other");
	assert_shown(server, bare13, "example.com", "other");
	assert_shown(server, bare13, "elsewhere.test", "other");
	assert_shown(server, bare12, NULL, "other");
	tls_server_free(&server);
}

static void
test_server__prefers_ecdsa_and_falls_back_to_rsa(void **state)
{
	struct made both[] = {rsa_shop, shop};
	struct tls_server *server = server_of(both, 2);
	SSL_CTX *old = SSL_CTX_new(TLS_client_method());

	(void)state;
	SSL_CTX_set1_sigalgs_list(old, "RSA-PSS+SHA256:RSA+SHA256");
	assert_shown(server, bare13, "shop.example.com", "shop");
	assert_shown(server, bare12, "shop.example.com", "shop");
	assert_shown(server, bare13, NULL, "shop");
	assert_shown(server, old, "shop.example.com", "rsa-shop");
	SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
	assert_shown(server, old, "shop.example.com", "rsa-shop");
	SSL_CTX_free(old);
	tls_server_free(&server);
}

static void
test_server__alpn_without_overlap_ends_the_handshake(void **state)
{
	struct tls_server *server = server_of(&shop, 1);
	struct duplex duplex;
	struct tls_facts facts;

	(void)state;
	meet(&duplex, server, bare13, NULL,
	    "\x03"
	    "ftp");
	assert_false(duplex_handshake(&duplex));
	assert_string_equal(tls_stream_failure(duplex.server.stream),
	    "no_application_protocol");
	duplex_release(&duplex);

	meet(&duplex, server, bare13, NULL, "\x02h2\x08http/1.1");
	assert_true(duplex_handshake(&duplex));
	tls_stream_facts(duplex.server.stream, &facts);
	assert_true(span_eq(facts.alpn, SPAN("http/1.1")));
	duplex_release(&duplex);

	meet(&duplex, server, bare13, NULL, NULL);
	assert_true(duplex_handshake(&duplex));
	tls_stream_facts(duplex.server.stream, &facts);
	assert_int_equal(facts.alpn.len, 0);
	assert_int_equal(facts.sni.len, 0);
	duplex_release(&duplex);
	tls_server_free(&server);
}

static void
test_server__old_versions_and_weak_ciphers_are_refused(void **state)
{
	struct tls_server *server = server_of(&shop, 1);
	SSL_CTX *old = SSL_CTX_new(TLS_client_method());
	struct duplex duplex;

	(void)state;
	SSL_CTX_set_security_level(old, 0);
	SSL_CTX_set_min_proto_version(old, TLS1_VERSION);
	SSL_CTX_set_max_proto_version(old, TLS1_1_VERSION);
	meet(&duplex, server, old, NULL, NULL);
	assert_false(duplex_handshake(&duplex));
	assert_string_equal(
	    tls_stream_failure(duplex.server.stream), "unsupported_version");
	duplex_release(&duplex);

	SSL_CTX_set_max_proto_version(old, TLS1_2_VERSION);
	SSL_CTX_set_cipher_list(old, "ECDHE-ECDSA-AES128-SHA:AES128-SHA");
	meet(&duplex, server, old, NULL, NULL);
	assert_false(duplex_handshake(&duplex));
	assert_string_equal(
	    tls_stream_failure(duplex.server.stream), "no_shared_cipher");
	duplex_release(&duplex);
	SSL_CTX_free(old);
	tls_server_free(&server);
}

static void
test_server__min_version_13_refuses_12(void **state)
{
	struct tls_cfg cfg = made_cfg(&shop, 1);
	struct tls_server *server;
	struct duplex duplex;
	struct err err;

	(void)state;
	cfg.min_version = 13;
	server = tls_server_new(&cfg, NULL, 1, NULL, &err);
	assert_non_null(server);
	meet(&duplex, server, bare12, NULL, NULL);
	assert_false(duplex_handshake(&duplex));
	assert_string_equal(
	    tls_stream_failure(duplex.server.stream), "unsupported_version");
	duplex_release(&duplex);
	tls_server_free(&server);
	made_cfg_release(&cfg);
}

static void
test_server__clear_requests_are_recognised_and_not_answered(void **state)
{
	static const char *const requests[] = {
	    "GET / HTTP/1.1\r\n\r\n",
	    "DELETE / HTTP/1.1\r\n\r\n",
	    "PRI * HTTP/2.0\r\n\r\n",
	    "\r\n",
	};
	struct tls_server *server = server_of(&shop, 1);

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(*requests); i++) {
		uint8_t out[256];
		struct tls_window window = {
		    .in = (const uint8_t *)requests[i],
		    .in_len = strlen(requests[i]),
		    .out = out,
		    .out_cap = sizeof(out),
		};
		struct tls_stream *stream =
		    tls_stream_accept(server, 0, &window);

		assert_int_equal(tls_handshake(stream), TLS_FAILED);
		assert_string_equal(tls_stream_failure(stream), "plaintext");
		assert_int_equal(window.out_len, 0);
		assert_int_equal(tls_handshake(stream), TLS_FAILED);
		tls_stream_free(&stream);
		assert_null(stream);
	}
	tls_server_free(&server);
}

/* Any byte of a hello may be wrong; the answer is a result, never a crash. */
static void
test_server__mangled_hellos_are_survived(void **state)
{
	struct tls_server *server = server_of(&shop, 1);
	struct duplex duplex;
	uint8_t hello[4096];
	size_t len;
	uint32_t seed = 1;

	(void)state;
	meet(&duplex, server, bare13, "shop.example.com", "\x08http/1.1");
	end_handshake(&duplex.client);
	len = duplex.up.end;
	assert_in_range(len, 100, sizeof(hello));
	memcpy(hello, duplex.up.bytes, len);
	duplex_release(&duplex);
	for (int i = 0; i < 3000; i++) {
		uint8_t copy[sizeof(hello)], out[4096];
		struct tls_window window = {.in = copy,
		    .in_len = len,
		    .out = out,
		    .out_cap = sizeof(out)};
		struct tls_stream *stream =
		    tls_stream_accept(server, 0, &window);
		enum tls_result result;

		memcpy(copy, hello, len);
		for (int k = 0; k <= i % 3; k++) {
			seed = seed * 1664525 + 1013904223;
			copy[(seed >> 8) % len] ^= (uint8_t)(1 << (seed >> 29));
		}
		result = tls_handshake(stream);
		assert_true(result == TLS_WANT_READ || result == TLS_FAILED);
		if (result == TLS_FAILED)
			assert_string_not_equal(
			    tls_stream_failure(stream), "none");
		tls_stream_free(&stream);
	}
	assert_shown(server, bare13, "shop.example.com", "shop");
	tls_server_free(&server);
}

static void
test_server__renegotiation_ends_the_connection(void **state)
{
	struct tls_server *server = server_of(&shop, 1);
	struct duplex duplex;
	uint8_t plain[64];
	size_t n;

	(void)state;
	meet(&duplex, server, bare12, NULL, NULL);
	assert_true(duplex_handshake(&duplex));
	assert_int_equal(SSL_renegotiate(duplex.client.bare), 1);
	end_handshake(&duplex.client);
	assert_int_equal(
	    end_read(&duplex.server, plain, sizeof(plain), &n), TLS_FAILED);
	assert_int_equal(n, 0);
	assert_string_equal(
	    tls_stream_failure(duplex.server.stream), "renegotiation");
	assert_int_equal(end_write(&duplex.server, "x", 1, &n), TLS_FAILED);
	duplex_release(&duplex);
	tls_server_free(&server);
}

/* That there is an alert to send does not make it a renegotiation. */
static void
test_server__a_mangled_record_is_named_in_both_versions(void **state)
{
	struct tls_server *server = server_of(&shop, 1);
	SSL_CTX *clients[] = {bare12, bare13};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct duplex duplex;
		uint8_t plain[64];
		size_t n;

		meet(&duplex, server, clients[i], NULL, NULL);
		assert_true(duplex_handshake(&duplex));
		assert_int_equal(
		    end_write(&duplex.client, "hello", 5, &n), TLS_DONE);
		duplex.up.bytes[duplex.up.end - 1] ^= 1;
		assert_int_equal(
		    end_read(&duplex.server, plain, sizeof(plain), &n),
		    TLS_FAILED);
		assert_string_equal(
		    tls_stream_failure(duplex.server.stream), "bad_record_mac");
		duplex_release(&duplex);
	}
	tls_server_free(&server);
}

static void
test_server__alerts_of_the_client_are_named(void **state)
{
	struct tls_server *server = server_of(&shop, 1);
	SSL_CTX *wary = SSL_CTX_new(TLS_client_method());
	struct duplex duplex;

	(void)state;
	SSL_CTX_set_verify(wary, SSL_VERIFY_PEER, NULL);
	meet(&duplex, server, wary, NULL, NULL);
	assert_false(duplex_handshake(&duplex));
	assert_string_equal(
	    tls_stream_failure(duplex.server.stream), "unknown_ca");
	duplex_release(&duplex);
	SSL_CTX_free(wary);
	tls_server_free(&server);
}

static void
test_server__live_streams_outlive_their_server(void **state)
{
	struct made both[] = {other, shop};
	struct tls_server *server = server_of(both, 2);
	struct duplex duplex;

	(void)state;
	meet(&duplex, server, bare13, "shop.example.com", NULL);
	tls_server_free(&server);
	assert_null(server);
	assert_true(duplex_handshake(&duplex));
	assert_true(duplex_carry(
	    &duplex.client, &duplex.server, (const uint8_t *)"hello", 5));
	duplex_release(&duplex);
}

static void
test_server__self_signed_is_for_this_machine(void **state)
{
	struct tls_cfg cfg = {.min_version = 12, .self_signed = true};
	struct tls_cert_info info;
	struct err err;
	char *warnings = (char *)"untouched";
	struct tls_server *server =
	    tls_server_new(&cfg, NULL, 2, &warnings, &err);

	(void)state;
	assert_non_null(server);
	assert_null(warnings);
	assert_int_equal(tls_server_certs(server, &info, 1), 1);
	assert_string_equal(info.names, "localhost 127.0.0.1 ::1");
	assert_string_equal(info.subject, "CN=localhost");
	assert_string_equal(info.path, "");
	assert_true(info.is_ecdsa);
	assert_shown(server, bare13, "localhost", "localhost");
	tls_server_free(&server);
}

/* ---- what is said about certificates ---- */

static void
test_certs__are_described(void **state)
{
	struct made both[] = {rsa_shop, other};
	struct tls_server *server = server_of(both, 2);
	struct tls_cert_info info[2];

	(void)state;
	assert_int_equal(tls_server_certs(server, info, 1), 2);
	assert_int_equal(tls_server_certs(server, info, 2), 2);
	assert_string_equal(info[0].names, "shop.example.com");
	assert_false(info[0].is_ecdsa);
	assert_string_equal(info[0].path, rsa_shop.cert);
	assert_string_equal(info[1].names, "other.test 127.0.0.1");
	assert_string_equal(info[1].subject, "CN=other");
	assert_true(info[1].not_after > time(NULL) + 89 * 86400);
	assert_true(info[1].not_before < time(NULL));
	tls_server_free(&server);
}

static void
assert_refused(struct made made, const char *expected)
{
	struct tls_cfg cfg = made_cfg(&made, 1);
	char *warnings = (char *)"untouched";
	struct err err = {"nothing"};

	assert_null(tls_server_new(&cfg, NULL, 1, &warnings, &err));
	assert_null(warnings);
	if (strstr(err.text, expected) == NULL)
		fail_msg("'%s' does not say '%s'", err.text, expected);
	made_cfg_release(&cfg);
}

static void
test_certs__a_key_of_another_is_refused_with_both_names(void **state)
{
	struct made mixed = shop;
	char expected[512];

	(void)state;
	strcpy(mixed.key, other.key);
	snprintf(expected, sizeof(expected),
	    "certificate '%s' and key '%s' do not belong together", shop.cert,
	    other.key);
	assert_refused(mixed, expected);
}

static void
test_certs__bad_files_are_named(void **state)
{
	struct made made = shop;

	(void)state;
	strcpy(made.cert, "/nowhere/at.crt");
	assert_refused(made, "'/nowhere/at.crt': No such file");
	made = shop;
	strcpy(made.key, "/nowhere/at.key");
	assert_refused(made, "/nowhere/at.key: No such file");
	assert_refused(made, shop.cert);
	made = shop;
	strcpy(made.cert, made_file("empty.crt", "nothing here\n"));
	assert_refused(made, "empty.crt': holds no PEM certificate");
	made = shop;
	strcpy(made.cert,
	    made_file("torn.crt", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END "
	                          "CERTIFICATE-----\n"));
	assert_refused(made, "torn.crt': ");
	made = shop;
	strcpy(made.key, made_file("empty.key", "nothing here\n"));
	assert_refused(made, "empty.key': holds no PEM private key");
	made = shop;
	strcpy(made.cert, made_folder());
	assert_refused(made, "Is a directory");
}

static void
test_certs__a_pipe_is_not_waited_for(void **state)
{
	struct made made = shop;
	struct tls_cfg cfg;
	struct err err;

	(void)state;
	strcpy(made.cert, made_pipe("pipe"));
	assert_refused(made, "pipe': not a regular file");
	strcpy(made.key, made.cert);
	strcpy(made.cert, shop.cert);
	assert_refused(made, "pipe: not a regular file");
	cfg = made_cfg(&shop, 1);
	cfg.client_ca = made.key;
	assert_null(tls_server_new(&cfg, NULL, 1, NULL, &err));
	assert_non_null(strstr(err.text, "pipe': not a regular file"));
	cfg.client_ca = NULL;
	made_cfg_release(&cfg);
}

static void
test_certs__a_key_with_a_passphrase_is_refused(void **state)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	struct made made = shop;
	FILE *file;

	(void)state;
	strcpy(made.key, made_file("locked.key", ""));
	file = fopen(made.key, "w");
	PEM_write_PrivateKey(file, key, EVP_aes_128_cbc(),
	    (const unsigned char *)"word", 4, NULL, NULL);
	fclose(file);
	EVP_PKEY_free(key);
	assert_refused(made, "locked.key': has a passphrase");
}

static char *
warnings_of(struct made made)
{
	struct tls_cfg cfg = made_cfg(&made, 1);
	char *warnings = NULL;
	struct err err = {""};
	struct tls_server *server =
	    tls_server_new(&cfg, NULL, 2, &warnings, &err);

	made_cfg_release(&cfg);
	if (server == NULL)
		fail_msg("%s", err.text);
	tls_server_free(&server);
	return warnings;
}

static void
test_certs__warn_of_what_will_hurt(void **state)
{
	struct {
		struct made_spec spec;
		const char *expected;
	} cases[] = {
	    {{.names = "DNS:a.test", .from_days = -9, .to_days = 13},
	        "(a.test) ends in 13 days"},
	    {{.names = "DNS:a.test", .from_days = -9, .to_days = -3},
	        "(a.test) has expired 2 days ago"},
	    {{.names = "DNS:a.test", .from_days = 2, .to_days = 90},
	        "(a.test) is not valid yet"},
	    {{.names = "DNS:a.test", .mode = 0640},
	        "can be read by others (mode 0640)"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char *text = warnings_of(made_write("warned", cases[i].spec));

		assert_non_null(text);
		if (strstr(text, cases[i].expected) == NULL)
			fail_msg(
			    "'%s' does not say '%s'", text, cases[i].expected);
		assert_null(strchr(text, '\n'));
		free(text);
	}
	assert_null(warnings_of(shop));
	assert_null(warnings_of(made_write("fine",
	    (struct made_spec){
	        .names = "DNS:a.test", .from_days = -1, .to_days = 15})));
}

static void
test_certs__several_warnings_stand_on_lines_of_their_own(void **state)
{
	char *text = warnings_of(
	    made_write("twice", (struct made_spec){.names = "DNS:a.test",
	                            .from_days = -9,
	                            .to_days = 5,
	                            .mode = 0644}));
	size_t lines = 1;

	(void)state;
	assert_non_null(text);
	for (const char *at = text; *at; at++)
		lines += *at == '\n';
	assert_int_equal(lines, 2);
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_server__speaks_both_versions),
	    cmocka_unit_test(test_server__shows_exact_then_wildcard_then_first),
	    cmocka_unit_test(test_server__prefers_ecdsa_and_falls_back_to_rsa),
	    cmocka_unit_test(
	        test_server__alpn_without_overlap_ends_the_handshake),
	    cmocka_unit_test(
	        test_server__old_versions_and_weak_ciphers_are_refused),
	    cmocka_unit_test(test_server__min_version_13_refuses_12),
	    cmocka_unit_test(
	        test_server__clear_requests_are_recognised_and_not_answered),
	    cmocka_unit_test(test_server__mangled_hellos_are_survived),
	    cmocka_unit_test(test_server__renegotiation_ends_the_connection),
	    cmocka_unit_test(
	        test_server__a_mangled_record_is_named_in_both_versions),
	    cmocka_unit_test(test_server__alerts_of_the_client_are_named),
	    cmocka_unit_test(test_server__live_streams_outlive_their_server),
	    cmocka_unit_test(test_server__self_signed_is_for_this_machine),
	    cmocka_unit_test(test_certs__are_described),
	    cmocka_unit_test(
	        test_certs__a_key_of_another_is_refused_with_both_names),
	    cmocka_unit_test(test_certs__bad_files_are_named),
	    cmocka_unit_test(test_certs__a_pipe_is_not_waited_for),
	    cmocka_unit_test(test_certs__a_key_with_a_passphrase_is_refused),
	    cmocka_unit_test(test_certs__warn_of_what_will_hurt),
	    cmocka_unit_test(
	        test_certs__several_warnings_stand_on_lines_of_their_own),
	};

	return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
