/* One member set in a JSON text: where it goes, what stays, and what is refused. */
#include "jsonset.h"

#include "flush.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

/* "a.b" is a path of two names; "" ends up as one empty name, which jsonset.h allows. */
static struct jsonset_path path_of(const char *text)
{
	struct jsonset_path p = {0};

	for (;;) {
		size_t n = strcspn(text, ".");

		p.name[p.count++] = (struct http1_slice){text, n};
		if (!text[n])
			return p;
		text += n + 1;
	}
}

static int set_bytes(const char *text, size_t len, const char *path, char *out, size_t cap, size_t *ret_len)
{
	struct jsonset_path p = path_of(path);
	struct wr w = wr_of(out, cap);
	int rc = jsonset((struct http1_slice){flush_copy(0, text, len), len}, &p, (struct http1_slice){"\"V\"", 3}, &w);

	*ret_len = w.len;
	return rc;
}

static void becomes(const char *text, const char *path, const char *want)
{
	char out[1024];
	size_t len;
	int rc = set_bytes(text, strlen(text), path, out, sizeof(out), &len);

	if (rc < 0 || len != strlen(want) || memcmp(out, want, len) != 0)
		fail_msg("%s at %s: %d %.*s, not %s", text, path, rc, (int)len, out, want);
}

static void refused(const char *text, const char *path, int why)
{
	char out[1024];
	size_t len;
	int rc = set_bytes(text, strlen(text), path, out, sizeof(out), &len);

	if (rc != why)
		fail_msg("%s at %s: %d, not %d", text, path, rc, why);
}

static void test_added(void **state)
{
	(void)state;
	becomes("", "a", "{\"a\":\"V\"}");
	becomes(" \r\n\t", "a.b", "{\"a\":{\"b\":\"V\"}}");
	becomes("{}", "a", "{\"a\":\"V\"}");
	becomes(" { } ", "a", " {\"a\":\"V\" } ");
	becomes("{\"b\":1}", "a", "{\"b\":1,\"a\":\"V\"}");
	becomes("{\n  \"b\": 1\n}\n", "a", "{\n  \"b\": 1,\"a\":\"V\"\n}\n");
	becomes("{\"a\":{}}", "a.b.c", "{\"a\":{\"b\":{\"c\":\"V\"}}}");
	becomes("{\"a\":{\"x\":[1,{\"b\":2}]},\"z\":0}", "a.b", "{\"a\":{\"x\":[1,{\"b\":2}],\"b\":\"V\"},\"z\":0}");
	/* A name within another object or a string is another one. */
	becomes("{\"x\":{\"a\":1},\"y\":\"a\"}", "a", "{\"x\":{\"a\":1},\"y\":\"a\",\"a\":\"V\"}");
	becomes("{\"x\":{\"a\":{\"b\":1}}}", "a.b", "{\"x\":{\"a\":{\"b\":1}},\"a\":{\"b\":\"V\"}}");
	becomes("{}", "q\"\\\n", "{\"q\\\"\\\\\\u000a\":\"V\"}");
}

static void test_replaced(void **state)
{
	(void)state;
	becomes("{\"a\":1}", "a", "{\"a\":\"V\"}");
	becomes("{\"a\" : -0.5e+10 ,\"b\":9007199254740993}", "a", "{\"a\" : \"V\" ,\"b\":9007199254740993}");
	becomes("{\"a\":{\"b\":[1,2,{\"c\":3}]}}", "a.b", "{\"a\":{\"b\":\"V\"}}");
	becomes("{\"a\":{\"a\":{\"a\":1}}}", "a", "{\"a\":\"V\"}");
	becomes("{\"a\":{\"a\":{\"a\":1}}}", "a.a", "{\"a\":{\"a\":\"V\"}}");
	becomes("{\"a\":[],\"c\":true}", "a", "{\"a\":\"V\",\"c\":true}");
	becomes("{\"a\":null}", "a", "{\"a\":\"V\"}");
	/* However the name is spelt. */
	becomes("{\"\\u0061\\/\":1}", "a/", "{\"\\u0061\\/\":\"V\"}");
	becomes("{\"\\ud83d\\ude00\":1}", "\xf0\x9f\x98\x80", "{\"\\ud83d\\ude00\":\"V\"}");
	becomes("{\"\xc3\xa9\":1,\"\\u00E9x\":2}", "\xc3\xa9", "{\"\xc3\xa9\":\"V\",\"\\u00E9x\":2}");
	becomes("{\"\\ud83d\":1}", "\xf0\x9f\x98\x80", "{\"\\ud83d\":1,\"\xf0\x9f\x98\x80\":\"V\"}");
}

static void test_refused(void **state)
{
	static const char *const not_json[] = {
		"{", "}", "[", "{]", "{\"a\"}", "{\"a\":}", "{\"a\":1,}", "{,}", "{\"a\" 1}", "{a:1}", "{'a':1}", "{\"a\":1}}", "{} {}", "{}x",
		"{\"a\":01}", "{\"a\":1.}", "{\"a\":.5}", "{\"a\":+1}", "{\"a\":-}", "{\"a\":1e}", "{\"a\":tru}", "{\"a\":True}",
		"{\"a\":\"\n\"}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}", "{\"a\":\"", "{\"a\":\"\xff\"}", "{\"a\":\"\xc0\x80\"}",
		"{\"a\":\"\xed\xa0\x80\"}", "{\"a\":[1,]}", "{\"a\":[1 2]}", "{\"a\":NaN}", "{\"a\":1 /* */}", "\xef\xbb\xbf{}",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(not_json); i++) {
		char out[512];
		size_t len;
		int rc = set_bytes(not_json[i], strlen(not_json[i]), "q", out, sizeof(out), &len);

		if (rc != -EBADMSG && !(rc == -EEXIST && not_json[i][0] != '{'))
			fail_msg("%s: %d", not_json[i], rc);
	}
	refused("[]", "a", -EEXIST);
	refused("1", "a", -EEXIST);
	refused("{\"a\":1}", "a.b", -EEXIST);
	refused("{\"a\":\"x\"}", "a.b", -EEXIST);
	refused("{\"a\":[]}", "a.b", -EEXIST);
	refused("{\"a\":null}", "a.b", -EEXIST);
	/* A name twice: which one counts? */
	refused("{\"a\":1,\"a\":2}", "a", -EEXIST);
	refused("{\"a\":{},\"\\u0061\":{}}", "a.b", -EEXIST);
	refused("{\"a\":{\"b\":1,\"b\":2}}", "a.b", -EEXIST);
	refused("{\"a\":{},\"x\":1,\"a\":{\"b\":1}}", "a.b", -EEXIST);
	/* Elsewhere that is not our business. */
	becomes("{\"x\":{\"a\":1,\"a\":2}}", "a", "{\"x\":{\"a\":1,\"a\":2},\"a\":\"V\"}");
}

static void test_limits(void **state)
{
	char text[1024], out[64];
	size_t len;

	(void)state;
	for (int depth = JSONSET_DEPTH_MAX - 1; depth <= JSONSET_DEPTH_MAX; depth++) {
		int n = snprintf(text, sizeof(text), "{\"x\":");

		for (int i = 0; i < depth; i++)
			text[n++] = '[';
		for (int i = 0; i < depth; i++)
			text[n++] = ']';
		n += snprintf(text + n, sizeof(text) - (size_t)n, "}");
		assert_int_equal(set_bytes(text, (size_t)n, "x", text + 512, 512, &len), depth < JSONSET_DEPTH_MAX ? 0 : -E2BIG);
	}
	/* `out` is never overrun. */
	for (size_t cap = 0; cap < 22; cap++)
		assert_int_equal(set_bytes("{\"b\":1}", 7, "a.b", out, cap, &len), cap < 21 ? -ENOBUFS : 0);
}

/* Each truncation and each flipped bit: refused, or a text whose member is there and that may be set once more. */
static void test_every_change(void **state)
{
	static const char good[] = "{\"k\":[1,{\"a\":2}],\"a\":{\"\\u0062\":\"x\\\\\\ud83d\\ude00\",\"c\":-1.5e3}}";
	char text[sizeof(good)], out[256], again[256];
	size_t len, len2;

	(void)state;
	for (size_t n = 1; n < sizeof(good) - 1; n++)
		assert_int_not_equal(set_bytes(good, n, "a.b", out, sizeof(out), &len), 0);
	for (size_t i = 0; i < (sizeof(good) - 1) * 8; i++) {
		memcpy(text, good, sizeof(good));
		text[i / 8] ^= (char)(1 << i % 8);
		if (set_bytes(text, sizeof(good) - 1, "a.b", out, sizeof(out), &len) < 0)
			continue;
		assert_int_equal(set_bytes(out, len, "a.b", again, sizeof(again), &len2), 0);
		assert_int_equal(len, len2);
		assert_memory_equal(out, again, len);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_added), cmocka_unit_test(test_replaced), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_limits), cmocka_unit_test(test_every_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
