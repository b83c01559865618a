/* adopt.c: see adopt.h. The programs on birth cgroups, and the marks by which they know a socket. Beside enforce*.c, links.c
 * and levels.c the only modules that know libbpf are this one and adopt_look.c.
 *
 * No descriptor is kept: each step duplicates, does its one thing, closes.
 *
 * Connected sockets are reset by connect(AF_UNSPEC) on the duplicate, which is what a program would do itself, works in
 * every network namespace and leaves the socket closed, marked and usable. Connections that wait in an accept queue
 * were made before the mark and have none: they are taken out and closed.
 */
#include "adopt_in.h"

#include "cgroup.h"
#include "log.h"

#include "adopted.skel.h"
#include "fds.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define BACKLOG_MAX 65536

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
_Static_assert(ROWS == ADOPT_ROWS, "a link for each row");

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

static struct adopt_birth *adopt_birth(struct adopt *a, uint64_t id)
{
	for (size_t i = 0; i < a->count; i++)
		if (a->births[i].id == id)
			return &a->births[i];
	return NULL;
}

static void adopt_birth_end(struct adopt *a, struct adopt_birth *b)
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
	struct adopt_birth *b = adopt_birth(a, birth);

	if (!b)
		return;
	adopt_birth_end(a, b);
	*b = a->births[--a->count];
}

size_t adopt_birth_fds(struct adopt *a, uint64_t birth, int *fds, size_t max)
{
	struct adopt_birth *b = adopt_birth(a, birth);
	size_t n = 0;

	for (size_t i = 0; b && i < ROWS && n < max; i++)
		fds[n++] = bpf_link__fd(b->link[i]);
	return n;
}

/* One pinned directory after a restart; what is not whole any more goes, with its cgroup or its attacher. */
static void adopt_restore_one(struct adopt *a, uint64_t id)
{
	struct adopt_birth *b = &a->births[a->count];
	char dir[LINKS_DIR_MAX + 32];
	int rc = 0;

	*b = (struct adopt_birth){.id = id};
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
		    a->count < ADOPT_CGROUPS_MAX)
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

	while (a->count)
		adopt_birth_drop(a, a->births[0].id);
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

static int adopt_attach(struct adopt *a, struct adopt_birth *b, int cgroup, struct err *e)
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
	struct adopt_birth *b = &a->births[a->count];
	auto_close int cgroup = -1;
	char mount[CONFIG_PATH_MAX], path[PATH_MAX];
	int rc;

	if (adopt_birth(a, id))
		return 0;
	if (a->count == ADOPT_CGROUPS_MAX)
		return err_set(e, -ENOSPC,
			       "sockets of more than %d cgroups are adopted; detach a guard first",
			       ADOPT_CGROUPS_MAX);
	rc = cgroup_mount(mount, sizeof(mount), e);
	if (rc == 0 && cgroup_find(mount, id, path, sizeof(path)) < 0)
		rc = err_set(e, -ESTALE, "the cgroup in which a socket was made is gone");
	cgroup = rc == 0 ? open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	if (rc == 0 && cgroup < 0)
		rc = err_set(e, -errno, "cgroup %s: %s", path, strerror(errno));
	if (rc == 0)
		rc = enforce_check_path(en, cgroup, e);
	if (rc < 0)
		return rc;
	*b = (struct adopt_birth){.id = id};
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
