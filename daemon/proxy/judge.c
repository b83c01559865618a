/* judge.c: see judge.h. What the pure modules say (http1, route, rules, inject, origin) is put together here. */
#include "judge.h"

#include "explicit.h"
#include "foreign.h"
#include "literal.h"
#include "origin.h"
#include "resign.h"

#include <assert.h>
#include <openssl/sha.h>
#include <string.h>

static bool judge_takes_trailers(const struct http1_head *h)
{
	uint32_t i = http1_find(h, HTTP1_TE, 0);

	return i < h->field_count && http1_is(h->fields[i].value, "trailers") && h->minor == 1;
}

/* No extension of a WebSocket is offered: what comes back must be readable. */
static int judge_websocket(struct exchange *x)
{
	struct request *rq = x->rq;
	uint32_t i;

	x->websocket = rq->meaning.websocket;
	if (x->websocket && !x->offer && wsoffer_new(&rq->head, &x->offer) < 0)
		return -ENOMEM;
	for (i = 0; x->websocket && i < rq->head.field_count; i++)
		if (http1_is(rq->head.fields[i].name, "sec-websocket-extensions"))
			rq->meaning.hop[i / 64] |= 1ULL << (i % 64);
	return 0;
}

/* Whose credentials a connection has carried: it carries no others. */
static void judge_make_creds(struct request *rq)
{
	uint8_t named[INJECT_MAX * (RPC_NAME_MAX + 1)];
	size_t len = 0;
	uint32_t i;

	for (i = 0; i < rq->refs.need_count; i++) {
		size_t n = strlen(rq->refs.needs[i].name) + 1;

		memcpy(named + len, rq->refs.needs[i].name, n);
		named[len + n] = (uint8_t)rq->refs.needs[i].slot;
		len += n + 1;
	}
	if (len > 0)
		SHA256(named, len, rq->key.creds);
}

static void judge_make_key(struct conn *c, const struct rules_rule *rule)
{
	struct request *rq = c->x->rq;
	struct upstream_key *k = &rq->key;

	*k = (struct upstream_key){.guard = c->guard->id,
				   .epoch = c->guard->workspace->epoch,
				   .port = rq->route.port,
				   .tls = rq->route.scheme == HTTP1_SCHEME_HTTPS,
				   .private = rule->private,
				   .certified = rule->client_cert[0] != '\0',
				   .http = rq->meaning.websocket ? UPSTREAM_HTTP1_ONLY
					   : c->agent.via	 ? UPSTREAM_HTTP2
								 : UPSTREAM_HTTP1};
	memcpy(k->host, rq->route.host, sizeof(k->host));
	memcpy(rq->certificate, rule->client_cert, sizeof(rq->certificate));
	judge_make_creds(rq);
}

/* The path as rules compare it, in buf, or NULL: it does not normalise, or is not needed. */
static const char *judge_path(const struct request *rq, const struct rules *r, char buf[ROUTE_PATH_MAX])
{
	char plain[ROUTE_PATH_MAX];
	size_t len;

	if (!rules_secrets_have_paths(r) && !rules_has_paths(r, rq->route.host, rq->route.port))
		return NULL;
	len = inject_path(rq->route.path, plain, sizeof(plain));
	return len > 0 && rules_path(plain, len, buf, ROUTE_PATH_MAX) == 0 ? buf : NULL;
}

/* What the rules put into the request. */
static enum reason judge_attach(struct conn *c)
{
	struct request *rq = c->x->rq;
	const struct rules *r = c->guard->workspace->rules;
	char path[ROUTE_PATH_MAX];
	int rc = inject_attach(r, rq->route.host, rq->route.port, c->x->method, judge_path(rq, r, path), &rq->head,
			       &rq->meaning, &rq->refs);

	if (rc < 0)
		return rc == -EEXIST ? REASON_INJECT_CLASH : REASON_LIMIT;
	return rq->refs.need_count > 0 && rq->route.scheme != HTTP1_SCHEME_HTTPS ? REASON_NON_HTTPS : REASON_NONE;
}

/* A body is held where a secret may stand in it. Who waits for "100 Continue" then has it from us. */
static void judge_hold(struct conn *c)
{
	struct request *rq = c->x->rq;
	const struct rules *r = c->guard->workspace->rules;
	bool body = rq->meaning.framing == HTTP1_FRAMING_CHUNKED || rq->meaning.length > 0;
	char path[ROUTE_PATH_MAX];
	uint32_t i;

	if (body && rq->route.scheme == HTTP1_SCHEME_HTTPS && bodyref_kind(&rq->head) != BODYREF_NONE &&
	    rules_body_secrets(r, rq->route.host, rq->route.port, c->x->method, judge_path(rq, r, path)))
		c->x->hold.asked = true;
	c->x->hold.asked |= explicit_wants_body(c);
	i = http1_find(&rq->head, HTTP1_EXPECT, 0);
	if (c->x->hold.asked && i < rq->head.field_count)
		rq->meaning.hop[i / 64] |= 1ULL << (i % 64);
}

enum reason judge_body(struct conn *c)
{
	struct request *rq = c->x->rq;
	const struct rules *r = c->guard->workspace->rules;
	struct bodyref b = judge_bodyref(c);
	char path[ROUTE_PATH_MAX];

	if (!r)
		return REASON_WORKSPACE_GONE;
	c->x->literal |= prints_find(c->guard->workspace->prints, b.p, b.len);
	if (explicit_wants_body(c)) {
		enum reason why = explicit_body(c);

		if (why != REASON_NONE)
			return why;
		b = judge_bodyref(c);
	}
	if (bodyref_scan(&b, r, rq->route.host, rq->route.port, c->x->method, judge_path(rq, r, path), &rq->refs) < 0)
		return REASON_LIMIT;
	judge_make_creds(rq);
	return REASON_NONE;
}

struct bodyref judge_bodyref(const struct conn *c)
{
	return (struct bodyref){.kind = bodyref_kind(&c->x->rq->head),
				.p = (const char *)buf_bytes(&c->x->hold.body),
				.len = buf_len(&c->x->hold.body),
				.marks = c->guard->workspace->marks};
}

static void judge_method(struct exchange *x)
{
	const struct http1_slice m = x->rq->head.method;

	assert(m.len < sizeof(x->method)); /* http1.h */
	memcpy(x->method, m.p, m.len);
	x->method[m.len] = '\0';
}

void judge_place(const struct conn *c, struct route_ask *a)
{
	*a = (struct route_ask){.via = c->connect.host[0] ? ROUTE_CONNECT : ROUTE_TRANSPARENT,
				.addr = c->rec.addr,
				.port = c->rec.port,
				.target = c->connect.host,
				.target_address = c->connect.address,
				.target_port = c->connect.port,
				.tls = c->tls,
				.sni = c->sni,
				.rules = c->guard->workspace->rules};
}

/* A piece of a body on its way up. */
static bool judge_watch(void *ctx, const void *p, size_t n)
{
	struct conn *c = ctx;

	return prints_next(c->guard->workspace->prints, &c->x->up_text, p, n);
}

enum reason judge_request(struct conn *c)
{
	struct exchange *x = c->x;
	struct request *rq = x->rq;
	struct route_ask ask;
	enum reason why, signature;

	judge_place(c, &ask);
	x->detail = NULL;
	if (rq->head.bad != HTTP1_BAD_NONE || http1_request_meaning(&rq->head, &rq->meaning) < 0) {
		x->detail = http1_bad_word(rq->head.bad ? rq->head.bad : rq->meaning.bad);
		return REASON_BAD_REQUEST;
	}
	judge_method(x);
	x->literal |= literal_in_head(c->guard->workspace->prints, &rq->head, &rq->meaning);
	x->agent_keep = rq->meaning.keep_alive;
	x->agent_minor0 = rq->head.minor == 0;
	x->grpc = c->agent.via && h2text_grpc(&rq->head);
	if (!x->hold.whole) {
		body_init(&x->up_body, rq->meaning.framing, rq->meaning.length,
			  rq->meaning.framing);
		x->up_body.watch = judge_watch;
		x->up_body.watch_ctx = c;
	}
	if (c->explicit_port && !c->connect.host[0] && !rq->via) {
		why = explicit_request(c);
		if (why != REASON_NONE || x->ours.kind)
			return why;
		judge_method(x);
	}
	if (rq->via)
		ask.via = rq->via;
	ask.head = &rq->head;
	ask.meaning = &rq->meaning;
	ask.url = rq->xas ? &rq->xas->url : NULL;
	if (judge_websocket(x) < 0)
		return REASON_INTERNAL;
	x->tell = rq->xas && judge_takes_trailers(&rq->head);
	if (inject_scan(&rq->head, &rq->meaning, c->guard->workspace->marks, &rq->refs) < 0)
		return REASON_LIMIT;
	signature = resign_scan(c);
	ask.references = rq->refs.need_count > 0;
	route_request(&ask, &rq->route);
	memcpy(x->host, rq->route.host, sizeof(x->host));
	x->port = rq->route.port;
	x->upgraded = rq->route.upgraded ? rq->route.port : 0;
	if (!rq->route.rule) {
		x->detail = NULL;
		return rq->route.reason != REASON_NONE ? rq->route.reason : REASON_INTERNAL;
	}
	memcpy(rq->rule, rq->route.rule->host, sizeof(rq->rule));
	if (signature != REASON_NONE) /* not told before the host is allowed */
		return signature;
	why = judge_attach(c);
	if (why != REASON_NONE)
		return why;
	judge_make_key(c, rq->route.rule);
	resign_hold(c);
	judge_hold(c);
	rq->route.rule = NULL; /* the document may go before we look again */
	return REASON_NONE;
}

/* Credentials that are not of this workspace. */
static enum reason judge_foreign(struct conn *c, const struct rules *rules)
{
	const struct request *rq = c->x->rq;

	c->x->foreign = rules->foreign == RULES_FOREIGN_OFF ? NULL : foreign_find(&rq->head, &rq->meaning, &rq->refs);
	return c->x->foreign && rules->foreign == RULES_FOREIGN_REFUSE ? REASON_FOREIGN_CREDENTIAL : REASON_NONE;
}

enum reason judge_secrets(struct conn *c)
{
	const struct request *rq = c->x->rq;
	const struct rules *rules = c->guard->workspace->rules;
	char path[ROUTE_PATH_MAX];
	enum reason why;

	if (!rules)
		return REASON_WORKSPACE_GONE;
	if (c->x->literal)
		return REASON_SECRET_VALUE;
	why = inject_judge(rules, rq->route.host, rq->route.port, c->x->method, judge_path(rq, rules, path), &rq->refs);
	if (why == REASON_NONE && rq->certificate[0])
		why = rules_secret_may(rules, rq->certificate, rq->route.host, rq->route.port, RULES_SLOT_CERT);
	return why != REASON_NONE ? why : judge_foreign(c, rules);
}

/* Whatever the resolver said: an address that the rule does not open is never dialled. */
static bool judge_addresses_ok(const struct config *cfg, const uint8_t (*addrs)[16], uint32_t count, bool private,
			       bool address, const char **ret_class)
{
	uint32_t i;

	for (i = 0; i < count; i++) {
		*ret_class = origin_special(cfg, addrs[i]);
		if (*ret_class && !(private && origin_openable(addrs[i], address)))
			return false;
	}
	*ret_class = NULL;
	return count > 0;
}

enum reason judge_answer(const struct config *cfg, int rc, const uint8_t (*addrs)[16], uint32_t count, bool private,
			 bool address, enum reason *ret_failure, const char **ret_detail)
{
	*ret_failure = REASON_NONE;
	*ret_detail = NULL;
	switch (rc) {
	case 0:
		return judge_addresses_ok(cfg, addrs, count, private, address, ret_detail) ? REASON_NONE
											   : REASON_SSRF;
	case -EACCES:
		return REASON_SSRF;
	case -EPERM:
		return REASON_POLICY;
	case -ENOENT:
		*ret_failure = REASON_UPSTREAM_NAME;
		return REASON_NONE;
	case -ETIMEDOUT:
		*ret_failure = REASON_UPSTREAM_TIMEOUT;
		*ret_detail = "resolving";
		return REASON_NONE;
	default:
		*ret_failure = REASON_INTERNAL;
		*ret_detail = "no answer from the resolver";
		return REASON_NONE;
	}
}

enum reason judge_resolved(struct conn *c, enum reason *ret_failure)
{
	const struct request *rq = c->x->rq;

	return judge_answer(&c->p->config, rq->resolve_rc, (const uint8_t(*)[16])rq->addrs, rq->addr_count,
			    rq->key.private, rq->route.address, ret_failure, &c->x->detail);
}
