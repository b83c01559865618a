/* levels.c: see levels.h.
 *
 * Order: load both objects, try the unix programs in a scratch cgroup that no LSM program counts as a guard, attach the
 * LSM programs to the parent, enter the scratch cgroup in `quota` and try those. An LSM program that is loaded,
 * attached and never run is what kernels without `bpf` in their list of LSMs give; so one attempt that goes
 * through takes all ten off again.
 *
 * LSM programs are attached once for all guards: the kernel carries ten different hooks, and detaching them has been
 * a source of its bugs. A guard that does not lie below the parent gets the same programs at its own place
 * (enforce.c).
 */
#include "levels.h"

#include "../../bpf/egress.h"

#include "lsm.skel.h"
#include "unixsock.skel.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Newer than the headers of Debian 12. */
#define UNIX_CONNECT 49
#define UNIX_SENDMSG 50

#define SCRATCH "canary" /* one that a daemon left when it was killed is taken up again */

const struct links_row levels_unix[CANARY_UNIX] = {
	{ "unix_connect", UNIX_CONNECT },
	{ "unix_sendmsg", UNIX_SENDMSG },
};

/* In the order of canary.c's attempts. */
const struct links_row levels_lsm[CANARY_LSM] = {
	{ "lsm_socket_create", BPF_LSM_CGROUP },
	{ "lsm_socket_connect", BPF_LSM_CGROUP },
	{ "lsm_socket_sendmsg", BPF_LSM_CGROUP },
	{ "lsm_socket_accept", BPF_LSM_CGROUP },
	{ "lsm_unix_stream_connect", BPF_LSM_CGROUP },
	{ "lsm_unix_may_send", BPF_LSM_CGROUP },
	{ "lsm_file_receive", BPF_LSM_CGROUP },
	{ "lsm_ptrace_access_check", BPF_LSM_CGROUP },
	{ "lsm_bpf", BPF_LSM_CGROUP },
	{ "lsm_inode_permission", BPF_LSM_CGROUP },
};

struct levels {
	struct bpf_object *base;
	struct unixsock *unix_skel; /* NULL: absent */
	struct lsm *lsm_skel;
	struct bpf_link *link[CANARY_LSM];
	int parent;
	char pins[LINKS_DIR_MAX]; /* "": not pinned */
	bool reaches_own;
	struct err why[2]; /* of L2, L3 */
};

/* ---- loading ------------------------------------------------------------------------------------ */

/* The maps of the same names in base stand in for the object's own. */
static int share_maps(struct bpf_object *obj, struct bpf_object *base)
{
	struct bpf_map *map, *of;
	int rc = 0;

	bpf_object__for_each_map(map, obj) {
		if (bpf_map__is_internal(map))
			continue;
		of = bpf_object__find_map_by_name(base, bpf_map__name(map));
		rc = of ? bpf_map__reuse_fd(map, bpf_map__fd(of)) : -ENOENT;
		if (rc)
			break;
	}
	return rc;
}

static int load_unix(struct levels *l)
{
	int rc;

	l->unix_skel = unixsock__open();
	if (!l->unix_skel)
		return -errno;
	for (size_t i = 0; i < CANARY_UNIX; i++) {
		struct bpf_program *p = levels_program(l, levels_unix[i].name);

		(void)bpf_program__set_type(p, BPF_PROG_TYPE_CGROUP_SOCK_ADDR);
		(void)bpf_program__set_expected_attach_type(p, (enum bpf_attach_type)levels_unix[i].type);
	}
	rc = share_maps(l->unix_skel->obj, l->base);
	return rc ? rc : unixsock__load(l->unix_skel);
}

static int load_lsm(struct levels *l)
{
	int rc;

	l->lsm_skel = lsm__open();
	if (!l->lsm_skel)
		return -errno;
	rc = share_maps(l->lsm_skel->obj, l->base);
	return rc ? rc : lsm__load(l->lsm_skel);
}

/* ---- the scratch cgroup ------------------------------------------------------------------------- */

struct scratch {
	int fd;
	uint64_t id;
};

static int scratch_make(const struct levels *l, struct scratch *s, struct err *e)
{
	struct stat st;

	if (mkdirat(l->parent, SCRATCH, 0755) != 0 && errno != EEXIST)
		return err_set(e, -errno, "a scratch cgroup cannot be made: %s", strerror(errno));
	s->fd = openat(l->parent, SCRATCH, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->fd < 0 || fstat(s->fd, &st) != 0)
		return err_set(e, -errno, "the scratch cgroup cannot be opened: %s", strerror(errno));
	s->id = st.st_ino;
	return 0;
}

static void scratch_done(const struct levels *l, struct scratch *s)
{
	own_close(&s->fd);
	(void)unlinkat(l->parent, SCRATCH, AT_REMOVEDIR);
}

static int fd_of(const struct levels *l, const char *map)
{
	struct bpf_map *m = bpf_object__find_map_by_name(l->base, map);

	return m ? bpf_map__fd(m) : -1;
}

/* ---- L2 ----------------------------------------------------------------------------------------- */

/* A guard's state can be written once one of its programs is attached, so it follows. */
static int scratch_open(const struct levels *l, const struct scratch *s)
{
	struct eg_guard state = { .id = s->id, .flags = EG_GUARD_OPEN, .proxy_port = 1, .dns_port = 1 };

	return bpf_map_update_elem(fd_of(l, "guards"), &s->id, &state, BPF_EXIST) != 0 ? -errno : 0;
}

static int try_unix(struct levels *l, const struct scratch *s, struct err *e)
{
	struct bpf_link *link[CANARY_UNIX] = {};
	struct canary_unix saw = {};
	int rc = 0;

	for (size_t i = 0; i < CANARY_UNIX && !rc; i++) {
		struct bpf_program *p = levels_program(l, levels_unix[i].name);

		rc = links_attach(p, s->fd, &link[i], e);
		if (!rc)
			rc = links_in_force(p, levels_unix[i].type, s->fd, e);
	}
	if (!rc && scratch_open(l, s))
		rc = err_set(e, -EIO, "the scratch guard cannot be opened");
	if (!rc && canary_unix(s->fd, &saw))
		rc = err_set(e, -EIO, "the canary could not be started");
	for (size_t i = 0; i < CANARY_UNIX; i++) {
		link[i] = links_detach(link[i]);
		if (!rc && !saw.refused[i])
			rc = err_set(e, -EPROTO, "%s runs but an outside socket was reached", levels_unix[i].name);
	}
	l->reaches_own = saw.inside;
	return rc;
}

static void start_unix(struct levels *l, const struct scratch *s)
{
	struct err e = {};
	int rc = load_unix(l);

	if (rc)
		(void)err_set(&e, rc, "needs hooks on unix sockets, Linux 6.7 (%s)", strerror(-rc));
	else
		rc = try_unix(l, s, &e);
	if (!rc)
		return;
	unixsock__destroy(l->unix_skel);
	l->unix_skel = NULL;
	l->why[0] = e;
}

/* ---- L3 ----------------------------------------------------------------------------------------- */

static int attach_lsm(struct levels *l, size_t i, struct err *e)
{
	const struct links_row *row = &levels_lsm[i];
	struct bpf_program *p = levels_program(l, row->name);
	struct stat st;
	int rc = -ENOENT;

	if (fstat(l->parent, &st) != 0)
		return err_set(e, -errno, "the guards' cgroup cannot be read: %s", strerror(errno));
	if (l->pins[0])
		rc = links_take(p, l->pins, row->name, st.st_ino, &l->link[i]);
	if (rc == -ENOENT || rc == -ENOLINK) {
		rc = links_attach(p, l->parent, &l->link[i], e);
		if (!rc && l->pins[0])
			rc = links_pin(l->link[i], l->pins, row->name, e);
	} else if (rc) {
		(void)err_set(e, rc, "the program %s cannot be swapped: %s", row->name, strerror(-rc));
	}
	return rc;
}

static int try_lsm(struct levels *l, const struct scratch *s, struct err *e)
{
	int quota = fd_of(l, "quota"), rc = 0;
	bool refused[CANARY_LSM] = {};
	uint64_t zero = 0;

	for (size_t i = 0; i < CANARY_LSM && !rc; i++)
		rc = attach_lsm(l, i, e);
	if (rc)
		return rc;
	if (bpf_map_update_elem(quota, &s->id, &zero, BPF_ANY) != 0)
		return err_set(e, -errno, "the scratch guard cannot be entered: %s", strerror(errno));
	rc = canary_lsm(s->fd, refused);
	(void)bpf_map_delete_elem(quota, &s->id);
	if (rc)
		return err_set(e, rc, "the canary could not be started: %s", strerror(-rc));
	for (size_t i = 0; i < CANARY_LSM; i++)
		if (!refused[i])
			return err_set(e, -EPROTO, "%s is attached and does not run; `bpf` must be in the kernel's "
				       "list of LSMs (lsm= on its command line)", levels_lsm[i].name);
	return 0;
}

static void start_lsm(struct levels *l, const struct scratch *s)
{
	struct err e = {};
	int rc = load_lsm(l);

	if (rc)
		(void)err_set(&e, rc, "this kernel loads no lsm_cgroup programs (%s); Linux 6.1 with BPF LSM is "
			      "needed", strerror(-rc));
	else
		rc = try_lsm(l, s, &e);
	if (!rc)
		return;
	levels_remove(l);
	lsm__destroy(l->lsm_skel);
	l->lsm_skel = NULL;
	l->why[1] = e;
}

/* ---- outside ------------------------------------------------------------------------------------ */

int levels_open(struct bpf_object *base, int parent_fd, const char *pins, uint32_t want, struct levels **ret,
		struct err *e)
{
	struct levels *l = calloc(1, sizeof(*l));
	struct scratch s = { .fd = -1 };
	int rc;

	if (!l)
		return err_set(e, -ENOMEM, "out of memory");
	l->base = base;
	l->parent = fcntl(parent_fd, F_DUPFD_CLOEXEC, 3);
	(void)snprintf(l->pins, sizeof(l->pins), "%s", pins ? pins : "");
	rc = l->parent < 0 ? err_set(e, -errno, "no descriptor is left") : scratch_make(l, &s, e);
	if (!rc && (want & LEVELS_WANT_UNIX))
		start_unix(l, &s);
	if (!rc && (want & LEVELS_WANT_LSM))
		start_lsm(l, &s);
	scratch_done(l, &s);
	if (rc) {
		(void)levels_close(l);
		return rc;
	}
	*ret = l;
	return 0;
}

struct levels *levels_close(struct levels *l)
{
	if (!l)
		return NULL;
	for (size_t i = 0; i < CANARY_LSM; i++)
		l->link[i] = links_free(l->link[i]);
	unixsock__destroy(l->unix_skel);
	lsm__destroy(l->lsm_skel);
	own_close(&l->parent);
	free(l);
	return NULL;
}

void levels_remove(struct levels *l)
{
	if (l->pins[0])
		links_unpin(l->pins, levels_lsm, CANARY_LSM);
	for (size_t i = 0; i < CANARY_LSM; i++)
		l->link[i] = links_detach(l->link[i]);
}

bool levels_has_unix(const struct levels *l)
{
	return l && l->unix_skel;
}

bool levels_has_lsm(const struct levels *l)
{
	return l && l->lsm_skel;
}

bool levels_reaches_own(const struct levels *l)
{
	return l && l->reaches_own;
}

uint32_t levels_level(const struct levels *l)
{
	return levels_has_lsm(l) ? 3 : levels_has_unix(l) ? 2 : 1;
}

const char *levels_missing(const struct levels *l, uint32_t level)
{
	return level == 2 || level == 3 ? l->why[level - 2].text : "";
}

struct bpf_program *levels_program(const struct levels *l, const char *name)
{
	struct bpf_program *p = NULL;

	if (l && l->unix_skel)
		p = bpf_object__find_program_by_name(l->unix_skel->obj, name);
	if (!p && l && l->lsm_skel)
		p = bpf_object__find_program_by_name(l->lsm_skel->obj, name);
	return p;
}

size_t levels_fds(const struct levels *l, int *fds, size_t max)
{
	size_t n = 0;

	for (size_t i = 0; i < CANARY_LSM && n < max; i++)
		if (l && l->link[i])
			fds[n++] = bpf_link__fd(l->link[i]);
	return n;
}
