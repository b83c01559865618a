/* relay.c: see relay.h.
 *
 * Each pass moves what can be moved one way: parsed payload into the other side's `out`, then one write,
 * then the next read. A body whose framing is the same on both sides is read straight into the other
 * side's `out`. A side that does not take what waits for it stops the reading on the other: memory is
 * bounded by RELAY_FULL each way, and by what a sieve keeps. Passes go on until nothing moves or the turn's share is used up.
 *
 * An upstream may answer before it has read the whole request, and may then close: a failed write ends
 * the way up alone, and what it said is still read.
 */
#include "relay.h"

#include "resign.h"
#include "wsrelay.h"
#include "values.h"

#include <string.h>

#define RELAY_EDITS_MAX 8
#define RELAY_BLOCKED_S(c) ((c)->p->config.idle_timeout_s)

/* Bytes moved in this pass, and what may still be moved in this turn. */
struct relay_share {
	size_t left;
	bool moved;
};

static void relay_moved(struct relay_share *s, size_t n)
{
	s->moved |= n > 0;
	s->left = n < s->left ? s->left - n : 0;
}

/* False: the exchange is over. */
static bool relay_lost(struct conn *c, enum reason why, const char *detail)
{
	exchange_fail(c, why, detail);
	return false;
}

/* ---- up ---- */

static bool relay_read_body(struct conn *c, struct relay_share *s)
{
	struct exchange *x = c->x;
	size_t straight = body_straight(&x->up_body, &c->agent.in), n = 0;
	enum tls_io io;

	if (!exchange_wants_body(c))
		return true;
	io = side_read(&c->agent, straight ? &x->up->side.out : &c->agent.in, straight ? straight : BUF_UNIT, &n);
	if (io == TLS_FAIL || io == TLS_END) {
		conn_close(c, REASON_CLIENT_CLOSED);
		return false;
	}
	if (straight && n > 0) {
		const struct buf *out = &x->up->side.out;

		if (x->up_body.watch && x->up_body.watch(x->up_body.watch_ctx, buf_bytes(out) + buf_len(out) - n, n))
			return relay_lost(c, REASON_SECRET_VALUE, "in the body");
		body_went(&x->up_body, n);
	}
	relay_moved(s, n);
	return true;
}

static bool relay_up(struct conn *c, struct relay_share *s)
{
	struct exchange *x = c->x;
	size_t n;
	int rc;

	if (!x->up || x->up_broken)
		return true;
	rc = x->stream ? resign_move(c)
		       : body_move(&x->up_body, x->hold.whole ? &x->hold.body : &c->agent.in, &x->up->side.out,
				   RELAY_FULL, &c->p->head);
	if (rc == -EIO)
		return relay_lost(c, REASON_VAULT, "a chunk was not signed");
	if (rc == -EBADMSG)
		return relay_lost(c, REASON_BAD_REQUEST, "framing of the body");
	if (rc == -EACCES)
		return relay_lost(c, REASON_SECRET_VALUE, "in the body");
	if (rc < 0)
		return relay_lost(c, REASON_INTERNAL, "no memory");
	if (side_write(&x->up->side, &n) == TLS_FAIL) {
		x->up_broken = true;
		x->up_keep = false;
		buf_done(&x->up->side.out);
	}
	relay_moved(s, n);
	if (n > 0 && c->state == CONN_WAIT)
		c->deadline_ms = c->p->loop.now_ms + c->p->config.response_timeout_s * 1000ULL;
	return relay_read_body(c, s);
}

/* ---- down: the head ---- */

/* What is different in the head of a body whose codings are taken off. */
struct relay_edits {
	size_t count;
	struct http1_edit of[RELAY_EDITS_MAX];
	char etag[256];
};

/* Writes p->head to the agent. */
static int relay_write_head(struct conn *c, const struct http1_meaning *m, enum http1_framing framing, bool close,
			    const struct relay_edits *edits)
{
	const struct http1_head *h = &c->p->head;
	struct http1_out out = {.head = h,
				.meaning = m,
				.edits = edits ? edits->of : NULL,
				.edit_count = edits ? edits->count : 0,
				.framing = framing,
				.length = m->length,
				.close = close};
	size_t bound = h->raw.len + 256, room;
	struct wr w = wr_of(buf_room(&c->agent.out, bound, &room), bound);
	int rc = w.p ? http1_write_response(&w, &out) : -ENOBUFS;

	if (rc == 0)
		buf_added(&c->agent.out, w.len);
	return rc;
}

/* The other representation has another tag: the weak one, since what it says is the same (RFC 9110, 8.8.1). */
static void relay_weaken(const struct http1_head *h, uint32_t field, struct relay_edits *e)
{
	const struct http1_slice v = h->fields[field].value;
	struct http1_edit *edit = &e->of[e->count];
	struct wr w = wr_of(e->etag, sizeof(e->etag));

	if (e->count == RELAY_EDITS_MAX || v.len == 0 || v.p[0] != '"')
		return;
	wr_str(&w, "W/");
	wr_bytes(&w, v.p, v.len);
	*edit = (struct http1_edit){.op = w.full ? HTTP1_DROP : HTTP1_VALUE, .field = field};
	edit->value = (struct http1_slice){e->etag, w.full ? 0 : w.len};
	e->count++;
}

/* The agent spoke plain HTTP, maybe since it cannot trust our CA: an answer that leads it to the same place over TLS
 * leads it to plain HTTP instead, which comes there too. In place: the new text is never longer. */
static void relay_downgrade(const struct conn *c, struct relay_edits *e)
{
	const struct http1_head *h = &c->p->head;
	uint32_t i = 0;

	while (i < h->field_count && !http1_is(h->fields[i].name, "location"))
		i++;
	if (i < h->field_count && e->count < RELAY_EDITS_MAX) {
		struct http1_slice v = h->fields[i].value;
		const char *hash = v.len ? memchr(v.p, '#', v.len) : NULL;
		char *p = (char *)(uintptr_t)v.p;
		struct http1_url u;
		size_t host, port;

		if (http1_url((struct http1_slice){v.p, hash ? (size_t)(hash - v.p) : v.len}, &u) < 0 ||
		    u.scheme != HTTP1_SCHEME_HTTPS || u.port != c->x->upgraded || strcmp(u.host, c->x->host) != 0)
			return;
		/* "https://" host ":port" becomes "http://" host, moved to the end of what it was */
		host = strcspn(p + 8, "/?#:\r\n");
		if (p[8] == '[' || host > v.len - 8)
			return;
		port = u.port_given ? strspn(p + 8 + host, ":0123456789") : 0;
		memmove(p + 8 + port, p + 8, host);
		memcpy(p + 1 + port, "http://", 7);
		e->of[e->count++] = (struct http1_edit){
			.op = HTTP1_VALUE, .field = i, .value = {p + 1 + port, v.len - 1 - port}};
	}
}

static bool relay_begins(struct http1_slice s, const char *word)
{
	size_t n = strlen(word);

	return s.len >= n && http1_is((struct http1_slice){s.p, n}, word);
}

/* The coding of gRPC's and Connect's messages. Its field stays: each message says by itself that it is not coded. */
static int relay_messages(const struct http1_head *h, struct recode_list *list)
{
	uint32_t i, at = http1_find(h, HTTP1_CONTENT_TYPE, 0);
	struct http1_slice type = at < h->field_count ? h->fields[at].value : (struct http1_slice){0};
	int rc = 0;

	if (!relay_begins(type, "application/grpc") && !relay_begins(type, "application/connect+"))
		return 0;
	for (i = 0; i < h->field_count && rc == 0 && list->count == 0; i++)
		if (http1_is(h->fields[i].name, "grpc-encoding") || http1_is(h->fields[i].name, "connect-content-encoding"))
			rc = recode_list_messages(list, h->fields[i].value.p, h->fields[i].value.len);
	/* In base64 there are no messages to be seen. */
	return rc == 0 && list->count > 0 && relay_begins(type, "application/grpc-web-text") ? -ENOTSUP : rc;
}

/* A body that is looked through and coded: *ret takes its codings off. -ENOTSUP: that cannot be done. */
static int relay_uncode(const struct http1_head *h, struct relay_edits *e, struct recode **ret)
{
	struct recode_list list = {0};
	int rc = relay_messages(h, &list);
	uint32_t i;

	for (i = 0; i < h->field_count && rc == 0; i++) {
		if (h->fields[i].id != HTTP1_CONTENT_ENCODING)
			continue;
		if (e->count == RELAY_EDITS_MAX)
			return -ENOTSUP;
		e->of[e->count++] = (struct http1_edit){.op = HTTP1_DROP, .field = i};
		rc = recode_list_add(&list, h->fields[i].value.p, h->fields[i].value.len);
	}
	if (rc < 0 || list.count == 0) {
		e->count = 0;
		return rc;
	}
	if (h->status == 206) /* the coding's middle: nobody can read that alone */
		return -ENOTSUP;
	for (i = 0; i < h->field_count; i++)
		if (http1_is(h->fields[i].name, "etag"))
			relay_weaken(h, i, e);
	return recode_new(&list, ret);
}

/* The response's body is looked through, if there is one and anything to look for. */
static int relay_search(struct conn *c, const struct http1_meaning *m, struct relay_edits *edits)
{
	struct recode *recode = NULL;
	int rc;

	if (!c->x->known || m->framing == HTTP1_FRAMING_NONE || (m->framing == HTTP1_FRAMING_LENGTH && m->length == 0))
		return 0;
	rc = relay_uncode(&c->p->head, edits, &recode);
	if (rc == 0)
		sieve_init(&c->x->sieve, c->x->known->redact, recode);
	return rc;
}

/* The final response's head: how its body goes on, and what becomes of both connections. */
static int relay_respond(struct conn *c, const struct http1_meaning *m)
{
	struct exchange *x = c->x;
	enum http1_framing framing = m->framing;
	struct relay_edits edits = {0};
	int rc = relay_search(c, m, &edits);

	if (rc < 0)
		return rc;
	if (x->upgraded)
		relay_downgrade(c, &edits);
	if (x->sieve.recode)
		framing = HTTP1_FRAMING_CHUNKED; /* nobody knows how long it will be */
	if (framing == HTTP1_FRAMING_CLOSE && !x->agent_minor0)
		framing = HTTP1_FRAMING_CHUNKED;
	if (x->tell && x->sieve.redact && framing == HTTP1_FRAMING_LENGTH)
		framing = HTTP1_FRAMING_CHUNKED;
	if (framing == HTTP1_FRAMING_CHUNKED && x->agent_minor0)
		framing = HTTP1_FRAMING_CLOSE;
	x->agent_keep = x->agent_keep && framing != HTTP1_FRAMING_CLOSE && exchange_body_read(x);
	x->up_keep = m->keep_alive && !x->up_broken;
	x->status = c->p->head.status;
	if (x->status == 401)
		values_stale(c);
	rc = relay_write_head(c, m, framing, !x->agent_keep, &edits);
	if (rc < 0)
		return rc;
	body_init(&x->down_body, m->framing, m->length, framing);
	x->down_body.sieve = x->sieve.redact ? &x->sieve : NULL;
	x->down_body.tell = x->tell && x->sieve.redact;
	x->down_body.told = x->redacted;
	x->responded = true;
	conn_to(c, CONN_RELAY);
	return 0;
}

/* The upstream has taken up the WebSocket, if what it says is an answer to what was asked. */
static bool relay_websocket(struct conn *c, const struct http1_meaning *m)
{
	const struct http1_head *h = &c->p->head;
	size_t used = h->raw.len;
	const char *bad = wsoffer_bad(c->x->offer, h);

	if (bad)
		return relay_lost(c, REASON_UPSTREAM_BAD, bad);
	if (relay_write_head(c, m, HTTP1_FRAMING_NONE, false, NULL) < 0)
		return relay_lost(c, REASON_UPSTREAM_BAD, "head too long");
	c->x->status = h->status;
	c->x->responded = true;
	buf_take(&c->x->up->side.in, used);
	return wsrelay_begin(c) < 0 && relay_lost(c, REASON_INTERNAL, "no memory");
}

/* Heads in up.in: interim ones are passed on, the final one starts the response. */
static bool relay_heads(struct conn *c)
{
	struct exchange *x = c->x;
	struct buf *in = &x->up->side.in;
	struct http1_slice method = {x->method, strlen(x->method)};
	struct http1_meaning m;
	enum http1_result got;
	int rc;

	while (!x->responded && buf_len(in) > 0) {
		got = http1_response(&x->down_scan, (const char *)buf_bytes(in), buf_len(in), &c->p->head);
		if (got == HTTP1_MORE)
			return true;
		if (got != HTTP1_DONE || http1_response_meaning(&c->p->head, method, x->websocket, &m) < 0)
			return relay_lost(c, REASON_UPSTREAM_BAD, http1_bad_word(got == HTTP1_DONE ? m.bad : c->p->head.bad));
		x->down_scan = (struct http1_scan){0};
		exchange_head_gone(c);
		if (c->x->known)
			x->redacted += sieve_head(x->known->redact, &c->p->head, buf_bytes(in));
		if (m.websocket)
			return relay_websocket(c, &m);
		if (c->p->head.status >= 200)
			rc = relay_respond(c, &m);
		else
			rc = x->agent_minor0 ? 0 : relay_write_head(c, &m, HTTP1_FRAMING_NONE, false, NULL);
		if (rc < 0)
			return relay_lost(c, REASON_UPSTREAM_BAD,
					  rc == -ENOTSUP ? "content encoding cannot be checked" : "head too long");
		buf_take(in, c->p->head.raw.len);
	}
	return true;
}

/* ---- down: the body ---- */

/* The upstream has ended, cleanly or not. */
static bool relay_ended(struct conn *c, enum tls_io io)
{
	struct exchange *x = c->x;

	x->up_keep = false;
	if (!x->responded) {
		if (buf_len(&x->up->side.in) == 0 && exchange_again(c))
			return false;
		return relay_lost(c, REASON_UPSTREAM_CLOSED, io == TLS_FAIL ? side_why(&x->up->side) : NULL);
	}
	if (io == TLS_FAIL || body_end(&x->down_body, &c->agent.out) < 0)
		return relay_lost(c, REASON_UPSTREAM_CLOSED, "in the middle of the response");
	return true;
}

/* What is in up.in goes on. False: the exchange is over. */
static bool relay_move_response(struct conn *c)
{
	struct exchange *x = c->x;
	int rc;

	if (!x->responded && !relay_heads(c))
		return false;
	if (!x->responded)
		return true;
	rc = body_move(&x->down_body, &x->up->side.in, &c->agent.out, RELAY_FULL, &c->p->head);
	if (rc == -EBADMSG)
		return relay_lost(c, REASON_UPSTREAM_BAD, "framing or coding of the body");
	if (rc == -EFBIG || rc == -E2BIG)
		return relay_lost(c, REASON_UPSTREAM_BAD, "the body cannot be checked");
	return rc == 0 || relay_lost(c, REASON_INTERNAL, "no memory");
}

/* One read from the upstream. *ret_n: bytes. False: the exchange is over. */
static bool relay_read_response(struct conn *c, size_t *ret_n)
{
	struct exchange *x = c->x;
	struct side *from = &x->up->side;
	size_t straight = x->responded ? body_straight(&x->down_body, &from->in) : 0;
	enum tls_io io;

	from->in.wipe = x->known != NULL;
	io = side_read(from, straight ? &c->agent.out : &from->in, straight ? straight : BUF_UNIT, ret_n);
	if (io == TLS_FAIL || io == TLS_END)
		return relay_ended(c, io);
	if (!straight)
		return relay_move_response(c);
	body_went(&x->down_body, *ret_n);
	return true;
}

/* The response is complete: the upstream is free, whether or not the agent has read it yet. */
static void relay_release(struct conn *c)
{
	struct exchange *x = c->x;
	struct upstream *up = take(x->up);

	if (!exchange_body_read(x))
		x->agent_keep = false;
	if (x->up_keep && x->up_body.phase == BODY_DONE && !resign_busy(x) && buf_len(&up->side.out) == 0 && buf_len(&up->side.in) == 0)
		upstream_park(up);
	else
		upstream_drop(up);
}

static bool relay_down(struct conn *c, struct relay_share *s)
{
	struct exchange *x = c->x;
	size_t n;

	/* What an earlier pass had no room for comes first: an end read now must find it gone. */
	if (x->up && !relay_move_response(c))
		return false;
	do {
		n = 0;
		if (!x->up || !exchange_wants_response(c))
			break;
		if (!relay_read_response(c, &n))
			return false;
		relay_moved(s, n);
	} while (n > 0 && side_pending(&x->up->side));
	if (x->up && x->responded && x->down_body.phase == BODY_DONE)
		relay_release(c);
	if (side_write(&c->agent, &n) == TLS_FAIL) {
		conn_close(c, REASON_CLIENT_CLOSED);
		return false;
	}
	relay_moved(s, n);
	return true;
}

/* ---- both ---- */

/* A side that takes nothing of what waits for it may do so for idle_timeout; a silent stream is left to
 * TCP keepalive. */
static void relay_deadline(struct conn *c, bool moved)
{
	const struct exchange *x = c->x;
	bool blocked = buf_len(&c->agent.out) > 0 || (x->up && buf_len(&x->up->side.out) > 0);

	if (c->state != CONN_RELAY)
		return;
	if (!blocked)
		c->deadline_ms = 0;
	else if (moved || c->deadline_ms == 0)
		c->deadline_ms = c->p->loop.now_ms + RELAY_BLOCKED_S(c) * 1000ULL;
}

bool relay_step(struct conn *c)
{
	struct relay_share s = {.left = RELAY_BUDGET};
	bool any = false;

	do {
		s.moved = false;
		if (!relay_up(c, &s) || !relay_down(c, &s))
			return true;
		any |= s.moved;
		if (!c->x->up && buf_len(&c->agent.out) == 0) {
			exchange_finish(c);
			return true;
		}
	} while (s.moved && s.left > 0);
	if (s.left == 0)
		conn_again(c);
	relay_deadline(c, any);
	return false;
}
