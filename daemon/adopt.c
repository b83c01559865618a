/* adopt.c: see adopt.h. Beside enforce.c, links.c and levels.c the only module that knows libbpf.
 *
 * What there is comes from two sides that must agree: the kernel's own list (fds.bpf.c) and /proc/<pid>/fd. A socket
 * that only one of them shows is refused. No descriptor is kept: each step duplicates, does its one thing, closes.
 *
 * Connected sockets are reset by connect(AF_UNSPEC) on the duplicate, which is what a program would do itself, works in
 * every network namespace and leaves the socket closed, marked and usable. Connections that wait in an accept queue
 * were made before the mark and have none: they are taken out and closed.
 */
#include "adopt.h"

#include "cgroup.h"
#include "links.h"
#include "log.h"

#include "adopted.skel.h"
#include "fds.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <fts.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>

#define STREAM_MAX  (64u << 20) /* bytes of one iterator's output: a million sockets */
#define BIRTHS_MAX  64
#define BACKLOG_MAX 65536
#define JOURNAL     "/run/systemd/journal/stdout"

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

/* All of egress.bpf.c but sock_create: these sockets exist. */
static const struct links_row rows[] = {
	{"egress_skb_out", BPF_CGROUP_INET_EGRESS},
	{"egress_skb_in", BPF_CGROUP_INET_INGRESS},
	{"egress_setsockopt", BPF_CGROUP_SETSOCKOPT},
	{"egress_bind4", BPF_CGROUP_INET4_BIND},
	{"egress_bind6", BPF_CGROUP_INET6_BIND},
	{"egress_sockops", BPF_CGROUP_SOCK_OPS},
	{"egress_getpeername4", BPF_CGROUP_INET4_GETPEERNAME},
	{"egress_getpeername6", BPF_CGROUP_INET6_GETPEERNAME},
	{"egress_recvmsg4", BPF_CGROUP_UDP4_RECVMSG},
	{"egress_recvmsg6", BPF_CGROUP_UDP6_RECVMSG},
	{"egress_sendmsg4", BPF_CGROUP_UDP4_SENDMSG},
	{"egress_sendmsg6", BPF_CGROUP_UDP6_SENDMSG},
	{"egress_connect4", BPF_CGROUP_INET4_CONNECT},
	{"egress_connect6", BPF_CGROUP_INET6_CONNECT},
};
#define ROWS ARRAY_SIZE(rows)

struct birth {
	uint64_t id;
	struct bpf_link *link[ROWS];
};

struct adopt {
	struct adopted *skel;
	struct fds *fds;
	char dir[LINKS_DIR_MAX]; /* <bpffs>/v<EG_LAYOUT> */
	struct birth births[BIRTHS_MAX];
	size_t count;
};

/* ---- pure ---- */

static bool adopt_ip(const struct fds_socket *s)
{
	if (s->type == SOCK_RAW)
		return true;
	if (s->type == SOCK_STREAM)
		return s->protocol == IPPROTO_TCP;
	return s->type == SOCK_DGRAM &&
	       (s->protocol == IPPROTO_UDP || s->protocol == IPPROTO_UDPLITE ||
		s->protocol == IPPROTO_ICMP || s->protocol == IPPROTO_ICMPV6);
}

enum adopt_verdict adopt_judge(const struct fds_socket *s, bool peer_inside, const char **why)
{
	*why = "a socket of a family that cannot be held";
	switch (s->family) {
	case AF_NETLINK:
		return ADOPT_IGNORE;
	case AF_UNIX:
		*why = "a unix connection to a process outside";
		return !s->peer || peer_inside ? ADOPT_IGNORE : ADOPT_REFUSE;
	case AF_INET:
	case AF_INET6:
		*why = s->protocol == IPPROTO_MPTCP
			       ? "an MPTCP socket"
			       : "an IP socket that is not TCP, UDP, ICMP or raw";
		return adopt_ip(s) ? ADOPT_MARK : ADOPT_REFUSE;
	case AF_PACKET:
		*why = "a packet socket";
		break;
	case AF_VSOCK:
		*why = "a vsock socket";
		break;
	case AF_XDP:
		*why = "an XDP socket";
		break;
	}
	return ADOPT_REFUSE;
}

const char *adopt_file(const char *target, mode_t mode, dev_t rdev)
{
	if (strncmp(target, "anon_inode:[io_uring", 20) == 0)
		return "an io_uring";
	if (strncmp(target, "anon_inode:bpf", 14) == 0 ||
	    strncmp(target, "anon_inode:[bpf", 15) == 0)
		return "a BPF program, map or link";
	if (!S_ISCHR(mode))
		return NULL;
	if (rdev == makedev(10, 200) || strncmp(target, "/dev/tap", 8) == 0)
		return "a TUN or TAP device";
	if (rdev == makedev(10, 238) || rdev == makedev(10, 241))
		return "a vhost device";
	return rdev == makedev(108, 0) ? "a PPP device" : NULL;
}

unsigned int adopt_in_flight(const char *fdinfo)
{
	const char *at = strstr(fdinfo, "scm_fds:");

	return at ? (unsigned int)strtoul(at + 8, NULL, 10) : 0;
}

/* ---- loading ---- */

static bool adopt_has(const char *name)
{
	for (size_t i = 0; i < ROWS; i++)
		if (strcmp(rows[i].name, name) == 0)
			return true;
	return false;
}

static int adopt_prepare(struct adopt *a, uint16_t explicit_port)
{
	char path[PATH_MAX];
	struct bpf_program *prog;
	struct bpf_map *map;
	int rc = 0;

	a->skel->rodata->explicit_port = explicit_port;
	bpf_object__for_each_program(prog, a->skel->obj) if (rc == 0)
		rc = bpf_program__set_autoload(prog, adopt_has(bpf_program__name(prog)));
	bpf_object__for_each_map(map, a->skel->obj) {
		(void)snprintf(path, sizeof(path), "%s/maps/%s", a->dir, bpf_map__name(map));
		if (rc == 0 && !bpf_map__is_internal(map))
			rc = bpf_map__set_pin_path(map, path);
	}
	return rc;
}

static int adopt_load(struct adopt *a, uint16_t explicit_port, struct err *e)
{
	int rc;

	a->skel = adopted__open();
	a->fds = fds__open();
	if (!a->skel || !a->fds)
		return err_set(e, -errno,
			       "the BPF object for existing sockets cannot be opened: %s",
			       strerror(errno));
	rc = adopt_prepare(a, explicit_port);
	if (rc == 0)
		rc = adopted__load(a->skel);
	if (rc == 0)
		rc = fds__load(a->fds);
	return rc < 0 ? err_set(e, rc,
				"the programs that find and hold existing sockets cannot be loaded (%s); Linux 5.15 or "
				"newer with CONFIG_DEBUG_INFO_BTF is needed for attach",
				strerror(-rc))
		      : 0;
}

static struct bpf_program *adopt_program(struct adopt *a, size_t row)
{
	return bpf_object__find_program_by_name(a->skel->obj, rows[row].name);
}

/* ---- birth cgroups ---- */

static void adopt_birth_dir(const struct adopt *a, uint64_t id, char out[LINKS_DIR_MAX + 32])
{
	(void)snprintf(out, LINKS_DIR_MAX + 32, "%s/adopt/%" PRIu64, a->dir, id);
}

static struct birth *adopt_birth(struct adopt *a, uint64_t id)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->births[i].id == id)
			return &a->births[i];
	return NULL;
}

static void adopt_birth_end(struct adopt *a, struct birth *b)
{
	char dir[LINKS_DIR_MAX + 32];

	adopt_birth_dir(a, b->id, dir);
	for (size_t i = 0; i < ROWS; i++)
		b->link[i] = links_detach(b->link[i]);
	links_unpin(dir, rows, ROWS);
	(void)rmdir(dir);
}

void adopt_birth_drop(struct adopt *a, uint64_t birth)
{
	struct birth *b = adopt_birth(a, birth);

	if (!b)
		return;
	adopt_birth_end(a, b);
	*b = a->births[--a->count];
}

void adopt_births_keep(struct adopt *a, const uint64_t *keep, size_t count)
{
	size_t i = 0, j;

	while (i < a->count) {
		for (j = 0; j < count && keep[j] != a->births[i].id; j++)
			;
		if (j == count)
			adopt_birth_drop(a, a->births[i].id);
		else
			i++;
	}
}

size_t adopt_birth_fds(struct adopt *a, uint64_t birth, int *fds, size_t max)
{
	struct birth *b = adopt_birth(a, birth);
	size_t n = 0;

	for (size_t i = 0; b && i < ROWS && n < max; i++)
		fds[n++] = bpf_link__fd(b->link[i]);
	return n;
}

/* One pinned directory after a restart; what is not whole any more goes, with its cgroup or its attacher. */
static void adopt_restore_one(struct adopt *a, uint64_t id)
{
	struct birth *b = &a->births[a->count];
	char dir[LINKS_DIR_MAX + 32];
	int rc = 0;

	*b = (struct birth){.id = id};
	adopt_birth_dir(a, id, dir);
	for (size_t i = 0; rc == 0 && i < ROWS; i++)
		rc = links_take(adopt_program(a, i), dir, rows[i].name, id, &b->link[i]);
	if (rc == 0)
		a->count++;
	else
		log_warn("programs for adopted sockets of cgroup %" PRIu64 ": %s", id,
			 strerror(-rc));
	if (rc == -ENOLINK || rc == -ENOENT)
		adopt_birth_end(a, b);
}

static int adopt_restore(struct adopt *a, struct err *e)
{
	struct dirent **names = NULL;
	char path[PATH_MAX];
	int n;

	(void)snprintf(path, sizeof(path), "%s/adopt", a->dir);
	if (mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_set(e, -errno, "%s cannot be made: %s", path, strerror(errno));
	n = scandir(path, &names, NULL, NULL);
	if (n < 0)
		return err_set(e, -errno, "%s cannot be read: %s", path, strerror(errno));
	for (int i = 0; i < n; i++) {
		if (names[i]->d_name[0] >= '1' && names[i]->d_name[0] <= '9' &&
		    a->count < BIRTHS_MAX)
			adopt_restore_one(a, strtoull(names[i]->d_name, NULL, 10));
		free(names[i]);
	}
	free(names);
	return 0;
}

int adopt_open(const char *dir, uint16_t explicit_port, struct adopt **ret, struct err *e)
{
	struct adopt *a = calloc(1, sizeof(*a));
	int rc;

	if (!a)
		return err_set(e, -ENOMEM, "out of memory");
	(void)snprintf(a->dir, sizeof(a->dir), "%s", dir);
	rc = adopt_load(a, explicit_port, e);
	if (rc == 0)
		rc = adopt_restore(a, e);
	if (rc < 0) {
		(void)adopt_close(a);
		return rc;
	}
	*ret = a;
	return 0;
}

struct adopt *adopt_close(struct adopt *a)
{
	if (!a)
		return NULL;
	for (size_t i = 0; i < a->count; i++)
		for (size_t j = 0; j < ROWS; j++)
			a->births[i].link[j] = links_free(a->births[i].link[j]);
	adopted__destroy(a->skel);
	fds__destroy(a->fds);
	free(a);
	return NULL;
}

void adopt_remove(struct adopt *a)
{
	char path[PATH_MAX];

	adopt_births_keep(a, NULL, 0);
	(void)bpf_map__unpin(a->skel->maps.marks, NULL);
	(void)bpf_map__unpin(a->skel->maps.wards, NULL);
	(void)snprintf(path, sizeof(path), "%s/adopt", a->dir);
	(void)rmdir(path);
}

int adopt_ward(struct adopt *a, const struct eg_guard *state)
{
	return bpf_map_update_elem(bpf_map__fd(a->skel->maps.wards), &state->id, state, BPF_ANY) !=
			       0
		       ? -errno
		       : 0;
}

void adopt_ward_gone(struct adopt *a, uint64_t guard)
{
	(void)bpf_map_delete_elem(bpf_map__fd(a->skel->maps.wards), &guard);
}

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

static int cmp_pid(const void *a, const void *b)
{
	pid_t x = *(const pid_t *)a, y = *(const pid_t *)b;

	return x < y ? -1 : x > y;
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

	return bsearch(&pid, l->pids, l->pid_count, sizeof(pid), cmp_pid) != NULL;
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

/* A duplicate of the process's descriptor, still the same file. */
static int adopt_dup(const struct fds_socket *s, int *ret)
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

/* The path of a cgroup by its id, below the mount. */
static int look_cgroup(const struct look *l, uint64_t id, char *out, size_t cap)
{
	char *roots[] = {(char *)l->mount, NULL};
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

static int look_birth(struct look *l, const struct fds_socket *s, struct adopt_found *f,
		      bool *inside)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < f->birth_count; i++)
		if (f->births[i] == s->cgroup)
			return 0;
	if (look_cgroup(l, s->cgroup, path, sizeof(path)) < 0)
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
	struct stat st;
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0 || fstatat(dir, name, &st, 0) != 0)
		return look_refuse(l, pid, "a descriptor that cannot be looked at", atoi(name));
	target[n] = '\0';
	if (S_ISSOCK(st.st_mode))
		return look_socket(l, pid, atoi(name), f);
	why = adopt_file(target, st.st_mode, st.st_rdev);
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

/* ---- taking ---- */

static int adopt_mark(struct adopt *a, const struct fds_socket *s, uint64_t guard, struct err *e)
{
	auto_close int fd = -1;
	int rc = adopt_dup(s, &fd);

	if (rc == 0 &&
	    bpf_map_update_elem(bpf_map__fd(a->skel->maps.marks), &fd, &guard, BPF_ANY) != 0)
		rc = -errno;
	return rc < 0 ? err_set(e, rc, "descriptor %u of process %u cannot be marked: %s", s->fd,
				s->tgid, strerror(-rc))
		      : 0;
}

static int adopt_attach(struct adopt *a, struct birth *b, int cgroup, struct err *e)
{
	char dir[LINKS_DIR_MAX + 32];
	int rc = 0;

	adopt_birth_dir(a, b->id, dir);
	if (mkdir(dir, 0700) != 0 && errno != EEXIST)
		return err_set(e, -errno, "%s cannot be made: %s", dir, strerror(errno));
	for (size_t i = 0; rc == 0 && i < ROWS; i++)
		rc = links_attach(adopt_program(a, i), cgroup, &b->link[i], e);
	for (size_t i = 0; rc == 0 && i < ROWS; i++)
		rc = links_pin(b->link[i], dir, rows[i].name, e);
	for (size_t i = 0; rc == 0 && i < ROWS; i++)
		rc = links_in_force(adopt_program(a, i), rows[i].type, cgroup, e);
	return rc;
}

/* The programs on a birth cgroup, if they are not there yet. */
static int adopt_stand(struct adopt *a, struct enforce *en, uint64_t id, struct err *e)
{
	struct birth *b = &a->births[a->count];
	auto_close int cgroup = -1;
	struct look l = {0};
	char path[PATH_MAX];
	int rc;

	if (adopt_birth(a, id))
		return 0;
	if (a->count == BIRTHS_MAX)
		return err_set(e, -ENOSPC,
			       "sockets of more than %d cgroups are adopted; detach a guard first",
			       BIRTHS_MAX);
	rc = cgroup_mount(l.mount, sizeof(l.mount), e);
	if (rc == 0 && look_cgroup(&l, id, path, sizeof(path)) < 0)
		rc = err_set(e, -ESTALE, "the cgroup in which a socket was made is gone");
	cgroup = rc == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (rc == 0 && cgroup < 0)
		rc = err_set(e, -errno, "cgroup %s: %s", path, strerror(errno));
	if (rc == 0)
		rc = enforce_check_path(en, cgroup, e);
	if (rc < 0)
		return rc;
	*b = (struct birth){.id = id};
	rc = adopt_attach(a, b, cgroup, e);
	if (rc < 0)
		adopt_birth_end(a, b);
	else
		a->count++;
	return rc;
}

int adopt_take(struct adopt *a, struct enforce *en, const struct adopt_found *f, uint64_t guard,
	       struct err *e)
{
	int rc = 0;

	for (size_t i = 0; i < f->count && rc == 0; i++)
		if (!f->sockets[i].born_inside)
			rc = adopt_mark(a, &f->sockets[i].s, guard, e);
	for (size_t i = 0; i < f->birth_count && rc == 0; i++)
		rc = adopt_stand(a, en, f->births[i], e);
	return rc;
}

void adopt_leave(struct adopt *a, const struct adopt_found *f)
{
	for (size_t i = 0; i < f->count; i++) {
		auto_close int fd = -1;

		if (!f->sockets[i].born_inside && adopt_dup(&f->sockets[i].s, &fd) == 0)
			(void)bpf_map_delete_elem(bpf_map__fd(a->skel->maps.marks), &fd);
	}
}

/* With a reset: a connection of before the mark that closed politely would go on talking without one. */
static size_t adopt_drain(int fd)
{
	const struct linger at_once = {.l_onoff = 1};
	size_t n = 0;

	for (; n < BACKLOG_MAX; n++) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		auto_close int waiting = -1;

		if (poll(&p, 1, 0) != 1 || !(p.revents & POLLIN))
			break;
		waiting = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (waiting < 0)
			break;
		(void)setsockopt(waiting, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	}
	return n;
}

static size_t adopt_reset_one(const struct fds_socket *s)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};
	auto_close int fd = -1;

	if (s->type != SOCK_STREAM || s->state == TCP_CLOSE || adopt_dup(s, &fd) < 0)
		return 0;
	if (s->state == TCP_LISTEN)
		return adopt_drain(fd);
	return connect(fd, &none, sizeof(none)) == 0;
}

size_t adopt_reset(const struct adopt_found *f)
{
	size_t n = 0;

	for (size_t i = 0; i < f->count; i++)
		n += adopt_reset_one(&f->sockets[i].s);
	return n;
}
