/* redact.h against a whole-buffer reference that is written another way: for each place and each value it tries, by
 * recursion over the whole text, every spelling of every byte. SEED=n repeats a run; the seed is printed. */
#include "flush.h"
#include "random.h"
#include "redact.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#define ROOM 65536

struct text {
	uint8_t p[ROOM];
	size_t len;
};

static void put(struct text *t, const void *p, size_t n)
{
	assert_true(n <= ROOM - t->len);
	memcpy(t->p + t->len, p, n);
	t->len += n;
}

static void puts_(struct text *t, const char *s)
{
	put(t, s, strlen(s));
}

static struct redact *make(const struct redact_value *v, size_t n)
{
	void *mem = malloc(redact_size(v, n));

	assert_non_null(mem);
	return redact_make(mem, v, n);
}

/* ---- the reference ---- */

struct ref {
	const uint8_t *p; /* the text as it came */
	const uint8_t *masked;
	size_t len;
	bool by_chance;
};

static int digit(int c)
{
	const char *all = "0123456789abcdef0123456789ABCDEF", *at = c ? strchr(all, c) : NULL;

	return at ? (int)(at - all) % 16 : -1;
}

/* n hex digits at `at`, or -1. */
static long digits(const struct ref *r, size_t at, size_t n)
{
	long v = 0;

	for (; n > 0; n--, at++) {
		if (at >= r->len || digit(r->p[at]) < 0)
			return -1;
		v = v * 16 + digit(r->p[at]);
	}
	return v;
}

static bool starts(const struct ref *r, size_t at, const char *s)
{
	return at + strlen(s) <= r->len && memcmp(r->p + at, s, strlen(s)) == 0;
}

/* The escape at `at`: its length, or 0; its code; is it a byte. */
static size_t escape(const struct ref *r, size_t at, long *code, bool *byte)
{
	static const char *const fixed[][2] = {
		{"\\b", "\b"},  {"\\f", "\f"}, {"\\n", "\n"}, {"\\r", "\r"},    {"\\t", "\t"},
		{"&amp;", "&"}, {"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", "\""}, {"&apos;", "'"}};
	size_t i, n;

	*byte = false;
	for (i = 0; i < ARRAY_SIZE(fixed); i++)
		if (starts(r, at, fixed[i][0])) {
			*code = fixed[i][1][0];
			return strlen(fixed[i][0]);
		}
	if (starts(r, at, "\\u")) {
		long high = digits(r, at + 2, 4),
		     low = starts(r, at + 6, "\\u") ? digits(r, at + 8, 4) : -1;

		*code = high;
		if (high < 0xd800 || high > 0xdbff)
			return high < 0 ? 0 : 6;
		*code = 0x10000 + (high - 0xd800) * 0x400 + (low - 0xdc00);
		return low >= 0xdc00 && low <= 0xdfff ? 12 : 0;
	}
	*byte = true;
	if (starts(r, at, "%") || starts(r, at, "\\x")) {
		n = r->p[at] == '%' ? 1 : 2;
		*code = digits(r, at + n, 2);
		return *code < 0 ? 0 : n + 2;
	}
	if (starts(r, at, "\\") && at + 1 < r->len) {
		int c = r->p[at + 1];

		*code = c == '0' ? 0 : c;
		return c == '0' || !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
				     (c >= 'A' && c <= 'Z'))
			       ? 2
			       : 0;
	}
	*byte = false;
	if (starts(r, at, "&#")) {
		bool hex = starts(r, at, "&#x") || starts(r, at, "&#X");

		for (*code = 0, n = hex ? 3 : 2; n <= (hex ? 10u : 9u) && at + n < r->len; n++) {
			int d = digit(r->p[at + n]);

			if (r->p[at + n] == ';')
				return n > (hex ? 3 : 2) ? n + 1 : 0;
			if (d < 0 || (!hex && d > 9))
				return 0;
			*code = *code * (hex ? 16 : 10) + d;
		}
	}
	return 0;
}

static size_t encode(long c, uint8_t out[4])
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 + c / 64);
		out[1] = (uint8_t)(0x80 + c % 64);
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 + c / 4096);
		out[1] = (uint8_t)(0x80 + c / 64 % 64);
		out[2] = (uint8_t)(0x80 + c % 64);
		return 3;
	}
	if (c >= 0x110000)
		return 0;
	out[0] = (uint8_t)(0xf0 + c / 262144);
	out[1] = (uint8_t)(0x80 + c / 4096 % 64);
	out[2] = (uint8_t)(0x80 + c / 64 % 64);
	out[3] = (uint8_t)(0x80 + c % 64);
	return 4;
}

/* The furthest end of v[k..) as text from `at` on; 0: it is not there. */
static size_t ref_text(const struct ref *r, size_t at, const uint8_t *v, size_t k, size_t v_len)
{
	size_t best = 0, got, n;
	uint8_t bytes[4];
	long code = 0;
	bool byte;

	if (k == v_len)
		return at;
	if (at >= r->len)
		return 0;
#define TRY(more, used)                                                                            \
	do {                                                                                       \
		got = ref_text(r, at + (used), v, k + (more), v_len);                              \
		best = got > best ? got : best;                                                    \
	} while (0)
	if (r->p[at] == v[k] || (r->p[at] == '+' && v[k] == ' '))
		TRY(1, 1);
	if (v[k] >= 0x80 && at + 1 < r->len && encode(v[k], bytes) == 2 &&
	    memcmp(bytes, r->p + at, 2) == 0)
		TRY(1, 2);
	n = escape(r, at, &code, &byte);
	if (n > 0 && code == v[k])
		TRY(1, n);
	if (n > 0 && !byte && code >= 0x80) {
		size_t m = encode(code, bytes);

		if (m > 0 && m <= v_len - k && memcmp(bytes, v + k, m) == 0)
			TRY(m, n);
	}
#undef TRY
	return best;
}

static size_t ref_hex(const struct ref *r, size_t at, const uint8_t *v, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (digits(r, at + 2 * i, 2) != v[i])
			return 0;
	return at + 2 * len;
}

/* A character and what it takes. */
static long ref_char(const struct ref *r, size_t at, size_t *used)
{
	long code = -1;
	bool byte;

	*used = at < r->len ? escape(r, at, &code, &byte) : 0;
	if (*used > 0)
		return code;
	*used = 1;
	return at < r->len ? r->p[at] : -1;
}

static size_t ref_break(const struct ref *r, size_t at)
{
	size_t used, from = at;
	long c = ref_char(r, at, &used);

	if (c == '\r') {
		at += used;
		c = ref_char(r, at, &used);
	}
	if (c != '\n')
		return 0;
	for (at += used;
	     at - from < REDACT_BREAK_MAX && at < r->len && (r->p[at] == ' ' || r->p[at] == '\t');
	     at++)
		;
	return at - from;
}

/* May character k be the one with these six bits, for all that the value says. */
static bool ref_may_be(const uint8_t *v, size_t len, size_t shift, size_t k, unsigned int six)
{
	for (size_t b = 0; b < 6; b++) {
		size_t bit = k * 6 + b;

		if (bit >= shift * 8 && bit < (shift + len) * 8 &&
		    (six >> (5 - b) & 1) != (v[(bit - shift * 8) / 8] >> (7 - bit % 8) & 1u))
			return false;
	}
	return true;
}

/* Character k of the text's base64 when `shift` bytes stand before the value; -1 where it is not all the value's,
 * then *low and *high bits of it are. */
static size_t ref_base64(const struct ref *r, size_t at, const uint8_t *v, size_t len, size_t shift,
			 size_t skip)
{
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	size_t first = shift * 8 / 6, last = ((shift + len) * 8 - 1) / 6, k, used;
	bool marks = false, escaped = false;

	for (k = first + skip; k <= last; k++) {
		const char *in;
		long c;
		size_t b;

		if (k >= first + skip + 3)
			at += ref_break(r, at);
		c = ref_char(r, at, &used);
		c = c == '-' ? '+' : c == '_' ? '/' : c;
		in = c > 0 && c < 128 ? strchr(alphabet, (int)c) : NULL;
		if (!in)
			return 0;
		/* Encoders escape a mark, and no letter or digit: such a beginning is looked for by chance only. */
		if (!r->by_chance && k < first + skip + 3 && !escaped) {
			marks |= ref_may_be(v, len, shift, k, 62) || ref_may_be(v, len, shift, k, 63);
			escaped = used > 1;
			if (escaped && !marks)
				return 0;
		}
		for (b = 0; b < 6; b++) {
			size_t bit = k * 6 + b;

			if (bit < shift * 8 || bit >= (shift + len) * 8)
				continue;
			bit -= shift * 8;
			if (((in - alphabet) >> (5 - b) & 1) != (v[bit / 8] >> (7 - bit % 8) & 1))
				return 0;
		}
		at += used;
	}
	return at;
}

static bool ref_anchored(const struct ref *r, size_t at)
{
	static const char *const ends[] = {"\n",  " ",   "\t",  ";",   "\\n", "%0a",
					   "%0A", "x0a", "x0A", "00a", "00A"};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ends); i++)
		if (at >= strlen(ends[i]) &&
		    memcmp(r->masked + at - strlen(ends[i]), ends[i], strlen(ends[i])) == 0)
			return true;
	return false;
}

static size_t ref_at(const struct ref *r, size_t at, const struct redact_value *v)
{
	size_t best, got, shift, skip;

	if (v->len < REDACT_MIN)
		return 0;
	best = ref_text(r, at, v->p, 0, v->len);
	if (v->len < REDACT_MIN_CODED)
		return best;
	got = ref_hex(r, at, v->p, v->len);
	best = got > best ? got : best;
	for (shift = 0; shift < 3; shift++)
		for (skip = 0; skip < 3; skip++) {
			if (skip > 0 && !ref_anchored(r, at))
				continue;
			got = ref_base64(r, at, v->p, v->len, shift, skip + (shift == 2));
			best = got > best ? got : best;
		}
	return best;
}

/* by_chance: with what may be found and need not be. */
static void reference(const struct text *in, const struct redact_value *v, size_t count, bool by_chance,
		      uint8_t *out)
{
	struct ref r = {in->p, out, in->len, by_chance};
	size_t at, i, got, until = 0;

	memcpy(out, in->p, in->len);
	for (at = 0; at < in->len; at++) {
		for (i = 0; i < count; i++) {
			got = ref_at(&r, at, &v[i]);
			until = got > until ? got : until;
		}
		if (at < until && out[at] != '\n' && out[at] != '\r')
			out[at] = '*';
	}
}

/* ---- running it ---- */

/* In pieces of at most `piece` bytes (random when `vary`), each flush against an unmapped page. */
static uint64_t in_pieces(const struct redact *r, const struct text *in, size_t piece, bool vary,
			  uint8_t *out)
{
	struct redact_text t = {0};
	size_t done = 0, given = 0, n, used;

	do {
		n = vary ? 1 + rnd((uint32_t)piece) : piece;
		given = in->len - given < n ? in->len : given + n;
		{
			uint8_t *at = flush_copy(0, in->p + done, given - done);

			used = redact_scan(r, &t, at, given - done, given == in->len);
			assert_true(used <= given - done);
			memcpy(out + done, at, used);
			/* What it has not done with is as it came. */
			assert_memory_equal(at + used, in->p + done + used, given - done - used);
		}
		done += used;
	} while (given < in->len);
	assert_int_equal(done, in->len);
	return t.found;
}

static void check(const struct redact_value *v, size_t count, const struct text *in)
{
	static uint8_t want[ROOM], most[ROOM], got[ROOM];
	struct redact *r = make(v, count);
	static const size_t pieces[] = {1, 2, 3, 7, 64, ROOM};
	size_t i;

	reference(in, v, count, false, want);
	reference(in, v, count, true, most);
	(void)in_pieces(r, in, ROOM, false, got);
	for (i = 0; i < in->len; i++) /* where it may be either it is what it is, in any pieces */
		want[i] = want[i] != most[i] && got[i] == most[i] ? most[i] : want[i];
	for (i = 0; i < ARRAY_SIZE(pieces); i++) {
		memset(got, 0, in->len);
		(void)in_pieces(r, in, pieces[i], false, got);
		if (memcmp(got, want, in->len) != 0)
			printf("pieces of %zu of:\n%.*s\ngot\n%.*s\nwant\n%.*s\n", pieces[i],
			       (int)in->len, (const char *)in->p, (int)in->len, (const char *)got,
			       (int)in->len, (const char *)want);
		assert_memory_equal(got, want, in->len);
	}
	(void)in_pieces(r, in, 40, true, got);
	assert_memory_equal(got, want, in->len);
	free(r);
}

/* ---- ways to write a value ---- */

enum {
	AS_IS,
	PERCENT,
	PERCENT_SOME,
	JSON_U,
	JSON_MIX,
	HTML,
	ANY_MIX,
	HEX_LOW,
	HEX_UP,
	BASE64,
	BASE64URL,
	BASE64_LINES,
	BASE64_JSON,
	WAYS
};

static void put_byte(struct text *t, uint8_t c, int how)
{
	char s[16];

	switch (how) {
	case 1:
		(void)snprintf(s, sizeof(s), rnd(2) ? "%%%02X" : "%%%02x", c);
		break;
	case 2:
		(void)snprintf(s, sizeof(s), rnd(2) ? "\\u%04x" : "\\u%04X", c);
		break;
	case 3:
		(void)snprintf(s, sizeof(s), "\\x%02x", c);
		break;
	case 4:
		(void)snprintf(s, sizeof(s), rnd(2) ? "&#%u;" : "&#x%X;", c);
		break;
	case 5:
		if (c == '/' || c == '"' || c == '\\') {
			(void)snprintf(s, sizeof(s), "\\%c", c);
			break;
		}
		/* fall through */
	default:
		put(t, &c, 1);
		return;
	}
	puts_(t, s);
}

/* Context stands before and after it in the same encoding. */
static void put_base64(struct text *t, const uint8_t *v, size_t len, int way)
{
	static const char
		plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
		url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const char *alphabet = way == BASE64URL ? url : plain;
	uint8_t all[20000];
	size_t n = 0, i, before = rnd(7), after = rnd(5), width = 4 + rnd(30), column = 0;

	for (i = 0; i < before; i++)
		all[n++] = (uint8_t)rnd(256);
	memcpy(all + n, v, len);
	n += len;
	for (i = 0; i < after; i++)
		all[n++] = (uint8_t)rnd(256);
	for (i = 0; i < n * 8; i += 6) {
		unsigned int bits = (unsigned int)all[i / 8] << 8 |
				    (i / 8 + 1 < n ? all[i / 8 + 1] : 0);
		char c = alphabet[bits >> (10 - i % 8) & 63];

		if (way == BASE64_JSON)
			put_byte(t, (uint8_t)c, c == '/' || c == '+' ? (int)rnd(6) : 0);
		else
			put(t, &c, 1);
		if (way == BASE64_LINES && ++column == width) {
			puts_(t, rnd(2) ? "\r\n" : "\n");
			column = 0;
		}
	}
	if (way != BASE64URL)
		puts_(t, n % 3 == 1 ? "==" : n % 3 == 2 ? "=" : "");
}

static void put_value(struct text *t, const uint8_t *v, size_t len, int way)
{
	static const char low[] = "0123456789abcdef", up[] = "0123456789ABCDEF";
	size_t i;

	if (way >= BASE64) {
		put_base64(t, v, len, way);
		return;
	}
	for (i = 0; i < len; i++) {
		switch (way) {
		case PERCENT:
			put_byte(t, v[i], 1);
			break;
		case PERCENT_SOME:
			put_byte(t, v[i], (int)rnd(2));
			break;
		case JSON_U:
			put_byte(t, v[i], 2);
			break;
		case JSON_MIX:
			put_byte(t, v[i], rnd(2) ? 2 : 5);
			break;
		case HTML:
			put_byte(t, v[i], 4);
			break;
		case ANY_MIX:
			put_byte(t, v[i], (int)rnd(6));
			break;
		case HEX_LOW:
		case HEX_UP:
			put(t, &(way == HEX_LOW ? low : up)[v[i] >> 4], 1);
			put(t, &(way == HEX_LOW ? low : up)[v[i] & 15], 1);
			break;
		default:
			put(t, &v[i], 1);
		}
	}
}

/* Things that look like the beginning of something. */
static void put_noise(struct text *t, const struct redact_value *v)
{
	static const char *const some[] = {"%",     "\\", "&", "\\u00",     "\\n", "\n", "&#x",
					   "&amp;", "%2", " ", "{\"a\":\"", "\"}", "*"};
	size_t n = v->len ? rnd((uint32_t)v->len) : 0, i;

	switch (rnd(4)) {
	case 0:
		puts_(t, some[rnd(ARRAY_SIZE(some))]);
		return;
	case 1: /* a decoy: most of the value */
		put_value(t, v->p, n, (int)rnd(ANY_MIX + 1));
		return;
	case 2:
		if (n > 0)
			put_base64(t, v->p, n, BASE64);
		return;
	default:
		for (i = rnd(20); i > 0; i--) {
			uint8_t c = rnd(8) ? (uint8_t)(32 + rnd(95)) : (uint8_t)rnd(256);

			put(t, &c, 1);
		}
	}
}

static const char *const values[] = {
	"sk_live_51Hq8aZbYcXdWeVfUgTh",
	"sixsix",
	"seven77",
	"eight888",
	"p&ss\"w%rd+with/all\\of it",
	"%2525%25%2541",
	"\\\\\\\\\\u005c",
	"&amp;&amp;amp;",
	"aaaaaaaaaaaa",
	"abababababab",
	"schl\xc3\xbcssel-\xe2\x82\xac-\xf0\x9f\x94\x91-wert",
	"\xff\xfe\x80\x81\xc3\x28zzzz",
	"0123456789abcdef",
	"deadbeefdeadbeef",
	"MIIBVAIBADANBgkqhkiG9w0=",
	"?>?>?>?>~~~~",
	"line one\nline two\nline three",
};

static struct redact_value value(const char *s)
{
	return (struct redact_value){(const uint8_t *)s, strlen(s)};
}

/* ---- tests ---- */

static void test_each_way_and_cut(void **state)
{
	static struct text t;
	static uint8_t out[ROOM];
	size_t i, cut, used;
	int way, turn;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(values); i++) {
		struct redact_value v = value(values[i]);
		struct redact *r = make(&v, 1);

		for (way = 0; way < WAYS; way++) {
			if (v.len < REDACT_MIN_CODED && way >= HEX_LOW)
				continue;
			for (turn = 0; turn < (way >= BASE64 ? 8 : 2); turn++) {
				t.len = 0;
				puts_(&t, "{\"it\": \"");
				put_value(&t, v.p, v.len, way);
				puts_(&t, "\"}\n");
				check(&v, 1, &t);
				/* Every split in two. */
				for (cut = 0; cut <= t.len; cut++) {
					struct redact_text x = {0};

					memcpy(out, t.p, t.len);
					used = redact_scan(r, &x, out, cut, false);
					assert_true(redact_scan(r, &x, out + used, t.len - used,
								true) == t.len - used);
					assert_true(x.found >= 1);
					assert_memory_equal(out, "{\"it\": \"", 5);
					assert_memory_equal(out + t.len - 3, "\"}\n", 3);
				}
			}
		}
		free(r);
	}
}

/* Also those who are each other's beginning, end, or part. */
static void test_like_the_reference(void **state)
{
	static struct text t;
	struct redact_value v[5];
	int turn, i, count;

	(void)state;
	for (turn = 0; turn < 300; turn++) {
		count = 1 + (int)rnd(5);
		for (i = 0; i < count; i++) {
			v[i] = value(values[rnd(ARRAY_SIZE(values))]);
			if (rnd(4) == 0 && v[i].len > REDACT_MIN)
				v[i].len = REDACT_MIN + rnd((uint32_t)(v[i].len - REDACT_MIN));
		}
		t.len = 0;
		for (i = (int)rnd(8); i >= 0; i--) {
			put_noise(&t, &v[rnd((uint32_t)count)]);
			if (rnd(2)) {
				const struct redact_value *x = &v[rnd((uint32_t)count)];

				put_value(&t, x->p, x->len, (int)rnd(WAYS));
			}
		}
		check(v, (size_t)count, &t);
	}
}

static void test_nothing_changes(void **state)
{
	static struct text t;
	static uint8_t out[ROOM];
	struct redact_value v[3] = {value(values[0]), value("ghp_9f8e7d6c5b4a39281706f5e4d3c2b1a0"),
				    value(values[4])};
	struct redact *r = make(v, 3);
	int turn;

	(void)state;
	for (turn = 0; turn < 10000; turn++) {
		size_t n = rnd(2000);

		t.len = 0;
		while (t.len < n) {
			uint8_t c =
				turn % 3 == 0
					? (uint8_t)rnd(256)
					: (uint8_t)("{\"key\":\\u00%3A&#\n0aZ+/=sk_live"[rnd(31)]);

			put(&t, &c, 1);
		}
		assert_int_equal(in_pieces(r, &t, 500, true, out), 0);
		assert_memory_equal(out, t.p, t.len);
	}
	free(r);
}

static void test_decoys_have_no_limit(void **state)
{
	static uint8_t big[2 << 20];
	struct redact_value v = value(values[0]);
	struct redact *r = make(&v, 1);
	struct redact_text t = {0};
	size_t len = 0;
	int i;

	(void)state;
	for (i = 0; i < 20000; i++) { /* each all but the last byte, then a whole one */
		memcpy(big + len, v.p, v.len - 1);
		memcpy(big + len + v.len - 1, v.p, v.len);
		len += 2 * v.len - 1;
		big[len++] = '.';
	}
	assert_int_equal(redact_scan(r, &t, big, len, true), len);
	assert_int_equal(t.found, 20000);
	assert_null(memmem(big, len, v.p, v.len));
	free(r);
}

/* What ends in the beginning of no find leaves at once. */
static void test_holds_no_more_than_it_must(void **state)
{
	static const char *const events[] = {"data: hello\n\n", "data: {\"a\":\"b\"}\r\n\r\n",
					     ": ping\n\n", "{\"x\":1}\n", "75%\n"};
	struct redact_value v = value(values[0]);
	struct redact *r = make(&v, 1);
	struct redact_text t = {0};
	uint8_t text[64];
	size_t i, n;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(events); i++) {
		n = strlen(events[i]);
		memcpy(text, events[i], n);
		assert_int_equal(redact_scan(r, &t, text, n, false), n);
	}
	for (n = 1; n < v.len; n++) {
		uint8_t *at = flush_copy(1, v.p, n);

		t = (struct redact_text){0};
		assert_int_equal(redact_scan(r, &t, at, n, false), 0);
		assert_int_equal(redact_scan(r, &t, at, n, true), n);
		assert_memory_equal(at, v.p, n);
	}
	free(r);
}

static void test_short_and_many(void **state)
{
	static char many[REDACT_VALUES_MAX + 1][24];
	static struct redact_value v[REDACT_VALUES_MAX + 1];
	static struct text t;
	struct redact_text x = {0};
	struct redact *r;
	size_t i;

	(void)state;
	for (i = 0; i <= REDACT_VALUES_MAX; i++) {
		(void)snprintf(many[i], sizeof(many[i]), "%s%08x", i % 2 ? "value-" : "",
			       rnd(UINT32_MAX));
		v[i] = value(many[i]);
	}
	v[3].len = REDACT_MIN - 1;
	assert_int_equal(redact_size(v, REDACT_VALUES_MAX + 1), 0);
	v[4].len = REDACT_MAX + 1;
	assert_int_equal(redact_size(v, REDACT_VALUES_MAX), 0);
	v[4].len = 8;
	r = make(v, REDACT_VALUES_MAX);
	t.len = 0;
	for (i = 0; i < REDACT_VALUES_MAX; i++) {
		puts_(&t, many[i]);
		puts_(&t, ", ");
	}
	assert_int_equal(redact_scan(r, &x, t.p, t.len, true), t.len);
	assert_int_equal(x.found, REDACT_VALUES_MAX - 1);
	assert_non_null(memmem(t.p, t.len, many[3], strlen(many[3])));
	free(r);
	r = make(NULL, 0);
	assert_int_equal(redact_scan(r, &x, t.p, t.len, false), t.len);
	free(r);
}

static void test_too_many_ways_is_a_find(void **state)
{
	static uint8_t text[4000], slashes[400];
	struct redact_value v = {slashes, sizeof(slashes)};
	struct redact *r;
	struct redact_text t = {0};

	(void)state;
	memset(slashes, '\\', sizeof(slashes));
	memset(text, '\\', sizeof(text));
	r = make(&v, 1);
	assert_int_equal(redact_scan(r, &t, text, sizeof(text), true), sizeof(text));
	assert_true(t.found > 0);
	assert_null(memmem(text, sizeof(text), slashes, sizeof(slashes)));
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_way_and_cut),
		cmocka_unit_test(test_like_the_reference),
		cmocka_unit_test(test_nothing_changes),
		cmocka_unit_test(test_decoys_have_no_limit),
		cmocka_unit_test(test_holds_no_more_than_it_must),
		cmocka_unit_test(test_short_and_many),
		cmocka_unit_test(test_too_many_ways_is_a_find),
	};

	random_begin();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
