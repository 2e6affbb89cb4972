/*
 * See plant.h. The event loop runs on a thread, as in weir; the test talks to
 * it only over sockets, and takes it apart only when the loop has ended.
 */
#include "plant.h"

#include <curl/curl.h>
#include <event2/thread.h>
#include <signal.h>

static bool
on_reload(void *ctx, const char *by, struct diags *diags, struct err *err)
{
	struct plant *plant = ctx;
	struct config *config = config_load(plant->file, diags);
	struct snapshot_options options = {0};
	struct merge_note *notes = NULL;
	struct snapshot *snapshot;
	size_t n;

	if (!config)
		return false;
	snapshot = snapshot_build(plant->registry, config, &options, err);
	if (!snapshot ||
	    !admin_prepare(plant->admin, snapshot_config(snapshot), err))
		return false;
	n = snapshot_publish(
	    registry_publication(plant->registry), snapshot, &notes);
	admin_apply(plant->admin, snapshot_config(snapshot), by, notes, n);
	free(notes);
	return true;
}

static bool
on_is_ready(void *ctx)
{
	return ((struct plant *)ctx)->is_ready;
}

static void
on_process(void *ctx, struct process_facts *out)
{
	(void)ctx;
	*out = (struct process_facts){.workers = 1,
	    .last_reload_ok = true,
	    .started_at = 1760000000,
	    .last_reload_at = 1760000000};
}

static size_t
on_certificates(void *ctx, struct tls_cert_info *out, size_t cap)
{
	size_t n = ((struct plant *)ctx)->n_certificates;

	assert(cap > 0);
	for (size_t i = 0; i < n && i < cap; i++)
		out[i] = (struct tls_cert_info){.names = "shop.example.com",
		    .subject = "CN=shop",
		    .path = "/etc/weir/shop.crt",
		    .not_after = 1900000000};
	return n;
}

void
plant_init(struct plant *plant)
{
	*plant = (struct plant){.is_ready = true, .n_certificates = 1};
	signal(SIGPIPE, SIG_IGN);
	room_init(&plant->room);
	room_path(
	    &plant->room, "admin.sock", plant->socket, sizeof(plant->socket));
	room_path(&plant->room, "weir.yaml", plant->file, sizeof(plant->file));
	setenv("WEIR_TEST_CI", "0123456789abcdef-ci", 1);
	setenv("WEIR_TEST_BOARD", "0123456789abcdef-board", 1);
	plant_write(plant, "{blue: 90, canary: 10}", "");
}

void
plant_write(struct plant *plant, const char *weights, const char *more)
{
	char *text;
	int n = asprintf(&text,
	    "version: 1\n"
	    "state_dir: %s/state\n"
	    "admin:\n"
	    "  listen: [\"unix:%s\", \"127.0.0.1:%d\"]\n"
	    "  metrics: {listen: \"127.0.0.1:%d\"}\n"
	    "  access:\n"
	    "    - {who: \"token:ci\", secret: {env: WEIR_TEST_CI}, role: "
	    "operator, splits: [shop]}\n"
	    "    - {who: \"token:board\", secret: {env: WEIR_TEST_BOARD}, "
	    "role: viewer}\n"
	    "listeners:\n"
	    "  http: {bind: [\"127.0.0.1:21050\"]}\n"
	    "pools:\n"
	    "  blue: {endpoints: [\"127.0.0.1:21051\", \"unix:/tmp/weir "
	    "test/app.sock\"]}\n"
	    "  canary: {endpoints: [\"127.0.0.1:21052\"]}\n"
	    "splits:\n"
	    "  shop: {stable: blue, weights: %s}\n"
	    "  other: {stable: blue, weights: {blue: 100}}\n"
	    "routes:\n"
	    "  - {name: shop, match: {host: shop.example.com}, split: shop}\n"
	    "  - {name: all, split: other}\n%s",
	    plant->room.dir, plant->socket, PLANT_PORT, PLANT_METRICS_PORT,
	    weights, more);

	assert(n > 0);
	room_write(plant->file, text, (size_t)n);
	free(text);
}

static struct config *
load(const char *path)
{
	struct diags diags;
	struct config *config = config_load(path, &diags);

	if (!config) {
		diags_print(&diags, stderr, false);
		abort();
	}
	diags_release(&diags);
	return config;
}

static void *
run(void *arg)
{
	struct plant *plant = arg;

	event_base_loop(plant->base, EVLOOP_NO_EXIT_ON_EMPTY);
	return NULL;
}

static void
must(bool ok, const struct err *err)
{
	if (ok)
		return;
	fprintf(stderr, "%s\n", err->text);
	abort();
}

void
plant_start(struct plant *plant)
{
	struct snapshot_options options = {0};
	const struct admin_hooks hooks = {.ctx = plant,
	    .reload = on_reload,
	    .is_ready = on_is_ready,
	    .process = on_process,
	    .certificates = on_certificates};
	uint8_t secret[16] = {1};
	struct err err = {0};
	struct config *config = load(plant->file);
	struct snapshot *snapshot;
	struct answer_seen answer;

	evthread_use_pthreads();
	plant->registry = registry_new(1, secret);
	plant->base = event_base_new();
	plant->state = state_open(config->state_dir, &err);
	must(plant->state != NULL, &err);
	snapshot = snapshot_build(plant->registry, config, &options, &err);
	must(snapshot != NULL, &err);
	state_restore(plant->state, plant->registry);
	snapshot_publish(registry_publication(plant->registry), snapshot, NULL);
	plant->admin = admin_start(plant->base, snapshot_config(snapshot),
	    plant->registry, plant->state, &hooks, &err);
	must(plant->admin != NULL, &err);
	assert(pthread_create(&plant->thread, NULL, run, plant) == 0);
	/* a loop that has not begun cannot be broken: let it answer once */
	plant_ask(plant, &(struct ask){.path = "/healthz"}, &answer);
	assert(answer.status == 200);
	answer_free(&answer);
}

void
plant_stop(struct plant *plant)
{
	event_base_loopbreak(plant->base);
	pthread_join(plant->thread, NULL);
	admin_stop(&plant->admin);
	registry_free(&plant->registry);
	state_close(&plant->state);
	event_base_free(plant->base);
	plant->base = NULL;
}

void
plant_release(struct plant *plant)
{
	if (plant->base)
		plant_stop(plant);
	room_release(&plant->room);
}

/* ---- the client ---- */

static size_t
take_body(char *bytes, size_t size, size_t n, void *ctx)
{
	struct answer_seen *answer = ctx;

	answer->text = realloc(answer->text, answer->len + size * n + 1);
	assert(answer->text);
	memcpy(answer->text + answer->len, bytes, size * n);
	answer->len += size * n;
	answer->text[answer->len] = '\0';
	return size * n;
}

static size_t
take_header(char *bytes, size_t size, size_t n, void *ctx)
{
	struct answer_seen *answer = ctx;
	size_t len = strlen(answer->headers);

	if (len + size * n < sizeof(answer->headers)) {
		memcpy(answer->headers + len, bytes, size * n);
		answer->headers[len + size * n] = '\0';
	}
	return size * n;
}

void
plant_ask(struct plant *plant, const struct ask *ask, struct answer_seen *out)
{
	CURL *curl = curl_easy_init();
	struct curl_slist *headers = NULL;
	const char *method = ask->method ? ask->method : "GET";
	char url[512];
	bool has_type = false;

	*out = (struct answer_seen){0};
	if (!ask->by_tcp)
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, plant->socket);
	if (strncmp(ask->path, "http:", 5) == 0) /* as through a proxy */
		curl_easy_setopt(curl, CURLOPT_REQUEST_TARGET, ask->path);
	if (ask->by_tcp)
		snprintf(url, sizeof(url), "http://127.0.0.1:%u%s",
		    ask->port ? ask->port : PLANT_PORT,
		    *ask->path == '/' ? ask->path : "/");
	else
		snprintf(url, sizeof(url), "http://localhost%s", ask->path);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	if (strcmp(method, "HEAD") == 0)
		curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
	for (size_t i = 0; i < 6 && ask->headers[i]; i++) {
		has_type |=
		    strncasecmp(ask->headers[i], "content-type", 12) == 0;
		headers = curl_slist_append(headers, ask->headers[i]);
	}
	if (ask->body) {
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, ask->body);
		if (!has_type)
			headers = curl_slist_append(
			    headers, "Content-Type: application/json");
	}
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
	curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, take_header);
	curl_easy_setopt(curl, CURLOPT_HEADERDATA, out);
	if (curl_easy_perform(curl) == CURLE_OK)
		curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &out->status);
	curl_easy_getinfo(curl, CURLINFO_TOTAL_TIME, &out->seconds);
	out->json = out->text ? json_loadb(out->text, out->len, 0, NULL) : NULL;
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
}

void
answer_free(struct answer_seen *answer)
{
	free(answer->text);
	json_decref(answer->json);
	*answer = (struct answer_seen){0};
}

const char *
answer_code(const struct answer_seen *answer)
{
	const char *code =
	    json_string_value(json_object_get(answer->json, "code"));

	return code ? code : "";
}
