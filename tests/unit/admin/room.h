/*
 * A directory of its own for a test, gone at the end.
 */
#ifndef TESTS_ADMIN_ROOM_H
#define TESTS_ADMIN_ROOM_H

#include <assert.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct room {
	char dir[64];
};

static inline void
room_init(struct room *room)
{
	snprintf(room->dir, sizeof(room->dir), "/tmp/weir-test-XXXXXX");
	assert(mkdtemp(room->dir));
}

static inline void
room_path(const struct room *room, const char *name, char *buf, size_t cap)
{
	snprintf(buf, cap, "%s/%s", room->dir, name);
}

/* Two levels are the deepest that any test makes. */
static inline void
room_empty(const char *dir)
{
	DIR *list = opendir(dir);
	struct dirent *entry;
	char path[1024];

	while (list && (entry = readdir(list)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0)
			continue;
		snprintf(
		    path, sizeof(path), "%.500s/%.255s", dir, entry->d_name);
		if (entry->d_type == DT_DIR) {
			room_empty(path);
			rmdir(path);
		} else {
			unlink(path);
		}
	}
	if (list)
		closedir(list);
}

static inline void
room_release(struct room *room)
{
	room_empty(room->dir);
	rmdir(room->dir);
}

static inline char *
room_read(const char *path, size_t *len_out)
{
	FILE *file = fopen(path, "re");
	char *text = malloc(1 << 20);

	assert(file && text);
	*len_out = fread(text, 1, (1 << 20) - 1, file);
	text[*len_out] = '\0';
	fclose(file);
	return text;
}

static inline void
room_write(const char *path, const char *bytes, size_t len)
{
	FILE *file = fopen(path, "we");

	assert(file && fwrite(bytes, 1, len, file) == len);
	fclose(file);
}

#endif
