/* ClientHellos built piece by piece, each piece made wrong once; every truncation, bit flip and record
 * size; what first bytes are taken for; host names. */
#include "hello.h"
#include "wr.h"

#include "flush.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>


/* What goes into a hello; NULL data: left out. */
struct parts {
	uint16_t version;
	uint8_t session_len;
	size_t suites_len;
	uint8_t suites_skew;	/* added to the length written */
	const char *compression;
	size_t compression_len;
	const char *ext;	/* bytes of all extensions */
	size_t ext_len;
	uint16_t ext_skew;	/* added to the length written */
	bool no_ext;
	uint8_t type;
	uint32_t length_skew;	/* of the handshake message */
	const char *after;	/* appended to the message */
};

static const struct parts plain = {.version = 0x0303, .session_len = 32, .suites_len = 4, .compression = "\0",
				   .compression_len = 1, .type = 1};

static const char ext_usual[] = "\0\0\0\x0e\0\x0c\0\0\x09""A.example" /* server_name */
				"\0\x10\0\x0e\0\x0c\x02h2\x08http/1.1"	 /* ALPN */
				"\0\x2b\0\x05\x04\x03\x04\x03\x03"	 /* supported_versions */
				"\x0a\x0a\0\0";				 /* GREASE */

static size_t message(const struct parts *t, uint8_t *out, size_t cap)
{
	struct wr b, w = wr_of(out, cap);
	uint8_t body[HELLO_MAX * 2];
	uint8_t zeros[HELLO_MAX] = {0};

	b = wr_of(body, sizeof(body));
	wr_u16(&b, t->version);
	wr_bytes(&b, zeros, 32);
	wr_u8(&b, t->session_len);
	wr_bytes(&b, zeros, t->session_len);
	wr_u16(&b, (uint16_t)(t->suites_len + t->suites_skew));
	wr_bytes(&b, zeros, t->suites_len);
	wr_u8(&b, (uint8_t)t->compression_len);
	wr_bytes(&b, t->compression, t->compression_len);
	if (!t->no_ext) {
		wr_u16(&b, (uint16_t)(t->ext_len + t->ext_skew));
		wr_bytes(&b, t->ext, t->ext_len);
	}
	if (t->after)
		wr_str(&b, t->after);
	assert_false(b.full);
	wr_u32(&w, ((uint32_t)b.len + t->length_skew) | (uint32_t)t->type << 24);
	wr_bytes(&w, body, b.len);
	assert_false(w.full);
	return w.len;
}

/* The message in records of at most `step` bytes. */
static size_t records(const uint8_t *msg, size_t len, size_t step, uint8_t *out, size_t cap)
{
	struct wr w = wr_of(out, cap);

	for (size_t at = 0; at < len; at += step) {
		size_t n = step < len - at ? step : len - at;

		wr_u8(&w, 22);
		wr_u16(&w, 0x0301);
		wr_u16(&w, (uint16_t)n);
		wr_bytes(&w, msg + at, n);
	}
	assert_false(w.full);
	return w.len;
}

static uint8_t wire[4 * HELLO_MAX];

static size_t hello_of(const struct parts *t)
{
	uint8_t msg[2 * HELLO_MAX];

	return records(msg, message(t, msg, sizeof(msg)), sizeof(msg), wire, sizeof(wire));
}

static enum hello_result parse(const uint8_t *p, size_t len, struct hello *h)
{
	struct hello before;
	enum hello_result res;

	memset(h, 0x5a, sizeof(*h));
	before = *h;
	res = hello_parse(flush_copy(0, p, len), len, h);
	if (res != HELLO_DONE)
		assert_memory_equal(h, &before, sizeof(before));
	return res;
}

/* No prefix may answer otherwise than the whole: MORE until it is decided, and then the same for ever. */
static enum hello_result parse_growing(const uint8_t *p, size_t len, struct hello *h)
{
	enum hello_result last = HELLO_MORE;

	for (size_t n = 0; n <= len; n++) {
		enum hello_result res = parse(p, n, h);

		if (last != HELLO_MORE)
			assert_int_equal(res, last);
		last = res;
	}
	return last;
}

static void test_usual(void **state)
{
	struct parts t = plain;
	struct hello h;
	size_t len;

	(void)state;
	t.ext = ext_usual;
	t.ext_len = sizeof(ext_usual) - 1;
	len = hello_of(&t);
	for (size_t n = 0; n < len; n++)
		assert_int_equal(parse(wire, n, &h), HELLO_MORE);
	assert_int_equal(parse_growing(wire, len, &h), HELLO_DONE);
	assert_string_equal(h.sni, "a.example");
	assert_true(h.alpn && h.h2 && h.http11 && h.tls13);
	assert_false(h.ech);
	assert_int_equal(h.version, 0x0303);
	assert_int_equal(h.len, len);
	wire[len] = 0x17; /* what follows is not the hello's */
	assert_int_equal(parse(wire, len + 1, &h), HELLO_DONE);
	assert_int_equal(h.len, len);
	t.no_ext = true;
	len = hello_of(&t);
	assert_int_equal(parse_growing(wire, len, &h), HELLO_DONE);
	assert_string_equal(h.sni, "");
	assert_false(h.alpn || h.tls13);
}

static void test_fragments(void **state)
{
	uint8_t msg[HELLO_MAX];
	struct parts t = plain;
	struct hello h;
	size_t len, n;

	(void)state;
	t.ext = ext_usual;
	t.ext_len = sizeof(ext_usual) - 1;
	len = message(&t, msg, sizeof(msg));
	for (size_t step = 1; step <= len; step++) {
		size_t count = (len + step - 1) / step;
		enum hello_result res;

		n = records(msg, len, step, wire, sizeof(wire));
		res = parse_growing(wire, n, &h);
		assert_int_equal(res, count <= HELLO_RECORDS_MAX ? HELLO_DONE : HELLO_BAD);
		if (res == HELLO_DONE) {
			assert_string_equal(h.sni, "a.example");
			assert_int_equal(h.len, n);
		}
	}
	/* another record type, or an empty record, in between */
	n = records(msg, len, 40, wire, sizeof(wire));
	wire[45] = 21;
	assert_int_equal(parse_growing(wire, n, &h), HELLO_BAD);
	wire[45] = 22;
	wire[48] = wire[49] = 0;
	assert_int_equal(parse_growing(wire, n, &h), HELLO_BAD);
	n = records(msg, len, 40, wire, sizeof(wire));
	wire[46] = 2;
	assert_int_equal(parse_growing(wire, n, &h), HELLO_BAD);
	wire[46] = 3;
	wire[47] = 5;
	assert_int_equal(parse_growing(wire, n, &h), HELLO_BAD);
	n = records(msg, len, 40, wire, sizeof(wire));
	memmove(wire + 50, wire + 45, n - 45);
	memcpy(wire + 45, "\x16\3\1\0\0", 5);
	assert_int_equal(parse_growing(wire, n + 5, &h), HELLO_BAD);
	/* more bytes in the last record than the hello has */
	memcpy(msg + len, "\1", 1);
	n = records(msg, len + 1, 4096, wire, sizeof(wire));
	assert_int_equal(parse_growing(wire, n, &h), HELLO_BAD);
}

#define BAD_EXT(text) {text, sizeof(text) - 1}
static const struct {
	const char *p;
	size_t len;
} bad_ext[] = {
	BAD_EXT("\0"),
	BAD_EXT("\0\0\0"),
	BAD_EXT("\0\0\0\1"),
	/* server_name: empty, empty list, list too short and too long, kind, two names, name too long */
	BAD_EXT("\0\0\0\0"),
	BAD_EXT("\0\0\0\2\0\0"),
	BAD_EXT("\0\0\0\x0e\0\x0b\0\0\x09" "a.example"),
	BAD_EXT("\0\0\0\x0e\0\x0d\0\0\x09" "a.example"),
	BAD_EXT("\0\0\0\x0e\0\x0c\1\0\x09" "a.example"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x08" "a.example"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x0a" "a.example"),
	BAD_EXT("\0\0\0\x1a\0\x18\0\0\x09" "a.example" "\0\0\x09" "b.example"),
	BAD_EXT("\0\0\0\x0f\0\x0c\0\0\x09" "a.example" "x"),
	BAD_EXT("\0\0\0\x05\0\x03\0\0\0"),
	/* names: NUL, blank, dot at the end, at the beginning, empty label, underscore is fine, address, number,
	 * wildcard, UTF-8, port, brackets */
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "a\0example"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "a.exampl\0"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "a example"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "aexample."),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" ".aexample"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "a..xample"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "-.example"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "127.0.0.1"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "214748364"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "0x7f00001"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "*.example"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "\xc3\xa4.exampl"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "a.exam:80"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "[2001:d8]"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "a@example"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "a/example"),
	/* ALPN: empty, empty list, empty name, too long, rest */
	BAD_EXT("\0\x10\0\0"),
	BAD_EXT("\0\x10\0\2\0\0"),
	BAD_EXT("\0\x10\0\3\0\1\0"),
	BAD_EXT("\0\x10\0\5\0\3\3h2"),
	BAD_EXT("\0\x10\0\6\0\3\2h2x"),
	BAD_EXT("\0\x10\0\5\0\4\2h2"),
	/* supported_versions: empty, odd, too long */
	BAD_EXT("\0\x2b\0\0"),
	BAD_EXT("\0\x2b\0\1\0"),
	BAD_EXT("\0\x2b\0\4\3\3\4\3"),
	BAD_EXT("\0\x2b\0\3\4\3\4"),
	BAD_EXT("\0\x2b\0\4\2\3\4\3"),
	/* the same twice: known, unknown */
	BAD_EXT("\0\x10\0\5\0\3\2h2\0\x10\0\5\0\3\2h2"),
	BAD_EXT("\0\0\0\x0e\0\x0c\0\0\x09" "a.example" "\0\0\0\x0e\0\x0c\0\0\x09" "b.example"),
	BAD_EXT("\x12\x34\0\0\x12\x34\0\0"),
};

static void refused(const struct parts *t, const char *what)
{
	struct hello h;
	enum hello_result res = parse_growing(wire, hello_of(t), &h);

	if (res != HELLO_BAD)
		fail_msg("%s: %d", what, res);
}

static void test_bad_extensions(void **state)
{
	struct parts t = plain;
	char what[32];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(bad_ext); i++) {
		t.ext = bad_ext[i].p;
		t.ext_len = bad_ext[i].len;
		snprintf(what, sizeof(what), "extension %zu", i);
		refused(&t, what);
	}
}

static void test_bad_hello(void **state)
{
	struct parts t;
	char many[4 * (HELLO_EXTENSIONS_MAX + 1)] = {0};
	struct hello h;
	size_t len;

	(void)state;
#define REFUSED(field, value) (t = plain, t.field = (value), refused(&t, #field " " #value))
	REFUSED(version, 0x0300);
	REFUSED(version, 0x0304);
	REFUSED(version, 0x0002);
	REFUSED(session_len, 33);
	REFUSED(suites_len, 0);
	REFUSED(suites_len, 3);
	REFUSED(suites_skew, 2);
	REFUSED(compression_len, 0);
	REFUSED(compression, "\1");
	REFUSED(ext_skew, 1);
	REFUSED(type, 2);
	REFUSED(type, 0);
	REFUSED(length_skew, UINT32_MAX); /* one less */
	REFUSED(after, "x");
	REFUSED(suites_len, HELLO_MAX);
	t = plain;
	t.ext = many;
	for (size_t i = 0; i <= HELLO_EXTENSIONS_MAX; i++)
		many[4 * i] = 0x40, many[4 * i + 1] = (char)i;
	t.ext_len = sizeof(many);
	refused(&t, "too many extensions");
	t.ext_len -= 4;
	assert_int_equal(parse(wire, hello_of(&t), &h), HELLO_DONE);
	t.ext = "\xfe\x0d\0\1x";
	t.ext_len = 5;
	assert_int_equal(parse(wire, hello_of(&t), &h), HELLO_DONE);
	assert_true(h.ech);
	t.ext = "\0\x10\0\x0e\0\x0c\x02h3\x08http/1.0";
	t.ext_len = 18;
	assert_int_equal(parse(wire, hello_of(&t), &h), HELLO_DONE);
	assert_true(h.alpn && !h.h2 && !h.http11);
	/* a message that says it is longer than we take is refused as soon as it says so */
	len = hello_of(&plain);
	wire[6] = 1;
	assert_int_equal(parse(wire, len, &h), HELLO_BAD);
	/* … and a record likewise */
	wire[6] = 0;
	wire[3] = 0x40;
	wire[4] = 0;
	assert_int_equal(parse(wire, 5, &h), HELLO_BAD);
}

static void test_flips(void **state)
{
	struct parts t = plain;
	size_t len;
	uint8_t copy[512];

	(void)state;
	t.ext = ext_usual;
	t.ext_len = sizeof(ext_usual) - 1;
	len = hello_of(&t);
	assert_true(len <= sizeof(copy));
	for (size_t bit = 0; bit < len * 8; bit++) {
		struct hello h;

		memcpy(copy, wire, len);
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (parse_growing(copy, len, &h) == HELLO_DONE && h.sni[0])
			assert_true(hello_host_ok(h.sni, strlen(h.sni)));
	}
}

static void test_kinds(void **state)
{
	static const struct {
		const char *text;
		enum hello_kind kind;
	} rows[] = {
		{"", HELLO_KIND_MORE},
		{"\x16", HELLO_KIND_MORE},
		{"\x16\3", HELLO_KIND_TLS},
		{"\x16\3\1", HELLO_KIND_TLS},
		{"\x16\2", HELLO_KIND_NEITHER},
		{"\x15\3", HELLO_KIND_NEITHER},
		{"\x17\3\3", HELLO_KIND_NEITHER},
		{"\x80\x2e\1\3\1", HELLO_KIND_NEITHER}, /* SSLv2 */
		{"G", HELLO_KIND_MORE},
		{"GET", HELLO_KIND_MORE},
		{"GET ", HELLO_KIND_MORE},
		{"GET /", HELLO_KIND_HTTP},
		{"GET http://a", HELLO_KIND_HTTP},
		{"CONNECT a.example:443", HELLO_KIND_HTTP},
		{"VERSION-CONTROL /", HELLO_KIND_HTTP},
		{"OPTIONS *", HELLO_KIND_HTTP},
		{"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEF /", HELLO_KIND_HTTP}, /* 32 letters: the longest */
		{"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG /", HELLO_KIND_NEITHER},
		{"get /", HELLO_KIND_NEITHER},
		{" GET /", HELLO_KIND_NEITHER},
		{"\r\nGET /", HELLO_KIND_NEITHER},
		{"GET\t/", HELLO_KIND_NEITHER},
		{"GET  /", HELLO_KIND_NEITHER},
		{"GET \r\n", HELLO_KIND_NEITHER},
		{"GET\r\n", HELLO_KIND_NEITHER},
		{"GET \xff", HELLO_KIND_NEITHER},
		{"SSH-2.0-OpenSSH_9.2p1 Debian\r\n", HELLO_KIND_NEITHER},
		{"EHLO\r\n", HELLO_KIND_NEITHER},
		{"*1\r\n$4\r\nPING\r\n", HELLO_KIND_NEITHER},
		{"{\"a\":1}", HELLO_KIND_NEITHER},
		{"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFGH", HELLO_KIND_NEITHER},
		{"ABCDEFGHIJKLMNOPQRSTUVWXYZABCDEFG ", HELLO_KIND_NEITHER},
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		size_t len = strlen(rows[i].text);
		enum hello_kind last = HELLO_KIND_MORE;

		for (size_t n = 0; n <= len; n++) {
			enum hello_kind k = hello_kind(flush_copy(0, rows[i].text, n), n);

			if (last != HELLO_KIND_MORE)
				assert_int_equal(k, last);
			if (n >= HELLO_KIND_BYTES)
				assert_int_not_equal(k, HELLO_KIND_MORE);
			last = k;
		}
		if (last != rows[i].kind)
			fail_msg("%s: %d", rows[i].text, last);
	}
	for (unsigned int b = 0; b < 256; b++) {
		uint8_t two[2] = {(uint8_t)b, 3};
		struct hello h;

		if (b == 22)
			continue;
		assert_int_not_equal(hello_kind(two, 2), HELLO_KIND_TLS);
		assert_int_not_equal(parse(two, 2, &h), HELLO_DONE);
	}
}

static void test_hosts(void **state)
{
	static const char *const good[] = {"a.example", "localhost", "xn--4ca.example", "a_b.c", "1.2.3.a", "0xg.example",
					   "1password.com", "a.0x1g"};
	static const char *const bad[] = {"", ".", "a.", ".a", "a..b", "-a", "a-", "a.-b", "A.example", "a b", "a,b", "1",
					  "1.2", "127.0.0.1", "a.1", "0x", "0x7f", "a.0x7f", "::1", "[::1]", "a:80", "a/b",
					  "*.a.example", "\xc3\xa4.example"};
	char host[512];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(good); i++)
		assert_true(hello_host_ok(flush_copy(0, good[i], strlen(good[i])), strlen(good[i])));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (hello_host_ok(flush_copy(0, bad[i], strlen(bad[i])), strlen(bad[i])))
			fail_msg("taken: %s", bad[i]);
	memset(host, 'a', sizeof(host));
	assert_true(hello_host_ok(host, 63));
	assert_false(hello_host_ok(host, 64));
	for (size_t i = 50; i < sizeof(host); i += 50)
		host[i] = '.';
	assert_true(hello_host_ok(host, 253));
	assert_false(hello_host_ok(host, 254));
	assert_false(hello_host_ok("a\0b", 3));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_usual),	  cmocka_unit_test(test_fragments), cmocka_unit_test(test_bad_extensions),
		cmocka_unit_test(test_bad_hello), cmocka_unit_test(test_flips),	    cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
