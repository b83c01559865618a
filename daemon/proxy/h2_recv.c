/* h2_recv.c: what comes in, and how much of it may; see h2.h.
 *
 * A body that has no length of its own is one chunk that grows until its reader has reached it: small frames cost no
 * more memory than large ones.
 */
#include "h2_in.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#define H2_CHUNK_LINE 10 /* "0000a1b2" CRLF */

/* ---- what the peer may ask for ---- */

static bool h2_allowed(struct h2 *h, struct h2_allowance *a, uint32_t burst, uint32_t per_s)
{
	uint64_t more = (h->now_ms - a->since_ms) * per_s / 1000;

	if (more > 0) {
		a->left = more > burst - a->left ? burst : a->left + (uint32_t)more;
		a->since_ms = h->now_ms;
	}
	if (a->left > 0) {
		a->left--;
		return true;
	}
	h->calm = true;
	return false;
}

/* A stream of the peer's has ended before its response: cheap for it, not for us. */
static bool h2_allow_reset(struct h2 *h)
{
	return h2_allowed(h, &h->resets, H2_RESETS_BURST, H2_RESETS_PER_S);
}

static int h2_on_begin_frame(nghttp2_session *ng, const nghttp2_frame_hd *hd, void *ctx)
{
	struct h2 *h = ctx;
	bool ok = true;

	(void)ng;
	if (hd->type != NGHTTP2_CONTINUATION)
		h->block = false; /* if the last one was not to be looked at */
	switch (hd->type) {
	case NGHTTP2_HEADERS:
	case NGHTTP2_PUSH_PROMISE:
		h->block_len = hd->length;
		h->continuations = 0;
		break;
	case NGHTTP2_CONTINUATION:
		h->block_len += hd->length;
		ok = ++h->continuations <= H2_CONTINUATIONS;
		break;
	case NGHTTP2_DATA:
	case NGHTTP2_WINDOW_UPDATE:
		break;
	case NGHTTP2_RST_STREAM:
		break; /* counted where the stream ends */
	default:
		ok = h2_allowed(h, &h->idle, H2_IDLE_BURST, H2_IDLE_PER_S);
	}
	if (!ok || h->block_len > H2_BLOCK_MAX) {
		h->calm = true;
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return 0;
}

/* ---- in: heads ---- */

/* An upstream may give a value back; an empty buffer forgets that it is to be wiped. */
static struct buf *h2_in(struct h2_stream *s)
{
	s->in.wipe = s->h->kind == H2_CLIENT;
	return &s->in;
}

static int h2_on_begin_headers(nghttp2_session *ng, const nghttp2_frame *f, void *ctx)
{
	struct h2 *h = ctx;
	struct h2_stream *s = h2_find(h, f->hd.stream_id);
	enum h2text_kind kind = h->kind == H2_SERVER ? H2TEXT_REQUEST : H2TEXT_RESPONSE;

	h->in_block = NULL;
	if (f->hd.type != NGHTTP2_HEADERS)
		return NGHTTP2_ERR_CALLBACK_FAILURE; /* we ask for no pushes */
	if (h->kind == H2_SERVER && f->headers.cat == NGHTTP2_HCAT_REQUEST) {
		if (h2_stream_new(h, &s) < 0)
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		s->id = f->hd.stream_id;
		(void)nghttp2_session_set_stream_user_data(ng, s->id, s);
	} else if (h->kind == H2_SERVER || (s && s->body != H2TEXT_BODY_NONE)) {
		kind = H2TEXT_TRAILERS;
	}
	h->in_block = s;
	h->block = true;
	h2text_begin(&h->text, kind);
	return 0;
}

static int h2_on_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name,
			size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
			void *ctx)
{
	struct h2 *h = ctx;

	(void)ng;
	(void)f;
	(void)flags;
	/* What is wrong is said at the end of the block; the table must see all of it. */
	if (h2text_field(&h->text, (struct http1_slice){(const char *)name, name_len},
			 (struct http1_slice){(const char *)value, value_len}) == -ENOMEM)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return 0;
}

/* nghttp2 would go on without the field. */
static int h2_on_invalid_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name,
				size_t name_len, const uint8_t *value, size_t value_len,
				uint8_t flags, void *ctx)
{
	struct h2 *h = ctx;

	(void)ng;
	(void)f;
	(void)name;
	(void)name_len;
	(void)value;
	(void)value_len;
	(void)flags;
	h->text.bad = true;
	return 0;
}

static int h2_malformed(struct h2 *h, struct h2_stream *s)
{
	if (h->kind == H2_SERVER && !s->user)
		h->owner->malformed(h->ctx);
	h2_reset(s, NGHTTP2_PROTOCOL_ERROR);
	h2_fail(s);
	return h->kind == H2_CLIENT || h2_allow_reset(h) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int h2_key(char out[H2TEXT_KEY_LEN + 1])
{
	uint8_t raw[16];

	if (RAND_bytes(raw, sizeof(raw)) != 1)
		return -EIO;
	return EVP_EncodeBlock((unsigned char *)out, raw, sizeof(raw)) == H2TEXT_KEY_LEN ? 0 : -EIO;
}

static int h2_on_request(struct h2 *h, struct h2_stream *s, bool last)
{
	char key[H2TEXT_KEY_LEN + 1];
	struct http1_slice method;

	s->websocket = (h->text.seen & (1u << H2TEXT_PROTOCOL)) != 0;
	if ((s->websocket && h2_key(key) < 0) ||
	    h2text_end(&h->text, last, false, key, &s->in, &s->body) < 0)
		return h2_malformed(h, s);
	method = s->websocket ? (struct http1_slice){"GET", 3} : h2text_method(&h->text);
	if (method.len <= HTTP1_METHOD_MAX)
		memcpy(s->method, method.p, method.len);
	s->in_ended = last;
	if (h->owner->opened(h->ctx, s) < 0) {
		h2_reset(s, NGHTTP2_REFUSED_STREAM);
		return h2_allow_reset(h) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return 0;
}

static int h2_on_response(struct h2 *h, struct h2_stream *s, bool last)
{
	int rc = h2text_end(&h->text, last, s->is_head, NULL, h2_in(s), &s->body);

	if (rc < 0)
		return h2_malformed(h, s);
	s->in_ended = last;
	h2_woke(s);
	return 0;
}

static int h2_end_chunks(struct h2_stream *s, const char *end)
{
	s->chunk_open = false;
	return s->body == H2TEXT_BODY_CHUNKED ? buf_add(h2_in(s), end, strlen(end)) : 0;
}

static int h2_on_trailers(struct h2 *h, struct h2_stream *s, bool last)
{
	enum h2text_body none;
	int rc = h2_end_chunks(s, "0\r\n");

	/* Of a body with a length nothing can follow; the fields are checked all the same. */
	if (rc == 0 && s->body == H2TEXT_BODY_CHUNKED)
		rc = h2text_end(&h->text, last, false, NULL, &s->in, &none);
	else if (h->text.bad || !last)
		rc = -EBADMSG;
	if (rc == 0 && s->body == H2TEXT_BODY_CHUNKED)
		rc = buf_add(&s->in, "\r\n", 2);
	if (rc < 0)
		return h2_malformed(h, s);
	s->in_ended = true;
	h2_woke(s);
	return 0;
}

static int h2_on_block(struct h2 *h, const nghttp2_frame *f)
{
	struct h2_stream *s = h->in_block;
	bool last = f->hd.flags & NGHTTP2_FLAG_END_STREAM;

	h->in_block = NULL;
	if (!s || s->failed)
		return 0;
	switch (h->text.kind) {
	case H2TEXT_REQUEST:
		return h2_on_request(h, s, last);
	case H2TEXT_RESPONSE:
		return h2_on_response(h, s, last);
	default:
		return h2_on_trailers(h, s, last);
	}
}

/* ---- in: bodies, ends ---- */

static void h2_chunk_line(uint8_t *p, size_t len)
{
	static const char hex[] = "0123456789abcdef";
	int i;

	for (i = 7; i >= 0; i--, len >>= 4)
		p[i] = (uint8_t)hex[len & 15];
	p[8] = '\r';
	p[9] = '\n';
}

static int h2_add_chunk(struct h2_stream *s, const uint8_t *p, size_t n)
{
	size_t need = n + H2_CHUNK_LINE + 2, room;
	uint8_t *to = buf_room(h2_in(s), need, &room);

	if (!to)
		return -ENOBUFS;
	if (s->chunk_open) {
		to -= 2; /* over its CRLF */
	} else {
		s->chunk_open = true;
		s->chunk_at = buf_len(&s->in);
		s->chunk_len = 0;
		to += H2_CHUNK_LINE;
		buf_added(&s->in, H2_CHUNK_LINE + 2);
	}
	memcpy(to, p, n);
	memcpy(to + n, "\r\n", 2);
	buf_added(&s->in, n);
	s->chunk_len += n;
	h2_chunk_line(buf_bytes(&s->in) + s->chunk_at, s->chunk_len);
	return 0;
}

static int h2_on_data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		      void *ctx)
{
	struct h2 *h = ctx;
	struct h2_stream *s = h2_find(h, id);
	int rc;

	(void)flags;
	if (!s || !s->user || s->failed) {
		(void)nghttp2_session_consume_connection(ng, n);
		return 0;
	}
	s->owed += n;
	rc = s->body == H2TEXT_BODY_CHUNKED ? h2_add_chunk(s, p, n) : buf_add(h2_in(s), p, n);
	if (rc < 0) {
		h2_reset(s, NGHTTP2_FLOW_CONTROL_ERROR);
		h2_fail(s);
	}
	h2_woke(s);
	return 0;
}

static int h2_on_frame(nghttp2_session *ng, const nghttp2_frame *f, void *ctx)
{
	struct h2 *h = ctx;
	struct h2_stream *s;

	(void)ng;
	switch (f->hd.type) {
	case NGHTTP2_HEADERS:
		h->block = false;
		return h2_on_block(h, f);
	case NGHTTP2_DATA:
		s = h2_find(h, f->hd.stream_id);
		if (!(f->hd.flags & NGHTTP2_FLAG_END_STREAM))
			return f->hd.length > f->data.padlen || h2_allowed(h, &h->idle, H2_IDLE_BURST, H2_IDLE_PER_S)
				       ? 0
				       : NGHTTP2_ERR_CALLBACK_FAILURE;
		if (!s || s->in_ended)
			return 0;
		if (h2_end_chunks(s, "0\r\n\r\n") < 0)
			h2_fail(s);
		s->in_ended = true;
		h2_woke(s);
		return 0;
	case NGHTTP2_GOAWAY:
		h->goaway = true;
		h2_dirty(h);
		return 0;
	default:
		return 0;
	}
}

/* nghttp2 found a frame wrong and is about to reset its stream, or to end the connection. */
static int h2_on_invalid_frame(nghttp2_session *ng, const nghttp2_frame *f, int code, void *ctx)
{
	struct h2 *h = ctx;

	(void)ng;
	(void)code;
	if (f->hd.type == NGHTTP2_HEADERS)
		h->block = false;
	if (h->kind != H2_SERVER || f->hd.type != NGHTTP2_HEADERS)
		return 0;
	h->owner->malformed(h->ctx);
	return h2_allow_reset(h) ? 0 : NGHTTP2_ERR_CALLBACK_FAILURE;
}

static int h2_on_close(nghttp2_session *ng, int32_t id, uint32_t code, void *ctx)
{
	struct h2 *h = ctx;
	struct h2_stream *s = h2_find(h, id);
	bool early;

	(void)code;
	if (!s)
		return 0;
	(void)nghttp2_session_set_stream_user_data(ng, id, NULL);
	s->closed = true;
	early = s->phase != H2_ENDED;
	s->failed |= !s->in_ended;
	s->out_broken |= early;
	if (h->in_block == s)
		h->in_block = NULL;
	if (s->user)
		h2_woke(s);
	else
		h2_stream_settle(s);
	return h->kind == H2_CLIENT || !early || h2_allow_reset(h) ? 0
								   : NGHTTP2_ERR_CALLBACK_FAILURE;
}

void h2_recv_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, h2_on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, h2_on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, h2_on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(cb, h2_on_invalid_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, h2_on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, h2_on_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, h2_on_invalid_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, h2_on_close);
}
