/* prompt: secrets' values from pipes and from a terminal (a pty). */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "prompt.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>

static int from_pipe(const char *bytes, size_t len, struct prompt *v, struct err *e)
{
	int pair[2], rc;

	assert_int_equal(pipe(pair), 0);
	assert_true(write(pair[1], bytes, len) == (ssize_t)len);
	close(pair[1]);
	rc = prompt_value(pair[0], "KEY", false, v, e);
	close(pair[0]);
	return rc;
}

static void refused(const char *bytes, size_t len, const char *says)
{
	struct prompt v = {0};
	struct err e = {""};

	assert_true(from_pipe(bytes, len, &v, &e) < 0);
	assert_null(v.value);
	if (!strstr(e.text, says))
		fail_msg("%s", e.text);
	assert_null(strstr(e.text, "sk_live"));
}

static void taken(const char *bytes, size_t len, size_t want)
{
	struct prompt v = {0};
	struct err e = {""};
	char back[2 * PROMPT_MAX];
	int fd = -1;

	assert_int_equal(from_pipe(bytes, len, &v, &e), 0);
	assert_int_equal(v.len, want);
	assert_memory_equal(v.value, bytes, want);
	assert_int_equal(prompt_pipe(&v, &fd, &e), 0);
	assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	assert_true(read(fd, back, sizeof(back)) == (ssize_t)want);
	assert_memory_equal(back, bytes, want);
	assert_true(read(fd, back, sizeof(back)) == 0);
	close(fd);
	prompt_done(&v);
	prompt_done(&v);
	assert_null(v.value);
}

static void test_pipe(void **s)
{
	static char big[PROMPT_MAX + 4];

	(void)s;
	memset(big, 'k', sizeof(big));
	taken("sk_live_1", 9, 9);
	taken("sk_live_1\n", 10, 9);
	taken("a b\tc\xc3\xa9", 7, 7);
	taken(big, PROMPT_MAX, PROMPT_MAX);
	refused(big, PROMPT_MAX + 1, "longer than");
	refused(big, PROMPT_MAX + 2, "longer than");
	refused(big, PROMPT_MAX + 4, "longer than");
	big[PROMPT_MAX] = '\n';
	taken(big, PROMPT_MAX + 1, PROMPT_MAX);
	refused(big, PROMPT_MAX + 2, "longer than");
	refused("", 0, "empty");
	refused("\n", 1, "empty");
	refused("sk_live\n\n", 9, "more than one line");
	refused("sk_live\r\n", 9, "carriage return");
	refused("\nsk_live", 8, "more than one line");
	refused("sk_live\0x", 9, "NUL");
	refused("\0", 1, "NUL");
}

/* Reads what the terminal shows until `want` is in it. */
static void expect(int fd, char *seen, size_t cap, const char *want)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t len = strlen(seen);

	while (!strstr(seen, want)) {
		ssize_t n;

		assert_int_equal(poll(&p, 1, 5000), 1);
		n = read(fd, seen + len, cap - len - 1);
		assert_true(n > 0);
		len += (size_t)n;
		seen[len] = '\0';
	}
}

/* Types two lines at a prompt; the child's status is 0 when it took them. What the terminal showed stays in seen. */
static int at_terminal(const char *first, const char *second, char *seen, size_t cap)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), status = -1;
	struct termios after;
	char name[64];
	pid_t pid;
	int tty;

	assert_true(master >= 0 && !grantpt(master) && !unlockpt(master) && !ptsname_r(master, name, sizeof(name)));
	tty = open(name, O_RDWR | O_NOCTTY);
	assert_true(tty >= 0);
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		struct prompt v = {0};
		struct err e = {""};
		int rc;

		(void)alarm(20);
		(void)signal(SIGINT, SIG_DFL); /* a shell starts what runs behind it with it ignored */
		(void)setsid();
		tty = open(name, O_RDWR);
		(void)dup2(tty, 0);
		(void)dup2(tty, 2);
		rc = prompt_value(0, "KEY", false, &v, &e);
		if (rc)
			dprintf(2, "<%s>", e.text);
		_exit(rc ? 1 : v.len == 9 && !memcmp(v.value, "sk_live_1", 9) ? 0 : 2);
	}
	seen[0] = '\0';
	expect(master, seen, cap, "Value of KEY");
	expect(master, seen, cap, ": ");
	assert_true(write(master, first, strlen(first)) > 0);
	if (second) {
		expect(master, seen, cap, "Once more");
		assert_true(write(master, second, strlen(second)) > 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(tcgetattr(tty, &after), 0);
	assert_true(after.c_lflag & ECHO); /* whatever happened */
	{
		size_t len = strlen(seen);
		struct pollfd p = {.fd = master, .events = POLLIN};

		while (poll(&p, 1, 100) == 1 && len < cap - 1) {
			ssize_t n = read(master, seen + len, cap - len - 1);

			if (n <= 0)
				break;
			len += (size_t)n;
		}
		seen[len] = '\0';
	}
	close(tty);
	close(master);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

static void test_terminal(void **s)
{
	char seen[4096];

	(void)s;
	assert_int_equal(at_terminal("sk_live_1\n", "sk_live_1\n", seen, sizeof(seen)), 0);
	assert_null(strstr(seen, "sk_live"));
	assert_int_equal(at_terminal("sk_live_1\n", "sk_live_2\n", seen, sizeof(seen)), 1);
	assert_non_null(strstr(seen, "differ"));
	assert_null(strstr(seen, "sk_live"));
	assert_int_equal(at_terminal("\n", NULL, seen, sizeof(seen)), 1);
	assert_non_null(strstr(seen, "empty"));
	assert_int_equal(at_terminal("\x04", NULL, seen, sizeof(seen)), 1); /* Ctrl-D */
	assert_int_equal(at_terminal("sk_li\x03", NULL, seen, sizeof(seen)), 1000 + SIGINT);
	assert_null(strstr(seen, "sk_li"));
}

static void test_long_line(void **s)
{
	char line[4200], seen[8192];

	(void)s;
	memset(line, 'k', sizeof(line) - 2);
	line[sizeof(line) - 2] = '\n';
	line[sizeof(line) - 1] = '\0';
	assert_int_equal(at_terminal(line, NULL, seen, sizeof(seen)), 1);
	assert_non_null(strstr(seen, "cuts lines"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pipe),
		cmocka_unit_test(test_terminal),
		cmocka_unit_test(test_long_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
