/* explicit.c: see explicit.h. */
#include "explicit.h"

#include "bodyref.h"
#include "exchange.h"
#include "origin.h"
#include "xas.h"

#include <string.h>

bool explicit_dialled(const struct config *cfg, const struct eg_record *rec)
{
	const char *class = origin_special(NULL, rec->addr);

	return rec->port == cfg->explicit_port && class && strcmp(class, "loopback") == 0;
}

/* ---- CONNECT ---- */

static enum reason explicit_judge_connect(struct conn *c)
{
	struct request *rq = c->x->rq;
	const struct route_ask ask = {.via = ROUTE_CONNECT,
				      .target = rq->meaning.host,
				      .target_address = rq->meaning.address,
				      .target_port = rq->meaning.port,
				      .rules = c->guard->workspace->rules};

	/* TLS begins with our answer; what was sent before it has been read and cannot be given back. */
	if (buf_len(&c->agent.in) > rq->used) {
		c->x->detail = "bytes behind a CONNECT that is not answered yet";
		return REASON_BAD_REQUEST;
	}
	route_open(&ask, &rq->route);
	memcpy(c->x->host, rq->route.host, sizeof(c->x->host));
	if (!rq->route.rule)
		return rq->route.reason != REASON_NONE ? rq->route.reason : REASON_INTERNAL;
	if (rq->route.rule->mode == RULES_TCP)
		return REASON_POLICY; /* straight through the kernel, not through us */
	memcpy(rq->rule, rq->route.rule->host, sizeof(rq->rule));
	rq->route.rule = NULL;
	c->x->ours.kind = ANSWER_CONNECTED;
	return REASON_NONE;
}

void explicit_connect(struct conn *c)
{
	const struct route *r = &c->x->rq->route;

	memcpy(c->connect.host, r->host, sizeof(c->connect.host));
	c->connect.address = r->address;
	c->connect.port = r->port;
}

/* ---- /proxy and /health ---- */

static enum reason explicit_text(struct conn *c, int status, const char *text)
{
	c->x->ours = (struct answer){.kind = ANSWER_TEXT, .status = status, .text = text};
	c->x->detail = text;
	return REASON_BAD_REQUEST;
}

static bool explicit_is_us(const struct conn *c, const struct http1_meaning *m)
{
	uint8_t addr[16];
	const char *class;

	if (m->port && m->port != c->p->config.explicit_port)
		return false;
	if (!m->address)
		return m->host[0] == '\0' || strcmp(m->host, "localhost") == 0;
	class = origin_parse(m->host, addr) ? origin_special(NULL, addr) : NULL;
	return class && strcmp(class, "loopback") == 0;
}

/* The head of the request that a /proxy request stands for, parsed. */
static const char *explicit_make(struct request *rq)
{
	struct wr w = wr_of(rq->made, HTTP1_HEAD_MAX);
	const char *why = xas_write(&rq->head, rq->xas, &w);
	struct http1_scan scan = {0};

	if (why)
		return why;
	if (w.full)
		return "The request is too long";
	if (http1_request(&scan, rq->made, w.len, &rq->head) != HTTP1_DONE ||
	    http1_request_meaning(&rq->head, &rq->meaning) < 0)
		return "The request that the X-AS-* headers stand for is not one that can be sent";
	if ((rq->xas->body && bodyref_kind(&rq->head) != BODYREF_JSON) ||
	    (rq->xas->form && bodyref_kind(&rq->head) != BODYREF_FORM))
		return "The body is not of a type that an X-AS-Inject-* header can write to";
	return NULL;
}

static enum reason explicit_proxy(struct conn *c)
{
	struct request *rq = c->x->rq;
	const char *why;

	rq->xas = calloc(1, sizeof(*rq->xas));
	rq->made = malloc(HTTP1_HEAD_MAX);
	if (!rq->xas || !rq->made)
		return REASON_INTERNAL;
	why = xas_read(&rq->head, rq->xas);
	if (!why)
		why = explicit_make(rq);
	if (why)
		return explicit_text(c, 400, why);
	rq->via = ROUTE_URL;
	return REASON_NONE;
}

bool explicit_wants_body(const struct conn *c)
{
	const struct xas *x = c->x->rq->xas;

	return x && (x->body || x->form);
}

/* The held body becomes the one with references in it. */
static enum reason explicit_edit(struct conn *c)
{
	struct buf *body = &c->x->hold.body;
	size_t room = buf_len(body) + XAS_ROOM;
	auto_free uint8_t *one = malloc(room), *other = malloc(room);
	struct http1_slice is = {buf_len(body) ? (const char *)buf_bytes(body) : "", buf_len(body)}, to;
	struct wr w, spare;
	const char *why;

	if (!one || !other)
		return REASON_INTERNAL;
	w = wr_of(one, room);
	spare = wr_of(other, room);
	why = xas_body(c->x->rq->xas, is, &w, &spare, &to);
	if (why)
		return explicit_text(c, 400, why);
	if (w.full)
		return REASON_INTERNAL;
	buf_done(body);
	return buf_add(body, to.p, to.len) < 0 ? REASON_BODY : REASON_NONE;
}

enum reason explicit_body(struct conn *c)
{
	struct request *rq = c->x->rq;
	enum reason why = rq->edited ? REASON_NONE : explicit_edit(c);
	uint32_t i, need;

	if (why != REASON_NONE)
		return why;
	rq->edited = true;
	for (i = 0; i < rq->xas->count; i++) {
		const struct xas_put *p = &rq->xas->puts[i];

		if ((p->kind == XAS_BODY || p->kind == XAS_FORM) &&
		    inject_need(&rq->refs, p->key.p, p->key.len, RULES_SLOT_BODY, &need) < 0)
			return REASON_LIMIT;
	}
	return REASON_NONE;
}

static enum reason explicit_local(struct conn *c)
{
	struct request *rq = c->x->rq;
	const struct http1_slice target = rq->meaning.target;

	if (!explicit_is_us(c, &rq->meaning))
		return explicit_text(
			c, 400,
			"This port is the proxy's own: a request that is not for /proxy or /health must be in "
			"absolute-form, or follow a CONNECT");
	if (http1_eq(target, "/proxy"))
		return explicit_proxy(c);
	if (!http1_eq(target, "/health"))
		return explicit_text(c, 404, "There is /proxy and /health here");
	if (!http1_eq(rq->head.method, "GET") && !http1_eq(rq->head.method, "HEAD"))
		return explicit_text(c, 405, "/health is asked with GET");
	c->x->ours.kind = ANSWER_HEALTH;
	return REASON_NONE;
}

enum reason explicit_request(struct conn *c)
{
	struct request *rq = c->x->rq;

	switch (rq->head.form) {
	case HTTP1_AUTHORITY:
		return explicit_judge_connect(c);
	case HTTP1_ABSOLUTE:
		rq->via = ROUTE_ABSOLUTE;
		return REASON_NONE;
	default:
		return explicit_local(c);
	}
}
