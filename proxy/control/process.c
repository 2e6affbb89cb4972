/* CPUs, descriptors, privileges and signals, see process.h. */
#include "proxy/control/process.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "admin/log.h"

/* A kernel that may have more CPUs than there is room for says nothing at all:
 * one set is 1,024 of them, Linux has 8,192 at most. */
static unsigned
count_cpus(void)
{
	cpu_set_t cpus[16];

	if (sched_getaffinity(0, sizeof(cpus), cpus) < 0)
		return 0;
	return (unsigned)CPU_COUNT_S(sizeof(cpus), cpus);
}

unsigned
process_workers(const struct config *config)
{
	unsigned n = config->workers;

	if (n == 0)
		n = count_cpus();
	if (n == 0)
		n = 1;
	return n < PROCESS_WORKERS_MAX ? n : PROCESS_WORKERS_MAX;
}

/*
 * What weir holds before the first client: by worker an epoll, a wake-up and
 * a socket for each address; the rest is control, state, logs and admin.
 */
static uint64_t
descriptors_at_rest(const struct config *config)
{
	uint64_t addresses = 0;

	for (size_t i = 0; i < config->n_listeners; i++)
		addresses += config->listeners[i].n_bind;
	return 32 + config->admin.n_listen +
	       process_workers(config) * (addresses + 4);
}

enum {
	RESERVE_MIN = 12,   /* an admin connection, a reload, a lookup */
	RESERVE_SHARE = 4,  /* of all descriptors at most this part */
	ADMIN_SEATS = 8,    /* of one admin listener, while it is tight */
	RESERVE_FIXED = 32, /* files of a reload, the journal and states; Redis,
	                       notifications, a lookup's sockets */
	CHECKS_MAX = 256,   /* of health, at once */
};

/* What control opens beside what it holds at rest. */
static uint64_t
reserve_wanted(const struct config *config)
{
	uint64_t checks = 0, addresses = 0;

	for (size_t i = 0; i < config->n_pools; i++)
		if (config->pools[i].health.is_on)
			checks += config->pools[i].n_endpoints;
	for (size_t i = 0; i < config->n_listeners; i++)
		addresses += config->listeners[i].n_bind;
	return RESERVE_FIXED + ADMIN_SEATS * (config->admin.n_listen + 1) +
	       (checks < CHECKS_MAX ? checks : CHECKS_MAX) +
	       process_workers(config) * addresses;
}

static uint64_t
reserve_of(const struct config *config, uint64_t limit)
{
	uint64_t wanted = reserve_wanted(config);

	if (wanted > limit / RESERVE_SHARE)
		wanted = limit / RESERVE_SHARE;
	return wanted > RESERVE_MIN ? wanted : RESERVE_MIN;
}

int
process_descriptors(const struct config *config)
{
	struct rlimit limit;
	uint64_t most;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT_MAX)
		return INT_MAX;
	most = limit.rlim_cur - reserve_of(config, limit.rlim_cur);
	return (int)most;
}

static void
warn_of_few(const struct config *config, uint64_t limit)
{
	char have[32], kept[32], want[32];

	if (reserve_of(config, limit) >= reserve_wanted(config))
		return;
	snprintf(have, sizeof(have), "%llu", (unsigned long long)limit);
	snprintf(kept, sizeof(kept), "%llu",
	    (unsigned long long)reserve_of(config, limit));
	snprintf(want, sizeof(want), "%llu",
	    (unsigned long long)reserve_wanted(config));
	log_event(LOG_WARN,
	    "few descriptors for the admin API, reloads and checks when "
	    "clients take all others: raise with 'ulimit -n' or LimitNOFILE=",
	    "limit", have, "kept", kept, "wanted", want, NULL);
}

bool
process_raise_descriptors(const struct config *config, struct err *err)
{
	uint64_t wanted = 0, least = descriptors_at_rest(config);
	struct rlimit limit;
	char have[32], want[32];

	for (size_t i = 0; i < config->n_listeners; i++)
		wanted += config->listeners[i].limits.connections;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return true;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	least += RESERVE_MIN;
	if (limit.rlim_max < least)
		return err_set(err,
		    "the limit of open files is %llu, and %llu are needed "
		    "before the first client: raise it with 'ulimit -n' or "
		    "LimitNOFILE=",
		    (unsigned long long)limit.rlim_max,
		    (unsigned long long)least);
	if (limit.rlim_max < 4096) {
		snprintf(have, sizeof(have), "%llu",
		    (unsigned long long)limit.rlim_max);
		snprintf(
		    want, sizeof(want), "%llu", (unsigned long long)wanted * 2);
		log_event(LOG_WARN,
		    "few descriptors: raise with 'ulimit -n' or LimitNOFILE=",
		    "limit", have, "wanted for limits.connections", want, NULL);
	}
	warn_of_few(config, limit.rlim_max);
	return true;
}

/* A directory that we make is the user's; one that was there stays whose it is.
 */
static void
make_directory(const char *path, const struct passwd *user)
{
	if (mkdir(path, 0700) == 0)
		(void)!chown(path, user->pw_uid, user->pw_gid);
}

/* What the user could not make later: the state's place, and those of the admin
 * sockets. */
static void
make_places(const struct config *config, const struct passwd *user)
{
	make_directory(config->state_dir, user);
	for (size_t i = 0; i < config->admin.n_listen; i++) {
		const struct address *address = &config->admin.listen[i];
		char *path, *slash;

		if (address->kind != ADDRESS_UNIX ||
		    !(path = strdup(address->host)))
			continue;
		slash = strrchr(path, '/');
		if (slash && slash != path) {
			*slash = '\0';
			make_directory(path, user);
		}
		free(path);
	}
}

/* Everything that needs root is done. */
bool
process_drop_privileges(const struct config *config, struct err *err)
{
	struct passwd *user;

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (geteuid() != 0 || !config->user)
		return true;
	user = getpwnam(config->user);
	if (!user)
		return err_set(
		    err, "user: there is no user '%s'", config->user);
	make_places(config, user);
	if (initgroups(user->pw_name, user->pw_gid) < 0 ||
	    setgid(user->pw_gid) < 0 || setuid(user->pw_uid) < 0)
		return err_set(err, "user: cannot become '%s': %s",
		    config->user, strerror(errno));
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	return true;
}

/* Threads made from here on leave all signals to this one. */
void
process_block_signals(bool block)
{
	sigset_t all;

	sigfillset(&all);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGABRT);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(block ? SIG_BLOCK : SIG_UNBLOCK, &all, NULL);
}
