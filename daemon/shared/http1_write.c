/* http1_write.c: how heads and chunks are written, from what was parsed; see http1.h. */
#include "http1_in.h"

static void wr_slice(struct wr *w, struct http1_slice s)
{
	wr_bytes(w, s.p, s.len);
}

static void wr_line(struct wr *w, struct http1_slice name, struct http1_slice value)
{
	wr_slice(w, name);
	wr_str(w, ": ");
	wr_slice(w, value);
	wr_str(w, "\r\n");
}

static const struct http1_edit *edit_of(const struct http1_out *o, uint32_t field)
{
	for (size_t i = 0; i < o->edit_count; i++)
		if (o->edits[i].op != HTTP1_ADD && o->edits[i].field == field)
			return &o->edits[i];
	return NULL;
}

static bool edits_ok(const struct http1_out *o)
{
	for (size_t i = 0; i < o->edit_count; i++) {
		const struct http1_edit *e = &o->edits[i];

		if (e->op != HTTP1_DROP && e->op != HTTP1_VALUE && e->op != HTTP1_ADD)
			return false;
		if (e->op == HTTP1_ADD && !http1_token(e->name))
			return false;
		if (e->op != HTTP1_DROP && has_ctl(e->value.p, e->value.len))
			return false;
	}
	return true;
}

/* The value by `replace`, or as it came. */
static int write_value(struct wr *w, const struct http1_out *o, uint32_t field, struct http1_slice value)
{
	size_t at = w->len;
	int rc = o->replace ? o->replace(o->ctx, field, w) : 0;

	if (rc < 0)
		return rc;
	if (rc == 0) {
		wr_slice(w, value);
		return 0;
	}
	if (w->full)
		return -ENOBUFS;
	if (field == HTTP1_TARGET ? !target_bytes_ok(w->p + at, w->len - at) : has_ctl(w->p + at, w->len - at))
		return -EINVAL;
	return 0;
}

/* Status without a body whose framing fields would be a lie in any case. */
static bool never_framed(const struct http1_head *h)
{
	return h->status && (h->status < 200 || h->status == 204);
}

/* Content-Length and Transfer-Encoding, in their place: only where the kind of framing stayed. */
static void write_framing(struct wr *w, const struct http1_out *o, const struct http1_field *f)
{
	if (o->framing != o->meaning->framing || never_framed(o->head))
		return;
	if (f->id == HTTP1_TRANSFER_ENCODING) {
		wr_line(w, f->name, slice("chunked", 7));
		return;
	}
	wr_slice(w, f->name);
	wr_str(w, ": ");
	if (o->framing == HTTP1_FRAMING_LENGTH)
		wr_decimal(w, o->length, 1);
	else
		wr_slice(w, f->value);
	wr_str(w, "\r\n");
}

static int write_field(struct wr *w, const struct http1_out *o, uint32_t i)
{
	const struct http1_field *f = &o->head->fields[i];
	const struct http1_edit *e = edit_of(o, i);
	int rc = 0;

	if (http1_is_hop(o->meaning, i) || (e && e->op == HTTP1_DROP))
		return 0;
	if (f->id == HTTP1_CONTENT_LENGTH || f->id == HTTP1_TRANSFER_ENCODING) {
		write_framing(w, o, f);
	} else if (f->id == HTTP1_CONNECTION) {
		wr_line(w, f->name, slice("Upgrade", 7)); /* is only kept for a websocket */
	} else if (f->id == HTTP1_UPGRADE) {
		wr_line(w, f->name, slice("websocket", 9));
	} else if (e) {
		wr_line(w, f->name, e->value);
	} else {
		wr_slice(w, f->name);
		wr_str(w, ": ");
		rc = write_value(w, o, i, f->value);
		wr_str(w, "\r\n");
	}
	return rc;
}

static int write_add(struct wr *w, const struct http1_out *o, const struct http1_edit *e)
{
	int rc;

	if (e->value.p) {
		wr_line(w, e->name, e->value);
		return 0;
	}
	wr_slice(w, e->name);
	wr_str(w, ": ");
	rc = write_value(w, o, e->field, slice("", 0));
	wr_str(w, "\r\n");
	return rc;
}

/* What is said anew: added fields, framing of another kind than before, close. */
static int write_added(struct wr *w, const struct http1_out *o)
{
	for (size_t i = 0; i < o->edit_count; i++)
		if (o->edits[i].op == HTTP1_ADD) {
			int rc = write_add(w, o, &o->edits[i]);

			if (rc < 0)
				return rc;
		}
	if (o->framing != o->meaning->framing && o->framing == HTTP1_FRAMING_CHUNKED)
		wr_str(w, "Transfer-Encoding: chunked\r\n");
	if (o->framing != o->meaning->framing && o->framing == HTTP1_FRAMING_LENGTH) {
		wr_str(w, "Content-Length: ");
		wr_decimal(w, o->length, 1);
		wr_str(w, "\r\n");
	}
	if (o->close || o->framing == HTTP1_FRAMING_CLOSE)
		wr_str(w, "Connection: close\r\n");
	wr_str(w, "\r\n");
	return 0;
}

static int finish(struct wr *w, int rc)
{
	if (rc == 0 && w->full)
		rc = -ENOBUFS;
	if (rc < 0)
		w->full = true;
	return rc;
}

static int write_rest(struct wr *w, const struct http1_out *o)
{
	for (uint32_t i = 0; i < o->head->field_count; i++) {
		int rc = write_field(w, o, i);

		if (rc < 0)
			return rc;
	}
	return write_added(w, o);
}

/* HTTP/1.0 may come without Host; what we write is 1.1 and may not. */
static int write_host(struct wr *w, const struct http1_out *o)
{
	const struct http1_meaning *m = o->meaning;
	bool v6 = m->address && strchr(m->host, ':');

	if (http1_find(o->head, HTTP1_HOST, 0) < o->head->field_count)
		return 0;
	for (size_t i = 0; i < o->edit_count; i++)
		if (o->edits[i].op == HTTP1_ADD && http1_is(o->edits[i].name, "host"))
			return 0;
	if (m->host[0] == '\0')
		return -EINVAL;
	wr_str(w, v6 ? "Host: [" : "Host: ");
	wr_str(w, m->host);
	wr_str(w, v6 ? "]" : "");
	if (m->port && m->port != (m->scheme == HTTP1_SCHEME_HTTPS ? 443 : 80)) {
		wr_str(w, ":");
		wr_decimal(w, m->port, 1);
	}
	wr_str(w, "\r\n");
	return 0;
}

static int write_target(struct wr *w, const struct http1_out *o)
{
	struct http1_slice t = o->meaning->target;

	if (o->target.p) {
		if (!target_bytes_ok(o->target.p, o->target.len))
			return -EINVAL;
		wr_slice(w, o->target);
		return 0;
	}
	if (t.len == 0)
		return -EINVAL; /* CONNECT is never passed on */
	if (t.p[0] == '?')
		wr_str(w, "/");
	return write_value(w, o, HTTP1_TARGET, t);
}

static int write_request(struct wr *w, const struct http1_out *o)
{
	struct http1_slice method = o->method.p ? o->method : o->head->method;
	int rc;

	if (!edits_ok(o) || method.len > HTTP1_METHOD_MAX || !http1_token(method))
		return -EINVAL;
	if (o->framing == HTTP1_FRAMING_CLOSE)
		return -EINVAL;
	wr_slice(w, method);
	wr_str(w, " ");
	rc = write_target(w, o);
	if (rc < 0)
		return rc;
	wr_str(w, " HTTP/1.1\r\n");
	rc = write_host(w, o);
	return rc < 0 ? rc : write_rest(w, o);
}

int http1_write_request(struct wr *w, const struct http1_out *o)
{
	return finish(w, write_request(w, o));
}

int http1_write_response(struct wr *w, const struct http1_out *o)
{
	if (!edits_ok(o))
		return finish(w, -EINVAL);
	wr_str(w, "HTTP/1.1 ");
	wr_decimal(w, (uint64_t)o->head->status, 1);
	wr_str(w, " ");
	wr_slice(w, o->head->phrase);
	wr_str(w, "\r\n");
	return finish(w, write_rest(w, o));
}

void http1_write_chunk(struct wr *w, uint64_t n)
{
	static const char hex[] = "0123456789abcdef";
	char text[16];
	size_t at = sizeof(text);

	do
		text[--at] = hex[n & 15];
	while (n >>= 4);
	wr_bytes(w, text + at, sizeof(text) - at);
	wr_str(w, "\r\n");
}

void http1_write_last_chunk(struct wr *w, const struct http1_head *trailers)
{
	wr_str(w, "0\r\n");
	for (uint32_t i = 0; trailers && i < trailers->field_count; i++)
		wr_line(w, trailers->fields[i].name, trailers->fields[i].value);
	wr_str(w, "\r\n");
}
