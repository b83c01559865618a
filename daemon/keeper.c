/* keeper.c: the process that holds the vault, the CA's key and the signing key, and opens no socket.
 *
 * Start: nothing is read but the boss's messages; the vault's directory comes as a descriptor. OpenSSL and
 * libsodium do here what needs files or fresh system calls. Drop takes root and every capability away;
 * the directory, which belongs to the keeper's user, must still be writable. Lock takes every system call
 * away but those of the loop, of memory, and of files in that one directory.
 *
 * Two kinds of peers, two tables. The boss administers; the keeper believes it, but checks every
 * document's signature again with its own key. A proxy is not believed: it names a guard, a secret, a
 * host, a port and a slot, and each is looked up here, in what the boss said and what was signed, before
 * the vault is touched. The answer to all that is not allowed is a number without a text. A proxy that
 * breaks the contract is closed, alone.
 *
 * A value lives here from the moment its record is opened until it has been handed to sendmsg(2).
 */
#include "child.h"

#include "../bpf/egress.h"
#include "ca.h"
#include "fdio.h"
#include "log.h"
#include "loop.h"
#include "origin.h"
#include "rules.h"
#include "sandbox.h"
#include "secret.h"
#include "sign.h"
#include "vault.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define KEEPER_WORKSPACES_MAX 256
#define KEEPER_VALUE_MS       8000 /* for a value to come through its pipe; the parent waits 10 s */
#define KEEPER_MINT_BURST     50   /* leaves of one guard at once */
#define KEEPER_MINT_PER_S     10   /* and per second after that */
#define KEEPER_BATCH          32   /* messages of one peer per turn */
#define KEEPER_TELL_MS        1000 /* refusals are logged once in this time per proxy */
#define KEEPER_AUDIT_CONTEXT  "agentsecrets audit chain 1"

enum keeper_kind { KEEPER_BOSS = 1, KEEPER_PROXY };

struct keeper_proxy {
	struct rpc_peer peer; /* fd -1: none */
	uint16_t gen;
	struct ca_spki *leaf_key;
	uint64_t refused, told_ms;
};

struct keeper_guard {
	uint64_t id; /* 0: free */
	char workspace[RPC_WORKSPACE_MAX];
	uint64_t mint_ms;    /* when mint_milli was right */
	uint32_t mint_milli; /* thousandths of a leaf that may be minted */
};

struct keeper {
	struct config cfg;
	bool configured, go;
	struct loop loop;
	struct rpc_peer boss;
	int vault_dir;
	struct vault *vault; /* NULL: not opened; then the four below are empty too */
	struct secret *signing_key, *audit_key;
	struct ca *ca;
	uint8_t public_key[SIGN_PUBLIC_LEN];
	struct rules *docs[KEEPER_WORKSPACES_MAX];
	struct keeper_guard guards[EG_GUARDS_MAX];
	struct keeper_proxy proxies[CONFIG_WORKERS_MAX];
	struct rpc_stats stats;
	uint8_t buf[RPC_BUF] __attribute__((aligned(8)));
};

/* ---- what is known ---- */

static struct rules **keeper_doc(struct keeper *k, const char *workspace)
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

static struct keeper_guard *keeper_guard_find(struct keeper *k, uint64_t id)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(k->guards); i++)
		if (k->guards[i].id == id)
			return &k->guards[i];
	return NULL;
}

/* ---- answers to the boss ---- */

static int keeper_answer(struct keeper *k, const struct rpc_msg *m, int rc, const struct err *e,
			 const void *tail, size_t len)
{
	struct rpc_done done = {.rc = rc};

	if (rc < 0) {
		tail = e->text;
		len = strlen(e->text);
	}
	done.tail_len = (uint32_t)len;
	return rpc_send(k->boss.fd, RPC_ADMIN_DONE, m->id, &done, sizeof(done), tail, len, -1);
}

static int keeper_need_vault(const struct keeper *k, struct err *e)
{
	return k->vault
		       ? 0
		       : err_set(e, -ENOKEY,
				 "the vault is not open; if there is none, run: agentsecrets init");
}

/* After each change of the vault. */
static void keeper_warn(const struct keeper *k)
{
	if (vault_warning(k->vault))
		log_warn("%s", vault_warning(k->vault));
}

/* ---- the vault ---- */

/* What the keeper needs at hand is taken out; the vault is taken up only when all of it is there. */
static int keeper_take_vault(struct keeper *k, struct vault **v, struct err *e)
{
	auto_(secret) struct secret *sign = NULL;
	auto_(secret) struct secret *audit = NULL;
	auto_(secret) struct secret *saved = NULL;
	auto_(ca) struct ca *ca = NULL;
	int rc = vault_read(*v, VAULTREC_SIGNING_KEY, "", "", &sign, e);

	if (rc == 0)
		rc = vault_read(*v, VAULTREC_AUDIT, "", "", &audit, e);
	if (rc == 0)
		rc = vault_read(*v, VAULTREC_CA, "", "", &saved, e);
	if (rc == 0)
		rc = ca_load(secret_view(saved), secret_len(saved), &ca, e);
	if (rc == 0 && (secret_len(sign) != SIGN_KEY_LEN || secret_len(audit) != VAULTREC_KEY_LEN))
		rc = err_set(e, -EBADMSG, "the vault's own keys have a wrong length");
	if (rc < 0)
		return err_in(e, rc, "the vault opens, but is not complete");
	k->vault = vault_free(k->vault);
	k->signing_key = secret_free(k->signing_key);
	k->audit_key = secret_free(k->audit_key);
	k->ca = ca_free(k->ca);
	sign_public(secret_view(sign), k->public_key);
	if (!secret_locked(sign))
		log_warn(
			"RLIMIT_MEMLOCK is used up: secrets may be swapped to disk; raise LimitMEMLOCK");
	k->vault = take(*v);
	k->signing_key = take(sign);
	k->audit_key = take(audit);
	k->ca = take(ca);
	return 0;
}

static int keeper_random(size_t len, struct secret **ret, struct err *e)
{
	struct secret *s = NULL;
	int rc = secret_new(len, &s, e);

	if (rc < 0)
		return rc;
	randombytes_buf(secret_bytes(s), len);
	*ret = s;
	return 0;
}

static int keeper_new_signing_key(struct secret **ret, struct err *e)
{
	auto_(secret) struct secret *s = NULL;
	uint8_t pub[SIGN_PUBLIC_LEN];
	int rc = secret_new(SIGN_KEY_LEN, &s, e);

	if (rc < 0)
		return rc;
	if (sign_keypair(pub, secret_bytes(s)) < 0)
		return err_set(e, -EIO, "cannot make a signing key");
	*ret = take(s);
	return 0;
}

static int keeper_new_ca(struct secret **ret, struct err *e)
{
	auto_(ca) struct ca *ca = NULL;
	int rc = ca_new((int64_t)(loop_wall_ns() / 1000000000), &ca, e);

	return rc < 0 ? rc : ca_save(ca, ret, e);
}

static int keeper_make_vault(struct keeper *k, const struct secret *key, struct vault **ret,
			     struct err *e)
{
	auto_(secret) struct secret *sign = NULL;
	auto_(secret) struct secret *audit = NULL;
	auto_(secret) struct secret *ca = NULL;
	int rc = keeper_new_signing_key(&sign, e);

	if (rc == 0)
		rc = keeper_random(VAULTREC_KEY_LEN, &audit, e);
	if (rc == 0)
		rc = keeper_new_ca(&ca, e);
	if (rc == 0) {
		const struct vault_item items[] = {
			{VAULTREC_SIGNING_KEY, sign}, {VAULTREC_CA, ca}, {VAULTREC_AUDIT, audit}};

		rc = vault_create(k->vault_dir, key, items, ARRAY_SIZE(items), NULL, ret, e);
	}
	return rc;
}

static int keeper_vault_init(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_admin *q = m->body;
	auto_(secret) struct secret *key = NULL;
	auto_(vault) struct vault *v = NULL;
	struct keeper *k = ctx;
	struct err e = {0};
	int rc = 0;

	(void)peer;
	if (q->vault_key_fd_kind != 0 || k->vault_dir < 0)
		return -EPROTO;
	if (k->vault)
		rc = err_set(&e, -EEXIST, "there is a vault already; nothing was touched");
	if (rc == 0)
		rc = keeper_random(VAULT_KEY_LEN, &key, &e);
	if (rc == 0)
		rc = keeper_make_vault(k, key, &v, &e);
	if (rc == 0)
		rc = keeper_take_vault(k, &v, &e);
	if (rc < 0)
		return keeper_answer(k, m, rc, &e, NULL, 0);
	keeper_warn(k);
	return keeper_answer(k, m, 0, &e, secret_view(key), secret_len(key));
}

static int keeper_vault_open(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_admin *q = m->body;
	auto_(secret) struct secret *key = NULL;
	auto_(vault) struct vault *v = NULL;
	struct keeper *k = ctx;
	struct err e = {0};
	int rc;

	(void)peer;
	if (q->vault_key_fd_kind != 0 || k->vault_dir < 0)
		return -EPROTO;
	rc = secret_read_fd(m->fd, VAULT_KEY_LEN, SECRET_RAW, KEEPER_VALUE_MS, &key, &e);
	if (rc < 0)
		(void)err_in(&e, rc, "the key file");
	if (rc == 0)
		rc = vault_open(k->vault_dir, key, NULL, &v, &e);
	if (rc == 0)
		rc = keeper_take_vault(k, &v, &e);
	return keeper_answer(k, m, rc, &e, NULL, 0);
}

/* ---- documents and guards ---- */

/* Reads a document of the message's memfd and checks that it is the one the message names. */
static int keeper_read_doc(const struct rpc_workspace *q, const char *text, struct rules **ret,
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
	*slot = rules_free(*slot);
	*slot = take(*r);
	return 0;
}

static bool keeper_workspace_ok(const struct rpc_workspace *q)
{
	return rpc_str_ok(q->workspace, sizeof(q->workspace)) && rules_workspace_ok(q->workspace) &&
	       q->doc_len <= RPC_DOC_MAX;
}

static int keeper_workspace(void *ctx, uint32_t peer, struct rpc_msg *m)
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
	if (rc < 0)
		log_error("document of workspace %s refused, what was in force stays: %s",
			  q->workspace, e.text);
	return 0;
}

static int keeper_workspace_gone(void *ctx, uint32_t peer, struct rpc_msg *m)
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
	return 0;
}

static int keeper_guard(void *ctx, uint32_t peer, struct rpc_msg *m)
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

static int keeper_guard_gone(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_guard *q = m->body;
	struct keeper *k = ctx;
	struct keeper_guard *g = q->guard ? keeper_guard_find(k, q->guard) : NULL;

	(void)peer;
	if (g)
		*g = (struct keeper_guard){0};
	return 0;
}

/* ---- administration ---- */

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

static int keeper_secret_set(void *ctx, uint32_t peer, struct rpc_msg *m)
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

static int keeper_secret_delete(void *ctx, uint32_t peer, struct rpc_msg *m)
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

static int keeper_secret_list(void *ctx, uint32_t peer, struct rpc_msg *m)
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

static int keeper_sign_doc(void *ctx, uint32_t peer, struct rpc_msg *m)
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

static int keeper_ca_cert(void *ctx, uint32_t peer, struct rpc_msg *m)
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

static int keeper_sign_key(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;
	struct err e = {0};
	int rc = keeper_need_vault(k, &e);

	(void)peer;
	return keeper_answer(k, m, rc, &e, k->public_key, sizeof(k->public_key));
}

/* The first key of the chain of (writer, epoch). */
static int keeper_audit_derive(void *ctx, uint32_t peer, struct rpc_msg *m)
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

static int keeper_workspace_drop(void *ctx, uint32_t peer, struct rpc_msg *m)
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

static int keeper_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;

	(void)peer;
	return rpc_send(k->boss.fd, RPC_STATS, m->id, &k->stats, sizeof(k->stats), NULL, 0, -1);
}

/* ---- proxies ---- */

static void keeper_proxy_end(struct keeper *k, struct keeper_proxy *p)
{
	if (p->peer.fd < 0)
		return;
	loop_forget(&k->loop, p->peer.fd);
	own_close(&p->peer.fd);
	p->leaf_key = ca_spki_free(p->leaf_key);
	p->gen++;
}

static int keeper_proxy_wire(struct keeper *k, uint32_t index, int *fd)
{
	struct keeper_proxy *p;
	struct loop_key key = {.kind = KEEPER_PROXY, .slot = index};

	if (index >= CONFIG_WORKERS_MAX)
		return -EPROTO;
	p = &k->proxies[index];
	keeper_proxy_end(k, p);
	key.gen = p->gen;
	p->peer = (struct rpc_peer){.fd = take_fd(fd), .number = index};
	return loop_watch(&k->loop, p->peer.fd, key, EPOLLIN);
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
	return slot != 0 && (slot & (slot - 1)) == 0 && (slot & ~RULES_SLOTS_ALL) == 0;
}

/* May this credential go out; *ret_workspace is the guard's own then. */
static int keeper_judge(struct keeper *k, const struct rpc_credential *q,
			const char **ret_workspace)
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
	*ret_workspace = g->workspace;
	return 0;
}

static int keeper_read(struct keeper *k, const struct rpc_credential *q, struct secret **ret)
{
	const char *workspace = NULL;
	struct err e = {0};
	int rc = keeper_judge(k, q, &workspace);

	if (rc < 0)
		return rc;
	if (!k->vault)
		return -ENOKEY;
	rc = vault_read(k->vault, VAULTREC_SECRET, workspace, q->name, ret, &e);
	if (rc < 0 && rc != -ENOENT)
		log_error("cannot read %s of %s: %s; refused", q->name, workspace, e.text);
	if (rc == 0)
		k->stats.vault_reads++;
	return rc;
}

/* The proxy asks only for what its own rules allow: a refusal here means that the two differ. */
static void keeper_tell_refused(struct keeper *k, struct keeper_proxy *p,
				const struct rpc_credential *q, int rc)
{
	p->refused++;
	if (p->told_ms && k->loop.now_ms - p->told_ms < KEEPER_TELL_MS)
		return;
	log_warn("proxy%u: %s for %s:%u in guard %llu refused (%s); %llu refused so far",
		 p->peer.number, q->name, q->host, q->port, (unsigned long long)q->guard,
		 strerror(-rc), (unsigned long long)p->refused);
	p->told_ms = k->loop.now_ms;
}

static int keeper_credential(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_credential *q = m->body;
	auto_(secret) struct secret *value = NULL;
	struct rpc_done done = {0};
	struct keeper *k = ctx;
	struct keeper_proxy *p = &k->proxies[peer];

	if (!rpc_str_ok(q->name, sizeof(q->name)) || !rpc_str_ok(q->host, sizeof(q->host)) ||
	    !keeper_slot_ok(q->slot))
		return -EPROTO;
	done.rc = keeper_read(k, q, &value);
	if (done.rc < 0) {
		keeper_tell_refused(k, p, q, done.rc);
		return rpc_send(p->peer.fd, RPC_CREDENTIAL_VALUE, m->id, &done, sizeof(done), NULL,
				0, -1);
	}
	done.tail_len = (uint32_t)secret_len(value);
	return rpc_send(p->peer.fd, RPC_CREDENTIAL_VALUE, m->id, &done, sizeof(done),
			secret_view(value), secret_len(value), -1);
}

static const struct rpc_row keeper_proxy_rows[] = {
	{RPC_LEAF_KEY, 0, CA_SPKI_MAX, RPC_ONCE, keeper_leaf_key},
	{RPC_SIGN_LEAF, sizeof(struct rpc_sign_leaf), 0, 0, keeper_sign_leaf},
	{RPC_CREDENTIAL, sizeof(struct rpc_credential), 0, 0, keeper_credential},
};

/* ---- the boss's channel and the start ---- */

static int keeper_config(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;

	(void)peer;
	memcpy(&k->cfg, m->body, sizeof(k->cfg));
	k->configured = true;
	if (k->cfg.debug)
		log_init("keeper", LOG_LEVEL_DEBUG);
	return 0;
}

static int keeper_wire(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_wire *q = m->body;
	struct keeper *k = ctx;

	(void)peer;
	if (q->kind == RPC_WIRE_PROXY)
		return keeper_proxy_wire(k, q->index, &m->fd);
	if (q->kind != RPC_WIRE_VAULT_DIR || k->vault_dir >= 0)
		return -EPROTO;
	k->vault_dir = take_fd(&m->fd);
	return 0;
}

static int keeper_go(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;

	(void)peer;
	(void)m;
	if (!k->configured || k->vault_dir < 0)
		return -EPROTO;
	k->go = true;
	return 0;
}

static const struct rpc_row keeper_boss_rows[] = {
	{RPC_CONFIG, sizeof(struct config), 0, RPC_ONCE, keeper_config},
	{RPC_WIRE, sizeof(struct rpc_wire), 0, RPC_FD, keeper_wire},
	{RPC_VAULT_INIT, sizeof(struct rpc_admin), 0, 0, keeper_vault_init},
	{RPC_VAULT_OPEN, sizeof(struct rpc_admin), 0, RPC_FD, keeper_vault_open},
	{RPC_WORKSPACE, sizeof(struct rpc_workspace), 0, RPC_FD, keeper_workspace},
	{RPC_WORKSPACE_GONE, sizeof(struct rpc_workspace), 0, 0, keeper_workspace_gone},
	{RPC_GUARD, sizeof(struct rpc_guard), 0, 0, keeper_guard},
	{RPC_GUARD_GONE, sizeof(struct rpc_guard), 0, 0, keeper_guard_gone},
	{RPC_GO, 0, 0, RPC_ONCE, keeper_go},
	{RPC_STATS_ASK, 0, 0, 0, keeper_stats},
	{RPC_SECRET_SET, sizeof(struct rpc_secret_ref), 0, RPC_FD, keeper_secret_set},
	{RPC_SECRET_DELETE, sizeof(struct rpc_secret_ref), 0, 0, keeper_secret_delete},
	{RPC_SECRET_LIST, sizeof(struct rpc_secret_ref), 0, 0, keeper_secret_list},
	{RPC_SIGN_DOC, sizeof(struct rpc_workspace), 0, RPC_FD, keeper_sign_doc},
	{RPC_CA_CERT, 0, 0, 0, keeper_ca_cert},
	{RPC_SIGN_KEY, 0, 0, 0, keeper_sign_key},
	{RPC_AUDIT_DERIVE, sizeof(struct rpc_audit_key), 0, 0, keeper_audit_derive},
	{RPC_WORKSPACE_DROP, sizeof(struct rpc_workspace), 0, 0, keeper_workspace_drop},
};

static void keeper_on_boss(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct keeper *k = ctx;
	int rc;

	(void)slot;
	(void)gen;
	(void)events;
	rc = rpc_serve(&k->boss, keeper_boss_rows, ARRAY_SIZE(keeper_boss_rows), k, k->buf,
		       KEEPER_BATCH);
	if (rc == 0)
		return;
	if (rc != -EPIPE)
		log_error("the daemon's channel failed (%s); ending", strerror(-rc));
	k->loop.stop = true;
}

static void keeper_on_proxy(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
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

static int keeper_turn(void *ctx, uint64_t now_ms)
{
	(void)ctx;
	(void)now_ms;
	return -1;
}

/* Everything that needs more than the locked process may do. */
static int keeper_open(struct keeper *k, struct err *e)
{
	int rc = sign_start();

	if (rc < 0)
		return err_set(e, rc, "libsodium does not start");
	rc = ca_start(e);
	if (rc < 0)
		return rc;
	rc = loop_init(&k->loop, k, keeper_turn);
	if (rc < 0)
		return err_set(e, rc, "epoll: %s", strerror(-rc));
	loop_on(&k->loop, KEEPER_BOSS, keeper_on_boss);
	loop_on(&k->loop, KEEPER_PROXY, keeper_on_proxy);
	return 0;
}

static int keeper_serve(struct keeper *k, struct err *e)
{
	int rc = sandbox_drop(&k->cfg.keeper_user, e);

	if (rc == 0)
		rc = sandbox_lock(SANDBOX_KEEPER, e);
	if (rc < 0)
		return rc;
	rc = loop_watch(&k->loop, k->boss.fd, (struct loop_key){.kind = KEEPER_BOSS}, EPOLLIN);
	if (rc == 0)
		rc = rpc_send(k->boss.fd, RPC_READY, 0, NULL, 0, NULL, 0, -1);
	return rc < 0 ? rc : loop_run(&k->loop);
}

static int keeper_run(struct keeper *k, struct err *e)
{
	int rc = keeper_open(k, e);

	if (rc < 0)
		return rc;
	rc = child_wait_go(&k->boss, keeper_boss_rows, ARRAY_SIZE(keeper_boss_rows), k, &k->go);
	if (rc == -EPIPE)
		return 0;
	if (rc < 0)
		return err_set(e, rc, "the daemon's channel failed: %s", strerror(-rc));
	return keeper_serve(k, e);
}

static void keeper_done(struct keeper *k)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(k->proxies); i++)
		keeper_proxy_end(k, &k->proxies[i]);
	for (i = 0; i < ARRAY_SIZE(k->docs); i++)
		k->docs[i] = rules_free(k->docs[i]);
	k->vault = vault_free(k->vault);
	k->signing_key = secret_free(k->signing_key);
	k->audit_key = secret_free(k->audit_key);
	k->ca = ca_free(k->ca);
	own_close(&k->vault_dir);
	own_close(&k->boss.fd);
	loop_done(&k->loop);
}

int keeper_main(void)
{
	static struct keeper k = {
		.boss = {.fd = RPC_BOSS_FD}, .vault_dir = -1, .loop = {.epfd = -1}};
	struct err e = {0};
	size_t i;
	int rc;

	log_init("keeper", LOG_LEVEL_INFO);
	for (i = 0; i < ARRAY_SIZE(k.proxies); i++)
		k.proxies[i].peer.fd = -1;
	rc = sandbox_first(&e);
	if (rc == 0)
		rc = keeper_run(&k, &e);
	if (rc < 0)
		log_error("%s; ending", e.text[0] ? e.text : strerror(-rc));
	keeper_done(&k);
	return rc < 0 ? 1 : 0;
}
