/* test_levels.c: levels L2 and L3 against real processes: unix sockets, and where the kernel runs LSM programs, all that
 * they refuse.
 *
 * Root only. As in test_enforce.c a supervisor forks the tests into a mount namespace of their own and removes the
 * cgroups. "Outside" is the test process itself; agents are forked children in the guard `a` (or `b`, another's), as
 * uid 65534 unless the test is about root. What is not in force on this kernel is said, and only then left out.
 */
#include "../../bpf/egress.h"
#include "cgroup.h"
#include "doctor.h"
#include "enforce.h"
#include "log.h"

#include <assert.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/sched.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/wait.h>

#include <cmocka.h>

#define FLIPS 3000 /* connects while a symbolic link is turned back and forth */

struct side {
	int cgroup;
	struct eg_guard guard;
};

static struct {
	struct config c;
	char root[CONFIG_PATH_MAX], dir[64];
	int listen;
	struct enforce *en;
	struct side a, b;
	size_t events;
	struct eg_event last;
} t;

static int broke(int line, const char *what)
{
	(void)fprintf(stderr, "# line %d: %s (errno %d, %s)\n", line, what, errno, strerror(errno));
	return 1;
}
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return broke(__LINE__, #cond);                                             \
	} while (0)
#define CHECK_ERRNO(call, want)                                                                    \
	do {                                                                                       \
		errno = 0;                                                                         \
		if ((call) >= 0 || errno != (want))                                                \
			return broke(__LINE__, #call);                                             \
	} while (0)

/* ---- agents ------------------------------------------------------------------------------------- */

static int agent_enter(int cgroup, bool root)
{
	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	CHECK(cgroup < 0 || cgroup_move(cgroup, getpid(), NULL) == 0);
	if (root)
		return 0;
	CHECK(setgroups(0, NULL) == 0);
	CHECK(setresgid(65534, 65534, 65534) == 0);
	CHECK(setresuid(65534, 65534, 65534) == 0);
	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0); /* another user forgets it */
	return 0;
}

static pid_t agent_start(int cgroup, bool root, int (*fn)(void *), void *arg)
{
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(agent_enter(cgroup, root) || fn(arg) ? 1 : 0);
	assert_true(pid > 0);
	return pid;
}

static int agent_wait(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int agent(int (*fn)(void *), void *arg)
{
	return agent_wait(agent_start(t.a.cgroup, false, fn, arg));
}

static int root_agent(int (*fn)(void *), void *arg)
{
	return agent_wait(agent_start(t.a.cgroup, true, fn, arg));
}

/* ---- unix sockets ------------------------------------------------------------------------------- */

struct name {
	struct sockaddr_un un;
	socklen_t len;
};

static struct name path_name(const char *file)
{
	struct name n = {.un.sun_family = AF_UNIX, .len = sizeof(n.un)};

	(void)snprintf(n.un.sun_path, sizeof(n.un.sun_path), "%s/%s", t.dir, file);
	return n;
}

/* The whole length that is asked for, zeros and all. */
static struct name abstract_name(const char *text, size_t len)
{
	struct name n = {.un.sun_family = AF_UNIX,
			 .len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + len)};

	assert(len < sizeof(n.un.sun_path));
	memcpy(n.un.sun_path + 1, text, strnlen(text, len));
	return n;
}

static int listener(int type, const struct name *n)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (const struct sockaddr *)&n->un, n->len) != 0 ||
	    (type != SOCK_DGRAM && listen(fd, 64) != 0)) {
		own_close(&fd);
		return -1;
	}
	return fd;
}

static int dial(int type, const struct name *n)
{
	auto_close int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return connect(fd, (const struct sockaddr *)&n->un, n->len);
}

static int send_to(const struct name *n)
{
	auto_close int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return (int)sendto(fd, "ESCAPE", 6, MSG_NOSIGNAL, (const struct sockaddr *)&n->un, n->len);
}

static bool readable(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void on_event(void *ctx, const struct eg_event *ev)
{
	(void)ctx;
	t.events++;
	t.last = *ev;
}

static uint64_t refusals(void)
{
	uint64_t stats[EG_STAT_COUNT];

	assert_int_equal(enforce_stats(t.en, stats), 0);
	return stats[EG_STAT_DENIED + EG_REASON_UNIX];
}

static bool lsm(void)
{
	return enforce_level(t.en) >= 3;
}

static bool needs(uint32_t level)
{
	if (enforce_level(t.en) >= level)
		return true;
	(void)printf("# not on this kernel: L%u: %s\n", level, enforce_missing(t.en, level));
	return false;
}

/* ---- L2 ----------------------------------------------------------------------------------------- */

static int reach(void *arg)
{
	const struct name *n = arg;

	CHECK_ERRNO(dial(SOCK_STREAM, n), EPERM);
	CHECK_ERRNO(dial(SOCK_SEQPACKET, n), EPERM);
	CHECK_ERRNO(dial(SOCK_DGRAM, n), EPERM);
	CHECK_ERRNO(send_to(n), EPERM);
	return 0;
}

static int reach_stream(void *arg)
{
	CHECK_ERRNO(dial(SOCK_STREAM, arg), EPERM);
	return 0;
}

static int reach_dgram(void *arg)
{
	CHECK_ERRNO(dial(SOCK_DGRAM, arg), EPERM);
	CHECK_ERRNO(send_to(arg), EPERM);
	return 0;
}

/* Each name with a live outside socket of one type behind it; no byte and no connection arrives. */
static void unreachable(struct name n, const char *through)
{
	struct name as = through ? path_name(through) : n;
	auto_close int stream = listener(SOCK_STREAM, &n), dgram = -1;
	uint64_t before = refusals();

	assert_true(stream >= 0);
	if (n.un.sun_path[0])
		(void)chmod(n.un.sun_path, 0777);
	assert_int_equal(agent(reach_stream, &as), 0);
	assert_int_equal(root_agent(reach_stream, &as), 0);
	assert_false(readable(stream));
	own_close(&stream);
	if (n.un.sun_path[0])
		assert_int_equal(unlink(n.un.sun_path), 0);
	dgram = listener(SOCK_DGRAM, &n);
	assert_true(dgram >= 0);
	if (n.un.sun_path[0])
		(void)chmod(n.un.sun_path, 0777);
	assert_int_equal(agent(reach_dgram, &as), 0);
	assert_int_equal(root_agent(reach_dgram, &as), 0);
	assert_false(readable(dgram));
	assert_int_equal(refusals(), before + 6);
	if (n.un.sun_path[0])
		assert_int_equal(unlink(n.un.sun_path), 0);
}

static void outside(void **state)
{
	struct name link = path_name("link"), target = path_name("target");

	(void)state;
	if (!needs(2))
		return;
	unreachable(path_name("docker.sock"), NULL);
	unreachable(path_name("io.systemd.Resolve"), NULL);
	unreachable(abstract_name("agentsecrets-test-out", 21), NULL);
	unreachable(abstract_name("x", 1), NULL);
	unreachable(abstract_name("agentsecrets-test-padded", 107), NULL);
	unreachable(abstract_name("", 5), NULL);
	assert_int_equal(symlink(target.un.sun_path, link.un.sun_path), 0);
	unreachable(target, "link");
	assert_int_equal(unlink(link.un.sun_path), 0);
}

/* The refusal is told of: whose, which program, why. */
static void told(void **state)
{
	struct name n = abstract_name("agentsecrets-test-told", 22);
	auto_close int server = listener(SOCK_STREAM, &n);

	(void)state;
	if (!needs(2))
		return;
	(void)poll(NULL, 0, 1100); /* one event in a second */
	assert_int_equal(enforce_events(t.en, on_event, NULL), 0);
	t.events = 0;
	assert_int_equal(agent(reach_stream, &n), 0);
	assert_int_equal(enforce_events(t.en, on_event, NULL), 0);
	assert_int_equal(t.events, 1);
	assert_int_equal(t.last.reason, EG_REASON_UNIX);
	assert_int_equal(t.last.hook, lsm() ? EG_HOOK_LSM : EG_HOOK_UNIX);
	assert_int_equal(t.last.family, AF_UNIX);
	assert_int_equal(t.last.uid, 65534);
	assert_true(t.last.guard == t.a.guard.id && t.last.cgroup == t.a.guard.id &&
		    t.last.pid > 1);
}

/* What is not there is refused as what is there: with the LSM programs the kernel's own answer is given. */
static void absent(void **state)
{
	struct name n = path_name("nothing"),
		    abstract = abstract_name("agentsecrets-test-nothing", 25);

	(void)state;
	if (!needs(2) || lsm())
		return;
	assert_int_equal(agent(reach, &n), 0);
	assert_int_equal(agent(reach, &abstract), 0);
}

static int talk(void *arg)
{
	const struct name *n = arg;
	auto_close int server = listener(SOCK_STREAM, n), dgram = -1, fd = -1;
	char c = 0;

	CHECK(server >= 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	CHECK(connect(fd, (const struct sockaddr *)&n->un, n->len) == 0);
	CHECK(write(fd, "x", 1) == 1);
	own_close(&fd);
	fd = accept(server, NULL, NULL);
	CHECK(fd >= 0 && read(fd, &c, 1) == 1 && c == 'x');
	own_close(&server);
	if (n->un.sun_path[0])
		CHECK(unlink(n->un.sun_path) == 0);
	dgram = listener(SOCK_DGRAM, n);
	CHECK(dgram >= 0 && send_to(n) == 6);
	if (n->un.sun_path[0])
		CHECK(unlink(n->un.sun_path) == 0);
	return 0;
}

static int own_path(void *arg)
{
	auto_close int server = listener(SOCK_STREAM, arg);

	CHECK(server >= 0);
	CHECK_ERRNO(dial(SOCK_STREAM, arg), EPERM);
	return 0;
}

/* A process in a cgroup below the guard's reaches one in the guard's. */
static int talk_below(void *arg)
{
	auto_close int server = listener(SOCK_STREAM, arg), below = -1;
	int status;
	pid_t pid;

	CHECK(server >= 0 && mkdirat(t.a.cgroup, "below", 0755) == 0);
	below = openat(t.a.cgroup, "below", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid = agent_start(below, false, talk,
			  &(struct name){.un = {AF_UNIX, "\0agentsecrets-test-in-2"}, .len = 25});
	CHECK(waitpid(pid, &status, 0) == pid && status == 0);
	CHECK(cgroup_move(t.a.cgroup, getpid(), NULL) == 0);
	CHECK(dial(SOCK_STREAM, arg) == 0);
	return 0;
}

static void inside(void **state)
{
	struct name n = abstract_name("agentsecrets-test-in", 20),
		    any = abstract_name("agentsecrets-test-in", 107), path = path_name("mine");

	(void)state;
	if (!needs(2))
		return;
	assert_int_equal(agent(talk, &n), 0);
	assert_int_equal(agent(talk, &any), 0);
	assert_int_equal(agent(lsm() ? talk : own_path, &path), 0);
	(void)unlink(path.un.sun_path);
}

static void below(void **state)
{
	struct name n = abstract_name("agentsecrets-test-in", 20);

	(void)state;
	if (!needs(2) ||
	    lsm()) /* the LSM programs refuse the move, which only root outside may make */
		return;
	assert_int_equal(root_agent(talk_below, &n), 0);
	for (int i = 0; i < 100 && unlinkat(t.a.cgroup, "below", AT_REMOVEDIR) != 0; i++)
		(void)poll(NULL, 0, 20);
}

static int hold(void *arg)
{
	auto_close int server = listener(SOCK_STREAM, arg);

	CHECK(server >= 0);
	(void)poll(NULL, 0, 5000);
	return 0;
}

/* Another guard's socket is outside too. */
static void other_guard(void **state)
{
	struct name n = abstract_name("agentsecrets-test-b", 19);
	pid_t pid;

	(void)state;
	if (!needs(2))
		return;
	pid = agent_start(t.b.cgroup, false, hold, &n);
	for (int i = 0; i < 200; i++) {
		if (dial(SOCK_STREAM, &n) == 0)
			break;
		(void)poll(NULL, 0, 5);
	}
	assert_int_equal(dial(SOCK_STREAM, &n), 0);
	assert_int_equal(agent(reach_stream, &n), 0);
	(void)kill(pid, SIGKILL);
	(void)agent_wait(pid);
}

/* ---- exceptions ---- */

#define CROWD 1500

/* Accepts and keeps what comes, for ten seconds. */
static int hold_all(void *arg)
{
	auto_close int server = listener(SOCK_STREAM, arg);
	struct rlimit r = {4096, 4096}; /* twice the crowd, and what a test holds */
	struct pollfd p = {.fd = server, .events = POLLIN};

	CHECK(server >= 0 && setrlimit(RLIMIT_NOFILE, &r) == 0);
	for (int i = 0; i < 10000; i++)
		if (poll(&p, 1, 1) == 1)
			CHECK(accept4(server, NULL, NULL, SOCK_CLOEXEC) >= 0);
	return 0;
}

/* Many connections, said to be there by a byte. */
struct crowd {
	struct name n;
	int to;
};

static int crowd(void *arg)
{
	const struct crowd *c = arg;
	struct rlimit r = {4096, 4096}; /* twice the crowd, and what a test holds */

	CHECK(setrlimit(RLIMIT_NOFILE, &r) == 0);
	for (int i = 0; i < CROWD; i++) {
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		CHECK(connect(fd, (const struct sockaddr *)&c->n.un, c->n.len) == 0);
	}
	CHECK(write(c->to, "+", 1) == 1);
	(void)poll(NULL, 0, 10000);
	return 0;
}

static pid_t crowd_start(int cgroup, const struct name *n)
{
	int there[2];
	struct crowd c = {.n = *n};
	pid_t pid;
	char byte;

	assert_int_equal(pipe2(there, O_CLOEXEC), 0);
	c.to = there[1];
	pid = agent_start(cgroup, true, crowd, &c);
	close(there[1]);
	assert_int_equal(read(there[0], &byte, 1), 1);
	close(there[0]);
	return pid;
}

static int reached(void *arg);

/* What a listener's connections end in has its name too, and was born with whoever connected: it is not taken for the
 * listener. Many connections from outside close an exception to nobody; many of the guard's own, made under an exception that
 * is gone, open nothing. */
static void connections_are_no_listeners(void **state)
{
	struct name n = abstract_name("agentsecrets-test-crowd", 23);
	struct enforce_exempt one = {.key = {.kind = EG_UNIX_CGROUP, .id = t.b.guard.id}};
	pid_t server, crowd;

	(void)state;
	if (!needs(2))
		return;
	server = agent_start(t.b.cgroup, true, hold_all, &n);
	for (int i = 0; i < 1000 && dial(SOCK_STREAM, &n) != 0; i++)
		(void)poll(NULL, 0, 5);
	crowd = crowd_start(-1, &n);
	assert_int_equal(enforce_exempt(t.en, t.a.guard.id, &one, 1), 0);
	assert_int_equal(agent(reached, &n), 0);
	(void)kill(crowd, SIGKILL);
	(void)agent_wait(crowd);
	crowd = crowd_start(t.a.cgroup, &n);
	assert_int_equal(enforce_exempt(t.en, t.a.guard.id, NULL, 0), 0);
	assert_int_equal(agent(reach_stream, &n), 0);
	(void)kill(crowd, SIGKILL);
	(void)agent_wait(crowd);
	(void)kill(server, SIGKILL);
	(void)agent_wait(server);
}

static int reached(void *arg)
{
	CHECK(dial(SOCK_STREAM, arg) == 0);
	return 0;
}

static void exempt_cgroup(void **state)
{
	struct name n = abstract_name("agentsecrets-test-friend", 24);
	struct enforce_exempt one = {.key = {.kind = EG_UNIX_CGROUP, .id = t.b.guard.id}};
	pid_t pid;

	(void)state;
	if (!needs(2))
		return;
	pid = agent_start(t.b.cgroup, false, hold, &n);
	for (int i = 0; i < 1000 && dial(SOCK_STREAM, &n) != 0; i++)
		(void)poll(NULL, 0, 5);
	assert_int_equal(agent(reach_stream, &n), 0);
	assert_int_equal(enforce_exempt(t.en, t.a.guard.id, &one, 1), 0);
	assert_int_equal(agent(reached, &n), 0);
	assert_int_equal(root_agent(reached, &n), 0);
	one.key.id++;
	assert_int_equal(enforce_exempt(t.en, t.a.guard.id, &one, 1), 0); /* instead, not as well */
	assert_int_equal(agent(reach_stream, &n), 0);
	one.key.id--;
	assert_int_equal(enforce_exempt(t.en, t.b.guard.id, &one, 1), 0); /* another guard's */
	assert_int_equal(agent(reach_stream, &n), 0);
	assert_int_equal(enforce_exempt(t.en, t.b.guard.id, NULL, 0), 0);
	assert_int_equal(enforce_exempt(t.en, t.a.guard.id, NULL, 0), 0);
	(void)kill(pid, SIGKILL);
	(void)agent_wait(pid);
}

static int reach_as_another(void *arg)
{
	CHECK(unshare(CLONE_NEWUSER) == 0);
	return reach_stream(arg);
}

static int reach_from_elsewhere(void *arg)
{
	CHECK(unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0);
	return reach_stream(arg);
}

/* By path alone (L2), from another root: as an ordinary user all the same. */
static int reach_from_below(void *arg)
{
	CHECK(chroot(t.dir) == 0 && chdir("/") == 0);
	CHECK(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 &&
	      setresuid(65534, 65534, 65534) == 0);
	return reach_stream(arg);
}

static void by_path(struct enforce_exempt *x, const char *path)
{
	struct stat mounts;

	assert_int_equal(stat("/proc/self/ns/mnt", &mounts), 0);
	x->mounts = mounts.st_ino;
	x->path = (struct eg_unix_path){.family = AF_UNIX};
	memcpy(x->path.path, path, strlen(path));
}

/* With the LSM programs the socket is known by its inode, under whatever name; without, the path is believed of who
 * cannot have made it lead elsewhere. */
static void exempt_socket(void **state)
{
	struct name n = path_name("opened"), link = path_name("link"), old = path_name("old"),
		    root = n;
	auto_close int server = listener(SOCK_STREAM, &n), other = -1;
	struct enforce_exempt x = {.key = {.kind = EG_UNIX_INODE}};
	struct stat st;

	(void)state;
	if (!needs(2))
		return;
	assert_true(server >= 0 && chmod(n.un.sun_path, 0777) == 0);
	assert_int_equal(stat(n.un.sun_path, &st), 0);
	by_path(&x, n.un.sun_path);
	x.key.id = st.st_ino;
	x.key.dev = major(st.st_dev) << 20 | minor(st.st_dev);
	assert_int_equal(agent(reach_stream, &n), 0);
	assert_int_equal(enforce_exempt(t.en, t.a.guard.id, &x, 1), 0);
	assert_int_equal(agent(reached, &n), 0);
	assert_int_equal(agent_wait(agent_start(t.b.cgroup, false, reach_stream, &n)), 0);
	assert_int_equal(symlink(n.un.sun_path, link.un.sun_path), 0);
	assert_int_equal(agent(lsm() ? reached : reach_stream, &link), 0);
	assert_int_equal(root_agent(lsm() ? reached : reach_stream, &n), 0);
	if (!lsm()) {
		assert_int_equal(agent(reach_as_another, &n), 0);
		assert_int_equal(agent(reach_from_elsewhere, &n), 0);
		memcpy(root.un.sun_path, "/opened", 8);
		by_path(&x, "/opened");
		assert_int_equal(enforce_exempt(t.en, t.a.guard.id, &x, 1), 0);
		assert_int_equal(root_agent(reach_from_below, &root), 0);
		by_path(&x, n.un.sun_path);
		x.mounts++; /* other ones than the daemon's */
		assert_int_equal(enforce_exempt(t.en, t.a.guard.id, &x, 1), 0);
		assert_int_equal(agent(reach_stream, &n), 0);
	} else {
		assert_int_equal(rename(n.un.sun_path, old.un.sun_path), 0);
		other = listener(SOCK_STREAM, &n);
		assert_true(other >= 0 && chmod(n.un.sun_path, 0777) == 0);
		assert_int_equal(agent(reach_stream, &n), 0); /* the same path, another socket */
		assert_int_equal(agent(reached, &old), 0);
	}
	assert_int_equal(enforce_exempt(t.en, t.a.guard.id, NULL, 0), 0);
	assert_int_equal(agent(reach_stream, &n), 0);
	(void)unlink(n.un.sun_path);
	(void)unlink(old.un.sun_path);
	(void)unlink(link.un.sun_path);
}

static int pairs(void *arg)
{
	const int *inherited = arg;
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	char c;

	for (size_t i = 0; i < ARRAY_SIZE(types); i++) {
		int pair[2];

		CHECK(socketpair(AF_UNIX, types[i], 0, pair) == 0);
		CHECK(send(pair[0], "x", 1, 0) == 1 && recv(pair[1], &c, 1, 0) == 1);
		CHECK(send(inherited[i], "y", 1, MSG_NOSIGNAL) == 1);
	}
	return 0;
}

/* socketpair(), and a pair of which one end was inherited: neither connects. */
static void paired(void **state)
{
	static const int types[] = {SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET};
	int theirs[3], ours[3], pair[2];
	char c = 0;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(socketpair(AF_UNIX, types[i] | SOCK_CLOEXEC, 0, pair), 0);
		theirs[i] = pair[0];
		ours[i] = pair[1];
	}
	assert_int_equal(agent(pairs, theirs), 0);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(recv(ours[i], &c, 1, MSG_DONTWAIT), 1);
		assert_int_equal(c, 'y');
		(void)close(ours[i]);
		(void)close(theirs[i]);
	}
}

static int flip(void *arg)
{
	const struct name *link = arg;
	char spare[sizeof(link->un.sun_path) + 8];

	(void)snprintf(spare, sizeof(spare), "%s.new", link->un.sun_path);
	for (int i = 0;; i ^= 1) {
		if (symlink(i ? "own" : "docker.sock", spare) == 0)
			(void)rename(spare, link->un.sun_path);
	}
	return 0;
}

static int dial_flipping(void *arg)
{
	struct name own = path_name("own");
	auto_close int server = listener(SOCK_STREAM, &own);

	CHECK(server >= 0);
	for (int i = 0; i < FLIPS; i++) {
		auto_close int fd = -1;

		(void)dial(SOCK_STREAM, arg);
		fd = accept4(server, NULL, NULL, SOCK_CLOEXEC);
	}
	return 0;
}

/* A link that leads to the agent's own socket and to an outside one in turn: never outside. */
static void flipping(void **state)
{
	struct name out = path_name("docker.sock"), link = path_name("flip"),
		    own = path_name("own");
	auto_close int server = listener(SOCK_STREAM, &out);
	pid_t pid;

	(void)state;
	if (!needs(2))
		return;
	assert_true(server >= 0);
	assert_int_equal(chmod(out.un.sun_path, 0777), 0);
	pid = agent_start(t.a.cgroup, false, flip, &link);
	assert_int_equal(agent(dial_flipping, &link), 0);
	(void)kill(pid, SIGKILL);
	(void)agent_wait(pid);
	assert_false(readable(server));
	(void)unlink(out.un.sun_path);
	(void)unlink(own.un.sun_path);
}

static void closed_guard(void **state)
{
	struct name n = abstract_name("agentsecrets-test-in", 20);
	struct eg_guard shut = t.a.guard;

	(void)state;
	if (!needs(2) ||
	    lsm()) /* at L3 the state of a guard does not open what the peer's birth closes */
		return;
	shut.flags = 0;
	assert_int_equal(enforce_set(t.en, &shut, NULL), 0);
	assert_int_equal(agent(own_path, &n), 0);
	assert_int_equal(enforce_set(t.en, &t.a.guard, NULL), 0);
	assert_int_equal(agent(talk, &n), 0);
}

static int lookup(void *arg)
{
	struct name nscd = {.un = {AF_UNIX, "/var/run/nscd/socket"}, .len = sizeof(nscd.un)};

	(void)arg;
	CHECK_ERRNO(dial(SOCK_STREAM, &nscd), lsm() ? ENOENT : EPERM);
	return 0;
}

/* libc asks nscd first and goes on to DNS on any error. */
static void nscd(void **state)
{
	(void)state;
	if (needs(2) && access("/var/run/nscd/socket", F_OK) != 0)
		assert_int_equal(agent(lookup, NULL), 0);
}

static void reopen(void)
{
	struct err e = {};

	t.en = enforce_close(t.en);
	if (enforce_open(&t.c, t.listen, &t.en, &e))
		fail_msg("%s", e.text);
}

static int knock(void *arg)
{
	const struct name *n = arg;

	for (;;)
		if (dial(SOCK_STREAM, n) == 0)
			return broke(__LINE__, "reached");
	return 0;
}

/* Swapped while an agent knocks: refused throughout, and afterwards. */
static void restart(void **state)
{
	struct name n = abstract_name("agentsecrets-test-out", 21);
	auto_close int server = listener(SOCK_STREAM, &n);
	uint32_t level = enforce_level(t.en);
	pid_t pid;

	(void)state;
	if (!needs(2))
		return;
	pid = agent_start(t.a.cgroup, false, knock, &n);
	for (int i = 0; i < 3; i++) {
		reopen();
		assert_int_equal(enforce_level(t.en), level);
	}
	assert_int_equal(waitpid(pid, NULL, WNOHANG), 0);
	(void)kill(pid, SIGKILL);
	(void)agent_wait(pid);
	assert_false(readable(server));
	assert_int_equal(agent(reach_stream, &n), 0);
	assert_int_equal(enforce_alive(t.en, t.a.guard.id), 0);
}

/* Below the minimum no guard is made, and the sentence says why; those that stand go on. */
static void minimum(void **state)
{
	struct eg_guard g = {.flags = EG_GUARD_OPEN};
	struct err e = {};
	auto_close int fd = -1;
	uint64_t id;
	int rc;

	(void)state;
	assert_int_equal(cgroup_make(&t.c, "c", &fd, &id, &e), 0);
	g.id = id;
	for (uint32_t level = 1; level <= 3; level++) {
		t.c.minimum_level = level;
		reopen();
		rc = enforce_attach(t.en, fd, &g, &e);
		if (level <= enforce_level(t.en)) {
			assert_int_equal(rc, 0);
			assert_int_equal(enforce_detach(t.en, id, NULL), 0);
		} else {
			assert_int_equal(rc, -ENOTSUP);
			assert_non_null(strstr(e.text, "minimum_level"));
			assert_non_null(strstr(e.text, enforce_missing(t.en, level)));
			assert_int_equal(enforce_alive(t.en, id), -ENOENT);
		}
		assert_int_equal(enforce_alive(t.en, t.a.guard.id), 0);
	}
	t.c.minimum_level = 1;
	reopen();
	assert_int_equal(cgroup_remove(&t.c, "c", NULL), 0);
}

/* By configuration paths are let go, and nothing claims L2 then. Abstract names and L3 stay as they are. */
static void paths_allowed(void **state)
{
	struct name path = path_name("mine"), abstract = abstract_name("agentsecrets-test-out", 21);
	auto_close int server = listener(SOCK_STREAM, &abstract);
	struct doctor_check checks[32];
	size_t n;

	(void)state;
	if (!needs(2))
		return;
	t.c.unix_paths = CONFIG_PATHS_ALLOWED;
	reopen();
	assert_int_equal(enforce_level(t.en), enforce_missing(t.en, 3)[0] ? 1 : 3);
	assert_int_equal(agent(talk, &path), 0);
	assert_int_equal(agent(reach_stream, &abstract), 0);
	n = doctor_checks(&t.c, t.en, checks, 32);
	assert_int_equal(checks[n - 2].ok, lsm());
	assert_true(lsm() || strstr(checks[n - 2].detail, "unix_paths"));
	t.c.unix_paths = CONFIG_PATHS_REFUSED;
	reopen();
	assert_int_equal(agent(lsm() ? talk : own_path, &path), 0);
	(void)unlink(path.un.sun_path);
}

static void doctor(void **state)
{
	struct doctor_check checks[32];
	size_t n = doctor_checks(&t.c, t.en, checks, 32), seen = 0;

	(void)state;
	for (size_t i = 0; i < n; i++) {
		(void)printf("# %s: %s: %s\n", checks[i].name, checks[i].ok ? "ok" : "no",
			     checks[i].detail);
		assert_true(checks[i].ok || !checks[i].required);
		if (strncmp(checks[i].name, "level L", 7) != 0)
			continue;
		seen++;
		assert_int_equal(checks[i].ok,
				 (uint32_t)(checks[i].name[7] - '0') <= enforce_level(t.en));
		assert_true(checks[i].detail[0] != '\0');
	}
	assert_int_equal(seen, 3);
	assert_true(enforce_reaches_own(t.en) || enforce_level(t.en) < 2);
}

/* ---- L3 ----------------------------------------------------------------------------------------- */

static int odd_sockets(void *arg)
{
	static const int families[] = {3,  4,  5,  8,  9,  15, 17, 19, 20, 21, 24, 29,
				       30, 31, 33, 36, 37, 38, 40, 41, 42, 43, 44};
	auto_close int route = -1;

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		CHECK_ERRNO(socket(families[i], SOCK_RAW, 0), EPERM);
		CHECK_ERRNO(socket(families[i], SOCK_DGRAM, 0), EPERM);
	}
	for (int protocol = 1; protocol < 22; protocol++)
		CHECK_ERRNO(socket(AF_NETLINK, SOCK_RAW, protocol), EPERM);
	route = socket(AF_NETLINK, SOCK_RAW, 0);
	CHECK(route >= 0);
	return 0;
}

static void families(void **state)
{
	(void)state;
	if (!needs(3))
		return;
	assert_int_equal(agent(odd_sockets, NULL), 0);
	assert_int_equal(root_agent(odd_sockets, NULL), 0);
}

static int use_foreign(void *arg)
{
	const int *fds = arg;
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(9),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	CHECK_ERRNO(connect(fds[0], (struct sockaddr *)&to, sizeof(to)), EPERM);
	CHECK_ERRNO(sendto(fds[0], "E", 1, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)),
		    EPERM);
	CHECK_ERRNO(write(fds[0], "E", 1), EPERM);
	CHECK_ERRNO(accept(fds[1], NULL, NULL), EPERM);
	return 0;
}

static int use_adopted(void *arg)
{
	const int *fds = arg;
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons(9),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};

	CHECK(connect(fds[0], (struct sockaddr *)&to, sizeof(to)) == 0);
	CHECK(write(fds[0], "E", 1) == 1 || errno == ECONNREFUSED);
	CHECK_ERRNO(accept(fds[1], NULL, NULL), EAGAIN);
	return 0;
}

/* Sockets that carry the guard's own mark (adopt.c) are its own; another guard's are not. */
static void marked(int fds[2])
{
	char path[CONFIG_PATH_MAX + 32];
	auto_close int marks = -1;

	(void)snprintf(path, sizeof(path), "%s/v%d/maps/marks", t.c.bpffs, EG_LAYOUT);
	marks = bpf_obj_get(path);
	assert_true(marks >= 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(bpf_map_update_elem(marks, &fds[i], &t.b.guard.id, BPF_ANY), 0);
	assert_int_equal(agent(use_foreign, fds), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(bpf_map_update_elem(marks, &fds[i], &t.a.guard.id, BPF_ANY), 0);
	assert_int_equal(agent(use_adopted, fds), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(bpf_map_delete_elem(marks, &fds[i]), 0);
	assert_int_equal(agent(use_foreign, fds), 0);
}

/* Inherited IP sockets. */
static void foreign(void **state)
{
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fds[2] = {socket(AF_INET, SOCK_DGRAM, 0),
		      socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0)};

	(void)state;
	assert_int_equal(bind(fds[1], (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(listen(fds[1], 1), 0);
	at.sin_port = htons(9);
	assert_int_equal(connect(fds[0], (struct sockaddr *)&at, sizeof(at)), 0);
	if (needs(3)) {
		assert_int_equal(agent(use_foreign, fds), 0);
		assert_int_equal(root_agent(use_foreign, fds), 0);
		marked(fds);
	}
	(void)close(fds[0]);
	(void)close(fds[1]);
}

static int give(int to, int what)
{
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(sizeof(int))];
	} u = {.h = {.cmsg_level = SOL_SOCKET,
		     .cmsg_type = SCM_RIGHTS,
		     .cmsg_len = CMSG_LEN(sizeof(int))}};
	struct iovec iov = {.iov_base = "x", .iov_len = 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = u.bytes,
			   .msg_controllen = sizeof(u.bytes)};

	memcpy(CMSG_DATA(&u.h), &what, sizeof(what));
	return sendmsg(to, &m, MSG_NOSIGNAL) == 1 ? 0 : -1;
}

/* Descriptors in the next message. */
static int given(int from)
{
	union {
		struct cmsghdr h;
		char bytes[CMSG_SPACE(sizeof(int))];
	} u;
	char byte;
	struct iovec iov = {.iov_base = &byte, .iov_len = 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = u.bytes,
			   .msg_controllen = sizeof(u.bytes)};

	if (recvmsg(from, &m, 0) != 1)
		return -1;
	return m.msg_controllen >= CMSG_LEN(sizeof(int)) ? 1 : 0;
}

static int take_three(void *arg)
{
	const int *end = arg;
	auto_close int own = socket(AF_INET, SOCK_DGRAM, 0);
	int pair[2];

	CHECK(given(*end) == 0); /* an inet socket */
	CHECK(given(*end) == 0); /* a unix socket */
	CHECK(given(*end) == 1); /* a pipe */
	CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && own >= 0);
	CHECK(give(pair[0], own) == 0 && given(pair[1]) == 1);
	return 0;
}

/* SCM_RIGHTS over a connection that was inherited: sockets of others do not come through. */
static void handed_in(void **state)
{
	auto_close int inet = socket(AF_INET, SOCK_DGRAM, 0),
		       local = socket(AF_UNIX, SOCK_STREAM, 0);
	int pair[2], pipes[2];

	(void)state;
	if (!needs(3))
		return;
	for (int root = 0; root < 2; root++) {
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
		assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
		assert_int_equal(
			give(pair[0], inet) | give(pair[0], local) | give(pair[0], pipes[0]), 0);
		assert_int_equal(
			root ? root_agent(take_three, &pair[1]) : agent(take_three, &pair[1]), 0);
		(void)close(pair[0]);
		(void)close(pair[1]);
		(void)close(pipes[0]);
		(void)close(pipes[1]);
	}
}

static int trace(void *arg)
{
	const pid_t *outside_pid = arg;
	auto_close int pidfd = (int)syscall(SYS_pidfd_open, *outside_pid, 0);
	char path[64];
	pid_t own;

	CHECK_ERRNO(ptrace(PTRACE_SEIZE, *outside_pid, NULL, NULL), EPERM);
	CHECK_ERRNO(ptrace(PTRACE_ATTACH, *outside_pid, NULL, NULL), EPERM);
	CHECK(pidfd >= 0);
	CHECK_ERRNO(syscall(SYS_pidfd_getfd, pidfd, 0, 0), EPERM);
	(void)snprintf(path, sizeof(path), "/proc/%d/environ", (int)*outside_pid);
	CHECK_ERRNO(open(path, O_RDONLY), EACCES);
	(void)snprintf(path, sizeof(path), "/proc/%d/mem", (int)*outside_pid);
	CHECK_ERRNO(open(path, O_RDWR), EACCES);
	own = fork();
	if (own == 0) {
		(void)poll(NULL, 0, 3000);
		_exit(0);
	}
	CHECK(ptrace(PTRACE_SEIZE, own, NULL, NULL) == 0);
	CHECK(kill(own, SIGKILL) == 0 && waitpid(own, NULL, 0) == own);
	return 0;
}

static void tracing(void **state)
{
	pid_t pid = getpid();

	(void)state;
	if (needs(3))
		assert_int_equal(root_agent(trace, &pid), 0);
}

static int undo(void *arg)
{
	struct clone_args args = {.flags = CLONE_INTO_CGROUP, .exit_signal = SIGCHLD};
	auto_close int root = open(arg, O_PATH | O_DIRECTORY | O_CLOEXEC), own = -1;
	char pin[512];
	union bpf_attr attr = {};
	long pid;

	CHECK_ERRNO(syscall(SYS_bpf, BPF_LINK_GET_NEXT_ID, &attr, sizeof(attr)), EPERM);
	CHECK_ERRNO(syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &attr, sizeof(attr)), EPERM);
	CHECK_ERRNO(syscall(SYS_bpf, BPF_MAP_CREATE, &attr, sizeof(attr)), EPERM);
	CHECK(root >= 0);
	CHECK_ERRNO(openat(root, "cgroup.procs", O_WRONLY | O_CLOEXEC), EPERM);
	own = openat(t.a.cgroup, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	CHECK(own < 0 && errno == EPERM);
	CHECK_ERRNO(mkdirat(t.a.cgroup, "way-out", 0755), EPERM);
	args.cgroup = (uint64_t)root;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0)
		_exit(0);
	CHECK(pid < 0 && errno == EPERM);
	(void)snprintf(pin, sizeof(pin), "%s/guards/%llu/egress_connect4", enforce_dir(t.en),
		       (unsigned long long)t.a.guard.id);
	CHECK(access(pin, F_OK) == 0);
	CHECK_ERRNO(unlink(pin), EPERM);
	return 0;
}

/* Root with all capabilities: bpf(), another cgroup in each way there is, the pins. */
static void undoing(void **state)
{
	(void)state;
	if (needs(3))
		assert_int_equal(root_agent(undo, t.c.cgroup_root), 0);
}

static int late_move(void *arg)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%d", (int)getpid());

	CHECK(write(*(const int *)arg, text, (size_t)n) < 0);
	return 0;
}

/* cgroup.procs of the parent, opened before the agent was guarded. */
static void opened_before(void **state)
{
	char path[CONFIG_PATH_MAX + 16];
	auto_close int fd = -1;

	(void)state;
	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", t.c.cgroup_root);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	if (needs(3))
		assert_int_equal(root_agent(late_move, &fd), 0);
}

static int free_outside(void *arg)
{
	struct name n = abstract_name("agentsecrets-test-free", 22);
	auto_close int alg = socket(AF_PACKET, SOCK_DGRAM, 0);
	union bpf_attr attr = {};

	(void)arg;
	CHECK(alg >= 0);
	CHECK(syscall(SYS_bpf, BPF_PROG_GET_NEXT_ID, &attr, sizeof(attr)) == 0);
	return talk(&n);
}

/* Who is in no guard notices nothing, even beside them in the slice. */
static void not_guarded(void **state)
{
	(void)state;
	assert_int_equal(agent_wait(agent_start(-1, true, free_outside, NULL)), 0);
	assert_int_equal(agent_wait(agent_start(t.listen, true, free_outside, NULL)), 0);
}

/* A guard elsewhere than below the slice has the same. */
static void apart(void **state)
{
	char path[CONFIG_PATH_MAX + 16];
	struct eg_guard g = {.flags = EG_GUARD_OPEN, .proxy_port = 15001, .dns_port = 15053};
	struct side was = t.a;
	struct err e = {};
	struct stat st;
	int fds[64];

	(void)state;
	(void)snprintf(path, sizeof(path), "%s-apart", t.root);
	assert_int_equal(mkdir(path, 0755), 0);
	t.a.cgroup = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(fstat(t.a.cgroup, &st), 0);
	g.id = st.st_ino;
	if (enforce_attach(t.en, t.a.cgroup, &g, &e))
		fail_msg("%s", e.text);
	t.a.guard = g;
	assert_int_equal(enforce_fds(t.en, g.id, fds, 64),
			 15 + (enforce_missing(t.en, 2)[0] ? 0 : 2) + (lsm() ? 10 : 0));
	outside(NULL);
	inside(NULL);
	families(NULL);
	undoing(NULL);
	reopen();
	families(NULL);
	assert_int_equal(enforce_detach(t.en, g.id, NULL), 0);
	(void)close(t.a.cgroup);
	for (int i = 0; i < 100 && rmdir(path) != 0; i++)
		(void)poll(NULL, 0, 20);
	t.a = was;
}

/* ---- all of it ---------------------------------------------------------------------------------- */

static void make_side(struct side *s, const char *name)
{
	struct err e = {};
	uint64_t id;

	assert_int_equal(cgroup_make(&t.c, name, &s->cgroup, &id, &e), 0);
	s->guard = (struct eg_guard){
		.id = id, .flags = EG_GUARD_OPEN, .proxy_port = 15001, .dns_port = 15053};
	if (enforce_attach(t.en, s->cgroup, &s->guard, &e))
		fail_msg("enforce_attach: %s", e.text);
}

static int set_up(void **state)
{
	struct err e = {};

	(void)state;
	t.c.explicit_port = 8765;
	t.c.minimum_level = 1;
	(void)snprintf(t.c.cgroup_root, sizeof(t.c.cgroup_root), "%s", t.root);
	if (cgroup_prepare(&t.c, &t.listen, &e) || enforce_open(&t.c, t.listen, &t.en, &e)) {
		(void)fprintf(stderr, "# %s\n", e.text);
		return -1;
	}
	(void)printf("# level L%u is in force\n", enforce_level(t.en));
	make_side(&t.a, "a");
	make_side(&t.b, "b");
	return 0;
}

static int tear_down(void **state)
{
	int rc = 0;

	(void)state;
	rc |= enforce_detach(t.en, t.a.guard.id, NULL);
	rc |= enforce_detach(t.en, t.b.guard.id, NULL);
	rc |= enforce_remove(t.en);
	t.en = enforce_close(t.en);
	rc |= cgroup_remove(&t.c, "a", NULL) | cgroup_remove(&t.c, "b", NULL);
	cgroup_clear(&t.c);
	return rc;
}

static int work(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(outside),       cmocka_unit_test(told),
		cmocka_unit_test(absent),        cmocka_unit_test(inside),
		cmocka_unit_test(below),         cmocka_unit_test(other_guard),
		cmocka_unit_test(exempt_cgroup), cmocka_unit_test(exempt_socket),
		cmocka_unit_test(connections_are_no_listeners),
		cmocka_unit_test(paired),        cmocka_unit_test(flipping),
		cmocka_unit_test(closed_guard),  cmocka_unit_test(nscd),
		cmocka_unit_test(families),      cmocka_unit_test(foreign),
		cmocka_unit_test(handed_in),     cmocka_unit_test(tracing),
		cmocka_unit_test(undoing),       cmocka_unit_test(opened_before),
		cmocka_unit_test(not_guarded),   cmocka_unit_test(restart),
		cmocka_unit_test(minimum),       cmocka_unit_test(paths_allowed),
		cmocka_unit_test(apart),         cmocka_unit_test(doctor),
	};

	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return 1;
	return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}

static pid_t worker;

static void on_signal(int sig)
{
	(void)sig;
	if (worker > 0)
		(void)kill(worker, SIGKILL);
}

/* Children that the worker left die with it (PDEATHSIG); their cgroups are empty a moment later. */
static void clean(void)
{
	static const char *const cgroups[] = {"/a/below", "/a",      "/b", "/c",
					      "/canary",  "/listen", "",   "-apart"};
	static const char *const files[] = {
		"docker.sock", "io.systemd.Resolve", "link", "target", "mine", "own", "flip",
		"flip.new"};
	char path[512];

	for (int tries = 0; tries < 100 && access(t.root, F_OK) == 0; tries++) {
		for (size_t i = 0; i < ARRAY_SIZE(cgroups); i++) {
			(void)snprintf(path, sizeof(path), "%s%s", t.root, cgroups[i]);
			(void)rmdir(path);
		}
		(void)poll(NULL, 0, tries ? 20 : 0);
	}
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", t.dir, files[i]);
		(void)unlink(path);
	}
	(void)snprintf(path, sizeof(path), "%s/bpf", t.dir);
	(void)rmdir(path);
	(void)rmdir(t.dir);
}

int main(void)
{
	char mount_point[CONFIG_PATH_MAX - 40];
	struct err e = {};
	int status;

	log_init("test", getenv("TEST_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	if (geteuid() != 0 || cgroup_mount(mount_point, sizeof(mount_point), &e)) {
		(void)printf("1..0 # SKIP needs root and cgroup v2\n");
		return 77;
	}
	(void)snprintf(t.dir, sizeof(t.dir), "/tmp/agentsecrets-levels-XXXXXX");
	if (!mkdtemp(t.dir) || chmod(t.dir, 01777) != 0)
		return 1;
	(void)snprintf(t.root, sizeof(t.root), "%s/agentsecrets-levels-%d", mount_point,
		       (int)getpid());
	(void)snprintf(t.c.bpffs, sizeof(t.c.bpffs), "%s/bpf", t.dir);
	(void)signal(SIGINT, on_signal);
	(void)signal(SIGTERM, on_signal);
	(void)fflush(NULL);
	worker = fork();
	if (worker == 0) {
		(void)signal(SIGINT, SIG_DFL);
		(void)signal(SIGTERM, SIG_DFL);
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		exit(work());
	}
	status = agent_wait(worker);
	clean();
	return status;
}
