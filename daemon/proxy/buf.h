/* buf.h: bytes on their way, in a buffer that grows up to a maximum given when it is made.
 *
 * No memory is held while it is empty. A buffer marked `wipe` held a credential: what is taken from it
 * is overwritten, and so is what growing or freeing leaves behind.
 */
#ifndef BUF_H
#define BUF_H

#include "own.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whoever keeps blocks for later use keeps none then: the address sanitizer must see each use after free. */
#if defined(__SANITIZE_ADDRESS__)
#define BUF_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define BUF_SANITIZED 1
#endif
#endif

#define BUF_UNIT 16384 /* first size, and a TLS record's most */

struct buf {
	uint8_t *p;
	size_t at, end, cap; /* the bytes are p[at .. end) */
	size_t max;
	size_t high; /* most of `end` since the block was taken */
	bool wipe;
};

void buf_init(struct buf *b, size_t max);
void buf_done(struct buf *b); /* empty, no memory; may be used again */

static inline size_t buf_len(const struct buf *b)
{
	return b->end - b->at;
}

static inline uint8_t *buf_bytes(const struct buf *b)
{
	return b->at ? b->p + b->at : b->p; /* nothing may be added to NULL */
}

/* Most bytes that may still be added. */
static inline size_t buf_left(const struct buf *b)
{
	return b->max - buf_len(b);
}

/* Room for at least `want` more bytes in one piece; NULL: over the maximum, or no memory. *ret_n: how
 * many there are. Moves the bytes: pointers into the buffer are stale afterwards. */
uint8_t *buf_room(struct buf *b, size_t want, size_t *ret_n);
void buf_added(struct buf *b, size_t n);
int buf_add(struct buf *b, const void *p, size_t n) must_check; /* -ENOBUFS */
/* All of `from` goes to `to`, which is empty, without a copy. */
void buf_give(struct buf *from, struct buf *to);
/* Drops the first n bytes; frees the memory with the last one. */
void buf_take(struct buf *b, size_t n);
/* Drops the last n bytes; those before stay where they are. */
void buf_cut(struct buf *b, size_t n);

#endif
