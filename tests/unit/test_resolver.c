/* test_resolver.c: the whole resolver process, sandbox included, against a DNS server played by
 * this file.
 *
 * Everything is on loopback inside a network namespace of our own. The test is the parent (boss
 * channel, leases), a proxy (RPC_RESOLVE), a guarded client (UDP and TCP) and the upstream server,
 * in turns of one poll loop. Needs root.
 */
#include "child.h"
#include "dnsmsg.h"
#include "fdio.h"
#include "lookup.h"
#include "rules.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#define SKIP    77
#define GUARD   4242
#define OTHER   4343
#define PUBLIC4 "93.184.216.34"
#define PUBLIC6 "2606:2800:220:1::1"
#define NOBODY  65534

static struct {
	pid_t pid;
	int boss, proxy, up_udp, up_tcp;
	struct sockaddr_in dns, dns_tcp, dns_other, dns_nobody;
	int dns_fd[4];
	unsigned int asked; /* queries that came to the upstream server */
	char last[64];      /* the last one's name */
	struct rpc_lease lease[64];
	size_t leases;
	bool slow_leases; /* RPC_LEASED is not sent */
	bool deaf;        /* the upstream server does not read now */
	struct rpc_resolved resolved;
	uint32_t resolved_id;
	struct rpc_stats stats;
	bool has_stats, ready;
} t;

/* ---- the upstream server ---- */

static uint8_t *put16(uint8_t *p, unsigned int v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return p + 2;
}

static uint8_t *put_name(uint8_t *p, const char *name)
{
	while (*name) {
		size_t n = strcspn(name, ".");

		*p++ = (uint8_t)n;
		memcpy(p, name, n);
		p += n;
		name += n + (name[n] == '.');
	}
	*p++ = 0;
	return p;
}

static uint8_t *put_record(uint8_t *p, const char *owner, unsigned int type, uint32_t ttl,
			   const void *data, size_t len)
{
	p = put_name(p, owner);
	p = put16(put16(p, type), 1);
	p = put16(put16(p, ttl >> 16), ttl & 0xffff);
	p = put16(p, (unsigned int)len);
	memcpy(p, data, len);
	return p + len;
}

static uint8_t *put_address(uint8_t *p, const char *owner, uint32_t ttl, const char *text)
{
	uint8_t a[16];
	bool v6 = strchr(text, ':') != NULL;

	assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, text, a), 1);
	return put_record(p, owner, v6 ? 28 : 1, ttl, a, v6 ? 16 : 4);
}

static const struct {
	const char *name;
	uint32_t ttl;
	const char *a, *aaaa;
} zone[] = {
	{"good.example.com", 100000, PUBLIC4, PUBLIC6},
	{"good4.example.com", 1, PUBLIC4, NULL},
	{"only6.example.com", 60, NULL, PUBLIC6},
	{"priv.example.com", 60, "10.0.0.5", "fd00::5"},
	{"meta.example.com", 60, "169.254.169.254", NULL},
	{"loop.example.com", 60, "127.0.0.1", "::1"},
	{"wrapped.example.com", 60, NULL, "64:ff9b::a00:1"},
	{"half.example.com", 60, "10.0.0.5", PUBLIC6},
	{"db.corp.example", 60, "10.0.0.7", NULL},
	{"metacorp.corp.example", 60, "169.254.169.254", NULL},
	{"tcp.example.com", 60, PUBLIC4, PUBLIC6},
	{"slow.example.com", 60, PUBLIC4, NULL},
};

/* Writes the answer to the query in q; 0: silence. */
static size_t upstream(const uint8_t *q, size_t n, uint8_t *out, bool tcp)
{
	struct dnsmsg_query d;
	enum dnsmsg_rcode rcode;
	unsigned int count = 0;
	uint8_t *p = out + 12, cname[64];

	assert_int_equal(dnsmsg_parse(q, n, &d, &rcode), 0);
	assert_int_equal(rcode, DNSMSG_NOERROR);
	t.asked++;
	(void)snprintf(t.last, sizeof(t.last), "%.63s", d.host);
	memset(out, 0, 12);
	memcpy(out, q, 2);
	put16(put16(out + 2, 0x8180), 1);
	memcpy(p, d.question, d.question_len);
	p += d.question_len;
	if (strcmp(d.host, "silent.example.com") == 0)
		return 0;
	if (strcmp(d.host, "broken.example.com") == 0)
		out[3] |= DNSMSG_SERVFAIL;
	if (strcmp(d.host, "nx.example.com") == 0)
		out[3] |= DNSMSG_NXDOMAIN;
	if (strcmp(d.host, "garbage.example.com") == 0) {
		memset(p, 0xc0, 40);
		out[7] = 3;
		return (size_t)(p + 40 - out);
	}
	if (strcmp(d.host, "big.example.com") == 0 && !tcp) {
		out[2] |= 2; /* TC */
		return (size_t)(p - out);
	}
	if (strcmp(d.host, "big.example.com") == 0)
		for (; count < 60; count++) {
			char text[40];

			(void)snprintf(text, sizeof(text),
				       d.type == 1 ? "93.184.1.%u" : "2606:2800::%u", count + 1);
			p = put_address(p, d.host, 60, text);
		}
	if (strcmp(d.host, "chain.example.com") == 0 && d.type == 1) {
		p = put_record(p, d.host, 5, 50, cname,
			       (size_t)(put_name(cname, "one.elsewhere.example") - cname));
		p = put_record(p, "one.elsewhere.example", 5, 40, cname,
			       (size_t)(put_name(cname, "two.elsewhere.example") - cname));
		p = put_address(p, "two.elsewhere.example", 99, PUBLIC4);
		count = 3;
	}
	for (size_t i = 0; i < ARRAY_SIZE(zone); i++) {
		const char *text = d.type == 1 ? zone[i].a : zone[i].aaaa;

		if (strcmp(zone[i].name, d.host) == 0 && text) {
			p = put_address(p, d.host, zone[i].ttl, text);
			count++;
		}
	}
	out[7] = (uint8_t)count;
	return (size_t)(p - out);
}

static void upstream_udp(void)
{
	struct sockaddr_storage peer;
	socklen_t len = sizeof(peer);
	uint8_t q[1500], out[4096];
	ssize_t n = recvfrom(t.up_udp, q, sizeof(q), MSG_DONTWAIT, (struct sockaddr *)&peer, &len);
	size_t m = n > 0 ? upstream(q, (size_t)n, out, false) : 0;

	if (m)
		assert_int_equal(sendto(t.up_udp, out, m, 0, (struct sockaddr *)&peer, len), m);
}

/* c-ares sends its queries at once; they are answered until it closes. */
static void upstream_tcp(void)
{
	auto_close int fd = accept4(t.up_tcp, NULL, NULL, SOCK_CLOEXEC);
	uint8_t q[1500], out[4096];

	while (fd >= 0 && recv(fd, q, 2, MSG_WAITALL) == 2) {
		size_t n = (size_t)q[0] << 8 | q[1], m;

		assert_true(n <= sizeof(q) && recv(fd, q, n, MSG_WAITALL) == (ssize_t)n);
		m = upstream(q, n, out + 2, true);
		put16(out, (unsigned int)m);
		assert_int_equal(send(fd, out, m + 2, MSG_NOSIGNAL), m + 2);
	}
}

/* ---- the parent's and the proxy's part ---- */

static int on_ready(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	(void)ctx, (void)peer, (void)m;
	t.ready = true;
	return 0;
}

static int on_lease(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	(void)ctx, (void)peer;
	if (t.leases < ARRAY_SIZE(t.lease))
		memcpy(&t.lease[t.leases++], m->body, sizeof(t.lease[0]));
	if (!t.slow_leases && m->id)
		return rpc_send(t.boss, RPC_LEASED, m->id, NULL, 0, NULL, 0, -1);
	return 0;
}

static int on_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	(void)ctx, (void)peer;
	memcpy(&t.stats, m->body, sizeof(t.stats));
	t.has_stats = true;
	return 0;
}

static int on_resolved(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	(void)ctx, (void)peer;
	memcpy(&t.resolved, m->body, sizeof(t.resolved));
	t.resolved_id = m->id;
	return 0;
}

static const struct rpc_row boss_rows[] = {
	{RPC_READY, 0, 0, RPC_ONCE, on_ready},
	{RPC_LEASE, sizeof(struct rpc_lease), 0, 0, on_lease},
	{RPC_STATS, sizeof(struct rpc_stats), 0, 0, on_stats},
};
static const struct rpc_row proxy_rows[] = {
	{RPC_RESOLVED, sizeof(struct rpc_resolved), 0, 0, on_resolved}};

/* Plays all parts until fd is readable (fd < 0: until *flag). False after ms. */
static bool pump(int fd, const bool *flag, int ms)
{
	static uint8_t buf[RPC_BUF];
	struct rpc_peer boss = {.fd = t.boss}, proxy = {.fd = t.proxy};
	uint64_t end = loop_now_ms() + (uint64_t)ms;

	while (!flag || !*flag) {
		struct pollfd p[] = {{t.boss, POLLIN, 0},
				     {t.proxy, POLLIN, 0},
				     {t.deaf ? -1 : t.up_udp, POLLIN, 0},
				     {t.up_tcp, POLLIN, 0},
				     {fd, POLLIN, 0}};
		uint64_t now = loop_now_ms();

		if (now >= end)
			return false;
		(void)poll(p, ARRAY_SIZE(p), (int)(end - now));
		if (p[0].revents)
			assert_int_equal(
				rpc_serve(&boss, boss_rows, ARRAY_SIZE(boss_rows), NULL, buf, 8),
				0);
		if (p[1].revents)
			assert_int_equal(rpc_serve(&proxy, proxy_rows, 1, NULL, buf, 8), 0);
		if (p[2].revents)
			upstream_udp();
		if (p[3].revents)
			upstream_tcp();
		if (p[4].revents)
			return true;
	}
	return true;
}

static void tell(uint16_t op, const void *body, size_t size, int fd)
{
	assert_int_equal(rpc_send(t.boss, op, 0, body, size, NULL, 0, fd), 0);
}

/* By a question whose answer comes after all that was told before. */
static struct rpc_stats settle(void)
{
	t.has_stats = false;
	tell(RPC_STATS_ASK, NULL, 0, -1);
	assert_true(pump(-1, &t.has_stats, 3000));
	return t.stats;
}

/* Until it has read so many DNS queries in all: datagrams take their own time, on loopback too. */
static void settle_queries(uint64_t want)
{
	uint64_t end = loop_now_ms() + 3000;

	while (settle().queries < want)
		assert_true(loop_now_ms() < end);
}

static void tell_workspace(uint64_t version, bool with_new)
{
	static const struct {
		const char *host;
		uint16_t port;
		uint8_t mode;
		bool private;
	} list[] = {
		{"*.example.com", 443, RULES_INSPECT, false},
		{"tcp.example.com", 5432, RULES_TCP, false},
		{"tcp.example.com", 6432, RULES_TCP, false},
		{"slow.example.com", 22, RULES_TCP, false},
		{"*.corp.example", 5432, RULES_TCP, true},
		{"*.corp.example", 443, RULES_INSPECT, false},
		{"hosts.corp.example", 80, RULES_INSPECT, true},
		{"10.0.0.9", 443, RULES_INSPECT, true},
		{"new.example.net", 443, RULES_INSPECT, false},
	};
	auto_(rules) struct rules *r = rules_new("demo", 0, "2026-11-23T07:00:00Z");
	struct rpc_workspace w = {.workspace = "demo", .version = version};
	auto_free char *doc = NULL;
	auto_close int fd = -1;
	uint8_t sig[64] = {0};
	size_t len;

	for (size_t i = 0; i < ARRAY_SIZE(list) - !with_new; i++) {
		struct rules_rule rule = {
			.port = list[i].port, .mode = list[i].mode, .private = list[i].private};
		struct err e = {0};

		(void)snprintf(rule.host, sizeof(rule.host), "%s", list[i].host);
		if (rules_add(r, &rule, &e) < 0)
			fail_msg("%s", e.text);
	}
	r->version = version;
	assert_int_equal(rules_write(r, &doc, &len, NULL), 0);
	w.doc_len = len;
	fd = fdio_memfd("doc", doc, len, sig, sizeof(sig));
	assert_true(fd >= 0);
	tell(RPC_WORKSPACE, &w, sizeof(w), fd);
}

static int listen_on(int type, struct sockaddr_in *sa)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(*sa);

	*sa = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = sa->sin_port};
	sa->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(bind(fd, (struct sockaddr *)sa, sizeof(*sa)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(fd, 128), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)sa, &len), 0);
	return fd;
}

static void tell_listener(int type, struct sockaddr_in *sa, uint64_t guard, int *ret_fd)
{
	struct rpc_listener l = {.netns = 1, .guard = guard, .family = AF_INET};

	l.kind = type == SOCK_STREAM ? RPC_LISTENER_DNS_TCP : RPC_LISTENER_DNS_UDP;
	*ret_fd = listen_on(type, sa);
	l.port = ntohs(sa->sin_port);
	tell(RPC_LISTENER, &l, sizeof(l), *ret_fd);
}

static void tell_config(uint16_t port, enum config_unlisted unlisted)
{
	struct config c = {
		.dns_ttl_min = 5, .dns_ttl_max = 300, .dns_lease_grace = 60, .dns_count = 1, .dns_unlisted = unlisted};

	c.resolver_user = (struct config_user){NOBODY, NOBODY};
	(void)strcpy(c.http_proxy_host, "priv.example.com");
	c.dns[0].port = port;
	memcpy(c.dns[0].addr, (uint8_t[16]){[10] = 0xff, 0xff, 127, 0, 0, 1}, 16);
	tell(RPC_CONFIG, &c, sizeof(c), -1);
}

static void tell_hosts(void)
{
	static const char hosts[] =
		"10.0.0.8 hosts.corp.example unlisted.example.org\n127.0.0.1 localhost\n";
	auto_close int fd = fdio_memfd("hosts", hosts, sizeof(hosts) - 1, NULL, 0);
	struct rpc_wire w = {.kind = RPC_WIRE_HOSTS};

	assert_true(fd >= 0 && lseek(fd, 0, SEEK_SET) == 0);
	tell(RPC_WIRE, &w, sizeof(w), fd);
}

static void lo_up(void)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};

	assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &ifr), 0);
}

static pid_t start(int *ret_boss)
{
	int boss[2];
	pid_t pid;

	assert_int_equal(rpc_pair(boss), 0);
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		if (dup2(boss[1], RPC_BOSS_FD) < 0 || close_range(RPC_BOSS_FD + 1, ~0U, 0) < 0)
			_exit(100);
		_exit(resolver_main());
	}
	(void)close(boss[1]);
	*ret_boss = boss[0];
	return pid;
}

/* Joins a new proxy channel of the same number; the old one is the caller's to close. */
static void join_proxy(void)
{
	struct rpc_wire w = {.kind = RPC_WIRE_PROXY, .index = 1};
	int pair[2];

	assert_int_equal(rpc_pair(pair), 0);
	t.proxy = pair[0];
	tell(RPC_WIRE, &w, sizeof(w), pair[1]);
	(void)close(pair[1]);
}

static int setup_with(enum config_unlisted unlisted)
{
	struct rpc_guard g = {.guard = GUARD, .workspace = "demo"},
			 other = {.guard = OTHER, .workspace = "none"};
	struct sockaddr_in up = {0};

	memset(&t, 0, sizeof(t));
	lo_up();
	t.up_udp = listen_on(SOCK_DGRAM, &up);
	t.up_tcp = listen_on(SOCK_STREAM, &up);
	t.pid = start(&t.boss);
	tell_config(ntohs(up.sin_port), unlisted);
	tell_hosts();
	tell_workspace(1, false);
	tell(RPC_GUARD, &g, sizeof(g), -1);
	tell(RPC_GUARD, &other, sizeof(other), -1);
	tell_listener(SOCK_DGRAM, &t.dns, GUARD, &t.dns_fd[0]);
	tell_listener(SOCK_STREAM, &t.dns_tcp, GUARD, &t.dns_fd[1]);
	join_proxy();
	tell(RPC_GO, NULL, 0, -1);
	assert_true(pump(-1, &t.ready, 5000));
	tell_listener(SOCK_DGRAM, &t.dns_other, OTHER, &t.dns_fd[2]);
	tell_listener(SOCK_DGRAM, &t.dns_nobody, 99, &t.dns_fd[3]);
	return 0;
}

static int setup(void **state)
{
	(void)state;
	return setup_with(CONFIG_UNLISTED_SINKHOLE);
}

static int setup_nxdomain(void **state)
{
	(void)state;
	return setup_with(CONFIG_UNLISTED_NXDOMAIN);
}

static int teardown(void **state)
{
	int status = -1;

	(void)state;
	(void)close(t.boss); /* its end ends it */
	(void)close(t.proxy);
	(void)close(t.up_udp);
	(void)close(t.up_tcp);
	for (size_t i = 0; i < ARRAY_SIZE(t.dns_fd); i++)
		(void)close(t.dns_fd[i]);
	if (waitpid(t.pid, &status, 0) != t.pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		(void)fprintf(stderr, "the resolver's status is %#x\n", status);
		return -1;
	}
	return 0;
}

/* ---- the guarded client ---- */

struct reply {
	size_t len;
	unsigned int rcode, count, soa;
	bool tc;
	uint32_t ttl;
	uint8_t first[16]; /* v4-mapped */
};

static size_t make(uint8_t *p, const char *name, unsigned int type, unsigned int edns)
{
	uint8_t *at = put_name(p + 12, name);

	memset(p, 0, 12);
	put16(put16(put16(p, 0x4711), 0x0100), 1);
	at = put16(put16(at, type), 1);
	if (edns) {
		p[11] = 1;
		*at++ = 0;
		at = put16(put16(at, 41), edns);
		memset(at, 0, 6);
		at += 6;
	}
	return (size_t)(at - p);
}

static struct reply read_reply(const uint8_t *p, size_t len, const char *name, unsigned int type)
{
	struct reply r = {
		.len = len, .rcode = p[3] & 15u, .count = p[7], .soa = p[9], .tc = (p[2] & 2) != 0};
	const uint8_t *a = p + 12 + strlen(name) + 2 + 4;

	assert_true(len >= 12 && (p[2] & 0x80) && p[0] == 0x47 && p[1] == 0x11);
	if (r.count) {
		r.ttl = (uint32_t)a[6] << 24 | (uint32_t)a[7] << 16 | (uint32_t)a[8] << 8 | a[9];
		r.first[10] = r.first[11] = 0xff;
		memcpy(type == 28 ? r.first : r.first + 12, a + 12, type == 28 ? 16 : 4);
	}
	return r;
}

static int client(const struct sockaddr_in *to, const char *name, unsigned int type,
		  unsigned int edns)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	uint8_t q[512];
	size_t n = make(q, name, type, edns);

	assert_int_equal(sendto(fd, q, n, 0, (const struct sockaddr *)to, sizeof(*to)), n);
	return fd;
}

static struct reply hear(int fd, const char *name, unsigned int type, int ms)
{
	uint8_t out[4096];
	ssize_t n;

	if (!pump(fd, NULL, ms))
		fail_msg("no answer for %s", name);
	n = recv(fd, out, sizeof(out), 0);
	assert_true(n > 0);
	return read_reply(out, (size_t)n, name, type);
}

static struct reply ask_edns(const char *name, unsigned int type, unsigned int edns)
{
	auto_close int fd = client(&t.dns, name, type, edns);

	return hear(fd, name, type, 3000);
}

static struct reply ask(const char *name, unsigned int type)
{
	return ask_edns(name, type, 0);
}

static void is_address(const struct reply *r, const char *text)
{
	uint8_t want[16] = {[10] = 0xff, 0xff};
	bool v6 = strchr(text, ':') != NULL;

	assert_int_equal(r->rcode, 0);
	assert_int_equal(r->count, 1);
	assert_int_equal(inet_pton(v6 ? AF_INET6 : AF_INET, text, v6 ? want : want + 12), 1);
	assert_memory_equal(r->first, want, 16);
}

static void is_sinkhole(const char *name)
{
	struct reply r = ask(name, 1);

	is_address(&r, "192.0.2.1");
	r = ask(name, 28);
	is_address(&r, "2001:db8::1");
}

/* ---- tests ---- */

static void test_unlisted(void **state)
{
	static const char *const names[] = {
		"evil.org",      "example.com",          "localhost",
		"printer.local", "unlisted.example.org", "a.b.c.d.evil.org",
		"sub.10.0.0.9",  "ex ample.com",         "secret-data-in-a-label.attacker.example"};
	struct reply r;

	(void)state;
	t.asked = 0;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		is_sinkhole(names[i]);
		r = ask(names[i], 1);
		assert_int_equal(r.ttl, 5);
		r = ask(names[i], 16);
		assert_true(r.rcode == 0 && r.count == 0 && r.soa == 1);
		r = ask(names[i], 65);
		assert_true(r.rcode == 0 && r.count == 0 && r.soa == 1);
	}
	/* a listed name with a search domain behind it */
	r = ask("good.example.com.default.svc.cluster.local", 1);
	assert_int_equal(r.rcode, DNSMSG_NXDOMAIN);
	(void)settle();
	assert_int_equal(t.asked, 0);
}

static void test_listed(void **state)
{
	uint64_t before = settle().upstream_queries;
	struct reply r = ask("good.example.com", 1);

	(void)state;
	is_address(&r, PUBLIC4);
	assert_int_equal(r.ttl, 300); /* clamped from above */
	r = ask("gOOd.eXample.com", 28);
	is_address(&r, PUBLIC6);
	assert_int_equal(settle().upstream_queries - before, 2); /* both families, once */
	r = ask("good4.example.com", 1);
	is_address(&r, PUBLIC4);
	assert_in_range(r.ttl, 4, 5); /* from below */
	r = ask("good4.example.com", 28);
	assert_true(r.rcode == 0 && r.count == 0 && r.soa == 1);
	t.asked = 0;
	r = ask("good.example.com", 65);
	assert_true(r.rcode == 0 && r.count == 0 && r.soa == 1);
	r = ask("good.example.com", 16);
	assert_true(r.rcode == 0 && r.count == 0 && r.soa == 1);
	r = ask("nosuch.example.com", 1);
	assert_true(r.rcode == 0 && r.count == 0);
	r = ask("nx.example.com", 1);
	assert_int_equal(r.rcode, DNSMSG_NXDOMAIN);
	assert_int_equal(t.asked, 4);
	r = ask("broken.example.com", 1);
	assert_int_equal(r.rcode, DNSMSG_SERVFAIL);
	r = ask("garbage.example.com", 1);
	assert_int_equal(r.rcode, DNSMSG_SERVFAIL);
}

static void test_private(void **state)
{
	struct reply r;

	(void)state;
	is_sinkhole("priv.example.com");
	is_sinkhole("meta.example.com");
	is_sinkhole("loop.example.com");
	is_sinkhole("wrapped.example.com");
	is_sinkhole("metacorp.corp.example"); /* not even where the rule is private */
	r = ask("half.example.com", 28);
	is_address(&r, PUBLIC6);
	r = ask("half.example.com", 1);
	assert_true(r.rcode == 0 && r.count == 0);
	r = ask("db.corp.example", 1);
	is_address(&r, "10.0.0.7");
	t.asked = 0;
	r = ask("hosts.corp.example", 1);
	is_address(&r, "10.0.0.8");
	assert_int_equal(t.asked, 0);
}

static void test_chain(void **state)
{
	struct reply r = ask("chain.example.com", 1);

	(void)state;
	is_address(&r, PUBLIC4);
	assert_int_equal(r.ttl, 40); /* the least on the way */
}

/* 60 addresses of either family, which come over TCP: what fits is answered, and TC is not set. */
static void test_big(void **state)
{
	struct reply r = ask("big.example.com", 1);

	(void)state;
	assert_true(!r.tc && r.len <= 512);
	assert_int_equal(r.count, 16);
	r = ask("big.example.com", 28);
	assert_true(!r.tc && r.len <= 512);
	assert_int_equal(r.count, 16);
	r = ask_edns("big.example.com", 28, 4096);
	assert_true(!r.tc && r.count == 16 && r.len <= 1232);
}

static int tcp_client(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	while (connect(fd, (struct sockaddr *)&t.dns_tcp, sizeof(t.dns_tcp)) < 0)
		assert_int_equal(errno, EINTR);
	return fd;
}

static struct reply tcp_hear(int fd, const char *name, unsigned int type)
{
	uint8_t out[4096];
	size_t n;

	if (!pump(fd, NULL, 3000))
		fail_msg("no answer for %s over TCP", name);
	assert_int_equal(recv(fd, out, 2, MSG_WAITALL), 2);
	n = (size_t)out[0] << 8 | out[1];
	assert_true(n <= sizeof(out) && recv(fd, out, n, MSG_WAITALL) == (ssize_t)n);
	return read_reply(out, n, name, type);
}

static void test_tcp(void **state)
{
	/* More at once than may wait; the first of them have to go upstream. */
	static const char *const names[] = {"p1.example.com", "p2.example.com", "p3.example.com",
					    "p4.example.com", "p5.example.com", "p6.example.com",
					    "p7.example.com", "p8.example.com"};
	auto_close int fd = tcp_client();
	uint8_t q[1024];
	size_t n = 0, i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(names); i++) {
		size_t m = make(q + n + 2, names[i], 1, 0);

		put16(q + n, (unsigned int)m);
		n += m + 2;
	}
	/* cut anywhere */
	assert_int_equal(send(fd, q, 1, 0), 1);
	(void)settle();
	assert_int_equal(send(fd, q + 1, 20, 0), 20);
	(void)settle();
	assert_int_equal(send(fd, q + 21, n - 21, 0), n - 21);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	for (i = 0; i < ARRAY_SIZE(names); i++)
		assert_int_equal(tcp_hear(fd, names[i], 1).rcode, 0);
	assert_true(pump(fd, NULL, 3000));
	assert_int_equal(recv(fd, q, 1, 0), 0);
}

static void test_tcp_bad(void **state)
{
	static const uint8_t bad[][6] = {{0, 0}, {0xff, 0xff}, {0, 4, 1, 2, 3, 4}};
	uint8_t b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		auto_close int fd = tcp_client();

		assert_int_equal(send(fd, bad[i], sizeof(bad[i]), 0), sizeof(bad[i]));
		assert_true(pump(fd, NULL, 3000));
		assert_true(recv(fd, &b, 1, 0) <= 0);
	}
}

/* The 65th connection of a guard is closed, the others live. */
static void test_tcp_many(void **state)
{
	int fd[65];
	uint8_t b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		fd[i] = tcp_client();
	assert_true(pump(fd[64], NULL, 3000));
	assert_int_equal(recv(fd[64], &b, 1, MSG_DONTWAIT), 0);
	for (size_t i = 0; i < 64; i++)
		assert_int_equal(recv(fd[i], &b, 1, MSG_DONTWAIT), -1);
	for (size_t i = 0; i < ARRAY_SIZE(fd); i++)
		(void)close(fd[i]);
}

static void test_leases(void **state)
{
	uint8_t v4[16] = {[10] = 0xff, 0xff, 93, 184, 216, 34};
	struct reply r;
	unsigned int ports = 0;

	(void)state;
	t.leases = 0;
	r = ask("good.example.com", 1);
	assert_int_equal(t.leases, 0);
	r = ask("tcp.example.com", 1);
	is_address(&r, PUBLIC4);
	assert_int_equal(t.leases, 4); /* two ports, two addresses, and told before the answer */
	for (size_t i = 0; i < t.leases; i++) {
		assert_int_equal(t.lease[i].guard, GUARD);
		assert_int_equal(t.lease[i].direct, 1);
		assert_int_equal(t.lease[i].ttl, 120);
		assert_string_equal(t.lease[i].host, "tcp.example.com");
		ports += memcmp(t.lease[i].addr, v4, 16) == 0 ? t.lease[i].port : 0;
	}
	assert_int_equal(ports, 5432 + 6432);
	/* an answer that is late, when the parent is */
	t.slow_leases = true;
	r = ask("slow.example.com", 1);
	is_address(&r, PUBLIC4);
	t.slow_leases = false;
	/* private: only for the port whose rule says so */
	t.leases = 0;
	r = ask("leased.corp.example", 1);
	assert_int_equal(t.leases, 0);
}

static struct rpc_resolved resolve(uint64_t guard, const char *host, uint16_t port)
{
	static uint32_t id;
	struct rpc_resolve ask = {.guard = guard, .port = port};
	uint64_t end = loop_now_ms() + 3000;

	(void)snprintf(ask.host, sizeof(ask.host), "%s", host);
	assert_int_equal(rpc_send(t.proxy, RPC_RESOLVE, ++id, &ask, sizeof(ask), NULL, 0, -1), 0);
	while (t.resolved_id != id && loop_now_ms() < end)
		(void)pump(-1, NULL, 5);
	assert_int_equal(t.resolved_id, id);
	return t.resolved;
}

/* Where the corporate proxy is: at a private address, which the same name's rule does not open to a guard, before or
 * after; nothing is leased for it, and what was found is kept. */
static void test_resolve_proxy(void **state)
{
	uint64_t end = loop_now_ms() + 3000;
	uint32_t i;

	(void)state;
	assert_int_equal(resolve(GUARD, "priv.example.com", 443).rc, -EACCES);
	t.leases = 0;
	for (i = 1; i <= 3; i++) {
		t.asked = i == 3 ? 0 : t.asked;
		assert_int_equal(rpc_send(t.proxy, RPC_RESOLVE_PROXY, 50000 + i, NULL, 0, NULL, 0, -1), 0);
		while (t.resolved_id != 50000 + i && loop_now_ms() < end)
			(void)pump(-1, NULL, 5);
		assert_int_equal(t.resolved_id, 50000 + i);
		assert_int_equal(t.resolved.rc, 0);
		assert_int_equal(t.resolved.count, 2);
		assert_int_equal(t.resolved.addr[0][12], 10);
		assert_in_range(t.resolved.ttl, 1, 300);
	}
	assert_int_equal(t.asked, 0);
	assert_int_equal(t.leases, 0);
	assert_int_equal(resolve(GUARD, "priv.example.com", 443).rc, -EACCES);
}

static void test_resolve(void **state)
{
	struct rpc_resolved a;

	(void)state;
	a = resolve(GUARD, "good.example.com", 443);
	assert_int_equal(a.rc, 0);
	assert_int_equal(a.count, 2);
	assert_int_equal(a.addr[0][12], 93); /* IPv4 first */
	assert_int_equal(a.addr[1][0], 0x26);
	assert_in_range(a.ttl, 1, 300);
	a = resolve(GUARD, "only6.example.com", 443);
	assert_true(a.rc == 0 && a.count == 1 && a.addr[0][0] == 0x26);
	a = resolve(GUARD, "10.0.0.9", 443);
	assert_true(a.rc == 0 && a.count == 1 && a.addr[0][15] == 9);
	a = resolve(GUARD, "big.example.com", 443);
	assert_int_equal(a.count, RPC_ADDRS_MAX);
	a = resolve(GUARD, "db.corp.example", 5432);
	assert_true(a.rc == 0 && a.count == 1 && a.addr[0][12] == 10);
	/* the same name at a port whose rule is not private */
	assert_int_equal(resolve(GUARD, "db.corp.example", 443).rc, -EACCES);
	assert_int_equal(resolve(GUARD, "priv.example.com", 443).rc, -EACCES);
	assert_int_equal(resolve(GUARD, "nx.example.com", 443).rc, -ENOENT);
	assert_int_equal(resolve(GUARD, "nosuch.example.com", 443).rc, -ENOENT);
	assert_int_equal(resolve(GUARD, "broken.example.com", 443).rc, -ETIMEDOUT);
	t.asked = 0;
	assert_int_equal(resolve(GUARD, "good.example.com", 80).rc, -EPERM);
	assert_int_equal(resolve(GUARD, "evil.org", 443).rc, -EPERM);
	assert_int_equal(resolve(GUARD, "10.0.0.10", 443).rc, -EPERM);
	assert_int_equal(resolve(GUARD, "10.0.0.9", 444).rc, -EPERM);
	assert_int_equal(resolve(GUARD, "Good.example.com", 443).rc, -EPERM);
	assert_int_equal(resolve(OTHER, "good.example.com", 443).rc, -EPERM);
	assert_int_equal(resolve(1, "good.example.com", 443).rc, -EPERM);
	assert_int_equal(t.asked, 0);
}

/* Another guard has another workspace (none: nothing is allowed) and another cache. */
static void test_other_guard(void **state)
{
	auto_close int fd = client(&t.dns_other, "good.example.com", 1, 0);
	struct reply r = hear(fd, "good.example.com", 1, 3000);

	(void)state;
	is_address(&r, "192.0.2.1");
	auto_close int nobody = client(&t.dns_nobody, "good.example.com", 1, 0);
	r = hear(nobody, "good.example.com", 1, 3000);
	assert_int_equal(r.rcode, DNSMSG_REFUSED); /* a listener of no guard */
}

static void test_nxdomain(void **state)
{
	static const char *const names[] = {"evil.org", "localhost", "good.example.com.corp.local",
					    "priv.org"};
	struct reply r;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		for (unsigned int type = 1; type < 66; type++) {
			r = ask(names[i], type);
			assert_true(r.rcode == DNSMSG_NXDOMAIN && r.count == 0 && r.soa == 1);
		}
	assert_int_equal(t.asked, 0);
	/* a listed one that leads to refused addresses is told of at the proxy all the same */
	is_sinkhole("priv.example.com");
}

/* What a proxy must not say ends its channel, and nothing else. */
static void test_bad_proxy(void **state)
{
	static const struct {
		uint16_t op;
		size_t size;
	} bad[] = {{RPC_RESOLVE, sizeof(struct rpc_resolve)},
		   {RPC_RESOLVE, 4},
		   {RPC_LEASED, 0},
		   {999, 0}};
	struct rpc_resolve empty = {.guard = GUARD, .port = 443};
	struct reply r;
	char b;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		int fd = t.proxy;

		assert_int_equal(rpc_send(fd, bad[i].op, 1, &empty, bad[i].size, NULL, 0, -1), 0);
		t.proxy = -1;
		assert_true(pump(fd, NULL, 3000));
		assert_int_equal(recv(fd, &b, 1, MSG_DONTWAIT), 0);
		(void)close(fd);
		join_proxy();
		assert_int_equal(resolve(GUARD, "good.example.com", 443).rc, 0);
	}
	r = ask("good.example.com", 1);
	is_address(&r, PUBLIC4);
}

/* More questions at once than a proxy may have open: the rest is told so. */
static void test_proxy_flood(void **state)
{
	struct rpc_resolve q = {.guard = GUARD, .port = 443, .host = "once.example.com"};
	unsigned int asked = t.asked;

	(void)state;
	for (uint32_t i = 0; i < RPC_INFLIGHT_MAX + 1; i++)
		assert_int_equal(
			rpc_send(t.proxy, RPC_RESOLVE, 70000 + i, &q, sizeof(q), NULL, 0, -1), 0);
	t.deaf = true;
	while (t.resolved_id != 70000 + RPC_INFLIGHT_MAX)
		assert_true(pump(t.proxy, NULL, 3000));
	t.deaf = false;
	assert_int_equal(t.resolved.rc, -EAGAIN);
	while (t.resolved_id != 70000 + RPC_INFLIGHT_MAX - 1)
		assert_true(pump(t.proxy, NULL, 3000));
	assert_int_equal(t.resolved.rc, -ENOENT);
	assert_int_equal(t.asked - asked, 2); /* identical ones are one */
}

/* Out of turn: the process ends rather than serve without a configuration. */
static void test_bad_boss(void **state)
{
	struct rpc_listener l = {.guard = GUARD, .kind = RPC_LISTENER_PROXY};
	struct config c = {0};
	int kept = t.boss, status;

	(void)state;
	for (int i = 0; i < 4; i++) {
		pid_t pid = start(&t.boss);

		if (i == 0)
			tell(RPC_GO, NULL, 0, -1);
		if (i == 1)
			tell(RPC_LISTENER, &l, sizeof(l), t.up_udp);
		if (i == 2)
			tell(RPC_CONFIG, &c, sizeof(c), -1);
		if (i == 2)
			tell(RPC_CONFIG, &c, sizeof(c), -1);
		if (i == 3) /* root is no user for it */
			tell(RPC_CONFIG, &c, sizeof(c), -1);
		if (i == 3)
			tell(RPC_GO, NULL, 0, -1);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FAILURE);
		(void)close(t.boss);
	}
	t.boss = kept;
}

static void test_rules_change(void **state)
{
	struct rpc_workspace w = {.workspace = "demo", .version = 2};
	struct rpc_guard g = {.guard = GUARD, .workspace = "demo"};
	struct reply r;

	(void)state;
	is_sinkhole("new.example.net");
	tell_workspace(2, true);
	(void)settle();
	r = ask("new.example.net", 1);
	assert_true(r.rcode == 0 && r.count == 0);
	t.asked = 0;
	r = ask("good.example.com", 1); /* what was found under the old rules is forgotten */
	is_address(&r, PUBLIC4);
	assert_int_equal(t.asked, 2);
	tell(RPC_WORKSPACE_GONE, &w, sizeof(w), -1);
	(void)settle();
	is_sinkhole("good.example.com");
	tell_workspace(3, true);
	tell(RPC_GUARD_GONE, &g, sizeof(g), -1);
	(void)settle();
	auto_close int fd = client(&t.dns, "good.example.com", 1, 0);
	assert_false(pump(fd, NULL, 50)); /* nobody listens there for us */
	assert_int_equal(resolve(GUARD, "good.example.com", 443).rc, -EPERM);
}

/* 64 names at most under way; the others are told so at once. Identical ones are one. */
static void test_flood(void **state)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct rpc_stats before = settle();
	uint8_t q[512], out[4096];
	size_t n, refused = 0;
	char name[64];

	(void)state;
	t.deaf = true;
	for (int i = 0; i < 200; i++) {
		(void)snprintf(name, sizeof(name), "%s%d.example.com", "f", i < 100 ? i : i - 100);
		n = make(q, name, 1, 0);
		assert_int_equal(sendto(fd, q, n, 0, (struct sockaddr *)&t.dns, sizeof(t.dns)), n);
		if (i % 50 == 49)
			settle_queries(before.queries + (uint64_t)i + 1);
	}
	for (; refused < 72; refused++)
		if (!pump(fd, NULL, 3000) || recv(fd, out, sizeof(out), 0) < 12 ||
		    (out[3] & 15) != DNSMSG_SERVFAIL)
			fail_msg("only %zu were refused", refused);
	assert_int_equal(settle().upstream_queries - before.upstream_queries, 128);
	t.deaf = false;
	/* let them be answered */
	for (int i = 0; i < 128; i++)
		if (!pump(fd, NULL, 3000) || recv(fd, out, sizeof(out), 0) <= 0)
			fail_msg("only %d were answered", i);
	(void)settle();
	assert_int_equal(ask("good.example.com", 1).rcode, 0);
}

/* The one that takes long: a server that does not answer. It has been waiting since it was first
 * asked. */
static void test_silent(void **state)
{
	auto_close int fd = client(&t.dns, "silent.example.com", 1, 0);
	struct reply r = hear(fd, "silent.example.com", 1, 8000);

	(void)state;
	assert_int_equal(r.rcode, DNSMSG_SERVFAIL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unlisted),     cmocka_unit_test(test_listed),
		cmocka_unit_test(test_private),      cmocka_unit_test(test_chain),
		cmocka_unit_test(test_big),          cmocka_unit_test(test_tcp),
		cmocka_unit_test(test_tcp_bad),      cmocka_unit_test(test_tcp_many),
		cmocka_unit_test(test_leases),       cmocka_unit_test(test_resolve),
		cmocka_unit_test(test_resolve_proxy),
		cmocka_unit_test(test_flood),        cmocka_unit_test(test_other_guard),
		cmocka_unit_test(test_bad_proxy),    cmocka_unit_test(test_proxy_flood),
		cmocka_unit_test(test_silent),       cmocka_unit_test(test_bad_boss),
		cmocka_unit_test(test_rules_change),
	};
	const struct CMUnitTest other[] = {cmocka_unit_test(test_nxdomain)};
	int failed;

	if (unshare(CLONE_NEWNET) < 0) {
		(void)fprintf(stderr, "skipped: needs root for a network namespace of its own\n");
		return SKIP;
	}
	failed = cmocka_run_group_tests(other, setup_nxdomain, teardown);
	return failed + cmocka_run_group_tests(tests, setup, teardown);
}
