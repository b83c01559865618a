/* dnsfront.c: see dnsfront.h.
 *
 * UDP: some datagrams per event, so that a flooding guard is served no more often than the others;
 * an answer that does not go at once is lost. TCP (RFC 7766): queries may follow each other without
 * waiting, answers come as they are found. A connection takes a query only when there is room for
 * its answer beside those that are still to come, so its buffers never run over: full means that we
 * stop reading.
 *
 * Connections are only marked dead within the event batch and freed in the turn after it. One whose
 * query was answered later is stirred: the next turn goes on with what it holds, never from within
 * an answer.
 */
#include "dnsfront.h"

#include "log.h"
#include "names.h"

#include <assert.h>
#include <string.h>

#define DNSFRONT_CONNS_PER_GUARD 64
#define DNSFRONT_IDLE_MS         10000
#define DNSFRONT_PAUSE_MS        100 /* of a listener, when there are no descriptors left */
#define DNSFRONT_UNLISTED_TTL    5

static const uint8_t dnsfront_sinkholes[2][16] = {CONFIG_SINKHOLE4, CONFIG_SINKHOLE6};

static void conn_answer(struct resolver *r, struct conn *c, const uint8_t *msg, size_t len);

/* ---- answering ---- */

static struct conn *conn_of(struct resolver *r, uint32_t slot, uint16_t gen)
{
	struct conn *c = slot < RESOLVER_CONNS_MAX ? r->conn[slot] : NULL;

	return c && c->gen == gen && !c->dead ? c : NULL;
}

/* Sends a finished DNS message to who asked. A datagram that does not go now is lost, as
 * datagrams are. */
static void reply(struct resolver *r, const struct from *f, const uint8_t *msg, size_t len)
{
	const struct listener *l = f->kind == FROM_UDP ? &r->listener[f->slot] : NULL;
	struct conn *c = f->kind == FROM_CONN ? conn_of(r, f->slot, f->gen) : NULL;

	if (len == 0)
		return;
	if (l && l->fd >= 0 && l->gen == f->gen)
		(void)!sendto(l->fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL,
			      (const struct sockaddr *)&f->peer, f->peer_len);
	if (c)
		conn_answer(r, c, msg, len);
}

static size_t reply_cap(const struct from *f)
{
	return dnsmsg_limit(&f->q, f->kind == FROM_CONN);
}

void dnsfront_rcode(struct resolver *r, const struct from *f, enum dnsmsg_rcode rcode)
{
	uint8_t out[DNSMSG_ANSWER_MAX];

	reply(r, f, out, dnsmsg_empty(&f->q, rcode, out, reply_cap(f)));
}

void dnsfront_negative(struct resolver *r, const struct from *f, enum dnsmsg_rcode rcode,
		       uint32_t ttl)
{
	uint8_t out[DNSMSG_ANSWER_MAX];

	reply(r, f, out, dnsmsg_negative(&f->q, rcode, ttl, out, reply_cap(f)));
}

void dnsfront_addresses(struct resolver *r, const struct from *f, const uint8_t (*addr)[16],
			size_t count, uint32_t ttl)
{
	uint8_t out[DNSMSG_ANSWER_MAX];

	reply(r, f, out, dnsmsg_addresses(&f->q, addr, count, ttl, out, reply_cap(f)));
}

void dnsfront_sinkhole(struct resolver *r, const struct from *f, uint32_t ttl)
{
	dnsfront_addresses(r, f, dnsfront_sinkholes, ARRAY_SIZE(dnsfront_sinkholes), ttl);
}

void dnsfront_waits(struct resolver *r, const struct from *f)
{
	struct conn *c = conn_of(r, f->slot, f->gen);

	if (c)
		c->pending++;
}

void dnsfront_answered(struct resolver *r, const struct from *f)
{
	struct conn *c = conn_of(r, f->slot, f->gen);

	if (!c)
		return;
	c->pending--;
	if (!c->stirred)
		TAILQ_INSERT_TAIL(&r->stirred, c, in_stirred);
	c->stirred = true;
}

/* ---- queries ---- */

static bool query_wants_address(const struct dnsmsg_query *q)
{
	return q->type == DNSMSG_A || q->type == DNSMSG_AAAA;
}

static void query_unlisted(struct resolver *r, const struct guard *g, const struct from *f)
{
	if (r->cfg.dns_unlisted == CONFIG_UNLISTED_NXDOMAIN ||
	    (f->q.hostname && names_searched(g, f->q.host)))
		dnsfront_negative(r, f, DNSMSG_NXDOMAIN, DNSFRONT_UNLISTED_TTL);
	else if (query_wants_address(&f->q))
		dnsfront_sinkhole(r, f, DNSFRONT_UNLISTED_TTL);
	else
		dnsfront_negative(r, f, DNSMSG_NOERROR, DNSFRONT_UNLISTED_TTL);
}

/* One message from a guard; false when it cannot be answered at all. f says where it came from. */
static bool query(struct resolver *r, struct guard *g, struct from *f, const uint8_t *msg,
		  size_t len)
{
	enum dnsmsg_rcode rcode;
	bool private;

	if (dnsmsg_parse(msg, len, &f->q, &rcode) < 0)
		return false;
	r->queries++;
	if (!g && rcode == DNSMSG_NOERROR)
		rcode = DNSMSG_REFUSED;
	if (rcode != DNSMSG_NOERROR)
		dnsfront_rcode(r, f, rcode);
	else if (!f->q.hostname || !names_allowed(g, f->q.host, &private))
		query_unlisted(r, g, f);
	else if (!query_wants_address(&f->q))
		dnsfront_negative(r, f, DNSMSG_NOERROR, DNSFRONT_UNLISTED_TTL);
	else
		names_ask(r, g, f->q.host, f);
	return true;
}

void dnsfront_on_udp(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct resolver *r = ctx;
	struct listener *l = &r->listener[slot];
	struct guard *g = resolver_guard_of(r, l->is.guard);
	uint8_t msg[DNSMSG_QUERY_MAX + 1]; /* one more: a longer one is seen to be longer */
	int budget = RESOLVER_BUDGET;

	(void)events;
	while (budget-- > 0 && l->fd >= 0 && l->gen == gen) {
		struct from f = {
			.kind = FROM_UDP, .slot = slot, .gen = gen, .peer_len = sizeof(f.peer)};
		ssize_t n = recvfrom(l->fd, msg, sizeof(msg), MSG_DONTWAIT,
				     (struct sockaddr *)&f.peer, &f.peer_len);

		/* An error of an earlier answer (the client's port is closed) is read here, and
		 * no more than that. */
		if (n < 0 && errno != ECONNREFUSED && errno != EINTR)
			break;
		if (n > 0)
			(void)query(r, g, &f, msg, (size_t)n);
	}
}

/* ---- TCP ---- */

static void conn_close(struct resolver *r, struct conn *c)
{
	if (c->dead)
		return;
	c->dead = true;
	own_close(&c->fd);
	c->guard->conns--;
	c->guard = NULL;
	TAILQ_REMOVE(&r->conns, c, by_age);
	TAILQ_INSERT_TAIL(&r->dead, c, by_age);
	if (c->stirred)
		TAILQ_REMOVE(&r->stirred, c, in_stirred);
	c->stirred = false;
}

static void conn_touch(struct resolver *r, struct conn *c)
{
	c->idle_ms = r->loop.now_ms + DNSFRONT_IDLE_MS;
	TAILQ_REMOVE(&r->conns, c, by_age);
	TAILQ_INSERT_TAIL(&r->conns, c, by_age);
}

/* May one more query be taken: then there is room for its answer and for those that others wait
 * for. */
static bool conn_may_take(const struct conn *c)
{
	size_t answers = (c->pending + 1) * (size_t)(2 + DNSMSG_ANSWER_MAX);

	return !c->dead && c->pending < RESOLVER_CONN_PENDING &&
	       sizeof(c->out) - c->out_len >= answers;
}

static void conn_flush(struct resolver *r, struct conn *c)
{
	ssize_t n = 1;

	while (!c->dead && c->out_len && n > 0) {
		n = send(c->fd, c->out, c->out_len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n > 0) {
			c->out_len -= (size_t)n;
			memmove(c->out, c->out + n, c->out_len);
			conn_touch(r, c);
		} else if (n < 0 && errno != EAGAIN && errno != EINTR) {
			conn_close(r, c);
		}
	}
}

/* Puts an answer behind the others and sends what goes now. */
static void conn_answer(struct resolver *r, struct conn *c, const uint8_t *msg, size_t len)
{
	assert(len <= DNSMSG_ANSWER_MAX && c->out_len + 2 + len <= sizeof(c->out));
	c->out[c->out_len++] = (uint8_t)(len >> 8);
	c->out[c->out_len++] = (uint8_t)len;
	memcpy(c->out + c->out_len, msg, len);
	c->out_len += len;
	conn_flush(r, c);
}

/* Serves the whole queries that are in the buffer, as long as they may be taken. */
static void conn_queries(struct resolver *r, struct conn *c)
{
	struct from f = {.kind = FROM_CONN, .slot = c->slot, .gen = c->gen};
	size_t at = 0, len;
	int rc = 0;

	while (conn_may_take(c) && (rc = dnsmsg_frame(c->in + at, c->in_len - at, &len)) > 0) {
		conn_touch(r, c);
		if (!query(r, c->guard, &f, c->in + at + 2, len)) {
			rc = -EBADMSG;
			break;
		}
		at += 2 + len;
	}
	if (rc < 0)
		conn_close(r, c);
	c->in_len -= at;
	memmove(c->in, c->in + at, c->in_len);
}

static void conn_read(struct resolver *r, struct conn *c)
{
	ssize_t n;

	if (c->dead || c->eof || c->in_len == sizeof(c->in) || !conn_may_take(c))
		return;
	n = recv(c->fd, c->in + c->in_len, sizeof(c->in) - c->in_len, MSG_DONTWAIT);
	if (n > 0)
		c->in_len += (size_t)n;
	else if (n == 0)
		c->eof = true;
	else if (errno != EAGAIN && errno != EINTR)
		conn_close(r, c);
}

/* What is watched follows from the buffers; a connection at its end with nothing left to say is
 * closed. */
static void conn_watch(struct resolver *r, struct conn *c)
{
	struct loop_key key = {.kind = RESOLVER_CONN, .gen = c->gen, .slot = c->slot};
	uint32_t want;

	if (c->dead)
		return;
	if (c->eof && !c->pending && !c->out_len) {
		conn_close(r, c);
		return;
	}
	want = (!c->eof && conn_may_take(c) ? EPOLLIN : 0u) | (c->out_len ? EPOLLOUT : 0u);
	if (want != c->events && loop_change(&r->loop, c->fd, key, want) < 0)
		conn_close(r, c);
	c->events = want;
}

static void conn_step(struct resolver *r, struct conn *c)
{
	conn_flush(r, c);
	conn_read(r, c);
	conn_queries(r, c);
	conn_watch(r, c);
}

void dnsfront_on_conn(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct resolver *r = ctx;
	struct conn *c = conn_of(r, slot, gen);

	if (!c)
		return;
	if (events & (EPOLLERR | EPOLLHUP))
		conn_close(r, c);
	else
		conn_step(r, c);
}

static int conn_new(struct resolver *r, struct guard *g, int *fd)
{
	struct loop_key key = {.kind = RESOLVER_CONN};
	struct conn *c;
	int rc;

	while (key.slot < RESOLVER_CONNS_MAX && r->conn[key.slot])
		key.slot++;
	c = key.slot < RESOLVER_CONNS_MAX && g->conns < DNSFRONT_CONNS_PER_GUARD
		    ? malloc(sizeof(*c))
		    : NULL;
	if (!c)
		return -ENOBUFS;
	key.gen = ++r->conn_gen[key.slot];
	rc = loop_watch(&r->loop, *fd, key, EPOLLIN);
	if (rc < 0) {
		free(c);
		return rc;
	}
	*c = (struct conn){
		.fd = take_fd(fd), .slot = key.slot, .gen = key.gen, .guard = g, .events = EPOLLIN};
	c->idle_ms = r->loop.now_ms + DNSFRONT_IDLE_MS;
	TAILQ_INSERT_TAIL(&r->conns, c, by_age);
	r->conn[key.slot] = c;
	g->conns++;
	return 0;
}

static void listener_interest(struct resolver *r, uint32_t slot, bool on)
{
	struct listener *l = &r->listener[slot];
	struct loop_key key = {.kind = RESOLVER_TCP, .gen = l->gen, .slot = slot};

	l->paused = !on;
	if (loop_change(&r->loop, l->fd, key, on ? EPOLLIN : 0) < 0)
		log_error("cannot watch a DNS listener; guard %llu gets no answers over TCP",
			  (unsigned long long)l->is.guard);
}

void dnsfront_on_tcp(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct resolver *r = ctx;
	struct listener *l = &r->listener[slot];
	struct guard *g = resolver_guard_of(r, l->is.guard);
	int budget = RESOLVER_BUDGET;

	(void)events;
	while (budget-- > 0 && l->fd >= 0 && l->gen == gen) {
		auto_close int fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd < 0 &&
		    (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
			listener_interest(r, slot, false);
			r->paused = true;
			r->resume_ms = r->loop.now_ms + DNSFRONT_PAUSE_MS;
			break;
		}
		if (fd < 0 && errno == EAGAIN)
			break;
		/* Too many: closed at once, which the client sees. */
		if (fd >= 0 && g && conn_new(r, g, &fd) < 0)
			log_debug("too many TCP connections of guard %llu; one is closed",
				  (unsigned long long)l->is.guard);
	}
}

/* ---- listeners ---- */

int dnsfront_listen(struct resolver *r, const struct rpc_listener *is, int *fd)
{
	struct loop_key key = {.kind = is->kind == RPC_LISTENER_DNS_UDP ? RESOLVER_UDP
									: RESOLVER_TCP};
	struct listener *l;

	while (key.slot < RESOLVER_LISTENERS_MAX && r->listener[key.slot].fd >= 0)
		key.slot++;
	if (key.slot == RESOLVER_LISTENERS_MAX)
		return -ENOSPC;
	l = &r->listener[key.slot];
	l->fd = take_fd(fd);
	l->is = *is;
	l->paused = false;
	key.gen = ++l->gen;
	return loop_watch(&r->loop, l->fd, key, EPOLLIN);
}

static void listener_close(struct resolver *r, struct listener *l)
{
	/* The parent and the holder have the same socket open: closing ours would not end its
	 * events. */
	loop_forget(&r->loop, l->fd);
	own_close(&l->fd);
	l->gen++;
}

void dnsfront_unlisten(struct resolver *r, const struct rpc_listener *is)
{
	size_t i;

	for (i = 0; i < RESOLVER_LISTENERS_MAX; i++) {
		struct listener *l = &r->listener[i];

		if (l->fd >= 0 && l->is.guard == is->guard && l->is.netns == is->netns &&
		    l->is.kind == is->kind && l->is.family == is->family && l->is.port == is->port)
			listener_close(r, l);
	}
}

void dnsfront_forget(struct resolver *r, const struct guard *g)
{
	size_t i;

	for (i = 0; i < RESOLVER_LISTENERS_MAX; i++)
		if (r->listener[i].fd >= 0 && r->listener[i].is.guard == g->id)
			listener_close(r, &r->listener[i]);
	for (i = 0; i < RESOLVER_CONNS_MAX; i++)
		if (r->conn[i] && r->conn[i]->guard == g)
			conn_close(r, r->conn[i]);
}

/* ---- each turn ---- */

/* Goes on with those that were answered, closes the idle, frees the dead. When the next one will
 * have been idle too long, 0: none. */
static uint64_t conns_turn(struct resolver *r, uint64_t now)
{
	struct conn *c;

	while ((c = TAILQ_FIRST(&r->stirred))) {
		TAILQ_REMOVE(&r->stirred, c, in_stirred);
		c->stirred = false;
		conn_step(r, c);
	}
	while ((c = TAILQ_FIRST(&r->conns)) && c->idle_ms <= now) {
		if (c->pending)
			conn_touch(r, c); /* it waits for us */
		else
			conn_close(r, c);
	}
	while ((c = TAILQ_FIRST(&r->dead))) {
		TAILQ_REMOVE(&r->dead, c, by_age);
		r->conn[c->slot] = NULL;
		free(c);
	}
	c = TAILQ_FIRST(&r->conns);
	return c ? c->idle_ms : 0;
}

static uint64_t listeners_turn(struct resolver *r, uint64_t now)
{
	uint32_t i;

	if (!r->paused || now < r->resume_ms)
		return r->paused ? r->resume_ms : 0;
	r->paused = false;
	for (i = 0; i < RESOLVER_LISTENERS_MAX; i++)
		if (r->listener[i].fd >= 0 && r->listener[i].paused)
			listener_interest(r, i, true);
	return 0;
}

uint64_t dnsfront_turn(struct resolver *r, uint64_t now)
{
	uint64_t conns = conns_turn(r, now), listeners = listeners_turn(r, now);

	return conns && (!listeners || conns < listeners) ? conns : listeners;
}

bool dnsfront_busy(const struct resolver *r)
{
	return !TAILQ_EMPTY(&r->stirred) || !TAILQ_EMPTY(&r->dead);
}
