/* h2_send.c: what goes out; see h2.h.
 *
 * What a stream's user writes stays in the user's buffer: the head is taken when it is complete, the body frame by frame
 * when nghttp2 asks for it, which it does as far as the peer's windows and our output allow.
 */
#include "h2_in.h"

#define H2_FRAME_MAX 16384

/* The next bytes of a chunked body that may go; *ret_trailers: the head of what ends it. -EBADMSG. */
static int h2_next_piece(struct h2_stream *s)
{
	struct http1_slice data = {0};
	size_t used = 0;

	while (s->piece == 0 && !s->last_chunk && buf_len(s->out) > 0) {
		switch (http1_chunked(&s->chunk, (const char *)buf_bytes(s->out), buf_len(s->out),
				      &used, &data)) {
		case HTTP1_DATA:
			s->piece = data.len;
			buf_take(s->out, used - data.len);
			break;
		case HTTP1_MORE:
			buf_take(s->out, used);
			return 0;
		case HTTP1_DONE:
			buf_take(s->out, used);
			s->last_chunk = true;
			break;
		default:
			return -EBADMSG;
		}
	}
	return 0;
}

/* What follows the last chunk. 1: it is complete. */
static int h2_last(struct h2_stream *s, uint32_t *flags)
{
	nghttp2_nv nv[H2TEXT_NV_MAX];
	struct http1_head *t = s->h->scratch;
	size_t n;

	switch (http1_trailers(&s->scan, (const char *)buf_bytes(s->out), buf_len(s->out), t)) {
	case HTTP1_MORE:
		return 0;
	case HTTP1_DONE:
		break;
	default:
		return -EBADMSG;
	}
	n = h2text_trailers(t, nv);
	if (n > 0) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		if (nghttp2_submit_trailer(s->h->ng, s->id, nv, n) != 0)
			return -ENOMEM;
	}
	buf_take(s->out, t->raw.len);
	s->phase = H2_ENDED;
	return 1;
}

static void h2_pieces(struct h2_stream *s)
{
	switch (s->phase) {
	case H2_COUNTED:
		s->piece = buf_len(s->out) < s->left ? buf_len(s->out) : (size_t)s->left;
		break;
	case H2_RAW:
		s->piece = buf_len(s->out);
		break;
	default:
		break;
	}
}

/* nghttp2 asks for a frame's payload: says how long it is, h2_send_data() then hands it over. */
static ssize_t h2_on_read(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t cap,
			  uint32_t *flags, nghttp2_data_source *source, void *ctx)
{
	struct h2_stream *s = source->ptr;
	struct h2 *h = ctx;
	size_t n;
	int rc = 0;

	(void)ng;
	(void)id;
	(void)buf;
	if (s->ending) {
		s->phase = H2_ENDED;
		*flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_COPY;
		return 0;
	}
	if (!s->user || s->out_broken)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (buf_len(h->to) >= h->full)
		return NGHTTP2_ERR_PAUSE;
	if (s->phase == H2_CHUNKED)
		rc = h2_next_piece(s);
	else
		h2_pieces(s);
	if (rc < 0)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	n = s->piece < cap ? s->piece : cap;
	if (n > H2_FRAME_MAX)
		n = H2_FRAME_MAX;
	*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (s->phase == H2_COUNTED && n == s->left) {
		s->phase = H2_ENDED;
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	} else if (s->phase == H2_RAW && s->finished && n == buf_len(s->out)) {
		s->phase = H2_ENDED;
		*flags |= NGHTTP2_DATA_FLAG_EOF;
	} else if (s->phase == H2_CHUNKED && s->last_chunk && n == 0) {
		rc = h2_last(s, flags);
		if (rc < 0)
			return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
		if (rc == 1)
			*flags |= NGHTTP2_DATA_FLAG_EOF;
	}
	if (n == 0 && !(*flags & NGHTTP2_DATA_FLAG_EOF)) {
		s->deferred = true;
		return NGHTTP2_ERR_DEFERRED;
	}
	if (*flags & NGHTTP2_DATA_FLAG_EOF)
		h2_woke(s);
	return (ssize_t)n;
}

static int h2_on_send_data(nghttp2_session *ng, nghttp2_frame *f, const uint8_t *hd, size_t n,
			   nghttp2_data_source *source, void *ctx)
{
	struct h2_stream *s = source->ptr;
	struct h2 *h = ctx;

	(void)ng;
	(void)f;
	if (n == 0)
		return buf_add(h->to, hd, 9) < 0 ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
	if (!s->user || n > buf_len(s->out) || buf_add(h->to, hd, 9) < 0 ||
	    buf_add(h->to, buf_bytes(s->out), n) < 0)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	buf_take(s->out, n);
	s->piece -= n;
	if (s->phase == H2_COUNTED || (s->phase == H2_ENDED && s->left))
		s->left -= n;
	s->sent += n;
	h2_woke(s);
	return 0;
}

static int h2_submit(struct h2_stream *s, const nghttp2_nv *nv, size_t n, bool body)
{
	const nghttp2_data_provider from = {.source.ptr = s, .read_callback = h2_on_read};
	struct h2 *h = s->h;
	int32_t id;

	if (h->kind == H2_SERVER)
		return nghttp2_submit_response(h->ng, s->id, nv, n, body ? &from : NULL) == 0
			       ? 0
			       : -EIO;
	id = nghttp2_submit_request(h->ng, NULL, nv, n, body ? &from : NULL, s);
	if (id < 0)
		return -EIO;
	s->id = id;
	return 0;
}

/* How the text goes on behind this head. */
static void h2_body_of(struct h2_stream *s, const struct http1_meaning *m, bool raw)
{
	switch (m->framing) {
	case HTTP1_FRAMING_LENGTH:
		s->left = m->length;
		s->phase = m->length ? H2_COUNTED : H2_ENDED;
		break;
	case HTTP1_FRAMING_CHUNKED:
		s->phase = H2_CHUNKED;
		break;
	case HTTP1_FRAMING_CLOSE:
		s->phase = H2_RAW;
		break;
	default:
		s->phase = raw ? H2_RAW : H2_ENDED;
	}
}

static int h2_send_response(struct h2_stream *s, struct http1_head *head)
{
	struct http1_slice method = {s->method, strlen(s->method)};
	nghttp2_nv nv[H2TEXT_NV_MAX];
	struct http1_meaning m;
	char status[4];
	size_t n;

	if (http1_response_meaning(head, method, s->websocket, &m) < 0)
		return -EBADMSG;
	n = h2text_response(head, &m, status, nv);
	if (head->status < 200 && head->status != 101)
		return nghttp2_submit_headers(s->h->ng, NGHTTP2_FLAG_NONE, s->id, NULL, nv, n,
					      NULL) == 0
			       ? 0
			       : -EIO;
	h2_body_of(s, &m, head->status == 101);
	return h2_submit(s, nv, n, s->phase != H2_ENDED);
}

static int h2_send_request(struct h2_stream *s, struct http1_head *head)
{
	nghttp2_nv nv[H2TEXT_NV_MAX];
	struct http1_meaning m;
	size_t n;

	if (http1_request_meaning(head, &m) < 0 || m.websocket)
		return -EBADMSG;
	s->is_head = http1_eq(head->method, "HEAD");
	n = h2text_request(head, &m, s->out->wipe, nv);
	h2_body_of(s, &m, false);
	return h2_submit(s, nv, n, s->phase != H2_ENDED);
}

/* Heads at the front of `out` go as soon as they are complete. */
int h2_heads(struct h2_stream *s)
{
	struct http1_head *head = s->h->scratch;
	const char *p;
	int rc;

	while (s->phase == H2_HEAD && buf_len(s->out) > 0) {
		enum http1_result got;

		p = (const char *)buf_bytes(s->out);
		got = s->h->kind == H2_SERVER ? http1_response(&s->scan, p, buf_len(s->out), head)
					      : http1_request(&s->scan, p, buf_len(s->out), head);
		if (got == HTTP1_MORE)
			return 0;
		if (got != HTTP1_DONE)
			return -EBADMSG;
		s->scan = (struct http1_scan){0};
		rc = s->h->kind == H2_SERVER ? h2_send_response(s, head) : h2_send_request(s, head);
		if (rc < 0)
			return rc;
		buf_take(s->out, head->raw.len);
		h2_dirty(s->h);
	}
	return 0;
}

/* A request that nghttp2 could not send after all. */
static int h2_on_not_sent(nghttp2_session *ng, const nghttp2_frame *f, int code, void *ctx)
{
	struct h2 *h = ctx;
	struct h2_stream *s;

	(void)ng;
	(void)code;
	s = f->hd.type == NGHTTP2_HEADERS ? h2_find(h, f->hd.stream_id) : NULL;
	if (s)
		h2_fail(s);
	return 0;
}

/* nghttp2 drops what waits for a stream that is being reset: a reset that means "enough" goes behind the answer's end. */
static int h2_on_sent(nghttp2_session *ng, const nghttp2_frame *f, void *ctx)
{
	struct h2_stream *s;

	(void)ng;
	if (!(f->hd.flags & NGHTTP2_FLAG_END_STREAM) ||
	    (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA))
		return 0;
	s = h2_find(ctx, f->hd.stream_id);
	if (!s)
		return 0;
	s->ended = true;
	if (s->enough)
		h2_enough(s);
	return 0;
}

void h2_send_callbacks(nghttp2_session_callbacks *cb)
{
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, h2_on_sent);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, h2_on_not_sent);
	nghttp2_session_callbacks_set_send_data_callback(cb, h2_on_send_data);
}
