/* keeper_read.c: see keeper_read.h. */
#include "keeper_read.h"

#include <string.h>

static void keeper_read_on(struct backend_ask *a, struct backend_answer *answer)
{
	struct keeper_read *r = (struct keeper_read *)a;

	r->rc = answer->rc;
	r->status = answer->status;
	r->value = answer->rc == 0 && a->op == BACKEND_READ ? take(answer->value) : NULL;
	(void)err_set(&r->why, answer->rc, "%s", answer->why);
	r->done = true;
	if (!r->asking)
		r->fn(r);
}

void keeper_read(struct keeper *k, struct keeper_read *r, enum backend_op op, const char *workspace,
		 const char *name, const struct secret *value, keeper_read_fn *fn)
{
	*r = (struct keeper_read){.fn = fn, .asking = true};
	r->ask.op = op;
	r->ask.fn = keeper_read_on;
	r->ask.value = value;
	memcpy(r->ask.workspace, workspace, strlen(workspace) + 1);
	memcpy(r->ask.name, name, strlen(name) + 1);
	backend_ask(&k->backends, &r->ask);
	r->asking = false;
	if (r->done)
		r->fn(r);
}
