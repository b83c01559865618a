/* attach_in.h: what the files of attach share. attach_check.c asks whether a tree may be attached and where, attach.c does
 * it, attach_undo.c ends it.
 */
#ifndef ATTACH_IN_H
#define ATTACH_IN_H

#include "adopt.h"
#include "attach.h"
#include "tree.h"

#define ATTACH_PIDS_MAX 65536
#define ATTACH_PASSES   200

struct attach {
	struct parent *p;
	const struct attach_ask *ask;
	struct attach_told *told;
	struct tree tree;
	char mount[CONFIG_PATH_MAX];
	char path[PARENT_CGROUP_MAX]; /* of the process's cgroup */
	char own[PARENT_CGROUP_MAX];  /* the guard in place; "": to be moved */
	struct guard *g;
	struct adopt_found found;
	int canary;  /* a socket born in the guard */
	int source;  /* the cgroup the tree came from, while it is frozen by us */
	bool held;   /* the guard's cgroup is frozen by us */
	bool taken;  /* marks may have been set */
	pid_t *pids; /* of the tree, ascending, while it stands still */
	size_t count;
	struct err *e;
};

/* ---- attach_check.c ---- */

/* All that can be refused before anything is done; sets tree, mount, path and own. */
int attach_check(struct attach *a) must_check;
/* Again for the tree as it is now: none of it the daemon, the caller, or guarded; its threads in one network namespace. */
int attach_check_members(struct attach *a) must_check;
int attach_check_namespaces(struct attach *a) must_check;

bool attach_is_ours(const struct attach *a, pid_t pid); /* the daemon or a child of it */
bool attach_live(const struct tree_proc *p);		/* of the tree, and not ended */
/* Those in a directory of cgroups; malloc'ed, at most ATTACH_PIDS_MAX. */
int attach_list(struct attach *a, int dir, pid_t **ret, size_t *count) must_check;
/* Is everybody of the tree in this cgroup or below it. */
bool attach_all_within(const struct attach *a, const char *dir);

/* ---- attach_undo.c ---- */

/* A guard's processes to where they were; how many stay. */
size_t attach_back(const struct guard *g);

#endif
