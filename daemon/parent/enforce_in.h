/* enforce_in.h: what the files of enforce share. enforce_open.c loads the programs, enforce.c attaches them to guards and
 * pins, enforce_maps.c is what goes through the maps, enforce_restore.c takes up what is pinned, enforce_path.c looks for
 * programs of others, enforce_trial.c is for doctor.c.
 */
#ifndef ENFORCE_IN_H
#define ENFORCE_IN_H

#include "enforce.h"
#include "levels.h"
#include "links.h"

struct bpf_map;

#define ENFORCE_PROGRAMS  15
#define ENFORCE_LISTENERS 2
#define ENFORCE_ROWS      (ENFORCE_PROGRAMS + CANARY_UNIX + CANARY_LSM)
#define ENFORCE_DIR_MAX   (CONFIG_PATH_MAX + 64) /* a guard's directory of pins */
#define ENFORCE_DEPTH_MAX 64 /* cgroup directories between a guard and the root */
#define ENFORCE_FRESH                                                                              \
	"new-" /* prefix of a directory that is being made; bpffs takes no dot in a name */

extern const struct links_row enforce_programs[ENFORCE_PROGRAMS];
extern const struct links_row enforce_listeners[ENFORCE_LISTENERS];

struct guard_links {
	uint64_t id;
	bool apart; /* not below the slice: the LSM programs stand at its own cgroup */
	struct bpf_link *link[ENFORCE_ROWS];
};

struct enforce {
	struct egress *skel;
	struct ring_buffer *ring;
	char dir[CONFIG_PATH_MAX + 16]; /* <bpffs>/v<EG_LAYOUT> */
	struct levels *levels;
	uint32_t minimum; /* level without which no guard is made */
	bool paths;       /* unix sockets by path are not judged */
	int slice;        /* parent of the guards that `run` makes; and any directory of cgroup2 */
	struct bpf_link *listen[ENFORCE_LISTENERS];
	struct guard_links *guards; /* EG_GUARDS_MAX */
	size_t count;
	enforce_event_fn *fn; /* while enforce_events() runs */
	void *ctx;
};

/* Files under the bpffs. A guard's directory: guards/<prefix><id>. */
bool enforce_is_bpffs(const char *path);
int enforce_make_dir(const char *path, struct err *e) must_check;
int enforce_mount_bpffs(const char *path, struct err *e) must_check;
int enforce_make_layout(struct enforce *en, const char *bpffs, struct err *e) must_check;
bool enforce_is_apart(const struct enforce *en, int cgroup_fd); /* elsewhere than below the slice */
void enforce_guard_dir(const struct enforce *en, uint64_t id, const char *prefix,
		       char out[ENFORCE_DIR_MAX]);

/* Rows of what is attached to a guard, L1 to L3; whether one stands at the guard's own cgroup. */
struct bpf_program *enforce_program(const struct enforce *en, const struct links_row *row);
const struct links_row *enforce_row(size_t i);
bool enforce_wanted(const struct enforce *en, bool apart, size_t i);
/* Loads everything, over the maps pinned in en->dir when there is one. */
int enforce_load(struct enforce *en, uint16_t explicit_port, const struct enforce_held *held,
		 size_t count, struct err *e) must_check;

/* A guard and its traces in the maps. */
struct guard_links *enforce_find(struct enforce *en, uint64_t id);
struct guard_links *enforce_add(struct enforce *en, const struct guard_links *g);
int enforce_purge(struct bpf_map *map, uint64_t id, bool in_value, uint64_t limit);
void enforce_purge_guard(struct enforce *en, uint64_t id);
void enforce_detach_all(struct guard_links *g);
void enforce_remove_pins(struct enforce *en, uint64_t id, const char *prefix);
int enforce_start_quota(struct enforce *en, uint64_t id, struct err *e) must_check;
int enforce_open_state(struct enforce *en, const struct eg_guard *state, struct err *e) must_check;
void enforce_free_links(struct guard_links *g);

/* enforce_restore.c */
int enforce_restore_guards(struct enforce *en, struct err *e) must_check;
int enforce_restore_listen(struct enforce *en, int cgroup_fd, struct err *e) must_check;
void enforce_drop_others(struct enforce *en, const struct enforce_held *held, size_t count);

struct enforce *enforce_new(void);

/* enforce_maps.c: makes en->ring. */
int enforce_events_open(struct enforce *en) must_check;

#endif
