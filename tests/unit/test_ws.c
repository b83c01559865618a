/* Frames of a WebSocket: read strictly, written as they were read, however they are cut. */
#include "ws.h"

#include "flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* Reads it in pieces of `step` bytes and writes what was read; bytes written, or -1. */
static int through(bool from_client, const void *bytes, size_t len, size_t step, uint8_t *out, size_t cap)
{
	struct ws w = {.from_client = from_client};
	struct wr to = wr_of(out, cap);

	for (size_t at = 0; at < len; at += step) {
		size_t n = len - at < step ? len - at : step, used, data;
		const uint8_t *p = flush_copy(0, (const uint8_t *)bytes + at, n);

		while (n > 0) {
			enum ws_result got = ws_read(&w, p, n, &used, &data);

			assert_true(used <= n && data <= used);
			if (got == WS_BAD)
				return -1;
			if (got == WS_HEAD)
				ws_write_head(&to, &w.frame);
			if (got == WS_DATA)
				wr_bytes(&to, p + used - data, data);
			p += used;
			n -= used;
		}
	}
	return ws_between(&w) && !to.full ? (int)to.len : -2;
}

static void passes(bool from_client, const void *bytes, size_t len)
{
	uint8_t out[70000];

	for (size_t step = 1; step <= len; step += len > 200 ? 977 : 1) {
		assert_int_equal(through(from_client, bytes, len, step, out, sizeof(out)), len);
		assert_memory_equal(out, bytes, len);
	}
}

static void refused(bool from_client, const void *bytes, size_t len)
{
	uint8_t out[1024];

	for (size_t step = 1; step <= len; step++)
		assert_int_equal(through(from_client, bytes, len, step, out, sizeof(out)), -1);
}

#define BYTES(text) text, sizeof(text) - 1

static void test_good(void **state)
{
	static uint8_t big[10 + 66000] = {0x82, 127, 0, 0, 0, 0, 0, 1, 0x01, 0xd0}; /* 66000 */
	static uint8_t middle[4 + 126] = {0x81, 126, 0, 126};

	(void)state;
	passes(false, BYTES("\x81\x02hi"));
	passes(true, BYTES("\x81\x82\1\2\3\4hi"));
	passes(false, BYTES("\x01\1a\x89\1p\x00\0\x80\1b\x82\0"));
	passes(true, BYTES("\x81\x80\0\0\0\0\x8a\x81\0\0\0\0x\x88\x82\0\0\0\0\3\xe8"));
	passes(false, BYTES("\x88\0"));
	passes(false, middle, sizeof(middle));
	passes(false, big, sizeof(big));
}

static void test_bad(void **state)
{
	static const uint8_t long_ping[4 + 126] = {0x89, 126, 0, 126};

	(void)state;
	refused(true, BYTES("\x81\x00"));		    /* no mask */
	refused(false, BYTES("\x81\x80\0\0\0\0"));	    /* a mask */
	refused(false, BYTES("\xc1\x00"));		    /* reserved bits */
	refused(false, BYTES("\xa1\x00"));
	refused(false, BYTES("\x91\x00"));
	refused(false, BYTES("\x83\x00"));		    /* reserved opcodes */
	refused(false, BYTES("\x8b\x00"));
	refused(false, BYTES("\x80\x00"));		    /* nothing to go on with */
	refused(false, BYTES("\x01\x00\x81\x00"));	    /* a message in a message */
	refused(false, BYTES("\x01\x00\x80\x00\x80\x00")); /* it has ended */
	refused(false, BYTES("\x09\x00"));		    /* control frames in pieces, or long */
	refused(false, long_ping, 4);
	refused(false, BYTES("\x88\x01x"));		    /* half a code */
	refused(false, BYTES("\x88\x00\x89\x00"));	    /* behind the end */
	refused(false, BYTES("\x81\x7e\x00\x7d"));	    /* not the shortest form */
	refused(false, BYTES("\x81\x7f\0\0\0\0\0\0\xff\xff"));
	refused(false, BYTES("\x81\x7f\x80\0\0\0\0\1\0\0"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_good), cmocka_unit_test(test_bad)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
