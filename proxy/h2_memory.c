/* Memory for nghttp2, see h2_memory.h. */
#include "proxy/h2_memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

enum {
	SMALLEST = 64, /* bytes of the lowest class, its head included */
	LARGE = 255,   /* not of any class: the allocator's own */
                       /* bytes; beyond them the allocator gets it back */
#if defined(__SANITIZE_ADDRESS__)
	KEPT_MAX = 0, /* at once: it watches what is done with it */
#else
	KEPT_MAX = 4 << 20,
#endif
};

/* Before each piece. Keeps what follows aligned for anything. */
struct h2_piece {
	union {
		struct h2_piece *next; /* while free */
		size_t size;           /* of a large one, without the head */
	};
	uint64_t class;
};

static size_t
size_of(uint64_t class)
{
	return (size_t)SMALLEST << class;
}

static uint64_t
class_of(size_t need)
{
	if (need <= SMALLEST)
		return 0;
	return 64 - 6 - (uint64_t)__builtin_clzll(need - 1);
}

static void *
take(size_t size, void *user)
{
	struct h2_memory *memory = user;
	struct h2_piece *piece;
	uint64_t class;

	if (size > SIZE_MAX - sizeof(*piece))
		return NULL;
	class = class_of(size + sizeof(*piece));
	if (class >= H2_MEMORY_CLASSES) {
		piece = malloc(sizeof(*piece) + size);
		if (!piece)
			return NULL;
		piece->class = LARGE;
		piece->size = size;
		return piece + 1;
	}
	piece = memory->free[class];
	if (piece) {
		memory->free[class] = piece->next;
		memory->kept -= size_of(class);
	} else {
		piece = malloc(size_of(class));
		if (!piece)
			return NULL;
		piece->class = class;
	}
	return piece + 1;
}

static void
give(void *at, void *user)
{
	struct h2_memory *memory = user;
	struct h2_piece *piece = at;

	if (!piece)
		return;
	piece--;
	if (piece->class == LARGE ||
	    memory->kept + size_of(piece->class) > KEPT_MAX) {
		free(piece);
		return;
	}
	assert(piece->class < H2_MEMORY_CLASSES);
	piece->next = memory->free[piece->class];
	memory->free[piece->class] = piece;
	memory->kept += size_of(piece->class);
}

static void *
take_zeroed(size_t n, size_t size, void *user)
{
	void *at;

	if (size > 0 && n > SIZE_MAX / size)
		return NULL;
	at = take(n * size, user);
	if (at)
		memset(at, 0, n * size);
	return at;
}

static void *
resize(void *old, size_t size, void *user)
{
	const struct h2_piece *piece;
	size_t room;
	void *at;

	if (!old)
		return take(size, user);
	piece = (const struct h2_piece *)old - 1;
	room = piece->class == LARGE ? piece->size
	                             : size_of(piece->class) - sizeof(*piece);
	if (size <= room)
		return old;
	at = take(size, user);
	if (!at)
		return NULL;
	memcpy(at, old, room);
	give(old, user);
	return at;
}

void
h2_memory_init(struct h2_memory *memory)
{
	memset(memory, 0, sizeof(*memory));
	memory->mem = (nghttp2_mem){memory, take, give, take_zeroed, resize};
}

void
h2_memory_release(struct h2_memory *memory)
{
	for (size_t class = 0; class < H2_MEMORY_CLASSES; class ++) {
		while (memory->free[class]) {
			struct h2_piece *piece = memory->free[class];

			memory->free[class] = piece->next;
			free(piece);
		}
	}
}
