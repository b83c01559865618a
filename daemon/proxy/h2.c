/* h2.c: see h2.h.
 *
 * A stream lives until nghttp2 has closed it (or the connection is gone) and its user has let go, whichever is later. What
 * its user writes stays in the user's buffer: the head is taken when it is complete, the body frame by frame when nghttp2
 * asks for it, which it does as far as the peer's windows and our output allow. Users are told of things from h2_wake()
 * alone, so that nothing that nghttp2 calls ends up in nghttp2.
 *
 * Text that comes in and has no length of its own is one chunk that grows until its reader has reached it: small frames
 * cost no more memory than large ones.
 */
#include "h2.h"

#include <assert.h>
#include <malloc.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <string.h>

#define H2_IN_MAX(window) (H2TEXT_MAX + HTTP1_TRAILER_MAX + 2 * (size_t)(window))
#define H2_FRAME_MAX      16384
#define H2_CHUNK_LINE     10 /* "0000a1b2" CRLF */

enum h2_phase { H2_HEAD = 0, H2_COUNTED, H2_CHUNKED, H2_RAW, H2_ENDED };

struct h2_stream {
	struct h2 *h; /* NULL: the connection is gone */
	int32_t id;   /* 0: nothing sent yet */
	const struct h2_user *fns;
	void *user; /* NULL: let go, or not used yet */
	struct buf *out;
	struct h2_stream *next, *before, *next_woken;
	bool woken, closed;
	/* in */
	struct buf in;
	size_t owed; /* bytes of bodies that the peer's window has not been given back */
	enum h2text_body body;
	bool chunk_open;
	size_t chunk_at,
		chunk_len; /* its size line, from the first byte of `in`; its payload so far */
	bool in_ended, failed, is_head, websocket;
	/* out */
	enum h2_phase phase;
	uint64_t left; /* COUNTED */
	size_t piece;  /* bytes at the front of `out` that may go */
	struct http1_chunked chunk;
	struct http1_scan scan;
	bool deferred, finished, last_chunk, out_broken;
	bool ending; /* RAW: nothing is left but its end, which needs no user */
	bool ended;  /* END_STREAM has left */
	bool enough; /* H2_SERVER: the rest of the request is not needed once END_STREAM has left */
	size_t sent;
	char method[HTTP1_METHOD_MAX + 1]; /* of the request; "" if longer */
};

/* So many at once, and so many more each second. */
struct h2_allowance {
	uint32_t left;
	uint64_t since_ms;
};

struct h2 {
	nghttp2_session *ng;
	enum h2_kind kind;
	const struct h2_owner *owner;
	void *ctx;
	struct http1_head *scratch; /* the process's */
	struct h2text text;
	struct h2_stream *in_block; /* whose block comes in; H2_SERVER: made with it */
	bool block, websocket, dirty, broken, calm, goaway;
	uint32_t streams, continuations, window;
	size_t block_len;
	struct h2_stream *first, *woken;
	struct h2_allowance resets, idle;
	uint64_t now_ms;
	struct buf *to; /* while it is drained */
	size_t full;
};

/* ---- memory that is wiped when it is given back ---- */

static void h2_mem_free(void *p, void *ctx)
{
	(void)ctx;
	if (p)
		explicit_bzero(p, malloc_usable_size(p));
	free(p);
}

static void *h2_mem_malloc(size_t n, void *ctx)
{
	(void)ctx;
	return malloc(n);
}

static void *h2_mem_calloc(size_t n, size_t each, void *ctx)
{
	(void)ctx;
	return calloc(n, each);
}

static void *h2_mem_realloc(void *p, size_t n, void *ctx)
{
	size_t had = p ? malloc_usable_size(p) : 0;
	void *q = malloc(n);

	if (!q)
		return NULL;
	if (p)
		memcpy(q, p, had < n ? had : n);
	h2_mem_free(p, ctx);
	return q;
}

static nghttp2_mem h2_mem = {NULL, h2_mem_malloc, h2_mem_free, h2_mem_calloc, h2_mem_realloc};

/* ---- streams ---- */

static void h2_dirty(struct h2 *h)
{
	if (h->dirty)
		return;
	h->dirty = true;
	h->owner->dirty(h->ctx);
}

static void h2_woke(struct h2_stream *s)
{
	if (s->woken || !s->user || !s->h)
		return;
	s->woken = true;
	s->next_woken = s->h->woken;
	s->h->woken = s;
	h2_dirty(s->h);
}

static int h2_stream_new(struct h2 *h, struct h2_stream **ret)
{
	struct h2_stream *s = calloc(1, sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->h = h;
	buf_init(&s->in, H2_IN_MAX(h->window));
	s->next = h->first;
	if (h->first)
		h->first->before = s;
	h->first = s;
	*ret = s;
	return 0;
}

static void h2_unwake(struct h2_stream *s)
{
	struct h2_stream **at = &s->h->woken;

	if (!s->woken)
		return;
	while (*at != s)
		at = &(*at)->next_woken;
	*at = s->next_woken;
	s->woken = false;
}

static void h2_stream_free(struct h2_stream *s)
{
	struct h2 *h = s->h;

	if (h) {
		h2_unwake(s);
		*(s->before ? &s->before->next : &h->first) = s->next;
		if (s->next)
			s->next->before = s->before;
		if (h->in_block == s)
			h->in_block = NULL;
	}
	buf_done(&s->in);
	free(s);
}

/* Gives back n bytes of the windows that it owes. */
static void h2_credit(struct h2_stream *s, size_t n)
{
	if (n > s->owed)
		n = s->owed;
	if (n == 0 || !s->h)
		return;
	s->owed -= n;
	(void)(s->closed ? nghttp2_session_consume_connection(s->h->ng, n)
			 : nghttp2_session_consume(s->h->ng, s->id, n));
	h2_dirty(s->h);
}

/* Frees it when nobody needs it any more. */
static void h2_stream_settle(struct h2_stream *s)
{
	if (s->user || (s->h && s->id != 0 && !s->closed))
		return;
	h2_credit(s, s->owed);
	h2_stream_free(s);
}

static void h2_reset(struct h2_stream *s, uint32_t code)
{
	if (!s->h || s->closed || s->id == 0)
		return;
	(void)nghttp2_submit_rst_stream(s->h->ng, NGHTTP2_FLAG_NONE, s->id, code);
	h2_dirty(s->h);
}

/* RFC 9113, 8.1: the rest of the request is not needed. */
static void h2_enough(struct h2_stream *s)
{
	s->enough = true;
	if (s->ended && !s->in_ended)
		h2_reset(s, NGHTTP2_NO_ERROR);
}

static void h2_fail(struct h2_stream *s)
{
	s->failed = s->out_broken = true;
	h2_woke(s);
}

void h2_stream_use(struct h2_stream *s, const struct h2_user *fns, void *user, struct buf *out)
{
	s->fns = fns;
	s->user = user;
	s->out = out;
	s->h->streams++;
	h2_woke(s);
}

bool h2_stream_alive(const struct h2_stream *s)
{
	return s->h && !s->h->broken && !s->h->goaway && !s->failed && !s->closed;
}

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

static struct h2_stream *h2_find(struct h2 *h, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h->ng, id);
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

/* ---- out ---- */

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
static int h2_heads(struct h2_stream *s)
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

/* ---- a stream as a side ---- */

static enum tls_io h2_via_read(void *self, struct buf *to, size_t most, size_t *ret_n)
{
	struct h2_stream *s = self;
	size_t n = buf_len(&s->in);

	if (n == 0)
		return s->failed || !s->h ? TLS_FAIL : s->in_ended ? TLS_END : TLS_IN;
	if (n > most)
		n = most;
	if (n > buf_left(to))
		n = buf_left(to);
	if (n == 0)
		return TLS_IN;
	if (buf_len(to) == 0 && n == buf_len(&s->in)) {
		buf_give(&s->in, to);
	} else {
		if (buf_add(to, buf_bytes(&s->in), n) < 0)
			return TLS_FAIL;
		buf_take(&s->in, n);
	}
	if (n > s->chunk_at)
		s->chunk_open = false;
	else
		s->chunk_at -= n;
	h2_credit(s, buf_len(&s->in) ? n : s->owed);
	*ret_n = n;
	return TLS_OK;
}

static enum tls_io h2_via_write(void *self, struct buf *out, size_t *ret_n)
{
	struct h2_stream *s = self;

	assert(out == s->out);
	*ret_n = s->sent;
	s->sent = 0;
	if (!s->h || s->h->broken || s->out_broken || h2_heads(s) < 0)
		return TLS_FAIL;
	if (buf_len(out) == 0 && !(s->finished && s->phase == H2_RAW))
		return TLS_OK;
	if (s->phase == H2_ENDED)
		return TLS_FAIL; /* more than the head promised */
	if (s->deferred && s->phase != H2_HEAD) {
		s->deferred = false;
		(void)nghttp2_session_resume_data(s->h->ng, s->id);
	}
	h2_dirty(s->h);
	return buf_len(out) ? TLS_OUT : TLS_OK;
}

static void h2_via_finish(void *self)
{
	struct h2_stream *s = self;
	size_t n;

	s->finished = true;
	if (s->h && s->phase == H2_RAW)
		(void)h2_via_write(s, s->out, &n);
}

static bool h2_via_pending(const void *self)
{
	const struct h2_stream *s = self;

	return buf_len(&s->in) > 0;
}

/* Its user lets go. What is not complete is cut off, so that the peer cannot take it for whole. */
static void h2_via_done(void *self)
{
	struct h2_stream *s = self;
	struct h2 *h = s->h;

	if (h) {
		h2_unwake(s);
		h->streams--;
		if (h->kind == H2_CLIENT)
			h2_reset(s, NGHTTP2_CANCEL);
		else if (s->phase == H2_RAW && s->finished && buf_len(s->out) == 0)
			s->ending = true;
		else if (s->phase != H2_ENDED)
			h2_reset(s, NGHTTP2_INTERNAL_ERROR);
		else
			h2_enough(s);
		h2_dirty(h);
	}
	s->user = NULL;
	s->out = NULL;
	h2_credit(s, s->owed);
	buf_done(&s->in);
	h2_stream_settle(s);
}

const struct side_via h2_via = {h2_via_read, h2_via_write, h2_via_finish, h2_via_pending,
				h2_via_done};

/* ---- the connection ---- */

static int h2_callbacks(nghttp2_session_callbacks **ret)
{
	nghttp2_session_callbacks *cb;

	if (nghttp2_session_callbacks_new(&cb) != 0)
		return -ENOMEM;
	nghttp2_session_callbacks_set_on_begin_frame_callback(cb, h2_on_begin_frame);
	nghttp2_session_callbacks_set_on_begin_headers_callback(cb, h2_on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(cb, h2_on_header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(cb, h2_on_invalid_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(cb, h2_on_data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(cb, h2_on_frame);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(cb, h2_on_invalid_frame);
	nghttp2_session_callbacks_set_on_stream_close_callback(cb, h2_on_close);
	nghttp2_session_callbacks_set_on_frame_send_callback(cb, h2_on_sent);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(cb, h2_on_not_sent);
	nghttp2_session_callbacks_set_send_data_callback(cb, h2_on_send_data);
	*ret = cb;
	return 0;
}

static int h2_session(struct h2 *h)
{
	nghttp2_session_callbacks *cb = NULL;
	nghttp2_option *opt = NULL;
	int rc = h2_callbacks(&cb);

	if (rc == 0 && nghttp2_option_new(&opt) != 0)
		rc = -ENOMEM;
	if (rc == 0) {
		nghttp2_option_set_no_auto_window_update(opt, 1);
		nghttp2_option_set_no_closed_streams(opt, 1);
		nghttp2_option_set_peer_max_concurrent_streams(opt,
							       H2_STREAMS_MAX); /* until it says */
		rc = h->kind == H2_SERVER
			     ? nghttp2_session_server_new3(&h->ng, cb, h, opt, NULL)
			     : nghttp2_session_client_new3(&h->ng, cb, h, opt, &h2_mem);
	}
	nghttp2_option_del(opt);
	nghttp2_session_callbacks_del(cb);
	return rc ? -ENOMEM : 0;
}

static int h2_settings(struct h2 *h)
{
	nghttp2_settings_entry of[6] = {
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h->window},
		{NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, HTTP1_HEAD_MAX},
	};
	size_t n = 2;

	if (h->kind == H2_CLIENT) {
		of[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0};
	} else {
		of[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS,
						   H2_STREAMS_MAX};
		of[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1};
		if (h->websocket)
			of[n++] = (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL,
							   1};
	}
	if (nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, of, n) != 0 ||
	    nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0,
						  (int32_t)(h->window * H2_STREAMS_MAX)) != 0)
		return -ENOMEM;
	return 0;
}

int h2_new(enum h2_kind kind, const struct h2_owner *owner, void *ctx, struct http1_head *scratch,
	   bool websocket, struct h2 **ret)
{
	struct h2 *h = calloc(1, sizeof(*h));
	int rc;

	if (!h)
		return -ENOMEM;
	h->kind = kind;
	h->owner = owner;
	h->ctx = ctx;
	h->scratch = scratch;
	h->websocket = websocket;
	h->window = kind == H2_SERVER ? H2_SERVER_WINDOW : H2_CLIENT_WINDOW;
	h->resets.left = H2_RESETS_BURST;
	h->idle.left = H2_IDLE_BURST;
	h2text_init(&h->text);
	rc = h2_session(h);
	if (rc == 0)
		rc = h2_settings(h);
	if (rc < 0) {
		h2_free(h);
		return rc;
	}
	*ret = h;
	return 0;
}

struct h2 *h2_free(struct h2 *h)
{
	struct h2_stream *s, *next;

	if (!h)
		return NULL;
	for (s = h->first; s && h->kind == H2_SERVER; s = next) {
		next = s->next;
		if (s->user)
			s->fns->gone(s->user);
	}
	nghttp2_session_del(h->ng);
	for (s = h->first; s; s = next) {
		next = s->next;
		s->h = NULL;
		s->woken = false;
		s->failed = s->out_broken = true;
		if (!s->user)
			h2_stream_free(s);
	}
	h2text_done(&h->text);
	free(h);
	return NULL;
}

static void h2_break(struct h2 *h, uint32_t code)
{
	struct h2_stream *s;

	if (h->broken)
		return;
	h->broken = true;
	(void)nghttp2_session_terminate_session(h->ng, h->calm ? NGHTTP2_ENHANCE_YOUR_CALM : code);
	for (s = h->first; s; s = s->next)
		h2_fail(s);
	h2_dirty(h);
}

int h2_feed(struct h2 *h, const uint8_t *p, size_t n, uint64_t now_ms)
{
	ssize_t used;

	if (h->broken)
		return -EPROTO;
	h->now_ms = now_ms;
	used = nghttp2_session_mem_recv(h->ng, p, n);
	if (used < 0 || (size_t)used != n) {
		h2_break(h, used == NGHTTP2_ERR_NOMEM ? NGHTTP2_INTERNAL_ERROR
						      : NGHTTP2_PROTOCOL_ERROR);
		return -EPROTO;
	}
	if (!h->block)
		h2text_done(&h->text); /* idle connections hold no memory for it */
	if (nghttp2_session_want_write(h->ng))
		h2_dirty(h);
	return 0;
}

int h2_drain(struct h2 *h, struct buf *to, size_t full)
{
	const uint8_t *p;
	ssize_t n = 0;
	int rc = 0;

	h->dirty = false;
	h->to = to;
	h->full = full;
	while (rc == 0 && buf_len(to) < full) {
		n = nghttp2_session_mem_send(h->ng, &p);
		if (n <= 0)
			break;
		rc = buf_add(to, p, (size_t)n);
		if (to->wipe)
			explicit_bzero((void *)(uintptr_t)p,
				       (size_t)n); /* not needed for anything any more */
	}
	h->to = NULL;
	if (n < 0)
		h2_break(h, NGHTTP2_INTERNAL_ERROR);
	return n < 0 || rc < 0 ? -EPROTO : 0;
}

void h2_wake(struct h2 *h)
{
	struct h2_stream *s;
	void *user;
	bool gone;

	while ((s = h->woken)) {
		h->woken = s->next_woken;
		s->woken = false;
		user = s->user;
		/* The agent has ended it: there is nobody to do anything for. */
		gone = h->kind == H2_SERVER && s->out_broken;
		if (gone)
			s->fns->gone(user);
		else
			s->fns->wake(user);
	}
}

void h2_goaway(struct h2 *h, bool calm)
{
	h->calm |= calm;
	h2_break(h, NGHTTP2_NO_ERROR);
}

bool h2_over(const struct h2 *h)
{
	return h->broken ||
	       (!nghttp2_session_want_read(h->ng) && !nghttp2_session_want_write(h->ng));
}

bool h2_in_block(const struct h2 *h)
{
	return h->block;
}

uint32_t h2_streams(const struct h2 *h)
{
	return h->streams;
}

bool h2_room(const struct h2 *h)
{
	uint32_t most = nghttp2_session_get_remote_settings(
		h->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);

	return !h->broken && !h->goaway &&
	       h->streams < (most < H2_STREAMS_MAX ? most : H2_STREAMS_MAX) &&
	       nghttp2_session_check_request_allowed(h->ng);
}

int h2_open(struct h2 *h, struct h2_stream **ret)
{
	return h2_room(h) ? h2_stream_new(h, ret) : -EBUSY;
}

/* ---- who is to be flushed ---- */

void h2_due_add(struct h2_dues *l, struct h2_due *d)
{
	if (d->listed)
		return;
	d->listed = true;
	d->next = NULL;
	*(l->last ? &l->last->next : &l->first) = d;
	l->last = d;
}

void h2_due_drop(struct h2_dues *l, struct h2_due *d)
{
	struct h2_due **at = &l->first, *before = NULL;

	if (!d->listed)
		return;
	while (*at != d) {
		before = *at;
		at = &(*at)->next;
	}
	*at = d->next;
	if (l->last == d)
		l->last = before;
	d->listed = false;
}

void h2_dues_run(struct h2_dues *l)
{
	struct h2_due *last = l->last, *d;

	while (last && (d = l->first)) {
		h2_due_drop(l, d);
		if (d == last)
			last = NULL;
		d->flush(d);
	}
}
