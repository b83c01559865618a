/* h2back.c: see h2back.h.
 *
 * All are in one list, the one idle for longest first among those without streams: they are moved to its end when their
 * last stream goes. What streams have to say is gathered and written once, when the turn of the loop ends.
 */
#include "h2back.h"

#include "relay.h"

#include <string.h>

#define H2BACK_BUCKETS 256
#define H2BACK_FULL    RELAY_FULL

struct h2back {
	struct h2backs *pool;
	struct side side;
	struct upstream_key key;
	struct h2 *h;
	struct h2_due due;
	struct h2back *next, *before, *chain;
	uint32_t slot, requests;
	uint64_t idle_since_ms; /* 0: has streams */
	bool secret; /* its requests carry values */
	bool lost; /* takes and gives nothing more; waits for its streams' owners to let go */
};

struct h2backs {
	struct loop *loop;
	uint8_t kind;
	struct h2_dues *dues;
	struct upstreams *upstreams;
	h2back_gone_fn *gone;
	struct slots slots;
	struct h2back *first, *last;
	struct h2back *bucket[H2BACK_BUCKETS];
	struct http1_head scratch;
};

int h2backs_new(struct loop *l, uint8_t kind, struct h2_dues *dues, uint32_t max,
		struct upstreams *u, h2back_gone_fn *gone, struct h2backs **ret)
{
	struct h2backs *p = calloc(1, sizeof(*p));
	int rc = p ? slots_init(&p->slots, max) : -ENOMEM;

	if (rc < 0) {
		free(p);
		return rc;
	}
	p->loop = l;
	p->kind = kind;
	p->dues = dues;
	p->upstreams = u;
	p->gone = gone;
	*ret = p;
	return 0;
}

/* ---- lists ---- */

static struct h2back **h2back_bucket(struct h2backs *p, const struct upstream_key *key)
{
	return &p->bucket[upstream_hash(key) % H2BACK_BUCKETS];
}

static void h2back_list(struct h2back *b)
{
	struct h2backs *p = b->pool;

	b->next = NULL;
	b->before = p->last;
	*(p->last ? &p->last->next : &p->first) = b;
	p->last = b;
}

static void h2back_unlist(struct h2back *b)
{
	struct h2backs *p = b->pool;

	*(b->before ? &b->before->next : &p->first) = b->next;
	*(b->next ? &b->next->before : &p->last) = b->before;
}

/* Not found any more. */
static void h2back_hide(struct h2back *b)
{
	struct h2back **at = h2back_bucket(b->pool, &b->key);

	while (*at && *at != b)
		at = &(*at)->chain;
	if (*at)
		*at = b->chain;
	b->chain = NULL;
}

/* Closes and frees it at once; streams that are in use read as reset. */
static struct h2back *h2back_free(struct h2back *b)
{
	struct h2backs *p = b->pool;

	h2back_hide(b);
	h2back_unlist(b);
	b->h = h2_free(b->h);
	h2_due_drop(p->dues, &b->due);
	if (b->side.tls) {
		p->gone(p->upstreams, &b->key, b->side.tls);
		side_finish(&b->side);
	}
	side_done(&b->side);
	slots_drop(&p->slots, b->slot);
	free(b);
	return NULL;
}

struct h2backs *h2backs_free(struct h2backs *p)
{
	if (!p)
		return NULL;
	while (p->first)
		h2back_free(p->first);
	slots_done(&p->slots);
	free(p);
	return NULL;
}

/* ---- streams ---- */

static void h2back_dirty(void *ctx)
{
	struct h2back *b = ctx;

	h2_due_add(b->pool->dues, &b->due);
}

static const struct h2_owner h2back_owner = {NULL, NULL, h2back_dirty};

bool h2back_alive(const struct side *side)
{
	return h2_stream_alive(side->self);
}

bool h2back_used(const struct h2back *b)
{
	return b->requests > 0;
}

struct h2back *h2back_find(struct h2backs *p, const struct upstream_key *key)
{
	struct h2back *b;

	for (b = *h2back_bucket(p, key); b; b = b->chain)
		if (upstream_same(&b->key, key) && !b->lost && b->requests < H2BACK_REQUESTS_MAX &&
		    h2_room(b->h))
			return b;
	return NULL;
}

int h2back_open(struct h2back *b, struct side *side, const struct h2_user *fns, void *user)
{
	struct h2_stream *s;
	int rc = h2_open(b->h, &s);

	if (rc < 0)
		return rc;
	side_init_via(side, &h2_via, s, UPSTREAM_IN_MAX, UPSTREAM_OUT_MAX);
	h2_stream_use(s, fns, user, &side->out);
	b->requests++;
	b->idle_since_ms = 0;
	return 0;
}

/* ---- the connection ---- */

static void h2back_flush(struct h2_due *d);

int h2back_adopt(struct h2backs *p, struct side *side, const struct upstream_key *key,
		 struct h2back **ret)
{
	static const uint8_t no_creds[sizeof(key->creds)];
	struct h2back *b = calloc(1, sizeof(*b));
	struct h2back **at = h2back_bucket(p, key);
	uint16_t gen;
	int rc = b ? slots_put(&p->slots, b, &b->slot, &gen) : -ENOMEM;

	if (rc < 0) {
		free(b);
		return rc;
	}
	b->pool = p;
	b->key = *key;
	b->due.flush = h2back_flush;
	rc = h2_new(H2_CLIENT, &h2back_owner, b, &p->scratch, false, &b->h);
	if (rc == 0)
		rc = side_watch(side, p->loop, (struct loop_key){p->kind, gen, b->slot},
				EPOLLIN | EPOLLRDHUP);
	if (rc < 0) {
		h2_free(b->h);
		slots_drop(&p->slots, b->slot);
		free(b);
		return rc;
	}
	b->side = *side;
	side_init(side, -1, 0, 0);
	b->side.tell_end = true;
	b->secret = memcmp(key->creds, no_creds, sizeof(no_creds)) != 0;
	b->idle_since_ms = p->loop->now_ms;
	b->chain = *at;
	*at = b;
	h2back_list(b);
	h2_due_add(p->dues, &b->due);
	*ret = b;
	return 0;
}

/* The connection is of no use any more: streams under way are told. */
static void h2back_lose(struct h2back *b)
{
	if (b->lost)
		return;
	b->lost = true;
	h2_goaway(b->h, false);
}

/* After each step. May free it. */
static void h2back_settle(struct h2back *b)
{
	struct h2backs *p = b->pool;

	if (h2_streams(b->h) == 0) {
		if (b->lost || h2_over(b->h) || b->requests >= H2BACK_REQUESTS_MAX ||
		    !h2_room(b->h)) {
			h2back_free(b);
			return;
		}
		if (b->idle_since_ms == 0) {
			b->idle_since_ms = p->loop->now_ms;
			h2back_unlist(b);
			h2back_list(b);
		}
	}
	if (side_arm(&b->side, p->loop, !b->lost) < 0)
		h2back_lose(b);
}

static void h2back_write(struct h2back *b)
{
	size_t n;

	do {
		b->side.out.wipe = b->secret; /* an empty buffer forgets it */
		if (h2_drain(b->h, &b->side.out, H2BACK_FULL) < 0)
			b->lost = true;
		if (side_write(&b->side, &n) == TLS_FAIL) {
			h2back_lose(b);
			buf_done(&b->side.out);
			return;
		}
	} while (n > 0 && buf_len(&b->side.out) == 0);
}

static void h2back_read(struct h2back *b)
{
	size_t n, budget = RELAY_BUDGET;
	enum tls_io io = TLS_IN;

	while (budget > 0 && !b->lost) {
		b->side.in.wipe = true; /* it may give a value back */
		io = side_read(&b->side, &b->side.in, BUF_UNIT, &n);
		if (io != TLS_OK)
			break;
		budget -= n < budget ? n : budget;
		if (h2_feed(b->h, buf_bytes(&b->side.in), buf_len(&b->side.in),
			    b->pool->loop->now_ms) < 0)
			b->lost = true;
		buf_done(&b->side.in);
	}
	if (io == TLS_FAIL || io == TLS_END || h2_over(b->h))
		h2back_lose(b);
	if (budget == 0)
		h2_due_add(b->pool->dues, &b->due);
}

static void h2back_flush(struct h2_due *d)
{
	struct h2back *b = (struct h2back *)((char *)d - offsetof(struct h2back, due));

	h2back_read(b); /* what an event's share did not reach */
	h2back_write(b);
	h2_wake(b->h);
	h2back_settle(b);
}

void h2back_event(struct h2backs *p, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct h2back *b = slots_get(&p->slots, slot, gen);

	if (!b)
		return;
	side_event(&b->side, p->loop, events);
	h2back_read(b);
	h2_wake(b->h);
	if (buf_len(&b->side.out) > 0 && !b->side.blocked)
		h2_due_add(p->dues, &b->due);
	h2back_settle(b);
}

static void h2back_end(struct h2back *b)
{
	h2_goaway(b->h, false);
	h2back_write(b);
	h2back_free(b);
}

void h2backs_forget(struct h2backs *p, uint64_t guard)
{
	struct h2back *b, *next;

	for (b = p->first; b; b = next) {
		next = b->next;
		if (b->idle_since_ms && b->key.guard == guard)
			h2back_end(b);
	}
}

int h2backs_sweep(struct h2backs *p, uint64_t now_ms)
{
	struct h2back *b, *next;
	uint64_t wait = UINT64_MAX, until;

	for (b = p->first; b; b = next) {
		next = b->next;
		if (b->idle_since_ms == 0)
			continue;
		if (now_ms - b->idle_since_ms >= UPSTREAM_IDLE_MS) {
			h2back_end(b);
			continue;
		}
		until = UPSTREAM_IDLE_MS - (now_ms - b->idle_since_ms);
		wait = until < wait ? until : wait;
	}
	return wait == UINT64_MAX ? -1 : (int)wait;
}
