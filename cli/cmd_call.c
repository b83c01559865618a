/* cmd_call.c: `agentsecrets call`: one request through the proxy's /proxy endpoint (daemon/proxy/xas.h), from a guard of its own.
 *
 * The child is where `run` would start a command: whatever holds for that holds for this. It makes one connection, to the
 * explicit port, sends names of secrets, and reads an answer in which they are masked.
 */
#include "cmd_run.h"

#include "client.h"
#include "http1.h"
#include "reason.h"
#include "run_sandbox.h"
#include "show.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define CALL_TEXT_MAX   HTTP1_HEAD_MAX
#define CALL_BODY_MAX   (64u << 20) /* to be sent */
#define CALL_ANSWER_MAX (1u << 30)  /* to be kept */

struct bytes {
	char *p;
	size_t len, cap;
};

struct call {
	char *head; /* CALL_TEXT_MAX */
	struct wr w;
	struct bytes body;
	bool json;
	/* the answer */
	struct bytes in;
	struct http1_head *h;
	struct http1_meaning m;
	struct bytes out;
	uint64_t redacted;
	uint64_t start_ms;
};

static int add(struct bytes *b, const void *p, size_t n, size_t max)
{
	if (n > max - b->len)
		return -EFBIG;
	if (b->cap - b->len < n + 1) {
		size_t cap = (b->len + n) * 2 + 65536;
		char *more = realloc(b->p, cap);

		if (!more)
			return -ENOMEM;
		b->p = more;
		b->cap = cap;
	}
	if (n)
		memcpy(b->p + b->len, p, n);
	b->len += n;
	b->p[b->len] = '\0';
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

/* ---- the request ---- */

static int read_all(int fd, struct bytes *to, struct err *e)
{
	char buf[65536];
	ssize_t n;
	int rc = 0;

	while (rc == 0 && (n = read(fd, buf, sizeof(buf))) != 0)
		rc = n < 0 ? (errno == EINTR ? 0 : -errno) : add(to, buf, (size_t)n, CALL_BODY_MAX);
	return rc == 0 ? 0 : err_set(e, rc, "the body cannot be read: %s", strerror(-rc));
}

static int take_body(const char *given, struct bytes *to, struct err *e)
{
	auto_close int fd = -1;

	if (!given)
		return 0;
	if (strcmp(given, "-") == 0)
		return read_all(STDIN_FILENO, to, e);
	if (given[0] != '@')
		return add(to, given, strlen(given), CALL_BODY_MAX) < 0
			       ? err_set(e, -ENOMEM, "out of memory")
			       : 0;
	fd = open(given + 1, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return err_set(e, -errno, "%s cannot be read: %s", given + 1, strerror(errno));
	return read_all(fd, to, e);
}

/* A name as X-AS-* fields have it: %XX where it would not be a token, or would part a path. */
static void write_name(struct wr *w, const char *name, size_t len, bool path)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)name[i];

		if (path && c == '.') {
			wr_u8(w, '-');
		} else if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') ||
			   (c >= 'a' && c <= 'z') || c == '_' ||
			   (!path && (c == '-' || c == '.' || c == '~'))) {
			wr_u8(w, c);
		} else {
			wr_u8(w, '%');
			wr_u8(w, (uint8_t)hex[c >> 4]);
			wr_u8(w, (uint8_t)hex[c & 15]);
		}
	}
}

/* Control bytes would end the line. */
static bool is_line(const char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			return false;
	return true;
}

static int write_line(struct wr *w, const char *name, const char *value, struct err *e)
{
	if (!is_line(value))
		return err_set(e, -EINVAL, "a value has a control character in it");
	wr_str(w, name);
	wr_str(w, ": ");
	wr_str(w, value);
	wr_str(w, "\r\n");
	return 0;
}

/* All options of one kind, each NAME=KEY. */
static int write_puts(const struct cli *c, char id, const char *prefix, struct wr *w, struct err *e)
{
	const char *v;

	for (size_t at = 0; (v = args_next(&c->args, id, &at));) {
		const char *eq = strrchr(v, '=');

		if (!eq || eq == v || !eq[1] || !is_line(v))
			return err_set(
				e, -EINVAL,
				"an injection must be NAME=KEY, KEY being the name of a secret");
		wr_str(w, prefix);
		if (id == '6')
			wr_bytes(w, v, (size_t)(eq - v));
		else
			write_name(w, v, (size_t)(eq - v), id == '8');
		wr_str(w, ": ");
		wr_str(w, eq + 1);
		wr_str(w, "\r\n");
	}
	return 0;
}

static int write_headers(const struct cli *c, struct wr *w, bool *typed, struct err *e)
{
	const char *v;

	for (size_t at = 0; (v = args_next(&c->args, '%', &at));) {
		size_t n = strcspn(v, ":");
		struct http1_slice name = {v, n};

		if (!v[n] || !http1_token(name) || !is_line(v))
			return err_set(e, -EINVAL, "an ordinary header must be \"NAME: VALUE\"");
		if (http1_is(name, "host") || http1_is(name, "content-length") ||
		    http1_is(name, "transfer-encoding") || http1_is(name, "connection") ||
		    (n > 5 && http1_is((struct http1_slice){v, 5}, "x-as-")))
			return err_set(e, -EINVAL, "the header %.*s is not for the caller to set",
				       (int)n, v);
		*typed |= http1_is(name, "content-type");
		wr_str(w, v);
		wr_str(w, "\r\n");
	}
	return 0;
}

/* The whole head. */
static int make_request(const struct cli *c, struct call *k, struct err *e)
{
	const char *bearer = args_value(&c->args, '4'), *basic = args_value(&c->args, '5');
	bool fields = args_value(&c->args, '8') || args_value(&c->args, '9');
	const char *method = args_value(&c->args, '2');
	bool typed = false;
	char length[64];
	int rc;

	if (!method)
		method = k->body.len > 0 || fields ? "POST" : "GET";
	if (!http1_token((struct http1_slice){method, strlen(method)}) ||
	    strcmp(method, "CONNECT") == 0)
		return err_set(e, -EINVAL, "this is not a method that can be sent");
	k->w = wr_of(k->head, CALL_TEXT_MAX);
	wr_str(&k->w, method);
	wr_str(&k->w,
	       " /proxy HTTP/1.1\r\nHost: localhost\r\nConnection: close, TE\r\nTE: trailers\r\n");
	rc = write_line(&k->w, "X-AS-Target-URL", args_value(&c->args, '1'), e);
	if (!rc && bearer)
		rc = write_line(&k->w, "X-AS-Inject-Bearer", bearer, e);
	if (!rc && basic)
		rc = write_line(&k->w, "X-AS-Inject-Basic", basic, e);
	if (!rc)
		rc = write_puts(c, '6', "X-AS-Inject-Header-", &k->w, e);
	if (!rc)
		rc = write_puts(c, '7', "X-AS-Inject-Query-", &k->w, e);
	if (!rc)
		rc = write_puts(c, '8', "X-AS-Inject-Body-", &k->w, e);
	if (!rc)
		rc = write_puts(c, '9', "X-AS-Inject-Form-", &k->w, e);
	if (!rc)
		rc = write_headers(c, &k->w, &typed, e);
	if (rc)
		return rc;
	if (!typed && !fields && k->body.len > 0 && (k->body.p[0] == '{' || k->body.p[0] == '['))
		wr_str(&k->w, "Content-Type: application/json\r\n");
	(void)snprintf(length, sizeof(length), "Content-Length: %zu\r\n", k->body.len);
	if (k->body.len > 0)
		wr_str(&k->w, length);
	wr_str(&k->w, "\r\n");
	return k->w.full ? err_set(e, -E2BIG, "the request is too long") : 0;
}

/* ---- the answer ---- */

static int send_all(int fd, const char *p, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, p, len, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

static int dial(uint16_t port, struct err *e)
{
	struct sockaddr_in a = {.sin_family = AF_INET,
				.sin_port = htons(port),
				.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), rc;

	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
		return fd;
	rc = -errno;
	own_close(&fd);
	return err_set(e, rc, "the proxy cannot be reached at 127.0.0.1:%u: %s", port,
		       strerror(-rc));
}

/* More of the answer: 0, 1 at its end. */
static int more(int fd, struct call *k, struct err *e)
{
	char buf[65536];
	ssize_t n;
	int rc;

	do
		n = recv(fd, buf, sizeof(buf), 0);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return err_set(e, -errno, "the answer broke off: %s", strerror(errno));
	rc = add(&k->in, buf, (size_t)n, CALL_ANSWER_MAX);
	return rc < 0 ? err_set(e, rc, "the answer is too long") : n == 0;
}

static void eat(struct bytes *b, size_t n)
{
	memmove(b->p, b->p + n, b->len - n);
	b->len -= n;
}

/* The final head; interim ones are gone. The bytes that it points into are kept in *kept. */
static int read_head(int fd, struct call *k, const char *method, struct bytes *kept, struct err *e)
{
	for (;;) {
		struct http1_scan s = {0};
		struct http1_slice m = {method, strlen(method)};
		enum http1_result got = k->in.len ? http1_response(&s, k->in.p, k->in.len, k->h)
						  : HTTP1_MORE;
		int rc;

		if (got == HTTP1_MORE) {
			rc = more(fd, k, e);
			if (rc > 0)
				return err_set(e, -EPROTO,
					       "the proxy closed the connection without an answer");
			if (rc < 0)
				return rc;
			continue;
		}
		if (got != HTTP1_DONE || http1_response_meaning(k->h, m, false, &k->m) < 0)
			return err_set(e, -EPROTO, "the proxy's answer is not valid");
		if (k->h->status >= 200)
			break;
		eat(&k->in, k->h->raw.len);
	}
	if (add(kept, k->in.p, k->h->raw.len, CALL_ANSWER_MAX) < 0)
		return err_set(e, -ENOMEM, "out of memory");
	eat(&k->in, kept->len);
	{
		struct http1_scan again = {0};

		return http1_response(&again, kept->p, kept->len, k->h) == HTTP1_DONE ? 0 : -EPROTO;
	}
}

/* What follows the last chunk; one of its fields may be for us. */
static int read_trailers(int fd, struct call *k, struct err *e)
{
	int rc = 0;

	while (rc == 0) {
		const char *end = k->in.len >= 2 && memcmp(k->in.p, "\r\n", 2) == 0 ? k->in.p
				  : k->in.len ? memmem(k->in.p, k->in.len, "\r\n\r\n", 4)
					      : NULL;
		const char *ours = end ? memmem(k->in.p, (size_t)(end - k->in.p) + 2,
						"X-AS-Redacted: ", 15)
				       : NULL;

		if (ours)
			k->redacted = strtoull(ours + 15, NULL, 10);
		if (end)
			return 0;
		rc = more(fd, k, e);
	}
	return rc > 0 ? err_set(e, -EPROTO, "the answer broke off") : rc;
}

static int read_chunked(int fd, struct call *k, struct err *e)
{
	struct http1_chunked c = {0};

	for (;;) {
		struct http1_slice data;
		size_t used;
		enum http1_result got = http1_chunked(&c, k->in.p, k->in.len, &used, &data);
		int rc = got == HTTP1_DATA ? add(&k->out, data.p, data.len, CALL_ANSWER_MAX) : 0;

		eat(&k->in, used);
		if (rc < 0)
			return err_set(e, rc, "the answer is too long");
		if (got == HTTP1_BAD)
			return err_set(e, -EPROTO, "the proxy's answer is not valid");
		if (got == HTTP1_DONE)
			return read_trailers(fd, k, e);
		if (got == HTTP1_MORE) {
			rc = more(fd, k, e);
			if (rc != 0)
				return rc < 0 ? rc : err_set(e, -EPROTO, "the answer broke off");
		}
	}
}

static int read_body(int fd, struct call *k, struct err *e)
{
	int rc = 0;

	switch (k->m.framing) {
	case HTTP1_FRAMING_NONE:
		return 0;
	case HTTP1_FRAMING_CHUNKED:
		return read_chunked(fd, k, e);
	default:
		break;
	}
	while (rc == 0 && !(k->m.framing == HTTP1_FRAMING_LENGTH && k->in.len >= k->m.length))
		rc = more(fd, k, e);
	if (rc > 0 && k->m.framing == HTTP1_FRAMING_LENGTH)
		return err_set(e, -EPROTO, "the answer broke off");
	return rc < 0 ? rc : add(&k->out, k->in.p, k->in.len, CALL_ANSWER_MAX);
}

/* ---- telling ---- */

/* Bytes as a JSON string: what is not UTF-8 becomes U+FFFD. */
static json_t *text_of(const char *p, size_t len)
{
	struct bytes b = {0};
	json_t *whole = json_stringn(len ? p : "", len), *part;

	if (whole)
		return whole;
	for (size_t i = 0; i < len;) {
		size_t n = 1;

		while (n < 4 && i + n < len && ((unsigned char)p[i + n] & 0xc0) == 0x80)
			n++;
		part = json_stringn(p + i, n);
		if (add(&b, part ? p + i : "\xef\xbf\xbd", part ? n : 3, CALL_ANSWER_MAX) < 0)
			break;
		i += part ? n : 1;
		json_decref(part);
	}
	whole = json_stringn(b.p ? b.p : "", b.len);
	free(b.p);
	return whole;
}

static json_t *headers_of(const struct http1_head *h)
{
	json_t *o = json_object();

	for (uint32_t i = 0; o && i < h->field_count; i++) {
		const struct http1_field *f = &h->fields[i];
		char name[HTTP1_NAME_MAX + 1];
		json_t *list;

		(void)snprintf(name, sizeof(name), "%.*s", (int)f->name.len, f->name.p);
		if (f->id == HTTP1_TRANSFER_ENCODING || f->id == HTTP1_CONNECTION)
			continue;
		list = json_object_get(o, name);
		if (!list && json_object_set_new(o, name, list = json_array()) < 0)
			continue;
		(void)json_array_append_new(list, text_of(f->value.p, f->value.len));
	}
	return o;
}

/* One of our own refusals, or an upstream's error in the same form; NULL: neither. */
static json_t *refusal(const struct call *k)
{
	auto_json json_t *j = k->h->status >= 400
				      ? json_loadb(k->out.p ? k->out.p : "", k->out.len, 0, NULL)
				      : NULL;

	return json_is_string(json_object_get(j, "error")) ? take(j) : NULL;
}

/* Then nothing of the body is lost when its words are told on stderr instead. */
static bool is_ours(const json_t *j)
{
	const char *word = client_text(j, "error");

	if (json_object_size(j) == 1) /* what /proxy says of a request that it cannot read */
		return true;
	for (int r = 1; r < REASON_COUNT; r++)
		if (strcmp(word, reason_word((enum reason)r)) == 0)
			return client_text(j, "message")[0] != '\0';
	return false;
}

static int tell_json(struct call *k, const json_t *refused, const struct err *failed)
{
	json_t *o = json_object();
	bool bad = failed || k->h->status >= 400;

	(void)json_object_set_new(o, "status", json_integer(failed ? 0 : k->h->status));
	(void)json_object_set_new(o, "headers", failed ? json_object() : headers_of(k->h));
	(void)json_object_set_new(o, "body", text_of(k->out.p, failed ? 0 : k->out.len));
	(void)json_object_set_new(o, "redacted", json_integer((json_int_t)k->redacted));
	(void)json_object_set_new(o, "duration_ms",
				  json_integer((json_int_t)(now_ms() - k->start_ms)));
	if (failed)
		(void)json_object_set_new(o, "error", json_string(failed->text));
	else if (refused)
		(void)json_object_set(o, "error", json_object_get(refused, "error"));
	if (json_dumpf(o, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII) < 0 ||
	    fputc('\n', stdout) == EOF)
		bad = true;
	json_decref(o);
	return show_end() != CLI_OK || bad ? CLI_FAILED : CLI_OK;
}

static int tell_text(const struct call *k, const json_t *refused)
{
	struct err e;

	if (!refused || !is_ours(refused))
		(void)fwrite(k->out.p ? k->out.p : "", 1, k->out.len, stdout);
	if (show_end() != CLI_OK)
		return CLI_FAILED;
	if (k->h->status < 400)
		return CLI_OK;
	if (refused && is_ours(refused))
		(void)err_set(&e, -EACCES, "%s%s%s", client_text(refused, "error"),
			      client_text(refused, "message")[0] ? ": " : "",
			      client_text(refused, "message"));
	else if (refused)
		(void)err_set(&e, -EACCES, "the answer is %d: %s", k->h->status,
			      client_text(refused, "error"));
	else
		(void)err_set(&e, -EACCES, "the answer is %d", k->h->status);
	return cli_fail(&e);
}

/* ---- all of it, in the guard ---- */

static int speak(struct call *k, uint16_t port, struct bytes *kept, struct err *e)
{
	const char *space = memchr(k->head, ' ', k->w.len);
	char method[HTTP1_METHOD_MAX + 1];
	auto_close int fd = dial(port, e);
	int rc = fd;

	if (fd < 0)
		return rc;
	(void)snprintf(method, sizeof(method), "%.*s", (int)(space - k->head), k->head);
	rc = send_all(fd, k->head, k->w.len);
	if (rc == 0)
		rc = send_all(fd, k->body.p, k->body.len);
	if (rc < 0 && rc != -EPIPE && rc != -ECONNRESET) /* it may have been answered already */
		return err_set(e, rc, "the request cannot be sent: %s", strerror(-rc));
	rc = read_head(fd, k, method, kept, e);
	return rc < 0 ? rc : read_body(fd, k, e);
}

static int in_guard(const struct cli *c, const json_t *entered, char **env, void *ctx)
{
	struct call *k = ctx;
	auto_json json_t *refused = NULL;
	struct bytes kept = {0};
	struct err e = {""};
	int rc;

	(void)c;
	(void)env;
	k->start_ms = now_ms();
	rc = speak(k, (uint16_t)client_number(entered, "proxy"), &kept, &e);
	if (rc < 0)
		return k->json ? tell_json(k, NULL, &e) : cli_fail(&e);
	refused = refusal(k);
	return k->json ? tell_json(k, refused, NULL) : tell_text(k, refused);
}

int cmd_call(struct cli *c)
{
	const char *output = args_value(&c->args, '0');
	struct call k = {.json = output && strcmp(output, "json") == 0};
	struct err e = {""};
	int status = CLI_FAILED;

	if (!args_value(&c->args, '1'))
		return cli_usage(c, "say where to: --url https://...");
	if (output && !k.json && strcmp(output, "text") != 0)
		return cli_usage(c, "--output is text or json");
	k.head = malloc(CALL_TEXT_MAX);
	k.h = calloc(1, sizeof(*k.h));
	if (!k.head || !k.h)
		(void)err_set(&e, -ENOMEM, "out of memory");
	else if (take_body(args_value(&c->args, '3'), &k.body, &e) == 0 &&
		 make_request(c, &k, &e) == 0 && run_sandbox_stdio(&e) == 0)
		status = run_guarded(c, in_guard, &k);
	if (e.text[0])
		status = cli_fail(&e);
	free(k.head);
	free(k.h);
	free(k.body.p);
	return status;
}
