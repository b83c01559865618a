/* Fingerprints: a value is seen wherever it stands and however the text is cut; foreign credentials. */
#include "foreign.h"
#include "literal.h"
#include "prints.h"

#include "flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static const char *const values[] = {"sk_live_0123456789abcdef", "sk_live_0123456789abcdeg", "qwertzui", "p&ss w+rd%41\"", "sk_live_x"};
static struct prints *prints;

static int start(void **state)
{
	uint8_t bytes[PRINTS_KEY + ARRAY_SIZE(values) * sizeof(struct prints_item)];
	size_t len = PRINTS_KEY;

	(void)state;
	for (size_t i = 0; i < PRINTS_KEY; i++)
		bytes[i] = (uint8_t)(i * 41 + 7);
	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		struct prints_item it = prints_of(bytes, (const uint8_t *)values[i], strlen(values[i]));

		memcpy(bytes + len, &it, sizeof(it));
		len += sizeof(it);
	}
	for (size_t n = 0; n < len; n++)
		if (n < PRINTS_KEY || (n - PRINTS_KEY) % sizeof(struct prints_item))
			assert_int_equal(prints_new(flush_copy(0, bytes, n), n, &prints), -EPROTO);
	assert_int_equal(prints_new(bytes, PRINTS_KEY, &prints), 0);
	assert_null(prints);
	return prints_new(bytes, len, &prints);
}

static int end(void **state)
{
	(void)state;
	prints = prints_free(prints);
	return 0;
}

static bool find(const char *text)
{
	return prints_find(prints, flush_copy(0, text, strlen(text)), strlen(text));
}

static void test_find(void **state)
{
	char text[256];
	size_t at, n;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(values); i++)
		for (int before = 0; before < 20; before++) {
			snprintf(text, sizeof(text), "%.*s%s%.*s", before, "sk_live_sk_live_sk_live_", values[i], 20 - before,
				 "________________________");
			assert_true(find(text));
		}
	assert_true(prints_find_at(prints, "xxqwertzui", 10, &at, &n));
	assert_int_equal(at, 2);
	assert_int_equal(n, 8);
	assert_false(find(""));
	assert_false(find("qwertzu"));
	assert_false(find("sk_live_0123456789abcdeh"));
	assert_false(find("sk_live_0123456789abcde"));
	assert_false(find("SK_LIVE_0123456789ABCDEF"));
	assert_false(prints_find(NULL, "qwertzui", 8));
}

/* No bit of a value can change. */
static void test_each_bit(void **state)
{
	char text[64];

	(void)state;
	for (size_t i = 0; i < 8 * strlen(values[0]); i++) {
		strcpy(text, values[0]);
		text[i / 8] ^= (char)(1 << i % 8);
		if (prints_find(prints, text, strlen(values[0])) && strcmp(text, values[1]) != 0)
			fail_msg("%zu: %s", i, text);
	}
}

static void test_cut(void **state)
{
	static char text[3000];
	size_t len;

	(void)state;
	memset(text, 's', sizeof(text));
	memcpy(text + 1500, values[0], strlen(values[0]));
	len = 1500 + strlen(values[0]);
	for (size_t step = 1; step < 200; step++) {
		struct prints_text t = {0};
		bool found = false;
		size_t at = 0;

		while (at < len && !found) {
			size_t n = len - at < step ? len - at : step;

			found = prints_next(prints, &t, flush_copy(0, text + at, n), n);
			at += n;
			assert_true(!found || at == len);
		}
		assert_true(found);
		prints_text_done(&t);
	}
}

static struct http1_head head;
static struct http1_meaning meaning;
static struct inject_scan scan;

static void request(const char *target, const char *more)
{
	static char text[8192];
	struct http1_scan s = {0};
	int n = snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: a.example\r\n%s\r\n", target, more);

	assert_int_equal(http1_request(&s, text, (size_t)n, &head), HTTP1_DONE);
	assert_int_equal(http1_request_meaning(&head, &meaning), 0);
	assert_int_equal(inject_scan(&head, &meaning, NULL, &scan), 0);
}

static void literal(const char *target, const char *more, bool is)
{
	request(target, more);
	if (literal_in_head(prints, &head, &meaning) != is)
		fail_msg("%s %s: %d", target, more, !is);
}

static void test_literal(void **state)
{
	(void)state;
	literal("/", "X: sk_live_0123456789abcdef\r\n", true);
	literal("/", "Cookie: a=qwertzui\r\n", true);
	literal("/a/sk_live_0123456789abcdef?x", "", true);
	literal("/?k=%73k_live_0123456789abcde%66", "", true);
	literal("/?k=p%26ss+w%2Brd%2541%22", "", true);
	literal("/?k=p%26ss%20w+rd%2541%22", "", true);
	literal("/?k=p%26ss+w+rd%2541%22", "", false); /* one '+' is a blank and the other is not */
	literal("/", "Authorization: Basic dXNlcjpza19saXZlXzAxMjM0NTY3ODlhYmNkZWY=\r\n", true);
	literal("/", "Authorization: Basic c2tfbGl2ZV8wMTIzNDU2Nzg5YWJjZGVmOg==\r\n", true);
	literal("/", "Authorization: Bearer agentsecrets://KEY\r\n", false);
	literal("/?k=sk_live_", "X: sk_live_0123456789abcdex\r\n", false);
	literal("/%", "", false);
	literal("/%7", "", false);
}

static void foreign(const char *target, const char *more, const char *where)
{
	const char *is;

	request(target, more);
	is = foreign_find(&head, &meaning, &scan);
	if (where ? !is || strcmp(is, where) != 0 : is != NULL)
		fail_msg("%s %s: %s", target, more, is ? is : "none");
}

static void test_foreign(void **state)
{
	(void)state;
	foreign("/", "", NULL);
	foreign("/", "Authorization: Bearer agentsecrets://KEY\r\n", NULL);
	foreign("/", "Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n", NULL);
	foreign("/", "Authorization: Bearer x\r\n", "authorization");
	foreign("/", "Authorization: Basic dTpw\r\n", "authorization");
	foreign("/", "Authorization:\r\n", NULL);
	foreign("/", "X-API-Key: 1\r\n", "header field for keys");
	foreign("/", "X-Api-Key: agentsecrets://KEY\r\n", NULL);
	foreign("/", "X-Other: 1\r\nAccept: */*\r\nUser-Agent: task-runner sk-1\r\n", NULL);
	foreign("/", "X-Other: ghp_0123456789abcdefghijABCDEFGHIJ012345\r\n", "token in a header field");
	foreign("/", "X-Other: xghp_0123456789abcdefghijABCDEFGHIJ012345\r\n", NULL);
	foreign("/", "X-Other: ghp_0123456789\r\n", NULL);
	foreign("/", "X: t=eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U\r\n", "token in a header field");
	foreign("/", "Cookie: session=ghp_0123456789abcdefghijABCDEFGHIJ012345\r\n", NULL);
	foreign("/", "Proxy-Authorization: Basic dTpw\r\n", NULL);
	foreign("/?api_key=1", "", "query parameter");
	foreign("/?b&API_KEY=1", "", "query parameter");
	foreign("/?api_key=", "", NULL);
	foreign("/?api_key=agentsecrets://KEY", "", NULL);
	foreign("/?q=AKIAIOSFODNN7EXAMPLE", "", "query parameter");
	foreign("/bot/ghp_0123456789abcdefghijABCDEFGHIJ012345/x", "", "token in the path");
	foreign("/task-list/risk-assessment-of-the-whole-company", "", NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_find), cmocka_unit_test(test_each_bit), cmocka_unit_test(test_cut),
					   cmocka_unit_test(test_literal), cmocka_unit_test(test_foreign)};

	return cmocka_run_group_tests(tests, start, end);
}
