/* links.h: one program on one cgroup: attached, read back, pinned, taken up again, detached.
 *
 * For enforce.c and levels.c, which say what is attached where. A pin is <dir>/<name of the program>.
 */
#ifndef LINKS_H
#define LINKS_H

#include "err.h"
#include "own.h"

#include <stddef.h>
#include <stdint.h>

struct bpf_link;
struct bpf_program;

#define LINKS_DIR_MAX 264  /* a directory of pins */
#define LINKS_EFFECTIVE_MAX 128 /* programs of one type that may be in force on a cgroup (the kernel: 64 each) */

struct links_row {
	const char *name; /* of the program and of its pin */
	uint32_t type;	  /* enum bpf_attach_type; some are newer than the build's headers */
};

int links_attach(struct bpf_program *prog, int cgroup_fd, struct bpf_link **ret, struct err *e) must_check;

/* Is the program in force on the cgroup, as the kernel says. */
int links_in_force(struct bpf_program *prog, uint32_t type, int cgroup_fd, struct err *e) must_check;

int links_pin(struct bpf_link *link, const char *dir, const char *name, struct err *e) must_check;

/* The pinned link of the cgroup `id`, now running `prog`. -ENOENT: no pin. -ENOLINK: its cgroup is gone, or it is
 * another one. */
int links_take(struct bpf_program *prog, const char *dir, const char *name, uint64_t id, struct bpf_link **ret)
	must_check;

void links_unpin(const char *dir, const struct links_row *rows, size_t count);

/* The cgroup that a link is attached to; 0 when that is gone. */
int links_cgroup(const struct bpf_link *link, uint64_t *ret) must_check;

/* Both answer NULL. free: ours only, a pin keeps it attached. detach: opens the gate of this one link, whoever else
 * holds a descriptor of it. */
struct bpf_link *links_free(struct bpf_link *link);
struct bpf_link *links_detach(struct bpf_link *link);

#endif
