/* wr.h: a bounded writer into the caller's buffer, big-endian, with a sticky `full`.
 *
 * Nothing is written past `cap`; after the first write that does not fit nothing more is written.
 * Check `full` once at the end: a full writer's bytes must not be used. Header only.
 */
#ifndef WR_H
#define WR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct wr {
	uint8_t *p;
	size_t cap, len;
	bool full;
};

static inline struct wr wr_of(void *p, size_t cap)
{
	return (struct wr){.p = p, .cap = cap};
}

static inline void wr_bytes(struct wr *w, const void *p, size_t n)
{
	if (w->full || n > w->cap - w->len) {
		w->full = true;
		return;
	}
	if (n)
		memcpy(w->p + w->len, p, n);
	w->len += n;
}

static inline void wr_str(struct wr *w, const char *s)
{
	wr_bytes(w, s, strlen(s));
}

static inline void wr_u8(struct wr *w, uint8_t v)
{
	wr_bytes(w, &v, 1);
}

static inline void wr_u16(struct wr *w, uint16_t v)
{
	uint8_t b[2] = {(uint8_t)(v >> 8), (uint8_t)v};

	wr_bytes(w, b, sizeof(b));
}

static inline void wr_u32(struct wr *w, uint32_t v)
{
	wr_u16(w, (uint16_t)(v >> 16));
	wr_u16(w, (uint16_t)v);
}

static inline void wr_u64(struct wr *w, uint64_t v)
{
	wr_u32(w, (uint32_t)(v >> 32));
	wr_u32(w, (uint32_t)v);
}

/* v in decimal, with zeroes before it up to `least` digits (at most 20). */
static inline void wr_decimal(struct wr *w, uint64_t v, unsigned int least)
{
	char b[20];
	size_t at = sizeof(b);

	do
		b[--at] = (char)('0' + v % 10);
	while ((v /= 10) || sizeof(b) - at < least);
	wr_bytes(w, b + at, sizeof(b) - at);
}

#endif
