/* body.h: one message body on its way from one side's framing to the other's.
 *
 * Works on buffers alone: parsed payload goes from `in` to `out`, written in the framing of the other
 * side. What was parsed is taken from `in` at once; nothing is forwarded that was not understood. With a
 * sieve, the payload and the trailers go through it.
 */
#ifndef BODY_H
#define BODY_H

#include "buf.h"
#include "http1.h"
#include "sieve.h"

struct body {
	enum http1_framing from, to;
	enum body_phase { BODY_DATA = 0, BODY_TRAILER, BODY_DONE } phase;
	uint64_t left;	/* LENGTH: of the payload */
	uint64_t bytes; /* payload moved so far */
	bool over;	/* all payload has come; the sieve may still have some */
	struct sieve *sieve; /* the caller's; NULL: none */
	bool tell;	/* with a sieve, to CHUNKED: how much was found stands in a trailer, */
	uint64_t told;	/* and so much more */
	/* Sees each piece of payload before it goes; true: it must not. NULL: nobody does. body_init() takes it away. */
	bool (*watch)(void *ctx, const void *p, size_t n);
	void *watch_ctx;
	struct http1_chunked chunk;
	struct http1_scan trailer;
};

/* length: of the body when `from` is LENGTH. */
void body_init(struct body *b, enum http1_framing from, uint64_t length, enum http1_framing to);

/* Moves what can be moved while `out` holds less than `full`. -EACCES: `watch` said so; -EBADMSG: the framing or the coding is broken;
 * -ENOBUFS: no memory; or what sieve_next() said. scratch: for trailers. */
int body_move(struct body *b, struct buf *in, struct buf *out, size_t full, struct http1_head *scratch) must_check;

/* How many bytes may be read straight into the other side's `out`; 0: read into `in`. */
size_t body_straight(const struct body *b, const struct buf *in);
/* So many were; a caller with a `watch` asks it itself. */
void body_went(struct body *b, size_t n);

/* The sender has finished. -EPIPE: in the middle of the body; or what sieve_next() said. */
int body_end(struct body *b, struct buf *out) must_check;

#endif
