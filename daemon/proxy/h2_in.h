/* h2_in.h: what the files of h2.h share. h2.c is the connection; h2_stream.c a stream, and how its user sees it;
 * h2_recv.c what comes in, and how much of it may; h2_send.c what goes out.
 */
#ifndef H2_IN_H
#define H2_IN_H

#include "h2.h"

#include <assert.h>
#include <string.h>

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

static inline struct h2_stream *h2_find(struct h2 *h, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h->ng, id);
}

/* ---- h2_stream.c ---- */
/* There is something to be sent: the owner is told, once until it is drained. */
void h2_dirty(struct h2 *h);
/* Its user is to be told, by h2_wake(). */
void h2_woke(struct h2_stream *s);
int h2_stream_new(struct h2 *h, struct h2_stream **ret) must_check;
void h2_stream_free(struct h2_stream *s);
/* Frees it when nobody needs it any more. */
void h2_stream_settle(struct h2_stream *s);
void h2_reset(struct h2_stream *s, uint32_t code);
/* RFC 9113, 8.1: the rest of the request is not needed. */
void h2_enough(struct h2_stream *s);
/* Neither side of it goes on. */
void h2_fail(struct h2_stream *s);

/* ---- h2_recv.c, h2_send.c ---- */
void h2_recv_callbacks(nghttp2_session_callbacks *cb);
void h2_send_callbacks(nghttp2_session_callbacks *cb);
/* Sends the heads that are complete in what the user has written; -EBADMSG. */
int h2_heads(struct h2_stream *s) must_check;

#endif
