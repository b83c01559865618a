/* References and placeholders in JSON and form bodies: where they are found, and what is written there. */
#include "bodyref.h"

#include "flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define HOLDER "nsk-abcdefghijklmnopqrstuvwxyz"
#define HEXHOLDER "abcdef0123456789-abcdef-0123"

static char any_host[][RPC_HOST_MAX] = {"a.example"};
static char only_path[][512] = {"/token"};
static struct rules_rule rule_list[] = {{.host = "a.example", .port = 443, .mode = RULES_INSPECT}};
static struct rules_secret secret_list[] = {
	{.name = "HEADER_ONLY", .slots = RULES_SLOTS_DEFAULT, .host_count = 1, .hosts = any_host},
	{.name = "HEX", .slots = RULES_SLOT_BODY, .host_count = 1, .hosts = any_host, .placeholder = HEXHOLDER},
	{.name = "KEY", .slots = RULES_SLOT_BODY, .host_count = 1, .hosts = any_host, .placeholder = HOLDER},
	{.name = "PATHS", .slots = RULES_SLOT_BODY, .host_count = 1, .hosts = any_host, .path_count = 1, .paths = only_path},
};
static const struct rules rules = {.workspace = "w", .version = 1, .rule_count = 1, .rules = rule_list,
				   .secret_count = 4, .secrets = secret_list};
static struct ref_marks *marks;

#define VALUE(text) {(const uint8_t *)(text), sizeof(text) - 1}

/* The body with "value" (or another one) for each need; `want` NULL: it stays as it is. */
static void becomes_with(enum bodyref_kind kind, const char *body, struct inject_value v, const char *want)
{
	size_t len = strlen(body);
	struct bodyref b = {.kind = kind, .p = flush_copy(0, body, len), .len = len, .marks = marks}, c = b;
	struct inject_value values[INJECT_MAX];
	struct inject_scan s = {0};
	char out[4096];
	struct wr w = wr_of(out, sizeof(out));

	for (size_t i = 0; i < INJECT_MAX; i++)
		values[i] = v;
	assert_int_equal(bodyref_scan(&b, &rules, "a.example", 443, "POST", "/x", &s), 0);
	assert_true(bodyref_bound(c, &s, values) >= strlen(want ? want : body));
	assert_int_equal(bodyref_write(&c, &s, values, &w), 0);
	if (w.len != strlen(want ? want : body) || memcmp(out, want ? want : body, w.len) != 0)
		fail_msg("%s became %.*s, not %s", body, (int)w.len, out, want ? want : body);
	assert_int_equal(s.need_count > 0, want != NULL);
}

static void json(const char *body, const char *want)
{
	becomes_with(BODYREF_JSON, body, (struct inject_value)VALUE("val"), want);
}

static void form(const char *body, const char *want)
{
	becomes_with(BODYREF_FORM, body, (struct inject_value)VALUE("v&l"), want);
}

static void test_json(void **state)
{
	(void)state;
	json("{\"k\":\"agentsecrets://KEY\"}", "{\"k\":\"val\"}");
	json("\"agentsecrets://KEY\"", "\"val\"");
	json("[1,  \"Bearer agentsecrets://KEY!\" , 9007199254740993]", "[1,  \"Bearer val!\" , 9007199254740993]");
	json("{\"k\":\"agentsecrets:\\/\\/KEY\"}", "{\"k\":\"val\"}");
	json("{\"k\":\"agentsecrets://KEY agentsecrets://KEY\",\"z\":\"" "x-" HOLDER "\"}", "{\"k\":\"val val\",\"z\":\"x-val\"}");
	json("{\"a\":\"\\\"agentsecrets://KEY\\\"\"}", "{\"a\":\"\\\"val\\\"\"}");
	json("{\"a\":\"\\\\agentsecrets://KEY\\n\"}", "{\"a\":\"\\\\val\\n\"}");
	json("{\"h\":\"" HEXHOLDER "\"}", "{\"h\":\"val\"}");
	json("{\"h\":\"\\u0041" HEXHOLDER "\"}", "{\"h\":\"\\u0041val\"}");
	/* text: names of members, what is outside strings, other names, strings without an end */
	json("{\"agentsecrets://KEY\":1}", NULL);
	json("{\"agentsecrets://KEY\" \n\t:1}", NULL);
	json("agentsecrets://KEY", NULL);
	json("{\"k\":agentsecrets://KEY}", NULL);
	json("{\"k\":\"agentsecrets://key\"}", NULL);
	json("{\"k\":\"agentsecrets:KEY\"}", NULL);
	json("{\"k\":\"agentsecrets%3A%2F%2FKEY\"}", NULL);
	json("{\"k\":\"\\u0061gentsecrets://KEY\"}", NULL);
	json("{\"k\":\"agentsecrets://KEY", NULL);
	json("{\"k\":\"agentsecrets://KEY\\\"", NULL);
	json("{\"k\":\"agentsecrets://KEY\\", NULL);
	json("{\"k\":\"agentsecrets://KEY\n\"}", NULL);
	json("\"\"", NULL);
	json("", NULL);
	/* never inside an escape */
	json("{\"k\":\"\\" HOLDER "\"}", NULL);
	json("{\"k\":\"\\\\" HOLDER "\"}", "{\"k\":\"\\\\val\"}");
	json("{\"k\":\"\\u" HEXHOLDER "\"}", NULL);
	json("{\"k\":\"\\u0" HEXHOLDER "\"}", NULL);
	/* not for this body: text, whatever the slot or the path */
	json("{\"k\":\"agentsecrets://HEADER_ONLY\"}", NULL);
	json("{\"k\":\"agentsecrets://PATHS\"}", NULL);
	json("{\"k\":\"agentsecrets://NOBODY\"}", NULL);
	json("{\"k\":\"agentsecrets://HEADER_ONLY agentsecrets://KEY\"}", "{\"k\":\"agentsecrets://HEADER_ONLY val\"}");
}

static void test_form(void **state)
{
	(void)state;
	form("k=agentsecrets://KEY", "k=v%26l");
	form("a=1&k=agentsecrets%3A%2F%2FKEY&b=%zz&&c", "a=1&k=v%26l&b=%zz&&c");
	form("k=x+agentsecrets%3a//KEY%20", "k=x+v%26l%20");
	form("k==agentsecrets://KEY", "k==v%26l");
	form("k=" HOLDER, "k=v%26l");
	form("k=%41" HEXHOLDER, "k=%41v%26l");
	form("k=%" HEXHOLDER, NULL);
	form("k=%4" HEXHOLDER, NULL);
	form("agentsecrets://KEY=1", NULL);
	form("agentsecrets://KEY", NULL);
	form("k=agentsecrets://HEADER_ONLY", NULL);
	form("k=agentsecrets:&x=//KEY", NULL);
	form("", NULL);
}

static void test_values(void **state)
{
	struct bodyref b = {.kind = BODYREF_JSON, .p = "\"agentsecrets://KEY\"", .len = 20};
	static const struct inject_value bad[] = {VALUE(""), VALUE("\xff"), VALUE("\xc3"), VALUE("\xed\xa0\x80"),
						  VALUE("\xc0\xaf"), VALUE("\xf4\x90\x80\x80"), VALUE("\xe0\x80\x80")};
	struct inject_scan s = {0};
	char out[64];

	(void)state;
	becomes_with(BODYREF_JSON, "\"agentsecrets://KEY\"", (struct inject_value)VALUE("a\"b\\c\nd\x01/&%+\xc3\xa4\x7f"),
		     "\"a\\\"b\\\\c\\u000ad\\u0001/&%+\xc3\xa4\x7f\"");
	becomes_with(BODYREF_JSON, "\"agentsecrets://KEY\"", (struct inject_value)VALUE("\xf0\x9f\x94\x91"), "\"\xf0\x9f\x94\x91\"");
	becomes_with(BODYREF_FORM, "k=agentsecrets://KEY", (struct inject_value)VALUE("a\"&=%+ \n\xff~-._"),
		     "k=a%22%26%3D%25%2B%20%0A%FF~-._");
	assert_int_equal(bodyref_scan(&(struct bodyref){.kind = b.kind, .p = b.p, .len = b.len}, &rules, "a.example", 443,
				      "POST", "/x", &s), 0);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct bodyref c = b;
		struct wr w = wr_of(out, sizeof(out));

		assert_int_equal(bodyref_write(&c, &s, &bad[i], &w), -EINVAL);
	}
	for (size_t cap = 0; cap < 7; cap++) {
		struct bodyref c = b;
		struct wr w = wr_of(out, cap);

		assert_int_equal(bodyref_write(&c, &s, &(const struct inject_value)VALUE("value"), &w), cap < 7 ? -ENOBUFS : 0);
	}
}

static enum bodyref_kind type_of(const char *fields)
{
	struct http1_scan s = {0};
	static struct http1_head h;
	char text[512];
	int n = snprintf(text, sizeof(text), "POST / HTTP/1.1\r\nHost: a.example\r\n%s\r\n", fields);

	assert_int_equal(http1_request(&s, text, (size_t)n, &h), HTTP1_DONE);
	return bodyref_kind(&h);
}

static void test_kinds(void **state)
{
	(void)state;
	assert_int_equal(type_of("Content-Type: application/json\r\n"), BODYREF_JSON);
	assert_int_equal(type_of("content-type: Application/JSON; charset=utf-8\r\n"), BODYREF_JSON);
	assert_int_equal(type_of("Content-Type: application/vnd.api+json\r\n"), BODYREF_JSON);
	assert_int_equal(type_of("Content-Type: application/x-www-form-urlencoded;charset=x\r\n"), BODYREF_FORM);
	assert_int_equal(type_of("Content-Type: application/json\r\nContent-Encoding: identity\r\n"), BODYREF_JSON);
	assert_int_equal(type_of(""), BODYREF_NONE);
	assert_int_equal(type_of("Content-Type: text/plain\r\n"), BODYREF_NONE);
	assert_int_equal(type_of("Content-Type: text/json\r\n"), BODYREF_NONE);
	assert_int_equal(type_of("Content-Type: application/jsonx\r\n"), BODYREF_NONE);
	assert_int_equal(type_of("Content-Type: multipart/form-data; boundary=x\r\n"), BODYREF_NONE);
	assert_int_equal(type_of("Content-Type: application/json\r\nContent-Encoding: gzip\r\n"), BODYREF_NONE);
	assert_int_equal(type_of("Content-Type: application/json\r\nContent-Type: application/json\r\n"), BODYREF_NONE);
}

/* Cut anywhere, nothing past the end is read, and what comes out is at most what the whole gave. */
static void test_cut(void **state)
{
	static const char body[] = "{\"a\\\"\":\"\\u00e4 agentsecrets:\\/\\/KEY\",\"b\":[\"" HOLDER "\",\"\\" HOLDER "\"]}";

	(void)state;
	for (size_t n = 0; n < sizeof(body); n++)
		for (int kind = BODYREF_NONE; kind <= BODYREF_FORM; kind++) {
			struct bodyref b = {.kind = (enum bodyref_kind)kind, .p = flush_copy(0, body, n), .len = n,
					    .marks = marks};
			struct ref_found f;
			size_t last = 0;

			while (bodyref_next(&b, &f)) {
				assert_true(f.at >= last && f.at + f.len <= n);
				last = f.at + f.len;
			}
		}
}

static void test_too_many(void **state)
{
	struct inject_scan s = {0};
	struct bodyref b = {.kind = BODYREF_JSON, .p = "\"agentsecrets://KEY\"", .len = 20};
	uint32_t need;

	(void)state;
	for (char name[] = "A"; name[0] < 'A' + INJECT_MAX; name[0]++)
		assert_int_equal(inject_need(&s, name, 1, RULES_SLOT_HEADER, &need), 0);
	assert_int_equal(bodyref_scan(&b, &rules, "a.example", 443, "POST", "/x", &s), -E2BIG);
}

static int start(void **state)
{
	(void)state;
	return ref_marks_new(&rules, &marks);
}

static int end(void **state)
{
	(void)state;
	marks = ref_marks_free(marks);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_json), cmocka_unit_test(test_form), cmocka_unit_test(test_values),
		cmocka_unit_test(test_kinds), cmocka_unit_test(test_cut), cmocka_unit_test(test_too_many),
	};

	return cmocka_run_group_tests(tests, start, end);
}
