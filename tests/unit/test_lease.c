/* test_lease.c: the resolver's cache: whose it is, until when, how much. And the hosts file
 * beside it. */
#include "hosts.h"
#include "lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t some[2][16] = {{[10] = 0xff, 0xff, 9, 9, 9, 9}, {0x20, 1, [15] = 1}};

static int put(struct lease_table *t, uint64_t guard, const char *host, uint32_t count,
	       uint64_t expires)
{
	struct lease l = {.guard = guard,
			  .host = host,
			  .outcome = count ? LEASE_FOUND : LEASE_NXDOMAIN,
			  .count = count,
			  .addr = some,
			  .expires_ms = expires};

	return lease_put(t, &l, NULL);
}

static void test_get(void **state)
{
	auto_(lease_table) struct lease_table *t = lease_table_new(7);
	const struct lease *l;

	(void)state;
	assert_non_null(t);
	assert_null(lease_get(t, 1, "a.example", 0));
	assert_int_equal(put(t, 1, "a.example", 2, 1000), 0);
	l = lease_get(t, 1, "a.example", 999);
	assert_non_null(l);
	assert_int_equal(l->count, 2);
	assert_memory_equal(l->addr, some, sizeof(some));
	assert_string_equal(l->host, "a.example");
	assert_null(lease_get(t, 2, "a.example", 0)); /* another guard */
	assert_null(lease_get(t, 1, "b.example", 0));
	/* in its place */
	assert_int_equal(put(t, 1, "a.example", 0, 2000), 0);
	assert_int_equal(lease_count(t), 1);
	assert_int_equal(lease_get(t, 1, "a.example", 0)->outcome, LEASE_NXDOMAIN);
	/* its end */
	assert_null(lease_get(t, 1, "a.example", 2000));
	assert_int_equal(lease_count(t), 0);
}

static void test_drop(void **state)
{
	auto_(lease_table) struct lease_table *t = lease_table_new(0);

	(void)state;
	assert_int_equal(put(t, 1, "a.example", 1, 10), 0);
	assert_int_equal(put(t, 1, "b.example", 1, 10), 0);
	assert_int_equal(put(t, 2, "a.example", 1, 10), 0);
	lease_drop(t, 3);
	assert_int_equal(lease_count(t), 3);
	lease_drop(t, 1);
	assert_int_equal(lease_count(t), 1);
	assert_null(lease_get(t, 1, "a.example", 0));
	assert_non_null(lease_get(t, 2, "a.example", 0));
}

/* A guard's flood costs itself, oldest first, and nobody else. */
static void test_per_guard(void **state)
{
	auto_(lease_table) struct lease_table *t = lease_table_new(1);
	char host[32];

	(void)state;
	assert_int_equal(put(t, 2, "quiet.example", 1, 10), 0);
	for (int i = 0; i < LEASE_PER_GUARD_MAX + 10; i++) {
		(void)snprintf(host, sizeof(host), "n%d.example", i);
		assert_int_equal(put(t, 1, host, 1, 10), 0);
	}
	assert_int_equal(lease_count(t), LEASE_PER_GUARD_MAX + 1);
	assert_null(lease_get(t, 1, "n9.example", 0));
	assert_non_null(lease_get(t, 1, "n10.example", 0));
	assert_non_null(lease_get(t, 2, "quiet.example", 0));
}

static void test_in_all(void **state)
{
	auto_(lease_table) struct lease_table *t = lease_table_new(1);
	char host[32];
	uint64_t g;

	(void)state;
	assert_int_equal(put(t, 1000, "quiet.example", 1, 10), 0);
	for (g = 1; g <= LEASE_MAX / LEASE_PER_GUARD_MAX + 1; g++)
		for (int i = 0; i < LEASE_PER_GUARD_MAX; i++) {
			(void)snprintf(host, sizeof(host), "n%d.example", i);
			assert_int_equal(put(t, g, host, 1, 10), 0);
		}
	assert_int_equal(lease_count(t), LEASE_MAX);
	assert_non_null(lease_get(t, 1000, "quiet.example", 0));
	/* more guards than there may be */
	lease_drop(t, 1);
	for (g = 2000; g < 2000 + LEASE_GUARDS_MAX; g++)
		if (put(t, g, "a.example", 1, 10) < 0)
			break;
	assert_true(g < 2000 + LEASE_GUARDS_MAX);
	assert_int_equal(put(t, 5000, "a.example", 1, 10), -ENOSPC);
}

static void test_ttl(void **state)
{
	struct lease l = {.expires_ms = 5500};

	(void)state;
	assert_int_equal(lease_ttl(0, 5, 300), 5);
	assert_int_equal(lease_ttl(100, 5, 300), 100);
	assert_int_equal(lease_ttl(UINT32_MAX, 5, 300), 300);
	assert_int_equal(lease_ttl(0, 0, 300), 1);
	assert_int_equal(lease_left(&l, 0), 5);
	assert_int_equal(lease_left(&l, 5000), 1);
	assert_int_equal(lease_left(&l, 9000), 1);
}

static size_t find(const char *text, size_t len, const char *host, uint8_t (*addr)[16], size_t max)
{
	auto_(hosts) struct hosts *h = NULL;

	assert_int_equal(hosts_parse(text, len, &h), 0);
	return hosts_find(h, host, addr, max);
}

static void test_hosts(void **state)
{
	static const char text[] =
		"# a comment\n"
		"127.0.0.1 localhost\n"
		"\t2001:db8::5\tdb.corp.example   Db2.Corp.Example # old.corp.example\n"
		"10.1.2.3 db.corp.example\r\n"
		"10.1.2.4 db.corp.example db.corp.example.\n"
		"10.1.2 bad.corp.example\n"
		"fe80::1%eth0 zone.corp.example\n"
		"10.1.2.5\n"
		"10.1.2.6 a..example _ok.example last.example";
	uint8_t addr[8][16];

	(void)state;
	assert_int_equal(find(text, sizeof(text) - 1, "db.corp.example", addr, 8), 4);
	assert_int_equal(addr[0][15], 3); /* IPv4 first, then in the file's order */
	assert_int_equal(addr[1][15], 4);
	assert_int_equal(addr[3][0], 0x20);
	assert_int_equal(find(text, sizeof(text) - 1, "db.corp.example", addr, 2), 2);
	assert_int_equal(find(text, sizeof(text) - 1, "db2.corp.example", addr, 8), 1);
	assert_int_equal(find(text, sizeof(text) - 1, "last.example", addr, 8), 1);
	assert_int_equal(find(text, sizeof(text) - 1, "_ok.example", addr, 8), 1);
	assert_int_equal(find(text, sizeof(text) - 1, "old.corp.example", addr, 8), 0);
	assert_int_equal(find(text, sizeof(text) - 1, "bad.corp.example", addr, 8), 0);
	assert_int_equal(find(text, sizeof(text) - 1, "zone.corp.example", addr, 8), 0);
	assert_int_equal(find(text, sizeof(text) - 1, "localhost", addr, 8), 0);
	assert_int_equal(hosts_find(NULL, "last.example", addr, 8), 0);
	for (size_t i = 0; i < sizeof(text); i++)
		assert_in_range(find(text, i, "db.corp.example", addr, 8), 0, 4);
	assert_int_equal(find("1.2.3.4 a.example\0b.example\n", 29, "a.example", addr, 8), 0);
}

static void test_many_hosts(void **state)
{
	size_t n = 0, room = HOSTS_MAX * 2 * 40;
	auto_free char *text = malloc(room);
	uint8_t addr[8][16];
	int i;

	(void)state;
	for (i = 0; i < HOSTS_MAX * 2; i++)
		n += (size_t)snprintf(text + n, room - n, "0.0.0.0 n%d.example\n", i);
	assert_int_equal(find(text, n, "n17.example", addr, 8), 1);
	assert_int_equal(find(text, n, "n9000.example", addr, 8), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_get),        cmocka_unit_test(test_drop),
		cmocka_unit_test(test_per_guard),  cmocka_unit_test(test_in_all),
		cmocka_unit_test(test_ttl),        cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_many_hosts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
