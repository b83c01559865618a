/* ops_in.h: what the files of ops share. Each ops_*.c carries out one kind of request; ops.c has the table. */
#ifndef OPS_IN_H
#define OPS_IN_H

#include "ops.h"

/* One request being carried out. */
struct ops {
	struct parent *p;
	const struct ops_caller *who;
	json_t *in, *out;
	int *fd_in, *fd_out;
	struct workspace *w; /* where the row says so */
	struct err *e;
};

/* What every operation uses. audit: the admin line, recorded before the change. */
void ops_set(struct ops *o, const char *name, json_t *value);
int ops_oom(struct ops *o) must_check;
int ops_audit(struct ops *o, const char *workspace, const char *detail) must_check;
/* Signs and publishes the changed document; "workspace" and "version" go in the answer. */
int ops_commit(struct ops *o, struct rules *changed, const char *what) must_check;
/* Copies an array of strings into fixed slots, malloc'ed; and back. */
int ops_strings(struct ops *o, const char *field, json_t *list, size_t slot, size_t max, void **ret,
		uint32_t *count) must_check;
json_t *ops_list(const void *base, size_t slot, size_t count);

/* ops_install.c */
int ops_version(struct ops *o) must_check;
int ops_init(struct ops *o) must_check;
int ops_doctor(struct ops *o) must_check;
int ops_status(struct ops *o) must_check;

/* ops_workspaces.c */
int ops_workspace_create(struct ops *o) must_check;
int ops_workspace_list(struct ops *o) must_check;
int ops_workspace_use(struct ops *o) must_check;
int ops_workspace_delete(struct ops *o) must_check;
int ops_allowlist_add(struct ops *o) must_check;
int ops_allowlist_remove(struct ops *o) must_check;
int ops_allowlist_list(struct ops *o) must_check;
int ops_allowlist_verify(struct ops *o) must_check;

/* ops_log.c */
int ops_log_open(struct ops *o) must_check;
int ops_log_key(struct ops *o) must_check;
int ops_log_heads(struct ops *o) must_check;
int ops_log_rotate(struct ops *o) must_check;

/* ops_unix.c */
int ops_unix_add(struct ops *o) must_check;
int ops_unix_remove(struct ops *o) must_check;
int ops_unix_list(struct ops *o) must_check;

/* ops_secrets.c */
/* The request's "name", checked; there: -ENOENT when the document has none of it. */
int ops_secret_ref(struct ops *o, struct rpc_secret_ref *ref, bool there) must_check;
int ops_secrets_set(struct ops *o) must_check;
int ops_secrets_rotate(struct ops *o) must_check;
int ops_secrets_list(struct ops *o) must_check;
int ops_secrets_delete(struct ops *o) must_check;

/* ops_sources.c */
int ops_secrets_command(struct ops *o) must_check;
int ops_keyring_serve(struct ops *o) must_check;

/* ops_vault.c */
int ops_vault_status(struct ops *o) must_check;
int ops_vault_unlock(struct ops *o) must_check;
int ops_vault_lock(struct ops *o) must_check;
int ops_vault_rewrap(struct ops *o) must_check;
int ops_vault_backup(struct ops *o) must_check;
int ops_vault_restore(struct ops *o) must_check;

/* ops_bind.c */
/* The binding as asked for, into r; what is not in the request stays as it was. */
int ops_bind(struct ops *o, struct rules *r, const char *name) must_check;
/* A binding as secrets.list tells it. */
json_t *ops_binding(const struct rules_secret *s);
int ops_secrets_bind(struct ops *o) must_check;
int ops_secrets_test(struct ops *o) must_check;
int ops_workspace_foreign(struct ops *o) must_check;

/* ops_guards.c */
int ops_run_enter(struct ops *o) must_check;
int ops_cgroup_list(struct ops *o) must_check;
int ops_cgroup_attach(struct ops *o) must_check;
int ops_cgroup_detach(struct ops *o) must_check;

#endif
