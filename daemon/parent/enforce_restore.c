/* enforce_restore.c: taking up what is pinned, and pinning again what somebody took away. See enforce.h, enforce_in.h. */
#include "enforce_in.h"

#include "egress.skel.h"
#include "log.h"
#include "repin.h"
#include <bpf/bpf.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define KERNFS_HANDLE 0xfe /* FILEID_KERNFS: a file handle that is the 64-bit inode number */

/* The cgroup with this id, or -errno. */
static int cgroup_by_id(const struct enforce *en, uint64_t id)
{
	union {
		struct file_handle h;
		char bytes[sizeof(struct file_handle) + sizeof(uint64_t)];
	} u = {.h = {.handle_bytes = sizeof(uint64_t), .handle_type = KERNFS_HANDLE}};
	int fd;

	memcpy(u.bytes + sizeof(struct file_handle), &id, sizeof(id));
	fd = open_by_handle_at(en->slice, &u.h, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* A live guard that lacks a pin: attaches the program again and pins it. */
static int mend_one(struct enforce *en, const char *dir, const struct links_row *row, uint64_t id,
		    struct bpf_link **ret, struct err *e)
{
	auto_close int cgroup = cgroup_by_id(en, id);
	int rc;

	if (cgroup < 0)
		return cgroup == -ESTALE ? -ENOLINK
					 : err_set(e, cgroup, "the cgroup of guard %" PRIu64 ": %s",
						   id, strerror(-cgroup));
	log_warn("guard %" PRIu64 " had lost its %s; attached again", id, row->name);
	rc = links_attach(enforce_program(en, row), cgroup, ret, e);
	return rc ? rc : links_pin(*ret, dir, row->name, e);
}

/* The state as it stands, with the flags of what is in force now. */
static int refresh_state(struct enforce *en, uint64_t id, struct err *e)
{
	struct eg_guard state;

	if (bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.guards), &id, &state) != 0)
		return err_set(e, -errno, "guard %" PRIu64 ": its state cannot be read: %s", id,
			       strerror(errno));
	return state.id ? enforce_open_state(en, &state, e) : 0;
}

/* The maps are other ones than those that the links were made with, which keep their storage for life: attached anew,
 * which starts closed, and the old ones taken off after that. */
static int renew_guard(struct enforce *en, int cgroup, const char *dir, struct guard_links *g,
		       struct err *e)
{
	log_warn("guard %" PRIu64 " had lost its maps; attached again, closed", g->id);
	for (size_t i = 0; i < ENFORCE_ROWS; i++) {
		struct bpf_link *old = g->link[i];
		int rc;

		if (!old)
			continue;
		g->link[i] = NULL;
		rc = links_attach(enforce_program(en, enforce_row(i)), cgroup, &g->link[i], e);
		if (!rc)
			rc = links_pin(g->link[i], dir, enforce_row(i)->name, e);
		if (rc) {
			(void)links_free(old);
			return rc;
		}
		(void)links_detach(old);
	}
	return 0;
}

/* All links of a guard. -ENOLINK: its cgroup is gone. */
static int take_guard(struct enforce *en, const char *dir, struct guard_links *g, struct err *e)
{
	auto_close int cgroup = cgroup_by_id(en, g->id);
	struct eg_guard state;
	uint64_t pending;

	g->apart = cgroup < 0 || enforce_is_apart(en, cgroup);
	for (size_t i = 0; i < ENFORCE_ROWS; i++) {
		const struct links_row *row = enforce_row(i);
		int rc;

		if (!enforce_wanted(en, g->apart, i))
			continue;
		rc = links_take(enforce_program(en, row), dir, row->name, g->id, &g->link[i]);
		if (rc == -ENOENT)
			rc = mend_one(en, dir, row, g->id, &g->link[i], e);
		else if (rc && rc != -ENOLINK)
			(void)err_set(e, rc,
				      "guard %" PRIu64 ": the program %s cannot be swapped: %s",
				      g->id, row->name, strerror(-rc));
		if (rc)
			return rc;
	}
	if (bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.guards), &g->id, &state) != 0 &&
	    errno == ENOENT) {
		int rc = renew_guard(en, cgroup, dir, g, e);

		if (rc)
			return rc;
	}
	if (bpf_map_lookup_elem(bpf_map__fd(en->skel->maps.quota), &g->id, &pending) != 0) {
		(void)enforce_purge(en->skel->maps.pending, g->id, true,
			      EG_GUARDS_MAX * EG_PENDING_PER_GUARD);
		if (enforce_start_quota(en, g->id, e))
			return -EIO;
	}
	return refresh_state(en, g->id, e);
}

static int restore_guard(struct enforce *en, uint64_t id, struct err *e)
{
	struct guard_links g = {.id = id};
	char dir[ENFORCE_DIR_MAX];
	int rc;

	enforce_guard_dir(en, id, "", dir);
	rc = take_guard(en, dir, &g, e);
	if (!rc) {
		(void)enforce_add(en, &g);
		return 0;
	}
	enforce_free_links(&g);
	if (rc != -ENOLINK)
		return rc;
	log_info("guard %" PRIu64 ": its cgroup is gone; unpinned", id);
	enforce_remove_pins(en, id, "");
	enforce_purge_guard(en, id);
	return 0;
}

/* What was being attached when we died: nobody was told that it is guarded. */
static void remove_half(struct enforce *en, uint64_t id)
{
	struct guard_links g = {.id = id};
	char dir[ENFORCE_DIR_MAX], path[PATH_MAX];

	enforce_guard_dir(en, id, ENFORCE_FRESH, dir);
	for (size_t i = 0; i < ENFORCE_ROWS; i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", dir, enforce_row(i)->name);
		g.link[i] = bpf_link__open(path);
	}
	enforce_detach_all(&g);
	enforce_remove_pins(en, id, ENFORCE_FRESH);
	enforce_purge_guard(en, id);
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
	uint64_t half = id_of(name, ENFORCE_FRESH), id = id_of(name, "");

	if (half)
		remove_half(en, half);
	if (!id)
		return 0;
	if (en->count == EG_GUARDS_MAX)
		return err_set(e, -ENOSPC, "more than %d guards are pinned", EG_GUARDS_MAX);
	return restore_guard(en, id, e);
}

/* Names first, since the directory changes under our hands. */
int enforce_restore_guards(struct enforce *en, struct err *e)
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

int enforce_restore_listen(struct enforce *en, int cgroup_fd, struct err *e)
{
	char dir[ENFORCE_DIR_MAX];
	struct stat st;
	int rc;

	if (fstat(cgroup_fd, &st) != 0)
		return err_set(e, -errno, "the listeners' cgroup cannot be read: %s",
			       strerror(errno));
	(void)snprintf(dir, sizeof(dir), "%s/listen", en->dir);
	for (size_t i = 0; i < ENFORCE_LISTENERS; i++) {
		rc = links_take(enforce_program(en, &enforce_listeners[i]), dir,
				enforce_listeners[i].name, st.st_ino, &en->listen[i]);
		if (rc == -ENOENT || rc == -ENOLINK) {
			rc = links_attach(enforce_program(en, &enforce_listeners[i]), cgroup_fd,
					  &en->listen[i], e);
			if (!rc)
				rc = links_pin(en->listen[i], dir, enforce_listeners[i].name, e);
		} else if (rc) {
			(void)err_set(e, rc, "the program %s cannot be swapped: %s",
				      enforce_listeners[i].name, strerror(-rc));
		}
		if (rc)
			return rc;
	}
	return 0;
}

static uint32_t link_id(int fd, uint64_t *cgroup)
{
	struct bpf_link_info info = {};
	uint32_t len = sizeof(info);

	if (bpf_obj_get_info_by_fd(fd, &info, &len) != 0)
		return 0;
	*cgroup = info.cgroup.cgroup_id;
	return info.id;
}

static bool is_taken(const struct guard_links *g, uint32_t id)
{
	uint64_t cgroup;

	for (size_t i = 0; i < ENFORCE_ROWS; i++)
		if (g->link[i] && link_id(bpf_link__fd(g->link[i]), &cgroup) == id)
			return true;
	return false;
}

/* Held links that were not taken up have a successor by now. They must go, not only be let go of: a pin in some other
 * mount namespace may keep them, and two programs of ours on one cgroup deny what each would redirect. */
void enforce_drop_others(struct enforce *en, const struct enforce_held *held, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct guard_links *g = held[i].guard ? enforce_find(en, held[i].guard)
							    : NULL;
		uint64_t cgroup = 0;
		uint32_t id;

		if (!g || !repin_is_link(held[i].fd))
			continue;
		id = link_id(held[i].fd, &cgroup);
		if (id && cgroup == g->id && !is_taken(g, id))
			(void)bpf_link_detach(held[i].fd);
	}
}

/* ---- pins that somebody took away ---- */

static bool pinned(const struct enforce *en)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < en->count; i++) {
		enforce_guard_dir(en, en->guards[i].id, "", path);
		(void)strcat(path, "/egress_skb_out");
		if (access(path, F_OK) != 0)
			return false;
	}
	(void)snprintf(path, sizeof(path), "%s/maps/guards", en->dir);
	return access(path, F_OK) == 0;
}

static void pin_again(struct enforce *en)
{
	int fds[CANARY_LSM];
	char dir[ENFORCE_DIR_MAX];
	struct bpf_map *map;
	size_t n;

	(void)snprintf(dir, sizeof(dir), "%s/maps", en->dir);
	bpf_object__for_each_map(map, en->skel->obj)
		if (!bpf_map__is_internal(map))
			repin_one(bpf_map__fd(map), dir, bpf_map__name(map));
	(void)snprintf(dir, sizeof(dir), "%s/listen", en->dir);
	for (size_t i = 0; i < ENFORCE_LISTENERS; i++)
		repin_one(bpf_link__fd(en->listen[i]), dir, enforce_listeners[i].name);
	(void)snprintf(dir, sizeof(dir), "%s/lsm", en->dir);
	n = levels_fds(en->levels, fds, CANARY_LSM); /* all of them or none */
	for (size_t i = 0; i < n; i++)
		repin_one(fds[i], dir, levels_lsm[i].name);
	for (size_t g = 0; g < en->count; g++) {
		enforce_guard_dir(en, en->guards[g].id, "", dir);
		if (enforce_make_dir(dir, NULL))
			continue;
		for (size_t i = 0; i < ENFORCE_ROWS; i++)
			if (en->guards[g].link[i])
				repin_one(bpf_link__fd(en->guards[g].link[i]), dir,
					  enforce_row(i)->name);
	}
}

void enforce_keep_pins(struct enforce *en)
{
	char bpffs[sizeof(en->dir)];
	struct err e = {};

	if (pinned(en))
		return;
	(void)snprintf(bpffs, sizeof(bpffs), "%s", en->dir);
	*strrchr(bpffs, '/') = '\0';
	log_warn(
		"pins below %s were taken away; everything is in force all the same, and is pinned again",
		en->dir);
	if (enforce_make_layout(en, bpffs, &e))
		log_error("%s; the daemon and its holder keep the guards in force", e.text);
	else
		pin_again(en);
}
