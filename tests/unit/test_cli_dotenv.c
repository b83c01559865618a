/* .env files: what is read, and that what is wrong is said with its line and without the value. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "dotenv.h"
#include "placeholder.h"

#include <stdio.h>
#include <string.h>

/* "NAME=value@line;..." of all pairs, or the error. */
static const char *all(const char *text, size_t cap)
{
	static char out[4096];
	struct dotenv d = {.text = text, .len = strlen(text)};
	struct dotenv_pair p;
	struct err e = {""};
	char value[256];
	size_t n = 0;
	int rc;

	out[0] = '\0';
	while ((rc = dotenv_next(&d, value, cap, &p, &e)) > 0)
		n += (size_t)snprintf(out + n, sizeof(out) - n, "%.*s=%.*s@%zu;", (int)p.name_len, p.name, (int)p.value_len,
				      value, p.line);
	if (rc < 0)
		snprintf(out, sizeof(out), "%s", e.text);
	return out;
}

static void test_read(void **s)
{
	(void)s;
	assert_string_equal(all("", 99), "");
	assert_string_equal(all("\n \t\n# A=1\n", 99), "");
	assert_string_equal(all("A=1", 99), "A=1@1;");
	assert_string_equal(all("A=1\r\nB=2\r\n", 99), "A=1@1;B=2@2;");
	assert_string_equal(all("# c\n\nexport A=1 # c\n\texport\tB = 2\n", 99), "line 4 is not NAME=VALUE");
	assert_string_equal(all("# c\n\nexport A=1 # c\n\texport\tB= 2 \n", 99), "A=1@3;B=2@4;");
	assert_string_equal(all("A=a#b\nexported=1\n", 99), "A=a#b@1;exported=1@2;");
	assert_string_equal(all("A=a=b$C&\"x\"\n", 99), "A=a=b$C&\"x\"@1;");
	assert_string_equal(all("A='a \\n # \"b\" $C'\nB=2", 99), "A=a \\n # \"b\" $C@1;B=2@2;");
	assert_string_equal(all("A=\"a\\\"\\\\\\$\\t\\q\" # c\n", 99), "A=a\"\\$\t\\q@1;");
	assert_string_equal(all("A=\"1\n2\"\nB='3\n\n4'\nC=5", 99), "A=1\n2@1;B=3\n\n4@3;C=5@6;");
	assert_string_equal(all("A=\nB=''\nC=\"\"", 99), "A=@1;B=@2;C=@3;");
	assert_string_equal(all("A=\xc3\xa4\n", 99), "A=\xc3\xa4@1;");
}

static void test_refused(void **s)
{
	static const char *const bad[] = {"A", "A\n", "=1", "A B=1", "export", "export A", "A='1", "A=\"1\n\n", "A=\"1\\\"", "A='1'2",
					  "A=\"1\"=", "A=123456789"};
	char text[] = "A=sec\0ret";
	struct dotenv d = {.text = text, .len = sizeof(text) - 1};
	struct dotenv_pair p;
	char value[64];
	struct err e;

	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		if (strncmp(all(bad[i], 8), "line ", 5) != 0)
			fail_msg("%s: %s", bad[i], all(bad[i], 8));
	assert_int_equal(dotenv_next(&d, value, sizeof(value), &p, &e), -EINVAL);
	assert_non_null(strstr(e.text, "NUL"));
	assert_null(strstr(e.text, "sec"));
}

static void test_placeholders(void **s)
{
	uint8_t random[PLACEHOLDER_RANDOM];
	char a[RULES_PLACEHOLDER_MAX], b[RULES_PLACEHOLDER_MAX], long_one[400];
	struct err e;

	(void)s;
	for (size_t i = 0; i < sizeof(random); i++)
		random[i] = (uint8_t)(i * 37);
	assert_int_equal(placeholder_make("auto:ghp_", random, a, &e), 0);
	assert_int_equal(strlen(a), 40);
	assert_memory_equal(a, "ghp_", 4);
	random[3] ^= 1;
	assert_int_equal(placeholder_make("auto:ghp_", random, b, &e), 0);
	assert_string_not_equal(a, b);
	assert_int_equal(placeholder_make("auto", random, a, &e), 0);
	assert_int_equal(strlen(a), 36);
	assert_int_equal(placeholder_make("auto:jwt", random, a, &e), 0);
	assert_int_equal(strlen(strrchr(a, '.')), 44);
	assert_memory_equal(a, "eyJ", 3);
	assert_int_equal(placeholder_make("none", random, a, &e), 0);
	assert_string_equal(a, "");
	assert_int_equal(placeholder_make("sk-mine", random, a, &e), 0);
	assert_string_equal(a, "sk-mine");
	memset(long_one, 'x', sizeof(long_one) - 1);
	long_one[sizeof(long_one) - 1] = '\0';
	assert_int_equal(placeholder_make(long_one, random, a, &e), -EINVAL);
	memset(random, 255, sizeof(random)); /* never a biased letter instead */
	assert_int_equal(placeholder_make("auto", random, a, &e), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_read), cmocka_unit_test(test_refused),
					   cmocka_unit_test(test_placeholders)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
