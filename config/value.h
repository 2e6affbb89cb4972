/*
 * One scalar against one row: is it a duration between 1ms and 10m? Knows
 * nothing of trees.
 */
#ifndef WEIR_CONFIG_VALUE_H
#define WEIR_CONFIG_VALUE_H

#include "config/schema.h"

enum { FAULT_TEXT_MAX = 320 };

/* What is wrong and what would be right; hint may be empty. */
struct fault {
	enum diag_code code;
	char message[FAULT_TEXT_MAX], hint[FAULT_TEXT_MAX];
};

struct value {
	int64_t number;
	int word; /* index among the row's words, or NODE_ABSENT */
};

/*
 * `shown` is what messages quote: the text as written, without what variables
 * held. References (V_REF) are only checked to be names here.
 */
bool value_parse(const struct schema_row *row, struct span text,
    struct span shown, struct value *out, struct fault *fault);

bool name_is_fine(struct span name);
bool token_is_fine(struct span token); /* RFC 9110: names of headers, cookies */
bool header_is_settable(struct span name);

/* "did you mean ...?" or an empty text. */
void fault_suggest(
    struct fault *fault, struct span word, const char *const *words, size_t n);

#endif
