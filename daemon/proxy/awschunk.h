/* awschunk.h: the payload of an S3 upload whose chunks are signed one after the other (aws-chunked).
 *
 *	10000;chunk-signature=<64 hex>\r\n <data> \r\n
 *	0;chunk-signature=<64 hex>\r\n [name:value\r\n ... x-amz-trailer-signature:<64 hex>\r\n] \r\n
 *
 * A chunk's signature covers its data and stands before them: a chunk is looked at as a whole or not at all. What is
 * written in its place has the same length, whatever the signature.
 *
 * Pure: the same bytes give the same frames however they were cut.
 */
#ifndef AWSCHUNK_H
#define AWSCHUNK_H

#include "http1.h"

#define AWSCHUNK_DATA_MAX    (1u << 20) /* bytes of one chunk */
#define AWSCHUNK_HEAD_MAX    128
#define AWSCHUNK_TRAILER_MAX 4096
#define AWSCHUNK_FRAME_MAX   (AWSCHUNK_DATA_MAX + AWSCHUNK_HEAD_MAX + AWSCHUNK_TRAILER_MAX)

enum awschunk_result {
	AWSCHUNK_BAD = 0,
	AWSCHUNK_MORE,
	AWSCHUNK_DATA,
	AWSCHUNK_LAST,
	AWSCHUNK_TRAILER
};

/* A frame: DATA (a chunk), LAST (the empty one; what ends the payload is part of it without trailers), TRAILER
 * (after LAST, with trailers). */
struct awschunk_frame {
	size_t used;             /* bytes of the frame */
	size_t signature;        /* where in it the 64 digits stand */
	struct http1_slice data; /* DATA: the payload; TRAILER: the lines before the signature */
};

/* Looks at p[0..len), the start of a frame. trailer: the payload is one with trailers; last: LAST has been seen. */
enum awschunk_result awschunk_next(const uint8_t *p, size_t len, bool trailer, bool last,
				   struct awschunk_frame *f) must_check;

/* The lines of TRAILER as they are hashed: "name:value\n" each, names in lower case. */
void awschunk_trailers(struct http1_slice lines, struct wr *w);

#endif
