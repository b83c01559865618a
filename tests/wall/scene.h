/* scene.h: what the stress tests and the measurements stand on: the real programs, attached by enforce.c to scratch
 * cgroups, in network namespaces of their own with no way out.
 *
 * scene_main() forks the work into a mount namespace of its own and removes the cgroups when it is over, however it
 * ended; bpffs, pins and namespaces die with it. Each side is a guard and a namespace; with `outside` it has a veth
 * (10.9.0.1, fd09::1) to a second namespace (10.9.0.2, fd09::2), which is its default route and the end of the world.
 * Everything here ends the program on failure: there is nothing to go on with.
 */
#ifndef SCENE_H
#define SCENE_H

#include "../../bpf/egress.h"
#include "cgroup.h"
#include "enforce.h"
#include "log.h"
#include "netns.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#define SCENE_PROXY 15001
#define SCENE_DNS   15053
#define SCENE_SIDES 2

struct scene_side {
	pid_t pid[2]; /* keep the namespaces: inside, outside */
	int inside, outside;
	uint64_t cookie;
	struct netns_sockets tcp;
	int cgroup;
	struct eg_guard guard;
};

static struct {
	struct config c;
	int listen;
	struct enforce *en;
	struct scene_side side[SCENE_SIDES];
	pid_t worker;
} scene;

static inline _Noreturn void scene_die(int line, const char *what)
{
	(void)fprintf(stderr, "# scene, line %d: %s (errno %d, %s)\n", line, what, errno,
		      strerror(errno));
	_exit(1);
}
#define SCENE_MUST(cond)                                                                           \
	do {                                                                                       \
		if (!(cond))                                                                       \
			scene_die(__LINE__, #cond);                                                \
	} while (0)

static inline uint64_t scene_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* A number from the environment, for runs that are longer or shorter than the usual one. */
static inline unsigned long scene_number(const char *name, unsigned long usual)
{
	const char *text = getenv(name);

	return text && *text ? strtoul(text, NULL, 10) : usual;
}

static inline int scene_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* ---- agents ---- */

/* A process inside the guard and its namespace; fn's result is its exit status. */
static inline pid_t scene_agent(const struct scene_side *s, int (*fn)(void *), void *arg)
{
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	SCENE_MUST(pid >= 0);
	if (pid)
		return pid;
	SCENE_MUST(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	SCENE_MUST(cgroup_move(s->cgroup, getpid(), NULL) == 0);
	SCENE_MUST(setns(s->inside, CLONE_NEWNET) == 0);
	_exit(fn(arg));
}

static inline int scene_record(int fd, struct eg_record *r)
{
	socklen_t len = sizeof(*r);

	memset(r, 0, sizeof(*r));
	if (getsockopt(fd, SOL_IP, EG_SO_RECORD, r, &len) != 0)
		return -errno;
	return len == sizeof(*r) ? 0 : -EPROTO;
}

static inline uint64_t scene_pending(const struct scene_side *s)
{
	struct eg_guard g;

	SCENE_MUST(enforce_get(scene.en, s->guard.id, &g) == 0);
	return g.pending;
}

/* Waits: a closed socket's last callback may come after its process is gone. */
static inline bool scene_pending_is(const struct scene_side *s, uint64_t want)
{
	for (int i = 0; i < 150; i++) {
		if (scene_pending(s) == want)
			return true;
		(void)poll(NULL, 0, 20);
	}
	return false;
}

static inline struct sockaddr_in scene_v4(const char *text, uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};

	SCENE_MUST(inet_pton(AF_INET, text, &to.sin_addr) == 1);
	return to;
}

/* ---- namespaces ---- */

static inline pid_t scene_netns(int *ret)
{
	int pipes[2];
	struct ifreq lo = {.ifr_flags = IFF_UP};
	struct err e = {};
	pid_t pid;
	char c;

	SCENE_MUST(pipe2(pipes, O_CLOEXEC) == 0);
	(void)fflush(NULL);
	pid = fork();
	SCENE_MUST(pid >= 0);
	if (pid == 0) {
		int fd;

		SCENE_MUST(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
		SCENE_MUST(unshare(CLONE_NEWNET) == 0);
		fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		(void)strcpy(lo.ifr_name, "lo");
		SCENE_MUST(fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0);
		SCENE_MUST(write(pipes[1], "n", 1) == 1);
		SCENE_MUST(close_range(3, ~0u, 0) ==
			   0); /* or it would hold the links of the other guard */
		for (;;)
			(void)pause();
	}
	SCENE_MUST(read(pipes[0], &c, 1) == 1);
	SCENE_MUST(netns_of(pid, ret, &e) == 0);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	return pid;
}

static inline void scene_ip(int netns, char *text)
{
	char *words[24], *save = NULL;
	size_t n = 0;
	pid_t pid = fork();

	SCENE_MUST(pid >= 0);
	if (pid == 0) {
		SCENE_MUST(setns(netns, CLONE_NEWNET) == 0);
		for (char *w = strtok_r(text, " ", &save); w && n < 23;
		     w = strtok_r(NULL, " ", &save))
			words[n++] = w;
		words[n] = NULL;
		(void)execvp(words[0], words);
		scene_die(__LINE__, "ip");
	}
	SCENE_MUST(scene_wait(pid) == 0);
}

static inline void scene_outside(struct scene_side *s)
{
	char text[128];
	static const char *const in[] = {"ip addr add 10.9.0.1/24 dev v0",
					 "ip addr add fd09::1/64 dev v0 nodad", "ip link set v0 up",
					 "ip route add default via 10.9.0.2",
					 "ip -6 route add default via fd09::2"};
	static const char *const out[] = {"ip addr add 10.9.0.2/24 dev v1",
					  "ip addr add fd09::2/64 dev v1 nodad",
					  "ip link set v1 up"};

	s->pid[1] = scene_netns(&s->outside);
	(void)snprintf(text, sizeof(text), "ip link add v0 type veth peer name v1 netns %d",
		       (int)s->pid[1]);
	scene_ip(s->inside, text);
	for (size_t i = 0; i < ARRAY_SIZE(out); i++)
		scene_ip(s->outside, strcpy(text, out[i]));
	for (size_t i = 0; i < ARRAY_SIZE(in); i++)
		scene_ip(s->inside, strcpy(text, in[i]));
}

static inline void scene_make(struct scene_side *s, const char *name, bool outside)
{
	struct err e = {};
	uint64_t id;
	int rc;

	s->outside = -1;
	s->pid[0] = scene_netns(&s->inside);
	if (outside)
		scene_outside(s);
	rc = netns_sockets(s->inside, scene.listen, SCENE_PROXY, false, &s->tcp, &e);
	if (!rc)
		rc = cgroup_make(&scene.c, name, &s->cgroup, &id, &e);
	s->cookie = s->tcp.cookie;
	s->guard = (struct eg_guard){
		.id = id, .flags = EG_GUARD_OPEN, .proxy_port = SCENE_PROXY, .dns_port = SCENE_DNS};
	if (!rc)
		rc = enforce_attach(scene.en, s->cgroup, &s->guard, &e);
	if (rc)
		scene_die(__LINE__, e.text);
}

/* A socket of a namespace, from no guard. */
static inline int scene_socket_in(int netns, int family, int type, int proto)
{
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), fd;

	SCENE_MUST(here >= 0 && setns(netns, CLONE_NEWNET) == 0);
	fd = socket(family, type | SOCK_CLOEXEC, proto);
	SCENE_MUST(setns(here, CLONE_NEWNET) == 0);
	(void)close(here);
	SCENE_MUST(fd >= 0);
	return fd;
}

/* ---- from the start to the end ---- */

static inline void scene_open(bool outside)
{
	struct err e = {};

	if (cgroup_prepare(&scene.c, &scene.listen, &e) ||
	    enforce_open(&scene.c, scene.listen, &scene.en, &e))
		scene_die(__LINE__, e.text);
	scene_make(&scene.side[0], "a", outside);
	scene_make(&scene.side[1], "b", outside);
}

/* 0, or what would not go. */
static inline int scene_close(void)
{
	int rc = 0;

	for (int i = 0; i < SCENE_SIDES; i++) {
		rc |= enforce_detach(scene.en, scene.side[i].guard.id, NULL);
		netns_sockets_done(&scene.side[i].tcp);
		rc |= cgroup_remove(&scene.c, i ? "b" : "a", NULL);
		for (int j = 0; j < 2; j++)
			if (scene.side[i].pid[j] > 0)
				(void)kill(scene.side[i].pid[j], SIGKILL);
	}
	rc |= enforce_remove(scene.en);
	scene.en = enforce_close(scene.en);
	cgroup_clear(&scene.c);
	return rc;
}

static inline void scene_on_signal(int sig)
{
	(void)sig;
	if (scene.worker > 0)
		(void)kill(scene.worker, SIGKILL);
}

/* Children that the worker left die with it (PDEATHSIG); their cgroups are empty a moment later. */
static inline void scene_clean(char *dir)
{
	static const char *const below[] = {"a", "b", "c", "listen", ""};
	char path[CONFIG_PATH_MAX * 2];

	for (int tries = 0; tries < 100 && access(scene.c.cgroup_root, F_OK) == 0; tries++) {
		for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
			(void)snprintf(path, sizeof(path), "%s/%s", scene.c.cgroup_root, below[i]);
			(void)rmdir(path);
		}
		(void)poll(NULL, 0, tries ? 20 : 0);
	}
	(void)rmdir(scene.c.bpffs);
	(void)rmdir(dir);
}

static inline int scene_work(int (*work)(void))
{
	int rc;

	(void)signal(SIGINT, SIG_DFL);
	(void)signal(SIGTERM, SIG_DFL);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return 1;
	rc = work();
	(void)fflush(NULL);
	return rc;
}

/* work() in a process of its own, everything of it removed afterwards; its exit status. 77: cannot be done here. */
static inline int scene_main(int (*work)(void))
{
	char dir[] = "/tmp/agentsecrets-wall-XXXXXX", mount_point[CONFIG_PATH_MAX - 40];
	struct err e = {};
	int status;

	log_init("test", getenv("TEST_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	if (geteuid() != 0 || cgroup_mount(mount_point, sizeof(mount_point), &e)) {
		(void)printf("1..0 # SKIP needs root and cgroup v2\n");
		return 77;
	}
	SCENE_MUST(mkdtemp(dir));
	(void)snprintf(scene.c.cgroup_root, sizeof(scene.c.cgroup_root), "%s/agentsecrets-wall-%d",
		       mount_point, (int)getpid());
	(void)snprintf(scene.c.bpffs, sizeof(scene.c.bpffs), "%s/bpf", dir);
	(void)signal(SIGINT, scene_on_signal);
	(void)signal(SIGTERM, scene_on_signal);
	(void)fflush(NULL);
	scene.worker = fork();
	SCENE_MUST(scene.worker >= 0);
	if (scene.worker == 0)
		_exit(scene_work(work));
	status = scene_wait(scene.worker);
	scene_clean(dir);
	return status;
}

#endif
