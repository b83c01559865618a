/* ops_sources.c: secrets whose values are not in the vault. See ops.h, ops_in.h. */
#include "ops_in.h"

#include "commands.h"
#include "jdoc.h"
#include "proc.h"
#include "rules.h"
#include "sources.h"
#include "workspaces.h"

#include <stdio.h>
#include <string.h>

/* The value of a secret comes from a command. */
int ops_secrets_command(struct ops *o)
{
	auto_(rules) struct rules *r = NULL;
	struct rpc_secret_ref ref;
	struct err unused = {0};
	json_t *spec = NULL;
	int rc = ops_secret_ref(o, &ref, false);

	if (rc == 0)
		rc = commands_check(json_object_get(o->in, "command"), &spec, o->e);
	if (rc == 0)
		rc = workspaces_copy(o->w, &r, o->e);
	if (rc == 0)
		rc = ops_bind(o, r, ref.name);
	if (rc == 0)
		rc = ops_audit(o, ref.workspace, "secrets.set (command)");
	if (rc == 0)
		rc = sources_command(o->p, ref.workspace, ref.name, spec, o->e);
	json_decref(spec);
	if (rc < 0)
		return rc;
	/* A value that was there before would only lie about; that there was none is as well. */
	if (strcmp(sources_backend(o->p, ref.workspace), "file") == 0 &&
	    proc_ask(o->p, RPC_SECRET_DELETE, &ref, sizeof(ref), -1, 0, NULL, NULL, &unused) < 0)
		unused.text[0] = '\0';
	proc_tell_role(o->p, PROC_PROXY, RPC_SECRET_CHANGED, &ref, sizeof(ref), -1);
	return ops_commit(o, r, "secrets.bind");
}

/* A helper is there for the keyring of the caller's own workspace. */
int ops_keyring_serve(struct ops *o)
{
	const char *name = o->w->rules->workspace;
	int rc;

	if (o->who->uid != o->w->rules->owner)
		return err_set(
			o->e, -EPERM,
			"workspace %s belongs to user %u, and only a program of that user answers for its keyring",
			name, o->w->rules->owner);
	if (strcmp(sources_backend(o->p, name), "secret-service") != 0)
		return err_set(
			o->e, -EINVAL,
			"the values of workspace %s are not in a keyring; such a workspace is made with: agentsecrets "
			"workspace create NAME --backend secret-service",
			name);
	rc = ops_audit(o, name, "keyring.serve");
	if (rc == 0)
		rc = sources_helper(o->p, name, o->fd_out, o->e);
	ops_set(o, "workspace", json_string(name));
	return rc;
}
