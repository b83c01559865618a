/* canary.h: a child that goes into a cgroup and tries what levels L2 and L3 must refuse there.
 *
 * Each attempt is made twice, before the child moves in and after: a refusal counts only if it was none before.
 * Nothing is left behind but the cgroup. Root; makes one child and waits for it.
 */
#ifndef CANARY_H
#define CANARY_H

#include "own.h"

#include <stdbool.h>
#include <stddef.h>

#define CANARY_UNIX 2 /* programs of level L2: connect, sendmsg */
#define CANARY_LSM 10 /* hooks of level L3, in the order of levels.c */

struct canary_unix {
	bool refused[CANARY_UNIX]; /* an outside peer by path and by abstract name */
	bool inside;		   /* a peer of the guard by abstract name is reached */
};

/* 0, or why the child could not try; then the result is all false. */
int canary_unix(int cgroup_fd, struct canary_unix *ret) must_check;
int canary_lsm(int cgroup_fd, bool refused[CANARY_LSM]) must_check;

#endif
