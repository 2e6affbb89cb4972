#include "duplex.h"

#include <assert.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>

static void
wire_put(struct wire *wire, const uint8_t *bytes, size_t len)
{
	if (wire->begin == wire->end)
		wire->begin = wire->end = 0;
	if (wire->end + len > wire->cap) {
		wire->cap = (wire->end + len) * 2;
		wire->bytes = realloc(wire->bytes, wire->cap);
		assert(wire->bytes != NULL);
	}
	if (len > 0)
		memcpy(wire->bytes + wire->end, bytes, len);
	wire->end += len;
}

static void
end_init(struct end *end, struct wire *from, struct wire *to)
{
	end->from = from;
	end->to = to;
	end->chunk = SIZE_MAX;
	end->out = malloc(WINDOW_CAP);
	assert(end->out != NULL);
	end->window = (struct tls_window){
	    .out = end->out,
	    .out_cap = WINDOW_CAP,
	};
}

void
duplex_init(struct duplex *duplex)
{
	memset(duplex, 0, sizeof(*duplex));
	end_init(&duplex->client, &duplex->down, &duplex->up);
	end_init(&duplex->server, &duplex->up, &duplex->down);
}

static void
end_release(struct end *end)
{
	tls_stream_free(&end->stream);
	SSL_free(end->bare);
	free(end->out);
}

void
duplex_release(struct duplex *duplex)
{
	end_release(&duplex->client);
	end_release(&duplex->server);
	free(duplex->up.bytes);
	free(duplex->down.bytes);
}

/* What has arrived lies before the step; what is left over stays on the wire.
 */
static void
step_begin(struct end *end)
{
	size_t n = end->from->end - end->from->begin;

	if (n > end->chunk)
		n = end->chunk;
	if (end->bare) {
		if (n > 0)
			BIO_write(SSL_get_rbio(end->bare),
			    end->from->bytes + end->from->begin, (int)n);
		end->from->begin += n;
		end->moved += n;
		return;
	}
	end->window.in = end->from->bytes + end->from->begin;
	end->window.in_len = n;
}

void
end_flush(struct end *end)
{
	uint8_t bytes[4096];
	int n;

	if (end->bare) {
		while ((n = BIO_read(
		            SSL_get_wbio(end->bare), bytes, sizeof(bytes))) > 0)
			wire_put(end->to, bytes, (size_t)n);
		return;
	}
	wire_put(end->to, end->window.out, end->window.out_len);
	end->moved += end->window.out_len;
	end->window.out_len = 0;
}

static enum tls_result
step_end(struct end *end, enum tls_result result)
{
	if (end->stream) {
		size_t heard =
		    end->from->bytes == NULL
		        ? 0
		        : (size_t)(end->window.in - end->from->bytes) -
		              end->from->begin;

		assert(result != TLS_WANT_READ || end->window.in_len == 0);
		end->from->begin += heard;
		end->moved += heard;
	}
	end_flush(end);
	return result;
}

static enum tls_result
bare_result(SSL *bare, int rc)
{
	int code = SSL_get_error(bare, rc);

	if (rc == 1)
		return TLS_DONE;
	ERR_clear_error();
	switch (code) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return TLS_CLOSED;
	default:
		return TLS_FAILED;
	}
}

enum tls_result
end_handshake(struct end *end)
{
	step_begin(end);
	if (end->bare)
		return step_end(
		    end, bare_result(end->bare, SSL_do_handshake(end->bare)));
	return step_end(end, tls_handshake(end->stream));
}

enum tls_result
end_read(struct end *end, void *plain, size_t cap, size_t *n_out)
{
	*n_out = 0;
	step_begin(end);
	if (end->bare)
		return step_end(
		    end, bare_result(end->bare,
		             SSL_read_ex(end->bare, plain, cap, n_out)));
	return step_end(end, tls_read(end->stream, plain, cap, n_out));
}

enum tls_result
end_write(struct end *end, const void *plain, size_t len, size_t *n_out)
{
	*n_out = 0;
	if (end->bare) {
		enum tls_result result = bare_result(
		    end->bare, SSL_write_ex(end->bare, plain, len, n_out));

		end_flush(end);
		return result;
	} else {
		enum tls_result result =
		    tls_write(end->stream, plain, len, n_out);

		end_flush(end);
		return result;
	}
}

enum tls_result
end_drain(struct end *end)
{
	uint8_t plain[16384];
	enum tls_result result;
	size_t n;

	do
		result = end_read(end, plain, sizeof(plain), &n);
	while (result == TLS_DONE ||
	       (result == TLS_WANT_READ && end->from->begin < end->from->end));
	return result;
}

static size_t
moved(const struct duplex *duplex)
{
	return duplex->client.moved + duplex->server.moved;
}

bool
duplex_handshake(struct duplex *duplex)
{
	enum tls_result up = TLS_WANT_READ, down = TLS_WANT_READ;
	unsigned idle = 0;

	while ((up != TLS_DONE || down != TLS_DONE) && idle < 3) {
		size_t before = moved(duplex);

		if (up != TLS_DONE)
			up = end_handshake(&duplex->client);
		if (down != TLS_DONE)
			down = end_handshake(&duplex->server);
		if (up == TLS_FAILED || down == TLS_FAILED)
			break;
		idle = before == moved(duplex) ? idle + 1 : 0;
	}
	/* The other one hears the alert. */
	if (down == TLS_FAILED && up != TLS_FAILED && up != TLS_DONE)
		end_handshake(&duplex->client);
	if (up == TLS_FAILED && down != TLS_FAILED && down != TLS_DONE)
		end_handshake(&duplex->server);
	return up == TLS_DONE && down == TLS_DONE;
}

/* Reads what has arrived; false when it is not what was sent. */
static bool
end_receive(struct end *to, const uint8_t *bytes, size_t len, size_t *received)
{
	uint8_t plain[20000];
	enum tls_result result;
	size_t n;

	do {
		result = end_read(to, plain, sizeof(plain), &n);
		if (result == TLS_FAILED || result == TLS_CLOSED ||
		    *received + n > len ||
		    memcmp(bytes + *received, plain, n) != 0)
			return false;
		*received += n;
	} while (result == TLS_DONE || to->from->begin < to->from->end);
	return true;
}

bool
duplex_carry(struct end *from, struct end *to, const uint8_t *bytes, size_t len)
{
	size_t sent = 0, received = 0;
	unsigned idle = 0;

	while (received < len && idle < 3) {
		size_t before = from->moved + to->moved, n = 0;
		enum tls_result result = TLS_DONE;

		if (sent < len)
			result = end_write(from, bytes + sent, len - sent, &n);
		sent += n;
		if (result == TLS_FAILED || result == TLS_CLOSED ||
		    !end_receive(to, bytes, len, &received))
			return false;
		idle = before == from->moved + to->moved ? idle + 1 : 0;
	}
	return received == len;
}

SSL *
bare_client(
    SSL_CTX *ctx, const char *sni, const char *alpn, SSL_SESSION *session)
{
	SSL *ssl = SSL_new(ctx);
	BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());

	assert(ssl && in && out);
	BIO_set_mem_eof_return(in, -1);
	BIO_set_mem_eof_return(out, -1);
	SSL_set_bio(ssl, in, out);
	SSL_set_connect_state(ssl);
	if (sni)
		SSL_set_tlsext_host_name(ssl, sni);
	if (alpn)
		SSL_set_alpn_protos(
		    ssl, (const unsigned char *)alpn, (unsigned)strlen(alpn));
	if (session)
		SSL_set_session(ssl, session);
	return ssl;
}
