/* attach_check.c: may this tree be attached, and where. Nothing is changed here. See attach.h. */
#include "attach_in.h"

#include "cgroup.h"
#include "container.h"
#include "fdio.h"
#include "guards.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

/* ---- refusals that need no look inside ---- */

static int attach_check_pid(struct attach *a)
{
	pid_t pid = a->ask->pid;
	struct tree_proc one;
	int rc = tree_one(pid, &one);

	if (rc == -ESRCH || pid <= 0)
		return err_set(a->e, -ESRCH, "there is no process %d", (int)pid);
	if (rc < 0)
		return err_set(a->e, rc, "process %d cannot be looked at: %s", (int)pid,
			       strerror(-rc));
	if (one.state == 'Z' || one.state == 'X')
		return err_set(a->e, -ESRCH,
			       "process %d has ended already and waits for its parent only",
			       (int)pid);
	if (one.flags & TREE_KTHREAD)
		return err_set(a->e, -EPERM, "process %d is a thread of the kernel", (int)pid);
	rc = tree_scan(&a->tree);
	if (rc < 0)
		return err_set(a->e, rc, "the processes cannot be listed: %s", strerror(-rc));
	if (!tree_find(&a->tree, pid))
		return err_set(a->e, -EINVAL, "%d is a thread; give the id of its process",
			       (int)pid);
	tree_find(&a->tree, pid)->in = true;
	tree_close(&a->tree);
	return 0;
}

bool attach_is_ours(const struct attach *a, pid_t pid)
{
	if (pid == getpid())
		return true;
	for (size_t i = 0; i < a->p->proc_count; i++)
		if (a->p->procs[i].pid == pid && pid)
			return true;
	return false;
}

bool attach_live(const struct tree_proc *p)
{
	return p->in && p->state != 'Z' && p->state != 'X';
}

/* Ended since it was listed: what it started instead is listed next time. */
static bool attach_gone(const struct tree_proc *p)
{
	struct tree_proc now = {0};

	return tree_one(p->pid, &now) == -ESRCH ||
	       now.start != p->start || now.state == 'Z' || now.state == 'X';
}

/* Nobody of the tree may be the daemon, its children, the caller, or guarded already. */
static int attach_check_member(struct attach *a, const struct tree_proc *p)
{
	if (p->pid == a->ask->caller)
		return err_set(
			a->e, -EPERM,
			"process %d started this command, or leads its session or group: it would be put "
			"under guard itself; attach from another terminal",
			(int)a->ask->pid);
	if (!a->g && guards_holds(a->p, p->pid) && !attach_gone(p))
		return err_set(a->e, -EEXIST,
			       "process %d is under guard already; see: agentsecrets cgroup list",
			       (int)p->pid);
	return 0;
}

int attach_check_members(struct attach *a)
{
	int rc = 0;

	for (size_t i = 0; i < a->tree.count; i++)
		if (attach_live(&a->tree.procs[i]) && attach_is_ours(a, a->tree.procs[i].pid))
			return err_set(
				a->e, -EPERM,
				"process %d is agentsecretsd, or holds it: what guards cannot be guarded",
				(int)a->ask->pid);
	for (size_t i = 0; i < a->tree.count && rc == 0; i++)
		if (attach_live(&a->tree.procs[i]))
			rc = attach_check_member(a, &a->tree.procs[i]);
	return rc;
}

/* The network namespace of a thread, as its link names it. */
static int attach_netns(pid_t pid, const char *tid, char out[128])
{
	char path[320];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%s/ns/net", (int)pid, tid);
	n = readlink(path, out, 127);
	out[n > 0 ? n : 0] = '\0';
	return n > 0 ? 0 : -ENOENT;
}

/* One process's threads: all in its network namespace. */
static int attach_check_threads(struct attach *a, pid_t pid)
{
	char path[48], first[128] = "", one[128];
	struct dirent *entry;
	int rc = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	d = opendir(path);
	if (!d)
		return 0; /* it has ended; who is left is looked at again */
	while (rc == 0 && (entry = readdir(d))) {
		if (entry->d_name[0] == '.' || attach_netns(pid, entry->d_name, one) < 0)
			continue;
		if (!first[0])
			memcpy(first, one, sizeof(first));
		if (strcmp(one, first) != 0)
			rc = err_set(
				a->e, -EPERM,
				"the threads of process %d are in different network namespaces, of which a "
				"guard can serve one",
				(int)pid);
	}
	(void)closedir(d);
	return rc;
}

int attach_check_namespaces(struct attach *a)
{
	int rc = 0;

	for (size_t i = 0; i < a->tree.count && rc == 0; i++)
		if (attach_live(&a->tree.procs[i]))
			rc = attach_check_threads(a, a->tree.procs[i].pid);
	return rc;
}

/* ---- the place ---- */

static bool attach_in(pid_t pid, const char *dir)
{
	char path[PARENT_CGROUP_MAX];
	uint64_t id;

	return cgroup_of(pid, path, sizeof(path), &id, NULL) == 0 && cgroup_within(dir, path);
}

/* Those in a directory of cgroups; malloc'ed. */
int attach_list(struct attach *a, int dir, pid_t **ret, size_t *count)
{
	pid_t *pids = calloc(ATTACH_PIDS_MAX, sizeof(*pids));

	if (!pids)
		return err_set(a->e, -ENOMEM, "out of memory");
	*count = cgroup_pids(dir, pids, ATTACH_PIDS_MAX);
	*ret = pids;
	return 0;
}

static bool attach_pidns(pid_t pid, char out[64])
{
	char path[32];
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/pid", (int)pid);
	n = readlink(path, out, 63);
	out[n > 0 ? n : 0] = '\0';
	return n > 0;
}

/* In the process's own pid namespace, which is not ours: a container has one, whatever its cgroup is called. */
static bool attach_contained(const struct attach *a, pid_t pid)
{
	char ours[64], theirs[64], one[64];

	return attach_pidns(getpid(), ours) && attach_pidns(a->ask->pid, theirs) && attach_pidns(pid, one) &&
	       strcmp(ours, theirs) != 0 && strcmp(theirs, one) == 0;
}

/* Brings those of a container into the tree; of any other cgroup, those whose parent has ended since the process was
 * started: nobody else can have started them there. False: others live in it. */
static bool attach_embrace(struct attach *a, const pid_t *pids, size_t count, bool container)
{
	struct tree_proc *root = tree_find(&a->tree, a->ask->pid);
	bool all = true;

	for (size_t i = 0; i < count; i++) {
		struct tree_proc *p = tree_find(&a->tree, pids[i]);

		if (!p || p->in)
			continue;
		if (container || attach_contained(a, pids[i]) ||
		    (root && root->ppid != 1 && p->ppid == 1 && p->start >= root->start))
			p->in = true;
	}
	tree_close(&a->tree);
	for (size_t i = 0; i < count; i++) {
		const struct tree_proc *p = tree_find(&a->tree, pids[i]);

		all = all && (!p || p->in);
	}
	return all;
}

bool attach_all_within(const struct attach *a, const char *dir)
{
	for (size_t i = 0; i < a->tree.count; i++)
		if (attach_live(&a->tree.procs[i]) && !attach_in(a->tree.procs[i].pid, dir) &&
		    !attach_gone(&a->tree.procs[i]))
			return false;
	return true;
}

/* Is `dir` the tree's own: nobody else in it, everybody of the tree in it, and root's. */
static int attach_try_own(struct attach *a, const char *dir, bool container)
{
	auto_close int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct tree before = a->tree;
	auto_free pid_t *pids = NULL;
	size_t count = 0;
	bool own;
	int rc;

	if (strcmp(dir, a->mount) == 0 || cgroup_within(dir, a->p->cfg.cgroup_root) ||
	    cgroup_check_owner(a->mount, dir, NULL) < 0)
		return 0;
	if (fd < 0)
		return err_set(a->e, -errno, "cgroup %s: %s", dir, strerror(errno));
	rc = attach_list(a, fd, &pids, &count);
	if (rc < 0)
		return rc;
	/* Undone when the cgroup is not its own after all. */
	before.procs = calloc(a->tree.count + 1, sizeof(*before.procs));
	if (!before.procs)
		return err_set(a->e, -ENOMEM, "out of memory");
	memcpy(before.procs, a->tree.procs, a->tree.count * sizeof(*before.procs));
	own = attach_embrace(a, pids, count, container) && attach_all_within(a, dir);
	if (!own)
		memcpy(a->tree.procs, before.procs, a->tree.count * sizeof(*before.procs));
	free(before.procs);
	if (own)
		(void)snprintf(a->own, sizeof(a->own), "%s", dir);
	return 0;
}

static int attach_place(struct attach *a)
{
	char dir[PARENT_CGROUP_MAX];
	size_t container;
	uint64_t id;
	int rc = cgroup_mount(a->mount, sizeof(a->mount), a->e);

	if (rc == 0)
		rc = cgroup_of(a->ask->pid, a->path, sizeof(a->path), &id, a->e);
	if (rc < 0)
		return rc;
	container = container_of(a->path + strlen(a->mount));
	(void)snprintf(dir, sizeof(dir), "%.*s",
		       container ? (int)(strlen(a->mount) + container) : (int)sizeof(dir), a->path);
	rc = attach_try_own(a, dir, container > 0);
	if (rc < 0)
		return rc;
	if (container && !a->own[0] && cgroup_check_owner(a->mount, dir, NULL) == 0)
		return err_set(
			a->e, -EPERM,
			"process %d belongs to the container %s, but some of its tree runs outside of that; "
			"attach those on their own",
			(int)a->ask->pid, dir);
	return 0;
}

/* Also where it is moved away from: what stands there would be in force no more. */
static int attach_check_programs(struct attach *a)
{
	auto_close int fd = open(a->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return err_set(a->e, -errno, "cgroup %s: %s", a->path, strerror(errno));
	return enforce_check_path(a->p->en, fd, a->e);
}

/* Paused by its runtime or its user, and to stay so. */
static int attach_check_frozen(struct attach *a)
{
	auto_close int dir = open(a->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	auto_free char *text = NULL;
	size_t n;

	/* The root has no such file. */
	if (dir < 0 || fdio_read_file(dir, "cgroup.events", 4096, &text, &n) < 0 ||
	    !strstr(text, "frozen 1"))
		return 0;
	return err_set(a->e, -EBUSY, "process %d is frozen with its cgroup %s; let it go on first",
		       (int)a->ask->pid, a->path);
}

int attach_check(struct attach *a)
{
	int rc = attach_check_pid(a);

	if (rc == 0)
		rc = attach_check_members(a);
	if (rc == 0)
		rc = attach_place(a);
	if (rc == 0)
		rc = attach_check_members(a);
	if (rc == 0)
		rc = attach_check_namespaces(a);
	if (rc == 0)
		rc = attach_check_frozen(a);
	if (rc == 0)
		rc = attach_check_programs(a);
	return rc;
}
