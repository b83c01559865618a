/* Kinds of secrets: their parameters, in and out of a document, where they may stand. */
#include "kind.h"
#include "rules.h"
#include "template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define HEAD                                                                                                      \
	"{\"format\":1,\"workspace\":\"demo\",\"version\":3,\"created\":\"2026-11-23T07:00:00Z\",\"owner\":0,"    \
	"\"rules\":[{\"host\":\"api.example.com\",\"port\":443,\"mode\":\"inspect\",\"methods\":[],\"paths\":[]," \
	"\"private\":false}],\"secrets\":["

static struct rules *parsed(const char *secret, struct err *e, bool strict)
{
	char text[8192];
	struct rules *r = NULL;
	int n = snprintf(text, sizeof(text), "%s%s]}\n", HEAD, secret);

	return rules_parse(text, (size_t)n, strict, &r, e) < 0 ? NULL : r;
}

static void documents_keep_kinds(void **state)
{
	static const char *const good[] = {
		"{\"name\":\"A\",\"hosts\":[\"api.example.com\"],\"slots\":[\"basic\",\"header\"],\"kind\":\"aws\",\"params\":{}}",
		"{\"name\":\"A\",\"hosts\":[\"api.example.com\"],\"slots\":[\"basic\",\"header\"],\"kind\":\"aws\",\"params\":{"
		"\"region\":\"eu-west-1\",\"service\":\"s3\"}}",
		"{\"name\":\"A\",\"hosts\":[],\"slots\":[],\"kind\":\"hmac\",\"params\":{\"message\":\"{timestamp}\\\"\\\\{body}\"}}",
		"{\"name\":\"A\",\"hosts\":[],\"slots\":[],\"kind\":\"oauth2-client\",\"params\":{\"scope\":\"a b\","
		"\"token_url\":\"https://api.example.com/t\"}}",
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct err e = {""};
		struct rules *r = parsed(good[i], &e, true);

		if (!r)
			fail_msg("%s: %s", good[i], e.text);
		rules_free(r);
	}
}

static void documents_refuse_kinds(void **state)
{
	static const struct {
		const char *secret, *says;
	} bad[] = {
		{"{\"name\":\"A\",\"kind\":\"gold\"}", "no kind gold"},
		{"{\"name\":\"A\",\"kind\":7}", "must be a string"},
		{"{\"name\":\"A\",\"params\":{\"region\":\"x\"}}", "no such parameter"},
		{"{\"name\":\"A\",\"kind\":\"aws\",\"params\":[]}", "must be an object"},
		{"{\"name\":\"A\",\"kind\":\"aws\",\"params\":{\"region\":1}}", "strings"},
		{"{\"name\":\"A\",\"kind\":\"aws\",\"params\":{\"region\":\"\"}}",
		 "parameter region"},
		{"{\"name\":\"A\",\"kind\":\"aws\",\"params\":{\"region\":\"a/b\"}}", "one word"},
		{"{\"name\":\"A\",\"kind\":\"aws\",\"params\":{\"region\":\"\\u0001\"}}",
		 "printable"},
		{"{\"name\":\"A\",\"kind\":\"hmac\"}", "needs the parameter message"},
		{"{\"name\":\"A\",\"kind\":\"hmac\",\"params\":{\"message\":\"{body\"}}", "no }"},
		{"{\"name\":\"A\",\"kind\":\"hmac\",\"params\":{\"message\":\"}\"}}", "no }"},
		{"{\"name\":\"A\",\"kind\":\"hmac\",\"params\":{\"message\":\"{boody}\"}}",
		 "unknown"},
		{"{\"name\":\"A\",\"kind\":\"hmac\",\"params\":{\"message\":\"{header:}\"}}",
		 "unknown"},
		{"{\"name\":\"A\",\"kind\":\"hmac\",\"params\":{\"message\":\"{header:a b}\"}}",
		 "unknown"},
		{"{\"name\":\"A\",\"kind\":\"hmac\",\"params\":{\"message\":\"fixed\"}}",
		 "nothing of the request"},
		{"{\"name\":\"A\",\"kind\":\"hmac\",\"params\":{\"message\":\"{signature}\"}}",
		 "cannot stand"},
		{"{\"name\":\"A\",\"kind\":\"hmac\",\"params\":{\"message\":\"{body}\",\"value\":\"{timestamp}\"}}",
		 "once"},
		{"{\"name\":\"A\",\"kind\":\"hmac\",\"params\":{\"message\":\"{body}\",\"algorithm\":\"md5\"}}",
		 "one of"},
		{"{\"name\":\"A\",\"kind\":\"hmac\",\"params\":{\"message\":\"{body}\",\"algorithm\":\"sha1 sha256\"}}",
		 "one of"},
		{"{\"name\":\"A\",\"kind\":\"oauth2-client\",\"params\":{\"token_url\":\"http://a.example.com/\"}}",
		 "URL"},
		{"{\"name\":\"A\",\"kind\":\"oauth2-client\",\"params\":{\"token_url\":\"https://u@a.example.com/\"}}",
		 "URL"},
		{"{\"name\":\"A\",\"kind\":\"oauth2-client\",\"params\":{\"token_url\":\"https://a.example.com:0/\"}}",
		 "URL"},
		{"{\"name\":\"A\",\"kind\":\"oauth2-client\",\"params\":{\"token_url\":\"https://a.example.com/?x\"}}",
		 "URL"},
		{"{\"name\":\"A\",\"kind\":\"oauth2-client\",\"params\":{\"token_url\":\"https://10.0.0.1/\"}}",
		 "URL"},
		{"{\"name\":\"A\",\"kind\":\"github-app\",\"params\":{\"app_id\":\"1\",\"installation_id\":\"../x\"}}",
		 "number"},
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		struct err e = {""};

		if (parsed(bad[i].secret, &e, false) || !strstr(e.text, bad[i].says))
			fail_msg("%s: \"%s\"", bad[i].secret, e.text);
	}
}

static void endpoints(void **state)
{
	static const char app[] =
		"api\0https://git.example.com:8443/api/v3/\0app_id\0x\0installation_id\0"
		"42\0";
	static const char plain[] = "app_id\0x\0installation_id\0"
				    "7\0";
	static const char oauth[] = "token_url\0https://login.example.com\0";
	char host[RPC_HOST_MAX], path[KIND_PATH_MAX];
	uint16_t port;
	(void)state;

	assert_int_equal(kind_endpoint(KIND_GITHUB_APP, app, host, &port, path), 0);
	assert_string_equal(host, "git.example.com");
	assert_int_equal(port, 8443);
	assert_string_equal(path, "/api/v3/app/installations/42/access_tokens");
	assert_int_equal(kind_endpoint(KIND_GITHUB_APP, plain, host, &port, path), 0);
	assert_string_equal(host, "api.github.com");
	assert_string_equal(path, "/app/installations/7/access_tokens");
	assert_int_equal(kind_endpoint(KIND_OAUTH2_CLIENT, oauth, host, &port, path), 0);
	assert_int_equal(port, 443);
	assert_string_equal(path, "/");
	assert_int_equal(kind_endpoint(KIND_VALUE, oauth, host, &port, path), -EINVAL);
	assert_int_equal(kind_endpoint(KIND_OAUTH2_CLIENT, NULL, host, &port, path), -EINVAL);
}

/* What signs does not stand where a value would; the kind outlives a new binding. */
static void slots_by_kind(void **state)
{
	static const char *const hosts[] = {"api.example.com"}, *const names[] = {"message"},
				 *const values[] = {"{body}"};
	struct err e = {""};
	struct rules *r = parsed("", &e, false);
	(void)state;

	assert_non_null(r);
	assert_int_equal(rules_bind(r, "K", hosts, 1, RULES_SLOTS_ALL, &e), 0);
	assert_int_equal(rules_secret_may(r, "K", hosts[0], 443, RULES_SLOT_SIGN),
			 REASON_SECRET_SLOT);
	assert_int_equal(rules_kind(r, "K", KIND_AWS, NULL, NULL, 0, &e), 0);
	assert_int_equal(rules_bind(r, "K", hosts, 1, RULES_SLOTS_ALL, &e), 0);
	assert_int_equal(rules_secret_may(r, "K", hosts[0], 443, RULES_SLOT_SIGN), REASON_NONE);
	assert_int_equal(rules_secret_may(r, "K", "other.example.com", 443, RULES_SLOT_SIGN),
			 REASON_SECRET_HOST);
	for (uint32_t slot = 1; slot <= RULES_SLOTS_ALL; slot <<= 1)
		assert_int_equal(rules_secret_may(r, "K", hosts[0], 443, slot), REASON_SECRET_SLOT);
	assert_int_equal(rules_kind(r, "K", KIND_HMAC, names, values, 1, &e), 0);
	assert_int_equal(rules_secret_may(r, "K", hosts[0], 443, RULES_SLOT_HEADER), REASON_NONE);
	assert_int_equal(rules_secret_may(r, "K", hosts[0], 443, RULES_SLOT_QUERY), REASON_NONE);
	assert_int_equal(rules_secret_may(r, "K", hosts[0], 443, RULES_SLOT_BODY),
			 REASON_SECRET_SLOT);
	assert_int_equal(rules_secret_may(r, "K", hosts[0], 443, RULES_SLOT_SIGN),
			 REASON_SECRET_SLOT);
	assert_int_equal(rules_kind(r, "NONE", KIND_AWS, NULL, NULL, 0, &e), -ENOENT);
	rules_free(r);
}

static void placeholders(void **state)
{
	char a[KIND_AWS_ID_LEN + 1], b[KIND_AWS_ID_LEN + 1], key[KIND_AWS_KEY_LEN + 1];
	(void)state;

	kind_aws_id("demo", "AWS", a);
	kind_aws_id("demo", "AWS2", b);
	kind_aws_key("demo", "AWS", key);
	assert_int_equal(strlen(a), 20);
	assert_int_equal(strspn(a, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"), 20);
	assert_memory_equal(a, "AKIA", 4);
	assert_string_not_equal(a, b);
	assert_int_equal(strlen(key), 40);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(documents_keep_kinds),
		cmocka_unit_test(documents_refuse_kinds),
		cmocka_unit_test(endpoints),
		cmocka_unit_test(slots_by_kind),
		cmocka_unit_test(placeholders),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
