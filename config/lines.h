/*
 * Lines of a file as libyaml counts them: LF, CR, CR LF, NEL, LS and PS end
 * one.
 */
#ifndef WEIR_CONFIG_LINES_H
#define WEIR_CONFIG_LINES_H

#include "config/span.h"

/* Takes the next line from the front of `rest`, its end excluded. */
bool lines_next(struct span *rest, struct span *line_out);

/* The n-th line from 1; empty beyond the last. */
struct span lines_get(struct span text, unsigned number);

#endif
