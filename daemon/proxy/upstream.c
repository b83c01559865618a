/* upstream.c: see upstream.h.
 *
 *	DIAL ──► HANDSHAKE ──► BUSY ◄──► IDLE
 *	  └──────────┴── DEAD (the owner is told and drops it)
 *
 * When a handshake ends with HTTP/2, the socket goes over to h2back.c, and the upstream becomes a stream on it; so do those
 * that wait for it, as many as there is room for. Those that it cannot serve dial for themselves.
 *
 * While it is dialled, several sockets may be under way under the same epoll key; the first that
 * connects becomes the side's, the others are closed. An upstream is freed the moment it is dropped:
 * events still to come for it carry the old generation. A callback to the owner is therefore the last
 * thing done with it.
 */
#include "upstream_in.h"

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* A server ends a connection with its response, which says so, or after some silence, and none counts that in less. */
#define UPSTREAM_FRESH_MS 50

int upstreams_new(struct loop *l, uint8_t kind, uint8_t kind_http2, struct tls_ctx *tls, struct h2_dues *dues,
		  uint32_t max, struct upstreams **ret)
{
	struct upstreams *p = calloc(1, sizeof(*p));
	int rc;

	if (!p)
		return -ENOMEM;
	p->loop = l;
	p->kind = kind;
	p->tls = tls;
	rc = slots_init(&p->slots, max);
	if (rc == 0)
		rc = h2backs_new(l, kind_http2, dues, max, p, upstream_keep_session, &p->shared);
	if (rc < 0) {
		slots_done(&p->slots);
		free(p);
		return rc;
	}
	*ret = p;
	return 0;
}

struct upstreams *upstreams_free(struct upstreams *p)
{
	uint32_t i;

	if (!p)
		return NULL;
	for (i = 0; i < p->slots.high; i++)
		if (p->slots.at[i].is)
			upstream_drop(p->slots.at[i].is);
	h2backs_free(p->shared);
	for (i = 0; i < UPSTREAM_SESSIONS; i++)
		if (p->sessions[i]) {
			tls_session_free(p->sessions[i]->session);
			free(p->sessions[i]);
		}
	slots_done(&p->slots);
	free(p);
	return NULL;
}

/* ---- keys, lists ---- */

bool upstream_same(const struct upstream_key *a, const struct upstream_key *b)
{
	return a->guard == b->guard && a->epoch == b->epoch && a->port == b->port &&
	       a->tls == b->tls && a->private == b->private && a->http == b->http &&
	       memcmp(a->creds, b->creds, sizeof(a->creds)) == 0 && strcmp(a->host, b->host) == 0;
}

uint32_t upstream_hash(const struct upstream_key *k)
{
	uint32_t h = 2166136261u ^ (uint32_t)k->guard ^ k->port ^ k->creds[0];
	const char *s;

	for (s = k->host; *s; s++)
		h = (h ^ (uint8_t)*s) * 16777619u;
	return h;
}

static void upstream_list(struct upstream_list *l, struct upstream *u)
{
	u->next = NULL;
	u->before = l->last;
	*(l->last ? &l->last->next : &l->first) = u;
	l->last = u;
}

static void upstream_unlist(struct upstream_list *l, struct upstream *u)
{
	*(u->before ? &u->before->next : &l->first) = u->next;
	*(u->next ? &u->next->before : &l->last) = u->before;
	u->next = u->before = NULL;
}

/* Leaves the list of its present state. */
static void upstream_leave(struct upstream *u)
{
	struct upstreams *p = u->pool;
	struct upstream **at;

	if (u->leader) {
		upstream_unlist(&u->leader->waiting, u);
		u->leader = NULL;
	} else if (u->state == UPSTREAM_DIAL || u->state == UPSTREAM_PROXY || u->state == UPSTREAM_HANDSHAKE) {
		upstream_unlist(&p->dialling, u);
	} else if (u->state == UPSTREAM_IDLE) {
		at = &p->bucket[upstream_hash(&u->key) % UPSTREAM_BUCKETS];
		while (*at != u)
			at = &(*at)->chain;
		*at = u->chain;
		u->chain = NULL;
		p->idle_count--;
		upstream_unlist(&p->idle, u);
	}
}

static enum tls_offer upstream_offer(const struct upstream *u)
{
	bool http2 = u->key.http == UPSTREAM_HTTP2 ||
		     (u->key.http == UPSTREAM_HTTP1 && upstream_hint(u->pool, &u->key) == HINT_HTTP2_ONLY);

	return http2 ? TLS_OFFER_HTTP2 : TLS_OFFER_HTTP1;
}

/* ---- dialling ---- */

static struct loop_key upstream_loop_key(const struct upstream *u)
{
	return (struct loop_key){
		.kind = u->pool->kind, .gen = u->pool->slots.at[u->slot].gen, .slot = u->slot};
}

static void upstream_close_tries(struct upstream *u)
{
	uint32_t i;

	for (i = 0; u->dial && i < u->dial->count; i++)
		own_close(&u->dial->tries[i]);
}

static void upstream_dial_free(struct upstream *u)
{
	upstream_close_tries(u);
	if (u->dial)
		ask_cancel(&u->dial->ask);
	free(u->dial);
	u->dial = NULL;
}

static void upstream_fail_one(struct upstream *u, enum reason why, const char *detail)
{
	upstream_leave(u);
	upstream_dial_free(u);
	u->state = UPSTREAM_DEAD;
	u->why = why;
	u->detail = detail;
}

/* And those that wait for it; they are told at once. */
void upstream_fail(struct upstream *u, enum reason why, const char *detail)
{
	struct upstream *w;

	upstream_fail_one(u, why, detail);
	while ((w = u->waiting.first)) {
		upstream_fail_one(w, why, detail);
		w->fn(w->owner);
	}
}

/* Those that wait for it dial for themselves, when the loop turns; alone: the others wait for the first of them. */
static void upstream_disperse(struct upstream *u, bool alone)
{
	struct upstream *w, *first = NULL;

	while ((w = u->waiting.first)) {
		upstream_leave(w);
		if (first && !alone) {
			w->leader = first;
			upstream_list(&first->waiting, w);
			continue;
		}
		first = w;
		w->dial->next_ms = 0;
		upstream_list(&u->pool->dialling, w);
	}
}

/* The families take turns, beginning with the first address's; within one the order stays. */
void upstream_take_turns(const uint8_t (*addrs)[16], struct upstream_dial *d)
{
	bool v4 = d->count > 0 && origin_is_v4(addrs[0]), taken[RPC_ADDRS_MAX] = {false};
	uint32_t n, i;

	for (n = 0; n < d->count; n++, v4 = !v4) {
		for (i = 0; i < d->count && (taken[i] || origin_is_v4(addrs[i]) != v4); i++)
			;
		for (i = i == d->count ? 0 : i; taken[i]; i++) /* none left of that family */
			;
		taken[i] = true;
		memcpy(d->addrs[n], addrs[i], sizeof(d->addrs[0]));
	}
}

static int upstream_connect(const uint8_t addr[16], uint16_t port, int *ret_fd)
{
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port)};
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
	bool v4 = origin_is_v4(addr);
	auto_close int fd = socket(v4 ? AF_INET : AF_INET6,
				   SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	if (fd < 0)
		return -errno;
	rc = side_options(fd);
	if (rc < 0)
		return rc;
	memcpy(&six.sin6_addr, addr, 16);
	memcpy(&four.sin_addr, addr + 12, 4);
	rc = v4 ? connect(fd, (struct sockaddr *)&four, sizeof(four))
		: connect(fd, (struct sockaddr *)&six, sizeof(six));
	if (rc < 0 && errno != EINPROGRESS)
		return -errno;
	*ret_fd = take_fd(&fd);
	return 0;
}

/* Starts the next address that can be started. False: there is none, and none is under way. */
bool upstream_next(struct upstream *u)
{
	struct upstream_dial *d = u->dial;
	bool going = false;
	uint32_t i;

	while (d->next < d->count) {
		i = d->next++;
		if (upstream_connect(d->addrs[i], d->port, &d->tries[i]) == 0 &&
		    loop_watch(u->pool->loop, d->tries[i], upstream_loop_key(u), EPOLLOUT) == 0) {
			d->next_ms = u->pool->loop->now_ms + UPSTREAM_NEXT_MS;
			return true;
		}
		own_close(&d->tries[i]);
	}
	for (i = 0; i < d->count; i++)
		going |= d->tries[i] >= 0;
	return going;
}

static void upstream_woken(void *user)
{
	struct upstream *u = user;

	u->fn(u->owner);
}

static const struct h2_user upstream_user = {upstream_woken, upstream_woken};

/* It speaks HTTP/2: the socket is shared from now on, by those that wait too. */
static void upstream_share(struct upstream *u)
{
	struct upstreams *p = u->pool;
	struct upstream *w;
	struct h2back *b;

	loop_forget(p->loop, u->side.fd);
	u->side.watched = false;
	if (h2back_adopt(p->shared, &u->side, &u->key, &b) < 0 || h2back_open(b, &u->side, &upstream_user, u) < 0) {
		upstream_fail(u, REASON_INTERNAL, "HTTP/2 setup");
		return;
	}
	upstream_leave(u);
	u->state = UPSTREAM_BUSY;
	while ((w = u->waiting.first) && h2back_find(p->shared, &u->key) == b) {
		upstream_leave(w);
		side_done(&w->side);
		if (h2back_open(b, &w->side, &upstream_user, w) < 0) {
			w->leader = u;
			upstream_list(&u->waiting, w);
			break;
		}
		upstream_dial_free(w);
		w->state = UPSTREAM_BUSY; /* it is told when the connection is flushed */
	}
	upstream_disperse(u, false);
}

/* Connected, and verified where that is asked for. */
static void upstream_ready(struct upstream *u)
{
	bool http2 = u->key.tls && tls_http2(u->side.tls);

	upstream_dial_free(u);
	if (u->offered_http2 && upstream_hint(u->pool, &u->key) != HINT_HTTP2_ONLY)
		upstream_hint_is(u->pool, &u->key, http2 ? HINT_HTTP2 : HINT_HTTP1);
	if (http2) {
		upstream_share(u);
		return;
	}
	upstream_leave(u);
	u->state = UPSTREAM_BUSY;
	upstream_disperse(u, true);
}

/* The upstream has no HTTP/1.1: once more, with HTTP/2. */
static bool upstream_again(struct upstream *u)
{
	if (u->key.http != UPSTREAM_HTTP1 || u->offered_http2 || !tls_no_offer(u->side.tls))
		return false;
	upstream_hint_is(u->pool, &u->key, HINT_HTTP2_ONLY);
	side_done(&u->side);
	side_init(&u->side, -1, UPSTREAM_IN_MAX, UPSTREAM_OUT_MAX);
	u->dial->next = 0;
	u->state = UPSTREAM_DIAL;
	return upstream_next(u);
}

static void upstream_handshake(struct upstream *u)
{
	const char *why;

	switch (side_handshake(&u->side)) {
	case TLS_OK:
		upstream_ready(u);
		return;
	case TLS_IN:
		if (side_arm(&u->side, u->pool->loop, true) < 0)
			upstream_fail(u, REASON_INTERNAL, "epoll");
		return;
	case TLS_OUT:
		if (side_arm(&u->side, u->pool->loop, false) < 0)
			upstream_fail(u, REASON_INTERNAL, "epoll");
		return;
	case TLS_CERT:
		u->wants_certificate = true;
		if (side_arm(&u->side, u->pool->loop, false) < 0)
			upstream_fail(u, REASON_INTERNAL, "epoll");
		return;
	default:
		if (upstream_again(u))
			return;
		why = u->side.tls ? tls_why(u->side.tls) : "no address answered";
		upstream_fail(u, u->side.tls && tls_distrusted(u->side.tls) ? REASON_UPSTREAM_TLS : REASON_UPSTREAM_CONNECT,
			      why);
	}
}

/* The way to the upstream is there: TLS, if it is to be. */
void upstream_start(struct upstream *u)
{
	struct upstreams *p = u->pool;
	int rc;

	u->state = UPSTREAM_HANDSHAKE;
	u->offered_http2 = u->key.tls && upstream_offer(u) == TLS_OFFER_HTTP2;
	rc = u->key.tls ? tls_connect(p->tls, u->side.fd, u->key.host, upstream_offer(u), upstream_session_of(p, &u->key),
				      &u->side.tls)
			: tls_plain(u->side.fd, &u->side.tls);
	if (rc == 0 && u->key.tls && u->key.certified)
		tls_certify(u->side.tls);
	if (rc < 0)
		upstream_fail(u, REASON_INTERNAL, "TLS setup");
	else
		upstream_handshake(u);
}

/* This socket is connected: it is the one. */
static void upstream_connected(struct upstream *u, int *fd)
{
	u->side.fd = take_fd(fd);
	u->side.key = upstream_loop_key(u);
	u->side.armed = EPOLLOUT;
	u->side.watched = true;
	upstream_close_tries(u);
	if (u->dial->proxied)
		upstream_proxy_greet(u);
	else
		upstream_start(u);
}

void upstream_certificate(struct upstream *u, const uint8_t *pem, size_t len)
{
	int rc = tls_certificate(u->side.tls, pem, len);

	u->wants_certificate = false;
	if (rc < 0)
		upstream_fail(u, REASON_VAULT, "the client certificate is not PEM of a certificate and its key");
	else
		upstream_handshake(u);
}

static const char *upstream_silence(const struct upstream *u)
{
	return u->dial->proxied ? "the proxy does not answer" : "no address answered";
}

/* Asks all sockets under way what became of them. */
static void upstream_dialled(struct upstream *u)
{
	struct upstream_dial *d = u->dial;
	bool failed = false;
	uint32_t i;

	for (i = 0; i < d->count; i++) {
		struct pollfd pfd = {.fd = d->tries[i], .events = POLLOUT};

		if (pfd.fd < 0 || poll(&pfd, 1, 0) != 1)
			continue;
		if (!(pfd.revents & (POLLERR | POLLHUP | POLLNVAL))) {
			upstream_connected(u, &d->tries[i]);
			return;
		}
		own_close(&d->tries[i]);
		failed = true;
	}
	if (failed && !upstream_next(u))
		upstream_fail(u, REASON_UPSTREAM_CONNECT, upstream_silence(u));
}

/* One of the same key that is being connected and may turn out to be shared. */
static struct upstream *upstream_leader(struct upstreams *p, const struct upstream_key *key)
{
	struct upstream *u;

	if (!key->tls || key->http != UPSTREAM_HTTP2 || upstream_hint(p, key) == HINT_HTTP1)
		return NULL;
	for (u = p->dialling.first; u; u = u->next)
		if (upstream_same(&u->key, key))
			return u;
	return NULL;
}

int upstream_dial(struct upstreams *p, const struct upstream_key *key, const uint8_t (*addrs)[16],
		  uint32_t count, void *owner, upstream_fn *fn, struct upstream **ret)
{
	struct upstream *u = calloc(1, sizeof(*u));
	struct upstream_dial *d = calloc(1, sizeof(*d));
	uint16_t gen;
	int rc = u && d ? slots_put(&p->slots, u, &u->slot, &gen) : -ENOMEM;

	if (rc < 0) {
		free(u);
		free(d);
		return rc;
	}
	u->pool = p;
	u->key = *key;
	u->owner = owner;
	u->fn = fn;
	u->detail = "";
	u->dial = d;
	side_init(&u->side, -1, UPSTREAM_IN_MAX, UPSTREAM_OUT_MAX);
	memset(d->tries, 0xff, sizeof(d->tries));
	d->of = u;
	d->count = count < RPC_ADDRS_MAX ? count : RPC_ADDRS_MAX;
	upstream_take_turns(addrs, d);
	upstream_by_proxy(u, d);
	u->state = UPSTREAM_DIAL;
	*ret = u;
	u->leader = upstream_leader(p, key);
	if (u->leader) {
		upstream_list(&u->leader->waiting, u);
		return 0;
	}
	upstream_list(&p->dialling, u);
	if (!upstream_go(u))
		upstream_fail(u, REASON_UPSTREAM_CONNECT, upstream_silence(u));
	return 0;
}

/* ---- the pool ---- */

bool upstream_alive(struct upstream *u)
{
	uint8_t byte;
	size_t n;
	ssize_t got;

	if (u->side.via)
		return h2back_alive(&u->side);
	if (u->side.hung_up || u->side.ended || tls_pending(u->side.tls) ||
	    buf_len(&u->side.in) > 0)
		return false;
	if (u->pool->loop->now_ms - u->idle_since_ms < UPSTREAM_FRESH_MS)
		return true;
	got = recv(u->side.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
	if (got < 0)
		return errno == EAGAIN;
	/* A session ticket is welcome; anything that reads as data, or the end, is not. */
	return got > 0 && u->key.tls && tls_read(u->side.tls, &byte, 1, &n) == TLS_IN;
}

/* A stream on a connection that is there already. */
static struct upstream *upstream_stream(struct upstreams *p, const struct upstream_key *key, void *owner, upstream_fn *fn)
{
	struct h2back *b = h2back_find(p->shared, key);
	struct upstream *u = b ? calloc(1, sizeof(*u)) : NULL;

	if (!u)
		return NULL;
	u->pool = p;
	u->key = *key;
	u->owner = owner;
	u->fn = fn;
	u->detail = "";
	u->slot = UPSTREAM_NO_SLOT;
	u->state = UPSTREAM_BUSY;
	u->reused = h2back_used(b);
	if (h2back_open(b, &u->side, &upstream_user, u) < 0) {
		free(u);
		return NULL;
	}
	return u;
}

struct upstream *upstream_take(struct upstreams *p, const struct upstream_key *key, void *owner, upstream_fn *fn)
{
	struct upstream *u;

	for (u = p->bucket[upstream_hash(key) % UPSTREAM_BUCKETS]; u; u = u->chain) {
		if (!upstream_same(&u->key, key))
			continue;
		upstream_leave(u);
		u->state = UPSTREAM_BUSY;
		u->reused = true;
		u->owner = owner;
		u->fn = fn;
		return u;
	}
	return upstream_stream(p, key, owner, fn);
}

void upstream_park(struct upstream *u)
{
	struct upstreams *p = u->pool;
	struct upstream **at = &p->bucket[upstream_hash(&u->key) % UPSTREAM_BUCKETS];

	if (u->side.via || tls_pending(u->side.tls) || u->side.hung_up || side_arm(&u->side, p->loop, true) < 0) {
		upstream_drop(u);
		return;
	}
	if (p->idle_count >= UPSTREAM_IDLE_MAX)
		upstream_drop(p->idle.first); /* the one that has waited longest */
	upstream_keep_session(p, &u->key, u->side.tls);
	buf_done(&u->side.in);
	buf_done(&u->side.out);
	u->owner = NULL;
	u->fn = NULL;
	u->state = UPSTREAM_IDLE;
	u->idle_since_ms = p->loop->now_ms;
	u->chain = *at;
	*at = u;
	p->idle_count++;
	upstream_list(&p->idle, u);
}

void upstream_drop(struct upstream *u)
{
	upstream_leave(u);
	upstream_disperse(u, false);
	upstream_dial_free(u);
	if (u->state >= UPSTREAM_BUSY && !u->side.via) {
		upstream_keep_session(u->pool, &u->key, u->side.tls);
		tls_finish(u->side.tls);
	}
	side_done(&u->side);
	if (u->slot != UPSTREAM_NO_SLOT)
		slots_drop(&u->pool->slots, u->slot);
	free(u);
}

void upstream_event(struct upstreams *p, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct upstream *u = slots_get(&p->slots, slot, gen);
	enum upstream_state was;

	if (!u)
		return;
	was = u->state;
	switch (was) {
	case UPSTREAM_DIAL:
		upstream_dialled(u);
		break;
	case UPSTREAM_PROXY:
		side_event(&u->side, p->loop, events);
		if (u->dial->ask.on) /* nothing was asked of it yet */
			upstream_fail(u, REASON_UPSTREAM_CONNECT, "the proxy closed, or says too much");
		else
			upstream_proxy_read(u);
		break;
	case UPSTREAM_HANDSHAKE:
		side_event(&u->side, p->loop, events);
		upstream_handshake(u);
		break;
	case UPSTREAM_IDLE:
		if (!upstream_alive(u))
			upstream_drop(u);
		return;
	default:
		side_event(&u->side, p->loop, events);
	}
	if (u->state != UPSTREAM_DIAL && (u->state != was || u->state == UPSTREAM_BUSY || u->wants_certificate))
		u->fn(u->owner);
}

void upstream_http2_event(struct upstreams *p, uint32_t slot, uint16_t gen, uint32_t events)
{
	h2back_event(p->shared, slot, gen, events);
}

void upstreams_forget(struct upstreams *p, uint64_t guard)
{
	struct upstream *u, *next;

	for (u = p->idle.first; u; u = next) {
		next = u->next;
		if (u->key.guard == guard)
			upstream_drop(u);
	}
	h2backs_forget(p->shared, guard);
}

int upstreams_sweep(struct upstreams *p, uint64_t now_ms)
{
	struct upstream *u, *next;
	uint64_t wait = UINT64_MAX, until;
	int shared_ms = h2backs_sweep(p->shared, now_ms);

	for (u = p->dialling.first; u; u = next) {
		struct upstream_dial *d = u->dial;

		next = u->next;
		if (u->state != UPSTREAM_DIAL || (d->next == d->count && !d->unknown))
			continue;
		if (now_ms >= d->next_ms && !upstream_go(u)) {
			upstream_fail(u, REASON_UPSTREAM_CONNECT, upstream_silence(u));
			u->fn(u->owner);
			continue;
		}
		until = d->next_ms > now_ms ? d->next_ms - now_ms : UPSTREAM_NEXT_MS;
		wait = until < wait ? until : wait;
	}
	while ((u = p->idle.first) && now_ms - u->idle_since_ms >= UPSTREAM_IDLE_MS)
		upstream_drop(u);
	if (p->idle.first) {
		until = UPSTREAM_IDLE_MS - (now_ms - p->idle.first->idle_since_ms);
		wait = until < wait ? until : wait;
	}
	if (shared_ms >= 0 && (uint64_t)shared_ms < wait)
		wait = (uint64_t)shared_ms;
	return wait == UINT64_MAX ? -1 : (int)wait;
}
