/* Peers' addresses in 20 bytes, see peer.h. */
#include "proxy/peer.h"

#include <arpa/inet.h>
#include <string.h>

void
peer_from(struct peer *peer, const struct sockaddr *sa)
{
	*peer = (struct peer){.family = (uint8_t)sa->sa_family};
	if (sa->sa_family == AF_INET) {
		const struct sockaddr_in *in =
		    (const struct sockaddr_in *)(const void *)sa;

		peer->bytes[10] = peer->bytes[11] = 0xff;
		memcpy(peer->bytes + 12, &in->sin_addr, 4);
		peer->port = ntohs(in->sin_port);
	} else if (sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 =
		    (const struct sockaddr_in6 *)(const void *)sa;

		memcpy(peer->bytes, &in6->sin6_addr, 16);
		peer->port = ntohs(in6->sin6_port);
		/* A dual-stack socket's v4 peer is a v4 peer. */
		if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
			peer->family = AF_INET;
	}
}

void
peer_sockaddr(const struct peer *peer, struct sockaddr_storage *sa)
{
	memset(sa, 0, sizeof(*sa));
	sa->ss_family = peer->family;
	if (peer->family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)sa;

		memcpy(&in->sin_addr, peer->bytes + 12, 4);
		in->sin_port = htons(peer->port);
	} else if (peer->family == AF_INET6) {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)sa;

		memcpy(&in6->sin6_addr, peer->bytes, 16);
		in6->sin6_port = htons(peer->port);
	}
}

size_t
peer_print(const struct peer *peer, char buf[INET6_ADDRSTRLEN])
{
	if (peer->family == AF_INET) {
		/* inet_ntop is a snprintf; this is on every request's way. */
		char *at = buf;

		for (int i = 12; i < 16; i++) {
			unsigned v = peer->bytes[i];

			if (v >= 100)
				*at++ = (char)('0' + v / 100);
			if (v >= 10)
				*at++ = (char)('0' + v / 10 % 10);
			*at++ = (char)('0' + v % 10);
			if (i < 15)
				*at++ = '.';
		}
		*at = '\0';
		return (size_t)(at - buf);
	}
	if (peer->family != AF_INET6) {
		memcpy(buf, "unix", 5);
		return 4;
	}
	inet_ntop(AF_INET6, peer->bytes, buf, INET6_ADDRSTRLEN);
	return strlen(buf);
}
