/* workspaces.h: the signed documents: on disk, in memory, in force.
 *
 *	<state_dir>/workspaces/<name>/allowlist.json, .sig	what administration writes, or what was put there
 *	<state_dir>/trust/<name>.json, .sig			the last good one, the daemon's own
 *	<state_dir>/signing.pub					the key they are checked against, made by init
 *	<state_dir>/current/<uid>				the caller's current workspace
 *
 * A document is taken only with a good signature of that key, canonical bytes, the right name, and a version
 * that is at least the last good one's. Otherwise the last good one stays in force, and it is said why.
 */
#ifndef WORKSPACES_H
#define WORKSPACES_H

#include "parent.h"

/* Reads all at start; what is refused is logged, and the last good one is in force. */
int workspaces_load(struct parent *p, struct err *e) must_check;
void workspaces_done(struct parent *p);

struct workspace *workspaces_find(struct parent *p, const char *name);
int workspaces_create(struct parent *p, const char *name, uint32_t owner, struct err *e) must_check;
int workspaces_delete(struct parent *p, const char *name, struct err *e) must_check;

/* Puts a changed copy of a workspace's rules in force: next version, signed by the keeper, written, told to the
 * children. changed stays the caller's. *ret_version: the new one. */
int workspaces_commit(struct parent *p, struct workspace *w, struct rules *changed,
		      uint64_t *ret_version, struct err *e) must_check;
/* A copy to change. */
int workspaces_copy(const struct workspace *w, struct rules **ret, struct err *e) must_check;

/* Checks what stands on disk against what is in force. 0: the same and good; else the sentence. */
int workspaces_verify(struct parent *p, const struct workspace *w, struct err *e) must_check;

/* Every secret of every workspace may have another value now: proxies drop what they have. */
void workspaces_secrets_changed(struct parent *p);

/* Sends all documents and guards to one child. */
int workspaces_tell(struct parent *p, struct proc *to) must_check;

/* The caller's current workspace, "" when none. */
void workspaces_current(struct parent *p, uid_t uid, char out[RPC_WORKSPACE_MAX]);
int workspaces_use(struct parent *p, uid_t uid, const char *name, struct err *e) must_check;

#endif
