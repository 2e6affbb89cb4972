/*
 * DNS names of endpoints by c-ares, see resolve.h.
 *
 *   good answer -- its TTL, within the bounds --> asked again
 *   failure     -- 1 s, doubling to 30 s ------> asked again; what was known
 * stays
 *
 * An answer with other addresses is told to the owner, who builds a snapshot
 * of the same config with them.
 */
#include "proxy/resolve.h"

#include <ares.h>
#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <unistd.h>

#include "admin/log.h"
#include "proxy/worker.h"

enum {
	LOOK_EVERY_MS = 100, /* who is due, and has anything changed? */
	LOOKUPS_MAX = 64,    /* at once; the others wait for the next look */
	SOCKETS_MAX = 16,    /* of one lookup: several servers, UDP and TCP */
	RETRY_MAX_S = 30,    /* after failures, doubling up to this */
	HURRY_S =
	    1, /* a name that somebody needs is asked for again after this */
};

struct answer;

/*
 * One question on a channel of its own: an answer that is too long and cannot
 * be had by TCP costs all other names of its channel a try. A new channel also
 * sees what resolv.conf says now.
 */
struct lookup {
	struct answer *answer;   /* borrowed: ends us before it goes */
	struct event_base *base; /* borrowed */
	ares_channel channel;    /* owned */
	struct event *timer;     /* owned */
	struct {
		ares_socket_t fd;
		struct event *event; /* owned; NULL: free */
	} sockets[SOCKETS_MAX];
	bool is_over;
};

struct answer {
	LIST_ENTRY(answer) link;
	struct resolver *resolver; /* borrowed */
	char *name;                /* owned */
	char where[300]; /* file and line of its first endpoint, or "" */
	struct sockaddr_storage addresses[RESOLVE_ADDRESSES_MAX]; /* port 0 */
	size_t n;
	struct lookup *lookup; /* owned; NULL: nothing is asked now */
	nsec_t due, asked_at;  /* when it is asked for again, was last */
	nsec_t ttl;            /* of the last good answer, within the bounds */
	unsigned failures;     /* in a row */
	bool is_at_work;       /* the running config names it */
	bool is_wanted;        /* by the config that is being looked up */
	bool is_answered;      /* in this round */
	bool is_told;          /* that it fails */
	int status;            /* of c-ares */
};

struct resolver {
	LIST_HEAD(, answer) answers;
	struct event_base *base; /* borrowed */
	struct event *timer;     /* owned */
	resolver_changed_fn *changed;
	void *ctx;
	char servers[1024]; /* "" : the system's */
	nsec_t timeout, min_ttl, max_ttl;
	unsigned n_lookups;
	uint64_t n_good, n_failed;
	bool is_changed; /* a name that is at work has other addresses */
};

static void on_look(int fd, short what, void *arg);
static void lookup_end(struct lookup *lookup);

struct resolver *
resolver_new(struct event_base *base, resolver_changed_fn *changed, void *ctx)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	struct timeval every = {0, LOOK_EVERY_MS * 1000};

	if (!resolver || ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
		free(resolver);
		return NULL;
	}
	LIST_INIT(&resolver->answers);
	resolver->base = base;
	resolver->changed = changed;
	resolver->ctx = ctx;
	resolver->timer = event_new(base, -1, EV_PERSIST, on_look, resolver);
	if (!resolver->timer || event_add(resolver->timer, &every) < 0)
		resolver_free(&resolver);
	return resolver;
}

static void
forget(struct answer *answer)
{
	if (answer->lookup)
		lookup_end(answer->lookup);
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
	if (resolver->timer)
		event_free(resolver->timer);
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
want(struct resolver *resolver, const char *name, const char *file,
    unsigned line)
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
		answer->resolver = resolver;
		LIST_INSERT_HEAD(&resolver->answers, answer, link);
	}
	answer->where[0] = '\0';
	if (line > 0)
		snprintf(
		    answer->where, sizeof(answer->where), "%s:%u", file, line);
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

/* All of them in one order before the bound: a server that turns them round
 * must not change who is within it. */
static size_t
take_addresses(struct answer *answer, const struct ares_addrinfo_node *all,
    bool only_reachable)
{
	const struct ares_addrinfo_node *node;
	struct sockaddr_storage *at;
	size_t n = 0, kept = 0;

	for (node = all; node; node = node->ai_next)
		n++;
	at = calloc(n ? n : 1, sizeof(*at));
	if (!at)
		return 0;
	n = 0;
	for (node = all; node; node = node->ai_next) {
		if ((node->ai_family != AF_INET &&
		        node->ai_family != AF_INET6) ||
		    node->ai_addrlen > sizeof(struct sockaddr_in6) ||
		    (only_reachable && !is_reachable(node)))
			continue;
		memcpy(&at[n++], node->ai_addr, node->ai_addrlen);
	}
	qsort(at, n, sizeof(*at), by_bytes);
	for (size_t i = 0; i < n; i++) /* a hosts file may say it twice */
		if (kept == 0 || by_bytes(&at[kept - 1], &at[i]) != 0)
			at[kept++] = at[i];
	n = kept < RESOLVE_ADDRESSES_MAX ? kept : RESOLVE_ADDRESSES_MAX;
	if (n > 0 && (n != answer->n ||
	                 memcmp(at, answer->addresses, n * sizeof(*at)) != 0)) {
		memcpy(answer->addresses, at, n * sizeof(*at));
		answer->n = n;
		answer->resolver->is_changed |= answer->is_at_work;
	}
	free(at);
	return kept;
}

static nsec_t
within(const struct resolver *resolver, nsec_t ttl)
{
	if (ttl > resolver->max_ttl)
		ttl = resolver->max_ttl;
	return ttl < resolver->min_ttl ? resolver->min_ttl : ttl;
}

static nsec_t
ttl_of(const struct resolver *resolver, const struct ares_addrinfo *info)
{
	int ttl = INT_MAX;

	for (const struct ares_addrinfo_node *node = info->nodes; node;
	     node = node->ai_next)
		if (node->ai_ttl < ttl)
			ttl = node->ai_ttl;
	for (const struct ares_addrinfo_cname *cname = info->cnames; cname;
	     cname = cname->next)
		if (cname->ttl < ttl)
			ttl = cname->ttl;
	return within(resolver, (nsec_t)ttl * NSEC_PER_SEC);
}

static void
plan_next(struct answer *answer)
{
	struct resolver *resolver = answer->resolver;
	nsec_t pause = answer->ttl;

	if (answer->status != ARES_SUCCESS) {
		unsigned doublings =
		    answer->failures < 5 ? answer->failures : 5;

		pause = within(resolver, NSEC_PER_SEC << doublings);
		if (pause > RETRY_MAX_S * NSEC_PER_SEC)
			pause = RETRY_MAX_S * NSEC_PER_SEC;
		answer->failures++;
		resolver->n_failed++;
	} else {
		answer->failures = 0;
		resolver->n_good++;
	}
	answer->due = clock_now() + pause;
}

/* ---- one lookup ---- */

static void
on_answer(void *arg, int status, int timeouts, struct ares_addrinfo *info)
{
	struct lookup *lookup = arg;
	struct answer *answer = lookup->answer;

	(void)timeouts;
	lookup->is_over = true;
	/* Our own impatience is told as what it is. */
	answer->is_answered = status != ARES_EDESTRUCTION;
	answer->status = status;
	/* A host that has no network yet still learns the addresses. */
	if (status == ARES_SUCCESS && info) {
		answer->ttl = ttl_of(answer->resolver, info);
		if (take_addresses(answer, info->nodes, true) == 0 &&
		    take_addresses(answer, info->nodes, false) == 0)
			answer->status = ARES_ENODATA;
	}
	if (info)
		ares_freeaddrinfo(info);
	plan_next(answer);
}

static void
lookup_end(struct lookup *lookup)
{
	if (lookup->channel)
		ares_destroy(lookup->channel); /* closes its sockets */
	if (lookup->timer)
		event_free(lookup->timer);
	lookup->answer->resolver->n_lookups--;
	lookup->answer->lookup = NULL;
	free(lookup);
}

/* After c-ares has had its say: the end, or when it wants to be called. */
static void
lookup_go_on(struct lookup *lookup)
{
	struct timeval left;

	if (lookup->is_over) {
		lookup_end(lookup);
		return;
	}
	if (ares_timeout(lookup->channel, NULL, &left))
		evtimer_add(lookup->timer, &left);
}

static void
on_socket(int fd, short what, void *arg)
{
	struct lookup *lookup = arg;

	ares_process_fd(lookup->channel, what & EV_READ ? fd : ARES_SOCKET_BAD,
	    what & EV_WRITE ? fd : ARES_SOCKET_BAD);
	lookup_go_on(lookup);
}

static void
on_time(int fd, short what, void *arg)
{
	struct lookup *lookup = arg;

	(void)fd;
	(void)what;
	ares_process_fd(lookup->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	lookup_go_on(lookup);
}

/* One beyond SOCKETS_MAX is not watched: its server counts as silent. */
static void
watch_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
	struct lookup *lookup = arg;
	short what = (short)((readable ? EV_READ : 0) |
	                     (writable ? EV_WRITE : 0) | EV_PERSIST);
	int free_one = -1, at = -1;

	for (int i = 0; i < SOCKETS_MAX; i++) {
		if (!lookup->sockets[i].event)
			free_one = i;
		else if (lookup->sockets[i].fd == fd)
			at = i;
	}
	if (at >= 0) {
		event_free(lookup->sockets[at].event);
		lookup->sockets[at].event = NULL;
	} else {
		at = free_one;
	}
	if (at < 0 || (!readable && !writable))
		return;
	lookup->sockets[at].fd = fd;
	lookup->sockets[at].event =
	    event_new(lookup->base, fd, what, on_socket, lookup);
	if (lookup->sockets[at].event)
		event_add(lookup->sockets[at].event, NULL);
}

static int
open_channel(struct lookup *lookup, const struct resolver *resolver)
{
	struct ares_options options = {.flags = ARES_FLAG_EDNS,
	    .timeout = (int)(resolver->timeout / NSEC_PER_MSEC),
	    .tries = 2,
	    .sock_state_cb = watch_socket,
	    .sock_state_cb_data = lookup};
	int status = ares_init_options(&lookup->channel, &options,
	    ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
	        ARES_OPT_SOCK_STATE_CB);

	if (status != ARES_SUCCESS)
		lookup->channel = NULL;
	else if (resolver->servers[0])
		status = ares_set_servers_ports_csv(
		    lookup->channel, resolver->servers);
	return status;
}

static void
lookup_begin(struct answer *answer, struct event_base *base)
{
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC,
	    .ai_socktype = SOCK_STREAM,
	    .ai_flags = ARES_AI_NOSORT | ARES_AI_ENVHOSTS};
	struct lookup *lookup = calloc(1, sizeof(*lookup));
	int status;

	answer->asked_at = clock_now();
	answer->is_answered = false;
	if (!lookup) {
		answer->status = ARES_ENOMEM;
		plan_next(answer);
		return;
	}
	answer->lookup = lookup;
	answer->resolver->n_lookups++;
	lookup->answer = answer;
	lookup->base = base;
	lookup->timer = evtimer_new(base, on_time, lookup);
	status = lookup->timer ? open_channel(lookup, answer->resolver)
	                       : ARES_ENOMEM;
	if (status == ARES_SUCCESS)
		ares_getaddrinfo(lookup->channel, answer->name, NULL, &hints,
		    on_answer, lookup);
	else
		on_answer(lookup, status, 0, NULL);
	lookup_go_on(lookup);
}

/* ---- while weir runs ---- */

static void
tell_failure(const struct answer *answer)
{
	log_event(LOG_WARN, "name not resolved", "name", answer->name, "why",
	    answer->is_answered ? ares_strerror(answer->status)
	                        : "no answer in time",
	    "instead",
	    answer->n > 0 ? "the last good answer"
	                  : "the endpoint is left out until it resolves",
	    answer->where[0] ? "where" : NULL, answer->where, NULL);
}

/* Once when it begins to fail, once when it is over. */
static void
tell_turn(struct answer *answer)
{
	bool is_good = answer->status == ARES_SUCCESS;

	if (is_good != answer->is_told)
		return;
	answer->is_told = !is_good;
	if (is_good)
		log_event(LOG_INFO, "name resolved again", "name", answer->name,
		    NULL);
	else
		tell_failure(answer);
}

static void
on_look(int fd, short what, void *arg)
{
	struct resolver *resolver = arg;
	struct answer *answer;
	nsec_t now = clock_now();

	(void)fd;
	(void)what;
	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (!answer->is_at_work || answer->lookup)
			continue;
		if (answer->asked_at > 0)
			tell_turn(answer);
		if (now >= answer->due && resolver->n_lookups < LOOKUPS_MAX)
			lookup_begin(answer, resolver->base);
	}
	if (!resolver->is_changed)
		return;
	resolver->is_changed = false;
	resolver->changed(resolver->ctx);
}

/* ---- at a start and at a reload: all at once, within a bound ---- */

static void
on_bound(int fd, short what, void *arg)
{
	bool *is_over = arg;

	(void)fd;
	(void)what;
	*is_over = true;
}

/* True: something is still asked, or could not be yet. */
static bool
ask_wanted(struct resolver *resolver, struct event_base *base)
{
	struct answer *answer;
	bool is_any = false;

	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (answer->is_wanted && !answer->lookup &&
		    answer->asked_at == 0 && resolver->n_lookups < LOOKUPS_MAX)
			lookup_begin(answer, base);
		is_any |= answer->is_wanted &&
		          (answer->lookup || answer->asked_at == 0);
	}
	return is_any;
}

/* On a loop of its own: nothing else of the control thread runs meanwhile. */
static void
look_up(struct resolver *resolver)
{
	struct event_base *base = event_base_new();
	struct timeval most = {
	    RESOLVE_WAIT_MS / 1000, RESOLVE_WAIT_MS % 1000 * 1000};
	struct event *bound;
	struct answer *answer;
	bool is_over = false;

	if (!base)
		return;
	bound = evtimer_new(base, on_bound, &is_over);
	LIST_FOREACH(answer, &resolver->answers, link)
	if (answer->is_wanted) {
		if (answer->lookup)
			lookup_end(answer->lookup);
		answer->asked_at = 0;
	}
	if (bound && evtimer_add(bound, &most) == 0)
		while (ask_wanted(resolver, base) && !is_over)
			event_base_loop(base, EVLOOP_ONCE);
	LIST_FOREACH(answer, &resolver->answers, link)
	if (answer->lookup && answer->is_wanted)
		lookup_end(answer->lookup); /* on_answer() is called */
	if (bound)
		event_free(bound);
	event_base_free(base);
}

static void
tell_failures(struct resolver *resolver)
{
	struct answer *answer;

	LIST_FOREACH(answer, &resolver->answers, link)
	{
		if (!answer->is_wanted)
			continue;
		answer->is_told =
		    !answer->is_answered || answer->status != ARES_SUCCESS;
		if (answer->is_told)
			tell_failure(answer);
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

static void
set_options(struct resolver *resolver, const struct dns_cfg *cfg)
{
	size_t len = 0;

	resolver->timeout = cfg->timeout;
	resolver->min_ttl = cfg->min_ttl;
	resolver->max_ttl = cfg->max_ttl;
	resolver->servers[0] = '\0';
	for (size_t i = 0;
	     i < cfg->n_servers && len < sizeof(resolver->servers) - 64; i++)
		len += (size_t)snprintf(resolver->servers + len,
		    sizeof(resolver->servers) - len, "%s%s", i ? "," : "",
		    cfg->servers[i].text);
}

/* True: there are names at all. */
static bool
want_all(struct resolver *resolver, const struct registry *registry,
    const struct config *config)
{
	struct answer *answer;
	bool has_names = false;

	LIST_FOREACH(answer, &resolver->answers, link)
	answer->is_wanted = false;
	if (config->redis.is_on && config->redis.address.kind == ADDRESS_NAME) {
		want(resolver, config->redis.address.host, config->path, 0);
		has_names = true;
	}
	for (size_t i = 0; i < config->n_pools; i++) {
		size_t n;
		const struct endpoint_cfg *at =
		    registry_endpoints(registry, &config->pools[i], &n);

		for (size_t j = 0; j < n; j++) {
			if (at[j].address.kind != ADDRESS_NAME)
				continue;
			/* A line means something in the file only. */
			want(resolver, at[j].address.host, config->path,
			    at == config->pools[i].endpoints ? at[j].line : 0);
			has_names = true;
		}
	}
	return has_names;
}

void
resolver_prefetch(struct resolver *resolver, const struct registry *registry,
    const struct config *config)
{
	bool has_names = want_all(resolver, registry, config);

	set_options(resolver, &config->dns);
	forget_all_but_used(resolver);
	if (has_names)
		look_up(resolver);
	tell_failures(resolver);
}

void
resolver_follow(struct resolver *resolver, const struct registry *registry,
    const struct config *config)
{
	want_all(resolver, registry, config);
	resolver_settle(resolver);
}

void
resolver_hurry(struct resolver *resolver, const char *name)
{
	struct answer *answer = find(resolver, name);

	if (answer && clock_now() - answer->asked_at > HURRY_S * NSEC_PER_SEC)
		answer->due = 0;
}

void
resolver_facts(const struct resolver *resolver, struct process_facts *out)
{
	const struct answer *answer;

	out->dns_good = resolver->n_good;
	out->dns_failed = resolver->n_failed;
	LIST_FOREACH(answer, &resolver->answers, link)
	if (answer->is_at_work) {
		out->dns_names++;
		out->dns_failing += answer->status != ARES_SUCCESS;
	}
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
