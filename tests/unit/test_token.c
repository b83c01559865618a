/* Token requests as they go out, answers of authorization servers as they come in, and HMAC messages. */
#include "flush.h"
#include "hmac.h"
#include "httpdate.h"
#include "tokenclock.h"
#include "tokenreq.h"
#include "tokenresp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char *request(enum kind k, const char *params, const char *text)
{
	static char out[TOKENREQ_MAX + 1];
	struct secret *s = NULL, *r = NULL;
	struct parts p = {0};
	struct err e = {0};

	assert_int_equal(secret_of(text, strlen(text), &s, &e), 0);
	assert_int_equal(parts_open(k, s, &p, &e), 0);
	assert_int_equal(tokenreq_make(k, params, &p, 1700000000, &r, &e), 0);
	memcpy(out, secret_view(r), secret_len(r));
	out[secret_len(r)] = 0;
	secret_free(s);
	secret_free(r);
	parts_done(&p);
	return out;
}

static void requests(void **state)
{
	static const char url[] = "scope\0a b\0token_url\0https://login.example.com:8443/t\0";
	static const char body[] = "auth\0body\0token_url\0https://login.example.com/\0";
	static const char client[] = "{\"client_id\":\"a:b\",\"client_secret\":\"c d&\"}";
	const char *r;
	(void)state;

	r = request(KIND_OAUTH2_CLIENT, url, client);
	assert_non_null(strstr(r, "POST /t HTTP/1.1\r\nHost: login.example.com:8443\r\n"));
	assert_non_null(strstr(r, "\r\nAuthorization: Basic YSUzQWI6YyUyMGQlMjY=\r\n"));
	assert_non_null(strstr(r, "\r\nContent-Length: 41\r\n\r\ngrant_type=client_credentials&scope=a%20b"));
	r = request(KIND_OAUTH2_CLIENT, body, client);
	assert_null(strstr(r, "Authorization"));
	assert_non_null(strstr(r, "grant_type=client_credentials&client_id=a%3Ab&client_secret=c%20d%26"));
	r = request(KIND_OAUTH2_REFRESH, url, "{\"client_id\":\"a\",\"refresh_token\":\"r/\"}");
	assert_non_null(strstr(r, "grant_type=refresh_token&refresh_token=r%2F&client_id=a&scope=a%20b"));
}

static int parsed(enum kind k, int status, const char *body, struct tokenresp *t)
{
	const char *code;
	size_t len = strlen(body);
	char *exact = malloc(len ? len : 1);
	int rc;

	memcpy(exact, body, len);
	rc = tokenresp_parse(k, status, exact, len, 1700000000, t, &code);
	free(exact);
	if (rc < 0)
		assert_null(t->token);
	return rc;
}

static void answers(void **state)
{
	struct tokenresp t = {0};
	(void)state;

	assert_int_equal(parsed(KIND_OAUTH2_CLIENT, 200, "{\"access_token\":\"x\",\"token_type\":\"BEARER\",\"expires_in\":60}", &t), 0);
	assert_int_equal(t.life_s, 60);
	tokenresp_done(&t);
	assert_int_equal(parsed(KIND_OAUTH2_CLIENT, 200, "{\"access_token\":\"x\",\"expires_in\":\"90\",\"refresh_token\":\"r\"}", &t), 0);
	assert_int_equal(t.life_s, 90);
	assert_null(t.refresh); /* not asked for */
	tokenresp_done(&t);
	assert_int_equal(parsed(KIND_OAUTH2_REFRESH, 200, "{\"access_token\":\"x\",\"refresh_token\":\"r2\",\"expires_in\":-5}", &t), 0);
	assert_int_equal(t.life_s, 1);
	assert_memory_equal(secret_view(t.refresh), "r2", 2);
	tokenresp_done(&t);
	assert_int_equal(parsed(KIND_OAUTH2_CLIENT, 200, "{\"access_token\":\"x\",\"expires_in\":1e300}", &t), 0);
	assert_int_equal(t.life_s, TOKENRESP_LIFE_MAX_S);
	tokenresp_done(&t);
	assert_int_equal(parsed(KIND_GITHUB_APP, 201, "{\"token\":\"ghs_x\",\"expires_at\":\"2023-11-14T23:13:20Z\"}", &t), 0);
	assert_int_equal(t.life_s, 3600);
	tokenresp_done(&t);
	assert_int_equal(parsed(KIND_GITHUB_APP, 201, "{\"token\":\"ghs_x\",\"expires_at\":\"soon\"}", &t), 0);
	assert_int_equal(t.life_s, TOKENRESP_LIFE_S);
	tokenresp_done(&t);
	/* By another clock it has expired already, or lives for longer than they do. */
	assert_int_equal(parsed(KIND_GITHUB_APP, 201, "{\"token\":\"ghs_x\",\"expires_at\":\"2023-11-14T22:13:20Z\"}", &t), 0);
	assert_int_equal(t.life_s, TOKENRESP_LIFE_S);
	tokenresp_done(&t);
	assert_int_equal(parsed(KIND_GITHUB_APP, 201, "{\"token\":\"ghs_x\",\"expires_at\":\"2023-11-14T23:13:21Z\"}", &t), 0);
	assert_int_equal(t.life_s, TOKENRESP_GITHUB_S);
	tokenresp_done(&t);
}

static void no_answers(void **state)
{
	static const char *const bad[] = {
		"", "null", "[]", "{", "{}", "{\"access_token\":7}", "{\"access_token\":null}", "{\"access_token\":\"\"}",
		"{\"access_token\":\"a b\"}", "{\"access_token\":\"a\\r\\nb\"}", "{\"access_token\":\"a\\u0000b\"}",
		"{\"access_token\":\"x\",\"token_type\":\"mac\"}", "{\"access_token\":\"x\",\"access_token\":\"y\"}",
		"{\"token\":\"x\"}", "[[[[[[[[[[]]]]]]]]]]",
	};
	struct tokenresp t = {0};
	const char *code;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (parsed(KIND_OAUTH2_CLIENT, 200, bad[i], &t) != -EBADMSG)
			fail_msg("%s", bad[i]);
	assert_int_equal(parsed(KIND_OAUTH2_CLIENT, 500, "{\"access_token\":\"x\"}", &t), -EBADMSG);
	assert_int_equal(parsed(KIND_OAUTH2_CLIENT, 302, "{\"access_token\":\"x\"}", &t), -EBADMSG);
	assert_int_equal(parsed(KIND_OAUTH2_CLIENT, 429, "", &t), -EBADMSG);
	assert_int_equal(parsed(KIND_OAUTH2_CLIENT, 400, "not JSON", &t), -EKEYREJECTED);
	assert_int_equal(tokenresp_parse(KIND_OAUTH2_CLIENT, 400, "{\"error\":\"invalid_grant\"}", 25, 0, &t, &code), -EKEYREJECTED);
	assert_string_equal(code, "invalid_grant");
	assert_int_equal(tokenresp_parse(KIND_OAUTH2_CLIENT, 400, "{\"error\":\"my_secret_x\"}", 23, 0, &t, &code), -EKEYREJECTED);
	assert_string_equal(code, ""); /* nothing that we do not know is shown */
}

/* A server's time goes on with the boot clock, whatever the wall clock does; used when it is neither near ours nor far. */
static void server_clocks(void **state)
{
	static const int64_t off[] = {0, 30, -30, 86401, -86401, TOKENCLOCK_MAX - 1000000};
	struct tokenclock c = {0};
	(void)state;

	assert_int_equal(tokenclock_now(&c, 1000000, 77), 1000000);
	assert_false(tokenclock_corrects(&c, 1000000, 1000000, 77));
	for (size_t i = 0; i < ARRAY_SIZE(off); i++) {
		tokenclock_heard(&c, 1000000 + off[i], 5000);
		assert_int_equal(tokenclock_now(&c, 1000000, 5000), 1000000);
		assert_false(tokenclock_corrects(&c, 1000000, 1000000, 5000));
	}
	for (int64_t by = -3600; by <= 3600; by += 7200) {
		tokenclock_heard(&c, 1000000 + by, 5000);
		assert_true(tokenclock_corrects(&c, 1000000, 1000000, 5000));
		assert_false(tokenclock_corrects(&c, 1000000 + by, 1000000, 5000));
		assert_int_equal(tokenclock_now(&c, 1000000, 5000), 1000000 + by);
		assert_int_equal(tokenclock_now(&c, 1000000, 65999), 1000060 + by);
		assert_int_equal(tokenclock_now(&c, 1000000 + 2 * by, 65999), 1000060 + by); /* ours was set */
		tokenclock_heard(&c, 0, 70000); /* an answer without one */
		assert_int_equal(tokenclock_now(&c, 1000000, 65999), 1000060 + by);
	}
	tokenclock_heard(&c, 1000031, 5000);
	assert_int_equal(tokenclock_now(&c, 1000000, 5000), 1000031);
	tokenclock_heard(&c, 1086400, 5000);
	assert_int_equal(tokenclock_now(&c, 1000000, 5000), 1086400);
}

static void lives(void **state)
{
	struct tokenlife l;
	(void)state;

	l = tokenlife_of(1000, 3600);
	assert_int_equal(l.refresh_ms, 1000 + 3420000);
	assert_int_equal(l.end_ms, 1000 + 3570000);
	l = tokenlife_of(1000, 10);
	assert_int_equal(l.refresh_ms, 1000 + 7500);
	assert_int_equal(l.end_ms, 1000 + 9000);
}

static int64_t date(const char *text)
{
	size_t len = strlen(text);

	return httpdate_seconds((struct http1_slice){flush_copy(0, text, len), len});
}

static void dates(void **state)
{
	static const char good[] = "Sun, 06 Nov 1994 08:49:37 GMT";
	static const char *const bad[] = {
		"", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 UTC",
		"Sun, 06 Now 1994 08:49:37 GMT", "Sun, 06 nov 1994 08:49:37 GMT", "Sun, 32 Nov 1994 08:49:37 GMT",
		"Sun, 06 Nov 1994 24:49:37 GMT", "Sun, 06 Nov 1994 08:60:37 GMT", "Sun,  6 Nov 1994 08:49:37 GMT",
		"Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1969 08:49:37 GMT", "Sun, 06 ovD 1994 08:49:37 GMT",
		"Thu, 01 Jan 1970 00:00:00 GMT", "Sun, 06 Nov 1994 08:49:37 GMT ",
	};
	char text[sizeof(good)];
	(void)state;

	assert_int_equal(date(good), 784111777);
	assert_int_equal(date("Thu, 29 Feb 2024 23:59:59 GMT"), 1709251199);
	assert_int_equal(date("Fri, 31 Dec 9999 23:59:59 GMT"), 253402300799);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (date(bad[i]) != 0)
			fail_msg("%s", bad[i]);
	for (size_t len = 0; len < sizeof(good) - 1; len++) {
		memcpy(text, good, len);
		text[len] = '\0';
		assert_int_equal(date(text), 0);
	}
	for (size_t i = 0; i < 8 * (sizeof(good) - 1); i++) { /* any bit */
		memcpy(text, good, sizeof(good));
		text[i / 8] ^= (char)(1 << i % 8);
		assert_true(date(text) >= 0);
	}
}

static int64_t date_in(const char *fields)
{
	static struct http1_head h;
	struct http1_scan scan = {0};
	char text[256];
	int n = snprintf(text, sizeof(text), "HTTP/1.1 401 No\r\n%s\r\n", fields);

	assert_int_equal(http1_response(&scan, text, (size_t)n, &h), HTTP1_DONE);
	return httpdate_of(&h);
}

static void dates_of_heads(void **state)
{
	(void)state;
	assert_int_equal(date_in("dATE: Sun, 06 Nov 1994 08:49:37 GMT \r\nAge: 7\r\n"), 784111777);
	assert_int_equal(date_in("Server: x\r\nX-Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), 0);
	assert_int_equal(date_in("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), 0);
}

static const char *signed_with(const char *params, const char *key, const char *message)
{
	static char out[512];
	size_t n = 0;

	assert_int_equal(hmac_value(params, (const uint8_t *)key, strlen(key), (const uint8_t *)message, strlen(message),
				    1700000000123, out, sizeof(out) - 1, &n), 0);
	out[n] = 0;
	return out;
}

/* RFC 4231, 4.3 and RFC 2202, case 2. */
static void hmac_vectors(void **state)
{
	static const char text[] = "what do ya want for nothing?";
	(void)state;

	assert_string_equal(signed_with("message\0{body}\0", "Jefe", text),
			    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	assert_string_equal(signed_with("algorithm\0sha1\0", "Jefe", text), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
	assert_string_equal(signed_with("encoding\0base64\0", "Jefe", text), "W9zBRr9gdU5qBCQmCJV1x1oAPwidJzmDnexYuWTsOEM=");
	assert_string_equal(signed_with("key_encoding\0hex\0value\0t={timestamp},v1={signature}\0", "4a656665", text),
			    "t=1700000000,v1=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	assert_memory_equal(signed_with("algorithm\0sha512\0key_encoding\0base64\0", "SmVmZQ==", text),
			    "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554", 64);
}

static void hmac_messages(void **state)
{
	static const char head_text[] = "POST /a/b?x=1&s=agentsecrets://KEY&y=2 HTTP/1.1\r\nHost: h.example.com\r\nX-Time: 17\r\n\r\n";
	static const char all[] = "message\0{method}{lf}{target}|{path}|{query}|{host}|{header:x-time}|{timestamp}|{timestamp_ms}|{body}\0";
	struct http1_scan scan = {0};
	static struct http1_head h;
	struct http1_meaning m;
	char query[128], out[512];
	struct wr q = wr_of(query, sizeof(query)), w = wr_of(out, sizeof(out) - 1);
	struct hmac_request r = {.head = &h, .meaning = &m, .host = "h.example.com", .body = {"B", 1}, .at_ms = 17000};
	(void)state;

	assert_int_equal(http1_request(&scan, head_text, strlen(head_text), &h), HTTP1_DONE);
	assert_int_equal(http1_request_meaning(&h, &m), 0);
	hmac_query(m.query, "KEY", &q);
	r.query = (struct http1_slice){query, q.len};
	assert_int_equal(hmac_message(all, &r, &w), 0);
	out[w.len] = 0;
	assert_string_equal(out, "POST\n/a/b?x=1&y=2|/a/b|x=1&y=2|h.example.com|17|17|17000|B");
	w = wr_of(out, sizeof(out));
	assert_int_equal(hmac_message("message\0{header:x-gone}\0", &r, &w), -ENOENT);
	w = wr_of(out, 4);
	assert_int_equal(hmac_message("message\0{method}{method}\0", &r, &w), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests),	cmocka_unit_test(answers),	 cmocka_unit_test(no_answers),
		cmocka_unit_test(hmac_vectors), cmocka_unit_test(hmac_messages), cmocka_unit_test(server_clocks),
		cmocka_unit_test(lives),	cmocka_unit_test(dates),	 cmocka_unit_test(dates_of_heads),
	};

	parts_start();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
