/* args: command lines, right and wrong. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "args.h"

#include <string.h>

static const struct args_option options[] = {
	{'h', "help", 'h', NULL, ""}, {'j', "json", 'j', NULL, ""},	{'w', "workspace", 'w', "NAME", ""},
	{'H', "host", 0, "HOST", ""}, {'n', "lines", 'n', "N", ""},
};

static const struct args_command commands[] = {
	{"log", "", "", NULL, "jn", 0, 0, false, NULL},
	{"log verify", "", "", NULL, "j", 0, 0, false, NULL},
	{"secrets set", "NAME", "", NULL, "wH", 1, 1, false, NULL},
	{"workspace allowlist add", "HOST...", "", NULL, "w", 1, -1, false, NULL},
	{"workspace use", "NAME", "", NULL, "", 1, 1, false, NULL},
	{"run", "COMMAND...", "", NULL, "w", 1, -1, true, NULL},
};

static const struct args_table table = {options, ARRAY_SIZE(options), "h", commands, ARRAY_SIZE(commands)};

static struct args a;
static struct err e;

/* Parses a line split at blanks; the words live until the next call. */
static int parse(const char *line)
{
	static char copy[512];
	static char *argv[64];
	int argc = 1;

	args_done(&a);
	e.text[0] = '\0';
	argv[0] = strcpy(copy, "x") + 0;
	strcpy(copy + 2, line);
	for (char *p = strtok(copy + 2, " "); p; p = strtok(NULL, " "))
		argv[argc++] = p;
	argv[argc] = NULL;
	return args_parse(&table, argc, argv, &a, &e);
}

static void test_good(void **s)
{
	size_t at = 0;

	(void)s;
	assert_int_equal(parse("secrets set KEY --host a.b --host=c.d -w demo"), 0);
	assert_string_equal(a.command->words, "secrets set");
	assert_int_equal(a.rest_count, 1);
	assert_string_equal(a.rest[0], "KEY");
	assert_string_equal(args_next(&a, 'H', &at), "a.b");
	assert_string_equal(args_next(&a, 'H', &at), "c.d");
	assert_null(args_next(&a, 'H', &at));
	assert_string_equal(args_value(&a, 'w'), "demo");
	assert_int_equal(parse("log -n5 -j"), 0);
	assert_string_equal(args_value(&a, 'n'), "5");
	assert_int_equal(parse("log -jjjjjjjjjjjjjjjjjjhhhhhhhhhhhhhjn 7"), 0);
	assert_string_equal(args_value(&a, 'n'), "7");
	assert_int_equal(parse("log verify"), 0);
	assert_string_equal(a.command->words, "log verify");
	assert_int_equal(parse("-h workspace allowlist add x"), 0);
	assert_string_equal(a.command->words, "workspace allowlist add");
	assert_non_null(args_value(&a, 'h'));
	assert_int_equal(parse("workspace use -- --odd"), 0);
	assert_string_equal(a.rest[0], "--odd");
	assert_int_equal(parse(""), 0);
	assert_null(a.command);
}

static void test_passes_on(void **s)
{
	(void)s;
	assert_int_equal(parse("run -w d curl --host x -h -- y"), 0);
	assert_int_equal(a.rest_count, 6);
	assert_string_equal(a.rest[0], "curl");
	assert_string_equal(a.rest[4], "--");
	assert_null(args_value(&a, 'h'));
	assert_null(a.rest[a.rest_count]);
	assert_int_equal(parse("run -- -odd --help"), 0);
	assert_string_equal(a.rest[0], "-odd");
	assert_null(args_value(&a, 'h'));
}

static void test_group(void **s)
{
	(void)s;
	assert_int_equal(parse("workspace"), 0);
	assert_null(a.command);
	assert_int_equal(a.group_len, strlen("workspace"));
	assert_int_equal(parse("workspace allowlist --help"), 0);
	assert_int_equal(a.group_len, strlen("workspace allowlist"));
	assert_memory_equal(a.group, "workspace allowlist", a.group_len);
}

static void test_wrong(void **s)
{
	static const struct { const char *line, *says; } wrong[] = {
		{"lgo", "did you mean \"log\""},
		{"workspace alowlist add x", "did you mean \"allowlist\""},
		{"workspace allowlist ad x", "did you mean \"add\""},
		{"worspace use x", "did you mean \"workspace\""},
		{"zzzzzz", "there is no command"},
		{"secrets get X", "did you mean \"set\""},
		{"log --jsn", "did you mean --json"},
		{"log --hosst x", "there is no option"},
		{"log --host x", "there is no option --host"},
		{"log -z", "there is no option -z"},
		{"log -n", "-n needs a value"},
		{"log --lines", "--lines needs a value"},
		{"log --json=yes", "takes no value"},
		{"log --=x", "there is no option"},
		{"--json log", "there is no option --json"},
		{"secrets set K --hostttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttttt", "too long"},
		{"zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz", "no command"},
	};

	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		assert_int_equal(parse(wrong[i].line), -EINVAL);
		if (!strstr(e.text, wrong[i].says))
			fail_msg("\"%s\": %s", wrong[i].line, e.text);
	}
}

static void test_counts(void **s)
{
	(void)s;
	assert_int_equal(parse("secrets set"), 0);
	assert_int_equal(args_count_ok(&a, &e), -EINVAL);
	assert_int_equal(parse("secrets set NAME sk_live_value"), 0);
	assert_int_equal(args_count_ok(&a, &e), -EINVAL);
	assert_null(strstr(e.text, "sk_live"));
	assert_int_equal(parse("log extra"), 0);
	assert_int_equal(args_count_ok(&a, &e), -EINVAL);
	assert_int_equal(parse("run a b c"), 0);
	assert_int_equal(args_count_ok(&a, &e), 0);
}

static void test_nearest(void **s)
{
	static const char *const names[] = {"status", "secrets", "log", "run"};

	(void)s;
	assert_string_equal(args_nearest("stauts", names, 4), "status");
	assert_string_equal(args_nearest("rnu", names, 4), "run");
	assert_null(args_nearest("xyz", names, 4));
	assert_null(args_nearest("", names, 4));
	assert_null(args_nearest("configuration", names, 4));
}

static int done(void **s)
{
	(void)s;
	args_done(&a);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),  cmocka_unit_test(test_passes_on), cmocka_unit_test(test_group),
		cmocka_unit_test(test_wrong), cmocka_unit_test(test_counts),	cmocka_unit_test(test_nearest),
	};

	return cmocka_run_group_tests(tests, NULL, done);
}
