/* keeper_admin.c: what the boss asks for: one request, one answer. */
#include "keeper_int.h"

#include "fdio.h"
#include "keeper_token.h"
#include "log.h"
#include "parts.h"

#include <sodium.h>
#include <string.h>

#define KEEPER_AUDIT_CONTEXT "agentsecrets audit chain 1"

static bool keeper_ref_ok(const struct rpc_secret_ref *q)
{
	return rpc_str_ok(q->workspace, sizeof(q->workspace)) && rules_workspace_ok(q->workspace) &&
	       rpc_str_ok(q->name, sizeof(q->name)) && rules_name_ok(q->name);
}

/* A question of the boss that its values' place answers, perhaps later. */
struct keeper_asked {
	struct backend_ask ask;
	struct keeper *k;
	uint32_t id;
	struct secret *value;
	struct secret *old; /* SET: what it replaces */
};

/* The value in the vault that is about to be replaced by another; NULL: none. One that cannot be read was not sent lately. */
static struct secret *keeper_replaced(const struct keeper *k, const char *workspace, const char *name,
				      const struct secret *value)
{
	auto_(secret) struct secret *old = NULL;
	struct err e = {0};

	if (!k->vault || !backend_is_file(&k->backends, workspace) || !vault_has(k->vault, workspace, name) ||
	    vault_read(k->vault, VAULTREC_SECRET, workspace, name, &old, &e) < 0 ||
	    secret_same(old, secret_view(value), secret_len(value)))
		return NULL;
	return take(old);
}

/* Before the answer, and so before any proxy is given the new value. */
static void keeper_tell_replaced(struct keeper *k, const char *workspace, const char *name, struct secret **old)
{
	struct rules **doc = keeper_doc(k, workspace);
	const struct rules_secret *s = doc ? rules_secret(*doc, name) : NULL;

	if (s && s->host_count > 0)
		keeper_former(k, workspace, s->hosts, s->host_count, old);
}

static void keeper_on_asked(struct backend_ask *a, struct backend_answer *r)
{
	struct keeper_asked *x = (struct keeper_asked *)a;
	struct rpc_msg m = {.id = x->id};
	struct err e = {0};
	int rc;

	(void)err_set(&e, r->rc, "%s", r->why);
	if (r->rc == 0 && a->op != BACKEND_LIST && backend_is_file(&x->k->backends, a->workspace))
		keeper_warn(x->k);
	if (r->rc == 0 && a->op != BACKEND_LIST && a->op != BACKEND_READ)
		keeper_tokens_forget(x->k, a->workspace, a->op == BACKEND_DROP ? NULL : a->name);
	if (r->rc == 0 && a->op == BACKEND_SET)
		keeper_tell_replaced(x->k, a->workspace, a->name, &x->old);
	if (r->rc == 0 && (a->op == BACKEND_SET || a->op == BACKEND_DELETE))
		keeper_prints(x->k, a->workspace, NULL);
	rc = keeper_answer(x->k, &m, r->rc, &e, r->names, r->names_len);
	if (rc < 0) /* the daemon itself is gone, which the loop sees too */
		log_error("an answer was not taken: %s", strerror(-rc));
	secret_free(x->value);
	secret_free(x->old);
	free(x);
}

/* value: taken over; good while it is asked. */
static int keeper_pass_on(struct keeper *k, const struct rpc_msg *m, enum backend_op op,
			  const char *workspace, const char *name, struct secret **value)
{
	struct keeper_asked *x = calloc(1, sizeof(*x));
	struct err e = {0};

	if (!x)
		return keeper_answer(k, m, err_set(&e, -ENOMEM, "out of memory"), &e, NULL, 0);
	x->k = k;
	x->id = m->id;
	x->value = value ? take(*value) : NULL;
	x->old = op == BACKEND_SET ? keeper_replaced(k, workspace, name, x->value) : NULL;
	x->ask.op = op;
	x->ask.value = x->value;
	x->ask.fn = keeper_on_asked;
	memcpy(x->ask.workspace, workspace, sizeof(x->ask.workspace));
	memcpy(x->ask.name, name, strlen(name) + 1);
	backend_ask(&k->backends, &x->ask);
	return 0;
}

int keeper_secret_set(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_secret_ref *q = m->body;
	auto_(secret) struct secret *value = NULL;
	auto_parts struct parts parts = {0};
	struct keeper *k = ctx;
	struct err e = {0};
	int rc;

	(void)peer;
	if (!keeper_ref_ok(q) || q->kind >= KIND_COUNT)
		return -EPROTO;
	rc = secret_read_fd(m->fd, RPC_SECRET_MAX, q->kind || q->lines ? SECRET_MULTILINE : 0, KEEPER_VALUE_MS, &value, &e);
	if (rc == 0 && q->kind)
		rc = parts_open((enum kind)q->kind, value, &parts, &e);
	return rc < 0 ? keeper_answer(k, m, rc, &e, NULL, 0)
		      : keeper_pass_on(k, m, BACKEND_SET, q->workspace, q->name, &value);
}

int keeper_secret_delete(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_secret_ref *q = m->body;

	(void)peer;
	if (!keeper_ref_ok(q))
		return -EPROTO;
	return keeper_pass_on(ctx, m, BACKEND_DELETE, q->workspace, q->name, NULL);
}

int keeper_secret_list(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_secret_ref *q = m->body;

	(void)peer;
	if (!rpc_str_ok(q->workspace, sizeof(q->workspace)) || q->name[0])
		return -EPROTO;
	return keeper_pass_on(ctx, m, BACKEND_LIST, q->workspace, "", NULL);
}

/* One version is one document: what is in force is never signed again with other bytes. */
static int keeper_sign_fresh(struct keeper *k, const struct rules *r, struct err *e)
{
	struct rules **slot = keeper_doc(k, r->workspace);

	if (slot && (*slot)->version >= r->version)
		return err_set(e, -ESTALE,
			       "version %llu of workspace %s is not newer than what is in force",
			       (unsigned long long)r->version, r->workspace);
	return 0;
}

int keeper_sign_doc(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_workspace *q = m->body;
	auto_(rules) struct rules *r = NULL;
	auto_free char *text = NULL;
	uint8_t sig[SIGN_SIG_LEN] = {0};
	struct keeper *k = ctx;
	struct err e = {0};
	int rc;

	(void)peer;
	if (!keeper_workspace_ok(q))
		return -EPROTO;
	rc = keeper_need_vault(k, &e);
	if (rc == 0) {
		rc = fdio_memfd_read(m->fd, (size_t)q->doc_len, &text);
		if (rc < 0)
			(void)err_set(&e, rc, "cannot read the document: %s", strerror(-rc));
	}
	if (rc == 0)
		rc = keeper_read_doc(q, text, &r, &e);
	if (rc == 0)
		rc = keeper_sign_fresh(k, r, &e);
	if (rc == 0) {
		rc = sign_make(secret_view(k->signing_key), text, (size_t)q->doc_len, sig);
		if (rc < 0)
			(void)err_set(&e, rc, "cannot sign the document");
	}
	return keeper_answer(k, m, rc, &e, sig, sizeof(sig));
}

int keeper_ca_cert(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;
	struct err e = {0};
	const uint8_t *der = NULL;
	size_t len = 0;
	int rc = keeper_need_vault(k, &e);

	(void)peer;
	if (rc == 0)
		der = ca_cert(k->ca, &len);
	return keeper_answer(k, m, rc, &e, der, len);
}

int keeper_sign_key(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;
	struct err e = {0};
	int rc = keeper_need_vault(k, &e);

	(void)peer;
	return keeper_answer(k, m, rc, &e, k->public_key, sizeof(k->public_key));
}

/* The first key of the chain of (writer, epoch). */
int keeper_audit_derive(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_audit_key *q = m->body;
	uint8_t said[sizeof(KEEPER_AUDIT_CONTEXT) + sizeof(q->writer) + sizeof(q->epoch)];
	struct wr w = wr_of(said, sizeof(said));
	char writer[sizeof(q->writer)] = {0};
	uint8_t key[32];
	struct keeper *k = ctx;
	struct err e = {0};
	int rc;

	(void)peer;
	if (!rpc_str_ok(q->writer, sizeof(q->writer)))
		return -EPROTO;
	rc = keeper_need_vault(k, &e);
	if (rc < 0)
		return keeper_answer(k, m, rc, &e, NULL, 0);
	memcpy(writer, q->writer, strlen(q->writer)); /* zero-padded, whatever came after the NUL */
	wr_bytes(&w, KEEPER_AUDIT_CONTEXT, sizeof(KEEPER_AUDIT_CONTEXT));
	wr_bytes(&w, writer, sizeof(writer));
	wr_bytes(&w, q->epoch, sizeof(q->epoch));
	(void)crypto_generichash(key, sizeof(key), said, w.len, secret_view(k->audit_key),
				 secret_len(k->audit_key));
	rc = keeper_answer(k, m, 0, &e, key, sizeof(key));
	sodium_memzero(key, sizeof(key));
	return rc;
}

int keeper_workspace_drop(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_workspace *q = m->body;

	(void)peer;
	if (!keeper_workspace_ok(q))
		return -EPROTO;
	return keeper_pass_on(ctx, m, BACKEND_DROP, q->workspace, "", NULL);
}

int keeper_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;

	(void)peer;
	return rpc_send(k->boss.fd, RPC_STATS, m->id, &k->stats, sizeof(k->stats), NULL, 0, -1);
}
