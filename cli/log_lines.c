/* log_lines.c: see log_lines.h. */
#include "log_lines.h"

#include "client.h"
#include "show.h"
#include "typed.h"

#include <stdlib.h>
#include <string.h>

int log_lines_open(struct log_lines *l, int fd, off_t at, struct err *e)
{
	*l = (struct log_lines){.fd = fd, .at = at, .buf = malloc(LOG_LINES_ROOM)};
	return l->buf ? 0 : err_set(e, -ENOMEM, "out of memory");
}

void log_lines_done(struct log_lines *l)
{
	free(l->buf);
	l->buf = NULL;
}

/* Moves what is left to the front and reads behind it; bytes read. */
static ssize_t fill(struct log_lines *l)
{
	ssize_t n;

	memmove(l->buf, l->buf + l->used, l->len - l->used);
	l->at += (off_t)l->used;
	l->len -= l->used;
	l->used = 0;
	do
		n = pread(l->fd, l->buf + l->len, LOG_LINES_ROOM - l->len, l->at + (off_t)l->len);
	while (n < 0 && errno == EINTR);
	if (n > 0)
		l->len += (size_t)n;
	return n < 0 ? -errno : n;
}

int log_lines_next(struct log_lines *l, const char **line, size_t *len, struct err *e)
{
	for (;;) {
		const char *end = memchr(l->buf + l->used, '\n', l->len - l->used);
		ssize_t n;

		if (end) {
			*line = l->buf + l->used;
			*len = (size_t)(end - *line);
			l->used += *len + 1;
			return 1;
		}
		if (l->len - l->used == LOG_LINES_ROOM)
			return err_set(e, -EBADMSG, "a line at byte %lld is longer than any that we write",
				       (long long)l->at);
		n = fill(l);
		if (n < 0)
			return err_set(e, (int)n, "the log cannot be read: %s", strerror((int)-n));
		if (n == 0) {
			*len = l->len;
			return 0;
		}
	}
}

int log_lines_tail(int fd, uint64_t n, off_t *ret, struct err *e)
{
	off_t end = lseek(fd, 0, SEEK_END), at = end;
	char buf[8192];
	uint64_t seen = 0;

	if (end < 0)
		return err_set(e, -errno, "the log cannot be read: %s", strerror(errno));
	while (at > 0) {
		size_t want = at < (off_t)sizeof(buf) ? (size_t)at : sizeof(buf);
		ssize_t got = pread(fd, buf, want, at - (off_t)want);

		if (got != (ssize_t)want)
			return err_set(e, -EIO, "the log cannot be read: %s", got < 0 ? strerror(errno) : "cut short");
		for (size_t i = want; i-- > 0;)
			if (buf[i] == '\n' && at - (off_t)want + (off_t)i != end - 1 && ++seen == n) {
				*ret = at - (off_t)want + (off_t)i + 1;
				return 0;
			}
		at -= (off_t)want;
	}
	*ret = 0;
	return 0;
}

/* RFC 3339 with a fraction, as we write it; 0 when it is not one. */
static uint64_t time_of(const json_t *j)
{
	char text[20];
	uint64_t ns;

	(void)snprintf(text, sizeof(text), "%.19s", client_text(j, "time"));
	return typed_since(text, 0, &ns, NULL) ? 0 : ns;
}

bool log_lines_pass(const struct log_filter *f, const char *line, size_t len)
{
	auto_json json_t *j = NULL;

	if (!f->since_ns && !f->workspace && !f->no_probes)
		return true;
	j = json_loadb(line, len, 0, NULL);
	if (f->no_probes && !strcmp(client_text(j, "detail"), LOG_LINES_PROBE))
		return false;
	if (!f->since_ns && !f->workspace)
		return true;
	if (!j || (f->since_ns && time_of(j) < f->since_ns - f->since_ns % 1000000000u))
		return false;
	return !f->workspace || !strcmp(client_text(j, "workspace"), f->workspace);
}

static void word(FILE *f, const json_t *j, const char *key, const char *before)
{
	if (!client_text(j, key)[0])
		return;
	(void)fputs(before, f);
	show_text(f, client_text(j, key));
}

static void number(FILE *f, const json_t *j, const char *key, const char *format)
{
	json_int_t v = client_number(j, key);

	if (v) {
		(void)fputs(format, f);
		(void)fprintf(f, "%lld", (long long)v);
	}
}

/* Method, and host with path, or where the connection was going. */
static void target(FILE *f, const json_t *j)
{
	json_int_t port = client_number(j, "port");

	word(f, j, "method", " ");
	if (!client_text(j, "host")[0]) {
		word(f, j, "dst", " ");
		return;
	}
	word(f, j, "host", " ");
	if (port && port != 443)
		(void)fprintf(f, ":%lld", (long long)port);
	word(f, j, "path", "");
}

static void secrets(FILE *f, const json_t *j)
{
	const json_t *list = json_object_get(j, "secrets"), *v;
	size_t i;

	json_array_foreach(list, i, v) {
		(void)fputs(i ? "," : " secrets=", f);
		show_text(f, json_string_value(v) ? json_string_value(v) : "?");
	}
}

void log_lines_print(FILE *f, const char *line, size_t len)
{
	auto_json json_t *j = json_loadb(line, len, 0, NULL);
	const char *verdict = client_text(j, "verdict"), *when = client_text(j, "time");

	if (!json_is_object(j)) {
		(void)fputs("(not a line of ours) ", f);
		show_clean(f, line, len);
		(void)fputc('\n', f);
		return;
	}
	show_clean(f, when, strnlen(when, 19));
	word(f, j, "workspace", " ");
	(void)fputc(' ', f);
	show_text(f, verdict[0] ? verdict : client_text(j, "kind"));
	target(f, j);
	word(f, j, "reason", " ");
	word(f, j, "detail", " ");
	secrets(f, j);
	number(f, j, "status", " status=");
	number(f, j, "bytes_up", " up=");
	number(f, j, "bytes_down", " down=");
	number(f, j, "redacted", " redacted=");
	number(f, j, "ms", " ms=");
	number(f, j, "count", " count=");
	number(f, j, "pid", " pid=");
	word(f, j, "comm", " ");
	(void)fputc('\n', f);
}
