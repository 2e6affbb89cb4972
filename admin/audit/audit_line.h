/* One line of the audit log as bytes: sealing, taking apart, checking. */
#ifndef WEIR_ADMIN_AUDIT_LINE_H
#define WEIR_ADMIN_AUDIT_LINE_H

#include "admin/audit/audit.h"
#include "config/span.h"

struct audit_line {
	uint64_t sequence;
	char prev[AUDIT_HASH_LEN + 1], hash[AUDIT_HASH_LEN + 1];
};

/* `body` is an object's text that ends in "prev"; returns the line with its
 * newline, the caller frees. */
char *audit_line_seal(
    const char *body, char hash_out[AUDIT_HASH_LEN + 1], size_t *len_out);
/* False when the line is no sealed object or its hash is not that of its bytes.
 */
bool audit_line_parse(struct span line, struct audit_line *out);
void audit_line_hash(struct span bytes, char out[AUDIT_HASH_LEN + 1]);

#endif
