/* canary.c: see canary.h. The parent's own sockets and its /proc entry are the "outside": the child holds copies of
 * the former, which keep their birth cgroup. A table names the attempts; each answers 0 or -errno. */
#include "canary.h"

#include "aside.h"
#include "cgroup.h"
#include "fdio.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/netlink.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>

#define SLOTS 12

struct outside {
	int stream, dgram;	      /* unix, bound to abstract names */
	struct sockaddr_un at[2];     /* those names: of stream, of dgram */
	socklen_t len[2];
	int udp, tcp;		      /* inet; tcp listens */
	int cgroup;		      /* where the child goes */
	pid_t parent;
};

typedef int attempt_fn(struct outside *o);

struct results {
	int setup;
	int before[SLOTS], after[SLOTS];
};

/* ---- the outside -------------------------------------------------------------------------------- */

/* A unix socket under an abstract name of the kernel's choice. */
static int unix_bound(int type, struct sockaddr_un *at, socklen_t *len)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	auto_close int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	*len = sizeof(*at);
	if (fd < 0 || bind(fd, (struct sockaddr *)&un, sizeof(un.sun_family)) != 0 ||
	    getsockname(fd, (struct sockaddr *)at, len) != 0 || (type == SOCK_STREAM && listen(fd, 8) != 0))
		return -errno;
	return take_fd(&fd);
}

static int outside_open(struct outside *o)
{
	o->stream = unix_bound(SOCK_STREAM, &o->at[0], &o->len[0]);
	o->dgram = unix_bound(SOCK_DGRAM, &o->at[1], &o->len[1]);
	o->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	o->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	o->parent = getpid();
	if (o->stream < 0 || o->dgram < 0 || o->udp < 0 || o->tcp < 0 || listen(o->tcp, 1) != 0)
		return -EADDRNOTAVAIL;
	return 0;
}

static void outside_close(struct outside *o)
{
	own_close(&o->stream);
	own_close(&o->dgram);
	own_close(&o->udp);
	own_close(&o->tcp);
}

/* ---- attempts: unix ----------------------------------------------------------------------------- */

static int unix_dial(int type, const struct sockaddr_un *at, socklen_t len)
{
	auto_close int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 || connect(fd, (const struct sockaddr *)at, len) != 0 ? -errno : 0;
}

static int unix_send(const struct sockaddr_un *at, socklen_t len)
{
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || sendto(fd, "x", 1, MSG_NOSIGNAL, (const struct sockaddr *)at, len) != 1)
		return -errno;
	return 0;
}

/* Nothing needs to be there: the refusal comes before the path is looked up. */
static const struct sockaddr_un nowhere = { .sun_family = AF_UNIX, .sun_path = "/agentsecrets-canary" };

static int dial_name(struct outside *o)
{
	return unix_dial(SOCK_STREAM, &o->at[0], o->len[0]);
}

static int dial_path(struct outside *o)
{
	(void)o;
	return unix_dial(SOCK_STREAM, &nowhere, sizeof(nowhere));
}

static int send_name(struct outside *o)
{
	return unix_send(&o->at[1], o->len[1]);
}

static int send_path(struct outside *o)
{
	(void)o;
	return unix_send(&nowhere, sizeof(nowhere));
}

static int dial_inside(struct outside *o)
{
	struct sockaddr_un at;
	socklen_t len;
	auto_close int fd = unix_bound(SOCK_STREAM, &at, &len);

	(void)o;
	return fd < 0 ? fd : unix_dial(SOCK_STREAM, &at, len);
}

static attempt_fn *const unix_attempts[] = { dial_name, dial_path, send_name, send_path, dial_inside };

/* ---- attempts: LSM ------------------------------------------------------------------------------ */

/* Of the families, one that the daemon's own systemd unit does not take away. */
static int make_netlink(struct outside *o)
{
	auto_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

	(void)o;
	return fd < 0 ? -errno : 0;
}

static int use_udp(struct outside *o, bool send)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	if (send)
		return sendto(o->udp, "", 0, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) < 0 ? -errno : 0;
	return connect(o->udp, (struct sockaddr *)&to, sizeof(to)) != 0 ? -errno : 0;
}

static int foreign_connect(struct outside *o)
{
	return use_udp(o, false);
}

static int foreign_send(struct outside *o)
{
	return use_udp(o, true);
}

static int foreign_accept(struct outside *o)
{
	auto_close int fd = accept4(o->tcp, NULL, NULL, SOCK_CLOEXEC);

	return fd < 0 ? -errno : 0;
}

/* The descriptor that came, or -EPERM when the kernel left it out. */
static int taken(int from)
{
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(sizeof(int))];
	} u;
	char byte;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.bytes,
			    .msg_controllen = sizeof(u.bytes) };
	int fd;

	if (recvmsg(from, &m, MSG_CMSG_CLOEXEC) != 1)
		return -errno;
	if (m.msg_controllen < CMSG_LEN(sizeof(int)))
		return m.msg_flags & MSG_CTRUNC ? -EPERM : -EBADMSG;
	memcpy(&fd, CMSG_DATA(&u.h), sizeof(fd));
	return fd;
}

static int receive_foreign(struct outside *o)
{
	auto_close int to = -1, from = -1, fd = -1;
	int pair[2], rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
		return -errno;
	to = pair[0];
	from = pair[1];
	rc = fdio_send(to, "x", 1, o->udp);
	if (!rc)
		fd = taken(from);
	return rc ? rc : fd < 0 ? fd : 0;
}

/* A read of /proc asks the same hook as ptrace(), and no other security module minds. */
static int look_outside(struct outside *o)
{
	char path[64], to[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/exe", (int)o->parent);
	return readlink(path, to, sizeof(to)) < 0 ? -errno : 0;
}

static int call_bpf(struct outside *o)
{
	union bpf_attr attr;

	(void)o;
	memset(&attr, 0, sizeof(attr));
	return syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &attr, sizeof(attr)) != 0 ? -errno : 0;
}

static int write_cgroup(struct outside *o)
{
	auto_close int fd = openat(o->cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	return fd < 0 ? -errno : 0;
}

static attempt_fn *const lsm_attempts[CANARY_LSM] = {
	make_netlink, foreign_connect, foreign_send, foreign_accept, dial_name,
	send_name, receive_foreign, look_outside, call_bpf, write_cgroup,
};

/* ---- in a process aside --------------------------------------------------------------------- */

struct attempts {
	struct outside *o;
	attempt_fn *const *fn;
	size_t count;
};

static void attempt(void *ctx, void *out)
{
	const struct attempts *a = ctx;
	struct results *r = out;

	for (size_t i = 0; i < a->count; i++)
		r->before[i] = a->fn[i](a->o);
	r->setup = cgroup_move(a->o->cgroup, getpid(), NULL);
	for (size_t i = 0; i < a->count && !r->setup; i++)
		r->after[i] = a->fn[i](a->o);
}

static int run(int cgroup_fd, attempt_fn *const *attempts, size_t count, struct results *r)
{
	struct outside o = { .stream = -1, .dgram = -1, .udp = -1, .tcp = -1, .cgroup = cgroup_fd };
	int rc = outside_open(&o);

	_Static_assert(SLOTS >= CANARY_LSM && SLOTS >= ARRAY_SIZE(unix_attempts), "a slot for each attempt");
	if (!rc)
		rc = aside(attempt, &(struct attempts){ &o, attempts, count }, r, sizeof(*r));
	outside_close(&o);
	return rc ? rc : r->setup;
}

static bool is_refusal(int rc)
{
	return rc == -EPERM || rc == -EACCES;
}

static bool newly_refused(const struct results *r, size_t i)
{
	return !is_refusal(r->before[i]) && is_refusal(r->after[i]);
}

int canary_unix(int cgroup_fd, struct canary_unix *ret)
{
	struct results r = {};
	int rc = run(cgroup_fd, unix_attempts, ARRAY_SIZE(unix_attempts), &r);

	*ret = (struct canary_unix){};
	if (rc)
		return rc;
	ret->refused[0] = newly_refused(&r, 0) && newly_refused(&r, 1);
	ret->refused[1] = newly_refused(&r, 2) && newly_refused(&r, 3);
	ret->inside = r.after[4] == 0;
	return 0;
}

int canary_lsm(int cgroup_fd, bool refused[CANARY_LSM])
{
	struct results r = {};
	int rc = run(cgroup_fd, lsm_attempts, CANARY_LSM, &r);

	for (size_t i = 0; i < CANARY_LSM; i++)
		refused[i] = !rc && newly_refused(&r, i);
	return rc;
}
