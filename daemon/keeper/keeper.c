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

#include "child.h"

#include "keeper_int.h"
#include "keeper_token.h"
#include "log.h"
#include "parts.h"
#include "sandbox.h"

#include <stdio.h>
#include <string.h>

int keeper_answer(struct keeper *k, const struct rpc_msg *m, int rc, const struct err *e,
		  const void *tail, size_t len)
{
	struct rpc_done done = {.rc = rc};

	if (rc < 0) {
		tail = e->text;
		len = strlen(e->text);
	}
	done.tail_len = (uint32_t)len;
	done.generation = k->vault ? vault_generation(k->vault) : 0;
	return rpc_send(k->boss.fd, RPC_ADMIN_DONE, m->id, &done, sizeof(done), tail, len, -1);
}

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

/* ---- where values are ---- */

static int keeper_place(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;

	(void)peer;
	return backend_set_place(&k->backends, m->body, &m->fd);
}

static int keeper_helper(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;

	(void)peer;
	return backend_set_helper(&k->backends, m->body, &m->fd);
}

static int keeper_command(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;

	(void)peer;
	return backend_set_command(&k->backends, m->body);
}

static int keeper_command_output(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;

	(void)peer;
	return backend_command_output(&k->backends, m->body, &m->fd);
}

static int keeper_command_end(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct keeper *k = ctx;

	(void)peer;
	return backend_command_end(&k->backends, m->body);
}

static void keeper_on_helper(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct keeper *k = ctx;

	(void)events;
	backend_on_helper(&k->backends, slot, gen, k->buf);
}

static void keeper_on_output(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct keeper *k = ctx;

	(void)events;
	backend_on_output(&k->backends, slot, gen);
}

static const struct rpc_row keeper_boss_rows[] = {
	{RPC_CONFIG, sizeof(struct config), 0, RPC_ONCE, keeper_config},
	{RPC_WIRE, sizeof(struct rpc_wire), 0, RPC_FD, keeper_wire},
	{RPC_VAULT_INIT, sizeof(struct rpc_admin), 0, RPC_FD, keeper_vault_init},
	{RPC_VAULT_OPEN, sizeof(struct rpc_admin), 0, RPC_FD, keeper_vault_open},
	{RPC_VAULT_REWRAP, sizeof(struct rpc_admin), 0, RPC_FD, keeper_vault_rewrap},
	{RPC_VAULT_LOCK, 0, 0, 0, keeper_vault_lock},
	{RPC_VAULT_STATE, 0, 0, 0, keeper_vault_state},
	{RPC_VAULT_BACKUP, 0, 0, RPC_FD, keeper_vault_backup},
	{RPC_VAULT_RESTORE, 0, 0, RPC_FD, keeper_vault_restore},
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
	{RPC_PLACE, sizeof(struct rpc_place), 0, 0, keeper_place},
	{RPC_PLACE_DIR, sizeof(struct rpc_place), 0, RPC_FD, keeper_place},
	{RPC_PLACE_HELPER, sizeof(struct rpc_place), 0, RPC_FD, keeper_helper},
	{RPC_COMMAND, sizeof(struct rpc_command), 0, 0, keeper_command},
	{RPC_COMMAND_OUTPUT, sizeof(struct rpc_command_run), 0, RPC_FD, keeper_command_output},
	{RPC_COMMAND_END, sizeof(struct rpc_command_run), 0, 0, keeper_command_end},
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

static int keeper_turn(void *ctx, uint64_t now_ms)
{
	struct keeper *k = ctx;

	int backends_ms = backends_turn(&k->backends, now_ms), tokens_ms = keeper_tokens_turn(k, now_ms);

	return backends_ms < 0 || (tokens_ms >= 0 && tokens_ms < backends_ms) ? tokens_ms : backends_ms;
}

/* Everything that needs more than the locked process may do. */
static int keeper_open(struct keeper *k, struct err *e)
{
	int rc = sign_start();

	parts_start();
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
	loop_on(&k->loop, BACKEND_HELPER, keeper_on_helper);
	loop_on(&k->loop, BACKEND_OUTPUT, keeper_on_output);
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
	backends_done(&k->backends);
	for (i = 0; i < ARRAY_SIZE(k->docs); i++)
		k->docs[i] = rules_free(k->docs[i]);
	formers_done(&k->formers);
	keeper_tokens_done(k);
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
	k.backends = (struct backends){
		.vault = &k.vault, .boss = &k.boss, .loop = &k.loop, .stats = &k.stats};
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
