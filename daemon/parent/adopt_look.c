/* adopt_look.c: every descriptor of a tree that stands still. See adopt.h.
 *
 * What there is comes from two sides that must agree: the kernel's own list (fds.bpf.c) and /proc/<pid>/fd. A socket
 * that only one of them shows is refused.
 */
#include "adopt_in.h"
#include "adopt_judge.h"

#include "cgroup.h"
#include "tree.h"

#include "fds.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define STREAM_MAX (64u << 20) /* bytes of one iterator's output: a million sockets */
#define JOURNAL    "/run/systemd/journal/stdout"

/* ---- what the kernel lists ---- */

/* Everything an iterator writes; malloc'ed. */
static int adopt_stream(struct bpf_program *prog, char **ret, size_t *ret_len)
{
	struct bpf_link *link = bpf_program__attach_iter(prog, NULL);
	auto_free char *buf = NULL;
	size_t len = 0, cap = 0;
	auto_close int fd = -1;
	ssize_t n = 1;

	fd = link ? bpf_iter_create(bpf_link__fd(link)) : -1;
	if (fd < 0)
		n = errno == EINTR ? -EAGAIN : -errno;
	while (n > 0) {
		if (len == cap) {
			char *grown = cap < STREAM_MAX ? realloc(buf, cap ? cap * 2 : 65536) : NULL;

			if (!grown) {
				n = -ENOMEM;
				break;
			}
			buf = grown;
			cap = cap ? cap * 2 : 65536;
		}
		do
			n = read(fd, buf + len, cap - len);
		while (n < 0 && (errno == EINTR || errno == EAGAIN));
		n = n < 0 ? -errno : n;
		len += n > 0 ? (size_t)n : 0;
	}
	(void)links_free(link);
	if (n < 0)
		return (int)n;
	*ret = take(buf);
	*ret_len = len;
	return 0;
}

struct look {
	const pid_t *pids;
	size_t pid_count;
	struct fds_socket *s; /* of these processes, by (tgid, fd) */
	size_t count;
	uint64_t *sks; /* the same sockets' identities, ascending */
	const char *inside;
	char mount[CONFIG_PATH_MAX];
	pid_t *holder;
	struct err *e;
};

static bool look_has_pid(const struct look *l, uint32_t tgid)
{
	pid_t pid = (pid_t)tgid;

	return bsearch(&pid, l->pids, l->pid_count, sizeof(pid), tree_cmp_pid) != NULL;
}

static void name_of(pid_t pid, char out[64])
{
	char path[48];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (!f || !fgets(out, 64, f))
		(void)snprintf(out, 64, "?");
	out[strcspn(out, "\n")] = '\0';
	if (f)
		(void)fclose(f);
}

/* The sentence for what cannot be adopted. */
static int look_refuse(struct look *l, pid_t pid, const char *what, int fd)
{
	char name[64], where[32] = "";

	name_of(pid, name);
	if (fd >= 0)
		(void)snprintf(where, sizeof(where), " (descriptor %d)", fd);
	*l->holder = pid;
	return err_set(
		l->e, -EBUSY,
		"process %d (%s) has %s%s, which cannot be put under guard; end that process, attach with "
		"--kill, which ends it, or start it with agentsecrets run",
		(int)pid, name, what, where);
}

static int cmp_socket(const void *a, const void *b)
{
	const struct fds_socket *x = a, *y = b;

	if (x->tgid != y->tgid)
		return x->tgid < y->tgid ? -1 : 1;
	return x->fd < y->fd ? -1 : x->fd > y->fd;
}

static int cmp_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int look_sockets(struct look *l, struct adopt *a)
{
	size_t len = 0, n, i;
	char *bytes = NULL;
	int rc = adopt_stream(a->fds->progs.fds_sockets, &bytes, &len);

	if (rc < 0 || len % sizeof(struct fds_socket)) {
		free(bytes);
		return err_set(l->e, rc < 0 ? rc : -EPROTO,
			       "the kernel's list of sockets cannot be read: %s",
			       strerror(rc < 0 ? -rc : EPROTO));
	}
	l->s = (struct fds_socket *)bytes;
	n = len / sizeof(struct fds_socket);
	for (i = 0; i < n; i++)
		if (look_has_pid(l, l->s[i].tgid))
			l->s[l->count++] = l->s[i];
	l->sks = calloc(l->count + 1, sizeof(*l->sks));
	if (!l->sks)
		return err_set(l->e, -ENOMEM, "out of memory");
	for (i = 0; i < l->count; i++)
		l->sks[i] = l->s[i].sk;
	if (l->count) {
		qsort(l->s, l->count, sizeof(*l->s), cmp_socket);
		qsort(l->sks, l->count, sizeof(*l->sks), cmp_u64);
	}
	return 0;
}

static int look_urings(struct look *l, struct adopt *a)
{
	auto_free char *bytes = NULL;
	struct fds_uring u;
	size_t len = 0;
	int rc = adopt_stream(a->fds->progs.fds_urings, &bytes, &len);

	if (rc < 0 || len % sizeof(u))
		return err_set(l->e, rc < 0 ? rc : -EPROTO,
			       "the kernel's list of tasks cannot be read: %s",
			       strerror(rc < 0 ? -rc : EPROTO));
	for (size_t at = 0; at < len; at += sizeof(u)) {
		memcpy(&u, bytes + at, sizeof(u));
		if (look_has_pid(l, u.tgid))
			return look_refuse(l, (pid_t)u.tgid, "an io_uring", -1);
	}
	return 0;
}

/* ---- one descriptor ---- */

int adopt_dup(const struct fds_socket *s, int *ret)
{
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, s->tgid, 0), fd = -1;
	struct stat st;

	if (pidfd < 0)
		return -errno;
	fd = (int)syscall(SYS_pidfd_getfd, pidfd, s->fd, 0);
	if (fd < 0 || fstat(fd, &st) != 0)
		return -errno;
	if (!S_ISSOCK(st.st_mode) || st.st_ino != s->ino)
		return -ESTALE;
	*ret = take_fd(&fd);
	return 0;
}

/* A service's standard output to the journal: goes one way, to root's own daemon. */
static bool look_is_journal(const struct fds_socket *s)
{
	struct sockaddr_un un = {0};
	socklen_t len = sizeof(un) - 1, cred_len = sizeof(struct ucred);
	struct ucred cred = {.uid = 1};
	auto_close int fd = -1;

	return s->type == SOCK_STREAM && adopt_dup(s, &fd) == 0 &&
	       getpeername(fd, (struct sockaddr *)&un, &len) == 0 &&
	       strcmp(un.sun_path, JOURNAL) == 0 &&
	       getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &cred_len) == 0 && cred.uid == 0;
}

static int look_unix(struct look *l, const struct fds_socket *s)
{
	char path[64], text[512] = "";
	auto_close int fd = -1;

	(void)snprintf(path, sizeof(path), "/proc/%u/fdinfo/%u", s->tgid, s->fd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return look_refuse(l, (pid_t)s->tgid, "a unix socket that cannot be looked at",
				   (int)s->fd);
	return adopt_in_flight(text)
		       ? look_refuse(l, (pid_t)s->tgid, "descriptors on their way in a unix socket",
				     (int)s->fd)
		       : 0;
}

static int look_birth(struct look *l, const struct fds_socket *s, struct adopt_found *f,
		      bool *inside)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < f->birth_count; i++)
		if (f->births[i] == s->cgroup)
			return 0;
	if (cgroup_find(l->mount, s->cgroup, path, sizeof(path)) < 0)
		return look_refuse(l, (pid_t)s->tgid,
				   "a socket made in a cgroup that exists no more", (int)s->fd);
	*inside = l->inside && cgroup_within(l->inside, path);
	if (*inside)
		return 0;
	if (strcmp(path, l->mount) == 0)
		return look_refuse(
			l, (pid_t)s->tgid,
			"a socket made in the root cgroup, where a program would stand in the way of "
			"the whole machine",
			(int)s->fd);
	if (f->birth_count == ADOPT_BIRTHS_MAX)
		return look_refuse(l, (pid_t)s->tgid, "sockets made in too many cgroups",
				   (int)s->fd);
	f->births[f->birth_count++] = s->cgroup;
	return 0;
}

static int look_ip(struct look *l, const struct fds_socket *s, struct adopt_found *f)
{
	bool inside = false;
	int rc = look_birth(l, s, f, &inside);

	if (rc == 0)
		f->sockets[f->count++] = (struct adopt_socket){.s = *s, .born_inside = inside};
	return rc;
}

static int look_socket(struct look *l, pid_t pid, int fd, struct adopt_found *f)
{
	struct fds_socket key = {.tgid = (uint32_t)pid, .fd = (uint32_t)fd};
	const struct fds_socket *s = l->count ? bsearch(&key, l->s, l->count, sizeof(key),
							cmp_socket)
					      : NULL;
	const char *why;
	bool peer;

	if (!s || s->tid != s->tgid)
		return look_refuse(l, pid, "a socket that the kernel does not list", fd);
	peer = s->peer && bsearch(&s->peer, l->sks, l->count, sizeof(s->peer), cmp_u64);
	switch (adopt_judge(s, peer, &why)) {
	case ADOPT_MARK:
		return look_ip(l, s, f);
	case ADOPT_IGNORE:
		return s->family == AF_UNIX ? look_unix(l, s) : 0;
	case ADOPT_REFUSE:
		break;
	}
	if (s->family == AF_UNIX && look_is_journal(s))
		return look_unix(l, s);
	return look_refuse(l, pid, why, fd);
}

static int look_fd(struct look *l, pid_t pid, int dir, const char *name, struct adopt_found *f)
{
	char target[PATH_MAX];
	const char *why;
	struct statx st;
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	/* DONT_SYNC: a file of FUSE may be served by a process that is frozen now, and would never answer. */
	if (n < 0 || statx(dir, name, AT_STATX_DONT_SYNC, STATX_TYPE, &st) != 0)
		return look_refuse(l, pid, "a descriptor that cannot be looked at", atoi(name));
	target[n] = '\0';
	if (S_ISSOCK(st.stx_mode))
		return look_socket(l, pid, atoi(name), f);
	why = adopt_file(target, st.stx_mode, makedev(st.stx_rdev_major, st.stx_rdev_minor));
	return why ? look_refuse(l, pid, why, atoi(name)) : 0;
}

static int look_process(struct look *l, pid_t pid, struct adopt_found *f)
{
	char path[48];
	struct dirent *entry;
	int rc = 0;
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	d = opendir(path);
	if (!d)
		return look_refuse(l, pid, "descriptors that cannot be looked at", -1);
	while (rc == 0 && (entry = readdir(d)))
		if (entry->d_name[0] != '.')
			rc = look_fd(l, pid, dirfd(d), entry->d_name, f);
	(void)closedir(d);
	return rc;
}

/* A thread may have a table of its own, which /proc/<pid>/fd does not show. */
static int look_threads(struct look *l)
{
	for (size_t i = 0; i < l->count; i++)
		if (l->s[i].tid != l->s[i].tgid)
			return look_refuse(l, (pid_t)l->s[i].tgid,
					   "a thread with descriptors of its own", (int)l->s[i].fd);
	return 0;
}

static int look_all(struct look *l, struct adopt *a, struct adopt_found *f)
{
	int rc = cgroup_mount(l->mount, sizeof(l->mount), l->e);

	if (rc == 0)
		rc = look_urings(l, a);
	if (rc == 0)
		rc = look_sockets(l, a);
	if (rc == 0)
		rc = look_threads(l);
	if (rc < 0)
		return rc;
	f->sockets = calloc(l->count + 1, sizeof(*f->sockets));
	if (!f->sockets)
		return err_set(l->e, -ENOMEM, "out of memory");
	for (size_t i = 0; i < l->pid_count && rc == 0; i++)
		rc = look_process(l, l->pids[i], f);
	return rc;
}

int adopt_look(struct adopt *a, const pid_t *pids, size_t count, const char *inside,
	       struct adopt_found *ret, pid_t *holder, struct err *e)
{
	struct look l = {
		.pids = pids, .pid_count = count, .inside = inside, .holder = holder, .e = e};
	struct adopt_found f = {0};
	int rc = look_all(&l, a, &f);

	free(l.s);
	free(l.sks);
	if (rc < 0) {
		adopt_found_done(&f);
		return rc;
	}
	*ret = f;
	return 0;
}

void adopt_found_done(struct adopt_found *f)
{
	free(f->sockets);
	*f = (struct adopt_found){0};
}
