/* Whole responses of an upstream that knows a value and writes it down in each way that redact.h names, in each coding
 * and framing: through the head's parser, the sieve and the body, as relay.c joins them, cut in two at every place.
 * What stands there instead is known byte by byte, so this is both: nothing leaks, and nothing else is touched.
 * Then 10,000 responses without a value: byte for byte what was sent, and hardly held back. SEED=n repeats a run. */
#include "body.h"
#include "random.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <brotli/encode.h>
#include <zstd.h>

#include "pack.h"

#define ROOM (2u << 20)

#ifdef __SANITIZE_ADDRESS__
#define CUT_EACH 11 /* the sanitizers' run looks for other things */
#else
#define CUT_EACH 1
#endif

static const char *const values[] = {"sk_live_51H8aZbYcXdWeVfUgThSiR",
				     "p&ss \"w%rd\"+with/all\\of<it>",
				     "ghp_9f8e7d6c5b4a39281706f5e4d3c2"};
static const size_t longest = 11 * 30; /* of the longest value, each byte as &#x0000000; */
struct text {
	uint8_t *p;
	size_t len;
	size_t from, to; /* what must be masked */
};

static void put(struct text *t, const void *p, size_t n)
{
	assert_true(n <= ROOM - t->len);
	memcpy(t->p + t->len, p, n);
	t->len += n;
}

static void say(struct text *t, const char *s)
{
	put(t, s, strlen(s));
}

__attribute__((format(printf, 2, 3))) static void sayf(struct text *t, const char *f, ...)
{
	char s[256];
	va_list ap;
	int n;

	va_start(ap, f);
	n = vsnprintf(s, sizeof(s), f, ap);
	va_end(ap);
	assert_in_range(n, 0, sizeof(s) - 1);
	put(t, s, (size_t)n);
}

/* ---- the ways to write a value ---- */

enum way {
	RAW,
	PERCENT,
	PERCENT_UP,
	PERCENT_SOME,
	QUERY,
	JSON,
	JSON_U,
	JSON_U_UP,
	JSON_U_FIRST,
	BACKSLASH_X,
	HTML,
	HTML_DEC,
	HTML_HEX,
	HTML_PADDED,
	HEX,
	HEX_UP,
	BASE64_0,
	BASE64_1,
	BASE64_2,
	URL64_0,
	URL64_1,
	URL64_2,
	BASIC,
	LINES_76,
	LINES_64_CRLF,
	LINES_JSON,
	LINES_INDENTED,
	BASE64_PERCENT,
	BASE64_SLASH,
	WAYS
};

/* A byte as encoders of that kind write it, when it must be escaped there. */
static void escaped(struct text *t, enum way way, uint8_t c)
{
	char s[8] = {(char)c};

	if (way == QUERY && c == ' ')
		s[0] = '+';
	else if (way == QUERY && !((c | 32) >= 'a' && (c | 32) <= 'z') && !(c >= '0' && c <= '9') &&
		 c != '_')
		(void)snprintf(s, sizeof(s), "%%%02X", c);
	else if (way == JSON && (c == '"' || c == '\\' || c == '/'))
		(void)snprintf(s, sizeof(s), "\\%c", c);
	else if (way == HTML && strchr("&<>\"", c))
		(void)snprintf(s, sizeof(s), "%s",
			       c == '&'   ? "&amp;"
			       : c == '<' ? "&lt;"
			       : c == '>' ? "&gt;"
					  : "&quot;");
	say(t, s);
}

/* One byte in ways that escape each of them; false: it is another way. */
static bool spelled(char s[16], enum way way, uint8_t c)
{
	switch (way) {
	case PERCENT:
		return snprintf(s, 16, "%%%02x", c) > 0;
	case PERCENT_UP:
		return snprintf(s, 16, "%%%02X", c) > 0;
	case JSON_U:
		return snprintf(s, 16, "\\u%04x", c) > 0;
	case JSON_U_UP:
		return snprintf(s, 16, "\\u%04X", c) > 0;
	case BACKSLASH_X:
		return snprintf(s, 16, "\\x%02x", c) > 0;
	case HTML_DEC:
		return snprintf(s, 16, "&#%u;", c) > 0;
	case HTML_HEX:
		return snprintf(s, 16, "&#x%X;", c) > 0;
	case HTML_PADDED:
		return snprintf(s, 16, "&#%07u;", c) > 0;
	case HEX:
		return snprintf(s, 16, "%02x", c) > 0;
	case HEX_UP:
		return snprintf(s, 16, "%02X", c) > 0;
	default:
		return false;
	}
}

static void write_text(struct text *t, enum way way, const char *value)
{
	size_t i;

	t->from = t->len;
	for (i = 0; value[i]; i++) {
		uint8_t c = (uint8_t)value[i];
		enum way how = way;
		char s[16];

		if (way == PERCENT_SOME)
			how = i % 3 == 1 || c == '%' ? PERCENT_UP : RAW;
		if (way == JSON_U_FIRST)
			how = i == 0 || c == '\\' ? JSON_U : RAW;
		if (spelled(s, how, c))
			say(t, s);
		else
			escaped(t, how, c);
	}
	t->to = t->len;
}

static void write_break(struct text *t, enum way way)
{
	say(t, way == LINES_76        ? "\n"
	       : way == LINES_64_CRLF ? "\r\n"
	       : way == LINES_JSON    ? "\\n"
				      : "\r\n    ");
}

/* `before` and more stand in front of the value in the same encoding, and something after it. */
static void write_base64(struct text *t, enum way way, const char *value)
{
	static const char *const fronts[] = {
		"abc", "four", "fives",
		"x-access-token:", "context which is long enough for more lines than one, so "};
	const char *front = fronts[way == BASIC ? 3 : way >= LINES_76 ? 4 : (way - BASE64_0) % 3];
	bool url = way >= URL64_0 && way <= URL64_2;
	size_t width = way == LINES_76         ? 76
		       : way == LINES_64_CRLF  ? 64
		       : way == LINES_JSON     ? 20
		       : way == LINES_INDENTED ? 32
					       : 0,
	       i, n, k, v = strlen(value);
	char all[512];

	n = (size_t)snprintf(all, sizeof(all), "%s%s and so on", front, value);
	t->from = SIZE_MAX;
	for (k = 0, i = 0; i < n * 8; i += 6, k++) {
		static const char alphabet[] =
			"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
		unsigned int bits = (unsigned int)(uint8_t)all[i / 8] << 8 |
				    (i / 8 + 1 < n ? (uint8_t)all[i / 8 + 1] : 0);
		size_t first = strlen(front) * 8, bit = strlen(front) % 3 == 2 ? first + 2 : first;
		char c = alphabet[bits >> (10 - i % 8) & 63], s[8] = {c};

		if (url)
			s[0] = c == '+' ? '-' : c == '/' ? '_' : c;
		else if (way == BASE64_PERCENT && (c == '+' || c == '/'))
			(void)snprintf(s, sizeof(s), "%%%02X", c);
		else if (way == BASE64_SLASH && c == '/')
			(void)snprintf(s, sizeof(s), "\\/");
		if (width && k && k % width == 0)
			write_break(t, way);
		if (i + 6 > bit && t->from == SIZE_MAX)
			t->from = t->len;
		say(t, s);
		if (i < first + v * 8)
			t->to = t->len;
	}
	say(t, url ? "" : n % 3 == 1 ? "==" : n % 3 == 2 ? "=" : "");
}

static void write_way(struct text *t, enum way way, const char *value)
{
	if (way >= BASE64_0)
		write_base64(t, way, value);
	else
		write_text(t, way, value);
}

static bool is_line(enum way way)
{
	return way == LINES_76 || way == LINES_64_CRLF || way == LINES_INDENTED;
}

/* ---- codings ---- */

enum coding { IDENTITY, GZIP, DEFLATE, DEFLATE_RAW, BR, ZSTD, GZIP_IN_BR, CODINGS };
static const char *const coding_words[CODINGS] = {"identity", "gzip", "deflate", "deflate",
						  "br",       "zstd", "gzip, br"};

static size_t brotli(const uint8_t *p, size_t n, uint8_t *to)
{
	size_t made = ROOM;

	assert_int_equal(BrotliEncoderCompress(1, 16, BROTLI_MODE_GENERIC, n, p, &made, to),
			 BROTLI_TRUE);
	return made;
}

static size_t pack(enum coding coding, const uint8_t *p, size_t n, uint8_t *to)
{
	static uint8_t between[ROOM];

	switch (coding) {
	case GZIP:
		return pack_zip(p, n, PACK_GZIP, to, ROOM);
	case DEFLATE:
		return pack_zip(p, n, PACK_DEFLATE, to, ROOM);
	case DEFLATE_RAW:
		return pack_zip(p, n, PACK_DEFLATE_RAW, to, ROOM);
	case BR:
		return brotli(p, n, to);
	case GZIP_IN_BR:
		return brotli(between, pack_zip(p, n, PACK_GZIP, between, ROOM), to);
	case ZSTD:
		return ZSTD_compress(to, ROOM, p, n, 1);
	default:
		memcpy(to, p, n);
		return n;
	}
}

/* ---- one response ---- */

static uint8_t body_room[ROOM], wire_room[ROOM], packed[ROOM], got_room[ROOM],
	head_room[HTTP1_HEAD_MAX];

struct response {
	struct text head, body; /* what is masked in each */
	struct text wire;
	enum coding coding;
	enum http1_framing framing;
};

static void begin(struct response *x, enum coding coding, enum http1_framing framing)
{
	*x = (struct response){.coding = coding, .framing = framing};
	x->head.p = head_room;
	x->body.p = body_room;
	x->wire.p = wire_room;
}

/* Head, coded and framed body, and trailers. */
static void finish(struct response *x, const char *in_head, const char *in_trailer)
{
	size_t n = pack(x->coding, x->body.p, x->body.len, packed), at, piece;

	say(&x->wire, "HTTP/1.1 200 OK\r\nDate: today\r\n");
	if (x->coding != IDENTITY)
		sayf(&x->wire, "Content-Encoding: %s\r\n", coding_words[x->coding]);
	sayf(&x->wire,
	     x->framing == HTTP1_FRAMING_LENGTH    ? "Content-Length: %zu\r\n"
	     : x->framing == HTTP1_FRAMING_CHUNKED ? "Transfer-Encoding: chunked\r\n"
						   : "Connection: close\r\n",
	     n);
	if (in_head) {
		say(&x->wire, "X-Echo: ");
		say(&x->wire, in_head);
		say(&x->wire, "\r\nSet-Cookie: a=b; k=");
		say(&x->wire, in_head);
		say(&x->wire, "; Secure\r\n");
	}
	say(&x->wire, "X-Last: 1\r\n\r\n");
	if (x->framing != HTTP1_FRAMING_CHUNKED) {
		put(&x->wire, packed, n);
		return;
	}
	for (at = 0; at < n; at += piece) {
		piece = n - at < 23 ? n - at : n > 5000 ? 1000 % (n - at) + 1 : 23;
		sayf(&x->wire, "%zx\r\n", piece);
		put(&x->wire, packed + at, piece);
		say(&x->wire, "\r\n");
	}
	say(&x->wire, "0\r\n");
	if (in_trailer) {
		say(&x->wire, "X-Sum: ");
		say(&x->wire, in_trailer);
		say(&x->wire, "\r\n");
	}
	say(&x->wire, "\r\n");
}

/* ---- as relay.c does it ---- */

struct relay {
	const struct redact *redact;
	struct http1_scan scan;
	struct http1_head head;
	bool headed;
	struct sieve sieve;
	struct body body;
	struct buf in, out;
	struct text got_head;
	uint64_t found;
	size_t most_held; /* payload that came in and has not gone out, at the end of a read; identity with a length only */
};

static uint8_t got_head[2 * HTTP1_HEAD_MAX];

static int relay_head(struct relay *r)
{
	enum http1_result res = http1_response(&r->scan, (const char *)buf_bytes(&r->in),
					       buf_len(&r->in), &r->head);
	struct http1_edit edit = {.op = HTTP1_DROP};
	struct http1_out how_out = {.head = &r->head, .edits = &edit};
	struct recode_list list = {0};
	struct recode *recode = NULL;
	struct http1_meaning m;
	enum http1_framing to;
	struct wr w = wr_of(got_head, sizeof(got_head));
	uint32_t i;

	if (res == HTTP1_MORE)
		return 0;
	assert_int_equal(res, HTTP1_DONE);
	assert_int_equal(
		http1_response_meaning(&r->head, (struct http1_slice){"GET", 3}, false, &m), 0);
	r->found += sieve_head(r->redact, &r->head, buf_bytes(&r->in));
	i = http1_find(&r->head, HTTP1_CONTENT_ENCODING, 0);
	if (i < r->head.field_count) {
		assert_int_equal(recode_list_add(&list, r->head.fields[i].value.p,
						 r->head.fields[i].value.len),
				 0);
		assert_int_equal(recode_new(&list, &recode), 0);
		edit.field = i;
		how_out.edit_count = 1;
	}
	to = recode || m.framing != HTTP1_FRAMING_LENGTH ? HTTP1_FRAMING_CHUNKED : m.framing;
	how_out.meaning = &m;
	how_out.framing = to;
	how_out.length = m.length;
	assert_int_equal(http1_write_response(&w, &how_out), 0);
	r->got_head = (struct text){.p = got_head, .len = w.len};
	sieve_init(&r->sieve, r->redact, recode);
	body_init(&r->body, m.framing, m.length, to);
	r->body.sieve = &r->sieve;
	buf_take(&r->in, r->head.raw.len);
	r->headed = true;
	return 0;
}

static void relay_bytes(struct relay *r, const uint8_t *p, size_t n)
{
	static struct http1_head scratch;

	assert_int_equal(buf_add(&r->in, p, n), 0);
	if (!r->headed)
		(void)relay_head(r);
	if (!r->headed)
		return;
	while (r->body.phase != BODY_DONE) {
		size_t in = buf_len(&r->in), out = buf_len(&r->out);

		assert_int_equal(body_move(&r->body, &r->in, &r->out, ROOM, &scratch), 0);
		if (in == buf_len(&r->in) && out == buf_len(&r->out))
			break;
	}
	if (buf_len(&r->sieve.plain) > r->most_held)
		r->most_held = buf_len(&r->sieve.plain);
}

static void relay_begin(struct relay *r, const struct redact *redact)
{
	memset(r, 0, offsetof(struct relay, head));
	r->redact = redact;
	r->headed = false;
	r->found = r->most_held = 0;
	buf_init(&r->in, 2 * ROOM);
	buf_init(&r->out, 4 * ROOM);
}

static void relay_done(struct relay *r)
{
	buf_done(&r->in);
	buf_done(&r->out);
	sieve_done(&r->sieve);
}

/* What a client makes of it: the payload in got_room; what follows the last chunk's line in *ret_rest. */
static size_t unframe(const struct relay *r, struct http1_slice *ret_rest)
{
	struct http1_chunked c = {0};
	struct http1_slice piece = {0};
	const char *p = buf_len(&r->out) ? (const char *)buf_bytes(&r->out) : "";
	size_t at = 0, used, n = 0, len = buf_len(&r->out);
	enum http1_result res;

	*ret_rest = (struct http1_slice){"", 0};
	if (r->body.to != HTTP1_FRAMING_CHUNKED) {
		memcpy(got_room, p, len);
		return len;
	}
	while ((res = http1_chunked(&c, p + at, len - at, &used, &piece)) == HTTP1_DATA) {
		memcpy(got_room + n, piece.p, piece.len);
		n += piece.len;
		at += used;
	}
	assert_int_equal(res, HTTP1_DONE);
	*ret_rest = (struct http1_slice){p + at + used, len - at - used};
	return n;
}

/* The wire by these reads: at `cut` when each is 0, else of `each` bytes (random up to that when vary). */
static void send(struct relay *r, const struct response *x, size_t cut, size_t each, bool vary)
{
	size_t at = 0, n;

	while (at < x->wire.len) {
		n = each == 0 ? (at == 0 && cut > 0 ? cut : x->wire.len - at)
		    : vary    ? 1 + rnd((uint32_t)each)
			      : each;
		n = n < x->wire.len - at ? n : x->wire.len - at;
		relay_bytes(r, x->wire.p + at, n);
		at += n;
	}
	if (x->framing == HTTP1_FRAMING_CLOSE)
		assert_int_equal(body_end(&r->body, &r->out), 0);
	assert_true(r->headed);
	assert_int_equal(r->body.phase, BODY_DONE);
}

static void check(const struct relay *r, const struct response *x)
{
	struct http1_slice rest;
	size_t n = unframe(r, &rest), i;

	assert_int_equal(n, x->body.len);
	for (i = 0; i < n; i++) {
		bool in = i >= x->body.from && i < x->body.to;
		uint8_t was = x->body.p[i], is = got_room[i];

		if (in ? is != '*' && !((was == '\r' || was == '\n') && is == was) : is != was)
			fail_msg("byte %zu of %zu (masked: %zu to %zu)\n%.*s\n%.*s", i, n,
				 x->body.from, x->body.to, (int)(n < 2000 ? n : 2000),
				 (const char *)x->body.p, (int)(n < 2000 ? n : 2000),
				 (const char *)got_room);
	}
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		assert_null(memmem(rest.p, rest.len, values[i], strlen(values[i])));
		assert_null(memmem(r->got_head.p, r->got_head.len, values[i], strlen(values[i])));
	}
}

static struct redact *looked_for(void)
{
	struct redact_value v[ARRAY_SIZE(values)];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(values); i++)
		v[i] = (struct redact_value){(const uint8_t *)values[i], strlen(values[i])};
	return redact_make(malloc(redact_size(v, ARRAY_SIZE(v))), v, ARRAY_SIZE(v));
}

/* ---- tests ---- */

static struct relay relay;
static uint64_t cuts;

static void one(const struct redact *redact, const struct response *x, bool head, size_t cut,
		size_t each, bool vary)
{
	relay_begin(&relay, redact);
	send(&relay, x, cut, each, vary);
	check(&relay, x);
	if (head) { /* all of the two fields' value is gone */
		assert_true(relay.found >= 2);
		assert_non_null(memmem(relay.got_head.p, relay.got_head.len, "X-Echo: ", 8));
		assert_non_null(memmem(relay.got_head.p, relay.got_head.len, "; Secure\r\n", 10));
		assert_int_equal(relay.got_head.p[relay.got_head.len - 1], '\n');
	}
	relay_done(&relay);
	cuts++;
}

static void make_one(struct response *x, enum way way, const char *value, const char *before,
		     enum coding coding, enum http1_framing framing)
{
	static uint8_t in_head[4096];
	struct text head = {.p = in_head};

	begin(x, coding, framing);
	say(&x->body, before);
	write_way(&x->body, way, value);
	say(&x->body, "\", \"more\": true}\n");
	write_way(&head, way, value);
	head.p[head.len] = '\0';
	finish(x, is_line(way) ? NULL : (const char *)in_head,
	       is_line(way) ? NULL : (const char *)in_head);
}

static void test_every_way_coding_and_cut(void **state)
{
	struct redact *redact = looked_for();
	struct response x;
	size_t cut, responses = 0;
	int way, coding, framing;

	(void)state;
	for (way = 0; way < WAYS; way++) {
		for (coding = 0; coding < CODINGS; coding++) {
			for (framing = HTTP1_FRAMING_LENGTH; framing <= HTTP1_FRAMING_CHUNKED;
			     framing++) {
				/* A coding goes through the same frames as anything. */
				if (coding != IDENTITY &&
				    framing != (int)HTTP1_FRAMING_LENGTH + way % 2)
					continue;
				make_one(&x, (enum way)way, values[(way + coding + framing) % 2],
					 "{\"it\": \"", (enum coding)coding,
					 (enum http1_framing)framing);
				for (cut = 1; cut < x.wire.len; cut += CUT_EACH)
					one(redact, &x, !is_line((enum way)way), cut, 0, false);
				one(redact, &x, !is_line((enum way)way), 0, 1, false);
				one(redact, &x, !is_line((enum way)way), 0, 9, true);
				responses++;
			}
			make_one(&x, (enum way)way, values[(way + coding) % 2], "{\"it\": \"",
				 (enum coding)coding, HTTP1_FRAMING_CLOSE);
			one(redact, &x, !is_line((enum way)way), 0, 0, false);
			one(redact, &x, !is_line((enum way)way), 0, 5, true);
			responses++;
		}
	}
	assert_true(responses >= 200);
	printf("# %zu responses, %llu runs of them\n", responses, (unsigned long long)cuts);
	free(redact);
}

/* Three thousand beginnings of the value, cut one byte short or with one wrong, then the value. */
static void test_decoys(void **state)
{
	struct redact *redact = looked_for();
	struct response x;
	int way, i;

	(void)state;
	for (way = 0; way < WAYS; way++) {
		const char *value = values[way % 2];
		enum coding coding = (enum coding)(way % CODINGS);
		char most[64];

		begin(&x, coding, way % 2 ? HTTP1_FRAMING_CHUNKED : HTTP1_FRAMING_LENGTH);
		for (i = 0; i < 3000; i++) {
			size_t n = (size_t)i % (strlen(value) - 1) + 1;

			(void)snprintf(most, sizeof(most), "%.*s", (int)n, value);
			if (i % 2)
				most[n - 1] ^= 1;
			write_way(&x.body, (enum way)(i % 3 ? way : i % WAYS), most);
			say(&x.body, i % 5 ? "\", \"" : "\n");
		}
		write_way(&x.body, (enum way)way, value);
		say(&x.body, ".\n");
		finish(&x, NULL, NULL);
		one(redact, &x, false, 0, 0, false);
		one(redact, &x, false, 0, 1500, true);
	}
	free(redact);
}

/* ---- nothing to find ---- */

static void clean_words(struct text *t, size_t n, const char *letters)
{
	while (t->len < n)
		put(t, &letters[rnd((uint32_t)strlen(letters))], 1);
}

/* Bodies as they are in the world, and some that look like the beginning of everything. */
static void make_clean(struct text *t, uint32_t kind)
{
	static const char base64[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t n = 1 + rnd(3000), i;

	switch (kind % 8) {
	case 0: /* JSON, with escapes */
		while (t->len < n)
			sayf(t,
			     "{\"id\":\"cus_%08x\",\"name\":\"J\\u00f6rg \\\"%u\\\"\",\"url\":\"https:\\/\\/api.stripe.com\\/v1?a=%%2F%u\",\"n\":%u},\n",
			     rnd(UINT32_MAX), rnd(99), rnd(9999), rnd(UINT32_MAX));
		return;
	case 1: /* HTML */
		while (t->len < n)
			sayf(t, "<a href=\"/x?y=%u&amp;z=%%20%u\">p&quot;%u&#39;s &#x%x;</a>\r\n",
			     rnd(99), rnd(999), rnd(9), 32 + rnd(200));
		return;
	case 2: /* a certificate, an image in a page */
		say(t, "-----BEGIN CERTIFICATE-----\n");
		while (t->len < n) {
			clean_words(t, t->len + 64, base64);
			say(t, "\n");
		}
		return;
	case 3: /* bytes */
		while (t->len < n) {
			uint8_t c = (uint8_t)rnd(256);

			put(t, &c, 1);
		}
		return;
	case 4: /* events */
		for (i = 0; t->len < n; i++)
			sayf(t, "event: delta\ndata: {\"text\":\" word%u \",\"index\":%zu}\n\n",
			     rnd(1000), i);
		return;
	case 5: /* hex */
		clean_words(t, n, "0123456789abcdef");
		return;
	case 6: /* keys of the same makers */
		while (t->len < n)
			sayf(t, "sk_live_51H%08x ghp_9f8e%08x p&ss \"w%%rd\" ", rnd(UINT32_MAX),
			     rnd(UINT32_MAX));
		return;
	default:
		clean_words(t, n, "sk_live_51H8aZbp& \"w%\\u0073&#;+/=\n");
	}
}

static void test_clean_responses(void **state)
{
	struct redact *redact = looked_for();
	size_t most = 0, runs = 0;
	struct response x;
	uint32_t i;

	(void)state;
	for (i = 0; i < 10000; i++) {
		begin(&x, (enum coding)(i / 8 % CODINGS),
		      (enum http1_framing)(HTTP1_FRAMING_LENGTH + i % 3));
		make_clean(&x.body, i);
		finish(&x, "quite harmless; a=b%20c", "also harmless");
		relay_begin(&relay, redact);
		send(&relay, &x, 0, i % 4 ? 1460 : 50, true);
		check(&relay, &x); /* from = to = 0: all is as it was */
		assert_int_equal(relay.found + relay.sieve.text.found, 0);
		assert_non_null(memmem(relay.got_head.p, relay.got_head.len,
				       "quite harmless; a=b%20c\r\n", 25));
		most = relay.most_held > most ? relay.most_held : most;
		runs++;
		relay_done(&relay);
	}
	assert_true(most <= longest);
	printf("# %zu responses without a value, at most %zu bytes held back (a value may take %zu)\n",
	       runs, most, longest);
	free(redact);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_way_coding_and_cut),
		cmocka_unit_test(test_decoys),
		cmocka_unit_test(test_clean_responses),
	};

	random_begin();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
