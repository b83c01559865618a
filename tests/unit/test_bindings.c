/* What a document says of a secret beside hosts and slots, and what its rules put into requests. */
#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "{\"format\":1,\"workspace\":\"demo\",\"version\":3,\"created\":\"2026-11-23T07:00:00Z\",\"owner\":1000,"
#define RULE(more) "{\"host\":\"api.example.com\",\"port\":443,\"mode\":\"inspect\"," more "}"
#define ANY "\"methods\":[],\"paths\":[],\"private\":false"
#define SECRET(more) "{\"name\":\"KEY\",\"hosts\":[\"api.example.com\"],\"slots\":[\"body\",\"header\"]" more "}"
#define AUTH "{\"secret\":\"KEY\",\"slot\":\"header\",\"name\":\"Authorization\",\"prefix\":\"Bearer \",\"suffix\":\"\"}"
#define PARAM "{\"secret\":\"KEY\",\"slot\":\"query\",\"name\":\"api_key\",\"prefix\":\"\",\"suffix\":\"\"}"
#define BASIC "{\"secret\":\"KEY\",\"slot\":\"basic\",\"name\":\"\",\"prefix\":\"user:\",\"suffix\":\"\"}"
#define HOLDER "sk-abcdefghijklmnopqrstuvwxyz0123456789"

static struct rules *parsed(const char *text, bool strict)
{
	struct rules *r = NULL;
	struct err e = {""};

	if (rules_parse(text, strlen(text), strict, &r, &e))
		fail_msg("%s: %s", text, e.text);
	return r;
}

static struct rules *doc(const char *rules, const char *secrets)
{
	char text[8192];

	snprintf(text, sizeof(text), HEAD "\"rules\":[%s],\"secrets\":[%s]}\n", rules, secrets);
	return parsed(text, false);
}

static void refused(const char *rules, const char *secrets, const char *says)
{
	struct rules *r = NULL;
	struct err e = {""};
	char text[8192];

	snprintf(text, sizeof(text), HEAD "\"rules\":[%s],\"secrets\":[%s]}\n", rules, secrets);
	if (rules_parse(text, strlen(text), false, &r, &e) >= 0 || !strstr(e.text, says))
		fail_msg("%s: \"%s\", wanted \"%s\"", text, e.text, says);
}

static void strict_both_ways(void **state)
{
	static const char full[] = HEAD
		"\"foreign_credentials\":\"refuse\",\"rules\":[" RULE(ANY ",\"inject\":[" AUTH "]") "],"
		"\"secrets\":[" SECRET(",\"ports\":[443,8443],\"methods\":[\"GET\",\"POST\"],\"paths\":[\"/v1/**\"],"
				       "\"placeholder\":\"" HOLDER "\"") "]}\n";
	auto_(rules) struct rules *r = parsed(full, true);
	auto_free char *text = NULL;
	size_t len;

	(void)state;
	assert_int_equal(r->foreign, RULES_FOREIGN_REFUSE);
	assert_int_equal(r->rules[0].attach_count, 1);
	assert_string_equal(r->secrets[0].placeholder, HOLDER);
	assert_int_equal(rules_write(r, &text, &len, NULL), 0);
	assert_string_equal(text, full);
	for (size_t n = 0; n < sizeof(full) - 1; n++) {
		struct rules *no = NULL;
		struct err e;

		assert_true(rules_parse(full, n, true, &no, &e) < 0);
	}
}

/* What says nothing is not written, so it is not canonical either. */
static void defaults_are_not_written(void **state)
{
	static const char *const not_canonical[] = {
		HEAD "\"foreign_credentials\":\"warn\",\"rules\":[],\"secrets\":[]}\n",
		HEAD "\"rules\":[" RULE(ANY ",\"inject\":[]") "],\"secrets\":[]}\n",
		HEAD "\"rules\":[],\"secrets\":[" SECRET(",\"ports\":[]") "]}\n",
		HEAD "\"rules\":[],\"secrets\":[" SECRET(",\"ports\":[8443,443]") "]}\n",
		HEAD "\"rules\":[],\"secrets\":[" SECRET(",\"placeholder\":\"\"") "]}\n",
		HEAD "\"rules\":[],\"secrets\":[" SECRET(",\"methods\":[\"post\"]") "]}\n",
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(not_canonical); i++) {
		auto_(rules) struct rules *r = parsed(not_canonical[i], false);
		struct rules *no = NULL;
		struct err e;

		assert_true(rules_parse(not_canonical[i], strlen(not_canonical[i]), true, &no, &e) < 0);
	}
}

static void refusals(void **state)
{
	(void)state;
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"key\",\"slot\":\"header\",\"name\":\"X\"}]"), "", "no name of a secret");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"header\",\"name\":\"Host\"}]"), "", "no header");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"header\",\"name\":\"Transfer-Encoding\"}]"), "", "no header");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"header\",\"name\":\"X-AS-Target-URL\"}]"), "", "no header");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"header\",\"name\":\"Proxy-Authorization\"}]"), "", "no header");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"header\",\"name\":\"a b\"}]"), "", "no header");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"header\",\"name\":\"\"}]"), "", "no header");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"header\",\"name\":\"X\",\"prefix\":\"a\\r\\nb\"}]"), "", "printable");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"query\",\"name\":\"a&b\"}]"), "", "query parameter");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"path\",\"name\":\"\"}]"), "", "one of header");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"body\",\"name\":\"a\"}]"), "", "one of header");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"slot\":\"basic\",\"name\":\"a\"}]"), "", "one of header");
	refused(RULE(ANY ",\"inject\":[{\"secret\":\"KEY\",\"place\":\"header\"}]"), "", "no field \"place\"");
	refused(RULE(ANY ",\"inject\":[1]"), "", "object");
	refused(RULE(ANY ",\"inject\":{}"), "", "list");
	refused("{\"host\":\"a.example.com\",\"mode\":\"tunnel\",\"inject\":[" AUTH "]}", "", "mode tunnel");
	refused("", SECRET(",\"ports\":[0]"), "number");
	refused("", SECRET(",\"ports\":[65536]"), "number");
	refused("", SECRET(",\"ports\":[\"443\"]"), "number");
	refused("", SECRET(",\"ports\":443"), "list");
	refused("", SECRET(",\"methods\":[\"G T\"]"), "method");
	refused("", SECRET(",\"paths\":[\"v1\"]"), "begin with");
	refused("", SECRET(",\"paths\":[\"/../x\"]"), "cannot stand");
	refused("", SECRET(",\"placeholder\":\"sk-short\""), "placeholder has");
	refused("", SECRET(",\"placeholder\":\"" HOLDER "+\""), "placeholder has");
	refused("", SECRET(",\"placeholder\":\"x-agentsecrets-x-0123456789\""), "placeholder has");
	refused("", SECRET(",\"placeholder\":\"" HOLDER "\"") ",{\"name\":\"OTHER\",\"placeholder\":\"" HOLDER "\"}", "placeholder of KEY");
	refused("", SECRET(",\"placeholder\":\"" HOLDER "\"") ",{\"name\":\"OTHER\",\"placeholder\":\"x" HOLDER "x\"}", "placeholder of KEY");
	refused("", SECRET(",\"placeholder\":\"" HOLDER "xyz\"") ",{\"name\":\"OTHER\",\"placeholder\":\"" HOLDER "\"}", "placeholder of KEY");
}

static void ports_methods_and_paths_bind(void **state)
{
	auto_(rules) struct rules *r = doc(
		RULE(ANY) ",{\"host\":\"api.example.com\",\"port\":8443}",
		SECRET(",\"ports\":[443],\"methods\":[\"POST\"],\"paths\":[\"/v1/**\",\"/token\"]"));
	static const struct {
		uint16_t port;
		enum rules_slot slot;
		const char *method, *path;
		enum reason why;
	} cases[] = {
		{443, RULES_SLOT_HEADER, "POST", "/v1/x", REASON_NONE},
		{443, RULES_SLOT_BODY, "POST", "/token", REASON_NONE},
		{8443, RULES_SLOT_HEADER, "POST", "/v1/x", REASON_SECRET_HOST},
		{443, RULES_SLOT_QUERY, "POST", "/v1/x", REASON_SECRET_SLOT},
		{443, RULES_SLOT_HEADER, "GET", "/v1/x", REASON_SECRET_PATH},
		{443, RULES_SLOT_HEADER, "post", "/v1/x", REASON_SECRET_PATH},
		{443, RULES_SLOT_HEADER, "POST", "/v2/x", REASON_SECRET_PATH},
		{443, RULES_SLOT_HEADER, "POST", "/token/x", REASON_SECRET_PATH},
		{443, RULES_SLOT_HEADER, "POST", NULL, REASON_SECRET_PATH},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(rules_secret_may_in(r, "KEY", "api.example.com", cases[i].port, cases[i].slot,
						     cases[i].method, cases[i].path),
				 cases[i].why);
	assert_int_equal(rules_secret_may(r, "KEY", "api.example.com", 8443, RULES_SLOT_HEADER), REASON_SECRET_HOST);
	assert_int_equal(rules_secret_may_in(r, "NONE", "api.example.com", 443, RULES_SLOT_HEADER, "POST", "/v1/x"),
			 REASON_SECRET_UNKNOWN);
	assert_true(rules_body_secrets(r, "api.example.com", 443, "POST", "/v1/x"));
	assert_false(rules_body_secrets(r, "api.example.com", 443, "GET", "/v1/x"));
	assert_false(rules_body_secrets(r, "api.example.com", 8443, "POST", "/v1/x"));
	assert_true(rules_secrets_have_paths(r));
}

/* A changed host or slot leaves the rest of the binding. */
static void bind_keeps_the_rest(void **state)
{
	auto_(rules) struct rules *r = doc("", SECRET(",\"ports\":[443],\"paths\":[\"/a\"],\"placeholder\":\"" HOLDER "\""));
	const char *hosts[] = {"other.example.com"};
	const struct rules_secret *s;

	(void)state;
	assert_int_equal(rules_bind(r, "KEY", hosts, 1, RULES_SLOT_QUERY, NULL), 0);
	s = rules_secret(r, "KEY");
	assert_string_equal(s->hosts[0], "other.example.com");
	assert_int_equal(s->slots, RULES_SLOT_QUERY);
	assert_int_equal(s->port_count, 1);
	assert_string_equal(s->paths[0], "/a");
	assert_string_equal(s->placeholder, HOLDER);
}

static int attached(const struct rules *r, const char *method, const char *path)
{
	const struct rules_attach *a[RULES_ATTACH_MAX];

	return rules_attached(r, "api.example.com", 443, method, path, a);
}

static void attachments_follow_their_rule(void **state)
{
	auto_(rules) struct rules *r = doc(
		RULE(ANY) "," RULE("\"methods\":[\"POST\"],\"paths\":[\"/v1/**\"],\"inject\":[" AUTH "," PARAM "]"), "");
	auto_(rules) struct rules *twice = doc(
		RULE("\"methods\":[\"GET\"],\"inject\":[" AUTH "]") "," RULE("\"paths\":[\"/x\"],\"inject\":[" AUTH "]"), "");
	auto_(rules) struct rules *clash = doc(
		RULE("\"methods\":[\"GET\"],\"inject\":[" AUTH "]") "," RULE("\"paths\":[\"/x\"],\"inject\":[" BASIC "]"), "");

	(void)state;
	assert_int_equal(attached(r, "POST", "/v1/x"), 2);
	assert_int_equal(attached(r, "GET", "/v1/x"), 0);
	assert_int_equal(attached(r, "POST", "/v2"), 0);
	assert_int_equal(attached(twice, "GET", "/x"), 1);
	assert_int_equal(attached(clash, "GET", "/x"), -EEXIST);
	assert_int_equal(attached(clash, "GET", "/y"), 1);
	assert_int_equal(attached(clash, "POST", "/x"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(strict_both_ways),
		cmocka_unit_test(defaults_are_not_written),
		cmocka_unit_test(refusals),
		cmocka_unit_test(ports_methods_and_paths_bind),
		cmocka_unit_test(bind_keeps_the_rest),
		cmocka_unit_test(attachments_follow_their_rule),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
