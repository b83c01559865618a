/* exempt.h: unix sockets outside that a guard may reach all the same (`agentsecrets workspace unix`).
 *
 * Where the peer's socket is at hand it is known by itself: by the inode that it is bound to, or the cgroup it was born
 * in. Where there is only a path, the path is believed when nobody but root can have changed what it leads to since the
 * daemon looked: the caller sees the daemon's mounts from their root, owns no user namespace in which it could
 * have asked for another root, is not root, and has no capability. (The directories on the way are root's alone; the
 * daemon has seen to that, sockpath.h.)
 */
#ifndef EXEMPT_H
#define EXEMPT_H

#include "maps.h"

struct exempt_map exempt SEC(".maps");
struct exempt_paths_map exempt_paths SEC(".maps");

/* The inode of a bound socket, as the map has it. */
static __always_inline int exempt_inode(struct sock *peer, __u64 guard)
{
	struct eg_unix_key key = {.guard = guard, .kind = EG_UNIX_INODE};
	struct inode *inode = BPF_CORE_READ((struct unix_sock *)peer, path.dentry, d_inode);

	if (!inode)
		return 0;
	key.id = BPF_CORE_READ(inode, i_ino);
	key.dev = BPF_CORE_READ(inode, i_sb, s_dev);
	return bpf_map_lookup_elem(&exempt, &key) != NULL;
}

static __always_inline int exempt_cgroup(struct sock *peer, __u64 guard)
{
	struct eg_unix_key key = {.guard = guard, .kind = EG_UNIX_CGROUP};
	struct cgroup *cgroup = kernel_sock_cgroup(peer);
	int level = BPF_CORE_READ(cgroup, level);

	for (int i = 1; i < KERNEL_DEPTH && i <= level; i++) {
		key.id = kernel_ancestor(cgroup, i);
		if (key.id && bpf_map_lookup_elem(&exempt, &key))
			return 1;
	}
	return 0;
}

static __always_inline int exempt_peer(struct sock *peer, __u64 guard)
{
	return peer && (exempt_inode(peer, guard) || exempt_cgroup(peer, guard));
}

/* "/" of a mount namespace: a mount's own root, which lies over the root of the one below it, if there is one. */
static __always_inline int exempt_at_root(struct task_struct *task)
{
	struct vfsmount *mnt = BPF_CORE_READ(task, fs, root.mnt);
	struct mount *m = (void *)mnt - bpf_core_field_offset(struct mount, mnt);
	struct mount *below = BPF_CORE_READ(m, mnt_parent);

	if (BPF_CORE_READ(task, fs, root.dentry) != BPF_CORE_READ(mnt, mnt_root))
		return 0;
	return below == m || BPF_CORE_READ(m, mnt_mountpoint) == BPF_CORE_READ(below, mnt.mnt_root);
}

static __always_inline int exempt_ordinary(const struct cred *cred)
{
	__u64 caps = ~0ull;

	if (BPF_CORE_READ(cred, user_ns, level) != 0 || !BPF_CORE_READ(cred, euid.val) ||
	    !BPF_CORE_READ(cred, fsuid.val))
		return 0;
	return bpf_core_read(&caps, sizeof(caps), &cred->cap_permitted) == 0 && caps == 0;
}

/* `at`: the guard, family and path as given to connect(). */
static __always_inline int exempt_path(const struct eg_unix_path *at)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	const __u64 *mounts = bpf_map_lookup_elem(&exempt_paths, at);

	return mounts && *mounts == BPF_CORE_READ(task, nsproxy, mnt_ns, ns.inum) &&
	       exempt_at_root(task) && exempt_ordinary(BPF_CORE_READ(task, cred));
}

#endif
