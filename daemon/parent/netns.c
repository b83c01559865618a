/* netns.c: see netns.h.
 *
 * The child goes: listen cgroup, namespace, sockets, answer, exit. It sends one message per socket, the
 * struct answer with the descriptor, in the order of enum netns_what; the parent reads until the answer
 * that says `last` or carries an error. The child makes sockets and nothing else: it allocates nothing and
 * takes no lock, since it is a fork of whatever the caller is.
 */
#include "netns.h"

#include "fdio.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#define NETNS_TRIES 64 /* ports tried when any one will do */

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

/* What the child was doing when it failed; words in step_words. */
enum netns_step { STEP_FORK, STEP_CGROUP, STEP_ENTER, STEP_LO, STEP_COOKIE, STEP_SOCKET };

struct answer {
	int32_t rc;
	uint16_t step; /* enum netns_step, when rc is an error */
	uint16_t port;
	uint16_t what; /* enum netns_what of the descriptor */
	uint16_t last;
	uint64_t cookie;
};

struct ask {
	int netns_fd, listen_cgroup;
	uint16_t port;
	bool udp;
};

/* ---- in the child ------------------------------------------------------------------------------- */

static int enter_cgroup(int cgroup)
{
	auto_close int fd = openat(cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, "0", 1) != 1)
		return -errno;
	return 0;
}

static int read_cookie(uint64_t *ret)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*ret);

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, ret, &len) != 0)
		return -errno;
	return 0;
}

static int check_lo(void)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo" };

	if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &ifr) != 0)
		return -errno;
	return ifr.ifr_flags & IFF_UP ? 0 : -ENETDOWN;
}

static bool is_v6(enum netns_what what)
{
	return what == NETNS_TCP6 || what == NETNS_UDP6;
}

static bool is_udp(enum netns_what what)
{
	return what == NETNS_UDP4 || what == NETNS_UDP6;
}

static int bind_loopback(int fd, bool v6, uint16_t port)
{
	struct sockaddr_in6 sin6 = { .sin6_family = AF_INET6, .sin6_port = htons(port),
				     .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(port),
				   .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	if (v6)
		return bind(fd, (struct sockaddr *)&sin6, sizeof(sin6)) ? -errno : 0;
	return bind(fd, (struct sockaddr *)&sin, sizeof(sin)) ? -errno : 0;
}

static int one_socket(enum netns_what what, uint16_t port, int *ret)
{
	int type = (is_udp(what) ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC | SOCK_NONBLOCK;
	auto_close int fd = socket(is_v6(what) ? AF_INET6 : AF_INET, type, 0);
	int on = 1, rc;

	if (fd < 0)
		return -errno;
	if (is_v6(what) && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) != 0)
		return -errno;
	if (!is_udp(what) && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0)
		return -errno;
	rc = bind_loopback(fd, is_v6(what), port);
	if (rc)
		return rc;
	if (!is_udp(what) && listen(fd, SOMAXCONN) != 0)
		return -errno;
	*ret = take_fd(&fd);
	return 0;
}

static int port_of(int fd, uint16_t *ret)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);

	if (getsockname(fd, (struct sockaddr *)&sin, &len) != 0)
		return -errno;
	*ret = ntohs(sin.sin_port);
	return 0;
}

static bool no_ipv6(enum netns_what what, int rc)
{
	return is_v6(what) && (rc == -EAFNOSUPPORT || rc == -EADDRNOTAVAIL);
}

/* All sockets at *port, which the first one chooses when it is 0. */
static int all_sockets(const struct ask *ask, uint16_t *port, int fd[NETNS_SOCKETS])
{
	for (int what = 0; what < NETNS_SOCKETS; what++) {
		int rc;

		if (is_udp(what) && !ask->udp)
			continue;
		rc = one_socket(what, *port, &fd[what]);
		if (rc && !no_ipv6(what, rc))
			return rc;
		if (!*port)
			rc = port_of(fd[what], port);
		if (rc && !no_ipv6(what, rc))
			return rc;
	}
	return 0;
}

static void close_all(int fd[NETNS_SOCKETS])
{
	for (int what = 0; what < NETNS_SOCKETS; what++)
		own_close(&fd[what]);
}

static int some_port(const struct ask *ask, uint16_t *port, int fd[NETNS_SOCKETS])
{
	int rc = -EADDRINUSE;

	for (int i = 0; rc == -EADDRINUSE && i < NETNS_TRIES; i++) {
		*port = ask->port;
		rc = all_sockets(ask, port, fd);
		if (rc)
			close_all(fd);
		if (ask->port)
			break;
	}
	return rc;
}

/* Up to the sockets themselves; names the step that failed. */
static int prepare(const struct ask *ask, struct answer *a)
{
	int rc;

	a->step = STEP_CGROUP;
	rc = enter_cgroup(ask->listen_cgroup);
	if (rc)
		return rc;
	a->step = STEP_ENTER;
	if (setns(ask->netns_fd, CLONE_NEWNET) != 0)
		return -errno;
	a->step = STEP_COOKIE;
	rc = read_cookie(&a->cookie);
	if (rc)
		return rc;
	a->step = STEP_LO;
	return check_lo();
}

static int child_main(const struct ask *ask, int to)
{
	int fd[NETNS_SOCKETS] = { -1, -1, -1, -1 };
	struct answer a = {};

	a.rc = prepare(ask, &a);
	if (a.rc == 0) {
		a.step = STEP_SOCKET;
		a.rc = some_port(ask, &a.port, fd);
	}
	for (int what = 0; a.rc == 0 && what < NETNS_SOCKETS; what++) {
		a.what = (uint16_t)what;
		if (fd[what] >= 0 && fdio_send(to, &a, sizeof(a), fd[what]))
			return 1;
	}
	a.last = 1;
	return fdio_send(to, &a, sizeof(a), -1) ? 1 : 0;
}

/* ---- in the caller ------------------------------------------------------------------------------ */

static int say(const struct ask *ask, int rc, enum netns_step step, struct err *e)
{
	static const char *const words[] = {
		[STEP_FORK] = "the helper process for a network namespace failed",
		[STEP_CGROUP] = "the listeners' cgroup cannot be entered",
		[STEP_ENTER] = "the network namespace cannot be entered",
		[STEP_LO] = "the loopback interface of the network namespace cannot be asked",
		[STEP_COOKIE] = "the network namespace has no cookie (Linux 5.14 or newer is needed)",
		[STEP_SOCKET] = "a loopback socket cannot be made in the network namespace",
	};

	if (rc == -EADDRINUSE && ask->port)
		return err_set(e, rc, "port %u is in use on loopback in that network namespace; end what "
			       "listens there or choose another \"proxy.port\" or \"proxy.explicit_port\"",
			       ask->port);
	if (rc == -ENETDOWN && step == STEP_LO)
		return err_set(e, rc, "the loopback interface is down in that network namespace; run "
			       "\"ip link set lo up\" there");
	return err_set(e, rc, "%s: %s", words[step <= STEP_SOCKET ? step : STEP_FORK], strerror(-rc));
}

/* One answer; 0, or an error of the channel. */
static int read_answer(int from, struct answer *a, int *fd)
{
	ssize_t n = fdio_recv(from, a, sizeof(*a), 0, fd);

	if (n < 0)
		return (int)n;
	return n == (ssize_t)sizeof(*a) ? 0 : -EPROTO;
}

static int collect(const struct ask *ask, int from, struct netns_sockets *s, struct err *e)
{
	struct answer a;

	for (int i = 0; i <= NETNS_SOCKETS; i++) {
		auto_close int fd = -1;
		int rc = read_answer(from, &a, &fd);

		if (rc)
			return say(ask, rc, STEP_FORK, e);
		if (a.rc)
			return say(ask, a.rc, a.step, e);
		s->cookie = a.cookie;
		s->port = a.port;
		if (a.last)
			return 0;
		if (fd < 0 || a.what >= NETNS_SOCKETS || s->fd[a.what] >= 0)
			return say(ask, -EPROTO, STEP_FORK, e);
		s->fd[a.what] = take_fd(&fd);
	}
	return say(ask, -EPROTO, STEP_FORK, e);
}

static int run(const struct ask *ask, struct netns_sockets *s, struct err *e)
{
	auto_close int mine = -1, theirs = -1;
	int pair[2], rc;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
		return say(ask, -errno, STEP_FORK, e);
	mine = pair[0];
	theirs = pair[1];
	pid = fork();
	if (pid < 0)
		return say(ask, -errno, STEP_FORK, e);
	if (pid == 0)
		_exit(child_main(ask, theirs));
	own_close(&theirs);
	rc = collect(ask, mine, s, e);
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (rc)
		netns_sockets_done(s);
	return rc;
}

int netns_of(pid_t pid, int *ret_fd, struct err *e)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "the network namespace of process %d cannot be opened: %s", (int)pid,
			       strerror(errno));
	*ret_fd = fd;
	return 0;
}

int netns_sockets(int netns_fd, int listen_cgroup, uint16_t port, bool udp, struct netns_sockets *ret,
		  struct err *e)
{
	struct ask ask = { .netns_fd = netns_fd, .listen_cgroup = listen_cgroup, .port = port, .udp = udp };
	struct netns_sockets s = { .fd = { -1, -1, -1, -1 } };
	int rc = run(&ask, &s, e);

	if (!rc)
		*ret = s;
	return rc;
}

void netns_sockets_done(struct netns_sockets *s)
{
	close_all(s->fd);
}
