/* tree.c: see tree.h.
 *
 * Stopping without a cgroup to freeze: a process that forks faster than /proc can be read is caught by its process
 * group, since kill(2) on a group and fork(2) exclude each other, and a fork with a signal pending starts over. A group
 * is signalled only when its leader is a member, so that nobody else is in it. What forks and leaves its group every
 * time is looked for until the time is over, and then let go.
 */
#include "tree.h"

#include "loop.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>

#define TREE_MAX       262144
#define TREE_STOP_MS   3000
#define TREE_FREEZE_MS 2000

int tree_parse(const char *text, struct tree_proc *ret)
{
	const char *tail = strrchr(
		text, ')'); /* the name may hold anything, a ) too; nothing after it does */
	unsigned long long start;
	struct tree_proc p = {0};
	unsigned int flags;

	if (!tail || sscanf(text, "%d (", &p.pid) != 1 || p.pid <= 0)
		return -EBADMSG;
	if (sscanf(tail,
		   ") %c %d %d %d %*d %*d %u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu",
		   &p.state, &p.ppid, &p.pgid, &p.sid, &flags, &start) != 6)
		return -EBADMSG;
	p.flags = flags;
	p.start = start;
	*ret = p;
	return 0;
}

int tree_one(pid_t pid, struct tree_proc *ret)
{
	char path[48], text[1024];
	auto_close int fd = -1;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	if (n < 0)
		return errno == ENOENT || errno == ESRCH ? -ESRCH : -errno;
	text[n] = '\0';
	return n == 0 ? -ESRCH : tree_parse(text, ret);
}

static int by_pid(const void *a, const void *b)
{
	const struct tree_proc *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

struct tree_proc *tree_find(const struct tree *t, pid_t pid)
{
	struct tree_proc key = {.pid = pid};

	return t->count ? bsearch(&key, t->procs, t->count, sizeof(key), by_pid) : NULL;
}

static bool is_member(const struct tree *t, pid_t pid)
{
	const struct tree_proc *p = pid > 0 ? tree_find(t, pid) : NULL;

	return p && p->in;
}

void tree_close(struct tree *t)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < t->count; i++) {
			struct tree_proc *p = &t->procs[i];

			if (p->in || (p->flags & TREE_KTHREAD))
				continue;
			p->in = is_member(t, p->ppid) || is_member(t, p->pgid) ||
				is_member(t, p->sid);
			more = more || p->in;
		}
	}
}

static int add(struct tree *t, const struct tree_proc *p)
{
	struct tree_proc *grown;

	if (t->count == t->cap) {
		size_t cap = t->cap ? t->cap * 2 : 1024;

		grown = cap > TREE_MAX ? NULL : reallocarray(t->procs, cap, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		t->procs = grown;
		t->cap = cap;
	}
	t->procs[t->count++] = *p;
	return 0;
}

static int read_all(struct tree *t)
{
	DIR *d = opendir("/proc");
	struct dirent *entry;
	int rc = 0;

	if (!d)
		return -errno;
	while (rc == 0 && (entry = readdir(d))) {
		struct tree_proc p;

		if (entry->d_name[0] < '1' || entry->d_name[0] > '9' ||
		    tree_one(atoi(entry->d_name), &p) < 0)
			continue;
		rc = add(t, &p);
	}
	(void)closedir(d);
	qsort(t->procs, t->count, sizeof(*t->procs), by_pid);
	return rc;
}

int tree_scan(struct tree *t)
{
	struct tree now = {0};
	int rc = read_all(&now);

	if (rc < 0) {
		tree_done(&now);
		return rc;
	}
	for (size_t i = 0; i < t->count; i++) {
		struct tree_proc *p = t->procs[i].in ? tree_find(&now, t->procs[i].pid) : NULL;

		if (p && p->start == t->procs[i].start) {
			p->in = true;
			p->stopped = t->procs[i].stopped;
		}
	}
	tree_close(&now);
	tree_done(t);
	*t = now;
	return 0;
}

void tree_done(struct tree *t)
{
	free(t->procs);
	*t = (struct tree){0};
}

static bool ended(const struct tree_proc *p)
{
	return p->state == 'Z' || p->state == 'X';
}

int tree_cmp_pid(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return x < y ? -1 : x > y;
}

int tree_pids(const struct tree *t, pid_t **ret, size_t *count)
{
	pid_t *pids = calloc(t->count + 1, sizeof(*pids));
	size_t n = 0;

	if (!pids)
		return -ENOMEM;
	for (size_t i = 0; i < t->count; i++)
		if (t->procs[i].in && !ended(&t->procs[i]))
			pids[n++] = t->procs[i].pid;
	*ret = pids;
	*count = n;
	return 0;
}

/* ---- stopping ---- */

/* By pidfd, after a look at whether the pid still is that process. */
static void send(const struct tree_proc *p, int sig)
{
	auto_close int fd = (int)syscall(SYS_pidfd_open, p->pid, 0);
	struct tree_proc now;

	if (fd >= 0 && tree_one(p->pid, &now) == 0 && now.start == p->start)
		(void)syscall(SYS_pidfd_send_signal, fd, sig, NULL, 0);
}

static bool is_stopped(const struct tree_proc *p)
{
	return p->state == 'T' || p->state == 't' || ended(p);
}

/* Signals who still runs; how many those were. */
static size_t stop_once(struct tree *t)
{
	size_t n = 0;

	for (size_t i = 0; i < t->count; i++) {
		struct tree_proc *p = &t->procs[i];

		if (!p->in || is_stopped(p))
			continue;
		n++;
		p->stopped = true;
		if (is_member(t, p->pgid) && p->pgid != getpgrp())
			(void)kill(-p->pgid, SIGSTOP);
		send(p, SIGSTOP);
	}
	return n;
}

/* Who was caught by its group alone was not seen running: it was, since nobody else had stopped it before. */
static void note_stopped(struct tree *t, const struct tree *before)
{
	for (size_t i = 0; i < t->count; i++) {
		struct tree_proc *p = &t->procs[i];

		if (p->in && p->state == 'T' && !tree_find(before, p->pid))
			p->stopped = true;
	}
}

static int copy_of(const struct tree *t, struct tree *ret)
{
	ret->procs = calloc(t->count + 1, sizeof(*ret->procs));
	if (!ret->procs)
		return -ENOMEM;
	memcpy(ret->procs, t->procs, t->count * sizeof(*ret->procs));
	ret->count = ret->cap = t->count;
	return 0;
}

/* One round: 1 when everybody was found stopped, 0 when not. */
static int stop_round(struct tree *t)
{
	struct tree before = {0};
	size_t running = stop_once(t);
	int rc = copy_of(t, &before);

	if (rc == 0)
		rc = tree_scan(t);
	if (rc == 0)
		note_stopped(t, &before);
	tree_done(&before);
	return rc < 0 ? rc : running == 0;
}

int tree_stop(struct tree *t, struct err *e)
{
	uint64_t end = loop_now_ms() + TREE_STOP_MS;
	int quiet = 0, rc = 0;

	while (quiet < 2 && loop_now_ms() < end) {
		const struct timespec pause = {.tv_nsec = 1000000};

		rc = stop_round(t);
		if (rc < 0)
			return err_set(e, rc, "the processes cannot be listed: %s", strerror(-rc));
		quiet = rc ? quiet + 1 : 0;
		if (!rc)
			(void)nanosleep(&pause, NULL);
	}
	return quiet == 2
		       ? 0
		       : err_set(e, -EAGAIN,
				 "its processes start new ones faster than they can be stopped; put them in "
				 "a cgroup of their own (systemd-run --scope) and attach that, or use agentsecrets run");
}

void tree_go_on(struct tree *t)
{
	for (size_t i = 0; i < t->count; i++) {
		if (t->procs[i].in && t->procs[i].stopped)
			send(&t->procs[i], SIGCONT);
		t->procs[i].stopped = false;
	}
}

/* ---- freezing ---- */

static int read_small(int dir, const char *name, char text[256])
{
	auto_close int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, 255);

	if (n < 0)
		return -errno;
	text[n] = '\0';
	return 0;
}

static bool is_frozen(int cgroup_fd)
{
	char text[256];

	return read_small(cgroup_fd, "cgroup.events", text) == 0 && strstr(text, "frozen 1");
}

int tree_freeze(int cgroup_fd, bool frozen, bool *was, struct err *e)
{
	auto_close int fd = openat(cgroup_fd, "cgroup.freeze", O_WRONLY | O_CLOEXEC);
	const struct timespec pause = {.tv_nsec = 500000};
	uint64_t end = loop_now_ms() + TREE_FREEZE_MS;
	char text[256];
	int rc = read_small(cgroup_fd, "cgroup.freeze", text);

	if (rc < 0 || fd < 0 || write(fd, frozen ? "1" : "0", 1) != 1)
		return err_set(e, rc < 0 ? rc : -errno, "the cgroup cannot be frozen: %s",
			       strerror(rc < 0 ? -rc : errno));
	if (was)
		*was = text[0] == '1';
	while (frozen && !is_frozen(cgroup_fd)) {
		if (loop_now_ms() > end) {
			(void)!write(fd, text[0] == '1' ? "1" : "0", 1);
			return err_set(
				e, -ETIMEDOUT,
				"a process of the cgroup did not stop within %d s (it waits in the kernel)",
				TREE_FREEZE_MS / 1000);
		}
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}
