/* sandbox.c: see sandbox.h. One table of system calls, a bit per role, the reason beside each entry. Calls whose
 * arguments matter are in sandbox_args. The default is to kill the process: a call that is not here is either
 * a bug of ours or somebody else's code.
 */
#include "sandbox.h"

#include <grp.h>
#include <linux/capability.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define H   (1u << SANDBOX_HOLDER)
#define K   (1u << SANDBOX_KEEPER)
#define R   (1u << SANDBOX_RESOLVER)
#define P   (1u << SANDBOX_PROXY)
#define ALL (H | K | R | P)

int sandbox_first(struct err *e)
{
	struct rlimit none = {0, 0};

	if (setrlimit(RLIMIT_CORE, &none) < 0)
		return err_set(e, -errno, "cannot forbid core dumps: %s", strerror(errno));
	if (prctl(PR_SET_DUMPABLE, 0) < 0)
		return err_set(e, -errno, "cannot make the process non-dumpable: %s",
			       strerror(errno));
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_set(e, -errno, "cannot forbid new privileges: %s", strerror(errno));
	return 0;
}

int sandbox_drop(const struct config_user *user, struct err *e)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}, {0}};
	unsigned int cap;

	if (user->uid == 0 || user->gid == 0)
		return err_set(e, -EINVAL,
			       "this process must not run as root; set another user in users");
	for (cap = 0; cap < 64; cap++)
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EINVAL)
			return err_set(e, -errno, "cannot drop capability %u: %s", cap,
				       strerror(errno));
	if (setgroups(0, NULL) < 0 || setresgid(user->gid, user->gid, user->gid) < 0 ||
	    setresuid(user->uid, user->uid, user->uid) < 0)
		return err_set(e, -errno, "cannot change to user %u: %s", user->uid,
			       strerror(errno));
	if (syscall(SYS_capset, &head, none) < 0)
		return err_set(e, -errno, "cannot drop capabilities: %s", strerror(errno));
	/* A change of user makes a process dumpable again. */
	if (prctl(PR_SET_DUMPABLE, 0) < 0 || prctl(PR_GET_DUMPABLE) != 0)
		return err_set(e, -EPERM, "the process is dumpable after the change of user");
	if (setuid(0) == 0 || getuid() != user->uid || geteuid() != user->uid)
		return err_set(e, -EPERM, "the change of user did not hold");
	return 0;
}

struct sandbox_call {
	int nr;
	unsigned int roles;
	const char *why;
};

static const struct sandbox_call sandbox_calls[] = {
	{SCMP_SYS(epoll_wait), ALL, "the loop"},
	{SCMP_SYS(epoll_pwait), ALL, "the loop, as libc calls it"},
	{SCMP_SYS(epoll_ctl), ALL, "the loop"},
	{SCMP_SYS(poll), ALL, "waiting for one descriptor"},
	{SCMP_SYS(ppoll), ALL, "the same, on arm64"},
	{SCMP_SYS(recvmsg), ALL, "our own channels"},
	{SCMP_SYS(sendmsg), ALL, "our own channels"},
	{SCMP_SYS(close), ALL, "descriptors end"},
	{SCMP_SYS(read), ALL, "TLS, pipes, signal of a closed peer"},
	{SCMP_SYS(write), ALL, "TLS, log lines"},
	{SCMP_SYS(writev), R, "c-ares over TCP"},
	{SCMP_SYS(pread64), K | R | P, "documents in memfds"},
	{SCMP_SYS(fstat), K | R | P, "size of a memfd"},
	{SCMP_SYS(newfstatat), K | R | P, "fstat, as newer libcs call it"},
	{SCMP_SYS(fdatasync), P, "audit lines"},
	{SCMP_SYS(dup3), P, "they go on in another file"},
	{SCMP_SYS(fsync), K, "the vault is replaced in whole"},
	{SCMP_SYS(openat), K, "the vault, in its own directory: its user owns nothing else"},
	{SCMP_SYS(openat2), K, "files below a mounted directory"},
	{SCMP_SYS(getdents64), K, "their names"},
	{SCMP_SYS(renameat), K, "the vault, likewise"},
	{SCMP_SYS(renameat2), K, "the same, as libc calls it"},
	{SCMP_SYS(unlinkat), K, "what a broken replacement left"},
	{SCMP_SYS(fcntl), ALL, "flags, seals, duplicates"},
	{SCMP_SYS(accept4), H | R | P, "a new daemon; guarded clients"},
	{SCMP_SYS(getsockopt), H | R | P, "SO_PEERCRED, the record, SO_ERROR"},
	{SCMP_SYS(setsockopt), R | P, "TCP_NODELAY and the like"},
	{SCMP_SYS(recvfrom), R | P, "datagrams; a peek at the first bytes"},
	{SCMP_SYS(sendto), R | P, "answers"},
	{SCMP_SYS(connect), R | P, "upstreams, DNS servers"},
	{SCMP_SYS(shutdown), P, "half-close"},
	{SCMP_SYS(pipe2), P, "tunnels: splice(2) goes by a pipe"},
	{SCMP_SYS(splice), P, "tunnels"},
	{SCMP_SYS(brk), ALL, "memory"},
	{SCMP_SYS(munmap), ALL, "memory"},
	{SCMP_SYS(mremap), ALL, "memory"},
	{SCMP_SYS(madvise), ALL, "memory; secrets are not dumped"},
	{SCMP_SYS(mlock), K | P, "secrets are not swapped"},
	{SCMP_SYS(mlock2), K | P, "the same"},
	{SCMP_SYS(munlock), K | P, "the same"},
	{SCMP_SYS(futex), ALL, "locks of libraries"},
	{SCMP_SYS(getrandom), K | R | P, "keys, nonces, query ids"},
	{SCMP_SYS(clock_gettime), ALL, "where the vdso does not serve"},
	{SCMP_SYS(clock_nanosleep), ALL, "libraries' retries"},
	{SCMP_SYS(gettimeofday), ALL, "c-ares, where the vdso does not serve"},
	{SCMP_SYS(time), ALL, "OpenSSL, where the vdso does not serve"},
	{SCMP_SYS(getpid), ALL, "OpenSSL's fork check"},
	{SCMP_SYS(gettid), ALL, "abort(3)"},
	{SCMP_SYS(tgkill), ALL, "abort(3)"},
	{SCMP_SYS(rt_sigprocmask), ALL, "abort(3)"},
	{SCMP_SYS(rt_sigaction), ALL, "abort(3)"},
	{SCMP_SYS(rt_sigreturn), ALL, "a handled signal's end"},
	{SCMP_SYS(restart_syscall), ALL, "after SIGSTOP"},
	{SCMP_SYS(sched_yield), ALL, "locks of libraries"},
	{SCMP_SYS(sigaltstack), ALL, "sanitizer builds"},
	{SCMP_SYS(exit), ALL, "the end"},
	{SCMP_SYS(exit_group), ALL, "the end"},
};

/* Calls allowed for some values of one argument. */
static const struct sandbox_arg {
	int nr;
	unsigned int roles;
	unsigned int arg;
	enum scmp_compare op;
	uint64_t a, b; /* SCMP_CMP_EQ: value; SCMP_CMP_MASKED_EQ: mask, value */
	const char *why;
} sandbox_args[] = {
	{SCMP_SYS(mmap), ALL, 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0, "memory, never executable"},
	{SCMP_SYS(mprotect), ALL, 2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0, "guard pages, likewise"},
	{SCMP_SYS(ioctl), ALL, 1, SCMP_CMP_EQ, FIONREAD, 0, "libraries; nothing of a terminal"},
	{SCMP_SYS(ioctl), ALL, 1, SCMP_CMP_EQ, FIONBIO, 0, "libraries"},
	{SCMP_SYS(prctl), ALL, 0, SCMP_CMP_EQ, PR_SET_VMA, 0, "libc names its memory"},
	{SCMP_SYS(socket), R | P, 0, SCMP_CMP_EQ, AF_INET, 0, "upstreams, DNS servers"},
	{SCMP_SYS(socket), R | P, 0, SCMP_CMP_EQ, AF_INET6, 0, "the same"},
};

static int sandbox_special(scmp_filter_ctx ctx, enum sandbox_role role)
{
	unsigned int bit = 1u << role;
	size_t i;
	int rc = 0;

	for (i = 0; i < ARRAY_SIZE(sandbox_args) && rc == 0; i++) {
		const struct sandbox_arg *x = &sandbox_args[i];
		struct scmp_arg_cmp cmp = {x->arg, x->op, x->a, x->b};

		if (x->roles & bit)
			rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, x->nr, 1, &cmp);
	}
	/* c-ares and OpenSSL look for files of /etc now and then: not there, rather than the end. */
	if (rc == 0 && (bit & (R | P)))
		rc = seccomp_rule_add_array(ctx, SCMP_ACT_ERRNO(ENOENT), SCMP_SYS(openat), 0, NULL);
	return rc;
}

int sandbox_lock(enum sandbox_role role, struct err *e)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_KILL_PROCESS);
	size_t i;
	int rc = ctx ? seccomp_attr_set(ctx, SCMP_FLTATR_CTL_TSYNC, 1) : -ENOMEM; /* for every thread */

	for (i = 0; i < ARRAY_SIZE(sandbox_calls) && rc == 0; i++)
		if (sandbox_calls[i].roles & (1u << role))
			rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, sandbox_calls[i].nr, 0,
						    NULL);
	if (rc == 0)
		rc = sandbox_special(ctx, role);
	if (rc == 0)
		rc = seccomp_load(ctx);
	if (ctx)
		seccomp_release(ctx);
	if (rc < 0)
		return err_set(e, rc, "cannot install the system-call filter: %s", strerror(-rc));
	return 0;
}
