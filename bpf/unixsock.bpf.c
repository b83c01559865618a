/* unixsock.bpf.c: level L2, connect() and sendto() on unix sockets (Linux 6.7). On a guard's cgroup, beside egress.bpf.c.
 *
 * A peer is judged by where it was born: its socket's cgroup must be the guard's or below. These hooks run before the
 * kernel looks the peer up, so there are two cases.
 *
 * An abstract name is found by its bytes, in a table of the socket's network namespace. We look there first, and
 * the answer holds: between our look and the kernel's the name would have to be given up by a socket of the guard and
 * taken by one outside, which needs a program outside that listens under a name of the agent's.
 *
 * A path is only what the caller typed. What it leads to is decided later, by symbolic links, renames and mounts that
 * the agent may change between our look and the kernel's: a path that led to a socket of the guard a microsecond ago
 * leads to docker.sock now. No program of this kernel sees the socket that was found, but an LSM one. So without the
 * LSM programs (level L3, lsm.bpf.c) every path is refused, the agent's own too; with them paths pass here and the
 * socket that was found is judged there. What never connects stays: socketpair(), pipes, inherited connections.
 *
 * Exceptions are of a workspace (exempt.h). An installation whose agents need sockets of their own by path, without the
 * LSM programs, can say "unix_paths": "allowed"; then paths are not judged at all, and the level in force is called L1.
 */
#define BPF_NO_PRESERVE_ACCESS_INDEX
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#define NULL ((void *)0)
#include "kernel.h"
#include "maps.h"
#include "peers.h"
#include "report.h"
#include "exempt.h"

#define CHAIN_MAX 4096 /* sockets of one bucket; who is further on is not found, and so refused */
#define BUCKETS_ABSTRACT 256 /* buckets of sockets without a name, or with a path, stand before those of abstract names */

extern void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

struct guards_map guards SEC(".maps");

struct search {
	__u64 guard; /* with the name a key of exempt_paths */
	struct peers_name name;
	__u32 len;
	__u32 pad;
	struct hlist_node *node;
	struct sock *found;
};

/* Up to `len` bytes of an address; the rest stays zero. */
static __always_inline int name_at(struct peers_name *out, __u32 len, const void *from)
{
	if (len < PEERS_LEN_MIN || len > PEERS_NAME_MAX)
		return -1;
	return bpf_probe_read_kernel(out, len, from);
}

/* One socket of a bucket. 1: the search is over. */
static long step(__u64 i, void *ctx)
{
	struct search *s = ctx;
	struct hlist_node *node = s->node;
	struct peers_name other = {};
	struct unix_address *addr;
	struct unix_sock *u;

	if (!node)
		return 1;
	u = (void *)node - bpf_core_field_offset(struct sock, __sk_common.skc_node);
	s->node = BPF_CORE_READ(node, next);
	addr = BPF_CORE_READ(u, addr);
	if (!addr || (__u32)BPF_CORE_READ(addr, len) != s->len)
		return 0;
	if (name_at(&other, s->len, __builtin_preserve_access_index(&addr->name)) ||
	    !peers_same_name(&other, &s->name))
		return 0;
	s->found = (struct sock *)u;
	return 1;
}

/* Only where the kernel looks. The sockets that a listener's connections end in have its name as well, stand among those
 * without one, and were born with whoever connected. */
static __always_inline struct sock *search(struct sock *sk, struct search *s)
{
	__u32 hash = peers_hash(&s->name, BPF_CORE_READ(sk, sk_type));
	struct hlist_head *buckets = BPF_CORE_READ(sk, __sk_common.skc_net.net, unx.table.buckets);

	if (bpf_probe_read_kernel(&s->node, sizeof(s->node), buckets + BUCKETS_ABSTRACT + hash) == 0)
		bpf_loop(CHAIN_MAX, step, s, 0);
	return s->found;
}

/* Was the socket born in the guard's cgroup or below it. */
static __always_inline int born_in(struct sock *sk, __u64 guard)
{
	struct cgroup *cgroup = kernel_sock_cgroup(sk);
	int level = BPF_CORE_READ(cgroup, level);

	for (int i = 1; i < KERNEL_DEPTH && i <= level; i++)
		if (kernel_ancestor(cgroup, i) == guard)
			return 1;
	return 0;
}

static __always_inline int judge(struct bpf_sock_addr *ctx)
{
	const struct eg_guard *g = bpf_get_local_storage(&guards, 0);
	struct bpf_sock_addr_kern *kern = bpf_cast_to_kern_ctx(ctx);
	struct sock *sk = BPF_CORE_READ(kern, sk), *peer;
	struct search s = { .guard = g->id, .len = BPF_CORE_READ(kern, uaddrlen) };
	int abstract = 0, inside = 0;
	__u8 reason;

	if (name_at(&s.name, s.len, BPF_CORE_READ(kern, uaddr)) == 0) {
		abstract = peers_abstract(&s.name);
		peer = abstract ? search(sk, &s) : NULL;
		inside = abstract ? peer && (born_in(peer, g->id) || exempt_cgroup(peer, g->id))
				  : exempt_path((const struct eg_unix_path *)&s);
	}
	reason = peers_unix(g, abstract, inside);
	if (!reason)
		return 1;
	struct eg_event ev = {
		.guard = g->id,
		.netns = bpf_get_netns_cookie(ctx),
		.reason = reason,
		.hook = EG_HOOK_UNIX,
		.family = PEERS_AF_UNIX,
	};
	event_task(&ev);
	report(&ev);
	return 0;
}

/* libbpf does not know these sections yet: levels.c sets the program's type. */
SEC("cgroup/connect_unix")
int unix_connect(struct bpf_sock_addr *ctx)
{
	return judge(ctx);
}

SEC("cgroup/sendmsg_unix")
int unix_sendmsg(struct bpf_sock_addr *ctx)
{
	return judge(ctx);
}

char LICENSE[] SEC("license") = "GPL";
