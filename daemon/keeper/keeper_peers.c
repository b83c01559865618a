/* keeper_peers.c: what proxies ask. None of them is believed: each name is looked up in the keeper's own tables before
 * the vault is touched, and one that breaks the contract is closed, alone.
 */
#include "keeper_int.h"

#include "keeper_token.h"
#include "log.h"
#include "origin.h"
#include "tokenresp.h"

#include <string.h>

#define KEEPER_MINT_PER_S 10 /* leaves of one guard per second after the first KEEPER_MINT_BURST */
#define KEEPER_TELL_MS    1000 /* refusals are logged once in this time per proxy */

void keeper_proxy_end(struct keeper *k, struct keeper_proxy *p)
{
	if (p->peer.fd < 0)
		return;
	loop_forget(&k->loop, p->peer.fd);
	own_close(&p->peer.fd);
	p->leaf_key = ca_spki_free(p->leaf_key);
	p->gen++;
}

/* o NULL: only that something has changed. A proxy that does not take it must not go on with what it knows. */
static void keeper_tell_former(struct keeper *k, struct keeper_proxy *p, const char *workspace, const struct former *o)
{
	char hosts[RULES_BIND_HOSTS_MAX * RPC_HOST_MAX];
	struct wr w = wr_of(hosts, sizeof(hosts));
	struct rpc_former note = {.number = o ? o->number : 0};
	uint32_t i;

	if (p->peer.fd < 0)
		return;
	memcpy(note.workspace, workspace, strlen(workspace) + 1);
	for (i = 0; o && i < o->host_count; i++)
		wr_bytes(&w, o->hosts[i], strlen(o->hosts[i]) + 1);
	if (!w.full && rpc_send(p->peer.fd, RPC_FORMER, 0, &note, sizeof(note), hosts, w.len, -1) == 0)
		return;
	log_error("proxy%u does not listen; its channel is closed", p->peer.number);
	keeper_proxy_end(k, p);
}

void keeper_former(struct keeper *k, const char *workspace, char (*hosts)[RPC_HOST_MAX], uint32_t host_count,
		   struct secret **value)
{
	const struct former *o = NULL;
	size_t i;

	if (*value && former_add(&k->formers, workspace, hosts, host_count, value, &o) < 0)
		log_error("out of memory: a former value of %s will not be looked for", workspace);
	for (i = 0; i < ARRAY_SIZE(k->proxies); i++)
		keeper_tell_former(k, &k->proxies[i], workspace, o);
}

int keeper_proxy_wire(struct keeper *k, uint32_t index, int *fd)
{
	struct keeper_proxy *p;
	struct loop_key key = {.kind = KEEPER_PROXY, .slot = index};
	size_t i;
	int rc;

	if (index >= CONFIG_WORKERS_MAX)
		return -EPROTO;
	p = &k->proxies[index];
	keeper_proxy_end(k, p);
	key.gen = p->gen;
	p->peer = (struct rpc_peer){.fd = take_fd(fd), .number = index};
	rc = loop_watch(&k->loop, p->peer.fd, key, EPOLLIN);
	for (i = 0; i < FORMER_MAX && rc == 0; i++)
		if (k->formers.of[i].number)
			keeper_tell_former(k, p, k->formers.of[i].workspace, &k->formers.of[i]);
	if (rc == 0)
		keeper_prints_all(k, p);
	return rc;
}

static int keeper_leaf_key(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;
	int rc = ca_spki_new(m->tail, m->tail_len, &k->proxies[peer].leaf_key);

	return rc == -ENOMEM ? rc : rc < 0 ? -EPROTO : 0;
}

/* One leaf out of the guard's bucket. */
static bool keeper_may_mint(struct keeper_guard *g, uint64_t now_ms)
{
	uint64_t gone = now_ms - g->mint_ms, milli = g->mint_milli;

	if (gone > KEEPER_MINT_BURST * 1000u)
		gone = KEEPER_MINT_BURST * 1000u;
	milli += gone * KEEPER_MINT_PER_S;
	if (milli > KEEPER_MINT_BURST * 1000u)
		milli = KEEPER_MINT_BURST * 1000u;
	g->mint_ms = now_ms;
	g->mint_milli = (uint32_t)milli;
	if (g->mint_milli < 1000)
		return false;
	g->mint_milli -= 1000;
	return true;
}

static int keeper_mint(struct keeper *k, struct keeper_proxy *p, const struct rpc_sign_leaf *q,
		       uint8_t der[RPC_LEAF_MAX], size_t *ret_len)
{
	struct keeper_guard *g = q->guard ? keeper_guard_find(k, q->guard) : NULL;
	int rc;

	if (!g)
		return -EACCES;
	if (!k->ca)
		return -ENOKEY;
	if (!keeper_may_mint(g, k->loop.now_ms))
		return -EBUSY;
	rc = ca_mint(k->ca, p->leaf_key, q->host, (int64_t)(loop_wall_ns() / 1000000000), der,
		     ret_len);
	if (rc == 0)
		k->stats.leaves_signed++;
	return rc;
}

static int keeper_sign_leaf(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_sign_leaf *q = m->body;
	uint8_t der[RPC_LEAF_MAX];
	struct rpc_done done = {0};
	struct keeper *k = ctx;
	struct keeper_proxy *p = &k->proxies[peer];
	size_t len = 0;

	if (!p->leaf_key || !rpc_str_ok(q->host, sizeof(q->host)))
		return -EPROTO;
	done.rc = keeper_mint(k, p, q, der, &len);
	if (done.rc == -EIO || done.rc == -EKEYEXPIRED)
		log_error("cannot make a certificate: %s; proxy%u was told", strerror(-done.rc),
			  peer);
	done.tail_len = (uint32_t)len;
	return rpc_send(p->peer.fd, RPC_LEAF, m->id, &done, sizeof(done), der, len, -1);
}

static bool keeper_slot_ok(uint16_t slot)
{
	return slot != 0 && (slot & (slot - 1)) == 0 && (slot & ~(RULES_SLOTS_KNOWN | RULES_SLOT_SIGN)) == 0;
}

bool keeper_credential_ok(const struct rpc_credential *q)
{
	return rpc_str_ok(q->name, sizeof(q->name)) && rpc_str_ok(q->host, sizeof(q->host)) && keeper_slot_ok(q->slot);
}

const char *keeper_workspace_of(struct keeper *k, uint64_t guard)
{
	return keeper_guard_find(k, guard)->workspace;
}

int keeper_judge(struct keeper *k, const struct rpc_credential *q, const struct rules_secret **ret)
{
	struct keeper_guard *g = q->guard ? keeper_guard_find(k, q->guard) : NULL;
	struct rules **doc = g ? keeper_doc(k, g->workspace) : NULL;
	const struct rules_rule *rule;
	enum reason why;
	uint8_t addr[16];

	if (!doc || (!rules_host_ok(q->host) && !origin_parse(q->host, addr)))
		return -EACCES;
	rule = rules_find(*doc, q->host, q->port, &why);
	if (!rule || rule->mode != RULES_INSPECT)
		return -EACCES;
	if (!rules_name_ok(q->name))
		return -ENOENT;
	why = rules_secret_may(*doc, q->name, q->host, q->port, (enum rules_slot)q->slot);
	if (why == REASON_SECRET_UNKNOWN)
		return -ENOENT;
	if (why != REASON_NONE)
		return -EACCES;
	*ret = rules_secret(*doc, q->name);
	return 0;
}

/* The proxy asks only for what its own rules allow: a refusal here means that the two differ, or that there is no value
 * to be had now, for `why`. */
static void keeper_tell_refused(struct keeper *k, struct keeper_proxy *p,
				const struct rpc_credential *q, const char *why)
{
	p->refused++;
	if (p->told_ms && k->loop.now_ms - p->told_ms < KEEPER_TELL_MS)
		return;
	log_warn("proxy%u: %s for %s:%u in guard %llu refused (%s); %llu refused so far",
		 p->peer.number, q->name, q->host, q->port, (unsigned long long)q->guard, why,
		 (unsigned long long)p->refused);
	p->told_ms = k->loop.now_ms;
}

/* A credential that was allowed, and is asked of its place. */
struct keeper_wanted {
	struct backend_ask ask;
	struct keeper *k;
	struct rpc_credential q;
	uint32_t proxy, id;
	uint16_t gen; /* the proxy's channel may be another one by then */
	bool asking;  /* its handler has not returned */
	int sent;     /* with what it returns */
};

static int keeper_credential_no(struct keeper *k, struct keeper_proxy *p, uint32_t id,
				const struct rpc_credential *q, int rc, int32_t status,
				const char *why)
{
	struct rpc_done done = {.rc = rc, .status = status};

	keeper_tell_refused(k, p, q, why);
	return rpc_send(p->peer.fd, RPC_CREDENTIAL_VALUE, id, &done, sizeof(done), NULL, 0, -1);
}

static void keeper_on_value(struct backend_ask *a, struct backend_answer *r)
{
	struct keeper_wanted *x = (struct keeper_wanted *)a;
	struct keeper_proxy *p = &x->k->proxies[x->proxy];
	struct rpc_done done = {0};
	int rc = 0;

	if (p->peer.fd >= 0 && p->gen == x->gen) {
		if (r->rc < 0) {
			rc = keeper_credential_no(x->k, p, x->id, &x->q, r->rc, r->status, r->why);
		} else {
			done.tail_len = (uint32_t)secret_len(r->value);
			rc = rpc_send(p->peer.fd, RPC_CREDENTIAL_VALUE, x->id, &done, sizeof(done),
				      secret_view(r->value), secret_len(r->value), -1);
		}
	}
	x->sent = rc;
	if (x->asking) {
		x->asking = false;
		return; /* the handler frees it */
	}
	if (rc < 0) {
		log_error("proxy%u takes no answers (%s); its channel is closed", x->proxy,
			  strerror(-rc));
		keeper_proxy_end(x->k, p);
	}
	free(x);
}

static int keeper_value(struct keeper *k, uint32_t peer, uint32_t id,
			const struct rpc_credential *q, const char *workspace)
{
	struct keeper_wanted *x = calloc(1, sizeof(*x));
	int rc;

	if (!x)
		return keeper_credential_no(k, &k->proxies[peer], id, q, -ENOMEM, 0,
					    "out of memory");
	x->k = k;
	x->q = *q;
	x->proxy = peer;
	x->id = id;
	x->gen = k->proxies[peer].gen;
	x->asking = true;
	x->ask.op = BACKEND_READ;
	x->ask.fn = keeper_on_value;
	memcpy(x->ask.workspace, workspace, strlen(workspace) + 1);
	memcpy(x->ask.name, q->name, sizeof(x->ask.name));
	backend_ask(&k->backends, &x->ask);
	if (x->asking) {
		x->asking = false;
		return 0; /* answered later */
	}
	rc = x->sent;
	free(x);
	return rc;
}

static int keeper_credential(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_credential *q = m->body;
	const struct rules_secret *s = NULL;
	struct keeper *k = ctx;
	int rc;

	if (!keeper_credential_ok(q))
		return -EPROTO;
	rc = keeper_judge(k, q, &s);
	if (rc == 0 && s->kind == KIND_HMAC)
		rc = -EACCES; /* never as it is */
	if (rc < 0)
		return keeper_credential_no(k, &k->proxies[peer], m->id, q, rc, 0, strerror(-rc));
	if (kind_mints(s->kind))
		return keeper_token(k, peer, m->id, q, s, keeper_workspace_of(k, q->guard));
	if (s->kind == KIND_AWS)
		return keeper_identity_start(k, peer, m->id, q, keeper_workspace_of(k, q->guard));
	return keeper_value(k, peer, m->id, q, keeper_workspace_of(k, q->guard));
}

/* The password for the corporate proxy that the configuration names. Whoever asks must have somebody to go through it
 * for, and a host to go to. */
static int keeper_proxy_judge(struct keeper *k, const struct rpc_proxy_password *q)
{
	struct keeper_guard *g = q->guard ? keeper_guard_find(k, q->guard) : NULL;
	struct rules **asks = g ? keeper_doc(k, g->workspace) : NULL, **has;
	const struct config *c = &k->cfg;
	const struct rules_rule *rule;
	char buf[CONFIG_HOST_MAX];
	enum reason why;

	if (!asks || !c->http_proxy.port || !c->http_proxy_user[0])
		return -EACCES;
	rule = rules_find(*asks, q->host, q->port, &why);
	if (!rule || rule->mode == RULES_TCP)
		return -EACCES;
	has = keeper_doc(k, c->http_proxy_workspace);
	if (!has || !rules_secret(*has, c->http_proxy_secret))
		return -ENOENT;
	return rules_secret_for_proxy(*has, c->http_proxy_secret, config_proxy_host(c, buf), c->http_proxy.port) ? 0
														 : -EACCES;
}

static int keeper_proxy_password(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_proxy_password *q = m->body;
	struct keeper *k = ctx;
	struct rpc_credential of = {.guard = q->guard, .port = k->cfg.http_proxy.port, .slot = RULES_SLOT_PROXY};
	char buf[CONFIG_HOST_MAX];
	const char *host = config_proxy_host(&k->cfg, buf);
	int rc;

	if (!rpc_str_ok(q->host, sizeof(q->host)))
		return -EPROTO;
	memcpy(of.name, k->cfg.http_proxy_secret, sizeof(of.name));
	memcpy(of.host, host, strlen(host) + 1);
	rc = keeper_proxy_judge(k, q);
	if (rc < 0)
		return keeper_credential_no(k, &k->proxies[peer], m->id, &of, rc, 0, strerror(-rc));
	return keeper_value(k, peer, m->id, &of, k->cfg.http_proxy_workspace);
}

/* For the search of a response. Like keeper_judge(): the workspace is the guard's own, and it may ask that host at all. */
static int keeper_former_find(struct keeper *k, const struct rpc_former_ask *q, const struct former **ret)
{
	struct keeper_guard *g = q->guard ? keeper_guard_find(k, q->guard) : NULL;
	struct rules **doc = g ? keeper_doc(k, g->workspace) : NULL;
	const struct rules_rule *rule;
	enum reason why;

	if (!doc)
		return -EACCES;
	rule = rules_find(*doc, q->host, q->port, &why);
	if (!rule || rule->mode != RULES_INSPECT)
		return -EACCES;
	*ret = former_find(&k->formers, q->number, g->workspace, q->host);
	return *ret ? 0 : -ENOENT;
}

static int keeper_former_ask(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_former_ask *q = m->body;
	const struct former *o = NULL;
	struct rpc_done done = {0};
	struct keeper *k = ctx;

	if (!rpc_str_ok(q->host, sizeof(q->host)))
		return -EPROTO;
	done.rc = keeper_former_find(k, q, &o);
	done.tail_len = o ? (uint32_t)secret_len(o->value) : 0;
	return rpc_send(k->proxies[peer].peer.fd, RPC_CREDENTIAL_VALUE, m->id, &done, sizeof(done),
			o ? secret_view(o->value) : NULL, done.tail_len, -1);
}

static const struct rpc_row keeper_proxy_rows[] = {
	{RPC_LEAF_KEY, 0, CA_SPKI_MAX, RPC_ONCE, keeper_leaf_key},
	{RPC_SIGN_LEAF, sizeof(struct rpc_sign_leaf), 0, 0, keeper_sign_leaf},
	{RPC_CREDENTIAL, sizeof(struct rpc_credential), 0, 0, keeper_credential},
	{RPC_TOKEN_REPLY, sizeof(struct rpc_token_reply), TOKENRESP_MAX, 0, keeper_token_reply},
	{RPC_TOKEN_STALE, sizeof(struct rpc_token_stale), 0, 0, keeper_token_stale},
	{RPC_SIGN, sizeof(struct rpc_sign), RPC_TAIL_MAX, 0, keeper_sign},
	{RPC_FORMER_ASK, sizeof(struct rpc_former_ask), 0, 0, keeper_former_ask},
	{RPC_PROXY_PASSWORD, sizeof(struct rpc_proxy_password), 0, 0, keeper_proxy_password},
};

void keeper_on_proxy(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct keeper *k = ctx;
	struct keeper_proxy *p = &k->proxies[slot];
	int rc;

	(void)events;
	if (p->peer.fd < 0 || p->gen != gen)
		return;
	rc = rpc_serve(&p->peer, keeper_proxy_rows, ARRAY_SIZE(keeper_proxy_rows), k, k->buf,
		       KEEPER_BATCH);
	if (rc == 0)
		return;
	if (rc != -EPIPE)
		log_error("proxy%u broke the contract (%s); its channel is closed", slot,
			  strerror(-rc));
	keeper_proxy_end(k, p);
}
