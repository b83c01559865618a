/* former.h, and who.h's notes of it: what is kept, for whom, and that neither grows. */
#include "former.h"
#include "who.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants the four above first */
#include <cmocka.h>

static struct formers f;

static uint64_t add(const char *workspace, const char *host, const char *text)
{
	char hosts[2][RPC_HOST_MAX] = {{0}, "second.example.com"};
	const struct former *o = NULL;
	struct secret *value = NULL;

	(void)snprintf(hosts[0], RPC_HOST_MAX, "%s", host);
	assert_int_equal(secret_of(text, strlen(text), &value, NULL), 0);
	assert_int_equal(former_add(&f, workspace, hosts, 2, &value, &o), 0);
	(void)secret_free(value); /* when there was one like it */
	return o ? o->number : 0;
}

static size_t count(void)
{
	size_t i, n = 0;

	for (i = 0; i < FORMER_MAX; i++)
		n += f.of[i].number > 0;
	return n;
}

static void test_kept_for_its_hosts_alone(void **state)
{
	uint64_t one = add("demo", "*.example.com", "value one"),
		 two = add("demo", "*.example.com", "value two");

	(void)state;
	assert_true(one > 0 && two > one);
	assert_int_equal(add("demo", "*.example.com", "value one"), 0); /* it is there */
	assert_int_equal(count(), 2);
	assert_true(
		secret_same(former_find(&f, one, "demo", "a.example.com")->value, "value one", 9));
	assert_non_null(former_find(&f, two, "demo", "second.example.com"));
	assert_null(former_find(&f, two, "demo", "example.com"));
	assert_null(former_find(&f, two, "demo", "example.org"));
	assert_null(former_find(&f, two, "other", "a.example.com"));
	assert_null(former_find(&f, 0, "", ""));
	assert_null(former_find(&f, two + 1, "demo", "a.example.com"));
	formers_drop(&f, "demo");
	assert_null(former_find(&f, one, "demo", "a.example.com"));
	assert_int_equal(count(), 0);
	assert_true(add("demo", "*.example.com", "value one") > two); /* no number twice */
	formers_done(&f);
}

static void test_bounded(void **state)
{
	uint64_t first = add("other", "a.example.com", "the oldest of all"), last = 0;
	char s[64];
	int i;

	(void)state;
	for (i = 0; i < 3 * FORMER_PER_WORKSPACE; i++) {
		(void)snprintf(s, sizeof(s), "value %d", i);
		last = add("demo", "a.example.com", s);
	}
	assert_int_equal(count(), 1 + FORMER_PER_WORKSPACE);
	assert_non_null(former_find(&f, first, "other", "a.example.com"));
	assert_non_null(former_find(&f, last, "demo", "a.example.com"));
	assert_non_null(former_find(&f, last - FORMER_PER_WORKSPACE + 1, "demo", "a.example.com"));
	assert_null(former_find(&f, last - FORMER_PER_WORKSPACE, "demo", "a.example.com"));
	for (i = 0; i < 2 * FORMER_MAX; i++) {
		(void)snprintf(s, sizeof(s), "w%d", i / (FORMER_PER_WORKSPACE / 2));
		last = add(s, "a.example.com", s + (i % 2));
		if (last == 0) /* one like it */
			continue;
		assert_non_null(former_find(&f, last, s, "a.example.com"));
	}
	for (i = 0; i < 2 * FORMER_MAX; i++) {
		(void)snprintf(s, sizeof(s), "many%d", i);
		assert_true(add(s, "a.example.com", s) > 0);
	}
	assert_int_equal(count(), FORMER_MAX);
	assert_null(former_find(&f, first, "other", "a.example.com"));
	formers_done(&f);
	assert_int_equal(count(), 0);
}

static void test_hosts_that_went(void **state)
{
	static char was_hosts[][RPC_HOST_MAX] = {"*.example.com", "a.example.org", "b.example.org"},
		    now_hosts[][RPC_HOST_MAX] = {"a.example.org", "c.example.org"};
	struct rules_secret was = {.host_count = 3, .hosts = was_hosts},
			    now = {.host_count = 2, .hosts = now_hosts};
	char(*hosts)[RPC_HOST_MAX];
	uint32_t n;

	(void)state;
	assert_int_equal(former_hosts(&was, &now, &hosts, &n), 0);
	assert_int_equal(n, 2);
	assert_string_equal(hosts[0], "*.example.com");
	assert_string_equal(hosts[1], "b.example.org");
	free(hosts);
	assert_int_equal(former_hosts(&was, NULL, &hosts, &n), 0);
	assert_int_equal(n, 3);
	free(hosts);
	assert_int_equal(former_hosts(&was, &was, &hosts, &n), 0);
	assert_int_equal(n, 0);
	free(hosts);
}

static void test_notes(void **state)
{
	struct who w = {0};
	uint64_t i, epoch;

	(void)state;
	assert_int_equal(who_guard(&w, 7, "demo"), 0);
	epoch = who_find(&w, 7)->workspace->epoch;
	assert_int_equal(who_former(&w, "demo", 0, "", 0), 0); /* only that something changed */
	assert_true(who_find(&w, 7)->workspace->epoch > epoch);
	assert_null(who_find(&w, 7)->workspace->formers);
	assert_int_equal(who_former(&w, "demo", 1, "", 0), -EPROTO);
	assert_int_equal(who_former(&w, "demo", 1, "no end", 6), -EPROTO);
	assert_int_equal(who_former(&w, "demo", 1, "\0a", 3), -EPROTO);
	assert_int_equal(who_former(&w, "demo", 1, "a\0\0", 3), -EPROTO);
	assert_null(who_find(&w, 7)->workspace->formers);
	for (i = 1; i <= 2 * FORMER_PER_WORKSPACE; i++)
		assert_int_equal(who_former(&w, "demo", i, "a.example.com\0*.example.org", 28), 0);
	assert_int_equal(who_find(&w, 7)->workspace->formers->number, 2 * FORMER_PER_WORKSPACE);
	assert_true(who_former_may(who_find(&w, 7)->workspace->formers, "a.example.com"));
	assert_true(who_former_may(who_find(&w, 7)->workspace->formers, "x.example.org"));
	assert_false(who_former_may(who_find(&w, 7)->workspace->formers, "b.example.com"));
	for (i = 0; i < 3; i++) {
		const struct who_former *at = who_find(&w, 7)->workspace->formers;
		uint32_t n = 0;

		for (; at; at = at->next)
			n++;
		assert_int_equal(n, i == 2 ? 0 : FORMER_PER_WORKSPACE);
		if (i == 1)
			who_formers_gone(&w);
	}
	assert_int_equal(who_former(&w, "not-yet", 1, "a", 2),
			 0); /* before its document and guards */
	who_done(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_kept_for_its_hosts_alone),
		cmocka_unit_test(test_bounded),
		cmocka_unit_test(test_hosts_that_went),
		cmocka_unit_test(test_notes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
