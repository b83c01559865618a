/* ops_secrets.c: secrets. See ops.h, ops_in.h. */
#include "ops_in.h"

#include "jdoc.h"
#include "proc.h"
#include "sources.h"
#include "workspaces.h"

#include <stdio.h>
#include <string.h>

int ops_secret_ref(struct ops *o, struct rpc_secret_ref *ref, bool there)
{
	const char *name = NULL;
	int rc = jdoc_str(o->in, "name", &name, o->e);

	*ref = (struct rpc_secret_ref){0};
	if (rc < 0)
		return rc;
	if (!name || !rules_name_ok(name))
		return err_set(
			o->e, -EINVAL,
			"that is no secret name; use A-Z, 0-9 and _, beginning with a letter or _ "
			"(STRIPE_KEY)");
	if (there && !rules_secret(o->w->rules, name))
		return err_set(o->e, -ENOENT, "there is no secret %s in workspace %s; see: agentsecrets secrets list",
			       name, o->w->rules->workspace);
	(void)snprintf(ref->workspace, sizeof(ref->workspace), "%s", o->w->rules->workspace);
	(void)snprintf(ref->name, sizeof(ref->name), "%s", name);
	return 0;
}

/* The kind as asked for; without one the old one stays. A kind is not changed: the value of one must never be read as
 * that of another. */
static int ops_kind(struct ops *o, struct rules *r, struct rpc_secret_ref *ref)
{
	const struct rules_secret *old = rules_secret(o->w->rules, ref->name);
	const char *word = NULL, *names[KIND_PARAMS_MAX], *values[KIND_PARAMS_MAX], *name;
	json_t *params = json_object_get(o->in, "params"), *v;
	int kind, rc = jdoc_str(o->in, "kind", &word, o->e);
	size_t n = 0;

	if (rc < 0)
		return rc;
	kind = word ? kind_of(word) : old ? (int)old->kind : KIND_VALUE;
	if (kind < 0)
		return err_set(o->e, -EINVAL,
			       "there is no such kind; use value, aws, hmac, oauth2-client, oauth2-refresh, jwt-bearer or "
			       "github-app");
	if (old && (int)old->kind != kind)
		return err_set(o->e, -EEXIST, "%s is of kind %s; delete it first: agentsecrets secrets delete %s", ref->name,
			       kind_word(old->kind), ref->name);
	ref->kind = (uint32_t)kind;
	if (old && !params)
		return 0;
	if (params && !json_is_object(params))
		return err_set(o->e, -EINVAL, "params must be an object of strings");
	json_object_foreach(params, name, v) {
		if (n == KIND_PARAMS_MAX || !json_is_string(v))
			return err_set(o->e, -EINVAL, "params must be at most %d strings", KIND_PARAMS_MAX);
		names[n] = name;
		values[n++] = json_string_value(v);
	}
	return rules_kind(r, ref->name, (enum kind)kind, names, values, n, o->e);
}

int ops_secrets_set(struct ops *o)
{
	auto_(rules) struct rules *r = NULL;
	struct rpc_secret_ref ref;
	int rc = ops_secret_ref(o, &ref, false);

	if (rc < 0)
		return rc;
	if (*o->fd_in < 0)
		return err_set(
			o->e, -EINVAL,
			"the value comes through a descriptor; use agentsecrets secrets set");
	rc = workspaces_copy(o->w, &r, o->e);
	if (rc == 0)
		rc = ops_bind(o, r, ref.name);
	if (rc == 0)
		rc = ops_kind(o, r, &ref);
	if (rc == 0)
		ref.lines = rules_secret(r, ref.name)->slots == RULES_SLOT_CERT;
	if (rc == 0)
		rc = ops_audit(o, ref.workspace, "secrets.set");
	if (rc == 0)
		rc = proc_ask(o->p, RPC_SECRET_SET, &ref, sizeof(ref), *o->fd_in, 0, NULL, NULL,
			      o->e);
	if (rc == 0) /* a value of its own, then, and none of a command */
		rc = sources_command(o->p, ref.workspace, ref.name, NULL, o->e);
	if (rc < 0)
		return rc;
	proc_tell_role(o->p, PROC_PROXY, RPC_SECRET_CHANGED, &ref, sizeof(ref), -1);
	return ops_commit(o, r, "secrets.bind");
}

/* Another value for a name that is there; the document stays what it is. */
int ops_secrets_rotate(struct ops *o)
{
	struct rpc_secret_ref ref;
	int rc = ops_secret_ref(o, &ref, true);

	if (rc < 0)
		return rc;
	if (*o->fd_in < 0)
		return err_set(
			o->e, -EINVAL,
			"the value comes through a descriptor; use agentsecrets secrets rotate");
	ref.kind = rules_secret(o->w->rules, ref.name)->kind;
	ref.lines = rules_secret(o->w->rules, ref.name)->slots == RULES_SLOT_CERT;
	rc = ops_audit(o, ref.workspace, "secrets.rotate");
	if (rc == 0)
		rc = proc_ask(o->p, RPC_SECRET_SET, &ref, sizeof(ref), *o->fd_in, 0, NULL, NULL,
			      o->e);
	if (rc == 0)
		rc = sources_command(o->p, ref.workspace, ref.name, NULL, o->e);
	if (rc < 0)
		return rc;
	proc_tell_role(o->p, PROC_PROXY, RPC_SECRET_CHANGED, &ref, sizeof(ref), -1);
	ops_set(o, "workspace", json_string(ref.workspace));
	return 0;
}

int ops_secrets_list(struct ops *o)
{
	const struct rules *r = o->w->rules;
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < r->secret_count; i++)
		(void)json_array_append_new(list, ops_binding(&r->secrets[i]));
	ops_set(o, "workspace", json_string(r->workspace));
	ops_set(o, "secrets", list);
	return 0;
}

int ops_secrets_delete(struct ops *o)
{
	auto_(rules) struct rules *r = NULL;
	struct rpc_secret_ref ref;
	int rc = ops_secret_ref(o, &ref, false);

	if (rc == 0)
		rc = workspaces_copy(o->w, &r, o->e);
	if (rc == 0)
		rc = rules_unbind(r, ref.name, o->e);
	if (rc == 0)
		rc = ops_commit(o, r, "secrets.delete");
	/* Unbound first: from here on nobody gets it, whatever happens to the file. */
	if (rc == 0 && sources_has(o->p, ref.workspace, ref.name))
		rc = sources_command(o->p, ref.workspace, ref.name, NULL, o->e);
	else if (rc == 0)
		rc = proc_ask(o->p, RPC_SECRET_DELETE, &ref, sizeof(ref), -1, 0, NULL, NULL, o->e);
	if (rc == 0)
		proc_tell_role(o->p, PROC_PROXY, RPC_SECRET_CHANGED, &ref, sizeof(ref), -1);
	return rc;
}
