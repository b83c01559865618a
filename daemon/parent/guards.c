/* guards.c: see guards.h.
 *
 * Making one: cgroup → listeners in the namespace → links attached, state closed → read back → children told → state
 * open → process moved in. Each step undoes what came before when it fails, and the process moves last, so there is no
 * moment in which it is inside without the wall. Ending one: links off only when no process is left in it.
 */
#include "guards_in.h"

#include "adopt.h"
#include "cgroup.h"
#include "cut.h"
#include "log.h"
#include "origin.h"
#include "proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

struct guard *guards_find(struct parent *p, uint64_t id)
{
	size_t i;

	for (i = 0; i < EG_GUARDS_MAX; i++)
		if (id && p->guards[i].id == id)
			return &p->guards[i];
	return NULL;
}

size_t guards_of_workspace(struct parent *p, const char *workspace)
{
	size_t i, n = 0;

	for (i = 0; i < EG_GUARDS_MAX; i++)
		n += p->guards[i].id && strcmp(p->guards[i].workspace, workspace) == 0;
	return n;
}

bool guards_empty(const struct parent *p)
{
	size_t i;

	for (i = 0; i < EG_GUARDS_MAX; i++)
		if (p->guards[i].id)
			return false;
	return true;
}

bool guards_holds(struct parent *p, pid_t pid)
{
	char path[PARENT_CGROUP_MAX];
	uint64_t id;
	size_t i;

	if (cgroup_of(pid, path, sizeof(path), &id, NULL) < 0)
		return true;
	for (i = 0; i < EG_GUARDS_MAX; i++) {
		if (!p->guards[i].id)
			continue;
		if (p->guards[i].id == id)
			return true;
		if (cgroup_within(p->guards[i].path, path))
			return true;
	}
	return false;
}

/* ---- ending ---- */

void guards_close(struct guard *g)
{
	size_t i;

	for (i = 0; i < NETNS_SOCKETS; i++)
		own_close(&g->dns[i]);
	own_close(&g->events_fd);
	own_close(&g->cgroup_fd);
	g->id = 0;
}

static bool guards_needs(const struct parent *p, uint64_t birth)
{
	size_t i, j;

	for (i = 0; i < EG_GUARDS_MAX; i++)
		for (j = 0; p->guards[i].id && j < p->guards[i].birth_count; j++)
			if (p->guards[i].births[j] == birth)
				return true;
	return false;
}

void guards_births_drop(struct parent *p, const uint64_t *births, size_t count)
{
	char key[64];
	size_t i;

	for (i = 0; i < count; i++) {
		if (guards_needs(p, births[i]))
			continue;
		(void)snprintf(key, sizeof(key), "adopt/%llu", (unsigned long long)births[i]);
		proc_unhold(p, key);
		if (p->adopt)
			adopt_birth_drop(p->adopt, births[i]);
	}
}

/* Its directory, unless somebody else has made one of that name since. */
static void guards_rmdir(struct parent *p, const struct guard *g)
{
	auto_close int fd = -1;
	struct err e = {0};
	uint64_t id;

	if (cgroup_open(&p->cfg, g->name, &fd, &id, &e) < 0 || id != g->id)
		return;
	if (cgroup_remove(&p->cfg, g->name, &e) < 0)
		log_warn("%s", e.text);
}

/* The guard is over: nobody is in its cgroup, or it is detached. */
void guards_end(struct parent *p, struct guard *g)
{
	struct rpc_guard msg = {.guard = g->id};
	uint64_t netns = g->netns;
	struct err e = {0};
	struct rpc_listener l;
	char key[64];
	size_t i;

	(void)snprintf(msg.workspace, sizeof(msg.workspace), "%s", g->workspace);
	proc_tell(p, RPC_GUARD_GONE, &msg, sizeof(msg), -1, true);
	for (i = 0; i < NETNS_SOCKETS; i++) {
		guards_dns_listener(g, i, &l);
		if (g->dns[i] >= 0)
			guards_tell_listener(p, NULL, RPC_LISTENER_GONE, &l, -1);
	}
	if (enforce_detach(p->en, g->id, &e) < 0)
		log_warn("guard %s: %s", g->name, e.text);
	(void)snprintf(key, sizeof(key), "dns/%llu", (unsigned long long)g->id);
	proc_unhold(p, key);
	(void)snprintf(key, sizeof(key), "link/%llu", (unsigned long long)g->id);
	proc_unhold(p, key);
	guards_id_text(g->id, key);
	(void)unlinkat(p->guards_dir, key, 0);
	if (!g->in_place)
		guards_rmdir(p, g);
	if (p->adopt)
		adopt_ward_gone(p->adopt, g->id);
	guards_close(g);
	guards_births_drop(p, g->births, g->birth_count);
	guards_netns_leave(p, netns);
}

void guards_drop(struct parent *p, struct guard *g)
{
	if (g->id)
		guards_end(p, g);
	guards_close(g);
}

/* A cgroup of somebody else's that is gone: nothing tells of that, so it is asked. While it is merely empty the guard
 * stays, for whoever is started in it next. */
void guards_sweep(struct parent *p)
{
	bool populated;
	size_t i;

	for (i = 0; i < EG_GUARDS_MAX; i++) {
		struct guard *g = &p->guards[i];

		if (g->id && g->in_place && g->settled &&
		    cgroup_populated(g->cgroup_fd, &populated) < 0)
			guards_end(p, g);
	}
	guards_unix_sweep(p);
}

void guards_on_event(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct parent *p = ctx;
	struct guard *g = &p->guards[slot];
	bool populated = true;
	char text[256];
	int rc;

	(void)events;
	if (!g->id || g->gen != gen)
		return;
	/* Reading is what clears the event (cgroup v2, kernfs poll). */
	if (pread(g->events_fd, text, sizeof(text), 0) < 0 && errno == ENODEV)
		populated = false;
	rc = populated ? cgroup_populated(g->cgroup_fd, &populated) : 0;
	if (rc == -ENODEV || rc == -ENOENT)
		populated = false;
	if (!populated && g->settled && (!g->in_place || rc < 0))
		guards_end(p, g);
}

int guards_watch(struct parent *p, struct guard *g)
{
	struct loop_key key = {
		.kind = PARENT_GUARD, .slot = (uint32_t)(g - p->guards), .gen = ++g->gen};

	g->events_fd = openat(g->cgroup_fd, "cgroup.events", O_RDONLY | O_CLOEXEC);
	return g->events_fd < 0 ? -errno : loop_watch(&p->loop, g->events_fd, key, EPOLLPRI);
}

/* ---- what rules open in the kernel ---- */

static void guards_lease_rule(struct parent *p, const struct guard *g, const struct rules_rule *r)
{
	struct eg_lease_key key = {.guard = g->id, .port = r->port};
	struct eg_lease lease = {.expires = UINT64_MAX,
				 .flags = r->mode == RULES_TCP ? EG_LEASE_DIRECT : 0};

	if (!r->private || !origin_parse(r->host, key.addr) || !origin_openable(key.addr, true))
		return;
	if (enforce_lease(p->en, &key, &lease) < 0)
		log_warn(
			"the rule for %s was not taken by the kernel; connections to it are refused",
			r->host);
}

static void guards_lease(struct parent *p, const struct guard *g, const struct workspace *w)
{
	uint32_t i;

	guards_unix(p, g, w);
	for (i = 0; i < w->rules->rule_count; i++)
		guards_lease_rule(p, g, &w->rules->rules[i]);
}

static bool guards_same_rule(const struct rules_rule *a, const struct rules_rule *b)
{
	return a->port == b->port && a->mode == b->mode && a->private == b->private &&
	       strcmp(a->host, b->host) == 0;
}

static bool guards_has_rule(const struct rules *r, const struct rules_rule *rule)
{
	uint32_t i;

	for (i = 0; i < r->rule_count; i++)
		if (guards_same_rule(&r->rules[i], rule))
			return true;
	return false;
}

/* A new rule that takes hosts away from an old one, being more particular. */
static bool guards_takes(const struct rules_rule *rule, const struct rules_rule *from)
{
	const char *host = strncmp(rule->host, "*.", 2) == 0 ? rule->host + 2 : rule->host;

	return rule->port == from->port && strcmp(rule->host, from->host) != 0 &&
	       rules_host_match(from->host, host);
}

bool guards_closes(const struct rules *from, const struct rules *to)
{
	uint32_t i, j;

	for (i = 0; i < from->rule_count; i++) {
		const struct rules_rule *old = &from->rules[i];

		if (old->mode != RULES_TCP && !old->private)
			continue;
		if (!guards_has_rule(to, old))
			return true;
		for (j = 0; j < to->rule_count; j++)
			if (guards_takes(&to->rules[j], old) && !guards_has_rule(from, &to->rules[j]))
				return true;
	}
	return false;
}

/* Connections of before are cut. */
static void guards_cut(struct parent *p, const struct guard *g)
{
	struct eg_guard state;
	struct err e = {0};
	int rc;

	(void)cut_direct(p->en, g->cgroup_fd); /* their resets must still get out */
	rc = enforce_get(p->en, g->id, &state);
	if (rc == 0) {
		state.direct_since = loop_now_ms() * 1000000ULL;
		rc = enforce_set(p->en, &state, &e);
	}
	if (rc == 0 && p->adopt && g->birth_count && (state.flags & EG_GUARD_OPEN))
		rc = adopt_ward(p->adopt, &state);
	if (rc < 0)
		log_error("guard %s: connections that its rules do not open any more could not be cut: %s",
			  g->name, strerror(-rc));
}

void guards_rules_changed(struct parent *p, const struct workspace *w, bool closed)
{
	size_t i;

	for (i = 0; i < EG_GUARDS_MAX; i++) {
		struct guard *g = &p->guards[i];

		if (!g->id || strcmp(g->workspace, w->rules->workspace) != 0)
			continue;
		if (closed) {
			if (enforce_unlease(p->en, g->id) < 0)
				log_error("guard %s: the kernel did not forget all addresses that DNS opened; they close when the answers end",
					  g->name);
			guards_cut(p, g);
		}
		guards_lease(p, g, w);
	}
}

/* ---- making ---- */

struct guard *guards_slot(struct parent *p)
{
	size_t i, j;

	for (i = 0; i < EG_GUARDS_MAX; i++) {
		struct guard *g = &p->guards[i];
		uint16_t gen = g->gen;

		if (g->id)
			continue;
		*g = (struct guard){.events_fd = -1, .cgroup_fd = -1, .gen = gen};
		for (j = 0; j < NETNS_SOCKETS; j++)
			g->dns[j] = -1;
		return g;
	}
	return NULL;
}

void guards_take_sockets(struct guard *g, struct netns_sockets *s)
{
	size_t i;

	for (i = 0; i < NETNS_SOCKETS; i++)
		g->dns[i] = take_fd(&s->fd[i]);
	g->dns_port = s->port;
	g->netns = s->cookie;
}

int guards_open_state(struct parent *p, const struct guard *g, struct err *e)
{
	struct eg_guard state = {.id = g->id,
				 .flags = EG_GUARD_OPEN,
				 .proxy_port = p->cfg.proxy_port,
				 .dns_port = g->dns_port};
	struct eg_guard old;
	int rc;

	if (enforce_get(p->en, g->id, &old) == 0)
		state.direct_since = old.direct_since;
	rc = enforce_set(p->en, &state, e);

	if (rc == 0 && p->adopt && g->birth_count && adopt_ward(p->adopt, &state) < 0)
		rc = err_set(e, -EIO, "the guard's state for adopted sockets cannot be written");
	return rc;
}

/* Its cgroup, ours or somebody else's. */
static int guards_place(struct parent *p, struct guard *g, struct err *e)
{
	if (g->in_place)
		return cgroup_open_path(g->path, &g->cgroup_fd, &g->id, e);
	if (!guards_put(g->path, "%s/%s", p->cfg.cgroup_root, g->name))
		return err_set(e, -ENAMETOOLONG, "the path of \"cgroup_root\" is too long");
	return cgroup_make(&p->cfg, g->name, &g->cgroup_fd, &g->id, e);
}

/* Everything but the move; g->name and workspace are set. */
static int guards_build(struct parent *p, struct guard *g, pid_t pid, struct err *e)
{
	struct eg_guard closed = {0};
	struct netns_sockets s;
	auto_close int ns = -1;
	int rc = guards_place(p, g, e);

	if (rc < 0) {
		g->id = 0;
		return rc;
	}
	rc = netns_of(pid, &ns, e);
	if (rc == 0)
		rc = netns_sockets(ns, p->listen_cgroup, 0, true, &s, e);
	if (rc < 0)
		return rc;
	guards_take_sockets(g, &s);
	rc = guards_netns_use(p, ns, g->netns, e);
	if (rc < 0)
		return rc;
	closed.id = g->id;
	rc = enforce_attach(p->en, g->cgroup_fd, &closed, e);
	if (rc == 0 && guards_write(p, g) < 0)
		rc = err_set(e, -EIO, "cannot write below %s/guards", p->cfg.run_dir);
	if (rc == 0 && guards_watch(p, g) < 0)
		rc = err_set(e, -EIO, "cannot watch the guard's cgroup");
	if (rc < 0)
		return rc;
	guards_hold_one(p, g);
	guards_tell_one(p, NULL, g);
	return g->settled ? guards_open_state(p, g, e) : 0;
}

static struct guard *guards_new(struct parent *p, const char *kind, pid_t pid,
				const struct workspace *w, struct err *e)
{
	struct guard *g = guards_slot(p);

	if (!g) {
		(void)err_set(e, -ENOSPC,
			      "there are %d guards, which is the most; end one first (agentsecrets "
			      "cgroup list)",
			      EG_GUARDS_MAX);
		return NULL;
	}
	(void)snprintf(g->workspace, sizeof(g->workspace), "%s", w->rules->workspace);
	(void)snprintf(g->name, sizeof(g->name), "%s-%d-%llu", kind, (int)pid,
		       (unsigned long long)++p->run_serial);
	g->since = loop_wall_ns() / 1000000000ULL;
	return g;
}

int guards_adopt(struct parent *p, struct err *e)
{
	return p->adopt ? 0 : adopt_open(enforce_dir(p->en), p->cfg.explicit_port, &p->adopt, e);
}

int guards_attach(struct parent *p, pid_t pid, const struct workspace *w, const char *in_place,
		  const char *origin, struct guard **ret, struct err *e)
{
	struct guard *g = guards_new(p, "attach", pid, w, e);
	int rc;

	if (!g)
		return -ENOSPC;
	g->in_place = in_place != NULL;
	if (!guards_put(g->path, "%s", in_place ? in_place : "") ||
	    !guards_put(g->origin, "%s", origin))
		return err_set(e, -ENAMETOOLONG, "the path of the process's cgroup is too long");
	rc = guards_build(p, g, pid, e);
	if (rc == 0)
		guards_lease(p, g, w);
	if (rc < 0) {
		guards_drop(p, g);
		return rc;
	}
	*ret = g;
	return 0;
}

int guards_settle(struct parent *p, struct guard *g, const uint64_t *births, size_t count,
		  struct err *e)
{
	int rc;

	memcpy(g->births, births, count * sizeof(*births));
	g->birth_count = count;
	g->settled = true;
	rc = guards_write(p, g) < 0
		     ? err_set(e, -EIO, "cannot write below %s/guards", p->cfg.run_dir)
		     : 0;
	if (rc < 0)
		return rc;
	guards_hold_one(p, g);
	return guards_open_state(p, g, e);
}

int guards_enter(struct parent *p, pid_t pid, const struct workspace *w, struct guard **ret,
		 struct err *e)
{
	struct guard *g = guards_new(p, "run", pid, w, e);
	int rc;

	if (!g)
		return -ENOSPC;
	g->settled = true;
	rc = guards_build(p, g, pid, e);
	if (rc == 0)
		guards_lease(p, g, w);
	if (rc == 0)
		rc = cgroup_move(g->cgroup_fd, pid, e);
	if (rc < 0) {
		guards_drop(p, g);
		return rc;
	}
	*ret = g;
	return 0;
}

void guards_done(struct parent *p)
{
	bool empty = guards_empty(p);
	size_t i;

	if (p->adopt && empty)
		adopt_remove(p->adopt);
	p->adopt = adopt_close(p->adopt);

	for (i = 0; i < EG_GUARDS_MAX; i++)
		if (p->guards[i].id)
			guards_close(&p->guards[i]);
	for (i = 0; i < PARENT_NETNS_MAX; i++)
		if (p->netns[i].cookie) {
			own_close(&p->netns[i].tcp4);
			own_close(&p->netns[i].tcp6);
			p->netns[i].cookie = 0;
		}
}
