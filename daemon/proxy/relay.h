/* relay.h: the two bodies and the response's head between agent and upstream. */
#ifndef RELAY_H
#define RELAY_H

#include "exchange.h"

#define RELAY_FULL 65536    /* a side's `out` over this: reading for it stops */
#define RELAY_BUDGET 262144 /* bytes moved for one connection in one turn */

/* States WAIT and RELAY. True: the state changed. */
bool relay_step(struct conn *c);

#endif
