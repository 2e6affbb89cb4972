/*
 * What TLS costs, measured in memory without a socket: handshakes (both ends,
 * and the server's part of it), records, and bytes held by an idle stream.
 * Built with the tests, run by hand:
 *
 *	build/tests/unit/tls/bench_tls_handshake [rounds]
 */
#include "duplex.h"
#include "made.h"

#include <malloc.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static double
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static size_t
resident_kb(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	size_t size = 0, resident = 0;

	if (file == NULL || fscanf(file, "%zu %zu", &size, &resident) != 2)
		return 0;
	fclose(file);
	return resident * 4;
}

static const char request[] =
    "GET / HTTP/1.1\r\nhost: shop.example.com\r\naccept: */*\r\n\r\n";
static uint8_t response[402];
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
clients(int version)
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());

	SSL_CTX_set_max_proto_version(ctx, version);
	SSL_CTX_set1_groups_list(ctx, "X25519:P-256");
	SSL_CTX_set_session_cache_mode(
	    ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(ctx, keep);
	return ctx;
}

/* One connection, one request; the CPU time of the server's steps. */
static double
round_trip(struct tls_server *server, SSL_CTX *ctx, bool is_resumed)
{
	struct duplex duplex;
	enum tls_result up = TLS_WANT_READ, down = TLS_WANT_READ;
	uint8_t plain[4096];
	double t, spent = 0;
	size_t n;

	duplex_init(&duplex);
	duplex.client.bare = bare_client(
	    ctx, "shop.example.com", "\x08http/1.1", is_resumed ? last : NULL);
	t = now_us();
	duplex.server.stream =
	    tls_stream_accept(server, 0, &duplex.server.window);
	spent += now_us() - t;
	while (up != TLS_DONE || down != TLS_DONE) {
		if (up != TLS_DONE)
			up = end_handshake(&duplex.client);
		t = now_us();
		if (down != TLS_DONE)
			down = end_handshake(&duplex.server);
		spent += now_us() - t;
		if (up == TLS_FAILED || down == TLS_FAILED) {
			printf("failed: %s\n",
			    tls_stream_failure(duplex.server.stream));
			ERR_print_errors_fp(stdout);
			exit(1);
		}
	}
	end_write(&duplex.client, request, sizeof(request) - 1, &n);
	t = now_us();
	end_read(&duplex.server, plain, sizeof(plain), &n);
	end_write(&duplex.server, response, sizeof(response), &n);
	spent += now_us() - t;
	end_read(&duplex.client, plain, sizeof(plain), &n);
	t = now_us();
	tls_stream_free(&duplex.server.stream);
	spent += now_us() - t;
	SSL_set_shutdown(duplex.client.bare, SSL_SENT_SHUTDOWN);
	duplex_release(&duplex);
	return spent;
}

static int
order(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void
handshakes(
    const char *name, struct tls_server *server, SSL_CTX *ctx, int rounds)
{
	double *full = calloc((size_t)rounds, sizeof(double));
	double *resumed = calloc((size_t)rounds, sizeof(double));

	round_trip(server, ctx, false);
	for (int i = 0; i < rounds; i++)
		full[i] = round_trip(server, ctx, false);
	for (int i = 0; i < rounds; i++)
		resumed[i] = round_trip(server, ctx, true);
	qsort(full, (size_t)rounds, sizeof(double), order);
	qsort(resumed, (size_t)rounds, sizeof(double), order);
	printf("%-14s server us: full min %.1f p50 %.1f (%.0f/s)   resumed "
	       "min %.1f p50 %.1f (%.0f/s)\n",
	    name, full[0], full[rounds / 2], 1e6 / full[rounds / 2], resumed[0],
	    resumed[rounds / 2], 1e6 / resumed[rounds / 2]);
	free(full);
	free(resumed);
}

static void
records(struct tls_server *server, SSL_CTX *ctx, size_t size, int rounds)
{
	static uint8_t plain[16384];
	struct duplex duplex;
	double t, reads = 1e9, writes = 1e9;
	size_t n;

	duplex_init(&duplex);
	duplex.client.bare = bare_client(ctx, "shop.example.com", NULL, NULL);
	duplex.server.stream =
	    tls_stream_accept(server, 0, &duplex.server.window);
	if (!duplex_handshake(&duplex))
		exit(1);
	end_drain(&duplex.client);
	for (int batch = 0; batch < 20; batch++) {
		double read_us = 0, write_us = 0;

		for (int i = 0; i < rounds / 20; i++) {
			end_write(&duplex.client, plain, size, &n);
			duplex.server.window.in =
			    duplex.up.bytes + duplex.up.begin;
			duplex.server.window.in_len =
			    duplex.up.end - duplex.up.begin;
			t = now_us();
			tls_read(
			    duplex.server.stream, plain, sizeof(plain), &n);
			tls_read(
			    duplex.server.stream, plain, sizeof(plain), &n);
			read_us += now_us() - t;
			duplex.up.begin = duplex.up.end;
			t = now_us();
			tls_write(duplex.server.stream, plain, size, &n);
			write_us += now_us() - t;
			end_flush(&duplex.server);
			end_read(&duplex.client, plain, sizeof(plain), &n);
		}
		read_us /= rounds / 20;
		write_us /= rounds / 20;
		reads = read_us < reads ? read_us : reads;
		writes = write_us < writes ? write_us : writes;
	}
	t = now_us();
	for (int i = 0; i < 1000; i++)
		now_us();
	t = (now_us() - t) / 1001;
	printf("record %5zu     read %.2f us, write %.2f us\n", size, reads - t,
	    writes - t);
	duplex_release(&duplex);
}

/* Bytes that malloc holds for one stream that has answered a request. */
static void
memory(struct tls_server *server, SSL_CTX *ctx)
{
	enum { N = 64 };
	struct duplex duplex[N];
	uint8_t plain[4096];
	size_t held = 0, n;

	for (int i = 0; i < N; i++) {
		size_t before, after;

		duplex_init(&duplex[i]);
		duplex[i].client.bare =
		    bare_client(ctx, "shop.example.com", "\x08http/1.1", NULL);
		before = mallinfo2().uordblks;
		duplex[i].server.stream =
		    tls_stream_accept(server, 0, &duplex[i].server.window);
		/* Wires and the client are counted too: take them out below. */
		after = mallinfo2().uordblks;
		held += after - before;
		if (!duplex_handshake(&duplex[i]))
			exit(1);
		end_write(&duplex[i].client, request, sizeof(request) - 1, &n);
		end_read(&duplex[i].server, plain, sizeof(plain), &n);
		end_write(&duplex[i].server, response, sizeof(response), &n);
		end_drain(&duplex[i].client);
	}
	printf("memory         after accept %zu bytes\n", held / N);
	held = 0;
	for (int i = 0; i < N; i++) {
		size_t before = mallinfo2().uordblks;

		tls_stream_free(&duplex[i].server.stream);
		held += before - mallinfo2().uordblks;
		duplex_release(&duplex[i]);
	}
	printf("memory         after the first request %zu bytes\n", held / N);
}

int
main(int argc, char **argv)
{
	int rounds = argc > 1 ? atoi(argv[1]) : 2000;
	struct made made[] = {
	    made_write("ec", (struct made_spec){MADE_EC, "DNS:shop.example.com",
	                         0, 0, 0, NULL, false}),
	};
	struct tls_cfg cfg = made_cfg(made, 1);
	struct tls_tickets *tickets = tls_tickets_new();
	struct err err;
	size_t before = mallinfo2().uordblks;
	struct tls_server *server =
	    tls_server_new(&cfg, tickets, 2, NULL, &err);
	SSL_CTX *tls13 = clients(TLS1_3_VERSION);
	SSL_CTX *tls12 = clients(TLS1_2_VERSION);

	if (server == NULL) {
		puts(err.text);
		return 1;
	}
	printf("memory         server of 2 workers %zu KB\n",
	    (mallinfo2().uordblks - before) / 1024);
	before = mallinfo2().uordblks;
	for (int i = 0; i < 200; i++) {
		struct tls_server *again =
		    tls_server_new(&cfg, tickets, 2, NULL, &err);

		if (i == 0)
			printf("memory         a second server %zu KB\n",
			    (mallinfo2().uordblks - before) / 1024);
		tls_server_free(&again);
		if (i == 19)
			before = resident_kb();
	}
	printf("memory         after 180 more reloads %+ld KB resident\n",
	    (long)resident_kb() - (long)before);
	handshakes("TLS 1.3", server, tls13, rounds);
	handshakes("TLS 1.2", server, tls12, rounds);
	records(server, tls13, 402, rounds * 10);
	records(server, tls13, 1400, rounds * 10);
	records(server, tls13, 4096, rounds * 10);
	records(server, tls13, 16384, rounds * 4);
	memory(server, tls13);
	tls_server_free(&server);
	tls_tickets_free(&tickets);
	SSL_CTX_free(tls13);
	SSL_CTX_free(tls12);
	SSL_SESSION_free(last);
	made_cfg_release(&cfg);
	return 0;
}
