/* accept.c: see accept.h. */
#include "accept.h"

#include "conn.h"
#include "log.h"
#include "record.h"

#include <sys/socket.h>

#define ACCEPT_MOST 4 /* at one listener in one turn */

struct listener {
	struct rpc_listener is;
	int fd;
	uint32_t slot;
	uint16_t gen;
	bool deferred; /* left to another worker, and not watched */
};

static void accept_watch(struct proxy *p, struct listener *l)
{
	struct loop_key key = {PROXY_LISTENER, l->gen, l->slot};

	if (loop_watch(&p->loop, l->fd, key, EPOLLIN) < 0)
		log_error("a listener cannot be watched; its connections wait for another worker");
}

static void accept_tell(struct proxy *p)
{
	loads_set(p->loads, p->number, p->go && !p->paused ? p->agents : LOADS_NONE);
}

void accept_count(struct proxy *p, int by)
{
	p->agents += (uint32_t)by;
	accept_tell(p);
}

void accept_go(struct proxy *p)
{
	uint32_t i;

	p->go = true;
	accept_tell(p);
	for (i = 0; i < p->listeners.high; i++)
		if (p->listeners.at[i].is)
			accept_watch(p, p->listeners.at[i].is);
}

void accept_pause(struct proxy *p, bool pause)
{
	uint32_t i;

	if (p->paused == pause)
		return;
	p->paused = pause;
	p->deferred = false;
	accept_tell(p);
	for (i = 0; i < p->listeners.high; i++) {
		struct listener *l = p->listeners.at[i].is;

		if (!l)
			continue;
		l->deferred = false;
		if (pause)
			loop_forget(&p->loop, l->fd);
		else
			accept_watch(p, l);
	}
}

static void accept_defer(struct proxy *p, struct listener *l)
{
	loop_forget(&p->loop, l->fd);
	l->deferred = true;
	if (!p->deferred)
		p->deferred_ms = p->loop.now_ms;
	p->deferred = true;
}

/* Takes one connection in, or closes it. */
static void accept_one(struct proxy *p, int accepted)
{
	auto_close int fd = accepted;
	struct eg_record rec = {0};
	struct guard *g;

	if (record_of(fd, &rec) < 0) {
		proxy_turn_away(p, NULL, NULL, REASON_NO_RECORD);
		return;
	}
	g = who_find(&p->who, rec.guard);
	if (!g) {
		proxy_turn_away(p, &rec, NULL, REASON_NO_RECORD);
		return;
	}
	if (g->connections >= p->config.per_guard_connections) {
		proxy_turn_away(p, &rec, g, REASON_LIMIT);
		return;
	}
	if (conn_open(p, fd, &rec, g) < 0) {
		proxy_turn_away(p, &rec, g, REASON_LIMIT);
		return;
	}
	(void)take_fd(&fd);
}

/* ours: the first that waits is, whoever has fewer. */
static void accept_some(struct proxy *p, struct listener *l, bool ours)
{
	int fd, n;

	for (n = 0; n < ACCEPT_MOST; n++) {
		if (p->conns.used >= p->config.max_connections) {
			accept_pause(p, true);
			return;
		}
		if (!ours && loads_ahead(p->loads, p->number)) {
			accept_defer(p, l);
			return;
		}
		fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd >= 0) {
			ours = false;
			accept_one(p, fd);
			continue;
		}
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			accept_pause(p, true);
		if (errno != ECONNABORTED && errno != EINTR)
			return;
	}
}

void accept_on_listener(void *ctx, uint32_t slot, uint16_t gen, uint32_t events)
{
	struct proxy *p = ctx;
	struct listener *l = slots_get(&p->listeners, slot, gen);

	(void)events;
	if (l)
		accept_some(p, l, false);
}

int accept_turn(struct proxy *p, uint64_t now_ms)
{
	bool over = now_ms - p->deferred_ms >= ACCEPT_DEFER_MS;
	uint32_t i;

	if (!p->deferred)
		return -1;
	if (!over && loads_ahead(p->loads, p->number))
		return (int)(p->deferred_ms + ACCEPT_DEFER_MS - now_ms);
	p->deferred = false;
	for (i = 0; i < p->listeners.high && !p->paused; i++) {
		struct listener *l = p->listeners.at[i].is;

		if (!l || !l->deferred)
			continue;
		l->deferred = false;
		accept_watch(p, l);
		if (over)
			accept_some(p, l, true);
	}
	return p->deferred ? ACCEPT_DEFER_MS : -1;
}

int accept_listener(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	const struct rpc_listener *is = m->body;
	struct listener *l;
	int rc;

	(void)peer;
	if (is->kind != RPC_LISTENER_PROXY)
		return -EPROTO;
	l = calloc(1, sizeof(*l));
	if (!l)
		return -ENOMEM;
	rc = slots_put(&p->listeners, l, &l->slot, &l->gen);
	if (rc < 0) {
		free(l);
		return rc;
	}
	l->is = *is;
	l->fd = take_fd(&m->fd);
	if (side_options(l->fd) < 0) /* accepted sockets inherit them */
		log_warn("a listener's connections have no keepalive");
	if (p->go && !p->paused)
		accept_watch(p, l);
	return 0;
}

static void accept_drop(struct proxy *p, struct listener *l)
{
	loop_forget(&p->loop, l->fd); /* others hold the same socket open */
	own_close(&l->fd);
	slots_drop(&p->listeners, l->slot);
	free(l);
}

int accept_listener_gone(void *ctx, uint32_t peer, struct rpc_msg *m)
{
	struct proxy *p = ctx;
	const struct rpc_listener *gone = m->body;
	uint32_t i;

	(void)peer;
	for (i = 0; i < p->listeners.high; i++) {
		struct listener *l = p->listeners.at[i].is;

		if (l && l->is.netns == gone->netns && l->is.family == gone->family &&
		    l->is.port == gone->port)
			accept_drop(p, l);
	}
	return 0;
}

void accept_done(struct proxy *p)
{
	uint32_t i;

	for (i = 0; i < p->listeners.high; i++)
		if (p->listeners.at[i].is)
			accept_drop(p, p->listeners.at[i].is);
}
