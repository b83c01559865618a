/* enforce.c: see enforce.h.
 *
 * Tables (rows[], of which enforce_programs[] is ours) say what is attached to a guard, another (enforce_listeners[]) what is attached to the
 * cgroup of our listeners. A guard in this process is its id and one link per row of the table; what it
 * may do lives in the kernel's maps, so nothing is lost with us.
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

#include "log.h"
#include "repin.h"

#include "egress.skel.h"

#include <bpf/bpf.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
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

/* ---- libbpf's own words ------------------------------------------------------------------------- */

/* The program that libbpf last said would not load; libbpf's print function has no context. */
static char refused[64];

static int printf_like(2, 0) on_print(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	char text[512], *nl;
	const char *at;

	(void)level;
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	nl = strchr(text, '\n');
	if (nl)
		*nl = '\0';
	at = strstr(text, "prog '");
	if (at && strstr(text, "failed to load"))
		(void)snprintf(refused, sizeof(refused), "%.*s", (int)strcspn(at + 6, "'"), at + 6);
	log_debug("%s", text);
	return 0;
}

/* ---- files under the bpffs ---------------------------------------------------------------------- */

bool enforce_is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

int enforce_make_dir(const char *path, struct err *e)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	return err_set(e, -errno, "%s cannot be made: %s", path, strerror(errno));
}

int enforce_mount_bpffs(const char *path, struct err *e)
{
	int rc;

	if (enforce_is_bpffs(path))
		return 0;
	rc = enforce_make_dir(path, e);
	if (rc)
		return rc;
	if (mount("agentsecrets", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0)
		return err_set(e, -errno, "a bpf filesystem cannot be mounted on %s: %s", path, strerror(errno));
	return 0;
}

int enforce_make_layout(struct enforce *en, const char *bpffs, struct err *e)
{
	static const char *const subs[] = { "", "/maps", "/guards", "/listen", "/lsm" };
	char path[PATH_MAX];
	int rc = enforce_mount_bpffs(bpffs, e);

	(void)snprintf(en->dir, sizeof(en->dir), "%s/v%d", bpffs, EG_LAYOUT);
	for (size_t i = 0; !rc && i < ARRAY_SIZE(subs); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", en->dir, subs[i]);
		rc = enforce_make_dir(path, e);
	}
	return rc;
}

void enforce_guard_dir(const struct enforce *en, uint64_t id, const char *prefix, char out[ENFORCE_DIR_MAX])
{
	(void)snprintf(out, ENFORCE_DIR_MAX, "%s/guards/%s%" PRIu64, en->dir, prefix, id);
}

/* ---- loading ------------------------------------------------------------------------------------ */

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

static int pin_maps(struct enforce *en, struct err *e)
{
	char path[PATH_MAX];
	struct bpf_map *map;
	int rc;

	bpf_object__for_each_map(map, en->skel->obj) {
		if (bpf_map__is_internal(map)) /* .rodata: differs with the configuration */
			continue;
		(void)snprintf(path, sizeof(path), "%s/maps/%s", en->dir, bpf_map__name(map));
		rc = bpf_map__set_pin_path(map, path);
		if (rc)
			return err_set(e, rc, "%s: %s", path, strerror(-rc));
	}
	return 0;
}

static int say_load(int rc, struct err *e)
{
	if (refused[0])
		return err_set(e, rc, "the kernel refused the program %s (%s); Linux 5.15 or newer with "
			       "CONFIG_CGROUP_BPF, and root, are needed", refused, strerror(-rc));
	return err_set(e, rc, "the BPF programs cannot be loaded (%s); Linux 5.15 or newer with "
		       "CONFIG_CGROUP_BPF and CONFIG_DEBUG_INFO_BTF, and root, are needed; or, after an "
		       "upgrade, maps of another shape are pinned", strerror(-rc));
}

/* Loads everything, over the maps pinned in en->dir when there is one. */
int enforce_load(struct enforce *en, uint16_t explicit_port, const struct enforce_held *held, size_t count,
		struct err *e)
{
	int rc;

	refused[0] = '\0';
	en->skel = egress__open();
	if (!en->skel)
		return err_set(e, -errno, "the BPF object cannot be opened: %s", strerror(errno));
	en->skel->rodata->explicit_port = explicit_port;
	rc = en->dir[0] ? pin_maps(en, e) : 0;
	if (rc)
		return rc;
	if (en->dir[0])
		repin_maps(en->skel->obj, en->dir, held, count);
	rc = egress__load(en->skel);
	return rc ? say_load(rc, e) : 0;
}

/* ---- guards ------------------------------------------------------------------------------------- */

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

/* Deletes what a map holds of a guard, whose id is the value's (pending) or the first thing in the key
 * (leases). */
void enforce_purge(struct bpf_map *map, uint64_t id, bool in_value, uint64_t limit)
{
	char key[sizeof(struct eg_unix_path)], next[sizeof(struct eg_unix_path)];
	struct eg_record record;
	uint64_t guard;
	int fd = bpf_map__fd(map);
	bool more = bpf_map_get_next_key(fd, NULL, next) == 0;

	for (uint64_t i = 0; more && i < limit; i++) {
		memcpy(key, next, sizeof(key));
		more = bpf_map_get_next_key(fd, key, next) == 0;
		memcpy(&guard, key, sizeof(guard));
		if (in_value)
			guard = bpf_map_lookup_elem(fd, key, &record) == 0 ? record.guard : 0;
		if (guard == id)
			(void)bpf_map_delete_elem(fd, key);
	}
}

/* Takes a guard's traces out of the shared maps; its programs are attached no more. */
void enforce_purge_guard(struct enforce *en, uint64_t id)
{
	enforce_purge(en->skel->maps.leases, id, false, EG_LEASES_MAX);
	enforce_purge(en->skel->maps.pending, id, true, EG_GUARDS_MAX * EG_PENDING_PER_GUARD);
	enforce_purge(en->skel->maps.exempt, id, false, EG_UNIX_MAX);
	enforce_purge(en->skel->maps.exempt_paths, id, false, EG_UNIX_MAX);
	(void)bpf_map_delete_elem(bpf_map__fd(en->skel->maps.quota), &id);
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

/* ---- open and close ----------------------------------------------------------------------------- */

static int on_event(void *ctx, void *data, size_t size)
{
	struct enforce *en = ctx;
	struct eg_event ev;

	if (size != sizeof(ev) || !en->fn)
		return 0;
	memcpy(&ev, data, sizeof(ev));
	en->fn(en->ctx, &ev);
	return 0;
}

struct enforce *enforce_new(void)
{
	struct enforce *en = calloc(1, sizeof(*en));

	if (!en)
		return NULL;
	en->slice = -1;
	en->guards = calloc(EG_GUARDS_MAX, sizeof(*en->guards));
	if (!en->guards) {
		free(en);
		return NULL;
	}
	libbpf_set_print(on_print);
	return en;
}

static void tell_level(const struct enforce *en)
{
	uint32_t level = enforce_level(en);

	if (level == 3)
		log_info("level L3 is in force");
	else
		log_info("level L%u is in force; L%u: %s", level, level + 1, enforce_missing(en, level + 1));
	if (level < en->minimum)
		log_warn("minimum_level is L%u: no guard will be made", en->minimum);
}

static int open_all(struct enforce *en, const struct config *c, int listen_cgroup, const struct enforce_held *held,
		    size_t count, struct err *e)
{
	char pins[ENFORCE_DIR_MAX];
	int rc = enforce_make_layout(en, c->bpffs, e);

	bool older = !rc && repin_older(en->dir);

	if (!rc)
		rc = enforce_load(en, c->explicit_port, held, older ? 0 : count, e);
	if (rc)
		return rc;
	repin_guards(en->dir, held, count);
	en->minimum = c->minimum_level;
	en->paths = c->unix_paths == CONFIG_PATHS_ALLOWED;
	en->slice = openat(listen_cgroup, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	en->ring = ring_buffer__new(bpf_map__fd(en->skel->maps.events), on_event, en, NULL);
	if (en->slice < 0 || !en->ring)
		return err_set(e, -errno, "the kernel's events cannot be read: %s", strerror(errno));
	(void)snprintf(pins, sizeof(pins), "%s/lsm", en->dir);
	rc = levels_open(en->skel->obj, en->slice, pins, LEVELS_WANT_UNIX | LEVELS_WANT_LSM, &en->levels, e);
	if (!rc)
		tell_level(en);
	if (!rc)
		rc = enforce_restore_guards(en, e);
	if (!rc)
		rc = enforce_restore_listen(en, listen_cgroup, e);
	if (!rc)
		enforce_drop_others(en, held, count);
	if (!rc && older)
		repin_drop_older(en->dir);
	return rc;
}

int enforce_open(const struct config *c, int listen_cgroup, struct enforce **ret, struct err *e)
{
	return enforce_open_held(c, listen_cgroup, NULL, 0, ret, e);
}

int enforce_open_held(const struct config *c, int listen_cgroup, const struct enforce_held *held, size_t count,
		      struct enforce **ret, struct err *e)
{
	struct enforce *en = enforce_new();
	int rc;

	if (!en)
		return err_set(e, -ENOMEM, "out of memory");
	rc = open_all(en, c, listen_cgroup, held, count, e);
	if (rc) {
		(void)enforce_close(en);
		return rc;
	}
	*ret = en;
	return 0;
}

struct enforce *enforce_close(struct enforce *en)
{
	if (!en)
		return NULL;
	for (size_t i = 0; i < en->count; i++)
		enforce_free_links(&en->guards[i]);
	for (size_t i = 0; i < ENFORCE_LISTENERS; i++)
		en->listen[i] = links_free(en->listen[i]);
	en->levels = levels_close(en->levels);
	ring_buffer__free(en->ring);
	egress__destroy(en->skel);
	own_close(&en->slice);
	free(en->guards);
	free(en);
	return NULL;
}

/* Was this bpffs mounted by enforce_mount_bpffs(): by its source, in proc(5)'s mounts. */
static bool is_ours(const char *path)
{
	FILE *f = fopen("/proc/self/mounts", "re");
	char line[PATH_MAX + 256], want[ENFORCE_DIR_MAX + 32];
	bool ours = false;

	if (!f)
		return false;
	(void)snprintf(want, sizeof(want), "agentsecrets %s bpf ", path);
	while (!ours && fgets(line, sizeof(line), f))
		ours = strncmp(line, want, strlen(want)) == 0;
	(void)fclose(f);
	return ours;
}

int enforce_remove(struct enforce *en)
{
	static const char *const subs[] = { "/maps", "/guards", "/listen", "/lsm", "" };
	char path[ENFORCE_DIR_MAX];
	struct bpf_map *map;

	if (en->count)
		return -EBUSY;
	for (size_t i = 0; i < ENFORCE_LISTENERS; i++)
		en->listen[i] = links_detach(en->listen[i]);
	levels_remove(en->levels);
	(void)snprintf(path, sizeof(path), "%s/listen", en->dir);
	links_unpin(path, enforce_listeners, ENFORCE_LISTENERS);
	bpf_object__for_each_map(map, en->skel->obj)
		if (bpf_map__is_pinned(map))
			(void)bpf_map__unpin(map, NULL);
	for (size_t i = 0; i < ARRAY_SIZE(subs); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", en->dir, subs[i]);
		(void)rmdir(path);
	}
	*strrchr(en->dir, '/') = '\0';
	if (is_ours(en->dir))
		(void)umount2(en->dir, UMOUNT_NOFOLLOW);
	return 0;
}

/* ---- events, leases, counters ------------------------------------------------------------------- */

int enforce_events_fd(struct enforce *en)
{
	return ring_buffer__epoll_fd(en->ring);
}

int enforce_events(struct enforce *en, enforce_event_fn *fn, void *ctx)
{
	int n;

	en->fn = fn;
	en->ctx = ctx;
	n = ring_buffer__consume(en->ring);
	en->fn = NULL;
	en->ctx = NULL;
	return n < 0 ? n : 0;
}

int enforce_lease(struct enforce *en, const struct eg_lease_key *key, const struct eg_lease *lease)
{
	if (!enforce_find(en, key->guard))
		return -ENOENT;
	if (bpf_map_update_elem(bpf_map__fd(en->skel->maps.leases), key, lease, BPF_ANY) != 0)
		return -errno;
	return 0;
}

bool enforce_leased(struct enforce *en, const struct eg_lease_key *key, uint64_t now_ns)
{
	struct eg_lease lease;

	return bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.leases), key, &lease) == 0 && lease.expires > now_ns;
}

/* Is the key among those that stay; both kinds begin with the guard. */
static bool is_listed(const void *key, size_t size, const struct enforce_exempt *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (memcmp(key, size == sizeof(list->key) ? (const void *)&list[i].key : &list[i].path, size) == 0)
			return true;
	return false;
}

static void drop_exempt(struct bpf_map *map, uint64_t guard, const struct enforce_exempt *list, size_t count)
{
	char key[sizeof(struct eg_unix_path)], next[sizeof(struct eg_unix_path)];
	int fd = bpf_map__fd(map);
	bool more = bpf_map_get_next_key(fd, NULL, next) == 0;

	for (size_t i = 0; more && i < EG_UNIX_MAX; i++) {
		memcpy(key, next, sizeof(key));
		more = bpf_map_get_next_key(fd, key, next) == 0;
		if (memcmp(key, &guard, sizeof(guard)) == 0 && !is_listed(key, bpf_map__key_size(map), list, count))
			(void)bpf_map_delete_elem(fd, key);
	}
}

int enforce_exempt(struct enforce *en, uint64_t guard, struct enforce_exempt *list, size_t count)
{
	int keys = bpf_map__fd(en->skel->maps.exempt), paths = bpf_map__fd(en->skel->maps.exempt_paths), rc = 0;
	const uint64_t one = 1;

	for (size_t i = 0; i < count; i++)
		list[i].key.guard = list[i].path.guard = guard;
	drop_exempt(en->skel->maps.exempt, guard, list, count);
	drop_exempt(en->skel->maps.exempt_paths, guard, list, count);
	for (size_t i = 0; i < count; i++) {
		if (list[i].key.kind && bpf_map_update_elem(keys, &list[i].key, &one, BPF_ANY) != 0)
			rc = -errno;
		if (list[i].path.family && bpf_map_update_elem(paths, &list[i].path, &list[i].mounts, BPF_ANY) != 0)
			rc = -errno;
	}
	return rc;
}

void enforce_unlease(struct enforce *en, uint64_t guard)
{
	enforce_purge(en->skel->maps.leases, guard, false, EG_LEASES_MAX);
}

void enforce_sweep(struct enforce *en, uint64_t now_ns)
{
	int fd = bpf_map__fd(en->skel->maps.leases);
	struct eg_lease_key key, next;
	struct eg_lease lease;
	bool more = bpf_map_get_next_key(fd, NULL, &next) == 0;

	for (size_t i = 0; more && i < EG_LEASES_MAX; i++) {
		key = next;
		more = bpf_map_get_next_key(fd, &key, &next) == 0;
		if (bpf_map_lookup_elem(fd, &key, &lease) == 0 && lease.expires <= now_ns)
			(void)bpf_map_delete_elem(fd, &key);
	}
}

int enforce_told(struct enforce *en, uint64_t lost)
{
	int cpus = libbpf_num_possible_cpus();
	auto_free uint64_t *each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;
	uint32_t index = EG_STAT_EVENTS_TOLD;

	if (!each)
		return cpus < 0 ? cpus : -ENOMEM;
	each[0] = lost;
	return bpf_map_update_elem(bpf_map__fd(en->skel->maps.stats), &index, each, BPF_ANY) ? -errno : 0;
}

int enforce_stats(struct enforce *en, uint64_t stats[EG_STAT_COUNT])
{
	int cpus = libbpf_num_possible_cpus();
	auto_free uint64_t *each = cpus > 0 ? calloc((size_t)cpus, sizeof(*each)) : NULL;
	uint64_t sums[EG_STAT_COUNT] = {};

	if (!each)
		return cpus < 0 ? cpus : -ENOMEM;
	for (uint32_t i = 0; i < EG_STAT_COUNT; i++) {
		if (bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.stats), &i, each) != 0)
			return -errno;
		for (int cpu = 0; cpu < cpus; cpu++)
			sums[i] += each[cpu];
	}
	memcpy(stats, sums, sizeof(sums));
	return 0;
}
