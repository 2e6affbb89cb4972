/*
 * routing: pure decisions. Split by audience: decide.h for the data plane,
 * control.h for the control plane; evidence.h is what both count, judge.h and
 * rollout.h what is made of it.
 */
#ifndef WEIR_ROUTING_ROUTING_H
#define WEIR_ROUTING_ROUTING_H

#include "routing/control.h"
#include "routing/decide.h"

#endif
