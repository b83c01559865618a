/* former.h: values that a host may still know though it is no longer sent them: replaced since, or no longer bound to it.
 *
 * The keeper has them, in memory alone, until it ends or newer ones need the room. It tells the proxies
 * for which hosts there are some (RPC_FORMER) before it answers to the change, and so before any proxy gets the
 * new value; they ask for them as they ask for the values in force (RPC_FORMER_ASK), only to search responses.
 *
 * Not covered: what was replaced or unbound before the keeper started; values that are not in the vault (backend.h);
 * the moment between a document's arrival at a proxy and at the keeper.
 */
#ifndef FORMER_H
#define FORMER_H

#include "rpc.h"
#include "rules.h"
#include "secret.h"

#define FORMER_MAX           256 /* values */
#define FORMER_PER_WORKSPACE 32

struct former {
	uint64_t number; /* 0: free; grows, is never given twice */
	char workspace[RPC_WORKSPACE_MAX];
	struct secret *value;
	uint32_t host_count;
	char (*hosts)[RPC_HOST_MAX]; /* patterns, as in a rule */
};

struct formers {
	uint64_t last; /* number that was given last */
	struct former of[FORMER_MAX];
};

void formers_done(struct formers *f);

/* Takes the value over, in the place of the oldest one where there is no room. *ret NULL: there was one like it. -ENOMEM. */
int former_add(struct formers *f, const char *workspace, char (*hosts)[RPC_HOST_MAX],
	       uint32_t host_count, struct secret **value, const struct former **ret) must_check;
/* The value of that number, if it may have been sent to this host. */
const struct former *former_find(const struct formers *f, uint64_t number, const char *workspace,
				 const char *host);
/* Forgets those of a workspace. */
void formers_drop(struct formers *f, const char *workspace);

/* Hosts of a secret that `now` (may be NULL) has no longer: their patterns, malloc'ed; count 0: none. -ENOMEM. */
int former_hosts(const struct rules_secret *was, const struct rules_secret *now,
		 char (**ret)[RPC_HOST_MAX], uint32_t *ret_count) must_check;

#endif
