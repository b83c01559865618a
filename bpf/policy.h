/* policy.h: every verdict of the kernel side, as functions of values.
 *
 * Compiled into egress.bpf.c and into host unit tests; daemon/shared/origin.c takes policy_class() from here, so
 * that user space and kernel mean the same by "private". No libc, no helper, no map, no state: what was
 * looked up comes in as a value. Addresses are 16 bytes in network order, IPv4 as v4-mapped; ports are in
 * host order. A reason (EG_REASON_*) of 0 allows; every function starts from "no".
 *
 * The wall (policy_egress, policy_ingress) does not rest on any other function here: connect() hooks
 * rewrite and give good errnos, the wall is what holds when they were bypassed.
 */
#ifndef POLICY_H
#define POLICY_H

#include "egress.h"

#define policy_fn static inline __attribute__((always_inline, unused))

/* The kernel's numbers, which vmlinux.h does not carry (it has no macros). */
#define POLICY_AF_INET 2
#define POLICY_AF_INET6 10
#define POLICY_SOCK_STREAM 1
#define POLICY_SOCK_DGRAM 2
#define POLICY_TCP 6
#define POLICY_UDP 17
#define POLICY_LO 1 /* ifindex of `lo`, the same in every network namespace (LOOPBACK_IFINDEX) */
#define POLICY_DNS_PORT 53

/* ---- addresses ---------------------------------------------------------------------------------- */

policy_fn __u32 policy_u32(const __u8 *p)
{
	return (__u32)p[0] << 24 | (__u32)p[1] << 16 | (__u32)p[2] << 8 | (__u32)p[3];
}

#define POLICY_V4(a, b, c, d) ((__u32)(a) << 24 | (__u32)(b) << 16 | (__u32)(c) << 8 | (__u32)(d))

/* Is v within base/len; len 1 to 32. */
policy_fn __u8 policy_in(__u32 v, __u32 base, __u32 len)
{
	return ((v ^ base) >> (32 - len)) == 0;
}

/* Where clouds answer anyone who asks from inside with credentials. Names in order: AWS, GCP, Azure,
 * OpenStack and most others; AWS resolver; ECS; EKS pod identity; Tencent; Scaleway; Alibaba; Azure
 * wire server; Oracle. */
policy_fn __u8 policy_metadata_v4(__u32 v)
{
	return v == POLICY_V4(169, 254, 169, 254) || v == POLICY_V4(169, 254, 169, 253) ||
	       v == POLICY_V4(169, 254, 170, 2) || v == POLICY_V4(169, 254, 170, 23) ||
	       v == POLICY_V4(169, 254, 0, 23) || v == POLICY_V4(169, 254, 42, 42) ||
	       v == POLICY_V4(100, 100, 100, 200) || v == POLICY_V4(168, 63, 129, 16) ||
	       v == POLICY_V4(192, 0, 0, 192);
}

policy_fn __u8 policy_class_v4(__u32 v)
{
	if (policy_metadata_v4(v))
		return EG_REASON_METADATA;
	if (v == 0 || policy_in(v, POLICY_V4(127, 0, 0, 0), 8))
		return EG_REASON_LOOPBACK;
	if (policy_in(v, POLICY_V4(10, 0, 0, 0), 8) || policy_in(v, POLICY_V4(172, 16, 0, 0), 12) ||
	    policy_in(v, POLICY_V4(192, 168, 0, 0), 16) || policy_in(v, POLICY_V4(100, 64, 0, 0), 10))
		return EG_REASON_PRIVATE;
	if (policy_in(v, POLICY_V4(169, 254, 0, 0), 16))
		return EG_REASON_LINK_LOCAL;
	if (policy_in(v, POLICY_V4(224, 0, 0, 0), 4) || v == 0xffffffffu)
		return EG_REASON_MULTICAST;
	if (policy_in(v, 0, 8) || policy_in(v, POLICY_V4(240, 0, 0, 0), 4) ||
	    policy_in(v, POLICY_V4(192, 0, 0, 0), 24) || policy_in(v, POLICY_V4(192, 88, 99, 0), 24))
		return EG_REASON_RESERVED;
	return 0;
}

/* 64:ff9b:1::/48 (RFC 8215): the operator chooses the length, so the IPv4 address may stand in four places
 * (RFC 6052, 2.2). Special in any place that can hold one (0/8 cannot) is special. */
policy_fn __u8 policy_class_nat64_local(const __u8 a[16])
{
	const __u32 at[4] = {
		policy_u32(a + 12),
		POLICY_V4(a[6], a[7], a[9], a[10]),
		POLICY_V4(a[7], a[9], a[10], a[11]),
		POLICY_V4(a[9], a[10], a[11], a[12]),
	};
	__u8 found = EG_REASON_RESERVED, class;

	for (int i = 0; i < 4; i++) {
		if (at[i] >> 24 == 0)
			continue;
		class = policy_class_v4(at[i]);
		if (class)
			return class;
		found = 0;
	}
	return found;
}

/* Teredo (RFC 4380): the client's address is stored inverted, the server's as it is; packets go to both. */
policy_fn __u8 policy_class_teredo(const __u8 a[16])
{
	__u8 class = policy_class_v4(~policy_u32(a + 12));

	return class ? class : policy_class_v4(policy_u32(a + 4));
}

/* AWS, its resolver, EKS pod identity; GCP; Scaleway; OpenStack (169.254.169.254 as an interface id). */
policy_fn __u8 policy_metadata_v6(__u32 w0, __u32 w1, __u32 w2, __u32 w3)
{
	if (w1 || w2)
		return 0;
	return (w0 == 0xfd000ec2u && (w3 == 0x254 || w3 == 0x253 || w3 == 0x23)) ||
	       (w0 == 0xfd2000ceu && w3 == 0x254) || (w0 == 0xfd000042u && w3 == 0x42) ||
	       (w0 == 0xfe800000u && w3 == POLICY_V4(169, 254, 169, 254));
}

/* By prefix alone. Only 2000::/3 is given out as global unicast; the rest is reserved. */
policy_fn __u8 policy_prefix_v6(__u32 w0)
{
	if (w0 >> 24 == 0xff)
		return EG_REASON_MULTICAST;
	if (w0 >> 22 == 0xfe80u >> 6)
		return EG_REASON_LINK_LOCAL;
	if (w0 >> 25 == 0xfcu >> 1 || w0 >> 22 == 0xfec0u >> 6)
		return EG_REASON_PRIVATE;
	return w0 >> 29 == 1 ? 0 : EG_REASON_RESERVED;
}

/* 0: public; else EG_REASON_LOOPBACK, PRIVATE, LINK_LOCAL, METADATA, MULTICAST or RESERVED. An IPv4
 * address inside (mapped, compatible, translated, NAT64, 6to4, Teredo, ISATAP) decides. 0.0.0.0 and :: are
 * loopback, since Linux connects them there. Documentation and benchmarking ranges are public here: the
 * sinkhole is one, and origin.c judges them. */
policy_fn __u8 policy_class(const __u8 addr[16])
{
	__u32 w0 = policy_u32(addr), w1 = policy_u32(addr + 4);
	__u32 w2 = policy_u32(addr + 8), w3 = policy_u32(addr + 12);
	__u8 class;

	if (!w0 && !w1 && (w2 == 0xffff || w2 == 0xffff0000u))
		return policy_class_v4(w3);
	if (!w0 && !w1 && !w2)
		return w3 == 1 ? EG_REASON_LOOPBACK : policy_class_v4(w3);
	if (w0 == 0x0064ff9bu && !w1 && !w2)
		return policy_class_v4(w3);
	if (w0 == 0x0064ff9bu && w1 >> 16 == 1)
		return policy_class_nat64_local(addr);
	if (w0 >> 16 == 0x2002)
		return policy_class_v4(w0 << 16 | w1 >> 16);
	if (w0 == 0x20010000u)
		return policy_class_teredo(addr);
	if (policy_metadata_v6(w0, w1, w2, w3))
		return EG_REASON_METADATA;
	if (w2 == 0x00005efeu || w2 == 0x02005efeu) {
		class = policy_class_v4(w3);
		if (class)
			return class;
	}
	return policy_prefix_v6(w0);
}

/* Exactly the address our listeners have: 127.0.0.1 or ::1. */
policy_fn __u8 policy_is_ours(const __u8 a[16])
{
	__u32 w2 = policy_u32(a + 8), w3 = policy_u32(a + 12);

	if (policy_u32(a) || policy_u32(a + 4))
		return 0;
	return (w2 == 0xffff && w3 == POLICY_V4(127, 0, 0, 1)) || (w2 == 0 && w3 == 1);
}

policy_fn __u8 policy_is_v4(const __u8 a[16])
{
	return !policy_u32(a) && !policy_u32(a + 4) && policy_u32(a + 8) == 0xffff;
}

/* ---- connect and sendmsg ------------------------------------------------------------------------ */

/* What to do with a dial; DENY carries a reason. */
#define POLICY_DENY 0
#define POLICY_PROXY 1	  /* to the proxy's port on loopback, with a record */
#define POLICY_RESOLVER 2 /* to the guard's own resolver */
#define POLICY_PASS 3	  /* untouched */

/* What the lease map says of {guard, address, port} now. */
#define POLICY_LEASE_NONE 0
#define POLICY_LEASE_PROXIED 1 /* a `private` rule: may be dialled, through the proxy */
#define POLICY_LEASE_DIRECT 2  /* a `tcp` rule: not proxied */

struct policy_verdict {
	__u8 act;    /* POLICY_* */
	__u8 reason; /* EG_REASON_*, when denied */
};

struct policy_dial {
	__u8 addr[16];	      /* as dialled */
	__u16 port;
	__u16 explicit_port;  /* the configured one */
	__u16 hook_family;    /* AF_INET in connect4 and sendmsg4, AF_INET6 in the others */
	__u16 user_family;    /* the sockaddr's own claim */
	__u16 sk_family;
	__u16 type;	      /* SOCK_* */
	__u16 proto;	      /* IPPROTO_* */
	__u16 lease;	      /* POLICY_LEASE_* */
};

policy_fn struct policy_verdict policy_no(__u8 reason)
{
	return (struct policy_verdict){ POLICY_DENY, reason };
}

policy_fn struct policy_verdict policy_yes(__u8 act)
{
	return (struct policy_verdict){ act, EG_REASON_NONE };
}

/* A guard's state that allows anything at all. Missing, zeroed or half-written is closed. */
policy_fn __u8 policy_open(const struct eg_guard *g)
{
	return g && g->id && (g->flags & EG_GUARD_OPEN) && g->proxy_port && g->dns_port;
}

/* An IPv4 sockaddr on a UDP socket of AF_INET6 arrives in the IPv4 hook; on a TCP socket it arrives in the
 * IPv6 hook with an address that is not one. AF_UNSPEC counts as IPv4 in the kernel; not here. */
policy_fn __u8 policy_family(const struct policy_dial *d)
{
	if (d->user_family != d->hook_family)
		return EG_REASON_FAMILY;
	if (d->sk_family == d->hook_family)
		return 0;
	if (d->hook_family == POLICY_AF_INET && d->sk_family == POLICY_AF_INET6 &&
	    d->proto == POLICY_UDP)
		return 0;
	return EG_REASON_FAMILY;
}

/* May a lease open this class: never where no one server stands. */
policy_fn __u8 policy_leasable(__u8 class)
{
	return class != EG_REASON_MULTICAST && class != EG_REASON_RESERVED;
}

/* The explicit proxy's address as a client is told it: 127/8 or ::1, not the other spellings. */
policy_fn __u8 policy_is_explicit(const struct policy_dial *d)
{
	if (!d->explicit_port || d->port != d->explicit_port)
		return 0;
	return policy_is_ours(d->addr) || (policy_is_v4(d->addr) && d->addr[12] == 127);
}

policy_fn struct policy_verdict policy_tcp(const struct eg_guard *g, const struct policy_dial *d)
{
	__u8 class = policy_class(d->addr);

	if (d->port == POLICY_DNS_PORT)
		return policy_yes(POLICY_RESOLVER);
	if (policy_is_explicit(d))
		return policy_yes(POLICY_PROXY);
	if (class == EG_REASON_LOOPBACK && (d->port == g->proxy_port || d->port == g->dns_port))
		return policy_no(EG_REASON_LOOPBACK);
	if (d->lease == POLICY_LEASE_DIRECT && policy_leasable(class))
		return policy_yes(POLICY_PASS);
	if (class && !(d->lease == POLICY_LEASE_PROXIED && policy_leasable(class)))
		return policy_no(class);
	return policy_yes(POLICY_PROXY);
}

/* The resolver's own address passes: a connected v4-mapped socket of AF_INET6 comes back to sendmsg4 on
 * every send with the address we rewrote. */
policy_fn struct policy_verdict policy_udp(const struct eg_guard *g, const struct policy_dial *d)
{
	if (d->port == POLICY_DNS_PORT)
		return policy_yes(POLICY_RESOLVER);
	if (policy_is_ours(d->addr) && d->port == g->dns_port)
		return policy_yes(POLICY_PASS);
	if (policy_class(d->addr) == EG_REASON_LOOPBACK)
		return policy_no(EG_REASON_LOOPBACK);
	return policy_no(EG_REASON_UDP);
}

policy_fn struct policy_verdict policy_connect(const struct eg_guard *g, const struct policy_dial *d)
{
	if (!policy_open(g))
		return policy_no(EG_REASON_CLOSED);
	if (policy_family(d))
		return policy_no(EG_REASON_FAMILY);
	if (d->type == POLICY_SOCK_STREAM && d->proto == POLICY_TCP)
		return policy_tcp(g, d);
	if (d->type == POLICY_SOCK_DGRAM && d->proto == POLICY_UDP)
		return policy_udp(g, d);
	return policy_no(EG_REASON_SOCKET);
}

policy_fn struct policy_verdict policy_sendmsg(const struct eg_guard *g, const struct policy_dial *d)
{
	if (!policy_open(g))
		return policy_no(EG_REASON_CLOSED);
	if (policy_family(d))
		return policy_no(EG_REASON_FAMILY);
	if (d->type != POLICY_SOCK_DGRAM || d->proto != POLICY_UDP)
		return policy_no(EG_REASON_SOCKET);
	return policy_udp(g, d);
}

/* ---- socket, bind, setsockopt ------------------------------------------------------------------- */

/* Whatever is not TCP or UDP may know ways to send that no hook sees (UDP-Lite, SCTP, raw, MPTCP). */
policy_fn __u8 policy_sock_create(__u32 family, __u32 type, __u32 proto)
{
	if (family != POLICY_AF_INET && family != POLICY_AF_INET6)
		return EG_REASON_SOCKET;
	if (type == POLICY_SOCK_STREAM && proto == POLICY_TCP)
		return 0;
	if (type == POLICY_SOCK_DGRAM && proto == POLICY_UDP)
		return 0;
	return EG_REASON_SOCKET;
}

/* Our ports must not be taken while our listener is away. Port 0 passes: musl binds its DNS socket. */
policy_fn __u8 policy_bind(const struct eg_guard *g, __u16 port, __u16 explicit_port)
{
	if (!policy_open(g))
		return EG_REASON_CLOSED;
	if (!port)
		return 0;
	if (port == g->proxy_port || port == g->dns_port || port == explicit_port)
		return EG_REASON_BIND;
	return 0;
}

/* Not among them: BINDTODEVICE, BINDTOIFINDEX, MARK, DONTROUTE, ATTACH_*, TXTIME, *FORCE. */
policy_fn __u8 policy_sol_socket(__u32 name)
{
	switch (name) {
	case 2:	 /* REUSEADDR */
	case 6:	 /* BROADCAST: sends are refused anyway */
	case 7:	 /* SNDBUF */
	case 8:	 /* RCVBUF */
	case 9:	 /* KEEPALIVE */
	case 10: /* OOBINLINE */
	case 12: /* PRIORITY */
	case 13: /* LINGER */
	case 15: /* REUSEPORT */
	case 16: /* PASSCRED */
	case 18: /* RCVLOWAT */
	case 20: /* RCVTIMEO_OLD */
	case 21: /* SNDTIMEO_OLD */
	case 29: /* TIMESTAMP_OLD */
	case 34: /* PASSSEC */
	case 35: /* TIMESTAMPNS_OLD */
	case 37: /* TIMESTAMPING_OLD */
	case 40: /* RXQ_OVFL */
	case 42: /* PEEK_OFF */
	case 46: /* BUSY_POLL */
	case 47: /* MAX_PACING_RATE */
	case 49: /* INCOMING_CPU */
	case 60: /* ZEROCOPY */
	case 63: /* TIMESTAMP_NEW */
	case 64: /* TIMESTAMPNS_NEW */
	case 65: /* TIMESTAMPING_NEW */
	case 66: /* RCVTIMEO_NEW */
	case 67: /* SNDTIMEO_NEW */
	case 69: /* PREFER_BUSY_POLL */
	case 74: /* TXREHASH */
	case 76: /* PASSPIDFD */
		return 1;
	}
	return 0;
}

/* Not among them: OPTIONS, TRANSPARENT, FREEBIND, HDRINCL, UNICAST_IF, MULTICAST_IF, memberships. */
policy_fn __u8 policy_sol_ip(__u32 name)
{
	switch (name) {
	case 1:	 /* TOS */
	case 2:	 /* TTL */
	case 8:	 /* PKTINFO: what is received */
	case 10: /* MTU_DISCOVER */
	case 11: /* RECVERR */
	case 12: /* RECVTTL */
	case 13: /* RECVTOS */
	case 21: /* MINTTL */
	case 24: /* BIND_ADDRESS_NO_PORT */
	case 26: /* RECVERR_RFC4884 */
	case 33: /* MULTICAST_TTL */
	case 34: /* MULTICAST_LOOP */
	case 49: /* MULTICAST_ALL */
	case 51: /* LOCAL_PORT_RANGE */
		return 1;
	}
	return 0;
}

/* Not among them: ADDRFORM, PKTINFO (sticky source), RTHDR, HOPOPTS, DSTOPTS, 2292PKTOPTIONS, NEXTHOP,
 * TRANSPARENT, FREEBIND, UNICAST_IF, MULTICAST_IF, memberships. */
policy_fn __u8 policy_sol_ipv6(__u32 name)
{
	switch (name) {
	case 16: /* UNICAST_HOPS */
	case 18: /* MULTICAST_HOPS */
	case 19: /* MULTICAST_LOOP */
	case 23: /* MTU_DISCOVER */
	case 24: /* MTU */
	case 25: /* RECVERR */
	case 26: /* V6ONLY */
	case 29: /* MULTICAST_ALL */
	case 31: /* RECVERR_RFC4884 */
	case 49: /* RECVPKTINFO */
	case 51: /* RECVHOPLIMIT */
	case 60: /* RECVPATHMTU */
	case 62: /* DONTFRAG */
	case 66: /* RECVTCLASS */
	case 67: /* TCLASS */
	case 70: /* AUTOFLOWLABEL */
	case 72: /* ADDR_PREFERENCES */
	case 73: /* MINHOPCOUNT */
		return 1;
	}
	return 0;
}

/* Not among them: REPAIR*, ULP, MD5SIG*, AO, FASTOPEN_KEY, FASTOPEN_NO_COOKIE. */
policy_fn __u8 policy_sol_tcp(__u32 name)
{
	switch (name) {
	case 1:	 /* NODELAY */
	case 2:	 /* MAXSEG */
	case 3:	 /* CORK */
	case 4:	 /* KEEPIDLE */
	case 5:	 /* KEEPINTVL */
	case 6:	 /* KEEPCNT */
	case 7:	 /* SYNCNT */
	case 8:	 /* LINGER2 */
	case 9:	 /* DEFER_ACCEPT */
	case 10: /* WINDOW_CLAMP */
	case 12: /* QUICKACK */
	case 13: /* CONGESTION */
	case 16: /* THIN_LINEAR_TIMEOUTS */
	case 17: /* THIN_DUPACK */
	case 18: /* USER_TIMEOUT */
	case 23: /* FASTOPEN: a listener's */
	case 24: /* TIMESTAMP */
	case 25: /* NOTSENT_LOWAT */
	case 27: /* SAVE_SYN */
	case 30: /* FASTOPEN_CONNECT: connect() is hooked all the same */
	case 36: /* INQ */
	case 37: /* TX_DELAY */
		return 1;
	}
	return 0;
}

/* What ordinary clients set, and nothing else. Answers for every socket of a guard (AF_UNIX and netlink
 * too); not called for 32-bit system calls, so nothing may rest on it alone. */
policy_fn __u8 policy_setsockopt(__u32 level, __u32 name)
{
	__u8 ok = 0;

	if (level == 1)
		ok = policy_sol_socket(name);
	else if (level == 0)
		ok = policy_sol_ip(name);
	else if (level == 41)
		ok = policy_sol_ipv6(name);
	else if (level == POLICY_TCP)
		ok = policy_sol_tcp(name);
	else if (level == POLICY_UDP) /* CORK, SEGMENT, GRO */
		ok = name == 1 || name == 103 || name == 104;
	else if (level == 270) /* SOL_NETLINK: PKTINFO, BROADCAST_ERROR, NO_ENOBUFS, CAP_ACK to STRICT_CHK */
		ok = (name >= 1 && name <= 5) || (name >= 10 && name <= 12);
	return ok ? 0 : EG_REASON_SOCKOPT;
}

/* ---- the wall ----------------------------------------------------------------------------------- */

/* A packet as the wall sees it; the far end is the destination going out, the source coming in. */
struct policy_packet {
	__u8 addr[16];
	__u16 port;
	__u8 proto;
	__u8 tcp_flags;
	__u32 ifindex;
	__u16 lease; /* POLICY_LEASE_* */
	__u16 pad;
};
#define POLICY_TCP_SYN 0x02
#define POLICY_TCP_ACK 0x10

#define POLICY_IP4_LEN 20
#define POLICY_IP6_LEN 40
#define POLICY_TCP_LEN 14 /* up to the flags */
#define POLICY_UDP_LEN 8

policy_fn void policy_map_v4(__u8 out[16], const __u8 *v4)
{
	for (int i = 0; i < 10; i++)
		out[i] = 0;
	out[10] = out[11] = 0xff;
	for (int i = 0; i < 4; i++)
		out[12 + i] = v4[i];
}

/* Reads the fixed part of an IPv4 header; the offset of the transport header, or 0: not for us. A
 * fragment of any kind is not: its ports may be elsewhere. */
policy_fn __u32 policy_ip4(const __u8 h[POLICY_IP4_LEN], __u8 inbound, struct policy_packet *p)
{
	__u32 words = h[0] & 0x0f;

	policy_map_v4(p->addr, inbound ? h + 12 : h + 16);
	p->proto = h[9];
	if (h[0] >> 4 != 4 || words < 5)
		return 0;
	if ((h[6] & 0x3f) || h[7])
		return 0;
	return words * 4;
}

/* The same for IPv6. Extension headers and a v4-mapped address on the wire are not for us. */
policy_fn __u32 policy_ip6(const __u8 h[POLICY_IP6_LEN], __u8 inbound, struct policy_packet *p)
{
	const __u8 *from = inbound ? h + 8 : h + 24;

	for (int i = 0; i < 16; i++)
		p->addr[i] = from[i];
	p->proto = h[6];
	if (h[0] >> 4 != 6 || policy_is_v4(p->addr))
		return 0;
	return POLICY_IP6_LEN;
}

/* Bytes of the transport header to load for a protocol; 0: not TCP or UDP. */
policy_fn __u32 policy_transport(__u8 proto)
{
	return proto == POLICY_TCP ? POLICY_TCP_LEN : proto == POLICY_UDP ? POLICY_UDP_LEN : 0;
}

policy_fn void policy_ports(const __u8 t[POLICY_TCP_LEN], __u8 inbound, struct policy_packet *p)
{
	const __u8 *at = inbound ? t : t + 2;

	p->port = (__u16)(at[0] << 8 | at[1]);
	p->tcp_flags = p->proto == POLICY_TCP ? t[13] : 0;
}

/* To or from one of our listeners, over lo. */
policy_fn __u8 policy_on_lo(const struct eg_guard *g, const struct policy_packet *p)
{
	if (p->ifindex != POLICY_LO || !policy_is_ours(p->addr))
		return 0;
	if (p->proto == POLICY_TCP)
		return p->port == g->proxy_port || p->port == g->dns_port;
	return p->proto == POLICY_UDP && p->port == g->dns_port;
}

policy_fn __u8 policy_direct(const struct policy_packet *p)
{
	return p->proto == POLICY_TCP && p->lease == POLICY_LEASE_DIRECT;
}

policy_fn __u8 policy_egress(const struct eg_guard *g, const struct policy_packet *p)
{
	if (!policy_open(g))
		return EG_REASON_CLOSED;
	if (policy_on_lo(g, p) || policy_direct(p))
		return 0;
	return EG_REASON_WALL;
}

/* A guarded socket only ever dials, so a bare SYN is never for it. */
policy_fn __u8 policy_ingress(const struct eg_guard *g, const struct policy_packet *p)
{
	if (!policy_open(g))
		return EG_REASON_CLOSED;
	if (p->proto == POLICY_TCP &&
	    (p->tcp_flags & (POLICY_TCP_SYN | POLICY_TCP_ACK)) == POLICY_TCP_SYN)
		return EG_REASON_INBOUND;
	if (policy_on_lo(g, p) || policy_direct(p))
		return 0;
	return EG_REASON_INBOUND;
}

#endif
