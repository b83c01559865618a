/* ops.c: see ops.h. A table of operations: the fields it takes, who may ask, the function. A field that is not in the
 * row is refused before the function sees the request. Changes leave an "admin" line in the audit log, and do not happen
 * when it cannot be written.
 */
#include "ops.h"

#include "attach.h"
#include "cgroup.h"
#include "doctor.h"
#include "fdio.h"
#include "guards.h"
#include "jdoc.h"
#include "log.h"
#include "proc.h"
#include "truststore.h"
#include "workspaces.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

/* One request being carried out. */
struct ops {
	struct parent *p;
	const struct ops_caller *who;
	json_t *in, *out;
	int *fd_in, *fd_out;
	struct workspace *w; /* where the row says so */
	struct err *e;
};

enum ops_right {
	OPS_ALL, /* anybody */
	OPS_ROOT,
	OPS_OWNER, /* root, or the owner of the workspace */
};

struct ops_row {
	const char *op;
	enum ops_right right;
	bool workspace; /* takes "workspace" or the current one; w is set */
	bool vault;     /* needs `init` before */
	const char *fields[6];
	int (*fn)(struct ops *o);
};

static void ops_set(struct ops *o, const char *name, json_t *value)
{
	(void)json_object_set_new(o->out, name, value);
}

static int ops_oom(struct ops *o)
{
	return err_set(o->e, -ENOMEM, "out of memory");
}

/* The admin line, recorded before the change. */
static int ops_audit(struct ops *o, const char *workspace, const char *detail)
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

/* ---- the installation ---- */

static int ops_version(struct ops *o)
{
	ops_set(o, "version", json_string(AGENTSECRETS_VERSION));
	return 0;
}

/* The vault key that the keeper made goes to a file of root's alone before anything depends on it. */
static int ops_init_key(struct ops *o)
{
	struct rpc_admin admin = {0};
	auto_free char *key = NULL;
	size_t len;
	int rc = proc_ask(o->p, RPC_VAULT_INIT, &admin, sizeof(admin), -1, 32, &key, &len, o->e);

	if (rc < 0)
		return rc;
	rc = fdio_replace(o->p->state_dir, "vault.key", key, len, 0600);
	explicit_bzero(key, len);
	return rc < 0 ? err_set(o->e, rc,
				"cannot write %s/vault.key: %s; remove what is in %s/vault and try again",
				o->p->cfg.state_dir, strerror(-rc), o->p->cfg.state_dir)
		      : 0;
}

static int ops_init(struct ops *o)
{
	auto_close int fd = -1;
	struct rpc_admin admin = {0};
	struct parent *p = o->p;
	char path[CONFIG_PATH_MAX + 32], hex[2 * SIGN_PUBLIC_LEN + 1];
	int rc;

	if (p->initialised)
		return err_set(o->e, -EEXIST, "there is a vault in %s already; nothing was changed",
			       p->cfg.state_dir);
	rc = ops_init_key(o);
	if (rc < 0)
		return rc;
	fd = openat(p->state_dir, "vault.key", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return err_set(o->e, -errno, "cannot open the key file again: %s", strerror(errno));
	rc = proc_ask(p, RPC_VAULT_OPEN, &admin, sizeof(admin), fd, 0, NULL, NULL, o->e);
	if (rc == 0)
		rc = parent_publish(p, o->e);
	if (rc < 0)
		return rc;
	p->initialised = true;
	rc = parent_serve(p, o->e);
	if (rc == 0)
		rc = ops_audit(o, NULL, "init");
	if (rc < 0)
		return rc;
	sign_hex(p->public_key, SIGN_PUBLIC_LEN, hex);
	(void)snprintf(path, sizeof(path), "%s/ca.pem", p->cfg.state_dir);
	ops_set(o, "public_key", json_string(hex));
	ops_set(o, "ca_file", json_string(path));
	return 0;
}

static int ops_doctor(struct ops *o)
{
	struct doctor_check checks[48];
	size_t n = doctor_checks(&o->p->cfg, o->p->en, checks, ARRAY_SIZE(checks)), i;
	json_t *list = json_array();

	for (i = 0; i < n; i++)
		(void)json_array_append_new(list, json_pack("{s:s, s:b, s:b, s:s}", "name",
							    checks[i].name, "ok", checks[i].ok,
							    "required", checks[i].required,
							    "detail", checks[i].detail));
	ops_set(o, "checks", list);
	return 0;
}

static json_t *ops_kernel_numbers(struct parent *p)
{
	uint64_t s[EG_STAT_COUNT] = {0}, denied = 0;
	size_t i;

	if (enforce_stats(p->en, s) < 0)
		return json_null();
	for (i = EG_STAT_DENIED; i < EG_STAT_COUNT; i++)
		denied += s[i];
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "redirected",
			 (json_int_t)s[EG_STAT_REDIRECTED], "dns", (json_int_t)s[EG_STAT_DNS],
			 "direct", (json_int_t)s[EG_STAT_DIRECT], "denied", (json_int_t)denied,
			 "events_lost", (json_int_t)s[EG_STAT_EVENTS_LOST], "events_limited",
			 (json_int_t)s[EG_STAT_EVENTS_LIMITED], "records_lost",
			 (json_int_t)s[EG_STAT_RECORDS_LOST]);
}

static json_t *ops_processes(struct parent *p)
{
	json_t *list = json_array();
	size_t i;

	(void)json_array_append_new(list, json_pack("{s:s, s:i, s:b}", "role", "parent", "pid",
						    (int)getpid(), "ready", 1));
	for (i = 0; i < p->proc_count; i++)
		(void)json_array_append_new(list, json_pack("{s:s, s:i, s:i, s:b}", "role",
							    proc_role_word(p->procs[i].role),
							    "number", (int)p->procs[i].number,
							    "pid", (int)p->procs[i].pid, "ready",
							    p->procs[i].ready));
	return list;
}

static int ops_status(struct ops *o)
{
	struct rpc_stats sum = {0};
	struct parent *p = o->p;
	struct utsname uts;
	size_t i, guards = 0, workspaces = 0;
	char level[4];

	proc_stats(p);
	(void)snprintf(level, sizeof(level), "L%u", enforce_level(p->en) % 10);
	for (i = 0; i < p->proc_count; i++) {
		const struct rpc_stats *s = &p->procs[i].stats;

		sum.vault_reads += s->vault_reads;
		sum.leaves_signed += s->leaves_signed;
		sum.requests += s->requests;
		sum.denied += s->denied;
		sum.connections += s->connections;
		sum.active += s->active;
		sum.queries += s->queries;
		sum.upstream_queries += s->upstream_queries;
	}
	for (i = 0; i < EG_GUARDS_MAX; i++)
		guards += p->guards[i].id != 0;
	for (i = 0; i < PARENT_WORKSPACES_MAX; i++)
		workspaces += p->workspaces[i].rules != NULL;
	if (uname(&uts) < 0)
		return err_set(o->e, -errno, "uname: %s", strerror(errno));
	(void)json_object_update_new(
		o->out,
		json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			  "version", AGENTSECRETS_VERSION, "kernel", uts.release, "level", level,
			  "initialised", p->initialised, "guards", (json_int_t)guards, "workspaces",
			  (json_int_t)workspaces, "vault_reads", (json_int_t)sum.vault_reads,
			  "leaves_signed", (json_int_t)sum.leaves_signed, "requests",
			  (json_int_t)sum.requests, "denied", (json_int_t)sum.denied, "connections",
			  (json_int_t)sum.connections, "active", (json_int_t)sum.active,
			  "dns_queries", (json_int_t)sum.queries, "dns_upstream_queries",
			  (json_int_t)sum.upstream_queries));
	(void)snprintf(level, sizeof(level), "L%u", p->cfg.minimum_level % 10);
	ops_set(o, "minimum_level", json_string(level));
	if (enforce_level(p->en) < 3)
		ops_set(o, "L3_missing", json_string(enforce_missing(p->en, 3)));
	if (enforce_level(p->en) < 2)
		ops_set(o, "L2_missing", json_string(enforce_missing(p->en, 2)));
	ops_set(o, "kernel_counters", ops_kernel_numbers(p));
	if (o->who->uid == 0)
		ops_set(o, "processes", ops_processes(p));
	return 0;
}

/* ---- workspaces ---- */

static int ops_workspace_create(struct ops *o)
{
	const char *name = NULL;
	char current[RPC_WORKSPACE_MAX], show[JDOC_SHOW_MAX];
	uint64_t owner = o->who->uid;
	int rc = jdoc_str(o->in, "workspace", &name, o->e);

	if (rc == 0)
		rc = jdoc_uint(o->in, "owner", 0, UINT32_MAX - 1, &owner, o->e);
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
		rc = workspaces_create(o->p, name, (uint32_t)owner, o->e);
	if (rc < 0)
		return rc;
	workspaces_current(o->p, (uid_t)owner, current);
	if (!current[0])
		rc = workspaces_use(o->p, (uid_t)owner, name, o->e);
	ops_set(o, "workspace", json_string(name));
	return rc;
}

static bool ops_may(const struct ops *o, const struct workspace *w)
{
	return o->who->uid == 0 || o->who->uid == w->rules->owner;
}

static int ops_workspace_list(struct ops *o)
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
			json_pack("{s:s, s:I, s:I, s:b, s:I, s:I, s:I}", "workspace",
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

static int ops_workspace_use(struct ops *o)
{
	ops_set(o, "workspace", json_string(o->w->rules->workspace));
	return workspaces_use(o->p, o->who->uid, o->w->rules->workspace, o->e);
}

static int ops_workspace_delete(struct ops *o)
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
static int ops_strings(struct ops *o, const char *field, json_t *list, size_t slot, size_t max,
		       void **ret, uint32_t *count)
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
}

static int ops_rule(struct ops *o, json_t *in, struct rules_rule *r)
{
	static const char *const fields[] = {"host", "port", "mode", "methods", "paths", "private"};
	const char *host = NULL, *mode = "inspect";
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
	if (rc < 0)
		return rc;
	if (!host)
		return err_set(o->e, -EINVAL, "a rule needs a host");
	if (ops_mode(mode, &r->mode) < 0)
		return err_set(o->e, -EINVAL, "there is no such mode; use inspect, tunnel or tcp");
	if (r->mode != RULES_INSPECT)
		return err_set(o->e, -ENOTSUP, "mode %s is not in this version; use inspect", mode);
	rc = rules_host(host, true, r->private, r->host, o->e);
	if (rc == 0)
		rc = ops_strings(o, "methods", json_object_get(in, "methods"), 32,
				 RULES_METHODS_MAX, &methods, &r->method_count);
	r->methods = methods;
	if (rc == 0)
		rc = ops_strings(o, "paths", json_object_get(in, "paths"), 512, RULES_PATHS_MAX,
				 &paths, &r->path_count);
	r->paths = paths;
	r->port = (uint16_t)port;
	return rc;
}

static int ops_commit(struct ops *o, struct rules *changed, const char *what)
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

static int ops_allowlist_add(struct ops *o)
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

static int ops_allowlist_remove(struct ops *o)
{
	json_t *list = json_object_get(o->in, "hosts");
	auto_(rules) struct rules *r = NULL;
	size_t i, n = json_array_size(list);
	int rc;

	if (n == 0)
		return err_set(o->e, -EINVAL, "name at least one host to remove");
	rc = workspaces_copy(o->w, &r, o->e);
	for (i = 0; i < n && rc == 0; i++) {
		const char *typed = json_string_value(json_array_get(list, i));
		char host[RPC_HOST_MAX];

		if (!typed)
			return err_set(o->e, -EINVAL, "hosts must be a list of strings");
		rc = rules_host(typed, true, true, host, o->e);
		if (rc == 0)
			rc = rules_remove(r, host, 0, o->e);
	}
	return rc < 0 ? rc : ops_commit(o, r, "allowlist.remove");
}

static json_t *ops_list(const void *base, size_t slot, size_t count)
{
	json_t *list = json_array();
	size_t i;

	for (i = 0; i < count; i++)
		(void)json_array_append_new(list, json_string((const char *)base + i * slot));
	return list;
}

static int ops_allowlist_list(struct ops *o)
{
	const struct rules *r = o->w->rules;
	json_t *list = json_array();
	uint32_t i;

	for (i = 0; i < r->rule_count; i++) {
		const struct rules_rule *x = &r->rules[i];

		(void)json_array_append_new(
			list,
			json_pack("{s:s, s:i, s:s, s:o, s:o, s:b}", "host", x->host, "port",
				  (int)x->port, "mode", rules_mode_word((enum rules_mode)x->mode),
				  "methods", ops_list(x->methods, 32, x->method_count), "paths",
				  ops_list(x->paths, 512, x->path_count), "private", x->private));
	}
	ops_set(o, "workspace", json_string(r->workspace));
	ops_set(o, "version", json_integer((json_int_t)r->version));
	ops_set(o, "rules", list);
	return 0;
}

static int ops_allowlist_verify(struct ops *o)
{
	char hex[2 * SIGN_PUBLIC_LEN + 1];
	int rc = workspaces_verify(o->p, o->w, o->e);

	sign_hex(o->p->public_key, SIGN_PUBLIC_LEN, hex);
	ops_set(o, "workspace", json_string(o->w->rules->workspace));
	ops_set(o, "version", json_integer((json_int_t)o->w->rules->version));
	ops_set(o, "public_key", json_string(hex));
	return rc;
}

/* ---- secrets ---- */

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
				"there is no such slot; use header, basic, query, path or body");
		*ret |= (uint32_t)slot;
	}
	return *ret ? 0
		    : err_set(o->e, -EINVAL,
			      "slots must be a list of header, basic, query, path, body");
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

static int ops_secrets_set(struct ops *o)
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
		rc = ops_audit(o, ref.workspace, "secrets.set");
	if (rc == 0)
		rc = proc_ask(o->p, RPC_SECRET_SET, &ref, sizeof(ref), *o->fd_in, 0, NULL, NULL,
			      o->e);
	if (rc < 0)
		return rc;
	proc_tell_role(o->p, PROC_PROXY, RPC_SECRET_CHANGED, &ref, sizeof(ref), -1);
	return ops_commit(o, r, "secrets.bind");
}

static int ops_secrets_list(struct ops *o)
{
	const struct rules *r = o->w->rules;
	json_t *list = json_array();
	uint32_t i, bit;

	for (i = 0; i < r->secret_count; i++) {
		json_t *slots = json_array();

		for (bit = 1; bit <= RULES_SLOTS_ALL; bit <<= 1)
			if (r->secrets[i].slots & bit)
				(void)json_array_append_new(
					slots, json_string(rules_slot_word((enum rules_slot)bit)));
		(void)json_array_append_new(
			list, json_pack("{s:s, s:o, s:o}", "name", r->secrets[i].name, "hosts",
					ops_list(r->secrets[i].hosts, RPC_HOST_MAX,
						 r->secrets[i].host_count),
					"slots", slots));
	}
	ops_set(o, "workspace", json_string(r->workspace));
	ops_set(o, "secrets", list);
	return 0;
}

static int ops_secrets_delete(struct ops *o)
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

/* ---- guards ---- */

static int ops_run_enter(struct ops *o)
{
	const struct rules *r = o->w->rules;
	struct parent *p = o->p;
	json_t *secrets = json_array();
	struct guard *g = NULL;
	char path[CONFIG_PATH_MAX + 32], id[24];
	static const char *const files[][2] = {
		{"ca", TRUSTSTORE_CA}, {"bundle", TRUSTSTORE_BUNDLE}, {"jks", TRUSTSTORE_JKS}};
	size_t i;
	int rc = ops_audit(o, r->workspace, "run.enter");

	for (i = 0; i < r->secret_count; i++)
		(void)json_array_append_new(secrets, json_string(r->secrets[i].name));
	ops_set(o, "secrets", secrets);
	if (rc == 0)
		rc = guards_enter(p, o->who->pid, o->w, &g, o->e);
	if (rc < 0)
		return rc;
	for (i = 0; i < ARRAY_SIZE(files); i++) {
		(void)snprintf(path, sizeof(path), "%s/trust/%s", p->cfg.run_dir, files[i][1]);
		ops_set(o, files[i][0], json_string(path));
	}
	(void)snprintf(id, sizeof(id), "%llu", (unsigned long long)g->id);
	ops_set(o, "guard", json_string(id));
	ops_set(o, "workspace", json_string(r->workspace));
	ops_set(o, "proxy", json_integer(p->cfg.explicit_port));
	ops_set(o, "state_dir", json_string(p->cfg.state_dir));
	ops_set(o, "run_dir", json_string(p->cfg.run_dir));
	return 0;
}

static int ops_cgroup_list(struct ops *o)
{
	json_t *list = json_array();
	size_t i, j;

	for (i = 0; i < EG_GUARDS_MAX; i++) {
		const struct guard *g = &o->p->guards[i];
		char path[CONFIG_PATH_MAX * 2], id[24], netns[24];
		pid_t pids[256];
		json_t *pl;
		size_t n;

		if (!g->id)
			continue;
		n = cgroup_pids(g->cgroup_fd, pids, ARRAY_SIZE(pids));
		pl = json_array();
		for (j = 0; j < n && j < ARRAY_SIZE(pids); j++)
			(void)json_array_append_new(pl, json_integer(pids[j]));
		(void)snprintf(path, sizeof(path), "%s", g->path);
		(void)snprintf(id, sizeof(id), "%llu", (unsigned long long)g->id);
		(void)snprintf(netns, sizeof(netns), "%llu", (unsigned long long)g->netns);
		(void)json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s, s:o, s:I}",
							    "guard", id, "workspace", g->workspace,
							    "path", path, "netns", netns, "pids",
							    pl, "since", (json_int_t)g->since));
	}
	ops_set(o, "guards", list);
	return 0;
}

static json_t *ops_id(uint64_t id)
{
	return json_sprintf("%llu", (unsigned long long)id);
}

/* What an attached client is told, since its environment stays as it is. */
static void ops_trust(struct ops *o)
{
	const char *run = o->p->cfg.run_dir;

	ops_set(o, "ca", json_sprintf("%s/trust/%s", run, TRUSTSTORE_CA));
	ops_set(o, "bundle", json_sprintf("%s/trust/%s", run, TRUSTSTORE_BUNDLE));
}

static void ops_attached(struct ops *o, const struct attach_told *told)
{
	json_t *killed = json_array();
	size_t i;

	for (i = 0; i < told->killed && i < ATTACH_KILLED_MAX; i++)
		(void)json_array_append_new(killed, json_integer(told->killed_pids[i]));
	ops_set(o, "guard", ops_id(told->guard->id));
	ops_set(o, "workspace", json_string(told->guard->workspace));
	ops_set(o, "path", json_string(told->guard->path));
	ops_set(o, "moved", json_boolean(!told->guard->in_place));
	ops_set(o, "processes", json_integer((json_int_t)told->processes));
	ops_set(o, "adopted", json_integer((json_int_t)told->adopted));
	ops_set(o, "reset", json_integer((json_int_t)told->reset));
	ops_set(o, "killed", json_integer((json_int_t)told->killed));
	ops_set(o, "killed_pids", killed);
	if (told->privileged)
		ops_set(o, "privileged", json_integer(told->privileged));
	ops_trust(o);
}

static int ops_cgroup_attach(struct ops *o)
{
	json_t *pid = json_object_get(o->in, "pid"), *kill = json_object_get(o->in, "kill");
	struct attach_ask ask = {.caller = o->who->pid, .workspace = o->w};
	struct attach_told told;
	char detail[64];
	int rc;

	if (!json_is_integer(pid) || json_integer_value(pid) < 1 || json_integer_value(pid) > INT32_MAX ||
	    (kill && !json_is_boolean(kill)))
		return err_set(o->e, -EINVAL, "cgroup.attach needs \"pid\", a number, and may have \"kill\", true or false");
	ask.pid = (pid_t)json_integer_value(pid);
	ask.kill = json_is_true(kill);
	(void)snprintf(detail, sizeof(detail), "cgroup.attach %d%s", (int)ask.pid, ask.kill ? " --kill" : "");
	rc = ops_audit(o, o->w->rules->workspace, detail);
	if (rc == 0)
		rc = attach_run(o->p, &ask, &told, o->e);
	if (rc == 0)
		ops_attached(o, &told);
	return rc;
}

static int ops_cgroup_detach(struct ops *o)
{
	const char *which = json_string_value(json_object_get(o->in, "guard"));
	struct guard *g = attach_find(o->p, which ? which : "", o->e);
	char detail[64];
	size_t stay = 0;
	int rc;

	if (!g)
		return -ENOENT;
	ops_set(o, "guard", ops_id(g->id));
	ops_set(o, "workspace", json_string(g->workspace));
	ops_set(o, "path", json_string(g->path));
	ops_set(o, "origin", json_string(g->origin));
	(void)snprintf(detail, sizeof(detail), "cgroup.detach %llu", (unsigned long long)g->id);
	rc = ops_audit(o, g->workspace, detail);
	if (rc == 0)
		rc = attach_undo(o->p, g, &stay, o->e);
	if (rc == 0)
		ops_set(o, "stay", json_integer((json_int_t)stay));
	return rc;
}

/* ---- the log ---- */

static int ops_log_open(struct ops *o)
{
	auto_close int fd = open(o->p->cfg.audit_log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0)
		return err_set(o->e, -errno, "cannot open %s: %s", o->p->cfg.audit_log,
			       strerror(errno));
	ops_set(o, "path", json_string(o->p->cfg.audit_log));
	*o->fd_out = take_fd(&fd);
	return 0;
}

static int ops_log_key(struct ops *o)
{
	const char *writer = NULL, *epoch = NULL;
	struct rpc_audit_key key = {0};
	auto_free char *bytes = NULL;
	char hex[65];
	int rc = jdoc_str(o->in, "writer", &writer, o->e);

	if (rc == 0)
		rc = jdoc_str(o->in, "epoch", &epoch, o->e);
	if (rc < 0)
		return rc;
	if (!writer || !*writer || strlen(writer) >= sizeof(key.writer) || !epoch ||
	    sign_unhex(epoch, strlen(epoch), key.epoch, sizeof(key.epoch)) < 0)
		return err_set(o->e, -EINVAL,
			       "log.key needs a writer and its epoch, 32 hex digits");
	(void)snprintf(key.writer, sizeof(key.writer), "%s", writer);
	rc = proc_ask(o->p, RPC_AUDIT_DERIVE, &key, sizeof(key), -1, 32, &bytes, NULL, o->e);
	if (rc < 0)
		return rc;
	sign_hex(bytes, 32, hex);
	explicit_bzero(bytes, 32);
	ops_set(o, "key", json_string(hex));
	explicit_bzero(hex, sizeof(hex));
	return 0;
}

/* ---- the table ---- */

static const struct ops_row ops_rows[] = {
	{"version", OPS_ALL, false, false, {NULL}, ops_version},
	{"init", OPS_ROOT, false, false, {NULL}, ops_init},
	{"status", OPS_ALL, false, false, {NULL}, ops_status},
	{"doctor", OPS_ROOT, false, false, {NULL}, ops_doctor},
	{"workspace.create", OPS_ROOT, false, true, {"workspace", "owner"}, ops_workspace_create},
	{"workspace.list", OPS_ALL, false, true, {NULL}, ops_workspace_list},
	{"workspace.use", OPS_OWNER, true, true, {"workspace"}, ops_workspace_use},
	{"workspace.delete", OPS_ROOT, true, true, {"workspace"}, ops_workspace_delete},
	{"allowlist.add", OPS_ROOT, true, true, {"workspace", "rules"}, ops_allowlist_add},
	{"allowlist.remove", OPS_ROOT, true, true, {"workspace", "hosts"}, ops_allowlist_remove},
	{"allowlist.list", OPS_OWNER, true, true, {"workspace"}, ops_allowlist_list},
	{"allowlist.verify", OPS_OWNER, true, true, {"workspace"}, ops_allowlist_verify},
	{"secrets.set",
	 OPS_ROOT,
	 true,
	 true,
	 {"workspace", "name", "hosts", "slots"},
	 ops_secrets_set},
	{"secrets.list", OPS_OWNER, true, true, {"workspace"}, ops_secrets_list},
	{"secrets.delete", OPS_ROOT, true, true, {"workspace", "name"}, ops_secrets_delete},
	{"run.enter", OPS_OWNER, true, true, {"workspace"}, ops_run_enter},
	{"cgroup.list", OPS_ROOT, false, true, {NULL}, ops_cgroup_list},
	{"cgroup.attach", OPS_ROOT, true, true, {"workspace", "pid", "kill"}, ops_cgroup_attach},
	{"cgroup.detach", OPS_ROOT, false, true, {"guard"}, ops_cgroup_detach},
	{"log.open", OPS_ROOT, false, true, {NULL}, ops_log_open},
	{"log.key", OPS_ROOT, false, true, {"writer", "epoch"}, ops_log_key},
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
	rc = ops_check_fields(row, request, e);
	if (rc == 0 && row->workspace)
		rc = ops_pick_workspace(&o);
	if (rc == 0)
		rc = ops_check_right(&o, row);
	return rc < 0 ? rc : row->fn(&o);
}
