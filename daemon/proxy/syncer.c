/* syncer.c: see syncer.h. Two event counters: one wakes the thread, by the other it answers. */
#include "syncer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SYNCER_STACK (128 * 1024)

struct syncer {
	pthread_t thread;
	int fd, wake, answer;
	_Atomic bool end;
	_Atomic int rc;
};

static int syncer_add(int fd)
{
	const uint64_t one = 1;

	return write(fd, &one, sizeof(one)) == sizeof(one) ? 0 : -errno;
}

static void *syncer_main(void *arg)
{
	struct syncer *s = arg;
	uint64_t n;

	while (syncer_add(s->answer) == 0 && read(s->wake, &n, sizeof(n)) == sizeof(n) && !s->end)
		s->rc = fdatasync(s->fd) < 0 ? -errno : 0;
	return NULL;
}

/* No signal is the thread's. */
static int syncer_start(struct syncer *s)
{
	pthread_attr_t attr;
	sigset_t all, was;
	int rc = pthread_attr_init(&attr);

	if (rc)
		return -rc;
	(void)sigfillset(&all);
	rc = pthread_attr_setstacksize(&attr, SYNCER_STACK);
	if (rc == 0)
		rc = pthread_sigmask(SIG_SETMASK, &all, &was);
	if (rc == 0) {
		rc = pthread_create(&s->thread, &attr, syncer_main, s);
		(void)pthread_sigmask(SIG_SETMASK, &was, NULL);
	}
	(void)pthread_attr_destroy(&attr);
	return -rc;
}

int syncer_new(int fd, struct syncer **ret)
{
	struct syncer *s = calloc(1, sizeof(*s));
	uint64_t n;
	int rc;

	if (!s)
		return -ENOMEM;
	s->fd = fd;
	s->wake = eventfd(0, EFD_CLOEXEC);
	s->answer = eventfd(0, EFD_CLOEXEC);
	rc = s->wake < 0 || s->answer < 0 ? -errno : syncer_start(s);
	if (rc < 0) {
		own_close(&s->wake);
		own_close(&s->answer);
		free(s);
		return rc;
	}
	*ret = s;
	return read(s->answer, &n, sizeof(n)) == sizeof(n) ? 0 : -errno;
}

struct syncer *syncer_free(struct syncer *s)
{
	if (!s)
		return NULL;
	s->end = true;
	if (syncer_add(s->wake) == 0)
		(void)pthread_join(s->thread, NULL);
	own_close(&s->wake);
	own_close(&s->answer);
	free(s);
	return NULL;
}

int syncer_fd(const struct syncer *s)
{
	return s->answer;
}

int syncer_ask(void *s)
{
	return syncer_add(((struct syncer *)s)->wake);
}

bool syncer_over(struct syncer *s, int *ret_rc)
{
	uint64_t n;

	if (read(s->answer, &n, sizeof(n)) != sizeof(n)) /* called when it is readable */
		return false;
	*ret_rc = s->rc;
	return true;
}
