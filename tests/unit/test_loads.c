/* test_loads.c: who is ahead of whom, and what is no page of loads. */
#include "loads.h"

#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void test_ahead(void **state)
{
	struct loads *parent, *worker;
	int fd;

	(void)state;
	assert_int_equal(loads_new(&fd, &parent), 0);
	assert_int_equal(loads_map(fd, &worker), 0);
	close(fd);
	/* Alone: nobody is behind. */
	loads_set(worker, 0, 1000);
	assert_false(loads_ahead(worker, 0));
	loads_set(worker, CONFIG_WORKERS_MAX - 1, 0);
	assert_true(loads_ahead(parent, 0));
	assert_false(loads_ahead(parent, CONFIG_WORKERS_MAX - 1));
	/* Few: by one. Many: by an eighth. */
	loads_set(worker, 0, 0);
	assert_false(loads_ahead(worker, 0));
	loads_set(worker, 0, 1);
	assert_true(loads_ahead(worker, 0));
	loads_set(worker, CONFIG_WORKERS_MAX - 1, 700);
	loads_set(worker, 0, 800);
	assert_false(loads_ahead(worker, 0));
	loads_set(worker, 0, 801);
	assert_true(loads_ahead(worker, 0));
	/* The parent says that it is dead. */
	loads_set(parent, CONFIG_WORKERS_MAX - 1, LOADS_NONE);
	assert_false(loads_ahead(worker, 0));
	loads_free(parent);
	loads_free(worker);
	assert_null(loads_free(NULL));
}

/* One that the other side could still make shorter would end us with SIGBUS. */
static void test_no_page(void **state)
{
	struct loads *l, *other;
	char buf[8192] = "";
	int fd = memfd_create("none", MFD_CLOEXEC | MFD_ALLOW_SEALING), made;
	off_t size;

	(void)state;
	assert_int_equal(loads_new(&made, &l), 0);
	size = lseek(made, 0, SEEK_END);
	assert_true(size > 0 && size <= (off_t)sizeof(buf));
	assert_int_equal(ftruncate(made, 0), -1);
	assert_int_equal(loads_map(fd, &other), -EPROTO);
	assert_int_equal(write(fd, buf, (size_t)size), size);
	assert_int_equal(loads_map(fd, &other), -EPROTO);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(loads_map(fd, &other), 0);
	loads_free(other);
	loads_free(l);
	close(fd);
	close(made);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ahead),
		cmocka_unit_test(test_no_page),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
