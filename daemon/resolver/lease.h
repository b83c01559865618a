/* lease.h: what was resolved, for whom, and until when.
 *
 * One entry per (guard, host), both families together: a guard never sees, by timing or content,
 * what another one asked. Entries hold judged addresses only. Bounded per guard and in all: a guard
 * at its limit loses its own oldest entry; when all is full, the guard that holds most loses its
 * oldest. No clock: `now` comes in, in milliseconds of CLOCK_MONOTONIC.
 */
#ifndef LEASE_H
#define LEASE_H

#include "own.h"
#include "rpc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LEASE_ADDRS_MAX     32 /* of one name: at most RPC_ADDRS_MAX of either family */
#define LEASE_PER_GUARD_MAX 1024
#define LEASE_MAX           16384
#define LEASE_GUARDS_MAX    256

enum lease_outcome {
	LEASE_NXDOMAIN, /* no such name */
	LEASE_NODATA,   /* the name is there and has no address */
	LEASE_REFUSED,  /* it has addresses, and all of them were refused */
	LEASE_FOUND,    /* at least one address */
};

struct lease {
	uint64_t guard;
	uint64_t expires_ms;
	enum lease_outcome outcome;
	uint32_t count; /* of addr; 0 unless LEASE_FOUND */
	/* v4-mapped, IPv4 first, then in the server's order; the table's */
	const uint8_t (*addr)[16];
	const char *host; /* the table's */
};

struct lease_table;

/* seed: random, so that names cannot be chosen to collide. NULL when out of memory. */
struct lease_table *lease_table_new(uint64_t seed);
struct lease_table *lease_table_free(struct lease_table *t);
OWN_CLEANUP(lease_table, struct lease_table, lease_table_free)

/* The TTL within the configured bounds, and never 0. */
uint32_t lease_ttl(uint32_t ttl, uint32_t min, uint32_t max);
/* Whole seconds that are left, at least 1. */
uint32_t lease_left(const struct lease *l, uint64_t now_ms);

/* Keeps a copy of *l, in place of what stood there for this guard and host. -ENOMEM; -ENOSPC
 * when there are more guards than LEASE_GUARDS_MAX. *ret (may be NULL) is good until the next
 * change of the table. */
int lease_put(struct lease_table *t, const struct lease *l, const struct lease **ret) must_check;

/* The entry, or NULL when there is none or it has ended. Good until the next change of the
 * table. */
const struct lease *lease_get(struct lease_table *t, uint64_t guard, const char *host,
			      uint64_t now_ms);

/* Forgets all of a guard: it is gone, or its rules have changed. */
void lease_drop(struct lease_table *t, uint64_t guard);

size_t lease_count(const struct lease_table *t);

#endif
