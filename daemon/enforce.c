/* enforce.c: see enforce.h.
 *
 * One table (programs[]) says what is attached to a guard, another (listeners[]) what is attached to the
 * cgroup of our listeners. A guard in this process is its id and one link per row of the table; what it
 * may do lives in the kernel's maps, so nothing is lost with us.
 *
 * A guard's pins are made in guards/new-<id> and renamed to guards/<id> when all of them are there and read
 * back: after a crash in between, the next start finds new-<id> and takes it away. A pin that is missing
 * from a complete guard is attached again, its cgroup found by id. Links are detached by BPF_LINK_DETACH,
 * since the holder's duplicates would keep them alive.
 *
 * The checks of `doctor` are in the last part: they load the programs once more, over maps of their own.
 */
#include "enforce.h"

#include "cgroup.h"
#include "log.h"

#include "egress.skel.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <time.h>

#define PROGRAMS 15
#define LISTENERS 2
#define DIR_MAX (CONFIG_PATH_MAX + 64) /* a guard's directory of pins */
#define DEPTH_MAX 64	     /* cgroup directories between a guard and the root */
#define EFFECTIVE_MAX 128    /* programs of one type that may be in force on a cgroup (the kernel: 64 each) */
#define KERNFS_HANDLE 0xfe   /* FILEID_KERNFS: a file handle that is the 64-bit inode number */

struct row {
	const char *name; /* of the program and of its pin */
	enum bpf_attach_type type;
};

static const struct row programs[PROGRAMS] = {
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

static const struct row listeners[LISTENERS] = {
	{ "listen_sockops", BPF_CGROUP_SOCK_OPS },
	{ "listen_getsockopt", BPF_CGROUP_GETSOCKOPT },
};

struct guard_links {
	uint64_t id;
	struct bpf_link *link[PROGRAMS];
};

struct enforce {
	struct egress *skel;
	struct ring_buffer *ring;
	char dir[CONFIG_PATH_MAX + 16]; /* <bpffs>/v<EG_LAYOUT> */
	int cgroup2;			/* any directory of the cgroup2 mount, to open others by id */
	struct bpf_link *listen[LISTENERS];
	struct guard_links *guards;	/* EG_GUARDS_MAX */
	size_t count;
	enforce_event_fn *fn;		/* while enforce_events() runs */
	void *ctx;
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

static bool is_bpffs(const char *path)
{
	struct statfs fs;

	return statfs(path, &fs) == 0 && (unsigned long)fs.f_type == BPF_FS_MAGIC;
}

static int make_dir(const char *path, struct err *e)
{
	if (mkdir(path, 0700) == 0 || errno == EEXIST)
		return 0;
	return err_set(e, -errno, "%s cannot be made: %s", path, strerror(errno));
}

static int mount_bpffs(const char *path, struct err *e)
{
	int rc;

	if (is_bpffs(path))
		return 0;
	rc = make_dir(path, e);
	if (rc)
		return rc;
	if (mount("agentsecrets", path, "bpf", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0700") != 0)
		return err_set(e, -errno, "a bpf filesystem cannot be mounted on %s: %s", path, strerror(errno));
	return 0;
}

static int make_layout(struct enforce *en, const char *bpffs, struct err *e)
{
	static const char *const subs[] = { "", "/maps", "/guards", "/listen" };
	char path[PATH_MAX];
	int rc = mount_bpffs(bpffs, e);

	(void)snprintf(en->dir, sizeof(en->dir), "%s/v%d", bpffs, EG_LAYOUT);
	for (size_t i = 0; !rc && i < ARRAY_SIZE(subs); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", en->dir, subs[i]);
		rc = make_dir(path, e);
	}
	return rc;
}

#define FRESH "new-" /* prefix of a directory that is being made; bpffs takes no dot in a name */

static void guard_dir(const struct enforce *en, uint64_t id, const char *prefix, char out[DIR_MAX])
{
	(void)snprintf(out, DIR_MAX, "%s/guards/%s%" PRIu64, en->dir, prefix, id);
}

/* ---- loading ------------------------------------------------------------------------------------ */

static struct bpf_program *program_of(const struct enforce *en, const struct row *row)
{
	return bpf_object__find_program_by_name(en->skel->obj, row->name);
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
static int load(struct enforce *en, uint16_t explicit_port, struct err *e)
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
	rc = egress__load(en->skel);
	return rc ? say_load(rc, e) : 0;
}

/* ---- links -------------------------------------------------------------------------------------- */

/* The cgroup that a link is attached to; 0 when that is gone. */
static int link_cgroup(const struct bpf_link *link, uint64_t *ret)
{
	struct bpf_link_info info = {};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(bpf_link__fd(link), &info, &len) != 0)
		return -errno;
	*ret = info.cgroup.cgroup_id;
	return 0;
}

static struct bpf_link *link_free(struct bpf_link *link)
{
	(void)bpf_link__destroy(link);
	return NULL;
}

/* Opens the gate of this one link, whoever else holds a descriptor of it. */
static struct bpf_link *link_detach(struct bpf_link *link)
{
	if (link)
		(void)bpf_link__detach(link);
	return link_free(link);
}

static int attach_one(struct enforce *en, const struct row *row, int cgroup_fd, struct bpf_link **ret,
		      struct err *e)
{
	struct bpf_link *link = bpf_program__attach_cgroup(program_of(en, row), cgroup_fd);

	if (!link)
		return err_set(e, -errno, "the program %s cannot be attached: %s", row->name, strerror(errno));
	*ret = link;
	return 0;
}

static int pin_one(struct bpf_link *link, const char *dir, const struct row *row, struct err *e)
{
	char path[PATH_MAX];
	int rc;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, row->name);
	if (unlink(path) != 0 && errno != ENOENT)
		return err_set(e, -errno, "%s cannot be replaced: %s", path, strerror(errno));
	rc = bpf_link__pin(link, path);
	return rc ? err_set(e, rc, "%s cannot be pinned: %s", path, strerror(-rc)) : 0;
}

/* A pinned link of the cgroup `id`, running our program. -ENOENT: no pin. -ENOLINK: its cgroup is gone, or
 * it is another one. */
static int take_one(struct enforce *en, const char *dir, const struct row *row, uint64_t id,
		    struct bpf_link **ret)
{
	struct bpf_link *link;
	char path[PATH_MAX];
	uint64_t at = 0;
	int rc;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, row->name);
	link = bpf_link__open(path);
	if (!link)
		return -errno;
	rc = link_cgroup(link, &at);
	if (!rc && at != id)
		rc = -ENOLINK;
	if (!rc)
		rc = bpf_link__update_program(link, program_of(en, row));
	if (rc) {
		(void)link_free(link);
		return rc;
	}
	*ret = link;
	return 0;
}

static void unpin_all(const char *dir, const struct row *rows, size_t count)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < count; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, rows[i].name);
		(void)unlink(path);
	}
}

/* Is the program in force on the cgroup, as the kernel says. */
static int check_effective(struct enforce *en, const struct row *row, int cgroup_fd, struct err *e)
{
	uint32_t ids[EFFECTIVE_MAX], count = EFFECTIVE_MAX, len = sizeof(struct bpf_prog_info);
	struct bpf_prog_info info = {};

	if (bpf_obj_get_info_by_fd(bpf_program__fd(program_of(en, row)), &info, &len) != 0 ||
	    bpf_prog_query(cgroup_fd, row->type, BPF_F_QUERY_EFFECTIVE, NULL, ids, &count) != 0)
		return err_set(e, -errno, "the attached programs cannot be read back: %s", strerror(errno));
	for (uint32_t i = 0; i < count && i < EFFECTIVE_MAX; i++)
		if (ids[i] == info.id)
			return 0;
	return err_set(e, -EPROTO, "the program %s was attached but is not in force", row->name);
}

/* ---- programs of others ------------------------------------------------------------------------- */

static void name_of(uint32_t id, char out[BPF_OBJ_NAME_LEN])
{
	struct bpf_prog_info info = {};
	uint32_t len = sizeof(info);
	auto_close int fd = bpf_prog_get_fd_by_id(id);

	if (fd < 0 || bpf_obj_get_info_by_fd(fd, &info, &len) != 0)
		info.name[0] = '\0';
	(void)snprintf(out, BPF_OBJ_NAME_LEN, "%s", info.name[0] ? info.name : "unnamed");
}

/* A program that was attached to this very directory without ALLOW_MULTI is either in our way (exclusive)
 * or would be put out of force below it by ours (ALLOW_OVERRIDE). */
static int check_exclusive_at(int dir, struct err *e)
{
	char name[BPF_OBJ_NAME_LEN];

	for (size_t i = 0; i < PROGRAMS; i++) {
		uint32_t ids[EFFECTIVE_MAX], count = EFFECTIVE_MAX, flags = 0;

		if (bpf_prog_query(dir, programs[i].type, 0, &flags, ids, &count) != 0)
			return err_set(e, -errno, "the programs of the cgroup cannot be read: %s",
				       strerror(errno));
		if (count == 0 || (flags & BPF_F_ALLOW_MULTI))
			continue;
		name_of(ids[0], name);
		return err_set(e, -EPERM, "the BPF program \"%s\" (id %u) is attached to this cgroup or one "
			       "above it and allows no other; for a systemd unit, remove IPAddressAllow= and "
			       "IPAddressDeny= or set Delegate=yes", name, ids[0]);
	}
	return 0;
}

/* The cgroup itself and each directory above it that is still on cgroup2. */
static int check_exclusive(int cgroup_fd, struct err *e)
{
	auto_close int dir = openat(cgroup_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct statfs fs;
	struct stat st, up;
	int rc;

	for (int i = 0; i < DEPTH_MAX; i++) {
		auto_close int above = -1;

		if (dir < 0 || fstat(dir, &st) != 0)
			return err_set(e, -errno, "the cgroup cannot be read: %s", strerror(errno));
		rc = check_exclusive_at(dir, e);
		if (rc)
			return rc;
		above = openat(dir, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (above < 0 || fstat(above, &up) != 0 || fstatfs(above, &fs) != 0)
			return err_set(e, -errno, "the cgroup's parent cannot be read: %s", strerror(errno));
		if (up.st_dev != st.st_dev || up.st_ino == st.st_ino ||
		    (unsigned long)fs.f_type != CGROUP2_SUPER_MAGIC)
			return 0;
		own_close(&dir);
		dir = take_fd(&above);
	}
	return err_set(e, -ELOOP, "the cgroup lies more than %d levels deep", DEPTH_MAX);
}

/* ---- guards ------------------------------------------------------------------------------------- */

static struct guard_links *find(struct enforce *en, uint64_t id)
{
	for (size_t i = 0; i < en->count; i++)
		if (en->guards[i].id == id)
			return &en->guards[i];
	return NULL;
}

static struct guard_links *add(struct enforce *en, const struct guard_links *g)
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
static void purge(struct bpf_map *map, uint64_t id, bool in_value, uint64_t limit)
{
	char key[sizeof(struct eg_tuple)], next[sizeof(struct eg_tuple)];
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
static void purge_guard(struct enforce *en, uint64_t id)
{
	purge(en->skel->maps.leases, id, false, EG_LEASES_MAX);
	purge(en->skel->maps.pending, id, true, EG_GUARDS_MAX * EG_PENDING_PER_GUARD);
	(void)bpf_map_delete_elem(bpf_map__fd(en->skel->maps.quota), &id);
}

static int write_state(struct enforce *en, const struct eg_guard *state)
{
	struct eg_guard copy = *state;

	copy.pending = 0; /* lives in the quota map */
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

static int attach_all(struct enforce *en, int cgroup_fd, struct guard_links *g, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < PROGRAMS; i++)
		rc = attach_one(en, &programs[i], cgroup_fd, &g->link[i], e);
	for (size_t i = 0; !rc && i < PROGRAMS; i++)
		rc = check_effective(en, &programs[i], cgroup_fd, e);
	return rc;
}

static void detach_all(struct guard_links *g)
{
	for (size_t i = 0; i < PROGRAMS; i++)
		g->link[i] = link_detach(g->link[i]);
}

static void remove_pins(struct enforce *en, uint64_t id, const char *prefix)
{
	char dir[DIR_MAX];

	guard_dir(en, id, prefix, dir);
	unpin_all(dir, programs, PROGRAMS);
	(void)rmdir(dir);
}

/* Pins all links under new-<id>, then gives the directory its name. */
static int pin_all(struct enforce *en, struct guard_links *g, struct err *e)
{
	char fresh[DIR_MAX], final[DIR_MAX];
	int rc;

	guard_dir(en, g->id, FRESH, fresh);
	guard_dir(en, g->id, "", final);
	rc = make_dir(fresh, e);
	for (size_t i = 0; !rc && i < PROGRAMS; i++)
		rc = pin_one(g->link[i], fresh, &programs[i], e);
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
	if (find(en, id))
		return err_set(e, -EEXIST, "this cgroup is guarded already");
	if (en->count == EG_GUARDS_MAX)
		return err_set(e, -ENOSPC, "%d cgroups are guarded, which is the most at once", EG_GUARDS_MAX);
	return check_exclusive(cgroup_fd, e);
}

static int start_quota(struct enforce *en, uint64_t id, struct err *e)
{
	uint64_t zero = 0;

	if (bpf_map_update_elem(bpf_map__fd(en->skel->maps.quota), &id, &zero, BPF_ANY) != 0)
		return err_set(e, -errno, "the guard's quota cannot be written: %s", strerror(errno));
	return 0;
}

static int open_state(struct enforce *en, const struct eg_guard *state, struct err *e)
{
	int rc = write_state(en, state);

	return rc ? err_set(e, rc, "the guard's state cannot be written: %s", strerror(-rc)) : 0;
}

int enforce_attach(struct enforce *en, int cgroup_fd, const struct eg_guard *state, struct err *e)
{
	struct guard_links g = { .id = state->id };
	int rc = check_place(en, cgroup_fd, state->id, e);

	if (rc)
		return rc;
	purge_guard(en, g.id);
	remove_pins(en, g.id, FRESH);
	close_state(en, g.id);
	rc = start_quota(en, g.id, e);
	if (!rc)
		rc = attach_all(en, cgroup_fd, &g, e);
	if (!rc)
		rc = pin_all(en, &g, e);
	if (!rc)
		rc = open_state(en, state, e);
	if (!rc) {
		(void)add(en, &g);
		return 0;
	}
	detach_all(&g);
	remove_pins(en, g.id, FRESH);
	remove_pins(en, g.id, "");
	purge_guard(en, g.id);
	return rc;
}

int enforce_set(struct enforce *en, const struct eg_guard *state, struct err *e)
{
	if (!find(en, state->id))
		return err_set(e, -ENOENT, "no guard %" PRIu64, (uint64_t)state->id);
	return open_state(en, state, e);
}

int enforce_get(struct enforce *en, uint64_t guard, struct eg_guard *ret)
{
	struct eg_guard state;
	uint64_t pending = 0;

	if (!find(en, guard))
		return -ENOENT;
	if (bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.guards), &guard, &state) != 0 ||
	    bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.quota), &guard, &pending) != 0)
		return -errno;
	state.pending = pending;
	*ret = state;
	return 0;
}

int enforce_detach(struct enforce *en, uint64_t guard, struct err *e)
{
	struct guard_links *g = find(en, guard);

	if (!g)
		return err_set(e, -ENOENT, "no guard %" PRIu64, guard);
	close_state(en, guard);
	detach_all(g);
	remove_pins(en, guard, "");
	purge_guard(en, guard);
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
	const struct guard_links *g = find(en, guard);
	uint64_t at = 0;
	int rc;

	if (!g)
		return -ENOENT;
	for (size_t i = 0; i < PROGRAMS; i++) {
		rc = link_cgroup(g->link[i], &at);
		if (rc)
			return rc;
		if (at != guard)
			return -ENOLINK;
	}
	return 0;
}

size_t enforce_fds(struct enforce *en, uint64_t guard, int *fds, size_t max)
{
	const struct guard_links *g = find(en, guard);
	struct bpf_map *map;
	size_t n = 0;

	for (size_t i = 0; g && i < PROGRAMS && n < max; i++)
		fds[n++] = bpf_link__fd(g->link[i]);
	if (guard)
		return n;
	for (size_t i = 0; i < LISTENERS && n < max; i++)
		fds[n++] = bpf_link__fd(en->listen[i]);
	bpf_object__for_each_map(map, en->skel->obj)
		if (!bpf_map__is_internal(map) && n < max)
			fds[n++] = bpf_map__fd(map);
	return n;
}

/* ---- taking up what is pinned ------------------------------------------------------------------- */

/* The cgroup with this id, or -errno. */
static int cgroup_by_id(const struct enforce *en, uint64_t id)
{
	union {
		struct file_handle h;
		char bytes[sizeof(struct file_handle) + sizeof(uint64_t)];
	} u = { .h = { .handle_bytes = sizeof(uint64_t), .handle_type = KERNFS_HANDLE } };
	int fd;

	memcpy(u.bytes + sizeof(struct file_handle), &id, sizeof(id));
	fd = open_by_handle_at(en->cgroup2, &u.h, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* A live guard that lacks a pin: attaches the program again and pins it. */
static int mend_one(struct enforce *en, const char *dir, const struct row *row, uint64_t id,
		    struct bpf_link **ret, struct err *e)
{
	auto_close int cgroup = cgroup_by_id(en, id);
	int rc;

	if (cgroup < 0)
		return cgroup == -ESTALE ? -ENOLINK : err_set(e, cgroup, "the cgroup of guard %" PRIu64
							      ": %s", id, strerror(-cgroup));
	log_warn("guard %" PRIu64 " had lost its %s; attached again", id, row->name);
	rc = attach_one(en, row, cgroup, ret, e);
	return rc ? rc : pin_one(*ret, dir, row, e);
}

/* All links of a guard. -ENOLINK: its cgroup is gone. */
static int take_guard(struct enforce *en, const char *dir, struct guard_links *g, struct err *e)
{
	for (size_t i = 0; i < PROGRAMS; i++) {
		int rc = take_one(en, dir, &programs[i], g->id, &g->link[i]);

		if (rc == -ENOENT)
			rc = mend_one(en, dir, &programs[i], g->id, &g->link[i], e);
		else if (rc && rc != -ENOLINK)
			(void)err_set(e, rc, "guard %" PRIu64 ": the program %s cannot be swapped: %s", g->id,
				      programs[i].name, strerror(-rc));
		if (rc)
			return rc;
	}
	return 0;
}

static void free_links(struct guard_links *g)
{
	for (size_t i = 0; i < PROGRAMS; i++)
		g->link[i] = link_free(g->link[i]);
}

static int restore_guard(struct enforce *en, uint64_t id, struct err *e)
{
	struct guard_links g = { .id = id };
	char dir[DIR_MAX];
	int rc;

	guard_dir(en, id, "", dir);
	rc = take_guard(en, dir, &g, e);
	if (!rc) {
		(void)add(en, &g);
		return 0;
	}
	free_links(&g);
	if (rc != -ENOLINK)
		return rc;
	log_info("guard %" PRIu64 ": its cgroup is gone; unpinned", id);
	remove_pins(en, id, "");
	purge_guard(en, id);
	return 0;
}

/* What was being attached when we died: nobody was told that it is guarded. */
static void remove_half(struct enforce *en, uint64_t id)
{
	struct guard_links g = { .id = id };
	char dir[DIR_MAX], path[PATH_MAX];

	guard_dir(en, id, FRESH, dir);
	for (size_t i = 0; i < PROGRAMS; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, programs[i].name);
		g.link[i] = bpf_link__open(path);
	}
	detach_all(&g);
	remove_pins(en, id, FRESH);
	purge_guard(en, id);
	log_warn("guard %" PRIu64 " was half attached; detached", id);
}

/* The number that a name ends in after the prefix; 0: it is none of ours. */
static uint64_t id_of(const char *name, const char *prefix)
{
	size_t n = strlen(prefix);
	uint64_t id;
	char *end;

	if (strncmp(name, prefix, n) != 0 || name[n] < '1' || name[n] > '9')
		return 0;
	errno = 0;
	id = strtoull(name + n, &end, 10);
	return errno == 0 && *end == '\0' ? id : 0;
}

static int restore_entry(struct enforce *en, const char *name, struct err *e)
{
	uint64_t half = id_of(name, FRESH), id = id_of(name, "");

	if (half)
		remove_half(en, half);
	if (!id)
		return 0;
	if (en->count == EG_GUARDS_MAX)
		return err_set(e, -ENOSPC, "more than %d guards are pinned", EG_GUARDS_MAX);
	return restore_guard(en, id, e);
}

/* Names first, since the directory changes under our hands. */
static int restore_guards(struct enforce *en, struct err *e)
{
	struct dirent **names = NULL;
	char path[PATH_MAX];
	int n, rc = 0;

	(void)snprintf(path, sizeof(path), "%s/guards", en->dir);
	n = scandir(path, &names, NULL, NULL);
	if (n < 0)
		return err_set(e, -errno, "%s cannot be read: %s", path, strerror(errno));
	for (int i = 0; i < n; i++) {
		if (!rc)
			rc = restore_entry(en, names[i]->d_name, e);
		free(names[i]);
	}
	free(names);
	return rc;
}

static int restore_listen(struct enforce *en, int cgroup_fd, struct err *e)
{
	char dir[DIR_MAX];
	struct stat st;
	int rc;

	if (fstat(cgroup_fd, &st) != 0)
		return err_set(e, -errno, "the listeners' cgroup cannot be read: %s", strerror(errno));
	(void)snprintf(dir, sizeof(dir), "%s/listen", en->dir);
	for (size_t i = 0; i < LISTENERS; i++) {
		rc = take_one(en, dir, &listeners[i], st.st_ino, &en->listen[i]);
		if (rc == -ENOENT || rc == -ENOLINK) {
			rc = attach_one(en, &listeners[i], cgroup_fd, &en->listen[i], e);
			if (!rc)
				rc = pin_one(en->listen[i], dir, &listeners[i], e);
		} else if (rc) {
			(void)err_set(e, rc, "the program %s cannot be swapped: %s", listeners[i].name,
				      strerror(-rc));
		}
		if (rc)
			return rc;
	}
	return 0;
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

static struct enforce *new(void)
{
	struct enforce *en = calloc(1, sizeof(*en));

	if (!en)
		return NULL;
	en->cgroup2 = -1;
	en->guards = calloc(EG_GUARDS_MAX, sizeof(*en->guards));
	if (!en->guards) {
		free(en);
		return NULL;
	}
	libbpf_set_print(on_print);
	return en;
}

static int open_all(struct enforce *en, const struct config *c, int listen_cgroup, struct err *e)
{
	int rc = make_layout(en, c->bpffs, e);

	if (!rc)
		rc = load(en, c->explicit_port, e);
	if (rc)
		return rc;
	en->cgroup2 = fcntl(listen_cgroup, F_DUPFD_CLOEXEC, 3);
	en->ring = ring_buffer__new(bpf_map__fd(en->skel->maps.events), on_event, en, NULL);
	if (en->cgroup2 < 0 || !en->ring)
		return err_set(e, -errno, "the kernel's events cannot be read: %s", strerror(errno));
	rc = restore_guards(en, e);
	return rc ? rc : restore_listen(en, listen_cgroup, e);
}

int enforce_open(const struct config *c, int listen_cgroup, struct enforce **ret, struct err *e)
{
	struct enforce *en = new();
	int rc;

	if (!en)
		return err_set(e, -ENOMEM, "out of memory");
	rc = open_all(en, c, listen_cgroup, e);
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
		free_links(&en->guards[i]);
	for (size_t i = 0; i < LISTENERS; i++)
		en->listen[i] = link_free(en->listen[i]);
	ring_buffer__free(en->ring);
	egress__destroy(en->skel);
	own_close(&en->cgroup2);
	free(en->guards);
	free(en);
	return NULL;
}

/* Was this bpffs mounted by mount_bpffs(): by its source, in proc(5)'s mounts. */
static bool is_ours(const char *path)
{
	FILE *f = fopen("/proc/self/mounts", "re");
	char line[PATH_MAX + 256], want[DIR_MAX + 32];
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
	static const char *const subs[] = { "/maps", "/guards", "/listen", "" };
	char path[DIR_MAX];
	struct bpf_map *map;

	if (en->count)
		return -EBUSY;
	for (size_t i = 0; i < LISTENERS; i++)
		en->listen[i] = link_detach(en->listen[i]);
	(void)snprintf(path, sizeof(path), "%s/listen", en->dir);
	unpin_all(path, listeners, LISTENERS);
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
	if (!find(en, key->guard))
		return -ENOENT;
	if (bpf_map_update_elem(bpf_map__fd(en->skel->maps.leases), key, lease, BPF_ANY) != 0)
		return -errno;
	return 0;
}

void enforce_unlease(struct enforce *en, uint64_t guard)
{
	purge(en->skel->maps.leases, guard, false, EG_LEASES_MAX);
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

/* ---- doctor ------------------------------------------------------------------------------------- */

#define DOCTOR_PROXY 15001 /* in a network namespace of its own: nothing else is there */
#define DOCTOR_DNS 15053
#define DOCTOR_OTHER 15099
#define DOCTOR_WAIT_MS 300

enum doctor_cgroup { DOCTOR_BASE, DOCTOR_LISTEN, DOCTOR_GUARD, DOCTOR_WALL, DOCTOR_CGROUPS };

struct doctor {
	char path[CONFIG_PATH_MAX];
	int cgroup[DOCTOR_CGROUPS];
	struct guard_links guard, wall;
};

/* In the child: sockets born outside the guard. */
struct canary {
	const struct doctor *d;
	int proxy, dns, outside;
};

static const char *const doctor_names[DOCTOR_CGROUPS] = {
	[DOCTOR_BASE] = "", [DOCTOR_LISTEN] = "/listen", [DOCTOR_GUARD] = "/guard", [DOCTOR_WALL] = "/wall"
};

static struct sockaddr_in v4(uint32_t host, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(host) };
}

static int dial_v4(int fd, uint32_t host, uint16_t port)
{
	struct sockaddr_in to = v4(host, port);

	return connect(fd, (struct sockaddr *)&to, sizeof(to)) ? -errno : 0;
}

static int send_v4(int fd, uint32_t host, uint16_t port)
{
	struct sockaddr_in to = v4(host, port);

	return sendto(fd, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) == 1 ? 0 : -errno;
}

static int bound(int type, uint16_t port)
{
	auto_close int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = v4(INADDR_LOOPBACK, port);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    (type == SOCK_STREAM && listen(fd, 8) != 0))
		return -errno;
	return take_fd(&fd);
}

static bool ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, DOCTOR_WAIT_MS) == 1 && (p.revents & POLLIN);
}

/* 0 when `rc` is the refusal that is wanted. */
static int wants_eperm(int rc)
{
	return rc == -EPERM ? 0 : rc == 0 ? -EALREADY : rc;
}

/* A public address must arrive at the proxy's listener, with the record of what was dialled. */
static int canary_redirect(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), peer = -1;
	struct eg_record r;
	socklen_t len = sizeof(r);
	int rc = dial_v4(fd, 0xc0000201, 443); /* 192.0.2.1 */

	if (rc)
		return rc;
	if (!ready(c->proxy))
		return -ETIMEDOUT;
	peer = accept4(c->proxy, NULL, NULL, SOCK_CLOEXEC);
	if (peer < 0 || getsockopt(peer, SOL_IP, EG_SO_RECORD, &r, &len) != 0)
		return -errno;
	if (len != sizeof(r) || r.port != 443 || r.addr[12] != 192 || r.addr[15] != 1)
		return -EPROTO;
	return 0;
}

static int canary_metadata(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)c;
	return wants_eperm(dial_v4(fd, 0xa9fea9fe, 80)); /* 169.254.169.254 */
}

static int canary_dns(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = send_v4(fd, 0xc0000201, 53);

	return rc ? rc : ready(c->dns) ? 0 : -ETIMEDOUT;
}

static int canary_udp(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)c;
	return wants_eperm(send_v4(fd, 0xc0000201, 443));
}

static int canary_udplite(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDPLITE);

	(void)c;
	if (fd < 0 && errno == EPROTONOSUPPORT) /* nothing to refuse */
		return 0;
	return wants_eperm(fd < 0 ? -errno : 0);
}

static int canary_device(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)c;
	return wants_eperm(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) ? -errno : 0);
}

/* A listener of the guard, dialled from outside: its SYN must be dropped. */
static int canary_inbound(struct canary *c)
{
	auto_close int fd = bound(SOCK_STREAM, DOCTOR_OTHER);
	int rc;

	if (fd < 0)
		return fd;
	rc = dial_v4(c->outside, INADDR_LOOPBACK, DOCTOR_OTHER);
	if (rc && rc != -EINPROGRESS)
		return rc;
	return ready(fd) ? -EALREADY : 0;
}

/* Where only the wall stands and no connect hook: a packet to anywhere else must not leave. */
static int canary_wall(struct canary *c)
{
	auto_close int fd = -1;
	int rc = cgroup_move(c->d->cgroup[DOCTOR_WALL], getpid(), NULL);

	if (rc)
		return rc;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return wants_eperm(send_v4(fd, INADDR_LOOPBACK, DOCTOR_OTHER));
}

static const struct {
	const char *name, *good, *bad;
	int (*run)(struct canary *c);
} canaries[] = {
	{ "tcp redirect", "a dialled address arrives at the proxy, with its record",
	  "a dialled address does not arrive at the proxy with its record", canary_redirect },
	{ "metadata address", "connect() is refused", "connect() is not refused", canary_metadata },
	{ "dns redirect", "port 53 arrives at the guard's resolver",
	  "port 53 does not arrive at the guard's resolver", canary_dns },
	{ "udp", "other UDP is refused", "other UDP is not refused", canary_udp },
	{ "socket types", "UDP-Lite is refused", "UDP-Lite is not refused", canary_udplite },
	{ "socket options", "SO_BINDTODEVICE is refused", "SO_BINDTODEVICE is not refused", canary_device },
	{ "inbound", "a connection to a guarded listener is dropped",
	  "a connection to a guarded listener gets through", canary_inbound },
	{ "wall", "a packet past the proxy is dropped", "a packet past the proxy gets out", canary_wall },
};
#define CANARIES ARRAY_SIZE(canaries)

struct verdicts {
	int32_t setup;
	int32_t rc[CANARIES];
};

static int lo_up(void)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) != 0 ? -errno : 0;
}

static int canary_setup(struct canary *c)
{
	int rc;

	if (unshare(CLONE_NEWNET) != 0)
		return -errno;
	rc = lo_up();
	if (!rc)
		rc = cgroup_move(c->d->cgroup[DOCTOR_LISTEN], getpid(), NULL);
	if (rc)
		return rc;
	c->proxy = bound(SOCK_STREAM, DOCTOR_PROXY);
	c->dns = bound(SOCK_DGRAM, DOCTOR_DNS);
	c->outside = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->proxy < 0 || c->dns < 0 || c->outside < 0)
		return -EADDRINUSE;
	return cgroup_move(c->d->cgroup[DOCTOR_GUARD], getpid(), NULL);
}

static int canary_main(const struct doctor *d, int to)
{
	struct canary c = { .d = d, .proxy = -1, .dns = -1, .outside = -1 };
	struct verdicts v = { .setup = canary_setup(&c) };

	for (size_t i = 0; v.setup == 0 && i < CANARIES; i++)
		v.rc[i] = canaries[i].run(&c);
	return write(to, &v, sizeof(v)) == (ssize_t)sizeof(v) ? 0 : 1;
}

static int run_canaries(const struct doctor *d, struct verdicts *v)
{
	auto_close int from = -1, to = -1;
	int pair[2];
	ssize_t n;
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC) != 0)
		return -errno;
	from = pair[0];
	to = pair[1];
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0)
		_exit(canary_main(d, to));
	own_close(&to);
	do
		n = read(from, v, sizeof(*v));
	while (n < 0 && errno == EINTR);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	return n == (ssize_t)sizeof(*v) ? v->setup : -EPROTO;
}

static int doctor_cgroups(struct doctor *d, struct err *e)
{
	char path[PATH_MAX];
	int rc = cgroup_mount(d->path, sizeof(d->path) - 40, e);

	if (rc)
		return rc;
	(void)snprintf(d->path + strlen(d->path), 40, "/agentsecrets-doctor-%d", (int)getpid());
	for (int i = 0; i < DOCTOR_CGROUPS; i++) {
		(void)snprintf(path, sizeof(path), "%s%s", d->path, doctor_names[i]);
		if (mkdir(path, 0755) != 0)
			return err_set(e, -errno, "%s cannot be made: %s", path, strerror(errno));
		d->cgroup[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (d->cgroup[i] < 0)
			return err_set(e, -errno, "%s cannot be opened: %s", path, strerror(errno));
	}
	return 0;
}

static void doctor_done(struct enforce *en, struct doctor *d)
{
	char path[PATH_MAX];

	detach_all(&d->guard);
	detach_all(&d->wall);
	(void)enforce_close(en);
	for (int i = DOCTOR_CGROUPS - 1; i >= 0; i--) {
		(void)snprintf(path, sizeof(path), "%s%s", d->path, doctor_names[i]);
		if (d->cgroup[i] >= 0)
			(void)rmdir(path);
		own_close(&d->cgroup[i]);
	}
}

static int doctor_guard(struct enforce *en, int cgroup, struct guard_links *g, size_t rows, struct err *e)
{
	struct eg_guard state = { .flags = EG_GUARD_OPEN, .proxy_port = DOCTOR_PROXY, .dns_port = DOCTOR_DNS };
	struct stat st;
	int rc;

	if (fstat(cgroup, &st) != 0)
		return err_set(e, -errno, "the scratch cgroup cannot be read: %s", strerror(errno));
	state.id = g->id = st.st_ino;
	rc = start_quota(en, g->id, e);
	for (size_t i = 0; !rc && i < rows; i++) {
		rc = attach_one(en, &programs[i], cgroup, &g->link[i], e);
		if (!rc)
			rc = check_effective(en, &programs[i], cgroup, e);
	}
	return rc ? rc : open_state(en, &state, e);
}

static int doctor_attach(struct enforce *en, struct doctor *d, struct err *e)
{
	int rc = 0;

	for (size_t i = 0; !rc && i < LISTENERS; i++)
		rc = attach_one(en, &listeners[i], d->cgroup[DOCTOR_LISTEN], &en->listen[i], e);
	if (!rc)
		rc = doctor_guard(en, d->cgroup[DOCTOR_GUARD], &d->guard, PROGRAMS, e);
	return rc ? rc : doctor_guard(en, d->cgroup[DOCTOR_WALL], &d->wall, 2, e); /* skb_out, skb_in */
}

static int doctor_bpffs(const struct config *c, struct err *e)
{
	char path[] = "/tmp/agentsecrets-doctor-XXXXXX";
	int rc = 0;

	if (is_bpffs(c->bpffs))
		return 0;
	if (!mkdtemp(path))
		return err_set(e, -errno, "a directory in /tmp cannot be made: %s", strerror(errno));
	rc = mount_bpffs(path, e);
	if (!rc)
		(void)umount2(path, MNT_DETACH);
	(void)rmdir(path);
	return rc;
}

struct report {
	struct enforce_check *checks;
	size_t count, max;
};

static void add_check(struct report *r, const char *name, bool required, bool ok, const char *detail)
{
	struct enforce_check *check = &r->checks[r->count];

	if (r->count == r->max)
		return;
	r->count++;
	(void)snprintf(check->name, sizeof(check->name), "%s", name);
	(void)snprintf(check->detail, sizeof(check->detail), "%s", detail);
	check->ok = ok;
	check->required = required;
}

/* One check per canary; when they could not run, all of them failed. */
static bool add_canaries(struct report *r, const struct doctor *d)
{
	struct verdicts v = {};
	char detail[160];
	bool all = true;
	int rc = run_canaries(d, &v);

	for (size_t i = 0; i < CANARIES; i++) {
		int got = rc ? rc : v.rc[i];

		if (got == 0 || got == -EALREADY)
			(void)snprintf(detail, sizeof(detail), "%s", got ? canaries[i].bad : canaries[i].good);
		else
			(void)snprintf(detail, sizeof(detail), "%s: %s", canaries[i].bad, strerror(-got));
		add_check(r, canaries[i].name, true, got == 0, detail);
		all = all && got == 0;
	}
	return all;
}

static bool doctor_l1(const struct config *c, struct enforce *en, struct doctor *d, struct report *r)
{
	struct err e = {};
	int rc = doctor_cgroups(d, &e);

	add_check(r, "cgroup v2", true, rc == 0, rc ? e.text : d->path);
	if (rc)
		return false;
	rc = doctor_bpffs(c, &e);
	add_check(r, "bpf filesystem", true, rc == 0, rc ? e.text : "can be mounted");
	if (rc)
		return false;
	rc = load(en, c->explicit_port, &e);
	add_check(r, "programs load", true, rc == 0, rc ? e.text : "all of them");
	if (rc)
		return false;
	rc = doctor_attach(en, d, &e);
	add_check(r, "programs attach", true, rc == 0, rc ? e.text : "all of them, and are in force");
	return rc == 0 && add_canaries(r, d);
}

size_t enforce_doctor(const struct config *c, struct enforce_check *checks, size_t max)
{
	struct report r = { .checks = checks, .max = max };
	struct doctor d = { .cgroup = { -1, -1, -1, -1 } };
	struct enforce *en = new();
	bool l1;

	if (!en)
		return 0;
	l1 = doctor_l1(c, en, &d, &r);
	add_check(&r, "level L1: wall and redirect", true, l1, l1 ? "yes" : "no: see above");
	add_check(&r, "level L2: unix sockets", false, false, "not in this version");
	add_check(&r, "level L3: LSM", false, false, "not in this version");
	doctor_done(en, &d);
	return r.count;
}
