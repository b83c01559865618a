/* resign.c: see resign.h. */
#include "resign.h"

#include "awschunk.h"
#include "hmac.h"
#include "relay.h"
#include "sign.h"
#include "sigv4.h"
#include "template.h"

#include <stdlib.h>
#include <string.h>

struct resign {
	struct sigv4 s;
	uint32_t need; /* its index, and that of its identity in request.values */
	bool made;     /* the signature is here: */
	char hex[SIGV4_HEX_LEN + 1];
	uint8_t *text; /* what the edits point to; wiped */
	size_t text_len;
};

/* A body that is signed chunk by chunk. */
struct resign_stream {
	struct conn *c;
	struct ask ask;
	struct rpc_sign q;    /* the next chunk's, but for its hash */
	struct buf in, ready; /* payload; frames that are signed */
	struct body out;      /* their framing */
	struct awschunk_frame frame;
	bool trailer, last, over, failed;
	bool have; /* `frame` is asked about */
};

static struct http1_slice slice_of(const char *s)
{
	return (struct http1_slice){s, strlen(s)};
}

/* ---- recognising ---- */

static const struct rules_secret *resign_secret(const struct rules *r, struct http1_slice id)
{
	for (uint32_t i = 0; i < r->secret_count; i++) {
		char placeholder[KIND_AWS_ID_LEN + 1];

		if (r->secrets[i].kind != KIND_AWS)
			continue;
		kind_aws_id(r->workspace, r->secrets[i].name, placeholder);
		if (http1_eq(id, placeholder))
			return &r->secrets[i];
	}
	return NULL;
}

static bool resign_any(const struct rules *r)
{
	for (uint32_t i = 0; i < r->secret_count; i++)
		if (r->secrets[i].kind == KIND_AWS)
			return true;
	return false;
}

static bool resign_in_time(const struct sigv4 *s)
{
	int64_t now = (int64_t)(loop_wall_ns() / 1000000000), then = sigv4_seconds(s->scope.time);

	if (then > now + SIGV4_SKEW_S)
		return false;
	return now <= then + (s->how == SIGV4_QUERY ? (int64_t)s->expires : SIGV4_SKEW_S);
}

static bool resign_payload_hash(struct http1_slice v)
{
	if (v.len != SIGV4_HEX_LEN)
		return false;
	for (size_t i = 0; i < v.len; i++)
		if (!((v.p[i] >= '0' && v.p[i] <= '9') || (v.p[i] >= 'a' && v.p[i] <= 'f')))
			return false;
	return true;
}

static bool resign_streams(struct http1_slice payload)
{
	return http1_eq(payload, SIGV4_STREAM) || http1_eq(payload, SIGV4_STREAM_TRAILER);
}

static bool resign_has_body(const struct request *rq)
{
	return rq->meaning.framing == HTTP1_FRAMING_CHUNKED || rq->meaning.length > 0;
}

/* What the last line of the canonical request says. A hash that the agent did not send is made of the body. */
static bool resign_payload(struct conn *c, struct sigv4 *s)
{
	struct http1_slice v = s->payload;

	if (!v.p && s->how == SIGV4_QUERY && strcmp(s->scope.service, "s3") == 0)
		s->payload = slice_of(SIGV4_UNSIGNED);
	else if (!v.p && resign_has_body(c->x->rq))
		c->x->hold.asked = true;
	else if (!v.p)
		s->payload = slice_of(SIGV4_EMPTY_HASH);
	return !v.p || http1_eq(v, SIGV4_UNSIGNED) || http1_eq(v, SIGV4_UNSIGNED_TRAILER) ||
	       resign_payload_hash(v) || resign_streams(v);
}

/* The key of a stream is known with the first signature. */
static int resign_stream_new(struct conn *c, const struct sigv4 *s)
{
	struct exchange *x = c->x;
	struct resign_stream *t = calloc(1, sizeof(*t));
	enum http1_framing framing = c->x->rq->meaning.framing;

	if (!t)
		return -ENOMEM;
	t->c = c;
	t->trailer = http1_eq(s->payload, SIGV4_STREAM_TRAILER);
	buf_init(&t->in, AWSCHUNK_FRAME_MAX + 65536);
	buf_init(&t->ready, AWSCHUNK_FRAME_MAX);
	body_init(&t->out, HTTP1_FRAMING_CLOSE, 0, framing);
	body_init(&x->up_body, framing, x->rq->meaning.length, HTTP1_FRAMING_CLOSE);
	x->stream = t;
	return 0;
}

static enum reason resign_take(struct conn *c, struct resign *g, const struct rules_secret *secret)
{
	struct request *rq = c->x->rq;

	if (rq->refs.need_count > 0) {
		c->x->detail = "references beside an AWS signature";
		return REASON_SIGNATURE;
	}
	if (!resign_in_time(&g->s))
		return REASON_CLOCK;
	if (!resign_payload(c, &g->s)) {
		c->x->detail = "x-amz-content-sha256";
		return REASON_SIGNATURE;
	}
	if (inject_need(&rq->refs, secret->name, strlen(secret->name), RULES_SLOT_SIGN, &g->need) <
	    0)
		return REASON_LIMIT;
	if (g->s.payload.p && resign_streams(g->s.payload) && resign_has_body(rq) &&
	    resign_stream_new(c, &g->s) < 0)
		return REASON_INTERNAL;
	return REASON_NONE;
}

enum reason resign_scan(struct conn *c)
{
	struct request *rq = c->x->rq;
	const struct rules *r = c->guard->workspace->rules;
	const struct rules_secret *secret;
	struct resign *g;
	enum reason why;
	int rc;

	resign_done(rq);
	resign_stream_done(c->x);
	if (!r || !resign_any(r))
		return REASON_NONE;
	g = calloc(1, sizeof(*g));
	if (!g)
		return REASON_INTERNAL;
	rc = sigv4_scan(&rq->head, &rq->meaning, &g->s);
	secret = rc == 1 ? resign_secret(r, g->s.id) : NULL;
	if (!secret) {
		free(g);
		c->x->detail = rc < 0 ? "AWS signature" : NULL;
		return rc < 0 ? REASON_SIGNATURE : REASON_NONE;
	}
	why = resign_take(c, g, secret);
	rq->resign = g;
	return why;
}

/* ---- the request's signature ---- */

/* id and token, as the keeper gave them. */
static void resign_identity(const struct request *rq, struct http1_slice *id,
			    struct http1_slice *token)
{
	const struct cred *v = &rq->values[rq->resign->need];
	const char *p = (const char *)v->p, *lf = memchr(p, '\n', v->len);

	*id = (struct http1_slice){p, lf ? (size_t)(lf - p) : v->len};
	*token = lf ? (struct http1_slice){lf + 1, v->len - id->len - 1} : (struct http1_slice){0};
}

static void resign_refuse(struct request *rq, int rc)
{
	rq->refused = true;
	rq->refusal = rc == -ENOENT                    ? REASON_SECRET_UNKNOWN
		      : rc == -EACCES                  ? REASON_SECRET_HOST
		      : rc == -EKEYEXPIRED             ? REASON_CLOCK
		      : rc == -EBADMSG || rc == -E2BIG ? REASON_SIGNATURE
						       : REASON_VAULT;
}

static void resign_on_signed(struct ask *a, int rc, const void *body, const uint8_t *tail,
			     size_t len)
{
	struct request *rq = (struct request *)((char *)a - offsetof(struct request, ask));
	struct resign *g = rq->resign;

	(void)body;
	if (rc == 0 && len != SIGV4_HEX_LEN)
		rc = -EPROTO;
	if (rc < 0) {
		resign_refuse(rq, rc);
	} else {
		memcpy(g->hex, tail, len);
		g->hex[len] = '\0';
		g->made = true;
	}
	conn_step(rq->c);
}

static void resign_of(const struct conn *c, const char *name, enum rules_slot slot,
		      struct rpc_sign *q)
{
	const struct request *rq = c->x->rq;

	memset(q, 0, sizeof(*q));
	q->of.guard = c->guard->id;
	q->of.port = rq->route.port;
	q->of.slot = (uint16_t)slot;
	memcpy(q->of.name, name, strlen(name) + 1);
	memcpy(q->of.host, rq->route.host, strlen(rq->route.host) + 1);
}

/* Bytes that its edits may take. */
size_t resign_bound(const struct request *rq)
{
	return rq->resign ? 4 * rq->head.raw.len + 4 * rq->values[rq->resign->need].len + 4096 : 0;
}

static int resign_hash(struct conn *c, uint8_t hash[SIGV4_HASH_LEN])
{
	struct request *rq = c->x->rq;
	struct resign *g = rq->resign;
	struct http1_slice id, token, payload = g->s.payload, target = {0};
	char body[SIGV4_HEX_LEN + 1];
	size_t bound = resign_bound(rq);
	uint8_t *text = malloc(2 * bound);
	struct wr w = wr_of(text, bound), t = wr_of(text ? text + bound : NULL, bound);
	int rc;

	if (!text)
		return -ENOMEM;
	resign_identity(rq, &id, &token);
	if (!payload.p) {
		sigv4_hash(buf_bytes(&c->x->hold.body), buf_len(&c->x->hold.body), hash);
		sign_hex(hash, SIGV4_HASH_LEN, body);
		payload = slice_of(body);
	}
	if (g->s.how == SIGV4_QUERY) {
		sigv4_target(&g->s, &rq->meaning, id, token, NULL, &t);
		target = (struct http1_slice){(const char *)t.p, t.len};
	}
	rc = sigv4_canonical(&g->s, &rq->head, &rq->meaning, target, token, payload, &w);
	if (rc == 0 && (w.full || t.full))
		rc = -E2BIG;
	if (rc == 0)
		sigv4_hash(w.p, w.len, hash);
	explicit_bzero(text, 2 * bound);
	free(text);
	return rc;
}

bool resign_get(struct conn *c)
{
	struct request *rq = c->x->rq;
	struct resign *g = rq->resign;
	struct rpc_sign *q = &rq->ask.body.sign;
	int rc = 0;

	if (!g || g->made)
		return true;
	if (rq->refs.need_count != 1)
		rc = -EBADMSG; /* a reference in the body: what was hashed is not what would be sent */
	resign_of(c, rq->refs.needs[g->need].name, RULES_SLOT_SIGN, q);
	memcpy(q->time, g->s.scope.time, sizeof(q->time));
	memcpy(q->region, g->s.scope.region, sizeof(q->region));
	memcpy(q->service, g->s.scope.service, sizeof(q->service));
	if (rc == 0)
		rc = resign_hash(c, q->hash);
	if (rc == 0 && c->x->stream)
		c->x->stream->q = *q;
	if (rc == 0)
		rc = ask_put(&rq->ask, &c->p->keeper, RPC_SIGN, resign_on_signed);
	if (rc < 0)
		resign_refuse(rq, rc);
	return false;
}

/* The authorization, or the target, and the token. */
int resign_edits(struct request *rq, struct http1_out *out, struct http1_edit *edits, size_t max)
{
	struct resign *g = rq->resign;
	struct http1_slice id, token, text;
	bool was = g && g->s.token < rq->head.field_count;
	struct wr w;

	if (!g)
		return 0;
	if (out->edit_count + 2 > max)
		return -ENOBUFS;
	resign_identity(rq, &id, &token);
	g->text_len = resign_bound(rq);
	g->text = malloc(g->text_len);
	w = wr_of(g->text, g->text ? g->text_len : 0);
	if (g->s.how == SIGV4_QUERY)
		sigv4_target(&g->s, &rq->meaning, id, token, g->hex, &w);
	else
		sigv4_authorization(&g->s, id, token.len > 0, g->hex, &w);
	if (w.full)
		return -ENOBUFS;
	text = (struct http1_slice){(const char *)w.p, w.len};
	if (g->s.how == SIGV4_QUERY)
		out->target = text;
	else
		edits[out->edit_count++] = (struct http1_edit){
			.op = HTTP1_VALUE, .field = g->s.authorization, .value = text};
	if (was && (token.len == 0 || g->s.how == SIGV4_QUERY))
		edits[out->edit_count++] = (struct http1_edit){.op = HTTP1_DROP,
							       .field = g->s.token};
	else if (was)
		edits[out->edit_count++] = (struct http1_edit){
			.op = HTTP1_VALUE, .field = g->s.token, .value = token};
	else if (token.len > 0 && g->s.how == SIGV4_HEADER)
		edits[out->edit_count++] = (struct http1_edit){
			.op = HTTP1_ADD, .name = slice_of("X-Amz-Security-Token"), .value = token};
	/* The first chunk's signature is made with this one. */
	if (rq->c->x->stream)
		memcpy(rq->c->x->stream->q.before, g->hex, SIGV4_HEX_LEN);
	return 0;
}

void resign_done(struct request *rq)
{
	struct resign *g = take(rq->resign);

	free(take(rq->message));
	if (!g)
		return;
	if (g->text)
		explicit_bzero(g->text, g->text_len);
	free(g->text);
	free(g);
}

/* ---- hmac ---- */

static const struct rules_secret *resign_hmac(const struct conn *c, const char *name)
{
	const struct rules *r = c->guard->workspace->rules;
	const struct rules_secret *s = r ? rules_secret(r, name) : NULL;

	return s && s->kind == KIND_HMAC ? s : NULL;
}

bool resign_is_hmac(const struct conn *c, const char *name)
{
	return resign_hmac(c, name) != NULL;
}

static bool resign_signs_body(const char *params)
{
	const char *at = kind_param(params, "message");
	struct template_piece p;

	while (at && template_next(&at, &p) > 0)
		if (p.word == TEMPLATE_BODY || p.word == TEMPLATE_BODY_SHA256)
			return true;
	return false;
}

void resign_hold(struct conn *c)
{
	const struct request *rq = c->x->rq;

	for (uint32_t i = 0; i < rq->refs.need_count; i++) {
		const struct rules_secret *s = resign_hmac(c, rq->refs.needs[i].name);

		if (s && resign_has_body(rq) && resign_signs_body(s->params))
			c->x->hold.asked = true;
	}
}

/* The message, in rq->message. */
static int resign_message(struct conn *c, const struct rules_secret *s, uint64_t at_ms,
			  size_t *ret_len)
{
	struct request *rq = c->x->rq;
	const struct buf *body = &c->x->hold.body;
	struct hmac_request q = {
		.head = &rq->head, .meaning = &rq->meaning, .host = rq->route.host, .at_ms = at_ms};
	auto_free char *query = malloc(rq->meaning.query.len + 1);
	struct wr w = wr_of(query, rq->meaning.query.len + 1), m;
	int rc;

	free(take(rq->message));
	rq->message = malloc(HMAC_MESSAGE_MAX);
	if (!query || !rq->message)
		return -ENOMEM;
	hmac_query(rq->meaning.query, s->name, &w);
	q.query = (struct http1_slice){query, w.len};
	if (c->x->hold.whole)
		q.body = (struct http1_slice){(const char *)buf_bytes(body), buf_len(body)};
	m = wr_of(rq->message, HMAC_MESSAGE_MAX);
	rc = hmac_message(s->params, &q, &m);
	*ret_len = m.len;
	return rc;
}

void resign_ask_hmac(struct conn *c, uint32_t need, ask_fn *fn)
{
	struct request *rq = c->x->rq;
	const struct rules_secret *s = resign_hmac(c, rq->refs.needs[need].name);
	struct rpc_sign *q = &rq->ask.body.sign;
	size_t len = 0;
	int rc;

	resign_of(c, s->name, rq->refs.needs[need].slot, q);
	q->at_ms = loop_wall_ns() / 1000000;
	rc = resign_message(c, s, q->at_ms, &len);
	rq->ask.tail = rq->message;
	rq->ask.tail_len = len;
	if (rc == 0)
		rc = ask_put(&rq->ask, &c->p->keeper, RPC_SIGN, fn);
	if (rc < 0) {
		rq->ask.tail = NULL;
		rq->ask.tail_len = 0;
		resign_refuse(rq, rc == -ENOENT ? -EBADMSG : rc);
	}
}

/* ---- bodies whose chunks are signed ---- */

void resign_stream_done(struct exchange *x)
{
	struct resign_stream *t = take(x->stream);

	if (!t)
		return;
	ask_cancel(&t->ask);
	buf_done(&t->in);
	buf_done(&t->ready);
	free(t);
}

bool resign_busy(const struct exchange *x)
{
	return x->stream && x->stream->out.phase != BODY_DONE;
}

bool resign_full(const struct exchange *x)
{
	return x->stream && buf_len(&x->stream->in) >= AWSCHUNK_FRAME_MAX;
}

static void resign_on_chunk(struct ask *a, int rc, const void *body, const uint8_t *tail,
			    size_t len)
{
	struct resign_stream *t = (struct resign_stream *)((char *)a -
							   offsetof(struct resign_stream, ask));
	uint8_t *at = buf_bytes(&t->in);

	(void)body;
	if (rc < 0 || len != SIGV4_HEX_LEN) {
		t->failed = true;
	} else {
		memcpy(at + t->frame.signature, tail, SIGV4_HEX_LEN);
		memcpy(t->q.before, tail, SIGV4_HEX_LEN);
		t->have = false;
		if (buf_add(&t->ready, at, t->frame.used) < 0)
			t->failed = true;
		buf_take(&t->in, t->frame.used);
	}
	conn_step(t->c);
}

static int resign_chunk(struct resign_stream *t, enum awschunk_result kind)
{
	struct rpc_sign *q = &t->ask.body.sign;
	uint8_t text[AWSCHUNK_TRAILER_MAX + 256];
	struct wr w = wr_of(text, sizeof(text));

	*q = t->q;
	q->what = kind == AWSCHUNK_TRAILER ? SIGV4_TRAILER : SIGV4_CHUNK;
	if (kind == AWSCHUNK_TRAILER) {
		awschunk_trailers(t->frame.data, &w);
		sigv4_hash(w.p, w.len, q->hash);
	} else {
		sigv4_hash(t->frame.data.p, t->frame.data.len, q->hash);
	}
	t->last |= kind == AWSCHUNK_LAST;
	t->over = kind == AWSCHUNK_TRAILER || (kind == AWSCHUNK_LAST && !t->trailer);
	t->have = true;
	return w.full ? -EBADMSG : ask_put(&t->ask, &t->c->p->keeper, RPC_SIGN, resign_on_chunk);
}

/* The next whole frame, if there is one, is asked about. */
static int resign_next(struct resign_stream *t, bool ended)
{
	enum awschunk_result got = AWSCHUNK_MORE;

	if (t->have || buf_len(&t->ready) > 0)
		return 0;
	if (t->over)
		return buf_len(&t->in) > 0 ? -EBADMSG : 0;
	if (buf_len(&t->in) > 0)
		got = awschunk_next(buf_bytes(&t->in), buf_len(&t->in), t->trailer, t->last,
				    &t->frame);
	if (got == AWSCHUNK_BAD || (got == AWSCHUNK_MORE && ended))
		return -EBADMSG;
	return got == AWSCHUNK_MORE ? 0 : resign_chunk(t, got);
}

int resign_move(struct conn *c)
{
	struct exchange *x = c->x;
	struct resign_stream *t = x->stream;
	struct buf *out = &x->up->side.out;
	int rc = 0;

	if (t->failed)
		return -EIO;
	/* While a frame is asked about it stays where it is. */
	if (!t->have)
		rc = body_move(&x->up_body, &c->agent.in, &t->in, AWSCHUNK_FRAME_MAX, &c->p->head);
	if (rc == 0)
		rc = resign_next(t, x->up_body.phase == BODY_DONE);
	if (rc == 0 && buf_len(&t->ready) > 0)
		rc = body_move(&t->out, &t->ready, out, RELAY_FULL, &c->p->head);
	if (rc == 0 && buf_len(&t->ready) == 0 && !t->have && !t->over)
		rc = resign_next(t, x->up_body.phase == BODY_DONE);
	if (rc == 0 && t->over && !t->have && buf_len(&t->ready) == 0 && t->out.phase != BODY_DONE)
		rc = body_end(&t->out, out);
	return rc;
}
