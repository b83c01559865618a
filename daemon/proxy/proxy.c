/* proxy.c: see child.h for how it starts and proxy.h for what it has.
 *
 * The boss's messages fill tables of who may be served and how; accept.c takes the connections.
 *
 * One turn of the loop: what the events brought; then the audit log is written, once; then those whose
 * decision that recorded go on; then those who had used up their share. Deadlines are looked at once a
 * second.
 */
#include "proxy.h"

#include "accept.h"
#include "child.h"
#include "conn.h"
#include "errand.h"
#include "exchange.h"
#include "fdio.h"
#include "log.h"
#include "sandbox.h"
#include "syncer.h"
#include "tlsbio.h"
#include "tunnel.h"

#include <assert.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define PROXY_RECORD_MOST 16 /* rounds of record-and-go-on in one turn */
#define PROXY_SWEEP_MS    1000
#define PROXY_CA_MAX      (16u << 20)
#define PROXY_SIGNATURE   64

void proxy_audit(struct proxy *p, const struct audit_entry *en)
{
	if (audit_add(p->audit, en, loop_wall_ns()) < 0)
		log_error("the audit log cannot be written; nothing is allowed until it can");
}

void proxy_turn_away(struct proxy *p, const struct eg_record *rec, struct guard *g, enum reason why)
{
	struct audit_entry en = {.kind = AUDIT_DECISION, .id = ++p->next_id, .reason = why};

	p->stats.denied++;
	/* A guard at its limit is told of once a second, not once a connection. */
	if (g && p->loop.now_ms - g->limit_said_ms < 1000 && g->limit_said_ms)
		return;
	if (g)
		g->limit_said_ms = p->loop.now_ms;
	if (rec) {
		en.guard = rec->guard;
		en.pid = rec->pid;
		en.cgroup = rec->cgroup;
		en.addr = rec->addr;
		en.port = rec->port;
		en.comm = (const char *)rec->comm;
		en.comm_len = strnlen(en.comm, sizeof(rec->comm));
	}
	proxy_audit(p, &en);
}

/* ---- what the boss says ---- */

static int boss_config(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	struct err e = {0};
	char name[24];
	int rc;

	(void)peer;
	memcpy(&p->config, m->body, sizeof(p->config));
	p->configured = true;
	(void)snprintf(name, sizeof(name), "proxy%u", p->number);
	log_init(name, p->config.debug ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	rc = creds_new(p->config.credential_lease_s, &p->creds, &e);
	if (rc < 0)
		log_error("ending: %s", e.text);
	return rc;
}

static int proxy_trust(struct proxy *p, int fd)
{
	auto_free char *pem = NULL;
	struct err e = {0};
	size_t len;
	int rc = fdio_read_all(fd, PROXY_CA_MAX, &pem, &len);

	if (rc == 0)
		rc = tls_ctx_trust(p->tls, pem, len, &e);
	if (rc < 0)
		log_error("ending: the upstream CAs cannot be read: %s",
			  e.text[0] ? e.text : strerror(-rc));
	return rc;
}

/* epoll goes on telling of a socket that somebody else still has open: forgotten, then closed. */
static void proxy_end_channel(struct proxy *p, struct channel *c)
{
	if (c->peer.fd >= 0)
		loop_forget(&p->loop, c->peer.fd);
	channel_done(c);
}

static int proxy_wire(struct proxy *p, struct channel *c, enum proxy_kind kind, int fd)
{
	proxy_end_channel(p, c);
	channel_wire(c, fd);
	return loop_watch(&p->loop, fd, (struct loop_key){.kind = (uint8_t)kind}, EPOLLIN);
}

/* A new keeper must know the leaf key before it is asked for a leaf. */
static void proxy_introduce(struct proxy *p)
{
	uint8_t spki[TLS_SPKI_MAX];
	size_t len;

	if (tls_ctx_spki(p->tls, spki, &len) < 0 ||
	    rpc_send(p->keeper.peer.fd, RPC_LEAF_KEY, 0, NULL, 0, spki, len, -1) < 0)
		log_error(
			"the keeper did not take the leaf key; no certificate will be had from it");
}

/* Before any value that this keeper sends from now on: no set of values made before it is used again. */
static int proxy_on_former(void *ctx, const struct rpc_former *note, const uint8_t *hosts,
			   size_t len)
{
	struct proxy *p = ctx;

	creds_forget(p->creds, 0, NULL);
	return who_former(&p->who, note->workspace, note->number, (const char *)hosts, len);
}

static int proxy_on_prints(void *ctx, const char *workspace, const uint8_t *prints, size_t len)
{
	struct proxy *p = ctx;

	return who_prints(&p->who, workspace, prints, len);
}

static int boss_wire(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	const struct rpc_wire *w = m->body;
	int rc;

	(void)peer;
	switch (w->kind) {
	case RPC_WIRE_KEEPER:
		who_formers_gone(&p->who);
		rc = proxy_wire(p, &p->keeper, PROXY_KEEPER, take_fd(&m->fd));
		if (rc == 0)
			proxy_introduce(p);
		return rc;
	case RPC_WIRE_RESOLVER:
		return proxy_wire(p, &p->resolver, PROXY_RESOLVER, take_fd(&m->fd));
	case RPC_WIRE_AUDIT:
		if (p->go || p->audit_fd >= 0)
			return -EPROTO;
		p->audit_fd = take_fd(&m->fd);
		return 0;
	case RPC_WIRE_LOADS:
		return p->loads ? -EPROTO : loads_map(m->fd, &p->loads);
	case RPC_WIRE_CA_FILE:
		return p->go ? -EPROTO : proxy_trust(p, m->fd);
	default:
		return -EPROTO;
	}
}

static int boss_audit_key(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;

	(void)peer;
	memcpy(&p->audit_key, m->body, sizeof(p->audit_key));
	p->have_audit_key = true;
	return 0;
}

static int boss_audit_renew(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	struct rpc_audit_key key;
	struct rpc_audit_renewed done = {0};
	int rc;

	(void)peer;
	memcpy(&key, m->body, sizeof(key));
	memcpy(done.epoch, key.epoch, sizeof(done.epoch));
	rc = p->audit ? audit_renew(p->audit, m->fd, &key, &done.ended) : -EPROTO;
	explicit_bzero(&key, sizeof(key));
	if (rc < 0)
		return rc;
	return rpc_send(p->boss.fd, RPC_AUDIT_RENEWED, 0, &done, sizeof(done), NULL, 0, -1);
}

/* What may live long ends, if the rules of now do not open it. */
static void proxy_judge_again(struct proxy *p)
{
	uint32_t i;

	for (i = 0; i < p->conns.high; i++) {
		struct conn *c = p->conns.at[i].is;

		if (c && c->state == CONN_TUNNEL)
			tunnel_judge_again(c);
		else if (c && c->x)
			exchange_judge_again(c);
	}
}

/* A document takes effect, or none can. */
static int proxy_workspace(struct proxy *p, const char *name, struct rules *rules)
{
	int rc = 0;

	creds_forget(p->creds, 0, NULL);
	if (rules)
		rc = who_workspace(&p->who, name, rules);
	else
		who_workspace_gone(&p->who, name);
	proxy_judge_again(p);
	return rc;
}

static int boss_workspace(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	const struct rpc_workspace *ws = m->body;
	auto_free char *doc = NULL;
	struct rules *rules = NULL;
	struct err e = {0};
	int rc;

	(void)peer;
	if (!rpc_str_ok(ws->workspace, sizeof(ws->workspace)) || ws->doc_len > RPC_DOC_MAX)
		return -EPROTO;
	rc = fdio_memfd_read(m->fd, (size_t)ws->doc_len + PROXY_SIGNATURE, &doc);
	if (rc == 0)
		rc = rules_parse(doc, (size_t)ws->doc_len, true, &rules, &e);
	if (rc == 0 && strcmp(rules->workspace, ws->workspace) != 0)
		rc = err_set(&e, -EBADMSG, "it is another workspace's");
	if (rc == 0)
		return proxy_workspace(p, ws->workspace, rules);
	rules_free(rules);
	(void)proxy_workspace(p, ws->workspace, NULL);
	log_error("workspace %s: denied altogether, its document is not usable: %s", ws->workspace,
		  e.text[0] ? e.text : strerror(-rc));
	return 0;
}

static int boss_workspace_gone(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	const struct rpc_workspace *ws = m->body;

	(void)peer;
	if (!rpc_str_ok(ws->workspace, sizeof(ws->workspace)))
		return -EPROTO;
	return proxy_workspace(p, ws->workspace, NULL);
}

static int boss_guard(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	const struct rpc_guard *g = m->body;

	(void)peer;
	if (!rpc_str_ok(g->workspace, sizeof(g->workspace)) || g->guard == 0)
		return -EPROTO;
	creds_forget(p->creds, g->guard, NULL);
	return who_guard(&p->who, g->guard, g->workspace);
}

/* Its connections, or the streams of its HTTP/2 connections. */
static void proxy_reset_guard(struct proxy *p, const struct guard *g, bool streams)
{
	uint32_t i;

	for (i = 0; i < p->conns.high; i++) {
		struct conn *c = p->conns.at[i].is;

		if (c && c->guard == g && (c->agent.via != NULL) == streams)
			conn_reset(c, REASON_CLOSED);
	}
}

static int boss_guard_gone(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	const struct rpc_guard *gone = m->body;
	struct guard *g = who_guard_gone(&p->who, gone->guard);

	(void)peer;
	creds_forget(p->creds, gone->guard, NULL);
	if (g) { /* streams first: it is not their connection that ends them */
		proxy_reset_guard(p, g, true);
		proxy_reset_guard(p, g, false);
	}
	if (p->upstreams)
		upstreams_forget(p->upstreams, gone->guard);
	return 0;
}

static int boss_secret_changed(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	const struct rpc_secret_ref *s = m->body;

	(void)peer;
	if (!rpc_str_ok(s->workspace, sizeof(s->workspace)) ||
	    !memchr(s->name, '\0', sizeof(s->name)))
		return -EPROTO;
	who_secret_changed(&p->who, s->workspace);
	creds_forget(p->creds, 0, s->name[0] ? s->name : NULL);
	return 0;
}

static int boss_stats(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;

	(void)peer;
	p->stats.active = p->conns.used;
	p->stats.audit_lines = p->audit ? audit_recorded(p->audit, NULL) : 0;
	return rpc_send(p->boss.fd, RPC_STATS, m->id, &p->stats, sizeof(p->stats), NULL, 0, -1);
}

/* Descriptors for both sides of every connection, as far as the hard limit goes. */
static void proxy_descriptors(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &r);
	}
}

/* All that is opened or set up before privilege and system calls are taken away. */
static int proxy_open(struct proxy *p, struct err *e)
{
	int rc;

	if (!p->configured || p->audit_fd < 0 || !p->have_audit_key || !p->loads ||
	    p->config.max_connections == 0)
		return err_set(e, -EPROTO, "configuration, audit log, audit key or loads were not sent");
	rc = audit_new(take_fd(&p->audit_fd), &p->audit_key,
		       (enum config_audit_sync)p->config.audit_sync, &p->audit);
	explicit_bzero(&p->audit_key, sizeof(p->audit_key));
	if (rc < 0)
		return err_in(e, rc, "audit log");
	rc = slots_init(&p->conns, p->config.max_connections);
	if (rc == 0)
		rc = upstreams_new(&p->loop, PROXY_UPSTREAM, PROXY_UPSTREAM_H2, p->tls, &p->dues,
				   p->config.max_connections + UPSTREAM_IDLE_MAX, &p->upstreams);
	if (rc == 0)
		upstreams_through(p->upstreams, &p->config, &p->resolver, &p->keeper);
	if (rc == 0)
		rc = leaf_cache_new(p->tls, &p->keeper, LEAF_CACHE_MAX, &p->leaves);
	if (rc < 0)
		return err_set(e, rc, "out of memory");
	proxy_descriptors();
	return 0;
}

/* The thread has the process' user and comes under its filter. */
static int proxy_syncer(struct proxy *p, int fd, struct err *e)
{
	int rc = p->config.audit_sync == CONFIG_SYNC_ALWAYS ? 0 : syncer_new(fd, &p->syncer);

	if (rc == 0 && p->syncer)
		rc = loop_watch(&p->loop, syncer_fd(p->syncer), (struct loop_key){.kind = PROXY_SYNCER}, EPOLLIN);
	if (rc < 0)
		return err_set(e, rc, "cannot start the thread that syncs the audit log: %s", strerror(-rc));
	if (p->syncer)
		audit_sync_by(p->audit, syncer_ask, p->syncer);
	return 0;
}

static int boss_go(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	struct err e = {0};
	int rc, audit_fd = p->audit_fd;

	(void)peer;
	(void)m;
	rc = proxy_open(p, &e);
	if (rc == 0)
		rc = sandbox_drop(&p->config.proxy_user, &e);
	if (rc == 0)
		rc = proxy_syncer(p, audit_fd, &e);
	if (rc == 0)
		rc = sandbox_lock(SANDBOX_PROXY, &e);
	if (rc < 0) {
		log_error("ending: %s", e.text);
		return rc;
	}
	accept_go(p);
	return rpc_send(p->boss.fd, RPC_READY, 0, NULL, 0, NULL, 0, -1);
}

static const struct rpc_row boss_rows[] = {
	{RPC_CONFIG, sizeof(struct config), 0, RPC_ONCE, boss_config},
	{RPC_WIRE, sizeof(struct rpc_wire), 0, RPC_FD, boss_wire},
	{RPC_AUDIT_KEY, sizeof(struct rpc_audit_key), 0, RPC_ONCE, boss_audit_key},
	{RPC_AUDIT_RENEW, sizeof(struct rpc_audit_key), 0, RPC_FD, boss_audit_renew},
	{RPC_LISTENER, sizeof(struct rpc_listener), 0, RPC_FD, accept_listener},
	{RPC_LISTENER_GONE, sizeof(struct rpc_listener), 0, 0, accept_listener_gone},
	{RPC_WORKSPACE, sizeof(struct rpc_workspace), 0, RPC_FD, boss_workspace},
	{RPC_WORKSPACE_GONE, sizeof(struct rpc_workspace), 0, 0, boss_workspace_gone},
	{RPC_GUARD, sizeof(struct rpc_guard), 0, 0, boss_guard},
	{RPC_GUARD_GONE, sizeof(struct rpc_guard), 0, 0, boss_guard_gone},
	{RPC_SECRET_CHANGED, sizeof(struct rpc_secret_ref), 0, 0, boss_secret_changed},
	{RPC_STATS_ASK, 0, 0, 0, boss_stats},
	{RPC_GO, 0, 0, RPC_ONCE, boss_go},
};

/* ---- the loop ---- */

static void proxy_on_boss(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct proxy *p = ctx;
	int rc = rpc_serve(&p->boss, boss_rows, ARRAY_SIZE(boss_rows), p, p->rpc_buf, 64);

	(void)slot;
	(void)gen;
	(void)events;
	if (rc < 0 && rc != -EPIPE)
		log_error("ending: the boss channel broke: %s", strerror(-rc));
	p->loop.stop = rc < 0;
}

static void proxy_serve(struct proxy *p, struct channel *c, const char *name)
{
	int rc = c->peer.fd >= 0 ? channel_serve(c, p->rpc_buf) : 0;

	if (rc == 0)
		return;
	log_error("the %s is gone (%s); requests that need it are refused until there is another",
		  name, strerror(-rc));
	proxy_end_channel(p, c);
}

static void proxy_on_keeper(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct proxy *p = ctx;

	(void)slot;
	(void)gen;
	(void)events;
	proxy_serve(p, &p->keeper, "keeper");
}

static void proxy_on_resolver(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct proxy *p = ctx;

	(void)slot;
	(void)gen;
	(void)events;
	proxy_serve(p, &p->resolver, "resolver");
}

static void proxy_on_syncer(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct proxy *p = ctx;
	int rc;

	(void)slot;
	(void)gen;
	(void)events;
	if (syncer_over(p->syncer, &rc))
		audit_synced(p->audit, rc);
}

static void proxy_on_agent(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	conn_event(ctx, slot, gen, events);
}

static void proxy_on_upstream(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct proxy *p = ctx;

	upstream_event(p->upstreams, slot, gen, events);
}

static void proxy_on_upstream_http2(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct proxy *p = ctx;

	upstream_http2_event(p->upstreams, slot, gen, events);
}

/* Writes the log; those whose decision is in it go on. */
static void proxy_record(struct proxy *p)
{
	struct conn *c, *waiting = take(p->recorded);
	int rc = audit_flush(p->audit);

	if (rc < 0)
		log_error("the audit log cannot be written; nothing is allowed until it can");
	errands_recorded(p, rc);
	while ((c = waiting)) {
		waiting = take(c->next_record);
		c->waits_record = false;
		conn_recorded(c, rc);
	}
}

static void proxy_shares(struct proxy *p)
{
	struct conn *c, *waiting = take(p->again);

	while ((c = waiting)) {
		waiting = take(c->next_again);
		c->waits_again = false;
		if (c->state != CONN_CLOSED)
			conn_step(c);
	}
}

static void proxy_sweep(struct proxy *p, uint64_t now_ms)
{
	uint32_t i;

	for (i = 0; i < p->conns.high; i++) {
		struct conn *c = p->conns.at[i].is;

		if (c && c->deadline_ms && now_ms >= c->deadline_ms)
			conn_timeout(c);
	}
	creds_sweep(p->creds, now_ms);
	errands_sweep(p, now_ms);
	channel_push(&p->keeper);
	channel_push(&p->resolver);
	if (p->conns.used < p->config.max_connections)
		accept_pause(p, false);
	p->sweep_ms = now_ms + PROXY_SWEEP_MS;
}

/* Frees what was closed; what still stands in a list stays for the next turn. */
static void proxy_reap(struct proxy *p)
{
	struct conn *c, *dead = take(p->dead);

	while ((c = dead)) {
		dead = c->next_dead;
		if (c->waits_record || c->waits_again) {
			c->next_dead = p->dead;
			p->dead = c;
		} else {
			conn_free(c);
		}
	}
}

/* Of two longest waits, -1 being for ever. */
static int proxy_sooner(int ms, int other_ms)
{
	return other_ms >= 0 && (ms < 0 || other_ms < ms) ? other_ms : ms;
}

/* Anything whose time may come? An idle proxy sleeps until somebody wakes it. */
static int proxy_wait(const struct proxy *p, uint64_t now_ms, int upstreams_ms, int accept_ms)
{
	int ms = -1;

	if (p->recorded || p->again || p->dues.first || errands_wait_record(p))
		return 0;
	if (p->conns.used > 0 || p->errands || p->paused || p->config.credential_lease_s > 0)
		ms = p->sweep_ms > now_ms ? (int)(p->sweep_ms - now_ms) : 0;
	ms = proxy_sooner(ms, upstreams_ms);
	ms = proxy_sooner(ms, accept_ms);
	return proxy_sooner(ms, audit_wait_ms(p->audit, now_ms));
}

static int proxy_turn(void *ctx, uint64_t now_ms)
{
	struct proxy *p = ctx;
	int upstreams_ms, rounds = 0;

	if (now_ms >= p->sweep_ms)
		proxy_sweep(p, now_ms);
	upstreams_ms = upstreams_sweep(p->upstreams, now_ms);
	do {
		proxy_record(p);
		h2_dues_run(&p->dues);
	} while ((p->recorded || p->dues.first) && ++rounds < PROXY_RECORD_MOST);
	proxy_shares(p);
	h2_dues_run(&p->dues);
	/* Outcomes of this turn; decisions still waiting are written, and looked at, in the next. */
	if (audit_flush(p->audit) < 0)
		log_error("outcomes could not be written to the audit log");
	proxy_reap(p);
	return proxy_wait(p, now_ms, upstreams_ms, accept_turn(p, now_ms));
}

static int proxy_setup(struct proxy *p, struct err *e)
{
	int rc = loop_init(&p->loop, p, proxy_turn);

	if (rc == 0)
		rc = slots_init(&p->listeners, PROXY_LISTENERS_MAX);
	p->rpc_buf = malloc(RPC_BUF);
	if (rc < 0 || !p->rpc_buf)
		return err_set(e, -ENOMEM, "out of memory");
	loop_on(&p->loop, PROXY_BOSS, proxy_on_boss);
	loop_on(&p->loop, PROXY_KEEPER, proxy_on_keeper);
	loop_on(&p->loop, PROXY_RESOLVER, proxy_on_resolver);
	loop_on(&p->loop, PROXY_LISTENER, accept_on_listener);
	loop_on(&p->loop, PROXY_AGENT, proxy_on_agent);
	loop_on(&p->loop, PROXY_UPSTREAM, proxy_on_upstream);
	loop_on(&p->loop, PROXY_UPSTREAM_H2, proxy_on_upstream_http2);
	loop_on(&p->loop, PROXY_SYNCER, proxy_on_syncer);
	channel_init(&p->keeper, PROXY_KEEPER);
	p->keeper.on_former = proxy_on_former;
	p->keeper.on_prints = proxy_on_prints;
	p->keeper.on_order = errand_order;
	p->keeper.ctx = p;
	channel_init(&p->resolver, PROXY_RESOLVER);
	p->boss.fd = RPC_BOSS_FD;
	p->audit_fd = -1;
	return tls_ctx_new(&p->tls, e);
}

static void proxy_done(struct proxy *p)
{
	uint32_t i;

	for (i = 0; i < p->conns.high; i++)
		if (p->conns.at[i].is)
			conn_close(p->conns.at[i].is, REASON_CLOSED);
	if (p->go) {
		proxy_record(p); /* empties the lists */
		proxy_shares(p);
	}
	proxy_reap(p);
	errands_done(p);
	channel_done(&p->keeper);
	channel_done(&p->resolver);
	leaf_cache_free(p->leaves);
	upstreams_free(p->upstreams);
	pipes_done(&p->pipes);
	accept_done(p);
	p->loads = loads_free(p->loads);
	who_done(&p->who);
	creds_free(p->creds);
	p->syncer = syncer_free(p->syncer);
	audit_free(p->audit);
	tls_ctx_free(p->tls);
	slots_done(&p->conns);
	slots_done(&p->listeners);
	free(p->rpc_buf);
	own_close(&p->boss.fd);
	loop_done(&p->loop);
}

int proxy_main(uint32_t number)
{
	struct proxy *p = calloc(1, sizeof(*p));
	struct err e = {0};
	int rc = p ? sandbox_first(&e) : -ENOMEM;

	tlsbio_memory();
	if (rc < 0) {
		log_error("ending: %s", e.text);
		free(p);
		return 1;
	}
	p->number = number;
	(void)signal(SIGPIPE, SIG_IGN);
	rc = proxy_setup(p, &e);
	if (rc == 0)
		rc = child_wait_go(&p->boss, boss_rows, ARRAY_SIZE(boss_rows), p, &p->go);
	if (rc == 0)
		rc = loop_watch(&p->loop, p->boss.fd, (struct loop_key){.kind = PROXY_BOSS},
				EPOLLIN);
	if (rc == 0)
		rc = loop_run(&p->loop);
	if (rc < 0 && rc != -EPIPE)
		log_error("ending: %s", e.text[0] ? e.text : strerror(-rc));
	proxy_done(p);
	free(p);
	return rc < 0 && rc != -EPIPE;
}
