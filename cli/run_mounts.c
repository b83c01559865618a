/* run_mounts.c: see run_mounts.h.
 *
 * A root process may write /sys/fs/cgroup/.../cgroup.procs and so walk out of its guard; it may unpin our
 * links in a bpffs, and read the vault's key. File permissions do not stop root, mounts that it cannot
 * change do: the seccomp filter that follows takes mount(2) and its relatives away.
 *
 * Read-only first, by the list of mounts; then the empty file systems; the daemon's directories last,
 * since they may lie above any of the others.
 */
#include "run_mounts.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>

#define LINE_MAX_ 8192

static const char *const read_only_types[] = {"cgroup", "cgroup2", "sysfs"};
static const char *const empty_types[] = {"bpf", "debugfs", "tracefs"};
/* systemd's credentials of services, the key of our vault perhaps among them (vaultkey.h). The whole directory, so that
 * those of a daemon that is started later do not show up in it either. */
static const char *const credentials[] = {"/run/credentials", "/etc/credstore", "/etc/credstore.encrypted"};
/* What docker and podman make read-only too; absent ones are fine. */
static const char *const proc_parts[] = {"sys", "sysrq-trigger", "irq", "bus", "fs"};

/* One blank-separated field with mountinfo's octal escapes undone. */
static int field(const char **at, char *out, size_t cap)
{
	const char *p = *at;
	size_t n = 0;

	while (*p && *p != ' ' && *p != '\n') {
		char c = *p++;

		if (c == '\\') {
			int v = 0;

			for (int i = 0; i < 3; i++, p++) {
				if (*p < '0' || *p > '7')
					return -EBADMSG;
				v = v * 8 + (*p - '0');
			}
			if (v == 0 || v > 255)
				return -EBADMSG;
			c = (char)v;
		}
		if (n + 1 >= cap)
			return -EBADMSG;
		out[n++] = c;
	}
	if (n == 0)
		return -EBADMSG;
	out[n] = '\0';
	*at = *p == ' ' ? p + 1 : p;
	return 0;
}

int run_mounts_parse(const char *line, char *point, size_t cap, char type[32])
{
	const char *dash = strstr(line, " - "), *at = line;
	char skipped[PATH_MAX], path[PATH_MAX], word[32];

	if (!dash)
		return -EBADMSG;
	for (int i = 0; i < 4; i++)
		if (field(&at, skipped, sizeof(skipped)))
			return -EBADMSG;
	if (field(&at, path, sizeof(path)) || path[0] != '/' || strlen(path) >= cap || at > dash)
		return -EBADMSG;
	at = dash + 3;
	if (field(&at, word, sizeof(word)))
		return -EBADMSG;
	memcpy(point, path, strlen(path) + 1);
	memcpy(type, word, sizeof(word));
	return 0;
}

static bool in_list(const char *word, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(word, list[i]))
			return true;
	return false;
}

/* Flags that a remount must repeat, or it would take them away. */
static unsigned long flags_of(const char *path)
{
	static const struct { unsigned long st, ms; } map[] = {
		{ST_NOSUID, MS_NOSUID}, {ST_NODEV, MS_NODEV},	    {ST_NOEXEC, MS_NOEXEC},
		{ST_NOATIME, MS_NOATIME}, {ST_NODIRATIME, MS_NODIRATIME}, {ST_RELATIME, MS_RELATIME},
	};
	struct statvfs vfs;
	unsigned long flags = 0;

	if (statvfs(path, &vfs) < 0)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(map); i++)
		if (vfs.f_flag & map[i].st)
			flags |= map[i].ms;
	return flags;
}

static int read_only(const char *path, struct err *e)
{
	if (mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags_of(path), NULL) < 0)
		return err_set(e, -errno, "cannot make %s read-only for the command: %s", path, strerror(errno));
	return 0;
}

static int empty(const char *path, unsigned long flags, struct err *e)
{
	if (mount("agentsecrets", path, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | flags, "mode=0755,size=64k") < 0)
		return err_set(e, -errno, "cannot hide %s from the command: %s", path, strerror(errno));
	return 0;
}

/* Binds a part of procfs over itself, read-only. */
static int proc_read_only(const char *point, struct err *e)
{
	for (size_t i = 0; i < ARRAY_SIZE(proc_parts); i++) {
		char path[PATH_MAX];
		int rc;

		if ((size_t)snprintf(path, sizeof(path), "%s/%s", point, proc_parts[i]) >= sizeof(path))
			return err_set(e, -ENAMETOOLONG, "%s is too long a path", point);
		if (mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0) {
			if (errno == ENOENT)
				continue;
			return err_set(e, -errno, "cannot make %s read-only for the command: %s", path,
				       strerror(errno));
		}
		rc = read_only(path, e);
		if (rc)
			return rc;
	}
	return 0;
}

/* A mount point that cannot be looked up lies under another mount: nobody can reach it then. */
static bool reachable(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 || (errno != ENOENT && errno != ENOTDIR);
}

static int treat(const char *line, struct err *e)
{
	char point[PATH_MAX], type[32];

	if (run_mounts_parse(line, point, sizeof(point), type))
		return err_set(e, -EBADMSG, "a line of /proc/self/mountinfo is not understood");
	if (!reachable(point))
		return 0;
	if (in_list(type, read_only_types, ARRAY_SIZE(read_only_types)))
		return read_only(point, e);
	if (in_list(type, empty_types, ARRAY_SIZE(empty_types)))
		return empty(point, MS_RDONLY, e);
	if (!strcmp(type, "proc"))
		return proc_read_only(point, e);
	return 0;
}

/* The list is read whole before anything is changed, since every change shows up in it. */
static int treat_all(struct err *e)
{
	auto_free char *text = NULL;
	size_t cap = 0;
	char *save = NULL;
	FILE *f = fopen("/proc/self/mountinfo", "re");
	ssize_t n;
	int rc = 0;

	if (!f)
		return err_set(e, -errno, "cannot read /proc/self/mountinfo: %s", strerror(errno));
	n = getdelim(&text, &cap, '\0', f);
	(void)fclose(f);
	if (n <= 0)
		return err_set(e, -EIO, "cannot read /proc/self/mountinfo");
	for (char *line = strtok_r(text, "\n", &save); line && !rc; line = strtok_r(NULL, "\n", &save))
		rc = treat(line, e);
	return rc;
}

/* dir's part below base ("" when equal), or NULL. */
static const char *below(const char *base, const char *dir)
{
	size_t len = strlen(base);

	while (len > 1 && base[len - 1] == '/')
		len--;
	if (strncmp(base, dir, len) || (dir[len] && dir[len] != '/'))
		return NULL;
	return dir + len;
}

/* mkdir -p of rel below base. */
static int make_dirs(const char *base, const char *rel, struct err *e)
{
	char path[PATH_MAX];

	for (size_t i = 1; rel[0]; i++) {
		if (rel[i] && rel[i] != '/')
			continue;
		if ((size_t)snprintf(path, sizeof(path), "%s%.*s", base, (int)i, rel) >= sizeof(path))
			return err_set(e, -ENAMETOOLONG, "%s is too long a path", base);
		if (mkdir(path, 0755) < 0 && errno != EEXIST)
			return err_set(e, -errno, "cannot make %s: %s", path, strerror(errno));
		if (!rel[i])
			break;
	}
	return 0;
}

/* Empties a directory of the daemon's; the trust directory in it (by a descriptor taken before) is
 * bound back. */
static int hide_dir(const char *dir, const struct run_hide *hide, int trust, struct err *e)
{
	const char *rel = below(dir, hide->trust_dir);
	char by_fd[64];
	int rc;

	if (!strcmp(dir, "/") || (rel && !rel[0]))
		return err_set(e, -EINVAL, "%s cannot be hidden from the command: give the daemon directories of "
			       "its own (state_dir, run_dir)", dir);
	if (!reachable(dir))
		return 0;
	rc = empty(dir, 0, e);
	if (rc)
		return rc;
	if (rel) {
		rc = make_dirs(dir, rel, e);
		if (rc)
			return rc;
		(void)snprintf(by_fd, sizeof(by_fd), "/proc/self/fd/%d", trust);
		if (mount(by_fd, hide->trust_dir, NULL, MS_BIND, NULL) < 0)
			return err_set(e, -errno, "cannot show %s to the command: %s", hide->trust_dir,
				       strerror(errno));
		rc = read_only(hide->trust_dir, e);
		if (rc)
			return rc;
	}
	return read_only(dir, e);
}

/* Daemon's directories, the outer one first when one lies in the other. */
static int hide_daemon(const struct run_hide *hide, struct err *e)
{
	auto_close int trust = open(hide->trust_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool nested = below(hide->run_dir, hide->state_dir) != NULL;
	const char *outer = nested ? hide->run_dir : hide->state_dir;
	const char *inner = nested ? hide->state_dir : hide->run_dir;
	int rc;

	if (trust < 0)
		return err_set(e, -errno, "cannot open %s: %s", hide->trust_dir, strerror(errno));
	rc = hide_dir(outer, hide, trust, e);
	if (rc || !reachable(inner))
		return rc;
	return below(inner, hide->trust_dir) && below(outer, inner) ? 0 : hide_dir(inner, hide, trust, e);
}

int run_mounts_enter(const struct run_hide *hide, struct err *e)
{
	char cwd[PATH_MAX];
	int rc;

	if (!getcwd(cwd, sizeof(cwd)))
		return err_set(e, -errno, "the current directory cannot be found: %s", strerror(errno));
	if (unshare(CLONE_NEWNS) < 0)
		return err_set(e, -errno, "cannot make a mount namespace: %s. Without CAP_SYS_ADMIN a command "
			       "cannot be guarded as root; run it as an ordinary user", strerror(errno));
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0)
		return err_set(e, -errno, "cannot separate the mounts: %s", strerror(errno));
	rc = treat_all(e);
	for (size_t i = 0; i < ARRAY_SIZE(credentials) && !rc; i++)
		if (reachable(credentials[i]))
			rc = empty(credentials[i], MS_RDONLY, e);
	if (!rc)
		rc = hide_daemon(hide, e);
	if (rc)
		return rc;
	if (chdir(cwd) < 0)
		return err_set(e, -errno, "the current directory %s is hidden from the command: change to another "
			       "and try again", cwd);
	return 0;
}
