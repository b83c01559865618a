/* skim.c: see skim.h. */
#include "skim.h"

#include <stdbool.h>
#include <string.h>

#define WIDTH   16
#define BUCKETS 8

/* GCC's vectors and __builtin_shuffle(), so that the same lines serve every processor with a shuffle of bytes. x86-64 has one
 * since SSSE3, which is asked for at run time. */
typedef uint8_t vec __attribute__((vector_size(WIDTH)));

#if defined(__x86_64__)
#define SHUFFLES __attribute__((target("ssse3")))
#define CAN      __builtin_cpu_supports("ssse3")
#elif defined(__aarch64__)
#define SHUFFLES
#define CAN true
#else
#define SHUFFLES
#define CAN false
#endif

/* What begins an escape goes with nothing else: what may follow it is something else again. The rest goes by its upper half,
 * which keeps the buckets' sets small. */
static unsigned bucket_of(unsigned c)
{
	switch (c) {
	case '%':
		return 0;
	case '\\':
		return 1;
	case '&':
		return 2;
	default:
		return 3 + (c >> 4) % (BUCKETS - 3);
	}
}

static void enter(struct skim *k, size_t at, unsigned c, unsigned bucket)
{
	k->low[at][c & 15] |= (uint8_t)(1u << bucket);
	k->high[at][c >> 4] |= (uint8_t)(1u << bucket);
}

void skim_make(struct skim *k, const uint32_t *first, const uint32_t *second, const uint32_t *third)
{
	uint32_t of[BUCKETS] = {0};
	size_t at;
	unsigned b, c;

	*k = (struct skim){.table = {first, second, third}};
	for (c = 0; c < 256; c++) {
		if (first[c])
			enter(k, 0, c, bucket_of(c));
		of[bucket_of(c)] |= first[c];
	}
	for (at = 1; at < 3; at++)
		for (b = 0; b < BUCKETS; b++)
			for (c = 0; c < 256; c++)
				if (k->table[at][c] & of[b])
					enter(k, at, c, b);
}

static size_t one_by_one(const struct skim *k, const uint8_t *p, size_t at, size_t end)
{
	while (at < end && !(k->table[0][p[at]] & k->table[1][p[at + 1]] & k->table[2][p[at + 2]]))
		at++;
	return at;
}

SHUFFLES static inline vec load(const uint8_t *p)
{
	vec v;

	memcpy(&v, p, sizeof(v));
	return v;
}

SHUFFLES static inline vec buckets(const uint8_t *p, vec low, vec high)
{
	vec v = load(p);

	return __builtin_shuffle(low, v & 15) & __builtin_shuffle(high, v >> 4);
}

/* As far as whole vectors go, or to the first byte where something may begin. */
SHUFFLES static size_t by_vectors(const struct skim *k, const uint8_t *p, size_t at, size_t end,
				  bool *ret_found)
{
	const vec l0 = load(k->low[0]), h0 = load(k->high[0]), l1 = load(k->low[1]),
		  h1 = load(k->high[1]), l2 = load(k->low[2]), h2 = load(k->high[2]);

	*ret_found = false;
	for (; end - at >= WIDTH; at += WIDTH) {
		vec hit = buckets(p + at, l0, h0) & buckets(p + at + 1, l1, h1) &
			  buckets(p + at + 2, l2, h2);
		uint64_t half[2];
		size_t found;

		memcpy(half, &hit, sizeof(half));
		if (!(half[0] | half[1]))
			continue;
		found = one_by_one(k, p, at, at + WIDTH);
		if (found < at + WIDTH) {
			*ret_found = true;
			return found;
		}
	}
	return at;
}

size_t skim_next(const struct skim *k, const uint8_t *p, size_t at, size_t len)
{
	size_t end = len < 2 ? 0 : len - 2; /* where two bytes follow */
	bool found = false;

	if (at >= end)
		return at;
	if (CAN)
		at = by_vectors(k, p, at, end, &found);
	return found ? at : one_by_one(k, p, at, end);
}
