/*
 * The small grammars: a normalised path is one that normalises to itself and
 * cannot leave the root; an authority's parts lie in it; lists end.
 */
#include "fuzz_h1.h"

/* No segment of a normalised path climbs, stays, or hides a separator. */
static void
check_segments(const char *path, size_t len)
{
	for (size_t i = 0; i < len;) {
		const char *segment = path + i + 1;
		size_t n = 0;

		assert(path[i] == '/');
		while (i + 1 + n < len && segment[n] != '/')
			n++;
		assert(n != 1 || segment[0] != '.');
		assert(n < 2 || memcmp(segment, "..", 2) != 0 ||
		       (n > 2 && segment[2] != ';'));
		assert(memmem(segment, n, "%2F", 3) == NULL);
		assert(memmem(segment, n, "%5C", 3) == NULL);
		assert(memmem(segment, n, "%00", 3) == NULL);
		assert(memmem(segment, n, "%2E", 3) == NULL);
		i += n + 1;
	}
}

static void
check_path(struct span path)
{
	char *out = malloc(path.len + 1),
	     *place = fuzz_copy(path.ptr, path.len);
	size_t len = 0, again = 0;
	bool is_sound = h1_normalise(path, out, &len);

	assert(h1_normalise((struct span){place, path.len}, place, &again) ==
	       is_sound);
	if (is_sound) {
		assert(len > 0 && len <= path.len && again == len);
		assert(memcmp(out, place, len) == 0);
		assert(h1_normalise((struct span){out, len}, out, &again));
		assert(again == len && memcmp(out, place, len) == 0);
		if (out[0] != '*')
			check_segments(out, len);
	}
	free(out);
	free(place);
}

static void
check_authority(struct span text)
{
	struct span hostname;
	uint16_t port;

	if (!h1_authority(text, &hostname, &port))
		return;
	assert(hostname.ptr == text.ptr && hostname.len > 0);
	assert(hostname.len <= text.len);
	for (size_t i = 0; i < text.len; i++)
		assert(strchr(" ,@/\\?#\t\r\n%", text.ptr[i]) == NULL);
}

static void
check_list(struct span list)
{
	struct span rest = list, element;
	size_t total = 0;

	while (h1_list_next(&rest, &element)) {
		assert(element.len > 0 && element.ptr >= list.ptr);
		assert(element.ptr + element.len <= list.ptr + list.len);
		assert(memchr(element.ptr, ',', element.len) == NULL);
		assert(!h1_is_blank(element.ptr[0]));
		assert(!h1_is_blank(element.ptr[element.len - 1]));
		total += element.len;
		assert(total <= list.len);
	}
	assert(rest.len == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct span text = {(const char *)data, size};

	check_path(text);
	check_authority(text);
	check_list(text);
	field_of(text);
	return 0;
}
