/* tunnel.c: see tunnel.h.
 *
 * Each direction is splice(2) from one socket into a pipe and from there into the other, so no byte is copied to this
 * process. A pipe is held only while bytes are in it (pipes.h). A socket that does not take them stops the reading of
 * the other one, since no more is spliced into a pipe that is not empty. The end of one direction is passed on when
 * its last byte has gone, and the other direction lives on; an error of either socket resets both.
 */
#include "tunnel.h"

#include "judge.h"
#include "origin.h"
#include "pipes.h"
#include "tls.h"

#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>

#define TUNNEL_CHUNK PIPES_SIZE
#define TUNNEL_SHARE (1024 * 1024) /* bytes of a direction in one turn */

struct tunnel_way {
	int pipe[2];  /* -1: none is needed */
	size_t held;  /* bytes in it */
	bool ended;   /* the source has finished */
	bool passed;  /* … and the other side was told */
	uint64_t bytes;
};

struct tunnel {
	struct conn *c;
	uint64_t id, start_ms;
	char host[RPC_HOST_MAX], rule[RPC_HOST_MAX];
	uint16_t port;
	bool private;
	struct ask ask;
	bool resolved, recorded, decided;
	int resolve_rc;
	uint8_t addrs[RPC_ADDRS_MAX][16];
	uint32_t addr_count;
	enum reason verdict, failure;
	const char *detail;
	struct upstream *up;
	struct tunnel_way to_up, to_agent;
};

/* ---- the audit log ---- */

static void tunnel_record_decision(struct conn *c)
{
	struct tunnel *t = c->tunnel;
	struct audit_entry en = {.kind = AUDIT_DECISION,
				 .id = t->id,
				 .detail = t->detail,
				 .scheme = "tunnel",
				 .host = t->host,
				 .host_len = strlen(t->host),
				 .host_port = t->port,
				 .rule = t->rule,
				 .allow = t->verdict == REASON_NONE,
				 .reason = t->verdict};

	conn_describe(c, &en);
	c->p->stats.requests++;
	c->p->stats.denied += !en.allow;
	proxy_audit(c->p, &en);
}

static void tunnel_record_outcome(struct conn *c)
{
	struct tunnel *t = c->tunnel;
	struct audit_entry en = {.kind = AUDIT_OUTCOME,
				 .id = t->id,
				 .guard = c->rec.guard,
				 .workspace = c->guard->workspace->name,
				 .host = t->host,
				 .host_len = strlen(t->host),
				 .allow = t->verdict == REASON_NONE,
				 .reason = t->failure,
				 .detail = t->detail,
				 .bytes_up = t->to_up.bytes,
				 .bytes_down = t->to_agent.bytes,
				 .has_ms = true,
				 .ms = (uint32_t)(c->p->loop.now_ms - t->start_ms)};

	proxy_audit(c->p, &en);
}

/* ---- beginning and end ---- */

static void tunnel_decide(struct conn *c, enum reason verdict, enum reason failure)
{
	struct tunnel *t = c->tunnel;

	t->verdict = verdict;
	t->failure = verdict != REASON_NONE ? verdict : failure;
	t->decided = true;
	tunnel_record_decision(c);
	conn_to(c, CONN_TUNNEL_RECORD);
	conn_wait_record(c);
}

void tunnel_begin(struct conn *c, const struct route *r, bool ech)
{
	struct tunnel *t = calloc(1, sizeof(*t));

	if (!t) {
		conn_close(c, REASON_INTERNAL);
		return;
	}
	t->c = c;
	t->id = ++c->p->next_id;
	t->start_ms = c->p->loop.now_ms;
	memcpy(t->host, r->host, sizeof(t->host));
	memcpy(t->rule, r->rule->host, sizeof(t->rule));
	t->port = r->port;
	t->private = r->rule->private;
	t->to_up.pipe[0] = t->to_up.pipe[1] = t->to_agent.pipe[0] = t->to_agent.pipe[1] = -1;
	c->tunnel = t;
	conn_to(c, CONN_TUNNEL_RESOLVE);
	if (ech) {
		t->detail = "encrypted_client_hello";
		tunnel_decide(c, REASON_SNI_HOST, REASON_NONE);
	}
}

/* The other end of a connection that broke sees that what it got is not all. */
static void tunnel_reset_upstream(struct tunnel *t)
{
	const struct linger now = {.l_onoff = 1};

	if (t->up && t->up->side.fd >= 0)
		(void)setsockopt(t->up->side.fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
}

void tunnel_end(struct conn *c, enum reason why)
{
	struct tunnel *t = c->tunnel;

	if (t->failure == REASON_NONE)
		t->failure = why;
	if (t->decided)
		tunnel_record_outcome(c);
	if (t->failure != REASON_NONE)
		tunnel_reset_upstream(t);
	ask_cancel(&t->ask);
	if (t->up)
		upstream_drop(take(t->up));
	pipes_end(t->to_up.pipe);
	pipes_end(t->to_agent.pipe);
	free(take(c->tunnel));
}

/* No tunnel: an alert says so, and the connection ends. */
static void tunnel_refuse(struct conn *c)
{
	enum reason why = c->tunnel->failure;

	/* ours to refuse, or theirs to fail */
	conn_alert(c, c->tunnel->verdict != REASON_NONE ? TLS_ALERT_ACCESS_DENIED : TLS_ALERT_INTERNAL_ERROR, why);
}

/* ---- the address ---- */

static void tunnel_on_resolved(struct ask *a, int rc, const void *body, const uint8_t *tail, size_t tail_len)
{
	struct tunnel *t = (struct tunnel *)((char *)a - offsetof(struct tunnel, ask));
	const struct rpc_resolved *r = body;

	(void)tail;
	(void)tail_len;
	t->resolved = true;
	t->resolve_rc = rc;
	if (rc == 0) {
		t->addr_count = r->count;
		memcpy(t->addrs, r->addr, sizeof(t->addrs));
	}
	conn_step(t->c);
}

static bool tunnel_resolve(struct conn *c)
{
	struct tunnel *t = c->tunnel;
	enum reason verdict, failure;
	int rc;

	if (t->ask.on)
		return false;
	if (!t->resolved) {
		struct rpc_resolve *q = &t->ask.body.resolve;

		memset(q, 0, sizeof(*q));
		q->guard = c->guard->id;
		q->port = t->port;
		memcpy(q->host, t->host, sizeof(q->host));
		rc = ask_put(&t->ask, &c->p->resolver, RPC_RESOLVE, tunnel_on_resolved);
		if (rc == 0)
			return false;
		t->resolve_rc = rc;
	}
	verdict = judge_answer(&c->p->config, t->resolve_rc, (const uint8_t(*)[16])t->addrs, t->addr_count,
			       t->private, false, &failure, &t->detail);
	tunnel_decide(c, verdict, failure);
	return true;
}

/* ---- dialling ---- */

static void tunnel_on_changed(void *conn)
{
	conn_step(conn);
}

/* Do the rules of now open it still? */
static bool tunnel_opened(const struct conn *c)
{
	const struct rules *rules = c->guard->workspace->rules;
	const struct rules_rule *rule;
	enum reason why;

	rule = rules ? rules_find(rules, c->tunnel->host, c->tunnel->port, &why) : NULL;
	return rule && rule->mode == RULES_TUNNEL && (rule->private || !c->tunnel->private);
}

void tunnel_recorded(struct conn *c, int rc)
{
	c->tunnel->recorded = true;
	if (rc < 0)
		c->tunnel->failure = REASON_INTERNAL;
}

static bool tunnel_record(struct conn *c)
{
	struct tunnel *t = c->tunnel;

	if (!t->recorded)
		return false;
	if (t->failure == REASON_NONE && !tunnel_opened(c)) {
		t->failure = REASON_POLICY;
		t->detail = "the rules changed meanwhile";
	}
	if (t->failure != REASON_NONE)
		tunnel_refuse(c);
	else
		conn_to(c, CONN_TUNNEL_DIAL);
	return true;
}

static int tunnel_start_dial(struct conn *c)
{
	struct tunnel *t = c->tunnel;
	struct upstream_key key = {
		.guard = c->guard->id, .port = t->port, .private = t->private};

	memcpy(key.host, t->host, sizeof(key.host));
	return upstream_dial(c->p->upstreams, &key, (const uint8_t(*)[16])t->addrs, t->addr_count, c,
			     tunnel_on_changed, &t->up);
}

static bool tunnel_dial(struct conn *c)
{
	struct tunnel *t = c->tunnel;

	if (!t->up && tunnel_start_dial(c) < 0) {
		t->failure = REASON_LIMIT;
		t->detail = "no room for another upstream connection";
		tunnel_refuse(c);
		return true;
	}
	switch (t->up->state) {
	case UPSTREAM_BUSY:
		c->agent.readable = true;
		conn_to(c, CONN_TUNNEL);
		return true;
	case UPSTREAM_DEAD:
		t->failure = t->up->why;
		t->detail = t->up->detail;
		tunnel_refuse(c);
		return true;
	default:
		return false;
	}
}

/* ---- the relay ---- */

enum tunnel_io { TUNNEL_BROKEN = 0, TUNNEL_MOVED, TUNNEL_WAITS };

/* From the source into the empty pipe. */
static enum tunnel_io tunnel_in(struct conn *c, struct tunnel_way *w, struct side *from)
{
	ssize_t n;

	if (w->ended || !(from->readable || from->hung_up))
		return TUNNEL_WAITS;
	if (w->pipe[0] < 0 && pipes_get(&c->p->pipes, w->pipe) < 0)
		return TUNNEL_BROKEN;
	n = splice(from->fd, NULL, w->pipe[1], NULL, TUNNEL_CHUNK, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		from->readable = false; /* epoll says when there is more */
		return from->hung_up ? TUNNEL_BROKEN : TUNNEL_WAITS;
	}
	if (n < 0)
		return TUNNEL_BROKEN;
	w->ended = from->ended = n == 0;
	w->held = (size_t)n;
	return TUNNEL_MOVED;
}

/* What was read with the CONNECT. */
static enum tunnel_io tunnel_early(struct conn *c)
{
	struct tunnel *t = c->tunnel;
	struct buf *in = &c->agent.in;
	ssize_t n;

	while (buf_len(in) > 0) {
		n = send(t->up->side.fd, buf_bytes(in), buf_len(in), MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EAGAIN) {
			t->up->side.blocked = true;
			return TUNNEL_WAITS;
		}
		if (n < 0)
			return TUNNEL_BROKEN;
		t->to_up.bytes += (uint64_t)n;
		buf_take(in, (size_t)n);
	}
	buf_done(in);
	return TUNNEL_MOVED;
}

static enum tunnel_io tunnel_out(struct tunnel_way *w, struct side *to)
{
	ssize_t n;

	while (w->held > 0) {
		if (to->blocked)
			return to->hung_up ? TUNNEL_BROKEN : TUNNEL_WAITS;
		n = splice(w->pipe[0], NULL, to->fd, NULL, w->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			to->blocked = true;
			continue;
		}
		if (n <= 0)
			return TUNNEL_BROKEN;
		w->held -= (size_t)n;
		w->bytes += (uint64_t)n;
	}
	if (w->ended && !w->passed) {
		w->passed = true;
		return shutdown(to->fd, SHUT_WR) == 0 ? TUNNEL_MOVED : TUNNEL_BROKEN;
	}
	return TUNNEL_MOVED;
}

/* One direction, until one end of it waits or its share of the turn is used. True: it is not broken. */
static bool tunnel_move(struct conn *c, struct tunnel_way *w, struct side *from, struct side *to, enum reason *why)
{
	uint64_t stop = w->bytes + TUNNEL_SHARE, before = w->bytes;
	enum tunnel_io in = TUNNEL_MOVED, out = TUNNEL_MOVED;
	enum reason from_gone = from == &c->agent ? REASON_CLIENT_CLOSED : REASON_UPSTREAM_CLOSED;
	enum reason to_gone = to == &c->agent ? REASON_CLIENT_CLOSED : REASON_UPSTREAM_CLOSED;

	while (in == TUNNEL_MOVED && out == TUNNEL_MOVED && !w->passed) {
		if (w->bytes >= stop) {
			conn_again(c);
			break;
		}
		if (w->held == 0)
			in = tunnel_in(c, w, from);
		if (in == TUNNEL_MOVED)
			out = tunnel_out(w, to);
	}
	if (w->held == 0 && w->pipe[0] >= 0)
		pipes_put(&c->p->pipes, w->pipe);
	if (w->bytes != before)
		c->deadline_ms = c->p->loop.now_ms + c->p->config.tunnel_idle_timeout_s * 1000ULL;
	*why = in == TUNNEL_BROKEN ? from_gone : to_gone;
	return in != TUNNEL_BROKEN && out != TUNNEL_BROKEN;
}

static bool tunnel_relay(struct conn *c)
{
	struct tunnel *t = c->tunnel;
	struct side *up = &t->up->side;
	enum tunnel_io early = tunnel_early(c);
	enum reason why = REASON_UPSTREAM_CLOSED;

	if (early == TUNNEL_BROKEN ||
	    (early == TUNNEL_MOVED && !tunnel_move(c, &t->to_up, &c->agent, up, &why)) ||
	    !tunnel_move(c, &t->to_agent, up, &c->agent, &why))
		conn_reset(c, why);
	else if (t->to_up.passed && t->to_agent.passed)
		conn_close(c, REASON_NONE);
	return false;
}

int tunnel_arm(struct conn *c)
{
	struct tunnel *t = c->tunnel;
	struct loop *l = &c->p->loop;
	int rc = side_arm(&c->agent, l, t->to_up.held == 0 && buf_len(&c->agent.in) == 0);

	return rc < 0 ? rc : side_arm(&t->up->side, l, t->to_agent.held == 0);
}

/* ---- the machine ---- */

bool tunnel_step(struct conn *c)
{
	switch (c->state) {
	case CONN_TUNNEL_RESOLVE:
		return tunnel_resolve(c);
	case CONN_TUNNEL_RECORD:
		return tunnel_record(c);
	case CONN_TUNNEL_DIAL:
		return tunnel_dial(c);
	default:
		return tunnel_relay(c);
	}
}

void tunnel_timeout(struct conn *c)
{
	struct tunnel *t = c->tunnel;

	switch (c->state) {
	case CONN_TUNNEL_RESOLVE:
		ask_cancel(&t->ask);
		t->resolved = true;
		t->resolve_rc = -ETIMEDOUT;
		return;
	case CONN_TUNNEL_DIAL:
		t->failure = REASON_UPSTREAM_TIMEOUT;
		tunnel_refuse(c);
		return;
	case CONN_TUNNEL:
		t->detail = "idle";
		conn_reset(c, REASON_UPSTREAM_TIMEOUT);
		return;
	default:
		conn_reset(c, REASON_INTERNAL);
	}
}

void tunnel_judge_again(struct conn *c)
{
	if (tunnel_opened(c))
		return;
	c->tunnel->detail = "no rule opens it any more";
	conn_reset(c, REASON_POLICY);
}
