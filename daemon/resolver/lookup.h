/* lookup.h: asking the host's DNS servers for a name's addresses. The only module that knows
 * c-ares.
 *
 * One channel, driven by the caller's loop. lookup_new() reads /etc/resolv.conf when the
 * configuration names no servers, and all else that it needs from the file system: call it before
 * the sandbox is locked. After that it needs socket, connect, setsockopt, fcntl, getsockname,
 * send/recv and epoll_ctl only. No search domains, no hosts file.
 */
#ifndef LOOKUP_H
#define LOOKUP_H

#include "config.h"
#include "lease.h"
#include "loop.h"

#include <stdint.h>

/* What both questions together said. */
struct lookup_answer {
	int rc;         /* 0 the name is there, -ENOENT no such name, -ETIMEDOUT no usable answer */
	uint32_t ttl;   /* the least of all records on the way; 0 when there is no address */
	uint32_t count; /* 0: no address */
	uint8_t addr[LEASE_ADDRS_MAX][16]; /* v4-mapped, IPv4 first, not judged */
};

typedef void lookup_fn(void *ctx, void *arg, const struct lookup_answer *a);

struct lookup;

/* ctx: given to each fn. kind: of the loop's events, whose handler must call lookup_event(). */
int lookup_new(const struct config *c, struct loop *loop, uint8_t kind, void *ctx,
	       struct lookup **ret, struct err *e) must_check;
/* Every question under way is answered -ETIMEDOUT first. */
struct lookup *lookup_free(struct lookup *l);

/* Asks for A and AAAA; fn is called exactly once, perhaps before this returns. -ENOMEM: fn is
 * not called. */
int lookup_ask(struct lookup *l, const char *host, lookup_fn *fn, void *arg) must_check;

void lookup_event(struct lookup *l, int fd, uint32_t events);
/* In each turn of the loop: repeats and gives up what is due; the longest wait in ms, -1: for
 * ever. */
int lookup_turn(struct lookup *l);

/* Questions sent upstream so far. */
uint64_t lookup_count(const struct lookup *l);

#endif
