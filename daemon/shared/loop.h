/* loop.h: one epoll loop per process.
 *
 * epoll data is {kind, generation, slot}: an event for a slot that was reused since carries the old
 * generation, and the handler ignores it. Handlers mark what is to be closed; the turn function, called
 * after each batch, reaps it and says how long the next wait may be. epoll_wait(2), level-triggered.
 */
#ifndef LOOP_H
#define LOOP_H

#include "own.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define LOOP_KINDS_MAX 16

struct loop_key {
	uint8_t kind; /* row of the handler table */
	uint16_t gen;
	uint32_t slot;
};

typedef void loop_fn(void *ctx, uint32_t slot, uint16_t gen, uint32_t events);
/* After each batch; now_ms: CLOCK_MONOTONIC. Answers the longest wait in milliseconds, -1: for ever. */
typedef int loop_turn_fn(void *ctx, uint64_t now_ms);

struct loop {
	int epfd;
	void *ctx;
	loop_fn *fn[LOOP_KINDS_MAX];
	loop_turn_fn *turn;
	uint64_t now_ms; /* read once per batch */
	bool stop;
};

int loop_init(struct loop *l, void *ctx, loop_turn_fn *turn) must_check;
void loop_done(struct loop *l);
void loop_on(struct loop *l, uint8_t kind, loop_fn *fn);

/* events: EPOLLIN, EPOLLOUT, EPOLLEXCLUSIVE …; 0 still reports EPOLLHUP and EPOLLERR. */
int loop_watch(struct loop *l, int fd, struct loop_key key, uint32_t events) must_check;
int loop_change(struct loop *l, int fd, struct loop_key key, uint32_t events) must_check;
void loop_forget(struct loop *l, int fd); /* before close, when the fd was dup'ed or passed */

/* Until l->stop; 0, or the errno of epoll_wait. */
int loop_run(struct loop *l) must_check;

uint64_t loop_now_ms(void);  /* CLOCK_MONOTONIC */
uint64_t loop_boot_ms(void); /* CLOCK_BOOTTIME: goes on while the machine sleeps */
uint64_t loop_wall_ns(void); /* CLOCK_REALTIME */

#endif
