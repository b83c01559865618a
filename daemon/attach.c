/* attach.c: see attach.h. The order, in which each step is closed before the next one opens anything:
 *
 *	look at the process, choose the place → guard made there, its state closed (guards.c) → a socket made inside for the
 *	canary → the tree stands still → what it holds is looked at → moved, until nobody is left behind → old sockets
 *	marked, programs on their birth cgroups, connected ones reset → state open → canary → the tree goes on
 *
 * Until the tree goes on everything can be put back, and is. Freezing a cgroup is preferred, also one shared with
 * others, who wait some milliseconds; the caller's and the daemon's own cannot be, nor the root: there by signal.
 */
#include "attach.h"

#include "adopt.h"
#include "cgroup.h"
#include "fdio.h"
#include "guards.h"
#include "loop.h"
#include "tree.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ATTACH_PIDS_MAX 65536
#define ATTACH_PASSES   200
#define ATTACH_KILLS    1024
#define ATTACH_END_MS   3000
#define ATTACH_METADATA 0xa9fea9feu /* 169.254.169.254 */
/* NET_ADMIN, NET_RAW, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, BPF */
#define ATTACH_CAPS                                                                                \
	(1ull << 12 | 1ull << 13 | 1ull << 16 | 1ull << 17 | 1ull << 19 | 1ull << 21 | 1ull << 39)

struct attach {
	struct parent *p;
	const struct attach_ask *ask;
	struct attach_told *told;
	struct tree tree;
	char mount[CONFIG_PATH_MAX];
	char path[PARENT_CGROUP_MAX]; /* of the process's cgroup */
	char own[PARENT_CGROUP_MAX];  /* the guard in place; "": to be moved */
	struct guard *g;
	struct adopt_found found;
	int canary;  /* a socket born in the guard */
	int source;  /* the cgroup the tree came from, while it is frozen by us */
	bool held;   /* the guard's cgroup is frozen by us */
	bool taken;  /* marks may have been set */
	pid_t *pids; /* of the tree, ascending, while it stands still */
	size_t count;
	struct err *e;
};

/* ---- which cgroup is a container's ---- */

static bool attach_hex(const char *s, size_t n, size_t least)
{
	for (size_t i = 0; i < n; i++)
		if (!isxdigit((unsigned char)s[i]))
			return false;
	return n >= least;
}

/* One directory's name: docker-<id>.scope, libpod-<id>, a bare <id> below docker or a pod, and the like. */
static bool attach_is_container(const char *name, size_t n, const char *above, size_t above_len)
{
	static const char *const runtimes[] = {"docker-", "libpod-",  "cri-containerd-",
					       "crio-",   "nerdctl-", "podman-"};
	static const char scope[] = ".scope";

	if (n > sizeof(scope) - 1 &&
	    memcmp(name + n - (sizeof(scope) - 1), scope, sizeof(scope) - 1) == 0)
		n -= sizeof(scope) - 1;
	for (size_t i = 0; i < ARRAY_SIZE(runtimes); i++) {
		size_t r = strlen(runtimes[i]);

		if (n > r && memcmp(name, runtimes[i], r) == 0)
			return attach_hex(name + r, n - r, 12);
	}
	if ((above_len == 6 && memcmp(above, "docker", 6) == 0) ||
	    (above_len > 3 && memcmp(above, "pod", 3) == 0))
		return attach_hex(name, n, 12);
	return above_len == 3 && memcmp(above, "lxc", 3) == 0 && n > 0;
}

size_t attach_container(const char *path)
{
	const char *above = "", *at = path;
	size_t above_len = 0;

	while (*at == '/') {
		const char *name = at + 1;
		size_t n = strcspn(name, "/");

		if (attach_is_container(name, n, above, above_len))
			return (size_t)(name + n - path);
		above = name;
		above_len = n;
		at = name + n;
	}
	return 0;
}

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

static bool attach_is_ours(const struct attach *a, pid_t pid)
{
	if (pid == getpid())
		return true;
	for (size_t i = 0; i < a->p->proc_count; i++)
		if (a->p->procs[i].pid == pid && pid)
			return true;
	return false;
}

static bool attach_live(const struct tree_proc *p)
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

static int attach_check_members(struct attach *a)
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

static int attach_check_namespaces(struct attach *a)
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
static int attach_list(struct attach *a, int dir, pid_t **ret, size_t *count)
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

static bool attach_all_within(const struct attach *a, const char *dir)
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
	container = attach_container(a->path + strlen(a->mount));
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

static int attach_prepare(struct attach *a)
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
	return rc == 0 ? guards_adopt(a->p, a->e) : rc;
}

/* ---- the canary: a socket born inside, used at the end ---- */

static int attach_canary_child(int cgroup, pid_t like, const char *own, int to)
{
	char path[PARENT_CGROUP_MAX];
	auto_close int leaf = -1, fd = -1;
	uint64_t id;

	/* In place the process's own cgroup: one above it may not hold processes itself. */
	if (own[0] && cgroup_of(like, path, sizeof(path), &id, NULL) == 0)
		leaf = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (cgroup_move(leaf >= 0 ? leaf : cgroup, getpid(), NULL) < 0)
		return 1;
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	return fd < 0 || fdio_send(to, "c", 1, fd) < 0;
}

static int attach_canary_make(struct attach *a, int cgroup)
{
	auto_close int mine = -1, theirs = -1;
	struct pollfd wait = {.events = POLLIN};
	int pair[2], status = 0;
	pid_t pid;
	ssize_t n;
	char c;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return err_set(a->e, -errno, "socketpair: %s", strerror(errno));
	mine = pair[0];
	theirs = pair[1];
	pid = fork();
	if (pid == 0)
		_exit(attach_canary_child(cgroup, a->ask->pid, a->own, theirs));
	own_close(&theirs);
	wait.fd = mine;
	n = pid < 0 || poll(&wait, 1, ATTACH_END_MS) != 1 ? -EIO
							  : fdio_recv(mine, &c, 1, 0, &a->canary);
	if (pid > 0)
		(void)kill(pid, SIGKILL);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return n == 1 && a->canary >= 0
		       ? 0
		       : err_set(a->e, -EIO,
				 "no canary could be started in the cgroup of process %d",
				 (int)a->ask->pid);
}

static int attach_canary_sings(struct attach *a)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(80),
				 .sin_addr.s_addr = htonl(ATTACH_METADATA)};

	if (connect(a->canary, (struct sockaddr *)&to, sizeof(to)) != 0 && errno == EPERM)
		return enforce_alive(a->p->en, a->g->id) < 0
			       ? err_set(a->e, -EPROTO,
					 "the programs are not attached any more; nothing was changed")
			       : 0;
	return err_set(
		a->e, -EPROTO,
		"the canary reached the metadata address: the programs do not run in that cgroup; nothing "
		"was changed");
}

/* ---- standing still ---- */

/* May everybody in that cgroup wait for a moment: not the root, not us, not who asked. */
static bool attach_may_freeze(struct attach *a, int source)
{
	auto_free pid_t *pids = NULL;
	size_t count = 0;

	if (strcmp(a->path, a->mount) == 0 || attach_list(a, source, &pids, &count) < 0 ||
	    count == ATTACH_PIDS_MAX)
		return false;
	for (size_t i = 0; i < count; i++)
		if (attach_is_ours(a, pids[i]) || pids[i] == a->ask->caller)
			return false;
	return attach_all_within(a, a->path);
}

static int attach_rescan(struct attach *a)
{
	int rc = tree_scan(&a->tree);

	return rc < 0 ? err_set(a->e, rc, "the processes cannot be listed: %s", strerror(-rc)) : 0;
}

/* Frozen: whoever was started in between is in it too. */
static int attach_hold_own(struct attach *a)
{
	auto_free pid_t *pids = NULL;
	size_t count = 0;
	bool was = false;
	int rc = tree_freeze(a->g->cgroup_fd, true, &was, a->e);

	if (rc < 0)
		return rc;
	a->held = !was;
	rc = attach_rescan(a);
	if (rc == 0)
		rc = attach_list(a, a->g->cgroup_fd, &pids, &count);
	for (size_t i = 0; i < count && rc == 0; i++)
		if (tree_find(&a->tree, pids[i]))
			tree_find(&a->tree, pids[i])->in = true;
	return rc;
}

static int attach_hold_shared(struct attach *a, int *source)
{
	bool was = false;
	int rc = tree_freeze(*source, true, &was, a->e);

	if (rc < 0)
		return rc;
	if (!was)
		a->source = take_fd(source);
	rc = attach_rescan(a);
	if (rc == 0 && !attach_all_within(a, a->path))
		rc = err_set(a->e, -EAGAIN,
			     "processes of the tree change their cgroup meanwhile; try again");
	return rc;
}

static int attach_hold_each(struct attach *a)
{
	int rc = tree_stop(&a->tree, a->e);

	if (rc == 0 && !attach_all_within(a, a->path))
		rc = err_set(
			a->e, -EPERM,
			"the tree of process %d is spread over several cgroups; attach its parts one by one",
			(int)a->ask->pid);
	return rc;
}

static int attach_still(struct attach *a)
{
	auto_close int source = -1;

	if (a->own[0])
		return attach_hold_own(a);
	source = open(a->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source >= 0 && attach_may_freeze(a, source))
		return attach_hold_shared(a, &source);
	return attach_hold_each(a);
}

/* ---- looking, and killing what cannot stay ---- */

static int attach_pids(struct attach *a)
{
	int rc;

	own_free(&a->pids);
	rc = tree_pids(&a->tree, &a->pids, &a->count);
	if (rc < 0)
		return err_set(a->e, rc, "out of memory");
	return a->count ? 0
			: err_set(a->e, -ESRCH, "nobody is left of the tree of process %d",
				  (int)a->ask->pid);
}

static int attach_kill(struct attach *a, pid_t pid)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd gone = {.fd = fd, .events = POLLIN};

	if (fd < 0 || syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0) < 0 ||
	    poll(&gone, 1, ATTACH_END_MS) != 1)
		return err_set(a->e, -EIO, "process %d could not be ended", (int)pid);
	if (a->told->killed < ATTACH_KILLED_MAX)
		a->told->killed_pids[a->told->killed] = pid;
	a->told->killed++;
	return attach_rescan(a);
}

static int attach_look(struct attach *a)
{
	pid_t holder = 0;
	int rc;

	for (int i = 0; i < ATTACH_KILLS; i++) {
		rc = attach_check_members(a);
		if (rc == 0)
			rc = attach_check_namespaces(a);
		if (rc == 0)
			rc = attach_pids(a);
		if (rc == 0)
			rc = adopt_look(a->p->adopt, a->pids, a->count, a->own[0] ? a->own : NULL,
					&a->found, &holder, a->e);
		if (rc != -EBUSY || !a->ask->kill)
			return rc;
		rc = attach_kill(a, holder);
		if (rc < 0)
			return rc;
	}
	return err_set(a->e, -EBUSY,
		       "more than %d processes had to be ended; nothing else was changed",
		       ATTACH_KILLS);
}

/* ---- moving ---- */

/* Moves who is not there yet; how many those were. */
static int attach_move_once(struct attach *a)
{
	auto_free pid_t *there = NULL;
	size_t count = 0;
	int moved = 0, rc = attach_list(a, a->g->cgroup_fd, &there, &count);

	if (rc < 0)
		return rc;
	qsort(there, count, sizeof(*there), tree_cmp_pid);
	for (size_t i = 0; i < a->tree.count; i++) {
		pid_t pid = a->tree.procs[i].pid;
		struct tree_proc now;

		if (!attach_live(&a->tree.procs[i]) ||
		    bsearch(&pid, there, count, sizeof(pid), tree_cmp_pid))
			continue;
		if (tree_one(pid, &now) < 0 || now.state == 'Z' || now.state == 'X')
			continue;
		moved++;
		rc = cgroup_move(a->g->cgroup_fd, pid, a->e);
		if (rc < 0 && tree_one(pid, &now) == 0 && now.state != 'Z' && now.state != 'X')
			return rc;
	}
	return moved;
}

static int attach_move(struct attach *a)
{
	int rc = tree_freeze(a->g->cgroup_fd, true, NULL, a->e), moved = 1;

	if (rc < 0)
		return rc;
	a->held = true;
	for (int i = 0; i < ATTACH_PASSES && moved > 0; i++) {
		moved = attach_move_once(a);
		rc = moved < 0 ? moved : attach_rescan(a);
		if (rc < 0)
			return rc;
	}
	if (moved > 0)
		return err_set(
			a->e, -EAGAIN,
			"the tree of process %d starts new processes faster than they can be moved",
			(int)a->ask->pid);
	/* They stand still where they are now. */
	if (a->source >= 0)
		(void)!tree_freeze(a->source, false, NULL, NULL);
	own_close(&a->source);
	tree_go_on(&a->tree);
	return 0;
}

/* ---- the rest of the order ---- */

static int attach_settle(struct attach *a)
{
	struct eg_guard closed = {.id = a->g->id};
	int rc = 0;

	a->taken = true;
	if (a->found.birth_count && adopt_ward(a->p->adopt, &closed) < 0)
		return err_set(a->e, -EIO,
			       "the guard's state for adopted sockets cannot be written");
	rc = adopt_take(a->p->adopt, a->p->en, &a->found, a->g->id, a->e);
	if (rc == 0)
		rc = guards_settle(a->p, a->g, a->found.births, a->found.birth_count, a->e);
	return rc == 0 ? attach_canary_sings(a) : rc;
}

static pid_t attach_privileged(const struct attach *a)
{
	for (size_t i = 0; i < a->count; i++) {
		auto_close int dir = -1;
		auto_free char *text = NULL;
		char path[32];
		const char *at;
		size_t n;

		(void)snprintf(path, sizeof(path), "/proc/%d", (int)a->pids[i]);
		dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (dir < 0 || fdio_read_file(dir, "status", 16384, &text, &n) < 0)
			continue;
		at = strstr(text, "\nCapEff:");
		if (at && (strtoull(at + 8, NULL, 16) & ATTACH_CAPS))
			return a->pids[i];
	}
	return 0;
}

static void attach_tell(struct attach *a)
{
	size_t i;

	a->told->guard = a->g;
	a->told->processes = a->count;
	a->told->privileged = attach_privileged(a);
	for (i = 0; i < a->found.count; i++)
		a->told->adopted += !a->found.sockets[i].born_inside;
}

/* A closed guard refuses socket(2): in place the canary's is made before, in a fresh cgroup while nobody else is in. */
static int attach_guard_own(struct attach *a)
{
	auto_close int own = open(a->own, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int rc;

	if (own < 0)
		return err_set(a->e, -errno, "cgroup %s: %s", a->own, strerror(errno));
	rc = attach_canary_make(a, own);
	return rc < 0 ? rc
		      : guards_attach(a->p, a->ask->pid, a->ask->workspace, a->own, "", &a->g,
				      a->e);
}

static int attach_guard_fresh(struct attach *a)
{
	struct eg_guard state = {.flags = EG_GUARD_OPEN};
	int rc = guards_attach(a->p, a->ask->pid, a->ask->workspace, NULL, a->path, &a->g, a->e);

	if (rc < 0)
		return rc;
	state.id = a->g->id;
	state.proxy_port = a->p->cfg.proxy_port;
	state.dns_port = a->g->dns_port;
	rc = enforce_set(a->p->en, &state, a->e);
	if (rc == 0)
		rc = attach_canary_make(a, a->g->cgroup_fd);
	state.flags = 0;
	return rc < 0 ? rc : enforce_set(a->p->en, &state, a->e);
}

static int attach_steps(struct attach *a)
{
	int rc = a->own[0] ? attach_guard_own(a) : attach_guard_fresh(a);

	if (rc == 0)
		rc = attach_still(a);
	if (rc == 0)
		rc = attach_look(a);
	if (rc == 0 && !a->own[0])
		rc = attach_move(a);
	if (rc == 0)
		rc = attach_settle(a);
	if (rc < 0)
		return rc;
	attach_tell(a);
	a->told->reset = adopt_reset(&a->found);
	return 0;
}

/* ---- back, and on ---- */

/* To where they were; how many stay. */
static size_t attach_back(const struct guard *g)
{
	auto_close int origin = g->origin[0] ? open(g->origin, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
					     : -1;
	pid_t pids[256];
	size_t n = cgroup_pids(g->cgroup_fd, pids, ARRAY_SIZE(pids));

	for (int pass = 0; pass < ATTACH_PASSES && n && origin >= 0; pass++) {
		for (size_t i = 0; i < n; i++)
			(void)!cgroup_move(origin, pids[i], NULL);
		n = cgroup_pids(g->cgroup_fd, pids, ARRAY_SIZE(pids));
	}
	return n;
}

static void attach_revert(struct attach *a)
{
	if (a->taken)
		adopt_leave(a->p->adopt, &a->found);
	if (a->g && !a->own[0])
		(void)attach_back(a->g);
	if (a->g && a->held)
		(void)!tree_freeze(a->g->cgroup_fd, false, NULL, NULL);
	if (a->g)
		guards_drop(a->p, a->g);
	if (a->taken)
		guards_births_drop(a->p, a->found.births, a->found.birth_count);
	if (a->source >= 0)
		(void)!tree_freeze(a->source, false, NULL, NULL);
	tree_go_on(&a->tree);
}

static void attach_done(struct attach *a)
{
	adopt_found_done(&a->found);
	tree_done(&a->tree);
	own_free(&a->pids);
	own_close(&a->canary);
	own_close(&a->source);
}

int attach_run(struct parent *p, const struct attach_ask *ask, struct attach_told *ret,
	       struct err *e)
{
	struct attach a = {.p = p, .ask = ask, .told = ret, .canary = -1, .source = -1, .e = e};
	int rc;

	*ret = (struct attach_told){0};
	rc = attach_prepare(&a);
	if (rc == 0) {
		rc = attach_steps(&a);
		if (rc < 0)
			attach_revert(&a);
		else if (a.held)
			(void)!tree_freeze(a.g->cgroup_fd, false, NULL, NULL);
	}
	attach_done(&a);
	return rc;
}

/* ---- detach ---- */

struct guard *attach_find(struct parent *p, const char *which, struct err *e)
{
	char path[PARENT_CGROUP_MAX], *end;
	unsigned long long number;
	struct guard *g;
	uint64_t id;

	errno = 0;
	number = strtoull(which, &end, 10);
	if (*which < '0' || *which > '9' || *end || errno) {
		(void)err_set(
			e, -EINVAL,
			"name a guard by its number (agentsecrets cgroup list) or by a process in it");
		return NULL;
	}
	g = guards_find(p, number);
	if (g || number > INT32_MAX || cgroup_of((pid_t)number, path, sizeof(path), &id, NULL) < 0)
		goto out;
	for (size_t i = 0; i < EG_GUARDS_MAX && !g; i++)
		if (p->guards[i].id && cgroup_within(p->guards[i].path, path))
			g = &p->guards[i];
out:
	if (!g)
		(void)err_set(
			e, -ENOENT,
			"there is no guard %s and no guarded process of that number; see: agentsecrets cgroup "
			"list",
			which);
	return g;
}

/* Marks come off those sockets that its processes still have. */
static void attach_unmark(struct parent *p, const struct guard *g)
{
	auto_free pid_t *pids = calloc(ATTACH_PIDS_MAX, sizeof(*pids));
	struct adopt_found found = {0};
	pid_t holder;
	size_t n;

	if (!pids || !p->adopt || !g->birth_count)
		return;
	n = cgroup_pids(g->cgroup_fd, pids, ATTACH_PIDS_MAX);
	qsort(pids, n, sizeof(*pids), tree_cmp_pid);
	if (adopt_look(p->adopt, pids, n, g->path, &found, &holder, NULL) == 0)
		adopt_leave(p->adopt, &found);
	adopt_found_done(&found);
}

int attach_undo(struct parent *p, struct guard *g, size_t *stay, struct err *e)
{
	if (!g->origin[0] && !g->in_place)
		return err_set(
			e, -EINVAL,
			"guard %s is that of an agentsecrets run and ends with the last process in it; end "
			"those",
			g->name);
	attach_unmark(p, g);
	*stay = g->in_place ? 0 : attach_back(g);
	guards_drop(p, g);
	return 0;
}
