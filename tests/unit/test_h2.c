/* test_h2.c: a session against nghttp2 as its peer, and against frames that no library would make. */
#include "h2.h"
#include "http1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define USERS 20000

/* One stream of ours and what was read from it. */
struct user {
	struct side side;
	struct buf text;
	enum tls_io end, wrote; /* of reading and writing */
	bool gone;
	int woken;
};

static struct {
	struct h2 *h;
	struct http1_head scratch;
	struct user *users[USERS];
	uint32_t opened, malformed;
	bool full;      /* no room for streams */
	bool lazy;      /* nothing is read */
	struct buf in;  /* frames of the peer, for feed_all() */
	struct buf out; /* frames for the peer */
	uint64_t now_ms;
	int fed, drained;
} T;

static void user_read(struct user *u)
{
	size_t n;

	while (!T.lazy && u->side.self) {
		u->end = side_read(&u->side, &u->text, BUF_UNIT, &n);
		if (u->end != TLS_OK)
			return;
	}
}

static void on_wake(void *user)
{
	struct user *u = user;
	size_t n;

	u->woken++;
	user_read(u);
	if (buf_len(&u->side.out) > 0)
		u->wrote = side_write(&u->side, &n);
}

static void on_gone(void *user)
{
	struct user *u = user;

	u->gone = true;
	side_done(&u->side);
}

static const struct h2_user fns = {on_wake, on_gone};

static struct user *user_new(void)
{
	struct user *u = calloc(1, sizeof(*u));

	assert_non_null(u);
	assert_true(T.opened < USERS);
	T.users[T.opened++] = u;
	buf_init(&u->text, 64u << 20);
	return u;
}

static int on_opened(void *ctx, struct h2_stream *s)
{
	struct user *u;

	(void)ctx;
	if (T.full)
		return -EUSERS;
	u = user_new();
	side_init_via(&u->side, &h2_via, s, 1 << 20, 256 << 10);
	h2_stream_use(s, &fns, u, &u->side.out);
	return 0;
}

static void on_malformed(void *ctx)
{
	(void)ctx;
	T.malformed++;
}

static void on_dirty(void *ctx)
{
	(void)ctx;
}

static const struct h2_owner owner = {on_opened, on_malformed, on_dirty};

static void begin(enum h2_kind kind)
{
	memset(&T, 0, sizeof(T));
	T.now_ms = 1000000;
	buf_init(&T.in, 32u << 20);
	buf_init(&T.out, 64u << 20);
	assert_int_equal(h2_new(kind, &owner, NULL, &T.scratch, kind == H2_SERVER, &T.h), 0);
}

static void end(void)
{
	uint32_t i;

	for (i = 0; i < T.opened; i++) {
		side_done(&T.users[i]->side);
		buf_done(&T.users[i]->text);
	}
	T.h = h2_free(T.h);
	for (i = 0; i < T.opened; i++)
		free(T.users[i]);
	buf_done(&T.in);
	buf_done(&T.out);
}

static int feed(const void *p, size_t n)
{
	int rc = h2_feed(T.h, p, n, T.now_ms);

	h2_wake(T.h);
	if (rc < 0)
		T.fed = rc;
	return rc;
}

/* All of T.in, which is empty then. */
static int feed_all(void)
{
	int rc = feed(buf_bytes(&T.in), buf_len(&T.in));

	buf_done(&T.in);
	return rc;
}

static void drain(void)
{
	T.drained = h2_drain(T.h, &T.out, 32u << 20);
	h2_wake(T.h);
}

/* ---- frames by hand ---- */

/* To T.in, as all of these. */
static void raw_frame(uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n)
{
	const uint8_t hd[9] = {
		(uint8_t)(n >> 16),  (uint8_t)(n >> 8),   (uint8_t)n,         type,       flags,
		(uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id};

	assert_int_equal(buf_add(&T.in, hd, 9), 0);
	assert_int_equal(buf_add(&T.in, p, n), 0);
}

/* A field as literal, without indexing, without Huffman. */
static void raw_field(struct buf *b, const char *name, const char *value, size_t len)
{
	uint8_t n = (uint8_t)strlen(name);

	assert_true(n < 127 && len < 127);
	assert_int_equal(buf_add(b, "\0", 1), 0);
	assert_int_equal(buf_add(b, &n, 1), 0);
	assert_int_equal(buf_add(b, name, n), 0);
	n = (uint8_t)len;
	assert_int_equal(buf_add(b, &n, 1), 0);
	assert_int_equal(buf_add(b, value, len), 0);
}

/* A server, and a client's preface. */
static void raw_begin(void)
{
	static const char magic[] = NGHTTP2_CLIENT_MAGIC;

	begin(H2_SERVER);
	assert_int_equal(buf_add(&T.in, magic, sizeof(magic) - 1), 0);
	raw_frame(NGHTTP2_SETTINGS, 0, 0, "", 0);
	raw_frame(NGHTTP2_SETTINGS, 1, 0, "", 0);
	drain();
}

/* "name: value\n…"; a value may hold \1 for NUL. Ends with an END_HEADERS frame. */
static void raw_request(uint32_t id, bool last, const char *fields)
{
	struct buf block;
	char line[512];
	size_t i;

	buf_init(&block, 1u << 20);
	while (*fields) {
		size_t n = strcspn(fields, "\n"), colon;

		memcpy(line, fields, n);
		line[n] = '\0';
		fields += n + (fields[n] == '\n');
		colon = strcspn(line + 1, ":") + 1;
		line[colon] = '\0';
		n -= colon + 2;
		for (i = 0; i < n; i++) {
			char *c = &line[colon + 2 + i];

			*c = (char)(*c == 1 ? 0 : *c == 2 ? '\r' : *c == 3 ? '\n' : *c);
		}
		raw_field(&block, line, line + colon + 2, n);
	}
	raw_frame(NGHTTP2_HEADERS, (uint8_t)(4 | (last ? 1 : 0)), id, buf_bytes(&block),
		  buf_len(&block));
	buf_done(&block);
}

#define GET  ":method: GET\n:scheme: https\n:authority: api.test\n:path: /a\n"
#define POST ":method: POST\n:scheme: https\n:authority: api.test\n:path: /a\n"

/* The first frame of a type that we wrote; its 32-bit payload at `at`. False: there is none. */
static bool wrote(uint8_t type, uint32_t id, size_t at, uint32_t *ret)
{
	const uint8_t *p = buf_bytes(&T.out), *e = p + buf_len(&T.out);

	while (e - p >= 9) {
		size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
		uint32_t sid = (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 |
			       p[8];

		if (p[3] == type && sid == id && n >= at + 4) {
			p += 9 + at;
			*ret = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
			       p[3];
			return true;
		}
		p += 9 + n;
	}
	return false;
}

static uint32_t goaway_code(void)
{
	uint32_t code = UINT32_MAX;

	drain();
	return wrote(NGHTTP2_GOAWAY, 0, 4, &code) ? code : UINT32_MAX;
}

static uint32_t reset_code(uint32_t id)
{
	uint32_t code = UINT32_MAX;

	drain();
	return wrote(NGHTTP2_RST_STREAM, id, 0, &code) ? code : UINT32_MAX;
}

static const char *text_of(uint32_t user)
{
	struct buf *b = &T.users[user]->text;

	assert_int_equal(buf_add(b, "", 1), 0);
	b->end--;
	return (const char *)buf_bytes(b);
}

/* ---- requests ---- */

static void test_requests(void **state)
{
	static const struct {
		const char *fields, *text;
		bool last;
	} rows[] = {
		{GET, "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n", true},
		{GET "accept: */*\nx-a: 1\nx-a: 2\n",
		 "GET /a HTTP/1.1\r\nHost: api.test\r\naccept: */*\r\nx-a: 1\r\nx-a: 2\r\n\r\n",
		 true},
		{GET "host: API.test\n", "GET /a HTTP/1.1\r\nHost: api.test\r\n\r\n", true},
		{":method: GET\n:scheme: https\n:path: /\nhost: api.test\n",
		 "GET / HTTP/1.1\r\nhost: api.test\r\n\r\n", true},
		{GET "cookie: a=1\ncookie: b=2\nx: y\n",
		 "GET /a HTTP/1.1\r\nHost: api.test\r\nx: y\r\ncookie: a=1; b=2\r\n\r\n", true},
		{GET "te: trailers\nempty: \n",
		 "GET /a HTTP/1.1\r\nHost: api.test\r\nte: trailers\r\nempty: \r\n\r\n", true},
		{POST "content-length: 3\n",
		 "POST /a HTTP/1.1\r\nHost: api.test\r\ncontent-length: 3\r\n\r\n", false},
		{POST, "POST /a HTTP/1.1\r\nHost: api.test\r\nTransfer-Encoding: chunked\r\n\r\n",
		 false},
		{POST "content-length: 3\ncontent-type: application/grpc+proto\nx: y\n",
		 "POST /a HTTP/1.1\r\nHost: api.test\r\ncontent-type: application/grpc+proto\r\nx: y\r\nTransfer-Encoding: chunked\r\n\r\n",
		 false},
		{":method: OPTIONS\n:scheme: https\n:authority: api.test\n:path: *\n",
		 "OPTIONS * HTTP/1.1\r\nHost: api.test\r\n\r\n", true},
		{":method: CONNECT\n:authority: api.test:443\n",
		 "CONNECT api.test:443 HTTP/1.1\r\nHost: api.test:443\r\n\r\n", false},
		{GET "authorization: Bearer agentsecrets://KEY\n",
		 "GET /a HTTP/1.1\r\nHost: api.test\r\nauthorization: Bearer agentsecrets://KEY\r\n\r\n",
		 true},
	};
	size_t i, k;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		raw_begin();
		raw_request(1, rows[i].last, rows[i].fields);
		for (k = 0; k < buf_len(&T.in); k++) /* byte by byte */
			assert_int_equal(feed(buf_bytes(&T.in) + k, 1), 0);
		if (T.opened != 1)
			print_message("row %zu\n", i);
		assert_int_equal(T.opened, 1);
		assert_string_equal(text_of(0), rows[i].text);
		end();
	}
}

static void test_websocket(void **state)
{
	static const char granted[] =
		"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		"Sec-WebSocket-Accept: x\r\n\r\nxyz";
	struct http1_scan scan = {0};
	struct http1_meaning m;
	size_t n;

	(void)state;
	raw_begin();
	raw_request(
		1, false,
		":method: CONNECT\n:protocol: websocket\n:scheme: https\n:authority: api.test\n:path: /ws\n"
		"sec-websocket-version: 13\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\n");
	raw_frame(NGHTTP2_DATA, 0, 1, "abc", 3);
	assert_int_equal(feed_all(), 0);
	assert_int_equal(T.opened, 1);
	assert_int_equal(http1_request(&scan, text_of(0), buf_len(&T.users[0]->text), &T.scratch),
			 HTTP1_DONE);
	assert_int_equal(http1_request_meaning(&T.scratch, &m), 0);
	assert_true(m.websocket && http1_eq(T.scratch.method, "GET"));
	assert_null(strstr(text_of(0), "dGhlIHNhbXBsZSBub25jZQ=="));
	assert_string_equal(text_of(0) + T.scratch.raw.len, "abc");
	/* Granted: 200, and what follows goes as it is. */
	drain();
	buf_done(&T.out);
	assert_int_equal(buf_add(&T.users[0]->side.out, granted, strlen(granted)), 0);
	assert_int_equal(side_write(&T.users[0]->side, &n), TLS_OUT);
	drain();
	assert_int_equal(buf_len(&T.users[0]->side.out), 0);
	assert_int_equal(buf_bytes(&T.out)[9], 0x88); /* :status 200, of the static table */
	assert_memory_equal(buf_bytes(&T.out) + buf_len(&T.out) - 3, "xyz", 3);
	end();
}

static void test_malformed(void **state)
{
	static const char *const rows[] = {
		"",
		":method: GET\n:scheme: https\n:path: /\n",                    /* no authority */
		":scheme: https\n:authority: a.test\n:path: /\n",              /* no method */
		":method: GET\n:authority: a.test\n:path: /\n",                /* no scheme */
		":method: GET\n:scheme: https\n:authority: a.test\n",          /* no path */
		":method: GET\n:scheme: https\n:authority: a.test\n:path: \n", /* empty */
		":method: GET\n:scheme: https\n:authority: \n:path: /\n",
		":method: \n:scheme: https\n:authority: a.test\n:path: /\n",
		":method: GET\n" GET, /* twice */
		GET ":path: /b\n",
		GET ":authority: b.test\n",
		GET "x: y\n:path: /b\n", /* after a field */
		"x: y\n" GET,
		GET ":status: 200\n", /* of the other direction, unknown */
		GET ":foo: bar\n",
		GET ":protocol: websocket\n", /* without CONNECT */
		":method: CONNECT\n:protocol: tcp\n:scheme: https\n:authority: a.test\n:path: /\n",
		":method: CONNECT\n:protocol: websocket\n:authority: a.test\n",
		":method: CONNECT\n:scheme: https\n:authority: a.test\n:path: /\n",
		":method: GET\n:scheme: http\n:authority: a.test\n:path: /\n", /* not what we speak */
		":method: GET\n:scheme: ftp\n:authority: a.test\n:path: /\n",
		":method: GET\n:scheme: https\n:authority: a.test\n:path: a\n", /* not a path */
		":method: GET\n:scheme: https\n:authority: a.test\n:path: *\n",
		":method: GET\n:scheme: https\n:authority: a.test\n:path: https://b.test/\n",
		":method: GET\n:scheme: https\n:authority: a.test\n:path: /a b\n", /* a request line of two readings */
		":method: GET\n:scheme: https\n:authority: a.test\n:path: /a\2\3X: y\n",
		":method: GET\n:scheme: https\n:authority: a.test\2\3X: y\n:path: /a\n",
		":method: GET / HTTP/1.1\2\3X:\n:scheme: https\n:authority: a.test\n:path: /a\n",
		":method: G T\n:scheme: https\n:authority: a.test\n:path: /a\n",
		":method: GET\n:scheme: https\n:authority: a test\n:path: /a\n",
		GET "x: a\2\3y: b\n", /* injection */
		GET "x: a\3y: b\n",
		GET "x: a\2y\n",
		GET "x: a\1b\n",
		GET "x: \x7f\n",
		GET "x:  a\n", /* white space around it */
		GET "x: a \n",
		GET "x y: a\n", /* names */
		GET "X: a\n",
		GET "x\2: a\n",
		GET "\x80: a\n",
		GET "connection: close\n", /* of a connection */
		GET "connection: x-a\nx-a: 1\n",
		GET "keep-alive: timeout=5\n",
		GET "proxy-connection: close\n",
		GET "transfer-encoding: chunked\n",
		GET "upgrade: websocket\n",
		GET "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA\n",
		GET "te: gzip\n",
		GET "te: trailers, gzip\n",
		GET "host: a.test\nhost: a.test\n",
		POST "content-length: 1\ncontent-length: 1\n",
		POST "content-length: 1\ncontent-length: 2\n",
		POST "content-length: -1\n",
		POST "content-length: 1, 1\n",
		GET "content-length: 5\n", /* and the stream ends */
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		raw_begin();
		raw_request(1, true, rows[i]);
		(void)feed_all();
		if (T.opened != 0 || T.malformed == 0 || reset_code(1) != NGHTTP2_PROTOCOL_ERROR)
			print_message("row %zu: %s\n", i, rows[i]);
		assert_int_equal(T.opened, 0);
		assert_true(T.malformed >= 1);
		assert_int_equal(reset_code(1), NGHTTP2_PROTOCOL_ERROR);
		/* The connection goes on. */
		raw_request(3, true, GET);
		assert_int_equal(feed_all(), 0);
		assert_int_equal(T.opened, 1);
		end();
	}
}

/* What h2text.h passes on for http1.h to refuse. */
static void test_left_to_http1(void **state)
{
	static const struct {
		const char *fields;
		enum http1_bad bad;
	} rows[] = {
		{GET "host: b.test\n", HTTP1_BAD_HOST_TWICE},
		{":method: GET\n:scheme: https\n:authority: user@a.test\n:path: /\n",
		 HTTP1_BAD_HOST},
		{":method: GET\n:scheme: https\n:authority: a.test:99999\n:path: /\n",
		 HTTP1_BAD_HOST},
		{":method: GET\n:scheme: https\n:authority: a.test,b.test\n:path: /\n",
		 HTTP1_BAD_HOST},
	};
	struct http1_meaning m;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		struct http1_scan scan = {0};

		raw_begin();
		raw_request(1, true, rows[i].fields);
		assert_int_equal(feed_all(), 0);
		assert_int_equal(
			http1_request(&scan, text_of(0), buf_len(&T.users[0]->text), &T.scratch),
			HTTP1_DONE);
		assert_int_equal(http1_request_meaning(&T.scratch, &m), -EBADMSG);
		assert_int_equal(m.bad, rows[i].bad);
		end();
	}
}

/* Many fields: over HTTP1_HEAD_MAX, and http1.h says so; the memory is bounded. */
static void test_too_long(void **state)
{
	struct http1_scan scan = {0};
	struct buf block;
	char value[120];
	int i;

	(void)state;
	raw_begin();
	buf_init(&block, 1u << 20);
	memset(value, 'v', sizeof(value));
	raw_field(&block, ":method", "GET", 3);
	raw_field(&block, ":scheme", "https", 5);
	raw_field(&block, ":authority", "a.test", 6);
	raw_field(&block, ":path", "/", 1);
	for (i = 0; i < 540; i++)
		raw_field(&block, "x", value, sizeof(value));
	for (i = 0; (size_t)i < buf_len(&block); i += 16384) {
		size_t n = buf_len(&block) - (size_t)i < 16384 ? buf_len(&block) - (size_t)i
							       : 16384;
		bool last = (size_t)i + n == buf_len(&block);

		raw_frame(i ? NGHTTP2_CONTINUATION : NGHTTP2_HEADERS,
			  (uint8_t)((last ? 4 : 0) | (i ? 0 : 1)), 1, buf_bytes(&block) + i, n);
	}
	assert_int_equal(feed_all(), 0);
	assert_int_equal(T.opened, 1);
	assert_int_equal(http1_request(&scan, text_of(0), buf_len(&T.users[0]->text), &T.scratch),
			 HTTP1_BAD);
	assert_int_equal(T.scratch.bad, HTTP1_BAD_TOO_LONG);
	buf_done(&block);
	end();
}

/* ---- bodies of requests ---- */

/* The payload of a chunked body in a text, from its head on. */
static size_t unchunk(const struct buf *text, char *out)
{
	const char *from = (const char *)buf_bytes(text), *p = strstr(from, "\r\n\r\n") + 4;
	size_t len = buf_len(text) - (size_t)(p - from);
	struct http1_chunked c = {0};
	struct http1_slice d;
	size_t used, n = 0;
	enum http1_result got;

	while ((got = http1_chunked(&c, p, len, &used, &d)) == HTTP1_DATA) {
		memcpy(out + n, d.p, d.len);
		n += d.len;
		p += used;
		len -= used;
	}
	assert_int_equal(got, HTTP1_DONE);
	return n;
}

static void test_bodies(void **state)
{
	static char got[200000];
	size_t i, n;

	(void)state;
	/* Small frames that nobody reads take little more memory than they bring. */
	raw_begin();
	T.lazy = true;
	raw_request(1, false, POST);
	for (i = 0; i < 60000; i++)
		raw_frame(NGHTTP2_DATA, 0, 1, "x", 1);
	raw_frame(NGHTTP2_DATA, 1, 1, "y", 1);
	assert_int_equal(feed_all(), 0);
	T.lazy = false;
	user_read(T.users[0]);
	n = buf_len(&T.users[0]->text);
	assert_true(n < 60001 + 200);
	(void)text_of(0);
	assert_int_equal(unchunk(&T.users[0]->text, got), 60001);
	assert_int_equal(T.users[0]->end, TLS_END);
	assert_true(got[0] == 'x' && got[60000] == 'y');
	end();
	/* Read in between; padding; trailers. */
	raw_begin();
	raw_request(1, false, POST);
	raw_frame(NGHTTP2_DATA, 8, 1, "\4abc\0\0\0\0", 8);
	raw_frame(NGHTTP2_DATA, 0, 1, "de", 2);
	raw_request(1, true, "x-sum: 1\n");
	for (i = 0; i < buf_len(&T.in); i++)
		assert_int_equal(feed(buf_bytes(&T.in) + i, 1), 0);
	(void)text_of(0);
	assert_int_equal(unchunk(&T.users[0]->text, got), 5);
	assert_memory_equal(got, "abcde", 5);
	assert_non_null(strstr(text_of(0), "0\r\nx-sum: 1\r\n\r\n"));
	end();
}

static void test_body_lies(void **state)
{
	static const struct {
		const char *fields, *data, *trailers;
		bool last;
	} rows[] = {
		{POST "content-length: 3\n", "ab", NULL, true},   /* less */
		{POST "content-length: 3\n", "abcd", NULL, true}, /* more */
		{POST "content-length: 3\n", "abcd", NULL, false},
		{POST, "ab", ":path: /b\n",
		 false}, /* in trailers: pseudo-fields, framing, a connection's */
		{POST, "ab", "content-length: 2\n", false},
		{POST, "ab", "host: b.test\n", false},
		{POST, "ab", "transfer-encoding: chunked\n", false},
		{POST, "ab", "x: a\2\3y: b\n", false},
		{POST "content-length: 2\n", "ab", "X: y\n", false},
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		raw_begin();
		raw_request(1, false, rows[i].fields);
		raw_frame(NGHTTP2_DATA, rows[i].last, 1, rows[i].data, strlen(rows[i].data));
		if (rows[i].trailers)
			raw_request(1, true, rows[i].trailers);
		(void)feed_all();
		drain();
		if (!T.users[0]->gone)
			print_message("row %zu\n", i);
		assert_true(T.users[0]->gone);
		assert_int_equal(reset_code(1), NGHTTP2_PROTOCOL_ERROR);
		end();
	}
}

/* A window is given back as it is read, and not before. */
static void test_window_in(void **state)
{
	static char big[16384];
	uint32_t more;
	uint32_t sent = 0;
	int i;

	(void)state;
	raw_begin();
	T.lazy = true;
	raw_request(1, false, POST);
	for (i = 0; i < (int)(H2_SERVER_WINDOW / sizeof(big)); i++, sent += sizeof(big))
		raw_frame(NGHTTP2_DATA, 0, 1, big, sizeof(big));
	assert_int_equal(feed_all(), 0);
	drain();
	assert_false(wrote(NGHTTP2_WINDOW_UPDATE, 1, 0, &more));
	T.lazy = false;
	user_read(T.users[0]);
	drain();
	assert_true(wrote(NGHTTP2_WINDOW_UPDATE, 1, 0, &more));
	assert_true(more >= sent / 2U && more <= sent); /* in halves */
	/* More than was granted. */
	T.lazy = true;
	for (i = 0; i < (int)(H2_SERVER_WINDOW / sizeof(big)) + 1; i++)
		raw_frame(NGHTTP2_DATA, 0, 1, big, sizeof(big));
	(void)feed_all();
	drain();
	assert_true(T.users[0]->gone || T.fed < 0);
	end();
}

/* ---- floods ---- */

static void test_continuation_flood(void **state)
{
	int i, n;

	(void)state;
	/* Small frames, and a block that never ends. */
	for (n = 1; n <= 8000; n += 7999) {
		raw_begin();
		raw_frame(NGHTTP2_HEADERS, 1, 1, "\x82\x87\x84", 3);
		for (i = 0; i < 2000; i++) {
			struct buf block;

			buf_init(&block, 1u << 20);
			while ((int)buf_len(&block) < n)
				raw_field(&block, "x", "vvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvvv",
					  40);
			raw_frame(NGHTTP2_CONTINUATION, 0, 1, buf_bytes(&block), buf_len(&block));
			buf_done(&block);
		}
		for (i = 0; i < 2000 && T.fed == 0; i++)
			(void)feed(buf_bytes(&T.in) + i * 100, 100);
		assert_int_equal(T.fed, -EPROTO);
		assert_int_equal(T.opened, 0);
		assert_true(i * 100 < H2_BLOCK_MAX + 40000);
		assert_true(goaway_code() != UINT32_MAX);
		assert_true(h2_over(T.h));
		end();
	}
}

static void test_rapid_reset(void **state)
{
	static const uint8_t cancel[4] = {0, 0, 0, 8};
	uint32_t i;

	(void)state;
	raw_begin();
	for (i = 0; i < 10000; i++) {
		raw_request(2 * i + 1, true, GET);
		raw_frame(NGHTTP2_RST_STREAM, 0, 2 * i + 1, cancel, 4);
	}
	(void)feed_all();
	assert_int_equal(T.fed, -EPROTO);
	assert_true(T.opened <= H2_RESETS_BURST + 1);
	assert_int_equal(goaway_code(), NGHTTP2_ENHANCE_YOUR_CALM);
	for (i = 0; i < T.opened; i++)
		assert_true(T.users[i]->gone);
	end();
	/* Slowly is all right. */
	raw_begin();
	assert_int_equal(feed_all(), 0);
	for (i = 0; i < 2000; i++) {
		raw_request(2 * i + 1, true, GET);
		raw_frame(NGHTTP2_RST_STREAM, 0, 2 * i + 1, cancel, 4);
		T.now_ms += 1000 / H2_RESETS_PER_S;
		if (feed_all() < 0)
			break;
	}
	assert_true(i >= 1000); /* nghttp2 has a count of its own, in seconds of the real clock */
	end();
}

/* Streams that we reset because they are malformed count as well. */
static void test_made_to_reset(void **state)
{
	uint32_t i;

	(void)state;
	raw_begin();
	for (i = 0; i < 10000 && T.fed == 0; i++) {
		raw_request(2 * i + 1, true, GET "x: a\2\3b\n");
		(void)feed_all();
		drain();
	}
	assert_int_equal(T.fed, -EPROTO);
	assert_true(T.malformed <= 2 * H2_RESETS_BURST + 2);
	end();
}

static void test_streams_max(void **state)
{
	uint32_t i;

	(void)state;
	raw_begin();
	for (i = 0; i < H2_STREAMS_MAX + 20; i++)
		raw_request(2 * i + 1, false, POST);
	(void)feed_all();
	assert_true(T.opened <= H2_STREAMS_MAX + 20);
	drain();
	/* Once our SETTINGS are acknowledged, none over the limit is taken. */
	end();
	raw_begin();
	for (i = 0; i < H2_STREAMS_MAX + 20; i++)
		raw_request(2 * i + 1, false, POST);
	(void)feed_all();
	assert_int_equal(T.opened, H2_STREAMS_MAX);
	end();
	/* The owner has no room: refused as not looked at. */
	raw_begin();
	T.full = true;
	raw_request(1, true, GET);
	assert_int_equal(feed_all(), 0);
	assert_int_equal(reset_code(1), NGHTTP2_REFUSED_STREAM);
	end();
}

static void test_idle_frames(void **state)
{
	static const struct {
		uint8_t type;
		uint32_t id;
		size_t n;
	} rows[] = {
		{NGHTTP2_PING, 0, 8},
		{NGHTTP2_SETTINGS, 0, 0},
		{NGHTTP2_PRIORITY, 3, 5},
		{NGHTTP2_DATA, 1, 0},
	};
	size_t i, k;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		raw_begin();
		raw_request(1, false, POST);
		for (k = 0; k < 3 * H2_IDLE_BURST; k++)
			raw_frame(rows[i].type, 0, rows[i].id, "\0\0\0\0\0\0\0\1", rows[i].n);
		for (k = 0; k < buf_len(&T.in) && T.fed == 0; k += 90) {
			(void)feed(buf_bytes(&T.in) + k,
				   buf_len(&T.in) - k < 90 ? buf_len(&T.in) - k : 90);
			drain();
		}
		if (T.fed == 0)
			print_message("row %zu\n", i);
		assert_int_equal(T.fed, -EPROTO);
		assert_int_equal(goaway_code(), NGHTTP2_ENHANCE_YOUR_CALM);
		end();
	}
}

static void test_bad_frames(void **state)
{
	static const uint8_t most[4] = {0x7f, 0xff, 0xff, 0xff};

	(void)state;
	/* Windows over 2^31-1: of a stream, of the connection. */
	raw_begin();
	raw_request(1, true, GET);
	raw_frame(NGHTTP2_WINDOW_UPDATE, 0, 1, most, 4);
	assert_int_equal(feed_all(), 0);
	assert_int_equal(reset_code(1), NGHTTP2_FLOW_CONTROL_ERROR);
	assert_true(T.users[0]->gone);
	raw_frame(NGHTTP2_WINDOW_UPDATE, 0, 0, most, 4);
	(void)feed_all();
	assert_int_equal(goaway_code(), NGHTTP2_FLOW_CONTROL_ERROR);
	assert_true(h2_over(T.h));
	end();
	/* No preface. */
	begin(H2_SERVER);
	assert_int_equal(feed("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", 34), -EPROTO);
	end();
	/* A frame longer than allowed. */
	raw_begin();
	(void)feed_all();
	(void)feed("\1\0\0\0\0\0\0\0\1", 9);
	assert_int_equal(goaway_code(), NGHTTP2_FRAME_SIZE_ERROR);
	end();
}

/* On stream 1, which a request has opened, or nothing. */
static void test_bad_frame(void **state)
{
	static const struct {
		uint8_t type, flags;
		const char *p;
		size_t n;
		bool opened;
		uint32_t code;
	} rows[] = {
		/* Padding longer than the frame; DATA on no stream; a push; a broken header block. */
		{NGHTTP2_DATA, 8, "\020abc", 4, true, NGHTTP2_PROTOCOL_ERROR},
		{NGHTTP2_DATA, 0, "abc", 3, false, NGHTTP2_PROTOCOL_ERROR},
		{NGHTTP2_PUSH_PROMISE, 4, "\0\0\0\2\x82", 5, false, NGHTTP2_PROTOCOL_ERROR},
		{NGHTTP2_HEADERS, 5, "\xff\xff\xff\xff\xff\xff", 6, false,
		 NGHTTP2_COMPRESSION_ERROR},
	};
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		raw_begin();
		if (rows[i].opened)
			raw_request(1, false, POST);
		raw_frame(rows[i].type, rows[i].flags, 1, rows[i].p, rows[i].n);
		(void)feed_all();
		if (goaway_code() != rows[i].code)
			print_message("row %zu\n", i);
		assert_int_equal(goaway_code(), rows[i].code);
		assert_int_equal(T.opened, rows[i].opened);
		end();
	}
}

/* ---- nghttp2 as the peer ---- */

struct peer {
	nghttp2_session *ng;
	struct buf body;
	char fields[4096]; /* "name: value\n" of every block; "|" behind each */
	bool ended, no_index;
	uint32_t closed_with;
	bool closed;
	int32_t id;
	const char *send; /* body of the peer's own message */
	size_t send_len;
};

static int peer_on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *n, size_t nl,
			  const uint8_t *v, size_t vl, uint8_t flags, void *ctx)
{
	struct peer *p = ctx;
	size_t at = strlen(p->fields);

	(void)ng;
	p->id = f->hd.stream_id;
	if (strncmp((const char *)n, "authorization", nl) == 0 ||
	    strncmp((const char *)n, ":path", nl) == 0)
		p->no_index |= (flags & NGHTTP2_NV_FLAG_NO_INDEX) != 0;
	(void)snprintf(p->fields + at, sizeof(p->fields) - at, "%.*s: %.*s\n", (int)nl,
		       (const char *)n, (int)vl, (const char *)v);
	return 0;
}

static int peer_on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *ctx)
{
	struct peer *p = ctx;

	(void)ng;
	if (f->hd.type == NGHTTP2_HEADERS)
		strncat(p->fields, "|", sizeof(p->fields) - strlen(p->fields) - 1);
	if ((f->hd.type == NGHTTP2_HEADERS || f->hd.type == NGHTTP2_DATA) &&
	    (f->hd.flags & NGHTTP2_FLAG_END_STREAM))
		p->ended = true;
	return 0;
}

static int peer_on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *d, size_t n,
			void *ctx)
{
	(void)ng;
	(void)flags;
	(void)id;
	return buf_add(&((struct peer *)ctx)->body, d, n);
}

static int peer_on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *ctx)
{
	struct peer *p = ctx;

	(void)ng;
	(void)id;
	p->closed = true;
	p->closed_with = code;
	return 0;
}

static void peer_begin(struct peer *p, bool server, bool no_auto)
{
	nghttp2_session_callbacks *cb;
	nghttp2_option *opt;

	memset(p, 0, sizeof(*p));
	buf_init(&p->body, 64u << 20);
	nghttp2_session_callbacks_new(&cb);
	nghttp2_option_new(&opt);
	nghttp2_option_set_no_auto_window_update(opt, no_auto);
	nghttp2_session_callbacks_set_on_header_callback(cb, peer_on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, peer_on_frame);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, peer_on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, peer_on_close);
	assert_int_equal(server ? nghttp2_session_server_new2(&p->ng, cb, p, opt)
				: nghttp2_session_client_new2(&p->ng, cb, p, opt),
			 0);
	nghttp2_session_callbacks_del(cb);
	nghttp2_option_del(opt);
	assert_int_equal(nghttp2_submit_settings(p->ng, 0, NULL, 0), 0);
}

static void peer_end(struct peer *p)
{
	nghttp2_session_del(p->ng);
	buf_done(&p->body);
}

/* Carries bytes both ways until nothing moves. */
static void carry(struct peer *p)
{
	const uint8_t *b;
	ssize_t n;
	bool moved = true;

	while (moved) {
		moved = false;
		while ((n = nghttp2_session_mem_send(p->ng, &b)) > 0) {
			(void)feed(b, (size_t)n);
			moved = true;
		}
		drain();
		if (buf_len(&T.out)) {
			assert_int_equal(
				nghttp2_session_mem_recv(p->ng, buf_bytes(&T.out), buf_len(&T.out)),
				buf_len(&T.out));
			buf_done(&T.out);
			moved = true;
		}
	}
}

static nghttp2_nv nv(const char *n, const char *v)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)n, (uint8_t *)(uintptr_t)v, strlen(n), strlen(v),
			    0};
}

static void peer_get(struct peer *p, const char *method)
{
	const nghttp2_nv f[] = {nv(":method", method), nv(":scheme", "https"),
				nv(":authority", "a.test"), nv(":path", "/")};

	assert_true(nghttp2_submit_request(p->ng, NULL, f, 4, NULL, NULL) > 0);
	carry(p);
}

/* Our user says this; the result of the write. */
static enum tls_io say(uint32_t user, const char *text)
{
	size_t n;

	assert_int_equal(buf_add(&T.users[user]->side.out, text, strlen(text)), 0);
	return side_write(&T.users[user]->side, &n);
}

static void test_responses(void **state)
{
	static const struct {
		const char *method, *text, *fields, *body;
	} rows[] = {
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-A: B\r\n\r\nabc",
		 ":status: 200\ncontent-length: 3\nx-a: B\n|", "abc"},
		{"GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
		 ":status: 200\ncontent-length: 0\n|", ""},
		{"HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 300\r\n\r\n",
		 ":status: 200\ncontent-length: 300\n|", ""},
		{"GET", "HTTP/1.1 204 No Content\r\nKeep-Alive: x\r\n\r\n", ":status: 204\n|", ""},
		{"GET", "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n",
		 ":status: 304\netag: \"x\"\n|", ""},
		{"GET",
		 "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
		 ":status: 103\nlink: </a>\n|:status: 200\ncontent-length: 1\n|", "x"},
		{"GET",
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
		 ":status: 200\n|", "abcde"},
		{"POST",
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nGrpc-Status: 0\r\n\r\n",
		 ":status: 200\n|grpc-status: 0\n|", "abc"},
		{"POST",
		 "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nGrpc-Status: 0\r\n\r\n",
		 ":status: 200\n|grpc-status: 0\n|", ""},
	};
	struct peer p;
	size_t i, k, n;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		for (k = 0; k < 2; k++) { /* at once, and byte by byte */
			begin(H2_SERVER);
			peer_begin(&p, false, false);
			peer_get(&p, rows[i].method);
			assert_int_equal(T.opened, 1);
			for (n = 0; k && n < strlen(rows[i].text); n++) {
				char one[2] = {rows[i].text[n], '\0'};

				assert_true(say(0, one) != TLS_FAIL);
				carry(&p);
			}
			if (!k)
				assert_true(say(0, rows[i].text) != TLS_FAIL);
			carry(&p);
			assert_string_equal(p.fields, rows[i].fields);
			assert_int_equal(buf_len(&p.body), strlen(rows[i].body));
			if (buf_len(&p.body))
				assert_memory_equal(buf_bytes(&p.body), rows[i].body,
						    buf_len(&p.body));
			assert_true(p.ended);
			assert_int_equal(buf_len(&T.users[0]->side.out), 0);
			peer_end(&p);
			end();
		}
	}
}

/* Let go too early: the peer cannot take it for whole. Too much: nothing more goes. */
static void test_responses_cut(void **state)
{
	static const char *const rows[] = {
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
		"HTTP/1.1 200 OK\r\n",
		"",
	};
	struct peer p;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		begin(H2_SERVER);
		peer_begin(&p, false, false);
		peer_get(&p, "GET");
		(void)say(0, rows[i]);
		carry(&p);
		assert_false(p.ended);
		side_done(&T.users[0]->side);
		carry(&p);
		assert_true(p.closed && !p.ended);
		assert_int_equal(p.closed_with, NGHTTP2_INTERNAL_ERROR);
		peer_end(&p);
		end();
	}
	begin(H2_SERVER);
	peer_begin(&p, false, false);
	peer_get(&p, "GET");
	(void)say(0, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
	assert_int_equal(say(0, "HTTP/1.1 200 OK\r\n\r\n"), TLS_FAIL);
	assert_int_equal(say(0, "x"), TLS_FAIL);
	peer_end(&p);
	end();
}

static ssize_t peer_waits(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t n, uint32_t *flags,
			  nghttp2_data_source *from, void *ctx)
{
	(void)ng;
	(void)id;
	(void)buf;
	(void)n;
	(void)flags;
	(void)from;
	(void)ctx;
	return NGHTTP2_ERR_DEFERRED;
}

/* The answer is whole, the request is not: all of it arrives before the reset that says "enough". */
static void test_responses_early(void **state)
{
	static const struct {
		const char *text, *fields;
	} rows[] = {
		{"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
		 ":status: 403\ncontent-length: 0\n|"},
		{"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\nabc",
		 ":status: 403\ncontent-length: 3\n|"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nGrpc-Status: 7\r\n\r\n",
		 ":status: 200\n|grpc-status: 7\n|"},
	};
	const nghttp2_nv f[] = {nv(":method", "POST"), nv(":scheme", "https"),
				nv(":authority", "a.test"), nv(":path", "/")};
	const nghttp2_data_provider waits = {.read_callback = peer_waits};
	struct peer p;
	size_t i, k;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		for (k = 0; k < 2; k++) { /* let go at once, and when all has left */
			begin(H2_SERVER);
			peer_begin(&p, false, false);
			assert_true(nghttp2_submit_request(p.ng, NULL, f, 4, &waits, NULL) > 0);
			carry(&p);
			assert_int_equal(T.opened, 1);
			assert_true(say(0, rows[i].text) != TLS_FAIL);
			if (k || buf_len(&T.users[0]->side.out) > 0)
				carry(&p);
			side_done(&T.users[0]->side);
			carry(&p);
			assert_string_equal(p.fields, rows[i].fields);
			assert_true(p.ended && p.closed);
			assert_int_equal(p.closed_with, NGHTTP2_NO_ERROR);
			peer_end(&p);
			end();
		}
	}
}

/* A peer that does not read: what waits stays where it is. */
static void test_window_out(void **state)
{
	static char big[300000];
	struct peer p;

	(void)state;
	memset(big, 'b', sizeof(big) - 1);
	begin(H2_SERVER);
	peer_begin(&p, false, true);
	peer_get(&p, "GET");
	T.users[0]->side.out.max = 1 << 20;
	(void)say(0, "HTTP/1.1 200 OK\r\nContent-Length: 299999\r\n\r\n");
	assert_int_equal(say(0, big), TLS_OUT);
	carry(&p);
	assert_int_equal(buf_len(&p.body), 65535);
	assert_int_equal(buf_len(&T.users[0]->side.out), sizeof(big) - 1 - 65535);
	while (!p.ended) {
		nghttp2_session_consume(p.ng, p.id, 65535);
		carry(&p);
	}
	assert_int_equal(buf_len(&p.body), sizeof(big) - 1);
	peer_end(&p);
	end();
	/* Our output is bounded too: one frame over what was asked for at most. */
	begin(H2_SERVER);
	peer_begin(&p, false, false);
	nghttp2_session_set_local_window_size(p.ng, 0, 0, 1 << 24);
	nghttp2_submit_settings(
		p.ng, 0, &(nghttp2_settings_entry){NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 1 << 24},
		1);
	peer_get(&p, "GET");
	T.users[0]->side.out.max = 1 << 20;
	(void)say(0, "HTTP/1.1 200 OK\r\nContent-Length: 299999\r\n\r\n");
	(void)say(0, big);
	assert_int_equal(h2_drain(T.h, &T.out, 65536), 0);
	assert_true(buf_len(&T.out) >= 65536 && buf_len(&T.out) <= 65536 + 16384 + 64);
	peer_end(&p);
	end();
}

/* ---- towards upstreams ---- */

static struct user *ask(const char *text, bool wipe)
{
	struct h2_stream *s = NULL;
	struct user *u;

	assert_int_equal(h2_open(T.h, &s), 0);
	u = user_new();
	side_init_via(&u->side, &h2_via, s, 1 << 20, 256 << 10);
	h2_stream_use(s, &fns, u, &u->side.out);
	u->side.out.wipe = wipe;
	assert_true(say(T.opened - 1, text) != TLS_FAIL);
	return u;
}

static ssize_t peer_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t cap, uint32_t *flags,
			 nghttp2_data_source *src, void *ctx)
{
	struct peer *p = ctx;
	size_t n = p->send_len < cap ? p->send_len : cap;

	(void)ng;
	(void)id;
	(void)src;
	memcpy(buf, p->send, n);
	p->send += n;
	p->send_len -= n;
	if (p->send_len == 0)
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	return (ssize_t)n;
}

static void peer_answer(struct peer *p, const nghttp2_nv *f, size_t n, const char *body)
{
	const nghttp2_data_provider from = {.read_callback = peer_read};

	p->send = body;
	p->send_len = body ? strlen(body) : 0;
	assert_int_equal(nghttp2_submit_response(p->ng, p->id, f, n, body ? &from : NULL), 0);
	carry(p);
}

static void test_upstream(void **state)
{
	const nghttp2_nv ok[] = {nv(":status", "200"), nv("x-a", "b")},
			 counted[] = {nv(":status", "200"), nv("content-length", "3")};
	struct user *u;
	struct peer p;

	(void)state;
	begin(H2_CLIENT);
	peer_begin(&p, true, false);
	u = ask("POST /a?b HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3\r\nX-B: c\r\nConnection: close\r\n\r\nabc",
		false);
	carry(&p);
	assert_string_equal(
		p.fields,
		":method: POST\n:scheme: https\n:authority: a.test\n:path: /a?b\ncontent-length: 3\nx-b: c\n|");
	assert_true(p.ended && buf_len(&p.body) == 3);
	peer_answer(&p, ok, 2, "hello");
	assert_string_equal(
		text_of(0),
		"HTTP/1.1 200 OK\r\nx-a: b\r\ntransfer-encoding: chunked\r\n\r\n00000005\r\nhello\r\n0\r\n\r\n");
	assert_int_equal(u->end, TLS_END);
	/* With a length; without a body; to a HEAD. */
	(void)ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", false);
	carry(&p);
	peer_answer(&p, counted, 2, "abc");
	assert_string_equal(text_of(1), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc");
	(void)ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", false);
	carry(&p);
	peer_answer(&p, ok, 2, NULL);
	assert_string_equal(text_of(2), "HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 0\r\n\r\n");
	(void)ask("HEAD / HTTP/1.1\r\nHost: a.test\r\n\r\n", false);
	carry(&p);
	peer_answer(&p, counted, 2, NULL);
	assert_string_equal(text_of(3), "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n");
	/* gRPC: te, and trailers up. */
	p.fields[0] = '\0';
	(void)ask(
		"POST /s/m HTTP/1.1\r\nHost: a.test\r\nContent-Type: application/grpc\r\nTransfer-Encoding: chunked\r\n\r\n"
		"2\r\nxy\r\n0\r\nx-t: 1\r\n\r\n",
		false);
	carry(&p);
	assert_string_equal(
		p.fields,
		":method: POST\n:scheme: https\n:authority: a.test\n:path: /s/m\ncontent-type: application/grpc\n"
		"te: trailers\n|x-t: 1\n|");
	peer_end(&p);
	end();
}

/* A value enters no compression table, and is gone from all buffers once it is sent. */
static void test_upstream_secret(void **state)
{
	static const char request[] =
		"GET /?k=s3cr3t-value HTTP/1.1\r\nHost: a.test\r\nAuthorization: Bearer s3cr3t-value\r\n\r\n";
	struct peer p;
	size_t before;

	(void)state;
	begin(H2_CLIENT);
	T.out.wipe = true;
	peer_begin(&p, true, false);
	(void)ask(request, true);
	carry(&p);
	assert_true(p.no_index);
	assert_non_null(strstr(p.fields, "s3cr3t-value"));
	before = nghttp2_session_get_hd_inflate_dynamic_table_size(p.ng);
	p.fields[0] = '\0';
	(void)ask(request, true);
	carry(&p);
	assert_int_equal(nghttp2_session_get_hd_inflate_dynamic_table_size(p.ng), before);
	peer_end(&p);
	end();
}

static void test_upstream_ends(void **state)
{
	const nghttp2_nv ok[] = {nv(":status", "200")};
	struct user *u;
	struct peer p;

	(void)state;
	/* Reset before an answer, and in the middle of one. */
	begin(H2_CLIENT);
	peer_begin(&p, true, false);
	u = ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", false);
	carry(&p);
	assert_true(h2_stream_alive(u->side.self));
	nghttp2_submit_rst_stream(p.ng, 0, p.id, NGHTTP2_REFUSED_STREAM);
	carry(&p);
	assert_int_equal(u->end, TLS_FAIL);
	assert_int_equal(buf_len(&u->text), 0);
	assert_false(h2_stream_alive(u->side.self));
	u = ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", false);
	carry(&p);
	nghttp2_submit_headers(p.ng, 0, p.id, NULL, ok, 1, NULL);
	carry(&p);
	nghttp2_submit_rst_stream(p.ng, 0, p.id, NGHTTP2_INTERNAL_ERROR);
	carry(&p);
	assert_int_equal(u->end, TLS_FAIL);
	assert_true(buf_len(&u->text) > 0);
	/* Ours is let go: the peer hears of it. */
	u = ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", false);
	carry(&p);
	p.closed = false;
	side_done(&u->side);
	carry(&p);
	assert_true(p.closed && p.closed_with == NGHTTP2_CANCEL);
	/* GOAWAY: what is under way goes on, nothing new begins. */
	u = ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", false);
	carry(&p);
	nghttp2_submit_goaway(p.ng, 0, p.id, NGHTTP2_NO_ERROR, NULL, 0);
	carry(&p);
	assert_false(h2_room(T.h));
	peer_answer(&p, ok, 1, "late");
	assert_int_equal(u->end, TLS_END);
	peer_end(&p);
	/* The connection goes away under a stream. */
	T.h = h2_free(T.h);
	user_read(u);
	assert_int_equal(u->end, TLS_END);
	end();
}

/* Responses that are none. */
static void test_upstream_malformed(void **state)
{
	static const char *const rows[] = {
		"x: y\n",
		":status: 20\n",
		":status: 2000\n",
		":status: abc\n",
		":status: 101\n",
		":status: 200\n:status: 200\n",
		":status: 200\n:path: /\n",
		"x: y\n:status: 200\n",
		":status: 200\nx: a\2\3y: b\n",
		":status: 200\nX: a\n",
		":status: 200\nconnection: close\n",
		":status: 200\ntransfer-encoding: chunked\n",
		":status: 200\ncontent-length: x\n",
		":status: 200\ncontent-length: 1\ncontent-length: 1\n",
		":status: 100\n" /* and ends */,
		":status: 200\nx: a\1b\n",
	};
	struct user *u;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		begin(H2_CLIENT);
		u = ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", false);
		drain();
		raw_frame(NGHTTP2_SETTINGS, 0, 0, "", 0);
		raw_request(1, true, rows[i]);
		(void)feed_all();
		drain();
		if (u->end != TLS_FAIL)
			print_message("row %zu: %s\n", i, rows[i]);
		assert_int_equal(u->end, TLS_FAIL);
		assert_int_equal(buf_len(&u->text), 0);
		end();
	}
}

static void test_dues(void **state)
{
	struct h2_dues l = {0};
	struct h2_due a = {0}, b = {0}, c = {0};

	(void)state;
	h2_due_add(&l, &a);
	h2_due_add(&l, &b);
	h2_due_add(&l, &a);
	h2_due_add(&l, &c);
	h2_due_drop(&l, &c);
	h2_due_drop(&l, &c);
	assert_true(l.first == &a && a.next == &b && !b.next && l.last == &b);
	h2_due_drop(&l, &a);
	h2_due_drop(&l, &b);
	assert_true(!l.first && !l.last);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_requests),           cmocka_unit_test(test_websocket),
		cmocka_unit_test(test_malformed),          cmocka_unit_test(test_left_to_http1),
		cmocka_unit_test(test_too_long),           cmocka_unit_test(test_bodies),
		cmocka_unit_test(test_body_lies),          cmocka_unit_test(test_window_in),
		cmocka_unit_test(test_continuation_flood), cmocka_unit_test(test_rapid_reset),
		cmocka_unit_test(test_made_to_reset),      cmocka_unit_test(test_streams_max),
		cmocka_unit_test(test_idle_frames),        cmocka_unit_test(test_bad_frames),
		cmocka_unit_test(test_bad_frame),          cmocka_unit_test(test_responses),
		cmocka_unit_test(test_responses_cut),      cmocka_unit_test(test_responses_early),
		cmocka_unit_test(test_window_out),         cmocka_unit_test(test_upstream),
		cmocka_unit_test(test_upstream_secret),    cmocka_unit_test(test_upstream_ends),
		cmocka_unit_test(test_upstream_malformed), cmocka_unit_test(test_dues),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
