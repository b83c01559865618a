/* skim.c: see skim.h. */
#include "skim.h"

#include <stdbool.h>
#include <string.h>

#define BUCKETS 8

/* GCC's vectors, so that the same lines serve every processor with a shuffle of bytes; x86-64 has one of 32 since AVX2, two
 * times sixteen side by side, which is asked for at run time. */
#if defined(__x86_64__)
#include <immintrin.h>
#define WIDTH    32
#define SHUFFLES __attribute__((target("avx2")))
#define CAN      __builtin_cpu_supports("avx2")
#else
#define WIDTH 16
#define SHUFFLES
#define CAN true
#endif

typedef uint8_t vec __attribute__((vector_size(WIDTH)));

/* hits(): bit i is set where byte i is not zero. */
#if defined(__x86_64__)
#define shuffle(table, at) ((vec)_mm256_shuffle_epi8((__m256i)(table), (__m256i)(at)))
#define hits(v)                                                                                    \
	(~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8((__m256i)(v), _mm256_setzero_si256())))
#else
#define shuffle(table, at) __builtin_shuffle(table, at)
static inline uint32_t hits(vec v)
{
	uint64_t half[2];
	uint32_t bits = 0;
	size_t i;

	memcpy(half, &v, sizeof(half));
	for (i = 0; (half[0] | half[1]) && i < WIDTH; i++)
		bits |= (uint32_t) !!v[i] << i;
	return bits;
}
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
	size_t i;

	for (i = 0; i < 32; i += 16) {
		k->low[at][i + (c & 15)] |= (uint8_t)(1u << bucket);
		k->high[at][i + (c >> 4)] |= (uint8_t)(1u << bucket);
	}
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

static inline bool may_begin(const struct skim *k, const uint8_t *p)
{
	return k->table[0][p[0]] & k->table[1][p[1]] & k->table[2][p[2]];
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

	return shuffle(low, v & 15) & shuffle(high, v >> 4);
}

/* As far as whole vectors go, or to the first byte where something may begin. */
SHUFFLES static size_t by_vectors(const struct skim *k, const uint8_t *p, size_t at, size_t end)
{
	const vec l0 = load(k->low[0]), h0 = load(k->high[0]), l1 = load(k->low[1]),
		  h1 = load(k->high[1]), l2 = load(k->low[2]), h2 = load(k->high[2]);

	for (; end - at >= WIDTH; at += WIDTH) {
		uint32_t bits = hits(buckets(p + at, l0, h0) & buckets(p + at + 1, l1, h1) &
				     buckets(p + at + 2, l2, h2));

		for (; bits; bits &= bits - 1)
			if (may_begin(k, p + at + __builtin_ctz(bits)))
				return at + (size_t)__builtin_ctz(bits);
	}
	return at;
}

size_t skim_next(const struct skim *k, const uint8_t *p, size_t at, size_t len)
{
	size_t end = len < 2 ? 0 : len - 2; /* where two bytes follow */

	if (CAN && at < end)
		at = by_vectors(k, p, at, end);
	while (at < end && !may_begin(k, p + at))
		at++;
	return at;
}
