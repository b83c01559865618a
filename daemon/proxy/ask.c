/* ask.c: see ask.h. An id is place + RPC_INFLIGHT_MAX * sequence, never 0. Those who share an answer are linked by
 * `next`, as those who wait to be sent are: nobody is both. */
#include "ask.h"

#include <assert.h>
#include <string.h>

#define ASK_WAITS    RPC_INFLIGHT_MAX
#define ASK_ANSWERED (RPC_INFLIGHT_MAX + 1) /* the answer is here: on `answering` */

/* The same answer to all that shared the question. Callbacks may ask the next thing, or give up others of the list. */
static void channel_tell(struct channel *c, struct ask *list, int rc, const void *body,
			 const uint8_t *tail, size_t tail_len)
{
	struct ask *a;

	for (a = list; a; a = a->next)
		a->place = ASK_ANSWERED;
	c->answering = list;
	while ((a = c->answering)) {
		c->answering = a->next;
		a->on = NULL;
		a->fn(a, rc, body, tail, tail_len);
	}
}

void channel_init(struct channel *c, uint32_t number)
{
	*c = (struct channel){.peer = {.fd = -1, .number = number}};
}

/* Everything asked gets its "no"; callbacks may ask again, which then fails at once. */
void channel_done(struct channel *c)
{
	struct ask *a;
	size_t i;

	own_close(&c->peer.fd);
	for (i = 0; i < RPC_INFLIGHT_MAX; i++) {
		a = c->flying[i].by;
		memset(&c->flying[i], 0, sizeof(c->flying[i]));
		channel_tell(c, a, -EPIPE, NULL, NULL, 0);
	}
	c->in_flight = 0;
	while ((a = c->first)) {
		c->first = a->next;
		if (!c->first)
			c->last = NULL;
		a->on = NULL;
		a->fn(a, -EPIPE, NULL, NULL, 0);
	}
}

void channel_wire(struct channel *c, int fd)
{
	channel_done(c);
	c->peer = (struct rpc_peer){.fd = fd, .number = c->peer.number};
}

static size_t ask_size(uint16_t op)
{
	switch (op) {
	case RPC_SIGN_LEAF:
		return sizeof(struct rpc_sign_leaf);
	case RPC_CREDENTIAL:
		return sizeof(struct rpc_credential);
	case RPC_SIGN:
		return sizeof(struct rpc_sign);
	case RPC_FORMER_ASK:
		return sizeof(struct rpc_former_ask);
	case RPC_PROXY_PASSWORD:
		return sizeof(struct rpc_proxy_password);
	case RPC_RESOLVE_PROXY:
		return 0;
	default:
		return sizeof(struct rpc_resolve);
	}
}

static uint16_t ask_answer(uint16_t op)
{
	switch (op) {
	case RPC_SIGN_LEAF:
		return RPC_LEAF;
	case RPC_CREDENTIAL:
	case RPC_FORMER_ASK:
	case RPC_PROXY_PASSWORD:
		return RPC_CREDENTIAL_VALUE;
	case RPC_SIGN:
		return RPC_SIGNED;
	default:
		return RPC_RESOLVED;
	}
}

/* Sends one; -EAGAIN: not now. */
static int channel_send(struct channel *c, struct ask *a)
{
	uint32_t place = 0, id;
	int rc;

	if (c->in_flight == RPC_INFLIGHT_MAX)
		return -EAGAIN;
	while (c->flying[place].id)
		place++;
	if (++c->sequence >= UINT32_MAX / RPC_INFLIGHT_MAX)
		c->sequence = 1;
	id = place + RPC_INFLIGHT_MAX * c->sequence;
	rc = rpc_send(c->peer.fd, a->op, id, &a->body, ask_size(a->op), a->tail, a->tail_len, -1);
	if (rc < 0)
		return rc;
	a->tail = NULL;
	a->tail_len = 0;
	c->flying[place].by = a; /* its `next` is the caller's to clear */
	c->flying[place].id = id;
	c->flying[place].answer = a->answer;
	c->in_flight++;
	a->place = place;
	return 0;
}

void channel_push(struct channel *c)
{
	while (c->first && c->peer.fd >= 0) {
		struct ask *a = c->first;

		/* Any error but "later" shows on the receiving side too, which ends the channel. */
		if (channel_send(c, a) < 0)
			return;
		c->first = a->next;
		if (!c->first)
			c->last = NULL;
		a->next = NULL;
	}
}

static int ask_send(struct ask *a, struct channel *c, uint16_t op, ask_fn *fn)
{
	assert(!a->on);
	if (c->peer.fd < 0)
		return -ENOTCONN;
	a->on = c;
	a->op = op;
	a->answer = ask_answer(op);
	a->fn = fn;
	a->place = ASK_WAITS;
	a->next = NULL;
	if (c->last)
		c->last->next = a;
	else
		c->first = a;
	c->last = a;
	channel_push(c);
	return 0;
}

int ask_put(struct ask *a, struct channel *c, uint16_t op, ask_fn *fn)
{
	a->shared = false;
	return ask_send(a, c, op, fn);
}

int ask_share(struct ask *a, struct channel *c, uint16_t op, uint64_t epoch, ask_fn *fn)
{
	uint32_t i, seen = 0;

	assert(!a->on && !a->tail);
	for (i = 0; seen < c->in_flight && i < RPC_INFLIGHT_MAX; i++) {
		struct ask *by = c->flying[i].by;

		seen += c->flying[i].id != 0;
		if (!by || by->op != op || !by->shared || by->epoch != epoch ||
		    memcmp(&by->body, &a->body, ask_size(op)) != 0)
			continue;
		a->on = c;
		a->op = op;
		a->fn = fn;
		a->shared = true;
		a->epoch = epoch;
		a->place = i;
		a->next = by->next;
		by->next = a;
		return 0;
	}
	a->shared = true;
	a->epoch = epoch;
	return ask_send(a, c, op, fn);
}

/* Takes it off a list that begins at *first. */
static void ask_unlink(struct ask **first, const struct ask *a)
{
	while (*first && *first != a)
		first = &(*first)->next;
	if (*first)
		*first = a->next;
}

void ask_cancel(struct ask *a)
{
	struct channel *c = a->on;
	struct ask *before = NULL, *at;

	if (!c)
		return;
	a->on = NULL;
	if (a->place != ASK_WAITS) {
		ask_unlink(a->place < RPC_INFLIGHT_MAX ? &c->flying[a->place].by : &c->answering,
			   a);
		return;
	}
	for (at = c->first; at != a; at = at->next)
		before = at;
	if (before)
		before->next = a->next;
	else
		c->first = a->next;
	if (c->last == a)
		c->last = before;
}

/* One answer. The place is free before the callback runs, which may ask the next thing. */
static int channel_answer(struct channel *c, const struct rpc_msg *m, int rc)
{
	uint32_t place = m->id % RPC_INFLIGHT_MAX;
	struct ask *a = c->flying[place].by;

	if (m->id == 0 || c->flying[place].id != m->id || c->flying[place].answer != m->op)
		return -EPROTO;
	memset(&c->flying[place], 0, sizeof(c->flying[place]));
	c->in_flight--;
	channel_tell(c, a, rc, m->body, m->tail, m->tail_len);
	return 0;
}

static int channel_on_done(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_done *d = m->body;

	(void)peer;
	if (d->rc > 0 || d->tail_len != m->tail_len)
		return -EPROTO;
	return channel_answer(ctx, m, d->rc);
}

static int channel_on_resolved(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_resolved *d = m->body;

	(void)peer;
	if (d->rc > 0 || d->count > RPC_ADDRS_MAX || (d->rc == 0 && d->count == 0))
		return -EPROTO;
	return channel_answer(ctx, m, d->rc);
}

static int channel_on_former(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_former *note = m->body;
	struct channel *c = ctx;

	(void)peer;
	if (!c->on_former || !rpc_str_ok(note->workspace, sizeof(note->workspace)))
		return -EPROTO;
	return c->on_former(c->ctx, note, m->tail, m->tail_len);
}

static int channel_on_prints(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_prints *note = m->body;
	struct channel *c = ctx;

	(void)peer;
	if (!c->on_prints || !rpc_str_ok(note->workspace, sizeof(note->workspace)))
		return -EPROTO;
	return c->on_prints(c->ctx, note->workspace, m->tail, m->tail_len);
}

static int channel_on_order(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct channel *c = ctx;

	(void)peer;
	return c->on_order ? c->on_order(c->ctx, m->body, m->tail, m->tail_len) : -EPROTO;
}

static const struct rpc_row channel_rows[] = {
	{RPC_LEAF, sizeof(struct rpc_done), RPC_LEAF_MAX, 0, channel_on_done},
	{RPC_CREDENTIAL_VALUE, sizeof(struct rpc_done), RPC_SECRET_MAX, 0, channel_on_done},
	{RPC_TOKEN_ORDER, sizeof(struct rpc_token_order), RPC_TAIL_MAX, 0, channel_on_order},
	{RPC_SIGNED, sizeof(struct rpc_done), RPC_SECRET_MAX, 0, channel_on_done},
	{RPC_RESOLVED, sizeof(struct rpc_resolved), 0, 0, channel_on_resolved},
	{RPC_FORMER, sizeof(struct rpc_former), RPC_TAIL_MAX, 0, channel_on_former},
	{RPC_PRINTS, sizeof(struct rpc_prints), RPC_TAIL_MAX, 0, channel_on_prints},
};

int channel_serve(struct channel *c, void *buf)
{
	int rc = rpc_serve(&c->peer, channel_rows, ARRAY_SIZE(channel_rows), c, buf,
			   RPC_INFLIGHT_MAX);

	if (rc == 0)
		channel_push(c);
	return rc;
}
