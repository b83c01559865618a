/* aside.h: something tried in a process of its own, which is gone afterwards: what it did to itself (cgroup, network
 * namespace, descriptors) stays there. It is forked and not exec'd, so only for a parent of one thread. */
#ifndef ASIDE_H
#define ASIDE_H

#include "own.h"

#include <stddef.h>

#define ASIDE_MAX 4096 /* of a result: what a pipe takes in one piece */

/* Runs in the child; *out is zeroed, and all that comes back. */
typedef void aside_fn(void *ctx, void *out);

/* Waits for it. -EPROTO: it ended without a result. */
int aside(aside_fn *fn, void *ctx, void *ret, size_t size) must_check;

#endif
