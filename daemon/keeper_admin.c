/* keeper_admin.c: what the boss asks for: one request, one answer. */
#include "keeper_int.h"

#include "fdio.h"

#include <sodium.h>
#include <string.h>

#define KEEPER_AUDIT_CONTEXT "agentsecrets audit chain 1"

static bool keeper_ref_ok(const struct rpc_secret_ref *q)
{
	return rpc_str_ok(q->workspace, sizeof(q->workspace)) && rules_workspace_ok(q->workspace) &&
	       rpc_str_ok(q->name, sizeof(q->name)) && rules_name_ok(q->name);
}

/* Is there room for one more name: as many as a document can bind. */
static int keeper_count_names(const struct keeper *k, const struct rpc_secret_ref *q, struct err *e)
{
	size_t at = 0, n = 0;

	if (vault_has(k->vault, q->workspace, q->name))
		return 0;
	while (vault_name(k->vault, q->workspace, &at))
		n++;
	return n < RULES_SECRETS_MAX
		       ? 0
		       : err_set(e, -E2BIG, "workspace %s has %d secrets, the most there can be",
				 q->workspace, RULES_SECRETS_MAX);
}

int keeper_secret_set(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_secret_ref *q = m->body;
	auto_(secret) struct secret *value = NULL;
	struct keeper *k = ctx;
	struct err e = {0};
	int rc;

	(void)peer;
	if (!keeper_ref_ok(q))
		return -EPROTO;
	rc = keeper_need_vault(k, &e);
	if (rc == 0)
		rc = keeper_count_names(k, q, &e);
	if (rc == 0)
		rc = secret_read_fd(m->fd, RPC_SECRET_MAX, 0, KEEPER_VALUE_MS, &value, &e);
	if (rc == 0)
		rc = vault_set(k->vault, VAULTREC_SECRET, q->workspace, q->name, value, &e);
	if (rc == 0)
		keeper_warn(k);
	return keeper_answer(k, m, rc, &e, NULL, 0);
}

int keeper_secret_delete(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_secret_ref *q = m->body;
	struct keeper *k = ctx;
	struct err e = {0};
	int rc;

	(void)peer;
	if (!keeper_ref_ok(q))
		return -EPROTO;
	rc = keeper_need_vault(k, &e);
	if (rc == 0)
		rc = vault_delete(k->vault, q->workspace, q->name, &e);
	if (rc == 0)
		keeper_warn(k);
	return keeper_answer(k, m, rc, &e, NULL, 0);
}

int keeper_secret_list(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_secret_ref *q = m->body;
	auto_free char *names = malloc(RPC_TAIL_MAX);
	struct keeper *k = ctx;
	struct err e = {0};
	struct wr w = wr_of(names, RPC_TAIL_MAX);
	const char *name;
	size_t at = 0;
	int rc;

	(void)peer;
	if (!rpc_str_ok(q->workspace, sizeof(q->workspace)) || q->name[0])
		return -EPROTO;
	rc = names ? keeper_need_vault(k, &e) : err_set(&e, -ENOMEM, "out of memory");
	while (rc == 0 && (name = vault_name(k->vault, q->workspace, &at)))
		wr_bytes(&w, name, strlen(name) + 1);
	if (rc == 0 && w.full)
		rc = err_set(&e, -E2BIG, "the names of workspace %s do not fit in one answer",
			     q->workspace);
	return keeper_answer(k, m, rc, &e, names, w.len);
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
	struct keeper *k = ctx;
	struct err e = {0};
	int rc;

	(void)peer;
	if (!keeper_workspace_ok(q))
		return -EPROTO;
	rc = keeper_need_vault(k, &e);
	if (rc == 0)
		rc = vault_drop(k->vault, q->workspace, &e);
	if (rc == 0)
		keeper_warn(k);
	return keeper_answer(k, m, rc, &e, NULL, 0);
}

int keeper_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;

	(void)peer;
	return rpc_send(k->boss.fd, RPC_STATS, m->id, &k->stats, sizeof(k->stats), NULL, 0, -1);
}
