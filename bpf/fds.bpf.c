/* fds.bpf.c: two iterators that only read: every descriptor of every process that is a socket, with the cgroup in
 * which it was born and, for AF_UNIX, its other end; and every thread that has used io_uring. Nothing else in the
 * kernel tells the birth cgroup of a socket that is not bound.
 *
 * The few kernel fields used are declared here and found by name when the program is loaded (CO-RE).
 */
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "fds.h"

#define FDS_UNIX 1

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)
struct kernfs_node___fds {
	__u64 id;
};
struct cgroup___fds {
	struct kernfs_node___fds *kn;
};
struct sock_cgroup_data___fds {
	struct cgroup___fds *cgroup;
};
struct sock_common___fds {
	unsigned short skc_family;
	unsigned char skc_state;
};
struct sock___fds {
	struct sock_common___fds __sk_common;
	__u16 sk_type;
	__u16 sk_protocol;
	struct sock_cgroup_data___fds sk_cgrp_data;
};
struct unix_sock___fds {
	struct sock___fds *peer;
};
struct socket___fds {
	struct sock___fds *sk;
};
struct inode___fds {
	unsigned long i_ino;
};
struct file___fds {
	struct inode___fds *f_inode;
};
struct task_struct___fds {
	int pid;
	int tgid;
	void *io_uring;
};
struct bpf_iter_meta___fds {
	struct seq_file *seq;
};
#pragma clang attribute pop

/* The contexts of the two iterators, of which the kernel checks offsets. */
struct fds_file_ctx {
	struct bpf_iter_meta___fds *meta;
	struct task_struct___fds *task;
	__u32 fd;
	__u32 pad;
	struct file *file;
};
struct fds_task_ctx {
	struct bpf_iter_meta___fds *meta;
	struct task_struct___fds *task;
};

SEC("iter/task_file")
int fds_sockets(struct fds_file_ctx *ctx)
{
	struct task_struct___fds *task = ctx->task;
	struct file *file = ctx->file;
	struct fds_socket out = {};
	struct socket___fds *sock;
	struct sock___fds *sk;

	if (!task || !file)
		return 0;
	sock = (struct socket___fds *)bpf_sock_from_file(file);
	if (!sock)
		return 0;
	sk = BPF_CORE_READ(sock, sk);
	out.sk = (__u64)sk;
	out.ino = BPF_CORE_READ((struct file___fds *)file, f_inode, i_ino);
	out.tgid = BPF_CORE_READ(task, tgid);
	out.tid = BPF_CORE_READ(task, pid);
	out.fd = ctx->fd;
	if (sk) {
		out.cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
		out.family = BPF_CORE_READ(sk, __sk_common.skc_family);
		out.type = BPF_CORE_READ(sk, sk_type);
		out.protocol = BPF_CORE_READ(sk, sk_protocol);
		out.state = BPF_CORE_READ(sk, __sk_common.skc_state);
		if (out.family == FDS_UNIX)
			out.peer = (__u64)BPF_CORE_READ((struct unix_sock___fds *)sk, peer);
	}
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}

SEC("iter/task")
int fds_urings(struct fds_task_ctx *ctx)
{
	struct task_struct___fds *task = ctx->task;
	struct fds_uring out = {};

	if (!task || !bpf_core_field_exists(task->io_uring) || !BPF_CORE_READ(task, io_uring))
		return 0;
	out.tgid = BPF_CORE_READ(task, tgid);
	out.tid = BPF_CORE_READ(task, pid);
	bpf_seq_write(ctx->meta->seq, &out, sizeof(out));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
