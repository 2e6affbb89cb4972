/*
 * How a connection's bytes move, in clear or over TLS.
 *
 * Reading: the bytes land in the worker's scratch and the role's `input`
 * consumes or stashes them all before the scratch is used again. Sending
 * (conn_send of conn.h): at once; only what the kernel does not take is kept.
 */
#ifndef WEIR_PROXY_TRANSPORT_H
#define WEIR_PROXY_TRANSPORT_H

#include "proxy/conn.h"

/* Reads once and passes on what came; false when reading is over for now. */
bool transport_read(struct conn *conn);
/* Sends what was kept; true when nothing is left. */
bool transport_flush(struct conn *conn);
/* Says close_notify, best effort. */
void transport_close_notify(struct conn *conn);
bool transport_is_transient(int error);

/* conn.c: what reading brought. */
void conn_on_input(struct conn *conn, char *bytes, size_t len);
void conn_on_eof(struct conn *conn);
void conn_on_reset(struct conn *conn);
void conn_on_broken(struct conn *conn);

#endif
