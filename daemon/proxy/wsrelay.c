/* wsrelay.c: see wsrelay.h.
 *
 * What may be the beginning of a find is kept in `plain` until it is known. Frames that begin meanwhile wait in `inserts`
 * with the place in the stream of payload where they belong; a control frame too, since it must not come to stand within
 * another frame.
 */
#include "wsrelay.h"

#include "exchange.h"
#include "relay.h"
#include "ws.h"

#include <string.h>

#define WSRELAY_INSERTS 32

struct wsrelay_insert {
	uint64_t at; /* bytes of payload before it */
	uint8_t len;
	uint8_t bytes[WS_HEAD_MAX + WS_CONTROL_MAX];
};

struct wsrelay {
	struct ws up, down;
	bool agent_ended, up_ended; /* has finished sending */
	bool passed;                /* … and the upstream was told */
	struct buf plain;
	uint64_t taken, released; /* bytes of payload that went into plain, and out of it */
	struct redact_text text;  /* of the message */
	struct wsrelay_insert inserts[WSRELAY_INSERTS];
	uint32_t first, count;
	uint8_t control[WS_CONTROL_MAX]; /* of the upstream's control frame under way */
	size_t control_len;
};

struct wsrelay_share {
	size_t left;
	bool moved;
};

static void wsrelay_moved(struct wsrelay_share *s, size_t n)
{
	s->moved |= n > 0;
	s->left = n < s->left ? s->left - n : 0;
}

int wsrelay_begin(struct conn *c)
{
	struct wsrelay *w = calloc(1, sizeof(*w));

	if (!w)
		return -ENOMEM;
	w->up.from_client = true;
	buf_init(&w->plain, 2 * SIEVE_HOLD_MAX);
	w->plain.wipe = true;
	c->x->ws = w;
	c->x->agent_keep = c->x->up_keep = false;
	conn_to(c, CONN_WEBSOCKET);
	return 0;
}

struct wsrelay *wsrelay_free(struct wsrelay *w)
{
	if (w)
		buf_done(&w->plain);
	free(w);
	return NULL;
}

/* Ends it. The agent gets a Close with this code, if it can be put between two frames. */
static void wsrelay_close(struct conn *c, uint16_t code, enum reason why, const char *detail)
{
	const uint8_t frame[] = {0x88, 2, (uint8_t)(code >> 8), (uint8_t)code};
	struct wsrelay *w = c->x->ws;
	size_t n;

	c->x->detail = detail;
	if (w->down.left == 0 && buf_len(&w->plain) == 0 && !w->down.closed &&
	    buf_add(&c->agent.out, frame, sizeof(frame)) == 0 &&
	    side_write(&c->agent, &n) == TLS_OK)
		side_finish(&c->agent);
	conn_close(c, why);
}

static bool wsrelay_fail(struct conn *c, enum reason why, const char *detail)
{
	wsrelay_close(c, 1002, why, detail); /* protocol error */
	return false;
}

void wsrelay_forbid(struct conn *c, enum reason why, const char *detail)
{
	wsrelay_close(c, 1008, why, detail); /* policy violation */
}

static int wsrelay_put_head(struct buf *out, const struct ws_frame *f)
{
	uint8_t head[WS_HEAD_MAX];
	struct wr w = wr_of(head, sizeof(head));

	ws_write_head(&w, f);
	return buf_add(out, head, w.len);
}

/* ---- up ---- */

static bool wsrelay_parse_up(struct conn *c)
{
	struct exchange *x = c->x;
	struct buf *in = &c->agent.in, *out = &x->up->side.out;
	size_t used, data;
	int rc = 0;

	while (rc == 0 && buf_len(in) > 0 && buf_len(out) < RELAY_FULL) {
		enum ws_result got = ws_read(&x->ws->up, buf_bytes(in), buf_len(in), &used, &data);

		if (got == WS_BAD)
			return wsrelay_fail(c, REASON_BAD_REQUEST, "websocket frame");
		if (got == WS_HEAD)
			rc = wsrelay_put_head(out, &x->ws->up.frame);
		else if (got == WS_DATA)
			rc = buf_add(out, buf_bytes(in), data);
		x->up_body.bytes += data;
		buf_take(in, used);
	}
	return rc == 0 || wsrelay_fail(c, REASON_INTERNAL, "no memory");
}

static bool wsrelay_up(struct conn *c, struct wsrelay_share *s)
{
	struct exchange *x = c->x;
	struct wsrelay *w = x->ws;
	enum tls_io io;
	size_t n;

	if (!wsrelay_parse_up(c))
		return false;
	if (side_write(&x->up->side, &n) == TLS_FAIL)
		return wsrelay_fail(c, REASON_UPSTREAM_CLOSED, NULL);
	wsrelay_moved(s, n);
	if (wsrelay_wants_agent(c)) {
		io = side_read(&c->agent, &c->agent.in, BUF_UNIT, &n);
		if (io == TLS_FAIL) {
			conn_close(c, REASON_CLIENT_CLOSED);
			return false;
		}
		w->agent_ended = io == TLS_END;
		wsrelay_moved(s, n);
		s->moved |= w->agent_ended;
	}
	if (w->agent_ended && !w->passed && buf_len(&c->agent.in) == 0 &&
	    buf_len(&x->up->side.out) == 0) {
		side_finish(&x->up->side);
		w->passed = true;
	}
	return true;
}

/* ---- down ---- */

/* Bytes that belong behind all payload that has been taken so far. */
static int wsrelay_insert(struct conn *c, const uint8_t *p, size_t n)
{
	struct wsrelay *w = c->x->ws;
	struct wsrelay_insert *i;

	if (buf_len(&w->plain) == 0)
		return buf_add(&c->agent.out, p, n);
	if (w->count == WSRELAY_INSERTS)
		return -E2BIG;
	i = &w->inserts[(w->first + w->count++) % WSRELAY_INSERTS];
	i->at = w->taken;
	i->len = (uint8_t)n;
	memcpy(i->bytes, p, n);
	return 0;
}

/* The first n bytes of plain go, and what stands between and right behind them. */
static int wsrelay_release(struct conn *c, size_t n)
{
	struct wsrelay *w = c->x->ws;
	int rc = 0;

	while (rc == 0) {
		struct wsrelay_insert *i = w->count ? &w->inserts[w->first] : NULL;
		size_t step = n;

		if (i && i->at == w->released) {
			rc = buf_add(&c->agent.out, i->bytes, i->len);
			w->first = (w->first + 1) % WSRELAY_INSERTS;
			w->count--;
			continue;
		}
		if (n == 0)
			break;
		if (i && i->at - w->released < step)
			step = (size_t)(i->at - w->released);
		rc = buf_add(&c->agent.out, buf_bytes(&w->plain), step);
		buf_take(&w->plain, step);
		w->plain.wipe = true; /* buf_done() forgets it */
		w->released += step;
		n -= step;
	}
	return rc;
}

/* More of the message is in plain, or its end has come. */
static int wsrelay_search(struct conn *c)
{
	struct wsrelay *w = c->x->ws;
	bool last = !w->down.message && w->down.left == 0;
	size_t done;

	if (buf_len(&w->plain) == 0)
		return wsrelay_release(c, 0);
	done = redact_scan(c->x->known->redact, &w->text, buf_bytes(&w->plain), buf_len(&w->plain),
			   last);
	if (buf_len(&w->plain) - done > SIEVE_HOLD_MAX)
		return -E2BIG;
	return wsrelay_release(c, done);
}

/* A control frame's payload is complete. */
static int wsrelay_control(struct conn *c)
{
	struct wsrelay *w = c->x->ws;
	uint8_t bytes[WS_HEAD_MAX + WS_CONTROL_MAX];
	struct redact_text text = {0};
	struct wr to = wr_of(bytes, sizeof(bytes));

	if (c->x->known && w->control_len > 0)
		(void)redact_scan(c->x->known->redact, &text, w->control, w->control_len, true);
	c->x->redacted += text.found;
	ws_write_head(&to, &w->down.frame);
	wr_bytes(&to, w->control, w->control_len);
	w->control_len = 0;
	return wsrelay_insert(c, bytes, to.len);
}

static int wsrelay_frame(struct conn *c)
{
	struct wsrelay *w = c->x->ws;
	const struct ws_frame *f = &w->down.frame;
	uint8_t head[WS_HEAD_MAX];
	struct wr to = wr_of(head, sizeof(head));
	int rc;

	if (ws_is_control(f)) {
		w->control_len = 0;
		return f->length == 0 ? wsrelay_control(c) : 0;
	}
	if (f->opcode != WS_CONT) {
		c->x->redacted += w->text.found;
		w->text = (struct redact_text){0};
	}
	ws_write_head(&to, f);
	rc = wsrelay_insert(c, head, to.len);
	return rc == 0 && c->x->known && f->length == 0 ? wsrelay_search(c) : rc;
}

static int wsrelay_payload(struct conn *c, const uint8_t *p, size_t n)
{
	struct wsrelay *w = c->x->ws;
	int rc;

	c->x->down_body.bytes += n;
	if (ws_is_control(&w->down.frame)) {
		memcpy(w->control + w->control_len, p, n); /* as long as ws.c lets it be */
		w->control_len += n;
		return w->down.left == 0 ? wsrelay_control(c) : 0;
	}
	if (!c->x->known)
		return buf_add(&c->agent.out, p, n);
	rc = buf_add(&w->plain, p, n);
	w->taken += n;
	return rc < 0 ? rc : wsrelay_search(c);
}

static bool wsrelay_parse_down(struct conn *c)
{
	struct exchange *x = c->x;
	struct buf *in = &x->up->side.in;
	size_t used, data;
	int rc = 0;

	while (rc == 0 && buf_len(in) > 0 && buf_len(&c->agent.out) < RELAY_FULL) {
		enum ws_result got = ws_read(&x->ws->down, buf_bytes(in), buf_len(in), &used,
					     &data);

		if (got == WS_BAD)
			return wsrelay_fail(c, REASON_UPSTREAM_BAD, "websocket frame");
		if (got == WS_HEAD)
			rc = wsrelay_frame(c);
		else if (got == WS_DATA)
			rc = wsrelay_payload(c, buf_bytes(in), data);
		buf_take(in, used);
	}
	if (rc == -E2BIG)
		return wsrelay_fail(c, REASON_UPSTREAM_BAD, "the message cannot be checked");
	return rc == 0 || wsrelay_fail(c, REASON_INTERNAL, "no memory");
}

static bool wsrelay_down(struct conn *c, struct wsrelay_share *s)
{
	struct exchange *x = c->x;
	struct wsrelay *w = x->ws;
	enum tls_io io;
	size_t n;

	do {
		n = 0;
		if (!wsrelay_parse_down(c))
			return false;
		if (!wsrelay_wants_upstream(c))
			break;
		x->up->side.in.wipe = x->known != NULL;
		io = side_read(&x->up->side, &x->up->side.in, BUF_UNIT, &n);
		if (io == TLS_FAIL)
			return wsrelay_fail(c, REASON_UPSTREAM_CLOSED, side_why(&x->up->side));
		w->up_ended = io == TLS_END;
		s->moved |= w->up_ended;
		wsrelay_moved(s, n);
	} while (n > 0);
	if (side_write(&c->agent, &n) == TLS_FAIL) {
		conn_close(c, REASON_CLIENT_CLOSED);
		return false;
	}
	wsrelay_moved(s, n);
	return true;
}

/* ---- both ---- */

bool wsrelay_wants_agent(const struct conn *c)
{
	const struct wsrelay *w = c->x->ws;

	return !w->agent_ended && buf_len(&c->agent.in) == 0 &&
	       buf_len(&c->x->up->side.out) < RELAY_FULL;
}

bool wsrelay_wants_upstream(const struct conn *c)
{
	const struct wsrelay *w = c->x->ws;

	return !w->up_ended && buf_len(&c->x->up->side.in) == 0 &&
	       buf_len(&c->agent.out) < RELAY_FULL;
}

/* As for other responses: a side that takes nothing of what waits for it has idle_timeout; so has one that goes on alone. */
static void wsrelay_deadline(struct conn *c, bool moved)
{
	const struct exchange *x = c->x;
	bool waits = buf_len(&c->agent.out) > 0 || buf_len(&x->up->side.out) > 0 ||
		     x->ws->agent_ended || x->ws->up.closed || x->ws->down.closed;

	if (!waits)
		c->deadline_ms = 0;
	else if (moved || c->deadline_ms == 0)
		c->deadline_ms = c->p->loop.now_ms + c->p->config.idle_timeout_s * 1000ULL;
}

bool wsrelay_step(struct conn *c)
{
	struct wsrelay_share s = {.left = RELAY_BUDGET};
	struct wsrelay *w = c->x->ws;
	bool any = false;

	do {
		s.moved = false;
		if (!wsrelay_up(c, &s) || !wsrelay_down(c, &s))
			return true;
		any |= s.moved;
		if (w->up_ended && buf_len(&c->x->up->side.in) == 0 &&
		    buf_len(&c->agent.out) == 0) {
			c->x->redacted += w->text.found;
			if (!w->down.closed)
				c->x->failure = REASON_UPSTREAM_CLOSED;
			exchange_finish(c);
			return true;
		}
	} while (s.moved && s.left > 0);
	if (s.left == 0)
		conn_again(c);
	wsrelay_deadline(c, any);
	return false;
}
