/* lsm.bpf.c: level L3, ten lsm_cgroup programs (Linux 6.0, `bpf` in the list of active LSMs).
 *
 * The kernel carries ten different hooks of this kind and no more. Ours, and what each closes:
 *	socket_create		families that are neither IP nor unix nor routing netlink
 *	socket_connect, socket_sendmsg, socket_accept
 *				sockets that were born outside: no cgroup hook follows them in
 *	unix_stream_connect, unix_may_send
 *				unix peers outside, judged on the very socket that the kernel found
 *	file_receive		sockets from outside by SCM_RIGHTS or pidfd_getfd()
 *	ptrace_access_check	processes outside: their memory, descriptors, environment
 *	bpf			detaching what holds here
 *	inode_permission	writing to cgroupfs (and so leaving the guard) and to bpffs (unpinning it)
 * The tenth could have been file_open, socket_listen or socket_setsockopt. Inbound packets and multicast are the
 * wall's own affair, while a root agent that leaves its cgroup leaves everything; and file_open does not see
 * clone3(CLONE_INTO_CGROUP) through an O_PATH descriptor, nor cgroup.procs opened beforehand. Both ask for write
 * permission on that inode, and so does unlink() of a pin.
 *
 * They are attached once, at the common parent of the guards, and look up whose the current task is: the innermost
 * cgroup on its line that is in `quota`. A task in no guard is let pass. The kernel runs them by the current task's
 * cgroup even where a socket is the argument; should that change, the comparison of both stays right.
 */
#define BPF_NO_PRESERVE_ACCESS_INDEX
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define NULL ((void *)0)
#include "kernel.h"
#include "maps.h"
#include "peers.h"
#include "report.h"
#include "exempt.h"

#define ALLOW 1
#define DENY 0
#define MAY_WRITE 2
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define CGROUP_MAGIC 0x27e0eb
#define CGROUP2_MAGIC 0x63677270
#define BPFFS_MAGIC 0xcafe4a11

struct quota_map quota SEC(".maps");
struct marks_map marks SEC(".maps");

/* ---- whose is it -------------------------------------------------------------------------------- */

/* The innermost guard on a cgroup's line. */
static __always_inline __u64 guard_of(struct cgroup *cgroup)
{
	__u64 guard = PEERS_NOBODY;
	int level;

	if (!cgroup || bpf_core_read(&level, sizeof(level), &cgroup->level) || level >= KERNEL_DEPTH)
		return PEERS_UNKNOWN;
	for (int i = 1; i < KERNEL_DEPTH && i <= level; i++) {
		__u64 id = kernel_ancestor(cgroup, i);

		if (!id)
			return PEERS_UNKNOWN;
		if (bpf_map_lookup_elem(&quota, &id))
			guard = id;
	}
	return guard;
}

static __always_inline struct cgroup *task_cgroup(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp);
}

static __always_inline struct cgroup *current_cgroup(void)
{
	return task_cgroup((struct task_struct *)bpf_get_current_task());
}

static __always_inline __u64 current_guard(void)
{
	return guard_of(current_cgroup());
}

/* Most of what is asked about lies in the caller's own cgroup. */
static __always_inline int foreign(struct cgroup *theirs)
{
	struct cgroup *mine = current_cgroup();
	__u64 guard;

	if (mine && mine == theirs)
		return 0;
	guard = guard_of(mine);
	return peers_foreign(guard, guard == PEERS_NOBODY ? PEERS_NOBODY : guard_of(theirs));
}

static __always_inline int foreign_sock(struct sock *sk)
{
	return foreign(sk ? kernel_sock_cgroup(sk) : NULL);
}

static __always_inline int deny(__u8 reason, __u16 family, __u16 proto)
{
	struct eg_event ev = {
		.guard = current_guard(),
		.proto = proto,
		.reason = reason,
		.hook = EG_HOOK_LSM,
		.family = family,
	};

	event_task(&ev);
	report(&ev);
	return DENY;
}

/* ---- sockets ------------------------------------------------------------------------------------ */

SEC("lsm_cgroup/socket_create")
int BPF_PROG(lsm_socket_create, int family, int type, int protocol, int kern)
{
	if (kern || !peers_family(family, protocol) || current_guard() == PEERS_NOBODY)
		return ALLOW;
	return deny(EG_REASON_SOCKET, family, protocol);
}

/* Adopted when the guard was made: the programs on its birth cgroup hold it as those of the guard hold its own. */
static __always_inline int adopted(struct socket *sock)
{
	struct sock *sk = sock->sk; /* not read by probing: the kernel knows its type */
	__u64 *mark = sk ? bpf_sk_storage_get(&marks, sk, 0, 0) : NULL;

	return mark && *mark == current_guard();
}

static __always_inline int judge_use(struct socket *sock)
{
	struct sock *sk = BPF_CORE_READ(sock, sk);
	__u16 family = sk ? BPF_CORE_READ(sk, __sk_common.skc_family) : 0;

	if (!peers_judged(family) || !foreign_sock(sk) || adopted(sock))
		return ALLOW;
	return deny(EG_REASON_FOREIGN, family, 0);
}

SEC("lsm_cgroup/socket_connect")
int BPF_PROG(lsm_socket_connect, struct socket *sock)
{
	return judge_use(sock);
}

SEC("lsm_cgroup/socket_sendmsg")
int BPF_PROG(lsm_socket_sendmsg, struct socket *sock)
{
	return judge_use(sock);
}

SEC("lsm_cgroup/socket_accept")
int BPF_PROG(lsm_socket_accept, struct socket *sock)
{
	return judge_use(sock);
}

SEC("lsm_cgroup/unix_stream_connect")
int BPF_PROG(lsm_unix_stream_connect, struct sock *sock, struct sock *other)
{
	if (!foreign_sock(other) || exempt_peer(other, current_guard()))
		return ALLOW;
	return deny(EG_REASON_UNIX, PEERS_AF_UNIX, 0);
}

/* Asked for each datagram and when one connects. A pair that was connected before it came here goes on. */
SEC("lsm_cgroup/unix_may_send")
int BPF_PROG(lsm_unix_may_send, struct socket *sock, struct socket *other)
{
	struct sock *to = BPF_CORE_READ(other, sk);
	struct unix_sock *from = (struct unix_sock *)BPF_CORE_READ(sock, sk);

	if (!foreign_sock(to) || (to && BPF_CORE_READ(from, peer) == to) || exempt_peer(to, current_guard()))
		return ALLOW;
	return deny(EG_REASON_UNIX, PEERS_AF_UNIX, 0);
}

SEC("lsm_cgroup/file_receive")
int BPF_PROG(lsm_file_receive, struct file *file)
{
	struct socket *sock;

	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return ALLOW;
	sock = BPF_CORE_READ(file, private_data);
	if (!foreign_sock(sock ? BPF_CORE_READ(sock, sk) : NULL))
		return ALLOW;
	return deny(EG_REASON_FOREIGN, 0, 0);
}

/* ---- processes, bpf, cgroups -------------------------------------------------------------------- */

SEC("lsm_cgroup/ptrace_access_check")
int BPF_PROG(lsm_ptrace_access_check, struct task_struct *child)
{
	return foreign(task_cgroup(child)) ? deny(EG_REASON_TRACE, 0, 0) : ALLOW;
}

SEC("lsm_cgroup/bpf")
int BPF_PROG(lsm_bpf, int cmd)
{
	return current_guard() == PEERS_NOBODY ? ALLOW : deny(EG_REASON_BPF, 0, (__u16)cmd);
}

/* For every directory of every path that is opened: what is not a write is let go at once. */
SEC("lsm_cgroup/inode_permission")
int BPF_PROG(lsm_inode_permission, struct inode *inode, int mask)
{
	unsigned long magic;

	if (!(mask & MAY_WRITE))
		return ALLOW;
	magic = BPF_CORE_READ(inode, i_sb, s_magic);
	if (magic != CGROUP2_MAGIC && magic != CGROUP_MAGIC && magic != BPFFS_MAGIC)
		return ALLOW;
	return current_guard() == PEERS_NOBODY ? ALLOW : deny(EG_REASON_CGROUP, 0, 0);
}

char LICENSE[] SEC("license") = "GPL";
