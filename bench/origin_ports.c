/* See origin_ports.h. */
#include "origin_ports.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BODY_MAX = 64 << 20 };

void
fail(const char *what)
{
	fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what,
	    strerror(errno));
	exit(1);
}

size_t
path_body(const char *path, size_t n)
{
	if (n >= 4 && memcmp(path, "/64k", 4) == 0)
		return 64 << 10;
	if (n >= 3 && memcmp(path, "/1m", 3) == 0)
		return 1 << 20;
	if (n > 7 && memcmp(path, "/bytes/", 7) == 0) {
		size_t body = 0;

		for (size_t i = 7; i < n && path[i] >= '0' && path[i] <= '9' &&
		                   body < BODY_MAX;
		     i++)
			body = body * 10 + (size_t)(path[i] - '0');
		return body < BODY_MAX ? body : BODY_MAX;
	}
	return 128;
}

static void
port_listen(struct port *port, const char *address, int number)
{
	int one = 1;
	struct sockaddr_in sa = {
	    .sin_family = AF_INET, .sin_port = htons((uint16_t)number)};

	if (inet_pton(AF_INET, address, &sa.sin_addr) != 1)
		fail(address);
	port->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	setsockopt(port->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(port->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(port->fd, (struct sockaddr *)&sa, sizeof sa) < 0 ||
	    listen(port->fd, 4096) < 0)
		fail(port->name);
}

static struct counter *
counters_map(const char *path)
{
	size_t size = PORTS_MAX * sizeof(struct counter);
	void *at;
	int fd = -1;

	if (path != NULL) {
		fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
		if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
			fail(path);
	}
	at = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
	if (at == MAP_FAILED)
		fail("mmap");
	return at;
}

static _Noreturn void
usage(void)
{
	fprintf(stderr, "usage: %s [-c COUNTERS] [-a ADDRESS] PORT=NAME ...\n",
	    program_invocation_short_name);
	exit(2);
}

size_t
ports_open(int argc, char **argv, struct port ports[PORTS_MAX])
{
	const char *counters = NULL, *address = "127.0.0.1";
	struct counter *counter;
	size_t n = 0;
	int opt;

	while ((opt = getopt(argc, argv, "a:c:")) != -1) {
		if (opt == 'c')
			counters = optarg;
		else if (opt == 'a')
			address = optarg;
		else
			usage();
	}
	counter = counters_map(counters);
	for (; optind < argc && n < PORTS_MAX; optind++, n++) {
		char *name = strchr(argv[optind], '=');

		if (name == NULL)
			usage();
		ports[n].name = name + 1;
		ports[n].counter = &counter[n];
		port_listen(&ports[n], address, atoi(argv[optind]));
	}
	if (n == 0 || optind < argc)
		usage();
	return n;
}
