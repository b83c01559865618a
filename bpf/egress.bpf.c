/* egress.bpf.c: the programs. Sections are thin: copy the context, ask policy.h, report, return.
 *
 * On a guard's cgroup (its state comes from CGROUP_STORAGE of the attach point; zeroed is closed):
 *	connect, sendmsg	verdict; a redirected socket keeps what it dialled in SK_STORAGE
 *	sockops CONNECT_CB	moves that record to the pending map under the 4-tuple, before the SYN
 *	sockops STATE_CB	takes it out again when the client closes first
 *	getpeername, recvmsg	show what was dialled
 *	sock_create, bind, setsockopt	refuse what could go around
 *	skb egress and ingress	the wall: holds when everything above was bypassed
 * On the cgroup in which our listeners are made:
 *	sockops PASSIVE_ESTABLISHED	moves the record from the pending map to the accepted socket
 *	getsockopt		hands it to the proxy, which so needs no bpf()
 *
 * Invariants: a verdict never depends on an event. Each record in the pending map counts one in its
 * guard's quota, and whoever deletes it (the delete that answers 0) takes that one away again. The quota
 * is a map of its own: the proxy's side cannot reach the guard's storage, and user space replaces that as
 * a whole. Helpers are those of 5.15 for each program type.
 */
/* Only context structs are used, which are UAPI: nothing to relocate, and relocated stores to an array
 * in the context become pointer arithmetic on it, which the verifier refuses. */
#define BPF_NO_PRESERVE_ACCESS_INDEX
#include "vmlinux.h"

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "maps.h"
#include "policy.h"
#include "report.h"

#define SOCKOPT_MAX 4096 /* more than a page of option value is cut by the kernel unless optlen says 0 */
#define EEXIST 17
#define NULL ((void *)0)

const volatile __u16 explicit_port = 0;

/* adopted.bpf.c compiles this file once more, for sockets that were born elsewhere. */
#ifdef EG_ADOPT
#define ADOPT 1
#else
#define ADOPT 0
#endif

/* What a guarded socket dialled, and where its record stands while nobody has accepted it. */
struct eg_socket {
	struct eg_record record;
	struct eg_tuple tuple;
	__u64 pending; /* 1: the pending map may hold `tuple` for us */
};

struct guards_map guards SEC(".maps");
struct quota_map quota SEC(".maps");
struct marks_map marks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct eg_socket);
} sockets SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct eg_direct);
} directs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct eg_record);
} accepted SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EG_GUARDS_MAX * EG_PENDING_PER_GUARD);
	__type(key, struct eg_tuple);
	__type(value, struct eg_record);
} pending SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, EG_LEASES_MAX);
	__type(key, struct eg_lease_key);
	__type(value, struct eg_lease);
} leases SEC(".maps");

#if ADOPT
/* A guard's state as in `guards`, by its id: the attach point here is not the guard's. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, EG_GUARDS_MAX);
	__type(key, __u64);
	__type(value, struct eg_guard);
} wards SEC(".maps");

static const struct eg_guard nobody = {};

/* NULL: the socket was not adopted, and passes. One whose guard is unknown is closed. */
static __always_inline const struct eg_guard *guard_of(struct bpf_sock *sk)
{
	const struct eg_guard *g;
	__u64 *id;

	id = sk ? bpf_sk_storage_get(&marks, sk, 0, 0) : NULL;
	if (!id)
		return NULL;
	g = bpf_map_lookup_elem(&wards, id);
	return g ? g : &nobody;
}
#else
/* Unix sockets outside that a guard may reach: for unixsock.bpf.c and lsm.bpf.c. */
struct exempt_map exempt SEC(".maps");
struct exempt_paths_map exempt_paths SEC(".maps");

/* Never NULL. */
static __always_inline const struct eg_guard *guard_of(struct bpf_sock *sk)
{
	(void)sk;
	return bpf_get_local_storage(&guards, 0);
}
#endif

/* ---- connect and sendmsg ------------------------------------------------------------------------ */

static __always_inline __u16 lease_of(__u64 guard, const __u8 *addr, __u16 port)
{
	struct eg_lease_key key = { .guard = guard, .port = port };
	const struct eg_lease *lease;

	__builtin_memcpy(key.addr, addr, sizeof(key.addr));
	lease = bpf_map_lookup_elem(&leases, &key);
	if (!lease || lease->expires <= bpf_ktime_get_ns())
		return POLICY_LEASE_NONE;
	return lease->flags & EG_LEASE_DIRECT ? POLICY_LEASE_DIRECT : POLICY_LEASE_PROXIED;
}

static __always_inline void dial_of(struct bpf_sock_addr *ctx, __u16 hook_family, struct policy_dial *d)
{
	d->port = bpf_ntohs(ctx->user_port);
	d->explicit_port = explicit_port;
	d->hook_family = hook_family;
	d->user_family = ctx->user_family;
	d->sk_family = ctx->family;
	d->type = ctx->type;
	d->proto = ctx->protocol;
}

static __always_inline void addr_of4(struct bpf_sock_addr *ctx, __u8 *addr)
{
	__u32 ip = ctx->user_ip4;

	policy_map_v4(addr, (const __u8 *)&ip);
}

static __always_inline void addr_of6(struct bpf_sock_addr *ctx, __u8 *addr)
{
	__u32 ip[4] = { ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3] };

	__builtin_memcpy(addr, ip, sizeof(ip));
}

static __always_inline int deny_dial(struct bpf_sock_addr *ctx, const struct eg_guard *g,
				     const struct policy_dial *d, __u8 hook, __u8 reason)
{
	struct eg_event ev = {
		.guard = g->id,
		.netns = bpf_get_netns_cookie(ctx),
		.port = d->port,
		.proto = d->proto,
		.reason = reason,
		.hook = hook,
		.family = d->user_family,
	};

	__builtin_memcpy(ev.addr, d->addr, sizeof(ev.addr));
	event_task(&ev);
	report(&ev);
	return 0;
}

/* Keeps what was dialled with the socket. A UDP socket keeps its last server. */
static __always_inline bool remember(struct bpf_sock_addr *ctx, const struct eg_guard *g,
				     const struct policy_dial *d)
{
	struct eg_socket *s = bpf_sk_storage_get(&sockets, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	struct eg_record *r;

	if (!s)
		return false;
	r = &s->record;
	r->guard = g->id;
	r->cgroup = bpf_get_current_cgroup_id();
	r->netns = bpf_get_netns_cookie(ctx);
	r->cookie = bpf_get_socket_cookie(ctx);
	r->at = bpf_ktime_get_ns();
	__builtin_memcpy(r->addr, d->addr, sizeof(r->addr));
	r->port = d->port;
	r->family = policy_is_v4(d->addr) ? POLICY_AF_INET : POLICY_AF_INET6;
	r->pid = bpf_get_current_pid_tgid() >> 32;
	r->uid = (__u32)bpf_get_current_uid_gid();
	bpf_get_current_comm(r->comm, sizeof(r->comm));
	return true;
}

static __always_inline void rewrite(struct bpf_sock_addr *ctx, const struct policy_dial *d, __u16 port)
{
	ctx->user_port = bpf_htons(port);
	if (d->hook_family == POLICY_AF_INET) {
		ctx->user_ip4 = bpf_htonl(POLICY_V4(127, 0, 0, 1));
		return;
	}
	ctx->user_ip6[0] = 0;
	ctx->user_ip6[1] = 0;
	if (policy_is_v4(d->addr)) {
		ctx->user_ip6[2] = bpf_htonl(0xffff);
		ctx->user_ip6[3] = bpf_htonl(POLICY_V4(127, 0, 0, 1));
	} else {
		ctx->user_ip6[2] = 0;
		ctx->user_ip6[3] = bpf_htonl(1);
	}
}

/* To a lease, untouched. The socket must not go on showing what it dialled before, and is marked: a connection that
 * stands when its lease ends lives on. Without the mark it would end with the lease. */
static __always_inline int pass_direct(struct bpf_sock_addr *ctx, const struct eg_guard *g,
				       const struct policy_dial *d, __u8 hook)
{
	struct eg_event ev = {
		.guard = g->id,
		.netns = bpf_get_netns_cookie(ctx),
		.port = d->port,
		.proto = d->proto,
		.reason = EG_REASON_NONE,
		.hook = hook,
		.family = d->user_family,
	};
	struct eg_direct *mark;

	if (ctx->sk) {
		bpf_sk_storage_delete(&sockets, ctx->sk);
		mark = bpf_sk_storage_get(&directs, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (mark) {
			__builtin_memcpy(mark->addr, d->addr, sizeof(mark->addr));
			mark->port = d->port;
			mark->at = bpf_ktime_get_ns();
		}
	}
	__builtin_memcpy(ev.addr, d->addr, sizeof(ev.addr));
	event_task(&ev);
	tell(&ev);
	count(EG_STAT_DIRECT);
	return 1;
}

static __always_inline int dial(struct bpf_sock_addr *ctx, struct policy_dial *d, __u8 hook)
{
	const struct eg_guard *g = guard_of(ctx->sk);
	struct policy_verdict v;

	if (ADOPT && !g)
		return 1;
	if (d->proto == POLICY_TCP)
		d->lease = lease_of(g->id, d->addr, d->port);
	v = hook == EG_HOOK_CONNECT ? policy_connect(g, d) : policy_sendmsg(g, d);
	if (v.act == POLICY_PASS)
		return d->proto == POLICY_TCP ? pass_direct(ctx, g, d, hook) : 1;
	if (d->proto == POLICY_TCP && ctx->sk)
		bpf_sk_storage_delete(&directs, ctx->sk);
	if (v.act != POLICY_PROXY && v.act != POLICY_RESOLVER)
		return deny_dial(ctx, g, d, hook, v.reason);
	if (!ctx->sk || !remember(ctx, g, d)) {
		count(EG_STAT_RECORDS_LOST);
		return deny_dial(ctx, g, d, hook, EG_REASON_CLOSED);
	}
	rewrite(ctx, d, v.act == POLICY_PROXY ? g->proxy_port : g->dns_port);
	count(v.act == POLICY_PROXY ? EG_STAT_REDIRECTED : EG_STAT_DNS);
	return 1;
}

SEC("cgroup/connect4")
int egress_connect4(struct bpf_sock_addr *ctx)
{
	struct policy_dial d = {};

	dial_of(ctx, POLICY_AF_INET, &d);
	addr_of4(ctx, d.addr);
	return dial(ctx, &d, EG_HOOK_CONNECT);
}

SEC("cgroup/connect6")
int egress_connect6(struct bpf_sock_addr *ctx)
{
	struct policy_dial d = {};

	dial_of(ctx, POLICY_AF_INET6, &d);
	addr_of6(ctx, d.addr);
	return dial(ctx, &d, EG_HOOK_CONNECT);
}

SEC("cgroup/sendmsg4")
int egress_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct policy_dial d = {};

	dial_of(ctx, POLICY_AF_INET, &d);
	addr_of4(ctx, d.addr);
	return dial(ctx, &d, EG_HOOK_SENDMSG);
}

SEC("cgroup/sendmsg6")
int egress_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct policy_dial d = {};

	dial_of(ctx, POLICY_AF_INET6, &d);
	addr_of6(ctx, d.addr);
	return dial(ctx, &d, EG_HOOK_SENDMSG);
}

/* ---- what the client sees ----------------------------------------------------------------------- */

/* The record, when the address in ctx is the one we rewrote to. */
static __always_inline const struct eg_record *dialled(struct bpf_sock_addr *ctx, const __u8 *addr)
{
	const struct eg_guard *g = guard_of(ctx->sk);
	__u16 port = bpf_ntohs(ctx->user_port);
	const struct eg_socket *s;

	if (ADOPT && !g)
		return NULL;
	if (!policy_is_ours(addr) || (port != g->dns_port && port != g->proxy_port) || !ctx->sk)
		return NULL;
	s = bpf_sk_storage_get(&sockets, ctx->sk, 0, 0);
	return s ? &s->record : NULL;
}

static __always_inline int show4(struct bpf_sock_addr *ctx)
{
	const struct eg_record *r;
	__u8 addr[16];
	__u32 ip;

	addr_of4(ctx, addr);
	r = dialled(ctx, addr);
	if (!r || !policy_is_v4(r->addr))
		return 1;
	__builtin_memcpy(&ip, r->addr + 12, sizeof(ip));
	ctx->user_ip4 = ip;
	ctx->user_port = bpf_htons(r->port);
	return 1;
}

static __always_inline int show6(struct bpf_sock_addr *ctx)
{
	const struct eg_record *r;
	__u8 addr[16];
	__u32 ip[4];

	addr_of6(ctx, addr);
	r = dialled(ctx, addr);
	if (!r)
		return 1;
	__builtin_memcpy(ip, r->addr, sizeof(ip));
	ctx->user_ip6[0] = ip[0];
	ctx->user_ip6[1] = ip[1];
	ctx->user_ip6[2] = ip[2];
	ctx->user_ip6[3] = ip[3];
	ctx->user_port = bpf_htons(r->port);
	return 1;
}

SEC("cgroup/recvmsg4")
int egress_recvmsg4(struct bpf_sock_addr *ctx)
{
	return show4(ctx);
}

SEC("cgroup/recvmsg6")
int egress_recvmsg6(struct bpf_sock_addr *ctx)
{
	return show6(ctx);
}

SEC("cgroup/getpeername4")
int egress_getpeername4(struct bpf_sock_addr *ctx)
{
	return show4(ctx);
}

SEC("cgroup/getpeername6")
int egress_getpeername6(struct bpf_sock_addr *ctx)
{
	return show6(ctx);
}

/* ---- socket, bind, setsockopt ------------------------------------------------------------------- */

SEC("cgroup/sock_create")
int egress_sock_create(struct bpf_sock *ctx)
{
	const struct eg_guard *g = guard_of(ctx);
	__u8 reason = EG_REASON_CLOSED;

	if (ADOPT && !g)
		return 1;
	if (policy_open(g))
		reason = policy_sock_create(ctx->family, ctx->type, ctx->protocol);
	if (!reason)
		return 1;
	struct eg_event ev = {
		.guard = g->id,
		.netns = bpf_get_netns_cookie(ctx),
		.proto = ctx->protocol,
		.reason = reason,
		.hook = EG_HOOK_SOCK_CREATE,
		.family = ctx->family,
	};
	event_task(&ev);
	report(&ev);
	return 0;
}

static __always_inline int check_bind(struct bpf_sock_addr *ctx, struct policy_dial *d)
{
	const struct eg_guard *g = guard_of(ctx->sk);
	__u8 reason;

	if (ADOPT && !g)
		return 1;
	reason = policy_bind(g, d->port, d->explicit_port);
	return reason ? deny_dial(ctx, g, d, EG_HOOK_BIND, reason) : 1;
}

SEC("cgroup/bind4")
int egress_bind4(struct bpf_sock_addr *ctx)
{
	struct policy_dial d = {};

	dial_of(ctx, POLICY_AF_INET, &d);
	addr_of4(ctx, d.addr);
	return check_bind(ctx, &d);
}

SEC("cgroup/bind6")
int egress_bind6(struct bpf_sock_addr *ctx)
{
	struct policy_dial d = {};

	dial_of(ctx, POLICY_AF_INET6, &d);
	addr_of6(ctx, d.addr);
	return check_bind(ctx, &d);
}

SEC("cgroup/setsockopt")
int egress_setsockopt(struct bpf_sockopt *ctx)
{
	const struct eg_guard *g = guard_of(ctx->sk);
	__u8 reason = EG_REASON_CLOSED;

	if (ADOPT && !g) {
		if (ctx->optlen > SOCKOPT_MAX)
			ctx->optlen = 0; /* as the caller has it */
		return 1;
	}
	if (policy_open(g))
		reason = policy_setsockopt(ctx->level, ctx->optname);
	if (!reason) {
		if (ctx->optlen > SOCKOPT_MAX)
			ctx->optlen = 0; /* as the caller has it */
		return 1;
	}
	struct eg_event ev = {
		.guard = g->id,
		.cgroup = bpf_get_current_cgroup_id(),
		.port = ctx->optname,
		.proto = ctx->level,
		.reason = reason,
		.hook = EG_HOOK_SETSOCKOPT,
		.uid = (__u32)bpf_get_current_uid_gid(),
	};
	report(&ev);
	return 0;
}

/* ---- the wall ----------------------------------------------------------------------------------- */

/* Fills p from the packet; false: nothing that could pass. */
static __always_inline bool parse(struct __sk_buff *skb, __u8 inbound, struct policy_packet *p)
{
	__u8 ip[POLICY_IP6_LEN] = {}, l4[POLICY_TCP_LEN] = {};
	__u32 at;

	p->ifindex = skb->ifindex;
	if (skb->protocol == bpf_htons(0x0800)) {
		if (bpf_skb_load_bytes(skb, 0, ip, POLICY_IP4_LEN))
			return false;
		at = policy_ip4(ip, inbound, p);
	} else if (skb->protocol == bpf_htons(0x86dd)) {
		if (bpf_skb_load_bytes(skb, 0, ip, POLICY_IP6_LEN))
			return false;
		at = policy_ip6(ip, inbound, p);
		/* A GSO packet over 64 KiB on lo ("BIG TCP") carries the kernel's own jumbo option (RFC 2675). */
		if (at && p->proto == 0) {
			if (bpf_skb_load_bytes(skb, at, l4, 8) || l4[1] != 0 || l4[2] != 0xc2 || l4[3] != 4)
				return false;
			p->proto = l4[0];
			at += 8;
		}
	} else {
		return false;
	}
	if (!at)
		return false;
	if (p->proto == POLICY_TCP ? bpf_skb_load_bytes(skb, at, l4, POLICY_TCP_LEN)
				   : bpf_skb_load_bytes(skb, at, l4, POLICY_UDP_LEN))
		return false;
	policy_ports(l4, inbound, p);
	return true;
}

/* The socket that a packet belongs to, only where the guard is looked up by it. */
static __always_inline struct bpf_sock *packet_sk(struct __sk_buff *skb)
{
	struct bpf_sock *sk = ADOPT ? skb->sk : NULL;

	return sk ? bpf_sk_fullsock(sk) : NULL;
}

/* Was this packet's socket connected to its far end by a lease, and not cut since? */
static __always_inline bool lives(struct __sk_buff *skb, const struct eg_guard *g, const struct policy_packet *p)
{
	struct bpf_sock *sk = skb->sk;
	const struct eg_direct *mark;

	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	mark = sk ? bpf_sk_storage_get(&directs, sk, 0, 0) : NULL;
	if (!mark || mark->at <= g->direct_since || mark->port != p->port)
		return false;
	for (int i = 0; i < 16; i++)
		if (mark->addr[i] != p->addr[i])
			return false;
	return true;
}

static __always_inline int wall(struct __sk_buff *skb, __u8 inbound)
{
	const struct eg_guard *g = guard_of(packet_sk(skb));
	__u8 reason = inbound ? EG_REASON_INBOUND : EG_REASON_WALL;
	struct policy_packet p = {};

	if (ADOPT && !g)
		return 1;
	if (parse(skb, inbound, &p)) {
		if (p.proto == POLICY_TCP && !policy_on_lo(g, &p)) {
			p.lease = lease_of(g->id, p.addr, p.port);
			if (p.lease != POLICY_LEASE_DIRECT && lives(skb, g, &p))
				p.lease = POLICY_LEASE_DIRECT;
		}
		reason = inbound ? policy_ingress(g, &p) : policy_egress(g, &p);
	}
	if (!reason)
		return 1;
	struct eg_event ev = {
		.guard = g->id,
		.port = p.port,
		.proto = p.proto,
		.reason = reason,
		.hook = inbound ? EG_HOOK_INGRESS : EG_HOOK_EGRESS,
		.family = skb->protocol == bpf_htons(0x0800) ? POLICY_AF_INET : POLICY_AF_INET6,
	};
	__builtin_memcpy(ev.addr, p.addr, sizeof(ev.addr));
	report(&ev);
	return 0;
}

SEC("cgroup_skb/egress")
int egress_skb_out(struct __sk_buff *skb)
{
	return wall(skb, 0);
}

SEC("cgroup_skb/ingress")
int egress_skb_in(struct __sk_buff *skb)
{
	return wall(skb, 1);
}

/* ---- the record's way to the proxy -------------------------------------------------------------- */

/* The connection's tuple as the client sees it; `server`: ctx is the accepting end. IPv4 goes by the v4
 * fields also on an AF_INET6 socket, whose mapped source is set later than its v4 one. */
static __always_inline void tuple_of(struct bpf_sock_ops *ctx, bool server, struct eg_tuple *t)
{
	__u32 local[4] = { 0, 0, bpf_htonl(0xffff), ctx->local_ip4 };
	__u32 remote[4] = { 0, 0, bpf_htonl(0xffff), ctx->remote_ip4 };
	__u16 local_port = (__u16)ctx->local_port, remote_port = (__u16)bpf_ntohl(ctx->remote_port);

	if (ctx->family == POLICY_AF_INET6 &&
	    (ctx->remote_ip6[0] || ctx->remote_ip6[1] || ctx->remote_ip6[2] != bpf_htonl(0xffff))) {
		local[0] = ctx->local_ip6[0];
		local[1] = ctx->local_ip6[1];
		local[2] = ctx->local_ip6[2];
		local[3] = ctx->local_ip6[3];
		remote[0] = ctx->remote_ip6[0];
		remote[1] = ctx->remote_ip6[1];
		remote[2] = ctx->remote_ip6[2];
		remote[3] = ctx->remote_ip6[3];
	}
	t->netns = bpf_get_netns_cookie(ctx);
	__builtin_memcpy(t->saddr, server ? remote : local, sizeof(t->saddr));
	__builtin_memcpy(t->daddr, server ? local : remote, sizeof(t->daddr));
	t->sport = server ? remote_port : local_port;
	t->dport = server ? local_port : remote_port;
}

/* Takes a record out of the pending map and off its guard's quota. Of several callers one succeeds; for that one, what
 * it has read through a lookup before was the record: memory of a deleted one may be another's at once. */
static __always_inline bool take_pending(const struct eg_tuple *t, __u64 guard)
{
	__u64 *n;

	if (bpf_map_delete_elem(&pending, t))
		return false;
	n = bpf_map_lookup_elem(&quota, &guard);
	if (n)
		__sync_fetch_and_add(n, -1);
	return true;
}

static __always_inline void drop_pending(const struct eg_tuple *t)
{
	const struct eg_record *r = bpf_map_lookup_elem(&pending, t);

	if (r)
		(void)take_pending(t, r->guard);
}

static __always_inline void deny_pending(const struct eg_record *r)
{
	struct eg_event ev = {
		.guard = r->guard,
		.cgroup = r->cgroup,
		.netns = r->netns,
		.port = r->port,
		.proto = POLICY_TCP,
		.reason = EG_REASON_PENDING,
		.hook = EG_HOOK_SOCKOPS,
		.family = r->family,
		.pid = r->pid,
		.uid = r->uid,
	};

	__builtin_memcpy(ev.addr, r->addr, sizeof(ev.addr));
	__builtin_memcpy(ev.comm, r->comm, sizeof(ev.comm));
	report(&ev);
}

/* A tuple that is still there belongs to nobody alive: two live connections cannot share it. */
static __always_inline bool insert_pending(const struct eg_tuple *t, const struct eg_record *r)
{
	long rc = bpf_map_update_elem(&pending, t, r, BPF_NOEXIST);

	if (rc == -EEXIST) {
		drop_pending(t);
		rc = bpf_map_update_elem(&pending, t, r, BPF_NOEXIST);
	}
	return rc == 0;
}

/* Before the SYN. Without a record the proxy closes the connection, so every failure here is closed. */
static __always_inline void connecting(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct eg_tuple t = {};
	struct eg_socket *s;
	__u64 *n;

	if (!sk)
		return;
	s = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!s) /* not redirected */
		return;
	n = bpf_map_lookup_elem(&quota, &s->record.guard);
	if (!n || bpf_sock_ops_cb_flags_set(ctx, BPF_SOCK_OPS_STATE_CB_FLAG)) {
		count(EG_STAT_RECORDS_LOST);
		return;
	}
	if (__sync_fetch_and_add(n, 1) >= EG_PENDING_PER_GUARD) {
		__sync_fetch_and_add(n, -1);
		deny_pending(&s->record);
		count(EG_STAT_RECORDS_LOST);
		return;
	}
	tuple_of(ctx, false, &t);
	if (!insert_pending(&t, &s->record)) {
		__sync_fetch_and_add(n, -1);
		count(EG_STAT_RECORDS_LOST);
		return;
	}
	s->tuple = t;
	s->pending = 1;
}

/* The client closed. The record is taken away if it is still this socket's: accepted ones are gone. */
static __always_inline void closed(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	const struct eg_record *r;
	struct eg_socket *s;

	if (!sk)
		return;
	s = bpf_sk_storage_get(&sockets, sk, 0, 0);
	if (!s || !s->pending)
		return;
	s->pending = 0;
	r = bpf_map_lookup_elem(&pending, &s->tuple);
	if (r && r->cookie == s->record.cookie)
		drop_pending(&s->tuple);
}

SEC("sockops")
int egress_sockops(struct bpf_sock_ops *ctx)
{
	if (ctx->op == BPF_SOCK_OPS_TCP_CONNECT_CB)
		connecting(ctx);
	else if (ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[1] == BPF_TCP_CLOSE)
		closed(ctx);
	return 1;
}

SEC("sockops")
int listen_sockops(struct bpf_sock_ops *ctx)
{
	const struct eg_record *r;
	struct eg_record *copy;
	struct eg_tuple t = {};
	struct bpf_sock *sk;

	if (ctx->op != BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		return 1;
	sk = ctx->sk;
	if (!sk)
		return 1;
	tuple_of(ctx, true, &t);
	r = bpf_map_lookup_elem(&pending, &t);
	if (!r)
		return 1;
	copy = bpf_sk_storage_get(&accepted, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!copy) {
		drop_pending(&t);
		count(EG_STAT_RECORDS_LOST);
		return 1;
	}
	__builtin_memcpy(copy, r, sizeof(*copy));
	if (!take_pending(&t, copy->guard)) { /* the client closed meanwhile */
		bpf_sk_storage_delete(&accepted, sk);
		count(EG_STAT_RECORDS_LOST);
	}
	return 1;
}

SEC("cgroup/getsockopt")
int listen_getsockopt(struct bpf_sockopt *ctx)
{
	struct eg_record *out = ctx->optval;
	const struct eg_record *r;

	if (ctx->level != 0 || ctx->optname != EG_SO_RECORD) {
		if (ctx->optlen > SOCKOPT_MAX)
			ctx->optlen = 0; /* as the kernel answered */
		return 1;
	}
	if (!ctx->sk || (void *)(out + 1) > ctx->optval_end)
		return 1;
	r = bpf_sk_storage_get(&accepted, ctx->sk, 0, 0);
	if (!r)
		return 1;
	*out = *r;
	ctx->optlen = sizeof(*r);
	barrier(); /* one 8-byte store to both fields is refused by the verifier */
	ctx->retval = 0;
	return 1;
}

char LICENSE[] SEC("license") = "GPL";
