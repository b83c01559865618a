/* recode.h: bodies packed here by zlib, or once by the brotli and zstd tools (br has no encoder in this test), taken
 * apart again whatever the pieces; cut, flipped and followed by more. */
#include "flush.h"
#include "messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include <zstd.h>

#include "pack.h"

#define ROOM (4u << 20)

static uint8_t body[200000], packed[ROOM], twice[ROOM], out[ROOM];

static size_t pack(enum recode_coding how, const uint8_t *p, size_t n, uint8_t *to)
{
	size_t made;

	if (how == RECODE_GZIP)
		return pack_zip(p, n, PACK_GZIP, to, ROOM);
	if (how == RECODE_DEFLATE)
		return pack_zip(p, n, PACK_DEFLATE, to, ROOM);
	made = ZSTD_compress(to, ROOM, p, n, 3);
	assert_false(ZSTD_isError(made));
	return made;
}

/* "messages=CODING" first: that of the messages. */
static void list_of(struct recode_list *l, const char *s)
{
	static const char messages[] = "messages=";
	size_t n = strcspn(s, ",");

	*l = (struct recode_list){0};
	if (strncmp(s, messages, sizeof(messages) - 1) == 0) {
		assert_int_equal(recode_list_messages(l, s + sizeof(messages) - 1, n - (sizeof(messages) - 1)), 0);
		s += n;
	}
	assert_int_equal(recode_list_add(l, s, strlen(s)), 0);
}

/* In pieces of `in_piece`, with room for `out_piece`. 0 and *ret_n, or what it said; -EPIPE: not complete. */
static int run(const char *codings, const uint8_t *p, size_t len, size_t in_piece, size_t out_piece,
	       size_t *ret_n)
{
	auto_(recode) struct recode *r = NULL;
	size_t at = 0, n = 0, used, made;
	struct recode_list l;
	int rc;

	list_of(&l, codings);
	assert_int_equal(recode_new(&l, &r), 0);
	do {
		size_t in = len - at < in_piece ? len - at : in_piece,
		       room = ROOM - n < out_piece ? ROOM - n : out_piece;
		const uint8_t *from = flush_copy(0, p + at, in);

		rc = recode_some(r, from, in, &used, out + n, room, &made);
		if (rc < 0)
			return rc;
		assert_true(used <= in && made <= room);
		assert_true(used > 0 || made > 0 || at == len || n == ROOM);
		at += used;
		n += made;
	} while (used > 0 || made > 0);
	*ret_n = n;
	return recode_complete(r) ? 0 : -EPIPE;
}

static const struct {
	const char *name;
	enum recode_coding is;
} codings[] = {{"gzip", RECODE_GZIP}, {"deflate", RECODE_DEFLATE}, {"zstd", RECODE_ZSTD}};

static void fill(void)
{
	uint32_t s = 1;
	size_t i;

	for (i = 0; i < sizeof(body); i++) {
		s = s * 1103515245 + 12345;
		body[i] = i / 3000 % 2 ? (uint8_t)(s >> 16) : (uint8_t)("some words "[i % 11]);
	}
}

static void test_names(void **state)
{
	static const char *const bad[] = {"compress",  "gzip, x",           "br2", "gzip;q=1",
					  "gzip gzip", "gzip,gzip,br,zstd", "*"};
	struct recode_list l;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		l = (struct recode_list){0};
		assert_int_equal(recode_list_add(&l, bad[i], strlen(bad[i])), -ENOTSUP);
	}
	list_of(&l, "");
	assert_int_equal(l.count, 0);
	list_of(&l, " ,identity, ");
	assert_int_equal(l.count, 0);
	list_of(&l, "X-Gzip ,\tBR,,zstd");
	assert_int_equal(l.count, 3);
	assert_true(l.of[0] == RECODE_GZIP && l.of[1] == RECODE_BR && l.of[2] == RECODE_ZSTD);
}

static void test_whole_in_pieces(void **state)
{
	static const size_t pieces[] = {1, 13, 4096, ROOM};
	size_t i, k, n, got;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(codings); i++) {
		n = pack(codings[i].is, body, sizeof(body), packed);
		for (k = 0; k < ARRAY_SIZE(pieces); k++) {
			size_t in = pieces[k] > FLUSH_ROOM ? FLUSH_ROOM : pieces[k];

			assert_int_equal(run(codings[i].name, packed, n, in, ROOM, &got), 0);
			assert_int_equal(got, sizeof(body));
			assert_memory_equal(out, body, sizeof(body));
			assert_int_equal(run(codings[i].name, packed, n, 4096, pieces[k], &got), 0);
			assert_int_equal(got, sizeof(body));
		}
		/* Nothing at all is nothing; so is an empty body, packed. */
		assert_int_equal(run(codings[i].name, packed, 0, 1, 1, &got), 0);
		n = pack(codings[i].is, body, 0, packed);
		assert_int_equal(run(codings[i].name, packed, n, 1, 100, &got), 0);
		assert_int_equal(got, 0);
	}
	n = pack_zip(body, sizeof(body), PACK_DEFLATE_RAW, packed, ROOM); /* without its head */
	assert_int_equal(run("deflate", packed, n, 1, ROOM, &got), 0);
	assert_int_equal(got, sizeof(body));
	assert_memory_equal(out, body, sizeof(body));
}

static void test_br(void **state)
{
	/* "hello, hello, hello" in one uncompressed metablock, and the empty last one */
	static const uint8_t br[] = "\x0b\x09\x80hello, hello, hello\x03";
	size_t got = 0, n;

	(void)state;
	for (n = 1; n < sizeof(br) - 1; n++)
		assert_true(run("br", br, n, 1, 100, &got) < 0);
	assert_int_equal(run("br", br, sizeof(br) - 1, 1, 1, &got), 0);
	assert_int_equal(got, 19);
	assert_memory_equal(out, "hello, hello, hello", 19);
	assert_int_equal(run("br", br, sizeof(br), 100, 100, &got), -EBADMSG); /* one byte more */
}

static void test_layers(void **state)
{
	size_t n, got;

	(void)state;
	n = pack(RECODE_GZIP, body, sizeof(body), packed);
	n = pack(RECODE_ZSTD, packed, n, twice);
	n = pack(RECODE_DEFLATE, twice, n, packed);
	assert_int_equal(run("gzip, zstd, deflate", packed, n, 100, 777, &got), 0);
	assert_int_equal(got, sizeof(body));
	assert_memory_equal(out, body, sizeof(body));
	assert_int_equal(run("zstd, gzip, deflate", packed, n, 100, 777, &got), -EBADMSG);
	assert_int_equal(run("gzip, zstd, deflate", packed, n - 1, 100, 777, &got), -EPIPE);
}

static void test_members_and_more(void **state)
{
	size_t n, m, got, i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(codings); i++) {
		n = pack(codings[i].is, body, 1000, packed);
		m = pack(codings[i].is, body + 1000, 500, packed + n);
		if (codings[i].is == RECODE_DEFLATE) {
			assert_int_equal(run(codings[i].name, packed, n + m, 7, 100, &got),
					 -EBADMSG);
			continue;
		}
		assert_int_equal(run(codings[i].name, packed, n + m, 7, 100, &got), 0);
		assert_int_equal(got, 1500);
		assert_memory_equal(out, body, 1500);
		memcpy(packed + n, "more of it", 10);
		assert_int_equal(run(codings[i].name, packed, n + 10, 7, 100, &got), -EBADMSG);
	}
}

static void test_cut_and_flipped(void **state)
{
	size_t n, i, k, got;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(codings); i++) {
		n = pack(codings[i].is, body, 300, packed);
		for (k = 1; k < n; k++)
			assert_true(run(codings[i].name, packed, k, 5, 100, &got) < 0);
		for (k = 0; k < 8 * n;
		     k++) { /* whatever it says, it ends, and stays within bounds */
			packed[k / 8] ^= (uint8_t)(1u << k % 8);
			(void)run(codings[i].name, packed, n, 50, 100, &got);
			packed[k / 8] ^= (uint8_t)(1u << k % 8);
		}
	}
}

static size_t message(uint8_t *to, uint8_t flags, const void *p, size_t n)
{
	to[0] = flags;
	for (int i = 0; i < 4; i++)
		to[1 + i] = (uint8_t)(n >> (24 - 8 * i));
	memcpy(to + 5, p, n);
	return 5 + n;
}

/* Messages of every kind, packed and not, come out as the same ones, none of them packed. */
static void test_messages(void **state)
{
	static const struct {
		uint8_t flags;
		size_t len;
	} of[] = {{0, 0}, {1, 0}, {1, 1}, {0, 300}, {1, 300}, {0x80, 20}, {0x81, 20}, {3, 5000}, {0, 70000}, {1, 199000}};
	static const size_t pieces[] = {1, 7, 4096, 16384};
	static uint8_t want[ROOM], one[ROOM];
	char name[32];
	size_t i, k, n, all, plain, got;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(codings); i++) {
		for (all = plain = k = 0; k < ARRAY_SIZE(of); k++) {
			n = of[k].flags & 1 ? pack(codings[i].is, body, of[k].len, one) : of[k].len;
			all += message(packed + all, of[k].flags, of[k].flags & 1 ? one : body, n);
			plain += message(want + plain, of[k].flags & 0xfe, body, of[k].len);
		}
		all += message(packed + all, 1, "", 0); /* packed, and not a byte long */
		plain += message(want + plain, 0, "", 0);
		(void)snprintf(name, sizeof(name), "messages=%s", codings[i].name);
		for (k = 0; k < ARRAY_SIZE(pieces); k++) {
			size_t in = pieces[k] < FLUSH_ROOM ? pieces[k] : FLUSH_ROOM;

			assert_int_equal(run(name, packed, all, in, ROOM, &got), 0);
			assert_int_equal(got, plain);
			assert_memory_equal(out, want, plain);
			assert_int_equal(run(name, packed, all, 4096, pieces[k], &got), 0);
			assert_int_equal(got, plain);
			assert_memory_equal(out, want, plain);
		}
		/* A content coding around it. */
		n = pack(RECODE_GZIP, packed, all, twice);
		(void)snprintf(name, sizeof(name), "messages=%s, gzip", codings[i].name);
		assert_int_equal(run(name, twice, n, 999, 16384, &got), 0);
		assert_int_equal(got, plain);
		assert_memory_equal(out, want, plain);
	}
	assert_int_equal(run("messages=br", packed, 0, 1, 1, &got), 0);
}

static void test_messages_bad(void **state)
{
	static const char *const bad[] = {"snappy", "", "gzip,gzip", "x"};
	static uint8_t zeros[MESSAGES_MAX + 1], one[ROOM];
	struct recode_list l = {0};
	size_t n, k, got;

	(void)state;
	for (k = 0; k < ARRAY_SIZE(bad); k++)
		assert_int_equal(recode_list_messages(&l, bad[k], strlen(bad[k])), -ENOTSUP);
	assert_int_equal(recode_list_messages(&l, "identity", 8), 0);
	assert_int_equal(l.count, 0);
	list_of(&l, "messages=gzip, gzip, br, zstd");
	assert_int_equal(l.count, 4);
	assert_int_equal(recode_list_add(&l, "gzip", 4), -ENOTSUP);
	n = message(packed, 1, one, pack(RECODE_GZIP, body, 300, one));
	for (k = 1; k < n; k++)
		assert_int_equal(run("messages=gzip", packed, k, 5, 100, &got), -EPIPE);
	for (k = 0; k < 8 * n; k++) {
		packed[k / 8] ^= (uint8_t)(1u << k % 8);
		(void)run("messages=gzip", packed, n, 50, 100, &got);
		packed[k / 8] ^= (uint8_t)(1u << k % 8);
	}
	/* The stream ends before its message does, or is not at its end there. */
	n = pack(RECODE_ZSTD, body, 300, one);
	(void)message(packed, 1, one, n - 1);
	assert_int_equal(run("messages=zstd", packed, n + 4, 50, 100, &got), -EBADMSG);
	n = pack(RECODE_DEFLATE, body, 300, one);
	one[n] = 'x';
	n = message(packed, 1, one, n + 1);
	assert_int_equal(run("messages=deflate", packed, n, 50, 100, &got), -EBADMSG);
	/* As long as it may be, and one byte more. */
	n = message(packed, 1, one, pack(RECODE_GZIP, zeros, MESSAGES_MAX - 5, one));
	assert_int_equal(run("messages=gzip", packed, n, 4096, 16384, &got), 0);
	assert_int_equal(got, MESSAGES_MAX);
	n = message(packed, 1, one, pack(RECODE_GZIP, zeros, MESSAGES_MAX + 1, one));
	assert_int_equal(run("messages=gzip", packed, n, 4096, 16384, &got), -EFBIG);
}

static void test_bomb(void **state)
{
	auto_(recode) struct recode *r = NULL;
	static uint8_t zeros[ROOM];
	size_t n, got, at = 0, used, made, total = 0;
	struct recode_list l;
	int rc = 0;

	(void)state;
	/* Two layers of gzip: one cannot reach the ratio. */
	n = pack(RECODE_GZIP, zeros, ROOM, packed);
	assert_int_equal(run("gzip", packed, n, 4096, 16384, &got), 0);
	n = pack(RECODE_GZIP, packed, n, twice);
	list_of(&l, "gzip, gzip");
	assert_int_equal(recode_new(&l, &r), 0);
	do {
		rc = recode_some(r, twice + at, n - at, &used, out, 16384, &made);
		at += used;
		total += made;
	} while (rc == 0 && (used > 0 || made > 0));
	assert_int_equal(rc, -EFBIG);
	assert_true(total <= RECODE_FREE + 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_whole_in_pieces),
		cmocka_unit_test(test_br),
		cmocka_unit_test(test_layers),
		cmocka_unit_test(test_members_and_more),
		cmocka_unit_test(test_cut_and_flipped),
		cmocka_unit_test(test_messages),
		cmocka_unit_test(test_messages_bad),
		cmocka_unit_test(test_bomb),
	};

	fill();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
