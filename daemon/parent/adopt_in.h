/* adopt_in.h: what the files of adopt share. adopt_look.c finds what a tree has, adopt_judge.c says what may be done with
 * it, adopt.c does it.
 */
#ifndef ADOPT_IN_H
#define ADOPT_IN_H

#include "adopt.h"
#include "links.h"

#define ADOPT_ROWS        14 /* programs on a birth cgroup */
#define ADOPT_CGROUPS_MAX 64 /* birth cgroups of all guards */

struct adopt_birth {
	uint64_t id;
	struct bpf_link *link[ADOPT_ROWS];
};

struct adopt {
	struct adopted *skel;
	struct fds *fds;
	char dir[LINKS_DIR_MAX]; /* <bpffs>/v<EG_LAYOUT> */
	struct adopt_birth births[ADOPT_CGROUPS_MAX];
	size_t count;
};

/* A duplicate of the process's descriptor, still the same file; else -ESTALE, or why it cannot be had. */
int adopt_dup(const struct fds_socket *s, int *ret) must_check;

#endif
