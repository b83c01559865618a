/* proc_in.h: what the files of proc share. proc.c starts and ends children, proc_holder.c knows the one that outlives us,
 * proc_said.c serves what they say, proc_ask.c asks and tells them.
 */
#ifndef PROC_IN_H
#define PROC_IN_H

#include "proc.h"

struct guards_held;

#define PROC_ASK_MS 10000

/* ---- proc.c ---- */

struct proc *proc_of(struct parent *p, enum proc_role role); /* PROC_PROXY: the first */

/* Forks and execs it, with its configuration; what else it needs, and RPC_GO, is to follow. */
int proc_spawn(struct parent *p, struct proc *c, struct err *e) must_check;
/* Watches the end of c->pid, and its channel, which is taken over. */
int proc_watch(struct parent *p, struct proc *c, int boss) must_check;
/* Hands a descriptor over; fd stays the caller's. */
int proc_wire(struct proc *c, enum rpc_wire_kind kind, uint32_t index, int fd) must_check;
/* Lets it serve, and waits until it is ready. */
int proc_go(struct parent *p, struct proc *c, struct err *e) must_check;
/* The channel is over: the process is ended, and proc_on_end() does the rest. */
void proc_lost(struct proc *c, int rc);

/* ---- proc_holder.c ---- */

int proc_holder_spawn(struct parent *p, struct err *e) must_check;
/* The one that runs already, when there is one: what it keeps, whose descriptors are the caller's now. */
size_t proc_holder_take(struct parent *p, struct guards_held *item, size_t max);
/* It keeps the links and maps that are not of one guard. */
void proc_holder_links(struct parent *p);
/* Nothing is to be held any more. */
void proc_holder_end(struct parent *p);

/* ---- proc_said.c: rows' functions ---- */

int proc_ready(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int proc_took_stats(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int proc_command_run(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;

#endif
