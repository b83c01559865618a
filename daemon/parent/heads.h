/* heads.h: how far each writer of the audit log has come, so that an end that was cut off is missed.
 *
 * A chain does not show that its last lines are gone. The parent knows the writers' numbers: it asks them at intervals,
 * remembers them in <state_dir>/audit.heads, and puts the last number of a writer that has ended, of this daemon's life or
 * the one before, as a "head" line in its own chain. `log verify` wants every chain to reach the numbers in head lines,
 * and, of the writers that run, those that the parent tells (log.heads) before the log is read.
 *
 * Not seen: lines of the last HEADS_MS before the daemon itself was killed; an end that is cut off together with audit.heads
 * while no daemon runs.
 */
#ifndef HEADS_H
#define HEADS_H

#include "parent.h"

#include <jansson.h>

#define HEADS_MS 5000

/* The parent's chain has begun: what the daemon before remembered goes into it. */
int heads_open(struct parent *p, struct err *e) must_check;
/* A proxy has ended, and was this far at least. */
void heads_ended(struct parent *p, struct proc *c);
/* It goes on in another file, with another chain. */
void heads_renewed(struct parent *p, struct proc *c, const struct rpc_audit_renewed *r);
/* The parent's own chain was this long, and another has begun. */
int heads_renewed_own(struct parent *p, const char *epoch, uint64_t n) must_check;
/* Asks and remembers, now and then. */
void heads_turn(struct parent *p, uint64_t now_ms);
/* Remembers what is known now. */
void heads_save(struct parent *p);
/* [{"writer","epoch","n"}, …] as asked now; NULL when out of memory. */
json_t *heads_list(struct parent *p);

#endif
