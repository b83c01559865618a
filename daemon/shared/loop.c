/* loop.c: see loop.h. The key is packed into epoll's 64 bits as kind:8 | gen:16 | slot:32. */
#include "loop.h"

#include <assert.h>
#include <string.h>
#include <time.h>

#define LOOP_BATCH 256

static uint64_t loop_pack(struct loop_key k)
{
	return (uint64_t)k.kind << 48 | (uint64_t)k.gen << 32 | k.slot;
}

static uint64_t loop_clock(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

uint64_t loop_now_ms(void)
{
	return loop_clock(CLOCK_MONOTONIC) / 1000000;
}

uint64_t loop_boot_ms(void)
{
	return loop_clock(CLOCK_BOOTTIME) / 1000000;
}

uint64_t loop_wall_ns(void)
{
	return loop_clock(CLOCK_REALTIME);
}

int loop_init(struct loop *l, void *ctx, loop_turn_fn *turn)
{
	*l = (struct loop){.epfd = epoll_create1(EPOLL_CLOEXEC), .ctx = ctx, .turn = turn};
	l->now_ms = loop_now_ms();
	return l->epfd < 0 ? -errno : 0;
}

void loop_done(struct loop *l)
{
	own_close(&l->epfd);
}

void loop_on(struct loop *l, uint8_t kind, loop_fn *fn)
{
	assert(kind < LOOP_KINDS_MAX);
	l->fn[kind] = fn;
}

static int loop_ctl(struct loop *l, int op, int fd, struct loop_key key, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.u64 = loop_pack(key)};

	assert(key.kind < LOOP_KINDS_MAX && l->fn[key.kind]);
	return epoll_ctl(l->epfd, op, fd, &ev) < 0 ? -errno : 0;
}

int loop_watch(struct loop *l, int fd, struct loop_key key, uint32_t events)
{
	return loop_ctl(l, EPOLL_CTL_ADD, fd, key, events);
}

int loop_change(struct loop *l, int fd, struct loop_key key, uint32_t events)
{
	return loop_ctl(l, EPOLL_CTL_MOD, fd, key, events);
}

void loop_forget(struct loop *l, int fd)
{
	(void)epoll_ctl(l->epfd, EPOLL_CTL_DEL, fd, NULL);
}

int loop_run(struct loop *l)
{
	struct epoll_event ev[LOOP_BATCH];

	while (!l->stop) {
		int wait, n, i;

		l->now_ms = loop_now_ms();
		wait = l->turn(l->ctx, l->now_ms);
		if (l->stop)
			break;
		n = epoll_wait(l->epfd, ev, LOOP_BATCH, wait);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		l->now_ms = loop_now_ms();
		for (i = 0; i < n && !l->stop; i++) {
			uint64_t k = ev[i].data.u64;

			l->fn[(uint8_t)(k >> 48)](l->ctx, (uint32_t)k, (uint16_t)(k >> 32),
						  ev[i].events);
		}
	}
	return 0;
}
