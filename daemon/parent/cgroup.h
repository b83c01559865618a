/* cgroup.h: cgroup v2 directories: where they are, ours, and who sits in them. cgroups(7).
 *
 * Layout under <cgroup_root> (default <cgroup2 mount>/agentsecrets.slice, root-owned 0755):
 *	listen/		sockets of the proxy and resolver are born here; holds no process for long
 *	run-<n>/	one per `agentsecrets run`
 * Ids are st_ino of the directory, as bpf_get_current_cgroup_id() says. Paths are absolute.
 */
#ifndef CGROUP_H
#define CGROUP_H

#include "config.h"
#include "err.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* Mount point of the cgroup2 hierarchy from /proc/self/mountinfo (hybrid hosts have it elsewhere than
 * /sys/fs/cgroup). The one that shows the root of the hierarchy is taken before bind mounts of parts. */
int cgroup_mount(char *out, size_t cap, struct err *e) must_check;

/* Fills c->cgroup_root when it is empty; checks that it lies on cgroup2 and not below a directory that
 * a user other than root owns; makes it and listen/. *ret_listen: directory fd of listen/. */
int cgroup_prepare(struct config *c, int *ret_listen, struct err *e) must_check;

/* Makes <cgroup_root>/<name>; -EEXIST when it is there. */
int cgroup_make(const struct config *c, const char *name, int *ret_fd, uint64_t *ret_id, struct err *e) must_check;
int cgroup_open(const struct config *c, const char *name, int *ret_fd, uint64_t *ret_id, struct err *e) must_check;
/* Any directory of cgroup v2, by its path. */
int cgroup_open_path(const char *path, int *ret_fd, uint64_t *ret_id, struct err *e) must_check;
/* Do `path` and all above it up to the mount belong to root? If not, their owner can move what is in them out. */
int cgroup_check_owner(const char *mount, const char *path, struct err *e) must_check;
/* Removes it if nobody is in it; -EBUSY otherwise. */
int cgroup_remove(const struct config *c, const char *name, struct err *e) must_check;

/* Removes listen/ and the slice itself when they are empty; what is not empty stays. */
void cgroup_clear(const struct config *c);

/* Moves a process, all its threads, into the cgroup. */
int cgroup_move(int cgroup_fd, pid_t pid, struct err *e) must_check;

/* Absolute path and id of the cgroup v2 a process sits in. */
int cgroup_of(pid_t pid, char *out, size_t cap, uint64_t *ret_id, struct err *e) must_check;

/* The path of a cgroup by its id, below the mount. -ENOENT: it is gone. */
int cgroup_find(const char *mount, uint64_t id, char *out, size_t cap) must_check;

/* Is path `inner` the directory `outer` or below it. */
bool cgroup_within(const char *outer, const char *inner);

/* Processes in it and below it, by cgroup.events "populated" and cgroup.procs. */
int cgroup_populated(int cgroup_fd, bool *ret) must_check;
size_t cgroup_pids(int cgroup_fd, pid_t *pids, size_t max);

#endif
