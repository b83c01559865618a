/* Which unix socket a path leads to, and when that is believed. As root alone: whose a directory is, is the question. */
#include "own.h"
#include "sockpath.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static char top[] = "/tmp/agentsecrets-sockpath-XXXXXX";
static int dir = -1;

static void put_socket(const char *name)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	auto_close int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)snprintf(un.sun_path, sizeof(un.sun_path), "%s/%s", top, name);
	assert_int_equal(bind(fd, (struct sockaddr *)&un, sizeof(un)), 0);
}

static int find(const char *path)
{
	struct stat st = {0}, is;
	struct err e = {""};
	int rc = sockpath_find(dir, path, &st, &e);

	if (rc) {
		assert_true(e.text[0] && st.st_ino == 0);
		return rc;
	}
	assert_int_equal(fstatat(dir, path + 1, &is, 0), 0);
	assert_true(is.st_ino == st.st_ino && is.st_dev == st.st_dev && S_ISSOCK(st.st_mode));
	return 0;
}

static int setup(void **state)
{
	(void)state;
	assert_ptr_equal(mkdtemp(top), top);
	dir = open(top, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0 && mkdirat(dir, "run", 0755) == 0 &&
		    mkdirat(dir, "run/x", 0755) == 0 && mkdirat(dir, "wide", 0755) == 0);
	put_socket("run/x/s");
	put_socket("s");
	put_socket("wide/s");
	assert_int_equal(symlinkat("../run", dir, "wide/up"), 0);
	return 0;
}

static int teardown(void **state)
{
	static const char *const files[] = {"run/x/s", "s",   "wide/s", "wide/up", "wide/link",
					    "rel",     "abs", "loop",   "file"};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(files); i++)
		(void)unlinkat(dir, files[i], 0);
	(void)unlinkat(dir, "run/x", AT_REMOVEDIR);
	(void)unlinkat(dir, "run", AT_REMOVEDIR);
	(void)unlinkat(dir, "wide", AT_REMOVEDIR);
	(void)rmdir(top);
	own_close(&dir);
	return 0;
}

static void roots_alone(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(find("/s"), 0);
	assert_int_equal(find("/run/x/s"), 0);
	assert_int_equal(find("/run//x/s"), 0);
	assert_int_equal(find("/run/x"), -ENOTSOCK);
	assert_int_equal(find("/run/x/s/y"), -ENOTSOCK);
	assert_int_equal(find("/run/y"), -ENOENT);
	close(openat(dir, "file", O_CREAT | O_WRONLY, 0600));
	assert_int_equal(find("/file"), -ENOTSOCK);
}

static void links(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(symlinkat("run/x", dir, "rel"), 0);
	assert_int_equal(symlinkat("/run/x/s", dir, "abs"), 0);
	assert_int_equal(symlinkat("loop", dir, "loop"), 0);
	assert_int_equal(find("/rel/s"), 0);
	assert_int_equal(sockpath_find(dir, "/abs", &(struct stat){0}, NULL),
			 0); /* from `top`, not from the root */
	assert_int_equal(find("/loop"), -ELOOP);
}

static void somebody_elses(void **state)
{
	(void)state;
	if (geteuid() != 0)
		skip();
	assert_int_equal(find("/wide/s"), 0);
	assert_int_equal(fchmodat(dir, "wide", 01777, 0),
			 0); /* the sticky bit does not help: a new name is enough */
	assert_int_equal(find("/wide/s"), -EPERM);
	assert_int_equal(find("/wide/up/x/s"), -EPERM);
	assert_int_equal(fchmodat(dir, "wide", 0775, 0), 0);
	assert_int_equal(find("/wide/s"), -EPERM);
	assert_int_equal(fchmodat(dir, "wide", 0755, 0), 0);
	assert_int_equal(fchownat(dir, "wide", 65534, 0, 0), 0);
	assert_int_equal(find("/wide/s"), -EPERM);
	assert_int_equal(fchownat(dir, "wide", 0, 0, 0), 0);
	assert_int_equal(fchmodat(dir, "run", 0757, 0), 0);
	assert_int_equal(find("/wide/up/x/s"), -EPERM); /* on the way of the link */
	assert_int_equal(fchmodat(dir, "run", 0755, 0), 0);
	assert_int_equal(find("/wide/up/x/s"), 0);
	assert_int_equal(fchmod(dir, 0777), 0);
	assert_int_equal(find("/s"), -EPERM);
	assert_int_equal(fchmod(dir, 0755), 0);
}

static void device_numbers(void **state)
{
	(void)state;
	assert_int_equal(sockpath_dev(makedev(8, 1)), 8 << 20 | 1);
	assert_int_equal(sockpath_dev(makedev(0, 300)), 300);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(roots_alone), cmocka_unit_test(links),
					   cmocka_unit_test(somebody_elses),
					   cmocka_unit_test(device_numbers)};

	return cmocka_run_group_tests_name("sockpath", tests, setup, teardown);
}
