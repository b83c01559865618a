/* adopt.h: sockets that existed before their process was guarded.
 *
 * Hooks follow the cgroup in which a socket was born. So each socket of the tree that was born outside its guard is
 * marked with the guard's id (through a duplicated descriptor), and adopted.bpf.c's programs stand on its birth cgroup,
 * acting on marked sockets alone. Pins: <dir>/adopt/<birth cgroup id>/<program>; maps `marks` and `wards` in
 * <dir>/maps beside the others.
 *
 * What cannot be stopped that way is refused with its holder: sockets of other families, TCP in disguise (MPTCP), unix
 * connections to processes outside, io_uring, TUN, descriptors on their way. The processes must stand still (tree.h)
 * from adopt_look() to the last call with what it found.
 */
#ifndef ADOPT_H
#define ADOPT_H

#include "../../bpf/egress.h"
#include "../../bpf/fds.h"
#include "enforce.h"
#include "err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define ADOPT_BIRTHS_MAX 16 /* birth cgroups of one guard's sockets */

struct adopt;

/* dir: enforce_dir(). Loads the programs over the pinned maps, swaps those of every pinned link. */
int adopt_open(const char *dir, uint16_t explicit_port, struct adopt **ret,
	       struct err *e) must_check;
/* Frees; what is pinned stays attached. */
struct adopt *adopt_close(struct adopt *a);
/* Detaches and unpins everything of it; then only adopt_close(). */
void adopt_remove(struct adopt *a);

/* A guard's state for its adopted sockets; without one they are denied everything. */
int adopt_ward(struct adopt *a, const struct eg_guard *state) must_check;
void adopt_ward_gone(struct adopt *a, uint64_t guard);

/* Detaches from a birth cgroup. Link descriptors of one, still owned by us. */
void adopt_birth_drop(struct adopt *a, uint64_t birth);
size_t adopt_birth_fds(struct adopt *a, uint64_t birth, int *fds, size_t max);

struct adopt_socket {
	struct fds_socket s;
	bool born_inside; /* of the guard's cgroup: its own programs hold it */
};

struct adopt_found {
	struct adopt_socket *sockets; /* those of IPv4 and IPv6 */
	size_t count;
	uint64_t births[ADOPT_BIRTHS_MAX];
	size_t birth_count;
};

/* Every descriptor of these processes (pids ascending). inside: path of the guard's cgroup, or NULL when nothing was
 * born in it. -EBUSY: process *holder has what cannot be adopted, and e says what. */
int adopt_look(struct adopt *a, const pid_t *pids, size_t count, const char *inside,
	       struct adopt_found *ret, pid_t *holder, struct err *e) must_check;
void adopt_found_done(struct adopt_found *f);

/* Marks, attaches to the birth cgroups, reads back. On failure adopt_leave() undoes what was done. */
int adopt_take(struct adopt *a, struct enforce *en, const struct adopt_found *f, uint64_t guard,
	       struct err *e) must_check;
/* Resets connected TCP sockets and empties the accept queues of listening ones; how many were. */
size_t adopt_reset(const struct adopt_found *f);
/* Takes the marks off. */
void adopt_leave(struct adopt *a, const struct adopt_found *f);

#endif
