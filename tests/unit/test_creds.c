/* test_creds.c: credential values: room, wiping, leases and what ends them. */
#include "creds.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct creds *make(uint32_t lease_s)
{
	struct creds *c;
	struct err e = {0};

	assert_int_equal(creds_new(lease_s, &c, &e), 0);
	return c;
}

static struct rpc_credential of(uint64_t guard, const char *name)
{
	struct rpc_credential q = {.guard = guard, .port = 443, .slot = 1};

	(void)strcpy(q.name, name);
	(void)strcpy(q.host, "api.test.example");
	return q;
}

static void test_wiped(void **state)
{
	struct creds *c = make(0);
	struct cred v = {0}, none = {0};
	const uint8_t *p;

	(void)state;
	assert_int_equal(creds_hold(c, (const uint8_t *)"value", 5, &v), 0);
	assert_memory_equal(v.p, "value", 5);
	p = v.p;
	creds_drop(c, &v);
	assert_memory_equal(p, "\0\0\0\0\0", 5);
	assert_null(v.p);
	creds_drop(c, &v);
	creds_drop(c, &none);
	assert_int_equal(creds_hold(c, (const uint8_t *)"", 0, &v), -EINVAL);
	creds_free(c);
}

static void test_room(void **state)
{
	static uint8_t big[RPC_SECRET_MAX + 1];
	struct cred v[CREDS_AREA / RPC_SECRET_MAX + 1];
	struct creds *c = make(0);
	size_t n = 0, i;

	(void)state;
	memset(big, 'x', sizeof(big));
	assert_int_equal(creds_hold(c, big, sizeof(big), &v[0]), -EINVAL);
	for (;; n++) {
		memset(big, (int)n + 1, RPC_SECRET_MAX);
		if (creds_hold(c, big, RPC_SECRET_MAX, &v[n]) < 0)
			break;
	}
	assert_int_equal(n, CREDS_AREA / RPC_SECRET_MAX);
	assert_int_equal(creds_hold(c, big, 1, &v[n]), -ENOBUFS);
	/* No two share a byte. */
	for (i = 0; i < n; i++) {
		assert_int_equal(v[i].p[0], i + 1);
		assert_int_equal(v[i].p[RPC_SECRET_MAX - 1], i + 1);
	}
	creds_drop(c, &v[3]);
	assert_int_equal(creds_hold(c, big, RPC_SECRET_MAX, &v[3]), 0);
	for (i = 0; i < n; i++)
		creds_drop(c, &v[i]);
	creds_free(c);
}

/* Many requests that hold the same values take the room of one, and the last wipes. */
static void test_shared(void **state)
{
	static struct cred v[3][2000];
	static const char *const values[] = {"value", "valu", "other"};
	struct creds *c = make(0);
	const uint8_t *p[3];
	size_t i, k;

	(void)state;
	for (i = 0; i < 2000; i++)
		for (k = 0; k < 3; k++) {
			assert_int_equal(creds_hold(c, (const uint8_t *)values[k], strlen(values[k]), &v[k][i]), 0);
			assert_ptr_equal(v[k][i].p, v[k][0].p);
		}
	for (k = 0; k < 3; k++)
		p[k] = v[k][0].p;
	assert_ptr_not_equal(p[0], p[1]);
	for (i = 0; i < 2000; i++) {
		assert_memory_equal(p[0], "value", 5);
		creds_drop(c, &v[0][i]);
	}
	assert_memory_equal(p[0], "\0\0\0\0\0", 5);
	/* What lies behind the hole is found, and the hole is not taken for it. */
	assert_int_equal(creds_hold(c, (const uint8_t *)"other", 5, &v[0][0]), 0);
	assert_ptr_equal(v[0][0].p, p[2]);
	assert_int_equal(creds_hold(c, (const uint8_t *)"fresh", 5, &v[0][1]), 0);
	assert_ptr_equal(v[0][1].p, p[0]);
	creds_free(c);
}

static void test_no_lease(void **state)
{
	struct rpc_credential q = of(1, "KEY");
	struct creds *c = make(0);
	struct cred v = {0}, got = {0};

	(void)state;
	assert_int_equal(creds_hold(c, (const uint8_t *)"value", 5, &v), 0);
	creds_lease(c, &q, &v, 0);
	assert_false(creds_find(c, &q, 0, &got));
	creds_drop(c, &v);
	creds_free(c);
}

static bool found(struct creds *c, const struct rpc_credential *q, uint64_t now)
{
	struct cred got = {0};
	bool yes = creds_find(c, q, now, &got);

	if (yes)
		assert_memory_equal(got.p, "value", 5);
	creds_drop(c, &got);
	return yes;
}

static void test_lease(void **state)
{
	struct rpc_credential q = of(1, "KEY"), other;
	struct creds *c = make(5);
	struct cred v = {0};
	int i;

	(void)state;
	assert_int_equal(creds_hold(c, (const uint8_t *)"value", 5, &v), 0);
	creds_lease(c, &q, &v, 1000);
	assert_true(found(c, &q, 1000));
	assert_true(found(c, &q, 5999));
	assert_false(found(c, &q, 6000));
	/* The same in every part, or none. */
	for (i = 0; i < 5; i++) {
		other = q;
		other.guard += i == 0;
		other.port += i == 1;
		other.slot += i == 2;
		other.name[0] += i == 3;
		other.host[0] += i == 4;
		assert_false(found(c, &other, 1000));
	}
	creds_forget(c, 2, NULL);
	creds_forget(c, 0, "OTHER");
	assert_true(found(c, &q, 1000));
	creds_forget(c, 1, NULL);
	assert_false(found(c, &q, 1000));
	creds_lease(c, &q, &v, 1000);
	creds_forget(c, 0, "KEY");
	assert_false(found(c, &q, 1000));
	creds_lease(c, &q, &v, 1000);
	creds_sweep(c, 6000);
	assert_false(found(c, &q, 1000));
	creds_drop(c, &v);
	creds_forget(NULL, 1, NULL);
	creds_free(c);
}

static void test_many_leases(void **state)
{
	struct creds *c = make(5);
	struct cred v = {0};
	char name[16];
	int i, n = 0;

	(void)state;
	assert_int_equal(creds_hold(c, (const uint8_t *)"value", 5, &v), 0);
	for (i = 0; i < CREDS_LEASES + 10; i++) {
		struct rpc_credential q;

		(void)snprintf(name, sizeof(name), "K%d", i);
		q = of(1, name);
		creds_lease(c, &q, &v, 0);
		n += found(c, &q, 0);
	}
	assert_int_equal(n, CREDS_LEASES);
	creds_forget(c, 0, NULL);
	creds_drop(c, &v);
	creds_free(c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wiped), cmocka_unit_test(test_room),
		cmocka_unit_test(test_shared),	  cmocka_unit_test(test_no_lease),
		cmocka_unit_test(test_lease), cmocka_unit_test(test_many_leases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
