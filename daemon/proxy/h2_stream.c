/* h2_stream.c: a stream, and how its user sees it; see h2.h.
 *
 * It lives until nghttp2 has closed it (or the connection is gone) and its user has let go, whichever is later.
 */
#include "h2_in.h"

#define H2_IN_MAX(window) (H2TEXT_MAX + HTTP1_TRAILER_MAX + 2 * (size_t)(window))

void h2_dirty(struct h2 *h)
{
	if (h->dirty)
		return;
	h->dirty = true;
	h->owner->dirty(h->ctx);
}

void h2_woke(struct h2_stream *s)
{
	if (s->woken || !s->user || !s->h)
		return;
	s->woken = true;
	s->next_woken = s->h->woken;
	s->h->woken = s;
	h2_dirty(s->h);
}

int h2_stream_new(struct h2 *h, struct h2_stream **ret)
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

void h2_stream_free(struct h2_stream *s)
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

void h2_stream_settle(struct h2_stream *s)
{
	if (s->user || (s->h && s->id != 0 && !s->closed))
		return;
	h2_credit(s, s->owed);
	h2_stream_free(s);
}

void h2_reset(struct h2_stream *s, uint32_t code)
{
	if (!s->h || s->closed || s->id == 0)
		return;
	(void)nghttp2_submit_rst_stream(s->h->ng, NGHTTP2_FLAG_NONE, s->id, code);
	h2_dirty(s->h);
}

void h2_enough(struct h2_stream *s)
{
	s->enough = true;
	if (s->ended && !s->in_ended)
		h2_reset(s, NGHTTP2_NO_ERROR);
}

void h2_fail(struct h2_stream *s)
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
