/* random.h: for unit tests: numbers by chance that can be had again: SEED=n, which random_begin() prints. */
#ifndef RANDOM_H
#define RANDOM_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint32_t random_seed;

static inline void random_begin(void)
{
	const char *given = getenv("SEED");

	random_seed = given ? (uint32_t)strtoul(given, NULL, 0) : (uint32_t)time(NULL);
	random_seed = random_seed ? random_seed : 1;
	printf("# SEED=%u\n", random_seed);
}

/* Below n. xorshift32. */
static inline uint32_t rnd(uint32_t n)
{
	random_seed ^= random_seed << 13;
	random_seed ^= random_seed >> 17;
	random_seed ^= random_seed << 5;
	return random_seed % n;
}

#endif
