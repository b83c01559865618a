/* ways_process.c: other processes as carriers: unix sockets, passed descriptors, tracing. */
#include "escape.h"

#include <fcntl.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

static int unix_dial(const struct target *t, const char *arg)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	bool abstract = strcmp(arg, "abstract") == 0;
	auto_close int fd = way_socket(AF_UNIX,
				       strcmp(arg, "dgram") == 0 ? SOCK_DGRAM : SOCK_STREAM, 0);
	socklen_t len;
	int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s%s/%s", abstract ? "@" : "", t->dir,
			 arg);

	len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + !abstract);
	if (abstract)
		sa.sun_path[0] = '\0';
	if (fd < 0)
		return -1;
	if (connect(fd, (struct sockaddr *)&sa, len) < 0) {
		(void)step_failed("connect");
		return -1;
	}
	return take_fd(&fd);
}

static int unix_helper(const struct target *t, const char *arg)
{
	auto_close int fd = unix_dial(t, arg);
	struct errand e;

	if (fd < 0)
		return WAY_REFUSED;
	way_errand(t, &e);
	return send(fd, &e, sizeof(e), MSG_NOSIGNAL) < 0 ? step_failed("send") : WAY_SENT;
}

/* Asks at the other end for a socket that was made outside, and uses it. */
static int with_passed(const struct target *t, int fd)
{
	char byte = 's';
	struct iovec iov = {&byte, 1};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c;
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)};
	struct dest d = target_dest(t, "4", t->port);
	auto_close int got = -1;

	if (send(fd, &byte, 1, MSG_NOSIGNAL) < 0)
		return step_failed("send");
	if (!way_ready(fd, POLLIN, 500) || recvmsg(fd, &m, MSG_CMSG_CLOEXEC) < 0)
		return step_failed("recvmsg");
	if (m.msg_controllen < sizeof(struct cmsghdr) || c.head.cmsg_type != SCM_RIGHTS)
		return step_said("recvmsg: no descriptor came");
	memcpy(&got, CMSG_DATA(&c.head), sizeof(got));
	if (sendto(got, t->marker, ESCAPE_MARKER, 0, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("sendto");
	return WAY_SENT;
}

static int scm_fresh(const struct target *t, const char *arg)
{
	auto_close int fd = unix_dial(t, arg);

	return fd < 0 ? WAY_REFUSED : with_passed(t, fd);
}

/* Standard input is a unix socket whose other end was never in the guard. */
static int scm_inherited(const struct target *t, const char *arg)
{
	struct stat st;

	(void)arg;
	if (fstat(0, &st) < 0 || !S_ISSOCK(st.st_mode))
		return step_said("standard input is no socket");
	return with_passed(t, 0);
}

/* ---- tracing a process outside ---- */

static int take_descriptor(const struct target *t, const char *arg)
{
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, t->helper, 0);
	struct dest d = target_dest(t, "4", t->port);
	auto_close int got = -1;

	(void)arg;
	if (pidfd < 0)
		return step_failed("pidfd_open");
	got = (int)syscall(SYS_pidfd_getfd, pidfd, HELPER_FD, 0);
	if (got < 0)
		return step_failed("pidfd_getfd");
	if (sendto(got, t->marker, ESCAPE_MARKER, 0, (struct sockaddr *)&d.ss, d.len) < 0)
		return step_failed("sendto");
	return WAY_SENT;
}

static uint64_t errand_at(const struct target *t)
{
	return t->outbox + t->way * sizeof(struct errand);
}

static int vm_write(const struct target *t, const char *arg)
{
	struct errand e;
	struct iovec here = {&e, sizeof(e)}, there = {(void *)(uintptr_t)errand_at(t), sizeof(e)};

	(void)arg;
	way_errand(t, &e);
	if (process_vm_writev(t->helper, &here, 1, &there, 1, 0) < 0)
		return step_failed("process_vm_writev");
	return WAY_SENT;
}

static int proc_mem(const struct target *t, const char *arg)
{
	auto_close int fd = -1;
	struct errand e;
	char path[64];

	(void)arg;
	way_errand(t, &e);
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)t->helper);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return step_failed("open /proc/PID/mem");
	return pwrite(fd, &e, sizeof(e), (off_t)errand_at(t)) < 0 ? step_failed("pwrite")
								  : WAY_SENT;
}

static int trace(const struct target *t, const char *arg)
{
	struct errand e;
	long word;

	(void)arg;
	way_errand(t, &e);
	if (ptrace(PTRACE_ATTACH, t->helper, NULL, NULL) < 0)
		return step_failed("ptrace attach");
	if (waitpid(t->helper, NULL, __WALL) < 0)
		return step_failed("wait");
	/* `full` stands in the first word: last. */
	for (size_t at = sizeof(e) - sizeof(word);; at -= sizeof(word)) {
		memcpy(&word, (char *)&e + at, sizeof(word));
		(void)ptrace(PTRACE_POKEDATA, t->helper, (void *)(uintptr_t)(errand_at(t) + at),
			     (void *)word);
		if (at == 0)
			break;
	}
	(void)ptrace(PTRACE_DETACH, t->helper, NULL, NULL);
	return WAY_SENT;
}
_Static_assert(sizeof(struct errand) % sizeof(long) == 0, "poked by words");

const struct way ways_process[] = {
	{.name = "unix-path", .run = unix_helper, .arg = "stream"},
	{.name = "unix-abstract", .run = unix_helper, .arg = "abstract"},
	{.name = "unix-dgram", .run = unix_helper, .arg = "dgram"},
	{.name = "scm-rights-fresh", .run = scm_fresh, .arg = "stream"},
	{.name = "scm-rights-inherited", .run = scm_inherited},
	{.name = "pidfd-getfd", .run = take_descriptor},
	{.name = "process-vm-writev", .run = vm_write},
	{.name = "proc-mem", .run = proc_mem},
	{.name = "ptrace", .run = trace},
	{0},
};
