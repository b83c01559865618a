/* adopt_judge.c: see adopt_judge.h. */
#include "adopt_judge.h"

#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif

static bool judge_ip(const struct fds_socket *s)
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
		return judge_ip(s) ? ADOPT_MARK : ADOPT_REFUSE;
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
