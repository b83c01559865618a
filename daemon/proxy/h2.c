/* h2.c: the connection; see h2.h. Users are told of things from h2_wake() alone, so that nothing that nghttp2 calls ends up
 * in nghttp2.
 */
#include "h2_in.h"

#include <malloc.h>

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

/* ---- the connection ---- */

static int h2_callbacks(nghttp2_session_callbacks **ret)
{
	if (nghttp2_session_callbacks_new(ret) != 0)
		return -ENOMEM;
	h2_recv_callbacks(*ret);
	h2_send_callbacks(*ret);
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
