/* Words and sentences of refusals. */
#include "reason.h"

#include "../bpf/egress.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void words(void **state)
{
	(void)state;
	for (int r = 0; r < REASON_COUNT; r++) {
		const char *w = reason_word((enum reason)r);

		assert_non_null(w);
		assert_true(w[0] && strspn(w, "abcdefghijklmnopqrstuvwxyz_") == strlen(w));
		for (int k = 0; k < r; k++)
			assert_string_not_equal(w, reason_word((enum reason)k));
	}
	assert_string_equal(reason_word(REASON_NONE), "none");
	assert_string_equal(reason_word(REASON_DOMAIN), "domain_not_in_allowlist");
	assert_string_equal(reason_word(REASON_COUNT), "internal_error");
	assert_string_equal(reason_word((enum reason)-1), "internal_error");
}

static void texts_to_keep(void **state)
{
	char buf[512];

	(void)state;
	assert_string_equal(reason_sentence(REASON_DOMAIN, "api.x.com", buf, sizeof(buf)),
			    "api.x.com is not in your workspace allowlist. To authorize it, run: agentsecrets workspace "
			    "allowlist add api.x.com");
	assert_string_equal(reason_sentence(REASON_EMPTY_ALLOWLIST, "api.x.com", buf, sizeof(buf)),
			    "Your workspace allowlist is empty. No credential injections are allowed until you add at "
			    "least one domain. Run: agentsecrets workspace allowlist add <domain>");
}

static void sentences(void **state)
{
	char host[254], buf[1024];

	(void)state;
	memset(host, 'h', sizeof(host) - 1);
	host[sizeof(host) - 1] = '\0';
	for (int r = 0; r < REASON_COUNT; r++) {
		const char *s = reason_sentence((enum reason)r, host, buf, sizeof(buf));

		assert_ptr_equal(s, buf);
		assert_true(strlen(s) > 20 && strlen(s) < sizeof(buf) - 1);
		assert_null(strchr(s, '%'));
		assert_non_null(reason_sentence((enum reason)r, NULL, buf, sizeof(buf)));
		assert_null(strstr(buf, "null"));
		/* Any buffer, however small, is filled and ended, and not overrun. */
		for (size_t n = 0; n < sizeof(buf); n++) {
			memset(buf, 0x55, sizeof(buf));
			s = reason_sentence((enum reason)r, host, buf, n);
			assert_true(n ? strlen(s) < n : s[0] == '\0');
			assert_int_equal(buf[n], 0x55);
		}
	}
	assert_non_null(strstr(reason_sentence(REASON_SECRET_HOST, "a.b", buf, sizeof(buf)), "secrets bind NAME --host a.b"));
	assert_non_null(strstr(reason_sentence(REASON_DOMAIN, "", buf, sizeof(buf)), "add <domain>"));
	assert_non_null(strstr(reason_sentence((enum reason)999, "a.b", buf, sizeof(buf)), "internal error"));
	/* A host with a format in it stays a host. */
	assert_non_null(strstr(reason_sentence(REASON_DOMAIN, "%s%n", buf, sizeof(buf)), "add %s%n"));
}

static void kernel(void **state)
{
	const char *class = "x";

	(void)state;
	for (unsigned int eg = 1; eg < EG_REASON_COUNT; eg++) {
		enum reason r = reason_of_kernel(eg, &class);

		assert_true(r != REASON_NONE && r != REASON_INTERNAL);
		assert_int_equal(r == REASON_SSRF, class != NULL);
		assert_int_equal(reason_of_kernel(eg, NULL), r);
	}
	assert_int_equal(reason_of_kernel(EG_REASON_METADATA, &class), REASON_SSRF);
	assert_string_equal(class, "metadata");
	assert_int_equal(reason_of_kernel(EG_REASON_WALL, &class), REASON_WALL);
	assert_null(class);
	assert_int_equal(reason_of_kernel(EG_REASON_COUNT, &class), REASON_INTERNAL);
	assert_int_equal(reason_of_kernel(~0u, &class), REASON_INTERNAL);
	assert_null(class);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(words), cmocka_unit_test(texts_to_keep), cmocka_unit_test(sentences),
		cmocka_unit_test(kernel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
