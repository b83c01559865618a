/* ops_workspaces.c: workspaces and their allowlists. See ops.h, ops_in.h. */
#include "ops_in.h"

#include "guards.h"
#include "jdoc.h"
#include "sources.h"
#include "workspaces.h"

#include <stdio.h>
#include <string.h>

int ops_workspace_create(struct ops *o)
{
	const char *name = NULL, *backend = "file";
	char current[RPC_WORKSPACE_MAX], show[JDOC_SHOW_MAX];
	uint64_t owner = o->who->uid;
	int rc = jdoc_str(o->in, "workspace", &name, o->e);

	if (rc == 0)
		rc = jdoc_uint(o->in, "owner", 0, UINT32_MAX - 1, &owner, o->e);
	if (rc == 0)
		rc = jdoc_str(o->in, "backend", &backend, o->e);
	if (rc == 0)
		rc = sources_check(backend, o->e);
	if (rc < 0)
		return rc;
	if (!name || !rules_workspace_ok(name))
		return err_set(
			o->e, -EINVAL,
			"\"%s\" is no workspace name; use 1 to 63 of a-z, 0-9 and -, not beginning with -",
			jdoc_show(name ? name : "", show));
	if (workspaces_find(o->p, name))
		return err_set(
			o->e, -EEXIST,
			"there is a workspace %s already; use it with: agentsecrets workspace use %s",
			name, name);
	rc = ops_audit(o, name, "workspace.create");
	if (rc == 0)
		rc = sources_set(o->p, name, backend, o->e);
	if (rc == 0)
		rc = workspaces_create(o->p, name, (uint32_t)owner, o->e);
	if (rc < 0)
		return rc;
	workspaces_current(o->p, (uid_t)owner, current);
	if (!current[0])
		rc = workspaces_use(o->p, (uid_t)owner, name, o->e);
	ops_set(o, "workspace", json_string(name));
	return rc;
}

/* May the caller see and use this workspace. */
static bool ops_may(const struct ops *o, const struct workspace *w)
{
	return o->who->uid == 0 || o->who->uid == w->rules->owner;
}

int ops_workspace_list(struct ops *o)
{
	json_t *list = json_array();
	char current[RPC_WORKSPACE_MAX];
	size_t i;

	workspaces_current(o->p, o->who->uid, current);
	for (i = 0; i < PARENT_WORKSPACES_MAX; i++) {
		const struct workspace *w = &o->p->workspaces[i];

		if (!w->rules || !ops_may(o, w))
			continue;
		(void)json_array_append_new(
			list,
			json_pack("{s:s, s:s, s:I, s:I, s:b, s:I, s:I, s:I}", "backend", sources_backend(o->p, w->rules->workspace), "workspace",
				  w->rules->workspace, "version", (json_int_t)w->rules->version,
				  "owner", (json_int_t)w->rules->owner, "current",
				  strcmp(current, w->rules->workspace) == 0, "rules",
				  (json_int_t)w->rules->rule_count, "secrets",
				  (json_int_t)w->rules->secret_count, "guards",
				  (json_int_t)guards_of_workspace(o->p, w->rules->workspace)));
	}
	ops_set(o, "workspaces", list);
	return 0;
}

int ops_workspace_use(struct ops *o)
{
	ops_set(o, "workspace", json_string(o->w->rules->workspace));
	return workspaces_use(o->p, o->who->uid, o->w->rules->workspace, o->e);
}

int ops_workspace_delete(struct ops *o)
{
	char name[RPC_WORKSPACE_MAX];
	int rc;

	(void)snprintf(name, sizeof(name), "%s", o->w->rules->workspace);
	if (!json_object_get(o->in, "workspace"))
		return err_set(o->e, -EINVAL, "name the workspace to delete");
	rc = ops_audit(o, name, "workspace.delete");
	if (rc == 0)
		rc = workspaces_delete(o->p, name, o->e);
	if (rc == 0)
		rc = sources_drop(o->p, name, o->e);
	if (rc == 0)
		ops_set(o, "workspace", json_string(name));
	return rc;
}

/* ---- the allowlist ---- */

static int ops_mode(const char *word, uint8_t *ret)
{
	int m;

	for (m = RULES_INSPECT; m <= RULES_TCP; m++)
		if (strcmp(word, rules_mode_word((enum rules_mode)m)) == 0) {
			*ret = (uint8_t)m;
			return 0;
		}
	return -EINVAL;
}

/* Copies an array of strings into fixed slots, malloc'ed. */
int ops_strings(struct ops *o, const char *field, json_t *list, size_t slot, size_t max, void **ret,
		uint32_t *count)
{
	size_t n = json_array_size(list), i;
	auto_free char *out = NULL;

	if (!list)
		return 0;
	if (!json_is_array(list) || n > max)
		return err_set(o->e, -EINVAL, "%s must be a list of at most %zu strings", field,
			       max);
	out = calloc(n ? n : 1, slot);
	if (!out)
		return ops_oom(o);
	for (i = 0; i < n; i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (!s || strlen(s) >= slot)
			return err_set(o->e, -EINVAL, "%s must be strings of at most %zu bytes",
				       field, slot - 1);
		memcpy(out + i * slot, s, strlen(s) + 1);
	}
	*count = (uint32_t)n;
	*ret = take(out);
	return 0;
}

static void ops_rule_done(struct rules_rule *r)
{
	free(r->methods);
	free(r->paths);
	free(r->attach);
}

static int ops_rule(struct ops *o, json_t *in, struct rules_rule *r)
{
	static const char *const fields[] = {"host",  "port",    "mode",    "methods",
					     "paths", "private", "upgrade", "client_cert",
					     "inject"};
	const char *host = NULL, *mode = "inspect", *cert = "";
	uint64_t port = 443;
	void *methods = NULL, *paths = NULL;
	int rc = jdoc_fields(in, fields, ARRAY_SIZE(fields), o->e);

	*r = (struct rules_rule){0};
	if (rc == 0)
		rc = jdoc_str(in, "host", &host, o->e);
	if (rc == 0)
		rc = jdoc_str(in, "mode", &mode, o->e);
	if (rc == 0)
		rc = jdoc_uint(in, "port", 1, 65535, &port, o->e);
	if (rc == 0)
		rc = jdoc_bool(in, "private", &r->private, o->e);
	if (rc == 0)
		rc = jdoc_bool(in, "upgrade", &r->upgrade, o->e);
	if (rc == 0)
		rc = jdoc_str(in, "client_cert", &cert, o->e);
	if (rc < 0)
		return rc;
	if (!host)
		return err_set(o->e, -EINVAL, "a rule needs a host");
	if (ops_mode(mode, &r->mode) < 0)
		return err_set(o->e, -EINVAL, "there is no such mode; use inspect, tunnel or tcp");
	if (strlen(cert) >= sizeof(r->client_cert))
		return err_set(o->e, -EINVAL, "client_cert is longer than the %zu bytes of a name",
			       sizeof(r->client_cert) - 1);
	memcpy(r->client_cert, cert, strlen(cert) + 1);
	rc = rules_host(host, true, r->private, r->host, o->e);
	if (rc == 0)
		rc = ops_strings(o, "methods", json_object_get(in, "methods"), 32,
				 RULES_METHODS_MAX, &methods, &r->method_count);
	r->methods = methods;
	if (rc == 0)
		rc = ops_strings(o, "paths", json_object_get(in, "paths"), 512, RULES_PATHS_MAX,
				 &paths, &r->path_count);
	r->paths = paths;
	if (rc == 0)
		rc = rules_read_attach(json_object_get(in, "inject"), &r->attach, &r->attach_count, o->e);
	r->port = (uint16_t)port;
	return rc;
}

int ops_commit(struct ops *o, struct rules *changed, const char *what)
{
	uint64_t version = 0;
	int rc = ops_audit(o, o->w->rules->workspace, what);

	if (rc == 0)
		rc = workspaces_commit(o->p, o->w, changed, &version, o->e);
	if (rc == 0) {
		ops_set(o, "workspace", json_string(o->w->rules->workspace));
		ops_set(o, "version", json_integer((json_int_t)version));
	}
	return rc;
}

int ops_allowlist_add(struct ops *o)
{
	json_t *list = json_object_get(o->in, "rules");
	auto_(rules) struct rules *r = NULL;
	size_t i, n = json_array_size(list);
	int rc;

	if (n == 0)
		return err_set(o->e, -EINVAL, "name at least one host to allow");
	rc = workspaces_copy(o->w, &r, o->e);
	for (i = 0; i < n && rc == 0; i++) {
		struct rules_rule rule;

		rc = ops_rule(o, json_array_get(list, i), &rule);
		if (rc == 0)
			rc = rules_add(r, &rule, o->e);
		ops_rule_done(&rule);
	}
	return rc < 0 ? rc : ops_commit(o, r, "allowlist.add");
}

/* {host, port?} */
static int ops_rule_remove(struct ops *o, json_t *in, struct rules *r)
{
	static const char *const fields[] = {"host", "port"};
	const char *host = NULL;
	uint64_t port = 0;
	int rc = jdoc_fields(in, fields, ARRAY_SIZE(fields), o->e);

	if (rc == 0)
		rc = jdoc_str(in, "host", &host, o->e);
	if (rc == 0)
		rc = jdoc_uint(in, "port", 1, 65535, &port, o->e);
	if (rc == 0 && !host)
		rc = err_set(o->e, -EINVAL, "a rule needs a host");
	return rc < 0 ? rc : rules_remove(r, host, (uint16_t)port, o->e);
}

int ops_allowlist_remove(struct ops *o)
{
	json_t *list = json_object_get(o->in, "rules");
	auto_(rules) struct rules *r = NULL;
	size_t i, n = json_array_size(list);
	int rc;

	if (n == 0)
		return err_set(o->e, -EINVAL, "name at least one host to remove");
	rc = workspaces_copy(o->w, &r, o->e);
	for (i = 0; i < n && rc == 0; i++)
		rc = ops_rule_remove(o, json_array_get(list, i), r);
	return rc < 0 ? rc : ops_commit(o, r, "allowlist.remove");
}

json_t *ops_list(const void *base, size_t slot, size_t count)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < count; i++)
		(void)json_array_append_new(list, json_string((const char *)base + i * slot));
	return list;
}

static json_t *ops_attached(const struct rules_rule *r)
{
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < r->attach_count; i++)
		(void)json_array_append_new(
			list, json_pack("{s:s, s:s, s:s, s:s, s:s}", "secret", r->attach[i].secret, "slot",
					rules_slot_word((enum rules_slot)r->attach[i].slot), "name",
					r->attach[i].name, "prefix", r->attach[i].prefix, "suffix",
					r->attach[i].suffix));
	return list;
}

int ops_allowlist_list(struct ops *o)
{
	const struct rules *r = o->w->rules;
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < r->rule_count; i++) {
		const struct rules_rule *x = &r->rules[i];
		json_t *rule = json_pack(
			"{s:s, s:i, s:s, s:o, s:o, s:b}", "host", x->host, "port", (int)x->port,
			"mode", rules_mode_word((enum rules_mode)x->mode), "methods",
			ops_list(x->methods, 32, x->method_count), "paths",
			ops_list(x->paths, 512, x->path_count), "private", x->private);

		if (x->upgrade)
			(void)json_object_set_new(rule, "upgrade", json_true());
		if (x->client_cert[0])
			(void)json_object_set_new(rule, "client_cert", json_string(x->client_cert));
		if (x->attach_count)
			(void)json_object_set_new(rule, "inject", ops_attached(x));
		(void)json_array_append_new(list, rule);
	}
	ops_set(o, "workspace", json_string(r->workspace));
	ops_set(o, "version", json_integer((json_int_t)r->version));
	ops_set(o, "rules", list);
	return 0;
}

int ops_allowlist_verify(struct ops *o)
{
	char hex[2 * SIGN_PUBLIC_LEN + 1];
	int rc = workspaces_verify(o->p, o->w, o->e);

	sign_hex(o->p->public_key, SIGN_PUBLIC_LEN, hex);
	ops_set(o, "workspace", json_string(o->w->rules->workspace));
	ops_set(o, "version", json_integer((json_int_t)o->w->rules->version));
	ops_set(o, "public_key", json_string(hex));
	return rc;
}
