/* h2front.c: see h2front.h.
 *
 * What has come is fed to the session, then the streams where something happened take a step each; what they have to say
 * is gathered and written once, when the turn of the loop ends. While the agent takes nothing of what waits for it, nothing
 * more is read from it, so that its PINGs and SETTINGS do not pile up as answers.
 *
 * The connection's deadline: for the preface and a block of fields that has begun, head_timeout; for output that waits and
 * for silence without a stream, idle_timeout; with streams, theirs.
 */
#include "h2front.h"

#include "exchange.h"
#include "h2.h"
#include "relay.h"

#define H2FRONT_FULL      RELAY_FULL /* bytes that wait to be written: no more frames are made */
#define H2FRONT_WEBSOCKET true      /* is extended CONNECT offered: RFC 8441 */

struct h2front {
	struct conn *c;
	struct h2 *h;
	struct h2_due due;
	bool begun;   /* the preface has come */
	bool closing; /* GOAWAY is on its way: no more is read */
	enum {
		H2FRONT_NONE = 0,
		H2FRONT_HEAD,
		H2FRONT_BLOCKED,
		H2FRONT_IDLE
	} waits; /* what the deadline is for */
};

/* ---- streams ---- */

static void h2front_stream_wake(void *user)
{
	conn_step(user);
}

static void h2front_stream_gone(void *user)
{
	conn_close(user, REASON_CLIENT_CLOSED);
}

static const struct h2_user h2front_user = {h2front_stream_wake, h2front_stream_gone};

static int h2front_opened(void *ctx, struct h2_stream *s)
{
	struct h2front *f = ctx;
	struct conn *c = NULL;
	int rc = conn_stream(f->c, &h2_via, s, &c);

	if (rc < 0)
		return rc;
	h2_stream_use(s, &h2front_user, c, &c->agent.out);
	return 0;
}

static void h2front_malformed(void *ctx)
{
	struct h2front *f = ctx;

	conn_refused(f->c, REASON_BAD_REQUEST, "malformed HTTP/2 request");
}

static void h2front_dirty(void *ctx)
{
	struct h2front *f = ctx;

	h2_due_add(&f->c->p->dues, &f->due);
}

static const struct h2_owner h2front_owner = {h2front_opened, h2front_malformed, h2front_dirty};

/* ---- the connection ---- */

static void h2front_deadline(struct h2front *f, bool moved)
{
	struct conn *c = f->c;
	int waits = H2FRONT_NONE;
	uint32_t s;

	if (!f->begun || h2_in_block(f->h))
		waits = H2FRONT_HEAD;
	else if (buf_len(&c->agent.out) > 0)
		waits = H2FRONT_BLOCKED;
	else if (h2_streams(f->h) == 0)
		waits = H2FRONT_IDLE;
	if (waits == (int)f->waits && !(moved && waits > H2FRONT_HEAD))
		return;
	f->waits = waits;
	s = waits == H2FRONT_HEAD ? c->p->config.head_timeout_s : c->p->config.idle_timeout_s;
	c->deadline_ms = waits == H2FRONT_NONE ? 0 : c->p->loop.now_ms + s * 1000ULL;
}

/* What was said is out, and nothing more will be: the end. */
static void h2front_end(struct h2front *f)
{
	struct conn *c = f->c;

	side_finish(&c->agent);
	c->front = h2front_free(f);
	conn_to(c, CONN_LINGER);
}

static void h2front_flush(struct h2_due *d)
{
	struct h2front *f = (struct h2front *)((char *)d - offsetof(struct h2front, due));
	struct conn *c = f->c;
	size_t n;
	bool moved = false;
	enum tls_io io;

	do {
		f->closing |= h2_drain(f->h, &c->agent.out, H2FRONT_FULL) < 0;
		io = side_write(&c->agent, &n);
		if (io == TLS_FAIL) {
			conn_close(c, REASON_CLIENT_CLOSED);
			return;
		}
		moved |= n > 0;
	} while (n > 0 && buf_len(&c->agent.out) == 0);
	h2_wake(f->h);
	f->closing |= h2_over(f->h);
	h2front_deadline(f, moved);
	if (f->closing && buf_len(&c->agent.out) == 0 && !f->due.listed)
		h2front_end(f);
	conn_step(c); /* asks epoll for what is needed now */
}

bool h2front_wants(const struct h2front *f)
{
	return !f->closing && buf_len(&f->c->agent.out) < H2FRONT_FULL;
}

bool h2front_step(struct h2front *f)
{
	struct conn *c = f->c;
	size_t n, budget = RELAY_BUDGET;
	enum tls_io io = TLS_IN;

	if (!c->agent.blocked && buf_len(&c->agent.out) > 0)
		h2_due_add(&c->p->dues, &f->due); /* there is room again */
	while (budget > 0 && h2front_wants(f)) {
		io = side_read(&c->agent, &c->agent.in, BUF_UNIT, &n);
		if (io != TLS_OK)
			break;
		budget -= n < budget ? n : budget;
		f->begun = true;
		f->closing |= h2_feed(f->h, buf_bytes(&c->agent.in), buf_len(&c->agent.in),
				      c->p->loop.now_ms) < 0;
		buf_done(&c->agent.in);
		h2front_deadline(f, false);
	}
	if (io == TLS_FAIL || io == TLS_END) {
		conn_close(c, REASON_CLIENT_CLOSED);
		return false;
	}
	h2_wake(f->h);
	if (budget == 0)
		conn_again(c);
	return false;
}

void h2front_timeout(struct h2front *f)
{
	struct conn *c = f->c;

	if (f->waits == H2FRONT_BLOCKED || f->closing) {
		conn_reset(c, REASON_CLIENT_CLOSED);
		return;
	}
	h2_goaway(f->h, false);
	f->closing = true;
	h2_due_add(&c->p->dues, &f->due);
}

int h2front_new(struct conn *c)
{
	struct h2front *f = calloc(1, sizeof(*f));
	int rc = f ? h2_new(H2_SERVER, &h2front_owner, f, &c->p->h2_head, H2FRONT_WEBSOCKET, &f->h)
		   : -ENOMEM;

	if (rc < 0) {
		free(f);
		return rc;
	}
	f->c = c;
	f->due.flush = h2front_flush;
	c->front = f;
	h2front_deadline(f, false);
	h2_due_add(&c->p->dues, &f->due); /* our SETTINGS */
	return 0;
}

struct h2front *h2front_free(struct h2front *f)
{
	if (!f)
		return NULL;
	h2_free(f->h);
	h2_due_drop(&f->c->p->dues, &f->due);
	free(f);
	return NULL;
}
