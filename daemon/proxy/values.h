/* values.h: the credentials' values of one request, and what its response is searched for.
 *
 * Values come from the keeper one after the other, or from a lease (creds.h), into creds.h's area, and stay until
 * values_drop(). Called in state CREDENTIAL alone: after the verdict, its line in the log, and the upstream's verification.
 */
#ifndef VALUES_H
#define VALUES_H

#include "exchange.h"

/* The values in order; false: one is on its way, or there will be none (request.refused). */
bool values_get(struct conn *c);
/* The set that the response is searched for; false: a value is on its way, or there will be none. */
bool values_known(struct conn *c);

/* The host answered 401: the access tokens that it was sent are taken for stale. */
void values_stale(struct conn *c);

void values_drop(struct conn *c);
void values_drop_known(struct conn *c);

#endif
