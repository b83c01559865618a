/* child.h: the beginning that keeper, resolver, proxy and holder share.
 *
 * Each is `agentsecretsd <role> [<number>]`, exec'd by the parent with an empty environment, stdin on
 * /dev/null, stderr inherited and the boss channel at descriptor RPC_BOSS_FD. It serves the boss's
 * messages blocking until RPC_GO (RPC_CONFIG first, then what it needs before the lock), drops, locks,
 * answers RPC_READY and goes into its loop, where the boss channel is one more peer. Its end (EOF on
 * the boss channel) ends the process at once with status 0.
 */
#ifndef CHILD_H
#define CHILD_H

#include "config.h"
#include "rpc.h"

/* Roles' entry points; number: worker index. Return the exit status. */
int holder_main(void);
int keeper_main(void);
int resolver_main(void);
int proxy_main(uint32_t number);

/* Serves p (the boss) blocking until an RPC_GO has been handled by the table's row for it, which must
 * set *go. 0 or negative errno. */
int child_wait_go(struct rpc_peer *boss, const struct rpc_row *rows, size_t count, void *ctx,
		  const bool *go) must_check;

#endif
