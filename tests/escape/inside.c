/* inside.c: what stands in a process's life before it tries the ways. Each ends in an exec.
 *
 *	escape before MODE -- COMMAND...		sockets that exist already
 *	escape await GATE -- COMMAND...		until somebody has put it under guard
 *	escape enter CONTROL WORKSPACE -- COMMAND...	into a guard by the daemon's own request, as `run` does, but
 *							without what `run` adds: no filter, no private mounts
 */
#include "escape.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/un.h>

#ifndef CAP_BPF
#define CAP_BPF 39
#endif

static int die(const char *what)
{
	(void)fprintf(stderr, "escape: %s: %s\n", what, strerror(errno));
	return 2;
}

static int go(char **argv)
{
	(void)execvp(argv[0], argv);
	return die(argv[0]);
}

static int keep(int fd, int at)
{
	if (fd < 0 || dup2(fd, at) < 0)
		return -1;
	(void)close(fd);
	return 0;
}

/* Hands out a socket of its own for each byte that arrives; ends when nobody is left at the other side. */
static void hand_out(int fd)
{
	char byte;

	while (read(fd, &byte, 1) == 1) {
		auto_close int s = socket(AF_INET, SOCK_DGRAM, 0);
		struct iovec iov = {&byte, 1};
		union {
			struct cmsghdr head;
			char room[CMSG_SPACE(sizeof(int))];
		} c = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
				.cmsg_level = SOL_SOCKET,
				.cmsg_type = SCM_RIGHTS}};
		struct msghdr m = {.msg_iov = &iov,
				   .msg_iovlen = 1,
				   .msg_control = &c,
				   .msg_controllen = sizeof(c)};

		memcpy(CMSG_DATA(&c.head), &s, sizeof(s));
		if (sendmsg(fd, &m, MSG_NOSIGNAL) < 0)
			return;
	}
}

static int connected(unsigned int mode)
{
	const struct target t = {.mode = mode,
				 .way = ESCAPE_SETUP_WAY,
				 .port = (uint16_t)(10000 + 256 * mode + ESCAPE_SETUP_WAY)};
	struct dest d = target_dest(&t, "4", t.port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd >= 0 && connect(fd, (struct sockaddr *)&d.ss, d.len) == 0 ? fd : -1;
}

static int listening(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	return fd >= 0 && listen(fd, 4) == 0 ? fd : -1;
}

int inside_before(int argc, char **argv)
{
	int pair[2];
	pid_t pid;

	if (argc < 4 || strcmp(argv[2], "--") != 0)
		return die("before MODE -- COMMAND");
	if (keep(socket(AF_INET, SOCK_DGRAM, 0), BEFORE_UDP4) < 0 ||
	    keep(socket(AF_INET6, SOCK_DGRAM, 0), BEFORE_UDP6) < 0 ||
	    keep(socket(AF_INET, SOCK_STREAM, 0), BEFORE_TCP4) < 0 ||
	    keep(socket(AF_INET6, SOCK_STREAM, 0), BEFORE_TCP6) < 0 ||
	    keep(connected((unsigned int)atoi(argv[1])), BEFORE_CONNECTED) < 0 ||
	    keep(listening(), BEFORE_LISTENER) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return die("sockets from before");
	pid = fork();
	if (pid < 0)
		return die("fork");
	if (pid == 0) {
		(void)dup2(pair[1], 3);
		(void)close(0);
		(void)close(1);
		(void)syscall(SYS_close_range, 4, ~0u, 0);
		hand_out(3);
		_exit(0);
	}
	if (dup2(pair[0], 0) < 0 || close(pair[0]) < 0 || close(pair[1]) < 0)
		return die("dup2");
	return go(argv + 3);
}

/* Those that README and design call the base: without them nothing at L1 is promised to hold. */
static int drop_base(void)
{
	static const unsigned int base[] = {CAP_SYS_ADMIN, CAP_NET_ADMIN,  CAP_NET_RAW,
					    CAP_BPF,       CAP_SYS_PTRACE, CAP_SYS_MODULE};
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &head, d) < 0)
		return -1;
	for (size_t i = 0; i < sizeof(base) / sizeof(base[0]); i++) {
		if (prctl(PR_CAPBSET_READ, base[i], 0, 0, 0) == 1 && geteuid() == 0 &&
		    prctl(PR_CAPBSET_DROP, base[i], 0, 0, 0) < 0)
			return -1;
		d[base[i] / 32].permitted &= ~(1u << (base[i] % 32));
	}
	for (int i = 0; i < 2; i++) {
		d[i].effective = d[i].permitted;
		d[i].inheritable = 0;
	}
	return (int)syscall(SYS_capset, &head, d);
}

static int ask(const char *control, const char *workspace, char *answer, size_t cap)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	size_t got = 0;
	ssize_t n;

	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s", control);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -1;
	if (dprintf(fd, "{\"op\":\"run.enter\",\"workspace\":\"%s\"}\n", workspace) < 0)
		return -1;
	while (got + 1 < cap && (n = read(fd, answer + got, cap - 1 - got)) > 0)
		got += (size_t)n;
	answer[got] = '\0';
	return 0;
}

/* Says where it waits (GATE.waiting holds its pid) and goes on when GATE is there. */
int inside_await(int argc, char **argv)
{
	char fresh[512], waiting[512];
	FILE *f;

	if (argc < 4 || strcmp(argv[2], "--") != 0)
		return die("await GATE -- COMMAND");
	(void)snprintf(fresh, sizeof(fresh), "%s.new", argv[1]);
	(void)snprintf(waiting, sizeof(waiting), "%s.waiting", argv[1]);
	f = fopen(fresh, "we");
	if (!f || fprintf(f, "%d\n", (int)getpid()) < 0 || fclose(f) != 0 ||
	    rename(fresh, waiting) != 0)
		return die(waiting);
	for (int i = 0; i < 6000 && access(argv[1], F_OK) != 0; i++)
		(void)usleep(10000);
	if (drop_base() < 0)
		return die("dropping capabilities");
	return go(argv + 3);
}

int inside_enter(int argc, char **argv)
{
	char answer[4096];

	if (argc < 5 || strcmp(argv[3], "--") != 0)
		return die("enter CONTROL WORKSPACE -- COMMAND");
	if (ask(argv[1], argv[2], answer, sizeof(answer)) < 0)
		return die("the control socket");
	if (!strstr(answer, "\"ok\":true") && !strstr(answer, "\"ok\": true")) {
		(void)fprintf(stderr, "escape: run.enter: %s", answer);
		return 2;
	}
	if (drop_base() < 0)
		return die("dropping capabilities");
	return go(argv + 4);
}
