/* guards.c: see guards.h.
 *
 * Making one: cgroup → listeners in the namespace → links attached, state closed → read back → children told → state
 * open → process moved in. Each step undoes what came before when it fails, and the process moves last, so there is no
 * moment in which it is inside without the wall. Ending one: links off only when no process is left in it.
 */
#include "guards.h"

#include "adopt.h"
#include "cgroup.h"
#include "enforce.h"
#include "fdio.h"
#include "log.h"
#include "origin.h"
#include "proc.h"
#include "tree.h"
#include "workspaces.h"

#include <dirent.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define GUARDS_PORT_TRIES 100
#define GUARDS_PORT_WAIT_US 10000

static const char *const guards_dns_words[NETNS_SOCKETS] = {"tcp4", "tcp6", "udp4", "udp6"};

static void guards_id_text(uint64_t id, char out[24])
{
	(void)snprintf(out, 24, "%llu", (unsigned long long)id);
}

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

/* ---- listeners of a network namespace ---- */

static struct netns_slot *guards_netns(struct parent *p, uint64_t cookie)
{
	size_t i;

	for (i = 0; i < PARENT_NETNS_MAX; i++)
		if (p->netns[i].cookie == cookie)
			return &p->netns[i];
	return NULL;
}

static void guards_tell_listener(struct parent *p, struct proc *to, uint16_t op,
				 const struct rpc_listener *l, int fd)
{
	enum proc_role role = l->kind == RPC_LISTENER_PROXY ? PROC_PROXY : PROC_RESOLVER;

	if (!to)
		proc_tell_role(p, role, op, l, sizeof(*l), fd);
	else if (to->role == role && rpc_send(to->boss.fd, op, 0, l, sizeof(*l), NULL, 0, fd) < 0)
		log_error("%s did not take a listener", proc_role_word(role));
}

static void guards_tell_netns(struct parent *p, struct proc *to, const struct netns_slot *n)
{
	struct rpc_listener l = {
		.netns = n->cookie, .kind = RPC_LISTENER_PROXY, .port = p->cfg.proxy_port};

	l.family = AF_INET;
	if (n->tcp4 >= 0)
		guards_tell_listener(p, to, RPC_LISTENER, &l, n->tcp4);
	l.family = AF_INET6;
	if (n->tcp6 >= 0)
		guards_tell_listener(p, to, RPC_LISTENER, &l, n->tcp6);
}

static void guards_hold_netns(struct parent *p, const struct netns_slot *n)
{
	char key[64];

	(void)snprintf(key, sizeof(key), "tcp/%llu/4", (unsigned long long)n->cookie);
	if (n->tcp4 >= 0)
		proc_hold(p, key, n->tcp4);
	(void)snprintf(key, sizeof(key), "tcp/%llu/6", (unsigned long long)n->cookie);
	if (n->tcp6 >= 0)
		proc_hold(p, key, n->tcp6);
}

/* The proxy's listeners in that namespace, made when it is the first guard there. */
static int guards_netns_use(struct parent *p, int netns_fd, uint64_t cookie, struct err *e)
{
	struct netns_slot *n = guards_netns(p, cookie);
	struct netns_sockets s;
	unsigned int i;
	int rc;

	if (n)
		return 0;
	n = guards_netns(p, 0);
	if (!n)
		return err_set(e, -ENOSPC, "more than %d network namespaces hold guards",
			       PARENT_NETNS_MAX);
	rc = netns_sockets(netns_fd, p->listen_cgroup, p->cfg.proxy_port, false, &s, e);
	/* The last guard here may have left a moment ago: proxies and holder close their copies when they get to it. */
	for (i = 0; rc == -EADDRINUSE && i < GUARDS_PORT_TRIES; i++) {
		(void)usleep(GUARDS_PORT_WAIT_US);
		rc = netns_sockets(netns_fd, p->listen_cgroup, p->cfg.proxy_port, false, &s, e);
	}
	if (rc < 0)
		return rc;
	*n = (struct netns_slot){.cookie = cookie,
				 .tcp4 = take_fd(&s.fd[NETNS_TCP4]),
				 .tcp6 = take_fd(&s.fd[NETNS_TCP6])};
	netns_sockets_done(&s);
	guards_hold_netns(p, n);
	guards_tell_netns(p, NULL, n);
	return 0;
}

/* After the last guard of a namespace is gone its listeners go too: they would keep the namespace alive. */
static void guards_netns_leave(struct parent *p, uint64_t cookie)
{
	struct rpc_listener l = {
		.netns = cookie, .kind = RPC_LISTENER_PROXY, .port = p->cfg.proxy_port};
	struct netns_slot *n = guards_netns(p, cookie);
	char key[64];
	size_t i;

	for (i = 0; i < EG_GUARDS_MAX; i++)
		if (p->guards[i].id && p->guards[i].netns == cookie)
			return;
	if (!n || !cookie)
		return;
	l.family = AF_INET;
	guards_tell_listener(p, NULL, RPC_LISTENER_GONE, &l, -1);
	l.family = AF_INET6;
	guards_tell_listener(p, NULL, RPC_LISTENER_GONE, &l, -1);
	(void)snprintf(key, sizeof(key), "tcp/%llu", (unsigned long long)cookie);
	proc_unhold(p, key);
	own_close(&n->tcp4);
	own_close(&n->tcp6);
	n->cookie = 0;
}

/* ---- a guard's own resolver sockets ---- */

static void guards_dns_listener(const struct guard *g, size_t i, struct rpc_listener *l)
{
	*l = (struct rpc_listener){
		.netns = g->netns,
		.guard = g->id,
		.kind = i < NETNS_UDP4 ? RPC_LISTENER_DNS_TCP : RPC_LISTENER_DNS_UDP,
		.family = i == NETNS_TCP4 || i == NETNS_UDP4 ? AF_INET : AF_INET6,
		.port = g->dns_port,
	};
}

static void guards_hold_birth(struct parent *p, uint64_t birth)
{
	char key[64];
	int fds[64];
	size_t i, n = p->adopt ? adopt_birth_fds(p->adopt, birth, fds, ARRAY_SIZE(fds)) : 0;

	for (i = 0; i < n; i++) {
		(void)snprintf(key, sizeof(key), "adopt/%llu/%zu", (unsigned long long)birth, i);
		proc_hold(p, key, fds[i]);
	}
}

static void guards_hold_one(struct parent *p, const struct guard *g)
{
	char key[64];
	int fds[64];
	size_t i, n;

	for (i = 0; i < NETNS_SOCKETS; i++) {
		(void)snprintf(key, sizeof(key), "dns/%llu/%s", (unsigned long long)g->id,
			       guards_dns_words[i]);
		if (g->dns[i] >= 0)
			proc_hold(p, key, g->dns[i]);
	}
	(void)snprintf(key, sizeof(key), "link/%llu", (unsigned long long)g->id);
	proc_unhold(p, key); /* of a daemon that had others */
	n = enforce_fds(p->en, g->id, fds, ARRAY_SIZE(fds));
	for (i = 0; i < n; i++) {
		(void)snprintf(key, sizeof(key), "link/%llu/%zu", (unsigned long long)g->id, i);
		proc_hold(p, key, fds[i]);
	}
	for (i = 0; i < g->birth_count; i++)
		guards_hold_birth(p, g->births[i]);
}

void guards_hold(struct parent *p)
{
	size_t i;

	for (i = 0; i < PARENT_NETNS_MAX; i++)
		if (p->netns[i].cookie)
			guards_hold_netns(p, &p->netns[i]);
	for (i = 0; i < EG_GUARDS_MAX; i++)
		if (p->guards[i].id)
			guards_hold_one(p, &p->guards[i]);
}

static void guards_tell_one(struct parent *p, struct proc *to, const struct guard *g)
{
	struct rpc_guard msg = {.guard = g->id};
	struct rpc_listener l;
	size_t i;

	(void)snprintf(msg.workspace, sizeof(msg.workspace), "%s", g->workspace);
	if (!to)
		proc_tell(p, RPC_GUARD, &msg, sizeof(msg), -1, true);
	else if (rpc_send(to->boss.fd, RPC_GUARD, 0, &msg, sizeof(msg), NULL, 0, -1) < 0)
		log_error("%s did not take a guard", proc_role_word(to->role));
	for (i = 0; i < NETNS_SOCKETS; i++) {
		guards_dns_listener(g, i, &l);
		if (g->dns[i] >= 0)
			guards_tell_listener(p, to, RPC_LISTENER, &l, g->dns[i]);
	}
}

int guards_tell(struct parent *p, struct proc *to)
{
	size_t i;

	for (i = 0; i < EG_GUARDS_MAX; i++)
		if (p->guards[i].id)
			guards_tell_one(p, to, &p->guards[i]);
	for (i = 0; i < PARENT_NETNS_MAX; i++)
		if (p->netns[i].cookie)
			guards_tell_netns(p, to, &p->netns[i]);
	return to->boss.fd < 0 ? -EPIPE : 0;
}

/* ---- the record on disk ---- */

static int guards_write(struct parent *p, const struct guard *g)
{
	auto_free char *text = NULL;
	json_t *births = json_array();
	json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:i, s:s, s:s, s:b, s:b, s:o}", "workspace",
			      g->workspace, "name", g->name, "netns", (json_int_t)g->netns, "since",
			      (json_int_t)g->since, "dns_port", (int)g->dns_port, "path", g->path,
			      "origin", g->origin, "in_place", g->in_place, "settled", g->settled,
			      "births", births);
	char file[24];
	size_t i;

	if (!j)
		return -ENOMEM;
	for (i = 0; i < g->birth_count; i++)
		(void)json_array_append_new(births, json_integer((json_int_t)g->births[i]));
	text = json_dumps(j, JSON_COMPACT);
	json_decref(j);
	guards_id_text(g->id, file);
	return text ? fdio_replace(p->guards_dir, file, text, strlen(text), 0600) : -ENOMEM;
}

/* False: it is too long. */
static bool printf_like(2, 3) guards_put(char out[PARENT_CGROUP_MAX], const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(out, PARENT_CGROUP_MAX, fmt, ap);
	va_end(ap);
	return n >= 0 && n < PARENT_CGROUP_MAX;
}

/* Where it stands and what it adopted; a record of before attach was there has only a name. */
static int guards_read_place(struct parent *p, json_t *j, const char *name, struct guard *g)
{
	const char *path = NULL, *origin = "";
	int in_place = 0, settled = 1;
	json_t *births = NULL, *v;
	size_t i;

	if (json_unpack(j, "{s?s, s?s, s?b, s?b, s?o}", "path", &path, "origin", &origin,
			"in_place", &in_place, "settled", &settled, "births", &births) != 0)
		return -EBADMSG;
	if (path ? !guards_put(g->path, "%s", path)
		 : !guards_put(g->path, "%s/%s", p->cfg.cgroup_root, name))
		return -EBADMSG;
	(void)snprintf(g->origin, sizeof(g->origin), "%s", origin);
	g->in_place = in_place;
	g->settled = settled;
	json_array_foreach(births, i, v)
		if (g->birth_count < PARENT_BIRTHS_MAX)
			g->births[g->birth_count++] = (uint64_t)json_integer_value(v);
	return 0;
}

static int guards_read(struct parent *p, uint64_t id, struct guard *g)
{
	auto_free char *text = NULL;
	const char *workspace, *name;
	json_int_t netns, since;
	char file[24];
	json_t *j;
	int dns_port, rc;
	size_t n;

	guards_id_text(id, file);
	rc = fdio_read_file(p->guards_dir, file, 4096, &text, &n);
	if (rc < 0)
		return rc;
	j = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL);
	rc = j && json_unpack(j, "{s:s, s:s, s:I, s:I, s:i}", "workspace", &workspace, "name",
			      &name, "netns", &netns, "since", &since, "dns_port", &dns_port) == 0
		     ? guards_read_place(p, j, name, g)
		     : -EBADMSG;
	if (rc == 0 && (!rules_workspace_ok(workspace) || strlen(name) >= sizeof(g->name) ||
			strchr(name, '/')))
		rc = -EBADMSG;
	if (rc == 0) {
		g->id = id;
		(void)snprintf(g->workspace, sizeof(g->workspace), "%s", workspace);
		(void)snprintf(g->name, sizeof(g->name), "%s", name);
		g->netns = (uint64_t)netns;
		g->since = (uint64_t)since;
		g->dns_port = (uint16_t)dns_port;
	}
	json_decref(j);
	return rc;
}

/* ---- ending ---- */

static void guards_close(struct guard *g)
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
static void guards_end(struct parent *p, struct guard *g)
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

		if (g->id && g->in_place && g->settled && cgroup_populated(g->cgroup_fd, &populated) < 0)
			guards_end(p, g);
	}
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

static int guards_watch(struct parent *p, struct guard *g)
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
		log_warn("the rule for %s was not taken by the kernel; connections to it are refused", r->host);
}

static void guards_lease(struct parent *p, const struct guard *g, const struct workspace *w)
{
	uint32_t i;

	enforce_unlease(p->en, g->id);
	for (i = 0; i < w->rules->rule_count; i++)
		guards_lease_rule(p, g, &w->rules->rules[i]);
}

void guards_rules_changed(struct parent *p, const struct workspace *w)
{
	size_t i;

	for (i = 0; i < EG_GUARDS_MAX; i++)
		if (p->guards[i].id && strcmp(p->guards[i].workspace, w->rules->workspace) == 0)
			guards_lease(p, &p->guards[i], w);
}

/* ---- making ---- */

static struct guard *guards_slot(struct parent *p)
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

static void guards_take_sockets(struct guard *g, struct netns_sockets *s)
{
	size_t i;

	for (i = 0; i < NETNS_SOCKETS; i++)
		g->dns[i] = take_fd(&s->fd[i]);
	g->dns_port = s->port;
	g->netns = s->cookie;
}

static int guards_open_state(struct parent *p, const struct guard *g, struct err *e)
{
	struct eg_guard state = {.id = g->id,
				 .flags = EG_GUARD_OPEN,
				 .proxy_port = p->cfg.proxy_port,
				 .dns_port = g->dns_port};
	int rc = enforce_set(p->en, &state, e);

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

/* ---- a daemon that starts again ---- */

static int guards_held_take(struct guards_held *held, size_t count, const char *key)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (held[i].fd >= 0 && strcmp(held[i].key, key) == 0)
			return take_fd(&held[i].fd);
	return -1;
}

/* The namespace's listeners from the holder. */
static void guards_netns_restore(struct parent *p, uint64_t cookie, struct guards_held *held,
				 size_t count)
{
	struct netns_slot *n = guards_netns(p, cookie) ? NULL : guards_netns(p, 0);
	char key[64];

	if (!n)
		return;
	(void)snprintf(key, sizeof(key), "tcp/%llu/4", (unsigned long long)cookie);
	n->tcp4 = guards_held_take(held, count, key);
	(void)snprintf(key, sizeof(key), "tcp/%llu/6", (unsigned long long)cookie);
	n->tcp6 = guards_held_take(held, count, key);
	if (n->tcp4 >= 0)
		n->cookie = cookie;
	else
		own_close(&n->tcp6);
}

static void guards_dns_restore(struct guard *g, struct guards_held *held, size_t count)
{
	char key[64];
	size_t i;

	for (i = 0; i < NETNS_SOCKETS; i++) {
		(void)snprintf(key, sizeof(key), "dns/%llu/%s", (unsigned long long)g->id,
			       guards_dns_words[i]);
		g->dns[i] = guards_held_take(held, count, key);
	}
}

/* The holder was gone as well: listeners anew, through a process that still sits in the guard. */
static int guards_remake(struct parent *p, struct guard *g, struct err *e)
{
	struct netns_sockets s;
	auto_close int ns = -1;
	pid_t pid;
	int rc;

	if (cgroup_pids(g->cgroup_fd, &pid, 1) < 1)
		return err_set(e, -ESRCH, "nobody is in it");
	rc = netns_of(pid, &ns, e);
	if (rc == 0 && g->dns[NETNS_UDP4] < 0) {
		rc = netns_sockets(ns, p->listen_cgroup, 0, true, &s, e);
		if (rc == 0)
			guards_take_sockets(g, &s);
	}
	return rc < 0 ? rc : guards_netns_use(p, ns, g->netns, e);
}

/* The daemon died in the middle of an attach, which so never succeeded: everything back, as far as it is known. */
static int guards_cut_short(struct guard *g, struct err *e)
{
	auto_close int origin = open(g->origin, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	pid_t pids[1024];
	size_t n = cgroup_pids(g->cgroup_fd, pids, ARRAY_SIZE(pids)), i;

	if (origin >= 0)
		(void)!tree_freeze(origin, false, NULL, NULL);
	(void)!tree_freeze(g->cgroup_fd, false, NULL, NULL);
	for (i = 0; i < n; i++) {
		if (origin >= 0)
			(void)!cgroup_move(origin, pids[i], NULL);
		(void)kill(pids[i], SIGCONT);
	}
	return err_set(e, -ECANCELED, "the daemon ended while it was being attached");
}

static int guards_restore_one(struct parent *p, struct guard *g, uint64_t id,
			      struct guards_held *held, size_t count, struct err *e)
{
	uint64_t found;
	int rc = guards_read(p, id, g);

	if (rc < 0)
		return err_set(e, rc, "its record in %s/guards is missing", p->cfg.run_dir);
	rc = cgroup_open_path(g->path, &g->cgroup_fd, &found, e);
	if (rc < 0)
		return rc;
	if (found != id)
		return err_set(e, -ESTALE, "its cgroup was made anew by somebody else");
	if (!g->settled)
		return guards_cut_short(g, e);
	guards_dns_restore(g, held, count);
	guards_netns_restore(p, g->netns, held, count);
	if (g->dns[NETNS_UDP4] < 0 || !guards_netns(p, g->netns))
		rc = guards_remake(p, g, e);
	if (rc == 0 && guards_watch(p, g) < 0)
		rc = err_set(e, -EIO, "cannot watch its cgroup");
	if (rc == 0 && guards_write(p, g) < 0)
		rc = err_set(e, -EIO, "cannot write its record");
	return rc < 0 ? rc : guards_open_state(p, g, e);
}

/* Programs for adopted sockets, when a daemon before this one had any. */
static void guards_adopt_restore(struct parent *p)
{
	char path[CONFIG_PATH_MAX + 64];
	struct err e = {0};

	(void)snprintf(path, sizeof(path), "%s/adopt", enforce_dir(p->en));
	if (access(path, F_OK) == 0 && guards_adopt(p, &e) < 0)
		log_error("%s; adopted sockets are held by the programs of before", e.text);
}

static bool guards_known(const uint64_t *ids, size_t count, uint64_t id)
{
	size_t i;

	for (i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* Records of guards that are no more, whose cgroup went while no daemon ran. */
static void guards_forget_records(struct parent *p, const uint64_t *ids, size_t count)
{
	int fd = fcntl(p->guards_dir, F_DUPFD_CLOEXEC, 3);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *de;

	if (!d) {
		own_close(&fd);
		return;
	}
	rewinddir(d);
	while ((de = readdir(d))) {
		char *end;
		uint64_t id = strtoull(de->d_name, &end, 10);

		if (de->d_name[0] >= '1' && de->d_name[0] <= '9' && !*end && !guards_known(ids, count, id))
			(void)unlinkat(p->guards_dir, de->d_name, 0);
	}
	(void)closedir(d);
}

/* What is left of them with the holder; ids are those that stand in the kernel. */
static void guards_forget(struct parent *p, const uint64_t *ids, size_t count, const struct guards_held *held,
			  size_t held_count)
{
	size_t i;

	for (i = 0; i < held_count; i++) {
		unsigned long long id;
		char kind[8], key[64];

		if (sscanf(held[i].key, "%7[a-z]/%llu/", kind, &id) != 2 || !id)
			continue;
		if (strcmp(kind, "tcp") == 0 ? guards_netns(p, id) != NULL
					     : (strcmp(kind, "link") != 0 && strcmp(kind, "dns") != 0) ||
						       guards_known(ids, count, id))
			continue;
		(void)snprintf(key, sizeof(key), "%s/%llu", kind, id);
		proc_unhold(p, key);
	}
	guards_forget_records(p, ids, count);
}

void guards_restore(struct parent *p, struct guards_held *held, size_t count)
{
	uint64_t ids[EG_GUARDS_MAX];
	size_t n = enforce_guards(p->en, ids, EG_GUARDS_MAX), i;

	guards_adopt_restore(p);
	for (i = 0; i < n; i++) {
		struct eg_guard closed = {.id = ids[i]};
		struct guard *g = guards_slot(p);
		bool populated = true;
		struct err e = {0};
		int rc = g ? guards_restore_one(p, g, ids[i], held, count, &e) : -ENOSPC;

		if (rc == 0) {
			if (cgroup_populated(g->cgroup_fd, &populated) == 0 && !populated &&
			    !g->in_place)
				guards_end(p, g);
			continue;
		}
		if (rc == -ECANCELED) {
			log_warn("guard %s: %s; it was put back as it was", g->name, e.text);
			guards_drop(p, g);
			continue;
		}
		log_error("guard %llu: %s; everything in it is denied", (unsigned long long)ids[i],
			  e.text);
		if (enforce_set(p->en, &closed, &e) < 0)
			log_error("guard %llu could not be closed: %s", (unsigned long long)ids[i],
				  e.text);
		if (g && g->id && cgroup_populated(g->cgroup_fd, &populated) == 0 && !populated)
			guards_end(p, g);
		else if (g)
			guards_close(g);
	}
	guards_forget(p, ids, n, held, count);
	guards_hold(p);
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
