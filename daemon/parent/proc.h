/* proc.h: the parent's children: start, wire, ask, start again when they die.
 *
 * What is denied stays denied while one is away: the kernel keeps redirecting, and nobody answers.
 */
#ifndef PROC_H
#define PROC_H

#include "parent.h"

/* Fills the table from the configuration and takes the holder that runs, when there is one, and the list of what it
 * keeps (p->held). */
int proc_take_holder(struct parent *p, struct err *e) must_check;
/* Starts the holder unless one was taken, takes up the guards, starts the keeper; opens the vault when there is one. */
int proc_start_trusted(struct parent *p, struct err *e) must_check;
/* Starts resolver and proxies; needs an opened vault. Waits until each is ready. */
int proc_start_facing(struct parent *p, struct err *e) must_check;
/* Ends all but the holder and waits for them, at most five seconds, then kills. */
void proc_stop(struct parent *p);
/* Once per turn: starts again what died, when its time has come. Answers the next time in ms, 0: none. */
uint64_t proc_turn(struct parent *p, uint64_t now_ms);

/* loop handlers */
void proc_on_boss(void *ctx, uint32_t slot, uint16_t gen, uint32_t events);
void proc_on_end(void *ctx, uint32_t slot, uint16_t gen, uint32_t events);

/* Asks the keeper and waits for RPC_ADMIN_DONE (10 s). The answer's tail, malloc'ed, in *ret (NULL: not
 * wanted); its length must be want unless want is 0. The keeper's own sentence is put in e. */
int proc_ask(struct parent *p, uint16_t op, const void *body, size_t size, int fd, size_t want,
	     char **ret, size_t *ret_len, struct err *e) must_check;

/* The same message to resolver, proxies and (with_keeper) keeper that run. fd stays the caller's. A child that
 * does not take it is ended: it would work on old rules. */
void proc_tell(struct parent *p, uint16_t op, const void *body, size_t size, int fd,
	       bool with_keeper);
/* To one alone; to the resolver or the proxies alone. */
void proc_tell_one(struct parent *p, struct proc *c, uint16_t op, const void *body, size_t size, int fd);
void proc_tell_role(struct parent *p, enum proc_role role, uint16_t op, const void *body,
		    size_t size, int fd);

/* A new chain of the audit log's: for a proxy, or (c NULL) for the parent. To be wiped by the caller. */
int proc_audit_key(struct parent *p, const struct proc *c, struct rpc_audit_key *key, struct err *e) must_check;

/* The holder: keep a descriptor, drop one or a family of them. */
void proc_hold(struct parent *p, const char *key, int fd);
void proc_unhold(struct parent *p, const char *key);

/* Asks every child for its numbers. Who has answered has done all that it was told before. False: not all have, within a
 * second. */
bool proc_stats(struct parent *p);
/* Has everybody done what was told since the last call? Asks as above, if anything was. */
bool proc_settled(struct parent *p);

const char *proc_role_word(enum proc_role role);

#endif
