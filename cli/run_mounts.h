/* run_mounts.h: the mount namespace of a guarded root program. */
#ifndef RUN_MOUNTS_H
#define RUN_MOUNTS_H

#include "run_sandbox.h"

/* Needs CAP_SYS_ADMIN. Makes a private view in which cgroup, sysfs and the writable parts of procfs are
 * read-only, bpffs, debugfs and tracefs are empty, as are systemd's credentials of services, and the daemon's directories hold the
 * trust files only. Host mounts made later still arrive. */
int run_mounts_enter(const struct run_hide *hide, struct err *e) must_check;

/* One line of /proc/self/mountinfo: its mount point, unescaped, and its type. -EBADMSG otherwise. Pure. */
int run_mounts_parse(const char *line, char *point, size_t cap, char type[32]) must_check;

#endif
