/* enforce.c: see enforce.h.
 *
 * Tables (enforce_row(); enforce_programs[] is ours) say what is attached to a guard, another (enforce_listeners[]) what
 * is attached to the cgroup of our listeners. A guard in this process is its id and one link per row of the table; what
 * it may do lives in the kernel's maps, so nothing is lost with us.
 *
 * A guard's pins are made in guards/new-<id> and renamed to guards/<id> when all of them are there and read
 * back: after a crash in between, the next start finds new-<id> and takes it away. A pin that is missing
 * from a complete guard is attached again, its cgroup found by id. Links are detached by BPF_LINK_DETACH,
 * since the holder's duplicates would keep them alive.
 *
 * A guard's rows are those of L1, those of L2 where the kernel has them, and those of L3 only when it lies apart: below
 * the slice they stand at the slice, once for all (levels.c). Without the minimum level nothing is attached.
 */
#include "enforce_in.h"

#include "egress.skel.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

const struct links_row enforce_programs[ENFORCE_PROGRAMS] = {
	{ "egress_skb_out", BPF_CGROUP_INET_EGRESS },
	{ "egress_skb_in", BPF_CGROUP_INET_INGRESS },
	{ "egress_sock_create", BPF_CGROUP_INET_SOCK_CREATE },
	{ "egress_setsockopt", BPF_CGROUP_SETSOCKOPT },
	{ "egress_bind4", BPF_CGROUP_INET4_BIND },
	{ "egress_bind6", BPF_CGROUP_INET6_BIND },
	{ "egress_sockops", BPF_CGROUP_SOCK_OPS },
	{ "egress_getpeername4", BPF_CGROUP_INET4_GETPEERNAME },
	{ "egress_getpeername6", BPF_CGROUP_INET6_GETPEERNAME },
	{ "egress_recvmsg4", BPF_CGROUP_UDP4_RECVMSG },
	{ "egress_recvmsg6", BPF_CGROUP_UDP6_RECVMSG },
	{ "egress_sendmsg4", BPF_CGROUP_UDP4_SENDMSG },
	{ "egress_sendmsg6", BPF_CGROUP_UDP6_SENDMSG },
	{ "egress_connect4", BPF_CGROUP_INET4_CONNECT },
	{ "egress_connect6", BPF_CGROUP_INET6_CONNECT },
};

const struct links_row enforce_listeners[ENFORCE_LISTENERS] = {
	{ "listen_sockops", BPF_CGROUP_SOCK_OPS },
	{ "listen_getsockopt", BPF_CGROUP_GETSOCKOPT },
};

/* ---- rows ------------------------------------------------------------------------------------- */

struct bpf_program *enforce_program(const struct enforce *en, const struct links_row *row)
{
	struct bpf_program *p = bpf_object__find_program_by_name(en->skel->obj, row->name);

	return p ? p : levels_program(en->levels, row->name);
}

const struct links_row *enforce_row(size_t i)
{
	if (i < ENFORCE_PROGRAMS)
		return &enforce_programs[i];
	i -= ENFORCE_PROGRAMS;
	return i < CANARY_UNIX ? &levels_unix[i] : &levels_lsm[i - CANARY_UNIX];
}

/* Does this row stand at the guard's own cgroup. */
bool enforce_wanted(const struct enforce *en, bool apart, size_t i)
{
	if (i < ENFORCE_PROGRAMS)
		return true;
	if (i < ENFORCE_PROGRAMS + CANARY_UNIX)
		return levels_has_unix(en->levels);
	return apart && levels_has_lsm(en->levels);
}

/* ---- guards ------------------------------------------------------------------------------------- */

void enforce_guard_dir(const struct enforce *en, uint64_t id, const char *prefix, char out[ENFORCE_DIR_MAX])
{
	(void)snprintf(out, ENFORCE_DIR_MAX, "%s/guards/%s%" PRIu64, en->dir, prefix, id);
}

struct guard_links *enforce_find(struct enforce *en, uint64_t id)
{
	for (size_t i = 0; i < en->count; i++)
		if (en->guards[i].id == id)
			return &en->guards[i];
	return NULL;
}

struct guard_links *enforce_add(struct enforce *en, const struct guard_links *g)
{
	en->guards[en->count] = *g;
	return &en->guards[en->count++];
}

static void forget(struct enforce *en, struct guard_links *g)
{
	*g = en->guards[--en->count];
}

static int write_state(struct enforce *en, const struct eg_guard *state)
{
	struct eg_guard copy = *state;

	copy.pending = 0; /* lives in the quota map */
	copy.flags &= ~(EG_GUARD_LSM | EG_GUARD_PATHS);
	if (levels_has_lsm(en->levels))
		copy.flags |= EG_GUARD_LSM;
	if (en->paths)
		copy.flags |= EG_GUARD_PATHS;
	if (bpf_map_update_elem(bpf_map__fd(en->skel->maps.guards), &copy.id, &copy, BPF_EXIST) != 0)
		return -errno;
	return 0;
}

/* Closed, whatever stood there: the kernel keeps a cgroup's storage from one attachment to the next. */
static void close_state(struct enforce *en, uint64_t id)
{
	struct eg_guard zero = {};

	(void)bpf_map_update_elem(bpf_map__fd(en->skel->maps.guards), &id, &zero, BPF_EXIST);
}

/* Does the cgroup lie elsewhere than below the slice. What cannot be told counts as apart. */
bool enforce_is_apart(const struct enforce *en, int cgroup_fd)
{
	auto_close int dir = openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat top, st;

	if (fstat(en->slice, &top) != 0)
		return true;
	for (int i = 0; i < ENFORCE_DEPTH_MAX && dir >= 0 && fstat(dir, &st) == 0 && st.st_dev == top.st_dev; i++) {
		auto_close int above = -1;

		if (st.st_ino == top.st_ino)
			return false;
		above = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		own_close(&dir);
		dir = take_fd(&above);
	}
	return true;
}

static int attach_all(struct enforce *en, int cgroup_fd, struct guard_links *g, struct err *e)
{
	int rc = 0;

	g->apart = enforce_is_apart(en, cgroup_fd);
	for (size_t i = 0; !rc && i < ENFORCE_ROWS; i++)
		if (enforce_wanted(en, g->apart, i))
			rc = links_attach(enforce_program(en, enforce_row(i)), cgroup_fd, &g->link[i], e);
	for (size_t i = 0; !rc && i < ENFORCE_ROWS; i++)
		if (enforce_wanted(en, g->apart, i))
			rc = links_in_force(enforce_program(en, enforce_row(i)), enforce_row(i)->type, cgroup_fd, e);
	return rc;
}

void enforce_detach_all(struct guard_links *g)
{
	for (size_t i = 0; i < ENFORCE_ROWS; i++)
		g->link[i] = links_detach(g->link[i]);
}

void enforce_remove_pins(struct enforce *en, uint64_t id, const char *prefix)
{
	char dir[ENFORCE_DIR_MAX];

	enforce_guard_dir(en, id, prefix, dir);
	links_unpin(dir, enforce_programs, ENFORCE_PROGRAMS);
	links_unpin(dir, levels_unix, CANARY_UNIX);
	links_unpin(dir, levels_lsm, CANARY_LSM);
	(void)rmdir(dir);
}

/* Pins all links under new-<id>, then gives the directory its name. */
static int pin_all(struct enforce *en, struct guard_links *g, struct err *e)
{
	char fresh[ENFORCE_DIR_MAX], final[ENFORCE_DIR_MAX];
	int rc;

	enforce_guard_dir(en, g->id, ENFORCE_FRESH, fresh);
	enforce_guard_dir(en, g->id, "", final);
	rc = enforce_make_dir(fresh, e);
	for (size_t i = 0; !rc && i < ENFORCE_ROWS; i++)
		if (g->link[i])
			rc = links_pin(g->link[i], fresh, enforce_row(i)->name, e);
	if (!rc && rename(fresh, final) != 0)
		rc = err_set(e, -errno, "%s cannot be renamed: %s", fresh, strerror(errno));
	return rc;
}

static int check_cgroup(int cgroup_fd, uint64_t id, struct err *e)
{
	struct statfs fs;
	struct stat st;

	if (fstat(cgroup_fd, &st) != 0 || fstatfs(cgroup_fd, &fs) != 0)
		return err_set(e, -errno, "the cgroup cannot be read: %s", strerror(errno));
	if ((unsigned long)fs.f_type != CGROUP2_SUPER_MAGIC)
		return err_set(e, -EINVAL, "programs can be attached to a cgroup of version 2 only");
	if (id == 0 || st.st_ino != id)
		return err_set(e, -EINVAL, "the guard's id %" PRIu64 " is not that of its cgroup, %" PRIu64, id,
			       (uint64_t)st.st_ino);
	return 0;
}

static int check_place(struct enforce *en, int cgroup_fd, uint64_t id, struct err *e)
{
	int rc = check_cgroup(cgroup_fd, id, e);

	if (rc)
		return rc;
	if (enforce_find(en, id))
		return err_set(e, -EEXIST, "this cgroup is guarded already");
	if (en->count == EG_GUARDS_MAX)
		return err_set(e, -ENOSPC, "%d cgroups are guarded, which is the most at once", EG_GUARDS_MAX);
	return enforce_check_path(en, cgroup_fd, e);
}

int enforce_start_quota(struct enforce *en, uint64_t id, struct err *e)
{
	uint64_t zero = 0;

	if (bpf_map_update_elem(bpf_map__fd(en->skel->maps.quota), &id, &zero, BPF_ANY) != 0)
		return err_set(e, -errno, "the guard's quota cannot be written: %s", strerror(errno));
	return 0;
}

int enforce_open_state(struct enforce *en, const struct eg_guard *state, struct err *e)
{
	int rc = write_state(en, state);

	return rc ? err_set(e, rc, "the guard's state cannot be written: %s", strerror(-rc)) : 0;
}

const char *enforce_dir(const struct enforce *en)
{
	return en->dir;
}

uint32_t enforce_level(const struct enforce *en)
{
	uint32_t level = levels_level(en->levels);

	return level == 2 && en->paths ? 1 : level;
}

const char *enforce_missing(const struct enforce *en, uint32_t level)
{
	if (level == 2 && en->paths && levels_level(en->levels) == 2)
		return "\"unix_paths\" is \"allowed\" in the configuration, so that sockets by path are not judged";
	return levels_missing(en->levels, level);
}

bool enforce_reaches_own(const struct enforce *en)
{
	return levels_has_lsm(en->levels) || levels_reaches_own(en->levels);
}

static int check_level(const struct enforce *en, struct err *e)
{
	uint32_t level = enforce_level(en);

	if (level >= en->minimum)
		return 0;
	return err_set(e, -ENOTSUP, "level L%u is in force on this kernel, and minimum_level is L%u; L%u: %s", level,
		       en->minimum, en->minimum, enforce_missing(en, en->minimum));
}

int enforce_attach(struct enforce *en, int cgroup_fd, const struct eg_guard *state, struct err *e)
{
	struct guard_links g = { .id = state->id };
	int rc = check_level(en, e);

	if (!rc)
		rc = check_place(en, cgroup_fd, state->id, e);

	if (rc)
		return rc;
	enforce_purge_guard(en, g.id);
	enforce_remove_pins(en, g.id, ENFORCE_FRESH);
	close_state(en, g.id);
	rc = enforce_start_quota(en, g.id, e);
	if (!rc)
		rc = attach_all(en, cgroup_fd, &g, e);
	if (!rc)
		rc = pin_all(en, &g, e);
	if (!rc)
		rc = enforce_open_state(en, state, e);
	if (!rc) {
		(void)enforce_add(en, &g);
		return 0;
	}
	enforce_detach_all(&g);
	enforce_remove_pins(en, g.id, ENFORCE_FRESH);
	enforce_remove_pins(en, g.id, "");
	enforce_purge_guard(en, g.id);
	return rc;
}

int enforce_set(struct enforce *en, const struct eg_guard *state, struct err *e)
{
	if (!enforce_find(en, state->id))
		return err_set(e, -ENOENT, "no guard %" PRIu64, (uint64_t)state->id);
	return enforce_open_state(en, state, e);
}

int enforce_get(struct enforce *en, uint64_t guard, struct eg_guard *ret)
{
	struct eg_guard state;
	uint64_t pending = 0;

	if (!enforce_find(en, guard))
		return -ENOENT;
	if (bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.guards), &guard, &state) != 0 ||
	    bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.quota), &guard, &pending) != 0)
		return -errno;
	state.pending = pending;
	state.flags &= ~(EG_GUARD_LSM | EG_GUARD_PATHS); /* ours, not the caller's */
	*ret = state;
	return 0;
}

int enforce_detach(struct enforce *en, uint64_t guard, struct err *e)
{
	struct guard_links *g = enforce_find(en, guard);

	if (!g)
		return err_set(e, -ENOENT, "no guard %" PRIu64, guard);
	close_state(en, guard);
	enforce_detach_all(g);
	enforce_remove_pins(en, guard, "");
	enforce_purge_guard(en, guard);
	forget(en, g);
	return 0;
}

size_t enforce_guards(struct enforce *en, uint64_t *ids, size_t max)
{
	size_t n = en->count < max ? en->count : max;

	for (size_t i = 0; i < n; i++)
		ids[i] = en->guards[i].id;
	return n;
}

int enforce_alive(struct enforce *en, uint64_t guard)
{
	const struct guard_links *g = enforce_find(en, guard);
	uint64_t at = 0;
	int rc;

	if (!g)
		return -ENOENT;
	for (size_t i = 0; i < ENFORCE_ROWS; i++) {
		if (!g->link[i])
			continue;
		rc = links_cgroup(g->link[i], &at);
		if (rc)
			return rc;
		if (at != guard)
			return -ENOLINK;
	}
	return 0;
}

size_t enforce_fds(struct enforce *en, uint64_t guard, int *fds, size_t max)
{
	const struct guard_links *g = enforce_find(en, guard);
	struct bpf_map *map;
	size_t n = 0;

	for (size_t i = 0; g && i < ENFORCE_ROWS && n < max; i++)
		if (g->link[i])
			fds[n++] = bpf_link__fd(g->link[i]);
	if (guard)
		return n;
	n += levels_fds(en->levels, fds, max);
	for (size_t i = 0; i < ENFORCE_LISTENERS && n < max; i++)
		fds[n++] = bpf_link__fd(en->listen[i]);
	bpf_object__for_each_map(map, en->skel->obj)
		if (!bpf_map__is_internal(map) && n < max)
			fds[n++] = bpf_map__fd(map);
	return n;
}

void enforce_free_links(struct guard_links *g)
{
	for (size_t i = 0; i < ENFORCE_ROWS; i++)
		g->link[i] = links_free(g->link[i]);
}
