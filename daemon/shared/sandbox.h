/* sandbox.h: what takes a child's privilege away. Order: start, open, drop, lock, serve.
 *
 * sandbox_first() is every daemon process's first call: no core dump, not dumpable, no new privileges.
 * sandbox_drop() changes to the role's user without groups, empties all capability sets, closes every
 * descriptor above `keep_below`. sandbox_lock() installs the role's system-call allow-list
 * (libseccomp; anything else: the process is killed and the audit record says SIGSYS). A failure of any
 * of them ends the process: there is no lesser mode.
 */
#ifndef SANDBOX_H
#define SANDBOX_H

#include "config.h"

enum sandbox_role {
	SANDBOX_HOLDER,
	SANDBOX_KEEPER,
	SANDBOX_RESOLVER,
	SANDBOX_PROXY,
	SANDBOX_ROLES,
};

int sandbox_first(struct err *e) must_check;
int sandbox_drop(const struct config_user *user, struct err *e) must_check;
int sandbox_lock(enum sandbox_role role, struct err *e) must_check;

#endif
