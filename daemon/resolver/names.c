/* names.c: see names.h. A name that some rule of the guard allows goes this way:
 *
 *	in the cache			→ answered at once
 *	under way for this guard	→ waits with the others
 *	else				→ the hosts file, or lookup.c; then:
 *		judge	what is not globally reachable is taken out, unless a rule is `private`
 *		lease	each address and port that the kernel must let through is told to the parent
 *		keep	in the cache, for the clamped TTL
 *		wait	until the parent has said RPC_LEASED: the client connects at once
 *		answer	everybody who waits
 *
 * Lookups and who waits for them are bounded per guard: what goes beyond is answered SERVFAIL, and
 * no other guard feels it. Rules may change while a name is under way: it is judged by those that
 * hold when it is found.
 */
#include "names.h"

#include "dnsfront.h"
#include "log.h"
#include "origin.h"

#include <stdlib.h>
#include <string.h>

#define NAMES_LOOKUPS_MAX     64  /* of a guard, under way */
#define NAMES_WAITERS_MAX     512 /* of a guard, for all its lookups */
#define NAMES_LEASE_WAIT_MS   300 /* then the client is answered without: the kernel refuses it */
#define NAMES_LEASES_PER_NAME 256

/* ---- judging ---- */

bool names_may_use(const struct resolver *r, const uint8_t addr[16], bool private, bool by_address)
{
	return !origin_special(&r->cfg, addr) || (private && origin_openable(addr, by_address));
}

bool names_allowed(const struct guard *g, const char *host, bool *ret_private)
{
	*ret_private = false;
	return g->rules && rules_host_ok(host) && rules_names(g->rules, host, ret_private);
}

bool names_searched(const struct guard *g, const char *host)
{
	char front[RPC_HOST_MAX];
	char *dot;
	bool private;

	memcpy(front, host, strlen(host) + 1);
	while ((dot = strrchr(front, '.'))) {
		*dot = '\0';
		if (names_allowed(g, front, &private))
			return true;
	}
	return false;
}

/* What a proxy may dial for this host and port: the rule of that port decides, not any of the
 * name's. */
static void answer_proxy(struct resolver *r, const struct guard *g, const struct from *f,
			 const struct lease *l)
{
	struct rpc_resolved a = {.rc = -ENOENT};
	const struct rules_rule *rule;
	enum reason why;
	uint32_t i;

	rule = g->rules ? rules_find(g->rules, f->ask.host, f->ask.port, &why) : NULL;
	if (!rule)
		a.rc = -EPERM;
	else if (l->outcome == LEASE_REFUSED || l->outcome == LEASE_FOUND)
		a.rc = -EACCES; /* until one of them may be used */
	for (i = 0; rule && i < l->count && a.count < RPC_ADDRS_MAX; i++)
		if (names_may_use(r, l->addr[i], rule->private, false))
			memcpy(a.addr[a.count++], l->addr[i], 16);
	if (a.count) {
		a.rc = 0;
		a.ttl = lease_left(l, r->loop.now_ms);
	}
	resolver_reply(r, f, &a);
}

static void answer(struct resolver *r, const struct guard *g, const struct from *f,
		   const struct lease *l)
{
	uint32_t ttl = lease_left(l, r->loop.now_ms);

	if (f->kind == FROM_PROXY)
		answer_proxy(r, g, f, l);
	else if (l->outcome == LEASE_NXDOMAIN)
		dnsfront_negative(r, f, DNSMSG_NXDOMAIN, ttl);
	else if (l->outcome == LEASE_REFUSED)
		dnsfront_sinkhole(r, f, ttl);
	else
		dnsfront_addresses(r, f, l->addr, l->count, ttl);
}

/* No answer to be had, now. */
static void answer_failed(struct resolver *r, const struct from *f)
{
	if (f->kind == FROM_PROXY)
		resolver_reply_rc(r, f, -ETIMEDOUT);
	else
		dnsfront_rcode(r, f, DNSMSG_SERVFAIL);
}

/* ---- one name under way ---- */

static void from_free(struct resolver *r, struct from *f)
{
	struct proxy *p = f->kind == FROM_PROXY ? &r->proxy[f->slot] : NULL;

	if (f->kind == FROM_CONN)
		dnsfront_answered(r, f);
	if (p && p->gen == f->gen)
		p->waiting--;
	free(f);
}

/* Answers everybody (ok) or tells them that it failed, and forgets the question. */
static void ask_end(struct resolver *r, struct ask *a, bool ok)
{
	struct guard *g = a->guard;
	struct from *f;

	while ((f = TAILQ_FIRST(&a->waiting))) {
		TAILQ_REMOVE(&a->waiting, f, next);
		if (g && ok)
			answer(r, g, f, &a->result);
		else if (g || f->kind == FROM_PROXY)
			answer_failed(r, f);
		if (g)
			g->waiters--;
		from_free(r, f);
	}
	if (g) {
		TAILQ_REMOVE(&g->asks, a, in_guard);
		g->lookups--;
	}
	if (a->lease_id)
		TAILQ_REMOVE(&r->leasing, a, in_leasing);
	free(a);
}

/* Tells the parent what the kernel must let through for one rule. */
static int ask_lease_rule(struct resolver *r, struct ask *a, const struct rules_rule *rule,
			  uint32_t ttl)
{
	struct rpc_lease l = {
		.guard = a->guard->id, .port = rule->port, .ttl = ttl + r->cfg.dns_lease_grace};
	uint32_t i;
	int rc = 0;

	l.direct = rule->mode == RULES_TCP;
	memcpy(l.host, a->host, sizeof(l.host));
	for (i = 0; i < a->result.count && rc == 0 && a->lease_pending < NAMES_LEASES_PER_NAME;
	     i++) {
		if (!names_may_use(r, a->addr[i], rule->private, false))
			continue;
		memcpy(l.addr, a->addr[i], sizeof(l.addr));
		rc = rpc_send(r->boss.fd, RPC_LEASE, r->lease_id, &l, sizeof(l), NULL, 0, -1);
		a->lease_pending += rc == 0;
	}
	return rc;
}

static int ask_lease(struct resolver *r, struct ask *a, uint32_t ttl)
{
	const struct rules *rules = a->guard->rules;
	enum reason why;
	uint32_t i;
	int rc = 0;

	if (++r->lease_id == 0)
		r->lease_id = 1;
	for (i = 0; i < rules->rule_count && rc == 0; i++) {
		const struct rules_rule *rule = &rules->rules[i];

		/* One rule decides about a host and port; the others are passed over. */
		if ((rule->mode == RULES_TCP || rule->private) &&
		    rules_host_match(rule->host, a->host) &&
		    rules_find(rules, a->host, rule->port, &why) == rule)
			rc = ask_lease_rule(r, a, rule, ttl);
	}
	return rc;
}

/* The addresses that may be used, into a->addr; false when the rules have changed and the name
 * is not allowed now. */
static bool ask_judge(struct resolver *r, struct ask *a, const struct lookup_answer *found)
{
	bool private;
	uint32_t i;

	if (!names_allowed(a->guard, a->host, &private))
		return false;
	a->result = (struct lease){
		.guard = a->guard->id, .host = a->host, .addr = (const uint8_t(*)[16])a->addr};
	for (i = 0; i < found->count; i++)
		if (names_may_use(r, found->addr[i], private, false))
			memcpy(a->addr[a->result.count++], found->addr[i], 16);
	if (found->rc < 0)
		a->result.outcome = LEASE_NXDOMAIN;
	else if (a->result.count)
		a->result.outcome = LEASE_FOUND;
	else
		a->result.outcome = found->count ? LEASE_REFUSED : LEASE_NODATA;
	return true;
}

static void ask_found(struct resolver *r, struct ask *a, const struct lookup_answer *found)
{
	uint32_t ttl = lease_ttl(found->ttl, r->cfg.dns_ttl_min, r->cfg.dns_ttl_max);

	if (!a->guard || (found->rc < 0 && found->rc != -ENOENT) || !ask_judge(r, a, found)) {
		ask_end(r, a, false);
		return;
	}
	a->result.expires_ms = r->loop.now_ms + (uint64_t)ttl * 1000;
	if (ask_lease(r, a, ttl) < 0) {
		log_warn("the daemon does not take leases now; %s is not answered", a->host);
		ask_end(r, a, false);
		return;
	}
	if (lease_put(r->cache, &a->result, NULL) < 0)
		log_debug("%s is not kept", a->host);
	if (!a->lease_pending) {
		ask_end(r, a, true);
		return;
	}
	a->lease_id = r->lease_id;
	a->deadline_ms = r->loop.now_ms + NAMES_LEASE_WAIT_MS;
	TAILQ_INSERT_TAIL(&r->leasing, a, in_leasing);
}

static void names_looked_up(void *ctx, void *arg, const struct lookup_answer *found)
{
	ask_found(ctx, arg, found);
}

void names_leased(struct resolver *r, uint32_t id)
{
	struct ask *a;

	TAILQ_FOREACH(a, &r->leasing, in_leasing)
		if (a->lease_id == id)
			break;
	/* None: it came too late, and was answered without. */
	if (a && --a->lease_pending == 0)
		ask_end(r, a, true);
}

void names_orphan(struct guard *g)
{
	struct ask *a;

	while ((a = TAILQ_FIRST(&g->asks))) {
		TAILQ_REMOVE(&g->asks, a, in_guard);
		a->guard = NULL;
	}
}

uint64_t names_turn(struct resolver *r, uint64_t now)
{
	struct ask *a;

	while ((a = TAILQ_FIRST(&r->leasing)) && a->deadline_ms <= now) {
		log_debug("the lease of %s is late", a->host);
		ask_end(r, a, true);
	}
	return a ? a->deadline_ms : 0;
}

/* Starts a lookup for what waits in it; whatever fails is answered so. */
static void ask_start(struct resolver *r, struct ask *a)
{
	struct lookup_answer found = {.ttl = r->cfg.dns_ttl_max};

	found.count = (uint32_t)hosts_find(r->hosts, a->host, found.addr, LEASE_ADDRS_MAX);
	if (found.count)
		ask_found(r, a, &found);
	else if (lookup_ask(r->lookup, a->host, names_looked_up, a) < 0)
		ask_end(r, a, false);
}

static struct ask *ask_of(struct guard *g, const char *host)
{
	struct ask *a;

	TAILQ_FOREACH(a, &g->asks, in_guard)
		if (strcmp(a->host, host) == 0)
			return a;
	return NULL;
}

static struct ask *ask_new(struct guard *g, const char *host)
{
	struct ask *a = g->lookups < NAMES_LOOKUPS_MAX ? calloc(1, sizeof(*a)) : NULL;

	if (!a)
		return NULL;
	a->guard = g;
	memcpy(a->host, host, strlen(host) + 1);
	TAILQ_INIT(&a->waiting);
	TAILQ_INSERT_TAIL(&g->asks, a, in_guard);
	g->lookups++;
	return a;
}

void names_ask(struct resolver *r, struct guard *g, const char *host, const struct from *f)
{
	const struct lease *l = lease_get(r->cache, g->id, host, r->loop.now_ms);
	struct ask *a = ask_of(g, host);
	bool started = a != NULL;
	struct from *copy;

	if (l && !a) {
		answer(r, g, f, l);
		return;
	}
	copy = g->waiters < NAMES_WAITERS_MAX ? malloc(sizeof(*copy)) : NULL;
	if (copy && !a)
		a = ask_new(g, host);
	if (!copy || !a) {
		free(copy);
		answer_failed(r, f);
		return;
	}
	*copy = *f;
	TAILQ_INSERT_TAIL(&a->waiting, copy, next);
	g->waiters++;
	if (f->kind == FROM_CONN)
		dnsfront_waits(r, f);
	if (f->kind == FROM_PROXY)
		r->proxy[f->slot].waiting++;
	if (!started)
		ask_start(r, a);
}
