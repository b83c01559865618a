/* guards.h: cgroups under enforcement, and the listeners in their network namespaces.
 *
 * A guard's record lies in <run_dir>/guards/<id>, so that a daemon that starts again knows whose it is; the links
 * are pinned (enforce.h), the listeners are with the holder. A guard whose cgroup has emptied is detached and its
 * directory removed.
 */
#ifndef GUARDS_H
#define GUARDS_H

#include "parent.h"

/* Takes up the guards that are pinned: listeners from `held` (key → fd, taken), or made anew through a process
 * that still sits there. A guard of which nobody knows the workspace stays closed. */
struct guards_held {
	char key[64];
	int fd;
};
void guards_restore(struct parent *p, struct guards_held *held, size_t count);
void guards_done(struct parent *p);

/* A fresh cgroup for `pid`, of `workspace`: listeners, links, then the process is moved in. On failure nothing
 * is left behind and the process is where it was. */
int guards_enter(struct parent *p, pid_t pid, const struct workspace *w, struct guard **ret,
		 struct err *e) must_check;

/* For what runs already, in four steps. attach: listeners, links, children told, state closed, in the cgroup
 * `in_place` or (NULL) in a fresh one; nobody is moved. settle: adopted sockets' birth cgroups noted, state open.
 * drop: the guard ends at once, whoever is in it; of a fresh cgroup the directory goes if it is empty. */
int guards_attach(struct parent *p, pid_t pid, const struct workspace *w, const char *in_place,
		  const char *origin, struct guard **ret, struct err *e) must_check;
int guards_settle(struct parent *p, struct guard *g, const uint64_t *births, size_t count,
		  struct err *e) must_check;
void guards_drop(struct parent *p, struct guard *g);

/* p->adopt is there from then on. */
int guards_adopt(struct parent *p, struct err *e) must_check;
/* Takes the programs off those birth cgroups that no guard needs. */
void guards_births_drop(struct parent *p, const uint64_t *births, size_t count);

/* Once a second: ends guards whose cgroup somebody else has removed. */
void guards_sweep(struct parent *p);

struct guard *guards_find(struct parent *p, uint64_t id);
size_t guards_of_workspace(struct parent *p, const char *workspace);

/* Is this process in a guarded cgroup? Fails towards yes. */
bool guards_holds(struct parent *p, pid_t pid);

/* What an entry of a document's "unix" stands for now. False, with a sentence: nothing. */
bool guards_unix_look(const char *peer, struct enforce_exempt *ret, struct err *e);

/* All guards and listeners, to one child. */
int guards_tell(struct parent *p, struct proc *to) must_check;

/* A workspace's document is new: what the old one's rules had opened in the kernel is closed, and what the new one's
 * address rules open is opened. Names are leased again when they are asked for. */
void guards_rules_changed(struct parent *p, const struct workspace *w, bool closed);
/* Does a change from these rules to those close an address that may have been opened in the kernel? Then it is closed
 * there, and connections that it carried are cut. */
bool guards_closes(const struct rules *from, const struct rules *to);

/* Hands every listener and link to the holder again (a new one was started). */
void guards_hold(struct parent *p);

/* loop handler: cgroup.events of a guard changed */
void guards_on_event(void *ctx, uint32_t slot, uint16_t gen, uint32_t events);

/* Detaches all and removes what is empty; only when no guard holds a process any more. */
bool guards_empty(const struct parent *p);

#endif
