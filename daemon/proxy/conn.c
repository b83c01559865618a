/* conn.c: see conn.h. Everything up to the first request, the end, and what epoll is asked.
 *
 *	PEEK ─► LEAF ─► TLS ─► IDLE ◄─► HEAD … ANSWER ─► LINGER ─► CLOSED
 *	  ├──────(HTTP)───┴─────┘ H2 ────────────────────┘
 *	  └─(a rule of mode tunnel)─► TUNNEL_RESOLVE … TUNNEL
 *
 * The first bytes are peeked at, not read: the same ClientHello is then read by OpenSSL. A client that
 * waits for the server to speak first is never spoken to. Denied names get a certificate too, so that
 * the client can read its 403. After a CONNECT (explicit.h) a connection is at its beginning again.
 */
#include "conn.h"

#include "accept.h"
#include "exchange.h"
#include "explicit.h"
#include "h2front.h"
#include "judge.h"
#include "log.h"
#include "tunnel.h"

#include <assert.h>
#include <string.h>
#include <sys/socket.h>

#define CONN_LINGER_TURN (256 * 1024) /* bytes, then others have a turn */
#define CONN_OUT_MAX (256u * 1024) /* a response head; bodies stay far below */

#define S(name) (1u << CONN_##name)
#define CONFIGURED(field) .config_at = offsetof(struct config, field)

/* Deadlines count from the entry into the state. */
static const struct conn_row {
	const char *name;
	bool agent_in;	     /* reads from the agent, whatever the exchange wants */
	uint32_t deadline_s; /* 0: see config_at; both 0: none */
	size_t config_at;
	uint32_t next;	     /* besides CLOSED */
} conn_rows[] = {
	[CONN_CLOSED] = {"closed", .next = S(PEEK) | S(IDLE)},
	[CONN_PEEK] = {"peek", true, CONFIGURED(head_timeout_s), .next = S(LEAF) | S(TLS) | S(IDLE) | S(TUNNEL_RESOLVE) | S(LINGER)},
	[CONN_LEAF] = {"leaf", .deadline_s = 15, .next = S(TLS)},
	[CONN_TLS] = {"tls", true, CONFIGURED(head_timeout_s), .next = S(IDLE) | S(H2)},
	[CONN_H2] = {"h2", true, .next = S(LINGER)},
	[CONN_IDLE] = {"idle", true, CONFIGURED(idle_timeout_s), .next = S(HEAD)},
	[CONN_HEAD] = {"head", true, CONFIGURED(head_timeout_s),
		       .next = S(BODY) | S(RESOLVE) | S(RECORD) | S(ANSWER)},
	[CONN_BODY] = {"body", true, CONFIGURED(head_timeout_s), .next = S(RESOLVE) | S(RECORD)},
	[CONN_RESOLVE] = {"resolve", CONFIGURED(resolve_timeout_s), .next = S(RECORD) | S(DIAL) | S(ANSWER)},
	[CONN_RECORD] = {"record", .deadline_s = 30, .next = S(DIAL) | S(CREDENTIAL) | S(ANSWER)},
	[CONN_DIAL] = {"dial", CONFIGURED(connect_timeout_s), .next = S(VERIFY) | S(CREDENTIAL) | S(ANSWER)},
	[CONN_VERIFY] = {"verify", CONFIGURED(tls_timeout_s), .next = S(CREDENTIAL) | S(ANSWER)},
	[CONN_CREDENTIAL] = {"credential", .deadline_s = 15,
			     .next = S(HEAD) | S(RESOLVE) | S(WAIT) | S(ANSWER)},
	[CONN_WAIT] = {"wait", CONFIGURED(response_timeout_s), .next = S(RELAY) | S(WEBSOCKET) | S(RESOLVE) | S(ANSWER)},
	[CONN_RELAY] = {"relay", .next = S(IDLE) | S(LINGER)},
	[CONN_WEBSOCKET] = {"websocket", .next = S(LINGER)},
	[CONN_ANSWER] = {"answer", .deadline_s = 30, .next = S(IDLE) | S(PEEK) | S(LINGER)},
	[CONN_TUNNEL_RESOLVE] = {"tunnel resolve", CONFIGURED(resolve_timeout_s), .next = S(TUNNEL_RECORD)},
	[CONN_TUNNEL_RECORD] = {"tunnel record", .deadline_s = 30, .next = S(TUNNEL_DIAL) | S(LINGER)},
	[CONN_TUNNEL_DIAL] = {"tunnel dial", CONFIGURED(connect_timeout_s), .next = S(TUNNEL) | S(LINGER)},
	[CONN_TUNNEL] = {"tunnel", CONFIGURED(tunnel_idle_timeout_s)},
	[CONN_LINGER] = {"linger", true, .deadline_s = 5},
};
_Static_assert(ARRAY_SIZE(conn_rows) == CONN_STATES, "a row for each state");

void conn_to(struct conn *c, enum conn_state to)
{
	const struct conn_row *row = &conn_rows[to];
	uint32_t s = row->deadline_s;

	assert(to == CONN_CLOSED || (conn_rows[c->state].next & (1u << to)));
	log_debug("connection %u: %s to %s", c->slot, conn_rows[c->state].name, row->name);
	if (s == 0 && row->config_at)
		s = *(const uint32_t *)(const void *)((const char *)&c->p->config + row->config_at);
	c->state = to;
	c->deadline_ms = s ? c->p->loop.now_ms + s * 1000ULL : 0;
}

void conn_describe(const struct conn *c, struct audit_entry *en)
{
	en->guard = c->rec.guard;
	en->workspace = c->guard ? c->guard->workspace->name : NULL;
	en->pid = c->rec.pid;
	en->has_uid = true;
	en->uid = c->rec.uid;
	en->comm = (const char *)c->rec.comm;
	en->comm_len = strnlen(en->comm, sizeof(c->rec.comm));
	en->cgroup = c->rec.cgroup;
	en->addr = c->rec.addr;
	en->port = c->rec.port;
	en->sni = c->sni[0] ? c->sni : NULL;
}

void conn_refused(struct conn *c, enum reason why, const char *detail)
{
	struct audit_entry en = {.kind = AUDIT_DECISION, .id = ++c->p->next_id, .reason = why, .detail = detail};

	conn_describe(c, &en);
	if (c->connect.host[0]) {
		en.host = c->connect.host;
		en.host_len = strlen(c->connect.host);
		en.host_port = c->connect.port;
	}
	c->p->stats.denied++;
	proxy_audit(c->p, &en);
}

/* ---- beginning and end ---- */

static void conn_on_leaf(struct leaf_wait *w, const struct tls_cert *leaf, int rc);

int conn_open(struct proxy *p, int fd, const struct eg_record *rec, struct guard *g)
{
	struct conn *c = calloc(1, sizeof(*c));
	int rc = c ? slots_put(&p->conns, c, &c->slot, &c->gen) : -ENOMEM;

	if (rc < 0) {
		free(c);
		return rc;
	}
	c->p = p;
	c->rec = *rec;
	c->guard = g;
	c->explicit_port = explicit_dialled(&p->config, rec);
	c->leaf.fn = conn_on_leaf;
	side_init(&c->agent, fd, HTTP1_HEAD_MAX + 1024, CONN_OUT_MAX);
	rc = side_watch(&c->agent, &p->loop, (struct loop_key){PROXY_AGENT, c->gen, c->slot}, EPOLLIN | EPOLLRDHUP);
	if (rc < 0) {
		slots_drop(&p->conns, c->slot);
		free(c);
		return rc;
	}
	g->connections++;
	p->stats.connections++;
	accept_count(p, 1);
	conn_to(c, CONN_PEEK);
	return 0;
}

int conn_stream(struct conn *of, const struct side_via *via, void *self, struct conn **ret)
{
	struct proxy *p = of->p;
	struct conn *c = NULL;
	int rc = of->guard->connections < p->config.per_guard_connections ? 0 : -EUSERS;

	if (rc == 0) {
		c = calloc(1, sizeof(*c));
		rc = c ? slots_put(&p->conns, c, &c->slot, &c->gen) : -ENOMEM;
	}
	if (rc < 0) {
		free(c);
		proxy_turn_away(p, &of->rec, of->guard, REASON_LIMIT);
		return rc;
	}
	c->p = p;
	c->rec = of->rec;
	c->guard = of->guard;
	c->leaf.fn = conn_on_leaf;
	c->explicit_port = of->explicit_port;
	c->connect = of->connect;
	c->tls = of->tls;
	memcpy(c->sni, of->sni, sizeof(c->sni));
	side_init_via(&c->agent, via, self, HTTP1_HEAD_MAX + 1024, CONN_OUT_MAX);
	c->guard->connections++;
	conn_to(c, CONN_IDLE);
	*ret = c;
	return 0;
}

static void conn_end(struct conn *c, enum reason why, bool reset)
{
	struct proxy *p = c->p;

	if (c->state == CONN_CLOSED)
		return;
	if (c->x)
		exchange_end(c, why);
	if (c->tunnel)
		tunnel_end(c, why);
	leaf_cancel(&c->leaf);
	c->front = h2front_free(c->front);
	if (!c->agent.via)
		accept_count(p, -1);
	if (reset)
		side_reset(&c->agent);
	else
		side_done(&c->agent);
	conn_to(c, CONN_CLOSED);
	who_leave(&p->who, take(c->guard));
	c->next_dead = p->dead;
	p->dead = c;
}

void conn_close(struct conn *c, enum reason why)
{
	conn_end(c, why, false);
}

void conn_reset(struct conn *c, enum reason why)
{
	conn_end(c, why, true);
}

void conn_free(struct conn *c)
{
	assert(c->state == CONN_CLOSED && !c->x && !c->tunnel);
	slots_drop(&c->p->conns, c->slot);
	free(c);
}

/* ---- first bytes ---- */

/* Not again before more than n bytes have come. */
static bool conn_peek_more(struct conn *c, size_t n)
{
	int low = (int)n + 1;

	c->low_water = true;
	if ((c->agent.fired & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) ||
	    setsockopt(c->agent.fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)) < 0) {
		/* Clients that try several addresses leave without a word: nothing was asked for. */
		if (n > 0)
			conn_refused(c, REASON_NOT_HTTP, "cut off");
		conn_close(c, REASON_CLIENT_CLOSED);
	}
	return false;
}

/* Whatever was peeked at: one byte is enough from now on. */
static bool conn_peeked(struct conn *c)
{
	const int low = 1;

	return !c->low_water || setsockopt(c->agent.fd, SOL_SOCKET, SO_RCVLOWAT, &low, sizeof(low)) == 0;
}

static bool conn_not_http(struct conn *c, const char *detail)
{
	conn_refused(c, REASON_NOT_HTTP, detail);
	conn_reset(c, REASON_NOT_HTTP);
	return false;
}

void conn_alert(struct conn *c, uint8_t alert, enum reason why)
{
	/* What lies unread would turn the close into a reset, and the alert would be lost. */
	ssize_t n = recv(c->agent.fd, c->p->peek, sizeof(c->p->peek), MSG_DONTWAIT);

	if (c->tunnel)
		tunnel_end(c, why);
	if ((n < 0 && errno != EAGAIN) || (!c->agent.tls && tls_plain(c->agent.fd, &c->agent.tls) < 0)) {
		conn_close(c, why);
		return;
	}
	tls_refuse(c->agent.fd, alert);
	tls_finish(c->agent.tls);
	conn_to(c, CONN_LINGER);
}

/* Does a rule of mode tunnel open it? Then it is not for us to serve. */
static bool conn_tunnels(struct conn *c, const struct hello *h)
{
	struct route_ask ask;
	struct route r;

	judge_place(c, &ask);
	route_open(&ask, &r);
	if (!r.rule || r.rule->mode != RULES_TUNNEL)
		return false;
	tunnel_begin(c, &r, h->ech);
	return true;
}

static void conn_leaf_failed(struct conn *c, int rc)
{
	enum reason why = rc == -EBUSY ? REASON_LIMIT : REASON_VAULT;

	conn_refused(c, why, "no certificate");
	conn_close(c, why);
}

/* git's helper hangs when a stream's window is closed less than 2 KiB before the end of what it pushes: libcurl 7.88,
 * which Debian 12 has, then asks it again for a body whose end it was told. The name is the client's own word for what
 * it is; who takes it falsely loses HTTP/2. */
static enum tls_offer conn_offer(const struct conn *c)
{
	static const char git[] = "git-remote-http"; /* or …https, of which the kernel keeps as much */

	return memcmp(c->rec.comm, git, sizeof(git)) == 0 ? TLS_OFFER_HTTP1 : TLS_OFFER_HTTP2;
}

static void conn_handshake_with(struct conn *c, const struct tls_cert *leaf)
{
	if (tls_accept(c->p->tls, c->agent.fd, leaf, c->sni, c->rec.guard, conn_offer(c), &c->agent.tls) < 0) {
		conn_refused(c, REASON_INTERNAL, "TLS setup");
		conn_close(c, REASON_INTERNAL);
		return;
	}
	c->agent.readable = c->agent.tell_end = true;
	conn_to(c, CONN_TLS);
}

static void conn_on_leaf(struct leaf_wait *w, const struct tls_cert *leaf, int rc)
{
	struct conn *c = (struct conn *)((char *)w - offsetof(struct conn, leaf));

	if (leaf)
		conn_handshake_with(c, leaf);
	else
		conn_leaf_failed(c, rc);
	conn_step(c);
}

static bool conn_hello(struct conn *c, const struct hello *h)
{
	const struct tls_cert *leaf;
	int rc;

	if (!conn_peeked(c)) {
		conn_close(c, REASON_INTERNAL);
		return false;
	}
	if (c->explicit_port && !c->connect.host[0])
		return conn_not_http(c, "TLS to the explicit port");
	if (!h->sni[0]) {
		conn_refused(c, REASON_SNI_MISSING, NULL);
		conn_alert(c, TLS_ALERT_UNRECOGNIZED_NAME, REASON_SNI_MISSING);
		return true;
	}
	memcpy(c->sni, h->sni, sizeof(c->sni));
	c->tls = true;
	if (conn_tunnels(c, h))
		return true;
	rc = leaf_get(c->p->leaves, c->sni, c->rec.guard, c->p->loop.now_ms, &c->leaf, &leaf);
	if (rc == 0)
		conn_handshake_with(c, leaf);
	else if (rc == -EINPROGRESS)
		conn_to(c, CONN_LEAF);
	else
		conn_leaf_failed(c, rc);
	return true;
}

static bool conn_peek(struct conn *c)
{
	uint8_t *at = c->p->peek;
	struct hello h;
	ssize_t n;

	if (!c->agent.readable)
		return false;
	c->agent.readable = false;
	n = recv(c->agent.fd, at, sizeof(c->p->peek), MSG_PEEK | MSG_DONTWAIT);
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0)
		return conn_peek_more(c, 0);
	switch (hello_kind(at, (size_t)n)) {
	case HELLO_KIND_MORE:
		return conn_peek_more(c, (size_t)n);
	case HELLO_KIND_HTTP:
		if (!conn_peeked(c) || tls_plain(c->agent.fd, &c->agent.tls) < 0)
			return conn_not_http(c, "no memory");
		c->agent.readable = true;
		conn_to(c, CONN_IDLE);
		return true;
	case HELLO_KIND_TLS:
		break;
	default:
		return conn_not_http(c, NULL);
	}
	switch (hello_parse(at, (size_t)n, &h)) {
	case HELLO_MORE:
		return (size_t)n < sizeof(c->p->peek) ? conn_peek_more(c, (size_t)n)
						      : conn_not_http(c, "hello too long");
	case HELLO_DONE:
		return conn_hello(c, &h);
	default:
		return conn_not_http(c, "bad hello");
	}
}

static bool conn_tls(struct conn *c)
{
	switch (side_handshake(&c->agent)) {
	case TLS_OK:
		conn_to(c, tls_http2(c->agent.tls) ? CONN_H2 : CONN_IDLE);
		if (c->state == CONN_H2 && h2front_new(c) < 0)
			conn_close(c, REASON_INTERNAL);
		return true;
	case TLS_IN:
	case TLS_OUT:
		return false;
	default:
		conn_refused(c, REASON_CLIENT_TLS, tls_why(c->agent.tls));
		conn_close(c, REASON_CLIENT_TLS);
		return false;
	}
}

void conn_connected(struct conn *c)
{
	c->agent.tls = tls_free(c->agent.tls);
	c->agent.readable = true;
	conn_to(c, CONN_PEEK);
}

/* ---- between and after requests ---- */

bool conn_read(struct conn *c)
{
	size_t n;

	switch (side_read(&c->agent, &c->agent.in, BUF_UNIT, &n)) {
	case TLS_OK:
		return true;
	case TLS_IN:
	case TLS_OUT:
		return false;
	default:
		conn_close(c, REASON_CLIENT_CLOSED);
		return false;
	}
}

static bool conn_idle(struct conn *c)
{
	if (buf_len(&c->agent.in) == 0 && !conn_read(c))
		return false;
	conn_to(c, CONN_HEAD);
	return true;
}

/* What the agent still sends is dropped until it ends or its time is up (RFC 9112, 9.6): closed before that, the connection
 * would be reset, and what we said be lost with it. */
static bool conn_linger(struct conn *c)
{
	size_t left = CONN_LINGER_TURN, n;

	while (conn_read(c)) {
		n = buf_len(&c->agent.in);
		buf_done(&c->agent.in);
		if (n >= left) {
			conn_again(c);
			break;
		}
		left -= n;
	}
	return false;
}

/* ---- the machine ---- */

static bool conn_once(struct conn *c)
{
	switch (c->state) {
	case CONN_CLOSED:
	case CONN_LEAF:
		return false;
	case CONN_PEEK:
		return conn_peek(c);
	case CONN_TLS:
		return conn_tls(c);
	case CONN_H2:
		return h2front_step(c->front);
	case CONN_IDLE:
		return conn_idle(c);
	case CONN_LINGER:
		return conn_linger(c);
	case CONN_TUNNEL_RESOLVE:
	case CONN_TUNNEL_RECORD:
	case CONN_TUNNEL_DIAL:
	case CONN_TUNNEL:
		return tunnel_step(c);
	default:
		return exchange_step(c);
	}
}

/* Does it read from the agent, whatever an exchange wants? */
static bool conn_agent_in(const struct conn *c)
{
	return c->front ? h2front_wants(c->front) : conn_rows[c->state].agent_in;
}

/* What epoll is asked about both sides. */
static int conn_arm(struct conn *c)
{
	struct loop *l = &c->p->loop;
	struct upstream *up = c->x ? c->x->up : NULL;
	int rc;

	if (c->state == CONN_TUNNEL)
		return tunnel_arm(c);
	rc = side_arm(&c->agent, l, conn_agent_in(c) || exchange_wants_body(c));
	if (rc == 0 && up && up->state == UPSTREAM_BUSY)
		rc = side_arm(&up->side, l, exchange_wants_response(c));
	return rc;
}

void conn_step(struct conn *c)
{
	while (conn_once(c))
		;
	if (c->state != CONN_CLOSED && conn_arm(c) < 0)
		conn_close(c, REASON_INTERNAL);
}

void conn_event(struct proxy *p, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct conn *c = slots_get(&p->conns, slot, gen);

	if (!c || c->state == CONN_CLOSED)
		return;
	side_event(&c->agent, &p->loop, events);
	/* Gone: there is nobody to do anything for. Over TLS no client half-closes and waits; over plain
	 * HTTP some do, and are answered; what a tunnel or a WebSocket does about it is its own business. */
	if (c->state != CONN_TUNNEL && c->state != CONN_WEBSOCKET && !conn_agent_in(c) &&
	    (c->agent.hung_up || (c->tls && (events & EPOLLRDHUP)))) {
		conn_close(c, REASON_CLIENT_CLOSED);
		return;
	}
	conn_step(c);
}

void conn_wait_record(struct conn *c)
{
	if (c->waits_record)
		return;
	c->waits_record = true;
	c->next_record = c->p->recorded;
	c->p->recorded = c;
}

void conn_recorded(struct conn *c, int rc)
{
	if (c->state == CONN_RECORD)
		exchange_recorded(c, rc);
	else if (c->state == CONN_TUNNEL_RECORD)
		tunnel_recorded(c, rc);
	else
		return;
	conn_step(c);
}

void conn_again(struct conn *c)
{
	if (c->waits_again)
		return;
	c->waits_again = true;
	c->next_again = c->p->again;
	c->p->again = c;
}

void conn_timeout(struct conn *c)
{
	switch (c->state) {
	case CONN_PEEK:
		conn_refused(c, REASON_NOT_HTTP, "nothing was sent in time");
		conn_reset(c, REASON_NOT_HTTP);
		return;
	case CONN_LEAF:
		conn_leaf_failed(c, -ETIMEDOUT);
		return;
	case CONN_TLS:
		conn_refused(c, REASON_CLIENT_TLS, "timeout");
		conn_close(c, REASON_CLIENT_TLS);
		return;
	case CONN_H2:
		h2front_timeout(c->front);
		return;
	case CONN_IDLE:
		side_finish(&c->agent);
		conn_close(c, REASON_NONE);
		return;
	case CONN_CLOSED:
	case CONN_LINGER:
		conn_close(c, REASON_NONE);
		return;
	default:
		if (c->tunnel)
			tunnel_timeout(c);
		else
			exchange_timeout(c);
		conn_step(c);
	}
}
