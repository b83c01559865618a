/* lookup.c: see lookup.h.
 *
 * Each lookup is two c-ares queries and one answer when both are through. c-ares checks that an
 * answer has the question's id and name, follows the CNAMEs within it, goes on to the next server
 * after SERVFAIL or silence, and to TCP after TC. It tells by a callback which of its sockets want
 * what; they stand in the loop under their own number.
 */
#include "lookup.h"

#include "origin.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <stdlib.h>
#include <string.h>

#define LOOKUP_TIMEOUT_MS                                                                          \
	1500 /* first round; the second has twice that: a stub's 5 s are not used up */
#define LOOKUP_TRIES 2
#define LOOKUP_EDNS  1232

struct lookup {
	ares_channel channel;
	struct loop *loop;
	uint8_t kind;
	void *ctx;
	uint64_t count;
};

struct lookup_half {
	struct lookup_pair *pair;
	int type;
	bool failed, missing; /* no usable answer; no such name */
	uint32_t ttl, count;
	uint8_t addr[RPC_ADDRS_MAX][16];
};

struct lookup_pair {
	struct lookup *lookup;
	lookup_fn *fn;
	void *arg;
	int pending;
	struct lookup_half v4, v6;
};
_Static_assert(LEASE_ADDRS_MAX >= 2 * RPC_ADDRS_MAX, "both halves fit");

/* ---- the sockets ---- */

static void lookup_socket(void *data, ares_socket_t fd, int readable, int writable)
{
	struct lookup *l = data;
	struct loop_key key = {.kind = l->kind, .slot = (uint32_t)fd};
	uint32_t events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u);

	if (!events) {
		loop_forget(l->loop, fd);
		return;
	}
	/* A socket that cannot be watched is as one that never answers: the query times out. */
	if (loop_change(l->loop, fd, key, events) == -ENOENT)
		(void)!loop_watch(l->loop, fd, key, events);
}

void lookup_event(struct lookup *l, int fd, uint32_t events)
{
	uint32_t in = EPOLLIN | EPOLLERR | EPOLLHUP;

	ares_process_fd(l->channel, events & in ? fd : ARES_SOCKET_BAD,
			events & EPOLLOUT ? fd : ARES_SOCKET_BAD);
}

int lookup_turn(struct lookup *l)
{
	struct timeval tv;

	ares_process_fd(l->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	if (!ares_timeout(l->channel, NULL, &tv))
		return -1;
	return (int)(tv.tv_sec * 1000 + tv.tv_usec / 1000) + 1;
}

/* ---- one lookup ---- */

static void lookup_found(struct lookup_half *h, const void *addr, int ttl)
{
	if (h->count == RPC_ADDRS_MAX)
		return;
	if (h->type == ns_t_a)
		origin_of_v4(addr, h->addr[h->count]);
	else
		memcpy(h->addr[h->count], addr, 16);
	h->ttl = h->count == 0 || (uint32_t)ttl < h->ttl ? (uint32_t)(ttl < 0 ? 0 : ttl) : h->ttl;
	h->count++;
}

/* Reads one answer into the half; c-ares' code for how it went. */
static int lookup_read(struct lookup_half *h, const unsigned char *msg, int len)
{
	struct ares_addrttl v4[RPC_ADDRS_MAX];
	struct ares_addr6ttl v6[RPC_ADDRS_MAX];
	int n = RPC_ADDRS_MAX, rc, i;

	rc = h->type == ns_t_a ? ares_parse_a_reply(msg, len, NULL, v4, &n)
			       : ares_parse_aaaa_reply(msg, len, NULL, v6, &n);
	for (i = 0; rc == ARES_SUCCESS && i < n; i++)
		if (h->type == ns_t_a)
			lookup_found(h, &v4[i].ipaddr, v4[i].ttl);
		else
			lookup_found(h, &v6[i].ip6addr, v6[i].ttl);
	return rc;
}

static void lookup_add(struct lookup_answer *a, const struct lookup_half *h)
{
	if (h->count == 0)
		return;
	a->ttl = a->count == 0 || h->ttl < a->ttl ? h->ttl : a->ttl;
	memcpy(a->addr[a->count], h->addr, h->count * sizeof(h->addr[0]));
	a->count += h->count;
}

static void lookup_finish(struct lookup_pair *p)
{
	bool failed = p->v4.failed || p->v6.failed;
	struct lookup_answer a = {0};

	lookup_add(&a, &p->v4);
	lookup_add(&a, &p->v6);
	if (a.count == 0 && failed)
		a.rc = -ETIMEDOUT;
	else if (a.count == 0 && (p->v4.missing || p->v6.missing))
		a.rc = -ENOENT;
	/* One family is better than none, but not for long. */
	if (failed)
		a.ttl = 0;
	p->fn(p->lookup->ctx, p->arg, &a);
	free(p);
}

static void lookup_done(void *arg, int status, int timeouts, unsigned char *msg, int len)
{
	struct lookup_half *h = arg;

	(void)timeouts;
	if (status == ARES_SUCCESS)
		status = lookup_read(h, msg, len);
	h->missing = status == ARES_ENOTFOUND;
	h->failed = status != ARES_SUCCESS && status != ARES_ENODATA && !h->missing;
	if (--h->pair->pending == 0)
		lookup_finish(h->pair);
}

int lookup_ask(struct lookup *l, const char *host, lookup_fn *fn, void *arg)
{
	struct lookup_pair *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	/* Both are pending before either is asked: c-ares may answer at once. */
	*p = (struct lookup_pair){.lookup = l, .fn = fn, .arg = arg, .pending = 2};
	p->v4.pair = p->v6.pair = p;
	p->v4.type = ns_t_a;
	p->v6.type = ns_t_aaaa;
	l->count += 2;
	ares_query(l->channel, host, ns_c_in, ns_t_a, lookup_done, &p->v4);
	ares_query(l->channel, host, ns_c_in, ns_t_aaaa, lookup_done, &p->v6);
	return 0;
}

uint64_t lookup_count(const struct lookup *l)
{
	return l->count;
}

/* ---- start and end ---- */

static int lookup_servers(struct lookup *l, const struct config *c)
{
	struct ares_addr_port_node node[CONFIG_DNS_MAX];
	uint32_t i;

	memset(node, 0, sizeof(node));
	for (i = 0; i < c->dns_count; i++) {
		bool v4 = origin_is_v4(c->dns[i].addr);

		node[i].next = i + 1 < c->dns_count ? &node[i + 1] : NULL;
		node[i].family = v4 ? AF_INET : AF_INET6;
		memcpy(&node[i].addr, v4 ? c->dns[i].addr + 12 : c->dns[i].addr, v4 ? 4 : 16);
		node[i].udp_port = node[i].tcp_port = c->dns[i].port;
	}
	return c->dns_count ? ares_set_servers_ports(l->channel, node) : ARES_SUCCESS;
}

int lookup_new(const struct config *c, struct loop *loop, uint8_t kind, void *ctx,
	       struct lookup **ret, struct err *e)
{
	struct ares_options o = {
		.flags = ARES_FLAG_EDNS | ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES,
		.timeout = LOOKUP_TIMEOUT_MS,
		.tries = LOOKUP_TRIES,
		.ednspsz = LOOKUP_EDNS,
		.sock_state_cb = lookup_socket,
	};
	struct lookup *l = calloc(1, sizeof(*l));
	int rc;

	if (!l || c->dns_count > CONFIG_DNS_MAX) {
		free(l);
		return err_set(e, -ENOMEM, "no memory for the DNS client");
	}
	*l = (struct lookup){.loop = loop, .kind = kind, .ctx = ctx};
	o.sock_state_cb_data = l;
	rc = ares_library_init(ARES_LIB_INIT_ALL);
	if (rc == ARES_SUCCESS)
		rc = ares_init_options(&l->channel, &o,
				       ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES |
					       ARES_OPT_EDNSPSZ | ARES_OPT_SOCK_STATE_CB |
					       ARES_OPT_NOROTATE);
	if (rc == ARES_SUCCESS)
		rc = lookup_servers(l, c);
	if (rc != ARES_SUCCESS) {
		lookup_free(l);
		return err_set(
			e, -EINVAL,
			"cannot start the DNS client: %s; check dns.servers and /etc/resolv.conf",
			ares_strerror(rc));
	}
	*ret = l;
	return 0;
}

struct lookup *lookup_free(struct lookup *l)
{
	if (l && l->channel)
		ares_destroy(l->channel);
	if (l)
		ares_library_cleanup();
	free(l);
	return NULL;
}
