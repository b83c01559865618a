/* test_adopt.c: the pure parts of attach: what of a process can be put under guard, who is of its tree, which cgroup is
 * a container's.
 */
#include "adopt_judge.h"
#include "container.h"
#include "tree.h"

#include <linux/if_packet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cmocka.h>

static struct fds_socket sock(uint16_t family, uint16_t type, uint16_t protocol)
{
	return (struct fds_socket){.sk = 1, .family = family, .type = type, .protocol = protocol};
}

static enum adopt_verdict judge(uint16_t family, uint16_t type, uint16_t protocol)
{
	struct fds_socket s = sock(family, type, protocol);
	const char *why = NULL;
	enum adopt_verdict v = adopt_judge(&s, false, &why);

	assert_true(v != ADOPT_REFUSE || (why && *why));
	return v;
}

static void test_what_is_marked(void **state)
{
	static const uint16_t families[] = {AF_INET, AF_INET6};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(families); i++) {
		assert_int_equal(judge(families[i], SOCK_STREAM, IPPROTO_TCP), ADOPT_MARK);
		assert_int_equal(judge(families[i], SOCK_DGRAM, IPPROTO_UDP), ADOPT_MARK);
		assert_int_equal(judge(families[i], SOCK_DGRAM, IPPROTO_UDPLITE), ADOPT_MARK);
		assert_int_equal(judge(families[i], SOCK_DGRAM, IPPROTO_ICMP), ADOPT_MARK);
		assert_int_equal(judge(families[i], SOCK_DGRAM, IPPROTO_ICMPV6), ADOPT_MARK);
		assert_int_equal(judge(families[i], SOCK_RAW, 255), ADOPT_MARK);
	}
}

/* Every family, type and protocol: nothing but the lists above and below gets by. */
static void test_everything_else_is_refused(void **state)
{
	size_t marked = 0;

	(void)state;
	for (uint16_t family = 0; family < 64; family++) {
		for (uint16_t type = 0; type < 16; type++) {
			for (uint16_t protocol = 0; protocol < 300; protocol++) {
				enum adopt_verdict v = judge(family, type, protocol);

				if (family == AF_UNIX || family == AF_NETLINK)
					assert_int_equal(v, ADOPT_IGNORE);
				else if (family == AF_INET || family == AF_INET6)
					marked += v == ADOPT_MARK;
				else
					assert_int_equal(v, ADOPT_REFUSE);
			}
		}
	}
	assert_int_equal(marked, 2 * (1 + 4 + 300));
	assert_int_equal(judge(AF_INET, SOCK_STREAM, 262), ADOPT_REFUSE);
	assert_int_equal(judge(AF_INET, SOCK_STREAM, IPPROTO_SCTP), ADOPT_REFUSE);
	assert_int_equal(judge(AF_INET, SOCK_SEQPACKET, IPPROTO_SCTP), ADOPT_REFUSE);
	assert_int_equal(judge(AF_PACKET, SOCK_RAW, 3), ADOPT_REFUSE);
	assert_int_equal(judge(0, 0, 0), ADOPT_REFUSE);
}

static void test_unix_peers(void **state)
{
	struct fds_socket s = sock(AF_UNIX, SOCK_STREAM, 0);
	const char *why;

	(void)state;
	assert_int_equal(adopt_judge(&s, false, &why), ADOPT_IGNORE);
	s.peer = 7;
	assert_int_equal(adopt_judge(&s, true, &why), ADOPT_IGNORE);
	assert_int_equal(adopt_judge(&s, false, &why), ADOPT_REFUSE);
}

static void test_files(void **state)
{
	static const char *const refused[] = {"anon_inode:[io_uring]", "anon_inode:bpf-prog",
					      "anon_inode:bpf-map", "anon_inode:bpf_link"};
	static const char *const fine[] = {
		"",         "anon_inode:", "anon_inode:[eventpoll]",     "anon_inode:[eventfd]",
		"pipe:[1]", "/dev/null",   "/tmp/anon_inode:[io_uring]", "/memfd:x (deleted)"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		assert_non_null(adopt_file(refused[i], 0600, 0));
	for (size_t i = 0; i < ARRAY_SIZE(fine); i++)
		assert_null(adopt_file(fine[i], S_IFREG | 0600, 0));
	assert_non_null(adopt_file("/dev/net/tun", S_IFCHR, makedev(10, 200)));
	assert_non_null(adopt_file("/anywhere/else", S_IFCHR, makedev(10, 200)));
	assert_non_null(adopt_file("/dev/tap3", S_IFCHR, makedev(240, 3)));
	assert_non_null(adopt_file("/dev/vhost-net", S_IFCHR, makedev(10, 238)));
	assert_non_null(adopt_file("/dev/vhost-vsock", S_IFCHR, makedev(10, 241)));
	assert_non_null(adopt_file("/dev/ppp", S_IFCHR, makedev(108, 0)));
	assert_null(adopt_file("/dev/net/tun", S_IFREG, makedev(10, 200)));
	assert_null(adopt_file("/dev/null", S_IFCHR, makedev(1, 3)));
	assert_null(adopt_file("/dev/pts/1", S_IFCHR, makedev(136, 1)));
}

static void test_in_flight(void **state)
{
	(void)state;
	assert_int_equal(adopt_in_flight("pos:\t0\nflags:\t02\nmnt_id:\t10\nino:\t5\nscm_fds: 3\n"),
			 3);
	assert_int_equal(adopt_in_flight("scm_fds:\t1"), 1);
	assert_int_equal(adopt_in_flight("scm_fds: 0\n"), 0);
	assert_int_equal(adopt_in_flight("pos:\t0\n"), 0);
	assert_int_equal(adopt_in_flight(""), 0);
}

/* ---- processes ---- */

#define STAT                                                                                       \
	"1234 (a) R (x) S 1 77 88 0 -1 2129984 1 2 3 4 5 6 7 8 20 0 1 0 4242 99 100 1844 1 1 0\n"

static void test_stat(void **state)
{
	struct tree_proc p = {0};

	(void)state;
	assert_int_equal(tree_parse(STAT, &p), 0);
	assert_int_equal(p.pid, 1234);
	assert_int_equal(p.state, 'S');
	assert_int_equal(p.ppid, 1);
	assert_int_equal(p.pgid, 77);
	assert_int_equal(p.sid, 88);
	assert_int_equal(p.start, 4242);
	assert_true(p.flags & TREE_KTHREAD);
	assert_false(p.in || p.stopped);
}

/* Cut anywhere before the last field needed it is refused, and what was there stays. */
static void test_stat_cut(void **state)
{
	size_t whole = (size_t)(strstr(STAT, " 4242") - STAT) + 2;
	char text[sizeof(STAT)];

	(void)state;
	for (size_t n = 0; n < sizeof(STAT); n++) {
		struct tree_proc p = {.pid = 7};
		int rc;

		memcpy(text, STAT, n);
		text[n] = '\0';
		rc = tree_parse(text, &p);
		assert_int_equal(rc, n < whole ? -EBADMSG : 0);
		assert_int_equal(p.pid, rc ? 7 : 1234);
	}
	assert_int_equal(tree_parse("0 (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 1 0 5",
				    &(struct tree_proc){0}),
			 -EBADMSG);
	assert_int_equal(tree_parse("x (x) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 1 0 5",
				    &(struct tree_proc){0}),
			 -EBADMSG);
	assert_int_equal(
		tree_parse("5 x S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 0 0 1 0 5", &(struct tree_proc){0}),
		-EBADMSG);
}

static void test_members(void **state)
{
	struct tree_proc procs[] = {
		{.pid = 1, .pgid = 1, .sid = 1},
		{.pid = 2, .flags = TREE_KTHREAD},
		{.pid = 10, .ppid = 1, .pgid = 10, .sid = 10}, /* a shell */
		{.pid = 20, .ppid = 10, .pgid = 20, .sid = 10, .in = true},
		{.pid = 21, .ppid = 20, .pgid = 20, .sid = 10}, /* child */
		{.pid = 22, .ppid = 21, .pgid = 22, .sid = 22}, /* grandchild, own session */
		{.pid = 23, .ppid = 1, .pgid = 20, .sid = 10},  /* orphan in its group */
		{.pid = 24, .ppid = 1, .pgid = 24, .sid = 22},  /* orphan in a member's session */
		{.pid = 25, .ppid = 23, .pgid = 25, .sid = 25}, /* child of an orphan */
		{.pid = 30, .ppid = 10, .pgid = 30, .sid = 10}, /* the shell's other job */
		{.pid = 31, .ppid = 1, .pgid = 31, .sid = 31},  /* a daemon */
		{.pid = 32, .ppid = 2, .flags = TREE_KTHREAD, .pgid = 20},
	};
	struct tree t = {.procs = procs, .count = ARRAY_SIZE(procs)};
	static const pid_t members[] = {20, 21, 22, 23, 24, 25};
	auto_free pid_t *pids = NULL;
	size_t n;

	(void)state;
	tree_close(&t);
	assert_int_equal(tree_pids(&t, &pids, &n), 0);
	assert_int_equal(n, ARRAY_SIZE(members));
	assert_memory_equal(pids, members, sizeof(members));
}

/* Nobody marked, nobody found; a loop of parents ends. */
static void test_nobody(void **state)
{
	struct tree_proc procs[] = {{.pid = 5, .ppid = 6}, {.pid = 6, .ppid = 5}};
	struct tree t = {.procs = procs, .count = 2}, none = {0};

	(void)state;
	tree_close(&t);
	assert_false(procs[0].in || procs[1].in);
	tree_close(&none);
	assert_null(tree_find(&none, 1));
}

/* ---- containers ---- */

#define ID "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_containers(void **state)
{
	static const struct {
		const char *own, *below;
	} yes[] = {
		{"/system.slice/docker-" ID ".scope", ""},
		{"/system.slice/docker-" ID ".scope", "/init"},
		{"/docker/" ID, "/a/b"},
		{"/machine.slice/libpod-" ID ".scope", "/container"},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-pod1.slice/cri-containerd-" ID
		 ".scope",
		 ""},
		{"/kubepods.slice/kubepods-pod1.slice/crio-" ID, "/x"},
		{"/kubepods/besteffort/pod12345678-1234/" ID, ""},
		{"/lxc/web", "/system.slice/x.service"},
	};
	static const char *const no[] = {"",
					 "/",
					 "/user.slice/user-1000.slice/session-2.scope",
					 "/system.slice/docker.service",
					 "/system.slice/docker-proxy.scope",
					 "/system.slice/docker-.scope",
					 "/docker",
					 "/docker/buildkit",
					 "/docker-" ID "x.scope",
					 "docker-" ID ".scope",
					 "/kubepods",
					 "/lxc",
					 "/podman",
					 "/system.slice/cron.service",
					 "/libpod-0123.scope",
					 "/.scope",
					 "//"};
	char path[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		(void)snprintf(path, sizeof(path), "%s%s", yes[i].own, yes[i].below);
		assert_int_equal(container_of(path), strlen(yes[i].own));
	}
	for (size_t i = 0; i < ARRAY_SIZE(no); i++)
		assert_int_equal(container_of(no[i]), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_marked),
		cmocka_unit_test(test_everything_else_is_refused),
		cmocka_unit_test(test_unix_peers),
		cmocka_unit_test(test_files),
		cmocka_unit_test(test_in_flight),
		cmocka_unit_test(test_stat),
		cmocka_unit_test(test_stat_cut),
		cmocka_unit_test(test_members),
		cmocka_unit_test(test_nobody),
		cmocka_unit_test(test_containers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
