/* enforce.h: the kernel side, loaded, attached, pinned. With levels.c and links.c the only one that knows libbpf.
 *
 * Pins: <bpffs>/v<EG_LAYOUT>/maps/<name>, <bpffs>/v<EG_LAYOUT>/guards/<cgroup id>/<program>,
 * <bpffs>/v<EG_LAYOUT>/listen/<program>. enforce_open() mounts a bpffs of our own there when none is,
 * loads the programs over the maps that are pinned already, and swaps the programs of every pinned
 * link by bpf_link_update, so that a restart never opens a gap. All or nothing: any failure is an error
 * with a sentence, what was attached before stays attached. A guard whose cgroup is gone (ENOLINK) is
 * unpinned and reported as gone.
 *
 * Nothing here parses bytes of an agent. Errors: negative errno and a sentence.
 */
#ifndef ENFORCE_H
#define ENFORCE_H

#include "../../bpf/egress.h"
#include "config.h"
#include "err.h"

#include <stdbool.h>
#include <stdint.h>

struct enforce;

/* listen_cgroup: directory fd of the cgroup in which netns.c makes listeners; the proxy-side programs
 * are attached there. Says what is missing in words when the kernel cannot carry it (minimum: 5.15 and
 * cgroup v2; each program is loaded, none is optional at level L1). */
int enforce_open(const struct config *c, int listen_cgroup, struct enforce **ret, struct err *e) must_check;
/* The same, with what a holder kept of a daemon before us, when pins are missing (bpffs unmounted, files removed): links
 * of the guard named; maps and the rest under guard 0. The descriptors stay the caller's. */
struct enforce_held {
	uint64_t guard;
	int fd;
};
int enforce_open_held(const struct config *c, int listen_cgroup, const struct enforce_held *held, size_t count,
		      struct enforce **ret, struct err *e) must_check;
struct enforce *enforce_close(struct enforce *en); /* frees; everything stays pinned and attached */

/* Takes everything down that stands: detaches and unpins the proxy side and the maps, unmounts the bpffs if it is
 * ours. Only without guards (-EBUSY with one). en is good for enforce_close() alone afterwards. */
int enforce_remove(struct enforce *en);

/* Attaches every program of a guard to the cgroup and pins the links, state closed first; reads the
 * effective programs back; then writes *state. On failure nothing stays attached. Refuses a cgroup where
 * an exclusive (flags=0) program stands, by name of the program. state->id must be the cgroup's id. */
int enforce_attach(struct enforce *en, int cgroup_fd, const struct eg_guard *state, struct err *e) must_check;

/* Refuses when on this cgroup or above it a program stands that allows no other (flags=0), by its name. */
int enforce_check_path(struct enforce *en, int cgroup_fd, struct err *e) must_check;

/* Writes a guard's state (ports, flags; `pending` is kept as the programs have it). */
int enforce_set(struct enforce *en, const struct eg_guard *state, struct err *e) must_check;
int enforce_get(struct enforce *en, uint64_t guard, struct eg_guard *ret) must_check;

/* Detaches and unpins a guard, deletes its leases. -ENOENT when there is none. */
int enforce_detach(struct enforce *en, uint64_t guard, struct err *e) must_check;

/* Ids of the guards that are pinned, at most max; the count. */
size_t enforce_guards(struct enforce *en, uint64_t *ids, size_t max);

/* Is every link of this guard still attached (its cgroup alive)? 0, -ENOLINK gone, or another errno. */
int enforce_alive(struct enforce *en, uint64_t guard) must_check;

/* Link descriptors of a guard (guard 0: of the listen cgroup, and the maps), still owned by enforce: for
 * the holder, which keeps duplicates so that an unmounted bpffs opens nothing. The count. */
size_t enforce_fds(struct enforce *en, uint64_t guard, int *fds, size_t max);

/* Denials. events_fd is readable when there may be some; read calls fn for each waiting one. */
int enforce_events_fd(struct enforce *en);
typedef void enforce_event_fn(void *ctx, const struct eg_event *ev);
int enforce_events(struct enforce *en, enforce_event_fn *fn, void *ctx) must_check;

/* Leases: `expires` on CLOCK_MONOTONIC ns. sweep deletes what ended before now. */
int enforce_lease(struct enforce *en, const struct eg_lease_key *key, const struct eg_lease *lease) must_check;
/* Is it open now? */
bool enforce_leased(struct enforce *en, const struct eg_lease_key *key, uint64_t now_ns);
/* Is this socket, whosesoever, a connection that was let through to a lease. */
bool enforce_direct(struct enforce *en, int sock);

/* The unix sockets outside that a guard may reach, all anew; keys are filled in but for the guard. What is there
 * already and stays is not touched in between. */
struct enforce_exempt {
	struct eg_unix_key key;	  /* kind 0: none */
	struct eg_unix_path path; /* family 0: none */
	uint64_t mounts;	  /* value of the path */
};
int enforce_exempt(struct enforce *en, uint64_t guard, struct enforce_exempt *list, size_t count) must_check;

/* Deletes all of a guard's. */
int enforce_unlease(struct enforce *en, uint64_t guard) must_check;
void enforce_sweep(struct enforce *en, uint64_t now_ns);

/* Mounts and pins again when the bpffs was taken away. Once a second. */
void enforce_keep_pins(struct enforce *en);

/* Sums over CPUs of the EG_STAT_* counters. */
int enforce_stats(struct enforce *en, uint64_t stats[EG_STAT_COUNT]) must_check;

/* So many lost events stand in the audit log (EG_STAT_EVENTS_TOLD): outlives us, as the counters do. */
int enforce_told(struct enforce *en, uint64_t lost) must_check;

/* <bpffs>/v<EG_LAYOUT>, for adopt.c. */
const char *enforce_dir(const struct enforce *en);

/* The level in force (levels.h): 1, 2 or 3; enforce_attach() refuses below c->minimum_level. Why a higher one is absent,
 * "" when it is there. Whether an agent reaches its own unix sockets by abstract name. */
uint32_t enforce_level(const struct enforce *en);
const char *enforce_missing(const struct enforce *en, uint32_t level);
bool enforce_reaches_own(const struct enforce *en);

/* For doctor.c: the programs over maps of their own, attached to scratch cgroups and pinned nowhere; enforce_close()
 * detaches them. parent_fd: where levels.c may make its scratch cgroup. state->id is filled in. */
int enforce_mountable(const struct config *c, struct err *e) must_check;
int enforce_trial(const struct config *c, int parent_fd, struct enforce **ret, struct err *e) must_check;
int enforce_trial_listen(struct enforce *en, int cgroup_fd, struct err *e) must_check;
int enforce_trial_guard(struct enforce *en, int cgroup_fd, struct eg_guard *state, bool wall_only, struct err *e)
	must_check;

#endif
