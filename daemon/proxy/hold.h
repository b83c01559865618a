/* hold.h: a request's body that is looked into: read to its end before the request is judged to its end.
 *
 * What stands behind the head in agent.in is moved away first, so that the head stays where it is; it comes back,
 * as far as it is the next request's, with hold_back(). The payload is kept without its framing and goes up with a
 * Content-Length; trailers are dropped. It is bounded by config proxy.body_max, and all bodies of one guard together
 * by HOLD_GUARD_MAX.
 */
#ifndef HOLD_H
#define HOLD_H

#include "body.h"
#include "reason.h"

#define HOLD_GUARD_MAX (64u << 20)

struct conn;

struct hold {
	bool asked; /* set by judge.c: this body is to be held */
	bool begun;
	bool welcomed; /* the agent was told to go on, or did by itself */
	bool whole;    /* all of it is here: */
	struct buf body;
	struct buf raw; /* as it came, not parsed yet; when whole: what follows the request */
	struct body in;
	size_t counted; /* of guard.held */
};

/* State BODY is entered next. What it is judged by is known: x->rq is parsed, hold.asked. */
void hold_begin(struct conn *c);

enum hold_result {
	HOLD_OVER = 0, /* refused, or the connection is closed: *why */
	HOLD_MORE,     /* wait */
	HOLD_WHOLE,
};
/* One step of state BODY. HOLD_OVER with REASON_NONE: the connection is closed. */
enum hold_result hold_step(struct conn *c, enum reason *why, const char **detail) must_check;

/* The head has been taken from agent.in: what follows the request goes back there. */
void hold_back(struct conn *c);
void hold_done(struct conn *c); /* safe twice, and when nothing was held */

#endif
