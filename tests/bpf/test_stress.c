/* test_stress.c: the wall under load: whose connection is whose, what aborted ones leave, swaps of programs, a flood.
 *
 * The usual run is a tenth or less of the full one, which is STRESS=1 (`make stress`): 300,000 connections, 30,000
 * aborted, 10,000 swaps. Each test prints its figures. Load comes from forked processes inside the guards; counters
 * are in memory that all share.
 */
#include "../wall/scene.h"

#include <bpf/bpf.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include <cmocka.h>

#define CLIENTS 2 /* of each side, in the test of destinations */
/* Source ports of each client, used again and again; none that the kernel gives out. */
#define PORTS          16
#define PATIENCE_MS    20000
#define MAPS_AND_LINKS 64

struct tally {
	uint64_t good, wrong, missing; /* connections by their record */
	uint64_t tried, undenied, odd;
	bool stop;
};
static struct tally *tally;

static bool full(void)
{
	return scene_number("STRESS", 0) != 0;
}

static void add(uint64_t *n)
{
	__atomic_fetch_add(n, 1, __ATOMIC_RELAXED);
}

static double seconds(uint64_t from)
{
	return (double)(scene_ns() - from) / 1e9;
}

/* ---- maps ---- */

static int map_named(const char *name)
{
	int fds[MAPS_AND_LINKS];
	size_t n = enforce_fds(scene.en, 0, fds, MAPS_AND_LINKS);

	for (size_t i = 0; i < n; i++) {
		struct bpf_map_info info = {};
		uint32_t len = sizeof(info);

		if (bpf_obj_get_info_by_fd(fds[i], &info, &len) == 0 &&
		    strcmp(info.name, name) == 0)
			return fds[i];
	}
	scene_die(__LINE__, name);
}

static size_t pending_entries(void)
{
	struct eg_tuple key;
	int fd = map_named("pending");
	size_t n = 0;
	bool more = bpf_map_get_next_key(fd, NULL, &key) == 0;

	for (; more && n < EG_GUARDS_MAX * EG_PENDING_PER_GUARD; n++)
		more = bpf_map_get_next_key(fd, &key, &key) == 0;
	return n;
}

static void nothing_pending(void)
{
	for (int i = 0; i < SCENE_SIDES; i++)
		assert_true(scene_pending_is(&scene.side[i], 0));
	assert_int_equal(pending_entries(), 0);
}

/* ---- whose connection is whose ---- */

struct said {
	uint64_t guard;
	uint8_t addr[16];
	uint16_t port;
	uint8_t pad[6];
};

struct client {
	const struct scene_side *side;
	unsigned long count;
	int number;
};

/* The i-th destination of a client: IPv4, IPv6, or IPv4 through an IPv6 socket. */
static int dial_said(const struct client *c, unsigned long i, struct said *said)
{
	struct sockaddr_in6 to = {.sin6_family = AF_INET6}, from = {.sin6_family = AF_INET6};
	int v6 = i % 3 == 1, plain = i % 3 == 0, on = 1, fd, rc;
	struct linger now = {.l_onoff = 1};
	uint32_t v4 = htonl(0xc6336400u | (i & 0xff)), near = htonl(INADDR_LOOPBACK);

	*said = (struct said){.guard = c->side->guard.id, .port = (uint16_t)(1024 + i % 60000)};
	(void)inet_pton(AF_INET6, v6 ? "2001:db8:1::" : "::ffff:0.0.0.0", said->addr);
	memcpy(said->addr + 12, &v4, 4);
	memcpy(&to.sin6_addr, said->addr, 16);
	to.sin6_port = htons(said->port);
	(void)inet_pton(AF_INET6, v6 ? "::1" : "::ffff:127.0.0.1", &from.sin6_addr);
	from.sin6_port = htons((uint16_t)(20000 + c->number * PORTS + i % PORTS));
	fd = socket(plain ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) != 0)
		scene_die(__LINE__, "socket");
	if (plain) {
		struct sockaddr_in to4 = {AF_INET, to.sin6_port, {v4}, {}};
		struct sockaddr_in from4 = {AF_INET, from.sin6_port, {near}, {}};

		rc = bind(fd, (struct sockaddr *)&from4, sizeof(from4)) ||
		     connect(fd, (struct sockaddr *)&to4, sizeof(to4));
	} else {
		rc = bind(fd, (struct sockaddr *)&from, sizeof(from)) ||
		     connect(fd, (struct sockaddr *)&to, sizeof(to));
	}
	if (rc)
		scene_die(__LINE__, "connect");
	return fd;
}

static int dial_many(void *arg)
{
	const struct client *c = arg;

	for (unsigned long i = 0; i < c->count; i++) {
		struct said said;
		auto_close int fd = dial_said(c, i, &said);
		char done;

		if (write(fd, &said, sizeof(said)) != (ssize_t)sizeof(said) ||
		    read(fd, &done, 1) != 1)
			scene_die(__LINE__, "said");
	}
	return 0;
}

/* Takes one connection and holds its record against what the client says it dialled. */
static void judge(const struct scene_side *s, int listener)
{
	auto_close int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	struct eg_record r;
	struct said said;
	int rc;

	if (fd < 0)
		return;
	rc = scene_record(fd, &r);
	if (read(fd, &said, sizeof(said)) != (ssize_t)sizeof(said))
		add(&tally->odd);
	else if (rc)
		add(&tally->missing);
	else if (r.guard != s->guard.id || said.guard != r.guard || r.netns != s->cookie ||
		 r.port != said.port || memcmp(r.addr, said.addr, 16) != 0)
		add(&tally->wrong);
	else
		add(&tally->good);
	(void)!write(fd, "k", 1);
}

static uint64_t judged(void)
{
	return tally->good + tally->wrong + tally->missing + tally->odd;
}

static void judge_all(uint64_t want)
{
	struct pollfd p[SCENE_SIDES * 2];

	for (int i = 0; i < SCENE_SIDES * 2; i++)
		p[i] = (struct pollfd){.fd = scene.side[i / 2].tcp.fd[i % 2], .events = POLLIN};
	while (judged() < want && poll(p, SCENE_SIDES * 2, PATIENCE_MS) > 0)
		for (int i = 0; i < SCENE_SIDES * 2; i++)
			if (p[i].revents & POLLIN)
				judge(&scene.side[i / 2], p[i].fd);
}

static void destinations(void **state)
{
	unsigned long each = (full() ? 300000 : 24000) / (SCENE_SIDES * CLIENTS);
	struct client c[SCENE_SIDES * CLIENTS];
	pid_t pid[SCENE_SIDES * CLIENTS];
	uint64_t from = scene_ns();

	(void)state;
	*tally = (struct tally){};
	for (int i = 0; i < SCENE_SIDES * CLIENTS; i++) {
		c[i] = (struct client){&scene.side[i % SCENE_SIDES], each, i / SCENE_SIDES};
		pid[i] = scene_agent(c[i].side, dial_many, &c[i]);
	}
	judge_all(each * SCENE_SIDES * CLIENTS);
	for (int i = 0; i < SCENE_SIDES * CLIENTS; i++)
		assert_int_equal(scene_wait(pid[i]), 0);
	(void)printf("# %llu connections over two namespaces: %llu wrong, %llu missing; %.1f s\n",
		     (unsigned long long)judged(), (unsigned long long)tally->wrong,
		     (unsigned long long)tally->missing, seconds(from));
	assert_int_equal(tally->good, each * SCENE_SIDES * CLIENTS);
	nothing_pending();
}

/* ---- aborted ones ---- */

enum abort_how { ABORT_CLOSE, ABORT_RESET, ABORT_SYN, ABORT_HOWS };
static const char *const abort_words[] = {"closed before accept", "reset", "SYN to a full backlog"};

struct aborting {
	enum abort_how how;
	unsigned long count;
};

static int abort_some(void *arg)
{
	const struct aborting *a = arg;
	struct sockaddr_in to = scene_v4("192.0.2.1", 443);
	struct linger now = {.l_onoff = a->how == ABORT_RESET};

	for (unsigned long i = 0; i < a->count; i++) {
		int type = SOCK_STREAM | SOCK_CLOEXEC | (a->how == ABORT_SYN ? SOCK_NONBLOCK : 0);
		auto_close int fd = socket(AF_INET, type, 0);

		if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now)) != 0)
			scene_die(__LINE__, "socket");
		if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS)
			scene_die(__LINE__, "connect");
	}
	return 0;
}

/* Takes what is in the queue; how many of them had a record. */
static size_t drain(int listener)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};
	size_t recorded = 0;

	while (poll(&p, 1, 0) == 1) {
		auto_close int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		struct eg_record r;

		recorded += fd >= 0 && scene_record(fd, &r) == 0;
	}
	return recorded;
}

static void aborted(void **state)
{
	unsigned long chunk = 500, chunks = (full() ? 30000 : 3000) / ABORT_HOWS / 500;
	struct scene_side *s = &scene.side[0];
	int listener = s->tcp.fd[NETNS_TCP4];

	(void)state;
	for (int how = 0; how < ABORT_HOWS; how++) {
		struct aborting a = {(enum abort_how)how, chunk};
		size_t recorded = 0;

		assert_int_equal(listen(listener, how == ABORT_SYN ? 1 : SOMAXCONN), 0);
		for (unsigned long i = 0; i < chunks; i++) {
			assert_int_equal(scene_wait(scene_agent(s, abort_some, &a)), 0);
			recorded += drain(listener);
		}
		nothing_pending();
		(void)printf(
			"# %lu %s: 0 entries left, quota 0; %zu reached the proxy with their record\n",
			chunk * chunks, abort_words[how], recorded);
		if (how ==
		    ABORT_CLOSE) /* the proxy hears of them all the same, and knows whose they were */
			assert_int_equal(recorded, chunk * chunks);
	}
	assert_int_equal(listen(listener, SOMAXCONN), 0);
}

/* ---- swaps under load ---- */

static void expect_no(int rc, int want)
{
	add(&tally->tried);
	if (rc >= 0)
		add(&tally->undenied);
	else if (errno != want)
		add(&tally->odd);
}

static void try_denied(const struct sockaddr_in *to)
{
	auto_close int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	auto_close int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	expect_no(connect(tcp, (const struct sockaddr *)to, sizeof(*to)), EPERM);
	expect_no((int)sendto(udp, "ESCAPE", 6, 0, (const struct sockaddr *)to, sizeof(*to)),
		  EPERM);
}

static void try_redirected(const struct client *c, unsigned long i)
{
	struct said said;
	auto_close int fd = dial_said(c, i, &said);
	char done;

	add(&tally->tried);
	if (write(fd, &said, sizeof(said)) != (ssize_t)sizeof(said) || read(fd, &done, 1) != 1)
		add(&tally->missing);
}

static int hammer(void *arg)
{
	const struct client *c = arg;
	struct sockaddr_in no[] = {scene_v4("169.254.169.254", 80), scene_v4("10.9.0.2", 443),
				   scene_v4("10.9.0.2", 9999)};

	for (unsigned long i = 0; !__atomic_load_n(&tally->stop, __ATOMIC_RELAXED); i++) {
		try_denied(&no[i % ARRAY_SIZE(no)]);
		if (i % 4 == 0)
			try_redirected(c, i);
	}
	return 0;
}

/* The proxy's part, until all clients have ended. */
static int serve(void *arg)
{
	(void)arg;
	(void)setpriority(PRIO_PROCESS, 0, -5);
	judge_all(UINT64_MAX);
	return 0;
}

static pid_t start_serving(void)
{
	pid_t pid;

	(void)fflush(NULL);
	pid = fork();
	SCENE_MUST(pid >= 0);
	if (pid)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	_exit(serve(NULL));
}

/* Every frame on the link that a guarded process could have caused. */
static size_t frames(int sniffer)
{
	uint8_t frame[2048];
	size_t n = 0;
	ssize_t len;

	while ((len = recv(sniffer, frame, sizeof(frame), MSG_DONTWAIT)) > 14) {
		uint16_t kind = (uint16_t)(frame[12] << 8 | frame[13]);

		/* ARP, neighbour discovery and multicast reports are the link's own. */
		if (kind == ETH_P_IP || (kind == ETH_P_IPV6 && len > 20 &&
					 frame[20] != IPPROTO_ICMPV6 && frame[20] != 0))
			n++;
	}
	return n;
}

/* It is seen to see: a datagram of no guard goes out first. */
static int sniff(const struct scene_side *s)
{
	int fd = scene_socket_in(s->outside, AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), size = 4 << 20;
	auto_close int free_fd = scene_socket_in(s->inside, AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in to = scene_v4("10.9.0.2", 9);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	assert_int_equal(sendto(free_fd, "free", 4, 0, (struct sockaddr *)&to, sizeof(to)), 4);
	for (int i = 0; i < 10; i++) { /* neighbour discovery comes before it */
		assert_int_equal(poll(&p, 1, 1000), 1);
		if (frames(fd))
			return fd;
	}
	fail_msg("the sniffer sees nothing");
	return -1;
}

struct swapping {
	int link[MAPS_AND_LINKS];
	int prog[2][MAPS_AND_LINKS]; /* this run's of enforce_open() and the one before */
	size_t count;
};

/* What runs at each link now, kept open. */
static void programs_now(struct swapping *w, int which)
{
	w->count = 0;
	for (int i = 0; i < SCENE_SIDES; i++)
		w->count += enforce_fds(scene.en, scene.side[i].guard.id, w->link + w->count,
					MAPS_AND_LINKS - w->count);
	for (size_t i = 0; i < w->count; i++) {
		struct bpf_link_info info = {};
		uint32_t len = sizeof(info);

		assert_int_equal(bpf_obj_get_info_by_fd(w->link[i], &info, &len), 0);
		w->prog[which][i] = bpf_prog_get_fd_by_id(info.prog_id);
		assert_true(w->prog[which][i] >= 0);
	}
}

static void reopen(void)
{
	struct err e = {};

	scene.en = enforce_close(scene.en);
	if (enforce_open(&scene.c, scene.listen, &scene.en, &e))
		fail_msg("enforce_open: %s", e.text);
}

static void swap_all(unsigned long swaps, unsigned long reopens)
{
	struct swapping w;

	programs_now(&w, 0);
	reopen();
	programs_now(&w, 1);
	for (unsigned long n = 0; n < swaps; n++)
		for (size_t i = 0; i < w.count; i++)
			assert_int_equal(bpf_link_update(w.link[i], w.prog[n & 1][i], NULL), 0);
	for (size_t i = 0; i < 2 * w.count; i++)
		(void)close(w.prog[i / w.count][i % w.count]);
	for (unsigned long n = 1; n < reopens; n++)
		reopen();
}

static void swaps(void **state)
{
	unsigned long count = full() ? 10000 : 500, reopens = full() ? 100 : 10;
	struct client c[SCENE_SIDES * CLIENTS];
	pid_t pid[SCENE_SIDES * CLIENTS], server;
	int outside[SCENE_SIDES] = {sniff(&scene.side[0]), sniff(&scene.side[1])};
	uint64_t from = scene_ns();
	size_t out = 0;

	(void)state;
	*tally = (struct tally){};
	server = start_serving();
	for (int i = 0; i < SCENE_SIDES * CLIENTS; i++) {
		c[i] = (struct client){&scene.side[i % SCENE_SIDES], 0, i / SCENE_SIDES};
		pid[i] = scene_agent(c[i].side, hammer, &c[i]);
	}
	while (judged() < 10) /* they are at it */
		(void)poll(NULL, 0, 1);
	swap_all(count, reopens);
	tally->stop = true;
	for (int i = 0; i < SCENE_SIDES * CLIENTS; i++)
		assert_int_equal(scene_wait(pid[i]), 0);
	(void)kill(server, SIGKILL);
	(void)scene_wait(server);
	for (int i = 0; i < SCENE_SIDES; i++) {
		out += frames(outside[i]);
		(void)close(outside[i]);
	}
	(void)printf(
		"# %lu swaps of all programs of two guards, %lu loads anew, under %llu connects and sends: %llu "
		"undenied, %llu with another errno, %llu redirected and %llu of them without the right record, "
		"%zu frames outside; %.1f s\n",
		count, reopens, (unsigned long long)tally->tried,
		(unsigned long long)tally->undenied, (unsigned long long)tally->odd,
		(unsigned long long)tally->good,
		(unsigned long long)(tally->wrong + tally->missing), out, seconds(from));
	assert_true(tally->tried > count && tally->good > 0);
	assert_int_equal(tally->undenied + tally->odd + tally->wrong + tally->missing + out, 0);
	nothing_pending();
}

/* ---- a flood ---- */

static int flood(void *arg)
{
	const int *pipes = arg;
	struct sockaddr_in to = scene_v4("192.0.2.1", 443);
	char c;

	for (int i = 0; i < EG_PENDING_PER_GUARD + 500; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

		if (fd < 0 ||
		    (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0 && errno != EINPROGRESS))
			scene_die(__LINE__, "connect");
	}
	return write(pipes[1], "f", 1) != 1 || read(pipes[2], &c, 1) != 1;
}

static int dial_sixteen(void *arg)
{
	struct client *c = arg;
	int fd[PORTS];

	for (unsigned long i = 0; i < PORTS; i++) {
		struct said said;

		fd[i] = dial_said(c, 3 * i, &said); /* of IPv4: the listener that is full */
		if (write(fd[i], &said, sizeof(said)) != (ssize_t)sizeof(said))
			scene_die(__LINE__, "write");
	}
	for (int i = 0; i < PORTS; i++) {
		char done;

		if (read(fd[i], &done, 1) != 1)
			scene_die(__LINE__, "read");
		(void)close(fd[i]);
	}
	return 0;
}

/* A second guard in the first one's namespace: they share the listener. */
static struct scene_side neighbour_of(const struct scene_side *s)
{
	struct scene_side n = *s;
	struct err e = {};
	uint64_t id;

	if (cgroup_make(&scene.c, "c", &n.cgroup, &id, &e))
		fail_msg("%s", e.text);
	n.guard.id = id;
	if (enforce_attach(scene.en, n.cgroup, &n.guard, &e))
		fail_msg("%s", e.text);
	return n;
}

/* What the stopped proxy finds when it goes on: the flooder's, with its own record or none, and the neighbour's. */
static void accept_both(int listener, const struct scene_side *flooder,
			const struct scene_side *other, size_t want)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};

	while (tally->good < want && poll(&p, 1, PATIENCE_MS) == 1) {
		auto_close int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		uint8_t addr[16] = {
			[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1};
		struct eg_record r;
		struct said said;

		if (fd < 0 || scene_record(fd, &r)) {
			add(&tally->missing);
		} else if (r.guard == flooder->guard.id) {
			add(memcmp(r.addr, addr, 16) || r.port != 443 ? &tally->wrong
								      : &tally->odd);
		} else if (r.guard != other->guard.id ||
			   read(fd, &said, sizeof(said)) != (ssize_t)sizeof(said) ||
			   said.guard != r.guard || memcmp(said.addr, r.addr, 16) != 0 ||
			   said.port != r.port) {
			add(&tally->wrong);
		} else {
			add(&tally->good);
			(void)!write(fd, "k", 1);
		}
	}
}

static void flooded(void **state)
{
	struct scene_side *s = &scene.side[0], other = neighbour_of(s);
	struct client c = {.side = &other, .number = 7};
	int listener = s->tcp.fd[NETNS_TCP4], pipes[4];
	pid_t flooder, neighbour;
	char done;

	(void)state;
	*tally = (struct tally){};
	assert_int_equal(pipe2(pipes, O_CLOEXEC) | pipe2(pipes + 2, O_CLOEXEC), 0);
	assert_int_equal(listen(listener, 1), 0); /* a proxy that accepts nothing */
	flooder = scene_agent(s, flood, pipes);
	assert_int_equal(read(pipes[0], &done, 1), 1);
	assert_int_equal(scene_pending(s), EG_PENDING_PER_GUARD);
	neighbour = scene_agent(&other, dial_sixteen, &c);
	while (scene_pending(&other) == 0) /* its first SYN goes unanswered */
		(void)poll(NULL, 0, 5);
	assert_int_equal(scene_pending(s), EG_PENDING_PER_GUARD);
	assert_int_equal(listen(listener, SOMAXCONN), 0);
	accept_both(listener, s, &other, PORTS);
	assert_int_equal(scene_wait(neighbour), 0);
	(void)printf(
		"# flood of %d: the neighbour's %d connections kept their record, %llu wrong\n",
		EG_PENDING_PER_GUARD + 500, PORTS, (unsigned long long)tally->wrong);
	assert_int_equal(tally->good, PORTS);
	assert_int_equal(tally->wrong, 0);
	assert_int_equal(write(pipes[3], "g", 1), 1);
	assert_int_equal(scene_wait(flooder), 0);
	(void)drain(listener);
	nothing_pending();
	assert_int_equal(enforce_detach(scene.en, other.guard.id, NULL), 0);
	assert_int_equal(cgroup_remove(&scene.c, "c", NULL), 0);
	for (int i = 0; i < 4; i++)
		(void)close(pipes[i]);
}

/* ---- lookups that miss ---- */

/* Without an entry in the quota there is no record, so the proxy closes; without a state there is no socket. */
static int dial_unrecorded(void *arg)
{
	struct sockaddr_in to = scene_v4("192.0.2.1", 443);
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)arg;
	return fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0;
}

static int no_socket(void *arg)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)arg;
	return fd >= 0 || errno != EPERM;
}

static void misses(void **state)
{
	struct scene_side *s = &scene.side[0];
	uint64_t before[EG_STAT_COUNT], after[EG_STAT_COUNT], zero = 0;
	struct eg_guard none = {};
	struct err e = {};

	(void)state;
	assert_int_equal(enforce_stats(scene.en, before), 0);
	assert_int_equal(bpf_map_delete_elem(map_named("quota"), &s->guard.id), 0);
	assert_int_equal(scene_wait(scene_agent(s, dial_unrecorded, NULL)), 0);
	assert_int_equal(drain(s->tcp.fd[NETNS_TCP4]), 0);
	assert_int_equal(enforce_stats(scene.en, after), 0);
	assert_int_equal(after[EG_STAT_RECORDS_LOST] - before[EG_STAT_RECORDS_LOST], 1);
	assert_int_equal(bpf_map_update_elem(map_named("quota"), &s->guard.id, &zero, BPF_ANY), 0);
	assert_int_equal(bpf_map_update_elem(map_named("guards"), &s->guard.id, &none, BPF_EXIST),
			 0);
	assert_int_equal(scene_wait(scene_agent(s, no_socket, NULL)), 0);
	assert_int_equal(enforce_set(scene.en, &s->guard, &e), 0);
	assert_int_equal(scene_wait(scene_agent(s, dial_unrecorded, NULL)), 0);
	assert_int_equal(drain(s->tcp.fd[NETNS_TCP4]), 1);
	nothing_pending();
}

/* ---- running it ---- */

static int set_up(void **state)
{
	struct rlimit rl = {.rlim_cur = 8192, .rlim_max = 8192};

	(void)state;
	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		     0);
	if (tally == MAP_FAILED || setrlimit(RLIMIT_NOFILE, &rl) != 0)
		return -1;
	scene_open(true);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	return scene_close();
}

static int work(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(destinations), cmocka_unit_test(aborted), cmocka_unit_test(swaps),
		cmocka_unit_test(flooded),      cmocka_unit_test(misses),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down) ? 1 : 0;
}

int main(void)
{
	return scene_main(work);
}
