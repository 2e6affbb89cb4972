/*
 * Is an address in one of very many ranges? Ranges are merged into sorted,
 * disjoint ones when a set is made, so that a question is one binary search;
 * for IPv4 it begins in an index by the first 16 bits, which leaves a handful
 * of candidates. 100,000 ranges are 800 KB and some tens of nanoseconds.
 */
#ifndef WEIR_ROUTING_CIDR_SET_H
#define WEIR_ROUTING_CIDR_SET_H

#include "config/config.h"

struct cidr_set;
struct cidr_set *cidr_set_new(const struct cidrs *cidrs);
void cidr_set_free(struct cidr_set **set);
/* False for peers without an address. */
bool cidr_set_holds(const struct cidr_set *set, const struct sockaddr *sa);
/* Disjoint ranges: for tests. */
size_t cidr_set_size(const struct cidr_set *set);

#endif
