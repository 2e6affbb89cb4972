/*
 * The words and statuses of proxy/h1/fault.def. An index is always an
 * enum h1_fault: whoever has another has a bug.
 */
#include <assert.h>

#include "proxy/h1/parse.h"

static const struct {
	uint16_t status;
	const char *word;
} faults[H1_FAULT_COUNT] = {
    [H1_FAULT_NONE] = {200, "none"},
#define H1_FAULT(id, status, word) [H1_FAULT_##id] = {status, word},
#include "proxy/h1/fault.def"
#undef H1_FAULT
};

unsigned
h1_fault_status(enum h1_fault fault)
{
	assert(fault < H1_FAULT_COUNT);
	return faults[fault].status;
}

const char *
h1_fault_word(enum h1_fault fault)
{
	assert(fault < H1_FAULT_COUNT);
	return faults[fault].word;
}
