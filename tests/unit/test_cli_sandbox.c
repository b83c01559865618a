/* run_sandbox: each test enters it in a child and tries one way out, as root and as another user. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "skip.h"
#include "run_mounts.h"
#include "run_sandbox.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>

#define NOBODY 65534

static char state_dir[64], run_dir[64], trust_dir[80];
static struct run_hide hide = {state_dir, run_dir, trust_dir};

static void put(const char *dir, const char *name)
{
	char path[128];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	assert_true(fd >= 0 && write(fd, "x", 1) == 1);
	close(fd);
}

static int setup(void **s)
{
	(void)s;
	strcpy(state_dir, "/tmp/sandbox-state-XXXXXX");
	strcpy(run_dir, "/tmp/sandbox-run-XXXXXX");
	if (!mkdtemp(state_dir) || !mkdtemp(run_dir))
		return -1;
	(void)snprintf(trust_dir, sizeof(trust_dir), "%s/trust", run_dir);
	if (chmod(state_dir, 0755) || chmod(run_dir, 0755) || mkdir(trust_dir, 0755))
		return -1;
	put(state_dir, "vault.key");
	put(run_dir, "control");
	put(trust_dir, "ca.pem");
	return 0;
}

static int teardown(void **s)
{
	char cmd[256];

	(void)s;
	(void)snprintf(cmd, sizeof(cmd), "rm -rf %s %s", state_dir, run_dir);
	return system(cmd);
}

/* Runs fn in a child inside the sandbox; its line on failure, 0 when it returned 0. */
static int inside(uid_t uid, int (*fn)(void))
{
	struct err e = {""};
	int status = -1;
	pid_t pid;

	if (geteuid() != 0 && uid == 0)
		skip_because("needs root");
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (uid && geteuid() == 0 && (setgroups(0, NULL) || setgid(uid) || setuid(uid)))
			_exit(250);
		if (run_sandbox_enter(&hide, &e)) {
			(void)fprintf(stderr, "%s\n", e.text);
			_exit(251);
		}
		_exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

#define MUST(cond)                                                                                                     \
	do {                                                                                                           \
		if (!(cond)) {                                                                                         \
			dprintf(2, "line %d: %s (errno %d)\n", __LINE__, #cond, errno);                                \
			return 99;                                                                                     \
		}                                                                                                      \
	} while (0)
#define FAILS(call, want)                                                                                              \
	do {                                                                                                           \
		errno = 0;                                                                                             \
		MUST((call) < 0 && errno == (want));                                                                   \
	} while (0)

static int families(void)
{
	static const int good[] = {AF_UNIX, AF_INET, AF_INET6};
	int pair[2];

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		int fd = socket(good[i], SOCK_STREAM | SOCK_CLOEXEC, 0);

		MUST(fd >= 0);
		close(fd);
	}
	MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE) >= 0);
	for (int proto = 1; proto < 24; proto++)
		FAILS(socket(AF_NETLINK, SOCK_RAW, proto), EPROTONOSUPPORT);
	for (int family = 0; family < 64; family++)
		if (family != AF_UNIX && family != AF_INET && family != AF_INET6 && family != AF_NETLINK)
			FAILS(socket(family, SOCK_DGRAM, 0), EAFNOSUPPORT);
	for (int bit = 5; bit < 32; bit++)
		FAILS(socket((int)(1u << bit | AF_INET), SOCK_STREAM, 0), EAFNOSUPPORT);
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0);
	FAILS(socketpair(AF_TIPC, SOCK_SEQPACKET, 0, pair), EAFNOSUPPORT);
	/* The kernel looks at 32 bits of the family; so must the filter. */
	FAILS(syscall(SYS_socket, 0x500000000ul | AF_VSOCK, SOCK_STREAM, 0), EAFNOSUPPORT);
	MUST(syscall(SYS_socket, 0x500000000ul | AF_INET, SOCK_STREAM, 0) >= 0);
	return 0;
}

static int calls(void)
{
	char buf[256] = {0};
	int one = 1;

	FAILS(syscall(SYS_bpf, 0, buf, sizeof(buf)), EPERM);
	FAILS(syscall(SYS_io_uring_setup, 8, buf), ENOSYS);
	FAILS(syscall(SYS_io_uring_enter, 0, 0, 0, 0, NULL, 0), ENOSYS);
	FAILS(mount("none", "/mnt", "tmpfs", 0, NULL), EPERM);
	FAILS(umount2("/proc", MNT_DETACH), EPERM);
	FAILS(syscall(SYS_fsopen, "tmpfs", 0), EPERM);
	FAILS(syscall(SYS_open_tree, AT_FDCWD, "/", 0), EPERM);
	FAILS(syscall(SYS_mount_setattr, AT_FDCWD, "/", 0, NULL, 0), EPERM);
	FAILS(syscall(467, AT_FDCWD, "/", 0, NULL, 0), EPERM);
	FAILS(setns(0, 0), EPERM);
	FAILS(syscall(SYS_keyctl, 0, 0, 0, 0, 0), EPERM);
	FAILS(syscall(SYS_add_key, "user", "a", "b", 1, 0), EPERM);
	FAILS(syscall(SYS_perf_event_open, buf, 0, -1, -1, 0), EPERM);
	FAILS(syscall(SYS_pidfd_getfd, 0, 0, 0), EPERM);
	FAILS(syscall(SYS_open_by_handle_at, AT_FDCWD, buf, 0), EPERM);
	FAILS(syscall(SYS_init_module, buf, 1, ""), EPERM);
	FAILS(ioctl(0, TIOCSTI, "x"), EPERM);
	FAILS(syscall(SYS_ioctl, 0, 0x700000000ul | TIOCSTI, "x"), EPERM);
	FAILS(ioctl(0, TIOCLINUX, "x"), EPERM);
	FAILS(ioctl(0, TUNSETIFF, &one), EPERM);
	return 0;
}

static int foreign(void)
{
#ifdef __x86_64__
	long rc;

	__asm__ volatile("int $0x80" : "=a"(rc) : "a"(20) : "memory"); /* getpid of i386 */
	return rc > 0 ? 99 : 98;
#else
	return 98;
#endif
}

static int x32(void)
{
	return syscall(0x40000000 | SYS_getpid) > 0 ? 99 : 98;
}

static int ordinary(void)
{
	char a[48], b[48];
	pid_t child;
	int status, fd;

	(void)snprintf(a, sizeof(a), "/tmp/sandbox-a-%d", (int)getpid());
	(void)snprintf(b, sizeof(b), "/tmp/sandbox-b-%d", (int)getpid());
	MUST(syscall(SYS_close, 3) < 0 && errno == EBADF); /* nothing above 2 is left */
	MUST(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	child = fork();
	MUST(child >= 0);
	if (child == 0) {
		(void)ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		(void)raise(SIGSTOP);
		_exit(7);
	}
	MUST(waitpid(child, &status, 0) == child && WIFSTOPPED(status)); /* a debugger's own child */
	MUST(ptrace(PTRACE_CONT, child, NULL, NULL) == 0);
	MUST(waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
	MUST(mkdir(a, 0700) == 0 && mkdir(b, 0700) == 0);
	(void)strcat(a, "/f");
	fd = open(a, O_CREAT | O_WRONLY, 0600);
	MUST(fd >= 0);
	(void)strcat(b, "/f");
	MUST(rename(a, b) == 0 && link(b, a) == 0); /* between directories: Landlock's REFER */
	MUST(!unlink(a) && !unlink(b));
	*strrchr(a, '/') = *strrchr(b, '/') = '\0';
	MUST(!rmdir(a) && !rmdir(b));
	return 0;
}

static uint64_t status_caps(const char *name)
{
	char line[256];
	uint64_t v = UINT64_MAX;
	FILE *f = fopen("/proc/self/status", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			v = strtoull(line + strlen(name) + 1, NULL, 16);
	if (f)
		(void)fclose(f);
	return v;
}

static int root_caps(void)
{
	MUST((status_caps("CapPrm") & ~run_sandbox_kept_caps()) == 0);
	MUST((status_caps("CapBnd") & ~run_sandbox_kept_caps()) == 0);
	MUST(status_caps("CapInh") == 0 && status_caps("CapAmb") == 0);
	MUST(status_caps("CapEff") == status_caps("CapPrm") && status_caps("CapPrm") != 0);
	return 0;
}

static int caps_after_exec(void)
{
	char want[80];

	(void)snprintf(want, sizeof(want), "%016llx", (unsigned long long)run_sandbox_kept_caps());
	execl("/bin/sh", "sh", "-c",
	      "while read -r k v; do case $k in CapPrm:|CapEff:|CapBnd:) "
	      "[ $((0x$v & ~0x$0)) = 0 ] || exit 97;; esac; done < /proc/self/status", want, NULL);
	return 96;
}

static int user_caps(void)
{
	MUST(status_caps("CapPrm") == 0 && status_caps("CapEff") == 0 && status_caps("CapInh") == 0);
	return 0;
}

static int root_files(void)
{
	char path[300], line[512], point[256], type[32];
	FILE *f = fopen("/proc/self/mountinfo", "r");

	MUST(f);
	while (fgets(line, sizeof(line), f)) {
		if (run_mounts_parse(line, point, sizeof(point), type))
			continue;
		if (strncmp(type, "cgroup", 6))
			continue;
		(void)snprintf(path, sizeof(path), "%s/cgroup.procs", point);
		FAILS(open(path, O_WRONLY), EROFS);
		(void)snprintf(path, sizeof(path), "%s/escape", point);
		MUST(mkdir(path, 0700) < 0 && errno == EROFS);
	}
	(void)fclose(f);
	FAILS(open("/proc/sys/kernel/core_pattern", O_WRONLY), EROFS);
	MUST(access("/proc/sysrq-trigger", F_OK) || open("/proc/sysrq-trigger", O_WRONLY) < 0);
	FAILS(open("/sys/kernel/uevent_helper", O_WRONLY | O_CREAT, 0600), EROFS);
	(void)snprintf(path, sizeof(path), "%s/vault.key", state_dir);
	FAILS(open(path, O_RDONLY), ENOENT);
	(void)snprintf(path, sizeof(path), "%s/new", state_dir);
	FAILS(open(path, O_WRONLY | O_CREAT, 0600), EROFS);
	(void)snprintf(path, sizeof(path), "%s/control", run_dir);
	FAILS(open(path, O_RDONLY), ENOENT);
	(void)snprintf(path, sizeof(path), "%s/ca.pem", trust_dir);
	MUST(open(path, O_RDONLY) >= 0);
	FAILS(open(path, O_WRONLY), EROFS);
	return 0;
}

static pid_t outsider;

static int tracing(void)
{
	char path[64], byte;
	struct iovec iov = {&byte, 1};

	FAILS(ptrace(PTRACE_ATTACH, outsider, NULL, NULL), EPERM);
	FAILS(process_vm_readv(outsider, &iov, 1, &iov, 1, 0), EPERM);
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", outsider);
	FAILS(open(path, O_RDWR), EACCES);
	(void)snprintf(path, sizeof(path), "/proc/%d/root/proc", outsider);
	MUST(open(path, O_RDONLY) < 0);
	return 0;
}

static void each(int (*fn)(void))
{
	assert_int_equal(inside(0, fn), 0);
	assert_int_equal(inside(NOBODY, fn), 0);
}

static void test_families(void **s)
{
	(void)s;
	each(families);
}

static void test_calls(void **s)
{
	(void)s;
	each(calls);
}

static void test_ordinary(void **s)
{
	(void)s;
	each(ordinary);
}

#ifdef __x86_64__
/* Outside of any sandbox: is int $0x80 a system call on this machine at all. */
static bool foreign_served(void)
{
	int status = -1;
	pid_t pid = fork();

	if (pid == 0) {
		(void)signal(SIGSEGV, SIG_DFL);
		_exit(foreign());
	}
	return pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status);
}
#endif

static void test_foreign(void **s)
{
	(void)s;
#ifdef __x86_64__
	assert_int_equal(inside(NOBODY, x32), 1000 + SIGSYS);
	if (!foreign_served())
		skip_because("this machine serves no 32-bit system calls: int $0x80 is a fault");
	assert_int_equal(inside(NOBODY, foreign), 1000 + SIGSYS);
#else
	(void)foreign;
	(void)x32;
	skip_because("there is no foreign ABI on this machine");
#endif
}

static void test_caps(void **s)
{
	(void)s;
	assert_int_equal(inside(NOBODY, user_caps), 0);
	assert_int_equal(inside(0, root_caps), 0);
	assert_int_equal(inside(0, caps_after_exec), 0);
}

static void test_root_files(void **s)
{
	(void)s;
	assert_int_equal(inside(0, root_files), 0);
}

static void trace_as(uid_t uid)
{
	outsider = fork();
	if (outsider == 0) {
		if (uid && (setgid(uid) || setuid(uid)))
			_exit(1);
		(void)prctl(PR_SET_DUMPABLE, 1, 0, 0, 0);
		for (;;)
			(void)pause();
	}
	(void)usleep(50000);
	assert_int_equal(inside(uid, tracing), 0);
	(void)kill(outsider, SIGKILL);
	assert_int_equal(waitpid(outsider, NULL, 0), outsider);
}

static void test_tracing(void **s)
{
	(void)s;
	if (!run_sandbox_can_scope())
		skip_because("this kernel has no Landlock");
	if (geteuid() == 0)
		trace_as(NOBODY);
	trace_as(geteuid());
}

/* Directories that cannot be hidden end the child; so does one that is no absolute path. */
static int never(void)
{
	return 0;
}

static void test_hide_refused(void **s)
{
	static const struct run_hide bad[] = {
		{"/", "/run", "/run/trust"},
		{"/tmp", "/", "/tmp"},
		{"/tmp", "/tmp", "/tmp"}, /* the trust files need a directory of their own */
		{"/nowhere/state", "/nowhere/run", "/nowhere/run/trust"},
	};
	struct run_hide good = hide;

	(void)s;
	if (geteuid() != 0)
		skip_because("needs root");
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		hide = bad[i];
		assert_int_equal(inside(0, never), 251);
	}
	hide = good;
}

static void test_hide_nested(void **s)
{
	struct run_hide good = hide;
	char inner[80];

	(void)s;
	(void)snprintf(inner, sizeof(inner), "%s/state", run_dir);
	assert_int_equal(mkdir(inner, 0755), 0);
	hide = (struct run_hide){inner, run_dir, trust_dir};
	assert_int_equal(inside(0, never), 0);
	hide = (struct run_hide){run_dir, trust_dir, trust_dir};
	assert_int_equal(inside(0, never), 0);
	hide = good;
}

static void test_stdio(void **s)
{
	struct err e = {""};
	int saved = dup(0), pair[2], tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int dir = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	(void)s;
	assert_int_equal(run_sandbox_stdio(&e), 0);
	assert_true(dup2(tcp, 0) == 0);
	assert_true(run_sandbox_stdio(&e) < 0);
	assert_non_null(strstr(e.text, "network socket"));
	assert_true(dup2(dir, 0) == 0);
	assert_true(run_sandbox_stdio(&e) < 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_true(dup2(pair[0], 0) == 0);
	assert_int_equal(run_sandbox_stdio(&e), 0);
	assert_true(dup2(saved, 0) == 0);
	close(saved);
	close(tcp);
	close(dir);
	close(pair[0]);
	close(pair[1]);
}

static void test_mountinfo(void **s)
{
	static const char good[] = "36 35 98:0 /mnt1 /a\\040b\\134c rw,noatime master:1 - ext3 /dev/root rw\n";
	char point[64], type[32], cut[sizeof(good)];

	(void)s;
	assert_int_equal(run_mounts_parse(good, point, sizeof(point), type), 0);
	assert_string_equal(point, "/a b\\c");
	assert_string_equal(type, "ext3");
	assert_true(run_mounts_parse(good, point, 6, type) < 0);
	for (size_t n = 0; n < strcspn(good, "-") + 3; n++) {
		memcpy(cut, good, n);
		cut[n] = '\0';
		assert_true(run_mounts_parse(cut, point, sizeof(point), type) < 0);
	}
	assert_true(run_mounts_parse("1 2 3 4 rel x - ext4 a b", point, sizeof(point), type) < 0);
	assert_true(run_mounts_parse("1 2 3 4 /a\\09 x - ext4 a b", point, sizeof(point), type) < 0);
	assert_true(run_mounts_parse("1 2 3 4 /a\\000 x - ext4 a b", point, sizeof(point), type) < 0);
	assert_true(run_mounts_parse("1 2 - ext4 /dev / x", point, sizeof(point), type) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_families), cmocka_unit_test(test_calls),
		cmocka_unit_test(test_ordinary), cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_caps),	 cmocka_unit_test(test_root_files),
		cmocka_unit_test(test_tracing),	 cmocka_unit_test(test_hide_refused),
		cmocka_unit_test(test_hide_nested), cmocka_unit_test(test_stdio),
		cmocka_unit_test(test_mountinfo),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
