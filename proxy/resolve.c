/* DNS names of endpoints by c-ares, see resolve.h. */
#include "proxy/resolve.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "admin/log.h"
#include "proxy/worker.h"

struct answer {
	LIST_ENTRY(answer) link;
	char *name;                                               /* owned */
	struct sockaddr_storage addresses[RESOLVE_ADDRESSES_MAX]; /* port 0 */
	size_t n;
	bool is_at_work;  /* the running config names it */
	bool is_wanted;   /* by the config that is being looked up */
	bool is_answered; /* in this round */
	int status;       /* of c-ares */
};

struct resolver {
	LIST_HEAD(, answer) answers;
};

struct resolver *
resolver_new(void)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));

	if (!resolver || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(resolver);
		return NULL;
	}
	LIST_INIT(&resolver->answers);
	return resolver;
}

static void
forget(struct answer *answer)
{
	LIST_REMOVE(answer, link);
	free(answer->name);
	free(answer);
}

void
resolver_free(struct resolver **resolver_in)
{
	struct resolver *resolver = *resolver_in;

	*resolver_in = NULL;
	if (!resolver)
		return;
	while (LIST_FIRST(&resolver->answers))
		forget(LIST_FIRST(&resolver->answers));
	ares_library_cleanup();
	free(resolver);
}

static struct answer *
find(struct resolver *resolver, const char *name)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	if (strcmp(answer->name, name) == 0)
		return answer;
	return NULL;
}

static void
want(struct resolver *resolver, const char *name)
{
	struct answer *answer = find(resolver, name);

	if (!answer) {
		answer = calloc(1, sizeof(*answer));
		if (!answer || !(answer->name = strdup(name))) {
			free(answer);
			log_event(LOG_WARN, "name not resolved", "name", name,
			    "why", "out of memory", NULL);
			return;
		}
		LIST_INSERT_HEAD(&resolver->answers, answer, link);
	}
	answer->is_answered = false;
	answer->is_wanted = true;
}

/* One order whatever the server's: endpoints keep their place over lookups. */
static int
by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sockaddr_storage));
}

/*
 * An IPv6 address is of no use on a host without a route to it, and would be
 * tried for every second connection. The kernel tells without sending.
 */
static bool
is_reachable(const struct ares_addrinfo_node *node)
{
	bool is_open;
	int fd;

	if (node->ai_family != AF_INET6)
		return true;
	fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return errno != EAFNOSUPPORT;
	is_open = connect(fd, node->ai_addr, node->ai_addrlen) == 0;
	close(fd);
	return is_open;
}

static size_t
take_addresses(struct answer *answer, const struct ares_addrinfo_node *node,
    bool only_reachable)
{
	size_t n = 0, kept = 0;

	for (; node && n < RESOLVE_ADDRESSES_MAX; node = node->ai_next) {
		struct sockaddr_storage *to = &answer->addresses[n];

		if ((node->ai_family != AF_INET &&
		        node->ai_family != AF_INET6) ||
		    node->ai_addrlen > sizeof(struct sockaddr_in6) ||
		    (only_reachable && !is_reachable(node)))
			continue;
		memset(to, 0, sizeof(*to));
		memcpy(to, node->ai_addr, node->ai_addrlen);
		n++;
	}
	if (n == 0)
		return 0;
	qsort(answer->addresses, n, sizeof(answer->addresses[0]), by_bytes);
	for (size_t i = 0; i < n; i++) /* a hosts file may say it twice */
		if (kept == 0 || by_bytes(&answer->addresses[kept - 1],
		                     &answer->addresses[i]) != 0)
			answer->addresses[kept++] = answer->addresses[i];
	answer->n = kept;
	return kept;
}

static void
on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct answer *answer = arg;

	(void)timeouts;
	/* Our own impatience is told as what it is. */
	answer->is_answered = status != ARES_EDESTRUCTION;
	answer->status = status;
	/* A host that has no network yet still learns the addresses. */
	if (status == ARES_SUCCESS && info &&
	    take_addresses(answer, info->nodes, true) == 0 &&
	    take_addresses(answer, info->nodes, false) == 0)
		answer->status = ARES_ENODATA;
	if (info)
		ares_freeaddrinfo(info);
}

static void
process_ready(ares_channel channel, const struct pollfd *fds, nfds_t n)
{
	bool is_any = false;

	for (nfds_t i = 0; i < n; i++) {
		short got = fds[i].revents;
		bool is_broken = got & (POLLERR | POLLHUP | POLLNVAL);

		if (!got)
			continue;
		is_any = true;
		ares_process_fd(channel,
		    got & POLLIN || is_broken ? fds[i].fd : ARES_SOCKET_BAD,
		    got & POLLOUT ? fds[i].fd : ARES_SOCKET_BAD);
	}
	if (!is_any) /* its timeouts alone */
		ares_process_fd(channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

/*
 * poll(), not select(): a descriptor's number may be above FD_SETSIZE. The bits
 * are read by hand, for c-ares' own macro shifts a signed 1 into the sign.
 */
static void
wait_for_all(ares_channel channel, nsec_t until)
{
	nsec_t rest;

	while ((rest = until - clock_now()) > 0) {
		ares_socket_t sockets[ARES_GETSOCK_MAXNUM];
		struct pollfd fds[ARES_GETSOCK_MAXNUM];
		struct timeval longest = {
		    rest / NSEC_PER_SEC, rest % NSEC_PER_SEC / NSEC_PER_USEC};
		struct timeval left;
		const struct timeval *pause;
		unsigned bits = (unsigned)ares_getsock(
		    channel, sockets, ARES_GETSOCK_MAXNUM);
		nfds_t n = 0;

		for (int i = 0; i < ARES_GETSOCK_MAXNUM; i++) {
			short events = 0;

			if (bits >> i & 1)
				events |= POLLIN;
			if (bits >> (i + ARES_GETSOCK_MAXNUM) & 1)
				events |= POLLOUT;
			if (events)
				fds[n++] = (struct pollfd){
				    .fd = sockets[i], .events = events};
		}
		if (n == 0)
			return;
		pause = ares_timeout(channel, &longest, &left);
		if (poll(fds, n,
		        (int)(pause->tv_sec * 1000 + pause->tv_usec / 1000 +
		              1)) < 0)
			n = 0;
		process_ready(channel, fds, n);
	}
}

static void
tell_failures(struct resolver *resolver)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	{
		bool is_good =
		    answer->is_answered && answer->status == ARES_SUCCESS;

		if (!answer->is_wanted || is_good)
			continue;
		log_event(LOG_WARN, "name not resolved", "name", answer->name,
		    "why",
		    answer->is_answered ? ares_strerror(answer->status)
		                        : "no answer in time",
		    "instead",
		    answer->n > 0
		        ? "the last good answer"
		        : "the endpoint is left out until the next reload",
		    NULL);
	}
}

static void
forget_all_but_used(struct resolver *resolver)
{
	struct answer *answer, *next;

	for (answer = LIST_FIRST(&resolver->answers); answer; answer = next) {
		next = LIST_NEXT(answer, link);
		if (!answer->is_wanted && !answer->is_at_work)
			forget(answer);
	}
}

/* All wanted names at once, or only the one. */
static void
ask(struct resolver *resolver, struct answer *only, nsec_t until)
{
	struct ares_options options = {
	    .flags = ARES_FLAG_EDNS, .timeout = 1000, .tries = 2};
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
	    .ai_socktype = SOCK_STREAM,
	    .ai_flags = ARES_AI_NOSORT | ARES_AI_ENVHOSTS};
	struct answer *answer;
	ares_channel channel;
	int status = ares_init_options(&channel, &options,
	    ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);

	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (only ? answer != only : !answer->is_wanted)
			continue;
		if (status == ARES_SUCCESS)
			ares_getaddrinfo(channel, answer->name, NULL, &hints,
			    on_answer, answer);
		else
			on_answer(answer, status, 0, NULL);
	}
	if (status != ARES_SUCCESS)
		return;
	wait_for_all(channel, until);
	ares_destroy(channel); /* on_answer() is called for what is left */
}

/*
 * Within a channel, one answer that is too long and cannot be had by TCP costs
 * all other names a try. Who lost his that way is asked for again, alone.
 */
static void
look_up(struct resolver *resolver)
{
	nsec_t until = clock_now() + RESOLVE_WAIT_MS * NSEC_PER_MSEC;
	struct answer *answer;

	ask(resolver, NULL, until);
	LIST_FOREACH(answer, &resolver->answers, link)
	if (answer->is_wanted && answer->status == ARES_ECONNREFUSED &&
	    clock_now() < until)
		ask(resolver, answer, until);
}

void
resolver_prefetch(struct resolver *resolver, const struct config *config)
{
	struct answer *answer;
	bool has_names = false;

	LIST_FOREACH(answer, &resolver->answers, link)
	answer->is_wanted = false;
	if (config->redis.is_on &&
	    config->redis.address.kind == ADDRESS_NAME) {
		want(resolver, config->redis.address.host);
		has_names = true;
	}
	for (size_t i = 0; i < config->n_pools; i++)
		for (size_t j = 0; j < config->pools[i].n_endpoints; j++) {
			const struct address *address =
			    &config->pools[i].endpoints[j].address;

			if (address->kind != ADDRESS_NAME)
				continue;
			want(resolver, address->host);
			has_names = true;
		}
	forget_all_but_used(resolver);
	if (has_names)
		look_up(resolver);
	tell_failures(resolver);
}

void
resolver_settle(struct resolver *resolver)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	answer->is_at_work = answer->is_wanted;
	forget_all_but_used(resolver);
}

size_t
resolver_lookup(struct resolver *resolver, const struct address *address,
    struct sockaddr_storage *out, size_t cap)
{
	const struct answer *answer = find(resolver, address->host);
	size_t n = answer ? answer->n : 0;

	if (n > cap)
		n = cap;
	for (size_t i = 0; i < n; i++) {
		out[i] = answer->addresses[i];
		if (out[i].ss_family == AF_INET)
			((struct sockaddr_in *)&out[i])->sin_port =
			    htons(address->port);
		else
			((struct sockaddr_in6 *)&out[i])->sin6_port =
			    htons(address->port);
	}
	return n;
}
