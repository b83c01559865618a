/* values.c: see values.h. */
#include "values.h"

#include "resign.h"

#include <stdio.h>
#include <string.h>

static void values_drop_others(struct conn *c)
{
	struct request *rq = c->x->rq;
	uint32_t i;

	for (i = 0; i < rq->other_count; i++)
		creds_drop(c->p->creds, &rq->others[i]);
	free(take(rq->others));
	rq->other_count = rq->other = 0;
}

void values_drop(struct conn *c)
{
	uint32_t i;

	for (i = 0; i < INJECT_MAX; i++)
		creds_drop(c->p->creds, &c->x->rq->values[i]);
	values_drop_others(c);
}

void values_drop_known(struct conn *c)
{
	known_drop(&c->p->known, take(c->x->known));
	c->x->known_made = false;
}

/* What the keeper's "no" means. */
static void values_refused(struct request *rq, int rc, const struct rpc_done *d)
{
	char *said = rq->c->x->said;
	size_t cap = sizeof(rq->c->x->said);

	rq->refused = true;
	rq->refusal = REASON_VAULT;
	switch (rc) {
	case -EKEYREJECTED:
		rq->refusal = REASON_TOKEN_REFUSED;
		return;
	case -ENETUNREACH:
		rq->refusal = REASON_TOKEN;
		return;
	case -ENOENT:
		rq->refusal = REASON_SECRET_UNKNOWN;
		return;
	case -EACCES:
		rq->refusal = REASON_SECRET_HOST;
		return;
	case -ENOKEY:
		rq->refusal = REASON_VAULT_LOCKED;
		return;
	case -ENOLCK:
		rq->refusal = REASON_KEYRING_LOCKED;
		return;
	case -EHOSTDOWN:
		rq->refusal = REASON_KEYRING_AWAY;
		return;
	case -ECHILD:
	case -ETIMEDOUT:
		rq->refusal = REASON_COMMAND;
		break;
	default:
		return;
	}
	if (rc == -ETIMEDOUT)
		(void)snprintf(said, cap, "no value came in time");
	else if (!d || d->status == 0)
		(void)snprintf(said, cap, "the secret's command could not be started");
	else if (d->status < 256)
		(void)snprintf(said, cap, "the secret's command ended with status %d", d->status);
	else
		(void)snprintf(said, cap, "the secret's command was ended by signal %d", d->status - 256);
}

/* An access token: it is the keeper's to keep, and may turn out to be stale. */
static void values_minted(const struct request *rq, const struct rpc_credential *of, uint32_t number)
{
	struct exchange *x = rq->c->x;

	if (!x->tokens)
		x->tokens = calloc(INJECT_MAX, sizeof(*x->tokens));
	if (!x->tokens || x->token_count == INJECT_MAX)
		return;
	x->tokens[x->token_count].of = *of;
	x->tokens[x->token_count++].number = number;
}

void values_stale(struct conn *c)
{
	struct channel *k = &c->p->keeper;
	uint32_t i;

	for (i = 0; i < c->x->token_count && k->peer.fd >= 0; i++)
		if (rpc_send(k->peer.fd, RPC_TOKEN_STALE, 0, &c->x->tokens[i], sizeof(c->x->tokens[i]), NULL, 0, -1) < 0)
			return; /* the next 401 will say it */
}

static void values_on_value(struct ask *a, int rc, const void *body, const uint8_t *tail,
			    size_t tail_len)
{
	struct request *rq = (struct request *)((char *)a - offsetof(struct request, ask));
	struct creds *creds = rq->c->p->creds;
	uint32_t i = 0;

	while (rq->values[i].p)
		i++;
	if (rc == 0)
		rc = creds_hold(creds, tail, tail_len, &rq->values[i]);
	if (rc < 0)
		values_refused(rq, rc, body);
	else if (a->op == RPC_CREDENTIAL && ((const struct rpc_done *)body)->status == 0)
		creds_lease(creds, &a->body.credential, &rq->values[i], rq->c->p->loop.now_ms);
	else if (a->op == RPC_CREDENTIAL)
		values_minted(rq, &a->body.credential, (uint32_t)((const struct rpc_done *)body)->status);
	conn_step(rq->c);
}

/* A value, if there is a lease of it; false: the keeper is asked, or there will be none. */
static bool values_one(struct conn *c, const char *name, enum rules_slot slot, struct cred *ret,
		       ask_fn *fn)
{
	struct request *rq = c->x->rq;
	struct rpc_credential *q = &rq->ask.body.credential;

	memset(q, 0, sizeof(*q));
	q->guard = c->guard->id;
	q->port = rq->route.port;
	q->slot = (uint16_t)slot;
	memcpy(q->name, name, strlen(name) + 1);
	memcpy(q->host, rq->route.host, sizeof(q->host));
	if (creds_find(c->p->creds, q, c->p->loop.now_ms, ret))
		return true;
	if (ask_share(&rq->ask, &c->p->keeper, RPC_CREDENTIAL, rq->key.epoch, fn) < 0) {
		rq->refused = true;
		rq->refusal = REASON_VAULT;
	}
	return false;
}

bool values_get(struct conn *c)
{
	struct request *rq = c->x->rq;
	uint32_t i;

	for (i = 0; i < rq->refs.need_count; i++)
		if (!rq->values[i].p && resign_is_hmac(c, rq->refs.needs[i].name)) {
			resign_ask_hmac(c, i, values_on_value);
			return false;
		} else if (!rq->values[i].p &&
		    !values_one(c, rq->refs.needs[i].name, rq->refs.needs[i].slot, &rq->values[i],
				values_on_value))
			return false;
	return true;
}

/* ---- what the response is searched for ---- */

static bool values_named(const struct request *rq, const char *name)
{
	uint32_t i;

	for (i = 0; i < rq->refs.need_count; i++)
		if (strcmp(rq->refs.needs[i].name, name) == 0)
			return true;
	return false;
}

static void values_on_other(struct ask *a, int rc, const void *body, const uint8_t *tail,
			    size_t tail_len)
{
	struct request *rq = (struct request *)((char *)a - offsetof(struct request, ask));
	struct creds *creds = rq->c->p->creds;

	if (rc == 0)
		rc = creds_hold(creds, tail, tail_len, &rq->others[rq->other]);
	if (rc == 0) {
		creds_lease(creds, &a->body.credential, &rq->others[rq->other],
			    rq->c->p->loop.now_ms);
	} else if (rc != -ENOENT) { /* that is: bound, but it has no value */
		values_refused(rq, rc, body);
	}
	rq->other++;
	conn_step(rq->c);
}

static void values_on_former(struct ask *a, int rc, const void *body, const uint8_t *tail, size_t tail_len)
{
	struct request *rq = (struct request *)((char *)a - offsetof(struct request, ask));

	(void)body;
	if (rc == 0)
		rc = creds_hold(rq->c->p->creds, tail, tail_len, &rq->others[rq->other]);
	if (rc < 0 && rc != -ENOENT) { /* that is: the keeper has let it go */
		rq->refused = true;
		rq->refusal = REASON_VAULT;
	}
	rq->other++;
	conn_step(rq->c);
}

/* Values that this host was sent and is no longer (former.h), after those of the document. */
static bool values_formers(struct conn *c)
{
	struct request *rq = c->x->rq;
	struct rpc_former_ask *q = &rq->ask.body.former;
	uint32_t at = c->guard->workspace->rules->secret_count;
	const struct who_former *f;

	for (f = c->guard->workspace->formers; f && rq->other < rq->other_count; f = f->next, at++) {
		if (at < rq->other)
			continue;
		rq->other = at;
		if (!who_former_may(f, rq->route.host)) {
			rq->other++;
			continue;
		}
		*q = (struct rpc_former_ask){.guard = c->guard->id, .number = f->number, .port = rq->route.port};
		memcpy(q->host, rq->route.host, sizeof(q->host));
		if (ask_share(&rq->ask, &c->p->keeper, RPC_FORMER_ASK, rq->key.epoch, values_on_former) == 0)
			return false;
		rq->refused = true;
		rq->refusal = REASON_VAULT;
		return false;
	}
	return !rq->refused;
}

/* A place for each value of the document and each former one of the workspace. */
static bool values_room(struct conn *c)
{
	struct request *rq = c->x->rq;
	uint32_t n = c->guard->workspace->rules->secret_count;
	const struct who_former *f;

	for (f = c->guard->workspace->formers; f; f = f->next)
		n++;
	if (rq->others || n == 0)
		return true;
	rq->others = calloc(n, sizeof(*rq->others));
	rq->refused = !rq->others;
	rq->refusal = REASON_INTERNAL;
	rq->other_count = rq->others ? n : 0;
	return !rq->refused;
}

/* The values that may go to this host and that the request does not name, one after the other; false: one is on its
 * way, or there will be none. */
static bool values_others(struct conn *c)
{
	struct request *rq = c->x->rq;
	const struct rules *r = c->guard->workspace->rules;

	if (!values_room(c))
		return false;
	for (; rq->other < r->secret_count; rq->other++) {
		const struct rules_secret *s = &r->secrets[rq->other];
		uint32_t slots = rules_secret_slots(s);
		enum rules_slot slot = (enum rules_slot)(slots & -slots);

		/* A client certificate's key is never sent: nobody can send it back. */
		if (slot == 0 || slot == RULES_SLOT_CERT || s->kind == KIND_HMAC || kind_mints(s->kind) || values_named(rq, s->name) ||
		    rules_secret_may(r, s->name, rq->route.host, rq->route.port, slot) !=
			    REASON_NONE)
			continue;
		if (!values_one(c, s->name, slot, &rq->others[rq->other], values_on_other))
			return false;
	}
	return values_formers(c);
}

/* What of a value is a secret that the host is sent: of kind aws, the session's token. */
static bool values_sent(const struct conn *c, const char *name, const struct cred *value, struct cred *ret)
{
	const struct rules_secret *s = rules_secret(c->guard->workspace->rules, name);
	uint8_t *lf;

	*ret = *value;
	if (!s || s->kind != KIND_AWS)
		return true;
	lf = memchr(value->p, '\n', value->len);
	if (lf)
		*ret = (struct cred){lf + 1, value->len - (size_t)(lf + 1 - value->p)};
	return lf != NULL;
}

static int values_make_known(struct conn *c)
{
	struct request *rq = c->x->rq;
	const struct rules *r = c->guard->workspace->rules;
	struct cred v[RULES_SECRETS_MAX + INJECT_MAX + FORMER_PER_WORKSPACE];
	size_t n = 0;
	uint32_t i;

	for (i = 0; i < rq->refs.need_count; i++)
		if (values_sent(c, rq->refs.needs[i].name, &rq->values[i], &v[n]))
			n++;
	for (i = 0; i < rq->other_count; i++)
		if (rq->others[i].p &&
		    (i >= r->secret_count ? (v[n] = rq->others[i], true)
					  : values_sent(c, r->secrets[i].name, &rq->others[i], &v[n])))
			n++;
	if (n == 0)
		return 0;
	return known_new(&c->p->known, rq->key.epoch, rq->route.host, rq->route.port, v, n,
			 &c->x->known);
}

bool values_known(struct conn *c)
{
	struct exchange *x = c->x;
	struct request *rq = x->rq;

	if (x->known_made)
		return true;
	x->known = known_find(c->p->known, rq->key.epoch, rq->route.host, rq->route.port);
	if (!x->known && !values_others(c))
		return false;
	if (!x->known && values_make_known(c) < 0) {
		rq->refused = true;
		rq->refusal = REASON_INTERNAL;
		return false;
	}
	values_drop_others(c);
	x->known_made = true;
	return true;
}
