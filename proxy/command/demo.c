/*
 * weir demo: three versions of a shop, users, and the real data plane between
 * them, in one process.
 *
 *   upstreams -> config -> weir_run -> on_ready: users and screen, or the story
 *
 * All files live in a private directory that goes at the end. weir_run keeps
 * the calling thread; what the demo shows runs in a thread of its own.
 */
#include "proxy/demo/demo.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "proxy/clock.h"
#include "proxy/command/command.h"
#include "proxy/demo/upstream.h"
#include "proxy/proxy.h"
#include "proxy/scratch.h"

enum { FLAG_ONCE = FLAG_LONG, FLAG_LISTEN, FLAG_CLEAR, FLAG_ADMIN, FLAG_BREAK };

const struct flag demo_flags[] = {
    {FLAG_ONCE, "once", NULL, "tell the story once, check each step, and end"},
    {FLAG_LISTEN, "listen", "ADDR", "address with TLS, 127.0.0.1:8443 without"},
    {FLAG_CLEAR, "clear", "ADDR",
        "address without TLS, 127.0.0.1:8080 without"},
    {FLAG_ADMIN, "admin", "ADDR",
        "address of the admin API, 127.0.0.1:9901 without"},
    {FLAG_BREAK, "break", "KIND",
        "roll the canary out and break it: errors, latency, crash, hang"},
    {0},
};

enum { DEMO_RATE = 200 }; /* requests a second */

struct demo {
	nsec_t began;
	bool is_once;
	struct scratch scratch;
	struct demo_site site;
	struct demo_upstream *upstreams[DEMO_POOLS]; /* owned */
	struct demo_load *load; /* owned; NULL with --once */
	struct demo_score score;
	pthread_t show;
	bool has_show;
	atomic_bool is_over;   /* the show has nothing more to tell */
	atomic_bool is_ending; /* the proxy has stopped */
};

/* ---- addresses ---- */

/* 0, or why one cannot listen there. */
static int
try_listen(const struct address *address)
{
	int on = 1;
	int fd = socket(address->sa.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int failure = 0;

	if (fd < 0)
		return errno;
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (bind(fd, (const struct sockaddr *)&address->sa, address->sa_len) !=
	        0 ||
	    listen(fd, 1) != 0)
		failure = errno;
	close(fd);
	return failure;
}

/* The kernel's choice. Somebody could take it before we do; then weir_run says
 * so. */
static bool
take_any_port(struct address *out, struct err *err)
{
	struct demo_upstream_cfg none = {.name = "port"};
	struct address any;
	struct demo_upstream *probe;
	bool ok;

	if (!address_parse(SPAN("127.0.0.1:0"), &any, err))
		return false;
	probe = demo_upstream_new(&none, &any, err);
	address_release(&any);
	ok = probe &&
	     address_parse(span_of(demo_upstream_address(probe)), out, err);
	demo_upstream_free(&probe);
	return ok;
}

/* An address that the user named must be free; a default one may give way. */
static bool
choose(
    const char *given, const char *usual, struct address *out, struct err *err)
{
	char busy[64];
	int failure;

	if (!address_parse(span_of(given ? given : usual), out, err))
		return false;
	if (out->kind != ADDRESS_IP)
		return err_set(err,
		    "%s: the demo listens on literal addresses, as in %s",
		    given, usual);
	failure = try_listen(out);
	if (failure == 0)
		return true;
	snprintf(busy, sizeof(busy), "%s", out->text);
	if (given)
		return err_set(
		    err, "cannot listen on %s: %s", busy, strerror(failure));
	address_release(out);
	*out = (struct address){0};
	if (!take_any_port(out, err))
		return false;
	fprintf(stderr, "%s is in use, taking %s\n", busy, out->text);
	return true;
}

/* ---- the config ---- */

static bool
make_token(struct demo *demo, const char *file, char token[65], struct err *err)
{
	uint8_t bytes[32];

	if (!tls_random(bytes, sizeof(bytes)))
		return err_set(err, "no random numbers from the kernel");
	for (size_t i = 0; i < sizeof(bytes); i++)
		snprintf(token + 2 * i, 3, "%02x", bytes[i]);
	return scratch_write(&demo->scratch, file, span_of(token), err);
}

static void
print_access(const struct demo *demo, FILE *out)
{
	const char *dir = demo->scratch.dir;

	fprintf(out,
	    "state_dir: \"%s/state\"\nadmin:\n  listen: [\"%s\", \"%s\"]\n  "
	    "access:\n",
	    dir, demo->site.admin_unix.text, demo->site.admin_tcp.text);
	fputs("    - {who: \"uid:0\", role: admin}\n", out);
	if (geteuid() != 0)
		fprintf(out, "    - {who: \"uid:%u\", role: admin}\n",
		    (unsigned)geteuid());
	fprintf(out,
	    "    - {who: \"token:viewer\", secret: {file: "
	    "\"%s/viewer.token\"}, role: viewer}\n"
	    "    - {who: \"token:operator\", secret: {file: "
	    "\"%s/operator.token\"}, role: operator}\n",
	    dir, dir);
}

/* As short as they can be: real ones hold for minutes and have a gate or two.
 */
static const char demo_phases[] =
    "      - {name: a-tenth, weight: 10, hold: 1s, min_requests: 200, until: "
    "proven}\n"
    "      - {name: half, weight: 50, hold: 1s, until: held}\n"
    "      - {name: all, weight: 100, hold: 1s, until: held}\n";
static const char watch_phases[] =
    "      - {name: a-tenth, weight: 10, hold: 1h, until: proven}\n"
    "      - {name: all, weight: 100, hold: 1h, until: held}\n";

static void
print_plan(FILE *out, const char *name, const char *phases)
{
	fprintf(out,
	    "  %s:\n    phases:\n%s    keep_warm: 10m\n    guards:\n"
	    "      - {name: errors, metric: errors, max_increase: 5pp, action: "
	    "rollback}\n"
	    "      - {name: latency, metric: latency, max_increase: 400%%, "
	    "tolerance: 25%%, action: rollback}\n"
	    "      - {name: fuse, metric: excess_failures, max: 200, action: "
	    "rollback}\n",
	    name, phases);
}

static void
print_config(const struct demo *demo, FILE *out)
{
	fputs("# Made by `weir demo`, gone with it. Change it and reload: the "
	      "demo follows.\nversion: 1\n",
	    out);
	print_access(demo, out);
	fprintf(out,
	    "listeners:\n  https: {bind: [\"%s\"], tls: {self_signed: true}}\n "
	    " http: {bind: [\"%s\"]}\npools:\n",
	    demo->site.tls.text, demo->site.clear.text);
	for (int i = 0; i < DEMO_POOLS; i++)
		fprintf(out,
		    "  %s: {endpoints: [\"%s\"], timeouts: {connect: 1s, "
		    "first_byte: 1s}}\n",
		    demo_pools[i], demo_upstream_address(demo->upstreams[i]));
	fputs("splits:\n  shop: {stable: blue, weights: {blue: 90, canary: 10, "
	      "green: 0}, shield: true}\n"
	      "routes:\n"
	      "  - {name: health, match: {path: /healthz}, respond: {status: "
	      "200, body: \"ok\\n\"}}\n"
	      "  - {name: shop, split: shop, headers: {response: {set: "
	      "{x-pool: \"${pool}\"}}}}\n"
	      "plans:\n",
	    out);
	print_plan(out, "demo", demo_phases);
	print_plan(out, "watch", watch_phases);
}

static struct config *
load_config(struct demo *demo, struct err *err)
{
	char path[SCRATCH_FILE_MAX];
	struct diags diags = {0};
	struct config *config = NULL;
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out) {
		err_set(err, "out of memory");
		return NULL;
	}
	print_config(demo, out);
	if (fclose(out) == 0 && scratch_write(&demo->scratch, "weir.yaml",
	                            (struct span){text, len}, err)) {
		config = config_load(
		    scratch_path(&demo->scratch, "weir.yaml", path), &diags);
		if (!config)
			diags_print(&diags, stderr, false);
		err_set(err, "the demo's own config is not accepted");
	}
	diags_release(&diags);
	free(text);
	return config;
}

static bool
start_upstreams(struct demo *demo, struct err *err)
{
	struct address any;
	bool ok = address_parse(SPAN("127.0.0.1:0"), &any, err);

	for (int i = 0; ok && i < DEMO_POOLS; i++) {
		/* Long against what it takes to wake a thread, which is more
		 * for the one that has less to do. */
		struct demo_upstream_cfg cfg = {.name = demo_pools[i],
		    .latency = (demo->is_once ? 1 : 4) * NSEC_PER_MSEC,
		    .spread = 0.4};

		demo->upstreams[i] = demo_upstream_new(&cfg, &any, err);
		ok = demo->upstreams[i] &&
		     demo_upstream_start(demo->upstreams[i], err);
	}
	demo->site.canary = demo->upstreams[DEMO_CANARY];
	address_release(&any);
	return ok;
}

static bool
prepare(struct demo *demo, struct err *err)
{
	static const struct pool_tls_cfg believing = {
	    .on = true, .verify = VERIFY_OFF};
	char text[SCRATCH_FILE_MAX + 8], path[SCRATCH_FILE_MAX];

	if (!scratch_init(&demo->scratch, "demo", err))
		return false;
	snprintf(text, sizeof(text), "unix:%s",
	    scratch_path(&demo->scratch, "admin.sock", path));
	demo->site.tls_client = tls_client_new(&believing, DEMO_USERS, err);
	return demo->site.tls_client &&
	       address_parse(span_of(text), &demo->site.admin_unix, err) &&
	       make_token(demo, "viewer.token", demo->site.viewer, err) &&
	       make_token(demo, "operator.token", demo->site.operator, err) &&
	       start_upstreams(demo, err);
}

/* ---- what is shown ---- */

static void *
show_thread(void *ctx)
{
	struct demo *demo = ctx;
	struct err err;

	if (demo->is_once) {
		printf("weir " WEIR_VERSION " demo --once\n");
		demo_story(&demo->site, &demo->score);
	} else {
		demo_welcome(&demo->site, demo->scratch.dir);
		if (demo->site.mood != MOOD_WELL)
			demo_rollout(&demo->site, &demo->score);
		demo->load = demo_load_start(&demo->site, DEMO_RATE, &err);
		if (demo->load)
			demo_screen(demo->load, &demo->is_ending);
		else
			fprintf(stderr, "weir demo: %s\n", err.text);
	}
	atomic_store(&demo->is_over, true);
	return NULL;
}

static void
on_ready(void *ctx)
{
	struct demo *demo = ctx;
	sigset_t all, before;

	demo->site.ready_after = clock_now() - demo->began;
	sigfillset(
	    &all); /* signals are for this thread, which runs the proxy */
	pthread_sigmask(SIG_SETMASK, &all, &before);
	demo->has_show =
	    pthread_create(&demo->show, NULL, show_thread, demo) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (!demo->has_show)
		atomic_store(&demo->is_over, true);
}

static bool
wants_stop(void *ctx)
{
	struct demo *demo = ctx;

	return atomic_load(&demo->is_over);
}

/* ---- the whole ---- */

static int
tell_end(struct demo *demo, int code)
{
	if (!demo->is_once)
		return code;
	if (demo->has_show)
		demo_step(&demo->score, code == EXIT_OK, "drained and ended",
		    "exit code %d", code);
	printf("\nTo look around: weir demo, then https://%s/ and admin "
	       "http://%s/\n"
	       "%u passed, %u failed\n",
	    demo->site.tls.text, demo->site.admin_tcp.text, demo->score.passed,
	    demo->score.failed);
	if (code != EXIT_OK)
		return code;
	return demo->score.failed == 0 && demo->score.passed > 0
	           ? EXIT_OK
	           : EXIT_INTERNAL;
}

static int
run(struct demo *demo)
{
	struct run_options options = {.on_ready = on_ready,
	    .ctx = demo,
	    .wants_stop = wants_stop,
	    .is_quiet = true};
	struct config *config;
	struct err err;
	int code;

	if (!prepare(demo, &err) || !(config = load_config(demo, &err))) {
		fprintf(stderr, "weir demo: %s\n", err.text);
		return EXIT_INTERNAL;
	}
	code = weir_run(config, &options);
	atomic_store(&demo->is_ending, true);
	if (demo->has_show)
		pthread_join(demo->show, NULL);
	if (demo->load)
		demo_load_stop(&demo->load);
	return tell_end(demo, code);
}

static void
release(struct demo *demo)
{
	for (int i = 0; i < DEMO_POOLS; i++)
		demo_upstream_free(&demo->upstreams[i]);
	if (demo->site.tls_client)
		tls_client_free(&demo->site.tls_client);
	address_release(&demo->site.tls);
	address_release(&demo->site.clear);
	address_release(&demo->site.admin_tcp);
	address_release(&demo->site.admin_unix);
	scratch_release(&demo->scratch);
}

static bool
choose_mood(struct args *args, enum demo_mood *out)
{
	static const char *const words[] = {
	    "errors", "latency", "crash", "hang"};
	const char *near;

	if (demo_mood_of(span_of(args->value), out) && *out != MOOD_WELL)
		return true;
	near = suggest(span_of(args->value), words, 4);
	args_refuse(args, "--break %s: %s%s%s errors, latency, crash or hang",
	    args->value, near ? "did you mean " : "say", near ? near : "",
	    near ? "? It is one of" : "");
	return false;
}

int
cmd_demo(struct args *args)
{
	struct demo demo = {.began = clock_now()};
	const char *listen_at = NULL, *clear = NULL, *admin = NULL;
	struct err err;
	int code;

	for (int key; (key = args_next(args)) != ARG_END;) {
		if (key == ARG_WRONG)
			return EXIT_USAGE;
		if (key == ARG_WORD)
			return args_refuse(
			    args, "takes no \"%s\"", args->value);
		if (key == FLAG_BREAK) {
			if (!choose_mood(args, &demo.site.mood))
				return EXIT_USAGE;
			continue;
		}
		if (key == FLAG_ONCE)
			demo.is_once = true;
		else
			*(key == FLAG_LISTEN    ? &listen_at
			    : key == FLAG_CLEAR ? &clear
			                        : &admin) = args->value;
	}
	if (choose(listen_at, "127.0.0.1:8443", &demo.site.tls, &err) &&
	    choose(clear, "127.0.0.1:8080", &demo.site.clear, &err) &&
	    choose(admin, "127.0.0.1:9901", &demo.site.admin_tcp, &err))
		code = run(&demo);
	else
		code = args_refuse(args, "%s", err.text);
	release(&demo);
	return code;
}
