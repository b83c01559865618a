/* pack.h: for unit tests: bodies in the codings of zlib, as an upstream would send them. After cmocka.h. */
#ifndef PACK_H
#define PACK_H

#include <stddef.h>
#include <stdint.h>
#include <zlib.h>

/* What pack_zip() makes, in zlib's windowBits. */
#define PACK_GZIP        31
#define PACK_DEFLATE     15
#define PACK_DEFLATE_RAW (-15)

/* p[0..n) into to[0..room), which must be enough; what it took. */
static inline size_t pack_zip(const void *p, size_t n, int kind, uint8_t *to, size_t room)
{
	z_stream z = {.next_in = (Bytef *)p,
		      .avail_in = (uInt)n,
		      .next_out = to,
		      .avail_out = (uInt)room};

	assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, kind, 8, Z_DEFAULT_STRATEGY), Z_OK);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	n = z.total_out;
	assert_int_equal(deflateEnd(&z), Z_OK);
	return n;
}

#endif
