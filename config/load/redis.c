/*
 * redis: a server that several instances share.
 */
#include <stdio.h>

#include "config/load/load.h"
#include "config/mem.h"

static bool
strip(struct span *text, const char *prefix)
{
	struct span head = span_of(prefix);

	if (!span_starts(*text, head))
		return false;
	text->ptr += head.len;
	text->len -= head.len;
	return true;
}

/* Behind the last slash; none is database 0. */
static bool
take_database(struct span *rest, uint32_t *out)
{
	const char *slash = memchr(rest->ptr, '/', rest->len);
	struct span number;
	int64_t value = 0;

	if (slash == NULL)
		return true;
	number.ptr = slash + 1;
	number.len = rest->len - (size_t)(number.ptr - rest->ptr);
	rest->len = (size_t)(slash - rest->ptr);
	if (number.len > 0 &&
	    (!units_integer(number, &value) || value < 0 || value > 1000000))
		return false;
	*out = (uint32_t)value;
	return true;
}

/* "host" is "host:6379"; an IPv6 address stands in brackets. */
static bool
take_host(struct span rest, struct address *out, struct err *err)
{
	bool has_port = rest.len > 0 && rest.ptr[rest.len - 1] != ']' &&
	                memchr(rest.ptr, ':', rest.len) != NULL;
	char text[512];
	int n = snprintf(text, sizeof(text), "%.*s%s", (int)rest.len, rest.ptr,
	    has_port ? "" : ":6379");

	if (memchr(rest.ptr, '@', rest.len))
		return err_set(err, "a secret never stands in the file: use "
		                    "user and password");
	if (rest.len == 0 || n >= (int)sizeof(text))
		return err_set(err, "the host is missing");
	return address_parse((struct span){text, (size_t)n}, out, err);
}

static bool
take_url(struct span url, struct redis_cfg *cfg, struct err *err)
{
	if (span_starts(url, SPAN("unix:")))
		return address_parse(url, &cfg->address, err);
	cfg->tls.on = strip(&url, "rediss://");
	if (!cfg->tls.on && !strip(&url, "redis://"))
		return err_set(
		    err, "it begins with redis://, rediss:// or unix:");
	if (!take_database(&url, &cfg->database))
		return err_set(err, "the database is a number");
	return take_host(url, &cfg->address, err);
}

static void
load_url(struct load *load, const struct node *map, struct redis_cfg *cfg)
{
	const struct node *url = field(map, ROW_REDIS_URL);
	char where[WHERE_MAX];
	struct err err;

	if (url == NULL || take_url(url->text, cfg, &err))
		return;
	/* Perhaps with a password: never shown. */
	report_hide(load->report, url->at);
	report_add(load->report, DIAG_ADDRESS, url->at,
	    "write \"redis://10.0.0.9:6379\"", "%s: %s", node_where(url, where),
	    err.text);
}

void
load_redis(struct load *load)
{
	const struct node *map = field(load->root, ROW_REDIS);
	const struct node *tls = field(map, ROW_REDIS_TLS);
	const struct node *timeouts = field(map, ROW_REDIS_TIMEOUTS);
	struct redis_cfg *cfg = &load->config->redis;
	char where[WHERE_MAX];
	bool is_tls;

	if (map == NULL)
		return;
	cfg->is_on = true;
	load_url(load, map, cfg);
	cfg->user = field_text(map, ROW_REDIS_USER);
	cfg->password = load_secret(load, map, ROW_REDIS_PASSWORD);
	cfg->prefix = field_text(map, ROW_REDIS_PREFIX);
	cfg->on_failure =
	    (enum on_failure)field_word(map, ROW_REDIS_ON_FAILURE);
	cfg->connect_timeout = field_duration(timeouts, ROW_REDIS_CONNECT);
	cfg->answer_timeout = field_duration(timeouts, ROW_REDIS_ANSWER);
	is_tls = cfg->tls.on;
	load_client_tls(load, tls, ROW_REDIS_VERIFY, ROW_REDIS_CA,
	    ROW_REDIS_SERVER_NAME, &cfg->tls);
	if (tls && !is_tls)
		report_add(load->report, DIAG_CONFLICT, tls->key_at,
		    "write rediss://",
		    "%s: tls needs a url that begins with "
		    "rediss://",
		    node_where(map, where));
}
