/*
 * A client that does exactly what it says: N keep-alive requests over C
 * connections in lockstep (a request on each, then an answer from each), so
 * that two runs give a proxy the same work in the same shape. Made for counts
 * (instructions, system calls), not for speed.
 *
 *   client PORT PATH REQUESTS [CONNECTIONS [STATUS]]
 *
 * Exit 0 when every answer was a whole one of that status (200).
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { CONNS_MAX = 256, HEAD_MAX = 16 << 10, PATIENCE = 30 /* seconds */ };

static int
conn_open(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct timeval patience = {.tv_sec = PATIENCE};
	struct sockaddr_in sa = {.sin_family = AF_INET,
	    .sin_port = htons((unsigned short)port),
	    .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	if (connect(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
		fprintf(stderr, "client: connect: %s\n", strerror(errno));
		exit(1);
	}
	return fd;
}

static void
request_send(int fd, const char *path)
{
	char text[1024];
	/* What a browser sends: about 390 bytes with the path. */
	int n = snprintf(text, sizeof text,
	    "GET %s HTTP/1.1\r\n"
	    "Host: shop.example.com\r\n"
	    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) "
	    "Gecko/20100101 Firefox/128.0\r\n"
	    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,"
	    "*/*;q=0.8\r\n"
	    "Accept-Language: en-GB,en;q=0.5\r\n"
	    "Accept-Encoding: gzip, deflate, br\r\n"
	    "Cookie: session=8d1f5c0e7a9b4d3c; theme=light\r\n"
	    "\r\n",
	    path);

	if (send(fd, text, (size_t)n, MSG_NOSIGNAL) != n) {
		fprintf(stderr, "client: send: %s\n", strerror(errno));
		exit(1);
	}
}

/* Whole head in `text` (NUL-ended), and how much of the body came with it. */
static bool
head_read(int fd, char *text, size_t *body_out)
{
	size_t have = 0;

	for (;;) {
		ssize_t n = recv(fd, text + have, HEAD_MAX - 1 - have, 0);
		char *end;

		if (n <= 0)
			return false;
		have += (size_t)n;
		text[have] = '\0';
		end = strstr(text, "\r\n\r\n");
		if (end == NULL)
			continue;
		*end = '\0';
		*body_out = have - (size_t)(end + 4 - text);
		return true;
	}
}

static bool
answer_read(int fd, const char *status)
{
	char text[HEAD_MAX], sink[64 << 10];
	const char *length;
	size_t have, want;

	if (!head_read(fd, text, &have) ||
	    strncmp(text, "HTTP/1.1 ", 9) != 0 ||
	    strncmp(text + 9, status, 3) != 0)
		return false;
	length = strcasestr(text, "\r\ncontent-length:");
	if (length == NULL)
		return false;
	want = strtoul(length + 17, NULL, 10);
	while (have < want) {
		ssize_t n = recv(fd, sink,
		    want - have < sizeof sink ? want - have : sizeof sink, 0);

		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return have == want;
}

int
main(int argc, char **argv)
{
	const char *status = argc > 5 ? argv[5] : "200";
	int fds[CONNS_MAX], port;
	long requests, conns, done = 0;

	if (argc < 4) {
		fprintf(
		    stderr, "usage: client PORT PATH REQUESTS [CONNECTIONS]\n");
		return 2;
	}
	port = atoi(argv[1]);
	requests = atol(argv[3]);
	conns = argc > 4 ? atol(argv[4]) : 16;
	if (requests < 1 || conns < 1 || conns > CONNS_MAX) {
		fprintf(stderr, "client: 1 to %d connections\n", CONNS_MAX);
		return 2;
	}
	for (long i = 0; i < conns; i++)
		fds[i] = conn_open(port);
	while (done < requests) {
		long batch = requests - done < conns ? requests - done : conns;

		for (long i = 0; i < batch; i++)
			request_send(fds[i], argv[2]);
		for (long i = 0; i < batch; i++) {
			if (answer_read(fds[i], status))
				continue;
			fprintf(stderr, "client: request %ld: no whole %s\n",
			    done + i + 1, status);
			return 1;
		}
		done += batch;
	}
	for (long i = 0; i < conns; i++)
		close(fds[i]);
	return 0;
}
