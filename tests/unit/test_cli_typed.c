/* typed: hosts, ports and times as people type and paste them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "typed.h"

#include <string.h>

static void host_is(const char *typed, const char *host, int port)
{
	char out[TYPED_HOST_MAX];
	uint16_t p = 1;
	struct err e;

	assert_int_equal(typed_host(typed, out, &p, &e), 0);
	assert_string_equal(out, host);
	assert_int_equal(p, port);
}

static void host_not(const char *typed, const char *says)
{
	char out[TYPED_HOST_MAX] = "";
	uint16_t p;
	struct err e = {""};

	assert_int_equal(typed_host(typed, out, &p, &e), -EINVAL);
	if (!strstr(e.text, says))
		fail_msg("\"%s\": %s", typed, e.text);
}

static void test_hosts(void **s)
{
	char longest[400];

	(void)s;
	host_is("api.stripe.com", "api.stripe.com", 0);
	host_is("*.example.com:8443", "*.example.com", 8443);
	host_is("10.0.0.1:80", "10.0.0.1", 80);
	host_is("[2001:db8::1]:443", "2001:db8::1", 443);
	host_is("[::1]", "::1", 0);
	host_is("2001:db8::1", "2001:db8::1", 0);
	host_not("", "empty");
	host_not(":443", "empty");
	host_not("[]:443", "empty");
	host_not("https://api.stripe.com/v1/x", "type: api.stripe.com (and --path");
	host_not("https://api.stripe.com/", "type: api.stripe.com");
	host_not("https://api.stripe.com:8443", "type: api.stripe.com:8443");
	host_not("api.stripe.com/v1", "type: api.stripe.com");
	host_not("https://user:pw@host/", "not addresses with a user");
	host_not("https://", "give the host alone");
	host_not("user@host", "user");
	host_not("a:b", "not a port");
	host_not("a:0", "not a port");
	host_not("a:65536", "not a port");
	host_not("a:", "not a port");
	host_not("a:+1", "not a port");
	host_not("a: 1", "not a port");
	host_not("[::1", "brackets");
	host_not("[::1]x", "brackets");
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	host_not(longest, "longer than 253");
}

static void test_since(void **s)
{
	static const char *const wrong[] = {"", "1", "h", "1w", "-1h", "1h ", "2026-13-01", "yesterday", "9999999s",
					    "2026-11-23T07", "2026-11-23 07:00"};
	const uint64_t now = 1000000u * 1000000000ull;
	uint64_t at = 0;
	struct err e;

	(void)s;
	assert_int_equal(typed_since("90s", now, &at, &e), 0);
	assert_true(at == now - 90000000000ull);
	assert_int_equal(typed_since("2h", now, &at, &e), 0);
	assert_true(at == now - 7200000000000ull);
	assert_int_equal(typed_since("900d", now, &at, &e), 0);
	assert_true(at == 0);
	assert_int_equal(typed_since("2026-11-23T07:00", now, &at, &e), 0);
	assert_true(at == 1795417200ull * 1000000000ull);
	assert_int_equal(typed_since("2026-11-23T07:00:00Z", now, &at, &e), 0);
	assert_true(at == 1795417200ull * 1000000000ull);
	assert_int_equal(typed_since("2026-11-23", now, &at, &e), 0);
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (!typed_since(wrong[i], now, &at, &e))
			fail_msg("\"%s\" was taken for a time", wrong[i]);
}

static void test_numbers(void **s)
{
	static const char *const wrong[] = {"", "x", "1x", "0", "-1", "1.5", "99999999999999999999"};
	long n = 7;

	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		if (typed_number(wrong[i], 1, &n) != -EINVAL || n != 7)
			fail_msg("\"%s\" was taken for a number", wrong[i]);
	assert_int_equal(typed_number("0", 0, &n), 0);
	assert_int_equal(n, 0);
	assert_int_equal(typed_number("86400", 1, &n), 0);
	assert_int_equal(n, 86400);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_hosts), cmocka_unit_test(test_since),
					   cmocka_unit_test(test_numbers)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
