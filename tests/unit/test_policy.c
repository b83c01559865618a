/* test_policy.c: the kernel side's verdicts, on the host. */
#include "../../bpf/policy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PROXY 15001
#define DNS 15053
#define EXPLICIT 8765

static const struct eg_guard open_guard = {
	.id = 77, .flags = EG_GUARD_OPEN, .proxy_port = PROXY, .dns_port = DNS
};

/* "1.2.3.4" as v4-mapped, or IPv6. */
static void addr_of(const char *text, __u8 out[16])
{
	struct in_addr v4;

	if (inet_pton(AF_INET6, text, out) == 1)
		return;
	if (inet_pton(AF_INET, text, &v4) != 1)
		fail_msg("bad address in the test: %s", text);
	policy_map_v4(out, (const __u8 *)&v4);
}

/* ---- classes ------------------------------------------------------------------------------------ */

#define LO EG_REASON_LOOPBACK
#define PRIV EG_REASON_PRIVATE
#define LINK EG_REASON_LINK_LOCAL
#define META EG_REASON_METADATA
#define MULTI EG_REASON_MULTICAST
#define RES EG_REASON_RESERVED

static const struct {
	const char *addr;
	__u8 class;
} v4_rows[] = {
	{ "0.0.0.0", LO }, { "127.0.0.1", LO }, { "127.0.0.53", LO }, { "127.255.255.255", LO },
	{ "0.0.0.1", RES }, { "0.255.255.255", RES },
	{ "10.0.0.0", PRIV }, { "10.255.255.255", PRIV },
	{ "172.16.0.0", PRIV }, { "172.31.255.255", PRIV },
	{ "192.168.0.0", PRIV }, { "192.168.255.255", PRIV },
	{ "100.64.0.0", PRIV }, { "100.127.255.255", PRIV },
	{ "169.254.0.0", LINK }, { "169.254.255.255", LINK },
	{ "169.254.169.254", META }, { "169.254.170.2", META }, { "169.254.170.23", META },
	{ "169.254.169.253", META }, { "169.254.0.23", META }, { "169.254.42.42", META },
	{ "100.100.100.200", META }, { "168.63.129.16", META }, { "192.0.0.192", META },
	{ "224.0.0.0", MULTI }, { "239.255.255.255", MULTI }, { "255.255.255.255", MULTI },
	{ "240.0.0.0", RES }, { "255.255.255.254", RES }, { "192.0.0.0", RES }, { "192.0.0.255", RES },
	{ "192.88.99.1", RES },
	{ "1.0.0.0", 0 }, { "8.8.8.8", 0 }, { "9.255.255.255", 0 }, { "11.0.0.0", 0 },
	{ "126.255.255.255", 0 }, { "128.0.0.0", 0 }, { "172.15.255.255", 0 }, { "172.32.0.0", 0 },
	{ "192.167.255.255", 0 }, { "192.169.0.0", 0 }, { "100.63.255.255", 0 }, { "100.128.0.0", 0 },
	{ "169.253.255.255", 0 }, { "169.255.0.0", 0 }, { "223.255.255.255", 0 }, { "168.63.129.15", 0 },
	{ "168.63.129.17", 0 }, { "191.255.255.255", 0 }, { "192.0.1.0", 0 },
	/* the sinkhole's range, documentation, benchmarking */
	{ "192.0.2.1", 0 }, { "198.51.100.1", 0 }, { "203.0.113.1", 0 }, { "198.18.0.1", 0 },
};

static const struct {
	const char *addr;
	__u8 class;
} v6_rows[] = {
	{ "::", LO }, { "::1", LO }, { "::2", RES }, { "::7f00:1", LO }, { "::10.0.0.1", PRIV },
	{ "::8.8.8.8", 0 }, { "::ffff:0:127.0.0.1", LO }, { "::ffff:0:8.8.8.8", 0 },
	{ "::fffe:127.0.0.1", RES }, { "::1:127.0.0.1", RES }, { "0:0:0:1::", RES },
	{ "fe80::1", LINK }, { "febf:ffff::1", LINK }, { "fec0::1", PRIV }, { "feff::1", PRIV },
	{ "fc00::", PRIV }, { "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", PRIV }, { "fe00::1", RES },
	{ "fe7f:ffff::", RES }, { "ff00::", MULTI }, { "ff02::1", MULTI }, { "ffff::", MULTI },
	{ "fd00:ec2::254", META }, { "fd00:ec2::253", META }, { "fd00:ec2::23", META },
	{ "fd20:ce::254", META }, { "fd00:42::42", META }, { "fe80::a9fe:a9fe", META },
	{ "fd00:ec2::255", PRIV }, { "fd00:ec2:0:1::254", PRIV }, { "fd20:cd::254", PRIV },
	/* NAT64 */
	{ "64:ff9b::127.0.0.1", LO }, { "64:ff9b::169.254.169.254", META }, { "64:ff9b::10.1.2.3", PRIV },
	{ "64:ff9b::8.8.8.8", 0 }, { "64:ff9b::", LO }, { "64:ff9b:0:1::8.8.8.8", RES },
	{ "64:ff9b:1::127.0.0.1", LO }, { "64:ff9b:1::8.8.8.8", 0 }, { "64:ff9b:1::", RES },
	{ "64:ff9b:1:7f00:0:100::", LO },	 /* /48 */
	{ "64:ff9b:1:a9:fe:a9fe::", META },	 /* /56 */
	{ "64:ff9b:1:0:7f:0:100:0", LO },	 /* /64 */
	{ "64:ff9b:1:808:8:800::", 0 },		 /* /48 of 8.8.8.8 */
	{ "64:ff9b:1:2:3:4:10.0.0.1", PRIV }, { "64:ff9b:2::8.8.8.8", RES },
	/* 6to4 */
	{ "2002:7f00:1::", LO }, { "2002:a9fe:a9fe::1", META }, { "2002:c0a8:101::1", PRIV },
	{ "2002:e000:1::", MULTI }, { "2002::", LO }, { "2002:808:808::1", 0 },
	/* Teredo: client inverted at the end, server in front */
	{ "2001:0:4136:e378:8000:63bf:3fff:fdd2", 0 }, { "2001:0:808:808::80ff:fffe", LO },
	{ "2001:0:808:808::5601:5601", META }, { "2001:0:7f00:1:8000:63bf:3fff:fdd2", LO },
	{ "2001:0:a00:1:8000:63bf:3fff:fdd2", PRIV },
	/* ISATAP */
	{ "2001:db8::5efe:127.0.0.1", LO }, { "2001:db8::200:5efe:10.0.0.1", PRIV },
	{ "2001:db8::5efe:8.8.8.8", 0 }, { "fe80::5efe:8.8.8.8", LINK }, { "fe80::5efe:169.254.169.254", META },
	/* only 2000::/3 is global */
	{ "100::1", RES }, { "1fff:ffff::", RES }, { "4000::", RES }, { "5f00::1", RES }, { "8000::", RES },
	{ "2000::", 0 }, { "3fff:ffff:ffff:ffff::1", 0 }, { "2001:db8::1", 0 }, { "2606:4700::1111", 0 },
	{ "2001:1::1", 0 }, { "2003::1", 0 },
};

static void classes_v4(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v4_rows); i++) {
		__u8 a[16];

		addr_of(v4_rows[i].addr, a);
		if (policy_class(a) != v4_rows[i].class)
			fail_msg("%s: %u, not %u", v4_rows[i].addr, policy_class(a), v4_rows[i].class);
	}
}

static void classes_v6(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v6_rows); i++) {
		__u8 a[16];

		addr_of(v6_rows[i].addr, a);
		if (policy_class(a) != v6_rows[i].class)
			fail_msg("%s: %u, not %u", v6_rows[i].addr, policy_class(a), v6_rows[i].class);
	}
}

/* Every special IPv4 address stays so in every wrapping. */
static void wrapped(void **state)
{
	static const char *const forms[] = { "::", "::ffff:0:", "64:ff9b::", "64:ff9b:1::",
					     "2001:db8::5efe:", "2001:db8::200:5efe:" };

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(v4_rows); i++) {
		__u8 plain[16], a[16];
		char text[80];

		addr_of(v4_rows[i].addr, plain);
		for (size_t f = 0; f < ARRAY_SIZE(forms); f++) {
			(void)snprintf(text, sizeof(text), "%s%s", forms[f], v4_rows[i].addr);
			addr_of(text, a);
			if (v4_rows[i].class && !policy_class(a))
				fail_msg("%s is public", text);
		}
		memset(a, 0, sizeof(a));
		a[0] = 0x20, a[1] = 0x02;
		memcpy(a + 2, plain + 12, 4);
		assert_int_equal(policy_class(a), v4_rows[i].class);
		memset(a, 0, sizeof(a));
		a[0] = 0x20, a[1] = 0x01;
		a[4] = a[5] = 8; /* server 8.8.0.0 */
		for (int b = 0; b < 4; b++)
			a[12 + b] = (__u8)~plain[12 + b];
		assert_int_equal(policy_class(a), v4_rows[i].class);
	}
}

/* ---- dialling ----------------------------------------------------------------------------------- */

static struct policy_dial dial_of(const char *addr, __u16 port, __u16 type, __u16 proto)
{
	struct policy_dial d = { .port = port, .explicit_port = EXPLICIT, .type = type, .proto = proto };

	addr_of(addr, d.addr);
	d.hook_family = strchr(addr, ':') ? AF_INET6 : AF_INET;
	d.user_family = d.sk_family = d.hook_family;
	return d;
}

static void expect(const char *what, struct policy_verdict v, __u8 act, __u8 reason)
{
	if (v.act != act || v.reason != reason)
		fail_msg("%s: act %u reason %u, not act %u reason %u", what, v.act, v.reason, act, reason);
}

static const struct {
	const char *addr;
	__u16 port, lease;
	__u8 act, reason;
} tcp_rows[] = {
	{ "8.8.8.8", 443, 0, POLICY_PROXY, 0 },
	{ "8.8.8.8", 0, 0, POLICY_PROXY, 0 },
	{ "::ffff:8.8.8.8", 443, 0, POLICY_PROXY, 0 },
	{ "2606:4700::1111", 22, 0, POLICY_PROXY, 0 },
	{ "192.0.2.1", 443, 0, POLICY_PROXY, 0 },
	{ "8.8.8.8", 443, POLICY_LEASE_PROXIED, POLICY_PROXY, 0 },
	{ "8.8.8.8", 443, POLICY_LEASE_DIRECT, POLICY_PASS, 0 },
	{ "10.0.0.5", 5432, POLICY_LEASE_DIRECT, POLICY_PASS, 0 },
	{ "10.0.0.5", 443, POLICY_LEASE_PROXIED, POLICY_PROXY, 0 },
	{ "127.0.0.1", 3000, POLICY_LEASE_PROXIED, POLICY_PROXY, 0 },
	{ "127.0.0.1", 3000, POLICY_LEASE_DIRECT, POLICY_PASS, 0 },
	{ "169.254.169.254", 80, POLICY_LEASE_PROXIED, POLICY_PROXY, 0 },
	/* DNS, whatever the server */
	{ "8.8.8.8", 53, 0, POLICY_RESOLVER, 0 },
	{ "127.0.0.53", 53, 0, POLICY_RESOLVER, 0 },
	{ "10.0.0.1", 53, 0, POLICY_RESOLVER, 0 },
	{ "169.254.169.254", 53, 0, POLICY_RESOLVER, 0 },
	{ "fe80::1", 53, 0, POLICY_RESOLVER, 0 },
	{ "8.8.8.8", 53, POLICY_LEASE_DIRECT, POLICY_RESOLVER, 0 },
	/* the explicit proxy */
	{ "127.0.0.1", EXPLICIT, 0, POLICY_PROXY, 0 },
	{ "127.9.9.9", EXPLICIT, 0, POLICY_PROXY, 0 },
	{ "::1", EXPLICIT, 0, POLICY_PROXY, 0 },
	{ "::ffff:127.0.0.1", EXPLICIT, 0, POLICY_PROXY, 0 },
	{ "0.0.0.0", EXPLICIT, 0, POLICY_DENY, LO },
	{ "::", EXPLICIT, 0, POLICY_DENY, LO },
	{ "::127.0.0.1", EXPLICIT, 0, POLICY_DENY, LO },
	{ "64:ff9b::127.0.0.1", EXPLICIT, 0, POLICY_DENY, LO },
	{ "10.0.0.1", EXPLICIT, 0, POLICY_DENY, PRIV },
	/* our own ports */
	{ "127.0.0.1", PROXY, 0, POLICY_DENY, LO },
	{ "127.0.0.2", PROXY, 0, POLICY_DENY, LO },
	{ "::1", PROXY, 0, POLICY_DENY, LO },
	{ "127.0.0.1", DNS, 0, POLICY_DENY, LO },
	{ "127.0.0.1", DNS + 1, 0, POLICY_DENY, LO },
	{ "127.0.0.1", PROXY, POLICY_LEASE_DIRECT, POLICY_DENY, LO },
	{ "127.0.0.1", PROXY, POLICY_LEASE_PROXIED, POLICY_DENY, LO },
	{ "::", DNS, POLICY_LEASE_DIRECT, POLICY_DENY, LO },
	/* special */
	{ "127.0.0.1", 22, 0, POLICY_DENY, LO },
	{ "0.0.0.0", 22, 0, POLICY_DENY, LO },
	{ "::", 22, 0, POLICY_DENY, LO },
	{ "10.0.0.5", 443, 0, POLICY_DENY, PRIV },
	{ "192.168.1.1", 80, 0, POLICY_DENY, PRIV },
	{ "fd00::1", 443, 0, POLICY_DENY, PRIV },
	{ "169.254.1.1", 80, 0, POLICY_DENY, LINK },
	{ "169.254.169.254", 80, 0, POLICY_DENY, META },
	{ "::ffff:169.254.169.254", 80, 0, POLICY_DENY, META },
	{ "fd00:ec2::254", 80, 0, POLICY_DENY, META },
	{ "64:ff9b::169.254.169.254", 80, 0, POLICY_DENY, META },
	{ "224.0.0.1", 443, 0, POLICY_DENY, MULTI },
	{ "255.255.255.255", 443, 0, POLICY_DENY, MULTI },
	{ "240.0.0.1", 443, 0, POLICY_DENY, RES },
	{ "100::1", 443, 0, POLICY_DENY, RES },
	/* what no lease opens */
	{ "224.0.0.1", 443, POLICY_LEASE_DIRECT, POLICY_DENY, MULTI },
	{ "ff02::1", 443, POLICY_LEASE_PROXIED, POLICY_DENY, MULTI },
	{ "240.0.0.1", 443, POLICY_LEASE_DIRECT, POLICY_DENY, RES },
	{ "4000::1", 443, POLICY_LEASE_PROXIED, POLICY_DENY, RES },
	/* a lease value that is none */
	{ "10.0.0.5", 443, 3, POLICY_DENY, PRIV },
};

static void dial_tcp(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(tcp_rows); i++) {
		struct policy_dial d = dial_of(tcp_rows[i].addr, tcp_rows[i].port, SOCK_STREAM, IPPROTO_TCP);
		char what[80];

		d.lease = tcp_rows[i].lease;
		(void)snprintf(what, sizeof(what), "%s:%u lease %u", tcp_rows[i].addr, d.port, d.lease);
		expect(what, policy_connect(&open_guard, &d), tcp_rows[i].act, tcp_rows[i].reason);
		expect("tcp in sendmsg", policy_sendmsg(&open_guard, &d), POLICY_DENY, EG_REASON_SOCKET);
	}
}

static const struct {
	const char *addr;
	__u16 port;
	__u8 act, reason;
} udp_rows[] = {
	{ "8.8.8.8", 53, POLICY_RESOLVER, 0 },
	{ "127.0.0.53", 53, POLICY_RESOLVER, 0 },
	{ "::1", 53, POLICY_RESOLVER, 0 },
	{ "fe80::1", 53, POLICY_RESOLVER, 0 },
	{ "127.0.0.1", DNS, POLICY_PASS, 0 },
	{ "::1", DNS, POLICY_PASS, 0 },
	{ "::ffff:127.0.0.1", DNS, POLICY_PASS, 0 },
	{ "127.0.0.2", DNS, POLICY_DENY, LO },
	{ "127.0.0.1", DNS + 1, POLICY_DENY, LO },
	{ "127.0.0.1", PROXY, POLICY_DENY, LO },
	{ "127.0.0.1", EXPLICIT, POLICY_DENY, LO },
	{ "::1", 5353, POLICY_DENY, LO },
	{ "0.0.0.0", DNS, POLICY_DENY, LO },
	{ "8.8.8.8", 443, POLICY_DENY, EG_REASON_UDP },
	{ "8.8.8.8", DNS, POLICY_DENY, EG_REASON_UDP },
	{ "8.8.8.8", 0, POLICY_DENY, EG_REASON_UDP },
	{ "10.0.0.1", 123, POLICY_DENY, EG_REASON_UDP },
	{ "224.0.0.251", 5353, POLICY_DENY, EG_REASON_UDP },
	{ "255.255.255.255", 67, POLICY_DENY, EG_REASON_UDP },
	{ "2606:4700::1111", 443, POLICY_DENY, EG_REASON_UDP },
	{ "169.254.169.254", 80, POLICY_DENY, EG_REASON_UDP },
};

static void dial_udp(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(udp_rows); i++) {
		struct policy_dial d = dial_of(udp_rows[i].addr, udp_rows[i].port, SOCK_DGRAM, IPPROTO_UDP);

		for (__u16 lease = 0; lease <= POLICY_LEASE_DIRECT; lease++) {
			d.lease = lease; /* opens nothing for UDP */
			expect(udp_rows[i].addr, policy_connect(&open_guard, &d), udp_rows[i].act,
			       udp_rows[i].reason);
			expect(udp_rows[i].addr, policy_sendmsg(&open_guard, &d), udp_rows[i].act,
			       udp_rows[i].reason);
		}
	}
}

static void families(void **state)
{
	static const struct {
		__u16 hook, user, sk, proto;
		__u8 ok;
	} rows[] = {
		{ AF_INET, AF_INET, AF_INET, IPPROTO_TCP, 1 },
		{ AF_INET, AF_INET, AF_INET, IPPROTO_UDP, 1 },
		{ AF_INET6, AF_INET6, AF_INET6, IPPROTO_TCP, 1 },
		{ AF_INET6, AF_INET6, AF_INET6, IPPROTO_UDP, 1 },
		{ AF_INET, AF_INET, AF_INET6, IPPROTO_UDP, 1 },	 /* IPv4 sockaddr on a UDP6 socket */
		{ AF_INET, AF_INET, AF_INET6, IPPROTO_TCP, 0 },
		{ AF_INET6, AF_INET, AF_INET6, IPPROTO_TCP, 0 }, /* garbage in the address */
		{ AF_INET6, AF_INET6, AF_INET, IPPROTO_UDP, 0 },
		{ AF_INET, AF_UNSPEC, AF_INET, IPPROTO_UDP, 0 },
		{ AF_INET6, AF_UNSPEC, AF_INET6, IPPROTO_UDP, 0 },
		{ AF_INET, AF_INET6, AF_INET, IPPROTO_TCP, 0 },
		{ AF_INET, AF_UNIX, AF_INET, IPPROTO_TCP, 0 },
		{ AF_INET, AF_INET, AF_UNIX, IPPROTO_UDP, 0 },
		{ AF_INET6, 0xffff, AF_INET6, IPPROTO_TCP, 0 },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		__u16 type = rows[i].proto == IPPROTO_TCP ? SOCK_STREAM : SOCK_DGRAM;
		struct policy_dial d = dial_of("8.8.8.8", 53, type, rows[i].proto);
		struct policy_verdict v;

		d.hook_family = rows[i].hook;
		d.user_family = rows[i].user;
		d.sk_family = rows[i].sk;
		v = policy_connect(&open_guard, &d);
		if (rows[i].ok)
			expect("family", v, POLICY_RESOLVER, 0);
		else
			expect("family", v, POLICY_DENY, EG_REASON_FAMILY);
	}
}

static void socket_kinds(void **state)
{
	static const __u16 protos[] = { 0, 1, 6, 17, 33, 58, 132, 136, 255, 262 & 0xffff };

	(void)state;
	for (__u16 type = 0; type <= 10; type++)
		for (size_t i = 0; i < ARRAY_SIZE(protos); i++)
			for (__u16 family = 0; family < 46; family++) {
				__u8 tcp = type == SOCK_STREAM && protos[i] == IPPROTO_TCP;
				__u8 udp = type == SOCK_DGRAM && protos[i] == IPPROTO_UDP;
				__u8 ip = family == AF_INET || family == AF_INET6;
				struct policy_dial d = dial_of("8.8.8.8", 53, type, protos[i]);
				__u8 got = policy_sock_create(family, type, protos[i]);

				assert_int_equal(got, ip && (tcp || udp) ? 0 : EG_REASON_SOCKET);
				if (!tcp && !udp)
					expect("kind", policy_connect(&open_guard, &d), POLICY_DENY,
					       EG_REASON_SOCKET);
			}
}

/* ---- closed ------------------------------------------------------------------------------------- */

static void closed(void **state)
{
	struct eg_guard g[6];
	struct policy_packet p = { .port = PROXY, .proto = IPPROTO_TCP, .ifindex = 1 };
	struct policy_dial d = dial_of("8.8.8.8", 53, SOCK_DGRAM, IPPROTO_UDP);

	(void)state;
	addr_of("127.0.0.1", p.addr);
	for (size_t i = 0; i < ARRAY_SIZE(g); i++)
		g[i] = open_guard;
	memset(&g[0], 0, sizeof(g[0]));
	g[1].flags = 0;
	g[2].id = 0;
	g[3].proxy_port = 0;
	g[4].dns_port = 0;
	g[5].flags = ~EG_GUARD_OPEN;
	for (size_t i = 0; i <= ARRAY_SIZE(g); i++) {
		const struct eg_guard *one = i < ARRAY_SIZE(g) ? &g[i] : NULL;

		expect("closed", policy_connect(one, &d), POLICY_DENY, EG_REASON_CLOSED);
		expect("closed", policy_sendmsg(one, &d), POLICY_DENY, EG_REASON_CLOSED);
		assert_int_equal(policy_bind(one, 0, EXPLICIT), EG_REASON_CLOSED);
		assert_int_equal(policy_egress(one, &p), EG_REASON_CLOSED);
		assert_int_equal(policy_ingress(one, &p), EG_REASON_CLOSED);
	}
}

static void binds(void **state)
{
	(void)state;
	for (__u32 port = 0; port < 65536; port++) {
		__u8 ours = port == PROXY || port == DNS || port == EXPLICIT;

		assert_int_equal(policy_bind(&open_guard, (__u16)port, EXPLICIT), ours ? EG_REASON_BIND : 0);
	}
}

/* ---- socket options ----------------------------------------------------------------------------- */

static const struct {
	__u32 level, name;
} opts_denied[] = {
	{ SOL_SOCKET, 25 /* BINDTODEVICE */ }, { SOL_SOCKET, 62 /* BINDTOIFINDEX */ }, { SOL_SOCKET, SO_MARK },
	{ SOL_SOCKET, SO_DONTROUTE }, { SOL_SOCKET, SO_ATTACH_FILTER }, { SOL_SOCKET, 50 /* ATTACH_BPF */ },
	{ SOL_SOCKET, 51 /* ATTACH_REUSEPORT_CBPF */ }, { SOL_SOCKET, 61 /* TXTIME */ },
	{ SOL_SOCKET, SO_SNDBUFFORCE }, { SOL_SOCKET, 0 }, { SOL_SOCKET, 9999 },
	{ SOL_IP, IP_OPTIONS }, { SOL_IP, 19 /* TRANSPARENT */ }, { SOL_IP, IP_ADD_MEMBERSHIP },
	{ SOL_IP, IP_ADD_SOURCE_MEMBERSHIP }, { SOL_IP, IP_MSFILTER }, { SOL_IP, MCAST_JOIN_GROUP },
	{ SOL_IP, MCAST_JOIN_SOURCE_GROUP }, { SOL_IP, MCAST_MSFILTER }, { SOL_IP, IP_UNICAST_IF },
	{ SOL_IP, IP_MULTICAST_IF }, { SOL_IP, IP_HDRINCL }, { SOL_IP, IP_FREEBIND }, { SOL_IP, EG_SO_RECORD },
	{ SOL_IPV6, IPV6_ADDRFORM }, { SOL_IPV6, 6 /* 2292PKTOPTIONS */ }, { SOL_IPV6, IPV6_JOIN_GROUP },
	{ SOL_IPV6, IPV6_JOIN_ANYCAST }, { SOL_IPV6, MCAST_JOIN_GROUP }, { SOL_IPV6, MCAST_JOIN_SOURCE_GROUP },
	{ SOL_IPV6, MCAST_MSFILTER }, { SOL_IPV6, IPV6_PKTINFO }, { SOL_IPV6, IPV6_HOPOPTS },
	{ SOL_IPV6, IPV6_RTHDRDSTOPTS }, { SOL_IPV6, IPV6_RTHDR }, { SOL_IPV6, IPV6_DSTOPTS },
	{ SOL_IPV6, IPV6_TRANSPARENT }, { SOL_IPV6, 76 /* UNICAST_IF */ }, { SOL_IPV6, IPV6_MULTICAST_IF },
	{ SOL_TCP, TCP_REPAIR }, { SOL_TCP, TCP_ULP }, { SOL_TCP, TCP_MD5SIG }, { SOL_TCP, TCP_FASTOPEN_KEY },
	{ SOL_TCP, TCP_FASTOPEN_NO_COOKIE }, { SOL_TCP, 0 }, { IPPROTO_UDP, 100 /* ENCAP */ },
	{ IPPROTO_UDP, 101 }, { SOL_RAW, 1 }, { 279 /* ALG */, 1 }, { 263 /* PACKET */, 1 }, { 132 /* SCTP */, 1 },
	{ 136, 10 }, { 270, 0 }, { 270, 8 }, { 270, 9 }, { 0xffffffff, 1 }, { SOL_SOCKET, 0xffffffff },
	{ 284 /* MPTCP */, 1 }, { 283 /* XDP */, 1 },
};

static const struct {
	__u32 level, name;
} opts_allowed[] = {
	{ SOL_SOCKET, SO_REUSEADDR }, { SOL_SOCKET, SO_KEEPALIVE }, { SOL_SOCKET, SO_SNDBUF },
	{ SOL_SOCKET, SO_RCVBUF }, { SOL_SOCKET, SO_LINGER }, { SOL_SOCKET, SO_RCVTIMEO },
	{ SOL_SOCKET, SO_SNDTIMEO }, { SOL_SOCKET, SO_BROADCAST }, { SOL_SOCKET, SO_REUSEPORT },
	{ SOL_SOCKET, SO_PASSCRED }, { SOL_SOCKET, SO_PRIORITY }, { SOL_IP, IP_TOS }, { SOL_IP, IP_TTL },
	{ SOL_IP, IP_RECVERR }, { SOL_IP, IP_MTU_DISCOVER }, { SOL_IP, IP_PKTINFO }, { SOL_IPV6, IPV6_V6ONLY },
	{ SOL_IPV6, IPV6_TCLASS }, { SOL_IPV6, IPV6_RECVPKTINFO }, { SOL_IPV6, IPV6_RECVERR },
	{ SOL_TCP, TCP_NODELAY }, { SOL_TCP, TCP_KEEPIDLE }, { SOL_TCP, TCP_KEEPINTVL },
	{ SOL_TCP, TCP_KEEPCNT }, { SOL_TCP, TCP_USER_TIMEOUT }, { SOL_TCP, TCP_QUICKACK },
	{ SOL_TCP, TCP_CORK }, { SOL_TCP, TCP_CONGESTION }, { SOL_TCP, TCP_NOTSENT_LOWAT },
	{ SOL_TCP, TCP_FASTOPEN_CONNECT }, { SOL_TCP, TCP_MAXSEG }, { IPPROTO_UDP, 103 }, { IPPROTO_UDP, 104 },
	{ 270, 1 }, { 270, 11 }, { 270, 12 },
};

static void options(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(opts_denied); i++)
		if (policy_setsockopt(opts_denied[i].level, opts_denied[i].name) != EG_REASON_SOCKOPT)
			fail_msg("level %u option %u is allowed", opts_denied[i].level, opts_denied[i].name);
	for (size_t i = 0; i < ARRAY_SIZE(opts_allowed); i++)
		if (policy_setsockopt(opts_allowed[i].level, opts_allowed[i].name) != 0)
			fail_msg("level %u option %u is denied", opts_allowed[i].level, opts_allowed[i].name);
}

/* ---- the wall ----------------------------------------------------------------------------------- */

static const struct {
	const char *addr;
	__u16 port, lease;
	__u8 proto, tcp_flags;
	__u32 ifindex;
	__u8 out, in; /* passes */
} packets[] = {
	{ "127.0.0.1", PROXY, 0, IPPROTO_TCP, 0x10, 1, 1, 1 },
	{ "::1", PROXY, 0, IPPROTO_TCP, 0x12, 1, 1, 1 },
	{ "127.0.0.1", DNS, 0, IPPROTO_TCP, 0x10, 1, 1, 1 },
	{ "127.0.0.1", DNS, 0, IPPROTO_UDP, 0, 1, 1, 1 },
	{ "::1", DNS, 0, IPPROTO_UDP, 0, 1, 1, 1 },
	{ "127.0.0.1", PROXY, 0, IPPROTO_TCP, 0x02, 1, 1, 0 }, /* SYN: goes out, never comes in */
	{ "8.8.8.8", 443, POLICY_LEASE_DIRECT, IPPROTO_TCP, 0x10, 2, 1, 1 },
	{ "10.0.0.5", 5432, POLICY_LEASE_DIRECT, IPPROTO_TCP, 0x12, 7, 1, 1 },
	{ "10.0.0.5", 5432, POLICY_LEASE_DIRECT, IPPROTO_TCP, 0x02, 7, 1, 0 },
	{ "10.0.0.5", 5432, POLICY_LEASE_DIRECT, IPPROTO_TCP, 0x04, 7, 1, 1 },
	/* another interface, as by SO_BINDTODEVICE */
	{ "127.0.0.1", PROXY, 0, IPPROTO_TCP, 0x10, 2, 0, 0 },
	{ "::1", PROXY, 0, IPPROTO_TCP, 0x10, 3, 0, 0 },
	{ "127.0.0.1", DNS, 0, IPPROTO_UDP, 0, 2, 0, 0 },
	{ "127.0.0.1", PROXY, 0, IPPROTO_TCP, 0x10, 0, 0, 0 },
	/* other ports and protocols */
	{ "127.0.0.1", PROXY, 0, IPPROTO_UDP, 0, 1, 0, 0 },
	{ "127.0.0.1", EXPLICIT, 0, IPPROTO_TCP, 0x10, 1, 0, 0 },
	{ "127.0.0.1", DNS + 1, 0, IPPROTO_UDP, 0, 1, 0, 0 },
	{ "127.0.0.1", 22, 0, IPPROTO_TCP, 0x10, 1, 0, 0 },
	{ "127.0.0.1", 0, 0, IPPROTO_TCP, 0x10, 1, 0, 0 },
	{ "127.0.0.1", PROXY, 0, IPPROTO_UDPLITE, 0, 1, 0, 0 },
	{ "127.0.0.1", PROXY, 0, IPPROTO_SCTP, 0, 1, 0, 0 },
	{ "127.0.0.1", PROXY, 0, IPPROTO_ICMP, 0, 1, 0, 0 },
	{ "127.0.0.1", PROXY, 0, 0, 0, 1, 0, 0 },
	/* other addresses */
	{ "127.0.0.2", PROXY, 0, IPPROTO_TCP, 0x10, 1, 0, 0 },
	{ "8.8.8.8", PROXY, 0, IPPROTO_TCP, 0x10, 1, 0, 0 },
	{ "8.8.8.8", 443, 0, IPPROTO_TCP, 0x10, 2, 0, 0 },
	{ "8.8.8.8", 53, 0, IPPROTO_UDP, 0, 2, 0, 0 },
	{ "::", PROXY, 0, IPPROTO_TCP, 0x10, 1, 0, 0 },
	{ "::127.0.0.1", PROXY, 0, IPPROTO_TCP, 0x10, 1, 0, 0 },
	/* leases that do not open */
	{ "8.8.8.8", 443, POLICY_LEASE_PROXIED, IPPROTO_TCP, 0x10, 2, 0, 0 },
	{ "8.8.8.8", 443, POLICY_LEASE_DIRECT, IPPROTO_UDP, 0, 2, 0, 0 },
	{ "8.8.8.8", 443, 3, IPPROTO_TCP, 0x10, 2, 0, 0 },
};

static void wall(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(packets); i++) {
		struct policy_packet p = { .port = packets[i].port, .proto = packets[i].proto,
					   .tcp_flags = packets[i].tcp_flags, .ifindex = packets[i].ifindex,
					   .lease = packets[i].lease };

		addr_of(packets[i].addr, p.addr);
		if (policy_egress(&open_guard, &p) != (packets[i].out ? 0 : EG_REASON_WALL))
			fail_msg("row %zu: out", i);
		if (policy_ingress(&open_guard, &p) != (packets[i].in ? 0 : EG_REASON_INBOUND))
			fail_msg("row %zu: in", i);
	}
}

static void headers_v4(void **state)
{
	__u8 h[POLICY_IP4_LEN] = { 0x45, 0, 0, 40, 1, 2, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 127, 0, 0, 1 };
	struct policy_packet p = {};
	__u8 want[16];

	(void)state;
	assert_int_equal(policy_ip4(h, 0, &p), 20);
	addr_of("127.0.0.1", want);
	assert_memory_equal(p.addr, want, 16);
	assert_int_equal(p.proto, 6);
	assert_int_equal(policy_ip4(h, 1, &p), 20);
	addr_of("10.0.0.1", want);
	assert_memory_equal(p.addr, want, 16);
	for (int first = 0; first < 256; first++) {
		h[0] = (__u8)first;
		assert_int_equal(policy_ip4(h, 0, &p),
				 first >> 4 == 4 && (first & 15) >= 5 ? (first & 15) * 4 : 0);
	}
	h[0] = 0x4f;
	for (int frag = 0; frag < 65536; frag++) { /* DF and the reserved bit pass, a fragment does not */
		h[6] = (__u8)(frag >> 8);
		h[7] = (__u8)frag;
		assert_int_equal(policy_ip4(h, 0, &p), frag & 0x3fff ? 0 : 60);
	}
}

static void headers_v6(void **state)
{
	__u8 h[POLICY_IP6_LEN] = { 0x60, 0, 0, 0, 0, 20, 6, 64 };
	struct policy_packet p = {};
	__u8 want[16];

	(void)state;
	addr_of("2001:db8::1", h + 8);
	addr_of("::1", h + 24);
	assert_int_equal(policy_ip6(h, 0, &p), 40);
	addr_of("::1", want);
	assert_memory_equal(p.addr, want, 16);
	assert_int_equal(policy_ip6(h, 1, &p), 40);
	assert_memory_equal(p.addr, h + 8, 16);
	for (int first = 0; first < 256; first++) {
		h[0] = (__u8)first;
		assert_int_equal(policy_ip6(h, 0, &p), first >> 4 == 6 ? 40 : 0);
	}
	h[0] = 0x60;
	addr_of("127.0.0.1", h + 24); /* ::ffff:127.0.0.1 on the wire is not our listener */
	assert_int_equal(policy_ip6(h, 0, &p), 0);
	assert_int_equal(policy_ip6(h, 1, &p), 40);
	for (int next = 0; next < 256; next++) { /* extension headers carry no ports */
		__u32 len = policy_transport((__u8)next);

		assert_int_equal(len, next == 6 ? POLICY_TCP_LEN : next == 17 ? POLICY_UDP_LEN : 0);
	}
}

static void ports(void **state)
{
	const __u8 t[POLICY_TCP_LEN] = { 0x12, 0x34, 0xab, 0xcd, [13] = 0x12 };
	struct policy_packet p = { .proto = IPPROTO_TCP };

	(void)state;
	policy_ports(t, 0, &p);
	assert_int_equal(p.port, 0xabcd);
	assert_int_equal(p.tcp_flags, 0x12);
	p.proto = IPPROTO_UDP;
	policy_ports(t, 1, &p);
	assert_int_equal(p.port, 0x1234);
	assert_int_equal(p.tcp_flags, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(classes_v4), cmocka_unit_test(classes_v6), cmocka_unit_test(wrapped),
		cmocka_unit_test(dial_tcp), cmocka_unit_test(dial_udp), cmocka_unit_test(families),
		cmocka_unit_test(socket_kinds), cmocka_unit_test(closed), cmocka_unit_test(binds),
		cmocka_unit_test(options), cmocka_unit_test(wall), cmocka_unit_test(headers_v4),
		cmocka_unit_test(headers_v6), cmocka_unit_test(ports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
