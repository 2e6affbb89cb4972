/*
 * One evhttp per address, so that an address can come and go at a reload
 * without the others noticing. A door that is taken out of the file may be
 * serving the very request that asked for the reload: it stops accepting at
 * once and is buried a little later.
 */
#include "admin/door.h"

#include <errno.h>
#include <event2/listener.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "admin/log.h"

enum {
	DOOR_HEAD_MAX = 16 << 10,
	DOOR_IDLE_SECONDS = 60,
	DOOR_GRACE_SECONDS = 5,
	DOOR_BACKLOG = 64,
};

/* ---- sockets ---- */

static bool
refuse(struct err *err, const struct address *address, const char *what)
{
	return err_set(err, "admin listener %s: %s", address->text, what);
}

/* Only the last directory: /run/weir, not /run. */
static bool
make_parent(const struct address *address, struct err *err)
{
	char *path = strdup(address->host);
	char *slash = path ? strrchr(path, '/') : NULL;
	bool ok = true;

	if (slash && slash != path) {
		*slash = '\0';
		ok = mkdir(path, 0755) == 0 || errno == EEXIST;
		if (!ok)
			err_set(err, "admin listener %s: cannot make %s: %s",
			    address->text, path, strerror(errno));
	}
	free(path);
	return ok;
}

/* A socket nobody answers at was left by a process that is gone. */
static bool
remove_stale(const struct address *address, struct err *err)
{
	struct stat st;
	int fd;
	bool answers;

	if (lstat(address->host, &st) != 0)
		return true;
	if (!S_ISSOCK(st.st_mode))
		return refuse(err, address,
		    "something that is no socket has this name; remove it or "
		    "choose another");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return refuse(err, address, strerror(errno));
	answers = connect(fd, (const struct sockaddr *)&address->sa,
	              address->sa_len) == 0 ||
	          errno == EAGAIN;
	close(fd);
	if (answers)
		return refuse(err, address,
		    "another process answers there; stop it or choose another "
		    "path");
	if (unlink(address->host) != 0 && errno != ENOENT)
		return refuse(err, address, strerror(errno));
	return true;
}

static int
bind_unix(const struct address *address, struct err *err)
{
	int fd;
	mode_t mask;
	bool ok;

	if (!make_parent(address, err) || !remove_stale(address, err))
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0) {
		refuse(err, address, strerror(errno));
		return -1;
	}
	mask = umask(0177); /* 0600 from its first moment */
	ok = bind(fd, (const struct sockaddr *)&address->sa, address->sa_len) ==
	     0;
	umask(mask);
	if (ok && listen(fd, DOOR_BACKLOG) == 0)
		return fd;
	refuse(err, address, strerror(errno));
	close(fd);
	return -1;
}

static int
bind_tcp(const struct address *address, struct err *err)
{
	const struct sockaddr *sa = (const struct sockaddr *)&address->sa;
	int fd = socket(
	    sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0) {
		refuse(err, address, strerror(errno));
		return -1;
	}
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (sa->sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (bind(fd, sa, address->sa_len) == 0 && listen(fd, DOOR_BACKLOG) == 0)
		return fd;
	refuse(err, address, strerror(errno));
	close(fd);
	return -1;
}

static bool
is_loopback(const struct address *address)
{
	const struct sockaddr *sa = (const struct sockaddr *)&address->sa;

	if (sa->sa_family == AF_INET)
		return (ntohl(((const struct sockaddr_in *)sa)
		                  ->sin_addr.s_addr) >>
		           24) == 127;
	return sa->sa_family == AF_INET6 &&
	       IN6_IS_ADDR_LOOPBACK(
	           &((const struct sockaddr_in6 *)sa)->sin6_addr);
}

/* ---- doors ---- */

static struct door *
door_new(struct admin *admin, const struct address *address)
{
	struct door *door = calloc(1, sizeof(*door));

	if (!door)
		return NULL;
	door->admin = admin;
	door->port = address->port;
	door->text = strdup(address->text);
	if (address->kind == ADDRESS_UNIX) {
		door->unix_path = strdup(address->host);
	} else {
		char *host = NULL;

		if (asprintf(&host,
		        strchr(address->host, ':') && address->host[0] != '['
		            ? "[%s]"
		            : "%s",
		        address->host) >= 0)
			door->host = host;
	}
	door->is_loopback =
	    address->kind == ADDRESS_UNIX || is_loopback(address);
	door->http = evhttp_new(admin->base);
	door->seats =
	    seats_new(admin->base, door->is_loopback, &admin->counts.refused);
	if (door->text && (door->unix_path || door->host) && door->http &&
	    door->seats)
		return door;
	door_free(door);
	return NULL;
}

static void
door_configure(struct door *door)
{
	evhttp_set_allowed_methods(
	    door->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
	                    EVHTTP_REQ_PUT | EVHTTP_REQ_DELETE |
	                    EVHTTP_REQ_PATCH | EVHTTP_REQ_OPTIONS);
	evhttp_set_max_headers_size(door->http, DOOR_HEAD_MAX);
	evhttp_set_max_body_size(door->http, API_TEXT_MAX + 4096);
	evhttp_set_timeout(door->http, DOOR_IDLE_SECONDS);
	evhttp_set_gencb(door->http, dispatch, door);
	evhttp_set_bevcb(door->http, seats_take, door->seats);
}

void
door_gate(struct door *door, const struct tls_gate *gate)
{
	door->is_tls = gate && !door->is_metrics && !door->unix_path;
	seats_gate(door->seats, door->is_tls ? gate : NULL);
}

static bool
may_listen(const struct address *address, bool is_metrics, bool has_tls,
    struct err *err)
{
	if (address->kind == ADDRESS_NAME)
		return refuse(err, address,
		    "give an address or unix:/path instead of a name");
	if (address->kind == ADDRESS_UNIX || is_metrics || has_tls ||
	    is_loopback(address))
		return true;
	return refuse(err, address,
	    "it would be open to others: give admin.tls, or listen at "
	    "unix:/path or loopback");
}

/*
 * Out of descriptors: the one who waits would be reported again at once and
 * for ever. The next tick lets the door be tried again.
 */
static void
on_accept_failed(struct evconnlistener *listener, void *arg)
{
	(void)arg;
	evconnlistener_disable(listener);
	log_event(LOG_WARN, "an admin listener cannot accept for a moment",
	    "error", strerror(errno), NULL);
}

void
door_tick(struct door *door, nsec_t now)
{
	seats_sweep(door->seats, now);
	if (door->bound)
		evconnlistener_enable(
		    evhttp_bound_socket_get_listener(door->bound));
}

struct door *
door_open(struct admin *admin, const struct address *address, bool is_metrics,
    bool has_tls, struct err *err)
{
	struct door *door;
	int fd;

	if (!may_listen(address, is_metrics, has_tls, err))
		return NULL;
	fd = address->kind == ADDRESS_UNIX ? bind_unix(address, err)
	                                   : bind_tcp(address, err);
	if (fd < 0)
		return NULL;
	door = door_new(admin, address);
	if (door)
		door->bound = evhttp_accept_socket_with_handle(door->http, fd);
	if (!door || !door->bound) {
		close(fd);
		if (door)
			door_free(door);
		refuse(err, address, "out of memory");
		return NULL;
	}
	evconnlistener_set_error_cb(
	    evhttp_bound_socket_get_listener(door->bound), on_accept_failed);
	door->is_metrics = is_metrics;
	door_configure(door);
	TAILQ_INSERT_TAIL(&admin->doors, door, link);
	door->is_listed = true;
	door->is_new = true;
	return door;
}

/* A socket that was shut down keeps its address, and may listen anew. */
void
door_pause(struct door *door)
{
	if (!door->bound || door->is_paused)
		return;
	shutdown(evhttp_bound_socket_get_fd(door->bound), SHUT_RDWR);
	door->is_paused = true;
}

void
door_resume(struct door *door)
{
	if (!door->is_paused)
		return;
	if (door->bound &&
	    listen(evhttp_bound_socket_get_fd(door->bound), DOOR_BACKLOG) != 0)
		log_event(LOG_ERROR, "an admin listener cannot listen again",
		    "listener", door->text, "error", strerror(errno), NULL);
	door->is_paused = false;
}

static void
on_buried(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	door_free(arg);
}

static void
door_shut(struct door *door)
{
	if (!door->bound)
		return;
	evhttp_del_accept_socket(door->http, door->bound);
	door->bound = NULL;
	if (door->unix_path)
		unlink(door->unix_path);
}

void
door_retire(struct door *door)
{
	static const struct timeval grace = {.tv_sec = DOOR_GRACE_SECONDS};

	if (!door->bound)
		return;
	door_shut(door);
	door->grave = evtimer_new(door->admin->base, on_buried, door);
	if (!door->grave || evtimer_add(door->grave, &grace) != 0)
		log_event(LOG_WARN,
		    "a listener that left the file is kept until the end",
		    "listener", door->text, NULL);
}

void
door_free(struct door *door)
{
	if (door->is_listed)
		TAILQ_REMOVE(&door->admin->doors, door, link);
	if (door->http) {
		door_shut(door);
		evhttp_free(door->http);
	}
	seats_free(&door->seats);
	if (door->grave)
		event_free(door->grave);
	free(door->text);
	free(door->unix_path);
	free(door->host);
	free(door);
}
