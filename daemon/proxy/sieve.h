/* sieve.h: a response's payload on its way through recode.h and redact.h.
 *
 * Payload is put in; what has been decoded and looked through comes out, in order. Nothing is kept back but what
 * may be the beginning of a find, and the payload itself when decoding gives more than the other side takes.
 */
#ifndef SIEVE_H
#define SIEVE_H

#include "buf.h"
#include "http1.h"
#include "recode.h"
#include "redact.h"

#define SIEVE_HOLD_MAX (144u * 1024) /* of a beginning: the longest value with most of it escaped */

struct sieve {
	const struct redact *redact; /* the caller's; NULL: this sieve is not in use */
	struct recode *recode;       /* NULL: not coded */
	struct redact_text text;
	struct buf coded, plain;
	size_t ready; /* bytes of `plain` that may go */
	bool more;    /* the decoder may have more */
};

/* recode: taken over; may be NULL. */
void sieve_init(struct sieve *v, const struct redact *redact, struct recode *recode);
void sieve_done(struct sieve *v); /* safe twice, and for one that is all zero */

/* Adds payload. -ENOBUFS. */
int sieve_put(struct sieve *v, const void *p, size_t n) must_check;
/* Is there something that sieve_next() should be asked for before more is put in. */
static inline bool sieve_busy(const struct sieve *v)
{
	return v->more || v->ready > 0;
}
/* *ret_n bytes at *ret are ready; 0: none without more payload. last: no payload follows. -EBADMSG: the coding is
 * broken or cut off; -EFBIG: a bomb; -E2BIG: the beginning of a find is too long; -ENOBUFS. */
int sieve_next(struct sieve *v, bool last, const uint8_t **ret, size_t *ret_n) must_check;
/* They are gone. */
void sieve_took(struct sieve *v);

/* Masks finds in a head or trailer section, names, values and phrase, but not in the fields that frame the body.
 * at: the bytes that h's slices point into. Returns how many. */
uint64_t sieve_head(const struct redact *redact, struct http1_head *h, uint8_t *at);

#endif
