/* attach.h: a process tree that runs already is put under guard, or taken out again.
 *
 * attach_run() answers 0 only when every process and every socket of the tree is behind the wall; on any other answer
 * all is as it was before, except that with `kill` processes may have been ended. In place: the container's, pod's or
 * unit's own cgroup becomes the guard. Else the tree is moved into a fresh one. detach opens the gate, moves those back
 * that were moved, and leaves the processes running.
 */
#ifndef ATTACH_H
#define ATTACH_H

#include "parent.h"

#define ATTACH_KILLED_MAX 64 /* of those that --kill ended, how many are named */

struct attach_ask {
	pid_t pid;
	pid_t caller; /* who asked: must not be in the tree */
	bool kill;    /* end who holds what cannot be adopted */
	const struct workspace *workspace;
};

struct attach_told {
	struct guard *guard;
	size_t processes, adopted, reset, killed;
	pid_t killed_pids[ATTACH_KILLED_MAX];
	pid_t privileged; /* one that has a capability with which L1 can be passed, or 0 */
};

int attach_run(struct parent *p, const struct attach_ask *ask, struct attach_told *ret,
	       struct err *e) must_check;

/* What the CLI may call `which`: a guard's id, or the id of a process in it. NULL with a sentence. */
struct guard *attach_find(struct parent *p, const char *which, struct err *e);
/* Ends an attached guard (not one of `run`): gate open, processes go on. *stay: those that could not be moved back to
 * where they came from, which remain in the directory of the guard. */
int attach_undo(struct parent *p, struct guard *g, size_t *stay, struct err *e) must_check;

#endif
