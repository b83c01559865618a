/* cmd_log.c: `agentsecrets log`, `log verify` and `log rotate`. The daemon hands over the open file; all else happens here. */
#include "audit.h"
#include "cli.h"
#include "client.h"
#include "log_lines.h"
#include "show.h"
#include "typed.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#define FOLLOW_NS 200000000L
#define CUT_TRIES 3
#define EPOCH_LEN 16
#define KEY_LEN 32

static int open_log(const struct cli *c, int *ret, struct err *e)
{
	auto_json json_t *a = NULL;
	int rc = client_call(c, client_request(c, "log.open", false), -1, &a, ret, e);

	if (!rc && *ret < 0)
		return err_set(e, -EPROTO, "agentsecretsd sent no file");
	return rc;
}

/* What `log rotate` kept. */
static int open_kept(const char *path, int *ret, struct err *e)
{
	*ret = open(path, O_RDONLY | O_CLOEXEC);
	return *ret < 0 ? err_set(e, -errno, "cannot open %s: %s", path, strerror(errno)) : 0;
}

struct wanted {
	struct log_filter filter;
	uint64_t last; /* lines from the end; UINT64_MAX: all */
	bool follow;
};

static int what(const struct cli *c, struct wanted *w, struct err *e)
{
	const char *since = args_value(&c->args, 's'), *last = args_value(&c->args, 'n');
	struct timespec now;

	*w = (struct wanted){.filter.workspace = args_value(&c->args, 'w'), .last = UINT64_MAX};
	w->follow = args_value(&c->args, 'F') != NULL;
	w->filter.no_probes = !c->json && !args_value(&c->args, 'a');
	(void)clock_gettime(CLOCK_REALTIME, &now);
	if (last) {
		if (!last[0] || strlen(last) > 9 || strspn(last, "0123456789") != strlen(last))
			return err_set(e, -EINVAL, "\"%.40s\" is not a number of lines", last);
		w->last = strtoull(last, NULL, 10);
	}
	return since ? typed_since(since, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec,
				   &w->filter.since_ns, e)
		     : 0;
}

static void put(const struct cli *c, const char *line, size_t len)
{
	if (!c->json) {
		log_lines_print(stdout, line, len);
		return;
	}
	(void)fwrite(line, 1, len, stdout);
	(void)fputc('\n', stdout);
}

/* The last n lines that pass: how many pass is counted first when only some lines do. */
static int to_skip(int fd, const struct wanted *w, off_t *at, uint64_t *skip, struct err *e)
{
	struct log_lines l;
	const char *line;
	uint64_t passed = 0;
	size_t len;
	int rc;

	*skip = 0;
	*at = 0;
	if (w->last == UINT64_MAX)
		return 0;
	if (!w->filter.since_ns && !w->filter.workspace && !w->filter.no_probes && w->last > 0)
		return log_lines_tail(fd, w->last, at, e);
	rc = log_lines_open(&l, fd, 0, e);
	while (!rc && (rc = log_lines_next(&l, &line, &len, e)) > 0) {
		passed += log_lines_pass(&w->filter, line, len);
		rc = 0;
	}
	log_lines_done(&l);
	*skip = passed > w->last ? passed - w->last : 0;
	return rc;
}

static int print_from(const struct cli *c, int fd, const struct wanted *w, off_t at, uint64_t skip, struct err *e)
{
	const struct timespec pause = {.tv_nsec = FOLLOW_NS};
	struct log_lines l;
	const char *line;
	size_t len;
	int rc = log_lines_open(&l, fd, at, e);

	while (!rc) {
		rc = log_lines_next(&l, &line, &len, e);
		if (rc > 0) {
			rc = 0;
			if (!log_lines_pass(&w->filter, line, len))
				continue;
			if (skip > 0)
				skip--;
			else
				put(c, line, len);
			continue;
		}
		if (rc || !w->follow || fflush(stdout))
			break;
		(void)nanosleep(&pause, NULL);
	}
	log_lines_done(&l);
	return rc;
}

int cmd_log(struct cli *c)
{
	auto_close int fd = -1;
	struct wanted w;
	struct err e = {""};
	uint64_t skip;
	off_t at;

	if (what(c, &w, &e))
		return cli_usage(c, "%s", e.text);
	if (w.follow && args_value(&c->args, 'O'))
		return cli_usage(c, "--follow goes with the log itself: nothing comes into an older file");
	if ((args_value(&c->args, 'O') ? open_kept(args_value(&c->args, 'O'), &fd, &e) : open_log(c, &fd, &e)) ||
	    to_skip(fd, &w, &at, &skip, &e) || print_from(c, fd, &w, at, skip, &e))
		return cli_fail(&e);
	return show_end();
}

/* ---- verify ---- */

struct asked {
	const struct cli *c;
	size_t writers;
	struct err e; /* why a key could not be had */
};

static int unhex(const char *hex, uint8_t *out, size_t len)
{
	if (strlen(hex) != 2 * len || strspn(hex, "0123456789abcdef") != 2 * len)
		return -EPROTO;
	for (size_t i = 0; i < len; i++) {
		const char pair[3] = {hex[2 * i], hex[2 * i + 1], '\0'};

		out[i] = (uint8_t)strtoul(pair, NULL, 16);
	}
	return 0;
}

static int key_of(void *ctx, const char *writer, const uint8_t epoch[EPOCH_LEN], uint8_t key[KEY_LEN])
{
	struct asked *q = ctx;
	auto_json json_t *a = NULL, *request = client_request(q->c, "log.key", false);
	char hex[2 * EPOCH_LEN + 1];
	int rc;

	for (size_t i = 0; i < EPOCH_LEN; i++)
		(void)snprintf(hex + 2 * i, 3, "%02x", epoch[i]);
	(void)json_object_set_new(request, "writer", json_string(writer));
	(void)json_object_set_new(request, "epoch", json_string(hex));
	rc = client_call(q->c, take(request), -1, &a, NULL, &q->e);
	if (!rc)
		rc = unhex(client_text(a, "key"), key, KEY_LEN);
	q->writers += rc == 0;
	return rc;
}

/* A line that is being written may be seen in part for a moment. */
static int next_whole(struct log_lines *l, const char **line, size_t *len, struct err *e)
{
	const struct timespec pause = {.tv_nsec = FOLLOW_NS};
	int rc = log_lines_next(l, line, len, e);

	for (int i = 0; i < CUT_TRIES && rc == 0 && *len > 0; i++) {
		(void)nanosleep(&pause, NULL);
		rc = log_lines_next(l, line, len, e);
	}
	return rc;
}

/* Every line of the file; stops at the first that is wrong. */
static int walk(int fd, struct audit_verify *v, uint64_t *lines, struct err *e)
{
	struct log_lines l;
	const char *line;
	uint64_t before = *lines;
	size_t len = 0;
	int rc = log_lines_open(&l, fd, 0, e);

	if (rc)
		return rc;
	while ((rc = next_whole(&l, &line, &len, e)) > 0) {
		rc = audit_verify_line(v, line, len, e);
		if (rc) {
			rc = err_in(e, rc, "line %llu of the file", (unsigned long long)(*lines - before + 1));
			break;
		}
		++*lines;
	}
	log_lines_done(&l);
	if (!rc && len > 0)
		return err_set(e, -EBADMSG, "the last line is cut: %zu bytes without an end", len);
	return rc;
}

/* How far the writers that run have come, asked before the log is read. */
static int ask_heads(const struct cli *c, struct audit_verify *v, struct err *e)
{
	auto_json json_t *a = NULL;
	json_t *list, *head;
	size_t i;
	int rc = client_call(c, client_request(c, "log.heads", false), -1, &a, NULL, e);

	list = rc ? NULL : json_object_get(a, "heads");
	json_array_foreach(list, i, head) {
		uint8_t epoch[EPOCH_LEN];

		rc = unhex(client_text(head, "epoch"), epoch, EPOCH_LEN);
		if (!rc)
			rc = audit_verify_need(v, client_text(head, "writer"), epoch,
					       (uint64_t)json_integer_value(json_object_get(head, "n")));
		if (rc)
			return err_set(e, rc, "agentsecretsd says what makes no sense of its log's writers");
	}
	return rc;
}

static int report(const struct cli *c, uint64_t lines, size_t writers, size_t elsewhere)
{
	auto_json json_t *out = NULL;

	if (!c->json) {
		(void)printf("%llu line%s, %zu writer%s, verified\n", (unsigned long long)lines, lines == 1 ? "" : "s",
			     writers, writers == 1 ? "" : "s");
		if (elsewhere)
			(void)printf("%zu earlier writer%s not in this file\n", elsewhere, elsewhere == 1 ? " is" : "s are");
		return show_end();
	}
	out = json_pack("{s:I,s:I,s:I,s:b}", "lines", (json_int_t)lines, "writers", (json_int_t)writers, "elsewhere",
			(json_int_t)elsewhere, "verified", 1);
	return show_json(out);
}

static int walk_kept(const char *path, struct audit_verify *v, uint64_t *lines, struct err *e)
{
	auto_close int fd = -1;
	int rc = open_kept(path, &fd, e);

	if (rc)
		return rc;
	rc = walk(fd, v, lines, e);
	return rc ? err_in(e, rc, "%s", path) : 0;
}

int cmd_log_verify(struct cli *c)
{
	struct asked q = {.c = c};
	auto_close int fd = -1;
	struct audit_verify *v;
	struct err e = {""};
	uint64_t lines = 0;
	size_t elsewhere = 0;
	int rc;

	v = audit_verify_new(key_of, &q);
	rc = v ? ask_heads(c, v, &e) : err_set(&e, -ENOMEM, "out of memory");
	/* The log is opened before older files are read: nothing of it can become an older file in between. */
	if (!rc)
		rc = open_log(c, &fd, &e);
	for (size_t i = 0; !rc && i < c->args.rest_count; i++)
		rc = walk_kept(c->args.rest[i], v, &lines, &e);
	if (!rc)
		rc = walk(fd, v, &lines, &e);
	if (!rc)
		rc = audit_verify_end(v, &elsewhere, &e);
	audit_verify_free(v);
	if (rc && q.e.text[0])
		return cli_fail(&q.e);
	return rc ? cli_fail(&e) : report(c, lines, q.writers, elsewhere);
}

/* ---- rotate ---- */

int cmd_log_rotate(struct cli *c)
{
	auto_json json_t *a = NULL;
	struct err e = {""};

	if (client_call(c, client_request(c, "log.rotate", false), -1, &a, NULL, &e))
		return cli_fail(&e);
	if (c->json)
		return show_json(a);
	if (json_object_get(a, "kept"))
		(void)printf("%s\n", client_text(a, "kept"));
	else
		(void)fprintf(stderr, "agentsecrets: the file so far had been moved away already; nothing is written to it any more\n");
	return show_end();
}
