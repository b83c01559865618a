/* egress.h: the whole contract between the kernel side (egress.bpf.c) and user space.
 *
 * Shared by the BPF program, the daemon and the tests. Only __u8..__u64, padding by name, byte order
 * in a comment, size by static assert. Addresses are always 16 bytes in network order, IPv4 as
 * v4-mapped (::ffff:a.b.c.d); ports are in host order unless a comment says otherwise. Times are
 * CLOCK_MONOTONIC nanoseconds (bpf_ktime_get_ns). A guard's id is the cgroup id of its attach point
 * (st_ino of the cgroup directory), which the kernel never reuses.
 *
 * A change of any struct or map here is a new EG_LAYOUT: pins live in <bpffs>/v<EG_LAYOUT>/.
 */
#ifndef EGRESS_H
#define EGRESS_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

#define EG_LAYOUT 3

/* Most guards at once, and most connections of one guard between connect() and accept(): the pending
 * map holds the product, so that one agent's storm cannot take another agent's place. */
#define EG_GUARDS_MAX 256
#define EG_PENDING_PER_GUARD 1024
#define EG_LEASES_MAX 16384
#define EG_EVENTS_BYTES (256 * 1024)
#define EG_UNIX_MAX 4096 /* exceptions, of all guards */
#define EG_UNIX_PATH_LEN 110 /* sun_path and two zeros */

/* getsockopt(accepted_fd, SOL_IP, EG_SO_RECORD, struct eg_record *) on a socket whose listener was
 * made in the `listen` cgroup: the record of the connection, or ENOPROTOOPT when there is none. */
#define EG_SO_RECORD 0x7a01

/* Why the kernel said no; the words are in daemon/shared/reason.h. Zero is "no reason", never "allowed". */
#define EG_REASON_NONE 0
#define EG_REASON_CLOSED 1	/* guard without a policy, or a lookup that missed */
#define EG_REASON_LOOPBACK 2	/* 127/8, ::1, 0.0.0.0, :: */
#define EG_REASON_PRIVATE 3	/* RFC 1918, RFC 6598, fc00::/7, and the wrappings of all of these */
#define EG_REASON_LINK_LOCAL 4	/* 169.254/16, fe80::/10 */
#define EG_REASON_METADATA 5	/* cloud metadata addresses */
#define EG_REASON_MULTICAST 6	/* 224/4, ff00::/8, broadcast */
#define EG_REASON_RESERVED 7	/* 0/8, 240/4, and the like */
#define EG_REASON_UDP 8		/* UDP to anything but port 53 */
#define EG_REASON_FAMILY 9	/* address family that is not the socket's */
#define EG_REASON_SOCKET 10	/* socket type or protocol that is not TCP or UDP */
#define EG_REASON_WALL 11	/* a packet that was not going to our proxy or resolver */
#define EG_REASON_INBOUND 12	/* a packet from elsewhere to a guarded socket */
#define EG_REASON_SOCKOPT 13	/* a socket option that could redirect or forge */
#define EG_REASON_BIND 14	/* bind() to a port of ours */
#define EG_REASON_PENDING 15	/* too many connections of this guard waiting to be accepted */
#define EG_REASON_UNIX 16	/* a unix socket whose peer is not of the guard, or is not known */
#define EG_REASON_FOREIGN 17	/* a socket that was born elsewhere */
#define EG_REASON_TRACE 18	/* a look into a process that is not of the guard */
#define EG_REASON_BPF 19	/* bpf() */
#define EG_REASON_CGROUP 20	/* a write to a cgroup's files, or to a bpf filesystem */
#define EG_REASON_COUNT 21
#define EG_REASON_SLOTS 32	/* counters kept for them: a power of two, no less than EG_REASON_COUNT */

/* Which program said so. */
#define EG_HOOK_CONNECT 1
#define EG_HOOK_SENDMSG 2
#define EG_HOOK_SOCK_CREATE 3
#define EG_HOOK_EGRESS 4
#define EG_HOOK_INGRESS 5
#define EG_HOOK_SETSOCKOPT 6
#define EG_HOOK_BIND 7
#define EG_HOOK_SOCKOPS 8
#define EG_HOOK_UNIX 9
#define EG_HOOK_LSM 10

/* CGROUP_STORAGE of a guard's cgroup, keyed by its cgroup id; starts zeroed, and zero is closed. */
struct eg_guard {
	__u64 id;	  /* the cgroup's id; 0: closed */
	__u32 flags;	  /* EG_GUARD_* */
	__u16 proxy_port; /* on 127.0.0.1 and ::1 in every netns of the guard */
	__u16 dns_port;	  /* this guard's own resolver port, UDP and TCP, on 127.0.0.1 and ::1 */
	__u64 pending;	  /* connections between connect() and accept(): 0 in the map, since the programs
			   * count in the map `quota`; enforce_get() fills it in */
	__u64 direct_since; /* direct connections dialled before this are cut; kept by whoever writes the rest anew */
};
#define EG_GUARD_OPEN 1u /* without it everything is denied with EG_REASON_CLOSED */
#define EG_GUARD_LSM 2u	 /* the LSM programs stand here too; set by enforce.c, whatever the caller says */
#define EG_GUARD_PATHS 4u /* unix sockets by path are not judged; likewise set by enforce.c, from the configuration */
_Static_assert(sizeof(struct eg_guard) == 32, "eg_guard");

/* What the proxy learns about a connection. */
struct eg_record {
	__u64 guard;	/* guard whose policy applies */
	__u64 cgroup;	/* cgroup id of the task that called connect() */
	__u64 netns;	/* netns cookie of the client's socket */
	__u64 cookie;	/* socket cookie of the client's socket */
	__u64 at;	/* when connect() was called */
	__u8 addr[16];	/* original destination */
	__u16 port;	/* original destination */
	__u16 family;	/* AF_INET or AF_INET6, of the original destination as dialled */
	__u32 pid;	/* thread group id, init pid namespace */
	__u32 uid;	/* init user namespace */
	__u32 pad;
	__u8 comm[16];	/* task's name, NUL-padded; chosen by the client, so for display only */
};
_Static_assert(sizeof(struct eg_record) == 88, "eg_record");

/* Key of the pending map: seen from the client (saddr:sport is the client's end). */
struct eg_tuple {
	__u64 netns;	/* netns cookie */
	__u8 saddr[16];
	__u8 daddr[16];
	__u16 sport;
	__u16 dport;
	__u32 pad;
};
_Static_assert(sizeof(struct eg_tuple) == 48, "eg_tuple");

/* An address that a `tcp` rule opened for one guard: straight through. */
struct eg_lease_key {
	__u64 guard;
	__u8 addr[16];
	__u16 port;
	__u16 pad;
	__u32 pad2;
};
_Static_assert(sizeof(struct eg_lease_key) == 32, "eg_lease_key");

struct eg_lease {
	__u64 expires; /* 0: denied; a lease past its end is a miss */
	__u32 flags;   /* EG_LEASE_* */
	__u32 pad;
};
#define EG_LEASE_DIRECT 1u /* a `tcp` rule: not proxied. Without it the entry is for bookkeeping only */
_Static_assert(sizeof(struct eg_lease) == 16, "eg_lease");

/* SK_STORAGE of a socket that was let through to a lease: the connection lives on when the lease has ended. */
struct eg_direct {
	__u64 at;	/* when connect() was called */
	__u8 addr[16];
	__u16 port;
	__u16 pad;
	__u32 pad2;
};
_Static_assert(sizeof(struct eg_direct) == 32, "eg_direct");

/* A unix socket outside that one guard may reach, by what is known of it:
 *	EG_UNIX_INODE	dev, id: the inode that it is bound to, dev as the kernel has it (major << 20 | minor)
 *	EG_UNIX_CGROUP	id: it was born in this cgroup, or below
 */
struct eg_unix_key {
	__u64 guard;
	__u64 id;
	__u32 dev;
	__u32 kind;
};
#define EG_UNIX_INODE 1
#define EG_UNIX_CGROUP 2
_Static_assert(sizeof(struct eg_unix_key) == 24, "eg_unix_key");

/* The same by what connect() is given, for L2, which has only that. The value is the number of the mount namespace in
 * which that path is the socket's, and nobody but root can change it. */
struct eg_unix_path {
	__u64 guard;
	__u16 family; /* AF_UNIX */
	char path[EG_UNIX_PATH_LEN]; /* zero-padded */
};
_Static_assert(sizeof(struct eg_unix_path) == 120, "eg_unix_path");

/* One denial, or (EG_REASON_NONE) one connect() that was let through to a lease, through the ring buffer. Never decides anything: a full ring counts and goes on. */
struct eg_event {
	__u64 at;
	__u64 guard;
	__u64 cgroup;	/* of the current task, 0 in packet context */
	__u64 netns;
	__u8 addr[16];	/* destination (source for INBOUND); zero where there is none */
	__u16 port;	/* SOCKOPT: the option's name */
	__u16 proto;	/* IPPROTO_*, or the protocol asked for by socket(); SOCKOPT: the option's level */
	__u8 reason;	/* EG_REASON_* */
	__u8 hook;	/* EG_HOOK_* */
	__u16 family;	/* AF_* as asked for */
	__u32 pid;	/* 0 in packet context */
	__u32 uid;
	__u8 comm[16];
};
_Static_assert(sizeof(struct eg_event) == 80, "eg_event");

/* Per-CPU counters, index EG_STAT_*: denials by reason stand at EG_STAT_DENIED + reason. */
#define EG_STAT_REDIRECTED 0
#define EG_STAT_DNS 1
#define EG_STAT_DIRECT 2
#define EG_STAT_EVENTS_LOST 3 /* denials that found the ring full */
#define EG_STAT_RECORDS_LOST 4 /* connections that got no record: the proxy closes them */
#define EG_STAT_EVENTS_LIMITED 5 /* denials not sent because the same one was sent just before */
#define EG_STAT_EVENTS_TOLD 6 /* of the lost ones: those that stand in the audit log. Written by user space alone */
#define EG_STAT_DENIED 8
#define EG_STAT_COUNT (EG_STAT_DENIED + EG_REASON_SLOTS)

#endif
