/* cgroup.c: see cgroup.h. Everything here is mkdir, rmdir, and small files of cgroup v2; no state.
 *
 * A name that we make is a single component that we chose; a path that we read (mountinfo,
 * /proc/<pid>/cgroup) is the kernel's. Nothing is followed through a symbolic link: cgroupfs has none.
 */
#include "cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define CGROUP_DEPTH_MAX 32

/* Undoes mountinfo's octal escapes in place ("\040" is a space). */
static void unescape(char *s)
{
	char *out = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
		    s[3] >= '0' && s[3] <= '7') {
			*out++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*out++ = *s;
		}
	}
	*out = '\0';
}

/* Takes apart one line of mountinfo; false when it is no cgroup2 mount. The pointers are into `line`. */
static bool cgroup2_line(char *line, char **root, char **point)
{
	char *save = NULL, *field, *tail = strstr(line, " - ");

	if (!tail || strncmp(tail, " - cgroup2 ", strlen(" - cgroup2 ")) != 0)
		return false;
	*tail = '\0';
	field = strtok_r(line, " ", &save);
	for (int i = 0; i < 3 && field; i++)
		field = strtok_r(NULL, " ", &save);
	*root = field;
	*point = field ? strtok_r(NULL, " ", &save) : NULL;
	if (!*point)
		return false;
	unescape(*root);
	unescape(*point);
	return true;
}

int cgroup_mount(char *out, size_t cap, struct err *e)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL, *root, *point;
	bool found = false, whole = false, cut = false;
	size_t n = 0;

	if (!f)
		return err_set(e, -errno, "/proc/self/mountinfo cannot be read: %s", strerror(errno));
	while (!whole && getline(&line, &n, f) > 0) {
		if (!cgroup2_line(line, &root, &point))
			continue;
		whole = strcmp(root, "/") == 0;
		if (found && !whole)
			continue;
		found = true;
		cut = strlen(point) >= cap;
		(void)snprintf(out, cap, "%s", point);
	}
	free(line);
	(void)fclose(f);
	if (!found)
		return err_set(e, -ENOENT, "no cgroup v2 hierarchy is mounted; mount it with "
			       "\"mount -t cgroup2 none /sys/fs/cgroup/unified\"");
	return cut ? err_set(e, -ENAMETOOLONG, "the cgroup v2 mount point's path is too long") : 0;
}

int cgroup_find(const char *mount, uint64_t id, char *out, size_t cap)
{
	char *roots[] = {(char *)(uintptr_t)mount, NULL};
	FTS *fts = fts_open(roots, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	int rc = -ENOENT;
	FTSENT *entry;

	if (!fts)
		return -errno;
	while (rc == -ENOENT && (entry = fts_read(fts)))
		if (entry->fts_info == FTS_D && entry->fts_statp->st_ino == id)
			rc = snprintf(out, cap, "%s", entry->fts_path) < (int)cap ? 0
										  : -ENAMETOOLONG;
	(void)fts_close(fts);
	return rc;
}

bool cgroup_within(const char *outer, const char *inner)
{
	size_t n = strlen(outer);

	while (n > 1 && outer[n - 1] == '/')
		n--;
	if (n == 1 && outer[0] == '/')
		return inner[0] == '/';
	return strncmp(outer, inner, n) == 0 && (inner[n] == '\0' || inner[n] == '/');
}

static int open_dir(int at, const char *path, int *ret)
{
	int fd = openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

/* Refuses a path that a user other than root could move things in: a process can leave a cgroup below
 * a delegated one with that user's rights. Checks `path` and its parents up to the mount point. */
int cgroup_check_owner(const char *mount, const char *path, struct err *e)
{
	char dir[PATH_MAX];
	struct stat st;
	char *slash;

	(void)snprintf(dir, sizeof(dir), "%s", path);
	while (cgroup_within(mount, dir)) {
		if (stat(dir, &st) != 0)
			return err_set(e, -errno, "cgroup %s: %s", dir, strerror(errno));
		if (st.st_uid != 0)
			return err_set(e, -EPERM, "cgroup %s belongs to user %u; a guarded process of that user "
				       "could leave it, choose a \"cgroup_root\" owned by root", dir, st.st_uid);
		slash = strrchr(dir, '/');
		if (!slash || slash == dir)
			break;
		*slash = '\0';
	}
	return 0;
}

static int check_on_cgroup2(int fd, const char *path, struct err *e)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) != 0)
		return err_set(e, -errno, "%s: %s", path, strerror(errno));
	if ((unsigned long)fs.f_type != CGROUP2_SUPER_MAGIC)
		return err_set(e, -EINVAL, "%s is not on cgroup v2; set \"cgroup_root\" to a directory below "
			       "the cgroup2 mount", path);
	return 0;
}

/* Makes a directory if it is not there and opens it. */
static int make_dir(int at, const char *path, int *ret, struct err *e)
{
	int rc;

	if (mkdirat(at, path, 0755) != 0 && errno != EEXIST)
		return err_set(e, -errno, "cgroup %s cannot be made: %s", path, strerror(errno));
	rc = open_dir(at, path, ret);
	return rc ? err_set(e, rc, "cgroup %s cannot be opened: %s", path, strerror(-rc)) : 0;
}

int cgroup_prepare(struct config *c, int *ret_listen, struct err *e)
{
	char mount[CONFIG_PATH_MAX], root[CONFIG_PATH_MAX];
	auto_close int dir = -1, listen = -1;
	int rc, n;

	rc = cgroup_mount(mount, sizeof(mount), e);
	if (rc)
		return rc;
	n = c->cgroup_root[0] ? snprintf(root, sizeof(root), "%s", c->cgroup_root)
			      : snprintf(root, sizeof(root), "%s/agentsecrets.slice", mount);
	if (n < 0 || (size_t)n >= sizeof(root))
		return err_set(e, -ENAMETOOLONG, "the path of \"cgroup_root\" is too long");
	rc = make_dir(AT_FDCWD, root, &dir, e);
	if (!rc)
		rc = check_on_cgroup2(dir, root, e);
	if (!rc)
		rc = cgroup_check_owner(mount, root, e);
	if (!rc)
		rc = make_dir(dir, "listen", &listen, e);
	if (rc)
		return rc;
	memcpy(c->cgroup_root, root, sizeof(root));
	*ret_listen = take_fd(&listen);
	return 0;
}

/* One component, and none that means something. */
static bool name_good(const char *name)
{
	return name[0] && name[0] != '.' && !strchr(name, '/') && strlen(name) <= NAME_MAX;
}

static int open_root(const struct config *c, const char *name, int *ret, struct err *e)
{
	int rc;

	if (!name_good(name))
		return err_set(e, -EINVAL, "\"%s\" is no name for a cgroup", name);
	rc = open_dir(AT_FDCWD, c->cgroup_root, ret);
	return rc ? err_set(e, rc, "cgroup %s: %s", c->cgroup_root, strerror(-rc)) : 0;
}

int cgroup_open(const struct config *c, const char *name, int *ret_fd, uint64_t *ret_id, struct err *e)
{
	auto_close int root = -1, fd = -1;
	struct stat st;
	int rc = open_root(c, name, &root, e);

	if (rc)
		return rc;
	rc = open_dir(root, name, &fd);
	if (rc)
		return err_set(e, rc, "cgroup %s/%s: %s", c->cgroup_root, name, strerror(-rc));
	if (fstat(fd, &st) != 0)
		return err_set(e, -errno, "cgroup %s/%s: %s", c->cgroup_root, name, strerror(errno));
	*ret_id = st.st_ino;
	*ret_fd = take_fd(&fd);
	return 0;
}

int cgroup_open_path(const char *path, int *ret_fd, uint64_t *ret_id, struct err *e)
{
	auto_close int fd = -1;
	struct stat st;
	int rc = open_dir(AT_FDCWD, path, &fd);

	if (rc == 0 && fstat(fd, &st) != 0)
		rc = -errno;
	if (rc)
		return err_set(e, rc, "cgroup %s: %s", path, strerror(-rc));
	rc = check_on_cgroup2(fd, path, e);
	if (rc)
		return rc;
	*ret_id = st.st_ino;
	*ret_fd = take_fd(&fd);
	return 0;
}

int cgroup_make(const struct config *c, const char *name, int *ret_fd, uint64_t *ret_id, struct err *e)
{
	auto_close int root = -1;
	int rc = open_root(c, name, &root, e);

	if (rc)
		return rc;
	if (mkdirat(root, name, 0755) != 0)
		return err_set(e, -errno, "cgroup %s/%s cannot be made: %s", c->cgroup_root, name,
			       strerror(errno));
	rc = cgroup_open(c, name, ret_fd, ret_id, e);
	if (rc)
		(void)unlinkat(root, name, AT_REMOVEDIR);
	return rc;
}

int cgroup_remove(const struct config *c, const char *name, struct err *e)
{
	auto_close int root = -1;
	int rc = open_root(c, name, &root, e);

	if (rc)
		return rc;
	if (unlinkat(root, name, AT_REMOVEDIR) == 0)
		return 0;
	rc = -errno;
	return err_set(e, rc, rc == -EBUSY ? "cgroup %s/%s is still in use: %s"
					   : "cgroup %s/%s cannot be removed: %s",
		       c->cgroup_root, name, strerror(-rc));
}

int cgroup_move(int cgroup_fd, pid_t pid, struct err *e)
{
	auto_close int fd = openat(cgroup_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", (int)pid);

	if (fd < 0)
		return err_set(e, -errno, "cgroup.procs cannot be opened: %s", strerror(errno));
	if (write(fd, text, (size_t)n) != n)
		return err_set(e, -errno, "process %d cannot be moved into the cgroup: %s", (int)pid,
			       strerror(errno));
	return 0;
}

/* The "0::" line of /proc/<pid>/cgroup, without the prefix. */
static int read_of(pid_t pid, char *out, size_t cap)
{
	char path[64], *line = NULL;
	size_t n = 0, len;
	int rc = -ENOENT;
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	f = fopen(path, "re");
	if (!f)
		return errno == ENOENT ? -ESRCH : -errno;
	while (rc == -ENOENT && getline(&line, &n, f) > 0) {
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		len = strcspn(line + 3, "\n");
		rc = len < cap ? 0 : -ENAMETOOLONG;
		(void)snprintf(out, cap, "%.*s", (int)len, line + 3);
	}
	free(line);
	(void)fclose(f);
	return rc;
}

int cgroup_of(pid_t pid, char *out, size_t cap, uint64_t *ret_id, struct err *e)
{
	char mount[CONFIG_PATH_MAX], inner[PATH_MAX];
	struct stat st;
	int rc, n;

	rc = cgroup_mount(mount, sizeof(mount), e);
	if (rc)
		return rc;
	rc = read_of(pid, inner, sizeof(inner));
	if (rc)
		return err_set(e, rc, rc == -ESRCH ? "process %d does not exist: %s"
						   : "process %d: its cgroup cannot be read: %s",
			       (int)pid, strerror(-rc));
	if (strncmp(inner, "/..", 3) == 0)
		return err_set(e, -EXDEV, "process %d is in a cgroup outside our cgroup namespace", (int)pid);
	n = snprintf(out, cap, "%s%s", mount, strcmp(inner, "/") == 0 ? "" : inner);
	if (n < 0 || (size_t)n >= cap)
		return err_set(e, -ENAMETOOLONG, "the path of process %d's cgroup is too long", (int)pid);
	if (stat(out, &st) != 0)
		return err_set(e, -errno, "cgroup %s of process %d: %s", out, (int)pid, strerror(errno));
	*ret_id = st.st_ino;
	return 0;
}

int cgroup_populated(int cgroup_fd, bool *ret)
{
	auto_close int fd = openat(cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	char text[256];
	const char *at;
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return -errno;
	text[n] = '\0';
	at = strstr(text, "populated ");
	if (!at)
		return -EPROTO;
	*ret = at[strlen("populated ")] != '0';
	return 0;
}

/* cgroup.procs of one directory. A threaded one has none of its own: its processes are its domain's. */
static size_t pids_here(int dir, pid_t *pids, size_t max)
{
	int fd = openat(dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	size_t n = 0;
	FILE *f;
	int pid;

	f = fd < 0 ? NULL : fdopen(fd, "re");
	if (!f) {
		own_close(&fd);
		return 0;
	}
	while (n < max && fscanf(f, "%d", &pid) == 1)
		pids[n++] = pid;
	(void)fclose(f);
	return n;
}

static size_t pids_below(int dir, pid_t *pids, size_t max, int depth)
{
	size_t n = pids_here(dir, pids, max);
	struct dirent *entry;
	int copy = -1;
	DIR *d;

	if (depth >= CGROUP_DEPTH_MAX || open_dir(dir, ".", &copy))
		return n;
	d = fdopendir(copy);
	if (!d) {
		own_close(&copy);
		return n;
	}
	while (n < max && (entry = readdir(d))) {
		auto_close int child = -1;

		if (entry->d_type != DT_DIR || entry->d_name[0] == '.' ||
		    open_dir(dir, entry->d_name, &child))
			continue;
		n += pids_below(child, pids + n, max - n, depth + 1);
	}
	(void)closedir(d);
	return n;
}

size_t cgroup_pids(int cgroup_fd, pid_t *pids, size_t max)
{
	return pids_below(cgroup_fd, pids, max, 0);
}

void cgroup_clear(const struct config *c)
{
	char path[CONFIG_PATH_MAX + 16];

	(void)snprintf(path, sizeof(path), "%s/listen", c->cgroup_root);
	(void)rmdir(path);
	(void)rmdir(c->cgroup_root);
}
