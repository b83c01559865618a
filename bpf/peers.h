/* peers.h: verdicts on peers, families and foreign sockets, as functions of values: for unixsock.bpf.c, lsm.bpf.c and the
 * unit test. An EG_REASON_*, 0: allowed.
 */
#ifndef PEERS_H
#define PEERS_H

#include "policy.h"

#define PEERS_AF_UNIX 1
#define PEERS_AF_NETLINK 16
#define PEERS_NETLINK_ROUTE 0

/* Instead of a guard's id. */
#define PEERS_NOBODY 0ull     /* in no guard */
#define PEERS_UNKNOWN (~0ull) /* could not be told: never equal to anything */

/* A unix socket's address, whole: family and path, zero-padded. */
#define PEERS_NAME_MAX 110
#define PEERS_NAME_WORDS 14 /* of 8 bytes */
struct peers_name {
	__u64 word[PEERS_NAME_WORDS];
};
_Static_assert(sizeof(struct peers_name) >= PEERS_NAME_MAX, "the longest address fits");

#define PEERS_LEN_MIN 3 /* the family and one byte */

/* Abstract: the first byte of the path is zero, and the kernel finds the peer by these very bytes. */
policy_fn int peers_abstract(const struct peers_name *n)
{
	return ((const char *)n->word)[2] == 0;
}

policy_fn int peers_same_name(const struct peers_name *a, const struct peers_name *b)
{
	__u64 differ = 0;

	for (int i = 0; i < PEERS_NAME_WORDS; i++)
		differ |= a->word[i] ^ b->word[i];
	return differ == 0;
}

/* The lower eight bits of the kernel's hash of an abstract name (net/unix/af_unix.c, unix_abstract_hash(): the internet
 * checksum over the address, folded with the socket's type). */
policy_fn __u32 peers_hash(const struct peers_name *n, __u32 type)
{
	__u32 sum = 0;

	for (int i = 0; i < PEERS_NAME_WORDS; i++)
		for (int bits = 0; bits < 64; bits += 16)
			sum += n->word[i] >> bits & 0xffff;
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = ~sum & 0xffff;
	sum ^= sum >> 8;
	return (sum ^ type) & 0xff;
}

/* connect() or sendto() to a unix socket, before the kernel has looked the peer up. `inside`: the socket that has the
 * abstract name now was born in the guard, or there is an exception for it or for the path. Where the LSM programs stand they judge the peer that was found. */
policy_fn __u8 peers_unix(const struct eg_guard *g, int abstract, int inside)
{
	if (!policy_open(g))
		return EG_REASON_CLOSED;
	if (g->flags & EG_GUARD_LSM)
		return 0;
	if (!abstract && (g->flags & EG_GUARD_PATHS))
		return 0;
	return inside ? 0 : EG_REASON_UNIX;
}

/* socket(): addresses, and names and routes of the own network; everything else is a way past the wall. */
policy_fn __u8 peers_family(int family, int protocol)
{
	if (family == POLICY_AF_INET || family == POLICY_AF_INET6 || family == PEERS_AF_UNIX)
		return 0;
	if (family == PEERS_AF_NETLINK && protocol == PEERS_NETLINK_ROUTE)
		return 0;
	return EG_REASON_SOCKET;
}

/* Is what belongs to `theirs` foreign to a process of `mine`. Processes in no guard are free. */
policy_fn int peers_foreign(__u64 mine, __u64 theirs)
{
	if (mine == PEERS_NOBODY)
		return 0;
	return mine == PEERS_UNKNOWN || mine != theirs;
}

/* Which sockets are judged by their birth when they are used: a unix one's peer was judged when it connected, and what
 * was inherited connected (a terminal's, a service manager's) must go on. */
policy_fn int peers_judged(int family)
{
	return family != PEERS_AF_UNIX && family != PEERS_AF_NETLINK;
}

#endif
