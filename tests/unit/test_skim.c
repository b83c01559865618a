/* test_skim.c: whatever the tables, the answer is that of asking them byte by byte. */
#include "skim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LEN 400

static uint32_t table[3][256];
static uint8_t text[LEN];

static uint32_t rnd(void)
{
	static uint64_t x = 88172645463325252u;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	return (uint32_t)(x >> 16);
}

static size_t expected(const uint8_t *p, size_t at, size_t len)
{
	while (at + 2 < len && !(table[0][p[at]] & table[1][p[at + 1]] & table[2][p[at + 2]]))
		at++;
	return at;
}

/* Every place to begin at, for texts of every length that end where memory ends. */
static void compare(void)
{
	struct skim k;
	size_t at, len;

	skim_make(&k, table[0], table[1], table[2]);
	for (len = 0; len <= LEN; len += len < 70 ? 1 : 37) {
		uint8_t *p = malloc(len + !len);

		assert_non_null(p);
		memcpy(p, text, len);
		for (at = 0; at <= len; at++)
			assert_int_equal(skim_next(&k, p, at, len), expected(p, at, len));
		free(p);
	}
}

static void say_some(size_t bytes)
{
	size_t i, k;

	memset(table, 0, sizeof(table));
	for (k = 0; k < 3; k++)
		for (i = 0; i < bytes; i++)
			table[k][rnd() % 256] |= 1u << rnd() % 32;
}

static void test_random(void **state)
{
	static const size_t bytes[] = {0, 1, 3, 20, 200, 2000};
	size_t i, round;

	(void)state;
	for (i = 0; i < sizeof(bytes) / sizeof(*bytes); i++) {
		for (round = 0; round < 8; round++) {
			say_some(bytes[i]);
			for (size_t n = 0; n < LEN; n++)
				text[n] = (uint8_t)(round & 1 ? rnd() : rnd() % 8 + 0x60);
			compare();
		}
	}
}

/* Each triple that means something, alone in a text where nothing else does, at each place of a vector. */
static void test_every_bucket(void **state)
{
	size_t c, at;

	(void)state;
	for (c = 0; c < 256; c++) {
		struct skim k;

		memset(table, 0, sizeof(table));
		table[0][c] = table[1][255 - c] = table[2][c ^ 0x55] = 1u << c % 32;
		skim_make(&k, table[0], table[1], table[2]);
		for (at = 0; at < 40; at++) {
			memset(text, (int)(c + 1) & 255, sizeof(text));
			text[at] = (uint8_t)c;
			text[at + 1] = (uint8_t)(255 - c);
			text[at + 2] = (uint8_t)(c ^ 0x55);
			assert_int_equal(skim_next(&k, text, 0, LEN), at);
			assert_int_equal(skim_next(&k, text, at + 1, LEN), LEN - 2);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_every_bucket),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
