/* One parameter set in a query or form. */
#include "formset.h"

#include "flush.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static int set(const char *text, const char *name, char *out, size_t cap, size_t *len)
{
	struct wr w = wr_of(out, cap);
	int rc = formset((struct http1_slice){flush_copy(0, text, strlen(text)), strlen(text)},
			 (struct http1_slice){name, strlen(name)}, (struct http1_slice){"V", 1}, &w);

	*len = w.len;
	return rc;
}

static void becomes(const char *text, const char *name, const char *want)
{
	char out[256];
	size_t len;
	int rc = set(text, name, out, sizeof(out), &len);

	if (rc < 0 || len != strlen(want) || memcmp(out, want, len) != 0)
		fail_msg("%s: %d %.*s, not %s", text, rc, (int)len, out, want);
}

static void test_set(void **state)
{
	char out[64];
	size_t len;

	(void)state;
	becomes("", "k", "k=V");
	becomes("b=2&a=1", "k", "b=2&a=1&k=V");
	becomes("b=2&k=old&a=1", "k", "b=2&k=V&a=1");
	becomes("k", "k", "k=V");
	becomes("k=", "k", "k=V");
	becomes("k=a=b", "k", "k=V");
	becomes("a&", "k", "a&k=V");
	becomes("&&", "k", "&&k=V");
	/* Case counts; spelling does not, and stays. */
	becomes("K=1", "k", "K=1&k=V");
	becomes("%6b=1", "k", "%6b=V");
	becomes("a+b=1", "a b", "a+b=V");
	becomes("a%20b=1&c=%zz", "a b", "a%20b=V&c=%zz");
	becomes("x=k&kk=1&k1", "k", "x=k&kk=1&k1&k=V");
	becomes("", "a b&=%+\xc3\xa9", "a%20b%26%3D%25%2B%C3%A9=V");
	becomes("%=1", "%", "%=V");
	assert_int_equal(set("k=1&b&k=2", "k", out, sizeof(out), &len), -EEXIST);
	assert_int_equal(set("k&%6B", "k", out, sizeof(out), &len), -EEXIST);
	for (size_t cap = 0; cap < 8; cap++)
		assert_int_equal(set("a=1", "k", out, cap, &len), cap < 7 ? -ENOBUFS : 0);
}

static void test_unescape(void **state)
{
	char out[8];

	(void)state;
	assert_int_equal(formset_unescape((struct http1_slice){"a%2Db", 5}, out, sizeof(out)), 3);
	assert_memory_equal(out, "a-b", 3);
	assert_int_equal(formset_unescape((struct http1_slice){"%41%6a%00", 9}, out, sizeof(out)), 3);
	assert_memory_equal(out, "Aj\0", 3);
	assert_int_equal(formset_unescape((struct http1_slice){"a%2", 3}, out, sizeof(out)), -EINVAL);
	assert_int_equal(formset_unescape((struct http1_slice){"%g0", 3}, out, sizeof(out)), -EINVAL);
	assert_int_equal(formset_unescape((struct http1_slice){"123456789", 9}, out, sizeof(out)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_set), cmocka_unit_test(test_unescape)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
