/* test_enforce.c: the real programs, attached by enforce.c to scratch cgroups, against real sockets.
 *
 * Root only. A supervisor forks the tests into a mount namespace of their own and removes the cgroups when they
 * are over, however they ended; the bpffs, the pins and the network namespaces die with them. Each of two
 * network namespaces ("inside") has a veth to one of its own ("outside"), with equal addresses and no
 * way further. Agents are forked children, moved into the guard and the namespace, without privilege
 * unless the test is about root.
 */
#include "../../bpf/egress.h"
#include "cgroup.h"
#include "doctor.h"
#include "enforce.h"
#include "log.h"
#include "netns.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <cmocka.h>

#define PROXY 15001
#define DNS_A 15053
#define DNS_B 15054
#define EXPLICIT 8765
#define WAIT_MS 2000
#define QUIET_MS 300 /* how long nothing must come */
#define STORM (getenv("STORM") ? (uint32_t)atoi(getenv("STORM")) : 3000u) /* connections of each agent in the two-namespace test */

#ifndef IPPROTO_MPTCP
#define IPPROTO_MPTCP 262
#endif
#ifndef TCP_FASTOPEN_NO_COOKIE
#define TCP_FASTOPEN_NO_COOKIE 34
#endif

struct side {
	pid_t pid[2]; /* keep the namespaces: inside, outside */
	int inside, outside;
	uint64_t cookie;
	struct netns_sockets tcp, dns;
	int cgroup;
	struct eg_guard guard;
};

static struct {
	struct config c;
	char root[CONFIG_PATH_MAX];
	int listen;
	struct enforce *en;
	struct side a, b;
	size_t events;
	struct eg_event last;
} t;

/* ---- agents ------------------------------------------------------------------------------------- */

struct place {
	int netns, cgroup;
	bool root;
};

static int broke(int line, const char *what)
{
	(void)fprintf(stderr, "# line %d: %s (errno %d, %s)\n", line, what, errno, strerror(errno));
	return 1;
}
#define CHECK(cond)                                                                                \
	do {                                                                                       \
		if (!(cond))                                                                       \
			return broke(__LINE__, #cond);                                              \
	} while (0)
/* The call fails with exactly this errno. */
#define CHECK_ERRNO(call, want)                                                                    \
	do {                                                                                       \
		errno = 0;                                                                         \
		if ((call) >= 0 || errno != (want))                                                \
			return broke(__LINE__, #call);                                              \
	} while (0)

static int agent_enter(const struct place *at)
{
	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0);
	CHECK(prctl(PR_SET_NAME, "agent-in-test") == 0);
	CHECK(at->cgroup < 0 || cgroup_move(at->cgroup, getpid(), NULL) == 0);
	CHECK(at->netns < 0 || setns(at->netns, CLONE_NEWNET) == 0);
	if (at->root)
		return 0;
	CHECK(setgroups(0, NULL) == 0);
	CHECK(setresgid(65534, 65534, 65534) == 0);
	CHECK(setresuid(65534, 65534, 65534) == 0);
	CHECK(prctl(PR_SET_PDEATHSIG, SIGKILL) == 0); /* another user forgets it */
	return 0;
}

static pid_t agent_start(const struct place *at, int (*fn)(void *), void *arg)
{
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	if (pid == 0)
		_exit(agent_enter(at) || fn(arg) ? 1 : 0);
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

static int agent(const struct place *at, int (*fn)(void *), void *arg)
{
	return agent_wait(agent_start(at, fn, arg));
}

static struct place inside(const struct side *s)
{
	return (struct place){ .netns = s->inside, .cgroup = s->cgroup };
}

/* ---- addresses and sockets ---------------------------------------------------------------------- */

struct where {
	struct sockaddr_storage ss;
	socklen_t len;
};

static struct where where(const char *text, uint16_t port)
{
	struct where w = {};
	struct sockaddr_in *sin = (struct sockaddr_in *)&w.ss;
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)&w.ss;

	if (inet_pton(AF_INET, text, &sin->sin_addr) == 1) {
		sin->sin_family = AF_INET;
		sin->sin_port = htons(port);
		w.len = sizeof(*sin);
	} else if (inet_pton(AF_INET6, text, &sin6->sin6_addr) == 1) {
		sin6->sin6_family = AF_INET6;
		sin6->sin6_port = htons(port);
		w.len = sizeof(*sin6);
	}
	return w;
}

static void mapped(const char *text, uint8_t out[16])
{
	struct in_addr v4;

	memset(out, 0, 16);
	if (inet_pton(AF_INET, text, &v4) != 1) {
		(void)inet_pton(AF_INET6, text, out);
		return;
	}
	out[10] = out[11] = 0xff;
	memcpy(out + 12, &v4, 4);
}

static int family_of(const char *text)
{
	return strchr(text, ':') ? AF_INET6 : AF_INET;
}

static int dial(int fd, const char *text, uint16_t port)
{
	struct where w = where(text, port);

	return connect(fd, (struct sockaddr *)&w.ss, w.len);
}

static int bind_to(int fd, const char *text, uint16_t port)
{
	struct where w = where(text, port);

	return bind(fd, (struct sockaddr *)&w.ss, w.len);
}

static int send_to(int fd, const char *text, uint16_t port)
{
	struct where w = where(text, port);

	return (int)sendto(fd, "ESCAPE", 6, MSG_NOSIGNAL, (struct sockaddr *)&w.ss, w.len);
}

static bool same(const struct sockaddr_storage *ss, const char *text, uint16_t port)
{
	struct where w = where(text, port);
	const struct sockaddr_in6 *x6 = (const void *)ss, *y6 = (const void *)&w.ss;
	const struct sockaddr_in *x = (const void *)ss, *y = (const void *)&w.ss;

	if (ss->ss_family != w.ss.ss_family)
		return false;
	if (ss->ss_family == AF_INET)
		return x->sin_port == y->sin_port && x->sin_addr.s_addr == y->sin_addr.s_addr;
	return x6->sin6_port == y6->sin6_port && memcmp(&x6->sin6_addr, &y6->sin6_addr, 16) == 0;
}

static bool peer_is(int fd, const char *text, uint16_t port)
{
	struct sockaddr_storage ss = {};
	socklen_t len = sizeof(ss);

	return getpeername(fd, (struct sockaddr *)&ss, &len) == 0 && same(&ss, text, port);
}

static bool readable(int fd, int ms)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, ms) == 1 && (p.revents & POLLIN);
}

static int record_of(int fd, struct eg_record *r)
{
	socklen_t len = sizeof(*r);

	memset(r, 0, sizeof(*r));
	if (getsockopt(fd, SOL_IP, EG_SO_RECORD, r, &len) != 0)
		return -errno;
	return len == sizeof(*r) ? 0 : -EPROTO;
}

/* The next connection, or -1. */
static int accepted(int listener)
{
	return readable(listener, WAIT_MS) ? accept4(listener, NULL, NULL, SOCK_CLOEXEC) : -1;
}

static void drain(int listener)
{
	while (readable(listener, 50)) {
		auto_close int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		if (fd < 0)
			break;
	}
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void on_event(void *ctx, const struct eg_event *ev)
{
	(void)ctx;
	t.events++;
	t.last = *ev;
}

static size_t events(void)
{
	t.events = 0;
	assert_int_equal(enforce_events(t.en, on_event, NULL), 0);
	return t.events;
}

/* A denial is recorded with this reason since the last call of events(). */
static bool denied_as(uint8_t reason)
{
	return events() > 0 && t.last.reason == reason;
}

static uint64_t pending_of(const struct side *s)
{
	struct eg_guard g;

	assert_int_equal(enforce_get(t.en, s->guard.id, &g), 0);
	return g.pending;
}

/* Waits: a closed socket's last callback may come after its process is gone. */
static bool pending_is(const struct side *s, uint64_t want)
{
	for (int i = 0; i < 100; i++) {
		if (pending_of(s) == want)
			return true;
		(void)poll(NULL, 0, 20);
	}
	return false;
}

/* ---- redirect ----------------------------------------------------------------------------------- */

struct dialled {
	const char *addr;
	uint16_t port;
	int family;	/* of the socket */
	int listener;	/* index in netns_sockets */
	bool v6only;
};

static const struct dialled dialled[] = {
	{ "192.0.2.7", 443, AF_INET, NETNS_TCP4, false },
	{ "8.8.8.8", 1, AF_INET, NETNS_TCP4, false },
	{ "2001:db8::7", 443, AF_INET6, NETNS_TCP6, false },
	{ "2606:4700::1111", 65535, AF_INET6, NETNS_TCP6, true },
	{ "::ffff:192.0.2.8", 8080, AF_INET6, NETNS_TCP4, false },
	{ "127.0.0.1", EXPLICIT, AF_INET, NETNS_TCP4, false },
	{ "::1", EXPLICIT, AF_INET6, NETNS_TCP6, false },
	{ "::ffff:127.0.0.1", EXPLICIT, AF_INET6, NETNS_TCP4, false },
};

static int dial_one(void *arg)
{
	const struct dialled *d = arg;
	auto_close int fd = socket(d->family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int on = d->v6only;

	CHECK(fd >= 0);
	CHECK(d->family == AF_INET || setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &on, sizeof(on)) == 0);
	CHECK(dial(fd, d->addr, d->port) == 0);
	CHECK(peer_is(fd, d->addr, d->port));
	CHECK(write(fd, "x", 1) == 1);
	return 0;
}

static void check_record(const struct side *s, const struct dialled *d, const struct eg_record *r, pid_t pid)
{
	uint8_t want[16];

	mapped(d->addr, want);
	assert_memory_equal(r->addr, want, 16);
	assert_int_equal(r->port, d->port);
	assert_int_equal(r->family, strncmp(d->addr, "::ffff:", 7) == 0 ? AF_INET : family_of(d->addr));
	assert_int_equal(r->guard, s->guard.id);
	assert_int_equal(r->cgroup, s->guard.id);
	assert_int_equal(r->netns, s->cookie);
	assert_int_equal(r->pid, pid);
	assert_int_equal(r->uid, 65534);
	assert_string_equal((const char *)r->comm, "agent-in-test");
	assert_true(r->cookie != 0);
	assert_true(r->at <= now_ns() && now_ns() - r->at < 10000000000ull);
}

static void redirect(void **state)
{
	struct place at = inside(&t.a);

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(dialled); i++) {
		struct dialled d = dialled[i];
		pid_t pid = agent_start(&at, dial_one, &d);
		int ended = agent_wait(pid);
		auto_close int fd = accepted(t.a.tcp.fd[d.listener]);
		struct eg_record r;
		char c = 0;

		assert_int_equal(ended, 0);
		assert_true(fd >= 0);
		assert_int_equal(record_of(fd, &r), 0);
		check_record(&t.a, &d, &r, pid);
		assert_int_equal(read(fd, &c, 1), 1);
		assert_int_equal(c, 'x');
	}
}

/* The record of a nested cgroup's task carries the guard of the attach point and its own cgroup. */
static void nested(void **state)
{
	struct dialled d = dialled[0];
	struct place at = inside(&t.a);
	auto_close int fd = -1, deep = -1;
	struct eg_record r;
	struct stat st;
	int ended;

	(void)state;
	assert_int_equal(mkdirat(t.a.cgroup, "deeper", 0755), 0);
	deep = openat(t.a.cgroup, "deeper", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	at.cgroup = deep;
	ended = agent(&at, dial_one, &d);
	assert_int_equal(fstat(deep, &st), 0);
	assert_int_equal(unlinkat(t.a.cgroup, "deeper", AT_REMOVEDIR), 0);
	assert_int_equal(ended, 0);
	fd = accepted(t.a.tcp.fd[NETNS_TCP4]);
	assert_int_equal(record_of(fd, &r), 0);
	assert_int_equal(r.guard, t.a.guard.id);
	assert_int_equal(r.cgroup, st.st_ino);
}

static int dial_plain(void *arg)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)arg;
	CHECK(dial(fd, "127.0.0.1", PROXY) == 0);
	return 0;
}

/* Nobody outside a guard gets a record, and the record's option asks for its full size. */
static void no_record(void **state)
{
	struct place at = { .netns = t.a.inside, .cgroup = -1 };
	struct eg_record r;
	socklen_t len = sizeof(r) - 1;
	int ended = agent(&at, dial_plain, NULL);
	auto_close int fd = accepted(t.a.tcp.fd[NETNS_TCP4]);
	auto_close int with = -1;
	struct dialled d = dialled[0];

	(void)state;
	assert_int_equal(ended, 0);
	assert_true(fd >= 0);
	assert_int_equal(record_of(fd, &r), -ENOPROTOOPT);
	at = inside(&t.a);
	assert_int_equal(agent(&at, dial_one, &d), 0);
	with = accepted(t.a.tcp.fd[NETNS_TCP4]);
	assert_int_equal(getsockopt(with, SOL_IP, EG_SO_RECORD, &r, &len), -1);
	assert_int_equal(record_of(with, &r), 0);
	assert_int_equal(record_of(t.a.tcp.fd[NETNS_TCP4], &r), -ENOPROTOOPT);
}

static int reconnect(void *arg)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)arg;
	CHECK(dial(fd, "192.0.2.1", 443) == 0);
	CHECK(connect(fd, &none, sizeof(none)) == 0);
	CHECK_ERRNO(dial(fd, "169.254.169.254", 83), EPERM); /* a port of its own: events are limited */
	CHECK(dial(fd, "192.0.2.2", 444) == 0);
	CHECK(peer_is(fd, "192.0.2.2", 444));
	return 0;
}

static void again(void **state)
{
	struct place at = inside(&t.a);
	struct eg_record r;
	int ended = agent(&at, reconnect, NULL);
	auto_close int one = accepted(t.a.tcp.fd[NETNS_TCP4]), two = accepted(t.a.tcp.fd[NETNS_TCP4]);

	(void)state;
	assert_int_equal(ended, 0);
	assert_int_equal(record_of(one, &r), 0);
	assert_int_equal(r.port, 443);
	assert_int_equal(record_of(two, &r), 0);
	assert_int_equal(r.port, 444);
}

/* ---- refusals ----------------------------------------------------------------------------------- */

static const struct {
	const char *addr;
	uint16_t port;
	uint8_t reason;
} refused[] = {
	{ "127.0.0.1", 22, EG_REASON_LOOPBACK }, { "127.0.0.1", PROXY, EG_REASON_LOOPBACK },
	{ "127.0.0.1", DNS_A, EG_REASON_LOOPBACK }, { "127.0.0.1", DNS_B, EG_REASON_LOOPBACK },
	{ "127.9.9.9", PROXY, EG_REASON_LOOPBACK }, { "0.0.0.0", 80, EG_REASON_LOOPBACK },
	{ "0.0.0.0", PROXY, EG_REASON_LOOPBACK }, { "::", 80, EG_REASON_LOOPBACK },
	{ "::1", 22, EG_REASON_LOOPBACK }, { "::1", PROXY, EG_REASON_LOOPBACK },
	{ "::ffff:127.0.0.1", 23, EG_REASON_LOOPBACK }, { "::ffff:0.0.0.0", 81, EG_REASON_LOOPBACK },
	{ "10.9.0.2", 443, EG_REASON_PRIVATE }, { "172.16.0.1", 443, EG_REASON_PRIVATE },
	{ "192.168.0.1", 443, EG_REASON_PRIVATE }, { "100.64.0.1", 443, EG_REASON_PRIVATE },
	{ "fd09::2", 443, EG_REASON_PRIVATE }, { "::ffff:10.9.0.2", 444, EG_REASON_PRIVATE },
	{ "169.254.1.1", 443, EG_REASON_LINK_LOCAL }, { "169.254.169.254", 80, EG_REASON_METADATA },
	{ "::ffff:169.254.169.254", 81, EG_REASON_METADATA }, { "fd00:ec2::254", 80, EG_REASON_METADATA },
	{ "100.100.100.200", 80, EG_REASON_METADATA }, { "168.63.129.16", 80, EG_REASON_METADATA },
	{ "64:ff9b::169.254.169.254", 80, EG_REASON_METADATA }, { "2002:7f00:1::", 80, EG_REASON_LOOPBACK },
	{ "224.0.0.1", 443, EG_REASON_MULTICAST }, { "255.255.255.255", 443, EG_REASON_MULTICAST },
	{ "ff02::1", 443, EG_REASON_MULTICAST }, { "240.0.0.1", 443, EG_REASON_RESERVED },
};

static int dial_refused(void *arg)
{
	size_t i = *(size_t *)arg;
	auto_close int fd = socket(family_of(refused[i].addr), SOCK_STREAM | SOCK_CLOEXEC, 0);

	CHECK_ERRNO(dial(fd, refused[i].addr, refused[i].port), EPERM);
	return 0;
}

static void special(void **state)
{
	struct place at = inside(&t.a);

	(void)state;
	(void)events();
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		uint8_t want[16];

		if (agent(&at, dial_refused, &i))
			fail_msg("%s:%u is not refused", refused[i].addr, refused[i].port);
		mapped(refused[i].addr, want);
		if (events() != 1)
			fail_msg("%s:%u: %zu events", refused[i].addr, refused[i].port, t.events);
		assert_int_equal(t.last.reason, refused[i].reason);
		assert_int_equal(t.last.hook, EG_HOOK_CONNECT);
		assert_int_equal(t.last.port, refused[i].port);
		assert_int_equal(t.last.guard, t.a.guard.id);
		assert_int_equal(t.last.netns, t.a.cookie);
		assert_int_equal(t.last.uid, 65534);
		assert_memory_equal(t.last.addr, want, 16);
	}
	assert_false(readable(t.a.tcp.fd[NETNS_TCP4], 0));
	assert_false(readable(t.a.tcp.fd[NETNS_TCP6], 0));
}

static int families(void *arg)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons(443) };
	struct where v6 = where("2001:db8::1", 443), v4 = where("8.8.8.8", 53);
	auto_close int tcp6 = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int tcp4 = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int udp4 = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)arg;
	sin.sin_addr.s_addr = htonl(0x08080808);
	CHECK(connect(tcp6, (struct sockaddr *)&sin, sizeof(v6.ss)) != 0);
	CHECK(connect(tcp4, (struct sockaddr *)&v6.ss, v6.len) != 0);
	v4.ss.ss_family = AF_UNSPEC; /* counts as IPv4 in the kernel */
	CHECK_ERRNO(sendto(udp4, "x", 1, 0, (struct sockaddr *)&v4.ss, v4.len), EPERM);
	return 0;
}

static void odd_families(void **state)
{
	struct place at = inside(&t.a);

	(void)state;
	assert_int_equal(agent(&at, families, NULL), 0);
	assert_true(denied_as(EG_REASON_FAMILY));
}

static int udp_refused(void *arg)
{
	static const struct {
		const char *addr;
		uint16_t port;
	} rows[] = {
		{ "8.8.8.8", 443 }, { "8.8.8.8", 123 }, { "10.9.0.2", 5000 }, { "127.0.0.1", PROXY },
		{ "127.0.0.1", DNS_B }, { "224.0.0.251", 5353 }, { "255.255.255.255", 67 }, { "8.8.8.8", 54 },
		{ "2001:db8::1", 443 }, { "::1", PROXY }, { "fe80::1", 443 }, { "::ffff:8.8.8.8", 443 },
	};

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		auto_close int fd = socket(family_of(rows[i].addr), SOCK_DGRAM | SOCK_CLOEXEC, 0);
		int on = 1;

		CHECK(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &on, sizeof(on)) == 0);
		CHECK_ERRNO(send_to(fd, rows[i].addr, rows[i].port), EPERM);
		CHECK_ERRNO(dial(fd, rows[i].addr, rows[i].port), EPERM);
	}
	return 0;
}

static void udp(void **state)
{
	struct place at = inside(&t.a);

	(void)state;
	assert_int_equal(agent(&at, udp_refused, NULL), 0);
}

static int kinds(void *arg)
{
	static const struct {
		int type, proto;
	} rows[] = {
		{ SOCK_DGRAM, IPPROTO_UDPLITE }, { SOCK_STREAM, IPPROTO_MPTCP }, { SOCK_STREAM, IPPROTO_SCTP },
		{ SOCK_SEQPACKET, IPPROTO_SCTP }, { SOCK_RAW, IPPROTO_RAW }, { SOCK_RAW, IPPROTO_UDP },
		{ SOCK_RAW, IPPROTO_ICMP }, { SOCK_DGRAM, IPPROTO_ICMP }, { SOCK_DCCP, IPPROTO_DCCP },
	};
	auto_close int local = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int link = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, 0);
	auto_close int range = open("/proc/sys/net/ipv4/ping_group_range", O_WRONLY | O_CLOEXEC);

	(void)arg;
	CHECK(range >= 0 && write(range, "0 2147483647", 12) == 12);
	CHECK(local >= 0 && link >= 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		for (int v6 = 0; v6 < 2; v6++) {
			int proto = v6 && rows[i].proto == IPPROTO_ICMP ? IPPROTO_ICMPV6 : rows[i].proto;
			auto_close int fd = -1;

			errno = 0;
			fd = socket(v6 ? AF_INET6 : AF_INET, rows[i].type | SOCK_CLOEXEC, proto);
			CHECK(fd < 0);
			CHECK(errno == EPERM || errno == EPROTONOSUPPORT || errno == ESOCKTNOSUPPORT);
			CHECK(errno == EPERM || rows[i].proto == IPPROTO_SCTP ||
			      rows[i].proto == IPPROTO_DCCP);
		}
	return 0;
}

static void socket_kinds(void **state)
{
	struct place at = inside(&t.a);

	(void)state;
	at.root = true;
	assert_int_equal(agent(&at, kinds, NULL), 0);
	assert_true(denied_as(EG_REASON_SOCKET));
}

static int options(void *arg)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int fd6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ip_mreqn mreq = { .imr_multiaddr.s_addr = htonl(0xe0000909) };
	struct ipv6_mreq mreq6 = {};
	char big[8192] = { 1 };
	int on = 1, value = 0;
	socklen_t len = sizeof(value);

	(void)arg;
	(void)inet_pton(AF_INET6, "ff02::909", &mreq6.ipv6mr_multiaddr);
	CHECK_ERRNO(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "v0", 3), EPERM);
	CHECK_ERRNO(setsockopt(fd, SOL_SOCKET, SO_MARK, &on, sizeof(on)), EPERM);
	CHECK_ERRNO(setsockopt(fd, SOL_IP, IP_ADD_MEMBERSHIP, &mreq, sizeof(mreq)), EPERM);
	CHECK_ERRNO(setsockopt(fd6, SOL_IPV6, IPV6_JOIN_GROUP, &mreq6, sizeof(mreq6)), EPERM);
	CHECK_ERRNO(setsockopt(fd6, SOL_IPV6, IPV6_RTHDR, big, 24), EPERM);
	CHECK_ERRNO(setsockopt(fd, SOL_TCP, TCP_FASTOPEN_NO_COOKIE, &on, sizeof(on)), EPERM);
	CHECK_ERRNO(setsockopt(fd, SOL_TCP, TCP_REPAIR, &on, sizeof(on)), EPERM);
	CHECK(setsockopt(fd, SOL_TCP, TCP_NODELAY, &on, sizeof(on)) == 0);
	CHECK(getsockopt(fd, SOL_TCP, TCP_NODELAY, &value, &len) == 0 && value == 1);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) == 0);
	CHECK(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, big, sizeof(big)) == 0); /* more than a page */
	return 0;
}

static void socket_options(void **state)
{
	struct place at = inside(&t.a);

	(void)state;
	assert_int_equal(agent(&at, options, NULL), 0);
	assert_true(denied_as(EG_REASON_SOCKOPT));
	at.root = true;
	assert_int_equal(agent(&at, options, NULL), 0);
}

static int binds(void *arg)
{
	static const uint16_t ours[] = { PROXY, DNS_A, EXPLICIT };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(ours); i++) {
		auto_close int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		auto_close int udp6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		CHECK_ERRNO(bind_to(tcp, "0.0.0.0", ours[i]), EPERM);
		CHECK_ERRNO(bind_to(tcp, "127.0.0.1", ours[i]), EPERM);
		CHECK_ERRNO(bind_to(udp6, "::", ours[i]), EPERM);
		CHECK_ERRNO(bind_to(udp6, "::ffff:127.0.0.1", ours[i]), EPERM);
		CHECK(bind_to(udp6, "::", 0) == 0);
		CHECK(bind_to(tcp, "0.0.0.0", 0) == 0);
	}
	return 0;
}

static void bind_ours(void **state)
{
	struct place at = inside(&t.a);

	(void)state;
	assert_int_equal(agent(&at, binds, NULL), 0);
	assert_true(denied_as(EG_REASON_BIND));
}

/* ---- DNS ---------------------------------------------------------------------------------------- */

/* Answers what comes on the guard's resolver sockets, until a datagram says "end". */
static void serve_dns(const struct side *s, pid_t until)
{
	bool more = true;

	while (more) {
		struct pollfd p[2] = { { .fd = s->dns.fd[NETNS_UDP4], .events = POLLIN },
				       { .fd = s->dns.fd[NETNS_UDP6], .events = POLLIN } };

		more = poll(p, 2, 50) > 0 || waitpid(until, NULL, WNOHANG | __WNOTHREAD) == 0;
		for (int i = 0; i < 2; i++) {
			struct sockaddr_storage from;
			socklen_t len = sizeof(from);
			char text[64];
			ssize_t n;

			if (!(p[i].revents & POLLIN))
				continue;
			n = recvfrom(p[i].fd, text, sizeof(text), 0, (struct sockaddr *)&from, &len);
			if (n > 0)
				(void)sendto(p[i].fd, "answer", 6, 0, (struct sockaddr *)&from, len);
		}
	}
}

static bool answered_by(int fd, const char *addr, uint16_t port)
{
	struct sockaddr_storage from = {};
	socklen_t len = sizeof(from);
	char text[16];

	if (!readable(fd, WAIT_MS))
		return false;
	return recvfrom(fd, text, sizeof(text), 0, (struct sockaddr *)&from, &len) == 6 &&
	       same(&from, addr, port);
}

static int dns_ask(void *arg)
{
	static const char *const servers[] = { "8.8.8.8", "127.0.0.53", "10.0.0.1", "2001:db8::53",
					       "::1", "::ffff:9.9.9.9", "fe80::1" };

	(void)arg;
	for (size_t i = 0; i < ARRAY_SIZE(servers); i++) {
		int family = family_of(servers[i]);
		auto_close int loose = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		auto_close int tied = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

		CHECK(bind_to(loose, family == AF_INET ? "0.0.0.0" : "::", 0) == 0);
		CHECK(send_to(loose, servers[i], 53) == 6);
		CHECK(answered_by(loose, servers[i], 53));
		CHECK(send_to(loose, servers[i], 53) == 6);
		CHECK(answered_by(loose, servers[i], 53));
		CHECK_ERRNO(send_to(loose, servers[i], 5353), EPERM);
		CHECK(dial(tied, servers[i], 53) == 0);
		CHECK(peer_is(tied, servers[i], 53));
		for (int n = 0; n < 3; n++) {
			CHECK(send(tied, "q", 1, 0) == 1);
			CHECK(answered_by(tied, servers[i], 53));
		}
	}
	return 0;
}

/* An IPv4 sockaddr on a UDP socket of AF_INET6. */
static int dns_ask_v4_on_v6(void *arg)
{
	auto_close int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)arg;
	CHECK(send_to(fd, "8.8.4.4", 53) == 6);
	CHECK(answered_by(fd, "::ffff:8.8.4.4", 53));
	CHECK(dial(fd, "8.8.8.8", 53) == 0);
	CHECK(send(fd, "q", 1, 0) == 1);
	CHECK(answered_by(fd, "::ffff:8.8.8.8", 53));
	CHECK_ERRNO(send_to(fd, "8.8.4.4", 443), EPERM);
	return 0;
}

/* serve_dns() reaps the agent to see its end: the status goes through a pipe. */
static int with_dns(const struct side *s, int (*fn)(void *))
{
	struct place at = inside(s);
	auto_close int from = -1, to = -1;
	int pair[2];
	char ok = 1;
	pid_t pid;

	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	from = pair[0];
	to = pair[1];
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		ok = (char)(agent_enter(&at) || fn(NULL));
		_exit(write(to, &ok, 1) == 1 ? 0 : 1);
	}
	assert_true(pid > 0);
	own_close(&to);
	serve_dns(s, pid);
	(void)waitpid(pid, NULL, 0);
	return read(from, &ok, 1) == 1 ? ok : 1;
}

static void dns_udp(void **state)
{
	(void)state;
	assert_int_equal(with_dns(&t.a, dns_ask), 0);
	assert_int_equal(with_dns(&t.a, dns_ask_v4_on_v6), 0);
	assert_int_equal(with_dns(&t.b, dns_ask), 0);
}

static void dns_tcp(void **state)
{
	struct dialled d = { "8.8.8.8", 53, AF_INET, NETNS_TCP4, false };
	struct dialled d6 = { "2001:db8::53", 53, AF_INET6, NETNS_TCP6, false };
	struct place at = inside(&t.a);
	struct eg_record r;
	auto_close int one = -1, two = -1;

	(void)state;
	assert_int_equal(agent(&at, dial_one, &d), 0);
	one = accepted(t.a.dns.fd[NETNS_TCP4]);
	assert_int_equal(record_of(one, &r), 0);
	assert_int_equal(r.port, 53);
	assert_int_equal(r.guard, t.a.guard.id);
	assert_int_equal(agent(&at, dial_one, &d6), 0);
	two = accepted(t.a.dns.fd[NETNS_TCP6]);
	assert_int_equal(record_of(two, &r), 0);
}

/* ---- the wall ----------------------------------------------------------------------------------- */

static int socket_in(int netns, int family, int type, int proto)
{
	auto_close int home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	auto_close int fd = -1;

	assert_int_equal(setns(netns, CLONE_NEWNET), 0);
	fd = socket(family, type | SOCK_CLOEXEC, proto);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	assert_true(fd >= 0);
	return take_fd(&fd);
}

/* Frames that the outside saw within a while: those with a transport header or our mark. */
static size_t sniff(int fd)
{
	size_t seen = 0;
	uint8_t frame[2048];
	ssize_t n;

	while (readable(fd, QUIET_MS)) {
		uint16_t type;

		n = recv(fd, frame, sizeof(frame), MSG_DONTWAIT);
		if (n < 34)
			continue;
		type = (uint16_t)(frame[12] << 8 | frame[13]);
		if (memmem(frame, (size_t)n, "ESCAPE", 6) || (type == ETH_P_IP && frame[23] != IPPROTO_IGMP) ||
		    (type == ETH_P_IPV6 && n >= 54 && frame[20] != 0 && frame[20] != IPPROTO_ICMPV6))
			seen++;
	}
	return seen;
}

static int sniffer(const struct side *s)
{
	return socket_in(s->outside, AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
}

static int send_plain(void *arg)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)arg;
	CHECK(send_to(fd, "10.9.0.2", 5000) == 6);
	return 0;
}

/* The hook sees no ancillary data: the packet is on its way to v0 when only the wall is left. */
static int send_by_device(void *arg)
{
	struct where w = where("8.8.8.8", 53);
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct in_pktinfo info = { .ipi_ifindex = (int)if_nametoindex("v0") };
	char control[CMSG_SPACE(sizeof(info))] = {};
	struct iovec iov = { .iov_base = (char[]){ "ESCAPE" }, .iov_len = 6 };
	struct msghdr m = { .msg_name = &w.ss, .msg_namelen = w.len, .msg_iov = &iov, .msg_iovlen = 1,
			    .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	(void)arg;
	CHECK(info.ipi_ifindex > 0);
	c->cmsg_level = SOL_IP;
	c->cmsg_type = IP_PKTINFO;
	c->cmsg_len = CMSG_LEN(sizeof(info));
	memcpy(CMSG_DATA(c), &info, sizeof(info));
	CHECK_ERRNO(sendmsg(fd, &m, 0), EPERM);
	return 0;
}

static int dial_by_device(void *arg)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	auto_close int fast = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	auto_close int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct where w = where("192.0.2.9", 443);
	int on = 1;

	(void)arg;
	CHECK(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "v0", 3) == 0);
	CHECK_ERRNO(dial(fd, "192.0.2.9", 443), EINPROGRESS);
	CHECK(setsockopt(fast, SOL_SOCKET, SO_BINDTODEVICE, "v0", 3) == 0);
	CHECK(setsockopt(fast, SOL_TCP, TCP_FASTOPEN_NO_COOKIE, &on, sizeof(on)) == 0);
	(void)sendto(fast, "ESCAPE", 6, MSG_FASTOPEN | MSG_NOSIGNAL, (struct sockaddr *)&w.ss, w.len);
	CHECK(setsockopt(udp, SOL_SOCKET, SO_BINDTODEVICE, "v0", 3) == 0);
	CHECK_ERRNO(send_to(udp, "8.8.8.8", 53), EPERM);
	(void)poll(NULL, 0, 100);
	return 0;
}

/* A segment routing header sends the packet to its first segment, whatever connect() was rewritten to. */
static int dial_by_segment(void *arg)
{
	auto_close int fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	auto_close int udp = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint8_t srh[40] = { 0, 4, 4, 1, 1 }; /* next header, length in 8s, type 4, one segment left, last entry */

	(void)arg;
	(void)inet_pton(AF_INET6, "fd09::2", srh + 24);
	CHECK(setsockopt(fd, SOL_IPV6, IPV6_RTHDR, srh, sizeof(srh)) == 0);
	CHECK(setsockopt(udp, SOL_IPV6, IPV6_RTHDR, srh, sizeof(srh)) == 0);
	(void)dial(fd, "2001:db8::9", 443);
	(void)send_to(udp, "2001:db8::53", 53);
	(void)poll(NULL, 0, 100);
	return 0;
}

static void pin_path(const struct side *s, const char *name, char out[256])
{
	(void)snprintf(out, 256, "%s/v%d/guards/%llu/%s", t.c.bpffs, EG_LAYOUT,
		       (unsigned long long)s->guard.id, name);
}

/* Any option may be set, as through a call that the kernel shows no setsockopt program (those of a 32-bit process). */
static void let_options(const struct side *s, bool any)
{
	/* Asks for the guard's storage first: newer kernels swap no program for one without. */
	struct bpf_insn yes[] = { { .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = BPF_REG_1, .src_reg = BPF_PSEUDO_MAP_FD },
				  {},
				  { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_2 },
				  { .code = BPF_JMP | BPF_CALL, .imm = BPF_FUNC_get_local_storage },
				  { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
				  { .code = BPF_JMP | BPF_EXIT } };
	LIBBPF_OPTS(bpf_prog_load_opts, o, .expected_attach_type = BPF_CGROUP_SETSOCKOPT);
	static int ours = -1;
	struct bpf_link_info info = {};
	__u32 len = sizeof(info);
	auto_close int link = -1, all = -1, map = -1;
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/v%d/maps/guards", t.c.bpffs, EG_LAYOUT);
	map = bpf_obj_get(path);
	assert_true(map >= 0);
	yes[0].imm = map;
	pin_path(s, "egress_setsockopt", path);
	link = bpf_obj_get(path);
	assert_true(link >= 0);
	if (any) {
		assert_int_equal(bpf_obj_get_info_by_fd(link, &info, &len), 0);
		ours = bpf_prog_get_fd_by_id(info.prog_id);
		all = bpf_prog_load(BPF_PROG_TYPE_CGROUP_SOCKOPT, "any_option", "GPL", yes, ARRAY_SIZE(yes), &o);
		assert_true(ours >= 0 && all >= 0);
	}
	assert_int_equal(bpf_link_update(link, any ? all : ours, NULL), 0);
	if (!any)
		own_close(&ours);
}

static void held_by_the_wall(void **state)
{
	struct place at = inside(&t.a), plain = { .netns = t.a.inside, .cgroup = -1 };
	auto_close int fd = sniffer(&t.a);

	(void)state;
	(void)sniff(fd);
	assert_int_equal(agent(&plain, send_plain, NULL), 0);
	assert_true(sniff(fd) >= 1); /* the sniffer sees what leaves */
	(void)events();
	assert_int_equal(agent(&at, send_by_device, NULL), 0);
	assert_int_equal(sniff(fd), 0);
	assert_true(denied_as(EG_REASON_WALL));
	let_options(&t.a, true);
	assert_int_equal(agent(&plain, dial_by_device, NULL), 1); /* its UDP leaves: no EPERM there */
	assert_true(sniff(fd) >= 1);
	assert_int_equal(agent(&at, dial_by_device, NULL), 0);
	assert_int_equal(sniff(fd), 0);
	assert_int_equal(agent(&plain, dial_by_segment, NULL), 0);
	assert_true(sniff(fd) >= 1);
	assert_int_equal(agent(&at, dial_by_segment, NULL), 0);
	assert_int_equal(sniff(fd), 0);
	at.root = true;
	assert_int_equal(agent(&at, dial_by_device, NULL), 0);
	assert_int_equal(sniff(fd), 0);
	let_options(&t.a, false);
}

struct inbound {
	int ready, done;
};

static int listen_inside(void *arg)
{
	const struct inbound *in = arg;
	auto_close int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	char c;

	CHECK(bind_to(fd, "::", 7000) == 0 && listen(fd, 8) == 0);
	CHECK(bind_to(udp, "0.0.0.0", 7000) == 0);
	CHECK(write(in->ready, "r", 1) == 1);
	CHECK(read(in->done, &c, 1) >= 0);
	return readable(fd, 0) || readable(udp, 0) ? 3 : 0; /* 3: something came in */
}

/* Dials a listener inside from outside; true when it was reached. */
static bool reached(const struct place *at)
{
	struct place out = { .netns = t.a.outside, .cgroup = -1 };
	int ready[2], done[2], status;
	struct inbound in;
	pid_t pid;
	char c;
	auto_close int tcp = -1, tcp6 = -1, udp = -1;

	assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
	assert_int_equal(pipe2(done, O_CLOEXEC), 0);
	in = (struct inbound){ .ready = ready[1], .done = done[0] };
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		(void)close(done[1]);
		_exit(agent_enter(at) ? 1 : listen_inside(&in));
	}
	(void)close(ready[1]);
	(void)close(done[0]);
	assert_int_equal(read(ready[0], &c, 1), 1);
	tcp = socket_in(out.netns, AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	tcp6 = socket_in(out.netns, AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	udp = socket_in(out.netns, AF_INET, SOCK_DGRAM, 0);
	(void)dial(tcp, "10.9.0.1", 7000);
	(void)dial(tcp6, "fd09::1", 7000);
	(void)send_to(udp, "10.9.0.1", 7000);
	(void)poll(NULL, 0, QUIET_MS);
	(void)close(done[1]);
	(void)close(ready[0]);
	status = agent_wait(pid);
	assert_true(status == 0 || status == 3);
	return status == 3;
}

static void inbound(void **state)
{
	struct place at = inside(&t.a), plain = { .netns = t.a.inside, .cgroup = -1 };

	(void)state;
	assert_true(reached(&plain));
	(void)events();
	assert_false(reached(&at));
	assert_true(denied_as(EG_REASON_INBOUND));
}

/* ---- leases ------------------------------------------------------------------------------------- */

static void lease(const char *addr, uint16_t port, uint32_t flags, int64_t seconds)
{
	struct eg_lease_key key = { .guard = t.a.guard.id, .port = port };
	struct eg_lease l = { .expires = now_ns() + (uint64_t)(seconds * 1000000000), .flags = flags };

	mapped(addr, key.addr);
	assert_int_equal(enforce_lease(t.en, &key, &l), 0);
}

static int dial_direct(void *arg)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval tv = { .tv_sec = 1 };
	char c = 0;

	(void)arg;
	CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)) == 0);
	CHECK(dial(fd, "10.9.0.2", 5432) == 0);
	CHECK(peer_is(fd, "10.9.0.2", 5432));
	CHECK(write(fd, "x", 1) == 1 && readable(fd, WAIT_MS) && read(fd, &c, 1) == 1 && c == 'y');
	CHECK_ERRNO(dial(socket(AF_INET, SOCK_STREAM, 0), "10.9.0.2", 5433), EPERM);
	CHECK_ERRNO(send_to(socket(AF_INET, SOCK_DGRAM, 0), "10.9.0.2", 5432), EPERM);
	return 0;
}

static int dial_5432_refused(void *arg)
{
	(void)arg;
	CHECK_ERRNO(dial(socket(AF_INET, SOCK_STREAM, 0), "10.9.0.2", 5432), EPERM);
	return 0;
}

static void leases(void **state)
{
	struct dialled d = { "10.9.0.2", 443, AF_INET, NETNS_TCP4, false };
	struct place at = inside(&t.a), other = inside(&t.b);
	auto_close int server = socket_in(t.a.outside, AF_INET, SOCK_STREAM, 0), fd = -1, peer = -1;
	struct eg_lease_key stranger = { .guard = 1, .port = 1 };
	struct eg_lease none = {};
	struct eg_record r;
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(enforce_lease(t.en, &stranger, &none), -ENOENT);
	lease("10.9.0.2", 443, 0, 60); /* a `private` rule: through the proxy */
	pid = agent_start(&at, dial_one, &d);
	assert_int_equal(agent_wait(pid), 0);
	fd = accepted(t.a.tcp.fd[NETNS_TCP4]);
	assert_int_equal(record_of(fd, &r), 0);
	check_record(&t.a, &d, &r, pid);

	assert_int_equal(bind_to(server, "10.9.0.2", 5432), 0);
	assert_int_equal(listen(server, 8), 0);
	assert_int_equal(agent(&at, dial_5432_refused, NULL), 0);
	lease("10.9.0.2", 5432, EG_LEASE_DIRECT, 60);
	pid = agent_start(&at, dial_direct, NULL);
	peer = accepted(server);
	assert_true(peer >= 0);
	assert_int_equal(read(peer, &c, 1), 1);
	assert_int_equal(write(peer, "y", 1), 1);
	assert_int_equal(agent_wait(pid), 0);
	assert_int_equal(agent(&other, dial_5432_refused, NULL), 0); /* another guard's */
	lease("10.9.0.2", 5432, EG_LEASE_DIRECT, -1);
	assert_int_equal(agent(&at, dial_5432_refused, NULL), 0);
	enforce_sweep(t.en, now_ns());
	assert_int_equal(agent(&at, dial_5432_refused, NULL), 0);
	enforce_sweep(t.en, UINT64_MAX);
	assert_int_equal(agent(&at, (int (*)(void *))dial_refused, &(size_t){ 12 }), 0); /* 10.9.0.2:443 */
}

/* A connection outlives its lease, until it is cut: the wall looks at each packet. */
static int dial_then_wait(void *arg)
{
	int *pipes = arg;
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char c;

	CHECK(dial(fd, "192.0.2.1", 443) == 0);
	CHECK(connect(fd, &none, sizeof(none)) == 0);
	CHECK(dial(fd, "10.9.0.2", 5434) == 0);
	CHECK(write(pipes[1], "c", 1) == 1);
	CHECK(read(pipes[2], &c, 1) == 1);
	CHECK(write(fd, "lives", 5) == 5);
	CHECK(write(pipes[1], "c", 1) == 1);
	CHECK(read(pipes[2], &c, 1) == 1);
	CHECK(write(fd, "ESCAPE", 6) == 6); /* into the socket's buffer */
	(void)poll(NULL, 0, 200);
	return 0;
}

static void lease_ends(void **state)
{
	struct place at = inside(&t.a);
	auto_close int server = socket_in(t.a.outside, AF_INET, SOCK_STREAM, 0), peer = -1;
	struct eg_guard cut = t.a.guard;
	char c, text[16];
	int pipes[4];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(pipe2(pipes + 2, O_CLOEXEC), 0);
	assert_int_equal(bind_to(server, "10.9.0.2", 5434), 0);
	assert_int_equal(listen(server, 8), 0);
	lease("10.9.0.2", 5434, EG_LEASE_DIRECT, 60);
	pid = agent_start(&at, dial_then_wait, pipes);
	peer = accepted(server);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	assert_true(pending_is(&t.a, 0)); /* a direct connection leaves no record, whatever was dialled before */
	drain(t.a.tcp.fd[NETNS_TCP4]);
	lease("10.9.0.2", 5434, EG_LEASE_DIRECT, -1);
	assert_int_equal(write(pipes[3], "g", 1), 1);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	assert_true(readable(peer, 5000));
	assert_int_equal(read(peer, text, sizeof(text)), 5);
	cut.direct_since = now_ns();
	assert_int_equal(enforce_set(t.en, &cut, NULL), 0);
	assert_int_equal(write(pipes[3], "g", 1), 1);
	assert_int_equal(agent_wait(pid), 0);
	assert_false(readable(peer, QUIET_MS));
	assert_int_equal(enforce_set(t.en, &t.a.guard, NULL), 0);
	for (int i = 0; i < 4; i++)
		(void)close(pipes[i]);
}

/* ---- quota -------------------------------------------------------------------------------------- */

static int abort_many(void *arg)
{
	struct linger now = { .l_onoff = 1 };

	(void)arg;
	for (int i = 0; i < 2000; i++) {
		int v6 = i % 3 == 1;
		auto_close int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		CHECK(fd >= 0);
		if (i & 1)
			CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
		(void)dial(fd, v6 ? "2001:db8::1" : "192.0.2.1", 443);
	}
	return 0;
}

static void aborted(void **state)
{
	struct place at = inside(&t.a);
	struct eg_guard away = t.a.guard;

	(void)state;
	assert_int_equal(agent(&at, abort_many, NULL), 0);
	assert_true(pending_is(&t.a, 0));
	drain(t.a.tcp.fd[NETNS_TCP4]);
	drain(t.a.tcp.fd[NETNS_TCP6]);
	away.proxy_port = PROXY + 7; /* nobody listens: RST */
	assert_int_equal(enforce_set(t.en, &away, NULL), 0);
	assert_int_equal(agent(&at, abort_many, NULL), 0);
	assert_int_equal(enforce_set(t.en, &t.a.guard, NULL), 0);
	assert_true(pending_is(&t.a, 0));
}

/* With the listener's queue full, SYNs go unanswered and records stay. */
static int fill(void *arg)
{
	const int *pipes = arg;
	int n = EG_PENDING_PER_GUARD + 200;
	struct rlimit rl = { .rlim_cur = 4096, .rlim_max = 4096 };
	char c;

	CHECK(setrlimit(RLIMIT_NOFILE, &rl) == 0);
	for (int i = 0; i < n; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		CHECK(fd >= 0);
		CHECK(dial(fd, "192.0.2.1", 443) == 0 || errno == EINPROGRESS);
	}
	CHECK(write(pipes[1], "f", 1) == 1);
	CHECK(read(pipes[2], &c, 1) == 1);
	return 0; /* and everything closes at once */
}

static void quota(void **state)
{
	struct dialled d = dialled[0];
	struct place at = inside(&t.a), other = inside(&t.b);
	auto_close int fd = -1;
	struct eg_record r;
	int pipes[4];
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(pipe2(pipes + 2, O_CLOEXEC), 0);
	assert_int_equal(listen(t.a.tcp.fd[NETNS_TCP4], 1), 0);
	(void)events();
	at.root = true; /* for the limit of files */
	pid = agent_start(&at, fill, pipes);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	assert_int_equal(pending_of(&t.a), EG_PENDING_PER_GUARD);
	assert_true(denied_as(EG_REASON_PENDING));
	assert_int_equal(agent(&other, dial_one, &d), 0); /* another guard is not touched */
	fd = accepted(t.b.tcp.fd[NETNS_TCP4]);
	assert_int_equal(record_of(fd, &r), 0);
	assert_int_equal(r.guard, t.b.guard.id);
	assert_int_equal(write(pipes[3], "g", 1), 1);
	assert_int_equal(agent_wait(pid), 0);
	assert_true(pending_is(&t.a, 0));
	assert_int_equal(listen(t.a.tcp.fd[NETNS_TCP4], SOMAXCONN), 0);
	drain(t.a.tcp.fd[NETNS_TCP4]);
	for (int i = 0; i < 4; i++)
		(void)close(pipes[i]);
	at.root = false;
	assert_int_equal(agent(&at, dial_one, &d), 0);
	own_close(&fd);
	fd = accepted(t.a.tcp.fd[NETNS_TCP4]);
	assert_int_equal(record_of(fd, &r), 0);
}

/* ---- two namespaces, equal addresses ------------------------------------------------------------ */

struct said {
	uint64_t guard;
	uint32_t addr; /* network order */
	uint16_t port;
	uint16_t pad;
};

/* Reuses a handful of source ports (none that the kernel gives out), so that both namespaces have the same 4-tuples at the same time. */
static int storm(void *arg)
{
	const struct side *s = arg;
	struct linger now = { .l_onoff = 1 };

	for (uint32_t i = 0; i < STORM; i++) {
		struct said said = { .guard = s->guard.id, .addr = htonl(0xc6336400u | (i & 0xff)),
				     .port = (uint16_t)(1024 + i) };
		struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(said.port),
					  .sin_addr.s_addr = said.addr };
		auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		int on = 1;
		char c;

		CHECK(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0);
		CHECK(setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) == 0);
		CHECK(bind_to(fd, "127.0.0.1", (uint16_t)(20000 + i % 16)) == 0);
		CHECK(connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0);
		CHECK(write(fd, &said, sizeof(said)) == (ssize_t)sizeof(said));
		CHECK(read(fd, &c, 1) == 1);
	}
	return 0;
}

/* Takes one connection; false when its record is not what the client says it dialled. */
static bool judge(const struct side *s)
{
	auto_close int fd = accept4(s->tcp.fd[NETNS_TCP4], NULL, NULL, SOCK_CLOEXEC);
	struct eg_record r;
	struct said said;

	if (fd < 0 || record_of(fd, &r) || read(fd, &said, sizeof(said)) != (ssize_t)sizeof(said))
		return false;
	return write(fd, "k", 1) == 1 && r.guard == s->guard.id && said.guard == s->guard.id && r.netns == s->cookie &&
	       r.port == said.port && memcmp(r.addr + 12, &said.addr, 4) == 0;
}

static void equal_addresses(void **state)
{
	struct place at_a = inside(&t.a), at_b = inside(&t.b);
	pid_t a = agent_start(&at_a, storm, &t.a), b = agent_start(&at_b, storm, &t.b);
	size_t good = 0, bad = 0;

	(void)state;
	while (good + bad < 2 * STORM) {
		struct pollfd p[2] = { { .fd = t.a.tcp.fd[NETNS_TCP4], .events = POLLIN },
				       { .fd = t.b.tcp.fd[NETNS_TCP4], .events = POLLIN } };

		if (poll(p, 2, WAIT_MS) <= 0)
			break;
		for (int i = 0; i < 2; i++) {
			if (!(p[i].revents & POLLIN))
				continue;
			if (judge(i ? &t.b : &t.a))
				good++;
			else
				bad++;
		}
	}
	assert_int_equal(agent_wait(a), 0);
	assert_int_equal(agent_wait(b), 0);
	assert_int_equal(bad, 0);
	assert_int_equal(good, 2 * STORM);
	assert_true(pending_is(&t.a, 0) && pending_is(&t.b, 0));
	(void)printf("# %zu connections, %zu wrong\n", good, bad);
}

/* ---- events and counters ------------------------------------------------------------------------ */

static int refuse_often(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++) {
		auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		CHECK_ERRNO(dial(fd, "10.77.77.77", 777), EPERM);
	}
	return 0;
}

static void event_rate(void **state)
{
	uint64_t before[EG_STAT_COUNT], after[EG_STAT_COUNT];
	struct place at = inside(&t.a);
	size_t n;

	(void)state;
	(void)events();
	assert_int_equal(enforce_stats(t.en, before), 0);
	assert_int_equal(agent(&at, refuse_often, NULL), 0);
	assert_int_equal(enforce_stats(t.en, after), 0);
	n = events();
	assert_in_range(n, 1, 5); /* sockets of earlier tests may still be sending against the wall */
	assert_in_range(after[EG_STAT_EVENTS_LIMITED] - before[EG_STAT_EVENTS_LIMITED], 100 - n, 110);
	assert_int_equal(after[EG_STAT_DENIED + EG_REASON_PRIVATE] - before[EG_STAT_DENIED + EG_REASON_PRIVATE],
			 100);
	assert_true(after[EG_STAT_REDIRECTED] > 0 && after[EG_STAT_DNS] > 0 && after[EG_STAT_DIRECT] > 0);
}

static int refuse_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < 6000; i++) {
		auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		char text[32];

		(void)snprintf(text, sizeof(text), "10.1.%d.%d", i >> 8, i & 255);
		CHECK_ERRNO(dial(fd, text, 1), EPERM);
	}
	return 0;
}

/* A full ring counts the loss and goes on denying. */
static void full_ring(void **state)
{
	uint64_t before[EG_STAT_COUNT], after[EG_STAT_COUNT];
	struct place at = inside(&t.a);

	(void)state;
	assert_int_equal(enforce_stats(t.en, before), 0);
	assert_int_equal(agent(&at, refuse_many, NULL), 0);
	assert_int_equal(enforce_stats(t.en, after), 0);
	assert_true(after[EG_STAT_EVENTS_LOST] > before[EG_STAT_EVENTS_LOST]);
	assert_true(events() > 1000);
	assert_int_equal(agent(&at, refuse_often, NULL), 0);
}

/* ---- closed, restart, removal ------------------------------------------------------------------- */

static int all_closed(void *arg)
{
	int inherited = *(int *)arg;
	int on = 1;

	CHECK_ERRNO(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), EPERM);
	CHECK_ERRNO(socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), EPERM);
	CHECK_ERRNO(dial(inherited, "192.0.2.1", 443), EPERM);
	CHECK_ERRNO(bind_to(inherited, "127.0.0.1", 0), EPERM);
	CHECK_ERRNO(setsockopt(inherited, SOL_TCP, TCP_NODELAY, &on, sizeof(on)), EPERM);
	return 0;
}

/* Makes a socket while the guard is open, then waits for the word to try it closed. */
static int before_and_after(void *arg)
{
	const int *pipes = arg;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char c;

	CHECK(fd >= 0);
	CHECK(write(pipes[1], "r", 1) == 1);
	CHECK(read(pipes[2], &c, 1) == 1);
	return all_closed(&fd);
}

static void closed_guard(void **state)
{
	struct place at = inside(&t.a);
	struct eg_guard shut = t.a.guard;
	int pipes[4], ended;
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(pipe2(pipes + 2, O_CLOEXEC), 0);
	pid = agent_start(&at, before_and_after, pipes);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	shut.flags = 0;
	assert_int_equal(enforce_set(t.en, &shut, NULL), 0);
	assert_int_equal(write(pipes[3], "g", 1), 1);
	ended = agent_wait(pid);
	assert_int_equal(enforce_set(t.en, &t.a.guard, NULL), 0);
	assert_int_equal(ended, 0);
	assert_true(denied_as(EG_REASON_CLOSED));
	for (int i = 0; i < 4; i++)
		(void)close(pipes[i]);
}

static uint32_t program_on(int cgroup, enum bpf_attach_type type, uint32_t *count)
{
	uint32_t ids[64] = {}, n = 64;

	assert_int_equal(bpf_prog_query(cgroup, type, 0, NULL, ids, &n), 0);
	if (count)
		*count = n;
	return ids[0];
}

static int metadata_refused(void *arg)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)arg;
	CHECK_ERRNO(dial(fd, "169.254.169.254", 80), EPERM);
	return 0;
}

static void reopen(void)
{
	struct err e = {};
	int rc = enforce_open(&t.c, t.listen, &t.en, &e);

	if (rc)
		fail_msg("enforce_open: %s", e.text);
}

static void restart(void **state)
{
	uint32_t before = program_on(t.a.cgroup, BPF_CGROUP_INET4_CONNECT, NULL), count;
	struct place at = inside(&t.a);
	struct dialled d = dialled[0];
	auto_close int one = -1, two = -1;
	uint64_t ids[8];
	struct eg_guard g;
	struct eg_record r;
	char path[256];

	(void)state;
	t.en = enforce_close(t.en);
	pin_path(&t.a, "egress_connect4", path);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(agent(&at, metadata_refused, NULL), 0);
	assert_int_equal(agent(&at, dial_one, &d), 0); /* queues at the listener, which others keep */
	reopen();
	one = accepted(t.a.tcp.fd[NETNS_TCP4]);
	assert_int_equal(record_of(one, &r), 0);
	assert_true(program_on(t.a.cgroup, BPF_CGROUP_INET4_CONNECT, &count) != before);
	assert_int_equal(count, 1);
	assert_int_equal(enforce_guards(t.en, ids, 8), 2);
	assert_int_equal(enforce_get(t.en, t.a.guard.id, &g), 0);
	assert_memory_equal(&g, &t.a.guard, sizeof(g));
	assert_int_equal(enforce_alive(t.en, t.a.guard.id), 0);
	assert_int_equal(agent(&at, metadata_refused, NULL), 0);
	assert_int_equal(agent(&at, dial_one, &d), 0);
	two = accepted(t.a.tcp.fd[NETNS_TCP4]);
	assert_int_equal(record_of(two, &r), 0);
	assert_int_equal(agent(&at, udp_refused, NULL), 0);
}

static int hammer(void *arg)
{
	const int *pipes = arg;
	struct pollfd p = { .fd = pipes[2], .events = POLLIN };

	while (poll(&p, 1, 0) == 0)
		if (metadata_refused(NULL))
			return 1;
	return 0;
}

/* Programs are swapped without a gap. */
static void restart_under_load(void **state)
{
	struct place at = inside(&t.a);
	int pipes[4];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(pipes + 2, O_CLOEXEC), 0);
	pid = agent_start(&at, hammer, pipes);
	for (int i = 0; i < 3; i++) {
		t.en = enforce_close(t.en);
		reopen();
	}
	assert_int_equal(write(pipes[3], "g", 1), 1);
	assert_int_equal(agent_wait(pid), 0);
	(void)close(pipes[2]);
	(void)close(pipes[3]);
}

/* A lost pin is mended, a half-made guard is taken away. */
static void mended(void **state)
{
	struct place at = inside(&t.a);
	char path[256], half[256], from[256];
	uint32_t count;

	(void)state;
	pin_path(&t.a, "egress_connect4", path);
	t.en = enforce_close(t.en);
	assert_int_equal(unlink(path), 0);
	(void)snprintf(half, sizeof(half), "%s/v%d/guards/new-%llu", t.c.bpffs, EG_LAYOUT,
		       (unsigned long long)t.b.guard.id);
	pin_path(&t.b, "", from);
	assert_int_equal(rename(from, half), 0);
	reopen();
	for (int i = 0; i < 100; i++) { /* the lost link goes when its inode does, a moment later */
		(void)program_on(t.a.cgroup, BPF_CGROUP_INET4_CONNECT, &count);
		if (count == 1)
			break;
		(void)poll(NULL, 0, 20);
	}
	assert_int_equal(count, 1);
	assert_int_equal(access(path, F_OK), 0);
	assert_int_equal(agent(&at, metadata_refused, NULL), 0);
	assert_int_equal(access(half, F_OK), -1);
	(void)program_on(t.b.cgroup, BPF_CGROUP_INET4_CONNECT, &count);
	assert_int_equal(count, 0);
	assert_int_equal(enforce_alive(t.en, t.b.guard.id), -ENOENT);
	assert_int_equal(enforce_attach(t.en, t.b.cgroup, &t.b.guard, NULL), 0);
}

static int gone_cgroup(const char *name, uint64_t *id)
{
	struct eg_guard g = { .flags = EG_GUARD_OPEN, .proxy_port = PROXY, .dns_port = DNS_B };
	struct err e = {};
	int fd = -1;
	int rc = cgroup_make(&t.c, name, &fd, id, &e);

	assert_int_equal(rc, 0);
	g.id = *id;
	rc = enforce_attach(t.en, fd, &g, &e);
	if (rc)
		fail_msg("%s", e.text);
	return fd;
}

static void gone(void **state)
{
	uint64_t id, ids[8];
	char path[256];
	int fd = gone_cgroup("gone", &id);
	int rc = 0;

	(void)state;
	own_close(&fd);
	assert_int_equal(cgroup_remove(&t.c, "gone", NULL), 0);
	for (int i = 0; i < 100 && rc == 0; i++) {
		rc = enforce_alive(t.en, id);
		(void)poll(NULL, 0, 20);
	}
	assert_int_equal(rc, -ENOLINK);
	t.en = enforce_close(t.en);
	reopen();
	assert_int_equal(enforce_guards(t.en, ids, 8), 2);
	assert_int_equal(enforce_alive(t.en, id), -ENOENT);
	(void)snprintf(path, sizeof(path), "%s/v%d/guards/%llu", t.c.bpffs, EG_LAYOUT, (unsigned long long)id);
	assert_int_equal(access(path, F_OK), -1);
}

static void detach(void **state)
{
	struct eg_guard g;
	uint64_t id;
	auto_close int fd = gone_cgroup("detached", &id);
	uint32_t count;
	int fds[64];

	(void)state;
	assert_int_equal(enforce_fds(t.en, id, fds, 64), enforce_missing(t.en, 2)[0] ? 15 : 17);
	assert_true(enforce_fds(t.en, 0, fds, 64) >= 2 + 9);
	assert_int_equal(enforce_fds(t.en, id, fds, 3), 3);
	(void)program_on(fd, BPF_CGROUP_INET_EGRESS, &count);
	assert_int_equal(count, 1);
	fds[0] = fcntl(fds[0], F_DUPFD_CLOEXEC, 3); /* as the holder keeps one */
	assert_int_equal(enforce_detach(t.en, id, NULL), 0);
	(void)program_on(fd, BPF_CGROUP_INET_EGRESS, &count);
	assert_int_equal(count, 0);
	(void)close(fds[0]);
	assert_int_equal(enforce_get(t.en, id, &g), -ENOENT);
	assert_int_equal(enforce_detach(t.en, id, NULL), -ENOENT);
	assert_int_equal(cgroup_remove(&t.c, "detached", NULL), 0);
}

/* The holder's duplicates keep everything in force when the bpffs is taken away; without them the gate opens. */
static void unmounted(void **state)
{
	struct place at = inside(&t.a);
	struct dialled d = dialled[0];
	auto_close int fd = -1;
	struct eg_record r;
	uint32_t count = 1;
	int held[64];
	size_t n = enforce_fds(t.en, t.a.guard.id, held, 64);

	(void)state;
	n += enforce_fds(t.en, t.b.guard.id, held + n, 64 - n);
	n += enforce_fds(t.en, 0, held + n, 64 - n);
	for (size_t i = 0; i < n; i++)
		held[i] = fcntl(held[i], F_DUPFD_CLOEXEC, 3);
	t.en = enforce_close(t.en);
	assert_int_equal(umount2(t.c.bpffs, MNT_DETACH), 0);
	assert_int_equal(agent(&at, metadata_refused, NULL), 0);
	assert_int_equal(agent(&at, dial_one, &d), 0);
	fd = accepted(t.a.tcp.fd[NETNS_TCP4]);
	assert_int_equal(record_of(fd, &r), 0);
	for (size_t i = 0; i < n; i++)
		(void)close(held[i]);
	for (int i = 0; i < 100 && count; i++) {
		(void)program_on(t.a.cgroup, BPF_CGROUP_INET4_CONNECT, &count);
		(void)poll(NULL, 0, 20);
	}
	assert_int_equal(count, 0);
	reopen();
	assert_int_equal(enforce_attach(t.en, t.a.cgroup, &t.a.guard, NULL), 0);
	assert_int_equal(enforce_attach(t.en, t.b.cgroup, &t.b.guard, NULL), 0);
	assert_int_equal(agent(&at, metadata_refused, NULL), 0);
}

/* ---- refusals of enforce itself ----------------------------------------------------------------- */

static int other_program(void)
{
	const struct bpf_insn allow[] = {
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0, .imm = 1 },
		{ .code = BPF_JMP | BPF_EXIT },
	};

	return bpf_prog_load(BPF_PROG_TYPE_CGROUP_SKB, "somebody_elses", "GPL", allow, 2, NULL);
}

static void exclusive(void **state)
{
	auto_close int prog = other_program(), fd = -1, parent = -1;
	struct eg_guard g = t.a.guard;
	struct err e = {};
	uint32_t count;
	uint64_t id;

	(void)state;
	assert_true(prog >= 0);
	assert_int_equal(cgroup_make(&t.c, "exclusive", &parent, &id, &e), 0);
	assert_int_equal(mkdirat(parent, "below", 0755), 0);
	fd = openat(parent, "below", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	for (unsigned int flags = 0; flags <= BPF_F_ALLOW_OVERRIDE; flags++) {
		struct stat st;

		assert_int_equal(bpf_prog_attach(prog, parent, BPF_CGROUP_INET_EGRESS, flags), 0);
		assert_int_equal(fstat(fd, &st), 0);
		g.id = st.st_ino;
		assert_int_equal(enforce_attach(t.en, fd, &g, &e), -EPERM);
		assert_non_null(strstr(e.text, "somebody_elses"));
		(void)program_on(fd, BPF_CGROUP_INET4_CONNECT, &count);
		assert_int_equal(count, 0);
		assert_int_equal(bpf_prog_detach2(prog, parent, BPF_CGROUP_INET_EGRESS), 0);
	}
	assert_int_equal(unlinkat(parent, "below", AT_REMOVEDIR), 0);
	assert_int_equal(cgroup_remove(&t.c, "exclusive", &e), 0);
}

static void bad_attach(void **state)
{
	auto_close int tmp = open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct eg_guard g = t.a.guard;
	struct err e = {};

	(void)state;
	assert_int_equal(enforce_attach(t.en, t.a.cgroup, &g, &e), -EEXIST);
	g.id = 0;
	assert_int_equal(enforce_attach(t.en, t.a.cgroup, &g, &e), -EINVAL);
	g.id = t.b.guard.id;
	assert_int_equal(enforce_attach(t.en, t.a.cgroup, &g, &e), -EINVAL);
	assert_int_equal(enforce_attach(t.en, tmp, &g, &e), -EINVAL);
	g.id = 1;
	assert_int_equal(enforce_set(t.en, &g, &e), -ENOENT);
	assert_int_equal(enforce_alive(t.en, 1), -ENOENT);
}

static void doctor(void **state)
{
	struct doctor_check checks[32];
	size_t n = doctor_checks(&t.c, t.en, checks, 32);

	(void)state;
	assert_true(n >= 12);
	for (size_t i = 0; i < n; i++)
		if (checks[i].required && !checks[i].ok)
			fail_msg("%s: %s", checks[i].name, checks[i].detail);
	assert_int_equal(doctor_checks(&t.c, t.en, checks, 2), 2);
}

/* ---- netns.c and cgroup.c ----------------------------------------------------------------------- */

static int new_netns(void *arg)
{
	const int *pipes = arg;
	char c;

	CHECK(unshare(CLONE_NEWNET) == 0);
	CHECK(write(pipes[1], "n", 1) == 1);
	CHECK(pipes[2] < 0 || read(pipes[2], &c, 1) == 1);
	return 0;
}

static void namespaces(void **state)
{
	struct place at = { .netns = -1, .cgroup = -1, .root = true };
	struct netns_sockets s = {}, other = {};
	struct err e = {};
	auto_close int fresh = -1;
	int pipes[4], rc;
	pid_t pid;
	char c;

	(void)state;
	assert_int_equal(netns_sockets(t.a.inside, t.listen, PROXY, false, &s, &e), -EADDRINUSE);
	assert_non_null(strstr(e.text, "15001"));
	assert_int_equal(netns_sockets(t.a.inside, t.listen, 0, true, &s, &e), 0);
	assert_true(s.port != 0);
	assert_int_equal(s.cookie, t.a.cookie);
	for (int i = 0; i < NETNS_SOCKETS; i++)
		assert_true(s.fd[i] >= 0 && (fcntl(s.fd[i], F_GETFD) & FD_CLOEXEC) &&
			    (fcntl(s.fd[i], F_GETFL) & O_NONBLOCK));
	assert_int_equal(netns_sockets(t.a.inside, t.listen, s.port, true, &other, &e), -EADDRINUSE);
	assert_int_equal(netns_sockets(t.a.inside, t.listen, 0, false, &other, &e), 0);
	assert_true(other.fd[NETNS_UDP4] == -1 && other.fd[NETNS_UDP6] == -1);
	netns_sockets_done(&s);
	netns_sockets_done(&other);
	assert_int_equal(netns_sockets(t.b.inside, t.listen, 0, false, &other, &e), 0);
	assert_int_equal(other.cookie, t.b.cookie);
	assert_int_not_equal(other.cookie, t.a.cookie);
	netns_sockets_done(&other);
	assert_int_equal(netns_sockets(t.listen, t.listen, 0, false, &other, &e), -EINVAL);
	assert_int_not_equal(netns_of(0, &fresh, &e), 0);

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(pipe2(pipes + 2, O_CLOEXEC), 0);
	pid = agent_start(&at, new_netns, pipes);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	assert_int_equal(netns_of(pid, &fresh, &e), 0);
	rc = netns_sockets(fresh, t.listen, PROXY, false, &s, &e);
	assert_int_equal(write(pipes[3], "g", 1), 1);
	assert_int_equal(agent_wait(pid), 0);
	assert_int_equal(rc, -ENETDOWN);
	assert_non_null(strstr(e.text, "ip link set lo up"));
	for (int i = 0; i < 4; i++)
		(void)close(pipes[i]);
}

static int linger(void *arg)
{
	char c;

	CHECK(write(((int *)arg)[1], "l", 1) == 1);
	CHECK(read(((int *)arg)[2], &c, 1) == 1);
	return 0;
}

static void cgroups(void **state)
{
	struct place at = { .netns = -1, .cgroup = -1 };
	char path[512];
	auto_close int fd = -1, same_fd = -1;
	uint64_t id, same_id, of;
	struct err e = {};
	int pipes[4];
	bool populated = true;
	pid_t pid, pids[4];
	char c;

	(void)state;
	assert_int_equal(cgroup_make(&t.c, "mine", &fd, &id, &e), 0);
	assert_int_equal(cgroup_make(&t.c, "mine", &same_fd, &same_id, &e), -EEXIST);
	assert_int_equal(cgroup_open(&t.c, "mine", &same_fd, &same_id, &e), 0);
	assert_int_equal(id, same_id);
	assert_int_equal(cgroup_populated(fd, &populated), 0);
	assert_false(populated);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(pipe2(pipes + 2, O_CLOEXEC), 0);
	at.cgroup = fd;
	pid = agent_start(&at, linger, pipes);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	assert_int_equal(cgroup_populated(fd, &populated), 0);
	assert_true(populated);
	assert_int_equal(cgroup_pids(fd, pids, 4), 1);
	assert_int_equal(pids[0], pid);
	assert_int_equal(cgroup_of(pid, path, sizeof(path), &of, &e), 0);
	assert_int_equal(of, id);
	assert_true(cgroup_within(t.c.cgroup_root, path));
	assert_int_equal(cgroup_remove(&t.c, "mine", &e), -EBUSY);
	assert_int_equal(write(pipes[3], "g", 1), 1);
	assert_int_equal(agent_wait(pid), 0);
	assert_int_equal(cgroup_remove(&t.c, "mine", &e), 0);
	assert_int_equal(cgroup_remove(&t.c, "mine", &e), -ENOENT);
	assert_int_equal(cgroup_open(&t.c, "../listen", &same_fd, &same_id, &e), -EINVAL);
	assert_int_equal(cgroup_make(&t.c, "", &same_fd, &same_id, &e), -EINVAL);
	assert_int_equal(cgroup_make(&t.c, "..", &same_fd, &same_id, &e), -EINVAL);
	assert_int_equal(cgroup_of(999999999, path, sizeof(path), &of, &e), -ESRCH);
	assert_int_equal(cgroup_move(t.listen, 999999999, &e), -ESRCH);
	assert_true(cgroup_within("/a/b", "/a/b") && cgroup_within("/a/b", "/a/b/c") && cgroup_within("/", "/a"));
	assert_false(cgroup_within("/a/b", "/a/bc") || cgroup_within("/a/b", "/a") || cgroup_within("/a", "/b"));
	for (int i = 0; i < 4; i++)
		(void)close(pipes[i]);
}

static void cgroup_refusals(void **state)
{
	struct config c = t.c;
	struct err e = {};
	int fd = -1;
	char path[300];

	(void)state;
	(void)snprintf(c.cgroup_root, sizeof(c.cgroup_root), "/tmp");
	assert_int_equal(cgroup_prepare(&c, &fd, &e), -EINVAL);
	(void)snprintf(c.cgroup_root, sizeof(c.cgroup_root), "%.100s/theirs", t.root);
	(void)snprintf(path, sizeof(path), "%s", c.cgroup_root);
	assert_int_equal(mkdir(path, 0755), 0);
	assert_int_equal(chown(path, 65534, 65534), 0);
	assert_int_equal(cgroup_prepare(&c, &fd, &e), -EPERM);
	(void)snprintf(c.cgroup_root, sizeof(c.cgroup_root), "%.100s/theirs/ours", t.root);
	assert_int_equal(cgroup_prepare(&c, &fd, &e), -EPERM);
	assert_int_equal(fd, -1);
	(void)rmdir(c.cgroup_root);
	assert_int_equal(rmdir(path), 0);
}

/* ---- setting up --------------------------------------------------------------------------------- */

static int keep_netns(void *arg)
{
	CHECK(new_netns(arg) == 0);
	CHECK(close_range(3, ~0u, 0) == 0); /* or it would hold the links of the other guard */
	for (;;)
		(void)pause();
}

static int make_netns(pid_t *pid)
{
	struct place at = { .netns = -1, .cgroup = -1, .root = true };
	int pipes[3] = { -1, -1, -1 }, fd = -1;
	struct err e = {};
	char c;

	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	*pid = agent_start(&at, keep_netns, pipes);
	assert_int_equal(read(pipes[0], &c, 1), 1);
	assert_int_equal(netns_of(*pid, &fd, &e), 0);
	(void)close(pipes[0]);
	(void)close(pipes[1]);
	return fd;
}

static int run_ip(void *arg)
{
	char *words[24], *save = NULL;
	size_t n = 0;

	for (char *w = strtok_r(arg, " ", &save); w && n < 23; w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	words[n] = NULL;
	(void)execvp(words[0], words);
	return broke(__LINE__, "execvp");
}

static void ip(int netns, const char *command)
{
	struct place at = { .netns = netns, .cgroup = -1, .root = true };
	char text[256];

	(void)snprintf(text, sizeof(text), "ip %s", command);
	if (agent(&at, run_ip, text))
		fail_msg("ip %s", command);
}

static void make_side(struct side *s, const char *name, uint16_t dns)
{
	char command[128];
	struct err e = {};

	s->inside = make_netns(&s->pid[0]);
	s->outside = make_netns(&s->pid[1]);
	(void)snprintf(command, sizeof(command), "link add v0 type veth peer name v1 netns %d", (int)s->pid[1]);
	ip(s->inside, "link set lo up");
	ip(s->inside, command);
	ip(s->inside, "addr add 10.9.0.1/24 dev v0");
	ip(s->inside, "addr add fd09::1/64 dev v0 nodad");
	ip(s->inside, "link set v0 up");
	ip(s->outside, "addr add 10.9.0.2/24 dev v1");
	ip(s->outside, "addr add fd09::2/64 dev v1 nodad");
	ip(s->outside, "link set v1 up");
	ip(s->inside, "route add default via 10.9.0.2");
	ip(s->inside, "-6 route add default via fd09::2");
	assert_int_equal(netns_sockets(s->inside, t.listen, PROXY, false, &s->tcp, &e), 0);
	assert_int_equal(netns_sockets(s->inside, t.listen, dns, true, &s->dns, &e), 0);
	s->cookie = s->tcp.cookie;
	s->guard = (struct eg_guard){ .flags = EG_GUARD_OPEN, .proxy_port = PROXY, .dns_port = dns };
	{
		uint64_t id;

		assert_int_equal(cgroup_make(&t.c, name, &s->cgroup, &id, &e), 0);
		s->guard.id = id;
	}
	if (enforce_attach(t.en, s->cgroup, &s->guard, &e))
		fail_msg("enforce_attach: %s", e.text);
}

static int set_up(void **state)
{
	struct err e = {};

	(void)state;
	t.c.explicit_port = EXPLICIT;
	(void)snprintf(t.c.cgroup_root, sizeof(t.c.cgroup_root), "%s", t.root);
	if (cgroup_prepare(&t.c, &t.listen, &e) || enforce_open(&t.c, t.listen, &t.en, &e)) {
		(void)fprintf(stderr, "# %s\n", e.text);
		return -1;
	}
	make_side(&t.a, "a", DNS_A);
	make_side(&t.b, "b", DNS_B);
	return 0;
}

static int tear_down(void **state)
{
	struct stat in, out;
	int rc = 0;

	(void)state;
	rc |= enforce_remove(t.en) != -EBUSY;
	rc |= enforce_detach(t.en, t.a.guard.id, NULL);
	rc |= enforce_detach(t.en, t.b.guard.id, NULL);
	rc |= enforce_remove(t.en);
	t.en = enforce_close(t.en);
	rc |= stat(t.c.bpffs, &in) || stat("/tmp", &out) || in.st_dev != out.st_dev; /* unmounted */
	netns_sockets_done(&t.a.tcp);
	netns_sockets_done(&t.a.dns);
	netns_sockets_done(&t.b.tcp);
	netns_sockets_done(&t.b.dns);
	rc |= cgroup_remove(&t.c, "a", NULL) | cgroup_remove(&t.c, "b", NULL);
	cgroup_clear(&t.c);
	rc |= access(t.c.cgroup_root, F_OK) == 0;
	return rc;
}

static int work(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(redirect), cmocka_unit_test(nested), cmocka_unit_test(no_record),
		cmocka_unit_test(again), cmocka_unit_test(special), cmocka_unit_test(odd_families),
		cmocka_unit_test(udp), cmocka_unit_test(socket_kinds), cmocka_unit_test(socket_options),
		cmocka_unit_test(bind_ours), cmocka_unit_test(dns_udp), cmocka_unit_test(dns_tcp),
		cmocka_unit_test(held_by_the_wall), cmocka_unit_test(inbound), cmocka_unit_test(leases),
		cmocka_unit_test(lease_ends), cmocka_unit_test(aborted), cmocka_unit_test(quota),
		cmocka_unit_test(equal_addresses), cmocka_unit_test(event_rate), cmocka_unit_test(full_ring),
		cmocka_unit_test(closed_guard), cmocka_unit_test(restart), cmocka_unit_test(restart_under_load),
		cmocka_unit_test(mended), cmocka_unit_test(gone), cmocka_unit_test(detach),
		cmocka_unit_test(exclusive), cmocka_unit_test(bad_attach), cmocka_unit_test(namespaces),
		cmocka_unit_test(cgroups), cmocka_unit_test(cgroup_refusals), cmocka_unit_test(doctor),
		cmocka_unit_test(unmounted),
	};
	int failed;

	if (unshare(CLONE_NEWNS) != 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
		return 1;
	failed = cmocka_run_group_tests(tests, set_up, tear_down);
	for (int i = 0; i < 2; i++) {
		if (t.a.pid[i] > 0)
			(void)kill(t.a.pid[i], SIGKILL);
		if (t.b.pid[i] > 0)
			(void)kill(t.b.pid[i], SIGKILL);
	}
	return failed ? 1 : 0;
}

static pid_t worker;

static void on_signal(int sig)
{
	(void)sig;
	if (worker > 0)
		(void)kill(worker, SIGKILL);
}

/* Children that the worker left die with it (PDEATHSIG); their cgroups are empty a moment later. */
static void clean(const char *dir)
{
	static const char *const below[] = { "a/deeper", "a", "b", "canary", "listen", "gone", "detached", "exclusive/below",
					     "exclusive", "mine", "theirs/ours", "theirs", "" };
	char path[512];

	for (int tries = 0; tries < 100 && access(t.root, F_OK) == 0; tries++) {
		for (size_t i = 0; i < ARRAY_SIZE(below); i++) {
			(void)snprintf(path, sizeof(path), "%s/%s", t.root, below[i]);
			(void)rmdir(path);
		}
		(void)poll(NULL, 0, tries ? 20 : 0);
	}
	(void)snprintf(path, sizeof(path), "%s/bpf", dir);
	(void)rmdir(path);
	(void)rmdir(dir);
}

int main(void)
{
	char dir[] = "/tmp/agentsecrets-bpf-XXXXXX", mount_point[CONFIG_PATH_MAX - 40];
	struct err e = {};
	int status;

	log_init("test", getenv("TEST_DEBUG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR);
	if (geteuid() != 0 || cgroup_mount(mount_point, sizeof(mount_point), &e)) {
		(void)printf("1..0 # SKIP needs root and cgroup v2\n");
		return 77;
	}
	if (!mkdtemp(dir))
		return 1;
	(void)snprintf(t.root, sizeof(t.root), "%s/agentsecrets-test-%d", mount_point, (int)getpid());
	(void)snprintf(t.c.bpffs, sizeof(t.c.bpffs), "%s/bpf", dir);
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
	clean(dir);
	return status;
}
