/*
 * weir drain: asks the running weir to end in order and, with --wait, waits
 * until its process is gone. On a unix socket the kernel says which process
 * listens there, and a descriptor of that process tells its end exactly; over
 * TCP, or when the process lives in another PID namespace, it is gone when
 * nobody answers at the address, or somebody who is not draining.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "proxy/command/admin_address.h"
#include "proxy/command/fetch.h"
#include "tls/tls.h"

enum { FLAG_ADMIN = FLAG_LONG, FLAG_WAIT, FLAG_REASON };
enum { ASK_S = 10, POLL_MS = 100, TOKEN_MAX = 4096, REASON_MAX = 512 };

const struct flag drain_flags[] = {
    {FLAG_ADMIN, "admin", "ADDR",
        "admin address; that of -c, $WEIR_ADMIN or unix:/run/weir/admin.sock "
        "without"},
    {'c', "config", "FILE",
        "the file that it runs with, whose admin.listen says where it is"},
    {FLAG_WAIT, "wait", "D", "wait for its end, at most so long: \"60s\""},
    {FLAG_REASON, "reason", "TEXT", "goes into the audit log"},
    {0},
};

struct drain_wish {
	struct admin_wish admin;
	const char *reason;
	nsec_t wait; /* 0: do not */
};

struct target {
	struct address address;
	struct tls_client *tls;
	struct fetch *fetch;
	char headers[TOKEN_MAX + 32]; /* with the token */
	int pidfd;                    /* -1: not known */
};

static nsec_t
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

/* ---- who is it? ---- */

/* Taken before anything is asked: a number may soon be another process's. */
static int
open_process(const struct address *address)
{
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	int fd, pidfd = -1;

	if (address->kind != ADDRESS_UNIX)
		return -1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 &&
	    connect(fd, (const struct sockaddr *)&address->sa,
	        address->sa_len) == 0 &&
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0 &&
	    peer.pid > 0)
		pidfd = pidfd_open(peer.pid, 0);
	if (fd >= 0)
		close(fd);
	return pidfd;
}

/* As weirctl does: the first line of $WEIR_TOKEN_FILE. */
static bool
take_token(struct target *target)
{
	char *path = getenv("WEIR_TOKEN_FILE"), *bytes;
	struct secret secret = {.from = SECRET_FILE, .where = path};
	struct err err;
	size_t len;

	target->headers[0] = '\0';
	if (!path || !*path)
		return true;
	if (!secret_read(&secret, &bytes, &len, &err)) {
		fprintf(stderr, "weir drain: WEIR_TOKEN_FILE: %s\n", err.text);
		return false;
	}
	len = strcspn(bytes, "\r\n");
	if (len < TOKEN_MAX)
		snprintf(target->headers, sizeof(target->headers),
		    "authorization: Bearer %.*s\r\n", (int)len, bytes);
	free(bytes);
	return true;
}

/* A token is told only to who proves to be meant. */
static bool
open_tls(struct target *target)
{
	char *ca = getenv("WEIR_CACERT");
	struct pool_tls_cfg cfg = {.on = true,
	    .verify = ca && *ca ? VERIFY_FILE : VERIFY_SYSTEM,
	    .ca_file = ca};
	struct err err;

	target->tls = tls_client_new(&cfg, 1, &err);
	if (!target->tls)
		fprintf(stderr, "weir drain: %s\n", err.text);
	return target->tls != NULL;
}

/* ---- asking ---- */

/* %-escaped for a query: a reason may hold anything. */
static void
print_escaped(FILE *out, const char *text)
{
	for (; *text; text++)
		if (memchr("-._~", *text, 4) ||
		    (*text >= '0' && *text <= '9') ||
		    (*text >= 'A' && *text <= 'Z') ||
		    (*text >= 'a' && *text <= 'z'))
			fputc(*text, out);
		else
			fprintf(out, "%%%02X", (unsigned char)*text);
}

static bool
ask(struct target *target, const char *method, const char *reason,
    struct fetch_reply *reply, struct err *err)
{
	char *path = NULL;
	size_t len;
	FILE *out = open_memstream(&path, &len);
	bool ok;

	if (!out)
		return err_set(err, "out of memory");
	fputs("/v1/system/drain", out);
	if (reason) {
		fputs("?reason=", out);
		print_escaped(out, reason);
	}
	fclose(out);
	ok = fetch_call(target->fetch,
	    &(struct fetch_ask){method, path, target->headers, SPAN("")}, reply,
	    err);
	free(path);
	return ok;
}

/* "detail" of a problem as it stands in the JSON: one line, weir's own words.
 */
static struct span
detail_of(struct span body)
{
	static const char key[] = "\"detail\":\"";
	const char *at =
	    body.len ? memmem(body.ptr, body.len, key, sizeof(key) - 1) : NULL;
	size_t len = 0, left;

	if (!at)
		return SPAN("it gave no reason");
	at += sizeof(key) - 1;
	left = (size_t)(body.ptr + body.len - at);
	while (len < left && at[len] != '"')
		len += at[len] == '\\' && len + 1 < left ? 2 : 1;
	return (struct span){at, len};
}

static int
refused(const struct target *target, const struct fetch_reply *reply)
{
	struct span why = detail_of(reply->body);

	fprintf(stderr, "weir drain: %s refused (%u): %.*s\n",
	    target->address.text, reply->status, (int)why.len, why.ptr);
	switch (reply->status) {
	case 401:
	case 403:
	case 421:
	case 429:
		return EXIT_NOT_ALLOWED;
	case 404:
		return EXIT_NOT_FOUND;
	default:
		return reply->status < 500 ? EXIT_USAGE : EXIT_INTERNAL;
	}
}

/* ---- waiting ---- */

/* 1: it has ended; 0: the time is over. */
static int
watch_process(const struct target *target, nsec_t until)
{
	struct pollfd p = {.fd = target->pidfd, .events = POLLIN};
	nsec_t left;
	int n;

	do {
		left = until - now();
		n = poll(&p, 1,
		    left > 0 ? (int)((left + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC)
		             : 0);
	} while (n < 0 && errno == EINTR);
	return n > 0;
}

static bool
drains_still(struct target *target)
{
	struct fetch_reply reply;
	struct err err;

	if (!ask(target, "GET", NULL, &reply, &err))
		return !fetch_was_refused(target->fetch);
	return reply.status != 200 ||
	       fetch_holds(reply.body, "\"draining\":true");
}

static int
watch_address(struct target *target, nsec_t until)
{
	struct timespec pause = {0, POLL_MS * NSEC_PER_MSEC};

	while (drains_still(target)) {
		if (now() >= until)
			return 0;
		nanosleep(&pause, NULL);
	}
	return 1;
}

static int
wait_for_end(struct target *target, nsec_t wait)
{
	nsec_t began = now();
	bool is_gone = target->pidfd >= 0 ? watch_process(target, began + wait)
	                                  : watch_address(target, began + wait);

	if (is_gone) {
		printf("ended after %.1fs\n",
		    (double)(now() - began) / NSEC_PER_SEC);
		return EXIT_OK;
	}
	fprintf(stderr,
	    "weir drain: not ended after %.1fs; the draining goes on, until "
	    "drain.limit at most\n",
	    (double)(now() - began) / NSEC_PER_SEC);
	return EXIT_TIMED_OUT;
}

/* ---- the command ---- */

static int
drain(struct target *target, const struct drain_wish *wish)
{
	struct fetch_reply reply;
	struct err err;

	if (!ask(target, "POST", wish->reason, &reply, &err)) {
		fprintf(stderr,
		    "weir drain: %s\n  is it running? --admin ADDR, -c FILE or "
		    "WEIR_ADMIN say where\n",
		    err.text);
		return EXIT_UNREACHABLE;
	}
	if (reply.status != 200)
		return refused(target, &reply);
	if (!fetch_holds(reply.body, "\"draining\":true")) {
		fprintf(stderr, "weir drain: %s does not answer as weir does\n",
		    target->address.text);
		return EXIT_INTERNAL;
	}
	puts("draining");
	fflush(stdout);
	return wish->wait > 0 ? wait_for_end(target, wish->wait) : EXIT_OK;
}

static int
drain_at(struct target *target, bool is_tls, const struct drain_wish *wish)
{
	if (!take_token(target))
		return EXIT_USAGE;
	if (is_tls && !open_tls(target))
		return EXIT_USAGE;
	target->fetch =
	    fetch_new(&target->address, target->tls, 0, ASK_S * NSEC_PER_SEC);
	if (!target->fetch)
		return EXIT_INTERNAL;
	target->pidfd = open_process(&target->address);
	return drain(target, wish);
}

static bool
take(struct args *args, int key, struct drain_wish *wish)
{
	switch (key) {
	case ARG_WRONG:
		return false;
	case FLAG_ADMIN:
		wish->admin.admin = args->value;
		return true;
	case 'c':
		wish->admin.file = args->value;
		return true;
	case FLAG_WAIT:
		if (units_duration(span_of(args->value), &wish->wait) &&
		    wish->wait > 0)
			return true;
		args_refuse(args,
		    "--wait %s is no duration; say \"30s\" or \"5m\"",
		    args->value);
		return false;
	case FLAG_REASON:
		wish->reason = args->value;
		if (strlen(wish->reason) <= REASON_MAX)
			return true;
		args_refuse(
		    args, "the reason is longer than %d bytes", REASON_MAX);
		return false;
	default:
		args_refuse(args, "takes no \"%s\"", args->value);
		return false;
	}
}

int
cmd_drain(struct args *args)
{
	struct drain_wish wish = {0};
	struct target target = {.pidfd = -1};
	bool is_tls;
	int code;

	for (int key; (key = args_next(args)) != ARG_END;)
		if (!take(args, key, &wish))
			return EXIT_USAGE;
	if (!admin_address(args, &wish.admin, &target.address, &is_tls, &code))
		return code;
	code = drain_at(&target, is_tls, &wish);
	if (target.fetch)
		fetch_free(&target.fetch);
	if (target.tls)
		tls_client_free(&target.tls);
	if (target.pidfd >= 0)
		close(target.pidfd);
	explicit_bzero(target.headers, sizeof(target.headers));
	address_release(&target.address);
	return code;
}
