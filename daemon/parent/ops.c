/* ops.c: see ops.h. A table of operations: the fields it takes, who may ask, the function. A field that is not in the
 * row is refused before the function sees the request. Changes leave an "admin" line in the audit log, and do not happen
 * when it cannot be written.
 */
#include "ops_in.h"

#include "jdoc.h"
#include "proc.h"
#include "workspaces.h"

#include <string.h>

enum ops_right {
	OPS_ALL, /* anybody */
	OPS_ROOT,
	OPS_OWNER, /* root, or the owner of the workspace */
};

struct ops_row {
	const char *op;
	enum ops_right right;
	bool workspace; /* takes "workspace" or the current one; w is set */
	bool vault;     /* needs an open vault */
	const char *fields[12];
	int (*fn)(struct ops *o);
};

void ops_set(struct ops *o, const char *name, json_t *value)
{
	(void)json_object_set_new(o->out, name, value);
}

int ops_oom(struct ops *o)
{
	return err_set(o->e, -ENOMEM, "out of memory");
}

/* The admin line, recorded before the change. */
int ops_audit(struct ops *o, const char *workspace, const char *detail)
{
	struct audit_entry en = {.kind = AUDIT_ADMIN,
				 .workspace = workspace,
				 .pid = (uint32_t)o->who->pid,
				 .has_uid = true,
				 .uid = o->who->uid,
				 .allow = true,
				 .detail = detail};

	if (parent_audit(o->p, &en) < 0)
		return err_set(o->e, -EIO,
			       "the audit log %s cannot be written; nothing was changed",
			       o->p->cfg.audit_log);
	return 0;
}

/* ---- the table ---- */

static const struct ops_row ops_rows[] = {
	{"version", OPS_ALL, false, false, {NULL}, ops_version},
	{"init", OPS_ROOT, false, false, {NULL}, ops_init},
	{"status", OPS_ALL, false, false, {NULL}, ops_status},
	{"doctor", OPS_ROOT, false, false, {NULL}, ops_doctor},
	{"workspace.create", OPS_ROOT, false, true, {"workspace", "owner", "backend"}, ops_workspace_create},
	{"workspace.list", OPS_ALL, false, true, {NULL}, ops_workspace_list},
	{"workspace.use", OPS_OWNER, true, true, {"workspace"}, ops_workspace_use},
	{"workspace.delete", OPS_ROOT, true, true, {"workspace"}, ops_workspace_delete},
	{"allowlist.add", OPS_ROOT, true, true, {"workspace", "rules"}, ops_allowlist_add},
	{"allowlist.remove", OPS_ROOT, true, true, {"workspace", "rules"}, ops_allowlist_remove},
	{"allowlist.list", OPS_OWNER, true, true, {"workspace"}, ops_allowlist_list},
	{"allowlist.verify", OPS_OWNER, true, true, {"workspace"}, ops_allowlist_verify},
	{"workspace.foreign", OPS_OWNER, true, true, {"workspace", "mode"}, ops_workspace_foreign},
	{"unix.add", OPS_ROOT, true, true, {"workspace", "sockets"}, ops_unix_add},
	{"unix.remove", OPS_ROOT, true, true, {"workspace", "sockets"}, ops_unix_remove},
	{"unix.list", OPS_OWNER, true, true, {"workspace"}, ops_unix_list},
	{"secrets.set",
	 OPS_ROOT,
	 true,
	 true,
	 {"workspace", "name", "hosts", "slots", "ports", "methods", "paths", "placeholder", "kind", "params"},
	 ops_secrets_set},
	{"secrets.bind",
	 OPS_ROOT,
	 true,
	 true,
	 {"workspace", "name", "hosts", "slots", "ports", "methods", "paths", "placeholder"},
	 ops_secrets_bind},
	{"secrets.rotate", OPS_ROOT, true, true, {"workspace", "name"}, ops_secrets_rotate},
	{"secrets.test",
	 OPS_OWNER,
	 true,
	 true,
	 {"workspace", "name", "host", "slots", "port", "method", "path"},
	 ops_secrets_test},
	{"secrets.list", OPS_OWNER, true, true, {"workspace"}, ops_secrets_list},
	{"secrets.delete", OPS_ROOT, true, true, {"workspace", "name"}, ops_secrets_delete},
	{"secrets.command",
	 OPS_ROOT,
	 true,
	 true,
	 {"workspace", "name", "command", "hosts", "slots", "ports", "methods", "paths", "placeholder"},
	 ops_secrets_command},
	{"keyring.serve", OPS_OWNER, true, true, {"workspace"}, ops_keyring_serve},
	{"vault.status", OPS_ROOT, false, false, {NULL}, ops_vault_status},
	{"vault.unlock", OPS_ROOT, false, false, {NULL}, ops_vault_unlock},
	{"vault.lock", OPS_ROOT, false, true, {NULL}, ops_vault_lock},
	{"vault.rewrap", OPS_ROOT, false, true, {"to", "passes", "memory_mib"}, ops_vault_rewrap},
	{"vault.backup", OPS_ROOT, false, true, {NULL}, ops_vault_backup},
	{"vault.restore", OPS_ROOT, false, true, {NULL}, ops_vault_restore},
	{"run.enter", OPS_OWNER, true, true, {"workspace"}, ops_run_enter},
	{"cgroup.list", OPS_ROOT, false, true, {NULL}, ops_cgroup_list},
	{"cgroup.attach", OPS_ROOT, true, true, {"workspace", "pid", "kill"}, ops_cgroup_attach},
	{"cgroup.detach", OPS_ROOT, false, true, {"guard"}, ops_cgroup_detach},
	{"log.open", OPS_ROOT, false, true, {NULL}, ops_log_open},
	{"log.heads", OPS_ROOT, false, true, {NULL}, ops_log_heads},
	{"log.key", OPS_ROOT, false, true, {"writer", "epoch"}, ops_log_key},
	{"log.rotate", OPS_ROOT, false, true, {NULL}, ops_log_rotate},
};

static const struct ops_row *ops_find(const char *op)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ops_rows); i++)
		if (strcmp(ops_rows[i].op, op) == 0)
			return &ops_rows[i];
	return NULL;
}

static int ops_check_fields(const struct ops_row *row, json_t *in, struct err *e)
{
	const char *names[ARRAY_SIZE(row->fields) + 1] = {"op"};
	size_t n = 1, i;

	for (i = 0; i < ARRAY_SIZE(row->fields) && row->fields[i]; i++)
		names[n++] = row->fields[i];
	return jdoc_fields(in, names, n, e);
}

static int ops_pick_workspace(struct ops *o)
{
	char current[RPC_WORKSPACE_MAX], show[JDOC_SHOW_MAX];
	const char *name = NULL;
	int rc = jdoc_str(o->in, "workspace", &name, o->e);

	if (rc < 0)
		return rc;
	if (!name) {
		workspaces_current(o->p, o->who->uid, current);
		if (!current[0])
			return err_set(
				o->e, -ENOENT,
				"no workspace is in use; make one with: agentsecrets workspace create "
				"NAME, or name one with --workspace");
		name = current;
	}
	o->w = workspaces_find(o->p, name);
	if (!o->w)
		return err_set(o->e, -ENOENT,
			       "there is no workspace %s; see: agentsecrets workspace list",
			       jdoc_show(name, show));
	return 0;
}

static int ops_check_right(const struct ops *o, const struct ops_row *row)
{
	if (row->right == OPS_ALL || o->who->uid == 0)
		return 0;
	if (row->right == OPS_OWNER && o->w && o->who->uid == o->w->rules->owner)
		return 0;
	if (row->right == OPS_OWNER)
		return err_set(
			o->e, -EPERM,
			"this workspace belongs to user %u, and you are user %u; ask root for one of your own: "
			"agentsecrets workspace create NAME --owner USER",
			o->w ? o->w->rules->owner : 0, o->who->uid);
	return err_set(o->e, -EPERM, "%s is for root; run it with sudo", row->op);
}

int ops_run(struct parent *p, const struct ops_caller *who, json_t *request, int *fd_in,
	    json_t *answer, int *ret_fd, struct err *e)
{
	struct ops o = {.p = p,
			.who = who,
			.in = request,
			.out = answer,
			.fd_in = fd_in,
			.fd_out = ret_fd,
			.e = e};
	const char *op = json_string_value(json_object_get(request, "op"));
	const struct ops_row *row = op ? ops_find(op) : NULL;
	int rc;

	if (!row)
		return err_set(
			e, -EINVAL,
			"there is no such operation; is agentsecrets newer than agentsecretsd?");
	if (row->right == OPS_ROOT && who->uid != 0)
		return ops_check_right(&o, row);
	if (row->vault && !p->initialised)
		return err_set(e, -ENOENT,
			       "there is no vault yet; make one with: agentsecrets init");
	if (row->vault && p->locked)
		return err_set(e, -ENOKEY, "the vault is locked; unlock it with: agentsecrets vault unlock");
	rc = ops_check_fields(row, request, e);
	if (rc == 0 && row->workspace)
		rc = ops_pick_workspace(&o);
	if (rc == 0)
		rc = ops_check_right(&o, row);
	if (rc == 0)
		rc = row->fn(&o);
	/* What an answer says is done is in force. */
	if (!proc_settled(p))
		ops_set(&o, "pending", json_true());
	return rc;
}
