/* buf.c: see buf.h. Blocks of the first size come and go with every request; a few are kept for the next. */
#include "buf.h"

#include <assert.h>
#include <string.h>

#define BUF_SPARE_MAX 32

#ifdef BUF_SANITIZED
static uint8_t *buf_block(size_t cap)
{
	return malloc(cap);
}

static void buf_block_done(uint8_t *p, size_t cap)
{
	(void)cap;
	free(p);
}
#else
static uint8_t *spares[BUF_SPARE_MAX];
static size_t spare_count;

static uint8_t *buf_block(size_t cap)
{
	return cap == BUF_UNIT && spare_count > 0 ? spares[--spare_count] : malloc(cap);
}

static void buf_block_done(uint8_t *p, size_t cap)
{
	if (cap == BUF_UNIT && spare_count < BUF_SPARE_MAX)
		spares[spare_count++] = p;
	else
		free(p);
}
#endif

/* Bytes beyond `high` were never written. */
static void buf_wipe(struct buf *b)
{
	if (b->wipe && b->p)
		explicit_bzero(b->p, b->high);
}

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){.max = max};
}

void buf_done(struct buf *b)
{
	buf_wipe(b);
	if (b->p)
		buf_block_done(b->p, b->cap);
	*b = (struct buf){.max = b->max};
}

/* Moves the bytes to the front of a block of `cap` bytes. */
static bool buf_move(struct buf *b, size_t cap)
{
	uint8_t *p = b->p;
	size_t len = buf_len(b);

	if (cap != b->cap) {
		p = buf_block(cap);
		if (!p)
			return false;
		if (len)
			memcpy(p, buf_bytes(b), len);
		buf_wipe(b);
		if (b->p)
			buf_block_done(b->p, b->cap);
		b->high = len;
	} else {
		memmove(p, buf_bytes(b), len);
		if (b->wipe)
			explicit_bzero(p + len, b->end - len);
	}
	b->p = p;
	b->at = 0;
	b->end = len;
	b->cap = cap;
	return true;
}

uint8_t *buf_room(struct buf *b, size_t want, size_t *ret_n)
{
	size_t len = buf_len(b), cap = b->cap ? b->cap : BUF_UNIT;

	if (want > b->max - len)
		return NULL;
	if (b->cap - b->end < want) {
		while (cap - len < want)
			cap *= 2;
		if (cap > b->max)
			cap = b->max;
		if (cap < b->cap)
			cap = b->cap;
		if (!buf_move(b, cap))
			return NULL;
	}
	*ret_n = b->cap - b->end;
	if (*ret_n > b->max - len)
		*ret_n = b->max - len;
	return b->p + b->end;
}

void buf_added(struct buf *b, size_t n)
{
	assert(n <= b->cap - b->end);
	b->end += n;
	if (b->end > b->high)
		b->high = b->end;
}

int buf_add(struct buf *b, const void *p, size_t n)
{
	size_t room;
	uint8_t *to;

	if (n == 0)
		return 0;
	to = buf_room(b, n, &room);
	if (!to)
		return -ENOBUFS;
	memcpy(to, p, n);
	buf_added(b, n);
	return 0;
}

void buf_give(struct buf *from, struct buf *to)
{
	const size_t max = to->max;
	const bool wipe = to->wipe || from->wipe;

	assert(buf_len(to) == 0 && buf_len(from) <= max);
	buf_done(to);
	*to = *from;
	to->max = max;
	to->wipe = wipe;
	*from = (struct buf){.max = from->max};
}

void buf_take(struct buf *b, size_t n)
{
	assert(n <= buf_len(b));
	if (b->wipe && n)
		explicit_bzero(buf_bytes(b), n);
	b->at += n;
	if (b->at == b->end)
		buf_done(b);
}

void buf_cut(struct buf *b, size_t n)
{
	assert(n <= buf_len(b));
	if (b->wipe && n)
		explicit_bzero(b->p + b->end - n, n);
	b->end -= n;
	if (b->at == b->end)
		buf_done(b);
}
