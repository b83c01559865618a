/* ops_install.c: the installation: init, status, doctor. See ops.h, ops_in.h. */
#include "ops_in.h"

#include "doctor.h"
#include "proc.h"
#include "vaultkey.h"
#include "vaultrec.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

int ops_version(struct ops *o)
{
	ops_set(o, "version", json_string(AGENTSECRETS_VERSION));
	return 0;
}

/* The key file is there, under its name of the meantime, before anything depends on it. */
static int ops_init_vault(struct ops *o)
{
	struct rpc_admin admin = {.kind = VAULTREC_WRAP_KEYFILE};
	auto_close int fd = vaultkey_stage(o->p, o->e);
	int rc = fd;

	if (rc < 0)
		return rc;
	vaultkey_unseen(o->p);
	rc = proc_ask(o->p, RPC_VAULT_INIT, &admin, sizeof(admin), fd, 0, NULL, NULL, o->e);
	return rc < 0 ? rc : vaultkey_settle(o->p, o->e);
}

int ops_init(struct ops *o)
{
	struct parent *p = o->p;
	char path[CONFIG_PATH_MAX + 32], hex[2 * SIGN_PUBLIC_LEN + 1];
	int rc;

	if (p->initialised)
		return err_set(o->e, -EEXIST, "there is a vault in %s already; nothing was changed",
			       p->cfg.state_dir);
	rc = ops_init_vault(o);
	if (rc < 0)
		return rc;
	p->initialised = true;
	rc = parent_opened(p, o->e);
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

int ops_doctor(struct ops *o)
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

int ops_status(struct ops *o)
{
	struct rpc_stats sum = {0};
	struct parent *p = o->p;
	struct utsname uts;
	size_t i, guards = 0, workspaces = 0;
	char level[4];

	(void)proc_stats(p);
	(void)snprintf(level, sizeof(level), "L%u", enforce_level(p->en) % 10);
	for (i = 0; i < p->proc_count; i++) {
		const struct rpc_stats *s = &p->procs[i].stats;

		sum.vault_reads += s->vault_reads;
		sum.dir_reads += s->dir_reads;
		sum.helper_reads += s->helper_reads;
		sum.command_reads += s->command_reads;
		sum.command_runs += s->command_runs;
		sum.leaves_signed += s->leaves_signed;
		sum.tokens_asked += s->tokens_asked;
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
		json_pack("{s:s, s:s, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
			  "version", AGENTSECRETS_VERSION, "kernel", uts.release, "level", level,
			  "initialised", p->initialised, "guards", (json_int_t)guards, "workspaces",
			  (json_int_t)workspaces, "vault_reads", (json_int_t)sum.vault_reads,
			  "leaves_signed", (json_int_t)sum.leaves_signed, "tokens_asked",
			  (json_int_t)sum.tokens_asked, "requests",
			  (json_int_t)sum.requests, "denied", (json_int_t)sum.denied, "connections",
			  (json_int_t)sum.connections, "active", (json_int_t)sum.active,
			  "dns_queries", (json_int_t)sum.queries, "dns_upstream_queries",
			  (json_int_t)sum.upstream_queries));
	(void)snprintf(level, sizeof(level), "L%u", p->cfg.minimum_level % 10);
	ops_set(o, "reads",
		json_pack("{s:I, s:I, s:I, s:I, s:I}", "file", (json_int_t)sum.vault_reads, "dir",
			  (json_int_t)sum.dir_reads, "secret_service", (json_int_t)sum.helper_reads, "command",
			  (json_int_t)sum.command_reads, "command_runs", (json_int_t)sum.command_runs));
	ops_set(o, "locked", json_boolean(p->locked));
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
