/* A peer's address without the 128 bytes of a sockaddr_storage. */
#ifndef WEIR_PROXY_PEER_H
#define WEIR_PROXY_PEER_H

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct peer {
	uint8_t bytes[16]; /* v4 as ::ffff:a.b.c.d */
	uint16_t port;
	uint8_t family;    /* AF_INET, AF_INET6, AF_UNIX */
};

void peer_from(struct peer *peer, const struct sockaddr *sa);
void peer_sockaddr(const struct peer *peer, struct sockaddr_storage *sa);
/* "10.0.0.1", "2001:db8::1", "unix"; returns the length. */
size_t peer_print(const struct peer *peer, char buf[INET6_ADDRSTRLEN]);

#endif
