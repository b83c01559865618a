/* ways_options.c: sockets that pass the hooks and are steered elsewhere by options, ancillary data, or a
 * system call of the 32-bit ABI, for which the kernel skips the setsockopt hook. */
#include "escape.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>

#ifndef TCP_FASTOPEN_NO_COOKIE
#define TCP_FASTOPEN_NO_COOKIE 34
#endif
#ifndef SO_BINDTOIFINDEX
#define SO_BINDTOIFINDEX 62
#endif
#define IPV4_UNICAST_IF  50
#define IPV6_UNICAST_IF_ 76

typedef int set_fn(int fd, int level, int name, const void *value, size_t len, const char *what);

/* ---- the 32-bit ABI ---- */

#ifdef __x86_64__
#define COMPAT_SETSOCKOPT 366

static sigjmp_buf no_compat;

static void on_fault(int sig)
{
	(void)sig;
	siglongjmp(no_compat, 1);
}

static long compat_call(long nr, long a, long b, long c, long d, long e)
{
	long ret;

	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(nr), "b"(a), "c"(b), "d"(c), "S"(d), "D"(e)
			 : "memory", "r8", "r9", "r10", "r11");
	return (int)ret;
}

/* The value must lie below 4 GiB. */
static int compat_set(int fd, int level, int name, const void *value, size_t len, const char *what)
{
	void *low = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	long rc;

	if (low == MAP_FAILED)
		return step_failed("mmap");
	memcpy(low, value, len);
	(void)signal(SIGSEGV, on_fault);
	if (sigsetjmp(no_compat, 1))
		return step_said("int $0x80: this kernel does not serve it");
	rc = compat_call(COMPAT_SETSOCKOPT, fd, level, name, (long)low, (long)len);
	(void)munmap(low, 4096);
	if (rc < 0) {
		errno = (int)-rc;
		return step_failed(what);
	}
	return WAY_SENT;
}
#else
static int compat_set(int fd, int level, int name, const void *value, size_t len, const char *what)
{
	(void)fd, (void)level, (void)name, (void)value, (void)len, (void)what;
	return step_said("int $0x80: not on this architecture");
}
#endif

/* ---- a TCP socket tied to the link, or to another first hop ---- */

static int fast_open(int fd, const struct target *t, const struct dest *d, set_fn *set)
{
	int on = 1;

	if (set(fd, IPPROTO_TCP, TCP_FASTOPEN_NO_COOKIE, &on, sizeof(on), "TCP_FASTOPEN_NO_COOKIE"))
		return WAY_REFUSED;
	if (sendto(fd, t->marker, ESCAPE_MARKER, MSG_FASTOPEN | MSG_DONTWAIT,
		   (const struct sockaddr *)&d->ss, d->len) < 0 &&
	    errno != EINPROGRESS)
		return step_failed("sendto MSG_FASTOPEN");
	(void)way_ready(fd, POLLIN, 100);
	return WAY_SENT;
}

static int bound_stream(const struct target *t, const char *arg, set_fn *set, bool tfo)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_STREAM, 0);

	if (fd < 0 ||
	    set(fd, SOL_SOCKET, SO_BINDTODEVICE, t->dev, strlen(t->dev), "SO_BINDTODEVICE"))
		return WAY_REFUSED;
	return tfo ? fast_open(fd, t, &d, set) : way_dial(fd, t, &d);
}

static int bound_tcp(const struct target *t, const char *arg)
{
	return bound_stream(t, arg, way_setsockopt, false);
}

static int bound_tfo(const struct target *t, const char *arg)
{
	return bound_stream(t, arg, way_setsockopt, true);
}

static int compat_bound_tcp(const struct target *t, const char *arg)
{
	return bound_stream(t, arg, compat_set, false);
}

static int compat_bound_tfo(const struct target *t, const char *arg)
{
	return bound_stream(t, arg, compat_set, true);
}

static int ifindex_tcp(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_STREAM, 0);
	int index = (int)if_nametoindex(t->dev);

	if (fd < 0 || way_setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &index, sizeof(index),
				     "SO_BINDTOIFINDEX"))
		return WAY_REFUSED;
	return way_dial(fd, t, &d);
}

/* A segment routing header: the packet goes to the segment, wherever the socket is connected to. */
struct srh {
	uint8_t next, len, type, left, first, flags;
	uint16_t tag;
	struct in6_addr segment[2];
};

static struct srh srh_to(const struct target *t)
{
	struct srh h = {.len = 4, .type = 4, .left = 1, .first = 1};

	h.segment[0] = h.segment[1] = target_v6(t);
	return h;
}

static int srh(int fd, const struct target *t, set_fn *set)
{
	struct srh h = srh_to(t);

	return set(fd, IPPROTO_IPV6, IPV6_RTHDR, &h, sizeof(h), "IPV6_RTHDR");
}

static int srh_stream(const struct target *t, const char *arg, set_fn *set)
{
	struct dest d = target_dest(t, "6", t->port);
	auto_close int fd = way_socket(AF_INET6, SOCK_STREAM, 0);

	if (fd < 0 || srh(fd, t, set))
		return WAY_REFUSED;
	return strcmp(arg, "tfo") == 0 ? fast_open(fd, t, &d, set) : way_dial(fd, t, &d);
}

static int srh_native(const struct target *t, const char *arg)
{
	return srh_stream(t, arg, way_setsockopt);
}

static int srh_compat(const struct target *t, const char *arg)
{
	return srh_stream(t, arg, compat_set);
}

/* Through a port that is allowed, so that only the packet's own way matters. */
static int srh_udp(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, "6", 53);
	auto_close int fd = way_socket(AF_INET6, SOCK_DGRAM, 0);

	if (fd < 0 || srh(fd, t, *arg == 'c' ? compat_set : way_setsockopt))
		return WAY_REFUSED;
	if (sendto(fd, t->marker, ESCAPE_MARKER, 0, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("sendto");
	return WAY_SENT;
}

/* Loose source route with the target as its only hop. */
struct lsrr {
	uint8_t bytes[8];
};

static struct lsrr lsrr_to(const struct target *t)
{
	struct lsrr o = {{131, 7, 4}};
	uint32_t hop = target_v4(t);

	memcpy(o.bytes + 3, &hop, sizeof(hop));
	return o;
}

static int lsrr_set(int fd, const struct target *t, set_fn *set)
{
	struct lsrr o = lsrr_to(t);

	return set(fd, IPPROTO_IP, IP_OPTIONS, &o, sizeof(o), "IP_OPTIONS");
}

static int lsrr(const struct target *t, const char *arg)
{
	bool udp = strcmp(arg, "udp") == 0;
	struct dest d = target_dest(t, "4", udp ? 53 : t->port);
	auto_close int fd = way_socket(AF_INET, udp ? SOCK_DGRAM : SOCK_STREAM, 0);

	if (fd < 0 || lsrr_set(fd, t, way_setsockopt))
		return WAY_REFUSED;
	if (strcmp(arg, "tfo") == 0)
		return fast_open(fd, t, &d, way_setsockopt);
	if (!udp)
		return way_dial(fd, t, &d);
	if (sendto(fd, t->marker, ESCAPE_MARKER, 0, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("sendto");
	return WAY_SENT;
}

/* ---- UDP port 53, which is redirected and not refused, pulled onto the link ---- */

static int dns_sendmsg(const struct target *t, const char *arg, int level, int type,
		       const void *data, size_t len)
{
	struct dest d = target_dest(t, arg, 53);
	auto_close int fd = way_socket(d.family, SOCK_DGRAM, 0);
	struct iovec iov = {(void *)t->marker, ESCAPE_MARKER};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(struct srh))];
	} c = {.head = {.cmsg_len = CMSG_LEN(len), .cmsg_level = level, .cmsg_type = type}};
	struct msghdr m = {.msg_name = &d.ss,
			   .msg_namelen = d.len,
			   .msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = &c,
			   .msg_controllen = CMSG_SPACE(len)};

	if (fd < 0)
		return WAY_REFUSED;
	memcpy(CMSG_DATA(&c.head), data, len);
	return sendmsg(fd, &m, 0) < 0 ? step_failed("sendmsg") : WAY_SENT;
}

static int pktinfo(const struct target *t, const char *arg)
{
	struct in_pktinfo four = {.ipi_ifindex = (int)if_nametoindex(t->dev)};
	struct in6_pktinfo six = {.ipi6_ifindex = if_nametoindex(t->dev)};

	if (*arg == '6')
		return dns_sendmsg(t, arg, IPPROTO_IPV6, IPV6_PKTINFO, &six, sizeof(six));
	return dns_sendmsg(t, arg, IPPROTO_IP, IP_PKTINFO, &four, sizeof(four));
}

/* The same as ancillary data, which no setsockopt hook sees. Only Mobile IPv6's header is taken there. */
static int rthdr_cmsg(const struct target *t, const char *arg)
{
	struct {
		uint8_t next, len, type, left;
		uint32_t reserved;
		struct in6_addr home;
	} h = {.len = 2, .type = 2, .left = 1, .home = target_v6(t)};

	return dns_sendmsg(t, arg, IPPROTO_IPV6, IPV6_RTHDR, &h, sizeof(h));
}

static int lsrr_cmsg(const struct target *t, const char *arg)
{
	struct lsrr o = lsrr_to(t);

	return dns_sendmsg(t, arg, IPPROTO_IP, IP_RETOPTS, &o, sizeof(o));
}

static int dns_with(const struct target *t, const char *arg, int level, int name, const void *v,
		    size_t len, const char *what)
{
	struct dest d = target_dest(t, arg, 53);
	auto_close int fd = way_socket(d.family, SOCK_DGRAM, 0);

	if (fd < 0 || way_setsockopt(fd, level, name, v, len, what))
		return WAY_REFUSED;
	if (sendto(fd, t->marker, ESCAPE_MARKER, 0, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("sendto");
	return WAY_SENT;
}

static int unicast_if(const struct target *t, const char *arg)
{
	uint32_t index = htonl(if_nametoindex(t->dev));

	if (*arg == '6')
		return dns_with(t, arg, IPPROTO_IPV6, IPV6_UNICAST_IF_, &index, sizeof(index),
				"IPV6_UNICAST_IF");
	return dns_with(t, arg, IPPROTO_IP, IPV4_UNICAST_IF, &index, sizeof(index),
			"IP_UNICAST_IF");
}

static int bound_dns(const struct target *t, const char *arg)
{
	return dns_with(t, arg, SOL_SOCKET, SO_BINDTODEVICE, t->dev, strlen(t->dev),
			"SO_BINDTODEVICE");
}

static int compat_bound_dns(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, 53);
	auto_close int fd = way_socket(d.family, SOCK_DGRAM, 0);

	if (fd < 0 ||
	    compat_set(fd, SOL_SOCKET, SO_BINDTODEVICE, t->dev, strlen(t->dev), "SO_BINDTODEVICE"))
		return WAY_REFUSED;
	if (sendto(fd, t->marker, ESCAPE_MARKER, 0, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("sendto");
	return WAY_SENT;
}

/* ---- groups: the kernel itself tells the link which one was joined, and the group is data ---- */

static int igmp_with(const struct target *t, set_fn *set)
{
	auto_close int fd = way_socket(AF_INET, SOCK_DGRAM, 0);
	struct ip_mreqn join = {.imr_ifindex = (int)if_nametoindex(t->dev)};

	join.imr_multiaddr.s_addr = htonl(239u << 24 | 18u << 16 | t->mode << 8 | t->way);
	if (fd < 0 ||
	    set(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, &join, sizeof(join), "IP_ADD_MEMBERSHIP"))
		return WAY_REFUSED;
	(void)usleep(1200000); /* the report is delayed by up to a second, by chance */
	return WAY_SENT;
}

static int igmp(const struct target *t, const char *arg)
{
	return igmp_with(t, *arg == 'c' ? compat_set : way_setsockopt);
}

static int mld_with(const struct target *t, set_fn *set, int name)
{
	auto_close int fd = way_socket(AF_INET6, SOCK_DGRAM, 0);
	struct ipv6_mreq join = {.ipv6mr_interface = if_nametoindex(t->dev)};
	struct group_req group = {.gr_interface = if_nametoindex(t->dev)};
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&group.gr_group;
	uint32_t v4 = target_v4(t);

	(void)inet_pton(AF_INET6, "ff05::", &join.ipv6mr_multiaddr);
	memcpy(join.ipv6mr_multiaddr.s6_addr + 12, &v4, sizeof(v4));
	sin6->sin6_family = AF_INET6;
	sin6->sin6_addr = join.ipv6mr_multiaddr;
	if (fd < 0)
		return WAY_REFUSED;
	if (name == IPV6_ADD_MEMBERSHIP
		    ? set(fd, IPPROTO_IPV6, name, &join, sizeof(join), "IPV6_ADD_MEMBERSHIP")
		    : set(fd, IPPROTO_IPV6, name, &group, sizeof(group), "MCAST_JOIN_GROUP"))
		return WAY_REFUSED;
	(void)usleep(2200000); /* every join on the link puts the report off again */
	return WAY_SENT;
}

static int mld(const struct target *t, const char *arg)
{
	return mld_with(t, *arg == 'c' ? compat_set : way_setsockopt, IPV6_ADD_MEMBERSHIP);
}

static int mld_group(const struct target *t, const char *arg)
{
	(void)arg;
	return mld_with(t, way_setsockopt, MCAST_JOIN_GROUP);
}

const struct way ways_options[] = {
	{.name = "bindtodevice-tcp4", .run = bound_tcp, .arg = "4"},
	{.name = "bindtodevice-tcp6", .run = bound_tcp, .arg = "6"},
	{.name = "bindtodevice-tfo4", .run = bound_tfo, .arg = "4"},
	{.name = "bindtodevice-tfo6", .run = bound_tfo, .arg = "6"},
	{.name = "bindtodevice-dns4", .run = bound_dns, .arg = "4"},
	{.name = "bindtodevice-dns6", .run = bound_dns, .arg = "6"},
	{.name = "bindtoifindex-tcp4", .run = ifindex_tcp, .arg = "4"},
	{.name = "bindtoifindex-tcp6", .run = ifindex_tcp, .arg = "6"},
	{.name = "pktinfo-dns4", .run = pktinfo, .arg = "4"},
	{.name = "pktinfo-dns6", .run = pktinfo, .arg = "6"},
	{.name = "unicast-if-dns4", .run = unicast_if, .arg = "4"},
	{.name = "unicast-if-dns6", .run = unicast_if, .arg = "6"},
	{.name = "srh-tcp6", .run = srh_native, .arg = "tcp"},
	{.name = "srh-tfo6", .run = srh_native, .arg = "tfo"},
	{.name = "srh-dns6", .run = srh_udp, .arg = "native"},
	{.name = "rthdr-cmsg-dns6", .run = rthdr_cmsg, .arg = "6"},
	{.name = "lsrr-tcp4", .run = lsrr, .arg = "tcp"},
	{.name = "lsrr-tfo4", .run = lsrr, .arg = "tfo"},
	{.name = "lsrr-dns4", .run = lsrr, .arg = "udp"},
	{.name = "lsrr-cmsg-dns4", .run = lsrr_cmsg, .arg = "4"},
	{.name = "igmp-join", .run = igmp, .arg = "native"},
	{.name = "mld-join", .run = mld, .arg = "native"},
	{.name = "mld-join-group", .run = mld_group},
	{.name = "compat-igmp-join", .run = igmp, .arg = "compat"},
	{.name = "compat-mld-join", .run = mld, .arg = "compat"},
	{.name = "compat-bindtodevice-tcp4", .run = compat_bound_tcp, .arg = "4"},
	{.name = "compat-bindtodevice-tcp6", .run = compat_bound_tcp, .arg = "6"},
	{.name = "compat-bindtodevice-tfo4", .run = compat_bound_tfo, .arg = "4"},
	{.name = "compat-bindtodevice-tfo6", .run = compat_bound_tfo, .arg = "6"},
	{.name = "compat-bindtodevice-dns4", .run = compat_bound_dns, .arg = "4"},
	{.name = "compat-bindtodevice-dns6", .run = compat_bound_dns, .arg = "6"},
	{.name = "compat-srh-tcp6", .run = srh_compat, .arg = "tcp"},
	{.name = "compat-srh-tfo6", .run = srh_compat, .arg = "tfo"},
	{.name = "compat-srh-dns6", .run = srh_udp, .arg = "compat"},
	{0},
};
