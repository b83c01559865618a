/* keeper_int.h: what the keeper's own files share; nobody else includes it.
 *
 *	keeper.c        start, loop, the boss's table
 *	keeper_vault.c  the vault: made, opened, taken up
 *	keeper_docs.c   what is known: signed documents, guards
 *	keeper_admin.c  what the boss asks: secrets, signatures, keys
 *	keeper_peers.c  what proxies ask: leaves, credentials
 *	keeper_sign.c   signatures of requests
 *	keeper_prints.c what proxies are told: fingerprints of values
 *	keeper_token.c  access tokens
 *
 * One context per process. What a proxy names is looked up through keeper_doc() and keeper_guard_find(),
 * in what the boss said and what was signed.
 */
#ifndef KEEPER_INT_H
#define KEEPER_INT_H

#include "../../bpf/egress.h"
#include "backend.h"
#include "ca.h"
#include "config.h"
#include "former.h"
#include "loop.h"
#include "rpc.h"
#include "rules.h"
#include "secret.h"
#include "sign.h"
#include "vault.h"

#define KEEPER_WORKSPACES_MAX 256
#define KEEPER_VALUE_MS       8000 /* for a value to come through its pipe; the parent waits 10 s */
#define KEEPER_BATCH          32   /* messages of one peer per turn */
#define KEEPER_MINT_BURST     50   /* leaves of one guard at once */

#define KEEPER_AUDIT_CONTEXT "agentsecrets audit chain 1"

enum keeper_kind { KEEPER_BOSS = 1, KEEPER_PROXY }; /* and enum backend_event */

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
	struct vault
		*vault; /* NULL: not opened, or locked; then the two keys below are empty too */
	struct secret *signing_key, *audit_key;
	struct ca *ca;     /* stays when the vault is locked, so that refusals can be read */
	uint32_t wrong;    /* passphrases in a row */
	uint64_t again_ms; /* none is tried before */
	uint8_t public_key[SIGN_PUBLIC_LEN];
	struct backends backends;
	struct rules *docs[KEEPER_WORKSPACES_MAX];
	struct keeper_guard guards[EG_GUARDS_MAX];
	struct formers formers;
	struct keeper_proxy proxies[CONFIG_WORKERS_MAX];
	struct rpc_stats stats;
	struct token *tokens; /* keeper_token.h */
	uint32_t token_number, token_order, token_waiters;
	uint8_t buf[RPC_BUF] __attribute__((aligned(8)));
};

/* ---- keeper.c ---- */

/* The answer to an administration request: the tail, or with rc < 0 the sentence of e. */
int keeper_answer(struct keeper *k, const struct rpc_msg *m, int rc, const struct err *e,
		  const void *tail, size_t len) must_check;

/* ---- keeper_vault.c ---- */

/* -ENOKEY with a sentence when the vault is not open. */
int keeper_need_vault(const struct keeper *k, struct err *e) must_check;
/* After each change of the vault: logs what went wrong once the change was safe. */
void keeper_warn(const struct keeper *k);

int keeper_vault_init(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_vault_open(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_vault_rewrap(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_vault_lock(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_vault_state(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_vault_backup(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_vault_restore(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;

/* ---- keeper_docs.c ---- */

/* The slot of a workspace's document, never empty; NULL: none. */
struct rules **keeper_doc(struct keeper *k, const char *workspace);
/* id 0: a free one. NULL: none. */
struct keeper_guard *keeper_guard_find(struct keeper *k, uint64_t id);
/* Reads a document of the message's memfd and checks that it is the one the message names. */
int keeper_read_doc(const struct rpc_workspace *q, const char *text, struct rules **ret,
		    struct err *e) must_check;
bool keeper_workspace_ok(const struct rpc_workspace *q);

int keeper_workspace(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_workspace_gone(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_guard(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_guard_gone(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;

/* ---- keeper_admin.c ---- */

int keeper_secret_set(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_secret_delete(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_secret_list(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_sign_doc(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_ca_cert(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_sign_key(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_audit_derive(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_workspace_drop(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
int keeper_stats(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;

/* ---- keeper_peers.c ---- */

/* May this credential go out; *ret is its secret, good as long as the document is. */
int keeper_judge(struct keeper *k, const struct rpc_credential *q, const struct rules_secret **ret) must_check;
/* Are its strings and its slot what they must be. */
bool keeper_credential_ok(const struct rpc_credential *q);
/* Of a guard that keeper_judge() has found. */
const char *keeper_workspace_of(struct keeper *k, uint64_t guard);
int keeper_proxy_wire(struct keeper *k, uint32_t index, int *fd) must_check;
void keeper_proxy_end(struct keeper *k, struct keeper_proxy *p);
/* A value that these hosts may know is no longer in force for them: proxies are told. value is taken over; NULL: they
 * are told only that something has changed. */
void keeper_former(struct keeper *k, const char *workspace, char (*hosts)[RPC_HOST_MAX], uint32_t host_count,
		   struct secret **value);
loop_fn keeper_on_proxy;

/* ---- keeper_sign.c ---- */

int keeper_sign(void *ctx, uint32_t peer, struct rpc_msg *m) must_check;
/* Answers RPC_CREDENTIAL for a secret of kind aws. */
int keeper_identity_start(struct keeper *k, uint32_t peer, uint32_t id, const struct rpc_credential *of,
			  const char *workspace) must_check;

/* ---- keeper_prints.c ---- */

/* Something that a workspace's fingerprints are made from has changed: they go to one proxy, or (NULL) to all. */
void keeper_prints(struct keeper *k, const char *workspace, struct keeper_proxy *to);
void keeper_prints_all(struct keeper *k, struct keeper_proxy *to);

#endif
