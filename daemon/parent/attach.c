/* attach.c: see attach.h. The order, in which each step is closed before the next one opens anything:
 *
 *	look at the process, choose the place → guard made there, its state closed (guards.c) → a socket made inside for the
 *	canary → the tree stands still → what it holds is looked at → moved, until nobody is left behind → old sockets
 *	marked, programs on their birth cgroups, connected ones reset → state open → canary → the tree goes on
 *
 * Until the tree goes on everything can be put back, and is. Freezing a cgroup is preferred, also one shared with
 * others, who wait some milliseconds; the caller's and the daemon's own cannot be, nor the root: there by signal.
 */
#include "attach_in.h"

#include "cgroup.h"
#include "fdio.h"
#include "guards.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define ATTACH_KILLS    1024
#define ATTACH_END_MS   3000
#define ATTACH_METADATA 0xa9fea9feu /* 169.254.169.254 */
/* NET_ADMIN, NET_RAW, SYS_MODULE, SYS_RAWIO, SYS_PTRACE, SYS_ADMIN, BPF */
#define ATTACH_CAPS                                                                                \
	(1ull << 12 | 1ull << 13 | 1ull << 16 | 1ull << 17 | 1ull << 19 | 1ull << 21 | 1ull << 39)

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
	rc = attach_check(&a);
	if (rc == 0)
		rc = guards_adopt(p, e);
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
