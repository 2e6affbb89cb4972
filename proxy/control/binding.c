/* Listening sockets, see binding.h. */
#include "proxy/control/binding.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "routing/control.h"

enum { BACKLOG = 4096 };

struct binding {
	LIST_ENTRY(binding) link;
	char *text;      /* owned: the address, the identity */
	char *listener;  /* owned: name; another one when it moves */
	char *unix_path; /* owned; NULL for TCP */
	struct sockaddr_storage sa;
	int *fds; /* owned array; the descriptors are the workers' after commit
	           */
	bool is_new; /* opened, not yet committed */
};
LIST_HEAD(binding_list, binding);

struct bindings {
	struct binding_list list;
	unsigned n_workers;
};

struct bindings *
bindings_new(unsigned n_workers)
{
	struct bindings *bindings = calloc(1, sizeof(*bindings));

	if (bindings) {
		bindings->n_workers = n_workers;
		LIST_INIT(&bindings->list);
	}
	return bindings;
}

static void
binding_free(struct binding *binding)
{
	LIST_REMOVE(binding, link);
	free(binding->text);
	free(binding->listener);
	free(binding->unix_path);
	free(binding->fds);
	free(binding);
}

static bool
is_open(const struct bindings *bindings, const struct address *address)
{
	const struct binding *binding;

	LIST_FOREACH(binding, &bindings->list, link)
	if (strcmp(binding->text, address->text) == 0)
		return true;
	return false;
}

/* ---- who has the port? ---- */

/* The inode of the socket that listens on that TCP port, 0 when unknown. */
static unsigned long
listening_inode(const char *table, uint16_t port)
{
	FILE *file = fopen(table, "re");
	char line[512];
	unsigned long found = 0;

	while (file && !found && fgets(line, sizeof(line), file)) {
		unsigned local_port, state;
		unsigned long inode;

		if (sscanf(line,
		        " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s "
		        "%*s %*u %*d %lu",
		        &local_port, &state, &inode) == 3 &&
		    state == 0x0a && local_port == port)
			found = inode;
	}
	if (file)
		fclose(file);
	return found;
}

static bool
process_has(const char *pid, const char *socket_name)
{
	char path[600], target[64];
	struct dirent *entry;
	bool found = false;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%s/fd", pid);
	dir = opendir(path);
	while (dir && !found && (entry = readdir(dir))) {
		ssize_t n;

		snprintf(
		    path, sizeof(path), "/proc/%s/fd/%s", pid, entry->d_name);
		n = readlink(path, target, sizeof(target) - 1);
		if (n > 0) {
			target[n] = '\0';
			found = strcmp(target, socket_name) == 0;
		}
	}
	if (dir)
		closedir(dir);
	return found;
}

/* " (used by pid 123 nginx)", or "" when we may not see. */
static void
describe_owner(uint16_t port, char *out, size_t cap)
{
	unsigned long inode = listening_inode("/proc/net/tcp", port);
	char name[64], path[300], command[32] = "?";
	struct dirent *entry;
	DIR *proc;

	out[0] = '\0';
	if (!inode)
		inode = listening_inode("/proc/net/tcp6", port);
	if (!inode || !(proc = opendir("/proc")))
		return;
	snprintf(name, sizeof(name), "socket:[%lu]", inode);
	while ((entry = readdir(proc))) {
		FILE *file;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    !process_has(entry->d_name, name))
			continue;
		snprintf(path, sizeof(path), "/proc/%s/comm", entry->d_name);
		file = fopen(path, "re");
		if (file) {
			if (fgets(command, sizeof(command), file))
				command[strcspn(command, "\n")] = '\0';
			fclose(file);
		}
		snprintf(
		    out, cap, " (used by pid %s %s)", entry->d_name, command);
		break;
	}
	closedir(proc);
}

/* ---- opening ---- */

static bool
is_any(const struct sockaddr_storage *sa)
{
	if (sa->ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(
		    &((const struct sockaddr_in6 *)sa)->sin6_addr);
	return sa->ss_family == AF_INET &&
	       ((const struct sockaddr_in *)sa)->sin_addr.s_addr == INADDR_ANY;
}

/* "0.0.0.0:80" and "10.0.0.1:80" cannot be bound both. */
static bool
is_in_the_way(const struct binding *binding, const struct address *address)
{
	const struct sockaddr_storage *a = &binding->sa, *b = &address->sa;

	if (strcmp(binding->text, address->text) == 0)
		return true;
	/* The port stands at the same place in both families. */
	return a->ss_family == b->ss_family && (is_any(a) || is_any(b)) &&
	       ((const struct sockaddr_in *)a)->sin_port ==
	           ((const struct sockaddr_in *)b)->sin_port;
}

/* Of the running config; sockets that are handed over cannot be bound anew. */
static const struct binding *
holder_of(const struct bindings *bindings, const struct address *address)
{
	const struct binding *binding;

	LIST_FOREACH(binding, &bindings->list, link)
	if (!binding->is_new && is_in_the_way(binding, address))
		return binding;
	return NULL;
}

static bool
bind_failed(const struct bindings *bindings,
    const struct listener_cfg *listener, const struct address *address,
    struct err *err)
{
	int error = errno;
	const struct binding *own =
	    error == EADDRINUSE ? holder_of(bindings, address) : NULL;
	char owner[400] = "";

	if (own)
		return err_set(err,
		    "listener '%s': address in use %s: weir itself has it, as "
		    "%s of listener '%s', and only a restart moves it",
		    listener->name, address->text, own->text, own->listener);
	if (error == EADDRINUSE && address->kind != ADDRESS_UNIX)
		describe_owner(address->port, owner, sizeof(owner));
	if (error == EACCES && address->kind != ADDRESS_UNIX)
		return err_set(err,
		    "listener '%s': cannot bind %s: permission denied; ports "
		    "below 1024 need root (with `user` to drop to) or "
		    "CAP_NET_BIND_SERVICE",
		    listener->name, address->text);
	return err_set(err, "listener '%s': %s %s%s%s", listener->name,
	    error == EADDRINUSE ? "address in use" : "cannot bind",
	    address->text, error == EADDRINUSE ? owner : ": ",
	    error == EADDRINUSE ? "" : strerror(error));
}

static int
tcp_socket(const struct address *address, bool reuse_port)
{
	int on = 1;
	int fd = socket(address->sa.ss_family,
	    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	/* What accepted sockets inherit is set here, once. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (address->sa.ss_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
	if (reuse_port)
		setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&address->sa, address->sa_len) ==
	    0)
		return fd;
	on = errno;
	close(fd);
	errno = on;
	return -1;
}

static bool
open_tcp(struct binding *binding, unsigned n, const struct address *address)
{
	/* Without SO_REUSEPORT first: another process that shares the port must
	 * be an error, not half of our traffic. */
	int probe = tcp_socket(address, false);

	if (probe < 0)
		return false;
	if (listen(probe, 1) < 0) {
		int error = errno;

		close(probe);
		errno = error;
		return false;
	}
	close(probe);
	for (unsigned i = 0; i < n; i++) {
		binding->fds[i] = tcp_socket(address, true);
		if (binding->fds[i] < 0 || listen(binding->fds[i], BACKLOG) < 0)
			return false;
	}
	return true;
}

/* A socket file that nobody listens on is a leftover; one that answers is
 * somebody's, and so is one whose queue is full: that is not waited for. */
static bool
unlink_stale(const struct address *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	bool is_alive = connect(fd, (const struct sockaddr *)&address->sa,
	                    address->sa_len) == 0 ||
	                errno == EAGAIN;
	bool is_stale = !is_alive && errno == ECONNREFUSED;

	close(fd);
	if (is_stale)
		unlink(address->host);
	errno = EADDRINUSE;
	return !is_alive;
}

static bool
open_unix(struct binding *binding, unsigned n, const struct address *address)
{
	int fd;

	if (!unlink_stale(address))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return false;
	binding->fds[0] = fd;
	if (bind(fd, (const struct sockaddr *)&address->sa, address->sa_len) <
	    0)
		return false;
	binding->unix_path = strdup(address->host);
	if (!binding->unix_path || chmod(address->host, 0666) < 0 ||
	    listen(fd, BACKLOG) < 0)
		return false;
	/* One queue for all workers: unix sockets know no SO_REUSEPORT. */
	for (unsigned i = 1; i < n; i++)
		if ((binding->fds[i] = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
			return false;
	return true;
}

static bool
open_one(struct bindings *bindings, const struct listener_cfg *listener,
    const struct address *address, struct err *err)
{
	struct binding *binding = calloc(1, sizeof(*binding));

	if (!binding)
		return err_set(err, "out of memory");
	LIST_INSERT_HEAD(&bindings->list, binding, link);
	binding->is_new = true;
	binding->sa = address->sa;
	binding->text = strdup(address->text);
	binding->listener = strdup(listener->name);
	binding->fds = malloc(bindings->n_workers * sizeof(int));
	if (!binding->text || !binding->listener || !binding->fds) {
		free(binding->fds);
		binding->fds = NULL;
		return err_set(err, "out of memory");
	}
	for (unsigned i = 0; i < bindings->n_workers; i++)
		binding->fds[i] = -1;
	if (address->kind == ADDRESS_UNIX
	        ? !open_unix(binding, bindings->n_workers, address)
	        : !open_tcp(binding, bindings->n_workers, address))
		return bind_failed(bindings, listener, address, err);
	return true;
}

bool
bindings_open(
    struct bindings *bindings, const struct config *config, struct err *err)
{
	for (size_t i = 0; i < config->n_listeners; i++) {
		const struct listener_cfg *listener = &config->listeners[i];

		for (size_t j = 0; j < listener->n_bind; j++) {
			if (is_open(bindings, &listener->bind[j]))
				continue; /* by whichever listener */
			if (!open_one(
			        bindings, listener, &listener->bind[j], err)) {
				bindings_cancel(bindings);
				return false;
			}
		}
	}
	return true;
}

void
bindings_cancel(struct bindings *bindings)
{
	struct binding *binding, *next;

	for (binding = LIST_FIRST(&bindings->list); binding; binding = next) {
		next = LIST_NEXT(binding, link);
		if (!binding->is_new)
			continue;
		for (unsigned i = 0; binding->fds && i < bindings->n_workers;
		     i++)
			if (binding->fds[i] >= 0)
				close(binding->fds[i]);
		if (binding->unix_path)
			unlink(binding->unix_path);
		binding_free(binding);
	}
}

static void
tell(struct shared *shared, unsigned worker, const struct binding *binding,
    int what, uint32_t listener)
{
	struct inbox_entry *entry = calloc(1, sizeof(*entry));

	assert(entry);
	entry->what = what;
	entry->fd = binding->fds[worker];
	entry->listener = listener;
	entry->is_unix = binding->unix_path != NULL;
	worker_tell(&shared->workers[worker], entry);
}

/* No two listeners of a config have the same address. NULL: none has it. */
static const struct listener_cfg *
owner_of(const struct config *config, const struct binding *binding)
{
	for (size_t i = 0; i < config->n_listeners; i++)
		for (size_t j = 0; j < config->listeners[i].n_bind; j++)
			if (strcmp(config->listeners[i].bind[j].text,
			        binding->text) == 0)
				return &config->listeners[i];
	return NULL;
}

static void
tell_all(const struct bindings *bindings, const struct binding *binding,
    int what, struct registry *registry, struct shared *shared)
{
	for (unsigned i = 0; i < bindings->n_workers; i++)
		tell(shared, i, binding, what,
		    (uint32_t)registry_listener_id(
		        registry, binding->listener));
}

static void
set_listener(struct binding *binding, const char *name)
{
	free(binding->listener);
	binding->listener = strdup(name);
	assert(binding->listener);
}

void
bindings_commit(struct bindings *bindings, const struct config *config,
    struct registry *registry, struct shared *shared)
{
	struct binding *binding, *next;

	for (binding = LIST_FIRST(&bindings->list); binding; binding = next) {
		const struct listener_cfg *owner = owner_of(config, binding);

		next = LIST_NEXT(binding, link);
		if (!owner) {
			tell_all(
			    bindings, binding, INBOX_CLOSE, registry, shared);
			if (binding->unix_path)
				unlink(binding->unix_path);
			binding_free(binding);
		} else if (binding->is_new) {
			binding->is_new = false;
			tell_all(
			    bindings, binding, INBOX_LISTEN, registry, shared);
		} else if (strcmp(owner->name, binding->listener) != 0) {
			set_listener(binding, owner->name);
			tell_all(
			    bindings, binding, INBOX_MOVE, registry, shared);
		}
	}
}

void
bindings_free(struct bindings **bindings_in)
{
	struct bindings *bindings = *bindings_in;

	*bindings_in = NULL;
	if (!bindings)
		return;
	bindings_cancel(bindings);
	while (LIST_FIRST(&bindings->list)) {
		struct binding *binding = LIST_FIRST(&bindings->list);

		if (binding->unix_path)
			unlink(binding->unix_path);
		binding_free(binding);
	}
	free(bindings);
}
