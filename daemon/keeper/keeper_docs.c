/* keeper_docs.c: what the keeper knows beside the vault: each workspace's signed document, checked again with the
 * vault's own key, and which guard belongs to which workspace.
 */
#include "keeper_int.h"

#include "fdio.h"
#include "log.h"

#include <string.h>

struct rules **keeper_doc(struct keeper *k, const char *workspace)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(k->docs); i++)
		if (k->docs[i] && strcmp(k->docs[i]->workspace, workspace) == 0)
			return &k->docs[i];
	return NULL;
}

static struct rules **keeper_doc_room(struct keeper *k)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(k->docs); i++)
		if (!k->docs[i])
			return &k->docs[i];
	return NULL;
}

struct keeper_guard *keeper_guard_find(struct keeper *k, uint64_t id)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(k->guards); i++)
		if (k->guards[i].id == id)
			return &k->guards[i];
	return NULL;
}

/* Reads a document of the message's memfd and checks that it is the one the message names. */
int keeper_read_doc(const struct rpc_workspace *q, const char *text, struct rules **ret,
		    struct err *e)
{
	auto_(rules) struct rules *r = NULL;
	int rc = rules_parse(text, (size_t)q->doc_len, true, &r, e);

	if (rc < 0)
		return rc;
	if (strcmp(r->workspace, q->workspace) != 0 || r->version != q->version)
		return err_set(e, -EBADMSG, "the document is of workspace %s, version %llu",
			       r->workspace, (unsigned long long)r->version);
	*ret = take(r);
	return 0;
}

static int keeper_doc_verified(struct keeper *k, const struct rpc_workspace *q, int fd,
			       struct rules **ret, struct err *e)
{
	auto_free char *text = NULL;
	int rc = keeper_need_vault(k, e);

	if (rc < 0)
		return rc;
	rc = fdio_memfd_read(fd, (size_t)q->doc_len + SIGN_SIG_LEN, &text);
	if (rc < 0)
		return err_set(e, rc, "its memory file: %s", strerror(-rc));
	rc = sign_verify(k->public_key, text, (size_t)q->doc_len,
			 (const uint8_t *)text + q->doc_len);
	if (rc < 0)
		return err_set(e, rc, "it is not signed with this vault's key");
	return keeper_read_doc(q, text, ret, e);
}

/* What the old document let go to a host and the new one does not, the host may say again. */
static void keeper_unbound(struct keeper *k, const struct rules *was, const struct rules *now)
{
	uint32_t i, count;

	if (!k->vault || !backend_is_file(&k->backends, was->workspace))
		return;
	for (i = 0; i < was->secret_count; i++) {
		const struct rules_secret *s = &was->secrets[i];
		auto_free char(*hosts)[RPC_HOST_MAX] = NULL;
		auto_(secret) struct secret *value = NULL;
		struct err e = {0};
		int rc = former_hosts(s, rules_secret(now, s->name), &hosts, &count);

		if (rc == 0 && count == 0)
			continue;
		if (rc == 0)
			rc = vault_read(k->vault, VAULTREC_SECRET, was->workspace, s->name, &value, &e);
		if (rc == 0)
			keeper_former(k, was->workspace, hosts, count, &value);
		else if (rc != -ENOENT)
			log_warn("%s of %s: responses of hosts that it went to are not searched for it any more: %s", s->name,
				 was->workspace, strerror(-rc));
	}
}

static int keeper_doc_put(struct keeper *k, struct rules **r, struct err *e)
{
	struct rules **slot = keeper_doc(k, (*r)->workspace);

	if (slot && (*slot)->version > (*r)->version)
		return err_set(e, -ESTALE, "version %llu is older than %llu",
			       (unsigned long long)(*r)->version,
			       (unsigned long long)(*slot)->version);
	if (!slot)
		slot = keeper_doc_room(k);
	if (!slot)
		return err_set(e, -ENOSPC, "there are %d workspaces already",
			       KEEPER_WORKSPACES_MAX);
	if (*slot)
		keeper_unbound(k, *slot, *r);
	*slot = rules_free(*slot);
	*slot = take(*r);
	return 0;
}

bool keeper_workspace_ok(const struct rpc_workspace *q)
{
	return rpc_str_ok(q->workspace, sizeof(q->workspace)) && rules_workspace_ok(q->workspace) &&
	       q->doc_len <= RPC_DOC_MAX;
}

int keeper_workspace(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_workspace *q = m->body;
	auto_(rules) struct rules *r = NULL;
	struct keeper *k = ctx;
	struct err e = {0};
	int rc;

	(void)peer;
	if (!keeper_workspace_ok(q))
		return -EPROTO;
	rc = keeper_doc_verified(k, q, m->fd, &r, &e);
	if (rc == 0)
		rc = keeper_doc_put(k, &r, &e);
	if (rc == 0)
		keeper_prints(k, q->workspace, NULL);
	if (rc < 0)
		log_error("document of workspace %s refused, what was in force stays: %s",
			  q->workspace, e.text);
	return 0;
}

int keeper_workspace_gone(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_workspace *q = m->body;
	struct keeper *k = ctx;
	struct rules **slot;

	(void)peer;
	if (!keeper_workspace_ok(q))
		return -EPROTO;
	slot = keeper_doc(k, q->workspace);
	if (slot)
		*slot = rules_free(*slot);
	formers_drop(&k->formers, q->workspace);
	return 0;
}

int keeper_guard(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_guard *q = m->body;
	struct keeper *k = ctx;
	struct keeper_guard *g;

	(void)peer;
	if (q->guard == 0 || !rpc_str_ok(q->workspace, sizeof(q->workspace)))
		return -EPROTO;
	g = keeper_guard_find(k, q->guard);
	if (!g) {
		g = keeper_guard_find(k, 0);
		if (!g) {
			log_error("too many guards; guard %llu gets no credentials",
				  (unsigned long long)q->guard);
			return 0;
		}
		*g = (struct keeper_guard){.id = q->guard,
					   .mint_ms = loop_now_ms(),
					   .mint_milli = KEEPER_MINT_BURST * 1000};
	}
	memcpy(g->workspace, q->workspace, sizeof(g->workspace));
	return 0;
}

int keeper_guard_gone(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_guard *q = m->body;
	struct keeper *k = ctx;
	struct keeper_guard *g = q->guard ? keeper_guard_find(k, q->guard) : NULL;

	(void)peer;
	if (g)
		*g = (struct keeper_guard){0};
	return 0;
}
