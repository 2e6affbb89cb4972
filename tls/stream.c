/*
 * A stream: one connection's SSL object over the worker's window. OpenSSL
 * reads ciphertext from window->in and appends to window->out through a BIO
 * that is nothing but two memcpys, so a step costs no system call and what a
 * step says leaves in one packet.
 *
 *	begun -> handshake -> done -> closed by the peer
 *	   any of them -> failed (failure != NULL), for good
 *
 * OpenSSL's error queue belongs to the thread, not to the connection: every
 * step starts with it empty and a step that fails empties it.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inside.h"

enum {
	RECORD_MAX = 16384,
	RECORD_OVERHEAD = 32, /* header, explicit nonce and tag, at most 29 */
	RECORD_WORTH = 2048,  /* with less room than this, rather flush first */
	FIRST_HANDSHAKE = 0x16, /* the first byte of a peer who speaks TLS */
	FIRST_ALERT = 0x15,
	READS_MAX = 2 * 32, /* two for a record: its header, its body */
};

/* ---- the BIO ---- */

static int
window_read(BIO *bio, char *bytes, size_t cap, size_t *n_out)
{
	struct tls_stream *stream = BIO_get_data(bio);
	struct tls_window *window = stream->window;
	size_t n = window->in_len < cap ? window->in_len : cap;

	BIO_clear_retry_flags(bio);
	if (n == 0 || (++stream->reads > READS_MAX && stream->is_done)) {
		BIO_set_retry_read(bio);
		return -1;
	}
	memcpy(bytes, window->in, n);
	window->in += n;
	window->in_len -= n;
	*n_out = n;
	return 1;
}

static int
window_write(BIO *bio, const char *bytes, size_t len, size_t *n_out)
{
	struct tls_window *window =
	    ((struct tls_stream *)BIO_get_data(bio))->window;
	size_t room = window->out_cap - window->out_len;
	size_t n = len < room ? len : room;

	BIO_clear_retry_flags(bio);
	if (n == 0) {
		BIO_set_retry_write(bio);
		return -1;
	}
	memcpy(window->out + window->out_len, bytes, n);
	window->out_len += n;
	*n_out = n;
	return 1;
}

static long
window_ctrl(BIO *bio, int command, long number, void *arg)
{
	(void)bio, (void)number, (void)arg;
	return command == BIO_CTRL_FLUSH;
}

BIO_METHOD *
window_method_new(void)
{
	BIO_METHOD *method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "window");

	if (method == NULL || BIO_meth_set_read_ex(method, window_read) != 1 ||
	    BIO_meth_set_write_ex(method, window_write) != 1 ||
	    BIO_meth_set_ctrl(method, window_ctrl) != 1) {
		BIO_meth_free(method);
		return NULL;
	}
	return method;
}

struct tls_stream *
stream_of(SSL *ssl)
{
	return BIO_get_data(SSL_get_rbio(ssl));
}

/* ---- coming and going ---- */

static struct tls_stream *
stream_new(struct side *side, struct tls_window *window)
{
	struct tls_stream *stream = calloc(1, sizeof(*stream));
	BIO *bio = BIO_new(side->library->window_method);

	if (stream && bio)
		stream->ssl = SSL_new(side->contexts[0]);
	if (stream == NULL || bio == NULL || stream->ssl == NULL) {
		BIO_free(bio);
		free(stream);
		ERR_clear_error();
		return NULL;
	}
	BIO_set_data(bio, stream);
	BIO_set_init(bio, 1);
	SSL_set_bio(stream->ssl, bio, bio);
	stream->window = window;
	stream->side = side;
	atomic_fetch_add_explicit(&side->refs, 1, memory_order_relaxed);
	return stream;
}

struct tls_stream *
tls_stream_accept(
    struct tls_server *server, unsigned worker, struct tls_window *window)
{
	struct tls_stream *stream =
	    stream_new(server_side(server, worker), window);

	if (stream == NULL)
		return NULL;
	stream->is_server = true;
	SSL_set_accept_state(stream->ssl);
	return stream;
}

static bool
is_address(const char *name)
{
	struct in6_addr address;

	return inet_pton(AF_INET, name, &address) == 1 ||
	       inet_pton(AF_INET6, name, &address) == 1;
}

static bool
is_dns_name(const char *name)
{
	size_t len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-._");

	return len > 0 && len < SERVER_NAME_CAP && name[len] == '\0';
}

/* Lower case, without the dot of a rooted name: as certificates and SNI have
 * it. */
static char *
name_clean(const char *text)
{
	char *name = strdup(text);
	size_t len = name ? strlen(name) : 0;

	for (size_t i = 0; i < len; i++)
		name[i] = (char)tolower((unsigned char)name[i]);
	if (len > 1 && name[len - 1] == '.')
		name[len - 1] = '\0';
	return name;
}

/* Says whom we want to talk to, and holds them to it. */
static bool
peer_expect(struct tls_stream *stream, const struct client_policy *policy)
{
	SSL *ssl = stream->ssl;
	const char *name = stream->name;
	bool is_ip = is_address(name);

	if (!is_ip && is_dns_name(name)) {
		stream->shows_name = true;
		if (SSL_set_tlsext_host_name(ssl, name) != 1)
			return false;
	}
	if (!policy->is_verified)
		return true;
	if (is_ip)
		return X509_VERIFY_PARAM_set1_ip_asc(
		           SSL_get0_param(ssl), name) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, name) == 1;
}

struct tls_stream *
tls_stream_connect(struct tls_client *client, unsigned worker, const char *host,
    struct tls_window *window)
{
	struct tls_stream *stream =
	    stream_new(client_side(client, worker), window);
	const struct client_policy *policy = client_policy(client);

	if (stream == NULL)
		return NULL;
	SSL_set_connect_state(stream->ssl);
	stream->name =
	    name_clean(policy->server_name ? policy->server_name : host);
	if (stream->name == NULL || !peer_expect(stream, policy)) {
		ERR_clear_error();
		tls_stream_free(&stream);
		return NULL;
	}
	kept_offer(stream->side, stream->ssl, stream->name);
	return stream;
}

void
tls_stream_free(struct tls_stream **stream)
{
	struct tls_stream *gone = *stream;

	*stream = NULL;
	if (gone == NULL)
		return;
	/*
	 * Otherwise OpenSSL calls a session whose connection ended without a
	 * goodbye unfit for reuse, and takes a lock of the context to say so.
	 */
	SSL_set_shutdown(gone->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
	SSL_free(gone->ssl);
	side_unref(gone->side);
	free(gone->refused);
	free(gone->name);
	free(gone);
}

/* ---- steps ---- */

static enum tls_result
stream_fail(struct tls_stream *stream, const char *word)
{
	stream->failure = word;
	if (!stream->is_server && !stream->is_done)
		kept_forget(stream->side, stream->name);
	return TLS_FAILED;
}

/* What OpenSSL means by a step that did not succeed. */
static enum tls_result
step_result(struct tls_stream *stream, int rc)
{
	switch (SSL_get_error(stream->ssl, rc)) {
	case SSL_ERROR_WANT_READ:
		return TLS_WANT_READ;
	case SSL_ERROR_WANT_WRITE:
		return TLS_WANT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		stream->is_closed = true;
		return TLS_CLOSED;
	default:
		return stream_fail(stream, failure_word(stream->ssl));
	}
}

/*
 * The first byte tells TLS from anything else. OpenSSL would answer a clear
 * request with an alert, which the other side cannot read; this way the out
 * window stays empty and the caller may answer in the clear.
 */
static bool
is_plaintext(struct tls_stream *stream)
{
	uint8_t first;

	if (stream->is_begun || stream->window->in_len == 0)
		return false;
	stream->is_begun = true;
	first = stream->window->in[0];
	return first != FIRST_HANDSHAKE &&
	       (stream->is_server || first != FIRST_ALERT);
}

enum tls_result
tls_handshake(struct tls_stream *stream)
{
	int rc;

	if (stream->failure)
		return TLS_FAILED;
	if (stream->is_done)
		return TLS_DONE;
	if (is_plaintext(stream))
		return stream_fail(stream, "plaintext");
	errors_clear();
	rc = SSL_do_handshake(stream->ssl);
	if (rc != 1)
		return step_result(stream, rc);
	stream->is_done = true;
	if (!stream->is_server && SSL_session_reused(stream->ssl) &&
	    SSL_version(stream->ssl) == TLS1_2_VERSION)
		kept_renew(stream->side, stream->ssl, stream->name);
	return TLS_DONE;
}

/*
 * A TLS 1.2 server says nothing by itself while it reads, except "no" to a
 * renegotiation, and an alert about what it has found wrong. OpenSSL refuses
 * the one without an error and would read on; we hang up.
 */
static bool
has_renegotiated(const struct tls_stream *stream, size_t out_before)
{
	return stream->is_server && stream->window->out_len != out_before &&
	       SSL_version(stream->ssl) == TLS1_2_VERSION &&
	       ERR_peek_error() == 0;
}

enum tls_result
tls_read(struct tls_stream *stream, void *plain, size_t cap, size_t *n_out)
{
	size_t out_before = stream->window->out_len;
	int rc;

	assert(stream->is_done && cap > 0);
	*n_out = 0;
	if (stream->failure)
		return TLS_FAILED;
	if (stream->is_closed)
		return TLS_CLOSED;
	if (stream->window->in_len == 0 && !SSL_has_pending(stream->ssl))
		return TLS_WANT_READ;
	errors_clear();
	stream->reads = 0;
	rc = SSL_read_ex(stream->ssl, plain, cap, n_out);
	if (has_renegotiated(stream, out_before)) {
		*n_out = 0;
		return stream_fail(stream, "renegotiation");
	}
	if (rc == 1)
		return TLS_DONE;
	*n_out = 0;
	/*
	 * OpenSSL bounds empty records and warnings, not key updates: a few
	 * bytes each for the peer, a key derivation for us.
	 */
	if (stream->reads > READS_MAX)
		return stream_fail(stream, "too_many_key_updates");
	return step_result(stream, rc);
}

/* How much of `len` goes into the next record; 0: flush first. */
static size_t
record_size(const struct tls_stream *stream, size_t len)
{
	const struct tls_window *window = stream->window;
	size_t room = window->out_cap - window->out_len;
	size_t n = len < RECORD_MAX ? len : RECORD_MAX;

	if (stream->owed > 0)
		return room > 0 ? stream->owed : 0;
	if (n + RECORD_OVERHEAD <= room)
		return n;
	if (window->out_len > 0 && room < RECORD_WORTH)
		return 0;
	if (room == 0)
		return 0;
	return room > RECORD_OVERHEAD ? room - RECORD_OVERHEAD : 1;
}

enum tls_result
tls_write(
    struct tls_stream *stream, const void *plain, size_t len, size_t *n_out)
{
	enum tls_result result = TLS_DONE;
	size_t taken = 0, want;

	assert(stream->is_done && stream->owed <= len);
	*n_out = 0;
	if (stream->failure)
		return TLS_FAILED;
	while (taken < len && result == TLS_DONE) {
		size_t n;
		int rc;

		want = record_size(stream, len - taken);
		if (want == 0) {
			result = TLS_WANT_WRITE;
			break;
		}
		errors_clear();
		rc = SSL_write_ex(
		    stream->ssl, (const char *)plain + taken, want, &n);
		stream->owed = rc == 1 ? 0 : want;
		if (rc == 1)
			taken += n;
		else
			result = step_result(stream, rc);
	}
	*n_out = taken;
	return taken > 0 ? TLS_DONE : result;
}

void
tls_close(struct tls_stream *stream)
{
	if (!stream->is_done || stream->failure)
		return;
	errors_clear();
	if (SSL_shutdown(stream->ssl) < 0)
		errors_clear();
}

void
tls_stream_facts(const struct tls_stream *stream, struct tls_facts *out)
{
	const unsigned char *alpn = NULL;
	unsigned alpn_len = 0;

	*out =
	    (struct tls_facts){.alpn = SPAN(""), .sni = SPAN(""), .cipher = ""};
	if (stream->name && stream->shows_name)
		out->sni = span_of(stream->name);
	if (!stream->is_done)
		return;
	out->version = SSL_version(stream->ssl) == TLS1_3_VERSION ? 13 : 12;
	out->resumed = SSL_session_reused(stream->ssl) == 1;
	out->cipher = SSL_get_cipher_name(stream->ssl);
	SSL_get0_alpn_selected(stream->ssl, &alpn, &alpn_len);
	if (alpn_len > 0)
		out->alpn = (struct span){(const char *)alpn, alpn_len};
}

const char *
tls_stream_failure(const struct tls_stream *stream)
{
	return stream->failure ? stream->failure : "none";
}
