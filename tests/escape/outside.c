/* outside.c: the side that nothing guards.
 *
 *	escape watch				every frame that comes in from the links: "IFNAME HEX" a line
 *	escape listen MODE			the mode's 256 ports, TCP and UDP; a line for whatever arrives
 *	escape call MS				reads lines PROTO SRC DST PORT and dials in, as the case's own
 *						address; a line for what is answered within that time
 *	escape mark DST TEXT			a datagram by which the reader of `watch` knows how far it has got
 *	escape helper DIR			a process that runs errands for whoever asks or can write its memory
 */
#include "escape.h"

#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/un.h>
#include <sys/wait.h>

static int die(const char *what)
{
	(void)fprintf(stderr, "escape: %s: %s\n", what, strerror(errno));
	return 2;
}

static void hex(const unsigned char *b, size_t n)
{
	for (size_t i = 0; i < n; i++)
		(void)printf("%02x", b[i]);
	(void)putchar('\n');
}

int outside_watch(int argc, char **argv)
{
	auto_close int fd = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL));
	static unsigned char b[2048];
	struct sockaddr_ll from;
	char name[IF_NAMESIZE];
	int room = 8 << 20;

	(void)argc;
	(void)argv;
	if (fd < 0)
		return die("packet socket");
	(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof(room));
	(void)setvbuf(stdout, NULL, _IOLBF, 16384);
	(void)puts("ready");
	for (;;) {
		socklen_t len = sizeof(from);
		ssize_t n = recvfrom(fd, b, sizeof(b), 0, (struct sockaddr *)&from, &len);

		if (n < 0)
			return die("recv");
		if (from.sll_pkttype == PACKET_OUTGOING || from.sll_ifindex == 1)
			continue;
		(void)printf("%s ",
			     if_indextoname((unsigned int)from.sll_ifindex, name) ? name : "?");
		hex(b, (size_t)n);
	}
}

static int one_port(int ep, int type, uint16_t port)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	int fd = socket(AF_INET6, type | SOCK_NONBLOCK, 0), on = 1;
	struct epoll_event ev = {.events = EPOLLIN,
				 .data.u64 = (uint64_t)port << 32 | (type == SOCK_STREAM) << 30 |
					     (uint32_t)fd};

	(void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -1;
	if (type == SOCK_STREAM && listen(fd, 16) < 0)
		return -1;
	return epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
}

static void heard(uint16_t port, const unsigned char *b, ssize_t n)
{
	(void)printf("heard %u ", port);
	hex(b, n > 0 ? (size_t)n : 0);
}

static void arrived(int ep, uint64_t what)
{
	uint16_t port = (uint16_t)(what >> 32);
	int fd = (int)(what & 0x3fffffff), peer;
	struct epoll_event ev = {.events = EPOLLIN};
	unsigned char b[256];
	ssize_t n;

	if (what >> 30 & 1) {
		peer = accept4(fd, NULL, NULL, SOCK_NONBLOCK);
		ev.data.u64 = (uint64_t)port << 32 | 1u << 31 | (uint32_t)peer;
		if (peer >= 0)
			(void)epoll_ctl(ep, EPOLL_CTL_ADD, peer, &ev);
		return;
	}
	n = recv(fd, b, sizeof(b), 0);
	if (n > 0)
		heard(port, b, n);
	else if (what >> 31 & 1)
		(void)close(fd);
}

int outside_listen(int argc, char **argv)
{
	unsigned int mode = argc == 2 ? (unsigned int)atoi(argv[1]) : 0;
	auto_close int ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev[16];
	int n;

	(void)setvbuf(stdout, NULL, _IOLBF, 0);
	for (unsigned int i = 0; i < 256; i++) {
		uint16_t port = (uint16_t)(10000 + 256 * mode + i);

		if (one_port(ep, SOCK_STREAM, port) < 0 || one_port(ep, SOCK_DGRAM, port) < 0)
			return die("listen");
	}
	(void)puts("ready");
	while ((n = epoll_wait(ep, ev, 16, -1)) >= 0 || errno == EINTR)
		for (int i = 0; i < n; i++)
			arrived(ep, ev[i].data.u64);
	return die("epoll");
}

static struct dest parse(const char *text, uint16_t port)
{
	const struct target none = {0};

	return target_dest(&none, text, port);
}

static int call(const char *proto, const char *src, const char *dst, const char *port, int ms)
{
	struct dest from = parse(src, 0), to = parse(dst, (uint16_t)atoi(port));
	auto_close int fd = socket(to.family,
				   (*proto == 't' ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK, 0);
	unsigned char b[256];
	int on = 1;
	ssize_t n;

	(void)setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));
	if (fd < 0 || bind(fd, (struct sockaddr *)&from.ss, from.len) < 0)
		return die("bind");
	if (connect(fd, (struct sockaddr *)&to.ss, to.len) < 0 && errno != EINPROGRESS)
		return die("connect");
	if (*proto == 'u' && send(fd, "hello", 5, 0) < 0)
		return die("send");
	if (!way_ready(fd, POLLIN, ms))
		return 0;
	n = recv(fd, b, sizeof(b), 0);
	if (n > 0) {
		(void)printf("answered ");
		hex(b, (size_t)n);
	}
	return 0;
}

/* A process for each line; ends when they all have. */
int outside_call(int argc, char **argv)
{
	int ms = argc == 2 ? atoi(argv[1]) : 1000;
	char line[200], proto[8], src[64], dst[64], port[8];

	(void)puts("ready");
	while (fgets(line, sizeof(line), stdin)) {
		if (sscanf(line, "%7s %63s %63s %7s", proto, src, dst, port) != 4)
			return die("a line is PROTO SRC DST PORT");
		if (fork() == 0)
			_exit(call(proto, src, dst, port, ms) | fflush(stdout));
	}
	while (wait(NULL) > 0)
		;
	return 0;
}

int outside_mark(int argc, char **argv)
{
	struct dest to;
	auto_close int fd = -1;

	if (argc != 3)
		return die("mark DST TEXT");
	to = parse(argv[1], 9);
	fd = socket(to.family, SOCK_DGRAM, 0);
	return sendto(fd, argv[2], strlen(argv[2]), 0, (struct sockaddr *)&to.ss, to.len) < 0
		       ? die("mark")
		       : 0;
}

/* ---- the helper ---- */

static volatile struct errand outbox[256];

static void run_errand(const struct errand *e)
{
	(void)sendto(HELPER_FD, e->marker, ESCAPE_MARKER, 0, (const struct sockaddr *)&e->to,
		     sizeof(e->to));
}

static int unix_bound(const char *dir, const char *name, int type)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	bool abstract = strcmp(name, "abstract") == 0;
	int n = snprintf(sa.sun_path, sizeof(sa.sun_path), "%s%s/%s", abstract ? "@" : "", dir,
			 name);
	int fd = socket(AF_UNIX, type | SOCK_NONBLOCK, 0);

	if (abstract)
		sa.sun_path[0] = '\0';
	else
		(void)unlink(sa.sun_path);
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&sa,
		 (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n + !abstract)) < 0)
		return -1;
	return type == SOCK_DGRAM || listen(fd, 16) == 0 ? fd : -1;
}

static void hand_over(int to)
{
	int fd = HELPER_FD;
	char byte = 's';
	struct iovec iov = {&byte, 1};
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} c = {.head = {.cmsg_len = CMSG_LEN(sizeof(int)),
			.cmsg_level = SOL_SOCKET,
			.cmsg_type = SCM_RIGHTS}};
	struct msghdr m = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)};

	memcpy(CMSG_DATA(&c.head), &fd, sizeof(fd));
	(void)sendmsg(to, &m, MSG_NOSIGNAL);
}

static void serve(int fd)
{
	struct errand e;
	ssize_t n = way_ready(fd, POLLIN, 500) ? recv(fd, &e, sizeof(e), 0) : -1;

	if (n == sizeof(e))
		run_errand(&e);
	else if (n == 1)
		hand_over(fd);
}

int outside_helper(int argc, char **argv)
{
	struct pollfd p[3];

	if (argc != 2 || dup2(socket(AF_INET, SOCK_DGRAM, 0), HELPER_FD) < 0)
		return die("helper DIR");
	p[0] = (struct pollfd){.fd = unix_bound(argv[1], "stream", SOCK_STREAM), .events = POLLIN};
	p[1] = (struct pollfd){.fd = unix_bound(argv[1], "abstract", SOCK_STREAM),
			       .events = POLLIN};
	p[2] = (struct pollfd){.fd = unix_bound(argv[1], "dgram", SOCK_DGRAM), .events = POLLIN};
	if (p[0].fd < 0 || p[1].fd < 0 || p[2].fd < 0)
		return die("unix sockets");
	(void)printf("ready %d %llu\n", (int)getpid(), (unsigned long long)(uintptr_t)outbox);
	(void)fflush(stdout);
	for (;;) {
		(void)poll(p, 3, 20);
		for (int i = 0; i < 2; i++) {
			auto_close int peer = p[i].revents ? accept(p[i].fd, NULL, NULL) : -1;

			if (peer >= 0)
				serve(peer);
		}
		if (p[2].revents)
			serve(p[2].fd);
		for (size_t i = 0; i < 256; i++) {
			struct errand e;

			if (!outbox[i].full)
				continue;
			e = *(const struct errand *)&outbox[i];
			outbox[i].full = 0;
			run_errand(&e);
		}
	}
}
