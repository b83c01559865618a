/* tree.h: a process and what descends from it: found, stopped, moved.
 *
 * Whose tree a process is in goes by parent, and, for those whose parent has ended, by the process group or session
 * of a member; one that left all three behind is a daemon of its own. All of it is read from /proc.
 */
#ifndef TREE_H
#define TREE_H

#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define TREE_KTHREAD 0x00200000u /* PF_KTHREAD */

struct tree_proc {
	pid_t pid, ppid, pgid, sid;
	uint32_t flags; /* TREE_KTHREAD among others */
	uint64_t start; /* ticks since boot: tells a pid from its next owner */
	char state;     /* R, S, D, T, t, Z, X, ... */
	bool in;        /* of the tree */
	bool stopped;   /* by us */
};

struct tree {
	struct tree_proc *procs; /* every process of the machine, by pid */
	size_t count, cap;
};

/* One /proc/<pid>/stat: 0, or -EBADMSG with *ret as it was. */
int tree_parse(const char *text, struct tree_proc *ret) must_check;
/* Marks what descends from those already marked. */
void tree_close(struct tree *t);
struct tree_proc *tree_find(const struct tree *t, pid_t pid);

int tree_one(pid_t pid, struct tree_proc *ret) must_check; /* -ESRCH: no such process */
/* Looks again at every process. Members that still are stay members. */
int tree_scan(struct tree *t) must_check;
void tree_done(struct tree *t);

/* For qsort() and bsearch() of pids, ascending. */
int tree_cmp_pid(const void *a, const void *b);
/* Members that have not ended; malloc'ed, the caller's. */
int tree_pids(const struct tree *t, pid_t **ret, size_t *count) must_check;

/* Stops every member by signal and looks again until two looks agree; -EAGAIN when they do not in time. */
int tree_stop(struct tree *t, struct err *e) must_check;
/* Lets those go on that tree_stop() stopped. */
void tree_go_on(struct tree *t);

/* cgroup.freeze of a directory: 1 waits until all in it are frozen, two seconds at most. *was: what it said before. */
int tree_freeze(int cgroup_fd, bool frozen, bool *was, struct err *e) must_check;

#endif
