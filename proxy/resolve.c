/* DNS names of endpoints by c-ares, see resolve.h. */
#include "proxy/resolve.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/select.h>
#include <sys/time.h>

#include "admin/log.h"
#include "proxy/worker.h"

struct answer {
	LIST_ENTRY(answer) link;
	char *name;                                               /* owned */
	struct sockaddr_storage addresses[RESOLVE_ADDRESSES_MAX]; /* port 0 */
	size_t n;
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

static struct answer *
want(struct resolver *resolver, const char *name)
{
	struct answer *answer = find(resolver, name);

	if (!answer) {
		answer = calloc(1, sizeof(*answer));
		if (!answer)
			return NULL;
		answer->name = strdup(name);
		LIST_INSERT_HEAD(&resolver->answers, answer, link);
	}
	answer->is_answered = false;
	answer->is_wanted = true;
	return answer;
}

/* One order whatever the server's: endpoints keep their place over lookups. */
static int
by_bytes(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct sockaddr_storage));
}

static void
on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct answer *answer = arg;
	size_t n = 0;

	(void)timeouts;
	answer->is_answered = true;
	answer->status = status;
	if (status != ARES_SUCCESS || !info) /* the last good answer stays */
		return;
	for (struct ares_addrinfo_node *node = info->nodes;
	     node && n < RESOLVE_ADDRESSES_MAX; node = node->ai_next) {
		memset(&answer->addresses[n], 0, sizeof(answer->addresses[n]));
		if (node->ai_addrlen <= sizeof(struct sockaddr_in6))
			memcpy(&answer->addresses[n++], node->ai_addr,
			    node->ai_addrlen);
	}
	ares_freeaddrinfo(info);
	if (n > 0) {
		answer->n = n;
		qsort(answer->addresses, n, sizeof(answer->addresses[0]),
		    by_bytes);
	}
}

static void
wait_for_all(ares_channel channel)
{
	nsec_t until = clock_now() + RESOLVE_WAIT_MS * NSEC_PER_MSEC;

	for (;;) {
		fd_set readers, writers;
		struct timeval left, longest;
		nsec_t rest = until - clock_now();
		int n;

		FD_ZERO(&readers);
		FD_ZERO(&writers);
		n = ares_fds(channel, &readers, &writers);
		if (n == 0 || rest <= 0)
			return;
		longest = (struct timeval){
		    rest / NSEC_PER_SEC, rest % NSEC_PER_SEC / NSEC_PER_USEC};
		select(n, &readers, &writers, NULL,
		    ares_timeout(channel, &longest, &left));
		ares_process(channel, &readers, &writers);
	}
}

static void
tell_failures(struct resolver *resolver)
{
	struct answer *answer, *next;

	for (answer = LIST_FIRST(&resolver->answers); answer; answer = next) {
		next = LIST_NEXT(answer, link);
		if (!answer->is_wanted) {
			forget(answer);
			continue;
		}
		if (!answer->is_answered || answer->status != ARES_SUCCESS)
			log_event(LOG_WARN, "name not resolved", "name",
			    answer->name, "why",
			    answer->is_answered ? ares_strerror(answer->status)
			                        : "no answer in time",
			    "instead",
			    answer->n > 0 ? "the last good answer"
			                  : "the endpoint is left out until "
			                    "the next reload",
			    NULL);
	}
}

void
resolver_prefetch(struct resolver *resolver, const struct config *config)
{
	struct ares_options options = {.timeout = 1000, .tries = 2};
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
	    .ai_socktype = SOCK_STREAM,
	    .ai_flags = ARES_AI_NOSORT};
	struct answer *answer;
	ares_channel channel;
	bool has_names = false;

	LIST_FOREACH(answer, &resolver->answers, link)
	answer->is_wanted = false;
	for (size_t i = 0; i < config->n_pools; i++)
		for (size_t j = 0; j < config->pools[i].n_endpoints; j++)
			if (config->pools[i].endpoints[j].address.kind ==
			    ADDRESS_NAME)
				has_names |=
				    want(resolver, config->pools[i]
				                       .endpoints[j]
				                       .address.host) != NULL;
	if (!has_names ||
	    ares_init_options(&channel, &options,
	        ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES) != ARES_SUCCESS) {
		tell_failures(resolver);
		return;
	}
	LIST_FOREACH(answer, &resolver->answers, link)
	if (answer->is_wanted)
		ares_getaddrinfo(
		    channel, answer->name, NULL, &hints, on_answer, answer);
	wait_for_all(channel);
	ares_destroy(channel); /* what is still under way is answered with
	                          ARES_EDESTRUCTION */
	tell_failures(resolver);
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
