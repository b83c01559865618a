/* resolver.c: the process that answers the guarded processes' DNS queries, and the proxies'
 * questions.
 *
 * A question comes by UDP or TCP from a guard's own listener, which says whose it is (dnsfront.c),
 * or as RPC_RESOLVE from a proxy. When no rule of the guard's workspace has the name it is answered
 * at once and nothing goes out; else names.c finds, judges and answers it. Here is the rest: what
 * the parent says of guards, workspaces and listeners, what the proxies ask, start and loop.
 *
 * Everything of a guard is bounded: lookups, who waits for them, TCP connections, cache entries. A
 * guard that goes takes its listeners, connections and cache along.
 */
#include "resolver.h"

#include "child.h"
#include "dnsfront.h"
#include "fdio.h"
#include "hopname.h"
#include "log.h"
#include "names.h"
#include "origin.h"
#include "sandbox.h"

#include <fcntl.h>
#include <string.h>
#include <sys/random.h>

#define RESOLVER_SIG_LEN 64 /* behind a document; the parent has verified it */

/* ---- answering proxies ---- */

static void proxy_end(struct proxy *p)
{
	own_close(&p->peer.fd);
	p->gen++;
	p->waiting = 0;
}

void resolver_reply(struct resolver *r, const struct from *f, const struct rpc_resolved *a)
{
	struct proxy *p = &r->proxy[f->slot];

	if (p->gen != f->gen || p->peer.fd < 0)
		return;
	if (rpc_send(p->peer.fd, RPC_RESOLVED, f->id, a, sizeof(*a), NULL, 0, -1) < 0) {
		log_warn("proxy%u does not read its answers; its channel is ended", f->slot);
		proxy_end(p);
	}
}

void resolver_reply_rc(struct resolver *r, const struct from *f, int rc)
{
	struct rpc_resolved a = {.rc = rc};

	resolver_reply(r, f, &a);
}

struct guard *resolver_guard_of(struct resolver *r, uint64_t id)
{
	size_t i;

	for (i = 0; id && i < RESOLVER_GUARDS_MAX; i++)
		if (r->guard[i].id == id)
			return &r->guard[i];
	return NULL;
}

/* ---- what the parent says ---- */

static int resolver_config(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct resolver *r = ctx;

	(void)peer;
	memcpy(&r->cfg, m->body, sizeof(r->cfg));
	r->configured = true;
	log_init("resolver", r->cfg.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	return 0;
}

static int resolver_wire(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_wire *w = m->body;
	struct resolver *r = ctx;
	struct loop_key key = {.kind = RESOLVER_PROXY, .slot = w->index};
	struct proxy *p;

	(void)peer;
	if (w->kind == RPC_WIRE_HOSTS && !r->go && r->hosts_fd < 0) {
		r->hosts_fd = take_fd(&m->fd);
		return 0;
	}
	if (w->kind != RPC_WIRE_PROXY || w->index >= CONFIG_WORKERS_MAX)
		return -EPROTO;
	p = &r->proxy[w->index];
	proxy_end(p);
	p->peer = (struct rpc_peer){.fd = take_fd(&m->fd), .number = w->index};
	key.gen = p->gen;
	return loop_watch(&r->loop, p->peer.fd, key, EPOLLIN);
}

static int resolver_listener(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_listener *is = m->body;

	(void)peer;
	if (is->kind != RPC_LISTENER_DNS_UDP && is->kind != RPC_LISTENER_DNS_TCP)
		return -EPROTO;
	return dnsfront_listen(ctx, is, &m->fd);
}

static int resolver_listener_gone(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	(void)peer;
	dnsfront_unlisten(ctx, m->body);
	return 0;
}

static struct workspace *workspace_of(struct resolver *r, const char *name)
{
	size_t i;

	for (i = 0; i < RESOLVER_WORKSPACES_MAX; i++)
		if (strcmp(r->workspace[i].name, name) == 0)
			return &r->workspace[i];
	return NULL;
}

/* Gives the workspace's guards these rules (NULL: none) and forgets what was found under the old
 * ones. */
static void workspace_rules(struct resolver *r, struct workspace *w, struct rules *rules)
{
	struct rules *old = w->rules;
	size_t i;

	w->rules = rules;
	for (i = 0; i < RESOLVER_GUARDS_MAX; i++) {
		struct guard *g = &r->guard[i];

		if (!g->id || strcmp(g->workspace, w->name) != 0)
			continue;
		g->rules = rules;
		lease_drop(r->cache, g->id);
	}
	(void)rules_free(old);
}

static int workspace_read(const struct rpc_msg *m, const struct rpc_workspace *is,
			  struct rules **ret)
{
	auto_(rules) struct rules *rules = NULL;
	auto_free char *doc = NULL;
	struct err e = {0};
	int rc;

	rc = fdio_memfd_read(m->fd, is->doc_len + RESOLVER_SIG_LEN, &doc);
	if (rc == 0)
		rc = rules_parse(doc, is->doc_len, true, &rules, &e);
	if (rc == 0 &&
	    (strcmp(rules->workspace, is->workspace) != 0 || rules->version != is->version))
		rc = err_set(&e, -EBADMSG, "it is another one");
	if (rc < 0)
		log_error("workspace %s is not readable (%s); nothing is allowed in it",
			  is->workspace, e.text[0] ? e.text : strerror(-rc));
	*ret = take(rules);
	if (rc < 0)
		*ret = rules_free(*ret);
	return rc;
}

static int resolver_workspace(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_workspace *is = m->body;
	struct rules *rules = NULL;
	struct resolver *r = ctx;
	struct workspace *w;

	(void)peer;
	if (!rpc_str_ok(is->workspace, sizeof(is->workspace)) || is->doc_len > RPC_DOC_MAX)
		return -EPROTO;
	w = workspace_of(r, is->workspace);
	if (!w)
		w = workspace_of(r, "");
	if (!w)
		return -ENOSPC;
	memcpy(w->name, is->workspace, sizeof(w->name));
	if (workspace_read(m, is, &rules) < 0)
		rules = NULL;
	workspace_rules(r, w, rules);
	return 0;
}

static int resolver_workspace_gone(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_workspace *is = m->body;
	struct resolver *r = ctx;
	struct workspace *w;

	(void)peer;
	if (!rpc_str_ok(is->workspace, sizeof(is->workspace)))
		return -EPROTO;
	w = workspace_of(r, is->workspace);
	if (w) {
		workspace_rules(r, w, NULL);
		memset(w, 0, sizeof(*w));
	}
	return 0;
}

static struct guard *guard_new(struct resolver *r, uint64_t id)
{
	size_t i;

	for (i = 0; i < RESOLVER_GUARDS_MAX; i++)
		if (!r->guard[i].id) {
			r->guard[i] = (struct guard){.id = id};
			TAILQ_INIT(&r->guard[i].asks);
			return &r->guard[i];
		}
	return NULL;
}

static int resolver_guard(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_guard *is = m->body;
	struct resolver *r = ctx;
	struct workspace *w;
	struct guard *g;

	(void)peer;
	if (!is->guard || !rpc_str_ok(is->workspace, sizeof(is->workspace)))
		return -EPROTO;
	g = resolver_guard_of(r, is->guard);
	if (!g)
		g = guard_new(r, is->guard);
	if (!g)
		return -ENOSPC;
	memcpy(g->workspace, is->workspace, sizeof(g->workspace));
	w = workspace_of(r, g->workspace);
	g->rules = w ? w->rules : NULL;
	lease_drop(r->cache, g->id);
	return 0;
}

static int resolver_guard_gone(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	const struct rpc_guard *is = m->body;
	struct resolver *r = ctx;
	struct guard *g = resolver_guard_of(r, is->guard);

	(void)peer;
	if (!g)
		return 0;
	dnsfront_forget(r, g);
	names_orphan(g);
	lease_drop(r->cache, g->id);
	memset(g, 0, sizeof(*g));
	return 0;
}

static int resolver_go(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct resolver *r = ctx;

	(void)peer;
	(void)m;
	if (!r->configured)
		return -EPROTO;
	r->go = true;
	return 0;
}

static int resolver_leased(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	(void)peer;
	names_leased(ctx, m->id);
	return 0;
}

static int resolver_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct resolver *r = ctx;
	struct rpc_stats s = {.queries = r->queries};

	(void)peer;
	s.upstream_queries = r->lookup ? lookup_count(r->lookup) : 0;
	if (rpc_send(r->boss.fd, RPC_STATS, m->id, &s, sizeof(s), NULL, 0, -1) < 0)
		log_debug("the daemon does not read its numbers now");
	return 0;
}

static const struct rpc_row resolver_boss_rows[] = {
	{RPC_CONFIG, sizeof(struct config), 0, RPC_ONCE, resolver_config},
	{RPC_WIRE, sizeof(struct rpc_wire), 0, RPC_FD, resolver_wire},
	{RPC_LISTENER, sizeof(struct rpc_listener), 0, RPC_FD, resolver_listener},
	{RPC_LISTENER_GONE, sizeof(struct rpc_listener), 0, 0, resolver_listener_gone},
	{RPC_WORKSPACE, sizeof(struct rpc_workspace), 0, RPC_FD, resolver_workspace},
	{RPC_WORKSPACE_GONE, sizeof(struct rpc_workspace), 0, 0, resolver_workspace_gone},
	{RPC_GUARD, sizeof(struct rpc_guard), 0, 0, resolver_guard},
	{RPC_GUARD_GONE, sizeof(struct rpc_guard), 0, 0, resolver_guard_gone},
	{RPC_GO, 0, 0, RPC_ONCE, resolver_go},
	{RPC_STATS_ASK, 0, 0, 0, resolver_stats},
	{RPC_LEASED, 0, 0, 0, resolver_leased},
};

/* ---- what a proxy asks ---- */

/* An address needs no server: it is its own answer if a rule names it. */
static void resolve_address(struct resolver *r, const struct guard *g, const struct from *f,
			    const uint8_t addr[16])
{
	struct rpc_resolved a = {.rc = -EPERM, .ttl = r->cfg.dns_ttl_max};
	char text[ORIGIN_TEXT_MAX];
	const struct rules_rule *rule;
	enum reason why;

	rule = rules_find(g->rules, origin_text(addr, text), f->ask.port, &why);
	if (rule && names_may_use(r, addr, rule->private, true)) {
		a.rc = 0;
		a.count = 1;
		memcpy(a.addr[0], addr, 16);
	} else if (rule) {
		a.rc = -EACCES;
	}
	resolver_reply(r, f, &a);
}

static int resolver_resolve(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct resolver *r = ctx;
	struct from f = {.kind = FROM_PROXY, .slot = peer, .gen = r->proxy[peer].gen, .id = m->id};
	struct guard *g;
	enum reason why;
	uint8_t addr[16];

	memcpy(&f.ask, m->body, sizeof(f.ask));
	if (!rpc_str_ok(f.ask.host, sizeof(f.ask.host)))
		return -EPROTO;
	g = resolver_guard_of(r, f.ask.guard);
	if (!g || !g->rules)
		resolver_reply_rc(r, &f, -EPERM);
	else if (origin_parse(f.ask.host, addr))
		resolve_address(r, g, &f, addr);
	else if (!rules_host_ok(f.ask.host) || !rules_find(g->rules, f.ask.host, f.ask.port, &why))
		resolver_reply_rc(r, &f, -EPERM);
	else if (r->proxy[peer].waiting >= RPC_INFLIGHT_MAX)
		resolver_reply_rc(r, &f, -EAGAIN);
	else
		names_ask(r, g, f.ask.host, &f);
	return 0;
}

static int resolver_resolve_proxy(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct resolver *r = ctx;
	struct from f = {.kind = FROM_PROXY, .slot = peer, .gen = r->proxy[peer].gen, .id = m->id};

	if (r->proxy[peer].waiting >= RPC_INFLIGHT_MAX)
		resolver_reply_rc(r, &f, -EAGAIN);
	else
		hopname_ask(r, &f);
	return 0;
}

static const struct rpc_row resolver_proxy_rows[] = {
	{RPC_RESOLVE_PROXY, 0, 0, 0, resolver_resolve_proxy},
	{RPC_RESOLVE, sizeof(struct rpc_resolve), 0, 0, resolver_resolve},
};

/* ---- the loop ---- */

static void resolver_on_boss(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct resolver *r = ctx;
	int rc;

	(void)slot;
	(void)gen;
	(void)events;
	rc = rpc_serve(&r->boss, resolver_boss_rows, ARRAY_SIZE(resolver_boss_rows), r, r->rpc_buf,
		       RESOLVER_BUDGET);
	if (rc < 0 && rc != -EPIPE)
		log_error("a message of the daemon is not understood (%s); ending", strerror(-rc));
	if (rc < 0)
		r->loop.stop = true;
}

static void resolver_on_proxy(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct resolver *r = ctx;
	struct proxy *p = &r->proxy[slot];
	int rc;

	(void)events;
	if (p->gen != gen || p->peer.fd < 0)
		return;
	rc = rpc_serve(&p->peer, resolver_proxy_rows, ARRAY_SIZE(resolver_proxy_rows), r,
		       r->rpc_buf, RESOLVER_BUDGET);
	if (rc < 0 && rc != -EPIPE)
		log_error("a message of proxy%u is not understood (%s); its channel is ended", slot,
			  strerror(-rc));
	if (rc < 0)
		proxy_end(p);
}

static void resolver_on_lookup(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct resolver *r = ctx;

	(void)gen;
	lookup_event(r->lookup, (int)slot, events);
}

/* Milliseconds until the earliest of these times that is set; -1: for ever. */
static int resolver_wait(uint64_t now, int wait, const uint64_t *at, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++) {
		uint64_t left = at[i] > now ? at[i] - now : 0;

		if (at[i] && (wait < 0 || left < (uint64_t)wait))
			wait = (int)left;
	}
	return wait;
}

static int resolver_turn(void *ctx, uint64_t now)
{
	struct resolver *r = ctx;
	uint64_t at[2];
	int wait;

	at[0] = names_turn(r, now);
	at[1] = dnsfront_turn(r, now);
	wait = lookup_turn(r->lookup);
	/* What that has answered is looked at before we sleep. */
	if (dnsfront_busy(r) || (!at[0] && !TAILQ_EMPTY(&r->leasing)))
		wait = 0;
	return resolver_wait(now, wait, at, ARRAY_SIZE(at));
}

/* ---- start ---- */

static void resolver_loop(struct resolver *r)
{
	loop_on(&r->loop, RESOLVER_BOSS, resolver_on_boss);
	loop_on(&r->loop, RESOLVER_PROXY, resolver_on_proxy);
	loop_on(&r->loop, RESOLVER_UDP, dnsfront_on_udp);
	loop_on(&r->loop, RESOLVER_TCP, dnsfront_on_tcp);
	loop_on(&r->loop, RESOLVER_CONN, dnsfront_on_conn);
	loop_on(&r->loop, RESOLVER_LOOKUP, resolver_on_lookup);
}

static struct resolver *resolver_new(void)
{
	struct resolver *r = calloc(1, sizeof(*r));
	uint64_t seed;
	size_t i;

	if (!r || getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		return NULL;
	r->boss = (struct rpc_peer){.fd = RPC_BOSS_FD};
	r->hosts_fd = -1;
	r->rpc_buf = malloc(RPC_BUF);
	r->cache = lease_table_new(seed);
	TAILQ_INIT(&r->hop.waiting);
	TAILQ_INIT(&r->leasing);
	TAILQ_INIT(&r->conns);
	TAILQ_INIT(&r->dead);
	TAILQ_INIT(&r->stirred);
	for (i = 0; i < RESOLVER_LISTENERS_MAX; i++)
		r->listener[i].fd = -1;
	for (i = 0; i < CONFIG_WORKERS_MAX; i++)
		r->proxy[i].peer.fd = -1;
	if (!r->rpc_buf || !r->cache || loop_init(&r->loop, r, resolver_turn) < 0)
		return NULL;
	resolver_loop(r);
	return r;
}

/* Without it the names in it are asked of the servers; that is said, and no reason not to serve. */
static void resolver_hosts(struct resolver *r)
{
	auto_free char *text = NULL;
	size_t len;
	int rc;

	if (r->hosts_fd < 0 && r->cfg.hosts_file[0])
		r->hosts_fd = open(r->cfg.hosts_file, O_RDONLY | O_CLOEXEC);
	if (r->hosts_fd < 0)
		return;
	rc = fdio_read_all(r->hosts_fd, HOSTS_FILE_MAX, &text, &len);
	if (rc == 0)
		rc = hosts_parse(text, len, &r->hosts);
	if (rc < 0)
		log_warn("%s cannot be read (%s); its names are asked of the DNS servers",
			 r->cfg.hosts_file, strerror(-rc));
	own_close(&r->hosts_fd);
}

/* Open: files and servers. Drop: user and capabilities. Lock: system calls. What must work
 * afterwards: its sockets, new ones to DNS servers, memory, the log. */
static int resolver_start(struct resolver *r, struct err *e)
{
	int rc;

	resolver_hosts(r);
	rc = lookup_new(&r->cfg, &r->loop, RESOLVER_LOOKUP, r, &r->lookup, e);
	if (rc == 0)
		rc = loop_watch(&r->loop, r->boss.fd, (struct loop_key){.kind = RESOLVER_BOSS},
				EPOLLIN);
	if (rc == 0)
		rc = sandbox_drop(&r->cfg.resolver_user, e);
	if (rc == 0)
		rc = sandbox_lock(SANDBOX_RESOLVER, e);
	if (rc == 0)
		rc = rpc_send(r->boss.fd, RPC_READY, 0, NULL, 0, NULL, 0, -1);
	return rc;
}

int resolver_main(void)
{
	struct resolver *r;
	struct err e = {0};
	int rc;

	log_init("resolver", LOG_LEVEL_INFO);
	if (sandbox_first(&e) < 0) {
		log_error("%s; ending", e.text);
		return EXIT_FAILURE;
	}
	r = resolver_new();
	if (!r) {
		log_error("no memory; ending");
		return EXIT_FAILURE;
	}
	rc = child_wait_go(&r->boss, resolver_boss_rows, ARRAY_SIZE(resolver_boss_rows), r, &r->go);
	if (rc == -EPIPE)
		return EXIT_SUCCESS;
	if (rc == 0)
		rc = resolver_start(r, &e);
	if (rc == 0)
		rc = loop_run(&r->loop);
	if (rc < 0)
		log_error("%s; ending", e.text[0] ? e.text : strerror(-rc));
	return rc < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
