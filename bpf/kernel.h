/* kernel.h: of the kernel's own structures, the fields that unixsock.bpf.c and lsm.bpf.c read.
 *
 * Names and types are the kernel's; offsets are put in at load from the running kernel's BTF (CO-RE). A kernel that
 * lacks one of them refuses the program, and levels.c says so.
 */
#ifndef KERNEL_H
#define KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
};

struct cgroup {
	int level;
	struct kernfs_node *kn;
	struct cgroup *ancestors[]; /* 6.1 */
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct hlist_node {
	struct hlist_node *next;
};

struct hlist_head {
	struct hlist_node *first;
};

struct unix_table {
	struct hlist_head *buckets;
};

struct netns_unix {
	struct unix_table table;
};

struct net {
	struct netns_unix unx;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	unsigned short skc_family;
	possible_net_t skc_net;
	struct hlist_node skc_node;
};

struct socket;

struct sock {
	struct sock_common __sk_common;
	__u16 sk_type;
	struct sock_cgroup_data sk_cgrp_data;
	struct socket *sk_socket;
};

struct socket {
	struct sock *sk;
};

struct sockaddr_un {
	__u16 sun_family;
	char sun_path[108];
};

struct unix_address {
	int len;
	struct sockaddr_un name[];
};

struct super_block {
	__u32 s_dev;
	unsigned long s_magic;
};

struct inode {
	__u16 i_mode;
	unsigned long i_ino;
	struct super_block *i_sb;
};

struct dentry {
	struct inode *d_inode;
};

struct vfsmount {
	struct dentry *mnt_root;
};

struct mount {
	struct mount *mnt_parent;
	struct dentry *mnt_mountpoint;
	struct vfsmount mnt;
};

struct path {
	struct vfsmount *mnt;
	struct dentry *dentry;
};

struct unix_sock {
	struct sock sk;
	struct unix_address *addr;
	struct path path;
	struct sock *peer;
};

struct sockaddr;

struct bpf_sock_addr_kern {
	struct sock *sk;
	struct sockaddr *uaddr;
	__u32 uaddrlen; /* 6.7, with the unix hooks */
};

struct css_set {
	struct cgroup *dfl_cgrp;
};

struct fs_struct {
	struct path root;
};

struct ns_common {
	unsigned int inum;
};

struct mnt_namespace {
	struct ns_common ns;
};

struct nsproxy {
	struct mnt_namespace *mnt_ns;
};

struct user_namespace {
	int level;
};

typedef struct {
	unsigned int val;
} kuid_t;

typedef struct {
	__u64 val; /* before 6.3 two halves */
} kernel_cap_t;

struct cred {
	kuid_t euid;
	kuid_t fsuid;
	kernel_cap_t cap_permitted;
	struct user_namespace *user_ns;
};

struct task_struct {
	struct css_set *cgroups;
	struct fs_struct *fs;
	struct nsproxy *nsproxy;
	const struct cred *cred;
};

struct file {
	struct inode *f_inode;
	void *private_data;
};

#pragma clang attribute pop

/* ---- whose it is -------------------------------------------------------------------------------- */

/* A look at a cgroup's line of ancestors ends here; what lies deeper belongs to nobody we know. */
#define KERNEL_DEPTH 32

/* The id of a cgroup's ancestor at this level; 0 when it cannot be read. */
static __always_inline __u64 kernel_ancestor(struct cgroup *cgroup, int level)
{
	struct cgroup *at = NULL;

	if (bpf_core_read(&at, sizeof(at), &cgroup->ancestors[level]))
		return 0;
	return BPF_CORE_READ(at, kn, id);
}

static __always_inline struct cgroup *kernel_sock_cgroup(struct sock *sk)
{
	return BPF_CORE_READ(sk, sk_cgrp_data.cgroup);
}

#endif
