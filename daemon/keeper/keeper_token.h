/* keeper_token.h: access tokens, fetched when they are asked for and kept in memory until they expire.
 *
 *	IDLE ─► READING (the parts) ─► FLYING (at a proxy) ─► STORING (a new refresh token) ─► IDLE
 *
 * One exchange is under way per secret, whoever asks; the others wait. A token is used until shortly before it expires
 * and fetched anew, beside that, some time before. A refresh token that comes with it is in its place, durably, before
 * the token is used. After a failure nothing is asked for a while that grows; but an assertion that is refused by a server
 * whose clock is not ours is made once more, for its clock (tokenclock.h).
 *
 * The keeper opens no socket: the request is made here, whole, and sent by the proxy that asked, which judges the
 * endpoint like any other host (errand.h) and hands back the answer. Of all this the agent sees the token's place only.
 */
#ifndef KEEPER_TOKEN_H
#define KEEPER_TOKEN_H

#include "keeper_int.h"

struct token;

/* Answers RPC_CREDENTIAL of a secret that mints, now or later: the token, its number in rpc_done.status. */
int keeper_token(struct keeper *k, uint32_t peer, uint32_t id, const struct rpc_credential *q,
		 const struct rules_secret *s, const char *workspace) must_check;

int keeper_token_reply(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_token_stale(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;

/* The secret has another value, or is gone; name NULL: all of the workspace. */
void keeper_tokens_forget(struct keeper *k, const char *workspace, const char *name);
/* Ends exchanges that take too long, or whose proxy is gone: what it had sent may have been heard, so nobody sends it
 * again. The next time in ms from now; -1: none. */
int keeper_tokens_turn(struct keeper *k, uint64_t now_ms);
void keeper_tokens_done(struct keeper *k);

#endif
