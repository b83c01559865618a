/* The audit log: lines that hostile bytes cannot break, and a chain in which any change is found. */
#include "audit.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#define NOW 1795000000123456789ULL /* 2026-11-18T11:06:40.123456Z */

static const struct rpc_audit_key first = {
	.writer = "proxy0", .epoch = {1, 2, 3}, .key = {9, 9, 9}};

static const struct rpc_audit_key second = {
	.writer = "proxy0", .epoch = {4, 5, 6}, .key = {8, 8, 8}};

static int find_key(void *ctx, const char *writer, const uint8_t epoch[16], uint8_t key[32])
{
	const struct rpc_audit_key *k = memcmp(epoch, second.epoch, 16) == 0 ? &second : &first;

	(void)ctx;
	if (memcmp(epoch, k->epoch, 16) != 0 ||
	    (strcmp(writer, "proxy0") != 0 && strcmp(writer, "parent") != 0))
		return -ENOENT;
	memcpy(key, k->key, 32);
	return 0;
}

static int log_fd(void)
{
	int fd = memfd_create("audit", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_APPEND), 0);
	return fd;
}

static struct audit *open_log(int fd, const char *writer, enum config_audit_sync sync)
{
	struct rpc_audit_key key = first;
	struct audit *a = NULL;
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	memset(key.writer, 0, sizeof(key.writer));
	(void)snprintf(key.writer, sizeof(key.writer), "%s", writer);
	assert_int_equal(audit_new(own, &key, sync, &a), 0);
	return a;
}

static char *slurp(int fd, size_t *len)
{
	off_t size = lseek(fd, 0, SEEK_END);
	char *p = malloc((size_t)size + 1);

	assert_int_equal(pread(fd, p, (size_t)size, 0), size);
	p[size] = '\0';
	*len = (size_t)size;
	return p;
}

/* 0, or the number of the first line (from 1) that does not verify. */
static int verify(const char *p, size_t len, struct err *e)
{
	struct audit_verify *v = audit_verify_new(find_key, NULL);
	int n = 0, bad = 0;

	while (len > 0 && !bad) {
		const char *end = memchr(p, '\n', len);
		size_t line = end ? (size_t)(end - p) : len;

		n++;
		if (audit_verify_line(v, p, line, e) < 0)
			bad = n;
		p += line + (end ? 1 : 0);
		len -= line + (end ? 1 : 0);
	}
	audit_verify_free(v);
	return bad;
}

static const uint8_t stripe[16] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 198, 51, 100, 7};

static struct audit_entry decision(void)
{
	return (struct audit_entry){.kind = AUDIT_DECISION,
				    .id = 7,
				    .guard = 4711,
				    .workspace = "demo",
				    .pid = 4242,
				    .has_uid = true,
				    .comm = "curl",
				    .comm_len = 4,
				    .cgroup = 4712,
				    .addr = stripe,
				    .port = 443,
				    .scheme = "https",
				    .sni = "api.stripe.com",
				    .host = "api.stripe.com",
				    .host_len = 14,
				    .host_port = 443,
				    .method = "POST",
				    .method_len = 4,
				    .path = "/v1/charges",
				    .path_len = 11,
				    .rule = "api.stripe.com",
				    .allow = true,
				    .secrets = {"STRIPE_KEY", "OTHER"},
				    .secret_count = 2};
}

static void test_fields(void **state)
{
	static const char want[] =
		"{\"time\":\"2026-11-18T11:06:40.123456Z\",\"kind\":\"decision\",\"id\":7,\"guard\":4711,\"workspace\":\"demo\","
		"\"pid\":4242,\"uid\":0,\"comm\":\"curl\",\"cgroup\":4712,\"dst\":\"198.51.100.7:443\",\"scheme\":\"https\","
		"\"sni\":\"api.stripe.com\",\"host\":\"api.stripe.com\",\"port\":443,\"method\":\"POST\",\"path\":\"/v1/charges\","
		"\"rule\":\"api.stripe.com\",\"verdict\":\"allow\",\"secrets\":[\"STRIPE_KEY\",\"OTHER\"],\"w\":\"proxy0\","
		"\"e\":\"01020300000000000000000000000000\",\"n\":2,\"mac\":\"";
	struct audit_entry en = decision();
	int fd = log_fd();
	struct audit *a = open_log(fd, "proxy0", CONFIG_SYNC_ALWAYS);
	size_t len;
	char *p, *line;
	struct err e;

	(void)state;
	assert_int_equal(audit_add(a, &en, NOW), 0);
	assert_int_equal(lseek(fd, 0, SEEK_END), 0); /* not before the flush */
	assert_int_equal(audit_flush(a), 0);
	p = slurp(fd, &len);
	line = strchr(p, '\n') + 1;
	if (strncmp(line, want, sizeof(want) - 1) != 0)
		fail_msg("%s", line);
	assert_int_equal(strlen(line), sizeof(want) - 1 + 64 + 3);
	assert_non_null(strstr(p, "\"kind\":\"start\""));
	assert_int_equal(verify(p, len, &e), 0);
	free(p);
	audit_free(a);
	close(fd);
}

static void test_kinds(void **state)
{
	static const uint8_t six[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};
	struct audit_entry out = {.kind = AUDIT_OUTCOME,
				  .id = 7,
				  .status = 403,
				  .bytes_up = 1,
				  .bytes_down = UINT64_MAX,
				  .redacted = 7,
				  .has_ms = true,
				  .reason = REASON_DOMAIN,
				  .allow = true},
			   kern = {.kind = AUDIT_KERNEL,
				   .addr = six,
				   .port = 22,
				   .reason = REASON_SSRF,
				   .detail = "metadata",
				   .count = 3},
			   admin = {.kind = AUDIT_ADMIN,
				    .detail = "allowlist.add",
				    .has_uid = true,
				    .uid = 1000},
			   none = {.kind = AUDIT_DECISION};
	int fd = log_fd();
	struct audit *a = open_log(fd, "parent", CONFIG_SYNC_INTERVAL);
	char *p;
	size_t len;
	struct err e;

	(void)state;
	assert_int_equal(audit_add(a, &out, 0), 0);
	assert_int_equal(audit_add(a, &kern, 951782399999999999ULL), 0);
	assert_int_equal(audit_add(a, &admin, 951782400000000000ULL), 0);
	assert_int_equal(audit_add(a, &none, 4102444800000000000ULL), 0);
	assert_int_equal(audit_flush(a), 0);
	p = slurp(fd, &len);
	assert_non_null(
		strstr(p, "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"kind\":\"outcome\",\"id\":7,"
			  "\"reason\":\"domain_not_in_allowlist\",\"status\":403,\"bytes_up\":1,"
			  "\"bytes_down\":18446744073709551615,\"redacted\":7,\"ms\":0,\"w\":"));
	assert_non_null(strstr(
		p,
		"{\"time\":\"2000-02-28T23:59:59.999999Z\",\"kind\":\"kernel\","
		"\"dst\":\"[2001:db8::1]:22\",\"verdict\":\"deny\",\"reason\":\"ssrf_protection_blocked\","
		"\"detail\":\"metadata\",\"count\":3,\"w\":"));
	assert_non_null(strstr(
		p, "{\"time\":\"2000-02-29T00:00:00.000000Z\",\"kind\":\"admin\",\"uid\":1000,"
		   "\"detail\":\"allowlist.add\",\"w\":"));
	assert_non_null(strstr(
		p,
		"{\"time\":\"2100-01-01T00:00:00.000000Z\",\"kind\":\"decision\",\"verdict\":\"deny\",\"w\":"));
	assert_int_equal(verify(p, len, &e), 0);
	free(p);
	audit_free(a);
	close(fd);
}

/* One line with this in every string that a client has a hand in; it must be one JSON object. */
static json_t *hostile(const char *s, size_t len, char **ret_text)
{
	struct audit_entry en = decision();
	int fd = log_fd();
	struct audit *a = open_log(fd, "proxy0", CONFIG_SYNC_INTERVAL);
	json_t *j;
	json_error_t je;
	size_t n;
	char *p, *line;
	struct err e = {0};

	en.host = en.path = en.method = en.comm = s;
	en.host_len = en.path_len = en.method_len = en.comm_len = len;
	assert_int_equal(audit_add(a, &en, NOW), 0);
	assert_int_equal(audit_flush(a), 0);
	p = slurp(fd, &n);
	if (verify(p, n, &e))
		fail_msg("%s", e.text);
	line = strchr(p, '\n') + 1;
	assert_ptr_equal(strchr(line, '\n'), p + n - 1); /* one line */
	assert_int_equal(strlen(p), n);                  /* no NUL */
	assert_true(strlen(line) <= AUDIT_LINE_MAX);
	for (n = 0; line[n] != '\n'; n++)
		assert_true((unsigned char)line[n] >= 0x20 && line[n] != 0x7f);
	j = json_loads(line, JSON_REJECT_DUPLICATES, &je);
	if (!j)
		fail_msg("%s: %s", je.text, line);
	if (ret_text)
		*ret_text = strdup(line);
	free(p);
	audit_free(a);
	close(fd);
	return j;
}

static void test_hostile(void **state)
{
	static const struct {
		const char *in;
		size_t len;
		const char *out;
	} cases[] = {
		{"a\"b\\c", 5, "a\"b\\c"},
		{"x\n{\"kind\":\"start\"}\n", 19, "x\n{\"kind\":\"start\"}\n"},
		{"\",\"verdict\":\"allow", 18, "\",\"verdict\":\"allow"},
		{"\r\n\t\x1b[2J\x7f", 8, "\r\n\t\x1b[2J\x7f"},
		{"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", 9, "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"},
		{"\xc2\x9b"
		 "31m",
		 5,
		 "\xc2\x9b"
		 "31m"}, /* C1: comes back the same, but is escaped in the line */
		{"\x80", 1, "\xef\xbf\xbd"},
		{"\xc0\x8a", 2, "\xef\xbf\xbd\xef\xbf\xbd"}, /* overlong newline */
		{"\xe0\x80\x8a", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xed\xa0\x80", 3, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"}, /* surrogate */
		{"\xf4\x90\x80\x80", 4, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
		{"\xe2\x82", 2, "\xef\xbf\xbd\xef\xbf\xbd"}, /* cut */
		{"a\xff"
		 "b",
		 3,
		 "a\xef\xbf\xbd"
		 "b"},
	};
	char *text;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		json_t *j = hostile(cases[i].in, cases[i].len, &text);

		assert_string_equal(json_string_value(json_object_get(j, "host")), cases[i].out);
		assert_string_equal(json_string_value(json_object_get(j, "path")), cases[i].out);
		assert_string_equal(json_string_value(json_object_get(j, "comm")), cases[i].out);
		assert_string_equal(json_string_value(json_object_get(j, "verdict")), "allow");
		assert_null(strstr(text, "\xc2\x9b"));
		json_decref(j);
		free(text);
	}
	/* a NUL is a character as any other */
	text = NULL;
	{
		json_error_t je;
		json_t *j;
		struct audit_entry en = decision();
		int fd = log_fd();
		struct audit *a = open_log(fd, "proxy0", CONFIG_SYNC_INTERVAL);
		size_t n;
		char *p;

		en.path = "a\0b";
		en.path_len = 3;
		assert_int_equal(audit_add(a, &en, NOW), 0);
		assert_int_equal(audit_flush(a), 0);
		p = slurp(fd, &n);
		assert_non_null(strstr(p, "\"path\":\"a\\u0000b\""));
		j = json_loads(strchr(p, '\n') + 1, JSON_ALLOW_NUL, &je);
		assert_non_null(j);
		json_decref(j);
		free(p);
		audit_free(a);
		close(fd);
	}
}

/* Every byte, alone and at the place where a string is cut. */
static void test_every_byte(void **state)
{
	char s[4096];
	unsigned int b, fill;

	(void)state;
	for (b = 1; b < 256; b++) {
		char one = (char)b;

		json_decref(hostile(&one, 1, NULL));
		memset(s, (int)b, sizeof(s));
		json_decref(hostile(s, sizeof(s), NULL));
	}
	for (fill = 1480; fill < 1560; fill++) {
		memset(s, 'a', fill);
		memcpy(s + fill, "\"\xf0\x9f\x98\x80\n", 6);
		json_decref(hostile(s, fill + 6, NULL));
	}
}

/* Everything at once, as long as it goes: it fits, and it verifies. */
static void test_longest(void **state)
{
	char s[8192], name[160];
	struct audit_entry en = decision();
	int fd = log_fd(), i;
	struct audit *a = open_log(fd, "proxy0", CONFIG_SYNC_INTERVAL);
	size_t n;
	char *p, *line;
	struct err e;

	(void)state;
	memset(s, 1, sizeof(s) - 1);
	s[sizeof(s) - 1] = '\0';
	memset(name, 'A', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	en.id = en.guard = en.cgroup = en.bytes_up = en.bytes_down = en.redacted = en.count =
		UINT64_MAX;
	en.pid = en.uid = en.ms = UINT32_MAX;
	en.has_ms = true;
	en.status = INT32_MAX;
	en.port = en.host_port = UINT16_MAX;
	en.workspace = en.comm = en.scheme = en.sni = en.host = en.method = en.path = en.rule =
		en.detail = s;
	en.comm_len = en.host_len = en.method_len = en.path_len = sizeof(s) - 1;
	en.allow = false;
	en.reason = REASON_APPROVAL_REQUIRED;
	en.secret_count = 99; /* more than there is room for */
	for (i = 0; i < AUDIT_SECRETS_MAX; i++)
		en.secrets[i] = name;
	for (i = 0; i < 100; i++) /* several buffers full */
		assert_int_equal(audit_add(a, &en, UINT64_MAX), 0);
	assert_int_equal(audit_flush(a), 0);
	p = slurp(fd, &n);
	assert_int_equal(verify(p, n, &e), 0);
	line = strchr(p, '\n') + 1;
	assert_true(strchr(line, '\n') - line < AUDIT_LINE_MAX);
	assert_true(strchr(line, '\n') - line >
		    AUDIT_LINE_MAX - 800); /* the limits are not wasted either */
	free(p);
	audit_free(a);
	close(fd);
}

/* Ten lines of proxy0, and some of parent in between. */
static char *sample(size_t *len)
{
	int fd = log_fd(), i;
	struct audit *a = open_log(fd, "proxy0", CONFIG_SYNC_INTERVAL);
	struct audit *b = open_log(fd, "parent", CONFIG_SYNC_INTERVAL);
	struct audit_entry en = {.kind = AUDIT_DECISION, .host = "h.example.com", .host_len = 13};
	char *p;
	struct err e;

	for (i = 0; i < 9; i++) {
		en.id = (uint64_t)i + 1;
		assert_int_equal(audit_add(a, &en, NOW + (uint64_t)i), 0);
		assert_int_equal(audit_flush(a), 0);
		if (i % 3 == 0) {
			assert_int_equal(audit_add(b, &en, NOW), 0);
			assert_int_equal(audit_flush(b), 0);
		}
	}
	audit_free(a);
	audit_free(b);
	p = slurp(fd, len);
	assert_int_equal(verify(p, *len, &e), 0);
	close(fd);
	return p;
}

static void test_changed_byte(void **state)
{
	size_t len, i;
	char *p = sample(&len);
	struct err e;

	(void)state;
	for (i = 0; i < len; i++) {
		char was = p[i];
		int bit;

		for (bit = 0; bit < 8; bit++) {
			p[i] = (char)(was ^ 1 << bit);
			if (verify(p, len, &e) == 0)
				fail_msg("byte %zu, bit %d", i, bit);
		}
		p[i] = was;
	}
	free(p);
}

/* The chain as the header describes it, made here by other means. */
static void test_chain(void **state)
{
	uint8_t key[32], mac[32] = {0}, both[64], text[AUDIT_LINE_MAX + 32];
	char hex[65], *p, *line, *end, *tail;
	size_t len, n;

	(void)state;
	p = sample(&len);
	memcpy(key, first.key, sizeof(key));
	for (line = p; line < p + len; line = end + 1) {
		end = strchr(line, '\n');
		n = (size_t)(end - line) - 74; /* ,"mac":"…"} */
		tail = line + n;
		if (!memmem(line, n, "\"w\":\"proxy0\"", 12))
			continue;
		memcpy(text, mac, 32);
		memcpy(text + 32, line, n);
		(void)crypto_generichash(both, 64, text, n + 32, key, 32);
		memcpy(mac, both, 32);
		memcpy(key, both + 32, 32);
		(void)sodium_bin2hex(hex, sizeof(hex), mac, 32);
		assert_memory_equal(tail, ",\"mac\":\"", 8);
		assert_memory_equal(tail + 8, hex, 64);
	}
	free(p);
}

struct lines {
	const char *at[32];
	size_t len[32], n;
};

static struct lines split(const char *p, size_t len)
{
	struct lines l = {.n = 0};

	while (len > 0) {
		size_t n = (size_t)((const char *)memchr(p, '\n', len) - p) + 1;

		l.at[l.n] = p;
		l.len[l.n++] = n;
		p += n;
		len -= n;
	}
	return l;
}

/* Puts the lines together in this order. */
static int verify_order(const struct lines *l, const size_t *order, size_t n, struct err *e)
{
	char *p = malloc(n * AUDIT_LINE_MAX);
	size_t len = 0, i;
	int rc;

	for (i = 0; i < n; i++) {
		memcpy(p + len, l->at[order[i]], l->len[order[i]]);
		len += l->len[order[i]];
	}
	rc = verify(p, len, e);
	free(p);
	return rc;
}

/* The writer a line is of: 'x' proxy0, 't' parent. */
static char writer_of(const struct lines *l, size_t i)
{
	const char *w = memmem(l->at[i], l->len[i], "\"w\":\"p", 6);

	return w[8];
}

static void test_moved_lines(void **state)
{
	size_t len, i, j, k, order[40];
	char *p = sample(&len);
	struct lines l = split(p, len);
	struct err e;

	(void)state;
	assert_int_equal(l.n, 14);
	for (i = 0; i < l.n; i++) {
		bool last = true;

		for (j = i + 1; j < l.n; j++)
			last = last && writer_of(&l, j) != writer_of(&l, i);
		for (j = k = 0; j < l.n;
		     j++) /* one left out: found, unless it was its writer's last */
			if (j != i)
				order[k++] = j;
		assert_int_equal(verify_order(&l, order, k, &e) != 0, !last);
		for (j = k = 0; j < l.n; j++) { /* one twice */
			order[k++] = j;
			if (j == i)
				order[k++] = j;
		}
		assert_int_not_equal(verify_order(&l, order, k, &e), 0);
		for (j = 0; j < l.n; j++)
			order[j] = j;
		order[l.n] = i; /* one again at the end */
		assert_int_not_equal(verify_order(&l, order, l.n + 1, &e), 0);
		for (j = i + 1; j < l.n;
		     j++) { /* two swapped: found, unless of different writers side by side */
			bool same = writer_of(&l, i) == writer_of(&l, j);

			for (k = 0; k < l.n; k++)
				order[k] = k;
			order[i] = j;
			order[j] = i;
			if (same || j > i + 3)
				assert_int_not_equal(verify_order(&l, order, l.n, &e), 0);
		}
	}
	free(p);
}

static void test_sentences(void **state)
{
	size_t len, order[16], k, j;
	char *p = sample(&len);
	struct lines l = split(p, len);
	struct err e = {0};

	(void)state;
	for (j = k = 0; j < l.n; j++)
		if (!(writer_of(&l, j) == 'x' && memmem(l.at[j], l.len[j], "\"n\":4,", 6)))
			order[k++] = j;
	assert_int_not_equal(verify_order(&l, order, k, &e), 0);
	assert_string_equal(e.text, "proxy0 line 4 is missing before line 5");
	p[20] ^= 1;
	assert_int_equal(verify(p, len, &e), 1);
	assert_string_equal(e.text, "proxy0 line 1 was changed");
	p[20] ^= 1;
	free(p);
}

static void test_not_lines(void **state)
{
	static const char *const bad[] = {
		"",
		"{}",
		"\"}",
		"{\"mac\":\"\"}",
		"garbage",
		",\"w\":\"proxy0\",\"e\":\"01020300000000000000000000000000\",\"n\":1,\"mac\":\"00\"}",
	};
	struct audit_verify *v = audit_verify_new(find_key, NULL);
	struct err e;
	size_t i, len;
	char *p = sample(&len), *nl = strchr(p, '\n'), other[AUDIT_LINE_MAX];

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(audit_verify_line(v, bad[i], strlen(bad[i]), &e), -EBADMSG);
	for (i = 0; i < (size_t)(nl - p);
	     i++) /* every truncation, flush against the heap's end */ {
		char *cut = malloc(i + 1);

		memcpy(cut, p, i);
		assert_int_equal(audit_verify_line(v, cut, i, &e), -EBADMSG);
		free(cut);
	}
	memcpy(other, p, (size_t)(nl - p)); /* a writer whose key nobody has */
	memcpy(memmem(other, (size_t)(nl - p), "proxy0", 6), "proxy9", 6);
	assert_int_equal(audit_verify_line(v, other, (size_t)(nl - p), &e), -ENOENT);
	assert_int_equal(audit_verify_line(v, p, (size_t)(nl - p), &e), 0);
	audit_verify_free(v);
	free(p);
}

/* After a failed write nothing is recorded any more, and that is said each time. */
static void test_full_disk(void **state)
{
	struct rlimit was, small = {3000, RLIM_INFINITY};
	struct audit_entry en = decision();
	int fd = log_fd(), i;
	struct audit *a = open_log(fd, "proxy0", CONFIG_SYNC_INTERVAL);
	struct err e;
	size_t len;
	char *p;

	(void)state;
	assert_int_equal(audit_flush(a), 0);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
	small.rlim_max = was.rlim_max;
	(void)signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	for (i = 0; i < 10; i++)
		assert_int_equal(audit_add(a, &en, NOW), 0);
	i = audit_flush(a);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
	assert_int_equal(i, -EIO);
	assert_int_equal(audit_flush(a), -EIO);
	assert_int_equal(audit_add(a, &en, NOW), -EIO);
	assert_int_equal(audit_wait_ms(a, 0), -1);
	p = slurp(fd, &len);
	assert_int_equal(len, 3000); /* part of a line is there: seen */
	assert_int_not_equal(verify(p, len, &e), 0);
	free(p);
	audit_free(a);
	close(fd);
}

static int asked, ask_rc;

static int on_ask(void *ctx)
{
	assert_ptr_equal(ctx, &asked);
	asked++;
	return ask_rc;
}

/* Another syncs: asked once, not again before it has answered, and a failure of its is ours. */
static void test_synced_elsewhere(void **state)
{
	struct audit_entry en = decision();
	int fd = log_fd();
	struct audit *a = open_log(fd, "proxy0", CONFIG_SYNC_INTERVAL);

	(void)state;
	asked = ask_rc = 0;
	audit_sync_by(a, on_ask, &asked);
	assert_int_equal(audit_flush(a), 0);
	assert_int_equal(asked, 0);
	usleep((AUDIT_SYNC_MS + 10) * 1000);
	assert_int_equal(audit_flush(a), 0);
	assert_int_equal(asked, 1);
	assert_int_equal(audit_wait_ms(a, UINT64_MAX / 2), -1);
	/* What comes meanwhile waits for the next one. */
	assert_int_equal(audit_add(a, &en, NOW), 0);
	assert_int_equal(audit_flush(a), 0);
	usleep((AUDIT_SYNC_MS + 10) * 1000);
	assert_int_equal(audit_flush(a), 0);
	assert_int_equal(asked, 1);
	audit_synced(a, 0);
	assert_int_equal(audit_wait_ms(a, UINT64_MAX / 2), 0);
	assert_int_equal(audit_flush(a), 0);
	assert_int_equal(asked, 2);
	audit_synced(a, -EINVAL); /* no disk */
	assert_int_equal(audit_add(a, &en, NOW), 0);
	assert_int_equal(audit_flush(a), 0);
	audit_synced(a, -EIO);
	assert_int_equal(audit_add(a, &en, NOW), -EIO);
	assert_int_equal(audit_flush(a), -EIO);
	audit_free(a);
	/* Nor can it be asked. */
	a = open_log(fd, "proxy0", CONFIG_SYNC_INTERVAL);
	audit_sync_by(a, on_ask, &asked);
	ask_rc = -EPIPE;
	assert_int_equal(audit_flush(a), 0);
	usleep((AUDIT_SYNC_MS + 10) * 1000);
	assert_int_equal(audit_flush(a), -EIO);
	audit_free(a);
	/* Who wants every line on disk does not leave it to another. */
	a = open_log(fd, "proxy0", CONFIG_SYNC_ALWAYS);
	asked = 0;
	audit_sync_by(a, on_ask, &asked);
	assert_int_equal(audit_flush(a), 0);
	assert_int_equal(asked, 0);
	audit_free(a);
	close(fd);
}

static void test_closed(void **state)
{
	struct audit_entry en = decision();
	struct audit *a;
	int fd[2];

	(void)state;
	(void)signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe2(fd, O_CLOEXEC), 0);
	a = open_log(fd[1], "proxy0", CONFIG_SYNC_INTERVAL);
	close(fd[0]);
	close(fd[1]);
	assert_int_equal(audit_add(a, &en, NOW), 0);
	assert_int_equal(audit_flush(a), -EIO);
	assert_int_equal(audit_add(a, &en, NOW), -EIO);
	assert_int_equal(audit_flush(a), -EIO);
	audit_free(a);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void test_sync(void **state)
{
	char path[] = "/tmp/test-audit-XXXXXX";
	int fd = mkstemp(path), wait;
	struct audit_entry en = decision();
	struct audit *a = open_log(fd, "proxy0", CONFIG_SYNC_INTERVAL);

	(void)state;
	(void)unlink(path);
	assert_int_equal(audit_wait_ms(a, now_ms()), -1); /* buffered only */
	assert_int_equal(audit_flush(a), 0);
	wait = audit_wait_ms(a, now_ms());
	assert_true(wait >= 0 && wait <= AUDIT_SYNC_MS);
	assert_int_equal(audit_wait_ms(a, now_ms() + 10000), 0);
	assert_int_equal(usleep(AUDIT_SYNC_MS * 1000 + 5000), 0);
	assert_int_equal(audit_flush(a), 0);
	assert_int_equal(audit_wait_ms(a, now_ms()), -1);
	audit_free(a);
	a = open_log(fd, "proxy0", CONFIG_SYNC_ALWAYS);
	assert_int_equal(audit_add(a, &en, NOW), 0);
	assert_int_equal(audit_flush(a), 0);
	assert_int_equal(audit_wait_ms(a, now_ms()), -1);
	audit_free(a);
	close(fd);
}

static void test_writers(void **state)
{
	static const char *const bad[] = {"", "Proxy", "a b", "a\"b", "a\nb", "\xff"};
	struct rpc_audit_key key = first;
	struct audit *a = NULL;
	size_t i;

	(void)state;
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		memset(key.writer, 0, sizeof(key.writer));
		strcpy(key.writer, bad[i]);
		assert_int_equal(audit_new(log_fd(), &key, CONFIG_SYNC_INTERVAL, &a), -EINVAL);
	}
	memset(key.writer, 'a', sizeof(key.writer)); /* no NUL */
	assert_int_equal(audit_new(log_fd(), &key, CONFIG_SYNC_INTERVAL, &a), -EINVAL);
	assert_null(a);
	assert_null(audit_free(NULL));
	assert_null(audit_verify_free(NULL));
}

/* Verifies the first `lines` lines, then the end. */
static int verify_end(const char *p, size_t lines, uint64_t need, size_t *elsewhere, struct err *e)
{
	struct audit_verify *v = audit_verify_new(find_key, NULL);
	int rc = audit_verify_need(v, "proxy0", first.epoch, need);

	for (; lines > 0; lines--) {
		const char *nl = strchr(p, '\n');

		assert_int_equal(audit_verify_line(v, p, (size_t)(nl - p), e), 0);
		p = nl + 1;
	}
	if (rc == 0)
		rc = audit_verify_end(v, elsewhere, e);
	audit_verify_free(v);
	return rc;
}

static void test_missing_end(void **state)
{
	static const char other[] = "99999999999999999999999999999999";
	struct audit_entry en = {.kind = AUDIT_DECISION, .host = "a\",\"of_n\":9", .host_len = 11},
			   head = {.kind = AUDIT_HEAD, .of = "proxy0", .of_n = 3},
			   away = {.kind = AUDIT_HEAD,
				   .of = "proxy1",
				   .of_epoch = other,
				   .of_n = 7};
	char epoch[AUDIT_EPOCH_HEX + 1], *p;
	int fd = log_fd(), i;
	struct audit *a = open_log(fd, "proxy0", CONFIG_SYNC_INTERVAL),
		     *b = open_log(fd, "parent", CONFIG_SYNC_INTERVAL);
	struct err e = {""};
	size_t len, elsewhere = 9;

	(void)state;
	assert_int_equal(audit_recorded(a, epoch), 0); /* its first line is not written yet */
	head.of_epoch = epoch;
	for (i = 0; i < 2; i++)
		assert_int_equal(audit_add(a, &en, NOW), 0);
	assert_int_equal(audit_flush(b), 0); /* line 1 of the file: parent 1 */
	assert_int_equal(audit_flush(a), 0); /* 2 to 4: proxy0 1 to 3 */
	assert_int_equal(audit_recorded(a, NULL), 3);
	assert_int_equal(audit_add(b, &away, NOW), 0);
	assert_int_equal(audit_flush(b), 0); /* 5 */
	p = slurp(fd, &len);
	assert_int_equal(verify_end(p, 5, 3, &elsewhere, &e), 0);
	assert_int_equal(elsewhere, 1);
	assert_int_equal(verify_end(p, 5, 4, &elsewhere, &e), -EBADMSG);
	assert_non_null(strstr(e.text, "its end is missing"));
	assert_int_equal(verify_end(p, 3, 3, &elsewhere, &e), -EBADMSG);
	assert_int_equal(verify_end(p, 1, 1, &elsewhere, &e), -EBADMSG); /* not there at all */
	assert_int_equal(verify_end(p, 1, 0, &elsewhere, &e), 0);
	free(p);
	assert_int_equal(audit_add(b, &head, NOW), 0);
	head.of_n = 4;
	assert_int_equal(audit_add(b, &head, NOW), 0);
	assert_int_equal(audit_flush(b), 0); /* 6 and 7 */
	p = slurp(fd, &len);
	assert_non_null(strstr(p, ",\"of\":\"proxy0\",\"of_e\":\""));
	assert_int_equal(verify_end(p, 6, 0, &elsewhere, &e), 0);
	assert_int_equal(verify_end(p, 7, 0, &elsewhere, &e), -EBADMSG);
	free(p);
	assert_false(audit_writer("") || audit_writer("Proxy0") ||
		     audit_writer("a-name-that-is-too-long"));
	audit_free(a);
	audit_free(b);
	close(fd);
}

static void test_renewed(void **state)
{
	struct rpc_audit_key other = second;
	struct audit_entry en = decision();
	int fd[2] = {log_fd(), log_fd()}, closed = fcntl(fd[0], F_DUPFD_CLOEXEC, 3);
	struct audit *a = open_log(fd[0], "proxy0", CONFIG_SYNC_INTERVAL);
	char *p, epoch[AUDIT_EPOCH_HEX + 1];
	uint64_t n = 99;
	struct err e;
	size_t len;

	(void)state;
	assert_int_equal(audit_add(a, &en, NOW), 0); /* is in the buffer, and belongs to the old file */
	/* A key of another writer's: nothing is done. */
	other.writer[5] = '1';
	assert_int_equal(audit_renew(a, fd[1], &other, &n), -EINVAL);
	assert_int_equal(lseek(fd[1], 0, SEEK_END), 0);
	assert_int_equal(audit_add(a, &en, NOW), 0);
	assert_int_equal(audit_renew(a, fd[1], &second, &n), 0);
	assert_int_equal(n, 3);
	assert_int_equal(audit_recorded(a, epoch), 1);
	assert_string_equal(epoch, "04050600000000000000000000000000");
	assert_int_equal(audit_add(a, &en, NOW), 0);
	assert_int_equal(audit_flush(a), 0);
	p = slurp(fd[0], &len);
	assert_int_equal(verify(p, len, &e), 0);
	assert_null(strstr(p, "\"n\":4"));
	free(p);
	/* The other one stands alone. */
	p = slurp(fd[1], &len);
	assert_int_equal(verify(p, len, &e), 0);
	assert_non_null(strstr(p, "\"kind\":\"start\""));
	assert_non_null(strstr(p, "\"n\":2"));
	free(p);
	/* A file that cannot be: nothing goes on. */
	close(closed);
	assert_int_equal(audit_renew(a, closed, &second, &n), -EBADF);
	assert_int_equal(audit_add(a, &en, NOW), -EIO);
	audit_free(a);
	close(fd[0]);
	close(fd[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_fields),      cmocka_unit_test(test_kinds),
		cmocka_unit_test(test_hostile),     cmocka_unit_test(test_every_byte),
		cmocka_unit_test(test_longest),     cmocka_unit_test(test_changed_byte),
		cmocka_unit_test(test_moved_lines), cmocka_unit_test(test_sentences),
		cmocka_unit_test(test_not_lines),   cmocka_unit_test(test_full_disk),
		cmocka_unit_test(test_synced_elsewhere),
		cmocka_unit_test(test_closed),      cmocka_unit_test(test_sync),
		cmocka_unit_test(test_writers),     cmocka_unit_test(test_chain),
		cmocka_unit_test(test_missing_end), cmocka_unit_test(test_renewed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
