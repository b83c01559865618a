/* show and log_lines: what of a log may reach a terminal, and where its lines are. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "log_lines.h"
#include "show.h"
#include "cli.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static char out[4096];

static FILE *sink(void)
{
	memset(out, 0, sizeof(out));
	return fmemopen(out, sizeof(out) - 1, "w");
}

static const char *clean(const char *text, size_t len)
{
	FILE *f = sink();

	show_clean(f, text, len);
	(void)fclose(f);
	return out;
}

static void test_clean(void **s)
{
	(void)s;
	assert_string_equal(clean("plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91", 17), "plain \xc3\xa9 \xe2\x82\xac \xf0\x9f\x94\x91");
	assert_string_equal(clean("\x1b[2J", 4), "\\x1b[2J");
	assert_string_equal(clean("a\nb\r\t\x7f", 6), "a\\x0ab\\x0d\\x09\\x7f");
	assert_string_equal(clean("\0", 1), "\\x00");
	assert_string_equal(clean("\xc2\x9b", 2), "\\xc2\\x9b");	   /* C1: CSI */
	assert_string_equal(clean("\xe2\x80\xae", 3), "\\xe2\\x80\\xae"); /* right-to-left override */
	assert_string_equal(clean("\xe2\x80\x8b", 3), "\\xe2\\x80\\x8b"); /* zero width */
	assert_string_equal(clean("\xff\xc0\x80", 3), "\\xff\\xc0\\x80");
	assert_string_equal(clean("\xed\xa0\x80", 3), "\\xed\\xa0\\x80"); /* surrogate */
	assert_string_equal(clean("\xf5\x80\x80\x80", 4), "\\xf5\\x80\\x80\\x80");
	assert_string_equal(clean("\xe2\x82", 2), "\\xe2\\x82"); /* cut */
	assert_string_equal(clean("", 0), "");
}

/* Whatever two bytes come, nothing but printable characters and UTF-8 goes out. */
static void test_clean_all(void **s)
{
	(void)s;
	for (int i = 0; i < 65536; i += 7) {
		const char pair[2] = {(char)(i >> 8), (char)i};
		const char *got = clean(pair, 2);

		for (const char *p = got; *p; p++)
			assert_true((unsigned char)*p >= 0x20 && *p != 0x7f);
	}
}

static void test_table(void **s)
{
	static const char *const heads[] = {"A", "LONG"};
	json_t *rows = json_pack("[[s,s],[s,s]]", "x\x1b", "1", "", "\xc3\xa9"), *none = json_array();
	FILE *f = sink();

	(void)s;
	show_table(f, heads, 2, none);
	show_table(f, heads, 2, rows);
	(void)fclose(f);
	assert_string_equal(out, "A      LONG\nx\\x1b  1\n-      \xc3\xa9\n");
	json_decref(rows);
	json_decref(none);
}

static const char *printed(const char *line)
{
	FILE *f = sink();

	log_lines_print(f, line, strlen(line));
	(void)fclose(f);
	return out;
}

static void test_line(void **s)
{
	static const char deny[] =
		"{\"time\":\"2026-11-23T07:00:01.123456Z\",\"kind\":\"decision\",\"workspace\":\"demo\",\"pid\":7,"
		"\"comm\":\"cu\\u001brl\",\"method\":\"GET\",\"host\":\"evil.example\",\"port\":443,\"path\":\"/a\","
		"\"verdict\":\"deny\",\"reason\":\"domain_not_in_allowlist\",\"secrets\":[\"K\",\"L\"],\"w\":\"proxy0\"}";
	char cut[sizeof(deny)];

	(void)s;
	assert_string_equal(printed(deny), "2026-11-23T07:00:01 demo deny GET evil.example/a domain_not_in_allowlist "
					   "secrets=K,L pid=7 cu\\x1brl\n");
	assert_string_equal(printed("{\"time\":\"2026-11-23T07:00:01Z\",\"kind\":\"kernel\",\"dst\":\"10.0.1.5:80\","
				    "\"verdict\":\"deny\",\"reason\":\"ssrf_protection_blocked\",\"detail\":\"private\"}"),
			    "2026-11-23T07:00:01 deny 10.0.1.5:80 ssrf_protection_blocked private\n");
	assert_string_equal(printed("\x1b]0;x"), "(not a line of ours) \\x1b]0;x\n");
	assert_string_equal(printed("[1]"), "(not a line of ours) [1]\n");
	for (size_t n = 0; n < sizeof(deny) - 1; n++) { /* cut anywhere: one line, no control bytes */
		const char *p;

		memcpy(cut, deny, n);
		cut[n] = '\0';
		p = printed(cut);
		assert_int_equal(strcspn(p, "\n"), strlen(p) - 1);
		assert_null(strchr(p, 0x1b));
	}
}

static int file_of(const char *text)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	assert_true(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
	return fd;
}

static void test_tail(void **s)
{
	static const struct { const char *text; uint64_t n; off_t at; } cases[] = {
		{"", 1, 0}, {"a\n", 1, 0}, {"a\nb\n", 1, 2}, {"a\nb\n", 2, 0}, {"a\nb\n", 9, 0}, {"a\nb\nc", 1, 4}, {"a\n\n\n", 2, 2},
	};
	struct err e;

	(void)s;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		int fd = file_of(cases[i].text);
		off_t at = -1;

		assert_int_equal(log_lines_tail(fd, cases[i].n, &at, &e), 0);
		if (at != cases[i].at)
			fail_msg("case %zu: %lld", i, (long long)at);
		close(fd);
	}
}

static void test_lines(void **s)
{
	static char big[3 * LOG_LINES_ROOM];
	struct log_lines l;
	struct err e = {""};
	const char *line;
	size_t len, total = 0;
	int fd = memfd_create("log", MFD_CLOEXEC), n = 0, rc;

	(void)s;
	for (int i = 0; i < 4000; i++)
		assert_true(dprintf(fd, "%d %.*s\n", i, i % 90, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
								"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx") > 0);
	assert_int_equal(log_lines_open(&l, fd, 0, &e), 0);
	while ((rc = log_lines_next(&l, &line, &len, &e)) > 0) {
		assert_int_equal(atoi(line), n++);
		total += len + 1;
	}
	assert_int_equal(rc, 0);
	assert_int_equal(n, 4000);
	assert_int_equal(len, 0);
	assert_int_equal(total, lseek(fd, 0, SEEK_END));
	assert_true(write(fd, "cut", 3) == 3);
	assert_int_equal(log_lines_next(&l, &line, &len, &e), 0);
	assert_int_equal(len, 3);
	assert_true(write(fd, "!\n", 2) == 2);
	assert_int_equal(log_lines_next(&l, &line, &len, &e), 1);
	assert_memory_equal(line, "cut!", 4);
	memset(big, 'x', sizeof(big));
	assert_true(write(fd, big, sizeof(big)) == (ssize_t)sizeof(big));
	assert_true(log_lines_next(&l, &line, &len, &e) < 0);
	log_lines_done(&l);
	close(fd);
}

static void test_filter(void **s)
{
	static const char line[] = "{\"time\":\"2026-11-23T07:00:00.5Z\",\"workspace\":\"demo\"}";
	const uint64_t at = 1795417200ull * 1000000000ull;
	struct log_filter f = {0};

	(void)s;
	assert_true(log_lines_pass(&f, "junk", 4));
	f.since_ns = at + 700000000;
	assert_true(log_lines_pass(&f, line, sizeof(line) - 1));
	assert_false(log_lines_pass(&f, "junk", 4));
	f.since_ns = at + 1000000000;
	assert_false(log_lines_pass(&f, line, sizeof(line) - 1));
	f = (struct log_filter){.workspace = "demo"};
	assert_true(log_lines_pass(&f, line, sizeof(line) - 1));
	f.workspace = "dem";
	assert_false(log_lines_pass(&f, line, sizeof(line) - 1));
}

int cli_fail(const struct err *e)
{
	(void)e;
	return CLI_FAILED;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_clean), cmocka_unit_test(test_clean_all), cmocka_unit_test(test_table),
		cmocka_unit_test(test_line),  cmocka_unit_test(test_tail),	cmocka_unit_test(test_lines),
		cmocka_unit_test(test_filter),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
