/* doctor.c: see doctor.h.
 *
 * The programs are loaded once more, over maps of their own (enforce_trial), and attached to scratch cgroups: `listen`
 * as for the proxy's listeners, `guard` with everything, `wall` with the packet programs alone. A child in a network
 * namespace of its own makes sockets outside, moves in and tries what must arrive and what must not.
 */
#include "doctor.h"

#include "aside.h"
#include "cgroup.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define DOCTOR_PROXY 15001 /* in a network namespace of its own: nothing else is there */
#define DOCTOR_DNS 15053
#define DOCTOR_OTHER 15099
#define DOCTOR_WAIT_MS 300

enum doctor_cgroup { DOCTOR_BASE, DOCTOR_LISTEN, DOCTOR_GUARD, DOCTOR_WALL, DOCTOR_CGROUPS };

struct doctor {
	char path[CONFIG_PATH_MAX];
	int cgroup[DOCTOR_CGROUPS];
	struct enforce *trial;
};

/* In the child: sockets born outside the guard. */
struct canary {
	const struct doctor *d;
	int proxy, dns, outside;
};

static const char *const doctor_names[DOCTOR_CGROUPS] = {
	[DOCTOR_BASE] = "", [DOCTOR_LISTEN] = "/listen", [DOCTOR_GUARD] = "/guard", [DOCTOR_WALL] = "/wall"
};

static struct sockaddr_in v4(uint32_t host, uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(host) };
}

static int dial_v4(int fd, uint32_t host, uint16_t port)
{
	struct sockaddr_in to = v4(host, port);

	return connect(fd, (struct sockaddr *)&to, sizeof(to)) ? -errno : 0;
}

static int send_v4(int fd, uint32_t host, uint16_t port)
{
	struct sockaddr_in to = v4(host, port);

	return sendto(fd, "x", 1, MSG_NOSIGNAL, (struct sockaddr *)&to, sizeof(to)) == 1 ? 0 : -errno;
}

static int bound(int type, uint16_t port)
{
	auto_close int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	struct sockaddr_in at = v4(INADDR_LOOPBACK, port);

	if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof(at)) != 0 ||
	    (type == SOCK_STREAM && listen(fd, 8) != 0))
		return -errno;
	return take_fd(&fd);
}

static bool ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, DOCTOR_WAIT_MS) == 1 && (p.revents & POLLIN);
}

/* 0 when `rc` is the refusal that is wanted. */
static int wants_eperm(int rc)
{
	return rc == -EPERM ? 0 : rc == 0 ? -EALREADY : rc;
}

/* A public address must arrive at the proxy's listener, with the record of what was dialled. */
static int canary_redirect(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), peer = -1;
	struct eg_record r;
	socklen_t len = sizeof(r);
	int rc = dial_v4(fd, 0xc0000201, 443); /* 192.0.2.1 */

	if (rc)
		return rc;
	if (!ready(c->proxy))
		return -ETIMEDOUT;
	peer = accept4(c->proxy, NULL, NULL, SOCK_CLOEXEC);
	if (peer < 0 || getsockopt(peer, SOL_IP, EG_SO_RECORD, &r, &len) != 0)
		return -errno;
	if (len != sizeof(r) || r.port != 443 || r.addr[12] != 192 || r.addr[15] != 1)
		return -EPROTO;
	return 0;
}

static int canary_metadata(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)c;
	return wants_eperm(dial_v4(fd, 0xa9fea9fe, 80)); /* 169.254.169.254 */
}

static int canary_dns(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = send_v4(fd, 0xc0000201, 53);

	return rc ? rc : ready(c->dns) ? 0 : -ETIMEDOUT;
}

static int canary_udp(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)c;
	return wants_eperm(send_v4(fd, 0xc0000201, 443));
}

static int canary_udplite(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDPLITE);

	(void)c;
	if (fd < 0 && errno == EPROTONOSUPPORT) /* nothing to refuse */
		return 0;
	return wants_eperm(fd < 0 ? -errno : 0);
}

static int canary_device(struct canary *c)
{
	auto_close int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)c;
	return wants_eperm(setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, "lo", 3) ? -errno : 0);
}

/* A listener of the guard, dialled from outside: its SYN must be dropped. */
static int canary_inbound(struct canary *c)
{
	auto_close int fd = bound(SOCK_STREAM, DOCTOR_OTHER);
	int rc;

	if (fd < 0)
		return fd;
	rc = dial_v4(c->outside, INADDR_LOOPBACK, DOCTOR_OTHER);
	if (rc && rc != -EINPROGRESS)
		return rc;
	return ready(fd) ? -EALREADY : 0;
}

/* Where only the wall stands and no connect hook: a packet to anywhere else must not leave. */
static int canary_wall(struct canary *c)
{
	auto_close int fd = -1;
	int rc = cgroup_move(c->d->cgroup[DOCTOR_WALL], getpid(), NULL);

	if (rc)
		return rc;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return wants_eperm(send_v4(fd, INADDR_LOOPBACK, DOCTOR_OTHER));
}

static const struct {
	const char *name, *good, *bad;
	int (*run)(struct canary *c);
} canaries[] = {
	{ "tcp redirect", "a dialled address arrives at the proxy, with its record",
	  "a dialled address does not arrive at the proxy with its record", canary_redirect },
	{ "metadata address", "connect() is refused", "connect() is not refused", canary_metadata },
	{ "dns redirect", "port 53 arrives at the guard's resolver",
	  "port 53 does not arrive at the guard's resolver", canary_dns },
	{ "udp", "other UDP is refused", "other UDP is not refused", canary_udp },
	{ "socket types", "UDP-Lite is refused", "UDP-Lite is not refused", canary_udplite },
	{ "socket options", "SO_BINDTODEVICE is refused", "SO_BINDTODEVICE is not refused", canary_device },
	{ "inbound", "a connection to a guarded listener is dropped",
	  "a connection to a guarded listener gets through", canary_inbound },
	{ "wall", "a packet past the proxy is dropped", "a packet past the proxy gets out", canary_wall },
};
#define CANARIES ARRAY_SIZE(canaries)

struct verdicts {
	int32_t setup;
	int32_t rc[CANARIES];
};

static int lo_up(void)
{
	auto_close int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	return fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) != 0 ? -errno : 0;
}

static int canary_setup(struct canary *c)
{
	int rc;

	if (unshare(CLONE_NEWNET) != 0)
		return -errno;
	rc = lo_up();
	if (!rc)
		rc = cgroup_move(c->d->cgroup[DOCTOR_LISTEN], getpid(), NULL);
	if (rc)
		return rc;
	c->proxy = bound(SOCK_STREAM, DOCTOR_PROXY);
	c->dns = bound(SOCK_DGRAM, DOCTOR_DNS);
	c->outside = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->proxy < 0 || c->dns < 0 || c->outside < 0)
		return -EADDRINUSE;
	return cgroup_move(c->d->cgroup[DOCTOR_GUARD], getpid(), NULL);
}

/* In a process aside. */
static void canaries_sing(void *ctx, void *out)
{
	struct canary c = { .d = ctx, .proxy = -1, .dns = -1, .outside = -1 };
	struct verdicts *v = out;

	v->setup = canary_setup(&c);
	for (size_t i = 0; v->setup == 0 && i < CANARIES; i++)
		v->rc[i] = canaries[i].run(&c);
}

static int doctor_cgroups(struct doctor *d, struct err *e)
{
	char path[PATH_MAX];
	int rc = cgroup_mount(d->path, sizeof(d->path) - 40, e);

	if (rc)
		return rc;
	(void)snprintf(d->path + strlen(d->path), 40, "/agentsecrets-doctor-%d", (int)getpid());
	for (int i = 0; i < DOCTOR_CGROUPS; i++) {
		(void)snprintf(path, sizeof(path), "%s%s", d->path, doctor_names[i]);
		if (mkdir(path, 0755) != 0)
			return err_set(e, -errno, "%s cannot be made: %s", path, strerror(errno));
		d->cgroup[i] = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (d->cgroup[i] < 0)
			return err_set(e, -errno, "%s cannot be opened: %s", path, strerror(errno));
	}
	return 0;
}

static void doctor_done(struct doctor *d)
{
	char path[PATH_MAX];

	d->trial = enforce_close(d->trial);
	for (int i = DOCTOR_CGROUPS - 1; i >= 0; i--) {
		(void)snprintf(path, sizeof(path), "%s%s", d->path, doctor_names[i]);
		if (d->cgroup[i] >= 0)
			(void)rmdir(path);
		own_close(&d->cgroup[i]);
	}
}

static int doctor_attach(struct doctor *d, struct err *e)
{
	struct eg_guard state = { .flags = EG_GUARD_OPEN, .proxy_port = DOCTOR_PROXY, .dns_port = DOCTOR_DNS };
	int rc = enforce_trial_listen(d->trial, d->cgroup[DOCTOR_LISTEN], e);

	if (!rc)
		rc = enforce_trial_guard(d->trial, d->cgroup[DOCTOR_GUARD], &state, false, e);
	return rc ? rc : enforce_trial_guard(d->trial, d->cgroup[DOCTOR_WALL], &state, true, e);
}

struct report {
	struct doctor_check *checks;
	size_t count, max;
};

static void add_check(struct report *r, const char *name, bool required, bool ok, const char *detail)
{
	struct doctor_check *check = &r->checks[r->count];

	if (r->count == r->max)
		return;
	r->count++;
	(void)snprintf(check->name, sizeof(check->name), "%s", name);
	(void)snprintf(check->detail, sizeof(check->detail), "%s", detail);
	check->ok = ok;
	check->required = required;
}

/* One check per canary; when they could not run, all of them failed. */
static bool add_canaries(struct report *r, const struct doctor *d)
{
	struct verdicts v = {};
	char detail[sizeof(r->checks->detail)];
	bool all = true;
	int rc = aside(canaries_sing, (void *)(uintptr_t)d, &v, sizeof(v));

	rc = rc ? rc : v.setup;
	for (size_t i = 0; i < CANARIES; i++) {
		int got = rc ? rc : v.rc[i];

		if (got == 0 || got == -EALREADY)
			(void)snprintf(detail, sizeof(detail), "%s", got ? canaries[i].bad : canaries[i].good);
		else
			(void)snprintf(detail, sizeof(detail), "%s: %s", canaries[i].bad, strerror(-got));
		add_check(r, canaries[i].name, true, got == 0, detail);
		all = all && got == 0;
	}
	return all;
}

static bool doctor_l1(const struct config *c, struct doctor *d, struct report *r)
{
	struct err e = {};
	int rc = doctor_cgroups(d, &e);

	add_check(r, "cgroup v2", true, rc == 0, rc ? e.text : d->path);
	if (rc)
		return false;
	rc = enforce_mountable(c, &e);
	add_check(r, "bpf filesystem", true, rc == 0, rc ? e.text : "can be mounted");
	if (rc)
		return false;
	rc = enforce_trial(c, d->cgroup[DOCTOR_BASE], &d->trial, &e);
	add_check(r, "programs load", true, rc == 0, rc ? e.text : "all of them");
	if (rc)
		return false;
	rc = doctor_attach(d, &e);
	add_check(r, "programs attach", true, rc == 0, rc ? e.text : "all of them, and are in force");
	return rc == 0 && add_canaries(r, d);
}

static const char no_l2[] = "agents reach the host's unix sockets that their user may open: docker, D-Bus, ssh-agent",
		  no_l3[] = "an attached agent may open other families, and use sockets handed in from outside";

/* Why a level is absent, and what that leaves open. */
static void absent(const char *why, const char *open, char *out, size_t cap)
{
	(void)snprintf(out, cap, "%s; without it %s", why, open);
}

static void add_l2(struct report *r, const struct enforce *trial, bool l3, bool required)
{
	char detail[sizeof(r->checks->detail)];
	const char *text = detail;
	bool ok = trial && enforce_missing(trial, 2)[0] == '\0';

	if (!trial)
		text = "not tried: see above";
	else if (!ok && l3)
		text = "not in this kernel; the LSM programs of L3 do the same";
	else if (!ok)
		absent(enforce_missing(trial, 2), no_l2, detail, sizeof(detail));
	else if (l3)
		text = "yes; paths are judged by the LSM programs";
	else if (enforce_reaches_own(trial))
		text = "yes: by path none is reached, by abstract name the agent's own";
	else
		text = "yes: none is reached, nor the agent's own (this kernel's table of names is unknown)";
	add_check(r, "level L2: unix sockets", required, ok || l3, text);
}

static void add_l3(struct report *r, const struct enforce *en, bool required)
{
	char detail[sizeof(r->checks->detail)];
	bool ok = en && enforce_level(en) >= 3;

	if (!en)
		(void)snprintf(detail, sizeof(detail), "not asked: nothing is in force");
	else if (ok)
		(void)snprintf(detail, sizeof(detail), "yes: each of its programs refused its canary at start");
	else
		absent(enforce_missing(en, 3), no_l3, detail, sizeof(detail));
	add_check(r, "level L3: LSM", required, ok, detail);
}

size_t doctor_checks(const struct config *c, const struct enforce *en, struct doctor_check *checks, size_t max)
{
	struct report r = { .checks = checks, .max = max };
	struct doctor d = { .cgroup = { -1, -1, -1, -1 } };
	bool l1 = doctor_l1(c, &d, &r), l3 = en && enforce_level(en) >= 3;

	add_check(&r, "level L1: wall and redirect", true, l1, l1 ? "yes" : "no: see above");
	add_l2(&r, d.trial, l3, c->minimum_level >= 2);
	add_l3(&r, en, c->minimum_level >= 3);
	doctor_done(&d);
	return r.count;
}
