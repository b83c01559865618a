/* ops_secrets.c: secrets. See ops.h, ops_in.h. */
#include "ops_in.h"

#include "jdoc.h"
#include "proc.h"
#include "workspaces.h"

#include <stdio.h>
#include <string.h>

static int ops_secret_ref(struct ops *o, struct rpc_secret_ref *ref)
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
	(void)snprintf(ref->workspace, sizeof(ref->workspace), "%s", o->w->rules->workspace);
	(void)snprintf(ref->name, sizeof(ref->name), "%s", name);
	return 0;
}

static int ops_slots(struct ops *o, uint32_t *ret)
{
	json_t *list = json_object_get(o->in, "slots"), *v;
	size_t i;

	if (!list)
		return 0;
	*ret = 0;
	json_array_foreach(list, i, v) {
		const char *word = json_string_value(v);
		int slot = word ? rules_slot_of(word) : 0;

		if (!slot)
			return err_set(
				o->e, -EINVAL,
				"there is no such slot; use header, basic, query, path, body or client_cert");
		*ret |= (uint32_t)slot;
	}
	return *ret ? 0
		    : err_set(o->e, -EINVAL,
			      "slots must be a list of header, basic, query, path, body, client_cert");
}

/* The binding as asked for; without hosts or slots the old ones stay. */
static int ops_bind(struct ops *o, struct rules *r, const char *name)
{
	const struct rules_secret *old = rules_secret(o->w->rules, name);
	uint32_t slots = old ? old->slots : RULES_SLOTS_DEFAULT, count = old ? old->host_count : 0,
		 i;
	const char *hosts[RULES_BIND_HOSTS_MAX];
	auto_free char(*typed)[RPC_HOST_MAX] = NULL;
	json_t *list = json_object_get(o->in, "hosts");
	int rc = ops_slots(o, &slots);

	if (rc == 0 && list)
		rc = ops_strings(o, "hosts", list, RPC_HOST_MAX, RULES_BIND_HOSTS_MAX,
				 (void **)&typed, &count);
	if (rc < 0)
		return rc;
	for (i = 0; i < count; i++) {
		if (list) {
			char host[RPC_HOST_MAX];

			rc = rules_host(typed[i], true, true, host, o->e);
			if (rc < 0)
				return rc;
			memcpy(typed[i], host, sizeof(host));
		}
		hosts[i] = list ? typed[i] : old->hosts[i];
	}
	return rules_bind(r, name, hosts, count, slots, o->e);
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
	int rc = ops_secret_ref(o, &ref);

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
		rc = ops_audit(o, ref.workspace, "secrets.set");
	if (rc == 0)
		rc = proc_ask(o->p, RPC_SECRET_SET, &ref, sizeof(ref), *o->fd_in, 0, NULL, NULL,
			      o->e);
	if (rc < 0)
		return rc;
	proc_tell_role(o->p, PROC_PROXY, RPC_SECRET_CHANGED, &ref, sizeof(ref), -1);
	return ops_commit(o, r, "secrets.bind");
}

int ops_secrets_list(struct ops *o)
{
	const struct rules *r = o->w->rules;
	json_t *list = json_array();
	uint32_t i, bit;

	for (i = 0; i < r->secret_count; i++) {
		json_t *slots = json_array();

		for (bit = 1; bit <= RULES_SLOTS_KNOWN; bit <<= 1)
			if (r->secrets[i].slots & bit)
				(void)json_array_append_new(
					slots, json_string(rules_slot_word((enum rules_slot)bit)));
		(void)json_array_append_new(
			list, json_pack("{s:s, s:s, s:o, s:o}", "name", r->secrets[i].name, "kind",
					kind_word(r->secrets[i].kind), "hosts",
					ops_list(r->secrets[i].hosts, RPC_HOST_MAX,
						 r->secrets[i].host_count),
					"slots", slots));
	}
	ops_set(o, "workspace", json_string(r->workspace));
	ops_set(o, "secrets", list);
	return 0;
}

int ops_secrets_delete(struct ops *o)
{
	auto_(rules) struct rules *r = NULL;
	struct rpc_secret_ref ref;
	int rc = ops_secret_ref(o, &ref);

	if (rc == 0)
		rc = workspaces_copy(o->w, &r, o->e);
	if (rc == 0)
		rc = rules_unbind(r, ref.name, o->e);
	if (rc == 0)
		rc = ops_commit(o, r, "secrets.delete");
	/* Unbound first: from here on nobody gets it, whatever happens to the file. */
	if (rc == 0)
		rc = proc_ask(o->p, RPC_SECRET_DELETE, &ref, sizeof(ref), -1, 0, NULL, NULL, o->e);
	if (rc == 0)
		proc_tell_role(o->p, PROC_PROXY, RPC_SECRET_CHANGED, &ref, sizeof(ref), -1);
	return rc;
}
