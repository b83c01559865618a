/* The vault's format: round trips, every truncation and bit flip, order, and what a box is bound to. */
#include "vaultrec.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include <sodium.h>

#define FILE_CAP 4096

static const uint8_t record_key[VAULTREC_KEY_LEN] = {1}, mac_key[VAULTREC_KEY_LEN] = {2};
static const uint8_t nonce[VAULTREC_NONCE_LEN] = {3};
static uint8_t wrapped[VAULTREC_WRAPPED_LEN] = {4};
static uint8_t boxes[8][64];

/* The bytes flush against an unmapped page. */
static uint8_t *flush(const void *p, size_t len)
{
	static uint8_t *area;

	if (!area) {
		area = mmap(NULL, FILE_CAP + 4096, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_true(area != MAP_FAILED && mprotect(area + FILE_CAP, 4096, PROT_NONE) == 0);
	}
	assert_true(len <= FILE_CAP);
	return memcpy(area + FILE_CAP - len, p, len);
}

static struct vaultrec_head head_of(uint32_t count)
{
	struct vaultrec_head h = {
		.id = {9, 8, 7}, .generation = 5, .count = count, .wrap_count = 1};

	h.wraps[0] = (struct vaultrec_wrap){.kind = VAULTREC_WRAP_KEYFILE,
					    .params = wrapped,
					    .sealed = wrapped,
					    .sealed_len = sizeof(wrapped)};
	return h;
}

static struct vaultrec rec_of(const struct vaultrec_head *h, uint8_t kind, const char *ws,
			      const char *name, const char *value, uint8_t *box)
{
	struct vaultrec r = {.kind = kind, .seq = 3, .nonce = nonce, .sealed = box};

	(void)snprintf(r.workspace, sizeof(r.workspace), "%s", ws);
	(void)snprintf(r.name, sizeof(r.name), "%s", name);
	r.sealed_len = (uint32_t)(strlen(value) + VAULTREC_TAG_LEN);
	vaultrec_seal(record_key, h, &r, (const uint8_t *)value, strlen(value), box);
	return r;
}

/* A small whole file; recs in the order given. */
static size_t file_of(uint8_t *out, const struct vaultrec_head *h, const struct vaultrec *recs,
		      size_t n)
{
	struct wr w = wr_of(out, FILE_CAP);
	size_t i;

	vaultrec_head_write(&w, h);
	for (i = 0; i < n; i++)
		vaultrec_write(&w, &recs[i]);
	vaultrec_end_write(&w, mac_key);
	assert_false(w.full);
	return w.len;
}

static size_t sample(uint8_t *out, struct vaultrec_head *h, struct vaultrec recs[4])
{
	*h = head_of(4);
	recs[0] = rec_of(h, VAULTREC_SECRET, "a", "KEY_A", "one", boxes[0]);
	recs[1] = rec_of(h, VAULTREC_SECRET, "a", "KEY_B", "two", boxes[1]);
	recs[2] = rec_of(h, VAULTREC_SECRET, "b", "KEY_A", "three", boxes[2]);
	recs[3] = rec_of(h, VAULTREC_AUDIT, "", "", "four", boxes[3]);
	return file_of(out, h, recs, 4);
}

static void test_round_trip(void **state)
{
	static const char *const values[] = {"one", "two", "three", "four"};
	uint8_t file[FILE_CAP], value[64];
	struct vaultrec_head h, got;
	struct vaultrec recs[4], out[4];
	size_t len = sample(file, &h, recs), i;
	uint8_t *p = flush(file, len);

	(void)state;
	assert_int_equal(vaultrec_file(p, len, &got, out, 4), 0);
	assert_int_equal(vaultrec_file(p, len, &got, NULL, 0), 0);
	assert_int_equal(vaultrec_file(p, len, &got, out, 3), -E2BIG);
	assert_true(vaultrec_sum_ok(p, len) && vaultrec_mac_ok(mac_key, p, len));
	assert_false(vaultrec_mac_ok(record_key, p, len));
	assert_memory_equal(got.id, h.id, sizeof(h.id));
	assert_int_equal(got.generation, 5);
	assert_int_equal(got.wrap_count, 1);
	for (i = 0; i < 4; i++) {
		assert_int_equal(vaultrec_order(&recs[i], &out[i]), 0);
		assert_int_equal(out[i].seq, 3);
		assert_int_equal(vaultrec_open(record_key, &got, &out[i], value), 0);
		assert_memory_equal(value, values[i], strlen(values[i]));
		assert_int_equal(vaultrec_open(mac_key, &got, &out[i], value), -EBADMSG);
	}
}

static void test_truncated(void **state)
{
	uint8_t file[FILE_CAP];
	struct vaultrec_head h, got;
	struct vaultrec recs[4];
	size_t len = sample(file, &h, recs), i;

	(void)state;
	for (i = 0; i < len; i++) {
		uint8_t *p = flush(file, i);

		memset(&got, 0x77, sizeof(got));
		assert_int_not_equal(vaultrec_file(p, i, &got, NULL, 0), 0);
		assert_false(vaultrec_sum_ok(p, i));
		assert_false(vaultrec_mac_ok(mac_key, p, i));
	}
	file[len] = 0; /* and one byte more */
	assert_int_equal(vaultrec_file(flush(file, len + 1), len + 1, &got, NULL, 0), -EBADMSG);
}

static void fix_sum(uint8_t *p, size_t len)
{
	len -= VAULTREC_SUM_LEN;
	(void)crypto_generichash(p + len, VAULTREC_SUM_LEN, p, len, NULL, 0);
}

/* Any bit: the sum finds it; and with the sum made right again, form or mac do. */
static void test_bit_flips(void **state)
{
	uint8_t file[FILE_CAP];
	struct vaultrec_head h, got;
	struct vaultrec recs[4];
	size_t len = sample(file, &h, recs), i;

	(void)state;
	for (i = 0; i < 8 * len; i++) {
		uint8_t *p = flush(file, len);

		p[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_false(vaultrec_sum_ok(p, len));
		assert_true(vaultrec_file(p, len, &got, NULL, 0) <= 0); /* does not fault */
		if (i / 8 >= len - VAULTREC_SUM_LEN)
			continue;
		fix_sum(p, len);
		assert_true(vaultrec_sum_ok(p, len));
		assert_false(vaultrec_mac_ok(mac_key, p, len));
	}
}

static void test_order(void **state)
{
	uint8_t file[FILE_CAP];
	struct vaultrec_head h, got;
	struct vaultrec r[4], bad[4];
	size_t len, i;

	(void)state;
	(void)sample(file, &h, r);
	for (i = 0; i < 3; i++) {
		memcpy(bad, r, sizeof(bad));
		bad[i] = r[i + 1];
		bad[i + 1] = r[i];
		len = file_of(file, &h, bad, 4);
		assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
		memcpy(bad, r, sizeof(bad));
		bad[i + 1] = bad[i]; /* twice the same */
		len = file_of(file, &h, bad, 4);
		assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
	}
	len = file_of(file, &h, r, 3); /* one less than counted, one more */
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
	h.count = 3;
	len = file_of(file, &h, r, 4);
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
}

static void test_form(void **state)
{
	static const struct {
		uint8_t kind;
		const char *ws, *name;
	} bad[] = {
		{VAULTREC_SECRET, "", ""},
		{VAULTREC_SECRET, "a", ""},
		{VAULTREC_SECRET, "", "KEY"},
		{VAULTREC_SECRET, "A", "KEY"},
		{VAULTREC_SECRET, "a", "key"},
		{VAULTREC_SECRET, "a/b", "KEY"},
		{VAULTREC_SECRET, "..", "KEY"},
		{VAULTREC_CA, "a", ""},
		{VAULTREC_CA, "", "KEY"},
		{VAULTREC_SIGNING_KEY, "a", "K"},
		{VAULTREC_AUDIT, "a", "KEY"},
		{0, "", ""},
		{5, "", ""},
		{VAULTREC_END, "", ""},
		{0x80, "a", "KEY"},
	};
	uint8_t file[FILE_CAP];
	struct vaultrec_head h = head_of(1), got;
	struct vaultrec r;
	size_t i, len;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		r = rec_of(&h, bad[i].kind, bad[i].ws, bad[i].name, "v", boxes[0]);
		len = file_of(file, &h, &r, 1);
		assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
	}
	r = rec_of(&h, VAULTREC_SECRET, "a", "KEY", "v", boxes[0]);
	r.seq = 0;
	len = file_of(file, &h, &r, 1);
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
	r.seq = 6; /* after the file itself */
	len = file_of(file, &h, &r, 1);
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
	r.seq = 5;
	r.sealed_len = VAULTREC_TAG_LEN; /* an empty value */
	len = file_of(file, &h, &r, 1);
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
	h.generation = 0;
	r.sealed_len = VAULTREC_TAG_LEN + 1;
	len = file_of(file, &h, &r, 1);
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
}

static void test_head(void **state)
{
	uint8_t file[FILE_CAP];
	struct vaultrec_head h = head_of(0), got;
	size_t len = file_of(file, &h, NULL, 0);

	(void)state;
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), 0);
	file[9] = 2; /* a later format */
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -ENOTSUP);
	file[9] = 1;
	file[38] = 0; /* no wrap */
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
	file[38] = VAULTREC_WRAPS_MAX + 1;
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), -EBADMSG);
	file[38] = 1;
	assert_int_equal(vaultrec_file(flush(file, len), len, &got, NULL, 0), 0);
	/* kinds of wraps that come later: parsed, passed over */
	h.wraps[1] = (struct vaultrec_wrap){.kind = VAULTREC_WRAP_PASSPHRASE,
					    .params = file,
					    .params_len = 24,
					    .sealed = wrapped,
					    .sealed_len = sizeof(wrapped)};
	h.wraps[2] = (struct vaultrec_wrap){
		.kind = 200, .params = file, .sealed = file, .sealed_len = 500};
	h.wrap_count = 3;
	{
		uint8_t more[FILE_CAP];

		len = file_of(more, &h, NULL, 0);
		assert_int_equal(vaultrec_file(flush(more, len), len, &got, NULL, 0), 0);
		assert_int_equal(got.wrap_count, 3);
		assert_int_equal(got.wraps[1].params_len, 24);
		assert_int_equal(got.wraps[2].sealed_len, 500);
	}
}

/* A box opens as nothing but the record it was made for. */
static void test_bound(void **state)
{
	uint8_t value[64];
	struct vaultrec_head h = head_of(1), other = h;
	struct vaultrec r = rec_of(&h, VAULTREC_SECRET, "a", "KEY", "value", boxes[0]), x;
	uint8_t nonce2[VAULTREC_NONCE_LEN] = {4};
	size_t i;

	(void)state;
	assert_int_equal(vaultrec_open(record_key, &h, &r, value), 0);
	other.id[15] ^= 1; /* another vault */
	assert_int_equal(vaultrec_open(record_key, &other, &r, value), -EBADMSG);
	x = r;
	x.kind = VAULTREC_CA;
	assert_int_equal(vaultrec_open(record_key, &h, &x, value), -EBADMSG);
	x = r;
	x.seq++;
	assert_int_equal(vaultrec_open(record_key, &h, &x, value), -EBADMSG);
	x = r;
	strcpy(x.workspace, "b");
	assert_int_equal(vaultrec_open(record_key, &h, &x, value), -EBADMSG);
	x = r;
	strcpy(x.name, "KEZ");
	assert_int_equal(vaultrec_open(record_key, &h, &x, value), -EBADMSG);
	x = r; /* the same letters, cut elsewhere */
	strcpy(x.workspace, "aK");
	strcpy(x.name, "EY");
	assert_int_equal(vaultrec_open(record_key, &h, &x, value), -EBADMSG);
	x = r;
	x.nonce = nonce2;
	assert_int_equal(vaultrec_open(record_key, &h, &x, value), -EBADMSG);
	for (i = 0; i < r.sealed_len; i++) {
		x = r;
		x.sealed_len = (uint32_t)i;
		assert_int_equal(vaultrec_open(record_key, &h, &x, value), -EBADMSG);
	}
	for (i = 0; i < 8 * r.sealed_len; i++) {
		boxes[0][i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(vaultrec_open(record_key, &h, &r, value), -EBADMSG);
		boxes[0][i / 8] ^= (uint8_t)(1 << i % 8);
	}
}

static void test_wrap(void **state)
{
	uint8_t key[VAULTREC_KEY_LEN] = {1, 2}, master[VAULTREC_KEY_LEN] = {5, 6, 7},
		got[VAULTREC_KEY_LEN];
	uint8_t box[VAULTREC_WRAPPED_LEN] = {1}, k1[VAULTREC_KEY_LEN], k2[VAULTREC_KEY_LEN];
	struct vaultrec_head h = head_of(0), other;
	struct vaultrec_wrap w = {.kind = VAULTREC_WRAP_KEYFILE,
				  .params = box,
				  .sealed = box,
				  .sealed_len = sizeof(box)},
			     x;
	size_t i;

	(void)state;
	vaultrec_wrap(key, &h, &w, master, box);
	assert_int_equal(vaultrec_unwrap(key, &h, &w, got), 0);
	assert_memory_equal(got, master, sizeof(got));
	other = h;
	other.generation = 99; /* a wrap outlives changes of records */
	assert_int_equal(vaultrec_unwrap(key, &other, &w, got), 0);
	other.id[0] ^= 1;
	assert_int_equal(vaultrec_unwrap(key, &other, &w, got), -EBADMSG);
	x = w;
	x.kind = VAULTREC_WRAP_CREDENTIAL;
	assert_int_equal(vaultrec_unwrap(key, &h, &x, got), -EBADMSG);
	x = w;
	x.params_len = 1;
	assert_int_equal(vaultrec_unwrap(key, &h, &x, got), -EBADMSG);
	x = w;
	x.sealed_len--;
	assert_int_equal(vaultrec_unwrap(key, &h, &x, got), -EBADMSG);
	for (i = 0; i < 8 * sizeof(key); i++) {
		key[i / 8] ^= (uint8_t)(1 << i % 8);
		assert_int_equal(vaultrec_unwrap(key, &h, &w, got), -EBADMSG);
		key[i / 8] ^= (uint8_t)(1 << i % 8);
	}
	vaultrec_keys(master, k1, k2);
	assert_memory_not_equal(k1, k2, sizeof(k1));
	assert_memory_not_equal(k1, master, sizeof(k1));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_bit_flips),  cmocka_unit_test(test_order),
		cmocka_unit_test(test_form),       cmocka_unit_test(test_head),
		cmocka_unit_test(test_bound),      cmocka_unit_test(test_wrap),
	};

	assert_true(sodium_init() >= 0);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
