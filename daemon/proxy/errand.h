/* errand.h: the keeper's requests for access tokens, sent for it by this proxy.
 *
 *	order ─► judged ─► resolved ─► recorded ─► dialled, verified ─► sent ─► answered ─► reply
 *
 * The endpoint passes the verdict of any request of that guard: rule, method and path, address; and its host is one of
 * the secret's own. The decision is in the audit log before anything is dialled. Redirects are not followed. No
 * agent's connection is part of this: it goes on when the one that set it off has left, since a refresh token may be
 * lost with an answer that nobody reads.
 */
#ifndef ERRAND_H
#define ERRAND_H

#include "proxy.h"

#define ERRAND_MS          10000 /* from order to reply */
#define ERRAND_BODY_MAX    32768 /* bytes of an answer */
#define ERRAND_REQUEST_MAX 32768

struct errand;

/* channel.on_order: 0, or a negative errno when the contract is broken. */
int errand_order(void *proxy, const struct rpc_token_order *o, const uint8_t *request, size_t len);
/* Those whose decision is written go on; rc < 0: it is not. */
void errands_recorded(struct proxy *p, int rc);
bool errands_wait_record(const struct proxy *p);
void errands_sweep(struct proxy *p, uint64_t now_ms);
void errands_done(struct proxy *p);

#endif
