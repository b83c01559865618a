/* test_body.c: bodies from every framing to every other, cut anywhere; what is broken goes no further. */
#include "body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct http1_head scratch;

/* Feeds text in two pieces; the bytes that came out, in text form. Negative: body_move() refused. */
static int run(enum http1_framing from, uint64_t length, enum http1_framing to, const char *text, size_t cut,
	       bool end, char out_text[512], struct body *b)
{
	size_t len = strlen(text), at = 0, n = cut;
	struct buf in, out;
	int rc = 0;

	buf_init(&in, 4096);
	buf_init(&out, 4096);
	body_init(b, from, length, to);
	while (rc == 0 && at < len) {
		assert_int_equal(buf_add(&in, text + at, n), 0);
		at += n;
		n = len - at;
		rc = body_move(b, &in, &out, 4096, &scratch);
	}
	if (rc == 0 && end)
		rc = body_end(b, &out);
	memcpy(out_text, buf_len(&out) ? (const char *)buf_bytes(&out) : "", buf_len(&out));
	out_text[buf_len(&out)] = '\0';
	buf_done(&in);
	buf_done(&out);
	return rc;
}

static void test_every_cut(void **state)
{
	static const char *const chunked = "4;x=y\r\nwiki\r\n5\r\npedia\r\n0\r\nX-Sum: 1\r\n\r\n";
	char out[512];
	struct body b;
	size_t cut;

	(void)state;
	for (cut = 0; cut <= strlen(chunked); cut++) {
		assert_int_equal(run(HTTP1_FRAMING_CHUNKED, 0, HTTP1_FRAMING_CLOSE, chunked, cut, false, out, &b), 0);
		assert_string_equal(out, "wikipedia");
		assert_int_equal(b.phase, BODY_DONE);
		assert_int_equal(b.bytes, 9);
		assert_int_equal(run(HTTP1_FRAMING_CHUNKED, 0, HTTP1_FRAMING_CHUNKED, chunked, cut, false, out, &b), 0);
		assert_non_null(strstr(out, "0\r\nX-Sum: 1\r\n\r\n"));
		assert_null(strstr(out, "x=y"));
		assert_int_equal(b.phase, BODY_DONE);
	}
	for (cut = 0; cut <= 9; cut++) {
		assert_int_equal(run(HTTP1_FRAMING_LENGTH, 9, HTTP1_FRAMING_LENGTH, "wikipedia", cut, false, out, &b), 0);
		assert_string_equal(out, "wikipedia");
		assert_int_equal(b.phase, BODY_DONE);
	}
	assert_int_equal(run(HTTP1_FRAMING_CLOSE, 0, HTTP1_FRAMING_CHUNKED, "wikipedia", 9, true, out, &b), 0);
	assert_string_equal(out, "9\r\nwikipedia\r\n0\r\n\r\n");
	assert_int_equal(run(HTTP1_FRAMING_LENGTH, 9, HTTP1_FRAMING_CHUNKED, "wikipedia", 9, false, out, &b), 0);
	assert_string_equal(out, "9\r\nwikipedia\r\n0\r\n\r\n");
}

static void test_no_more_than_announced(void **state)
{
	char out[512];
	struct body b;

	(void)state;
	assert_int_equal(run(HTTP1_FRAMING_LENGTH, 4, HTTP1_FRAMING_LENGTH, "wikipedia", 9, false, out, &b), 0);
	assert_string_equal(out, "wiki");
	assert_int_equal(run(HTTP1_FRAMING_NONE, 0, HTTP1_FRAMING_NONE, "more", 4, false, out, &b), 0);
	assert_string_equal(out, "");
	assert_int_equal(b.phase, BODY_DONE);
}

static void test_cut_short(void **state)
{
	static const char *const chunked = "4\r\nwiki\r\n0\r\n\r\n";
	char out[512], part[64];
	struct body b;
	size_t n;

	(void)state;
	assert_int_equal(run(HTTP1_FRAMING_LENGTH, 10, HTTP1_FRAMING_LENGTH, "wikipedia", 9, true, out, &b), -EPIPE);
	for (n = 0; n < strlen(chunked); n++) {
		memcpy(part, chunked, n);
		part[n] = '\0';
		assert_int_equal(run(HTTP1_FRAMING_CHUNKED, 0, HTTP1_FRAMING_CHUNKED, part, n, true, out, &b), -EPIPE);
		/* No last chunk that was not sent to us. */
		assert_null(strstr(out, "0\r\n\r\n"));
	}
}

static void test_broken(void **state)
{
	static const char *const bad[] = {"x\r\n", "4\nwiki", "4\r\nwikiX", "-1\r\n", "0\r\nHost: x\r\n\r\n",
					  "10000000000000000\r\n", "0\r\nContent-Length: 1\r\n\r\n", "4 \r\nwiki\r\n"};
	char out[512];
	struct body b;
	size_t i, cut;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		for (cut = 0; cut <= strlen(bad[i]); cut++)
			assert_int_equal(run(HTTP1_FRAMING_CHUNKED, 0, HTTP1_FRAMING_CHUNKED, bad[i], cut, false, out, &b),
					 -EBADMSG);
}

/* A full `out` stops the moving; nothing is lost. */
static void test_full(void **state)
{
	struct buf in, out;
	struct body b;
	char text[1000];

	(void)state;
	memset(text, 'a', sizeof(text));
	buf_init(&in, 4096);
	buf_init(&out, 4096);
	body_init(&b, HTTP1_FRAMING_LENGTH, sizeof(text), HTTP1_FRAMING_LENGTH);
	assert_int_equal(buf_add(&in, text, sizeof(text)), 0);
	assert_int_equal(body_move(&b, &in, &out, 100, &scratch), 0);
	assert_int_equal(buf_len(&out), 100);
	assert_int_equal(buf_len(&in), 900);
	assert_int_equal(body_move(&b, &in, &out, 100, &scratch), 0);
	assert_int_equal(buf_len(&out), 100);
	buf_take(&out, 100);
	assert_int_equal(body_move(&b, &in, &out, 4096, &scratch), 0);
	assert_int_equal(b.phase, BODY_DONE);
	assert_int_equal(b.bytes, 1000);
	buf_done(&in);
	buf_done(&out);
}

static void test_straight(void **state)
{
	struct buf in;
	struct body b;

	(void)state;
	buf_init(&in, 4096);
	body_init(&b, HTTP1_FRAMING_LENGTH, 10, HTTP1_FRAMING_LENGTH);
	assert_int_equal(body_straight(&b, &in), 10);
	body_went(&b, 4);
	assert_int_equal(body_straight(&b, &in), 6);
	assert_int_equal(buf_add(&in, "x", 1), 0);
	assert_int_equal(body_straight(&b, &in), 0); /* what is here goes first */
	buf_done(&in);
	body_went(&b, 6);
	assert_int_equal(b.phase, BODY_DONE);
	assert_int_equal(body_straight(&b, &in), 0);
	body_init(&b, HTTP1_FRAMING_LENGTH, 10, HTTP1_FRAMING_CHUNKED);
	assert_int_equal(body_straight(&b, &in), 0);
	body_init(&b, HTTP1_FRAMING_CHUNKED, 0, HTTP1_FRAMING_CHUNKED);
	assert_int_equal(body_straight(&b, &in), 0);
}

static void test_buf_wipes(void **state)
{
	struct buf b;
	size_t room;
	uint8_t *p;

	(void)state;
	buf_init(&b, 40000);
	b.wipe = true;
	assert_int_equal(buf_add(&b, "secret", 6), 0);
	p = b.p;
	buf_take(&b, 3);
	assert_memory_equal(p, "\0\0\0ret", 6);
	assert_null(buf_room(&b, 40000, &room)); /* over the maximum: refused, nothing moved */
	assert_non_null(buf_room(&b, 39997, &room));
	assert_memory_equal(buf_bytes(&b), "ret", 3);
	assert_int_equal(buf_add(&b, "x", 1), 0);
	buf_take(&b, 4);
	assert_null(b.p);
	assert_false(b.wipe);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_cut), cmocka_unit_test(test_no_more_than_announced),
		cmocka_unit_test(test_cut_short), cmocka_unit_test(test_broken),
		cmocka_unit_test(test_full),	  cmocka_unit_test(test_straight),
		cmocka_unit_test(test_buf_wipes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
