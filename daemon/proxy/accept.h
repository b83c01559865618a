/* accept.h: the listeners, which all workers share, and which of them takes a connection.
 *
 * All workers are woken. One that serves more connections than another (loads.h) leaves what waits to that one, for
 * ACCEPT_DEFER_MS at most: the other may be stuck or dead. So connections are shared out as they come, few ones too, and
 * none waits for a worker that does not take it. Every accepted socket must have the kernel's record, of a guard in our
 * own table, or it is closed.
 */
#ifndef ACCEPT_H
#define ACCEPT_H

#include "proxy.h"

#define ACCEPT_DEFER_MS 4

/* RPC_LISTENER and RPC_LISTENER_GONE, rows of the boss's table. ctx: struct proxy. */
int accept_listener(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int accept_listener_gone(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
loop_fn accept_on_listener;

/* From now on connections are taken. */
void accept_go(struct proxy *p);
/* None are, or again: no room, or no descriptors. */
void accept_pause(struct proxy *p, bool pause);
/* An agent's connection came, or ended: by is 1 or -1. */
void accept_count(struct proxy *p, int by);
/* Once a turn; how long the next wait may be at most, in ms, -1: for ever. */
int accept_turn(struct proxy *p, uint64_t now_ms) must_check;
void accept_done(struct proxy *p);

#endif
