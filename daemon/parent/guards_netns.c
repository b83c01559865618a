/* guards_netns.c: the listeners in the network namespaces of guards, and who is told of them: the proxies and the
 * resolver, which serve them, and the holder, which keeps them while those are gone. See guards.h, guards_in.h.
 */
#include "guards_in.h"

#include "adopt.h"
#include "log.h"
#include "proc.h"
#include <stdio.h>

#define GUARDS_PORT_TRIES   100
#define GUARDS_PORT_WAIT_US 10000

const char *const guards_dns_words[NETNS_SOCKETS] = {"tcp4", "tcp6", "udp4", "udp6"};

struct netns_slot *guards_netns(struct parent *p, uint64_t cookie)
{
	size_t i;

	for (i = 0; i < PARENT_NETNS_MAX; i++)
		if (p->netns[i].cookie == cookie)
			return &p->netns[i];
	return NULL;
}

void guards_tell_listener(struct parent *p, struct proc *to, uint16_t op,
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

int guards_netns_use(struct parent *p, int netns_fd, uint64_t cookie, struct err *e)
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

void guards_netns_leave(struct parent *p, uint64_t cookie)
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

void guards_dns_listener(const struct guard *g, size_t i, struct rpc_listener *l)
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

void guards_hold_one(struct parent *p, const struct guard *g)
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

void guards_tell_one(struct parent *p, struct proc *to, const struct guard *g)
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
