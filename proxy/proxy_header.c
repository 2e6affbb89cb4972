/*
 * PROXY protocol headers, see proxy_header.h. Version 1 is a line of text of
 * at most 107 bytes, version 2 is 16 bytes, addresses, and a list of typed
 * values (TLVs) of which only the checksum means something to us.
 */
#include "proxy/proxy_header.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "config/config.h"

enum {
	V1_MAX = 107, /* with its CRLF: the longest that can be meant */
	V2_FIXED = 16,
	V2_TCP4 = 12, /* bytes of two addresses and two ports */
	V2_TCP6 = 36,
	V2_UNIX = 216,
	TLV_HEAD = 3,
	TLV_CRC32C = 0x03,
	CRC_BYTES = 4,
};

/* Byte 13 of version 2: the family above, how bytes travel below. */
enum { FAMILY_UNSPEC, FAMILY_INET, FAMILY_INET6, FAMILY_UNIX, FAMILY_COUNT };
enum { OVER_UNSPEC, OVER_STREAM, OVER_DATAGRAM, OVER_COUNT };
enum { COMMAND_LOCAL, COMMAND_PROXY, COMMAND_COUNT };

static const char signature[12] = "\r\n\r\n\0\r\nQUIT\n";
static const char word[6] = "PROXY ";

static enum proxy_header_result
bad(struct proxy_header *out, const char *fault)
{
	out->fault = fault;
	return PROXY_HEADER_BAD;
}

/* ---- version 1 ---- */

/* The word before the next blank (or the end); false when it is empty. */
static bool
next_word(const char **at, const char *end, char *to, size_t cap)
{
	const char *stop = memchr(*at, ' ', (size_t)(end - *at));
	size_t len = (size_t)((stop ? stop : end) - *at);

	if (len == 0 || len >= cap || memchr(*at, '\0', len))
		return false;
	memcpy(to, *at, len);
	to[len] = '\0';
	*at = stop ? stop + 1 : end;
	return true;
}

static bool
text_address(const char *text, int family, struct peer *out)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} to;

	memset(&to, 0, sizeof(to));
	to.any.sa_family = (sa_family_t)family;
	if (inet_pton(family, text,
	        family == AF_INET ? (void *)&to.in.sin_addr
	                          : (void *)&to.in6.sin6_addr) != 1)
		return false;
	peer_from(out, &to.any);
	return true;
}

/* "0" to "65535", no zeros before it. */
static bool
text_port(const char *text, uint16_t *out)
{
	unsigned port = 0;

	if (text[0] == '0' && text[1] != '\0')
		return false;
	for (const char *at = text; *at; at++) {
		if (*at < '0' || *at > '9')
			return false;
		port = port * 10 + (unsigned)(*at - '0');
		if (port > UINT16_MAX)
			return false;
	}
	*out = (uint16_t)port;
	return true;
}

/* What stands between "PROXY " and CRLF. */
static bool
read_line(const char *at, const char *end, struct proxy_header *out)
{
	char family[8], source[INET6_ADDRSTRLEN], target[INET6_ADDRSTRLEN];
	char source_port[6], target_port[6];
	int af;

	if (end - at >= 7 && memcmp(at, "UNKNOWN", 7) == 0 &&
	    (end - at == 7 || at[7] == ' '))
		return true; /* whatever else it says */
	/* After the last word neither a blank nor another word. */
	if (end == at || end[-1] == ' ' ||
	    !next_word(&at, end, family, sizeof(family)) ||
	    !next_word(&at, end, source, sizeof(source)) ||
	    !next_word(&at, end, target, sizeof(target)) ||
	    !next_word(&at, end, source_port, sizeof(source_port)) ||
	    !next_word(&at, end, target_port, sizeof(target_port)) || at != end)
		return false;
	if (strcmp(family, "TCP4") == 0)
		af = AF_INET;
	else if (strcmp(family, "TCP6") == 0)
		af = AF_INET6;
	else
		return false;
	out->has_addresses = text_address(source, af, &out->source) &&
	                     text_address(target, af, &out->destination) &&
	                     text_port(source_port, &out->source.port) &&
	                     text_port(target_port, &out->destination.port);
	return out->has_addresses;
}

static enum proxy_header_result
parse_v1(const char *bytes, size_t len, struct proxy_header *out)
{
	size_t seen = len < V1_MAX ? len : V1_MAX;
	const char *line_end = memchr(bytes, '\n', seen);

	if (!line_end)
		return seen < V1_MAX ? PROXY_HEADER_MORE
		                     : bad(out, "the line is too long");
	if (line_end == bytes || line_end[-1] != '\r')
		return bad(out, "the line does not end in CRLF");
	out->version = 1;
	out->len = (size_t)(line_end - bytes) + 1;
	if (!read_line(bytes + sizeof(word), line_end - 1, out))
		return bad(out, "the line is malformed");
	return PROXY_HEADER_DONE;
}

/* ---- version 2 ---- */

static uint16_t
number16(const char *at)
{
	return (uint16_t)((uint8_t)at[0] << 8 | (uint8_t)at[1]);
}

static uint32_t
number32(const char *at)
{
	return (uint32_t)number16(at) << 16 | number16(at + 2);
}

/* Castagnoli's, bit by bit: a header is short and comes once a connection. */
static uint32_t
crc32c(uint32_t crc, const char *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		crc ^= (uint8_t)bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return crc;
}

/* Over the whole header, with zeros in its own place. */
static bool
checksum_fits(const char *bytes, size_t len, size_t at)
{
	static const char zeros[CRC_BYTES];
	uint32_t crc = crc32c(UINT32_MAX, bytes, at);

	crc = crc32c(crc, zeros, sizeof(zeros));
	crc = crc32c(crc, bytes + at + CRC_BYTES, len - at - CRC_BYTES);
	return ~crc == number32(bytes + at);
}

static enum proxy_header_result
read_values(const char *bytes, size_t at, struct proxy_header *out)
{
	bool has_checksum = false;

	while (at < out->len) {
		size_t len;

		if (out->len - at < TLV_HEAD)
			return bad(out, "a TLV is cut");
		len = number16(bytes + at + 1);
		if (out->len - at - TLV_HEAD < len)
			return bad(out, "a TLV is cut");
		if (bytes[at] == TLV_CRC32C) {
			if (has_checksum || len != CRC_BYTES ||
			    !checksum_fits(bytes, out->len, at + TLV_HEAD))
				return bad(out, "the checksum is wrong");
			has_checksum = true;
		}
		at += TLV_HEAD + len;
	}
	return PROXY_HEADER_DONE;
}

static void
read_inet(const char *at, struct proxy_header *out)
{
	struct sockaddr_in in = {.sin_family = AF_INET};

	memcpy(&in.sin_addr, at, 4);
	memcpy(&in.sin_port, at + 8, 2);
	peer_from(&out->source, (struct sockaddr *)&in);
	memcpy(&in.sin_addr, at + 4, 4);
	memcpy(&in.sin_port, at + 10, 2);
	peer_from(&out->destination, (struct sockaddr *)&in);
}

static void
read_inet6(const char *at, struct proxy_header *out)
{
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};

	memcpy(&in6.sin6_addr, at, 16);
	memcpy(&in6.sin6_port, at + 32, 2);
	peer_from(&out->source, (struct sockaddr *)&in6);
	memcpy(&in6.sin6_addr, at + 16, 16);
	memcpy(&in6.sin6_port, at + 34, 2);
	peer_from(&out->destination, (struct sockaddr *)&in6);
}

/* The addresses, where they are of a stream, and then the TLVs. */
static enum proxy_header_result
read_block(const char *bytes, struct proxy_header *out)
{
	static const size_t sizes[FAMILY_COUNT] = {
	    [FAMILY_INET] = V2_TCP4,
	    [FAMILY_INET6] = V2_TCP6,
	    [FAMILY_UNIX] = V2_UNIX,
	};
	unsigned family = (uint8_t)bytes[13] >> 4, over = bytes[13] & 0x0f;
	const char *at = bytes + V2_FIXED;

	if (out->len - V2_FIXED < sizes[family])
		return bad(out, "the addresses are cut");
	if (over == OVER_STREAM && family != FAMILY_UNSPEC) {
		out->has_addresses = true;
		if (family == FAMILY_INET)
			read_inet(at, out);
		else if (family == FAMILY_INET6)
			read_inet6(at, out);
		else
			out->source.family = out->destination.family = AF_UNIX;
	}
	return read_values(bytes, V2_FIXED + sizes[family], out);
}

static enum proxy_header_result
parse_v2(const char *bytes, size_t len, struct proxy_header *out)
{
	unsigned command;

	if (len > 12 && (uint8_t)bytes[12] >> 4 != 2)
		return bad(out, "the version is unknown");
	if (len < V2_FIXED)
		return PROXY_HEADER_MORE;
	command = bytes[12] & 0x0f;
	if (command >= COMMAND_COUNT ||
	    (uint8_t)bytes[13] >> 4 >= FAMILY_COUNT ||
	    (bytes[13] & 0x0f) >= OVER_COUNT)
		return bad(out, "the command or the family is unknown");
	out->version = 2;
	out->len = V2_FIXED + (size_t)number16(bytes + 14);
	if (out->len > PROXY_HEADER_MAX)
		return bad(out, "the header is too long");
	if (len < out->len)
		return PROXY_HEADER_MORE;
	/* Of LOCAL everything else is to be ignored. */
	return command == COMMAND_LOCAL ? PROXY_HEADER_DONE
	                                : read_block(bytes, out);
}

/* ---- either ---- */

/* How much of `literal` the bytes begin with; 0: they differ. */
static size_t
begins(const char *bytes, size_t len, const char *literal, size_t whole)
{
	size_t n = len < whole ? len : whole;

	return memcmp(bytes, literal, n) == 0 ? n : 0;
}

enum proxy_header_result
proxy_header_parse(
    const char *bytes, size_t len, unsigned versions, struct proxy_header *out)
{
	size_t v1, v2;

	*out = (struct proxy_header){0};
	if (len == 0)
		return PROXY_HEADER_MORE;
	v1 = versions & PROXY_V1 ? begins(bytes, len, word, sizeof(word)) : 0;
	v2 = versions & PROXY_V2
	         ? begins(bytes, len, signature, sizeof(signature))
	         : 0;
	if (v1 == sizeof(word))
		return parse_v1(bytes, len, out);
	if (v2 == sizeof(signature))
		return parse_v2(bytes, len, out);
	if (v1 == 0 && v2 == 0)
		return bad(out, "there is none");
	return PROXY_HEADER_MORE;
}

/* ---- writing ---- */

static bool
is_inet(const struct peer *peer)
{
	return peer && (peer->family == AF_INET || peer->family == AF_INET6);
}

/* One family for both: a v4 address beside a v6 one is written as ::ffff:... */
static size_t
write_v1(const struct peer *source, const struct peer *destination, bool is_v4,
    char *out)
{
	char from[INET6_ADDRSTRLEN], to[INET6_ADDRSTRLEN];
	int len;

	if (is_v4) {
		peer_print(source, from);
		peer_print(destination, to);
	} else {
		inet_ntop(AF_INET6, source->bytes, from, sizeof(from));
		inet_ntop(AF_INET6, destination->bytes, to, sizeof(to));
	}
	len = snprintf(out, PROXY_HEADER_OWN, "PROXY %s %s %s %u %u\r\n",
	    is_v4 ? "TCP4" : "TCP6", from, to, source->port, destination->port);
	assert(len > 0 && len < PROXY_HEADER_OWN);
	return (size_t)len;
}

static char *
put(char *at, const void *bytes, size_t len)
{
	memcpy(at, bytes, len);
	return at + len;
}

static size_t
write_v2(const struct peer *source, const struct peer *destination, bool is_v4,
    char *out)
{
	uint16_t from = htons(source->port), to = htons(destination->port);
	size_t skip = is_v4 ? 12 : 0;
	char *at = out + V2_FIXED;

	out[13] =
	    (char)((is_v4 ? FAMILY_INET : FAMILY_INET6) << 4 | OVER_STREAM);
	at = put(at, source->bytes + skip, 16 - skip);
	at = put(at, destination->bytes + skip, 16 - skip);
	at = put(at, &from, sizeof(from));
	at = put(at, &to, sizeof(to));
	out[15] = (char)(at - out - V2_FIXED);
	return (size_t)(at - out);
}

size_t
proxy_header_write(unsigned version, const struct peer *source,
    const struct peer *destination, bool is_local, char out[PROXY_HEADER_OWN])
{
	static const char unknown[] = "PROXY UNKNOWN\r\n";
	bool is_known = !is_local && is_inet(source) && is_inet(destination);
	bool is_v4 = is_known && source->family == AF_INET &&
	             destination->family == AF_INET;

	assert(version == 1 || version == 2);
	if (version == 1) {
		if (is_known)
			return write_v1(source, destination, is_v4, out);
		memcpy(out, unknown, sizeof(unknown) - 1);
		return sizeof(unknown) - 1;
	}
	memset(out, 0, V2_FIXED);
	memcpy(out, signature, sizeof(signature));
	out[12] = 2 << 4 | (is_local ? COMMAND_LOCAL : COMMAND_PROXY);
	return is_known ? write_v2(source, destination, is_v4, out) : V2_FIXED;
}
