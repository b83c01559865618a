/* run_sandbox.c: see run_sandbox.h.
 *
 * Capabilities: what root keeps (kept_caps) also bounds what any later exec can give, since the bounding
 * set is cut to it; nothing is inheritable or ambient. Any other user keeps none at all: CAP_DAC_OVERRIDE
 * without the private mounts would open cgroup.procs.
 *
 * Landlock is used for one thing: a domain's members can trace and read the memory of nobody outside it,
 * where otherwise any unguarded process of the same user could be told to send the data. Its only rule
 * allows all that it handles, so file access stays as it was.
 *
 * seccomp allows by default and takes away by name. Comparisons are of the lower 32 bits, as in the
 * kernel, which ignores the upper half of an int. Kernels' other ABIs would get around the numbers, so a
 * process that uses one is killed.
 */
#include "run_sandbox.h"

#include "run_mounts.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <linux/landlock.h>
#include <linux/netlink.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#define BIT(n) (1ull << (n))
#define LOW32 0xffffffffu

#ifndef __NR_open_tree_attr
#define __NR_open_tree_attr 467 /* 6.15; the same number on every architecture we build for */
#endif

static const uint64_t kept_caps = BIT(CAP_CHOWN) | BIT(CAP_DAC_OVERRIDE) | BIT(CAP_FOWNER) |
				  BIT(CAP_FSETID) | BIT(CAP_KILL) | BIT(CAP_SETGID) | BIT(CAP_SETUID) |
				  BIT(CAP_NET_BIND_SERVICE) | BIT(CAP_IPC_LOCK) | BIT(CAP_SYS_NICE) |
				  BIT(CAP_LEASE);

static const struct {
	int nr;
	int error;
} denied[] = {
	/* would reach maps and links of ours, given the privilege */
	{SCMP_SYS(bpf), EPERM},
	/* does in the kernel what the rest of this list forbids by number; agents fall back to epoll */
	{SCMP_SYS(io_uring_setup), ENOSYS},
	{SCMP_SYS(io_uring_enter), ENOSYS},
	{SCMP_SYS(io_uring_register), ENOSYS},
	/* would undo run_mounts.c, or mount a file system whose packets a kernel thread sends */
	{SCMP_SYS(mount), EPERM},
	{SCMP_SYS(umount2), EPERM},
	{SCMP_SYS(pivot_root), EPERM},
	{SCMP_SYS(move_mount), EPERM},
	{SCMP_SYS(open_tree), EPERM},
	{__NR_open_tree_attr, EPERM},
	{SCMP_SYS(fsopen), EPERM},
	{SCMP_SYS(fsconfig), EPERM},
	{SCMP_SYS(fsmount), EPERM},
	{SCMP_SYS(fspick), EPERM},
	{SCMP_SYS(mount_setattr), EPERM},
	/* another network namespace than the one the proxy listens in; unshare(2) stays, for browsers */
	{SCMP_SYS(setns), EPERM},
	/* keyrings are shared with the user's other processes, and may call programs of the host */
	{SCMP_SYS(keyctl), EPERM},
	{SCMP_SYS(add_key), EPERM},
	{SCMP_SYS(request_key), EPERM},
	{SCMP_SYS(kexec_load), EPERM},
	{SCMP_SYS(kexec_file_load), EPERM},
	{SCMP_SYS(init_module), EPERM},
	{SCMP_SYS(finit_module), EPERM},
	{SCMP_SYS(delete_module), EPERM},
	{SCMP_SYS(perf_event_open), EPERM},
	/* another process's sockets */
	{SCMP_SYS(pidfd_getfd), EPERM},
	/* files by number, past the private mounts */
	{SCMP_SYS(open_by_handle_at), EPERM},
};

/* Only where nothing else keeps a program from tracing processes outside its guard. */
static const int tracing[] = {SCMP_SYS(ptrace), SCMP_SYS(process_vm_readv), SCMP_SYS(process_vm_writev)};

/* Typing into the caller's terminal runs commands outside; a tun device is a way past sockets. */
static const unsigned int denied_ioctls[] = {TIOCSTI, TIOCLINUX, TUNSETIFF};

uint64_t run_sandbox_kept_caps(void)
{
	return kept_caps;
}

int run_sandbox_stdio(struct err *e)
{
	static const char *const names[] = {"standard input", "standard output", "standard error"};

	for (int fd = 0; fd <= 2; fd++) {
		int domain = AF_UNIX;
		socklen_t len = sizeof(domain);
		struct stat st;

		if (fstat(fd, &st) < 0)
			return err_set(e, -errno, "%s is closed", names[fd]);
		if (S_ISDIR(st.st_mode))
			return err_set(e, -EINVAL, "%s is a directory", names[fd]);
		if (!S_ISSOCK(st.st_mode))
			continue;
		if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 || domain != AF_UNIX)
			return err_set(e, -EINVAL, "%s is a network socket that was made outside the guard; put a "
				       "pipe between, as in: cat | agentsecrets run ... | cat", names[fd]);
	}
	return 0;
}

static int bounding(struct err *e)
{
	for (unsigned int cap = 0; cap < 64; cap++) {
		int has = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

		if (has < 0)
			break; /* past the kernel's last one */
		if (!has || (kept_caps & BIT(cap)))
			continue;
		/* Without CAP_SETPCAP it cannot be cut; another user than root cannot draw on it either,
		 * since no new privileges come with an exec. */
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && geteuid() == 0)
			return err_set(e, -errno, "cannot drop capability %u for the command: %s. Run it as an "
				       "ordinary user", cap, strerror(errno));
	}
	return 0;
}

static int capabilities(struct err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];
	uint64_t keep = geteuid() == 0 ? kept_caps : 0;
	int rc = bounding(e);

	if (rc)
		return rc;
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return err_set(e, -errno, "cannot clear the ambient capabilities: %s", strerror(errno));
	if (syscall(SYS_capget, &head, d) < 0)
		return err_set(e, -errno, "cannot read the capabilities: %s", strerror(errno));
	for (int i = 0; i < 2; i++) {
		d[i].permitted &= (uint32_t)(keep >> (32 * i));
		d[i].effective &= d[i].permitted;
		d[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &head, d) < 0)
		return err_set(e, -errno, "cannot drop capabilities: %s", strerror(errno));
	return 0;
}

static int landlock_abi(void)
{
	return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

/* From its second version on Landlock can leave renames between directories alone. */
bool run_sandbox_can_scope(void)
{
	return landlock_abi() >= 2;
}

static int scope(struct err *e)
{
	const struct landlock_ruleset_attr attr = {.handled_access_fs = LANDLOCK_ACCESS_FS_REFER};
	struct landlock_path_beneath_attr all = {.allowed_access = LANDLOCK_ACCESS_FS_REFER};
	auto_close int set = (int)syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr), 0);
	auto_close int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (set < 0 || root < 0)
		return err_set(e, -errno, "cannot make a Landlock domain: %s", strerror(errno));
	all.parent_fd = root;
	if (syscall(SYS_landlock_add_rule, set, LANDLOCK_RULE_PATH_BENEATH, &all, 0) < 0 ||
	    syscall(SYS_landlock_restrict_self, set, 0) < 0)
		return err_set(e, -errno, "cannot enter a Landlock domain: %s", strerror(errno));
	return 0;
}

/* Yama at 1 or above lets a process trace its own descendants only. */
static bool yama(void)
{
	auto_close int fd = open("/proc/sys/kernel/yama/ptrace_scope", O_RDONLY | O_CLOEXEC);
	char c = '0';

	return fd >= 0 && read(fd, &c, 1) == 1 && c >= '1';
}

static int deny_arg(scmp_filter_ctx f, int nr, int error, unsigned int arg, uint32_t mask, uint32_t value)
{
	return seccomp_rule_add(f, SCMP_ACT_ERRNO((unsigned int)error), nr, 1,
				SCMP_CMP(arg, SCMP_CMP_MASKED_EQ, mask, value));
}

/* Every family that is not listed: by number below 32, by any higher bit above. */
static int families(scmp_filter_ctx f, int nr, const int *allowed, size_t count)
{
	int rc = 0;

	for (uint32_t family = 0; family < 32 && !rc; family++) {
		bool ok = false;

		for (size_t i = 0; i < count; i++)
			ok |= (uint32_t)allowed[i] == family;
		if (!ok)
			rc = deny_arg(f, nr, EAFNOSUPPORT, 0, LOW32, family);
	}
	for (unsigned int bit = 5; bit < 32 && !rc; bit++)
		rc = deny_arg(f, nr, EAFNOSUPPORT, 0, 1u << bit, 1u << bit);
	return rc;
}

/* Netlink reaches sockets' state, auditing, crypto and more; names and addresses need ROUTE (0) only. */
static int netlink(scmp_filter_ctx f)
{
	_Static_assert(NETLINK_ROUTE == 0, "any bit means another protocol");
	int rc = 0;

	for (unsigned int bit = 0; bit < 32 && !rc; bit++)
		rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket), 2,
				      SCMP_CMP(0, SCMP_CMP_MASKED_EQ, LOW32, AF_NETLINK),
				      SCMP_CMP(2, SCMP_CMP_MASKED_EQ, 1u << bit, 1u << bit));
	return rc;
}

static int fill(scmp_filter_ctx f, bool scoped)
{
	static const int socket_families[] = {AF_UNIX, AF_INET, AF_INET6, AF_NETLINK};
	static const int pair_families[] = {AF_UNIX};
	int rc = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);

	for (size_t i = 0; i < ARRAY_SIZE(denied) && !rc; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ERRNO((unsigned int)denied[i].error), denied[i].nr, 0);
	for (size_t i = 0; i < ARRAY_SIZE(tracing) && !rc && !scoped; i++)
		rc = seccomp_rule_add(f, SCMP_ACT_ERRNO(EPERM), tracing[i], 0);
	for (size_t i = 0; i < ARRAY_SIZE(denied_ioctls) && !rc; i++)
		rc = deny_arg(f, SCMP_SYS(ioctl), EPERM, 1, LOW32, denied_ioctls[i]);
	if (!rc)
		rc = families(f, SCMP_SYS(socket), socket_families, ARRAY_SIZE(socket_families));
	if (!rc)
		rc = families(f, SCMP_SYS(socketpair), pair_families, ARRAY_SIZE(pair_families));
	return rc ? rc : netlink(f);
}

static int filter(bool scoped, struct err *e)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ALLOW);
	int rc = f ? fill(f, scoped) : -ENOMEM;

	if (!rc)
		rc = seccomp_load(f);
	seccomp_release(f);
	if (rc)
		return err_set(e, rc, "cannot install the system call filter: %s", strerror(-rc));
	return 0;
}

int run_sandbox_enter(const struct run_hide *hide, struct err *e)
{
	bool scoped = run_sandbox_can_scope();
	int rc = 0;

	if (geteuid() == 0)
		rc = run_mounts_enter(hide, e);
	if (!rc)
		rc = capabilities(e);
	if (rc)
		return rc;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(e, -errno, "cannot forbid new privileges: %s", strerror(errno));
	if (scoped)
		rc = scope(e);
	if (!rc)
		rc = filter(scoped || yama(), e);
	if (rc)
		return rc;
	if (close_range(3, ~0u, 0) < 0)
		return err_set(e, -errno, "cannot close descriptors: %s", strerror(errno));
	return 0;
}
