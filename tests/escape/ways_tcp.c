/* ways_tcp.c: streams, out and in. */
#include "escape.h"

#include <netinet/tcp.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef AF_SMC
#define AF_SMC 43
#endif

static int stream(const struct target *t, const char *arg, int proto, uint16_t port)
{
	struct dest d = target_dest(t, arg, port);
	auto_close int fd = way_socket(d.family, SOCK_STREAM, proto);

	return fd < 0 ? WAY_REFUSED : way_dial(fd, t, &d);
}

static int tcp(const struct target *t, const char *arg)
{
	return stream(t, arg, 0, t->port);
}

static int tcp_dns(const struct target *t, const char *arg)
{
	return stream(t, arg, 0, 53);
}

static int mptcp(const struct target *t, const char *arg)
{
	return stream(t, arg, IPPROTO_MPTCP, t->port);
}

static int v6only(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(AF_INET6, SOCK_STREAM, 0);
	int on = 1;

	if (fd < 0 || way_setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on), "IPV6_V6ONLY"))
		return WAY_REFUSED;
	return way_dial(fd, t, &d);
}

/* Dissolves the first association and dials again on the same socket. */
static int again(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_STREAM, 0);
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	if (fd < 0)
		return WAY_REFUSED;
	(void)way_dial(fd, t, &d);
	if (connect(fd, &none, sizeof(none)) < 0)
		return step_failed("connect AF_UNSPEC");
	return way_dial(fd, t, &d);
}

static int tfo_sendto(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_STREAM, 0);

	if (fd < 0)
		return WAY_REFUSED;
	if (sendto(fd, t->marker, ESCAPE_MARKER, MSG_FASTOPEN | MSG_DONTWAIT,
		   (struct sockaddr *)&d.ss, d.len) < 0 &&
	    errno != EINPROGRESS)
		return step_failed("sendto MSG_FASTOPEN");
	(void)way_ready(fd, POLLIN, 100);
	return WAY_SENT;
}

static int tfo_connect(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_STREAM, 0);
	int on = 1;

	if (fd < 0 || way_setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_CONNECT, &on, sizeof(on),
				     "TCP_FASTOPEN_CONNECT"))
		return WAY_REFUSED;
	return way_dial(fd, t, &d);
}

/* A connection that was never opened: no SYN, the data goes straight out. */
static int repair(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_STREAM, 0);
	int on = 1, off = 0;

	if (fd < 0 || way_setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &on, sizeof(on), "TCP_REPAIR"))
		return WAY_REFUSED;
	if (connect(fd, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("connect");
	if (way_setsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &off, sizeof(off), "TCP_REPAIR off"))
		return WAY_REFUSED;
	return way_send(fd, t);
}

static int sctp(const struct target *t, const char *arg)
{
	return stream(t, arg, IPPROTO_SCTP, t->port);
}

static int sctp_sendto(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_SEQPACKET, IPPROTO_SCTP);

	if (fd < 0)
		return WAY_REFUSED;
	if (sendto(fd, t->marker, ESCAPE_MARKER, MSG_DONTWAIT, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("sendto");
	(void)way_ready(fd, POLLIN, 100);
	return WAY_SENT;
}

static int sctp_connectx(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_STREAM, IPPROTO_SCTP);

	if (fd < 0)
		return WAY_REFUSED;
	if (setsockopt(fd, IPPROTO_SCTP, 110 /* SCTP_SOCKOPT_CONNECTX */, &d.ss, d.len) < 0)
		return step_failed("connectx");
	(void)way_ready(fd, POLLOUT, 100);
	return way_send(fd, t);
}

static int dccp(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_DCCP, IPPROTO_DCCP);
	uint32_t service = htonl(1);

	if (fd < 0 || way_setsockopt(fd, 269 /* SOL_DCCP */, 2 /* SERVICE */, &service,
				     sizeof(service), "DCCP service"))
		return WAY_REFUSED;
	return way_dial(fd, t, &d);
}

static int smc(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(AF_SMC, SOCK_STREAM, d.family == AF_INET6);

	return fd < 0 ? WAY_REFUSED : way_dial(fd, t, &d);
}

/* ---- in ---- */

static int listening(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, *arg == '6' ? "::" : "0.0.0.0", t->listen);
	auto_close int fd = way_socket(d.family, SOCK_STREAM, 0);

	if (fd < 0)
		return WAY_REFUSED;
	if (bind(fd, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("bind");
	if (listen(fd, 4) < 0)
		return step_failed("listen");
	way_call_me(t, *arg == '6' ? "tcp6" : "tcp4");
	return way_answer(fd, t);
}

/* listen() without bind(): the kernel picks the port and no bind hook runs. */
static int listening_unbound(const struct target *t, const char *arg)
{
	auto_close int fd = way_socket(*arg == '6' ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in6 own;
	socklen_t len = sizeof(own);
	struct target at = *t;

	if (fd < 0)
		return WAY_REFUSED;
	if (listen(fd, 4) < 0)
		return step_failed("listen");
	if (getsockname(fd, (struct sockaddr *)&own, &len) < 0)
		return step_failed("getsockname");
	at.listen = ntohs(own.sin6_port); /* in the same place in a sockaddr_in */
	way_call_me(&at, *arg == '6' ? "tcp6" : "tcp4");
	return way_answer(fd, t);
}

/* ---- from before the guard ---- */

static bool is_socket(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISSOCK(st.st_mode);
}

static int before_tcp(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	int fd = d.family == AF_INET ? BEFORE_TCP4 : BEFORE_TCP6;

	return is_socket(fd) ? way_dial(fd, t, &d) : step_said("no socket from before: closed");
}

static int before_connected(const struct target *t, const char *arg)
{
	(void)arg;
	return is_socket(BEFORE_CONNECTED) ? way_send(BEFORE_CONNECTED, t)
					   : step_said("no socket from before: closed");
}

static int before_sendfile(const struct target *t, const char *arg)
{
	auto_close int file = memfd_create("escape", MFD_CLOEXEC);
	off_t at = 0;

	(void)arg;
	if (!is_socket(BEFORE_CONNECTED))
		return step_said("no socket from before: closed");
	if (file < 0 || write(file, t->marker, ESCAPE_MARKER) != ESCAPE_MARKER)
		return step_failed("memfd");
	return sendfile(BEFORE_CONNECTED, file, &at, ESCAPE_MARKER) < 0 ? step_failed("sendfile")
									: WAY_SENT;
}

static int before_listener(const struct target *t, const char *arg)
{
	struct sockaddr_in own;
	socklen_t len = sizeof(own);
	struct target at = *t;

	(void)arg;
	if (!is_socket(BEFORE_LISTENER) ||
	    getsockname(BEFORE_LISTENER, (struct sockaddr *)&own, &len) < 0)
		return step_said("no socket from before: closed");
	at.listen = ntohs(own.sin_port);
	way_call_me(&at, "tcp4");
	return way_answer(BEFORE_LISTENER, t);
}

const struct way ways_tcp[] = {
	{.name = "tcp4", .run = tcp, .arg = "4"},
	{.name = "tcp6", .run = tcp, .arg = "6"},
	{.name = "tcp-mapped", .run = tcp, .arg = "mapped"},
	{.name = "tcp-v6only", .run = v6only, .arg = "6"},
	{.name = "tcp-nat64", .run = tcp, .arg = "nat64"},
	{.name = "tcp-6to4", .run = tcp, .arg = "6to4"},
	{.name = "tcp-metadata4", .run = tcp, .arg = "169.254.169.254"},
	{.name = "tcp-metadata6", .run = tcp, .arg = "fd00:ec2::254"},
	{.name = "tcp-metadata-mapped", .run = tcp, .arg = "::ffff:169.254.169.254"},
	{.name = "tcp-private", .run = tcp, .arg = "10.0.1.5"},
	{.name = "tcp-0.0.0.0", .run = tcp, .arg = "0.0.0.0"},
	{.name = "tcp-::", .run = tcp, .arg = "::"},
	{.name = "tcp-::ffff:0.0.0.0", .run = tcp, .arg = "::ffff:0.0.0.0"},
	{.name = "tcp-127.0.0.1", .run = tcp, .arg = "127.0.0.1"},
	{.name = "tcp-127.1.2.3", .run = tcp, .arg = "127.1.2.3"},
	{.name = "tcp-::1", .run = tcp, .arg = "::1"},
	{.name = "tcp-port53-4", .run = tcp_dns, .arg = "4"},
	{.name = "tcp-port53-6", .run = tcp_dns, .arg = "6"},
	{.name = "tcp-again4", .run = again, .arg = "4"},
	{.name = "tcp-again6", .run = again, .arg = "6"},
	{.name = "tfo-sendto4", .run = tfo_sendto, .arg = "4"},
	{.name = "tfo-sendto6", .run = tfo_sendto, .arg = "6"},
	{.name = "tfo-connect4", .run = tfo_connect, .arg = "4"},
	{.name = "tfo-connect6", .run = tfo_connect, .arg = "6"},
	{.name = "mptcp4", .run = mptcp, .arg = "4"},
	{.name = "mptcp6", .run = mptcp, .arg = "6"},
	{.name = "tcp-repair4", .run = repair, .arg = "4"},
	{.name = "tcp-repair6", .run = repair, .arg = "6"},
	{.name = "sctp-connect4", .run = sctp, .arg = "4"},
	{.name = "sctp-connect6", .run = sctp, .arg = "6"},
	{.name = "sctp-sendto4", .run = sctp_sendto, .arg = "4"},
	{.name = "sctp-sendto6", .run = sctp_sendto, .arg = "6"},
	{.name = "sctp-connectx4", .run = sctp_connectx, .arg = "4"},
	{.name = "dccp4", .run = dccp, .arg = "4"},
	{.name = "dccp6", .run = dccp, .arg = "6"},
	{.name = "smc4", .run = smc, .arg = "4"},
	{.name = "smc6", .run = smc, .arg = "6"},
	{.name = "listen4", .run = listening, .arg = "4"},
	{.name = "listen6", .run = listening, .arg = "6"},
	{.name = "listen-unbound4", .run = listening_unbound, .arg = "4"},
	{.name = "listen-unbound6", .run = listening_unbound, .arg = "6"},
	{.name = "before-tcp4", .run = before_tcp, .arg = "4"},
	{.name = "before-tcp6", .run = before_tcp, .arg = "6"},
	{.name = "before-tcp-connected", .run = before_connected},
	{.name = "before-tcp-sendfile", .run = before_sendfile},
	{.name = "before-tcp-listener", .run = before_listener},
	{0},
};
