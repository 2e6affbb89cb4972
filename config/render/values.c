/* Values as the file would have them, see parts.h. */
#include <arpa/inet.h>
#include <netinet/in.h>

#include "config/render/parts.h"

json_t *
render_text(const char *value)
{
	json_t *json = value ? json_string(value) : NULL;

	return json ? json : json_string("?");
}

/* Leaves the key out when there is no value. */
void
put_text(json_t *map, const char *key, const char *value)
{
	if (value)
		json_object_set_new(map, key, render_text(value));
}

void
put_number(json_t *map, const char *key, uint64_t value)
{
	json_object_set_new(map, key, json_integer((json_int_t)value));
}

void
put_duration(json_t *map, const char *key, nsec_t value)
{
	char buf[64];

	put_text(map, key, units_print_duration(value, buf, sizeof(buf)));
}

void
put_size(json_t *map, const char *key, uint64_t value)
{
	char buf[32];

	put_text(map, key, units_print_size(value, buf, sizeof(buf)));
}

json_t *
render_percent(bp_t value)
{
	return value % 100 ? json_real(value / 100.0)
	                   : json_integer(value / 100);
}

json_t *
render_strings(const struct strings *list)
{
	json_t *json = json_array();

	for (size_t i = 0; i < list->n; i++)
		json_array_append_new(json, render_text(list->at[i]));
	return json;
}

void
put_strings(json_t *map, const char *key, const struct strings *list)
{
	if (list->n > 0)
		json_object_set_new(map, key, render_strings(list));
}

void
put_pairs(
    json_t *map, const char *key, const struct header_pair *pairs, size_t n)
{
	json_t *json;

	if (n == 0)
		return;
	json = json_object();
	for (size_t i = 0; i < n; i++)
		json_object_set_new(
		    json, pairs[i].name, render_text(pairs[i].value));
	json_object_set_new(map, key, json);
}

json_t *
render_range(const struct cidr *cidr)
{
	static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
	char host[INET6_ADDRSTRLEN];

	if (cidr->bits >= 96 && memcmp(cidr->bytes, mapped, 12) == 0) {
		inet_ntop(AF_INET, cidr->bytes + 12, host, sizeof(host));
		return json_sprintf("%s/%u", host, cidr->bits - 96u);
	}
	inet_ntop(AF_INET6, cidr->bytes, host, sizeof(host));
	return json_sprintf("%s/%u", host, cidr->bits);
}

void
put_ranges(json_t *map, const char *key, const struct cidrs *ranges)
{
	json_t *json;

	if (ranges->n == 0)
		return;
	json = json_array();
	for (size_t i = 0; i < ranges->n; i++)
		json_array_append_new(json, render_range(&ranges->at[i]));
	json_object_set_new(map, key, json);
}

void
put_addresses(json_t *map, const char *key, const struct address *at, size_t n)
{
	json_t *json = json_array();

	for (size_t i = 0; i < n; i++)
		json_array_append_new(json, render_text(at[i].text));
	json_object_set_new(map, key, json);
}

void
put_secret(const struct renderer *r, json_t *map, const char *key,
    const struct secret *secret)
{
	static const char *const ways[] = {
	    [SECRET_FILE] = "file",
	    [SECRET_ENV] = "env",
	    [SECRET_CREDENTIAL] = "credential",
	};

	if (secret->from == SECRET_NONE)
		return;
	if (r->to_keep) {
		json_object_set_new(map, key,
		    json_pack("{s:o}", ways[secret->from],
		        render_text(secret->where)));
		return;
	}
	json_object_set_new(map, key,
	    r->to_compare
	        ? json_sprintf("*** (%s %s)", ways[secret->from], secret->where)
	        : json_string("***"));
}

json_t *
render_key_pair(const struct renderer *r, const struct key_pair *pair)
{
	json_t *map = json_object();

	put_text(map, "cert", pair->cert);
	put_secret(r, map, "key", &pair->key);
	return map;
}

json_t *
render_key(const struct key_cfg *cfg)
{
	static const char *const kinds[] = {
	    [KEY_REQUEST] = "request",
	    [KEY_COOKIE] = "cookie",
	    [KEY_HEADER] = "header",
	    [KEY_CLIENT_IP] = "client_ip",
	    [KEY_COUNTRY] = "country",
	    [KEY_TOKEN] = "token",
	};
	json_t *map = json_object();

	put_text(map, "by", kinds[cfg->by]);
	put_text(map, "name", cfg->name);
	if (cfg->by == KEY_COOKIE && cfg->ttl > 0)
		put_duration(map, "ttl", cfg->ttl);
	return map;
}

void
put_map(json_t *map, const char *name, json_t *value)
{
	if (json_object_size(value) > 0)
		json_object_set(map, name, value);
	json_decref(value);
}

const char *
render_on_failure(enum on_failure on_failure)
{
	static const char *const words[] = {
	    [ON_FAILURE_LOCAL] = "local",
	    [ON_FAILURE_OPEN] = "open",
	    [ON_FAILURE_CLOSED] = "closed",
	};

	return words[on_failure];
}
