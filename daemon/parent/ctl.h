/* ctl.h: the server side of the control socket (control.h): connections, lines, who asks. ops.c does what is asked. */
#ifndef CTL_H
#define CTL_H

#include "control.h"
#include "parent.h"

/* Binds the socket and puts it in the loop. */
int ctl_open(struct parent *p, struct err *e) must_check;
void ctl_close(struct parent *p);
/* loop handlers, and once per turn: ends those that are too slow. Answers ms to the next deadline, -1: none. */
void ctl_on_listen(void *ctx, uint32_t slot, uint16_t gen, uint32_t events);
void ctl_on_conn(void *ctx, uint32_t slot, uint16_t gen, uint32_t events);
int ctl_turn(struct parent *p, uint64_t now_ms);

#endif
