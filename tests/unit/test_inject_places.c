/* What rules put into a request where the client wrote nothing, or something else; and placeholders. */
#include "inject.h"

#include "flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define H "Host: a.example\r\n"
#define HOLDER "sk-abcdefghijklmnopqrstuvwxyz"
#define OTHER  "sk-abcdefghijklmnopqrstuvwxy0"
#define HEXHOLDER "abcdef0123456789-abcdef-0123"
#define VALUE(text) {(const uint8_t *)(text), sizeof(text) - 1}

static struct rules_attach auth = {"KEY", RULES_SLOT_HEADER, "Authorization", "Bearer ", ""};
static struct rules_attach x_key = {"TWO", RULES_SLOT_HEADER, "X-Api-Key", "", ""};
static struct rules_attach basic = {"KEY", RULES_SLOT_BASIC, "", "user:", ""};
static struct rules_attach basic_user = {"KEY", RULES_SLOT_BASIC, "", "", ":"};
static struct rules_attach param = {"KEY", RULES_SLOT_QUERY, "api_key", "", ""};
static struct rules_attach both[] = {{"KEY", RULES_SLOT_HEADER, "Authorization", "Token token=", ""},
				     {"TWO", RULES_SLOT_QUERY, "key", "", ""}};

static char hosts[][RPC_HOST_MAX] = {"a.example"};
static char only_path[][512] = {"/in/*"};
static struct rules_rule rule_list[] = {{.host = "a.example", .port = 443, .mode = RULES_INSPECT}};
static struct rules_secret secret_list[] = {
	{.name = "KEY", .slots = RULES_SLOTS_ALL, .host_count = 1, .hosts = hosts, .placeholder = HOLDER},
	{.name = "PATHS", .slots = RULES_SLOT_HEADER, .host_count = 1, .hosts = hosts, .path_count = 1, .paths = only_path,
	 .placeholder = HEXHOLDER},
	{.name = "TWO", .slots = RULES_SLOT_HEADER, .host_count = 1, .hosts = hosts, .placeholder = OTHER},
};
static struct rules rules = {.workspace = "w", .version = 1, .rule_count = 1, .rules = rule_list, .secret_count = 3,
			     .secrets = secret_list};
static struct ref_marks *marks;

static struct {
	char text[8192];
	struct http1_head head;
	struct http1_meaning meaning;
	struct inject_scan scan;
} q;

/* The request, scanned, with these attachments. */
static int ask(const char *target, const char *fields, struct rules_attach *a, uint32_t count)
{
	struct http1_scan s = {0};
	int n = snprintf(q.text, sizeof(q.text), "GET %s HTTP/1.1\r\n" H "%s\r\n", target, fields);

	assert_int_equal(http1_request(&s, q.text, (size_t)n, &q.head), HTTP1_DONE);
	assert_int_equal(http1_request_meaning(&q.head, &q.meaning), 0);
	assert_int_equal(inject_scan(&q.head, &q.meaning, marks, &q.scan), 0);
	rule_list[0].attach = a;
	rule_list[0].attach_count = count;
	return inject_attach(&rules, "a.example", 443, "GET", NULL, &q.head, &q.meaning, &q.scan);
}

static void becomes(struct inject_value v, int rc, const char *want_target, const char *want_fields)
{
	struct inject_value values[INJECT_MAX];
	struct inject_fill fill = {&q.head, &q.meaning, &q.scan, values, marks};
	struct http1_edit edits[INJECT_EDITS_MAX];
	struct http1_out how = {.head = &q.head, .meaning = &q.meaning, .replace = inject_replace, .ctx = &fill, .edits = edits};
	char out[4096], want[4096];
	struct wr w = wr_of(out, sizeof(out));
	int n = inject_edits(&q.head, &q.scan, edits, ARRAY_SIZE(edits));

	for (size_t i = 0; i < INJECT_MAX; i++)
		values[i] = v;
	assert_true(n >= 0);
	how.edit_count = (size_t)n;
	assert_int_equal(http1_write_request(&w, &how), rc);
	if (rc < 0)
		return;
	snprintf(want, sizeof(want), "GET %s HTTP/1.1\r\n" H "%s\r\n", want_target, want_fields);
	if (w.len != strlen(want) || memcmp(out, want, w.len) != 0)
		fail_msg("wrote %.*s\nnot %s", (int)w.len, out, want);
	for (size_t cap = 0; cap < strlen(want); cap++) {
		w = wr_of(flush_copy(0, out, cap), cap);
		assert_int_equal(http1_write_request(&w, &how), -ENOBUFS);
	}
}

static const struct inject_value plain = VALUE("v&a");

static void test_headers(void **state)
{
	(void)state;
	assert_int_equal(ask("/", "A: 1\r\n", &auth, 1), 0);
	assert_int_equal(q.scan.need_count, 1);
	becomes(plain, 0, "/", "A: 1\r\nAuthorization: Bearer v&a\r\n");
	/* the agent's own goes, however often it is there, and what it referred to is not needed */
	assert_int_equal(ask("/", "AUTHORIZATION: Bearer agentsecrets://GONE\r\nauthorization: x\r\nA: 1\r\n", &auth, 1), 0);
	assert_int_equal(q.scan.need_count, 1);
	assert_string_equal(q.scan.needs[0].name, "KEY");
	becomes(plain, 0, "/", "A: 1\r\nAuthorization: Bearer v&a\r\n");
	assert_int_equal(ask("/", "x-api-key: mine\r\nA: agentsecrets://KEY\r\n", &x_key, 1), 0);
	assert_int_equal(q.scan.need_count, 2);
	becomes(plain, 0, "/", "A: v&a\r\nX-Api-Key: v&a\r\n");
	assert_int_equal(ask("/", "", &basic, 1), 0);
	becomes(plain, 0, "/", "Authorization: Basic dXNlcjp2JmE=\r\n");
	assert_int_equal(ask("/", "Authorization: Basic dTphZ2VudHNlY3JldHM6Ly9LRVk=\r\n", &basic_user, 1), 0);
	assert_int_equal(q.scan.ref_count, 0);
	becomes(plain, 0, "/", "Authorization: Basic diZhOg==\r\n");
}

static void test_params(void **state)
{
	(void)state;
	assert_int_equal(ask("/p", "", &param, 1), 0);
	becomes(plain, 0, "/p?api_key=v%26a", "");
	assert_int_equal(ask("/p?", "", &param, 1), 0);
	becomes(plain, 0, "/p?&api_key=v%26a", "");
	assert_int_equal(ask("/p?b=%zz&a=1&a=1", "", &param, 1), 0);
	becomes(plain, 0, "/p?b=%zz&a=1&a=1&api_key=v%26a", "");
	/* the client's own goes, however it is written; names keep their case */
	assert_int_equal(ask("/p?api_key=x&api%5Fkey=y&api_key&Api_key=z&api_key2=&%61%70%69_key=agentsecrets://GONE", "", &param, 1), 0);
	assert_int_equal(q.scan.need_count, 1);
	becomes(plain, 0, "/p?Api_key=z&api_key2=&api_key=v%26a", "");
	/* references elsewhere stay where they are */
	assert_int_equal(ask("/agentsecrets%3A%2F%2FKEY?api_key=x&t=agentsecrets://KEY&u", "", &param, 1), 0);
	becomes(plain, 0, "/v%26a?t=v%26a&u&api_key=v%26a", "");
	assert_int_equal(ask("/?key=agentsecrets://GONE", "Authorization: old\r\n", both, 2), 0);
	becomes(plain, 0, "/?key=v%26a", "Authorization: Token token=v&a\r\n");
	assert_int_equal(ask("http://a.example?x", "", &param, 1), 0);
	becomes(plain, 0, "/?x&api_key=v%26a", "");
}

static void test_refused(void **state)
{
	(void)state;
	assert_int_equal(ask("/", "", &auth, 1), 0);
	becomes((struct inject_value)VALUE("a\r\nX: y"), -EINVAL, NULL, NULL);
	becomes((struct inject_value)VALUE(""), -EINVAL, NULL, NULL);
	assert_int_equal(inject_add(&q.scan, &basic), -EEXIST);
	assert_int_equal(inject_add(&q.scan, &auth), -EEXIST);
	assert_int_equal(inject_add(&q.scan, &x_key), 0);
	/* bound like everything else */
	assert_int_equal(ask("/", "", &both[1], 1), 0);
	assert_int_equal(inject_judge(&rules, "a.example", 443, "GET", NULL, &q.scan), REASON_SECRET_SLOT);
	assert_int_equal(ask("/", "", &auth, 1), 0);
	assert_int_equal(inject_judge(&rules, "b.example", 443, "GET", NULL, &q.scan), REASON_SECRET_HOST);
	assert_int_equal(inject_judge(&rules, "a.example", 443, "GET", NULL, &q.scan), REASON_NONE);
	for (uint32_t i = 0, need; i < 2 * INJECT_MAX; i++) {
		char name[8];
		int n = snprintf(name, sizeof(name), "N%u", i);

		assert_int_equal(inject_need(&q.scan, name, (size_t)n, RULES_SLOT_BODY, &need),
				 i + 1 < INJECT_MAX ? 0 : -E2BIG);
	}
}

static void one(const char *target, const char *fields, const char *name, enum rules_slot slot)
{
	assert_int_equal(ask(target, fields, NULL, 0), 0);
	if (q.scan.ref_count != (name ? 1 : 0))
		fail_msg("%s %s: %u found", target, fields, q.scan.ref_count);
	if (!name)
		return;
	assert_string_equal(q.scan.needs[0].name, name);
	assert_int_equal(q.scan.needs[0].slot, slot);
}

static void test_placeholders(void **state)
{
	(void)state;
	one("/", "Authorization: Bearer " HOLDER "\r\n", "KEY", RULES_SLOT_HEADER);
	becomes(plain, 0, "/", "Authorization: Bearer v&a\r\n");
	one("/", "X: a" OTHER "b\r\n", "TWO", RULES_SLOT_HEADER);
	becomes(plain, 0, "/", "X: av&ab\r\n");
	one("/bot" HOLDER "/x", "", "KEY", RULES_SLOT_PATH);
	becomes(plain, 0, "/botv%26a/x", "");
	one("/?k=" HOLDER, "", "KEY", RULES_SLOT_QUERY);
	one("/", "Authorization: Basic dTpzay1hYmNkZWZnaGlqa2xtbm9wcXJzdHV2d3h5eg==\r\n", "KEY", RULES_SLOT_BASIC);
	becomes(plain, 0, "/", "Authorization: Basic dTp2JmE=\r\n");
	one("/?k=%41" HEXHOLDER, "", "PATHS", RULES_SLOT_QUERY);
	one("/", "X: sk-abcdefghijklmnopqrstuvwxy\r\n", NULL, 0);
	one("/", "X: SK-ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n", NULL, 0);
	one("/?k=%4" HEXHOLDER, "", NULL, 0);
	one("/?k=%" HEXHOLDER, "", NULL, 0);
	one("/", "Keep-Alive: " HOLDER "\r\n", NULL, 0);
	/* judged as a reference is */
	one("/", "X: " HEXHOLDER "\r\n", "PATHS", RULES_SLOT_HEADER);
	assert_int_equal(inject_judge(&rules, "a.example", 443, "GET", "/in/x", &q.scan), REASON_NONE);
	assert_int_equal(inject_judge(&rules, "a.example", 443, "GET", "/out", &q.scan), REASON_SECRET_PATH);
	assert_int_equal(inject_judge(&rules, "a.example", 443, "GET", NULL, &q.scan), REASON_SECRET_PATH);
	/* both, in the order of their places */
	assert_int_equal(ask("/", "X: " HOLDER ",agentsecrets://TWO," OTHER "," HOLDER "\r\n", NULL, 0), 0);
	assert_int_equal(q.scan.ref_count, 4);
	assert_int_equal(q.scan.need_count, 2);
	becomes(plain, 0, "/", "X: v&a,v&a,v&a,v&a\r\n");
}

/* Finds are the same as those of the slow way, with both kinds in a long text. */
static void test_long_text(void **state)
{
	static char text[40000];
	static const char *const parts[] = {"agentsecrets://KEY ", HOLDER " ", OTHER ".", "agentsecrets:/", "sk-abcdef", "x"};
	struct ref_found f;
	size_t len = 0, want = 0, got = 0;
	uint32_t seed = 1;

	(void)state;
	while (len < sizeof(text) - 64) {
		uint32_t i = (seed = seed * 1664525 + 1013904223) >> 24;
		const char *part = parts[i < 200 ? 5 : i % 6];

		want += part == parts[0] || part == parts[1] || part == parts[2];
		memcpy(text + len, part, strlen(part));
		len += strlen(part);
	}
	for (size_t at = 0; ref_find((struct http1_slice){flush_copy(0, text, len), len}, at, REF_PLAIN, marks, &f); at = f.at + f.len)
		got++;
	assert_int_equal(got, want);
	assert_true(want > 100);
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
		cmocka_unit_test(test_headers),	     cmocka_unit_test(test_params),	cmocka_unit_test(test_refused),
		cmocka_unit_test(test_placeholders), cmocka_unit_test(test_long_text),
	};

	return cmocka_run_group_tests(tests, start, end);
}
