/* Secrets in memory: what protects them, and what secret_read_fd() refuses. */
#include "skip.h"
#include "secret.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <cmocka.h>

/* The exit status of a child that runs fn; 256 + signal when it was killed. */
static int in_child(int (*fn)(void *), void *arg)
{
	int status = 0;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		(void)signal(SIGSEGV, SIG_DFL); /* not cmocka's, which would go on with the tests */
		_exit(fn(arg));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? 256 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int read_beyond(void *arg)
{
	struct secret *s = arg;
	const volatile uint8_t *p = secret_view(s);

	return p[secret_len(s)] == 0 ? 0 : 0;
}

static int read_below(void *arg)
{
	struct secret *s = arg;
	uintptr_t page = (uintptr_t)secret_view(s) & ~(uintptr_t)(sysconf(_SC_PAGESIZE) - 1);
	const volatile uint8_t *p = (const volatile uint8_t *)(page - 1);

	return *p == 0 ? 0 : 0;
}

static int sees_zero(void *arg)
{
	struct secret *s = arg;
	size_t i;

	for (i = 0; i < secret_len(s); i++)
		if (secret_view(s)[i] != 0)
			return 1;
	return 0;
}

static void test_guarded(void **state)
{
	static const size_t sizes[] = {1, 32, 4095, 4096, 4097, 16384};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		struct secret *s = NULL;

		assert_int_equal(secret_new(sizes[i], &s, NULL), 0);
		assert_int_equal(secret_len(s), sizes[i]);
		memset(secret_bytes(s), 0x5a, sizes[i]);
		assert_int_equal(in_child(read_beyond, s), 256 + SIGSEGV);
		assert_int_equal(in_child(read_below, s), 256 + SIGSEGV);
		assert_int_equal(in_child(sees_zero, s), 0);
		assert_int_equal(secret_view(s)[0], 0x5a);
		s = secret_free(s);
		assert_null(s);
	}
}

/* VmFlags of the mapping that holds p. */
static bool smaps_flag(const void *p, const char *flag)
{
	FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	bool here = false, found = false;
	unsigned long lo, hi;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%lx-%lx ", &lo, &hi) == 2)
			here = (uintptr_t)p >= lo && (uintptr_t)p < hi;
		if (here && strncmp(line, "VmFlags:", 8) == 0)
			found = strstr(line, flag) != NULL;
	}
	(void)fclose(f);
	return found;
}

static void test_flags(void **state)
{
	struct secret *s = NULL;

	(void)state;
	assert_int_equal(secret_new(100, &s, NULL), 0);
	secret_bytes(s)[0] = 1;
	assert_true(smaps_flag(secret_view(s), " dd")); /* not dumped */
	assert_true(smaps_flag(secret_view(s), " wf")); /* wiped on fork */
#ifndef __SANITIZE_ADDRESS__                            /* mlock is a no-op there */
	if (secret_locked(s))
		assert_true(smaps_flag(secret_view(s), " lo"));
#endif
	secret_free(s);
}

static void test_sizes(void **state)
{
	struct secret *s = NULL;
	struct err e = {0};

	(void)state;
	assert_int_equal(secret_new(0, &s, &e), -EINVAL);
	assert_int_equal(secret_new(SECRET_SIZE_MAX + 1u, &s, &e), -EINVAL);
	assert_int_equal(secret_new(SIZE_MAX, &s, &e), -EINVAL);
	assert_null(s);
	assert_null(secret_free(NULL));
}

static void test_cut_same(void **state)
{
	struct secret *s = NULL;

	(void)state;
	assert_int_equal(secret_of("hello world", 11, &s, NULL), 0);
	assert_true(secret_same(s, "hello world", 11));
	assert_false(secret_same(s, "hello worlD", 11));
	assert_false(secret_same(s, "hello world", 10));
	assert_false(secret_same(s, "", 0));
	secret_cut(s, 5);
	assert_int_equal(secret_len(s), 5);
	assert_true(secret_same(s, "hello", 5));
	assert_memory_equal(secret_view(s) + 5, "\0\0\0\0\0\0", 6);
	secret_free(s);
}

static int no_lock(void *arg)
{
	struct rlimit none = {0, 0};
	struct secret *s = NULL;
	struct err e = {0};

	(void)arg;
	if (setrlimit(RLIMIT_MEMLOCK, &none) < 0 || setgroups(0, NULL) < 0 || setuid(65534) < 0)
		return 3;
	if (secret_new(32, &s, &e) != -EPERM || s)
		return 1;
	return strstr(e.text, "RLIMIT_MEMLOCK") ? 0 : 2;
}

static int little_lock(void *arg)
{
	struct rlimit some = {8192, 8192};
	struct secret *s[4] = {0};
	size_t i;

	(void)arg;
	if (setrlimit(RLIMIT_MEMLOCK, &some) < 0 || setgroups(0, NULL) < 0 || setuid(65534) < 0)
		return 3;
	for (i = 0; i < ARRAY_SIZE(s); i++)
		if (secret_new(32, &s[i], NULL) != 0)
			return 1;
	return secret_locked(s[0]) && secret_locked(s[1]) && !secret_locked(s[2]) &&
			       !secret_locked(s[3])
		       ? 0
		       : 2;
}

/* First in the list: the memory of having locked a page is the process's. */
static void test_limits(void **state)
{
	(void)state;
#ifdef __SANITIZE_ADDRESS__
	skip_because("mlock does nothing under the address sanitizer");
#endif
	if (geteuid() != 0)
		skip_because("needs root");
	assert_int_equal(in_child(no_lock, NULL), 0);
	assert_int_equal(in_child(little_lock, NULL), 0);
}

/* A pipe that holds these bytes, its write end closed. */
static int pipe_of(const void *p, size_t len)
{
	int fd[2];

	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	if (len)
		assert_int_equal(write(fd[1], p, len), (ssize_t)len);
	close(fd[1]);
	return fd[0];
}

static int feed(const void *p, size_t len, size_t max, unsigned int flags, struct secret **ret,
		struct err *e)
{
	int fd = pipe_of(p, len), rc = secret_read_fd(fd, max, flags, 1000, ret, e);

	close(fd);
	return rc;
}

static void test_read_good(void **state)
{
	static const struct {
		const char *in;
		size_t in_len;
		unsigned int flags;
		size_t len;
	} good[] = {
		{"sk_live_1", 9, 0, 9},
		{"sk_live_1\n", 10, 0, 9},
		{"a b\tc", 5, 0, 5},
		{"\xff\x80\xfe", 3, 0, 3}, /* not UTF-8, but a header may carry it */
		{"0123456789", 10, 0, 10}, /* just max */
		{"0123456789\n", 11, 0, 10},
		{"a\nb\n", 4, SECRET_MULTILINE, 4},
		{"a\r\nb", 4, SECRET_MULTILINE, 4},
		{"\0\n\r\x7f", 4, SECRET_RAW, 4},
		{"a\n", 2, SECRET_RAW, 2},
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		struct secret *s = NULL;
		struct err e = {0};

		assert_int_equal(feed(good[i].in, good[i].in_len, 10, good[i].flags, &s, &e), 0);
		assert_true(secret_same(s, good[i].in, good[i].len));
		secret_free(s);
	}
}

static void test_read_bad(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		unsigned int flags;
		int rc;
	} bad[] = {
		{"", 0, 0, -EINVAL},
		{"\n", 1, 0, -EINVAL},
		{"", 0, SECRET_RAW, -EINVAL},
		{"", 0, SECRET_MULTILINE, -EINVAL},
		{"0123456789X", 11, 0, -E2BIG},
		{"0123456789X\n", 12, 0, -E2BIG},
		{"0123456789XX", 12, 0, -E2BIG},
		{"0123456789\n\n", 12, 0, -E2BIG},
		{"0123456789XXXXXXXXXXXXXXXXXXXXXXXX", 34, 0, -E2BIG},
		{"0123456789X", 11, SECRET_RAW, -E2BIG},
		{"0123456789\n", 11, SECRET_MULTILINE, -E2BIG},
		{"ZQ\nWV", 5, 0, -EINVAL},
		{"ZQ\n\n", 4, 0, -EINVAL},
		{"ZQ\r\n", 4, 0, -EINVAL},
		{"ZQ\r", 3, 0, -EINVAL},
		{"\nZQ", 3, 0, -EINVAL},
		{"ZQ\0WV", 5, 0, -EINVAL},
		{"ZQ\0", 3, 0, -EINVAL},
		{"\0", 1, 0, -EINVAL},
		{"ZQ\0", 3, SECRET_MULTILINE, -EINVAL},
		{"ZQ\x1b[0m", 6, 0, -EINVAL},
		{"ZQ\x1b", 3, SECRET_MULTILINE, -EINVAL},
		{"ZQ\x7f", 3, 0, -EINVAL},
		{"\x01", 1, 0, -EINVAL},
		{"ZQ\x1f", 3, 0, -EINVAL},
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		struct secret *s = NULL;
		struct err e = {0};

		assert_int_equal(feed(bad[i].in, bad[i].len, 10, bad[i].flags, &s, &e), bad[i].rc);
		assert_null(s);
		assert_true(e.text[0] != '\0');
		assert_null(strstr(e.text, "ZQ")); /* never quotes the value */
		assert_null(strstr(e.text, "0123456789"));
	}
}

static void test_read_slow(void **state)
{
	struct secret *s = NULL;
	struct err e = {0};
	int fd[2];

	(void)state;
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	assert_int_equal(write(fd[1], "part", 4), 4);
	assert_int_equal(secret_read_fd(fd[0], 10, 0, 30, &s, &e), -ETIMEDOUT); /* never closed */
	assert_null(s);
	close(fd[1]);
	close(fd[0]);
	assert_int_equal(secret_read_fd(fd[0], 10, 0, 30, &s, &e), -EBADF);
}

/* Two writes, the second one later, and a file. */
static void test_read_parts(void **state)
{
	struct secret *s = NULL;
	FILE *f = tmpfile();
	int fd[2];
	pid_t pid;

	(void)state;
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	pid = fork();
	if (pid == 0) {
		(void)!write(fd[1], "one", 3);
		(void)poll(NULL, 0, 20);
		(void)!write(fd[1], "two\n", 4);
		_exit(0);
	}
	close(fd[1]);
	assert_int_equal(secret_read_fd(fd[0], 10, 0, 2000, &s, NULL), 0);
	assert_true(secret_same(s, "onetwo", 6));
	s = secret_free(s);
	close(fd[0]);
	(void)waitpid(pid, NULL, 0);
	assert_int_equal(fputs("from a file\n", f) >= 0 && fflush(f) == 0, 1);
	rewind(f);
	assert_int_equal(secret_read_fd(fileno(f), 100, 0, 2000, &s, NULL), 0);
	assert_true(secret_same(s, "from a file", 11));
	secret_free(s);
	(void)fclose(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),     cmocka_unit_test(test_guarded),
		cmocka_unit_test(test_flags),      cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_cut_same),   cmocka_unit_test(test_read_good),
		cmocka_unit_test(test_read_bad),   cmocka_unit_test(test_read_slow),
		cmocka_unit_test(test_read_parts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
