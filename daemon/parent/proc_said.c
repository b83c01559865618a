/* proc_said.c: what children say to the parent of their own accord. See proc.h. */
#include "proc_in.h"

#include "commands.h"
#include "guards.h"
#include "heads.h"
#include "log.h"
#include "origin.h"
#include "workspaces.h"

#include <stdio.h>
#include <string.h>

int proc_ready(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct parent *p = ctx;

	(void)m;
	p->procs[peer].ready = true;
	return 0;
}

/* The resolver says which address; whether a rule opens it is judged here, from the parent's own document. */
static bool proc_lease_ok(struct parent *p, const struct rpc_lease *l)
{
	struct guard *g = guards_find(p, l->guard);
	struct workspace *w = g ? workspaces_find(p, g->workspace) : NULL;
	const struct rules_rule *rule;
	enum reason why;

	rule = w ? rules_find(w->rules, l->host, l->port, &why) : NULL;
	if (!rule || (l->direct && rule->mode != RULES_TCP) || (!l->direct && !rule->private))
		return false;
	return !origin_special(&p->cfg, l->addr) ||
	       (rule->private && origin_openable(l->addr, false));
}

/* The line for an address that a name's rule of mode tcp opens for a guard: who connects there is told by the kernel's
 * own events, which know the address only. None for one that is open already. */
static int proc_lease_recorded(struct parent *p, const struct rpc_lease *l, const struct eg_lease_key *key)
{
	const struct guard *g = guards_find(p, l->guard);
	char detail[64];
	struct audit_entry en = {.kind = AUDIT_DECISION,
				 .guard = l->guard,
				 .workspace = g ? g->workspace : NULL,
				 .cgroup = l->guard,
				 .scheme = "tcp",
				 .addr = l->addr,
				 .port = l->port,
				 .host = l->host,
				 .host_len = strlen(l->host),
				 .host_port = l->port,
				 .allow = true,
				 .detail = detail};

	if (!l->direct || enforce_leased(p->en, key, loop_now_ms() * 1000000ULL))
		return 0;
	(void)snprintf(detail, sizeof(detail), "opened for %u s, by DNS", l->ttl);
	return parent_audit(p, &en);
}

static int proc_lease(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_lease *l = m->body;
	struct parent *p = ctx;
	struct eg_lease_key key = {.guard = l->guard, .port = l->port};
	struct eg_lease lease = {.flags = l->direct ? EG_LEASE_DIRECT : 0};

	if (p->procs[peer].role != PROC_RESOLVER || !rpc_str_ok(l->host, sizeof(l->host)) ||
	    !rules_host_ok(l->host))
		return -EPROTO;
	memcpy(key.addr, l->addr, sizeof(key.addr));
	lease.expires = loop_now_ms() * 1000000ULL + (uint64_t)l->ttl * 1000000000ULL;
	if (proc_lease_ok(p, l) &&
	    (proc_lease_recorded(p, l, &key) < 0 || enforce_lease(p->en, &key, &lease) < 0))
		log_warn(
			"a lease for %s was not taken by the kernel; connections to it are refused",
			l->host);
	/* The resolver holds the answer back until now: the client connects at once. */
	return m->id ? rpc_send(p->procs[peer].boss.fd, RPC_LEASED, m->id, NULL, 0, NULL, 0, -1)
		     : 0;
}

int proc_took_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct parent *p = ctx;

	memcpy(&p->procs[peer].stats, m->body, sizeof(struct rpc_stats));
	if (m->id)
		p->procs[peer].answered = m->id;
	return 0;
}

static int proc_audit_renewed(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_audit_renewed *r = m->body;
	struct parent *p = ctx;

	if (p->procs[peer].role != PROC_PROXY)
		return -EPROTO;
	heads_renewed(p, &p->procs[peer], r);
	return 0;
}

int proc_command_run(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_command_run *q = m->body;
	struct parent *p = ctx;

	if (p->procs[peer].role != PROC_KEEPER || q->serial == 0 || !rpc_str_ok(q->workspace, sizeof(q->workspace)) ||
	    !rpc_str_ok(q->name, sizeof(q->name)))
		return -EPROTO;
	commands_run(p, q);
	return 0;
}

static const struct rpc_row proc_rows[] = {
	{RPC_COMMAND_RUN, sizeof(struct rpc_command_run), 0, 0, proc_command_run},
	{RPC_READY, 0, 0, 0, proc_ready},
	{RPC_LEASE, sizeof(struct rpc_lease), 0, 0, proc_lease},
	{RPC_STATS, sizeof(struct rpc_stats), 0, 0, proc_took_stats},
	{RPC_AUDIT_RENEWED, sizeof(struct rpc_audit_renewed), 0, 0, proc_audit_renewed},
};

void proc_on_boss(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct parent *p = ctx;
	struct proc *c = &p->procs[slot];
	int rc;

	(void)gen;
	(void)events;
	if (c->boss.fd < 0)
		return;
	rc = rpc_serve(&c->boss, proc_rows, ARRAY_SIZE(proc_rows), p, p->rpc_buf, 64);
	if (rc < 0)
		proc_lost(c, rc);
}
