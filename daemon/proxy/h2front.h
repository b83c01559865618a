/* h2front.h: an agent's HTTP/2 connection: each of its streams is a connection of its own (conn.h).
 *
 * A stream's connection has a slot, an exchange and deadlines like any other, counts as one at its guard, and inherits from
 * the real one whose it is and which name was asked for. So every request is judged by itself, against the SNI of the
 * connection that it came on: nothing is shared across names.
 */
#ifndef H2FRONT_H
#define H2FRONT_H

#include "conn.h"

struct h2front;

/* The agent of `c` speaks HTTP/2 from here on. */
int h2front_new(struct conn *c) must_check;
/* Ends all its streams. */
struct h2front *h2front_free(struct h2front *f);

/* State CONN_H2: reads what has come. True: the state changed. */
bool h2front_step(struct h2front *f);
/* Should more be read? */
bool h2front_wants(const struct h2front *f);
/* Nothing was heard or asked for too long. */
void h2front_timeout(struct h2front *f);

#endif
