/*
 * The three-way merge of a split's weights at a reload: last file, new file,
 * runtime. The file owns the pools, runtime owns the weights until the file's
 * own words about them change. All three are laid on the new file's slots
 * before they are compared.
 */
#include <string.h>

#include "routing/registry.h"

void
merge_fold(uint32_t n_from, char *const from[], const bp_t bp[], uint32_t n_to,
    char *const to[], uint32_t stable, bp_t out[])
{
	memset(out, 0, n_to * sizeof(*out));
	for (uint32_t i = 0; i < n_from; i++) {
		uint32_t slot = 0;

		while (slot < n_to && strcmp(from[i], to[slot]) != 0)
			slot++;
		out[slot < n_to ? slot : stable] += bp[i];
	}
}

/*
 * A file that says what runs is no wish to change it; nor is one that says
 * what it said before, once the share of pools that left is with stable.
 */
enum merge
merge_decide(const struct merge_input *input, bp_t out[])
{
	size_t size = input->n * sizeof(bp_t);

	if (memcmp(input->now, input->was, size) != 0 &&
	    memcmp(input->now, input->runs, size) != 0) {
		memcpy(out, input->now, size);
		return MERGE_FILE_WINS;
	}
	memcpy(out, input->runs, size);
	return input->same_pools ? MERGE_KEEP_RUNTIME : MERGE_POOLS_CHANGED;
}
