/* test_dnsmsg.c: queries in every broken form, and answers that always fit. */
#include "dnsmsg.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

/* A message flush against an unmapped page: one byte too far is a crash. */
static uint8_t *edge;
static size_t page;

static int edge_setup(void **state)
{
	(void)state;
	page = (size_t)sysconf(_SC_PAGESIZE);
	edge = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(edge != MAP_FAILED);
	return mprotect(edge + 2 * page, page, PROT_NONE);
}

static const uint8_t *at_edge(const void *p, size_t n)
{
	return memcpy(edge + 2 * page - n, p, n);
}

static size_t put_name(uint8_t *p, const char *name)
{
	size_t at = 0;

	while (*name) {
		size_t n = strcspn(name, ".");

		p[at++] = (uint8_t)n;
		memcpy(p + at, name, n);
		at += n;
		name += n + (name[n] == '.');
	}
	p[at++] = 0;
	return at;
}

static size_t make(uint8_t *p, const char *name, uint16_t type, uint16_t class, uint16_t edns)
{
	static const uint8_t head[12] = {0x12, 0x34, 0x01, 0x00, 0, 1};
	size_t n = 12;

	memcpy(p, head, 12);
	n += put_name(p + n, name);
	p[n++] = (uint8_t)(type >> 8);
	p[n++] = (uint8_t)type;
	p[n++] = (uint8_t)(class >> 8);
	p[n++] = (uint8_t) class;
	if (edns) {
		uint8_t opt[11] = {0, 0, 41, (uint8_t)(edns >> 8), (uint8_t)edns};

		p[11] = 1;
		memcpy(p + n, opt, sizeof(opt));
		n += sizeof(opt);
	}
	return n;
}

static enum dnsmsg_rcode parse(const void *p, size_t n, struct dnsmsg_query *q)
{
	enum dnsmsg_rcode rcode = DNSMSG_NXDOMAIN;

	assert_int_equal(dnsmsg_parse(at_edge(p, n), n, q, &rcode), 0);
	return rcode;
}

static void test_query(void **state)
{
	struct dnsmsg_query q;
	uint8_t p[512];
	size_t n = make(p, "Api.ExAmple.com", DNSMSG_AAAA, 1, 4096);

	(void)state;
	assert_int_equal(parse(p, n, &q), DNSMSG_NOERROR);
	assert_int_equal(q.id, 0x1234);
	assert_int_equal(q.type, DNSMSG_AAAA);
	assert_true(q.hostname && q.edns && !q.dnssec_ok);
	assert_int_equal(q.edns_size, 4096);
	assert_string_equal(q.host, "api.example.com");
	assert_int_equal(q.question_len, 17 + 4);
	assert_memory_equal(q.question, p + 12, q.question_len);
	assert_int_equal(dnsmsg_limit(&q, false), DNSMSG_ANSWER_MAX);
	q.edns_size = 100;
	assert_int_equal(dnsmsg_limit(&q, false), DNSMSG_UDP_MIN);
	q.edns_size = 700;
	assert_int_equal(dnsmsg_limit(&q, false), 700);
	assert_int_equal(dnsmsg_limit(&q, true), DNSMSG_ANSWER_MAX);
}

static void test_rcodes(void **state)
{
	struct dnsmsg_query q;
	enum dnsmsg_rcode rcode;
	uint8_t p[DNSMSG_QUERY_MAX + 64] = {0};
	size_t n = make(p, "a.example", 1, 1, 0);
	static const struct {
		size_t at;
		uint8_t to;
		enum dnsmsg_rcode want;
	} changes[] = {
		{2, 0x29, DNSMSG_NOTIMP},   {2, 0x11, DNSMSG_NOTIMP}, {5, 0, DNSMSG_FORMERR},
		{5, 2, DNSMSG_FORMERR},     {4, 1, DNSMSG_FORMERR},   {7, 1, DNSMSG_FORMERR},
		{9, 1, DNSMSG_FORMERR},     {11, 1, DNSMSG_FORMERR},  {12, 64, DNSMSG_FORMERR},
		{12, 0xc0, DNSMSG_FORMERR}, {26, 3, DNSMSG_REFUSED},  {26, 255, DNSMSG_REFUSED},
	};

	(void)state;
	assert_int_equal(n, 27);
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		uint8_t was = p[changes[i].at];

		p[changes[i].at] = changes[i].to;
		assert_int_equal(parse(p, n, &q), changes[i].want);
		p[changes[i].at] = was;
	}
	p[2] |= 0x80;
	assert_int_equal(dnsmsg_parse(p, n, &q, &rcode), -EBADMSG);
	p[2] &= 0x7f;
	assert_int_equal(parse(p, n + 1, &q), DNSMSG_FORMERR); /* something behind it */
	assert_int_equal(parse(p, sizeof(p), &q), DNSMSG_FORMERR);
	n = make(p, "a.example", 1, 1, 1232);
	p[n - 5] = 1;
	assert_int_equal(parse(p, n, &q), DNSMSG_BADVERS);
	p[n - 5] = 0;
	p[n - 11] = 1; /* OPT of another name than the root */
	assert_int_equal(parse(p, n, &q), DNSMSG_FORMERR);
}

static void test_names(void **state)
{
	static const struct {
		const char *name;
		bool ok;
	} names[] = {
		{"localhost", true},
		{"a_b.example.com", true},
		{"xn--e1afmkfd.example", true},
		{"1.2.3.4", true},
		{"", false},
		{"a b.example", false},
		{"-a.example", false},
		{"a-.example", false},
		{"*.example.com", false},
		{"a/b.example", false},
		{"\xc3\xa9.example", false},
	};
	struct dnsmsg_query q;
	uint8_t p[600];

	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		size_t n = make(p, names[i].name, 1, 1, 0);

		assert_int_equal(parse(p, n, &q), DNSMSG_NOERROR);
		assert_int_equal(q.hostname, names[i].ok);
		assert_string_equal(q.host, names[i].ok ? names[i].name : "");
	}
	/* A NUL and a dot within labels do not make another name. */
	size_t n = make(p, "a.example", 1, 1, 0);
	p[16] = 0;
	assert_int_equal(parse(p, n, &q), DNSMSG_NOERROR);
	assert_false(q.hostname);
	p[16] = '.';
	assert_int_equal(parse(p, n, &q), DNSMSG_NOERROR);
	assert_false(q.hostname);
}

/* The longest name there is: 253 characters, 255 bytes on the wire; and one more. */
static void test_long_names(void **state)
{
	struct dnsmsg_query q;
	char name[300];
	uint8_t p[600], out[DNSMSG_ANSWER_MAX];
	uint8_t addr[32][16] = {{0}};

	(void)state;
	for (size_t len = 245; len < 260; len++) {
		for (size_t i = 0; i < len; i++)
			name[i] = i % 50 == 49 && i + 1 < len ? '.' : 'a';
		name[len] = '\0';
		size_t n = make(p, name, DNSMSG_AAAA, 1, 0);

		assert_int_equal(parse(p, n, &q), len <= 253 ? DNSMSG_NOERROR : DNSMSG_FORMERR);
		assert_int_equal(q.hostname, len <= 253);
		n = dnsmsg_addresses(&q, (const uint8_t(*)[16])addr, 32, 60, out, DNSMSG_UDP_MIN);
		assert_true(n > 0 && n <= DNSMSG_UDP_MIN);
		assert_int_equal(out[2] & 2, 0);
		if (len <= 253)
			assert_int_equal(out[7], (512 - 12 - (len + 2) - 4) / 28);
	}
}

static size_t be16(const uint8_t *p)
{
	return (size_t)p[0] << 8 | p[1];
}

static void test_answers(void **state)
{
	static const uint8_t addr[3][16] = {
		{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 7},
		{0x20, 1, 0xd, 0xb8, [15] = 9},
		{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 8},
	};
	struct dnsmsg_query q;
	uint8_t p[512], out[DNSMSG_ANSWER_MAX];
	size_t n = make(p, "A.example", DNSMSG_A, 1, 512), len;

	(void)state;
	assert_int_equal(parse(p, n, &q), DNSMSG_NOERROR);
	len = dnsmsg_addresses(&q, addr, 3, 77, out, sizeof(out));
	assert_int_equal(len, 12 + 15 + 2 * 16 + 11);
	assert_int_equal(be16(out), 0x1234);
	assert_int_equal(be16(out + 2), 0x8180); /* answer, RD as asked, RA, no AA, no TC */
	assert_int_equal(be16(out + 4), 1);
	assert_int_equal(be16(out + 6), 2);
	assert_int_equal(be16(out + 8), 0);
	assert_int_equal(be16(out + 10), 1);
	assert_memory_equal(out + 12, p + 12, 15); /* the case it came in */
	assert_int_equal(out[27 + 9], 77);
	assert_memory_equal(out + 27 + 12, addr[0] + 12, 4);
	assert_memory_equal(out + 27 + 16 + 12, addr[2] + 12, 4);
	q.type = DNSMSG_AAAA;
	len = dnsmsg_addresses(&q, addr, 3, 77, out, sizeof(out));
	assert_int_equal(len, 12 + 15 + 28 + 11);
	assert_memory_equal(out + 27 + 12, addr[1], 16);
	/* only the other family: NODATA with an SOA; so for any other type */
	len = dnsmsg_addresses(&q, addr, 1, 77, out, sizeof(out));
	assert_int_equal(len, 12 + 15 + 33 + 11);
	assert_int_equal(be16(out + 6), 0);
	assert_int_equal(be16(out + 8), 1);
	q.type = 65;
	assert_int_equal(dnsmsg_addresses(&q, addr, 3, 77, out, sizeof(out)), len);
	len = dnsmsg_negative(&q, DNSMSG_NXDOMAIN, 5, out, sizeof(out));
	assert_int_equal(be16(out + 2), 0x8183);
	assert_int_equal(out[len - 12], 5); /* minimum */
	assert_int_equal(dnsmsg_empty(&q, DNSMSG_SERVFAIL, out, sizeof(out)), 12 + 15 + 11);
	assert_int_equal(out[3] & 15, 2);
	len = dnsmsg_empty(&q, DNSMSG_BADVERS, out, sizeof(out));
	assert_int_equal(out[3] & 15, 0);
	assert_int_equal(out[len - 6], 1);
	/* too small for anything: nothing, rather than half of it */
	assert_int_equal(dnsmsg_empty(&q, DNSMSG_SERVFAIL, out, 20), 0);
}

/* Whatever the bytes are: no crash, and whatever is answerable gets an answer that fits. */
static void check_any(const uint8_t *p, size_t n)
{
	static const uint8_t addr[32][16] = {{[10] = 0xff, 0xff, 9}, {0x20}};
	struct dnsmsg_query q = {.id = 1};
	enum dnsmsg_rcode rcode = DNSMSG_NOERROR;
	uint8_t out[DNSMSG_ANSWER_MAX];
	size_t cap;

	if (dnsmsg_parse(at_edge(p, n), n, &q, &rcode) < 0) {
		assert_int_equal(q.id, 1); /* untouched */
		return;
	}
	cap = dnsmsg_limit(&q, false);
	assert_true(cap >= DNSMSG_UDP_MIN && cap <= DNSMSG_ANSWER_MAX);
	assert_int_equal(q.hostname, q.host[0] != '\0');
	assert_true(strlen(q.host) < RPC_HOST_MAX);
	assert_true(dnsmsg_empty(&q, rcode, out, cap) >= 12);
	assert_true(dnsmsg_negative(&q, DNSMSG_NXDOMAIN, 1, out, cap) > 12);
	assert_true(dnsmsg_addresses(&q, addr, 32, 1, out, cap) > 12);
}

static void test_cut_and_flipped(void **state)
{
	uint8_t p[512];
	size_t n = make(p, "api.example.com", DNSMSG_A, 1, 1232), i;

	(void)state;
	for (i = 0; i < n; i++) {
		struct dnsmsg_query q;
		enum dnsmsg_rcode rcode = DNSMSG_NOERROR;

		check_any(p, i);
		if (dnsmsg_parse(at_edge(p, i), i, &q, &rcode) == 0)
			assert_int_equal(rcode, DNSMSG_FORMERR);
	}
	for (i = 0; i < n * 8; i++) {
		p[i / 8] ^= (uint8_t)(1u << i % 8);
		check_any(p, n);
		p[i / 8] ^= (uint8_t)(1u << i % 8);
	}
}

static void test_frames(void **state)
{
	uint8_t p[2 + DNSMSG_QUERY_MAX] = {0, 3, 'a', 'b', 'c', 0};
	size_t len = 99;

	(void)state;
	for (size_t i = 0; i < 5; i++)
		assert_int_equal(dnsmsg_frame(at_edge(p, i), i, &len), 0);
	assert_int_equal(len, 99);
	assert_int_equal(dnsmsg_frame(p, 5, &len), 1);
	assert_int_equal(len, 3);
	assert_int_equal(dnsmsg_frame(p, 6, &len), 1);
	p[1] = 0;
	assert_int_equal(dnsmsg_frame(p, 6, &len), -EMSGSIZE);
	p[0] = DNSMSG_QUERY_MAX >> 8;
	p[1] = DNSMSG_QUERY_MAX & 255;
	assert_int_equal(dnsmsg_frame(p, sizeof(p), &len), 1);
	p[1]++;
	assert_int_equal(dnsmsg_frame(p, 2, &len), -EMSGSIZE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_query),   cmocka_unit_test(test_rcodes),
		cmocka_unit_test(test_names),   cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_answers), cmocka_unit_test(test_cut_and_flipped),
		cmocka_unit_test(test_frames),
	};

	return cmocka_run_group_tests(tests, edge_setup, NULL);
}
