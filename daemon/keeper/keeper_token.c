/* keeper_token.c: see keeper_token.h.
 *
 * A token belongs to a workspace and a name, and to the kind and parameters it was fetched for: with others it is
 * dropped. What has changed while an exchange was under way makes its answer worthless (`abandoned`): above all its
 * refresh token must not take the place of a newer one.
 */
#include "keeper_token.h"

#include "keeper_read.h"
#include "log.h"
#include "parts.h"
#include "tokenclock.h"
#include "tokenreq.h"
#include "tokenresp.h"

#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKENS_MAX         1024
#define TOKEN_WAITERS_MAX  4096 /* of all tokens */
#define TOKEN_FLIGHT_MS    12000
#define TOKEN_STALE_MS     1000 /* a token that is younger is not taken for stale */
#define TOKEN_RETRY_MS     1000 /* after a failure; doubled with each one more */
#define TOKEN_RETRY_MAX_MS 60000

enum token_state { TOKEN_IDLE = 0, TOKEN_READING, TOKEN_FLYING, TOKEN_STORING };

struct token_waiter {
	struct token_waiter *next;
	uint32_t proxy, id;
	uint16_t gen;
};

struct token {
	struct token *next;
	struct keeper *k;
	char workspace[RPC_WORKSPACE_MAX], name[RPC_NAME_MAX];
	uint8_t digest[32]; /* of kind and parameters */
	struct secret *value;
	uint32_t number;
	uint64_t fetched_ms;
	struct tokenlife life;
	struct tokenclock clock; /* of its authorization server */
	enum token_state state;
	bool abandoned;
	bool again;         /* signed again, for the server's clock */
	int64_t signed_for; /* the time in the request */
	uint64_t asked_boot_ms;
	struct rpc_credential q; /* who set the exchange off */
	uint32_t proxy, order;
	uint16_t gen;
	uint64_t deadline_ms, retry_ms;
	uint32_t failures;
	int failure; /* what those are told who ask before retry_ms */
	struct tokenresp fresh;
	struct secret *stored; /* what is on its way to the vault */
	struct token_waiter *waiters;
	struct keeper_read read;
};

static int64_t wall_s(void)
{
	return (int64_t)(loop_wall_ns() / 1000000000);
}

/* ---- answers ---- */

static void token_send(struct keeper *k, uint32_t proxy, uint16_t gen, uint32_t id,
		       const struct token *t, int rc)
{
	struct keeper_proxy *p = &k->proxies[proxy];
	struct rpc_done done = {.rc = rc};
	size_t len = rc == 0 ? secret_len(t->value) : 0;

	if (p->peer.fd < 0 || p->gen != gen)
		return;
	done.tail_len = (uint32_t)len;
	done.status = rc == 0 ? (int32_t)t->number : 0;
	if (rpc_send(p->peer.fd, RPC_CREDENTIAL_VALUE, id, &done, sizeof(done),
		     rc == 0 ? secret_view(t->value) : NULL, len, -1) == 0)
		return;
	log_error("proxy%u takes no answers; its channel is closed", proxy);
	keeper_proxy_end(k, p);
}

static void token_answer_all(struct token *t, int rc)
{
	struct token_waiter *w, *all = take(t->waiters);

	while ((w = all)) {
		all = w->next;
		t->k->token_waiters--;
		token_send(t->k, w->proxy, w->gen, w->id, t, rc);
		free(w);
	}
}

static int token_wait(struct token *t, uint32_t peer, uint32_t id)
{
	struct token_waiter *w = t->k->token_waiters < TOKEN_WAITERS_MAX ? calloc(1, sizeof(*w))
									 : NULL;

	if (!w)
		return -ENOMEM;
	*w = (struct token_waiter){t->waiters, peer, id, t->k->proxies[peer].gen};
	t->waiters = w;
	t->k->token_waiters++;
	return 0;
}

/* ---- ends of an exchange ---- */

static void token_drop(struct token *t)
{
	t->value = secret_free(t->value);
	t->life = (struct tokenlife){0};
}

static void token_idle(struct token *t)
{
	tokenresp_done(&t->fresh);
	t->stored = secret_free(t->stored);
	t->state = TOKEN_IDLE;
	t->abandoned = t->again = false;
}

static void token_failed(struct token *t, int rc, const char *why)
{
	uint64_t wait = TOKEN_RETRY_MS;

	log_warn("no access token for %s of workspace %s: %s", t->name, t->workspace, why);
	for (uint32_t i = 0; i < t->failures && wait < TOKEN_RETRY_MAX_MS; i++)
		wait *= 2;
	t->failures++;
	t->retry_ms = t->k->loop.now_ms + (wait < TOKEN_RETRY_MAX_MS ? wait : TOKEN_RETRY_MAX_MS);
	t->failure = rc == -EKEYREJECTED ? rc : -ENETUNREACH;
	if (t->abandoned)
		t->retry_ms = 0;
	token_idle(t);
	token_answer_all(t, t->failure);
}

/* The fresh token is in force. Proxies hear of it before it is given out: they look for it in responses. */
static void token_taken(struct token *t)
{
	struct rules **doc = keeper_doc(t->k, t->workspace);
	const struct rules_secret *s = doc ? rules_secret(*doc, t->name) : NULL;
	struct secret *copy = NULL;

	if (t->abandoned || !s) {
		token_failed(t, -ECANCELED, "the secret has changed meanwhile");
		return;
	}
	if (secret_of(secret_view(t->fresh.token), secret_len(t->fresh.token), &copy, NULL) < 0) {
		token_failed(t, -ENOMEM, "out of memory");
		return;
	}
	token_drop(t);
	t->value = take(t->fresh.token);
	t->number = ++t->k->token_number;
	t->fetched_ms = t->k->loop.now_ms;
	t->life = tokenlife_of(t->asked_boot_ms, t->fresh.life_s);
	t->failures = 0;
	t->retry_ms = 0;
	token_idle(t);
	keeper_former(t->k, t->workspace, s->hosts, s->host_count, &copy);
	(void)secret_free(copy);
	token_answer_all(t, 0);
}

/* ---- storing ---- */

static void token_on_stored(struct keeper_read *r)
{
	struct token *t = (struct token *)((char *)r - offsetof(struct token, read));

	if (r->rc < 0)
		log_error(
			"the new refresh token of %s of workspace %s is not stored: %s; the old one may be of no use now",
			t->name, t->workspace, r->why.text);
	if (r->rc == 0)
		keeper_warn(t->k);
	if (r->rc < 0)
		token_failed(t, r->rc, "its new refresh token could not be stored");
	else
		token_taken(t);
}

/* The parts with the new refresh token, as JSON. */
static int token_rotated(const struct parts *p, const struct secret *refresh, struct secret **ret)
{
	json_t *o = json_object();
	bool required;
	const char *name;
	char *text;
	int rc = -ENOMEM;

	for (size_t i = 0; (name = kind_part(KIND_OAUTH2_REFRESH, i, &required)); i++) {
		const uint8_t *v = i == 2 ? secret_view(refresh) : p->at[i].p;
		size_t len = i == 2 ? secret_len(refresh) : p->at[i].len;

		if (v)
			(void)json_object_set_new(o, name, json_stringn((const char *)v, len));
	}
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (text)
		rc = secret_of(text, strlen(text), ret, NULL);
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
	return rc;
}

static void token_on_parts_again(struct keeper_read *r)
{
	struct token *t = (struct token *)((char *)r - offsetof(struct token, read));
	auto_(secret) struct secret *value = take(r->value);
	auto_parts struct parts parts = {0};
	struct err e = {0};
	int rc = r->rc;

	if (rc == 0)
		rc = parts_open(KIND_OAUTH2_REFRESH, value, &parts, &e);
	if (rc == 0 && !t->abandoned)
		rc = token_rotated(&parts, t->fresh.refresh, &t->stored);
	if (rc < 0 || t->abandoned) {
		token_failed(t, -EIO,
			     t->abandoned ? "the secret has changed meanwhile"
					  : "its parts cannot be read again");
		return;
	}
	keeper_read(t->k, r, BACKEND_SET, t->workspace, t->name, t->stored, token_on_stored);
}

/* ---- the exchange ---- */

static enum kind token_kind(struct token *t, const char **ret_params)
{
	struct rules **doc = keeper_doc(t->k, t->workspace);
	const struct rules_secret *s = doc ? rules_secret(*doc, t->name) : NULL;

	*ret_params = s ? s->params : NULL;
	return s ? s->kind : KIND_VALUE;
}

static int token_fly(struct token *t, const struct secret *request, const char *params,
		     enum kind kind)
{
	struct rpc_token_order o = {.number = ++t->k->token_order, .guard = t->q.guard};
	struct keeper_proxy *p = &t->k->proxies[t->proxy];

	memcpy(o.name, t->q.name, sizeof(o.name));
	if (kind_endpoint(kind, params, o.host, &o.port, o.path) < 0)
		return -EINVAL;
	if (p->peer.fd < 0 || p->gen != t->gen)
		return -EPIPE;
	t->order = o.number;
	t->state = TOKEN_FLYING;
	if (!t->again)
		t->deadline_ms = t->k->loop.now_ms + TOKEN_FLIGHT_MS;
	return rpc_send(p->peer.fd, RPC_TOKEN_ORDER, 0, &o, sizeof(o), secret_view(request),
			secret_len(request), -1);
}

/* Is its endpoint one of the secret's own hosts, at that port. */
static bool token_endpoint_ok(struct token *t, enum kind kind, const char *params)
{
	struct rules **doc = keeper_doc(t->k, t->workspace);
	const struct rules_secret *s = doc ? rules_secret(*doc, t->name) : NULL;
	char host[RPC_HOST_MAX], path[KIND_PATH_MAX];
	uint32_t slots = s ? rules_secret_slots(s) : 0;
	uint16_t port;

	return s && kind_endpoint(kind, params, host, &port, path) == 0 &&
	       rules_secret_may(*doc, t->name, host, port, (enum rules_slot)(slots & -slots)) ==
		       REASON_NONE;
}

static void token_on_parts(struct keeper_read *r)
{
	struct token *t = (struct token *)((char *)r - offsetof(struct token, read));
	auto_(secret) struct secret *value = take(r->value), *request = NULL;
	auto_parts struct parts parts = {0};
	const char *params;
	enum kind kind = token_kind(t, &params);
	struct err e = r->why;
	int rc = r->rc;

	if (rc == 0)
		t->k->stats.tokens_asked++;
	if (rc == 0 && (t->abandoned || !kind_mints(kind)))
		rc = err_set(&e, -ECANCELED, "the secret has changed meanwhile");
	if (rc == 0 && !token_endpoint_ok(t, kind, params))
		rc = err_set(
			&e, -EACCES,
			"its token URL is not at a host, in the allowlist, that it is bound to");
	if (rc == 0)
		rc = parts_open(kind, value, &parts, &e);
	t->asked_boot_ms = loop_boot_ms();
	t->signed_for = tokenclock_now(&t->clock, wall_s(), t->asked_boot_ms);
	if (rc == 0)
		rc = tokenreq_make(kind, params, &parts, t->signed_for, &request, &e);
	if (rc == 0 && token_fly(t, request, params, kind) < 0)
		rc = err_set(&e, -EPIPE, "the proxy that asked is gone");
	if (rc < 0)
		token_failed(t, rc, e.text);
}

static void token_start(struct token *t, uint32_t peer, const struct rpc_credential *q)
{
	t->state = TOKEN_READING;
	t->q = *q;
	t->proxy = peer;
	t->gen = t->k->proxies[peer].gen;
	keeper_read(t->k, &t->read, BACKEND_READ, t->workspace, t->name, NULL, token_on_parts);
}

/* ---- asked ---- */

static struct token *token_of(struct keeper *k, const char *workspace, const char *name, bool make)
{
	struct token *t = k->tokens;
	uint32_t count = 0;

	for (; t; t = t->next, count++)
		if (strcmp(t->workspace, workspace) == 0 && strcmp(t->name, name) == 0)
			return t;
	if (!make || count >= TOKENS_MAX)
		return NULL;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	t->k = k;
	memcpy(t->workspace, workspace, strlen(workspace) + 1);
	memcpy(t->name, name, strlen(name) + 1);
	t->next = k->tokens;
	k->tokens = t;
	return t;
}

/* A token of another kind or parameters is none. */
static void token_settle(struct token *t, const struct rules_secret *s)
{
	const char *at = s->params, *value;
	uint8_t digest[32];

	while (kind_next(&at, &value))
		;
	(void)crypto_generichash(digest, sizeof(digest), (const uint8_t *)s->params,
				 (size_t)(at - s->params), (const uint8_t *)&s->kind,
				 sizeof(s->kind));
	if (sodium_memcmp(digest, t->digest, sizeof(digest)) == 0)
		return;
	token_drop(t);
	t->abandoned = t->state != TOKEN_IDLE;
	t->failures = 0;
	t->retry_ms = 0;
	t->clock = (struct tokenclock){0};
	memcpy(t->digest, digest, sizeof(digest));
}

int keeper_token(struct keeper *k, uint32_t peer, uint32_t id, const struct rpc_credential *q,
		 const struct rules_secret *s, const char *workspace)
{
	struct token *t = token_of(k, workspace, q->name, true);
	uint64_t now = k->loop.now_ms, boot = loop_boot_ms();
	bool good;

	if (!t)
		return -ENOMEM;
	token_settle(t, s);
	good = t->value && boot < t->life.end_ms;
	if (good)
		token_send(k, peer, k->proxies[peer].gen, id, t, 0);
	else if (t->state == TOKEN_IDLE && now < t->retry_ms)
		token_send(k, peer, k->proxies[peer].gen, id, t, t->failure);
	else if (token_wait(t, peer, id) < 0)
		token_send(k, peer, k->proxies[peer].gen, id, t, -ENETUNREACH);
	if (t->state == TOKEN_IDLE && now >= t->retry_ms && (!good || boot >= t->life.refresh_ms))
		token_start(t, peer, q);
	return 0;
}

static struct token *token_flying(struct keeper *k, uint32_t peer, uint32_t order)
{
	struct token *t = k->tokens;

	while (t && !(t->state == TOKEN_FLYING && t->order == order && t->proxy == peer))
		t = t->next;
	return t;
}

static bool token_asserts(enum kind kind)
{
	return kind == KIND_JWT_BEARER || kind == KIND_GITHUB_APP;
}

/* It was refused, perhaps since the server's clock is not ours: once more, by that clock. False: that is not it. */
static bool token_again(struct token *t, enum kind kind)
{
	if (!token_asserts(kind) || t->again || t->abandoned ||
	    !tokenclock_corrects(&t->clock, t->signed_for, wall_s(), loop_boot_ms()))
		return false;
	log_warn(
		"the authorization server for %s of workspace %s refuses, and its clock is not this machine's; asked again by its clock",
		t->name, t->workspace);
	t->again = true;
	t->state = TOKEN_READING;
	keeper_read(t->k, &t->read, BACKEND_READ, t->workspace, t->name, NULL, token_on_parts);
	return true;
}

static void token_refused(struct token *t, enum kind kind, const struct rpc_token_reply *q, int rc,
			  const char *code)
{
	int64_t ahead = q->date ? q->date - wall_s() : 0;
	char why[192], clock[80] = "";

	if (token_asserts(kind) && q->date == 0)
		(void)snprintf(clock, sizeof(clock),
			       "; it tells no time: is this machine's clock right?");
	else if (token_asserts(kind) && (ahead > TOKENCLOCK_NEAR_S || ahead < -TOKENCLOCK_NEAR_S))
		(void)snprintf(clock, sizeof(clock), "; its clock is %lld s %s this machine's",
			       (long long)(ahead < 0 ? -ahead : ahead),
			       ahead < 0 ? "behind" : "ahead of");
	(void)snprintf(why, sizeof(why), "the authorization server %s (HTTP %d%s%s)%s",
		       rc == -EKEYREJECTED ? "refuses" : "does not give one", q->status,
		       *code ? ", " : "", code, rc == -EKEYREJECTED ? clock : "");
	token_failed(t, rc, why);
}

int keeper_token_reply(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_token_reply *q = m->body;
	struct keeper *k = ctx;
	struct token *t = token_flying(k, peer, q->number);
	const char *params, *code = "";
	enum kind kind;
	int rc = q->rc;

	if (rc > 0 || q->date < 0 || q->date > TOKENCLOCK_MAX)
		return -EPROTO;
	if (!t) /* it took too long */
		return 0;
	if (rc < 0) {
		token_failed(t, rc,
			     rc == -EACCES      ? "its token URL is not allowed"
			     : rc == -ETIMEDOUT ? "the authorization server does not answer in time"
			     : rc == -EBADMSG
				     ? "the authorization server answers no HTTP, or too much"
				     : "the authorization server cannot be reached");
		return 0;
	}
	kind = token_kind(t, &params);
	tokenclock_heard(&t->clock, q->date, loop_boot_ms());
	rc = tokenresp_parse(kind, q->status, m->tail, m->tail_len, q->date ? q->date : wall_s(),
			     &t->fresh, &code);
	if (rc < 0) {
		if (rc != -EKEYREJECTED || !token_again(t, kind))
			token_refused(t, kind, q, rc, code);
		return 0;
	}
	if (!t->fresh.refresh || t->abandoned) {
		token_taken(t);
		return 0;
	}
	t->state = TOKEN_STORING;
	keeper_read(k, &t->read, BACKEND_READ, t->workspace, t->name, NULL, token_on_parts_again);
	return 0;
}

int keeper_token_stale(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_token_stale *q = m->body;
	struct keeper *k = ctx;
	const struct rules_secret *s;
	struct token *t;

	(void)peer;
	if (!keeper_credential_ok(&q->of))
		return -EPROTO;
	if (keeper_judge(k, &q->of, &s) < 0)
		return 0;
	t = token_of(k, keeper_workspace_of(k, q->of.guard), q->of.name, false);
	if (t && t->value && t->number == q->number &&
	    k->loop.now_ms - t->fetched_ms >= TOKEN_STALE_MS)
		token_drop(t);
	return 0;
}

/* ---- what changes ---- */

void keeper_tokens_forget(struct keeper *k, const char *workspace, const char *name)
{
	struct token *t;

	for (t = k->tokens; t; t = t->next) {
		if (strcmp(t->workspace, workspace) != 0 || (name && strcmp(t->name, name) != 0))
			continue;
		token_drop(t);
		t->abandoned = t->state != TOKEN_IDLE;
		t->failures = 0;
		t->retry_ms = 0;
		t->clock = (struct tokenclock){0};
	}
}

int keeper_tokens_turn(struct keeper *k, uint64_t now_ms)
{
	uint64_t wait = UINT64_MAX;
	struct token *t;

	for (t = k->tokens; t; t = t->next) {
		const struct keeper_proxy *p = &k->proxies[t->proxy];

		if (t->state != TOKEN_FLYING)
			continue;
		if (p->peer.fd < 0 || p->gen != t->gen)
			token_failed(t, -EPIPE, "the proxy that asked for it is gone");
		else if (now_ms >= t->deadline_ms)
			token_failed(t, -ETIMEDOUT,
				     "the authorization server does not answer in time");
		else if (t->deadline_ms - now_ms < wait)
			wait = t->deadline_ms - now_ms;
	}
	return wait == UINT64_MAX ? -1 : (int)wait;
}

void keeper_tokens_done(struct keeper *k)
{
	struct token *t;

	while ((t = k->tokens)) {
		struct token_waiter *w;

		k->tokens = t->next;
		while ((w = t->waiters)) {
			t->waiters = w->next;
			free(w);
		}
		token_idle(t);
		token_drop(t);
		free(t);
	}
}
