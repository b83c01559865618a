/* loads.h: how many connections each proxy process serves, in a page of memory that all of them and the parent see.
 *
 * The workers share their listeners. Without this whoever is awake takes what comes, and of eight long downloads one
 * worker gets all. What stands here decides who takes the next connection and nothing else: a wrong number costs
 * a wait of ACCEPT_DEFER_MS (accept.h), never a connection. Each worker writes its own number.
 */
#ifndef LOADS_H
#define LOADS_H

#include "own.h"

#include <stdbool.h>
#include <stdint.h>

#define LOADS_NONE UINT32_MAX /* takes none: not there, or no room */

struct loads;

/* A page with nobody there, as a memfd of fixed size that the caller closes, and mapped. -errno. */
int loads_new(int *ret_fd, struct loads **ret) must_check;
/* The page of that descriptor, which stays the caller's. -EPROTO: it is none. */
int loads_map(int fd, struct loads **ret) must_check;
struct loads *loads_free(struct loads *l);

/* worker: below CONFIG_WORKERS_MAX. */
void loads_set(struct loads *l, uint32_t worker, uint32_t connections);
/* Has another worker fewer connections, by more than one in eight. */
bool loads_ahead(const struct loads *l, uint32_t worker);

#endif
