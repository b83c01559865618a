/* errand.c: see errand.h. The request lies in memory of secret.h until it is in the upstream's out buffer, which wipes
 * what it has sent. */
#include "errand.h"

#include "body.h"
#include "httpdate.h"
#include "judge.h"
#include "log.h"
#include "secret.h"

#include <openssl/sha.h>
#include <string.h>

enum errand_state { ERRAND_RESOLVE, ERRAND_RECORD, ERRAND_DIAL, ERRAND_ANSWER, ERRAND_OVER };

struct errand {
	struct errand *next;
	struct proxy *p;
	enum errand_state state;
	struct rpc_token_order o;
	struct secret *request;
	char workspace[RPC_WORKSPACE_MAX], rule[RPC_HOST_MAX];
	uint64_t id, start_ms;
	struct ask ask;
	struct upstream_key key;
	struct upstream *up;
	uint8_t addrs[RPC_ADDRS_MAX][16];
	uint32_t addr_count;
	enum reason verdict;
	const char *detail;
	struct http1_scan scan;
	bool headed;
	int status;
	int64_t date;
	struct body body;
	struct buf text; /* of the answer */
};

static void errand_audit(struct errand *e, enum audit_kind kind, enum reason why)
{
	struct audit_entry en = {.kind = kind,
				 .id = e->id,
				 .guard = e->o.guard,
				 .workspace = e->workspace,
				 .scheme = "https",
				 .host = e->o.host,
				 .host_len = strlen(e->o.host),
				 .host_port = e->o.port,
				 .method = "POST",
				 .method_len = 4,
				 .path = e->o.path,
				 .path_len = strlen(e->o.path),
				 .rule = e->rule[0] ? e->rule : NULL,
				 .allow = e->verdict == REASON_NONE,
				 .reason = why,
				 .detail = e->detail};

	en.secrets[en.secret_count++] = e->o.name;
	if (kind == AUDIT_OUTCOME) {
		en.status = e->status;
		en.bytes_down = e->body.bytes;
		en.has_ms = true;
		en.ms = (uint32_t)(e->p->loop.now_ms - e->start_ms);
	}
	proxy_audit(e->p, &en);
}

static void errand_free(struct errand *e)
{
	struct errand **at = &e->p->errands;

	while (*at != e)
		at = &(*at)->next;
	*at = e->next;
	ask_cancel(&e->ask);
	if (e->up)
		upstream_drop(e->up);
	(void)secret_free(e->request);
	e->text.wipe = true;
	buf_done(&e->text);
	free(e);
}

/* The keeper hears how it ended. */
static void errand_end(struct errand *e, int rc, enum reason why)
{
	struct rpc_token_reply r = {
		.number = e->o.number, .rc = rc, .status = e->status, .date = e->date};
	size_t len = rc == 0 ? buf_len(&e->text) : 0;

	e->state = ERRAND_OVER;
	errand_audit(e, AUDIT_OUTCOME, why);
	if (e->p->keeper.peer.fd >= 0 &&
	    rpc_send(e->p->keeper.peer.fd, RPC_TOKEN_REPLY, 0, &r, sizeof(r),
		     len ? buf_bytes(&e->text) : NULL, len, -1) < 0)
		log_error("the keeper did not take a token's answer; it will ask for another");
	errand_free(e);
}

static void errand_decide(struct errand *e, enum reason verdict)
{
	e->verdict = verdict;
	e->state = ERRAND_RECORD;
	errand_audit(e, AUDIT_DECISION, verdict);
}

/* ---- the answer ---- */

/* False: over. */
static bool errand_head(struct errand *e)
{
	struct buf *in = &e->up->side.in;
	struct http1_head *h = &e->p->head;
	struct http1_meaning m;

	while (!e->headed && buf_len(in) > 0) {
		enum http1_result got = http1_response(&e->scan, (const char *)buf_bytes(in),
						       buf_len(in), h);

		if (got == HTTP1_MORE)
			return true;
		if (got != HTTP1_DONE ||
		    http1_response_meaning(h, (struct http1_slice){"POST", 4}, false, &m) < 0) {
			errand_end(e, -EBADMSG, REASON_UPSTREAM_BAD);
			return false;
		}
		e->scan = (struct http1_scan){0};
		e->status = h->status;
		e->headed = h->status >= 200;
		e->date = httpdate_of(h);
		if (e->headed)
			body_init(&e->body, m.framing, m.length, HTTP1_FRAMING_CLOSE);
		buf_take(in, h->raw.len);
	}
	return true;
}

static bool errand_take(struct errand *e)
{
	if (!errand_head(e))
		return false;
	if (!e->headed)
		return true;
	if (body_move(&e->body, &e->up->side.in, &e->text, ERRAND_BODY_MAX, &e->p->head) < 0 ||
	    buf_len(&e->text) >= ERRAND_BODY_MAX) {
		errand_end(e, -EBADMSG, REASON_UPSTREAM_BAD);
		return false;
	}
	if (e->body.phase != BODY_DONE)
		return true;
	errand_end(e, 0, REASON_NONE);
	return false;
}

static void errand_closed(struct errand *e)
{
	bool whole = e->headed && body_end(&e->body, &e->text) == 0;

	errand_end(e, whole ? 0 : -EBADMSG, whole ? REASON_NONE : REASON_UPSTREAM_CLOSED);
}

static void errand_answer(struct errand *e)
{
	struct side *s = &e->up->side;
	enum tls_io io = side_write(s, &(size_t){0});
	size_t n = 1;

	if (io == TLS_FAIL) {
		errand_end(e, -EHOSTUNREACH, REASON_UPSTREAM_CLOSED);
		return;
	}
	while (n > 0) {
		n = 0;
		s->in.wipe = true;
		io = side_read(s, &s->in, BUF_UNIT, &n);
		if (io == TLS_FAIL || io == TLS_END) {
			if (errand_take(e))
				errand_closed(e);
			return;
		}
		if (!errand_take(e))
			return;
	}
	if (side_arm(s, &e->p->loop, true) < 0)
		errand_end(e, -EHOSTUNREACH, REASON_INTERNAL);
}

/* Steps 3, 4 and 6: rule, method and path, and whether the host is the secret's. */
static enum reason errand_judge(struct errand *e)
{
	const struct guard *g = who_find(&e->p->who, e->o.guard);
	const struct rules *r = g ? g->workspace->rules : NULL;
	const struct rules_secret *s;
	const struct rules_rule *rule;
	enum reason why = REASON_NONE;
	uint32_t slots;
	char path[512];

	if (!r)
		return REASON_WORKSPACE_GONE;
	memcpy(e->workspace, g->workspace->name, sizeof(e->workspace));
	s = rules_secret(r, e->o.name);
	if (!s)
		return REASON_SECRET_UNKNOWN;
	if (rules_path(e->o.path, strlen(e->o.path), path, sizeof(path)) < 0)
		return REASON_POLICY;
	rule = rules_judge(r, e->o.host, e->o.port, "POST", path, &why);
	if (!rule)
		return why != REASON_NONE ? why : REASON_POLICY;
	memcpy(e->rule, rule->host, sizeof(e->rule));
	slots = rules_secret_slots(s);
	why = rules_secret_may(r, e->o.name, e->o.host, e->o.port,
			       (enum rules_slot)(slots & -slots));
	e->key = (struct upstream_key){.guard = e->o.guard,
				       .epoch = g->workspace->epoch,
				       .port = e->o.port,
				       .tls = true,
				       .private = rule->private,
				       .http = UPSTREAM_HTTP1_ONLY};
	memcpy(e->key.host, e->o.host, sizeof(e->key.host));
	/* A connection of its own, never one of the agent's. */
	SHA256((const uint8_t *)&e->o, sizeof(e->o), e->key.creds);
	return why;
}

/* ---- the request ---- */

static void errand_send(struct errand *e)
{
	struct buf *out = &e->up->side.out;

	out->wipe = true;
	if (buf_add(out, secret_view(e->request), secret_len(e->request)) < 0) {
		errand_end(e, -EHOSTUNREACH, REASON_INTERNAL);
		return;
	}
	e->request = secret_free(e->request);
	e->state = ERRAND_ANSWER;
	errand_answer(e);
}

static void errand_changed(void *owner)
{
	struct errand *e = owner;

	if (e->state == ERRAND_ANSWER) {
		errand_answer(e);
	} else if (e->up->state == UPSTREAM_BUSY) {
		errand_send(e);
	} else if (e->up->state == UPSTREAM_DEAD) {
		e->detail = e->up->detail;
		errand_end(e, -EHOSTUNREACH, e->up->why);
	}
}

static void errand_dial(struct errand *e)
{
	bool private = e->key.private;

	/* By the document that is in force now; its addresses were judged by what it said then. */
	if (errand_judge(e) != REASON_NONE || (private && !e->key.private)) {
		e->detail = "the workspace has changed";
		errand_end(e, -EACCES, REASON_POLICY);
		return;
	}
	e->state = ERRAND_DIAL;
	if (upstream_dial(e->p->upstreams, &e->key, (const uint8_t(*)[16])e->addrs, e->addr_count,
			  e, errand_changed, &e->up) < 0) {
		errand_end(e, -EHOSTUNREACH, REASON_LIMIT);
		return;
	}
	errand_changed(e);
}

void errands_recorded(struct proxy *p, int rc)
{
	struct errand *e, *next;

	for (e = p->errands; e; e = next) {
		next = e->next;
		if (e->state != ERRAND_RECORD)
			continue;
		if (rc < 0)
			errand_end(e, -EHOSTUNREACH, REASON_INTERNAL);
		else if (e->verdict != REASON_NONE)
			errand_end(e, -EACCES, e->verdict);
		else
			errand_dial(e);
	}
}

bool errands_wait_record(const struct proxy *p)
{
	const struct errand *e = p->errands;

	while (e && e->state != ERRAND_RECORD)
		e = e->next;
	return e != NULL;
}

/* ---- the order ---- */

static void errand_on_resolved(struct ask *a, int rc, const void *body, const uint8_t *tail,
			       size_t len)
{
	struct errand *e = (struct errand *)((char *)a - offsetof(struct errand, ask));
	const struct rpc_resolved *r = body;
	enum reason verdict, failure;

	(void)tail;
	(void)len;
	if (rc == 0) {
		e->addr_count = r->count;
		memcpy(e->addrs, r->addr, sizeof(e->addrs));
	}
	verdict = judge_answer(&e->p->config, rc, (const uint8_t(*)[16])e->addrs, e->addr_count,
			       e->key.private, false, &failure, &e->detail);
	errand_decide(e, verdict != REASON_NONE ? verdict : failure);
}

int errand_order(void *proxy, const struct rpc_token_order *o, const uint8_t *request, size_t len)
{
	struct proxy *p = proxy;
	struct errand *e;
	struct rpc_resolve *q;
	enum reason why;

	if (!rpc_str_ok(o->name, sizeof(o->name)) || !rpc_str_ok(o->host, sizeof(o->host)) ||
	    !rpc_str_ok(o->path, sizeof(o->path)) || len == 0 || len > ERRAND_REQUEST_MAX)
		return -EPROTO;
	e = calloc(1, sizeof(*e));
	if (!e || secret_of(request, len, &e->request, NULL) < 0) {
		free(e);
		return -ENOMEM;
	}
	e->p = p;
	e->o = *o;
	e->id = ++p->next_id;
	e->start_ms = p->loop.now_ms;
	e->next = p->errands;
	p->errands = e;
	buf_init(&e->text, 2 * ERRAND_BODY_MAX);
	why = errand_judge(e);
	if (why != REASON_NONE) {
		errand_decide(e, why);
		return 0;
	}
	q = &e->ask.body.resolve;
	q->guard = o->guard;
	q->port = o->port;
	memcpy(q->host, o->host, sizeof(q->host));
	if (ask_put(&e->ask, &p->resolver, RPC_RESOLVE, errand_on_resolved) < 0)
		errand_decide(e, REASON_INTERNAL);
	return 0;
}

void errands_sweep(struct proxy *p, uint64_t now_ms)
{
	struct errand *e, *next;

	for (e = p->errands; e; e = next) {
		next = e->next;
		if (now_ms - e->start_ms >= ERRAND_MS)
			errand_end(e, -ETIMEDOUT, REASON_UPSTREAM_TIMEOUT);
	}
}

void errands_done(struct proxy *p)
{
	while (p->errands)
		errand_free(p->errands);
}
