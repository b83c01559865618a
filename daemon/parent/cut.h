/* cut.h: the end of connections that went straight through the kernel, to a host of a `tcp` rule. */
#ifndef CUT_H
#define CUT_H

#include "enforce.h"

#define CUT_PIDS_MAX 1024
#define CUT_FDS_MAX  16384 /* descriptors that are looked at, of all of them */

/* Resets such connections of the processes in this cgroup and below, so that both sides hear of it; how many. To be called
 * before their packets are dropped, which holds in any case: whoever goes beyond the limits above, or hides a descriptor,
 * waits in vain instead. */
size_t cut_direct(struct enforce *en, int cgroup_fd);

#endif
