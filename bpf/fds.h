/* fds.h: what the iterators of fds.bpf.c write, for daemon/parent/adopt_look.c.
 *
 * Addresses of kernel objects stand for identity only: the same socket has the same one in both streams.
 */
#ifndef FDS_H
#define FDS_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#endif

/* One open descriptor that is a socket. */
struct fds_socket {
	__u64 sk;
	__u64 peer;   /* AF_UNIX: the other end, 0: none */
	__u64 cgroup; /* id of the cgroup it was born in */
	__u64 ino;    /* as in "socket:[ino]" */
	__u32 tgid;
	__u32 tid; /* not tgid: a thread with descriptors of its own */
	__u32 fd;
	__u16 family;
	__u16 type;
	__u16 protocol;
	__u8 state; /* TCP_* of linux/tcp_states.h, whatever the protocol */
	__u8 pad;
	__u32 pad2;
};
_Static_assert(sizeof(struct fds_socket) == 56, "fds_socket");

/* One thread that has ever used io_uring, by whatever descriptor. */
struct fds_uring {
	__u32 tgid;
	__u32 tid;
};
_Static_assert(sizeof(struct fds_uring) == 8, "fds_uring");

#endif
