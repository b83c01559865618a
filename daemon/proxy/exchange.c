/* exchange.c: see exchange.h.
 *
 * The order is protocol.md's: syntax, who, scheme and host, rule, address, which secrets (by name); then
 * the line with the decision is made and the exchange waits in RECORD until the turn function has
 * written it. Only then the refusal is answered, or the upstream dialled. A credential is asked for when
 * the upstream is connected and verified, and only if the workspace is still what was judged: if its
 * document or a secret changed meanwhile, everything is judged again.
 *
 * The head is sent from what was parsed; values go from the keeper's answer into creds.h's area, from
 * there into the upstream's out buffer, and are wiped in both.
 */
#include "exchange.h"

#include "explicit.h"
#include "judge.h"
#include "literal.h"
#include "origin.h"
#include "relay.h"
#include "resign.h"
#include "values.h"
#include "wsrelay.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* ---- the audit log ---- */

static void exchange_record_decision(struct conn *c)
{
	struct exchange *x = c->x;
	struct request *rq = x->rq;
	struct audit_entry en = {.kind = AUDIT_DECISION, .id = x->id, .detail = x->detail};
	uint32_t i;

	conn_describe(c, &en);
	en.scheme = x->ours.kind == ANSWER_CONNECTED ? NULL : rq->route.scheme == HTTP1_SCHEME_HTTPS ? "https" : "http";
	if (rq->route.upgraded && !en.detail)
		en.detail = "upgraded from http";
	en.host = x->host;
	en.host_len = strlen(x->host);
	en.host_port = rq->route.port;
	en.method = x->method;
	en.method_len = strlen(x->method);
	if (!literal_in_url(c->guard->workspace->prints, rq->route.path)) {
		en.path = rq->route.path.p;
		en.path_len = rq->route.path.len;
	}
	en.foreign = x->foreign;
	if (rq->xas) {
		en.agent = rq->xas->agent.p;
		en.agent_len = rq->xas->agent.len;
	}
	en.rule = rq->rule[0] ? rq->rule : NULL;
	en.allow = x->verdict == REASON_NONE;
	en.reason = x->verdict;
	for (i = 0; i < rq->refs.need_count && en.secret_count < AUDIT_SECRETS_MAX; i++)
		en.secrets[en.secret_count++] = rq->refs.needs[i].name;
	if (en.allow && rq->certificate[0] && en.secret_count < AUDIT_SECRETS_MAX)
		en.secrets[en.secret_count++] = rq->certificate;
	c->p->stats.requests++;
	c->p->stats.denied += !en.allow;
	proxy_audit(c->p, &en);
}

static void exchange_record_outcome(struct conn *c)
{
	struct exchange *x = c->x;
	struct audit_entry en = {
		.kind = AUDIT_OUTCOME, .id = x->id, .detail = x->detail, .has_ms = true};

	/* Who it was stands in the decision of the same id. */
	en.guard = c->rec.guard;
	en.workspace = c->guard->workspace->name;
	en.host = x->host;
	en.host_len = strlen(x->host);
	en.allow = x->verdict == REASON_NONE;
	en.reason = x->failure;
	en.status = x->status;
	en.bytes_up = x->up_body.bytes;
	en.bytes_down = x->down_body.bytes;
	en.redacted = x->redacted + x->sieve.text.found;
	en.ms = (uint32_t)(c->p->loop.now_ms - x->start_ms);
	proxy_audit(c->p, &en);
}

/* ---- beginning and end ---- */

static int exchange_new(struct conn *c)
{
	struct exchange *x = calloc(1, sizeof(*x));
	struct request *rq = calloc(1, sizeof(*rq));

	if (!x || !rq) {
		free(x);
		free(rq);
		return -ENOMEM;
	}
	x->id = ++c->p->next_id;
	x->start_ms = c->p->loop.now_ms;
	x->rq = rq;
	rq->c = c;
	c->x = x;
	return 0;
}

void exchange_head_gone(struct conn *c)
{
	struct request *rq = c->x->rq;

	if (!rq)
		return;
	values_drop(c);
	ask_cancel(&rq->ask);
	resign_done(rq);
	buf_take(&c->agent.in, rq->used);
	hold_back(c);
	free(rq->xas);
	free(rq->made);
	free(take(c->x->rq));
}

static void exchange_drop_upstream(struct exchange *x)
{
	if (x->up)
		upstream_drop(take(x->up));
}

static void exchange_free(struct conn *c)
{
	struct exchange *x = c->x;

	exchange_head_gone(c);
	exchange_drop_upstream(x);
	resign_stream_done(x);
	free(x->tokens);
	hold_done(c);
	x->offer = wsoffer_free(x->offer);
	x->ws = wsrelay_free(x->ws);
	sieve_done(&x->sieve);
	prints_text_done(&x->up_text);
	values_drop_known(c);
	free(take(c->x));
}

void exchange_end(struct conn *c, enum reason why)
{
	struct exchange *x = c->x;

	if (x->failure == REASON_NONE)
		x->failure = why;
	if (x->decided)
		exchange_record_outcome(c);
	exchange_free(c);
}

bool exchange_body_read(const struct exchange *x)
{
	return x->hold.begun ? x->hold.whole : x->up_body.phase == BODY_DONE;
}

/* ---- answers of our own ---- */

/* The rest of the request's body, if it is already here, need not end the connection. */
static bool exchange_body_here(struct conn *c)
{
	struct body *b = &c->x->up_body;

	if (c->x->hold.begun || b->phase == BODY_DONE)
		return exchange_body_read(c->x);
	if (b->from != HTTP1_FRAMING_LENGTH || b->left > buf_len(&c->agent.in))
		return false;
	buf_take(&c->agent.in, (size_t)b->left);
	b->phase = BODY_DONE;
	return true;
}

/* Answers with x->failure, or with x->ours. */
static bool exchange_answer(struct conn *c)
{
	struct exchange *x = c->x;
	size_t room;
	uint8_t *to;
	struct wr w;

	exchange_head_gone(c);
	exchange_drop_upstream(x);
	x->agent_keep = x->agent_keep && exchange_body_here(c);
	to = buf_room(&c->agent.out, ANSWER_MAX, &room);
	if (!to) {
		conn_reset(c, x->failure);
		return false;
	}
	w = wr_of(to, ANSWER_MAX);
	if (x->ours.kind == ANSWER_TEXT || (x->ours.kind && x->failure == REASON_NONE)) {
		x->status = answer_write_ours(&x->ours, x->method, x->agent_keep, &w);
	} else if (x->grpc) {
		x->status = answer_write_grpc(x->failure, x->host, &w);
	} else {
		answer_write(x->failure, x->host, x->method, x->agent_keep, &w);
		x->status = answer_status(x->failure);
	}
	assert(!w.full);
	buf_added(&c->agent.out, w.len);
	conn_to(c, CONN_ANSWER);
	return true;
}

/* The agent gets what there is, and an end that is none: no close_notify, no last chunk, too few bytes;
 * and a reset where the end of the connection would pass for the end of the body. */
static void exchange_cut(struct conn *c, enum reason why)
{
	size_t n;
	enum tls_io io = side_write(&c->agent, &n);

	(void)io; /* whatever went, went */
	if (c->tls || c->x->down_body.to != HTTP1_FRAMING_CLOSE)
		conn_close(c, why);
	else
		conn_reset(c, why);
}

void exchange_fail(struct conn *c, enum reason why, const char *detail)
{
	struct exchange *x = c->x;

	x->failure = why;
	x->detail = detail;
	if (x->responded)
		exchange_cut(c, why);
	else
		(void)exchange_answer(c);
}

void exchange_finish(struct conn *c)
{
	bool keep = c->x->agent_keep;
	bool connected = c->x->ours.kind == ANSWER_CONNECTED && c->x->status == 200;

	if (c->x->decided)
		exchange_record_outcome(c);
	exchange_free(c);
	if (c->agent.via) { /* one stream is for one exchange */
		side_finish(&c->agent);
		conn_close(c, REASON_NONE);
		return;
	}
	if (connected) {
		conn_connected(c);
		return;
	}
	if (keep) {
		conn_to(c, CONN_IDLE);
		return;
	}
	side_finish(&c->agent);
	conn_to(c, CONN_LINGER);
}

static bool step_answer(struct conn *c)
{
	size_t n;

	switch (side_write(&c->agent, &n)) {
	case TLS_OK:
		exchange_finish(c);
		return true;
	case TLS_IN:
	case TLS_OUT:
		return false;
	default:
		conn_close(c, REASON_CLIENT_CLOSED);
		return false;
	}
}

/* The decision is made: it is written before anything comes of it. failure: what will be answered. */
static bool exchange_decide(struct conn *c, enum reason verdict, enum reason failure)
{
	struct exchange *x = c->x;

	x->verdict = verdict;
	x->failure = failure;
	x->decided = true;
	x->recorded = false;
	exchange_record_decision(c);
	conn_to(c, CONN_RECORD);
	conn_wait_record(c);
	return true;
}

void exchange_recorded(struct conn *c, int rc)
{
	c->x->recorded = true;
	if (rc < 0)
		c->x->failure = REASON_INTERNAL;
}

static void exchange_on_changed(void *conn)
{
	conn_step(conn);
}

/* All that names a secret is here. A pooled connection's address was judged when it was dialled. */
static bool exchange_placed(struct conn *c)
{
	enum reason why = c->x->hold.whole ? judge_body(c) : REASON_NONE;

	if (why != REASON_NONE)
		return exchange_decide(c, why, why);
	c->x->up = upstream_take(c->p->upstreams, &c->x->rq->key, c, exchange_on_changed);
	if (c->x->up) {
		why = judge_secrets(c);
		return exchange_decide(c, why, why);
	}
	conn_to(c, CONN_RESOLVE);
	return true;
}

static bool step_body(struct conn *c)
{
	const char *detail = NULL;
	enum reason why;

	switch (hold_step(c, &why, &detail)) {
	case HOLD_MORE:
		return false;
	case HOLD_WHOLE:
		return exchange_placed(c);
	default:
		if (why == REASON_NONE)
			return false;
		c->x->detail = detail;
		return exchange_decide(c, why, why);
	}
}

static bool step_head(struct conn *c)
{
	struct request *rq;
	enum http1_result got;
	enum reason why;

	if (!c->x && exchange_new(c) < 0) {
		conn_close(c, REASON_INTERNAL);
		return false;
	}
	rq = c->x->rq;
	while (!rq->parsed) {
		got = http1_request(&rq->scan, (const char *)buf_bytes(&c->agent.in),
				    buf_len(&c->agent.in), &rq->head);
		if (got == HTTP1_MORE && !conn_read(c))
			return false;
		rq->parsed = got != HTTP1_MORE;
		rq->used = got == HTTP1_DONE ? rq->head.raw.len : 0;
	}
	why = judge_request(c);
	if (why == REASON_NONE && c->x->ours.kind == ANSWER_HEALTH)
		return exchange_answer(c); /* nothing is decided */
	if (why != REASON_NONE || c->x->ours.kind)
		return exchange_decide(c, why, why);
	if (!c->x->hold.asked || c->x->hold.whole)
		return exchange_placed(c);
	hold_begin(c);
	conn_to(c, CONN_BODY);
	return true;
}

/* ---- addresses ---- */

static void exchange_on_resolved(struct ask *a, int rc, const void *body, const uint8_t *tail,
				 size_t tail_len)
{
	struct request *rq = (struct request *)((char *)a - offsetof(struct request, ask));
	const struct rpc_resolved *r = body;

	(void)tail;
	(void)tail_len;
	rq->resolved = true;
	rq->resolve_rc = rc;
	if (rc == 0) {
		rq->addr_count = r->count;
		memcpy(rq->addrs, r->addr, sizeof(rq->addrs));
	}
	conn_step(rq->c);
}

static int exchange_ask_resolver(struct conn *c)
{
	struct request *rq = c->x->rq;
	struct rpc_resolve *q = &rq->ask.body.resolve;

	if (rq->route.address) {
		rq->resolved = true;
		rq->addr_count = 1;
		rq->resolve_rc = origin_parse(rq->route.host, rq->addrs[0]) ? 0 : -ENOENT;
		return 0;
	}
	memset(q, 0, sizeof(*q));
	q->guard = c->guard->id;
	q->port = rq->route.port;
	memcpy(q->host, rq->route.host, sizeof(q->host));
	return ask_put(&rq->ask, &c->p->resolver, RPC_RESOLVE, exchange_on_resolved);
}

static bool step_resolve(struct conn *c)
{
	struct request *rq = c->x->rq;
	enum reason verdict, failure;
	int rc;

	if (rq->ask.on)
		return false;
	if (!rq->resolved) {
		rc = exchange_ask_resolver(c);
		if (rc == 0)
			return rq->resolved;
		rq->resolve_rc = rc;
	}
	rq->resolved = false;
	verdict = judge_resolved(c, &failure);
	if (verdict == REASON_NONE && failure == REASON_NONE)
		verdict = judge_secrets(c);
	if (verdict != REASON_NONE)
		failure = verdict;
	if (!c->x->decided)
		return exchange_decide(c, verdict, failure);
	if (failure == REASON_NONE) {
		conn_to(c, CONN_DIAL);
		return true;
	}
	exchange_fail(c, failure, c->x->detail);
	return true;
}

static bool step_record(struct conn *c)
{
	struct exchange *x = c->x;

	if (!x->recorded)
		return false;
	if (x->failure == REASON_NONE && x->ours.kind == ANSWER_CONNECTED)
		explicit_connect(c);
	if (x->failure != REASON_NONE || x->ours.kind)
		return exchange_answer(c);
	conn_to(c, x->up ? CONN_CREDENTIAL : CONN_DIAL);
	return true;
}

static bool step_dial(struct conn *c)
{
	struct exchange *x = c->x;
	struct request *rq = x->rq;

	if (!x->up && upstream_dial(c->p->upstreams, &rq->key, (const uint8_t(*)[16])rq->addrs,
				    rq->addr_count, c, exchange_on_changed, &x->up) < 0) {
		exchange_fail(c, REASON_LIMIT, "no room for another upstream connection");
		return true;
	}
	switch (x->up->state) {
	case UPSTREAM_HANDSHAKE:
		conn_to(c, CONN_VERIFY);
		return true;
	case UPSTREAM_BUSY:
		conn_to(c, CONN_CREDENTIAL);
		return true;
	case UPSTREAM_DEAD:
		exchange_fail(c, x->up->why, x->up->detail);
		return true;
	default:
		return false;
	}
}

static void exchange_on_certificate(struct ask *a, int rc, const void *body, const uint8_t *tail, size_t tail_len)
{
	struct request *rq = (struct request *)((char *)a - offsetof(struct request, ask));
	struct conn *c = rq->c;

	(void)body;
	if (rc == 0)
		upstream_certificate(c->x->up, tail, tail_len);
	else
		exchange_fail(c, rc == -ENOENT ? REASON_SECRET_UNKNOWN : rc == -EACCES ? REASON_SECRET_HOST : REASON_VAULT,
			      "client certificate");
	conn_step(c);
}

/* The upstream is verified and asks for a certificate: only now is it read. */
static bool exchange_ask_certificate(struct conn *c)
{
	struct request *rq = c->x->rq;
	struct rpc_credential *q = &rq->ask.body.credential;

	if (rq->ask.on)
		return false;
	memset(q, 0, sizeof(*q));
	q->guard = c->guard->id;
	q->port = rq->route.port;
	q->slot = RULES_SLOT_CERT;
	memcpy(q->name, rq->certificate, sizeof(q->name));
	memcpy(q->host, rq->route.host, sizeof(q->host));
	if (c->x->recorded && ask_put(&rq->ask, &c->p->keeper, RPC_CREDENTIAL, exchange_on_certificate) == 0)
		return false;
	exchange_fail(c, REASON_VAULT, "client certificate");
	return true;
}

static bool step_verify(struct conn *c)
{
	struct upstream *up = c->x->up;

	switch (up->state) {
	case UPSTREAM_BUSY:
		conn_to(c, CONN_CREDENTIAL);
		return true;
	case UPSTREAM_DEAD:
		exchange_fail(c, up->why, up->detail);
		return true;
	default:
		return up->wants_certificate && exchange_ask_certificate(c);
	}
}

/* ---- sending ---- */

/* More than http1_write_request() will need. A value may be percent-encoded or in base64. */
static size_t exchange_head_bound(const struct request *rq)
{
	size_t n = rq->head.raw.len + 1024;
	uint32_t i;

	for (i = 0; i < rq->refs.ref_count; i++)
		n += 4 * rq->values[rq->refs.refs[i].need].len + 64;
	n += resign_bound(rq);
	for (i = 0; i < rq->refs.place_count; i++)
		n += 4 * rq->values[rq->refs.places[i].need].len + 512;
	return n;
}

/* The held body with the values in it. */
static int exchange_fill_body(struct conn *c, const struct inject_value *values)
{
	struct hold *h = &c->x->hold;
	const struct inject_scan *s = &c->x->rq->refs;
	struct bodyref b = judge_bodyref(c);
	size_t bound = bodyref_bound(b, s, values), room;
	struct buf filled;
	struct wr w;
	int rc;

	buf_init(&filled, bound);
	filled.wipe = true;
	w = wr_of(buf_room(&filled, bound, &room), bound);
	rc = w.p ? bodyref_write(&b, s, values, &w) : -ENOBUFS;
	if (rc < 0) {
		if (w.p)
			explicit_bzero(w.p, bound);
		buf_done(&filled);
		return rc;
	}
	buf_added(&filled, w.len);
	buf_done(&h->body);
	h->body = filled;
	return 0;
}

static bool exchange_body_needs(const struct inject_scan *s)
{
	uint32_t i = 0;

	while (i < s->need_count && s->needs[i].slot != RULES_SLOT_BODY)
		i++;
	return i < s->need_count;
}

/* What describes the body as the agent wrote it goes when the body is another one. */
static int exchange_edits(const struct request *rq, bool filled, struct http1_edit edits[INJECT_EDITS_MAX])
{
	static const char *const digests[] = {"content-md5", "digest", "content-digest", "repr-digest"};
	int n = inject_edits(&rq->head, &rq->refs, edits, INJECT_EDITS_MAX);
	uint32_t i;
	size_t j;

	for (i = 0; filled && i < rq->head.field_count && n >= 0; i++)
		for (j = 0; j < ARRAY_SIZE(digests) && n < INJECT_EDITS_MAX; j++)
			if (http1_is(rq->head.fields[i].name, digests[j]))
				edits[n++] = (struct http1_edit){.op = HTTP1_DROP, .field = i};
	return n;
}

/* The agent's Host names port 80, if any; ours names the rule's. */
static int exchange_edit_host(struct request *rq, struct http1_edit *edits, int n)
{
	uint32_t i = http1_find(&rq->head, HTTP1_HOST, 0);
	bool v6 = rq->route.address && strchr(rq->route.host, ':');
	struct wr w = wr_of(rq->authority, sizeof(rq->authority));

	if (!rq->route.upgraded || (rq->route.port == 443 && rq->meaning.port == 0 && i < rq->head.field_count))
		return n;
	if (n == INJECT_EDITS_MAX)
		return -ENOBUFS;
	wr_str(&w, v6 ? "[" : "");
	wr_str(&w, rq->route.host);
	wr_str(&w, v6 ? "]" : "");
	if (rq->route.port != 443) {
		char port[8];

		(void)snprintf(port, sizeof(port), ":%u", rq->route.port);
		wr_str(&w, port);
	}
	edits[n] = (struct http1_edit){.op = HTTP1_VALUE, .field = i, .value = {rq->authority, w.len}};
	if (i == rq->head.field_count) {
		edits[n].op = HTTP1_ADD;
		edits[n].name = (struct http1_slice){"Host", 4};
	}
	return w.full ? -ENOBUFS : n + 1;
}

static int exchange_write_head(struct conn *c)
{
	struct exchange *x = c->x;
	struct request *rq = x->rq;
	struct inject_value values[INJECT_MAX];
	struct inject_fill fill = {&rq->head, &rq->meaning, &rq->refs, values, c->guard->workspace->marks};
	struct http1_edit edits[INJECT_EDITS_MAX];
	struct http1_out out = {.head = &rq->head,
				.meaning = &rq->meaning,
				.edits = edits,
				.replace = inject_replace,
				.ctx = &fill,
				.framing = rq->meaning.framing,
				.length = rq->meaning.length};
	struct buf *to = &x->up->side.out;
	bool filled = x->hold.whole && exchange_body_needs(&rq->refs);
	size_t bound = exchange_head_bound(rq), room, body;
	struct wr w;
	uint32_t i;
	int rc;

	for (i = 0; i < rq->refs.need_count; i++)
		values[i] = (struct inject_value){rq->values[i].p, rq->values[i].len};
	rc = filled ? exchange_fill_body(c, values) : 0;
	if (rc < 0)
		return rc;
	body = buf_len(&x->hold.body);
	if (x->hold.whole) {
		if (body > 0 || out.framing != HTTP1_FRAMING_NONE)
			out.framing = HTTP1_FRAMING_LENGTH;
		out.length = body;
		body_init(&x->up_body, out.framing, body, out.framing);
	}
	to->wipe = rq->refs.need_count > 0;
	rc = exchange_edits(rq, filled, edits);
	if (rc >= 0)
		rc = exchange_edit_host(rq, edits, rc);
	if (rc < 0)
		return -ENOBUFS;
	out.edit_count = (size_t)rc;
	if (resign_edits(rq, &out, edits, INJECT_EDITS_MAX) < 0)
		return -ENOBUFS;
	w = wr_of(buf_room(to, bound, &room), bound);
	if (!w.p)
		return -ENOBUFS;
	rc = http1_write_request(&w, &out);
	if (rc < 0 && to->wipe)
		explicit_bzero(w.p, bound);
	if (rc == 0)
		buf_added(to, w.len);
	return rc;
}

/* The pooled connection was of no use: a fresh one, once. */
static bool exchange_redial(struct conn *c)
{
	c->x->retried = true;
	exchange_drop_upstream(c->x);
	c->x->down_scan = (struct http1_scan){0};
	c->x->up_broken = false;
	conn_to(c, CONN_RESOLVE);
	return true;
}

bool exchange_again(struct conn *c)
{
	return c->x->rq && !c->x->retried && exchange_redial(c);
}

/* Nothing that changes anything, carries a body or a credential is ever sent twice. */
static bool exchange_repeatable(const struct exchange *x)
{
	const char *m = x->method;

	return x->up->reused && !x->retried && x->up_body.phase == BODY_DONE &&
	       x->rq->refs.need_count == 0 &&
	       (strcmp(m, "GET") == 0 || strcmp(m, "HEAD") == 0 || strcmp(m, "OPTIONS") == 0);
}

static bool exchange_send(struct conn *c)
{
	struct exchange *x = c->x;
	int rc;

	/* Nothing has been sent yet: a pooled connection that is gone can still be replaced. */
	if (x->up->reused && !upstream_alive(x->up))
		return exchange_redial(c);
	rc = exchange_write_head(c);
	if (rc == -ENOBUFS) {
		exchange_fail(c, REASON_LIMIT, "the request is too long with its values");
		return true;
	}
	if (rc < 0) {
		exchange_fail(c, REASON_INTERNAL, "a value cannot stand where its reference stood");
		return true;
	}
	if (!exchange_repeatable(x))
		exchange_head_gone(c);
	conn_to(c, CONN_WAIT);
	return true;
}

static bool step_credential(struct conn *c)
{
	struct exchange *x = c->x;
	struct request *rq = x->rq;

	if (rq->ask.on)
		return false;
	if (rq->refused) {
		exchange_fail(c, rq->refusal, x->said[0] ? x->said : NULL);
		return true;
	}
	if (c->guard->workspace->epoch != rq->key.epoch) {
		values_drop(c);
		values_drop_known(c);
		exchange_drop_upstream(x);
		x->decided = false;
		conn_to(c, CONN_HEAD);
		return true;
	}
	/* The last look before a credential is read: recorded, verified, and never in the clear. */
	if (rq->refs.need_count > 0 && (!x->recorded || !rq->key.tls)) {
		exchange_fail(c, REASON_NON_HTTPS, NULL);
		return true;
	}
	if (values_get(c) && resign_get(c) && values_known(c))
		return exchange_send(c);
	return rq->refused;
}

/* ---- the machine ---- */

bool exchange_step(struct conn *c)
{
	switch (c->state) {
	case CONN_HEAD:
		return step_head(c);
	case CONN_BODY:
		return step_body(c);
	case CONN_RESOLVE:
		return step_resolve(c);
	case CONN_RECORD:
		return step_record(c);
	case CONN_DIAL:
		return step_dial(c);
	case CONN_VERIFY:
		return step_verify(c);
	case CONN_CREDENTIAL:
		return step_credential(c);
	case CONN_WAIT:
	case CONN_RELAY:
		return relay_step(c);
	case CONN_WEBSOCKET:
		return wsrelay_step(c);
	case CONN_ANSWER:
		return step_answer(c);
	default:
		return false;
	}
}

void exchange_timeout(struct conn *c)
{
	struct exchange *x = c->x;

	switch (c->state) {
	case CONN_HEAD:
		x->detail = "head timeout";
		(void)exchange_decide(c, REASON_BAD_REQUEST, REASON_BAD_REQUEST);
		return;
	case CONN_BODY:
		x->detail = "body timeout";
		(void)exchange_decide(c, REASON_BAD_REQUEST, REASON_BAD_REQUEST);
		return;
	case CONN_RESOLVE:
		ask_cancel(&x->rq->ask);
		x->rq->resolved = true;
		x->rq->resolve_rc = -ETIMEDOUT;
		return;
	case CONN_DIAL:
		exchange_fail(c, REASON_UPSTREAM_TIMEOUT, "connecting");
		return;
	case CONN_VERIFY:
		exchange_fail(c, REASON_UPSTREAM_TIMEOUT, "TLS");
		return;
	case CONN_WAIT:
		exchange_fail(c, REASON_UPSTREAM_TIMEOUT, "the response's head");
		return;
	case CONN_CREDENTIAL:
		exchange_fail(c, REASON_VAULT, "no answer from the keeper");
		return;
	case CONN_RECORD:
		conn_reset(c, REASON_INTERNAL);
		return;
	default:
		conn_reset(c, buf_len(&c->agent.out) > 0 ? REASON_CLIENT_CLOSED
							 : REASON_UPSTREAM_TIMEOUT);
	}
}

void exchange_judge_again(struct conn *c)
{
	const struct rules *r = c->guard->workspace->rules;
	const struct rules_rule *rule;
	enum reason why = REASON_WORKSPACE_GONE;

	if (c->state != CONN_WAIT && c->state != CONN_RELAY && c->state != CONN_WEBSOCKET)
		return;
	rule = r ? rules_find(r, c->x->host, c->x->port, &why) : NULL;
	if (rule && rule->mode == RULES_INSPECT)
		return;
	why = rule ? REASON_POLICY : why;
	if (c->state == CONN_WEBSOCKET)
		wsrelay_forbid(c, why, "no rule opens it any more");
	else
		exchange_fail(c, why, "no rule opens it any more");
	conn_step(c);
}

bool exchange_wants_body(const struct conn *c)
{
	const struct exchange *x = c->x;

	if (c->state == CONN_WEBSOCKET)
		return wsrelay_wants_agent(c);
	return x && (c->state == CONN_WAIT || c->state == CONN_RELAY) && !x->up_broken && x->up &&
	       !x->hold.whole && x->up_body.phase != BODY_DONE && !resign_full(x) &&
	       buf_len(&x->up->side.out) < RELAY_FULL;
}

bool exchange_wants_response(const struct conn *c)
{
	const struct exchange *x = c->x;

	if (c->state == CONN_WEBSOCKET)
		return wsrelay_wants_upstream(c);
	return (c->state == CONN_WAIT ||
		(c->state == CONN_RELAY && x->down_body.phase != BODY_DONE)) &&
	       buf_len(&c->agent.out) < RELAY_FULL;
}
