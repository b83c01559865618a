/* levels.h: what stands beside the programs of egress.bpf.c, where the kernel has it.
 *
 *	L1	egress.bpf.c: nothing leaves but through us
 *	L2	unixsock.bpf.c: unix sockets outside the guard are out of reach (Linux 6.7)
 *	L3	lsm.bpf.c: other families, sockets and processes of others, bpf(), cgroups (`bpf` among the active LSMs)
 *
 * Each is loaded, and believed only when a canary was refused by it. L3 covers what L2 does, so it may be in force
 * on a kernel without L2's hooks.
 */
#ifndef LEVELS_H
#define LEVELS_H

#include "canary.h"
#include "err.h"
#include "links.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct bpf_object;
struct levels;

extern const struct links_row levels_unix[CANARY_UNIX]; /* on each guard's cgroup */
extern const struct links_row levels_lsm[CANARY_LSM];   /* on the guards' common parent */

#define LEVELS_WANT_UNIX 1u
#define LEVELS_WANT_LSM 2u

/* Loads the programs over the maps of the same names in `base`, tries them in a scratch cgroup made for it below the
 * directory parent_fd, and leaves the LSM ones attached to that directory, pinned in `pins` (NULL: not pinned). Links
 * that are pinned there get the new programs. What the kernel cannot carry is no error: it is absent then, and nothing
 * of it stays attached; levels_missing() has the reason. */
int levels_open(struct bpf_object *base, int parent_fd, const char *pins, uint32_t want, struct levels **ret,
		struct err *e) must_check;
struct levels *levels_close(struct levels *l); /* what is pinned stays */

bool levels_has_unix(const struct levels *l);
bool levels_has_lsm(const struct levels *l);
/* Does a guard reach its own sockets by abstract name at L2. */
bool levels_reaches_own(const struct levels *l);

/* 1, 2 or 3: the highest level in force. */
uint32_t levels_level(const struct levels *l);

/* A sentence on why L2 or L3 is absent; "" when it is there. */
const char *levels_missing(const struct levels *l, uint32_t level);

/* The program of a row; NULL when it is not loaded. */
struct bpf_program *levels_program(const struct levels *l, const char *name);

/* The LSM links, still owned here, for the holder. The count. */
size_t levels_fds(const struct levels *l, int *fds, size_t max);

/* Detaches the LSM programs and unpins them. */
void levels_remove(struct levels *l);

#endif
