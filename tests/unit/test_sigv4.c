/* AWS's published vectors (the Signature Version 4 test suite, the examples of the S3 documentation), and what an
 * agent may send in their place. The suite's folded header is refused by the HTTP parser, as it must be; raw spaces and
 * UTF-8 in a path are, too, so those are given to sigv4_path() alone.
 */
#include "sign.h"
#include "sigv4.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEY    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
#define S3_KEY "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define ANY    "0000000000000000000000000000000000000000000000000000000000000000"

static struct http1_slice slice(const char *s)
{
	return (struct http1_slice){s, strlen(s)};
}

static struct http1_head head;
static struct http1_meaning meaning;
static char raw[65536];

static void parse(const char *text)
{
	struct http1_scan scan = {0};

	snprintf(raw, sizeof(raw), "%s", text);
	if (http1_request(&scan, raw, strlen(raw), &head) != HTTP1_DONE)
		fail_msg("%s: %s", text, http1_bad_word(head.bad));
	if (http1_request_meaning(&head, &meaning) < 0)
		fail_msg("%s: %s", text, http1_bad_word(meaning.bad));
}

/* A request of the suite, with a signature that says nothing. */
static void suite(const char *line, const char *fields, const char *names, const char *scope)
{
	char text[8192];

	snprintf(
		text, sizeof(text),
		"%s HTTP/1.1\r\n%sAuthorization: AWS4-HMAC-SHA256 Credential=AKIAPLACEHOLDER/%s/aws4_request, "
		"SignedHeaders=%s, Signature=" ANY "\r\n\r\n",
		line, fields, scope, names);
	parse(text);
}

static void signature(const struct sigv4 *s, const char *key, const char *token,
		      const char *payload, struct http1_slice target, char hex[65])
{
	char canonical[16384];
	uint8_t hash[32];
	struct wr w = wr_of(canonical, sizeof(canonical));

	assert_int_equal(
		sigv4_canonical(s, &head, &meaning, target, slice(token), slice(payload), &w), 0);
	assert_false(w.full);
	sigv4_hash(canonical, w.len, hash);
	assert_true(sigv4_scope_ok(&s->scope));
	sigv4_sign((const uint8_t *)key, strlen(key), &s->scope, SIGV4_REQUEST, hash, NULL, hex);
}

#define HOST    "Host: example.amazonaws.com\r\n"
#define DATE    "X-Amz-Date: 20150830T123600Z\r\n"
#define VANILLA "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
#define FORM                                                                                       \
	"9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e" /* "Param1=value1" */

static void the_suite(void **state)
{
	static const struct {
		const char *line, *fields, *names, *payload, *signature;
	} vectors[] = {
		{"GET /", HOST DATE, "host;x-amz-date", NULL, VANILLA},
		{"GET /?Param1=value1", HOST DATE, "host;x-amz-date", NULL,
		 "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"},
		{"GET /?Param2=value2&Param1=value1", HOST DATE, "host;x-amz-date", NULL,
		 "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
		{"GET /?Param-3=Value3&Param=Value2&%E1%88%B4=Value1", HOST DATE, "host;x-amz-date",
		 NULL, "371d3713e185cc334048618a97f809c9ffe339c62934c032af5a0e595648fcac"},
		{"GET /?%E1%88%B4=bar", HOST DATE, "host;x-amz-date", NULL,
		 "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"},
		{"GET /?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz="
		 "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
		 HOST DATE, "host;x-amz-date", NULL,
		 "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"},
		{"GET /-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
		 HOST DATE, "host;x-amz-date", NULL,
		 "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"},
		{"GET /example/..", HOST DATE, "host;x-amz-date", NULL, VANILLA},
		{"GET /example1/example2/../..", HOST DATE, "host;x-amz-date", NULL, VANILLA},
		{"GET /./", HOST DATE, "host;x-amz-date", NULL, VANILLA},
		{"GET //", HOST DATE, "host;x-amz-date", NULL, VANILLA},
		{"GET /./example", HOST DATE, "host;x-amz-date", NULL,
		 "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"},
		{"GET //example//", HOST DATE, "host;x-amz-date", NULL,
		 "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"},
		{"GET /",
		 HOST "My-Header1: value2\r\nMy-Header1: value2\r\nMy-Header1: value1\r\n" DATE,
		 "host;my-header1;x-amz-date", NULL,
		 "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"},
		{"GET /",
		 HOST
		 "My-Header1: value4\r\nMy-Header1: value1\r\nMy-Header1: value3\r\nMy-Header1: value2\r\n" DATE,
		 "host;my-header1;x-amz-date", NULL,
		 "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"},
		{"GET /", HOST "My-Header1:  value1\r\nMy-Header2: \"a   b   c\"\r\n" DATE,
		 "host;my-header1;my-header2;x-amz-date", NULL,
		 "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"},
		{"POST /", HOST DATE, "host;x-amz-date", NULL,
		 "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"},
		{"POST /?Param1=value1", HOST DATE, "host;x-amz-date", NULL,
		 "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"},
		{"POST /", HOST "My-Header1: value1\r\n" DATE, "host;my-header1;x-amz-date", NULL,
		 "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"},
		{"POST /", HOST "My-Header1: VALUE1\r\n" DATE, "host;my-header1;x-amz-date", NULL,
		 "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"},
		{"POST /",
		 HOST
		 "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 13\r\n" DATE,
		 "content-type;host;x-amz-date", FORM,
		 "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"},
	};
	struct sigv4 s;
	char hex[65];
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		suite(vectors[i].line, vectors[i].fields, vectors[i].names,
		      "20150830/us-east-1/service");
		assert_int_equal(sigv4_scan(&head, &meaning, &s), 1);
		signature(&s, KEY, "", vectors[i].payload ? vectors[i].payload : SIGV4_EMPTY_HASH,
			  (struct http1_slice){0}, hex);
		if (strcmp(hex, vectors[i].signature) != 0)
			fail_msg("%zu, %s: %s, not %s", i, vectors[i].line, hex,
				 vectors[i].signature);
	}
}

/* With a session token: put in where the agent had none, and in another one's place. */
static void session_tokens(void **state)
{
	static const char token[] =
		"6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267";
	static const char want[] =
		"07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8";
	struct sigv4 s;
	char hex[65], value[512];
	struct wr w = wr_of(value, sizeof(value));
	(void)state;

	suite("GET /", HOST DATE, "host;x-amz-date", "20150830/us-east-1/service");
	assert_int_equal(sigv4_scan(&head, &meaning, &s), 1);
	assert_int_equal(s.token, head.field_count);
	signature(&s, KEY, token, SIGV4_EMPTY_HASH, (struct http1_slice){0}, hex);
	assert_string_equal(hex, want);
	sigv4_authorization(&s, slice("AKIDEXAMPLE"), true, hex, &w);
	value[w.len] = 0;
	assert_string_equal(
		value,
		"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
		"SignedHeaders=host;x-amz-date;x-amz-security-token, Signature="
		"07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8");
	suite("GET /", HOST DATE "X-Amz-Security-Token: placeholder\r\n",
	      "host;x-amz-date;x-amz-security-token", "20150830/us-east-1/service");
	assert_int_equal(sigv4_scan(&head, &meaning, &s), 1);
	assert_int_equal(s.token, 2);
	signature(&s, KEY, token, SIGV4_EMPTY_HASH, (struct http1_slice){0}, hex);
	assert_string_equal(hex, want);
	signature(&s, KEY, "", SIGV4_EMPTY_HASH, (struct http1_slice){0}, hex); /* and taken out */
	assert_string_equal(hex, VANILLA);
}

static void s3_examples(void **state)
{
#define S3HOST  "Host: examplebucket.s3.amazonaws.com\r\n"
#define S3DATE  "x-amz-date: 20130524T000000Z\r\n"
#define S3EMPTY "x-amz-content-sha256: " SIGV4_EMPTY_HASH "\r\n"
	static const char *const vectors[][4] = {
		{"GET /test.txt", S3HOST "Range: bytes=0-9\r\n" S3EMPTY S3DATE,
		 "host;range;x-amz-content-sha256;x-amz-date",
		 "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
		{"PUT /test%24file.text",
		 S3HOST
		 "Date: Fri, 24 May 2013 00:00:00 GMT\r\n" S3DATE
		 "x-amz-storage-class: REDUCED_REDUNDANCY\r\n"
		 "x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\r\n",
		 "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
		 "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"PUT /test$file.text",
		 S3HOST
		 "Date: Fri, 24 May 2013 00:00:00 GMT\r\n" S3DATE
		 "x-amz-storage-class: REDUCED_REDUNDANCY\r\n"
		 "x-amz-content-sha256: 44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072\r\n",
		 "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
		 "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"},
		{"GET /?lifecycle", S3HOST S3EMPTY S3DATE, "host;x-amz-content-sha256;x-amz-date",
		 "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
		{"GET /?max-keys=2&prefix=J", S3HOST S3EMPTY S3DATE,
		 "host;x-amz-content-sha256;x-amz-date",
		 "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	};
	struct sigv4 s;
	char hex[65], payload[128];
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(vectors); i++) {
		suite(vectors[i][0], vectors[i][1], vectors[i][2], "20130524/us-east-1/s3");
		assert_int_equal(sigv4_scan(&head, &meaning, &s), 1);
		snprintf(payload, sizeof(payload), "%.*s", (int)s.payload.len, s.payload.p);
		signature(&s, S3_KEY, "", payload, (struct http1_slice){0}, hex);
		if (strcmp(hex, vectors[i][3]) != 0)
			fail_msg("%s: %s, not %s", vectors[i][0], hex, vectors[i][3]);
	}
}

/* The documented upload in chunks: 65,536 times 'a', 1,024 times 'a', nothing. */
static void s3_chunks(void **state)
{
	static char data[65536];
	static const struct {
		size_t len;
		const char *signature;
	} chunks[] = {{65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"},
		      {1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"},
		      {0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"}};
	struct sigv4 s;
	char hex[65];
	uint8_t hash[32];
	(void)state;

	suite("PUT /examplebucket/chunkObject.txt",
	      "Host: s3.amazonaws.com\r\n" S3DATE "x-amz-storage-class: REDUCED_REDUNDANCY\r\n"
	      "x-amz-content-sha256: STREAMING-AWS4-HMAC-SHA256-PAYLOAD\r\nContent-Encoding: aws-chunked\r\n"
	      "x-amz-decoded-content-length: 66560\r\nContent-Length: 66824\r\n",
	      "content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;"
	      "x-amz-storage-class",
	      "20130524/us-east-1/s3");
	assert_int_equal(sigv4_scan(&head, &meaning, &s), 1);
	signature(&s, S3_KEY, "", SIGV4_STREAM, (struct http1_slice){0}, hex);
	assert_string_equal(hex,
			    "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9");
	memset(data, 'a', sizeof(data));
	for (size_t i = 0; i < ARRAY_SIZE(chunks); i++) {
		sigv4_hash(data, chunks[i].len, hash);
		sigv4_sign((const uint8_t *)S3_KEY, strlen(S3_KEY), &s.scope, SIGV4_CHUNK, hash,
			   hex, hex);
		assert_string_equal(hex, chunks[i].signature);
	}
}

static void presigned(void **state)
{
	static const char base[] =
		"/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=%s%%2F20130524%%2F"
		"us-east-1%%2Fs3%%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&"
		"X-Amz-SignedHeaders=host";
	static const char want[] =
		"aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
	char text[2048], agent[1024], ours[1024], target[2048], hex[65];
	struct wr w = wr_of(target, sizeof(target));
	struct sigv4 s;
	(void)state;

	snprintf(agent, sizeof(agent), base, "AKIAPLACEHOLDER");
	snprintf(ours, sizeof(ours), base, "AKIAIOSFODNN7EXAMPLE");
	snprintf(text, sizeof(text),
		 "GET %s&X-Amz-Signature=" ANY "&X-Amz-Security-Token=x HTTP/1.1\r\n" S3HOST "\r\n",
		 agent);
	parse(text);
	assert_int_equal(sigv4_scan(&head, &meaning, &s), 1);
	assert_int_equal(s.how, SIGV4_QUERY);
	assert_int_equal(s.expires, 86400);
	assert_true(http1_eq(s.id, "AKIAPLACEHOLDER"));
	sigv4_target(&s, &meaning, slice("AKIAIOSFODNN7EXAMPLE"), slice(""), NULL, &w);
	target[w.len] = 0;
	assert_string_equal(target, ours);
	signature(&s, S3_KEY, "", SIGV4_UNSIGNED, slice(target), hex);
	assert_string_equal(hex, want);
	w = wr_of(target, sizeof(target));
	sigv4_target(&s, &meaning, slice("AKIAIOSFODNN7EXAMPLE"), slice("a+b/="), hex, &w);
	target[w.len] = 0;
	snprintf(text, sizeof(text), "%s&X-Amz-Security-Token=a%%2Bb%%2F%%3D&X-Amz-Signature=%s",
		 ours, want);
	assert_string_equal(target, text);
}

static void suite_presigned(void **state)
{
	struct sigv4 s;
	char hex[65], target[1024];
	struct wr w = wr_of(target, sizeof(target));
	(void)state;

	parse("GET /?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIDEXAMPLE%2F20150830%2Fus-east-1%2Fservice%2F"
	      "aws4_request&X-Amz-Date=20150830T123600Z&X-Amz-SignedHeaders=host&X-Amz-Expires=3600&"
	      "X-Amz-Signature=" ANY " HTTP/1.1\r\n" HOST "\r\n");
	assert_int_equal(sigv4_scan(&head, &meaning, &s), 1);
	sigv4_target(&s, &meaning, slice("AKIDEXAMPLE"), slice(""), NULL, &w);
	signature(&s, KEY, "", SIGV4_EMPTY_HASH, (struct http1_slice){target, w.len}, hex);
	assert_string_equal(hex,
			    "e93c787ed7f371d5c6b165c1b38ede9550f4dce4144713e844b25b7192d3865d");
}

static void paths(void **state)
{
	static const struct {
		const char *path, *other, *s3;
	} p[] = {
		{"/", "/", "/"},
		{"/\xe1\x88\xb4", "/%E1%88%B4", "/%E1%88%B4"},
		{"/example space/", "/example%20space/", "/example%20space/"},
		{"/example%20space/", "/example%2520space/", "/example%20space/"},
		{"/a//b/../c/.", "/a/c", "/a//b/../c/."},
		{"/../..", "/", "/../.."},
		{"/a/..", "/", "/a/.."},
		{"/a%2fb", "/a%252fb", "/a%2Fb"},
		{"/a%", "/a%25", "/a%25"},
		{"/a%zz", "/a%25zz", "/a%25zz"},
		{"/a+b=c", "/a%2Bb%3Dc", "/a%2Bb%3Dc"},
	};
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(p); i++) {
		char out[256];
		struct wr w = wr_of(out, sizeof(out) - 1);

		sigv4_path(slice(p[i].path), false, &w);
		out[w.len] = 0;
		assert_string_equal(out, p[i].other);
		w = wr_of(out, sizeof(out) - 1);
		sigv4_path(slice(p[i].path), true, &w);
		out[w.len] = 0;
		assert_string_equal(out, p[i].s3);
	}
}

static void refusals(void **state)
{
#define CRED "Credential=AKIAPLACEHOLDER/20150830/us-east-1/service/aws4_request"
	static const char *const bad[] = {
		"AWS4-HMAC-SHA256 x",
		"AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host",
		"AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host, Signature=abc",
		"AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host, Signature=" ANY "0",
		"AWS4-HMAC-SHA256 " CRED ", SignedHeaders=x-amz-date, Signature=" ANY,
		"AWS4-HMAC-SHA256 " CRED ", SignedHeaders=x-amz-date;host, Signature=" ANY,
		"AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host;host, Signature=" ANY,
		"AWS4-HMAC-SHA256 " CRED ", SignedHeaders=Host, Signature=" ANY,
		"AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host;;x, Signature=" ANY,
		"AWS4-HMAC-SHA256 " CRED ", " CRED ", SignedHeaders=host, Signature=" ANY,
		"AWS4-HMAC-SHA256 " CRED ", SignedHeaders=host, Signature=" ANY ", Extra=1",
		"AWS4-HMAC-SHA256 " CRED "/x, SignedHeaders=host, Signature=" ANY,
		"AWS4-HMAC-SHA256 Credential=AKIA/20150831/us-east-1/service/aws4_request, SignedHeaders=host, Signature=" ANY,
		"AWS4-HMAC-SHA256 Credential=AKIA/20150830/us east/service/aws4_request, SignedHeaders=host, Signature=" ANY,
		"AWS4-HMAC-SHA256 Credential=AKIA/20150830//service/aws4_request, SignedHeaders=host, Signature=" ANY,
		"AWS4-HMAC-SHA256 Credential=/20150830/r/service/aws4_request, SignedHeaders=host, Signature=" ANY,
		"AWS4-HMAC-SHA256 Credential=AKIA/20150830/r/s/aws4, SignedHeaders=host, Signature=" ANY,
	};
	static const char *const fields[] = {
		HOST "Date: Mon, 09 Sep 2011 23:36:00 GMT\r\n",
		HOST DATE DATE,
		HOST "X-Amz-Date: 20151330T123600Z\r\n",
		HOST "X-Amz-Date: 2015083T123600ZZ\r\n",
		HOST DATE "X-Amz-Security-Token: a\r\nX-Amz-Security-Token: b\r\n",
		HOST DATE "X-Amz-Content-Sha256: a\r\nX-Amz-Content-Sha256: b\r\n",
	};
	char text[2048];
	struct wr w = wr_of(raw, 0);
	struct sigv4 s;
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text),
			 "GET / HTTP/1.1\r\n" HOST DATE "Authorization: %s\r\n\r\n", bad[i]);
		parse(text);
		if (sigv4_scan(&head, &meaning, &s) != -EBADMSG)
			fail_msg("%s", bad[i]);
	}
	for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
		suite("GET /", fields[i], "host", "20150830/us-east-1/service");
		if (sigv4_scan(&head, &meaning, &s) != -EBADMSG)
			fail_msg("%s", fields[i]);
	}
	parse("GET / HTTP/1.1\r\n" HOST "Authorization: Bearer AWS4-HMAC-SHA256 x\r\n\r\n");
	assert_int_equal(sigv4_scan(&head, &meaning, &s), 0);
	/* A signed header that is not there, or that is not forwarded. */
	suite("GET /", HOST DATE, "host;x-amz-date;x-gone", "20150830/us-east-1/service");
	assert_int_equal(sigv4_scan(&head, &meaning, &s), 1);
	assert_int_equal(sigv4_canonical(&s, &head, &meaning, (struct http1_slice){0}, slice(""),
					 slice("x"), &w),
			 -EBADMSG);
	suite("GET /", HOST DATE "Connection: x-hop\r\nX-Hop: 1\r\n", "host;x-amz-date;x-hop",
	      "20150830/us-east-1/service");
	assert_int_equal(sigv4_scan(&head, &meaning, &s), 1);
	assert_int_equal(sigv4_canonical(&s, &head, &meaning, (struct http1_slice){0}, slice(""),
					 slice("x"), &w),
			 -EBADMSG);
}

static void presigned_refusals(void **state)
{
#define Q                                                                                          \
	"/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20150830%2Fr%2Fs%2Faws4_request"
	static const char *const bad[] = {
		Q,
		Q "&X-Amz-Date=20150830T123600Z",
		Q "&X-Amz-Date=20150830T123600Z&X-Amz-Expires=3600",
		Q "&X-Amz-Date=20150830T123600Z&X-Amz-Expires=0&X-Amz-SignedHeaders=host",
		Q "&X-Amz-Date=20150830T123600Z&X-Amz-Expires=604801&X-Amz-SignedHeaders=host",
		Q "&X-Amz-Date=20150830T123600Z&X-Amz-Expires=-1&X-Amz-SignedHeaders=host",
		Q "&X-Amz-Date=20150830T123600Z&X-Amz-Expires=99999999999&X-Amz-SignedHeaders=host",
		Q "&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=range",
		Q "&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3",
		Q "&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host%3Ahost",
		Q "&X-Amz-Date=20150831T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host",
		Q
		"&X-Amz-Credential=B%2F20150830%2Fr%2Fs%2Faws4_request&X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&"
		"X-Amz-SignedHeaders=host",
		"/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=A%4BIA%2F20150830%2Fr%2Fs%2Faws4_request&"
		"X-Amz-Date=20150830T123600Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host",
	};
	struct sigv4 s;
	char text[2048];
	(void)state;

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n" HOST "\r\n", bad[i]);
		parse(text);
		if (sigv4_scan(&head, &meaning, &s) != -EBADMSG)
			fail_msg("%s", bad[i]);
	}
	parse("GET /?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256 HTTP/1.1\r\n" HOST "\r\n");
	assert_int_equal(sigv4_scan(&head, &meaning, &s), 0);
}

static void times(void **state)
{
	(void)state;
	assert_int_equal(sigv4_seconds("19700101T000000Z"), 0);
	assert_int_equal(sigv4_seconds("20150830T123600Z"), 1440938160);
	assert_int_equal(sigv4_seconds("20240229T235959Z"), 1709251199);
	assert_int_equal(sigv4_seconds("21000301T000000Z"), 4107542400);
	assert_int_equal(sigv4_seconds("20150830X123600Z"), -1);
	assert_int_equal(sigv4_seconds("20150830T123600"), -1);
	assert_int_equal(sigv4_seconds("20150830T253600Z"), -1);
	assert_int_equal(sigv4_seconds("19690830T123600Z"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_suite),
		cmocka_unit_test(session_tokens),
		cmocka_unit_test(s3_examples),
		cmocka_unit_test(s3_chunks),
		cmocka_unit_test(presigned),
		cmocka_unit_test(suite_presigned),
		cmocka_unit_test(paths),
		cmocka_unit_test(refusals),
		cmocka_unit_test(presigned_refusals),
		cmocka_unit_test(times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
