/* What is said to a corporate proxy, and what its answers mean. */
#include "hop.h"

#include "flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t four[16] = {[10] = 0xff, 0xff, 203, 0, 113, 9}, six[16] = {0x20, 1, 0xd, 0xb8, 0, 1, [15] = 9};

static int asks(const uint8_t to[16], const char *user, const char *password, char out[HOP_REQUEST_MAX])
{
	struct wr w = wr_of(out, HOP_REQUEST_MAX - 1);
	size_t len = strlen(password);
	int rc = hop_request(to, 443, user, flush_copy(0, password, len), len, &w);

	out[w.len] = '\0';
	return rc;
}

static void requests(void **state)
{
	char out[HOP_REQUEST_MAX];

	(void)state;
	assert_int_equal(asks(four, "", "not sent", out), 0);
	assert_string_equal(out, "CONNECT 203.0.113.9:443 HTTP/1.1\r\nHost: 203.0.113.9:443\r\n\r\n");
	assert_int_equal(asks(six, "", "", out), 0);
	assert_string_equal(out, "CONNECT [2001:db8:1::9]:443 HTTP/1.1\r\nHost: [2001:db8:1::9]:443\r\n\r\n");
	assert_int_equal(asks(four, "Aladdin", "open sesame", out), 0); /* RFC 7617, 2 */
	assert_string_equal(out, "CONNECT 203.0.113.9:443 HTTP/1.1\r\nHost: 203.0.113.9:443\r\n"
				 "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n");
	assert_int_equal(asks(four, "test", "123\xc2\xa3", out), 0); /* 2.1 */
	assert_non_null(strstr(out, "Basic dGVzdDoxMjPCow==\r\n"));
	assert_int_equal(asks(four, "u", "", out), 0);
	assert_non_null(strstr(out, "Basic dTo=\r\n"));
}

static void passwords_that_are_none(void **state)
{
	char out[HOP_REQUEST_MAX], user[129], password[HOP_PASSWORD_MAX + 2];
	struct wr w;
	size_t n;

	(void)state;
	assert_int_equal(asks(four, "u", "a\r\nX: y", out), -EINVAL);
	assert_null(strstr(out, "X:"));
	assert_int_equal(asks(four, "u", "a\x7f", out), -EINVAL);
	memset(password, 'p', sizeof(password));
	password[HOP_PASSWORD_MAX + 1] = '\0';
	assert_int_equal(asks(four, "u", password, out), -EINVAL);
	password[HOP_PASSWORD_MAX] = '\0';
	assert_int_equal(asks(four, "u", password, out), 0);
	memset(user, 'u', sizeof(user));
	user[128] = '\0';
	assert_int_equal(asks(four, user, "p", out), -EINVAL);
	user[127] = '\0';
	assert_int_equal(asks(six, user, password, out), 0); /* the longest there is fits */
	for (n = 0; n < 90; n++) { /* whatever room there is */
		w = wr_of(flush_copy(0, password, n), n);
		assert_int_equal(hop_request(four, 443, "u", (const uint8_t *)"p", 1, &w), -ENOBUFS);
	}
}

static void answers(void **state)
{
	static const struct {
		const char *head;
		enum hop_says says;
	} all[] = {
		{"HTTP/1.1 200 Connection established\r\n\r\n", HOP_THROUGH},
		{"HTTP/1.0 200\r\n\r\n", HOP_THROUGH},
		{"HTTP/1.1 204 \r\n\r\n", HOP_THROUGH},
		{"HTTP/1.1 502 Bad Gateway\r\n\r\n", HOP_NEXT},
		{"HTTP/1.1 407 Who\r\nProxy-Authenticate: Basic\r\n\r\n", HOP_CREDENTIALS},
		{"HTTP/1.1 403 No\r\n\r\n", HOP_REFUSED},
		{"HTTP/1.1 302 Elsewhere\r\nLocation: http://x/\r\n\r\n", HOP_REFUSED},
		{"HTTP/1.1 4070 Who\r\n\r\n", HOP_NONSENSE},
		{"HTTP/1.1 2000 OK\r\n\r\n", HOP_NONSENSE},
		{"HTTP/1.1 20 OK\r\n\r\n", HOP_NONSENSE},
		{"HTTP/1.1 2\r\n\r\n", HOP_NONSENSE},
		{"HTTP/1.1 100 Continue\r\n\r\n", HOP_NONSENSE},
		{"HTTP/1.1 600 No\r\n\r\n", HOP_NONSENSE},
		{"HTTP/1.2 200 OK\r\n\r\n", HOP_NONSENSE},
		{"HTTP/1.1200 OK\r\n\r\n", HOP_NONSENSE},
		{"http/1.1 200 OK\r\n\r\n", HOP_NONSENSE},
		{"\r\n\r\n", HOP_NONSENSE},
		{"", HOP_NONSENSE},
	};
	size_t i, n;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(all); i++) {
		assert_int_equal(hop_says(flush_copy(0, all[i].head, strlen(all[i].head) + 1)), all[i].says);
		for (n = 0; n < strlen(all[i].head) && n < 13; n++) { /* cut before its status ends: no way through */
			char cut[16] = {0};

			memcpy(cut, all[i].head, n);
			assert_int_equal(hop_says(flush_copy(0, cut, n + 1)), HOP_NONSENSE);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),
		cmocka_unit_test(passwords_that_are_none),
		cmocka_unit_test(answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
