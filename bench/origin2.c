/*
 * The origin for proxies that speak HTTP/2 to their upstreams: one thread,
 * level-triggered epoll, nghttp2, HTTP/2 in clear by prior knowledge. Paths,
 * answers and counters are those of origin.c (origin_ports.h).
 *
 *   origin2 [-c COUNTERS] [-a ADDRESS] PORT=NAME ...
 *
 * All that a turn brings to a connection is answered in one send. Requests are
 * answered when they are whole; bodies are thrown away.
 */
#include "origin_ports.h"

#include <errno.h>
#include <nghttp2/nghttp2.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	EVENTS = 256,
	IN_SIZE = 64 << 10,
	OUT_SIZE = 256 << 10,
	WINDOW = 1 << 24,
};

struct conn {
	int fd;
	const struct port *port;
	nghttp2_session *session;
	size_t n_out, sent;
	bool wants_room;
	char out[OUT_SIZE];
};

struct stream {
	int32_t id;
	size_t body, left;
};

/* ---- nghttp2's questions ---- */

static int
on_begin(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct stream *stream = calloc(1, sizeof *stream);

	(void)user;
	if (stream == NULL)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	stream->id = frame->hd.stream_id;
	nghttp2_session_set_stream_user_data(session, stream->id, stream);
	return 0;
}

static int
on_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *user)
{
	struct stream *stream =
	    nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	(void)flags, (void)user;
	if (stream != NULL && name_len == 5 && memcmp(name, ":path", 5) == 0)
		stream->body = stream->left =
		    path_body((const char *)value, value_len);
	return 0;
}

static ssize_t
read_body(nghttp2_session *session, int32_t id, uint8_t *to, size_t len,
    uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct stream *stream = source->ptr;
	size_t n = stream->left < len ? stream->left : len;

	(void)session, (void)id, (void)user;
	memset(to, 'x', n);
	stream->left -= n;
	if (stream->left == 0)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

#define NV(name, value, len)                                                   \
	(nghttp2_nv)                                                           \
	{                                                                      \
		(uint8_t *)(uintptr_t)(name), (uint8_t *)(uintptr_t)(value),   \
		    sizeof(name) - 1, (len), NGHTTP2_NV_FLAG_NO_COPY_NAME      \
	}
#define NV_TEXT(name, text) NV(name, text, sizeof(text) - 1)

static void
answer(struct conn *conn, struct stream *stream)
{
	char digits[24];
	int n = snprintf(digits, sizeof digits, "%zu", stream->body);
	nghttp2_nv fields[] = {
	    NV_TEXT(":status", "200"),
	    NV_TEXT("server", "origin"),
	    NV_TEXT("date", "Sat, 22 Aug 2026 12:00:00 GMT"),
	    NV_TEXT("content-type", "application/octet-stream"),
	    NV("content-length", digits, (size_t)n),
	    NV_TEXT("cache-control", "no-store, max-age=0"),
	    NV_TEXT("etag", "\"5f3c9a-80-62d1b7a4c2e00\""),
	    NV("x-origin", conn->port->name, strlen(conn->port->name)),
	};
	nghttp2_data_provider body = {
	    .source.ptr = stream, .read_callback = read_body};

	count(conn->port->counter);
	nghttp2_submit_response(conn->session, stream->id, fields,
	    sizeof fields / sizeof fields[0], &body);
}

static int
on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
	struct stream *stream =
	    nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);

	if (stream != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) &&
	    (frame->hd.type == NGHTTP2_HEADERS ||
	        frame->hd.type == NGHTTP2_DATA))
		answer(user, stream);
	return 0;
}

static int
on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	(void)code, (void)user;
	free(nghttp2_session_get_stream_user_data(session, id));
	return 0;
}

static nghttp2_session *
session_new(struct conn *conn)
{
	static nghttp2_session_callbacks *callbacks;
	static const nghttp2_settings_entry settings[] = {
	    {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, 1000},
	    {NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1},
	};
	nghttp2_session *session;

	if (callbacks == NULL) {
		nghttp2_session_callbacks_new(&callbacks);
		nghttp2_session_callbacks_set_on_begin_headers_callback(
		    callbacks, on_begin);
		nghttp2_session_callbacks_set_on_header_callback(
		    callbacks, on_header);
		nghttp2_session_callbacks_set_on_frame_recv_callback(
		    callbacks, on_frame);
		nghttp2_session_callbacks_set_on_stream_close_callback(
		    callbacks, on_close);
	}
	if (nghttp2_session_server_new(&session, callbacks, conn) != 0)
		fail("memory");
	nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings,
	    sizeof settings / sizeof settings[0]);
	nghttp2_session_set_local_window_size(
	    session, NGHTTP2_FLAG_NONE, 0, WINDOW);
	return session;
}

/* ---- connections ---- */

static void
conn_end(struct conn *conn)
{
	/* Streams that are still open leak: the process ends with the round. */
	nghttp2_session_del(conn->session);
	close(conn->fd);
	free(conn);
}

static bool
conn_flush(struct conn *conn)
{
	while (conn->sent < conn->n_out) {
		ssize_t n = send(conn->fd, conn->out + conn->sent,
		    conn->n_out - conn->sent, MSG_NOSIGNAL);

		if (n < 0)
			return errno == EAGAIN;
		conn->sent += (size_t)n;
	}
	conn->sent = conn->n_out = 0;
	return true;
}

/* False: it is over. Stops when the kernel takes no more. */
static bool
conn_write(struct conn *conn)
{
	const uint8_t *bytes;
	ssize_t n;

	for (;;) {
		if (conn->n_out + 20000 > OUT_SIZE || conn->sent > 0) {
			if (!conn_flush(conn))
				return false;
			if (conn->n_out > 0)
				return true;
		}
		n = nghttp2_session_mem_send(conn->session, &bytes);
		if (n < 0)
			return false;
		if (n == 0)
			return conn_flush(conn);
		memcpy(conn->out + conn->n_out, bytes, (size_t)n);
		conn->n_out += (size_t)n;
	}
}

static void
conn_turn(int epoll, struct conn *conn, uint32_t what)
{
	static uint8_t in[IN_SIZE];
	bool wants_room;

	if (what & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		ssize_t n = recv(conn->fd, in, sizeof in, 0);

		if ((n < 0 && errno != EAGAIN) || n == 0 ||
		    (n > 0 && nghttp2_session_mem_recv(
		                  conn->session, in, (size_t)n) < 0)) {
			conn_end(conn);
			return;
		}
	}
	if (!conn_write(conn)) {
		conn_end(conn);
		return;
	}
	wants_room = conn->n_out > 0;
	if (wants_room != conn->wants_room) {
		struct epoll_event ev = {
		    .events = EPOLLIN | (wants_room ? EPOLLOUT : 0u),
		    .data.ptr = conn};

		conn->wants_room = wants_room;
		epoll_ctl(epoll, EPOLL_CTL_MOD, conn->fd, &ev);
	}
}

static void
port_accept(int epoll, struct port *port)
{
	int fd;

	while ((fd = accept4(port->fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
		struct conn *conn = malloc(sizeof *conn);
		struct epoll_event ev = {.events = EPOLLIN, .data.ptr = conn};

		if (conn == NULL)
			fail("memory");
		conn->fd = fd;
		conn->port = port;
		conn->n_out = conn->sent = 0;
		conn->wants_room = false;
		conn->session = session_new(conn);
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &ev);
	}
}

int
main(int argc, char **argv)
{
	static struct port ports[PORTS_MAX];
	struct epoll_event events[EVENTS];
	size_t n_ports = ports_open(argc, argv, ports);
	int epoll = epoll_create1(0);

	for (size_t i = 0; i < n_ports; i++) {
		struct epoll_event ev = {
		    .events = EPOLLIN, .data.ptr = &ports[i]};

		epoll_ctl(epoll, EPOLL_CTL_ADD, ports[i].fd, &ev);
	}
	for (;;) {
		int n = epoll_wait(epoll, events, EVENTS, -1);

		for (int i = 0; i < n; i++) {
			void *at = events[i].data.ptr;

			if (at >= (void *)ports &&
			    at < (void *)(ports + PORTS_MAX))
				port_accept(epoll, at);
			else
				conn_turn(epoll, at, events[i].events);
		}
	}
}
