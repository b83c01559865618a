/* h2back.h: HTTP/2 connections to upstreams, each shared by exchanges of one and the same upstream_key.
 *
 * So whoever shares one has the same guard, document, credentials, host and port. One that is at its limit of streams, has
 * had H2BACK_REQUESTS_MAX of them, or was told GOAWAY, takes no more; it ends with its last stream, or when it has been
 * idle as long as any pooled connection.
 */
#ifndef H2BACK_H
#define H2BACK_H

#include "h2.h"
#include "upstream.h"

#define H2BACK_REQUESTS_MAX                                                                        \
	900 /* servers end a connection after 1000 by default, and drop what crosses their GOAWAY */

struct h2backs;
struct h2back;

/* kind: of the loop's keys; max: connections. gone: a connection is about to be closed. */
typedef void h2back_gone_fn(struct upstreams *p, const struct upstream_key *key, struct tls *tls);
int h2backs_new(struct loop *l, uint8_t kind, struct h2_dues *dues, uint32_t max,
		struct upstreams *p, h2back_gone_fn *gone, struct h2backs **ret) must_check;
struct h2backs *h2backs_free(struct h2backs *p);

/* Takes over a connected and verified side that epoll does not watch any more; `side` is empty then. */
int h2back_adopt(struct h2backs *p, struct side *side, const struct upstream_key *key,
		 struct h2back **ret) must_check;
/* One of this key with room for another stream; NULL: there is none. */
struct h2back *h2back_find(struct h2backs *p, const struct upstream_key *key);
/* Makes *side one for a new stream of this user. -EBUSY: no room after all. */
int h2back_open(struct h2back *b, struct side *side, const struct h2_user *fns,
		void *user) must_check;
/* May a request still be sent on it? */
bool h2back_alive(const struct side *side);
bool h2back_used(const struct h2back *b); /* has carried a request before */

void h2back_event(struct h2backs *p, uint32_t slot, uint16_t gen, uint32_t events);
/* Ends the idle ones of a guard. */
void h2backs_forget(struct h2backs *p, uint64_t guard);
/* Ends idle ones. The longest wait until the next call, -1: for ever. */
int h2backs_sweep(struct h2backs *p, uint64_t now_ms);

#endif
