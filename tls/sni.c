/*
 * Which certificates answer to a name: exact before wildcard before the first.
 * A wildcard stands for one whole label, as browsers see it.
 *
 * Certificates for the same name with different kinds of key make one face:
 * both lie in one SSL_CTX and the client's abilities choose. Among equals the
 * first in the file wins. The table is sorted once and never written again.
 */
#include <assert.h>
#include <ctype.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "tls/inside.h"

struct entry {
	char *name; /* owned: lower case; ".example.com" for a wildcard */
	struct face face;
	size_t at; /* index into faces, once they are numbered */
};

struct sni {
	struct entry *entries; /* owned: sorted by name */
	size_t n, cap;
	struct face *faces; /* owned: the different ones; 0 is the default */
	size_t n_faces;
};

static int
entry_order(const void *a, const void *b)
{
	return strcmp(
	    ((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static struct face
face_none(void)
{
	struct face face;

	for (int i = 0; i < KEY_KINDS; i++)
		face.cert[i] = -1;
	return face;
}

/* "Shop.Example.com" -> "shop.example.com"; "*.example.com" -> ".example.com";
 * NULL: not a name. */
static char *
key_of(const char *text, size_t len)
{
	char *key;

	if (len > 1 && text[0] == '*' && text[1] == '.')
		text++, len--;
	if (len == 0 || len >= SERVER_NAME_CAP || memchr(text, '\0', len) ||
	    memchr(text, '*', len) || (key = malloc(len + 1)) == NULL)
		return NULL;
	for (size_t i = 0; i < len; i++)
		key[i] = (char)tolower((unsigned char)text[i]);
	key[len] = '\0';
	return key;
}

/* Linear: a table is built once per load, and most have a handful of names. */
static struct entry *
entry_at(struct sni *names, const char *text, size_t len)
{
	char *key = key_of(text, len);
	struct entry *entry;

	if (key == NULL)
		return NULL;
	for (size_t i = 0; i < names->n; i++)
		if (strcmp(names->entries[i].name, key) == 0) {
			free(key);
			return &names->entries[i];
		}
	if (names->n == names->cap) {
		size_t cap = names->cap ? names->cap * 2 : 8;
		struct entry *grown =
		    reallocarray(names->entries, cap, sizeof(*grown));

		if (grown == NULL) {
			free(key);
			return NULL;
		}
		names->entries = grown;
		names->cap = cap;
	}
	entry = &names->entries[names->n++];
	*entry = (struct entry){.name = key, .face = face_none()};
	return entry;
}

static void
name_add(struct sni *names, const char *text, int len, int at, unsigned kind)
{
	struct entry *entry =
	    len > 0 ? entry_at(names, text, (size_t)len) : NULL;

	if (entry && entry->face.cert[kind] < 0)
		entry->face.cert[kind] = at;
}

static void
cert_add(struct sni *names, const struct cert *cert, int at)
{
	GENERAL_NAMES *alternatives =
	    X509_get_ext_d2i(cert->leaf, NID_subject_alt_name, NULL, NULL);
	unsigned kind = cert_kind(cert);
	bool has_dns = false;
	char cn[SERVER_NAME_CAP];
	int len;

	for (int i = 0; i < sk_GENERAL_NAME_num(alternatives); i++) {
		const GENERAL_NAME *name =
		    sk_GENERAL_NAME_value(alternatives, i);

		if (name->type != GEN_DNS)
			continue;
		has_dns = true;
		name_add(names,
		    (const char *)ASN1_STRING_get0_data(name->d.dNSName),
		    ASN1_STRING_length(name->d.dNSName), at, kind);
	}
	GENERAL_NAMES_free(alternatives);
	if (has_dns)
		return;
	len = X509_NAME_get_text_by_NID(
	    X509_get_subject_name(cert->leaf), NID_commonName, cn, sizeof(cn));
	name_add(names, cn, len, at, kind);
}

/* The number of a face, given out on first sight. */
static size_t
face_number(struct sni *names, const struct face *face)
{
	for (size_t i = 0; i < names->n_faces; i++)
		if (memcmp(&names->faces[i], face, sizeof(*face)) == 0)
			return i;
	names->faces[names->n_faces] = *face;
	return names->n_faces++;
}

/* What the first certificate is shown as: with its twin, when it has one. */
static struct face
face_first(const struct sni *names, unsigned kind)
{
	struct face face = face_none();

	for (size_t i = 0; i < names->n; i++)
		if (names->entries[i].face.cert[kind] == 0)
			return names->entries[i].face;
	face.cert[kind] = 0;
	return face;
}

struct sni *
sni_new(const struct cert *certs, size_t n)
{
	struct sni *names = calloc(1, sizeof(*names));
	struct face first;

	assert(n > 0);
	if (names == NULL)
		return NULL;
	for (size_t i = 0; i < n; i++)
		cert_add(names, &certs[i], (int)i);
	names->faces = calloc(names->n + 1, sizeof(*names->faces));
	if (names->faces == NULL) {
		sni_free(&names);
		return NULL;
	}
	first = face_first(names, cert_kind(&certs[0]));
	face_number(names, &first);
	for (size_t i = 0; i < names->n; i++)
		names->entries[i].at =
		    face_number(names, &names->entries[i].face);
	if (names->n > 0)
		qsort(names->entries, names->n, sizeof(*names->entries),
		    entry_order);
	return names;
}

void
sni_free(struct sni **names)
{
	if (*names == NULL)
		return;
	for (size_t i = 0; i < (*names)->n; i++)
		free((*names)->entries[i].name);
	free((*names)->entries);
	free((*names)->faces);
	free(*names);
	*names = NULL;
}

size_t
sni_faces(const struct sni *names)
{
	return names->n_faces;
}

const struct face *
sni_face(const struct sni *names, size_t at)
{
	assert(at < names->n_faces);
	return &names->faces[at];
}

static const struct entry *
entry_find(const struct sni *names, struct span name)
{
	size_t low = 0, high = names->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;
		const struct entry *entry = &names->entries[mid];
		int order = strncmp(name.ptr, entry->name, name.len);

		if (order == 0 && entry->name[name.len] == '\0')
			return entry;
		if (order > 0)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

size_t
sni_find(const struct sni *names, struct span name)
{
	const struct entry *entry;
	const char *dot;

	if (name.len == 0 || name.len >= SERVER_NAME_CAP)
		return 0;
	entry = entry_find(names, name);
	dot = memchr(name.ptr, '.', name.len);
	if (entry == NULL && dot && dot > name.ptr)
		entry = entry_find(names,
		    (struct span){dot, (size_t)(name.ptr + name.len - dot)});
	return entry ? entry->at : 0;
}
