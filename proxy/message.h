/*
 * What one side of a request is given to send: heads, payload, an end. To a
 * connection of HTTP/1 they are bytes, to a stream of HTTP/2 frames; both are
 * told the same, in HTTP/1's text, which is the form in which weir keeps a
 * message. One branch a piece, none a byte.
 */
#ifndef WEIR_PROXY_MESSAGE_H
#define WEIR_PROXY_MESSAGE_H

#include "proxy/h2/stream.h"
#include "proxy/request.h"

/* May more be read for that side? Else whoever reads for it pauses. */
static inline bool
message_has_room(struct conn *to)
{
	return to->is_stream && to->is_client ? stream_room(to) > 0
	                                      : to->out_len < OUT_HIGH;
}

/* An interim head, or one whose message goes on as a tunnel. */
static inline bool
message_send_head(struct conn *to, char *head, size_t len)
{
	return to->is_stream ? stream_send_head(to, head, len, false)
	                     : conn_send(to, head, len);
}

/* A head and what stands right behind it of the body; is_whole: nothing
 * follows. */
static inline bool
message_send(
    struct conn *to, char *head, size_t head_len, size_t behind, bool is_whole)
{
	return to->is_stream
	           ? stream_send_message(to, head, head_len, behind, is_whole)
	           : conn_send(to, head, head_len + behind);
}

/* Bytes of a tunnel. */
static inline bool
message_send_bytes(struct conn *to, const char *bytes, size_t len)
{
	return to->is_stream ? stream_send_bytes(to, bytes, len)
	                     : conn_send(to, bytes, len);
}

/* No more bytes of a tunnel. */
static inline void
message_send_eof(struct conn *to)
{
	if (to->is_stream)
		stream_send_eof(to);
	else
		conn_send_eof(to);
}

#endif
