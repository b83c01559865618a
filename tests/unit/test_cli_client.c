/* client: a daemon that answers well, and many that do not. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "client.h"
#include "control.h"
#include "fdio.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

static char dir[64];
static struct cli c;

/* A daemon for one question in a child: answers `answer` (len bytes, in two halves), with a descriptor when asked. */
static pid_t daemon_saying(const char *answer, size_t len, int fds)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	(void)snprintf(c.control, sizeof(c.control), "%s/s", dir);
	(void)unlink(c.control);
	memcpy(sa.sun_path, c.control, strlen(c.control) + 1);
	assert_int_equal(bind(listener, (struct sockaddr *)&sa, sizeof(sa)), 0);
	assert_int_equal(listen(listener, 1), 0);
	(void)fflush(NULL);
	pid = fork();
	if (pid == 0) {
		char in[4096];
		int s = accept(listener, NULL, NULL), got = -1;
		ssize_t n;

		(void)alarm(20);
		n = fdio_recv(s, in, sizeof(in), 0, &got);
		if (got >= 0 && (read(got, in + 2048, 8) != 5 || memcmp(in + 2048, "value", 5) != 0))
			_exit(3);
		if (n > 0 && len > 0) {
			if (fdio_send(s, answer, len / 2 + 1, fds > 0 ? 0 : -1))
				_exit(2);
			if (len / 2 + 1 < len && fdio_send(s, answer + len / 2 + 1, len - len / 2 - 1, fds > 1 ? 0 : -1))
				_exit(0); /* the client may have hung up by now */
		}
		_exit(0);
	}
	close(listener);
	return pid;
}

static int ask_of(const char *answer, size_t len, int fds, json_t **ret, int *ret_fd, struct err *e)
{
	pid_t pid = daemon_saying(answer, len, fds);
	int status, rc;

	e->text[0] = '\0';
	rc = client_call(&c, client_request(&c, "status", true), -1, ret, ret_fd, e);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	return rc;
}

static void refused(const char *answer, size_t len, int fds, const char *says)
{
	json_t *a = NULL;
	struct err e;

	assert_true(ask_of(answer, len, fds, &a, NULL, &e) < 0);
	assert_null(a);
	if (!strstr(e.text, says))
		fail_msg("%.60s: %s", answer, e.text);
}

static void test_good(void **s)
{
	static const char answer[] = "{\"ok\":true,\"x\":\"y\",\"n\":7}\n";
	json_t *a = NULL;
	struct err e;
	int fd = -1;

	(void)s;
	assert_int_equal(ask_of(answer, sizeof(answer) - 1, 0, &a, &fd, &e), 0);
	assert_string_equal(client_text(a, "x"), "y");
	assert_string_equal(client_text(a, "n"), "");
	assert_int_equal(client_number(a, "n"), 7);
	assert_int_equal(client_number(a, "x"), 0);
	assert_int_equal(fd, -1);
	json_decref(a);
	assert_int_equal(ask_of(answer, sizeof(answer) - 1, 1, &a, &fd, &e), 0);
	assert_true(fd >= 0 && fcntl(fd, F_GETFD) & FD_CLOEXEC);
	close(fd);
	json_decref(a);
}

static void test_sends_descriptor(void **s)
{
	static const char answer[] = "{\"ok\":true}\n";
	int pair[2], status;
	json_t *a = NULL;
	struct err e;
	pid_t pid;

	(void)s;
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	assert_true(write(pair[1], "value", 5) == 5);
	close(pair[1]);
	pid = daemon_saying(answer, sizeof(answer) - 1, 0);
	assert_int_equal(client_call(&c, client_request(&c, "secrets.set", true), pair[0], &a, NULL, &e), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(WEXITSTATUS(status), 0);
	json_decref(a);
	close(pair[0]);
}

static void test_bad_answers(void **s)
{
	static const char ok[] = "{\"ok\":true,\"a\":\"b\"}\n";
	static char big[CONTROL_LINE_MAX + 10];

	(void)s;
	refused("", 0, 0, "without an answer");
	for (size_t n = 1; n < sizeof(ok) - 1; n++) /* cut anywhere */
		refused(ok, n, 0, "without an answer");
	refused("\n", 1, 0, "not understood");
	refused("[]\n", 3, 0, "not understood");
	refused("{\"ok\":true,\"ok\":true}\n", 22, 0, "not understood");
	refused("{\"ok\":tru}\n", 11, 0, "not understood");
	refused("{}\n", 3, 0, "refused");
	refused("{\"ok\":1}\n", 9, 0, "refused");
	refused("{\"ok\":\"true\"}\n", 14, 0, "refused");
	refused("{\"ok\":false,\"error\":\"do this\"}\n", 31, 0, "do this");
	refused(ok, sizeof(ok) - 1, 2, "more than one descriptor");
	memset(big, ' ', sizeof(big));
	refused(big, sizeof(big), 0, "too long");
}

static void no_daemon(const char *says)
{
	json_t *a = NULL;
	struct err e;

	assert_true(client_call(&c, client_request(&c, "status", false), -1, &a, NULL, &e) < 0);
	if (!strstr(e.text, says))
		fail_msg("%s", e.text);
}

static void test_no_daemon(void **s)
{
	struct err e;
	json_t *a = NULL;
	int fd;

	(void)s;
	(void)snprintf(c.control, sizeof(c.control), "%s/none", dir);
	no_daemon("systemctl start agentsecretsd");
	(void)snprintf(c.control, sizeof(c.control), "%s/none/s", dir);
	no_daemon("no socket at");
	(void)snprintf(c.control, sizeof(c.control), "%s/file", dir);
	fd = open(c.control, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	close(fd);
	no_daemon("nobody listens");
	(void)snprintf(c.control, sizeof(c.control), "%s/file/s", dir);
	no_daemon("no socket at");
	assert_true(client_call(&c, NULL, -1, &a, NULL, &e) < 0);
}

static void found(const char *control, const char *config, const char *want)
{
	struct err e = {""};

	if (!want) {
		assert_true(client_find(&c, control, config, &e) < 0);
		assert_true(e.text[0]);
		return;
	}
	assert_int_equal(client_find(&c, control, config, &e), 0);
	assert_string_equal(c.control, want);
}

static void config_is(const char *text, const char *want)
{
	char path[80];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/config.json", dir);
	f = fopen(path, "w");
	assert_non_null(f);
	(void)fputs(text, f);
	(void)fclose(f);
	found(NULL, path, want);
}

static void test_find(void **s)
{
	char longest[200];

	(void)s;
	found("/a/b.sock", "/nowhere", "/a/b.sock");
	found("relative.sock", NULL, NULL);
	memset(longest, 'x', sizeof(longest));
	longest[0] = '/';
	longest[sizeof(longest) - 1] = '\0';
	found(longest, NULL, NULL);
	longest[107] = '\0';
	found(longest, NULL, longest);
	longest[107] = 'x';
	longest[108] = '\0';
	found(longest, NULL, NULL);
	found(NULL, "/nowhere/config.json", NULL);
	config_is("{\"control\":\"/x/c.sock\",\"run_dir\":\"/y\"}", "/x/c.sock");
	config_is("{\"run_dir\":\"/y\"}", "/y/control.sock");
	config_is("{}", "/run/agentsecrets/control.sock");
	config_is("{\"control\":\"c.sock\"}", NULL);
	config_is("[]", NULL);
	config_is("{", NULL);
	config_is("", NULL);
	(void)setenv("AGENTSECRETS_CONTROL", "/env.sock", 1);
	found(NULL, NULL, "/env.sock");
	found("/a", NULL, "/a");
	config_is("{\"run_dir\":\"/y\"}", "/y/control.sock");
	(void)unsetenv("AGENTSECRETS_CONTROL");
}

static int setup(void **s)
{
	(void)s;
	strcpy(dir, "/tmp/client-XXXXXX");
	return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **s)
{
	char cmd[128];

	(void)s;
	(void)snprintf(cmd, sizeof(cmd), "rm -rf %s", dir);
	return system(cmd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),	    cmocka_unit_test(test_sends_descriptor),
		cmocka_unit_test(test_bad_answers), cmocka_unit_test(test_no_daemon),
		cmocka_unit_test(test_find),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
