/* aws-chunked payloads: frames, every cut, every bad byte. */
#include "awschunk.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789ABCDEF"

/* Frames of text fed in pieces that grow by `step`, written down: kind, used, signature, data. */
static bool frames(const char *text, size_t len, size_t step, bool trailer, char *out, size_t cap)
{
	char *buf = malloc(len ? len : 1); /* exact, so that ASan sees each byte too many */
	size_t at = 0, have = 0, n = 0;
	bool last = false, ended = false;

	out[0] = 0;
	while (have < len) {
		have = have + step < len ? have + step : len;
		for (;;) {
			struct awschunk_frame f;
			char *piece = malloc(have - at ? have - at : 1);
			enum awschunk_result got;

			memcpy(piece, text + at, have - at);
			got = awschunk_next((uint8_t *)piece, have - at, trailer, last, &f);
			if (got > AWSCHUNK_MORE) {
				n += (size_t)snprintf(out + n, cap - n, "%d %zu %zu %.*s|", got,
						      f.used, f.signature,
						      (int)(f.data.len < 8 ? f.data.len : 8),
						      f.data.p);
				assert_memory_equal(piece + f.signature, S64, 64);
				at += f.used;
				last |= got == AWSCHUNK_LAST;
				ended = got == AWSCHUNK_TRAILER ||
					(got == AWSCHUNK_LAST && !trailer);
			}
			free(piece);
			if (got == AWSCHUNK_BAD) {
				free(buf);
				return false;
			}
			if (got == AWSCHUNK_MORE || ended)
				break;
		}
		if (ended)
			break;
	}
	free(buf);
	return ended && at == len;
}

#define BODY  "5;chunk-signature=" S64 "\r\nhello\r\n0000A;chunk-signature=" S64 "\r\n0123456789\r\n"
#define PLAIN BODY "0;chunk-signature=" S64 "\r\n\r\n"
#define TRAILED                                                                                    \
	BODY "0;chunk-signature=" S64                                                              \
	     "\r\nx-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:" S64 "\r\n\r\n"

static void any_cut_is_the_same(void **state)
{
	static const char *const texts[] = {PLAIN, TRAILED};
	char whole[1024], cut[1024];
	(void)state;

	for (int t = 0; t < 2; t++) {
		size_t len = strlen(texts[t]);

		assert_true(frames(texts[t], len, len, t, whole, sizeof(whole)));
		for (size_t step = 1; step < len; step++) {
			assert_true(frames(texts[t], len, step, t, cut, sizeof(cut)));
			assert_string_equal(whole, cut);
		}
		for (size_t n = 0; n < len; n++) /* a truncated one never ends */
			assert_false(frames(texts[t], n, n ? n : 1, t, cut, sizeof(cut)));
	}
}

static void bad_ones(void **state)
{
	static const char *const bad[] = {
		"5\r\nhello\r\n",
		";chunk-signature=" S64 "\r\n",
		"5;chunk-signature=xx",
		"g;",
		"123456789;",
		"100001;chunk-signature=" S64 "\r\n",
		"5;chunk-signatur=" S64 "\r\nhello\r\n",
		"5;chunk-signature=" S64 "\nhello\r\n",
		"5;chunk-signature=" S64 "\r\nhello!\r\n",
		"5;chunk-signature=" S64 "0\r\nhello\r\n",
	};
	static const char *const trailers[] = {
		"no colon\r\n",
		"a b:c\r\n",
		":c\r\n",
		"a:\x01\r\n",
		"a:b\n",
		"x-amz-trailer-signature:abc\r\n\r\n",
		"x-amz-trailer-signature:" S64 "\r\nmore:x\r\n\r\n",
		"\r\n",
	};
	struct awschunk_frame f;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (awschunk_next((const uint8_t *)bad[i], strlen(bad[i]), false, false, &f) !=
		    AWSCHUNK_BAD)
			fail_msg("%s", bad[i]);
	for (size_t i = 0; i < ARRAY_SIZE(trailers); i++)
		if (awschunk_next((const uint8_t *)trailers[i], strlen(trailers[i]), true, true,
				  &f) != AWSCHUNK_BAD)
			fail_msg("%s", trailers[i]);
	assert_int_equal(awschunk_next((const uint8_t *)"x", 1, false, true, &f), AWSCHUNK_BAD);
}

static void trailers_as_they_are_hashed(void **state)
{
	static const char lines[] = "X-Amz-Checksum-Crc32c: sOO8/Q== \r\nb:\r\n";
	char out[128];
	struct wr w = wr_of(out, sizeof(out) - 1);
	(void)state;

	awschunk_trailers((struct http1_slice){lines, strlen(lines)}, &w);
	out[w.len] = 0;
	assert_string_equal(out, "x-amz-checksum-crc32c:sOO8/Q==\nb:\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(any_cut_is_the_same),
					   cmocka_unit_test(bad_ones),
					   cmocka_unit_test(trailers_as_they_are_hashed)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
