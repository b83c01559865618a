/* leaf.h: the certificates that agents see, one per name, in a bounded cache.
 *
 * Names that several connections want at once are asked for once. A certificate is kept for a day at
 * most and thrown out, longest unused first, when the cache is full; a connection that uses it keeps
 * what OpenSSL needs of it.
 */
#ifndef LEAF_H
#define LEAF_H

#include "ask.h"
#include "tls.h"

#define LEAF_CACHE_MAX 2048
#define LEAF_KEEP_MS (24ULL * 3600 * 1000)
#define LEAF_PENDING_MAX 64 /* names of one guard being asked for at once */

struct leaf_cache;

/* Somebody who waits for a name; embedded in the connection. fn is called once: with the leaf, good
 * until the return, or NULL and why not. */
struct leaf_wait {
	struct leaf_wait *next;
	struct leaf *on; /* NULL: does not wait */
	void (*fn)(struct leaf_wait *w, const struct tls_cert *leaf, int rc);
};

int leaf_cache_new(const struct tls_ctx *tls, struct channel *keeper, uint32_t max,
		   struct leaf_cache **ret) must_check;
struct leaf_cache *leaf_cache_free(struct leaf_cache *c);

/* 0: *ret is the leaf, good until the next call of this module. -EINPROGRESS: w waits.
 * -EBUSY: this guard is waiting for too many names. -ENOTCONN: no keeper. */
int leaf_get(struct leaf_cache *c, const char *host, uint64_t guard, uint64_t now_ms, struct leaf_wait *w,
	     const struct tls_cert **ret) must_check;
void leaf_cancel(struct leaf_wait *w);

#endif
