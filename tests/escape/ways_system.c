/* ways_system.c: what is not a socket call of the guarded process: io_uring, other cgroups and namespaces,
 * bpf(), tun, mounts whose packets the kernel sends; and address families whose sockets no hook of the
 * cgroup sees made. */
#include "escape.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_tun.h>
#include <linux/io_uring.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- io_uring, with no library ---- */

struct ring {
	int fd;
	unsigned int *tail, *mask, *array, *flags, *done_head, *done_tail, *done_mask;
	struct io_uring_sqe *entries;
	struct io_uring_cqe *done;
};

static int ring_open(struct ring *r, unsigned int flags)
{
	struct io_uring_params p = {.flags = flags, .sq_thread_idle = 1000};
	char *m;

	r->fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	if (r->fd < 0)
		return step_failed("io_uring_setup");
	m = mmap(NULL,
		 p.sq_off.array + p.sq_entries * 4 + p.cq_off.cqes +
			 p.cq_entries * sizeof(struct io_uring_cqe),
		 PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQ_RING);
	r->entries = mmap(NULL, p.sq_entries * sizeof(*r->entries), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_POPULATE, r->fd, IORING_OFF_SQES);
	if (m == MAP_FAILED || r->entries == MAP_FAILED || !(p.features & IORING_FEAT_SINGLE_MMAP))
		return step_said("io_uring: cannot be mapped");
	r->tail = (unsigned int *)(m + p.sq_off.tail);
	r->mask = (unsigned int *)(m + p.sq_off.ring_mask);
	r->array = (unsigned int *)(m + p.sq_off.array);
	r->flags = (unsigned int *)(m + p.sq_off.flags);
	r->done_head = (unsigned int *)(m + p.cq_off.head);
	r->done_tail = (unsigned int *)(m + p.cq_off.tail);
	r->done_mask = (unsigned int *)(m + p.cq_off.ring_mask);
	r->done = (struct io_uring_cqe *)(m + p.cq_off.cqes);
	return WAY_SENT;
}

/* One operation, in a worker; its result, or -ETIME. */
static int ring_do(struct ring *r, const struct io_uring_sqe *op)
{
	unsigned int at = *r->tail & *r->mask, head = *r->done_head;
	int result;

	r->entries[at] = *op;
	r->entries[at].flags |= IOSQE_ASYNC;
	r->array[at] = at;
	__atomic_store_n(r->tail, *r->tail + 1, __ATOMIC_RELEASE);
	(void)syscall(SYS_io_uring_enter, r->fd, 1, 0, IORING_ENTER_SQ_WAKEUP, NULL, 0);
	for (int i = 0; i < 60 && __atomic_load_n(r->done_tail, __ATOMIC_ACQUIRE) == head; i++)
		(void)usleep(10000);
	if (__atomic_load_n(r->done_tail, __ATOMIC_ACQUIRE) == head)
		return -ETIME;
	result = r->done[head & *r->done_mask].res;
	__atomic_store_n(r->done_head, head + 1, __ATOMIC_RELEASE);
	return result;
}

static int ring_step(struct ring *r, const struct io_uring_sqe *op, const char *what)
{
	int rc = ring_do(r, op);

	if (rc < 0) {
		errno = -rc;
		(void)step_failed(what);
	}
	return rc;
}

static int uring_tcp(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	struct io_uring_sqe make = {.opcode = IORING_OP_SOCKET, .fd = d.family, .off = SOCK_STREAM};
	struct io_uring_sqe dial = {
		.opcode = IORING_OP_CONNECT, .addr = (uintptr_t)&d.ss, .off = d.len};
	struct io_uring_sqe give = {
		.opcode = IORING_OP_SEND, .addr = (uintptr_t)t->marker, .len = ESCAPE_MARKER};
	struct ring r;
	int fd;

	if (ring_open(&r, 0))
		return WAY_REFUSED;
	fd = ring_step(&r, &make, "io_uring socket");
	dial.fd = give.fd = fd;
	if (fd < 0 || ring_step(&r, &dial, "io_uring connect") < 0 ||
	    ring_step(&r, &give, "io_uring send") < 0)
		return WAY_REFUSED;
	return WAY_SENT;
}

static int uring_udp(const struct target *t, const char *arg)
{
	struct dest d = target_dest(t, arg, t->port);
	auto_close int fd = way_socket(d.family, SOCK_DGRAM, 0);
	struct iovec iov = {(void *)t->marker, ESCAPE_MARKER};
	struct msghdr m = {
		.msg_name = &d.ss, .msg_namelen = d.len, .msg_iov = &iov, .msg_iovlen = 1};
	struct io_uring_sqe give = {
		.opcode = IORING_OP_SENDMSG, .fd = fd, .addr = (uintptr_t)&m, .len = 1};
	struct ring r;

	if (fd < 0 || ring_open(&r, IORING_SETUP_SQPOLL))
		return WAY_REFUSED;
	return ring_step(&r, &give, "io_uring sendmsg") < 0 ? WAY_REFUSED : WAY_SENT;
}

/* ---- other cgroups and namespaces ---- */

static int own_cgroup(const struct target *t, char *path, size_t cap)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[512];
	int found = step_said("not in a cgroup of version 2");

	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "0::", 3) == 0) {
			line[strcspn(line, "\n")] = '\0';
			(void)snprintf(path, cap, "%s%s", t->cgroup, line + 3);
			found = WAY_SENT;
		}
	if (f)
		(void)fclose(f);
	return found;
}

static int enter_cgroup(const char *dir)
{
	char path[700];
	auto_close int fd = -1;

	(void)snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return step_failed("open cgroup.procs");
	return write(fd, "0", 1) < 0 ? step_failed("write cgroup.procs") : WAY_SENT;
}

static int other_cgroup(const struct target *t, const char *arg)
{
	int rc = enter_cgroup(t->cgroup);

	(void)arg;
	return rc ? rc : way_udp(t, "4");
}

static int child_cgroup(const struct target *t, const char *arg)
{
	char own[512], child[600];
	int status = 1;
	pid_t pid;

	(void)arg;
	if (own_cgroup(t, own, sizeof(own)))
		return WAY_REFUSED;
	(void)snprintf(child, sizeof(child), "%s/escape-%d", own, (int)getpid());
	if (mkdir(child, 0755) < 0)
		return step_failed("mkdir");
	pid = fork();
	if (pid == 0) {
		if (enter_cgroup(child))
			_exit(1);
		_exit(way_udp(t, "4") == WAY_SENT ? 0 : 2);
	}
	(void)waitpid(pid, &status, 0);
	(void)rmdir(child);
	return status == 0 ? WAY_SENT
			   : step_said(WEXITSTATUS(status) == 1
					       ? "cannot enter the child cgroup"
					       : "sendto from the child cgroup: refused");
}

/* Back to the namespaces of the helper: a new socket there, but made by us. */
static int join_netns(const struct target *t, const char *arg)
{
	auto_close int fd = -1;
	char path[64];

	(void)arg;
	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)t->helper);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return step_failed("open the namespace");
	if (setns(fd, CLONE_NEWNET) < 0)
		return step_failed("setns");
	return way_udp(t, "4");
}

/* ---- taking the programs off ---- */

static long sys_bpf(int cmd, union bpf_attr *a)
{
	return syscall(SYS_bpf, cmd, a, sizeof(*a));
}

/* Only links on our own cgroup: the machine has others. */
static bool detach_if_ours(int fd, uint64_t own)
{
	struct bpf_link_info info = {0};
	union bpf_attr a = {.info = {.bpf_fd = (uint32_t)fd,
				     .info_len = sizeof(info),
				     .info = (uintptr_t)&info}};

	if (sys_bpf(BPF_OBJ_GET_INFO_BY_FD, &a) < 0 || info.type != BPF_LINK_TYPE_CGROUP ||
	    info.cgroup.cgroup_id != own)
		return false;
	memset(&a, 0, sizeof(a));
	a.link_detach.link_fd = (uint32_t)fd;
	return sys_bpf(BPF_LINK_DETACH, &a) == 0;
}

static int detach_pins(const char *dir, uint64_t own, int depth)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	if (!d) {
		(void)step_failed("open the bpffs");
		return 0;
	}
	while (depth && (e = readdir(d))) {
		char path[512];

		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (e->d_type == DT_DIR) {
			n += detach_pins(path, own, depth - 1);
			continue;
		}
		union bpf_attr a = {.pathname = (uintptr_t)path};
		auto_close int fd = (int)sys_bpf(BPF_OBJ_GET, &a);

		if (fd < 0)
			(void)step_failed("bpf OBJ_GET");
		else
			n += detach_if_ours(fd, own);
	}
	(void)closedir(d);
	return n;
}

static int detach_ids(uint64_t own)
{
	union bpf_attr a = {0};
	int n = 0;

	for (uint32_t id = 0; n < 100; id = a.next_id) {
		memset(&a, 0, sizeof(a));
		a.start_id = id;
		if (sys_bpf(BPF_LINK_GET_NEXT_ID, &a) < 0) {
			if (errno != ENOENT)
				(void)step_failed("bpf LINK_GET_NEXT_ID");
			return n;
		}
		union bpf_attr by = {.link_id = a.next_id};
		auto_close int fd = (int)sys_bpf(BPF_LINK_GET_FD_BY_ID, &by);

		if (fd >= 0)
			n += detach_if_ours(fd, own);
	}
	return n;
}

static int bpf_detach(const struct target *t, const char *arg)
{
	char own[512];
	struct stat st;
	int n;

	if (own_cgroup(t, own, sizeof(own)))
		return WAY_REFUSED;
	if (stat(own, &st) < 0)
		return step_failed("stat of the cgroup");
	(void)step_said("no link of this guard was found");
	n = strcmp(arg, "pins") == 0 ? detach_pins(t->bpffs, st.st_ino, 4) : detach_ids(st.st_ino);
	return n ? way_udp(t, "4") : WAY_REFUSED;
}

/* ---- packets that the kernel sends for us ---- */

static uint16_t ip_sum(const void *data, size_t len)
{
	const uint8_t *p = data;
	uint32_t sum = 0;

	for (size_t i = 0; i < len; i += 2)
		sum += (uint32_t)(p[i] << 8 | p[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

static int tun_up(int fd, struct ifreq *ifr)
{
	auto_close int s = way_socket(AF_INET, SOCK_DGRAM, 0);
	struct sockaddr_in *sin = (struct sockaddr_in *)&ifr->ifr_addr;

	if (ioctl(fd, TUNSETIFF, ifr) < 0)
		return step_failed("TUNSETIFF");
	if (s < 0)
		return WAY_REFUSED;
	*sin = (struct sockaddr_in){.sin_family = AF_INET};
	sin->sin_addr.s_addr = htonl(0xc0a8fa01); /* 192.168.250.1 */
	if (ioctl(s, SIOCSIFADDR, ifr) < 0)
		return step_failed("SIOCSIFADDR");
	sin->sin_addr.s_addr = htonl(0xffffff00);
	if (ioctl(s, SIOCSIFNETMASK, ifr) < 0)
		return step_failed("SIOCSIFNETMASK");
	ifr->ifr_flags = IFF_UP | IFF_RUNNING;
	return ioctl(s, SIOCSIFFLAGS, ifr) < 0 ? step_failed("SIOCSIFFLAGS") : WAY_SENT;
}

static int tun(const struct target *t, const char *arg)
{
	auto_close int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq ifr = {.ifr_flags = IFF_TUN | IFF_NO_PI, .ifr_name = "escape%d"};
	struct {
		struct iphdr ip;
		char marker[ESCAPE_MARKER];
	} p = {.ip = {.version = 4,
		      .ihl = 5,
		      .ttl = 64,
		      .protocol = 253,
		      .tot_len = htons(sizeof(p))}};

	(void)arg;
	if (fd < 0)
		return step_failed("open /dev/net/tun");
	if (tun_up(fd, &ifr))
		return WAY_REFUSED;
	p.ip.saddr = htonl(0xc0a8fa02);
	p.ip.daddr = target_v4(t);
	p.ip.check = ip_sum(&p.ip, sizeof(p.ip));
	memcpy(p.marker, t->marker, ESCAPE_MARKER);
	if (write(fd, &p, sizeof(p)) < 0)
		return step_failed("write");
	(void)usleep(50000);
	return WAY_SENT;
}

/* The server is the case's address; the kernel dials it. Never succeeds: who dialled is what counts. */
static int mounted(const struct target *t, const char *arg)
{
	char at[] = "/tmp/escape-mount-XXXXXX", source[64], options[160];
	struct in_addr v4 = {target_v4(t)};
	int rc;

	if (strcmp(arg, "9p") == 0) {
		(void)snprintf(source, sizeof(source), "%s", inet_ntoa(v4));
		(void)snprintf(options, sizeof(options), "trans=tcp,port=%u", t->port);
	} else if (strcmp(arg, "nfs") == 0) {
		(void)snprintf(source, sizeof(source), "%s:/x", inet_ntoa(v4));
		(void)snprintf(options, sizeof(options),
			       "vers=3,nolock,soft,proto=tcp,port=%u,mountport=%u,mountproto=tcp,"
			       "timeo=5,retrans=0,addr=%s",
			       t->port, t->port, inet_ntoa(v4));
	} else {
		(void)snprintf(source, sizeof(source), "//%s/x", inet_ntoa(v4));
		(void)snprintf(options, sizeof(options), "ip=%s,port=%u,username=a,password=b,soft",
			       inet_ntoa(v4), t->port);
	}
	if (!mkdtemp(at))
		return step_failed("mkdtemp");
	rc = unshare(CLONE_NEWNS) < 0 ? step_failed("unshare mounts") : WAY_SENT;
	if (rc == WAY_SENT && mount(source, at, arg, 0, options) < 0)
		rc = step_failed("mount");
	(void)umount2(at, MNT_DETACH);
	(void)rmdir(at);
	return rc;
}

/* ---- families ---- */

static int family(const struct target *t, const char *arg)
{
	int domain = 0, type = 0, proto = 0;
	auto_close int fd = -1;

	(void)t;
	if (sscanf(arg, "%d %d %d", &domain, &type, &proto) != 3)
		return step_said("no family");
	fd = way_socket(domain, type, proto);
	return fd < 0 ? WAY_REFUSED : WAY_MADE;
}

const struct way ways_system[] = {
	{.name = "io-uring-tcp4", .run = uring_tcp, .arg = "4"},
	{.name = "io-uring-tcp6", .run = uring_tcp, .arg = "6"},
	{.name = "io-uring-sqpoll-udp4", .run = uring_udp, .arg = "4"},
	{.name = "io-uring-sqpoll-udp6", .run = uring_udp, .arg = "6"},
	{.name = "other-cgroup", .run = other_cgroup},
	{.name = "child-cgroup", .run = child_cgroup},
	{.name = "setns", .run = join_netns},
	{.name = "tun", .run = tun},
	{.name = "mount-nfs", .run = mounted, .arg = "nfs"},
	{.name = "mount-cifs", .run = mounted, .arg = "cifs"},
	{.name = "mount-9p", .run = mounted, .arg = "9p"},
	{.name = "socket-packet", .run = family, .arg = "17 3 0"},
	{.name = "socket-vsock", .run = family, .arg = "40 1 0"},
	{.name = "socket-alg", .run = family, .arg = "38 5 0"},
	{.name = "socket-xdp", .run = family, .arg = "44 3 0"},
	{.name = "socket-tipc", .run = family, .arg = "30 1 0"},
	{.name = "socket-rds", .run = family, .arg = "21 5 0"},
	{.name = "socket-smc", .run = family, .arg = "43 1 0"},
	{.name = "socket-can", .run = family, .arg = "29 3 1"},
	{.name = "socket-kcm", .run = family, .arg = "41 5 0"},
	{.name = "socket-rxrpc", .run = family, .arg = "33 2 2"},
	{.name = "socket-key", .run = family, .arg = "15 3 2"},
	{.name = "socket-llc", .run = family, .arg = "26 2 0"},
	{.name = "socket-bluetooth", .run = family, .arg = "31 3 1"},
	{.name = "socket-qipcrtr", .run = family, .arg = "42 2 0"},
	{.name = "socket-nfc", .run = family, .arg = "39 5 0"},
	{.name = "socket-pppox", .run = family, .arg = "24 1 0"},
	{.name = "socket-phonet", .run = family, .arg = "35 2 0"},
	{.name = "socket-mctp", .run = family, .arg = "45 2 0"},
	{.name = "socket-ieee802154", .run = family, .arg = "36 2 0"},
	{.name = "socket-appletalk", .run = family, .arg = "5 2 0"},
	{.name = "socket-ax25", .run = family, .arg = "3 5 0"},
	{.name = "socket-x25", .run = family, .arg = "9 5 0"},
	{.name = "netlink-sock-diag", .run = family, .arg = "16 3 4"},
	{.name = "netlink-xfrm", .run = family, .arg = "16 3 6"},
	{.name = "netlink-audit", .run = family, .arg = "16 3 9"},
	{.name = "netlink-connector", .run = family, .arg = "16 3 11"},
	{.name = "netlink-netfilter", .run = family, .arg = "16 3 12"},
	{.name = "netlink-generic", .run = family, .arg = "16 3 16"},
	{.name = "bpf-detach-ids", .run = bpf_detach, .arg = "ids", .alone = true},
	{.name = "bpf-detach-pins", .run = bpf_detach, .arg = "pins", .alone = true},
	{0},
};
