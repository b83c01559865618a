/* Where references are found and where not, who may have them, and what is written in their place. */
#include "inject.h"

#include "flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define H "Host: a.example\r\n"

struct request {
	char text[8192]; /* slices point in here */
	struct http1_head head;
	struct http1_meaning meaning;
	struct inject_scan scan;
};

static struct request q;

/* A request with this target and these fields (each with CRLF), scanned. */
static int ask(const char *target, const char *fields)
{
	struct http1_scan s = {0};
	int n = snprintf(q.text, sizeof(q.text), "GET %s HTTP/1.1\r\n" H "%s\r\n", target, fields);

	assert_true(n > 0 && (size_t)n < sizeof(q.text));
	assert_int_equal(http1_request(&s, q.text, (size_t)n, &q.head), HTTP1_DONE);
	assert_int_equal(http1_request_meaning(&q.head, &q.meaning), 0);
	return inject_scan(&q.head, &q.meaning, NULL, &q.scan);
}

static void none(const char *target, const char *fields)
{
	assert_int_equal(ask(target, fields), 0);
	if (q.scan.ref_count || q.scan.need_count)
		fail_msg("%s %s: found %s", target, fields, q.scan.needs[0].name);
}

static void one(const char *target, const char *fields, const char *name, enum rules_slot slot)
{
	assert_int_equal(ask(target, fields), 0);
	if (q.scan.ref_count != 1)
		fail_msg("%s %s: %u references", target, fields, q.scan.ref_count);
	assert_int_equal(q.scan.need_count, 1);
	assert_string_equal(q.scan.needs[0].name, name);
	assert_int_equal(q.scan.needs[0].slot, slot);
}

/* "agentsecrets://" and a name of n letters, as a field. */
static const char *long_name(size_t n)
{
	static char field[512];

	snprintf(field, sizeof(field), "X: agentsecrets://%0*d\r\n", (int)n, 0);
	for (char *p = field + 18; *p; p++)
		if (*p == '0')
			*p = 'A';
	return field;
}

static void test_not_found(void **state)
{
	static const char *const fields[] = {
		"", "X: agentsecrets\r\n", "X: agentsecrets:\r\n", "X: agentsecrets:/\r\n", "X: agentsecrets://\r\n",
		"X: agentsecrets:/KEY\r\n", "X: agentsecrets:KEY\r\n", "X: agentsecrets//KEY\r\n", "X: agentsecrets:// KEY\r\n",
		"X: agentsecrets://key\r\n", "X: agentsecrets://1KEY\r\n", "X: agentsecrets://-KEY\r\n",
		"X: agentsecrets:///KEY\r\n", "X: AGENTSECRETS://KEY\r\n", "X: AgentSecrets://KEY\r\n",
		"X: agent-secrets://KEY\r\n", "X: agentsecret://KEY\r\n", "X: agentsecrets;//KEY\r\n",
		"X: agentsecrets%3A%2F%2FKEY\r\n", /* percent-encoding means something only in the target */
		"X: agentsecrets agentsecrets:// agentsecrets:\r\n",
		"agentsecretsKEY: agentsecrets\r\n",
		"Authorization: Basic\r\n", "Authorization: Basic !!!!\r\n",
		"Authorization: Basic dXNlcjpwYXNz\r\n",		   /* user:pass */
		"Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVk\r\n",	   /* no padding */
		"Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVk=x\r\n",  /* after it */
		"Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVk= \tx\r\n",
		"Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVl=\r\n",   /* unused bits */
		"Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9L=RVk\r\n",   /* padding inside */
		"Authorization: Basic dTphZ2VudHNl Y3JldHM6Ly9LRVk=\r\n",
		"Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9L-_k=\r\n",   /* base64url */
		"Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LR===\r\n",
		"Authorization: Basic ====\r\n",
		"Authorization: Bearer dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n",
		"Authorization: Token dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n",
		"Authorization: Basicx dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n",
		"Authorization: Basic\tdTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n",
		"X-Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n",
		"Proxy-Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n", /* is not forwarded */
		"Proxy-Authorization: agentsecrets://KEY\r\n",
		"Connection: X\r\nX: agentsecrets://KEY\r\n",
		"Keep-Alive: agentsecrets://KEY\r\n",
	};
	static const char *const targets[] = {
		"/agentsecrets", "/agentsecrets:%2FKEY", "/agentsecrets%3A%2F%2Fkey", "/agentsecrets%3a%2f%2f",
		"/agentsecrets%3B%2F%2FKEY", "/agentsecrets%253A%252F%252FKEY", "/agentsecrets%3A%2", "/agentsecrets%",
		"/agentsecrets%3A%2F%2F%4BEY",
		"/agentsecretsx3A%2F%2FKEY", "/agentsecrets%4A%2F%2FKEY", "/agentsecrets%3", "/?agentsecrets=KEY", "/agentsecrets:?//KEY", "/%61gentsecrets://KEY",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++)
		none("/", fields[i]);
	for (size_t i = 0; i < ARRAY_SIZE(targets); i++)
		none(targets[i], "");
	none("/", long_name(129));
	none("/", long_name(300));
}

static void test_found(void **state)
{
	(void)state;
	one("/", "X: agentsecrets://KEY\r\n", "KEY", RULES_SLOT_HEADER);
	one("/", "X: agentsecrets://_\r\n", "_", RULES_SLOT_HEADER);
	one("/", "X: agentsecrets://A_1\r\n", "A_1", RULES_SLOT_HEADER);
	one("/", "Authorization: Bearer agentsecrets://KEY\r\n", "KEY", RULES_SLOT_HEADER);
	one("/", "Authorization: Basic agentsecrets://KEY\r\n", "KEY", RULES_SLOT_HEADER);
	one("/", "Cookie: a=agentsecrets://KEY; b=c\r\n", "KEY", RULES_SLOT_HEADER);
	one("/", "X: agentsecrets://KEYlower\r\n", "KEY", RULES_SLOT_HEADER);
	one("/", "X: agentsecrets://agentsecrets://KEY\r\n", "KEY", RULES_SLOT_HEADER);
	one("/", "X: xagentsecrets://KEY-agentsecrets\r\n", "KEY", RULES_SLOT_HEADER);
	one("/", long_name(128), q.scan.needs[0].name, RULES_SLOT_HEADER);
	assert_int_equal(strlen(q.scan.needs[0].name), 128);
	one("/", "aUTHORIZATION: bASIC dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n", "KEY", RULES_SLOT_BASIC);
	one("/", "Authorization: Basic   dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n", "KEY", RULES_SLOT_BASIC);
	one("/v1?key=agentsecrets://KEY&x=y", "", "KEY", RULES_SLOT_QUERY);
	one("/v1?key=agentsecrets%3A%2F%2FKEY&x=y", "", "KEY", RULES_SLOT_QUERY);
	one("/v1?key=agentsecrets%3a//KEY", "", "KEY", RULES_SLOT_QUERY);
	one("/v1?key=agentsecrets:%2f%2FKEY", "", "KEY", RULES_SLOT_QUERY);
	one("/botagentsecrets://KEY/send", "", "KEY", RULES_SLOT_PATH);
	one("/agentsecrets%3A%2F%2FKEY?a", "", "KEY", RULES_SLOT_PATH);
	one("/a?b?agentsecrets://KEY", "", "KEY", RULES_SLOT_QUERY);
	one("http://a.example?agentsecrets://KEY", "", "KEY", RULES_SLOT_QUERY);
}

static void test_many(void **state)
{
	char fields[4096] = "";

	(void)state;
	assert_int_equal(ask("/agentsecrets://A?agentsecrets://A&agentsecrets://B", "X: agentsecrets://A\r\nY: agentsecrets://A,agentsecrets://A\r\n"), 0);
	assert_int_equal(q.scan.ref_count, 6);
	assert_int_equal(q.scan.need_count, 4);
	assert_int_equal(q.scan.refs[0].field, 1);
	assert_int_equal(q.scan.refs[2].field, 2);
	assert_true(q.scan.refs[2].at > q.scan.refs[1].at);
	assert_int_equal(q.scan.refs[5].field, HTTP1_TARGET);
	for (int i = 0; i < INJECT_MAX; i++)
		strcat(fields, "X: agentsecrets://A\r\n");
	assert_int_equal(ask("/", fields), 0);
	assert_int_equal(q.scan.ref_count, INJECT_MAX);
	assert_int_equal(q.scan.need_count, 1);
	assert_int_equal(ask("/?agentsecrets://A", fields), -E2BIG);
	assert_int_equal(q.scan.ref_count, 0);
	strcat(fields, "Y: agentsecrets://A\r\n");
	assert_int_equal(ask("/", fields), -E2BIG);
	assert_true(ref_maybe("xxagentsecrets", 14, NULL));
	assert_false(ref_maybe("xxagentsecret", 13, NULL));
	assert_false(ref_maybe("", 0, NULL));
}

static char hosts_a[][RPC_HOST_MAX] = {"a.example", "*.b.example"};
static struct rules_rule rule_list[] = {
	{.host = "*.b.example", .port = 443, .mode = RULES_INSPECT},
	{.host = "a.example", .port = 443, .mode = RULES_INSPECT},
	{.host = "c.example", .port = 443, .mode = RULES_INSPECT},
	{.host = "d.b.example", .port = 443, .mode = RULES_TUNNEL},
};
static struct rules_secret secret_list[] = {
	{.name = "ALL", .slots = RULES_SLOTS_ALL, .host_count = 2, .hosts = hosts_a},
	{.name = "KEY", .slots = RULES_SLOTS_DEFAULT, .host_count = 1, .hosts = hosts_a},
	{.name = "LOOSE", .slots = RULES_SLOTS_DEFAULT},
	{.name = "NOSLOT", .slots = 0, .host_count = 1, .hosts = hosts_a},
};
static const struct rules rules = {.workspace = "w", .version = 1, .rule_count = 4, .rules = rule_list,
				   .secret_count = 4, .secrets = secret_list};

static enum reason judged(const char *target, const char *fields, const char *host, uint16_t port)
{
	assert_int_equal(ask(target, fields), 0);
	return inject_judge(&rules, host, port, "GET", "/", &q.scan);
}

static void test_judge(void **state)
{
	static const char key[] = "X: agentsecrets://KEY\r\n", all[] = "X: agentsecrets://ALL\r\n";

	(void)state;
	assert_int_equal(judged("/", "", "c.example", 443), REASON_NONE);
	assert_int_equal(judged("/", key, "a.example", 443), REASON_NONE);
	assert_int_equal(judged("/", all, "x.b.example", 443), REASON_NONE);
	assert_int_equal(judged("/?agentsecrets://ALL", key, "a.example", 443), REASON_NONE);
	assert_int_equal(judged("/", key, "c.example", 443), REASON_SECRET_HOST);
	assert_int_equal(judged("/", key, "x.b.example", 443), REASON_SECRET_HOST);
	assert_int_equal(judged("/", all, "b.example", 443), REASON_SECRET_HOST);
	assert_int_equal(judged("/", all, "d.b.example", 443), REASON_SECRET_HOST);
	assert_int_equal(judged("/", key, "a.example", 80), REASON_SECRET_HOST);
	assert_int_equal(judged("/", "X: agentsecrets://GONE\r\n", "a.example", 443), REASON_SECRET_UNKNOWN);
	assert_int_equal(judged("/", "X: agentsecrets://LOOSE\r\n", "a.example", 443), REASON_SECRET_HOST);
	assert_int_equal(judged("/", "X: agentsecrets://NOSLOT\r\n", "a.example", 443), REASON_SECRET_SLOT);
	assert_int_equal(judged("/?agentsecrets://KEY", "", "a.example", 443), REASON_SECRET_SLOT);
	assert_int_equal(judged("/agentsecrets%3A%2F%2FKEY", "", "a.example", 443), REASON_SECRET_SLOT);
	/* one that may does not carry one that may not, in whatever order */
	assert_int_equal(judged("/", "X: agentsecrets://KEY\r\nY: agentsecrets://GONE\r\n", "a.example", 443), REASON_SECRET_UNKNOWN);
	assert_int_equal(judged("/?agentsecrets://KEY", "X: agentsecrets://KEY\r\n", "a.example", 443), REASON_SECRET_SLOT);
}

/* Writes the request with these values; every smaller room must refuse. */
static void filled(const struct inject_value *values, int rc, const char *want_target, const char *want_fields)
{
	struct inject_fill fill = {.head = &q.head, .meaning = &q.meaning, .scan = &q.scan, .values = values};
	struct http1_out how = {.head = &q.head, .meaning = &q.meaning, .replace = inject_replace, .ctx = &fill};
	static char out[65536], want[65536];
	struct wr w = wr_of(out, sizeof(out));

	assert_int_equal(http1_write_request(&w, &how), rc);
	if (rc < 0) {
		assert_true(w.full);
		return;
	}
	snprintf(want, sizeof(want), "GET %s HTTP/1.1\r\n" H "%s\r\n", want_target, want_fields);
	if (w.len != strlen(want) || memcmp(out, want, w.len) != 0)
		fail_msg("wrote %.*s\nnot %s", (int)w.len, out, want);
	for (size_t cap = 0; cap < strlen(want) && cap < 1024; cap++) {
		w = wr_of(flush_copy(0, out, cap), cap);
		assert_int_equal(http1_write_request(&w, &how), -ENOBUFS);
	}
}

#define VALUE(text) {(const uint8_t *)(text), sizeof(text) - 1}

static void test_write(void **state)
{
	static const struct inject_value plain[] = {VALUE("s3cr/et &%?"), VALUE("two"), VALUE("three")};

	(void)state;
	assert_int_equal(ask("/p", "A: 1\r\nX:  a agentsecrets://K b \r\nB: 2\r\n"), 0);
	filled(plain, 0, "/p", "A: 1\r\nX: a s3cr/et &%? b\r\nB: 2\r\n");
	assert_int_equal(ask("/p", "X: agentsecrets://K,agentsecrets://L,agentsecrets://K\r\n"), 0);
	filled(plain, 0, "/p", "X: s3cr/et &%?,two,s3cr/et &%?\r\n");
	assert_int_equal(ask("/a/agentsecrets%3A%2F%2FK/%41?x=%20&k=agentsecrets://K&z", ""), 0);
	filled((const struct inject_value[]){VALUE("a/b c"), VALUE("~-._+=\xff\n")}, 0,
	       "/a/a%2Fb%20c/%41?x=%20&k=~-._%2B%3D%FF%0A&z", "");
	assert_int_equal(ask("/agentsecrets://Ktail?agentsecrets://L", "X: agentsecrets://K\r\n"), 0);
	filled(plain, 0, "/twotail?three", "X: s3cr/et &%?\r\n");
	assert_int_equal(ask("/", "X: agentsecrets\r\n"), 0);
	filled(plain, 0, "/", "X: agentsecrets\r\n");
	assert_int_equal(ask("http://a.example?agentsecrets://L", ""), 0);
	filled(plain, 0, "/?s3cr%2Fet%20%26%25%3F", "");
	assert_int_equal(ask("/", "X: agentsecrets://K\r\n"), 0);
	filled((const struct inject_value[]){VALUE("t\tab\xc3\xa4")}, 0, "/", "X: t\tab\xc3\xa4\r\n");
}

static void test_write_basic(void **state)
{
	(void)state;
	/* u:agentsecrets://KEY, each length of the tail modulo 3 */
	assert_int_equal(ask("/", "Authorization: basic  dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n"), 0);
	filled((const struct inject_value[]){VALUE("pw")}, 0, "/", "Authorization: basic  dTpwdw==\r\n");
	filled((const struct inject_value[]){VALUE("pwd")}, 0, "/", "Authorization: basic  dTpwd2Q=\r\n");
	filled((const struct inject_value[]){VALUE("pass")}, 0, "/", "Authorization: basic  dTpwYXNz\r\n");
	filled((const struct inject_value[]){VALUE("\xff\xfe")}, 0, "/", "Authorization: basic  dTr//g==\r\n");
	/* agentsecrets://USER:agentsecrets://PASS */
	assert_int_equal(ask("/", "Authorization: Basic YWdlbnRzZWNyZXRzOi8vVVNFUjphZ2VudHNlY3JldHM6Ly9QQVNT\r\n"), 0);
	assert_int_equal(q.scan.need_count, 2);
	filled((const struct inject_value[]){VALUE("user"), VALUE("pass")}, 0, "/", "Authorization: Basic dXNlcjpwYXNz\r\n");
	filled((const struct inject_value[]){VALUE("user"), VALUE("pass\n")}, -EINVAL, NULL, NULL);
	filled((const struct inject_value[]){VALUE(""), VALUE("pass")}, -EINVAL, NULL, NULL);
}

static void test_write_refused(void **state)
{
	static const struct inject_value bad[] = {
		VALUE(""), VALUE("a\r\nEvil: 1"), VALUE("a\n"), VALUE("a\r"), VALUE("a\0b"), VALUE("\1"), VALUE("\177"),
	};

	(void)state;
	assert_int_equal(ask("/", "X: agentsecrets://K\r\n"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		filled(&bad[i], -EINVAL, NULL, NULL);
	assert_int_equal(ask("/agentsecrets://K", ""), 0);
	filled((const struct inject_value[]){VALUE("")}, -EINVAL, NULL, NULL);
	filled((const struct inject_value[]){VALUE(".")}, -EINVAL, NULL, NULL);
	filled((const struct inject_value[]){VALUE("..")}, -EINVAL, NULL, NULL);
	filled((const struct inject_value[]){VALUE("..\r\n ")}, 0, "/..%0D%0A%20", "");
	assert_int_equal(ask("/?agentsecrets://K", ""), 0);
	filled((const struct inject_value[]){VALUE("..")}, 0, "/?..", "");
}

/* Credentials as long as we look into, and three bytes longer. */
static void test_long_basic(void **state)
{
	static char field[8192];

	(void)state;
	for (int extra = 0; extra < 2; extra++) {
		int n = snprintf(field, sizeof(field), "Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVkt");

		for (int i = 0; i < (INJECT_BASIC_MAX - 21) / 3 + extra; i++)
			n += snprintf(field + n, sizeof(field) - (size_t)n, "eHh4");
		snprintf(field + n, sizeof(field) - (size_t)n, "\r\n");
		if (extra)
			none("/", field);
		else
			one("/", field, "KEY", RULES_SLOT_BASIC);
	}
}

/* A scan of another request: nothing is written. */
static void test_write_mixed_up(void **state)
{
	static const struct inject_value v[] = {VALUE("x")};
	struct inject_scan other;

	(void)state;
	assert_int_equal(ask("/", "X: aaaaagentsecrets://KEY\r\n"), 0);
	other = q.scan;
	assert_int_equal(ask("/", "X: aagentsecrets://KEY\r\n"), 0);
	q.scan = other;
	filled(v, -EBADMSG, NULL, NULL);
	assert_int_equal(ask("/", "X: short\r\n"), 0);
	q.scan = other;
	filled(v, -EBADMSG, NULL, NULL);
	assert_int_equal(ask("/", "Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n"), 0);
	other = q.scan;
	assert_int_equal(ask("/", "X: uxagentsecrets://KEY\r\n"), 0);
	q.scan = other;
	filled(v, -EBADMSG, NULL, NULL);
}

static void test_path(void **state)
{
	static const char in[] = "/a/agentsecrets%3A%2F%2FKEY/agentsecrets://B.x";
	char out[64];
	size_t n;

	(void)state;
	n = inject_path((struct http1_slice){in, sizeof(in) - 1}, out, sizeof(out));
	assert_int_equal(n, 10);
	assert_memory_equal(out, "/a/KEY/B.x", 10);
	assert_int_equal(inject_path((struct http1_slice){in, sizeof(in) - 1}, flush_copy(0, out, 9), 9), 0);
	assert_int_equal(inject_path((struct http1_slice){"/a", 2}, out, 2), 2);
}

/* Cut or changed anywhere, a scan reads nothing past the end and a filled request holds no stray bytes. */
static void test_cut(void **state)
{
	static const char text[] = "GET /agentsecrets%3A%2F%2FA?agentsecrets://B HTTP/1.1\r\n" H
				   "Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\nX: agentsecrets://C\r\n\r\n";
	static const struct inject_value values[INJECT_MAX] = {VALUE("v"), VALUE("v"), VALUE("v"), VALUE("v")};
	char copy[sizeof(text)], out[512];

	(void)state;
	for (size_t bit = 0; bit < (sizeof(text) - 1) * 8; bit++) {
		struct http1_scan s = {0};
		struct inject_fill fill = {.head = &q.head, .meaning = &q.meaning, .scan = &q.scan, .values = values};
		struct http1_out how = {.head = &q.head, .meaning = &q.meaning, .replace = inject_replace, .ctx = &fill};
		struct wr w = wr_of(out, sizeof(out));

		memcpy(copy, text, sizeof(text));
		copy[bit / 8] = (char)(copy[bit / 8] ^ 1 << bit % 8);
		if (http1_request(&s, flush_copy(1, copy, sizeof(text) - 1), sizeof(text) - 1, &q.head) != HTTP1_DONE ||
		    http1_request_meaning(&q.head, &q.meaning) < 0)
			continue;
		assert_int_equal(inject_scan(&q.head, &q.meaning, NULL, &q.scan), 0);
		assert_true(q.scan.need_count <= 4);
		how.framing = q.meaning.framing;
		assert_int_equal(http1_write_request(&w, &how), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_found),     cmocka_unit_test(test_found),
		cmocka_unit_test(test_many),	      cmocka_unit_test(test_judge),
		cmocka_unit_test(test_write),	      cmocka_unit_test(test_write_basic),
		cmocka_unit_test(test_write_refused), cmocka_unit_test(test_write_mixed_up),
		cmocka_unit_test(test_long_basic),
		cmocka_unit_test(test_path),	      cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
