/* keeper_read.h: a value, asked of its place, for the keeper's own modules.
 *
 * Embedded in whoever waits; fn is called once, perhaps before keeper_read() returns, and may free what it is in.
 */
#ifndef KEEPER_READ_H
#define KEEPER_READ_H

#include "keeper_int.h"

struct keeper_read;
typedef void keeper_read_fn(struct keeper_read *r);

struct keeper_read {
	struct backend_ask ask;
	keeper_read_fn *fn;
	bool asking, done;
	/* The answer: */
	int rc;
	int32_t status;
	struct secret *value; /* owned by fn from then on */
	struct err why;
};

/* value: of BACKEND_SET, good until the answer; else NULL. */
void keeper_read(struct keeper *k, struct keeper_read *r, enum backend_op op, const char *workspace,
		 const char *name, const struct secret *value, keeper_read_fn *fn);

#endif
