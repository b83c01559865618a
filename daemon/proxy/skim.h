/* skim.h: passes over the bytes of a text at which nothing can begin, a vector at a time where the processor can.
 *
 * Three tables say for a byte and the two behind it, each on its own, which of 32 things may begin there; where the three
 * have no bit in common nothing does. For whole vectors the tables are too large; there eight buckets stand for them, each
 * with the byte's upper and its lower half looked up in sixteen entries by one shuffle, after the Teddy algorithm of
 * Hyperscan. What a bucket lets through is looked up in the tables, so the answer is theirs.
 *
 * Pure: no I/O, no allocation.
 */
#ifndef SKIM_H
#define SKIM_H

#include <stddef.h>
#include <stdint.h>

struct skim {
	const uint32_t *table[3]; /* of 256 words each; they stay the caller's and as they were */
	uint8_t low[3][32], high[3][32]; /* sixteen entries, twice */
};

void skim_make(struct skim *k, const uint32_t *first, const uint32_t *second,
	       const uint32_t *third);

/* The first place from `at` on where something may begin: with two bytes behind it as the tables say, with fewer always.
 * At most len. */
size_t skim_next(const struct skim *k, const uint8_t *p, size_t at, size_t len);

#endif
