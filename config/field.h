/*
 * Typed reading of a judged tree. What is missing or bad (and told already)
 * reads as the row's default, so that loading goes on and finds more.
 */
#ifndef WEIR_CONFIG_FIELD_H
#define WEIR_CONFIG_FIELD_H

#include "config/schema.h"

/* The child for a row below `map` (NULL is an empty map); NULL when missing. */
const struct node *field(const struct node *map, enum row_id id);

int64_t field_number(const struct node *map, enum row_id id);
nsec_t field_duration(const struct node *map, enum row_id id);
bp_t field_percent(const struct node *map, enum row_id id);
bool field_bool(const struct node *map, enum row_id id);
int field_word(const struct node *map, enum row_id id); /* NODE_ABSENT: none */

/* A copy, or NULL when there is neither value nor default. */
char *field_text(const struct node *map, enum row_id id);
char *field_lower(const struct node *map, enum row_id id);
char *text_lower(struct span text);

/* Entries of a list or map; one without brackets counts as a list of one. */
struct entries {
	const struct node *const *at;
	size_t n;
};
struct entries field_entries(const struct node *map, enum row_id id);

/* A list of words, or those of the default. */
struct strings field_strings(const struct node *map, enum row_id id);
struct strings field_strings_lower(const struct node *map, enum row_id id);
struct cidrs field_cidrs(const struct node *map, enum row_id id);

/* A map of names to texts, names in lower case. */
struct header_pair *field_pairs(
    const struct node *map, enum row_id id, size_t *n_out);

#endif
