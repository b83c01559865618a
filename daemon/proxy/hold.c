/* hold.c: see hold.h. Nothing is written to the upstream here; the agent gets a "100 Continue" at most. */
#include "hold.h"

#include "exchange.h"

#include <string.h>

#define HOLD_RAW_MAX (HTTP1_HEAD_MAX + 1024) /* fits back into agent.in */

static const char hold_continue[] = "HTTP/1.1 100 Continue\r\n\r\n";

void hold_begin(struct conn *c)
{
	struct hold *h = &c->x->hold;
	const struct http1_meaning *m = &c->x->rq->meaning;

	h->begun = true;
	buf_init(&h->body, c->p->config.body_max);
	buf_init(&h->raw, HOLD_RAW_MAX);
	body_init(&h->in, m->framing, m->length, HTTP1_FRAMING_CLOSE);
}

/* What is behind the head, once. */
static int hold_move_rest(struct conn *c)
{
	struct hold *h = &c->x->hold;
	struct buf *in = &c->agent.in;
	size_t head = c->x->rq->used, rest = buf_len(in) - head;
	int rc;

	if (rest == 0)
		return 0;
	rc = buf_add(&h->raw, buf_bytes(in) + head, rest);
	if (rc == 0)
		buf_cut(in, rest);
	return rc;
}

/* Is the guard still within what its bodies may take? */
static bool hold_count(struct conn *c)
{
	struct hold *h = &c->x->hold;
	size_t now = h->body.cap + h->raw.cap;

	c->guard->held += now;
	c->guard->held -= h->counted;
	h->counted = now;
	return c->guard->held <= HOLD_GUARD_MAX;
}

static enum hold_result hold_over(enum reason *why, const char **detail, enum reason is,
				  const char *text)
{
	*why = is;
	*detail = text;
	return HOLD_OVER;
}

/* A client that waits for leave to send its body gets it from us: the upstream is not asked yet. */
static int hold_welcome(struct conn *c)
{
	struct hold *h = &c->x->hold;
	size_t n;

	if (c->x->rq->meaning.expect_continue && !h->welcomed && buf_len(&h->raw) == 0 &&
	    buf_add(&c->agent.out, hold_continue, sizeof(hold_continue) - 1) < 0)
		return -ENOBUFS;
	h->welcomed = true;
	return side_write(&c->agent, &n) == TLS_FAIL ? -EPIPE : 0;
}

/* Parses what has come. */
static enum hold_result hold_move(struct conn *c, enum reason *why, const char **detail)
{
	struct hold *h = &c->x->hold;
	size_t max = c->p->config.body_max;
	int rc;

	if (h->in.from == HTTP1_FRAMING_LENGTH && h->in.left > max - buf_len(&h->body))
		return hold_over(why, detail, REASON_BODY, NULL);
	rc = body_move(&h->in, &h->raw, &h->body, SIZE_MAX, &c->p->head);
	if (rc == -EBADMSG)
		return hold_over(why, detail, REASON_BAD_REQUEST, "framing of the body");
	if (rc < 0)
		return hold_over(why, detail, REASON_BODY, NULL);
	if (!hold_count(c))
		return hold_over(why, detail, REASON_LIMIT,
				 "bodies of this agent that are being looked into");
	h->whole = h->in.phase == BODY_DONE;
	return h->whole ? HOLD_WHOLE : HOLD_MORE;
}

enum hold_result hold_step(struct conn *c, enum reason *why, const char **detail)
{
	struct hold *h = &c->x->hold;
	enum hold_result got;
	enum tls_io io;
	size_t n;

	*why = REASON_NONE;
	if (hold_move_rest(c) < 0)
		return hold_over(why, detail, REASON_INTERNAL, "no memory");
	for (;;) {
		got = hold_move(c, why, detail);
		if (got != HOLD_MORE)
			return got;
		if (hold_welcome(c) < 0)
			break;
		io = side_read(&c->agent, &h->raw, BUF_UNIT, &n);
		if (io == TLS_IN || io == TLS_OUT)
			return HOLD_MORE;
		if (io != TLS_OK)
			break;
		c->deadline_ms = c->p->loop.now_ms + c->p->config.head_timeout_s * 1000ULL;
	}
	conn_close(c, REASON_CLIENT_CLOSED);
	return HOLD_OVER;
}

void hold_back(struct conn *c)
{
	struct hold *h = &c->x->hold;
	int rc;

	if (!h->begun || buf_len(&h->raw) == 0)
		return;
	rc = buf_add(&c->agent.in, buf_bytes(&h->raw), buf_len(&h->raw));
	buf_done(&h->raw);
	if (rc < 0) /* no memory: the next request is lost, so there is none */
		c->x->agent_keep = false;
}

void hold_done(struct conn *c)
{
	struct hold *h = &c->x->hold;

	if (!h->begun)
		return;
	buf_done(&h->body);
	buf_done(&h->raw);
	(void)hold_count(c);
	h->begun = h->whole = false;
}
