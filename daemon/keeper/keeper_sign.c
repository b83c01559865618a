/* keeper_sign.c: secrets that sign: kinds aws and hmac. The keys stay here; what goes out are signatures, and of aws the
 * access key's id and the session's token, which requests carry in the clear.
 *
 * The proxy has judged, and says what it will forward by a hash alone; what it may ask for is bound here again: guard,
 * name, host, port and slot, the parameters region and service, and a time that is about now.
 */
#include "keeper_read.h"

#include "hmac.h"
#include "log.h"
#include "parts.h"
#include "sigv4.h"

#include <stdlib.h>
#include <string.h>

/* One question, until its value is here. */
struct keeper_signing {
	struct keeper_read read;
	struct keeper *k;
	struct rpc_sign q;
	const struct rules_secret *s; /* good during the call that set it only */
	uint32_t proxy, id;
	uint16_t gen, op;
	size_t message_len;
	uint8_t message[];
};

static void keeper_signing_answer(struct keeper_signing *x, int rc, const void *tail, size_t len)
{
	struct keeper_proxy *p = &x->k->proxies[x->proxy];
	struct rpc_done done = {.rc = rc, .tail_len = (uint32_t)len};

	if (p->peer.fd >= 0 && p->gen == x->gen &&
	    rpc_send(p->peer.fd, x->op, x->id, &done, sizeof(done), tail, len, -1) < 0) {
		log_error("proxy%u takes no answers; its channel is closed", x->proxy);
		keeper_proxy_end(x->k, p);
	}
	explicit_bzero(x->message, x->message_len);
	free(x);
}

/* The secret as the document has it now; it may have changed while the value was on its way. */
static const struct rules_secret *keeper_signing_secret(struct keeper_signing *x)
{
	return keeper_judge(x->k, &x->q.of, &x->s) == 0 ? x->s : NULL;
}

/* id, or id LF token. */
static size_t keeper_identity(const struct parts *p, uint8_t *out, size_t cap)
{
	struct wr w = wr_of(out, cap);

	wr_bytes(&w, p->at[0].p, p->at[0].len);
	if (p->at[2].p) {
		wr_u8(&w, '\n');
		wr_bytes(&w, p->at[2].p, p->at[2].len);
	}
	return w.full ? 0 : w.len;
}

static int keeper_sign_aws(const struct rules_secret *s, const struct parts *p,
			   const struct rpc_sign *q, char hex[65])
{
	const char *region = kind_param(s->params, "region"),
		   *service = kind_param(s->params, "service");
	struct sigv4_scope c;
	int64_t now = (int64_t)(loop_wall_ns() / 1000000000), then;

	memcpy(c.time, q->time, sizeof(c.time));
	memcpy(c.region, q->region, sizeof(c.region));
	memcpy(c.service, q->service, sizeof(c.service));
	then = sigv4_seconds(c.time);
	if ((region && strcmp(region, c.region) != 0) ||
	    (service && strcmp(service, c.service) != 0))
		return -EACCES;
	/* A presigned request may be a week old, and is its agent's own business until then. */
	if (then > now + SIGV4_SKEW_S || then < now - SIGV4_EXPIRES_MAX)
		return -EKEYEXPIRED;
	sigv4_sign(p->at[1].p, p->at[1].len, &c, (enum sigv4_what)q->what, q->hash, q->before, hex);
	return 0;
}

static void keeper_signing_done(struct keeper_signing *x, const struct rules_secret *s,
				const struct parts *p)
{
	uint8_t out[PARTS_ONE_MAX + 256];
	size_t len = 0;
	int rc = 0;

	if (x->op == RPC_CREDENTIAL_VALUE) {
		len = keeper_identity(p, out, sizeof(out));
		rc = len ? 0 : -E2BIG;
	} else if (s->kind == KIND_AWS) {
		rc = keeper_sign_aws(s, p, &x->q, (char *)out);
		len = rc < 0 ? 0 : SIGV4_HEX_LEN;
	} else {
		rc = hmac_value(s->params, p->at[0].p, p->at[0].len, x->message, x->message_len,
				x->q.at_ms, (char *)out, sizeof(out), &len);
	}
	keeper_signing_answer(x, rc, rc < 0 ? NULL : out, rc < 0 ? 0 : len);
	explicit_bzero(out, sizeof(out));
}

static void keeper_signing_on(struct keeper_read *r)
{
	struct keeper_signing *x = (struct keeper_signing *)r;
	auto_(secret) struct secret *value = take(r->value);
	const struct rules_secret *s = keeper_signing_secret(x);
	auto_parts struct parts parts = {0};
	struct err e = {0};
	int rc = r->rc < 0 ? r->rc : s ? parts_open(s->kind, value, &parts, &e) : -EACCES;

	if (rc < 0) {
		log_warn("%s of workspace %s does not sign: %s", x->q.of.name, r->ask.workspace,
			 r->rc < 0   ? r->why.text
			 : e.text[0] ? e.text
				     : "the document has changed");
		keeper_signing_answer(x, rc, NULL, 0);
		return;
	}
	keeper_signing_done(x, s, &parts);
}

static int keeper_signing_start(struct keeper *k, uint32_t peer, uint32_t id, uint16_t op,
				const struct rpc_sign *q, const uint8_t *message, size_t len,
				const char *workspace)
{
	struct keeper_signing *x = calloc(1, sizeof(*x) + len);

	if (!x)
		return -ENOMEM;
	x->k = k;
	x->q = *q;
	x->proxy = peer;
	x->id = id;
	x->gen = k->proxies[peer].gen;
	x->op = op;
	x->message_len = len;
	if (len)
		memcpy(x->message, message, len);
	keeper_read(k, &x->read, BACKEND_READ, workspace, q->of.name, NULL, keeper_signing_on);
	return 0;
}

int keeper_identity_start(struct keeper *k, uint32_t peer, uint32_t id,
			  const struct rpc_credential *of, const char *workspace)
{
	const struct rpc_sign q = {.of = *of};

	return keeper_signing_start(k, peer, id, RPC_CREDENTIAL_VALUE, &q, NULL, 0, workspace);
}

static bool keeper_sign_ok(const struct rpc_sign *q)
{
	struct sigv4_scope c;

	if (!keeper_credential_ok(&q->of) || q->what > SIGV4_TRAILER)
		return false;
	if (q->of.slot != RULES_SLOT_SIGN)
		return true;
	memcpy(c.time, q->time, sizeof(c.time));
	memcpy(c.region, q->region, sizeof(c.region));
	memcpy(c.service, q->service, sizeof(c.service));
	return sigv4_scope_ok(&c);
}

int keeper_sign(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_sign *q = m->body;
	const struct rules_secret *s = NULL;
	struct keeper *k = ctx;
	struct rpc_done done = {0};

	if (!keeper_sign_ok(q))
		return -EPROTO;
	done.rc = keeper_judge(k, &q->of, &s);
	if (done.rc == 0 && s->kind != KIND_AWS && s->kind != KIND_HMAC)
		done.rc = -EACCES;
	if (done.rc < 0)
		return rpc_send(k->proxies[peer].peer.fd, RPC_SIGNED, m->id, &done, sizeof(done),
				NULL, 0, -1);
	return keeper_signing_start(k, peer, m->id, RPC_SIGNED, q, m->tail, m->tail_len,
				    keeper_workspace_of(k, q->of.guard));
}
