/* sieve.h in a body: whatever the framing on both sides, the coding, the pieces and the room, the same payload comes
 * out, without the value, to its last byte. */
#include "body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "pack.h"

#define VALUE "sk-live-0123456789abcdef"
#define ROOM  400000

static uint8_t plain[9000], packed[ROOM], wire[ROOM], want[sizeof(plain)], got[ROOM];
static struct http1_head scratch;

static size_t make_plain(void)
{
	size_t n = 0;
	int i;

	for (i = 0; n + 200 < sizeof(plain); i++)
		n += (size_t)sprintf((char *)plain + n, "%d %s, ", i * 7919,
				     i % 50 == 7 ? VALUE : "words");
	return n +
	       (size_t)sprintf((char *)plain + n, "%.10s", VALUE); /* a beginning, and no more */
}

static size_t chunked(const uint8_t *p, size_t n)
{
	size_t at, len = 0, piece;

	for (at = 0; at < n; at += piece) {
		piece = n - at < 777 ? n - at : 777;
		len += (size_t)sprintf((char *)wire + len, "%zx\r\n", piece);
		memcpy(wire + len, p + at, piece);
		len += piece;
		len += (size_t)sprintf((char *)wire + len, "\r\n");
	}
	return len + (size_t)sprintf((char *)wire + len, "0\r\nX-Last: %s\r\n\r\n", VALUE);
}

/* What a client makes of `out`. */
static size_t unframe(const struct buf *out, enum http1_framing to)
{
	struct http1_chunked c = {0};
	struct http1_slice piece;
	size_t at = 0, used, n = 0;

	if (to != HTTP1_FRAMING_CHUNKED) {
		memcpy(got, buf_bytes(out), buf_len(out));
		return buf_len(out);
	}
	while (http1_chunked(&c, (const char *)buf_bytes(out) + at, buf_len(out) - at, &used,
			     &piece) == HTTP1_DATA) {
		memcpy(got + n, piece.p, piece.len);
		n += piece.len;
		at += used;
	}
	assert_null(memmem(buf_bytes(out), buf_len(out), VALUE, strlen(VALUE)));
	assert_memory_equal(buf_bytes(out) + buf_len(out) - 4, "\r\n\r\n", 4);
	return n;
}

struct way {
	enum http1_framing from, to;
	bool coded;
	size_t piece, full;
};

/* 0, or what body_move() or body_end() said. */
static int run(const struct redact *r, const struct way *w, const uint8_t *p, size_t len,
	       uint64_t length, struct buf *out)
{
	struct recode_list list = {1, {RECODE_GZIP}};
	struct recode *recode = NULL;
	struct sieve v;
	struct body b;
	struct buf in, some;
	size_t at = 0, n;
	int rc = 0;

	buf_init(&in, 80000);
	buf_init(&some, 600000);
	if (w->coded)
		assert_int_equal(recode_new(&list, &recode), 0);
	sieve_init(&v, r, recode);
	body_init(&b, w->from, length, w->to);
	b.sieve = &v;
	while (rc == 0 && b.phase != BODY_DONE) {
		n = len - at < w->piece ? len - at : w->piece;
		if (buf_len(&in) < 16384 && n > 0) {
			assert_int_equal(buf_add(&in, p + at, n), 0);
			at += n;
		}
		rc = body_move(&b, &in, &some, w->full, &scratch);
		if (rc == 0 && n == 0 && buf_len(&some) < w->full && b.phase != BODY_DONE)
			rc = body_end(&b, &some);
		if (buf_len(&some) > 0) {
			assert_int_equal(buf_add(out, buf_bytes(&some), buf_len(&some)), 0);
			buf_done(&some);
		}
	}
	buf_done(&in);
	buf_done(&some);
	sieve_done(&v);
	sieve_done(&v);
	return rc;
}

static void test_all_framings(void **state)
{
	static const size_t pieces[] = {7, 16384}, fulls[] = {1, 5000, 65536};
	struct redact_value value = {(const uint8_t *)VALUE, strlen(VALUE)};
	struct redact *r = redact_make(malloc(redact_size(&value, 1)), &value, 1);
	struct redact_text t = {0};
	size_t n = make_plain(), i, k;
	struct way w;

	(void)state;
	memcpy(want, plain, n);
	assert_int_equal(redact_scan(r, &t, want, n, true), n);
	assert_true(t.found > 10);
	for (w.coded = false;; w.coded = true) {
		const uint8_t *p = w.coded ? packed : plain;
		size_t len = w.coded ? pack_zip(plain, n, PACK_GZIP, packed, sizeof(packed)) : n;

		for (w.from = HTTP1_FRAMING_LENGTH; w.from <= HTTP1_FRAMING_CLOSE; w.from++) {
			for (i = 0; i < ARRAY_SIZE(pieces) * ARRAY_SIZE(fulls); i++) {
				bool in_chunks = w.from == HTTP1_FRAMING_CHUNKED;
				size_t on_wire = in_chunks ? chunked(p, len) : len;
				struct buf out;

				w.piece = pieces[i % ARRAY_SIZE(pieces)];
				w.full = fulls[i / ARRAY_SIZE(pieces)];
				w.to = w.coded || in_chunks ? HTTP1_FRAMING_CHUNKED : w.from;
				buf_init(&out, 4u << 20);
				assert_int_equal(
					run(r, &w, in_chunks ? wire : p, on_wire, len, &out), 0);
				k = unframe(&out, w.to);
				assert_int_equal(k, n);
				assert_memory_equal(got, want, n);
				buf_done(&out);
				/* Cut off. */
				buf_init(&out, 4u << 20);
				if (w.coded || w.from != HTTP1_FRAMING_CLOSE)
					assert_true(run(r, &w, in_chunks ? wire : p, on_wire - 9,
							len, &out) < 0);
				buf_done(&out);
			}
		}
		if (w.coded)
			break;
	}
	free(r);
}

/* The frames say that it is whole, the coding that it is not: whatever the room, it never ends well. */
static void test_coding_cut_off(void **state)
{
	static const size_t fulls[] = {1, 2, 100, 5000, 65536};
	struct redact_value value = {(const uint8_t *)VALUE, strlen(VALUE)};
	struct redact *r = redact_make(malloc(redact_size(&value, 1)), &value, 1);
	size_t len = pack_zip(plain, make_plain(), PACK_GZIP, packed, sizeof(packed)), i, cut;
	struct way w = {.coded = true, .to = HTTP1_FRAMING_CHUNKED, .piece = 7};

	(void)state;
	for (i = 0; i < ARRAY_SIZE(fulls); i++) {
		for (cut = 1; cut < len; cut = 2 * cut + 7) {
			for (w.from = HTTP1_FRAMING_LENGTH; w.from <= HTTP1_FRAMING_CLOSE;
			     w.from++) {
				size_t n = w.from == HTTP1_FRAMING_CHUNKED
						   ? chunked(packed, len - cut)
						   : len - cut;
				struct buf out;

				w.full = fulls[i];
				buf_init(&out, 4u << 20);
				assert_int_equal(
					run(r, &w, w.from == HTTP1_FRAMING_CHUNKED ? wire : packed,
					    n, len - cut, &out),
					-EBADMSG);
				buf_done(&out);
			}
		}
	}
	free(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_framings),
					   cmocka_unit_test(test_coding_cut_off)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
