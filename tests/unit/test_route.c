/* The verdict for a connection and for a request: everything named must agree, then the list decides. */
#include "route.h"

#include "origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static char get_only[][32] = {"GET", "HEAD"};
static char paths_v1[][512] = {"/v1/**"};
static struct rules_rule rule_list[] = { /* sorted by host and port */
	{.host = "*.wild.example", .port = 443, .mode = RULES_INSPECT},
	{.host = "10.1.2.3", .port = 443, .mode = RULES_INSPECT, .private = true},
	{.host = "10.1.2.3", .port = 8080, .mode = RULES_INSPECT, .private = true},
	{.host = "2001:db8::1", .port = 443, .mode = RULES_INSPECT, .private = true},
	{.host = "api.example", .port = 80, .mode = RULES_INSPECT},
	{.host = "api.example", .port = 443, .mode = RULES_INSPECT},
	{.host = "api.example", .port = 8443, .mode = RULES_INSPECT},
	{.host = "get.example", .port = 443, .mode = RULES_INSPECT, .method_count = 2, .methods = get_only},
	{.host = "path.example", .port = 443, .mode = RULES_INSPECT, .path_count = 1, .paths = paths_v1},
	{.host = "raw.example", .port = 5432, .mode = RULES_TCP},
	{.host = "tls.example", .port = 443, .mode = RULES_INSPECT},
	{.host = "tun.example", .port = 80, .mode = RULES_TUNNEL},
	{.host = "tun.example", .port = 443, .mode = RULES_TUNNEL},
	{.host = "up.example", .port = 8443, .mode = RULES_INSPECT, .upgrade = true, .method_count = 2, .methods = get_only},
};
static const struct rules list = {.workspace = "w", .rule_count = ARRAY_SIZE(rule_list), .rules = rule_list};
static const struct rules empty = {.workspace = "w"};

static const uint8_t public[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 9};
static const uint8_t private[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3};

static struct http1_head head;
static struct http1_meaning meaning;
static char text[16384];

/* "METHOD target" and the value of Host (NULL: an HTTP/1.0 request without). */
static void parse(const char *line, const char *host)
{
	struct http1_scan s = {0};

	if (host)
		snprintf(text, sizeof(text), "%s HTTP/1.1\r\nHost: %s\r\n\r\n", line, host);
	else
		snprintf(text, sizeof(text), "%s HTTP/1.0\r\n\r\n", line);
	assert_int_equal(http1_request(&s, text, strlen(text), &head), HTTP1_DONE);
	assert_int_equal(http1_request_meaning(&head, &meaning), 0);
}

static struct route_ask transparent(bool tls, uint16_t port, const char *sni)
{
	return (struct route_ask){.via = ROUTE_TRANSPARENT, .addr = public, .port = port, .tls = tls, .sni = sni,
				  .rules = &list, .head = &head, .meaning = &meaning};
}

static struct route_ask tunnel(const char *target, uint16_t port, const char *sni)
{
	return (struct route_ask){.via = ROUTE_CONNECT, .target = target, .target_port = port, .tls = true, .sni = sni,
				  .rules = &list, .head = &head, .meaning = &meaning};
}

static struct route_ask absolute(void)
{
	return (struct route_ask){.via = ROUTE_ABSOLUTE, .rules = &list, .head = &head, .meaning = &meaning};
}

static struct route got;

static void is(enum reason want)
{
	if (got.reason != want || !got.rule != (want != REASON_NONE))
		fail_msg("got reason %d%s, wanted %d", got.reason, got.rule ? " and a rule" : "", want);
}

static void request(struct route_ask a, const char *line, const char *host, enum reason want)
{
	parse(line, host);
	route_request(&a, &got);
	if (got.reason != want)
		fail_msg("%s (Host %s): got reason %d, wanted %d", line, host ? host : "-", got.reason, want);
	is(want);
}

static void opened(struct route_ask a, enum reason want)
{
	route_open(&a, &got);
	is(want);
}

static void test_open(void **state)
{
	struct route_ask a;

	(void)state;
	opened(transparent(true, 443, "tls.example"), REASON_NONE);
	assert_string_equal(got.host, "tls.example");
	assert_int_equal(got.port, 443);
	assert_int_equal(got.scheme, HTTP1_SCHEME_HTTPS);
	opened(transparent(true, 443, "tun.example"), REASON_NONE);
	assert_int_equal(got.rule->mode, RULES_TUNNEL);
	opened(transparent(true, 443, "x.wild.example"), REASON_NONE);
	opened(transparent(true, 443, "wild.example"), REASON_DOMAIN);
	opened(transparent(true, 443, "other.example"), REASON_DOMAIN);
	assert_string_equal(got.host, "other.example");
	opened(transparent(true, 444, "tls.example"), REASON_POLICY);
	opened(transparent(true, 443, ""), REASON_SNI_MISSING);
	opened(transparent(true, 443, NULL), REASON_SNI_MISSING);
	opened(transparent(true, 443, "TLS.example"), REASON_SNI_HOST);
	opened(transparent(true, 443, "tls.example."), REASON_SNI_HOST);
	opened(transparent(true, 443, "203.0.113.9"), REASON_SNI_HOST);
	opened(transparent(true, 443, "localhost"), REASON_DOMAIN);
	opened(transparent(true, 443, "*.wild.example"), REASON_SNI_HOST);
	/* neither TLS nor HTTP: only the address is known */
	opened(transparent(false, 22, NULL), REASON_DOMAIN);
	a = transparent(true, 443, "");
	a.addr = private;
	opened(a, REASON_NONE);
	assert_string_equal(got.host, "10.1.2.3");
	assert_true(got.address);
	a.port = 444;
	opened(a, REASON_SNI_MISSING);
	a.port = 0;
	opened(a, REASON_INTERNAL);
	a.addr = NULL;
	a.port = 443;
	opened(a, REASON_INTERNAL);
	a = transparent(true, 443, "tls.example");
	a.rules = &empty;
	opened(a, REASON_EMPTY_ALLOWLIST);
	a.rules = NULL;
	opened(a, REASON_WORKSPACE_GONE);
	a.rules = &list;
	a.via = ROUTE_ABSOLUTE;
	opened(a, REASON_INTERNAL);
	a.via = 0;
	opened(a, REASON_INTERNAL);
}

static void test_open_connect(void **state)
{
	struct route_ask a = tunnel("tls.example", 443, NULL);

	(void)state;
	a.tls = false;
	opened(a, REASON_NONE);
	opened(tunnel("tls.example", 443, "tls.example"), REASON_NONE);
	opened(tunnel("tls.example", 443, "api.example"), REASON_SNI_HOST);
	opened(tunnel("tls.example", 443, "other.example"), REASON_SNI_HOST);
	opened(tunnel("tls.example", 443, ""), REASON_SNI_MISSING);
	opened(tunnel("tls.example", 444, "tls.example"), REASON_POLICY);
	opened(tunnel("other.example", 443, "other.example"), REASON_DOMAIN);
	opened(tunnel("", 443, ""), REASON_INTERNAL);
	opened(tunnel(NULL, 443, ""), REASON_INTERNAL);
	opened(tunnel("tls.example", 0, "tls.example"), REASON_INTERNAL);
	opened(tunnel("raw.example", 5432, "raw.example"), REASON_NONE);
	assert_int_equal(got.rule->mode, RULES_TCP);
	a = tunnel("10.1.2.3", 443, "");
	a.target_address = true;
	opened(a, REASON_NONE);
	a.sni = "tls.example";
	opened(a, REASON_SNI_HOST);
	a = tunnel("203.0.113.9", 443, "");
	a.target_address = true;
	opened(a, REASON_DOMAIN);
	a.sni = "tls.example"; /* CONNECT 1.2.3.4:443, then a listed name */
	opened(a, REASON_SNI_HOST);
}

static void test_request_tls(void **state)
{
	struct route_ask a = transparent(true, 443, "tls.example");

	(void)state;
	request(a, "GET /a?b", "tls.example", REASON_NONE);
	assert_true(http1_eq(got.path, "/a"));
	assert_int_equal(got.scheme, HTTP1_SCHEME_HTTPS);
	a.references = true;
	request(a, "POST /", "TLS.example:443", REASON_NONE);
	request(a, "GET https://tls.example/x", "tls.example", REASON_NONE);
	request(a, "OPTIONS *", "tls.example", REASON_NONE);
	request(a, "GET http://tls.example/x", "tls.example", REASON_BAD_REQUEST);
	request(a, "CONNECT tls.example:443", "tls.example", REASON_BAD_REQUEST);
	request(a, "GET /", NULL, REASON_BAD_REQUEST);
	request(a, "GET /", "api.example", REASON_SNI_HOST);
	request(a, "GET /", "other.example", REASON_SNI_HOST);
	assert_string_equal(got.host, "tls.example");
	request(a, "GET /", "tls.example:444", REASON_SNI_HOST);
	request(a, "GET /", "tls.example:80", REASON_SNI_HOST);
	request(a, "GET /", "203.0.113.9", REASON_SNI_HOST);
	request(a, "GET https://api.example/", "api.example", REASON_SNI_HOST);
	request(transparent(true, 443, ""), "GET /", "tls.example", REASON_SNI_MISSING);
	request(transparent(true, 8443, "api.example"), "GET /", "api.example:8443", REASON_NONE);
	request(transparent(true, 8443, "api.example"), "GET /", "api.example", REASON_SNI_HOST);
	request(transparent(true, 80, "api.example"), "GET /", "api.example:80", REASON_NONE);
	request(transparent(true, 9443, "api.example"), "GET /", "api.example:9443", REASON_POLICY);
	request(transparent(true, 443, "other.example"), "GET /", "other.example", REASON_DOMAIN);
	request(transparent(true, 443, "tun.example"), "GET /", "tun.example", REASON_POLICY);
	request(transparent(true, 5432, "raw.example"), "GET /", "raw.example:5432", REASON_POLICY);
	a.rules = &empty;
	request(a, "GET /", "tls.example", REASON_EMPTY_ALLOWLIST);
	a.rules = NULL;
	request(a, "GET /", "tls.example", REASON_WORKSPACE_GONE);
	a.rules = &list;
	a.meaning = NULL;
	request(a, "GET /", "tls.example", REASON_INTERNAL);
}

static void test_request_plain(void **state)
{
	struct route_ask a = transparent(false, 80, NULL);

	(void)state;
	request(a, "GET /", "api.example", REASON_NONE);
	assert_int_equal(got.scheme, HTTP1_SCHEME_HTTP);
	request(a, "GET http://api.example/", "api.example", REASON_NONE);
	request(a, "GET /", "api.example:443", REASON_SNI_HOST);
	request(a, "GET https://api.example/", "api.example", REASON_BAD_REQUEST);
	request(a, "CONNECT api.example:443", "api.example:443", REASON_BAD_REQUEST);
	request(a, "GET /", NULL, REASON_BAD_REQUEST);
	request(a, "GET /", "tls.example", REASON_POLICY);
	request(a, "GET /", "other.example", REASON_DOMAIN);
	request(a, "GET /", "tun.example", REASON_POLICY);
	request(a, "GET /", "localhost", REASON_DOMAIN);
	a.references = true;
	request(a, "GET /", "api.example", REASON_NON_HTTPS);
	request(a, "GET /", "tls.example", REASON_NON_HTTPS);
	request(a, "GET /", "other.example", REASON_DOMAIN);
	a.rules = &empty;
	request(a, "GET /", "api.example", REASON_EMPTY_ALLOWLIST);
	/* plaintext to the port of TLS */
	request(transparent(false, 443, NULL), "GET /", "api.example:443", REASON_NON_HTTPS);
	request(transparent(false, 443, NULL), "GET /", "api.example", REASON_SNI_HOST);
	request(transparent(false, 8443, NULL), "GET /", "api.example:8443", REASON_NONE);
}

/* A plain request becomes the one over TLS before anything is judged. */
static void test_request_upgraded(void **state)
{
	struct route_ask a = transparent(false, 80, NULL);

	(void)state;
	a.references = true;
	request(a, "GET /a", "up.example", REASON_NONE);
	assert_true(got.upgraded);
	assert_int_equal(got.port, 8443);
	assert_int_equal(got.scheme, HTTP1_SCHEME_HTTPS);
	request(a, "GET /a", "up.example:80", REASON_NONE);
	request(a, "GET http://up.example/a", "up.example", REASON_NONE);
	request(a, "POST /a", "up.example", REASON_POLICY);
	request(a, "GET /a", "up.example:8443", REASON_SNI_HOST);
	request(a, "GET /a", "other.example", REASON_DOMAIN);
	request(a, "GET /a", "api.example", REASON_NON_HTTPS);
	assert_false(got.upgraded);
	/* at any other port it is what it is */
	request(transparent(false, 8443, NULL), "GET /a", "up.example:8443", REASON_NONE);
	assert_false(got.upgraded);
	request(transparent(false, 8080, NULL), "GET /a", "up.example:8080", REASON_POLICY);
	/* over TLS nothing changes */
	request(transparent(true, 8443, "up.example"), "GET /a", "up.example:8443", REASON_NONE);
	assert_false(got.upgraded);
	request(transparent(true, 80, "up.example"), "GET /a", "up.example:80", REASON_POLICY);
}

static void test_request_address(void **state)
{
	struct route_ask a = transparent(false, 8080, NULL);

	(void)state;
	a.addr = private;
	request(a, "GET /", "10.1.2.3:8080", REASON_NONE);
	assert_true(got.address);
	request(a, "GET /", "10.1.2.3", REASON_SNI_HOST);
	request(a, "GET /", "10.1.2.4:8080", REASON_SNI_HOST);
	request(a, "GET /", "[::ffff:10.1.2.3]:8080", REASON_NONE); /* the same address */
	request(a, "GET /", "[2001:db8::1]:8080", REASON_SNI_HOST);
	request(transparent(false, 8080, NULL), "GET /", "10.1.2.3:8080", REASON_SNI_HOST);
	request(transparent(false, 80, NULL), "GET /", "203.0.113.9", REASON_DOMAIN);
	a.port = 443;
	a.tls = true;
	request(a, "GET /", "10.1.2.3", REASON_NONE);
	request(a, "GET /", "tls.example", REASON_SNI_HOST);
	a.sni = "tls.example";
	request(a, "GET /", "10.1.2.3", REASON_SNI_HOST);
}

static void test_request_connect(void **state)
{
	struct route_ask a = tunnel("tls.example", 443, "tls.example");

	(void)state;
	request(a, "GET /", "tls.example", REASON_NONE);
	request(a, "GET /", "api.example", REASON_SNI_HOST);
	request(a, "GET /", "tls.example:8443", REASON_SNI_HOST);
	request(a, "CONNECT tls.example:443", "tls.example:443", REASON_BAD_REQUEST);
	request(tunnel("tls.example", 443, "api.example"), "GET /", "api.example", REASON_SNI_HOST);
	request(tunnel("tls.example", 443, "api.example"), "GET /", "tls.example", REASON_SNI_HOST);
	request(tunnel("tls.example", 443, ""), "GET /", "tls.example", REASON_SNI_MISSING);
	request(tunnel("tun.example", 443, "tun.example"), "GET /", "tun.example", REASON_POLICY);
	/* plaintext inside a tunnel */
	a = tunnel("api.example", 80, NULL);
	a.tls = false;
	request(a, "GET /", "api.example", REASON_NONE);
	request(a, "GET /", "tls.example", REASON_SNI_HOST);
	a.references = true;
	request(a, "GET /", "api.example", REASON_NON_HTTPS);
	a.references = false;
	a.target_port = 443;
	request(a, "GET /", "api.example:443", REASON_NON_HTTPS);
}

static void test_request_absolute(void **state)
{
	struct route_ask a = absolute();

	(void)state;
	request(a, "GET http://api.example/a?b", "api.example", REASON_NONE);
	assert_int_equal(got.port, 80);
	assert_true(http1_eq(got.path, "/a"));
	request(a, "GET http://api.example", NULL, REASON_NONE);
	request(a, "GET https://tls.example/", "tls.example", REASON_NONE);
	assert_int_equal(got.scheme, HTTP1_SCHEME_HTTPS);
	request(a, "GET http://api.example:443/", "api.example:443", REASON_NON_HTTPS);
	request(a, "GET http://tls.example/", "tls.example", REASON_POLICY);
	request(a, "GET http://other.example/", "other.example", REASON_DOMAIN);
	request(a, "GET /", "api.example", REASON_BAD_REQUEST);
	request(a, "OPTIONS *", "api.example", REASON_BAD_REQUEST);
	request(a, "CONNECT tls.example:443", "tls.example:443", REASON_BAD_REQUEST);
	a.references = true;
	request(a, "GET http://api.example/", "api.example", REASON_NON_HTTPS);
	request(a, "GET https://tls.example/", "tls.example", REASON_NONE);
}

static void url(const char *u, const char *method, enum reason want)
{
	struct route_ask a = {.via = ROUTE_URL, .rules = &list, .head = &head, .meaning = &meaning};
	struct http1_url parsed;

	assert_int_equal(http1_url((struct http1_slice){u, strlen(u)}, &parsed), 0);
	a.url = &parsed;
	if (method)
		a.method = (struct http1_slice){method, strlen(method)};
	a.references = true;
	request(a, "POST /proxy", "localhost:8765", want);
}

static void test_request_url(void **state)
{
	struct route_ask none = {.via = ROUTE_URL, .rules = &list, .head = &head, .meaning = &meaning};

	(void)state;
	url("https://tls.example/a", NULL, REASON_NONE);
	assert_string_equal(got.host, "tls.example");
	url("https://api.example:8443", NULL, REASON_NONE);
	url("http://api.example/", NULL, REASON_NON_HTTPS);
	url("https://other.example/", NULL, REASON_DOMAIN);
	url("https://tls.example:444/", NULL, REASON_POLICY);
	url("https://tun.example/", NULL, REASON_POLICY);
	url("https://localhost/", NULL, REASON_DOMAIN);
	url("https://127.0.0.1/", NULL, REASON_DOMAIN);
	url("https://get.example/", NULL, REASON_POLICY);
	url("https://get.example/", "GET", REASON_NONE);
	url("https://get.example/", "get", REASON_POLICY);
	url("https://get.example/", "G T", REASON_BAD_REQUEST);
	url("https://get.example/", "", REASON_BAD_REQUEST);
	request(none, "POST /proxy", "localhost:8765", REASON_INTERNAL);
}

static void test_methods_paths(void **state)
{
	static const char *const refused[] = {
		"/", "/v2/x", "/v1", "/V1/x", "//v1/x", "/v1//x", "/v1/../admin", "/v1/./x", "/v1/%2e%2e/admin", "/v1/..",
		"/v1/%2E./x", "/v1/x%2Fy", "/v1/x%5cy", "/v1/x\\y", "/v1/x%00", "/v1/%", "/v1/%zz", "/public/../v1/x",
		"/v1/agentsecrets://KEY/../../x", "/v1/agentsecrets://key/x",
	};
	struct route_ask a = transparent(true, 443, "path.example");
	char line[12000] = "GET /v1/";

	(void)state;
	request(a, "GET /v1/x", "path.example", REASON_NONE);
	request(a, "GET /v1/x?/../..", "path.example", REASON_NONE);
	request(a, "GET /%761/x", "path.example", REASON_NONE);
	request(a, "GET /v1/agentsecrets://KEY/x", "path.example", REASON_NONE);
	request(a, "GET /v1/agentsecrets%3A%2F%2FKEY", "path.example", REASON_NONE);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++) {
		snprintf(line, sizeof(line), "GET %s", refused[i]);
		request(a, line, "path.example", REASON_POLICY);
	}
	request(a, "OPTIONS *", "path.example", REASON_POLICY);
	strcpy(line, "GET /v1/");
	memset(line + 8, 'a', ROUTE_PATH_MAX);
	line[8 + ROUTE_PATH_MAX] = '\0';
	request(a, line, "path.example", REASON_POLICY);
	request(transparent(true, 443, "tls.example"), line, "tls.example", REASON_NONE);
	request(transparent(true, 443, "tls.example"), "GET /a/../b", "tls.example", REASON_NONE);
	a = transparent(true, 443, "get.example");
	request(a, "GET /", "get.example", REASON_NONE);
	request(a, "HEAD /", "get.example", REASON_NONE);
	request(a, "POST /", "get.example", REASON_POLICY);
	request(a, "get /", "get.example", REASON_POLICY);
	request(a, "GETS /", "get.example", REASON_POLICY);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_open),		cmocka_unit_test(test_open_connect),
		cmocka_unit_test(test_request_tls),	cmocka_unit_test(test_request_plain),
		cmocka_unit_test(test_request_upgraded),
		cmocka_unit_test(test_request_address), cmocka_unit_test(test_request_connect),
		cmocka_unit_test(test_request_absolute), cmocka_unit_test(test_request_url),
		cmocka_unit_test(test_methods_paths),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
