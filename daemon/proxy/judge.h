/* judge.h: the verdict on a request: steps 1 to 6 of protocol.md's order, in three questions.
 *
 * judge_request() is asked when the head is parsed, judge_resolved() when the resolver has answered, judge_secrets()
 * after both. None of them reads a value, dials or writes; all start out from "no". c->x->detail: our words about a refusal.
 */
#ifndef JUDGE_H
#define JUDGE_H

#include "bodyref.h"
#include "exchange.h"

/* What the connection says of where it goes: the fields of *a that are not the request's. */
void judge_place(const struct conn *c, struct route_ask *a);
/* Steps 1 to 4: syntax, who, place, rule; fills the request's route, rule and key. REASON_NONE: so far allowed, or exchange.ours is the answer. */
enum reason judge_request(struct conn *c);
/* The body is here, whole: what in it concerns the verdict. Asked before step 5, if x->hold.asked was set. */
enum reason judge_body(struct conn *c);
/* What the resolver's answer means where the rule is `private` or not, the host an `address` or a name: the verdict;
 * *ret_failure: allowed, but it cannot be done; *ret_detail: our words about either, or NULL. Whatever the resolver
 * said, an address that the rule does not open is refused here. */
enum reason judge_answer(const struct config *cfg, int rc, const uint8_t (*addrs)[16], uint32_t count, bool private,
			 bool address, enum reason *ret_failure, const char **ret_detail);
/* A walk through the held body, from its beginning. */
struct bodyref judge_bodyref(const struct conn *c);
/* Step 5's verdict; *ret_failure: allowed, but it cannot be done. */
enum reason judge_resolved(struct conn *c, enum reason *ret_failure);
/* Step 6, by name, and by fingerprint where a value itself is written out: after the address, so that a request that fails there learns nothing of a secret. If the
 * document changed since step 4, all is judged again before a value is asked for. */
enum reason judge_secrets(struct conn *c);

#endif
