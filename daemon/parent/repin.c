/* repin.c: see repin.h. Links are not pinned again before a start but attached anew next to the ones that are held: which
 * program a held link runs is not known for sure, and while both stand each denies what it would deny alone (enforce.c
 * takes the held ones off then). Maps must be the same ones, since in them stands what the guards may do.
 */
#include "repin.h"

#include "log.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define REPIN_DIR_MAX 300

/* What kind of BPF object a descriptor is: the kernel answers info for each kind in a struct of its own. */
static bool is_kind(int fd, const char *kind)
{
	char path[64], text[64];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	n = readlink(path, text, sizeof(text) - 1);
	if (n < 0)
		return false;
	text[n] = '\0';
	return strcmp(text, kind) == 0;
}

bool repin_is_link(int fd)
{
	return is_kind(fd, "anon_inode:bpf_link");
}

void repin_one(int fd, const char *dir, const char *name)
{
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (bpf_obj_pin(fd, path) != 0 && errno != EEXIST)
		log_error("%s cannot be pinned again: %s", path, strerror(errno));
}

static bool same_shape(const struct bpf_map *map, int fd)
{
	struct bpf_map_info info = {};
	uint32_t len = sizeof(info);

	return is_kind(fd, "anon_inode:bpf-map") && bpf_obj_get_info_by_fd(fd, &info, &len) == 0 &&
	       strncmp(info.name, bpf_map__name(map), sizeof(info.name) - 1) == 0 &&
	       info.type == bpf_map__type(map) && info.key_size == bpf_map__key_size(map) &&
	       info.value_size == bpf_map__value_size(map) &&
	       (info.max_entries == bpf_map__max_entries(map) || !bpf_map__max_entries(map));
}

void repin_maps(struct bpf_object *obj, const char *dir, const struct enforce_held *held,
		size_t count)
{
	char path[PATH_MAX], maps[REPIN_DIR_MAX];
	struct bpf_map *map;

	(void)snprintf(maps, sizeof(maps), "%s/maps", dir);
	bpf_object__for_each_map(map, obj) {
		if (bpf_map__is_internal(map))
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", maps, bpf_map__name(map));
		for (size_t i = 0; i < count && access(path, F_OK) != 0; i++) {
			if (held[i].guard || !same_shape(map, held[i].fd))
				continue;
			log_warn(
				"the pin of the map %s was gone; made again from what the holder keeps",
				bpf_map__name(map));
			repin_one(held[i].fd, maps, bpf_map__name(map));
		}
	}
}

void repin_guards(const char *dir, const struct enforce_held *held, size_t count)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < count; i++) {
		struct bpf_link_info info = {};
		uint32_t len = sizeof(info);

		if (!held[i].guard || !repin_is_link(held[i].fd) ||
		    bpf_obj_get_info_by_fd(held[i].fd, &info, &len) != 0 ||
		    info.cgroup.cgroup_id != held[i].guard)
			continue;
		(void)snprintf(path, sizeof(path), "%s/guards/%" PRIu64, dir, held[i].guard);
		if (mkdir(path, 0700) == 0)
			log_warn("the pins of guard %" PRIu64
				 " were gone; it is taken up from what the holder keeps",
				 held[i].guard);
	}
}

/* ---- another layout ---- */

typedef void repin_fn(const char *path, const char *name, void *ctx);

/* What is in a directory, but for names with a dot first. The names are read beforehand: fn may remove them. */
static void each_in(const char *path, repin_fn *fn, void *ctx)
{
	struct dirent **names = NULL;
	int n = scandir(path, &names, NULL, NULL);

	for (int i = 0; i < n; i++) {
		char at[PATH_MAX];

		(void)snprintf(at, sizeof(at), "%s/%s", path, names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			fn(at, names[i]->d_name, ctx);
		free(names[i]);
	}
	free(names);
}

struct older {
	const char *dir; /* ours */
	repin_fn *fn;
	bool any;
};

static void older_layout(const char *path, const char *name, void *ctx)
{
	struct older *o = ctx;

	if (name[0] != 'v' || name[1] < '0' || name[1] > '9' || strcmp(path, o->dir) == 0)
		return;
	o->any = true;
	o->fn(path, name, ctx);
}

static bool each_older(const char *dir, repin_fn *fn)
{
	struct older o = {.dir = dir, .fn = fn};
	char bpffs[REPIN_DIR_MAX];

	(void)snprintf(bpffs, sizeof(bpffs), "%.*s", (int)(strrchr(dir, '/') - dir), dir);
	each_in(bpffs, older_layout, &o);
	return o.any;
}

static void take_id(const char *path, const char *name, void *ctx)
{
	const struct older *o = ctx;
	char here[PATH_MAX];

	(void)path;
	if (name[strspn(name, "0123456789")] != '\0')
		return;
	(void)snprintf(here, sizeof(here), "%s/guards/%s", o->dir, name);
	if (mkdir(here, 0700) == 0)
		log_info("guard %s stands under another layout; it is attached under this one",
			 name);
}

static void take_layout(const char *path, const char *name, void *ctx)
{
	char guards[PATH_MAX];

	(void)name;
	(void)snprintf(guards, sizeof(guards), "%.*s/guards", REPIN_DIR_MAX, path);
	each_in(guards, take_id, ctx);
}

bool repin_older(const char *dir)
{
	return each_older(dir, take_layout);
}

/* A pin: its program off, if it is a link, then the file. A directory: what is in it, then itself. */
static void drop_pin(const char *path, const char *name, void *ctx)
{
	auto_close int fd = -1;
	struct stat st;

	(void)name;
	if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		each_in(path, drop_pin, ctx);
		(void)rmdir(path);
		return;
	}
	fd = bpf_obj_get(path);
	if (fd >= 0 && repin_is_link(fd))
		(void)bpf_link_detach(fd);
	(void)unlink(path);
}

static void drop_layout(const char *path, const char *name, void *ctx)
{
	static const char *const known[] = {"guards", "listen", "lsm", "maps"};
	char sub[PATH_MAX];

	for (size_t i = 0; i < ARRAY_SIZE(known); i++) {
		(void)snprintf(sub, sizeof(sub), "%.*s/%s", REPIN_DIR_MAX, path, known[i]);
		drop_pin(sub, name, ctx);
	}
	if (rmdir(path) != 0)
		log_warn("%s holds pins that are not known here; they stay in force", path);
}

void repin_drop_older(const char *dir)
{
	(void)each_older(dir, drop_layout);
}
