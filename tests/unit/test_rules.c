/* Documents, hosts, paths and verdicts. */
#include "rules.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include <cmocka.h>

static const char doc[] =
	"{\"format\":1,\"workspace\":\"demo\",\"version\":3,\"created\":\"2026-11-23T07:00:00Z\",\"owner\":1000,"
	"\"rules\":["
	"{\"host\":\"*.example.com\",\"port\":443,\"mode\":\"inspect\",\"methods\":[],\"paths\":[],\"private\":false},"
	"{\"host\":\"10.1.2.3\",\"port\":8443,\"mode\":\"inspect\",\"methods\":[],\"paths\":[],\"private\":true},"
	"{\"host\":\"api.example.com\",\"port\":443,\"mode\":\"inspect\",\"methods\":[\"GET\",\"HEAD\"],"
	"\"paths\":[\"/v1/**\",\"/v2/*/items\"],\"private\":false},"
	"{\"host\":\"api.example.com\",\"port\":443,\"mode\":\"inspect\",\"methods\":[\"POST\"],"
	"\"paths\":[\"/v1/charges\"],\"private\":false},"
	"{\"host\":\"db.example.net\",\"port\":5432,\"mode\":\"tcp\",\"methods\":[],\"paths\":[],\"private\":true},"
	"{\"host\":\"pinned.example.org\",\"port\":443,\"mode\":\"tunnel\",\"methods\":[],\"paths\":[],"
	"\"private\":false}],"
	"\"secrets\":["
	"{\"name\":\"API_KEY\",\"hosts\":[\"api.example.com\"],\"slots\":[\"basic\",\"header\"]},"
	"{\"name\":\"UNBOUND\",\"hosts\":[],\"slots\":[]},"
	"{\"name\":\"WIDE\",\"hosts\":[\"*.example.com\",\"db.example.net\",\"pinned.example.org\"],"
	"\"slots\":[\"basic\",\"body\",\"header\",\"path\",\"query\"]}]}\n";
#define DOC_LEN (sizeof(doc) - 1)

/* n bytes that end at an unmapped page. */
static char *edge;
static char *at_edge(const void *p, size_t n)
{
	const size_t room = 1 << 20;

	if (!edge) {
		edge = mmap(NULL, room + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_true(edge != MAP_FAILED && mprotect(edge + room, 4096, PROT_NONE) == 0);
	}
	assert_true(n <= room);
	memcpy(edge + room - n, p, n);
	return edge + room - n;
}

static struct rules *parsed(const char *text, bool strict)
{
	struct err e = {""};
	struct rules *r = NULL;

	if (rules_parse(at_edge(text, strlen(text)), strlen(text), strict, &r, &e))
		fail_msg("%s", e.text);
	return r;
}

/* A whole document with these rules and secrets, refused with a sentence that holds `says`. */
static void refused_doc(const char *text, bool strict, const char *says)
{
	struct rules *r = (void *)0x1;
	struct err e = {""};
	int rc = rules_parse(at_edge(text, strlen(text)), strlen(text), strict, &r, &e);

	if (rc >= 0 || !strstr(e.text, says))
		fail_msg("%.200s: %d \"%s\", wanted \"%s\"", text, rc, e.text, says);
	assert_ptr_equal(r, (void *)0x1);
}

static void refused(const char *rules, const char *secrets, const char *says)
{
	char text[4096];

	snprintf(text, sizeof(text),
		 "{\"format\":1,\"workspace\":\"demo\",\"version\":3,\"created\":\"2026-11-23T07:00:00Z\",\"owner\":0,"
		 "\"rules\":[%s],\"secrets\":[%s]}\n", rules, secrets);
	refused_doc(text, false, says);
}

static void reads_and_writes_the_same_bytes(void **state)
{
	auto_(rules) struct rules *r = parsed(doc, true);
	auto_free char *text = NULL;
	size_t len;

	(void)state;
	assert_string_equal(r->workspace, "demo");
	assert_int_equal(r->version, 3);
	assert_int_equal(r->owner, 1000);
	assert_string_equal(r->created, "2026-11-23T07:00:00Z");
	assert_int_equal(r->rule_count, 6);
	assert_int_equal(r->secret_count, 3);
	assert_int_equal(rules_write(r, &text, &len, NULL), 0);
	assert_int_equal(len, DOC_LEN);
	assert_memory_equal(text, doc, DOC_LEN);
}

static void makes_canonical_what_is_not(void **state)
{
	static const char loose[] =
		" {\"owner\":7, \"secrets\":[{\"name\":\"B\",\"slots\":[\"query\",\"body\",\"query\"],"
		"\"hosts\":[\"B.example.com.\",\"a.example.com\",\"b.example.com\"]},{\"name\":\"A\"}],"
		"\"rules\":[{\"paths\":[\"/b%7e\",\"/a\",\"/a\"],\"host\":\"Z.Example.COM\",\"methods\":[\"put\",\"GET\"]},"
		"{\"host\":\"a.example.com\",\"port\":8443},{\"host\":\"a.example.com\"}],"
		"\"workspace\":\"w\",\"version\":0,\"created\":\"2026-01-01T00:00:00Z\",\"format\":1} ";
	static const char canonical[] =
		"{\"format\":1,\"workspace\":\"w\",\"version\":0,\"created\":\"2026-01-01T00:00:00Z\",\"owner\":7,\"rules\":["
		"{\"host\":\"a.example.com\",\"port\":443,\"mode\":\"inspect\",\"methods\":[],\"paths\":[],\"private\":false},"
		"{\"host\":\"a.example.com\",\"port\":8443,\"mode\":\"inspect\",\"methods\":[],\"paths\":[],\"private\":false},"
		"{\"host\":\"z.example.com\",\"port\":443,\"mode\":\"inspect\",\"methods\":[\"GET\",\"PUT\"],"
		"\"paths\":[\"/a\",\"/b~\"],\"private\":false}],"
		"\"secrets\":[{\"name\":\"A\",\"hosts\":[],\"slots\":[\"basic\",\"header\"]},"
		"{\"name\":\"B\",\"hosts\":[\"a.example.com\",\"b.example.com\"],\"slots\":[\"body\",\"query\"]}]}\n";
	auto_(rules) struct rules *r = parsed(loose, false);
	auto_(rules) struct rules *again = NULL;
	auto_free char *text = NULL;
	size_t len;

	(void)state;
	refused_doc(loose, true, "canonical");
	assert_int_equal(rules_write(r, &text, &len, NULL), 0);
	assert_string_equal(text, canonical);
	again = parsed(text, true);
}

static void strict_refuses_each_other_byte(void **state)
{
	char text[sizeof(doc)];
	struct rules *r = NULL;
	struct err e;

	(void)state;
	for (size_t n = 0; n < DOC_LEN; n++)
		assert_true(rules_parse(at_edge(doc, n), n, true, &r, &e) < 0);
	/* Flipping a bit makes either something else that is canonical, or nothing. */
	for (size_t i = 0; i < DOC_LEN * 8; i++) {
		memcpy(text, doc, sizeof(doc));
		text[i / 8] ^= (char)(1 << (i % 8));
		if (rules_parse(at_edge(text, DOC_LEN), DOC_LEN, true, &r, &e) == 0) {
			auto_free char *back = NULL;
			size_t len;

			assert_int_equal(rules_write(r, &back, &len, NULL), 0);
			assert_int_equal(len, DOC_LEN);
			assert_memory_equal(back, text, len);
			r = rules_free(r);
		}
	}
	/* A byte more, anywhere. */
	for (size_t i = 0; i <= DOC_LEN; i++) {
		char more[sizeof(doc) + 1];

		memcpy(more, doc, i);
		more[i] = ' ';
		memcpy(more + i + 1, doc + i, DOC_LEN - i);
		assert_true(rules_parse(at_edge(more, DOC_LEN + 1), DOC_LEN + 1, true, &r, &e) < 0);
	}
}

static void refuses_rules_with_the_place(void **state)
{
	char many[4096] = "", paths[4096] = "";

	(void)state;
	refused("{\"host\":\"a.x.com\"},{\"host\":\"b.x.com\"},{\"host\":\"api.x.com\",\"port\":70000}", "",
		"rule 3 (api.x.com): port 70000 is out of range; use 1 to 65535");
	refused("{\"host\":\"a.x.com\",\"port\":0}", "", "port 0 is out of range");
	refused("{\"host\":\"a.x.com\",\"port\":-1}", "", "port -1 is out of range");
	refused("{\"host\":\"a.x.com\",\"port\":443.0}", "", "port must be a whole number");
	refused("{\"host\":\"a.x.com\",\"port\":\"443\"}", "", "port must be a whole number");
	refused("{\"host\":\"a.x.com\",\"port\":99999999999999999999}", "", "not JSON");
	refused("{\"host\":\"a.x.com\",\"mode\":\"raw\"}", "", "mode raw is none of");
	refused("{\"host\":\"a.x.com\",\"mode\":1}", "", "mode must be a string");
	refused("{\"host\":\"a.x.com\",\"private\":1}", "", "private must be true or false");
	refused("{\"host\":\"a.x.com\",\"private\":null}", "", "private must be true or false");
	refused("{\"host\":\"a.x.com\",\"methods\":\"GET\"}", "", "methods must be a list");
	refused("{\"host\":\"a.x.com\",\"methods\":[1]}", "", "methods: entry 1 must be a string");
	refused("{\"host\":\"a.x.com\",\"methods\":[\"\"]}", "", "is not one");
	refused("{\"host\":\"a.x.com\",\"methods\":[\"G T\"]}", "", "G?T is not one");
	refused("{\"host\":\"a.x.com\",\"methods\":[\"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF\"]}", "", "longer than 31");
	refused("{\"host\":\"a.x.com\",\"paths\":[\"v1\"]}", "", "must begin with \"/\"");
	refused("{\"host\":\"a.x.com\",\"paths\":[\"\"]}", "", "must begin with \"/\"");
	refused("{\"host\":\"a.x.com\",\"paths\":[\"/a/../b\"]}", "", "cannot stand in a rule");
	refused("{\"host\":\"a.x.com\",\"paths\":[\"/a?b\"]}", "", "cannot stand in a rule");
	refused("{\"host\":\"a.x.com\",\"paths\":[\"/a**\"]}", "", "must be a whole segment");
	refused("{\"host\":\"a.x.com\",\"paths\":[\"/***\"]}", "", "must be a whole segment");
	refused("{\"host\":\"a.x.com\",\"paths\":[\"/a/**b\"]}", "", "must be a whole segment");
	refused("{\"host\":\"a.x.com\",\"mode\":\"tcp\",\"paths\":[\"/a\"]}", "", "mode inspect only");
	refused("{\"host\":\"a.x.com\",\"mode\":\"tunnel\",\"methods\":[\"GET\"]}", "", "mode inspect only");
	refused("{\"host\":\"a.x.com\",\"colour\":\"red\"}", "", "there is no field \"colour\" here");
	refused("{\"host\":\"a.x.com\",\"host\":\"b.x.com\"}", "", "not JSON");
	refused("{\"host\":\"a.x.com\\u0000\"}", "", "not JSON");
	refused("{\"host\":\"a.x.\\ud800com\"}", "", "not JSON");
	refused("{}", "", "rule 1: there is no host");
	refused("[]", "", "rule 1: must be an object");
	refused("null", "", "rule 1: must be an object");
	refused("{\"host\":7}", "", "host must be a string");
	refused("{\"host\":\"8.8.8.8\"}", "", "needs private");
	refused("{\"host\":\"[::1]\"}", "", "needs private");
	refused("{\"host\":\"224.0.0.1\",\"private\":true}", "", "multicast address, which no rule can open");
	refused("{\"host\":\"192.0.2.1\",\"private\":true}", "", "sinkhole address");
	refused("{\"host\":\"a.x.com\"},{\"host\":\"A.x.com.\"}", "", "rule 2 (A.x.com.): a.x.com port 443 is in the");
	refused("{\"host\":\"a.x.com\"},{\"host\":\"a.x.com\",\"mode\":\"tunnel\"}", "", "has mode inspect in another");
	refused("{\"host\":\"a.x.com\",\"mode\":\"tcp\"},{\"host\":\"a.x.com\"}", "", "has mode tcp in another");
	refused("{\"host\":\"a.x.com\"},{\"host\":\"a.x.com\",\"methods\":[\"GET\"],\"private\":true}", "",
		"has private false in another");
	for (int i = 0; i < 17; i++)
		sprintf(many + strlen(many), "%s\"M%d\"", i ? "," : "{\"host\":\"a.x.com\",\"methods\":[", i);
	strcat(many, "]}");
	refused(many, "", "methods has 17 entries; at most 16 fit");
	for (int i = 0; i < 33; i++)
		sprintf(paths + strlen(paths), "%s\"/p%d\"", i ? "," : "{\"host\":\"a.x.com\",\"paths\":[", i);
	strcat(paths, "]}");
	refused(paths, "", "paths has 33 entries; at most 32 fit");
}

static void refuses_secrets_with_the_place(void **state)
{
	(void)state;
	refused("", "{\"name\":\"lower\"}", "secret 1 (lower): a secret's name is");
	refused("", "{\"name\":\"1A\"}", "a secret's name is");
	refused("", "{\"name\":\"\"}", "a secret's name is");
	refused("", "{}", "secret 1: there is no name");
	refused("", "{\"name\":\"A\"},{\"name\":\"A\"}", "secret 2 (A): the name stands in an earlier one");
	refused("", "{\"name\":\"A\",\"hosts\":[\"localhost\"]}", "single label");
	refused("", "{\"name\":\"A\",\"hosts\":\"x.com\"}", "hosts must be a list");
	refused("", "{\"name\":\"A\",\"slots\":[\"cookie\"]}", "slot cookie is none of");
	refused("", "{\"name\":\"A\",\"slots\":["
		"\"body\",\"body\",\"body\",\"body\",\"body\",\"body\",\"body\"]}", "at most 6 fit");
	refused("", "{\"name\":\"A\",\"value\":\"x\"}", "there is no field \"value\" here");
	refused("", "\"A\"", "secret 1: must be an object");
}

static void refuses_heads(void **state)
{
#define HEAD(f, w, v, c, o) "{\"format\":" f ",\"workspace\":" w ",\"version\":" v ",\"created\":" c ",\"owner\":" o \
			    ",\"rules\":[],\"secrets\":[]}\n"
#define GOOD_TIME "\"2026-11-23T07:00:00Z\""
	static const char *const bad_times[] = {
		"", "2026-11-23T07:00:00", "2026-11-23t07:00:00Z", "2026-13-23T07:00:00Z", "2026-00-23T07:00:00Z",
		"2026-11-32T07:00:00Z", "2026-11-23T24:00:00Z", "2026-11-23T07:60:00Z", "2026-11-23T07:00:00.0Z",
		"2026-11-23T07:00:00Z ", "2026-11-23 07:00:00Z", "2O26-11-23T07:00:00Z",
	};
	char deep[64];

	(void)state;
	rules_free(parsed(HEAD("1", "\"w\"", "9223372036854775807", GOOD_TIME, "4294967294"), true));
	refused_doc(HEAD("2", "\"w\"", "1", GOOD_TIME, "0"), false, "format 2 is out of range");
	refused_doc(HEAD("\"1\"", "\"w\"", "1", GOOD_TIME, "0"), false, "format must be");
	refused_doc(HEAD("1", "\"W\"", "1", GOOD_TIME, "0"), false, "workspace's name");
	refused_doc(HEAD("1", "\"../w\"", "1", GOOD_TIME, "0"), false, "workspace's name");
	refused_doc(HEAD("1", "\"\"", "1", GOOD_TIME, "0"), false, "workspace's name");
	refused_doc(HEAD("1", "\"w\"", "-1", GOOD_TIME, "0"), false, "version -1");
	refused_doc(HEAD("1", "\"w\"", "1", GOOD_TIME, "4294967295"), false, "owner 4294967295");
	refused_doc(HEAD("1", "\"w\"", "01", GOOD_TIME, "0"), false, "not JSON");
	refused_doc(HEAD("1", "\"w\"", "1.0", GOOD_TIME, "0"), false, "version must be");
	for (size_t i = 0; i < ARRAY_SIZE(bad_times); i++) {
		char text[256];

		snprintf(text, sizeof(text), "{\"format\":1,\"workspace\":\"w\",\"version\":1,\"created\":\"%s\",\"owner\":0,"
			 "\"rules\":[],\"secrets\":[]}", bad_times[i]);
		refused_doc(text, false, "created must look like");
	}
	refused_doc("", false, "not JSON");
	refused_doc("[]", false, "must be an object");
	refused_doc("{\"format\":1,\"workspace\":\"w\",\"version\":1,\"created\":" GOOD_TIME ",\"owner\":0,\"rules\":[]}",
		    false, "there is no field \"secrets\"");
	refused_doc("{\"format\":1,\"workspace\":\"w\",\"version\":1,\"created\":" GOOD_TIME
		    ",\"owner\":0,\"rules\":{},\"secrets\":[]}", false, "rules must be a list");
	refused_doc(HEAD("1", "\"w\"", "1", GOOD_TIME, "0") "x", false, "not JSON");
	refused_doc(HEAD("1", "\"w\"", "1", GOOD_TIME, "0") "\n", true, "canonical form from byte");
	memset(deep, '[', sizeof(deep) - 1);
	deep[sizeof(deep) - 1] = '\0';
	refused_doc(deep, false, "nested more than 5 deep");
}

static void refuses_too_much(void **state)
{
	auto_free char *big = malloc(RPC_DOC_MAX + 2);
	struct rules *r = NULL;
	struct err e = {""};

	(void)state;
	memset(big, ' ', RPC_DOC_MAX + 1);
	memcpy(big, doc, DOC_LEN);
	assert_int_equal(rules_parse(big, RPC_DOC_MAX + 1, false, &r, &e), -E2BIG);
	assert_int_equal(rules_parse(big, RPC_DOC_MAX, false, &r, &e), 0);
	r = rules_free(r);
	memset(big, '[', RPC_DOC_MAX);
	assert_int_equal(rules_parse(big, RPC_DOC_MAX, false, &r, &e), -EINVAL);
}

/* ---- syntax ---- */

static void hosts(void **state)
{
	static const struct {
		const char *typed, *out;
	} good[] = {
		{"api.example.com", "api.example.com"}, {"API.Example.COM.", "api.example.com"},
		{"*.Example.com", "*.example.com"}, {"_dmarc.example.com", "_dmarc.example.com"},
		{"r3---sn-abc.example.com", "r3---sn-abc.example.com"}, {"xn--bcher-kva.example", "xn--bcher-kva.example"},
		{"1.example", "1.example"}, {"a.b", "a.b"}, {"0x7f.example", "0x7f.example"},
		{"10.0.0.1", "10.0.0.1"}, {"[FD00::1]", "fd00::1"}, {"fd00:0:0::1", "fd00::1"},
		{"::ffff:10.0.0.1", "10.0.0.1"}, {"127.0.0.1", "127.0.0.1"},
	};
	static const char *const bad[] = {
		"", ".", "..", "a", "localhost", "localhost.", "a..b", ".a.b", "a.b..", "-a.b", "a-.b", "a.-b", "a.b-",
		"*", "*.", "*.com", "*.com.", "*.*.example.com", "a.*.example.com", "a*.example.com", "**.example.com",
		"*example.com", "*..example.com", "1.2.3", "127.1", "1.2.3.4.", "1.2.3.4.5", "0x7f.1", "a.0x7f", "a.0x",
		"256.1.1.1", "01.2.3.4", "a.1", "*.2.3", "a b.com", " a.com", "a.com ", "a.com\t", "a.com\n", "a_b",
		"b\xc3\xbc" "cher.example", "a.com/", "http://a.com", "a.com:443", "u@a.com", "a,b.com", "a%00.com", "a\\b.com",
		"[::1", "::1]", "[1.2.3.4]", "[]", "::g", "fe80::1%eth0", "[::1]:443", "a.com\x80", "\x7f.com", "a!.com",
	};
	char out[RPC_HOST_MAX], text[600];
	struct err e;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		assert_int_equal(rules_host(at_edge(good[i].typed, strlen(good[i].typed) + 1), true, true, out, &e), 0);
		assert_string_equal(out, good[i].out);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		strcpy(out, "kept");
		e.text[0] = '\0';
		if (rules_host(at_edge(bad[i], strlen(bad[i]) + 1), true, true, out, &e) != -EINVAL || !e.text[0])
			fail_msg("taken: \"%s\"", bad[i]);
		for (const char *p = e.text; *p; p++)
			assert_true(*p >= ' ' && *p < 0x7f);
		assert_string_equal(out, "kept");
		assert_false(rules_host_ok(bad[i]));
	}
	assert_int_equal(rules_host("*.example.com", false, true, out, NULL), -EINVAL);
	assert_int_equal(rules_host("10.0.0.1", true, false, out, NULL), -EINVAL);
	assert_int_equal(rules_host("::1", true, false, out, NULL), -EINVAL);

	/* 63 bytes a label, 253 in all. */
	for (size_t n = 62; n <= 65; n++) {
		memset(text, 'a', n);
		strcpy(text + n, ".example");
		assert_int_equal(rules_host(text, true, false, out, NULL), n <= 63 ? 0 : -EINVAL);
		assert_int_equal(rules_host_ok(text), n <= 63);
	}
	for (size_t n = 250; n <= 260; n++) {
		for (size_t i = 0; i < n; i++)
			text[i] = i % 50 == 49 && i != n - 1 ? '.' : 'a';
		text[n] = '\0';
		assert_int_equal(rules_host(text, true, false, out, NULL), n <= 253 ? 0 : -EINVAL);
		assert_int_equal(rules_host_ok(text), n <= 253);
		strcpy(text + n, ".");
		assert_int_equal(rules_host(text, true, false, out, NULL), n <= 253 ? 0 : -EINVAL);
	}
	memset(text, 'a', 599);
	text[599] = '\0';
	assert_int_equal(rules_host(text, true, true, out, NULL), -EINVAL);
	assert_false(rules_host_ok("*.example.com"));
	assert_false(rules_host_ok("Api.example.com"));
	assert_false(rules_host_ok("api.example.com."));
	assert_true(rules_host_ok("api.example.com"));
}

static void hosts_match(void **state)
{
	(void)state;
	assert_true(rules_host_match("a.example.com", "a.example.com"));
	assert_true(rules_host_match("*.example.com", "a.example.com"));
	assert_true(rules_host_match("*.example.com", "a.b.example.com"));
	assert_false(rules_host_match("*.example.com", "example.com"));
	assert_false(rules_host_match("*.example.com", ".example.com"));
	assert_false(rules_host_match("*.example.com", "aexample.com"));
	assert_false(rules_host_match("*.example.com", "a.example.com.evil.org"));
	assert_false(rules_host_match("*.example.com", "example.com.evil.org"));
	assert_false(rules_host_match("*.example.com", "a.example.co"));
	assert_false(rules_host_match("*.example.com", ""));
	assert_false(rules_host_match("example.com", "a.example.com"));
	assert_false(rules_host_match("a.example.com", "a.example.comx"));
}

static void names(void **state)
{
	char s[200];

	(void)state;
	assert_true(rules_name_ok("A") && rules_name_ok("_") && rules_name_ok("STRIPE_KEY_2"));
	assert_false(rules_name_ok("") || rules_name_ok("2A") || rules_name_ok("a") || rules_name_ok("A-B") ||
		     rules_name_ok("A B") || rules_name_ok("A\n") || rules_name_ok("A.") || rules_name_ok("\xc3\x84"));
	assert_true(rules_workspace_ok("a") && rules_workspace_ok("0") && rules_workspace_ok("a-b-9-"));
	assert_false(rules_workspace_ok("") || rules_workspace_ok("-a") || rules_workspace_ok("A") ||
		     rules_workspace_ok("a_b") || rules_workspace_ok("a/b") || rules_workspace_ok("..") ||
		     rules_workspace_ok("a.b"));
	memset(s, 'A', sizeof(s));
	s[128] = '\0';
	assert_true(rules_name_ok(s));
	s[128] = 'A', s[129] = '\0';
	assert_false(rules_name_ok(s));
	memset(s, 'a', sizeof(s));
	s[63] = '\0';
	assert_true(rules_workspace_ok(s));
	s[63] = 'a', s[64] = '\0';
	assert_false(rules_workspace_ok(s));
	assert_int_equal(rules_slot_of("header"), RULES_SLOT_HEADER);
	assert_int_equal(rules_slot_of("Header"), 0);
	assert_int_equal(rules_slot_of(""), 0);
	assert_string_equal(rules_mode_word(RULES_TCP), "tcp");
	assert_string_equal(rules_mode_word((enum rules_mode)9), "none");
}

static void paths_are_normalised(void **state)
{
	static const struct {
		const char *in, *out;
	} good[] = {
		{"/", "/"}, {"/a/b", "/a/b"}, {"/a/", "/a/"}, {"/%61%2D%7e%2E5", "/a-~.5"}, {"/%3a", "/%3A"},
		{"/a%20b", "/a%20b"}, {"/caf%c3%a9", "/caf%C3%A9"}, {"/...", "/..."}, {"/.a/..b/c..", "/.a/..b/c.."},
		{"/a;v=1/b", "/a;v=1/b"}, {"/a:b@c!$&'()*+,;=", "/a:b@c!$&'()*+,;="}, {"/100%25", "/100%25"},
		{"/100%25x", "/100%25x"}, {"/%2a", "/%2A"},
	};
	static const char *const bad[] = {
		"", "a", "*", "//", "/a//b", "//a", "/.", "/..", "/a/.", "/a/..", "/a/../b", "/./a", "/%2e", "/%2E%2e/a",
		"/.%2e", "/a/%2e./b", "/a%2fb", "/a%2Fb", "/a%5cb", "/a\\b", "/a%00", "/a%0d%0a", "/a%09", "/a%7f", "/a%", "/a%2",
		"/a%zz", "/a%2g", "/a b", "/a?b", "/a#b", "/a\"b", "/a<b", "/a|b", "/a\x80", "/a\tb", "/..;/a", "/..;x=1/a",
		"/.;/a", "/..%3b/a", "/%2e%2e%3Bx/a", "/;/a", "/;a/b", "/a/;x", "/%c0%ae", "/%c1%9c", "/%252e%252e/a",
		"/%25%32%65", "/a%252fb", "/a%2500", "/[a]", "/{a}", "/a^b", "/a`b",
	};
	char out[512], twice[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		size_t n = strlen(good[i].in);

		assert_int_equal(rules_path(at_edge(good[i].in, n), n, out, sizeof(out)), 0);
		assert_string_equal(out, good[i].out);
		assert_int_equal(rules_path(out, strlen(out), twice, sizeof(twice)), 0);
		assert_string_equal(out, twice);
		for (size_t cap = 0; cap <= strlen(out); cap++)
			assert_int_equal(rules_path(good[i].in, n, out + 511 - cap, cap), -E2BIG);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (rules_path(at_edge(bad[i], strlen(bad[i])), strlen(bad[i]), out, sizeof(out)) != -EINVAL)
			fail_msg("taken: \"%s\"", bad[i]);
	assert_int_equal(rules_path("/a\0b", 4, out, sizeof(out)), -EINVAL);
	assert_int_equal(rules_path("/ab", 3, out, 4), 0);
	/* Every byte, raw and encoded: what is accepted is stable. */
	for (unsigned int b = 0; b < 256; b++) {
		char raw[4] = {'/', 'x', (char)b, 'y'}, enc[8];

		snprintf(enc, sizeof(enc), "/x%%%02xy", b);
		for (int k = 0; k < 2; k++) {
			if (rules_path(k ? enc : raw, k ? 6 : 4, out, sizeof(out)))
				continue;
			assert_int_equal(rules_path(out, strlen(out), twice, sizeof(twice)), 0);
			assert_string_equal(out, twice);
		}
	}
}

/* ---- questions ---- */

static struct rules *one_path(const char *glob)
{
	struct rules *r = rules_new("w", 0, "2026-01-01T00:00:00Z");
	struct rules_rule rule = {.host = "a.example.com", .port = 443, .path_count = 1};
	char paths[1][512] = {""};
	struct err e;

	strcpy(paths[0], glob);
	rule.paths = paths;
	if (rules_add(r, &rule, &e))
		fail_msg("%s", e.text);
	return r;
}

static void globs(void **state)
{
	static const struct {
		const char *glob, *path;
		bool yes;
	} t[] = {
		{"/", "/", true}, {"/", "/a", false}, {"/a", "/a", true}, {"/a", "/a/", false}, {"/a", "/A", false},
		{"/a/", "/a", false}, {"/*", "/a", true}, {"/*", "/", true}, {"/*", "/a/b", false}, {"/a*", "/abc", true},
		{"/a*c", "/abc", true}, {"/a*c", "/abd", false}, {"/a*c", "/a/c", false}, {"/*/b", "/x/b", true},
		{"/*/b", "/x/y/b", false}, {"/**", "/", true}, {"/**", "/a/b/c", true}, {"/v1/**", "/v1/", true},
		{"/v1/**", "/v1/a", true}, {"/v1/**", "/v1/a/b", true}, {"/v1/**", "/v1", false}, {"/v1/**", "/v1x/a", false},
		{"/v1/**", "/v2/v1/a", false}, {"/**/b", "/b", true}, {"/**/b", "/a/b", true}, {"/**/b", "/a/c/b", true},
		{"/**/b", "/a/b/c", false}, {"/a/**/b", "/a/b", true}, {"/a/**/b/**", "/a/x/b/y", true},
		{"/a/**/b/**", "/a/x/b", false}, {"/a/**/b/*/c", "/a/b/b/x/c", true}, {"/a/**/b/*/c", "/a/b/x/b/c", false},
		{"/**/a*b/**/c", "/x/aXb/y/z/c", true}, {"/**/**", "/a", true}, {"/**/**", "/", true},
		{"/*a*a*a*a*b", "/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", false}, {"/a/*/*", "/a/b", false},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(t); i++) {
		auto_(rules) struct rules *r = one_path(t[i].glob);
		enum reason why = REASON_INTERNAL;
		bool yes = rules_judge(r, "a.example.com", 443, "GET", t[i].path, &why) != NULL;

		if (yes != t[i].yes || why != (yes ? REASON_NONE : REASON_POLICY))
			fail_msg("%s on %s", t[i].glob, t[i].path);
	}
}

/* The same by trying everything, for short strings over a small alphabet. */
static bool slow_segment(const char *p, size_t pn, const char *s, size_t sn)
{
	if (!pn)
		return !sn;
	if (p[0] == '*')
		return slow_segment(p + 1, pn - 1, s, sn) || (sn && slow_segment(p, pn, s + 1, sn - 1));
	return sn && p[0] == s[0] && slow_segment(p + 1, pn - 1, s + 1, sn - 1);
}

static bool slow_path(const char *p, const char *s)
{
	size_t pn, sn;

	if (!p || !s)
		return !p && !s;
	pn = strcspn(p, "/"), sn = strcspn(s, "/");
	const char *pnext = p[pn] ? p + pn + 1 : NULL, *snext = s[sn] ? s + sn + 1 : NULL;
	if (pn == 2 && memcmp(p, "**", 2) == 0) {
		if (!pnext)
			return true;
		return slow_path(pnext, s) || slow_path(p, snext);
	}
	return slow_segment(p, pn, s, sn) && slow_path(pnext, snext);
}

static void globs_agree_with_the_slow_way(void **state)
{
	unsigned int seed = (unsigned int)time(NULL);

	(void)state;
	print_message("seed %u\n", seed);
	for (int i = 0; i < 20000; i++) {
		static const char *const parts[] = {"/", "/a", "/b", "/**", "/*", "/a*", "/*b", "/ab", "/a*b*"};
		char glob[64] = "", path[64] = "", norm[64];
		struct err e;
		enum reason why;

		for (int k = rand_r(&seed) % 5 + 1; k > 0; k--)
			strcat(glob, parts[rand_r(&seed) % ARRAY_SIZE(parts)]);
		strcpy(path, "");
		for (int k = rand_r(&seed) % 6 + 1; k > 0; k--) {
			strcat(path, "/");
			for (int m = rand_r(&seed) % 4 + (k > 1); m > 0; m--)
				strcat(path, rand_r(&seed) % 2 ? "a" : "b");
		}
		auto_(rules) struct rules *r = rules_new("w", 0, "2026-01-01T00:00:00Z");
		char paths[1][512];
		struct rules_rule rule = {.host = "a.example.com", .port = 1, .path_count = 1, .paths = paths};

		strcpy(paths[0], glob);
		if (rules_add(r, &rule, &e))
			continue; /* "//" in the glob */
		assert_int_equal(rules_path(path, strlen(path), norm, sizeof(norm)), 0);
		if ((rules_judge(r, "a.example.com", 1, "GET", norm, &why) != NULL) != slow_path(glob + 1, norm + 1))
			fail_msg("%s on %s", glob, norm);
	}
}

static void a_hostile_path_costs_little(void **state)
{
	char glob[512] = "", path[8192];
	struct timespec a, b;
	enum reason why;

	(void)state;
	for (int i = 0; i < 60; i++)
		strcat(glob, i % 2 ? "/*a*a*" : "/**");
	strcat(glob, "/x");
	for (size_t i = 0; i < sizeof(path) - 1; i++)
		path[i] = i % 9 ? 'a' : '/';
	path[sizeof(path) - 1] = '\0';
	auto_(rules) struct rules *r = one_path(glob);
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &a);
	assert_null(rules_judge(r, "a.example.com", 443, "GET", path, &why));
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &b);
	assert_true((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 < 500);
}

static const struct rules_rule *judge(const struct rules *r, const char *host, uint16_t port, const char *method,
				      const char *path, enum reason expect)
{
	enum reason why = REASON_INTERNAL;
	const struct rules_rule *rule = rules_judge(r, host, port, method, path, &why);

	if (why != expect || (rule != NULL) != (expect == REASON_NONE))
		fail_msg("%s %s:%u%s: %s", method, host, port, path, reason_word(why));
	return rule;
}

static void verdicts(void **state)
{
	auto_(rules) struct rules *r = parsed(doc, true);
	auto_(rules) struct rules *empty = rules_new("w", 0, "2026-01-01T00:00:00Z");
	enum reason why;
	bool private = true;

	(void)state;
	judge(empty, "api.example.com", 443, "GET", "/", REASON_EMPTY_ALLOWLIST);
	assert_false(rules_names(empty, "api.example.com", &private));
	assert_false(private);
	judge(r, "api.example.com", 443, "GET", "/v1/x", REASON_NONE);
	judge(r, "api.example.com", 443, "HEAD", "/v2/7/items", REASON_NONE);
	judge(r, "api.example.com", 443, "POST", "/v1/charges", REASON_NONE);
	judge(r, "api.example.com", 443, "POST", "/v1/x", REASON_POLICY);
	judge(r, "api.example.com", 443, "DELETE", "/v1/charges", REASON_POLICY);
	judge(r, "api.example.com", 443, "get", "/v1/x", REASON_POLICY);
	judge(r, "api.example.com", 443, "GET", "/v3", REASON_POLICY);
	judge(r, "api.example.com", 443, "GET", "", REASON_POLICY);
	judge(r, "api.example.com", 8443, "GET", "/v1/x", REASON_POLICY);
	judge(r, "other.example.com", 443, "PUT", "/any", REASON_NONE);
	judge(r, "a.b.example.com", 443, "PUT", "/any", REASON_NONE);
	judge(r, "x.api.example.com", 443, "PUT", "/any", REASON_NONE);
	judge(r, "example.com", 443, "GET", "/", REASON_DOMAIN);
	judge(r, "example.org", 443, "GET", "/", REASON_DOMAIN);
	judge(r, "evilexample.com", 443, "GET", "/", REASON_DOMAIN);
	judge(r, "api.example.com.evil.org", 443, "GET", "/", REASON_DOMAIN);
	judge(r, "", 443, "GET", "/", REASON_DOMAIN);
	judge(r, "com", 443, "GET", "/", REASON_DOMAIN);
	judge(r, "*.example.com", 443, "GET", "/", REASON_DOMAIN);
	judge(r, "..", 443, "GET", "/", REASON_DOMAIN);
	judge(r, "10.1.2.3", 8443, "GET", "/", REASON_NONE);
	judge(r, "10.1.2.3", 443, "GET", "/", REASON_POLICY);
	judge(r, "10.1.2.4", 8443, "GET", "/", REASON_DOMAIN);
	assert_int_equal(rules_find(r, "db.example.net", 5432, &why)->mode, RULES_TCP);
	assert_int_equal(rules_find(r, "pinned.example.org", 443, &why)->mode, RULES_TUNNEL);
	assert_true(rules_has_paths(r, "api.example.com", 443));
	assert_false(rules_has_paths(r, "other.example.com", 443));
	assert_false(rules_has_paths(r, "api.example.com", 8443));
	assert_true(rules_names(r, "db.example.net", &private) && private);
	assert_true(rules_names(r, "other.example.com", &private) && !private);
	assert_false(rules_names(r, "x.db.example.net", &private) || private);
	assert_false(rules_names(r, "example.com", &private));
	assert_false(rules_names(r, "", &private));
}

static void particular_before_wide(void **state)
{
	auto_(rules) struct rules *r = rules_new("w", 0, "2026-01-01T00:00:00Z");
	const struct rules_rule in[] = {
		{.host = "*.example.com", .port = 443, .private = true},
		{.host = "*.example.com", .port = 8443},
		{.host = "*.b.example.com", .port = 443, .mode = RULES_TUNNEL},
		{.host = "a.b.example.com", .port = 443, .method_count = 1, .methods = (char[1][32]){"GET"}},
		{.host = "a.b.example.com", .port = 1},
	};
	bool private = false;
	enum reason why;

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(in); i++)
		assert_int_equal(rules_add(r, &in[i], NULL), 0);
	assert_string_equal(rules_find(r, "a.b.example.com", 443, &why)->host, "a.b.example.com");
	assert_string_equal(rules_find(r, "c.b.example.com", 443, &why)->host, "*.b.example.com");
	assert_string_equal(rules_find(r, "b.example.com", 443, &why)->host, "*.example.com");
	assert_string_equal(rules_find(r, "a.b.example.com", 8443, &why)->host, "*.example.com");
	assert_int_equal(why, REASON_NONE);
	assert_null(rules_find(r, "a.b.example.com", 2, &why));
	assert_int_equal(why, REASON_POLICY);
	assert_null(rules_find(r, "example.com", 443, &why));
	assert_int_equal(why, REASON_DOMAIN);
	/* The wide rule does not open what the particular one closes. */
	assert_null(rules_judge(r, "a.b.example.com", 443, "POST", "/", &why));
	assert_int_equal(why, REASON_POLICY);
	assert_true(rules_names(r, "a.b.example.com", &private) && private);
}

static void secrets_may(void **state)
{
	auto_(rules) struct rules *r = parsed(doc, true);

	(void)state;
#define MAY(name, host, port, slot) rules_secret_may(r, name, host, port, slot)
	assert_int_equal(MAY("API_KEY", "api.example.com", 443, RULES_SLOT_HEADER), REASON_NONE);
	assert_int_equal(MAY("API_KEY", "api.example.com", 443, RULES_SLOT_BASIC), REASON_NONE);
	assert_int_equal(MAY("WIDE", "x.example.com", 443, RULES_SLOT_BODY), REASON_NONE);
	assert_int_equal(MAY("NONE", "api.example.com", 443, RULES_SLOT_HEADER), REASON_SECRET_UNKNOWN);
	assert_int_equal(MAY("", "api.example.com", 443, RULES_SLOT_HEADER), REASON_SECRET_UNKNOWN);
	assert_int_equal(MAY("api_key", "api.example.com", 443, RULES_SLOT_HEADER), REASON_SECRET_UNKNOWN);
	assert_int_equal(MAY("UNBOUND", "api.example.com", 443, RULES_SLOT_HEADER), REASON_SECRET_HOST);
	assert_int_equal(MAY("API_KEY", "x.example.com", 443, RULES_SLOT_HEADER), REASON_SECRET_HOST);
	assert_int_equal(MAY("API_KEY", "api.example.com", 80, RULES_SLOT_HEADER), REASON_SECRET_HOST);
	assert_int_equal(MAY("WIDE", "example.com", 443, RULES_SLOT_HEADER), REASON_SECRET_HOST);
	assert_int_equal(MAY("WIDE", "db.example.net", 5432, RULES_SLOT_HEADER), REASON_SECRET_HOST);
	assert_int_equal(MAY("WIDE", "pinned.example.org", 443, RULES_SLOT_HEADER), REASON_SECRET_HOST);
	assert_int_equal(MAY("API_KEY", "api.example.com", 443, RULES_SLOT_QUERY), REASON_SECRET_SLOT);
	assert_int_equal(MAY("API_KEY", "api.example.com", 443, 0), REASON_SECRET_SLOT);
	assert_int_equal(MAY("API_KEY", "api.example.com", 443, RULES_SLOTS_DEFAULT), REASON_SECRET_SLOT);
	assert_int_equal(MAY("WIDE", "x.example.com", 443, 32), REASON_SECRET_SLOT);
}

/* ---- changes ---- */

static const char peers_doc[] = "{\"format\":1,\"workspace\":\"demo\",\"version\":3,\"created\":\"2026-11-23T07:00:00Z\","
				"\"owner\":0,\"rules\":[],\"secrets\":[]%s}\n";

static void unix_peers(void **state)
{
	static const char *const bad[] = {"", "x", "/", "/a/", "//a", "/a//b", "/a/../b", "/.", "a/b", "cgroup:", "cgroup:x", "cgroup:/",
					  "/a b", "/a\"b", "/a\\b", "/\x7f", "@abstract", "cgroup:/a/./b"};
	char text[512], longest[RULES_PEER_LEN + 9];
	auto_(rules) struct rules *r = parsed("{\"format\":1,\"workspace\":\"demo\",\"version\":3,\"created\":"
					      "\"2026-11-23T07:00:00Z\",\"owner\":0,\"rules\":[],\"secrets\":[]}\n", true);
	auto_free char *out = NULL;
	struct err e = {""};
	size_t len;

	(void)state;
	assert_int_equal(r->peer_count, 0);
	assert_int_equal(rules_peer_add(r, "cgroup:/system.slice/x.service", &e), 0);
	assert_int_equal(rules_peer_add(r, "/run/b.sock", &e), 0);
	assert_int_equal(rules_peer_add(r, "/run/a.sock", &e), 0);
	assert_int_equal(rules_peer_add(r, "/run/b.sock", &e), -EEXIST);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		e.text[0] = '\0';
		assert_int_equal(rules_peer_add(r, bad[i], &e), -EINVAL);
		assert_true(e.text[0]);
	}
	memset(longest, 'a', sizeof(longest));
	longest[0] = '/';
	longest[108] = '\0';
	assert_int_equal(rules_peer_add(r, longest, &e), -EINVAL);
	longest[107] = '\0';
	assert_int_equal(rules_peer_add(r, longest, &e), 0);
	assert_int_equal(rules_peer_remove(r, longest, &e), 0);
	assert_int_equal(rules_peer_remove(r, longest, &e), -ENOENT);
	assert_int_equal(rules_write(r, &out, &len, &e), 0);
	(void)snprintf(text, sizeof(text), peers_doc, ",\"unix\":[\"/run/a.sock\",\"/run/b.sock\",\"cgroup:/system.slice/x.service\"]");
	assert_string_equal(out, text);
	(void)rules_free(parsed(text, true));
	for (int i = 0; i < RULES_PEERS_MAX - 3; i++) {
		(void)snprintf(text, sizeof(text), "/run/%d", i);
		assert_int_equal(rules_peer_add(r, text, &e), 0);
	}
	assert_int_equal(rules_peer_add(r, "/run/more", &e), -E2BIG);
	(void)snprintf(text, sizeof(text), peers_doc, ",\"unix\":[]");
	refused_doc(text, true, "canonical");
	(void)snprintf(text, sizeof(text), peers_doc, ",\"unix\":[\"/run/b\",\"/run/a\"]");
	refused_doc(text, true, "canonical");
	(void)snprintf(text, sizeof(text), peers_doc, ",\"unix\":[\"/run/b\",\"/run/b\"]");
	refused_doc(text, false, "unix 2");
	(void)snprintf(text, sizeof(text), peers_doc, ",\"unix\":[\"run\"]");
	refused_doc(text, false, "absolute");
	(void)snprintf(text, sizeof(text), peers_doc, ",\"unix\":\"/run/x\"");
	refused_doc(text, false, "unix");
}

static void rewrites_strictly(const struct rules *r)
{
	auto_free char *text = NULL;
	size_t len;

	assert_int_equal(rules_write(r, &text, &len, NULL), 0);
	rules_free(parsed(text, true));
}

static void changes(void **state)
{
	auto_(rules) struct rules *r = parsed(doc, true);
	struct rules_rule rule = {.host = "NEW.example.com", .port = 443};
	const char *const hosts_in[] = {"new.example.com", "B.example.com", "b.example.com"};
	const char *const bad_hosts[] = {"new.example.com", "single"};
	struct err e;
	enum reason why;

	(void)state;
	assert_int_equal(rules_add(r, &rule, &e), 0);
	assert_int_equal(rules_add(r, &rule, &e), -EEXIST);
	assert_non_null(strstr(e.text, "new.example.com port 443 is in the allowlist already"));
	rewrites_strictly(r);
	rule.port = 0;
	assert_int_equal(rules_add(r, &rule, &e), -EINVAL);
	rule = (struct rules_rule){.host = "x.example.com", .port = 1, .mode = 3};
	assert_int_equal(rules_add(r, &rule, &e), -EINVAL);
	rule = (struct rules_rule){.host = "", .port = 1};
	assert_int_equal(rules_add(r, &rule, &e), -EINVAL);
	rule = (struct rules_rule){.host = "x.example.com", .port = 1, .method_count = 17};
	assert_int_equal(rules_add(r, &rule, &e), -E2BIG);
	rule = (struct rules_rule){.host = "x.example.com", .port = 1, .path_count = 33};
	assert_int_equal(rules_add(r, &rule, &e), -E2BIG);
	assert_int_equal(r->rule_count, 7);

	assert_int_equal(rules_remove(r, "nowhere.example.com", 0, &e), -ENOENT);
	assert_int_equal(rules_remove(r, "new.example.com", 444, &e), -ENOENT);
	assert_int_equal(rules_remove(r, "bad host", 0, &e), -EINVAL);
	assert_int_equal(rules_remove(r, "API.example.com", 443, &e), 0);
	assert_int_equal(r->rule_count, 5);
	assert_int_equal(rules_remove(r, "*.example.com", 0, &e), 0);
	assert_null(rules_find(r, "other.example.com", 443, &why));
	assert_int_equal(rules_remove(r, "[10.1.2.3]", 0, &e), -EINVAL);
	assert_int_equal(rules_remove(r, "10.1.2.3", 0, &e), 0);
	rewrites_strictly(r);

	assert_int_equal(rules_bind(r, "NEW", hosts_in, 3, RULES_SLOT_QUERY, &e), 0);
	assert_int_equal(rules_secret(r, "NEW")->host_count, 2);
	assert_int_equal(rules_bind(r, "NEW", hosts_in, 1, RULES_SLOTS_ALL, &e), 0);
	assert_int_equal(rules_secret(r, "NEW")->host_count, 1);
	assert_int_equal(rules_bind(r, "NEW", bad_hosts, 2, RULES_SLOTS_ALL, &e), -EINVAL);
	assert_int_equal(rules_secret(r, "NEW")->host_count, 1);
	assert_int_equal(rules_bind(r, "new", hosts_in, 1, 1, &e), -EINVAL);
	assert_int_equal(rules_bind(r, "NEW", hosts_in, 1, 128, &e), -EINVAL);
	assert_int_equal(rules_bind(r, "NEW", hosts_in, 65, 1, &e), -E2BIG);
	assert_int_equal(rules_bind(r, "NEW", NULL, 0, 0, &e), 0);
	assert_int_equal(rules_secret_may(r, "NEW", "new.example.com", 443, RULES_SLOT_HEADER), REASON_SECRET_HOST);
	rewrites_strictly(r);
	assert_int_equal(rules_unbind(r, "GONE", &e), -ENOENT);
	assert_int_equal(rules_unbind(r, "NEW", &e), 0);
	assert_null(rules_secret(r, "NEW"));
	assert_int_equal(rules_unbind(r, "API_KEY", &e), 0);
	assert_int_equal(rules_unbind(r, "UNBOUND", &e), 0);
	assert_int_equal(rules_unbind(r, "WIDE", &e), 0);
	assert_int_equal(r->secret_count, 0);
	rewrites_strictly(r);
}

/* "upgrade" and "client_cert" stand in a document only where they say something. */
static void options_of_a_rule(void **state)
{
#define START "{\"format\":1,\"workspace\":\"w\",\"version\":0,\"created\":\"2026-01-01T00:00:00Z\",\"owner\":7,\"rules\":["
#define RULE(host, port, more) "{\"host\":\"" host "\",\"port\":" port ",\"mode\":\"inspect\",\"methods\":[],\"paths\":[]," more "}"
	static const char good[] = START
		RULE("*.example.com", "8443", "\"private\":false,\"upgrade\":true") ","
		RULE("a.example.com", "443", "\"private\":false,\"upgrade\":true,\"client_cert\":\"CERT\"") ","
		RULE("b.example.com", "80", "\"private\":false") ","
		RULE("c.example.com", "443", "\"private\":true,\"client_cert\":\"CERT\"")
		"],\"secrets\":[{\"name\":\"CERT\",\"hosts\":[\"a.example.com\"],\"slots\":[\"client_cert\"]}]}\n";
	auto_(rules) struct rules *r = parsed(good, true);
	auto_free char *text = NULL;
	size_t len;

	(void)state;
	assert_int_equal(rules_write(r, &text, &len, NULL), 0);
	assert_string_equal(text, good);
	refused_doc(START RULE("a.example.com", "443", "\"private\":false,\"upgrade\":false") "],\"secrets\":[]}\n", true,
		    "canonical");
	refused_doc(START RULE("a.example.com", "443", "\"private\":false,\"client_cert\":\"\"") "],\"secrets\":[]}\n", true,
		    "canonical");
	assert_int_equal(rules_upgrade(r, "a.example.com")->port, 443);
	assert_int_equal(rules_upgrade(r, "x.y.example.com")->port, 8443);
	assert_null(rules_upgrade(r, "b.example.com")); /* has port 80 of its own */
	assert_int_equal(rules_upgrade(r, "c.example.com")->port, 8443);
	assert_null(rules_upgrade(r, "example.com"));
	assert_int_equal(rules_secret_may(r, "CERT", "a.example.com", 443, RULES_SLOT_CERT), REASON_NONE);
	assert_int_equal(rules_secret_may(r, "CERT", "a.example.com", 443, RULES_SLOT_HEADER), REASON_SECRET_SLOT);
	assert_int_equal(rules_secret_may(r, "CERT", "c.example.com", 443, RULES_SLOT_CERT), REASON_SECRET_HOST);
	assert_int_equal(rules_secret_may(r, "CERT", "a.example.com", 8443, RULES_SLOT_CERT), REASON_SECRET_SLOT);
#undef RULE
#undef START
}

static void refuses_options(void **state)
{
#define H "{\"host\":\"a.example.com\","
	(void)state;
	refused(H "\"mode\":\"tunnel\",\"upgrade\":true}", "", "upgrade is for mode inspect");
	refused(H "\"mode\":\"tcp\",\"upgrade\":true}", "", "upgrade is for mode inspect");
	refused(H "\"mode\":\"tunnel\",\"client_cert\":\"C\"}", "", "client_cert is for mode inspect");
	refused(H "\"port\":80,\"upgrade\":true}", "", "from port 80");
	refused(H "\"port\":80,\"client_cert\":\"C\"}", "", "not spoken at port 80");
	refused(H "\"mode\":\"tcp\",\"port\":53}", "", "port 53");
	refused(H "\"upgrade\":true,\"private\":true}", "", "public hosts");
	refused(H "\"client_cert\":\"c\"}", "", "name of a secret");
	refused(H "\"client_cert\":\"1C\"}", "", "name of a secret");
	refused(H "\"client_cert\":7}", "", "client_cert");
	refused(H "\"upgrade\":1}", "", "upgrade");
	refused(H "\"upgrade\":true}," H "\"port\":80}", "", "port 80");
	refused(H "\"port\":80}," H "\"upgrade\":true}", "", "port 80");
	refused(H "\"upgrade\":true}," H "\"port\":444,\"upgrade\":true}", "", "upgrades to port 443 already");
	refused(H "\"port\":8443,\"upgrade\":true}," H "\"port\":9000}," H "\"port\":80}", "", "port 80");
	refused(H "\"upgrade\":true}," H "\"methods\":[\"GET\"]}", "", "has upgrade true");
	refused(H "\"client_cert\":\"C\"}," H "\"methods\":[\"GET\"]}", "", "has client_cert C");
	refused(H "\"methods\":[\"GET\"]}," H "\"methods\":[\"PUT\"],\"client_cert\":\"C\"}", "", "no client_cert");
	refused("", "{\"name\":\"C\",\"hosts\":[],\"slots\":[\"client_cert\",\"header\"]}", "no other");
	refused("", "{\"name\":\"C\",\"hosts\":[],\"slots\":[\"proxy\",\"query\"]}", "no other");
#undef H
}

/* The password of a corporate proxy: for that host and port, and for no request. */
static void for_the_proxy(void **state)
{
	auto_(rules) struct rules *r = parsed(
		"{\"format\":1,\"workspace\":\"demo\",\"version\":3,\"created\":\"2026-11-23T07:00:00Z\",\"owner\":0,\"rules\":["
		"{\"host\":\"proxy.corp.example\",\"port\":3128,\"mode\":\"inspect\",\"methods\":[],\"paths\":[],\"private\":false}],"
		"\"secrets\":[{\"name\":\"H\",\"hosts\":[\"proxy.corp.example\"],\"slots\":[\"header\"]},"
		"{\"name\":\"P\",\"hosts\":[\"10.1.2.3\",\"proxy.corp.example\"],\"slots\":[\"proxy\"]}]}\n", true);

	(void)state;
	assert_true(rules_secret_for_proxy(r, "P", "proxy.corp.example", 3128));
	assert_true(rules_secret_for_proxy(r, "P", "10.1.2.3", 8080));
	assert_false(rules_secret_for_proxy(r, "P", "10.1.2.4", 8080));
	assert_false(rules_secret_for_proxy(r, "P", "x.proxy.corp.example", 3128));
	assert_false(rules_secret_for_proxy(r, "H", "proxy.corp.example", 3128));
	assert_false(rules_secret_for_proxy(r, "NONE", "proxy.corp.example", 3128));
	assert_int_equal(rules_secret_may(r, "P", "proxy.corp.example", 3128, RULES_SLOT_PROXY), REASON_SECRET_SLOT);
	assert_int_equal(rules_secret_may(r, "P", "proxy.corp.example", 3128, RULES_SLOT_HEADER), REASON_SECRET_SLOT);
	assert_int_equal(rules_secret_may(r, "H", "proxy.corp.example", 3128, RULES_SLOT_HEADER), REASON_NONE);
}

static void full(void **state)
{
	auto_(rules) struct rules *r = rules_new("w", 0, "2026-01-01T00:00:00Z");
	struct rules_rule rule = {.port = 443};
	char name[16];
	auto_free char *text = NULL;
	size_t len;
	enum reason why;
	struct err e;

	(void)state;
	for (int i = 0; i < RULES_MAX; i++) { /* in no order */
		sprintf(rule.host, "h%d.example.com", (i * 1237) % RULES_MAX);
		assert_int_equal(rules_add(r, &rule, &e), 0);
	}
	strcpy(rule.host, "one.more.example");
	assert_int_equal(rules_add(r, &rule, &e), -E2BIG);
	for (int i = 0; i < RULES_MAX; i++) {
		sprintf(rule.host, "h%d.example.com", i);
		assert_string_equal(rules_find(r, rule.host, 443, &why)->host, rule.host);
		assert_null(rules_find(r, rule.host, 80, &why));
		assert_int_equal(why, REASON_POLICY);
	}
	for (int i = 0; i < RULES_SECRETS_MAX; i++) {
		sprintf(name, "S%d", (i * 17) % RULES_SECRETS_MAX);
		assert_int_equal(rules_bind(r, name, NULL, 0, 0, &e), 0);
	}
	assert_int_equal(rules_bind(r, "T", NULL, 0, 0, &e), -E2BIG);
	assert_int_equal(rules_bind(r, "S3", NULL, 0, 0, &e), 0);
	for (int i = 0; i < RULES_SECRETS_MAX; i++) {
		sprintf(name, "S%d", i);
		assert_string_equal(rules_secret(r, name)->name, name);
	}
	/* 2048 rules of 98 bytes and more: still fits. Longer names do not. */
	assert_int_equal(rules_write(r, &text, &len, &e), 0);
	while (r->rule_count)
		assert_int_equal(rules_remove(r, r->rules[0].host, 0, &e), 0);
	for (int i = 0; i < RULES_MAX; i++) {
		sprintf(rule.host, "a-long-name-with-many-bytes-in-it-%d.and-one-more-label.example.com", i);
		assert_int_equal(rules_add(r, &rule, &e), 0);
	}
	assert_int_equal(rules_write(r, &text, &len, &e), -E2BIG);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_and_writes_the_same_bytes),
		cmocka_unit_test(makes_canonical_what_is_not),
		cmocka_unit_test(strict_refuses_each_other_byte),
		cmocka_unit_test(refuses_rules_with_the_place),
		cmocka_unit_test(refuses_secrets_with_the_place),
		cmocka_unit_test(refuses_heads),
		cmocka_unit_test(refuses_too_much),
		cmocka_unit_test(hosts),
		cmocka_unit_test(hosts_match),
		cmocka_unit_test(names),
		cmocka_unit_test(paths_are_normalised),
		cmocka_unit_test(globs),
		cmocka_unit_test(globs_agree_with_the_slow_way),
		cmocka_unit_test(a_hostile_path_costs_little),
		cmocka_unit_test(verdicts),
		cmocka_unit_test(particular_before_wide),
		cmocka_unit_test(secrets_may),
		cmocka_unit_test(changes),
		cmocka_unit_test(options_of_a_rule),
		cmocka_unit_test(for_the_proxy), cmocka_unit_test(refuses_options),
		cmocka_unit_test(full), cmocka_unit_test(unix_peers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
