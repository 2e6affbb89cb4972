/*
 * One HTTP exchange with the admin API by libcurl, over a unix socket or TCP,
 * and the translation of what went wrong into a sentence and an exit code.
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "admin/ctl/ctl.h"

enum { ANSWER_MAX = 64 << 20, TOKEN_MAX = 4096 };

/* ---- the token ---- */

/* "" without WEIR_TOKEN_FILE. False: told. */
static bool
read_token(char token[TOKEN_MAX])
{
	const char *path = getenv("WEIR_TOKEN_FILE");
	FILE *file;
	size_t n;

	token[0] = '\0';
	if (!path || !*path)
		return true;
	file = fopen(path, "re");
	if (!file) {
		fprintf(
		    stderr, "weirctl: WEIR_TOKEN_FILE: cannot read %s\n", path);
		return false;
	}
	n = fread(token, 1, TOKEN_MAX - 1, file);
	fclose(file);
	while (n > 0 && strchr("\r\n \t", token[n - 1]))
		n--;
	token[n] = '\0';
	return true;
}

/* ---- telling what went wrong ---- */

/* False: it has nothing to do with TLS. */
static bool
unreachable_by_tls(const struct ctl *ctl, CURLcode code)
{
	bool is_https = strncasecmp(ctl->admin, "https://", 8) == 0;
	const char *hint;

	switch (code) {
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
		hint = "--cacert FILE or WEIR_CACERT names the authority; the "
		       "certificate must hold the address's host";
		break;
	case CURLE_SSL_CERTPROBLEM:
		hint = "--cert and --key (WEIR_CERT, WEIR_KEY) are PEM files "
		       "that belong together";
		break;
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_GOT_NOTHING:
		if (is_https)
			hint = "does the address speak TLS, and is your "
			       "certificate one of its client_ca's?";
		else if (strncmp(ctl->admin, "unix:", 5) != 0)
			hint = "does the address speak TLS? --admin "
			       "https://HOST:PORT";
		else
			return false;
		break;
	default:
		return false;
	}
	fprintf(stderr, "weirctl: no connection to weir at %s: %s\n  %s\n",
	    ctl->admin, ctl->error[0] ? ctl->error : curl_easy_strerror(code),
	    hint);
	return true;
}

/* `error`: errno of the connect(2) that failed, 0 when it was something else.
 */
static int
unreachable(const struct ctl *ctl, CURLcode code, long error)
{
	bool is_unix = strncmp(ctl->admin, "unix:", 5) == 0;

	if (is_unix && error == EACCES)
		fprintf(stderr,
		    "weirctl: cannot open %s: permission denied\n  the socket "
		    "is for root and the user of weir; run weirctl as one of "
		    "them, or use an address of admin.listen with a token\n",
		    ctl->admin);
	else if (is_unix && (error == ENOENT || error == ECONNREFUSED))
		fprintf(stderr,
		    "weirctl: no weir answers at %s: %s\n  is it running? "
		    "--admin ADDR or WEIR_ADMIN names another address\n",
		    ctl->admin,
		    error == ENOENT ? "there is no such socket"
		                    : "connection refused");
	else if (unreachable_by_tls(ctl, code))
		return CTL_UNREACHABLE;
	else if (code == CURLE_OPERATION_TIMEDOUT)
		fprintf(stderr,
		    "weirctl: weir at %s did not answer within %ld ms\n",
		    ctl->admin, ctl->timeout_ms);
	else
		fprintf(stderr,
		    "weirctl: cannot reach weir at %s: %s\n  is it running? "
		    "--admin ADDR or WEIR_ADMIN names another address\n",
		    ctl->admin, curl_easy_strerror(code));
	return CTL_UNREACHABLE;
}

static int
exit_code(long status)
{
	switch (status) {
	case 404:
		return CTL_NOT_FOUND;
	case 401:
	case 403:
	case 421:
	case 429:
		return CTL_NOT_ALLOWED;
	case 409:
	case 410:
	case 412:
		return CTL_CONFLICT;
	default:
		return status < 500 ? CTL_USAGE : CTL_INTERNAL;
	}
}

static void
print_diags(const json_t *errors)
{
	size_t i;
	json_t *row;

	json_array_foreach (errors, i, row) {
		fprintf(stderr, "%s:%d:%d: error[%s]: %s\n",
		    ctl_text(row, "file"), (int)ctl_number(row, "line"),
		    (int)ctl_number(row, "column"), ctl_text(row, "code"),
		    ctl_text(row, "message"));
		if (json_is_string(json_object_get(row, "hint")))
			fprintf(stderr, "  %s\n", ctl_text(row, "hint"));
	}
}

static int
refused(const struct ctl *ctl, const struct ctl_answer *answer)
{
	const json_t *problem = answer->json;

	if (!json_is_object(problem)) {
		fprintf(stderr,
		    "weirctl: %s answered with status %ld, but not as weir "
		    "does\n",
		    ctl->admin, answer->status);
		return exit_code(answer->status);
	}
	if (ctl->is_json) {
		json_object_set_new(
		    answer->json, "schema", json_string("weir.problem/v1"));
		ctl_print_json(problem);
	}
	print_diags(json_object_get(problem, "errors"));
	fprintf(stderr, "weirctl: %s\n", ctl_text(problem, "detail"));
	if (json_is_string(json_object_get(problem, "hint")))
		fprintf(stderr, "  %s\n", ctl_text(problem, "hint"));
	return exit_code(answer->status);
}

/* ---- the exchange ---- */

static size_t
on_body(char *bytes, size_t size, size_t n, void *ctx)
{
	struct ctl_answer *answer = ctx;
	size_t len = size * n;
	char *text;

	if (len > ANSWER_MAX - answer->len)
		return 0;
	text = realloc(answer->text, answer->len + len + 1);
	if (!text)
		return 0;
	memcpy(text + answer->len, bytes, len);
	answer->text = text;
	answer->len += len;
	text[answer->len] = '\0';
	return len;
}

static bool
set_address(CURL *curl, const struct ctl *ctl, const char *path)
{
	const char *admin = ctl->admin;
	char *url;
	bool ok;
	int n;

	if (strncmp(admin, "unix:", 5) == 0) {
		curl_easy_setopt(curl, CURLOPT_UNIX_SOCKET_PATH, admin + 5);
		n = asprintf(&url, "http://localhost%s", path);
	} else if (strstr(admin, "://")) {
		n = asprintf(&url, "%s%s", admin, path);
	} else {
		n = asprintf(&url, "http://%s%s", admin, path);
	}
	if (n < 0)
		return false;
	ok = curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK;
	free(url);
	return ok;
}

/* "wait=30" is answered when the etag is another one. */
static struct curl_slist *
add_waiting(struct curl_slist *list, const struct ctl_request *request)
{
	char line[96];

	if (request->wait_seconds <= 0)
		return list;
	snprintf(line, sizeof(line), "Prefer: wait=%d", request->wait_seconds);
	list = curl_slist_append(list, line);
	if (!request->etag || !*request->etag)
		return list;
	snprintf(line, sizeof(line), "If-None-Match: %.60s", request->etag);
	return curl_slist_append(list, line);
}

static void
take_etag(CURL *curl, struct ctl_answer *out)
{
	struct curl_header *header;

	if (curl_easy_header(curl, "ETag", 0, CURLH_HEADER, -1, &header) ==
	    CURLHE_OK)
		snprintf(out->etag, sizeof(out->etag), "%s", header->value);
}

static struct curl_slist *
make_headers(const struct ctl *ctl, const char *type, const char *token)
{
	struct curl_slist *list = NULL;
	char line[TOKEN_MAX + 32];

	if (type) {
		snprintf(line, sizeof(line), "Content-Type: %s", type);
		list = curl_slist_append(list, line);
	}
	if (*token) {
		snprintf(line, sizeof(line), "Authorization: Bearer %s", token);
		list = curl_slist_append(list, line);
	}
	if (ctl->if_match) {
		snprintf(line, sizeof(line),
		    *ctl->if_match == '"' ? "If-Match: %s" : "If-Match: \"%s\"",
		    ctl->if_match);
		list = curl_slist_append(list, line);
	}
	return curl_slist_append(list, "Expect:");
}

/* The one who has the certificate often has the key in the same file. */
static void
set_tls(CURL *curl, const struct ctl *ctl)
{
	if (ctl->cacert)
		curl_easy_setopt(curl, CURLOPT_CAINFO, ctl->cacert);
	if (ctl->cert) {
		curl_easy_setopt(curl, CURLOPT_SSLCERT, ctl->cert);
		curl_easy_setopt(
		    curl, CURLOPT_SSLKEY, ctl->key ? ctl->key : ctl->cert);
	}
	curl_easy_setopt(
	    curl, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
}

static CURL *
prepare(struct ctl *ctl, const char *path)
{
	CURL *curl = curl_easy_init();

	if (!curl || !set_address(curl, ctl, path)) {
		curl_easy_cleanup(curl);
		return NULL;
	}
	curl_easy_setopt(curl, CURLOPT_USERAGENT, "weirctl/" WEIR_VERSION);
	curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
	curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	set_tls(curl, ctl);
	ctl->error[0] = '\0';
	curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, ctl->error);
	return curl;
}

static CURLcode
exchange(CURL *curl, struct ctl *ctl, const struct ctl_request *request,
    const char *token, struct ctl_answer *out)
{
	char *text = request->body ? json_dumps(request->body,
	                                 JSON_COMPACT | JSON_REAL_PRECISION(12))
	                           : NULL;
	const char *bytes = text ? text : request->text.ptr;
	size_t len = text ? strlen(text) : request->text.len;
	const char *type = text ? "application/json" : request->type;
	struct curl_slist *headers =
	    add_waiting(make_headers(ctl, type, token), request);
	CURLcode code;

	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, request->method);
	if (strcmp(request->method, "GET") != 0) {
		curl_easy_setopt(
		    curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)len);
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, bytes ? bytes : "");
		if (!type)
			headers = curl_slist_append(
			    headers, "Content-Type: application/json");
	}
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS,
	    ctl->timeout_ms + request->wait_seconds * 1000L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, out);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &out->status);
	take_etag(curl, out);
	curl_slist_free_all(headers);
	free(text);
	return code;
}

int
ctl_ask(
    struct ctl *ctl, const struct ctl_request *request, struct ctl_answer *out)
{
	char token[TOKEN_MAX];
	CURL *curl;
	CURLcode code;
	long error = 0;
	int result;

	*out = (struct ctl_answer){0};
	if (!request->path || !read_token(token))
		return request->path ? CTL_USAGE : CTL_INTERNAL;
	curl = prepare(ctl, request->path);
	if (!curl)
		return CTL_INTERNAL;
	code = exchange(curl, ctl, request, token, out);
	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &error);
	explicit_bzero(token, sizeof(token));
	curl_easy_cleanup(curl);
	if (code != CURLE_OK) {
		ctl_answer_release(out);
		return request->is_probe ? CTL_UNREACHABLE
		                         : unreachable(ctl, code, error);
	}
	out->json = out->text ? json_loadb(out->text, out->len, 0, NULL) : NULL;
	if (out->status >= 200 && out->status < 300)
		return CTL_OK;
	result = request->is_probe && out->status == 404 ? CTL_NOT_FOUND
	                                                 : refused(ctl, out);
	ctl_answer_release(out);
	return result;
}

int
ctl_get(struct ctl *ctl, const char *path, struct ctl_answer *out)
{
	struct ctl_request request = {.method = "GET", .path = path};
	int code = ctl_ask(ctl, &request, out);

	if (code == CTL_OK && !out->json) {
		fprintf(
		    stderr, "weirctl: %s%s is not JSON\n", ctl->admin, path);
		ctl_answer_release(out);
		return CTL_INTERNAL;
	}
	return code;
}

void
ctl_answer_release(struct ctl_answer *answer)
{
	free(answer->text);
	json_decref(answer->json);
	*answer = (struct ctl_answer){0};
}

/* ---- streams ---- */

struct reader {
	void (*fn)(void *ctx, const char *bytes, size_t len);
	void *ctx;
};

static size_t
on_chunk(char *bytes, size_t size, size_t n, void *ctx)
{
	const struct reader *reader = ctx;

	reader->fn(reader->ctx, bytes, size * n);
	return size * n;
}

int
ctl_stream(struct ctl *ctl, const char *path,
    void (*fn)(void *ctx, const char *bytes, size_t len), void *ctx)
{
	struct reader reader = {fn, ctx};
	char token[TOKEN_MAX];
	struct curl_slist *headers;
	long status = 0, error = 0;
	CURLcode code;
	CURL *curl;

	if (!read_token(token))
		return CTL_USAGE;
	curl = prepare(ctl, path);
	if (!curl)
		return CTL_INTERNAL;
	headers = make_headers(ctl, NULL, token);
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
	curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, ctl->timeout_ms);
	curl_easy_setopt(curl, CURLOPT_FAILONERROR, 1L);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_chunk);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &reader);
	code = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
	curl_easy_getinfo(curl, CURLINFO_OS_ERRNO, &error);
	curl_slist_free_all(headers);
	curl_easy_cleanup(curl);
	if (code == CURLE_HTTP_RETURNED_ERROR) {
		fprintf(stderr, "weirctl: %s answered with status %ld\n",
		    ctl->admin, status);
		return exit_code(status);
	}
	return code == CURLE_OK ? CTL_OK : unreachable(ctl, code, error);
}

/* ---- paths ---- */

char *
ctl_path(const char *before, const char *name, const char *after)
{
	char *escaped = curl_easy_escape(NULL, name, 0), *path = NULL;

	if (escaped && asprintf(&path, "%s%s%s", before, escaped, after) < 0)
		path = NULL;
	curl_free(escaped);
	return path;
}
