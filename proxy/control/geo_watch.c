/*
 * Keeping databases of places fresh. Their owners replace them weekly, by
 * rename or by writing over them; so once a second the files are looked at,
 * and when one is another and has been left alone for a second, all are
 * opened anew. A broken one changes nothing: the last good ones stay, which
 * is said once for each state of the file.
 */
#include "proxy/control/geo_watch.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "admin/log.h"

enum { LOOK_EVERY_S = 1 };

/* What tells one state of a file from another. */
struct trace {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec changed;
};

struct watched {
	char *path;          /* owned */
	struct trace tried;  /* when it was opened last, with whatever luck */
	struct trace looked; /* at the last look */
};

struct geo_watch {
	struct registry *registry; /* borrowed */
	struct event *timer;       /* owned */
	struct watched *files;     /* owned */
	size_t n;
};

static struct trace
trace_of(const char *path)
{
	struct trace trace;
	struct stat st;

	memset(&trace, 0, sizeof(trace)); /* its padding is compared */
	if (stat(path, &st) != 0)
		return trace;
	trace.device = st.st_dev;
	trace.inode = st.st_ino;
	trace.size = st.st_size;
	trace.changed = st.st_ctim;
	return trace;
}

static bool
traces_equal(const struct trace *a, const struct trace *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static struct geo *
open_all(struct geo_watch *watch, struct err *err)
{
	struct strings paths = {NULL, 0};
	struct geo *geo;

	paths.at = calloc(watch->n, sizeof(*paths.at));
	if (!paths.at) {
		err_set(err, "out of memory");
		return NULL;
	}
	for (; paths.n < watch->n; paths.n++) {
		struct watched *file = &watch->files[paths.n];

		paths.at[paths.n] = file->path;
		file->tried = file->looked = trace_of(file->path);
	}
	geo = geo_open(&paths, registry_workers(watch->registry), err);
	free(paths.at);
	return geo;
}

/* ---- looking ---- */

/* Another than the one that was tried, and the same as a second ago. */
static bool
is_replaced(struct watched *file)
{
	struct trace now = trace_of(file->path);
	bool is_calm = traces_equal(&now, &file->looked);

	file->looked = now;
	return is_calm && now.size > 0 && !traces_equal(&now, &file->tried);
}

static void
look(int fd, short what, void *arg)
{
	struct geo_watch *watch = arg;
	const char *replaced = NULL; /* of several, the last */
	struct geo *geo;
	struct err err;

	(void)fd;
	(void)what;
	for (size_t i = 0; i < watch->n; i++)
		if (is_replaced(&watch->files[i]))
			replaced = watch->files[i].path;
	if (!replaced)
		return;
	geo = open_all(watch, &err);
	if (geo) {
		registry_geo_publish(watch->registry, geo);
		log_event(
		    LOG_INFO, "geo database replaced", "path", replaced, NULL);
	} else {
		log_event(LOG_ERROR,
		    "geo database not replaced: the last good one stays",
		    "error", err.text, NULL);
	}
}

/* ---- with the config ---- */

static bool
names_are(const struct geo_watch *watch, const struct strings *paths)
{
	if (watch->n != paths->n)
		return false;
	for (size_t i = 0; i < watch->n; i++)
		if (strcmp(watch->files[i].path, paths->at[i]) != 0)
			return false;
	return true;
}

static void
forget(struct geo_watch *watch)
{
	for (size_t i = 0; i < watch->n; i++)
		free(watch->files[i].path);
	free(watch->files);
	watch->files = NULL;
	watch->n = 0;
}

static bool
remember(struct geo_watch *watch, const struct strings *paths)
{
	watch->files = calloc(paths->n + 1, sizeof(*watch->files));
	for (; watch->files && watch->n < paths->n; watch->n++) {
		char *path = strdup(paths->at[watch->n]);

		if (!path)
			return false;
		watch->files[watch->n].path = path;
	}
	return watch->files != NULL;
}

/* The files that are watched already: SIGHUP opens them anew. */
static void
refresh(struct geo_watch *watch)
{
	struct err err;
	struct geo *geo = open_all(watch, &err);

	if (geo)
		registry_geo_publish(watch->registry, geo);
	else
		log_event(LOG_ERROR,
		    "geo database not opened anew: the last good one stays",
		    "error", err.text, NULL);
}

bool
geo_watch_apply(
    struct geo_watch *watch, const struct config *config, struct err *err)
{
	struct geo_watch next = *watch;
	struct geo *geo = NULL;

	if (names_are(watch, &config->geo)) {
		if (watch->n > 0)
			refresh(watch);
		return true;
	}
	next.files = NULL;
	next.n = 0;
	if (!remember(&next, &config->geo))
		return err_set(err, "out of memory");
	if (next.n > 0 && !(geo = open_all(&next, err))) {
		forget(&next);
		return false;
	}
	forget(watch);
	*watch = next;
	registry_geo_publish(watch->registry, geo);
	return true;
}

/* ---- life ---- */

struct geo_watch *
geo_watch_new(struct event_base *base, struct registry *registry)
{
	struct geo_watch *watch = calloc(1, sizeof(*watch));
	struct timeval every = {LOOK_EVERY_S, 0};

	if (!watch)
		return NULL;
	watch->registry = registry;
	watch->timer = event_new(base, -1, EV_PERSIST, look, watch);
	if (!watch->timer || event_add(watch->timer, &every) < 0)
		geo_watch_free(&watch);
	return watch;
}

void
geo_watch_free(struct geo_watch **watch)
{
	struct geo_watch *dead = *watch;

	*watch = NULL;
	if (!dead)
		return;
	if (dead->timer)
		event_free(dead->timer);
	forget(dead);
	free(dead);
}
