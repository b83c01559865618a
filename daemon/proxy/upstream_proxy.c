/* upstream_proxy.c: through a corporate proxy (upstream.proxy): it is what is dialled, and asked by CONNECT for the upstream's
 * addresses, one after the other (hop.h). See upstream.h, upstream_in.h.
 */
#include "upstream_in.h"

#include <string.h>
#include <sys/socket.h>

void upstreams_through(struct upstreams *p, const struct config *c, struct channel *resolver, struct channel *keeper)
{
	p->config = c;
	p->resolver = resolver;
	p->keeper = keeper;
}

void upstream_by_proxy(struct upstream *u, struct upstream_dial *d)
{
	const struct config *c = u->pool->config;

	d->port = u->key.port;
	if (!c || d->count == 0 || !config_proxied(c, u->key.host, d->addrs[0]))
		return;
	d->proxied = true;
	memcpy(d->targets, d->addrs, sizeof(d->targets));
	d->target_count = d->count;
	d->unknown = c->http_proxy_host[0] != '\0';
	memcpy(d->addrs[0], c->http_proxy.addr, sizeof(d->addrs[0]));
	d->count = d->unknown ? 0 : 1;
	d->port = c->http_proxy.port;
}

/* Whatever the resolver said: what no rule could open is not dialled. */
static bool upstream_proxy_ok(const struct config *c, const struct rpc_resolved *r)
{
	uint32_t i;

	for (i = 0; i < r->count; i++)
		if (origin_special(c, r->addr[i]) && !origin_openable(r->addr[i], false))
			return false;
	return true;
}

static const char *upstream_proxy_lost(int rc)
{
	switch (rc) {
	case 0:
		return "the proxy does not answer";
	case -ENOENT:
		return "the proxy's name is not found";
	case -EACCES:
		return "the proxy's name leads to a special address";
	default:
		return "no answer about the proxy's name";
	}
}

static void upstream_on_proxy_found(struct ask *a, int rc, const void *body, const uint8_t *tail, size_t tail_len)
{
	struct upstream_dial *d = (struct upstream_dial *)((char *)a - offsetof(struct upstream_dial, ask));
	struct upstream *u = d->of;
	const struct rpc_resolved *r = body;

	(void)tail;
	(void)tail_len;
	if (rc == 0 && !upstream_proxy_ok(u->pool->config, r))
		rc = -EACCES;
	if (rc == 0) {
		d->count = r->count;
		upstream_take_turns(r->addr, d);
		if (upstream_next(u))
			return;
	}
	upstream_fail(u, REASON_UPSTREAM_CONNECT, upstream_proxy_lost(rc));
	u->fn(u->owner);
}

bool upstream_go(struct upstream *u)
{
	struct upstream_dial *d = u->dial;

	if (!d->unknown)
		return upstream_next(u);
	d->unknown = false;
	return ask_share(&d->ask, u->pool->resolver, RPC_RESOLVE_PROXY, 0, upstream_on_proxy_found) == 0;
}

static void upstream_ask_proxy(struct upstream *u, const char *user, const uint8_t *password, size_t len)
{
	uint8_t text[HOP_REQUEST_MAX];
	struct wr w = wr_of(text, sizeof(text));
	int rc = hop_request(u->dial->targets[u->dial->target], u->key.port, user, password, len, &w);

	u->state = UPSTREAM_PROXY;
	u->dial->reply_len = 0;
	if (rc < 0)
		upstream_fail(u, REASON_UPSTREAM_PROXY, "the proxy's password is too long, or has control bytes");
	else if (send(u->side.fd, text, w.len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)w.len ||
		 side_arm(&u->side, u->pool->loop, true) < 0)
		upstream_fail(u, REASON_UPSTREAM_CONNECT, "the proxy does not take a request");
	explicit_bzero(text, sizeof(text));
}

static void upstream_on_password(struct ask *a, int rc, const void *body, const uint8_t *tail, size_t tail_len)
{
	struct upstream_dial *d = (struct upstream_dial *)((char *)a - offsetof(struct upstream_dial, ask));
	struct upstream *u = d->of;

	(void)body;
	switch (rc) {
	case 0:
		upstream_ask_proxy(u, u->pool->config->http_proxy_user, tail, tail_len);
		break;
	case -ENOENT:
		upstream_fail(u, REASON_UPSTREAM_PROXY, "the proxy's password is not there");
		break;
	case -EACCES:
		upstream_fail(u, REASON_UPSTREAM_PROXY, "the proxy's password is not bound to it in slot proxy");
		break;
	default:
		upstream_fail(u, rc == -ENOKEY ? REASON_VAULT_LOCKED : REASON_VAULT, "the proxy's password");
	}
	if (u->state == UPSTREAM_DEAD)
		u->fn(u->owner);
}

/* The proxy is there: only now is its password read. */
static void upstream_ask_password(struct upstream *u)
{
	struct rpc_proxy_password *q = &u->dial->ask.body.proxy_password;

	u->state = UPSTREAM_PROXY;
	memset(q, 0, sizeof(*q));
	q->guard = u->key.guard;
	q->port = u->key.port;
	memcpy(q->host, u->key.host, sizeof(q->host));
	if (side_arm(&u->side, u->pool->loop, true) < 0)
		upstream_fail(u, REASON_INTERNAL, "epoll");
	else if (ask_share(&u->dial->ask, u->pool->keeper, RPC_PROXY_PASSWORD, u->key.epoch, upstream_on_password) < 0)
		upstream_fail(u, REASON_VAULT, "the proxy's password");
}

void upstream_proxy_greet(struct upstream *u)
{
	if (u->pool->config->http_proxy_user[0])
		upstream_ask_password(u);
	else
		upstream_ask_proxy(u, "", NULL, 0);
}

/* The proxy did not come through to this address: there may be another. */
static void upstream_next_target(struct upstream *u, const char *why)
{
	struct upstream_dial *d = u->dial;

	if (++d->target == d->target_count) {
		upstream_fail(u, REASON_UPSTREAM_CONNECT, why);
		return;
	}
	side_done(&u->side);
	side_init(&u->side, -1, UPSTREAM_IN_MAX, UPSTREAM_OUT_MAX);
	d->next = 0;
	u->state = UPSTREAM_DIAL;
	if (!upstream_next(u))
		upstream_fail(u, REASON_UPSTREAM_CONNECT, "the proxy does not answer");
}

/* The head of its answer is whole. */
static void upstream_proxy_says(struct upstream *u)
{
	switch (hop_says(u->dial->reply)) {
	case HOP_THROUGH:
		upstream_start(u);
		return;
	case HOP_NEXT:
		upstream_next_target(u, "the proxy cannot connect");
		return;
	case HOP_CREDENTIALS:
		upstream_fail(u, REASON_UPSTREAM_PROXY,
			      u->pool->config->http_proxy_user[0] ? "the proxy refuses its credentials"
								  : "the proxy wants credentials");
		return;
	case HOP_REFUSED:
		upstream_fail(u, REASON_UPSTREAM_CONNECT, "the proxy refuses to connect");
		return;
	case HOP_NONSENSE:
		upstream_fail(u, REASON_UPSTREAM_CONNECT, "the proxy answers nonsense");
	}
}

/* Byte by byte: what comes after the head is not ours to take. */
void upstream_proxy_read(struct upstream *u)
{
	struct upstream_dial *d = u->dial;
	ssize_t n;

	while (d->reply_len < sizeof(d->reply) - 1) {
		n = recv(u->side.fd, d->reply + d->reply_len, 1, MSG_DONTWAIT);
		if (n < 0 && errno == EAGAIN) {
			u->side.readable = false;
			if (side_arm(&u->side, u->pool->loop, true) < 0)
				upstream_fail(u, REASON_INTERNAL, "epoll");
			return;
		}
		if (n <= 0)
			break;
		d->reply[++d->reply_len] = '\0';
		if (d->reply_len >= 4 && memcmp(d->reply + d->reply_len - 4, "\r\n\r\n", 4) == 0) {
			upstream_proxy_says(u);
			return;
		}
	}
	upstream_fail(u, REASON_UPSTREAM_CONNECT, "the proxy closed, or says too much");
}
