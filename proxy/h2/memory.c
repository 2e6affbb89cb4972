/* Memory for nghttp2, see memory.h. */
#include "proxy/h2/memory.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
	STEP = 32,       /* bytes from one small class to the next */
	SMALL_MAX = 512, /* the head included */
	N_SMALL = SMALL_MAX / STEP,
	MIDDLE_MAX = 2048,
	SESSION = 253, /* not of a class: the beginning of five pages */
	FRAME = 254,   /* the rest of them, of which the first is written */
	LARGE = 255,   /* the allocator's */
	PAGE = 4096,
	FRAME_MIN = 16384,
	FRAME_PAGES = 5 * PAGE,
	FRAME_AT = 3072,
	REGION = 50 * FRAME_PAGES + PAGE,
	HEAD = 8, /* of a piece */
/* Bytes; beyond them the allocator gets it back. */
#if defined(__SANITIZE_ADDRESS__)
	KEPT_MAX = 0, /* at once: it watches what is done with it */
	SESSION_MAX = 0,
	FRAME_MAX = 0,
#else
	KEPT_MAX = 4 << 20,
	SESSION_MAX = FRAME_AT - HEAD,
	FRAME_MAX = FRAME_PAGES - FRAME_AT - HEAD,
#endif
};

/* Before each piece; what follows is aligned for pointers. */
struct h2_piece {
	uint32_t class;
	uint32_t size;           /* of a large one, without the head */
	struct h2_piece *next[]; /* while free: in the piece itself */
};

/* Ours, and the allocator's. */
enum { HEADS = HEAD + sizeof(size_t) };
static_assert(sizeof(struct h2_piece) == HEAD, "as counted");

/* At the beginning of its own first page; frames behind it. */
struct h2_region {
	struct h2_region *next;
	size_t used;
};

static size_t
size_of(uint32_t class)
{
	return class < N_SMALL ? (class + 1) * (size_t)STEP
	                       : (size_t)SMALL_MAX << (class - N_SMALL + 1);
}

/* H2_MEMORY_CLASSES: none. `need` is not 0. */
static uint32_t
class_of(size_t need)
{
	if (need <= SMALL_MAX)
		return (uint32_t)((need - 1) / STEP);
	if (need > MIDDLE_MAX)
		return H2_MEMORY_CLASSES;
	return N_SMALL + (need > MIDDLE_MAX / 2);
}

/* Pages that nobody has written yet. */
static bool
more_frames(struct h2_memory *memory)
{
	char *at = mmap(NULL, REGION, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct h2_region *region = (struct h2_region *)(void *)at;

	if (at == MAP_FAILED)
		return false;
	madvise(at, REGION, MADV_NOHUGEPAGE);
	region->next = memory->regions;
	region->used = PAGE;
	memory->regions = region;
	return true;
}

static void
push(struct h2_piece **list, struct h2_piece *piece)
{
	piece->next[0] = *list;
	*list = piece;
}

static bool
carve(struct h2_memory *memory)
{
	struct h2_piece *session, *frame;
	char *at;

	if ((!memory->regions || memory->regions->used == REGION) &&
	    !more_frames(memory))
		return false;
	at = (char *)memory->regions + memory->regions->used;
	memory->regions->used += FRAME_PAGES;
	session = (struct h2_piece *)(void *)at;
	session->class = SESSION;
	push(&memory->sessions, session);
	frame = (struct h2_piece *)(void *)(at + FRAME_AT);
	frame->class = FRAME;
	push(&memory->frames, frame);
	return true;
}

static void *
take_paged(struct h2_memory *memory, struct h2_piece **list)
{
	struct h2_piece *piece;

	if (!*list && !carve(memory))
		return NULL;
	piece = *list;
	*list = piece->next[0];
	return piece + 1;
}

static void
give_frame(struct h2_memory *memory, struct h2_piece *piece)
{
	/* What it had behind its first page goes back. */
	madvise(
	    (char *)piece - FRAME_AT + PAGE, FRAME_PAGES - PAGE, MADV_DONTNEED);
	push(&memory->frames, piece);
}

static void *
take_large(size_t size)
{
	struct h2_piece *piece;

	if (size > UINT32_MAX)
		return NULL;
	piece = malloc(sizeof(*piece) + size);
	if (!piece)
		return NULL;
	piece->class = LARGE;
	piece->size = (uint32_t)size;
	return piece + 1;
}

static void *
take(size_t size, void *user)
{
	struct h2_memory *memory = user;
	struct h2_piece *piece;
	uint32_t class;

	if (size > MIDDLE_MAX - HEADS) {
		if (size <= SESSION_MAX)
			return take_paged(memory, &memory->sessions);
		return size >= FRAME_MIN && size <= FRAME_MAX
		           ? take_paged(memory, &memory->frames)
		           : take_large(size);
	}
	class = class_of(size + HEADS);
	piece = memory->free[class];
	if (piece) {
		memory->free[class] = piece->next[0];
		memory->kept -= size_of(class);
	} else {
		/* Less the allocator's own word: no rounding on top of ours. */
		piece = malloc(size_of(class) - sizeof(size_t));
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
	if (piece->class == FRAME) {
		give_frame(memory, piece);
		return;
	}
	if (piece->class == SESSION) {
		push(&memory->sessions, piece);
		return;
	}
	if (piece->class == LARGE ||
	    memory->kept + size_of(piece->class) > KEPT_MAX) {
		free(piece);
		return;
	}
	assert(piece->class < H2_MEMORY_CLASSES);
	piece->next[0] = memory->free[piece->class];
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

static size_t
room_of(const struct h2_piece *piece)
{
	if (piece->class == LARGE)
		return piece->size;
	if (piece->class == FRAME)
		return FRAME_MAX;
	if (piece->class == SESSION)
		return SESSION_MAX;
	return size_of(piece->class) - HEADS;
}

static void *
resize(void *old, size_t size, void *user)
{
	size_t room;
	void *at;

	if (!old)
		return take(size, user);
	room = room_of((const struct h2_piece *)old - 1);
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

			memory->free[class] = piece->next[0];
			free(piece);
		}
	}
	while (memory->regions) {
		struct h2_region *region = memory->regions;

		memory->regions = region->next;
		munmap(region, REGION);
	}
}
