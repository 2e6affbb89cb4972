/*
 * Feeds files to a fuzz target without libFuzzer: each argument is a file, or
 * a folder whose files are all fed. So every corpus is a test of every build.
 * Fails when nothing was fed.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 16 << 20 };

/* How many inputs were fed. */
static unsigned
replay_file(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *data, *exact;
	size_t size;

	if (file == NULL) {
		perror(path);
		exit(1);
	}
	data = malloc(INPUT_MAX);
	if (data == NULL)
		exit(1);
	size = fread(data, 1, INPUT_MAX, file);
	fclose(file);
	/* exactly as large, so that a sanitizer sees the first byte too far */
	exact = malloc(size ? size : 1);
	if (exact == NULL)
		exit(1);
	memcpy(exact, data, size);
	free(data);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return 1;
}

static unsigned
replay_folder(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	unsigned fed = 0;

	if (folder == NULL) {
		perror(path);
		exit(1);
	}
	while ((entry = readdir(folder))) {
		char below[4096];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(below, sizeof(below), "%s/%s", path, entry->d_name);
		fed += replay_file(below);
	}
	closedir(folder);
	return fed;
}

int
main(int argc, char **argv)
{
	unsigned fed = 0;

	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode))
			fed += replay_folder(argv[i]);
		else
			fed += replay_file(argv[i]);
	}
	printf("%u inputs\n", fed);
	return fed == 0;
}
