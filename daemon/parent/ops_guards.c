/* ops_guards.c: guards: run, cgroup. See ops.h, ops_in.h. */
#include "ops_in.h"

#include "attach.h"
#include "cgroup.h"
#include "guards.h"
#include "truststore.h"

#include <stdio.h>
#include <string.h>

static void ops_env(json_t *list, const char *name, const char *suffix, const char *value)
{
	(void)json_array_append_new(list, json_sprintf("%s_%s=%s", name, suffix, value));
}

/* The placeholders of secrets of kind aws: NAME_ACCESS_KEY_ID and NAME_SECRET_ACCESS_KEY for each, and for the first
 * the names that the SDKs look for. */
static json_t *ops_aws_env(const struct rules *r)
{
	json_t *list = json_array();
	bool first = true;
	uint32_t i;

	for (i = 0; i < r->secret_count; i++) {
		const struct rules_secret *s = &r->secrets[i];
		const char *region = kind_param(s->params, "region");
		char id[KIND_AWS_ID_LEN + 1], key[KIND_AWS_KEY_LEN + 1];

		if (s->kind != KIND_AWS)
			continue;
		kind_aws_id(r->workspace, s->name, id);
		kind_aws_key(r->workspace, s->name, key);
		ops_env(list, s->name, "ACCESS_KEY_ID", id);
		ops_env(list, s->name, "SECRET_ACCESS_KEY", key);
		if (first && strcmp(s->name, "AWS") != 0) {
			ops_env(list, "AWS", "ACCESS_KEY_ID", id);
			ops_env(list, "AWS", "SECRET_ACCESS_KEY", key);
		}
		if (first && region)
			ops_env(list, "AWS", "REGION", region);
		first = false;
	}
	return list;
}

int ops_run_enter(struct ops *o)
{
	const struct rules *r = o->w->rules;
	struct parent *p = o->p;
	json_t *secrets = json_array(), *env = ops_aws_env(r);
	struct guard *g = NULL;
	char path[CONFIG_PATH_MAX + 32], id[24];
	static const char *const files[][2] = {
		{"ca", TRUSTSTORE_CA}, {"bundle", TRUSTSTORE_BUNDLE}, {"jks", TRUSTSTORE_JKS}};
	size_t i;
	int rc = ops_audit(o, r->workspace, "run.enter");

	for (i = 0; i < r->secret_count; i++)
		if (r->secrets[i].placeholder[0])
			(void)json_array_append_new(env, json_sprintf("%s=%s", r->secrets[i].name,
								      r->secrets[i].placeholder));
		else
			(void)json_array_append_new(secrets, json_string(r->secrets[i].name));
	ops_set(o, "secrets", secrets);
	ops_set(o, "env", env);
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

int ops_cgroup_list(struct ops *o)
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

int ops_cgroup_attach(struct ops *o)
{
	json_t *pid = json_object_get(o->in, "pid"), *kill = json_object_get(o->in, "kill");
	struct attach_ask ask = {.caller = o->who->pid, .workspace = o->w};
	struct attach_told told;
	char detail[64];
	int rc;

	if (!json_is_integer(pid) || json_integer_value(pid) < 1 ||
	    json_integer_value(pid) > INT32_MAX || (kill && !json_is_boolean(kill)))
		return err_set(
			o->e, -EINVAL,
			"cgroup.attach needs \"pid\", a number, and may have \"kill\", true or false");
	ask.pid = (pid_t)json_integer_value(pid);
	ask.kill = json_is_true(kill);
	(void)snprintf(detail, sizeof(detail), "cgroup.attach %d%s", (int)ask.pid,
		       ask.kill ? " --kill" : "");
	rc = ops_audit(o, o->w->rules->workspace, detail);
	if (rc == 0)
		rc = attach_run(o->p, &ask, &told, o->e);
	if (rc == 0)
		ops_attached(o, &told);
	return rc;
}

int ops_cgroup_detach(struct ops *o)
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
