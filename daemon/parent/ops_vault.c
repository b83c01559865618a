/* ops_vault.c: the vault: its state, what opens it, its backups. See ops.h, ops_in.h.
 *
 * Passphrases and files come as descriptors and go on to the keeper; nothing of them is read here.
 */
#include "ops_in.h"

#include "guards.h"
#include "jdoc.h"
#include "proc.h"
#include "vaultkey.h"
#include "vaultrec.h"
#include "workspaces.h"

#include <stdio.h>
#include <string.h>

static const char *const ops_vault_kinds[] = {[VAULTREC_WRAP_KEYFILE] = "key-file",
					      [VAULTREC_WRAP_PASSPHRASE] = "passphrase",
					      [VAULTREC_WRAP_CREDENTIAL] = "credential"};

static const char *ops_vault_kind(uint32_t kind)
{
	return kind < ARRAY_SIZE(ops_vault_kinds) && ops_vault_kinds[kind] ? ops_vault_kinds[kind]
									   : "unknown";
}

static json_t *ops_vault_wraps(const struct rpc_vault_state *s)
{
	json_t *list = json_array();
	uint8_t i;

	for (i = 0; i < s->wraps && i < RPC_VAULT_WRAPS_MAX; i++) {
		json_t *one = json_pack("{s:s}", "kind", ops_vault_kind(s->wrap[i].kind));

		if (s->wrap[i].kind == VAULTREC_WRAP_PASSPHRASE)
			(void)json_object_update_new(
				one, json_pack("{s:s, s:I, s:I}", "kdf", "argon2id", "passes",
					       (json_int_t)s->wrap[i].passes, "memory_mib",
					       (json_int_t)s->wrap[i].kib >> 10));
		(void)json_array_append_new(list, one);
	}
	return list;
}

int ops_vault_status(struct ops *o)
{
	struct rpc_vault_state s;
	int rc = vaultkey_state(o->p, &s, o->e);

	if (rc < 0)
		return rc;
	ops_set(o, "state", json_string(!s.there ? "none" : s.open ? "open" : "locked"));
	ops_set(o, "locked_by", ops_vault_wraps(&s));
	ops_set(o, "changes", json_integer((json_int_t)s.generation));
	/* Its own three are not secrets of anybody's. */
	ops_set(o, "secrets", json_integer(s.records > 3 ? (json_int_t)s.records - 3 : 0));
	ops_set(o, "file", json_sprintf("%s/vault/vault.bin", o->p->cfg.state_dir));
	if (s.wait_ms)
		ops_set(o, "wait_s", json_integer(((json_int_t)s.wait_ms + 999) / 1000));
	return 0;
}

static int ops_vault_need_fd(const struct ops *o, const char *what)
{
	return *o->fd_in >= 0
		       ? 0
		       : err_set(o->e, -EINVAL,
				 "the %s comes as a descriptor; use the agentsecrets command",
				 what);
}

int ops_vault_unlock(struct ops *o)
{
	struct proc *keeper = &o->p->procs[PROC_KEEPER];
	struct rpc_vault_state s;
	int rc = vaultkey_state(o->p, &s, o->e);

	if (rc == 0 && s.open)
		return err_set(o->e, -EALREADY, "the vault is open already");
	if (rc == 0 && !s.there)
		return err_set(o->e, -ENOENT,
			       "there is no vault yet; make one with: agentsecrets init");
	if (rc < 0)
		return rc;
	if (s.wraps &&
	    s.wrap[0].kind != VAULTREC_WRAP_PASSPHRASE) /* locked by hand: the key lies here */
		rc = vaultkey_open(o->p, o->e);
	else
		rc = ops_vault_need_fd(o, "passphrase");
	if (rc == 0 && s.wraps && s.wrap[0].kind == VAULTREC_WRAP_PASSPHRASE)
		rc = vaultkey_unlock(o->p, *o->fd_in, o->e);
	/* A keeper that was started while it was locked could check no document. */
	if (rc == 0 && (workspaces_tell(o->p, keeper) < 0 || guards_tell(o->p, keeper) < 0))
		rc = err_set(o->e, -EIO, "the keeper did not take the workspaces");
	if (rc == 0)
		rc = parent_opened(o->p, o->e);
	return rc == 0 ? ops_audit(o, NULL, "vault.unlock") : rc;
}

int ops_vault_lock(struct ops *o)
{
	int rc = ops_audit(o, NULL, "vault.lock");

	if (rc == 0)
		rc = proc_ask(o->p, RPC_VAULT_LOCK, NULL, 0, -1, 0, NULL, NULL, o->e);
	if (rc < 0)
		return rc;
	o->p->locked = true;
	workspaces_secrets_changed(o->p);
	return 0;
}

static int ops_vault_cost(struct ops *o, struct rpc_admin *q)
{
	uint64_t passes = 3, mib = 256;
	int rc = jdoc_uint(o->in, "passes", 1, 1000, &passes, o->e);

	if (rc == 0)
		rc = jdoc_uint(o->in, "memory_mib", 1, VAULTREC_KIB_MAX >> 10, &mib, o->e);
	q->passes = (uint32_t)passes;
	q->kib = (uint32_t)mib << 10;
	return rc;
}

/* The new key is safe before the vault depends on it, and the old one goes after that. */
static int ops_vault_rewrap_file(struct ops *o, struct rpc_admin *q)
{
	auto_close int fd = vaultkey_stage(o->p, o->e);
	int rc = fd < 0 ? fd
			: proc_ask(o->p, RPC_VAULT_REWRAP, q, sizeof(*q), fd, 0, NULL, NULL, o->e);

	return rc < 0 ? rc : vaultkey_settle(o->p, o->e);
}

static int ops_vault_rewrap_other(struct ops *o, struct rpc_admin *q, int fd)
{
	int rc = proc_ask(o->p, RPC_VAULT_REWRAP, q, sizeof(*q), fd, 0, NULL, NULL, o->e);

	return rc < 0 ? rc : vaultkey_drop(o->p, o->e);
}

int ops_vault_rewrap(struct ops *o)
{
	const char *to = NULL;
	struct rpc_admin q = {0};
	auto_close int credential = -1;
	char detail[64];
	int rc = jdoc_str(o->in, "to", &to, o->e);

	for (q.kind = VAULTREC_WRAP_KEYFILE; q.kind < ARRAY_SIZE(ops_vault_kinds); q.kind++)
		if (to && strcmp(to, ops_vault_kinds[q.kind]) == 0)
			break;
	if (rc == 0 && q.kind == ARRAY_SIZE(ops_vault_kinds))
		rc = err_set(o->e, -EINVAL,
			     "a vault is locked by a key-file, a passphrase or a credential");
	if (rc == 0)
		rc = ops_vault_cost(o, &q);
	if (rc == 0 && q.kind == VAULTREC_WRAP_PASSPHRASE)
		rc = ops_vault_need_fd(o, "passphrase");
	if (rc == 0 && q.kind == VAULTREC_WRAP_CREDENTIAL) {
		credential = vaultkey_credential(o->e);
		rc = credential < 0 ? credential : 0;
	}
	(void)snprintf(detail, sizeof(detail), "vault.rewrap %s", to ? ops_vault_kind(q.kind) : "");
	if (rc == 0)
		rc = ops_audit(o, NULL, detail);
	if (rc < 0)
		return rc;
	return q.kind == VAULTREC_WRAP_KEYFILE
		       ? ops_vault_rewrap_file(o, &q)
		       : ops_vault_rewrap_other(o, &q,
						q.kind == VAULTREC_WRAP_CREDENTIAL ? credential
										   : *o->fd_in);
}

int ops_vault_backup(struct ops *o)
{
	struct rpc_vault_state s;
	int rc = ops_vault_need_fd(o, "file");

	if (rc == 0)
		rc = ops_audit(o, NULL, "vault.backup");
	if (rc == 0)
		rc = proc_ask(o->p, RPC_VAULT_BACKUP, NULL, 0, *o->fd_in, 0, NULL, NULL, o->e);
	if (rc == 0)
		rc = vaultkey_state(o->p, &s, o->e);
	if (rc < 0)
		return rc;
	ops_set(o, "locked_by", ops_vault_wraps(&s));
	ops_set(o, "changes", json_integer((json_int_t)s.generation));
	return 0;
}

int ops_vault_restore(struct ops *o)
{
	int rc = ops_vault_need_fd(o, "backup");

	if (rc == 0)
		rc = ops_audit(o, NULL, "vault.restore");
	if (rc == 0)
		rc = proc_ask(o->p, RPC_VAULT_RESTORE, NULL, 0, *o->fd_in, 0, NULL, NULL, o->e);
	if (rc < 0)
		return rc;
	workspaces_secrets_changed(o->p);
	ops_set(o, "kept", json_sprintf("%s/vault/vault.old", o->p->cfg.state_dir));
	return 0;
}
