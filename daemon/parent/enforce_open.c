/* enforce_open.c: the programs and their maps: loaded, found again under the bpffs, given up. See enforce.h.
 *
 * Maps are pinned in <bpffs>/v<EG_LAYOUT>/maps; what is pinned there already is used again, so guards outlive us.
 */
#include "enforce_in.h"

#include "log.h"
#include "repin.h"

#include "egress.skel.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>

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

/* ---- loading ------------------------------------------------------------------------------------ */

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

/* ---- open and close ----------------------------------------------------------------------------- */

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
	if (en->slice < 0 || enforce_events_open(en) < 0)
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
