/*
 * What weir demo shows to a person: where everything is, what to try, and what
 * the users see.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "proxy/clock.h"
#include "proxy/demo/demo.h"

enum { PLAIN_EVERY_S = 10 };

/* The client under its own name when it lies beside us, as in a build
 * directory. */
static const char *
client_name(char *buf, size_t cap)
{
	ssize_t n = readlink("/proc/self/exe", buf, cap - 1);
	char *slash;

	if (n <= 0)
		return "weirctl";
	buf[n] = '\0';
	slash = strrchr(buf, '/');
	if (!slash || (size_t)(slash - buf) + sizeof("/weirctl") > cap ||
	    strncmp(buf, "/usr/", 5) == 0)
		return "weirctl";
	memcpy(slash + 1, "weirctl", sizeof("weirctl"));
	return access(buf, X_OK) == 0 ? buf : "weirctl";
}

void
demo_welcome(const struct demo_site *site, const char *dir)
{
	char buf[512];
	const char *ctl = client_name(buf, sizeof(buf));

	printf(
	    "weir " WEIR_VERSION
	    " demo: a shop in three versions, blue 90 %%, canary 10 %%, green "
	    "0 %%; ready after %lld ms\n\n"
	    "  TLS      https://%s/\n"
	    "  clear    http://%s/\n"
	    "  admin    http://%s/ (tokens: %s/viewer.token, operator.token)\n"
	    "           %s\n"
	    "  config   %s/weir.yaml\n\n",
	    (long long)(site->ready_after / NSEC_PER_MSEC), site->tls.text,
	    site->clear.text, site->admin_tcp.text, dir, site->admin_unix.text,
	    dir);
	printf("Try, in another terminal:\n"
	       "  curl -sk https://%s/ -D - -o /dev/null\n"
	       "  export WEIR_ADMIN=%s\n"
	       "  %s status\n"
	       "  %s weights shop blue=50 canary=50 --reason \"trying it\"\n"
	       "  %s undo shop\n"
	       "  curl -s --unix-socket %s http://localhost/metrics | grep "
	       "weir_split\n"
	       "Ctrl-C ends it and removes its files.\n\n",
	    site->tls.text, site->admin_unix.text, ctl, ctl, ctl,
	    site->admin_unix.host);
	fflush(stdout);
}

static double
per_cent(uint64_t part, uint64_t all)
{
	return all > 0 ? 100.0 * (double)part / (double)all : 0;
}

/* What happened between two readings, as one line. */
static void
print_second(const struct demo_counts *before, const struct demo_counts *now,
    double seconds, bool redraw)
{
	struct histogram_sum latency = now->latency;
	uint64_t part[DEMO_POOLS], all = 0;

	for (int i = 0; i < DEMO_POOLS; i++) {
		part[i] = now->pools[i] - before->pools[i];
		all += part[i];
	}
	latency.count -= before->latency.count;
	for (int i = 0; i < HISTOGRAM_BUCKETS; i++)
		latency.bucket[i] -= before->latency.bucket[i];
	if (redraw)
		fputs("\r\033[K", stdout);
	for (int i = 0; i < DEMO_POOLS; i++)
		printf("%s %5.1f %%  ", demo_pools[i], per_cent(part[i], all));
	printf(" %4.0f requests/s   p50 %.1f ms  p99 %.1f ms   %llu failed",
	    (double)all / seconds,
	    (double)histogram_quantile(&latency, 0.5) / 1e6,
	    (double)histogram_quantile(&latency, 0.99) / 1e6,
	    (unsigned long long)now->failed);
	/* Back to the left: what the log says next begins a line. */
	putchar(redraw ? '\r' : '\n');
	fflush(stdout);
}

/*
 * On a terminal one line that changes each second, else a line now and then.
 * A terminal that was closed ends it: nobody looks any more.
 */
void
demo_screen(const struct demo_load *load, const atomic_bool *is_ending)
{
	bool redraw = isatty(STDOUT_FILENO) && !getenv("NO_COLOR");
	struct demo_counts counts[2] = {0};
	nsec_t last = clock_now(), now;
	struct timespec tenth = {0, 100 * NSEC_PER_MSEC};

	while (!atomic_load(is_ending) && !ferror(stdout)) {
		nanosleep(&tenth, NULL);
		now = clock_now();
		if (now - last < (redraw ? 1 : PLAIN_EVERY_S) * NSEC_PER_SEC)
			continue;
		demo_load_read(load, &counts[1]);
		print_second(&counts[0], &counts[1],
		    (double)(now - last) / NSEC_PER_SEC, redraw);
		counts[0] = counts[1];
		last = now;
	}
	if (redraw)
		putchar('\n');
}
