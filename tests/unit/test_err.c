/* Sentences, and the readers and writers that everybody parses with: err, rd.h, wr.h. */
#include "err.h"
#include "rd.h"
#include "wr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

static void err_says(void **state)
{
	struct err e = {""};
	char long_text[2 * ERR_MAX];

	(void)state;
	assert_int_equal(err_set(&e, -EINVAL, "port %d", 7), -EINVAL);
	assert_string_equal(e.text, "port 7");
	assert_int_equal(err_in(&e, -EINVAL, "rule %d", 3), -EINVAL);
	assert_string_equal(e.text, "rule 3: port 7");
	assert_int_equal(err_set(NULL, -EIO, "nobody %s", "listens"), -EIO);
	assert_int_equal(err_in(NULL, -EIO, "nobody"), -EIO);
	/* Without an inner sentence, the errno's. */
	e.text[0] = '\0';
	assert_int_equal(err_in(&e, -ENOENT, "file"), -ENOENT);
	assert_string_equal(e.text, "file: No such file or directory");
	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	(void)err_set(&e, -1, "%s", long_text);
	assert_int_equal(strlen(e.text), ERR_MAX - 1);
	(void)err_in(&e, -1, "outer");
	assert_int_equal(strlen(e.text), ERR_MAX - 1);
	assert_memory_equal(e.text, "outer: xxx", 10);
	(void)err_in(&e, -1, "%s", long_text);
	assert_int_equal(strlen(e.text), ERR_MAX - 1);
}

static uint8_t *at_edge(const void *p, size_t n)
{
	static uint8_t *page;

	if (!page) {
		page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		assert_true((void *)page != MAP_FAILED && mprotect(page + 4096, 4096, PROT_NONE) == 0);
	}
	memcpy(page + 4096 - n, p, n);
	return page + 4096 - n;
}

static void rd_reads_and_stops(void **state)
{
	static const uint8_t b[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18};

	(void)state;
	for (size_t n = 0; n <= sizeof(b); n++) {
		struct rd r = rd_of(at_edge(b, n), n);
		uint8_t u8 = rd_u8(&r);
		uint16_t u16 = rd_u16(&r);
		uint32_t u24 = rd_u24(&r), u32 = rd_u32(&r);
		uint64_t u64 = rd_u64(&r);

		assert_int_equal(u8, n >= 1 ? 1 : 0);
		assert_int_equal(u16, n >= 3 ? 0x0203 : 0);
		assert_int_equal(u24, n >= 6 ? 0x040506 : 0);
		assert_int_equal(u32, n >= 10 ? 0x0708090a : 0);
		if (n >= 18)
			assert_true(u64 == 0x0b0c0d0e0f101112ull);
		assert_int_equal(r.bad, n < 18);
		assert_int_equal(rd_left(&r), 0);
		assert_int_equal(rd_u8(&r), 0);
		assert_true(r.bad);
		assert_null(rd_take(&r, 0));
	}
}

static void rd_does_not_wrap(void **state)
{
	struct rd r = rd_of("abc", 3), s;

	(void)state;
	assert_int_equal(rd_u8(&r), 'a');
	s = rd_sub(&r, SIZE_MAX);
	assert_true(r.bad && s.bad);
	assert_int_equal(rd_left(&s), 0);
	assert_int_equal(rd_u8(&s), 0);
	r = rd_of("abc", 3);
	s = rd_sub(&r, 2);
	assert_int_equal(rd_u16(&s), 'a' << 8 | 'b');
	assert_int_equal(rd_u8(&s), 0);
	assert_true(s.bad && !r.bad);
	assert_int_equal(rd_left(&r), 1);
	assert_non_null(rd_take(&r, 1));
	assert_non_null(rd_take(&r, 0));
	assert_false(r.bad);
	r = rd_of(NULL, 0);
	assert_false(r.bad);
	assert_int_equal(rd_u32(&r), 0);
	assert_true(r.bad);
}

static void wr_writes_and_stops(void **state)
{
	static const uint8_t all[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 'h', 'i'};
	static const size_t ends[] = {0, 1, 3, 7, 15, 17};

	(void)state;
	for (size_t cap = 0; cap <= sizeof(all); cap++) {
		uint8_t *p = at_edge(all, cap);
		struct wr w = wr_of(p, cap);
		size_t whole = 0;

		memset(p, 0, cap);
		wr_u8(&w, 1);
		wr_u16(&w, 0x0203);
		wr_u32(&w, 0x04050607);
		wr_u64(&w, 0x08090a0b0c0d0e0full);
		wr_str(&w, "hi");
		for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
			whole = ends[i] <= cap ? ends[i] : whole;
		assert_int_equal(w.full, cap < sizeof(all));
		assert_true(w.len >= whole && w.len <= cap);
		assert_memory_equal(p, all, w.len);
		wr_u8(&w, 9);
		assert_true(w.full);
		wr_bytes(&w, NULL, 0);
		assert_true(w.full);
	}
}

static void wr_does_not_wrap(void **state)
{
	uint8_t b[4];
	struct wr w = wr_of(b, sizeof(b));

	(void)state;
	wr_u8(&w, 1);
	wr_bytes(&w, b, SIZE_MAX);
	assert_true(w.full);
	assert_int_equal(w.len, 1);
	wr_u8(&w, 2); /* would fit, but is not written any more */
	assert_int_equal(w.len, 1);
	w = wr_of(NULL, 0);
	wr_bytes(&w, NULL, 0);
	assert_false(w.full);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(err_says), cmocka_unit_test(rd_reads_and_stops), cmocka_unit_test(rd_does_not_wrap),
		cmocka_unit_test(wr_writes_and_stops), cmocka_unit_test(wr_does_not_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
