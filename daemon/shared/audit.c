/* audit.c: see audit.h. Lines are written straight into the batch's buffer by a bounded JSON writer: each
 * field has a most in bytes of output, and the sum of them all, with every key, is under AUDIT_LINE_MAX,
 * so that no input makes a line that does not fit. A line's mac is made over the bytes as they lie there.
 */
#include "audit_in.h"
#include "origin.h"
#include "wr.h"

#include <assert.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>

#define AUDIT_BUF 65536

/* Most bytes of output of each string, between its quotes. */
#define AUDIT_NAME_OUT   64 /* workspace, method, scheme */
#define AUDIT_COMM_OUT   100 /* comm, agent */
#define AUDIT_HOST_OUT   300 /* sni, host, rule */
#define AUDIT_PATH_OUT   1536
#define AUDIT_DETAIL_OUT 400
#define AUDIT_SECRET_OUT 132
/* Keys, quotes, numbers of up to 20 digits, time, address, of, w, e, n, mac. */
#define AUDIT_FIXED_OUT 950
_Static_assert(4 * AUDIT_NAME_OUT + 2 * AUDIT_COMM_OUT + 3 * AUDIT_HOST_OUT + AUDIT_PATH_OUT +
			       AUDIT_DETAIL_OUT + AUDIT_SECRETS_MAX * (AUDIT_SECRET_OUT + 3) +
			       AUDIT_FIXED_OUT <
		       AUDIT_LINE_MAX,
	       "the longest line fits");

struct audit {
	int fd;
	enum config_audit_sync sync;
	bool failed;
	bool unsynced;
	uint64_t unsynced_ms; /* since when */
	int (*ask)(void *ctx); /* NULL: synced here */
	void *ask_ctx;
	bool asked;
	char writer[AUDIT_WRITER_MAX];
	char epoch[2 * AUDIT_EPOCH_LEN + 1];
	uint8_t key[AUDIT_KEY_LEN]; /* of the next line */
	uint8_t mac[AUDIT_MAC_LEN]; /* of the last line */
	uint64_t n;                 /* of the last line */
	uint64_t recorded;          /* of the last line that is in the file */
	size_t len;
	uint8_t buf[AUDIT_BUF];
};

/* ---- writing JSON ---- */

/* Bytes of the UTF-8 character at p, 0 when it is none (overlong, surrogate, beyond U+10FFFF, cut). */
static size_t audit_utf8(const uint8_t *p, size_t left)
{
	uint8_t lo = 0x80, hi = 0xbf;
	size_t n, i;

	if (p[0] < 0x80)
		return 1;
	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		n = 2;
	else if (p[0] >= 0xe0 && p[0] <= 0xef)
		n = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (left < n)
		return 0;
	if (p[0] == 0xe0)
		lo = 0xa0;
	else if (p[0] == 0xed)
		hi = 0x9f;
	else if (p[0] == 0xf0)
		lo = 0x90;
	else if (p[0] == 0xf4)
		hi = 0x8f;
	if (p[1] < lo || p[1] > hi)
		return 0;
	for (i = 2; i < n; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return n;
}

/* One character as it stands between JSON's quotes: its bytes in out (at most 6), *used of the input.
 * Control characters, C1 among them, never reach a terminal that the log is shown on. */
static size_t audit_char(const uint8_t *p, size_t left, uint8_t out[8], size_t *used)
{
	size_t n = audit_utf8(p, left);

	*used = n ? n : 1;
	if (n == 0)
		return (size_t)snprintf((char *)out, 8, "\\ufffd");
	if (n == 1 && (p[0] == '"' || p[0] == '\\')) {
		out[0] = '\\';
		out[1] = p[0];
		return 2;
	}
	if (n == 1 && (p[0] < 0x20 || p[0] == 0x7f))
		return (size_t)snprintf((char *)out, 8, "\\u%04x", p[0]);
	if (n == 2 && p[0] == 0xc2 && p[1] < 0xa0)
		return (size_t)snprintf((char *)out, 8, "\\u%04x", p[1]);
	memcpy(out, p, n);
	return n;
}

/* How many bytes from s on stand for themselves. */
static size_t audit_plain(const char *s, size_t len)
{
	size_t n = 0;

	while (n < len && s[n] >= 0x20 && s[n] < 0x7f && s[n] != '"' && s[n] != '\\')
		n++;
	return n;
}

static void audit_quoted(struct wr *w, const char *s, size_t len, size_t most)
{
	size_t at = audit_plain(s, len < most - 3 ? len : most - 3), written = at;

	wr_u8(w, '"');
	wr_bytes(w, s, at);
	while (at < len) {
		uint8_t out[8];
		size_t used, n = audit_char((const uint8_t *)s + at, len - at, out, &used);

		if (written + n > most - 3) {
			wr_str(w, "\xe2\x80\xa6"); /* … */
			break;
		}
		wr_bytes(w, out, n);
		written += n;
		at += used;
	}
	wr_u8(w, '"');
}

/* The key with its comma; the time before it is always there. */
static inline void audit_key_name(struct wr *w, const char *key)
{
	wr_str(w, ",\"");
	wr_str(w, key);
	wr_str(w, "\":");
}

static void audit_text(struct wr *w, const char *key, const char *s, size_t len, size_t most)
{
	if (!s || len == 0)
		return;
	audit_key_name(w, key);
	audit_quoted(w, s, len, most);
}

static void audit_word(struct wr *w, const char *key, const char *s, size_t most)
{
	if (s)
		audit_text(w, key, s, strlen(s), most);
}

static void audit_number(struct wr *w, const char *key, uint64_t v)
{
	audit_key_name(w, key);
	wr_decimal(w, v, 1);
}

static void audit_number_if(struct wr *w, const char *key, uint64_t v)
{
	if (v)
		audit_number(w, key, v);
}

/* Proleptic Gregorian date of a day count since 1970-01-01: gmtime_r() may open a file, which a locked
 * process must not. Years are counted from March, so that the leap day is the last. */
static void audit_date(uint64_t days, unsigned int *y, unsigned int *m, unsigned int *d)
{
	uint64_t z = days + 719468, era = z / 146097;
	uint64_t doe = z % 146097;
	uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	uint64_t mp = (5 * doy + 2) / 153;

	*d = (unsigned int)(doy - (153 * mp + 2) / 5 + 1);
	*m = (unsigned int)(mp < 10 ? mp + 3 : mp - 9);
	*y = (unsigned int)(yoe + era * 400 + (*m <= 2 ? 1 : 0));
}

static void audit_time(struct wr *w, uint64_t ns)
{
	uint64_t s = ns / 1000000000;
	unsigned int y, m, d, in_day = (unsigned int)(s % 86400);

	audit_date(s / 86400, &y, &m, &d);
	wr_str(w, "{\"time\":\"");
	wr_decimal(w, y, 4);
	wr_u8(w, '-');
	wr_decimal(w, m, 2);
	wr_u8(w, '-');
	wr_decimal(w, d, 2);
	wr_u8(w, 'T');
	wr_decimal(w, in_day / 3600, 2);
	wr_u8(w, ':');
	wr_decimal(w, in_day / 60 % 60, 2);
	wr_u8(w, ':');
	wr_decimal(w, in_day % 60, 2);
	wr_u8(w, '.');
	wr_decimal(w, ns % 1000000000 / 1000, 6);
	wr_str(w, "Z\"");
}

static void audit_destination(struct wr *w, const uint8_t addr[16], uint16_t port)
{
	bool v4 = origin_is_v4(addr);
	char text[ORIGIN_TEXT_MAX];

	audit_key_name(w, "dst");
	wr_str(w, v4 ? "\"" : "\"[");
	wr_str(w, origin_text(addr, text));
	wr_str(w, v4 ? ":" : "]:");
	wr_decimal(w, port, 1);
	wr_u8(w, '"');
}

static void audit_names(struct wr *w, const struct audit_entry *en)
{
	uint32_t i, n = en->secret_count < AUDIT_SECRETS_MAX ? en->secret_count : AUDIT_SECRETS_MAX;

	if (n == 0)
		return;
	audit_key_name(w, "secrets");
	wr_u8(w, '[');
	for (i = 0; i < n; i++) {
		if (i)
			wr_u8(w, ',');
		audit_quoted(w, en->secrets[i], strlen(en->secrets[i]), AUDIT_SECRET_OUT);
	}
	wr_u8(w, ']');
}

static const char *audit_kind_word(enum audit_kind kind)
{
	switch (kind) {
	case AUDIT_DECISION:
		return "decision";
	case AUDIT_OUTCOME:
		return "outcome";
	case AUDIT_KERNEL:
		return "kernel";
	case AUDIT_ADMIN:
		return "admin";
	case AUDIT_START:
		return "start";
	case AUDIT_HEAD:
		return "head";
	}
	return "unknown";
}

static void audit_who(struct wr *w, const struct audit_entry *en)
{
	audit_number_if(w, "id", en->id);
	audit_number_if(w, "guard", en->guard);
	audit_word(w, "workspace", en->workspace, AUDIT_NAME_OUT);
	audit_number_if(w, "pid", en->pid);
	if (en->has_uid)
		audit_number(w, "uid", en->uid);
	audit_text(w, "comm", en->comm, en->comm_len, AUDIT_COMM_OUT);
	audit_number_if(w, "cgroup", en->cgroup);
	audit_text(w, "agent", en->agent, en->agent_len, AUDIT_COMM_OUT);
}

static void audit_where(struct wr *w, const struct audit_entry *en)
{
	if (en->addr)
		audit_destination(w, en->addr, en->port);
	audit_word(w, "scheme", en->scheme, AUDIT_NAME_OUT);
	audit_word(w, "sni", en->sni, AUDIT_HOST_OUT);
	audit_text(w, "host", en->host, en->host_len, AUDIT_HOST_OUT);
	audit_number_if(w, "port", en->host_port);
	audit_text(w, "method", en->method, en->method_len, AUDIT_NAME_OUT);
	audit_text(w, "path", en->path, en->path_len, AUDIT_PATH_OUT);
}

static void audit_what(struct wr *w, const struct audit_entry *en)
{
	audit_word(w, "rule", en->rule, AUDIT_HOST_OUT);
	if (en->kind == AUDIT_DECISION || en->kind == AUDIT_KERNEL)
		audit_word(w, "verdict", en->allow ? "allow" : "deny", AUDIT_NAME_OUT);
	if (en->reason != REASON_NONE)
		audit_word(w, "reason", reason_word(en->reason), AUDIT_NAME_OUT);
	audit_word(w, "detail", en->detail, AUDIT_DETAIL_OUT);
	audit_names(w, en);
	audit_word(w, "foreign_credential", en->foreign, AUDIT_NAME_OUT);
	audit_number_if(w, "status", en->status > 0 ? (uint64_t)en->status : 0);
	audit_number_if(w, "bytes_up", en->bytes_up);
	audit_number_if(w, "bytes_down", en->bytes_down);
	audit_number_if(w, "redacted", en->redacted);
	if (en->has_ms)
		audit_number(w, "ms", en->ms);
	audit_number_if(w, "count", en->count);
	if (en->kind != AUDIT_HEAD)
		return;
	/* In no other line, and last, so that the verifier finds them. */
	audit_word(w, "of", en->of, AUDIT_WRITER_MAX + 3);
	audit_word(w, "of_e", en->of_epoch, AUDIT_EPOCH_HEX + 4);
	audit_number(w, "of_n", en->of_n);
}

/* w, e, n: what the mac covers ends here. */
static void audit_place(struct wr *w, const struct audit *a)
{
	audit_word(w, "w", a->writer, AUDIT_WRITER_MAX + 3);
	audit_word(w, "e", a->epoch, sizeof(a->epoch) + 3);
	audit_number(w, "n", a->n + 1);
}

/* ---- the log ---- */

static uint64_t audit_clock(clockid_t id)
{
	struct timespec ts;

	(void)clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

int audit_add(struct audit *a, const struct audit_entry *en, uint64_t now_ns)
{
	char hex[2 * AUDIT_MAC_LEN + 1];
	struct wr w;

	if (a->failed)
		return -EIO;
	if (sizeof(a->buf) - a->len < AUDIT_LINE_MAX) {
		int rc = audit_flush(a);

		if (rc < 0)
			return rc;
	}
	w = wr_of(a->buf + a->len, AUDIT_LINE_MAX);
	audit_time(&w, now_ns);
	audit_word(&w, "kind", audit_kind_word(en->kind), AUDIT_NAME_OUT);
	audit_who(&w, en);
	audit_where(&w, en);
	audit_what(&w, en);
	audit_place(&w, a);
	assert(!w.full); /* the static assert above */
	audit_step(a->key, a->mac, w.p, w.len);
	(void)sodium_bin2hex(hex, sizeof(hex), a->mac, sizeof(a->mac));
	audit_key_name(&w, "mac");
	wr_u8(&w, '"');
	wr_str(&w, hex);
	wr_str(&w, "\"}\n");
	assert(!w.full);
	a->n++;
	a->len += w.len;
	return 0;
}

void audit_sync_by(struct audit *a, int (*ask)(void *ctx), void *ctx)
{
	a->ask = ask;
	a->ask_ctx = ctx;
}

void audit_synced(struct audit *a, int rc)
{
	a->asked = false;
	/* A log that is no file (a pipe, a terminal) has no disk to wait for; who wants `always` is told. */
	a->failed |= rc < 0 && (rc != -EINVAL || a->sync == CONFIG_SYNC_ALWAYS);
}

/* What is in the file but perhaps not on the disk. */
static int audit_sync(struct audit *a)
{
	uint64_t now = audit_clock(CLOCK_MONOTONIC) / 1000000;

	if (!a->unsynced || a->asked ||
	    (a->sync != CONFIG_SYNC_ALWAYS && now - a->unsynced_ms < AUDIT_SYNC_MS))
		return 0;
	a->unsynced = false; /* what comes while it is under way is the next one's */
	if (!a->ask || a->sync == CONFIG_SYNC_ALWAYS) {
		audit_synced(a, fdatasync(a->fd) < 0 ? -errno : 0);
	} else {
		a->asked = true;
		if (a->ask(a->ask_ctx) < 0)
			audit_synced(a, -EIO);
	}
	return a->failed ? -EIO : 0;
}

static int audit_write(struct audit *a)
{
	ssize_t n;

	do
		n = write(a->fd, a->buf, a->len);
	while (n < 0 && errno == EINTR);
	if (n != (ssize_t)a->len) {
		a->failed = true;
		/* Part of a line must not spoil the next writer's; when even this fails, verification says so. */
		if (n > 0 && write(a->fd, "\n", 1) < 0)
			return -EIO;
		return -EIO;
	}
	a->len = 0;
	a->recorded = a->n;
	if (!a->unsynced)
		a->unsynced_ms = audit_clock(CLOCK_MONOTONIC) / 1000000;
	a->unsynced = true;
	return 0;
}

int audit_flush(struct audit *a)
{
	int rc = 0;

	if (a->failed)
		return -EIO;
	if (a->len)
		rc = audit_write(a);
	return rc < 0 ? rc : audit_sync(a);
}

uint64_t audit_recorded(const struct audit *a, char epoch_hex[AUDIT_EPOCH_HEX + 1])
{
	if (epoch_hex)
		memcpy(epoch_hex, a->epoch, sizeof(a->epoch));
	return a->recorded;
}

int audit_wait_ms(const struct audit *a, uint64_t now_ms)
{
	uint64_t due = a->unsynced_ms + AUDIT_SYNC_MS;

	if (a->failed || !a->unsynced || a->asked)
		return -1;
	return due > now_ms ? (int)(due - now_ms) : 0;
}

/* The first line of a chain. */
static int audit_begin(struct audit *a, const struct rpc_audit_key *key)
{
	struct audit_entry start = {.kind = AUDIT_START, .pid = (uint32_t)getpid()};

	a->n = a->recorded = 0;
	memset(a->mac, 0, sizeof(a->mac));
	memcpy(a->key, key->key, sizeof(a->key));
	(void)sodium_bin2hex(a->epoch, sizeof(a->epoch), key->epoch, sizeof(key->epoch));
	return audit_add(a, &start, audit_clock(CLOCK_REALTIME));
}

int audit_new(int fd, const struct rpc_audit_key *key, enum config_audit_sync sync,
	      struct audit **ret)
{
	auto_close int owned = fd;
	struct audit *a;
	size_t n = strnlen(key->writer, sizeof(key->writer));
	int rc;

	if (!audit_writer_ok(key->writer, n))
		return -EINVAL;
	if (sodium_init() < 0)
		return -EIO;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->sync = sync;
	memcpy(a->writer, key->writer, n);
	a->fd = take_fd(&owned);
	rc = audit_begin(a, key);
	if (rc < 0) {
		a = audit_free(a);
		return rc;
	}
	*ret = a;
	return 0;
}

int audit_renew(struct audit *a, int fd, const struct rpc_audit_key *key, uint64_t *ret_n)
{
	int rc = audit_flush(a);

	if (rc == 0 && strncmp(a->writer, key->writer, sizeof(a->writer)) != 0)
		return -EINVAL;
	if (rc == 0 && (a->unsynced || a->asked) && fdatasync(a->fd) < 0)
		rc = -errno;
	/* The number stays, and so does who syncs it. */
	if (rc == 0 && dup3(fd, a->fd, O_CLOEXEC) < 0)
		rc = -errno;
	if (rc == 0) {
		*ret_n = a->recorded;
		a->unsynced = false;
		rc = audit_begin(a, key);
	}
	if (rc == 0)
		rc = audit_flush(a);
	a->failed |= rc < 0;
	return rc;
}

struct audit *audit_free(struct audit *a)
{
	if (!a)
		return NULL;
	/* Nobody is left to refuse anything when this fails. */
	if (audit_flush(a) == 0 && (a->unsynced || a->asked))
		(void)fdatasync(a->fd);
	own_close(&a->fd);
	sodium_memzero(a->key, sizeof(a->key));
	free(a);
	return NULL;
}
