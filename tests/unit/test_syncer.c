/* test_syncer.c: the thread that syncs: its answers, its end, and that whoever asks does not wait. */
#include "syncer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static int sync_once(struct syncer *s)
{
	struct pollfd p = {.fd = syncer_fd(s), .events = POLLIN};
	int rc = 1;

	assert_int_equal(poll(&p, 1, 0), 0); /* nothing is over that was not asked for */
	assert_int_equal(syncer_ask(s), 0);
	assert_int_equal(poll(&p, 1, 10000), 1);
	assert_true(syncer_over(s, &rc));
	return rc;
}

static void test_answers(void **state)
{
	char name[] = "/tmp/test_syncer.XXXXXX";
	int fd = mkstemp(name), pipes[2];
	struct syncer *s;

	(void)state;
	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(syncer_new(fd, &s), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(write(fd, "line\n", 5), 5);
		assert_int_equal(sync_once(s), 0);
	}
	assert_null(syncer_free(s));
	close(fd);
	assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
	assert_int_equal(syncer_new(pipes[1], &s), 0);
	assert_int_equal(sync_once(s), -EINVAL);
	assert_int_equal(sync_once(s), -EINVAL);
	assert_int_equal(syncer_ask(s), 0);
	syncer_free(s); /* with one under way */
	close(pipes[0]);
	close(pipes[1]);
	assert_null(syncer_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
