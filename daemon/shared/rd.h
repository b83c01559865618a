/* rd.h: a bounded reader over someone else's bytes, big-endian, with a sticky `bad`.
 *
 *	struct rd r = rd_of(p, n);
 *	id = rd_u16(&r);  flags = rd_u16(&r);
 *	if (r.bad || r.at != r.len) return -EBADMSG;
 *
 * After the first short read every read answers zero and moves nothing. Header only; never fails
 * otherwise. Slices point into the caller's buffer and live as long as it.
 */
#ifndef RD_H
#define RD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct rd {
	const uint8_t *p;
	size_t len, at;
	bool bad;
};

static inline struct rd rd_of(const void *p, size_t len)
{
	return (struct rd){.p = p, .len = len};
}

static inline size_t rd_left(const struct rd *r)
{
	return r->bad ? 0 : r->len - r->at;
}

/* n bytes from here, or NULL with bad set. */
static inline const uint8_t *rd_take(struct rd *r, size_t n)
{
	const uint8_t *p;

	if (r->bad || n > r->len - r->at) {
		r->bad = true;
		return NULL;
	}
	p = r->p + r->at;
	r->at += n;
	return p;
}

static inline uint8_t rd_u8(struct rd *r)
{
	const uint8_t *p = rd_take(r, 1);

	return p ? p[0] : 0;
}

static inline uint16_t rd_u16(struct rd *r)
{
	const uint8_t *p = rd_take(r, 2);

	return p ? (uint16_t)(p[0] << 8 | p[1]) : 0;
}

static inline uint32_t rd_u24(struct rd *r)
{
	const uint8_t *p = rd_take(r, 3);

	return p ? (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2] : 0;
}

static inline uint32_t rd_u32(struct rd *r)
{
	const uint8_t *p = rd_take(r, 4);

	return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static inline uint64_t rd_u64(struct rd *r)
{
	uint64_t hi = rd_u32(r);

	return hi << 32 | rd_u32(r);
}

/* A reader over the next n bytes; both are bad when there are fewer. */
static inline struct rd rd_sub(struct rd *r, size_t n)
{
	const uint8_t *p = rd_take(r, n);
	struct rd sub = {.p = p, .len = p ? n : 0, .bad = !p};

	return sub;
}

#endif
