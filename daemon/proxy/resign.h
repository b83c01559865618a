/* resign.h: requests that are signed again: AWS signatures, and references of kind hmac, in the exchange's steps.
 *
 *	resign_scan()	with the head	an AWS signature by one of our placeholders: the secret becomes a need
 *	resign_get()	in CREDENTIAL	the keeper signs what will be forwarded
 *	resign_edits()	as the head is written
 *	resign_move()	instead of body_move(), for bodies whose chunks are signed one by one
 *
 * The agent's own signature is not checked: whoever sends the placeholder's id may use the secret, as whoever sends a
 * reference may.
 */
#ifndef RESIGN_H
#define RESIGN_H

#include "exchange.h"
#include "http1.h"

/* After inject_scan() and before the route is judged. */
enum reason resign_scan(struct conn *c);

/* The signature of the request, once its values are there; false: it is on its way, or refused (request.refused). */
bool resign_get(struct conn *c);
/* Kind hmac: is the secret one; is the body needed for the messages of the request's needs (then it is held); the
 * value of a need, asked as values.c asks for others, or refused. */
bool resign_is_hmac(const struct conn *c, const char *name);
void resign_hold(struct conn *c);
void resign_ask_hmac(struct conn *c, uint32_t need, ask_fn *fn);

/* Adds the edits of a request that is signed again to those of `out`; how many more bytes than the head had. */
int resign_edits(struct request *rq, struct http1_out *out, struct http1_edit *edits,
		 size_t max) must_check;
size_t resign_bound(const struct request *rq);

/* A body whose chunks are signed: its state outlives the request's. */
int resign_move(struct conn *c) must_check; /* as body_move() */
/* Is there something of the body that has not gone up, or may still be read of it? */
bool resign_busy(const struct exchange *x);
bool resign_full(const struct exchange *x);

void resign_done(struct request *rq);
void resign_stream_done(struct exchange *x);

#endif
