/* run_sandbox.h: what a guarded program may not do, whatever it is.
 *
 * The BPF programs decide about IP packets; this closes the ways out that do not look like one of its
 * sockets: leaving the cgroup, moving mounts, other address families, another process of the same user,
 * typing into the caller's terminal. Called in the child, after it is in its guard and before exec; any
 * failure must end the child. Ordinary programs do not notice: compilers, browsers, debuggers of their
 * own children, interpreters run as before.
 */
#ifndef RUN_SANDBOX_H
#define RUN_SANDBOX_H

#include "err.h"

#include <stdbool.h>
#include <stdint.h>

/* What must be hidden from an agent that runs as root. */
struct run_hide {
	const char *state_dir, *run_dir; /* the daemon's */
	const char *trust_dir;		 /* stays readable, if it lies in one of them */
};

/* Standard descriptors must not be IP sockets: those were made outside the guard. */
int run_sandbox_stdio(struct err *e) must_check;

/* Everything else, in its order: mounts (root only), capabilities, no new privileges, Landlock, seccomp,
 * close-on-exec for every descriptor above 2. */
int run_sandbox_enter(const struct run_hide *hide, struct err *e) must_check;

/* Whether this kernel can keep a program from tracing processes outside its guard (Landlock, from 5.19). */
bool run_sandbox_can_scope(void);

/* The capabilities that root keeps, as a mask; for doctor and the tests. */
uint64_t run_sandbox_kept_caps(void);

#endif
