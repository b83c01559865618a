/* The X-AS-* fields, the request that they stand for, and every way of getting them wrong. */
#include "xas.h"

#include "flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static struct http1_head h;
static struct xas x;
static char made[HTTP1_HEAD_MAX];

static const char *read_text(const char *text)
{
	struct http1_scan s = {0};
	size_t len = strlen(text);

	assert_int_equal(http1_request(&s, flush_copy(0, text, len), len, &h), HTTP1_DONE);
	return xas_read(&h, &x);
}

#define URL "X-AS-Target-URL: https://a.example/p?b=1&a=2\r\n"
#define ASK(fields) "POST /proxy HTTP/1.1\r\nHost: localhost\r\n" fields "\r\n"

static void becomes(const char *text, const char *want)
{
	struct wr w = wr_of(made, sizeof(made));
	const char *why = read_text(text);

	if (!why)
		why = xas_write(&h, &x, &w);
	if (why || w.full || w.len != strlen(want) || memcmp(made, want, w.len) != 0)
		fail_msg("%s\nbecame (%s)\n%.*s\nnot\n%s", text, why ? why : "", (int)w.len, made, want);
}

static void refused(const char *text, const char *says)
{
	struct wr w = wr_of(made, sizeof(made));
	const char *why = read_text(text);

	if (!why)
		why = xas_write(&h, &x, &w);
	if (!why || strncmp(why, says, strlen(says)) != 0)
		fail_msg("%s: %s, not %s", text, why ? why : "taken", says);
}

static void test_head(void **state)
{
	(void)state;
	becomes(ASK(URL "X-AS-Inject-Bearer: KEY\r\n"),
		"POST /p?b=1&a=2 HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer agentsecrets://KEY\r\n\r\n");
	/* Order, case and doubles of the rest stay; whatever else is X-AS-* goes. */
	becomes(ASK("zZ: 1\r\nx-as-target-url: https://a.example:8443\r\nA: 2\r\nX-AS-Foo: 3\r\nzz: 4\r\nx-AS-inject-BASIC: agentsecrets://KEY\r\n"
		    "X-AS-Agent-ID: me\r\nX-AS-Method: PATCH\r\nConnection: close\r\n"),
		"PATCH / HTTP/1.1\r\nHost: a.example:8443\r\nzZ: 1\r\nA: 2\r\nzz: 4\r\nConnection: close\r\n"
		"Authorization: Basic YWdlbnRzZWNyZXRzOi8vS0VZ\r\n\r\n");
	assert_true(http1_eq(x.agent, "me"));
	becomes(ASK("X-AS-Target-URL: https://[2001:db8::1]/\r\nX-AS-Inject-Header-X-Api-KEY: KEY\r\nX-AS-Inject-Header-Cookie: K2\r\n"),
		"POST / HTTP/1.1\r\nHost: [2001:db8::1]\r\nX-Api-KEY: agentsecrets://KEY\r\nCookie: agentsecrets://K2\r\n\r\n");
	becomes(ASK(URL "X-AS-Inject-Query-Api-Key: KEY\r\nX-AS-Inject-Query-%61: K2\r\nX-AS-Inject-Query-sp%20ace: K3\r\n"),
		"POST /p?b=1&a=agentsecrets://K2&Api-Key=agentsecrets://KEY&sp%20ace=agentsecrets://K3 HTTP/1.1\r\nHost: a.example\r\n\r\n");
	becomes(ASK("X-AS-Target-URL: https://a.example\r\nX-AS-Inject-Query-k: KEY\r\n"),
		"POST /?k=agentsecrets://KEY HTTP/1.1\r\nHost: a.example\r\n\r\n");
	becomes(ASK("X-AS-Target-URL: https://a.example/?\r\nX-AS-Inject-Bearer: KEY\r\n"),
		"POST /? HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer agentsecrets://KEY\r\n\r\n");
	becomes(ASK(URL "X-AS-Inject-Body-a-b: KEY\r\nContent-Length: 0\r\n"),
		"POST /p?b=1&a=2 HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\nContent-Type: application/json\r\n\r\n");
	becomes(ASK(URL "X-AS-Inject-Form-a-b: KEY\r\ncontent-type: application/x-www-form-urlencoded; charset=utf-8\r\n"),
		"POST /p?b=1&a=2 HTTP/1.1\r\nHost: a.example\r\ncontent-type: application/x-www-form-urlencoded; charset=utf-8\r\n\r\n");
}

static void test_refused(void **state)
{
	(void)state;
	refused(ASK("X-AS-Inject-Bearer: KEY\r\n"), "X-AS-Target-URL header is required");
	refused(ASK("X-AS-Target-URL:\r\nX-AS-Inject-Bearer: KEY\r\n"), "X-AS-Target-URL header is required");
	refused(ASK(URL), "At least one X-AS-Inject-* header is required");
	refused(ASK(URL URL "X-AS-Inject-Bearer: KEY\r\n"), "X-AS-Target-URL stands there twice");
	refused(ASK("X-AS-Target-URL: a.example/p\r\nX-AS-Inject-Bearer: KEY\r\n"), "X-AS-Target-URL must be");
	refused(ASK("X-AS-Target-URL: https://u:p@a.example/p\r\nX-AS-Inject-Bearer: KEY\r\n"), "X-AS-Target-URL must be");
	refused(ASK("X-AS-Target-URL: https://a.example/p#f\r\nX-AS-Inject-Bearer: KEY\r\n"), "X-AS-Target-URL must be");
	refused(ASK("X-AS-Target-URL: ftp://a.example/p\r\nX-AS-Inject-Bearer: KEY\r\n"), "X-AS-Target-URL must be");
	refused(ASK(URL "X-AS-Method: CONNECT\r\nX-AS-Inject-Bearer: KEY\r\n"), "X-AS-Method is not");
	refused(ASK(URL "X-AS-Method: GET /\r\nX-AS-Inject-Bearer: KEY\r\n"), "X-AS-Method is not");
	refused(ASK(URL "X-AS-Method: HEAD\r\nX-AS-Inject-Bearer: KEY\r\n"), "X-AS-Method cannot");
	refused(ASK(URL "X-AS-Method: GET\r\nX-AS-Method: PUT\r\nX-AS-Inject-Bearer: KEY\r\n"), "X-AS-Method stands");
	/* No names of secrets. */
	refused(ASK(URL "X-AS-Inject-Bearer:\r\n"), "An X-AS-Inject-* header must name");
	refused(ASK(URL "X-AS-Inject-Bearer: key\r\n"), "An X-AS-Inject-* header must name");
	refused(ASK(URL "X-AS-Inject-Bearer: agentsecrets://\r\n"), "An X-AS-Inject-* header must name");
	refused(ASK(URL "X-AS-Inject-Bearer: agentsecrets://KEY/\r\n"), "An X-AS-Inject-* header must name");
	refused(ASK(URL "X-AS-Inject-Bearer: KEY KEY\r\n"), "An X-AS-Inject-* header must name");
	refused(ASK(URL "X-AS-Inject-Nothing: KEY\r\n"), "An X-AS-Inject-* header is not one of");
	refused(ASK(URL "X-AS-Inject-Header-: KEY\r\n"), "An X-AS-Inject-* header is not one of");
	/* Who, where and how much. */
	refused(ASK(URL "X-AS-Inject-Header-Host: KEY\r\n"), "X-AS-Inject-Header- cannot");
	refused(ASK(URL "X-AS-Inject-Header-content-length: KEY\r\n"), "X-AS-Inject-Header- cannot");
	refused(ASK(URL "X-AS-Inject-Header-Transfer-Encoding: KEY\r\n"), "X-AS-Inject-Header- cannot");
	refused(ASK(URL "X-AS-Inject-Header-Proxy-Authorization: KEY\r\n"), "X-AS-Inject-Header- cannot");
	refused(ASK(URL "X-AS-Inject-Header-Connection: KEY\r\n"), "X-AS-Inject-Header- cannot");
	refused(ASK(URL "X-AS-Inject-Header-X-AS-Method: KEY\r\n"), "X-AS-Inject-Header- cannot");
	/* Conflicts. */
	refused(ASK(URL "X-AS-Inject-Bearer: KEY\r\nX-AS-Inject-Bearer: K2\r\n"), "Two X-AS-Inject-* headers");
	refused(ASK(URL "X-AS-Inject-Bearer: KEY\r\nX-AS-Inject-Basic: K2\r\n"), "Two X-AS-Inject-* headers");
	refused(ASK(URL "X-AS-Inject-Bearer: KEY\r\nX-AS-Inject-Header-authorization: K2\r\n"), "Two X-AS-Inject-* headers");
	refused(ASK(URL "X-AS-Inject-Header-x-K: KEY\r\nX-AS-Inject-Header-X-k: K2\r\n"), "Two X-AS-Inject-* headers");
	refused(ASK(URL "X-AS-Inject-Query-a: KEY\r\nX-AS-Inject-Query-%61: K2\r\n"), "Two X-AS-Inject-* headers");
	refused(ASK(URL "X-AS-Inject-Body-a-b: KEY\r\nX-AS-Inject-Body-a.b: K2\r\n"), "Two X-AS-Inject-* headers");
	refused(ASK(URL "X-AS-Inject-Body-a-b: KEY\r\nX-AS-Inject-Body-a: K2\r\n"), "Two X-AS-Inject-* headers");
	refused(ASK(URL "X-AS-Inject-Body-a: KEY\r\nX-AS-Inject-Form-a: K2\r\n"), "X-AS-Inject-Body- and X-AS-Inject-Form-");
	refused(ASK(URL "Authorization: mine\r\nX-AS-Inject-Bearer: KEY\r\n"), "The request has a header itself");
	refused(ASK(URL "cookie: mine\r\nX-AS-Inject-Header-Cookie: KEY\r\n"), "The request has a header itself");
	refused(ASK("X-AS-Target-URL: https://a.example/?a=1&%61=2\r\nX-AS-Inject-Query-a: KEY\r\n"), "A parameter that");
	refused(ASK(URL "X-AS-Inject-Query-%zz: KEY\r\n"), "The name in an X-AS-Inject-Query-");
	/* Bodies. */
	refused(ASK(URL "X-AS-Inject-Body-a: KEY\r\nContent-Type: text/plain\r\n"), "X-AS-Inject-Body- needs");
	refused(ASK(URL "X-AS-Inject-Form-a: KEY\r\nContent-Type: application/json\r\n"), "X-AS-Inject-Form- needs");
	refused(ASK(URL "X-AS-Inject-Body-a: KEY\r\nContent-Encoding: gzip\r\n"), "A body with a Content-Encoding");
}

static const char *body_of(const char *fields, const char *body, struct http1_slice *ret)
{
	static char one[4096], other[4096];
	struct wr w = wr_of(one, sizeof(one)), spare = wr_of(other, sizeof(other));

	assert_null(read_text(fields));
	return xas_body(&x, (struct http1_slice){body, strlen(body)}, &w, &spare, ret);
}

static void test_body(void **state)
{
	static const char many[] = ASK(URL "X-AS-Inject-Body-auth-user: KEY\r\nX-AS-Inject-Body-auth-pass: K2\r\nX-AS-Inject-Body-a%2Db.c%2Ed: K3\r\n");
	static const char form[] = ASK(URL "X-AS-Inject-Form-a-b: KEY\r\nX-AS-Inject-Form-x: K2\r\n");
	struct http1_slice s;

	(void)state;
	assert_null(body_of(many, "{\"n\":9007199254740993}", &s));
	assert_true(http1_eq(s, "{\"n\":9007199254740993,\"auth\":{\"user\":\"agentsecrets://KEY\",\"pass\":\"agentsecrets://K2\"},"
				"\"a-b\":{\"c.d\":\"agentsecrets://K3\"}}"));
	assert_null(body_of(form, "z=1&x=old&y=2", &s));
	assert_true(http1_eq(s, "z=1&x=agentsecrets://K2&y=2&a-b=agentsecrets://KEY"));
	assert_non_null(body_of(many, "[]", &s));
	assert_non_null(body_of(many, "{\"auth\":1}", &s));
	assert_non_null(body_of(many, "{\"auth\":{},\"auth\":{}}", &s));
	assert_non_null(body_of(many, "{", &s));
	assert_non_null(body_of(form, "x=1&x=2", &s));
	assert_non_null(body_of(ASK(URL "X-AS-Inject-Body-a--b: KEY\r\n"), "{}", &s));
	assert_non_null(body_of(ASK(URL "X-AS-Inject-Body--a: KEY\r\n"), "{}", &s));
	assert_non_null(body_of(ASK(URL "X-AS-Inject-Body-a%2: KEY\r\n"), "{}", &s));
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_head), cmocka_unit_test(test_refused), cmocka_unit_test(test_body)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
