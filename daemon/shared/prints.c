/* prints.c: see prints.h. A bitmap over the first window's hash says of nearly all places at once that nothing begins
 * there; then the second window's, then the whole is hashed. The windows' hash is a product, for speed: its key is not
 * known to whoever writes the text.
 */
#include "prints.h"

#include <errno.h>
#include <sodium.h>
#include <string.h>

#define BITS       4096u
#define WHOLE_BITS 48

_Static_assert(crypto_shorthash_KEYBYTES == PRINTS_KEY, "SipHash's key");

struct prints {
	uint8_t key[PRINTS_KEY];
	uint64_t seen[BITS / 64];
	size_t count, longest;
	struct prints_item items[];
};

static uint16_t window(const uint8_t key[PRINTS_KEY], const uint8_t *p)
{
	uint64_t add, times, v;

	memcpy(&add, key, sizeof(add));
	memcpy(&times, key + 8, sizeof(times));
	memcpy(&v, p, sizeof(v));
	v = (v ^ add) * (times | 1);
	v ^= v >> 32;
	return (uint16_t)(v * 0x9e3779b97f4a7c15ULL >> 48);
}

static uint64_t whole(const uint8_t key[PRINTS_KEY], const uint8_t *p, size_t len)
{
	uint8_t out[crypto_shorthash_BYTES];
	uint64_t v;

	(void)crypto_shorthash(out, p, len, key);
	memcpy(&v, out, sizeof(v));
	return v >> (64 - WHOLE_BITS);
}

static const uint8_t *middle(const uint8_t *p, size_t len)
{
	return p + (len - PRINTS_MIN) / 2;
}

struct prints_item prints_of(const uint8_t key[PRINTS_KEY], const uint8_t *value, size_t len)
{
	return (struct prints_item){.len = (uint32_t)len,
				    .first = window(key, value),
				    .middle = window(key, middle(value, len)),
				    .whole = whole(key, value, len)};
}

int prints_new(const uint8_t *p, size_t len, struct prints **ret)
{
	size_t count;
	struct prints *t;

	if (len < PRINTS_KEY || (len - PRINTS_KEY) % sizeof(struct prints_item))
		return -EPROTO;
	count = (len - PRINTS_KEY) / sizeof(struct prints_item);
	*ret = NULL;
	if (!count)
		return 0;
	t = calloc(1, sizeof(*t) + count * sizeof(t->items[0]));
	if (!t)
		return -ENOMEM;
	memcpy(t->key, p, PRINTS_KEY);
	memcpy(t->items, p + PRINTS_KEY, len - PRINTS_KEY);
	t->count = count;
	for (size_t i = 0; i < count; i++) {
		uint16_t bit = t->items[i].first % BITS;

		if (t->items[i].len < PRINTS_MIN || t->items[i].len > RPC_SECRET_MAX) {
			free(t);
			return -EPROTO;
		}
		t->seen[bit / 64] |= 1ULL << bit % 64;
		t->longest = t->items[i].len > t->longest ? t->items[i].len : t->longest;
	}
	*ret = t;
	return 0;
}

struct prints *prints_free(struct prints *p)
{
	free(p);
	return NULL;
}

/* The length of the value that begins at p, or 0. */
static size_t begins(const struct prints *s, uint16_t first, const uint8_t *p, size_t left)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct prints_item *it = &s->items[i];

		if (it->first == first && it->len <= left &&
		    window(s->key, middle(p, it->len)) == it->middle &&
		    whole(s->key, p, it->len) == it->whole)
			return it->len;
	}
	return 0;
}

bool prints_find_at(const struct prints *s, const void *text, size_t len, size_t *at, size_t *n)
{
	const uint8_t *p = text;

	for (size_t i = 0; s && i + PRINTS_MIN <= len; i++) {
		uint16_t first = window(s->key, p + i), bit = first % BITS;

		if (!(s->seen[bit / 64] >> bit % 64 & 1))
			continue;
		*n = begins(s, first, p + i, len - i);
		*at = i;
		if (*n)
			return true;
	}
	return false;
}

bool prints_find(const struct prints *s, const void *text, size_t len)
{
	size_t at, n;

	return prints_find_at(s, text, len, &at, &n);
}

/* Room for what is kept and a piece that is as long. Another set of values may have come since the last piece. */
static bool room(const struct prints *s, struct prints_text *t)
{
	size_t cap = 2 * s->longest;
	uint8_t *p;

	if (t->cap >= cap)
		return true;
	p = malloc(cap);
	if (!p)
		return false;
	if (t->len)
		memcpy(p, t->kept, t->len);
	if (t->kept)
		explicit_bzero(t->kept, t->cap);
	free(t->kept);
	t->kept = p;
	t->cap = cap;
	return true;
}

/* Keeps the last bytes, one less than the longest value has. */
static void keep(const struct prints *s, struct prints_text *t, const uint8_t *p, size_t len)
{
	size_t most = s->longest - 1, drop;

	if (len > most) {
		p += len - most;
		len = most;
	}
	drop = t->len + len > most ? t->len + len - most : 0;
	memmove(t->kept, t->kept + drop, t->len - drop);
	t->len -= drop;
	memcpy(t->kept + t->len, p, len);
	t->len += len;
}

bool prints_next(const struct prints *s, struct prints_text *t, const void *piece, size_t len)
{
	size_t more;

	if (!s || !len)
		return false;
	if (!room(s, t))
		return true; /* what cannot be looked through does not go */
	/* What begins in the last pieces ends in this one. */
	more = s->longest < len ? s->longest : len;
	if (t->len > s->longest)
		t->len = 0;
	memcpy(t->kept + t->len, piece, more);
	if (prints_find(s, t->kept, t->len + more) || prints_find(s, piece, len))
		return true;
	keep(s, t, piece, len);
	return false;
}

void prints_text_done(struct prints_text *t)
{
	if (t->kept)
		explicit_bzero(t->kept, t->cap);
	free(t->kept);
	*t = (struct prints_text){0};
}
